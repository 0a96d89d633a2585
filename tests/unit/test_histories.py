"""The table of named histories: what CSM shows and answers, and how the call must end."""

import types
from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.program import load

c: Any = load()

D = 1_700_000_000.0  # the moment of the note, by CSM's clock
PACE = c.Pace()
QUICK = c.Pace(request_timeout=5.0)
MESSAGES = {
    "s": (D + 1, "IWNR2211I"),
    "m": (D + 2, "IWNR1026I"),
    "f": (D + 3, "IWNR2212I"),
    "E": (D + 4, "IWNR0001E"),
    "w": (D + 5, "IWNR0002W"),
    "i": (D + 6, "IWNR7777I"),
    "S": (D + 7, "IWNR0003S"),
    "t": (D + 8, "text alone"),
    "X": (D + 9, "IWNR9999E refused"),
    "6": (D + 10, "IWN123456E"),
    "g": (D + 11, "IWNR2212I"),
    "z": (D + 12, "IWNR02212I [1:02:03 PM] zeros"),
    "h": (D + 13, "IWNR2220I"),
    "y": (D + 14, "IWNR0001E of a step"),
    "F": (D - 3600, "IWNR2212I [1:02:03 PM CET]"),
    "G": (D - 1, "IWNR0001E [1:02:03 PM] of a step"),
    "Y": (D - 1, "IWNR9999E [1:02:03 PM] refused"),
}
OLD = c.Message(D - 3600, "IWNR2212I")
FIRST = c.Backup("first", "first's time", True, "8", D - 3600, "H1-B1")
BACKUPS = {
    "o": c.Backup("late", "late's time", True, "8", D - 601, "H1-B1"),
    "b": c.Backup("behind", "behind's time", True, "8", D - 600, "H1-B1"),
    "n": c.Backup("new", "new's time", False, "8", D + 1, "H1-B1"),
    "v": c.Backup("new", "new's time", True, "8", D + 1, "H1-B1"),
    "V": c.Backup("newer", "newer's time", True, "8", D + 30, "H1-B1"),
    "e": c.Backup("before first", "early", True, "8", D - 3600, "H1-B1"),
    "p": c.Backup("ahead", "ahead's time", True, "8", D + 300, "H1-B1"),
    "2": c.Backup("other sequence", "2's time", True, "8", D - 60, "H2-B2"),
    "4": c.Backup("four minutes old", "4's time", True, "8", D - 240, "H1-B1"),
    "u": c.Backup("B-1", "u's time", True, "8", 0.0, "H1-B1"),
}
FATES = {
    "accepted": (c.Fate.ACCEPTED, "IWNR2211I"),
    "completed": (c.Fate.ACCEPTED, "IWNR1026I"),
    "warned": (c.Fate.ACCEPTED, "IWNR0009W"),
    "refused": (c.Fate.REFUSED, "IWNR9999E refused"),
    "refused by HTTP": (c.Fate.REFUSED, "HTTP 415"),
    "unauthorised": (c.Fate.UNAUTHORISED, "HTTP 401"),
    "not sent": (c.Fate.NOT_SENT, "connection refused"),
    "busy": (c.Fate.BUSY, "HTTP 503"),
    "lost": (c.Fate.LOST, "broken"),
}


def session(shown: str) -> Optional[Any]:
    """'-': cannot be read; 'P': Protected with an empty list; 'U': no backup at all; '/': not the
    first; else a letter a backup, '!' for Severe."""
    if shown == "-":
        return None
    backups = tuple(BACKUPS[each] for each in shown if each in BACKUPS)
    if not set(shown) & set("PU/"):
        backups += (FIRST,)
    state = "Protected" if "P" in shown or backups else "Defined"
    status = "Severe" if "!" in shown else "Normal"
    return c.Session("s", status, state, "Safeguarded Copy", "!" in shown, "8", backups)


def snap(
    at: float, task: str, *sessions: str, server: str = "A", earliest: float = D, took: float = 0.0
) -> Any:
    """task: '' for a session; '?' not listed; else R running, M N O lastRan later and later, L
    earlier, K the same to the millisecond, 0 none, Q no old message, T all messages without their
    times, B only the last one and without its time, A waits for approval; and a letter a
    message."""
    shown = None
    if task not in ("", "?"):
        messages = () if "Q" in task else (OLD,)
        messages += tuple(c.Message(*MESSAGES[each]) for each in task if each in MESSAGES)
        if "B" in task or "T" in task:
            shown_ones = messages[-1:] if "B" in task else messages
            messages = tuple(c.Message(0.0, each.text) for each in shown_ones)
        moved = {"M": D + 1.5, "N": D + 99, "O": D + 199, "0": 0.0, "L": D - 7200, "K": D - 3599.6}
        ran = [moved[each] for each in task if each in moved] or [D - 3600]
        shown = c.Task(1, "t", True, "R" in task, "A" in task, ran[-1], messages)
    views = tuple(map(session, sessions))
    return c.Snapshot(server, shown, views, earliest, earliest, at, at - took)


def name_of(step: Any) -> str:
    return step.name if isinstance(step, c.Step) else type(step).__name__


def answer_of(event: Any, run: Any, at: float) -> Any:
    name, number = event if isinstance(event, tuple) else (event, run.sends)
    fate, text = FATES[name]
    trouble = "" if fate is c.Fate.ACCEPTED else text
    return c.Answer(fate, c.Message(0.0, text), number, at, trouble)


def apply(event: Any, run: Any, step: Any, at: float, pace: Any) -> Any:
    """An event: a fate, or (fate, number of the trigger); a float: a read without an answer then; a
    role; ('move', note); ('renote', look); else a look."""
    if isinstance(event, c.Role):
        assert step is c.Step.ASK_ROLE
        return c.after_role(run, event)
    if isinstance(event, float):
        return c.after_no_answer(run, event, pace)
    if isinstance(event, c.Snapshot):
        return c.after_look(run, event, pace)
    if event[0] == "move":
        assert step is c.Step.MOVE, step
        return c.after_move(run, event[1], pace)
    if event[0] == "renote":
        assert step is c.Step.RENOTE, step
        return c.after_renote(run, event[1], pace)
    return c.after_answer(run, answer_of(event, run, at))


def time_of(event: Any, at: float) -> float:
    if isinstance(event, float):
        return event
    look = event[1] if isinstance(event, tuple) and event[0] == "renote" else event
    return look.at if isinstance(look, c.Snapshot) and not isinstance(event, str) else at


def play(note: Any, events: List[Any], pace: Any = PACE, **more: Any) -> Tuple[Any, ...]:
    """-> the steps taken, the last one the end; the state; the last step itself. A joined run that
    brought nothing is noted anew by the last look, unless the history has a look of its own."""
    end_at = more.pop("end_at", None)
    run = c.first_state(note, more.pop("deadline", 1800.0), **more)
    steps, at = [], note.at
    for event in [*list(events), "end"]:
        at = at if event != "end" or end_at is None else end_at
        while True:
            step = c.next_step(run, at, pace)
            steps.append(name_of(step))
            if step is c.Step.SEND and event not in ("end",):
                run = c.after_send(run, at)
            elif step is c.Step.RENOTE and event != "end" and event[0] != "renote":
                run = c.after_renote(run, run.seen.last_look, pace)
            else:
                break
        if event == "end":
            return steps, run, step
        assert isinstance(step, c.Step), f"{steps[-1]} before {event}"
        assert step is not c.Step.DONE, f"done before {event}"
        run = apply(event, run, step, at, pace)
        at = time_of(event, at)
    raise AssertionError


def words_of(run: Any, pace: Any = PACE) -> str:
    """What is told of the verdict."""
    verdict = c.judge(run.note, run.seen, run.is_chained, pace)
    return str(c.words_of(verdict, run, pace))


def looks(
    until: float, task: str, *sessions: str, begin: float = 0.0, every: float = 5.0, **more: Any
) -> List[Any]:
    count = int((until - begin) / every + 1e-9)
    return [snap(begin + (each + 1) * every, task, *sessions, **more) for each in range(count)]


IDLE, RUNNING, SILENT, SESSION = (
    snap(0, "q", ""),
    snap(0, "R", ""),
    snap(0, "Q", ""),
    snap(0, "", ""),
)
UNNOTED, TWO, MUTE, BARE = (
    snap(0, "q", "-"),
    snap(0, "q", "", ""),
    snap(0, "Q0", ""),
    snap(0, "B", ""),
)
PROTECTED, BLIND = snap(0, "q", "P"), snap(0, "", "-")
EIGHT, SEVEN, SIX = "OutcomeUnknown", "BackupFailed", "Refused"
PAIR = {"other_server": True}
ACTIVE, STANDBY, NOT_TOLD = c.Role.ACTIVE, c.Role.STANDBY, c.Role.NOT_TOLD


def others(until: int, task: str, *sessions: str) -> List[Any]:
    return [other(at, task, *sessions) for at in range(1, until + 1, 5)]


def other(at: float, task: str, *sessions: str) -> Any:
    return snap(at, task, *sessions, server="B")


ACCEPTED = "accepted"
LOST30 = ["lost", *looks(30, "q", "")]

