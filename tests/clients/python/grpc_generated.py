"""grpcio with code that grpcio-tools generated from proto/."""

import grpc
from checks import KEY, MODEL, URL, check, equal
from featherwire.v1 import account_service_pb2, account_service_pb2_grpc
from featherwire.v1 import chat_content_pb2, chat_service_pb2, chat_service_pb2_grpc
from featherwire.v1 import completion_service_pb2, completion_service_pb2_grpc
from featherwire.v1 import errors_pb2, gateway_pb2
from featherwire.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from featherwire.v1 import model_service_pb2, model_service_pb2_grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

channel = grpc.insecure_channel(URL.removeprefix("http://"))
chat = chat_service_pb2_grpc.ChatServiceStub(channel)
models = model_service_pb2_grpc.ModelServiceStub(channel)
WITH_KEY = {"metadata": [("authorization", f"Bearer {KEY}")], "timeout": 30}


def request(model=MODEL, **fields):
    message = chat_content_pb2.ChatMessage(role="user", content="Say hello in 5 words")
    return chat_service_pb2.CreateChatCompletionRequest(model=model, messages=[message], **fields)


def details(error):
    """The error's google.rpc details, by the name of their type."""
    found = {}
    for packed in rpc_status.from_call(error).details:
        detail = getattr(error_details_pb2, packed.TypeName().removeprefix("google.rpc."))()
        assert packed.Unpack(detail)
        found[type(detail).__name__] = detail
    return found


def refused(request, options=WITH_KEY):
    """The status code of a refused call, and its details; the same from both methods."""
    seen = []
    for call in (chat.CreateChatCompletion, lambda *a, **o: list(chat.StreamChatCompletion(*a, **o))):
        try:
            call(request, **options)
        except grpc.RpcError as error:
            seen.append((error.code(), details(error)))
    equal(len(seen), 2)
    # Some details contain numbers such as active units. Their types must not depend on the method.
    equal((seen[0][0], seen[0][1].keys()), (seen[1][0], seen[1][1].keys()))
    return seen[0]


@check("a unary answer")
def _():
    answer = chat.CreateChatCompletion(request(max_tokens=50), **WITH_KEY)
    [choice] = answer.choices
    equal((choice.message.role, choice.finish_reason), ("assistant", "stop"))
    equal(len(choice.message.content.split()), 5)
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


@check("a streamed answer, with usage at its end")
def _():
    options = chat_service_pb2.StreamOptions(include_usage=True)
    call = chat.StreamChatCompletion(request(stream_options=options), **WITH_KEY)
    chunks = list(call)
    text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
    equal(len(text.split()), 5)
    equal(chunks[0].choices[0].delta.role, "assistant")
    assert chunks[-1].usage.total_tokens > 0
    equal(call.code(), grpc.StatusCode.OK)
    assert "x-request-id" in dict(call.initial_metadata())


@check("content as parts, and not in both forms")
def _():
    part = chat_content_pb2.ContentPart(type="text", text="Say hello in 5 words")
    parts = chat_content_pb2.ChatMessage(role="user", content_parts=[part])
    answer = chat.CreateChatCompletion(chat_service_pb2.CreateChatCompletionRequest(model=MODEL, messages=[parts]), **WITH_KEY)
    equal(len(answer.choices[0].message.content.split()), 5)
    both = chat_content_pb2.ChatMessage(role="user", content="Say hello", content_parts=[part])
    code, found = refused(chat_service_pb2.CreateChatCompletionRequest(model=MODEL, messages=[both]))
    equal(code, grpc.StatusCode.INVALID_ARGUMENT)
    equal(found["BadRequest"].field_violations[0].field, "messages[0].content_parts")


@check("members that the contract does not define, in `extra`")
def _():
    answer = chat.CreateChatCompletion(request("emulator/odd"), **WITH_KEY)
    assert answer.extra and answer.choices[0].extra and answer.choices[0].message.extra


def with_metadata(*more):
    return {**WITH_KEY, "metadata": [*WITH_KEY["metadata"], *more]}


@check("the gateway's options in a request, and the report in its answer")
def _():
    options = gateway_pb2.GatewayOptions(
        fallbacks=[MODEL], priority=gateway_pb2.PRIORITY_BATCH, unary_via_stream=True, timeout_ms=30_000, report=True
    )
    answer, call = chat.CreateChatCompletion.with_call(request("emulator/503", featherwire=options), **WITH_KEY)
    report = answer.featherwire
    equal((report.model_asked, report.model, report.attempts >= 2, report.units > 0), ("emulator/503", MODEL, True, True))
    equal([(tried.model, tried.reason) for tried in report.tried], [("emulator/503", "no_capacity")])
    # The answer was requested as a stream, so the report has the time of its first chunk.
    assert report.HasField("first_token_ms") and report.waited_ms >= 0
    metadata = dict(call.initial_metadata())
    equal((metadata["x-featherwire-model"], metadata["x-featherwire-tried"]), (MODEL, "emulator/503=no_capacity"))
    assert not chat.CreateChatCompletion(request(), **WITH_KEY).HasField("featherwire")


