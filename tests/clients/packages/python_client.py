"""clients/python without asyncio, as it is installed from its wheel."""

import copy
import json
import math
import os
import pickle
import threading
from pathlib import Path

import grpc
from checks import KEY, MODEL, URL, check, equal, raises
from featherwire import (
    ChatAccumulator,
    Client,
    ErrorReason,
    FeatherwireError,
    IncompleteAnswerError,
    __version__,
)
from featherwire.admin.v1 import key_service_pb2, key_service_pb2_grpc
from featherwire.messages import (
    ChatMessage,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    FunctionDefinition,
    ListModelsRequest,
    ModelFilter,
    StreamChatCompletionResponse,
    Tool,
    WatchConcurrencyRequest,
)
from google.protobuf.json_format import ParseDict

TLS_URL, CA = os.environ["FEATHERWIRE_TLS_URL"], os.environ["FEATHERWIRE_TLS_CA"]
client = Client(URL, KEY, timeout=30)


def request(model=MODEL, prompt="Say hello in 5 words", **fields):
    return CreateChatCompletionRequest(
        model=model, messages=[ChatMessage(role="user", content=prompt)], **fields
    )


def with_tool(model=MODEL, **fields):
    schema = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
    tool = Tool(function=FunctionDefinition(name="get_weather", parameters=schema))
    return request(model, "Call get_weather for the city of Oslo", tools=[tool], **fields)


def without_ids(answer):
    """The part of an answer that is the same in every answer to a request."""
    for choice in answer.choices:
        for call in choice.message.tool_calls:
            call.ClearField("id")
            call.ClearField("index")
    return [(choice.message, choice.finish_reason) for choice in answer.choices]


@check("a unary answer")
def _():
    [choice] = client.chat(request()).choices
    equal((len(choice.message.content.split()), choice.finish_reason), (5, "stop"))


@check("a stream's text, and the answer at its end with the usage")
def _():
    with client.stream_chat(request(seed=7)) as stream:
        raises(IncompleteAnswerError, lambda: stream.answer)
        pieces = list(stream)
    assert len(pieces) > 1
    unary = client.chat(request(seed=7))
    equal("".join(pieces), unary.choices[0].message.content)
    equal(without_ids(stream.answer), without_ids(unary))
    equal(stream.answer.usage.total_tokens, unary.usage.total_tokens)
    equal(stream.read(), stream.answer)


@check("tool calls, several answers, reasoning: a stream adds up to the unary answer")
def _():
    tool = client.chat(with_tool(seed=7))
    assert tool.choices[0].message.tool_calls, "the emulator called no tool"
    for asked in [
        with_tool(seed=7),
        with_tool("emulator/same-index-calls", seed=7),
        with_tool("emulator/calls-by-id", seed=7),
        request(n=3, seed=7),
        request("emulator/think", seed=7),
        request(logprobs=True, top_logprobs=2, seed=7),
    ]:
        unary = client.chat(asked)
        streamed = client.stream_chat(asked).read()
        equal(without_ids(streamed), without_ids(unary))
        for one, other in zip(streamed.choices, unary.choices, strict=True):
            equal(one.logprobs, other.logprobs)


for case in json.loads(Path(__file__).with_name("pieces.json").read_text()):

    @check(case["name"])
    def _(case=case):
        sum = ChatAccumulator()
        for chunk in case["chunks"]:
            sum.add(ParseDict(chunk, StreamChatCompletionResponse()))
        equal(sum.answer(), ParseDict(case["answer"], CreateChatCompletionResponse()))
        equal(sum.is_complete, case["isComplete"])


@check("the caller's request does not change")
def _():
    asked = request()
    client.stream_chat(asked).read()
    equal(asked, request())


def active(model):
    """Waits until the account's units are used by this model alone, or by none."""
    watch = client.stream(client.account.WatchConcurrency, WatchConcurrencyRequest())
    expected = [model] if model else []
    for used in watch:
        if [request.model for request in used.requests] == expected:
            return


