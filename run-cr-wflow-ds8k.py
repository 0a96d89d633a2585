#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have an immutable backup taken of an IBM DS8000's volumes; say "done" only once it is proven.

It has IBM Copy Services Manager (CSM) run one scheduled task with all of its steps (some suspend a
mirror, and start it again), or sends Backup to one Safeguarded Copy session, and watches until CSM
shows a new, valid backup. It never expires, recovers or deletes a backup, changes a task or a
session, starts a second run blindly, or (but for --insecure) trusts any server with the password.

exit codes:  0 a new, valid backup (--no-wait: accepted; --check, --list, --min-interval: all well)
  1 a bug: look in CSM     2 wrong command line or file     3 no CSM server reachable, or trusted
  4 login refused          5 no such name, or no backup     6 CSM refused: nothing was started
  7 started and failed     8 unknown: look in CSM           129, 130, 143 hung up, interrupted,
                                                            terminated

How to audit this file. Sections 1 to 5 are names, values, and what CSM's JSON is read into.
Part I, sections 6 to 11, is what can start something or decide an end: read it with care.
Part II, sections 12 to 17, starts nothing: it asks Part I, and tells.

CSM is read into immutable snapshots. Pure functions turn the snapshot of before and the looks
since into evidence, a verdict and the next step; one small loop carries the steps out:

             find_target          observe, judge      next_step         follow
    Config -> Snapshot (before) -> Evidence -> RunState -> Step or Problem -> POST, GET, sleep

