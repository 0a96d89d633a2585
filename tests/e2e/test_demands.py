"""What a strict CSM demands: headers, cookies, tokens, rights; and what of it is beyond proof."""

from typing import Iterator

import pytest

from csm import SimulatedCsm, World
from support.checks import check, check_backup, is_login, is_trigger, triggers_sent
from support.clock import JumpingClock
from support.program import run_inside, server_options
from support.scenes import (
    PAYROLL,
    PAYROLL_TASK,
    SESSION,
    SIMPLE_TARGETS,
    TASK,
    TASK_ID,
    each_simple_target,
)

# --- Headers --------------------------------------------------------------------------------------


@each_simple_target
def test_content_type_is_demanded(csm: SimulatedCsm, target: str) -> None:
    csm.world.dialect.content_type = True
    check_backup(run_inside(*server_options(csm), *SIMPLE_TARGETS[target]), csm)
    wanted = "application/x-www-form-urlencoded"
    assert {each.headers.get("content-type") for each in csm.requests} == {wanted}


@each_simple_target
def test_unsupported_media_type_is_a_refusal(csm: SimulatedCsm, target: str) -> None:
    csm.inject_when(is_trigger, "415", None)
    clock = JumpingClock()
    result = run_inside(*server_options(csm), *SIMPLE_TARGETS[target], clock=clock)
    check(result, csm, 6)
    assert len(triggers_sent(csm)) == 1
    assert "415" in result.last_line
    assert clock.passed <= 15


# --- Cookies and tokens ---------------------------------------------------------------------------


@each_simple_target
def test_cookie_that_expires_with_its_token(csm: SimulatedCsm, target: str) -> None:
    """It is refused at the log-in as well."""
    csm.world.dialect.cookies, csm.world.token_requests = True, 4
    check_backup(run_inside(*server_options(csm), *SIMPLE_TARGETS[target]), csm)
    log_ins = [each.status for each in csm.requests if is_login(each)]
    assert set(log_ins) == {200}
    assert {each.cookie for each in csm.requests} == {""}


def test_token_that_the_partner_does_not_take() -> None:
    world = World(backup_seconds=0.05, shared_tokens=False, token_requests=3)
    with SimulatedCsm(world) as first, SimulatedCsm(world, active=False) as second:
        result = run_inside(*server_options(second, first), "-t", PAYROLL_TASK)
        check_backup(result, first)


# --- Rights ---------------------------------------------------------------------------------------


@pytest.fixture
def restricted() -> Iterator[SimulatedCsm]:
    """A user of the role automation, who may only run tasks."""
    world = World(backup_seconds=0.05, step_seconds=0.005, role="tasks-only")
    with SimulatedCsm(world) as csm:
        yield csm


@pytest.mark.parametrize("denied", [403, "html", "refuse-E"])
def test_user_who_may_run_tasks_alone(restricted: SimulatedCsm, denied: str) -> None:
    """The task is run; that a backup was taken cannot be proven."""
    restricted.world.dialect.denied = denied
    clock = JumpingClock()
    result = run_inside(*server_options(restricted), "-t", TASK, clock=clock)
    check(result, restricted, 8, triggers=1)
    assert len(restricted.world.backups_made) == 1
    assert "cannot be" in result.last_line
    assert clock.passed <= 300


@pytest.mark.parametrize("denied", [403, "html", "refuse-E"])
def test_error_of_a_run_that_cannot_be_seen(restricted: SimulatedCsm, denied: str) -> None:
    restricted.world.dialect.denied = denied
    restricted.world.task(TASK_ID).outcome = "error"
    result = run_inside(*server_options(restricted), "-t", TASK)
    check(result, restricted, 7, triggers=1)
    assert "whether a backup was taken cannot be seen" in result.last_line
    assert "IWNR0001E" in result.last_line


@pytest.mark.parametrize("status", [403, 500])
def test_one_of_two_sessions_cannot_be_seen(csm: SimulatedCsm, status: int) -> None:
    """That is told of it, and not that it has no backup: it has one."""
    steps = [(PAYROLL, "Backup"), (SESSION, "Backup")]
    csm.world.add_task(60, "Two", steps, lastRan=csm.world.clock() - 9000)
    csm.world.session(SESSION).view = status
    result = run_inside(*server_options(csm), "-t", "Two", "--timeout", "300")
    check(result, csm, 8, triggers=1)
    made = dict(csm.world.backups_made)
    assert f"backup TAKEN ({made[PAYROLL]} " in result.last_line
    assert f'NO backup in session "{SESSION}"' not in result.last_line
    assert "cannot be" in result.last_line


