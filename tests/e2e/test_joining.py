"""The task runs already, or seems to: the run is joined, and counts as ours if it brings a backup.

Where it brings none, our own trigger follows it."""

import time
from typing import Any, List

import pytest

from csm import Backup, Request, SimulatedCsm
from support.checks import (
    check,
    check_backup,
    check_one_backup,
    is_task_look,
    is_trigger,
    is_view_of,
    triggers_sent,
)
from support.clock import PlannedClock
from support.program import run_against, run_inside, server_options
from support.scenes import (
    PAYROLL,
    TARGETS,
    TASK,
    TASK_ID,
    add_message,
    at_first,
    backup_is_made,
    each_task,
    hold_backup,
    once,
)

# --- It runs when we come -------------------------------------------------------------------------


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
    """Or `late` looks after it, or never. Whatever it tells: none of the runs makes a backup, and
    that of hours ago counts for none of them."""
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
        assert (len(csm.world.attempts), csm.world.backups_made) == (1, [])


@pytest.mark.parametrize("outcome", ["no-backup", "error", "warning-without-backup"])
def test_joined_run_without_backup_is_followed_by_our_own(csm: SimulatedCsm, outcome: str) -> None:
    """However it went: that is no verdict on ours, nor is any of its messages."""
    task = csm.world.task(TASK_ID)
    task.outcome = outcome
    if outcome == "warning-without-backup":  # that of its session decides whether there is one
        task.outcome, csm.world.session(TASK).outcome = "warning", "no-backup"
    hold_backup(csm, 2)
    csm.world.start_run(TASK_ID)

    def set_outcome(request: Request) -> None:
        if is_trigger(request):
            task.outcome = csm.world.session(TASK).outcome = "good"

    csm.on_arrival = set_outcome
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    check_one_backup(result, csm.world, triggers=1)
    assert result.json["triggers"] == 1


@pytest.mark.parametrize("after", ["good", "no-backup"])
def test_joined_run_whose_backup_was_taken_before_we_looked(csm: SimulatedCsm, after: str) -> None:
    """It may be from before the threat: it proves nothing, and our own trigger follows."""
    task = csm.world.task(TASK_ID)
    task.steps = [(TASK, "Backup"), (PAYROLL, "Backup")]
    hold_backup(csm, 2, PAYROLL)
    csm.world.start_run(TASK_ID)
    backup_is_made(csm)
    noted = csm.world.backups_made[0]

    def set_outcome(request: Request) -> None:
        if is_trigger(request):
            task.outcome = after

    csm.on_arrival = set_outcome
    result = run_inside(*server_options(csm), "-t", TASK, "--json")
    assert result.code == (0 if after == "good" else 7)
    assert len(csm.world.triggers) == 1
    assert len(csm.world.backups_made) == (4 if after == "good" else 2)
    told = [
        (each["name"], each["backup"]["id"]) for each in result.json["sessions"] if each["backup"]
    ]
    assert noted not in told
    assert len(told) == (2 if after == "good" else 1)


def test_joined_run_that_is_followed_by_another_one(csm: SimulatedCsm) -> None:
    """A later start is another run, and that one is joined as well."""
    task = csm.world.task(TASK_ID)
    task.outcome = "no-backup"
    hold_backup(csm, 2)

    def next_one() -> None:
        task.outcome = "good"
        csm.world.start_run(TASK_ID)

    csm.world.start_run(TASK_ID)
    began = task.lastRan
    once(csm, lambda request: request.n > 6 and not task.running, next_one)
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    assert task.lastRan != began
    check_one_backup(result, csm.world, triggers=0)
    assert csm.world.attempts == []


def test_refused_since_it_runs_while_nothing_can_be_read(csm: SimulatedCsm) -> None:
    """The run that explains the refusal shows itself only once CSM answers with more than 500."""
    csm.world.dialect.running_again = "refuse-E"
    at_first(csm, is_trigger, lambda: csm.world.start_run(TASK_ID))
    csm.world.session(TASK).lock.acquire()
    csm.inject_when(lambda request: request.method == "GET" and bool(triggers_sent(csm)), "500", 16)
    once(csm, lambda request: request.n > 26, csm.world.session(TASK).lock.release)
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    check_one_backup(result, csm.world, triggers=0)
    assert result.json["triggers"] == 0


def test_young_backup_of_a_joined_run(csm: SimulatedCsm) -> None:
    """It was noted, and not valid yet: no proof. Once it is valid, --min-interval needs no more."""
    task, backup = csm.world.task(TASK_ID), Backup(int(time.time()) - 5, valid=False)
    task.running, csm.world.session(TASK).backups = True, [backup]
    once(csm, lambda request: request.n > 6, lambda: setattr(task, "running", False))
    once(csm, lambda request: request.n > 4, lambda: setattr(backup, "valid", True))
    result = run_inside(*server_options(csm), "-t", TASK, "--min-interval", "60", "--json")
    assert result.code == 0, result.err
    assert result.json["outcome"] == "skipped"
    assert csm.world.attempts == []


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
        at = len(csm.world.task(TASK_ID).messages)  # before the first of this run
        hold_backup(csm, 2)
        csm.world.start_run(TASK_ID)
        began = csm.world.task(TASK_ID).lastRan
        assert began is not None

        def change(request: Request, reply: Any) -> Any:
            return add_message(reply, "IWNR0003E a step failed", began - 1, at=at)

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert "IWNR0003E" not in result.out
        assert csm.world.attempts == []
        assert len(csm.world.backups_made) == 1


# --- It is in its last step -----------------------------------------------------------------------


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


def test_young_backup_that_somebody_makes_after_the_joined_run(
    planned: SimulatedCsm, clock: PlannedClock
) -> None:
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


# --- It seems to run for ever ---------------------------------------------------------------------


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


# --- It starts before our trigger -----------------------------------------------------------------


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
    of that one is not taken for its own. Our own trigger follows, and makes none either."""
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
        assert "IWNR0004E" in result.err
        assert len(csm.world.attempts) == 2
        assert (len(csm.world.triggers), csm.world.backups_made) == (1, [])
