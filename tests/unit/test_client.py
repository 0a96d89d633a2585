"""The client by itself, its answers made up: log-ins and tokens, how long it tries, which
connection a request gets; and what one connection sends."""

import io
import json
import threading
import types
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple, Union
from unittest import mock

import pytest
import requests
import urllib3

from support.clock import StandingClock
from support.program import load

c: Any = load()

NOON = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
TOKENS, ROLE, PATH = c.TOKENS, c.ROLE, "/any"


class Request(NamedTuple):
    """As the client has it sent."""

    at: float  # seconds since the call began
    server: str
    method: str
    path: str
    form: Optional[Dict[str, str]]
    token: Optional[str]
    times: Tuple[float, float]
    line: Any


def answer(
    data: Any = None, status: int = 200, date: str = "", body: Optional[bytes] = None
) -> Any:
    """As requests has it, as far as the client looks."""
    content = json.dumps({} if data is None else data).encode() if body is None else body
    headers = {"Date": date} if date else {}
    return types.SimpleNamespace(status_code=status, content=content, headers=headers, elapsed=0)


def message(name: str, status: int = 200) -> Any:
    return answer({"msg": name}, status)


HTML = answer(body=b"<html>log in</html>")
Rule = Union[Any, Callable[[Request], Any]]


class Csm:
    """Answers in place of a server, and the client that gets them."""

    def __init__(self, *servers: str, timeout: float = 1800.0, **pace: Any) -> None:
        self.requests: List[Request] = []
        self.rules: Dict[str, Rule] = {}
        self.logins = 0
        self.clock = StandingClock(NOON)
        self.lines: List[Any] = []
        waiter = c.Waiter(self.clock, c.Signals())
        console = c.Console(c.Output(verbose=True), self.clock)
        self.progress = c.Progress(console, waiter, c.Pace(**pace))
        self.config = c.Config(
            servers=servers or ("one:1",),
            user="user",
            password=c.Secret("s3cret"),
            trust=c.Trust(),
            mode=c.Mode.RUN,
            timeout=timeout,
        )
        world = self

        class Line:
            def __init__(self, *_: Any) -> None:
                world.lines.append(self)

            def start(
                self, server: str, method: str, path: str, times: Any, data: Any, headers: Any
            ) -> Any:
                token = headers.get("X-Auth-Token")
                at = round(waiter.passed(), 3)
                limits = (round(times[0], 3), round(times[1], 3))
                asked = Request(at, server, method, path, data, token, limits, self)
                world.requests.append(asked)
                return world.call(asked)

        self.client = c.Csm(self.config, self.progress)
        self.patch = mock.patch.object(c, "Line", Line)

    def __enter__(self) -> "Csm":
        self.patch.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.patch.stop()

    def call(self, asked: Request) -> Any:
        """Done at once, unless there is no answer."""
        found = self.answer_to(asked)
        call = c.Call(lambda: found)
        if isinstance(found, BaseException):
            call = c.Call(mock.Mock(side_effect=found))
        if found is not None:
            call.run()
        return call

    def answer_to(self, asked: Request) -> Any:
        rule = self.rules.get(asked.path)
        if rule is None and asked.path == TOKENS:
            self.logins += 1
            return answer({"token": f"token-{self.logins}"})
        if rule is None:
            return answer({"some": "thing"})
        return rule(asked) if callable(rule) else rule

    def read(self, path: str = PATH) -> Any:
        return self.client.try_read(path, lambda reply: reply)

    def try_to_read(self, path: str = PATH) -> Any:
        """What comes, or the problem."""
        try:
            return self.read(path)
        except c.Problem as problem:
            return problem

    def paths(self, path: str = TOKENS) -> List[Request]:
        return [each for each in self.requests if each.path == path]


# --- Log-in and token -----------------------------------------------------------------------------


def test_a_log_in_and_its_token() -> None:
    """The password goes into the log-in alone, the token into all else."""
    with Csm() as csm:
        assert csm.client.login_here == ("one:1", 0)
        csm.read()
        csm.read()
        assert csm.client.login_here == ("one:1", 1)
    login, first, second = csm.requests
    assert (login.method, login.path, login.token) == ("POST", TOKENS, None)
    assert login.form == {"username": "user", "password": "s3cret"}
    assert (first.method, first.path, first.form, first.token) == ("GET", PATH, None, "token-1")
    assert second == first
    assert csm.progress.server == "one:1"


