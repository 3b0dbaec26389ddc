"""Callers through all doors, and what becomes of their calls."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass

import grpc
from featherwire import AsyncClient, FeatherwireError
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

from processes import Failed

# A call that takes longer has failed. The longest wait for units of the gateway is five minutes.
CALL_SECONDS_MAX = 240
# Models that cost 1, 2 and 4 units.
MODELS = {
    1: "meta-llama/Meta-Llama-3.1-8B-Instruct",
    2: "google/gemma-2-27b-it",
    4: "meta-llama/Meta-Llama-3.1-70B-Instruct",
}
TEXT = "Write a story of 300 words"
REST = "/v1/chat/completions"
SERVICE = "/featherwire.v1.ChatService"


class CallFailed(Exception):
    """The call got an error, or its answer is not whole."""


async def post(port, path, content_type, body):
    """A call by HTTP/1.1 on a connection of its own. Returns the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: {content_type}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, separator, answer = answer.partition(b"\r\n\r\n")
    if not separator:
        raise CallFailed("the connection was closed without an answer")
    lines = head.lower().split(b"\r\n")
    status = int(lines[0].split()[1])
    if b"transfer-encoding: chunked" in lines:
        answer = unchunked(answer)
    else:
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), len(answer))
        if length != len(answer):
            raise CallFailed("the answer is cut")
    return status, answer


def unchunked(rest):
    whole = bytearray()
    while True:
        size, separator, rest = rest.partition(b"\r\n")
        if not separator:
            raise CallFailed("the answer is cut")
        length = int(size, 16)
        if length == 0:
            return bytes(whole)
        whole += rest[:length]
        if rest[length : length + 2] != b"\r\n":
            raise CallFailed("the answer is cut")
        rest = rest[length + 2 :]


def expect(condition, status, answer):
    if not condition:
        raise CallFailed(f"{status}: {answer[-300:].decode(errors='replace')}")


def body(model, tokens, **more):
    messages = [{"role": "user", "content": TEXT}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": tokens} | more).encode()


async def rest_unary(gateway, model, tokens):
    status, answer = await post(gateway.port, REST, "application/json", body(model, tokens))
    expect(status == 200, status, answer)
    expect(json.loads(answer)["choices"][0]["finish_reason"] in ("stop", "length"), status, answer)


async def rest_sse(gateway, model, tokens):
    status, answer = await post(gateway.port, REST, "application/json", body(model, tokens, stream=True))
    expect(status == 200, status, answer)
    expect(answer.endswith(b"data: [DONE]\n\n") and b'"error"' not in answer, status, answer)


async def connect(gateway, model, tokens):
    status, answer = await post(gateway.port, f"{SERVICE}/CreateChatCompletion", "application/json", body(model, tokens))
    expect(status == 200, status, answer)
    expect(json.loads(answer)["choices"][0]["finishReason"] in ("stop", "length"), status, answer)


def request(model, tokens):
    messages = [ChatMessage(role="user", content=TEXT)]
    return CreateChatCompletionRequest(model=model, messages=messages, max_tokens=tokens)


async def grpc_web(gateway, model, tokens):
    message = request(model, tokens).SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    status, answer = await post(gateway.port, f"{SERVICE}/StreamChatCompletion", "application/grpc-web+proto", frame)
    expect(status == 200 and b"grpc-status:0" in answer, status, answer)


async def grpc_unary(gateway, model, tokens):
    async with AsyncClient(gateway.url) as client:
        try:
            answer = await client.chat(request(model, tokens))
        except (FeatherwireError, grpc.RpcError) as error:
            raise CallFailed(f"{type(error).__name__}: {str(error)[:300]}") from error
        if answer.choices[0].finish_reason not in ("stop", "length"):
            raise CallFailed(f"the answer is not whole: {answer}")


async def grpc_stream(gateway, model, tokens):
    async with AsyncClient(gateway.url) as client:
        try:
            async with client.stream_chat(request(model, tokens)) as stream:
                answer = await stream.read()
        except (FeatherwireError, grpc.RpcError) as error:
            raise CallFailed(f"{type(error).__name__}: {str(error)[:300]}") from error
        if answer.choices[0].finish_reason not in ("stop", "length"):
            raise CallFailed(f"the answer is not whole: {answer}")


DOORS = [rest_unary, rest_sse, connect, grpc_web, grpc_unary, grpc_stream]


@dataclass
class Call:
    door: str
    gateway: object
    begun_at: float
    seconds: float
    error: str | None

    def __str__(self):
        return f"{self.door} at {self.gateway.name}, after {self.seconds:.1f} s: {self.error or 'ok'}"


async def call(door, gateway, model, tokens, seconds_max=CALL_SECONDS_MAX):
    begun_at = time.monotonic()
    error = None
    try:
        await asyncio.wait_for(door(gateway, model, tokens), seconds_max)
    except TimeoutError:
        error = f"no answer within {seconds_max} s"
    except (OSError, CallFailed, asyncio.IncompleteReadError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Call(door.__name__, gateway, begun_at, time.monotonic() - begun_at, error)


class Load:
    """Callers that call one gateway after the other, each through one door, until they are stopped."""

    def __init__(self, gateways, callers, rng, long_calls=True):
        # The list of the gateways that take calls. It changes while they run.
        self.gateways = gateways
        self.calls = []
        self.is_stopped = False
        self.long_calls = long_calls
        self.tasks = [asyncio.create_task(self.run(index, random.Random(rng.random()))) for index in range(callers)]

    async def run(self, index, rng):
        door = DOORS[index % len(DOORS)]
        while not self.is_stopped:
            gateway = self.gateways[index % len(self.gateways)]
            index += 1
            cost = rng.choices([1, 2, 4], [8, 2, 1])[0]
            # Some calls last for seconds, so that they run while something breaks.
            tokens = rng.choice([3, 10, 20, 30])
            if self.long_calls and rng.random() < 0.03:
                cost, tokens = 1, 600
            made = await call(door, gateway, MODELS[cost], tokens)
            self.calls.append(made)
            if made.error:
                # A caller does not try again at once.
                await asyncio.sleep(0.2)

    def answered(self, gateway=None):
        return sum(call.error is None and gateway in (None, call.gateway) for call in self.calls)

    async def reach(self, more, seconds=180):
        """Waits until each gateway that takes calls has answered `more` further calls."""
        before = {gateway: self.answered(gateway) for gateway in self.gateways}
        end = time.monotonic() + seconds
        while True:
            short = [one for one in self.gateways if self.answered(one) - before.get(one, 0) < more]
            if not short:
                return
            if time.monotonic() > end:
                last = [str(call) for call in self.calls[-5:]]
                raise Failed(f"too few answers within {seconds} s at {[one.name for one in short]}: {last}")
            await asyncio.sleep(0.1)

    async def stop(self):
        """Ends the load, and waits for the calls that run."""
        self.is_stopped = True
        await asyncio.gather(*self.tasks)
        return self.calls


def summary(calls):
    good = [call for call in calls if call.error is None]
    longest = max((call.seconds for call in good), default=0)
    doors = Counter(call.door for call in good)
    begun = min((call.begun_at for call in calls), default=0)
    ended = max((call.begun_at + call.seconds for call in calls), default=1)
    return f"{len(good)} answers ({len(good) / max(ended - begun, 0.1):.0f}/s, at most {longest:.1f} s), {len(calls) - len(good)} errors, {len(doors)} doors"
