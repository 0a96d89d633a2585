"""What is told of a call, on each way: the line and what stands first in it, JSON, tables, LEEF;
and the streams that it goes to."""

import io
import json
import platform
import re
import socket
import sys
import threading
import time
from typing import Any, Dict, List, Optional, Tuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clock import StandingClock
from support.program import load
from support.syslog import Udp, parse_leef

c: Any = load()

NOON = 1_700_000_000.0
PACE = c.Pace()
OLD = c.Backup("1699990000", "old time", True, "8", NOON - 10_000, "H1-B1")
NEW = c.Backup("1700000010", "new time", True, "8", NOON + 10, "H1-B1")
VALID, INVALID, FEW = NEW, NEW._replace(valid=False), NEW._replace(copy_sets="5")
TASK = c.Task(12, "backup", True, False, False, NOON, (), ("one",), ("one: Backup",))
SAID = c.Message(NOON + 5, "IWNR2212I done")


def session(name: str, *backups: Any, copy_sets: str = "8") -> Any:
    kind = "Safeguarded Copy"
    return c.Session(name, "Normal", "Protected", kind, False, copy_sets, (*backups, OLD))


def note_of(*sessions: Any, task: Any = TASK) -> Any:
    return c.Snapshot("csm1:9559", task, sessions, NOON, NOON, 0.0, 0.0)


def target_of(note: Any, *remarks: str) -> Any:
    names = tuple(each.name if each else "unseen" for each in note.sessions)
    return c.Target('task "backup" (id 12)', note, names, ("csm1:9559", 1), remarks)


def progress_of(
    *views: Any,
    phase: str = "STARTED",
    triggers: int = 1,
    noted: Optional[Tuple[Any, ...]] = None,
    task: Any = TASK,
    remarks: Tuple[str, ...] = (),
    said: Any = c.NO_MESSAGE,
    has_ended: bool = False,
) -> Any:
    """A call that has got so far; `views` is what the sessions show now."""
    clock = StandingClock(NOON)
    waiter = c.Waiter(clock, c.Signals())
    progress = c.Progress(c.Console(c.Output(), clock), waiter, PACE)
    before = tuple(session(each.name) if each else None for each in views)
    note = note_of(*(before if noted is None else noted), task=task)
    run = c.first_state(note, 1800.0)
    rows = zip(run.seen.noted, views)
    proofs = tuple(c.proof_of(old, view, note.earliest, PACE) for old, view in rows)
    seen = run.seen._replace(last_message=said, has_spoken=bool(said.text), proofs=proofs)
    seen = seen._replace(ended_at=5.0 if has_ended else None)
    run = run._replace(phase=c.Phase[phase], triggers=triggers, seen=seen)
    progress.server = "csm1:9559"
    progress.tasks = (task,) if task else ()
    progress.record(run, target_of(note, *remarks), views)
    clock.sleep(7.04)
    return progress


def before_start() -> Any:
    clock = StandingClock(NOON)
    progress = c.Progress(c.Console(c.Output(), clock), c.Waiter(clock, c.Signals()), PACE)
    progress.server = "csm1:9559"
    return progress


def failed(progress: Any, kind: str = "BackupFailed", text: str = "it went wrong") -> Any:
    return c.make_result(c.conclusion_of_problem(getattr(c, kind)(text), progress), progress)


def ended(progress: Any, outcome: str = "verified", text: str = "after 7 s") -> Any:
    return c.make_result(c.Conclusion(outcome, c.GOOD_ENDS[outcome], text), progress)


# --- What stands first ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "kind", "first"),
    [
        (progress_of(session("one", VALID)), "BackupFailed", "backup TAKEN (1700000010 of new"),
        (progress_of(session("one", INVALID)), "OutcomeUnknown", "backup TAKEN (1700000010 of new"),
        (progress_of(session("one"), has_ended=True), "BackupFailed", "NO backup;"),
        (progress_of(session("one")), "OutcomeUnknown", "no new backup was seen;"),
        (progress_of(session("one")), "BackupFailed", "no new backup was seen;"),
        (progress_of(session("one"), task=None), "BackupFailed", "no new backup was seen;"),
        (progress_of(session("one"), task=None, has_ended=True), "BackupFailed", "NO backup;"),
        (progress_of(session("one"), noted=(None,)), "BackupFailed", "whether a backup was taken"),
        (progress_of(None, noted=(None,)), "OutcomeUnknown", "whether a backup was taken cannot"),
        (progress_of(None), "BackupFailed", "whether a backup was taken cannot be seen;"),
        (progress_of(), "BackupFailed", "whether a backup was taken cannot be seen;"),
        (progress_of(session("one"), phase="IDLE", triggers=0), "Refused", "nothing was started;"),
        (
            progress_of(session("one"), phase="REFUSED", triggers=0),
            "Refused",
            "nothing was started",
        ),
        (before_start(), "Unreachable", "nothing was started;"),
        (before_start(), "UsageError", "nothing was started;"),
    ],
)
def test_what_stands_first(progress: Any, kind: str, first: str) -> None:
    """Is there a backup? Then what went wrong, then what to do."""
    text = failed(progress, kind).text
    assert text.startswith(first)
    assert text.index("it went wrong") > len(first) - 1