What can be searched for, and how often it must be found in the code:
    .request(       1  every request is sent here: Line.send
    "POST"          2  the log-in, and Csm.command
    .command(       1  the one call that starts anything: send_trigger
    Step.DONE       2  returned by next_step alone, obeyed by follow
    Step.SEND       2  returned by next_step alone, obeyed by follow
    .reveal(        3  the log-in form, the header of the token, the blanking of messages
    ExitCode.OK     1  the table of the outcomes that are good
    SystemExit      1  the parser's own, round the parser alone
    .mount(         1  a server is reached only through the adapter made for it, with its trust
"""

import sys


def end_early(number: int, _frame: object) -> None:
    """A signal while this file is loaded: nothing was started."""
    words = {1: "hung-up", 2: "interrupted", 15: "terminated"}
    line = f"run-cr-wflow-ds8k: {words.get(number, 'stopped')}: nothing was started\n"
    try:
        os.write(2, line.encode())
    finally:
        os._exit(128 + number)


def listen_early() -> None:
    """Until main() listens itself. What the parent ignores stays ignored."""
    for name in ("SIGHUP", "SIGINT", "SIGTERM"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_early)


def check_own_modules() -> None:
    """A file beside this one must not take the place of a module of Python's."""
    here = os.path.dirname(os.path.abspath(__file__))
    for each in list(globals().values()):
        path = getattr(each, "__file__", None) if isinstance(each, type(sys)) else None
        if path and os.path.dirname(os.path.abspath(path)) == here:
            raise ImportError(f"{path} hides a module of Python's own")


try:
    import os
    import signal

    if __name__ == "__main__":
        listen_early()
    import argparse
    import base64
    import collections
    import difflib
    import enum
    import errno
    import getpass
    import hashlib
    import json
    import math
    import queue
    import re
    import socket
    import ssl
    import threading
    import time
    import warnings
    from contextlib import suppress
    from typing import (
        TYPE_CHECKING,
        Any,
        Callable,
        Deque,
        Dict,
        Iterable,
        List,
        NamedTuple,
        NoReturn,
        Optional,
        Set,
        Tuple,
        Type,
        TypeVar,
        Union,
    )
    from urllib.parse import quote, quote_plus

    argparse.ArgumentParser().format_help()  # loads what it needs
    check_own_modules()
except BaseException as hidden:  # by a file of that name beside this one: no traceback helps here
    cause = f"{hidden!r} {getattr(hidden, 'path', None) or ''}".strip()
    os.write(
        2, f"run-cr-wflow-ds8k: usage: nothing was started: {cause}; see the README\n".encode()
    )
    os._exit(2)

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Form = Dict[str, str]

# --- 1. Facts and pace ----------------------------------------------------------------------------

VERSION = "2.0.0"
PROGRAM = "run-cr-wflow-ds8k"

# CSM's REST API, as IBM's own clients and documentation show it:
BASE = "/CSM/web"
TOKENS = "/system/v1/tokens"
ROLE = "/system/ha"
SESSIONS = "/sessions/"
SHORT_LIST = "/sessions/short"
TASKS = "/sessions/scheduledtasks"
BACKUP = {"cmd": "Backup"}
SAFEGUARDED = "safeguarded copy"  # in the type of a session, `rulesname`
COMPLETED = "IWNR1026I"  # a command in a session has completed; of a task: a step
RUN_STARTED = "IWNR2211I"
FINISHED = "IWNR2212I"  # a scheduled task has finished running
STATE_REACHED = "IWNR2220I"  # a step that waits has come to its end
MESSAGE_ID = re.compile(r"([A-Z]{3,5})(\d{2,6})([A-Z])\b")  # prefix, number, severity
STEP_IDS = (COMPLETED, RUN_STARTED, STATE_REACHED)  # a run goes on after these
RUN_IDS = (*STEP_IDS, FINISHED)  # that belong to a run, and to nothing else

# Our own choices:
BELIEVED_AFTER = 2  # how often what will hardly pass must be told to be believed
MOST_TRIGGERS = 2  # that may have been processed, those that were answered 429 or 503 aside
NEVER = float("inf")
SAME_TIME = 60.0  # seconds by which the clocks of a pair may differ


class Pace(NamedTuple):
    """The seconds that decide when something is sent or ended. Tests use quicker ones."""

    request_timeout: float = 30.0  # of one request; also: how long a lost trigger is looked for
    session_factor: float = 10.0  # a Backup blocks until it is done: so many request timeouts
    settle: float = 5.0  # what CSM shows may lag behind by so much
    grace: float = 60.0  # a last message, or a backup, is that late at most
    counted: float = 5.0  # one look counts for no longer: CSM may have been away before it
    late_listing: float = 600.0  # how far a storage clock may be behind CSM's
    clock_skew: float = 60.0  # the same, where the note may not have shown all backups
    first_contact: float = 30.0  # how long a server that never let us in is tried
    second_look: float = 1.0  # before it is believed that something is not there
    first_pause: float = 0.5  # between two looks
    growth: float = 0.025  # of the pause, with the time waited
    longest_pause: float = 15.0
    first_retry: float = 0.5  # between two tries of a read
    login_retry: float = 2.0  # after a refused log-in
    first_login_pause: float = 15.0  # the same, once the trigger was sent
    longest_login_pause: float = 300.0
    role_again: float = 60.0  # how often a pair is asked for its roles
    last_try: float = 0.5  # so much before the deadline nothing is tried any more
    lock: float = 60.0  # how long another call for the same target is waited for
    shown_again: float = 60.0  # a sign of life
    glance: float = 30.0  # how long --list and --check take at most

    def retry_after(self, failures: int) -> float:
        """Twice as long after each failure in a row."""
        return self.first_retry * 2.0 ** min(failures - 1, 8)


class Clock:
    """Real time, in seconds. Tests put another in its place."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


# --- 2. Exit codes and problems -------------------------------------------------------------------


@enum.unique
class ExitCode(enum.IntEnum):
    """An API: see the README."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    UNREACHABLE = 3
    LOGIN = 4
    NOT_FOUND = 5
    REFUSED = 6
    FAILED = 7
    UNKNOWN = 8
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Problem(Exception):
    """What ends a call without success. Each class carries its exit code, and what to do."""

    code = ExitCode.INTERNAL
    hint = ""

    def __init__(self, text: str, message: "Optional[Message]" = None) -> None:
        super().__init__(text)
        self.message = message or NO_MESSAGE  # CSM's own, where it is the reason


class UsageError(Problem):
    code = ExitCode.USAGE
    hint = "see --help"


class ModuleMissing(UsageError):
    """A module cannot be loaded: it is missing, does not fit, or is hidden by another file."""

    hint = "see the README"


class NotFound(Problem):
    code = ExitCode.NOT_FOUND
    hint = "--list shows the names"


class Refused(Problem):
    """CSM refused a command: it was not processed."""

    code = ExitCode.REFUSED
    hint = "see what CSM says"


class BackupFailed(Problem):
    code = ExitCode.FAILED
    hint = "look in CSM: a mirror may be suspended"


class OutcomeUnknown(Problem):
    """A command was sent and may have been processed: it must not simply be sent again."""

    code = ExitCode.UNKNOWN


class Busy(OutcomeUnknown):
    """429, 503: most likely not processed, but nothing says so for sure."""


class NotProcessed(Problem):
    """A request had no effect on CSM. A command is sent again at once only after this kind."""

    code = ExitCode.UNREACHABLE
    hint = "check address, network"
    firm = False  # firm: it will hardly pass, so that it is believed when it comes twice
    is_silence = False  # no answer of CSM's: it is not even known whether it could be looked at


class Unreachable(NotProcessed):
    """There is no answer."""

    is_silence = True


class NoUse(NotProcessed):
    """There is an answer, and it is of no use."""


class WrongServer(NotProcessed):
    hint = "check address; get the certificate's fingerprint on the CSM server itself"
    firm = True
    is_silence = True


class NotCsm(NotProcessed):
    """A redirect: something else listens there."""

    hint = "check address and port: this is not CSM"
    firm = True
    is_silence = True


class LoginRefused(NotProcessed):
    code = ExitCode.LOGIN
    hint = "check user and password"
    firm = True


class HeldBack(LoginRefused):
    """A log-in that was refused is not tried again yet: nothing was sent, so nothing is told."""

    firm = False
    is_silence = True


class Denied(NotProcessed):
    code = ExitCode.REFUSED
    hint = "see what CSM says"
    firm = True


class TokenLost(Denied):
    """The token has expired, or is of no use any more."""

    firm = False


class Standby(Denied):
    """The server says that another one is active."""

    firm = False


class OddReply(Exception):
    """An answer is JSON, but not what CSM is known to answer."""


class Stopped(BaseException):
    """A signal has come. No Exception, so that nothing on its way takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# --- 3. Configuration -----------------------------------------------------------------------------


class Secret:
    """A text that shows as *** wherever it is printed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Trust(NamedTuple):
    """Which certificates are trusted. With nothing of it: the CAs that requests trusts."""

    ca_file: str = ""
    fingerprints: Tuple[str, ...] = ()  # SHA-256; one for each server, or one for all
    anything: bool = False

    def fingerprints_for(self, servers: Tuple[str, ...]) -> Tuple[Optional[str], ...]:
        """For each server its fingerprint, or None."""
        if len(self.fingerprints) == len(servers):
            return self.fingerprints
        only = self.fingerprints[0] if self.fingerprints else None
        return (only,) * len(servers)


class Mode(enum.Enum):
    RUN = "run"
    NO_WAIT = "no wait"
    CHECK = "check"
    LIST = "list"


class Config(NamedTuple):
    """What the command line, the environment and files came to. Times are in seconds."""

    servers: Tuple[str, ...]  # HOST:PORT; two: a pair
    user: str
    password: Secret
    trust: Trust
    mode: Mode
    task_name: str = ""
    session_name: str = ""
    min_interval: float = 0.0  # 0: none
    timeout: float = 1800.0
    request_timeout: float = 30.0

    @property
    def asks_role(self) -> bool:
        """Is each server asked whether it is the active one?"""
        return len(self.servers) > 1 or self.mode is Mode.CHECK


# --- 4. Records -----------------------------------------------------------------------------------


class Message(NamedTuple):
    """A message of CSM. Two runs leave the same ids: its time tells it from an older one."""

    seconds: float  # 0: not known
    text: str  # begins with the id, or is the id alone, or has none

    @property
    def id(self) -> str:
        """Zeros in front of its digits do not count."""
        found = MESSAGE_ID.match(self.text)
        if found is None:
            return ""
        prefix, digits, severity = found.groups()
        return f"{prefix}{int(digits)}{severity}"

    @property
    def shown_id(self) -> str:
        """The id as it came."""
        found = MESSAGE_ID.match(self.text)
        return found.group() if found else ""

    @property
    def severity(self) -> str:
        """I information, W warning, E error, S severe; "" without an id."""
        return self.id[-1:]

    @property
    def is_error(self) -> bool:
        """Any severity but I and W; a text without an id tells nothing."""
        return self.severity not in ("", "I", "W")

    @property
    def is_timeless(self) -> bool:
        """It has an id, and no time, not even in its text: of two runs it reads the same."""
        return self.seconds == 0 and self.id != "" and not re.search(r"\d:\d\d", self.text)

    @property
    def key(self) -> Tuple[float, str]:
        """The same message has the same key: its text may be filled in later, its time may not.
        Where the time is not known, the text is all there is (and may hold the time)."""
        if not self.seconds:
            return 0.0, self.text
        return self.seconds, self.id or self.text


NO_MESSAGE = Message(0.0, "")


def errors_among(messages: List[Message]) -> List[Message]:
    return [each for each in messages if each.is_error]


def more_often_in(shown: Tuple[Message, ...], noted: Tuple[Message, ...]) -> List[Message]:
    before = collections.Counter(each.key for each in noted)
    now = collections.Counter(each.key for each in shown)
    return [each for each in shown if now[each.key] > before[each.key]]


class Backup(NamedTuple):
    """A backup as a session lists it."""

    id: str
    time: str  # as CSM shows it
    valid: bool
    copy_sets: str
    seconds: float  # when it was taken, by the storage's clock
    sequence: str  # a session may have several, of one clock each


class Session(NamedTuple):
    """A session as CSM shows it."""

    name: str
    status: str
    state: str
    kind: str
    in_error: bool  # Severe, or haserror
    copy_sets: str
    backups: Tuple[Backup, ...]
    is_odd: bool = False  # the list of backups holds something that could not be read

    @property
    def is_safeguarded(self) -> bool:
        return is_safeguarded(self.kind)

    @property
    def hides_backups(self) -> bool:
        """Protected means that there are backups. So this view is no view of them."""
        return self.state == "Protected" and not self.backups


def is_safeguarded(kind: str) -> bool:
    """A session that does not tell its type is taken for one: CSM refuses what does not fit."""
    return not kind or SAFEGUARDED in kind.lower()


class Task(NamedTuple):
    """A scheduled task as CSM shows it."""

    id: int
    name: str
    enabled: bool
    running: bool
    pending_approval: bool
    last_ran: float  # when its last run started, by CSM's clock; 0: not known
    messages: Tuple[Message, ...]  # oldest first
    sessions: Tuple[str, ...] = ()  # those that its Backup steps name
    steps: Tuple[str, ...] = ()
    touched: Tuple[str, ...] = ()  # names of all sessions in its steps
    next_task: int = 0  # that it starts when it ends well; 0: none

    @property
    def last_message(self) -> Message:
        return self.messages[-1] if self.messages else NO_MESSAGE

    @property
    def state(self) -> str:
        """One word, as --json and --list show it."""
        if self.pending_approval:
            return "approval"
        if self.running:
            return "running"
        return "enabled" if self.enabled else "disabled"

    @property
    def is_mute(self) -> bool:
        """It shows nothing that a run would change, but for the flag."""
        return not self.last_ran and not self.messages


def is_later_start(one: float, other: float) -> bool:
    """Of two times of `lastRan`. One server may tell it to the second, another one not."""
    is_rounded = 0 in (one % 1, other % 1)
    return int(one) > int(other) if is_rounded else one > other


class Snapshot(NamedTuple):
    """What one server shows of the target at one moment. The one of before the trigger is the
    note."""

    server: str  # ids belong to it
    task: Optional[Task]  # None: the target is a session; in a look: the task was not listed
    sessions: Tuple[Optional[Session], ...]  # that must show a new backup; None: not seen
    earliest: float  # the earliest Date of all answers so far; without any, our own clock
    latest: float  # the Date that came last; without any: inf
    at: float  # when it was complete, in seconds since `Waiter.begin`
    asked_at: float  # when it was asked for: what it shows may be as old


class Target(NamedTuple):
    """What the trigger is for, and the note: what is there before it."""

    name: str  # as it is shown
    note: Snapshot
    session_names: Tuple[str, ...]  # of those that must show a new backup
    id_read_with: Tuple[str, int]  # where, and with which log-in, the task's id was read
    remarks: Tuple[str, ...] = ()  # that belong to the verdict
    is_chained: bool = False


class TaskList(NamedTuple):
    tasks: Tuple[Task, ...]  # those that were asked for
    names: Tuple[Tuple[int, str], ...]  # id and name of all
    read_with: Tuple[str, int] = ("", 0)  # the log-in

    def name_of(self, number: int) -> str:
        return next((name for id_, name in self.names if id_ == number), "")


NO_TASKS = TaskList((), ())


class Noted(NamedTuple):
    """A session as it was before: what it listed then is not new."""

    server: str
    session: Session
    is_late: bool  # it could not be noted before the trigger: this is the first view afterwards


class Token(NamedTuple):
    secret: Secret
    serial: int  # the how many-eth of this call
    is_kept: bool  # at a 403: another token has got one, too, so that it is about rights


class Role(enum.Enum):
    """What a server of a pair tells of itself."""

    NOT_ASKED = "not asked since its refusal"
    ACTIVE = "active"
    STANDBY = "standby"
    NOT_TOLD = "it does not say"


class Reply(NamedTuple):
    """What a server answered."""

    path: str
    status: int
    data: Any  # the JSON value; None where it is none
    message: Message
    summary: str  # request and answer in a line, without what could be secret
    is_page: bool = False  # HTML


# --- 5. Reader: JSON to records -------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A JSON text or number as text; "" for anything else."""
    return str(value) if isinstance(value, (str, int, float)) else ""


def is_true(value: Any) -> bool:
    """A boolean may come as a string."""
    return text_of(value).lower() == "true"


def rows_of(value: Any) -> List[Dict[str, Any]]:
    """The objects in a list, or the one object that stands in its place."""
    return [each for each in list_of(value) if isinstance(each, dict)]


def list_of(value: Any) -> List[Any]:
    return value if isinstance(value, list) else [value]


def number_of(value: Any) -> float:
    """A number may come as a string, and a time in milliseconds; 0 for what is none."""
    if not re.match(r"-?\d{1,13}(\.\d+)?\Z", text_of(value)):
        return 0.0
    number = float(value)
    return number if number < 1e11 else number / 1000


def printable(text: str) -> str:
    """Without what would act on a terminal or split a line of a log."""
    return "".join(each for each in text if each.isprintable() or each in "\u00a0\u3000")


def escaped(name: str) -> str:
    """A name with all that cannot be seen made visible."""
    return "".join(each if each.isprintable() else visible(each) for each in name)


def visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def show_time(seconds: float) -> str:
    if seconds <= 0:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def json_of(body: bytes) -> Any:
    """None for what is no JSON. Whole numbers stay texts: int() of a million digits takes long."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_int=str)
    except (ValueError, RecursionError):
        return None


class Reader:
    """Makes records of CSM's JSON. Texts are made printable, and secrets in them blanked."""

    def __init__(self, *secrets: Secret) -> None:
        self._forms: Tuple[str, ...] = ()  # of all secrets: made once, a task may have 5,410 texts
        for each in secrets:
            self.blank(each)

    def blank(self, secret: Secret) -> None:
        """From now on this is no part of any text."""
        self._forms = tuple(dict.fromkeys((*self._forms, *forms_of(secret.reveal()))))

    def clean(self, value: Any) -> str:
        """A text of CSM's, as it may be shown. Its id is kept, whatever is secret."""
        text = printable(text_of(value).strip())
        head = Message(0.0, text).shown_id
        if any(head in each for each in self._forms):
            head = ""  # it is the secret itself, or its beginning
        rest = text[len(head) :]
        for form in self._forms:
            rest = rest.replace(form, "***")
        return (head + rest)[:400]

    def message(self, data: Any) -> Message:
        """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
        entry = data if isinstance(data, dict) else {"resultText": data}
        text = text_of(entry.get("msgTranslated") or entry.get("resultText")).strip()
        name = text_of(entry.get("msg")).strip()
        whole = text if text.startswith(name) else f"{name} {text}"
        return Message(number_of(entry.get("baseDate")), self.clean(whole))

    def named(self, data: Any) -> List[Dict[str, Any]]:
        """The list of all tasks, or of all sessions. An empty list is one."""
        found = [each for each in rows_of(data) if isinstance(each.get("name"), str)]
        if not found and data != []:
            raise OddReply("no list of things with names")
        return found

    def task(self, data: Dict[str, Any]) -> Task:
        number = number_of(data.get("id"))
        if not 1 <= number < 1e8:
            raise OddReply("a task without an id")
        return Task(
            id=int(number),
            name=text_of(data.get("name")),
            enabled=is_true(data.get("enabled")),
            running=is_true(data.get("running")),
            pending_approval=is_true(data.get("pendingApproval")),
            last_ran=number_of(data.get("lastRan")),
            messages=oldest_first([self.message(each) for each in messages_of_task(data)]),
            sessions=sessions_of_task(data),
            steps=tuple(self.step(each) for each in steps_of(data)),
            touched=sessions_touched(data),
            next_task=int(number_of(data.get("runtaskonsuccess"))),
        )

    def step(self, row: Dict[str, Any]) -> str:
        """A command, or a wait for a state, in one session."""
        action = row.get("command") or f"wait for {text_of(row.get('state'))}"
        return self.clean(f"{text_of(row.get('sessionName'))}: {text_of(action)}")

    def session(self, data: Any, name: str) -> Session:
        if not isinstance(data, dict) or data.get("name") != name:
            raise OddReply("not that session")
        status = text_of(data.get("status"))
        rows = backup_results(data)
        backups = [self.backup(row, sequence) for sequence, row in rows if isinstance(row, dict)]
        return Session(
            name=name,
            status=self.clean(status),
            state=self.clean(data.get("state")),
            kind=text_of(data.get("rulesname")),
            in_error=status.lower() == "severe" or is_true(data.get("haserror")),
            copy_sets=self.clean(data.get("numcopysets")),
            backups=tuple(backups),
            is_odd=not all(is_result(row) for _, row in rows),
        )

    def backup(self, row: Dict[str, Any], sequence: str) -> Backup:
        """An entry of BackupResults. Its id is its time, in epoch seconds."""
        seconds = number_of(row.get("backupID"))
        if seconds < 1e9:
            seconds = number_of(row.get("timestamp"))
        return Backup(
            id=self.backup_id(row.get("backupID")) or f"{seconds:.0f}",
            time=self.clean(row.get("backupTime")) or show_time(seconds),
            valid=is_true(row.get("valid")),
            copy_sets=self.clean(row.get("numCopySets")) or "?",
            seconds=seconds,
            sequence=sequence,
        )

    def backup_id(self, value: Any) -> str:
        """A number has nothing to hide, and is compared."""
        return text_of(value) if number_of(value) else self.clean(value)


def forms_of(secret: str) -> Tuple[str, ...]:
    """How a server may echo it: as it is (control characters taken out), as it was sent, or as a
    page of HTML has it."""
    plain = printable(secret).strip() or secret
    page = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    sent = (quote(secret, safe=""), quote_plus(secret))
    small = [re.sub("%..", lambda each: each.group().lower(), text) for text in sent]
    return (plain, page, page.replace('"', "&quot;"), *sent, *small)


def sessions_of_task(data: Dict[str, Any]) -> Tuple[str, ...]:
    """Those of the steps Backup; where CSM does not show the steps, all that they touch."""
    backups = [each for each in steps_of(data) if is_backup(each.get("command"))]
    names = [text_of(each.get("sessionName")) for each in backups]
    return tuple(names) if steps_of(data) else sessions_touched(data)


def steps_of(data: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Empty where one of them cannot be read: it may be a Backup, which must be proven."""
    steps = list_of(data.get("actions") or [])
    return steps if all(map(is_step, steps)) else []


def is_step(row: Any) -> bool:
    """A command, or a wait for a state; of a Backup the session must be told."""
    if not isinstance(row, dict):
        return False
    if is_backup(row.get("command")):
        return bool(text_of(row.get("sessionName")))
    return bool(text_of(row.get("command")) or text_of(row.get("state")))


def sessions_touched(data: Dict[str, Any]) -> Tuple[str, ...]:
    names = [text_of(each.get("sessionName")) for each in rows_of(data.get("actions"))]
    names += [text_of(each) for each in list_of(data.get("affectedSession"))]
    return tuple(dict.fromkeys(filter(None, names)))


def is_backup(command: Any) -> bool:
    """`Backup`, or `Backup` with something after it."""
    return text_of(command).lower().split()[:1] == ["backup"]


def messages_of_task(data: Dict[str, Any]) -> List[Any]:
    """From 6.3.2 on there is one, `lastmessage`; before, `messages`, in ascending time."""
    if data.get("lastmessage"):
        return [data["lastmessage"]]
    return list_of(data.get("messages") or [])


def oldest_first(messages: List[Message]) -> Tuple[Message, ...]:
    """A server that lists the newest first would hide an error behind the last one. Its own order
    is kept otherwise: a clock may have been set back."""
    times = [each.seconds for each in messages if each.seconds]
    is_reversed = bool(times) and times[0] > times[-1]
    return tuple(messages[::-1] if is_reversed else messages)


def backup_results(data: Dict[str, Any]) -> List[Tuple[str, Any]]:
    """What the lists of backups hold, each with its sequence's name. The key was seen as
    BackupResults; any case is accepted."""
    found: List[Tuple[str, Any]] = []
    for sequence in rows_of(data.get("backupInfo")):
        name = text_of(sequence.get("backupSequence"))
        for key, value in sequence.items():
            if key.lower() == "backupresults":
                found += [(name, row) for row in list_of(value or [])]
    return found


def is_result(row: Any) -> bool:
    """Can it be read as a backup? What cannot may hide one."""
    if not isinstance(row, dict):
        return False
    return bool(number_of(row.get("backupID")) or number_of(row.get("timestamp")))


def role_of(data: Any) -> Role:
    """Only a server that says so is a standby."""
    active = text_of(data.get("islocalactive")).lower() if isinstance(data, dict) else ""
    return {"true": Role.ACTIVE, "false": Role.STANDBY}.get(active, Role.NOT_TOLD)


def date_of(header: Optional[str]) -> float:
    """The Date of an answer. What cannot be read is 0."""
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(header or "")
        return float(mktime_tz(parsed)) if parsed else 0.0  # without a zone it is UTC
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


# === PART I: what can start something, or decide a verdict ========================================

# --- 6. Faults: what went wrong with a request, and what that means -------------------------------


class Purpose(enum.IntEnum):
    """What a request is for: the column of the table FAULTS."""

    LOG_IN = 0
    READ = 1
    COMMAND = 2  # a POST that starts something


class Oddity(enum.Enum):
    """What is odd about an answer, or about its absence: the row of the table FAULTS."""

    UNTRUSTED = "the server's certificate is not trusted: nothing was sent"
    UNSENT = "no connection could be made: nothing was sent"
    LOST = "no whole answer came: what cannot be told counts as sent"
    REDIRECT = "3xx: this is not CSM"
    TOKEN = "401: the token is unknown or expired, so it was not processed"
    FORBIDDEN = "403 without a message: the token, or this user's rights; it was not processed"
    REFUSED = "400, 405, 415 and their like, or a message of CSM's with the severity of an error"
    BUSY = "429, 503"
    NO_JSON = "2xx, and no JSON: a log-in page, perhaps"
    USELESS = "any other status; a command without a message of severity I or W"


# A command may be sent again without looking first only where this table has a NotProcessed in its
# column.
FAULTS: Dict[Oddity, Tuple[Type[Problem], Type[Problem], Type[Problem]]] = {
    # oddity:         (LOG_IN,       READ,        COMMAND)
    Oddity.UNTRUSTED: (WrongServer, WrongServer, WrongServer),
    Oddity.UNSENT: (Unreachable, Unreachable, Unreachable),
    Oddity.LOST: (Unreachable, Unreachable, OutcomeUnknown),
    Oddity.REDIRECT: (NotCsm, NotCsm, OutcomeUnknown),
    Oddity.TOKEN: (LoginRefused, TokenLost, TokenLost),
    Oddity.FORBIDDEN: (LoginRefused, Denied, Denied),
    Oddity.REFUSED: (LoginRefused, Denied, Refused),
    Oddity.BUSY: (NoUse, NoUse, Busy),
    Oddity.NO_JSON: (LoginRefused, NoUse, OutcomeUnknown),
    Oddity.USELESS: (NoUse, NoUse, OutcomeUnknown),
}

REFUSING_STATUSES = (400, 405, 406, 409, 411, 413, 414, 415, 422)
BUSY_STATUSES = (429, 503)
TOKEN_NOT_TAKEN = (Oddity.TOKEN, Oddity.FORBIDDEN, Oddity.NO_JSON, Oddity.REDIRECT)


def oddity_of(purpose: Purpose, reply: Reply) -> Optional[Oddity]:
    """What is odd about an answer; None: it is what was hoped for."""
    if purpose is Purpose.LOG_IN and reply.message.is_error:
        return Oddity.REFUSED  # a wrong password may come with a status of 500
    odd = oddity_of_status(reply)
    if odd is not None:
        return odd
    if reply.data is None:
        return Oddity.NO_JSON
    if purpose is Purpose.COMMAND and reply.message.severity not in ("I", "W"):
        return Oddity.USELESS
    return None


def oddity_of_status(reply: Reply) -> Optional[Oddity]:
    """A message of CSM's tells more than a status below 500, but for 401 and 3xx."""
    if reply.status == 401:
        return Oddity.TOKEN
    if reply.status in BUSY_STATUSES:
        return Oddity.BUSY
    if 300 <= reply.status < 400:
        return Oddity.REDIRECT
    if reply.message.is_error and reply.status < 500:
        return Oddity.REFUSED
    if reply.status == 403:
        return Oddity.FORBIDDEN
    if reply.status in REFUSING_STATUSES:
        return Oddity.REFUSED
    return None if 200 <= reply.status < 300 else Oddity.USELESS


def oddity_of_error(error: BaseException) -> Oddity:
    """Why there is no answer. What cannot be told counts as sent: that is the safe side."""
    from requests.exceptions import SSLError
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    cause = cause_of(error)
    if isinstance(cause, (NewConnectionError, ConnectTimeoutError)):
        return Oddity.UNSENT
    if isinstance(error, SSLError) and distrust_in(str(cause)):
        return Oddity.UNTRUSTED
    return Oddity.LOST


def cause_of(error: BaseException) -> Any:
    """urllib3's own error in one of requests', without the address: that holds a name."""
    return getattr((error.args or ("",))[0], "reason", None)


def distrust_in(text: str) -> str:
    """The words in an error of TLS that say why the certificate is not trusted; "": none do."""
    found = re.search("certificate v[^()]*[^() ]|Fingerprints[^.]*|doesn't match", text)
    return found.group() if found else ""


# --- 7. The client: threads, waiting, requests ----------------------------------------------------


class Signals:
    """Which signal has come. Its handler notes it, and every wait of the main thread hears of it
    within a slice; nothing is interrupted where it stands, but for what `interrupt` runs."""

    SLICE = 0.1  # seconds: a signal ends the call within 0.2
    FINE_SLICE = 0.02  # where an answer to a trigger may come meanwhile
    NAMES = ("SIGHUP", "SIGINT", "SIGTERM")

    def __init__(self) -> None:
        self.first = 0
        self.interrupts = False

    def listen(self) -> None:
        """A signal that the parent ignores (nohup; a shell's `&`) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in self.NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        if self.first:  # the second one ends the process at once
            os._exit(128 + self.first)
        self.first = number
        if self.interrupts:
            raise Stopped(number)

    def check(self) -> None:
        if self.first:
            raise Stopped(self.first)

    def interrupt(self, job: Callable[[], T]) -> T:
        """Do what has no slices: a line is typed, modules are imported."""
        self.interrupts = True
        try:
            self.check()
            return job()
        finally:
            self.interrupts = False
            self.check()


class Call:
    """Something that a worker does: its result, or its error, once it is done."""

    def __init__(self, job: Callable[[], Any]) -> None:
        self._job = job
        self._done = threading.Event()
        self._result: Any = None
        self._error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            self._result = self._job()
        except BaseException as error:  # it is raised again where the result is asked for
            self._error = error
        self._done.set()

    def is_done_within(self, seconds: float, signals: Signals) -> bool:
        """Wait for it in slices. Real time: what is waited for is real."""
        until = time.monotonic() + seconds
        while not self._done.is_set():
            signals.check()
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._done.wait(min(left, signals.SLICE))
        return True

    def is_done(self) -> bool:
        return self._done.is_set()

    def ends_within(self, seconds: float) -> bool:
        """The same, deaf to signals: for what must be short."""
        return self._done.wait(seconds)

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


class Worker:
    """A thread that does one job after another, and is never ended: in a jail without
    libgcc_s.so.1 a thread of Python 3.6 that ends takes the process with it."""

    def __init__(self) -> None:
        self._calls: "queue.Queue[Call]" = queue.Queue()
        self._thread: Optional[threading.Thread] = None

    def start(self, job: Callable[[], Any]) -> Call:
        call = Call(job)
        if self._has_thread():
            self._calls.put(call)
        else:
            call.run()
        return call

    def _has_thread(self) -> bool:
        """Where no thread can be had, a job is done at once: no limit and no signal ends it then,
        but a backup that takes long is better than none."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        while True:
            self._calls.get().run()


class Waiter:
    """The clock of the call, and its ear for signals."""

    def __init__(self, clock: Clock, signals: Signals) -> None:
        self.clock = clock
        self.signals = signals
        self.began = clock.monotonic()
        self.began_by_clock = clock.time()  # the time of day then

    def begin(self) -> None:
        """The deadline counts from here."""
        self.began = self.clock.monotonic()
        self.began_by_clock = self.clock.time()

    def passed(self) -> float:
        """Seconds since the call began."""
        return self.clock.monotonic() - self.began

    def sleep(self, seconds: float) -> None:
        slices = math.ceil(seconds / self.signals.SLICE)
        for _ in range(slices):
            self.signals.check()
            self.clock.sleep(seconds / slices)
        self.signals.check()

    def sleep_unless(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Sleep until something is over, at most."""
        slices = math.ceil(seconds / self.signals.FINE_SLICE)
        for _ in range(slices):
            self.signals.check()
            if is_over():
                return
            self.clock.sleep(seconds / slices)

    def is_done(self, call: Call, seconds: float) -> bool:
        return call.is_done_within(seconds, self.signals)


class Line:
    """A worker with HTTP connections of its own: one to each server, kept open. One that is stuck
    in a request is left behind, and another takes its place."""

    def __init__(self, servers: Iterable[str], trust: Trust) -> None:
        self.worker = Worker()
        self.http = open_http(tuple(servers), trust)

    def start(
        self, server: str, method: str, path: str, times: Tuple[float, float], **more: Any
    ) -> Call:
        """Start a request. More: its form and headers, as requests wants them."""
        return self.worker.start(lambda: self.send(server, method, path, times, **more))

    def send(
        self, server: str, method: str, path: str, times: Tuple[float, float], **more: Any
    ) -> Any:
        """EVERY REQUEST TO CSM IS SENT HERE, in the worker. -> requests' own answer, read whole.
        Times: for the connection to one address, and for one read. The whole is bounded by who
        waits for it."""
        self.http.cookies.clear()  # one that expires must not spoil a log-in
        return self.http.request(
            method,
            f"https://{server}{BASE}{path}",
            allow_redirects=False,  # requests would carry the token to another host
            timeout=times,
            **more,
        )


def open_http(servers: Tuple[str, ...], trust: Trust) -> "requests.Session":
    """A session of requests that reaches these servers, each with its trust, and nothing else:
    for any other address there is no adapter (InvalidSchema)."""
    import requests
    from urllib3.util import ssl_

    http = requests.Session()
    http.trust_env = False  # no proxy, .netrc or CA bundle from the environment
    http.verify = trust.ca_file or not (trust.anything or trust.fingerprints)
    http.headers["Accept-Language"] = "en-US"
    http.headers["Content-Type"] = "application/x-www-form-urlencoded"  # with or without a form
    http.adapters.clear()
    for server, fingerprint in zip(servers, trust.fingerprints_for(servers)):
        adapter = requests.adapters.HTTPAdapter(max_retries=0)  # nothing below us sends twice
        # Our own: that of requests would load the system's CAs. A fingerprint needs none.
        must_verify = ssl.CERT_REQUIRED if http.verify else ssl.CERT_NONE
        context = ssl_.create_urllib3_context(cert_reqs=must_verify)
        adapter.init_poolmanager(1, 1, assert_fingerprint=fingerprint, ssl_context=context)
        http.mount(f"https://{server}/", adapter)
    return http


def fingerprint_without_sending(server: str) -> str:
    """What certificate a server presents. Of HTTP nothing is sent."""
    host, _, port = server.rpartition(":")
    pem = ssl.get_server_certificate((host.strip("[]"), int(port)))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    return ":".join(f"{each:02X}" for each in digest)


class Sent(NamedTuple):
    """A request that is under way."""

    purpose: Purpose
    server: str
    method: str
    path: str
    line: Line
    call: Call

    def text(self) -> str:
        return f"{self.server}: {self.method} {self.path}"


class ServerFaults(NamedTuple):
    """Of one server, while something is read."""

    server: str
    last: str
    kind: Type[NotProcessed]  # of the last firm one
    firm: int  # how many of that kind came


class Tries(NamedTuple):
    """What has become of a read so far."""

    began: float
    tried: int = 0
    faults: Tuple[ServerFaults, ...] = ()  # of each server, the last one that was asked last

    def after(self, server: str, fault: NotProcessed) -> "Tries":
        others = tuple(each for each in self.faults if each.server != server)
        before = self.faults_of(server)
        kind, firm = before.kind, before.firm
        if fault.firm:  # a log-in and a read that were refused once each were not refused twice
            firm = firm + 1 if isinstance(fault, kind) else 1
            kind = type(fault)
        faults = (*others, ServerFaults(server, str(fault), kind, firm))
        return Tries(self.began, self.tried + 1, faults)

    def faults_of(self, server: str) -> ServerFaults:
        none = ServerFaults(server, "", NotProcessed, 0)
        return next((each for each in self.faults if each.server == server), none)

    def is_firm(self, server: str) -> bool:
        """Has it told the same twice?"""
        return self.faults_of(server).firm >= BELIEVED_AFTER

    def text(self) -> str:
        return "; ".join(each.last for each in self.faults)


class Patience(NamedTuple):
    """How long a read is tried."""

    until: float = NEVER  # seconds since the call began; the deadline ends it anyway
    tries: float = NEVER
    silent_tries: float = NEVER  # where the last one got no answer
    may_move: bool = True  # to the other server of a pair


PATIENT = Patience()


def is_answer(fault: NotProcessed) -> bool:
    """Has the server answered the request itself? Then the same one may be asked another way."""
    return isinstance(fault, (Denied, NoUse)) and not isinstance(fault, Standby)


class Csm:
    """The client. `_start` alone sends anything to CSM, for `command` and `_exchange`, which
    `_log_in`, `ask_role` and `try_read` alone call. Its state: which server is in use, the tokens,
    and the connections."""

    def __init__(self, config: Config, progress: "Progress") -> None:
        self.config = config
        self.progress = progress
        self.pace = progress.pace
        self.waiter = progress.waiter
        self.reader = Reader(config.password)
        self.servers: Deque[str] = collections.deque(config.servers)  # the first is in use
        self.asks_role = config.asks_role
        self.may_have_started = False  # once a trigger is out, a refused log-in is never believed
        self.earliest = NEVER  # Date of the answers so far
        self.latest = -NEVER
        self._was_in = False  # has a server ever let us in?
        self._tokens: Dict[str, Token] = {}
        self._logins = 0
        self._not_standby: Set[str] = set()  # since the log-in there
        self._forbidden: Set[str] = set()  # servers where a 403 has taken the token away
        self._login_at: Dict[str, float] = {}  # server -> when to try a refused log-in again
        self._login_pause = self.pace.first_login_pause
        self._login_refused = ""
        self._line: Optional[Line] = None

    @property
    def server(self) -> str:
        return self.servers[0]

    @property
    def login_here(self) -> Tuple[str, int]:
        """Where we are logged in: what was read there belongs to it. 0: nowhere."""
        token = self._tokens.get(self.server)
        return self.server, token.serial if token else 0

    @property
    def is_logged_in(self) -> bool:
        return self.server in self._tokens

    def time_left(self) -> float:
        return self.config.timeout - self.waiter.passed()

    def next_server(self) -> None:
        self.servers.rotate(-1)

    def use(self, server: str) -> None:
        while self.server != server:
            self.next_server()

    # Reading is free: a read may be repeated, and may move to the other server.

    def try_read(self, path: str, parse: Callable[[Reply], T], until: float = NEVER) -> T:
        """GET it once -> what `parse` makes of the answer. Raises NotProcessed."""
        self.try_log_in(until)
        reply = self._exchange(Purpose.READ, "GET", path, until=until)
        try:
            return parse(reply)
        except OddReply as odd:
            raise NoUse(f"{reply.summary}: odd reply: {odd}") from None

    def read(
        self, paths: Deque[str], parse: Callable[[Reply], T], patience: Patience = PATIENT
    ) -> T:
        """GET the first of the paths until it works or is hopeless; after a fault the next one."""

        def attempt() -> T:
            try:
                return self.try_read(paths[0], parse, patience.until)
            except NotProcessed as fault:
                if is_answer(fault) and self.is_logged_in:
                    paths.rotate(-1)
                raise

        return self._persist(attempt, patience, len(paths))

    def log_in(self, patience: Patience = PATIENT) -> None:
        self._persist(lambda: self.try_log_in(patience.until), patience)

    def _persist(self, attempt: Callable[[], T], patience: Patience, ways: int = 1) -> T:
        """Try, with growing pauses, until it works or is hopeless; on the other server of a pair
        where this one does not answer, or once each way has failed here. Raises NotProcessed."""
        tries = Tries(began=self.waiter.passed())
        while True:
            try:
                return attempt()
            except NotProcessed as fault:
                tries = tries.after(self.server, fault)
                self._give_up_if_hopeless(tries, fault, patience)
                self.progress.warn(f"{fault}; trying again")
                pause = self._pause_after(tries, fault)
                moves = tries.tried % ways == 0 or not is_answer(fault)
            if patience.may_move and moves:
                self.next_server()
            self.waiter.sleep(max(0.0, min(pause, self._left_for_tries(patience))))

    def _pause_after(self, tries: Tries, fault: NotProcessed) -> float:
        pause = self.pace.retry_after(tries.tried)
        if isinstance(fault, LoginRefused):
            pause = max(pause, self.pace.login_retry)
        return min(pause, self.pace.settle)

    def _give_up_if_hopeless(self, tries: Tries, fault: NotProcessed, patience: Patience) -> None:
        if self._are_all_standby(tries, fault):
            self._stop_asking_roles()
            return
        is_late = self._left_for_tries(patience) <= 0
        most = patience.tries if is_answer(fault) else min(patience.tries, patience.silent_tries)
        is_enough = tries.tried >= most or self._is_believed(tries, fault, patience)
        if self._is_never_let_in(tries, fault) or is_late or is_enough:
            raise type(fault)(tries.text(), fault.message) from None

    def _is_never_let_in(self, tries: Tries, fault: NotProcessed) -> bool:
        """For a while, and by each server twice: one that hangs takes all that time for one try."""
        if fault.firm and not tries.is_firm(self.server):
            return False
        if self._was_in or tries.tried < BELIEVED_AFTER * len(self.servers):
            return False
        return self.waiter.passed() > tries.began + self.pace.first_contact

    def _left_for_tries(self, patience: Patience) -> float:
        """A try that has less than `last_try` for its answer is none."""
        left = min(self.time_left(), patience.until - self.waiter.passed())
        return left - self.pace.last_try

    def _is_believed(self, tries: Tries, fault: NotProcessed, patience: Patience) -> bool:
        """What will hardly pass is believed when each server has told it twice; of a pair whose
        other server does not answer, after a while. A wrong password is told at once: it must not
        lock the user."""
        asked = list(self.servers) if patience.may_move else [self.server]
        firm = [tries.is_firm(each) for each in asked]
        is_wrong_password = isinstance(fault, LoginRefused) and not self._was_in
        if is_wrong_password and tries.is_firm(self.server):
            return True
        if self.waiter.passed() > tries.began + self.pace.first_contact:
            return any(firm)
        return all(firm)

    def _are_all_standby(self, tries: Tries, fault: NotProcessed) -> bool:
        """Will no server of a pair be the active one?"""
        passed = self.waiter.passed() - tries.began
        if self._was_in or self.config.mode is Mode.CHECK:
            return False
        return isinstance(fault, Standby) and passed > self.pace.first_contact

    def _stop_asking_roles(self) -> None:
        """The trigger goes to the first one, and CSM's answer decides."""
        self.asks_role = False
        self.servers = collections.deque(reversed(self.config.servers))  # the next is the first

    # A command starts something: it is sent once, and its answer may be late.

    def command(self, path: str, form: Optional[Form]) -> Sent:
        """POST it, and do not wait: a Backup is answered when it is done. Only `send_trigger` calls
        this."""
        return self._start(Purpose.COMMAND, "POST", path, self.time_left(), form)

    def answer_to(self, sent: Sent) -> Union[Message, Problem]:
        """What became of a command that has an answer, or a broken connection: CSM's message, or
        the problem that FAULTS has for it. Nothing but the table can call it not processed."""
        try:
            return self._finish(sent).message
        except Problem as problem:
            return problem

    # Logging in.

    def try_log_in(self, until: float = NEVER) -> None:
        """Once, unless we are logged in. Raises NotProcessed."""
        if self.server not in self._tokens:
            self._take_token(until)
        if self.asks_role and self.server not in self._not_standby:
            if self.ask_role(until) is Role.STANDBY:
                raise Standby(f"{self.server} is a standby")
            self._not_standby.add(self.server)
        self._was_in = True
        self.progress.server = self.server

    def _take_token(self, until: float) -> None:
        if self.waiter.passed() < self._login_at.get(self.server, 0.0):
            raise HeldBack(f"{self._login_refused}; it is asked again later")
        try:
            secret = self._log_in(until)
        except LoginRefused as fault:
            self._note_refused_login(str(fault))
            raise
        self._logins += 1
        self._login_pause = self.pace.first_login_pause
        is_kept = self.server in self._forbidden
        self._forbidden.discard(self.server)
        self._tokens[self.server] = Token(secret, self._logins, is_kept)
        self._not_standby.discard(self.server)

    def _note_refused_login(self, text: str) -> None:
        """Once a trigger is out, a user must not be locked by ever more tries."""
        self._login_refused = text
        if self.may_have_started:
            self._login_at[self.server] = self.waiter.passed() + self._login_pause
            self._login_pause = min(2 * self._login_pause, self.pace.longest_login_pause)

    def _log_in(self, until: float) -> Secret:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        form = {"username": self.config.user, "password": self.config.password.reveal()}
        reply = self._exchange(Purpose.LOG_IN, "POST", TOKENS, form, until)
        token = text_of(reply.data.get("token")) if isinstance(reply.data, dict) else ""
        if not re.match(r"[!-~]+\Z", token):
            raise LoginRefused(f"{reply.summary}: no token")
        secret = Secret(token)
        self.reader.blank(secret)
        return secret

    def role_here(self, until: float = NEVER) -> Role:
        """What it says of itself. What hinders the log-in tells nothing of that."""
        try:
            self.try_log_in(until)
        except Standby:
            return Role.STANDBY
        except NotProcessed:
            return Role.NOT_TOLD
        return self.ask_role(until)

    def ask_role(self, until: float = NEVER) -> Role:
        """GET /system/ha, once."""
        try:
            return role_of(self._exchange(Purpose.READ, "GET", ROLE, until=until).data)
        except NotProcessed:
            return Role.NOT_TOLD

    def doubt_role(self, server: str) -> None:
        """It was left for the other one: before it is used again, it is asked."""
        self._not_standby.discard(server)

    # One way for every request.

    def _exchange(
        self,
        purpose: Purpose,
        method: str,
        path: str,
        form: Optional[Form] = None,
        until: float = NEVER,
    ) -> Reply:
        """A request, and its answer within its time. Raises what FAULTS has for what came."""
        left = min(self.time_left(), until - self.waiter.passed())
        limit = max(min(self.pace.request_timeout, left), 0.01)
        sent = self._start(purpose, method, path, limit, form)
        if not self.waiter.is_done(sent.call, limit):
            raise FAULTS[Oddity.LOST][purpose](f"{sent.text()} got no answer: timed out")
        return self._finish(sent)

    def _start(
        self, purpose: Purpose, method: str, path: str, limit: float, form: Optional[Form] = None
    ) -> Sent:
        """Give a request to the line that is free."""
        token = self._tokens.get(self.server)
        headers = {"X-Auth-Token": token.secret.reveal()} if token else {}
        line = self._line or Line(self.config.servers, self.config.trust)
        self._line = None  # it is free again once it has answered; if it never does, left behind
        connect = min(limit, self.pace.request_timeout) / 2  # of two addresses one may be dead
        call = line.start(
            self.server, method, path, (connect, max(limit, 0.01)), data=form, headers=headers
        )
        return Sent(purpose, self.server, method, path, line, call)

    def _finish(self, sent: Sent) -> Reply:
        """The answer to a request, or the exception that FAULTS has for what came."""
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        self._line = self._line or sent.line
        try:
            answer = sent.call.result()
        except (OSError, ValueError, HTTPError, HTTPException) as error:
            raise self._fault_of(error, sent) from None
        reply = self._reply_of(answer, sent)
        oddity = oddity_of(sent.purpose, reply)
        self._judge_token(sent, oddity, reply)
        if oddity is not None:
            raise FAULTS[oddity][sent.purpose](reply.summary, reply.message)
        return reply

    def _judge_token(self, sent: Sent, oddity: Optional[Oddity], reply: Reply) -> None:
        """A token is kept until an answer says that it is not taken. A 403 that comes again with a
        new token is about rights: that token is kept."""
        token = self._tokens.get(sent.server)
        if token is None or oddity not in TOKEN_NOT_TAKEN or sent.path == ROLE:
            return
        if oddity is Oddity.NO_JSON and not reply.is_page:
            return
        if oddity is Oddity.FORBIDDEN and token.is_kept:
            return
        if oddity is Oddity.FORBIDDEN:
            self._forbidden.add(sent.server)
        del self._tokens[sent.server]

    def _fault_of(self, error: BaseException, sent: Sent) -> Problem:
        oddity = oddity_of_error(error)
        text = f"{sent.text()} got no answer: {reason_of(error)}"
        if oddity is Oddity.UNTRUSTED:
            text = (
                f"{sent.server} is not trusted and was sent no credential "
                f"({distrust_in(str(cause_of(error)))}); SHA-256 fingerprint of its certificate, "
                f"to be confirmed: {self._presented_fingerprint(sent.server)}"
            )
        return FAULTS[oddity][sent.purpose](text)

    def _presented_fingerprint(self, server: str) -> str:
        call = Worker().start(lambda: fingerprint_without_sending(server))
        try:
            return f"{call.result()}" if self.waiter.is_done(call, 2.0) else "could not be read"
        except (OSError, ValueError):
            return "could not be read"

    def _reply_of(self, answer: Any, sent: Sent) -> Reply:
        self.progress.log("DEBUG", f"{sent.text()}: {answer.status_code} after {answer.elapsed}")
        data = json_of(answer.content)
        message = self.reader.message(data) if isinstance(data, dict) else NO_MESSAGE
        date = date_of(answer.headers.get("Date"))
        if date:
            self.earliest = min(self.earliest, date)
            self.latest = date
        shown = "no JSON" if data is None else message.text or "no text"
        return Reply(
            path=sent.path,
            status=answer.status_code,
            data=data,
            message=message,
            summary=f"{sent.text()} answered {answer.status_code} {shown}",
            is_page=answer.content.lstrip()[:1] == b"<",
        )


# --- 8. The target: what is run, and what it looks like before ------------------------------------


def find_target(csm: Csm, patience: Patience = PATIENT) -> Target:
    """Exactly one task or session of exactly that name, and what CSM shows of it now. Raises
    NotFound."""
    config = csm.config
    listing = find_tasks(csm, config.task_name, patience) if config.task_name else NO_TASKS
    task = only_task(listing, config.task_name)
    if task is None:
        return find_session(csm, listing, patience)
    return note_task(csm, task, listing)


def find_tasks(csm: Csm, name: str, patience: Patience) -> TaskList:
    """A name that is not there is believed when it is not there a second time; an empty list is
    odd: CSM is starting, or this user sees none."""
    began = csm.waiter.passed()
    listing = read_tasks(csm, name, patience)
    while not listing.tasks:
        if not listing.names:
            csm.progress.warn(f"{csm.server} lists no task: {NO_TASK_LISTED}; trying again")
            if patience.may_move:
                csm.next_server()
        csm.waiter.sleep(csm.pace.second_look)
        listing = read_tasks(csm, name, patience)
        is_late = csm.waiter.passed() >= min(began + csm.pace.first_contact, patience.until)
        if listing.names or is_late or csm.time_left() < csm.pace.last_try:
            break
    return listing


def only_task(listing: TaskList, name: str) -> Optional[Task]:
    """None where there is no task of that name."""
    ids = sorted({each.id for each in listing.tasks})
    if len(ids) > 1:
        raise NotFound(f'task "{name}" is there {len(ids)} times, with the ids {ids}')
    return listing.tasks[0] if listing.tasks else None


def find_session(csm: Csm, listing: TaskList, patience: Patience) -> Target:
    """The target is a session: -S alone, or -t with a name that no task has."""
    config = csm.config
    name = config.session_name or config.task_name
    names = tuple(each for _, each in listing.names)
    if config.session_name and config.task_name:
        raise missing(csm, "task", config.task_name, names)
    csm.log_in(patience)  # it is no part of the noting
    until = until_noted(csm)
    session = note_session(csm, name, until, names)
    if session is not None and not session.is_safeguarded:
        raise NotFound(f"nothing would be backed up: {kind_of(csm, session)}")
    remarks: Tuple[str, ...] = ()
    if config.task_name:
        remarks = (f'no task is named "{escaped(name)}": Backup goes straight to the session',)
    note = snapshot(csm, csm.server, None, (session,))
    return Target(f'session "{name}"', note, (name,), csm.login_here, remarks)


def note_task(csm: Csm, task: Task, listing: TaskList) -> Target:
    """The sessions' backups, and the task: where they took long, it is read again, so that what
    started in between shows as running. Noting never holds the trigger up: it gets one request
    timeout in all."""
    config = csm.config
    began = csm.waiter.passed()
    until = until_noted(csm)
    names = names_of_sessions(config, task)
    views = [note_session(csm, each, until, None) for each in names]
    kinds = kinds_of(csm, task, names, views, until)
    kept = [pair for pair, kind in zip(zip(names, views), kinds) if is_safeguarded(kind)]
    if not kept and (views or task.steps):
        raise NotFound(why_nothing(csm, task, listing, views))
    if csm.waiter.passed() > began + csm.pace.second_look:
        task = note_task_again(csm, task, listing.read_with, until)
    return Target(
        name=f'task "{task.name}" (id {task.id})',
        note=snapshot(csm, listing.read_with[0], task, tuple(view for _, view in kept)),
        session_names=tuple(name for name, _ in kept),
        id_read_with=listing.read_with,
        remarks=remarks_on(task, listing),
        is_chained=is_chained(config, task),
    )


def is_chained(config: Config, task: Task) -> bool:
    """May the task that this one starts take the backup that -S looks for?"""
    return bool(config.session_name) and task.next_task != 0


def kinds_of(
    csm: Csm, task: Task, names: Tuple[str, ...], views: List[Optional[Session]], until: float
) -> List[str]:
    """The type of each session; of one that cannot be seen, and that no step Backup names, what the
    short list tells."""
    is_named = bool(task.steps or csm.config.session_name)
    rows = [] if is_named or None not in views else session_rows(csm, until)
    listed = {each["name"]: text_of(each.get("rulesname")) for each in rows}
    return [view.kind if view else listed.get(name, "") for name, view in zip(names, views)]


def until_noted(csm: Csm) -> float:
    """Noting gets one request timeout in all; where the deadline is near, half of what is left."""
    return csm.waiter.passed() + min(csm.pace.request_timeout, csm.time_left() / 2)


def names_of_sessions(config: Config, task: Task) -> Tuple[str, ...]:
    """Which sessions must show a backup, each once."""
    if config.session_name:
        return (config.session_name,)
    return tuple(dict.fromkeys(task.sessions))


def note_session(
    csm: Csm, name: str, until: float, known: Optional[Tuple[str, ...]]
) -> Optional[Session]:
    """One view of a session, or None where it cannot be had in time. Known: the names of the tasks,
    where the target is a session; then, or where -S names it, NotFound is raised if the list of
    sessions does not have it."""
    must_exist = known is not None or name == csm.config.session_name
    try:
        return view_of_session(csm, name, Patience(until=until, tries=2, may_move=False))
    except NotProcessed as fault:
        if must_exist:
            check_listed(csm, name, until, known or ())
        try:
            return view_after_fault(csm, name, until, fault)
        except NotProcessed as last:
            csm.progress.not_noted(f'session "{name}" could not be noted: {last}')
            return None


def view_after_fault(csm: Csm, name: str, until: float, fault: NotProcessed) -> Session:
    """Of a pair, a server that does not answer is not waited for too long: the trigger may find the
    other one."""
    if csm.waiter.passed() >= until:
        raise fault
    silent = NEVER if len(csm.servers) == 1 else 4
    patience = Patience(until=until, silent_tries=silent, may_move=False)
    return view_of_session(csm, name, patience)


def view_of_session(csm: Csm, name: str, patience: Patience) -> Session:
    """One that says Protected and lists no backup is looked at once more. Raises NotProcessed."""
    if csm.waiter.passed() >= patience.until:
        raise Unreachable("no time was left")
    session = read_session(csm, name, patience)
    if session.hides_backups:
        csm.waiter.sleep(csm.pace.second_look)
        session = read_session(csm, name, patience)
    return session


def read_session(csm: Csm, name: str, patience: Patience) -> Session:
    paths = collections.deque([path_of_session(name)])
    return csm.read(paths, session_parser(csm, name), patience)


def session_parser(csm: Csm, name: str) -> Callable[[Reply], Session]:
    return lambda reply: csm.reader.session(reply.data, name)


def check_listed(csm: Csm, name: str, until: float, known: Tuple[str, ...]) -> None:
    """Raises NotFound where the list of all sessions does not have it, or shows another type. What
    cannot be read, and an empty list, tell nothing."""
    rows = session_rows(csm, until)
    if rows and not is_listed(name, rows):
        csm.waiter.sleep(csm.pace.second_look)
        rows = session_rows(csm, until)
    names = tuple(each["name"] for each in rows)
    if rows and not is_listed(name, rows):
        kind = "task or session" if name == csm.config.task_name else "session"
        raise missing(csm, kind, name, known + names, lists_tasks=bool(known))
    for row in rows:
        kind = text_of(row.get("rulesname"))
        if row["name"] == name and not is_safeguarded(kind):
            shown = csm.reader.clean(f'session "{name}" is of the type {kind}')
            raise NotFound(f"nothing would be backed up: {shown}")


def session_rows(csm: Csm, until: float) -> List[Dict[str, Any]]:
    """The short list of all sessions, as far as it can be had in time."""
    patience = Patience(until=until, tries=2, may_move=False)
    if csm.waiter.passed() >= until:
        return []
    try:
        return csm.read(
            collections.deque([SHORT_LIST]), lambda reply: csm.reader.named(reply.data), patience
        )
    except NotProcessed:
        return []


def is_listed(name: str, rows: List[Dict[str, Any]]) -> bool:
    return any(each["name"] == name for each in rows)


def note_task_again(csm: Csm, task: Task, login: Tuple[str, int], until: float) -> Task:
    """As it is after its sessions were noted. Where that cannot be read there, as it was found."""
    if csm.waiter.passed() >= until:
        return task
    patience = Patience(until=until, tries=2, may_move=False)
    try:
        tasks = csm.read(paths_of_task(task), task_parser(csm, task.name), patience).tasks
    except NotProcessed:
        return task
    if csm.login_here != login:
        return task
    return next((each for each in tasks if each.id == task.id), task)


def snapshot(
    csm: Csm, server: str, task: Optional[Task], sessions: Tuple[Optional[Session], ...]
) -> Snapshot:
    """What a server shows, with the Date of the first and the last answer so far. A server that
    sends none is taken to have our own clock, but not for --min-interval."""
    return Snapshot(
        server=server,
        task=task,
        sessions=sessions,
        earliest=csm.earliest if csm.earliest != NEVER else csm.waiter.began_by_clock,
        latest=csm.latest if csm.latest != -NEVER else NEVER,
        at=csm.waiter.passed(),
        asked_at=csm.waiter.passed(),
    )


def read_tasks(csm: Csm, name: str = "", patience: Patience = PATIENT) -> TaskList:
    """GET the list of tasks -> those of that name; without a name, all."""
    return csm.read(collections.deque([TASKS]), task_parser(csm, name), patience)


def task_parser(csm: Csm, name: str) -> Callable[[Reply], TaskList]:
    def parse(reply: Reply) -> TaskList:
        rows = csm.reader.named(reply.data)
        tasks = tuple(csm.reader.task(each) for each in rows if name in ("", each["name"]))
        is_alone = reply.path != TASKS
        if is_alone and not any(each.messages for each in tasks):
            raise OddReply("not that task, or none of its messages")
        names = tuple((int(number_of(row.get("id"))), row["name"]) for row in rows)
        return TaskList(tasks, names, csm.login_here)

    return parse


def paths_of_task(task: Task) -> Deque[str]:
    """Where to look for it. A list with all the messages of all tasks is long: then the one task
    is asked for, as far as the server can show it."""
    alone = [f"{TASKS}/{task.id}"] if len(task.messages) > 1 else []
    return collections.deque([*alone, TASKS])


def path_of_session(name: str) -> str:
    return SESSIONS + quote(name, safe="", errors="replace")


# --- 9. Verdict: what a session proves ------------------------------------------------------------


class Proof(enum.Enum):
    """What one session shows of its new backup."""

    VALID = "a new valid backup"
    NOT_VALID = "a new backup that is not valid yet"
    NONE = "no new backup"
    UNSEEN = "it was not seen in the last look"
    UNPROVABLE = "it was not noted before, or lists a backup without a time that can be read"


SHOWN = (Proof.VALID, Proof.NOT_VALID)


def is_recent(backup: Backup, noted: Session, earliest: float, pace: Pace) -> bool:
    """An old backup that is listed late must not pass for new; a storage clock that is some minutes
    behind must not hide a good one. Within one sequence one clock decides."""
    sequence = [each.seconds for each in noted.backups if each.sequence == backup.sequence]
    newest = max(sequence, default=-NEVER)
    behind = pace.clock_skew if noted.is_odd else pace.late_listing
    return backup.seconds > newest and backup.seconds >= earliest - behind


def unnoted_backups(noted: Session, view: Session) -> List[Backup]:
    known = {each.id for each in noted.backups}
    return [each for each in view.backups if each.id not in known]


def new_backups(noted: Session, view: Session, earliest: float, pace: Pace) -> List[Backup]:
    """Those that were taken since the note. Exit code 0 stands on this."""
    unnoted = unnoted_backups(noted, view)
    return [each for each in unnoted if is_recent(each, noted, earliest, pace)]


def proof_of(noted: Optional[Noted], view: Optional[Session], earliest: float, pace: Pace) -> Proof:
    """What one session proves. Without a note it proves nothing."""
    if noted is None:
        return Proof.UNPROVABLE
    if view is None:
        return Proof.UNSEEN
    found = new_backups(noted.session, view, earliest, pace)
    if any(each.valid for each in found):
        return Proof.VALID
    if found:
        return Proof.NOT_VALID
    is_timed = all(each.seconds for each in unnoted_backups(noted.session, view))
    return Proof.UNPROVABLE if noted.is_late or not is_timed else Proof.NONE


def is_backed_up(proofs: Tuple[Proof, ...]) -> bool:
    """EACH session shows a new valid backup. No session at all proves nothing."""
    return set(proofs) == {Proof.VALID}


def usable_view(noted: Optional[Noted], view: Optional[Session], server: str) -> Optional[Session]:
    """On another server a session that lists none of the backups that were noted is another one
    of the same name."""
    if view is None or view.hides_backups:
        return None
    if noted is None or noted.server == server:
        return view
    is_other = len(unnoted_backups(noted.session, view)) == len(view.backups)
    return None if is_other and noted.session.backups else view


def with_late_note(noted: Optional[Noted], view: Optional[Session], server: str) -> Optional[Noted]:
    """A session that could not be noted is noted by the first view of it that works; so is one that
    listed nothing, on another server: nothing tells that it is the same."""
    if view is None:
        return noted
    if noted is None:
        return Noted(server, view, is_late=True)
    is_known = noted.server == server or len(noted.session.backups) > 0
    return noted if is_known else Noted(server, view, is_late=True)


def is_young(note: Snapshot, min_interval: float, pace: Pace) -> bool:
    """Has EACH session a valid backup that is younger, by CSM's clock? What cannot be read prevents
    no backup; a storage clock may be some minutes ahead."""
    if not min_interval or not note.sessions:
        return False
    return all(has_young_backup(each, note.latest, min_interval, pace) for each in note.sessions)


def has_young_backup(
    session: Optional[Session], now: float, min_interval: float, pace: Pace
) -> bool:
    ages = [now - each.seconds for each in valid_backups(session)]
    return any(-pace.late_listing <= each < min_interval for each in ages)


def valid_backups(session: Optional[Session]) -> List[Backup]:
    return [each for each in session.backups if each.valid] if session is not None else []


# --- Verdict: what all looks have shown -----------------------------------------------------------


class Evidence(NamedTuple):
    """What all looks since the note have shown, taken together."""

    updated_at: float  # when the last look ended, answered or not, or a trigger was answered
    last_look: (
        Snapshot  # none that did not list the task; its server: the last that showed the target
    )
    noted: Tuple[Optional[Noted], ...]
    last_message: Message  # that was seen; at first the note's
    told_by: str  # the server that showed it
    last_ran: float = 0.0  # the latest start of the task that was told; 0: none
    has_spoken: bool = False  # the run: `last_message` is its own
    doubted: Message = NO_MESSAGE  # the noted one in another form, or one of the run with its id
    earlier_message: Message = NO_MESSAGE  # of the run, the last with another id than that
    errors: Tuple[Message, ...] = ()  # messages of this run that tell of an error
    has_begun: bool = False  # there is a trace of a run
    must_look: bool = False  # since CSM has answered that a Backup is done, nobody has looked
    ended_at: Optional[float] = None  # the first look at its end, or the last new message then
    proofs: Tuple[Proof, ...] = ()  # of each session, in the last look
    has_backups: bool = False  # when all were seen last, each showed a new one, valid or not
    bare_since: Optional[float] = None  # the first look of those in a row that show none of one
    backed_since: Optional[float] = None  # the first look of those in a row that show the proof
    severe_since: Optional[float] = None  # the first view of those in a row that show Severe
    severe_for: float = 0.0  # from that one to the last one
    was_severe: bool = False  # a joined run has left it so
    sent_at: float = NEVER  # the last trigger
    looked: float = 0.0  # seconds of looks that worked, since the last trigger or its answer
    blind: float = 0.0  # seconds of looks that CSM answered without showing the target
    seen_since_sent: bool = False  # a look has shown the target since the last trigger
    unanswered: int = 0  # reads in a row that got no answer

    def has_ended_for(self, seconds: float) -> bool:
        """A slow view, asked for before that, tells nothing of it."""
        return self.ended_at is not None and self.last_look.asked_at - self.ended_at >= seconds

    def has_proof_for(self, seconds: float) -> bool:
        return self.backed_since is not None and self.last_look.at - self.backed_since >= seconds

    def is_bare_for(self, seconds: float) -> bool:
        """A list that lacks a backup for once was seen."""
        return self.bare_since is not None and self.last_look.at - self.bare_since >= seconds

    def has_looked_for(self, seconds: float, pace: Pace) -> bool:
        """Was CSM looked at for one request timeout, and those seconds besides? A session that
        cannot be seen at all is waited for instead."""
        if self.looked >= seconds + pace.request_timeout:
            return True
        if self.seen_since_sent or self.last_look.task is not None:
            return False
        return self.blind >= seconds + pace.session_factor * pace.request_timeout


def first_evidence(note: Snapshot) -> Evidence:
    """Nothing is known but the note."""
    noted = tuple(noted_in_time(note.server, view) for view in note.sessions)
    return Evidence(
        updated_at=note.at,
        last_look=note,
        noted=noted,
        last_message=last_noted(note),
        told_by=note.server,
        last_ran=note.task.last_ran if note.task is not None else 0.0,
        proofs=proofs_unseen(noted),
    )


def noted_in_time(server: str, view: Optional[Session]) -> Optional[Noted]:
    if view is None or view.hides_backups:
        return None
    return Noted(server, view, is_late=False)


def last_noted(note: Snapshot) -> Message:
    """Lists that are empty for a moment were seen."""
    return note.task.last_message if note.task is not None else NO_MESSAGE


def proofs_unseen(noted: Tuple[Optional[Noted], ...]) -> Tuple[Proof, ...]:
    return tuple(Proof.UNPROVABLE if each is None else Proof.UNSEEN for each in noted)


def observe(
    note: Snapshot, seen: Evidence, look: Snapshot, refusal: Optional[str], pace: Pace
) -> Evidence:
    """Add a look that CSM answered. One that does not show the target counts for no server."""
    if len(look.sessions) != len(note.sessions):
        raise ValueError("a look at other sessions proves nothing")
    views = usable_views(seen, look)
    is_blind = look.task is None and (note.task is not None or not any(views))
    if is_blind:
        return observe_nothing(note, seen, look)
    passed = look.at - seen.updated_at
    is_same_server = look.server == seen.last_look.server
    looked = seen.looked + min(passed, pace.counted) if is_same_server else 0.0
    seen = seen._replace(looked=looked, seen_since_sent=True)
    seen = observe_sessions(note, seen, look, views, pace)
    seen = observe_task(note, seen, look, refusal)
    seen = observe_mute_task(note, seen, look, pace)
    return seen._replace(updated_at=look.at, last_look=look, unanswered=0, must_look=False)


def observe_nothing(note: Snapshot, seen: Evidence, look: Snapshot) -> Evidence:
    """CSM has answered, and did not show the target. Of a session nothing else is looked at, so
    that it tells at least that the session cannot be seen now."""
    blind = seen.blind + look.at - seen.updated_at
    seen = seen._replace(updated_at=look.at, blind=blind, unanswered=0)
    if note.task is not None:
        return seen
    last_look = look._replace(server=seen.last_look.server)
    seen = seen._replace(last_look=last_look, must_look=False)
    return observe_proofs(seen, proofs_unseen(seen.noted), look.at)


def usable_views(seen: Evidence, look: Snapshot) -> Tuple[Optional[Session], ...]:
    pairs = zip(seen.noted, look.sessions)
    return tuple(usable_view(noted, view, look.server) for noted, view in pairs)


def observe_sessions(
    note: Snapshot, seen: Evidence, look: Snapshot, views: Tuple[Optional[Session], ...], pace: Pace
) -> Evidence:
    """Add what the sessions show. What stands in a late note is not new."""
    pairs = zip(seen.noted, views)
    noted = tuple(with_late_note(old, view, look.server) for old, view in pairs)
    rows = zip(noted, views)
    proofs = tuple(proof_of(own, view, note.earliest, pace) for own, view in rows)
    is_trace = note.task is None and any(each in SHOWN for each in proofs)
    seen = observe_severe(seen._replace(noted=noted), views, look.at)
    seen = observe_proofs(seen, proofs, look.at)
    return seen._replace(has_begun=seen.has_begun or is_trace)


def observe_proofs(seen: Evidence, proofs: Tuple[Proof, ...], at: float) -> Evidence:
    """What is unseen leaves open whether there are backups."""
    has_backups, bare_since = seen.has_backups, seen.bare_since
    if Proof.UNSEEN not in proofs:
        has_backups = bool(proofs) and all(each in SHOWN for each in proofs)
    if Proof.NONE in proofs or Proof.UNSEEN not in proofs:
        bare_since = since(bare_since, Proof.NONE in proofs, at)
    return seen._replace(
        proofs=proofs,
        has_backups=has_backups,
        bare_since=bare_since,
        backed_since=since(seen.backed_since, is_backed_up(proofs), at),
    )


def since(first: Optional[float], holds: bool, at: float) -> Optional[float]:
    """When it was first seen without a break; None: it does not hold now."""
    if not holds:
        return None
    return at if first is None else first


def has_turned_severe(noted: Optional[Noted], view: Optional[Session]) -> Optional[bool]:
    """None: nothing tells. Only a note of before can say that it was not so before."""
    if noted is None or noted.is_late or view is None:
        return None
    return view.in_error and not noted.session.in_error


def observe_severe(seen: Evidence, views: Tuple[Optional[Session], ...], at: float) -> Evidence:
    """A look that does not see the sessions leaves it as it was."""
    answers = {has_turned_severe(noted, view) for noted, view in zip(seen.noted, views)}
    if answers <= {None}:
        return seen
    first = since(seen.severe_since, True in answers, at)
    return seen._replace(severe_since=first, severe_for=0.0 if first is None else at - first)


def messages_since(
    last: Message, messages: Tuple[Message, ...], noted_at: float
) -> Tuple[Message, ...]:
    """Those after the one seen last, however many; where it is gone, those that are later."""
    keys = [each.key for each in messages]
    if last.key in keys:
        return messages[len(keys) - keys[::-1].index(last.key) :]
    return tuple(each for each in messages if is_later(each, last, noted_at))


def is_later(message: Message, last: Message, noted_at: float) -> bool:
    """Two servers of a pair, or a list and a single task, may show messages in another form, with
    times or without. One without is later where it took the place of another one; of the same id
    as one with a time it may be that one. One with a time, after one without, is compared with the
    note's Date, or the run's start."""
    if message.seconds:
        return message.seconds > (last.seconds or noted_at)
    return message.id != last.id or not (last.seconds and last.text)


def comparable_messages(
    note: Snapshot, seen: Evidence, look: Snapshot, old: Task, new: Task
) -> Tuple[Message, ...]:
    """Those of a look that can be told from older ones. What another server shows without a time,
    and not as it was seen here, may be old in another form. Then the last one alone counts, if its
    id is another one, and no start is told or the task has started since."""
    last = seen.last_message
    if has_same_form(seen, look.server, new):
        return new.messages
    may_tell = not new.last_ran or shows_run(note, seen, old, new)
    if may_tell and not last.text:
        return new.messages
    is_other = may_tell and new.last_message.id != last.id
    newest = new.messages[-1:] if is_other else ()
    return tuple(each for each in new.messages if each.seconds or each in newest)


def has_same_form(seen: Evidence, server: str, task: Task) -> bool:
    """Is it the server that told the last message, or lists that one as it was?"""
    if not seen.last_message.text:
        return False
    return server == seen.told_by or seen.last_message.key in [each.key for each in task.messages]


def shows_run(note: Snapshot, seen: Evidence, old: Task, new: Task) -> bool:
    """Is the start that it tells the run's? A server that takes over may be behind."""
    if is_later_start(seen.last_ran, new.last_ran):
        return False
    return old.running or has_started_since(note, old, new)


def has_started_since(note: Snapshot, old: Task, new: Task) -> bool:
    """A start where none was noted may be an old one: CSM's own clock tells, if it is told."""
    if old.last_ran:
        return is_later_start(new.last_ran, old.last_ran)
    is_dated = note.latest != NEVER
    return new.last_ran > (note.earliest - SAME_TIME if is_dated else 0.0)


def has_trace(note: Snapshot, old: Task, new: Task, added: List[Message]) -> bool:
    """Is there a run since the note? An error alone may be the one with which it was refused."""
    if any(each.id in RUN_IDS for each in added):
        return True
    if new.running and not old.running:
        return True
    return has_started_since(note, old, new)


def observe_task(
    note: Snapshot, seen: Evidence, look: Snapshot, refusal: Optional[str]
) -> Evidence:
    """Add what the task itself shows. An error is kept, even where a later message hides it. The
    id with which CSM refused our own trigger is none of the run's that was joined then."""
    old, new = note.task, look.task
    if old is None or new is None:
        return seen
    messages = comparable_messages(note, seen, look, old, new)
    shown = tuple(each for each in messages if each.id != refusal)
    added = list(messages_since(seen.last_message, shown, earliest_of_run(note, old, new)))
    errors = errors_among(added) + errors_among(listed_late(note, old, shown))
    begun = seen.has_begun or has_trace(note, old, new, added)
    first = None if added else seen.ended_at
    if shows_run(note, seen, old, new):
        seen = with_doubted(seen, new.messages, messages, refusal)
    seen = with_messages(seen, added, look.server)
    return seen._replace(
        last_ran=max(seen.last_ran, new.last_ran),
        errors=tuple(dict.fromkeys((*seen.errors, *errors))),
        has_begun=begun,
        ended_at=since(first, begun and not new.running, look.at),
    )


def earliest_of_run(note: Snapshot, old: Task, new: Task) -> float:
    """What is later than that is of the run, where no message with a time was noted. Its start is
    told by the clock that its messages have."""
    is_told = has_started_since(note, old, new)
    return min(note.earliest, new.last_ran - 1.0) if is_told else note.earliest


def with_doubted(
    seen: Evidence,
    listed: Tuple[Message, ...],
    comparable: Tuple[Message, ...],
    refusal: Optional[str],
) -> Evidence:
    dropped = [each for each in listed if each not in comparable and each.id != refusal]
    return seen._replace(doubted=dropped[-1]) if dropped else seen


def with_messages(seen: Evidence, added: List[Message], server: str) -> Evidence:
    """A doubted one was of before if the run's first message follows it; else it was the run's."""
    if not added:
        return seen
    is_own = seen.doubted.is_error and added[0].id != RUN_STARTED
    return seen._replace(
        errors=(*seen.errors, seen.doubted) if is_own else seen.errors,
        doubted=NO_MESSAGE,
        last_message=added[-1],
        told_by=server,
        earlier_message=told_before(seen, added),
        has_spoken=True,
    )


def listed_late(note: Snapshot, old: Task, shown: Tuple[Message, ...]) -> List[Message]:
    """The place in a list tells little: a message may be listed before some that were seen already.
    One that is listed more often than in the note is of the run if its time is later than that;
    without times, even where the last message reads the same."""
    more = more_often_in(shown, old.messages)
    noted_at = last_noted(note).seconds or note.earliest
    timed = [each for each in more if each.seconds > noted_at]
    if len(old.messages) < 2 or len(shown) < 2:
        return timed
    return timed + [each for each in more if not each.seconds]


def told_before(seen: Evidence, added: List[Message]) -> Message:
    """Of this run, the last message with another id than its newest: that one may turn out to be
    the refusal of our own trigger."""
    own = [seen.earlier_message, *([seen.last_message] if seen.has_spoken else []), *added]
    others = [each for each in own if each.id != own[-1].id]
    return others[-1] if others else NO_MESSAGE


def observe_mute_task(note: Snapshot, seen: Evidence, look: Snapshot, pace: Pace) -> Evidence:
    """A backup alone may be somebody else's. It is taken for a trace, after a while, only of a
    task that shows nothing else."""
    is_mute = all(each is not None and each.is_mute for each in (note.task, look.task))
    if seen.has_begun or not is_mute:
        return seen
    is_trace = any(each in SHOWN for each in seen.proofs)
    if not is_trace or look.at - seen.sent_at < pace.grace:
        return seen
    return seen._replace(has_begun=True, ended_at=look.at)


# --- Verdict: how the run went --------------------------------------------------------------------


class Verdict(enum.Enum):
    """What is known of a run: the one thing that decides. Part II has the words for it."""

    PROVEN = "each session shows a new valid backup, and the run has ended well"
    OPEN = "nothing is certain yet"
    SEVERE = "a session has turned Severe"
    ERROR = "the run told of an error, and has ended"
    BAD_END = "the run's last message is none of a good end"
    NO_BACKUP = "the run has ended, and a session shows no new backup"
    NO_TRACE = "it was accepted, and CSM shows no run"
    NO_SESSION = "the run has ended, and nothing tells which session to look at"
    NOT_NOTED = "the run has ended, and a session was not noted before it"


FAILED = (Verdict.SEVERE, Verdict.ERROR, Verdict.BAD_END, Verdict.NO_BACKUP)
UNPROVABLE = (Verdict.NO_TRACE, Verdict.NO_SESSION, Verdict.NOT_NOTED)  # no later look can tell


def judge(note: Snapshot, seen: Evidence, is_chained: bool, pace: Pace) -> Verdict:
    """How a run went of which it is taken for sure that it was started."""
    failure = failure_of(note, seen, pace)
    if failure is not None:
        return failure
    if is_proven(note, seen, pace):
        return Verdict.PROVEN
    return judge_missing(note, seen, is_chained, pace)


def is_proven(note: Snapshot, seen: Evidence, pace: Pace) -> bool:
    """Exit code 0 stands on this, once no failure is shown. A session that shows Severe is looked
    at once more."""
    if not is_backed_up(seen.proofs) or seen.severe_since is not None:
        return False
    return note.task is None or has_surely_ended(note, seen, pace)


def failure_of(note: Snapshot, seen: Evidence, pace: Pace) -> Optional[Verdict]:
    """What shows that the run has failed. A run that goes on may still bring the backup."""
    if seen.severe_for >= pace.settle and (not seen.was_severe or seen.ended_at is not None):
        return Verdict.SEVERE
    if note.task is None or seen.ended_at is None:
        return None
    if seen.errors:
        return Verdict.ERROR
    if has_surely_ended(note, seen, pace) and not is_good_end(last_of_run(seen)):
        return Verdict.BAD_END
    return None


def last_of_run(seen: Evidence) -> Message:
    """One without a time that did not change may be this run's, or the one of before. So may one in
    another form that has the id of that: the run must have told some."""
    shown = last_noted(seen.last_look)
    if seen.has_spoken or seen.last_message.is_timeless:
        return seen.last_message
    return NO_MESSAGE if shown.key == seen.last_message.key or shown.seconds else shown


def has_surely_ended(note: Snapshot, seen: Evidence, pace: Pace) -> bool:
    """Has the task told its last message? Most may be followed by one that is late."""
    last = last_of_run(seen)
    if last.id == FINISHED and seen.has_spoken:
        return seen.ended_at is not None
    if last.id == FINISHED:
        return seen.has_ended_for(pace.settle)
    return seen.has_ended_for(pace.settle if shows_no_message(note, seen) else pace.grace)


def shows_no_message(note: Snapshot, seen: Evidence) -> bool:
    """Neither before nor after: this server tells none of this task."""
    return not seen.has_spoken and note.task is not None and not note.task.messages


def is_good_end(last: Message) -> bool:
    """May a run end well with this as its last message? One without any may."""
    if not last.text:
        return True
    return last.severity == "I" and last.id not in STEP_IDS


def judge_missing(note: Snapshot, seen: Evidence, is_chained: bool, pace: Pace) -> Verdict:
    """No failure is shown, and not all is proven. What no later look can prove ends the waiting;
    what one may show does not."""
    if note.task is not None and not seen.has_begun:  # CSM shows an accepted run within seconds
        return Verdict.NO_TRACE if seen.has_looked_for(pace.grace, pace) else Verdict.OPEN
    if not seen.noted and has_surely_ended(note, seen, pace):
        return Verdict.NO_SESSION
    if is_chained or not seen.has_ended_for(pace.grace):
        return Verdict.OPEN
    return judge_without_proof(seen, pace)


def judge_without_proof(seen: Evidence, pace: Pace) -> Verdict:
    """The run has ended a while ago."""
    if Proof.NONE in seen.proofs:
        return Verdict.NO_BACKUP if seen.is_bare_for(pace.settle) else Verdict.OPEN
    return Verdict.NOT_NOTED if Proof.UNPROVABLE in seen.proofs else Verdict.OPEN


# --- 10. Steps: what has become of the trigger ----------------------------------------------------


class Phase(enum.Enum):
    """How far the start of the run has got."""

    IDLE = "nothing was sent, or it was surely not processed"
    PENDING = "sent; no answer yet, and the connection stands"
    IN_DOUBT = "sent, and no answer tells what became of it"
    REFUSED = "CSM refused it, perhaps since somebody else has just started the task"
    JOINED = "somebody else's run of the task is watched"
    STARTED = "CSM accepted it, or shows its run"


class Fate(enum.Enum):
    """What the answer to a trigger, or its absence, tells."""

    ACCEPTED = "a message of severity I or W: processed"
    REFUSED = "an error message, 415 and its like: not processed"
    UNAUTHORISED = "401, or 403 without an error message: not processed"
    NOT_SENT = "no connection could be made: not processed"
    BUSY = "429, 503: most likely not processed"
    LOST = "the connection broke; 5xx, nonsense, a redirect"


class Answer(NamedTuple):
    """What became of one trigger. It may come late, when another was sent since."""

    fate: Fate
    message: Message
    number: int  # of the trigger: `RunState.sends` when it was sent
    at: float
    trouble: str = ""  # what went wrong, in words of ours where CSM has none; accepted: ""


class RunState(NamedTuple):
    """All that is known of the run, and the terms of this call."""

    phase: Phase
    note: Snapshot  # what was there before
    seen: Evidence
    deadline: float  # in seconds since `Waiter.begin`, as all moments but CSM's
    no_wait: bool
    is_chained: bool  # -S is given, and the task goes on in another one
    other_server: bool  # there is a second one, and a refusal here may still be taken there
    role: Role = Role.NOT_ASKED  # of the server that refused
    is_refused_here: bool = False  # this server refused the last trigger
    sends: int = 0  # triggers sent, the refused ones too
    triggers: int = 0  # of them, those that CSM has processed, or may have
    busy: int = 0  # of those, the ones that were answered 429 or 503
    accepted: Optional[Message] = None  # CSM's message when it accepted one
    answered: Message = NO_MESSAGE  # CSM's message in answer to the last one
    refusal: Optional[str] = None  # id with which it refused the last one, nothing in doubt
    is_unauthorised: bool = False  # the last one was answered 401, or a bare 403
    half_at: float = 0.0  # when half of the time left at the first join is gone; 0: none yet
    trouble: str = ""  # what CSM said, or why there was no answer

    @property
    def is_refused_in_vain(self) -> bool:
        """CSM refused the Backup to a session, which shows a new backup all the same."""
        return self.phase is Phase.REFUSED and self.note.task is None and self.seen.has_begun

    @property
    def started(self) -> str:
        """Was anything started? As --json and the line of a signal put it."""
        if self.phase in (Phase.STARTED, Phase.JOINED):
            return "yes"
        if self.seen.has_begun and self.phase is not Phase.IDLE:
            return "yes"
        return "perhaps" if self.triggers else "no"


def first_state(
    note: Snapshot,
    deadline: float,
    no_wait: bool = False,
    is_chained: bool = False,
    other_server: bool = False,
) -> RunState:
    """The target is found and noted. A task that runs already is joined."""
    seen = first_evidence(note)
    run = RunState(Phase.IDLE, note, seen, deadline, no_wait, is_chained, other_server)
    return joined_if_running(run)


def joined_if_running(run: RunState) -> RunState:
    task = run.seen.last_look.task
    return joined(run) if task is not None and task.running else run


def joined(run: RunState, now: Optional[Task] = None) -> RunState:
    """The run is somebody else's; of the time for it, half is for the first one. Now: the task
    where its start is told only now."""
    half_at = run.half_at or (run.seen.updated_at + run.deadline) / 2
    told = errors_since_start(now or run.seen.last_look.task, run.refusal)
    has_spoken = run.seen.has_spoken or has_spoken_before(now or run.note.task, run.refusal)
    seen = run.seen._replace(has_begun=True, errors=run.seen.errors or told, has_spoken=has_spoken)
    return run._replace(phase=Phase.JOINED, seen=seen, half_at=half_at)


def has_spoken_before(task: Optional[Task], refusal: Optional[str]) -> bool:
    """Is the noted message one of the run that was under way then? Without a time it is taken for
    that, until the run tells another one. IWNR2212I is no message of a run that goes on."""
    if task is None or not task.running:
        return False
    last = task.last_message
    if last.id in ("", FINISHED, refusal):
        return False
    return last.seconds >= task.last_ran > 0 if last.seconds else True


def errors_since_start(task: Optional[Task], refusal: Optional[str]) -> Tuple[Message, ...]:
    """The joined run began before the note: what it told then is not later than the note."""
    if task is None or not task.running or not task.last_ran:
        return ()
    errors = [each for each in task.messages if each.is_error and each.id != refusal]
    return tuple(each for each in errors if each.seconds >= task.last_ran)


# --- Steps: a trigger and its answer --------------------------------------------------------------


def after_send(run: RunState, at: float) -> RunState:
    """A trigger goes out. From here on it may be processed."""
    seen = run.seen._replace(
        updated_at=at,
        sent_at=at,
        looked=0.0,
        blind=0.0,
        seen_since_sent=False,
        unanswered=0,
        severe_since=None,  # what was seen before it tells nothing of its run
        severe_for=0.0,
    )
    return run._replace(
        phase=Phase.PENDING,
        seen=seen,
        sends=run.sends + 1,
        triggers=run.triggers + 1,
        refusal=None,
        role=Role.NOT_ASKED,
        is_refused_here=False,
    )


def after_answer(run: RunState, answer: Answer) -> RunState:
    """A trigger was answered, or it is certain that it never will be."""
    if answer.message.id:
        run = run._replace(answered=answer.message)
    if answer.fate is Fate.ACCEPTED:
        return after_acceptance(run, answer)
    if answer.fate in (Fate.BUSY, Fate.LOST):
        return after_doubt(run, answer)
    is_login = answer.fate is Fate.UNAUTHORISED and not run.is_unauthorised
    if is_login or answer.fate is Fate.NOT_SENT:
        return after_rejection(run, answer)._replace(is_unauthorised=is_login)
    return after_refusal(run, answer)


def after_acceptance(run: RunState, answer: Answer) -> RunState:
    """Only this makes a run surely our own."""
    seen = run.seen._replace(updated_at=answer.at, looked=0.0, blind=0.0)
    if run.note.task is None and answer.message.id == COMPLETED:
        seen = seen._replace(must_look=True, ended_at=answer.at)
    return run._replace(phase=Phase.STARTED, seen=seen, accepted=answer.message)


def after_doubt(run: RunState, answer: Answer) -> RunState:
    """It may have been processed. An earlier one was in doubt already."""
    run = run._replace(is_unauthorised=False)
    if answer.fate is Fate.BUSY:
        run = run._replace(busy=run.busy + 1)
    if run.phase is not Phase.PENDING or answer.number != run.sends:
        return run
    return in_doubt(run._replace(trouble=answer.trouble), answer.at)


def in_doubt(run: RunState, at: float) -> RunState:
    """Looking begins."""
    seen = run.seen._replace(updated_at=at, looked=0.0, blind=0.0)
    return started_where_traced(run._replace(phase=Phase.IN_DOUBT, seen=seen))


def after_rejection(run: RunState, answer: Answer) -> RunState:
    """It was not processed, and may be sent again at once, on a new connection or with a new token:
    where an earlier one is in doubt, the looking for that one is done."""
    run = run._replace(triggers=run.triggers - 1, trouble=answer.trouble)
    if answer.number == run.sends:
        run = run._replace(seen=run.seen._replace(looked=NEVER))
    return phase_without(run, answer, Phase.IDLE)


def after_refusal(run: RunState, answer: Answer) -> RunState:
    """It was not processed, and would be refused again. Where an earlier one is in doubt, that one
    may be the reason, and the refusal decides nothing."""
    run = run._replace(triggers=run.triggers - 1, is_unauthorised=False)
    if answer.number == run.sends or not run.triggers:
        seen = run.seen._replace(updated_at=answer.at, looked=0.0, blind=0.0)
        run = run._replace(seen=seen, is_refused_here=True, trouble=answer.trouble)
    if not run.triggers and answer.message.id:
        run = without_refusal(run._replace(refusal=answer.message.id))
    return phase_without(run, answer, Phase.REFUSED)


def without_refusal(run: RunState) -> RunState:
    """A look may have shown the refusal before it was known to be one. Other errors stay: they may
    be shown no more."""
    errors = tuple(each for each in run.seen.errors if each.id != run.refusal)
    seen = run.seen._replace(errors=errors)
    if seen.last_message.id == run.refusal:
        has_spoken = bool(seen.earlier_message.text)
        last = seen.earlier_message if has_spoken else last_noted(run.note)
        seen = seen._replace(last_message=last, has_spoken=has_spoken, earlier_message=NO_MESSAGE)
    return run._replace(seen=seen)


def phase_without(run: RunState, answer: Answer, if_none: Phase) -> RunState:
    """Where one trigger less counts: its answer may be late, and another be open."""
    if run.accepted is not None:
        return run
    if not run.triggers:
        return joined_where_traced(run._replace(phase=if_none))
    if answer.number != run.sends:
        return run
    return started_where_traced(run._replace(phase=Phase.IN_DOUBT))


def started_where_traced(run: RunState) -> RunState:
    """In doubt no longer: a run since the note is taken for ours."""
    if run.phase is Phase.IN_DOUBT and run.seen.has_begun:
        return run._replace(phase=Phase.STARTED)
    return run


def joined_where_traced(run: RunState) -> RunState:
    """No trigger of ours may have been processed: a run is somebody else's, perhaps the reason for
    a refusal. A session's Backup is not joined: nothing tells when it is done."""
    if run.phase not in (Phase.IDLE, Phase.REFUSED) or run.note.task is None:
        return run
    if run.seen.has_begun:
        return joined(run)
    return joined_if_running(run) if run.phase is Phase.REFUSED else run


# --- Steps: a look --------------------------------------------------------------------------------


def after_look(run: RunState, look: Snapshot, pace: Pace) -> RunState:
    """CSM was looked at, and answered."""
    if is_another_run(run, look):
        last_look = run.seen.last_look._replace(at=run.seen.updated_at)
        run = joined(noted_anew(run, last_look), look.task)
    run = run._replace(seen=observe(run.note, run.seen, look, run.refusal, pace))
    run = started_where_traced(joined_where_traced(run))
    return as_patience_ends(run, pace)


def after_no_answer(run: RunState, at: float, pace: Pace, is_pending: bool = True) -> RunState:
    """A read got no answer. Two in a row where a trigger is pending: it will get none either."""
    unanswered = run.seen.unanswered + (1 if is_pending else 0)
    seen = run.seen._replace(updated_at=at, unanswered=unanswered, must_look=False)
    run = run._replace(seen=seen)
    if run.phase is Phase.PENDING and seen.unanswered >= 2:
        return in_doubt(run._replace(trouble="CSM does not answer"), at)
    return as_patience_ends(run, pace)


def is_another_run(run: RunState, look: Snapshot) -> bool:
    """The joined run brought nothing, and is followed by one more that may bring it."""
    if run.phase is not Phase.JOINED or run.seen.has_backups:
        return False
    if look.task is None or run.seen.last_look.task is None:
        return False
    return run.seen.last_ran > 0 and is_later_start(look.task.last_ran, run.seen.last_ran)


def as_patience_ends(run: RunState, pace: Pace) -> RunState:
    """A task is started at once: without an answer it is in doubt soon. A Backup is answered when
    it is done: the looks meanwhile were its looking."""
    waited = run.seen.updated_at - run.seen.sent_at
    if run.phase is not Phase.PENDING or waited < patience_with_answer(run, pace):
        return run
    run = run._replace(trouble="no answer came in time")
    if run.note.task is not None:
        return in_doubt(run, run.seen.updated_at)
    return started_where_traced(run._replace(phase=Phase.IN_DOUBT))


def patience_with_answer(run: RunState, pace: Pace) -> float:
    factor = pace.session_factor if run.note.task is None else 1.0
    return factor * pace.request_timeout


# --- Steps: the note is made anew -----------------------------------------------------------------


def noted_anew(run: RunState, look: Snapshot) -> RunState:
    """The task is noted anew, its sessions are not: a backup that the joined run made is new, if it
    is listed late."""
    task = look.task
    if task is not None and not task.last_ran:  # it is not told for once
        task = task._replace(last_ran=run.seen.last_ran)
    note = run.note._replace(server=look.server, task=task)
    noted, was_severe = run.seen.noted, run.seen.severe_since is not None
    seen = first_evidence(look._replace(task=task))._replace(
        noted=noted, proofs=proofs_unseen(noted), was_severe=was_severe
    )
    if look.task is None or not look.task.messages:
        seen = seen._replace(last_message=run.seen.last_message, told_by=run.seen.told_by)
    return run._replace(note=note, seen=seen, refusal=None)


def after_renote(run: RunState, look: Snapshot, pace: Pace) -> RunState:
    """The joined run brought nothing. `look`: what the task shows now; where it does not show the
    task, what was seen last is the note: noting never holds the trigger up."""
    if look.task is None:
        look = run.seen.last_look._replace(at=run.seen.updated_at)
    if is_another_run(run, look):
        return after_look(run, look, pace)
    was_running = run.seen.last_look.task is not None and run.seen.last_look.task.running
    half_at = NEVER if run.seen.updated_at >= run.half_at else run.half_at
    run = noted_anew(run, look)._replace(half_at=half_at)
    run = run._replace(phase=Phase.IDLE)
    return run if was_running else joined_if_running(run)


def after_role(run: RunState, role: Role) -> RunState:
    """The server that refused was asked for its role."""
    return run._replace(role=role)


def after_move(run: RunState, note: Optional[Snapshot], pace: Pace) -> RunState:
    """The other server of the pair was asked. None: it is no help (standby, no answer, not that
    name); else what it shows of the target: ids belong to the server that told them. Where nothing
    is in doubt all begins there; else the first note stands, and looking begins anew."""
    is_left = run.other_server and not run.is_refused_here
    run = run._replace(other_server=is_left)
    if note is None:
        return run
    run = run._replace(
        role=Role.NOT_ASKED, is_refused_here=False, refusal=None, is_unauthorised=False
    )
    if run.triggers:
        return after_look(run, note, pace)
    seen = first_evidence(note)
    return joined_if_running(run._replace(phase=Phase.IDLE, note=note, seen=seen))


# --- Steps: the next one --------------------------------------------------------------------------


class Step(enum.Enum):
    """What the loop does next."""

    SEND = "send the trigger, to the server and with the id of `seen.last_look`; then `after_send`"
    LOOK = "look after a pause, or take an answer: `after_look`, `after_no_answer`, `after_answer`"
    RENOTE = "ask --min-interval again; unless it is met, look at the task alone: `after_renote`"
    ASK_ROLE = "ask the server that refused for its role: `after_role`"
    MOVE = "find and note the target on the other server: `after_move`"
    DONE = "the backup is proven; with --no-wait: the run was started"


def next_step(run: RunState, at: float, pace: Pace) -> Union[Step, Problem]:
    """What to do now, or the problem to end with. Nothing else decides that a trigger is sent, or
    that all went well."""
    verdict = judge(run.note, run.seen, run.is_chained, pace)
    if is_done(run, verdict, pace):
        return Step.DONE
    problem = problem_with(run, verdict, pace)
    if problem is not None:
        return problem
    if at >= run.deadline:
        return problem_at_deadline(run, verdict, pace)
    if may_start(run) or may_send_again(run, pace):
        return Step.SEND
    if must_renote(run, pace):
        return Step.RENOTE
    return step_of_pair(run, pace) or Step.LOOK


def is_done(run: RunState, verdict: Verdict, pace: Pace) -> bool:
    """A proof counts where there is a run of which it can be one. Without any answer, it must have
    stood for a while."""
    is_proof = verdict is Verdict.PROVEN
    if run.phase is Phase.PENDING:
        return is_proof and run.seen.has_proof_for(pace.settle)
    if run.phase is Phase.STARTED and run.no_wait:
        return verdict in (Verdict.PROVEN, Verdict.OPEN)
    return is_proof and run.phase in (Phase.STARTED, Phase.JOINED)


def may_start(run: RunState) -> bool:
    """No trigger was sent, or each was surely not processed."""
    return run.phase is Phase.IDLE and run.triggers == 0


def may_send_again(run: RunState, pace: Pace) -> bool:
    """In doubt, and long looking shows no trace (with one the phase would be another): two backups
    are a smaller evil than none. 429 and 503 most likely were not processed: they do not count, but
    a session's Backup may take as long as ten request timeouts to show."""
    if run.phase is not Phase.IN_DOUBT or is_nobody_left(run):
        return False
    if run.is_refused_here:
        return False
    is_slow = run.note.task is None and run.busy >= 2
    factor = pace.session_factor - 1.0 if is_slow else 0.0
    return run.seen.has_looked_for(factor * pace.request_timeout, pace)


def is_nobody_left(run: RunState) -> bool:
    """Two in doubt, or one and no server that would take the next."""
    if run.triggers - run.busy >= MOST_TRIGGERS:
        return True
    return run.is_refused_here and not may_move(run)


def may_move(run: RunState) -> bool:
    """A server that refused and says that it is active is believed."""
    return run.other_server and run.role is not Role.ACTIVE


def must_renote(run: RunState, pace: Pace) -> bool:
    """Has the joined run ended without a new backup, or does it go on without one for too long? A
    flag that a restart left true must not block every call."""
    if run.phase is not Phase.JOINED or run.seen.has_backups:
        return False
    return run.seen.has_ended_for(pace.settle) or run.seen.updated_at >= run.half_at


def step_of_pair(run: RunState, pace: Pace) -> Optional[Step]:
    """Where this server refused: a standby is left at once; one that does not say is looked at
    first, for the run that would explain the refusal."""
    if run.phase not in (Phase.REFUSED, Phase.IN_DOUBT) or not run.is_refused_here:
        return None
    if is_nobody_left(run):
        return None
    if run.role is Role.NOT_ASKED:
        return Step.ASK_ROLE
    is_left = run.role is Role.STANDBY or has_settled(run, pace)
    return Step.MOVE if is_left else None


def has_settled(run: RunState, pace: Pace) -> bool:
    """Was CSM looked at long enough after its refusal? Where it answers without showing the target,
    that is waited for longer: another run may be the reason."""
    return run.seen.looked >= pace.settle or run.seen.blind >= pace.request_timeout


def problem_with(run: RunState, verdict: Verdict, pace: Pace) -> Optional[Problem]:
    """What ends the call before the deadline."""
    if run.phase in (Phase.STARTED, Phase.JOINED):
        return problem_with_run(run, verdict, pace)
    if run.phase is Phase.REFUSED:
        return problem_with_refusal(run, pace)
    if run.phase is not Phase.IN_DOUBT or not is_nobody_left(run):
        return None
    if not run.seen.has_looked_for(pace.grace, pace):
        return None
    return OutcomeUnknown(f"CSM shows no trace of a run; {run.trouble}")


def problem_with_run(run: RunState, verdict: Verdict, pace: Pace) -> Optional[Problem]:
    """A joined run that brought no backup is followed by our own trigger, however it went."""
    if run.phase is Phase.JOINED and not run.seen.has_backups:
        return None
    if verdict is Verdict.ERROR and may_be_listed(run.seen, pace):
        return None
    if verdict in FAILED:
        return BackupFailed(words_of(verdict, run, pace))
    if verdict in UNPROVABLE:
        return OutcomeUnknown(words_of(verdict, run, pace))
    return None


def may_be_listed(seen: Evidence, pace: Pace) -> bool:
    """The run told of an error, and has just ended: is there a backup all the same?"""
    is_open = Proof.NONE in seen.proofs or Proof.UNSEEN in seen.proofs
    is_recent = seen.updated_at - (seen.ended_at or 0.0) < pace.grace  # CSM may be away since
    return is_open and is_recent and not seen.has_ended_for(pace.settle)


def problem_with_refusal(run: RunState, pace: Pace) -> Optional[Problem]:
    if run.is_refused_in_vain:
        return BackupFailed(f"CSM refused with {run.trouble}; yet there is a new backup")
    if may_move(run) or not has_settled(run, pace):
        return None
    return Refused(run.trouble)


def problem_at_deadline(run: RunState, verdict: Verdict, pace: Pace) -> Problem:
    """Only where CSM has said no to each trigger is it known that it processed none."""
    if run.phase is Phase.IDLE:
        return Unreachable(run.trouble or "the deadline has passed")
    if run.phase is Phase.REFUSED:
        return Refused(run.trouble)
    if run.phase is Phase.STARTED and verdict in FAILED:
        return BackupFailed(words_of(verdict, run, pace))
    if run.phase in (Phase.STARTED, Phase.JOINED):
        return OutcomeUnknown(f"the deadline has passed: {words_of(verdict, run, pace)}")
    trouble = f"; {run.trouble}" if run.trouble else ""
    return OutcomeUnknown(f"the deadline has passed: {run.phase.value}{trouble}")


# --- Steps: when to look, and at what -------------------------------------------------------------


def pause_before_look(run: RunState, waited: float, pace: Pace) -> float:
    """At once where a session's Backup is done; else ever longer: some 260 looks in 30 minutes."""
    if run.seen.must_look:
        return 0.0
    return min(max(pace.first_pause, pace.growth * waited), pace.longest_pause)


def must_view_sessions(run: RunState, task: Optional[Task], unseen_for: float, pace: Pace) -> bool:
    """While a task runs, or is looked for, it alone is looked at, its sessions now and then, both
    at its end. A session that is not noted yet is part of every look; so are those of a task that
    shows nothing of its own."""
    if task is None or None in run.seen.noted or unseen_for >= pace.longest_pause:
        return True
    is_looked_for = run.phase is Phase.IN_DOUBT and not task.is_mute
    return not task.running and not is_looked_for


# --- 11. The loop: it carries the steps out -------------------------------------------------------


def send_trigger(csm: Csm, run: RunState, target: Target) -> Sent:
    """THE ONE CALL THAT STARTS ANYTHING: run the task, or Backup to the session. An id belongs to
    the server that told it."""
    known = run.seen.last_look
    if run.note.task is None:
        path, form = path_of_session(target.session_names[0]), BACKUP
    elif known.task is not None and known.server == csm.server:
        path, form = f"{TASKS}/{known.task.id}", None
    else:
        raise ValueError("no id of the task was read on this server")
    return csm.command(path, form)


# What `Csm.answer_to` came to -> what it means. The first class that fits counts.
FATES: Tuple[Tuple[type, Fate], ...] = (
    (Message, Fate.ACCEPTED),
    (Refused, Fate.REFUSED),
    (Denied, Fate.UNAUTHORISED),
    (NotProcessed, Fate.NOT_SENT),
    (Busy, Fate.BUSY),
    (Problem, Fate.LOST),
)


def answer_of(result: Union[Message, Problem], number: int, at: float) -> Answer:
    fate = next(fate for kind, fate in FATES if isinstance(result, kind))
    if isinstance(result, Message):
        return Answer(fate, result, number, at)
    return Answer(fate, result.message, number, at, result.message.text or str(result))


class Outcome(enum.Enum):
    """How a call ends that went well, in one word."""

    VERIFIED = "verified"
    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    CHECKED = "checked"
    LISTED = "listed"


def is_same_target(one: Target, other: Target) -> bool:
    """On two servers of a pair: of a task, or of a session, with the same sessions to look at."""
    is_same_kind = type(one.note.task) is type(other.note.task)
    return is_same_kind and one.session_names == other.session_names


class Follower:
    """Starts the run, or joins it, and looks until the verdict is reached. What is done next is
    next_step's to say; on which server, and with which log-in, is decided here."""

    def __init__(self, csm: Csm, target: Target) -> None:
        self.csm = csm
        self.progress = csm.progress
        self.pace = csm.pace
        self.target = target
        self.run = first_state(
            target.note,
            deadline=csm.config.timeout - csm.pace.last_try,
            no_wait=csm.config.mode is Mode.NO_WAIT,
            is_chained=target.is_chained,
            other_server=len(csm.servers) > 1,
        )
        self.open_triggers: List[Tuple[int, Sent]] = []  # number of a trigger, and its request
        self.id_read_with = target.id_read_with  # the log-in with which the task's id was read last
        self.paths = self._paths()
        self.answered_at = {target.note.server: self.now()}  # server: about the target, the last
        self.last_views = target.note.sessions  # of each session the last one
        self.viewed_at = self.now()
        self.role_at = self.now()
        self.has_left = False  # a server on which a trigger is in doubt
        self.failures = 0  # looks in a row that failed
        self.silent_server = ""  # the server that the last one of them asked
        self.ways_failed = 0  # of its paths, in a row
        self.faults: Tuple[str, ...] = ()  # the first and the last one since all was seen

    def now(self) -> float:
        return self.csm.waiter.passed()

    def follow(self) -> Outcome:
        """The loop. Raises the Problem that it ends with."""
        actions = {
            Step.SEND: self.send,
            Step.LOOK: self.look_again,
            Step.RENOTE: self.renote,
            Step.ASK_ROLE: self.ask_role,
            Step.MOVE: self.move,
        }
        while True:
            self.take_answers()
            self.progress.record(self.run, self.target, self.last_views)
            self.csm.may_have_started = self.run.started != "no"
            step = next_step(self.run, self.now(), self.pace)
            if step is Step.LOOK:
                self.progress.show(self.run)
            if isinstance(step, Problem):
                raise self.with_faults(step)
            if step is Step.DONE:
                is_unproven = self.run.no_wait and self.run.phase is Phase.STARTED
                return Outcome.ACCEPTED if is_unproven else Outcome.VERIFIED
            if step is Step.RENOTE and self.is_young():
                return Outcome.SKIPPED
            actions[step]()

    def send(self) -> None:
        """The state is PENDING before anything is sent: a signal must not find "no"."""
        self.csm.waiter.sleep(self.until_deadline(self.pause_before_send()))
        if self.now() >= self.run.deadline:
            return
        if self.must_leave():
            self.has_left = True
            self.move()
            return
        if not self.is_confirmed():
            self.confirm()
            return
        if self.has_answer():  # to an earlier trigger, meanwhile: it decides
            return
        self.run = after_send(self.run, self.now())
        self.progress.record(self.run, self.target, self.last_views)
        sent = send_trigger(self.csm, self.run, self.target)
        self.open_triggers.append((self.run.sends, sent))
        self.csm.waiter.is_done(sent.call, self.pace.first_pause)

    def must_leave(self) -> bool:
        """In doubt, and this server does not tell that it is the active one of the pair: the next
        trigger goes to the other one, once."""
        if self.run.phase is not Phase.IN_DOUBT or self.has_left or len(self.csm.servers) < 2:
            return False
        return self.csm.role_here() is not Role.ACTIVE

    def is_confirmed(self) -> bool:
        """Of a first trigger, and of a task: the target was looked at here, its name and id were
        read since the log-in. Of a repeat: this server has answered since the last one, and not
        long ago: it may have been away."""
        answered_at = self.answered_at.get(self.csm.server)
        if answered_at is None or not self.csm.is_logged_in:
            return False
        if self.run.phase is Phase.IN_DOUBT and not self.is_fresh(answered_at):
            return False
        is_same = self.run.seen.last_look.server == self.csm.server
        if self.run.note.task is None:
            return is_same or self.run.phase is Phase.IN_DOUBT
        return is_same and self.id_read_with == self.csm.login_here

    def is_fresh(self, answered_at: float) -> bool:
        patience = self.pace.request_timeout + self.pace.longest_pause
        return answered_at >= max(self.run.seen.sent_at, self.now() - patience)

    def confirm(self) -> None:
        """Log in, and ask this server for the target. While nothing is in doubt, what hinders a
        log-in ends the call, as it did before."""
        if self.run.phase is Phase.IDLE:
            self.csm.log_in()
        is_same = self.run.seen.last_look.server == self.csm.server
        if self.run.phase is Phase.IDLE and not is_same:
            self.adopt(self.target_here())
            return
        if self.run.note.task is not None:
            self.take_look(self.look_at_task())
        elif self.run.phase is Phase.IN_DOUBT:
            self.take_look(self.look())
        else:
            self.note_answer()  # to the log-in: it is looked at already

    def look_at_task(self) -> Optional[Snapshot]:
        """Read its id anew: its sessions are not needed for that."""
        try:
            task = self.read_task()
        except NotProcessed as fault:
            return self.after_fault(fault)
        self.note_answer()
        self.failures = self.failures + 1 if task is None else 0
        if task is None:
            self.tell_fault(NoUse(f"{self.csm.server} does not show the task"))
        return snapshot(self.csm, self.csm.server, task, self.no_views())

    def take_answers(self) -> None:
        for number, sent in tuple(self.open_triggers):
            if sent.call.is_done():
                self.open_triggers.remove((number, sent))
                result = self.csm.answer_to(sent)
                answer = answer_of(result, number, self.now())
                self.progress.answered(answer, f"{result}", is_task=self.run.note.task is not None)
                self.run = after_answer(self.run, answer)
                if self.run.is_refused_here and self.run.phase in (Phase.REFUSED, Phase.IN_DOUBT):
                    self.csm.use(sent.server)  # it is that server's, whoever was asked since
                if isinstance(result, (Unreachable, WrongServer)):
                    self.failures += 1
                    if self.csm.server == sent.server:  # a look may have left it meanwhile
                        self.csm.next_server()

    def has_answer(self) -> bool:
        return any(sent.call.is_done() for _, sent in self.open_triggers)

    def look_again(self) -> None:
        """Pause, unless an answer comes meanwhile; then look."""
        pause = self.until_deadline(self.pause_before_look())
        if self.open_triggers:
            self.csm.waiter.sleep_unless(pause, self.has_answer)
        else:
            self.csm.waiter.sleep(pause)
        if self.has_answer():
            return
        self.ask_role_now_and_then()
        self.take_look(self.look())

    def take_look(self, found: Optional[Snapshot]) -> None:
        """None: CSM gave no answer."""
        if found is None:
            is_pending = any(sent.server == self.silent_server for _, sent in self.open_triggers)
            self.run = after_no_answer(self.run, self.now(), self.pace, is_pending)
        else:
            self.run = after_look(self.run, found, self.pace)

    def until_deadline(self, pause: float) -> float:
        return max(0.0, min(pause, self.run.deadline - self.now()))

    def pause_before_send(self) -> float:
        """None, unless the last try failed."""
        if not self.failures:
            return 0.0
        return min(self.pace.retry_after(self.failures), self.pace.longest_pause)

    def pause_before_look(self) -> float:
        began = self.run.seen.sent_at if self.run.sends else self.run.note.at
        return pause_before_look(self.run, self.now() - began, self.pace)

    def look(self) -> Optional[Snapshot]:
        """What the server in use shows of the target. None: it gave no answer."""
        asked_at = self.now()
        try:
            task = self.read_task()
            views = self.read_sessions(task)
        except NotProcessed as fault:
            return self.after_fault(fault)
        self.note_answer()
        self.failures = 0
        if self.run.note.task is not None and task is None:
            self.tell_fault(NoUse(f"{self.csm.server} does not show the task"))
        return snapshot(self.csm, self.csm.server, task, views)._replace(asked_at=asked_at)

    def after_fault(self, fault: NotProcessed) -> Optional[Snapshot]:
        """An answer that is of no use shows nothing, and yet CSM has answered."""
        self.failures += 1
        if is_answer(fault):
            self.note_answer()
        self.silent_server = "" if isinstance(fault, HeldBack) else self.csm.server
        self.tell_fault(fault)
        nothing = snapshot(self.csm, self.csm.server, None, self.no_views())
        if is_answer(fault):
            self.ways_failed += 1
        if is_answer(fault) and self.csm.is_logged_in:
            self.paths.rotate(-1)
        if not is_answer(fault) or self.ways_failed >= len(self.paths):
            self.ways_failed = 0
            self.csm.next_server()
        return None if fault.is_silence else nothing

    def note_answer(self) -> None:
        """The server in use has answered about the target, be it of use or not."""
        self.answered_at[self.csm.server] = self.now()

    def tell_fault(self, fault: NotProcessed) -> None:
        self.faults = (*self.faults[:1], str(fault))
        self.progress.warn(f"{fault}; trying again")

    def no_views(self) -> Tuple[Optional[Session], ...]:
        return (None,) * len(self.target.session_names)

    def _paths(self) -> Deque[str]:
        task = self.run.seen.last_look.task
        return paths_of_task(task) if task is not None else collections.deque([TASKS])

    def read_task(self) -> Optional[Task]:
        """The task as it is listed now. Where no id of it was read yet on this server, the only
        one of its name. Raises NotProcessed."""
        known = self.run.seen.last_look
        if known.task is None:
            return None
        is_known_here = known.server == self.csm.server
        path = self.paths[0] if is_known_here else TASKS
        tasks = self.csm.try_read(path, task_parser(self.csm, known.task.name)).tasks
        if is_known_here:
            tasks = tuple(each for each in tasks if each.id == known.task.id)
        if len({each.id for each in tasks}) != 1:
            return None
        self.id_read_with = self.csm.login_here
        return tasks[0]

    def read_sessions(self, task: Optional[Task]) -> Tuple[Optional[Session], ...]:
        """A view of each session, where one is due. Raises NotProcessed where there is no task."""
        if not must_view_sessions(self.run, task, self.now() - self.viewed_at, self.pace):
            return self.no_views()
        views: List[Optional[Session]] = []
        for name in self.target.session_names:
            try:
                parse = session_parser(self.csm, name)
                views.append(self.csm.try_read(path_of_session(name), parse))
            except NotProcessed as fault:
                if self.run.note.task is None:  # nothing else tells that CSM has answered
                    raise
                self.tell_fault(fault)
                views.append(None)
        if None not in views:
            self.faults = ()
        self.viewed_at = self.now()
        rows = zip(self.run.seen.noted, views, self.last_views)
        server = self.csm.server
        self.last_views = tuple(usable_view(noted, new, server) or old for noted, new, old in rows)
        return tuple(views)

    def renote(self) -> None:
        """A joined run brought nothing: the task is noted anew."""
        try:
            task = self.read_task()
        except NotProcessed as fault:
            self.after_fault(fault)
            task = None
        found = snapshot(self.csm, self.csm.server, task, self.no_views())
        self.run = after_renote(self.run, found, self.pace)

    def is_young(self) -> bool:
        """Is --min-interval met now?"""
        note = snapshot(self.csm, self.csm.server, None, self.last_views)
        return is_young(note, self.csm.config.min_interval, self.pace)

    def ask_role(self) -> None:
        self.run = after_role(self.run, self.csm.ask_role())

    def ask_role_now_and_then(self) -> None:
        """While waiting: a takeover may have made the other server of a pair the active one."""
        if len(self.csm.servers) < 2 or self.now() - self.role_at < self.pace.role_again:
            return
        self.role_at = self.now()
        for _ in self.csm.config.servers:  # where all say standby, it stays
            if self.csm.ask_role() is not Role.STANDBY:
                return
            self.csm.next_server()

    def move(self) -> None:
        """To the other server, because this one has refused. Where it is no help, back again."""
        left = self.csm.server
        self.csm.next_server()
        target = self.target_here()
        self.adopt(target)
        if target is None:
            self.run = after_move(self.run, None, self.pace)
        else:
            self.csm.doubt_role(left)

    def target_here(self) -> Optional[Target]:
        """Find and note the target on this server: ids belong to the server that told them. None:
        it is no help. Where a trigger is in doubt, its sessions must be the same."""
        here = self.csm.server
        patience = Patience(until=until_noted(self.csm), may_move=False)
        try:
            if self.run.triggers and self.is_standby(patience.until):
                return None
            target = find_target(self.csm, patience)
        except (NotFound, NotProcessed) as problem:
            self.failures += 1
            self.faults = (*self.faults[:1], str(problem))
            self.progress.warn(str(problem))
            return None
        is_same = is_same_target(target, self.target)
        return target if self.csm.server == here and (is_same or not self.run.triggers) else None

    def is_standby(self, until: float) -> bool:
        """Not where both say so: then CSM's answer to a trigger decides."""
        return self.csm.asks_role and self.csm.role_here(until) is Role.STANDBY

    def adopt(self, target: Optional[Target]) -> None:
        """Go on with the target as it is on the server in use. None: on the other server."""
        if target is None:
            self.csm.next_server()
            return
        self.run = after_move(self.run, target.note, self.pace)
        self.target, self.last_views = target, target.note.sessions
        self.id_read_with, self.paths = target.id_read_with, self._paths()
        self.note_answer()

    def with_faults(self, problem: Problem) -> Problem:
        """What hinders the looking at the end belongs to an end that is no answer of CSM's."""
        is_blind = isinstance(problem, BackupFailed) and Proof.UNSEEN in self.run.seen.proofs
        if not is_blind and not isinstance(problem, (OutcomeUnknown, NotProcessed)):
            return problem
        texts = dict.fromkeys((str(problem), *self.faults))
        return type(problem)("; ".join(texts), problem.message)


# === PART II: what starts nothing: it asks Part I, and tells ======================================

# --- 12. Modes ------------------------------------------------------------------------------------


def run_mode(csm: Csm) -> Tuple[Outcome, str]:
    """Do what the command line asks for -> how it ended, and what is told of it. Raises a Problem
    where that does not go well."""
    if csm.config.trust.anything:
        csm.progress.log("WARNING", "--insecure: whoever answers is given the password")
    if csm.config.mode is Mode.LIST:
        return list_all(csm)
    if csm.config.mode is Mode.CHECK:
        return check(csm)
    lock = take_lock(csm) if csm.config.min_interval else None
    try:
        return back_up(csm)
    finally:
        if lock is not None:
            lock.close()


def list_all(csm: Csm) -> Tuple[Outcome, str]:
    """The tasks, and the Safeguarded Copy sessions; one that cannot be read hides no other."""
    tasks = read_tasks(csm).tasks
    if not tasks:
        csm.progress.log("WARNING", f"no task is listed: {NO_TASK_LISTED}")
    csm.progress.listed(csm.server, tasks, (), ())
    csm.progress.shows_table = True  # of the tasks, where the sessions cannot be listed
    names = csm.read(collections.deque([SHORT_LIST]), lambda reply: safeguarded_in(csm, reply))
    views = [list_session(csm, name) for name in names]
    csm.progress.listed(csm.server, tasks, tuple(names), tuple(views))
    return Outcome.LISTED, f"tasks and Safeguarded Copy sessions on {csm.server}"


def safeguarded_in(csm: Csm, reply: Reply) -> List[str]:
    """The names of the Safeguarded Copy sessions in the list of all."""
    rows = csm.reader.named(reply.data)
    return [each["name"] for each in rows if SAFEGUARDED in text_of(each.get("rulesname")).lower()]


def list_session(csm: Csm, name: str) -> Union[Session, str]:
    """One session, or why it cannot be read. One that hangs leaves half of the time to others."""
    until = csm.waiter.passed() + csm.time_left() / 2
    try:
        return read_session(csm, name, Patience(until=until, tries=2))
    except NotProcessed as fault:
        return str(fault)


def check(csm: Csm) -> Tuple[Outcome, str]:
    """Everything but the trigger. What could not be noted could not be proven."""
    target = find_target(csm)
    csm.progress.found(csm.server, target)
    csm.progress.others = other_sessions(csm, target)
    csm.progress.shows_table = True
    for remark in target.remarks:
        csm.progress.log("WARNING", remark)
    if not target.session_names:
        raise OutcomeUnknown("CSM does not tell what the task backs up: -S names the session")
    if None in first_evidence(target.note).noted:
        raise OutcomeUnknown("a session cannot be noted: a backup could not be proven")
    text = f"ready: {target.name} on {csm.server}{interval_met(csm, target)}"
    return Outcome.CHECKED, f"{text}; nothing was started"


def other_sessions(csm: Csm, target: Target) -> Tuple["Shown", ...]:
    """The other sessions that the task touches: a failed run may leave them suspended."""
    touched = target.note.task.touched if target.note.task else ()
    names = [each for each in touched if each not in target.session_names]
    return tuple(newest_of(name, list_session(csm, name)) for name in names)


def interval_met(csm: Csm, target: Target) -> str:
    if not csm.config.min_interval:
        return ""
    met = is_young(target.note, csm.config.min_interval, csm.pace)
    return "; --min-interval would skip it" if met else "; --min-interval would not skip it"


def back_up(csm: Csm) -> Tuple[Outcome, str]:
    target = find_target(csm)
    progress = csm.progress
    progress.found(csm.server, target)
    for remark in target.remarks:
        progress.log("WARNING", remark)
    warn_of_future(csm, target)
    if is_young(target.note, csm.config.min_interval, csm.pace):
        return Outcome.SKIPPED, "nothing was started: there is a backup that is young enough"
    follower = Follower(csm, target)
    outcome = follower.follow()
    return outcome, text_of_ending(follower.run, outcome, progress)


def text_of_ending(run: RunState, outcome: Outcome, progress: "Progress") -> str:
    """What went as usual, and what did not, of a run that ended well."""
    if outcome is Outcome.SKIPPED:
        return "a run that was joined brought nothing, and meanwhile there is a backup"
    parts = [f"after {progress.waiter.passed():.0f} s"]
    if run.phase is Phase.JOINED:
        parts.insert(0, "a run that was joined")
    if outcome is Outcome.VERIFIED:
        parts.append(remark_on(run.note, run.seen))
    return ", ".join(filter(None, parts))


def warn_of_future(csm: Csm, target: Target) -> None:
    latest = target.note.latest + csm.pace.late_listing
    for session in target.note.sessions:
        if csm.config.min_interval and any(
            each.seconds > latest for each in valid_backups(session)
        ):
            text = "a backup is of the future, by CSM's clock: --min-interval does not count it"
            csm.progress.log("WARNING", text)


def best_of(backups: Iterable[Backup]) -> Optional[Backup]:
    """A valid one, if there is one; of those the newest."""
    return max(backups, key=lambda each: (each.valid, each.seconds), default=None)


def take_lock(csm: Csm) -> Optional[socket.socket]:
    """One call at a time on this machine looks at a target's backups and triggers. The name of an
    abstract Unix socket, which Linux alone has, is the lock: it needs no file, and ends with the
    process. Any local user can take it: so it is waited for, and then done without."""
    if not hasattr(socket, "AF_UNIX") or not sys.platform.startswith("linux"):
        return None
    config = csm.config
    target = "\n".join((*sorted(config.servers), config.task_name, config.session_name))
    name = f"\0{PROGRAM}-{hashlib.sha256(target.encode()).hexdigest()}"
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    left = min(csm.pace.lock, config.timeout / 4)
    reason = ""
    while left > 0:
        try:
            lock.bind(name)
            return lock
        except OSError as error:
            reason = "another call for this target goes on"
            if error.errno != errno.EADDRINUSE:
                reason = f"{error.strerror}"
                break
        csm.waiter.sleep(Signals.SLICE)
        left -= Signals.SLICE
    lock.close()
    csm.progress.log("WARNING", f"there is no lock for --min-interval: {reason}")
    return None


# --- 13. Console and progress ---------------------------------------------------------------------


class Output(NamedTuple):
    """How the result is told, and what is recorded with it."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    leef: str = ""  # HOST:PORT; "": none
    event: Tuple[str, ...] = ()
    rule_id: str = ""
    rule_name: str = ""


class Console:
    """The two streams. Nothing that happens to them stops a backup."""

    CLEAR = "\r\x1b[K"
    GOOD = "\x1b[1;32m"
    BAD = "\x1b[1;31m"
    PLAIN = "\x1b[0m"
    LINE_SECONDS = 0.5  # for a line: so long may a stream that is full hold up what follows
    VERDICT_SECONDS = 3.0  # for the line that the call is made for: nothing follows

    def __init__(self, output: Output, clock: Clock) -> None:
        self.output = output
        self.clock = clock
        self.has_live_line = False
        self._workers: Dict[str, Worker] = {}
        self._late: Dict[str, Call] = {}  # of a stream that did not take its last line in time

    def log(self, level: str, text: str) -> None:
        """A line of progress."""
        is_wanted = self.output.verbose if level == "DEBUG" else True
        if is_wanted and not self.output.quiet:
            stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(self.clock.time()))
            self.print_line("stderr", f"{stamp} {level} {text}")

    def print_line(
        self, name: str, text: str, word: str = "", patience: float = LINE_SECONDS
    ) -> bool:
        """A whole line. On a terminal the word stands out. Was it printed?"""
        clear = self.CLEAR if self.has_live_line and is_terminal(name) else ""
        shown = printable(text)
        if word and is_terminal(name) and not os.environ.get("NO_COLOR"):
            colour = self.GOOD if word in GOOD_ENDS else self.BAD
            shown = shown.replace(word, f"{colour}{word}{self.PLAIN}", 1)
        if name == "stderr":
            self.has_live_line = False
        return self._write(name, f"{clear}{shown}\n", patience)

    def ask(self, text: str) -> None:
        """Without a line end. Where it cannot be shown, it can be answered all the same."""
        self._write("stderr", text)

    def show_live(self, text: str) -> None:
        """On a terminal: a line that the next one takes the place of, as wide as it is."""
        if is_terminal("stderr") and not self.output.quiet:
            self._write("stderr", self.CLEAR + fitting(printable(text), columns_of("stderr")))
            self.has_live_line = True

    def _write(self, name: str, text: str, patience: float = LINE_SECONDS) -> bool:
        """Where lines are printed, each in a worker: a stream that is full, as that of a pager that
        was left, must not hold the trigger up."""
        late = self._late.pop(name, None)
        if late is not None and not late.ends_within(patience):
            self._late[name] = late
            return False
        worker = self._workers.setdefault(name, Worker())
        call = worker.start(lambda: write_to(name, text))
        if not call.ends_within(patience):
            self._late[name] = call
            return False
        return bool(call.result())


def write_to(name: str, text: str) -> bool:
    """Was it written? A stream that fails is taken away, lest Python's own flush at the end changes
    the exit code."""
    try:
        stream = getattr(sys, name)
        stream.write(encodable(text, stream))
        stream.flush()
    except (AttributeError, OSError, ValueError):
        setattr(sys, name, None)
        return False
    return True


def encodable(text: str, stream: Any) -> str:
    """What the stream can take of it; the rest escaped."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def fitting(text: str, width: int) -> str:
    """As much of it as a line has room for, cut between two words."""
    if len(text) < width:
        return text
    return text[: width - 1].rpartition(" ")[0] or text[: width - 1]


def columns_of(name: str) -> int:
    try:
        return os.get_terminal_size(getattr(sys, name).fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return 80


def is_terminal(name: str) -> bool:
    stream = getattr(sys, name)
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


class Shown(NamedTuple):
    """A session as it is shown: with its new backup, or where none was to be made, its newest."""

    name: str
    session: Optional[Session]
    backup: Optional[Backup]
    trouble: str = ""  # why it cannot be read

    def text(self) -> str:
        if self.session is None:
            return f'session "{self.name}": not seen'
        shown = f"backup {show_backup(self)}" if self.backup else "no new backup"
        return f'session "{self.name}" ({self.session.status}): {shown}'


def show_backup(shown: Shown) -> str:
    if shown.backup is None:
        return "none"
    valid = "valid" if shown.backup.valid else "NOT VALID"
    return f"{shown.backup.id} of {shown.backup.time}, copy sets {copy_sets(shown)}, {valid}"


def copy_sets(shown: Shown) -> str:
    """The backup's, of the session's."""
    whole = shown.session.copy_sets if shown.session else ""
    own = shown.backup.copy_sets if shown.backup else "?"
    return f"{own} of {whole}" if whole else own


def times_before_call(sessions: Tuple[Shown, ...], earliest: float) -> List[str]:
    """A new backup whose time is before the call: the storage's clock is behind, or it is old."""
    ages = [earliest - each.backup.seconds for each in sessions if each.backup]
    text = "the time of the backup is {:.0f} s before this call: compare the clocks, or its run"
    return [text.format(age) for age in ages if age > 1]


def lacks_copy_sets(shown: Shown) -> bool:
    if shown.session is None or shown.backup is None:
        return False
    figures = (shown.backup.copy_sets, shown.session.copy_sets)
    return all(each.isdigit() for each in figures) and figures[0] != figures[1]


class Progress:
    """What is known so far, for a signal or a problem to report."""

    def __init__(self, console: Console, waiter: Waiter, pace: Pace) -> None:
        self.console = console
        self.waiter = waiter
        self.pace = pace
        self.server = ""
        self.target: Optional[Target] = None
        self.tasks: Tuple[Task, ...] = ()
        self.sessions: Tuple[Shown, ...] = ()
        self.others: Tuple[Shown, ...] = ()  # that the task touches, and --check shows
        self.shows_table = False  # --list, --check
        self.notes_missing: Tuple[str, ...] = ()  # why sessions could not be noted
        self.run: Optional[RunState] = None  # once something may be started
        self._shown = ""
        self._shown_at = 0.0
        self._warned_at: Dict[str, float] = {}
        self._printed = ""  # the message of CSM's that was printed last

    def log(self, level: str, text: str) -> None:
        self.console.log(level, text)

    def answered(self, answer: Answer, problem: str, is_task: bool) -> None:
        """CSM's answer to a trigger: it is not printed again at once."""
        self._printed = answer.message.text
        if answer.fate is not Fate.ACCEPTED:
            following = NEXT_AFTER.get(answer.fate, "looking whether there is a run")
            self.log("WARNING", f"{problem}; {following}")
        elif answer.message.severity == "W":
            self.log("WARNING", f"accepted with a warning: {answer.message.text}")
        else:
            word = "started" if is_task else "answered"
            self.log("INFO", f"{word}: {answer.message.text}")

    def not_noted(self, text: str) -> None:
        """Why a session could not be noted: it belongs to the verdict."""
        self.notes_missing = (*self.notes_missing, text)
        self.log("WARNING", text)

    def warn(self, text: str) -> None:
        """The same warning is told from time to time, not each time."""
        passed = self.waiter.passed()
        if passed >= self._warned_at.get(text, -NEVER) + self.pace.shown_again:
            self._warned_at[text] = passed
            self.log("WARNING", text)

    def listed(
        self,
        server: str,
        tasks: Tuple[Task, ...],
        names: Tuple[str, ...],
        views: Tuple[Union[Session, str, None], ...],
    ) -> None:
        self.server, self.tasks = server, tasks
        self.sessions = tuple(newest_of(name, view) for name, view in zip(names, views))

    def found(self, server: str, target: Target) -> None:
        task = target.note.task
        tasks = (task,) if task else ()
        self.listed(server, tasks, target.session_names, target.note.sessions)
        self.log("INFO", f"{target.name} on {self.server}")

    def begin(self, config: Config) -> None:
        """The deadline runs from the moment that user and password are there: time to type is
        nobody's fault."""
        self.waiter.begin()
        self.server = config.servers[0]
        self.pace = self.pace._replace(request_timeout=config.request_timeout)

    def record(self, run: RunState, target: Target, views: Tuple[Optional[Session], ...]) -> None:
        """The run as it is, with the last view of each session."""
        self.run, self.target = run, target
        self.server = run.seen.last_look.server
        if run.seen.last_look.task is not None:
            self.tasks = (run.seen.last_look.task,)
        rows = zip(target.session_names, views, run.seen.noted)
        earliest = run.note.earliest
        self.sessions = tuple(new_of(*row, earliest=earliest, pace=self.pace) for row in rows)

    def show(self, run: RunState) -> None:
        """Print what was noted where it changed, and from time to time."""
        if run.phase is Phase.IDLE:
            return
        passed = self.waiter.passed()
        words, until = phase_of(run, self.pace)
        text = "; ".join(filter(None, [f"{words} until {self.clock_time(until)}", self.state()]))
        message = self.message.text
        is_new = text != self._shown or message not in ("", self._printed)
        if is_new or passed >= self._shown_at + self.pace.shown_again:
            self._shown, self._shown_at = text, passed
            self.log("INFO", f"{text}; {message}" if message != self._printed else text)
            self._printed = message
        left = max(0.0, until - passed)
        self.console.show_live(f"{words}: {passed:.0f} s, {left:.0f} s left; {self.message.text}")

    def clock_time(self, at: float) -> str:
        """A moment of this call, as a time of day."""
        return time.strftime("%H:%M:%SZ", time.gmtime(self.waiter.began_by_clock + at))

    @property
    def started(self) -> str:
        return self.run.started if self.run else "no"

    @property
    def message(self) -> Message:
        """CSM's last one about the run; where it failed, the one that tells so."""
        return message_of_run(self.run) if self.run else NO_MESSAGE

    def state(self) -> str:
        """The sessions."""
        return "; ".join(each.text() for each in self.sessions)


NEXT_AFTER = {Fate.NOT_SENT: "trying again", Fate.UNAUTHORISED: "logging in again"}


def phase_of(run: RunState, pace: Pace) -> Tuple[str, float]:
    """What is waited for, and until when: in seconds since the call began."""
    if run.phase is Phase.PENDING:
        return "waiting for CSM's answer", run.seen.sent_at + patience_with_answer(run, pace)
    if run.phase is Phase.IN_DOUBT:
        return "looking whether the lost trigger arrived", run.deadline
    if run.phase is Phase.REFUSED:
        left = pace.settle - run.seen.looked
        return "refused: looking whether it runs all the same", run.seen.updated_at + left
    if run.phase is Phase.JOINED:
        return "watching a run that was joined", min(run.half_at, run.deadline)
    return phase_of_started(run, pace)


def phase_of_started(run: RunState, pace: Pace) -> Tuple[str, float]:
    ended_at = run.seen.ended_at
    if ended_at is None:
        kind = "Backup" if run.note.task is None else "task"
        return f"waiting for the {kind} to end", run.deadline
    if Proof.NOT_VALID in run.seen.proofs:
        return "waiting until CSM calls the backup valid", run.deadline
    grace_ends = ended_at + pace.grace
    until = grace_ends if run.seen.updated_at < grace_ends else run.deadline
    if is_backed_up(run.seen.proofs):
        return "waiting for the run's last message", until
    return "the run has ended: waiting for its backup", until


def message_of_run(run: RunState) -> Message:
    if run.seen.errors:
        return run.seen.errors[0]
    last = last_of_run(run.seen) if run.seen.ended_at is not None else run.seen.last_message
    if last.id and (run.seen.has_spoken or run.seen.ended_at is not None):
        return last
    return run.accepted or run.answered


def newest_of(name: str, view: Union[Session, str, None]) -> Shown:
    if isinstance(view, Session):
        return Shown(name, view, best_of(view.backups))
    return Shown(name, None, None, view or "")


def new_of(
    name: str, view: Optional[Session], noted: Optional[Noted], earliest: float, pace: Pace
) -> Shown:
    """A session with its new backup, if there is one."""
    if view is None or noted is None:
        return Shown(name, view, None)
    return Shown(name, view, best_of(new_backups(noted.session, view, earliest, pace)))


# --- 14. Words and result: what is told of faults, targets and verdicts ---------------------------


# For errors that have no text of the system's: their class -> what happened.
REASONS = {
    "timeout": "timed out",
    "TimeoutError": "timed out",
    "ReadTimeout": "timed out",
    "ConnectTimeout": "timed out",
    "RemoteDisconnected": "the connection was closed without an answer",
    "IncompleteRead": "the answer was cut",
    "BadStatusLine": "the answer is not HTTP",
}


def reason_of(error: BaseException) -> str:
    """Why there is no answer, in a few words. What a server sent in place of HTTP may echo a
    secret, so that no text of an error is shown but the system's own."""
    from http.client import HTTPException

    inner = error
    for each in causes_of(error):
        if isinstance(each, (OSError, HTTPException)):  # the innermost one knows best
            inner = each
    if isinstance(inner, ssl.SSLError) and "eof" in str(inner).lower():
        return "the connection was closed"  # the number in it is not the same everywhere
    system = getattr(inner, "strerror", None)
    if system:
        return f"{system}"
    if type(inner) is OSError:  # requests' own: a file of CAs that is not there
        return str(inner)
    return REASONS.get(type(inner).__name__, type(inner).__name__)


def causes_of(error: BaseException) -> Iterable[BaseException]:
    """The error, and what it came of, the innermost last."""
    cause: Optional[BaseException] = error
    while cause is not None:
        yield cause
        cause = cause.__context__


NO_TASK_LISTED = "CSM is starting, or this user sees none"


def missing(
    csm: Csm, kind: str, name: str, names: Iterable[str], lists_tasks: bool = True
) -> NotFound:
    known = {each.lower(): f'"{escaped(each)}"' for each in names}
    near = difflib.get_close_matches(name.lower(), known, 3, 0.4)
    closest = "; the closest: " + ", ".join(known[each] for each in near) if near else ""
    odd = "" if lists_tasks or kind == "session" else f"; no task is listed: {NO_TASK_LISTED}"
    return NotFound(f'{csm.server} shows no {kind} "{escaped(name)}"{closest}{odd}')


def why_nothing(csm: Csm, task: Task, listing: TaskList, views: List[Optional[Session]]) -> str:
    kinds = [kind_of(csm, each) for each in views if each is not None]
    chain = listing.name_of(task.next_task)
    hint = f'; it goes on in task "{chain}": name that one, or -S' if chain else ""
    reason = ", ".join(kinds) or f'no step of task "{task.name}"'
    return f"nothing would be backed up: {reason}{hint}"


def kind_of(csm: Csm, session: Session) -> str:
    return f'session "{session.name}" is of the type {csm.reader.clean(session.kind)}'


def remarks_on(task: Task, listing: TaskList) -> Tuple[str, ...]:
    found = []
    if task.pending_approval:
        found.append("the task waits for approval")
    if task.next_task:
        name = listing.name_of(task.next_task)
        shown = f'task "{name}"' if name else f"the task with the id {task.next_task}"
        found.append(f"it goes on in {shown}, which is not watched")
    return tuple(found)


def words_of(verdict: Verdict, run: RunState, pace: Pace) -> str:
    """The one thing that happened, or that is waited for."""
    note, seen = run.note, run.seen
    words: Dict[Verdict, Callable[[], str]] = {
        Verdict.PROVEN: lambda: remark_on(note, seen),
        Verdict.OPEN: lambda: words_while_open(note, seen, pace),
        Verdict.SEVERE: lambda: words_of_severe(seen),
        Verdict.ERROR: lambda: f"the run ended with the error {seen.errors[0].text}",
        Verdict.BAD_END: lambda: words_of_bad_end(last_of_run(seen)),
        Verdict.NO_BACKUP: lambda: words_of_none(note, seen, pace),
        Verdict.NO_TRACE: lambda: words_of_no_trace(seen),
        Verdict.NO_SESSION: lambda: WORDS_OF_NO_SESSION,
        Verdict.NOT_NOTED: lambda: words_of_unprovable(seen),
    }
    return words[verdict]()


WORDS_OF_NO_SESSION = (
    "the run ended, and CSM does not tell what it backs up: -S names the session to look at"
)


def words_of_bad_end(last: Message) -> str:
    if not last.id:
        return f"the run's last message has no id: {last.text}"
    if last.is_error:
        return f"the run ended with the error {last.text}"
    if last.id in STEP_IDS:
        return f"the run's last message is a step's (cut off): {last.text}"
    return f"the run's last message is the warning {last.text}"


def words_of_no_trace(seen: Evidence) -> str:
    words = "CSM accepted the trigger, and shows no trace of a run"
    is_pending = seen.last_look.task is not None and seen.last_look.task.pending_approval
    return f"{words}; the task waits for approval" if is_pending else words


def words_while_open(note: Snapshot, seen: Evidence, pace: Pace) -> str:
    """Which one thing is still waited for."""
    if note.task is not None and not seen.has_begun:
        return "no look has shown that the run began"
    if note.task is not None and seen.ended_at is None:
        return "the run has not ended"
    if Proof.UNSEEN in seen.proofs or None in seen.noted:
        return words_of_unread(seen)
    if not seen.has_backups:
        return "no new backup is listed yet"
    if Proof.NOT_VALID in seen.proofs:
        return words_of_not_valid(note, seen, pace)
    if seen.severe_since is not None:
        return "the backup is there, and a session shows Severe"
    return "the backup is there, and the run's last message is not"


def words_of_unread(seen: Evidence) -> str:
    if seen.ended_at is None:
        return "the session cannot be read"
    return "the run ended, and a session cannot be read"


def seen_with(seen: Evidence, proof: Proof) -> List[Tuple[Session, Session]]:
    """The sessions that show just that: as noted, and as in the last look."""
    rows = zip(seen.noted, seen.last_look.sessions, seen.proofs)
    found = [(old, view) for old, view, each in rows if each is proof]
    return [(old.session, view) for old, view in found if old and view]


def words_of_severe(seen: Evidence) -> str:
    """haserror may be true while the status is Normal: CSM's own words."""
    for noted, view in zip(seen.noted, seen.last_look.sessions):
        if view is not None and has_turned_severe(noted, view):
            return f"session {view.name} shows an error that it did not show before ({view.status})"
    return "a session showed an error that it did not show before"


def words_of_not_valid(note: Snapshot, seen: Evidence, pace: Pace) -> str:
    """When CSM says valid is not published: it may be minutes after the end."""
    old, view = seen_with(seen, Proof.NOT_VALID)[0]
    backup = new_backups(old, view, note.earliest, pace)[0]
    return f"backup {backup.id} is there, and CSM does not call it valid yet"


def words_of_none(note: Snapshot, seen: Evidence, pace: Pace) -> str:
    """Names a backup that is not new for its time alone, and both clocks: one may be wrong."""
    old, view = seen_with(seen, Proof.NONE)[0]
    words = f"the run ended, and session {view.name} shows no new backup"
    listed = unnoted_backups(old, view)
    if not listed:
        return words
    newest = max(listed, key=lambda each: each.seconds)
    clocks = f"taken {newest.time}, by CSM's clock the note is of {show_time(note.earliest)}"
    return f"{words}; {newest.id} is listed now and too old to be new: {clocks}"


NOT_NOTED = "a session could not be noted before the trigger"


def words_of_unprovable(seen: Evidence) -> str:
    """What there is may be from before the trigger, or not."""
    is_noted = all(each is not None and not each.is_late for each in seen.noted)
    reason = "the time of a backup cannot be read" if is_noted else NOT_NOTED
    words = f"it cannot be proven: {reason}"
    listed: List[Backup] = []
    for old, view in seen_with(seen, Proof.UNPROVABLE):
        listed += unnoted_backups(old, view) if is_noted else view.backups
    if not listed:
        return words
    newest = max(listed, key=lambda each: each.seconds)
    return f"{words}; its newest backup is {newest.id}, taken {newest.time}"


def remark_on(note: Snapshot, seen: Evidence) -> str:
    """What a proven run shows that is not as usual."""
    last = last_of_run(seen)
    if note.task is None or last.id == FINISHED:
        return ""
    if not last.text:
        return "CSM tells no message of the run"
    return f"the run's last message is {last.text}"


class Conclusion(NamedTuple):
    """How a call ended: outcome word, exit code, what happened, what to do."""

    outcome: str
    code: ExitCode
    text: str
    hint: str = ""


class Result(NamedTuple):
    """All that is told of a call, on whichever way."""

    outcome: str
    code: ExitCode
    text: str
    started: str
    triggers: int
    message: Message
    server: str
    tasks: Tuple[Task, ...]
    sessions: Tuple[Shown, ...]
    others: Tuple[Shown, ...]
    shows_table: bool
    seconds: float


def make_result(conclusion: Conclusion, progress: Progress) -> Result:
    """What was taken or not stands first, then what went wrong, then what to do."""
    is_good = conclusion.outcome in GOOD_ENDS
    texts = texts_of_success if is_good else texts_of_failure
    return Result(
        outcome=conclusion.outcome,
        code=conclusion.code,
        text=printable("; ".join(filter(None, texts(conclusion, progress)))),
        started=progress.started,
        triggers=progress.run.triggers if progress.run else 0,
        message=progress.message,
        server=progress.server,
        tasks=progress.tasks,
        sessions=progress.sessions,
        others=progress.others,
        shows_table=progress.shows_table,
        seconds=round(progress.waiter.passed(), 1),
    )


def texts_of_success(conclusion: Conclusion, progress: Progress) -> List[str]:
    if progress.target is None or progress.run is None:
        return [conclusion.text]
    backups = text_of_backups(progress)
    return [
        f"backup {backups}" if backups else "",
        text_of_place(progress),
        conclusion.text,
        "" if progress.message.text in conclusion.text else progress.message.text,
        *warnings_about(progress),
    ]


def texts_of_failure(conclusion: Conclusion, progress: Progress) -> List[str]:
    remarks = warnings_about(progress) if progress.run is not None else []
    message = progress.message.text
    return [
        text_of_taken(conclusion.code, progress),
        conclusion.text,
        "" if message in conclusion.text else message,
        text_of_place(progress),
        *remarks,
        text_of_next(conclusion.code, progress),
        conclusion.hint,
    ]


def text_of_backups(progress: Progress) -> str:
    """The new backups; where several sessions were to show one, of which it is."""
    taken = [each for each in progress.sessions if each.backup]
    if len(progress.sessions) == 1:
        return ", ".join(show_backup(each) for each in taken)
    return ", ".join(f'{show_backup(each)} in session "{each.name}"' for each in taken)


def text_of_place(progress: Progress) -> str:
    """Task or session, and server; the session of a task where it has another name."""
    if progress.target is None:
        return ""
    names = [f'"{each.name}"' for each in progress.sessions]
    is_other = len(names) == 1 and names[0] not in progress.target.name
    session = f" with session {names[0]}" if is_other else ""
    return f"{progress.target.name}{session} on {progress.server}"


def text_of_taken(code: ExitCode, progress: Progress) -> str:
    """What a person at 3 a.m. needs first: is there a backup?"""
    if progress.started == "no":
        return "nothing was started"
    if any(each.backup for each in progress.sessions):
        return f"backup TAKEN ({text_of_backups(progress)}){text_of_others(code, progress)}"
    proofs = progress.run.seen.proofs if progress.run is not None else ()
    is_blind = code is ExitCode.FAILED and Proof.UNSEEN in proofs
    if not progress.sessions or unseen_names(progress) or is_blind:
        return "whether a backup was taken cannot be seen"
    return "NO backup" if is_over(code, progress) else "no new backup was seen"


def is_over(code: ExitCode, progress: Progress) -> bool:
    """Has it failed, so that no backup can come any more? A run that turns Severe may go on."""
    is_refused = progress.run is not None and progress.run.phase is Phase.REFUSED
    return code is ExitCode.FAILED and (has_ended(progress) or is_refused)


def has_ended(progress: Progress) -> bool:
    return progress.run is not None and progress.run.seen.ended_at is not None


def text_of_others(code: ExitCode, progress: Progress) -> str:
    """Of the sessions that show no new backup, where another one does."""
    unseen = unseen_names(progress) + unseen_at_last(progress)
    names = [each.name for each in progress.sessions if not each.backup]
    none = ", ".join(f'"{each}"' for each in names if each not in unseen)
    unknown = ", ".join(f'"{each}"' for each in names if each in unseen)
    word = "NO backup" if is_over(code, progress) else "no new backup was seen"
    text = f"; {word} in session {none}" if none else ""
    return text + (f"; whether in session {unknown} cannot be seen" if unknown else "")


def unseen_at_last(progress: Progress) -> List[str]:
    """The sessions that the last look did not show."""
    proofs = progress.run.seen.proofs if progress.run is not None else ()
    pairs = zip(progress.sessions, proofs)
    return [shown.name for shown, proof in pairs if proof is Proof.UNSEEN]


def unseen_names(progress: Progress) -> List[str]:
    """The sessions of which a new backup could not be told from an old one."""
    noted = progress.run.seen.noted if progress.run is not None else ()
    pairs = zip(progress.sessions, noted)
    return [shown.name for shown, note in pairs if is_unseen(shown, note)]


def is_unseen(shown: Shown, noted: Optional[Noted]) -> bool:
    return shown.session is None or noted is None or noted.is_late


def text_of_next(code: ExitCode, progress: Progress) -> str:
    if progress.started == "no" or is_over(code, progress):
        return ""
    if progress.started != "yes":
        return "it is not known whether it was started: look in CSM before another run"
    if has_ended(progress):
        return "the run has ended: look in CSM before another one"
    return "CSM goes on with what was started: look there first"


def warnings_about(progress: Progress) -> List[str]:
    """What the verdict says besides: of the target, of several triggers, of copy sets."""
    found = list(progress.target.remarks) if progress.target else []
    found += progress.notes_missing
    if progress.run is not None:
        found += times_before_call(progress.sessions, progress.run.note.earliest)
    if progress.run is not None and progress.run.triggers > 1:
        found.append(f"{progress.run.triggers} triggers may have been processed")
    for shown in progress.sessions:
        if lacks_copy_sets(shown):
            found.append(f"copy sets differ: {copy_sets(shown)}")
    return list(dict.fromkeys(found))


def line_of(result: Result, output: Output) -> str:
    """The verdict in one line."""
    event = f" (event: {' '.join(output.event)[:200]})" if output.event else ""
    return f"{result.outcome}: {result.text}{event}"


def json_of_result(result: Result, output: Output) -> Dict[str, Any]:
    """As the README has it. In LEEF what there is no room for is cut: hence the order."""
    return {
        "outcome": result.outcome,
        "exit_code": int(result.code),
        "started": result.started,
        "triggers": result.triggers,
        "csm_id": result.message.shown_id,
        "server": result.server,
        "backups": [each.backup.id for each in result.sessions if each.backup],
        "rule_id": output.rule_id,
        "version": VERSION,
        "tasks": [json_of_task(each) for each in result.tasks],
        "sessions": [json_of_session(each) for each in result.sessions],
        "seconds": result.seconds,
        "csm_text": result.message.text,
        "message": result.text,
        "rule_name": output.rule_name,
        "event": list(output.event),
    }


def json_of_task(task: Task) -> Dict[str, Any]:
    return {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "last_ran": task.last_ran,
        "sessions": list(task.sessions),
    }


def json_of_session(shown: Shown) -> Dict[str, Any]:
    session = shown.session
    return {
        "name": shown.name,
        "status": session.status if session else "",
        "state": session.state if session else "",
        "copy_sets": session.copy_sets if session else "",
        "backup": json_of_backup(shown.backup) if shown.backup else None,
    }


def json_of_backup(backup: Backup) -> Dict[str, Any]:
    return {
        "id": backup.id,
        "time": backup.time,
        "valid": backup.valid,
        "copy_sets": backup.copy_sets,
        "seconds": backup.seconds,
    }


def table_of(result: Result) -> List[str]:
    """One line a task and one a session, in aligned columns; nothing is cut."""
    names = {each.id: each.name for each in result.tasks}
    tasks = [row_of_task(each, names) for each in result.tasks]
    sessions = [row_of_session(each) for each in result.sessions + result.others]
    heads = ("ID", "TASK", "STATE", "LAST RUN", "BACKS UP", "GOES ON IN TASK")
    lines = columns([heads, *tasks]) if tasks else []
    if len(result.tasks) == 1:
        lines += [f"step {n}  {step}" for n, step in enumerate(result.tasks[0].steps, 1)]
    return lines + columns([("SESSION", "STATUS", "STATE", "NEWEST BACKUP"), *sessions])


def row_of_task(task: Task, names: Dict[int, str]) -> Tuple[str, ...]:
    """Names: of all tasks, by their ids."""
    goes_on = names.get(task.next_task, str(task.next_task)) if task.next_task else ""
    sessions = ", ".join(task.sessions)
    return str(task.id), task.name, task.state, show_time(task.last_ran), sessions, goes_on


def row_of_session(shown: Shown) -> Tuple[str, ...]:
    if shown.session is None:
        return shown.name, "", "", f"cannot be read: {shown.trouble or 'see the warning'}"
    return shown.name, shown.session.status, shown.session.state, show_backup(shown)


def columns(rows: List[Tuple[str, ...]]) -> List[str]:
    widths = [max(map(width_of, column)) for column in zip(*rows)]
    return ["  ".join(map(padded, row, widths)).rstrip() for row in rows]


def width_of(text: str) -> int:
    """As it will be printed."""
    return len(encodable(printable(text), sys.stdout))


def padded(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))


def lines_of(result: Result, output: Output) -> List[str]:
    """What goes to standard output."""
    if output.json:
        return [json.dumps(json_of_result(result, output))]
    if output.quiet:
        return []
    table = table_of(result) if result.shows_table else []
    return [*table, line_of(result, output)] if result.outcome in GOOD_ENDS else table


def print_of_result(console: Console, line: str, outcome: str) -> bool:
    """The line that the call is made for may take longer than one of a table."""
    if not line.startswith((outcome, "{")):
        return console.print_line("stdout", line)
    word = outcome if line.startswith(outcome) else ""
    return console.print_line("stdout", line, word, Console.VERDICT_SECONDS)


def tell(result: Result, console: Console) -> None:
    """Print the result, and send it where --leef wants it."""
    output, outcome = console.output, result.outcome
    printed = [print_of_result(console, line, outcome) for line in lines_of(result, output)]
    if outcome not in GOOD_ENDS or not all(printed):
        text = f"{PROGRAM}: {line_of(result, output)}"
        console.print_line("stderr", text, outcome, Console.VERDICT_SECONDS)
    if output.leef:
        packet = leef_packet(result, output, console.clock.time(), utf8(socket.gethostname()))
        if not send_packet(packet, output.leef):
            console.log("WARNING", f"no LEEF event was sent to {output.leef}")


# --- 15. Syslog -----------------------------------------------------------------------------------

VENDOR = "Safeguarded Copy"
MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
LONGEST_PACKET = 1024  # bytes: RFC 3164


def leef_packet(result: Result, output: Output, now: float, host: str) -> bytes:
    """A LEEF 2.0 event for syslog. LEEF has no escapes: its separators are replaced."""
    is_good = result.outcome in GOOD_ENDS
    priority = 133 if is_good else 131  # local0.notice, local0.err
    local = time.localtime(now)
    month = MONTHS[3 * local.tm_mon - 3 : 3 * local.tm_mon]
    stamp = f"{month} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
    header = f"LEEF:2.0|{VENDOR}|{PROGRAM}|{VERSION}|{result.outcome}|^|"
    packet = f"<{priority}>{stamp} {host} {header}".encode()
    attributes = {"devTime": int(now * 1000), "sev": 3 if is_good else 9, "cat": result.outcome}
    attributes.update(json_of_result(result, output))
    for key, value in attributes.items():
        room = max(0, LONGEST_PACKET - 2 - len(packet) - len(key))
        text = leef_text(value).encode("utf-8", "replace")[:room]
        if room:
            packet += f"{key}={text.decode('utf-8', 'ignore')}^".encode()
    return packet[:-1]


def leef_text(value: Any) -> str:
    """Of a list its texts, or the names of its objects."""
    if isinstance(value, list):
        value = ",".join(each["name"] if isinstance(each, dict) else each for each in value)
    return re.sub("[|^]", "_", printable(str(value)))


def send_packet(packet: bytes, address: str) -> bool:
    """Was it sent? To resolve a name may take long: it is not waited for."""
    host, _, port = address.rpartition(":")

    def send() -> int:
        family, kind, _, _, peer = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as udp:
            return udp.sendto(packet, peer)

    call = Worker().start(send)
    try:
        return call.is_done_within(2.0, Signals()) and bool(call.result())
    except (OSError, ValueError):
        return False


# --- 16. Command line -----------------------------------------------------------------------------


def utf8(text: str) -> str:
    """A text of the system, in any locale."""
    return os.fsencode(text).decode("utf-8", "replace")


def environment(name: str) -> str:
    return utf8(os.environ.get(name, ""))


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """It quotes no value: it may be the password."""
        raise UsageError(re.sub("(?s)'.*'|\".*\"", "...", message))

    def options(self) -> List[str]:
        found: List[str] = []
        for action in self._actions:
            found += action.option_strings
        return found


def check_all_known(parser: Parser, given: List[str], unknown: List[str]) -> None:
    """An argument that the parser does not know is named by its position, never by its text."""
    if not unknown:
        return
    first = unknown[0]
    place = f"argument {given.index(first) + 1 if first in given else '?'}"
    if not first:
        raise UsageError(f"{place} is empty")
    if not first.startswith("-"):
        raise UsageError(f"{place} is neither an option nor the value of one")
    near = difflib.get_close_matches(first.partition("=")[0], parser.options(), 1, 0.5)
    closest = f": {near[0]}?" if near else ""
    raise UsageError(f"{place} is no option{closest}")


EPILOG = """
-- EVENT ...: all after -- is recorded with the result, and changes nothing about the backup.
The README is beside the program in its repository: exit codes, recipes, what to do at 3 a.m.
"""


def build_parser() -> Parser:
    parser = Parser(
        f"{PROGRAM}.py",
        description=str(__doc__).partition("\nHow to audit")[0],
        usage=f"{PROGRAM}.py [OPTION ...] -s HOST (-t TASK | -S SESSION) [-- EVENT ...]",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options_of_access(parser)
    add_options_of_run(parser)
    add_options_of_output(parser)
    return parser


def add_options_of_access(parser: Parser) -> None:
    parser.add_argument(
        "-s",
        "--csm_server",
        metavar="HOST[,HOST]",
        help="the CSM server, or both of a pair; each HOST, HOST:PORT or [IPv6]:PORT",
    )
    parser.add_argument(
        "-P",
        "--csm_port",
        metavar="PORT",
        default="9559",
        help="REST port where -s names none (%(default)s)",
    )
    add_options_of_user(parser)
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--ca-file", metavar="PEM", help="trust this CA or certificate")
    trust.add_argument(
        "--fingerprint",
        metavar="SHA256",
        help="trust the certificate with this fingerprint and no other; of a pair: A,B",
    )
    trust.add_argument(
        "--insecure",
        action="store_true",
        help="trust anything: whoever answers is given the password",
    )


def add_options_of_user(parser: Parser) -> None:
    parser.add_argument(
        "-u",
        "--csm_user",
        metavar="USER",
        help="CSM user; else CSM_USER in the environment, else a prompt",
    )
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "-p",
        "--csm_user_passwd",
        metavar="PASSWORD",
        help="its password; else CSM_USER_PASSWD in the environment, else a prompt",
    )
    secret.add_argument(
        "--password-file",
        metavar="FILE",
        help="file with the password as its one line; - is standard input",
    )
    parser.add_argument("--base64", action="store_true", help="the values of -u and -p are Base64")


def add_options_of_run(parser: Parser) -> None:
    parser.add_argument(
        "-t",
        "--csm_task",
        metavar="NAME",
        help="task to run; where no task has this name, the session to back up",
    )
    parser.add_argument(
        "-S",
        "--csm_session",
        metavar="NAME",
        help="session to back up; with -t: the session where the backup must appear",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--check", action="store_true", help="do everything but the trigger: start nothing"
    )
    mode.add_argument(
        "--list", action="store_true", help="show the tasks and Safeguarded Copy sessions"
    )
    mode.add_argument(
        "--no-wait", action="store_true", help="end once CSM has accepted our trigger"
    )
    add_options_of_time(parser)


def add_options_of_time(parser: Parser) -> None:
    parser.add_argument(
        "--min-interval",
        metavar="MINUTES",
        type=float,
        help="start nothing where each session has a valid backup younger than this",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=1800.0,
        help="deadline of the whole call (%(default)g)",
    )
    parser.add_argument(
        "--request-timeout",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="of one request (%(default)g); leave it: a lost trigger is looked for so long",
    )


def add_options_of_output(parser: Parser) -> None:
    parser.add_argument(
        "--leef",
        metavar="HOST[:PORT]",
        help="send the result as a LEEF 2.0 event by syslog (UDP, 514)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing where it ends with 0"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show each request, never its content"
    )
    parser.add_argument("--version", action="version", version=VERSION)


def output_of(args: argparse.Namespace, event: List[str]) -> Output:
    """How the result is told: so that it can be, whatever else is wrong with the command line."""
    return Output(
        json=args.json,
        quiet=args.quiet,
        verbose=args.verbose,
        leef=address(args.leef or "", "514"),
        event=printable_all(event),
        rule_id=printable(environment("RULE_ID")),
        rule_name=printable(environment("RULE_NAME")),
    )


def printable_all(texts: Iterable[str]) -> Tuple[str, ...]:
    return tuple(printable(each) for each in texts)


def address(text: str, port: str) -> str:
    """HOST:PORT; "" for what requests would rewrite, or refuse."""
    found = re.match(
        r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?:(\d{1,5})\Z",
        f"{text.strip()}:{port}",
        re.ASCII,
    )
    if not found:
        return ""
    chosen = int(found.group(2) or found.group(3))
    return f"{found.group(1)}:{chosen}" if 0 < chosen < 65536 else ""


def is_fingerprint(text: str) -> bool:
    return re.match(r"([0-9A-Fa-f]{2}:?){32}\Z", text) is not None


def is_duration(number: Optional[float]) -> bool:
    return number is None or 0 < number <= 86400


def check_arguments(args: argparse.Namespace) -> None:
    """What argparse did not check. One line a rule."""
    servers = (args.csm_server or "").split(",")
    rules = (
        (bool(args.csm_server), "-s: missing or blank"),
        (has_names(args), "-t, -S: missing or blank"),
        (
            all(map(is_duration, (args.timeout, args.request_timeout, args.min_interval))),
            "--timeout, --request-timeout, --min-interval: not above 0 and up to 86400",
        ),
        (
            all(addresses_of(args, servers)),
            "-s, -P, --leef: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)",
        ),
        (len(servers) < 3, "-s: more than the two servers of a pair"),
        (
            are_fingerprints(fingerprints_of(args), len(servers)),
            "--fingerprint: not the 64 hexadecimal digits of a SHA-256 (of a pair, two such)",
        ),
    )
    for is_met, text in rules:
        if not is_met:
            raise UsageError(text)


def has_names(args: argparse.Namespace) -> bool:
    names = [each for each in (args.csm_task, args.csm_session) if each is not None]
    return all(each.strip() for each in names) and (bool(names) or args.list)


def addresses_of(args: argparse.Namespace, servers: List[str]) -> List[str]:
    """Of the servers, of -P alone, and of --leef."""
    found = [address(each, args.csm_port) for each in [*servers, "any"]]
    return [*found, address("any" if args.leef is None else args.leef, "514")]


def are_fingerprints(texts: Tuple[str, ...], servers: int) -> bool:
    return len(texts) in (0, 1, servers) and all(map(is_fingerprint, texts))


def fingerprints_of(args: argparse.Namespace) -> Tuple[str, ...]:
    if args.fingerprint is None:
        return ()
    return tuple(each.strip() for each in args.fingerprint.split(","))


def timeout_of(args: argparse.Namespace) -> float:
    """--list and --check give up sooner."""
    is_glance = args.list or args.check
    return float(min(args.timeout, Pace().glance) if is_glance else args.timeout)


def mode_of(args: argparse.Namespace) -> Mode:
    if args.list:
        return Mode.LIST
    if args.check:
        return Mode.CHECK
    return Mode.NO_WAIT if args.no_wait else Mode.RUN


def config_of(args: argparse.Namespace, waiter: Waiter, console: Console) -> Config:
    """The checked command line, with user and password."""
    check_arguments(args)
    check_ca_file(args, waiter)
    servers = tuple(address(each, args.csm_port) for each in args.csm_server.split(","))
    source = Source(args, waiter, console)
    return Config(
        servers=servers,
        user=source.credential("csm_user", source.user_sources()),
        password=Secret(source.credential("csm_user_passwd", source.password_sources())),
        trust=Trust(path_of(args.ca_file or ""), fingerprints_of(args), args.insecure),
        mode=mode_of(args),
        task_name=args.csm_task or "",
        session_name=args.csm_session or "",
        min_interval=60 * (args.min_interval or 0.0),
        timeout=timeout_of(args),
        request_timeout=args.request_timeout,
    )


def check_ca_file(args: argparse.Namespace, waiter: Waiter) -> None:
    if args.ca_file is None:
        return
    path = path_of(args.ca_file) or " "
    try:
        read_within(waiter, args.timeout, lambda: ssl.create_default_context(cafile=path))
    except OSError as error:
        raise UsageError(f"--ca-file: {error.strerror or error}") from None


def read_within(waiter: Waiter, seconds: float, read: Callable[[], T]) -> T:
    """A file may be a pipe that nobody writes to. Raises OSError."""
    call = Worker().start(read)
    if not waiter.is_done(call, seconds):
        raise OSError(errno.ETIMEDOUT, "timed out")
    found: T = call.result()
    return found


class Source:
    """Where user and password may come from: the first source that is there is taken."""

    def __init__(self, args: argparse.Namespace, waiter: Waiter, console: Console) -> None:
        self.args = args
        self.waiter = waiter
        self.console = console

    def user_sources(self) -> Tuple[Callable[[], Optional[str]], ...]:
        return (
            lambda: self.from_option(self.args.csm_user),
            lambda: self.from_environment("CSM_USER"),
            lambda: self.from_prompt(self.type_user),
        )

    def password_sources(self) -> Tuple[Callable[[], Optional[str]], ...]:
        return (
            lambda: self.from_option(self.args.csm_user_passwd),
            lambda: self.from_file(self.args.password_file),
            lambda: self.from_environment("CSM_USER_PASSWD"),
            lambda: self.from_prompt(self.type_password),
        )

    def credential(self, name: str, sources: Tuple[Callable[[], Optional[str]], ...]) -> str:
        """A line of text. An error does not show it."""
        try:
            found = first_of(sources)
        except (OSError, ValueError, EOFError, RuntimeError):
            found = ""
        if not found.strip() or "\ufffd" in found:
            raise UsageError(f"--{name} is missing, blank or not text (or not Base64)")
        if any(is_control(each) for each in found):
            raise UsageError(f"--{name} holds a control character: a line end, perhaps CR LF?")
        return found

    def from_option(self, text: Optional[str]) -> Optional[str]:
        if text is None or not self.args.base64:
            return text
        packed = re.sub(r"\s", "", text)  # as it comes from a file, or wrapped
        return base64.b64decode(packed, validate=True).decode().strip()

    def from_file(self, path: Optional[str]) -> Optional[str]:
        if path is None:
            return None
        chosen = path_of(path)
        try:
            limit = self.args.timeout
            public = read_within(self.waiter, limit, lambda: is_public(chosen))
            text = read_within(self.waiter, limit, lambda: read_line_of(chosen))
        except OSError as error:
            raise UsageError(f"--password-file: {error.strerror or error}") from None
        if public:
            self.console.log("WARNING", "others can read the password file: chmod 600 it")
        return text

    def from_environment(self, name: str) -> Optional[str]:
        """None: it is not set, and the next source is asked."""
        return environment(name) if name in os.environ else None

    def from_prompt(self, typed: Callable[[], str]) -> Optional[str]:
        """A signal ends the typing: a terminal that shows nothing is put back by getpass."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        return self.waiter.signals.interrupt(typed)

    def type_user(self) -> str:
        self.console.ask("CSM user: ")
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def type_password(self) -> str:
        return getpass.getpass("CSM password: ")


def is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


def first_of(sources: Tuple[Callable[[], Optional[str]], ...]) -> str:
    for source in sources:
        text = source()
        if text is not None:
            return text
    return ""


def path_of(text: str) -> str:
    """As the system wants it: the command line was read as UTF-8, whatever the locale."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def is_public(path: str) -> bool:
    """Can others read it?"""
    return path != "-" and os.name == "posix" and bool(os.stat(path).st_mode & 0o077)


def read_line_of(path: str) -> str:
    with open(0 if path == "-" else path, encoding="utf-8-sig") as lines:
        text = lines.read(65536)
    return text[:-1] if text.endswith("\n") else text


# --- 17. main -------------------------------------------------------------------------------------

# THE ONE WAY TO 0, but for --help and --version: a call that ended with one of these words.
GOOD_ENDS: Dict[str, ExitCode] = {each.value: ExitCode.OK for each in Outcome}


def load_modules(signals: Signals) -> None:
    """requests and urllib3. They may be missing, not fit one another or this Python, or be hidden
    by a file beside this one: whatever it is, it is told in a line."""
    try:
        signals.interrupt(import_modules)
    except Stopped:
        raise
    except BaseException as error:  # a namesake may be a script that ends by an exit
        python = f"{sys.executable} (Python {sys.version.split()[0]})"
        cause = f"{type(error).__name__}: {error}"
        raise ModuleMissing(f"requests and urllib3 cannot be loaded by {python}: {cause}") from None


def import_modules() -> None:
    """What they say of each other at their import is for those who set them up, not for stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import requests.adapters  # noqa: F401
        import urllib3
    urllib3.disable_warnings()


def conclusion_of_problem(problem: Problem, progress: Progress) -> Conclusion:
    """What hindered a request decides nothing once something was started."""
    code, hint = problem.code, problem.hint
    if progress.started != "no" and code < ExitCode.FAILED:
        code, hint = ExitCode.UNKNOWN, ""
    if code is ExitCode.FAILED and not progress.tasks:
        hint = "look in CSM"  # of a Backup straight to a session no mirror was suspended
    return Conclusion(word_of(code), code, str(problem), hint)


def word_of(code: ExitCode) -> str:
    return code.name.lower().replace("_", "-")


def conclusion_of_bug(error: BaseException) -> Conclusion:
    """Its lines alone: a traceback could show what is secret."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        lines.append(trace.tb_lineno)
        trace = trace.tb_next
    text = f"{type(error).__name__}, lines {lines}"
    return Conclusion(word_of(ExitCode.INTERNAL), ExitCode.INTERNAL, text)


# Of the environment: where keys of connections would be written; whom a name would mean.
FORGOTTEN = ("SSLKEYLOGFILE", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS")


def main(
    argv: Optional[List[str]] = None, pace: Optional[Pace] = None, clock: Optional[Clock] = None
) -> int:
    """Parse, run, tell. Only the parser's own exit is caught, round the parser."""
    given = [utf8(each) for each in (sys.argv[1:] if argv is None else argv)]
    at = given.index("--") if "--" in given else len(given)
    event = given[at + 1 :]
    pace, clock, signals = pace or Pace(), clock or Clock(), Signals()
    signals.listen()
    for name in FORGOTTEN:
        os.environ.pop(name, None)
    console = Console(Output(event=printable_all(event)), clock)
    progress = Progress(console, Waiter(clock, signals), pace)
    parser = build_parser()
    try:
        args, unknown = parser.parse_known_args(given[:at])
    except SystemExit as end:  # --help, --version
        return int(end.code or 0)
    except Problem as problem:
        conclusion = conclusion_of_problem(problem, progress)
    else:
        console.output = output_of(args, event)
        conclusion = conclude(lambda: check_all_known(parser, given, unknown), args, progress)
    tell(make_result(conclusion, progress), console)
    return int(conclusion.code)


def conclude(
    check_unknown: Callable[[], None], args: argparse.Namespace, progress: Progress
) -> Conclusion:
    """Run what the command line asks for. The one place that turns an exception into an exit
    code."""
    conclusion = Conclusion(word_of(ExitCode.INTERNAL), ExitCode.INTERNAL, "")
    try:
        check_unknown()
        load_modules(progress.waiter.signals)
        config = config_of(args, progress.waiter, progress.console)
        progress.begin(config)
        outcome, text = run_mode(Csm(config, progress))
        conclusion = Conclusion(outcome.value, GOOD_ENDS[outcome.value], text)
    except Problem as problem:
        conclusion = conclusion_of_problem(problem, progress)
    except Stopped as stop:
        code = ExitCode(128 + stop.number)
        phase = f": {progress.run.phase.value}" if progress.run else ""
        conclusion = Conclusion(word_of(code), code, f"stopped by a signal{phase}")
    except BaseException as error:  # an exit from inside is a bug as well: it must not end in 0
        conclusion = conclusion_of_bug(error)
    return conclusion


def leave(code: int) -> NoReturn:
    """End the process at once: nothing is finalised, no thread is waited for."""
    Worker().start(flush_all).ends_within(Console.LINE_SECONDS)
    os._exit(code)


def flush_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


if __name__ == "__main__":
    leave(main())
