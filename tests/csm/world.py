"""What a CSM knows, and what its commands do: tasks, sessions, backups, tokens; no HTTP, no JSON.

How it shows that, and how it words its answers: dialects.py, replies.py.
"""

import secrets
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from .dialects import OPTIONS as DIALECT_OPTIONS
from .dialects import Dialect

SGC = "Safeguarded Copy"

# How a Backup can end: each of these can be said of a session, or of a task for its Backup steps.
SESSION_OUTCOMES = (
    "good",
    "error",
    "no-backup",
    "invalid",
    "valid-late",
    "late",
    "severe",
    "hang",
    "refuse-http",
)
TASK_OUTCOMES = (
    *SESSION_OUTCOMES,
    "error-after-backup",
    "warning",
    "refuse",
    "approval",
    "ignored",
    "silent-run",
    "cancelled",
)
WARNING_SECONDS = 60  # how long a session stays in Warning after a backup
TOKEN_SECONDS = 7200

COMMANDS: Dict[str, List[str]] = {
    SGC: [
        "Backup",
        "Recover Backup",
        "Expire Backup",
        "Initiate Background Copy",
        "Terminate",
        "Refresh States",
    ],
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
    "IWNR0012E": "This user has no right to do that.",
    "IWNR0013E": "The scheduled task {0} was cancelled.",
    "IWNR0014I": "The scheduled task {0} is being cancelled.",
    "IWNR0011E": "There is nothing at {0} for this method.",
}