@pytest.mark.parametrize("option", ["--check", "--no-wait"])
def test_modes_of_a_user_who_may_run_tasks_alone(restricted: SimulatedCsm, option: str) -> None:
    result = run_inside(*server_options(restricted), "-t", TASK, option)
    check(result, restricted, *((8, 0) if option == "--check" else (0, 1)))


@pytest.mark.parametrize("denied", [403, "refuse-E"])
def test_session_of_a_user_who_may_run_tasks_alone(restricted: SimulatedCsm, denied: str) -> None:
    """CSM refuses what this user may not do, and its own word is told."""
    restricted.world.dialect.denied = denied
    result = run_inside(*server_options(restricted), "-S", PAYROLL)
    check(result, restricted, 6)
    assert "IWNR0012E" in result.last_line


def test_list_shows_what_it_can(csm: SimulatedCsm) -> None:
    """One session answers 403: the others, and why not this one."""
    csm.world.session(PAYROLL).view = 403
    result = run_inside(*server_options(csm), "--list")
    check(result, csm, 0)
    rows = {line.split("  ")[0]: line for line in result.out.splitlines()}
    assert "403" in rows[PAYROLL]
    assert "cannot be read" in rows[PAYROLL]
    for session in csm.world.sessions:
        if session.name != PAYROLL and session.backups and session.name.isascii():
            assert str(session.backups[0].id) in rows[session.name]
    assert all(str(task.id) in rows for task in csm.world.tasks)


# --- What the verdict says besides ----------------------------------------------------------------


def test_chain(csm: SimulatedCsm) -> None:
    """The task goes on in another one, which fails: that one is not watched, and named."""
    csm.world.task(TASK_ID).runtaskonsuccess = 50
    csm.world.task(50).outcome = "error"
    result = run_inside(*server_options(csm), "-t", TASK)
    check_backup(result, csm)
    assert '"Practice MM HS"' in result.out
    assert "not watched" in result.out


@pytest.mark.parametrize("option", ["--check", "--list"])
def test_chain_is_told_beforehand(csm: SimulatedCsm, option: str) -> None:
    csm.world.task(TASK_ID).runtaskonsuccess = 50
    target = [] if option == "--list" else ["-t", TASK]
    result = run_inside(*server_options(csm), *target, option)
    check(result, csm, 0)
    lines = [line for line in result.text.splitlines() if TASK in line]
    assert any("Practice MM HS" in line for line in lines) or "is not watched" in result.err


def test_chain_whose_other_task_takes_the_backup(csm: SimulatedCsm) -> None:
    """With -S: the session is another task's, which is started by ours."""
    csm.world.task(50).runtaskonsuccess = 31
    csm.world.task(50).steps = [("MM HS", "Suspend")]
    target = ["-t", "Practice MM HS", "-S", PAYROLL]
    check_backup(run_inside(*server_options(csm), *target), csm)


def test_task_whose_other_task_takes_the_backup(csm: SimulatedCsm) -> None:
    csm.world.task(50).runtaskonsuccess = 31
    result = run_inside(*server_options(csm), "-t", "Practice MM HS")
    check(result, csm, 5)
    assert f'"{PAYROLL_TASK}"' in result.last_line


@each_simple_target
def test_copy_sets_that_differ(csm: SimulatedCsm, target: str) -> None:
    csm.world.session(PAYROLL).copy_sets = 5
    result = run_inside(*server_options(csm), *SIMPLE_TARGETS[target])
    check_backup(result, csm)
    assert "5 of 8" in result.out
    assert "copy sets differ" in result.out
    found = run_inside(*server_options(csm), *SIMPLE_TARGETS[target], "--json").json["sessions"][0]
    assert [str(found["backup"]["copy_sets"]), str(found["copy_sets"])] == ["5", "8"]


@each_simple_target
def test_copy_sets_that_are_whole(csm: SimulatedCsm, target: str) -> None:
    result = run_inside(*server_options(csm), *SIMPLE_TARGETS[target])
    check_backup(result, csm)
    assert "8 of 8" in result.out
    assert "differ" not in result.text
