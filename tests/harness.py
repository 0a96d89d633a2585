"""How the tests run the program: as its callers do, and quickly in the test's own process."""
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional

from conftest import PROGRAM, load_program
from simulated_csm import SimulatedCsm

USER, PASSWORD = "admin", "s3cret pass"
# The interpreter that the program is run with: CI sets it to older ones.
PROGRAM_PYTHON = os.environ.get("PROGRAM_PYTHON") or sys.executable


class Result(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Dict[str, Any]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def text(self) -> str:
        return self.out + self.err


def server_options(*servers: SimulatedCsm) -> List[str]:
    """-s (one server, or a pair), user, password and the trusted fingerprint."""
    return ["-s", ",".join("%s:%d" % (each.host, each.port) for each in servers), "-u", USER,
            "-p", PASSWORD, "--fingerprint", servers[0].fingerprint]


class QuickTime:
    """`time` for the program, with sleeps that last a fraction. Clocks stay the real ones, so
    that time-outs of requests, which are real, and deadlines agree."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.slept = []  # type: List[float]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        time.sleep(seconds / self.speed)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def run_inside(*argv: str, speed: float = 25, grace: float = 0.6, first_contact: float = 1.0,
               program: Any = None) -> Result:
    """main() in this process: its pauses are `speed` times shorter, its constants are patched."""
    program = program or load_program()
    program.time_used = QuickTime(speed)
    pace = program.Pace(grace=grace, settle=grace / 3, first_contact=first_contact)
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    handlers = {each: signal.getsignal(each) for each in (
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = program.main(list(argv), pace, program.time_used)
    finally:  # it ignores both at its end
        for each, handler in handlers.items():
            signal.signal(each, handler)
    return Result(code, out.getvalue(), err.getvalue(), time.monotonic() - began)


def start_program(*argv: str, env: Optional[Dict[str, str]] = None, **options: Any
                  ) -> "subprocess.Popen[bytes]":
    """The file that ships, as a process of PROGRAM_PYTHON with an all but empty environment."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([PROGRAM_PYTHON, str(PROGRAM)] + list(argv), env=env or {}, **options)


def run_program(*argv: str, env: Optional[Dict[str, str]] = None, stdin: bytes = b"",
                timeout: float = 60) -> Result:
    began = time.monotonic()
    process = start_program(*argv, env=env, stdin=subprocess.PIPE)
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    finally:
        process.kill()
    return Result(process.returncode, out.decode("utf-8"), err.decode("utf-8"),
                  time.monotonic() - began)


def run_signalled(number: int, *argv: str) -> Result:
    """A task that hangs, and the signal once the program has looked at it."""
    with SimulatedCsm() as csm:
        for task in csm.world.tasks:
            task.outcome = "hang"
        process = start_program(*server_options(csm), *argv)
        until = time.monotonic() + 20
        while not (csm.world.triggers and csm.requests[-1].method == "GET"):
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert csm.errors == []
    return Result(process.returncode, out.decode("utf-8"), err.decode("utf-8"), 0)
