"""A simulated IBM Copy Services Manager (CSM): a real HTTPS server that speaks its REST API.

As a library, in the threads of the test process:

    with SimulatedCsm(messages="array") as csm:
        csm.world.task(27).outcome = "error"
        csm.inject(3, "reset-after")
        ...                                     # drive a client against csm.host, csm.port
        assert csm.world.triggers == []

By hand: `python simulated_csm.py`, then run any client against it; see --help.

Published by IBM, in its documentation, its sample programs or their output: paths and form fields;
the token, its header, its 2 hours and the 401 for one that has expired; the fields of tasks,
sessions, backups, command replies and /system/ha; the tasks 26 to 29 with their names, the steps
of 26 to 28, the message ids of a run of 27; that a run request is answered at once; the texts of
IWNR1026I, 2212I and 3048I; the backup id in epoch seconds; the commands of a Safeguarded Copy
session; a session in Warning after a backup; that commands to one session wait for one another;
that a standby mirrors the active server's data.

Assumed is the rest, since nobody has published it. Where there is a (*), an option of `World` or an
outcome makes it otherwise.

- Messages: all ids IWNR00nnX, which are invented; all texts but those three (IWNR1026I's was
  published for other commands than Backup); what `inserts` holds; that `lastmessage` is id, time
  and text (*). That an error comes with HTTP 200 is published, but not for which error.
- Log-in: what a refused one gets (*); the body of the 401 for a token; that the other server of a
  pair takes the token, too (*).
- A task that runs already (*), waits for approval (*) or cannot be run (*), and any command to a
  standby (*): HTTP 200 and a message that ends in E. An id that does not exist: HTTP 404.
- GET of an unknown session, and POST to it: HTTP 200 and IWNR1024E. A command that this type of
  session does not have: HTTP 200 and an error. Any other path or method: HTTP 404.
- A session's command answers when it is done (seen, but not for Backup), with IWNR1026I; a
  non-blocking one (*) answers IWNR1026I at once, before there is any backup. Until it is done the
  session shows nothing of it; then the backup shows, and is valid (*).
- 6.3.1: `resultText` in place of `msgTranslated` in command replies, and 404 for a single task (*).
- A synchronous run answers with the run's last message. (Of its paths all that IBM's clients use
  are there.)
- Tasks: `lastRan` of one that never ran (*), `nextRun`, the unit of `interval`, `description`,
  `logOnFailure`, the steps of 29; servers that show no steps (*) or no affectedSession (*).
- Sessions: what GET /sessions shows (the same as /sessions/short: no backups); `backupInfo` where
  there is no backup (*); the spelling of BackupResults (*); backups without an id (*); booleans as
  strings (*); 8 copy sets, H1 and "" everywhere; state and commands of sessions of other types; how
  long the Warning lasts; that a first backup takes a session from Defined to Protected.
- /system/ha: that a server without a partner says IWNR3048I and islocalactive true, a standby
  islocalactive false; that it may not be there (*).
- All that goes wrong in a run (the outcomes). A Date header; connections that are kept open; UTC.
- The tasks and sessions not named above ("SGC Payroll", "Twice", "MM HS", ...): a client must cope
  with such names.
"""

import argparse
import atexit
import copy
import email.utils
import functools
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, Union
from urllib.parse import parse_qsl, unquote

import trustme

PREFIX = "/CSM/web/"
SGC = "Safeguarded Copy"
Reply = Tuple[int, Any]  # HTTP status, object to be sent as JSON

# What can be done to a request. Without "-before" or "-after": those of NOT_PROCESSED come in
# place of the processing, the others after it.
FAULTS = (
    "reset-before", "reset-after", "silent-before", "silent-after",
    "500", "500-after", "503", "503-after", "html", "html-after", "empty", "empty-before",
    "cut", "401", "403", "404", "429", "slow", "trickle", "refuse", "redirect", "garbage",
    "garbage-after",
)
NOT_PROCESSED = (
    "500", "503", "html", "401", "403", "404", "429", "refuse", "redirect", "garbage")

# How a Backup can end: each of these can be said of a session, or of a task for its Backup steps.
SESSION_OUTCOMES = (
    "good", "error", "no-backup", "invalid", "valid-late", "late", "severe", "hang", "refuse-http",
)
TASK_OUTCOMES = SESSION_OUTCOMES + (
    "error-after-backup", "warning", "refuse", "approval", "ignored", "silent-run",
)
# The HTTP status of a refusal, where its option or outcome is no number.
REFUSALS = {"error": 200, "refuse": 200, "refuse-E": 200, "no-token": 200, "refuse-http": 400,
            "http": 409}
WARNING_SECONDS = 60  # how long a session stays in Warning after a backup
TOKEN_SECONDS = 7200

# The options that make a server of another age.
DIALECTS: Dict[str, Dict[str, Any]] = {
    "modern": {},
    "6.3.1": {"messages": "array", "single_task": 404, "command_text": "resultText"},
}

COMMANDS: Dict[str, List[str]] = {
    SGC: ["Backup", "Recover Backup", "Expire Backup", "Initiate Background Copy", "Terminate",
          "Refresh States"],
    "Metro Global Mirror": ["SuspendH2H3", "Start H1->H2->H3", "Refresh States"],
    "Metro Mirror Failover/Failback": ["Suspend", "Start H1->H2", "Refresh States"],
}

