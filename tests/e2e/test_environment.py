"""What surrounds a process: variables, files beside the program, modules, line ends, a second one.

All of it with the file that ships, as processes of their own."""

import base64
import pathlib
import shutil
import subprocess
import textwrap
from typing import Dict, Iterator, List

import pytest

from csm import SimulatedCsm
from support.checks import check, check_backup, is_login, is_trigger
from support.program import (
    NAME,
    PASSWORD,
    PROGRAM,
    USER,
    Result,
    finish,
    run_program,
    run_shipped,
    server_options,
    start_program,
    without_credentials,
)
from support.scenes import PAYROLL, PAYROLL_TASK, mostly_slow
from support.syslog import Udp, parse_leef
from support.terminal import Terminal

TARGET = ["-t", PAYROLL_TASK]


# --- Keys of the connection -----------------------------------------------------------------------


@pytest.mark.parametrize("trust", ["fingerprint", "CA file"])
@pytest.mark.parametrize(
    "where", mostly_slow(["no such folder", "can be written", "is a folder"], "can be written")
)
def test_no_key_is_logged(
    csm: SimulatedCsm, tmp_path: pathlib.Path, where: str, trust: str
) -> None:
    """It would be in a file that all can read; and a path that cannot be written stops nothing."""
    paths = {"no such folder": tmp_path / "no" / "keys", "can be written": tmp_path / "keys"}
    path = paths.get(where, tmp_path)
    options = server_options(csm)
    if trust == "CA file":
        options = [*options[:-2], "--ca-file", csm.ca_file]
    result = run_program(*options, *TARGET, env={"SSLKEYLOGFILE": str(path)})
    check_backup(result, csm)
    assert list(tmp_path.iterdir()) == []
    assert result.err.count("WARNING") == 0


# --- Modules --------------------------------------------------------------------------------------


def run_beside(csm: SimulatedCsm, folder: pathlib.Path) -> Result:
    """A copy of the program in a folder where other files lie, too."""
    copy = folder / "custom_action_7.py"
    shutil.copy(PROGRAM, copy)
    return finish(start_program(*server_options(csm), *TARGET, path=copy))


BESIDE = ("email", "token", "requests", "urllib3", "queue", "typing", "ssl", "argparse", "json")


