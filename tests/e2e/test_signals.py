"""Signals: the file that ships is stopped, and says how far it was.

Ctrl-C on a terminal: test_shell.py."""

import contextlib
import os
import signal
import subprocess
import time
from typing import Dict

import pytest

from csm import Request, SimulatedCsm
from support.checks import SLACK, WORDS, check, is_trigger
from support.clock import QuickClock
from support.program import NAME, finish, run_inside, server_options, start_program
from support.scenes import PAYROLL, TARGETS, TASK_ID, wait_for

CODES: Dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}


def stop_at(csm: SimulatedCsm, target: str, where: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start a run that comes to a halt at that point -> the process, once it is there."""

    def is_there(request: Request) -> bool:
        if where == "wait":
            return request.method == "GET" and any(map(is_trigger, csm.requests[: request.n]))
        if where.startswith("trigger"):
            return is_trigger(request)
        return bool(request.n == {"log-in": 1, "read": 2}[where])

    if where == "wait":
        for record in (csm.world.task(TASK_ID), csm.world.session(PAYROLL)):
            record.outcome = "hang" if target == "task" else "no-backup"
    else:
        kind = "silent-after" if where == "trigger, processed" else "silent-before"
        csm.inject_when(is_there, kind, None)
    process = start_program(*server_options(csm), *TARGETS[target], *options)
    wait_for(lambda: any(map(is_there, csm.requests)))
    time.sleep(0.1)  # it has sent the request, and now waits for the answer
    return process


# Where it is stopped, whether something was started, and words that tell how far it was.
POINTS = [
    ("log-in", 0, "nothing was started"),
    ("read", 0, "nothing was started"),
    ("trigger, lost", 0, "not known"),
    ("trigger, processed", 1, "not known"),
    ("wait", 1, "CSM goes on"),
]


@pytest.mark.parametrize(("where", "triggers", "words"), POINTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("signum", CODES)
def test_signal(
    csm: SimulatedCsm, target: str, where: str, triggers: int, words: str, signum: int
) -> None:
    process = stop_at(csm, target, where)
    process.send_signal(signum)
    result = finish(process)
    check(result, csm, CODES[signum], triggers=triggers)
    assert words in result.last_line
    assert result.out == ""
    assert result.err.count(NAME) == 1


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("pause", [0, 0.002, 0.005, 0.01, 0.02, 0.04])
def test_a_second_signal_changes_nothing(csm: SimulatedCsm, signum: int, pause: float) -> None:
    """An impatient person presses Ctrl-C while the result is being told."""
    process = stop_at(csm, "task", "wait")
    process.send_signal(signum)
    for _ in range(3):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    result = finish(process)
    # Sent at once, the second may be what the program notices first.
    assert result.code in (CODES[signum], 130)
    assert result.err.count(NAME) == 1
    assert "CSM goes on" in result.last_line


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize(("where", "started"), [("read", "no"), ("wait", "yes")])
def test_signal_tells_json_too(csm: SimulatedCsm, where: str, started: str, signum: int) -> None:
    process = stop_at(csm, "task", where, "--json", "-q")
    process.send_signal(signum)
    result = finish(process)
    check(result, csm, CODES[signum], triggers=int(where == "wait"))
    assert result.json["exit_code"] == result.code
    assert result.json["outcome"] == WORDS[result.code]
    assert result.json["started"] == started
    assert len(result.err.splitlines()) == 1


def test_ignored_interrupt(csm: SimulatedCsm) -> None:
    """A shell's background job ignores SIGINT: so does the program, and SIGTERM ends it."""
    csm.world.task(TASK_ID).outcome = "hang"
    process = start_program(
        *server_options(csm),
        *TARGETS["task"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    wait_for(lambda: len(csm.world.triggers) == 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert finish(process).code == 143


def test_alarm_that_the_parent_ignores(csm: SimulatedCsm) -> None:
    """That is inherited, and what bounds each request would not hold."""
    csm.inject_when(lambda request: request.n > 1, "trickle", None)
    began = time.monotonic()
    process = start_program(
        *server_options(csm),
        *TARGETS["task"],
        *("--timeout", "4", "--request-timeout", "0.5"),
        preexec_fn=lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    )
    assert finish(process).code == 3
    assert time.monotonic() - began < SLACK


class SwallowingClock(QuickClock):
    """Sleeps that are disturbed by a signal of which nobody hears."""

    def rest(self, _: float) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)


def test_signal_that_is_swallowed(csm: SimulatedCsm) -> None:
    """As in the destructor of a library's object: the time limits hold all the same."""
    csm.inject_when(lambda request: request.n > 4, "trickle", None)
    short = ["--timeout", "4", "--request-timeout", "0.5"]
    clock = SwallowingClock()
    result = run_inside(*server_options(csm), *TARGETS["task"], *short, clock=clock)
    assert result.code in (8, 143)
    assert len(csm.world.triggers) == 1
    assert result.seconds < SLACK
