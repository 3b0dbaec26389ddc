"""A cluster: four gateways with one Redis and one emulator, and what must be true of it after each fault."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from callers import DOORS, MODELS, Load, call, summary
from processes import ALONE, SECONDS_MAX, TOO_LATE, Emulator, Failed, Gateway, Redis, check, free_port

# What the log may say when something is broken, by what is broken.
REDIS_AWAY = [ALONE, TOO_LATE, "limits of keys are not shared"]
# A process that stood still has lost its connections, and the others had no leader.
PAUSED = [*REDIS_AWAY, "the account's concurrency feed is lost"]

# When this process stands still for longer, in seconds, the gateways may too.
STALL_MAX = 0.7


class Relays:
    """The ways of the gateways to Redis."""

    def __init__(self, redis, count):
        self.ports = [free_port() for _ in range(count)]
        command = [sys.executable, Path(__file__).with_name("relay.py"), str(redis.port), *map(str, self.ports)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        check(self.child.stdout.readline() == "ready\n", "the relay does not start")

    def set(self, port, *command):
        print(port, *command, file=self.child.stdin, flush=True)
        check(self.child.stdout.readline() == "done\n", "the relay does not obey")

    def set_all(self, *command):
        for port in self.ports:
            self.set(port, *command)

    def stop(self):
        # It ends with its input. This is for when it hangs.
        self.child.kill()
        self.child.wait()


class Cluster:
    def __init__(self, program, folder, *, gateways=4, units=8, with_relays=False, arguments=(), environments=(), redis_environment=None):
        self.program, self.folder, self.arguments = program, Path(folder), arguments
        self.folder.mkdir()
        self.redis = Redis(self.folder, environment=redis_environment)
        self.emulator = Emulator(program, self.folder, units)
        self.relays = Relays(self.redis, gateways) if with_relays else None
        # Those that take calls.
        self.gateways = []
        # All that ever ran: their logs count.
        self.all = []
        self.count = 0
        started = [self.start(place, dict(environments).get(place)) for place in range(gateways)]
        for gateway in started:
            gateway.wait()
            self.gateways.append(gateway)

    def start(self, place, environment=None):
        """Starts a gateway. It takes no calls yet."""
        url = f"redis://127.0.0.1:{self.relays.ports[place]}" if self.relays else self.redis.url
        gateway = Gateway(
            f"gateway-{self.count}", self.program, self.folder, url, self.emulator.url,
            arguments=self.arguments, environment=environment,
        )  # fmt: skip
        gateway.place = place
        self.count += 1
        self.all.append(gateway)
        return gateway

    async def replace(self, gateway):
        """Takes a gateway that has ended, or does, out of the list, and starts a new one in its place."""
        self.gateways.remove(gateway)
        new = self.start(gateway.place)
        await asyncio.to_thread(new.wait)
        self.gateways.insert(gateway.place, new)

    def stop(self):
        for process in [*self.all, self.emulator, self.redis]:
            process.kill()
        if self.relays:
            self.relays.stop()

    def leaders(self):
        return [gateway for gateway in self.gateways if gateway.is_alive() and gateway.role() == "leads"]

    def alone(self):
        return [gateway for gateway in self.gateways if gateway.is_alive() and gateway.role() == "alone"]

    async def leader(self):
        """The only leader, when nobody is on its own."""
        await until("exactly one gateway leads", lambda: len(self.leaders()) == 1 and not self.alone())
        return self.leaders()[0]

    async def follower(self, rng):
        leader = await self.leader()
        return rng.choice([gateway for gateway in self.gateways if gateway is not leader])

    def refusals(self):
        return sum(gateway.refusals() for gateway in self.all)

    async def check_all_is_well(self, calls, expected_lines, refusals_allowed, refusals_before):
        """What must be true when the load has ended."""
        wrong = [one for one in calls if one.error and not may_fail(one)]
        check(not wrong, f"{len(wrong)} calls failed at gateways that lived:", *map(str, wrong[:5]))
        await until("the emulator has all units back", lambda: self.emulator.used() == 0)
        for gateway in self.gateways:
            await until(f"{gateway.name} is ready", gateway.is_ready, self.state)
        await self.leader()
        for gateway in self.gateways:
            await until(f"{gateway.name} has all units back", lambda gateway=gateway: is_idle(gateway.units()), self.state)
        made = [call(door, gateway, MODELS[1], 3, SECONDS_MAX) for gateway in self.gateways for door in DOORS]
        for one in await asyncio.gather(*made):
            check(one.error is None, "a call after the fault", str(one))
        await until("all units are back again", lambda: all(is_idle(one.units()) for one in self.gateways), self.state)
        refusals = self.refusals() - refusals_before
        check(refusals == 0 or refusals_allowed, f"upstream refused {refusals} requests")
        counted = sum(gateway.metric("featherwire_upstream_refusals_total") for gateway in self.gateways)
        in_logs = sum(gateway.refusals() for gateway in self.gateways)
        check(counted <= self.refusals() and counted >= 0, f"metrics count {counted} refusals, logs {in_logs}")
        for gateway in self.all:
            for line in gateway.new_trouble():
                if not line["message"].startswith(tuple(expected_lines)):
                    raise Failed(f"{gateway.name} logs: {line}")
        return refusals

    def state(self):
        """For the message of a check that fails."""
        lines = [f"emulator: {self.emulator.used()} units in use"]
        for gateway in self.gateways:
            try:
                lines.append(f"{gateway.name} ({gateway.role()}): {gateway.units()}")
            except OSError as error:
                lines.append(f"{gateway.name} ({gateway.role()}): {error}")
        return "\n".join(lines)


def may_fail(one):
    """A call at a gateway that was killed or ends may fail, with an error that says so."""
    ending_since = one.gateway.ending_since
    if ending_since is None or one.begun_at + one.seconds < ending_since:
        return False
    return any(word in one.error for word in ("onnect", "closed", "cut", "drain", "UNAVAILABLE", "navailable", "reset"))


def is_idle(units):
    queued = sum(units["queued"].values())
    return units["in_use"] == units["running"] == units["settling"] == queued == 0


async def until(what, condition, state=None, seconds=SECONDS_MAX):
    """As `wait_for`, while callers call."""
    end = time.monotonic() + seconds
    while True:
        try:
            if await asyncio.to_thread(condition):
                return
        except OSError:
            # A gateway that starts, stands still or ends.
            pass
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}", state() if state else "")
        await asyncio.sleep(0.1)


async def without_panic(cluster, work):
    """Does the work. Ends it when a gateway logs a panic: then there is no need to wait for anything. Returns besides for
    how long, in seconds, this process stood still because the machine has much else to do."""
    task, stall = asyncio.create_task(work), 0
    try:
        while not task.done():
            begun = time.monotonic()
            await asyncio.wait([task], timeout=0.5)
            stall = max(stall, time.monotonic() - begun - 0.5)
            for gateway in cluster.all:
                gateway.lines()
        return task.result(), stall
    finally:
        task.cancel()


async def run_fault(cluster, name, fault, callers, rng, *, expected=(), may_refuse=False, more=2):
    """Breaks something while calls run, and checks what must be true then."""
    refusals = cluster.refusals()
    begun = time.monotonic()
    granted = cluster.emulator.granted()
    load = Load(cluster.gateways, callers, rng)

    async def make_calls():
        await load.reach(more)
        if fault:
            await fault(cluster, load, rng)
            await load.reach(more)
        return await load.stop()

    try:
        calls, stall = await without_panic(cluster, make_calls())
    except BaseException:
        for task in load.tasks:
            task.cancel()
        raise
    if stall > STALL_MAX:
        # Then the gateways stood still as well.
        expected, may_refuse = [*expected, *PAUSED], True
        print(f"   cluster: the machine stood still for {stall:.1f} s", flush=True)
    refused = await cluster.check_all_is_well(calls, expected, may_refuse, refusals)
    granted = cluster.emulator.granted() - granted
    answers = load.answered()
    check(granted >= answers, f"the emulator has granted units to {granted} requests, and {answers} were answered")
    note = f", {refused} refused upstream" if refused else ""
    print(f"ok cluster: {name}: {summary(calls)}{note} ({time.monotonic() - begun:.0f} s)", flush=True)