def test_one_of_two_was_taken() -> None:
    views = (session("one", VALID), session("two"), session("three"))
    taken = 'backup TAKEN (1700000010 of new time, copy sets 8 of 8, valid in session "one"); '
    progress = progress_of(*views, has_ended=True)
    none = f'{taken}NO backup in session "two", "three"; it went wrong; task '
    assert failed(progress).text.startswith(none)
    none = f'{taken}no new backup was seen in session "two", "three"; it went wrong; task '
    assert failed(progress, "OutcomeUnknown").text.startswith(none)
    assert failed(progress_of(*views)).text.startswith(none)


def test_one_of_two_was_not_seen_at_last() -> None:
    """Its view of before the trigger is no sight of it."""
    progress = progress_of(session("one", VALID), session("two"), has_ended=True)
    seen = progress.run.seen._replace(proofs=(c.Proof.VALID, c.Proof.UNSEEN))
    progress.run = progress.run._replace(seen=seen)
    text = failed(progress, "OutcomeUnknown").text
    assert 'in session "one"); whether in session "two" cannot be seen; it went wrong' in text


def test_two_of_two_were_taken() -> None:
    text = failed(progress_of(session("one", VALID), session("two", INVALID))).text
    assert text.startswith(
        'backup TAKEN (1700000010 of new time, copy sets 8 of 8, valid in session "one", '
        '1700000010 of new time, copy sets 8 of 8, NOT VALID in session "two"); it went wrong; '
    )


def test_the_whole_text_of_a_failure() -> None:
    progress = progress_of(session("one"), said=SAID, remarks=("a remark",), has_ended=True)
    assert failed(progress).text == (
        "NO backup; it went wrong; IWNR2212I done; "
        'task "backup" (id 12) with session "one" on csm1:9559; a remark; '
        "look in CSM: a mirror may be suspended"
    )


def test_the_message_of_csm_is_told_once() -> None:
    progress = progress_of(session("one"), said=SAID)
    assert failed(progress, text="it says IWNR2212I done").text.count("IWNR2212I") == 1


def test_the_whole_text_of_a_success() -> None:
    progress = progress_of(session("one", VALID), said=SAID, remarks=("a remark",))
    assert ended(progress).text == (
        "backup 1700000010 of new time, copy sets 8 of 8, valid; "
        'task "backup" (id 12) with session "one" on csm1:9559; after 7 s; IWNR2212I done; a remark'
    )


def test_of_a_success_the_message_of_csm_is_told_once() -> None:
    progress = progress_of(session("one", VALID), said=SAID)
    text = ended(progress, text=f"after 7 s, the run's last message is {SAID.text}").text
    assert text.count("IWNR2212I") == 1


def test_the_message_of_a_run_that_told_it_in_another_form() -> None:
    """It is the last one of the task once the run has ended, with the same id as the one before."""
    shown = c.Message(0.0, "IWNR2212I [1:02 PM] done")
    for ended_at, told in ((None, "IWNR2211I"), (5.0, "IWNR2212I")):
        run = c.first_state(note_of(session("one"), task=TASK._replace(messages=(SAID,))), 1800.0)
        look = run.seen.last_look._replace(task=TASK._replace(messages=(shown,)))
        seen = run.seen._replace(last_look=look, ended_at=ended_at)
        run = run._replace(seen=seen, accepted=c.Message(0.0, "IWNR2211I started"))
        assert c.message_of_run(run).id == told


def test_the_place() -> None:
    """A session that has the task's name is not told a second time, nor are several."""
    name = 'task "backup" (id 12)'
    assert c.text_of_place(progress_of(session("backup"))) == f"{name} on csm1:9559"
    one = progress_of(session("one"))
    assert c.text_of_place(one) == f'{name} with session "one" on csm1:9559'
    two = progress_of(session("one"), session("two"))
    assert c.text_of_place(two) == f"{name} on csm1:9559"
    assert c.text_of_place(before_start()) == ""


def test_a_success_without_a_backup() -> None:
    progress = progress_of(session("one"))
    assert ended(progress, "accepted").text.startswith(
        'task "backup" (id 12) with session "one" on'
    )


def test_the_text_of_a_call_that_started_nothing() -> None:
    assert ended(before_start(), "listed", "all of it").text == "all of it"


@pytest.mark.parametrize(
    ("progress", "kind", "words"),
    [
        (progress_of(session("one")), "OutcomeUnknown", "CSM goes on with what was started"),
        (
            progress_of(session("one"), phase="IN_DOUBT"),
            "OutcomeUnknown",
            "it is not known whether it was started",
        ),
        (
            progress_of(session("one"), has_ended=True),
            "OutcomeUnknown",
            "the run has ended: look in CSM before another one",
        ),
        (progress_of(session("one")), "BackupFailed", "look in CSM: a mirror may be suspended"),
        (progress_of(session("one"), task=None), "BackupFailed", "look in CSM"),
        (before_start(), "Unreachable", "check address, network"),
        (before_start(), "NotFound", "--list shows the names"),
    ],
)
def test_what_to_do_next_stands_last(progress: Any, kind: str, words: str) -> None:
    last = failed(progress, kind).text.rpartition("; ")[2]
    assert last.startswith(words)


