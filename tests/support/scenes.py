"""Situations to put a CSM into: somebody else's run, answers that are changed or late, a takeover.

Each of these sets up a server that runs already; where it needs `csm.on_request` or `csm.mutate`,
those are its own from then on.
"""

import contextlib
import copy
import time
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)
from unittest import mock

import pytest
import requests
from urllib3.util import connection

from csm import Request, SimulatedCsm
from support.checks import is_task_look
from support.program import Result, finish, run_inside, server_options, start_program

TASK = "ITSO_SGC_H3_LAH81"  # of four steps; the session that it backs up bears the same name
TASK_ID = 27
SESSION = "ITSO_SGC_LAH81"
PAYROLL_TASK, PAYROLL = "Backup Payroll", "SGC Payroll"  # a task of one step, and its session
ODD_NAME = "50%/Z\u00fcrich"  # the end of a task's name, and of a session's
# A task and a session, where a test is run with both.
TARGETS = {"task": ["-t", TASK], "session": ["-S", PAYROLL]}
# The same with a task of one step: it backs up that session, and no more.
SIMPLE_TARGETS = {"task": ["-t", PAYROLL_TASK], "session": ["-S", PAYROLL]}
each_simple_target = pytest.mark.parametrize("target", SIMPLE_TARGETS)

Scene = Callable[[SimulatedCsm], Any]


def mostly_slow(cases: Iterable[Any], *quick: Any) -> List[Any]:
    """For parametrize: the quick suite runs some of the cases, `--all` runs each."""
    return [each if each in quick else pytest.param(each, marks=pytest.mark.slow) for each in cases]


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Until it holds; a busy machine may take its time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


# --- The world ----------------------------------------------------------------------------------


def several(*scenes: Scene) -> Scene:
    """One after the other."""

    def set_up(csm: SimulatedCsm) -> None:
        for scene in scenes:
            scene(csm)

    return set_up


def task_outcome(outcome: str, **fields: Any) -> Scene:
    """How runs of the task end."""
    return lambda csm: vars(csm.world.task(TASK_ID)).update(fields, outcome=outcome)


def session_outcome(outcome: str, name: str = SESSION, **fields: Any) -> Scene:
    """How backups of the session end."""
    return lambda csm: vars(csm.world.session(name)).update(fields, outcome=outcome)


def never_ran(csm: SimulatedCsm) -> None:
    """The task has never run."""
    csm.world.task(TASK_ID).lastRan = None


def backup_of_now(csm: SimulatedCsm) -> None:
    """The newest backup is fresh, but a little older than what is about to start."""
    csm.world.session(TASK).backups[0].id = int(time.time()) - 5


def backup_is_made(csm: SimulatedCsm) -> None:
    """Wait until a run has taken its (first) backup."""
    wait_for(lambda: csm.world.backups_made)


# --- At a request -------------------------------------------------------------------------------


def once(csm: SimulatedCsm, when: Callable[[Request], bool], action: Callable[[], Any]) -> None:
    """Do something once such a request has been answered, the first time. What was called after
    each request until then is called again."""
    others = csm.on_request
    done: List[Request] = []

    def hook(request: Request) -> None:
        if not done and when(request):
            done.append(request)
            action()
        elif others:
            others(request)

    csm.on_request = hook


def at_first(csm: SimulatedCsm, when: Callable[[Request], bool], action: Callable[[], Any]) -> None:
    """Do something when such a request arrives, the first time, before it is processed."""
    others = csm.on_arrival
    done: List[Request] = []

    def hook(request: Request) -> None:
        if not done and when(request):
            done.append(request)
            action()
        if others:
            others(request)

    csm.on_arrival = hook


def on_path(end: str, action: Scene) -> Scene:
    """Do something once a request to that path has been answered, the first time."""
    return lambda csm: once(csm, lambda each: each.path.endswith(end), lambda: action(csm))


def hold_backup(csm: SimulatedCsm, looks: int, session: str = TASK) -> None:
    """The backup is taken only once the program has looked so often: no clock decides."""
    lock, left = csm.world.session(session).lock, list(range(looks))
    lock.acquire()

    def count(request: Request) -> None:
        if left and is_task_look(request):
            left.pop()
            if not left:
                lock.release()

    csm.on_request = count


