"""Signals, and streams that cannot be used: the file that ships, in a process of its own."""
import contextlib
import itertools
import os
import signal
import subprocess
import time

import harness
import pytest
from harness import server_options, start_program
from simulated_csm import SimulatedCsm
from test_faults import TARGETS, is_trigger

PROGRAM_NAME = b"run-cr-wflow-ds8k"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def csm():
    with SimulatedCsm(backup_seconds=0.1, step_seconds=0.01) as server:
        yield server
    assert server.errors == []


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def finish(process):
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert b"Traceback" not in (out or b"") + (err or b"")
    return process.returncode, out, err


# --- Signals -------------------------------------------------------------------------------------

def stop_at(csm, target, where):
    """Start a run that comes to a halt at that point -> the process, once it is there."""
    def is_there(request):
        if where == "wait":
            return request.method == "GET" and any(map(is_trigger, csm.requests[:request.n]))
        if where.startswith("trigger"):
            return is_trigger(request)
        return request.n == {"log-in": 1, "read": 2}[where]

    if where == "wait":
        for record in (csm.world.task(27), csm.world.session("SGC Payroll")):
            record.outcome = "hang" if target == "task" else "no-backup"
    else:
        kind = "silent-after" if where == "trigger, processed" else "silent-before"
        csm.inject_when(is_there, kind, None)
    process = start_program(*server_options(csm), *TARGETS[target])
    wait_for(lambda: any(map(is_there, csm.requests)))
    time.sleep(0.1)  # it has sent the request, and now waits for the answer
    return process


# Where it is stopped, whether something was started, and words that tell how far it was.
POINTS = [("log-in", 0, b"nothing was started"), ("read", 0, b"nothing was started"),
          ("trigger, lost", 0, b"not known"), ("trigger, processed", 1, b"not known"),
          ("wait", 1, b"CSM goes on")]


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
    assert last.startswith(PROGRAM_NAME) and words in last and out == b""
    assert err.count(PROGRAM_NAME) == 1


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
    assert err.count(PROGRAM_NAME) == 1 and b"CSM goes on" in err.splitlines()[-1]


def test_signal_tells_json_too(csm):
    csm.world.task(27).outcome = "hang"
    process = start_program(*server_options(csm), *TARGETS["task"], "--json", "-q")
    wait_for(lambda: len(csm.world.triggers) == 1 and csm.requests[-1].method == "GET")
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert code == 143 and b'"exit_code": 143' in out and b'"started": "yes"' in out
    assert err.count(b"\n") == 1


def test_ignored_interrupt(csm):
    """A shell's background job ignores SIGINT: so does the program, and SIGTERM ends it."""
    csm.world.task(27).outcome = "hang"
    process = start_program(*server_options(csm), *TARGETS["task"],
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for(lambda: len(csm.world.triggers) == 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143


def test_alarm_that_the_parent_ignores(csm):
    """That is inherited, and what bounds each request would not hold."""
    csm.inject_when(lambda request: request.n > 1, "trickle", None)
    began = time.monotonic()
    process = start_program(*server_options(csm), *TARGETS["task"], "--timeout", "2",
                            "--request-timeout", "0.5",
                            preexec_fn=lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN))
    assert finish(process)[0] == 3 and time.monotonic() - began < 5


def test_signal_that_is_swallowed(csm, monkeypatch):
    """As in the destructor of a library's object: the time limits hold all the same."""
    def sleep(self, seconds):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    monkeypatch.setattr(harness.QuickTime, "sleep", sleep)
    csm.inject_when(lambda request: request.n > 4, "trickle", None)
    result = harness.run_inside(*server_options(csm), *TARGETS["task"], "--timeout", "2",
                                "--request-timeout", "0.5")
    assert result.code == 8 and result.seconds < 5 and len(csm.world.triggers) == 1


# --- Streams -------------------------------------------------------------------------------------

CLOSED = [numbers for count in range(4) for numbers in itertools.combinations(range(3), count)]
OPTIONS = [None, "-v", "--json", "-q"]


def start_with(csm, *argv, close=(), **streams):
    def before_exec():
        for number in close:
            os.close(number)

    streams.setdefault("stdout", subprocess.PIPE)
    streams.setdefault("stderr", subprocess.PIPE)
    return start_program(*server_options(csm), *argv, preexec_fn=before_exec, **streams)


def backup_was_taken(csm, process):
    code, out, err = finish(process)
    assert code == 0, (out, err)
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1
    return out, err


@pytest.mark.parametrize("close, option", [(close, None) for close in CLOSED] + [
    (close, option) for close in ((1,), (2,), (0, 1, 2)) for option in OPTIONS[1:]])
def test_closed_streams(csm, close, option):
    """In every combination: what is open still gets what is meant for it, and nothing else."""
    process = start_with(csm, *TARGETS["session"], *[option] * bool(option), close=close)
    out, err = backup_was_taken(csm, process)
    backup = csm.world.backups_made[0][1].encode()
    assert (backup in out) == (1 not in close and option != "-q")
    if option != "-q":
        assert bool(err) == (2 not in close)
    if close == (1,) and not option:
        assert backup in err  # the result is told where it can be
    # No connection took the number of a closed stream and got what was meant for that.
    assert [each.method for each in csm.requests] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("close", [(0,), (1,), (2,), (0, 1, 2)])
def test_failure_with_closed_streams(csm, close):
    csm.world.session("SGC Payroll").outcome = "error"
    code, out, err = finish(start_with(csm, *TARGETS["session"], close=close))
    assert code == 6 and out == b""
    assert (PROGRAM_NAME in err) == (2 not in close)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("broken", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("how", ["no reader", "full"])
def test_broken_streams(csm, how, broken, option):
    """A pipe whose reader is gone, or a full disk. The exit code is the verdict's, never 120."""
    if how == "full":
        if not os.path.exists("/dev/full"):  # not on every system: a pipe without a reader is
            how = "no reader"
        else:
            target = os.open("/dev/full", os.O_WRONLY)
    if how == "no reader":
        reader, target = os.pipe()
        os.close(reader)
    streams = {name: target for name in ("stdout", "stderr") if broken in (name, "both")}
    process = start_with(csm, *TARGETS["session"], *[option] * bool(option), **streams)
    os.close(target)
    out, err = backup_was_taken(csm, process)
    backup = csm.world.backups_made[0][1].encode()
    if broken == "stderr" and option != "-q":
        assert backup in out
    if broken == "stdout" and not option:
        assert backup in err


@pytest.mark.parametrize("how", ["no reader", "full"])
def test_failure_with_broken_streams(csm, how):
    """The exit code still tells what cannot be written."""
    csm.world.session("SGC Payroll").outcome = "error"
    if how == "full" and os.path.exists("/dev/full"):
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, target = os.pipe()
        os.close(reader)
    process = start_with(csm, *TARGETS["session"], "--json", stdout=target, stderr=target)
    os.close(target)
    assert finish(process)[0] == 6


def test_reader_goes_away_in_mid_run(csm):
    """As `| head -1` does: the first line of progress is read, the rest cannot be written."""
    csm.world.backup_seconds = 0.5
    process = start_with(csm, *TARGETS["task"], "-v", stderr=subprocess.PIPE)
    assert process.stderr.readline()
    process.stderr.close()
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert len(csm.world.backups_made) == 1
