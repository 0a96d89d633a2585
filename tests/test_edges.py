"""Corners in which the program once was wrong, or easily would be."""
import contextlib
import fcntl
import json
import pathlib
import re
import shutil
import socket
import ssl
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import harness
import pytest
import requests
from conftest import PROGRAM, load_program
from harness import PASSWORD, run_inside, server_options, start_program
from simulated_csm import Backup, Request, SimulatedCsm

TASK = "ITSO_SGC_H3_LAH81"


@pytest.fixture(autouse=True)
def no_errors_in_the_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    servers, start = [], SimulatedCsm.start  # type: List[SimulatedCsm], Any
    monkeypatch.setattr(SimulatedCsm, "start", lambda self: servers.append(self) or start(self))
    yield
    assert servers and [error for server in servers for error in server.errors] == []


def each_task(reply: Any, change: Dict[str, Any]) -> Any:
    """The reply with these fields in each task in it; None takes a field away."""
    for task in reply if isinstance(reply, list) else [reply]:
        if isinstance(task, dict) and "lastRan" in task:
            task.update(change)
            for key in [key for key, value in change.items() if value is None]:
                del task[key]
    return reply


@pytest.mark.parametrize("seconds", [600, 86400])
def test_backup_from_the_future(seconds: int) -> None:
    """The clock that stamped the newest backup ran ahead, and was set right: a new one is new."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        old, ahead = str(csm.world.session(TASK).backups[0].id), str(int(time.time()) + seconds)
        csm.mutate = lambda request, reply: json.loads(json.dumps(reply).replace(old, ahead))
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 0 and result.json["outcome"] == "verified"
        assert len(csm.world.triggers) == 1
        assert result.json["sessions"][0]["backup"]["id"] == csm.world.backups_made[0][1]


def test_task_id_that_is_no_number() -> None:
    """True is 1 to Python: that would be another task."""
    with SimulatedCsm() as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"id": True})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "3")
        assert result.code == 3 and csm.world.attempts == []
        assert "a task without an id" in result.err


@pytest.mark.parametrize("path", ["/scheduledtasks", "/short"])
@pytest.mark.parametrize("option, name", [("-t", TASK), ("-t", "SGC Payroll")])
def test_list_that_is_empty_for_once(path: str, option: str, name: str) -> None:
    """As of a server that has just started: no reason to say that a name is not there."""
    left = [path]
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: [] if (
            request.path.endswith(path) and left and left.pop()) else reply
        result = run_inside(*server_options(csm), option, name, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == len(csm.world.backups_made) == 1
        assert [each.path.rpartition("/")[2] for each in csm.requests if is_trigger(each)] == [
            "27" if name == TASK else "SGC%20Payroll"]  # not the session of the task's name


def test_slow_clock_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong clock in the jail changes nothing: a backup that is listed late is not a new one."""
    monkeypatch.setattr(harness.QuickTime, "time", lambda self: time.time() - 10800, raising=False)
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(27).outcome = "no-backup"
        csm.world.session(TASK).backups = [Backup(int(time.time()) - 7200)]
        csm.mutate = lambda request, reply: dict(reply, backupInfo=[]) if (
            request.path.endswith("/sessions/" + TASK) and not csm.world.triggers) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and "without a new valid backup" in result.err
        assert len(csm.world.triggers) == 1


@pytest.mark.parametrize("waits", [["--no-wait"], []], ids=str)
def test_joined_run_is_told(waits: List[str]) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 1)
        csm.world.start_run(27)
        if waits:
            csm.world.session(TASK).lock.release()
        result = run_inside(*server_options(csm), "-t", TASK, *waits, "--timeout", "20")
        assert result.code == 0 and csm.world.triggers == csm.world.attempts[1:] == []
        assert "; a run that was joined, after " in result.out


