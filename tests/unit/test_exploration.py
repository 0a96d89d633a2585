"""Every reachable state of the decision core, breadth first, with the promises as assertions.

From each state each letter of an alphabet is taken: what CSM answers, what a look shows, how long
the pause was, what the other server of a pair is, that the deadline has come. The promises are
checked against the letters (what the world did), never against what the core made of them.

What is abstracted:
- Time is whole units; the limits are a few units, so that each pause is below or above each of
  them: a moment further back than the longest limit that it is compared with is the same as one
  at it.
- All moments are told from the last look. The deadline comes between any two letters; that half
  of the time is gone, in a look of its own.
- Of a task's messages the last one seen and the new ones are listed; two new ones of a kind are
  one.
- lastRan moves when a run starts, not later; all later starts are the same one step later.
- Each session has at most two backups beside the noted one: one that is listed late and too old,
  and a new one (a second new one where the first may have been in a late note).
- Triggers in doubt are counted up to two, and so are those answered 429 or 503; of the triggers
  before the last one at most one is unanswered.
- Texts (words, trouble) are left out. Lists of messages, clocks and ids: test_histories.py.
- What a world leaves out of its alphabet is in another world's: see WORLDS.
- What served only a doubt is left out where there is none; before a look, what the last one showed
  of the sessions is left out (see `blanked`, `unseen`).
"""

import collections
import itertools
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import pytest

from support.program import load

c: Any = load()

NOTED = 1_700_000_000.0  # the moment of the note, by CSM's clock
PACE = c.Pace(
    request_timeout=2.0, session_factor=2.0, settle=2.0, grace=3.0, counted=2.0, late_listing=600.0
)
TEN = PACE.request_timeout * PACE.session_factor
DEADLINE = 1e9
HALF = 5e8
SHORT, LONG = 1.0, 3.0

TEXTS = {
    "s": "IWNR2211I",
    "m": "IWNR1026I",
    "f": "IWNR2212I",
    "E": "IWNR0001E",
    "X": "IWNR9999E",
    "w": "IWNR0002W",
    "i": "IWNR7777I",
    "t": "text alone",
}
GOOD_ENDS = ("", "f", "i")
RUN_MESSAGES = "smf"
FIRST = c.Backup("first", "", True, "8", NOTED - 3600, "H1-B1")
LATE = c.Backup("late", "", True, "8", NOTED - 601, "H1-B1")
BACKUPS = {
    "none": (FIRST,),
    "late": (LATE, FIRST),
    "invalid": (c.Backup("one", "", False, "8", NOTED + 1, "H1-B1"), FIRST),
    "valid": (c.Backup("one", "", True, "8", NOTED + 1, "H1-B1"), FIRST),
    "newer": (
        c.Backup("two", "", True, "8", NOTED + 2, "H1-B1"),
        c.Backup("one", "", True, "8", NOTED + 1, "H1-B1"),
        FIRST,
    ),
    "hidden": (),
    "other": (c.Backup("foreign", "", True, "8", NOTED + 1, "H1-B1"),),
}


class World(NamedTuple):
    name: str
    tasks: Tuple[Tuple[bool, bool, str], ...]  # running, lastRan later, new message
    views: Tuple[str, ...]
    target: str = "task"
    sessions: int = 1
    noted: bool = True
    running: bool = False
    silent: bool = False  # no message at all before
    pair: bool = False
    no_wait: bool = False
    chained: bool = False
    answers: Tuple[str, ...] = ("accepted", "refused", "lost")
    pauses: Tuple[float, ...] = (SHORT, LONG)
    away: bool = False  # reads without an answer, lists without the task

    @property
    def has_x(self) -> bool:
        return any(message == "X" for _, _, message in self.tasks)


class Letter(NamedTuple):
    """What one look shows."""

    pause: float
    listed: bool
    running: bool
    later: bool
    message: str
    views: Tuple[str, ...]
    server: str = "A"


class Facts(NamedTuple):
    """What really happened."""

    server: str = "A"
    maybe: int = 0  # triggers that may have been processed, those answered 429 or 503 aside
    busy: int = 0
    last_open: bool = False
    earlier_open: bool = False
    accepted: bool = False
    rejected: bool = False  # this server refused the last trigger
    excused: bool = False  # X is what it was refused with, and nothing was in doubt
    trace: bool = False  # since the note
    error: bool = False  # of the run; X aside
    x: bool = False  # the run has told X, which is not what its trigger was refused with
    kind: str = ""  # the run's last message
    kind_but_x: str = ""  # the same, X aside
    last: Any = c.NO_MESSAGE  # the last one that CSM has shown
    note_server: str = "A"
    note_running: bool = False
    running: bool = False
    views: Tuple[str, ...] = ()
    noted: Tuple[Any, ...] = ()  # ids; None: not noted
    late: Tuple[bool, ...] = ()
    brought: bool = False  # all sessions, when seen last, showed a new one, valid or not
    quiet: float = 0.0  # seconds of looks since the last trigger
    blind: float = 0.0
    seen: bool = False  # a look has worked since the trigger
    half: bool = False


