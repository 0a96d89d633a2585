"""Replays the recordings: what the program asks, in which order, and what it makes of the answers.

`responses` stands in for the network, and a clock that runs only when somebody sleeps for the time.
"""

import json
import pathlib
from typing import Any, Callable, Dict, List, NamedTuple, Tuple
from urllib.parse import parse_qsl

import pytest
import responses
from responses.registries import OrderedRegistry

from support.clock import StandingClock
from support.program import PASSWORD, USER, Result, load, outcome_words, run_inside, without_threads
from support.scenes import SESSION, TASK

RECORDINGS = pathlib.Path(__file__).parent.parent / "recordings"
SERVERS = {1: "192.0.2.10", 2: "192.0.2.11"}
ONE = ("-s", SERVERS[1])
PAIR = ("-s", SERVERS[1] + "," + SERVERS[2])


class Case(NamedTuple):
    recording: str
    arguments: Tuple[str, ...]
    code: int
    triggers: int
    told: Tuple[str, ...]  # on stdout where the code is 0, else on stderr


CASES = [
    Case("task_run", (*ONE, "-t", TASK), code=0, triggers=1, told=("1641381700", TASK, SERVERS[1])),
    Case(
        "session_backup",
        (*ONE, "-S", SESSION),
        code=0,
        triggers=1,
        told=("1641920996", SESSION, SERVERS[1]),
    ),
    Case("csm_6_3_1", (*ONE, "-t", "ITSO_SGC_H1_LAH81"), code=0, triggers=1, told=("1641381692",)),
    Case("task_running", (*ONE, "-t", TASK), code=0, triggers=0, told=("1641381700", TASK)),
    Case(
        "standby_first",
        (*PAIR, "-t", TASK),
        code=0,
        triggers=1,
        told=("1641381700", TASK, SERVERS[2]),
    ),
    Case("login_refused", (*ONE, "-t", TASK), code=4, triggers=0, told=(SERVERS[1], "401")),
    Case(
        "login_without_token",
        (*ONE, "-t", TASK),
        code=4,
        triggers=0,
        told=("IWNR9005E", "The user admin could not be authenticated."),
    ),
    Case(
        "name_unknown",
        (*ONE, "-t", "ITSO_SGC_H3_LAH18"),
        code=5,
        triggers=0,
        told=("ITSO_SGC_H3_LAH18", TASK),
    ),
    Case("name_twice", (*ONE, "-t", TASK), code=5, triggers=0, told=(TASK, "27", "31")),
    Case(
        "approval_pending",
        (*ONE, "-t", TASK),
        code=6,
        triggers=1,
        told=(TASK, "waits for approval", "IWNR9004E"),
    ),
    Case(
        "standby_both",
        (*PAIR, "-t", TASK, "--timeout", "1.5"),
        code=6,
        triggers=0,
        told=("standby",),
    ),
    Case(
        "command_refused",
        (*ONE, "-S", SESSION),
        code=6,
        triggers=1,
        told=("IWNR9003E", "The Backup command in the ITSO_SGC_LAH81 session is not valid now."),
    ),
    Case(
        "task_refused",
        (*ONE, "-t", TASK),
        code=6,
        triggers=1,
        told=("IWNR9004E", "The scheduled task ITSO_SGC_H3_LAH81 cannot be run."),
    ),
    Case(
        "task_error",
        (*ONE, "-t", TASK),
        code=7,
        triggers=1,
        told=("IWNR9001E", "The SuspendH2H3 command in the ITSO_MGM_ACA91 session failed."),
    ),
    Case(
        "task_error_after_backup",
        (*ONE, "-t", TASK),
        code=7,
        triggers=1,
        told=(
            "IWNR9002E",
            "The Start H1->H2->H3 command in the ITSO_MGM_ACA91 session failed.",
            "1641381700",
        ),
    ),
    Case("task_without_backup", (*ONE, "-t", TASK), code=7, triggers=1, told=(TASK, "IWNR2212I")),
    Case("session_without_backup", (*ONE, "-S", SESSION), code=7, triggers=1, told=(SESSION,)),
    Case(
        "task_without_steps",
        (*ONE, "-t", TASK),
        code=0,
        triggers=1,
        told=("verified", "1641381700", f'"{TASK}"'),
    ),
    Case(
        "task_without_message",
        (*ONE, "-t", TASK),
        code=0,
        triggers=1,
        told=("verified", "1641381700", "CSM tells no message of the run"),
    ),
    Case(
        "no_wait",
        (*ONE, "-t", TASK, "--no-wait"),
        code=0,
        triggers=1,
        told=("accepted", TASK, "IWNR2211I"),
    ),
    Case(
        "check",
        (*ONE, "-t", TASK, "--check"),
        code=0,
        triggers=0,
        told=("checked", TASK, "SuspendH2H3", "ITSO_MGM_ACA91", "1641378100", SERVERS[1]),
    ),
    Case(
        "list",
        (*ONE, "--list"),
        code=0,
        triggers=0,
        told=("listed", TASK, "thomastest", SESSION, "ITSO_SGC_H1_LAH81", "1641378100"),
    ),
    Case(
        "min_interval",
        (*ONE, "-t", TASK, "--min-interval", "60"),
        code=0,
        triggers=0,
        told=("skipped", "nothing was started"),
    ),
    Case("not_csm", (*ONE, "-t", TASK), code=3, triggers=0, told=("unreachable", "302")),
    Case(
        "trigger_in_doubt",
        (*ONE, "-S", SESSION, "--request-timeout", "2"),
        code=8,
        triggers=2,
        told=("unknown", "500", "no trace of a run", "2 triggers"),
    ),
    Case(
        "backup_not_valid",
        (*ONE, "-t", TASK, "--timeout", "90"),
        code=8,
        triggers=1,
        told=("unknown", "1641381700", "NOT VALID", "does not call it valid yet"),
    ),
]
# What is no run is told in a table besides.
TABLES = ("check", "list")


