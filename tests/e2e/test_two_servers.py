"""Two servers that change their roles at the worst moment, hide them, or are no pair at all."""

from typing import Iterator, List, Tuple

import pytest

from csm import SimulatedCsm, World
from support.checks import check, check_backup, is_trigger, is_view_of, triggers_sent
from support.clock import JumpingClock
from support.program import address, run_inside, server_options
from support.scenes import (
    PAYROLL_TASK,
    SIMPLE_TARGETS,
    at_first,
    each_simple_target,
    mostly_slow,
    once,
)

Pair = Tuple[SimulatedCsm, SimulatedCsm]


def hide_roles(*servers: SimulatedCsm) -> None:
    for server in servers:
        server.inject_when(lambda request: request.path.endswith("/system/ha"), "403", None)


# --- Roles ----------------------------------------------------------------------------------------


@each_simple_target
@pytest.mark.parametrize("how", ["error", "http"])
@pytest.mark.parametrize("shared_tokens", [True, False])
def test_standby_at_the_moment_of_the_trigger(
    pair: Pair, target: str, how: str, shared_tokens: bool
) -> None:
    first, second = pair
    first.world.dialect.standby, first.world.shared_tokens = how, shared_tokens

    def swap() -> None:
        first.active = False
        second.promote()

    at_first(first, is_trigger, swap)
    result = run_inside(*server_options(first, second), *SIMPLE_TARGETS[target], "--json")
    check_backup(result, first)
    assert result.json["server"] == address(second)
    assert [len(triggers_sent(each)) for each in pair] == [1, 1]
    assert result.json["triggers"] == 1


@each_simple_target
@pytest.mark.parametrize(
    "kind", mostly_slow(["401", "403", "500", "503", "html", "reset-before"], "403", "500")
)
def test_standby_that_says_nothing_of_use(pair: Pair, target: str, kind: str) -> None:
    """From the moment of the trigger on; the other one gets it, sooner or later."""
    first, second = pair

    def swap() -> None:
        first.active = False
        second.promote()

    at_first(first, is_trigger, swap)
    first.inject_when(is_trigger, kind, None)
    result = run_inside(*server_options(first, second), *SIMPLE_TARGETS[target])
    check_backup(result, first)
    assert len(triggers_sent(second)) == 1


@each_simple_target
@pytest.mark.parametrize("options", [[], ["--no-wait"]], ids=["", "no wait"])
def test_standby_first_and_roles_that_cannot_be_read(
    pair: Pair, target: str, options: List[str]
) -> None:
    active, standby = pair
    hide_roles(active, standby)
    result = run_inside(*server_options(standby, active), *SIMPLE_TARGETS[target], *options)
    check(result, active, 0, triggers=1)
    assert len(triggers_sent(active)) == 1


@each_simple_target
def test_neither_is_active(pair: Pair, target: str) -> None:
    """Both say so for 30 s: the trigger goes to the first, and CSM's answer decides."""
    first, second = pair
    first.active = False
    clock = JumpingClock()
    result = run_inside(*server_options(first, second), *SIMPLE_TARGETS[target], clock=clock)
    check(result, first, 6)
    assert len(triggers_sent(first)) >= 1
    assert clock.elapsed >= 25
    assert "IWNR0007E" in result.last_line


# --- No pair --------------------------------------------------------------------------------------


@pytest.fixture
def strangers() -> Iterator[Pair]:
    """Two servers with worlds of their own, both active. On the second one the task has another id,
    and its own is another task's."""
    worlds = [World(backup_seconds=0.05, step_seconds=0.005) for _ in range(2)]
    payroll, other = worlds[1].task(PAYROLL_TASK), worlds[1].task("Practice MM HS")
    other.id, payroll.id = payroll.id, 77
    with SimulatedCsm(worlds[0]) as first, SimulatedCsm(worlds[1]) as second:
        yield first, second


@pytest.mark.parametrize("when", ["after the note", "at the trigger", "in doubt", "while waiting"])
@pytest.mark.parametrize(
    "is_there", mostly_slow([True, False], True), ids=["other id", "not there"]
)
def test_id_of_another_server(strangers: Pair, when: str, is_there: bool) -> None:
    """It is another task's there: that one is never started."""
    first, second = strangers
    if not is_there:
        second.world.tasks.remove(second.world.task(PAYROLL_TASK))
    if when == "after the note":
        once(first, is_view_of("SGC%20Payroll"), first.die)
    elif when == "at the trigger":
        first.inject_when(is_trigger, "refuse", 1)
        first.refuse_seconds = 9999
    elif when == "in doubt":
        first.inject_when(is_trigger, "reset-before", 1)
        once(first, is_trigger, first.die)
    else:
        first.world.task(PAYROLL_TASK).outcome = "hang"
        once(first, is_trigger, first.die)
    options = ["--timeout", "300", "--json"]
    result = run_inside(*server_options(first, second), "-t", PAYROLL_TASK, *options)
    started = {name for _, name, _ in second.world.attempts}
    assert started <= {PAYROLL_TASK}, result.text
    assert len(second.world.attempts) <= 1
    if when == "after the note":
        assert result.code in ([0] if is_there else [3, 5, 8]), result.text
    else:
        assert (result.code == 0) == bool(second.world.backups_made), result.text


def test_refusal_and_another_task_of_that_id(strangers: Pair) -> None:
    """The first one refuses: the task is found by its name on the other one."""
    first, second = strangers
    first.world.task(PAYROLL_TASK).outcome = "refuse"
    hide_roles(first, second)
    result = run_inside(*server_options(first, second), "-t", PAYROLL_TASK, "--json")
    check_backup(result, second)
    assert first.world.triggers == []
    assert [each.path.rpartition("/")[2] for each in triggers_sent(second)] == ["77"]
