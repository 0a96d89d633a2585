"""How the tests run the program: as its callers do, and quickly in the test's own process.

The one place that knows how the program looks inside: what is below "Its insides" is all that a
change of its interface needs.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading
import time
import types
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Union
from unittest import mock

from csm import SimulatedCsm
from support.clock import Clock, JumpingClock

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = TOP / "run-cr-wflow-ds8k.py"
README = TOP / "README.md"
NAME = "run-cr-wflow-ds8k"  # what the line that tells a failure begins with
USER, PASSWORD = "admin", "s3cret pass"
# The interpreter that the program is run with: CI sets it to older ones.
PROGRAM_PYTHON = os.environ.get("PROGRAM_PYTHON") or sys.executable


class Pace(NamedTuple):
    """The periods of the program that a test may shorten, in seconds; these are its own."""

    grace: float = 60.0  # for a late backup or message
    settle: float = 5.0  # where the run has finished, or was refused
    first_contact: float = 30.0  # how long a server that never let us in is tried


# --- Its insides --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def compiled(path: Union[pathlib.Path, str]) -> types.CodeType:
    """Once: that would take as long as a whole run."""
    return compile(pathlib.Path(path).read_bytes(), str(path), "exec")


def load(path: Union[pathlib.Path, str] = PROGRAM) -> Any:
    """The program as a module, new each time: its file's name is no module name."""
    module = types.ModuleType("program")
    module.__file__ = str(path)
    sys.modules["program"] = module
    exec(compiled(path), vars(module))
    return module


@functools.lru_cache(maxsize=None)
def loaded() -> Any:
    """The program as a module, loaded once: for tests that change nothing in it."""
    return load()


def call_main(program: Any, argv: List[str], pace: Pace, clock: Clock) -> int:
    """main() with that pace and that clock."""
    return int(program.main(argv, pace=program.Pace(**pace._asdict()), clock=clock))


# The same in a process of its own, on any Python that the program runs on: its pauses are ten
# times shorter. Arguments: the program, and what it is given.
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
assert program.Pace().grace == 60
pace = program.Pace(**{periods!r})
program.leave(program.main(sys.argv[2:], pace=pace, clock=Quick()))
"""
QUICK_PROCESS = {"grace": 1.5, "settle": 1.0}


def exceptions_of(program: Any) -> List[Exception]:
    """What ends the runs of this module from now on is added to the list."""
    caught: List[Exception] = []
    run_mode = program.run_mode

    def spy(*args: Any, **options: Any) -> Any:
        try:
            return run_mode(*args, **options)
        except Exception as error:
            caught.append(error)
            raise

    program.run_mode = spy
    return caught


def without_threads(program: Any) -> None:
    """This module can start no thread any more, as where the number of processes is limited."""

    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    program.threading = types.SimpleNamespace(**{**vars(threading), "Thread": Thread})


def exit_codes() -> List[int]:
    """All of them."""
    return [int(code) for code in load().ExitCode]


def option_strings() -> List[str]:
    """All options, short and long."""
    actions = load().build_parser()._actions
    return [option for action in actions for option in action.option_strings]


def option_defaults() -> Dict[str, Any]:
    """Each long option that has a default -> the default."""
    actions = load().build_parser()._actions
    return {
        action.option_strings[-1]: action.default
        for action in actions
        if action.option_strings and action.default not in (None, False, "==SUPPRESS==")
    }


def outcome_words() -> Dict[str, int]:
    """Each outcome word -> its exit code."""
    program = load()
    words = {word: int(code) for word, code in program.GOOD_ENDS.items()}
    words.update((program.word_of(each), int(each)) for each in program.ExitCode if each)
    return words


# --- Running it ---------------------------------------------------------------------------------


class Result(NamedTuple):
    """What came of a run."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Dict[str, Any]:
        """The object of --json."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def text(self) -> str:
        """All that was told."""
        return self.out + self.err

    @property
    def last_line(self) -> str:
        """Of stderr: the one that says why it failed, where it did."""
        return (self.err.splitlines() or [""])[-1]


def address(csm: SimulatedCsm) -> str:
    """HOST:PORT."""
    return f"{csm.host}:{csm.port}"


def server_options(*servers: SimulatedCsm) -> List[str]:
    """-s (one server, or a pair), user, password and the trusted fingerprint."""
    given = ["-s", ",".join(map(address, servers)), "-u", USER, "-p", PASSWORD]
    return [*given, "--fingerprint", servers[0].fingerprint]


def without_trust(csm: SimulatedCsm, host: str = "127.0.0.1") -> List[str]:
    """Server, user and password; not what the server is trusted by."""
    return ["-s", f"{host}:{csm.port}", "-u", USER, "-p", PASSWORD]


def without_credentials(csm: SimulatedCsm) -> List[str]:
    """Server and fingerprint; neither user nor password."""
    return ["-s", address(csm), "--fingerprint", csm.fingerprint]


@contextlib.contextmanager
def kept_signals() -> Iterator[None]:
    """The program sets handlers, and ignores signals at its end."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {each: signal.getsignal(each) for each in names}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def run_inside(
    *argv: str, pace: Optional[Pace] = None, clock: Optional[Clock] = None, program: Any = None
) -> Result:
    """main() in this process; unless told otherwise time jumps. The system's CAs are not read:
    that would be half of the CPU time of these tests, and the servers here are not of them."""
    program = program or loaded()
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(kept_signals())
        stack.enter_context(mock.patch.object(ssl.SSLContext, "set_default_verify_paths"))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        pace, clock = pace or Pace(), clock or JumpingClock()
        code = call_main(program, list(argv), pace=pace, clock=clock)
    return Result(
        code=code, out=out.getvalue(), err=err.getvalue(), seconds=time.monotonic() - began
    )


