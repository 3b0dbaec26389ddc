"""What one more call, or one more token, takes: instructions and allocations."""

from rig import callgrind
from rig.load import DOORS, Call
from rig.process import free_port
from rig.table import Table

CALLS = (200, 700)
STREAMS = 20
TOKENS = (50, 150)
# Slow enough for each token to be read alone: callgrind makes the gateway about fifty times slower.
PACE_MICROSECONDS = 8000
TITLE = "Under callgrind, with one worker: a further unary call, and a further token of a stream."
COLUMNS = [
    *("program", "allocations/call", "instructions/call"),
    *("allocations/token", "instructions/token"),
]


def measure(targets, upstream):
    table = Table(TITLE, COLUMNS)
    upstream.pace(PACE_MICROSECONDS)
    for target in targets:
        for door in DOORS:
            call = Call(door, False, TOKENS[0])
            few, many = (count(target, upstream, call, calls) for calls in CALLS)
            unary = many.per_part(few, CALLS[1] - CALLS[0])
            calls = (Call(door, True, tokens) for tokens in TOKENS)
            few, many = (count(target, upstream, call, STREAMS) for call in calls)
            token = many.per_part(few, (TOKENS[1] - TOKENS[0]) * (STREAMS + 1))
            row = [unary.allocations, unary.instructions, token.allocations, token.instructions]
            table.add(f"{target.name}, {door.name}", *row)
    return table


def count(target, upstream, call, calls):
    port = free_port()
    command = [*target.command(port), "--workers", "1"]
    return callgrind.count(command, port, target.environment(upstream), call, calls)