KEEPING = {
    "200": answer({}),
    "a message": message("IWNR2211I"),
    "an error message": message("IWNR0001E"),
    "400": answer(status=400),
    "403 with an error message": message("IWNR0001E", 403),
    "404": answer(status=404),
    "404 in HTML": answer(status=404, body=b"<html>"),
    "429": answer(status=429),
    "500": answer(status=500),
    "503": answer(status=503, body=b"<html>"),
    "no answer": requests.ConnectionError("broken"),
    "odd bytes": urllib3.exceptions.LocationParseError("odd"),
}
DROPPING = {
    "401": answer(status=401),
    "401 with a message": message("IWNR0001E", 401),
    "403": answer(status=403),
    "403 in HTML": answer(status=403, body=b"<html>"),
    "HTML": HTML,
    "302": answer(status=302),
}


@pytest.mark.parametrize("name", KEEPING)
def test_a_token_that_is_kept(name: str) -> None:
    with Csm() as csm:
        csm.read()
        csm.rules[PATH] = KEEPING[name]
        csm.try_to_read()
        del csm.rules[PATH]
        csm.read()
    assert len(csm.paths()) == 1


@pytest.mark.parametrize("name", DROPPING)
def test_a_token_that_is_dropped(name: str) -> None:
    with Csm() as csm:
        csm.read()
        csm.rules[PATH] = DROPPING[name]
        assert isinstance(csm.try_to_read(), c.NotProcessed)
        assert csm.client.login_here == ("one:1", 0)
        del csm.rules[PATH]
        csm.read()
    assert len(csm.paths()) == 2
    assert csm.requests[-1].token == "token-2"
    assert csm.client.login_here == ("one:1", 2)


@pytest.mark.parametrize("name", [*KEEPING, *DROPPING])
def test_the_answer_of_a_role_never_drops_a_token(name: str) -> None:
    """Old servers do not know that path."""
    with Csm() as csm:
        csm.read()
        csm.rules[ROLE] = {**KEEPING, **DROPPING}[name]
        assert csm.client.ask_role() is c.Role.NOT_TOLD
        csm.read()
    assert len(csm.paths()) == 1


def test_403_with_a_new_token_is_about_rights() -> None:
    """That token is kept, however often it comes."""
    with Csm() as csm:
        csm.rules[PATH] = answer(status=403)
        for _ in range(5):
            assert type(csm.try_to_read()) is c.Denied
        csm.read("/other")
    assert [each.token for each in csm.paths(PATH)] == ["token-1"] + ["token-2"] * 4
    assert csm.requests[-1].token == "token-2"
    assert len(csm.paths()) == 2


def test_403_on_both_servers_of_a_pair() -> None:
    """Each loses one token, and no more, though the log-ins take turns."""
    with Csm("one:1", "two:2") as csm:
        csm.rules[PATH] = answer(status=403)
        for _ in range(10):
            csm.try_to_read()
            csm.client.next_server()
    assert [each.server for each in csm.paths()] == ["one:1", "two:2"] * 2


def test_401_again_and_again() -> None:
    with Csm() as csm:
        csm.rules[PATH] = answer(status=401)
        for _ in range(3):
            assert type(csm.try_to_read()) is c.TokenLost
    assert len(csm.paths()) == 3


def test_each_server_has_a_token_of_its_own() -> None:
    with Csm("one:1", "two:2") as csm:
        csm.read()
        csm.client.next_server()
        csm.read()
        csm.client.use("one:1")
        csm.read()
    used = [(each.server, each.token) for each in csm.requests if each.path == PATH]
    assert used == [("one:1", "token-1"), ("two:2", "token-2"), ("one:1", "token-1")]


@pytest.mark.parametrize(
    "data",
    [
        *({}, [], "token", {"Token": "a"}),
        *({"token": each} for each in ("", None, ["a"], "a b", "a\n", "\u00e9")),
    ],
)
def test_no_token(data: Any) -> None:
    with Csm() as csm:
        csm.rules[TOKENS] = answer(data)
        problem = csm.try_to_read()
    assert type(problem) is c.LoginRefused
    assert str(problem).endswith("no token")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(status=401), "LoginRefused"),
        (answer(status=403), "LoginRefused"),
        (message("IWNR0001E", 500), "LoginRefused"),
        (answer(status=400), "LoginRefused"),
        (answer(status=302), "NotCsm"),
        (answer(status=500), "NoUse"),
        (answer(status=503), "NoUse"),
        (HTML, "LoginRefused"),
        (requests.ConnectionError("broken"), "Unreachable"),
    ],
)
def test_a_log_in_that_does_not_work(reply: Any, kind: str) -> None:
    with Csm() as csm:
        csm.rules[TOKENS] = reply
        assert type(csm.try_to_read()).__name__ == kind
    assert csm.client.login_here == ("one:1", 0)


