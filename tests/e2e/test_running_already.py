"""The task runs when we come, or seems to: its backup counts, or our own trigger follows."""

from typing import Iterator, List

import pytest

from csm import Backup, SimulatedCsm, World
from support.checks import check, check_backup, is_trigger
from support.clock import PlannedClock
from support.program import Result, run_inside, server_options
from support.scenes import TASK, TASK_ID, at_first


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
    return run_inside(*server_options(csm), "-t", TASK, *argv, clock=clock)


def in_its_last_step(csm: SimulatedCsm, clock: PlannedClock, seconds: float = 3) -> Backup:
    """Somebody else's run, which has its backup already -> that backup."""
    world, task = csm.world, csm.world.task(TASK_ID)
    task.running, task.lastRan = True, world.clock() - 5
    started = world.message("IWNR2211I", TASK, when=task.lastRan)
    task.messages = [*task.messages, started, world.message("IWNR1026I", TASK, "Backup")]
    backup = world.make_backup(world.session(TASK))
    world.backups_made.clear()

    def end() -> None:
        task.messages = [*task.messages, world.message("IWNR2212I", TASK)]
        task.running = False

    at_first(csm, lambda _: True, lambda: clock.after(seconds, end))
    return backup


@pytest.mark.parametrize("options", [[], ["--no-wait"]], ids=["", "no wait"])
def test_in_its_last_step(csm: SimulatedCsm, clock: PlannedClock, options: List[str]) -> None:
    """It ends, and its backup is from before we looked: our own trigger goes out after it."""
    backup = in_its_last_step(csm, clock)
    result = run(csm, clock, *options)
    check(result, csm, 0, triggers=1)
    assert len(csm.world.attempts) == 1  # none was sent while it ran
    assert clock.passed >= 7.5  # its end after 3 s, and 5 s in which its backup may be listed
    if not options:
        assert csm.world.backups_made[0][1] in result.out
        assert str(backup.id) not in result.out


def test_its_storage_clock_is_behind(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """By 3 s: no guess by clocks is needed."""
    csm.world.storage_offset = -3.0
    in_its_last_step(csm, clock)
    result = run(csm, clock)
    check_backup(result, csm)


def test_it_has_its_backup_ahead(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """It is joined, and no trigger of ours is needed."""
    csm.world.start_run(TASK_ID)
    result = run(csm, clock)
    check_backup(result, csm, triggers=0)
    assert csm.world.attempts == []


def test_it_fails_and_brings_no_backup(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """Its failure is no verdict on ours."""
    task = csm.world.task(TASK_ID)
    task.outcome = "error"
    csm.world.start_run(TASK_ID)

    def mend() -> None:
        task.outcome = "good"

    at_first(csm, lambda _: True, lambda: clock.after(4, mend))
    result = run(csm, clock)
    check_backup(result, csm)


def test_it_shows_running_for_ever(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """As after a restart. A trigger ends that: it is sent when half of the time is gone."""
    csm.world.dialect.running_again = "accept"
    csm.world.task(TASK_ID).running = True
    sent: List[float] = []
    at_first(csm, is_trigger, lambda: sent.append(clock.passed))
    result = run(csm, clock, "--timeout", "400")
    check_backup(result, csm)
    assert 190 <= sent[0] <= 225


@pytest.mark.parametrize("how", ["refuse-E", 409])
def test_it_shows_running_for_ever_and_csm_believes_it(
    csm: SimulatedCsm, clock: PlannedClock, how: str
) -> None:
    """Nothing is sent before half of the time is gone, and the refusal is told."""
    csm.world.dialect.running_again = how
    csm.world.task(TASK_ID).running = True
    result = run(csm, clock, "--timeout", "200")
    assert result.code in (6, 8), result.text
    assert csm.world.triggers == []
    assert csm.world.attempts
    assert "IWNR0004E" in result.text


def test_young_backup_of_the_joined_run(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """--min-interval is asked again before our own trigger."""
    in_its_last_step(csm, clock)
    csm.world.session(TASK).backups[0].id -= 1200  # it is not young, and no new one
    fresh = csm.world.session(TASK)

    def somebody() -> None:
        csm.world.make_backup(fresh)

    at_first(csm, lambda _: True, lambda: clock.after(6, somebody))
    result = run(csm, clock, "--min-interval", "10")
    check(result, csm, 0)
    assert csm.world.attempts == []


# --- Waiting for approval -------------------------------------------------------------------------


def test_approval_is_but_a_flag(csm: SimulatedCsm, clock: PlannedClock) -> None:
    csm.world.dialect.approval = "accept"
    csm.world.task(TASK_ID).pendingApproval = True
    result = run(csm, clock)
    check_backup(result, csm)
    assert "the task waits for approval" in result.out


def test_approval_is_wanted_in_mid_run(csm: SimulatedCsm, clock: PlannedClock) -> None:
    def want() -> None:
        csm.world.task(TASK_ID).pendingApproval = True

    at_first(csm, is_trigger, lambda: clock.after(1, want))
    result = run(csm, clock)
    check_backup(result, csm)


@pytest.mark.parametrize("how", ["refuse-E", 409])
def test_approval_is_the_reason_of_the_refusal(
    csm: SimulatedCsm, clock: PlannedClock, how: str
) -> None:
    csm.world.dialect.approval = how
    csm.world.task(TASK_ID).pendingApproval = True
    result = run(csm, clock)
    check(result, csm, 6)
    assert len(csm.world.attempts) == 1
    assert "IWNR0005E" in result.last_line
    assert "the task waits for approval" in result.last_line
