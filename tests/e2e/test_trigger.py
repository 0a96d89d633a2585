"""The requests that a good run makes, in their order, over one connection; and how large it gets.

Run by PROGRAM_PYTHON."""

import json

from csm import SimulatedCsm
from support.checks import SLACK, check, paths
from support.program import (
    PASSWORD,
    PROGRAM,
    PROGRAM_PYTHON,
    USER,
    run_inside,
    run_program,
    run_python,
    server_options,
)
from support.scenes import SESSION, TASK


def test_requests_in_order_over_one_connection(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), "-t", TASK)
    check(result, csm, 0, triggers=1)
    seen = paths(csm)
    assert seen[:4] == [
        "POST /system/v1/tokens",
        "GET /sessions/scheduledtasks",
        "GET /sessions/" + TASK,
        "POST /sessions/scheduledtasks/27",
    ]
    task, session = "GET /sessions/scheduledtasks", "GET /sessions/" + TASK
    assert seen[-2:] == [task, session]
    looks = seen[4:]  # while the task runs, at it alone
    assert set(looks) == {task, session}
    assert all(looks[at - 1] == task for at, each in enumerate(looks) if each == session)
    assert csm.connections == csm.tcp_connections == 1
    log_in, others = csm.requests[0], csm.requests[1:]
    assert log_in.form == {"username": USER, "password": PASSWORD}
    assert log_in.token is None
    assert {each.token for each in others} == set(csm.world.tokens)
    assert not any(each.form for each in others)
    assert all(each.headers.get("accept-language") == "en-US" for each in csm.requests)
    assert log_in.headers["content-type"] == "application/x-www-form-urlencoded"


def test_requests_of_a_session_backup(csm: SimulatedCsm) -> None:
    result = run_program(*server_options(csm), *("-S", SESSION))
    check(result, csm, 0, triggers=1)
    assert paths(csm) == [
        "POST /system/v1/tokens",
        "GET /sessions/" + SESSION,
        "POST /sessions/" + SESSION,
        "GET /sessions/" + SESSION,
    ]
    assert csm.requests[2].form == {"cmd": "Backup"}
    assert csm.connections == csm.tcp_connections == 1


def test_large_server() -> None:
    with SimulatedCsm(large=True, backup_seconds=0.2) as csm:
        result = run_program(*server_options(csm), "-t", TASK)
        check(result, csm, 0, triggers=1)
        assert csm.world.backups_made[0][1] in result.out
        assert result.seconds < SLACK


def test_list_in_many_small_chunks() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        tasks = json.dumps([csm.replies.task(each) for each in csm.world.tasks]).encode()
        parts = [tasks[at : at + 64] for at in range(0, len(tasks), 64)] + [b" " * 64] * 10000
        csm.garbage = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
            + b"0\r\n\r\n"
        )
        csm.inject(2, "garbage")
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert "trying again" not in result.err


def test_memory(csm: SimulatedCsm) -> None:
    """Of a run with small replies: no buffer is made for the largest reply that could come."""
    # From a small process: what the system tells of a child is never below what forked it.
    code = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], env={})
print(os.wait4(process.pid, 0)[2].ru_maxrss)
"""
    given = [*server_options(csm), "-t", TASK, "-q"]
    told = run_python(code, PROGRAM_PYTHON, str(PROGRAM), *given)
    assert len(csm.world.backups_made) == 1
    assert int(told) < 100 * 1024  # KiB
