"""Clocks that are wrong: the server's, the storage's, our own; an old backup is never a new one."""

import email.utils
import json
import time
from typing import Any, Callable, Dict, List, Optional

import pytest

from csm import Backup, Request, SimulatedCsm
from support.checks import check, check_backup, check_one_backup
from support.clock import JumpingClock, PlannedClock
from support.program import run_against, run_inside, run_program, server_options
from support.scenes import (
    PAYROLL,
    PAYROLL_TASK,
    SIMPLE_TARGETS,
    TASK,
    TASK_ID,
    each_simple_target,
    mostly_slow,
)

# --- The storage's clock --------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["-t", "-S"])
@pytest.mark.parametrize("seconds", [-590, -60, 600, 86400])
def test_storage_clock_that_is_wrong(seconds: int, target: str) -> None:
    """It stamps the backups: behind CSM's by some minutes, or ahead of it by any time. Good ones
    must not be hidden by that."""
    with SimulatedCsm(backup_seconds=0.02, storage_offset=float(seconds)) as csm:
        newest = csm.world.session(TASK).backups[0]
        newest.id = int(time.time()) + seconds - 1800
        result = run_inside(*server_options(csm), target, TASK, "--json")
        check_one_backup(result, csm.world)


@each_simple_target
@pytest.mark.parametrize("minutes", [5, -5])
def test_storage_clock(
    planned: SimulatedCsm, clock: PlannedClock, target: str, minutes: float
) -> None:
    planned.world.storage_offset = 60 * minutes
    check_backup(run_against(planned, clock, *SIMPLE_TARGETS[target]), planned)


@pytest.mark.parametrize("target", ["-t", "-S"])
def test_storage_clock_that_is_more_than_ten_minutes_behind(target: str) -> None:
    """Nothing tells the new backup from an old one that is listed late: it proves nothing, and both
    clocks are named."""
    with SimulatedCsm(backup_seconds=0.02, storage_offset=-3600.0) as csm:
        result = run_inside(*server_options(csm), target, TASK)
        check(result, csm, 7, triggers=1)
        made = int(csm.world.backups_made[0][1])
        assert f"{made} is listed now and too old to be new" in result.last_line
        assert time.strftime("taken %Y-%m-%d %H:%M:%S", time.gmtime(made)) in result.last_line
        assert "by CSM's clock the note is of 20" in result.last_line


@pytest.mark.parametrize("seconds", [600, 86400])
def test_storage_clock_that_was_set_back(seconds: int) -> None:
    """The newest backup is from the future: of one clock the next one would be later still. So the
    one that is listed now is not known to be new, and is named."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        old, ahead = str(csm.world.session(TASK).backups[0].id), str(int(time.time()) + seconds)
        csm.mutate = lambda request, reply: json.loads(json.dumps(reply).replace(old, ahead))
        result = run_inside(*server_options(csm), "-t", TASK)
        check(result, csm, 7, triggers=1)
        assert csm.world.backups_made[0][1] in result.last_line


@each_simple_target
def test_four_runs_with_a_storage_clock_ahead(
    planned: SimulatedCsm, clock: PlannedClock, target: str
) -> None:
    """By 5 min: a backup of the near future is one of now."""
    planned.world.storage_offset = 300.0
    codes = [
        run_against(planned, clock, *SIMPLE_TARGETS[target], "--min-interval", "30").code
        for _ in range(4)
    ]
    assert codes == [0, 0, 0, 0]
    assert len(planned.world.triggers) == 1


@each_simple_target
def test_four_runs_with_a_storage_clock_far_ahead(
    planned: SimulatedCsm, clock: PlannedClock, target: str
) -> None:
    """By an hour: nothing tells how old its backups are."""
    planned.world.storage_offset = 3600.0
    check_backup(
        run_against(planned, clock, *SIMPLE_TARGETS[target], "--min-interval", "30"), planned
    )
    again = run_against(planned, clock, *SIMPLE_TARGETS[target], "--min-interval", "30")
    check(again, planned, 0, triggers=2)
    assert "a backup is of the future" in again.err


@pytest.mark.parametrize("offset", [0.0, -3.0, 3.0])
def test_backup_has_the_time_of_its_run(
    planned: SimulatedCsm, clock: PlannedClock, offset: float
) -> None:
    """Its id is lastRan, to the second."""
    planned.world.backup_time, planned.world.storage_offset = "run", offset
    planned.world.sleep = lambda _: time.sleep(1.1)  # so that its end is in another second
    result = run_against(planned, clock, "-t", PAYROLL_TASK)
    check_backup(result, planned)
    ran = planned.world.task(PAYROLL_TASK).lastRan
    assert planned.world.backups_made[0][1] == str(int((ran or 0) + offset))


@each_simple_target
def test_several_sequences(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """After a site switch: the new backup is in the second one, whose clock is behind."""
    session = planned.world.session(PAYROLL)
    session.backups = [Backup(int(time.time()) - 60, sequence="H1-B1"), *session.backups]
    session.backups[1].sequence = session.sequence = "H2-B2"
    planned.world.storage_offset = -120.0
    check_backup(run_against(planned, clock, *SIMPLE_TARGETS[target]), planned)


# --- Our own clock --------------------------------------------------------------------------------


def hide_newest(csm: SimulatedCsm) -> None:
    """There are two backups, and CSM lists the newer one only once it was triggered."""
    now = int(time.time())
    csm.world.session(TASK).backups = [Backup(now - 7200), Backup(now - 20000)]
    csm.world.task(TASK_ID).outcome = csm.world.session(TASK).outcome = "no-backup"

    def change(request: Request, reply: Any) -> Any:
        if isinstance(reply, dict) and "backupInfo" in reply and not csm.world.triggers:
            del reply["backupInfo"][0]["BackupResults"][0]
        return reply

    csm.mutate = change


@pytest.mark.parametrize("offset", [-10800, 0, 10800])
def test_wrong_clock_of_our_own(offset: int) -> None:
    """A wrong clock in the jail changes nothing: a backup that is listed late is not a new one."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hide_newest(csm)
        clock = JumpingClock(offset=offset)
        result = run_inside(*server_options(csm), "-t", TASK, clock=clock)
        check(result, csm, 7, triggers=1)
        assert "NO backup" in result.last_line
        assert "too old to be new" in result.last_line


