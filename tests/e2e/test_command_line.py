"""A wrong command line, help and version: told in one line, and nothing is sent.

Run by PROGRAM_PYTHON."""

import json
import os
import sys
from typing import List

import pytest

from csm import SimulatedCsm
from support.checks import check
from support.program import USER, run_program, run_python, run_shipped, server_options
from support.scenes import TASK

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    "change",
    [
        "-s",
        "-u",
        "-p",
        "-t",
        "-s=",
        "-u=",
        "-p=",
        "-t=",
        "-s= ",
        "-u= ",
        "-p= ",
        "-t= ",
        "-t=\t",
        "+-S=",
        "+-P=0",
        "+-P=65536",
        "+-P=" + CANARY,
        "+-P=-1",
        "+-P=",
        "+--timeout=0",
        "+--timeout=-5",
        "+--timeout=nan",
        "+--timeout=inf",
        "+--timeout=" + CANARY,
        "+--timeout=",
        "+--request-timeout=0",
        "+--request-timeout=" + CANARY,
        "+--min-interval=" + CANARY,
        "+--insecure",
        "+--ca-file=/dev/null",
        "+--" + CANARY,
        "+--" + CANARY + "=1",
        "+" + CANARY,
        "+--csm_serv=" + CANARY,
        "+--time=5",
        "+--chec",
        "+--check=" + CANARY,
        "+--base64",
        "+--password-file=/dev/null",
        "+--check +--list",
        "+--check +--no-wait",
        "-s=https://" + CANARY,
        f"-s={CANARY}/",
        "-s=a,b,c",
        "-s=a,",
        "-s=,",
        f"-s={CANARY}:0",
        f"-s={CANARY}:99999",
        f"-s={CANARY}:x",
        "-s=[::1",
        "-s=user@" + CANARY,
        "--fingerprint=" + CANARY,
        "--fingerprint=" + "0" * 63,
        "--fingerprint=",
        f"--fingerprint={1:064d},{2:064d}",
        "--fingerprint +--ca-file=/nowhere/" + CANARY,
        "--fingerprint +--ca-file=/dev/null",
        "--fingerprint +--ca-file=",
        "+--leef=http://" + CANARY,
        "+-t",
        "+-p",
        "+first line\n" + CANARY,
    ],
)
def test_usage(csm: SimulatedCsm, change: str) -> None:
    """Told without its value. -x leaves an option out, -x=value gives it another value,
    +-x=value adds it."""
    options = [*server_options(csm), "-t", TASK]
    pairs = dict(zip(options[::2], options[1::2]))
    more: List[str] = []
    for part in change.split(" ", 1) if change.startswith(("--fing", "+--check +")) else [change]:
        name, equals, value = part.lstrip("+").partition("=")
        if part.startswith("+"):
            short = not name.startswith("--") and equals
            more += [name, value] if short else [part[1:]]
        elif equals:
            pairs[name] = value
        else:
            del pairs[name]
    result = run_shipped(*[each for pair in pairs.items() for each in pair], *more)
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert CANARY not in result.text
    assert USER + " " not in result.text


def test_no_argument() -> None:
    result = run_program()
    assert result.code == 2
    assert result.out == ""
    assert "-s: missing or blank" in result.err


def test_version_and_help() -> None:
    version = run_program("--version")
    assert version.code == 0
    assert version.err == ""
    assert version.out.count(".") == 2
    shown = [run_program(option) for option in ("-h", "--help")]
    assert [(each.code, each.err) for each in shown] == [(0, ""), (0, "")]
    assert shown[0].out == shown[1].out


def test_the_interpreter_that_was_asked_for() -> None:
    """CI means an old one: this shows in its log which one it was."""
    code = """
import json, sys, requests, urllib3
print(json.dumps([sys.version_info[:2], requests.__version__, urllib3.__version__]))
"""
    version = json.loads(run_python(code))[0]
    asked = os.environ.get("PROGRAM_PYTHON")
    assert version >= [3, 6]
    assert asked or version == list(sys.version_info[:2])
