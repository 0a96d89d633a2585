"""Replies of any shape: never a traceback, never exit 1, never a false "done".

Each reply of a good run is changed, once or from then on, in the whole or in one field."""

import functools
import json
import random
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from csm import LOGIN_PAGE, Request, SimulatedCsm
from support.checks import check_printable, check_truth, is_trigger
from support.program import Pace, Result, run_inside, server_options
from support.scenes import PAYROLL, TARGETS, TASK, Scene

ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\n\x00\x9b31m\u202e\u2028\ud800"
MISSING = object()


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


# In place of a field's value.
VALUES: Dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "negative": -1,
    "fraction": 1.5,
    "huge": 10**400,
    "infinite": float("inf"),
    "nan": float("nan"),
    "number as text": "27",
    "huge as text": "1e999",
    "empty text": "",
    "text": "odd",
    "blank": " ",
    "escapes": ESCAPES,
    "long": "x" * 100000,
    "list": [],
    "object": {},
    "list of null": [None],
    "list of lists": [[]],
    "list of objects": [{}],
    "list of numbers": [1, 2.5],
    "list of text": ["odd"],
    "object in object": {"a": {"b": []}},
    "deep": nested(300),
}

# In place of a reply: what is sent, and words of which the message has one.
WHOLE = {
    "nothing": (b"", "JSON|token"),
    "HTML": (LOGIN_PAGE, "JSON|token"),
    "half": (b'{"name": "ITSO', "JSON"),
    "no JSON": (b"backup done", "JSON"),
    "binary": (bytes(range(256)), "JSON"),
    "invalid UTF-8": (b'{"a": "\xff\xfe\xc0"}', ""),
    "UTF-16": ("[1]".encode("utf-16"), "JSON"),
    "deep lists": (b"[" * 200000, "JSON"),
    "deep objects": (b'{"a":' * 200000, "JSON"),
    "million digits": (b"[" + b"9" * 1000000 + b"]", ""),
    "infinite": (b"1e999", ""),
    "NaN": (b"NaN", ""),
    "null": (b"null", ""),
    "number": (b"-0", ""),
    "text": (b'"done"', ""),
    "list": (b"[]", ""),
    "object": (b"{}", ""),
    "list of lists": (b"[[[]]]", ""),
    "escapes": (json.dumps(ESCAPES).encode(), ""),
    "raw escapes": (ESCAPES[:-1].encode(), "JSON"),
}

ODD = "odd|token|message|JSON"  # what it is where it is JSON, but not what is wanted

# The fields that are changed.
OF_A_SESSION = [
    "name",
    "rulesname",
    "status",
    "state",
    "haserror",
    "backupInfo",
    "BackupResults",
    "backupID",
    "valid",
    "timestamp",
    "backupTime",
    "numCopySets",
]
OF_A_TASK = [
    "id",
    "name",
    "running",
    "pendingApproval",
    "lastRan",
    "lastmessage",
    "messages",
    "actions",
    "affectedSession",
]
FIELDS = {
    "log-in": ["token"],
    "tasks": [*OF_A_TASK, "enabled", "sessionName", "command"],
    "session before": OF_A_SESSION,
    "trigger": ["msg", "msgTranslated"],
    "task": OF_A_TASK,
    "session": OF_A_SESSION,
}

# What the message of a run that ends because of it must name.
PATHS = {
    "log-in": "/system/v1/tokens",
    "tasks": "/sessions/scheduledtasks",
    "session before": "/sessions/",
    "trigger": "/sessions/",
    "task": "/sessions/scheduledtasks",
    "session": "/sessions/",
}

RUNS = [
    (target, stage, for_good)
    for target in TARGETS
    for stage in FIELDS
    for for_good in (False, True)
    if target == "task" or stage not in ("tasks", "task")
]


def stage_of(csm: SimulatedCsm, request: Request) -> str:
    """Which reply of a run this is."""
    if "tokens" in request.path:
        return "log-in"
    if is_trigger(request):
        return "trigger"
    if "scheduledtasks" in request.path:
        return "task" if any(map(is_trigger, csm.requests)) else "tasks"
    return "session" if any(map(is_trigger, csm.requests)) else "session before"


