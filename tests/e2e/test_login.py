"""Logging in: refusals, tokens that expire or are lost, replies that hold no token.

The right password in each dialect, and the wrong one: test_verdict.py."""

import json
from typing import Any, Callable, List

import pytest

from csm import Request, SimulatedCsm
from support.checks import check, check_one_backup, is_login, is_trigger
from support.clock import JumpingClock
from support.program import Pace, run_inside, server_options
from support.scenes import TARGETS, TASK


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[: len(body) // 2],
        lambda body: b"<pre>" + body + b"</pre>",
        lambda body: body + b",",
        lambda body: body.replace(b'"token"', b"token"),
        lambda body: body[len(b'{"token": ') : -1],
    ],
    ids=["cut in half", "in HTML", "more behind it", "no quotes", "a string alone"],
)
def test_token_in_a_log_in_reply_that_is_no_object(change: Callable[[bytes], bytes]) -> None:
    tokens: List[str] = []
    with SimulatedCsm() as csm:

        def broken(request: Request, reply: Any) -> Any:
            if "tokens" not in request.path:
                return reply
            tokens.append(reply["token"])
            return change(json.dumps(reply).encode())

        csm.mutate = broken
        result = run_inside(*server_options(csm), "-t", TASK, "-v")
        assert result.code == 4
        assert len(tokens) == 2
        assert csm.world.attempts == []
        for token in tokens:
            assert not [at for at in range(len(token) - 5) if token[at : at + 6] in result.text]


@pytest.mark.parametrize("status", [102, 103])
def test_interim_answer_to_the_log_in(status: int) -> None:
    """Whatever it is, it is no refusal."""
    with SimulatedCsm() as csm:
        csm.interim = lambda request: status if "tokens" in request.path else 0
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 3
        assert csm.world.attempts == []


@pytest.mark.parametrize("token", ["", " ", "\u00a0", "\x01"])
def test_token_of_blanks(csm: SimulatedCsm, token: str) -> None:
    """It is none, and hiding it would spoil all texts."""
    csm.mutate = lambda request, value: {"token": token, "msgTranslated": "IWNR0009E no such user"}
    result = run_inside(*server_options(csm), "-t", TASK)
    assert result.code == 4
    assert "IWNR0009E no such user" in result.err


def test_log_in_that_hangs_for_once(csm: SimulatedCsm) -> None:
    """It takes all the time for which a server that never let us in is tried: one try is none."""
    csm.inject_when(is_login, "silent-before")
    options = [*TARGETS["task"], "--request-timeout", "1.5", "--json"]
    result = run_inside(*server_options(csm), *options, pace=Pace(first_contact=1.0))
    check_one_backup(result, csm.world)


@pytest.mark.parametrize("how", [401, 403, 500, "no-token"])
def test_refused_log_in_is_tried_once_more(csm: SimulatedCsm, how: Any) -> None:
    """After 2 s; said again, it is believed, whatever its status: more of them could lock the
    user."""
    csm.world.login, csm.world.dialect.bad_login = "refuse", how
    clock = JumpingClock()
    result = run_inside(*server_options(csm), "-t", TASK, clock=clock)
    check(result, csm, 4)
    assert "IWNR0008E" in result.last_line
    assert [is_login(each) for each in csm.requests] == [True, True]
    assert clock.elapsed >= 2
    assert clock.passed <= 4


@pytest.mark.parametrize("how", ["401", "403", "html", "500"])
@pytest.mark.parametrize("target", TARGETS)
def test_log_in_refused_for_once(csm: SimulatedCsm, target: str, how: str) -> None:
    csm.inject_when(is_login, how)
    result = run_inside(*server_options(csm), *TARGETS[target], "--json")
    check_one_backup(result, csm.world)


@pytest.mark.parametrize("target", TARGETS)
def test_log_in_refused_after_the_trigger(csm: SimulatedCsm, target: str) -> None:
    """It is never believed then, and tried at growing pauses: the user must not be locked."""
    clock = JumpingClock()
    tried: List[float] = []

    def note(request: Request) -> None:
        if is_trigger(request):
            csm.world.expire_tokens()
        elif is_login(request):
            tried.append(clock.elapsed)

    csm.on_request = note
    csm.inject_when(lambda request: is_login(request) and request.n > 1, "401", 4)
    result = run_inside(*server_options(csm), *TARGETS[target], "--json", clock=clock)
    check_one_backup(result, csm.world)
    pauses = [round(after - before) for before, after in zip(tried[1:], tried[2:])]
    assert len(pauses) == 4
    for pause, least in zip(pauses, (15, 30, 60, 120)):
        assert least <= pause + 1 <= least + 1 + 20


def test_token_lost_at_the_trigger_and_nothing_can_be_read_since(csm: SimulatedCsm) -> None:
    """Each log-in is taken: user and password are not what is wrong."""
    csm.inject_when(is_trigger, "401")
    csm.inject_when(lambda each: each.method == "GET" and each.n > 4, "500", None)
    result = run_inside(*server_options(csm), *TARGETS["task"], "--timeout", "60")
    check(result, csm, 3)
    assert "answered 500" in result.last_line
    assert "password" not in result.last_line


def test_log_in_refused_at_the_trigger() -> None:
    """It is tried once more, after 2 s, and then believed: more of them could lock the user."""
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "401")
        csm.inject_when(lambda request: "tokens" in request.path and request.n > 1, "403", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json")
        assert result.code == 4
        assert result.json["started"] == "no"
        assert sum("tokens" in each.path for each in csm.requests) == 3


@pytest.mark.parametrize("token_requests", range(2, 7))
@pytest.mark.parametrize("target", TARGETS)
def test_short_lived_tokens(csm: SimulatedCsm, target: str, token_requests: int) -> None:
    csm.world.token_requests = token_requests
    result = run_inside(*server_options(csm), *TARGETS[target], "--json")
    check_one_backup(result, csm.world)
    assert len(csm.world.attempts) == 1


@pytest.mark.parametrize("always", [False, True])
def test_tokens_that_are_lost_again_and_again(always: bool) -> None:
    """As where a server lets each user have one, and two programs run: 401 is no refusal."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        lost = [2, 4, 6]  # each time it logs in in between
        csm.inject_when(
            lambda request: request.method == "GET" and (always or request.n in lost), "401", None
        )
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "100")
        assert result.code == (6 if always else 0)
        assert len(csm.world.triggers) == len(csm.world.backups_made) == (0 if always else 1)
        assert not always or "nothing was started" in result.err
