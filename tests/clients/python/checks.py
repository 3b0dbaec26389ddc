"""One line for each check, which `run` adds up: `ok NAME`, or `not ok NAME: why`."""

import os
import sys
from pathlib import Path

URL = os.environ["FEATHERWIRE_URL"]
KEY = os.environ["FEATHERWIRE_KEY"]
MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"

_file = Path(sys.argv[0])
_suite = f"{_file.parent.name}/{_file.stem}"


def check(name):
    """Runs the decorated function immediately."""

    def run(function):
        try:
            function()
        except Exception as error:  # After any error, the other checks still run.
            why = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"not ok {_suite}: {name}: {why}", flush=True)
        else:
            print(f"ok {_suite}: {name}", flush=True)

    return run


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def raises(kind, function, *arguments, **options):
    """The error of exactly this class that the call raises."""
    try:
        function(*arguments, **options)
    except Exception as error:
        assert type(error) is kind, f"raised {type(error).__name__} ({error}), expected {kind.__name__}"
        return error
    raise AssertionError(f"raised nothing, expected {kind.__name__}")
