"""The time to the first token of a stream, on one connection, over that of the bare upstream."""

from rig.connection import connect
from rig.load import DOORS, REST, Call, percentile
from rig.table import Table

CALLS = 2000
WARM_UP = 200


def measure(targets, upstream):
    upstream.pace(0)
    title = f"Time to the first token on one connection: {CALLS:,} calls in turn with the upstream."
    table = Table(title, ["program", "p50 ms", "p99 ms", "p50 added", "p99 added"])
    for target in targets:
        with target.start(upstream) as process:
            for door in DOORS if target.has_grpc else [REST]:
                name = f"{target.name}, {door.name}" if target.has_grpc else target.name
                bare, own = in_turn(upstream.process, process, Call(door, True, 1))
                p50, p99 = (percentile(own, share) for share in (0.5, 0.99))
                table.add(name, p50, p99, p50 - percentile(bare, 0.5), p99 - percentile(bare, 0.99))
    return table


def in_turn(upstream, process, call):
    """The sorted times of both, in ms."""
    call.ask(process)
    pair = [connect(upstream, Call(REST, True, 1)), connect(process, call)]
    times = [[connection.first_token() for connection in pair] for _ in range(WARM_UP + CALLS)]
    return [sorted(one) for one in zip(*times[WARM_UP:])]