@pytest.mark.parametrize(
    "content",
    ["x = 1", pytest.param("raise AttributeError('it does not fit')", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", BESIDE)
def test_file_that_hides_a_module(
    csm: SimulatedCsm, tmp_path: pathlib.Path, name: str, content: str
) -> None:
    (tmp_path / f"{name}.py").write_text(content + "\n")
    result = run_beside(csm, tmp_path)
    if result.code == 0 and name not in (
        "requests",
        "urllib3",
    ):  # not every Python needs the others
        check_backup(result, csm)
        return
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    cause = "TYPE_CHECKING" if name == "typing" else name  # what it lacks
    assert any(each in result.err for each in ("it does not fit", f"{name}.py", f"'{cause}'"))
    if name in ("requests", "urllib3", "email"):
        assert result.err.startswith(NAME)


def test_module_that_does_not_fit(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    """As pyOpenSSL, where it does not fit its cryptography: old requests load it if it is there."""
    (tmp_path / "OpenSSL").mkdir()
    text = "module 'lib' has no attribute 'X509_V_FLAG_NOTIFY_POLICY'"
    (tmp_path / "OpenSSL" / "__init__.py").write_text(f"raise AttributeError({text!r})\n")
    result = run_program(*server_options(csm), *TARGET, env={"PYTHONPATH": str(tmp_path)})
    if result.code == 0:
        check_backup(result, csm)
        return
    check(result, csm, 2)
    assert text in result.last_line
    assert len(result.err.splitlines()) == 1


def test_empty_row_is_told_by_leef(csm: SimulatedCsm) -> None:
    """Of QRadar's form: an argument that is empty."""
    with Udp() as receiver:
        leef = ["--leef", f"127.0.0.1:{receiver.port}"]
        result = run_program(*server_options(csm), *TARGET, "", *leef)
        event = parse_leef(receiver.receive())
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert event["exit_code"] == "2"
    assert event.id == "usage"


# --- Line ends ------------------------------------------------------------------------------------

CREDENTIALS: Dict[str, List[str]] = {
    "password": ["-u", USER, "-p", f"{PASSWORD}\r"],
    "user": ["-u", f"{USER}\r", "-p", PASSWORD],
    "password as one token": ["-u", USER, f"--csm_user_passwd={PASSWORD}\r"],
}


@pytest.mark.parametrize("which", CREDENTIALS)
def test_carriage_return_in_a_credential(csm: SimulatedCsm, which: str) -> None:
    """A crontab that was saved with CR LF: nothing is sent, lest the user be locked."""
    result = run_shipped(*without_credentials(csm), *CREDENTIALS[which], *TARGET)
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert "control character" in result.last_line


@pytest.mark.parametrize("name", ["CSM_USER", "CSM_USER_PASSWD"])
def test_carriage_return_in_the_environment(csm: SimulatedCsm, name: str) -> None:
    env = {"CSM_USER": USER, "CSM_USER_PASSWD": PASSWORD}
    env[name] += "\r"
    result = run_program(*without_credentials(csm), *TARGET, env=env)
    check(result, csm, 2)
    assert csm.tcp_connections == 0


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_line_end_of_a_password_file(csm: SimulatedCsm, tmp_path: pathlib.Path, end: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(PASSWORD.encode() + end)
    path.chmod(0o600)
    options = ["-u", USER, "--password-file", str(path)]
    check_backup(run_shipped(*without_credentials(csm), *options, *TARGET), csm)


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LONG = "p4ss" * 40
WRAPPED = "\n".join(textwrap.wrap(packed(LONG), 76)) + "\n"
BASE64 = {
    "CR LF inside": (packed(f"{PASSWORD}\r\n"), PASSWORD),
    "newline inside": (packed(f"{PASSWORD}\n"), PASSWORD),
    "newlines round it": (f"\n{packed(PASSWORD)}\n", PASSWORD),
    "CR LF after it": (f"{packed(PASSWORD)}\r\n", PASSWORD),
    "wrapped": (WRAPPED, LONG),
    "wrapped with CR LF": (WRAPPED.replace("\n", "\r\n"), LONG),
}


@pytest.mark.parametrize("how", BASE64)
def test_base64(csm: SimulatedCsm, how: str) -> None:
    """As IBM's sample script takes it."""
    given, csm.world.password = BASE64[how]
    options = ["--base64", "-u", packed(f"{USER}\r\n"), "-p", given]
    check_backup(run_shipped(*without_credentials(csm), *options, *TARGET), csm)
    assert len([each for each in csm.requests if is_login(each)]) == 1


@pytest.mark.parametrize("option", ["-t", "-S"])
@pytest.mark.parametrize(
    ("end", "shown"), [("\r", "\\r"), ("\u200b", "\\u200b"), ("\n", "\\n"), ("\ufeff", "\\ufeff")]
)
def test_name_with_what_cannot_be_seen(
    csm: SimulatedCsm, option: str, end: str, shown: str
) -> None:
    name = PAYROLL_TASK if option == "-t" else PAYROLL
    result = run_shipped(*server_options(csm), option, name + end)
    check(result, csm, 5)
    assert f'"{name}{shown}"' in result.last_line
    assert f'closest: "{name}"' in result.last_line


def test_wrong_option(csm: SimulatedCsm) -> None:
    """The closest one, and where it stands; never what was given."""
    result = run_shipped(*server_options(csm), "--csm_t", "X marks it")
    check(result, csm, 2)
    assert "argument 9 is no option: --csm_task?" in result.last_line
    assert "X marks it" not in result.text
    assert csm.tcp_connections == 0


# --- The true reason ------------------------------------------------------------------------------

CLOSED = "got no answer: the connection was closed"
REASONS = {
    "silent-before": ("got no answer: timed out",),
    # Some versions of ssl tell a reset as an end.
    "reset-before": ("got no answer: Connection reset by peer", CLOSED),
    "close-before": (CLOSED,),
    # urllib3 1.x does not count what comes.
    "cut": ("got no answer: the answer was cut", "answered 200 no JSON", CLOSED),
}


@pytest.mark.parametrize("kind", mostly_slow(REASONS, "cut", "reset-before"))
def test_why_there_is_no_answer(csm: SimulatedCsm, kind: str) -> None:
    """Whatever urllib3 it is."""
    csm.inject_when(lambda request: not is_login(request), kind, None)
    options = ["--check", "--request-timeout", "1.5", "--timeout", "6"]
    result = run_shipped(*server_options(csm), *TARGET, *options)
    check(result, csm, 3)  # the last try may have had no time for an answer
    assert any(each in result.err for each in REASONS[kind])
    assert "Error" not in result.text


@pytest.mark.parametrize("kind", REASONS)
def test_why_the_trigger_got_no_answer(csm: SimulatedCsm, kind: str) -> None:
    csm.inject_when(is_trigger, kind.replace("-before", "-after"))
    result = run_shipped(*server_options(csm), *TARGET, "--request-timeout", "2")
    check_backup(result, csm)
    if kind != "silent-before":  # of which the run shows sooner
        assert any(each in result.err for each in REASONS[kind])
    assert "Error" not in result.text


# --- A second one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [["-S", PAYROLL], TARGET], ids=["session", "task"])
def test_two_copies_at_once(tmp_path: pathlib.Path, target: List[str]) -> None:
    """One lock a target and machine, whatever the copy of the script."""
    copy = tmp_path / "custom_action_7.py"
    shutil.copy(PROGRAM, copy)
    with SimulatedCsm(backup_seconds=1.5) as csm:
        given = [*server_options(csm), *target, "--min-interval", "30"]
        both: List["subprocess.Popen[bytes]"] = [
            start_program(*given, path=path) for path in (PROGRAM, copy)
        ]
        results = [finish(each) for each in both]
        assert [each.code for each in results] == [0, 0], [each.text for each in results]
        assert len(csm.world.triggers) == len(csm.world.backups_made) == 1
    words = sorted(each.out.partition(":")[0] for each in results)
    assert words == ["skipped", "verified"]


def test_two_targets_at_once() -> None:
    """They do not wait for one another."""
    with SimulatedCsm(backup_seconds=1.0) as csm:
        given = [*server_options(csm), "--min-interval", "30"]
        others = (["-S", PAYROLL], ["-t", "ITSO_SGC_H1_LAH81"])
        results = [finish(each) for each in [start_program(*given, *each) for each in others]]
        assert [each.code for each in results] == [0, 0]
        assert len(csm.world.backups_made) == 2
    assert not any("another call" in each.err for each in results)


# --- Typing takes its time ------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


@pytest.mark.slow
def test_prompt_for_longer_than_the_deadline(csm: SimulatedCsm, terminal: Terminal) -> None:
    terminal.start(*without_credentials(csm), *TARGET, "--timeout", "6")
    terminal.read_until(lambda text: "user" in text.lower())
    terminal.type(f"{USER}\n")
    terminal.read_until(lambda text: "password" in text.lower())
    terminal.read(6.5)
    terminal.type(f"{PASSWORD}\n")
    assert terminal.end() == 0, terminal.text
    assert len(csm.world.backups_made) == 1
