"""How soon the program has a backup started, and how soon it knows the end: measured against the
simulated CSM behind a network whose round trip takes 40 ms, side by side with two other clients.

    python tests/benchmark.py            about three minutes
    python tests/benchmark.py --quick    half a minute, rougher

"plain": what IBM's sample script does, written anew: log in, list the tasks, run one; each of the
three over a connection of its own, certificates not verified. It does not wait for the end.
"pyCSM": IBM's own library, which asks for the task every second and in the end for the session;
left out where it is not installed. All are run by the same interpreter ($PROGRAM_PYTHON, default:
this one). Nothing here passes or fails: figures depend on the machine, ratios less so. Let nothing
else run meanwhile.
"""

import argparse
import json
import os
import pathlib
import queue
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from csm import SimulatedCsm

ROUND_TRIP = 0.040
PROGRAM = pathlib.Path(__file__).resolve().parent.parent / "run-cr-wflow-ds8k.py"
PYTHON = os.environ.get("PROGRAM_PYTHON") or sys.executable
USER, PASSWORD = "admin", "s3cret pass"
TASK = "Backup Payroll"
CLIENTS = ["program", "pyCSM", "plain"]  # in the tables

# Both take: port, user, password, task.
PLAIN = """
import sys, requests, urllib3
port, user, password, name = sys.argv[1:]
urllib3.disable_warnings()
base = "https://127.0.0.1:{}/CSM/web".format(port)
token = requests.post(base + "/system/v1/tokens", data={"username": user, "password": password},
                      verify=False).json()["token"]
headers = {"X-Auth-Token": token, "Accept-Language": "en-US",
           "Content-Type": "application/x-www-form-urlencoded"}
tasks = requests.get(base + "/sessions/scheduledtasks", headers=headers, verify=False).json()
number, = [task["id"] for task in tasks if task["name"] == name]
print(requests.post("{}/sessions/scheduledtasks/{}".format(base, number), headers=headers,
                    verify=False).json()["msg"])
"""
PYCSM = """
import sys, time, urllib3
from pyCSM.clients.session_client import sessionClient
port, user, password, name = sys.argv[1:]
urllib3.disable_warnings()
client = sessionClient("127.0.0.1", int(port), user, password)
task, = [each for each in client.get_scheduled_tasks().json() if each["name"] == name]
client.run_scheduled_task(task["id"])
while client.get_scheduled_task(task["id"]).json()["running"]:
    time.sleep(1)
session = [step["sessionName"] for step in task["actions"] if step["command"] == "Backup"][0]
print(client.get_session_info(session).json()["backupInfo"][0]["BackupResults"][0])
"""
# Starts a client from a small process: the peak memory that the system tells of a child is never
# below that of the process which it was forked from.
LAUNCHER = """
import json, os, subprocess, sys, time
began = time.time()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
status, usage = os.wait4(process.pid, 0)[1:]
print(json.dumps([began, time.time(), status, usage.ru_utime + usage.ru_stime,
                  usage.ru_maxrss / 1024.0]))
"""