@check("the report of a stream is an additional last message")
def _():
    options = gateway_pb2.GatewayOptions(fallbacks=[MODEL], report=True)
    *chunks, last = chat.StreamChatCompletion(request("emulator/503", featherwire=options), **WITH_KEY)
    equal((list(last.choices), last.id, last.featherwire.model), ([], chunks[0].id, MODEL))
    equal([tried.model for tried in last.featherwire.tried], ["emulator/503"])
    assert last.featherwire.HasField("first_token_ms")
    assert not any(chunk.HasField("featherwire") for chunk in chunks)
    equal(chunks[-1].choices[0].finish_reason, "stop")


@check("no_fallbacks excludes all other models")
def _():
    options = gateway_pb2.GatewayOptions(no_fallbacks=True)
    code, found = refused(request("emulator/503", featherwire=options), with_metadata(("x-featherwire-fallback", "none")))
    equal((code, found["ErrorInfo"].reason), (grpc.StatusCode.UNAVAILABLE, "NO_CAPACITY"))


@check("an option and its metadata: INVALID_ARGUMENT if they differ, and accepted if they are equal")
def _():
    for option, value, name, other, same in [
        ("fallbacks", [MODEL], "x-featherwire-fallback", "other/model", MODEL),
        ("no_fallbacks", True, "x-featherwire-fallback", MODEL, "none"),
        ("priority", gateway_pb2.PRIORITY_BATCH, "x-featherwire-priority", "interactive", "batch"),
        ("unary_via_stream", True, "x-featherwire-unary-via-stream", "false", "true"),
        ("timeout_ms", 30_000, "x-request-timeout-ms", "20000", "30000"),
    ]:
        asked = request(featherwire=gateway_pb2.GatewayOptions(**{option: value}))
        code, found = refused(asked, with_metadata((name, other)))
        equal((option, code), (option, grpc.StatusCode.INVALID_ARGUMENT))
        equal(found["BadRequest"].field_violations[0].field, f"featherwire.{option}")
        assert chat.CreateChatCompletion(asked, **with_metadata((name, same))).choices, option


@check("UNAUTHENTICATED without a key and with a wrong one")
def _():
    for metadata in ([], [("authorization", "Bearer gw_wrong")]):
        code, found = refused(request(), {"metadata": metadata})
        equal((code, found["ErrorInfo"].reason), (grpc.StatusCode.UNAUTHENTICATED, "INVALID_API_KEY"))


@check("INVALID_ARGUMENT names the bad field in BadRequest")
def _():
    code, found = refused(request(temperature=3))
    equal(code, grpc.StatusCode.INVALID_ARGUMENT)
    equal((found["ErrorInfo"].domain, found["ErrorInfo"].reason), ("featherwire", "INVALID_VALUE"))
    equal(found["BadRequest"].field_violations[0].field, "temperature")


@check("an error has a reason of the enum, and the model and retry in its metadata")
def _():
    code, found = refused(request("emulator/cold"))
    errors_pb2.ErrorReason.Value("ERROR_REASON_" + found["ErrorInfo"].reason)
    equal(dict(found["ErrorInfo"].metadata), {"model": "emulator/cold", "retry": "later"})


@check("PERMISSION_DENIED carries a Help link")
def _():
    code, found = refused(request("emulator/gated"))
    equal((code, found["ErrorInfo"].reason), (grpc.StatusCode.PERMISSION_DENIED, "MODEL_GATED"))
    assert found["Help"].links[0].url.startswith("https://")