@check("the end of `with`, of the loop and of `close` each end the call at Featherless too")
def _():
    silent = request("emulator/stall-after-5")

    def by_with():
        with client.stream_chat(silent) as stream:
            next(iter(stream))
            active("emulator/stall-after-5")

    def by_loop():
        for _ in client.stream_chat(silent):
            active("emulator/stall-after-5")
            break

    def by_close():
        stream = client.stream_chat(silent)

        def close():
            active("emulator/stall-after-5")
            stream.close()

        closer = threading.Thread(target=close)
        # The units are in use before the first text comes.
        next(iter(stream))
        closer.start()
        raises(IncompleteAnswerError, stream.read)
        closer.join()
        assert stream.so_far.choices[0].message.content

    for end in (by_with, by_loop, by_close):
        end()
        active(None)


@check("an answer that is cut short is an error, after its text")
def _():
    for model, reason in [
        ("emulator/cut-after-5", ErrorReason.ERROR_REASON_UPSTREAM_STREAM_CUT),
        ("emulator/eof-after-5", ErrorReason.ERROR_REASON_UPSTREAM_STREAM_CUT),
    ]:
        stream = client.stream_chat(request(model))
        error = raises(FeatherwireError, stream.read)
        equal((error.code, error.reason), (grpc.StatusCode.UNAVAILABLE, reason))
        assert stream.so_far.choices[0].message.content
        raises(IncompleteAnswerError, lambda stream=stream: stream.answer)


@check("an error has its reason, its wait, its model and its request's id")
def _():
    for call in (client.chat, lambda asked: client.stream_chat(asked).read()):
        error = raises(FeatherwireError, call, request("emulator/503-retry-after-60"))
        equal(error.code, grpc.StatusCode.UNAVAILABLE)
        equal(error.reason, ErrorReason.ERROR_REASON_NO_CAPACITY)
        equal((error.retry, error.retry_after), ("soon", 60.0))
        equal((error.model, error.limit), ("emulator/503-retry-after-60", None))
        equal(len(error.request_id), 32)
        assert str(error).endswith("(NO_CAPACITY)")


@check("an error has the limit that was reached")
def _():
    error = raises(FeatherwireError, client.chat, request("emulator/429"))
    equal(error.code, grpc.StatusCode.RESOURCE_EXHAUSTED)
    equal((error.limit, error.retry_after), (8, 2.0))


@check("an error names the wrong field, and the page that helps")
def _():
    error = raises(FeatherwireError, client.chat, request(temperature=3))
    equal((error.field, error.retry, error.retry_after), ("temperature", "never", None))
    equal(error.reason, ErrorReason.ERROR_REASON_INVALID_VALUE)
    error = raises(FeatherwireError, client.chat, request("emulator/gated"))
    equal(error.reason, ErrorReason.ERROR_REASON_MODEL_GATED)
    assert error.help_url.startswith("https://")


@check("a wrong key is an error without the key")
def _():
    with Client(URL, "gw_wrong") as stranger:
        error = raises(FeatherwireError, stranger.chat, request())
    equal(error.code, grpc.StatusCode.UNAUTHENTICATED)
    equal(error.reason, ErrorReason.ERROR_REASON_INVALID_API_KEY)
    assert "gw_wrong" not in repr(error) + str(error)