def ids_of(view: str) -> Any:
    return frozenset(each.id for each in BACKUPS[view.rstrip("!")])


def is_new(noted: Any, view: str, kinds: Tuple[str, ...]) -> bool:
    """Does this view show a backup that was not noted, is not an old one, and is of that kind?"""
    shown = view.rstrip("!")
    if noted is None or shown not in kinds:
        return False
    return bool(ids_of(shown) - noted - {"late"})


VALID = ("valid", "newer", "other")
LISTED = (*VALID, "invalid")


def session_of(view: str) -> Optional[Any]:
    shown = view.rstrip("!")
    if shown == "unseen":
        return None
    status = "Severe" if view.endswith("!") else "Normal"
    return c.Session("s", status, "Protected", "", status == "Severe", "8", BACKUPS[shown])


SESSIONS = {view: session_of(view) for view in [*BACKUPS, "unseen", "none!", "valid!", "invalid!"]}
LAST = c.Message(NOTED, "IWNR2212I")  # of a run before


def newer(kind: str) -> Any:
    return c.Message(NOTED + 1, TEXTS[kind])


def snapshot(world: World, letter: Letter, facts: Facts, at: float) -> Any:
    """What CSM shows: the last message of before where there was one, and a new one."""
    task = None
    if letter.listed and world.target == "task":
        messages: Tuple[Any, ...] = (facts.last,) if facts.last.text else ()
        if letter.message == "gone":
            messages = ()
        elif letter.message:
            messages += (newer(letter.message),)
        ran = 10.0 + letter.later
        task = c.Task(1, "t", True, letter.running, False, ran, messages)
    sessions = tuple(SESSIONS[each] for each in letter.views)
    return c.Snapshot(letter.server, task, sessions, NOTED, NOTED, at, at)


def note_of(world: World, server: str, running: bool, at: float) -> Any:
    view = "none" if world.noted else "unseen"
    letter = Letter(0.0, True, running, False, "", (view,) * world.sessions, server)
    facts = Facts(last=c.NO_MESSAGE if world.silent else LAST)
    return snapshot(world, letter, facts, at)


# --- What the world did ---------------------------------------------------------------------------


def after_look(world: World, facts: Facts, letter: Letter) -> Facts:
    if world.target == "task" and not letter.listed:
        return facts._replace(blind=min(facts.blind + letter.pause, TEN))
    brought = facts.brought
    letter = letter._replace(views=tuple(usable(facts, letter, each) for each in letter.views))
    facts = with_views(world, facts, letter)
    if world.target == "task":
        facts = with_task(facts, letter, brought)
    elif any(is_new(old, view, LISTED) for old, view in zip(facts.noted, letter.views)):
        facts = facts._replace(trace=True)
    moved = letter.server != facts.server
    worked = world.target == "task" or any(each != "unseen" for each in letter.views)
    if not worked:
        return facts._replace(blind=min(facts.blind + letter.pause, TEN))
    quiet = 0.0 if moved else min(facts.quiet + min(letter.pause, PACE.counted), TEN)
    return facts._replace(quiet=quiet, seen=True, server=letter.server)


def usable(facts: Facts, letter: Letter, view: str) -> str:
    """A list that is hidden is no view, nor is another session of that name on another server."""
    is_foreign = view == "other" and letter.server != facts.note_server
    return "unseen" if is_foreign or view == "hidden" else view


def with_views(world: World, facts: Facts, letter: Letter) -> Facts:
    noted, late = [], []
    for old, was_late, view in zip(facts.noted, facts.late, letter.views):
        is_first = old is None and view != "unseen"
        noted.append(ids_of(view) if is_first else old)
        late.append(was_late or is_first)
    facts = facts._replace(noted=tuple(noted), late=tuple(late), views=letter.views)
    if "unseen" in letter.views:
        return facts
    pairs = list(zip(noted, letter.views))
    return facts._replace(brought=bool(pairs) and all(is_new(*pair, LISTED) for pair in pairs))


def with_task(facts: Facts, letter: Letter, brought: bool) -> Facts:
    told = letter.message if letter.message not in ("", "gone") else ""
    is_own = facts.maybe or facts.busy or facts.accepted
    is_joined = not is_own and not facts.rejected and (facts.trace or facts.note_running)
    if is_joined and letter.later and not brought:
        facts = facts._replace(error=False, x=False, kind="", kind_but_x="", excused=False)
    if told == "X" and facts.excused:
        told = ""
    trace = letter.later or told in tuple(RUN_MESSAGES)
    trace = trace or (letter.running and not facts.note_running)
    return facts._replace(
        trace=facts.trace or trace,
        error=facts.error or told == "E",
        x=facts.x or told == "X",
        kind=told or facts.kind,
        kind_but_x=told if told not in ("", "X") else facts.kind_but_x,
        running=letter.running,
        last=facts.last if letter.message in ("", "gone") else newer(letter.message),
    )


