"""What a call makes of CSM before a trigger, and without one: the target is found and noted,
--list, --check, --min-interval and its lock. The answers are made up."""

import json
import sys
import types
from typing import Any, Callable, Dict, List, Set, Tuple, Union
from unittest import mock

import pytest
import requests

from support.clock import StandingClock
from support.program import load

c: Any = load()

NOON = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
TOKENS, ROLE, TASKS, SHORT = c.TOKENS, c.ROLE, c.TASKS, c.SHORT_LIST
ONE, TWO = "/sessions/one", "/sessions/two"
SAFEGUARDED, OTHER = "Safeguarded Copy", "Global Mirror"

Rule = Union[Any, Callable[[int], Any]]  # an answer, or one for each time that it is asked for


def task(number: int = 12, name: str = "backup", *sessions: str, **more: Any) -> Dict[str, Any]:
    steps = [{"command": "Backup", "sessionName": each} for each in sessions or ("one",)]
    return {"id": number, "name": name, "enabled": True, "actions": steps, **more}


def session(name: str, *ages: float, kind: str = SAFEGUARDED, **more: Any) -> Dict[str, Any]:
    """With a valid backup of each age, in seconds; Protected where there is one."""
    rows = [{"backupID": f"{NOON - age:.0f}", "valid": True, "numCopySets": "8"} for age in ages]
    info = [{"backupSequence": "H1-B1", "BackupResults": rows}]
    state = "Protected" if ages else "Defined"
    shown = {"name": name, "status": "Normal", "state": state, "rulesname": kind}
    return {**shown, "numcopysets": "8", "backupInfo": info, **more}


def listed(**kinds: str) -> List[Dict[str, str]]:
    """The list of all sessions."""
    return [{"name": name, "rulesname": kind} for name, kind in kinds.items()]


BROKEN = 500  # an answer that is of no use
SILENT = 0  # none


class Server:
    """Answers in place of CSM, and the client that gets them."""

    def __init__(
        self,
        rules: Dict[str, Rule],
        mode: str = "RUN",
        servers: Tuple[str, ...] = ("one:1",),
        **config: Any,
    ) -> None:
        self.rules = {TOKENS: {"token": "t0k3n"}, ROLE: {"islocalactive": True}, **rules}
        self.asked: List[str] = []
        self.servers: Set[str] = set()
        self.clock = StandingClock(NOON)
        self.waiter = c.Waiter(self.clock, c.Signals())
        console = c.Console(c.Output(), self.clock)
        self.progress = c.Progress(console, self.waiter, c.Pace())
        given = {"task_name": "backup", **config}
        secret, trust = c.Secret("s3cret"), c.Trust()
        self.config = c.Config(servers, "user", secret, trust, c.Mode[mode], **given)
        self.csm = c.Csm(self.config, self.progress)

    def start(self, server: str, method: str, path: str, *_: Any, **_more: Any) -> Any:
        assert method == "GET" or path == TOKENS, "something was started"
        self.servers.add(server)
        self.asked.append(path)
        found = self.rules.get(path, BROKEN)
        if callable(found):
            found = found(self.asked.count(path))
        status = found if isinstance(found, int) else 200
        answer = types.SimpleNamespace(
            status_code=status,
            content=json.dumps({} if status == BROKEN else found).encode(),
            headers={"Date": DATE},
            elapsed=0,
        )
        error = requests.ConnectionError("broken")
        call = c.Call(mock.Mock(side_effect=[error if status == SILENT else answer]))
        call.run()
        return call

    @property
    def looks(self) -> List[str]:
        return [each for each in self.asked if each not in (TOKENS, ROLE)]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def start(rules: Dict[str, Rule], **config: Any) -> Server:
        server = Server(rules, **config)
        monkeypatch.setattr(c, "Line", lambda *_: server)
        return server

    return start


Serve = Callable[..., Server]


# --- The target is found --------------------------------------------------------------------------


def test_a_task_and_its_session_are_noted(serve: Serve) -> None:
    server = serve({TASKS: [task(), task(13, "other")], ONE: session("one", 3600)})
    target = c.find_target(server.csm)
    assert target.name == 'task "backup" (id 12)'
    assert target.session_names == ("one",)
    assert (target.id_read_with, target.remarks, target.is_chained) == (("one:1", 1), (), False)
    note = target.note
    assert (note.server, note.task.id, note.earliest, note.latest) == ("one:1", 12, NOON, NOON)
    assert [each.id for each in note.sessions[0].backups] == [f"{NOON - 3600:.0f}"]
    assert server.looks == [TASKS, ONE]


