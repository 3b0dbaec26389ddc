"""A client that openapi-python-client generated from the gateway's /openapi.json.

It does not decode events: the raw lines of a stream are read with the client's own httpx client, and decoded with its models."""

import json

import httpx
from checks import KEY, MODEL, URL, check, equal
from featherwire_client import AuthenticatedClient, Client
from featherwire_client.api.account import get_concurrency
from featherwire_client.api.chat import create_chat_completion
from featherwire_client.api.completion import create_completion
from featherwire_client.api.embedding import create_embedding
from featherwire_client.api.model import get_model, list_models
from featherwire_client.models import (
    CallReport,
    ChatMessage,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    CreateCompletionRequest,
    CreateEmbeddingRequest,
    ErrorDetail,
    ErrorResponse,
    ErrorType,
    FunctionDefinition,
    GatewayOptions,
    LogprobLists,
    Priority,
    ReplayedMessage,
    StreamChatCompletionResponse,
    Tool,
)

client = AuthenticatedClient(base_url=URL, token=KEY, timeout=httpx.Timeout(30))


def request(model=MODEL, text="Say hello in 5 words", **members):
    return CreateChatCompletionRequest(model=model, messages=[ChatMessage(role="user", content=text)], **members)


def ask(body, **headers):
    return create_chat_completion.sync_detailed(client=client, body=body, **headers)


def whole(body, **headers):
    answer = ask(body, **headers).parsed
    assert isinstance(answer, CreateChatCompletionResponse), answer
    return answer


def stream(body, **headers):
    """The pieces of a streamed answer; an error in the stream raises."""
    with client.get_httpx_client().stream(
        "POST", "/v1/chat/completions:stream", json=body.to_dict(), headers=headers
    ) as response:
        equal(response.status_code, 200)
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                return
            if not line.startswith("data: "):
                continue
            event = json.loads(data)
            if "error" in event:
                raise StreamFailed(ErrorResponse.from_dict(event).error)
            yield StreamChatCompletionResponse.from_dict(event)
    raise AssertionError("the stream has no end")


class StreamFailed(Exception):
    def __init__(self, error: ErrorDetail):
        super().__init__(error.message)
        self.error = error


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def refused(body, status, **headers):
    response = ask(body, **headers)
    equal(response.status_code, status)
    assert isinstance(response.parsed, ErrorResponse), response.parsed
    return response.parsed.error


@check("a unary answer")
def _():
    answer = whole(request(max_tokens=50))
    [choice] = answer.choices
    equal((choice.message.role, choice.finish_reason), ("assistant", "stop"))
    equal(len(choice.message.content.split()), 5)
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


@check("a streamed answer")
def _():
    chunks = list(stream(request()))
    equal(len(text_of(chunks).split()), 5)
    equal(chunks[0].choices[0].delta.role, "assistant")
    equal(chunks[-1].choices[0].finish_reason, "stop")


@check("a stream that fails ends with the typed error, after the content before the cut")
def _():
    came = []
    try:
        for chunk in stream(request("emulator/cut-after-5")):
            came.append(chunk)
        raise AssertionError("the stream ended as if it were complete")
    except StreamFailed as failure:
        equal((failure.error.type_, failure.error.code), (ErrorType.UPSTREAM_ERROR, "upstream_stream_cut"))
    assert text_of(came), "nothing came before the error"


@check("a tool call, and its message sent back")
def _():
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [Tool(type_="function", function=FunctionDefinition(name="get_weather", parameters=parameters))]
    asked = ChatMessage(role="user", content="What is the weather in Paris?")
    [choice] = whole(CreateChatCompletionRequest(model=MODEL, messages=[asked], tools=tools)).choices
    equal(choice.finish_reason, "tool_calls")
    [call] = choice.message.tool_calls
    equal(call.function.name, "get_weather")
    messages = [
        asked,
        ReplayedMessage.from_dict(choice.message.to_dict()),
        ChatMessage(role="tool", tool_call_id=call.id, content="sunny"),
    ]
    [choice] = whole(CreateChatCompletionRequest(model=MODEL, messages=messages, tools=tools)).choices
    equal(choice.finish_reason, "stop")


