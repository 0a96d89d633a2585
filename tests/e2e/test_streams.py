"""Streams that are closed, broken or full: the backup is taken, and the exit code tells it."""

import itertools
import os
import subprocess
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import check
from support.program import NAME, finish, server_options, start_program
from support.scenes import PAYROLL, TARGETS, mostly_slow

CLOSED = [numbers for count in range(4) for numbers in itertools.combinations(range(3), count)]
OPTIONS: List[Optional[str]] = [None, "-v", "--json", "-q"]


def start_with(
    csm: SimulatedCsm, *argv: str, close: Sequence[int] = (), **streams: Any
) -> "subprocess.Popen[bytes]":
    """Start it with these streams closed, or other ones in their place."""

    def before_exec() -> None:
        for number in close:
            os.close(number)

    return start_program(*server_options(csm), *argv, preexec_fn=before_exec, **streams)


def backup_was_taken(csm: SimulatedCsm, process: "subprocess.Popen[bytes]") -> Tuple[str, str]:
    result = finish(process)
    check(result, csm, 0, triggers=1)
    assert len(csm.world.backups_made) == 1
    return result.out, result.err


def broken_stream(how: str) -> int:
    """A full disk, or a pipe whose reader is gone."""
    if how == "full" and os.path.exists("/dev/full"):  # not on every system
        return os.open("/dev/full", os.O_WRONLY)
    reader, target = os.pipe()
    os.close(reader)
    return target


@pytest.mark.parametrize(
    "case",
    mostly_slow(
        [(close, None) for close in CLOSED]
        + [(close, option) for close in ((1,), (2,), (0, 1, 2)) for option in OPTIONS[1:]],
        *[(close, None) for close in CLOSED if len(close) != 2],
        *[((1,), "--json"), ((2,), "-q"), ((0, 1, 2), "-v")],
    ),
    ids=str,
)
def test_closed_streams(csm: SimulatedCsm, case: Tuple[Tuple[int, ...], Optional[str]]) -> None:
    """In every combination: what is open still gets what is meant for it, and nothing else."""
    close, option = case
    process = start_with(csm, *TARGETS["session"], *filter(None, [option]), close=close)
    out, err = backup_was_taken(csm, process)
    backup = csm.world.backups_made[0][1]
    assert (backup in out) == (1 not in close and option != "-q")
    if option != "-q":
        assert bool(err) == (2 not in close)
    if close == (1,) and not option:
        assert backup in err  # the result is told where it can be
    # No connection took the number of a closed stream and got what was meant for that.
    assert [each.method for each in csm.requests] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("close", mostly_slow([(0,), (1,), (2,), (0, 1, 2)], (0, 1, 2)))
def test_failure_with_closed_streams(csm: SimulatedCsm, close: Tuple[int, ...]) -> None:
    csm.world.session(PAYROLL).outcome = "error"
    result = finish(start_with(csm, *TARGETS["session"], close=close))
    assert result.code == 6
    assert result.out == ""
    assert (NAME in result.err) == (2 not in close)


@pytest.mark.parametrize("option", mostly_slow(OPTIONS, None, "--json"))
@pytest.mark.parametrize("broken", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("how", [pytest.param("no reader", marks=pytest.mark.slow), "full"])
def test_broken_streams(csm: SimulatedCsm, how: str, broken: str, option: Optional[str]) -> None:
    """A pipe whose reader is gone, or a full disk. The exit code is the verdict's, never 120."""
    target = broken_stream(how)
    streams: Dict[str, Any] = {
        name: target for name in ("stdout", "stderr") if broken in (name, "both")
    }
    process = start_with(csm, *TARGETS["session"], *filter(None, [option]), **streams)
    os.close(target)
    out, err = backup_was_taken(csm, process)
    backup = csm.world.backups_made[0][1]
    if broken == "stderr" and option != "-q":
        assert backup in out
    if broken == "stdout" and not option:
        assert backup in err


@pytest.mark.parametrize("how", mostly_slow(["no reader", "full"], "full"))
def test_failure_with_broken_streams(csm: SimulatedCsm, how: str) -> None:
    """The exit code still tells what cannot be written."""
    csm.world.session(PAYROLL).outcome = "error"
    target = broken_stream(how)
    process = start_with(csm, *TARGETS["session"], "--json", stdout=target, stderr=target)
    os.close(target)
    assert finish(process).code == 6


def test_reader_goes_away_in_mid_run(csm: SimulatedCsm) -> None:
    """As `| head -1` does: the first line of progress is read, the rest cannot be written."""
    csm.world.backup_seconds = 0.5
    process = start_with(csm, *TARGETS["task"], "-v")
    assert process.stdout
    assert process.stderr
    assert process.stderr.readline()
    process.stderr.close()
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    assert len(csm.world.backups_made) == 1
