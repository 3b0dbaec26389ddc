"""Scrapes a gateway under load with a real Prometheus, and asks it each query of the dashboard and of the alerts:
`load_facts.py PROGRAM FOLDER`.

A query must return data, or be listed in `EMPTY` with the reason for which this load gives it none.
"""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

program, folder = sys.argv[1], Path(sys.argv[2])
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
KEY = "gw_test_load"
RATE_INTERVAL = "20s"
LOAD_SECONDS = 30

# What this load does not give data for, by metric.
EMPTY = {
    "featherwire_upstream_refusals_total": "unless Featherless refuses a call that the gateway thought it had units for",
    "featherwire_trace_spans_lost_total": "until traces are on",
    "featherwire_cluster_role": "unless gateways share a queue",
}


certificate, key = folder / "certificate.pem", folder / "key.pem"
subprocess.run(
    [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=gateway",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:false",
        "-keyout",
        key,
        "-out",
        certificate,
    ],
    check=True,
    capture_output=True,
)
TLS = ssl.create_default_context(cafile=certificate)


def check(what, problem=None):
    """`run` counts these lines."""
    print(f"not ok prometheus: {what}: {problem}" if problem else f"ok prometheus: {what}", flush=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(url, accept=None):
    request = urllib.request.Request(url, headers={"accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.read().decode()


def until(what, look):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"not within 30 s: {what}")


def call(url, model, stream, key=KEY, tokens=30):
    body = {
        "model": model,
        "max_tokens": tokens,
        "stream": stream,
        "messages": [{"role": "user", "content": "Say hello"}],
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60, context=TLS) as response:
            response.read()
    except (http.client.HTTPException, OSError):
        pass


def load(url, grpc):
    """Calls of every kind until `is_over`: more at a time than there are units, and some that fail."""
    # Models that fail cost 4 of the 8 units, and wait for them.
    jobs = [lambda: call(url, MODEL, True)] * 4 + [lambda: call(url, MODEL, False)]
    jobs += [
        lambda: call(url, "emulator/503-then-ok", True),
        lambda: call(url, "emulator/cut-after-5", True),
        lambda: call(url, "emulator/503", False),
        lambda: call(url, "no/model", False),
        lambda: call(url, MODEL, False, key="wrong"),
        grpc,
    ]

    def repeat(job):
        while not is_over.is_set():
            job()
            is_over.wait(0.05)

    threads = [threading.Thread(target=repeat, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


def names(expression):
    found = re.findall(r"\b((?:featherwire|process|gen_ai)_\w+|up)\b(?=[{\[) ]|$)", expression)
    return {re.sub(r"_bucket$", "", name) for name in found}


def query(server, expression):
    """The number of series, and the problem if there is one."""
    try:
        answer = json.loads(get(f"{server}/api/v1/query?query={urllib.parse.quote(expression)}"))
    except urllib.error.HTTPError as error:
        return 0, error.read().decode()
    values = [series["value"][1] for series in answer["data"]["result"]]
    # A quantile of nothing is NaN, which a panel does not draw.
    return len([value for value in values if value != "NaN"]), None


is_over = threading.Event()
log = (folder / "gateway.log").open("w")
gateway = subprocess.Popen(
    [
        program,
        "serve",
        "--emulator",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--metrics-key-label",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--admin-without-tls",
        "--api-keys",
        KEY,
        "--fallback",
        f"emulator/503={MODEL}",
        "--retry-wait",
        "50ms",
    ],
    stderr=log,
    env={},
)
port = free_port()
prometheus = None
try:
    text = until("the gateway serves", lambda: (folder / "gateway.log").read_text())
    text = until(
        "it tells its addresses",
        lambda: re.search(r"on (https://\S+)[\s\S]*administration: (http://\S+)", (folder / "gateway.log").read_text()),
    )
    url, admin = text.groups()
    until("it answers", lambda: get(f"{admin}/readyz"))
    configuration = yaml.safe_load(Path("deploy/prometheus/prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(Path("deploy/prometheus/alerts.yaml").resolve())]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [admin.removeprefix("http://")]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    prometheus = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "prometheus.log").open("w"),
    )
    server = f"http://127.0.0.1:{port}"
    until("Prometheus serves", lambda: get(f"{server}/-/ready"))

    def grpc():
        chat = [program, "chat", "hi", "--gateway", url, "--gateway-ca", certificate]
        subprocess.run(chat, env={"FEATHERWIRE_API_KEY": KEY}, capture_output=True, check=False)

    threads = load(url, grpc)
    time.sleep(LOAD_SECONDS)

    # While calls run and wait.
    scrape = get(f"{admin}/metrics")
    (folder / "metrics").write_text(scrape)
    found = subprocess.run(["promtool", "check", "metrics"], input=scrape, text=True, capture_output=True)
    # These are OpenTelemetry's names.
    hints = [line for line in (found.stdout + found.stderr).splitlines() if line and not line.startswith("gen_ai_")]
    check("promtool finds nothing wrong in /metrics", "; ".join(hints))
    families = [family.name for family in prometheus_text(scrape)]
    check("the client library of Prometheus reads it", None if "featherwire_calls" in families else families)
    families = [
        family.name for family in openmetrics(get(f"{admin}/metrics", "application/openmetrics-text; version=1.0.0"))
    ]
    check("and reads the form of OpenMetrics", None if "featherwire_calls" in families else families)

    dashboard = json.loads(Path("deploy/grafana/featherwire.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
            expression = expression.replace("$instance", ".*").replace("$model", ".*")
            series, problem = query(server, expression)
            reasons = [EMPTY[name] for name in names(expression) if name in EMPTY]
            what = f"panel {panel['title']} ({target['refId']})"
            if not problem and not series and not reasons:
                problem = f"no data: {expression}"
            check(f"{what}: {reasons[0] if reasons and not series else 'has data'}", problem)
    rules = [
        rule
        for group in yaml.safe_load(Path("deploy/prometheus/alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    ]
    for rule in rules:
        problem = query(server, rule["expr"])[1]
        missing = [
            name
            for name in names(rule["expr"])
            if name not in EMPTY
            and not query(server, f"count({name})")[0]
            and not query(server, f"count({name}_bucket)")[0]
        ]
        check(f"alert {rule['alert']} reads metrics that are there", problem or " ".join(missing))
    state = json.loads(get(f"{server}/api/v1/rules"))["data"]["groups"]
    health = [rule["name"] for group in state for rule in group["rules"] if rule["health"] != "ok"]
    check("Prometheus evaluates every rule", " ".join(health) if state else "no rules")
    targets = json.loads(get(f"{server}/api/v1/targets"))["data"]["activeTargets"]
    check("Prometheus takes the scrape", targets[0]["lastError"])
    is_over.set()
    for thread in threads:
        thread.join(60)
finally:
    is_over.set()
    for process in [prometheus, gateway]:
        if process:
            process.kill()
            process.wait()
