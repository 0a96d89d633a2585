"""Two servers: which is active, takeovers, who gets the trigger; two that are no pair."""

import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Tuple

import pytest

from csm import Request, SimulatedCsm, World
from support.checks import (
    check,
    check_backup,
    check_one_backup,
    is_login,
    is_trigger,
    is_view_of,
    triggers_sent,
)
from support.clock import JumpingClock
from support.program import Pace, address, run_inside, server_options
from support.scenes import (
    PAYROLL_TASK,
    SESSION,
    SIMPLE_TARGETS,
    TARGETS,
    TASK,
    TASK_ID,
    at_first,
    die_and_promote,
    each_simple_target,
    hold_backup,
    mostly_slow,
    on_path,
    once,
    vanishing,
    wait_for,
)

Pair = Tuple[SimulatedCsm, SimulatedCsm]


# --- Which one is active --------------------------------------------------------------------------


@pytest.mark.parametrize("args", [("-t", TASK), ("-S", SESSION)], ids=str)
@pytest.mark.parametrize(
    "what",
    [
        "active-first",
        "standby-first",
        "first-down",
        "second-down",
        "dies-before-trigger",
        "dies-while-waiting",
    ],
)
def test_pair(what: str, args: Tuple[str, ...]) -> None:
    world = World(backup_seconds=0.05, shared_tokens=False, blocking=False)
    with SimulatedCsm(world, active=what != "standby-first") as first, SimulatedCsm(
        world, active=what in ("standby-first", "first-down")
    ) as second:

        def takeover(_: SimulatedCsm) -> None:
            first.die()
            second.promote()

        name = TASK if "-t" in args else SESSION
        if what == "first-down":
            first.die()
        elif what == "second-down":
            second.die()
        elif what == "dies-before-trigger":
            on_path("/sessions/" + name, takeover)(first)
        elif what == "dies-while-waiting":
            once(first, lambda _: bool(world.triggers), lambda: takeover(first))
        result = run_inside(*server_options(first, second), *args, "--json")
        check(result, first, 0, triggers=1)
        used = first if what in ("active-first", "second-down") else second
        assert result.json["server"] == address(used)
        shown = [each["backup"]["id"] for each in result.json["sessions"]]
        assert world.backups_made == [(name, shown[0])]


@pytest.mark.parametrize(("how", "code"), [("error", 6), ("http", 6), ("503", 8)])
def test_single_standby(how: str, code: int) -> None:
    with SimulatedCsm(World(standby=how), active=False) as csm:
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "100")
        check(result, csm, code)
        # 503 most likely was not processed: the task, whose run would show itself, is run again.
        assert len(csm.world.attempts) == 1 or how == "503"
        assert len(csm.world.attempts) >= (3 if how == "503" else 1)


@pytest.mark.parametrize("standby", ["error", "http"])
@pytest.mark.parametrize("target", TARGETS)
def test_both_standby(pair: Pair, target: str, standby: str) -> None:
    """After 30 s of it the trigger goes to the first all the same, then to the other one: CSM's
    answer decides."""
    first, second = pair
    first.active, first.world.dialect.standby = False, standby
    clock = JumpingClock()
    options = [*TARGETS[target], "--json"]
    result = run_inside(*server_options(first, second), *options, clock=clock)
    check(result, first, 6)
    assert result.json["started"] == "no"
    assert clock.elapsed >= 30
    assert clock.passed <= 90
    assert "IWNR0007E" in result.last_line
    assert [len(triggers_sent(each)) for each in pair] == [1, 1]
    assert triggers_sent(first)[0].when <= triggers_sent(second)[0].when


def test_session_is_looked_at_before_a_repeat_on_the_other_server(pair: Pair) -> None:
    """The first has done the Backup, and does not show it; when the trigger is to go out again, it
    vanishes. The second has taken over, and shows it at the first look."""
    first, second = pair
    first.inject_when(is_trigger, "reset-after")
    view = is_view_of(SESSION)

    def hide(request: Request, reply: Any) -> Any:
        if view(request) and first.world.backups_made:
            del reply["backupInfo"][0]["BackupResults"][0]
        return reply

    def asks_role(request: Request) -> bool:
        return request.path.endswith("/system/ha") and bool(triggers_sent(first))

    def take_over() -> None:
        first.active = second.active = True  # what the first says is its last word, and stale

    first.mutate = hide
    with vanishing(first, asks_role, take_over):
        result = run_inside(*server_options(first, second), "-S", SESSION)
    check_backup(result, second)
    assert [len(triggers_sent(each)) for each in pair] == [1, 0]
    assert "could not be noted" not in result.text