@pytest.mark.parametrize("offset", [-10800, 0, 10800])
def test_new_backup_whatever_our_own_clock_says(offset: int) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        clock = JumpingClock(offset=offset)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", clock=clock)
        check_one_backup(result, csm.world)


# --- The Date of the answers ----------------------------------------------------------------------

DATES: Dict[str, Callable[[], str]] = {
    "asctime": lambda: time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime()),
    "-0000": lambda: email.utils.formatdate(localtime=False),
    "GMT": lambda: email.utils.formatdate(usegmt=True),
}
ZONES = ["America/New_York", "Asia/Tokyo"]


@pytest.mark.parametrize("zone", mostly_slow(ZONES, ZONES[0]))
@pytest.mark.parametrize("form", DATES)
def test_date_without_a_zone_is_utc(form: str, zone: str) -> None:
    with SimulatedCsm(backup_seconds=0.1) as csm:
        csm.date = DATES[form]()
        result = run_program(*server_options(csm), "-t", PAYROLL_TASK, env={"TZ": zone})
        check_backup(result, csm)


@pytest.mark.parametrize("zone", mostly_slow(ZONES, ZONES[0]))
@pytest.mark.parametrize("form", DATES)
def test_min_interval_by_a_date_without_a_zone(form: str, zone: str) -> None:
    with SimulatedCsm(backup_seconds=0.1) as csm:
        csm.date = DATES[form]()
        csm.world.session(PAYROLL).backups.insert(0, Backup(int(time.time()) - 600))
        options = [*server_options(csm), "-t", PAYROLL_TASK, "--min-interval"]
        check(run_program(*options, "30", env={"TZ": zone}), csm, 0)
        check(run_program(*options, "5", env={"TZ": zone}), csm, 0, triggers=1)


def test_date_that_no_clock_can_show() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.date = "Mon, 01 Jan 99999999999 00:00:00 GMT"
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1


# --- Old backups that are listed late -------------------------------------------------------------


@pytest.mark.parametrize("date", ["", "Mon, 01 Jan 99999999999 00:00:00 GMT"], ids=["no", "odd"])
@pytest.mark.parametrize("target", ["-t", "-S"])
def test_old_backup_listed_late_by_a_server_without_date(target: str, date: str) -> None:
    with SimulatedCsm() as csm:
        csm.date = date
        hide_newest(csm)
        result = run_inside(*server_options(csm), target, TASK)
        check(result, csm, 7, triggers=1)
        assert "too old to be new" in result.last_line


@pytest.mark.parametrize("date", [None, ""], ids=["", "no date"])
@pytest.mark.parametrize("target", ["-t", "-S"])
def test_list_that_was_empty_before_the_trigger(target: str, date: Optional[str]) -> None:
    """A session that is Protected has backups: it could not be noted, and what is listed afterwards
    proves nothing, whatever its time. But it is told."""
    with SimulatedCsm() as csm:
        csm.date = date
        csm.world.task(TASK_ID).outcome = csm.world.session(TASK).outcome = "no-backup"
        csm.mutate = lambda request, reply: (
            dict(reply, backupInfo=[])
            if ("backupInfo" in reply and not csm.world.triggers)
            else reply
        )
        result = run_inside(*server_options(csm), target, TASK)
        check(result, csm, 8, triggers=1)
        assert "it cannot be proven" in result.last_line
        assert str(csm.world.session(TASK).backups[0].id) in result.last_line


def test_known_backup_in_a_list_that_cannot_be_read_as_a_whole() -> None:
    """The storage's clock is ahead by ten minutes, and one entry tells neither id nor time."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = "no-backup"
        csm.world.session(TASK).backups[0].id = int(time.time()) + 570
        csm.mutate = lambda request, reply: json.loads(
            json.dumps(reply).replace('"BackupResults": [', '"BackupResults": [{"valid": true}, ')
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 7
        assert len(csm.world.triggers) == 1


@pytest.mark.parametrize("seconds", [700, 3500])
@pytest.mark.parametrize("target", [["-t", TASK], ["-S", TASK]], ids=" ".join)
def test_backup_of_before_that_is_listed_after_the_run(target: List[str], seconds: int) -> None:
    """And the run itself makes none, though it says that all went well."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = csm.world.session(TASK).outcome = "no-backup"
        late = {"backupID": str(int(time.time()) - seconds), "valid": True, "numCopySets": "8"}

        def change(request: Request, reply: Any) -> Any:
            if csm.world.triggers and isinstance(reply, dict) and "backupInfo" in reply:
                reply["backupInfo"].append({"BackupResults": [late]})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), *target)
        assert result.code == 7
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made == []
        assert "no new backup" in result.err
