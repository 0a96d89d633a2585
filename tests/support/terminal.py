"""A pseudo-terminal, and the program in it."""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from typing import Any, Callable, Dict

from support.program import start_program

COLUMNS = 80


class Terminal:
    """A terminal of 80 columns unless told otherwise, and a program in it."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self.env: Dict[str, str] = {}  # what is in it besides
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.text = ""

    def start(self, *argv: str, **streams: Any) -> "subprocess.Popen[bytes]":
        """With all three streams on the terminal, unless told otherwise."""

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        for name in ("stdin", "stdout", "stderr"):
            streams.setdefault(name, self.slave)
        self.process = start_program(
            *argv,
            env={"TERM": "xterm", "LANG": "C.UTF-8", **self.env},
            preexec_fn=own_terminal,
            **streams,
        )
        return self.process

    def read(self, seconds: float = 0.0) -> str:
        """All that has been shown so far."""
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], seconds)[0]:
                self.text += os.read(self.master, 65536).decode("utf-8")
        return self.text

    def read_until(self, wanted: Callable[[str], Any]) -> None:
        until = time.monotonic() + 60
        while not wanted(self.read(0.05)):
            assert time.monotonic() < until, self.text
            assert self.process.poll() is None, self.text

    def type(self, text: str) -> None:
        os.write(self.master, text.encode("utf-8"))

    def echo(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self) -> int:
        until = time.monotonic() + 60
        while self.process.poll() is None:  # what nobody reads would block it
            self.read(0.05)
            assert time.monotonic() < until, self.text
        self.read(0.05)
        return int(self.process.returncode)

    def close(self) -> None:
        with contextlib.suppress(AttributeError):
            self.process.kill()
            self.process.wait()
        for descriptor in (self.master, self.slave):
            os.close(descriptor)
