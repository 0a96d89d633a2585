"""Where user and password come from, and that they arrive as they were given.

Run by PROGRAM_PYTHON. Prompts: test_shell.py."""

import base64
import os
import pathlib
import shlex
from typing import Dict, List, Optional

import pytest

from csm import SimulatedCsm
from support.checks import check
from support.program import (
    PASSWORD,
    USER,
    address,
    run_inside,
    run_program,
    run_shipped,
    server_options,
    without_credentials,
    without_trust,
)
from support.scenes import TASK, mostly_slow


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENV = {"CSM_USER": USER, "CSM_USER_PASSWD": PASSWORD}


@pytest.mark.parametrize(
    ("args", "env", "stdin"),
    [
        ([], ENV, ""),
        (["-u", USER], {"CSM_USER_PASSWD": PASSWORD}, ""),
        (["-u", USER, "-p", PASSWORD], {"CSM_USER": "x", "CSM_USER_PASSWD": "x"}, ""),
        (["-u", USER, "--password-file", "-"], {}, PASSWORD),
        (["-u", USER, "--password-file", "-"], {"CSM_USER_PASSWD": "x"}, PASSWORD + "\n"),
        (["--csm_user=" + USER, "--csm_user_passwd=" + PASSWORD], {}, ""),
        (["--base64", "-u", base64_of(USER), "-p", base64_of(PASSWORD)], {}, ""),
        (["--base64", "-u", base64_of(USER + "\n"), "-p", base64_of(PASSWORD + "\n")], {}, ""),
    ],
    ids=lambda value: shlex.quote(str(value)) if isinstance(value, str) else None,
)
def test_credentials(csm: SimulatedCsm, args: List[str], env: Dict[str, str], stdin: str) -> None:
    given = [*without_credentials(csm), "-t", TASK, "--no-wait", *args]
    result = run_program(*given, env=env, stdin=stdin.encode())
    check(result, csm, 0, triggers=1)
    assert csm.requests[0].form == {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        (PASSWORD, 0o600, 0),
        (PASSWORD + "\n", 0o600, 0),
        (PASSWORD + "\r\n", 0o400, 0),
        (PASSWORD + "\n", 0o640, 0),
        (PASSWORD + "\nsecond\n", 0o600, 2),
        ("", 0o600, 2),
        ("\n", 0o600, 2),
        (None, 0, 2),
        ("\ufeff" + PASSWORD + "\n", 0o600, 0),
    ],
)
def test_password_file(
    csm: SimulatedCsm, tmp_path: pathlib.Path, content: Optional[str], mode: int, code: int
) -> None:
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content.encode())
        secret.chmod(mode)
    options = server_options(csm)
    at = options.index("-p")
    options[at : at + 2] = ["--password-file", str(secret)]
    result = run_shipped(*options, "-t", TASK, "--no-wait")
    check(result, csm, code, triggers=int(code == 0))
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
    options[at : at + 2] = [option, str(tmp_path / "file")]
    result = run_program(*options, "-t", TASK, "--timeout", "0.3")
    check(result, csm, 2, triggers=0)
    assert f"{option}: timed out" in result.last_line
    assert csm.tcp_connections == 0


@pytest.mark.parametrize("option", ["--password-file", "--ca-file"])
def test_file_name_that_is_not_ascii(
    csm: SimulatedCsm, tmp_path: pathlib.Path, option: str
) -> None:
    """Whatever the locale is. Python 3.7 and later take C for UTF-8, unless told otherwise."""
    file = os.fsencode(str(tmp_path / "Z")) + "\u00fcrich".encode()
    options = server_options(csm)
    with open(file, "wb") as out:
        os.chmod(file, 0o600)
        out.write(
            PASSWORD.encode()
            if option == "--password-file"
            else pathlib.Path(csm.ca_file).read_bytes()
        )
    at = options.index("-p" if option == "--password-file" else "--fingerprint")
    arguments = [os.fsencode(each) for each in options]
    arguments[at : at + 2] = [option.encode(), file]
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = run_program(*arguments, "-t", TASK, "--json", env=env)
    assert result.code == 0, result.err
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1


@pytest.mark.parametrize(
    "password", ["-x1 --check", "-h", "caf\u00e9 \u20ac", " padded ", "a=b&c+d", "aGVsbG8="]
)
@pytest.mark.parametrize(
    "env",
    mostly_slow([{}, {"LANG": "C", "LC_ALL": "C"}], {"LANG": "C", "LC_ALL": "C"}),
    ids=["", "C"],
)
def test_odd_password(password: str, env: Dict[str, str]) -> None:
    """As it was typed, whatever it looks like and whatever the locale is."""
    with SimulatedCsm(password=password) as csm:
        result = run_program(
            f"--csm_server={address(csm)}",
            "--csm_user=" + USER,
            "--csm_user_passwd=" + password,
            "--csm_task=" + TASK,
            "--no-wait",
            "--fingerprint=" + csm.fingerprint,
            env=env,
        )
        check(result, csm, 0, triggers=1)
        assert csm.requests[0].form["password"] == password


def test_password_that_is_no_utf_8() -> None:
    """It is not sent as another one: that could lock the user."""
    with SimulatedCsm() as csm:
        options = server_options(csm)
        options[options.index("-p") + 1] = "p\udce9ss"
        result = run_inside(*options, "-t", TASK)
        assert result.code == 2
        assert csm.requests == []


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (base64_of(USER), "no base64!"),
        (base64_of(USER), "YWJj" + "x"),
        (base64_of(USER), base64.b64encode(b"\xff\xfe").decode()),
        ("*", base64_of(PASSWORD)),
    ],
)
def test_bad_base64(csm: SimulatedCsm, user: str, password: str) -> None:
    result = run_program(
        *without_trust(csm)[:2], "-u", user, "-p", password, "--base64", "-t", TASK, "--insecure"
    )
    check(result, csm, 2)
    assert csm.tcp_connections == 0
    assert password not in result.text
