"""The task runs when we come, or seems to: its backup counts, or our own trigger follows."""

from typing import List

import pytest

from csm import Backup, SimulatedCsm
from support.checks import check, check_backup, is_trigger
from support.clock import PlannedClock
from support.program import run_against
from support.scenes import TASK, TASK_ID, at_first


def in_its_last_step(planned: SimulatedCsm, clock: PlannedClock, seconds: float = 3) -> Backup:
    """Somebody else's run, which has its backup already -> that backup."""
    world, task = planned.world, planned.world.task(TASK_ID)
    task.running, task.lastRan = True, world.clock() - 5
    started = world.message("IWNR2211I", TASK, when=task.lastRan)
    task.messages = [*task.messages, started, world.message("IWNR1026I", TASK, "Backup")]
    backup = world.make_backup(world.session(TASK))
    world.backups_made.clear()

    def end() -> None:
        task.messages = [*task.messages, world.message("IWNR2212I", TASK)]
        task.running = False

    at_first(planned, lambda _: True, lambda: clock.after(seconds, end))
    return backup


@pytest.mark.parametrize("options", [[], ["--no-wait"]], ids=["", "no wait"])
def test_in_its_last_step(planned: SimulatedCsm, clock: PlannedClock, options: List[str]) -> None:
    """It ends, and its backup is from before we looked: our own trigger goes out after it."""
    backup = in_its_last_step(planned, clock)
    result = run_against(planned, clock, "-t", TASK, *options)
    check(result, planned, 0, triggers=1)
    assert len(planned.world.attempts) == 1  # none was sent while it ran
    assert clock.elapsed >= 7.5  # its end after 3 s, and 5 s in which its backup may be listed
    if not options:
        assert planned.world.backups_made[0][1] in result.out
        assert str(backup.id) not in result.out


def test_its_storage_clock_is_behind(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """By 3 s: no guess by clocks is needed."""
    planned.world.storage_offset = -3.0
    in_its_last_step(planned, clock)
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)


def test_it_has_its_backup_ahead(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """It is joined, and no trigger of ours is needed."""
    planned.world.start_run(TASK_ID)
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned, triggers=0)
    assert planned.world.attempts == []


def test_it_fails_and_brings_no_backup(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """Its failure is no verdict on ours."""
    task = planned.world.task(TASK_ID)
    task.outcome = "error"
    planned.world.start_run(TASK_ID)

    def mend() -> None:
        task.outcome = "good"

    at_first(planned, is_trigger, mend)
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)


def test_it_shows_running_for_ever(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """As after a restart. A trigger ends that: it is sent when half of the time is gone."""
    planned.world.dialect.running_again = "accept"
    planned.world.task(TASK_ID).running = True
    sent: List[float] = []
    at_first(planned, is_trigger, lambda: sent.append(clock.passed))
    result = run_against(planned, clock, "-t", TASK, "--timeout", "400")
    check_backup(result, planned)
    assert 190 <= sent[0] <= 225


@pytest.mark.parametrize("how", ["refuse-E", 409])
def test_it_shows_running_for_ever_and_csm_believes_it(
    planned: SimulatedCsm, clock: PlannedClock, how: str
) -> None:
    """Nothing is sent before half of the time is gone, and the refusal is told."""
    planned.world.dialect.running_again = how
    planned.world.task(TASK_ID).running = True
    result = run_against(planned, clock, "-t", TASK, "--timeout", "200")
    check(result, planned, 8)
    assert planned.world.attempts
    assert "IWNR0004E" in result.text


def test_young_backup_of_the_joined_run(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """--min-interval is asked again before our own trigger."""
    in_its_last_step(planned, clock)
    planned.world.session(TASK).backups[0].id -= 1200  # it is not young, and no new one
    fresh = planned.world.session(TASK)

    def somebody() -> None:
        planned.world.make_backup(fresh)

    at_first(planned, lambda _: True, lambda: clock.after(6, somebody))
    result = run_against(planned, clock, "-t", TASK, "--min-interval", "10")
    check(result, planned, 0)
    assert planned.world.attempts == []


# --- Waiting for approval -------------------------------------------------------------------------


def test_approval_is_but_a_flag(planned: SimulatedCsm, clock: PlannedClock) -> None:
    planned.world.dialect.approval = "accept"
    planned.world.task(TASK_ID).pendingApproval = True
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)
    assert "the task waits for approval" in result.out


def test_approval_is_wanted_in_mid_run(planned: SimulatedCsm, clock: PlannedClock) -> None:
    def want() -> None:
        planned.world.task(TASK_ID).pendingApproval = True

    at_first(planned, is_trigger, lambda: clock.after(1, want))
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)


@pytest.mark.parametrize("how", ["refuse-E", 409])
def test_approval_is_the_reason_of_the_refusal(
    planned: SimulatedCsm, clock: PlannedClock, how: str
) -> None:
    planned.world.dialect.approval = how
    planned.world.task(TASK_ID).pendingApproval = True
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 6)
    assert len(planned.world.attempts) == 1
    assert "IWNR0005E" in result.last_line
    assert "the task waits for approval" in result.last_line
