"""The instructions and the allocations that calls take, counted under callgrind.

Only the gateway's own instructions count, not those of the kernel, and only those of the threads that
serve connections. What it does for many calls at once, such as writing their records, depends on how
many there are at a time, and callgrind makes that few. Unlike times, the counts are the same on a busy
machine.
"""

import pathlib
import re
import tempfile
from collections import Counter
from dataclasses import dataclass

from rig.process import Process

# The allocator's functions, as the release names them. Growing an allocation counts as one.
ALLOCATORS = {"_rjem_malloc", "_rjem_calloc", "_rjem_mallocx", "_rjem_realloc", "_rjem_rallocx"}
CONNECTIONS = 4
# Only the threads that serve connections call this.
OF_WORKERS = "serve_connection"


@dataclass
class Counts:
    instructions: float
    allocations: float

    def per_part(self, less, parts):
        """Of each of the parts by which these calls are more than `less`."""
        return Counts(
            (self.instructions - less.instructions) / parts,
            (self.allocations - less.allocations) / parts,
        )


def count(command, port, environment, call, calls, streams=1):
    """What a gateway takes from its start to the end of this number of calls and one more."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind"
        tool = ["--tool=callgrind", "--separate-threads=yes"]
        valgrind = ["valgrind", *tool, f"--callgrind-out-file={out}"]
        with Process([*valgrind, *command], port, **environment) as process:
            process.wait_until_listening()
            call.ask(process)
            call.load(process, calls, CONNECTIONS, streams)
        texts = [file.read_text() for file in sorted(out.parent.glob(f"{out.name}*"))]
        counts = [read(text) for text in texts if OF_WORKERS in text]
        return Counts(
            sum(one.instructions for one in counts), sum(one.allocations for one in counts)
        )


def read(text):
    """The counts in a file that callgrind has written."""
    instructions = int(re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[1])
    names, called, calls = {}, None, Counter()
    for line in re.finditer(r"^(c?fn)=\((\d+)\)(?: (.*))?$|^calls=(\d+)", text, re.MULTILINE):
        kind, number, name, times = line.groups()
        if times:
            calls[names[called]] += int(times)
            continue
        if name:
            # A function that calls itself has its depth after the name.
            names[number] = name.partition("'")[0]
        if kind == "cfn":
            called = number
    return Counts(instructions, sum(calls[name] for name in ALLOCATORS))
