"""What scripts rely on: silence, exit codes, the JSON object; and that the README tells it as it
is."""
import re
import signal
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from harness import Result, run_inside, run_program, run_signalled, server_options
from simulated_csm import SimulatedCsm

from conftest import PROGRAM, load_program

README = PROGRAM.parent / "README.md"
TASK, SESSION = "Backup Payroll", "SGC Payroll"


# --- Each outcome that a script may meet --------------------------------------------------------

class Case(NamedTuple):
    code: int
    outcome: str
    triggers: int
    options: List[str] = []
    world: Dict[str, Any] = {}
    task: Dict[str, Any] = {}
    target: Tuple[str, ...] = ("-t", TASK)


CASES = {
    "task": Case(0, "verified", 1),
    "session": Case(0, "verified", 1, target=("-S", SESSION)),
    "no wait": Case(0, "accepted", 1, ["--no-wait"]),
    "check": Case(0, "checked", 0, ["--check"]),
    "list": Case(0, "listed", 0, ["--list"], target=()),
    "skipped": Case(0, "skipped", 0, ["--min-interval", "600"]),
    "login": Case(4, "login", 0, world={"login": "refuse"}),
    "not found": Case(5, "not-found", 0, target=("-t", "No Such Name")),
    "list, login": Case(4, "login", 0, ["--list"], world={"login": "refuse"}, target=()),
    "refused": Case(6, "refused", 0, task={"outcome": "refuse"}),
    "failed": Case(7, "failed", 1, task={"outcome": "error"}),
    "failed after the backup": Case(7, "failed", 1, target=("-t", "ITSO_SGC_H3_LAH81"),
                                    task={"outcome": "error-after-backup"}),
    "without backup": Case(7, "failed", 1, task={"outcome": "no-backup"}),
    "unknown": Case(8, "unknown", 1, ["--timeout", "1.5"], task={"outcome": "hang"}),
}


def run_case(case: Case, *more: str) -> Result:
    with SimulatedCsm(backup_seconds=0.02, **case.world) as csm:
        if case.task:
            vars(csm.world.task(case.target[1])).update(case.task)
        result = run_inside(*server_options(csm), *case.target, *case.options, *more)
        assert result.code == case.code, result.text
        assert len(csm.world.triggers) == case.triggers and csm.errors == []
    return result


def run_unreachable(*more: str) -> Result:
    with SimulatedCsm() as csm:
        csm.refuse_connections()
        return run_inside(*server_options(csm), "-t", TASK, *more)


def run_internal(*more: str) -> Result:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    program = load_program()
    program.run = fail  # type: ignore[attr-defined]
    with SimulatedCsm() as csm:
        return run_inside(*server_options(csm), "-t", TASK, *more, program=program)


OTHERS = {
    1: (run_internal, "internal"),
    3: (run_unreachable, "unreachable"),
    130: (lambda *more: run_signalled(signal.SIGINT, "-t", TASK, *more), "interrupted"),
    143: (lambda *more: run_signalled(signal.SIGTERM, "-t", TASK, *more), "terminated"),
}  # type: Dict[int, Any]


# --- -q -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_quiet(name: str) -> None:
    """Nothing at all, or one line on stderr: what cron's mail is to hold."""
    case = CASES[name]
    result = run_case(case, "-q")
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == (case.code != 0) and result.err.isprintable() == (case.code == 0)
    if lines:
        assert lines[0].startswith("run-cr-wflow-ds8k") and case.outcome in lines[0]


@pytest.mark.parametrize("code", OTHERS)
def test_quiet_others(code: int) -> None:
    run, outcome = OTHERS[code]
    result = run("-q")
    assert result.code == code and result.out == ""
    line, = result.err.splitlines()
    assert outcome in line


