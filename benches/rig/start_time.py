"""The time from the start of a program to its first right answer."""

import http.client
import statistics
import time

from rig.load import REST, Call
from rig.table import Table

RUNS = 20
PAUSE_SECONDS = 0.0005
SECONDS_MAX = 60


def measure(targets, upstream):
    title = f"Start of a new process to its first answer of a chat call: medians of {RUNS} starts."
    table = Table(title, ["program", "ms", "least", "most"])
    for target in targets:
        times = sorted(first_answer(target, upstream) for _ in range(RUNS))
        table.add(target.name, statistics.median(times), times[0], times[-1])
    return table


def first_answer(target, upstream):
    call = Call(REST, False, 50)
    begun = time.perf_counter()
    with target.launch(upstream) as process:
        while time.perf_counter() < begun + SECONDS_MAX:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
                connection.request("POST", call.path, call.body(), REST.all_headers())
                answer = connection.getresponse()
                if answer.status == 200 and b'"finish_reason"' in answer.read():
                    return (time.perf_counter() - begun) * 1000
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(PAUSE_SECONDS)
        process.fail(f"has not answered after {SECONDS_MAX} s")
