#!/usr/bin/env python3
"""Counts the instructions and allocations of a call in the gateway, and holds them to
benches/instructions.txt.

    benches/instructions.py           report counts that have grown by more than a twentieth, and
                                      fail if one has by more than a seventh: machines differ
    benches/instructions.py --renew   write the counts to the file
    --gateway PATH                    count in this program instead of the release of this tree

The gateway runs under callgrind with one worker, once for few calls and once for more; the
difference is what the further calls take. The upstream is the emulator, in a process of its own.

Needs valgrind, curl and h2load (Debian: valgrind, curl, nghttp2-client), and builds the release.
"""

import argparse
import pathlib
import re
import sys

from rig import callgrind
from rig.load import DOORS, GRPC, KEY, REST, Call
from rig.process import Process, free_port, stop_all_at_exit
from rig.targets import TARGET, build, need

COUNTS = pathlib.Path(__file__).with_suffix(".txt")
GROWTH_REPORTED = 0.05
GROWTH_MAX = 0.15
# The least of this many counts is taken: a busy machine lets a few timers more ring.
ROUNDS = 2
TOKENS = 50
# Slow enough for each chunk to be read alone: callgrind makes the gateway about fifty times slower.
RATE = "200"
# How many calls each of the two runs has.
UNARY = (200, 700)
STREAMS = (20, 70)


def measure(binary):
    port = free_port()
    address = ["--listen", f"127.0.0.1:{port}"]
    options = ["--tokens-per-second", RATE, "--emulator-units", "0"]
    with Process([binary, "emulator", *address, *options], port) as emulator:
        emulator.wait_until_listening()
        stream = Call(REST, True, TOKENS, is_emulator=True)
        events = stream.ask(emulator).count(b"data: ")
        counts = {}
        for door in DOORS:
            for is_stream in (False, True):
                call = Call(door, is_stream, TOKENS, is_emulator=True)
                least = least_of_rounds(binary, emulator, call)
                name = f"{door.name}, {'chunk of a stream' if is_stream else 'whole answer'}"
                for what, number in vars(least).items():
                    number = number / events if is_stream else number
                    counts[f"{name}, {what}"] = round(number, 1 if what == "allocations" else None)
                    print(f"{name:24} {what:12} {counts[f'{name}, {what}']:>9,}", flush=True)
    return counts


def least_of_rounds(binary, emulator, call):
    """The least counts per call."""
    few, many = STREAMS if call.is_stream else UNARY
    streams = 4 if call.door is GRPC else 1
    rounds = []
    for _ in range(ROUNDS):
        less, more = (count(binary, emulator, call, calls, streams) for calls in (few, many))
        rounds.append(more.per_part(less, many - few))
    return callgrind.Counts(
        min(one.instructions for one in rounds), min(one.allocations for one in rounds)
    )


def count(binary, emulator, call, calls, streams):
    port = free_port()
    command = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--log", "off"]
    environment = {
        "FEATHERWIRE_API_KEYS": KEY,
        "FEATHERLESS_API_KEY": "x",
        "FEATHERLESS_BASE_URL": f"{emulator.url}/v1",
        "FEATHERWIRE_DATABASE_URL": "sqlite::memory:",
    }
    options = ["--workers", "1", "--units", "0"]
    return callgrind.count([*command, *options], port, environment, call, calls, streams)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--gateway", metavar="PATH")
    options = parser.parse_args()
    need("valgrind", "h2load", "curl")
    stop_all_at_exit()
    if not options.gateway:
        build("--bin", "featherwire")
    counts = measure(options.gateway or TARGET / "release/featherwire")
    if options.renew:
        COUNTS.write_text("".join(f"{name}: {number}\n" for name, number in counts.items()))
        return
    known = dict(re.findall(r"(.+): (.+)", COUNTS.read_text()))
    growth = {name: number / float(known[name]) - 1 for name, number in counts.items()}
    for name, number in counts.items():
        if growth[name] > GROWTH_REPORTED:
            print(f"GROWN: {name}: {number:,}, before {known[name]}")
    if max(growth.values()) > GROWTH_MAX:
        sys.exit("If it is meant, run benches/instructions.py --renew, and say why in the commit.")


main()
