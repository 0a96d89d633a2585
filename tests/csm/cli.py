"""The simulated CSM by hand: its command line."""

import argparse
import os
import signal
import sys
import time
from typing import Any, List

from .dialects import DIALECTS
from .server import PREFIX, Request, SimulatedCsm
from .world import SESSION_OUTCOMES, TASK_OUTCOMES, World


def parser() -> argparse.ArgumentParser:
    """All options."""
    both = ", ".join(SESSION_OUTCOMES)
    of_tasks = ", ".join(TASK_OUTCOMES[len(SESSION_OUTCOMES) :])
    new = argparse.ArgumentParser(
        prog="csm",
        description="A simulated Copy Services Manager, to rehearse against. It prints each "
        "request; Ctrl-C ends it.",
    )
    add = new.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add("--port", type=int, default=9559, help="9559; 0 is any free one")
    add(
        "--backup-seconds",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long a backup takes (10)",
    )
    add(
        "--dialect",
        choices=sorted(DIALECTS),
        default="modern",
        help="the age of the server (modern)",
    )
    add(
        "--outcome",
        action="append",
        default=[],
        metavar="NAME=OUTCOME",
        help="how runs of a task (by id or name), or else backups of the session of that name, "
        f"end: {both}; of a task also: {of_tasks}",
    )
    add(
        "--announce",
        metavar="FILE",
        help="write 'HOST PORT FINGERPRINT USER' to FILE once it listens",
    )
    return new


def set_outcomes(world: World, settings: List[str]) -> None:
    """As --outcome says."""
    for setting in settings:
        name, _, outcome = setting.rpartition("=")
        tasks = [task for task in world.tasks if name in (task.name, str(task.id))]
        records: List[Any] = tasks or [item for item in world.sessions if item.name == name]
        if not records or outcome not in (TASK_OUTCOMES if tasks else SESSION_OUTCOMES):
            sys.exit(f"csm: no such task, session or outcome: {setting}")
        for record in records:
            record.outcome = outcome


def print_request(request: Request) -> None:
    """One line for each."""
    told = request.fault or request.status
    print(time.strftime("%H:%M:%S"), request.n, request.method, request.path, told, flush=True)


def describe(server: SimulatedCsm) -> None:
    """What one must know to use it."""
    world = server.world
    print(f"https://{server.host}:{server.port}{PREFIX}")
    print(f"user: {world.user}\npassword: {world.password}")
    print(f"fingerprint: {server.fingerprint}\nCA file: {server.ca_file}")
    lines = [f"task {task.id}: {task.name}" for task in world.tasks]
    lines += [f"session: {record.name} ({record.rulesname})" for record in world.sessions]
    for line in lines:
        print(line.encode("ascii", "backslashreplace").decode("ascii"), flush=True)


def main() -> None:
    """Serve until it is told to end."""
    args = parser().parse_args()
    world = World(
        backup_seconds=args.backup_seconds,
        step_seconds=min(1.0, args.backup_seconds),
        **DIALECTS[args.dialect],
    )
    set_outcomes(world, args.outcome)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = SimulatedCsm(world, port=args.port, host=args.host)
    server.on_request = print_request
    try:
        server.start()
    except OSError as error:
        sys.exit(f"csm: {args.host} port {args.port}: {error}")
    with server:
        describe(server)
        if args.announce:
            new = f"{args.announce}.new"
            with open(new, "w") as stream:
                stream.write(f"{server.host} {server.port} {server.fingerprint} {world.user}\n")
            os.replace(new, args.announce)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
