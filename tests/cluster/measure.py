"""Measures a cluster: see `measure`.

    measure.py GATEWAY
"""

import http.client
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from callers import MODELS, TEXT
from member import Member
from processes import Emulator, Gateway, Redis, stop_all, wait_for

MEMBERS = 3
SECONDS = 10
# As many requests of a member wait for their grants at most, and are asked for at once.
OPEN_MAX, AT_ONCE = 5000, 500
WAITING = 10_000
CALLS = 400


class Setup:
    """Gateways on one emulator: the first one leads."""

    def __init__(self, program, folder, name, gateways, units):
        self.redis = Redis(folder, f"redis-{name}")
        self.emulator = Emulator(program, folder, units, tokens_per_second=0, name=f"emulator-{name}")
        # The lines of calls would be measured too.
        quiet = ["--log", "info,featherwire::calls=off"]
        self.gateways = []
        for index in range(gateways):
            self.gateways.append(Gateway(f"{name}-{index}", program, folder, self.redis.url, self.emulator.url, arguments=quiet))
            self.gateways[-1].wait()
            wait_for("the first gateway leads", lambda: self.gateways[0].role() == "leads")
            wait_for("the units are known", lambda: self.gateways[-1].units().get("capacity") == units)

    def stop(self):
        for process in [*self.gateways, self.emulator, self.redis]:
            process.kill()


def ask_for_seconds(redis, number, seconds, results):
    member = Member(redis, number)
    end, count, waiting = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        if waiting < OPEN_MAX:
            member.step(AT_ONCE)
            waiting += AT_ONCE
        got = member.read(1 if waiting < OPEN_MAX else 100)
        waiting -= got
        count += got
    results.put(count)


def served(program, folder):
    """How many requests the leader gives units to in a second. Members of Python ask for them, because gateways would be
    slower than the leader."""
    setup = Setup(program, folder, "served", 1, 1_000_000)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    before = cpu_seconds(setup.gateways[0])
    members = [context.Process(target=ask_for_seconds, args=(setup.redis, number, SECONDS, results)) for number in range(1, MEMBERS + 1)]
    for member in members:
        member.start()
    total = sum(results.get() for _ in members)
    used = cpu_seconds(setup.gateways[0]) - before
    for member in members:
        member.join()
    print(f"one leader serves {total / SECONDS:,.0f} requests/s ({MEMBERS} members), with {used / SECONDS:.2f} cores: {used / total * 1e6:.1f} µs each")
    setup.stop()


def cpu_seconds(process):
    fields = Path(f"/proc/{process.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory(program, folder):
    """What requests that wait cost the leader."""
    setup = Setup(program, folder, "memory", 1, 1)
    leader = setup.gateways[0]
    before = leader.memory_kib()
    members = [Member(setup.redis, number) for number in range(1, 5)]
    while leader_waits(leader) < WAITING - 5:
        for member in members:
            member.step(min(500, WAITING // 4 - member.next_id))
            member.read(1)
            member.granted.clear()
        time.sleep(0.05)
    time.sleep(1)
    after = leader.memory_kib()
    waits = leader_waits(leader)
    print(f"{waits:,} requests that wait cost the leader {(after - before) / 1024:.1f} MiB ({before / 1024:.1f} before): {(after - before) * 1024 / waits:.0f} bytes each")
    setup.stop()


def leader_waits(leader):
    return sum(leader.units()["queued"].values())


def added_wait(program, folder):
    """What a call with free units takes at a follower, at the leader, and at a gateway without a cluster."""
    setup = Setup(program, folder, "wait", 2, 8)
    alone = Gateway("wait-alone", program, folder, None, setup.emulator.url, arguments=["--log", "info,featherwire::calls=off"])
    alone.wait()
    wait_for("the units are known", lambda: alone.units().get("capacity") == 8)
    body = json.dumps({"model": MODELS[1], "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1})
    gateways = {"without a cluster": alone, "the leader": setup.gateways[0], "a follower": setup.gateways[1]}
    connections = {name: http.client.HTTPConnection("127.0.0.1", gateway.port) for name, gateway in gateways.items()}
    seconds = {name: [] for name in gateways}
    for turn in range(CALLS + 20):
        for name, connection in connections.items():
            begun = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise OSError(text)
            if turn >= 20:
                seconds[name].append(time.perf_counter() - begun)
    base = None
    for name, all_seconds in seconds.items():
        cuts = statistics.quantiles(all_seconds, n=100)
        p50, p99 = cuts[49] * 1000, cuts[98] * 1000
        base = base or (p50, p99)
        print(f"a call with free units, {name}: p50 {p50:.2f} ms (+{p50 - base[0]:.2f}), p99 {p99:.2f} ms (+{p99 - base[1]:.2f})")
    alone.kill()
    setup.stop()


def main():
    folder = Path(tempfile.mkdtemp(prefix="featherwire-cluster-"))
    program = str(Path(sys.argv[1]).resolve())
    try:
        for part in (served, memory, added_wait):
            part(program, folder)
    finally:
        stop_all()
    shutil.rmtree(folder)


main()
