"""A run that somebody else has started: it is joined, and no second one is started."""

import time
from typing import Any

import pytest

from csm import Backup, Request, SimulatedCsm
from support.checks import check_one_backup, is_task_look, is_trigger, is_view_of
from support.program import run_inside, server_options
from support.scenes import (
    PAYROLL,
    TARGETS,
    TASK,
    TASK_ID,
    add_message,
    backup_is_made,
    each_task,
    hold_backup,
    once,
)

# --- It runs when we come -----------------------------------------------------------------------


def test_joined_run_without_a_second_trigger(csm: SimulatedCsm) -> None:
    """Running already when we come: no trigger at all, and only its own backup counts."""
    hold_backup(csm, 3)
    csm.world.start_run(TASK_ID)
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    check_one_backup(result, csm.world, triggers=0)
    assert csm.world.attempts == []


@pytest.mark.parametrize("option", ["--no-wait", "-v"])
def test_joined_run_is_told(option: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 1)  # that of --no-wait never looks
        csm.world.start_run(TASK_ID)
        result = run_inside(*server_options(csm), "-t", TASK, option)
        assert result.code == 0
        assert csm.world.triggers == csm.world.attempts[1:] == []
        assert "; a run that was joined, after " in result.out


def test_running_task_that_does_not_tell_its_start_is_joined() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 3)
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": None})
        csm.world.start_run(TASK_ID)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("late", [0, 1, 99])
def test_joined_run_whose_start_is_told_at_its_end(late: int) -> None:
    """Or `late` looks after it, or never. Measured by the start of the run before, hours ago, the
    backup of that one would count."""
    left = list(range(late))
    with SimulatedCsm(backup_seconds=0.01) as csm:
        task, before = csm.world.task(TASK_ID), csm.world.task(TASK_ID).lastRan or 0
        task.outcome = "no-backup"
        hold_backup(csm, 2)

        def stale(request: Request, reply: Any) -> Any:
            if task.running or (is_task_look(request) and left and left.pop() >= 0):
                return each_task(reply, {"lastRan": before * 1000})
            return reply

        csm.mutate = stale
        csm.world.start_run(TASK_ID)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 7
        assert result.out == ""
        assert (csm.world.attempts, csm.world.backups_made) == ([], [])


def test_joined_run_whose_backup_was_there_before() -> None:
    """That of its first session; the other one's is still to come."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(TASK_ID).steps = [(TASK, "Backup"), (PAYROLL, "Backup")]
        hold_backup(csm, 2, PAYROLL)
        csm.world.start_run(TASK_ID)
        backup_is_made(csm)
        result = run_inside(*server_options(csm), "-t", TASK, "--json")
        assert result.code == 0
        assert csm.world.attempts == []
        assert csm.world.backups_made == [
            (each["name"], each["backup"]["id"]) for each in result.json["sessions"]
        ]


def test_joined_run_whose_start_is_by_a_faster_clock() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 2)
        csm.world.start_run(TASK_ID)
        start = csm.world.task(TASK_ID).lastRan or 0
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": (start + 5) * 1000})
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out


def test_error_of_a_run_before_the_one_that_is_joined() -> None:
    """What was told before the run was joined may be of a run before: no error of this one."""
    with SimulatedCsm(messages="array") as csm:
        hold_backup(csm, 2)
        csm.world.start_run(TASK_ID)
        began = csm.world.task(TASK_ID).lastRan
        assert began is not None

        def change(request: Request, reply: Any) -> Any:
            return add_message(reply, "IWNR0003E a step failed", began - 1)

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert "IWNR0003E" not in result.out
        assert csm.world.attempts == []
        assert len(csm.world.backups_made) == 1


# --- It starts before our trigger ---------------------------------------------------------------


@pytest.mark.parametrize("running_again", ["refuse-E", "409", "500"])
def test_somebody_else_was_faster(csm: SimulatedCsm, running_again: str) -> None:
    """The schedule starts the task after we have read it: our trigger is refused, and we join."""
    csm.world.dialect.running_again = running_again
    hold_backup(csm, 4)
    once(csm, is_view_of(TASK), lambda: csm.world.start_run(TASK_ID))
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    check_one_backup(result, csm.world, triggers=0)
    assert len([each for each in csm.requests if is_trigger(each)]) == 1


def test_refused_since_somebody_else_was_faster() -> None:
    """And that run does not show at once."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        world, hidden = csm.world, [1, 2]  # looks
        before = [csm.replies.task(world.task(TASK_ID))]
        hold_backup(csm, 3)

        def hide(request: Request, reply: Any) -> Any:
            if is_task_look(request):
                return before if hidden and hidden.pop() else reply
            if (
                request.path.endswith(TASK)
                and not world.task(TASK_ID).running
                and not world.attempts
            ):
                world.start_run(TASK_ID)
            return reply

        csm.mutate = hide
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert world.triggers == []
        assert len(world.attempts) == 1
        assert len(world.backups_made) == 1
        assert world.backups_made[0][1] in result.out


def test_denied_since_somebody_else_was_faster() -> None:
    """Whether HTTP 403 is how CSM says so is not known."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 3)
        once(csm, is_view_of(TASK), lambda: csm.world.start_run(TASK_ID))
        csm.inject_when(is_trigger, "403", None)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert csm.world.triggers == []
        assert len(csm.world.backups_made) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_run_joined_after_a_refusal_that_makes_no_backup() -> None:
    """And never tells its start, so that the one of a run 20 minutes ago is still shown: the backup
    of that one is not taken for its own, since the task did not run when it was noted."""
    before = int(time.time()) - 1200
    with SimulatedCsm(backup_seconds=0.01) as csm:
        task = csm.world.task(TASK_ID)
        task.outcome, csm.world.session(TASK).backups = "no-backup", [Backup(before + 10)]
        hold_backup(csm, 3)
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": before * 1000})
        once(csm, is_view_of(TASK), lambda: csm.world.start_run(TASK_ID))
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 7
        assert result.out == ""
        assert "looking whether there is a run all the same" in result.err
        assert (csm.world.triggers, csm.world.backups_made) == ([], [])