def test_session_is_looked_at_before_a_repeat_on_the_server_that_is_back(pair: Pair) -> None:
    """The first has done the Backup, and was away before it could say so, for longer than a trigger
    is looked for; the second is a standby all the time. One look shows the backup."""
    first, second = pair
    first.inject_when(is_trigger, "reset-after")
    clock = JumpingClock()
    first.on_request = lambda request: first.refuse_connections() if is_trigger(request) else None
    second.on_arrival = lambda _: first.accept_connections() if clock.elapsed > 300 else None
    options = ["-S", SESSION, "--request-timeout", "5"]
    result = run_inside(*server_options(first, second), *options, clock=clock)
    check_backup(result, first)
    assert clock.elapsed > 300
    assert [len(triggers_sent(each)) for each in pair] == [1, 0]


def test_in_doubt_and_the_other_one_is_a_standby(pair: Pair) -> None:
    """The first does not tell its role for once: the other one is left at once."""
    first, second = pair
    first.inject_when(is_trigger, "reset-before")
    first.inject_when(
        lambda each: each.path.endswith("/system/ha") and bool(triggers_sent(first)), "500"
    )
    clock = JumpingClock()
    result = run_inside(*server_options(first, second), *TARGETS["task"], clock=clock)
    check_backup(result, first)
    assert [len(triggers_sent(each)) for each in pair] == [2, 0]
    assert clock.passed < 50


def test_answer_that_comes_just_before_a_repeat(pair: Pair) -> None:
    """While a server is asked for its role, because its trigger is in doubt: no second one."""
    first, second = pair
    first.world.task(TASK_ID).outcome = "ignored"  # no look shows a trace
    answer = threading.Event()

    def hold(request: Request) -> None:
        if is_trigger(request):
            answer.wait(60)
        elif request.path.endswith("/system/ha") and triggers_sent(first):
            answer.set()
            wait_for(lambda: triggers_sent(first)[0].status)
            time.sleep(0.2)  # it is with the program before the role is

    first.on_arrival = hold
    options = [*TARGETS["task"], "--request-timeout", "20", "--no-wait"]
    result = run_inside(*server_options(first, second), *options)
    check(result, first, 0, triggers=1)
    assert [len(triggers_sent(each)) for each in pair] == [1, 0]


def test_first_one_dies_before_the_backup_of_a_session(pair: Pair) -> None:
    """The trigger waits until the other one is active, and until the session is noted there."""
    first, second = pair
    asked: List[int] = []

    def take_over(request: Request) -> None:
        if request.path.endswith("/system/ha"):
            asked.append(request.n)
            second.active = len(asked) > 5

    second.on_arrival = take_over
    with vanishing(first, is_view_of(SESSION)):
        result = run_inside(*server_options(first, second), "-S", SESSION)
    check_backup(result, second)
    assert [len(triggers_sent(each)) for each in pair] == [0, 1]
    (view, *_) = [each for each in second.requests if is_view_of(SESSION)(each)]
    assert max(asked[5], view.n) < triggers_sent(second)[0].n


def test_first_one_hangs_at_the_log_in(pair: Pair) -> None:
    """For as long as a server that never let us in is tried: the other one has its turn."""
    first, second = pair
    first.inject_when(is_login, "silent-before", None)
    second.promote()
    options = [*TARGETS["task"], "--request-timeout", "1.5"]
    pace = Pace(first_contact=1.0)
    result = run_inside(*server_options(first, second), *options, pace=pace)
    check_backup(result, second)


def test_first_one_vanishes_before_the_trigger(pair: Pair) -> None:
    """Packets to it are dropped, so that each connection takes its time to fail: the trigger, and
    the look meanwhile, wait for it side by side."""
    first, second = pair
    with vanishing(first, is_view_of(TASK), second.promote, seconds=0.8):
        result = run_inside(*server_options(first, second), *TARGETS["task"], "--timeout", "300")
    check_backup(result, second)
    assert [len(triggers_sent(each)) for each in pair] == [0, 1]


