"""What scripts rely on: silence, exit codes, the JSON object."""

import signal
from typing import Any, Dict, Tuple

import pytest

from csm import SimulatedCsm
from support.program import (
    USER,
    Result,
    address,
    run_inside,
    run_program,
    server_options,
    without_trust,
)
from support.scenes import OUTCOMES, PAYROLL, PAYROLL_TASK, TASK, a_bug, run_outcome, run_signalled

# --- Outcomes that are no run against a server --------------------------------------------------


def run_unreachable(*more: str) -> Result:
    with SimulatedCsm() as csm:
        csm.refuse_connections()
        return run_inside(*server_options(csm), "-t", PAYROLL_TASK, *more)


def run_internal(*more: str) -> Result:
    with SimulatedCsm() as csm, a_bug():
        return run_inside(*server_options(csm), "-t", PAYROLL_TASK, *more)


OTHERS: Dict[int, Any] = {
    1: (run_internal, "internal"),
    3: (run_unreachable, "unreachable"),
    130: (lambda *more: run_signalled(signal.SIGINT, "-t", PAYROLL_TASK, *more), "interrupted"),
    143: (lambda *more: run_signalled(signal.SIGTERM, "-t", PAYROLL_TASK, *more), "terminated"),
}


# --- -q -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTCOMES)
def test_quiet(name: str) -> None:
    """Nothing at all, or one line on stderr: what cron's mail is to hold."""
    case = OUTCOMES[name]
    result = run_outcome(case, "-q")
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == (case.code != 0)
    assert result.err.isprintable() == (case.code == 0)
    if lines:
        assert lines[0].startswith("run-cr-wflow-ds8k")
        assert case.word in lines[0]


@pytest.mark.parametrize("code", OTHERS)
def test_quiet_others(code: int) -> None:
    run, outcome = OTHERS[code]
    result = run("-q")
    assert result.code == code
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert outcome in line


def test_quiet_with_warnings() -> None:
    """Each of these is a warning: of the certificate, the file's mode, the syslog host, a fault."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.inject(2, "503")
        arguments = [*without_trust(csm), "--insecure", "-t", PAYROLL_TASK]
        arguments += ["--leef", "no-such-host.invalid"]
        loud = run_inside(*arguments)
        csm.inject(len(csm.requests) + 2, "503")
        quiet = run_inside(*arguments, "-q")
        assert len(csm.world.triggers) == 2
    assert loud.code == 0
    assert loud.err.count("WARNING") == 3
    assert quiet.code == 0
    assert quiet.text == ""


def test_quiet_process(tmp_path: Any) -> None:
    """As cron starts it: the password in a file, which others can read, and no warning of it."""
    with SimulatedCsm() as csm:
        secret = tmp_path / "password"
        secret.write_text(csm.world.password + "\n")
        secret.chmod(0o644)
        given = ["-s", address(csm), "-u", USER, "--password-file", str(secret), "--insecure"]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh"}
        result = run_program(*given, "-t", PAYROLL_TASK, "-q", env=env)
        assert result.code == 0
        assert result.text == ""
        assert len(csm.world.triggers) == 1


@pytest.mark.parametrize("name", ["verified", "listed", "skipped", "failed"])
def test_quiet_json(name: str) -> None:
    """Who asks for the object gets it; -q leaves out the rest."""
    case = OUTCOMES[name]
    result = run_outcome(case, "-q", "--json")
    assert result.json["outcome"] == case.word
    assert len(result.out.splitlines()) == 1
    assert len(result.err.splitlines()) == (case.code != 0)


# --- --json -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTCOMES)
def test_json(name: str) -> None:
    case = OUTCOMES[name]
    result = run_outcome(case, "--json")
    found = result.json
    assert found["exit_code"] == case.code
    assert found["outcome"] == case.word
    assert len(result.out.splitlines()) == 1
    assert isinstance(found["seconds"], (int, float))
    assert found["started"] == case.started
    assert bool(found["tasks"]) == (
        name not in ("session", "login", "login of a list", "not found")
    )
    if case.code:  # the line for people is there all the same
        assert case.word in result.err.splitlines()[-1]
    if case.word == "verified":
        (session,) = found["sessions"]
        assert session["name"] == PAYROLL
        assert session["backup"]["valid"] is True
    elif name == "failed after the backup":
        assert found["sessions"][0]["backup"]["valid"] is True
    elif case.word in ("listed", "checked", "skipped"):  # nothing was started: the newest
        assert any(each["backup"] for each in found["sessions"])
    else:
        assert all(each["backup"] is None for each in found["sessions"])


@pytest.mark.parametrize("code", OTHERS)
def test_json_others(code: int) -> None:
    run, outcome = OTHERS[code]
    result = run("--json")
    assert result.code == code == result.json["exit_code"]
    assert outcome in result.json["outcome"]


@pytest.mark.parametrize(
    ("wrong", "is_read"),
    [
        (("--no-such-option",), True),
        (("-t", " "), True),
        (("-t", TASK, "--timeout", "0"), True),
        (("-t", TASK, "--timeout", "x"), False),
        (("-t", TASK, "--check", "--list"), False),
    ],
    ids=str,
)
def test_json_wrong_command_line(wrong: Tuple[str, ...], is_read: bool) -> None:
    """The object is there whatever is wrong, once the command line could be read."""
    with SimulatedCsm() as csm:
        result = run_inside(*server_options(csm), "--json", *wrong)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert csm.requests == []
    if not is_read:
        assert result.out == ""
        return
    assert result.json["exit_code"] == 2
    assert result.json["outcome"] == "usage"
    assert result.json["started"] == "no"
    assert result.json["message"] in result.err
    assert len(result.out.splitlines()) == 1


def test_json_message_is_of_this_run() -> None:
    """What CSM said of the run before is not what it says of this one."""
    assert run_outcome(OUTCOMES["accepted"], "--json").json["csm_id"] == "IWNR2211I"


@pytest.mark.parametrize("password", ["0", "backup", 'a"b', "p\u00e4ss", "7\\8"])
def test_json_stays_json(password: str) -> None:
    """Whatever the password is, and though CSM's message holds it."""
    with SimulatedCsm(backup_seconds=0.02, password=password) as csm:

        def mutate(request: Any, value: Any) -> Any:
            if isinstance(value, dict) and "lastmessage" in value:
                value["lastmessage"] += f" <{password}>"
            return value

        csm.mutate = mutate
        options = server_options(csm)
        options[options.index("-p") + 1] = password
        result = run_inside(*options, "-t", PAYROLL_TASK, "--json")
        assert result.code == 0
        assert result.json["outcome"] == "verified"
        assert result.json["exit_code"] == 0
        assert result.json["sessions"][0]["backup"]["valid"] is True
        assert f"<{password}>" not in result.json["csm_text"]
