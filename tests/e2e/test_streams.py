"""Streams that are closed, broken or full: the backup is taken, and the exit code tells it."""

import itertools
import os
import subprocess

import pytest

from support.program import finish, server_options, start_program
from support.scenes import TARGETS

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


@pytest.mark.parametrize(
    "close, option",
    [(close, None) for close in CLOSED]
    + [(close, option) for close in ((1,), (2,), (0, 1, 2)) for option in OPTIONS[1:]],
)
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
    csm.world.session(PAYROLL).outcome = "error"
    code, out, err = finish(start_with(csm, *TARGETS["session"], close=close))
    assert code == 6 and out == b""
    assert (NAME in err) == (2 not in close)


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
    csm.world.session(PAYROLL).outcome = "error"
    if how == "full" and os.path.exists("/dev/full"):
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, target = os.pipe()
        os.close(reader)
    process = start_with(csm, *TARGETS["session"], "--json", stdout=target, stderr=target)
    os.close(target)
    assert finish(process)[0] == 6


def test_reader_goes_away_in_mid_run(csm: SimulatedCsm) -> None:
    """As `| head -1` does: the first line of progress is read, the rest cannot be written."""
    csm.world.backup_seconds = 0.5
    process = start_with(csm, *TARGETS["task"], "-v", stderr=subprocess.PIPE)
    assert process.stderr.readline()
    process.stderr.close()
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert len(csm.world.backups_made) == 1
