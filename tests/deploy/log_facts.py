"""Holds the table of log lines in docs/operations.md to the lines that the program can write."""

import re
from pathlib import Path

CALL = re.compile(r"tracing::(?:info|warn|error)!\(")
# A string, or what begins and ends parentheses.
# The lines of src/telemetry, which are no events of `tracing`.
LINE = re.compile(r'_LINE: &str =\s*"((?:[^"\\]|\\.)*)"')
PART = re.compile(r'"((?:[^"\\]|\\.)*)"|([()])', re.S)


def messages():
    for file in Path("src").rglob("*.rs"):
        source = file.read_text().split("#[cfg(test)]\nmod tests")[0]
        yield from LINE.findall(source)
        for call in CALL.finditer(source):
            depth, message = 1, None
            for part in PART.finditer(source, call.end()):
                if part[2]:
                    depth += 1 if part[2] == "(" else -1
                    if depth == 0:
                        break
                else:
                    message = re.sub(r"\\\n\s*", "", part[1])
            # A warning about the configuration is a sentence of its own.
            if message and not re.fullmatch(r"\{\w+\}", message):
                # The fixed part of a message that begins with a value.
                yield re.sub(r"^\{\w+\}\. ", "", message)


def fields():
    """The fields of lines whose name or value comes from the code by accident."""
    for file in Path("src").rglob("*.rs"):
        source = file.read_text().split("#[cfg(test)]\nmod tests")[0]
        for call in CALL.finditer(source):
            before_message = source[call.end() :].split('"')[0]
            # `self.retries` is the name of the field too, and `?wait` writes a time as text.
            for field in re.findall(r"(?:^|,)\s*(\w+\.\w+|\?[\w.]+)\s*(?=,)|= (\?[\w.]+)", before_message):
                yield f"{file}: {''.join(field)}"


def check(what, wrong):
    """`run` counts these lines."""
    wrong = sorted(wrong)
    print(f"not ok runbook: {what}: {'; '.join(wrong)}" if wrong else f"ok runbook: {what}", flush=True)


written = set(messages())
rows = set(
    re.findall(r"^\| (?:warn, error|info|warn|error) \| `(.+?)` \|", Path("docs/operations.md").read_text(), re.M)
)
assert len(written) > 30, "the source is not what this check takes it for"
check("fields have names of their own, and times are numbers", set(fields()))
check("every line of the log is explained", written - rows)
check("every line that is explained exists", rows - written)
