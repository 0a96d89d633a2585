"""Reaching the server: addresses, ports, outages, and the pauses between the tries."""

import contextlib
import itertools
import re
import socket
import threading
from typing import Any, Iterator, List, Optional, Tuple

import pytest

from csm import Request, SimulatedCsm
from support.checks import SLACK, check, check_one_backup
from support.clock import JumpingClock
from support.program import PASSWORD, USER, Result, address, run_inside, run_program, server_options
from support.scenes import TASK, TASK_ID, connections_noted, mostly_slow, vanishing

# --- Nobody there -------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nothing_listens() -> None:
    server = ["-s", "127.0.0.1", "-P", str(free_port()), "-u", USER, "-p", PASSWORD]
    result = run_program(*server, "-t", TASK, "--timeout", "2", "--json")
    assert result.code == result.json["exit_code"] == 3
    assert result.seconds < SLACK
    assert result.json["started"] == "no"
    assert "Traceback" not in result.err


def test_port_option(csm: SimulatedCsm) -> None:
    options = server_options(csm)
    options[1] = csm.host
    result = run_program(*options, "-P", str(csm.port), "-t", TASK, "--no-wait")
    check(result, csm, 0, triggers=1)


def test_why_a_server_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of the resolver, of the comparison of fingerprints, and of TLS."""
    options = ["-u", "admin", "-p", PASSWORD, "-t", TASK, "--timeout", "60"]
    with SimulatedCsm() as csm:
        server = ["-s", address(csm)]
        result = run_inside(*server, *options, "--fingerprint", "0" * 64)
        assert result.code == 3
        assert re.search(r"\(Fingerprints did not match\); SHA-256 ", result.err)
        result = run_inside(*server, *options)
        assert result.code == 3
        assert re.search(
            r"\(certificate verify failed[^()]*\); SHA-256 .*: [0-9A-F:]{95};", result.err
        )
        assert csm.requests == []
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            with contextlib.suppress(OSError):  # it is closed at the end
                while True:
                    connection, _ = plain.accept()
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        result = run_inside("-s", f"127.0.0.1:{plain.getsockname()[1]}", *options, "--insecure")
        assert result.code == 3
        assert re.search(r"got no answer: \[SSL: [A-Z_]{8,}\]", result.err)

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as open_:
        for _ in range(4):  # its queue is full: nobody is let in, and nobody told
            waiting = open_.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        short = ["--request-timeout", "0.3", "--timeout", "5"]
        result = run_inside("-s", f"127.0.0.1:{full.getsockname()[1]}", *options, *short)
        assert result.code == 3
        assert re.search(r"no answer: (TimeoutError|timeout|timed out);", result.err)

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = run_inside("-s", "csm.example.com", *options)
    assert result.code == 3
    assert "tokens got no answer: " in result.err
    assert "Name or service not known" in result.err


@pytest.fixture
def dead_address() -> Iterator[Any]:
    """A port that swallows connections: its backlog is full, so that nothing is answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()
        for each in waiting:
            each.close()


@pytest.mark.parametrize("dead_first", [True, False])
@pytest.mark.parametrize("how", ["swallows", "refuses"])
def test_name_with_a_dead_address(
    csm: SimulatedCsm,
    dead_address: Any,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    dead_first: bool,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        dead = dead_address if how == "swallows" else closed.getsockname()
        addresses = [dead, (csm.host, csm.port)][:: 1 if dead_first else -1]
        asked: List[str] = []

        def getaddrinfo(host: str, *_args: Any, **_options: Any) -> Any:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        options = ["-s", "csm.example.com", *server_options(csm)[2:], "--request-timeout", "6"]
        result = run_inside(*options, "-t", TASK, "--json")
    check_one_backup(result, csm.world)
    assert set(asked) == {"csm.example.com"}
    assert csm.connections == 1


# --- Pauses and polls ---------------------------------------------------------------------------


def run_with_pauses(csm: SimulatedCsm, *argv: str) -> Tuple[Result, List[float]]:
    """-> the result, and how long the program waited between the requests and the connections
    that it tried, by its own clock."""
    clock = JumpingClock(nap=0.0005)
    seen = [0.0]
    other = csm.on_arrival

    def note(request: Optional[Request] = None) -> None:
        seen.append(clock.passed)  # the program waits: its clock stands still
        if request and other:
            other(request)

    csm.on_arrival = note
    with connections_noted(note):
        result = run_inside(*server_options(csm), *argv, "-t", TASK, "--json", clock=clock)
    pauses = [round(after - before, 6) for before, after in zip(seen, seen[1:])]
    return result, [pause for pause in pauses if pause > 0]


def test_faults_that_take_turns_are_told_from_time_to_time(csm: SimulatedCsm) -> None:
    csm.world.dialect.messages = "array"  # so that the task alone is asked for, then the list
    csm.inject_when(lambda request: request.n > 4 and request.method == "GET", "500", None)
    result, _ = run_with_pauses(csm, "--timeout", "300")
    assert result.code == 8
    warnings = [line for line in result.err.splitlines() if " WARNING " in line]
    assert 4 <= len(warnings) <= 14  # each once a minute


@pytest.mark.parametrize("how", ["refused", "503", "html"])
@pytest.mark.parametrize("n", mostly_slow([1, 5], 1))
def test_pauses_grow_in_an_outage(csm: SimulatedCsm, how: str, n: int) -> None:
    """Ten minutes of it, right after log-in and right after the first look."""
    with contextlib.ExitStack() as stack:
        if how == "refused":
            stack.enter_context(vanishing(csm, lambda request: request.n == n))
        else:  # where HTML comes in place of a list, a log-in works still
            csm.inject_when(lambda request: request.n > n and request.method == "GET", how, None)
        result, slept = run_with_pauses(csm, "--timeout", "600")
    assert result.code == (3 if n == 1 else 8)
    pauses = slept[:-6]  # the last ones are shorter: the time until the deadline is used
    assert min(pauses) > 0.2
    assert max(pauses) <= 15
    assert pauses[-1] > 8 * pauses[0]
    assert len(pauses) < (130 if n == 1 else 220)
    assert len(csm.requests) < 3 * (130 if n == 1 else 220)
    if n == 1:
        assert [round(each, 1) for each in pauses[:6]] == [0.5, 1, 2, 4, 5, 5]


def test_silent_server_at_the_start_is_given_up(csm: SimulatedCsm) -> None:
    csm.die()
    result, slept = run_with_pauses(csm)
    assert result.code == 3
    assert len(slept) >= 2
    assert 15 <= sum(slept) <= 60


def test_polls_of_a_long_wait(csm: SimulatedCsm) -> None:
    """Half an hour: the first look after 0.5 s, then at 2.5 % of the time waited, up to 15 s."""
    csm.world.task(TASK_ID).outcome = "hang"
    result, slept = run_with_pauses(csm, "--timeout", "1800")
    assert result.code == 8
    assert result.json["started"] == "yes"
    looks = [each for each in csm.requests[4:] if each.path.endswith("/scheduledtasks")]
    assert 200 < len(looks) < 300
    assert 28 <= result.err.count("INFO waiting for ") <= 35  # a sign of life each minute
    assert 0.4 <= slept[0] <= 0.5
    waited = list(itertools.accumulate(slept))
    for before, pause in zip([0.0, *waited], slept):
        # What really passed counts as waited, too.
        assert pause <= min(max(0.5, 0.025 * (before + 5 + result.seconds)), 15)
    assert csm.connections == 1