def test_no_mirror_was_suspended_by_a_session() -> None:
    assert "mirror" not in failed(progress_of(session("one"), task=None)).text


def test_what_goes_besides_is_told_once() -> None:
    """Of two backups of the same second."""
    progress = progress_of(session("one", VALID), session("two", VALID))
    note = progress.run.note._replace(earliest=progress.sessions[0].backup.seconds + 5)
    progress.run = progress.run._replace(note=note)
    assert c.warnings_about(progress) == [
        "the time of the backup is 5 s before this call: compare the clocks, or its run"
    ]


def test_what_goes_besides() -> None:
    progress = progress_of(session("one", FEW), triggers=2, remarks=("remark",))
    progress.not_noted("a session could not be noted")
    assert c.warnings_about(progress) == [
        "remark",
        "a session could not be noted",
        "2 triggers may have been processed",
        "copy sets differ: 5 of 8",
    ]
    assert c.warnings_about(progress_of(session("one", VALID))) == []
    assert c.warnings_about(before_start()) == []
    for result in (ended(progress), failed(progress)):
        assert "2 triggers may have been processed; copy sets differ: 5 of 8" in result.text


@pytest.mark.parametrize(
    ("own", "whole", "shown", "lacks"),
    [
        ("8", "8", "8 of 8", False),
        ("5", "8", "5 of 8", True),
        ("9", "8", "9 of 8", True),
        ("?", "8", "? of 8", False),
        ("8", "", "8", False),
        ("8", "many", "8 of many", False),
    ],
)
def test_copy_sets(own: str, whole: str, shown: str, lacks: bool) -> None:
    backup = NEW._replace(copy_sets=own)
    found = c.Shown("one", session("one", copy_sets=whole), backup)
    assert c.copy_sets(found) == shown
    assert c.lacks_copy_sets(found) is lacks
    assert c.copy_sets(c.Shown("one", None, None)) == "?"
    assert c.lacks_copy_sets(found._replace(backup=None)) is False
    assert c.lacks_copy_sets(found._replace(session=None)) is False


def test_the_texts_of_a_session() -> None:
    shown = c.Shown("one", session("one"), INVALID)
    assert shown.text() == (
        'session "one" (Normal): backup 1700000010 of new time, copy sets 8 of 8, NOT VALID'
    )
    assert shown._replace(backup=None).text() == 'session "one" (Normal): no new backup'
    assert shown._replace(session=None).text() == 'session "one": not seen'
    assert c.show_backup(shown._replace(backup=None)) == "none"


def test_which_backup_is_shown() -> None:
    """A valid one, if there is one; of those the newest."""
    later = NEW._replace(id="later", seconds=NOON + 20)
    assert c.best_of([OLD, NEW, later]) == later
    assert c.best_of([NEW, later._replace(valid=False)]) == NEW
    assert c.best_of([]) is None
    found = progress_of(session("one", NEW, later._replace(valid=False))).sessions
    assert [each.backup for each in found] == [NEW]
    assert c.newest_of("one", session("one")).backup == OLD
    assert c.newest_of("one", "why").trouble == "why"
    assert c.newest_of("one", None) == c.Shown("one", None, None, "")


# --- Words of a verdict ---------------------------------------------------------------------------


def seen_of(note: Any, *views: Any, **changes: Any) -> Any:
    """What one look 7 s after the note has shown."""
    look = note._replace(sessions=views, at=7.0)
    return c.observe(note, c.first_evidence(note), look, None, PACE)._replace(
        **{"has_begun": True, **changes}
    )


@pytest.mark.parametrize(
    ("views", "changes", "words"),
    [
        (
            (session("one"), session("two")),
            {"has_begun": False},
            "no look has shown that the run began",
        ),
        ((session("one"), session("two")), {}, "the run has not ended"),
        ((session("one"), None), {"ended_at": 5.0}, "the run ended, and a session cannot be read"),
        ((session("one", NEW), session("two")), {"ended_at": 5.0}, "no new backup is listed yet"),
        (
            (session("one", NEW), session("two", INVALID)),
            {"ended_at": 5.0},
            "backup 1700000010 is there, and CSM does not call it valid yet",
        ),
        (
            (session("one", NEW), session("two", NEW)),
            {"ended_at": 5.0, "severe_since": 5.0},
            "the backup is there, and a session shows Severe",
        ),
        (
            (session("one", NEW), session("two", NEW)),
            {"ended_at": 5.0},
            "the backup is there, and the run's last message is not",
        ),
    ],
)
def test_what_is_still_waited_for(
    views: Tuple[Any, ...], changes: Dict[str, Any], words: str
) -> None:
    note = note_of(session("one"), session("two"))
    assert c.words_while_open(note, seen_of(note, *views, **changes), PACE) == words


