"""Sends one REST and one gRPC call with a caller's trace to a gateway, whose spans a collector of another project
gets: rotel, from PyPI. Once by OTLP over HTTP, once over gRPC.

    check.py GATEWAY COLLECTOR    the programs `featherwire` and `rotel-agent`
"""

import atexit
import json
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SECONDS_MAX = 60
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
PROMPT = "a prompt that no span has"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(name, command, folder):
    output = folder / f"{name}.txt"
    process = subprocess.Popen(command, stdout=output.open("w"), stderr=subprocess.STDOUT, cwd=folder)
    atexit.register(process.kill)
    return process, output


def wait_for(what, condition):
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise SystemExit(f"not within {SECONDS_MAX} s: {what}")


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def field(number, value):
    """A field of protobuf with a text or a message of fewer than 128 bytes."""
    value = value if isinstance(value, bytes) else value.encode()
    return bytes([number << 3 | 2, len(value)]) + value


def ask_rest(address, parent):
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}).encode()
    headers = {"content-type": "application/json", "traceparent": parent}
    request = urllib.request.Request(f"http://{address}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def ask_grpc(address, parent, folder):
    message = field(1, MODEL) + field(2, field(1, "user") + field(13, PROMPT))
    frame = folder / "frame"
    frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    method = "featherwire.v1.ChatService/StreamChatCompletion"
    headers = ["content-type: application/grpc", "te: trailers", f"traceparent: {parent}"]
    command = ["curl", "-sS", "--http2-prior-knowledge", "--data-binary", f"@{frame}", "-D", "-", "-o", "/dev/null"]
    command += [part for header in headers for part in ("-H", header)]
    heads = subprocess.run([*command, f"http://{address}/{method}"], check=True, capture_output=True, text=True).stdout
    assert re.search(r"^grpc-status: 0\r?$", heads, re.M), heads


def spans_of(output, trace_id):
    """The parts of the collector's log that describe spans of this trace."""
    text = output.read_text(errors="replace")
    return [part for part in re.split(r"(?=Span #\d+)", text) if trace_id in part and part.startswith("Span #")]


def check(gateway, collector, protocol, folder):
    grpc_port, http_port, port = free_port(), free_port(), free_port()
    _, spans = start(
        f"collector-{port}",
        [collector, "start", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
        + ["--otlp-http-endpoint", f"127.0.0.1:{http_port}", "--exporter", "blackhole"]
        + ["--debug-log", "traces", "--debug-log-verbosity", "detailed"],
        folder,
    )
    wait_for("the collector listens", lambda: listens(grpc_port) and listens(http_port))
    endpoint = f"http://127.0.0.1:{grpc_port if protocol == 'grpc' else http_port}"
    address = f"127.0.0.1:{port}"
    process, _ = start(
        f"gateway-{port}",
        [gateway, "serve", "--emulator", "--tokens-per-second", "0", "--listen", address]
        + ["--otlp-endpoint", endpoint, "--otlp-protocol", protocol, "--trace-delay", "10ms"],
        folder,
    )
    wait_for("the gateway listens", lambda: listens(port))
    for ask in [ask_rest, lambda address, parent: ask_grpc(address, parent, folder)]:
        trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
        ask(address, f"00-{trace_id}-{caller}-01")
        found = wait_for(f"the spans of trace {trace_id}", lambda: len(spans_of(spans, trace_id)) == 2 and spans_of(spans, trace_id))
        text = "\n".join(found)
        assert f"chat {MODEL}" in text and caller in text, text
        assert "gen_ai.usage.output_tokens" in text and PROMPT not in spans.read_text(errors="replace"), text
        print(f"ok traces: {protocol}: two spans in the caller's trace {trace_id}", flush=True)
    process.terminate()
    assert process.wait(SECONDS_MAX) == 0


def main():
    gateway, collector = (str(Path(program).resolve()) for program in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        for protocol in ["http/protobuf", "grpc"]:
            check(gateway, collector, protocol, Path(folder))


main()
