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
"""

# How to audit this file. Sections 1 to 5 are names, values, and what CSM's JSON is read into.
# Part I, sections 6 to 11, is what can start something or decide a verdict: read it with care.
# Part II, sections 12 to 17, starts nothing and decides no verdict.
#
# CSM is read into immutable snapshots. Pure functions turn the snapshot of before and the looks
# since into evidence, a verdict and the next step; one small loop carries the steps out:
#
#             find_target          observe, judge      next_step         follow
#     Config -> Snapshot (before) -> Evidence -> RunState -> Step or Problem -> POST, GET, sleep
#
# What can be searched for, and how often it must be found in the code:
#     .request(       1  every request is sent here: Line.send
#     "POST"          2  the log-in, and Csm.command
#     .command(       1  the one call that starts anything: send_trigger
#     Step.DONE       2  its definition aside: returned by step_of_verdict alone, obeyed by follow
#     .reveal(        3  the log-in form, the header of the token, the blanking of messages
#     ExitCode.OK     1  the table of the outcomes that are good
#     SystemExit      1  the parser's own, round the parser alone
#     .mount(         1  a server is reached only through the adapter made for it, with its trust

import sys

try:
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
    import os
    import queue
    import re
    import signal
    import socket
    import ssl
    import threading
    import time
    import warnings
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
        Tuple,
        Type,
        TypeVar,
        Union,
    )
    from urllib.parse import quote, quote_plus
except Exception as hidden:  # by a file of that name beside this one: no traceback helps here
    sys.stderr.write(f"run-cr-wflow-ds8k: usage: nothing was started: {hidden!r}; see the README\n")
    sys.exit(2)

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
COMPLETED = "IWNR1026I"  # a command to a session has completed
FINISHED = "IWNR2212I"  # a scheduled task has finished running
MESSAGE_ID = re.compile(r"[A-Z]{3,5}\d{2,6}[A-Z]\b")  # the last letter is the severity

# Our own choices:
BELIEVED_AFTER = 2  # how often what will hardly pass must be told to be believed
MOST_TRIGGERS = 2  # that may have been processed
LONGEST_BODY = 256 * 1024 * 1024  # bytes of an answer; a list of tasks had 13 million


class Pace(NamedTuple):
    """All seconds that decide anything. Tests use quicker ones."""

    first_contact: float = 30.0  # how long a server that never let us in is tried
    grace: float = 60.0  # a backup, or a last message, is that late at most
    settle: float = 5.0  # what CSM shows may lag behind by so much
    clock_skew: float = 60.0  # between the clocks of CSM and of the storage
    longest_run: float = 1800.0  # of a run that is joined
    first_pause: float = 1.0  # between two looks
    longest_pause: float = 15.0
    first_retry: float = 0.5  # between two tries of a request
    last_try: float = 0.5  # so much before the deadline nothing is tried any more
    lock: float = 60.0  # how long another run of the same target is waited for
    shown_again: float = 60.0  # a sign of life


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


class NotProcessed(Problem):
    """A request had no effect on CSM. Only what is of this kind is ever sent again."""

    firm = False  # firm: it will hardly pass, so that it is believed when it comes twice


class Unreachable(NotProcessed):
    code = ExitCode.UNREACHABLE
    hint = "check address, network"


class WrongServer(NotProcessed):
    code = ExitCode.UNREACHABLE
    hint = "check address; --fingerprint once confirmed"
    firm = True


class LoginRefused(NotProcessed):
    code = ExitCode.LOGIN
    hint = "check user and password"
    firm = True


class Denied(NotProcessed):
    code = ExitCode.REFUSED
    hint = "see what CSM says"
    firm = True


class NotNow(Denied):
    """A standby, or a token that has expired."""

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
# Times are in epoch seconds; 0: CSM does not tell.


class Message(NamedTuple):
    """One of CSM's messages. Two runs say the same: only its time tells it from an older one."""

    seconds: float
    text: str  # begins with the id, or is the id alone

    @property
    def id(self) -> str:
        found = MESSAGE_ID.match(self.text)
        return found.group() if found else ""

    @property
    def severity(self) -> str:
        """I information, W warning, E error, S severe; "" without an id."""
        return self.id[-1:]

    @property
    def is_error(self) -> bool:
        """Any severity but I and W; a text without an id says nothing."""
        return self.severity not in ("", "I", "W")


NO_MESSAGE = Message(0.0, "")


class Backup(NamedTuple):
    id: str
    time: str  # as CSM shows it
    valid: bool
    copy_sets: str
    seconds: float  # when it was taken, by the storage's clock


class Session(NamedTuple):
    name: str
    status: str
    state: str
    kind: str  # its type
    in_error: bool  # Severe, or haserror
    date: float  # when CSM showed this, by its own clock
    backups: Tuple[Backup, ...]

    @property
    def is_safeguarded(self) -> bool:
        """A session that does not tell its type is taken for one: CSM refuses what does not fit."""
        return not self.kind or SAFEGUARDED in self.kind.lower()


class Task(NamedTuple):
    id: int
    name: str
    running: bool
    pending_approval: bool
    enabled: bool  # whether its schedule is on: a disabled one can be run all the same
    last_ran: float  # start of its last run, by CSM's clock
    sessions: Tuple[str, ...]  # names of those that it backs up
    messages: Tuple[Message, ...]  # oldest first

    @property
    def last_message(self) -> Message:
        return self.messages[-1] if self.messages else NO_MESSAGE

    @property
    def is_busy(self) -> bool:
        return self.running or self.pending_approval

    @property
    def state(self) -> str:
        """One word, as --json and --list show it."""
        if self.pending_approval:
            return "approval"
        if self.running:
            return "running"
        return "enabled" if self.enabled else "disabled"


class Snapshot(NamedTuple):
    """What CSM shows of the target at one moment."""

    task: Optional[Task]  # None: the target is a session, or CSM does not list the task
    sessions: Tuple[Session, ...]  # those that must show a new backup: one at least
    waited: float = 0.0  # seconds since the trigger; before it: 0

    @property
    def is_running(self) -> bool:
        return self.task is not None and self.task.running


class Reply(NamedTuple):
    """What a server answered."""

    path: str
    status: int
    data: Any  # the JSON value; None where it is none
    message: Message
    date: float  # of the Date header; 0 where there is none
    summary: str  # request and answer in a line, without what could be secret


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
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


class Reader:
    """Makes records of CSM's JSON. Texts are made printable, and secrets in them blanked."""

    def __init__(self, *secrets: Secret) -> None:
        self.secrets = list(secrets)

    def clean(self, value: Any) -> str:
        """A text of CSM's, as it may be shown. Its id is kept, whatever is secret."""
        text = printable(text_of(value).strip())
        head = Message(0.0, text).id
        rest = text[len(head) :]
        for secret in self.secrets:
            for form in forms_of(secret.reveal()):
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
            running=is_true(data.get("running")),
            pending_approval=is_true(data.get("pendingApproval")),
            enabled=is_true(data.get("enabled")),
            last_ran=number_of(data.get("lastRan")),
            sessions=sessions_of_task(data),
            messages=tuple(self.message(each) for each in messages_of_task(data)),
        )

    def session(self, data: Any, name: str, date: float) -> Session:
        if not isinstance(data, dict) or data.get("name") != name:
            raise OddReply("not that session")
        status = text_of(data.get("status"))
        return Session(
            name=name,
            status=self.clean(status),
            state=self.clean(data.get("state")),
            kind=text_of(data.get("rulesname")),
            in_error=status.lower() == "severe" or is_true(data.get("haserror")),
            date=date,
            backups=tuple(self.backup(each) for each in backup_results(data)),
        )

    def backup(self, row: Dict[str, Any]) -> Backup:
        """An entry of BackupResults. Its id is its time, in epoch seconds."""
        seconds = number_of(row.get("backupID"))
        if seconds < 1e9:
            seconds = number_of(row.get("timestamp"))
        return Backup(
            id=text_of(row.get("backupID")) or f"{seconds:.0f}",
            time=self.clean(row.get("backupTime")) or show_time(seconds),
            valid=is_true(row.get("valid")),
            copy_sets=self.clean(row.get("numCopySets")) or "?",
            seconds=seconds,
        )