@pytest.mark.parametrize("target", TARGETS)
def test_other_one_vanishes_for_a_moment(pair: Pair, target: str) -> None:
    """The first has refused, as it is a standby now; the second is found, and takes no connection
    when the trigger goes out. The first is not asked to run it again."""
    first, second = pair

    def swap() -> None:
        first.active = False
        second.promote()

    at_first(first, is_trigger, swap)
    name = "SGC%20Payroll" if target == "session" else TASK
    with vanishing(second, is_view_of(name), times=2):
        result = run_inside(*server_options(first, second), *TARGETS[target])
    check_backup(result, second)
    assert [len(triggers_sent(each)) for each in pair] == [1, 1]


@pytest.mark.parametrize("target", TARGETS)
def test_both_say_standby_and_one_takes_it(pair: Pair, target: str) -> None:
    """What a server tells of itself may be stale; that it has taken the command is not."""
    first, second = pair
    first.active = False
    once(first, is_trigger, second.promote)
    result = run_inside(*server_options(first, second), *TARGETS[target], "--json")
    check_one_backup(result, first.world)
    assert result.json["server"] == address(second)


def test_both_standby_for_good_and_useless(pair: Pair) -> None:
    """One trigger goes to each, and the looking on the second comes to its end."""
    first, second = pair
    first.active = False
    for server in pair:
        server.inject_when(is_trigger, "500", None)
    clock = JumpingClock()
    result = run_inside(*server_options(first, second), *TARGETS["task"], clock=clock)
    check(result, first, 8)
    assert [len(triggers_sent(each)) for each in pair] == [1, 1]
    assert clock.passed < 400


def test_both_standby_when_checked(pair: Pair) -> None:
    """--check triggers nothing, and has no answer to a trigger that could decide."""
    pair[0].active = False
    result = run_inside(*server_options(*pair), "-t", TASK, "--check")
    check(result, pair[0], 6)
    assert "is a standby" in result.last_line


