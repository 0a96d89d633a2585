"""Which task or session a name means: found, not found, found twice, odd.

Names that are there, in a run to its end: test_verdict.py."""

import difflib
import json
from typing import Any, Dict, List, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import check, check_backup, is_trigger, is_view_of, triggers_sent
from support.program import run_inside, server_options
from support.scenes import PAYROLL, PAYROLL_TASK, TASK, each_task

# --- Lists of names -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/scheduledtasks", "/short"])
@pytest.mark.parametrize(("option", "name"), [("-t", TASK), ("-t", PAYROLL)])
def test_list_that_is_empty_for_once(path: str, option: str, name: str) -> None:
    """As of a server that has just started: no reason to say that a name is not there."""
    left = [path]
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            [] if (request.path.endswith(path) and left and left.pop()) else reply
        )
        result = run_inside(*server_options(csm), option, name)
        assert result.code == 0
        assert len(csm.world.triggers) == len(csm.world.backups_made) == 1
        assert [each.path.rpartition("/")[2] for each in csm.requests if is_trigger(each)] == [
            "27" if name == TASK else "SGC%20Payroll"
        ]  # not the session of the task's name


def test_list_that_is_empty_for_good(csm: SimulatedCsm) -> None:
    """That is told while it is looked at again, and at the end."""
    csm.world.lists_tasks = False
    result = run_inside(*server_options(csm), "-t", "No Such Name")
    check(result, csm, 5)
    odd = "CSM is starting, or this user sees none"
    assert f"lists no task: {odd}; trying again" in result.err
    assert f"no task is listed: {odd}" in result.last_line


def test_list_that_is_empty_on_one_server_of_a_pair(
    pair: Tuple[SimulatedCsm, SimulatedCsm],
) -> None:
    """And neither tells its role: the other one is asked before a session of that name is taken."""
    first, second = pair
    for server in pair:
        server.inject_when(lambda request: request.path.endswith("/system/ha"), "404", None)
    second.promote()
    first.mutate = lambda request, reply: [] if request.path.endswith("/scheduledtasks") else reply
    result = run_inside(*server_options(first, second), "-t", TASK, "--json")
    check(result, second, 0, triggers=1)
    assert result.json["tasks"][0]["name"] == TASK
    assert [len(triggers_sent(each)) for each in pair] == [0, 1]