def recording(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text(encoding="ascii"))


class Strict(OrderedRegistry):
    """Ends the test at a request that is not the next one of the recording."""

    def find(self, request: Any) -> Any:
        found, reasons = super().find(request)
        if found is None:  # not for the program to catch: this is no Exception
            pytest.fail(f"unexpected: {request.method} {request.url}; {reasons}")
        return found, reasons


def url(request: Dict[str, Any]) -> str:
    return "https://{}:9559/CSM/web{}".format(SERVERS[request.get("server", 1)], request["path"])


def expected(exchanges: List[Dict[str, Any]], count: int) -> List[Dict[str, Any]]:
    """The recorded exchanges, those marked `repeated` (the last ones) as often as it takes."""
    once = [exchange for exchange in exchanges if not exchange.get("repeated")]
    again = [exchange for exchange in exchanges if exchange.get("repeated")]
    assert exchanges == once + again
    whole = exchanges[:]
    while again and len(whole) < count:
        whole += again
    return whole


def replay(mock: responses.RequestsMock, exchanges: List[Dict[str, Any]]) -> None:
    for exchange in expected(exchanges, 400):
        reply = exchange["reply"]
        body = {"json": reply["json"]} if "json" in reply else {"body": reply["text"]}
        mock.add(
            exchange["request"]["method"],
            url(exchange["request"]),
            status=reply["status"],
            headers=reply.get("headers"),
            **body,
        )


