"""How much memory a large prompt takes at most."""

import statistics
import time

from rig.load import DOORS, REST, Call
from rig.table import Table

BYTES = 4 * 1024 * 1024
RUNS = 5
SETTLE_SECONDS = 0.5
# JSON escapes a newline, so a text with newlines cannot be kept as it was received.
PROMPTS = {
    "plain": "The quick brown fox jumps over the lazy dog. ",
    "lines": "The quick brown fox jumps over the lazy dog.\n",
}
TITLE = (
    "Growth of the peak memory by a prompt of 4 MiB, as a multiple of its size: "
    f"medians of {RUNS} new processes."
)


def measure(targets, upstream):
    table = Table(TITLE, ["program", "plain text", "text with newlines"])
    for target in targets:
        for door in DOORS if target.has_grpc else [REST]:
            name = f"{target.name}, {door.name}" if target.has_grpc else target.name
            table.add(name, *(growth(target, door, upstream, text) for text in PROMPTS.values()))
    return table


def growth(target, door, upstream, text):
    small = Call(door, False, 50)
    large = Call(door, False, 50, (text * (BYTES // len(text) + 1))[:BYTES])
    found = []
    for _ in range(RUNS):
        with target.start(upstream) as process:
            small.ask(process)
            time.sleep(SETTLE_SECONDS)
            process.forget_peak()
            before = process.memory_kib()
            large.ask(process)
            found.append((process.memory_kib("VmHWM") - before) * 1024 / large.size)
    return statistics.median(found)