def after_answer(facts: Facts, name: str, is_last: bool) -> Facts:
    facts = facts._replace(last_open=False) if is_last else facts._replace(earlier_open=False)
    if name in ("accepted", "completed", "warned"):
        return facts._replace(accepted=True)
    if name in ("lost", "busy"):
        if name == "lost":
            return facts
        return facts._replace(maybe=facts.maybe - 1, busy=min(facts.busy + 1, 2))
    facts = facts._replace(maybe=facts.maybe - 1)
    if name == "refused":
        none = not facts.maybe and not facts.busy
        facts = facts._replace(rejected=facts.rejected or is_last or none, excused=none)
        return facts._replace(x=False, kind=facts.kind_but_x) if none else facts
    # Not processed: the looking for an earlier one was done before it.
    return facts._replace(quiet=PACE.grace + PACE.request_timeout) if is_last else facts


# --- The promises ---------------------------------------------------------------------------------


def check(world: World, run: Any, step: Any, facts: Facts) -> None:
    if step is c.Step.DONE:
        check_done(world, run, facts)
    elif step is c.Step.SEND:
        check_send(world, run, facts)
    elif step is c.Step.RENOTE:
        assert not facts.brought, "a joined run that brought a backup is given up"
        assert facts.half or not facts.running, "a joined run is given up too early"
    elif isinstance(step, c.Refused):
        assert (facts.maybe, facts.busy) == (0, 0), "6, and it may have been processed"
        assert (facts.accepted, facts.trace) == (False, False), "6, and it runs"
    elif isinstance(step, (c.Unreachable, c.LoginRefused)):
        assert (facts.maybe, facts.busy) == (0, 0), "3 or 4, and it may have been processed"
        assert not facts.accepted, "3 or 4, and it was accepted"
    elif isinstance(step, c.BackupFailed):
        check_failed(world, run, facts)


def check_done(world: World, run: Any, facts: Facts) -> None:
    if world.no_wait and (facts.accepted or (facts.maybe + facts.busy and facts.trace)):
        return
    assert facts.views, "done without a session"
    pairs = list(zip(facts.noted, facts.views))
    assert all(is_new(*pair, VALID) for pair in pairs), "done without a new valid backup"
    assert not any(each.endswith("!") for each in facts.views), "done while a session is Severe"
    assert not facts.rejected or facts.trace or facts.note_running, "a refused trigger is done"
    if world.target == "session":
        assert facts.maybe or facts.busy, "a refused Backup is done"
        return
    assert facts.trace or facts.note_running, "done without a run"
    assert not facts.running, "done while it runs"
    assert (facts.error, facts.x) == (False, False), "done despite an error"
    assert facts.kind in GOOD_ENDS, "done with a bad end"


def check_send(world: World, run: Any, facts: Facts) -> None:
    assert not facts.accepted, "a trigger after one that was accepted"
    assert facts.maybe <= 1, "a third trigger that may be processed"
    is_free = world.target == "session" and not facts.maybe and not facts.busy
    assert is_free or not facts.trace, "a trigger beside a run"
    assert facts.half or not facts.running, "a trigger beside a run that goes on"
    assert run.seen.last_look.server == facts.server, "a trigger to a server that was not read"
    if not facts.maybe and not facts.busy:
        assert run.note.server == facts.server, "a first trigger without a note there"
        return
    assert not facts.rejected, "sent again to a server that refused"
    enough = PACE.request_timeout if facts.busy < 2 or world.target == "task" else TEN
    is_blind = world.target == "session" and not facts.seen and facts.blind >= TEN
    assert facts.quiet >= enough or is_blind, "sent again without looking"


def check_failed(world: World, run: Any, facts: Facts) -> None:
    assert facts.accepted or facts.trace or facts.note_running, "failed, but it never ran"
    own = facts.accepted or facts.maybe or facts.busy
    is_refused = world.target == "session" and facts.rejected
    assert own or is_refused or facts.brought, "a joined run without a backup is called failed"
    why = (
        facts.error
        or facts.x
        or facts.kind not in GOOD_ENDS
        or any("!" in each for each in facts.views)
    )
    is_noted = any(old is not None and not late for old, late in zip(facts.noted, facts.late))
    assert why or is_noted or is_refused, "not noted, and called failed"


def check_deadline(world: World, run: Any, facts: Facts) -> str:
    """From every state the deadline leads to an end."""
    end = c.next_step(run, DEADLINE, PACE)
    assert isinstance(end, c.Problem) or end is c.Step.DONE, "no end at the deadline"
    check(world, run, end, facts)
    if run.phase is c.Phase.IDLE:
        assert isinstance(end, (c.Unreachable, c.LoginRefused))
    elif run.phase is c.Phase.REFUSED:
        assert isinstance(end, (c.Refused, c.BackupFailed))
    return type(end).__name__


