"""Receivers of syslog: a plain UDP socket, a real rsyslogd where there is one; and LEEF, read."""

import contextlib
import pathlib
import re
import shutil
import socket
import subprocess
import time
from typing import Dict

RSYSLOGD = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
CONFIG = """
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{port}")
$EscapeControlCharactersOnReceive off
$MaxMessageSize 1k
$template raw,"%rawmsg%\\n"
{rules}
*.* action(type="omfile" file="{file}" template="raw")
"""


class Event(Dict[str, str]):
    """The attributes of an event; `id`, `vendor`, `product` and `version` are its header's."""

    id = vendor = product = version = host = ""
    priority, size = 0, 0


def parse_leef(packet: bytes) -> Event:
    """As a receiver does: <PRI>date host LEEF:2.0|vendor|product|version|event id|delimiter|..."""
    text = packet.decode("utf-8")  # strictly: no letter may be cut in two
    assert text.isprintable(), text
    match = re.match(
        r"<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ([\w.-]+) LEEF:2\.0\|"
        r"([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|([^|])\|([^|]*)\Z",
        text,
    )
    assert match, text
    event = Event()
    event.priority, event.size, event.host = int(match.group(1)), len(packet), match.group(3)
    event.vendor, event.product, event.version, event.id, delimiter, rest = match.groups()[3:]
    assert delimiter == "^"
    assert event.priority < 192
    for attribute in rest.split(delimiter):
        key, equals, value = attribute.partition("=")
        assert equals, attribute
        assert re.match(r"[A-Za-z_]+\Z", key), attribute
        assert key not in event, attribute
        event[key] = value
    return event


class Udp:
    """A plain socket: what arrives, as it arrives."""

    def __enter__(self) -> "Udp":
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self, seconds: float = 20) -> bytes:
        """The next packet; empty where there is none in time."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(socket.timeout):
            return self.socket.recv(65536)
        return b""


class Rsyslog:
    """A real rsyslogd, as a process of this user, which writes down what it receives. It cuts at
    1,024 bytes, as an old receiver does."""

    def __init__(self, folder: pathlib.Path, rules: str = "") -> None:
        """Rules: what a relay does with an event before it is written down."""
        with Udp() as free:
            self.port = free.port
        self.file, self.position = folder / "received", 0
        config, pid = folder / "rsyslog.conf", folder / "pid"
        config.write_text(CONFIG.format(port=self.port, file=self.file, rules=rules))
        self.process = subprocess.Popen(
            [str(RSYSLOGD), "-n", "-f", str(config), "-i", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):  # until it listens
                sender.sendto(b"<13>Jan  1 00:00:00 here hello", ("127.0.0.1", self.port))
                if self.receive(0.1):
                    break
        while self.receive(0.1):
            pass

    def receive(self, seconds: float = 20) -> bytes:
        """The next line; empty where there is none in time."""
        until = time.monotonic() + seconds
        while True:
            data = self.file.read_bytes()[self.position :] if self.file.exists() else b""
            line, end, _ = data.partition(b"\n")
            if end or time.monotonic() > until:
                self.position += len(line) + 1 if end else 0
                return line if end else b""
            time.sleep(0.01)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(10)
