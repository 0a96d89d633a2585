"""What is told on the two streams: verdicts in words, -q, -v, --list, a bug.

Run by PROGRAM_PYTHON. In JSON: test_cron.py; on a terminal: test_shell.py."""

import pathlib
from typing import List, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import check, paths
from support.program import PASSWORD, USER, address, run_program, run_shipped, server_options
from support.scenes import ODD_NAME, SESSION, TASK, TASK_ID


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("-t", TASK), [TASK]),
        (("-S", SESSION), [SESSION]),
        (("-t", "Payroll " + ODD_NAME), ["Payroll 50%/Z"]),
        (("-t", TASK, "--check"), [TASK]),
        (("-t", TASK, "--no-wait"), [TASK, "IWNR2211I"]),
        (("--list",), [TASK, SESSION, "Twice", "SGC Empty", "Practice MM HS"]),
    ],
    ids=str,
)
def test_success_in_words(csm: SimulatedCsm, args: Tuple[str, ...], shown: List[str]) -> None:
    result = run_shipped(*server_options(csm), *args)
    trigger = not {"--check", "--list"} & set(args)
    check(result, csm, 0, triggers=int(trigger))
    for fact in [*shown, address(csm)]:
        assert fact in result.out
    if trigger:
        assert len(result.out.splitlines()) == 1
    if trigger and "--no-wait" not in args:
        assert csm.world.backups_made[0][1] in result.out
        assert "verified" in result.out
    posts = [path for path in paths(csm) if path.startswith("POST")]
    assert len(posts) == 1 + trigger
    assert posts[0] == "POST /system/v1/tokens"


def test_list_as_json(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), "--list", "--json")
    check(result, csm, 0)
    assert [each["id"] for each in result.json["tasks"]] == [task.id for task in csm.world.tasks]
    assert SESSION in [each["name"] for each in result.json["sessions"]]
    assert "MM HS" not in [each["name"] for each in result.json["sessions"]]
    assert result.json["outcome"] == "listed"


def test_failure_in_words(csm: SimulatedCsm) -> None:
    csm.world.task(TASK_ID).outcome = "error"
    result = run_shipped(*server_options(csm), "-t", TASK)
    check(result, csm, 7, triggers=1)
    assert result.out == ""
    assert "IWNR0001E" in result.last_line
    assert "goes on" not in result.last_line  # it has ended


@pytest.mark.parametrize(
    "args",
    [("-t", TASK), ("-t", TASK, "--no-wait"), ("--list",), ("-t", TASK, "--min-interval", "600")],
    ids=str,
)
def test_quiet_success(csm: SimulatedCsm, args: Tuple[str, ...]) -> None:
    result = run_shipped(*server_options(csm), "-q", *args)
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "code", "fact"),
    [
        (("-t", "ITSO_SGC_H3_LAH18"), 5, TASK),
        (("-t", TASK), 7, "IWNR0001E"),
        (("-t", " "), 2, "usage"),
        (("-t", TASK, "--timeout", "x"), 2, "timeout"),
    ],
    ids=str,
)
def test_quiet_failure(csm: SimulatedCsm, args: Tuple[str, ...], code: int, fact: str) -> None:
    csm.world.task(TASK_ID).outcome = "error"
    result = run_shipped(*server_options(csm), "-q", *args)
    assert result.code == code
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert fact in result.err


@pytest.mark.parametrize("flag", ["--insecure", "--password-file"])
def test_quiet_hides_warnings(csm: SimulatedCsm, tmp_path: pathlib.Path, flag: str) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    args = ["-s", address(csm), "-u", USER, "-q", "-t", TASK]
    args += (
        ["--insecure", "-p", PASSWORD]
        if flag == "--insecure"
        else ["--password-file", str(secret), "--fingerprint", csm.fingerprint]
    )
    result = run_shipped(*args)
    check(result, csm, 0, triggers=1)
    assert result.text == ""


def test_verbose_shows_each_request(csm: SimulatedCsm) -> None:
    result = run_shipped(*server_options(csm), "-v", "-t", TASK)
    check(result, csm, 0, triggers=1)
    for request in csm.requests:
        assert any(
            request.method in line
            and request.path[len("/CSM/web") :] in line
            and str(request.status) in line
            for line in result.err.splitlines()
        )
        assert not request.token or request.token not in result.text
    assert len(result.out.splitlines()) == 1


def test_internal_error(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    """An error that nobody thought of, somewhere below the program."""
    (tmp_path / "sitecustomize.py").write_text(
        "import requests\nclass Odd(Exception): pass\n"
        "def send(*args, **kwargs): raise Odd('a secret detail')\n"
        "requests.Session.send = send\n"
    )
    result = run_program(
        *server_options(csm), "-t", TASK, "--json", env={"PYTHONPATH": str(tmp_path)}
    )
    check(result, csm, 1)
    assert "Odd" in result.last_line
    assert "a secret detail" not in result.text
    assert result.json["exit_code"] == 1
    assert result.json["outcome"] == result.last_line.split(": ")[1]
    assert csm.tcp_connections == 0