def test_what_is_secret_is_blanked_in_what_is_told() -> None:
    with Csm() as csm:
        csm.read()
        csm.rules[PATH] = answer({"msg": "IWNR0001E", "resultText": "token-1 of s3cret"}, 400)
        problem = csm.try_to_read()
    assert str(problem) == "one:1: GET /any answered 400 IWNR0001E *** of ***"
    assert problem.message.text == "IWNR0001E *** of ***"


# --- Log-ins once a trigger is out ----------------------------------------------------------------


def test_a_refused_log_in_is_tried_ever_more_rarely() -> None:
    """Once a trigger is out: from 15 s to 5 minutes, lest the user is locked."""
    with Csm() as csm:
        csm.rules[TOKENS] = answer(status=401)
        csm.client.may_have_started = True
        for _ in range(1500):
            assert isinstance(csm.try_to_read(), (c.LoginRefused, c.HeldBack))
            csm.clock.sleep(1.0)
    tried = [each.at for each in csm.paths()]
    pauses = [round(later - earlier) for earlier, later in zip(tried, tried[1:])]
    assert pauses == [15, 30, 60, 120, 240, 300, 300, 300]


def test_a_log_in_that_works_ends_the_pauses() -> None:
    with Csm() as csm:
        csm.client.may_have_started = True
        csm.rules[TOKENS] = answer(status=401)
        csm.try_to_read()
        csm.clock.sleep(15.0)
        csm.try_to_read()
        csm.clock.sleep(30.0)
        del csm.rules[TOKENS]
        csm.read()
        csm.rules = {PATH: answer(status=401), TOKENS: answer(status=401)}
        csm.try_to_read()
        began = len(csm.paths())
        csm.try_to_read()
        csm.clock.sleep(14.9)
        csm.try_to_read()
        assert len(csm.paths()) == began + 1
        csm.clock.sleep(0.2)
        csm.try_to_read()
        assert len(csm.paths()) == began + 2


def test_meanwhile_the_reason_is_told_again() -> None:
    with Csm() as csm:
        csm.client.may_have_started = True
        csm.rules[TOKENS] = message("IWNR0001E", 401)
        first, second = csm.try_to_read(), csm.try_to_read()
    assert len(csm.paths()) == 1
    assert (type(first), type(second)) == (c.LoginRefused, c.HeldBack)
    assert str(second) == f"{first}; it is asked again later"
    assert first.message.id == "IWNR1E"


def test_a_log_in_that_is_held_back_is_no_second_refusal() -> None:
    """One was refused while a trigger might have been processed. It was not: it is waited for."""
    with Csm() as csm:
        csm.read()
        csm.client.may_have_started = True
        csm.rules[PATH] = answer(status=401)
        csm.rules[TOKENS] = answer(status=401)
        assert [type(csm.try_to_read()) for _ in range(2)] == [c.TokenLost, c.LoginRefused]
        del csm.rules[PATH], csm.rules[TOKENS]
        csm.client.may_have_started = False
        csm.client.log_in()
    assert [each.at for each in csm.paths()][:2] == [0.0, 0.0]
    assert len(csm.paths()) == 3
    assert 15.0 <= csm.paths()[2].at <= 20.0


def test_before_the_trigger_a_refused_log_in_is_believed_soon() -> None:
    """Twice, and two seconds apart."""
    with Csm() as csm:
        csm.rules[TOKENS] = answer(status=401)
        with pytest.raises(c.LoginRefused):
            csm.client.log_in()
    assert [round(each.at, 3) for each in csm.paths()] == [0.0, 2.0]


# --- Roles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "role"),
    [
        (answer({"islocalactive": True}), "ACTIVE"),
        (answer({"islocalactive": "TRUE"}), "ACTIVE"),
        (answer({"islocalactive": False}), "STANDBY"),
        (answer({"islocalactive": "false"}), "STANDBY"),
        (answer({"islocalactive": None}), "NOT_TOLD"),
        (answer({}), "NOT_TOLD"),
        (answer([]), "NOT_TOLD"),
        (answer(status=404), "NOT_TOLD"),
        (HTML, "NOT_TOLD"),
        (requests.ConnectionError("broken"), "NOT_TOLD"),
    ],
)
def test_roles(reply: Any, role: str) -> None:
    with Csm() as csm:
        csm.rules[ROLE] = reply
        assert csm.client.ask_role().name == role


