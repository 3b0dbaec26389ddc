import asyncio

from featherwire import AsyncClient
from featherwire.messages import ChatMessage, CreateChatCompletionRequest


async def answer(client: AsyncClient, prompt: str) -> str:
    request = CreateChatCompletionRequest(
        model="meta-llama/Meta-Llama-3.1-8B-Instruct",
        messages=[ChatMessage(role="user", content=prompt)],
    )
    async with client.stream_chat(request) as stream:
        return "".join([text async for text in stream])


async def main() -> None:
    async with AsyncClient() as client:
        prompts = ["Say hello in 5 words", "Say hello in 3 words"]
        for text in await asyncio.gather(*(answer(client, prompt) for prompt in prompts)):
            print(text)


asyncio.run(main())