def run_against(csm: SimulatedCsm, clock: Clock, *argv: str) -> Result:
    """main() in this process, told of that server, on that clock."""
    return run_inside(*server_options(csm), *argv, clock=clock)


def start_program(
    *argv: Union[str, bytes],
    env: Optional[Dict[str, Any]] = None,
    path: Union[pathlib.Path, str] = PROGRAM,
    **options: Any,
) -> "subprocess.Popen[bytes]":
    """The file that ships, as a process of PROGRAM_PYTHON with an all but empty environment."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([PROGRAM_PYTHON, str(path), *argv], env=env or {}, **options)


def finish(process: "subprocess.Popen[bytes]", stdin: bytes = b"", timeout: float = 100) -> Result:
    """Wait for the end of a process that was started."""
    began = time.monotonic()
    try:
        out, err = process.communicate(stdin or None, timeout=timeout)
    finally:
        process.kill()
    seconds = time.monotonic() - began
    return Result(
        code=process.returncode,
        out=(out or b"").decode(),
        err=(err or b"").decode(),
        seconds=seconds,
    )


def run_program(
    *argv: Union[str, bytes],
    env: Optional[Dict[str, Any]] = None,
    stdin: bytes = b"",
    timeout: float = 100,
) -> Result:
    """The file that ships, from its start to its end."""
    return finish(start_program(*argv, env=env, stdin=subprocess.PIPE), stdin, timeout)


def run_shipped(*argv: str) -> Result:
    """As a process where PROGRAM_PYTHON asks for one (.ci/run does), else in this one: for what
    is about the program, and would cost most of its time in starting the interpreter."""
    return run_program(*argv) if "PROGRAM_PYTHON" in os.environ else run_inside(*argv)


def run_quickly(*argv: str) -> Result:
    """A process, too, but with shorter pauses and periods: for what would wait long."""
    code = LAUNCHER.replace("{periods!r}", repr(QUICK_PROCESS))
    command = [PROGRAM_PYTHON, "-B", "-c", code, str(PROGRAM), *argv]
    streams: Dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return finish(subprocess.Popen(command, env={}, stdin=subprocess.DEVNULL, **streams))


def run_python(code: str, *argv: str, **options: Any) -> str:
    """What a piece of Python prints, run by the interpreter that the program is run with."""
    command = [PROGRAM_PYTHON, "-c", code, *argv]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, **options)
    return str(done.stdout, "utf-8")
