"""Holds the alerts and the dashboard to the metrics that exist, to their tests and to the runbook."""

import json
import re
from pathlib import Path

import yaml

METRICS = set(re.findall(r"^\| `(\w+)` \|", Path("docs/metrics.md").read_text(), re.M)) | {"up"}
CODES = set(re.findall(r"`(\w+)`", Path("docs/errors.md").read_text()))
NAME = re.compile(r"\b((?:featherwire|process|gen_ai)_\w+|up)\b(?=[{\[) ]|$)")

alerts = [
    rule
    for group in yaml.safe_load(Path("deploy/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
tests = yaml.safe_load(Path("deploy/prometheus/tests.yaml").read_text())["tests"]
dashboard = json.loads(Path("deploy/grafana/featherwire.json").read_text())
panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
expressions = [rule["expr"] for rule in alerts] + [target["expr"] for panel in panels for target in panel["targets"]]


def check(what, wrong):
    """`run` counts these lines."""
    wrong = sorted(wrong)
    print(f"not ok prometheus: {what}: {' '.join(wrong)}" if wrong else f"ok prometheus: {what}", flush=True)


def names(expression):
    """The metrics of an expression, without the suffixes of histograms."""
    return {re.sub(r"_bucket$", "", name) for name in NAME.findall(expression)}


def codes(expression):
    """The codes that an expression names in full."""
    return {
        code
        for list in re.findall(r'code!?=~?"([^"]+)"', expression)
        for code in list.split("|")
        if re.fullmatch(r"\w+", code)
    }


def anchors(text):
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


check("every metric of an alert or panel exists", {name for one in expressions for name in names(one)} - METRICS)
check("every error code of an alert or panel exists", {code for one in expressions for code in codes(one)} - CODES)
check("every alert has a test", {rule["alert"] for rule in alerts} - {test["name"] for test in tests})
check(
    "every alert has a chapter in the runbook",
    {rule["alert"].lower() for rule in alerts} - anchors(Path("docs/operations.md").read_text()),
)
check(
    "every alert names its chapter",
    {
        rule["alert"]
        for rule in alerts
        if rule["annotations"]["runbook_url"] != f"https://featherwire.example/docs/operations.md#{rule['alert'].lower()}"
    },
)
ids = [panel["id"] for panel in dashboard["panels"]]
check("every panel has an id of its own", {str(id) for id in ids if ids.count(id) > 1})
boxes = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
check(
    "no panel covers another",
    {
        f"{a}/{b}"
        for i, (a, p) in enumerate(boxes)
        for b, q in boxes[i + 1 :]
        if p["x"] < q["x"] + q["w"]
        and q["x"] < p["x"] + p["w"]
        and p["y"] < q["y"] + q["h"]
        and q["y"] < p["y"] + p["h"]
    },
)
