"""Fixtures of all tests: servers, whose own errors fail the test."""

import signal
from typing import Any, Iterator, List, Tuple

import pytest

from csm import SimulatedCsm, World
from support.clock import PlannedClock

# In a shell's background job SIGINT is ignored, under nohup SIGHUP: what the tests start and stop
# would inherit that.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def quick_world(**options: Any) -> World:
    """A backup in it takes a moment, and no more."""
    return World(**{"backup_seconds": 0.05, "step_seconds": 0.005, **options})


@pytest.fixture(autouse=True)
def _no_errors_in_the_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bug in the simulated CSM, or in a test's hook, fails the test that it came up in."""
    servers: List[SimulatedCsm] = []
    start = SimulatedCsm.start

    def noted(self: SimulatedCsm) -> SimulatedCsm:
        servers.append(self)
        return start(self)

    monkeypatch.setattr(SimulatedCsm, "start", noted)
    yield
    assert [error for server in servers for error in server.errors] == []


@pytest.fixture
def csm() -> Iterator[SimulatedCsm]:
    """A server that is there before the program starts."""
    with SimulatedCsm(quick_world()) as server:
        yield server


@pytest.fixture
def pair() -> Iterator[Tuple[SimulatedCsm, SimulatedCsm]]:
    """Two servers of one world: the first is active, the second its standby."""
    world = quick_world()
    with SimulatedCsm(world) as first, SimulatedCsm(world, active=False) as second:
        yield first, second


@pytest.fixture
def clock() -> PlannedClock:
    """For the program: what a test plans on it happens in the midst of the program's sleeps."""
    return PlannedClock()


@pytest.fixture
def planned(clock: PlannedClock) -> Iterator[SimulatedCsm]:
    """A server whose work takes its time on that clock: a backup, five of its seconds."""
    world = World(sleep=clock.hold, backup_seconds=5.0, step_seconds=0.1)
    with SimulatedCsm(world) as server:
        yield server
