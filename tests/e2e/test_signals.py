"""Signals: the file that ships is stopped, and says how far it was.

Ctrl-C on a terminal: test_shell.py."""

import contextlib
import os
import signal
import time

import pytest

from support.checks import is_trigger
from support.program import finish, server_options, start_program
from support.scenes import TARGETS, wait_for

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def stop_at(csm, target, where):
    """Start a run that comes to a halt at that point -> the process, once it is there."""

    def is_there(request):
        if where == "wait":
            return request.method == "GET" and any(map(is_trigger, csm.requests[: request.n]))
        if where.startswith("trigger"):
            return is_trigger(request)
        return request.n == {"log-in": 1, "read": 2}[where]

    if where == "wait":
        for record in (csm.world.task(TASK_ID), csm.world.session(PAYROLL)):
            record.outcome = "hang" if target == "task" else "no-backup"
    else:
        kind = "silent-after" if where == "trigger, processed" else "silent-before"
        csm.inject_when(is_there, kind, None)
    process = start_program(*server_options(csm), *TARGETS[target])
    wait_for(lambda: any(map(is_there, csm.requests)))
    time.sleep(0.1)  # it has sent the request, and now waits for the answer
    return process


# Where it is stopped, whether something was started, and words that tell how far it was.
POINTS = [
    ("log-in", 0, b"nothing was started"),
    ("read", 0, b"nothing was started"),
    ("trigger, lost", 0, b"not known"),
    ("trigger, processed", 1, b"not known"),
    ("wait", 1, b"CSM goes on"),
]


@pytest.mark.parametrize("where, triggers, words", POINTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("signum", CODES)
def test_signal(csm, target, where, triggers, words, signum):
    process = stop_at(csm, target, where)
    process.send_signal(signum)
    code, out, err = finish(process)
    assert code == CODES[signum]
    assert len(csm.world.triggers) == triggers
    last = err.splitlines()[-1]
    assert last.startswith(NAME) and words in last and out == b""
    assert err.count(NAME) == 1


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("pause", [0, 0.002, 0.005, 0.01, 0.02, 0.04])
def test_a_second_signal_changes_nothing(csm, signum, pause):
    """An impatient person presses Ctrl-C while the result is being told."""
    process = stop_at(csm, "task", "wait")
    process.send_signal(signum)
    for _ in range(3):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    # Sent at once, the second may be what the program notices first.
    assert code in (CODES[signum], 130)
    assert err.count(NAME) == 1 and b"CSM goes on" in err.splitlines()[-1]


def test_signal_tells_json_too(csm: SimulatedCsm) -> None:
    csm.world.task(TASK_ID).outcome = "hang"
    process = start_program(*server_options(csm), *TARGETS["task"], "--json", "-q")
    wait_for(lambda: len(csm.world.triggers) == 1 and csm.requests[-1].method == "GET")
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert code == 143 and b'"exit_code": 143' in out and b'"started": "yes"' in out
    assert err.count(b"\n") == 1


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
    assert finish(process)[0] == 143


def test_alarm_that_the_parent_ignores(csm: SimulatedCsm) -> None:
    """That is inherited, and what bounds each request would not hold."""
    csm.inject_when(lambda request: request.n > 1, "trickle", None)
    began = time.monotonic()
    process = start_program(
        *server_options(csm),
        *TARGETS["task"],
        "--timeout",
        "2",
        "--request-timeout",
        "0.5",
        preexec_fn=lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    )
    assert finish(process)[0] == 3 and time.monotonic() - began < 5


def test_signal_that_is_swallowed(csm, monkeypatch):
    """As in the destructor of a library's object: the time limits hold all the same."""

    def sleep(self, seconds):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    monkeypatch.setattr(harness.QuickTime, "sleep", sleep)
    csm.inject_when(lambda request: request.n > 4, "trickle", None)
    result = harness.run_inside(
        *server_options(csm), *TARGETS["task"], "--timeout", "2", "--request-timeout", "0.5"
    )
    assert result.code == 8 and result.seconds < 5 and len(csm.world.triggers) == 1
