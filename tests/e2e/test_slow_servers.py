"""CSM shows late, or for a while not at all, what it has done: neither a failure nor a second run.

Nothing in here depends on how busy the machine is: what happens at a certain second is planned on
the program's own clock.
"""

import time
from typing import Any, Iterator, List

import pytest

from csm import Backup, SimulatedCsm, World
from support.checks import check, check_backup, is_trigger, is_view_of, triggers_sent
from support.clock import PlannedClock
from support.program import Result, run_inside, server_options
from support.scenes import (
    PAYROLL,
    PAYROLL_TASK,
    TARGETS,
    TASK,
    TASK_ID,
    at_first,
    shows_as_before,
    wait_for,
)

# A task of one step and its session: where a test is run with both.
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


def set_outcome(csm: SimulatedCsm, outcome: str) -> None:
    csm.world.task(PAYROLL_TASK).outcome = outcome
    csm.world.session(PAYROLL).outcome = outcome


# --- The backup is called valid late --------------------------------------------------------------


@both
def test_valid_late(csm: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    set_outcome(csm, "invalid")

    def turn_valid() -> None:
        csm.world.session(PAYROLL).backups[0].valid = True

    at_first(csm, is_trigger, lambda: clock.after(77, turn_valid))
    result = run(csm, clock, *SIMPLE[target])
    check_backup(result, csm)
    assert clock.passed >= 70


@both
def test_never_valid(csm: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """Nobody has published when a good backup is called valid: it is waited for, and told."""
    set_outcome(csm, "invalid")
    result = run(csm, clock, *SIMPLE[target], "--timeout", "300")
    check(result, csm, 8, triggers=1)
    made = csm.world.backups_made[0][1]
    assert f"backup {made} is there, and CSM does not call it valid yet" in result.last_line
    assert clock.passed >= 250


# --- A command whose answer is late, or lost ------------------------------------------------------


@pytest.mark.parametrize(("seconds", "options"), [(5, ["--request-timeout", "2"]), (61, [])])
def test_backup_takes_longer_than_a_request(
    csm: SimulatedCsm, clock: PlannedClock, seconds: float, options: List[str]
) -> None:
    """The connection stands, so CSM is at work on it: it is not sent again."""
    csm.world.backup_seconds = seconds
    result = run(csm, clock, "-S", PAYROLL, *options)
    check_backup(result, csm)
    assert len(triggers_sent(csm)) == 1


def lose_answer(csm: SimulatedCsm) -> None:
    csm.inject_when(is_trigger, "reset-after")


@both
def test_away_after_the_trigger(csm: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """For 8 s; then the old state for 2.5 s: that was looking for less than a request timeout."""

    def come_back() -> None:
        csm.accept_connections()
        clock.after(2.5, show_all)

    def show_all() -> None:
        csm.mutate = None

    def leave() -> None:
        shows_as_before(csm)
        csm.refuse_connections()
        clock.after(8, come_back)

    csm.world.backup_seconds = 1.0
    at_first(csm, is_trigger, leave)  # it is processed all the same
    lose_answer(csm)
    result = run(csm, clock, *SIMPLE[target], "--request-timeout", "5")
    check_backup(result, csm)
    assert len(triggers_sent(csm)) == 1


def test_no_task_is_listed_after_the_trigger(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """An empty list is no look: 7 s of it, with a request timeout of 5 s."""

    def list_again() -> None:
        csm.world.lists_tasks = True

    def hide() -> None:
        csm.world.lists_tasks = False
        clock.after(7, list_again)

    at_first(csm, is_trigger, hide)
    lose_answer(csm)
    result = run(csm, clock, "-t", TASK, "--request-timeout", "5")
    check_backup(result, csm)
    assert len(triggers_sent(csm)) == 1


@both
def test_busy_for_a_while(csm: SimulatedCsm, clock: PlannedClock, target: str) -> None:
    """503 says that it was not processed: it is tried again while there is time."""
    csm.inject_when(is_trigger, "503", None)
    at_first(csm, is_trigger, lambda: clock.after(12, csm.faults.clear))
    result = run(csm, clock, *SIMPLE[target], "--request-timeout", "5")
    check_backup(result, csm)


@pytest.mark.parametrize("seconds", [40.0, 200.0])
@pytest.mark.parametrize("kind", ["503-after", "429-after"])
def test_busy_and_processed_all_the_same(
    csm: SimulatedCsm, clock: PlannedClock, kind: str, seconds: float
) -> None:
    """Each Backup takes long: two of them, not one a pause."""
    csm.world.blocking = False
    csm.world.backup_seconds = seconds
    csm.inject_when(is_trigger, kind, None)
    result = run(csm, clock, "-S", PAYROLL)
    check(result, csm, 0, triggers=2)
    assert csm.world.backups_made[0][1] in result.out
    assert "2 triggers may have been processed" in result.out


# --- The list of tasks is empty before ------------------------------------------------------------


def test_no_task_is_listed_at_first(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """The session of the same name is no way out: the task's other steps would be left out."""

    def list_again() -> None:
        csm.world.lists_tasks = True

    csm.world.lists_tasks = False
    at_first(csm, lambda _: True, lambda: clock.after(3, list_again))
    result = run(csm, clock, "-t", TASK)
    check_backup(result, csm)
    assert [kind for kind, *_ in csm.world.triggers] == ["task"]


# --- The session cannot be seen -------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 403])
def test_session_is_never_seen(csm: SimulatedCsm, clock: PlannedClock, status: int) -> None:
    csm.world.session(PAYROLL).view = status
    result = run(csm, clock, "-t", PAYROLL_TASK, "--timeout", "300")
    check(result, csm, 8, triggers=1)
    assert len(csm.world.backups_made) == 1
    assert "cannot be seen" in result.last_line or "cannot be proven" in result.last_line
    assert str(status) in result.last_line


@both
@pytest.mark.parametrize(("outcome", "code"), [("no-backup", 8), ("good", 0)])
def test_session_is_seen_after_the_trigger(
    csm: SimulatedCsm, clock: PlannedClock, target: str, outcome: str, code: int
) -> None:
    """It shows a backup of 4 minutes ago, which proves nothing."""
    session = csm.world.session(PAYROLL)
    session.backups = [Backup(int(time.time()) - 240)]
    old = session.backups[0].id

    def show() -> None:
        session.view = 200

    session.view = 500
    csm.world.backup_seconds = 5.0
    set_outcome(csm, outcome)
    at_first(csm, is_trigger, show)
    result = run(csm, clock, *SIMPLE[target], "--timeout", "300")
    check(result, csm, code, triggers=1)
    if code:
        assert "cannot be proven" in result.last_line
        assert str(old) in result.last_line
    else:
        assert csm.world.backups_made[0][1] in result.out


@both
@pytest.mark.parametrize("age", [30, 240])
def test_backups_are_listed_late(
    csm: SimulatedCsm, clock: PlannedClock, target: str, age: int
) -> None:
    """A session that says Protected and lists none hides them; the run makes none."""
    session = csm.world.session(PAYROLL)
    old = [Backup(int(time.time()) - age)]
    session.backups = []

    def show() -> None:
        session.backups = old

    set_outcome(csm, "no-backup")
    at_first(csm, is_view_of("SGC%20Payroll"), lambda: clock.after(5, show))
    result = run(csm, clock, *SIMPLE[target], "--timeout", "300")
    assert result.code in (7, 8), result.text
    assert len(csm.world.triggers) == 1
    assert csm.world.backups_made == []
    assert session.backups == old


# --- An error for a moment ------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["in mid-run", "at the end"])
@pytest.mark.parametrize("target", TARGETS)
def test_error_flag_for_two_seconds(
    csm: SimulatedCsm, clock: PlannedClock, target: str, when: str
) -> None:
    name = TASK if target == "task" else PAYROLL
    session = csm.world.session(name)
    csm.world.backup_seconds = 20.0
    seen: List[Any] = []

    def show() -> None:
        session.haserror = True
        clock.after(2, hide)

    def hide() -> None:
        seen.append(session.haserror)
        session.haserror = False

    at = 14.5 if when == "in mid-run" else 19.9
    at_first(csm, is_trigger, lambda: clock.after(at, show))
    result = run(csm, clock, *TARGETS[target])
    check_backup(result, csm)
    wait_for(lambda: seen or when == "at the end")


def test_error_flag_that_stays(csm: SimulatedCsm, clock: PlannedClock) -> None:
    session = csm.world.session(TASK)

    def show() -> None:
        session.haserror = True

    csm.world.backup_seconds = 20.0
    at_first(csm, is_trigger, lambda: clock.after(5, show))
    result = run(csm, clock, "-t", TASK)
    check(result, csm, 7, triggers=1)
    assert f"session {TASK} shows an error that it did not show before" in result.last_line


# --- Which of them runs ---------------------------------------------------------------------------


def test_run_begins_late(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """Accepted; the run begins 10 s later and fails. What somebody else backs up in between, and
    yesterday's last message, are not its verdict."""
    task, session = csm.world.task(TASK_ID), csm.world.session(TASK)
    task.outcome = "ignored"

    def begin() -> None:
        task.outcome = "error"
        csm.world.start_run(TASK_ID)

    def plan() -> None:
        clock.after(3, lambda: csm.world.make_backup(session))
        clock.after(10, begin)

    at_first(csm, is_trigger, plan)
    result = run(csm, clock, "-t", TASK)
    check(result, csm, 7, triggers=1)
    assert "IWNR0001E" in result.last_line
    assert clock.passed >= 10


def test_run_begins_late_and_is_good(csm: SimulatedCsm, clock: PlannedClock) -> None:
    task, session = csm.world.task(TASK_ID), csm.world.session(TASK)
    task.outcome = "ignored"

    def begin() -> None:
        task.outcome = "good"
        csm.world.start_run(TASK_ID)

    def plan() -> None:
        clock.after(3, lambda: csm.world.make_backup(session))
        clock.after(10, begin)

    at_first(csm, is_trigger, plan)
    result = run(csm, clock, "-t", TASK)
    check(result, csm, 0, triggers=1)
    assert len(csm.world.backups_made) == 2
    assert clock.passed >= 10