def test_close_names_are_looked_for_only_where_a_name_is_not_there(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Among thousands of names that takes time, and each run would pay for it."""
    program = load_program()
    monkeypatch.setattr(program.difflib, "get_close_matches", lambda *_: pytest.fail("they were"))
    with SimulatedCsm(backup_seconds=0.01) as csm:
        for target in (["-t", TASK], ["-t", "SGC Payroll"], ["-t", TASK, "-S", TASK]):
            result = run_inside(*server_options(csm), *target, "--check", program=program)
            assert result.code == 0 and csm.world.attempts == []


def test_list_in_many_small_chunks() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        tasks = json.dumps([csm.world.show_task(each) for each in csm.world.tasks]).encode()
        parts = [tasks[at:at + 64] for at in range(0, len(tasks), 64)] + [b" " * 64] * 10000
        csm.garbage = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        csm.inject(2, "garbage")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and "trying again" not in result.err


@pytest.mark.parametrize("target", [("-t", TASK), ("-S", TASK)])
@pytest.mark.parametrize("status", [400, 405, 409])
def test_refusal_without_json(status: int, target: Tuple[str, str]) -> None:
    """As of the server that CSM runs in: that is an answer, and nothing was started."""
    page = b"<html>Error</html>"
    with SimulatedCsm() as csm:
        csm.garbage = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (
            status, len(page), page)
        csm.inject_when(is_trigger, "garbage", None)
        result = run_inside(*server_options(csm), *target, "--json", "--timeout", "20")
        assert result.code == 6 and result.json["started"] == "no" and str(status) in result.err
        assert len([each for each in csm.requests if is_trigger(each)]) == 1


def test_secrets_in_the_status_of_a_session() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: dict(
            reply, status="Normal " + PASSWORD, state=request.token) if (
                request.path.endswith("/sessions/" + TASK)) else reply
        for options in ((), ("--json",), ("--check",)):
            result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20", *options)
            assert result.code == 0 and PASSWORD not in result.text
            assert not [token for token in csm.world.tokens if token in result.text]


def test_secret_in_the_type_of_a_session() -> None:
    with SimulatedCsm() as csm:
        csm.mutate = lambda request, reply: dict(reply, rulesname="Metro " + PASSWORD) if (
            request.path.endswith("/sessions/" + TASK)) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 5 and "is of the type Metro ***" in result.err
        assert PASSWORD not in result.text and csm.world.attempts == []


def test_session_name_that_is_no_unicode() -> None:
    """JSON can hold half of a surrogate pair, which no URL can."""
    with SimulatedCsm() as csm:
        steps = {"actions": [{"step": 1, "sessionName": "A\ud800", "command": "Backup"}]}
        csm.mutate = lambda request, reply: json.dumps(each_task(reply, steps)).encode()
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "3")
        assert result.code == 5 and csm.world.attempts == []
        assert 'shows no session "A' in result.err


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
            if csm.world.triggers and is_look(request):
                the_task(reply if isinstance(reply, list) else [reply])["messages"].insert(-1, {
                    "baseDate": int(time.time() * 1000), "msg": "IWNR0003E",
                    "resultText": "IWNR0003E a step failed"})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and "IWNR0003E a step failed" in result.err
        assert csm.world.backups_made[0][1] in result.err  # and that the backup is there


def is_trigger(request: Request) -> bool:
    return request.method == "POST" and "tokens" not in request.path


def is_look(request: Request) -> bool:
    """At the tasks once more: this is how the program waits."""
    return request.method == "GET" and "/scheduledtasks" in request.path and request.n > 3


def the_task(reply: Any) -> Any:
    return next(each for each in reply if each["id"] == 27)


def hold_backup(csm: SimulatedCsm, looks: int, session: str = TASK) -> None:
    """The backup is taken only once the program has looked so often: no clock decides."""
    lock, left = csm.world.session(session).lock, list(range(looks))
    lock.acquire()

    def count(request: Request) -> None:
        if left and is_look(request):
            left.pop()
            if not left:
                lock.release()

    csm.on_request = count


# --- Where to, and what is not to be seen --------------------------------------------------------

@pytest.mark.parametrize("host", ["m\xfcnchen", "localho\u017ft", "\uff11\uff12\uff17.0.0.1"])
def test_host_name_that_would_be_rewritten(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests asks for "xn--..." or an ASCII spelling, for which no fingerprint is pinned."""
    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args: found("127.0.0.1", *args))
    with SimulatedCsm() as csm:
        result = run_inside("-s", "%s:%d" % (host, csm.port), "-u", "admin", "-p", PASSWORD, "-t",
                            TASK, "--fingerprint", "0" * 64, "--timeout", "2")
        assert csm.requests == [] and csm.tcp_connections == 0
        assert result.code == 2 and result.out == ""


