"""A trigger whose answer is lost or useless: looked for, sent once more, never a third time."""

import re
import time
from typing import Any, List, Optional

import pytest

from csm import Request, SimulatedCsm
from support.checks import (
    check,
    check_one_backup,
    is_task_look,
    is_trigger,
    is_view_of,
    triggers_sent,
)
from support.clock import JumpingClock, QuickClock
from support.program import run_inside, server_options
from support.scenes import PAYROLL, TARGETS, TASK, TASK_ID, each_task, trigger_is_answered, wait_for

REQUEST_TIMEOUT = 1.5  # where a server is silent: that really takes its time


# --- Sent again, or not -------------------------------------------------------------------------


def look_of(target: str) -> List[str]:
    """Methods of the requests that a look at the server's state consists of."""
    return ["GET", "GET"] if target == "task" else ["GET"]


@pytest.mark.parametrize(
    "kind",
    [
        "500",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("reset-before", "silent-before", "html", "refuse")
        ),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_never_a_third_trigger(csm: SimulatedCsm, target: str, kind: str) -> None:
    csm.inject_when(is_trigger, kind, None)
    looking = 3 if kind == "silent-before" else 30  # that one really takes its time
    csm.refuse_seconds = 0.05
    options = ["--json", "--timeout", "200", "--request-timeout", str(looking)]
    result = run_inside(*server_options(csm), *TARGETS[target], *options)
    assert result.code == 8
    assert result.json["started"] == "perhaps"
    sent = triggers_sent(csm)
    assert len(sent) == 2
    assert csm.world.attempts == []
    looks = csm.requests[csm.requests.index(sent[0]) + 1 : csm.requests.index(sent[1])]
    assert len([each for each in looks if each.method == "GET"]) >= 2 * len(look_of(target))
    assert csm.requests[-1].method == "GET"  # it looks on until the end


@pytest.mark.parametrize("target", TARGETS)
def test_second_trigger_after_no_trace(csm: SimulatedCsm, target: str) -> None:
    csm.inject_when(is_trigger, "silent-before")
    options = ["--json", "--request-timeout", str(REQUEST_TIMEOUT)]
    result = run_inside(*server_options(csm), *TARGETS[target], *options)
    check_one_backup(result, csm.world)
    assert len(triggers_sent(csm)) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_looking_takes_one_request_timeout(csm: SimulatedCsm, target: str) -> None:
    """By the program's clock, which a busy machine does not hurry."""
    clock = JumpingClock()
    seen: List[float] = []  # what had been slept when a command arrived
    csm.inject_when(is_trigger, "reset-before")
    csm.on_request = lambda request: seen.extend([clock.passed] * is_trigger(request))
    options = ["--json", "--request-timeout", "40"]
    result = run_inside(*server_options(csm), *TARGETS[target], *options, clock=clock)
    check_one_backup(result, csm.world)
    # What was not slept in between was at most what the run really took.
    assert len(seen) == 2
    assert 40 - result.seconds <= seen[1] - seen[0] <= 80


def test_session_slower_than_the_time_out(csm: SimulatedCsm) -> None:
    """While its connection stands, its answer is awaited ten times as long, and CSM looked at all
    the same, over a second connection."""
    csm.world.session(PAYROLL).lock.acquire()
    looks: List[Request] = []

    def release(request: Request) -> None:
        if is_view_of("SGC%20Payroll")(request) and triggers_sent(csm):
            looks.append(request)
            if len(looks) == 8:
                csm.world.session(PAYROLL).lock.release()
                wait_for(lambda: triggers_sent(csm)[0].status)
                time.sleep(0.2)  # it is with the program before the next look is

    csm.on_request = release
    options = ["--json", "--request-timeout", "4"]
    result = run_inside(*server_options(csm), *TARGETS["session"], *options)
    check_one_backup(result, csm.world)
    assert len(triggers_sent(csm)) == 1
    assert csm.connections == 2
    assert result.json["csm_id"] == "IWNR1026I"


@pytest.mark.parametrize("servers", [1, 2])
def test_session_that_cannot_be_viewed_holds_no_repeat_up(servers: int) -> None:
    """Nor does a pause between two tries that is longer than the request timeout."""
    clock = JumpingClock()
    with SimulatedCsm(backup_seconds=0.01) as first, SimulatedCsm(
        first.world, active=False
    ) as second:
        first.world.session(PAYROLL).view = 500
        first.inject_when(is_trigger, "reset-before")
        given = [*server_options(*[first, second][:servers]), "--request-timeout", "10"]
        result = run_inside(*given, "-S", PAYROLL, clock=clock)
        check(result, first, 8, triggers=1)
        assert len(triggers_sent(first)) == 2
        assert triggers_sent(second) == []
        assert clock.passed < 300


def test_servers_that_are_busy_get_more_triggers_and_a_standby_none() -> None:
    """In a pair whose views never work: after ten request timeouts each."""
    with SimulatedCsm() as first, SimulatedCsm(first.world, active=False) as second:
        first.world.session(PAYROLL).view = 500
        first.inject_when(is_trigger, "503", None)
        result = run_inside(*server_options(first, second), "-S", PAYROLL)
        check(result, first, 8)
        assert [len(triggers_sent(each)) for each in (first, second)] == [4, 0]


def test_session_backup_that_is_never_answered(csm: SimulatedCsm) -> None:
    """Its backup, shown for 5 s, is the proof: answer or not."""
    csm.inject_when(is_trigger, "silent-after")
    result = run_inside(*server_options(csm), *TARGETS["session"], "--json")
    check_one_backup(result, csm.world)
    assert len(triggers_sent(csm)) == 1
    assert result.json["triggers"] == 1


@pytest.mark.parametrize("target", TARGETS)
def test_silence_is_in_doubt_after(csm: SimulatedCsm, target: str) -> None:
    """A task is started at once, and so in doubt soon: then looking begins. Backup to a session
    shows nothing of itself until it is done: ten times as long; the looks were its looking."""
    clock = JumpingClock()
    seen: List[float] = []
    csm.inject_when(is_trigger, "silent-before")
    csm.on_arrival = lambda request: seen.extend([clock.passed] * is_trigger(request))
    options = ["--json", "--request-timeout", "10"]
    result = run_inside(*server_options(csm), *TARGETS[target], *options, clock=clock)
    check_one_backup(result, csm.world)
    assert len(seen) == 2
    expected = 20 if target == "task" else 100
    assert expected - result.seconds - 1 <= seen[1] - seen[0] <= expected + 20


@pytest.mark.parametrize("target", TARGETS)
def test_late_answer_is_taken(csm: SimulatedCsm, target: str) -> None:
    """Of the first trigger, when the second is in doubt as well: no reason to say "unknown"."""
    csm.slow_seconds = 4.0
    csm.inject_when(is_trigger, "slow")
    csm.world.task(TASK_ID).outcome = csm.world.session(PAYROLL).outcome = "good"
    options = ["--json", "--request-timeout", "1.5"]
    clock = QuickClock(speed=4)
    result = run_inside(*server_options(csm), *TARGETS[target], *options, clock=clock)
    check_one_backup(result, csm.world)
    assert len(triggers_sent(csm)) == 1


@pytest.mark.parametrize("reply", ["empty list", "another task"])
@pytest.mark.parametrize("kind", ["500", "401"])
def test_task_that_is_not_shown_alone(csm: SimulatedCsm, kind: str, reply: str) -> None:
    """The list shows it: the trigger is sent again, and its run is seen to its end."""
    csm.world.dialect.messages = "array"
    other = csm.replies.tasks()[0]
    csm.mutate = lambda request, value: (
        ([] if reply == "empty list" else other) if request.path.endswith("/27") else value
    )
    csm.inject_when(is_trigger, kind)
    result = run_inside(*server_options(csm), *TARGETS["task"], "--json")
    check_one_backup(result, csm.world)
    assert len(triggers_sent(csm)) == 2


def test_task_slower_than_the_time_out(csm: SimulatedCsm) -> None:
    """A task shows that it runs: the lost answer costs no second run, however long it takes."""
    csm.world.backup_seconds = 2 * REQUEST_TIMEOUT
    csm.inject_when(is_trigger, "silent-after")
    options = ["--json", "--request-timeout", str(REQUEST_TIMEOUT)]
    result = run_inside(*server_options(csm), *TARGETS["task"], *options)
    check_one_backup(result, csm.world)


def test_lost_trigger_whose_run_shows_a_message_and_a_backup_alone() -> None:
    """And no lastRan: that is trace enough, and no second run is started."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": None, "running": False})
        csm.inject_when(is_trigger, "500-after")
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == len(csm.world.backups_made) == 1


@pytest.mark.parametrize("kind", ["garbage", "garbage-after"])
def test_trigger_answered_with_the_words_of_a_tls_error(kind: str) -> None:
    """Such an error tells that nothing was sent; words that the server sends do not."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.garbage = b"certificate verify failed: doesn't match\r\n\r\n"
        csm.inject_when(is_trigger, kind)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.backups_made) == 1
        sent = [at for at, request in enumerate(csm.requests) if is_trigger(request)]
        assert len(sent) == (2 if kind == "garbage" else 1)
        between = [request.method for request in csm.requests[sent[0] : sent[-1]]]
        assert kind == "garbage-after" or "GET" in between


