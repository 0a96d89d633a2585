"""CSM's JSON, of any shape, is read into records; texts are made fit to be shown; dates."""

import json
import os
import time
from typing import Any, Iterator, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.program import load

c: Any = load()

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
NOTHING: List[Any] = [None, [], "", {}]
ODD: List[Any] = [None, True, False, [], {}, [1], {"a": 1}, [[]], [{}], [None]]


@pytest.fixture
def reader() -> Any:
    return c.Reader()


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", ""), (5, "5"), (0, "0"), (1.5, "1.5"), (True, "True"), (" a ", " a ")],
)
def test_texts(value: Any, text: str) -> None:
    assert c.text_of(value) == text


@pytest.mark.parametrize("value", [None, [], {}, ["a"], {"a": "b"}])
def test_what_is_no_text(value: Any) -> None:
    assert c.text_of(value) == ""


@pytest.mark.parametrize("value", [True, "true", "True", "TRUE"])
def test_true(value: Any) -> None:
    assert c.is_true(value)


@pytest.mark.parametrize("value", [False, "false", "", "1", 1, None, "yes", [True], "true ", {}])
def test_all_else_is_not_true(value: Any) -> None:
    assert not c.is_true(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5.0),
        ("5", 5.0),
        ("-5", -5.0),
        ("5.25", 5.25),
        (5.25, 5.25),
        ("0", 0.0),
        (NOON, NOON),
        ("1700000000", NOON),
        (1_700_000_000_000, NOON),
        ("1700000000000", NOON),
        ("1700000000123", 1_700_000_000.123),
        ("99999999999", 99_999_999_999.0),
        ("100000000000", 100_000_000.0),
        ("9999999999999", 9_999_999_999.999),
    ],
)
def test_numbers(value: Any, number: float) -> None:
    """As text too; a time in milliseconds is told by its size."""
    assert c.number_of(value) == number


@pytest.mark.parametrize(
    "value",
    [
        *("", "abc", "1e5", "0x1", " 5", "5 ", "5\n", "12345678901234", "1" * 400, "nan", "inf"),
        *("--5", "5.", ".5", "5,0", *ODD),
    ],
)
def test_what_is_no_number(value: Any) -> None:
    assert c.number_of(value) == 0.0


def test_rows() -> None:
    row = {"a": 1}
    assert c.rows_of([row, None, "text", [row], row]) == [row, row]
    assert c.rows_of(row) == [row]
    assert c.rows_of(None) == c.rows_of("text") == c.rows_of([]) == []
    assert c.list_of([1, 2]) == [1, 2]
    assert c.list_of(None) == [None]


# --- Texts as they are shown ----------------------------------------------------------------------


def test_what_would_act_on_a_terminal_is_taken_out() -> None:
    assert c.printable("a\x1b[31mb\r\nc\td\x00e\x85f\u2028g\u202eh") == "a[31mbcdefgh"
    assert c.printable("\u00a0 \u3000\u00e9\u4e2d") == "\u00a0 \u3000\u00e9\u4e2d"
    assert c.printable("\ud800") == ""


def test_a_name_is_shown_with_what_cannot_be_seen() -> None:
    assert c.escaped("a\u00a0b\tc\u200bd\u00e9") == "a\\xa0b\\tc\\u200bd\u00e9"


def test_moments() -> None:
    assert c.show_time(NOON) == "2023-11-14 22:13:20 UTC"
    assert c.show_time(0.0) == c.show_time(-5.0) == "never"
    assert c.show_time(1.0) == "1970-01-01 00:00:01 UTC"


SECRET = "s3c ret/+&\u00e9"
FORMS = (SECRET, "s3c%20ret%2F%2B%26%C3%A9", "s3c+ret%2F%2B%26%C3%A9")


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_blanked(form: str) -> None:
    """As it is, and in both ways in which a request carries it."""
    reader = c.Reader(c.Secret("other"), c.Secret(SECRET))
    assert reader.clean(f"IWNR0001E no: {form}!") == "IWNR0001E no: ***!"
    assert reader.clean(f"{form} other {form}") == "*** *** ***"
    assert reader.message({"msg": "IWNR0001E", "resultText": form}).text == "IWNR0001E ***"