Pair = Tuple[Any, Facts]

# --- States that are the same ---------------------------------------------------------------------


def clipped(moment: Optional[float], now: float, limit: float) -> Optional[float]:
    return None if moment is None else max(moment, now - limit)


def canonical(run: Any, facts: Facts) -> Tuple[Any, Facts]:
    """The same state with all moments told from its last look, and texts left out."""
    seen, at = run.seen, run.seen.updated_at
    now_at = max(seen.last_look.at - at, -PACE.grace)
    shift = now_at - seen.last_look.at
    ended, backed = seen.ended_at, seen.backed_since
    is_last = seen.last_message.seconds == facts.last.seconds
    last = (
        seen.last_message._replace(seconds=NOTED if is_last else NOTED - 1)
        if seen.last_message.seconds
        else seen.last_message
    )
    facts = facts._replace(
        last=facts.last._replace(seconds=NOTED) if facts.last.text else facts.last
    )
    look = seen.last_look
    took = min(look.at - look.asked_at, PACE.grace)
    now = look._replace(at=now_at, asked_at=now_at - took, task=same_task(look.task, look.task))
    seen = seen._replace(
        updated_at=0.0,
        last_look=now,
        last_message=last,
        told_by=look.server,
        last_ran=now.task.last_ran if now.task is not None else 0.0,
        errors=seen.errors[:1],
        earlier_message=seen.earlier_message._replace(seconds=NOTED - 1)
        if seen.earlier_message.text
        else seen.earlier_message,
        ended_at=clipped(None if ended is None else ended + shift, now_at, PACE.grace),
        backed_since=clipped(None if backed is None else backed + shift, now_at, PACE.settle),
        bare_since=clipped(
            None if seen.bare_since is None else seen.bare_since + shift, now_at, PACE.settle
        ),
        severe_since=clipped(
            None if seen.severe_since is None else seen.severe_since - at, 0.0, 2.0
        ),
        severe_for=min(seen.severe_for, PACE.settle),
        sent_at=seen.sent_at if seen.sent_at == c.NEVER else max(seen.sent_at - at, -TEN),
        looked=min(seen.looked, PACE.grace + PACE.request_timeout),
        blind=min(seen.blind, PACE.grace + TEN),
        unanswered=min(seen.unanswered, 2),
    )
    half = run.half_at
    if half not in (0.0, c.NEVER):
        half = HALF if half - at > 1e6 else -1.0  # it is gone
    busy = min(run.busy, 2)
    accepted = c.NO_MESSAGE if run.accepted else None
    note = run.note._replace(
        at=0.0, asked_at=0.0, task=same_task(run.note.task, run.seen.last_look.task)
    )
    run = run._replace(
        note=note,
        seen=seen,
        deadline=DEADLINE,
        half_at=half,
        sends=min(run.sends, 1),
        busy=busy,
        triggers=run.triggers - run.busy + busy,
        accepted=accepted,
        refusal="IWNR9999E" if run.refusal else None,
        trouble="",
    )
    return run, facts


def blanked(world: World, run: Any, facts: Facts) -> Pair:
    """What serves a doubt is left out where there is none; of a refusal, the sum counts. What it
    is that CSM refused with is of no weight where no look shows it, nor that a task was ever
    seen."""
    seen = run.seen
    if run.phase in (c.Phase.STARTED, c.Phase.JOINED):
        run = run._replace(is_refused_here=False, role=c.Role.NOT_ASKED)
        facts = facts._replace(rejected=False)
        if seen.has_begun:
            seen = seen._replace(looked=0.0, blind=0.0, seen_since_sent=False)
            facts = facts._replace(quiet=0.0, blind=0.0, seen=False)
    if run.phase is not c.Phase.PENDING and not world.silent:
        seen = seen._replace(sent_at=c.NEVER, backed_since=None)
    if not world.has_x:
        run = run._replace(refusal=None)
        facts = facts._replace(excused=False)
    if world.target == "task":
        seen = seen._replace(seen_since_sent=True)
        facts = facts._replace(seen=True)
    if seen.seen_since_sent and run.phase is not c.Phase.REFUSED:
        seen = seen._replace(blind=0.0)
    if facts.seen:
        facts = facts._replace(blind=0.0)
    if "busy" not in world.answers or world.target == "task":
        facts = facts._replace(quiet=min(facts.quiet, PACE.request_timeout))
    if run.phase is c.Phase.REFUSED:
        total = min(seen.looked + seen.blind, PACE.settle)
        seen = seen._replace(looked=total, blind=0.0, sent_at=c.NEVER)
    return run._replace(seen=seen), facts


def unseen(run: Any, facts: Facts) -> Pair:
    """Where the next thing to happen is a look, it alone decides: what the last one showed of the
    sessions is left out. (It serves the proof: a rule that used it would prove too little, and
    never too much.)"""
    if facts.last_open or facts.earlier_open:
        return run, facts
    seen = run.seen
    now = seen.last_look._replace(sessions=(None,) * len(seen.noted))
    seen = seen._replace(last_look=now, proofs=c.proofs_unseen(seen.noted))
    return run._replace(seen=seen), facts._replace(views=())