@pytest.mark.parametrize("change", [
    lambda body: body[:len(body) // 2], lambda body: b"<pre>" + body + b"</pre>",
    lambda body: body + b",", lambda body: body.replace(b'"token"', b"token"),
    lambda body: body[len(b'{"token": '):-1],
], ids=["cut in half", "in HTML", "more behind it", "no quotes", "a string alone"])
def test_token_in_a_log_in_reply_that_is_no_object(change: Callable[[bytes], bytes]) -> None:
    tokens: List[str] = []
    with SimulatedCsm() as csm:
        def broken(request: Request, reply: Any) -> Any:
            if "tokens" not in request.path:
                return reply
            tokens.append(reply["token"])
            return change(b'{"token": "%s"}' % reply["token"].encode())

        csm.mutate = broken
        result = run_inside(*server_options(csm), "-t", TASK, "-v", "--timeout", "5")
        assert result.code == 4 and len(tokens) == 2 and csm.world.attempts == []
        for token in tokens:
            assert not [at for at in range(len(token) - 5) if token[at:at + 6] in result.text]


@pytest.mark.parametrize("echo", [PASSWORD, "s3cret+pass", "S3CRET%20PASS"])
def test_password_in_a_status_line(echo: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.garbage = b"HTTP/1.1 what: password=%s\r\n\r\n" % echo.encode()
        csm.inject(1, "garbage")
        result = run_inside(*server_options(csm), "-t", TASK, "-v", "--timeout", "20")
        assert result.code == 0 and csm.requests[0].fault == "garbage"
        assert echo not in result.text and "tokens got no answer: " in result.err


# --- When a run has ended, and how ---------------------------------------------------------------

@pytest.mark.parametrize("shown, seconds", [
    ("a step's", 1.6), ("of the run before", 0.4), ("that it has started", 1.6)])
def test_error_message_that_comes_after_the_end(shown: str, seconds: float) -> None:
    """`running` goes false, the backup is there, and only then the error message comes."""
    ended: List[float] = []
    with SimulatedCsm() as csm:
        task = csm.world.task(27)
        task.outcome = "error-after-backup"
        texts = {"a step's": "IWNR1026I The Backup command completed.",
                 "of the run before": task.messages[-1].text,
                 "that it has started": "IWNR2211I The scheduled task has started running."}

        def late(request: Request, reply: Any) -> Any:
            if csm.world.triggers and not task.running:
                ended.append(time.monotonic())
            if csm.world.triggers and (not ended or time.monotonic() < ended[0] + seconds):
                each_task(reply, {"lastmessage": texts[shown]})
            return reply

        csm.mutate = late
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20", grace=3)
        assert result.code == 7 and "IWNR0001E" in result.err
        assert csm.world.backups_made[0][1] in result.err
        assert len(csm.world.triggers) == 1


def test_backup_of_before_is_no_run_of_somebody_else() -> None:
    """CSM lists it only after the program has looked for the first time, and refuses to run."""
    with SimulatedCsm() as csm:
        old = csm.world.make_backup(csm.world.session(TASK))
        csm.world.backups_made.clear()
        csm.world.task(27).outcome = "refuse"
        before = csm.world.session(TASK).backups[1:]

        def late(request: Request, reply: Any) -> Any:
            csm.world.session(TASK).backups = before if not csm.world.attempts else [old] + before
            return reply

        csm.world.session(TASK).backups = before
        csm.mutate = late
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 6 and result.json["started"] == "no"


def test_session_backup_with_an_error_and_a_backup() -> None:
    error = {"msg": "IWNR9700E", "msgTranslated": "IWNR9700E It has failed."}
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: error if is_trigger(request) else reply
        result = run_inside(*server_options(csm), "-S", TASK, "--json", "--timeout", "20")
        assert result.code == 7 and result.json["started"] == "yes" and result.out
        assert error["msgTranslated"] in result.err and len(csm.world.attempts) == 1
        assert "yet it ran" in result.err and "nothing was started" not in result.err
        assert csm.world.backups_made[0][1] in result.err


def test_trigger_that_this_user_may_not_send() -> None:
    """A new token does not help: that is a refusal, and no reason to go on for half an hour."""
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "401", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 6 and result.json["started"] == "no" and "IWNR0010E" in result.err
        assert len([each for each in csm.requests if is_trigger(each)]) == 2


def test_message_of_an_earlier_run_is_not_told() -> None:
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "reset-before", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "2",
                            "--request-timeout", "0.3")
        assert result.code == 8 and result.json["csm_id"] == result.json["csm_text"] == ""
        assert "IWNR2212I" not in result.text


def test_approval_that_does_not_come_is_told() -> None:
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome = "ignored"
        csm.mutate = lambda request, reply: each_task(
            reply, {"pendingApproval": True} if csm.world.triggers else {})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "2")
        assert result.code == 8 and "task approval" in result.err.splitlines()[-1]


def test_session_with_an_error_that_it_had_before() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: dict(reply, haserror=True) if (
            request.path.endswith("/sessions/" + TASK)) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("late", [0, 1, 99])
def test_joined_run_whose_start_is_told_at_its_end(late: int) -> None:
    """Or `late` looks after it, or never. Measured by the start of the run before, hours ago, the
    backup of that one would count."""
    left = list(range(late))
    with SimulatedCsm(backup_seconds=0.01) as csm:
        task, before = csm.world.task(27), csm.world.task(27).lastRan
        task.outcome = "no-backup"
        hold_backup(csm, 2)

        def stale(request: Request, reply: Any) -> Any:
            if task.running or is_look(request) and left and left.pop() >= 0:
                return each_task(reply, {"lastRan": before * 1000})
            return reply

        csm.mutate = stale
        csm.world.start_run(27)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and result.out == ""
        assert csm.world.attempts == csm.world.backups_made == []


def test_joined_run_whose_backup_was_there_before() -> None:
    """That of its first session; the other one's is still to come."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(27).steps = [(TASK, "Backup"), ("SGC Payroll", "Backup")]
        hold_backup(csm, 2, "SGC Payroll")
        csm.world.start_run(27)
        while not csm.world.backups_made:
            time.sleep(0.01)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 0 and csm.world.attempts == []
        assert csm.world.backups_made == [(each["name"], each["backup"]["id"])
                                          for each in result.json["sessions"]]


def test_joined_run_whose_start_is_by_a_faster_clock() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 2)
        csm.world.start_run(27)
        start = csm.world.task(27).lastRan
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": (start + 5) * 1000})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out


def test_lost_trigger_whose_run_shows_a_message_and_a_backup_alone() -> None:
    """And no lastRan: that is trace enough, and no second run is started."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": None, "running": False})
        csm.inject_when(is_trigger, "500-after")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        assert result.code == 0 and len(csm.world.triggers) == len(csm.world.backups_made) == 1