@pytest.mark.parametrize("secret", ["a\tb", " ab ", "a\x07b\n"])
def test_a_secret_is_blanked_as_it_would_be_shown(secret: str) -> None:
    """Control characters were taken out of the text already."""
    shown = c.Reader(c.Secret(secret)).clean(f"x{secret}y")
    assert "ab" not in shown
    assert "a" not in shown.replace("***", "")


def test_a_secret_that_cannot_be_shown_at_all() -> None:
    assert set(c.forms_of(" ")) == {" ", "%20", "+"}


@pytest.mark.parametrize("shown", ["a&amp;4&quot;&lt;3/", 'a&amp;4"&lt;3/', "a%264%22%3c3%2f"])
def test_a_secret_as_a_page_of_html_has_it(shown: str) -> None:
    assert c.Reader(c.Secret('a&4"<3/')).clean(f"wrong: {shown}.") == "wrong: ***."


def test_the_id_of_a_message_is_kept_whatever_is_secret() -> None:
    reader = c.Reader(c.Secret("IWNR"), c.Secret("1"))
    assert reader.clean("IWNR2211I IWNR 1") == "IWNR2211I *** ***"
    assert reader.clean("IWNR02211I IWNR") == "IWNR02211I ***"


@pytest.mark.parametrize("secret", ["IWNR0001E", "IWNR0001E-pass", "x IWNR0001E"])
def test_an_id_that_is_the_secret_is_not_kept(secret: str) -> None:
    """Nor one with which it begins, or that is in it."""
    assert c.Reader(c.Secret(secret)).clean(f"{secret} done") == "*** done"
    assert c.Reader(c.Secret("another one")).clean(f"{secret} done") == f"{secret} done"


@pytest.mark.parametrize("text", ["IWNR0001E:s3cret", "IWNR0001E(s3cret)", "IWNR0001E,s3cret x"])
def test_no_more_than_the_id_is_kept(text: str) -> None:
    assert "s3cret" not in c.Reader(c.Secret("s3cret")).clean(text)


def test_texts_are_cut_and_stripped(reader: Any) -> None:
    assert reader.clean("  a \n") == "a"
    assert reader.clean("b" * 500) == "b" * 400
    assert reader.clean("IWNR0001E " + "b" * 500) == "IWNR0001E " + "b" * 390
    for odd in ODD[3:]:
        assert reader.clean(odd) == ""
    assert reader.clean(8) == "8"


def test_a_later_secret_is_blanked_too(reader: Any) -> None:
    reader.blank(c.Secret("token"))
    assert reader.clean("a token") == "a ***"


def test_a_secret_shows_as_stars() -> None:
    secret = c.Secret("s3cret")
    shown = [str(secret), repr(secret), f"{secret}", repr([secret]), f"{(secret,)}"]
    assert not [each for each in shown if "s3cret" in each]
    assert secret.reveal() == "s3cret"


# --- Messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "seconds", "text"),
    [
        ({"msg": "IWNR2211I", "resultText": "text"}, 0.0, "IWNR2211I text"),
        ({"msg": "IWNR2211I", "resultText": "IWNR2211I text"}, 0.0, "IWNR2211I text"),
        ({"msg": "IWNR2211I"}, 0.0, "IWNR2211I"),
        ({"resultText": "IWNR0001E text"}, 0.0, "IWNR0001E text"),
        ({"msgTranslated": "a", "resultText": "b"}, 0.0, "a"),
        ({"msgTranslated": "", "resultText": "b"}, 0.0, "b"),
        ({"msgTranslated": "a", "msg": "IWNR2212I", "baseDate": NOON}, NOON, "IWNR2212I a"),
        ({"msg": "IWNR2212I", "baseDate": "1700000000000"}, NOON, "IWNR2212I"),
        ({"msg": "IWNR2212I", "baseDate": "yesterday"}, 0.0, "IWNR2212I"),
        ({"msg": " IWNR2212I\n", "resultText": "\ta"}, 0.0, "IWNR2212I a"),
        ({"msg": 5, "resultText": 6}, 0.0, "5 6"),
        ("IWNR2212I text", 0.0, "IWNR2212I text"),
        ("", 0.0, ""),
        (None, 0.0, ""),
        ([], 0.0, ""),
        ({}, 0.0, ""),
        ({"msg": ["IWNR2212I"], "resultText": {"a": 1}}, 0.0, ""),
    ],
)
def test_messages(reader: Any, data: Any, seconds: float, text: str) -> None:
    assert reader.message(data) == c.Message(seconds, text)


