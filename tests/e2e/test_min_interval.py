"""--min-interval: a recent backup is enough, and of many runs at once one triggers."""

import pathlib
import shutil
import sys
import time
from typing import Any, Dict, List, NamedTuple

import pytest

from csm import Backup, SimulatedCsm
from support.checks import check, is_trigger, triggers_sent
from support.clock import JumpingClock
from support.program import PROGRAM, finish, run_inside, server_options, start_program
from support.scenes import PAYROLL, PAYROLL_TASK, TASK, each_task, hold_backup, wait_for

# --- How old the newest backup is ---------------------------------------------------------------


class Case(NamedTuple):
    age: float  # of the newest backup, in minutes by the server's clock
    offset: float  # of the server's clock, in minutes
    valid: bool
    triggers: int
    ahead: float = 0  # the clock that stamps backups, of the server's, in minutes
    warning: str = ""


AGES = {
    "recent": Case(age=10, offset=0, valid=True, triggers=0),
    "old": Case(age=40, offset=0, valid=True, triggers=1),
    "recent, the clock here is slow": Case(age=10, offset=300, valid=True, triggers=0),
    "recent, the clock here is fast": Case(age=10, offset=-300, valid=True, triggers=0),
    "old, the clock here is slow": Case(age=40, offset=35, valid=True, triggers=1),
    "old, the clock here is fast": Case(age=40, offset=-300, valid=True, triggers=1),
    "recent, not valid": Case(age=10, offset=0, valid=False, triggers=1),
    "a little from the future": Case(age=-8, offset=0, valid=True, triggers=0, ahead=9),
    "from the future": Case(
        age=-20, offset=0, valid=True, triggers=1, ahead=25, warning="is of the future"
    ),
    "from the future, the clock here is fast": Case(
        age=-20, offset=-300, valid=True, triggers=1, ahead=25, warning="is of the future"
    ),
}


@pytest.mark.parametrize("name", AGES)
def test_min_interval(name: str) -> None:
    case = AGES[name]
    with SimulatedCsm(
        backup_seconds=0.02, clock_offset=case.offset * 60, storage_offset=case.ahead * 60
    ) as csm:
        newest = Backup(int(csm.world.clock() - case.age * 60), case.valid)
        csm.world.session(PAYROLL).backups.insert(0, newest)
        result = run_inside(
            *server_options(csm), "-t", PAYROLL_TASK, "--min-interval", "30", "--json"
        )
        check(result, csm, 0, triggers=case.triggers)
        assert result.json["outcome"] == ("verified" if case.triggers else "skipped")
        assert result.json["started"] == ("yes" if case.triggers else "no")
        assert ("WARNING" in result.err) == bool(case.warning)
        assert case.warning in result.err


def spoil(value: Any) -> Any:
    return lambda record: dict(record, backupInfo=value)