def test_both_dead(pair: Pair) -> None:
    first, second = pair
    first.die()
    second.die()
    result = run_inside(*server_options(first, second), *TARGETS["task"], "--json")
    assert result.code == 3
    assert result.json["started"] == "no"
    for server in pair:
        assert str(server.port) in result.json["message"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trouble", ["refuses", "standby", "silent", "dead in mid-start"])
def test_first_of_the_pair_is_no_use(pair: Pair, trouble: str, target: str) -> None:
    first, second = pair
    second.promote()
    if trouble == "refuses":
        first.die()
    elif trouble == "standby":
        first.active = False
    elif trouble == "silent":
        first.inject(1, "silent-before", permanent=True)
    else:
        first.inject(2, "reset-before", permanent=True)
    short = ["--request-timeout", "1.5"] if trouble == "silent" else []
    result = run_inside(*server_options(first, second), *TARGETS[target], "--json", *short)
    check_one_backup(result, first.world)
    # Of a session nothing is read but its view: where that fails, the trigger itself may be what
    # finds out, and is then sent to the other one.
    finds_out = (trouble, target) == ("dead in mid-start", "session")
    assert len(triggers_sent(first)) <= int(finds_out)


@pytest.mark.parametrize("kind", ["500", "html", "empty", "silent-before", "reset-before"])
@pytest.mark.parametrize(("servers", "option"), [(2, "--json"), (1, "--check")])
def test_role_that_cannot_be_read(servers: int, option: str, kind: str) -> None:
    """That is no reason to take no backup, nor to say that none could be taken: only a server that
    says that it is the standby is one."""
    with SimulatedCsm(backup_seconds=0.02) as first, SimulatedCsm(
        first.world, active=False
    ) as second:
        for server in (first, second):
            server.inject_when(lambda request: request.path.endswith("/system/ha"), kind, None)
        short = ["--request-timeout", "1.5"] if kind == "silent-before" else []
        options = server_options(*[first, second][:servers])
        result = run_inside(*options, "-t", TASK, option, *short)
        assert result.code == 0, result.err
        assert len(first.world.triggers) == len(first.world.backups_made) == servers - 1
        assert any(each.path.endswith("/system/ha") for each in first.requests)


@pytest.mark.parametrize("active", [0, 1])
@pytest.mark.parametrize("single", [404, 405])
def test_pair_that_shows_no_single_task(active: int, single: int) -> None:
    """The list is asked of the active one, whichever comes first: not of the standby alone."""
    with SimulatedCsm(
        backup_seconds=0.2, messages="array", single_task=single, active=active == 0
    ) as first:
        with SimulatedCsm(first.world, active=active == 1) as second:
            result = run_inside(*server_options(first, second), "-t", TASK)
        assert result.code == 0
        assert len(first.world.triggers) == 1
        assert first.world.backups_made[0][1] in result.out


# --- Roles that change at the trigger, or are hidden ----------------------------------------------


def hide_roles(*servers: SimulatedCsm) -> None:
    for server in servers:
        server.inject_when(lambda request: request.path.endswith("/system/ha"), "403", None)


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


# --- Takeovers ------------------------------------------------------------------------------------


def waits(request: Request) -> bool:
    """It looks whether the run has ended."""
    return request.method == "GET" and request.n > 5


@pytest.mark.parametrize(
    ("condition", "fault", "refusals"),
    [
        pytest.param(lambda request: "tokens" in request.path, None, 0, id="after log-in"),
        pytest.param(lambda request: "/system/ha" in request.path, None, 0, id="after /system/ha"),
        pytest.param(
            lambda request: request.path.endswith("LAH81"), None, 0, id="before the trigger"
        ),
        pytest.param(
            lambda request: request.path.endswith("LAH81"),
            None,
            5,
            id="before the trigger, takeover later",
        ),
        pytest.param(is_trigger, None, 0, id="after the trigger's answer"),
        pytest.param(is_trigger, "reset-after", 0, id="trigger processed, no answer"),
        pytest.param(is_trigger, "reset-after", 5, id="trigger processed, takeover later"),
        pytest.param(is_trigger, "reset-before", 0, id="trigger not processed"),
        pytest.param(is_trigger, "reset-before", 5, id="trigger not processed, takeover later"),
        pytest.param(waits, None, 0, id="while waiting"),
        pytest.param(waits, None, 5, id="while waiting, takeover later"),
    ],
)
@pytest.mark.parametrize("shared_tokens", mostly_slow([True, False], False))
def test_takeover(
    pair: Pair,
    condition: Callable[[Request], bool],
    fault: Optional[str],
    refusals: int,
    shared_tokens: bool,
) -> None:
    first, second = pair
    first.world.shared_tokens = shared_tokens
    die_and_promote(first, second, when=condition, refusals=refusals)
    if fault:
        first.inject_when(is_trigger, fault)
    result = run_inside(*server_options(first, second), *TARGETS["task"], "--json")
    check_one_backup(result, first.world)
    assert result.json["server"] == address(second)


@pytest.mark.parametrize("standby", ["error", "http", "503"])
def test_becomes_standby_before_the_trigger(pair: Pair, standby: str) -> None:
    """It answers still, but no longer runs commands: it says so when it is asked, and the other one
    is found, noted and triggered."""
    first, second = pair
    first.world.dialect.standby = standby

    def swap() -> None:
        first.active, second.active = False, True

    once(first, is_view_of(TASK), swap)
    result = run_inside(*server_options(first, second), *TARGETS["task"], "--json")
    check_one_backup(result, first.world)
    assert len(triggers_sent(first)) == 1 or standby == "503"
    assert result.json["server"] == address(second)


# --- Refusals -------------------------------------------------------------------------------------


def test_pair_where_this_user_may_not_run_it() -> None:
    with SimulatedCsm() as first, SimulatedCsm(first.world, active=False) as second:
        first.inject_when(is_trigger, "403", None)
        result = run_inside(*server_options(first, second), "-t", TASK, "--json")
        assert result.code == 6
        assert result.json["started"] == "no"
        assert "403" in result.err
        assert first.world.attempts == []


@pytest.mark.parametrize("running", [False, True])
def test_pair_that_refuses_and_whose_other_server_is_down(running: bool) -> None:
    """It is not sent again and again, until the deadline or until it starts a second run."""
    with SimulatedCsm(backup_seconds=0.01) as first, SimulatedCsm(first.world) as second:
        second.die()
        hold_backup(first, 4)
        if not running:
            first.world.task(TASK_ID).outcome = "refuse"
        else:
            once(first, is_view_of(TASK), lambda: first.world.start_run(TASK_ID))
        result = run_inside(*server_options(first, second), "-t", TASK)
        assert result.code == (0 if running else 6)
        assert first.world.triggers == []
        assert len(triggers_sent(first)) == 1


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
