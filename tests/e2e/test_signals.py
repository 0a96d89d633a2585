"""Signals: the file that ships is stopped, and says how far it was.

Ctrl-C on a terminal: test_shell.py. What no signal ends: test_limits.py."""

import contextlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, Iterator, List, Optional

import pytest

from csm import Request, SimulatedCsm
from support.checks import SLACK, WORDS, check, is_trigger
from support.clock import JumpingClock
from support.program import (
    NAME,
    PASSWORD,
    USER,
    Result,
    finish,
    run_inside,
    server_options,
    start_program,
    without_credentials,
)
from support.scenes import PAYROLL, TARGETS, TASK_ID, mostly_slow, wait_for
from support.stalls import (
    HANGING_NAME,
    LOCK_IS_WANTED,
    NO_HOST_NAME,
    NO_MODULE,
    NO_NAME_SERVICE,
    full_pipe,
    is_asked,
    pipe_without_writer,
    put_before,
    silent_port,
)
from support.syslog import Udp, parse_leef
from support.terminal import Terminal

CODES: Dict[int, int] = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
each_signal = pytest.mark.parametrize("signum", mostly_slow(CODES, signal.SIGTERM))
NEVER = float("inf")
SOON = 10.0  # what hangs hangs for ever, or for 30 s at least: an idle machine needs 0.2 s


@pytest.fixture
def receiver() -> Iterator[Udp]:
    with Udp() as udp:
        yield udp


def told(udp: Udp) -> List[str]:
    """The options with which all is told on each way."""
    return ["--json", "--leef", f"127.0.0.1:{udp.port}"]


def stop(process: "subprocess.Popen[bytes]", number: int) -> Result:
    """A signal -> what is left of it. It ends at once."""
    process.send_signal(number)
    result = finish(process)
    assert result.seconds < SOON
    assert result.code == CODES[number], result.text
    assert "Traceback" not in result.text
    assert PASSWORD not in result.text
    assert result.err.count(f"{NAME}: {WORDS[result.code]}: ") == 1
    assert result.last_line.startswith(NAME)
    return result


def check_told(result: Result, udp: Udp, started: str = "no") -> None:
    """Line, JSON and LEEF say the same."""
    found = result.json
    assert (found["exit_code"], found["started"]) == (result.code, started)
    assert found["outcome"] == WORDS[result.code]
    assert found["message"] in result.last_line
    event = parse_leef(udp.receive())
    assert event.id == found["outcome"]
    assert event["started"] == started
    assert udp.receive(0.05) == b""


# --- In the midst of a request, and between two ------------------------------------------------


def stop_at(csm: SimulatedCsm, target: str, where: str, *options: str) -> "subprocess.Popen[bytes]":
    """Start a run that comes to a halt at that point -> the process, once it is there."""

    def is_there(request: Request) -> bool:
        if where == "wait":
            return request.method == "GET" and any(map(is_trigger, csm.requests[: request.n]))
        if where.startswith("trigger"):
            return is_trigger(request)
        return bool(request.n == {"log-in": 1, "read": 2}[where])

    if where == "wait":
        for record in (csm.world.task(TASK_ID), csm.world.session(PAYROLL)):
            record.outcome = "hang" if target == "task" else "no-backup"
    else:
        kind = "silent-after" if where == "trigger, processed" else "silent-before"
        csm.inject_when(is_there, kind, None)
    process = start_program(*server_options(csm), *TARGETS[target], *options)
    wait_for(lambda: any(map(is_there, csm.requests)))
    time.sleep(0.1)  # it has sent the request, and now waits for the answer
    return process


# Where it is stopped, whether something was started, and words that tell how far it was.
POINTS = [
    ("log-in", 0, "nothing was started"),
    ("read", 0, "nothing was started"),
    ("trigger, lost", 0, "not known"),
    ("trigger, processed", 1, "not known"),
    ("wait", 1, "CSM goes on"),
]


@pytest.mark.parametrize(("where", "triggers", "words"), POINTS)
@pytest.mark.parametrize("target", TARGETS)
@each_signal
def test_signal(
    csm: SimulatedCsm, target: str, where: str, triggers: int, words: str, signum: int
) -> None:
    result = stop(stop_at(csm, target, where), signum)
    check(result, csm, CODES[signum], triggers=triggers)
    is_done = (where, target) == ("wait", "session")  # CSM has answered: it is waited for no longer
    assert ("the run has ended" if is_done else words) in result.last_line
    assert result.out == ""