@check("RESOURCE_EXHAUSTED carries RetryInfo and QuotaFailure")
def _():
    code, found = refused(request("emulator/429"))
    equal(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
    equal(found["RetryInfo"].retry_delay.seconds, 2)
    assert found["QuotaFailure"].violations


@check("NOT_FOUND and FAILED_PRECONDITION")
def _():
    code, found = refused(request("no/such-model"))
    equal((code, found["ErrorInfo"].reason), (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"))
    code, found = refused(request("emulator/cold"))
    equal((code, found["ErrorInfo"].reason), (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_NOT_READY"))


@check("an answer that is cut short ends with UNAVAILABLE, after the content before the cut")
def _():
    text = []
    try:
        for chunk in chat.StreamChatCompletion(request("emulator/cut-after-5"), **WITH_KEY):
            text += [choice.delta.content for choice in chunk.choices]
        raise AssertionError("the stream ended as if it were complete")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.UNAVAILABLE)
        equal(details(error)["ErrorInfo"].reason, "UPSTREAM_STREAM_CUT")
    assert "".join(text), "nothing came before the error"


@check("a deadline ends a stream that has stalled")
def _():
    stream = chat.StreamChatCompletion(request("emulator/stall-after-5"), metadata=WITH_KEY["metadata"], timeout=1)
    try:
        list(stream)
        raise AssertionError("the stream ended as if it were complete")
    except grpc.RpcError as error:
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


@check("the catalogue in pages, and one model")
def _():
    ids, token = [], ""
    while True:
        page = models.ListModels(model_service_pb2.ListModelsRequest(page_size=5, page_token=token), **WITH_KEY)
        ids += [model.id for model in page.models]
        token = page.next_page_token
        if not token:
            break
    equal((len(ids), len(set(ids))), (page.total_size, page.total_size))
    equal(models.GetModel(model_service_pb2.GetModelRequest(model=MODEL), **WITH_KEY).id, MODEL)


@check("a text completion, embeddings and tokens")
def _():
    texts = completion_service_pb2_grpc.CompletionServiceStub(channel)
    request = completion_service_pb2.CreateCompletionRequest(model=MODEL, prompt="Once upon a time", max_tokens=10)
    whole = texts.CreateCompletion(request, **WITH_KEY).choices[0].text
    chunks = texts.StreamCompletion(request, **WITH_KEY)
    equal("".join(choice.text for chunk in chunks for choice in chunk.choices), whole)

    request = embedding_service_pb2.CreateEmbeddingRequest(model="BAAI/bge-m3", input="Hello")
    answer = embedding_service_pb2_grpc.EmbeddingServiceStub(channel).CreateEmbedding(request, **WITH_KEY)
    equal(len(answer.data), 1)

    request = model_service_pb2.TokenizeRequest(model=MODEL, text="Hello there")
    assert models.Tokenize(request, **WITH_KEY).tokens


@check("the account's plan, and changes of its units")
def _():
    account = account_service_pb2_grpc.AccountServiceStub(channel)
    plan = account.GetPlan(account_service_pb2.GetPlanRequest(), **WITH_KEY)
    answer = chat.StreamChatCompletion(request("emulator/stall-after-5"), **WITH_KEY)
    next(answer)
    watch = account.WatchConcurrency(account_service_pb2.WatchConcurrencyRequest(), **WITH_KEY)
    # The last snapshot is sent immediately and is up to two seconds old, so it may contain earlier calls.
    used = next(used for used in watch if [active.model for active in used.requests] == ["emulator/stall-after-5"])
    equal((used.limit, used.unlimited), (plan.concurrency, False))
    answer.cancel()
    while next(watch).used_cost:
        pass
    watch.cancel()


@check("reflection (v1alpha) lists the services and describes them, without a key")
def _():
    reflection = ProtoReflectionDescriptorDatabase(channel)
    services = set(reflection.get_services())
    expected = {"featherwire.v1.ChatService", "featherwire.v1.ModelService", "grpc.health.v1.Health"}
    assert expected <= services, services
    service = DescriptorPool(reflection).FindServiceByName("featherwire.v1.ChatService")
    method = service.FindMethodByName("StreamChatCompletion")
    assert method.server_streaming and method.input_type.fields_by_name["messages"]


@check("compressed requests, and a page of the catalogue that may be compressed")
def _():
    long = chat_content_pb2.ChatMessage(role="user", content="Say hello in 5 words. " * 1000)
    asked = chat_service_pb2.CreateChatCompletionRequest(model=MODEL, messages=[long])
    page = model_service_pb2.ListModelsRequest(page_size=1000)
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with grpc.insecure_channel(URL.removeprefix("http://"), compression=compression) as compressed:
            answer = chat_service_pb2_grpc.ChatServiceStub(compressed).CreateChatCompletion(asked, **WITH_KEY)
            equal(answer.choices[0].finish_reason, "stop")
            assert model_service_pb2_grpc.ModelServiceStub(compressed).ListModels(page, **WITH_KEY).models


@check("the google/api files that reflection serves are the published ones")
def _():
    reflection = ProtoReflectionDescriptorDatabase(channel)
    for file in ("google/api/http.proto", "google/api/annotations.proto"):
        # The pool already has the published file, and refuses a different file with the same name.
        descriptor_pool.Default().AddSerializedFile(reflection.FindFileByName(file).SerializeToString())
    assert annotations_pb2.http
