"""QRadar's custom action: a chroot jail, and event values that an attacker may have picked."""

import contextlib
import fcntl
import os
import pathlib
import re
import subprocess
from typing import Any, Dict, List, NamedTuple, Union

import pytest

from csm import SimulatedCsm
from support.jail import NOBODY, SCRIPT, build_jail, ways_in
from support.program import (
    PASSWORD,
    PROGRAM,
    PROGRAM_PYTHON,
    USER,
    Result,
    finish,
    run_inside,
    run_program,
    run_python,
    server_options,
    start_program,
)
from support.scenes import PAYROLL, PAYROLL_TASK, TASK, mostly_slow
from support.syslog import Udp, parse_leef

RULE = {"RULE_ID": "100523", "RULE_NAME": "Ransomware: many files renamed", "LANG": "C"}

# name -> (what comes after "--", what is recorded of it)
ARGUMENT = Union[str, bytes]

EVENTS: Dict[str, Any] = {
    "help": (["-h"], ["-h"]),
    "check": (["--check"], ["--check"]),
    "insecure": (["--insecure"], ["--insecure"]),
    "list": (["--list", "--no-wait", "--version"], ["--list", "--no-wait", "--version"]),
    "other task": (
        ["--csm_task=thomastest", "-t", "thomastest"],
        ["--csm_task=thomastest", "-t", "thomastest"],
    ),
    "empty": ([""], [""]),
    "nothing": ([], []),
    "long": (["A" * 10240], ["A" * 10240]),
    "newlines": (["a\nb\r\nc"], ["abc"]),
    "tabs": (["a\tb"], ["ab"]),
    "pipes": (["|LEEF:2.0|x|", "^cat=ok^"], ["|LEEF:2.0|x|", "^cat=ok^"]),
    "escapes": (["\x1b]0;title\x07\x1b[2Jx\x9b31m"], ["]0;title[2Jx31m"]),
    "direction": (["ab\u202egpj.exe\u2028x"], ["abgpj.exex"]),
    "second": (["1", "--", "2", "--"], ["1", "--", "2", "--"]),
    "quotes": (["\"'`$(id)\\ {}%s%n"], ["\"'`$(id)\\ {}%s%n"]),
    "unicode": (["Z\u00fcrich \u2603"], ["Z\u00fcrich \u2603"]),
    "invalid UTF-8": ([b"a\xff\xfe\x80b"], ["a\ufffd\ufffd\ufffdb"]),
}


# --- The jail -----------------------------------------------------------------------------------


class Jail(NamedTuple):
    root: pathlib.Path
    prefix: List[str]  # of the command: what goes into the jail
    python: str  # seen from within

    def run(self, *arguments: ARGUMENT) -> Result:
        script = SCRIPT if self.prefix else str(self.root / SCRIPT)
        process = subprocess.Popen(
            [*self.prefix, self.python, script, *arguments],
            env=RULE,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.close(0),
        )
        return finish(process)


def jail_named(name: str, tmp_path_factory: Any, gcc: bool) -> Jail:
    """Built once, for all workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    root, ready = folder / name, folder / f"{name}.ready"
    with open(str(folder / f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            root.mkdir()
            ready.write_text(build_jail(root, gcc=gcc))
    python = ready.read_text()
    for prefix in ways_in(root):
        with contextlib.suppress(OSError):
            streams: Dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            if subprocess.call([*prefix, python, "-c", ""], **streams) == 0:
                return Jail(root, prefix, python)
    # Where nobody may chroot: the same files, still no environment, no stdin, no writable folder.
    return Jail(root, [], str(root) + python)


@pytest.fixture(scope="session")
def jail(tmp_path_factory: Any) -> Jail:
    """With all that ldd tells, and what a thread needs."""
    return jail_named("jail", tmp_path_factory, gcc=True)


@pytest.fixture(scope="session")
def jail_without_gcc(tmp_path_factory: Any) -> Jail:
    """With what ldd tells: of Python 3.6 a thread that ends then takes the process with it."""
    return jail_named("jail-without-gcc", tmp_path_factory, gcc=False)


def rows(csm: SimulatedCsm, *more: str) -> List[str]:
    """The fixed rows of the custom action's form, each of which is one argument."""
    return [
        "--csm_server=127.0.0.1",
        f"--csm_port={csm.port}",
        "--csm_user=" + USER,
        "--csm_user_passwd=" + PASSWORD,
        "--csm_task=" + PAYROLL_TASK,
        "--fingerprint=" + csm.fingerprint,
        *more,
        "--",
    ]