@check("the timeout of a call, and that of the client")
def _():
    silent = request("emulator/stall-after-5")
    error = raises(FeatherwireError, client.stream_chat(silent, timeout=0.5).read)
    equal(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
    with Client(URL, KEY, timeout=0.5) as hasty:
        error = raises(FeatherwireError, hasty.chat, silent)
        equal(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert hasty.chat(request(), timeout=30).choices


@check("a timeout of nothing is one, and without an end there is none")
def _():
    def watch(timeout):
        service = client.account.WatchConcurrency
        return next(client.stream(service, WatchConcurrencyRequest(), timeout=timeout))

    calls = [
        lambda timeout: client.chat(request(), timeout=timeout),
        lambda timeout: client.stream_chat(request(), timeout=timeout).read(),
        lambda timeout: list(client.models(timeout=timeout)),
        watch,
    ]
    for call in calls:
        for timeout in (0, 0.0, -1):
            error = raises(FeatherwireError, call, timeout)
            equal(error.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert call(math.inf)
    with Client(URL, KEY, timeout=math.inf) as patient:
        assert patient.chat(request()).choices
        assert patient.stream_chat(request()).read().choices


@check("an error is the same after it was copied, or sent to another process")
def _():
    errors = [
        raises(FeatherwireError, client.chat, request("emulator/503-retry-after-60")),
        raises(FeatherwireError, client.chat, request(temperature=3)),
        IncompleteAnswerError(),
    ]
    errors[0].add_note("from the first process")
    for error in errors:
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            equal((type(other), str(other)), (type(error), str(error)))
            equal((other.args, vars(other)), (error.args, vars(error)))


@check("`close` of the client ends its calls, and later ones have an error too")
def _():
    silent = request("emulator/stall-after-5")
    closing = Client(URL, KEY)
    stream = closing.stream_chat(silent)
    next(stream)
    failures = []
    reader = threading.Thread(target=lambda: failures.append(raises(FeatherwireError, stream.read)))
    reader.start()
    active(silent.model)
    closing.close()
    reader.join()
    active(None)
    failures += [
        raises(FeatherwireError, closing.chat, silent),
        raises(FeatherwireError, closing.stream_chat, silent),
        raises(FeatherwireError, next, closing.models()),
        raises(
            FeatherwireError,
            next,
            closing.stream(closing.account.WatchConcurrency, WatchConcurrencyRequest()),
        ),
    ]
    equal([error.code for error in failures], [grpc.StatusCode.CANCELLED] * 5)
    raises(IncompleteAnswerError, stream.read)


@check("all models, over several pages")
def _():
    found = [model.id for model in client.models()]
    page = client.call(client.catalogue.ListModels, ListModelsRequest(page_size=1))
    equal((len(found), len(set(found))), (page.total_size, page.total_size))
    assert len(found) > 2000
    assert MODEL in [model.id for model in client.models(ModelFilter(search="llama-3.1-8b"))]


@check("a stub of another service, with the client's key and errors")
def _():
    keys = key_service_pb2_grpc.KeyServiceStub(client.channel)
    error = raises(FeatherwireError, client.call, keys.ListKeys, key_service_pb2.ListKeysRequest())
    equal(error.code, grpc.StatusCode.PERMISSION_DENIED)
    equal(error.reason, ErrorReason.ERROR_REASON_WRONG_KEY_ROLE)


@check("TLS, with the authority of the gateway's certificate and not without it")
def _():
    with Client(TLS_URL, KEY, ca=CA, timeout=30) as encrypted:
        assert encrypted.chat(request()).choices
    with Client(TLS_URL, KEY, timeout=30) as stranger:
        error = raises(FeatherwireError, stranger.chat, request())
        equal(error.code, grpc.StatusCode.UNAVAILABLE)


@check("the environment is the default, and a wrong address is an error")
def _():
    os.environ |= {"FEATHERWIRE_GATEWAY": URL, "FEATHERWIRE_API_KEY": KEY}
    with Client() as usual:
        assert usual.chat(request()).choices
    with Client(URL.removeprefix("http://")) as short:
        assert short.chat(request()).choices
    user = "http://user:secret@localhost"
    for wrong in ("ftp://localhost", user, "http://localhost/v1", "http://"):
        error = raises(ValueError, Client, wrong)
        assert "secret" not in str(error)


@check("the version is the contract's")
def _():
    equal(__version__, os.environ["FEATHERWIRE_VERSION"])