def test_the_active_server_of_a_pair_is_used() -> None:
    with Csm("one:1", "two:2") as csm:
        csm.rules[ROLE] = lambda asked: answer({"islocalactive": asked.server == "two:2"})
        csm.client.log_in()
    assert csm.client.server == "two:2"
    assert csm.progress.server == "two:2"
    assert csm.client.login_here == ("two:2", 2)


def test_a_server_alone_is_not_asked_for_its_role() -> None:
    with Csm() as csm:
        csm.read()
    assert csm.paths(ROLE) == []


def test_where_both_are_standby_the_first_one_is_asked_to_start() -> None:
    """After 30 s: CSM's answer to the trigger decides."""
    with Csm("one:1", "two:2") as csm:
        csm.rules[ROLE] = answer({"islocalactive": False})
        csm.client.log_in()
        assert csm.client.server == "one:1"
        assert 30.0 < csm.requests[-1].at < 60.0
        csm.read()
    assert csm.requests[-1].server == "one:1"
    assert csm.paths(ROLE)[-1].at <= csm.requests[-1].at


def test_a_check_does_not_take_a_standby_for_active() -> None:
    with Csm("one:1", "two:2") as csm:
        csm.client.config = csm.config._replace(mode=c.Mode.CHECK)
        csm.rules[ROLE] = answer({"islocalactive": False})
        with pytest.raises(c.Standby) as caught:
            csm.client.log_in()
    assert "one:1 is a standby" in str(caught.value)
    assert "two:2 is a standby" in str(caught.value)


# --- How long it is tried -------------------------------------------------------------------------


def read_with(csm: Csm, **patience: Any) -> Any:
    paths: Deque[str] = c.collections.deque([PATH, "/other"])
    return csm.client.read(paths, lambda reply: reply.path, c.Patience(**patience))


def test_pauses_between_tries_grow() -> None:
    """0.5 s at first, doubled up to 5 s; not beyond the deadline."""
    with Csm(timeout=100.0) as csm:
        csm.read("/before")
        csm.rules = {PATH: answer(status=500), "/other": answer(status=500)}
        with pytest.raises(c.NoUse):
            read_with(csm)
    tried = [each.at for each in csm.requests[2:]]
    pauses = [round(later - earlier, 3) for earlier, later in zip(tried, tried[1:])]
    assert pauses[:6] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert max(pauses) == 5.0
    assert 99.0 < tried[-1] < 100.1


def test_after_a_fault_the_other_path_is_asked() -> None:
    with Csm() as csm:
        csm.rules[PATH] = answer(status=500)
        assert read_with(csm) == "/other"
    assert [each.path for each in csm.requests] == [TOKENS, PATH, "/other"]


def test_a_failed_log_in_is_no_fault_of_the_path() -> None:
    with Csm() as csm:
        csm.rules[TOKENS] = lambda asked: answer({"token": "a"} if asked.at else {}, 200)
        assert read_with(csm) == PATH


def test_a_server_that_never_let_us_in_is_given_up_after_30_s() -> None:
    with Csm() as csm:
        csm.rules[TOKENS] = requests.ConnectionError("broken")
        with pytest.raises(c.Unreachable) as caught:
            csm.client.log_in()
    assert 30.0 < csm.requests[-1].at < 60.0
    assert str(caught.value).count("one:1") == 1


def test_a_refusal_after_an_outage_must_be_told_twice() -> None:
    """A server that has just started answers a log-in with nothing at first."""

    def late(asked: Request) -> Any:
        if asked.at < 31:
            return requests.ConnectionError("broken")
        is_first = sum(each.at > 31 for each in csm.paths()) == 1
        return answer(status=204, body=b"") if is_first else answer({"token": "good"})

    with Csm() as csm:
        csm.rules[TOKENS] = late
        csm.client.log_in()
        assert csm.client.is_logged_in


def test_one_that_let_us_in_is_tried_until_the_deadline() -> None:
    with Csm(timeout=300.0) as csm:
        csm.read()
        csm.rules[PATH] = csm.rules["/other"] = requests.ConnectionError("broken")
        with pytest.raises(c.Unreachable):
            read_with(csm)
    assert csm.requests[-1].at > 299.0


def test_what_is_firm_is_believed_when_it_comes_twice() -> None:
    with Csm() as csm:
        csm.rules[PATH] = csm.rules["/other"] = message("IWNR0001E", 400)
        with pytest.raises(c.Denied) as caught:
            read_with(csm)
    assert len(csm.requests) == 3
    assert caught.value.message.text == "IWNR0001E"


