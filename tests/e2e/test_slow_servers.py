"""CSM shows late, or for a while not at all, what it has done: neither a failure nor a second run.

Nothing in here depends on how busy the machine is: what happens at a certain second is planned on
the program's own clock.
"""

import time
from typing import Any, List

import pytest

from csm import Backup, SimulatedCsm
from support.checks import check, check_backup, is_trigger, is_view_of, triggers_sent
from support.clock import PlannedClock
from support.program import run_against
from support.scenes import (
    PAYROLL,
    PAYROLL_TASK,
    SIMPLE_TARGETS,
    TARGETS,
    TASK,
    TASK_ID,
    at_first,
    each_simple_target,
    shows_as_before,
    wait_for,
)


def set_outcome(planned: SimulatedCsm, outcome: str) -> None:
    planned.world.task(PAYROLL_TASK).outcome = outcome
    planned.world.session(PAYROLL).outcome = outcome


# --- The backup is called valid late --------------------------------------------------------------


@each_simple_target
def test_valid_late(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    set_outcome(planned, "invalid")

    def turn_valid() -> None:
        planned.world.session(PAYROLL).backups[0].valid = True

    at_first(planned, is_trigger, lambda: clock.after(77, turn_valid))
    result = run_against(planned, clock, *SIMPLE_TARGETS[target])
    check_backup(result, planned)
    assert clock.elapsed >= 70


@each_simple_target
def test_never_valid(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """Nobody has published when a good backup is called valid: it is waited for, and told."""
    set_outcome(planned, "invalid")
    result = run_against(planned, clock, *SIMPLE_TARGETS[target], "--timeout", "300")
    check(result, planned, 8, triggers=1)
    made = planned.world.backups_made[0][1]
    assert f"backup {made} is there, and CSM does not call it valid yet" in result.last_line
    assert clock.elapsed >= 250


# --- A command whose answer is late, or lost ------------------------------------------------------


@pytest.mark.parametrize(("seconds", "options"), [(5, ["--request-timeout", "2"]), (61, [])])
def test_backup_takes_longer_than_a_request(
    planned: SimulatedCsm, clock: PlannedClock, seconds: float, options: List[str]
) -> None:
    """The connection stands, so CSM is at work on it: it is not sent again."""
    planned.world.backup_seconds = seconds
    result = run_against(planned, clock, "-S", PAYROLL, *options)
    check_backup(result, planned)
    assert len(triggers_sent(planned)) == 1


def lose_answer(planned: SimulatedCsm) -> None:
    planned.inject_when(is_trigger, "reset-after")


@each_simple_target
def test_away_after_the_trigger(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """For 8 s; then the old state for 2.5 s: that was looking for less than a request timeout."""

    def come_back() -> None:
        planned.accept_connections()
        clock.after(2.5, show_all)

    def show_all() -> None:
        planned.mutate = None

    def leave() -> None:
        shows_as_before(planned)
        planned.refuse_connections()
        clock.after(8, come_back)

    planned.world.backup_seconds = 1.0
    at_first(planned, is_trigger, leave)  # it is processed all the same
    lose_answer(planned)
    result = run_against(planned, clock, *SIMPLE_TARGETS[target], "--request-timeout", "5")
    check_backup(result, planned)
    assert len(triggers_sent(planned)) == 1


def test_no_task_is_listed_after_the_trigger(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """An empty list is no look: 7 s of it, with a request timeout of 5 s."""

    def list_again() -> None:
        planned.world.lists_tasks = True

    def hide() -> None:
        planned.world.lists_tasks = False
        clock.after(7, list_again)

    at_first(planned, is_trigger, hide)
    lose_answer(planned)
    result = run_against(planned, clock, "-t", TASK, "--request-timeout", "5")
    check_backup(result, planned)
    assert len(triggers_sent(planned)) == 1


@each_simple_target
def test_busy_for_a_while(planned: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """503 says that it was not processed: it is tried again while there is time."""
    planned.inject_when(is_trigger, "503", None)
    at_first(planned, is_trigger, lambda: clock.after(12, planned.faults.clear))
    result = run_against(planned, clock, *SIMPLE_TARGETS[target], "--request-timeout", "5")
    check_backup(result, planned)


@pytest.mark.parametrize("seconds", [40.0, 200.0])
@pytest.mark.parametrize("kind", ["503-after", "429-after"])
def test_busy_and_processed_all_the_same(
    planned: SimulatedCsm, clock: PlannedClock, kind: str, seconds: float
) -> None:
    """Each Backup takes long: two of them, not one a pause."""
    planned.world.blocking = False
    planned.world.backup_seconds = seconds
    planned.inject_when(is_trigger, kind, None)
    result = run_against(planned, clock, "-S", PAYROLL)
    check(result, planned, 0, triggers=2)
    assert planned.world.backups_made[0][1] in result.out
    assert "2 triggers may have been processed" in result.out


# --- The list of tasks is empty before ------------------------------------------------------------


def test_no_task_is_listed_at_first(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """The session of the same name is no way out: the task's other steps would be left out."""

    def list_again() -> None:
        planned.world.lists_tasks = True

    planned.world.lists_tasks = False
    at_first(planned, lambda _: True, lambda: clock.after(3, list_again))
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)
    assert [kind for kind, *_ in planned.world.triggers] == ["task"]


@pytest.mark.parametrize(("after", "code"), [(50, 0), (75, 7)])
def test_listed_late_after_the_end(
    planned: SimulatedCsm, clock: PlannedClock, after: float, code: int
) -> None:
    """A backup that is listed up to 60 s after the end of the run is its own."""
    session = planned.world.session(PAYROLL)
    planned.world.backup_seconds = 0.0
    planned.world.task(PAYROLL_TASK).outcome = "no-backup"

    def make() -> None:
        planned.world.make_backup(session)

    at_first(planned, is_trigger, lambda: clock.after(after, make))
    result = run_against(planned, clock, "-t", PAYROLL_TASK)
    check(result, planned, code, triggers=1)


# --- The session cannot be seen -------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 403])
def test_session_is_never_seen(planned: SimulatedCsm, clock: PlannedClock, status: int) -> None:
    planned.world.session(PAYROLL).view = status
    result = run_against(planned, clock, "-t", PAYROLL_TASK, "--timeout", "300")
    check(result, planned, 8, triggers=1)
    assert len(planned.world.backups_made) == 1
    assert "whether a backup was taken cannot be seen; it cannot be proven" in result.last_line
    assert str(status) in result.last_line


@each_simple_target
@pytest.mark.parametrize(("outcome", "code"), [("no-backup", 8), ("good", 0)])
def test_session_is_seen_after_the_trigger(
    planned: SimulatedCsm, clock: PlannedClock, target: str, outcome: str, code: int
) -> None:
    """It shows a backup of 4 minutes ago, which proves nothing."""
    session = planned.world.session(PAYROLL)
    session.backups = [Backup(int(time.time()) - 240)]
    old = session.backups[0].id

    def show() -> None:
        session.view = 200

    session.view = 500
    planned.world.backup_seconds = 5.0
    set_outcome(planned, outcome)
    at_first(planned, is_trigger, show)
    result = run_against(planned, clock, *SIMPLE_TARGETS[target], "--timeout", "300")
    check(result, planned, code, triggers=1)
    if code:
        assert "cannot be proven" in result.last_line
        assert str(old) in result.last_line
    else:
        assert planned.world.backups_made[0][1] in result.out


@each_simple_target
@pytest.mark.parametrize("age", [30, 240])
def test_backups_are_listed_late(
    planned: SimulatedCsm, clock: PlannedClock, target: str, age: int
) -> None:
    """A session that says Protected and lists none hides them; the run makes none."""
    session = planned.world.session(PAYROLL)
    old = [Backup(int(time.time()) - age)]
    session.backups = []

    def show() -> None:
        session.backups = old

    set_outcome(planned, "no-backup")
    at_first(planned, is_view_of("SGC%20Payroll"), lambda: clock.after(5, show))
    result = run_against(planned, clock, *SIMPLE_TARGETS[target], "--timeout", "300")
    check(result, planned, 8, triggers=1)
    assert "it cannot be proven" in result.last_line
    assert str(old[0].id) in result.last_line
    assert planned.world.backups_made == []


# --- An error for a moment ------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["in mid-run", "at the end"])
@pytest.mark.parametrize("target", TARGETS)
def test_error_flag_for_two_seconds(
    planned: SimulatedCsm, clock: PlannedClock, target: str, when: str
) -> None:
    name = TASK if target == "task" else PAYROLL
    session = planned.world.session(name)
    planned.world.backup_seconds = 20.0
    seen: List[Any] = []

    def show() -> None:
        session.haserror = True
        clock.after(2, hide)

    def hide() -> None:
        seen.append(session.haserror)
        session.haserror = False

    at = 14.5 if when == "in mid-run" else 19.9
    at_first(planned, is_trigger, lambda: clock.after(at, show))
    result = run_against(planned, clock, *TARGETS[target])
    check_backup(result, planned)
    wait_for(lambda: seen or when == "at the end")


def test_error_flag_that_stays(planned: SimulatedCsm, clock: PlannedClock) -> None:
    session = planned.world.session(TASK)

    def show() -> None:
        session.haserror = True

    planned.world.backup_seconds = 20.0
    at_first(planned, is_trigger, lambda: clock.after(5, show))
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert f"session {TASK} shows an error that it did not show before" in result.last_line


# --- Which of them runs ---------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "code", "made"), [("error", 7, 1), ("good", 0, 2)])
def test_run_begins_late(
    planned: SimulatedCsm, clock: PlannedClock, outcome: str, code: int, made: int
) -> None:
    """Accepted; the run begins 10 s later. What somebody else backs up in between, and yesterday's
    last message, are not its verdict."""
    task, session = planned.world.task(TASK_ID), planned.world.session(TASK)
    task.outcome = "ignored"

    def begin() -> None:
        task.outcome = outcome
        planned.world.start_run(TASK_ID)

    def plan() -> None:
        clock.after(3, lambda: planned.world.make_backup(session))
        clock.after(10, begin)

    at_first(planned, is_trigger, plan)
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, code, triggers=1)
    assert len(planned.world.backups_made) == made
    assert ("IWNR0001E" in result.last_line) == bool(code)
    assert clock.elapsed >= 10
