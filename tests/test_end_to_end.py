"""The whole matrix of exit codes: the file that ships, run by PROGRAM_PYTHON, over real TLS.

CI runs this file with old interpreters too, so nothing in here may need the program in the test's
own process. What would wait for long is run through LAUNCHER, by the same interpreter.
"""
import base64
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import pytest
from conftest import PROGRAM
from harness import (
    PASSWORD,
    PROGRAM_PYTHON,
    USER,
    Result,
    run_program,
    server_options,
    start_program,
)
from simulated_csm import SimulatedCsm, World

TASK = "ITSO_SGC_H3_LAH81"  # of four steps; the session that it backs up bears the same name
TASK_ID = 27
SESSION = "ITSO_SGC_LAH81"
ODD = "50%/Z\u00fcrich"
OUTCOMES = {0: "verified", 1: ("internal-error", "internal"), 2: "usage", 3: "unreachable",
            4: "login", 5: "not-found", 6: "refused", 7: "failed", 8: "unknown"}

# Loads the program, makes its pauses and its periods shorter, and calls main().
LAUNCHER = """
import importlib.util, sys, time
class Quick:
    def __getattr__(self, name):
        return getattr(time, name)
    def sleep(self, seconds):
        time.sleep(seconds / 10)
spec = importlib.util.spec_from_file_location("program", sys.argv[1])
program = sys.modules["program"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
sys.exit(program.main(sys.argv[2:], program.Pace(grace=0.6, settle=0.2), Quick()))
"""


def run_quickly(*argv: str) -> Result:
    began = time.monotonic()
    done = subprocess.run([PROGRAM_PYTHON, "-B", "-c", LAUNCHER, str(PROGRAM)] + list(argv), env={},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode(),
                  time.monotonic() - began)


def paths(csm: SimulatedCsm) -> List[str]:
    return ["%s %s" % (each.method, each.path[len("/CSM/web"):]) for each in csm.requests]


def last_line(result: Result) -> str:
    return (result.err.splitlines() or [""])[-1]


def check(result: Result, csm: SimulatedCsm, code: int, triggers: int = 0) -> None:
    """What holds for every run."""
    assert result.code == code, result.text
    assert len(csm.world.triggers) == triggers, csm.requests
    assert "Traceback" not in result.text and PASSWORD not in result.text
    assert csm.errors == []
    if code:  # the last line says why it failed, and nothing else does on stdout
        assert last_line(result).startswith("run-cr-wflow-ds8k"), result.err


class Case(NamedTuple):
    """A run with --json: what the world is like, the arguments, and what must come of it."""
    id: str
    code: int
    triggers: int
    args: Tuple[str, ...] = ("-t", TASK)
    world: Dict[str, Any] = {}
    before: Optional[Callable[[SimulatedCsm], None]] = None
    told: Tuple[str, ...] = ()      # on stderr, where it fails
    session: str = TASK             # that shows the backup
    outcome: str = ""               # where it is not the one of OUTCOMES
    backup: Optional[bool] = None   # is there a backup in the JSON, and is it valid?
    quickly: bool = False           # through LAUNCHER


def task_outcome(outcome: str, **fields: Any) -> Callable[[SimulatedCsm], None]:
    def before(csm: SimulatedCsm) -> None:
        vars(csm.world.task(TASK_ID)).update(fields, outcome=outcome)
    return before


def session_outcome(outcome: str, name: str = SESSION, **fields: Any
                    ) -> Callable[[SimulatedCsm], None]:
    def before(csm: SimulatedCsm) -> None:
        vars(csm.world.session(name)).update(fields, outcome=outcome)
    return before


def never_ran(csm: SimulatedCsm) -> None:
    csm.world.task(TASK_ID).lastRan = None


def on_path(end: str, action: Callable[[SimulatedCsm], Any]) -> Callable[[SimulatedCsm], None]:
    """Do something once a request to that path has been answered, the first time."""
    def before(csm: SimulatedCsm) -> None:
        def hook(request: Any) -> None:
            if request.path.endswith(end) and csm.on_request:
                csm.on_request = None
                action(csm)
        csm.on_request = hook
    return before


def run_of_somebody_else(start: str, end: str, waits: str = TASK, outcome: str = "good",
                         steps: Tuple[Tuple[str, str], ...] = ()) -> Callable[[SimulatedCsm], None]:
    """It starts once a request to the path `start` has been answered ("": at once), and the session
    that it `waits` for is kept busy until one to `end` has been. So no time matters."""
    def before(csm: SimulatedCsm) -> None:
        task, lock = csm.world.task(TASK_ID), csm.world.session(waits).lock
        task.steps, task.outcome = list(steps) or task.steps, outcome
        todo = [start, end]

        def hook(request: Any) -> None:
            if not todo or (request and not request.path.endswith(todo[0])):
                return
            if todo.pop(0) == start:
                lock.acquire()
                csm.world.start_run(TASK_ID)
            else:
                lock.release()

        csm.on_request = hook
        if not start:
            hook(None)
    return before


