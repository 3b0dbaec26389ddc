#!/usr/bin/env python3
"""Counts the instructions that a call takes in the gateway, and holds them to benches/instructions.txt.

    benches/instructions.py           report counts that have grown by more than a twentieth, and fail if one has by more than
                                      a seventh: machines differ a little
    benches/instructions.py --renew   write the counts to the file

The gateway runs under callgrind with one worker, once for few calls and once for more; the difference is what the further
calls take. Only the gateway's own instructions count, not those of the kernel. The upstream is the emulator, in a process of
its own. Unlike times, the counts are the same on a busy machine.

Needs valgrind and h2load (Debian: valgrind, nghttp2-client), and builds the release.
"""

import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = ROOT / "benches" / "instructions.txt"
GROWTH_REPORTED = 0.05
GROWTH_MAX = 0.15
# The least of this many counts is taken: a busy machine lets a few timers more ring.
ROUNDS = 2
KEY = "gw_live_instructions"
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
PROMPT = "The quick brown fox jumps over the lazy dog.\n" * 20
TOKENS = 50
# Slow enough for each chunk to be read alone, as callgrind makes the gateway about fifty times slower.
RATE = "200"
START_SECONDS = 60


def protobuf(number, value):
    """A field of a protobuf message: a text, a message or an integer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def rest_request(is_stream):
    request = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS, "stream": is_stream}
    return json.dumps(request).encode()


def grpc_request():
    message = protobuf(1, "user") + protobuf(13, PROMPT)
    request = protobuf(1, MODEL) + protobuf(2, message) + protobuf(13, TOKENS)
    return struct.pack(">BI", 0, len(request)) + request


REST = ["--h1", "-H", "content-type: application/json"]
GRPC = ["-m", "4", "-H", "content-type: application/grpc", "-H", "te: trailers"]
CHAT = "/featherwire.v1.ChatService/"
# The name, the options of h2load, the path, the body, and how many calls each of the two runs has.
KINDS = [
    ("REST, whole answer", REST, "/v1/chat/completions", rest_request(False), (200, 700)),
    ("REST, chunk of a stream", REST, "/v1/chat/completions", rest_request(True), (20, 70)),
    ("gRPC, whole answer", GRPC, CHAT + "CreateChatCompletion", grpc_request(), (200, 700)),
    ("gRPC, chunk of a stream", GRPC, CHAT + "StreamChatCompletion", grpc_request(), (20, 70)),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command, port, **env):
    process = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"{command[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.1)
    process.kill()
    sys.exit(f"{command[0]} does not listen after {START_SECONDS} s")


def stop(process):
    process.terminate()
    process.wait()


def chunks(port):
    """How many events a stream has."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", rest_request(True), headers)
    with urllib.request.urlopen(request) as answer:
        return answer.read().count(b"data: ")


def count(binary, upstream, options, path, body, calls):
    """The instructions of a gateway that answers this number of calls, and the number of events of a stream."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        out, data = pathlib.Path(folder) / "callgrind", pathlib.Path(folder) / "body"
        data.write_bytes(body)
        serve = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--workers", "1", "--units", "0", "--log", "off"]
        gateway = start(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *serve],
            port,
            FEATHERWIRE_API_KEYS=KEY,
            FEATHERLESS_API_KEY="x",
            FEATHERLESS_BASE_URL=f"http://127.0.0.1:{upstream}/v1",
        )
        events = chunks(port)
        load = ["h2load", "-n", str(calls), "-c", "4", "-d", str(data), "-H", f"authorization: Bearer {KEY}", *options]
        told = subprocess.run([*load, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
        stop(gateway)
        if f"{calls} succeeded" not in told:
            sys.exit(f"not every call succeeded:\n{told}")
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1]), events


def measure():
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = str(target / "release" / "featherwire")
    upstream = free_port()
    emulator = start(
        [binary, "emulator", "--listen", f"127.0.0.1:{upstream}", "--tokens-per-second", RATE, "--emulator-units", "0"], upstream
    )
    counts = {}
    for name, options, path, body, (few, many) in KINDS:
        rounds = []
        for _ in range(ROUNDS):
            (less, _), (more, events) = (count(binary, upstream, options, path, body, calls) for calls in (few, many))
            parts = events if "stream" in name else 1
            rounds.append(round((more - less) / (many - few) / parts))
        counts[name] = min(rounds)
        print(f"{name:26} {counts[name]:>9,}", flush=True)
    stop(emulator)
    return counts


def main():
    counts = measure()
    if "--renew" in sys.argv:
        COUNTS.write_text("".join(f"{name}: {number}\n" for name, number in counts.items()))
        return
    known = dict(line.split(": ") for line in COUNTS.read_text().splitlines())
    growth = {name: number / int(known[name]) - 1 for name, number in counts.items()}
    for name in counts:
        if growth[name] > GROWTH_REPORTED:
            print(f"GROWN: {name}: {counts[name]:,} instructions, before {int(known[name]):,}")
    if max(growth.values()) > GROWTH_MAX:
        sys.exit("If the growth is meant, run benches/instructions.py --renew, and say why in the commit.")


main()
