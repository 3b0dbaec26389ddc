"""What a cluster does with a wrong Redis, with other clusters beside it, and with clocks that disagree."""

import asyncio
import json
import socket
import subprocess
import threading
import time

from callers import MODELS, Load, call, rest_unary, summary
from cluster import Cluster, is_idle, run_fault, until
from processes import KEY, SECONDS_MAX, Emulator, Gateway, Redis, check, fake_clock, free_port

SECRET = "not-to-be-logged"


def serve_once(answer):
    """A server that answers everything with the same bytes. Returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=talk, args=(client,), daemon=True).start()

    def talk(client):
        try:
            while data := client.recv(65536):
                client.sendall(answer(data))
        except OSError:
            pass

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def old_redis(data):
    """Answers each command of a pipeline as Redis 5 does."""
    information = b"# Server\r\nredis_version:5.0.7\r\n"
    answer = b""
    for _ in range(data.count(b"*")):
        answer += b"$%d\r\n%s\r\n" % (len(information), information) if b"INFO" in data.upper() else b"+OK\r\n"
    return answer


def refused(program, folder, what, url, words):
    """The gateway does not start, and says why in one line."""
    variables = {"FEATHERLESS_API_KEY": KEY, "FEATHERLESS_BASE_URL": "http://127.0.0.1:9/v1", "FEATHERWIRE_REDIS_URL": url}
    place = folder / f"refused-{free_port()}"
    place.mkdir()
    done = subprocess.run(
        [program, "serve", "--listen", "127.0.0.1:0", "--database-url", "sqlite::memory:"],
        env=variables | {"HOME": str(place)}, cwd=place, capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip
    said = done.stdout + done.stderr
    check(done.returncode not in (0, 101) and all(word in said for word in words), f"{what}: {done.returncode}: {said}")
    check(SECRET not in said, f"{what}: the password is in {said}")
    print(f"ok cluster: {what}: {said.strip().splitlines()[0]}", flush=True)


async def wrong_redis(program, folder):
    with_password = Redis(folder, "redis-password", password="right")
    port = with_password.port
    nothing = free_port()
    http = serve_once(lambda _: b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    old = serve_once(old_redis)
    cases = [
        ("a URL of another kind", f"http://127.0.0.1:{port}", ["redis"]),
        ("a URL without a host", "redis://", ["redis"]),
        ("a wrong password", f"redis://:{SECRET}@127.0.0.1:{port}", ["password", "FEATHERWIRE_REDIS_URL"]),
        ("a Redis that requires a password", f"redis://127.0.0.1:{port}", ["password", "FEATHERWIRE_REDIS_URL"]),
        ("a server that is not Redis", f"redis://:{SECRET}@127.0.0.1:{http}", ["no Redis"]),
        ("a Redis that is too old", f"redis://127.0.0.1:{old}", ["5.0", "6.2"]),
        ("a database that is not there", f"redis://:right@127.0.0.1:{port}/999", ["database"]),
    ]
    for what, url, words in cases:
        await asyncio.to_thread(refused, program, folder, what, url, words)
    # What may only be away for a while does not keep a gateway from starting.
    silent = serve_once(lambda _: b"")
    emulator = Emulator(program, folder, 4, name="emulator-alone")
    for what, url in [("nobody listens", f"redis://127.0.0.1:{nothing}"), ("a server that never answers", f"redis://127.0.0.1:{silent}")]:
        gateway = Gateway(f"gateway-{what.replace(' ', '-')}", program, folder, url, emulator.url)
        await asyncio.to_thread(gateway.wait)
        for cost, model in MODELS.items():
            made = await call(rest_unary, gateway, model, 3, SECONDS_MAX)
            check(made.error is None, f"{what}: a call that costs {cost}", str(made))
        check("warning" in gateway.text() and ("it does not answer" in gateway.text() or "refused" in gateway.text()), gateway.text())
        check(gateway.role() == "alone", f"{what}: {gateway.role()}")
        gateway.kill()
        print(f"ok cluster: {what} at the Redis's address: the gateway goes on alone", flush=True)


async def two_accounts(program, folder, rng, callers):
    """Two clusters in one Redis, with keys of two accounts: neither notices the other one."""
    redis = Redis(folder, "redis-two")
    clusters = []
    for name, units in [("a", 4), ("b", 8)]:
        emulator = Emulator(program, folder, units, name=f"emulator-{name}")
        gateways = [Gateway(f"{name}-{index}", program, folder, redis.url, emulator.url, key=f"key-{name}") for index in (1, 2)]
        clusters.append((emulator, gateways))
    for _, gateways in clusters:
        for gateway in gateways:
            await asyncio.to_thread(gateway.wait)
        await until("one of two leads", lambda gateways=gateways: [one.role() for one in gateways].count("leads") == 1)
    loads = [Load(gateways, callers // 2, rng) for _, gateways in clusters]
    for load in loads:
        await load.reach(5)
    for (emulator, gateways), load in zip(clusters, loads, strict=True):
        calls = await load.stop()
        wrong = [str(one) for one in calls if one.error]
        check(not wrong, "two accounts:", *wrong[:5])
        check(sum(gateway.refusals() for gateway in gateways) == 0, "two accounts: upstream refused requests")
        await until("all units are back", lambda gateways=gateways: all(is_idle(one.units()) for one in gateways))
        capacities = {gateway.units()["capacity"] for gateway in gateways}
        check(capacities == {emulator.units}, f"two accounts: {capacities}")
    # The death of one cluster's Redis clients is nothing to the other.
    print(f"ok cluster: two accounts in one Redis: {summary(loads[0].calls)}; {summary(loads[1].calls)}", flush=True)
    for process in [redis, *(one for emulator, gateways in clusters for one in (emulator, *gateways))]:
        process.kill()


async def two_plans(program, folder, rng, callers):
    """Two plans under one name, which is a mistake: every call still ends with an answer."""
    redis = Redis(folder, "redis-plans")
    gateways, emulators = [], []
    for units in (4, 8):
        emulators.append(Emulator(program, folder, units, name=f"emulator-of-{units}"))
        name = ["--cluster-name", "same"]
        gateways.append(Gateway(f"plan-{units}", program, folder, redis.url, emulators[-1].url, key=f"key-{units}", arguments=name))
        await asyncio.to_thread(gateways[-1].wait)
    await until("one of two leads", lambda: [one.role() for one in gateways].count("leads") == 1)
    load = Load(gateways, callers, rng)
    await load.reach(5)
    calls = await load.stop()
    wrong = [str(one) for one in calls if one.error]
    check(not wrong, "two plans:", *wrong[:5])
    await until("all units are back", lambda: all(is_idle(one.units()) for one in gateways), lambda: json.dumps([one.units() for one in gateways]))
    capacities = [one.units()["capacity"] for one in gateways]
    refusals = [one.refusals() for one in gateways]
    print(f"ok cluster: plans of 4 and 8 units under one name: {summary(calls)}; capacity {capacities}, refused upstream {refusals}", flush=True)
    for process in [redis, *emulators, *gateways]:
        process.kill()


async def other_clocks(program, folder, rng, callers):
    """The clock of Redis is an hour ahead, and that of one gateway an hour behind."""
    cluster = Cluster(
        program, folder / "clocks", environments=[(1, fake_clock("-1h"))], redis_environment=fake_clock("+1h"),
    )  # fmt: skip
    try:
        command = ["redis-cli", "-p", str(cluster.redis.port), "TIME"]
        ahead = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]) - time.time()
        check(3500 < ahead < 3700, f"the clock of Redis is {ahead} s ahead")
        await cluster.leader()
        await run_fault(cluster, "clocks are an hour apart", None, callers, rng)
        slow = next(one for one in cluster.gateways if one.place == 1)
        # The gateway with the other clock can lead as well.
        for gateway in [one for one in cluster.gateways if one is not slow]:
            cluster.gateways.remove(gateway)
            gateway.terminate()
        leader = await cluster.leader()
        check(leader is slow, "the gateway with the other clock does not lead")
        await run_fault(cluster, "the gateway whose clock is behind leads", None, callers, rng)
    finally:
        cluster.stop()


async def check_bad_input(program, folder, rng, callers):
    folder.mkdir()
    await wrong_redis(program, folder)
    await two_accounts(program, folder, rng, callers)
    await two_plans(program, folder, rng, callers)
    await other_clocks(program, folder, rng, callers)