def old_backup_of_now(csm: SimulatedCsm) -> None:
    """The newest backup is fresh, but a little older than what is about to start."""
    csm.world.session(TASK).backups[0].id = int(time.time()) - 5


def backup_of_the_run(csm: SimulatedCsm) -> None:
    while not csm.world.backups_made:
        time.sleep(0.02)


def several(*steps: Callable[[SimulatedCsm], None]) -> Callable[[SimulatedCsm], None]:
    def before(csm: SimulatedCsm) -> None:
        for step in steps:
            step(csm)
    return before


IN_SESSION = ("-S", SESSION)
NO_STEPS = {"steps": False}
HANGS = ("--request-timeout", "1", "--timeout", "7")

CASES = [
    # Good runs, in every dialect.
    Case("task", 0, 1, backup=True),
    Case("session", 0, 1, IN_SESSION, session=SESSION, backup=True),
    Case("session-at-once", 0, 1, IN_SESSION, {"blocking": False}, session=SESSION, backup=True),
    *[Case("task-" + "-".join("%s-%s" % item for item in world.items()), 0, 1, world=world,
           backup=True)
      for world in [
          {"messages": "lastmessage-id"}, {"messages": "array"}, {"messages": "array-no-text"},
          {"backup_results": "backupResults"}, {"numbers": "strings"}, {"numbers": "all-strings"},
          {"command_text": "resultText"}, {"command_text": "none"},
          {"messages": "array", "single_task": 404}, {"messages": "array", "single_task": 405},
          NO_STEPS, {"affected": False}, {"backup_id_shown": False},
          {"ha_supported": False}, {"clock_offset": 7200.0}, {"clock_offset": -7200.0},
          {"messages": "array", "single_task": 404, "command_text": "resultText",
           "backup_results": "backupResults", "numbers": "strings", "steps": False}]],
    *[Case("session-" + "-".join("%s-%s" % item for item in world.items()), 0, 1, IN_SESSION,
           world, session=SESSION, backup=True)
      for world in [{"backup_results": "backupResults"}, {"numbers": "all-strings"},
                    {"command_text": "none"}, {"command_text": "resultText"}]],
    *[Case("never-ran-%s" % value, 0, 1, world={"never_ran": value}, before=never_ran,
           backup=True) for value in (0, None, "missing")],
    *[Case("first-backup-%s" % how, 0, 1, ("-S", "SGC Empty"), {"no_backups": how},
           session="SGC Empty", backup=True) for how in ("empty", "missing", "sequence")],
    Case("disabled-task", 0, 1, ("-t", "thomastest"), session=SESSION, backup=True),
    Case("silent-run", 0, 1, before=task_outcome("silent-run"), backup=True),
    # Names.
    Case("task-with-name-of-session", 0, 1, ("-t", "SGC Payroll"), session="SGC Payroll",
         backup=True),
    Case("blank", 0, 1, ("-t", "Backup Payroll"), session="SGC Payroll", backup=True),
    Case("odd-task", 0, 1, ("-t", "Payroll " + ODD), session="SGC " + ODD, backup=True),
    Case("odd-session", 0, 1, ("-S", "SGC " + ODD), session="SGC " + ODD, backup=True),
    Case("task-and-session", 0, 1, ("-t", TASK, "-S", TASK), backup=True),
    Case("task-and-session-not-told", 0, 1, ("-t", TASK, "-S", TASK),
         {"steps": False, "affected": False}, backup=True),
    Case("task-and-other-session", 7, 1, ("-t", TASK, "-S", SESSION), session=SESSION,
         quickly=True),
    Case("unknown-name", 5, 0, ("-t", "ITSO_SGC_H3_LAH18"), told=("ITSO_SGC_H3_LAH18", TASK)),
    Case("unknown-session", 5, 0, ("-S", "SGC Pyroll"), told=("SGC Pyroll", "SGC Payroll")),
    Case("other-case", 5, 0, ("-t", "backup payroll"), told=("Backup Payroll",)),
    Case("unknown-task-with-session", 5, 0, ("-t", SESSION, "-S", SESSION), told=(SESSION,)),
    Case("duplicate", 5, 0, ("-t", "Twice"), told=("Twice", "40", "41")),
    Case("other-type", 5, 0, ("-S", "MM HS"), told=("MM HS",)),
    Case("other-type-t", 5, 0, ("-t", "MM HS"), told=("MM HS",)),
    Case("task-backs-up-nothing", 5, 0, ("-t", "Practice MM HS"), told=("Practice MM HS",)),
    Case("no-steps-no-sgc", 5, 0, ("-t", "Practice MM HS"), NO_STEPS, told=("MM HS",)),
    Case("nothing-told", 5, 0, world={"steps": False, "affected": False}, told=(TASK,)),
    # The run goes wrong.
    Case("error", 7, 1, before=task_outcome("error"), told=("IWNR0001E",)),
    Case("error-array", 7, 1, world={"messages": "array"}, before=task_outcome("error"),
         told=("IWNR0001E",)),
    Case("error-after-backup", 7, 1, before=task_outcome("error-after-backup"),
         told=("IWNR0001E", "{backup}"), backup=True),
    Case("ends-with-warning", 7, 1, before=task_outcome("warning"),
         told=("IWNR0002W", "{backup}"), backup=True, quickly=True),
    Case("severe", 7, 1, before=task_outcome("severe"), told=("Severe", TASK)),
    Case("session-severe", 7, 1, IN_SESSION, {"blocking": False}, session_outcome("severe"),
         ("Severe", SESSION), SESSION),
    Case("no-backup", 7, 1, before=task_outcome("no-backup"), told=(TASK,), quickly=True),
    Case("invalid", 7, 1, before=task_outcome("invalid"), told=("{backup}",), backup=False,
         quickly=True),
    Case("valid-late", 0, 1, before=task_outcome("valid-late", late_seconds=1.5), backup=True),
    Case("late", 0, 1, before=task_outcome("late", late_seconds=1.5), backup=True),
    Case("session-no-backup", 7, 1, IN_SESSION, {}, session_outcome("no-backup"), (SESSION,),
         SESSION, quickly=True),
    Case("session-invalid", 7, 1, IN_SESSION, {}, session_outcome("invalid"), ("{backup}",),
         SESSION, backup=False, quickly=True),
    Case("session-valid-late", 0, 1, IN_SESSION, {},
         session_outcome("valid-late", late_seconds=1.5), session=SESSION, backup=True),
    Case("session-late", 0, 1, IN_SESSION, {}, session_outcome("late", late_seconds=1.5),
         session=SESSION, backup=True),
    Case("hang", 8, 1, ("-t", TASK, "--timeout", "3"), before=task_outcome("hang"), told=(TASK,)),
    Case("session-hangs", 8, 2, IN_SESSION + HANGS, {}, session_outcome("hang"), (SESSION,),
         SESSION),
    Case("ignored", 8, 1, ("-t", TASK, "--timeout", "3"), before=task_outcome("ignored"),
         told=(TASK,)),
    # CSM refuses.
    Case("refused-200", 6, 0, before=task_outcome("refuse"), told=("IWNR0009E",)),
    Case("refused-400", 6, 0, before=task_outcome("refuse-http"), told=("IWNR0009E",),
         quickly=True),
    Case("session-refused-200", 6, 0, IN_SESSION, {}, session_outcome("error"), ("IWNR0009E",),
         SESSION, quickly=True),
    Case("session-refused-400", 6, 0, IN_SESSION, {}, session_outcome("refuse-http"),
         ("IWNR0009E",), SESSION, quickly=True),
    Case("approval", 6, 0, before=task_outcome("approval"), told=("approval",)),
    *[Case("approval-in-between-%s" % how, 6, 0, world={"approval": how}, told=("IWNR0005E",),
           before=on_path("/scheduledtasks", task_outcome("good", pendingApproval=True)),
           quickly=True)
      for how in ("refuse-E", "409")],
    # The task runs already: it is joined.
    Case("joined", 0, 0, before=run_of_somebody_else("", "/" + TASK), backup=True),
    Case("joined-after-its-backup", 0, 0, ("-t", TASK, "-S", TASK), backup=True, quickly=True,
         before=several(run_of_somebody_else("", "/" + TASK, SESSION, steps=(
             (TASK, "Backup"), (SESSION, "Backup"))), backup_of_the_run)),
    Case("joined-without-backup", 7, 0, told=(TASK,), quickly=True, before=several(
        old_backup_of_now, run_of_somebody_else("", "/" + TASK, outcome="no-backup"))),
    Case("joined-with-error", 7, 0, told=("IWNR0001E",),
         before=run_of_somebody_else("", "/" + TASK, outcome="error")),
    *[Case("joined-in-between-%s" % how, 0, 0, world={"running_again": how}, backup=True,
           quickly=True, before=run_of_somebody_else("/" + TASK, "/%d" % TASK_ID))
      for how in ("refuse-E", "409", "500")],
    # Logging in.
    *[Case("login-%s" % how, 4, 0, world={"login": "refuse", "bad_login": how},
           told=() if how == "html" else ("IWNR0008E",)) for how in (401, 403, "no-token", "html")],
    Case("token-expires", 0, 1, before=on_path("/%d" % TASK_ID, lambda csm:
                                               csm.world.expire_tokens()), backup=True),
    Case("token-for-5-requests", 0, 1, world={"token_requests": 5, "backup_seconds": 2.0},
         backup=True),
    # Modes.
    Case("no-wait", 0, 1, ("-t", TASK, "--no-wait"), outcome="accepted"),
    Case("no-wait-session", 0, 1, IN_SESSION + ("--no-wait",), session=SESSION,
         outcome="accepted"),
    Case("check", 0, 0, ("-t", TASK, "--check"), outcome="checked"),
    Case("check-session", 0, 0, IN_SESSION + ("--check",), session=SESSION, outcome="checked"),
    Case("check-unknown", 5, 0, ("-t", "ITSO_SGC_H3_LAH18", "--check"), told=(TASK,)),
    Case("check-login", 4, 0, ("-t", TASK, "--check"), {"login": "refuse"}),
    Case("min-interval-old", 0, 1, ("-t", TASK, "--min-interval", "60"), backup=True),
    Case("min-interval-recent", 0, 0, ("-t", TASK, "--min-interval", "600"), outcome="skipped"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_verdict(case: Case) -> None:
    with SimulatedCsm(**dict({"backup_seconds": 0.2}, **case.world)) as csm:
        if case.before:
            case.before(csm)
        run = run_quickly if case.quickly else run_program
        result = run(*server_options(csm), "--json", *case.args)
        made = [new for name, new in csm.world.backups_made if name == case.session]
    check(result, csm, case.code, case.triggers)
    refused = case.code == 6 or "in-between" in case.id
    assert len(csm.world.attempts) in ((0, 1) if refused else (case.triggers,))
    shown = result.json
    assert shown["exit_code"] == case.code
    assert shown["outcome"] == (case.outcome or OUTCOMES[case.code])
    assert (shown["started"] == "no") == (
        case.code in range(2, 7) or case.outcome in ("checked", "skipped"))
    backups = {each["name"]: each["backup"] for each in shown["sessions"]}
    if case.code == 0:
        assert list(backups) == [case.session]
    if case.outcome in ("checked", "skipped"):
        return
    if case.backup is None:
        assert not any(backups.values())
    else:
        assert [backups[case.session]["id"]] == made
        assert backups[case.session]["valid"] is case.backup
        assert str(backups[case.session]["copy_sets"]) == "8"
    for fact in case.told:  # where it fails
        assert fact.format(backup=made and made[0]) in last_line(result)


# --- What the caller sees ---------------------------------------------------------------------

@pytest.fixture
def csm() -> Iterator[SimulatedCsm]:
    with SimulatedCsm(backup_seconds=0.2) as server:
        yield server


@pytest.mark.parametrize("args, shown", [
    (("-t", TASK), [TASK]), (IN_SESSION, [SESSION]), (("-t", "Payroll " + ODD), ["Payroll 50%/Z"]),
    (("-t", TASK, "--check"), [TASK]),
    (("-t", TASK, "--no-wait"), [TASK, "IWNR2211I"]),
    (("--list",), [TASK, SESSION, "Twice", "SGC Empty", "Practice MM HS"])], ids=str)
def test_success_in_words(csm: SimulatedCsm, args: Tuple[str, ...], shown: List[str]) -> None:
    result = run_program(*server_options(csm), *args)
    trigger = not {"--check", "--list"} & set(args)
    check(result, csm, 0, int(trigger))
    for fact in shown + ["%s:%d" % (csm.host, csm.port)]:
        assert fact in result.out
    if trigger:
        assert len(result.out.splitlines()) == 1
    if trigger and "--no-wait" not in args:
        assert csm.world.backups_made[0][1] in result.out and "verified" in result.out
    posts = [path for path in paths(csm) if path.startswith("POST")]
    assert len(posts) == 1 + trigger and posts[0] == "POST /system/v1/tokens"


def test_list_as_json(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), "--list", "--json")
    check(result, csm, 0)
    assert [each["id"] for each in result.json["tasks"]] == [task.id for task in csm.world.tasks]
    assert SESSION in [each["name"] for each in result.json["sessions"]]
    assert "MM HS" not in [each["name"] for each in result.json["sessions"]]
    assert result.json["outcome"] == "listed"


def test_failure_in_words(csm: SimulatedCsm) -> None:
    csm.world.task(TASK_ID).outcome = "error"
    result = run_program(*server_options(csm), "-t", TASK)
    check(result, csm, 7, 1)
    assert result.out == "" and "IWNR0001E" in last_line(result)
    assert "goes on" not in last_line(result)  # it has ended


@pytest.mark.parametrize("args", [("-t", TASK), ("-t", TASK, "--no-wait"), ("--list",),
                                  ("-t", TASK, "--min-interval", "600")], ids=str)
def test_quiet_success(csm: SimulatedCsm, args: Tuple[str, ...]) -> None:
    result = run_program(*server_options(csm), "-q", *args)
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize("args, code, fact", [
    (("-t", "ITSO_SGC_H3_LAH18"), 5, TASK), (("-t", TASK), 7, "IWNR0001E"),
    (("-t", " "), 2, "usage"), (("-t", TASK, "--timeout", "x"), 2, "timeout")], ids=str)
def test_quiet_failure(csm: SimulatedCsm, args: Tuple[str, ...], code: int, fact: str) -> None:
    csm.world.task(TASK_ID).outcome = "error"
    result = run_program(*server_options(csm), "-q", *args)
    assert result.code == code and result.out == "" and len(result.err.splitlines()) == 1
    assert fact in result.err


@pytest.mark.parametrize("flag", ["--insecure", "--password-file"])
def test_quiet_hides_warnings(csm: SimulatedCsm, tmp_path: pathlib.Path, flag: str) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    args = ["-s", "%s:%d" % (csm.host, csm.port), "-u", USER, "-q", "-t", TASK]
    args += ["--insecure", "-p", PASSWORD] if flag == "--insecure" else [
        "--password-file", str(secret), "--fingerprint", csm.fingerprint]
    result = run_program(*args)
    check(result, csm, 0, 1)
    assert result.text == ""


def test_verbose_shows_each_request(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), "-v", "-t", TASK)
    check(result, csm, 0, 1)
    for request in csm.requests:
        assert any(request.method in line and request.path[len("/CSM/web"):] in line
                   and str(request.status) in line for line in result.err.splitlines())
        assert not request.token or request.token not in result.text
    assert len(result.out.splitlines()) == 1


