"""Stand-ins for the clock that the program is given: one of each kind.

Whatever waits is best run with a `JumpingClock`: then nothing depends on how busy the machine is.
"""

import heapq
import itertools
import threading
import time
from typing import Any, Callable, List, Tuple


class Clock:
    """The real one, and what its stand-ins have in common: what was slept is noted."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset  # how far the time of day is wrong
        self.slept: List[float] = []
        self._began = time.monotonic()

    @property
    def passed(self) -> float:
        """How long the program has slept in all: at most the time that it saw pass. An upper bound
        that asks for this holds on a busy machine, too; a lower one asks for `elapsed`."""
        return sum(self.slept)

    @property
    def elapsed(self) -> float:
        """How much time the program has seen pass: what it slept, and what really passed."""
        return self.monotonic() - self._began

    def sleep(self, seconds: float) -> None:
        """As time.sleep()."""
        assert seconds >= 0
        self.slept.append(seconds)
        self.rest(seconds)

    def rest(self, seconds: float) -> None:
        """What a sleep really is."""
        time.sleep(seconds)

    def monotonic(self) -> float:
        """As time.monotonic()."""
        return time.monotonic()

    def time(self) -> float:
        """As time.time(): not moved by a sleep, as the server's clock is not either."""
        return time.time() + self.offset


class QuickClock(Clock):
    """Sleeps last a fraction; both clocks are the real ones. For what really takes its time."""

    def __init__(self, speed: float = 25, offset: float = 0.0) -> None:
        super().__init__(offset)
        self.speed = speed

    def rest(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)


class JumpingClock(Clock):
    """A sleep takes next to no time, and the clock tells that it did: half an hour is over in a
    moment. What really takes time, as a request that gets no answer, counts as well."""

    def __init__(self, nap: float = 0.003, offset: float = 0.0) -> None:
        super().__init__(offset)
        self.nap = nap  # of each second: a moment for the server to go on
        self._passed = 0.0

    @property
    def passed(self) -> float:
        return self._passed

    def rest(self, seconds: float) -> None:
        self._passed += seconds
        if self.nap:
            time.sleep(seconds * self.nap)

    def monotonic(self) -> float:
        return time.monotonic() + self._passed


class PlannedClock(JumpingClock):
    """What is planned happens at its moment of this time, in the midst of a sleep: a server that is
    away for 8 s, a flag that is shown for 75 s. As the sleeps alone bring it about, it is the same
    on a busy machine."""

    def __init__(self, nap: float = 0.003) -> None:
        super().__init__(nap)
        self._plans: List[Tuple[float, int, Callable[[], Any]]] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def after(self, seconds: float, action: Callable[[], Any]) -> None:
        """Do it in so many seconds of this time."""
        with self._lock:
            plan = (self.monotonic() + seconds, next(self._numbers), action)
            heapq.heappush(self._plans, plan)

    def hold(self, seconds: float) -> None:
        """A sleep of the server (`World.sleep`), in this time."""
        is_over = threading.Event()
        self.after(seconds, is_over.set)
        is_over.wait(60)

    def rest(self, seconds: float) -> None:
        super().rest(seconds)
        while True:
            with self._lock:
                if not self._plans or self._plans[0][0] > self.monotonic():
                    return
                action = heapq.heappop(self._plans)[2]
            action()
            time.sleep(0.03)  # for the server to go on, before time does


class StandingClock(Clock):
    """Time passes by sleeping, and a microsecond each time that the clock is asked (no clock tells
    the same twice): what is told of it is exact."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start  # the time of day
        self._asked = 0
        self._began = self.monotonic()

    def rest(self, seconds: float) -> None:
        pass

    def monotonic(self) -> float:
        self._asked += 1
        return 5000.0 + self.passed + self._asked / 1e6

    def time(self) -> float:
        return self.start + self.passed
