"""What never answers: a port, a name server, a module, a file. Each is given to the program as a
process, which must not wait for it any longer than it may."""

import contextlib
import os
import pathlib
import socket
from typing import Dict, Iterator

HANGING_NAME = "csm.example.com"

# What Python runs before the program: put on its path as sitecustomize.py. (Slept is in slices: a
# signal that comes just before a long sleep is heard after it.)
NO_NAME_SERVICE = f"""
import socket, time
real = socket.getaddrinfo
def hang(host, *args, **options):
    if host == "{HANGING_NAME}":
        open(__file__ + ".asked", "w").close()
        while True:
            time.sleep(0.05)
    return real(host, *args, **options)
socket.getaddrinfo = hang
"""
NO_HOST_NAME = """
import socket, time
def hang():
    open(__file__ + ".asked", "w").close()
    while True:
        time.sleep(0.05)
socket.gethostname = hang
"""
NO_MODULE = """
import time
open(__file__ + ".asked", "w").close()
while True:
    time.sleep(0.05)
"""
# A lock is the name of an abstract socket: that it is asked for is told.
LOCK_IS_WANTED = """
import socket
def bind(self, name, real=socket.socket.bind):
    if str(name).startswith(chr(0)):
        open(__file__ + ".asked", "w").close()
    return real(self, name)
socket.socket.bind = bind
"""


def put_before(folder: pathlib.Path, name: str, text: str) -> Dict[str, str]:
    """A module before all others -> the environment that has it so. That it waits is told by a
    file beside it."""
    (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def is_asked(folder: pathlib.Path) -> bool:
    """Whether what was put there is waited for."""
    return any(folder.glob("*.asked"))


@contextlib.contextmanager
def silent_port() -> Iterator[socket.socket]:
    """Connections are accepted (by the system), and that is all: no handshake ever begins."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        yield listener


@contextlib.contextmanager
def pipe_without_writer(folder: pathlib.Path) -> Iterator[str]:
    """A named pipe that nobody writes to."""
    path = folder / "pipe"
    os.mkfifo(str(path))
    yield str(path)


def full_pipe() -> int:
    """The end of a pipe that is full and that nobody reads: to write to it blocks."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    os.set_inheritable(reader, False)
    return writer
