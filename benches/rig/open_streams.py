"""Memory and CPU of many open streams."""

import math
import statistics
import time

from rig.load import DOORS, REST, Call
from rig.table import Table

NUMBERS = (16, 256, 2048, 5000)
# They take five minutes for each program and door.
ROUNDS_MAX = 3
# All streams together have this many tokens in a second, however many they are: the figures then
# differ only by the number of streams.
TOKENS_PER_SECOND = 4_000
# Callers come in small groups: a gateway may limit the connections that have not yet sent a key.
CALLERS_PER_SECOND = 500
# Over gRPC, their number is the same for all numbers of streams: tokens that come over one
# connection at the same time take less.
GRPC_CONNECTIONS = 16
IDLE_SECONDS = 2
SETTLE_SECONDS = 2
WINDOW_SECONDS = 5
OPEN_SECONDS = 60
TITLE = (
    f"CPU per token of open streams, which have {TOKENS_PER_SECOND:,} tokens a second together, "
    "and memory. Callers over REST have a connection for each stream, over gRPC "
    f"{GRPC_CONNECTIONS}. The program is idle after its first calls. Rounds: {{rounds}}."
)


def measure(targets, upstream, rounds, say):
    rounds = min(rounds, ROUNDS_MAX)
    columns = [f"µs/token at {number:,}" for number in NUMBERS]
    memory = ["idle MiB", f"MiB at {NUMBERS[-1]:,}", "KiB/stream"]
    table = Table(TITLE.format(rounds=rounds), ["program", *columns, "most ÷ least", *memory])
    for target in targets:
        for door in DOORS if target.has_grpc else [REST]:
            name = f"{target.name}, {door.name}" if target.has_grpc else target.name
            say(f"streams of {name}")
            table.add(name, *of_door(target, door, upstream, rounds))
    return table


def of_door(target, door, upstream, rounds):
    with target.start(upstream) as process:
        upstream.pace(1000)
        Call(door, False, 1).ask(process)
        sizes = [len(Call(door, True, tokens).ask(process)) for tokens in (1, 2)]
        time.sleep(IDLE_SECONDS)
        idle = process.memory_kib()
        found = [
            [of_number(process, door, upstream, number, sizes) for number in NUMBERS]
            for _ in range(rounds)
        ]
    costs = [statistics.median(cost for cost, _ in one) for one in zip(*found)]
    spread = f"{max(costs) / min(costs):.2f}"
    # Later rounds find memory that the first one has left.
    full = found[0][-1][1]
    return *costs, spread, idle / 1024, full / 1024, (full - idle) / NUMBERS[-1]


def of_number(process, door, upstream, number, sizes):
    """The CPU per token, in microseconds, and the memory, in KiB, of this many streams."""
    pace = number / TOKENS_PER_SECOND
    ramp = number / CALLERS_PER_SECOND if door is REST else 1
    seconds = 2 * ramp + SETTLE_SECONDS + 3 * WINDOW_SECONDS
    upstream.pace(pace * 1e6)
    call = Call(door, True, round(seconds / pace))
    if door is REST:
        rate = CALLERS_PER_SECOND if number > CALLERS_PER_SECOND else None
        load = call.begin_load(process, number, number, rate=rate)
    else:
        streams = math.ceil(number / GRPC_CONNECTIONS)
        load = call.begin_load(process, number, GRPC_CONNECTIONS, streams)
    until = time.monotonic() + OPEN_SECONDS
    while (are_open := upstream.number("open")) < number:
        if time.monotonic() > until or load.poll() is not None:
            load.kill()
            process.fail(f"has only {are_open} of {number} streams open ({door.name})")
        time.sleep(0.1)
    time.sleep(SETTLE_SECONDS)
    sent, used = upstream.number("sent"), process.cpu_microseconds()
    time.sleep(WINDOW_SECONDS)
    sent, used = upstream.number("sent") - sent, process.cpu_microseconds() - used
    full = process.memory_kib()
    if upstream.number("open") < number:
        load.kill()
        process.fail(f"has closed some of {number} streams early ({door.name})")
    size = sizes[0] + (call.tokens - 1) * (sizes[1] - sizes[0])
    call.end_load(process, load, number).check_size(process, call, size)
    return used / sent, full
