"""clients/python with asyncio."""

import asyncio
import math
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


async def active(client, model, count=1):
    """Waits until the account's units are used by `count` requests to this model, or by none."""
    watch = client.stream(client.account.WatchConcurrency, WatchConcurrencyRequest())
    expected = [model] * count if model else []
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
    await anext(aiter(stream))
    reader = asyncio.create_task(stream.read())
    await active(client, silent.model)
    reader.cancel()
    [ended] = await asyncio.gather(reader, return_exceptions=True)
    equal(type(ended), asyncio.CancelledError)
    await active(client, None)
    assert stream.so_far.choices[0].message.content


async def read_all(client, asked):
    """Each kind of call, all of which wait."""
    watch = client.stream(client.account.WatchConcurrency, WatchConcurrencyRequest())
    stream = client.stream_chat(asked)
    await anext(aiter(stream))

    async def watched():
        return [used async for used in watch]

    return [asyncio.create_task(wait) for wait in (client.chat(asked), stream.read(), watched())]


@check_with_client("`close` of the client is an error of its calls, and of later ones")
async def _(other):
    silent = request("emulator/stall-after-5")
    client = AsyncClient(URL, KEY)
    tasks = await read_all(client, silent)
    await active(other, silent.model, 2)
    await client.close()
    await active(other, None)

    async def stream_chat():
        client.stream_chat(silent)

    later = (
        client.chat(silent),
        stream_chat(),
        anext(client.models()),
        anext(client.stream(client.account.WatchConcurrency, WatchConcurrencyRequest())),
    )
    for wait in (*tasks, *later):
        error = await raised(FeatherwireError, wait)
        equal(error.code, grpc.StatusCode.CANCELLED)

    async with AsyncClient(URL, KEY) as client:
        unread = client.stream_chat(silent)
        await anext(aiter(unread))
    equal((await raised(FeatherwireError, unread.read())).code, grpc.StatusCode.CANCELLED)
    await raised(IncompleteAnswerError, unread.read())
    assert unread.so_far.choices[0].message.content
    await active(other, None)


@check_with_client("a cancelled task is cancelled, also if its client or its stream is closed")
async def _(other):
    silent = request("emulator/stall-after-5")
    client = AsyncClient(URL, KEY)
    tasks = await read_all(client, silent)
    await active(other, silent.model, 2)
    for task in tasks:
        task.cancel()
    await client.close()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    equal([type(error) for error in ended], [asyncio.CancelledError] * 3)
    await active(other, None)

    stream = other.stream_chat(silent)
    reader = asyncio.create_task(stream.read())
    await active(other, silent.model)
    reader.cancel()
    stream.close()
    [ended] = await asyncio.gather(reader, return_exceptions=True)
    equal(type(ended), asyncio.CancelledError)
    await active(other, None)


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


@check_with_client("a timeout of nothing is one, and without an end there is none")
async def _(client):
    async def models(timeout):
        return [model async for model in client.models(timeout=timeout)]

    async def watch(timeout):
        service = client.account.WatchConcurrency
        return await anext(client.stream(service, WatchConcurrencyRequest(), timeout=timeout))

    calls = (
        lambda timeout: client.chat(request(), timeout=timeout),
        lambda timeout: client.stream_chat(request(), timeout=timeout).read(),
        models,
        watch,
    )
    for call in calls:
        for timeout in (0, 0.0, -1):
            error = await raised(FeatherwireError, call(timeout))
            equal(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert await call(math.inf)


@check_with_client("all models, over several pages")
async def _(client):
    found = [model.id async for model in client.models()]
    assert len(found) == len(set(found)) > 2000