def one_backup(csm: SimulatedCsm) -> str:
    """-> the id of the one backup that the server made."""
    assert len(csm.world.attempts) == 1
    assert [(kind, name) for kind, name, _ in csm.world.triggers] == [("task", PAYROLL_TASK)]
    ((session, backup_id),) = csm.world.backups_made
    assert session == PAYROLL
    return backup_id


def assert_lines(text: str) -> None:
    """Each line is a log line of its own, and none holds a control character."""
    for line in text.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ [A-Z]+ \S", line)
        assert line.isprintable()


def test_custom_action(jail: Jail) -> None:
    """All that the jail lacks, and all hostile values at once."""
    values = [value for given, _ in EVENTS.values() for value in given]
    recorded = [value for _, kept in EVENTS.values() for value in kept]
    with SimulatedCsm() as csm, Udp() as receiver:
        result = jail.run(*rows(csm, "--json", f"--leef=127.0.0.1:{receiver.port}"), *values)
        assert result.code == 0, result.text
        backup_id = one_backup(csm)
        found = result.json
        assert found["outcome"] == "verified"
        assert found["started"] == "yes"
        assert [each["backup"]["id"] for each in found["sessions"]] == [backup_id]
        assert found["event"] == recorded
        assert found["rule_id"] == RULE["RULE_ID"]
        assert found["rule_name"] == RULE["RULE_NAME"]
        assert_lines(result.err)
        event = parse_leef(receiver.receive())
        assert event.id == "verified"
        assert event["backups"] == backup_id
        assert event["rule_id"] == RULE["RULE_ID"]
        assert event["rule_name"] == RULE["RULE_NAME"]
        assert receiver.receive(0.05) == b""
    # The jail is what it claims to be, and nothing was written there.
    assert not (jail.root / "dev").exists()
    assert not (jail.root / "etc").exists()
    assert sorted(each.name for each in jail.root.iterdir() if each.is_file()) == [SCRIPT]


def test_custom_action_text(jail: Jail) -> None:
    """One line on stdout, whatever the event; one per log line on stderr."""
    values = [value for given, _ in EVENTS.values() for value in given]
    with SimulatedCsm() as csm:
        result = jail.run(*rows(csm), *values)
        assert result.code == 0, result.text
        (line,) = result.out.splitlines()
        assert line.isprintable()
        assert one_backup(csm) in line
        assert_lines(result.err)
        assert PASSWORD not in result.text


