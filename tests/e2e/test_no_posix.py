"""Nothing that only POSIX has is needed: all of that is taken away from the interpreter.

It is no Windows: what is proven is that the program asks for nothing of this list."""

import pathlib
from typing import Dict, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import check, check_backup
from support.program import (
    NAME,
    PASSWORD,
    USER,
    run_program,
    run_python,
    server_options,
    without_credentials,
)
from support.scenes import PAYROLL, TASK, mostly_slow
from support.syslog import Udp, parse_leef

# In a module that Python loads before the program. What Python itself has loaded by then is put
# out of the program's reach.
WITHOUT_POSIX = """
import importlib, importlib.abc, os, signal, socket, sys, time

GONE = ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog")
for name in GONE:
    sys.modules[name] = None  # an import of it raises ModuleNotFoundError

KEPT = ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN")
for name in dir(signal):
    if name.startswith("SIG") and name not in KEPT:
        delattr(signal, name)
for name in ("alarm", "setitimer", "getitimer", "pause", "pthread_sigmask", "pthread_kill",
             "sigwait", "sigpending", "siginterrupt", "sigtimedwait", "sigwaitinfo", "ITIMER_REAL",
             "ITIMER_VIRTUAL", "ITIMER_PROF"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in [each for each in dir(socket) if each.startswith("AF_UNIX")]:
    delattr(socket, name)
for name in ("SO_REUSEPORT", "SOCK_NONBLOCK", "SOCK_CLOEXEC", "MSG_DONTWAIT", "MSG_NOSIGNAL"):
    if hasattr(socket, name):
        delattr(socket, name)

for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getgroups", "setsid",
             "setuid", "getpgid", "getpgrp", "uname", "fchmod", "fchown", "chown", "chroot", "wait",
             "mkfifo", "openpty", "ttyname", "sysconf", "getloadavg", "killpg", "nice", "sync",
             "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_NOCTTY", "ctermid"):
    if hasattr(os, name):
        delattr(os, name)
if NAME:
    import getpass, requests, ssl, subprocess, tempfile
    os.name, sys.platform = "nt", "win32"

real = time.strftime
KNOWN = set("aAbBcdHIjmMpSUwWxXyYZ%")  # what C89 knows: Windows raises for all others
def strftime(form, *more):
    letters = [form[at + 1 : at + 2] for at in range(len(form)) if form[at] == "%"]
    if form.count("%%") == 0 and not set(letters) <= KNOWN:
        raise ValueError("Invalid format string")
    return real(form, *more)
time.strftime = strftime
for name in ("tzset", "clock_gettime", "clock_settime"):
    if hasattr(time, name):
        delattr(time, name)
"""
# Two ways to tell that it is not POSIX: by what is there, and by what the system calls itself. By
# the latter the libraries would ask for modules that only Windows has: so they are loaded before.
WAYS = {"what is there": "NAME = False\n", "its name, too": "NAME = True\n"}

PROBE = """
import os, signal, socket, time
assert not hasattr(signal, "SIGALRM") and not hasattr(signal, "SIGHUP")
assert not hasattr(signal, "setitimer") and not hasattr(socket, "AF_UNIX")
for name in ("fcntl", "termios", "pwd", "resource"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(name)
for form in ("%e", "%T", "%F", "%s"):
    try:
        time.strftime(form)
    except ValueError:
        continue
    raise AssertionError(form)
print("gone")
"""