@pytest.mark.parametrize(
    ("text", "plain", "shown"),
    [
        ("IWNR26I", "IWNR26I", "IWNR26I"),
        ("IWNR026I text", "IWNR26I", "IWNR026I"),
        ("IWNR2211I [Jan 1] text", "IWNR2211I", "IWNR2211I"),
        ("IWNR02211I", "IWNR2211I", "IWNR02211I"),
        ("IWNR002211E.", "IWNR2211E", "IWNR002211E"),
        ("IWNR123456S", "IWNR123456S", "IWNR123456S"),
        ("ABC12W", "ABC12W", "ABC12W"),
        ("ABCDE12W", "ABCDE12W", "ABCDE12W"),
        ("IWNR00X", "IWNR0X", "IWNR00X"),
        ("IWNR2I", "", ""),
        ("IWNR1234567I", "", ""),
        ("AB12W", "", ""),
        ("ABCDEF12W", "", ""),
        ("iwnr2211i", "", ""),
        ("IWNR2211", "", ""),
        ("IWNR2211II", "", ""),
        ("IWNR2211I5", "", ""),
        (" IWNR2211I", "", ""),
        ("see IWNR2211I", "", ""),
        ("", "", ""),
    ],
)
def test_ids(text: str, plain: str, shown: str) -> None:
    """Of two to six digits; zeros in front do not count, and are shown as they came."""
    message = c.Message(0.0, text)
    assert (message.id, message.shown_id) == (plain, shown)
    assert message.severity == plain[-1:]
    assert message.is_error is (plain[-1:] not in ("", "I", "W"))


def test_the_same_message_has_the_same_key() -> None:
    """Its text may be filled in later, its time may not; without a time there is the text alone."""
    assert c.Message(5.0, "IWNR2212I done").key == (5.0, "IWNR2212I")
    assert c.Message(5.0, "no id").key == (5.0, "no id")
    assert c.Message(0.0, "IWNR2212I done").key == (0.0, "IWNR2212I done")


@pytest.mark.parametrize(
    ("seconds", "text", "is_timeless"),
    [
        (0.0, "IWNR2212I", True),
        (5.0, "IWNR2212I", False),
        (0.0, "IWNR2212I done", True),
        (0.0, "IWNR2212I [Jan 5, 2022 1:05:07 PM] done", False),
        (0.0, "done", False),
        (0.0, "", False),
    ],
)
def test_a_message_that_tells_no_time(seconds: float, text: str, is_timeless: bool) -> None:
    assert c.Message(seconds, text).is_timeless is is_timeless


def test_what_a_record_is_without_more() -> None:
    assert c.Message(0.0, "") == c.NO_MESSAGE
    task = c.Task(1, "t", True, False, False, 0.0, ())
    assert (task.sessions, task.steps, task.touched, task.next_task) == ((), (), (), 0)
    assert c.Session("s", "", "", "", False, "", ()).is_odd is False


# --- Tasks ----------------------------------------------------------------------------------------

TASK = {
    "id": "12",
    "name": "backup",
    "enabled": "true",
    "running": False,
    "pendingApproval": False,
    "lastRan": 1_700_000_000_000,
    "lastmessage": {"msg": "IWNR2212I", "resultText": "done", "baseDate": "1700000000000"},
    "affectedSession": ["one", "two"],
    "actions": [
        {"sessionName": "one", "command": "Suspend"},
        {"sessionName": "one", "state": "Suspended"},
        {"sessionName": "two", "command": "Backup"},
    ],
    "runtaskonsuccess": "0",
}


def task_with(**changes: Any) -> Any:
    return c.Reader().task({**TASK, **changes})


def test_a_task() -> None:
    assert task_with() == c.Task(
        id=12,
        name="backup",
        enabled=True,
        running=False,
        pending_approval=False,
        last_ran=NOON,
        messages=(c.Message(NOON, "IWNR2212I done"),),
        sessions=("two",),
        steps=("one: Suspend", "one: wait for Suspended", "two: Backup"),
        next_task=0,
        touched=("one", "two"),
    )