TEXTS = {
    "IWNR1024E": "The session {0} does not exist.",
    "IWNR1026I": "The {1} command in the {0} session completed.",
    "IWNR2200I": "The scheduled task {0} has not run yet.",
    "IWNR2211I": "The scheduled task {0} has started running.",
    "IWNR2212I": "The scheduled task {0} has finished running.",
    "IWNR2220I": "The session {0} is now in the state {1}.",
    "IWNR3048I": "The high availability status from server {0} was successfully queried.",
    # From here on the ids are invented.
    "IWNR0001E": "The {1} command in the {0} session failed.",
    "IWNR0002W": "The scheduled task {0} has ended with a warning.",
    "IWNR0003E": "The {1} command is not valid for the session {0}.",
    "IWNR0004E": "The scheduled task {0} is already running.",
    "IWNR0005E": "The scheduled task {0} waits for approval.",
    "IWNR0006E": "The scheduled task {0} does not exist.",
    "IWNR0007E": "This server is the standby: run the command on the active server.",
    "IWNR0008E": "The user name or the password is wrong.",
    "IWNR0009E": "The request for {0} was refused.",
    "IWNR0010E": "The token is missing, unknown or expired.",
    "IWNR0011E": "There is nothing at {0} for this method.",
}

LOGIN_PAGE = (b"<!DOCTYPE html><html><head><title>Log in</title></head><body>"
              b"<form action='j_security_check'></form></body></html>")
ERROR_PAGE = b"<html><body><h1>Error</h1><p>The server could not do this.</p></body></html>"


# --- Certificates -------------------------------------------------------------------------------

class Certificate(NamedTuple):
    context: ssl.SSLContext
    fingerprint: str
    ca_file: str


