#!/usr/bin/env python3
"""Measures the gateway beside other gateways, in front of the same upstream, in one run.

    benches/compare.py                         everything, with the release built from this tree
    benches/compare.py --only load             one of the measurements
    benches/compare.py --alone --gateway PATH  without other gateways, of a program that is built

Needs Linux, Python 3.11, curl, h2load, nginx and valgrind (Debian: curl, nghttp2-client,
nginx-light, valgrind). It installs crabllm by cargo, and litellm by pip with `--litellm`, below
`target/compare`. Run it on an idle machine. docs/performance.md explains the figures.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import resource

from rig import allocations, first_token, large_prompt, open_streams, side_by_side, start_time
from rig.process import stop_all_at_exit
from rig.targets import TARGET, Crabllm, Featherwire, Litellm, Nginx, Upstream, build, need, say

MEASURES = {
    "load": "CPU per call and per token, calls/s, latency",
    "first-token": "time to the first token",
    "streams": "CPU and memory of up to 5,000 open streams",
    "prompt": "memory of a prompt of 4 MiB",
    "start": "time to the first answer of a new process",
    "allocations": "allocations and instructions, under callgrind",
}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--gateway", action="append", metavar="[NAME=]PATH", help="the gateway (repeatable)")
    add("--crabllm", metavar="PATH", help="crabllm's program")
    add("--upstream", metavar="PATH", help="the program of the example paced_upstream")
    add("--alone", action="store_true", help="measure only the gateway")
    add("--default-only", action="store_true", help="do not measure the gateway with --units 0")
    add("--litellm", action="store_true", help="load litellm too")
    what = "; ".join(f"{name}: {text}" for name, text in MEASURES.items())
    add("--only", metavar="NAMES", default=",".join(MEASURES), help=f"some measurements ({what})")
    add("--seconds", type=float, default=8, help="the length of each load (default 8)")
    add("--rounds", type=int, default=5, help="how often each load runs (default 5)")
    add("--json", metavar="PATH", help="also write the figures to a file")
    add("--markdown", action="store_true", help="print tables for docs/performance.md")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(MEASURES):
        names = ", ".join(sorted(unknown))
        parser.error(f"--only has unknown names: {names}. Known: {', '.join(MEASURES)}")
    return options


def gateways(given, default_only):
    """The gateway with its default configuration, and without counting units."""
    if not given:
        build("--bin", "featherwire")
        given = [f"featherwire={TARGET / 'release/featherwire'}"]
    found = []
    for one in given:
        name, _, path = one.rpartition("=")
        name = name or ("featherwire" if len(given) == 1 else pathlib.Path(path).name)
        found.append(Featherwire(name, path))
        if not default_only:
            found.append(Featherwire(f"{name} --units 0", path, units="0"))
    return found


def machine():
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)", cpuinfo, re.MULTILINE)
    cores = f"{os.cpu_count()} cores" + (f" ({model[1]})" if model else "")
    return f"{datetime.date.today()}, Linux {platform.release()}, {cores}"


def main():
    options = arguments()
    need("curl", "h2load", *(["valgrind"] if "allocations" in options.only else []))
    stop_all_at_exit()
    # Each stream takes a connection on either side of a gateway.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    upstream = Upstream(options.upstream)
    own = gateways(options.gateway, options.default_only)
    others = [] if options.alone else [Nginx(), Crabllm(options.crabllm)]
    targets = [*others, *own]
    # This takes long.
    streamed = [*others[1:], *(target for target in own if not target.units)]
    # It takes long to start, and cannot keep up with thousands of streams.
    loaded = [*targets, *([Litellm()] if options.litellm else [])]
    seconds, rounds = options.seconds, options.rounds
    measures = {
        "load": lambda: side_by_side.measure(loaded, upstream, seconds, rounds, say),
        "first-token": lambda: first_token.measure(loaded, upstream),
        "streams": lambda: open_streams.measure(streamed, upstream, rounds, say),
        "prompt": lambda: large_prompt.measure(targets, upstream),
        "start": lambda: start_time.measure(targets, upstream),
        "allocations": lambda: allocations.measure(own, upstream),
    }
    print(machine(), flush=True)
    figures = {"machine": machine(), "tables": []}
    for name in options.only:
        say(f"measuring: {MEASURES[name]}")
        table = measures[name]()
        print("\n" + (table.markdown() if options.markdown else table.text()), flush=True)
        figures["tables"].append(table.json())
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=1, ensure_ascii=False))


main()
