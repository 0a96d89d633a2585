"""Corners in which the program once was wrong, or easily would be."""
import fcntl
import pathlib
import shutil
import time
from typing import Any, Callable, Dict, List

import harness
import pytest
from conftest import PROGRAM, load_program
from harness import PASSWORD, run_inside, server_options, start_program
from simulated_csm import Request, SimulatedCsm

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


def is_trigger(request: Request) -> bool:
    return request.method == "POST" and "tokens" not in request.path


# --- Where to, and what is not to be seen --------------------------------------------------------

@pytest.mark.parametrize("host", ["\uff11\uff12\uff17.0.0.1", "localho\u017ft", "m\xfcnchen"])
def test_host_name_that_would_be_rewritten(host: str) -> None:
    """The first two become 127.0.0.1 and localhost on the way: the pin is not asked for there."""
    with SimulatedCsm() as csm:
        result = run_inside("-s", "%s:%d" % (host, csm.port), "-u", "admin", "-p", PASSWORD, "-t",
                            TASK, "--fingerprint", "0" * 64, "--timeout", "2")
        assert result.code == 2 and result.out == ""
        assert csm.tcp_connections == 0


@pytest.mark.parametrize("change", [
    lambda body: body[:-15], lambda body: b"<pre>" + body + b"</pre>", lambda body: body + b",",
    lambda body: body.replace(b'"token"', b"token"),
], ids=["cut in half", "in HTML", "more behind it", "no quotes"])
def test_token_in_a_log_in_reply_that_is_no_json(change: Callable[[bytes], bytes]) -> None:
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
    with SimulatedCsm() as csm:
        csm.garbage = b"HTTP/1.1 what: password=%s\r\n\r\n" % echo.encode()
        csm.inject(1, "garbage")
        result = run_inside(*server_options(csm), "-t", TASK, "-v", "--timeout", "20")
        assert result.code == 0 and csm.requests[0].fault == "garbage"
        assert echo not in result.text and "***" in result.err


# --- When a run has ended, and how ---------------------------------------------------------------

@pytest.mark.parametrize("shown", ["a step's", "of the run before"])
def test_error_message_that_comes_after_the_end(shown: str) -> None:
    """`running` goes false, the backup is there, and only then the error message comes."""
    ended: List[float] = []
    with SimulatedCsm() as csm:
        task = csm.world.task(27)
        task.outcome = "error-after-backup"
        texts = {"a step's": "IWNR1026I The Backup command completed.",
                 "of the run before": task.messages[-1].text}

        def late(request: Request, reply: Any) -> Any:
            if csm.world.triggers and not task.running:
                ended.append(time.monotonic())
            if csm.world.triggers and (not ended or time.monotonic() < ended[0] + 0.4):
                each_task(reply, {"lastmessage": texts[shown]})
            return reply

        csm.mutate = late
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20", grace=3)
        assert result.code == 7 and "IWNR0001E" in result.err
        assert csm.world.backups_made[0][1] in result.err
        assert len(csm.world.triggers) == 1


def test_joined_run_whose_start_is_told_at_its_end() -> None:
    """Measured by the start of the run before, the backup of that one would count."""
    with SimulatedCsm(backup_seconds=0.4) as csm:
        task, before = csm.world.task(27), csm.world.task(27).lastRan
        task.outcome = "no-backup"
        csm.mutate = lambda request, reply: each_task(
            reply, {"lastRan": before * 1000} if task.running else {})
        csm.world.start_run(27)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 7 and result.out == ""
        assert csm.world.attempts == csm.world.backups_made == []


def test_joined_run_whose_backup_was_there_before() -> None:
    with SimulatedCsm(backup_seconds=0, step_seconds=0.4) as csm:
        csm.world.task(27).steps = [(TASK, "Backup"), ("ITSO_MGM_ACA91", "Start H1->H2->H3")]
        csm.world.start_run(27)
        while not csm.world.backups_made:
            time.sleep(0.01)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out and len(csm.world.backups_made) == 1


def test_joined_run_whose_start_is_by_a_faster_clock() -> None:
    with SimulatedCsm(backup_seconds=0.4) as csm:
        csm.world.start_run(27)
        start = csm.world.task(27).lastRan
        csm.mutate = lambda request, reply: each_task(reply, {"lastRan": (start + 5) * 1000})
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and csm.world.attempts == []
        assert csm.world.backups_made[0][1] in result.out


# --- Started once, whoever it was ----------------------------------------------------------------

def test_refused_since_somebody_else_was_faster() -> None:
    """And that run does not show at once."""
    with SimulatedCsm(backup_seconds=0.4) as csm:
        world, looks = csm.world, []  # type: Any, List[str]
        before = world.show_task(world.task(27))

        def hide(request: Request, reply: Any) -> Any:
            if "scheduledtasks" in request.path and world.attempts and not is_trigger(request):
                looks.append(request.path)
                return before if len(looks) == 1 else reply
            if request.path.endswith(TASK) and not world.task(27).running and not world.attempts:
                world.start_run(27)
            return reply

        csm.mutate = hide
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20")
        assert result.code == 0 and world.triggers == [] and len(world.attempts) == 1
        assert len(world.backups_made) == 1 and world.backups_made[0][1] in result.out