def test_a_session_that_could_not_be_noted_is_still_waited_for() -> None:
    note = note_of(session("one"), None)
    seen = seen_of(note, session("one", NEW), None, ended_at=5.0)
    words = "the run ended, and a session cannot be read"
    assert c.words_while_open(note, seen, PACE) == words


def test_which_session_shows_an_error() -> None:
    """The one that has turned so, not one that showed it before; in a look that does not see it, it
    has no name."""
    severe = session("two")._replace(in_error=True, status="Severe")
    note = note_of(session("one"), session("two"))
    words = "session two shows an error that it did not show before (Severe)"
    assert c.words_of_severe(seen_of(note, session("one"), severe)) == words
    assert c.words_of_severe(seen_of(note, None, severe)) == words
    words = "a session showed an error that it did not show before"
    assert c.words_of_severe(seen_of(note, session("one"), None)) == words


# --- Progress -------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str]) -> List[str]:
    """The lines since it was asked last, without their times."""
    return [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()]


def test_the_same_warning_is_told_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    progress = before_start()
    for _ in range(130):
        progress.warn("odd")
        progress.waiter.sleep(1.0)
    assert told(capsys) == ["WARNING odd"] * 3
    for text in ("another", "odd", "another"):  # two that take turns, too
        progress.warn(text)
    assert told(capsys) == ["WARNING another"]


def test_progress_is_told_where_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """And once a minute. A message of CSM's is told once."""
    progress = progress_of(session("one"), said=SAID)
    waiting = "INFO waiting for the task to end until 22:43:20Z"
    none, new = (
        'session "one" (Normal): ' + each for each in ("no new backup", "backup 170000001")
    )
    for _ in range(59):
        progress.show(progress.run)
        progress.waiter.sleep(1.0)
    assert told(capsys) == [f"{waiting}; {none}; IWNR2212I done"]
    progress.waiter.sleep(1.1)
    progress.show(progress.run)
    assert told(capsys) == [f"{waiting}; {none}"]
    seen = progress.run.seen._replace(last_message=c.Message(NOON + 9, "IWNR1026I one"))
    progress.record(progress.run._replace(seen=seen), progress.target, (session("one"),))
    progress.show(progress.run)
    assert told(capsys) == [f"{waiting}; {none}; IWNR1026I one"]
    progress.record(progress.run, progress.target, (session("one", NEW),))
    progress.show(progress.run)
    (line,) = told(capsys)
    assert line.startswith(f"{waiting}; {new}")
    progress.show(progress.run)
    assert told(capsys) == []


def test_the_answer_to_a_trigger_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = progress_of(session("one"), said=SAID)
    answer = c.Answer(c.Fate.ACCEPTED, SAID, 1, 0.0)
    progress.answered(answer, "", is_task=True)
    progress.show(progress.run)
    first, second = told(capsys)
    assert first == "INFO started: IWNR2212I done"
    assert "IWNR2212I" not in second


def test_before_a_trigger_there_is_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    progress = progress_of(session("one"), phase="IDLE", triggers=0)
    progress.show(progress.run)
    assert told(capsys) == []


def test_the_live_line_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = progress_of(session("one"), said=SAID)
    progress.show(progress.run)
    live = stream.getvalue().rpartition("\x1b[K")[2]
    assert live == "waiting for the task to end: 7 s, 1793 s left; IWNR2212I done"


@pytest.mark.parametrize(
    ("state", "seen", "words", "until"),
    [
        ({"phase": "PENDING"}, {}, "waiting for CSM's answer", 34.0),
        ({"phase": "PENDING", "task": None}, {}, "waiting for CSM's answer", 304.0),
        ({"phase": "IN_DOUBT"}, {}, "looking whether the lost trigger arrived", 1800.0),
        (
            {"phase": "REFUSED"},
            {"looked": 1.0, "blind": 0.5},
            "refused: looking whether it runs all the same",
            10.0,
        ),
        ({"phase": "JOINED", "half_at": 900.0}, {}, "watching a run that was joined", 900.0),
        ({"phase": "JOINED", "half_at": 2000.0}, {}, "watching a run that was joined", 1800.0),
        ({}, {}, "waiting for the task to end", 1800.0),
        ({"task": None}, {}, "waiting for the Backup to end", 1800.0),
        (
            {},
            {"ended_at": 9.0, "proofs": ("VALID", "NOT_VALID")},
            "waiting until CSM calls the backup valid",
            1800.0,
        ),
        (
            {},
            {"ended_at": 9.0, "proofs": ("VALID", "VALID")},
            "waiting for the run's last message",
            69.0,
        ),
        (
            {},
            {"ended_at": 9.0, "proofs": ("VALID", "NONE")},
            "the run has ended: waiting for its backup",
            69.0,
        ),
        (
            {},
            {"ended_at": 9.0, "proofs": ("VALID", "UNSEEN"), "updated_at": 69.0},
            "the run has ended: waiting for its backup",
            1800.0,
        ),
    ],
)
def test_what_is_waited_for_and_until_when(
    state: Dict[str, Any], seen: Dict[str, Any], words: str, until: float
) -> None:
    note = note_of(session("one"), session("two"), task=state.pop("task", TASK))
    run = c.first_state(note, 1800.0)
    proofs = tuple(c.Proof[each] for each in seen.pop("proofs", ()))
    evidence = run.seen._replace(**{"updated_at": 6.0, "sent_at": 4.0, "proofs": proofs, **seen})
    phase = c.Phase[state.pop("phase", "STARTED")]
    run = run._replace(seen=evidence, phase=phase, **state)
    assert c.phase_of(run, PACE) == (words, until)