def forms_of(secret: str) -> Tuple[str, ...]:
    """How a server may echo it: as it is (control characters taken out), or as it was sent."""
    return (printable(secret).strip() or secret, quote(secret, safe=""), quote_plus(secret))


def sessions_of_task(data: Dict[str, Any]) -> Tuple[str, ...]:
    """Those of the steps Backup; where CSM shows no steps, all that the steps touch."""
    steps = rows_of(data.get("actions"))
    if not steps:
        return tuple(text_of(each) for each in list_of(data.get("affectedSession") or []))
    backups = [each for each in steps if is_backup(each.get("command"))]
    return tuple(text_of(each.get("sessionName")) for each in backups)


def is_backup(command: Any) -> bool:
    return text_of(command).strip().lower() == "backup"


def messages_of_task(data: Dict[str, Any]) -> List[Any]:
    """From 6.3.2 on there is one, `lastmessage`; before, `messages`, in ascending time."""
    if data.get("lastmessage"):
        return [data["lastmessage"]]
    return list_of(data.get("messages") or [])


def backup_results(data: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The backups of all sequences. The key was seen as BackupResults; any case is accepted."""
    found: List[Dict[str, Any]] = []
    for sequence in rows_of(data.get("backupInfo")):
        for key, value in sequence.items():
            if key.lower() == "backupresults":
                found += rows_of(value)
    return found


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
    LOST = "it was sent, and no whole answer came"
    REDIRECT = "3xx: this is not CSM"
    TOKEN = "401: the token is unknown or expired, so it was not processed"
    FORBIDDEN = "403: this user may not, so it was not processed"
    REFUSED = "400, 405, 409, or a message of CSM's with the severity of an error"
    USELESS = "any other status but 2xx; no JSON; a command without a message of severity I"


# A command may be sent again only where this table has a NotProcessed in its column.
FAULTS: Dict[Oddity, Tuple[Type[Problem], Type[Problem], Type[Problem]]] = {
    # oddity:         (LOG_IN,       READ,        COMMAND)
    Oddity.UNTRUSTED: (WrongServer, WrongServer, WrongServer),
    Oddity.UNSENT: (Unreachable, Unreachable, Unreachable),
    Oddity.LOST: (Unreachable, Unreachable, OutcomeUnknown),
    Oddity.REDIRECT: (WrongServer, WrongServer, OutcomeUnknown),
    Oddity.TOKEN: (LoginRefused, NotNow, Denied),
    Oddity.FORBIDDEN: (LoginRefused, Denied, Denied),
    Oddity.REFUSED: (LoginRefused, Denied, Refused),
    Oddity.USELESS: (Unreachable, Unreachable, OutcomeUnknown),
}

ODD_STATUS = {
    400: Oddity.REFUSED,
    401: Oddity.TOKEN,
    403: Oddity.FORBIDDEN,
    405: Oddity.REFUSED,
    409: Oddity.REFUSED,
}


def oddity_of(purpose: Purpose, reply: Reply) -> Optional[Oddity]:
    """What is odd about an answer; None: it is what was hoped for."""
    if reply.status in ODD_STATUS:
        return ODD_STATUS[reply.status]
    if 300 <= reply.status < 400:
        return Oddity.REDIRECT
    if reply.message.is_error and reply.status < 500:
        return Oddity.REFUSED
    if not 200 <= reply.status < 300:
        return Oddity.USELESS
    if purpose is Purpose.READ and reply.data is None:
        return Oddity.USELESS
    if purpose is Purpose.COMMAND and reply.message.severity != "I":
        return Oddity.USELESS
    return None


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


def oddity_of_error(error: BaseException) -> Oddity:
    """Why there is no answer. What cannot be told counts as sent: that is the safe side."""
    from requests.exceptions import SSLError
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    cause = getattr((error.args or ("",))[0], "reason", None)
    if isinstance(cause, (NewConnectionError, ConnectTimeoutError)):
        return Oddity.UNSENT
    if isinstance(error, SSLError) and distrust_in(str(error)):
        return Oddity.UNTRUSTED
    return Oddity.LOST


def distrust_in(text: str) -> str:
    """The words in an error of TLS that say why the certificate is not trusted; "": none do."""
    found = re.search("certificate v[^()]*[^() ]|Fingerprints[^.]*|doesn't match", text)
    return found.group() if found else ""


def reason_of(error: BaseException) -> str:
    """Why there is no answer, in a few words. What a server sent in place of HTTP may echo a
    secret, so that no text of an error is shown but the system's own."""
    from http.client import HTTPException

    inner = error
    for each in causes_of(error):
        if isinstance(each, (OSError, HTTPException)):  # the innermost one knows best
            inner = each
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


# --- 7. The client: threads, waiting, requests ----------------------------------------------------


class Signals:
    """Which signal has come. Its handler notes it, and every wait of the main thread hears of it
    within a slice; nothing is ever interrupted where it stands, but for a line that is typed."""

    SLICE = 0.1  # seconds
    NAMES = ("SIGHUP", "SIGINT", "SIGTERM")

    def __init__(self) -> None:
        self.first = 0
        self.breaks_typing = False

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
        if self.breaks_typing:
            raise Stopped(number)

    def check(self) -> None:
        if self.first:
            raise Stopped(self.first)


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
        """Where no thread can be had, a job is done at once: without a limit, but done."""
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
    """The clock of the call, and its ear for signals: every wait of the main thread is here."""

    def __init__(self, clock: Clock, signals: Signals) -> None:
        self.clock = clock
        self.signals = signals
        self.began = clock.monotonic()

    def passed(self) -> float:
        """Seconds since the call began."""
        return self.clock.monotonic() - self.began

    def sleep(self, seconds: float) -> None:
        slices = math.ceil(seconds / self.signals.SLICE)
        for _ in range(slices):
            self.signals.check()
            self.clock.sleep(seconds / slices)
        self.signals.check()

    def is_done(self, call: Call, seconds: float) -> bool:
        return call.is_done_within(seconds, self.signals)


class Line:
    """A worker with HTTP connections of its own: one to each server, kept open. One that is stuck
    in a request is left behind, and another takes its place."""

    def __init__(self, servers: Iterable[str], trust: Trust) -> None:
        self.worker = Worker()
        self.http = open_http(tuple(servers), trust)

    def start(self, server: str, method: str, path: str, limit: float, **more: Any) -> Call:
        """Start a request. More: its form and headers, as requests wants them."""
        return self.worker.start(lambda: self.send(server, method, path, limit, **more))

    def send(self, server: str, method: str, path: str, limit: float, **more: Any) -> Any:
        """EVERY REQUEST TO CSM IS SENT HERE, in the worker. -> requests' own answer, read whole.
        The limits are for each address and each read alone: the whole is bounded by who waits."""
        return self.http.request(
            method,
            f"https://{server}{BASE}{path}",
            allow_redirects=False,  # requests would carry the token to another host
            timeout=(limit / 2, limit),  # of two addresses a dead one leaves time for the other
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
    http.adapters.clear()
    for server, fingerprint in zip(servers, fingerprints_for(servers, trust)):
        adapter = requests.adapters.HTTPAdapter()
        context = ssl_.create_urllib3_context(cert_reqs=ssl.CERT_NONE)  # loads no CAs itself
        adapter.init_poolmanager(1, 1, assert_fingerprint=fingerprint, ssl_context=context)
        http.mount(f"https://{server}/", adapter)
    return http


def fingerprints_for(servers: Tuple[str, ...], trust: Trust) -> Tuple[Optional[str], ...]:
    """For each server its fingerprint, or None. One alone is for all."""
    if len(trust.fingerprints) == len(servers):
        return trust.fingerprints
    only = trust.fingerprints[0] if trust.fingerprints else None
    return (only,) * len(servers)


def fingerprint_without_sending(server: str) -> str:
    """What certificate a server presents. Of HTTP nothing is sent."""
    host, _, port = server.rpartition(":")
    pem = ssl.get_server_certificate((host.strip("[]"), int(port)))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    return ":".join(f"{each:02X}" for each in digest)


class Tries(NamedTuple):
    """What has become of one request so far."""

    began: float
    firm: int = 0  # how many of the faults were firm
    told: Tuple[Tuple[str, str], ...] = ()  # each server with its last fault

    def after(self, server: str, fault: NotProcessed) -> "Tries":
        others = tuple(each for each in self.told if each[0] != server)
        firm = self.firm + (1 if fault.firm else 0)
        return Tries(self.began, firm, others + ((server, str(fault)),))

    def text(self) -> str:
        return "; ".join(fault for _, fault in self.told)


class Csm:
    """The client. `_exchange` alone sends anything to CSM; `_log_in`, `_is_standby`, `read` and
    `command` alone call it."""

    def __init__(self, config: Config, progress: "Progress") -> None:
        self.config = config
        self.progress = progress
        self.pace = progress.pace
        self.waiter = progress.waiter
        self.reader = Reader(config.password)
        self.servers: Deque[str] = collections.deque(config.servers)  # the first is in use
        self.token: Optional[Secret] = None
        self.was_in = False  # has a server ever let us in?
        self.task_paths: Deque[str] = collections.deque([TASKS])  # the first has worked last
        self._line: Optional[Line] = None

    @property
    def server(self) -> str:
        return self.servers[0]

    def time_left(self) -> float:
        return self.config.timeout - self.waiter.passed()

    def read(self, paths: Deque[str], parse: Callable[[Reply], T], is_patient: bool = False) -> T:
        """GET the first of the paths until `parse` makes sense of the answer; after a fault the
        next one is tried. A patient caller, who watches a run, gives up at the deadline alone."""

        def attempt() -> T:
            reply = self._exchange(Purpose.READ, "GET", paths[0])
            try:
                return parse(reply)
            except OddReply as odd:
                raise Unreachable(f"{reply.summary}: odd reply: {odd}") from None

        return self._persist(attempt, is_patient, paths)

    def command(self, path: str, form: Optional[Form] = None) -> Message:
        """POST it -> CSM's message. It is sent again only where it was surely not processed.
        Nothing that can fail is done to the answer of a command that was accepted."""

        def attempt() -> Message:
            return self._exchange(Purpose.COMMAND, "POST", path, form).message

        return self._persist(attempt)

    def _persist(
        self,
        attempt: Callable[[], T],
        is_patient: bool = False,
        paths: Optional[Deque[str]] = None,
    ) -> T:
        """Try, on each server in turn and with growing pauses, until it works or is hopeless."""
        tries = Tries(began=self.waiter.passed())
        pause = self.pace.first_retry
        while True:
            is_in = False
            try:
                self._log_in_if_needed()
                is_in = True
                return attempt()
            except NotProcessed as fault:
                tries = tries.after(self.server, fault)
                if self._is_hopeless(tries, is_patient):
                    raise type(fault)(tries.text(), fault.message) from None
                self.progress.log("WARNING", f"{fault}; trying again")
            if paths and is_in:
                paths.rotate(-1)
            self.token = None  # HTML may be a log-in page
            self.servers.rotate(-1)
            self.waiter.sleep(min(pause, self.time_left() / 2))
            pause = min(2 * pause, self.pace.longest_pause)

    def _is_hopeless(self, tries: Tries, is_patient: bool) -> bool:
        if self.time_left() < self.pace.last_try:
            return True
        if is_patient:
            return False
        waited = self.waiter.passed() - tries.began
        never_in = not self.was_in and waited > self.pace.first_contact
        return never_in or tries.firm >= BELIEVED_AFTER

    def _log_in_if_needed(self) -> None:
        if self.token is None:
            self.token = self._log_in()
            if self.config.asks_role and self._is_standby():
                raise NotNow(f"{self.server} is a standby")
            self.was_in = True
            self.progress.server = self.server

    def _log_in(self) -> Secret:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        form = {"username": self.config.user, "password": self.config.password.reveal()}
        reply = self._exchange(Purpose.LOG_IN, "POST", TOKENS, form)
        token = text_of(reply.data.get("token")) if isinstance(reply.data, dict) else ""
        if not re.match(r"[!-~]+\Z", token):
            raise LoginRefused(f"{reply.summary}: no token")
        secret = Secret(token)
        self.reader.secrets.append(secret)
        return secret

    def _is_standby(self) -> bool:
        """GET /system/ha. Only a server that says so is one: a doubt is no reason for no backup."""
        try:
            role = self._exchange(Purpose.READ, "GET", ROLE).data
        except NotProcessed:
            return False
        active = role.get("islocalactive") if isinstance(role, dict) else None
        return text_of(active).lower() == "false"

    def _exchange(
        self, purpose: Purpose, method: str, path: str, form: Optional[Form] = None
    ) -> Reply:
        """Send one request -> the answer, or the exception that FAULTS has for what came."""
        server = self.server
        request = f"{server}: {method} {path}"
        limit = max(min(self.config.request_timeout, self.time_left()), 0.01)
        headers = {"X-Auth-Token": self.token.reveal()} if self.token else {}
        line = self._line or Line(self.config.servers, self.config.trust)
        self._line = None  # left behind, unless it answers
        call = line.start(server, method, path, limit, data=form, headers=headers)
        if not self.waiter.is_done(call, limit):
            raise FAULTS[Oddity.LOST][purpose](f"{request} got no answer: timed out")
        self._line = line
        try:
            answer = call.result()
        except (OSError, ValueError) as error:
            raise self._fault_of(error, purpose, request) from None
        reply = self._reply_of(answer, request, path)
        oddity = oddity_of(purpose, reply)
        if oddity:
            raise FAULTS[oddity][purpose](reply.summary, reply.message)
        return reply

    def _fault_of(self, error: BaseException, purpose: Purpose, request: str) -> Problem:
        oddity = oddity_of_error(error)
        text = f"{request} got no answer: {reason_of(error)}"
        if oddity is Oddity.UNTRUSTED:
            text = (
                f"{self.server} is not trusted and was sent no credential "
                f"({distrust_in(str(error))}); SHA-256 fingerprint of its certificate, "
                f"to be confirmed: {self._presented_fingerprint()}"
            )
        return FAULTS[oddity][purpose](text)

    def _presented_fingerprint(self) -> str:
        server = self.server
        call = Worker().start(lambda: fingerprint_without_sending(server))
        try:
            return str(call.result()) if self.waiter.is_done(call, 2.0) else "could not be read"
        except (OSError, ValueError):
            return "could not be read"

    def _reply_of(self, answer: Any, request: str, path: str) -> Reply:
        self.progress.log("DEBUG", f"{request}: {answer.status_code} after {answer.elapsed}")
        data = json_of(answer.content)
        message = self.reader.message(data) if isinstance(data, dict) else NO_MESSAGE
        shown = "no JSON" if data is None else message.text or "no text"
        return Reply(
            path=path,
            status=answer.status_code,
            data=data,
            message=message,
            date=date_of(answer.headers.get("Date")),
            summary=f"{request} answered {answer.status_code} {shown}",
        )


def json_of(body: bytes) -> Any:
    """None for what is no JSON. Whole numbers stay texts: int() of a million digits takes long."""
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_int=str)
    except (ValueError, RecursionError):
        return None


# --- 8. The target: what is run, and what it looks like before ------------------------------------


class Target(NamedTuple):
    """What the trigger is for, and the snapshot of before."""

    name: str  # as it is shown
    before: Snapshot


def find_target(csm: Csm) -> Target:
    """Exactly one task or session of exactly that name. Raises NotFound, Refused."""
    config = csm.config
    listing = list_tasks(csm, config.task_name) if config.task_name else NO_TASKS
    task = only_task(listing, config.task_name)
    if task is None and config.task_name and config.session_name:
        raise missing(csm, "task", config.task_name, listing.names)
    names = names_of_sessions(config, task)
    found = tuple(read_session_before(csm, each, listing.names) for each in dict.fromkeys(names))
    sessions = tuple(each for each in found if each.is_safeguarded)
    if not sessions:
        raise NotFound("nothing would be backed up: " + csm.reader.clean(why_nothing(task, found)))
    title = (
        f'session "{sessions[0].name}"' if task is None else f'task "{task.name}" (id {task.id})'
    )
    return Target(title, Snapshot(task, sessions))


def list_tasks(csm: Csm, name: str) -> "TaskList":
    """That there is no task of that name is believed when it has been read twice: a session may
    bear it, too."""
    listing = read_tasks(csm, name)
    return listing if listing.tasks else read_tasks(csm, name)


def only_task(listing: "TaskList", name: str) -> Optional[Task]:
    """None where there is no task of that name."""
    ids = sorted({each.id for each in listing.tasks})
    if len(ids) > 1:
        raise NotFound(f'task "{name}" is there {len(ids)} times, with the ids {ids}')
    if listing.tasks and listing.tasks[0].pending_approval:
        raise Refused(f'task "{name}" waits for approval')
    return listing.tasks[0] if listing.tasks else None


def names_of_sessions(config: Config, task: Optional[Task]) -> Tuple[str, ...]:
    """Which sessions must show a backup."""
    if task is None or config.session_name:
        return (config.session_name or config.task_name,)
    return task.sessions


def why_nothing(task: Optional[Task], found: Tuple[Session, ...]) -> str:
    if not found:
        return f'no step of task "{task.name}"' if task else "no session"
    return ", ".join(f'session "{each.name}" is of the type {each.kind}' for each in found)


class TaskList(NamedTuple):
    tasks: Tuple[Task, ...]  # those that were asked for
    names: Tuple[str, ...]  # of all


NO_TASKS = TaskList((), ())


def read_tasks(csm: Csm, name: str = "", is_patient: bool = False) -> TaskList:
    """GET the list of tasks, or the one task -> those of that name; without a name, all."""

    def parse(reply: Reply) -> TaskList:
        rows = csm.reader.named(reply.data)
        tasks = tuple(csm.reader.task(each) for each in rows if name in ("", each["name"]))
        if reply.path != TASKS and not all(each.messages for each in tasks):
            raise OddReply("a task without a message")
        return TaskList(tasks, tuple(each["name"] for each in rows))

    return csm.read(csm.task_paths, parse, is_patient)


def read_session(csm: Csm, name: str) -> Session:
    """GET one session of a run that is watched, with its backups."""

    def parse(reply: Reply) -> Session:
        return csm.reader.session(reply.data, name, reply.date)

    return csm.read(collections.deque([path_of_session(name)]), parse, is_patient=True)


def read_session_before(csm: Csm, name: str, known: Tuple[str, ...] = ()) -> Session:
    """GET one session before the trigger. What a server answers where there is none is not known:
    after a fault the list of all tells. Known: the names of tasks. Raises NotFound."""

    def parse(reply: Reply) -> Session:
        if reply.path == SHORT_LIST:
            names = tuple(each["name"] for each in csm.reader.named(reply.data))
            if name not in names:
                kind = "task or session" if name == csm.config.task_name else "session"
                raise missing(csm, kind, name, known + names)
        return csm.reader.session(reply.data, name, reply.date)

    return csm.read(collections.deque([path_of_session(name), SHORT_LIST]), parse)


def path_of_session(name: str) -> str:
    return SESSIONS + quote(name, safe="", errors="replace")


def missing(csm: Csm, kind: str, name: str, names: Iterable[str]) -> NotFound:
    known = {each.lower(): f'"{escaped(each)}"' for each in names}
    near = difflib.get_close_matches(name.lower(), known, 3, 0.4)
    closest = ", ".join(known[each] for each in near) or "none"
    return NotFound(f'{csm.server} shows no {kind} "{escaped(name)}"; the closest: {closest}')


# --- 9. The verdict: pure functions; no clock, no server, nothing that changes --------------------


class Evidence(NamedTuple):
    """What all looks since the trigger have shown, taken together."""

    now: Snapshot  # the last look
    ran: bool = False  # the task was seen running, or tells a later start than before
    spoke: bool = False  # its last message is not the one of before
    completed: bool = False  # CSM has answered that the session's Backup is done
    errors: Tuple[Message, ...] = ()  # messages of this run that tell of an error
    message: Message = NO_MESSAGE  # CSM's last one about the run
    ended_at: Optional[float] = None  # `waited` when it was first seen ended; None: it goes on

    def has_ended_for(self, seconds: float) -> bool:
        return self.ended_at is not None and self.now.waited - self.ended_at >= seconds


class End(enum.Enum):
    """How a task's run has ended, by its own messages."""

    OPEN = 1
    GOOD = 2
    BAD = 3


class Verdict(enum.Enum):
    OPEN = "no end is shown"
    PROVEN = "each session shows a new, valid backup, and the run has ended well"
    SEVERE = "turned Severe"
    NO_BACKUP = "it ended without a new valid backup"
    BAD_END = "the run ended with an error or a warning, or without a message"


def start_of_joined_run(before: Snapshot, now: Snapshot, pace: Pace) -> float:
    """From when on a backup is one of the run that ran before us; infinity where that is not
    told, or there was none."""
    if not before.is_running or now.task is None or not now.task.last_ran:
        return math.inf
    return max(before.sessions[0].date - pace.longest_run, math.floor(now.task.last_ran))


def best_of(backups: Iterable[Backup]) -> Optional[Backup]:
    """A valid one, if there is one; of those the newest."""
    return max(backups, key=lambda each: (each.valid, each.seconds), default=None)


def new_backup(before: Session, now: Session, since: float, pace: Pace) -> Optional[Backup]:
    """The best new one. New is what the joined run took, and what was not there before, unless
    it is so old that it was merely listed late."""
    known = {each.id for each in before.backups}
    oldest = before.date - pace.clock_skew
    joined = [each for each in now.backups if each.seconds >= since]
    later = [each for each in now.backups if each.id not in known and each.seconds > oldest]
    return best_of(joined + later)


def new_backups(before: Snapshot, now: Snapshot, pace: Pace) -> List[Optional[Backup]]:
    """For each session its new backup, or None."""
    since = start_of_joined_run(before, now, pace)
    pairs = zip(before.sessions, now.sessions)
    return [new_backup(old, new, since, pace) for old, new in pairs]


def is_backed_up(before: Snapshot, now: Snapshot, pace: Pace) -> bool:
    """Does EACH session show a new, valid backup? Exit code 0 stands on this. No session at all
    proves nothing."""
    found = new_backups(before, now, pace)
    return bool(found) and all(each is not None and each.valid for each in found)


def turned_severe(before: Snapshot, now: Snapshot) -> List[Session]:
    pairs = zip(before.sessions, now.sessions)
    return [new for old, new in pairs if new.in_error and not old.in_error]


def observe(before: Snapshot, so_far: Evidence, now: Snapshot) -> Evidence:
    """Add one look to the evidence. Whether the run has ended is find_end's to add."""
    seen = so_far._replace(now=now)
    old, new = before.task, now.task
    if old is None or new is None:
        return seen
    last = new.last_message
    spoke = seen.spoke or last.text != old.last_message.text
    errors = tuple(each for each in messages_since(old, new) if each.is_error)
    return seen._replace(
        ran=seen.ran or new.running or new.last_ran > old.last_ran,
        spoke=spoke,
        errors=seen.errors + errors,
        message=last if spoke and last.id else seen.message,
    )


def messages_since(old: Task, new: Task) -> List[Message]:
    """Each as often as it was added: with the id alone shown, two runs say the same."""
    noted = collections.Counter(each.text for each in old.messages)
    shown = collections.Counter(each.text for each in new.messages)
    return [Message(0.0, text) for text in shown - noted]


def has_trace(before: Snapshot, seen: Evidence, pace: Pace) -> bool:
    """Is there a run since `before`? A backup alone may be somebody else's, where a task is the
    target: then the task must have said something, too."""
    if seen.ran:
        return True
    is_told = seen.spoke or before.task is None
    return is_told and any(new_backups(before, seen.now, pace))


def find_end(before: Snapshot, seen: Evidence, pace: Pace) -> Evidence:
    """Add when a run that has surely started was first seen ended."""
    if before.task is not None and seen.now.task is None:
        return seen  # a list that lacks the task for once says nothing
    if not has_ended(before, seen, pace):
        return seen._replace(ended_at=None)
    return seen if seen.ended_at is not None else seen._replace(ended_at=seen.now.waited)


def has_ended(before: Snapshot, seen: Evidence, pace: Pace) -> bool:
    """Flag, lastRan and message of a task may change in any order."""
    if seen.now.task is None:
        return seen.completed
    if seen.now.task.is_busy:
        return False
    return seen.ran or seen.spoke or any(new_backups(before, seen.now, pace))


def end_of_task(seen: Evidence, is_joined: bool, pace: Pace) -> End:
    """An error counts at once. The last message may be a step's, and the right one come late."""
    if seen.now.task is None or seen.ended_at is None:
        return End.OPEN
    if seen.errors:
        return End.BAD
    last = seen.now.task.last_message
    if not seen.has_ended_for(patience_with(last, seen.spoke and not is_joined, pace)):
        return End.OPEN
    return End.GOOD if last.severity == "I" else End.BAD


def patience_with(last: Message, is_of_this_run: bool, pace: Pace) -> float:
    """How long after the end the last message may still be followed by another."""
    if last.id != FINISHED:
        return pace.grace
    return 0.0 if is_of_this_run else pace.settle


def judge(before: Snapshot, seen: Evidence, is_joined: bool, pace: Pace) -> Verdict:
    """The verdict on a run that has surely started."""
    if before.task is not None and seen.now.task is None:
        return Verdict.OPEN
    if turned_severe(before, seen.now):
        return Verdict.SEVERE
    backed_up = is_backed_up(before, seen.now, pace)
    if not backed_up and seen.has_ended_for(pace.grace):
        return Verdict.NO_BACKUP
    end = End.GOOD if before.task is None else end_of_task(seen, is_joined, pace)
    if end is End.BAD:
        return Verdict.BAD_END
    return Verdict.PROVEN if backed_up and end is End.GOOD else Verdict.OPEN


# --- 10. Steps: what is known of the trigger, and what to do next ---------------------------------


class Phase(enum.Enum):
    """How far the start of the run has got."""

    IDLE = "nothing was sent yet"
    REFUSED = "CSM refused it, perhaps since somebody else has just started the task"
    IN_DOUBT = "sent, and no answer tells what became of it"
    STARTED = "CSM accepted it, or shows its run"
    JOINED = "the run is somebody else's"


UNDER_WAY = (Phase.STARTED, Phase.JOINED)


class RunState(NamedTuple):
    """All that is known of the run."""

    phase: Phase
    seen: Evidence
    verdict: Verdict = Verdict.OPEN  # on the last look
    triggers: int = 0
    trouble: Optional[Problem] = None  # why it is REFUSED or IN_DOUBT

    @property
    def is_under_way(self) -> bool:
        return self.phase in UNDER_WAY

    @property
    def started(self) -> str:
        """Was anything started? As --json and the line of a signal tell it."""
        if self.is_under_way:
            return "yes"
        return "perhaps" if self.phase is Phase.IN_DOUBT else "no"


class Step(enum.Enum):
    SEND = "send the trigger"
    LOOK = "look again, after a pause"
    DONE = "the backup is proven; with --no-wait: the run has started"


def first_state(before: Snapshot) -> RunState:
    """A task that runs already is joined."""
    phase = Phase.JOINED if before.is_running else Phase.IDLE
    return RunState(phase, Evidence(before, ran=before.is_running))


def after_send(run: RunState) -> RunState:
    """A trigger goes out. From here on it may be processed."""
    return run._replace(phase=Phase.IN_DOUBT, triggers=run.triggers + 1)


def after_answer(before: RunState, answer: Union[Message, Problem]) -> RunState:
    """The trigger was answered: CSM's message, or what went wrong. Before: when it was sent."""
    run = after_send(before)
    if isinstance(answer, Message):
        seen = run.seen._replace(completed=answer.id == COMPLETED, message=answer)
        return run._replace(phase=Phase.STARTED, seen=seen)
    if answer.message.id:
        run = run._replace(seen=run.seen._replace(message=answer.message))
    is_in_doubt = before.phase is Phase.IN_DOUBT or isinstance(answer, OutcomeUnknown)
    return run._replace(phase=Phase.IN_DOUBT if is_in_doubt else Phase.REFUSED, trouble=answer)


def after_look(before: Snapshot, run: RunState, now: Snapshot, pace: Pace) -> RunState:
    """CSM was looked at, and shows this."""
    seen = observe(before, run.seen, now)
    phase = run.phase
    if not run.is_under_way and has_trace(before, seen, pace):
        phase = Phase.JOINED if phase is Phase.REFUSED else Phase.STARTED
    if phase not in UNDER_WAY:
        return run._replace(seen=seen)
    seen = find_end(before, seen, pace)
    verdict = judge(before, seen, phase is Phase.JOINED, pace)
    return run._replace(phase=phase, seen=seen, verdict=verdict)


class Limits(NamedTuple):
    request_timeout: float
    no_wait: bool = False


def next_step(
    before: Snapshot, run: RunState, limits: Limits, left: float, pace: Pace
) -> Union[Step, Problem]:
    """What to do, or the problem to end with. Nothing else decides that a trigger is sent.
    Left: seconds to the deadline."""
    if run.phase is Phase.IDLE:
        return Step.SEND
    if run.is_under_way:
        return step_of_verdict(before, run, limits, left)
    is_time = left <= 0 or run.seen.now.waited >= pace.settle
    if run.phase is Phase.REFUSED and is_time:
        return run.trouble or Refused("for no reason")
    if left <= 0:
        return OutcomeUnknown(f"the deadline has passed: {run.trouble}")
    return Step.SEND if may_send_again(run, limits) else Step.LOOK


def may_send_again(run: RunState, limits: Limits) -> bool:
    """Once, after no trace of the first one for one request time-out: two backups are a smaller
    evil than none. (A trace would have made the phase STARTED.)"""
    if run.phase is not Phase.IN_DOUBT or run.triggers >= MOST_TRIGGERS:
        return False
    return run.seen.now.waited >= limits.request_timeout


def step_of_verdict(
    before: Snapshot, run: RunState, limits: Limits, left: float
) -> Union[Step, Problem]:
    """What follows from the verdict on a run that has surely started. Nothing else says DONE."""
    if run.phase is Phase.JOINED and before.task is None:
        return BackupFailed(f"{run.trouble}; yet it ran")
    if run.verdict is Verdict.PROVEN:
        return Step.DONE
    if run.verdict is not Verdict.OPEN:
        return BackupFailed(text_of_failure(before, run))
    if limits.no_wait:
        return Step.DONE
    if left <= 0:
        return OutcomeUnknown(f"the deadline has passed: {run.verdict.value}")
    return Step.LOOK


def text_of_failure(before: Snapshot, run: RunState) -> str:
    if run.verdict is not Verdict.SEVERE:
        return str(run.verdict.value)
    return f'session "{turned_severe(before, run.seen.now)[0].name}" {run.verdict.value}'


def pause_before_look(waited: float, pace: Pace) -> float:
    return min(max(pace.first_pause, 0.05 * waited), pace.longest_pause)


# --- 11. The loop: it carries the steps out -------------------------------------------------------


def look(csm: Csm, before: Snapshot, waited: float) -> Snapshot:
    """What CSM shows of the target now."""
    old = before.task
    task = None
    if old is not None:
        tasks = read_tasks(csm, old.name, is_patient=True).tasks
        task = next((each for each in tasks if each.id == old.id), None)
    sessions = tuple(read_session(csm, each.name) for each in before.sessions)
    return Snapshot(task, sessions, waited)


def paths_of_task(task: Optional[Task]) -> Deque[str]:
    """Where to look for it. A list with all the messages of all tasks is long: then the one task
    is asked for, as far as the server can show it."""
    if task is None or len(task.messages) < 2:
        return collections.deque([TASKS])
    return collections.deque([f"{TASKS}/{task.id}", TASKS])


def send_trigger(csm: Csm, before: Snapshot) -> Message:
    """THE ONE CALL THAT STARTS ANYTHING: run the task, or Backup to the session."""
    if before.task is not None:
        path, form = f"{TASKS}/{before.task.id}", None
    else:
        path, form = path_of_session(before.sessions[0].name), BACKUP
    return csm.command(path, form)


def try_trigger(csm: Csm, before: Snapshot, run: RunState, progress: "Progress") -> RunState:
    """Send the trigger -> what is known of the run then. Raises what was surely not processed and
    need not be looked at."""
    progress.note(after_send(run))  # a signal from here on must not find "no"
    try:
        message = send_trigger(csm, before)
    except (OutcomeUnknown, Refused, Denied) as problem:
        csm.token = None  # of a pair, another one may be active now
        progress.log("WARNING", f"{problem}; looking whether there is a run all the same")
        return after_answer(run, problem)
    except NotProcessed:
        progress.note(run)
        raise
    progress.log("INFO", f"started: {message.text}")
    return after_answer(run, message)


def follow(csm: Csm, before: Snapshot, limits: Limits, progress: "Progress") -> RunState:
    """Start the run, or join it, and look until the verdict is reached. All decisions are
    next_step's; this only carries them out."""
    pace = csm.pace
    csm.task_paths = paths_of_task(before.task)
    run = first_state(before)
    began = csm.waiter.passed()
    while True:
        progress.note(run)
        left = csm.time_left() - pace.last_try
        step = next_step(before, run, limits, left, pace)
        if isinstance(step, Problem):
            raise step
        if step is Step.DONE:
            return run
        if step is Step.SEND:
            run = try_trigger(csm, before, run, progress)
            if run.triggers == 1:
                began = csm.waiter.passed()
        else:
            waited = csm.waiter.passed() - began
            csm.waiter.sleep(max(0.0, min(pause_before_look(waited, pace), left)))
            run = after_look(before, run, look(csm, before, csm.waiter.passed() - began), pace)
            progress.show(run)


# === PART II: what starts nothing, and decides no verdict =========================================

# --- 12. Modes ------------------------------------------------------------------------------------


class Outcome(enum.Enum):
    """How a call ends that went well, in one word."""

    VERIFIED = "verified"
    ACCEPTED = "accepted"
    SKIPPED = "skipped"
    CHECKED = "checked"
    LISTED = "listed"


class Ending(NamedTuple):
    """How a call has ended, and the text of its verdict."""

    outcome: Outcome
    text: str


def run(csm: Csm, progress: "Progress") -> Ending:
    """Do what the command line asks for. Raises a Problem where that does not go well."""
    if csm.config.trust.anything:
        progress.log("WARNING", "--insecure: whoever answers is given the password")
    if csm.config.mode is Mode.LIST:
        return list_all(csm, progress)
    if csm.config.mode is Mode.CHECK:
        return check(csm, progress)
    lock = take_lock(csm, progress) if csm.config.min_interval else None
    try:
        return back_up(csm, progress)
    finally:
        if lock is not None:
            lock.close()


def list_all(csm: Csm, progress: "Progress") -> Ending:
    tasks = read_tasks(csm).tasks
    names = csm.read(collections.deque([SHORT_LIST]), lambda reply: safeguarded_in(csm, reply))
    sessions = tuple(read_session_before(csm, each) for each in names)
    progress.listed(csm.server, tasks, sessions)
    return Ending(Outcome.LISTED, f"tasks and Safeguarded Copy sessions on {csm.server}")


def safeguarded_in(csm: Csm, reply: Reply) -> List[str]:
    """The names of the Safeguarded Copy sessions in the list of all."""
    rows = csm.reader.named(reply.data)
    return [each["name"] for each in rows if SAFEGUARDED in text_of(each.get("rulesname")).lower()]


def check(csm: Csm, progress: "Progress") -> Ending:
    progress.found(csm.server, find_target(csm))
    return Ending(Outcome.CHECKED, "ready: nothing was started")


def back_up(csm: Csm, progress: "Progress") -> Ending:
    target = find_target(csm)
    progress.found(csm.server, target)
    ages = [age_of_backup(each) for each in target.before.sessions]
    if is_young(ages, csm.config.min_interval, csm.pace):
        text = f"nothing was started: there is a backup {max(ages) / 60:.0f} minutes old"
        return Ending(Outcome.SKIPPED, text)
    before = with_dates(target.before, csm.waiter.clock.time())
    progress.begins(before)
    limits = Limits(csm.config.request_timeout, csm.config.mode is Mode.NO_WAIT)
    final = follow(csm, before, limits, progress)
    joined = "a run that was joined, " if final.phase is Phase.JOINED else ""
    outcome = Outcome.ACCEPTED if limits.no_wait else Outcome.VERIFIED
    return Ending(outcome, f"{joined}after {csm.waiter.passed():.0f} s")


def age_of_backup(session: Session) -> float:
    """Seconds since its newest valid backup, by CSM's clock. What cannot be read prevents no
    backup: it is infinitely old."""
    newest = best_of(session.backups)
    if newest is None or not newest.valid or not session.date:
        return math.inf
    return session.date - newest.seconds


def is_young(ages: List[float], min_interval: float, pace: Pace) -> bool:
    """Has EACH session a backup that is younger? One from the future is a clock that is wrong."""
    if not min_interval:
        return False
    return all(-pace.clock_skew <= each < min_interval for each in ages)


def with_dates(before: Snapshot, now: float) -> Snapshot:
    """A server that tells no Date is taken to have our own clock."""
    dated = tuple(each._replace(date=each.date or now) for each in before.sessions)
    return before._replace(sessions=dated)


def take_lock(csm: Csm, progress: "Progress") -> Optional[socket.socket]:
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
    while left > 0:
        try:
            lock.bind(name)
            return lock
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                break
        csm.waiter.sleep(Signals.SLICE)
        left -= Signals.SLICE
    lock.close()
    progress.log("WARNING", "another call for this target goes on: it is not waited for any longer")
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

    def __init__(self, output: Output, clock: Clock) -> None:
        self.output = output
        self.clock = clock
        self.has_live_line = False

    def log(self, level: str, text: str) -> None:
        """A line of progress."""
        is_wanted = self.output.verbose if level == "DEBUG" else True
        if is_wanted and not self.output.quiet:
            self.print_line("stderr", f"{show_time(self.clock.time())} {level} {text}")

    def print_line(self, name: str, text: str) -> None:
        clear = self.CLEAR if self.has_live_line and is_terminal(name) else ""
        self._write(name, clear, text, "\n")
        if name == "stderr":
            self.has_live_line = False

    def show_live(self, text: str) -> None:
        """On a terminal: a line that the next one takes the place of."""
        if is_terminal("stderr") and not self.output.quiet:
            self._write("stderr", self.CLEAR, text[:79], "")
            self.has_live_line = True

    def _write(self, name: str, clear: str, text: str, end: str) -> None:
        """The one place that prints. A stream that fails is taken away, lest Python's own flush at
        the end changes the exit code."""
        try:
            stream = getattr(sys, name)
            encoding = stream.encoding or "ascii"
            shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
            stream.write(clear + shown + end)
            stream.flush()
        except (AttributeError, OSError, ValueError):
            setattr(sys, name, None)


def is_terminal(name: str) -> bool:
    stream = getattr(sys, name)
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


class Progress:
    """THE ONE OBJECT THAT CHANGES: what is known so far, for a signal or a problem to report."""

    def __init__(self, console: Console, waiter: Waiter, pace: Pace) -> None:
        self.console = console
        self.waiter = waiter
        self.pace = pace
        self.server = ""
        self.target = ""
        self.tasks: Tuple[Task, ...] = ()
        self.sessions: Tuple[Session, ...] = ()  # as they were before, or are listed
        self.before: Optional[Snapshot] = None  # once something may be started
        self.run: Optional[RunState] = None
        self._shown = ""
        self._shown_at = 0.0

    def log(self, level: str, text: str) -> None:
        self.console.log(level, text)

    def listed(self, server: str, tasks: Tuple[Task, ...], sessions: Tuple[Session, ...]) -> None:
        self.server, self.tasks, self.sessions = server, tasks, sessions

    def found(self, server: str, target: Target) -> None:
        task = target.before.task
        self.listed(server, (task,) if task else (), target.before.sessions)
        self.target = target.name
        self.log("INFO", f"{self.target} on {self.server}")

    def begins(self, before: Snapshot) -> None:
        self.before = before

    def note(self, run: RunState) -> None:
        self.run = run

    def show(self, run: RunState) -> None:
        """Note it, and print it where it changed, and from time to time."""
        self.run = run
        passed = self.waiter.passed()
        text = self.state()
        if text != self._shown or passed >= self._shown_at + self.pace.shown_again:
            self._shown, self._shown_at = text, passed
            self.log("INFO", text)
        self.console.show_live(f"{passed:.0f} s: {text}")

    @property
    def started(self) -> str:
        return self.run.started if self.run else "no"

    @property
    def message(self) -> Message:
        """CSM's last one about the run; where it failed, the one that says so."""
        if self.run is None:
            return NO_MESSAGE
        return self.run.seen.errors[0] if self.run.seen.errors else self.run.seen.message

    def shown_tasks(self) -> Tuple[Task, ...]:
        now = self.run.seen.now.task if self.run else None
        return (now,) if now else self.tasks

    def shown_sessions(self) -> Tuple["ShownSession", ...]:
        """Each session with its new backup; where nothing was to be started, with its newest."""
        if self.run is None or self.before is None:
            return tuple(ShownSession(each, best_of(each.backups)) for each in self.sessions)
        now = self.run.seen.now
        pairs = zip(now.sessions, new_backups(self.before, now, self.pace))
        return tuple(ShownSession(session, backup) for session, backup in pairs)

    def state(self) -> str:
        """The task where it runs or waits, the sessions, CSM's last message."""
        parts = [f"task {each.state}" for each in self.shown_tasks() if each.is_busy]
        parts += [each.text() for each in self.shown_sessions()]
        return "; ".join(filter(None, parts + [self.message.text]))


class ShownSession(NamedTuple):
    session: Session
    backup: Optional[Backup]

    def text(self) -> str:
        shown = show_backup(self.backup, "no new backup")
        return f'session "{self.session.name}" ({self.session.status}): {shown}'


def show_backup(backup: Optional[Backup], none: str) -> str:
    if backup is None:
        return none
    valid = "valid" if backup.valid else "NOT VALID"
    return f"backup {backup.id} of {backup.time}, copy sets {backup.copy_sets}, {valid}"


# --- 14. Result -----------------------------------------------------------------------------------

NEXT = {
    "no": "nothing was started",
    "yes": "CSM goes on with what was started: look there first",
    "perhaps": "it is not known whether it was started: look in CSM before another run",
}


class Result(NamedTuple):
    """All that is told of a call, on whichever way."""

    outcome: str
    code: ExitCode
    text: str
    started: str
    message: Message
    server: str
    tasks: Tuple[Task, ...]
    sessions: Tuple[ShownSession, ...]
    seconds: float


class Conclusion(NamedTuple):
    """The verdict of a call: outcome word, exit code, what happened, what to do."""

    outcome: str
    code: ExitCode
    text: str
    hint: str = ""


def make_result(conclusion: Conclusion, progress: Progress) -> Result:
    started = progress.started
    is_told = conclusion.code in (ExitCode.FAILED, *EXIT_CODES.values())
    parts = [
        f"{progress.target} on {progress.server}" if progress.target else "",
        conclusion.text,
        progress.state() if started != "no" else "",
        "" if is_told else NEXT[started],
        conclusion.hint,
    ]
    return Result(
        outcome=conclusion.outcome,
        code=conclusion.code,
        text=printable("; ".join(filter(None, parts))),
        started=started,
        message=progress.message,
        server=progress.server,
        tasks=progress.shown_tasks(),
        sessions=progress.shown_sessions(),
        seconds=round(progress.waiter.passed(), 1),
    )


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
        "csm_id": result.message.id,
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


def json_of_session(shown: ShownSession) -> Dict[str, Any]:
    return {
        "name": shown.session.name,
        "status": shown.session.status,
        "state": shown.session.state,
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
    """Of 80 columns, with names of 60: they are cut nowhere."""
    lines = []
    for task in result.tasks:
        lines.append(f"task {task.name}")
        lines.append(f"    {task.state}, last run {show_time(task.last_ran)}")
        lines += [f"    backs up {name}" for name in task.sessions]
    for session, backup in result.sessions:
        lines.append(f"session {session.name}")
        lines.append(f"    {session.status}, {session.state}, newest backup:")
        lines.append("    " + show_backup(backup, "none"))
    return lines


def lines_of(result: Result, output: Output) -> List[str]:
    """What goes to standard output."""
    if output.json:
        return [json.dumps(json_of_result(result, output))]
    if output.quiet or result.outcome not in EXIT_CODES:
        return []
    tables = (Outcome.LISTED.value, Outcome.CHECKED.value)
    table = table_of(result) if result.outcome in tables else []
    return table + [line_of(result, output)]


def tell(result: Result, console: Console) -> None:
    """Print the result, and send it where --leef wants it."""
    output = console.output
    if output.leef:
        packet = leef_packet(result, output, console.clock.time(), utf8(socket.gethostname()))
        if not send_packet(packet, output.leef):
            console.log("WARNING", f"no LEEF event was sent to {output.leef}")
    for line in lines_of(result, output):
        console.print_line("stdout", line)
    if result.outcome not in EXIT_CODES:
        console.print_line("stderr", f"{PROGRAM}: {line_of(result, output)}")


# --- 15. Syslog -----------------------------------------------------------------------------------

VENDOR = "Safeguarded Copy"
MONTHS = ("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()
LONGEST_PACKET = 1024  # bytes: RFC 3164


def leef_packet(result: Result, output: Output, now: float, host: str) -> bytes:
    """A LEEF 2.0 event for syslog. LEEF has no escapes: its separators are replaced."""
    is_good = result.outcome in EXIT_CODES
    priority = 133 if is_good else 131  # local0.notice, local0.err
    local = time.localtime(now)
    stamp = f"{MONTHS[local.tm_mon - 1]} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
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


def build_parser() -> Parser:
    parser = Parser(
        f"{PROGRAM}.py",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options_of_access(parser)
    add_options_of_run(parser)
    add_options_of_output(parser)
    return parser


def add_options_of_access(parser: Parser) -> None:
    parser.add_argument("-s", "--csm_server", help="HOST or HOST:PORT; of a pair: A,B")
    parser.add_argument("-P", "--csm_port", default="9559", help="where -s has none: %(default)s")
    parser.add_argument("-u", "--csm_user", help="else CSM_USER in the environment, else a prompt")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("-p", "--csm_user_passwd", help="else CSM_USER_PASSWD, else a prompt")
    secret.add_argument("--password-file", metavar="FILE", help="its one line; -: stdin")
    parser.add_argument("--base64", action="store_true", help="-u and -p hold Base64")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--ca-file", metavar="PEM", help="trust this CA")
    trust.add_argument(
        "--fingerprint", metavar="SHA256", help="trust this certificate; of a pair: A,B"
    )
    trust.add_argument("--insecure", action="store_true", help="trust anything")


def add_options_of_run(parser: Parser) -> None:
    parser.add_argument(
        "-t", "--csm_task", help="task to run; where none has this name, the session"
    )
    parser.add_argument(
        "-S",
        "--csm_session",
        help="session to back up; with -t: where the backup must appear",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="do everything but the trigger")
    mode.add_argument(
        "--list", action="store_true", help="show tasks and Safeguarded Copy sessions"
    )
    mode.add_argument(
        "--no-wait", action="store_true", help="end once CSM has accepted the trigger"
    )
    parser.add_argument(
        "--min-interval", metavar="MINUTES", type=float, help="unless there is a younger backup"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=1800.0, help="in all, %(default)g"
    )
    parser.add_argument(
        "--request-timeout", metavar="SECONDS", type=float, default=30.0, help="%(default)g"
    )


def add_options_of_output(parser: Parser) -> None:
    parser.add_argument(
        "--leef", metavar="HOST[:PORT]", help="send the result as a LEEF event (syslog, UDP)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing where it ends with 0"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show each request")
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
        timeout=args.timeout,
        request_timeout=args.request_timeout,
    )


def check_ca_file(args: argparse.Namespace, waiter: Waiter) -> None:
    if args.ca_file is None:
        return
    path = path_of(args.ca_file) or " "
    try:
        read_within(waiter, args.timeout, lambda: ssl.create_default_context(cafile=path))
    except OSError as error:
        raise UsageError(f"--ca-file or --password-file: {error.strerror or error}") from None


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
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"--ca-file or --password-file: {reason}") from None
        except (ValueError, EOFError, RuntimeError):
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
        path = path_of(path)
        if path != "-" and os.name == "posix" and os.stat(path).st_mode & 0o077:
            self.console.log("WARNING", "others can read the password file: chmod 600 it")
        chosen = path
        return read_within(self.waiter, self.args.timeout, lambda: read_line_of(chosen))

    def from_environment(self, name: str) -> Optional[str]:
        """Where there is neither a terminal to ask at, it is empty."""
        return environment(name) if name in os.environ else None

    def from_prompt(self, typed: Callable[[], str]) -> Optional[str]:
        """A signal ends the typing: a terminal that shows nothing is put back by getpass."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        signals = self.waiter.signals
        signals.breaks_typing = True
        try:
            signals.check()
            return typed()
        finally:
            signals.breaks_typing = False

    def type_user(self) -> str:
        sys.stderr.write("CSM user: ")
        sys.stderr.flush()
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


def read_line_of(path: str) -> str:
    with open(0 if path == "-" else path, encoding="utf-8-sig") as lines:
        text = lines.read(65536)
    return text[:-1] if text.endswith("\n") else text


# --- 17. main -------------------------------------------------------------------------------------

# THE ONE WAY TO 0: a call that ended with one of these words.
EXIT_CODES: Dict[str, ExitCode] = {each.value: ExitCode.OK for each in Outcome}


def load_modules(waiter: Waiter) -> None:
    """requests and urllib3, in a worker: a signal is heard meanwhile. They may be missing, not fit
    one another or this Python, or be hidden by a file beside this one: whatever it is, it is told
    in a line."""
    call = Worker().start(import_modules)
    while not waiter.is_done(call, 60.0):
        pass
    try:
        call.result()
    except Exception as error:
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


def conclusion_of_problem(problem: Problem, started: str) -> Conclusion:
    """What did not go well before the run says nothing once something was started."""
    code, hint = problem.code, problem.hint
    if started != "no" and code < ExitCode.FAILED:
        code, hint = ExitCode.UNKNOWN, ""
    return Conclusion(word_of(code), code, str(problem), hint)


def word_of(code: ExitCode) -> str:
    return code.name.lower().replace("_", "-")


def conclusion_of_bug(error: Exception) -> Conclusion:
    """Its lines alone: a traceback could show what is secret."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        lines.append(trace.tb_lineno)
        trace = trace.tb_next
    text = f"{type(error).__name__}, lines {lines}"
    return Conclusion(word_of(ExitCode.INTERNAL), ExitCode.INTERNAL, text)


def main(
    argv: Optional[List[str]] = None, pace: Optional[Pace] = None, clock: Optional[Clock] = None
) -> int:
    """Parse, run, tell. Only the parser's own SystemExit is caught, round the parser."""
    given = [utf8(each) for each in (sys.argv[1:] if argv is None else argv)]
    at = given.index("--") if "--" in given else len(given)
    event = given[at + 1 :]
    pace, clock, signals = pace or Pace(), clock or Clock(), Signals()
    signals.listen()
    os.environ.pop("SSLKEYLOGFILE", None)  # no key of a connection is ever written anywhere
    console = Console(Output(event=printable_all(event)), clock)
    progress = Progress(console, Waiter(clock, signals), pace)
    parser = build_parser()
    try:
        args, unknown = parser.parse_known_args(given[:at])
    except SystemExit as end:  # --help, --version
        return int(end.code or 0)
    except Problem as problem:
        conclusion = conclusion_of_problem(problem, progress.started)
    else:
        console.output = output_of(args, event)
        conclusion = conclude(lambda: check_all_known(parser, given, unknown), args, progress)
    tell(make_result(conclusion, progress), console)
    return int(conclusion.code)


def conclude(
    check_arguments: Callable[[], None], args: argparse.Namespace, progress: Progress
) -> Conclusion:
    """Run what the command line asks for. The one place that turns an exception into an exit
    code."""
    conclusion = Conclusion(word_of(ExitCode.INTERNAL), ExitCode.INTERNAL, "")
    try:
        check_arguments()
        load_modules(progress.waiter)
        config = config_of(args, progress.waiter, progress.console)
        progress.server = config.servers[0]
        ending = run(Csm(config, progress), progress)
        word = ending.outcome.value
        conclusion = Conclusion(word, EXIT_CODES[word], ending.text)
    except Problem as problem:
        conclusion = conclusion_of_problem(problem, progress.started)
    except Stopped as stop:
        code = ExitCode(128 + stop.number)
        conclusion = Conclusion(word_of(code), code, "stopped by a signal")
    except Exception as error:
        conclusion = conclusion_of_bug(error)
    return conclusion


def leave(code: int) -> NoReturn:
    """End the process at once: nothing is finalised, no thread is waited for."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    os._exit(code)


if __name__ == "__main__":
    leave(main())