def test_a_number_of_tries() -> None:
    with Csm() as csm:
        csm.rules[PATH] = csm.rules["/other"] = answer(status=500)
        with pytest.raises(c.NoUse):
            read_with(csm, tries=4)
    assert len(csm.requests) == 1 + 4


def test_a_moment_until_which_it_is_tried() -> None:
    with Csm() as csm:
        csm.rules[PATH] = csm.rules["/other"] = answer(status=500)
        csm.clock.sleep(5.0)
        with pytest.raises(c.NoUse):
            read_with(csm, until=12.0)
    assert 11.0 < csm.requests[-1].at <= 12.01


@pytest.mark.parametrize("may_move", [True, False])
def test_the_other_server_of_a_pair_is_tried(may_move: bool) -> None:
    """Once each way has failed on this one; at once where it does not answer."""
    with Csm("one:1", "two:2") as csm:
        csm.rules[PATH] = csm.rules["/other"] = answer(status=500)
        with pytest.raises(c.NoUse):
            read_with(csm, tries=5, may_move=may_move)
    asked = [(each.server, each.path) for each in csm.requests if each.path in (PATH, "/other")]
    one, two = [("one:1", PATH), ("one:1", "/other")], [("two:2", PATH), ("two:2", "/other")]
    assert asked == ([*one, *two, one[0]] if may_move else [*one, *one, one[0]])


def test_a_server_that_does_not_answer_is_left_at_once() -> None:
    with Csm("one:1", "two:2") as csm:
        csm.rules[PATH] = csm.rules["/other"] = requests.ConnectionError("broken")
        with pytest.raises(c.Unreachable):
            read_with(csm, tries=3)
    asked = [(each.server, each.path) for each in csm.requests if each.path in (PATH, "/other")]
    assert asked == [("one:1", PATH), ("two:2", PATH), ("one:1", PATH)]


def test_what_is_firm_is_told_by_both_servers_of_a_pair() -> None:
    """Twice by each; one that does not answer is waited for 30 s."""
    with Csm("one:1", "two:2") as csm:
        csm.rules[PATH] = csm.rules["/other"] = message("IWNR0001E", 400)
        with pytest.raises(c.Denied):
            read_with(csm)
        asked = [each.server for each in csm.requests if each.path in (PATH, "/other")]
        assert asked == ["one:1", "one:1", "two:2", "two:2"]
    with Csm("one:1", "two:2") as csm:
        bad = message("IWNR0001E", 400)
        broken = requests.ConnectionError("broken")
        csm.rules[PATH] = lambda asked: bad if asked.server == "one:1" else broken
        csm.rules["/other"] = csm.rules[PATH]
        with pytest.raises(c.NotProcessed) as caught:
            read_with(csm)
        assert 30.0 < csm.requests[-1].at < 60.0
        assert "IWNR0001E" in str(caught.value)


def test_a_wrong_password_is_not_tried_on_both_servers_twice() -> None:
    """It must not lock the user."""
    with Csm("one:1", "two:2") as csm:
        csm.rules[TOKENS] = answer(status=401)
        with pytest.raises(c.LoginRefused):
            csm.client.log_in()
    assert len(csm.paths()) == 3


def test_each_server_is_told_once_with_its_last_fault() -> None:
    tries = c.Tries(0.0).after("a", c.NoUse("1")).after("b", c.Denied("2"))
    tries = tries.after("a", c.Denied("3"))
    assert (tries.text(), tries.tried) == ("2; 3", 3)
    assert [tries.faults_of(each).firm for each in "abc"] == [1, 1, 0]
    assert not tries.is_firm("a")
    assert tries.after("a", c.Denied("4")).is_firm("a")


def test_two_refusals_of_different_things_are_not_one_that_was_told_twice() -> None:
    tries = c.Tries(0.0).after("a", c.LoginRefused("log-in")).after("a", c.Denied("read"))
    assert not tries.is_firm("a")
    assert not tries.after("a", c.NoUse("500")).is_firm("a")
    assert tries.after("a", c.NoUse("500")).after("a", c.Denied("read")).is_firm("a")


def test_an_odd_reply_is_of_no_use() -> None:
    def parse(reply: Any) -> None:
        raise c.OddReply("no list")

    with Csm() as csm, pytest.raises(c.NoUse) as caught:
        csm.client.try_read(PATH, parse)
    assert str(caught.value).endswith("answered 200 no text: odd reply: no list")


# --- Connections and limits -----------------------------------------------------------------------


def test_no_answer_within_the_limit() -> None:
    with Csm(request_timeout=0.05) as csm:
        csm.rules[PATH] = lambda asked: None
        problem = csm.try_to_read()
    assert type(problem) is c.Unreachable
    assert str(problem) == "one:1: GET /any got no answer: timed out"


