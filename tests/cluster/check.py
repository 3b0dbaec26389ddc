"""Breaks a cluster of gateways while calls run: see `run`.

    check.py GATEWAY [--long] [--seed N] [--callers N] [--only WORDS]…
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bad_input import check_bad_input
from cluster import Cluster, run_fault
from faults import FAULTS, RELAY_FAULTS
from processes import Failed, stop_all

# What the short form breaks.
SHORT = ["nothing breaks", "the leader is killed", "a follower ends", "Redis restarts empty", "the leader stands still for 5 s"]
SHORT_RELAY = ["a follower is cut off from Redis"]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/cluster/run", description="Breaks a cluster of gateways while calls run.")
    parser.add_argument("gateway", help=argparse.SUPPRESS)
    parser.add_argument("--long", action="store_true", help="all faults, and all again in a random order")
    parser.add_argument("--callers", type=int, help="how many callers call at once (default 48, with --long 400)")
    parser.add_argument("--seed", type=int, help="repeats the random choices of another run")
    parser.add_argument("--only", action="append", default=[], metavar="WORDS", help="only the faults whose name has these words")
    parser.add_argument("--bad-input", action="store_true", help="only what is wrong from the start, such as the URL of Redis")
    parser.add_argument("--list", action="store_true", help="lists the faults")
    return parser.parse_args()


def chosen(faults, short, options):
    if options.bad_input:
        return []
    if options.only:
        return [fault for fault in faults if any(words in fault[0] for words in options.only)]
    return faults if options.long else [fault for fault in faults if fault[0] in short]


async def break_cluster(title, faults, options, rng, folder, **more):
    if not faults:
        return
    cluster = Cluster(options.gateway, folder / title, **more)
    try:
        await cluster.leader()
        for name, fault, expected, may_refuse in faults:
            try:
                await run_fault(cluster, name, fault, options.callers, rng, expected=expected, may_refuse=may_refuse)
            except Failed as failed:
                raise Failed(f"{name}:", *failed.args) from failed
    except BaseException:
        print(f"--- {title}\n{cluster.state()}", file=sys.stderr)
        raise
    finally:
        cluster.stop()


async def main():
    options = arguments()
    if options.list:
        print(*(fault[0] for fault in FAULTS + RELAY_FAULTS), sep="\n")
        return 0
    options.gateway = str(Path(options.gateway).resolve())
    options.callers = options.callers or (400 if options.long else 48)
    seed = random.randrange(10**9) if options.seed is None else options.seed
    print(f"cluster: --seed {seed}, {options.callers} callers", flush=True)
    rng = random.Random(seed)
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="featherwire-cluster-"))
    direct, relayed = chosen(FAULTS, SHORT, options), chosen(RELAY_FAULTS, SHORT_RELAY, options)
    try:
        await break_cluster("direct", direct, options, rng, folder)
        await break_cluster("relayed", relayed, options, rng, folder, with_relays=True)
        if options.bad_input or not options.only:
            await check_bad_input(options.gateway, folder / "bad-input", rng, min(options.callers, 48))
        if options.long and not options.only and not options.bad_input:
            mixed = direct + relayed
            rng.shuffle(mixed)
            await break_cluster("mixed", mixed, options, rng, folder, with_relays=True)
    except Failed as failed:
        print("FAILED cluster:", *failed.args, f"(--seed {seed}; the logs are in {folder})", sep="\n  ", file=sys.stderr)
        return 1
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    finally:
        stop_all()
    shutil.rmtree(folder)
    print(f"ok cluster ({time.monotonic() - begun:.0f} s)")
    return 0


sys.exit(asyncio.run(main()))