class Network:
    """A TCP proxy in front of a server: what goes through it takes half a round trip each way, and
    a connection takes one round trip to be made."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            # The system has answered connect() at once. So what the client sends first is kept
            # back for as long as the answer would have taken.
            earliest = time.monotonic() + ROUND_TRIP
            server = socket.create_connection(("127.0.0.1", self.target))
            for source, sink in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pipe: "queue.Queue[Tuple[float, bytes]]" = queue.Queue()
                for work, end in ((self._receive, source), (self._send, sink)):
                    threading.Thread(target=work, args=(end, pipe, earliest), daemon=True).start()

    @staticmethod
    def _receive(source: socket.socket, pipe: Any, earliest: float) -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 20)
            except OSError:
                data = b""
            pipe.put((max(time.monotonic(), earliest) + ROUND_TRIP / 2, data))

    @staticmethod
    def _send(sink: socket.socket, pipe: Any, _: float) -> None:
        while True:
            due, data = pipe.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()


class Figures(NamedTuple):
    requests: int  # to the trigger, itself included
    connections: int  # the same
    trigger: float  # seconds from the start of the process
    behind: float  # seconds from the truth to the end of the process
    polls: int  # requests after the trigger that ask for the task
    total: float  # seconds of the whole run
    cpu: float  # seconds
    memory: float  # MB


def watch(world: Any, truth: List[float]) -> None:
    """Note when the server has the new backup and the task has ended."""
    while not world.backups_made or world.task(TASK).running:
        time.sleep(0.002)
    truth.append(time.time())


def command(client: str, csm: SimulatedCsm, port: int) -> List[str]:
    if client == "program":
        return [
            PYTHON,
            str(PROGRAM),
            "-s",
            "127.0.0.1",
            "-P",
            str(port),
            "-u",
            USER,
            "-p",
            PASSWORD,
            "-t",
            TASK,
            "--fingerprint",
            csm.fingerprint,
        ]
    return [PYTHON, "-c", PLAIN if client == "plain" else PYCSM, str(port), USER, PASSWORD, TASK]


def measure(client: str, backup_seconds: float, large: bool = False) -> Figures:
    """One run on a server of its own."""
    with SimulatedCsm(backup_seconds=backup_seconds, large=large) as csm:
        csm.replies.tasks()  # a large server's list is rendered once, at no client's expense
        network = Network(csm.port)
        truth: List[float] = []
        watcher = threading.Thread(target=watch, args=(csm.world, truth), daemon=True)
        watcher.start()
        told = subprocess.check_output(
            [sys.executable, "-S", "-c", LAUNCHER, *command(client, csm, network.port)]
        )
        network.close()
        began, ended, status, cpu, memory = json.loads(told.decode())
        if status or len(csm.world.triggers) != 1 or csm.errors:
            sys.exit(f"{client}: it failed (status {status}): {csm.requests}")
        watcher.join(60)
        at = [
            request.method == "POST" and "/scheduledtasks/" in request.path
            for request in csm.requests
        ].index(True)
        polls = ["/scheduledtasks" in request.path for request in csm.requests[at + 1 :]].count(
            True
        )
        return Figures(
            at + 1,
            csm.requests[at].connection,
            csm.world.triggers[0][2] - began,
            ended - truth[0],
            polls,
            ended - began,
            cpu,
            memory,
        )


def median(runs: List[Figures]) -> Figures:
    return Figures(*(statistics.median(values) for values in zip(*runs)))


def table(title: str, rows: List[Tuple[str, str, Dict[str, float]]]) -> None:
    """As Markdown: the figures of each client, and ours as a ratio of each of the others'."""
    clients = sorted({client for row in rows for client in row[2]}, key=CLIENTS.index)
    others = [client for client in clients if client != "program"]
    head = [title] + clients + ["program : " + other for other in others]
    print("\n| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for name, form, found in rows:
        cells = [form.format(found[client]) if client in found else "-" for client in clients]
        cells += [
            "{:.2f}".format(found["program"] / found[other]) if found.get(other) else "-"
            for other in others
        ]
        print("| " + " | ".join([name, *cells]) + " |")
    sys.stdout.flush()


def field(found: Dict[str, Figures], name: str) -> Dict[str, float]:
    return {client: getattr(found[client], name) for client in found}


def has_pycsm() -> bool:
    code = "import pyCSM.clients.session_client"
    return subprocess.call([PYTHON, "-c", code], stderr=subprocess.DEVNULL) == 0


def version() -> str:
    code = (
        "import platform, requests, urllib3\n"
        "print(f'Python {platform.python_version()}, requests {requests.__version__}, '\n"
        "      f'urllib3 {urllib3.__version__}')"
    )
    return subprocess.check_output([PYTHON, "-W", "ignore", "-c", code]).decode().strip()


def main(argv: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    args = parser.parse_args(argv)
    waiting = ["program"] + ["pyCSM"] * has_pycsm()
    clients = [*waiting, "plain"]
    repeats = 3 if args.quick else 5
    trip = ROUND_TRIP * 1000
    print(f"{version()}; round trip {trip:.0f} ms; median of {repeats} runs")
    if "pyCSM" not in clients:
        print("pyCSM is not installed for it: left out")
    for client in clients:  # unmeasured: compiled files and the disk's cache
        measure(client, 0.2)

    runs: Dict[str, List[Figures]] = {client: [] for client in clients}
    for _ in range(repeats):  # in turn, so that a busy moment does not hit one of them only
        for client in clients:
            runs[client].append(measure(client, 0.2))
    found = {client: median(runs[client]) for client in clients}
    table(
        "to the trigger",
        [
            ("requests", "{:.0f}", field(found, "requests")),
            ("connections, TLS handshakes", "{:.0f}", field(found, "connections")),
            ("from the start of the process, s", "{:.2f}", field(found, "trigger")),
        ],
    )

    rows: List[Tuple[str, str, Dict[str, float]]] = []
    for seconds in (2,) if args.quick else (2, 10, 25):
        found = {client: measure(client, seconds) for client in waiting}
        rows += [
            (f"backup of {seconds} s: {title}", form, field(found, name))
            for title, form, name in (
                ("verdict behind the truth, s", "{:.2f}", "behind"),
                ("polls", "{:.0f}", "polls"),
                ("CPU, s", "{:.2f}", "cpu"),
                ("peak memory, MB", "{:.0f}", "memory"),
            )
        ]
    table("the wait", rows)

    for client in clients:
        runs[client] = [measure(client, 0.2, large=True) for _ in range(1 if args.quick else 3)]
    found = {client: median(runs[client]) for client in clients}
    whole = {client: found[client] for client in waiting}
    table(
        "large server: 16 tasks x 5,000 messages, 500 sessions",
        [
            ("from the start to the trigger, s", "{:.2f}", field(found, "trigger")),
            ("whole run, s", "{:.2f}", field(whole, "total")),
            ("CPU, s", "{:.2f}", field(whole, "cpu")),
            ("peak memory, MB", "{:.0f}", field(whole, "memory")),
        ],
    )


if __name__ == "__main__":
    main()