@pytest.mark.parametrize("always", [False, True])
def test_tokens_that_are_lost_again_and_again(always: bool) -> None:
    """As where a server lets each user have one, and two programs run: 401 is no refusal."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        lost = [2, 4, 6]  # each time it logs in in between
        csm.inject_when(lambda request: request.method == "GET" and (
            always or request.n in lost), "401", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == (6 if always else 0)
        assert len(csm.world.triggers) == len(csm.world.backups_made) == (0 if always else 1)
        assert not always or "nothing was started" in result.err


# --- Started once, whoever it was ----------------------------------------------------------------

def test_refused_since_somebody_else_was_faster() -> None:
    """And that run does not show at once."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        world, refused = csm.world, []  # type: Any, List[float]
        before = [world.show_task(world.task(27))]
        hold_backup(csm, 3)

        def hide(request: Request, reply: Any) -> Any:
            if is_look(request):
                return before if time.monotonic() < refused[0] + 0.05 else reply
            if request.path.endswith(TASK) and not world.task(27).running and not world.attempts:
                world.start_run(27)
            if is_trigger(request):
                refused.append(time.monotonic())
            return reply

        csm.mutate = hide
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20", speed=4)
        assert result.code == 0 and world.triggers == [] and len(world.attempts) == 1
        assert len(world.backups_made) == 1 and world.backups_made[0][1] in result.out


def test_denied_since_somebody_else_was_faster() -> None:
    """Whether HTTP 403 is how CSM says so is not known."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        hold_backup(csm, 3)
        count = csm.on_request

        def start(request: Request) -> None:
            if request.path.endswith("/sessions/" + TASK):
                csm.on_request = count
                csm.world.start_run(27)

        csm.on_request = start
        csm.inject_when(is_trigger, "403", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.triggers == []
        assert len(csm.world.backups_made) == 1 and csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("kind", ["garbage", "garbage-after"])
def test_trigger_answered_with_the_words_of_a_tls_error(kind: str) -> None:
    """Such an error tells that nothing was sent; words that the server sends do not."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.garbage = b"certificate verify failed: doesn't match\r\n\r\n"
        csm.inject_when(is_trigger, kind)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        assert result.code == 0 and len(csm.world.backups_made) == 1
        sent = [at for at, request in enumerate(csm.requests) if is_trigger(request)]
        assert len(sent) == (2 if kind == "garbage" else 1)
        between = [request.method for request in csm.requests[sent[0]:sent[-1]]]
        assert kind == "garbage-after" or "GET" in between


@pytest.mark.parametrize("times, why", [(None, "answered 503"), (1, "IWNR0009E .* was refused")])
@pytest.mark.parametrize("target", ["-t", "-S"])
def test_why_it_is_not_known_whether_it_runs(target: str, times: Optional[int], why: str) -> None:
    """The first trigger got no clear answer; what the last one got is told."""
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome, csm.world.session(TASK).outcome = "refuse", "error"
        csm.inject_when(is_trigger, "503", times)
        result = run_inside(*server_options(csm), target, TASK, "-q", "--timeout", "2",
                            "--request-timeout", "0.4")
        assert result.code == 8 and csm.world.triggers == []
        assert re.search("the deadline has passed: .* POST .* %s" % why, result.err)


def test_state_is_shown_while_it_is_open_whether_it_runs() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        lines = [line.split(" ", 2)[2] for line in result.err.splitlines()]
        at = [text.startswith("WARNING") for text in lines].index(True)
        assert "looking whether there is a run" in lines[at]
        assert lines[at + 1].startswith('INFO session "%s"' % TASK)
        assert lines[at + 2].startswith("INFO started: ") and result.code == 0