@pytest.mark.parametrize("number", [1, "1", 99_999_999, "99999999"])
def test_ids_of_tasks(number: Any) -> None:
    assert task_with(id=number).id == int(number)


@pytest.mark.parametrize("number", [0, "0", -1, 100_000_000, "abc", "", "1 2", "1" * 400, *ODD[:1]])
def test_a_task_without_an_id_is_odd(number: Any) -> None:
    with pytest.raises(c.OddReply):
        task_with(id=number)


def test_the_last_message_alone_or_all() -> None:
    """From 6.3.2 on there is one; before, a list, the oldest first."""
    several = [{"msg": "IWNR2211I", "baseDate": 5}, {"msg": "IWNR2212I", "baseDate": 6}]
    assert task_with(messages=several).last_message.text == "IWNR2212I done"
    old = task_with(lastmessage=None, messages=several)
    assert old.messages == (c.Message(5.0, "IWNR2211I"), c.Message(6.0, "IWNR2212I"))
    assert old.last_message == c.Message(6.0, "IWNR2212I")
    assert task_with(lastmessage="IWNR2212I").messages == (c.Message(0.0, "IWNR2212I"),)
    for nothing in NOTHING:
        none = task_with(lastmessage=nothing, messages=nothing)
        assert none.messages == ()
        assert none.last_message == c.NO_MESSAGE


def test_a_mute_task_tells_nothing_of_its_runs() -> None:
    assert task_with(lastRan=0, lastmessage=None).is_mute
    assert not task_with(lastRan=0).is_mute
    assert not task_with(lastmessage=None).is_mute


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "enabled"),
        ({"enabled": False}, "disabled"),
        ({"running": "true"}, "running"),
        ({"running": True, "enabled": False}, "running"),
        ({"running": True, "pendingApproval": "true"}, "approval"),
    ],
)
def test_the_state_of_a_task(changes: Any, state: str) -> None:
    assert task_with(**changes).state == state


@pytest.mark.parametrize(
    ("command", "is_backup"),
    [
        ("Backup", True),
        ("backup", True),
        (" BACKUP H1->B1", True),
        ("Start Backup", False),
        ("Backups", False),
        ("", False),
        (None, False),
    ],
)
def test_which_step_is_a_backup(command: Any, is_backup: bool) -> None:
    assert c.is_backup(command) is is_backup
    task = task_with(actions=[{"sessionName": "one", "command": command}])
    if command:
        assert task.sessions == (("one",) if is_backup else ())


@pytest.mark.parametrize(
    "odd",
    [
        {"command": "Backup"},
        {"sessionName": None, "command": "Backup"},
        {"sessionName": "three", "command": None},
        {"sessionName": "three", "command": {"name": "Backup"}},
        {"sessionName": "three"},
        "Backup three",
        None,
    ],
    ids=str,
)
def test_a_step_that_cannot_be_read_hides_no_backup(odd: Any) -> None:
    """No session may be left out of the proof: all count that the task touches."""
    task = task_with(actions=[{"sessionName": "one", "command": "Backup"}, odd])
    assert set(task.sessions) == {"one", "two"} | (
        {"three"} if isinstance(odd, dict) and odd.get("sessionName") else set()
    )
    assert task.steps == ()


def test_steps_that_need_no_session() -> None:
    """Whatever they do, it is no backup."""
    task = task_with(actions=[{"sessionName": "one", "command": "Backup"}, {"command": "Pause"}])
    assert task.sessions == ("one",)
    assert task.steps == ("one: Backup", ": Pause")


def ids_of(entries: List[Any]) -> List[str]:
    return [each.id for each in task_with(lastmessage=None, messages=entries).messages]


def test_messages_are_kept_with_the_oldest_first() -> None:
    """Whatever the order in which they are listed; where a time is not told, as they come."""
    ids = ["IWNR1001I", "IWNR1002I", "IWNR1003I"]
    entries = [{"baseDate": NOON + at, "msg": each} for at, each in enumerate(ids)]
    assert ids_of(entries) == ids
    assert ids_of(entries[::-1]) == ids
    untimed = {"msg": "IWNR1009I"}
    assert ids_of([entries[2], untimed]) == ["IWNR1003I", "IWNR1009I"]
    assert ids_of([untimed, entries[2], entries[0]]) == ["IWNR1001I", "IWNR1003I", "IWNR1009I"]


