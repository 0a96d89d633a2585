"""Every wait has a limit, and at its end the process ends, though a worker is stuck in it.

Each of these would wait for ever, or for minutes. By signals: test_signals.py."""

import pathlib
import signal
import subprocess
from typing import Any, Callable, Dict, List

import pytest

from csm import SimulatedCsm
from support.checks import SLACK, is_trigger, triggers_sent
from support.program import (
    PASSWORD,
    USER,
    Result,
    address,
    finish,
    run_program,
    server_options,
    start_program,
)
from support.scenes import PAYROLL, TARGETS, mostly_slow
from support.stalls import (
    HANGING_NAME,
    NO_NAME_SERVICE,
    is_asked,
    pipe_without_writer,
    put_before,
    silent_port,
)

TIMEOUT = 8.0
LIMITS = ("--timeout", str(TIMEOUT), "--request-timeout", "1.5")


def block_alarm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])


def ignore_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def check_in_time(result: Result, *codes: int) -> None:
    assert result.code in codes, result.text
    assert result.seconds < TIMEOUT + SLACK
    assert "Traceback" not in result.text
    assert PASSWORD not in result.text


# --- Before there is a connection ---------------------------------------------------------------


def test_name_that_is_never_resolved(tmp_path: pathlib.Path) -> None:
    env = put_before(tmp_path, "sitecustomize", NO_NAME_SERVICE)
    given = ["-s", HANGING_NAME, "-u", USER, "-p", PASSWORD, *TARGETS["task"]]
    result = run_program(*given, *LIMITS, "--json", env=env)
    check_in_time(result, 3)
    assert is_asked(tmp_path)
    assert result.json["started"] == "no"
    assert HANGING_NAME in result.last_line
    assert "timed out" in result.last_line


@pytest.mark.parametrize("places", mostly_slow([(0, 1), (1, 0)], (0, 1)), ids=["first", "second"])
def test_one_name_of_a_pair_is_never_resolved(
    csm: SimulatedCsm, places: List[int], tmp_path: pathlib.Path
) -> None:
    """The backup is taken by way of the other one."""
    env = put_before(tmp_path, "sitecustomize", NO_NAME_SERVICE)
    servers = [HANGING_NAME, address(csm)]
    given = ["-s", ",".join(servers[place] for place in places), "-u", USER, "-p", PASSWORD]
    more = ["--fingerprint", csm.fingerprint, "--request-timeout", "1"]
    result = run_program(*given, *more, *TARGETS["task"], env=env)
    check_in_time(result, 0)
    assert len(csm.world.triggers) == len(csm.world.backups_made) == 1


def test_name_service_that_fails_in_mid_run(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    """The connection is lost after the trigger, and the name is not resolved any more."""
    late = NO_NAME_SERVICE.replace(
        f'if host == "{HANGING_NAME}":', "global count\n    count += 1\n    if count > 1:"
    ).replace("real =", "count = 0\nreal =")
    env = put_before(tmp_path, "sitecustomize", late)
    csm.inject_when(lambda request: request.method == "GET" and request.n > 5, "reset-before")
    csm.world.task(27).outcome = "hang"
    result = run_program(*server_options(csm), *TARGETS["task"], *LIMITS, env=env)
    check_in_time(result, 8)
    assert is_asked(tmp_path)
    assert len(csm.world.triggers) == 1


def test_handshake_that_never_ends() -> None:
    with silent_port() as listener:
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        given = ["-s", server, "-u", USER, "-p", PASSWORD, *TARGETS["task"], *LIMITS]
        check_in_time(run_program(*given), 3)


def test_certificate_whose_server_falls_silent(csm: SimulatedCsm) -> None:
    """The fingerprint is read over a connection of its own: that may hang, too."""
    given = ["-s", address(csm), "-u", USER, "-p", PASSWORD, *TARGETS["task"]]
    check_in_time(run_program(*given), 3)
    assert csm.requests == []


# --- Answers that never end ---------------------------------------------------------------------

AT: Dict[str, Callable[[Any], bool]] = {
    "log-in": lambda request: request.n >= 1,
    "first read": lambda request: request.n >= 2,
    "note": lambda request: request.n >= 3 and not is_trigger(request),
    "trigger": is_trigger,
    "looks": lambda request: request.n >= 6 and not is_trigger(request),
}
HANGS = {"head": 0.1, "body": 0.0005, "nothing": 0.0}  # seconds from byte to byte


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "hang", ["head", *(pytest.param(each, marks=pytest.mark.slow) for each in ("body", "nothing"))]
)
@pytest.mark.parametrize(
    "at", [each if each == "trigger" else pytest.param(each, marks=pytest.mark.slow) for each in AT]
)
def test_answer_that_never_ends(csm: SimulatedCsm, at: str, hang: str, target: str) -> None:
    """Its head drips, or its body, or nothing of it comes at all: for good."""
    csm.trickle_seconds = HANGS[hang] or 1.0
    csm.world.task(27).outcome = "hang"
    csm.world.session(PAYROLL).outcome = "no-backup"
    csm.inject_when(AT[at], "trickle" if HANGS[hang] else "silent-after", None)
    result = run_program(*server_options(csm), *TARGETS[target], *LIMITS, "--json")
    sent = triggers_sent(csm)
    is_needed = ("log-in", "first read") if target == "task" else ("log-in",)
    assert bool(sent) == (at not in is_needed)  # a session's first read is its note
    check_in_time(result, 8 if sent else 3)
    assert len(sent) <= 2
    assert (result.json["started"] == "no") == (not sent)


# --- Whatever the parent has done about signals -------------------------------------------------


@pytest.mark.parametrize("parent", mostly_slow([block_alarm, ignore_alarm], block_alarm))
@pytest.mark.parametrize("at", mostly_slow(["first read", "looks"], "looks"))
def test_alarm_that_the_parent_took_away(
    csm: SimulatedCsm, at: str, parent: Callable[[], None]
) -> None:
    """That is inherited: no limit may need it."""
    csm.inject_when(AT[at], "trickle", None)
    csm.world.task(27).outcome = "hang"
    process = start_program(
        *server_options(csm), *TARGETS["task"], *LIMITS, preexec_fn=parent, close_fds=True
    )
    check_in_time(finish(process), 3 if at == "first read" else 8)


# --- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--password-file", "--ca-file"])
def test_file_that_is_a_pipe(csm: SimulatedCsm, option: str, tmp_path: pathlib.Path) -> None:
    """Nobody writes to it: that is an error in a file, in time."""
    with pipe_without_writer(tmp_path) as path:
        given = ["-s", address(csm), "-u", USER, *TARGETS["task"], option, path]
        given += [] if option == "--password-file" else ["-p", PASSWORD]
        result = run_program(*given, "--timeout", "2")
    check_in_time(result, 2)
    assert "timed out" in result.last_line
    assert csm.requests == []


def test_standard_input_that_nobody_closes(csm: SimulatedCsm) -> None:
    given = ["-s", address(csm), "-u", USER, *TARGETS["task"], "--password-file", "-"]
    process = start_program(*given, "--timeout", "2", stdin=subprocess.PIPE)
    assert process.wait(SLACK) == 2
    assert "timed out" in finish(process).last_line