def test_a_name_that_two_tasks_have(serve: Serve) -> None:
    server = serve({TASKS: [task(13), task(12)]})
    with pytest.raises(c.NotFound) as caught:
        c.find_target(server.csm)
    assert str(caught.value) == 'task "backup" is there 2 times, with the ids [12, 13]'
    same = serve({TASKS: [task(), task()], ONE: session("one")})
    assert c.find_target(same.csm).note.task.id == 12


def test_a_name_that_is_not_there_is_looked_for_a_second_time(serve: Serve) -> None:
    server = serve({TASKS: [task(13, "other")], SHORT: listed(two=OTHER)})
    with pytest.raises(c.NotFound):
        c.find_target(server.csm)
    assert server.looks[:2] == [TASKS, TASKS]
    assert server.looks.count(TASKS) == 2


def test_a_task_that_is_there_the_second_time(serve: Serve) -> None:
    server = serve({TASKS: lambda n: [task()] if n > 1 else [task(13, "x")], ONE: session("one")})
    assert c.find_target(server.csm).name == 'task "backup" (id 12)'
    assert round(server.clock.passed, 3) == 1.0


def test_an_empty_list_of_tasks_is_not_believed_for_30_s(serve: Serve) -> None:
    """CSM is starting, or this user sees none."""
    server = serve({TASKS: lambda n: [task()] if n > 20 else [], ONE: session("one")})
    assert c.find_target(server.csm).name == 'task "backup" (id 12)'
    server = serve({TASKS: [], "/sessions/backup": session("backup")})
    target = c.find_target(server.csm)
    assert target.name == 'session "backup"'
    assert round(server.clock.passed) == 30
    server = serve({TASKS: [], "/sessions/backup": session("backup")}, timeout=10.0)
    c.find_target(server.csm)
    assert 9.0 <= round(server.clock.passed, 3) <= 10.0


def test_a_session_is_the_target_where_no_task_has_the_name(serve: Serve) -> None:
    rules = {TASKS: [task(13, "other")], "/sessions/backup": session("backup")}
    target = c.find_target(serve(rules).csm)
    assert (target.name, target.session_names) == ('session "backup"', ("backup",))
    assert target.note.task is None
    words = 'no task is named "backup": Backup goes straight to the session'
    assert target.remarks == (words,)
    alone = serve({ONE: session("one")}, task_name="", session_name="one")
    assert c.find_target(alone.csm).remarks == ()
    assert alone.looks == [ONE]


def missing(server: Server) -> str:
    with pytest.raises(c.NotFound) as caught:
        c.find_target(server.csm)
    return str(caught.value)


def test_what_is_missing(serve: Serve) -> None:
    """With the closest names, of tasks and of sessions."""
    tasks = [task(13, "backups"), task(14, "other")]
    server = serve({TASKS: tasks, SHORT: listed(Backup1=SAFEGUARDED, two=SAFEGUARDED)})
    words = 'one:1 shows no task or session "backup"; the closest: "backups", "Backup1"'
    assert missing(server) == words
    server = serve({TASKS: tasks}, session_name="one")
    assert missing(server) == 'one:1 shows no task "backup"; the closest: "backups"'
    server = serve({SHORT: listed(two=SAFEGUARDED)}, task_name="", session_name="xyz")
    assert missing(server) == 'one:1 shows no session "xyz"'


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_session_of_another_type_is_no_target(is_listed: bool, serve: Serve) -> None:
    """Its own page tells so; where that cannot be read, the list of all."""
    rules = {SHORT: listed(two=SAFEGUARDED, one=OTHER)} if is_listed else {}
    own = {} if is_listed else {ONE: session("one", kind=OTHER)}
    server = serve({**rules, **own}, task_name="", session_name="one")
    words = 'nothing would be backed up: session "one" is of the type Global Mirror'
    assert missing(server) == words