STARTED = {"log-in": "no", "read": "no", "trigger, processed": "perhaps", "wait": "yes"}


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("where", STARTED)
def test_signal_is_told_on_each_way(
    csm: SimulatedCsm, receiver: Udp, where: str, signum: int
) -> None:
    result = stop(stop_at(csm, "task", where, "-q", *told(receiver)), signum)
    check(result, csm, CODES[signum], triggers=int(where in ("trigger, processed", "wait")))
    check_told(result, receiver, STARTED[where])
    assert len(result.err.splitlines()) == 1


def test_no_wait_is_longer_than_a_slice(csm: SimulatedCsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the fifth of a second within which a signal is heard: so it is measured, whatever
    else the machine does."""
    clock = JumpingClock()
    waits: List[float] = []
    real = threading.Event.wait

    def wait(self: Any, timeout: Optional[float] = None) -> bool:
        # A thread that is started is waited for until it has begun; a stream that takes nothing
        # is waited for once: both are over at once here.
        caller = sys._getframe(1).f_code.co_name
        is_counted = caller not in ("start", "ends_within")
        if threading.current_thread() is threading.main_thread() and is_counted:
            waits.append(NEVER if timeout is None else timeout)
        return bool(real(self, timeout))

    csm.world.task(TASK_ID).outcome = "hang"
    monkeypatch.setattr(threading.Event, "wait", wait)
    arguments = [*server_options(csm), *TARGETS["task"], "--timeout", "300"]
    assert run_inside(*arguments, clock=clock).code == 8
    assert max(clock.slept) <= 0.1
    assert clock.elapsed > 100
    assert len(waits) > 10
    assert max(waits) <= 0.1


# --- Before there is a request, and where none is open ------------------------------------------


@each_signal
@pytest.mark.parametrize("module", ["requests", "urllib3"])
def test_modules_that_take_long(
    module: str, signum: int, receiver: Udp, tmp_path: pathlib.Path
) -> None:
    """A slow file system, or a cold one."""
    env = put_before(tmp_path, module, NO_MODULE)
    given = ["-s", "127.0.0.1", "-u", USER, "-p", PASSWORD, *TARGETS["task"], *told(receiver)]
    process = start_program(*given, env=env)
    wait_for(lambda: is_asked(tmp_path))
    check_told(stop(process, signum), receiver)


@pytest.mark.parametrize("module", ["difflib", "getpass"])
def test_interrupt_while_python_loads_its_own_modules(module: str, tmp_path: pathlib.Path) -> None:
    """The command line has not been read yet: a line, and no traceback."""
    process = start_program("--list", env=put_before(tmp_path, module, NO_MODULE))
    wait_for(lambda: is_asked(tmp_path))
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.code == 130
    assert "Traceback" not in result.text
    assert len(result.err.splitlines()) == 1
    assert NAME in result.err


def has_worker(process: "subprocess.Popen[bytes]") -> bool:
    """Does it wait for a thread of its own? So it is past its imports."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return "\nThreads:\t1\n" not in status


@each_signal
@pytest.mark.parametrize("option", ["--password-file", "--ca-file"])
def test_file_that_is_a_pipe(
    csm: SimulatedCsm, option: str, signum: int, receiver: Udp, tmp_path: pathlib.Path
) -> None:
    """Nobody writes to it."""
    given = ["-s", f"127.0.0.1:{csm.port}", "-u", USER, *TARGETS["task"], *told(receiver)]
    with pipe_without_writer(tmp_path) as path:
        os.chmod(path, 0o600)
        more = [] if option == "--password-file" else ["-p", PASSWORD]
        process = start_program(*given, *more, option, path)
        wait_for(lambda: has_worker(process))
        result = stop(process, signum)
    check_told(result, receiver)
    assert csm.requests == []


def test_standard_input_that_nobody_writes_to(csm: SimulatedCsm, receiver: Udp) -> None:
    given = [*without_credentials(csm), "-u", USER, "--password-file", "-", *TARGETS["task"]]
    process = start_program(*given, *told(receiver), stdin=subprocess.PIPE)
    wait_for(lambda: has_worker(process))
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 143  # its input is open still
    check_told(finish(process), receiver)


@each_signal
@pytest.mark.parametrize("at", ["user", "password"])
def test_prompt(csm: SimulatedCsm, at: str, signum: int, receiver: Udp) -> None:
    """The terminal shows again what is typed."""
    terminal = Terminal()
    with contextlib.closing(terminal):
        known = [] if at == "user" else ["-u", USER]
        given = [*without_credentials(csm), *TARGETS["task"], *known, *told(receiver)]
        process = terminal.start(*given, stdout=subprocess.PIPE)
        terminal.read_until(lambda text: at in text.lower())
        if at == "password":
            wait_for(lambda: not terminal.echo())
        process.send_signal(signum)
        began = time.monotonic()
        assert terminal.end() == CODES[signum], terminal.text
        assert time.monotonic() - began < SOON
        assert terminal.echo()
        assert process.stdout
        out = process.stdout.read().decode()
        line = terminal.text.replace("\r", "").splitlines()[-1]
    check_told(Result(code=CODES[signum], out=out, err=line, seconds=0.0), receiver)
    assert "Traceback" not in terminal.text
    assert csm.requests == []


@each_signal
def test_lock_of_another_call(
    csm: SimulatedCsm, signum: int, receiver: Udp, tmp_path: pathlib.Path
) -> None:
    """It is waited for; the other one goes on."""
    csm.world.task(TASK_ID).outcome = "hang"
    given = [*server_options(csm), *TARGETS["task"], "--min-interval", "1"]
    first = start_program(*given)
    try:
        wait_for(lambda: csm.world.triggers)
        seen = len(csm.requests)
        env = put_before(tmp_path, "sitecustomize", LOCK_IS_WANTED)
        second = start_program(*given, *told(receiver), env=env)
        wait_for(lambda: is_asked(tmp_path))
        check_told(stop(second, signum), receiver)
        assert [each for each in csm.requests[seen:] if "tokens" in each.path] == []
        assert first.poll() is None
        assert len(csm.world.triggers) == 1
    finally:
        stop(first, signal.SIGTERM)


@each_signal
def test_handshake_that_stalls(signum: int, receiver: Udp) -> None:
    with silent_port() as listener:
        server = f"127.0.0.1:{listener.getsockname()[1]}"
        given = ["-s", server, "-u", USER, "-p", PASSWORD, *TARGETS["task"], *told(receiver)]
        process = start_program(*given)
        listener.settimeout(30)
        with listener.accept()[0]:
            time.sleep(0.1)
            check_told(stop(process, signum), receiver)


@each_signal
def test_name_service_that_hangs(signum: int, receiver: Udp, tmp_path: pathlib.Path) -> None:
    env = put_before(tmp_path, "sitecustomize", NO_NAME_SERVICE)
    given = ["-s", HANGING_NAME, "-u", USER, "-p", PASSWORD, *TARGETS["task"], *told(receiver)]
    process = start_program(*given, env=env)
    wait_for(lambda: is_asked(tmp_path))
    check_told(stop(process, signum), receiver)


# --- Ignored, twice, blocked --------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_ignored_signal(csm: SimulatedCsm, signum: int) -> None:
    """A shell's background job ignores SIGINT, nohup SIGHUP: so does the program, and SIGTERM ends
    it."""
    csm.world.task(TASK_ID).outcome = "hang"
    process = start_program(
        *server_options(csm),
        *TARGETS["task"],
        preexec_fn=lambda: signal.signal(signum, signal.SIG_IGN),
    )
    wait_for(lambda: len(csm.world.triggers) == 1)
    process.send_signal(signum)
    time.sleep(0.5)
    assert process.poll() is None
    stop(process, signal.SIGTERM)


@pytest.mark.parametrize("first", mostly_slow(CODES, signal.SIGHUP))
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_it_at_once(
    csm: SimulatedCsm, first: int, second: int, tmp_path: pathlib.Path
) -> None:
    """With the code of the first, whatever the end waits for: here for the name of this host."""
    csm.world.task(TASK_ID).outcome = "hang"
    env = put_before(tmp_path, "sitecustomize", NO_HOST_NAME)
    given = [*server_options(csm), *TARGETS["task"], "--leef", "127.0.0.1:9"]
    process = start_program(*given, env=env)
    wait_for(lambda: csm.world.triggers)
    process.send_signal(first)
    wait_for(lambda: is_asked(tmp_path))
    process.send_signal(second)
    result = finish(process)
    assert result.seconds < SOON
    assert result.code == CODES[first]
    assert "Traceback" not in result.text


@each_signal
def test_nobody_reads_what_is_told(csm: SimulatedCsm, receiver: Udp, signum: int) -> None:
    """A pager that was left: the line cannot be written, and the call ends all the same."""
    csm.world.task(TASK_ID).outcome = "hang"
    writer = full_pipe()
    given = [*server_options(csm), *TARGETS["task"], "-q", *told(receiver)]
    process = start_program(*given, stderr=writer)
    os.close(writer)
    wait_for(lambda: csm.world.triggers)
    process.send_signal(signum)
    result = finish(process)
    assert result.seconds < SOON
    assert result.code == CODES[signum]
    assert result.json["exit_code"] == result.code
    assert parse_leef(receiver.receive())["exit_code"] == str(result.code)


@each_signal
@pytest.mark.parametrize("pause", mostly_slow((0, 0.005, 0.02, 0.1), 0, 0.02))
def test_impatience(csm: SimulatedCsm, signum: int, pause: float) -> None:
    """Ctrl-C again and again while the result is being told: whole lines, no traceback, and the
    code of one of them: of those that are pending at once, Python takes the lowest first."""
    process = stop_at(csm, "task", "wait")
    process.send_signal(signum)
    for _ in range(3):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.code in (CODES[signum], 130)
    assert result.err.count(f"{NAME}: ") <= 1
    assert "Traceback" not in result.text


@each_signal
def test_signal_that_is_swallowed(csm: SimulatedCsm, signum: int, tmp_path: pathlib.Path) -> None:
    """A destructor in which it arrives would hide an exception: a flag is not hidden."""
    env = put_before(
        tmp_path,
        "sitecustomize",
        "import os, requests\n"
        "class Odd:\n"
        f"    def __del__(self): os.kill(os.getpid(), {int(signum)})\n"
        "real = requests.Session.request\n"
        "def request(self, method, *args, **options):\n"
        "    answer = real(self, method, *args, **options)\n"
        "    if args[0].endswith('/27'): Odd()\n"
        "    return answer\n"
        "requests.Session.request = request\n",
    )
    csm.world.task(TASK_ID).outcome = "hang"
    result = finish(start_program(*server_options(csm), *TARGETS["task"], env=env))
    check(result, csm, CODES[signum], triggers=1)
    assert result.seconds < SLACK


# --- At random moments --------------------------------------------------------------------------


def soak(csm: SimulatedCsm, count: int, seed: int) -> Dict[int, int]:
    """So many calls, each stopped at a random moment -> how often each code came."""
    moments = random.Random(seed)
    codes: Dict[int, int] = {}
    for _ in range(count):
        first = moments.choice(list(CODES))
        at, wait = moments.choice(range(1, 9)), moments.random() * 0.03
        seen, triggers = len(csm.requests), len(csm.world.triggers)
        process = start_program(*server_options(csm), *TARGETS["task"], "--json")
        wait_for(lambda: len(csm.requests) >= seen + at or process.poll() is not None)  # noqa: B023
        time.sleep(wait)
        process.send_signal(first)
        result = finish(process)
        context = f"seed {seed}, request {at}, {wait} s, signal {first}: {result.text}"
        assert result.code in (CODES[first], 0), context
        assert result.seconds < SOON, context
        assert "Traceback" not in result.text, context
        found = result.json
        assert found["exit_code"] == result.code, context
        wait_for(lambda: not csm.world.task(TASK_ID).running)
        made = len(csm.world.triggers) - triggers
        assert made <= 1, context
        assert found["started"] != "no" or not made, context
        assert re.search(f"{NAME}: {WORDS[result.code]}: ", result.err) or not result.code
        codes[result.code] = codes.get(result.code, 0) + 1
    return codes


def test_random_moments(csm: SimulatedCsm) -> None:
    """Where a busy machine is late with the signal, the call has ended well: that is right, too."""
    csm.world.backup_seconds = 0.5
    codes = soak(csm, 6, seed=random.randrange(10**9))
    assert sum(codes.values()) == 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_moments_for_long(csm: SimulatedCsm) -> None:
    """300 of them, round each request. The seed is in the message of a failure."""
    codes = soak(csm, 300, seed=random.randrange(10**9))
    assert set(codes) >= set(CODES.values())