def test_which_message_is_told_of_a_run() -> None:
    """The error with which it failed; else its last one with an id; else CSM's answer."""
    run = c.first_state(note_of(session("one")), 1800.0)
    answered, accepted, last, error = (
        c.Message(NOON + n, text)
        for n, text in enumerate(("IWNR9E answered", "IWNR2211I accepted", "IWNR1026I", "IWNR1E"))
    )
    assert c.message_of_run(run) == c.NO_MESSAGE
    run = run._replace(answered=answered)
    assert c.message_of_run(run) == answered
    run = run._replace(accepted=accepted, seen=run.seen._replace(last_message=last))
    assert c.message_of_run(run) == accepted
    nameless = run.seen._replace(last_message=c.Message(NOON, "text alone"), has_spoken=True)
    assert c.message_of_run(run._replace(seen=nameless)) == accepted
    run = run._replace(seen=run.seen._replace(has_spoken=True))
    assert c.message_of_run(run) == last
    run = run._replace(seen=run.seen._replace(errors=(error, last)))
    assert c.message_of_run(run) == error


# --- Exit codes -----------------------------------------------------------------------------------


def test_what_is_good() -> None:
    words = ("verified", "accepted", "skipped", "checked", "listed")
    assert dict.fromkeys(words, c.ExitCode.OK) == c.GOOD_ENDS


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("Problem", ("internal", 1), ("unknown", 8)),
        ("UsageError", ("usage", 2), ("unknown", 8)),
        ("Unreachable", ("unreachable", 3), ("unknown", 8)),
        ("LoginRefused", ("login", 4), ("unknown", 8)),
        ("NotFound", ("not-found", 5), ("unknown", 8)),
        ("Refused", ("refused", 6), ("unknown", 8)),
        ("BackupFailed", ("failed", 7), ("failed", 7)),
        ("OutcomeUnknown", ("unknown", 8), ("unknown", 8)),
    ],
)
def test_words_and_codes(kind: str, before: Any, after: Any) -> None:
    """What hinders a request decides nothing once something was started."""
    result = failed(before_start(), kind)
    assert (result.outcome, result.code) == before
    for phase in ("STARTED", "IN_DOUBT", "PENDING", "JOINED"):
        result = failed(progress_of(session("one"), phase=phase), kind)
        assert (result.outcome, result.code) == after
    result = failed(progress_of(session("one"), phase="IDLE", triggers=0), kind)
    assert (result.outcome, result.code) == before


def test_the_words_of_signals() -> None:
    words = [c.word_of(c.ExitCode(each)) for each in (129, 130, 143)]
    assert words == ["hung-up", "interrupted", "terminated"]