def test_version_and_help() -> None:
    version = run_program("--version")
    assert version.code == 0 and version.err == "" and version.out.count(".") == 2
    for option in ("-h", "--help"):
        shown = run_program(option)
        assert shown.code == 0 and shown.err == ""
        text = " ".join(shown.out.split())
        text = text.partition("exit codes")[2].partition("options:")[0]
        assert {"0", "1", "2", "3", "4", "5", "6", "7", "8", "130", "143"} <= set(
            re.findall(r"\d+", text))
        for name in ("--csm_server", "--csm_port", "--csm_user", "--csm_user_passwd",
                     "--csm_task", "--csm_session", "--password-file", "--base64", "--ca-file",
                     "--fingerprint", "--insecure", "--check", "--list", "--no-wait",
                     "--min-interval", "--timeout", "--request-timeout", "--leef", "--json",
                     "--quiet", "--verbose", "--version"):
            assert name in shown.out


def test_requests_in_order_over_one_connection(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), "-t", TASK)
    check(result, csm, 0, 1)
    seen = paths(csm)
    assert seen[:4] == [
        "POST /system/v1/tokens", "GET /sessions/scheduledtasks", "GET /sessions/" + TASK,
        "POST /sessions/scheduledtasks/27"]
    assert seen[4:] and seen[4:] == [
        "GET /sessions/scheduledtasks", "GET /sessions/" + TASK] * (len(seen[4:]) // 2)
    assert csm.connections == csm.tcp_connections == 1
    log_in, others = csm.requests[0], csm.requests[1:]
    assert log_in.form == {"username": USER, "password": PASSWORD} and log_in.token is None
    assert {each.token for each in others} == set(csm.world.tokens)
    assert not any(each.form for each in others)
    assert all(each.headers.get("accept-language") == "en-US" for each in csm.requests)
    assert log_in.headers["content-type"] == "application/x-www-form-urlencoded"


def test_requests_of_a_session_backup(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), *IN_SESSION)
    check(result, csm, 0, 1)
    assert paths(csm) == ["POST /system/v1/tokens", "GET /sessions/" + SESSION,
                          "POST /sessions/" + SESSION, "GET /sessions/" + SESSION]
    assert csm.requests[2].form == {"cmd": "Backup"}
    assert csm.connections == csm.tcp_connections == 1


