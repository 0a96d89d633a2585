"""CSM refuses to run the task or to take the backup: believed, told, nothing was started."""

from typing import Any, Tuple

import pytest

from csm import Request, SimulatedCsm
from support.checks import check, check_backup, is_trigger, triggers_sent
from support.clock import PlannedClock
from support.program import run_against, run_inside, server_options
from support.scenes import TASK, TASK_ID, at_first, trigger_is_answered


@pytest.mark.parametrize("target", [("-t", TASK), ("-S", TASK)])
@pytest.mark.parametrize("status", [400, 405, 409])
def test_refusal_without_json(status: int, target: Tuple[str, str]) -> None:
    """As of the server that CSM runs in: that is an answer, and nothing was started."""
    page = b"<html>Error</html>"
    with SimulatedCsm() as csm:
        head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(page)}\r\n\r\n"
        csm.garbage = head.encode() + page
        csm.inject_when(is_trigger, "garbage", None)
        result = run_inside(*server_options(csm), *target, "--json")
        assert result.code == 6
        assert result.json["started"] == "no"
        assert str(status) in result.err
        assert len(triggers_sent(csm)) == 1


def test_trigger_that_this_user_may_not_send() -> None:
    """A new token does not help: that is a refusal, and no reason to go on for half an hour."""
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "401", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json")
        assert result.code == 6
        assert result.json["started"] == "no"
        assert "IWNR0010E" in result.err
        assert len(triggers_sent(csm)) == 2


def test_backup_of_before_is_no_run_of_somebody_else() -> None:
    """CSM lists it only after the program has looked for the first time, and refuses to run."""
    with SimulatedCsm() as csm:
        old = csm.world.make_backup(csm.world.session(TASK))
        csm.world.backups_made.clear()
        csm.world.task(TASK_ID).outcome = "refuse"
        before = csm.world.session(TASK).backups[1:]

        def late(request: Request, reply: Any) -> Any:
            csm.world.session(TASK).backups = before if not csm.world.attempts else [old, *before]
            return reply

        csm.world.session(TASK).backups = before
        csm.mutate = late
        result = run_inside(*server_options(csm), "-t", TASK, "--json")
        assert result.code == 6
        assert result.json["started"] == "no"


def test_session_backup_with_an_error_and_a_backup() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        trigger_is_answered(csm, "IWNR9700E", "It has failed.")
        result = run_inside(*server_options(csm), "-S", TASK, "--json")
        assert result.code == 7
        assert result.json["started"] == "yes"
        assert result.out
        assert "IWNR9700E It has failed." in result.err
        assert len(csm.world.attempts) == 1
        assert "backup TAKEN (" in result.last_line
        assert "nothing was started" not in result.err
        assert csm.world.backups_made[0][1] in result.err


# --- The task waits for approval ------------------------------------------------------------------


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