def test_modules_that_cannot_be_loaded_are_told_with_their_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has several needs to know which one it was."""

    def fail() -> None:
        raise SystemExit(0)

    monkeypatch.setattr(c, "import_modules", fail)
    with pytest.raises(c.ModuleMissing) as caught:
        c.load_modules(c.Signals())
    python = f"{sys.executable} (Python {platform.python_version()})"
    words = f"requests and urllib3 cannot be loaded by {python}: SystemExit: 0"
    assert str(caught.value) == words


def test_a_bug_is_told_by_its_lines() -> None:
    try:
        raise KeyError("s3cret")
    except KeyError as error:
        found = c.conclusion_of_bug(error)
    assert (found.outcome, found.code) == ("internal", 1)
    assert re.fullmatch(r"KeyError, lines \[\d+\]", found.text)


def test_a_bug_is_told_from_the_outside_in() -> None:
    lines: List[int] = []

    def inner() -> None:
        lines.append(sys._getframe().f_lineno + 1)
        raise KeyError("s3cret")

    try:
        lines.append(sys._getframe().f_lineno + 1)
        inner()
    except KeyError as error:
        found = c.conclusion_of_bug(error)
    assert found.text == f"KeyError, lines {lines}"


# --- The line, and JSON ---------------------------------------------------------------------------


def test_the_line() -> None:
    result = ended(before_start(), "listed", "all of it")
    assert c.line_of(result, c.Output()) == "listed: all of it"
    event = c.Output(event=("a", "b c"))
    assert c.line_of(result, event) == "listed: all of it (event: a b c)"
    long = c.line_of(result, c.Output(event=("x" * 500,)))
    assert long == f"listed: all of it (event: {'x' * 200})"


def test_it_is_one_line() -> None:
    progress = progress_of(session("one"), said=c.Message(0.0, "IWNR0001E a\x1b[31m\nb"))
    assert "\n" not in failed(progress, text="with\r\nlines").text


def test_json() -> None:
    progress = progress_of(session("one", FEW), None, noted=(session("one"), None), said=SAID)
    output = c.Output(event=("a", "b"), rule_id="100", rule_name="A rule")
    found = json.loads(json.dumps(c.json_of_result(failed(progress), output)))
    assert found == {
        "outcome": "failed",
        "exit_code": 7,
        "started": "yes",
        "triggers": 1,
        "csm_id": "IWNR2212I",
        "server": "csm1:9559",
        "backups": ["1700000010"],
        "rule_id": "100",
        "version": c.VERSION,
        "tasks": [
            {"id": 12, "name": "backup", "state": "enabled", "last_ran": NOON, "sessions": ["one"]}
        ],
        "sessions": [
            {
                "name": "one",
                "status": "Normal",
                "state": "Protected",
                "copy_sets": "8",
                "backup": {
                    "id": "1700000010",
                    "time": "new time",
                    "valid": True,
                    "copy_sets": "5",
                    "seconds": NOON + 10,
                },
            },
            {"name": "unseen", "status": "", "state": "", "copy_sets": "", "backup": None},
        ],
        "seconds": 7.0,
        "csm_text": "IWNR2212I done",
        "message": failed(progress).text,
        "rule_name": "A rule",
        "event": ["a", "b"],
    }


def test_json_of_a_call_that_went_no_further() -> None:
    found = c.json_of_result(failed(before_start(), "UsageError"), c.Output())
    expected: Dict[str, Any] = {
        "outcome": "usage",
        "exit_code": 2,
        "started": "no",
        "triggers": 0,
        "csm_id": "",
        "backups": [],
        "tasks": [],
        "sessions": [],
        "event": [],
    }
    assert {key: found[key] for key in expected} == expected


def test_what_goes_to_standard_output() -> None:
    good, bad = ended(before_start(), "verified", "text"), failed(before_start(), "NotFound")
    assert c.lines_of(good, c.Output()) == ["verified: text"]
    assert c.lines_of(good, c.Output(quiet=True)) == []
    assert c.lines_of(bad, c.Output()) == []
    for result in (good, bad):
        for quiet in (False, True):
            (line,) = c.lines_of(result, c.Output(json=True, quiet=quiet))
            assert json.loads(line)["outcome"] == result.outcome


def listed(*tasks: Any, sessions: Tuple[Any, ...] = (), others: Tuple[Any, ...] = ()) -> Any:
    progress = before_start()
    progress.tasks, progress.sessions, progress.others = tasks, sessions, others
    progress.shows_table = True
    return progress


def test_a_table() -> None:
    """Aligned, headed, nothing cut."""
    other = TASK._replace(id=5, name="another one", running=True, last_ran=0.0, sessions=())
    unknown = c.Shown("two", None, None)
    troubled = c.Shown("three", None, None, "HTTP 500")
    progress = listed(
        TASK._replace(next_task=5),
        other._replace(next_task=7),
        sessions=(c.newest_of("one", session("one")), unknown),
        others=(troubled,),
    )
    lines = [
        "ID  TASK         STATE    LAST RUN                 BACKS UP  GOES ON IN TASK",
        "12  backup       enabled  2023-11-14 22:13:20 UTC  one       another one",
        "5   another one  running  never                              7",
        "SESSION  STATUS  STATE      NEWEST BACKUP",
        "one      Normal  Protected  1699990000 of old time, copy sets 8 of 8, valid",
        "two                         cannot be read: see the warning",
        "three                       cannot be read: HTTP 500",
    ]
    result = ended(progress, "listed", "text")
    assert c.lines_of(result, c.Output()) == [*lines, "listed: text"]
    assert c.lines_of(result, c.Output(quiet=True)) == []
    assert c.lines_of(failed(progress), c.Output()) == lines
    progress.shows_table = False
    assert c.lines_of(ended(progress, "listed", "text"), c.Output()) == ["listed: text"]


def test_a_table_of_one_task_shows_its_steps() -> None:
    task = TASK._replace(steps=("one: Suspend", "one: Backup"))
    assert c.lines_of(ended(listed(task), "checked", "text"), c.Output()) == [
        "ID  TASK    STATE    LAST RUN                 BACKS UP  GOES ON IN TASK",
        "12  backup  enabled  2023-11-14 22:13:20 UTC  one",
        "step 1  one: Suspend",
        "step 2  one: Backup",
        "SESSION  STATUS  STATE  NEWEST BACKUP",
        "checked: text",
    ]


def test_a_table_without_tasks() -> None:
    assert c.table_of(ended(listed(), "checked", "text")) == [
        "SESSION  STATUS  STATE  NEWEST BACKUP"
    ]


def test_columns_are_as_wide_as_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Stream(encoding="ascii"))
    assert c.columns([("\u00e9", "b"), ("a\x1b", "c")]) == ["\u00e9  b", "a\x1b     c"]


# --- LEEF -----------------------------------------------------------------------------------------


def packet_of(result: Any, output: Any = None, host: str = "host") -> bytes:
    found = c.leef_packet(result, output or c.Output(), NOON, host)
    assert isinstance(found, bytes)
    return found


def test_a_packet() -> None:
    result = ended(progress_of(session("one", VALID), said=SAID))
    head, _, rest = packet_of(result).decode().partition("LEEF:")
    assert head.startswith("<133>")
    assert head.endswith(" host ")
    name = "run-cr-wflow-ds8k"
    header = f"2.0|Safeguarded Copy|{name}|{c.VERSION}|verified|^|"
    assert rest.startswith(f"{header}devTime=1700000000000^sev=3^cat=verified^outcome=verified^")
    pairs = dict(each.split("=", 1) for each in rest[len(header) :].split("^"))
    assert list(pairs) == ["devTime", "sev", "cat", *c.json_of_result(result, c.Output())]
    assert pairs["tasks"] == "backup"
    assert pairs["sessions"] == "one"
    assert pairs["backups"] == "1700000010"
    assert pairs["csm_id"] == "IWNR2212I"
    assert pairs["message"] == result.text
    assert not rest.endswith("^")


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@pytest.mark.parametrize(("month", "name"), list(enumerate(MONTHS, 1)), ids=str)
def test_the_time_of_a_packet(month: int, name: str) -> None:
    """As RFC 3164 has it: English in any locale, in local time, the day as wide as two digits."""
    result = ended(before_start(), "listed", "text")
    for day, shown in ((5, " 5"), (25, "25")):
        now = time.mktime((2023, month, day, 12, 34, 56, 0, 0, -1))
        packet = c.leef_packet(result, c.Output(), now, "host")
        assert packet.startswith(f"<133>{name} {shown} 12:34:56 host LEEF:2.0|".encode())


def test_a_packet_of_a_failure() -> None:
    packet = packet_of(failed(before_start(), "Unreachable")).decode()
    assert packet.startswith("<131>")
    assert "|unreachable|^|" in packet
    assert "^sev=9^cat=unreachable^" in packet


def test_separators_are_replaced() -> None:
    output = c.Output(rule_id="a|b^c", event=("d^e", "f|g", "h\ti"))
    packet = packet_of(failed(before_start(), text="x|y^z\n"), output).decode()
    for part in ("rule_id=a_b_c^", "x_y_z", "event=d_e,f_g,hi"):
        assert part in packet


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u4e2d", "\U0001f4be"])
@pytest.mark.parametrize("length", [0, 300, 600, 700, 1000, 5000])
def test_a_packet_is_cut(letter: str, length: int) -> None:
    """At 1,024 bytes (RFC 3164), within no character, and what matters is there."""
    output = c.Output(rule_name=letter * length, event=(letter * length,) * 9)
    packet = packet_of(failed(before_start(), text=letter * length), output, "h" * 64)
    assert len(packet) <= 1024
    text = packet.decode("utf-8")
    for part in ("outcome=failed", "exit_code=7", "started=no", "triggers=0", "version="):
        assert f"^{part}" in text
    if length >= 1000:
        assert len(packet) > 1024 - (2 if letter == "x" else 8)


def test_a_packet_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    result = ended(progress_of(session("one", VALID)))
    with Udp() as receiver:
        c.tell(result, console(leef=f"127.0.0.1:{receiver.port}"))
        event = parse_leef(receiver.receive())
    assert (event.id, event["message"], event.priority) == ("verified", result.text, 133)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [socket.gaierror, OSError, UnicodeError])
def test_a_packet_that_cannot_be_sent(
    error: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning, and no more."""
    monkeypatch.setattr(c.socket, "getaddrinfo", mock.Mock(side_effect=error))
    c.tell(ended(before_start(), "listed", "text"), console(leef="nowhere:514"))
    out, err = capsys.readouterr()
    assert out == "listed: text\n"
    assert err.endswith("WARNING no LEEF event was sent to nowhere:514\n")