def test_quiet_with_warnings() -> None:
    """Each of these is a warning: of the certificate, the file's mode, the syslog host, a fault."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.inject(2, "503")
        arguments = ["-s", "%s:%d" % (csm.host, csm.port), "-u", "admin", "--insecure",
                     "--password-file", str(README.parent / "no such file"), "-t", TASK,
                     "--leef", "no-such-host.invalid"]
        assert run_inside(*arguments, "-q").code == 2
        arguments[5:7] = ["-p", csm.world.password]
        loud = run_inside(*arguments)
        csm.inject(len(csm.requests) + 2, "503")
        quiet = run_inside(*arguments, "-q")
        assert len(csm.world.triggers) == 2 and csm.errors == []
    assert loud.code == 0 and loud.err.count("WARNING") == 3
    assert quiet.code == 0 and quiet.text == ""


def test_quiet_process(tmp_path: Any) -> None:
    """As cron starts it: the password in a file, which others can read, and no warning of it."""
    with SimulatedCsm() as csm:
        secret = tmp_path / "password"
        secret.write_text(csm.world.password + "\n")
        secret.chmod(0o644)
        result = run_program("-s", "127.0.0.1:%d" % csm.port, "-u", "admin", "--password-file",
                             str(secret), "--insecure", "-t", TASK, "-q",
                             env={"PATH": "/usr/bin:/bin", "HOME": "/", "SHELL": "/bin/sh"})
        assert result.code == 0 and result.text == ""
        assert len(csm.world.triggers) == 1 and csm.errors == []


@pytest.mark.parametrize("name", ["task", "list", "skipped", "failed"])
def test_quiet_json(name: str) -> None:
    """Who asks for the object gets it; -q leaves out the rest."""
    case = CASES[name]
    result = run_case(case, "-q", "--json")
    assert result.json["outcome"] == case.outcome and len(result.out.splitlines()) == 1
    assert len(result.err.splitlines()) == (case.code != 0)


# --- --json -------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_json(name: str) -> None:
    case = CASES[name]
    result = run_case(case, "--json")
    found = result.json
    assert found["exit_code"] == case.code and found["outcome"] == case.outcome
    assert len(result.out.splitlines()) == 1 and isinstance(found["seconds"], (int, float))
    assert found["started"] == ("yes" if case.triggers else "no")
    assert bool(found["tasks"]) == (name not in ("session", "login", "list, login", "not found"))
    if case.code:  # the line for people is there all the same
        assert case.outcome in result.err.splitlines()[-1]
    if case.outcome == "verified":
        session, = found["sessions"]
        assert session["name"] == SESSION and session["backup"]["valid"] is True
    elif name == "failed after the backup":
        assert found["sessions"][0]["backup"]["valid"] is True
    elif case.outcome in ("listed", "checked", "skipped"):  # nothing was started: the newest
        assert any(each["backup"] for each in found["sessions"])
    else:
        assert all(each["backup"] is None for each in found["sessions"])


@pytest.mark.parametrize("code", OTHERS)
def test_json_others(code: int) -> None:
    run, outcome = OTHERS[code]
    result = run("--json")
    assert result.code == code == result.json["exit_code"]
    assert outcome in result.json["outcome"]


def test_json_wrong_command_line() -> None:
    with SimulatedCsm() as csm:
        result = run_inside(*server_options(csm), "--json", "--no-such-option")
        assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1
        assert csm.requests == []


def test_json_message_is_of_this_run() -> None:
    """What CSM said of the run before is not what it says of this one."""
    assert run_case(CASES["no wait"], "--json").json["csm_id"] == "IWNR2211I"


@pytest.mark.parametrize("password", ["0", "backup", 'a"b', "p\u00e4ss", "7\\8"])
def test_json_stays_json(password: str) -> None:
    """Whatever the password is, and though CSM's message holds it."""
    with SimulatedCsm(backup_seconds=0.02, password=password) as csm:
        def mutate(request: Any, value: Any) -> Any:
            if isinstance(value, dict) and "lastmessage" in value:
                value["lastmessage"] += " <%s>" % password
            return value

        csm.mutate = mutate
        options = server_options(csm)
        options[options.index("-p") + 1] = password
        result = run_inside(*options, "-t", TASK, "--json")
        assert result.code == 0 and csm.errors == []
        assert result.json["outcome"] == "verified" and result.json["exit_code"] == 0
        assert result.json["sessions"][0]["backup"]["valid"] is True
        assert "<%s>" % password not in result.json["csm_text"]


# --- The README ---------------------------------------------------------------------------------

def section(title: str) -> str:
    """The text under the first heading that holds this (as a regular expression)."""
    text = re.sub(r"^ *```.*?^ *```", "", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    match = re.search(r"^(#+)[^\n]*%s[^\n]*$" % title, text, re.M | re.I)
    assert match, "README.md has no heading %r" % title
    rest = text[match.end():]
    end = re.search(r"^#{1,%d} " % len(match.group(1)), rest, re.M)
    return rest[:end.start()] if end else rest


def first_column(text: str) -> List[str]:
    """Of the tables in it; without head and rule."""
    rows = re.findall(r"^\|\s*((?:[^|\\\n]|\\.)*?)\s*\|.*$", text, re.M)
    return [row for row in rows if not re.match(r":?-+:?\Z", row)]


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values: `sessions`, `sessions[].backup`, `sessions[].backup.id`."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = prefix + "." + key if prefix else key
            yield name
            yield from keys(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, prefix + "[]")


def test_readme_json_table() -> None:
    """Every key of a real result is in the table, and every key in the table is in a result."""
    text = section("JSON object")
    documented = {key for cell in first_column(text) for key in re.findall(r"`([^`]+)`", cell)}
    real, words = set(), set()
    for name in ("task", "session", "list", "failed", "login", "not found", "skipped", "unknown"):
        found = run_case(CASES[name], "--json").json
        real.update(keys(found))
        words.add(found["outcome"])
    assert documented == real
    assert [word for word in words if "`%s`" % word not in text] == []


def test_readme_exit_codes() -> None:
    numbers = {int(number) for cell in first_column(section("exit codes?"))
               for number in re.findall(r"\b\d+\b", cell)}
    assert numbers == {int(code) for code in load_program().ExitCode}  # type: ignore[attr-defined]


def test_readme_options() -> None:
    text = README.read_text(encoding="utf-8")
    for action in load_program().build_parser()._actions:  # type: ignore[attr-defined]
        for option in action.option_strings:
            assert re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(option), text), option


def test_help_has_the_exit_codes() -> None:
    result = run_program("-h")
    assert result.code == 0 and result.err == ""
    for code in load_program().ExitCode:  # type: ignore[attr-defined]
        assert re.search(r"(?<!\d)%d(?!\d)" % int(code), result.out), code


def test_sessions_are_told_apart_where_csm_gives_no_message(
        program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A session run whose trigger got no answer has no message of CSM's."""
    report = program.Report([])
    report.started, report.sessions = "perhaps", [
        program.Session(name, "Normal", "", None, "", False, 0, []) for name in "AB"]
    assert report.conclude("", program.ExitCode.UNKNOWN, "no answer", "look") == 8
    assert ('no answer; session "A" (Normal): no new backup; session "B" (Normal): no new backup; '
            "it is not known") in capsys.readouterr().err