def test_messages_of_the_same_time_stay_in_their_order() -> None:
    names = ["IWNR1001I", "IWNR1002I", "IWNR1003I"]
    entries = [{"baseDate": NOON + at, "msg": each} for at, each in zip((0, 1, 1), names)]
    assert ids_of(entries) == ids_of(entries[::-1]) == names


def test_a_task_without_steps_shows_the_sessions_that_it_touches() -> None:
    assert task_with(actions=[]).sessions == ("one", "two")
    assert task_with(actions=None, affectedSession="one").sessions == ("one",)
    for nothing in NOTHING[:3]:
        assert task_with(actions=[], affectedSession=nothing).sessions == ()


def test_which_sessions_a_task_touches() -> None:
    """All that stand in its steps, or beside them, each once."""
    assert task_with().touched == ("one", "two")
    assert task_with(affectedSession=["two", "three", ""]).touched == ("one", "two", "three")
    assert task_with(affectedSession=None).touched == ("one", "two")
    assert task_with(actions=None).touched == ("one", "two")
    assert task_with(actions=None, affectedSession="one").touched == ("one",)
    assert task_with(actions=None, affectedSession=None).touched == ()


def test_a_chain() -> None:
    assert task_with(runtaskonsuccess="14").next_task == 14
    assert task_with(runtaskonsuccess="none").next_task == 0
    assert task_with(runtaskonsuccess=None).next_task == 0


@pytest.mark.parametrize("key", sorted(set(TASK) - {"id"}))
@pytest.mark.parametrize("value", [*ODD, "text", 5], ids=repr)
def test_a_task_of_any_shape_is_read(key: str, value: Any) -> None:
    """Each value in turn is of another kind than CSM is known to send."""
    task = task_with(**{key: value})
    assert task.id == 12
    assert isinstance(task.name, str)
    assert isinstance(task.last_ran, float)
    assert all(isinstance(each.text, str) for each in task.messages)
    assert all(isinstance(each, str) for each in task.sessions + task.steps)


# --- Lists of things with names -------------------------------------------------------------------


def test_lists(reader: Any) -> None:
    rows = [{"name": "one"}, {"name": 5}, {"id": 1}, None, "two", {"name": "three"}]
    assert reader.named(rows) == [{"name": "one"}, {"name": "three"}]
    assert reader.named([]) == []
    assert reader.named({"name": "alone"}) == [{"name": "alone"}]


@pytest.mark.parametrize("data", [None, {}, "text", 5, [None], [{}], [[]], {"name": None}])
def test_what_is_no_list(reader: Any, data: Any) -> None:
    with pytest.raises(c.OddReply):
        reader.named(data)


# --- Sessions and backups -------------------------------------------------------------------------

BACKUP = {
    "backupID": "1700000000",
    "backupTime": "2023-11-14 23:13:20 CET",
    "numCopySets": "8",
    "valid": "true",
}


def session_of(rows: Any, **changes: Any) -> Any:
    data = {
        "name": "one",
        "status": "Normal",
        "state": "Protected",
        "rulesname": "Safeguarded Copy",
        "numcopysets": 8,
        "haserror": "false",
        "backupInfo": [{"backupSequence": "H1-B1", "BackupResults": rows}],
        **changes,
    }
    return c.Reader().session(data, "one")


def test_a_session() -> None:
    assert session_of([BACKUP]) == c.Session(
        name="one",
        status="Normal",
        state="Protected",
        kind="Safeguarded Copy",
        in_error=False,
        copy_sets="8",
        backups=(c.Backup("1700000000", BACKUP["backupTime"], True, "8", NOON, "H1-B1"),),
        is_odd=False,
    )


@pytest.mark.parametrize("data", [None, [], "one", {}, {"name": "two"}, {"name": ["one"]}])
def test_another_session_is_odd(reader: Any, data: Any) -> None:
    with pytest.raises(c.OddReply):
        reader.session(data, "one")