texts = st.text(max_size=300).map(lambda text: re.sub("[\u00a0\u3000]", "", text))  # are kept


@settings(max_examples=50, deadline=None)
@given(texts, st.lists(texts, max_size=5))
def test_any_packet_can_be_read(text: str, event: List[str]) -> None:
    output = c.Output(event=c.printable_all(event), rule_name=c.printable(text))
    packet = packet_of(failed(before_start(), text=text), output)
    assert len(packet) <= 1024
    assert parse_leef(packet).id == "failed"


# --- Streams --------------------------------------------------------------------------------------


class Stream(io.StringIO):
    encoding: Any = "utf-8"

    def __init__(self, is_terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self.is_terminal = is_terminal
        self.encoding = encoding

    def isatty(self) -> bool:
        return self.is_terminal


def console(**options: Any) -> Any:
    return c.Console(c.Output(**options), StandingClock(NOON))


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ({}, ["INFO", "WARNING"]),
        ({"verbose": True}, ["DEBUG", "INFO", "WARNING"]),
        ({"quiet": True}, []),
        ({"quiet": True, "verbose": True}, []),
        ({"json": True}, ["INFO", "WARNING"]),
    ],
)
def test_what_is_logged(
    options: Any, levels: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    used = console(**options)
    for level in ("DEBUG", "INFO", "WARNING"):
        used.log(level, "text")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"2023-11-14 22:13:20Z {each} text" for each in levels]