def run_of_somebody_else(
    start: str,
    end: str,
    waits: str = TASK,
    outcome: str = "good",
    steps: Tuple[Tuple[str, str], ...] = (),
) -> Scene:
    """It starts once a request to the path `start` has been answered ("": at once), and the session
    that it `waits` for is kept busy until one to `end` has been. So no time matters."""

    def set_up(csm: SimulatedCsm) -> None:
        task, lock = csm.world.task(TASK_ID), csm.world.session(waits).lock
        task.steps, task.outcome = list(steps) or task.steps, outcome
        todo = [start, end]

        def hook(request: Optional[Request]) -> None:
            if not todo or (request and not request.path.endswith(todo[0])):
                return
            if todo.pop(0) == start:
                lock.acquire()
                csm.world.start_run(TASK_ID)
            else:
                lock.release()

        csm.on_request = hook
        if not start:
            hook(None)

    return set_up


def die_and_promote(
    first: SimulatedCsm, second: SimulatedCsm, when: Callable[[Request], bool], refusals: int = 0
) -> None:
    """The active server dies after the first such request; the other one takes over at once, or
    once it has refused to be the active one so often."""
    left = [refusals]

    def ask_again(request: Request) -> None:
        if "/system/ha" in request.path or request.path.endswith("tokens"):
            left[0] -= 1
            if left[0] <= 0:
                second.promote()

    def take_over() -> None:
        first.die()
        if refusals:
            second.on_request = ask_again
        else:
            second.promote()

    once(first, when, take_over)


@contextlib.contextmanager
def vanishing(
    csm: SimulatedCsm,
    when: Callable[[Request], bool],
    action: Callable[[], Any] = lambda: None,
    seconds: float = 0.0,
    times: Optional[int] = None,
) -> Iterator[None]:
    """The server answers such a request, and ends the connection; from then on it takes so long to
    find out that no other one can be made: for good, or so many times."""
    fails: List[None] = []
    real: Any = connection.create_connection

    def create(address: Tuple[str, int], *args: Any, **options: Any) -> Any:
        if fails and address[1] == csm.port:
            if times is not None:
                fails.pop()
            time.sleep(seconds)
            raise ConnectionError("no route")
        return real(address, *args, **options)

    def vanish() -> None:
        csm.requests[-1].headers["connection"] = "close"
        fails.extend([None] * (times or 1))
        csm.active = csm.active and times is not None
        action()

    at_first(csm, when, vanish)
    with mock.patch.object(connection, "create_connection", create):
        yield


# --- Replies that are changed -------------------------------------------------------------------


def each_task(reply: Any, change: Dict[str, Any]) -> Any:
    """The reply with these fields in each task in it; None takes a field away."""
    for task in reply if isinstance(reply, list) else [reply]:
        if isinstance(task, dict) and "lastRan" in task:
            task.update(change)
            for key in [key for key, value in change.items() if value is None]:
                del task[key]
    return reply


def the_task(reply: Any) -> Any:
    """The one that is run, in a list or alone."""
    return next(
        each for each in (reply if isinstance(reply, list) else [reply]) if each["id"] == 27
    )


def add_message(reply: Any, text: str, when: float, at: int = -1) -> Any:
    """A message more in the history of each task in the reply."""
    for task in reply if isinstance(reply, list) else [reply]:
        if isinstance(task, dict) and task.get("messages"):
            entry = {
                "baseDate": int(when * 1000),
                "msg": text.split(maxsplit=1)[0],
                "resultText": text,
            }
            at_end = len(task["messages"]) + at if at < 0 else at
            task["messages"].insert(at_end, entry)
    return reply


def session_shows(csm: SimulatedCsm, name: str = TASK, **fields: Any) -> None:
    """Its view has other values in these fields."""
    end = f"/sessions/{name}"
    csm.mutate = lambda request, reply: (
        dict(reply, **fields) if request.path.endswith(end) and isinstance(reply, dict) else reply
    )


def shows_as_before(csm: SimulatedCsm) -> None:
    """From now on its views are what they would be now, until `mutate` is taken away."""
    before = copy.deepcopy(csm.replies.tasks())
    tasks = {str(each["id"]): each for each in before}
    sessions = {each.name: csm.replies.session(each, backups=True) for each in csm.world.sessions}

    def mutate(request: Request, reply: Any) -> Any:
        end = request.path.rpartition("/")[2]
        if request.method != "GET":
            return reply
        return before if end == "scheduledtasks" else {**tasks, **sessions}.get(end, reply)

    csm.mutate = mutate