@check("one page of the models, and a model")
def _():
    page = list_models.sync(client=client, page_size=3)
    equal((len(page.data), page.object_), (3, "list"))
    assert page.total_size > 3 and page.next_page_token
    equal(get_model.sync("meta-llama", "Meta-Llama-3.1-8B-Instruct", client=client).id, MODEL)


@check("errors are typed, and their status is in the document")
def _():
    error = refused(request(temperature=3), 400)
    equal((error.type_, error.code, error.param), (ErrorType.INVALID_REQUEST_ERROR, "invalid_value", "temperature"))
    for model, status, code in [
        ("emulator/gated", 403, "model_gated"),
        ("no/such-model", 404, "model_not_found"),
        ("emulator/429", 429, "concurrency_limit_exceeded"),
        ("emulator/503", 503, "no_capacity"),
    ]:
        equal(refused(request(model), status).code, code)
    stranger = create_chat_completion.sync(client=Client(base_url=URL), body=request())
    equal((stranger.error.type_, stranger.error.param), (ErrorType.AUTHENTICATION_ERROR, None))


@check("the gateway's options, and the report in a unary answer and in a stream")
def _():
    options = GatewayOptions(fallbacks=[MODEL], priority=Priority.BATCH, timeout_ms=30_000, report=True)
    answer = whole(request("emulator/503", featherwire=options))
    report = answer.featherwire
    assert isinstance(report, CallReport), report
    equal((report.model_asked, report.model, report.units > 0), ("emulator/503", MODEL, True))
    equal([(tried.model, tried.reason) for tried in report.tried], [("emulator/503", "no_capacity")])
    *chunks, last = stream(request(featherwire=GatewayOptions(report=True)))
    equal((last.choices, last.featherwire.model, last.featherwire.tried), ([], MODEL, []))
    assert last.featherwire.first_token_ms >= 0 and not any(chunk.featherwire for chunk in chunks)
    equal(whole(request()).to_dict().get("featherwire"), None)


@check("the headers of requests are typed parameters, and those of answers are there")
def _():
    response = ask(
        request("emulator/503"),
        x_featherwire_priority=Priority.BATCH,
        x_featherwire_fallback=MODEL,
        x_featherwire_unary_via_stream=True,
        x_request_timeout_ms=30_000,
        x_request_id="clients-openapi",
    )
    equal((response.status_code, response.headers["x-featherwire-model"]), (200, MODEL))
    equal(response.headers["x-request-id"], "clients-openapi")
    equal(response.headers["x-featherwire-tried"], "emulator/503=no_capacity")


@check("an option that contradicts its header is refused")
def _():
    body = request(featherwire=GatewayOptions(priority=Priority.BATCH))
    equal(refused(body, 400, x_featherwire_priority=Priority.INTERACTIVE).param, "featherwire.priority")
    whole(body, x_featherwire_priority=Priority.BATCH)
    # Unset members are not sent: a default of the generator would contradict the header.
    whole(body)


@check("a text completion with its log probabilities, and embeddings")
def _():
    body = CreateCompletionRequest(model=MODEL, prompt=["Once upon a time"], max_tokens=5, logprobs=2)
    [choice] = create_completion.sync(client=client, body=body).choices
    assert choice.text and isinstance(choice.logprobs, LogprobLists)
    equal(len(choice.logprobs.tokens), len(choice.logprobs.token_logprobs))
    body = CreateEmbeddingRequest(model="BAAI/bge-m3", input_=["one", "two"])
    vectors = create_embedding.sync(client=client, body=body).data
    assert len(vectors) == 2 and isinstance(vectors[0].embedding[0], float)


@check("the account's units")
def _():
    assert get_concurrency.sync(client=client).limit > 0