@functools.lru_cache(maxsize=None)
def _authority() -> Tuple[Any, str]:
    """The CA of this process, and the file that its certificate is in."""
    folder = tempfile.mkdtemp(prefix="simulated-csm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority = trustme.CA()
    ca_file = os.path.join(folder, "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    return authority, ca_file


@functools.lru_cache(maxsize=None)
def _certificate(kind: str) -> Certificate:
    """A server certificate: made once, since making keys is what would take long."""
    names = {"localhost": ("localhost", "127.0.0.1", "::1"), "other-name": ("csm.example.com",)}
    authority, ca_file = _authority()
    issued = authority.issue_cert(*names[kind])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode("ascii"))
    return Certificate(context, hashlib.sha256(der).hexdigest(), ca_file)


# --- Records ------------------------------------------------------------------------------------

class Request:
    """One request as it arrived; `status` is what was sent in answer, None if nothing was."""

    def __init__(self, method: str, path: str, headers: Dict[str, str], body: bytes,
                 connection: int) -> None:
        self.n = 0
        self.method, self.path, self.headers = method, path, headers
        self.body, self.connection = body, connection
        self.form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        self.token = headers.get("x-auth-token")
        self.when = time.time()
        self.status: Optional[int] = None
        self.fault: Optional[str] = None

    def __repr__(self) -> str:
        return "<%d: %s %s -> %s>" % (self.n, self.method, self.path, self.fault or self.status)


class Message(NamedTuple):
    """One entry in the history of a task; `when` in epoch seconds."""
    when: float
    id: str
    text: str


class Backup:
    """One backup of a session; `id` is its time in epoch seconds."""

    def __init__(self, id: int, valid: bool = True) -> None:
        self.id, self.valid = id, valid


class Session:
    """A session. The attributes may be set at any time; `backups` is newest first."""

    def __init__(self, name: str, rulesname: str, **fields: Any) -> None:
        self.name, self.rulesname = name, rulesname
        self.status, self.state = "Normal", "Protected"
        self.haserror, self.recoverable = False, True
        self.backups: List[Backup] = []
        self.warning_until = 0.0
        self.outcome = "good"
        self.late_seconds = 5.0
        self.lock = threading.Lock()  # held by the command that is at work
        vars(self).update(fields)


class Task:
    """A scheduled task. The attributes may be set at any time; times are in epoch seconds."""

    def __init__(self, id: int, name: str, steps: List[Tuple[str, str]], **fields: Any) -> None:
        self.id, self.name, self.steps = id, name, steps
        self.enabled, self.running, self.pendingApproval = True, False, False
        self.lastRan: Optional[float] = None
        self.schedule: Dict[str, Any] = {"type": "IntervalTaskSchedule", "interval": 60}
        self.messages: List[Message] = []  # replaced by a longer one, never changed
        self.outcome = "good"
        self.late_seconds = 5.0
        vars(self).update(fields)


# --- The state, and what the commands do to it --------------------------------------------------

class World:
    """The tasks, sessions and tokens; the two servers of an HA pair share one.

    The attributes below are the options; they may also be set while the server runs.
    """
    backup_seconds = 0.2  # how long a Backup takes
    step_seconds = 0.02  # how long any other step or command takes
    clock_offset = 0.0  # how far the server's clock is wrong
    large = False  # 16 tasks with 5,000 messages each, 500 sessions, 500 backups in each
    # Dialects.
    messages = "lastmessage"  # | lastmessage-id | array | array-no-text
    command_text = "msgTranslated"  # | resultText | none
    backup_results = "BackupResults"  # | backupResults
    numbers = "numbers"  # | strings | all-strings (the booleans too)
    never_ran: Union[None, int, str] = 0  # | None | "missing": lastRan of a new task
    single_task = 200  # | 404 | 405: what GET of one task gets
    steps = True  # whether a task shows its actions
    affected = True  # whether a task shows affectedSession
    backup_id_shown = True
    no_backups = "empty"  # | missing | sequence: backupInfo where there is no backup
    blocking = True  # whether a session's command answers once it is done, or at once
    # What is refused: "refuse-E" is HTTP 200 with a message that ends in E, a number the status.
    running_again = "refuse-E"  # | 409 | 500: running a task that runs
    approval = "refuse-E"  # | 409: running a task that waits for approval
    standby = "error"  # | http | 503: any command to a standby
    # Logging in.
    user = "admin"
    password = "s3cret pass"
    login = "ok"  # | refuse: even the right password
    bad_login: Union[int, str] = 401  # | 403 | no-token | html
    token_requests: Optional[int] = None  # a token expires after so many requests
    shared_tokens = True  # whether the other server of a pair takes a token
    ha_supported = True  # whether there is a /system/ha

    def __init__(self, **options: Any) -> None:
        if options.get("large"):
            options.setdefault("messages", "array")
        for name, value in options.items():
            if name.startswith("_") or callable(getattr(World, name, len)):
                raise TypeError("World has no option %r" % name)
            setattr(self, name, value)
        self.lock = threading.RLock()
        self.tasks: List[Task] = []
        self.sessions: List[Session] = []
        self.tokens: Dict[str, Dict[str, Any]] = {}
        self.triggers: List[Tuple[str, str, float]] = []
        self.attempts: List[Tuple[str, str, float]] = []
        self.backups_made: List[Tuple[str, str]] = []
        self._rendered: Dict[int, Tuple[Dict[str, Any], bytes]] = {}
        self._populate()

    def clock(self) -> float:
        return time.time() + self.clock_offset

    def _populate(self) -> None:
        """What IBM has published, under its real names, and what a client may stumble over."""
        old = int(self.clock()) - 5 * 3600
        odd = "50%/Z\u00fcrich"
        for name in ("ITSO_SGC_H3_LAH81", "ITSO_SGC_LAH81", "ITSO_SGC_H1_LAH81", "SGC Payroll",
                     "SGC " + odd):
            ids = range(old + 20, old + 20 - (1800 * 500 if self.large else 1), -1800)
            self.add_session(name, backups=[Backup(seconds) for seconds in ids])
        self.add_session("SGC Empty", status="Inactive", state="Defined", recoverable=False)
        self.add_session("ITSO_MGM_ACA91", "Metro Global Mirror", state="Prepared")
        self.add_session("MM HS", "Metro Mirror Failover/Failback", state="Prepared")
        ran = {"lastRan": float(old)}
        self.add_task(26, "ITSO_SGc_LAH81", [("ITSO_SGC_LAH81", "Backup")], **ran)
        self.add_task(27, "ITSO_SGC_H3_LAH81", [
            ("ITSO_MGM_ACA91", "SuspendH2H3"), ("ITSO_MGM_ACA91", "wait:SuspendedH2H3"),
            ("ITSO_SGC_H3_LAH81", "Backup"), ("ITSO_MGM_ACA91", "Start H1->H2->H3"),
        ], enabled=False, **ran)
        self.add_task(28, "ITSO_SGC_H1_LAH81", [("ITSO_SGC_H1_LAH81", "Backup")], **ran)
        self.add_task(29, "thomastest", [("ITSO_SGC_LAH81", "Backup")], enabled=False,
                      schedule={"type": "NoTaskSchedule"})
        self.add_task(31, "Backup Payroll", [("SGC Payroll", "Backup")], **ran)
        self.add_task(32, "Payroll " + odd, [("SGC " + odd, "Backup")], **ran)
        self.add_task(40, "Twice", [("ITSO_SGC_H1_LAH81", "Backup")], **ran)
        self.add_task(41, "Twice", [("ITSO_SGC_LAH81", "Backup")], **ran)
        self.add_task(50, "Practice MM HS", [
            ("MM HS", "Suspend"), ("MM HS", "wait:Suspended"), ("MM HS", "Start H1->H2"),
        ], **ran)
        if self.large:
            self._fill(old)

    def _fill(self, old: int) -> None:
        """The rest of a large server. The added sessions share one list of backups."""
        shared = [Backup(old - 1800 * number) for number in range(500)]
        while len(self.sessions) < 500:
            self.add_session("SGC_%04d" % len(self.sessions), backups=shared)
        while len(self.tasks) < 16:
            number = len(self.tasks)
            self.add_task(100 + number, "Task %04d" % number, [("SGC_%04d" % (number + 50),
                                                               "Backup")], lastRan=float(old))
        history: List[Message] = []
        for number in range(1667, 0, -1):
            for message_id in ("IWNR2211I", "IWNR1026I", "IWNR2212I"):
                history.append(self._message(message_id, "of a large server", "Backup",
                                             when=old - 1800.0 * number))
        for task in self.tasks:
            task.messages = history + task.messages

    def add_session(self, name: str, rulesname: str = SGC, **fields: Any) -> Session:
        session = Session(name, rulesname, **fields)
        with self.lock:
            self.sessions.append(session)
        return session

    def add_task(self, id: int, name: str, steps: List[Tuple[str, str]], **fields: Any) -> Task:
        """A task more; its steps are (session, command) or (session, "wait:STATE")."""
        task = Task(id, name, list(steps), **fields)
        if not task.messages:
            if task.lastRan is None:
                task.messages.append(self._message("IWNR2200I", name))
            else:
                task.messages += [self._message("IWNR2211I", name, when=task.lastRan),
                                  self._message("IWNR2212I", name, when=task.lastRan + 20)]
        with self.lock:
            self.tasks.append(task)
        return task

    def task(self, id_or_name: Union[int, str]) -> Task:
        return [task for task in self.tasks
                if id_or_name in (task.id, task.name, str(task.id))][0]

    def session(self, name: str) -> Session:
        return [session for session in self.sessions if session.name == name][0]

    # Messages.

    def _message(self, message_id: str, *inserts: str, when: Optional[float] = None) -> Message:
        when = self.clock() if when is None else when
        stamp = time.strftime("%b %d, %Y %I:%M:%S %p", time.gmtime(when)).replace(" 0", " ")
        text = "%s [%s] %s" % (message_id, stamp, TEXTS[message_id].format(*inserts))
        return Message(when, message_id, text)

    def _say(self, message_id: str, *inserts: str) -> Dict[str, Any]:
        """The reply to a command."""
        message = self._message(message_id, *inserts)
        reply = {"msg": message_id, "inserts": list(inserts), "timestamp": int(message.when * 1000)}
        if self.command_text != "none":
            reply[self.command_text] = message.text
        return reply

    def _refuse(self, how: Any, message_id: str, *inserts: str) -> Reply:
        return REFUSALS.get(how) or int(how), self._say(message_id, *inserts)

    # Backups.

    def make_backup(self, session: Session, valid: bool = True) -> Backup:
        """A new backup; two in one second get ids one after the other."""
        with self.lock:
            now = self.clock()
            backup = Backup(max([int(now)] + [old.id + 1 for old in session.backups]), valid)
            session.backups = [backup] + session.backups
            session.warning_until = now + WARNING_SECONDS
            if session.state == "Defined":
                session.status, session.state, session.recoverable = "Normal", "Protected", True
            self.backups_made.append((session.name, str(backup.id)))
            return backup

    def _backup(self, session: Session, cause: Union[Session, Task]) -> None:
        """The work of one Backup command, whose outcome is that of `cause`: it waits for the
        commands before it."""
        with session.lock:
            time.sleep(self.backup_seconds)
            if cause.outcome == "severe":
                session.status, session.haserror = "Severe", True
            elif cause.outcome == "late":
                _later(cause.late_seconds, lambda: self.make_backup(session))
            elif cause.outcome in ("invalid", "valid-late"):
                backup = self.make_backup(session, valid=False)
                if cause.outcome == "valid-late":
                    _later(cause.late_seconds, lambda: setattr(backup, "valid", True))
            elif cause.outcome == "good":
                self.make_backup(session)

    def run_command(self, name: str, command: str, active: bool, stopped: threading.Event) -> Reply:
        """POST /sessions/{name}. `stopped` ends a command that would never answer."""
        backup = command == "Backup"
        with self.lock:
            if backup:
                self.attempts.append(("session", name, time.time()))
            if not active:
                return self._refuse(self.standby, "IWNR0007E")
            found = [session for session in self.sessions if session.name == name]
            if not found:
                return 200, self._say("IWNR1024E", name)
            session = found[0]
            if command not in COMMANDS[session.rulesname]:
                return 200, self._say("IWNR0003E", name, command)
            if backup and session.outcome in ("error", "refuse-http"):
                return self._refuse(session.outcome, "IWNR0009E", name)
            if backup:
                self.triggers.append(("session", name, time.time()))
        if not backup:
            with session.lock:
                time.sleep(self.step_seconds)
        elif not self.blocking:
            _later(0, lambda: self._backup(session, session))
        else:
            self._backup(session, session)
            if session.outcome in ("hang", "severe"):
                stopped.wait()
        return 200, self._say("IWNR1026I", name, command)

    # Runs of tasks.

    def run_task(self, task_id: str, active: bool) -> Reply:
        """POST /sessions/scheduledtasks/{id}: start a run, or say why not."""
        with self.lock:
            found = [task for task in self.tasks if str(task.id) == task_id]
            name = found[0].name if found else task_id
            self.attempts.append(("task", name, time.time()))
            if not active:
                return self._refuse(self.standby, "IWNR0007E")
            if not found:
                return 404, self._say("IWNR0006E", name)
            task = found[0]
            if task.outcome in ("refuse", "refuse-http"):
                return self._refuse(task.outcome, "IWNR0009E", name)
            if task.pendingApproval or task.outcome == "approval":
                return self._refuse(self.approval, "IWNR0005E", name)
            if task.running:
                return self._refuse(self.running_again, "IWNR0004E", name)
            self.triggers.append(("task", name, time.time()))
            self.start_run(task.id)
            return 200, self._say("IWNR2211I", name)

    def start_run(self, task_id: Union[int, str]) -> None:
        """A run that is not counted as a trigger: the schedule's, or somebody else's."""
        task = self.task(task_id)
        if task.outcome == "ignored":
            return
        with self.lock:
            if task.outcome != "silent-run":
                task.running, task.lastRan = True, self.clock()
            task.messages = task.messages + [self._message("IWNR2211I", task.name)]
        _later(0, lambda: self._run(task))

    def _run(self, task: Task) -> None:
        """The run itself, in a thread of its own."""
        outcome = task.outcome
        last: Any = ("IWNR0002W" if outcome == "warning" else "IWNR2212I", task.name)
        backups = [command for _, command in task.steps].count("Backup")  # still to be made
        for name, command in task.steps:
            message, failed = ("IWNR1026I", name, command), ("IWNR0001E", name, command)
            if command == "Backup":
                session = self.session(name)
                # What is wrong with the task counts; if nothing is, what is wrong with the session.
                cause: Any = task if outcome in SESSION_OUTCOMES[1:] else session
                self._backup(session, cause)
                if cause.outcome in ("hang", "severe"):
                    return
                if cause.outcome in ("error", "refuse-http"):
                    last = failed
                    break
                backups -= 1
            elif outcome == "error-after-backup" and not backups:
                break
            else:
                time.sleep(self.step_seconds)
                if command.startswith("wait:"):
                    message = ("IWNR2220I", name, command[len("wait:"):])
            with self.lock:
                task.messages = task.messages + [self._message(*message)]
        if outcome in ("error", "error-after-backup"):
            last = failed  # of the last step, where there was none that could fail as wanted
        with self.lock:
            task.messages = task.messages + [self._message(*last)]
            task.running = False

    # What is shown.

    def _dialect(self, value: Any) -> Any:
        """Numbers as strings, where the server is of that kind."""
        if self.numbers == "numbers":
            return value
        if isinstance(value, dict):
            return {key: self._dialect(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._dialect(item) for item in value]
        if isinstance(value, bool):
            return str(value).lower() if self.numbers == "all-strings" else value
        return str(value) if isinstance(value, (int, float)) else value

    def show_task(self, task: Task) -> Dict[str, Any]:
        record: Dict[str, Any] = {
            "id": task.id, "name": task.name, "description": "",
            "enabled": task.enabled, "running": task.running,
            "pendingApproval": task.pendingApproval or task.outcome == "approval",
            "nextRun": 0, "schedule": task.schedule, "runtaskonsuccess": 0, "runtaskonfailure": 0,
            "logOnFailure": False,
        }
        if task.lastRan is not None:
            record["lastRan"] = int(task.lastRan * 1000)
        elif self.never_ran != "missing":
            record["lastRan"] = self.never_ran
        if self.steps:
            record["actions"] = [
                {"step": number, "sessionName": name, "state": command[len("wait:"):],
                 "timeout": 300000} if command.startswith("wait:") else
                {"step": number, "sessionName": name, "command": command}
                for number, (name, command) in enumerate(task.steps, 1)]
        if self.affected:
            record["affectedSession"] = sorted({name for name, _ in task.steps})
        if self.messages == "lastmessage":
            record["lastmessage"] = task.messages[-1].text
        elif self.messages == "lastmessage-id":
            record["lastmessage"] = task.messages[-1].id
        else:
            record["messages"] = [{"baseDate": int(message.when * 1000), "msg": message.id}
                                  for message in task.messages]
            if self.messages == "array":
                for shown, message in zip(record["messages"], task.messages):
                    shown["resultText"] = message.text
        return self._dialect(record)

    def show_tasks(self) -> Any:
        """All tasks. A large server keeps the JSON of each, so that it costs the CPU but once."""
        if not self.large:
            return [self.show_task(task) for task in self.tasks]
        for task in self.tasks:
            if self._rendered.get(task.id, ({}, b""))[0] != vars(task):
                self._rendered[task.id] = (dict(vars(task)), _json(self.show_task(task)))
        return b"[%s]" % b", ".join(self._rendered[task.id][1] for task in self.tasks)

    def show_session(self, session: Session, backups: bool = False) -> Dict[str, Any]:
        warning = session.status == "Normal" and self.clock() < session.warning_until
        record: Dict[str, Any] = {
            "name": session.name, "numcopysets": 8, "productionhost": "H1",
            "status": "Warning" if warning else session.status, "state": session.state,
            "haserror": session.haserror, "recoverable": session.recoverable,
            "hyperswapstatus": "", "rulesname": session.rulesname,
        }
        if backups and session.rulesname == SGC:
            results = []
            for backup in session.backups:
                shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(backup.id))
                results.append({
                    "backupID": str(backup.id), "numCopySets": "8", "valid": backup.valid,
                    "blockingExpansion": "false", "timestamp": backup.id * 1000,
                    "retention": "unknown", "backupTime": shown})
                if not self.backup_id_shown:
                    del results[-1]["backupID"]
            if results or self.no_backups == "sequence":
                record["backupInfo"] = [{"backupSequence": "H1-B1", self.backup_results: results}]
            elif self.no_backups == "empty":
                record["backupInfo"] = []
        return self._dialect(record)

    def show_ha(self, active: bool) -> Dict[str, Any]:
        message = self._message("IWNR3048I", "SIMULATED-CSM")
        return self._dialect({
            "msg": message.id, "resultText": message.text, "islocalactive": active,
            "maxsupportedconnections": 1, "localhaport": 9561, "serverinfo": [],
            "inserts": ["SIMULATED-CSM"], "timestamp": int(message.when * 1000),
        })

    # Logging in.

    def log_in(self, form: Dict[str, str], server: int) -> Reply:
        if self.login == "ok" and (form.get("username"), form.get("password")) == (
                self.user, self.password):
            token = secrets.token_hex(24)
            self.tokens[token] = {"until": time.time() + TOKEN_SECONDS, "server": server,
                                  "left": self.token_requests}
            return 200, {"token": token}
        if self.bad_login == "html":
            return 200, LOGIN_PAGE
        return self._refuse(self.bad_login, "IWNR0008E")

    def known(self, token: Optional[str], server: int) -> bool:
        """Whether a token is good for one request more."""
        with self.lock:
            entry = self.tokens.get(token or "")
            if not entry or time.time() > entry["until"] or entry["left"] == 0 or (
                    entry["server"] != server and not self.shared_tokens):
                return False
            if entry["left"] is not None:
                entry["left"] -= 1
            return True

    def expire_tokens(self) -> None:
        self.tokens.clear()


def _later(seconds: float, action: Callable[[], Any]) -> None:
    timer = threading.Timer(seconds, action) if seconds else threading.Thread(target=action)
    timer.daemon = True
    timer.start()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


# --- The server ---------------------------------------------------------------------------------

class SimulatedCsm:
    """One server: HTTPS on a port of its own, over a world that another server may share."""
    slow_seconds = 1.0  # of the fault "slow"
    refuse_seconds = 0.5  # of the fault "refuse"
    trickle_seconds = 0.2  # of the fault "trickle": the pause between two bytes
    redirect_to = "https://localhost:1/"  # of the fault "redirect"
    garbage = b"\x15\x03\x00 220 not HTTP at all\r\n\r\n"  # of the fault "garbage"
    interim: Optional[Callable[[Request], int]] = None  # the status of a 1xx before the answer
    date: Optional[str] = None  # the Date header, where it is not that of the world's clock
    mutate: Optional[Callable[[Request, Any], Any]] = None
    on_request: Optional[Callable[[Request], None]] = None  # called after each one

    def __init__(self, world: Optional[World] = None, port: int = 0, active: bool = True,
                 certificate: str = "localhost", host: str = "127.0.0.1",
                 **world_options: Any) -> None:
        assert not (world and world_options), "the world has its options already"
        self.world = world or World(**world_options)
        self.host, self.port, self.active = host, port, active
        self.context, self.fingerprint, self.ca_file = _certificate(certificate)
        self.requests: List[Request] = []
        self.connections = 0  # whose TLS handshake succeeded
        self.tcp_connections = 0
        self.faults: List[Dict[str, Any]] = []
        self.errors: List[str] = []  # tracebacks: bugs in here or in a test's hook
        self._lock = threading.RLock()
        self._open: Set[ssl.SSLSocket] = set()
        self._listener: Optional[socket.socket] = None
        self._placeholder: Optional[socket.socket] = None
        self._acceptor: Optional[threading.Thread] = None
        self._stopped = threading.Event()

    # Starting and stopping.

    def start(self) -> "SimulatedCsm":
        self._stopped.clear()
        self.accept_connections()
        return self

    def stop(self) -> None:
        self.die()
        self._drop_placeholder()

    def die(self) -> None:
        """Stop for good. Until stop() the port stays taken: nobody else will answer there."""
        self._stopped.set()
        self.refuse_connections()

    def promote(self) -> None:
        """A takeover: this server is the active one from now on."""
        self.active = True

    def __enter__(self) -> "SimulatedCsm":
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _socket(self) -> socket.socket:
        new = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        new.bind((self.host, self.port))
        return new

    def _drop_placeholder(self) -> None:
        placeholder, self._placeholder = self._placeholder, None
        if placeholder:
            placeholder.close()

    def accept_connections(self) -> None:
        with self._lock:
            if self._listener or self._stopped.is_set():
                return
            self._drop_placeholder()
            listener = self._listener = self._socket()
            listener.listen(128)
            listener.settimeout(0.5)  # where shutting it down does not wake accept() up
            self.port = listener.getsockname()[1]
            self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            self._acceptor.start()

    def refuse_connections(self, seconds: Optional[float] = None) -> None:
        """Listen no more, and drop what is connected; listen again after `seconds`."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener:
                try:
                    listener.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                if self._acceptor:
                    self._acceptor.join()
                # Bound, but not listening: connections are refused, and the port stays ours.
                self._placeholder = self._socket()
            for connection in list(self._open):
                try:  # not SSLSocket's own: another thread reads from this socket
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                except OSError:
                    pass
        if seconds is not None:
            _later(seconds, self.accept_connections)

    def _accept(self, listener: socket.socket) -> None:
        # The thread that accepts is the one that closes: the number of a closed socket may be
        # given to another server's at once.
        while listener is self._listener:
            try:
                plain = listener.accept()[0]
            except (socket.timeout, ConnectionError):
                continue
            except OSError:
                break
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = self.context.wrap_socket(plain, server_side=True,
                                                      do_handshake_on_connect=False)
            except (OSError, ValueError):
                plain.close()
                continue
            self.tcp_connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        listener.close()

    # One connection.

    def _serve(self, connection: ssl.SSLSocket) -> None:
        reader = connection.makefile("rb")
        try:
            connection.settimeout(10)
            connection.do_handshake()
            connection.settimeout(None)
            with self._lock:
                self.connections += 1
                number = self.connections
            while True:
                request = self._read(reader, number)
                if not request or not self._answer(connection, reader, request):
                    break
        except (OSError, ValueError, http.client.HTTPException):
            pass  # a broken connection, or a client that does not speak HTTP
        finally:
            with self._lock:
                self._open.discard(connection)
            try:
                reader.close()
                connection.close()
            except OSError:
                pass

    @staticmethod
    def _read(reader: Any, number: int) -> Optional[Request]:
        line = reader.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {key.lower(): value for key, value in http.client.parse_headers(reader).items()}
        length = int(headers.get("content-length", "0"))
        body = reader.read(length)
        return Request(line[0], line[1], headers, body, number) if len(body) == length else None

    def inject(self, n: int, kind: str, permanent: bool = False) -> None:
        """A fault at this server's n-th request; permanent: at all from that one on."""
        if permanent:
            self.inject_when(lambda request: request.n >= n, kind, None)
        else:
            self.inject_when(lambda request: request.n == n, kind)

    def inject_when(self, predicate: Callable[[Request], bool], kind: str,
                    times: Optional[int] = 1) -> None:
        """A fault at the next `times` requests that the predicate holds for (None: at all)."""
        if kind not in FAULTS:
            raise ValueError("no such fault: %r" % kind)
        self.faults.append({"predicate": predicate, "kind": kind, "left": times})

    def _fault(self, request: Request) -> str:
        for fault in self.faults:
            if fault["left"] != 0 and fault["predicate"](request):
                if fault["left"]:
                    fault["left"] -= 1
                request.fault = fault["kind"]
                return request.fault
        return ""

    def _answer(self, connection: ssl.SSLSocket, reader: Any, request: Request) -> bool:
        """Process a request and answer it; False if the connection is to be closed."""
        with self._lock:
            request.n = len(self.requests) + 1
            self.requests.append(request)
            kind, _, when = self._fault(request).partition("-")
        reply = (0, "", b"")
        if when != "before" and (when or kind not in NOT_PROCESSED):
            reply = self._process(request)
        keep = self._send(connection, reader, request, kind, reply)
        if self.on_request:
            self.on_request(request)
        return keep and "close" not in request.headers.get("connection", "").lower()

    def _send(self, connection: ssl.SSLSocket, reader: Any, request: Request, kind: str,
              reply: Tuple[int, str, bytes]) -> bool:
        instead: Dict[str, Tuple[int, str, bytes]] = {
            "500": (500, "text/html", ERROR_PAGE), "503": (503, "text/html", ERROR_PAGE),
            "403": (403, "text/html", ERROR_PAGE), "404": (404, "text/html", ERROR_PAGE),
            "401": (401, "application/json", _json(self.world._say("IWNR0010E"))),
            "429": (429, "application/json", b'{"resultText": "Too many requests"}'),
            "html": (200, "text/html", LOGIN_PAGE), "empty": (200, "application/json", b""),
            "redirect": (307, "text/html", b""),
        }
        if kind in ("reset", "refuse"):
            # Lingering for no time makes the close that follows a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if kind == "refuse":
                with self._lock:
                    self._open.discard(connection)
                reader.close()
                connection.close()
                self.refuse_connections(self.refuse_seconds)
            return False
        if kind == "silent":
            while reader.read(1):
                pass
            return False
        if kind == "garbage":
            connection.sendall(self.garbage)
            return False
        if kind == "slow":
            self._stopped.wait(self.slow_seconds)
        status, content_type, body = instead.get(kind, reply)
        request.status = status
        length = 10 ** 9 if kind == "trickle" else len(body)
        lines = ["HTTP/1.1 %d %s" % (status, http.client.responses.get(status, "Unknown")),
                 "Date: " + (email.utils.formatdate(self.world.clock(), usegmt=True)
                            if self.date is None else self.date),
                 "Content-Type: " + content_type, "Content-Length: %d" % length]
        if status == 307:
            lines.append("Location: " + self.redirect_to)
        answer = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        early = self.interim(request) if self.interim else 0
        if early:
            answer = b"HTTP/1.1 %d Early\r\n\r\n" % early + answer
        if kind == "cut":
            connection.sendall(answer[:len(answer) - (len(body) + 1) // 2])
            return False
        if kind == "trickle":
            position = 0
            while not self._stopped.wait(self.trickle_seconds):
                connection.sendall(answer[position:position + 1] or b" ")
                position += 1
            return False
        connection.sendall(answer)
        return True

    # The REST API.

    def _process(self, request: Request) -> Tuple[int, str, bytes]:
        try:
            status, value = self._route(request)
            if self.mutate:
                value = self.mutate(request, copy.deepcopy(value))
                status = 200 if isinstance(value, bytes) else status
            kind = "text/html" if value is LOGIN_PAGE else "application/json"
            return status, kind, value if isinstance(value, bytes) else _json(value)
        except Exception:
            self.errors.append(traceback.format_exc())
            return 500, "text/html", ERROR_PAGE

    def _route(self, request: Request) -> Reply:
        world, path = self.world, request.path.partition("?")[0]
        parts: List[str] = []
        if path.startswith(PREFIX):
            parts = [unquote(part) for part in path[len(PREFIX):].split("/")]
        if request.method == "POST" and parts == ["system", "v1", "tokens"]:
            return world.log_in(request.form, id(self))
        if not world.known(request.token, id(self)):
            return 401, world._say("IWNR0010E")
        reply = None
        if request.method == "GET":
            with world.lock:  # a record as it is at one moment, not half before a change
                reply = self._get(parts)
        elif request.method == "POST" and parts[:1] == ["sessions"]:
            reply = self._post(parts, request)
        return reply or (404, world._say("IWNR0011E", path))

    def _get(self, parts: List[str]) -> Optional[Reply]:
        world = self.world
        if parts == ["system", "ha"] and world.ha_supported:
            return 200, world.show_ha(self.active)
        if parts in (["sessions"], ["sessions", "short"]):
            return 200, [world.show_session(session) for session in world.sessions]
        if parts == ["sessions", "scheduledtasks"]:
            return 200, world.show_tasks()
        if parts[:2] == ["sessions", "scheduledtasks"]:
            tasks = [task for task in world.tasks if [str(task.id)] == parts[2:]]
            if world.single_task != 200 or not tasks:
                status = 404 if world.single_task == 200 else world.single_task
                return status, world._say("IWNR0006E", "/".join(parts[2:]))
            return 200, world.show_task(tasks[0])
        if parts[:1] == ["sessions"] and parts[2:] in ([], ["availablecommands"]):
            sessions = [session for session in world.sessions if session.name == parts[1]]
            if not sessions:
                return 200, world._say("IWNR1024E", parts[1])
            if parts[2:]:
                return 200, COMMANDS[sessions[0].rulesname]
            return 200, world.show_session(sessions[0], backups=True)
        return None

    def _post(self, parts: List[str], request: Request) -> Optional[Reply]:
        if len(parts) == 2 and parts[1] != "scheduledtasks":
            return self.world.run_command(
                parts[1], request.form.get("cmd", ""), self.active, self._stopped)
        how = "".join(parts[3:]).lower()
        if parts[1] == "scheduledtasks" and len(parts) in (3, 4):
            if how in ("true", "synchronous"):
                return self._run_to_the_end(parts[2])
            if how in ("", "false"):
                return self.world.run_task(parts[2], self.active)
        return None

    def _run_to_the_end(self, task_id: str) -> Reply:
        """A synchronous run: the reply is the run's last message."""
        status, reply = self.world.run_task(task_id, self.active)
        if reply["msg"] == "IWNR2211I":
            task = self.world.task(task_id)
            while task.running and not self._stopped.wait(0.02):
                pass
            reply["msg"] = task.messages[-1].id
            if self.world.command_text != "none":
                reply[self.world.command_text] = task.messages[-1].text
        return status, reply


# --- By hand ------------------------------------------------------------------------------------

def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A simulated Copy Services Manager, to rehearse against. It prints each "
                    "request; Ctrl-C ends it.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9559, help="9559; 0 is any free one")
    parser.add_argument("--backup-seconds", type=float, default=10.0, metavar="SECONDS",
                        help="how long a backup takes (10)")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="modern",
                        help="the age of the server (modern)")
    parser.add_argument("--outcome", action="append", default=[], metavar="NAME=OUTCOME",
                        help="how runs of a task (by id or name), or else backups of the session "
                             "of that name, end: " + ", ".join(SESSION_OUTCOMES) + "; of a task "
                             "also: " + ", ".join(TASK_OUTCOMES[len(SESSION_OUTCOMES):]))
    parser.add_argument("--announce", metavar="FILE",
                        help="write 'HOST PORT FINGERPRINT USER' to FILE once it listens")
    return parser


def _set_outcomes(world: World, settings: List[str]) -> None:
    for setting in settings:
        name, _, outcome = setting.rpartition("=")
        tasks = [task for task in world.tasks if name in (task.name, str(task.id))]
        records: List[Any] = tasks or [item for item in world.sessions if item.name == name]
        if not records or outcome not in (TASK_OUTCOMES if tasks else SESSION_OUTCOMES):
            sys.exit("simulated_csm.py: no such task, session or outcome: " + setting)
        for record in records:
            record.outcome = outcome


def _print_request(request: Request) -> None:
    print(time.strftime("%H:%M:%S"), request.n, request.method, request.path,
          request.fault or request.status, flush=True)


def main() -> None:
    args = _parser().parse_args()
    world = World(backup_seconds=args.backup_seconds, step_seconds=min(1.0, args.backup_seconds),
                  **DIALECTS[args.dialect])
    _set_outcomes(world, args.outcome)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = SimulatedCsm(world, port=args.port, host=args.host)
    server.on_request = _print_request
    try:
        server.start()
    except OSError as error:
        sys.exit("simulated_csm.py: %s port %d: %s" % (args.host, args.port, error))
    with server:
        print("https://%s:%d%s" % (server.host, server.port, PREFIX))
        print("user: %s\npassword: %s" % (world.user, world.password))
        print("fingerprint: %s\nCA file: %s" % (server.fingerprint, server.ca_file))
        for line in ["task %d: %s" % (task.id, task.name) for task in world.tasks] + [
                "session: %s (%s)" % (record.name, record.rulesname) for record in world.sessions]:
            print(line.encode("ascii", "backslashreplace").decode("ascii"), flush=True)
        if args.announce:
            with open(args.announce + ".new", "w") as stream:
                stream.write("%s %d %s %s\n" % (server.host, server.port, server.fingerprint,
                                                world.user))
            os.replace(args.announce + ".new", args.announce)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