def trigger_is_answered(csm: SimulatedCsm, message_id: str, text: str = "") -> None:
    """With that message, whatever comes of it."""
    answer = {"msg": message_id, "msgTranslated": f"{message_id} {text}".strip()}
    csm.mutate = lambda request, reply: (
        answer if request.method == "POST" and "tokens" not in request.path else reply
    )


# --- Each outcome that a caller may meet --------------------------------------------------------


class Outcome(NamedTuple):
    """A run, and how it ends."""

    code: int
    word: str
    triggers: int
    target: Tuple[str, ...] = ("-t", PAYROLL_TASK)
    options: Tuple[str, ...] = ()
    world: Mapping[str, Any] = {}
    task: str = "good"  # how runs of the task end
    message: Optional[str] = None  # the id of CSM's message, where it matters

    @property
    def started(self) -> str:
        """Whether something was started."""
        return "yes" if self.triggers else "no"

    def run(self, csm: SimulatedCsm, *more: str) -> Result:
        """Against a server that was made with the options in `world`."""
        if self.target[:1] == ("-t",) and self.task != "good":
            csm.world.task(self.target[1]).outcome = self.task
        return run_inside(*server_options(csm), *self.target, *self.options, *more)


OUTCOMES = {
    "verified": Outcome(0, "verified", 1, message="IWNR2212I"),
    "session": Outcome(0, "verified", 1, target=("-S", PAYROLL), message="IWNR1026I"),
    "accepted": Outcome(0, "accepted", 1, options=("--no-wait",), message="IWNR2211I"),
    "checked": Outcome(0, "checked", 0, options=("--check",)),
    "listed": Outcome(0, "listed", 0, target=(), options=("--list",)),
    "skipped": Outcome(0, "skipped", 0, options=("--min-interval", "600")),
    "login": Outcome(4, "login", 0, world={"login": "refuse"}),
    "login of a list": Outcome(
        4, "login", 0, target=(), options=("--list",), world={"login": "refuse"}
    ),
    "not found": Outcome(5, "not-found", 0, target=("-t", "No Such Name")),
    "refused": Outcome(6, "refused", 0, task="refuse", message="IWNR0009E"),
    "failed": Outcome(7, "failed", 1, task="error", message="IWNR0001E"),
    "failed after the backup": Outcome(
        7, "failed", 1, target=("-t", TASK), task="error-after-backup", message="IWNR0001E"
    ),
    "without backup": Outcome(7, "failed", 1, task="no-backup", message="IWNR2212I"),
    "unknown": Outcome(
        8, "unknown", 1, options=("--timeout", "30"), task="hang", message="IWNR2211I"
    ),
}


def run_outcome(outcome: Outcome, *more: str) -> Result:
    """On a server of its own -> the result, checked for its code and its triggers."""
    with SimulatedCsm(backup_seconds=0.02, **outcome.world) as csm:
        result = outcome.run(csm, *more)
        assert result.code == outcome.code, result.text
        assert len(csm.world.triggers) == outcome.triggers
    return result


# --- A signal -----------------------------------------------------------------------------------


def run_signalled(number: int, *argv: str) -> Result:
    """A task that hangs, and the signal once the program has looked at it."""
    with SimulatedCsm() as csm:
        for task in csm.world.tasks:
            task.outcome = "hang"
        process = start_program(*server_options(csm), *argv)
        wait_for(lambda: csm.world.triggers and csm.requests[-1].method == "GET")
        process.send_signal(number)
        return finish(process)


# --- What is below the program ------------------------------------------------------------------


@contextlib.contextmanager
def a_bug(*secrets: str) -> Iterator[None]:
    """An error that nobody thought of, with these words, at the first request."""

    class Odd(Exception):
        pass

    with mock.patch.object(requests.Session, "send", side_effect=Odd("a bug", *secrets)):
        yield


@contextlib.contextmanager
def connections_noted(note: Callable[[], Any]) -> Iterator[None]:
    """Whenever a connection is tried, `note` is called."""
    real: Any = connection.create_connection

    def create(*args: Any, **options: Any) -> Any:
        note()
        return real(*args, **options)

    with mock.patch.object(connection, "create_connection", create):
        yield
