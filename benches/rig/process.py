"""Programs under test in their own processes, and the kernel's numbers about them."""

import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# Gateways in Python take a minute on a busy machine.
START_SECONDS = 240
END_SECONDS = 40


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stop_all_at_exit():
    """Ends all programs with this one, whatever ends it."""
    atexit.register(lambda: [process.stop() for process in RUNNING.copy()])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


RUNNING = set()


class Process:
    """A running program that listens on a port of this machine, with all its children."""

    def __init__(self, command, port, **environment):
        if not shutil.which(command[0]):
            sys.exit(f"{command[0]} is not a program")
        self.name = pathlib.Path(command[0]).name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = tempfile.TemporaryFile()
        self.child = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        RUNNING.add(self)

    def wait_until_listening(self, seconds=START_SECONDS):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.child.poll() is not None:
                self.fail(f"ended with {self.child.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.fail(f"does not listen on port {self.port} after {seconds} s")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read()

    def fail(self, what):
        """Ends the measurement: this program does not do what it must."""
        self.log.seek(0)
        end = self.log.read()[-2000:].decode(errors="replace").strip()
        self.stop()
        sys.exit(f"{self.name} {what}" + (f". It wrote:\n{end}" if end else ""))

    def stop(self):
        """Ends the program and its children."""
        RUNNING.discard(self)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.child.pid, number)
                self.child.wait(END_SECONDS)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def pids(self):
        """The process and all its descendants."""
        children = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                # After the name, which may contain spaces: the state and the parent.
                parent = stat.read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            children.setdefault(int(parent), []).append(int(stat.parent.name))
        found, open_ends = [], [self.child.pid]
        while open_ends:
            pid = open_ends.pop()
            found.append(pid)
            open_ends += children.get(pid, [])
        return found

    def cpu_microseconds(self):
        """The processor time of all threads. The scheduler counts it in nanoseconds."""
        total = 0
        for pid in self.pids():
            for file in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(file.read_text().split()[0])
                except OSError:
                    continue
        return total / 1000

    def memory_kib(self, what="VmRSS"):
        """The resident memory; its peak since `forget_peak` with `VmHWM`."""
        total = 0
        for pid in self.pids():
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            line = re.search(rf"^{what}:\s*(\d+)", status, re.MULTILINE)
            total += int(line[1]) if line else 0
        return total

    def forget_peak(self):
        for pid in self.pids():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
