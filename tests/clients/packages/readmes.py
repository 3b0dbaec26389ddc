"""The READMEs of the packages quote each file of their `examples`, and the packages have the version of
the contract."""

import json
import re
import tomllib
from pathlib import Path

from checks import check, equal

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ROOT / "clients"
QUOTE = re.compile(r"^<!-- (examples/\S+) -->\n```\w+\n(.*?)^```$", re.M | re.S)


@check("each example is quoted as it is")
def _():
    for package, pattern in [("python", "*.py"), ("typescript", "*.ts"), ("go", "*/main.go")]:
        folder = CLIENTS / package
        quoted = dict(QUOTE.findall((folder / "README.md").read_text()))
        files = (folder / "examples").glob(pattern)
        equal(quoted, {file.relative_to(folder).as_posix(): file.read_text() for file in files})


@check("all versions are the contract's")
def _():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    python = tomllib.loads((CLIENTS / "python/pyproject.toml").read_text())["project"]["version"]
    node = json.loads((CLIENTS / "typescript/package.json").read_text())["version"]
    [go] = re.findall(r'^const Version = "(.*)"$', (CLIENTS / "go/client.go").read_text(), re.M)
    equal([python, node, go], [version] * 3)
    readme = (CLIENTS / "typescript/README.md").read_text()
    assert f"featherwire-{version}.tgz" in readme


@check("the oldest Node of the TypeScript package is that of its README")
def _():
    engines = json.loads((CLIENTS / "typescript/package.json").read_text())["engines"]["node"]
    [oldest] = re.findall(r"in Node ([\d.]+)\s+or newer", (CLIENTS / "typescript/README.md").read_text())
    equal(engines, f">={oldest}")
