"""Checks README.md, CONTRIBUTING.md, docs/ and clients/: runs their examples, and compares their tables with the
program.

An example is a fenced block after a comment that only readers of the source see:

    <!-- try: TEXT -->               run it; it must succeed and print TEXT
    <!-- try in a browser: TEXT -->  load it into a page; the page must come to show TEXT
    <!-- try with TOOL: TEXT -->     run it with a tool of recipes/
    <!-- file NAME -->               a file of the recipe that follows
    <!-- start with TOOL: PORT -->   a server on this port, for the recipe that follows
    <!-- serve -->, <!-- test -->    the two commands of the quick start; `--print` hands them to scripts

    documents.py --print serve
    documents.py FOLDER              in this folder, which has a copy of proto/ and node_modules/, with the gateway
                                     of the quick start at FEATHERWIRE_OPEN_URL
    documents.py --recipes FOLDER TOOLS
                                     only the examples with tools: in this folder, with the programs in TOOLS/TOOL/bin
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "clients/README.md",
        *sorted((ROOT / "clients").glob("*/README.md")),
    ]
}
README_LINES_MAX = 300
PICTURE_BYTES_MAX = 200_000
MARKS = r"serve|test|try|try in a browser|try with [\w-]+|start with [\w-]+|file [\w./-]+"
BLOCK = re.compile(rf"^<!-- ({MARKS})(?:: (.+?))? -->\n```(\w+)\n(.*?)^```$", re.M | re.S)
SECONDS_MAX = 300


def blocks(*kinds):
    """(where, match) of each example of these kinds, in order."""
    for name, text in DOCUMENTS.items():
        for match in BLOCK.finditer(text):
            if any(re.fullmatch(kind, match[1]) for kind in kinds):
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}", match


def report(name, problem):
    """`run` counts these lines."""
    print(f"not ok documents: {name}: {problem}" if problem else f"ok documents: {name}", flush=True)


def commands(folder, language, text, in_browser, python=sys.executable):
    """The commands that run an example."""
    if language == "sh":
        return [["bash", "-euo", "pipefail", "-c", text]]
    if language == "python":
        (folder / "example.py").write_text(text)
        return [[python, "example.py"]]
    assert language == "ts", f"no way to run {language}"
    (folder / "example.ts").write_text(text)
    bundle = ["esbuild", "example.ts", "--bundle", "--format=esm", "--log-level=warning"]
    if in_browser:
        return [[*bundle, "--outfile=example.js"], ["node", "browser/show.mjs", "example.js"]]
    return [
        [*bundle, "--platform=node", "--packages=external", "--outfile=example.mjs"],
        ["node", "example.mjs"],
    ]


def run_example(folder, match):
    kind, expected, language, text = match.groups()
    steps = commands(folder, language, at_gateway(text), kind == "try in a browser")
    return run_steps(folder, steps, expected, {"PYTHONPATH": "gen"})


def at_gateway(text):
    """The text of an example, for the gateway of this run."""
    return text.replace("localhost:8000", os.environ["FEATHERWIRE_OPEN_URL"].removeprefix("http://"))


def run_steps(folder, steps, expected, variables):
    """Runs these commands. Returns what is wrong with them, or None."""
    environment = {
        **os.environ,
        "FEATHERWIRE_GATEWAY": os.environ["FEATHERWIRE_OPEN_URL"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "EXPECTED": expected or "",
        **variables,
    }
    output = ""
    for command in steps:
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            return f"ran for more than {SECONDS_MAX} s"
        if ended.returncode != 0:
            return f"exit {ended.returncode}: {(ended.stdout + ended.stderr)[-600:]!r}"
        output = ended.stdout
    if expected and expected not in output:
        return f"{expected!r} is not in {output[-600:]!r}"
    return None


def run_recipes(folder, tools):
    """Runs the examples with tools, in the order of the documents."""
    programs = Path(os.environ["FEATHERWIRE_BIN"]).resolve().parent
    ports, servers = {}, []
    try:
        for where, match in blocks(r"(file|start with|try with) .+"):
            mark, expected, language, text = match.groups()
            action, _, tool = mark.rpartition(" ")
            text = at_gateway(text)
            for written, used in ports.items():
                text = text.replace(written, used)
            path = f"{tools / tool / 'bin'}:{os.environ['PATH']}:{programs}"
            if action == "file":
                (folder / tool).parent.mkdir(parents=True, exist_ok=True)
                (folder / tool).write_text(text)
            elif action == "start with":
                ports[expected] = free_port()
                log = (folder / f"{tool}.log").open("w")
                server = subprocess.Popen(
                    ["bash", "-euc", text.replace(expected, ports[expected])],
                    cwd=folder,
                    env={**os.environ, "PATH": path},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                servers.append(server)
                report(f"{tool} starts at {where}", start_problem(server, int(ports[expected]), log.name))
            else:
                steps = commands(folder, language, text, False, str(tools / tool / "bin/python"))
                report(f"the recipe at {where}", run_steps(folder, steps, expected, {"PATH": path}))
    finally:
        for server in servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def start_problem(server, port, log):
    """Waits until a server listens. Returns why it does not, or None."""
    end = time.monotonic() + SECONDS_MAX
    while server.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return None
        except OSError:
            time.sleep(0.2)
    return f"does not listen: {Path(log).read_text()[-600:]!r}"


def help_of(command):
    help = subprocess.run(
        [os.environ["FEATHERWIRE_BIN"], command, "--help"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"\s+", " ", help.stdout)


def options_in_help():
    """Every option that has a variable, with its default: (flag, variable, default)."""
    found = set()
    for command in ["serve", "emulator", "check", "chat", "models", "usage"]:
        for option in re.split(r"(?= --[a-z-]+ (?:<|[A-Z]))", help_of(command)):
            flag = re.match(r" (--[a-z-]+)", option)
            variable = re.search(r"\[env: (\w+)=?\]", option)
            default = re.search(r"\[default: (\S+)\]", option)
            if flag and variable:
                found.add((flag[1], variable[1], default[1] if default else ""))
    return found


def options_in_table():
    configuration = DOCUMENTS["docs/configuration.md"]
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(\w+)` \| (?:`(.*?)`)? ?\|", configuration, re.M)
    # `--emulator` is a flag: its help has no default to print.
    return {(flag, variable, "" if default == "false" else default) for flag, variable, default in rows}


def errors_in_table():
    """(kind, gRPC status, OpenAI type) of every row of the source's table."""
    source = (ROOT / "src/error/table.rs").read_text()
    types = dict(re.findall(r'^const (\w+): &str = "(\w+)";$', source, re.M))
    rows = re.findall(r"^\s+row\(Kind::(\w+),\s*Code::(\w+),\s*\S+\s*(\w+)\),$", source, re.M)
    assert rows, "src/error/table.rs is not what this check takes it for"
    return {(kind, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code).upper(), types[name]) for kind, code, name in rows}