def test_second_trigger_refused_by_the_run_of_the_first() -> None:
    """The first one got no answer, and its run shows only after the second one was refused."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        world, looks = csm.world, []  # type: Any, List[str]
        before, session = [world.show_task(world.task(27))], world.session(TASK)

        def hide(request: Request, reply: Any) -> Any:
            if not is_look(request):
                return reply
            looks.extend([request.path] * (len(world.attempts) == 2))
            if len(looks) == 6:
                session.lock.release()  # now the backup is taken
            return before if len(looks) < 6 else reply

        session.lock.acquire()
        csm.mutate = hide
        csm.inject_when(is_trigger, "reset-after")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        assert result.code == 0 and len(world.triggers) == 1 and len(world.attempts) == 2
        assert len(world.backups_made) == 1 and world.backups_made[0][1] in result.out


def test_second_session_backup_refused_and_the_first_there() -> None:
    """The first one got no answer: the backup may well be its own."""
    error = {"msg": "IWNR9700E", "msgTranslated": "IWNR9700E Another Backup is under way."}
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        csm.mutate = lambda request, reply: error if is_trigger(request) else reply
        result = run_inside(*server_options(csm), "-S", TASK, "--timeout", "20",
                            "--request-timeout", "0.3")
        assert result.code == 0 and csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("where", ["task list", "trigger"])
def test_not_found_in_html_while_csm_starts(where: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger if where == "trigger" else
                        lambda request: request.path.endswith("scheduledtasks"), "404")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        assert "404" in [request.fault for request in csm.requests]
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1


@pytest.mark.parametrize("active", [0, 1])
@pytest.mark.parametrize("single", [404, 405])
def test_pair_that_shows_no_single_task(active: int, single: int) -> None:
    """The list is asked of the active one, whichever comes first: not of the standby alone."""
    with SimulatedCsm(backup_seconds=0.2, messages="array", single_task=single,
                      active=active == 0) as first:
        with SimulatedCsm(first.world, active=active == 1) as second:
            result = run_inside(*server_options(first, second), "-t", TASK, "--timeout", "9")
        assert result.code == 0 and len(first.world.triggers) == 1
        assert first.world.backups_made[0][1] in result.out


def test_pair_where_this_user_may_not_run_it() -> None:
    with SimulatedCsm() as first, SimulatedCsm(first.world, active=False) as second:
        first.inject_when(is_trigger, "403", None)
        result = run_inside(*server_options(first, second), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 6 and result.json["started"] == "no" and result.seconds < 10
        assert "403" in result.err and first.world.attempts == []


def test_task_that_is_listed_twice() -> None:
    """With one id: that is one task."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.mutate = lambda request, reply: 2 * reply if isinstance(reply, list) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_certificate_that_cannot_be_shown_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "get_server_certificate", lambda *_: time.sleep(30))
    with SimulatedCsm() as csm:
        result = run_inside("-s", "127.0.0.1:%d" % csm.port, "-u", "admin", "-p", PASSWORD, "-t",
                            TASK, "--timeout", "1")
        assert result.code == 3 and result.seconds < 4 and csm.requests == []
        assert "certificate, to be confirmed: could not be read" in result.err


def test_session_whose_name_is_that_of_the_list() -> None:
    """CSM shows the list there: nothing is known of such a session, and nothing is started."""
    with SimulatedCsm() as csm:
        csm.world.session(TASK).name = "short"
        result = run_inside(*server_options(csm), "-S", "short", "--json", "--timeout", "3")
        assert result.code == 3 and result.json["started"] == "no"
        assert csm.world.attempts == []


@pytest.mark.parametrize("kind", ["500", "html", "empty", "silent-before", "reset-before"])
@pytest.mark.parametrize("servers, option", [(2, "--json"), (1, "--check")])
def test_role_that_cannot_be_read(servers: int, option: str, kind: str) -> None:
    """That is no reason to take no backup, nor to say that none could be taken: only a server that
    says that it is the standby is one."""
    with SimulatedCsm(backup_seconds=0.02) as first, SimulatedCsm(first.world, active=False
                                                                  ) as second:
        for server in (first, second):
            server.inject_when(lambda request: request.path.endswith("/system/ha"), kind, None)
        result = run_inside(*server_options(*[first, second][:servers]), "-t", TASK, option,
                            "--request-timeout", "0.3", "--timeout", "9")
        assert result.code == 0, result.err
        assert len(first.world.triggers) == len(first.world.backups_made) == servers - 1
        assert any(each.path.endswith("/system/ha") for each in first.requests)


# --- What an audit found --------------------------------------------------------------------------

@pytest.mark.parametrize("running", [False, True])
def test_pair_that_refuses_and_whose_other_server_is_down(running: bool) -> None:
    """It is not sent again and again, until the deadline or until it starts a second run."""
    with SimulatedCsm(backup_seconds=0.01) as first, SimulatedCsm(first.world) as second:
        second.die()
        hold_backup(first, 4)
        if not running:
            first.world.task(27).outcome = "refuse"
        count = first.on_request

        def start(request: Request) -> None:
            count(request) if count else None
            if running and request.path.endswith("/sessions/" + TASK) and not first.world.attempts:
                first.world.start_run(27)

        first.on_request = start
        result = run_inside(*server_options(first, second), "-t", TASK, "--timeout", "20")
        assert result.code == (0 if running else 6) and first.world.triggers == []
        assert sum(map(is_trigger, first.requests)) == 1