UNREADABLE: Dict[str, Any] = {
    "missing": lambda record: {key: record[key] for key in record if key != "backupInfo"},
    "null": spoil(None),
    "text": spoil("x"),
    "numbers": spoil([1, 2]),
    "no results": spoil([{"backupSequence": "H1-B1"}]),
    "results of another kind": spoil([{"backupSequence": "H1-B1", "BackupResults": "x"}]),
    "no times": spoil([{"BackupResults": [{"valid": True, "numCopySets": "8"}]}]),
    "valid unknown": spoil([{"BackupResults": [{"backupID": f"{int(time.time())}"}]}]),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_min_interval_unreadable(name: str) -> None:
    """What cannot be read never prevents a backup."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.world.session(PAYROLL).backups.insert(0, Backup(int(time.time()) - 600))

        def mutate(request: Any, value: Any) -> Any:
            before = request.path.endswith("Payroll") and not csm.world.triggers
            return UNREADABLE[name](value) if before and "backupInfo" in value else value

        csm.mutate = mutate
        hold_backup(csm, 3, PAYROLL)  # seen without it, the session is noted: late, but it is
        result = run_inside(*server_options(csm), "-t", PAYROLL_TASK, "--min-interval", "30")
        check(result, csm, 0, triggers=1)


def test_min_interval_needs_every_session() -> None:
    """One of two sessions has no recent backup: the task is run."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.world.session(PAYROLL).backups.insert(0, Backup(int(time.time()) - 600))
        csm.world.add_task(60, "Both", [(PAYROLL, "Backup"), ("ITSO_SGC_LAH81", "Backup")])
        result = run_inside(*server_options(csm), "-t", "Both", "--min-interval", "30")
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 2


# --- Many at once -------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no lock elsewhere")
@pytest.mark.parametrize(
    ("target", "more", "triggers", "waits"),
    [
        (["-t", TASK], ["--timeout", "100"], 1, 25),
        (["-t", TASK], [], 1, 60),
        (["-t", TASK], ["--check"], 0, 0),
        (["-t", PAYROLL_TASK], [], 1, 0),
    ],
    ids=["run", "run with time", "check", "another target"],
)
def test_lock_that_somebody_else_holds(
    tmp_path: pathlib.Path, target: List[str], more: List[str], triggers: int, waits: int
) -> None:
    """Another call for the same target, of another copy of the script. It is waited for, and must
    leave the time for a backup: any local user could hold the lock for ever. --check, which
    triggers nothing, does not wait, nor does a call for another target."""
    copy = shutil.copy(PROGRAM, tmp_path / "program.py")
    clock = JumpingClock()
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.inject_when(is_trigger, "silent-before")
        options = [*server_options(csm), "--min-interval", "60"]
        other = start_program(*options, "-t", TASK, path=copy)
        try:
            wait_for(lambda: triggers_sent(csm))
            result = run_inside(*options, *target, *more, clock=clock)
        finally:
            other.kill()
            other.communicate()
    check(result, csm, 0, triggers=triggers)
    assert ("another call for this target goes on" in result.err) == bool(waits)
    assert round(clock.elapsed) >= waits
    assert clock.passed <= waits + 40


def test_the_lock_covers_what_the_server_shows_late(tmp_path: pathlib.Path) -> None:
    """The server shows only after a while that it runs: whoever comes then must wait."""
    copy = shutil.copy(PROGRAM, tmp_path / "program.py")
    with SimulatedCsm(backup_seconds=0.6) as csm:
        csm.mutate = lambda request, reply: each_task(
            reply,
            {"running": False}
            if (csm.world.triggers and time.time() < csm.world.triggers[0][2] + 0.4)
            else {},
        )
        options = [*server_options(csm), "-t", TASK, "--min-interval", "60"]
        runs = [finish(run) for run in [start_program(*options, path=copy) for _ in range(10)]]
        assert len(csm.world.attempts) == 1
        assert [run.code for run in runs] == [0] * 10
        told = [run.out.split(":")[0] for run in runs]
        assert set(told) <= {"verified", "skipped"}
        assert "verified" in told


def has_been_seen_by(csm: SimulatedCsm, count: int) -> bool:
    """Have so many looked at the tasks since the first trigger?"""
    first = min((each.n for each in triggers_sent(csm)), default=len(csm.requests))
    looks = [each for each in csm.requests[first:] if each.method == "GET"]
    return len({each.token for each in looks}) >= count


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        pytest.param(["-t", PAYROLL_TASK], 1, id="task"),
        pytest.param(["-S", PAYROLL], 1, id="session", marks=pytest.mark.slow),
        pytest.param(["-t", PAYROLL_TASK], 10, id="task, from ten hosts", marks=pytest.mark.slow),
    ],
)
def test_of_ten_at_once_one_triggers(target: List[str], hosts: int, tmp_path: pathlib.Path) -> None:
    """A noisy rule. Nine of them join the run, or find it recent. The lock is one per target: the
    copies of the script share it. Another spelling of the server's name stands for another host:
    what is locked there is not locked here."""
    scripts = [shutil.copy2(str(PROGRAM), str(tmp_path / str(number))) for number in range(2)]
    with SimulatedCsm(backup_seconds=0.5) as csm:
        options = [*server_options(csm), *target, "--min-interval", "30", "--json"]
        running = []
        for at in range(10):
            if hosts > 1:
                options[1] = f"{'localhost'[:at].upper()}{'localhost'[at:]}:{csm.port}"
            running.append(start_program(*options, path=scripts[at % 2]))
        if hosts > 1:  # nothing is locked: CSM itself refuses a second run, while the first lasts
            with csm.world.session(PAYROLL).lock:
                wait_for(lambda: has_been_seen_by(csm, 10), 60)
        results = [finish(process) for process in running]
        assert [result.code for result in results] == [0] * 10, results
        assert len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1
        outcomes = [result.json["outcome"] for result in results]
        assert "verified" in outcomes
        assert set(outcomes) <= {"verified", "skipped"}