def check_requests(calls: List[Any], exchanges: List[Dict[str, Any]]) -> None:
    """Every request as recorded: method, URL, body, token; in that order, and no other."""
    wanted = expected(exchanges, len(calls))
    if exchanges[-1].get("repeated"):  # the last round of them need not be whole
        assert len(calls) >= len(exchanges)
        wanted = wanted[: len(calls)]
    assert [(call.request.method, call.request.url) for call in calls] == [
        (exchange["request"]["method"], url(exchange["request"])) for exchange in wanted
    ]
    tokens: Dict[int, str] = {}
    for call, exchange in zip(calls, wanted):
        request, server = exchange["request"], exchange["request"].get("server", 1)
        body = call.request.body or ""
        text = body.decode("ascii") if isinstance(body, bytes) else body
        assert dict(parse_qsl(text, strict_parsing=bool(text))) == request.get("form", {})
        kind = call.request.headers["Content-Type"]  # with or without a body
        assert kind.split(";")[0] == "application/x-www-form-urlencoded"
        if request["path"] == "/system/v1/tokens":
            assert "X-Auth-Token" not in call.request.headers
            tokens[server] = exchange["reply"].get("json", {}).get("token", "")
        else:
            assert call.request.headers["X-Auth-Token"] == tokens[server]


def triggers(calls: List[Any]) -> int:
    return sum(
        call.request.method == "POST" and not call.request.url.endswith("/system/v1/tokens")
        for call in calls
    )


class Replay(NamedTuple):
    """What came of it: the result, the requests, and how long it took by the program's clock."""

    result: Result
    calls: List[Any]
    seconds: float


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], Replay]:
    """Run the program in this process against the recording of a case."""

    def run(case: Case) -> Replay:
        for name in ("CSM_USER", "CSM_USER_PASSWD", "RULE_ID", "RULE_NAME"):
            monkeypatch.delenv(name, raising=False)
        clock = StandingClock(1641381690.0)
        with responses.RequestsMock(assert_all_requests_are_fired=False, registry=Strict) as mock:
            replay(mock, recording(case.recording)["exchanges"])
            program = load()
            without_threads(program)  # each request is over at once: no real time counts
            given = [*case.arguments, "-u", USER, "-p", PASSWORD]
            result = run_inside(*given, clock=clock, program=program)
            calls = list(mock.calls)
        return Replay(result, calls, clock.passed)

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recording)
def test_replay(case: Case, replayed: Callable[[Case], Replay]) -> None:
    result, calls, seconds = replayed(case)
    print(result.text)  # shown where an assertion below fails
    check_requests(calls, recording(case.recording)["exchanges"])
    assert triggers(calls) == case.triggers
    assert result.code == case.code
    told = result.out if case.code == 0 else result.err
    for fact in case.told:
        assert fact in told
    if case.recording not in TABLES:
        assert result.out.count("\n") == (1 if case.code == 0 else 0)
    assert seconds < 100
    assert PASSWORD not in result.text
    assert "token-of-the-recording" not in result.text
    assert "Traceback" not in result.err


@pytest.mark.parametrize("name", ["task_without_backup", "session_without_backup"])
def test_late_backup_is_waited_for(name: str, replayed: Callable[[Case], Replay]) -> None:
    """A run that ended without a backup gets 60 s for a late one, and not much more."""
    run = replayed(next(case for case in CASES if case.recording == name))
    assert run.result.code == 7
    assert 60 <= run.seconds <= 75


def test_every_recording_is_replayed_and_described() -> None:
    names = {path.stem for path in RECORDINGS.glob("*.json")}
    assert names == {case.recording for case in CASES}
    readme = (RECORDINGS / "README.md").read_text(encoding="ascii")
    for name in names:
        assert f"`{name}`" in readme


def test_each_outcome_has_a_recording() -> None:
    """But for those that come of no reply: a bug, a wrong command line, a signal."""
    assert {case.code for case in CASES} == {0, 3, 4, 5, 6, 7, 8}
    good = {word for word, code in outcome_words().items() if code == 0}
    assert good <= {word for case in CASES for word in case.told}


def test_recordings_have_the_documented_form() -> None:
    for case in CASES:
        content = recording(case.recording)
        assert set(content) == {"about", "exchanges"}
        for exchange in content["exchanges"]:
            assert set(exchange) <= {"request", "reply", "repeated"}
            assert {"method", "path"} <= set(exchange["request"])
            assert set(exchange["request"]) <= {"method", "path", "form", "server"}
            assert len({"json", "text"} & set(exchange["reply"])) == 1
            assert set(exchange["reply"]) <= {"status", "headers", "json", "text"}
