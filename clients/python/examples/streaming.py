from featherwire import Client
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

request = CreateChatCompletionRequest(
    model="meta-llama/Meta-Llama-3.1-8B-Instruct",
    messages=[ChatMessage(role="user", content="Say hello in 5 words")],
)
with Client() as client, client.stream_chat(request) as stream:
    for text in stream:
        print(text, end="", flush=True)
    print()
    print(stream.answer.usage.total_tokens, "tokens")