@pytest.mark.parametrize("where", ["task list", "trigger"])
def test_not_found_in_html_while_csm_starts(where: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(
            is_trigger
            if where == "trigger"
            else lambda request: request.path.endswith("scheduledtasks"),
            "404",
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert "404" in [request.fault for request in csm.requests]
        assert result.code == 0
        assert len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1


@pytest.mark.parametrize("target", [["-t", TASK], ["-S", TASK]], ids=" ".join)
@pytest.mark.parametrize("option", ["--json", "--no-wait"])
@pytest.mark.parametrize("outcome", ["good", "refuse"])
def test_warning_in_answer_to_the_trigger(target: List[str], option: str, outcome: str) -> None:
    """CSM has processed it. Where nothing comes of it, it is not sent again."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(TASK_ID).outcome = outcome
        csm.world.session(TASK).outcome = "error" if outcome == "refuse" else "good"
        csm.mutate = lambda request, reply: {"msg": "IWNR9777W"} if is_trigger(request) else reply
        result = run_inside(*server_options(csm), *target, option, "--timeout", "200")
        assert result.code == (0 if outcome == "good" or option == "--no-wait" else 8)
        assert len(csm.world.attempts) == 1
        assert "WARNING accepted with a warning: IWNR9777W" in result.err
        assert "it is not known whether it was started" not in result.err


def test_severe_before_a_lost_trigger_is_sent_again() -> None:
    """It may be the attack that turns it Severe: no reason to take no backup, nor to say that a
    run has failed."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        csm.mutate = lambda request, reply: (
            dict(reply, status="Severe")
            if (csm.world.attempts == [] and request.n > 4 and "status" in reply)
            else reply
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1


# --- The second one is refused ------------------------------------------------------------------


def test_second_trigger_refused_by_the_run_of_the_first() -> None:
    """The first one got no answer, and its run shows only after the second one was refused."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        world = csm.world
        looks: List[str] = []
        before, session = [csm.replies.task(world.task(TASK_ID))], world.session(TASK)

        def hide(request: Request, reply: Any) -> Any:
            if not is_task_look(request):
                return reply
            looks.extend([request.path] * (len(world.attempts) == 2))
            if len(looks) == 6:
                session.lock.release()  # now the backup is taken
            return before if len(looks) < 6 else reply

        session.lock.acquire()
        csm.mutate = hide
        csm.inject_when(is_trigger, "reset-after")
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(world.triggers) == 1
        assert len(world.attempts) == 2
        assert len(world.backups_made) == 1
        assert world.backups_made[0][1] in result.out


def test_second_session_backup_refused_and_the_first_there() -> None:
    """The first one got no answer: the backup may well be its own."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        trigger_is_answered(csm, "IWNR9700E", "Another Backup is under way.")
        result = run_inside(*server_options(csm), "-S", TASK)
        assert result.code == 0
        assert csm.world.backups_made[0][1] in result.out


# --- What is told -------------------------------------------------------------------------------


@pytest.mark.parametrize(("timeout", "words"), [("60", "the deadline has passed"), ("200", "")])
@pytest.mark.parametrize(
    ("kind", "times", "why"),
    [
        ("503", None, "answered 503"),
        pytest.param("500", None, "answered 500", marks=pytest.mark.slow),
        pytest.param("503", 1, "IWNR0009E .* was refused", marks=pytest.mark.slow),
        ("500", 1, "IWNR0009E .* was refused"),
    ],
)
@pytest.mark.parametrize("target", [pytest.param("-t", marks=pytest.mark.slow), "-S"])
def test_why_it_is_not_known_whether_it_runs(
    target: str, kind: str, times: Optional[int], why: str, timeout: str, words: str
) -> None:
    """The first trigger got no clear answer; what the last one got is told. A refusal of the next
    one decides nothing, and is not counted."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome, csm.world.session(TASK).outcome = "refuse", "error"
        csm.inject_when(is_trigger, kind, times)
        options = ["--json", "--timeout", timeout]
        result = run_inside(*server_options(csm), target, TASK, *options)
        check(result, csm, 8)
        assert result.json["started"] == "perhaps"
        told = result.json["triggers"]
        assert told == (1 if times else len(triggers_sent(csm)))
        if (target, kind, times, timeout) == ("-t", "503", None, "200"):
            assert told > 2  # most likely none of them was processed
        assert re.search(f"{words}.*{why}", result.last_line)


def test_state_is_shown_while_it_is_open_whether_it_runs() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        result = run_inside(*server_options(csm), "-t", TASK)
        lines = [line.split(" ", 2)[2] for line in result.err.splitlines()]
        at = [text.startswith("WARNING") for text in lines].index(True)
        assert "looking whether there is a run" in lines[at]
        assert lines[at + 1].startswith("INFO looking whether ")
        assert f'session "{TASK}" (Normal): no new backup' in lines[at + 1]
        assert [text for text in lines if text.startswith("INFO started: ")]
        assert result.code == 0


def test_message_of_an_earlier_run_is_not_told() -> None:
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "reset-before", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "60")
        assert result.code == 8
        assert result.json["csm_id"] == result.json["csm_text"] == ""
        assert "IWNR2212I" not in result.text


def test_sessions_are_told_apart_where_csm_gives_no_message(csm: SimulatedCsm) -> None:
    """As of a task whose trigger got no answer."""
    csm.world.task(TASK_ID).steps = [(TASK, "Backup"), (PAYROLL, "Backup")]
    csm.inject_when(is_trigger, "reset-before", None)
    result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "200")
    assert result.code == 8
    assert (
        f'; session "{TASK}" (Normal): no new backup; session "{PAYROLL}" (Normal): no new backup\n'
    ) in result.err
    assert "no new backup was seen" in result.last_line
