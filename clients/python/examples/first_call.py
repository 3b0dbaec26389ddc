from featherwire import Client
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

request = CreateChatCompletionRequest(
    model="meta-llama/Meta-Llama-3.1-8B-Instruct",
    messages=[ChatMessage(role="user", content="Say hello in 5 words")],
)
with Client("http://localhost:8000", api_key="gw_live_1234") as client:
    answer = client.chat(request)
    print(answer.choices[0].message.content)
