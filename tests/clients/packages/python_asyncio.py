"""clients/python with asyncio."""

import asyncio
import os

import grpc
from checks import KEY, MODEL, URL, check, equal
from featherwire import AsyncClient, ErrorReason, FeatherwireError, IncompleteAnswerError
from featherwire.messages import (
    ChatMessage,
    CreateChatCompletionRequest,
    WatchConcurrencyRequest,
)

TLS_URL, CA = os.environ["FEATHERWIRE_TLS_URL"], os.environ["FEATHERWIRE_TLS_CA"]


def request(model=MODEL, **fields):
    message = ChatMessage(role="user", content="Say hello in 5 words")
    return CreateChatCompletionRequest(model=model, messages=[message], **fields)


# One loop for all checks, because grpc does not like several.
loop = asyncio.new_event_loop()


def check_with_client(name):
    """Runs the decorated coroutine function immediately, with a client."""

    def run(function):
        async def with_client():
            async with AsyncClient(URL, KEY, timeout=30) as client:
                await function(client)

        check(name)(lambda: loop.run_until_complete(with_client()))

    return run


async def raised(kind, awaitable):
    try:
        await awaitable
    except Exception as error:
        assert type(error) is kind, f"raised {type(error).__name__} ({error})"
        return error
    raise AssertionError(f"raised nothing, expected {kind.__name__}")


@check_with_client("a unary answer, and a stream that adds up to it")
async def _(client):
    unary = await client.chat(request(seed=7))
    async with client.stream_chat(request(seed=7)) as stream:
        text = "".join([piece async for piece in stream])
    equal(text, unary.choices[0].message.content)
    equal(stream.answer.choices[0].message, unary.choices[0].message)
    equal(stream.answer.usage.total_tokens, unary.usage.total_tokens)


@check_with_client("calls at the same time")
async def _(client):
    answers = await asyncio.gather(*(client.chat(request()) for _ in range(20)))
    equal([len(answer.choices) for answer in answers], [1] * 20)


async def active(client, model):
    watch = client.stream(client.account.WatchConcurrency, WatchConcurrencyRequest())
    expected = [model] if model else []
    async for used in watch:
        if [active.model for active in used.requests] == expected:
            break
    await watch.aclose()


@check_with_client("`async with`, `close` and a cancelled task each end the call at Featherless")
async def _(client):
    silent = request("emulator/stall-after-5")

    async with client.stream_chat(silent) as stream:
        await anext(aiter(stream))
        await active(client, silent.model)
    await active(client, None)

    stream = client.stream_chat(silent)
    reader = asyncio.create_task(stream.read())
    await active(client, silent.model)
    stream.close()
    await raised(IncompleteAnswerError, reader)
    await active(client, None)

    stream = client.stream_chat(silent)
    reader = asyncio.create_task(stream.read())
    await active(client, silent.model)
    reader.cancel()
    [ended] = await asyncio.gather(reader, return_exceptions=True)
    equal(type(ended), asyncio.CancelledError)
    await active(client, None)
    assert stream.so_far.choices[0].message.content


@check_with_client("an answer that is cut short is an error, after its text")
async def _(client):
    stream = client.stream_chat(request("emulator/cut-after-5"))
    error = await raised(FeatherwireError, stream.read())
    equal(error.reason, ErrorReason.ERROR_REASON_UPSTREAM_STREAM_CUT)
    assert stream.so_far.choices[0].message.content


@check_with_client("an error has its reason, its wait and its request's id")
async def _(client):
    busy = request("emulator/503-retry-after-60")
    for asked in (client.chat(busy), client.stream_chat(busy).read()):
        error = await raised(FeatherwireError, asked)
        equal(error.reason, ErrorReason.ERROR_REASON_NO_CAPACITY)
        equal((error.retry, error.retry_after, len(error.request_id)), ("soon", 60.0, 32))


@check_with_client("a wrong key, a timeout, and TLS")
async def _(client):
    async with AsyncClient(URL, "gw_wrong") as stranger:
        error = await raised(FeatherwireError, stranger.chat(request()))
        equal(error.reason, ErrorReason.ERROR_REASON_INVALID_API_KEY)
    late = client.stream_chat(request("emulator/stall-after-5"), timeout=0.5)
    error = await raised(FeatherwireError, late.read())
    equal(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
    async with AsyncClient(TLS_URL, KEY, ca=CA) as encrypted:
        assert (await encrypted.chat(request())).choices


@check_with_client("all models, over several pages")
async def _(client):
    found = [model.id async for model in client.models()]
    assert len(found) == len(set(found)) > 2000