def test_a_connection_that_is_stuck_is_left_behind() -> None:
    with Csm(request_timeout=0.05) as csm:
        csm.read()
        csm.rules[PATH] = lambda asked: None
        csm.try_to_read()
        csm.read("/a")
        csm.read("/b")
    assert [csm.lines.index(each.line) for each in csm.requests] == [0, 0, 0, 1, 1]


def test_a_command_keeps_its_connection_until_it_is_answered() -> None:
    with Csm() as csm:
        csm.read()
        csm.rules["/start"] = lambda asked: None
        sent = csm.client.command("/start", {"cmd": "Backup"})
        csm.read()
        assert [csm.lines.index(each.line) for each in csm.requests] == [0, 0, 0, 1]
        asked = csm.requests[2]
        assert (asked.method, asked.path, asked.token) == ("POST", "/start", "token-1")
        assert asked.form == {"cmd": "Backup"}
        assert not sent.call.is_done()
    assert (sent.purpose, sent.text()) == (c.Purpose.COMMAND, "one:1: POST /start")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (message("IWNR2211I"), "Message"),
        (message("IWNR0009W"), "Message"),
        (answer({}), "OutcomeUnknown"),
        (HTML, "OutcomeUnknown"),
        (message("IWNR0001E"), "Refused"),
        (answer(status=415), "Refused"),
        (answer(status=401), "TokenLost"),
        (answer(status=403), "Denied"),
        (answer(status=503), "Busy"),
        (answer(status=500), "OutcomeUnknown"),
        (answer(status=302), "OutcomeUnknown"),
        (requests.ConnectionError("broken"), "OutcomeUnknown"),
        (urllib3.exceptions.LocationParseError("odd"), "OutcomeUnknown"),
        (ValueError("odd"), "OutcomeUnknown"),
    ],
)
def test_what_became_of_a_command(reply: Any, kind: str) -> None:
    with Csm() as csm:
        csm.read()
        csm.rules["/start"] = reply
        sent = csm.client.command("/start", None)
        found = csm.client.answer_to(sent)
    assert type(found).__name__ == kind
    assert len([each for each in csm.requests if each.method == "POST"]) == 2


def test_the_limits_of_a_request() -> None:
    """Half of it for the connection to one address: of two addresses one may be dead."""
    with Csm(timeout=40.0) as csm:
        csm.read()
        csm.clock.sleep(20.0)
        csm.read()
        csm.client.command("/start", None)
        csm.clock.sleep(30.0)
        csm.read()
    assert [each.times for each in csm.requests] == [
        (15.0, 30.0),
        (15.0, 30.0),
        (10.0, 20.0),
        (10.0, 20.0),
        (0.005, 0.01),
    ]


def test_the_clock_of_csm() -> None:
    """The Date of the first and of the last answer."""
    dates = iter(["", DATE, DATE.replace("22:13:20", "22:13:10"), "nonsense"])
    with Csm() as csm:
        csm.rules[PATH] = lambda asked: answer({}, date=next(dates))
        found = []
        for _ in range(4):
            csm.read()
            found.append((csm.client.earliest, csm.client.latest))
    assert found == [
        (c.NEVER, -c.NEVER),
        (NOON, NOON),
        (NOON - 10, NOON - 10),
        (NOON - 10, NOON - 10),
    ]


def test_an_untrusted_server_is_told_by_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "certificate verify failed: self signed certificate (_ssl.c:1)"
    monkeypatch.setattr(c, "fingerprint_without_sending", lambda server: f"AB:CD of {server}")
    with Csm() as csm:
        reason = urllib3.exceptions.SSLError(text)
        pool: Any = None
        retried = urllib3.exceptions.MaxRetryError(pool, "/url", reason)
        csm.rules[TOKENS] = requests.exceptions.SSLError(retried)
        problem = csm.try_to_read()
        assert type(problem) is c.WrongServer
        assert "(certificate verify failed: self signed certificate)" in str(problem)
        assert str(problem).endswith("AB:CD of one:1")
        monkeypatch.setattr(c, "fingerprint_without_sending", mock.Mock(side_effect=OSError))
        assert str(csm.try_to_read()).endswith("could not be read")


# --- Waiting and signals --------------------------------------------------------------------------


class RingingClock(StandingClock):
    """A signal comes once so much time has passed."""

    def __init__(self, signals: Any, at: float) -> None:
        super().__init__(NOON)
        self.signals = signals
        self.at = at

    def rest(self, seconds: float) -> None:
        super().rest(seconds)
        if self.passed > self.at:
            self.signals.first = 15


