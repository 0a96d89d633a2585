"""When a run has ended, and how: what its messages, its flags and the list of backups tell."""

import time
from typing import Any, List

import pytest

from csm import Request, SimulatedCsm
from support.checks import check, is_task_look, is_view_of
from support.clock import JumpingClock
from support.program import run_inside, server_options
from support.scenes import (
    TASK,
    TASK_ID,
    add_message,
    each_task,
    hold_backup,
    session_shows,
    the_task,
)

# --- Messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "seconds"), [("a step's", 30), ("of the run before", 3), ("that it has started", 30)]
)
def test_error_message_that_comes_after_the_end(shown: str, seconds: float) -> None:
    """`running` goes false, the backup is there, and only then the error message comes."""
    ended: List[float] = []
    clock = JumpingClock()
    with SimulatedCsm() as csm:
        task = csm.world.task(TASK_ID)
        task.outcome = "error-after-backup"
        texts = {
            "a step's": "IWNR1026I The Backup command completed.",
            "of the run before": task.messages[-1].text,
            "that it has started": "IWNR2211I The scheduled task has started running.",
        }

        def late(request: Request, reply: Any) -> Any:
            if csm.world.triggers and not task.running:
                ended.append(clock.passed)
            if csm.world.triggers and (not ended or clock.passed < ended[0] + seconds):
                each_task(reply, {"lastmessage": texts[shown]})
            return reply

        csm.mutate = late
        result = run_inside(*server_options(csm), "-t", TASK, clock=clock)
        assert result.code == 7
        assert "IWNR0001E" in result.err
        assert csm.world.backups_made[0][1] in result.err
        assert len(csm.world.triggers) == 1


@pytest.mark.parametrize("kind", ["500", "403", "html"])
def test_run_fails_and_its_session_cannot_be_read(csm: SimulatedCsm, kind: str) -> None:
    """There is a backup, and nobody can see it: "NO backup" would be a guess."""
    csm.world.task(TASK_ID).outcome = "error-after-backup"
    csm.inject_when(
        lambda request: is_view_of(TASK)(request) and bool(csm.world.triggers), kind, None
    )
    result = run_inside(*server_options(csm), "-t", TASK)
    check(result, csm, 7, triggers=1)
    assert "whether a backup was taken cannot be seen; " in result.last_line
    assert "the run ended with the error IWNR0001E" in result.last_line
    assert f"GET /sessions/{TASK} answered" in result.last_line  # why it cannot be seen


def test_error_in_mid_run_that_ends_well() -> None:
    """IWNR2212I says that the run ended, not that all went well."""
    with SimulatedCsm(messages="array") as csm:

        def change(request: Any, reply: Any) -> Any:
            if csm.world.triggers and is_task_look(request):
                add_message(reply, "IWNR0003E a step failed", time.time())
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 7
        assert "IWNR0003E a step failed" in result.err
        assert csm.world.backups_made[0][1] in result.err  # and that the backup is there


def test_error_that_is_shown_only_while_it_runs() -> None:
    """From 6.3.2 on there is just the last message: an error that a later one replaces was one."""
    with SimulatedCsm() as csm:
        hold_backup(csm, 3)
        seen: List[str] = []

        def change(request: Request, reply: Any) -> Any:
            if is_task_look(request) and the_task(reply)["running"] and not seen:
                seen.append("IWNR0003E a step failed")
                each_task(reply, {"lastmessage": seen[0]})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK)
        assert seen
        assert result.code == 7
        assert seen[0] in result.err
        assert csm.world.backups_made[0][1] in result.err


@pytest.mark.parametrize("last_ran", ["told", "not told"])
def test_error_of_an_earlier_run_is_not_of_this_one(last_ran: str) -> None:
    """Servers before 6.3.2 show the messages of all runs."""
    with SimulatedCsm(messages="array") as csm:

        def change(request: Any, reply: Any) -> Any:
            each_task(reply, {} if last_ran == "told" else {"lastRan": None})
            yesterday = time.time() - 86400
            return add_message(reply, "IWNR0002E of yesterday", when=yesterday, at=0)

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert "IWNR0002E" not in result.out
        assert len(csm.world.triggers) == 1


def test_single_task_that_is_shown_without_its_message() -> None:
    """The list has it: how the run ended is known."""
    with SimulatedCsm(backup_seconds=0.01, messages="array") as csm:
        csm.mutate = lambda request, reply: (
            each_task(reply, {"messages": None})
            if (isinstance(reply, dict) and "messages" in reply)
            else reply
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_single_task_that_is_shown_with_all_its_messages() -> None:
    """From 6.3.2 on the list has the last one only: an error of long ago is none of this run."""
    with SimulatedCsm(backup_seconds=0.01) as csm:

        def with_history(request: Request, reply: Any) -> Any:
            if isinstance(reply, dict) and "lastmessage" in reply:
                reply["messages"] = [
                    {"baseDate": 0, "msg": each[:9], "resultText": each}
                    for each in ("IWNR0003E a step failed", reply.pop("lastmessage"))
                ]
            return reply

        csm.mutate = with_history
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_answer_to_a_read_is_not_what_csm_says_of_the_run() -> None:
    with SimulatedCsm(messages="array") as csm:
        csm.inject_when(lambda request: request.n > 4, "html", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "60")
        assert result.code == 8
        assert result.json["csm_id"] == "IWNR2211I"


# --- States -------------------------------------------------------------------------------------


def test_session_with_an_error_that_it_had_before() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        session_shows(csm, haserror=True)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert csm.world.backups_made[0][1] in result.out


def test_task_that_is_not_listed_any_more() -> None:
    """How its run ended is not known, though there is a backup: its old state proves nothing."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            [] if (csm.world.triggers and request.path.endswith("/scheduledtasks")) else reply
        )
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "60")
        assert result.code == 8
        assert len(csm.world.triggers) == 1


def test_approval_that_does_not_come_is_told() -> None:
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = "ignored"
        csm.mutate = lambda request, reply: each_task(
            reply, {"pendingApproval": True} if csm.world.triggers else {}
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        check(result, csm, 8, triggers=1)
        assert "the task waits for approval" in result.last_line


def test_approval_that_is_asked_for_after_the_trigger() -> None:
    """That run has neither begun nor ended."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = "ignored"
        waits = {"pendingApproval": True, "lastmessage": "IWNR9999I waits"}
        csm.mutate = lambda request, reply: each_task(reply, waits if csm.world.triggers else {})
        result = run_inside(*server_options(csm), "-t", TASK)
        check(result, csm, 8, triggers=1)
        assert "the task waits for approval" in result.last_line


# --- Backups ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", [None, 7, {"BackupResults": 7}, {"BackupResults": [None, "x"]}], ids=str
)
def test_odd_entries_among_the_backups(odd: Any) -> None:
    """They do not hide the good ones."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            dict(reply, backupInfo=[odd] + reply["backupInfo"] + [odd])
            if request.path.endswith("/sessions/" + TASK)
            else reply
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out
