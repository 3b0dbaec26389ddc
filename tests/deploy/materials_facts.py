"""Compares the bill of materials, the list of packages in the program and cargo's own: `materials_facts.py FOLDER TARGET`."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

folder, target = Path(sys.argv[1]), sys.argv[2]


def check(what, is_true, detail=""):
    """`run` counts these lines."""
    print(f"ok materials: {what}" if is_true else f"not ok materials: {what}: {detail}", flush=True)


bill = json.loads((folder / "featherwire.cdx.json").read_text())
in_bill = {f"{one['name']} {one['version']}" for one in bill["components"]}
packages = json.loads(zlib.decompress((folder / "packages").read_bytes()))["packages"]
in_program = {
    f"{one['name']} {one['version']}"
    for one in packages
    if one.get("kind", "runtime") == "runtime" and not one.get("root")
}
tree = [
    "cargo",
    "tree",
    "--locked",
    "--edges",
    "normal,no-proc-macro",
    "--target",
    target,
    "--prefix",
    "none",
    "--format",
    "{p}",
]
lines = subprocess.run(tree, capture_output=True, text=True, check=True).stdout.splitlines()
linked = {" ".join(line.split()[:2]).replace(" v", " ") for line in lines if not line.startswith("featherwire ")}

check("the bill has every package that is linked", linked <= in_bill, sorted(linked - in_bill))
check("the program lists every package that is linked", linked <= in_program, sorted(linked - in_program))
check(
    "every package of the bill has a version, a licence and a hash",
    all(one.get("version") and one.get("licenses") and one.get("hashes") for one in bill["components"]),
)
tests = {"criterion", "proptest", "rcgen", "jsonschema"}
check("no package of the tests is in the bill", not {one["name"] for one in bill["components"]} & tests)
check(
    "the bill is of this version",
    bill["metadata"]["component"]["name"] == "featherwire" and bill["specVersion"] == "1.5",
)