def test_what_the_list_of_all_sessions_need_not_tell(serve: Serve) -> None:
    """Where it cannot be read, is empty, or tells no type, the session's own page decides."""
    for rule in (BROKEN, [], listed(one=""), listed(one=SAFEGUARDED, two=OTHER)):
        late = session("one", 60)
        rules = {SHORT: rule, ONE: lambda n, late=late: late if n > 2 else BROKEN}
        server = serve(rules, task_name="", session_name="one")
        assert c.find_target(server.csm).note.sessions[0].name == "one"
        assert server.looks[:3] == [ONE, ONE, SHORT]


# --- It is noted ----------------------------------------------------------------------------------


def test_only_safeguarded_sessions_must_show_a_backup(serve: Serve) -> None:
    two = task(12, "backup", "one", "two", "one")
    server = serve({TASKS: [two], ONE: session("one", kind=OTHER), TWO: session("two")})
    target = c.find_target(server.csm)
    assert target.session_names == ("two",)
    assert [each.name for each in target.note.sessions] == ["two"]
    assert server.looks == [TASKS, ONE, TWO]


def test_a_task_that_would_back_up_nothing(serve: Serve) -> None:
    """Why, and in which task it goes on."""
    chain, end = task(runtaskonsuccess=14), task(14, "the end")
    server = serve({TASKS: [chain, end], ONE: session("one", kind=OTHER)})
    kind = 'session "one" is of the type Global Mirror'
    hint = '; it goes on in task "the end": name that one, or -S'
    assert missing(server) == f"nothing would be backed up: {kind}{hint}"
    server = serve({TASKS: [task()], ONE: session("one", kind=OTHER)})
    assert missing(server) == f"nothing would be backed up: {kind}"
    flash = task(actions=[{"command": "Flash", "sessionName": "one"}])
    server = serve({TASKS: [flash]})
    assert missing(server) == 'nothing would be backed up: no step of task "backup"'
    mute = serve({TASKS: [task(actions=[])]})
    assert c.find_target(mute.csm).session_names == ()


def test_remarks_on_a_task(serve: Serve) -> None:
    chain = task(runtaskonsuccess=14, pendingApproval=True)
    rules = {ONE: session("one")}
    approval = "the task waits for approval"
    target = c.find_target(serve({TASKS: [chain, task(14, "the end")], **rules}).csm)
    assert target.remarks == (approval, 'it goes on in task "the end", which is not watched')
    target = c.find_target(serve({TASKS: [chain], **rules}).csm)
    assert target.remarks == (
        approval,
        "it goes on in the task with the id 14, which is not watched",
    )


@pytest.mark.parametrize(
    ("given", "next_task", "is_chained"), [("", 14, False), ("one", 14, True), ("one", 0, False)]
)
def test_a_chain_counts_where_the_session_is_named(
    given: str, next_task: int, is_chained: bool, serve: Serve
) -> None:
    rules = {TASKS: [task(runtaskonsuccess=next_task)], ONE: session("one")}
    server = serve(rules, session_name=given)
    assert c.find_target(server.csm).is_chained is is_chained


def test_a_session_that_cannot_be_noted(serve: Serve) -> None:
    """Noting gets one request timeout in all: the trigger is not held up for longer."""
    server = serve({TASKS: [task(12, "backup", "one", "two")], TWO: session("two", 60)})
    target = c.find_target(server.csm)
    assert target.session_names == ("one", "two")
    assert [each and each.name for each in target.note.sessions] == [None, "two"]
    assert 29.0 <= round(server.clock.passed, 3) <= 30.0
    (told,) = server.progress.notes_missing
    words = 'session "one" could not be noted: one:1: GET /sessions/one answered 500'
    assert told.startswith(words)


def test_a_session_that_takes_all_the_time(serve: Serve) -> None:
    def slow(_: int) -> Any:
        server.clock.sleep(30.0)
        return session("one")

    server = serve({TASKS: [task(12, "backup", "one", "two")], ONE: slow, TWO: session("two")})
    views = c.find_target(server.csm).note.sessions
    assert [each and each.name for each in views] == ["one", None]
    words = 'session "two" could not be noted: no time was left'
    assert server.progress.notes_missing == (words,)
    assert TWO not in server.looks