def test_task_that_is_not_listed_any_more() -> None:
    """How its run ended is not known, though there is a backup: its old state proves nothing."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: [] if (
            csm.world.triggers and request.path.endswith("/scheduledtasks")) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "3")
        assert result.code == 8 and len(csm.world.triggers) == 1


@pytest.mark.parametrize("target", ["-t", "-S"])
def test_old_backup_listed_late_by_a_server_without_date(target: str) -> None:
    with SimulatedCsm() as csm:
        csm.date = ""
        csm.world.task(27).outcome = csm.world.session(TASK).outcome = "no-backup"
        csm.mutate = lambda request, reply: dict(reply, backupInfo=[]) if (
            "backupInfo" in reply and not csm.world.triggers) else reply
        result = run_inside(*server_options(csm), target, TASK, "--timeout", "20")
        assert result.code == 7 and csm.world.backups_made == []


def test_blanks_around_a_fingerprint() -> None:
    with SimulatedCsm(backup_seconds=0.01) as first, SimulatedCsm(first.world) as second:
        second.die()
        options = server_options(first, second)
        options[-1] = " %s, %s " % (first.fingerprint.upper(), second.fingerprint)
        result = run_inside(*options, "-t", TASK, "--timeout", "20")
        assert result.code == 2  # a blank behind it is none of the forms
        options[-1] = options[-1].rstrip()
        result = run_inside(*options, "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(first.world.triggers) == 1


@pytest.mark.parametrize("password", ["s3cret ", " s3cret", "s3\tcret"])
def test_password_with_blanks_that_is_echoed(password: str) -> None:
    with SimulatedCsm(password=password) as csm:
        csm.world.task(27).outcome = "refuse"
        csm.mutate = lambda request, reply: dict(
            reply, msgTranslated="IWNR0009E no: " + password) if is_trigger(request) else reply
        options = server_options(csm)
        options[options.index("-p") + 1] = password
        result = run_inside(*options, "-t", TASK, "--json", "-v", "--timeout", "5")
        assert result.code == 6 and re.search(r"IWNR0009E no: +\*\*\*;", result.err)
        assert "cret" not in result.text


def test_log_in_refused_at_the_trigger() -> None:
    """No look follows that would need more of them: that could lock the user."""
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger, "401")
        csm.inject_when(lambda request: "tokens" in request.path and request.n > 1, "403", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "20")
        assert result.code == 4 and result.json["started"] == "no"
        assert sum("tokens" in each.path for each in csm.requests) == 2


def test_password_that_is_no_utf_8() -> None:
    """It is not sent as another one: that could lock the user."""
    with SimulatedCsm() as csm:
        options = server_options(csm)
        options[options.index("-p") + 1] = "p\udce9ss"
        result = run_inside(*options, "-t", TASK)
        assert result.code == 2 and csm.requests == []


def test_task_id_that_looks_like_a_time() -> None:
    """As milliseconds it would be another task."""
    with SimulatedCsm() as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"id": 123456789012})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "3")
        assert result.code == 3 and not any(map(is_trigger, csm.requests))


def test_no_file_of_cas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a jail: that is no fault of the network."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", "/nowhere/cacert.pem")
    with SimulatedCsm() as csm:
        result = run_inside("-s", "127.0.0.1:%d" % csm.port, "-u", "admin", "-p", PASSWORD, "-t",
                            TASK, "--timeout", "2")
        assert result.code == 3 and "invalid path: /nowhere/cacert.pem" in result.err
        assert csm.requests == []


# --- Seen by a cold reader -----------------------------------------------------------------------

def test_error_that_is_shown_only_while_it_runs() -> None:
    """From 6.3.2 on there is just the last message: an error that a later one replaces was one."""
    with SimulatedCsm() as csm:
        hold_backup(csm, 3)
        seen: List[str] = []

        def change(request: Request, reply: Any) -> Any:
            if is_look(request) and the_task(reply)["running"] and not seen:
                seen.append("IWNR0003E a step failed")
                each_task(reply, {"lastmessage": seen[0]})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert seen and result.code == 7 and seen[0] in result.err
        assert csm.world.backups_made[0][1] in result.err


def test_error_of_a_run_before_the_one_that_is_joined() -> None:
    """What was told before the run was joined may be of a run before: no error of this one."""
    with SimulatedCsm(messages="array") as csm:
        hold_backup(csm, 2)
        csm.world.start_run(27)
        began = csm.world.task(27).lastRan
        assert began is not None

        def change(request: Request, reply: Any) -> Any:
            for task in reply if isinstance(reply, list) else [reply]:
                if isinstance(task, dict) and task.get("messages"):
                    task["messages"].insert(-1, {
                        "baseDate": int((began - 1) * 1000), "msg": "IWNR0003E",
                        "resultText": "IWNR0003E a step failed"})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and "IWNR0003E" not in result.out
        assert csm.world.attempts == [] and len(csm.world.backups_made) == 1


def test_why_a_server_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the resolver, of the comparison of fingerprints, and of TLS."""
    options = ["-u", "admin", "-p", PASSWORD, "-t", TASK, "--timeout", "2"]
    with SimulatedCsm() as csm:
        server = ["-s", "%s:%d" % (csm.host, csm.port)]
        result = run_inside(*server, *options, "--fingerprint", "0" * 64)
        assert result.code == 3 and re.search(
            r"\(Fingerprints did not match\); SHA-256 ", result.err)
        result = run_inside(*server, *options)
        assert result.code == 3 and re.search(
            r"\(certificate verify failed[^()]*\); SHA-256 .*: [0-9A-F:]{95};", result.err)
        assert csm.requests == []
    with socket.create_server(("127.0.0.1", 0)) as plain:
        def answer() -> None:
            with contextlib.suppress(OSError):  # it is closed at the end
                while True:
                    connection, _ = plain.accept()
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        result = run_inside("-s", "127.0.0.1:%d" % plain.getsockname()[1], *options, "--insecure")
        assert result.code == 3 and re.search(r"got no answer: \[SSL: [A-Z_]{8,}\]", result.err)

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as open_:
        for _ in range(4):  # its queue is full: nobody is let in, and nobody told
            waiting = open_.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        result = run_inside("-s", "127.0.0.1:%d" % full.getsockname()[1], *options,
                            "--request-timeout", "0.3")
        assert result.code == 3 and re.search(r"no answer: (TimeoutError|timeout);", result.err)

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = run_inside("-s", "csm.example.com", *options)
    assert result.code == 3 and "tokens got no answer: " in result.err
    assert "Name or service not known" in result.err