def test_large_server() -> None:
    with SimulatedCsm(large=True, backup_seconds=0.2) as csm:
        result = run_program(*server_options(csm), "-t", TASK)
        check(result, csm, 0, 1)
        assert csm.world.backups_made[0][1] in result.out
        assert result.seconds < 30


def test_memory(csm: SimulatedCsm) -> None:
    """Of a run with small replies: no buffer is made for the largest reply that could come."""
    code = ("import re, runpy, sys\nsys.argv = sys.argv[1:]\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "finally: print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())"
            ".group(1))\n")
    done = subprocess.run([PROGRAM_PYTHON, "-c", code, str(PROGRAM)] + server_options(csm) + [
        "-t", TASK, "-q"], env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and int(done.stdout) < 100 * 1024  # KiB


def test_internal_error(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    """An error that nobody thought of, somewhere below the program."""
    (tmp_path / "sitecustomize.py").write_text(
        "import requests\nclass Odd(Exception): pass\n"
        "def send(*args, **kwargs): raise Odd('a secret detail')\n"
        "requests.Session.send = send\n")
    result = run_program(*server_options(csm), "-t", TASK, "--json",
                         env={"PYTHONPATH": str(tmp_path)})
    check(result, csm, 1)
    assert "Odd" in last_line(result) and "a secret detail" not in result.text
    assert result.json["exit_code"] == 1 and result.json["outcome"] in OUTCOMES[1]
    assert csm.tcp_connections == 0


# --- Which server, and whether it is trusted ----------------------------------------------------

def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nothing_listens() -> None:
    result = run_program("-s", "127.0.0.1", "-P", str(free_port()), "-u", USER, "-p", PASSWORD,
                         "-t", TASK, "--timeout", "2", "--json")
    assert result.code == result.json["exit_code"] == 3 and result.seconds < 10
    assert result.json["started"] == "no" and "Traceback" not in result.err


def test_port_option(csm: SimulatedCsm) -> None:
    options = server_options(csm)
    options[1] = csm.host
    check(run_program(*options, "-P", str(csm.port), "-t", TASK, "--no-wait"), csm, 0, 1)


@pytest.mark.parametrize("how, code", [("error", 6), ("http", 6), ("503", 8)])
def test_single_standby(how: str, code: int) -> None:
    with SimulatedCsm(World(standby=how), active=False) as csm:
        result = run_program(*server_options(csm), "-t", TASK, *HANGS)
        check(result, csm, code)
        assert len(csm.world.attempts) == (2 if how == "503" else 1)


@pytest.mark.parametrize("args", [("-t", TASK), IN_SESSION], ids=str)
@pytest.mark.parametrize("what", ["active-first", "standby-first", "first-down", "second-down",
                                  "dies-before-trigger", "dies-while-waiting"])
def test_pair(what: str, args: Tuple[str, ...]) -> None:
    world = World(backup_seconds=0.5, shared_tokens=False, blocking=False)
    with SimulatedCsm(world, active=what != "standby-first") as first, SimulatedCsm(
            world, active=what in ("standby-first", "first-down")) as second:
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
            def hook(_: Any) -> None:
                if world.triggers and second.active is False:
                    takeover(first)
            first.on_request = hook
        result = run_program(*server_options(first, second), *args, "--json")
        check(result, first, 0, 1)
        assert second.errors == []
        used = first if what in ("active-first", "second-down") else second
        assert result.json["server"] == "%s:%d" % (used.host, used.port)
        shown = [each["backup"]["id"] for each in result.json["sessions"]]
        assert world.backups_made == [(name, shown[0])]


def test_pair_of_standbys() -> None:
    world = World()
    with SimulatedCsm(world, active=False) as first, SimulatedCsm(world, active=False) as second:
        result = run_program(*server_options(first, second), "-t", TASK, "--timeout", "2")
        check(result, first, 6)
        assert world.attempts == []


def without_trust(csm: SimulatedCsm, host: str = "127.0.0.1") -> List[str]:
    return ["-s", "%s:%d" % (host, csm.port), "-u", USER, "-p", PASSWORD, "-t", TASK]


def test_untrusted_certificate(csm: SimulatedCsm) -> None:
    result = run_program(*without_trust(csm), "--json")
    check(result, csm, 3)
    assert csm.requests == []
    assert result.json["exit_code"] == 3 and result.json["started"] == "no"
    assert csm.fingerprint in last_line(result).replace(":", "").lower()


@pytest.mark.parametrize("kind, args", [
    ("localhost", ["--fingerprint", "00" * 32]),
    ("other-name", ["--ca-file", "{ca_file}"]), ("other-name", [])], ids=str)
def test_not_this_certificate(kind: str, args: List[str]) -> None:
    with SimulatedCsm(certificate=kind) as csm:
        result = run_program(*without_trust(csm),
                             *[each.format(ca_file=csm.ca_file) for each in args])
        check(result, csm, 3)
        assert csm.requests == []


def spelled(fingerprint: str) -> str:
    """As openssl shows it."""
    return ":".join(fingerprint[at:at + 2] for at in range(0, 64, 2)).upper()


@pytest.mark.parametrize("host, kind, args", [
    ("127.0.0.1", "localhost", ["--fingerprint", "{fingerprint}"]),
    ("127.0.0.1", "localhost", ["--fingerprint={spelled}"]),
    ("127.0.0.1", "other-name", ["--fingerprint", "{fingerprint}"]),
    ("127.0.0.1", "localhost", ["--ca-file", "{ca_file}"]),
    ("localhost", "localhost", ["--ca-file", "{ca_file}"]),
    ("127.0.0.1", "other-name", ["--insecure"])], ids=str)
def test_trusted(host: str, kind: str, args: List[str]) -> None:
    with SimulatedCsm(certificate=kind) as csm:
        args = [each.format(fingerprint=csm.fingerprint, spelled=spelled(csm.fingerprint),
                            ca_file=csm.ca_file) for each in args]
        result = run_program(*without_trust(csm, host), *args, "--no-wait")
        check(result, csm, 0, 1)
        assert ("--insecure" in result.err) == (args == ["--insecure"])


@pytest.mark.parametrize("end, code", [
    ("/tokens", 3), ("/scheduledtasks", 3), ("/scheduledtasks/27", 8)])
def test_redirect(csm: SimulatedCsm, end: str, code: int) -> None:
    with SimulatedCsm() as other:
        csm.redirect_to = "https://127.0.0.1:%d/CSM/web/system/v1/tokens" % other.port
        csm.inject_when(lambda request: request.path.endswith(end), "redirect", None)
        result = run_program(*server_options(csm), "-t", TASK, *HANGS)
        check(result, csm, code)
        assert other.tcp_connections == 0


# --- Where user and password come from ----------------------------------------------------------

def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENV = {"CSM_USER": USER, "CSM_USER_PASSWD": PASSWORD}


@pytest.mark.parametrize("args, env, stdin", [
    ([], ENV, ""), (["-u", USER], {"CSM_USER_PASSWD": PASSWORD}, ""),
    (["-u", USER, "-p", PASSWORD], {"CSM_USER": "x", "CSM_USER_PASSWD": "x"}, ""),
    (["-u", USER, "--password-file", "-"], {}, PASSWORD),
    (["-u", USER, "--password-file", "-"], {"CSM_USER_PASSWD": "x"}, PASSWORD + "\n"),
    (["--csm_user=" + USER, "--csm_user_passwd=" + PASSWORD], {}, ""),
    (["--base64", "-u", base64_of(USER), "-p", base64_of(PASSWORD)], {}, ""),
    (["--base64", "-u", base64_of(USER + "\n"), "-p", base64_of(PASSWORD + "\n")], {}, ""),
], ids=lambda value: shlex.quote(str(value)) if isinstance(value, str) else None)
def test_credentials(csm: SimulatedCsm, args: List[str], env: Dict[str, str], stdin: str) -> None:
    result = run_program("-s", "%s:%d" % (csm.host, csm.port), "--fingerprint", csm.fingerprint,
                         "-t", TASK, "--no-wait", *args, env=env, stdin=stdin.encode())
    check(result, csm, 0, 1)
    assert csm.requests[0].form == {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize("content, mode, code", [
    (PASSWORD, 0o600, 0), (PASSWORD + "\n", 0o600, 0), (PASSWORD + "\r\n", 0o400, 0),
    (PASSWORD + "\n", 0o640, 0), (PASSWORD + "\nsecond\n", 0o600, 2), ("", 0o600, 2),
    ("\n", 0o600, 2), (None, 0, 2), ("\ufeff" + PASSWORD + "\n", 0o600, 0)])
def test_password_file(csm: SimulatedCsm, tmp_path: pathlib.Path, content: Optional[str],
                       mode: int, code: int) -> None:
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content.encode())
        secret.chmod(mode)
    options = server_options(csm)
    at = options.index("-p")
    options[at:at + 2] = ["--password-file", str(secret)]
    result = run_program(*options, "-t", TASK, "--no-wait")
    check(result, csm, code, int(code == 0))
    assert ("WARNING" in result.err) == (mode == 0o640)
    if code:
        assert csm.tcp_connections == 0
    else:
        assert csm.requests[0].form["password"] == PASSWORD


@pytest.mark.parametrize("option", ["--password-file", "--ca-file"])
def test_file_that_never_comes(csm: SimulatedCsm, tmp_path: pathlib.Path, option: str) -> None:
    os.mkfifo(str(tmp_path / "file"), 0o600)
    options = server_options(csm)
    at = options.index("-p" if option == "--password-file" else "--fingerprint")
    options[at:at + 2] = [option, str(tmp_path / "file")]
    result = run_program(*options, "-t", TASK, "--timeout", "0.3", timeout=10)
    check(result, csm, 2, 0)
    assert "--password-file: " in last_line(result) and csm.tcp_connections == 0


@pytest.mark.parametrize("env", [{}, {"LANG": "C"}, {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=["", "C", "really C"])
def test_event_that_is_not_ascii(csm: SimulatedCsm, env: Dict[str, str]) -> None:
    """Whatever the locale is, nothing about an event may prevent the backup."""
    values = ["jos\u00e9 \u5c71\u3000\u7530\u00a0".encode(), b"\xff\xfe", b"\xed\xa0\x80",
              "\U0001f525".encode()]
    done = subprocess.run([PROGRAM_PYTHON, str(PROGRAM)] + server_options(csm) + [
        "-t", TASK, "--json", "--"] + values, env=dict(  # type: ignore[arg-type]
            env, RULE_NAME=b"r\xc3\xa8gle \xff"), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1
    told = json.loads(done.stdout.decode("ascii"))
    assert told["event"][0] == "jos\u00e9 \u5c71\u3000\u7530\u00a0"  # its blanks, too
    assert told["event"][3] == "\U0001f525"
    assert told["rule_name"] == "r\u00e8gle \ufffd" and len(told["event"]) == 4


@pytest.mark.parametrize("option", ["--password-file", "--ca-file"])
def test_file_name_that_is_not_ascii(csm: SimulatedCsm, tmp_path: pathlib.Path,
                                     option: str) -> None:
    """Whatever the locale is. Python 3.7 and later take C for UTF-8, unless told otherwise."""
    file = os.fsencode(str(tmp_path / "Z")) + "\u00fcrich".encode()
    options = server_options(csm)
    with open(file, "wb") as out:
        os.chmod(file, 0o600)
        out.write(PASSWORD.encode() if option == "--password-file" else
                  pathlib.Path(csm.ca_file).read_bytes())
    at = options.index("-p" if option == "--password-file" else "--fingerprint")
    arguments = [os.fsencode(each) for each in options]
    arguments[at:at + 2] = [option.encode(), file]
    done = subprocess.run([PROGRAM_PYTHON, str(PROGRAM)] + arguments + ["-t", TASK, "--json"],
                          env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1


@pytest.mark.parametrize("password", [
    "-x1 --check", "-h", "caf\u00e9 \u20ac", " padded ", "a=b&c+d", "aGVsbG8="])
@pytest.mark.parametrize("env", [{}, {"LANG": "C", "LC_ALL": "C"}], ids=["", "C"])
def test_odd_password(password: str, env: Dict[str, str]) -> None:
    """As it was typed, whatever it looks like and whatever the locale is."""
    with SimulatedCsm(password=password) as csm:
        result = run_program(
            "--csm_server=%s:%d" % (csm.host, csm.port), "--csm_user=" + USER,
            "--csm_user_passwd=" + password, "--csm_task=" + TASK, "--no-wait",
            "--fingerprint=" + csm.fingerprint, env=env)
        check(result, csm, 0, 1)
        assert csm.requests[0].form["password"] == password


# --- A wrong command line -----------------------------------------------------------------------

CANARY = "canary-7f3a"


@pytest.mark.parametrize("change", [
    "-s", "-u", "-p", "-t", "-s=", "-u=", "-p=", "-t=", "-s= ", "-u= ", "-p= ", "-t= ", "-t=\t",
    "+-S=", "+-P=0", "+-P=65536", "+-P=" + CANARY, "+-P=-1", "+-P=", "+--timeout=0",
    "+--timeout=-5", "+--timeout=nan", "+--timeout=inf", "+--timeout=" + CANARY, "+--timeout=",
    "+--request-timeout=0", "+--request-timeout=" + CANARY, "+--min-interval=" + CANARY,
    "+--insecure", "+--ca-file=/dev/null", "+--" + CANARY, "+--" + CANARY + "=1", "+" + CANARY,
    "+--csm_serv=" + CANARY, "+--time=5", "+--chec", "+--check=" + CANARY,
    "+--base64", "+--password-file=/dev/null", "+--check +--list", "+--check +--no-wait",
    "-s=https://" + CANARY, "-s=%s/" % CANARY, "-s=a,b,c", "-s=a,", "-s=,", "-s=%s:0" % CANARY,
    "-s=%s:99999" % CANARY, "-s=%s:x" % CANARY, "-s=[::1", "-s=user@" + CANARY,
    "--fingerprint=" + CANARY, "--fingerprint=" + "0" * 63, "--fingerprint=",
    "--fingerprint=%064d,%064d" % (1, 2),
    "--fingerprint +--ca-file=/nowhere/" + CANARY, "--fingerprint +--ca-file=/dev/null",
    "--fingerprint +--ca-file=",
    "+--leef=http://" + CANARY, "+-t", "+-p", "+first line\n" + CANARY])
def test_usage(csm: SimulatedCsm, change: str) -> None:
    """"-x" leaves an option out, "-x=value" gives it another value, "+-x=value" adds it."""
    options = server_options(csm) + ["-t", TASK]
    pairs = dict(zip(options[::2], options[1::2]))
    more = []  # type: List[str]
    for part in change.split(" ", 1) if change.startswith(("--fing", "+--check +")) else [change]:
        name, equals, value = part.lstrip("+").partition("=")
        if part.startswith("+"):
            short = not name.startswith("--") and equals
            more += [name, value] if short else [part[1:]]
        elif equals:
            pairs[name] = value
        else:
            del pairs[name]
    result = run_program(*[each for pair in pairs.items() for each in pair], *more)
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert result.out == "" and len(result.err.splitlines()) == 1
    assert CANARY not in result.text and USER + " " not in result.text


@pytest.mark.parametrize("user, password", [
    (base64_of(USER), "no base64!"), (base64_of(USER), "YWJj" + "x"),
    (base64_of(USER), base64.b64encode(b"\xff\xfe").decode()), ("*", base64_of(PASSWORD))])
def test_bad_base64(csm: SimulatedCsm, user: str, password: str) -> None:
    result = run_program(*without_trust(csm)[:2], "-u", user, "-p", password, "--base64", "-t",
                         TASK, "--insecure")
    check(result, csm, 2)
    assert csm.tcp_connections == 0 and password not in result.text


def test_no_argument() -> None:
    result = run_program()
    assert result.code == 2 and result.out == "" and "csm_server" in result.err


# --- Signals ------------------------------------------------------------------------------------

@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["before", "waiting"])
def test_signal(csm: SimulatedCsm, number: int, code: int, when: str) -> None:
    # A shell's background jobs ignore SIGINT, and so would the program, had it inherited that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    csm.world.task(TASK_ID).outcome = "hang"
    if when == "before":
        csm.inject_when(lambda request: request.path.endswith("/scheduledtasks"), "silent-before")
    process = start_program(*server_options(csm), "-t", TASK, "--json")
    seen = 2 if when == "before" else 6
    try:
        deadline = time.monotonic() + 20
        while len(csm.requests) < seen and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    result = Result(process.returncode, out.decode(), err.decode(), 0)
    check(result, csm, code, int(when == "waiting"))
    assert result.json["exit_code"] == code
    assert result.json["outcome"] == {130: "interrupted", 143: "terminated"}[code]
    assert result.json["started"] == {"before": "no", "waiting": "yes"}[when]


def test_the_interpreter_that_was_asked_for() -> None:
    """CI means an old one: this shows in its log which one it was."""
    done = subprocess.run([PROGRAM_PYTHON, "-c", "import json, sys, requests, urllib3\n"
                           "print(json.dumps([sys.version_info[:2], requests.__version__,"
                           " urllib3.__version__]))"], stdout=subprocess.PIPE)
    version = json.loads(done.stdout)[0]
    asked = os.environ.get("PROGRAM_PYTHON")
    assert version >= [3, 6] and (asked or version == list(sys.version_info[:2]))
