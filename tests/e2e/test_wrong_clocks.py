"""Clocks that do not agree: the storage's and CSM's; a Date in an old form, or without a zone."""

import email.utils
import time
from typing import Callable, Dict, Iterator

import pytest

from csm import Backup, SimulatedCsm, World
from support.checks import check, check_backup
from support.clock import PlannedClock
from support.program import Result, run_inside, run_program, server_options
from support.scenes import PAYROLL, PAYROLL_TASK

SIMPLE = {"task": ["-t", PAYROLL_TASK], "session": ["-S", PAYROLL]}
both = pytest.mark.parametrize("target", SIMPLE)


@pytest.fixture
def clock() -> PlannedClock:
    return PlannedClock()


@pytest.fixture
def csm(clock: PlannedClock) -> Iterator[SimulatedCsm]:
    """A server whose work takes its time on that clock."""
    world = World(sleep=clock.hold, backup_seconds=2.0, step_seconds=0.1)
    with SimulatedCsm(world) as server:
        yield server


def run(csm: SimulatedCsm, clock: PlannedClock, *argv: str) -> Result:
    return run_inside(*server_options(csm), *argv, clock=clock)


# --- The storage's clock --------------------------------------------------------------------------


@both
@pytest.mark.parametrize("minutes", [5, -5])
def test_storage_clock(csm: SimulatedCsm, clock: PlannedClock, target: str, minutes: float) -> None:
    csm.world.storage_offset = 60 * minutes
    check_backup(run(csm, clock, *SIMPLE[target]), csm)


@both
def test_four_runs_with_a_storage_clock_ahead(
    csm: SimulatedCsm, clock: PlannedClock, target: str
) -> None:
    """By 5 min: a backup of the near future is one of now."""
    csm.world.storage_offset = 300.0
    codes = [run(csm, clock, *SIMPLE[target], "--min-interval", "30").code for _ in range(4)]
    assert codes == [0, 0, 0, 0]
    assert len(csm.world.triggers) == 1


@both
def test_four_runs_with_a_storage_clock_far_ahead(
    csm: SimulatedCsm, clock: PlannedClock, target: str
) -> None:
    """By an hour: nothing tells how old its backups are."""
    csm.world.storage_offset = 3600.0
    check_backup(run(csm, clock, *SIMPLE[target], "--min-interval", "30"), csm)
    again = run(csm, clock, *SIMPLE[target], "--min-interval", "30")
    check(again, csm, 0, triggers=2)
    assert "a backup is of the future" in again.err


@pytest.mark.parametrize("offset", [0.0, -3.0, 3.0])
def test_backup_has_the_time_of_its_run(
    csm: SimulatedCsm, clock: PlannedClock, offset: float
) -> None:
    """Its id is lastRan, to the second."""
    csm.world.backup_time, csm.world.storage_offset = "run", offset
    csm.world.sleep = lambda _: time.sleep(1.1)  # so that its end is in another second
    result = run(csm, clock, "-t", PAYROLL_TASK)
    check_backup(result, csm)
    ran = csm.world.task(PAYROLL_TASK).lastRan
    assert csm.world.backups_made[0][1] == str(int((ran or 0) + offset))


# --- Sequences ------------------------------------------------------------------------------------


@both
def test_several_sequences(csm: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """After a site switch: the new backup is in the second one, whose clock is behind."""
    session = csm.world.session(PAYROLL)
    session.backups = [Backup(int(time.time()) - 60, sequence="H1-B1"), *session.backups]
    session.backups[1].sequence = session.sequence = "H2-B2"
    csm.world.storage_offset = -120.0
    check_backup(run(csm, clock, *SIMPLE[target]), csm)


# --- The Date of the answers ----------------------------------------------------------------------

DATES: Dict[str, Callable[[], str]] = {
    "asctime": lambda: time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime()),
    "-0000": lambda: email.utils.formatdate(localtime=False),
    "GMT": lambda: email.utils.formatdate(usegmt=True),
}
ZONES = ["America/New_York", "Asia/Tokyo"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("form", DATES)
def test_date_without_a_zone_is_utc(form: str, zone: str) -> None:
    with SimulatedCsm(backup_seconds=0.1) as csm:
        csm.date = DATES[form]()
        result = run_program(*server_options(csm), "-t", PAYROLL_TASK, env={"TZ": zone})
        check_backup(result, csm)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("form", DATES)
def test_min_interval_by_a_date_without_a_zone(form: str, zone: str) -> None:
    with SimulatedCsm(backup_seconds=0.1) as csm:
        csm.date = DATES[form]()
        csm.world.session(PAYROLL).backups.insert(0, Backup(int(time.time()) - 600))
        options = [*server_options(csm), "-t", PAYROLL_TASK, "--min-interval"]
        check(run_program(*options, "30", env={"TZ": zone}), csm, 0)
        check(run_program(*options, "5", env={"TZ": zone}), csm, 0, triggers=1)