# name, note, events, triggers that may have been processed, the end, what else
RUN = [
    ("plain", IDLE, [ACCEPTED, snap(1, "RMs", ""), snap(2, "Msmf", "v")], 1, "DONE", {}),
    ("start and end between two looks", IDLE, [ACCEPTED, snap(1, "Msmf", "v")], 1, "DONE", {}),
    ("still running", IDLE, [ACCEPTED, snap(1, "RMsmf", "v")], 1, "LOOK", {}),
    ("an id with zeros", IDLE, [ACCEPTED, snap(1, "Msz", "v")], 1, "DONE", {}),
    (
        "an error",
        IDLE,
        [ACCEPTED, snap(1, "RMsm", "v"), snap(2, "MsmEf", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    ("an error of a severe kind", IDLE, [ACCEPTED, snap(1, "MsSf", "v")], 1, SEVEN, {}),
    (
        "an error with six digits",
        IDLE,
        [ACCEPTED, snap(1, "Ms6f", "v")],
        1,
        SEVEN,
        {"words": "IWN123456E"},
    ),
    (
        "an error that a later message hides",
        IDLE,
        [ACCEPTED, snap(1, "RME", ""), snap(2, "Mf", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "an error that scrolled away",
        IDLE,
        [ACCEPTED, snap(1, "RMsE", ""), snap(2, "MQg", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "an error, only the last message is listed",
        BARE,
        [ACCEPTED, snap(1, "RMBE", ""), snap(2, "MBf", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "an error among many new ones",
        IDLE,
        [ACCEPTED, snap(1, "MsE" + "m" * 60 + "f", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "an error in an old run too, the noted one gone",
        snap(0, "E", ""),
        [ACCEPTED, snap(1, "MQEXf", "v")],
        1,
        SEVEN,
        {"words": "IWNR9999E"},
    ),
    ("old messages reappear", snap(0, "Qf", ""), [ACCEPTED, snap(1, "Mg", "v")], 1, "DONE", {}),
    ("an error while it runs", IDLE, [ACCEPTED, snap(1, "RME", "")], 1, "LOOK", {}),
    ("an error of before", snap(0, "E", ""), [ACCEPTED, snap(1, "MEg", "v")], 1, "DONE", {}),
    (
        "an old error is gone from the list",
        snap(0, "E", ""),
        [ACCEPTED, snap(1, "Ms", ""), snap(2, "Mg", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "error told, run not seen: perhaps a refusal",
        IDLE,
        [ACCEPTED, snap(1, "E", ""), snap(70, "E", "")],
        1,
        "LOOK",
        {},
    ),
    (
        "a warning last, early",
        IDLE,
        [ACCEPTED, snap(1, "Mw", "v"), snap(60.5, "Mw", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "a warning last",
        IDLE,
        [ACCEPTED, snap(1, "Mw", "v"), snap(61, "Mw", "v")],
        1,
        SEVEN,
        {"words": "is the warning IWNR0002W"},
    ),
    (
        "a text without id last",
        IDLE,
        [ACCEPTED, snap(1, "Mt", "v"), snap(61, "Mt", "v")],
        1,
        SEVEN,
        {"words": "has no id: text alone"},
    ),
    (
        "an unknown good last",
        IDLE,
        [ACCEPTED, snap(1, "Mi", "v"), snap(61, "Mi", "v")],
        1,
        "DONE",
        {"remark": "IWNR7777I"},
    ),
    (
        "an unknown good last, early",
        IDLE,
        [ACCEPTED, snap(1, "Mi", "v"), snap(60, "Mi", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "cut off",
        IDLE,
        [ACCEPTED, snap(1, "Msm", "v"), snap(61, "Msm", "v")],
        1,
        SEVEN,
        {"words": "a step's (cut off): IWNR1026I"},
    ),
    ("cut off, early", IDLE, [ACCEPTED, snap(1, "Msm", "v"), snap(60, "Msm", "v")], 1, "LOOK", {}),
    (
        "cut off, and then not",
        IDLE,
        [ACCEPTED, snap(1, "Ms", "v"), snap(2, "RMs", "v"), snap(61, "Ms", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "the end counts from the last new message",
        IDLE,
        [ACCEPTED, snap(1, "Ms", "v"), snap(50, "Msm", "v"), snap(70, "Msm", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "no message of its own",
        IDLE,
        [ACCEPTED, snap(1, "M", "v"), snap(61, "M", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
    (
        "no message of its own, early",
        IDLE,
        [ACCEPTED, snap(1, "M", "v"), snap(60, "M", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "the same message without a time again",
        BARE,
        [ACCEPTED, snap(1, "MB", "v"), snap(6, "MB", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "the same message without a time again, early",
        BARE,
        [ACCEPTED, snap(1, "MB", "v"), snap(5, "MB", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "the same message without a time, changed meanwhile",
        BARE,
        [ACCEPTED, snap(1, "RBs", ""), snap(2, "Bf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "a bare id of an error that did not change",
        snap(0, "BE", ""),
        [ACCEPTED, snap(1, "MBE", "v"), snap(61, "MBE", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "a bare id of an error that did not change, early",
        snap(0, "BE", ""),
        [ACCEPTED, snap(1, "MBE", "v"), snap(60, "MBE", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "a bare id that did not change is no trace",
        BARE,
        [ACCEPTED, snap(1, "B", "v"), snap(60, "B", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "no messages at all",
        SILENT,
        [ACCEPTED, snap(1, "MQ", "v"), snap(6, "MQ", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
    (
        "no messages at all, early",
        SILENT,
        [ACCEPTED, snap(1, "MQ", "v"), snap(5, "MQ", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "no messages before, a step's after",
        SILENT,
        [ACCEPTED, snap(1, "MQm", "v"), snap(6, "MQm", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "messages are gone",
        IDLE,
        [ACCEPTED, snap(1, "RMs", ""), snap(2, "MQ", "v"), snap(62, "MQ", "v")],
        1,
        SEVEN,
        {"words": "a step's"},
    ),
    ("never ran before", snap(0, "Q0", ""), [ACCEPTED, snap(1, "QMsf", "v")], 1, "DONE", {}),
    ("a message as the only trace", IDLE, [ACCEPTED, snap(1, "sf", "v")], 1, "DONE", {}),
    (
        "a reached state as the only trace",
        IDLE,
        ["lost", snap(1, "h", "")],
        1,
        "LOOK",
        {"phase": "STARTED"},
    ),
    (
        "a strange message is no trace",
        IDLE,
        ["lost", snap(1, "i", "")],
        1,
        "LOOK",
        {"phase": "IN_DOUBT"},
    ),
    ("lastRan is gone", IDLE, [ACCEPTED, snap(1, "0", "v"), snap(61, "0", "v")], 1, "LOOK", {}),
    (
        "lastRan is earlier: no trace",
        IDLE,
        [ACCEPTED, snap(1, "L", "v"), snap(61, "L", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "begins ten seconds later, somebody's backup meanwhile",
        IDLE,
        [
            ACCEPTED,
            snap(1, "q", "v"),
            snap(7, "q", "v"),
            snap(11, "RMs", "v"),
            snap(20, "MsEf", "v"),
        ],
        1,
        SEVEN,
        {},
    ),
    (
        "the same, and it ends well",
        IDLE,
        [
            ACCEPTED,
            snap(1, "q", "v"),
            snap(7, "q", "v"),
            snap(11, "RMs", "v"),
            snap(20, "Msmf", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "IWNR2211I before running turns true",
        IDLE,
        [ACCEPTED, snap(1, "s", "v"), snap(2, "RMs", "v"), snap(80, "Msmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "waits for approval, and runs all the same",
        snap(0, "A", ""),
        [ACCEPTED, snap(1, "ARMs", ""), snap(2, "AMsmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "approval is asked in mid-run",
        IDLE,
        [ACCEPTED, snap(1, "RMs", ""), snap(2, "AMsmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "waits for approval, and nothing happens",
        snap(0, "A", ""),
        [ACCEPTED, *looks(90, "A", "")],
        1,
        EIGHT,
        {"words": "waits for approval"},
    ),
    (
        "accepted with a warning",
        IDLE,
        ["warned", snap(1, "RMs", ""), snap(2, "Msmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "to the deadline",
        IDLE,
        [ACCEPTED, snap(1800, "RMs", "")],
        1,
        EIGHT,
        {"words": "the run has not ended"},
    ),
    (
        "mute task",
        MUTE,
        [ACCEPTED, *looks(60, "Q0", "v"), snap(65, "Q0", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
    ("mute task, early", MUTE, [ACCEPTED, *looks(64, "Q0", "v", every=4.0)], 1, "LOOK", {}),
    (
        "mute task, too early to begin",
        MUTE,
        [ACCEPTED, *looks(55, "Q0", "v")],
        1,
        "LOOK",
        {"begun": False},
    ),
    ("mute task without a backup", MUTE, [ACCEPTED, *looks(90, "Q0", "")], 1, EIGHT, {}),
    (
        "mute task that shows running",
        MUTE,
        [ACCEPTED, snap(1, "RQ0", ""), snap(2, "Q0", "v"), snap(7, "Q0", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
]
BACKUP = [
    (
        "no backup",
        IDLE,
        [ACCEPTED, snap(1, "Mf", ""), snap(61, "Mf", "")],
        1,
        SEVEN,
        {"words": "session s shows no new backup"},
    ),
    ("no backup, early", IDLE, [ACCEPTED, snap(1, "Mf", ""), snap(60, "Mf", "")], 1, "LOOK", {}),
    ("backup late", IDLE, [ACCEPTED, snap(1, "Mf", ""), snap(60, "Mf", "v")], 1, "DONE", {}),
    (
        "old backup listed late",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "o"), snap(61, "Mf", "o")],
        1,
        SEVEN,
        {
            "words": "late is listed now and too old to be new: taken late's time, "
            "by CSM's clock the note is of 2023-11-14 22:13:20 UTC"
        },
    ),
    ("storage clock behind", IDLE, [ACCEPTED, snap(1, "Mf", "b")], 1, "DONE", {}),
    ("storage clock ahead", IDLE, [ACCEPTED, snap(1, "Mf", "p")], 1, "DONE", {}),
    (
        "not later than the newest noted",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "e"), snap(61, "Mf", "e")],
        1,
        SEVEN,
        {},
    ),
    (
        "earlier than one noted, clocks far ahead",
        snap(0, "q", "V"),
        [ACCEPTED, snap(1, "Mf", "vV"), snap(61, "Mf", "vV")],
        1,
        SEVEN,
        {},
    ),
    (
        "another sequence has a clock of its own",
        snap(0, "q", "v"),
        [ACCEPTED, snap(1, "Mf", "v2")],
        1,
        "DONE",
        {},
    ),
    (
        "a noted one turns valid",
        snap(0, "q", "n"),
        [ACCEPTED, snap(1, "Mf", "v"), snap(61, "Mf", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "no Date at all",
        snap(0, "q", "", earliest=-c.NEVER),
        [ACCEPTED, snap(1, "Mf", "o")],
        1,
        "DONE",
        {},
    ),
    ("a valid one beside an invalid one", IDLE, [ACCEPTED, snap(1, "Mf", "nV")], 1, "DONE", {}),
    (
        "the first backup of a session",
        snap(0, "q", "U"),
        [ACCEPTED, snap(1, "Mf", "v/")],
        1,
        "DONE",
        {},
    ),
    ("the noted one rolls off", IDLE, [ACCEPTED, snap(1, "Mf", "v/")], 1, "DONE", {}),
    (
        "not valid for 75 s",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "n"), snap(75, "Mf", "n"), snap(76, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    ("not valid yet", IDLE, [ACCEPTED, snap(1, "Mf", "n"), snap(500, "Mf", "n")], 1, "LOOK", {}),
    (
        "never valid",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "n"), snap(1800, "Mf", "n")],
        1,
        EIGHT,
        {"words": "backup new is there, and CSM does not call it valid yet"},
    ),
    (
        "a second session without",
        TWO,
        [ACCEPTED, snap(1, "Mf", "v", ""), snap(61, "Mf", "v", "")],
        1,
        SEVEN,
        {},
    ),
    (
        "one of two not valid",
        TWO,
        [ACCEPTED, snap(1, "Mf", "v", "n"), snap(61, "Mf", "v", "n")],
        1,
        "LOOK",
        {},
    ),
    ("both", TWO, [ACCEPTED, snap(1, "Mf", "v", "v")], 1, "DONE", {}),
    (
        "one unread, then none",
        TWO,
        [ACCEPTED, snap(1, "Mf", "-", ""), snap(61, "Mf", "-", "")],
        1,
        SEVEN,
        {},
    ),
    (
        "one not noted, the other none",
        snap(0, "q", "-", ""),
        [ACCEPTED, snap(1, "Mf", "-", ""), snap(61, "Mf", "-", "")],
        1,
        SEVEN,
        {},
    ),
    (
        "one not noted, the other there",
        snap(0, "q", "-", ""),
        [ACCEPTED, snap(1, "Mf", "v", "v"), snap(61, "Mf", "v", "v")],
        1,
        EIGHT,
        {},
    ),
    (
        "no session",
        snap(0, "q"),
        [ACCEPTED, snap(1, "RMs"), snap(2, "Mf")],
        1,
        EIGHT,
        {"words": "-S names the session"},
    ),
    (
        "no session, another end",
        snap(0, "q"),
        [ACCEPTED, snap(1, "Mi"), snap(61, "Mi")],
        1,
        EIGHT,
        {},
    ),
    ("no session, an error", snap(0, "q"), [ACCEPTED, snap(1, "ME")], 1, SEVEN, {}),
    ("no session, still running", snap(0, "q"), [ACCEPTED, snap(1, "RMs")], 1, "LOOK", {}),
    ("no session, no wait", snap(0, "q"), [ACCEPTED], 1, "DONE", {"no_wait": True}),
    (
        "unread for a while",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "-"), snap(500, "Mf", "-")],
        1,
        "LOOK",
        {},
    ),
    (
        "unread to the deadline",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "-"), snap(1800, "Mf", "-")],
        1,
        EIGHT,
        {"words": "cannot be read"},
    ),
    (
        "unread at the end, shown before",
        IDLE,
        [ACCEPTED, snap(1, "RM", "v"), snap(2, "Mf", "-"), snap(63, "Mf", "-")],
        1,
        "LOOK",
        {},
    ),
    (
        "severe for two seconds",
        IDLE,
        [ACCEPTED, snap(1, "RM", "!"), snap(3, "RM", ""), snap(7, "RM", "!")],
        1,
        "LOOK",
        {},
    ),
    (
        "severe for two seconds, then well",
        IDLE,
        [ACCEPTED, snap(1, "RM", "!"), snap(3, "RM", ""), snap(9, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    ("severe for four", IDLE, [ACCEPTED, snap(1, "RM", "!"), snap(5, "RM", "!")], 1, "LOOK", {}),
    (
        "severe for five",
        IDLE,
        [ACCEPTED, snap(1, "RM", "!"), snap(6, "RM", "!")],
        1,
        SEVEN,
        {"words": "(Severe)"},
    ),
    (
        "severe, unseen, severe",
        IDLE,
        [ACCEPTED, snap(1, "RM", "!"), snap(3, "RM", "-"), snap(6, "RM", "!")],
        1,
        SEVEN,
        {},
    ),
    ("severe, unseen", IDLE, [ACCEPTED, snap(1, "RM", "!"), snap(9, "RM", "-")], 1, "LOOK", {}),
    ("severe at the end: a second look", IDLE, [ACCEPTED, snap(1, "Mf", "v!")], 1, "LOOK", {}),
    (
        "severe at the end, twice",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "v!"), snap(6, "Mf", "v!")],
        1,
        SEVEN,
        {},
    ),
    (
        "severe at the end, then well",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "v!"), snap(3, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "severe at the deadline",
        IDLE,
        [ACCEPTED, snap(1, "Mf", "v!")],
        1,
        EIGHT,
        {"deadline": 1.0, "words": "shows Severe"},
    ),
    ("severe before", snap(0, "q", "!"), [ACCEPTED, snap(1, "Mf", "v!")], 1, "DONE", {}),
    (
        "one of two severe",
        TWO,
        [ACCEPTED, snap(1, "RM", "", "!"), snap(6, "RM", "", "!")],
        1,
        SEVEN,
        {},
    ),
    (
        "chain with -S: none yet",
        IDLE,
        [ACCEPTED, snap(1, "Mf", ""), snap(61, "Mf", ""), snap(900, "Mf", "")],
        1,
        "LOOK",
        {"is_chained": True},
    ),
    (
        "chain with -S: at last",
        IDLE,
        [ACCEPTED, snap(1, "Mf", ""), snap(900, "Mf", "v")],
        1,
        "DONE",
        {"is_chained": True},
    ),
    (
        "chain with -S: never",
        IDLE,
        [ACCEPTED, snap(1, "Mf", ""), snap(1800, "Mf", "")],
        1,
        EIGHT,
        {"is_chained": True, "words": "no new backup is listed yet"},
    ),
    (
        "chain with -S: an error",
        IDLE,
        [ACCEPTED, snap(1, "ME", ""), snap(6, "ME", "")],
        1,
        SEVEN,
        {"is_chained": True},
    ),
]
NOTE = [
    (
        "not noted: the first view proves nothing",
        UNNOTED,
        [ACCEPTED, snap(1, "Mf", "v"), snap(61, "Mf", "v")],
        1,
        EIGHT,
        {
            "words": "could not be noted before the trigger; "
            "its newest backup is new, taken new's time"
        },
    ),
    (
        "not noted, early",
        UNNOTED,
        [ACCEPTED, snap(1, "Mf", "v"), snap(60, "Mf", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "not noted: what comes after the late note is new",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", "4"), snap(9, "Mf", "v4")],
        1,
        "DONE",
        {},
    ),
    (
        "not noted, four minutes old, the run makes none",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", "4"), snap(2, "Mf", "4"), snap(62, "Mf", "4")],
        1,
        EIGHT,
        {"words": "four minutes old"},
    ),
    (
        "not noted nor read, 500 for ever",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", "-"), snap(2, "Mf", "-"), snap(62, "Mf", "-")],
        1,
        EIGHT,
        {"words": "cannot be proven"},
    ),
    ("not noted, an error", UNNOTED, [ACCEPTED, snap(1, "ME", "-")], 1, SEVEN, {}),
    (
        "not noted, severe",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", "!"), snap(8, "Mf", "v!")],
        1,
        "DONE",
        {},
    ),
    (
        "not noted, late note, then unread",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", ""), snap(2, "Mf", "-"), snap(70, "Mf", "-")],
        1,
        "LOOK",
        {},
    ),
    (
        "Protected lists nothing, then an old one",
        PROTECTED,
        [ACCEPTED, snap(1, "RMs", "P"), snap(6, "Mf", "4"), snap(66, "Mf", "4")],
        1,
        EIGHT,
        {},
    ),
    (
        "Protected lists nothing in a look",
        IDLE,
        [ACCEPTED, snap(1, "RMs", ""), snap(2, "Mf", "P"), snap(70, "Mf", "P")],
        1,
        "LOOK",
        {},
    ),
    (
        "Protected lists nothing, session, an old one later",
        snap(0, "", "P"),
        ["completed", snap(1, "", "P"), snap(6, "", "4"), snap(66, "", "4")],
        1,
        EIGHT,
        {},
    ),
    (
        "not noted, session, the first view",
        BLIND,
        ["completed", snap(1, "", "v"), snap(61, "", "v")],
        1,
        EIGHT,
        {},
    ),
    (
        "not noted, session, after the late note",
        BLIND,
        [snap(1, "", ""), "completed", snap(5, "", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "not noted, session, never read",
        BLIND,
        ["completed", snap(1, "", "-"), snap(61, "", "-")],
        1,
        EIGHT,
        {"words": "cannot be proven"},
    ),
    (
        "another server: the session lists what was noted",
        IDLE,
        [ACCEPTED, snap(1, "RMs", ""), other(2, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "another server: another session",
        IDLE,
        [ACCEPTED, snap(1, "RMs", ""), other(2, "Mf", "v/"), other(70, "Mf", "v/")],
        1,
        "LOOK",
        {},
    ),
    (
        "another server: nothing was listed before",
        snap(0, "q", "U"),
        [ACCEPTED, snap(1, "RMs", "U"), other(2, "Mf", "4/"), other(62, "Mf", "4/")],
        1,
        EIGHT,
        {},
    ),
    (
        "another server: not noted",
        UNNOTED,
        [ACCEPTED, snap(1, "RMs", "-"), other(2, "Mf", "v"), other(62, "Mf", "v")],
        1,
        EIGHT,
        {},
    ),
    (
        "another server: after the late note there",
        UNNOTED,
        [ACCEPTED, other(1, "RMs", ""), other(2, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
]
DOUBT = [
    ("accepted, no trace", IDLE, [ACCEPTED, *looks(90, "q", "")], 1, EIGHT, {"words": "no trace"}),
    ("accepted, no trace, early", IDLE, [ACCEPTED, *looks(89, "q", "")], 1, "LOOK", {}),
    ("accepted, CSM away", IDLE, [ACCEPTED, snap(200, "q", ""), snap(400, "q", "")], 1, "LOOK", {}),
    ("accepted, list empty", IDLE, [ACCEPTED, *looks(400, "?", "")], 1, "LOOK", {}),
    ("accepted, backup alone", IDLE, [ACCEPTED, *looks(60, "q", "v")], 1, "LOOK", {}),
    ("accepted, backup alone, to the end", IDLE, [ACCEPTED, *looks(90, "q", "v")], 1, EIGHT, {}),
    ("lost, trace", IDLE, ["lost", snap(5, "RM", ""), snap(6, "Mf", "v")], 1, "DONE", {}),
    ("lost, backup and message", IDLE, ["lost", snap(5, "f", "v")], 1, "DONE", {}),
    ("lost, backup alone", IDLE, ["lost", snap(5, "q", "v")], 1, "LOOK", {}),
    ("lost, an error alone", IDLE, ["lost", snap(5, "E", "")], 1, "LOOK", {"phase": "IN_DOUBT"}),
    ("lost, early", IDLE, ["lost", *looks(29, "q", "")], 1, "LOOK", {}),
    ("lost, many quick looks", IDLE, ["lost", *looks(29.5, "q", "", every=0.5)], 1, "LOOK", {}),
    ("lost, CSM away", IDLE, ["lost", *looks(1000, "q", "", every=200)], 1, "LOOK", {}),
    (
        "lost, away for 8 s, old state for 2.5 s",
        IDLE,
        [
            "lost",
            4.0,
            8.0,
            snap(8.5, "q", ""),
            snap(10.5, "q", ""),
            snap(11, "RMs", ""),
            snap(12, "Msmf", "v"),
        ],
        1,
        "DONE",
        {"pace": QUICK},
    ),
    (
        "lost, list empty for 7 s",
        IDLE,
        ["lost", *looks(7, "?", "", every=0.5), snap(7.5, "RMs", ""), snap(9, "Msmf", "v")],
        1,
        "DONE",
        {"pace": QUICK},
    ),
    ("lost, list empty", IDLE, ["lost", *looks(500, "?", "")], 1, "LOOK", {}),
    (
        "lost, unanswered reads count nothing",
        IDLE,
        ["lost"] + [float(at) for at in range(5, 500, 5)],
        1,
        "LOOK",
        {},
    ),
    ("lost, sent again", IDLE, [*LOST30, ACCEPTED, snap(31, "Mf", "v")], 2, "DONE", {}),
    ("lost twice", IDLE, [*LOST30, "lost", *looks(119, "q", "", begin=30)], 2, "LOOK", {}),
    (
        "lost twice, no trace",
        IDLE,
        [*LOST30, "lost", *looks(120, "q", "", begin=30)],
        2,
        EIGHT,
        {"words": "no trace"},
    ),
    (
        "lost twice, trace",
        IDLE,
        [*LOST30, "lost", snap(40, "RM", ""), snap(41, "Mf", "v")],
        2,
        "DONE",
        {},
    ),
    (
        "lost, then refused, early",
        IDLE,
        [*LOST30, "refused", *looks(119, "q", "", begin=30)],
        1,
        "LOOK",
        {},
    ),
    (
        "lost, then refused: 8, never 6",
        IDLE,
        [*LOST30, "refused", *looks(120, "q", "", begin=30)],
        1,
        EIGHT,
        {},
    ),
    (
        "lost, then refused, deadline",
        IDLE,
        [*LOST30, "refused", snap(31, "q", "")],
        1,
        EIGHT,
        {"deadline": 31.0},
    ),
    ("lost, then refused, trace", IDLE, [*LOST30, "refused", snap(31, "Mf", "v")], 1, "DONE", {}),
    (
        "lost, then refused, the refusal among its messages",
        IDLE,
        [*LOST30, "refused", snap(31, "MsXf", "v")],
        1,
        SEVEN,
        {},
    ),
    (
        "lost, then not sent: looking anew",
        IDLE,
        [*LOST30, "not sent", *looks(60, "q", "", begin=30), ACCEPTED, snap(61, "Mf", "v")],
        2,
        "DONE",
        {"sends": 3},
    ),
    (
        "lost, then 401: looking anew",
        IDLE,
        [*LOST30, "unauthorised", *looks(60, "q", "", begin=30), ACCEPTED, snap(61, "Mf", "v")],
        2,
        "DONE",
        {"sends": 3},
    ),
    (
        "lost, then 401 twice",
        IDLE,
        [
            *LOST30,
            "unauthorised",
            *looks(60, "q", "", begin=30),
            "unauthorised",
            *looks(150, "q", "", begin=60),
        ],
        1,
        EIGHT,
        {},
    ),
    (
        "lost, then busy",
        IDLE,
        [*LOST30, "busy", *looks(60, "q", "", begin=30), ACCEPTED, snap(61, "Mf", "v")],
        3,
        "DONE",
        {},
    ),
    (
        "lost, busy, lost",
        IDLE,
        [*LOST30, "busy", *looks(60, "q", "", begin=30), "lost", *looks(140, "q", "", begin=60)],
        3,
        "LOOK",
        {},
    ),
    (
        "lost, busy, lost, end",
        IDLE,
        [*LOST30, "busy", *looks(60, "q", "", begin=30), "lost", *looks(150, "q", "", begin=60)],
        3,
        EIGHT,
        {},
    ),
    ("busy, early", IDLE, ["busy", *looks(29, "q", "")], 1, "LOOK", {"sends": 1}),
    (
        "busy for 12 s",
        IDLE,
        [
            "busy",
            snap(5, "q", ""),
            "busy",
            snap(10, "q", ""),
            "busy",
            snap(15, "q", ""),
            ACCEPTED,
            snap(16, "Msmf", "v"),
        ],
        4,
        "DONE",
        {"pace": QUICK},
    ),
    ("busy at the deadline", IDLE, ["busy", snap(1, "q", "")], 1, EIGHT, {"deadline": 1.0}),
    (
        "busy, then refused",
        IDLE,
        ["busy", *looks(30, "q", ""), "refused", *looks(120, "q", "", begin=30)],
        1,
        EIGHT,
        {},
    ),
    ("busy, and it runs", IDLE, ["busy", snap(1, "RM", ""), snap(2, "Mf", "v")], 1, "DONE", {}),
    (
        "busy, session, the first was taken, 40 s long",
        SESSION,
        ["busy", *looks(30, "", ""), "busy", snap(35, "", ""), snap(40, "", "v")],
        2,
        "DONE",
        {},
    ),
    (
        "busy, session: then ten",
        SESSION,
        ["busy", *looks(30, "", ""), "busy", *looks(329, "", "", begin=30)],
        2,
        "LOOK",
        {},
    ),
    (
        "busy, session: after ten",
        SESSION,
        [
            "busy",
            *looks(30, "", ""),
            "busy",
            *looks(330, "", "", begin=30),
            "completed",
            snap(331, "", "v"),
        ],
        3,
        "DONE",
        {},
    ),
    (
        "busy for 12 s, session",
        SESSION,
        [
            "busy",
            snap(5, "", ""),
            "busy",
            *looks(55, "", "", begin=5),
            "completed",
            snap(56, "", "v"),
        ],
        3,
        "DONE",
        {"pace": QUICK},
    ),
    ("session lost, backup", SESSION, ["lost", snap(5, "", "v")], 1, "DONE", {}),
    (
        "session lost, backup not valid",
        SESSION,
        ["lost", snap(5, "", "n"), snap(60, "", "n")],
        1,
        "LOOK",
        {"phase": "STARTED"},
    ),
    ("session lost, blind", SESSION, ["lost", *looks(295, "", "-")], 1, "LOOK", {"sends": 1}),
    (
        "session lost, blind for ten",
        SESSION,
        ["lost", *looks(300, "", "-"), "completed"],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "session lost, blind, then seen",
        SESSION,
        ["lost", *looks(290, "", "-"), *looks(310, "", "", begin=290)],
        1,
        "LOOK",
        {"sends": 1},
    ),
    (
        "session lost twice, blind",
        SESSION,
        ["lost", *looks(300, "", "-"), "lost", *looks(659, "", "-", begin=300)],
        2,
        "LOOK",
        {},
    ),
    (
        "session lost twice, blind for long",
        SESSION,
        ["lost", *looks(300, "", "-"), "lost", *looks(660, "", "-", begin=300)],
        2,
        EIGHT,
        {},
    ),
    (
        "session lost, Protected lists nothing",
        SESSION,
        ["lost", *looks(100, "", "P")],
        1,
        "LOOK",
        {"sends": 1},
    ),
    (
        "session lost, seen once, then blind",
        SESSION,
        ["lost", snap(5, "", ""), *looks(500, "", "-", begin=5)],
        1,
        "LOOK",
        {"sends": 1},
    ),
]
REFUSAL = [
    ("not sent", IDLE, ["not sent"], 0, "SEND", {}),
    (
        "not sent, deadline",
        IDLE,
        ["not sent"],
        0,
        "Unreachable",
        {"end_at": 1800.0, "words": "connection refused"},
    ),
    ("401", IDLE, ["unauthorised"], 0, "SEND", {}),
    ("401, then accepted", IDLE, ["unauthorised", ACCEPTED, snap(1, "Mf", "v")], 1, "DONE", {}),
    (
        "401 twice",
        IDLE,
        ["unauthorised", "unauthorised", snap(5, "q", "")],
        0,
        SIX,
        {"words": "HTTP 401"},
    ),
    (
        "401, lost connection, 401",
        IDLE,
        ["unauthorised", "not sent", "unauthorised"],
        0,
        "SEND",
        {},
    ),
    ("401, deadline", IDLE, ["unauthorised"], 0, "Unreachable", {"end_at": 1800.0}),
    (
        "in doubt, and the next one answered 401: again at once",
        IDLE,
        [*LOST30, "unauthorised", "lost"],
        2,
        "LOOK",
        {"sends": 3},
    ),
    (
        "in doubt, and no connection for the next one: again at once",
        IDLE,
        [*LOST30, "not sent", "lost"],
        2,
        "LOOK",
        {"sends": 3},
    ),
    ("no time left", IDLE, [], 0, "Unreachable", {"deadline": 0.0}),
    ("refused", IDLE, ["refused", snap(5, "q", "")], 0, SIX, {"words": "IWNR9999E"}),
    ("refused, 415", IDLE, ["refused by HTTP", snap(5, "q", "")], 0, SIX, {}),
    ("refused, early", IDLE, ["refused", snap(4.9, "q", "")], 0, "LOOK", {}),
    ("refused, at the deadline", IDLE, ["refused", snap(4.9, "q", "")], 0, SIX, {"deadline": 4.0}),
    ("refused, list empty", IDLE, ["refused", snap(30, "?", "")], 0, SIX, {}),
    ("refused, list empty, early", IDLE, ["refused", snap(29, "?", "")], 0, "LOOK", {}),
    ("refused, CSM gone", IDLE, ["refused", 5.0, 100.0], 0, "LOOK", {}),
    (
        "refused, session never seen",
        BLIND,
        ["refused", snap(3, "", "-"), snap(30, "", "-")],
        0,
        SIX,
        {},
    ),
    ("refused and joined", IDLE, ["refused", snap(1, "RM", ""), snap(2, "Mf", "v")], 0, "DONE", {}),
    (
        "refused and joined, the refusal among its messages",
        IDLE,
        ["refused", snap(1, "RMsX", ""), snap(2, "MsXf", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "refused and joined, an error of its own",
        IDLE,
        ["refused", snap(1, "RMsX", ""), snap(2, "MsXEf", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "refused without an id, a text of the run",
        IDLE,
        ["refused by HTTP", snap(1, "RMst", ""), snap(2, "Mst", "v"), snap(62, "Mst", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "refused, joined, in vain",
        IDLE,
        [
            "refused",
            snap(1, "RMs", ""),
            snap(2, "MsE", ""),
            snap(7, "MsE", ""),
            ACCEPTED,
            snap(9, "NMsEg", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "its own refusal id, later an error of our run",
        IDLE,
        [
            "refused",
            snap(1, "RM", ""),
            snap(2, "Mf", ""),
            snap(7, "Mf", ""),
            ACCEPTED,
            snap(9, "NMfXg", "v"),
        ],
        1,
        SEVEN,
        {},
    ),
    (
        "401 late, and somebody's run",
        IDLE,
        [snap(1, "RMs", ""), "unauthorised", snap(2, "Msf", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "session refused, yet there",
        SESSION,
        ["refused", snap(1, "", "v")],
        0,
        SEVEN,
        {"words": "IWNR9999E refused; yet"},
    ),
    ("session refused", SESSION, ["refused", snap(5, "", "")], 0, SIX, {}),
    (
        "pair, standby is left at once",
        IDLE,
        ["refused", STANDBY, ("move", other(1, "q", "")), ACCEPTED, other(2, "Mf", "v")],
        1,
        "DONE",
        PAIR,
    ),
    ("pair, active is believed", IDLE, ["refused", ACTIVE, snap(5, "q", "")], 0, SIX, PAIR),
    ("pair, active, early", IDLE, ["refused", ACTIVE, snap(4, "q", "")], 0, "LOOK", PAIR),
    (
        "pair, role not told",
        IDLE,
        [
            "refused",
            NOT_TOLD,
            snap(5, "q", ""),
            ("move", other(6, "q", "")),
            ACCEPTED,
            other(7, "Mf", "v"),
        ],
        1,
        "DONE",
        PAIR,
    ),
    ("pair, role not told, early", IDLE, ["refused", NOT_TOLD, snap(4, "q", "")], 0, "LOOK", PAIR),
    (
        "pair, other is no help",
        IDLE,
        ["refused", NOT_TOLD, snap(5, "q", ""), ("move", None)],
        0,
        SIX,
        PAIR,
    ),
    (
        "pair, both refuse",
        IDLE,
        ["refused", STANDBY, ("move", other(1, "q", "")), "refused", other(6, "q", "")],
        0,
        SIX,
        PAIR,
    ),
    (
        "pair, runs there",
        IDLE,
        ["refused", STANDBY, ("move", other(1, "R", "")), other(2, "f", "v")],
        0,
        "DONE",
        PAIR,
    ),
    (
        "pair, lost, then refused, other takes it",
        IDLE,
        [
            *LOST30,
            "refused",
            STANDBY,
            ("move", other(31, "q", "")),
            *looks(61, "q", "", begin=31, server="B"),
            ACCEPTED,
            other(62, "Mf", "v"),
        ],
        2,
        "DONE",
        PAIR,
    ),
    (
        "pair, lost, then refused, looking anew",
        IDLE,
        [
            *LOST30,
            "refused",
            STANDBY,
            ("move", other(31, "q", "")),
            *looks(60, "q", "", begin=31, server="B"),
        ],
        1,
        "LOOK",
        {"sends": 2, **PAIR},
    ),
    (
        "pair, lost, refused, its run shows there",
        IDLE,
        [*LOST30, "refused", STANDBY, ("move", other(31, "RMs", "")), other(32, "Mf", "v")],
        1,
        "DONE",
        PAIR,
    ),
    (
        "pair, lost, refused by both",
        IDLE,
        [
            *LOST30,
            "refused",
            STANDBY,
            ("move", other(31, "q", "")),
            *looks(61, "q", "", begin=31, server="B"),
            "refused",
            *looks(151, "q", "", begin=61, server="B"),
        ],
        1,
        EIGHT,
        PAIR,
    ),
    (
        "pair, lost, refused, other is no help",
        IDLE,
        [*LOST30, "refused", STANDBY, ("move", None), *looks(120, "q", "", begin=30)],
        1,
        EIGHT,
        PAIR,
    ),
    (
        "pair, lost, refused by the active one",
        IDLE,
        [*LOST30, "refused", ACTIVE, *looks(120, "q", "", begin=30)],
        1,
        EIGHT,
        PAIR,
    ),
    (
        "pair, lost, reads move: looking anew",
        IDLE,
        ["lost", *looks(25, "q", ""), *looks(55, "q", "", begin=25, server="B")],
        1,
        "LOOK",
        {"sends": 1, **PAIR},
    ),
    (
        "pair, lost, reads move: sent again there",
        IDLE,
        ["lost", *looks(25, "q", ""), *looks(60, "q", "", begin=25, server="B"), ACCEPTED],
        2,
        "LOOK",
        {"sends": 2, **PAIR},
    ),
]
LATE = [
    ("late answer", IDLE, [*looks(25, "q", ""), ACCEPTED, snap(26, "Mf", "v")], 1, "DONE", {}),
    ("late answer, no second before", IDLE, looks(59, "q", ""), 1, "LOOK", {"sends": 1}),
    (
        "late answer, sent again",
        IDLE,
        [*looks(60, "q", ""), ACCEPTED, snap(61, "Mf", "v")],
        2,
        "DONE",
        {},
    ),
    (
        "late answer, in doubt, accepted",
        IDLE,
        [*looks(35, "q", ""), ACCEPTED, snap(61, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "late answer, in doubt, refused",
        IDLE,
        [*looks(35, "q", ""), "refused", snap(40, "q", "")],
        0,
        SIX,
        {},
    ),
    (
        "late answer, lost",
        IDLE,
        [*looks(20, "q", ""), "lost", *looks(49, "q", "", begin=20)],
        1,
        "LOOK",
        {"sends": 1},
    ),
    (
        "late: the first is accepted, the second pending",
        IDLE,
        [*looks(60, "q", ""), snap(61, "q", ""), (ACCEPTED, 1), snap(62, "Mf", "v")],
        2,
        "DONE",
        {},
    ),
    (
        "late: the first is refused, the second pending",
        IDLE,
        [
            *looks(60, "q", ""),
            snap(61, "q", ""),
            ("refused", 1),
            snap(62, "q", ""),
            (ACCEPTED, 2),
            snap(63, "Mf", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "late: the first is lost, the second pending",
        IDLE,
        [*looks(60, "q", ""), snap(61, "q", ""), ("lost", 1), snap(62, "q", "")],
        2,
        "LOOK",
        {"phase": "PENDING"},
    ),
    (
        "late: both are refused",
        IDLE,
        [*looks(60, "q", ""), ("refused", 2), snap(61, "q", ""), ("refused", 1), snap(66, "q", "")],
        0,
        SIX,
        {},
    ),
    (
        "late: refused, the second in doubt",
        IDLE,
        [*looks(60, "q", ""), ("lost", 2), snap(61, "q", ""), ("refused", 1), snap(62, "q", "")],
        1,
        "LOOK",
        {"phase": "IN_DOUBT"},
    ),
    (
        "late: accepted, then the other refused",
        IDLE,
        [*looks(60, "q", ""), (ACCEPTED, 1), ("refused", 2), snap(62, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "late: accepted, then the other lost",
        IDLE,
        [*looks(60, "q", ""), (ACCEPTED, 1), ("lost", 2), snap(62, "Mf", "v")],
        2,
        "DONE",
        {},
    ),
    (
        "trace before the answer",
        IDLE,
        [snap(1, "RM", ""), ACCEPTED, snap(2, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "trace before it is lost",
        IDLE,
        [snap(1, "RM", ""), "lost", snap(2, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "trace before it is refused",
        IDLE,
        [snap(1, "RM", ""), "refused", snap(2, "MsE", ""), snap(7, "MsE", ""), ACCEPTED],
        1,
        "LOOK",
        {},
    ),
    (
        "trace, then a late refusal",
        IDLE,
        [*looks(30, "q", ""), snap(35, "RMs", ""), "refused", snap(36, "Msf", "v")],
        0,
        "DONE",
        {"started": "yes"},
    ),
    (
        "no answer, proof for 5 s",
        IDLE,
        [snap(1, "RM", ""), snap(2, "Mf", "v"), snap(7, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "no answer, proof, early",
        IDLE,
        [snap(1, "RM", ""), snap(2, "Mf", "v"), snap(6, "Mf", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "no answer, an error",
        IDLE,
        [snap(1, "ME", "v"), snap(25, "ME", "v")],
        1,
        "LOOK",
        {"phase": "PENDING"},
    ),
    ("no answer in time, an error", IDLE, [snap(1, "ME", "v"), snap(30, "ME", "v")], 1, SEVEN, {}),
    (
        "pending at the deadline",
        IDLE,
        [snap(1, "q", "")],
        1,
        EIGHT,
        {"deadline": 1.0, "words": "no answer yet"},
    ),
    (
        "pending, one read unanswered",
        IDLE,
        [1.0, snap(2, "q", ""), 3.0],
        1,
        "LOOK",
        {"phase": "PENDING"},
    ),
    ("pending, two reads unanswered", IDLE, [1.0, 2.0], 1, "LOOK", {"phase": "IN_DOUBT"}),
    (
        "pending, two reads unanswered, list empty between",
        IDLE,
        [1.0, snap(2, "?", ""), 3.0],
        1,
        "LOOK",
        {"phase": "PENDING"},
    ),
    (
        "pending, two unanswered, then looked long enough",
        IDLE,
        [1.0, 2.0, *looks(32, "q", "", begin=2.0), ACCEPTED],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "pending, time passes without answers",
        SESSION,
        [100.0, snap(150, "", ""), 300.0],
        1,
        "LOOK",
        {"phase": "IN_DOUBT"},
    ),
]
SESSIONS = [
    ("session", SESSION, ["completed", snap(1, "", "v")], 1, "DONE", {}),
    ("session, none", SESSION, ["completed", snap(1, "", ""), snap(60, "", "")], 1, SEVEN, {}),
    (
        "session, none, early",
        SESSION,
        ["completed", snap(1, "", ""), snap(59, "", "")],
        1,
        "LOOK",
        {},
    ),
    (
        "session, not completed",
        SESSION,
        [ACCEPTED, snap(1, "", ""), snap(80, "", "")],
        1,
        "LOOK",
        {},
    ),
    (
        "session, a warning, backup",
        SESSION,
        ["warned", snap(1, "", ""), snap(400, "", "v")],
        1,
        "DONE",
        {},
    ),
    ("session, a warning, to the deadline", SESSION, ["warned", snap(1800, "", "")], 1, EIGHT, {}),
    (
        "session, not valid",
        SESSION,
        ["completed", snap(1, "", "n"), snap(900, "", "n")],
        1,
        "LOOK",
        {},
    ),
    (
        "session, not valid for 75 s",
        SESSION,
        ["completed", snap(1, "", "n"), snap(76, "", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "session, 61 s long",
        SESSION,
        [*looks(61, "", ""), "completed", snap(62, "", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "session, 5 s long, request timeout 2",
        SESSION,
        [*looks(5, "", "", every=0.5), "completed", snap(5.5, "", "v")],
        1,
        "DONE",
        {"pace": c.Pace(request_timeout=2.0)},
    ),
    (
        "session, late",
        SESSION,
        [*looks(299, "", ""), "completed", snap(301, "", "v")],
        1,
        "DONE",
        {},
    ),
    ("session, shown before the answer", SESSION, [snap(40, "", "v")], 1, "LOOK", {}),
    (
        "session, shown for 5 s before the answer",
        SESSION,
        [snap(40, "", "v"), snap(45, "", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "session, shown, then not",
        SESSION,
        [snap(40, "", "v"), snap(43, "", "-"), snap(46, "", "v")],
        1,
        "LOOK",
        {},
    ),
    ("session, shown before it is refused", SESSION, [snap(40, "", "v"), "refused"], 0, SEVEN, {}),
    ("session, ten time-outs", SESSION, looks(295, "", ""), 1, "LOOK", {"sends": 1}),
    (
        "session, ten time-outs: sent again at once",
        SESSION,
        [*looks(300, "", ""), "completed"],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "session, ten time-outs, CSM away in most",
        SESSION,
        [snap(100, "", ""), snap(200, "", ""), snap(300, "", "")],
        1,
        "LOOK",
        {"sends": 1},
    ),
    (
        "session, ten time-outs, blind",
        BLIND,
        [*looks(300, "", "-"), "completed"],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "session, a backup came and is unseen at ten",
        SESSION,
        [*looks(290, "", ""), snap(295, "", "n"), snap(300, "", "-")],
        1,
        "LOOK",
        {"phase": "STARTED"},
    ),
    ("session, severe once", SESSION, ["completed", snap(1, "", "!")], 1, "LOOK", {}),
    ("session, severe", SESSION, ["completed", snap(1, "", "v!"), snap(6, "", "v!")], 1, SEVEN, {}),
    ("session, no wait", SESSION, ["completed"], 1, "DONE", {"no_wait": True}),
]
JOIN = [
    ("running", RUNNING, [snap(1, "R", ""), snap(2, "f", "v")], 0, "DONE", {}),
    ("running, in vain, early", RUNNING, [snap(1, "f", ""), snap(5, "f", "")], 0, "LOOK", {}),
    ("running, in vain", RUNNING, [snap(1, "f", ""), snap(6, "f", "")], 0, "RENOTE", {}),
    (
        "running, in vain, our own",
        RUNNING,
        [snap(1, "f", ""), snap(6, "f", ""), ACCEPTED, snap(7, "Rf", ""), snap(9, "Mfg", "V")],
        1,
        "DONE",
        {},
    ),
    (
        "running, its backup was taken before we looked",
        snap(0, "R", "b"),
        [snap(3, "f", "b"), snap(8, "f", "b"), ACCEPTED, snap(9, "Mfg", "bv")],
        1,
        "DONE",
        {},
    ),
    (
        "running, its backup listed late",
        RUNNING,
        [snap(1, "E", ""), snap(6, "E", ""), ACCEPTED, snap(7, "MEg", "v")],
        1,
        "DONE",
        {},
    ),
    ("running, an error, with backup", RUNNING, [snap(1, "E", "v")], 0, SEVEN, {}),
    ("running, an error, backup not valid", RUNNING, [snap(1, "E", "n")], 0, SEVEN, {}),
    (
        "running, an error, backup within 5 s",
        RUNNING,
        [snap(1, "E", ""), snap(4, "E", "v")],
        0,
        SEVEN,
        {},
    ),
    ("running, not valid", RUNNING, [snap(1, "f", "n"), snap(900, "f", "n")], 0, "LOOK", {}),
    (
        "running, one session of two",
        snap(0, "R", "", ""),
        [snap(1, "f", "v", ""), snap(6, "f", "v", "")],
        0,
        "RENOTE",
        {},
    ),
    (
        "running, shown, unseen at the end",
        RUNNING,
        [snap(1, "R", "v"), snap(2, "f", "-"), snap(8, "f", "-")],
        0,
        "LOOK",
        {},
    ),
    ("running, severe meanwhile", RUNNING, [snap(1, "R", "!"), snap(20, "R", "!")], 0, "LOOK", {}),
    (
        "running, severe at the end: of our run too",
        RUNNING,
        [
            snap(1, "f", "!"),
            snap(6, "f", "!"),
            ACCEPTED,
            snap(7, "Mfg", "v!"),
            snap(12, "Mfg", "v!"),
        ],
        1,
        SEVEN,
        {},
    ),
    (
        "running, not noted",
        snap(0, "R", "-"),
        [snap(1, "f", "4"), snap(6, "f", "4"), ACCEPTED, snap(9, "Mfg", "4V")],
        1,
        "DONE",
        {},
    ),
    (
        "running, not noted, proven after the late note",
        snap(0, "R", "-"),
        [snap(1, "R", ""), snap(2, "f", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "running, never read",
        snap(0, "R", "-"),
        [snap(1, "f", "-"), snap(6, "f", "-"), ACCEPTED, snap(7, "Mfg", "-"), snap(67, "Mfg", "-")],
        1,
        EIGHT,
        {},
    ),
    ("running, no session known", snap(0, "R"), [snap(1, "f"), snap(6, "f")], 0, "RENOTE", {}),
    (
        "running, a warning last, with backup",
        RUNNING,
        [snap(1, "w", "v"), snap(61, "w", "v")],
        0,
        SEVEN,
        {},
    ),
    ("running, in vain, deadline", RUNNING, [snap(1, "E", "")], 0, EIGHT, {"deadline": 1.0}),
    ("running to the deadline, backup there", RUNNING, [snap(1800, "R", "v")], 0, EIGHT, {}),
    ("running for ever: half of the time, early", RUNNING, [snap(899, "R", "")], 0, "LOOK", {}),
    (
        "running for ever: half of the time",
        RUNNING,
        [snap(900, "R", ""), ACCEPTED, snap(901, "RM", ""), snap(902, "Mf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "running for ever: half, the backup there",
        RUNNING,
        [snap(850, "R", "v"), snap(900, "R", "-")],
        0,
        "LOOK",
        {},
    ),
    (
        "running for ever: own run seen by its messages",
        RUNNING,
        [snap(900, "R", ""), ACCEPTED, snap(901, "Rs", ""), snap(950, "Rsf", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "running for ever: refused at half, joined to its end",
        RUNNING,
        [
            snap(900, "R", ""),
            "refused",
            snap(1000, "R", ""),
            snap(1001, "Rs", ""),
            snap(1200, "sf", "v"),
        ],
        0,
        "DONE",
        {},
    ),
    (
        "running for ever: refused at half, deadline",
        RUNNING,
        [snap(900, "R", ""), "refused", snap(1800, "R", "")],
        0,
        EIGHT,
        {},
    ),
    (
        "joined again by the look anew",
        RUNNING,
        [snap(1, "f", ""), snap(6, "f", ""), ("renote", snap(7, "RMf", "-")), snap(9, "Mfg", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "joined again, not yet shown running",
        RUNNING,
        [
            snap(1, "f", ""),
            snap(6, "f", ""),
            ("renote", snap(7, "Mf", "-")),
            snap(9, "RMf", ""),
            snap(10, "Mfg", "v"),
        ],
        0,
        "DONE",
        {},
    ),
    (
        "joined again: running, lastRan later",
        RUNNING,
        [snap(1, "f", ""), snap(6, "f", ""), ("renote", snap(7, "Rf", "-"))],
        0,
        "LOOK",
        {"phase": "JOINED"},
    ),
    (
        "the look anew fails",
        RUNNING,
        [
            snap(1, "f", ""),
            snap(6, "f", ""),
            ("renote", snap(7, "?", "-")),
            ACCEPTED,
            snap(9, "Mfg", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "a later run within the 5 s",
        RUNNING,
        [snap(1, "RM", ""), snap(2, "ME", ""), snap(4, "RNE", ""), snap(9, "NEg", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "a later run, in vain too",
        RUNNING,
        [
            snap(1, "RM", ""),
            snap(2, "ME", ""),
            snap(4, "RNE", ""),
            snap(9, "NEX", ""),
            snap(14, "NEX", ""),
        ],
        0,
        "RENOTE",
        {},
    ),
    (
        "a later run, an error, with backup",
        RUNNING,
        [snap(1, "RM", ""), snap(2, "Mf", ""), snap(4, "RNf", ""), snap(9, "NfE", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "a later run after one with a backup: no other",
        RUNNING,
        [snap(1, "RM", ""), snap(2, "ME", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "joined twice, refused again",
        RUNNING,
        [snap(1, "f", ""), snap(6, "f", ""), "refused", snap(7, "RMf", ""), snap(9, "Mfg", "V")],
        0,
        "DONE",
        {},
    ),
    ("no wait", IDLE, [ACCEPTED], 1, "DONE", {"no_wait": True}),
    ("no wait, with a warning", IDLE, ["warned"], 1, "DONE", {"no_wait": True}),
    ("no wait, late", IDLE, [snap(1, "q", "")], 1, "LOOK", {"no_wait": True}),
    ("no wait, pending, running", IDLE, [snap(1, "RM", "")], 1, "LOOK", {"no_wait": True}),
    ("no wait, lost, trace", IDLE, ["lost", snap(1, "RM", "")], 1, "DONE", {"no_wait": True}),
    (
        "no wait, lost, failed already",
        IDLE,
        ["lost", snap(1, "ME", ""), snap(6, "ME", "")],
        1,
        SEVEN,
        {"no_wait": True},
    ),
    ("no wait, lost, no trace", IDLE, ["lost", snap(1, "q", "")], 1, "LOOK", {"no_wait": True}),
    ("no wait, running", RUNNING, [snap(1, "R", "")], 0, "LOOK", {"no_wait": True}),
    (
        "no wait, running in its last step, then ours",
        RUNNING,
        [snap(1, "f", ""), snap(6, "f", ""), ACCEPTED],
        1,
        "DONE",
        {"no_wait": True},
    ),
]
TABLE = RUN + BACKUP + NOTE + DOUBT + REFUSAL + LATE + SESSIONS + JOIN


SIDE_BY_SIDE = [(snap, ""), (other, "-")]
# What is told in another form, late, or not at all for once.
FORM = [
    (
        "the other server words the old last message otherwise",
        BARE,
        ["lost", *others(36, "BF", ""), ACCEPTED],
        2,
        "LOOK",
        {},
    ),
    (
        "the other server words the old last message otherwise, no wait",
        BARE,
        ["lost", other(1, "BF", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "the other server is one run behind, no wait",
        snap(0, "BE", ""),
        ["lost", other(1, "LBF", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "the other server is one run behind, in mid-run",
        BARE,
        [
            ACCEPTED,
            snap(1, "RMBs", ""),
            other(2, "LBE", ""),
            other(8, "LBE", ""),
            other(9, "MBf", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "the other server tells the start to the millisecond, no wait",
        IDLE,
        ["lost", other(1, "K", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "the other server tells the start and the message of a run that was not noted, no wait",
        MUTE,
        ["lost", other(1, "BF", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "no message was noted for once, no wait",
        SILENT,
        ["lost", snap(1, "BF", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "no start was noted for once, no wait",
        snap(0, "0", ""),
        ["lost", IDLE],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "no start was noted, and one is told that is later than the note",
        snap(0, "0", ""),
        ["lost", snap(1, "RM", "")],
        1,
        "LOOK",
        {"phase": "STARTED"},
    ),
    (
        "the error of before, in another form, ahead of the new start message",
        snap(0, "BE", ""),
        [ACCEPTED, other(1, "MBy", ""), other(2, "RMBs", ""), other(9, "MBf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "the error of before, in another form, and no start message is seen",
        snap(0, "BE", ""),
        [ACCEPTED, other(1, "RMBy", ""), other(9, "MBf", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E of a step"},
    ),
    (
        "the same list without times on the other server, with an old error",
        snap(0, "TGF", ""),
        [ACCEPTED, other(1, "RMTGF", ""), other(2, "RMTGFs", ""), other(9, "MTGFsmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "the same list without times on the other server, which tells no start, no wait",
        snap(0, "TsmF", ""),
        ["lost", other(1, "0TsmF", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "a list without times on the other server, which tells no start, no wait",
        snap(0, "BF", ""),
        ["lost", other(1, "0Tsmf", "")],
        1,
        "LOOK",
        {"no_wait": True},
    ),
    (
        "the other server tells no message of the task, and the first one told the last",
        IDLE,
        [ACCEPTED, snap(1, "Msw", ""), other(2, "MQ", "v"), other(63, "MQ", "v")],
        1,
        SEVEN,
        {"words": "is the warning"},
    ),
    (
        "the refusal of our own trigger, in another form, after a run that was refused as well",
        snap(0, "BX", ""),
        ["refused", other(2, "RMBY", ""), other(9, "MBf", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "the other server tells no message of the task, and the first one told an error",
        IDLE,
        [ACCEPTED, snap(1, "RMsE", ""), other(2, "MQ", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "joined, and the other server tells an error",
        snap(0, "RB", ""),
        [other(1, "RBE", ""), other(9, "Bf", "v")],
        0,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "joined, whose start was not told for once, and the other server tells an error",
        snap(0, "RQ0", ""),
        [other(1, "RBE", ""), other(9, "Bf", "v")],
        0,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "no message was noted, and our own clock is ahead",
        snap(0, "Q", "", earliest=D + 60),
        [ACCEPTED, snap(1, "QMsE", "v", earliest=D + 60)],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "an error, and CSM is away then",
        IDLE,
        [ACCEPTED, snap(1, "ME", ""), 30.0, 61.0],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "an error, and CSM is away for a moment",
        IDLE,
        [ACCEPTED, snap(1, "ME", ""), 60.0],
        1,
        "LOOK",
        {},
    ),
    (
        "an error just before the deadline",
        IDLE,
        [ACCEPTED, snap(1798, "ME", "")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E", "end_at": 1800.0},
    ),
    (
        "joined, and followed by a run whose first look shows the error of the first one still",
        snap(0, "RsE", ""),
        [snap(1, "RNsE", ""), snap(9, "NsEV", "V"), snap(70, "NsEV", "V")],
        0,
        "DONE",
        {"remark": "no message of the run"},
    ),
    (
        "the same error as the run before, told without its time",
        snap(0, "E", ""),
        [ACCEPTED, snap(1, "MBE", "v"), snap(62, "MBE", "v")],
        1,
        SEVEN,
        {"words": "the run ended with the error IWNR0001E"},
    ),
    (
        "cut off at the same step as the run before, told without its time",
        snap(0, "m", ""),
        [ACCEPTED, snap(1, "MBm", "v"), snap(62, "MBm", "v")],
        1,
        SEVEN,
        {"words": "a step's (cut off)"},
    ),
    (
        "joined, and its error was its last message already",
        snap(0, "RBG", ""),
        [snap(1, "RBG", "v"), snap(5, "BG", "v"), snap(66, "BG", "v")],
        0,
        SEVEN,
        {"words": "the run ended with the error IWNR0001E"},
    ),
    (
        "joined, and cut off after what was noted",
        snap(0, "Rsm", ""),
        [snap(1, "Rsm", "v"), snap(5, "sm", "v"), snap(66, "sm", "v")],
        0,
        SEVEN,
        {"words": "a step's (cut off)"},
    ),
    (
        "joined, and the last message is one of before",
        snap(0, "RMF", ""),
        [snap(1, "RMF", "v"), snap(5, "MF", "v"), snap(66, "MF", "v")],
        0,
        "DONE",
        {"remark": "no message of the run"},
    ),
    (
        "joined, and its start is not told for once",
        RUNNING,
        [snap(1, "RE", ""), snap(2, "R0E", ""), snap(3, "RE", "v"), snap(9, "Ef", "v")],
        0,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "joined, and its start is told at its end",
        snap(0, "R0", ""),
        [snap(1, "R0E", ""), snap(5, "MEf", "v")],
        0,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "joined after a refusal, and the last message is one of before",
        snap(0, "BG", ""),
        ["refused", snap(1, "RMBG", ""), snap(5, "MBG", "v"), snap(66, "MBG", "v")],
        0,
        "DONE",
        {"remark": "no message of the run"},
    ),
    (
        "an old error in a list, of which the last one alone was noted",
        snap(0, "BF", ""),
        [ACCEPTED, snap(1, "MTGFsmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "an error that is listed late, before a message that was seen",
        IDLE,
        [ACCEPTED, snap(1, "RMsm", ""), snap(2, "MsEmf", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "a new backup that one look does not list",
        IDLE,
        [ACCEPTED, snap(1, "Msmf", "n"), snap(70, "Msmf", ""), snap(75, "Msmf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "a new backup that is listed no more",
        IDLE,
        [ACCEPTED, snap(1, "Msmf", "n"), snap(70, "Msmf", ""), snap(75, "Msmf", "")],
        1,
        SEVEN,
        {"words": "shows no new backup"},
    ),
    (
        "a new backup whose time cannot be read",
        IDLE,
        [ACCEPTED, snap(1, "Msmf", "u"), snap(62, "Msmf", "u")],
        1,
        EIGHT,
        {"words": "the time of a backup cannot be read; its newest backup is B-1"},
    ),
    ("an error, and no backup yet", IDLE, [ACCEPTED, snap(1, "ME", "")], 1, "LOOK", {}),
    (
        "an error, and a backup that is listed late",
        IDLE,
        [ACCEPTED, snap(1, "ME", ""), snap(3, "ME", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "an error, and the session is not seen at once",
        IDLE,
        [ACCEPTED, snap(1, "ME", "-"), snap(3, "ME", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "left Severe by a joined run, while ours is going on",
        RUNNING,
        [
            snap(1, "f", "!"),
            snap(6, "f", "!"),
            ACCEPTED,
            snap(8, "RMfs", "!"),
            snap(15, "RMfs", "!"),
            snap(30, "Mfsg", "v"),
        ],
        1,
        "DONE",
        {},
    ),
    (
        "a session: a standby is asked in between, and resets no looking",
        SESSION,
        [
            "lost",
            *[look(at, "", view) for at in range(1, 36, 5) for look, view in SIDE_BY_SIDE],
            "lost",
        ],
        2,
        "LOOK",
        {},
    ),
]
MORE = [
    (
        "joined, list empty",
        RUNNING,
        [snap(1, "RE", ""), snap(2, "?", ""), snap(3, "Ef", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "joined, it brought one: a later run does not hide its error",
        RUNNING,
        [snap(1, "RME", "v"), snap(2, "RNE", "v"), snap(3, "NEg", "v")],
        0,
        SEVEN,
        {},
    ),
    (
        "a text with its time that did not change is not of this run",
        snap(0, "Bz", ""),
        [ACCEPTED, snap(1, "MBz", "v"), snap(60, "MBz", "v")],
        1,
        "LOOK",
        {},
    ),
    (
        "a text with its time that did not change: no message",
        snap(0, "Bz", ""),
        [ACCEPTED, snap(1, "MBz", "v"), snap(61, "MBz", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
    (
        "an error without a time that did not change may be of this run",
        snap(0, "By", ""),
        [ACCEPTED, snap(1, "MBy", "v"), snap(61, "MBy", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E of a step"},
    ),
    (
        "an error among messages without times",
        snap(0, "Tsf", ""),
        [ACCEPTED, snap(1, "MTsfsEf", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "the same error once more, among messages without times",
        snap(0, "TsEf", ""),
        [ACCEPTED, snap(1, "RMTsEfsE", ""), snap(2, "MTsEfsEf", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "an error of before, among messages without times",
        snap(0, "TsEf", ""),
        [ACCEPTED, snap(1, "MTsEfsf", "v"), snap(6, "MTsEfsf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "no backup in a view that was asked for too early",
        IDLE,
        [ACCEPTED, snap(1, "Mf", ""), snap(68, "Mf", "", took=20)],
        1,
        "LOOK",
        {},
    ),
    (
        "cut off, in a view that was asked for too early",
        IDLE,
        [ACCEPTED, snap(1, "Msm", "v"), snap(68, "Msm", "v", took=20)],
        1,
        "LOOK",
        {},
    ),
    (
        "a good end in a view that took long",
        IDLE,
        [ACCEPTED, snap(30, "Mf", "v", took=20)],
        1,
        "DONE",
        {},
    ),
    (
        "an error without a time, where the last message had one",
        IDLE,
        [ACCEPTED, snap(1, "MBE", "v")],
        1,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "a message without a time, which may be the last one noted",
        IDLE,
        ["lost", snap(1, "Bf", ""), snap(30, "Bf", "")],
        1,
        "LOOK",
        {"begun": False},
    ),
    (
        "a message without a time, which is not the last one noted",
        IDLE,
        [ACCEPTED, snap(1, "RBs", ""), snap(2, "Bf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "an error without a time that was there before, with one",
        snap(0, "sE", ""),
        [ACCEPTED, snap(1, "RMBE", ""), snap(2, "MBf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "an error of before the note, whose time only the other server tells",
        snap(0, "Bf", "", earliest=D + 50),
        [ACCEPTED, snap(1, "RNsEf", "", earliest=D + 50), snap(2, "NsEf", "V", earliest=D + 50)],
        1,
        "LOOK",
        {},
    ),
    (
        "a joined run told an error before it was noted",
        snap(0, "RMsE", ""),
        [snap(1, "RMsE", ""), snap(2, "MsEf", "v")],
        0,
        SEVEN,
        {"words": "with the error IWNR0001E"},
    ),
    (
        "a run before the joined one told an error",
        snap(0, "RNsE", ""),
        [snap(1, "RNsE", ""), snap(2, "NsEg", "v")],
        0,
        "DONE",
        {},
    ),
    (
        "an untimed message where none was",
        snap(0, "Q0", ""),
        [ACCEPTED, snap(1, "QMBs", ""), snap(2, "QMBf", "v")],
        1,
        "DONE",
        {},
    ),
    (
        "old messages where none were for a moment",
        snap(0, "Q", ""),
        [ACCEPTED, snap(1, "q", "v"), snap(61, "q", "v")],
        1,
        "LOOK",
        {"begun": False},
    ),
    (
        "noted anew while the list is empty",
        RUNNING,
        [
            snap(1, "f", ""),
            snap(6, "f", ""),
            ("renote", snap(7, "Q", "-")),
            ACCEPTED,
            snap(8, "f", "v"),
            snap(70, "f", "v"),
        ],
        1,
        "LOOK",
        {"begun": False},
    ),
    (
        "Protected lists nothing for ever",
        PROTECTED,
        [ACCEPTED, snap(1, "RMs", "P"), snap(2, "Mf", "P"), snap(62, "Mf", "P")],
        1,
        EIGHT,
        {},
    ),
    ("a pair, IDLE, moved to the other", IDLE, ["not sent"], 0, "SEND", PAIR),
    (
        "two in doubt: their number stays on the other server",
        IDLE,
        [*LOST30, "lost", *looks(40, "q", "", begin=30, server="B")],
        2,
        "LOOK",
        PAIR,
    ),
    (
        "mute task, noted later",
        snap(100, "Q0", ""),
        [ACCEPTED, *looks(160, "Q0", "v", begin=100), snap(165, "Q0", "v")],
        1,
        "DONE",
        {"remark": "no message"},
    ),
    (
        "mute task, noted later, early",
        snap(100, "Q0", ""),
        [ACCEPTED, *looks(155, "Q0", "v", begin=100)],
        1,
        "LOOK",
        {"begun": False},
    ),
    (
        "running for ever, noted later: half of what was left",
        snap(100, "R", ""),
        [snap(950, "R", "")],
        0,
        "RENOTE",
        {},
    ),
    (
        "running for ever, noted later, early",
        snap(100, "R", ""),
        [snap(949, "R", "")],
        0,
        "LOOK",
        {},
    ),
    (
        "pending, noted later",
        snap(100, "q", ""),
        [snap(129, "q", "")],
        1,
        "LOOK",
        {"phase": "PENDING"},
    ),
    (
        "pending, noted later, in doubt",
        snap(100, "q", ""),
        [snap(130, "q", "")],
        1,
        "LOOK",
        {"phase": "IN_DOUBT"},
    ),
    (
        "severe, noted later",
        snap(100, "q", ""),
        [ACCEPTED, snap(101, "RM", "!"), snap(104, "RM", "!")],
        1,
        "LOOK",
        {},
    ),
    (
        "two moves: a standby, then its partner refuses",
        IDLE,
        ["refused", STANDBY, ("move", other(1, "q", "")), "refused", other(4, "q", "")],
        0,
        "LOOK",
        PAIR,
    ),
    (
        "401, lost, 401: not twice in a row",
        IDLE,
        [
            "unauthorised",
            "lost",
            *looks(30, "q", ""),
            "unauthorised",
            *looks(60, "q", "", begin=30),
            ACCEPTED,
        ],
        2,
        "LOOK",
        {"sends": 4},
    ),
    (
        "no mute task: it tells something else",
        MUTE,
        [ACCEPTED, *looks(65, "Q0i", "v")],
        1,
        "LOOK",
        {"begun": False},
    ),
    (
        "late loss while in doubt: looking goes on",
        IDLE,
        [*looks(35, "q", ""), "lost", *looks(60, "q", "", begin=35), ACCEPTED],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "lost, the task is listed, its session unseen",
        IDLE,
        ["lost", *looks(30, "q", "-"), ACCEPTED],
        2,
        "LOOK",
        {"sends": 2},
    ),
    (
        "late: the first is refused, the second lost: once more",
        IDLE,
        [
            *looks(60, "q", ""),
            snap(61, "q", ""),
            ("refused", 1),
            ("lost", 2),
            *looks(91, "q", "", begin=61),
            ACCEPTED,
        ],
        2,
        "LOOK",
        {"sends": 3},
    ),
    (
        "pair, lost, reads move: looking from nothing",
        IDLE,
        [
            "lost",
            *looks(25, "q", ""),
            *looks(55, "q", "", begin=25, server="B"),
            other(59, "q", ""),
        ],
        1,
        "LOOK",
        {"sends": 1, **PAIR},
    ),
    (
        "the last message is late, deadline",
        IDLE,
        [ACCEPTED, snap(1, "Mi", "v")],
        1,
        EIGHT,
        {"deadline": 1.0, "words": "and the run's last message is not"},
    ),
    (
        "no answer came, deadline",
        IDLE,
        looks(35, "q", ""),
        1,
        EIGHT,
        {"end_at": 1800.0, "words": "no answer came in time"},
    ),
    (
        "two unanswered, deadline",
        IDLE,
        [1.0, 2.0],
        1,
        EIGHT,
        {"end_at": 1800.0, "words": "CSM does not answer"},
    ),
    (
        "session, a warning, nothing listed, deadline",
        SESSION,
        ["warned", snap(1, "", "")],
        1,
        EIGHT,
        {"deadline": 1.0, "words": "no new backup is listed yet"},
    ),
    (
        "pair, 401 twice, then 401 on the other",
        IDLE,
        ["unauthorised", "unauthorised", STANDBY, ("move", other(1, "q", "")), "unauthorised"],
        0,
        "SEND",
        PAIR,
    ),
]
TABLE += [*FORM, *MORE]


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 130
    assert len({row[0] for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_history(row: Any) -> None:
    _, note, events, triggers, end, more = row
    more = dict(more)
    words, remark = more.pop("words", ""), more.pop("remark", None)
    checks = {
        each: more.pop(each) for each in ("phase", "sends", "begun", "started") if each in more
    }
    pace = more.get("pace", PACE)
    steps, run, step = play(note, events, **more)
    assert (steps[-1], run.triggers) == (end, triggers), (steps, run.phase, step)
    assert words in str(step)
    if steps[-1] == "DONE":
        told = words_of(run, pace)
        assert (remark in told) if remark else (not told or run.no_wait)
    found = {
        "phase": run.phase.name,
        "sends": run.sends,
        "begun": run.seen.has_begun,
        "started": run.started,
    }
    assert {each: found[each] for each in checks} == checks


def test_pauses_grow() -> None:
    run = c.first_state(IDLE, 1800.0)
    found = [c.pause_before_look(run, at, PACE) for at in (0, 20, 40, 600, 900)]
    assert found == [0.5, 0.5, 1.0, 15.0, 15.0]
    waited, count = 0.0, 0
    while waited < 1800:
        waited += c.pause_before_look(run, waited, PACE)
        count += 1
    assert 250 <= count <= 265


def test_no_pause_once_a_backup_is_completed() -> None:
    run = c.after_send(c.first_state(SESSION, 1800.0), 0.0)
    done = c.after_answer(run, answer_of("completed", run, 9.0))
    assert c.pause_before_look(done, 9.0, PACE) == 0.0
    assert c.pause_before_look(c.after_look(done, snap(9.1, "", ""), PACE), 9.0, PACE) == 0.5
    other = c.after_answer(run, answer_of("warned", run, 9.0))
    assert c.pause_before_look(other, 9.0, PACE) == 0.5


def test_a_pause_where_a_task_has_ended() -> None:
    run = c.after_look(c.first_state(RUNNING, 1800.0), snap(1, "f", ""), PACE)
    assert run.seen.updated_at == run.seen.ended_at
    assert c.pause_before_look(run, 1.0, PACE) == 0.5


def test_a_server_that_refused_is_not_asked_again() -> None:
    run = c.after_send(c.first_state(IDLE, 1800.0, other_server=True), 0.0)
    run = c.after_role(c.after_answer(run, answer_of("refused", run, 0.0)), STANDBY)
    run = c.after_move(run, other(1, "q", ""), PACE)
    assert run.phase is c.Phase.IDLE
    assert not run.other_server
    assert not c.after_move(run, snap(2, "q", ""), PACE).other_server
    fresh = c.first_state(IDLE, 1800.0, other_server=True)
    assert c.after_move(fresh, other(1, "q", ""), PACE).other_server


def test_on_the_other_server_a_token_is_lost_for_the_first_time() -> None:
    run = c.after_send(c.first_state(IDLE, 1800.0, **PAIR), 0.0)
    run = c.after_answer(run, answer_of("unauthorised", run, 1.0))
    run = c.after_send(c.after_move(run, other(2, "q", ""), PACE), 3.0)
    run = c.after_answer(run, answer_of("unauthorised", run, 4.0))
    assert (run.phase, c.next_step(run, 4.0, PACE)) == (c.Phase.IDLE, c.Step.SEND)


def test_a_message_of_the_same_time_is_not_later() -> None:
    assert c.messages_since(c.Message(5.0, "a"), (c.Message(5.0, "b"),), D) == ()


def test_sessions_are_viewed_now_and_then() -> None:
    run, unnoted = c.first_state(IDLE, 1800.0), c.first_state(UNNOTED, 1800.0)
    running, still = snap(1, "R").task, snap(1, "q").task
    assert c.must_view_sessions(run, still, 0.0, PACE)
    assert c.must_view_sessions(run, None, 0.0, PACE)
    assert not c.must_view_sessions(run, running, 14.9, PACE)
    assert c.must_view_sessions(run, running, 15.0, PACE)
    assert c.must_view_sessions(unnoted, running, 0.0, PACE)
    doubtful = run._replace(phase=c.Phase.IN_DOUBT)
    assert not c.must_view_sessions(doubtful, still, 14.9, PACE)
    assert c.must_view_sessions(doubtful, still, 15.0, PACE)
    assert c.must_view_sessions(doubtful, MUTE.task, 0.0, PACE)


def test_what_was_started() -> None:
    run = c.first_state(IDLE, 1800.0)
    assert run.started == "no"
    run = c.after_send(run, 1.0)
    assert run.started == "perhaps"
    assert c.after_answer(run, answer_of("refused", run, 1.0)).started == "no"
    assert c.after_answer(run, answer_of("accepted", run, 1.0)).started == "yes"
    assert c.first_state(RUNNING, 1800.0).started == "yes"
    seen = c.after_look(run, snap(2, "RM", ""), PACE)
    assert (seen.phase, seen.started) == (c.Phase.PENDING, "yes")
    idle = c.first_state(IDLE, 1800.0)
    assert idle._replace(seen=idle.seen._replace(has_begun=True)).started == "no"


def test_the_codes() -> None:
    kinds = (c.Problem, c.Unreachable, c.LoginRefused, c.Refused, c.BackupFailed, c.OutcomeUnknown)
    assert [each.code for each in kinds] == [1, 3, 4, 6, 7, 8]


def test_the_pace() -> None:
    """All seconds that decide anything, as the README tells them."""
    assert PACE._asdict() == {
        "request_timeout": 30.0,
        "session_factor": 10.0,
        "settle": 5.0,
        "grace": 60.0,
        "counted": 5.0,
        "late_listing": 600.0,
        "clock_skew": 60.0,
        "first_contact": 30.0,
        "second_look": 1.0,
        "first_pause": 0.5,
        "growth": 0.025,
        "longest_pause": 15.0,
        "first_retry": 0.5,
        "login_retry": 2.0,
        "first_login_pause": 15.0,
        "longest_login_pause": 300.0,
        "role_again": 60.0,
        "last_try": 0.5,
        "lock": 60.0,
        "shown_again": 60.0,
        "glance": 30.0,
    }
    assert (c.MOST_TRIGGERS, c.BELIEVED_AFTER) == (2, 2)


@pytest.mark.parametrize(
    ("text", "shown", "severity", "is_error"),
    [
        ("IWNR2212I [Jan 5] done", "IWNR2212I", "I", False),
        ("IWNR0001E", "IWNR1E", "E", True),
        ("ABC12W", "ABC12W", "W", False),
        ("IWNR123456S", "IWNR123456S", "S", True),
        ("IWNR1234567I", "", "", False),
        ("IWNR2212Information", "", "", False),
        ("nonsense", "", "", False),
        ("", "", "", False),
    ],
)
def test_messages(text: str, shown: str, severity: str, is_error: bool) -> None:
    message = c.Message(0.0, text)
    assert (message.id, message.severity, message.is_error) == (shown, severity, is_error)


def test_the_same_message() -> None:
    assert c.Message(5.0, "IWNR2212I").key == c.Message(5.0, "IWNR2212I done").key
    assert c.Message(5.0, "IWNR2212I").key != c.Message(6.0, "IWNR2212I").key
    assert c.Message(0.0, "IWNR2212I a").key != c.Message(0.0, "IWNR2212I b").key
    assert c.Message(5.0, "a").key != c.Message(5.0, "b").key


def test_each_problem_says_one_thing() -> None:
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    step = c.next_step(c.after_answer(run, answer_of("accepted", run, 0.0)), 1800.0, PACE)
    assert str(step) == "the deadline has passed: no look has shown that the run began"


# --- States by themselves -------------------------------------------------------------------------


def test_it_looks_at_once_but_not_again_and_again() -> None:
    """After IWNR1026I; where CSM does not answer that look, the next ones have their pauses."""
    run = c.after_send(c.first_state(SESSION, 1800.0), 0.0)
    run = c.after_answer(run, answer_of("completed", run, 1.0))
    assert c.pause_before_look(run, 1.0, PACE) == 0
    assert c.pause_before_look(c.after_no_answer(run, 1.1, PACE), 1.1, PACE) == 0.5
    assert c.pause_before_look(c.after_look(run, snap(1.1, "", "v"), PACE), 1.1, PACE) == 0.5


def test_the_first_evidence() -> None:
    note = snap(7, "q", "", "-")
    noted = c.Noted("A", note.sessions[0], is_late=False)
    assert c.first_evidence(note) == c.Evidence(
        updated_at=7,
        last_look=note,
        noted=(noted, None),
        last_message=OLD,
        told_by="A",
        last_ran=note.task.last_ran,
        has_spoken=False,
        earlier_message=c.NO_MESSAGE,
        errors=(),
        has_begun=False,
        must_look=False,
        ended_at=None,
        proofs=(c.Proof.UNSEEN, c.Proof.UNPROVABLE),
        has_backups=False,
        bare_since=None,
        backed_since=None,
        severe_since=None,
        severe_for=0.0,
        was_severe=False,
        sent_at=c.NEVER,
        looked=0.0,
        blind=0.0,
        seen_since_sent=False,
        unanswered=0,
    )


def test_the_first_state() -> None:
    assert c.first_state(IDLE, 1800.0) == c.RunState(
        phase=c.Phase.IDLE,
        note=IDLE,
        seen=c.first_evidence(IDLE),
        deadline=1800.0,
        no_wait=False,
        is_chained=False,
        other_server=False,
        role=c.Role.NOT_ASKED,
        is_refused_here=False,
        sends=0,
        triggers=0,
        busy=0,
        accepted=None,
        refusal=None,
        is_unauthorised=False,
        half_at=0.0,
        trouble="",
    )


def worn(note: Any) -> Any:
    """A state in which much has been seen already, and 9 s of it."""
    run = c.first_state(note, 1800.0, other_server=True)
    seen = run.seen._replace(
        updated_at=9.0,
        looked=7.0,
        blind=8.0,
        seen_since_sent=True,
        unanswered=1,
        severe_since=3.0,
        severe_for=6.0,
    )
    return run._replace(seen=seen, refusal="IWNR9999E", role=STANDBY, is_refused_here=True)


def test_a_trigger_begins_anew() -> None:
    run = worn(IDLE)
    sent = c.after_send(run, 10.0)
    seen = run.seen._replace(
        updated_at=10.0,
        sent_at=10.0,
        looked=0.0,
        blind=0.0,
        seen_since_sent=False,
        unanswered=0,
        severe_since=None,
        severe_for=0.0,
    )
    assert sent == run._replace(
        phase=c.Phase.PENDING,
        seen=seen,
        sends=1,
        triggers=1,
        refusal=None,
        role=c.Role.NOT_ASKED,
        is_refused_here=False,
    )


@pytest.mark.parametrize("name", ["accepted", "refused", "lost"])
def test_an_answer_begins_the_looking_anew(name: str) -> None:
    run = c.after_send(worn(IDLE), 10.0)
    run = run._replace(seen=run.seen._replace(looked=7.0, blind=8.0))
    seen = c.after_answer(run, answer_of(name, run, 12.0)).seen
    assert (seen.updated_at, seen.looked, seen.blind) == (12.0, 0.0, 0.0)
    assert seen == run.seen._replace(updated_at=12.0, looked=0.0, blind=0.0)


def test_the_late_refusal_of_the_last_one_in_doubt_begins_the_looking_anew() -> None:
    """The first got no answer, the second was refused: then the first is refused, too."""
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    first = answer_of("refused", run, 40.0)
    for look in looks(60, "q", ""):
        run = c.after_look(run, look, PACE)
    run = c.after_send(run, 60.0)
    run = c.after_answer(run, answer_of("refused by HTTP", run, 61.0))
    run = c.after_look(run, snap(66.0, "q", ""), PACE)
    assert (run.phase, run.triggers, run.seen.looked) == (c.Phase.IN_DOUBT, 1, 5.0)
    run = c.after_answer(run, first._replace(at=67.0))
    assert (run.phase, run.triggers, run.seen.looked) == (c.Phase.REFUSED, 0, 0.0)
    assert (run.seen.updated_at, run.trouble, run.refusal) == (
        67.0,
        "IWNR9999E refused",
        "IWNR9999E",
    )
    assert c.next_step(run, 67.0, PACE) is c.Step.LOOK


def test_the_last_answer_of_csm_is_remembered() -> None:
    """Where it has an id: an answer without one does not take its place."""
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    assert run.answered == c.NO_MESSAGE
    run = c.after_answer(run, answer_of("busy", run, 1.0))
    assert run.answered == c.NO_MESSAGE
    run = c.after_answer(run, answer_of("refused", run, 2.0))
    assert run.answered == c.Message(0.0, "IWNR9999E refused")
    run = c.after_answer(run, answer_of("lost", run, 3.0))
    assert run.answered == c.Message(0.0, "IWNR9999E refused")


def test_when_the_first_trigger_may_be_sent() -> None:
    run = c.first_state(IDLE, 1800.0)
    assert c.may_start(run) is True
    assert c.may_start(run._replace(triggers=1)) is False
    assert c.may_start(run._replace(phase=c.Phase.REFUSED)) is False


def test_the_message_before_the_last_is_kept() -> None:
    """The last one may turn out to be the refusal of our own trigger: then that one counts."""
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    for at, shown in ((1, "RMQs"), (2, "RMQX"), (3, "RMQX")):
        run = c.after_look(run, snap(at, shown, ""), PACE)
        assert run.seen.last_message.text == c.Message(*MESSAGES[shown[-1]]).text
    assert run.seen.earlier_message.id == "IWNR2211I"
    run = c.after_answer(run, answer_of("refused", run, 4.0))
    assert (run.seen.last_message.id, run.seen.has_spoken) == ("IWNR2211I", True)
    for at in (5, 70):
        run = c.after_look(run, snap(at, "MQX", "v"), PACE)
    step = c.next_step(run, 70.0, PACE)
    assert isinstance(step, c.BackupFailed), step
    assert "cut off" in str(step)


def test_silence_counts_only_where_a_trigger_is_pending() -> None:
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    for at in (1.0, 2.0, 3.0):
        run = c.after_no_answer(run, at, PACE, is_pending=False)
        assert (run.phase, run.seen.unanswered, run.seen.updated_at) == (c.Phase.PENDING, 0, at)
    run = c.after_no_answer(run, 4.0, PACE)
    assert (run.phase, run.seen.unanswered) == (c.Phase.PENDING, 1)
    run = c.after_no_answer(run, 5.0, PACE)
    assert (run.phase, run.trouble) == (c.Phase.IN_DOUBT, "CSM does not answer")


def test_a_backup_that_is_completed_has_ended() -> None:
    run = c.after_send(worn(SESSION), 10.0)
    seen = c.after_answer(run, answer_of("completed", run, 12.0)).seen
    assert (seen.must_look, seen.ended_at) == (True, 12.0)
    seen = c.after_answer(run, answer_of("warned", run, 12.0)).seen
    assert (seen.must_look, seen.ended_at) == (False, None)


def test_nothing_has_stood_for_any_time() -> None:
    seen = c.first_evidence(IDLE)
    assert seen.has_ended_for(0.0) is False
    assert seen.has_proof_for(0.0) is False


@pytest.mark.parametrize("text", ["", "IWNR2212I", "IWNR7777I text"])
def test_a_last_message_of_a_good_end(text: str) -> None:
    assert c.is_good_end(c.Message(D, text)) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("IWNR0001E no", "the run ended with the error IWNR0001E no"),
        ("IWNR0003S", "the run ended with the error IWNR0003S"),
        ("IWNR0002W", "the run's last message is the warning IWNR0002W"),
        ("IWNR1026I", "the run's last message is a step's (cut off): IWNR1026I"),
        ("IWNR2211I", "the run's last message is a step's (cut off): IWNR2211I"),
        ("IWNR2220I", "the run's last message is a step's (cut off): IWNR2220I"),
        ("no id", "the run's last message has no id: no id"),
    ],
)
def test_what_is_wrong_about_a_last_message(text: str, words: str) -> None:
    assert c.is_good_end(c.Message(D, text)) is False
    assert c.words_of_bad_end(c.Message(D, text)) == words


def test_nothing_is_wrong_yet() -> None:
    """What is asked for by itself is answered in full: None and False, not something like it."""
    seen = c.first_evidence(IDLE)
    assert c.failure_of(IDLE, seen, PACE) is None
    last = c.Message(D, "IWNR7777I")
    ended = seen._replace(has_begun=True, ended_at=0.0, last_message=last, has_spoken=True)
    assert c.failure_of(IDLE, ended, PACE) is None
    assert c.is_proven(IDLE, seen, PACE) is False
    run = c.first_state(IDLE, 1800.0)
    assert c.may_send_again(run, PACE) is False
    assert c.must_renote(run, PACE) is False
    assert c.is_another_run(run, IDLE) is False
    assert c.is_nobody_left(run) is False
    assert c.is_done(run, c.judge(IDLE, seen, False, PACE), PACE) is False
    refused = run._replace(phase=c.Phase.IN_DOUBT, is_refused_here=True, triggers=1)
    assert c.may_send_again(refused._replace(other_server=True), PACE) is False
    joined = c.first_state(RUNNING, 1800.0)
    assert c.is_another_run(joined, snap(1, "?", "")) is False
    assert c.is_another_run(joined, snap(1, "R", "")) is False
    assert c.is_another_run(joined, snap(1, "M", "")) is True


def test_a_server_that_refused_alone_has_nobody_left() -> None:
    run = c.first_state(IDLE, 1800.0)._replace(is_refused_here=True, triggers=1)
    assert c.is_nobody_left(run) is True
    pair = run._replace(other_server=True)
    assert c.is_nobody_left(pair) is False
    assert c.is_nobody_left(pair._replace(role=ACTIVE)) is True
    assert c.is_nobody_left(pair._replace(triggers=2)) is True
    assert c.is_nobody_left(pair._replace(triggers=2, busy=1)) is False


def test_when_a_backup_is_recent() -> None:
    noted = session("")
    assert noted is not None
    backup = BACKUPS["b"]
    assert c.is_recent(backup, noted, D, PACE) is True
    assert c.is_recent(backup._replace(seconds=D - 601), noted, D, PACE) is False
    odd = noted._replace(is_odd=True)
    assert c.is_recent(backup, odd, D, PACE) is False
    assert c.is_recent(backup._replace(seconds=D - 60), odd, D, PACE) is True
    assert c.is_recent(backup._replace(seconds=D - 61), odd, D, PACE) is False
    assert c.is_recent(backup._replace(seconds=FIRST.seconds), noted, -c.NEVER, PACE) is False
    assert (
        c.is_recent(backup._replace(sequence="other", seconds=1.0), noted, -c.NEVER, PACE) is True
    )


def test_which_views_are_of_use() -> None:
    noted = c.Noted("A", session(""), False)
    same, other_one, none = session("v"), session("v/"), session("U")
    assert c.usable_view(noted, None, "A") is None
    assert c.usable_view(noted, session("P"), "A") is None
    assert c.usable_view(noted, other_one, "A") == other_one
    assert c.usable_view(noted, other_one, "B") is None
    assert c.usable_view(noted, same, "B") == same
    assert c.usable_view(noted, none, "B") is None
    assert c.usable_view(None, other_one, "B") == other_one
    empty = noted._replace(session=none)
    assert c.usable_view(empty, other_one, "B") == other_one
    assert c.with_late_note(empty, other_one, "B") == c.Noted("B", other_one, True)
    assert c.with_late_note(empty, other_one, "A") == empty
    assert c.with_late_note(noted, same, "B") == noted
    assert c.with_late_note(noted, None, "B") == noted
    assert c.with_late_note(None, same, "B") == c.Noted("B", same, True)
    assert c.with_late_note(None, None, "B") is None


@pytest.mark.parametrize(
    ("noted", "view", "answer"),
    [
        (None, "", None),
        ("", "-", None),
        ("", "", False),
        ("", "!", True),
        ("!", "!", False),
        ("!", "", False),
    ],
)
def test_severe(noted: Optional[str], view: str, answer: Optional[bool]) -> None:
    old = None if noted is None else c.Noted("A", session(noted), False)
    assert c.has_turned_severe(old, session(view)) is answer
    if old is not None:
        assert c.has_turned_severe(old._replace(is_late=True), session(view)) is None


def test_a_task_that_is_not_shown_when_it_is_noted_anew() -> None:
    """What was seen of it last is the note: noting never holds the trigger up."""
    run = c.after_look(c.first_state(RUNNING, 1800.0), snap(1, "Mf", ""), PACE)
    run = c.after_look(run, snap(6, "Mf", ""), PACE)
    assert c.next_step(run, 6.0, PACE) is c.Step.RENOTE
    again = c.after_renote(run, snap(7, "?", "-"), PACE)
    assert (again.phase, again.note.task) == (c.Phase.IDLE, run.seen.last_look.task)
    assert (again.note.server, again.seen.last_look.task) == ("A", run.seen.last_look.task)
    assert again.seen.updated_at == 6.0
    assert c.next_step(again, 7.0, PACE) is c.Step.SEND


def test_what_is_told_when_it_is_noted_anew_is_not_of_the_next_run() -> None:
    run = c.after_look(c.first_state(RUNNING, 1800.0), snap(1, "Mf", ""), PACE)
    run = c.after_look(run, snap(6, "Mf", ""), PACE)
    again = c.after_renote(run, snap(7, "MfE", "-"), PACE)
    assert again.seen.last_message == c.Message(*MESSAGES["E"])
    assert (again.seen.errors, again.seen.has_spoken, again.seen.has_begun) == ((), False, False)
    silent = c.after_renote(run, snap(7, "MQ", "-"), PACE)
    assert silent.seen.last_message == run.seen.last_message


@pytest.mark.parametrize(("at", "half_at"), [(6.0, 900.0), (899.0, 900.0), (900.0, c.NEVER)])
def test_half_of_the_time_is_for_the_first_join(at: float, half_at: float) -> None:
    """Once it is gone, no run that goes on is given up for it any more."""
    run = c.after_look(c.first_state(RUNNING, 1800.0), snap(1, "f", ""), PACE)
    assert run.half_at == 900.0
    run = c.after_look(run, snap(at, "f", ""), PACE)
    again = c.after_renote(run, snap(at, "f", "-"), PACE)
    assert again.half_at == half_at
    assert c.joined(again).half_at == half_at


@pytest.mark.parametrize(
    ("one", "other", "is_later"),
    [
        (D + 0.5, D + 0.5, False),
        (D + 0.502, D + 0.501, True),
        (D + 0.501, D + 0.502, False),
        (D + 0.6, D, False),  # the same start, told to the second
        (D, D + 0.6, False),
        (D + 1, D + 0.6, True),
        (D + 1, D, True),
        (D, 0.0, True),
        (0.0, D + 0.6, False),
    ],
)
def test_a_later_start(one: float, other: float, is_later: bool) -> None:
    assert c.is_later_start(one, other) is is_later


def test_what_was_noted_last() -> None:
    assert [c.last_noted(each) for each in (IDLE, SILENT, SESSION)] == [
        OLD,
        c.NO_MESSAGE,
        c.NO_MESSAGE,
    ]


@pytest.mark.parametrize(
    ("old", "new", "since"),
    [
        ("q", "q", D),
        ("q", "M", D),
        ("L", "q", D - 3601),  # the clock of the note is ahead
        ("0", "M", D),
        ("0", "q", D),  # an hour before the note: that is no start of ours
    ],
)
def test_what_is_later_than_that_is_of_the_run(old: str, new: str, since: float) -> None:
    note = snap(0, old)
    assert c.earliest_of_run(note, note.task, snap(1, new).task) == since


@pytest.mark.parametrize(
    ("started", "has_date", "is_later"),
    [(0.0, True, False), (D - 61, True, False), (D - 59, True, True), (D - 601, False, True)],
)
def test_a_start_where_none_was_noted(started: float, has_date: bool, is_later: bool) -> None:
    """It may be the old one that was not told for once: CSM's clock tells, if there is a Date."""
    note = snap(0, "0")._replace(latest=D if has_date else c.NEVER)
    new = note.task._replace(last_ran=started)
    assert c.has_started_since(note, note.task, new) is is_later


def test_a_server_that_tells_no_message_of_the_task() -> None:
    for note, answer in ((SILENT, True), (IDLE, False), (SESSION, False)):
        seen = c.first_evidence(note)
        assert c.shows_no_message(note, seen) is answer
        assert c.shows_no_message(note, seen._replace(has_spoken=True)) is False


def test_an_error_that_was_seen_before_a_late_refusal_is_kept() -> None:
    """The last message alone is listed; the run that is joined had an error that is not ours."""
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    run = c.after_look(run, snap(1, "RMQE", ""), PACE)
    run = c.after_answer(run, answer_of("refused", run, 1.5))
    assert run.phase is c.Phase.JOINED
    run = c.after_look(run, snap(2, "MQf", "v"), PACE)
    step = c.next_step(run, 2.0, PACE)
    assert isinstance(step, c.BackupFailed), step
    assert "IWNR0001E" in str(step)


def test_the_refusal_that_a_look_showed_before_it_was_known_is_no_error() -> None:
    run = c.after_send(c.first_state(IDLE, 1800.0), 0.0)
    run = c.after_look(run, snap(1, "RMX", ""), PACE)
    run = c.after_answer(run, answer_of("refused", run, 1.5))
    run = c.after_look(run, snap(2, "MXf", "v"), PACE)
    assert c.next_step(run, 2.0, PACE) is c.Step.DONE


def test_a_refused_backup_that_is_there_all_the_same() -> None:
    """It is the session's alone: a run of a task is joined."""
    run = c.first_state(SESSION, 1800.0)._replace(phase=c.Phase.REFUSED)
    begun = run._replace(seen=run.seen._replace(has_begun=True))
    assert (run.is_refused_in_vain, begun.is_refused_in_vain) == (False, True)
    assert (run.started, begun.started) == ("no", "yes")
    assert begun._replace(phase=c.Phase.IDLE).is_refused_in_vain is False
    task = begun._replace(note=IDLE)
    assert task.is_refused_in_vain is False


def test_no_trace_without_approval_says_nothing_of_it() -> None:
    run = c.first_state(IDLE, 1800.0)
    seen = run.seen._replace(looked=90.0)
    words = "CSM accepted the trigger, and shows no trace of a run"
    assert words_of(run._replace(seen=seen)) == words
    task = IDLE.task._replace(pending_approval=True)
    waiting = seen._replace(last_look=IDLE._replace(task=task))
    told = f"{words}; the task waits for approval"
    assert words_of(run._replace(seen=waiting)) == told


def test_where_no_message_is_shown_the_note_keeps_the_last_one_and_who_told_it() -> None:
    """A joined run brought nothing, and the other server lists no message at that moment: later it
    shows the old one in its own form, which is no trace of ours."""
    run = c.first_state(snap(0, "RBG", ""), 1800.0)
    for look in (snap(1, "BG", ""), snap(6, "BG", "")):
        run = c.after_look(run, look, PACE)
    assert c.next_step(run, 6.0, PACE) is c.Step.RENOTE
    run = c.after_renote(run, other(7, "Q", ""), PACE)
    run = c.after_send(run, 7.0)
    run = c.after_answer(run, answer_of("lost", run, 8.0))
    run = c.after_look(run, other(9, "BE", ""), PACE)
    assert (run.phase, run.seen.errors, run.seen.has_spoken) == (c.Phase.IN_DOUBT, (), False)


@pytest.mark.parametrize(
    ("answered_at", "now", "is_fresh"),
    [(9.9, 20.0, False), (10.0, 20.0, True), (10.0, 55.0, True), (10.0, 55.1, False)],
)
def test_before_a_repeat_a_server_has_answered_since_the_last_trigger(
    answered_at: float, now: float, is_fresh: bool
) -> None:
    """The trigger went out at 10 s; a request timeout and the longest pause ago is long ago."""
    run = c.after_send(c.first_state(IDLE, 1800.0), 10.0)
    follower = types.SimpleNamespace(pace=PACE, run=run, now=lambda: now)
    assert c.Follower.is_fresh(follower, answered_at) is is_fresh


def test_a_run_that_went_on_already_is_no_trace_of_ours() -> None:
    """A joined run that goes on after half of the time, and our own trigger, lost."""
    run = c.after_look(c.first_state(RUNNING, 1800.0), snap(900, "R", ""), PACE)
    assert c.next_step(run, 900.0, PACE) is c.Step.RENOTE
    run = c.after_renote(run, snap(900, "R", ""), PACE)
    assert c.next_step(run, 900.0, PACE) is c.Step.SEND
    run = c.after_send(run, 900.0)
    run = c.after_answer(run, answer_of("lost", run, 900.0))
    run = c.after_look(run, snap(901, "R", ""), PACE)
    assert (run.phase, run.seen.has_begun) == (c.Phase.IN_DOUBT, False)
    run = c.after_look(run, snap(902, "RM", ""), PACE)
    assert (run.phase, run.seen.has_begun) == (c.Phase.STARTED, True)


@pytest.mark.parametrize(
    ("old", "new", "added", "is_trace"),
    [
        ("q", "q", "", False),
        ("q", "R", "", True),
        ("R", "R", "", False),
        ("R", "q", "", False),
        ("q", "M", "", True),
        ("M", "q", "", False),
        ("q", "q", "E", False),
        ("q", "q", "i", False),
        ("q", "q", "s", True),
        ("q", "q", "m", True),
        ("q", "q", "f", True),
        ("q", "q", "h", True),
        ("q", "q", "iE", False),
        ("q", "q", "iEs", True),
    ],
)
def test_traces(old: str, new: str, added: str, is_trace: bool) -> None:
    messages = [c.Message(*MESSAGES[each]) for each in added]
    note = snap(0, old)
    assert c.has_trace(note, note.task, snap(1, new).task, messages) is is_trace


times = st.integers(0, 6)
lists = st.lists(st.tuples(times, st.sampled_from("abc")), max_size=6)


@settings(max_examples=100, deadline=None)
@given(lists, lists)
def test_no_message_of_a_run_is_missed(old: List[Any], new: List[Any]) -> None:
    """Whatever is appended to a list in order of time is found, and nothing that stood before."""
    before = tuple(c.Message(1.0 + at, text) for at, text in sorted(old))
    added = tuple(c.Message(10.0 + at, text) for at, text in sorted(new))
    last = before[-1] if before else c.Message(9.0, "")
    assert c.messages_since(last, before + added, D) == added
    assert c.messages_since(last, added, D) == added


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-900, 900)), st.lists(st.integers(-900, 900)), st.integers(-900, 900))
def test_what_is_new(noted: List[int], later: List[int], earliest: int) -> None:
    def backups(moments: List[int]) -> Tuple[Any, ...]:
        return tuple(c.Backup(str(each), "", True, "8", float(each), "H1-B1") for each in moments)

    old: Any = session("")
    old = old._replace(backups=backups(noted))
    view = old._replace(backups=backups(noted + later))
    found = {each.seconds for each in c.new_backups(old, view, float(earliest), PACE)}
    newest = max(noted, default=-10000)
    assert found == {each for each in later if each > newest and each >= earliest - 600}