@pytest.mark.parametrize("fault", [BROKEN, SILENT])
def test_all_is_noted_on_one_server_of_a_pair(fault: int, serve: Serve) -> None:
    """Ids belong to it. One that does not answer is waited for more shortly: the trigger may find
    the other one."""
    rules = {TASKS: lambda n: [task()] if n == 1 else fault, ONE: fault}
    server = serve(rules, servers=("one:1", "two:2"), session_name="one")
    assert c.find_target(server.csm).note.sessions == (None,)
    assert server.servers == {"one:1"}
    assert server.looks.count(SHORT) == 2
    passed = round(server.clock.passed, 3)
    assert 29.0 <= passed <= 30.0 if fault == BROKEN else 5.0 <= passed <= 15.0


def test_noting_gets_half_of_the_time_that_is_left(serve: Serve) -> None:
    server = serve({TASKS: [task()]}, timeout=20.0)
    assert c.find_target(server.csm).note.sessions == (None,)
    assert 8.0 <= round(server.clock.passed) <= 10.0


def test_after_a_long_noting_the_task_is_read_again(serve: Serve) -> None:
    """What started in between shows as running."""
    rules = {
        TASKS: lambda n: [task(running=n > 1), task(13, "backup2")],
        ONE: lambda n: session("one") if n > 3 else BROKEN,
    }
    server = serve(rules)
    note = c.find_target(server.csm).note
    assert note.task.running
    assert server.looks.count(TASKS) == 2
    rules[TASKS] = lambda n: [task()] if n == 1 else BROKEN
    server = serve(rules)
    note = c.find_target(server.csm).note
    assert (note.task.id, note.task.running) == (12, False)
    assert server.looks.count(TASKS) == 3, "it was asked for twice more"
    rules[TASKS] = lambda n: [task()] if n == 1 else [task(15, running=True)]
    assert c.find_target(serve(rules).csm).note.task.id == 12


def test_a_session_that_hides_its_backups_is_looked_at_once_more(serve: Serve) -> None:
    """Protected means that there are backups."""
    rules = {TASKS: [task()], ONE: lambda n: session("one", *[60] * (n > 1), state="Protected")}
    server = serve(rules)
    assert len(c.find_target(server.csm).note.sessions[0].backups) == 1
    assert server.looks.count(ONE) == 2
    assert round(server.clock.passed, 3) == 1.0
    server = serve({TASKS: [task()], ONE: session("one")})
    c.find_target(server.csm)
    assert server.looks.count(ONE) == 1


def test_a_long_list_of_tasks_is_avoided() -> None:
    """One that shows all the messages of all tasks; where it tells one each, it is short."""
    reader = c.Reader()
    many = reader.task(task(messages=[{"msg": "IWNR2211I"}, {"msg": "IWNR2212I"}]))
    assert list(c.paths_of_task(many)) == [f"{TASKS}/12", TASKS]
    assert list(c.paths_of_task(reader.task(task(messages=[{"msg": "IWNR2212I"}])))) == [TASKS]


# --- --list and --check ---------------------------------------------------------------------------


def test_a_session_that_cannot_be_read_hides_no_other(serve: Serve) -> None:
    """It is asked twice."""
    kinds = listed(one=SAFEGUARDED, gm=OTHER, two=SAFEGUARDED.upper())
    tasks = [task(), task(13, "other", "two")]
    server = serve({TASKS: tasks, SHORT: kinds, TWO: session("two", 60)}, mode="LIST")
    ending = c.run_mode(server.csm)
    assert ending == (c.Outcome.LISTED, "tasks and Safeguarded Copy sessions on one:1")
    assert server.looks == [TASKS, SHORT, ONE, ONE, TWO]
    assert [each.id for each in server.progress.tasks] == [12, 13]
    one, two = server.progress.sessions
    assert (one.name, one.session) == ("one", None)
    assert one.trouble.startswith("one:1: GET /sessions/one answered 500")
    assert (two.name, two.backup.seconds) == ("two", NOON - 60)
    assert server.progress.shows_table