def test_jail_is_unprivileged(jail: Jail) -> None:
    code = "import os, sys; print(os.getuid(), os.path.exists('/proc'), sys.stdin, os.getcwd())"
    if f"--userspec={NOBODY}:{NOBODY}" not in jail.prefix:
        return  # not run as root: an unprivileged user anyway
    told = subprocess.run(
        [*jail.prefix, jail.python, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        env=RULE,
        preexec_fn=lambda: os.close(0),
    )
    assert told.stdout.decode().split() == [str(NOBODY), "False", "None", "/"]


def test_jail_without_gcc_is_one(jail_without_gcc: Jail) -> None:
    assert list(jail_without_gcc.root.rglob("libgcc_s*")) == []


@pytest.mark.parametrize("leef", [False, True], ids=["", "LEEF"])
@pytest.mark.parametrize("outcome", mostly_slow(["good", "error", "no-backup"], "error"))
def test_no_libgcc(jail_without_gcc: Jail, outcome: str, leef: bool) -> None:
    """However it ends: no thread of the program ends before the process does."""
    with SimulatedCsm() as csm, Udp() as receiver:
        csm.world.task(PAYROLL_TASK).outcome = outcome
        more = [f"--leef=127.0.0.1:{receiver.port}"] if leef else []
        given = rows(csm, "--json", "--no-wait" if outcome == "no-backup" else "-v", *more)
        result = jail_without_gcc.run(*given, "192.0.2.7")
        assert result.code == (7 if outcome == "error" else 0), result.text
        assert "libgcc" not in result.text
        assert len(csm.world.attempts) == 1
        if leef:
            assert parse_leef(receiver.receive())["exit_code"] == str(result.code)


@pytest.mark.parametrize(
    "fault", mostly_slow(["silent-before", "trickle", "reset-before"], "silent-before")
)
def test_no_libgcc_and_no_answer(jail_without_gcc: Jail, fault: str) -> None:
    """A worker that is stuck is left behind, and so are its connections."""
    with SimulatedCsm() as csm, Udp() as receiver:
        csm.inject(4, fault, permanent=True)
        more = ("--timeout=6", "--request-timeout=1", f"--leef=127.0.0.1:{receiver.port}")
        result = jail_without_gcc.run(*rows(csm, "--json", *more))
        assert result.code == 8, result.text
        assert "libgcc" not in result.text
        assert parse_leef(receiver.receive()).id == "unknown"


@pytest.mark.parametrize("server", mostly_slow(["nowhere.invalid", "127.0.0.1:1"], "127.0.0.1:1"))
def test_no_libgcc_and_no_server(jail_without_gcc: Jail, server: str) -> None:
    """Nor where there is none, or a file or an option is wrong."""
    given = [f"--csm_server={server}", "--csm_user=u", "--csm_user_passwd=p", "--csm_task=t"]
    short = ["--timeout=2", "--leef=127.0.0.1:9"]
    result = jail_without_gcc.run(*given, *short)
    assert result.code == 3, result.text
    assert "libgcc" not in result.text
    result = jail_without_gcc.run(*given, *short, "--ca-file=/none")
    assert result.code == 2, result.text
    assert "libgcc" not in result.text


@pytest.mark.parametrize("module", ["requests", "urllib3"])
def test_module_missing(module: str, tmp_path: pathlib.Path) -> None:
    """-S: an interpreter without site packages. One of the two alone is of no use either."""
    (tmp_path / SCRIPT).write_bytes(PROGRAM.read_bytes())
    if module == "urllib3":  # a requests that is there, and needs what is not
        (tmp_path / "requests.py").write_text("import urllib3\n")
    result = finish(start_program(str(tmp_path / SCRIPT), "--csm_server=127.0.0.1", path="-S"))
    assert result.code == 2
    assert result.out == ""
    (line,) = result.err.splitlines()
    version = run_python("import platform; print(platform.python_version())")
    for fact in (module, PROGRAM_PYTHON, version.strip()):
        assert fact in line


# --- Event values -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_event_value(name: str) -> None:
    """Each hostile value alone: it is recorded, and changes nothing about the backup."""
    given, recorded = EVENTS[name]
    values = [os.fsdecode(value) for value in given]
    with SimulatedCsm(backup_seconds=0.02) as csm, Udp() as receiver:
        result = run_inside(*rows(csm, "--json", f"--leef=127.0.0.1:{receiver.port}"), *values)
        assert result.code == 0, result.text
        backup_id = one_backup(csm)
        assert result.json["event"] == recorded
        assert len(result.out.splitlines()) == 1
        assert result.out.rstrip("\n").isprintable()
        assert_lines(result.err)
        event = parse_leef(receiver.receive())
        assert (event.id, event["backups"], event["exit_code"]) == ("verified", backup_id, "0")
        whole = ",".join(recorded).replace("|", "_").replace("^", "_")
        assert event["event"] == whole if len(whole) < 100 else whole.startswith(event["event"])
        assert receiver.receive(0.02) == b""


@pytest.mark.parametrize(("value", "code"), [("-h", 0), ("--check", 0), ("--insecure", 2), ("", 2)])
def test_event_value_needs_the_separator(value: str, code: int) -> None:
    """Without "--" such a value is an argument; this shows that the tests above show something."""
    with SimulatedCsm() as csm:
        result = run_inside(*rows(csm)[:-1], value)
        assert csm.world.attempts == []
        assert result.code == code


@pytest.mark.parametrize(
    "env",
    [{}, {"LANG": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["", "C", "really C"],
)
def test_event_that_is_not_ascii(csm: SimulatedCsm, env: Dict[str, str]) -> None:
    """Whatever the locale is, nothing about an event may prevent the backup."""
    values = [
        "jos\u00e9 \u5c71\u3000\u7530\u00a0".encode(),
        b"\xff\xfe",
        b"\xed\xa0\x80",
        "\U0001f525".encode(),
    ]
    arguments = [*server_options(csm), "-t", TASK, "--json", "--"]
    result = run_program(*arguments, *values, env={**env, "RULE_NAME": b"r\xc3\xa8gle \xff"})
    assert result.code == 0, result.err
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1
    told = result.json
    assert told["event"][0] == "jos\u00e9 \u5c71\u3000\u7530\u00a0"  # its blanks, too
    assert told["event"][3] == "\U0001f525"
    assert told["rule_name"] == "r\u00e8gle \ufffd"
    assert len(told["event"]) == 4
