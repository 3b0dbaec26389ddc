from featherwire import Client
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

request = CreateChatCompletionRequest(
    model="meta-llama/Meta-Llama-3.1-8B-Instruct",
    messages=[ChatMessage(role="user", content="Write a long story")],
)
with Client() as client:
    with client.stream_chat(request) as stream:
        for text in stream:
            break
    print("what has come:", stream.so_far.choices[0].message.content)
