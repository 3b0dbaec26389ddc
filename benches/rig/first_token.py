"""The time to the first token of a stream, on one connection, over that of the bare upstream."""

from rig.connection import connect
from rig.load import DOORS, REST, Call, percentile
from rig.table import Table

CALLS = 2000
WARM_UP = 200


def measure(targets, upstream):
    upstream.pace(0)
    processes = [target.start(upstream) for target in targets]
    connections = {"upstream": connect(upstream.process, Call(REST, True, 1))}
    for target, process in zip(targets, processes):
        for door in DOORS if target.has_grpc else [REST]:
            name = f"{target.name}, {door.name}" if target.has_grpc else target.name
            call = Call(door, True, 1)
            call.ask(process)
            connections[name] = connect(process, call)
    times = {name: [] for name in connections}
    for number in range(WARM_UP + CALLS):
        for name, connection in connections.items():
            time = connection.first_token()
            if number >= WARM_UP:
                times[name].append(time)
    for process in processes:
        process.stop()
    title = f"Time to the first token, on one connection: {CALLS:,} calls in turn."
    table = Table(title, ["program", "p50 ms", "p99 ms", "p50 added", "p99 added"])
    bare = sorted(times["upstream"])
    for name, own in times.items():
        p50, p99 = (percentile(sorted(own), share) for share in (0.5, 0.99))
        table.add(name, p50, p99, p50 - percentile(bare, 0.5), p99 - percentile(bare, 0.99))
    return table
