"""The processes of a cluster: Redis, the emulator and the gateways. All of them end with this process, even if it is
killed."""

import glob
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

# The longest wait for anything, for a machine that has much else to do.
SECONDS_MAX = 90
KEY = "fl-cluster"

_running = []


class Failed(Exception):
    """A check has failed."""


def check(condition, *what):
    if not condition:
        raise Failed(*what)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, condition, seconds=SECONDS_MAX):
    """Waits until the condition holds. Only for times without load: it holds up the callers."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        check(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return found


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def get(url, timeout=10.0):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read().decode()


def fake_clock(offset):
    """The environment of a process whose clock is off by `offset`, such as "+1h"."""
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    check(libraries, "install Debian's package faketime")
    # With glibc's malloc: jemalloc, which Redis uses, asks for the time before faketime is ready.
    return {"LD_PRELOAD": f"{libraries[0]} libc.so.6", "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def stop_all():
    for process in _running:
        process.kill()
    _running.clear()


class Process:
    """A process in a folder of its own, which has its output."""

    def __init__(self, name, command, folder, environment=None):
        self.name = name
        self.folder = Path(folder) / name
        self.folder.mkdir()
        self.output = self.folder / "output.txt"
        self.command = [str(part) for part in command]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FEATHER", "OTEL_"))}
        self.environment = kept | {"HOME": str(self.folder)} | (environment or {})
        self.child = None
        self.is_paused = False
        # Since when it was told to end, or was killed: from then on its calls may fail.
        self.ending_since = None
        self.start()

    def start(self):
        """Starts it. Only from the main thread: the process ends with the thread that has started it."""
        with self.output.open("ab") as output:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
            )
        _running.append(self)

    def is_alive(self):
        return self.child.poll() is None

    def kill(self):
        self.ending_since = self.ending_since or time.monotonic()
        if self.is_alive():
            self.child.kill()
            self.child.wait()

    def terminate(self):
        self.ending_since = time.monotonic()
        self.child.send_signal(signal.SIGTERM)

    def pause(self):
        self.is_paused = True
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.child.send_signal(signal.SIGCONT)
        self.is_paused = False

    def memory_kib(self):
        """The resident memory of the process."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def text(self):
        return self.output.read_text(errors="replace")


class Redis(Process):
    def __init__(self, folder, name="redis", password=None, environment=None):
        self.port = free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}"
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", "."]
        # Every change is on the disk, so that a Redis that is killed comes back with all.
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--requirepass", password] if password else []
        super().__init__(name, command, folder, environment)
        self.wait()

    def wait(self):
        wait_for("Redis listens", lambda: listens(self.port))

    def forget(self):
        """Deletes its data. It must not run."""
        subprocess.run(["rm", "-rf", self.folder / "appendonlydir"], check=True)


class Emulator(Process):
    def __init__(self, program, folder, units, tokens_per_second=200, name="emulator"):
        self.port = free_port()
        self.units = units
        self.url = f"http://127.0.0.1:{self.port}"
        command = [program, "emulator", "--listen", f"127.0.0.1:{self.port}", "--emulator-units", units]
        super().__init__(name, command + ["--tokens-per-second", tokens_per_second], folder)
        wait_for("the emulator listens", lambda: listens(self.port))

    def used(self):
        return json.loads(get(f"{self.url}/account/concurrency"))["used_cost"]

    def granted(self):
        return json.loads(get(f"{self.url}/emulator/counts"))["granted"]


REFUSED = "upstream refused a request for lack of concurrency units"
LEADS = "this gateway leads the cluster"
FOLLOWS = "another gateway leads the cluster"
ALONE = "the cluster's Redis does not answer"
TOO_LATE = "this gateway cannot follow the cluster"
BACK = "this gateway is back in the cluster"


class Gateway(Process):
    def __init__(self, name, program, folder, redis_url, upstream_url, key=KEY, arguments=(), environment=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        variables = {"FEATHERLESS_API_KEY": key, "FEATHERLESS_BASE_URL": f"{upstream_url}/v1"}
        if redis_url:
            variables["FEATHERWIRE_REDIS_URL"] = redis_url
        command = [program, "serve", "--listen", f"127.0.0.1:{self.port}", "--database-url", "sqlite::memory:"]
        command += ["--log-format", "json", "--drain-timeout", "2m", *arguments]
        super().__init__(name, command, folder, variables | (environment or {}))
        self.checked = 0
        self._reading = threading.Lock()
        self._read = 0
        self._lines = []

    def wait(self):
        wait_for(f"{self.name} is ready", lambda: self.is_ready() or not self.is_alive())
        check(self.is_alive(), f"{self.name} has ended ({self.child.returncode}): {self.text()[-2000:]}")

    def is_ready(self):
        try:
            return get(f"{self.url}/readyz") != ""
        except (OSError, urllib.error.HTTPError):
            return False

    def lines(self):
        """The lines of the log so far, as objects. A panic is the end of the check."""
        with self._reading:
            with self.output.open("rb") as output:
                output.seek(self._read)
                text = output.read()
            end = text.rfind(b"\n") + 1
            self._read += end
            for line in text[:end].decode(errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    # Such as a warning before the log is set up.
                    entry = {"level": "WARN", "message": line}
                check(not entry["message"].startswith("a bug"), f"{self.name} logs: {line}")
                self._lines.append(entry)
            return list(self._lines)

    def role(self):
        """What the log says of the role: "leads", "follows" or "alone"."""
        role = "follows"
        for line in self.lines():
            message = line.get("message", "")
            if message.startswith(LEADS):
                role = "leads"
            elif message.startswith((FOLLOWS, BACK)):
                role = "follows"
            elif message.startswith((ALONE, TOO_LATE)):
                role = "alone"
        return role

    def refusals(self):
        return sum(line.get("message") == REFUSED for line in self.lines())

    def new_trouble(self):
        """The warnings and errors of the log since the last call, without those of calls."""
        lines = self.lines()
        new, self.checked = lines[self.checked :], len(lines)
        return [line for line in new if line.get("level") in ("WARN", "ERROR") and line.get("target") != "featherwire::calls"]

    def units(self):
        return json.loads(get(f"{self.url}/v1/concurrency"))["gateway"]

    def metric(self, name):
        """The sum of a metric over all labels."""
        values = [line.rsplit(" ", 1) for line in get(f"{self.url}/metrics").splitlines() if line.startswith(name)]
        return sum(float(value) for series, value in values if series.split("{")[0] == name)