class Message(NamedTuple):
    """A message: in the history of a task, or in answer to a command; `when` in epoch seconds."""

    when: float
    id: str
    text: str
    inserts: Tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a command comes to: a message, and how it is refused, where it is (see REFUSALS)."""

    message: Message
    refusal: Union[int, str, None] = None


class Backup:
    """One backup of a session; `id` is its time in epoch seconds."""

    def __init__(self, backup_id: int, valid: bool = True, sequence: str = "H1-B1") -> None:
        self.id, self.valid, self.sequence = backup_id, valid, sequence
        self.copy_sets = 8


class Session:
    """A session. The attributes may be set at any time; `backups` is newest first."""

    def __init__(self, name: str, rulesname: str, **fields: Any) -> None:
        self.name, self.rulesname = name, rulesname
        self.status, self.state = "Normal", "Protected"
        self.haserror, self.recoverable = False, True
        self.backups: List[Backup] = []
        self.sequence = "H1-B1"  # of the backups that are made now
        self.numcopysets = 8
        self.copy_sets = 8  # in each new backup
        self.view = 200  # | 500, 403 and so on: the status that a GET of it gets
        self.warning_until = 0.0
        self.outcome = "good"
        self.late_seconds = 5.0
        self.lock = threading.Lock()  # held by the command that is at work
        vars(self).update(fields)


class Task:
    """A scheduled task. The attributes may be set at any time; times are in epoch seconds."""

    def __init__(
        self, task_id: int, name: str, steps: List[Tuple[str, str]], **fields: Any
    ) -> None:
        self.id, self.name, self.steps = task_id, name, steps
        self.enabled, self.running, self.pendingApproval = True, False, False
        self.lastRan: Optional[float] = None
        self.schedule: Dict[str, Any] = {"type": "IntervalTaskSchedule", "interval": 60}
        self.runtaskonsuccess = self.runtaskonfailure = 0  # id of the task to go on with
        self.mute = False  # whether it tells no message, ever
        self.is_cancelled = False
        self.messages: List[Message] = []  # replaced by a longer one, never changed
        self.outcome = "good"
        self.late_seconds = 5.0
        vars(self).update(fields)


class World:
    """The tasks, sessions and tokens; the two servers of an HA pair share one.

    The attributes below are the options, together with those of `Dialect`; they may also be set
    while the server runs (a dialect's: `world.dialect.steps = False`).
    """

    backup_seconds = 0.2  # how long a Backup takes
    step_seconds = 0.02  # how long any other step or command takes
    clock_offset = 0.0  # how far the server's clock is wrong
    storage_offset = 0.0  # how far the clock that stamps the backups is ahead of that one
    backup_time = "end"  # | run: a backup's id is the time of its end, or lastRan of its run
    sleep: Callable[[float], Any] = staticmethod(time.sleep)  # how the work takes its time
    lists_tasks = True  # False: the list of tasks is empty, as where CSM is starting
    role = "admin"  # | tasks-only: a user who may run tasks, and see no session
    large = False  # 16 tasks with 5,000 messages each, 500 sessions, 500 backups in each
    blocking = True  # whether a session's command answers once it is done, or at once
    # Logging in.
    user = "admin"
    password = "s3cret pass"
    login = "ok"  # | refuse: even the right password
    token_requests: Optional[int] = None  # a token expires after so many requests
    shared_tokens = True  # whether the other server of a pair takes a token

    def __init__(self, **options: Any) -> None:
        if options.get("large"):
            options.setdefault("messages", "array")
        chosen = {name: options.pop(name) for name in list(options) if name in DIALECT_OPTIONS}
        self.dialect = Dialect(**chosen)
        for name, value in options.items():
            is_method = callable(getattr(World, name, len)) and name != "sleep"
            if name.startswith("_") or is_method:
                raise TypeError(f"World has no option {name!r}")
            setattr(self, name, value)
        self.lock = threading.RLock()
        self.tasks: List[Task] = []
        self.sessions: List[Session] = []
        self.tokens: Dict[str, Dict[str, Any]] = {}
        self.triggers: List[Tuple[str, str, float]] = []  # commands that started something
        self.attempts: List[Tuple[str, str, float]] = []  # and those that were refused, too
        self.backups_made: List[Tuple[str, str]] = []
        self._populate()

    def clock(self) -> float:
        """The server's time, in epoch seconds."""
        return time.time() + self.clock_offset

    # What is there at first.

    def _populate(self) -> None:
        """What IBM has published, under its real names, and what a client may stumble over."""
        old = int(self.clock()) - 5 * 3600
        odd = "50%/Z\u00fcrich"
        protected = ("ITSO_SGC_H3_LAH81", "ITSO_SGC_LAH81", "ITSO_SGC_H1_LAH81", "SGC Payroll")
        for name in (*protected, f"SGC {odd}"):
            ids = range(old + 20, old + 20 - (1800 * 500 if self.large else 1), -1800)
            self.add_session(name, backups=[Backup(seconds) for seconds in ids])
        self.add_session("SGC Empty", status="Inactive", state="Defined", recoverable=False)
        self.add_session("ITSO_MGM_ACA91", "Metro Global Mirror", state="Prepared")
        self.add_session("MM HS", "Metro Mirror Failover/Failback", state="Prepared")
        ran = {"lastRan": float(old)}
        mirror = "ITSO_MGM_ACA91"
        four_steps = [
            (mirror, "SuspendH2H3"),
            (mirror, "wait:SuspendedH2H3"),
            ("ITSO_SGC_H3_LAH81", "Backup"),
            (mirror, "Start H1->H2->H3"),
        ]
        no_backup = [("MM HS", "Suspend"), ("MM HS", "wait:Suspended"), ("MM HS", "Start H1->H2")]
        never = {"enabled": False, "schedule": {"type": "NoTaskSchedule"}}
        self.add_task(26, "ITSO_SGc_LAH81", [("ITSO_SGC_LAH81", "Backup")], **ran)
        self.add_task(27, "ITSO_SGC_H3_LAH81", four_steps, enabled=False, **ran)
        self.add_task(28, "ITSO_SGC_H1_LAH81", [("ITSO_SGC_H1_LAH81", "Backup")], **ran)
        self.add_task(29, "thomastest", [("ITSO_SGC_LAH81", "Backup")], **never)
        self.add_task(31, "Backup Payroll", [("SGC Payroll", "Backup")], **ran)
        self.add_task(32, f"Payroll {odd}", [(f"SGC {odd}", "Backup")], **ran)
        self.add_task(40, "Twice", [("ITSO_SGC_H1_LAH81", "Backup")], **ran)
        self.add_task(41, "Twice", [("ITSO_SGC_LAH81", "Backup")], **ran)
        self.add_task(50, "Practice MM HS", no_backup, **ran)
        if self.large:
            self._fill(old)

    def _fill(self, old: int) -> None:
        """The rest of a large server. The added sessions share one list of backups."""
        shared = [Backup(old - 1800 * number) for number in range(500)]
        while len(self.sessions) < 500:
            self.add_session(f"SGC_{len(self.sessions):04d}", backups=shared)
        while len(self.tasks) < 16:
            number = len(self.tasks)
            steps = [(f"SGC_{number + 50:04d}", "Backup")]
            self.add_task(100 + number, f"Task {number:04d}", steps, lastRan=float(old))
        history: List[Message] = []
        for number in range(1667, 0, -1):
            when = old - 1800.0 * number
            history += [
                self.message(message_id, "of a large server", "Backup", when=when)
                for message_id in ("IWNR2211I", "IWNR1026I", "IWNR2212I")
            ]
        for task in self.tasks:
            task.messages = history + task.messages

    def add_session(self, name: str, rulesname: str = SGC, **fields: Any) -> Session:
        """A session more."""
        session = Session(name, rulesname, **fields)
        with self.lock:
            self.sessions.append(session)
        return session

    def add_task(
        self, task_id: int, name: str, steps: List[Tuple[str, str]], **fields: Any
    ) -> Task:
        """A task more; its steps are (session, command) or (session, "wait:STATE")."""
        task = Task(task_id, name, list(steps), **fields)
        if not task.messages:
            if task.lastRan is None:
                task.messages.append(self.message("IWNR2200I", name))
            else:
                task.messages += [
                    self.message("IWNR2211I", name, when=task.lastRan),
                    self.message("IWNR2212I", name, when=task.lastRan + 20),
                ]
        with self.lock:
            self.tasks.append(task)
        return task

    def task(self, id_or_name: Union[int, str]) -> Task:
        """The (first) task of that id or name."""
        return next(each for each in self.tasks if id_or_name in (each.id, each.name, str(each.id)))

    def session(self, name: str) -> Session:
        """The session of that name."""
        return next(session for session in self.sessions if session.name == name)

    def message(self, message_id: str, *inserts: str, when: Optional[float] = None) -> Message:
        """One of TEXTS, said now or at another time."""
        when = self.clock() if when is None else when
        stamp = time.strftime("%b %d, %Y %I:%M:%S %p", time.gmtime(when)).replace(" 0", " ")
        text = f"{message_id} [{stamp}] {TEXTS[message_id].format(*inserts)}"
        return Message(when=when, id=message_id, text=text, inserts=inserts)

    def next_run(self, task: Task) -> Optional[float]:
        """When its schedule will start it; None where it will not."""
        if not task.enabled or "interval" not in task.schedule:
            return None
        return (task.lastRan or self.clock()) + 3600

    def may_read(self, parts: List[str]) -> bool:
        """What this user's role may see."""
        is_session = parts[:1] == ["sessions"] and parts[1:2] != ["scheduledtasks"]
        return self.role != "tasks-only" or not is_session

    # Backups.

    def make_backup(
        self, session: Session, valid: bool = True, when: Optional[float] = None
    ) -> Backup:
        """A new backup; two of a sequence in one second get ids one after the other."""
        with self.lock:
            now = self.clock()
            taken = int((now if when is None else when) + self.storage_offset)
            others = [old.id for old in session.backups if old.sequence == session.sequence]
            newest = max([taken] + [other + 1 for other in others])
            backup = Backup(newest, valid, session.sequence)
            backup.copy_sets = session.copy_sets
            session.backups = [backup, *session.backups]
            session.warning_until = now + WARNING_SECONDS
            if session.state == "Defined":
                session.status, session.state, session.recoverable = "Normal", "Protected", True
            self.backups_made.append((session.name, str(backup.id)))
            return backup

    def _backup(
        self, session: Session, cause: Union[Session, Task], ran: Optional[float] = None
    ) -> None:
        """The work of one Backup command, whose outcome is that of `cause`: it waits for the
        commands before it. `ran`: the time of the backup, where it is not that of its end."""
        with session.lock:
            self.sleep(self.backup_seconds)
            if cause.outcome == "severe":
                session.status, session.haserror = "Severe", True
            elif cause.outcome == "late":
                later(cause.late_seconds, lambda: self.make_backup(session, when=ran))
            elif cause.outcome in ("invalid", "valid-late"):
                backup = self.make_backup(session, valid=False, when=ran)
                if cause.outcome == "valid-late":
                    later(cause.late_seconds, lambda: setattr(backup, "valid", True))
            elif cause.outcome in ("good", "cancelled"):
                self.make_backup(session, when=ran)

    def run_command(
        self, name: str, command: str, active: bool, stopped: threading.Event
    ) -> Answer:
        """A command to a session. `stopped` ends one that would never answer."""
        backup = command == "Backup"
        with self.lock:
            if backup:
                self.attempts.append(("session", name, time.time()))
            if not active:
                return Answer(self.message("IWNR0007E"), self.dialect.standby)
            found = [session for session in self.sessions if session.name == name]
            if not found:
                return Answer(self.message("IWNR1024E", name))
            session = found[0]
            if command not in COMMANDS[session.rulesname]:
                return Answer(self.message("IWNR0003E", name, command))
            if backup and session.outcome in ("error", "refuse-http"):
                return Answer(self.message("IWNR0009E", name), session.outcome)
            if backup:
                self.triggers.append(("session", name, time.time()))
        if not backup:
            with session.lock:
                self.sleep(self.step_seconds)
        elif not self.blocking:
            later(0, lambda: self._backup(session, session))
        else:
            self._backup(session, session)
            if session.outcome in ("hang", "severe"):
                stopped.wait()
        return Answer(self.message("IWNR1026I", name, command))

    # Runs of tasks.

    def run_task(self, task_id: str, active: bool) -> Answer:
        """Start a run, or say why not."""
        with self.lock:
            found = [task for task in self.tasks if str(task.id) == task_id]
            name = found[0].name if found else task_id
            self.attempts.append(("task", name, time.time()))
            if not active:
                return Answer(self.message("IWNR0007E"), self.dialect.standby)
            if not found:
                return Answer(self.message("IWNR0006E", name), 404)
            task = found[0]
            if task.outcome in ("refuse", "refuse-http"):
                return Answer(self.message("IWNR0009E", name), task.outcome)
            waits = task.pendingApproval or task.outcome == "approval"
            if waits and self.dialect.approval != "accept":
                return Answer(self.message("IWNR0005E", name), self.dialect.approval)
            if task.running and self.dialect.running_again != "accept":
                return Answer(self.message("IWNR0004E", name), self.dialect.running_again)
            self.triggers.append(("task", name, time.time()))
            self.start_run(task.id)
            return Answer(self.message("IWNR2211I", name))

    def start_run(self, task_id: Union[int, str]) -> None:
        """A run that is not counted as a trigger: the schedule's, or somebody else's."""
        task = self.task(task_id)
        if task.outcome == "ignored":
            return
        with self.lock:
            if task.outcome != "silent-run":
                task.running, task.lastRan = True, self.clock()
            task.messages = [*task.messages, self.message("IWNR2211I", task.name)]
            task.is_cancelled = task.outcome == "cancelled"
        later(0, lambda: self._run(task))

    def _run(self, task: Task) -> None:
        """The run itself, in a thread of its own."""
        outcome, began, broken = task.outcome, task.lastRan, False
        last: Any = ("IWNR0002W" if outcome == "warning" else "IWNR2212I", task.name)
        backups = [command for _, command in task.steps].count("Backup")  # still to be made
        for name, command in task.steps:
            message, failed = ("IWNR1026I", name, command), ("IWNR0001E", name, command)
            if command == "Backup":
                session = self.session(name)
                # What is wrong with the task counts; if nothing is, what is wrong with the session.
                cause: Any = task if outcome in SESSION_OUTCOMES[1:] else session
                self._backup(session, cause, began if self.backup_time == "run" else None)
                if cause.outcome in ("hang", "severe"):
                    return
                if cause.outcome in ("error", "refuse-http"):
                    last, broken = failed, True
                    break
                backups -= 1
            elif outcome == "error-after-backup" and not backups:
                break
            else:
                self.sleep(self.step_seconds)
                if command.startswith("wait:"):
                    message = ("IWNR2220I", name, command[len("wait:") :])
            with self.lock:
                task.messages = [*task.messages, self.message(*message)]
            if task.is_cancelled:
                last, broken = ("IWNR0013E", task.name), True
                break
        if outcome in ("error", "error-after-backup"):
            last, broken = failed, True  # of the last step, where none could fail as wanted
        with self.lock:
            if not (task.is_cancelled and self.dialect.cancelled == "cut"):
                task.messages = [*task.messages, self.message(*last)]
            task.running = False
        follower = task.runtaskonfailure if broken else task.runtaskonsuccess
        if follower:
            self.start_run(follower)

    def cancel_run(self, task_id: str, active: bool) -> Answer:
        """End a run after the step that is at work."""
        found = [task for task in self.tasks if str(task.id) == task_id]
        name = found[0].name if found else task_id
        if not active:
            return Answer(self.message("IWNR0007E"), self.dialect.standby)
        if not found or not found[0].running:
            return Answer(self.message("IWNR0006E", name), 404)
        found[0].is_cancelled = True
        return Answer(self.message("IWNR0014I", name))

    # Logging in.

    def log_in(self, form: Dict[str, str], server: int) -> Optional[str]:
        """A new token, or None: refused."""
        given = form.get("username"), form.get("password")
        if self.login != "ok" or given != (self.user, self.password):
            return None
        token = secrets.token_hex(24)
        until = time.time() + TOKEN_SECONDS
        self.tokens[token] = {"until": until, "server": server, "left": self.token_requests}
        return token

    def known(self, token: Optional[str], server: int) -> bool:
        """Whether a token is good for one request more."""
        with self.lock:
            entry = self.tokens.get(token or "")
            if not entry or time.time() > entry["until"] or entry["left"] == 0:
                return False
            if entry["server"] != server and not self.shared_tokens:
                return False
            if entry["left"] is not None:
                entry["left"] -= 1
            return True

    def known_cookie(self, cookie: str) -> bool:
        """It has expired with its token."""
        return cookie in self.tokens and self.tokens[cookie]["left"] != 0

    def expire_tokens(self) -> None:
        """All of them, now."""
        self.tokens.clear()


def later(seconds: float, action: Callable[[], Any]) -> None:
    """Do it in a thread, at once or after a time."""
    timer = threading.Timer(seconds, action) if seconds else threading.Thread(target=action)
    timer.daemon = True
    timer.start()