@pytest.mark.parametrize("status", [102, 103])
def test_interim_answer_to_the_log_in(status: int) -> None:
    """Whatever it is, it is no refusal."""
    with SimulatedCsm() as csm:
        csm.interim = lambda request: status if "tokens" in request.path else 0
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 3 and csm.world.attempts == []


def test_known_backup_in_a_list_that_cannot_be_read_as_a_whole() -> None:
    """The storage's clock is ahead by ten minutes, and one entry tells neither id nor time."""
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome = "no-backup"
        csm.world.session(TASK).backups[0].id = int(time.time()) + 570
        csm.mutate = lambda request, reply: json.loads(json.dumps(reply).replace(
            '"BackupResults": [', '"BackupResults": [{"valid": true}, '))
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and len(csm.world.triggers) == 1


@pytest.mark.parametrize("seconds", [120, 3500])
@pytest.mark.parametrize("target", [["-t", TASK], ["-S", TASK]], ids=" ".join)
def test_backup_of_before_that_is_listed_after_the_run(target: List[str], seconds: int) -> None:
    """And the run itself makes none, though it says that all went well."""
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome = csm.world.session(TASK).outcome = "no-backup"
        late = {"backupID": str(int(time.time()) - seconds), "valid": True, "numCopySets": "8"}

        def change(request: Request, reply: Any) -> Any:
            if csm.world.triggers and isinstance(reply, dict) and "backupInfo" in reply:
                reply["backupInfo"].append({"BackupResults": [late]})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), *target, "--timeout", "20")
        assert result.code == 7 and len(csm.world.triggers) == 1
        assert csm.world.backups_made == [] and "no new backup" in result.err


@pytest.mark.parametrize("odd", [None, 7, {"BackupResults": 7}, {"BackupResults": [None, "x"]}],
                         ids=str)
def test_odd_entries_among_the_backups(odd: Any) -> None:
    """They do not hide the good ones."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: dict(reply, backupInfo=[odd] + reply["backupInfo"] + [
            odd]) if request.path.endswith("/sessions/" + TASK) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_run_joined_after_a_refusal_that_makes_no_backup() -> None:
    """And never tells its start, so that the one of a run 20 minutes ago is still shown: the backup
    of that one is not taken for its own, since the task did not run when it was noted."""
    before = int(time.time()) - 1200
    with SimulatedCsm(backup_seconds=0.01) as csm:
        task = csm.world.task(27)
        task.outcome, csm.world.session(TASK).backups = "no-backup", [Backup(before + 10)]
        hold_backup(csm, 3)
        count = csm.on_request
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": before * 1000})

        def start(request: Request) -> None:
            if request.path.endswith("/sessions/" + TASK):
                csm.on_request = count
                csm.world.start_run(27)

        csm.on_request = start
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and result.out == ""
        assert "looking whether there is a run all the same" in result.err
        assert csm.world.triggers == csm.world.backups_made == []


@pytest.mark.parametrize("target", [["-t", TASK], ["-S", TASK]], ids=" ".join)
@pytest.mark.parametrize("option", ["--json", "--no-wait"])
@pytest.mark.parametrize("outcome, code, attempts", [("good", 0, 1), ("refuse", 8, 2)])
def test_warning_in_answer_to_the_trigger(target: List[str], option: str, outcome: str, code: int,
                                          attempts: int) -> None:
    """Whether that is a yes is not known: the state tells."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(27).outcome = outcome
        csm.world.session(TASK).outcome = "error" if outcome == "refuse" else "good"
        csm.mutate = lambda request, reply: {"msg": "IWNR9777W"} if is_trigger(request) else reply
        result = run_inside(*server_options(csm), *target, option, "--request-timeout", "0.4",
                            "--timeout", "2")
        assert result.code == code and len(csm.world.attempts) == attempts
        assert code == 0 or "it is not known whether it was started" in result.err