def same_task(task: Optional[Any], now: Optional[Any]) -> Optional[Any]:
    """lastRan: 10 is what is shown now, 9 an earlier one."""
    if task is None or now is None:
        return task
    messages = task.messages and (task.last_message._replace(seconds=NOTED),)
    ran = 10.0 if task.last_ran >= now.last_ran else 9.0
    return task._replace(last_ran=ran if task.last_ran else 0.0, messages=messages)


# --- The exploration ------------------------------------------------------------------------------

FATES = {
    "accepted": (c.Fate.ACCEPTED, "IWNR2211I"),
    "completed": (c.Fate.ACCEPTED, "IWNR1026I"),
    "warned": (c.Fate.ACCEPTED, "IWNR0009W"),
    "refused": (c.Fate.REFUSED, "IWNR9999E"),
    "lost": (c.Fate.LOST, ""),
    "busy": (c.Fate.BUSY, ""),
    "unauthorised": (c.Fate.UNAUTHORISED, ""),
    "not sent": (c.Fate.NOT_SENT, ""),
}


class Explorer:
    def __init__(self, world: World) -> None:
        self.world = world
        self.letters = list(self.all_letters())
        self.transitions = 0
        self.ends: Dict[str, int] = collections.Counter()

    def all_letters(self) -> Iterator[Letter]:
        world = self.world
        views = list(itertools.product(world.views, repeat=world.sessions))
        servers = "AB" if world.pair else "A"
        for pause, server in itertools.product(world.pauses, servers):
            for (running, later, message), view in itertools.product(world.tasks, views):
                if not running or view in (views[0], views[-1]):
                    yield Letter(pause, True, running, later, message, view, server)
            if world.away and world.target == "task":
                yield Letter(pause, False, False, False, "", views[-1], server)

    def first(self) -> Pair:
        world = self.world
        note = note_of(world, "A", world.running, 0.0)
        run = c.first_state(note, DEADLINE, world.no_wait, world.chained, world.pair)
        return run, self.facts_of(Facts(), "A", world.running)

    def facts_of(self, facts: Facts, server: str, running: bool) -> Facts:
        count = self.world.sessions
        noted = ids_of("none") if self.world.noted else None
        return facts._replace(
            server=server,
            note_server=server,
            trace=False,
            error=False,
            x=False,
            kind="",
            kind_but_x="",
            rejected=False,
            excused=False,
            note_running=running,
            running=running,
            views=(),
            noted=(noted,) * count,
            late=(False,) * count,
            brought=False,
            last=c.NO_MESSAGE if self.world.silent else LAST,
        )

    def explore(self) -> int:
        """How many states there are from which something goes on."""
        self.known: Dict[Pair, Any] = {}
        self.current: Any = None
        self.todo: Any = collections.deque()
        self.reach(*self.first(), "start")
        while self.todo:
            self.current, step = self.todo.popleft()
            run, facts = self.current
            for after, told, label in self.successors(run, facts, step):
                self.reach(after, told, label)
        return len(self.known)

    def reach(self, run: Any, facts: Facts, label: Any) -> None:
        """A transition: is each promise kept in the state that it leads to?"""
        self.transitions += 1
        self.label = label
        step = c.next_step(run, run.seen.updated_at, PACE)
        check(self.world, run, step, facts)
        self.ends[step.name if isinstance(step, c.Step) else type(step).__name__] += 1
        if isinstance(step, c.Problem) or step is c.Step.DONE:
            return
        check_deadline(self.world, run, facts)
        pair = blanked(self.world, *canonical(run, facts))
        if step is c.Step.LOOK and not self.world.away:
            pair = unseen(*pair)
        if pair not in self.known:
            self.known[pair] = (self.current, label)
            self.todo.append((pair, step))

    def history(self) -> List[Any]:
        """The letters that lead to the current state."""
        labels, at = [self.label], self.current
        while at is not None:
            at, label = self.known[at]
            labels.append(label)
        return labels[::-1]

    def successors(self, run: Any, facts: Facts, step: Any) -> Iterator[Any]:
        if step is c.Step.SEND:
            return self.send(run, facts)
        if step is c.Step.RENOTE:
            return self.renote(run, facts)
        if step is c.Step.MOVE:
            return self.move(run, facts)
        if step is c.Step.ASK_ROLE:
            return ((c.after_role(run, role), facts, role.name) for role in list(c.Role)[1:])
        return itertools.chain(self.look(run, facts), self.answer(run, facts))

    def send(self, run: Any, facts: Facts) -> Iterator[Any]:
        sent = c.after_send(run, 0.0)
        facts = facts._replace(
            maybe=facts.maybe + 1,
            earlier_open=facts.earlier_open or facts.last_open,
            last_open=True,
            rejected=False,
            excused=False,
            quiet=0.0,
            blind=0.0,
            seen=False,
        )
        yield sent, facts, "send"

    def answer(self, run: Any, facts: Facts) -> Iterator[Any]:
        for is_last, is_open in ((True, facts.last_open), (False, facts.earlier_open)):
            for name in self.world.answers if is_open else ():
                if name == "not sent" and not (is_last and facts.quiet == facts.blind == 0.0):
                    continue
                fate, text = FATES[name]
                number = run.sends if is_last else run.sends - 1
                answer = c.Answer(fate, c.Message(0.0, text), number, 0.0)
                after = c.after_answer(run, answer)
                told = after_answer(facts, name, is_last)
                if name == "unauthorised" and run.is_unauthorised:
                    is_none = not told.maybe and not told.busy
                    told = told._replace(rejected=facts.rejected or is_last or is_none)
                yield after, told, (name, is_last)

    def look(self, run: Any, facts: Facts) -> Iterator[Any]:
        for letter in self.letters:
            yield (*self.shown(run, facts, letter, letter.pause), letter)
        if run.half_at == HALF and run.phase is c.Phase.JOINED:
            for letter in self.letters:
                if letter.listed and letter.pause == LONG:
                    yield (
                        *self.shown(run, facts._replace(half=True), letter, HALF),
                        (HALF, letter),
                    )
        if self.world.away:
            for pause in self.world.pauses:
                yield c.after_no_answer(run, pause, PACE), facts, pause

    def shown(self, run: Any, facts: Facts, letter: Letter, at: float) -> Pair:
        look = snapshot(self.world, letter, facts, at)
        return c.after_look(run, look, PACE), after_look(self.world, facts, letter)

    def renote(self, run: Any, facts: Facts) -> Iterator[Any]:
        unseen = ("unseen",) * self.world.sessions
        for running, later, message in self.world.tasks:
            letter = Letter(SHORT, True, running, later, message, unseen, facts.server)
            look = snapshot(self.world, letter, facts, SHORT)
            after = c.after_renote(run, look, PACE)
            if later:
                told = after_look(self.world, facts, letter)
                assert after.phase is c.Phase.JOINED, "another run is not joined"
            else:
                told = facts._replace(
                    trace=False,
                    error=False,
                    x=False,
                    kind="",
                    kind_but_x="",
                    note_running=running,
                    running=running,
                    excused=False,
                )
                told = told._replace(last=newer(message) if message in TEXTS else facts.last)
            yield after, told, ("renote", letter)

    def move(self, run: Any, facts: Facts) -> Iterator[Any]:
        assert self.world.pair
        yield c.after_move(run, None, PACE), facts, "no move"
        for running in (False, True) if self.world.target == "task" else (False,):
            note = note_of(self.world, "B" if facts.server == "A" else "A", running, SHORT)
            after = c.after_move(run, note, PACE)
            if facts.maybe or facts.busy:
                letter = Letter(
                    SHORT, True, running, False, "", ("none",) * self.world.sessions, note.server
                )
                yield (
                    after,
                    after_look(self.world, facts, letter)._replace(rejected=False, quiet=0.0),
                    "move",
                )
            else:
                yield after, self.facts_of(facts, note.server, running), "move"