@pytest.mark.parametrize(("at", "passed"), [(0.25, 0.3), (59.95, 60.0), (60.5, 60.0)])
def test_a_signal_is_heard_within_a_tenth_of_a_second(at: float, passed: float) -> None:
    """However long the sleep, at its very end, too."""
    signals = c.Signals()
    clock = RingingClock(signals, at)
    waiter = c.Waiter(clock, signals)
    if at < passed:
        with pytest.raises(c.Stopped) as caught:
            waiter.sleep(60.0)
        assert caught.value.number == 15
    else:
        waiter.sleep(60.0)
    assert round(clock.passed, 3) == passed
    assert max(clock.slept) < 0.101


def test_a_sleep_that_something_ends() -> None:
    """It is seen within a fiftieth of a second; a signal is heard, too."""
    clock = StandingClock(NOON)
    waiter = c.Waiter(clock, c.Signals())
    waiter.sleep_unless(60.0, lambda: clock.passed > 0.25)
    assert round(clock.passed, 3) == 0.26
    waiter.sleep_unless(5.0, lambda: False)
    assert round(clock.passed, 3) == 5.26
    waiter.sleep_unless(0.0, lambda: False)
    assert round(clock.passed, 3) == 5.26
    signals = c.Signals()
    ringing = RingingClock(signals, 0.25)
    with pytest.raises(c.Stopped):
        c.Waiter(ringing, signals).sleep_unless(60.0, lambda: False)
    assert round(ringing.passed, 3) == 0.26


def test_the_time_that_has_passed() -> None:
    """It counts from the moment that user and password are there."""
    clock = StandingClock(NOON)
    waiter = c.Waiter(clock, c.Signals())
    clock.sleep(5.0)
    assert (round(waiter.passed(), 3), waiter.began_by_clock) == (5.0, NOON)
    waiter.begin()
    clock.sleep(2.0)
    assert (round(waiter.passed(), 3), waiter.began_by_clock) == (2.0, NOON + 5.0)


def test_a_job_that_is_waited_for() -> None:
    """A signal ends the waiting, and not what is done already."""
    signals = c.Signals()
    call = c.Call(lambda: "found")
    assert not call.is_done()
    assert call.is_done_within(0.01, signals) is False
    assert call.ends_within(0.01) is False
    signals.first = 15
    with pytest.raises(c.Stopped):
        call.is_done_within(60.0, signals)
    call.run()
    assert call.is_done()
    assert call.is_done_within(0.0, signals) is True
    assert call.ends_within(0.0) is True
    assert call.result() == "found"
    failed = c.Call(mock.Mock(side_effect=SystemExit))
    failed.run()
    with pytest.raises(SystemExit):
        failed.result()


def test_one_thread_does_one_job_after_another() -> None:
    worker = c.Worker()
    calls = [worker.start(threading.current_thread) for _ in range(3)]
    assert all(each.ends_within(60.0) for each in calls)
    threads = {each.result() for each in calls}
    assert len(threads) == 1
    assert threads.pop().daemon, "it would be waited for at the end"
    assert threading.current_thread() not in threads


def test_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is done at once, and the next one has a thread again, if it can be had."""
    worker = c.Worker()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError))
        call = worker.start(threading.current_thread)
        assert call.is_done()
        assert call.result() is threading.current_thread()
    call = worker.start(threading.current_thread)
    assert call.ends_within(60.0)
    assert call.result() is not threading.current_thread()


def test_a_signal_interrupts_what_has_no_slices() -> None:
    """And nothing else: it is noted, and heard at the next wait."""
    signals = c.Signals()
    signals._note(2, None)
    assert signals.first == 2
    with pytest.raises(c.Stopped):
        signals.check()
    job = mock.Mock()
    with pytest.raises(c.Stopped):
        signals.interrupt(job)
    assert not job.called
    signals = c.Signals()
    assert signals.interrupt(lambda: "typed") == "typed"
    typed: List[str] = []

    def type_on() -> None:
        signals._note(15, None)
        typed.append("more")

    with pytest.raises(c.Stopped) as caught:
        signals.interrupt(type_on)
    assert (caught.value.number, typed) == (15, [])
    assert not signals.interrupts


def test_the_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the code of the first one."""
    ended = mock.Mock(side_effect=SystemExit)
    monkeypatch.setattr(c.os, "_exit", ended)
    signals = c.Signals()
    signals._note(15, None)
    with pytest.raises(SystemExit):
        signals._note(2, None)
    assert ended.mock_calls == [mock.call(143)]