def replaced(value: Any, key: str, new: Any) -> Any:
    """The JSON value with another one wherever it has this key; of tasks only in the one run."""
    if isinstance(value, list):
        return [
            replaced(each, key, new)
            if not isinstance(each, dict) or each.get("id", 27) == 27
            else each
            for each in value
        ]
    if not isinstance(value, dict):
        return value
    changed = {
        name: new if name == key else replaced(each, key, new) for name, each in value.items()
    }
    if key in ("messages", "affectedSession") and "lastRan" in changed:
        changed[key] = new
    return {name: each for name, each in changed.items() if each is not MISSING}


def odd_run(
    target: str,
    stage: str,
    change: Callable[[Any], Any],
    *argv: str,
    for_good: bool = False,
    prepare: Optional[Scene] = None,
) -> Tuple[Result, SimulatedCsm]:
    """Run against a server whose replies at one stage are changed -> result, server."""
    hits: List[Request] = []

    def mutate(request: Request, value: Any) -> Any:
        if stage_of(csm, request) != stage or (hits and not for_good):
            return value
        hits.append(request)
        return change(value)

    with SimulatedCsm(backup_seconds=0.01, step_seconds=0.001) as csm:
        csm.mutate = mutate
        if prepare:
            prepare(csm)
        options = ["--request-timeout", "20", "--timeout", "40", *argv]
        pace = Pace(grace=20, first_contact=3)
        result = run_inside(*server_options(csm), *TARGETS[target], *options, pace=pace)
    assert hits
    return result, csm


def check_odd(result: Result, csm: SimulatedCsm, ids: bool = True) -> Dict[str, Any]:
    """-> the JSON. Whatever comes, there is no false 0, no bug, nothing that acts on a terminal."""
    check_printable(result.out, result.err)
    return check_truth(result, csm.world, timeout=20, codes=(0, 3, 4, 5, 6, 7, 8), ids=ids)


# --- The whole reply ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("target", "stage", "for_good"), RUNS)
def test_whole_reply(target: str, stage: str, for_good: bool) -> None:
    for name, (body, words) in WHOLE.items():
        print(name)
        instead = functools.partial(lambda body, _: body, body)
        result, csm = odd_run(target, stage, instead, "--json", for_good=for_good)
        told = check_odd(result, csm)
        if not for_good:
            # No list of tasks, or an empty one, may be what the server has to tell.
            assert result.code == 0 or (stage, name) == ("tasks", "list"), told["message"]
            assert len(csm.world.triggers) == 1 or result.code == 5
        elif result.code == 0:
            # The trigger was lost, and the server's state has told; or the single task is odd,
            # and the list of tasks tells.
            # Or the session was noted late, and made its backup after that.
            possible = ("trigger", "task", "session before")
            assert stage in possible or (stage, name) == ("tasks", "list")
        else:
            if name == "list" and result.code in (5, 8):
                continue  # there is no such session or task (any more): no odd answer
            assert PATHS[stage] in told["message"]
            expected = (words or ODD).split("|")
            assert any(word in told["message"] for word in expected), told["message"]


def with_description(value: Any) -> Any:
    """Still what was asked for, and 50 MB long."""
    for record in value if isinstance(value, list) else [value]:
        if record["name"] == TASK:
            record["description"] = "x" * 50000000
    return value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "change"),
    [
        pytest.param("tasks", with_description, id="tasks"),
        pytest.param("session", with_description, id="session"),
        pytest.param("trigger", lambda value: b'"%s"' % (b"x" * 50000000), id="trigger"),
        pytest.param("session before", lambda value: b"[" * 50000000, id="deep"),
    ],
)
def test_50_megabytes(stage: str, change: Callable[[Any], Any]) -> None:
    result, csm = odd_run("task", stage, change, "--json")
    check_odd(result, csm)
    assert result.code == 0
    assert len(csm.world.triggers) == 1


# --- One field ----------------------------------------------------------------------------------


FIELD_CASES = [(run, field, value) for run in RUNS for field in FIELDS[run[1]] for value in VALUES]
SHARES = 10