QUIET = (False, False, "")
RUNS = (True, True, "s")
FINISHED = (False, True, "f")
FAILED = (False, False, "E")
FEW = (QUIET, RUNS, FINISHED, FAILED)
TRACES = (
    QUIET,
    (True, False, ""),
    (True, False, "E"),
    (False, True, ""),
    (False, False, "s"),
    (False, False, "f"),
    FAILED,
)
ENDS = (
    QUIET,
    RUNS,
    (False, True, ""),
    (False, True, "f"),
    (False, False, "w"),
    (False, False, "i"),
    (False, False, "t"),
    (False, False, "m"),
    (False, False, "gone"),
)
SILENT = (QUIET, (True, False, ""), (False, True, ""), (False, False, "f"), (False, False, "m"))
WITH_X = (QUIET, RUNS, (True, False, "X"), (False, False, "X"), FINISHED)
NO_TASK = (QUIET,)
BOTH = ("none", "valid")
THREE = ("none", "invalid", "valid")
SEVERE = ("none", "none!", "valid", "valid!", "unseen")
LATER = ("none", "unseen", "hidden", "newer", "valid")
YES = ("accepted",)
ALL = ("accepted", "refused", "lost", "busy", "unauthorised", "not sent")
BACKUP = ("completed", "warned", "refused", "lost", "busy")
ONE = (LONG,)
WORLDS = (
    World("task", (QUIET, RUNS, FINISHED), BOTH),
    World("task, traces", TRACES, BOTH, answers=("accepted", "lost"), pauses=ONE),
    World("task, ends", ENDS, BOTH, answers=YES, pauses=ONE),
    World("task, answers", (QUIET, RUNS), ("valid",), answers=ALL, pauses=ONE),
    World("task, away", (QUIET, FINISHED), ("valid",), answers=("accepted", "lost"), away=True),
    World("task, listed late", FEW, ("none", "late", "valid"), answers=YES, pauses=ONE),
    World("task, severe", (QUIET, RUNS, FINISHED), SEVERE, answers=YES),
    World("task, running", FEW, THREE, answers=YES, running=True, pauses=ONE),
    World(
        "task, running, unseen",
        (QUIET, RUNS, FINISHED),
        (*BOTH, "unseen"),
        answers=YES,
        running=True,
        pauses=ONE,
    ),
    World("task, refused with X", WITH_X, BOTH, answers=("accepted", "refused"), pauses=ONE),
    World("task, pair", (QUIET, RUNS), BOTH, answers=("refused", "lost"), pair=True, pauses=ONE),
    World("task, no wait", FEW, BOTH, no_wait=True, pauses=ONE),
    World("task, running, no wait", FEW, BOTH, no_wait=True, running=True, pauses=ONE),
    World("task, not noted", FEW, LATER, noted=False, answers=YES, pauses=ONE),
    World(
        "task, running, not noted",
        (QUIET, RUNS, FINISHED),
        ("none", "unseen", "newer", "valid"),
        noted=False,
        answers=YES,
        running=True,
        pauses=ONE,
    ),
    World(
        "task without messages", SILENT, BOTH, silent=True, answers=("accepted", "lost"), pauses=ONE
    ),
    World("task, chained", FEW, THREE, chained=True, answers=YES, pauses=ONE),
    World("task, two sessions", FEW, THREE, sessions=2, answers=YES, pauses=ONE),
    World("task, no session", FEW, BOTH, sessions=0, running=True, pauses=ONE),
    World("session", NO_TASK, (*BOTH, "unseen"), "session", answers=("completed", "lost")),
    World("session, answers", NO_TASK, (*THREE, "late"), "session", answers=BACKUP, pauses=ONE),
    World(
        "session, away",
        NO_TASK,
        BOTH,
        "session",
        answers=("completed", "lost"),
        away=True,
        pauses=ONE,
    ),
    World("session, severe", NO_TASK, SEVERE, "session", answers=("completed", "lost")),
    World(
        "session, not noted", NO_TASK, LATER, "session", noted=False, answers=("completed", "lost")
    ),
    World(
        "session, pair",
        NO_TASK,
        (*BOTH, "other"),
        "session",
        pair=True,
        answers=("completed", "refused", "lost"),
        pauses=ONE,
    ),
    World(
        "session, no wait",
        NO_TASK,
        THREE,
        "session",
        no_wait=True,
        answers=("completed", "refused", "lost"),
        pauses=ONE,
    ),
    World(
        "two sessions", NO_TASK, THREE, "session", sessions=2, answers=("completed",), pauses=ONE
    ),
)
# The same with a smaller alphabet, for the suite that leaves out what is slow.
SMALL = (
    World("task, small", (QUIET, FINISHED), BOTH, pauses=ONE),
    World("task, away, small", (QUIET,), ("valid",), answers=("lost",), away=True, pauses=ONE),
    World("task, ends, small", ENDS, ("valid",), answers=YES, pauses=ONE),
    World("task, no session, small", (QUIET, FINISHED), ("none",), sessions=0, pauses=ONE),
    World("task, no wait, small", (QUIET, RUNS), ("valid",), no_wait=True, pauses=ONE),
    World("task, not noted, small", FEW, LATER[:2], noted=False, answers=YES, pauses=ONE),
    World("task, pair, small", (QUIET,), ("valid",), answers=("refused",), pair=True, pauses=ONE),
    World("task, refused with X, small", WITH_X[:4], ("valid",), answers=("refused",), pauses=ONE),
    World("task, running, small", FEW[:3], BOTH, answers=YES, running=True, pauses=ONE),
    World("task, severe, small", (QUIET, FINISHED), SEVERE[:4], answers=YES, pauses=ONE),
    World("task, two sessions, small", FEW, BOTH, sessions=2, answers=YES, pauses=ONE),
    World("task without messages, small", SILENT[:3], BOTH, silent=True, answers=YES, pauses=ONE),
    World("session, answers, small", NO_TASK, BOTH, "session", answers=BACKUP[2:], pauses=ONE),
    World("session, pair, small", NO_TASK, BOTH, "session", pair=True, pauses=ONE),
)
SLOW = (
    "task, traces",
    "task, listed late",
    "task, chained",
    "task",
    "task, away",
    "task, ends",
    "task, no session",
    "task, no wait",
    "task, not noted",
    "task, pair",
    "task, refused with X",
    "task, running",
    "task, running, no wait",
    "task, running, not noted",
    "task, running, unseen",
    "task, severe",
    "task, two sessions",
    "task without messages",
    "session, answers",
    "session, not noted",
    "session, pair",
    "session, severe",
)


