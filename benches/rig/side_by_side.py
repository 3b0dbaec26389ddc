"""The cost of calls and tokens under load: all programs in turn, round by round."""

import statistics
from collections import defaultdict

from rig.load import DOORS, REST, Call
from rig.table import Table, ratio

TOKENS = 50
PACE_MICROSECONDS = 20_000
# The shares of callers: connections, and streams on each.
UNARY = {"REST": (32, 1), "gRPC": (8, 8)}
STREAMS = {"REST": (256, 1), "gRPC": (8, 32)}
# A stream that takes this much longer than its pace tells that a program cannot keep up.
LATE = 1.1
TITLE = (
    "CPU of the program alone, calls and memory: medians of {rounds} rounds of {seconds:g} s. Unary "
    "calls: 32 connections (gRPC: 8 with 8 calls each). Streams: 256 (gRPC: 8 connections with 32 "
    "each), of {tokens} tokens, one each {pace} ms."
)
COLUMNS = [
    *("program", "µs/call", "call ÷ crabllm", "call ÷ nginx", "calls/s", "p50 ms", "p99 ms"),
    *("µs/token", "token ÷ crabllm", "token ÷ nginx", "stream s", "MiB"),
]


class Load:
    """One of the loads that a program gets."""

    def __init__(self, process, call, connections, streams):
        self.process, self.call = process, call
        self.connections, self.streams = connections, streams
        self.size = len(call.ask(process))
        # Also warms the program up.
        few = self.run(connections * streams * (1 if call.is_stream else 4))
        self.rate = few.calls / few.seconds

    def calls(self, seconds):
        """The number of calls for about this time. All streams begin and end together."""
        at_once = self.connections * self.streams
        return at_once * max(1, round(self.rate * seconds / at_once))

    def run(self, calls):
        loaded = self.call.load(self.process, calls, self.connections, self.streams)
        loaded.check_size(self.process, self.call, self.size)
        return loaded

    def measure(self, seconds):
        """What one round gives."""
        calls = self.calls(seconds)
        before = self.process.cpu_microseconds()
        loaded = self.run(calls)
        used = self.process.cpu_microseconds() - before
        parts = calls * self.call.tokens if self.call.is_stream else calls
        return {
            "microseconds": used / parts,
            "rate": loaded.calls / loaded.seconds,
            "p50": loaded.percentile(0.5),
            "p99": loaded.percentile(0.99),
            "memory": self.process.memory_kib() / 1024,
        }


def measure(targets, upstream, seconds, rounds, say):
    upstream.pace(PACE_MICROSECONDS)
    processes = [target.start(upstream) for target in targets]
    loads = []
    for target, process in zip(targets, processes):
        say(f"warming {target.name} up")
        for door in DOORS if target.has_grpc else [REST]:
            name = f"{target.name}, {door.name}" if target.has_grpc else target.name
            for kind, callers in (("unary", UNARY), ("stream", STREAMS)):
                call = Call(door, kind == "stream", TOKENS)
                loads.append((name, kind, Load(process, call, *callers[door.name])))
    rounds_of = defaultdict(list)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, kind, load in loads:
            rounds_of[name, kind].append(load.measure(seconds))
    for process in processes:
        process.stop()
    return table(rounds_of, seconds, rounds)


def table(rounds_of, seconds, rounds):
    def median(name, kind, what):
        values = [one[what] for one in rounds_of.get((name, kind), [])]
        return statistics.median(values) if values else None

    pace = PACE_MICROSECONDS // 1000
    told = Table(TITLE.format(rounds=rounds, seconds=seconds, tokens=TOKENS, pace=pace), COLUMNS)
    for name in dict.fromkeys(name for name, _ in rounds_of):
        row = [name]
        for kind in ("unary", "stream"):
            own = median(name, kind, "microseconds")
            others = [median(other, kind, "microseconds") for other in ("crabllm", "nginx")]
            row += [own, *(ratio(own, other) for other in others)]
            if kind == "unary":
                row += [median(name, kind, what) for what in ("rate", "p50", "p99")]
        streamed = median(name, "stream", "p50") / 1000
        is_late = streamed > LATE * TOKENS * PACE_MICROSECONDS / 1e6
        row += [f"{streamed:.2f}{' (late)' if is_late else ''}", median(name, "stream", "memory")]
        told.add(*row)
    return told