@pytest.mark.parametrize(
    "share", [0, 1] + [pytest.param(share, marks=pytest.mark.slow) for share in range(2, SHARES)]
)
def test_one_field(share: int) -> None:
    """Some 200 of all the cases, drawn with a seed: all of them would take minutes."""
    cases = random.Random(3).sample(FIELD_CASES, 200)[share::SHARES]
    for (target, stage, for_good), field, value in cases:
        print(target, stage, for_good, field, value)
        change = functools.partial(replaced, key=field, new=VALUES[value])
        result, csm = odd_run(target, stage, change, "--json", for_good=for_good)
        # An odd id is told as it came: then nothing but the backup itself can be compared.
        check_odd(result, csm, ids=(stage, field) != ("session", "backupID"))


@pytest.mark.parametrize(
    ("target", "stage", "option"),
    [(target, stage, "-v") for target, stage, for_good in RUNS if for_good and stage != "log-in"]
    + [
        ("task", "tasks", "--check"),
        ("task", "session before", "--check"),
        ("task", "trigger", "--no-wait"),
        ("session", "trigger", "--no-wait"),
    ],
)
def test_escapes_everywhere(target: str, stage: str, option: str) -> None:
    """Control characters in every text of a reply, in what is shown as text."""

    def spoil(value: Any, key: Optional[str] = None) -> Any:
        if isinstance(value, dict):
            return {name: spoil(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [spoil(each, key) for each in value]
        kept = ("name", "sessionName", "command", "backupID", "msg")
        return value + ESCAPES if isinstance(value, str) and key not in kept else value

    result, _ = odd_run(target, stage, spoil, option, for_good=True)
    check_printable(result.out, result.err)
    assert result.code == 0


# --- An old backup is never taken for the new one -----------------------------------------------


def without(keep: Callable[[List[Any]], List[Any]]) -> Callable[[Any], Any]:
    """Of the noted session's backups only some are told, or none."""

    def change(value: Any) -> Any:
        for sequence in value["backupInfo"]:
            sequence["BackupResults"] = keep(sequence["BackupResults"])
        return value

    return change


LOST: Dict[str, Callable[[Any], Any]] = {
    "no backupInfo": lambda value: replaced(value, "backupInfo", MISSING),
    "null": lambda value: replaced(value, "backupInfo", None),
    "empty": lambda value: replaced(value, "backupInfo", []),
    "no BackupResults": lambda value: replaced(value, "BackupResults", MISSING),
    "no entries": without(lambda results: []),
    "newest is left out": without(lambda results: results[1:]),
    "newest is null": without(lambda results: [None, *results[1:]]),
    "newest is text": without(lambda results: ["?", *results[1:]]),
    "newest has no id and time": without(lambda results: [{"valid": True}, *results[1:]]),
    "newest has an odd id": without(
        lambda results: [dict(results[0], backupID="odd", timestamp=None), *results[1:]]
    ),
    "no ids": lambda value: replaced(value, "backupID", MISSING),
    "ids are numbers": without(
        lambda results: [dict(each, backupID=int(each["backupID"])) for each in results]
    ),
    "other ids": without(
        lambda results: [dict(each, backupID="x" + each["backupID"]) for each in results]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "age"),
    [
        # Only its age tells that it is old: up to ten minutes is what the clocks may differ by, and
        # up to one where the note had entries that could not be read.
        (lost, age)
        for lost in LOST
        for age in (700 if lost == "newest is left out" else 70, 4000)
    ],
)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.slow
def test_old_backup(target: str, lost: str, age: int) -> None:
    """The reading before the trigger lost it, and then the run makes no backup."""

    def prepare(csm: SimulatedCsm) -> None:
        world = csm.world
        now = int(time.time())
        for name in (TASK, PAYROLL):
            session = world.session(name)
            session.outcome = "no-backup"
            session.backups = []
            for seconds in (now - 7200, now - age):
                world.make_backup(session).id = seconds
        world.backups_made.clear()

    result, csm = odd_run(target, "session before", LOST[lost], "--json", prepare=prepare)
    told = check_odd(result, csm)
    assert result.code in (7, 8), told["message"]
    assert csm.world.backups_made == []
    assert len(csm.world.triggers) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("target", TARGETS)
def test_new_backup_after_a_lost_note(target: str, lost: str) -> None:
    """The same reading, and the run makes its backup: that one is found."""
    result, csm = odd_run(target, "session before", LOST[lost], "--json")
    told = check_odd(result, csm)
    assert result.code == 0, told["message"]