def test_what_a_stream_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    console().print_line("stdout", "a\u00e9\x1b[31m\n\u4e2d")
    assert stream.getvalue() == "a\\xe9[31m\\u4e2d\n"


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_stream_that_fails_is_taken_away(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Stream):
        def write(self, _: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stdout", Broken())
    console().print_line("stdout", "text")
    assert sys.stdout is None
    console().print_line("stdout", "text")


def test_a_stream_that_is_stuck_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is not waited for, nor is the next one: that one is lost. The other stream goes on,
    and so does this one, once its reader does."""
    goes_on = threading.Event()

    class Stuck(Stream):
        def write(self, text: str) -> int:
            goes_on.wait(60)
            return super().write(text)

    stuck, other = Stuck(), Stream()
    monkeypatch.setattr(sys, "stdout", stuck)
    monkeypatch.setattr(sys, "stderr", other)
    used = console()
    assert used._write("stdout", "one\n", 0.05) is False
    assert used._write("stdout", "two\n", 0.05) is False
    assert used._write("stderr", "three\n", 60.0) is True
    goes_on.set()
    assert used._write("stdout", "four\n", 60.0) is True
    assert (stuck.getvalue(), other.getvalue()) == ("one\nfour\n", "three\n")


@pytest.mark.parametrize(
    ("word", "no_color", "shown"),
    [
        ("verified", "", "\x1b[1;32mverified\x1b[0m: verified\n"),
        ("verified", "1", "verified: verified\n"),
        ("failed", "", "\x1b[1;31mfailed\x1b[0m: verified\n"),
        ("", "", ": verified\n"),
    ],
)
def test_the_word_stands_out_on_a_terminal(
    word: str, no_color: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console().print_line("stdout", f"{word}: verified", word)
    assert stream.getvalue() == shown
    plain = Stream()
    monkeypatch.setattr(sys, "stdout", plain)
    console().print_line("stdout", f"{word}: verified", word)
    assert plain.getvalue() == f"{word}: verified\n"


def test_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next line takes its place."""
    stream = Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    used = console()
    used.show_live("waiting")
    used.print_line("stderr", "done")
    used.print_line("stderr", "more")
    assert stream.getvalue() == "\r\x1b[Kwaiting\r\x1b[Kdone\nmore\n"
    console(quiet=True).show_live("quiet")
    assert "quiet" not in stream.getvalue()
    plain = Stream()
    monkeypatch.setattr(sys, "stderr", plain)
    console().show_live("waiting")
    assert plain.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("one two", 8, "one two"),
        ("one two", 7, "one"),
        ("one two three", 9, "one two"),
        ("onetwothree", 6, "onetw"),
        ("", 5, ""),
    ],
)
def test_a_line_is_cut_between_words(text: str, width: int, shown: str) -> None:
    assert c.fitting(text, width) == shown


def test_on_a_terminal_the_outcome_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the verdict alone: not in JSON, and not in a table that holds the same word."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Stream(is_terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    progress = listed(TASK._replace(name="checked"))
    c.tell(ended(progress, "checked", "text"), console())
    *table, verdict = stream.getvalue().splitlines()
    assert verdict == "\x1b[1;32mchecked\x1b[0m: text"
    assert "checked" in table[1]
    assert "\x1b" not in "".join(table)
    stream.truncate(0)
    stream.seek(0)
    c.tell(ended(progress, "checked", "text"), console(json=True))
    assert json.loads(stream.getvalue())["outcome"] == "checked"


def test_a_line_that_was_lost_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader that is slow has missed one of a table: the verdict goes to standard error, too."""
    progress = listed(TASK, sessions=(c.newest_of("one", session("one")),))
    result = ended(progress, "listed", "text")
    whole, slow = console(), console()
    c.tell(result, whole)
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (6, "")
    slow._write = lambda name, text, _: name != "stdout" or "SESSION" not in text
    print_line = mock.Mock(side_effect=slow.print_line)
    slow.print_line = print_line
    c.tell(result, slow)
    told = [each.args[:2] for each in print_line.mock_calls]
    assert told[:-1] == [("stdout", line) for line in out.splitlines()]
    assert told[-1] == ("stderr", "run-cr-wflow-ds8k: listed: text")


def test_the_result_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    c.tell(ended(before_start(), "verified", "text"), console())
    assert capsys.readouterr() == ("verified: text\n", "")
    c.tell(failed(before_start(), "NotFound", "text"), console())
    out, err = capsys.readouterr()
    words = "not-found: nothing was started; text; --list shows the names"
    assert (out, err) == ("", f"run-cr-wflow-ds8k: {words}\n")
    c.tell(failed(before_start(), "NotFound", "text"), console(quiet=True, json=True))
    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] == "not-found"
    assert err.startswith("run-cr-wflow-ds8k: not-found: ")