@pytest.fixture(params=WAYS)
def env(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Dict[str, str]:
    """The environment of an interpreter without POSIX."""
    path = tmp_path / "site" / "sitecustomize.py"
    path.parent.mkdir()
    name = WAYS[request.param]
    path.write_text(name + WITHOUT_POSIX)
    return {"PYTHONPATH": str(path.parent), "PYTHONDONTWRITEBYTECODE": "1"}


def test_it_is_gone(env: Dict[str, str]) -> None:
    """What the others prove, they prove without all of that."""
    assert run_python(PROBE, env=env).strip() == "gone"


TRIALS: Dict[str, Tuple[str, ...]] = {
    "task": ("-t", TASK),
    "session": ("-S", PAYROLL),
    "minimum interval, old": ("-t", TASK, "--min-interval", "1"),
    "verbose": ("-t", TASK, "-v"),
    "quiet": ("-t", TASK, "-q"),
}


@pytest.mark.parametrize("name", mostly_slow(TRIALS, "task", "session"))
def test_backup(csm: SimulatedCsm, env: Dict[str, str], name: str) -> None:
    result = run_program(*server_options(csm), *TRIALS[name], env=env)
    check(result, csm, 0, triggers=1)
    assert len(csm.world.backups_made) == 1
    assert csm.world.backups_made[0][1] in result.out or name == "quiet"
    assert "WARNING" not in result.err


@pytest.mark.parametrize("option", [("--list",), ("-t", TASK, "--check")], ids=" ".join)
def test_glance(csm: SimulatedCsm, env: Dict[str, str], option: Tuple[str, ...]) -> None:
    result = run_program(*server_options(csm), *option, env=env)
    check(result, csm, 0)
    assert TASK in result.out


def test_minimum_interval(csm: SimulatedCsm, env: Dict[str, str]) -> None:
    result = run_program(*server_options(csm), "-t", TASK, "--min-interval", "600", env=env)
    check(result, csm, 0)
    assert "skipped" in result.out


@pytest.mark.parametrize("outcome", ["good", "error"])
def test_json_and_leef(csm: SimulatedCsm, env: Dict[str, str], outcome: str) -> None:
    csm.world.task(27).outcome = outcome
    with Udp() as udp:
        leef = ("--json", "--leef", f"127.0.0.1:{udp.port}")
        result = run_program(*server_options(csm), "-t", TASK, *leef, "--", "192.0.2.7", env=env)
        event = parse_leef(udp.receive())
    code = 0 if outcome == "good" else 7
    check(result, csm, code, triggers=1)
    assert result.json["exit_code"] == code
    assert (event["exit_code"], event["event"]) == (str(code), "192.0.2.7")


@pytest.mark.parametrize("mode", mostly_slow([0o600, 0o644], 0o644))
def test_password_file(
    csm: SimulatedCsm, env: Dict[str, str], mode: int, tmp_path: pathlib.Path
) -> None:
    """Who can read it is not asked where the system calls itself by another name."""
    secret = tmp_path / "password"
    secret.write_bytes(PASSWORD.encode() + b"\r\n")
    secret.chmod(mode)
    given = [*without_credentials(csm), "-u", USER, "--password-file", str(secret)]
    check_backup(run_program(*given, "-t", TASK, env=env), csm)


def test_password_on_standard_input(csm: SimulatedCsm, env: Dict[str, str]) -> None:
    given = [*without_credentials(csm), "-u", USER, "--password-file", "-", "-t", TASK]
    check_backup(run_program(*given, env=env, stdin=PASSWORD.encode() + b"\r\n"), csm)


@pytest.mark.parametrize(
    "wrong",
    mostly_slow(
        [("-t", " "), ("-t", TASK, "--csm-task", "x"), ("--timeout", "x"), ()], ("-t", " ")
    ),
    ids=str,
)
def test_wrong_command_line(csm: SimulatedCsm, env: Dict[str, str], wrong: Tuple[str, ...]) -> None:
    result = run_program(*server_options(csm), *wrong, env=env)
    check(result, csm, 2)
    assert len(result.err.splitlines()) == 1
    assert result.last_line.startswith(NAME)
    assert csm.requests == []


def test_no_credentials_and_no_terminal(csm: SimulatedCsm, env: Dict[str, str]) -> None:
    result = run_program(*without_credentials(csm), "-t", TASK, env=env)
    check(result, csm, 2)
    assert csm.requests == []


@pytest.mark.parametrize("option", mostly_slow(["--help", "--version"], "--help"))
def test_help(env: Dict[str, str], option: str) -> None:
    result = run_program(option, env=env)
    assert result.code == 0
    assert result.err == ""
