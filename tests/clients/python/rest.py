"""The official OpenAI SDK against the REST door."""

import json

import openai
from checks import KEY, MODEL, URL, check, equal, raises
from pydantic import BaseModel

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0, timeout=30)
HELLO = [{"role": "user", "content": "Say hello in 5 words"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def ask(model=MODEL, messages=HELLO, **options):
    return client.chat.completions.create(model=model, messages=messages, **options)


@check("a unary answer")
def _():
    answer = ask(max_tokens=50, extra_body={"provider": "featherless", "top_k": 40})
    [choice] = answer.choices
    equal(answer.object, "chat.completion")
    equal((choice.message.role, choice.finish_reason), ("assistant", "stop"))
    equal(len(choice.message.content.split()), 5)
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
    assert answer._request_id, "no x-request-id"


@check("a streamed answer, with usage at its end")
def _():
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    equal(len(text.split()), 5)
    equal(chunks[0].choices[0].delta.role, "assistant")
    equal([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")
    assert chunks[-1].usage.total_tokens > 0
    equal({chunk.id for chunk in chunks}, {chunks[0].id})


@check("a tool call, its result, and the answer after it")
def _():
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    [choice] = ask(messages=messages, tools=[WEATHER]).choices
    equal(choice.finish_reason, "tool_calls")
    [call] = choice.message.tool_calls
    equal(call.function.name, "get_weather")
    assert "city" in json.loads(call.function.arguments)
    messages += [
        choice.message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    [choice] = ask(messages=messages, tools=[WEATHER]).choices
    equal(choice.finish_reason, "stop")
    assert choice.message.content


@check("a streamed tool call")
def _():
    stream = client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
    )
    with stream as events:
        for _event in events:
            pass
        [call] = events.get_final_completion().choices[0].message.tool_calls
    equal(call.function.name, "get_weather")
    assert "city" in json.loads(call.function.arguments)


@check("an answer that follows a schema")
def _():
    class City(BaseModel):
        name: str
        population: int

    answer = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


@check("an assistant's message sent back with all its nulls")
def _():
    message = ask().choices[0].message.model_dump()
    equal(message["tool_calls"], None)  # Featherless itself refuses this null.
    answer = ask(messages=[*HELLO, message, {"role": "user", "content": "And again"}])
    equal(answer.choices[0].finish_reason, "stop")


@check("a text completion, unary and streamed")
def _():
    options = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 10}
    answer = client.completions.create(**options)
    equal((answer.object, answer.choices[0].finish_reason), ("text_completion", "length"))
    chunks = list(client.completions.create(**options, stream=True))
    equal("".join(chunk.choices[0].text for chunk in chunks), answer.choices[0].text)


@check("embeddings, as numbers and as base64, which the SDK requests by default")
def _():
    texts = ["Hello", "World"]
    packed = client.embeddings.create(model="BAAI/bge-m3", input=texts)
    numbers = client.embeddings.create(model="BAAI/bge-m3", input=texts, encoding_format="float")
    equal([vector.index for vector in packed.data], [0, 1])
    for one, other in zip(packed.data, numbers.data, strict=True):
        equal(len(one.embedding), len(other.embedding))
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding))


@check("models, listed and by id")
def _():
    assert MODEL in [model.id for model in client.models.list()]
    equal(client.models.retrieve("Qwen/Qwen2.5-72B-Instruct").id, "Qwen/Qwen2.5-72B-Instruct")


@check("AuthenticationError for a wrong key and without a key")
def _():
    error = raises(openai.AuthenticationError, client.with_options(api_key="gw_wrong").models.list)
    equal(error.code, "invalid_api_key")
    raises(openai.AuthenticationError, client.models.list, extra_headers={"Authorization": ""})


@check("the gateway's options in a request, and the report in its answer and in a stream")
def _():
    options = {"fallbacks": [MODEL], "priority": "batch", "timeout_ms": 30_000, "report": True}
    answer = ask(model="emulator/503", extra_body={"featherwire": options})
    report = answer.model_extra["featherwire"]
    equal((report["model_asked"], report["model"]), ("emulator/503", MODEL))
    equal(report["tried"], [{"model": "emulator/503", "reason": "no_capacity"}])
    *chunks, last = ask(model="emulator/503", stream=True, extra_body={"featherwire": options})
    equal((last.choices, last.id, last.model_extra["featherwire"]["model"]), ([], chunks[0].id, MODEL))
    assert not any("featherwire" in chunk.model_extra for chunk in chunks)
    assert "featherwire" not in ask().model_extra


@check("an option and its header: BadRequestError if they differ, and accepted if they are equal")
def _():
    for option, value, name, other, same in [
        ("fallbacks", [MODEL], "x-featherwire-fallback", "other/model", MODEL),
        ("no_fallbacks", True, "x-featherwire-fallback", MODEL, "none"),
        ("priority", "batch", "x-featherwire-priority", "interactive", "batch"),
        ("unary_via_stream", True, "x-featherwire-unary-via-stream", "false", "true"),
        ("timeout_ms", 30_000, "x-request-timeout-ms", "20000", "30000"),
    ]:
        body = {"featherwire": {option: value}}
        for stream in (False, True):
            asked = {"stream": stream, "extra_body": body}
            error = raises(openai.BadRequestError, ask, extra_headers={name: other}, **asked)
            equal((error.code, error.param), ("invalid_value", f"featherwire.{option}"))
            ask(extra_headers={name: same}, **asked)


@check("BadRequestError with the name of the bad field")
def _():
    error = raises(openai.BadRequestError, ask, temperature=3)
    equal((error.code, error.param), ("invalid_value", "temperature"))
    error = raises(openai.BadRequestError, ask, extra_body={"provider": "another"})
    equal((error.code, error.param), ("unknown_provider", "provider"))
    equal(raises(openai.BadRequestError, ask, model="emulator/cold").code, "model_not_ready")


@check("PermissionDeniedError for a gated model and for a plan without access")
def _():
    equal(raises(openai.PermissionDeniedError, ask, model="emulator/gated").code, "model_gated")
    error = raises(openai.PermissionDeniedError, ask, model="emulator/no-plan-access")
    equal(error.code, "plan_without_api_access")


@check("NotFoundError for an unknown model")
def _():
    equal(raises(openai.NotFoundError, ask, model="no/such-model").code, "model_not_found")
    raises(openai.NotFoundError, client.models.retrieve, "no/such-model")


@check("RateLimitError with the time to wait")
def _():
    error = raises(openai.RateLimitError, ask, model="emulator/429")
    equal((error.code, error.response.headers["retry-after"]), ("concurrency_limit_exceeded", "2"))


@check("InternalServerError for failures of the upstream")
def _():
    # The upstream's 401 is about the gateway's own key: callers must not see it as a problem of their key.
    error = raises(openai.InternalServerError, ask, model="emulator/401")
    equal((error.status_code, error.code), (503, "featherless_api_key_rejected"))
    equal(raises(openai.InternalServerError, ask, model="emulator/html-200").status_code, 502)
    equal(raises(openai.InternalServerError, ask, model="emulator/524-html").status_code, 504)


@check("the SDK's own retry hides a temporary fault")
def _():
    answer = client.with_options(max_retries=2).chat.completions.create(model="emulator/503-then-ok", messages=HELLO)
    equal(answer.choices[0].finish_reason, "stop")


@check("an answer that is cut short raises, after the content before the cut")
def _():
    for model, code in [
        ("emulator/cut-after-5", "upstream_stream_cut"),
        ("emulator/eof-after-5", "upstream_stream_cut"),
        ("emulator/error-in-stream", "upstream_stream_failed"),
    ]:
        text = []

        def read():
            for chunk in ask(model=model, stream=True):
                text.append(chunk.choices[0].delta.content or "")

        equal(raises(openai.APIError, read).code, code)
        assert "".join(text), f"{model}: nothing came before the error"
