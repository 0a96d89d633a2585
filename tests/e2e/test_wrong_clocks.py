"""Clocks that do not agree: the storage's and CSM's; a Date in an old form, or without a zone."""

import email.utils
import time
from typing import Callable, Dict

import pytest

from csm import Backup, SimulatedCsm
from support.checks import check, check_backup
from support.clock import PlannedClock
from support.program import run_against, run_program, server_options
from support.scenes import PAYROLL, PAYROLL_TASK, SIMPLE_TARGETS, each_simple_target, mostly_slow

# --- The storage's clock --------------------------------------------------------------------------


@each_simple_target
@pytest.mark.parametrize("minutes", [5, -5])
def test_storage_clock(
    planned: SimulatedCsm, clock: PlannedClock, target: str, minutes: float
) -> None:
    planned.world.storage_offset = 60 * minutes
    check_backup(run_against(planned, clock, *SIMPLE_TARGETS[target]), planned)


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


# --- Sequences ------------------------------------------------------------------------------------


@each_simple_target
def test_several_sequences(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """After a site switch: the new backup is in the second one, whose clock is behind."""
    session = planned.world.session(PAYROLL)
    session.backups = [Backup(int(time.time()) - 60, sequence="H1-B1"), *session.backups]
    session.backups[1].sequence = session.sequence = "H2-B2"
    planned.world.storage_offset = -120.0
    check_backup(run_against(planned, clock, *SIMPLE_TARGETS[target]), planned)


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
    with SimulatedCsm(backup_seconds=0.1) as planned:
        planned.date = DATES[form]()
        result = run_program(*server_options(planned), "-t", PAYROLL_TASK, env={"TZ": zone})
        check_backup(result, planned)


@pytest.mark.parametrize("zone", mostly_slow(ZONES, ZONES[0]))
@pytest.mark.parametrize("form", DATES)
def test_min_interval_by_a_date_without_a_zone(form: str, zone: str) -> None:
    with SimulatedCsm(backup_seconds=0.1) as planned:
        planned.date = DATES[form]()
        planned.world.session(PAYROLL).backups.insert(0, Backup(int(time.time()) - 600))
        options = [*server_options(planned), "-t", PAYROLL_TASK, "--min-interval"]
        check(run_program(*options, "30", env={"TZ": zone}), planned, 0)
        check(run_program(*options, "5", env={"TZ": zone}), planned, 0, triggers=1)
