"""Calls and load: curl for one call whose answer is checked, h2load for many."""

import math
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

from rig import wire

# Some gateways refuse a key that can be guessed.
KEY = f"sk-{secrets.token_hex(24)}"
CALL_SECONDS = 60


@dataclass
class Door:
    """How calls reach a program: their headers and paths, and how both tools are told."""

    name: str
    curl: list
    h2load: list
    headers: dict

    def all_headers(self):
        return self.headers | {"authorization": f"Bearer {KEY}"}

    def header_options(self):
        lines = (f"{name}: {value}" for name, value in self.all_headers().items())
        return [part for line in lines for part in ("-H", line)]

    def path(self, is_stream):
        if self is REST:
            return wire.CHAT_PATH
        return wire.STREAM_METHOD if is_stream else wire.WHOLE_METHOD

    def request(self, is_stream, tokens, prompt=wire.PROMPT):
        if self is REST:
            return wire.rest_request(is_stream, tokens, prompt)
        return wire.grpc_request(tokens, prompt)


REST = Door("REST", [], ["--h1"], {"content-type": "application/json"})
GRPC = Door(
    "gRPC",
    ["--http2-prior-knowledge"],
    [],
    {"content-type": "application/grpc", "te": "trailers"},
)
DOORS = [REST, GRPC]


@dataclass
class Loaded:
    """What many calls gave."""

    calls: int
    seconds: float
    body_bytes: int
    # Of each call, in ms, sorted.
    times: list = field(repr=False)

    def check_size(self, process, call, size):
        """Holds the bodies to the size of one."""
        expected = self.calls * size
        # A stream of 50 tokens without one of them is shorter by a fiftieth.
        if abs(self.body_bytes - expected) > expected / 200:
            process.fail(
                f"has lost or added parts ({call.describe()}): {self.body_bytes} bytes of answers "
                f"instead of {expected}"
            )

    def percentile(self, share):
        return percentile(self.times, share)


class Call:
    """A call that is measured, and what its answer must be: the text or tokens of the paced
    upstream, or anything complete of the emulator."""

    def __init__(self, door, is_stream, tokens, prompt=wire.PROMPT, is_emulator=False):
        self.door, self.is_stream, self.tokens = door, is_stream, tokens
        self.is_emulator = is_emulator
        self.path = door.path(is_stream)
        self.file = tempfile.NamedTemporaryFile()
        self.size = self.file.write(door.request(is_stream, tokens, prompt))
        self.file.flush()

    def body(self):
        return pathlib.Path(self.file.name).read_bytes()

    def describe(self):
        return f"{self.door.name} {'stream' if self.is_stream else 'unary call'}"

    def ask(self, process):
        """Sends the call once, and checks the answer. Returns its body."""
        with tempfile.TemporaryDirectory() as folder:
            head, body = pathlib.Path(folder) / "head", pathlib.Path(folder) / "body"
            # Errors of gRPC have no body, and broken connections not even a head.
            head.touch()
            body.touch()
            command = ["curl", "-sS", "-m", CALL_SECONDS, *self.door.curl, "-D", head, "-o", body]
            # Without the header, no server asks curl to send a large body.
            command += ["-H", "expect:", "--data-binary", f"@{self.file.name}"]
            command += [*self.door.header_options(), process.url + self.path]
            told = run(command, check=False)
            if told.returncode != 0:
                what = f"{told.stderr.strip()}\n{head.read_text()}"
                process.fail(f"does not answer a {self.describe()}: {what.strip()}")
            self.check(process, head.read_text(), body.read_bytes())
            return body.read_bytes()

    def check(self, process, head, body):
        status = head.split(maxsplit=2)[1]
        if status != "200":
            process.fail(f"answers a {self.describe()} with status {status}: {body[:500]}")
        is_success = self.door is REST or re.search(r"^grpc-status: 0\s*$", head, re.MULTILINE)
        if not is_success:
            process.fail(f"answers a {self.describe()} with an error:\n{head}")
        parts = wire.sse_events(body) if self.door is REST else wire.grpc_messages(body)
        if not self.is_stream:
            is_right = b"finish_reason" in body if self.door is REST else parts and len(parts) == 1
        elif self.is_emulator:
            is_right = bool(parts)
        else:
            tokens = sum(wire.STREAMED_TEXT in part for part in parts or [])
            if tokens != self.tokens:
                what = f"with {tokens} of {self.tokens} tokens"
                process.fail(f"answers a {self.describe()} {what}: {body[-500:]}")
            is_right = True
        if not is_right:
            process.fail(f"answers a {self.describe()} with something else: {body[-500:]}")

    def load(self, process, calls, connections, streams=1, rate=None):
        """Sends the call many times, and checks that each has succeeded."""
        with tempfile.NamedTemporaryFile("r") as log:
            begun = self.begin_load(process, calls, connections, streams, rate, log.name)
            return self.end_load(process, begun, calls, log)

    def begin_load(self, process, calls, connections, streams=1, rate=None, log="/dev/null"):
        command = ["h2load", "-t", "1", "-n", calls, "-c", connections, "-m", streams]
        command += ["--log-file", log, "-d", self.file.name, *self.door.h2load]
        # New connections come ten times a second.
        command += ["-r", rate // 10, "--rate-period", "100ms"] if rate else []
        command += [*self.door.header_options(), process.url + self.path]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)

    def end_load(self, process, begun, calls, log=None):
        told, _ = begun.communicate()
        if f"{calls} done, {calls} succeeded" not in told:
            counts = re.search(r"^(?:requests|status codes): .*", told, re.MULTILINE)
            process.fail(f"failed under load ({self.describe()}): {counts and counts[0]}")
        lines = (line.split() for line in log) if log else []
        return Loaded(
            calls,
            seconds(re.search(r"finished in ([\d.]+)(us|ms|s|m)", told)),
            int(re.search(r"\((\d+)\) data", told)[1]),
            sorted(int(line[2]) / 1000 for line in lines),
        )


def percentile(times, share):
    """Of sorted times: the least that this share does not exceed."""
    return times[max(0, math.ceil(len(times) * share) - 1)]


def seconds(match):
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[match[2]]


def run(command, check=True):
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if check and told.returncode != 0:
        sys.exit(f"{command[0]} failed: {told.stderr.strip()}")
    return told