def errors_in_documents():
    return set(re.findall(r"^\| (\w+) \| ([A-Z_]+) \| \d{3} \| `(\w+)` \|", DOCUMENTS["docs/errors.md"], re.M))


def codes_missing():
    """Error codes of the source that are missing in docs/errors.md."""
    source = (ROOT / "src/error/code.rs").read_text()
    codes = set(re.findall(r'^    \w+ = "(\w+)", \w+;$', source, re.M))
    assert codes, "src/error/code.rs is not what this check takes it for"
    # It has no caller to receive it.
    codes -= {"cancelled"}
    return {code for code in codes if f"`{code}`" not in DOCUMENTS["docs/errors.md"]}


def calls_missing():
    """Methods of the contract that are missing in docs/api.md. The project's own tests check the REST paths."""
    calls = set()
    for file in (ROOT / "proto/featherwire").rglob("*.proto"):
        for service, methods in re.findall(r"^service (\w+) \{\n(.*?)^\}", file.read_text(), re.M | re.S):
            calls |= {f"{service}/{method}" for method in re.findall(r"^  rpc (\w+)\(", methods, re.M)}
    assert calls, "proto/ is not what this check takes it for"
    return {call for call in calls if f"`{call}`" not in DOCUMENTS["docs/api.md"]}


def anchors_of(text):
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_missing():
    """Broken links to files and headings of the project."""
    for name, text in DOCUMENTS.items():
        links = re.findall(r"\]\(([^)]+)\)", text)
        pictures = re.findall(r' (?:src|srcset)="([^"]+)"', text)
        for target in links + pictures:
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            file = (ROOT / name).parent / path if path else ROOT / name
            if not file.exists():
                yield f"{name}: {target}"
            elif anchor and anchor not in anchors_of(file.read_text()):
                yield f"{name}: {target}"


def pictures_too_large():
    """Pictures that make the page slow to open."""
    for file in sorted((ROOT / "docs/pictures").iterdir()):
        if file.suffix in {".webp", ".png", ".svg"} and file.stat().st_size > PICTURE_BYTES_MAX:
            yield f"{file.name} has {file.stat().st_size} bytes"


def difference(found, expected):
    lacks, extra = sorted(expected - found), sorted(found - expected)
    return " ".join([*(f"lacks {row}" for row in lacks), *(f"has {row}" for row in extra)])


def main():
    if sys.argv[1] == "--print":
        [(_, match)] = blocks(sys.argv[2])
        print(match[4], end="")
        return
    if sys.argv[1] == "--recipes":
        run_recipes(Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve())
        return
    folder = Path(sys.argv[1])
    for where, match in blocks("try", "try in a browser"):
        report(f"the example at {where}", run_example(folder, match))
    report("the options are those of --help", difference(options_in_table(), options_in_help()))
    report("the table of errors is the source's", difference(errors_in_documents(), errors_in_table()))
    report("every error's code is named", " ".join(sorted(codes_missing())))
    report("every method is named", " ".join(sorted(calls_missing())))
    report("every link within the project leads somewhere", " ".join(sorted(links_missing())))
    report("the pictures are small", " ".join(pictures_too_large()))
    lines = DOCUMENTS["README.md"].count("\n")
    report("the README is short", f"it has {lines} lines" if lines >= README_LINES_MAX else None)


main()