@pytest.mark.parametrize("kind", ["garbage", "garbage-after"])
def test_trigger_answered_with_the_words_of_a_tls_error(kind: str) -> None:
    """Such an error tells that nothing was sent; words that the server sends do not."""
    with SimulatedCsm() as csm:
        csm.garbage = b"certificate verify failed: doesn't match\r\n\r\n"
        csm.inject_when(is_trigger, kind)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "1")
        assert result.code == 0 and len(csm.world.backups_made) == 1
        sent = [at for at, request in enumerate(csm.requests) if is_trigger(request)]
        assert len(sent) == (2 if kind == "garbage" else 1)
        assert "GET" in [request.method for request in csm.requests[sent[0]:sent[-1]]] or (
            len(sent) == 1)


def test_second_trigger_refused_by_the_run_of_the_first() -> None:
    """The first one got no answer, and its run shows only after the second one was refused."""
    with SimulatedCsm() as csm:
        world, looks = csm.world, []  # type: Any, List[str]
        before, session = world.show_task(world.task(27)), world.session(TASK)

        def hide(request: Request, reply: Any) -> Any:
            if "scheduledtasks/" not in request.path or is_trigger(request):
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


@pytest.mark.parametrize("where", ["task list", "trigger"])
def test_not_found_in_html_while_csm_starts(where: str) -> None:
    with SimulatedCsm() as csm:
        csm.inject_when(is_trigger if where == "trigger" else
                        lambda request: request.path.endswith("scheduledtasks"), "404")
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "20",
                            "--request-timeout", "0.5")
        assert "404" in [request.fault for request in csm.requests]
        assert result.code == 0 and len(csm.world.triggers) == 1
        assert len(csm.world.backups_made) == 1


def test_takeover_that_leaves_the_old_server_answering() -> None:
    """It shows for ever what it knew last; only /system/ha tells that it is no longer active."""
    with SimulatedCsm(backup_seconds=0.4) as first, SimulatedCsm(first.world, active=False
                                                                 ) as second:
        known: Dict[str, Any] = {}

        def demote(request: Request) -> None:
            if is_trigger(request):
                first.active, second.active = False, True

        def stale(request: Request, reply: Any) -> Any:
            if first.active or "/sessions/" not in request.path or is_trigger(request):
                return reply
            return known.setdefault(request.path, reply)

        first.on_request, first.mutate = demote, stale
        program = load_program()
        program.RECHECK = 0.3
        result = run_inside(*server_options(first, second), "-t", TASK, "--timeout", "5",
                            "--json", program=program)
        assert result.code == 0 and len(first.world.attempts) == 1
        assert result.json["server"] == "%s:%d" % (second.host, second.port)
        assert result.json["sessions"][0]["backup"]["id"] == first.world.backups_made[0][1]


# --- What else is on the server, or on this host -------------------------------------------------

ODD_TASKS = [{"id": 98}, {"id": None, "name": "SGC odd"}, "SGC odd", None, {
    "id": 99, "name": "SGC odd", "actions": [{"step": 1, "command": "Backup"}]}]
ODD_SESSIONS = [{"rulesname": "Safeguarded Copy"}, {"name": None}, "SGC odd", None]


@pytest.mark.parametrize("named", [["-t", TASK], ["-S", "SGC Payroll"], ["-t", "SGC Payroll"],
                                   ["-t", TASK, "-S", TASK]], ids=" ".join)
@pytest.mark.parametrize("odd", ODD_TASKS + ODD_SESSIONS, ids=str)
def test_odd_entry_among_others(odd: Any, named: List[str]) -> None:
    path = "/sessions/short" if odd in ODD_SESSIONS else "/scheduledtasks"
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            [odd] + reply + [odd] if request.path.endswith(path) else reply)
        result = run_inside(*server_options(csm), *named, "--timeout", "5")
        assert result.code == 0 and len(csm.world.triggers) == 1


def test_lock_that_somebody_else_holds(tmp_path: pathlib.Path) -> None:
    """Waiting for it must leave the time for a backup."""
    with SimulatedCsm() as csm, open(tmp_path / "program", "wb") as held:
        program = load_program()
        program.__file__ = held.name
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run_inside(*server_options(csm), "-t", TASK, "--min-interval", "60", "--timeout",
                            "4", "--request-timeout", "6", program=program)
        assert result.code == 0 and len(csm.world.triggers) == 1


def test_ten_runs_at_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server shows only after a while that it runs: whoever comes then must wait."""
    monkeypatch.setattr(harness, "PROGRAM", shutil.copy(PROGRAM, tmp_path / "program.py"))
    with SimulatedCsm(backup_seconds=0.6) as csm:
        csm.mutate = lambda request, reply: each_task(reply, {"running": False} if (
            csm.world.triggers and time.time() < csm.world.triggers[0][2] + 0.4) else {})
        options = server_options(csm) + ["-t", TASK, "--min-interval", "60"]
        runs = [start_program(*options) for _ in range(10)]
        told = [run.communicate(timeout=60)[0].split(b":")[0] for run in runs]
        assert [run.returncode for run in runs] == [0] * 10
        assert len(csm.world.attempts) == 1
        assert set(told) <= {b"verified", b"skipped"} and b"verified" in told