def test_task_that_is_listed_twice() -> None:
    """With one id: that is one task."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.mutate = lambda request, reply: 2 * reply if isinstance(reply, list) else reply
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


ODD_TASKS = [
    {"id": 98},
    {"id": None, "name": "SGC odd"},
    "SGC odd",
    None,
    {"id": 99, "name": "SGC odd", "actions": [{"step": 1, "command": "Backup"}]},
]

ODD_SESSIONS = [{"rulesname": "Safeguarded Copy"}, {"name": None}, "SGC odd", None]


def run_with_odd_entries(path: str, odd: List[Any], *named: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            odd + reply + odd if request.path.endswith(path) else reply
        )
        result = run_inside(*server_options(csm), *named, "--timeout", "60")
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1
        assert csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("odd", ODD_TASKS, ids=str)
@pytest.mark.parametrize("named", [["-t", TASK], ["-t", TASK, "-S", TASK]], ids=" ".join)
def test_odd_entry_among_the_tasks(named: List[str], odd: Any) -> None:
    run_with_odd_entries("/sessions/scheduledtasks", [odd], *named)


@pytest.mark.parametrize("named", [["-t", TASK], ["-S", TASK], ["-t", PAYROLL]], ids=" ".join)
def test_odd_entries_among_the_sessions(named: List[str]) -> None:
    run_with_odd_entries("/sessions/short", ODD_SESSIONS, *named)


def test_session_name_that_is_no_unicode() -> None:
    """JSON can hold half of a surrogate pair, which no URL can."""
    with SimulatedCsm() as csm:
        steps = {"actions": [{"step": 1, "sessionName": "A\ud800", "command": "Backup"}]}
        csm.mutate = lambda request, reply: json.dumps(each_task(reply, steps)).encode()
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "60")
        assert result.code == 8
        assert len(csm.world.triggers) == 1
        assert 'session "A' in result.last_line


def test_session_whose_name_is_that_of_the_list() -> None:
    """CSM shows the list there: such a session can be backed up, and not be seen."""
    with SimulatedCsm() as csm:
        csm.world.session(TASK).name = "short"
        result = run_inside(*server_options(csm), "-S", "short", "--json", "--timeout", "60")
        assert result.code == 8
        assert result.json["started"] == "yes"
        assert len(csm.world.triggers) == 1


def test_session_that_a_list_lacks_for_once(csm: SimulatedCsm) -> None:
    """A CSM that has just started lists what it has loaded so far."""
    left = ["once"]
    csm.inject_when(is_view_of("SGC%20Payroll"), "500", 2)
    csm.mutate = lambda request, reply: (
        reply[-1:] if (request.path.endswith("/short") and left and left.pop()) else reply
    )
    result = run_inside(*server_options(csm), "-S", PAYROLL)
    check_backup(result, csm)
    assert left == []


ODD_STEPS: Dict[str, List[Any]] = {
    "no session": [{"step": 1, "command": "Backup"}],
    "no command": [{"step": 1, "sessionName": PAYROLL, "command": None}],
    "another key": [{"step": 1, "sessionName": PAYROLL, "Command": "Backup"}],
    "an object": [{"step": 1, "sessionName": PAYROLL, "command": {"name": "Backup"}}],
    "a text": ["Backup"],
}


@pytest.mark.parametrize("name", ODD_STEPS)
def test_step_that_cannot_be_read_holds_no_trigger_up(csm: SimulatedCsm, name: str) -> None:
    """It may be the Backup: what the task touches must show a backup."""
    csm.mutate = lambda request, reply: each_task(reply, {"actions": ODD_STEPS[name]})
    check_backup(run_inside(*server_options(csm), "-t", PAYROLL_TASK), csm)


# --- Ids of tasks -------------------------------------------------------------------------------


def test_task_id_that_is_no_number() -> None:
    """True is 1 to Python: that would be another task."""
    with SimulatedCsm() as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"id": True})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "60")
        assert result.code == 3
        assert csm.world.attempts == []
        assert "a task without an id" in result.err


def test_task_id_that_looks_like_a_time() -> None:
    """As milliseconds it would be another task."""
    with SimulatedCsm() as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"id": 123456789012})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "60")
        assert result.code == 3
        assert not any(map(is_trigger, csm.requests))


# --- The closest names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "near"),
    [
        (["-t", "Backup Payrol"], [PAYROLL_TASK]),
        (["-t", "itso_sgc_h3_lah81"], ["ITSO_SGC_H3_LAH81"]),
        (["-S", "SGC payroll"], [PAYROLL]),
        (["-t", "ITSO_SGC_H3_LAH18"], ["ITSO_SGC_H3_LAH81"]),
        (["-t", "Backup payroll", "-S", PAYROLL], [PAYROLL_TASK]),
        (["-t", PAYROLL_TASK, "-S", "SGC Pay-roll"], [PAYROLL]),
    ],
    ids=str,
)
def test_closest_names(options: List[str], near: List[str]) -> None:
    with SimulatedCsm() as csm:
        result = run_inside(*server_options(csm), *options)
        assert result.code == 5
        assert result.out == ""
        assert csm.world.attempts == []
        assert csm.errors == []
    last = result.err.splitlines()[-1]
    for name in near:
        assert f'"{name}"' in last


def test_close_names_are_looked_for_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name is there: among thousands that takes time, and each run would pay for it."""
    monkeypatch.setattr(difflib, "get_close_matches", lambda *_: pytest.fail("they were"))
    with SimulatedCsm(backup_seconds=0.01) as csm:
        for target in (["-t", TASK], ["-t", PAYROLL], ["-t", TASK, "-S", TASK]):
            result = run_inside(*server_options(csm), *target, "--check")
            assert result.code == 0
            assert csm.world.attempts == []