def test_severe_before_a_lost_trigger_is_sent_again() -> None:
    """It may be the attack that turns it Severe: no reason to take no backup, nor to say that a
    run has failed."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.inject_when(is_trigger, "reset-before")
        csm.mutate = lambda request, reply: dict(reply, status="Severe") if (
            csm.world.attempts == [] and request.n > 4 and "status" in reply) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--request-timeout", "0.3",
                            "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1


def test_date_that_no_clock_can_show() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.date = "Mon, 01 Jan 99999999999 00:00:00 GMT"
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1


def test_single_task_that_is_shown_without_its_message() -> None:
    """The list has it: how the run ended is known."""
    with SimulatedCsm(backup_seconds=0.01, messages="array") as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"messages": None}) if (
            isinstance(reply, dict) and "messages" in reply) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_single_task_that_is_shown_with_all_its_messages() -> None:
    """From 6.3.2 on the list has the last one only: an error of long ago is none of this run."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        def with_history(request: Request, reply: Any) -> Any:
            if isinstance(reply, dict) and "lastmessage" in reply:
                reply["messages"] = [
                    {"baseDate": 0, "msg": each[:9], "resultText": each}
                    for each in ("IWNR0003E a step failed", reply.pop("lastmessage"))]
            return reply

        csm.mutate = with_history
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert csm.world.backups_made[0][1] in result.out


def test_approval_that_is_asked_for_after_the_trigger() -> None:
    """That run has neither begun nor ended."""
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome = "ignored"
        waits = {"pendingApproval": True, "lastmessage": "IWNR9999I waits"}
        csm.mutate = lambda request, reply: each_task(reply, waits if csm.world.triggers else {})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "3")
        assert result.code == 8 and "task approval" in result.err.splitlines()[-1]


def test_answer_to_a_read_is_not_what_csm_says_of_the_run() -> None:
    with SimulatedCsm(messages="array") as csm:
        csm.inject_when(lambda request: request.n > 4, "html", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "--timeout", "1")
        assert result.code == 8 and result.json["csm_id"] == "IWNR2211I"


@pytest.mark.parametrize("echo", ["s3cret\0 pass", "s3\x1bcret pass", "s3cret\r\n pass"])
def test_secret_with_control_characters_in_it(echo: str) -> None:
    """They are not shown, and then the secret would be."""
    with SimulatedCsm() as csm:
        csm.world.task(27).outcome = "refuse"
        csm.mutate = lambda request, reply: dict(
            reply, msgTranslated="IWNR0009E no: " + echo) if is_trigger(request) else reply
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "-v", "--timeout", "5")
        assert result.code == 6 and "IWNR0009E no: ***" in result.err
        assert PASSWORD not in result.text and "\\u00" not in result.out


# --- What else is on the server, or on this host -------------------------------------------------

ODD_TASKS = [{"id": 98}, {"id": None, "name": "SGC odd"}, "SGC odd", None, {
    "id": 99, "name": "SGC odd", "actions": [{"step": 1, "command": "Backup"}]}]
ODD_SESSIONS = [{"rulesname": "Safeguarded Copy"}, {"name": None}, "SGC odd", None]


def run_with_odd_entries(path: str, odd: List[Any], *named: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            odd + reply + odd if request.path.endswith(path) else reply)
        result = run_inside(*server_options(csm), *named, "--timeout", "2")
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1 and csm.world.backups_made[0][1] in result.out


@pytest.mark.parametrize("odd", ODD_TASKS, ids=str)
@pytest.mark.parametrize("named", [["-t", TASK], ["-t", TASK, "-S", TASK]], ids=" ".join)
def test_odd_entry_among_the_tasks(named: List[str], odd: Any) -> None:
    run_with_odd_entries("/sessions/scheduledtasks", [odd], *named)


@pytest.mark.parametrize("named", [
    ["-t", TASK], ["-S", TASK], ["-t", "SGC Payroll"]], ids=" ".join)
def test_odd_entries_among_the_sessions(named: List[str]) -> None:
    run_with_odd_entries("/sessions/short", ODD_SESSIONS, *named)


@pytest.mark.parametrize("triggers, more", [
    (1, ["--timeout", "2", "--request-timeout", "6"]), (0, ["--check"])], ids=["run", "check"])
def test_lock_that_somebody_else_holds(tmp_path: pathlib.Path, triggers: int, more: List[str]
                                       ) -> None:
    """Waiting for it must leave the time for a backup; --check, which triggers none, does not."""
    with SimulatedCsm() as csm, open(tmp_path / "program", "wb") as held:
        program = load_program()
        program.__file__ = held.name
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run_inside(*server_options(csm), "-t", TASK, "--min-interval", "60", *more,
                            program=program)
        assert result.code == 0 and len(csm.world.triggers) == triggers and result.seconds < 5


def test_ten_runs_at_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server shows only after a while that it runs: whoever comes then must wait."""
    monkeypatch.setattr(harness, "PROGRAM", shutil.copy(PROGRAM, tmp_path / "program.py"))
    with SimulatedCsm(backup_seconds=0.6) as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"running": False} if (
            csm.world.triggers and time.time() < csm.world.triggers[0][2] + 0.4) else {})
        options = server_options(csm) + ["-t", TASK, "--min-interval", "60"]
        runs = [start_program(*options) for _ in range(10)]
        told = [run.communicate(timeout=60)[0].split(b":")[0] for run in runs]
        assert len(csm.world.attempts) == 1
        assert [run.returncode for run in runs] == [0] * 10
        assert set(told) <= {b"verified", b"skipped"} and b"verified" in told
