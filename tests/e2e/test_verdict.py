"""The whole matrix of exit codes, over real TLS: what a run comes to in each dialect and outcome.

.ci/run has old interpreters run it, too (PROGRAM_PYTHON): so nothing here may need the program
in the test's own process."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import WORDS, check
from support.program import run_program, run_quickly, run_shipped, server_options
from support.scenes import (
    ODD_NAME,
    PAYROLL,
    PAYROLL_TASK,
    SESSION,
    TASK,
    TASK_ID,
    Scene,
    backup_is_made,
    backup_of_now,
    never_ran,
    on_path,
    run_of_somebody_else,
    session_outcome,
    several,
    task_outcome,
)


class Case(NamedTuple):
    """A run with --json: what the world is like, the arguments, and what must come of it."""

    id: str
    code: int
    triggers: int
    args: Tuple[str, ...] = ("-t", TASK)
    world: Dict[str, Any] = {}
    before: Optional[Scene] = None
    told: Tuple[str, ...] = ()  # on stderr, where it fails
    session: str = TASK  # that shows the backup
    outcome: str = ""  # where it is not the one of WORDS
    backup: Optional[bool] = None  # is there a backup in the JSON, and is it valid?
    quickly: bool = False  # as a process by run_quickly(): it would wait for long
    real: bool = False  # always as a process: it is about real time


def spelled(target: str, world: Dict[str, Any]) -> str:
    return "-".join([target, *(f"{name}-{value}" for name, value in world.items())])


IN_SESSION = ("-S", SESSION)
NO_STEPS = {"steps": False}

DIALECTS: List[Dict[str, Any]] = [
    {"messages": "lastmessage-id"},
    {"messages": "array"},
    {"messages": "array-no-text"},
    {"backup_results": "backupResults"},
    {"numbers": "strings"},
    {"numbers": "all-strings"},
    {"command_text": "resultText"},
    {"command_text": "none"},
    {"messages": "array", "single_task": 404},
    {"messages": "array", "single_task": 405},
    NO_STEPS,
    {"affected": False},
    {"backup_id_shown": False},
    {"ha_supported": False},
    {"clock_offset": 7200.0},
    {"clock_offset": -7200.0},
    {
        "messages": "array",
        "single_task": 404,
        "command_text": "resultText",
        "backup_results": "backupResults",
        "numbers": "strings",
        "steps": False,
    },
]
HANGS = ("--request-timeout", "1.5", "--timeout", "12")

CASES = [
    # Good runs, in every dialect.
    Case("task", code=0, triggers=1, backup=True),
    Case("session", code=0, triggers=1, args=IN_SESSION, session=SESSION, backup=True),
    Case(
        "session-at-once",
        code=0,
        triggers=1,
        args=IN_SESSION,
        world={"blocking": False},
        session=SESSION,
        backup=True,
    ),
    *[
        Case(spelled("task", world), code=0, triggers=1, world=world, backup=True)
        for world in DIALECTS
    ],
    *[
        Case(
            spelled("session", world),
            code=0,
            triggers=1,
            args=IN_SESSION,
            world=world,
            session=SESSION,
            backup=True,
        )
        for world in [
            {"backup_results": "backupResults"},
            {"numbers": "all-strings"},
            {"command_text": "none"},
            {"command_text": "resultText"},
        ]
    ],
    *[
        Case(
            f"never-ran-{value}",
            code=0,
            triggers=1,
            world={"never_ran": value},
            before=never_ran,
            backup=True,
        )
        for value in (0, None, "missing")
    ],
    *[
        Case(
            f"first-backup-{how}",
            code=0,
            triggers=1,
            args=("-S", "SGC Empty"),
            world={"no_backups": how},
            session="SGC Empty",
            backup=True,
        )
        for how in ("empty", "missing", "sequence")
    ],
    Case(
        "disabled-task", code=0, triggers=1, args=("-t", "thomastest"), session=SESSION, backup=True
    ),
    Case("silent-run", code=0, triggers=1, before=task_outcome("silent-run"), backup=True),
    # Names.
    Case(
        "task-with-name-of-session",
        code=0,
        triggers=1,
        args=("-t", PAYROLL),
        session=PAYROLL,
        backup=True,
    ),
    Case("blank", code=0, triggers=1, args=("-t", PAYROLL_TASK), session=PAYROLL, backup=True),
    Case(
        "odd-task",
        code=0,
        triggers=1,
        args=("-t", "Payroll " + ODD_NAME),
        session="SGC " + ODD_NAME,
        backup=True,
    ),
    Case(
        "odd-session",
        code=0,
        triggers=1,
        args=("-S", "SGC " + ODD_NAME),
        session="SGC " + ODD_NAME,
        backup=True,
    ),
    Case("task-and-session", code=0, triggers=1, args=("-t", TASK, "-S", TASK), backup=True),
    Case(
        "task-and-session-not-told",
        code=0,
        triggers=1,
        args=("-t", TASK, "-S", TASK),
        world={"steps": False, "affected": False},
        backup=True,
    ),
    Case(
        "task-and-other-session",
        code=7,
        triggers=1,
        args=("-t", TASK, "-S", SESSION),
        session=SESSION,
        quickly=True,
    ),
    Case(
        "unknown-name",
        code=5,
        triggers=0,
        args=("-t", "ITSO_SGC_H3_LAH18"),
        told=("ITSO_SGC_H3_LAH18", TASK),
    ),
    Case(
        "unknown-session",
        code=5,
        triggers=0,
        args=("-S", "SGC Pyroll"),
        told=("SGC Pyroll", PAYROLL),
    ),
    Case("other-case", code=5, triggers=0, args=("-t", "backup payroll"), told=(PAYROLL_TASK,)),
    Case(
        "unknown-task-with-session",
        code=5,
        triggers=0,
        args=("-t", SESSION, "-S", SESSION),
        told=(SESSION,),
    ),
    Case("duplicate", code=5, triggers=0, args=("-t", "Twice"), told=("Twice", "40", "41")),
    Case("other-type", code=5, triggers=0, args=("-S", "MM HS"), told=("MM HS",)),
    Case("other-type-t", code=5, triggers=0, args=("-t", "MM HS"), told=("MM HS",)),
    Case(
        "task-backs-up-nothing",
        code=5,
        triggers=0,
        args=("-t", "Practice MM HS"),
        told=("Practice MM HS",),
    ),
    Case(
        "no-steps-no-sgc",
        code=5,
        triggers=0,
        args=("-t", "Practice MM HS"),
        world=NO_STEPS,
        told=("MM HS",),
    ),
    Case(
        "nothing-told",
        code=8,
        triggers=1,
        world={"steps": False, "affected": False},
        told=(TASK, "-S names the session"),
        quickly=True,
    ),
    # The run goes wrong.
    Case("error", code=7, triggers=1, before=task_outcome("error"), told=("IWNR0001E",)),
    Case(
        "error-array",
        code=7,
        triggers=1,
        world={"messages": "array"},
        before=task_outcome("error"),
        told=("IWNR0001E",),
    ),
    Case(
        "error-after-backup",
        code=7,
        triggers=1,
        before=task_outcome("error-after-backup"),
        told=("IWNR0001E", "{backup}"),
        backup=True,
    ),
    Case(
        "ends-with-warning",
        code=7,
        triggers=1,
        before=task_outcome("warning"),
        told=("IWNR0002W", "{backup}"),
        backup=True,
        quickly=True,
    ),
    Case("severe", code=7, triggers=1, before=task_outcome("severe"), told=("Severe", TASK)),
    Case(
        "session-severe",
        code=7,
        triggers=1,
        args=IN_SESSION,
        world={"blocking": False},
        before=session_outcome("severe"),
        told=("Severe", SESSION),
        session=SESSION,
    ),
    Case(
        "no-backup",
        code=7,
        triggers=1,
        before=task_outcome("no-backup"),
        told=(TASK,),
        quickly=True,
    ),
    Case(
        "invalid",
        code=8,
        triggers=1,
        args=("-t", TASK, "--timeout", "30"),
        before=task_outcome("invalid"),
        told=("{backup}",),
        backup=False,
        quickly=True,
    ),
    Case(
        "valid-late",
        code=0,
        triggers=1,
        before=task_outcome("valid-late", late_seconds=1.5),
        backup=True,
        real=True,
    ),
    Case(
        "late",
        code=0,
        triggers=1,
        before=task_outcome("late", late_seconds=1.5),
        backup=True,
        real=True,
    ),
    Case(
        "session-no-backup",
        code=7,
        triggers=1,
        args=IN_SESSION,
        world={},
        before=session_outcome("no-backup"),
        told=(SESSION,),
        session=SESSION,
        quickly=True,
    ),
    Case(
        "session-invalid",
        code=8,
        triggers=1,
        args=(*IN_SESSION, "--timeout", "30"),
        world={},
        before=session_outcome("invalid"),
        told=("{backup}",),
        session=SESSION,
        backup=False,
        quickly=True,
    ),
    Case(
        "session-valid-late",
        code=0,
        triggers=1,
        args=IN_SESSION,
        world={},
        before=session_outcome("valid-late", late_seconds=1.5),
        session=SESSION,
        backup=True,
        real=True,
    ),
    Case(
        "session-late",
        code=0,
        triggers=1,
        args=IN_SESSION,
        world={},
        before=session_outcome("late", late_seconds=1.5),
        session=SESSION,
        backup=True,
        real=True,
    ),
    Case(
        "hang",
        code=8,
        triggers=1,
        args=("-t", TASK, "--timeout", "6"),
        before=task_outcome("hang"),
        told=(TASK,),
    ),
    Case(
        "session-hangs",  # its connection stands: it may still come
        code=8,
        triggers=1,
        args=IN_SESSION + HANGS,
        world={},
        before=session_outcome("hang"),
        told=(SESSION,),
        session=SESSION,
    ),
    Case(
        "ignored",
        code=8,
        triggers=1,
        args=("-t", TASK, "--timeout", "6"),
        before=task_outcome("ignored"),
        told=(TASK,),
    ),
    # CSM refuses.
    Case("refused-200", code=6, triggers=0, before=task_outcome("refuse"), told=("IWNR0009E",)),
    Case(
        "refused-400",
        code=6,
        triggers=0,
        before=task_outcome("refuse-http"),
        told=("IWNR0009E",),
        quickly=True,
    ),
    Case(
        "session-refused-200",
        code=6,
        triggers=0,
        args=IN_SESSION,
        world={},
        before=session_outcome("error"),
        told=("IWNR0009E",),
        session=SESSION,
        quickly=True,
    ),
    Case(
        "session-refused-400",
        code=6,
        triggers=0,
        args=IN_SESSION,
        world={},
        before=session_outcome("refuse-http"),
        told=("IWNR0009E",),
        session=SESSION,
        quickly=True,
    ),
    Case("approval", code=6, triggers=0, before=task_outcome("approval"), told=("approval",)),
    Case(
        "approval-that-hinders-no-run",
        code=0,
        triggers=1,
        world={"approval": "accept"},
        before=task_outcome("approval"),
        backup=True,
    ),
    *[
        Case(
            f"approval-in-between-{how}",
            code=6,
            triggers=0,
            world={"approval": how},
            told=("IWNR0005E",),
            before=on_path("/scheduledtasks", task_outcome("good", pendingApproval=True)),
            quickly=True,
        )
        for how in ("refuse-E", "409")
    ],
    # The task runs already: it is joined.
    Case("joined", code=0, triggers=0, before=run_of_somebody_else("", "/" + TASK), backup=True),
    Case(
        "joined-after-its-backup",
        code=0,
        triggers=1,
        args=("-t", TASK, "-S", TASK),
        backup=True,
        quickly=True,
        before=several(
            run_of_somebody_else(
                "", "/" + TASK, SESSION, steps=((TASK, "Backup"), (SESSION, "Backup"))
            ),
            backup_is_made,
        ),
    ),
    Case(
        "joined-without-backup",
        code=7,
        triggers=1,
        told=(TASK,),
        quickly=True,
        before=several(backup_of_now, run_of_somebody_else("", "/" + TASK, outcome="no-backup")),
    ),
    Case(
        "joined-with-error",
        code=7,
        triggers=1,
        told=("IWNR0001E",),
        quickly=True,
        before=run_of_somebody_else("", "/" + TASK, outcome="error"),
    ),
    *[
        Case(
            f"joined-in-between-{how}",
            code=0,
            triggers=0,
            world={"running_again": how},
            backup=True,
            quickly=True,
            before=run_of_somebody_else("/" + TASK, f"/{TASK_ID}"),
        )
        for how in ("refuse-E", "409", "500")
    ],
    # Logging in.
    *[
        Case(
            f"login-{how}",
            code=4,
            triggers=0,
            world={"login": "refuse", "bad_login": how},
            told=() if how == "html" else ("IWNR0008E",),
        )
        for how in (401, 403, "no-token", "html")
    ],
    Case(
        "token-expires",
        code=0,
        triggers=1,
        before=on_path(f"/{TASK_ID}", lambda csm: csm.world.expire_tokens()),
        backup=True,
    ),
    Case("token-for-5-requests", code=0, triggers=1, world={"token_requests": 5}, backup=True),
    # Modes.
    Case("no-wait", code=0, triggers=1, args=("-t", TASK, "--no-wait"), outcome="accepted"),
    Case(
        "no-wait-session",
        code=0,
        triggers=1,
        args=(*IN_SESSION, "--no-wait"),
        session=SESSION,
        outcome="accepted",
    ),
    Case("check", code=0, triggers=0, args=("-t", TASK, "--check"), outcome="checked"),
    Case(
        "check-session",
        code=0,
        triggers=0,
        args=(*IN_SESSION, "--check"),
        session=SESSION,
        outcome="checked",
    ),
    Case(
        "check-unknown",
        code=5,
        triggers=0,
        args=("-t", "ITSO_SGC_H3_LAH18", "--check"),
        told=(TASK,),
    ),
    Case(
        "check-login", code=4, triggers=0, args=("-t", TASK, "--check"), world={"login": "refuse"}
    ),
    Case(
        "min-interval-old",
        code=0,
        triggers=1,
        args=("-t", TASK, "--min-interval", "60"),
        backup=True,
    ),
    Case(
        "min-interval-recent",
        code=0,
        triggers=0,
        args=("-t", TASK, "--min-interval", "600"),
        outcome="skipped",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_verdict(case: Case) -> None:
    with SimulatedCsm(**{"backup_seconds": 0.1, **case.world}) as csm:
        if case.before:
            case.before(csm)
        noted = len(csm.world.backups_made)
        run = run_program if case.real else run_shipped
        if case.quickly and "PROGRAM_PYTHON" in os.environ:
            run = run_quickly
        result = run(*server_options(csm), "--json", *case.args)
        made = [new for name, new in csm.world.backups_made[noted:] if name == case.session]
    check(result, csm, case.code, triggers=case.triggers)
    refused = case.code == 6 or "in-between" in case.id
    assert len(csm.world.attempts) in ((0, 1) if refused else (case.triggers,))
    shown = result.json
    assert shown["exit_code"] == case.code
    assert shown["outcome"] == (case.outcome or WORDS[case.code])
    assert (shown["started"] == "no") == (
        case.code in range(2, 7) or case.outcome in ("checked", "skipped")
    )
    backups = {each["name"]: each["backup"] for each in shown["sessions"]}
    if case.code == 0:
        assert list(backups) == [case.session]
    if case.outcome in ("checked", "skipped"):
        return
    if case.backup is None:
        assert not any(backups.values())
    else:
        assert [backups[case.session]["id"]] == made
        assert backups[case.session]["valid"] is case.backup
        assert str(backups[case.session]["copy_sets"]) == "8"
    for fact in case.told:  # where it fails
        assert fact.format(backup=made and made[0]) in result.last_line