def test_a_signal_that_the_parent_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """nohup; a shell's `&`."""
    listened: List[int] = []
    monkeypatch.setattr(c.signal, "signal", lambda number, _: listened.append(number))
    ignored = {c.signal.SIGHUP: c.signal.SIG_IGN}
    monkeypatch.setattr(c.signal, "getsignal", ignored.get)
    c.Signals().listen()
    assert listened == [c.signal.SIGINT, c.signal.SIGTERM]
    call = c.Worker().start(c.Signals().listen)  # no handler can be set there
    assert call.ends_within(60.0)
    assert call.result() is None
    assert len(listened) == 2


# --- What a connection sends ----------------------------------------------------------------------


class Adapter(requests.adapters.BaseAdapter):
    """Answers with a redirect."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: List[Any] = []

    def send(self, request: Any, *_: Any, **options: Any) -> requests.Response:
        self.sent.append((request, options))
        found = requests.Response()
        found.status_code = 302
        found.url = request.url
        found.request = request
        found.headers["Location"] = "https://elsewhere:1/"
        found.raw = urllib3.HTTPResponse(body=io.BytesIO(b"{}"), preload_content=False)
        return found

    def close(self) -> None:
        pass


def line(trust: Any = None) -> Tuple[Any, Adapter]:
    found = c.Line(("one:1",), trust or c.Trust())
    adapter = Adapter()
    found.http.adapters["https://one:1/"] = adapter
    return found, adapter


def test_cookies_are_never_sent() -> None:
    """One that expires must not spoil a log-in."""
    used, adapter = line()
    for _ in range(2):
        used.http.cookies.set("session", "abc", domain="one.local")
        used.http.cookies.set("other", "abc")
        used.send("one:1", "GET", PATH, (1.0, 2.0))
    assert [request.headers.get("Cookie") for request, _ in adapter.sent] == [None, None]


def test_what_every_request_has_in_common() -> None:
    used, adapter = line()
    found = used.send("one:1", "POST", PATH, (1.0, 2.0), data={"a": "b c"}, headers={"X": "y"})
    assert found.status_code == 302, "a redirect was followed"
    assert len(adapter.sent) == 1
    request, options = adapter.sent[0]
    assert request.url == "https://one:1/CSM/web/any"
    assert (request.method, request.body) == ("POST", "a=b+c")
    assert request.headers["Accept-Language"] == "en-US"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["X"] == "y"
    assert options["timeout"] == (1.0, 2.0)
    assert options["verify"] is True
    assert options["proxies"] == {}


@pytest.mark.parametrize(
    "name", ["HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_nothing_of_the_environment_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy:1")
    used, adapter = line()
    used.send("one:1", "GET", PATH, (1.0, 2.0))
    _, options = adapter.sent[0]
    assert (options["proxies"], options["verify"]) == ({}, True)


@pytest.mark.parametrize(
    "url",
    [
        "https://two:1/",
        "https://one:12/",
        "https://one/",
        "http://one:1/",
        "https://one:1@two/",
        "ftp://one:1/",
        "file:///etc/passwd",
        "//one:1/",
    ],
)
@pytest.mark.parametrize("trust", [c.Trust(), c.Trust(anything=True)])
def test_there_is_no_adapter_for_any_other_address(url: str, trust: Any) -> None:
    http = c.open_http(("one:1",), trust)
    kinds = (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema)
    with pytest.raises(kinds):
        http.get(url)


@pytest.mark.parametrize(
    ("trust", "verify", "fingerprints"),
    [
        (c.Trust(), True, [None, None]),
        (c.Trust(ca_file="/ca.pem"), "/ca.pem", [None, None]),
        (c.Trust(fingerprints=("AB",)), False, ["AB", "AB"]),
        (c.Trust(fingerprints=("AB", "CD")), False, ["AB", "CD"]),
        (c.Trust(anything=True), False, [None, None]),
    ],
)
def test_trust(trust: Any, verify: Any, fingerprints: List[Optional[str]]) -> None:
    """Each server has an adapter of its own, with its fingerprint."""
    http = c.open_http(("one:1", "two:2"), trust)
    assert http.verify == verify
    assert not http.trust_env
    assert list(http.adapters) == ["https://one:1/", "https://two:2/"]
    found = [each.poolmanager.connection_pool_kw for each in http.adapters.values()]
    assert [each["assert_fingerprint"] for each in found] == fingerprints
    checks = {each["ssl_context"].verify_mode for each in found}
    assert checks == {c.ssl.CERT_REQUIRED if verify else c.ssl.CERT_NONE}