@pytest.mark.parametrize(
    ("changes", "in_error"),
    [
        ({}, False),
        ({"status": "Severe"}, True),
        ({"status": "severe"}, True),
        ({"status": "Warning"}, False),
        ({"haserror": True}, True),
        ({"haserror": "true"}, True),
        ({"haserror": None, "status": None}, False),
    ],
)
def test_a_session_in_error(changes: Any, in_error: bool) -> None:
    assert session_of([], **changes).in_error is in_error


@pytest.mark.parametrize(
    ("kind", "is_safeguarded"),
    [
        ("Safeguarded Copy", True),
        ("Practice SAFEGUARDED COPY 2", True),
        ("", True),
        (None, True),
        ("Metro Mirror", False),
    ],
)
def test_a_safeguarded_session(kind: Any, is_safeguarded: bool) -> None:
    assert session_of([], rulesname=kind).is_safeguarded is is_safeguarded


def test_a_session_that_hides_its_backups() -> None:
    assert session_of([]).hides_backups
    assert not session_of([BACKUP]).hides_backups
    assert not session_of([], state="Defined").hides_backups


@pytest.mark.parametrize(
    "key", ["BackupResults", "backupResults", "backupresults", "BACKUPRESULTS"]
)
def test_the_key_of_the_list_in_any_case(key: str) -> None:
    view = session_of([], backupInfo=[{key: [BACKUP], "backupSequence": "H1-B1"}])
    assert [each.id for each in view.backups] == ["1700000000"]


def test_several_sequences() -> None:
    """A backup belongs to its own: each has a clock of its own."""
    second = {**BACKUP, "backupID": "1700000060"}
    info = [
        {"backupSequence": "H1-B1", "BackupResults": [BACKUP]},
        {"backupSequence": "H2-B2", "BackupResults": [second, BACKUP]},
        {"BackupResults": second},
        {"backupSequence": "H4-B4"},
    ]
    found = [(each.id, each.sequence) for each in session_of([], backupInfo=info).backups]
    assert found == [
        ("1700000000", "H1-B1"),
        ("1700000060", "H2-B2"),
        ("1700000000", "H2-B2"),
        ("1700000060", ""),
    ]


def test_a_list_may_be_an_object() -> None:
    view = session_of([], backupInfo={"backupSequence": "H1-B1", "BackupResults": BACKUP})
    assert [each.id for each in view.backups] == ["1700000000"]
    assert not view.is_odd


@pytest.mark.parametrize("info", [None, [], {}, "text", 5, [None], [{}], [[]]], ids=repr)
def test_no_list_of_backups(info: Any) -> None:
    view = session_of([], backupInfo=info)
    assert view.backups == ()
    assert not view.is_odd


@pytest.mark.parametrize("entry", [None, "text", 5, [], {}, {"valid": True}, {"backupID": "x"}])
def test_an_odd_entry_hides_no_other(entry: Any) -> None:
    """It may be a backup: the session is marked."""
    view = session_of([BACKUP, entry])
    assert view.is_odd
    assert "1700000000" in [each.id for each in view.backups]
    assert not session_of([BACKUP]).is_odd


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_sequence_without_backups_hides_none(nothing: Any) -> None:
    good = {"BackupResults": [BACKUP]}
    assert not session_of([], backupInfo=[{"BackupResults": nothing}, good]).is_odd


def test_a_secret_in_the_id_of_a_backup() -> None:
    """A number has nothing to hide: it is compared, and told for people to find it."""
    reader = c.Reader(c.Secret("s3cret"), c.Secret("17"))
    ids = [reader.backup({"backupID": each}, "").id for each in ("s3cret-1", "1700000000")]
    assert ids == ["***-1", "1700000000"]