# What some worlds cannot come to; all others must, or the world shows less than it is there for.
NEVER_DONE = (
    "task, answers",
    "task, away, small",
    "task, no session",
    "task, no session, small",
    "task, not noted, small",
)
NEVER_FAILED = (
    "session, not noted",
    "task, away",
    "task, away, small",
    "task, no session, small",
    "task, pair, small",
)
# Periods that no step of the core asks for, or that are compared with the times of backups.
OUT_OF_REACH = {
    *("first_contact", "second_look", "first_pause", "growth", "longest_pause", "first_retry"),
    *("login_retry", "first_login_pause", "longest_login_pause", "role_again", "last_try", "lock"),
    *("shown_again", "glance", "late_listing", "clock_skew"),
}


def test_each_period_is_within_reach() -> None:
    """No pause here is longer than LONG: a period at its real length would never be over. A new one
    of the core has to be named in PACE, and in `canonical` where a moment is clipped by it."""
    far = {name for name, value in PACE._asdict().items() if value > TEN}
    assert far <= OUT_OF_REACH


def marked(world: World) -> Any:
    marks = [pytest.mark.slow] if world.name in SLOW else []
    return pytest.param(world, marks=marks, id=world.name)


@pytest.fixture(scope="module")
def figures() -> Iterator[List[int]]:
    """The sums over all worlds, printed at the end."""
    sums = [0, 0]
    yield sums
    print(f"\n{sums[0]:,} states, {sums[1]:,} transitions, no promise broken")


