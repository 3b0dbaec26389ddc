"""The programs that are compared: how each is installed, and started in front of the upstream."""

import os
import pathlib
import shutil
import sys
import tempfile

from rig.load import KEY, run
from rig.process import Process, free_port
from rig.wire import MODEL

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
INSTALLED = TARGET / "compare"
CRABLLM = "0.0.25"
LITELLM = "1.108.7"


def need(*tools):
    """Ends with the missing tools and the packages that have them."""
    packages = {"h2load": "nghttp2-client", "nginx": "nginx-light"}
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        names = " ".join(packages.get(tool, tool) for tool in missing)
        sys.exit(f"missing: {', '.join(missing)} (Debian: apt-get install {names})")


def say(what):
    print(what, file=sys.stderr, flush=True)


def build(*arguments):
    say(f"building {arguments[-1]}")
    manifest = ["--manifest-path", ROOT / "Cargo.toml"]
    run(["cargo", "build", "--release", "--locked", *manifest, *arguments])


class Upstream:
    """The example `paced_upstream`."""

    def __init__(self, program=None):
        if not program:
            build("--example", "paced_upstream")
            program = TARGET / "release/examples/paced_upstream"
        port = free_port()
        self.process = Process([program, f"127.0.0.1:{port}"], port)
        self.process.wait_until_listening()

    def pace(self, microseconds):
        """Sets the time between two tokens of the streams that start from now on."""
        self.process.get(f"/pace/{round(microseconds)}")

    def number(self, name):
        """`open`: the chat answers that have not ended; `sent`: the tokens of all streams."""
        return int(self.process.get(f"/{name}"))


class Target:
    """A program that is measured. `start` starts it anew."""

    has_grpc = False

    def __init__(self, name):
        self.name = name

    def start(self, upstream):
        process = self.launch(upstream)
        process.wait_until_listening()
        return process

    def launch(self, upstream):
        """Starts the program, and does not wait until it listens."""
        raise NotImplementedError


class Featherwire(Target):
    """The gateway, with the account's units known and counted, or without a limit."""

    has_grpc = True

    def __init__(self, name, program, units=None):
        super().__init__(name)
        self.program, self.units = program, units

    def command(self, port):
        units = ["--units", self.units] if self.units else []
        return [self.program, "serve", "--listen", f"127.0.0.1:{port}", "--log", "warn", *units]

    def environment(self, upstream):
        return {
            "FEATHERWIRE_API_KEYS": KEY,
            "FEATHERLESS_API_KEY": "x",
            "FEATHERLESS_BASE_URL": f"{upstream.process.url}/v1",
            "FEATHERWIRE_DATABASE_URL": "sqlite::memory:",
        }

    def launch(self, upstream):
        port = free_port()
        return Process(self.command(port), port, **self.environment(upstream))


class Nginx(Target):
    """A proxy that reads nothing: what any gateway costs at least, without a task of its own."""

    def __init__(self):
        need("nginx")
        super().__init__("nginx")

    def launch(self, upstream):
        port = free_port()
        folder = tempfile.mkdtemp()
        # Workers run as another user.
        os.chmod(folder, 0o755)
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        pathlib.Path(folder, "nginx.conf").write_text(f"""
daemon off; worker_processes auto; pid {folder}/pid; error_log stderr crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  access_log off; {paths} client_max_body_size 64m; client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  upstream paced {{
    server 127.0.0.1:{upstream.process.port}; keepalive 8192; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://paced; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 5m;
    }}
  }}
}}
""")
        return Process(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "stderr"], port)


class Crabllm(Target):
    """A gateway in Rust that passes bodies through."""

    def __init__(self, program=None):
        super().__init__("crabllm")
        self.program = program or self.install()

    def install(self):
        program = INSTALLED / "crabllm/bin/crabllm"
        if not program.exists():
            say(f"installing crabllm {CRABLLM}, which takes some minutes")
            version = ["--version", CRABLLM, "--locked"]
            run(["cargo", "install", "crabllm", *version, "--root", program.parents[1]])
        return program

    def launch(self, upstream):
        port = free_port()
        file = pathlib.Path(tempfile.mkdtemp(), "crabllm.toml")
        file.write_text(f"""
listen = "127.0.0.1:{port}"
admin_token = "unused"
[[keys]]
name = "measured"
key = "{KEY}"
models = ["*"]
[providers.paced]
kind = "openai"
api_key = "x"
base_url = "{upstream.process.url}/v1"
models = ["{MODEL}"]
""")
        return Process([self.program, "serve", "--config", file], port)


class Litellm(Target):
    """A gateway in Python."""

    def __init__(self):
        super().__init__("litellm")
        folder = INSTALLED / "litellm"
        self.program = folder / "bin/litellm"
        if not self.program.exists():
            say(f"installing litellm {LITELLM}")
            run([sys.executable, "-m", "venv", folder])
            run([folder / "bin/pip", "install", "--quiet", f"litellm[proxy]=={LITELLM}"])

    def launch(self, upstream):
        port = free_port()
        file = pathlib.Path(tempfile.mkdtemp(), "litellm.yaml")
        # For Llama's own names it fetches a tokenizer from another host.
        file.write_text(f"""
model_list:
  - model_name: "{MODEL}"
    litellm_params:
      model: "openai/paced"
      api_base: "{upstream.process.url}/v1"
      api_key: "x"
general_settings: {{ master_key: "{KEY}" }}
litellm_settings: {{ telemetry: false }}
""")
        address = ["--host", "127.0.0.1", "--port", port]
        # Without the variables it asks other hosts for prices when it starts, and logs each call.
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        return Process([self.program, "--config", file, *address], port, **quiet)