def test_an_odd_entry_of_any_sequence() -> None:
    good = {"BackupResults": [BACKUP]}
    assert session_of([], backupInfo=[{"backupresults": [None]}, good]).is_odd
    assert session_of([], backupInfo=[good, {"backupresults": [None]}]).is_odd
    assert not session_of([], backupInfo=[good, {"other": [None]}]).is_odd


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backupID": 1_700_000_000}, {"id": "1700000000", "seconds": NOON}),
        ({"backupID": "1700000000000"}, {"id": "1700000000000", "seconds": NOON}),
        ({"backupID": "7", "timestamp": "1700000000"}, {"id": "7", "seconds": NOON}),
        ({"backupID": "999999999", "timestamp": 5}, {"id": "999999999", "seconds": 5.0}),
        ({"backupID": "1000000000", "timestamp": 5}, {"seconds": 1e9}),
        ({"backupID": None, "timestamp": 1_700_000_000_000}, {"id": "1700000000", "seconds": NOON}),
        ({"backupID": "abc"}, {"id": "abc", "seconds": 0.0}),
        ({"backupID": None}, {"id": "0", "seconds": 0.0}),
        ({"backupTime": None}, {"time": "2023-11-14 22:13:20 UTC"}),
        ({"backupTime": ""}, {"time": "2023-11-14 22:13:20 UTC"}),
        ({"backupTime": None, "backupID": "x"}, {"time": "never"}),
        ({"valid": True}, {"valid": True}),
        ({"valid": "false"}, {"valid": False}),
        ({"valid": None}, {"valid": False}),
        ({"numCopySets": 8}, {"copy_sets": "8"}),
        ({"numCopySets": None}, {"copy_sets": "?"}),
    ],
)
def test_backups(reader: Any, changes: Any, expected: Any) -> None:
    found = reader.backup({**BACKUP, **changes}, "H1-B1")._asdict()
    assert {key: found[key] for key in expected} == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*TASK, *BACKUP, "backupInfo", "BackupResults", "status", "a"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)


@settings(max_examples=100, deadline=None)
@given(values)
def test_any_json_is_read_or_odd(value: Any) -> None:
    """No reply makes the reader fail otherwise."""
    reader = c.Reader(c.Secret("s3cret"))
    data = c.json_of(json.dumps(value).encode())
    assert isinstance(reader.message(data).text, str)
    if not isinstance(data, dict):
        return
    assert reader.session({**data, "name": "one"}, "one").name == "one"
    assert reader.task({**data, "id": "1"}).id == 1


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": "1"}),
        (b'\xef\xbb\xbf{"a": 1.5}', {"a": 1.5}),
        (b"[]", []),
        (b"null", None),
        (b"", None),
        (b"<html>", None),
        (b'{"a": ', None),
        (b'"\xff"', "\ufffd"),
        (b"[" * 100_000, None),
        (b"1" * 10_000, "1" * 10_000),
    ],
)
def test_json(body: bytes, value: Any) -> None:
    assert c.json_of(body) == value


# --- Dates ----------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo"])
def _zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The local zone does not count."""
    before: Optional[str] = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


DATES = (
    ("Tue, 14 Nov 2023 22:13:20 GMT", NOON),
    ("Tue, 14 Nov 2023 22:13:20 UTC", NOON),
    ("Tue, 14 Nov 2023 22:13:20 +0000", NOON),
    ("Tue, 14 Nov 2023 22:13:20 -0000", NOON),
    ("Tue, 14 Nov 2023 23:13:20 +0100", NOON),
    ("Tue, 14 Nov 2023 17:13:20 EST", NOON),
    ("Tue, 14 Nov 2023 22:13:20", NOON),
    ("14 Nov 2023 22:13:20 GMT", NOON),
    ("Tuesday, 14-Nov-23 22:13:20 GMT", NOON),
    ("Tue Nov 14 22:13:20 2023", NOON),
)
NO_DATES: List[Any] = [
    "",
    None,
    "yesterday",
    "Tue, 99 Foo 2023 99:99:99 GMT",
    "\u00e9",
    "0",
    ",",
    ":",
    "Tue, 14 Nov 99999999999999999 22:13:20 GMT",
]


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize(("header", "seconds"), DATES)
def test_dates(header: str, seconds: float) -> None:
    """Without a zone it is UTC."""
    assert c.date_of(header) == seconds


@pytest.mark.parametrize("header", NO_DATES)
def test_what_is_no_date(header: Any) -> None:
    assert c.date_of(header) == 0.0


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | st.sampled_from(DATES).map(lambda each: each[0][:-3]))
def test_any_header_is_a_date_or_none(header: str) -> None:
    assert isinstance(c.date_of(header), float)