@pytest.mark.parametrize("world", [marked(each) for each in WORLDS + SMALL])
def test_every_reachable_state(world: World, figures: List[int]) -> None:
    explorer = Explorer(world)
    try:
        states = explorer.explore()
    except AssertionError as broken:
        history = "\n".join(str(each) for each in explorer.history())
        raise AssertionError(f"{broken}\n{history}") from broken
    assert explorer.ends["OutcomeUnknown"]
    assert bool(explorer.ends["DONE"]) == (world.name not in NEVER_DONE)
    assert bool(explorer.ends["BackupFailed"]) == (world.name not in NEVER_FAILED)
    figures[0] += states
    figures[1] += explorer.transitions
    print(f"{world.name}: {states:,} states, {explorer.transitions:,} transitions, {explorer.ends}")


def anything(*_: Any) -> bool:
    return True


def forgetful_note(noted: Any, view: Any, server: str) -> Any:
    return noted or (view and c.Noted(server, view._replace(backups=()), is_late=True))


def hasty_phase(run: Any, answer: Any, if_none: Any) -> Any:
    return c.joined_where_traced(run._replace(phase=if_none))


def same_run(run: Any) -> Any:
    return run


BREAKS = (
    (
        "one session of two is enough",
        "is_backed_up",
        lambda proofs: c.Proof.VALID in proofs,
        "task, two sessions",
    ),
    (
        "no session proves all",
        "is_backed_up",
        lambda proofs: proofs == () or set(proofs) == {c.Proof.VALID},
        "task, no session",
    ),
    (
        "not valid will do",
        "proof_of",
        lambda noted, view, *_: (
            c.Proof.VALID if noted and view and len(view.backups) > 1 else c.Proof.NONE
        ),
        "task, chained",
    ),
    ("a late note is taken for one of before", "with_late_note", forgetful_note, "task, not noted"),
    ("an old backup is new", "is_recent", anything, "task, listed late"),
    (
        "another session of that name is looked at",
        "usable_view",
        lambda noted, view, server: view,
        "session, pair",
    ),
    ("sent again at once", "Evidence.has_looked_for", anything, "task, traces"),
    ("three in doubt", "MOST_TRIGGERS", 3, "task, answers"),
    (
        "a joined run is given up",
        "must_renote",
        lambda run, pace: run.phase is c.Phase.JOINED,
        "task, running",
    ),
    ("no error is one", "Message.is_error", False, "task, traces"),
    ("any end is a good one", "is_good_end", lambda last: True, "task, ends"),
    ("a run is always there", "has_trace", anything, "task, severe"),
    ("a trace is not seen", "started_where_traced", same_run, "task, traces"),
    ("a refused task is not joined", "joined_where_traced", same_run, "task, refused with X"),
    ("a refusal decides all", "phase_without", hasty_phase, "task, answers"),
    ("Severe is well", "has_turned_severe", lambda noted, view: None, "task, severe"),
    ("nobody is ever left", "is_nobody_left", lambda run: False, "task"),
)


@pytest.mark.parametrize("row", BREAKS, ids=[row[0] for row in BREAKS])
def test_a_broken_core_is_found(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, name, broken, world = row
    owner, _, attribute = ("c." + name).rpartition(".")
    monkeypatch.setattr(eval(owner), attribute, broken)
    explorer = Explorer(next(each for each in WORLDS if each.name == world))
    with pytest.raises(AssertionError):
        explorer.explore()
