"""The metrics of a gateway under load, read by the Prometheus project's own library for Python, in both formats."""

import os
import threading
import urllib.request

from checks import MODEL, check, equal
from openai import OpenAI
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

# A gateway without keys, whose metrics need none.
URL = os.environ["FEATHERWIRE_OPEN_URL"]
CALLERS = 8
CALLS_OF_EACH = 5
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(accept):
    request = urllib.request.Request(f"{URL}/metrics", headers={"accept": accept})
    with urllib.request.urlopen(request) as response:
        return response.read().decode()


def families(accept):
    text = scrape(accept)
    parse = openmetrics_parser if accept == OPENMETRICS else parser
    return {family.name: family for family in parse.text_string_to_metric_families(text)}


def calls(found):
    samples = found["featherwire_calls"].samples
    return sum(sample.value for sample in samples if sample.labels["rpc"] == "StreamChatCompletion")


def call():
    client = OpenAI(base_url=f"{URL}/v1", api_key="none")
    for _ in range(CALLS_OF_EACH):
        messages = [{"role": "user", "content": "Hello"}]
        for _ in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            pass


def whole(family):
    """The buckets of each series grow, and the last one has the count."""
    series = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        series.setdefault(labels, {}).setdefault(sample.name.removeprefix(family.name), []).append(sample.value)
    for labels, parts in series.items():
        buckets = parts["_bucket"]
        assert buckets == sorted(buckets), f"{family.name} {labels}: {buckets}"
        equal(parts["_count"], [buckets[-1]])


@check("a scrape under load is valid in both formats, and histograms are whole")
def _():
    call()
    before = calls(families("text/plain"))
    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        for accept in ("text/plain", OPENMETRICS):
            found = families(accept)
            for family in found.values():
                if family.type == "histogram":
                    whole(family)
    for caller in callers:
        caller.join()
    equal(calls(families(OPENMETRICS)) - before, CALLERS * CALLS_OF_EACH)


@check("both formats have the same families")
def _():
    def names(accept):
        return {name for name in families(accept) if not name.startswith("process_")}

    equal(names("text/plain"), names(OPENMETRICS))
    equal(families(OPENMETRICS)["featherwire_call_duration_seconds"].unit, "seconds")
