"""What a task tells of its run: messages that are late, odd, cut off, hidden, or never come."""

from typing import Iterator, List

import pytest

from csm import Message, SimulatedCsm, World
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
    world = World(sleep=clock.hold, backup_seconds=5.0, step_seconds=0.1)
    with SimulatedCsm(world) as server:
        yield server


def run(csm: SimulatedCsm, clock: PlannedClock, *argv: str) -> Result:
    return run_inside(*server_options(csm), "-t", TASK, *argv, clock=clock)


def leave_messages(csm: SimulatedCsm, clock: PlannedClock, *ids: str, after: float = 2) -> None:
    """In mid-run."""
    task = csm.world.task(TASK_ID)

    def leave() -> None:
        now = csm.world.clock()
        texts = [Message(now, each, f"{each} The step said so.") for each in ids]
        task.messages = [*task.messages, *texts]

    at_first(csm, is_trigger, lambda: clock.after(after, leave))


ERROR, ERROR_IN_SIX_DIGITS, STEP = "IWNR0001E", "IWNR123456E", "IWNR1026I"


# --- An error in mid-run --------------------------------------------------------------------------


@pytest.mark.parametrize("messages", ["lastmessage", "lastmessage-id", "array", "array-null"])
@pytest.mark.parametrize("message_id", [ERROR, ERROR_IN_SIX_DIGITS])
def test_error_of_a_step(
    csm: SimulatedCsm, clock: PlannedClock, messages: str, message_id: str
) -> None:
    """The run goes on, takes its backup and ends with IWNR2212I."""
    csm.world.dialect.messages = messages
    leave_messages(csm, clock, message_id)
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert message_id in result.last_line
    assert csm.world.backups_made[0][1] in result.last_line
    assert "TAKEN" in result.last_line


@pytest.mark.parametrize("messages", ["array", "array-null", "array-empty", "array-no-text"])
@pytest.mark.parametrize("is_old", [False, True], ids=["new", "of an old run as well"])
def test_error_that_many_messages_follow(
    csm: SimulatedCsm, clock: PlannedClock, messages: str, is_old: bool
) -> None:
    """All within one look: the whole list is read, however long it is."""
    csm.world.dialect.messages = messages
    task = csm.world.task(TASK_ID)
    if is_old:
        begun, ended = task.messages
        task.messages = [begun, Message(begun.when + 1, ERROR, f"{ERROR} It failed."), ended]
    leave_messages(csm, clock, ERROR, *[STEP] * 60)
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert ERROR in result.last_line


# --- The last message -----------------------------------------------------------------------------


def test_warning_is_the_last_message(csm: SimulatedCsm, clock: PlannedClock) -> None:
    csm.world.task(TASK_ID).outcome = "warning"
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert "the run's last message is the warning IWNR0002W" in result.last_line
    assert "without a message" not in result.last_line
    assert clock.passed >= 60


def test_last_message_has_no_id(csm: SimulatedCsm, clock: PlannedClock) -> None:
    task = csm.world.task(TASK_ID)

    def put() -> None:
        task.messages = [*task.messages, Message(csm.world.clock(), "", "The end.")]

    csm.world.backup_seconds = 3.0
    at_first(csm, is_trigger, lambda: clock.after(10, put))
    csm.world.dialect.cancelled, task.outcome = "cut", "cancelled"  # no message of its own
    task.steps = [(TASK, "Backup")]
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert "the run's last message has no id: The end." in result.last_line
    assert "TAKEN" in result.last_line


def test_run_is_cut_off(csm: SimulatedCsm, clock: PlannedClock) -> None:
    """Its last message is a step's, for good; the backup is there."""
    csm.world.dialect.cancelled = "cut"
    task = csm.world.task(TASK_ID)
    task.steps, task.outcome = [(TASK, "Backup"), *task.steps[3:]], "cancelled"
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert "backup TAKEN" in result.last_line
    assert "the run's last message is a step's (cut off): IWNR1026I" in result.last_line


@pytest.mark.parametrize(("how", "code"), [("error", 7), ("cut", 7)])
def test_run_is_cancelled_before_its_backup(
    csm: SimulatedCsm, clock: PlannedClock, how: str, code: int
) -> None:
    csm.world.dialect.cancelled = how
    csm.world.task(TASK_ID).outcome = "cancelled"
    result = run(csm, clock)
    check(result, csm, code, triggers=1)
    assert csm.world.backups_made == []
    assert "NO backup" in result.last_line
    assert ("IWNR0013E" if how == "error" else "cut off") in result.last_line


# --- No message at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("mute", ["empty", "null", "missing"])
@pytest.mark.parametrize("messages", ["array", "lastmessage"])
def test_task_without_any_message(
    csm: SimulatedCsm, clock: PlannedClock, messages: str, mute: str
) -> None:
    csm.world.dialect.messages, csm.world.dialect.mute = messages, mute
    csm.world.task(TASK_ID).mute = True
    result = run(csm, clock)
    check_backup(result, csm)
    assert "CSM tells no message of the run" in result.out


def test_task_without_any_message_and_no_backup(csm: SimulatedCsm, clock: PlannedClock) -> None:
    task = csm.world.task(TASK_ID)
    task.mute, task.outcome = True, "no-backup"
    result = run(csm, clock)
    check(result, csm, 7, triggers=1)
    assert "NO backup" in result.last_line


@pytest.mark.parametrize("never_ran", [None, 0, "missing"])
def test_first_run_of_a_mute_task(csm: SimulatedCsm, clock: PlannedClock, never_ran: str) -> None:
    csm.world.dialect.never_ran = never_ran
    task = csm.world.task(TASK_ID)
    task.mute, task.lastRan = True, None
    result = run(csm, clock)
    check_backup(result, csm)


# --- Servers of another age -----------------------------------------------------------------------


OLD: List[str] = ["array-null", "array-empty", "array-no-text"]


@pytest.mark.parametrize("messages", OLD)
@pytest.mark.parametrize("single_task", [200, 404, 405])
def test_ids_alone(csm: SimulatedCsm, clock: PlannedClock, messages: str, single_task: int) -> None:
    csm.world.dialect.messages, csm.world.dialect.single_task = messages, single_task
    result = run(csm, clock)
    check_backup(result, csm)


@pytest.mark.parametrize("messages", OLD)
def test_failure_tells_the_id_alone(csm: SimulatedCsm, clock: PlannedClock, messages: str) -> None:
    csm.world.dialect.messages = messages
    csm.world.task(TASK_ID).outcome = "error"
    result = run(csm, clock, "--json")
    check(result, csm, 7, triggers=1)
    assert result.json["csm_id"] == ERROR
    assert "None" not in result.text