def test_a_list_without_tasks(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve({TASKS: [], SHORT: []}, mode="LIST")
    assert c.run_mode(server.csm)[0] is c.Outcome.LISTED
    words = "WARNING no task is listed: CSM is starting, or this user sees none"
    assert words in capsys.readouterr().err


def test_a_check(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """The other sessions that the task touches are shown; a failed run may leave them suspended."""
    steps = [
        {"command": "Suspend", "sessionName": "gm"},
        {"command": "Backup", "sessionName": "one"},
    ]
    rules = {
        TASKS: [task(actions=steps, pendingApproval=True)],
        ONE: session("one", 60),
        "/sessions/gm": session("gm", kind=OTHER),
    }
    server = serve(rules, mode="CHECK")
    ending = c.run_mode(server.csm)
    text = 'ready: task "backup" (id 12) on one:1; nothing was started'
    assert ending == (c.Outcome.CHECKED, text)
    progress = server.progress
    assert [each.name for each in progress.sessions] == ["one"]
    assert [(each.name, each.session.kind) for each in progress.others] == [("gm", OTHER)]
    assert progress.shows_table
    assert "WARNING the task waits for approval" in capsys.readouterr().err


def test_a_check_of_a_session(serve: Serve) -> None:
    server = serve({ONE: session("one")}, mode="CHECK", task_name="", session_name="one")
    assert c.run_mode(server.csm)[1] == 'ready: session "one" on one:1; nothing was started'
    assert server.progress.others == ()


@pytest.mark.parametrize(
    ("age", "interval", "words"),
    [
        (60, 0.0, ""),
        (60, 1800.0, "; --min-interval would skip it"),
        (3600, 1800.0, "; --min-interval would not skip it"),
    ],
)
def test_a_check_tells_of_min_interval(
    age: float, interval: float, words: str, serve: Serve
) -> None:
    rules = {TASKS: [task()], ONE: session("one", age)}
    server = serve(rules, mode="CHECK", min_interval=interval)
    text = f'ready: task "backup" (id 12) on one:1{words}; nothing was started'
    assert c.run_mode(server.csm)[1] == text


def test_what_could_not_be_proven_is_not_ready(serve: Serve) -> None:
    server = serve({TASKS: [task(actions=[])]}, mode="CHECK", timeout=30.0)
    with pytest.raises(c.OutcomeUnknown, match="-S names the session"):
        c.run_mode(server.csm)
    server = serve({TASKS: [task()]}, mode="CHECK", timeout=30.0)
    with pytest.raises(c.OutcomeUnknown, match="a session cannot be noted"):
        c.run_mode(server.csm)


def test_insecure_is_told(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve({TASKS: [], SHORT: []}, mode="LIST")
    server.csm.config = server.config._replace(trust=c.Trust(anything=True))
    c.run_mode(server.csm)
    assert "WARNING --insecure: whoever answers is given" in capsys.readouterr().err


# --- A run that went well -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "outcome", "words"),
    [
        ("STARTED", "ACCEPTED", "after 7 s"),
        ("STARTED", "VERIFIED", "after 7 s, the run's last message is IWNR2213I done"),
        ("JOINED", "ACCEPTED", "a run that was joined, after 7 s"),
        (
            "JOINED",
            "VERIFIED",
            "a run that was joined, after 7 s, the run's last message is IWNR2213I done",
        ),
        (
            "JOINED",
            "SKIPPED",
            "a run that was joined brought nothing, and meanwhile there is a backup",
        ),
    ],
)
def test_what_is_said_of_a_run_that_went_well(
    phase: str, outcome: str, words: str, serve: Serve
) -> None:
    server = serve({TASKS: [task()], ONE: session("one")})
    note = c.find_target(server.csm).note
    run = c.first_state(note, 1800.0)
    seen = run.seen._replace(
        last_look=note._replace(at=100.0, asked_at=100.0),
        last_message=c.Message(NOON, "IWNR2213I done"),
        has_spoken=True,
        has_begun=True,
        ended_at=1.0,
        proofs=(c.Proof.VALID,),
    )
    server.clock.sleep(7.0)
    run = run._replace(phase=c.Phase[phase], seen=seen)
    assert c.text_of_ending(run, c.Outcome[outcome], server.progress) == words


# --- --min-interval -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "is_young"),
    [
        ([60], True),
        ([1799], True),
        ([1800], False),
        ([3600], False),
        ([], False),
        ([3600, 60], True),
        ([-600], True),
        ([-601], False),
        ([-601, 3600], False),
    ],
)
def test_what_is_young(ages: List[float], is_young: bool) -> None:
    """A storage clock may be ten minutes ahead."""
    reader, pace = c.Reader(), c.Pace()
    view = reader.session(session("one", *ages), "one")
    note = c.Snapshot("one:1", None, (view,), NOON, NOON, 0.0, 0.0)
    assert c.is_young(note, 1800.0, pace) is is_young
    young = reader.session(session("two", 60), "two")
    assert c.is_young(note._replace(sessions=(young, view)), 1800.0, pace) is is_young
    assert not c.is_young(note._replace(sessions=(view, None)), 1800.0, pace)
    assert not c.is_young(note._replace(sessions=()), 1800.0, pace)
    assert not c.is_young(note._replace(latest=c.NEVER), 1800.0, pace)
    assert not c.is_young(note, 0.0, pace)
    invalid = tuple(each._replace(valid=False) for each in view.backups)
    view = view._replace(backups=invalid)
    assert not c.is_young(note._replace(sessions=(view,)), 1800.0, pace)


@pytest.mark.parametrize(
    ("age", "interval", "is_told"),
    [(-601, 1800.0, True), (-600, 1800.0, False), (60, 1800.0, False), (-601, 0.0, False)],
)
def test_a_backup_of_the_future(
    age: float, interval: float, is_told: bool, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = {TASKS: [task()], ONE: session("one", age)}
    server = serve(rules, min_interval=interval)
    c.warn_of_future(server.csm, c.find_target(server.csm))
    assert ("of the future" in capsys.readouterr().err) is is_told


def test_a_backup_that_is_young_enough(serve: Serve) -> None:
    """Nothing is started, and the lock is open again."""
    rules = {TASKS: [task()], ONE: session("one", 60)}
    for _ in range(2):
        server = serve(rules, min_interval=1800.0)
        ending = c.run_mode(server.csm)
        words = "nothing was started: there is a backup that is young enough"
        assert ending == (c.Outcome.SKIPPED, words)
        assert server.clock.passed == 0.0


@pytest.mark.parametrize("interval", [0.0, 1800.0])
def test_a_call_with_min_interval_has_the_lock_to_its_end(
    interval: float, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other call needs none."""
    lock = mock.Mock()
    take, run = mock.Mock(return_value=lock), mock.Mock(side_effect=c.Refused("no"))
    monkeypatch.setattr(c, "take_lock", take)
    monkeypatch.setattr(c, "back_up", run)
    with pytest.raises(c.Refused):
        c.run_mode(serve({}, min_interval=interval).csm)
    expected = 1 if interval else 0
    assert (take.call_count, lock.close.call_count, run.call_count) == (expected, expected, 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no lock elsewhere")
@pytest.mark.parametrize(("timeout", "waits"), [(1800.0, 60), (100.0, 25)])
def test_a_lock_that_another_call_holds(
    timeout: float, waits: float, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is waited for, and then done without. Each target has its own."""
    first = c.take_lock(serve({}).csm)
    assert first is not None
    with first:
        second = serve({}, timeout=timeout)
        assert c.take_lock(second.csm) is None
        assert round(second.clock.passed) == waits
        words = "there is no lock for --min-interval: another call for this target goes on"
        assert words in capsys.readouterr().err
        for given in ({"task_name": "other"}, {"session_name": "one"}):
            other = serve({}, **given)
            with c.take_lock(other.csm):
                assert other.clock.passed == 0.0
    with c.take_lock(serve({}).csm):
        assert capsys.readouterr().err == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no lock elsewhere")
def test_a_lock_that_cannot_be_had(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any other error is not waited for; where there is no such lock, nothing is told."""
    server = serve({})
    bind = mock.Mock(side_effect=OSError(c.errno.EACCES, "Permission denied"))
    with monkeypatch.context() as patch:
        patch.setattr(c.socket, "socket", lambda *_: mock.Mock(bind=bind))
        assert c.take_lock(server.csm) is None
    assert bind.call_count == 1
    assert server.clock.passed == 0.0
    words = "there is no lock for --min-interval: Permission denied"
    assert words in capsys.readouterr().err
    monkeypatch.setattr(c.sys, "platform", "aix")
    assert c.take_lock(server.csm) is None
    assert capsys.readouterr().err == ""
