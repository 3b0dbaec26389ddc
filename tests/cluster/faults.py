"""What can break while calls run."""

import asyncio
import subprocess

from cluster import PAUSED, REDIS_AWAY, until


async def kill_leader(cluster, load, rng):
    await replaced(cluster, await cluster.leader())


async def kill_follower(cluster, load, rng):
    await replaced(cluster, await cluster.follower(rng))


async def replaced(cluster, gateway):
    gateway.kill()
    await cluster.replace(gateway)
    await cluster.leader()


async def end_leader(cluster, load, rng):
    await drained(cluster, await cluster.leader())


async def end_follower(cluster, load, rng):
    await drained(cluster, await cluster.follower(rng))


async def drained(cluster, gateway):
    gateway.terminate()
    await cluster.replace(gateway)
    await until(f"{gateway.name} has ended", lambda: not gateway.is_alive())
    assert gateway.child.returncode == 0, gateway.child.returncode
    await cluster.leader()


async def restart_redis(cluster, load, rng):
    """Away for less than a lease: nobody goes on alone."""
    cluster.redis.kill()
    cluster.redis.start()
    await asyncio.to_thread(cluster.redis.wait)
    await cluster.leader()


async def lose_redis(cluster, load, rng):
    """Away until all go on alone, and then back with its data."""
    cluster.redis.kill()
    await until("all go on alone", lambda: len(cluster.alone()) == len(cluster.gateways), cluster.state)
    await load.reach(2)
    cluster.redis.start()
    await asyncio.to_thread(cluster.redis.wait)
    await cluster.leader()


async def restart_redis_empty(cluster, load, rng):
    cluster.redis.kill()
    cluster.redis.forget()
    cluster.redis.start()
    await asyncio.to_thread(cluster.redis.wait)
    await cluster.leader()


async def lose_redis_and_data(cluster, load, rng):
    cluster.redis.kill()
    cluster.redis.forget()
    await until("all go on alone", lambda: len(cluster.alone()) == len(cluster.gateways), cluster.state)
    await load.reach(2)
    cluster.redis.start()
    await asyncio.to_thread(cluster.redis.wait)
    await cluster.leader()


async def flush_redis(cluster, load, rng):
    """It forgets everything while it runs."""
    command = ["redis-cli", "-p", str(cluster.redis.port), "FLUSHALL"]
    await asyncio.to_thread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    await cluster.leader()


def pause(which, seconds):
    async def paused(cluster, load, rng):
        if which == "leader":
            process = await cluster.leader()
        elif which == "follower":
            process = await cluster.follower(rng)
        else:
            process = cluster.redis
        process.pause()
        await asyncio.sleep(seconds)
        process.go_on()
        await cluster.leader()

    return paused


def cut(which, how):
    """A gateway cannot reach Redis until it goes on alone, and then it can again."""

    async def cut_off(cluster, load, rng):
        gateway = await (cluster.leader() if which == "leader" else cluster.follower(rng))
        port = cluster.relays.ports[gateway.place]
        cluster.relays.set(port, how)
        await until(f"{gateway.name} goes on alone", lambda: gateway.role() == "alone", cluster.state)
        await until("another one leads", lambda: len(cluster.leaders()) == 1, cluster.state)
        await load.reach(2)
        cluster.relays.set(port, "pass")
        await cluster.leader()

    return cut_off


def delay(from_ms, to_ms):
    async def delayed(cluster, load, rng):
        cluster.relays.set_all("delay", from_ms, to_ms)
        await load.reach(4)
        cluster.relays.set_all("pass")
        await cluster.leader()

    return delayed


# The name, the fault, what the log may say of it, and whether upstream may refuse requests (callers never see that): if a
# process stood still, or if one gateway goes on alone while the others have a leader.
FAULTS = [
    ("nothing breaks", None, [], False),
    ("the leader is killed", kill_leader, [], False),
    ("a follower is killed", kill_follower, [], False),
    ("the leader ends", end_leader, [], False),
    ("a follower ends", end_follower, [], False),
    ("Redis restarts", restart_redis, REDIS_AWAY, False),
    ("Redis restarts empty", restart_redis_empty, REDIS_AWAY, False),
    ("Redis forgets everything", flush_redis, [], False),
    ("Redis is away", lose_redis, REDIS_AWAY, False),
    ("Redis is away and comes back empty", lose_redis_and_data, REDIS_AWAY, False),
    ("the leader stands still for 2 s", pause("leader", 2), PAUSED, True),
    ("the leader stands still for 5 s", pause("leader", 5), PAUSED, True),
    ("a follower stands still for 2 s", pause("follower", 2), PAUSED, True),
    ("a follower stands still for 5 s", pause("follower", 5), PAUSED, True),
    ("Redis stands still for 2 s", pause("redis", 2), REDIS_AWAY, True),
    ("Redis stands still for 5 s", pause("redis", 5), REDIS_AWAY, True),
]

# Those that need a way to Redis that can be cut.
RELAY_FAULTS = [
    ("messages take 0.2 to 5 ms", delay(0.2, 5), [], False),
    ("messages take 100 ms", delay(100, 100), [], False),
    ("the leader is cut off from Redis", cut("leader", "cut"), REDIS_AWAY, True),
    ("a follower is cut off from Redis", cut("follower", "cut"), REDIS_AWAY, True),
    ("the leader hears nothing of Redis", cut("leader", "deaf"), REDIS_AWAY, True),
    ("a follower hears nothing of Redis", cut("follower", "deaf"), REDIS_AWAY, True),
]
