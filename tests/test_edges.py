"""Corners in which the program once was wrong, or easily would be."""
import time
from typing import Any, Dict

import pytest
from harness import run_inside, server_options
from simulated_csm import SimulatedCsm

TASK = "ITSO_SGC_H3_LAH81"


def each_task(reply: Any, change: Dict[str, Any]) -> Any:
    """The reply with these fields in each task in it; None takes a field away."""
    for task in reply if isinstance(reply, list) else [reply]:
        if isinstance(task, dict) and "lastRan" in task:
            task.update(change)
            for key in [key for key, value in change.items() if value is None]:
                del task[key]
    return reply


def test_backup_from_the_future_is_no_reason_to_skip() -> None:
    """The clock of the newest backup may run ahead by seconds: without --min-interval, go on."""
    with SimulatedCsm() as csm:
        csm.world.make_backup(csm.world.session(TASK)).id = int(time.time()) + 5
        csm.world.backups_made.clear()
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 0 and result.json["outcome"] == "verified"
        assert len(csm.world.triggers) == 1
        assert result.json["sessions"][0]["backup"]["id"] == csm.world.backups_made[0][1]


def test_running_task_that_does_not_tell_its_start_is_joined() -> None:
    with SimulatedCsm(backup_seconds=0.4) as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": None})
        csm.world.start_run(27)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("last_ran", ["told", "not told"])
def test_error_of_an_earlier_run_is_not_of_this_one(last_ran: str) -> None:
    """Servers before 6.3.2 show the messages of all runs."""
    with SimulatedCsm(messages="array") as csm:
        old = {"baseDate": int((time.time() - 86400) * 1000), "msg": "IWNR0002E",
               "resultText": "IWNR0002E of yesterday"}

        def change(request: Any, reply: Any) -> Any:
            each_task(reply, {} if last_ran == "told" else {"lastRan": None})
            for task in reply if isinstance(reply, list) else [reply]:
                if isinstance(task, dict) and "messages" in task:
                    task["messages"] = [old] + task["messages"]
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and "IWNR0002E" not in result.out
        assert len(csm.world.triggers) == 1


def test_error_in_mid_run_that_ends_well() -> None:
    """IWNR2212I says that the run ended, not that all went well."""
    with SimulatedCsm(messages="array") as csm:
        def change(request: Any, reply: Any) -> Any:
            if csm.world.triggers and isinstance(reply, dict) and reply.get("messages"):
                reply["messages"].insert(-1, {
                    "baseDate": int(time.time() * 1000), "msg": "IWNR0003E",
                    "resultText": "IWNR0003E a step failed"})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and "IWNR0003E a step failed" in result.err
        assert csm.world.backups_made[0][1] in result.err  # and that the backup is there
