"""What a task tells of its run: messages that are late, odd, cut off, hidden, or never come."""

from typing import List

import pytest

from csm import Message, SimulatedCsm
from support.checks import check, check_backup, is_trigger
from support.clock import PlannedClock
from support.program import run_against
from support.scenes import TASK, TASK_ID, at_first


def leave_messages(planned: SimulatedCsm, clock: PlannedClock, *ids: str, after: float = 2) -> None:
    """In mid-run."""
    task = planned.world.task(TASK_ID)

    def leave() -> None:
        now = planned.world.clock()
        texts = [Message(now, each, f"{each} The step said so.") for each in ids]
        task.messages = [*task.messages, *texts]

    at_first(planned, is_trigger, lambda: clock.after(after, leave))


ERROR, ERROR_IN_SIX_DIGITS, STEP = "IWNR0001E", "IWNR123456E", "IWNR1026I"


# --- An error in mid-run --------------------------------------------------------------------------


@pytest.mark.parametrize("messages", ["lastmessage", "lastmessage-id", "array", "array-null"])
@pytest.mark.parametrize("message_id", [ERROR, ERROR_IN_SIX_DIGITS])
def test_error_of_a_step(
    planned: SimulatedCsm, clock: PlannedClock, messages: str, message_id: str
) -> None:
    """The run goes on, takes its backup and ends with IWNR2212I."""
    planned.world.dialect.messages = messages
    leave_messages(planned, clock, message_id)
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert message_id in result.last_line
    assert planned.world.backups_made[0][1] in result.last_line
    assert "TAKEN" in result.last_line


@pytest.mark.parametrize("messages", ["array", "array-null", "array-empty", "array-no-text"])
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "of an old run as well"])
def test_error_that_many_messages_follow(
    planned: SimulatedCsm, clock: PlannedClock, messages: str, is_old: bool
) -> None:
    """All within one look: the whole list is read, however long it is."""
    planned.world.dialect.messages = messages
    task = planned.world.task(TASK_ID)
    if is_old:
        begun, ended = task.messages
        task.messages = [begun, Message(begun.when + 1, ERROR, f"{ERROR} It failed."), ended]
    leave_messages(planned, clock, ERROR, *[STEP] * 60)
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert ERROR in result.last_line


# --- The last message -----------------------------------------------------------------------------


def test_warning_is_the_last_message(planned: SimulatedCsm, clock: PlannedClock) -> None:
    planned.world.task(TASK_ID).outcome = "warning"
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert "the run's last message is the warning IWNR0002W" in result.last_line
    assert "without a message" not in result.last_line
    assert clock.elapsed >= 60


def test_last_message_has_no_id(planned: SimulatedCsm, clock: PlannedClock) -> None:
    task = planned.world.task(TASK_ID)

    def put() -> None:
        task.messages = [*task.messages, Message(planned.world.clock(), "", "The end.")]

    planned.world.backup_seconds = 3.0
    at_first(planned, is_trigger, lambda: clock.after(10, put))
    planned.world.dialect.cancelled, task.outcome = "cut", "cancelled"  # no message of its own
    task.steps = [(TASK, "Backup")]
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert "the run's last message has no id: The end." in result.last_line
    assert "TAKEN" in result.last_line


def test_run_is_cut_off(planned: SimulatedCsm, clock: PlannedClock) -> None:
    """Its last message is a step's, for good; the backup is there."""
    planned.world.dialect.cancelled = "cut"
    task = planned.world.task(TASK_ID)
    task.steps, task.outcome = [(TASK, "Backup"), *task.steps[3:]], "cancelled"
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert "backup TAKEN" in result.last_line
    assert "the run's last message is a step's (cut off): IWNR1026I" in result.last_line


@pytest.mark.parametrize(("how", "code"), [("error", 7), ("cut", 7)])
def test_run_is_cancelled_before_its_backup(
    planned: SimulatedCsm, clock: PlannedClock, how: str, code: int
) -> None:
    planned.world.dialect.cancelled = how
    planned.world.task(TASK_ID).outcome = "cancelled"
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, code, triggers=1)
    assert planned.world.backups_made == []
    assert "NO backup" in result.last_line
    assert ("IWNR0013E" if how == "error" else "cut off") in result.last_line


# --- No message at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("mute", ["empty", "null", "missing"])
@pytest.mark.parametrize("messages", ["array", "lastmessage"])
def test_task_without_any_message(
    planned: SimulatedCsm, clock: PlannedClock, messages: str, mute: str
) -> None:
    planned.world.dialect.messages, planned.world.dialect.mute = messages, mute
    planned.world.task(TASK_ID).mute = True
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)
    assert "CSM tells no message of the run" in result.out


def test_task_without_any_message_and_no_backup(planned: SimulatedCsm, clock: PlannedClock) -> None:
    task = planned.world.task(TASK_ID)
    task.mute, task.outcome = True, "no-backup"
    result = run_against(planned, clock, "-t", TASK)
    check(result, planned, 7, triggers=1)
    assert "NO backup" in result.last_line


@pytest.mark.parametrize("never_ran", [None, 0, "missing"])
def test_first_run_of_a_mute_task(
    planned: SimulatedCsm, clock: PlannedClock, never_ran: str
) -> None:
    planned.world.dialect.never_ran = never_ran
    task = planned.world.task(TASK_ID)
    task.mute, task.lastRan = True, None
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)


# --- Servers of another age -----------------------------------------------------------------------


OLD: List[str] = ["array-null", "array-empty", "array-no-text"]


@pytest.mark.parametrize("messages", OLD)
@pytest.mark.parametrize("single_task", [200, 404, 405])
def test_ids_alone(
    planned: SimulatedCsm, clock: PlannedClock, messages: str, single_task: int
) -> None:
    planned.world.dialect.messages, planned.world.dialect.single_task = messages, single_task
    result = run_against(planned, clock, "-t", TASK)
    check_backup(result, planned)


@pytest.mark.parametrize("messages", OLD)
def test_failure_tells_the_id_alone(
    planned: SimulatedCsm, clock: PlannedClock, messages: str
) -> None:
    planned.world.dialect.messages = messages
    planned.world.task(TASK_ID).outcome = "error"
    result = run_against(planned, clock, "-t", TASK, "--json")
    check(result, planned, 7, triggers=1)
    assert result.json["csm_id"] == ERROR
    assert "None" not in result.text
