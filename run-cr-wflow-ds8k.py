#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have an immutable backup taken of an IBM DS8000's volumes; say "done" only once it is proven.

It has IBM Copy Services Manager (CSM) run one scheduled task with all of its steps (some suspend a
mirror, and start it again), or sends Backup to one Safeguarded Copy session, and watches until CSM
shows a new, valid backup. It never expires, recovers or deletes a backup, changes a task or a
session, starts a second run blindly, or (but for --insecure) sends the password to a server that
is not trusted.

exit codes:
  0 a new valid backup is there (or: --no-wait accepted; --check, --list, --min-interval fine)
  1 internal error, a bug: look in CSM        2 the command line or the password file is wrong
  3 no CSM server reachable, or not trusted   4 login refused
  5 name not found, ambiguous, no backup      6 CSM refused: nothing was started
  7 started, and failed                       8 outcome unknown: look in CSM
  130, 143 interrupted, terminated: the text says how far it was
"""
import argparse, base64, email.utils, enum, fcntl, hashlib, json, os, re
import signal, socket, ssl, sys, threading, time, traceback, warnings
from collections import Counter
from contextlib import contextmanager, suppress
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple
from urllib.parse import quote, quote_plus

try:
    with warnings.catch_warnings():  # that the two do not fit, though they work: -q is silent
        warnings.simplefilter("ignore")
        import requests, urllib3
except ImportError as missing:
    print(f"run-cr-wflow-ds8k: nothing was started: the module {missing.name} is missing for "
          f"{sys.executable} (Python {sys.version.split()[0]}); see the README", file=sys.stderr)
    sys.exit(2)

VERSION = "1.0.0"
# CSM's REST API, as IBM's own clients and documentation show it:
SESSIONS, TASKS, TOKENS = "/sessions/", "/sessions/scheduledtasks", "/system/v1/tokens"
MESSAGE_ID = re.compile(r"[A-Z]{3,5}\d{3,5}[A-Z]\b|")  # its last letter is the severity
FINE = ("", "I", "W")  # any other severity is an error; "": a text without an id
FINISHED, COMPLETED = "IWNR2212I", "IWNR1026I"  # a task has, a command to a session has
SAFEGUARDED = "safeguarded copy"  # in the session type, rulesname
BUSY = ("running", "approval")  # the states of a task that runs or waits
# Our own choices, in seconds:
FIRST_CONTACT = 30.0       # how long a server that never let us in, or has refused, is tried
GRACE, SETTLE = 60.0, 5.0  # for a late or not yet valid backup; for a late message
SKEW = 60.0                # by which the clocks of CSM and storage may differ
RECHECK = 30.0             # how often a pair is asked which server is active
HIDDEN = 3.0               # for a run that somebody else has just begun
LONGEST_RUN = 1800.0       # so old may be the backup of a run that is joined
LONGEST_PAUSE = 15.0       # between two polls, or two tries
BEGUN = {"no": "nothing was started",
         "perhaps": "it is not known whether the run has started: look in CSM before another run",
         "yes": "CSM goes on with what was started: look in CSM before another run"}

class ExitCode(enum.IntEnum):
    OK, INTERNAL, USAGE, UNREACHABLE, LOGIN, NOT_FOUND, REFUSED, FAILED, UNKNOWN = range(9)
    INTERRUPTED, TERMINATED = 130, 143

class Problem(Exception): code, hint = ExitCode.INTERNAL, ""
class UsageError(Problem): code, hint = ExitCode.USAGE, "see --help"
class NotFound(Problem): code, hint = ExitCode.NOT_FOUND, "--list shows the names"
class Refused(Problem): code, hint = ExitCode.REFUSED, "see what CSM says"  # nothing was started
class BackupFailed(Problem):
    code, hint = ExitCode.FAILED, "look at the sessions in CSM: a mirror may be left suspended"
class OutcomeUnknown(Problem): code = ExitCode.UNKNOWN  # of the run, or of a command
# These are tried again: the request was a read, or was not processed. Firm: it will hardly pass.
class Unreachable(Problem):
    code, hint, firm = ExitCode.UNREACHABLE, "check address, port and network", False
class WrongServer(Unreachable): hint, firm = "check address, port and trust options", True
class LoginRefused(Unreachable): code, hint, firm = ExitCode.LOGIN, "check user and password", True
class Denied(Unreachable): code, hint, firm = ExitCode.REFUSED, "see what CSM says", True
class Standby(Denied): firm = False  # of a pair: the other one may just be taking over
# What reading an odd reply raises:
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
Parse = Callable[[Any], Any]  # of the JSON of an answer

# Times are epoch seconds, 0 where CSM does not tell. A message is a text that begins with its id.
Task = NamedTuple("Task", [("id", int), ("name", str), ("state", str), ("last_ran", float),
                           ("sessions", List[str]), ("messages", List[str])])
Backup = NamedTuple("Backup", [("id", str), ("time", str), ("valid", bool), ("copy_sets", str),
                               ("seconds", float)])
Session = NamedTuple("Session", [  # kind: rulesname; failed: Severe or haserror; date: of the reply
    ("name", str), ("status", str), ("state", str),
    ("backup", Optional[Backup]),  # the newest; once it runs, the newest of the new ones
    ("kind", str), ("failed", bool), ("date", float), ("backups", List[Backup]),
    ("whole", bool),    # all of its backups could be read, and there are some
    ("new_after", float)])  # only a backup of a later time is a new one

def need(good: Any, problem: Exception) -> None:
    if not good:
        raise problem

def text_of(value: Any) -> str:
    return str(value) if isinstance(value, (str, int, float)) else ""

def truth(value: Any) -> bool:
    return text_of(value).lower() == "true"  # a boolean may come as a string

def number(value: Any) -> float:
    """A number that may come as a string, a time in ms -> seconds; 0 for what is none."""
    with suppress(ValueError):
        result = float(text_of(value))
        return result if abs(result) < 1e11 else result / 1000 if 0 < result < 1e14 else 0.0
    return 0.0

def rows(value: Any) -> List[Dict[str, Any]]:
    """The objects of a list; an empty one for what is none."""
    found = value if isinstance(value, list) else []
    return [each if isinstance(each, dict) else {} for each in found]

def named(data: Any) -> List[Dict[str, Any]]:
    found = [each for each in rows(data) if isinstance(each.get("name"), str)]
    need(found or data == [], ValueError("no list of things with names"))
    return found

def message_id(message: str) -> str:
    return MESSAGE_ID.match(message).group()  # type: ignore[union-attr]  # matches always

def show_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)) if seconds > 0 else "never"

def printable(text: str) -> str:  # nothing in it acts on a terminal or splits a log line
    return "".join(each for each in text if each.isprintable() or each in "\u00a0\u3000")

def environment(name: str) -> str:  # whatever the locale is
    return os.environb.get(name.encode(), b"").decode("utf-8", "replace")

def best(backups: List[Backup]) -> Optional[Backup]:
    return max(backups, key=lambda each: (each.valid, each.seconds), default=None)

def new_backup(now: Session, before: Session, since: float) -> Optional[Backup]:
    """The newest backup of those that came after all that there was `before`, or, of a run that was
    joined, not before its start, `since`."""
    known = [each.id for each in before.backups]
    return best([each for each in now.backups if each.seconds >= since
                 or (each.id not in known and each.seconds > before.new_after)])

@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound something as a whole, by the SIGALRM that main() set up: requests bounds each read."""
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again and again: one can get lost
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

class Csm:
    """The client: sends requests, rides out what may pass, and reads what CSM shows."""
    def __init__(self, args: argparse.Namespace, report: "Report") -> None:
        self.args, self.report, self.servers = args, report, args.servers  # the first is in use
        self.deadline, self.token = report.began + args.timeout, ""
        self.checked = 0.0  # when a server last let us in, and was not a standby; 0: none ever did
        self.what, self.date = "", 0.0  # request and answer in a line; its Date
        self.ahead = float("inf")  # CSM's clock less time.monotonic(), by its earliest Date
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy, .netrc or CA bundle from the environment
        self.http.verify = args.ca_file or not (args.insecure or args.fingerprint)
        self.http.headers.update({"Accept-Language": "en-US",
                                  "Content-Type": "application/x-www-form-urlencoded"})
        for server, pin in zip(self.servers, 2 * args.fingerprint):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 1, assert_fingerprint=pin, ssl_context=(  # without CAs
                urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_NONE)))
            self.http.mount(f"https://{server}/", adapter)

    def _send(self, method: str, path: str, form: Any, lost: Any) -> Any:
        """The one way to a server."""
        limit = max(min(self.args.request_timeout, self.deadline - time.monotonic()), 0.01)
        self.what = f"{self.servers[0]}: {method} {path}"
        try:  # of several addresses a dead one must leave time for the next: half the limit
            with time_limit(limit):
                answer = self.http.request(
                    method, f"https://{self.servers[0]}/CSM/web{path}", data=form,
                    headers={"X-Auth-Token": self.token or None}, allow_redirects=False,
                    timeout=(limit / 2, limit))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            self.report.log("DEBUG", f"{self.what}: no answer")
            raise self._failure(error, lost) from None
        seconds = answer.elapsed.total_seconds()
        self.report.log("DEBUG", f"{self.what}: {answer.status_code}, {seconds:.2f} s")
        return answer

    def _call(self, method: str, path: str, form: Any = None) -> Any:
        """A request -> the JSON of its answer. Without a usable one it is not known whether a
        command was processed."""
        command = method == "POST" and path != TOKENS
        lost = OutcomeUnknown if command else Unreachable
        answer, data, self.date = self._send(method, path, form, lost), None, 0.0
        with suppress(ValueError, RecursionError):  # int() of 1e6 digits takes minutes
            data = json.loads(answer.content.decode("utf-8-sig", "replace"),
                              parse_int=lambda digits: int(digits[:25]))
        with suppress(*ODD):
            self.date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
            self.ahead = min(self.ahead, self.date - time.monotonic())
        token = text_of(data.get("token")) if path == TOKENS and isinstance(data, dict) else ""
        if re.search("[!-~]", token):
            self.report.secrets.append(token)  # though it may not be accepted
        # A text that is all of the answer to a log-in may be the token.
        message = self.message(data if path != TOKENS or isinstance(data, dict) else None)
        code, severity = answer.status_code, message_id(message)[-1:]
        self.what += f" answered {code} " + (
            "empty" if not answer.content else "no JSON" if data is None else message or "no text")
        if command and severity:
            self.report.message = message
        need(command or code // 100 != 3, WrongServer(f"{self.what}: a redirect"))
        need(path != TOKENS or code not in (404, 405), Unreachable(f"{self.what}: no CSM server"))
        # Without JSON some refusals are clear, a 404 is not: CSM may just be starting.
        clear = data is not None or path == TOKENS or code in (400, 401, 403, 405, 409)
        need(clear and code // 100 in (2, 4) and code not in (408, 429), lost(self.what))
        if code >= 400 or severity not in FINE:
            again = not command or code in (401, 403)  # not processed: log in, and try again
            problem = (LoginRefused if path == TOKENS else Denied if again else Refused)(self.what)
            if isinstance(problem, Refused) and len(self.servers) > 1 and not self._check_active():
                problem = Denied(str(problem))  # perhaps a standby, and the other server does it
            if isinstance(problem, Denied):
                problem.firm = code != 401  # that is a token which was lost, once more
            raise problem
        need(not command or severity == "I", lost(self.what))
        return data

    def _failure(self, error: Any, lost: Any) -> Any:
        """What an error means. What a server sent in place of HTTP may echo a secret: not shown."""
        server, shown, errors = self.servers[0], "which could not be read", urllib3.exceptions
        cause = getattr(error.args[0] if error.args else None, "reason", None) or error
        match = re.search(r"certificate verify failed(: [^()]*[\w'])?|Fingerprints did not match|"
                          "hostname .{,200} doesn't match", str(error))
        if isinstance(cause, (errors.NewConnectionError, errors.ConnectTimeoutError)):
            reason = str(cause.args[-1]).rpartition(": ")[2].partition(" (connect")[0]
            return Unreachable(f"{server} cannot be reached: {reason}")
        if not match or not isinstance(error, requests.exceptions.SSLError):
            while cause.args and isinstance(cause.args[-1], Exception):
                cause = cause.args[-1]
            reason = getattr(cause, "reason", None) or type(cause).__name__
            return lost(f"{self.what} got no answer: {reason}")
        host, _, port = server.rpartition(":")
        left = self.deadline - time.monotonic()
        with suppress(OSError, ValueError), time_limit(max(min(5, left), 0.01)):
            pem = ssl.get_server_certificate((host.strip("[]"), int(port)))
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
            shown = ":".join(re.findall("..", digest))
        return WrongServer(f"{server} is not trusted and was sent no credential ({match.group()}). "
                           "If CSM's administrator confirms the SHA-256 fingerprint of its "
                           f"certificate, {shown}, give it with --fingerprint; or its CA with "
                           "--ca-file")

    def _log_in(self) -> None:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        self.token = ""
        data = self._call("POST", TOKENS, {"username": self.args.csm_user,
                                           "password": self.args.csm_user_passwd})
        token = text_of(data.get("token")) if isinstance(data, dict) else ""
        need(re.match(r"[!-~]+\Z", token), LoginRefused(f"{self.what}: no token"))
        self.token = token
        if len(self.servers) > 1 or self.args.check:
            self._check_active()
        self.checked, self.report.server = time.monotonic(), self.servers[0]

    def _check_active(self) -> bool:
        """GET /system/ha -> does it say that it is active? If that it is not: Standby, Denied."""
        role = "not told"
        with suppress(*ODD, Unreachable):  # a doubt is no reason to take no backup
            role = str(self._call("GET", "/system/ha").get("islocalactive")).lower()
        if self.args.check:
            self.report.log("INFO", f"HA: is this server active: {role}; {self.what}")
        need(role != "false", (Standby if len(self.servers) > 1 else Denied)(
            f"{self.servers[0]} is the standby server, which runs no commands"))
        return role == "true"

    def _try(self, method: str, path: str, parse: Parse, form: Any) -> Any:
        if not self.token or (  # of a pair, the active server may change unnoticed
                len(self.servers) > 1 and time.monotonic() > self.checked + RECHECK):
            self._log_in()
        data = self._call(method, path, form)
        try:
            return parse(data)
        except ODD as odd:
            lost = OutcomeUnknown if method == "POST" else Unreachable
            raise lost(f"{self.what}: odd reply: {odd}") from None

    def ask(self, method: str, paths: List[str], parse: Parse, form: Any = None) -> Any:
        """-> what `parse` makes of the answer. Tries servers and paths in turn, until the deadline;
        before the trigger, gives up where all said twice what is firm, or keep us out for 30 s; a
        command, where it was denied twice."""
        began, pause, enough = time.monotonic(), 0.25, 2 * len(self.servers)
        faults: List[Unreachable] = []
        denials = 0
        while True:
            try:
                return self._try(method, paths[0], parse, form)
            except Unreachable as fault:
                faults, now = (faults + [fault])[-enough:], time.monotonic()
            self.token = ""  # another server may be active; HTML may be a log-in page
            all_firm = all(each.firm for each in faults) and not (
                self.checked and faults[-1].code == ExitCode.LOGIN)
            kept_out = not self.checked or all(isinstance(each, Denied) for each in faults)
            hopeless = self.report.started == "no" and len(faults) == enough and (
                all_firm or kept_out and now > began + FIRST_CONTACT)
            denials += method == "POST" and type(faults[-1]) is Denied
            if hopeless or denials > 1 or now + 0.5 > self.deadline:
                worst = max(faults, key=lambda each: (each.code == ExitCode.LOGIN, each.code))
                told = {str(each).partition(" [")[0]: str(each) for each in faults}  # [time]
                raise (Refused if denials > 1 else type(worst))("; ".join(told.values()))
            self.report.log("WARNING", f"{faults[-1]}; trying again")
            if paths[0] in self.what:  # and not the log-in
                paths.append(paths.pop(0))
            self.servers.append(self.servers.pop(0))
            pause = min(2 * pause, LONGEST_PAUSE)
            time.sleep(min(pause, (self.deadline - now) / 2))

    def text(self, value: Any) -> str:
        """A text of CSM's without the secrets that it may echo, and not too long."""
        text = printable(text_of(value).strip())
        head, text = message_id(text), text[len(message_id(text)):]
        for secret in map(printable, self.report.secrets):
            for spelt in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelt, "***")
        return head + text[:400]

    def message(self, data: Any) -> str:
        """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
        found = data if isinstance(data, dict) else {"resultText": data}
        text = text_of(found.get("msgTranslated") or found.get("resultText")).strip()
        name = text_of(found.get("msg")).strip()
        return self.text(text if text.startswith(name) else f"{name} {text}")

    def task(self, data: Any) -> Task:
        """sessions: of the steps Backup, else all; messages: "", and the last ones (6.3.2: one)."""
        messages = [data["lastmessage"]] if data.get("lastmessage") else data.get("messages") or []
        sessions = [text_of(each.get("sessionName")) for each in rows(data.get("actions"))
                    if text_of(each.get("command")).strip().lower() == "backup"]
        if not data.get("actions"):
            sessions = [text_of(each) for each in data.get("affectedSession") or []]
        flags = {"pendingApproval": "approval", "running": "running", "enabled": "enabled"}
        states = [word for flag, word in flags.items() if truth(data.get(flag))] + ["disabled"]
        task_id = number(data["id"])
        need(0 < task_id == int(task_id), ValueError("a task without an id"))
        return Task(int(task_id), data["name"] + "", states[0], number(data.get("lastRan")),
                    sessions, [""] + [self.message(each) for each in messages[-50:]])

    def backup(self, data: Dict[str, Any]) -> Optional[Backup]:
        """An entry of BackupResults, None for what is none. Its id is its time in seconds."""
        name, seconds = text_of(data.get("backupID")), number(data.get("backupID"))
        seconds = seconds if seconds > 1e9 else number(data.get("timestamp"))
        return Backup(name or f"{seconds:.0f}", self.text(data.get("backupTime"))
                      or show_time(seconds), truth(data.get("valid")),
                      self.text(data.get("numCopySets")) or "?", seconds) if seconds > 0 else None

    def read_session(self, data: Any, name: str) -> Session:
        need(data["name"] == name, ValueError("not the session that was asked for"))
        found = [self.backup(each) for sequence in rows(data.get("backupInfo"))
                 for key in sequence if key.lower() == "backupresults"
                 for each in rows(sequence[key])]
        backups, status = [each for each in found if each], text_of(data.get("status"))
        # Our own clock may be wrong, and a single Date far ahead would hide each new backup.
        date = self.ahead + time.monotonic() if self.date else time.time()
        return Session(
            name=name, status=self.text(status), state=self.text(data.get("state")),
            kind=text_of(data.get("rulesname")), date=self.date, backup=best(backups),
            failed=status.lower() == "severe" or truth(data.get("haserror")), backups=backups,
            # Not after a backup of a clock that ran ahead: no later one would pass for new.
            whole=bool(found) and all(found), new_after=max([date - SKEW] + [
                each.seconds for each in backups if each.seconds <= date + SKEW]))

    def session(self, name: str) -> Any:
        return self.ask("GET", [session_path(name)], lambda data: self.read_session(data, name))

    def look_at(self, wanted: Task, paths: List[str]) -> Any:
        """The same task as CSM shows it now. Older servers have only the list."""
        def read(data: Any) -> Task:
            found = named(data) if isinstance(data, list) else [data]
            task = {task.id: task for task in map(self.task, [
                each for each in found if each["name"] == wanted.name])}[wanted.id]
            need(task.messages[1:] or not wanted.messages[1:], ValueError("its message is missing"))
            return task
        return self.ask("GET", paths, read)

def session_path(name: str) -> str:
    return SESSIONS + quote(name, safe="", errors="replace")

def closest(name: str, names: List[str]) -> str:
    import difflib  # only a mistake needs it
    lower = {each.lower(): f'"{each}"' for each in names}
    near = difflib.get_close_matches(name.lower(), lower, 3, 0.4)
    return "the closest: " + (", ".join(lower[each] for each in near) or "none")

def find_session(csm: Csm, name: str, others: List[str]) -> Any:
    """How a server says that a session is not there is not known: where it does not simply show
    it, the list tells. `others`: the tasks among which the name was looked for in vain."""
    def read(data: Any) -> Optional[Session]:
        if not isinstance(data, list):
            return csm.read_session(data, name)
        names = [each["name"] for each in named(data)]
        if name not in names:
            raise NotFound(f'{csm.servers[0]} shows no {"task and no " if others else ""}session '
                           f'"{name}"; ' + closest(name, names + others))
        return None
    paths = [session_path(name), SESSIONS + "short"]
    return csm.ask("GET", paths[::-1] if others else paths, read) or csm.session(name)

def find(csm: Csm, task_name: str, session_name: str) -> Tuple[Optional[Task], List[Session]]:
    """The target, and what CSM shows of it before the trigger. Raises NotFound, Refused."""
    def read(data: Any) -> Tuple[List[str], List[Task]]:
        tasks = [csm.task(each) for each in named(data) if each["name"] == task_name]
        return [each["name"] for each in named(data)], list(
            {each.id: each for each in tasks}.values())  # one that is listed twice is one
    names, tasks = csm.ask("GET", [TASKS], read) if task_name else ([], [])
    title, ids = f'task "{task_name}" on {csm.servers[0]}', [each.id for each in tasks]
    need(len(ids) < 2, NotFound(f"{title} is there {len(ids)} times, with the ids {ids}"))
    if task_name and session_name and not tasks:
        raise NotFound(f"{title} is not there; {closest(task_name, names)}")
    wanted = tasks[0].sessions if tasks and not session_name else [session_name or task_name]
    found = [find_session(csm, each, [] if tasks else names) for each in dict.fromkeys(wanted)]
    # A list of backups that was empty, or odd, may be whole the next time.
    found = [each if each.whole else csm.session(each.name) for each in found]
    backed_up = [each for each in found if SAFEGUARDED in (each.kind or SAFEGUARDED).lower()]
    kinds = [f'session "{each.name}" is of the type {csm.text(each.kind)}' for each in found]
    need(backed_up, NotFound("nothing would be backed up: " + (
        ", ".join(kinds) or f"{title} has no step Backup")))
    need(not tasks or tasks[0].state != "approval", Refused(f"{title} waits for approval"))
    return tasks[0] if tasks else None, backed_up

class Run:
    """One run, from the trigger to the verdict."""
    def __init__(self, csm: Csm, old: Optional[Task], noted: List[Session]) -> None:
        self.csm, self.report = csm, csm.report
        self.old, self.noted = old, noted  # as they were before
        # A list with all messages is long: the single task is asked for, where there is such a
        # path. Else the list once more, since a single task may be shown in another form.
        self.paths = [f"{TASKS}/{old.id}", TASKS] if old and old.messages[2:] else [TASKS]
        self.joined = bool(old and old.state == "running")  # somebody else started it
        self.begun = self.joined    # it has, as the task's flag and lastRan tell
        self.moved = False          # its last message is not the one noted before
        self.errors: List[str] = []  # that were not there before
        self.doubt = ""             # why it is not known whether it runs
        self.triggers, self.waited, self.over_at = 0, 0.0, float("inf")

    def trigger(self) -> None:
        """Send it. Where it got no answer, or is refused, CSM's state tells whether a run is there,
        and report.started is not "yes" until then."""
        path, form = (f"{TASKS}/{self.old.id}", None) if self.old else (
            session_path(self.noted[0].name), {"cmd": "Backup"})
        self.triggers, self.doubt = self.triggers + 1, ""
        before, self.report.started = self.report.started, "perhaps"
        try:
            reply = self.csm.ask("POST", [path], self.csm.message, form)
            self.report.started = "yes"
            self.report.log("INFO", f"started: {reply}")
        except OutcomeUnknown as error:
            self.csm.token, self.doubt = "", f": {error}"  # of a pair, another may be active now
            self.report.log("WARNING", f"{error}; looking whether it arrived")
        except (Unreachable, Refused) as error:  # this one was not processed
            self.report.started, self.doubt = before, f": {error}"
            if self.triggers == 1:
                self.join(error)

    def join(self, refusal: Problem) -> None:
        """Was it refused since somebody else has just started it? If not, raises the refusal."""
        need(isinstance(refusal, Refused), refusal)
        self.report.log("WARNING", f"{refusal}; looking whether there is a run all the same")
        csm, deadline, now = self.csm, self.csm.deadline, time.monotonic()
        csm.deadline = min(deadline, now + FIRST_CONTACT)
        time.sleep(min(HIDDEN, (csm.deadline - now) / 2))
        with suppress(Unreachable):
            self.joined = self.look()
        need(self.joined, refusal)
        csm.deadline, self.report.started = deadline, "yes"
        need(self.old, BackupFailed(f"{refusal}; and yet there is a new backup"))

    def look(self) -> bool:
        """Have CSM's state told to the report -> has a run begun since it was noted?"""
        since, old, report = float("inf"), self.old, self.report
        if old:
            task = self.csm.look_at(old, self.paths)
            report.tasks, last = [task], task.messages[-1]
            self.begun = self.begun or task.state == "running" or task.last_ran > old.last_ran
            self.moved = self.moved or last != old.messages[-1]
            self.errors = self.errors or [
                each for each in Counter(task.messages) - Counter(old.messages)
                if message_id(each)[-1:] not in FINE]
            if self.moved and message_id(last):
                report.message = last
            start = max(old.last_ran, task.last_ran)
            if self.joined and task.state != "running" and (
                    start > (0 if old.state == "running" else old.last_ran)):
                # Only at its end a run's start is told for sure, and perhaps not even then.
                since = max(start, self.noted[0].date - LONGEST_RUN) // 1
        now = [self.csm.session(each.name) for each in self.noted]
        report.sessions = [each._replace(backup=new_backup(each, before, since))
                           for each, before in zip(now, self.noted)]
        seen = any(each.backup for each in report.sessions)
        return self.begun or seen and (self.moved or not old)

    def follow(self) -> None:
        """Look until the backup is proven. A trigger that got no answer goes out once more, and
        only after a look that found no trace of it when one request timeout had passed."""
        args, report = self.csm.args, self.report
        if self.joined:
            report.started = "yes"
        else:
            self.trigger()
        if self.joined:
            report.log("INFO", "somebody else has started it: that run is joined")
        began = time.monotonic()
        while not args.no_wait or report.started != "yes":
            left = self.csm.deadline - time.monotonic() - 0.5
            need(left > 0, OutcomeUnknown("the deadline has passed" + self.doubt))
            time.sleep(min(max(1.0, 0.05 * self.waited), LONGEST_PAUSE, left))
            self.waited = time.monotonic() - began
            if self.look():
                report.started, self.doubt = "yes", ""
            elif report.started != "yes" and self.triggers < 2 and (
                    self.waited >= args.request_timeout):
                self.trigger()
                continue  # what was seen before it says nothing of it
            report.show(self.waited)
            if report.started == "yes" and self.proven():
                return

    def proven(self) -> bool:
        """Is the backup? Raises BackupFailed, OutcomeUnknown."""
        report, last = self.report, self.report.message
        over = message_id(last) == COMPLETED
        if self.old:  # its flag, lastRan and message may change in any order
            task, last = report.tasks[0], report.tasks[0].messages[-1]
            over = task.state not in BUSY and (
                self.begun or self.moved or any(each.backup for each in report.sessions))
            if over and message_id(last):
                report.message = last
        self.over_at = min(self.over_at, self.waited) if over else float("inf")
        age = self.waited - self.over_at  # minus infinity while it runs
        for before, now in zip(self.noted, report.sessions):
            need(before.failed or not now.failed, BackupFailed(
                f'session "{now.name}" turned Severe or haserror'))
        backed_up = all(each.backup and each.backup.valid for each in report.sessions)
        need(backed_up or age < GRACE, BackupFailed("the run ended without a new valid backup"))
        if not self.old:
            return backed_up
        severity, finished = message_id(last)[-1:], message_id(last) == FINISHED
        own, wait = self.moved and not self.joined, GRACE  # it may be a step's, or an old one
        if own and finished:
            wait = 0.0
        elif finished or own and severity != "I":
            wait = SETTLE
        if age >= 0 and self.errors or age >= wait and severity not in ("", "I"):
            report.message = (self.errors + [last])[0]
            raise BackupFailed("the run ended with an error or a warning")
        need(severity or age < GRACE, OutcomeUnknown("how it ended is not told"))
        return backed_up and age >= wait and severity == "I"

def show_backup(backup: Optional[Backup], none: str) -> str:
    return (f"backup {backup.id} of {backup.time}, copy sets {backup.copy_sets}, "
            f'{"valid" if backup.valid else "NOT VALID"}') if backup else none

class Report:
    """What is known of the run, and the two streams."""
    def __init__(self, event: List[str]) -> None:
        self.args = argparse.Namespace(quiet=False, verbose=False, json=False, leef=None)
        self.began, self.said, self.shown = time.monotonic(), 0.0, ""
        self.target = self.server = self.message = ""  # what was found; HOST:PORT; CSM's last one
        self.event = list(map(printable, event))
        self.rule_id, self.rule_name = map(printable, map(environment, ("RULE_ID", "RULE_NAME")))
        self.secrets: List[str] = []          # password and tokens
        self.started = "no"
        self.tasks: List[Task] = []
        self.sessions: List[Session] = []

    def write(self, name: str, *lines: str, end: str = "\n") -> None:
        """The one place that prints. What cannot be written stops nothing."""
        try:
            stream = getattr(sys, name)
            encoding = stream.encoding or "ascii"
            text = "\n".join(map(printable, lines)).encode(encoding, "backslashreplace")
            stream.write(text.decode(encoding) + end)
            stream.flush()
        except (AttributeError, OSError, ValueError):
            setattr(sys, name, None)  # lest Python's own flush at the end changes the exit code

    def log(self, level: str, text: str) -> None:
        """A line on stderr; on a terminal, one of level LIVE stays until the next one comes."""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        if self.args.quiet or level == "DEBUG" and not self.args.verbose:
            return
        if terminal:
            self.write("stderr", end="\r\x1b[K")
        if level != "LIVE":
            self.write("stderr", f"{show_time(time.time())} {level} {text}")
        elif terminal:
            self.write("stderr", text[:79], end="")

    def title(self) -> str:  # of a pair, the server may change
        return f"{self.target} on {self.server}" if self.target else ""

    def show(self, waited: float) -> None:
        """The state, at each change and each minute, on a terminal at each look."""
        text = self.state()
        if text != self.shown or waited >= self.said + 60:
            self.shown, self.said = text, waited
            self.log("INFO", text)
        self.log("LIVE", f"{waited:.0f} s: {text}")

    def state(self) -> str:
        """The task where it runs or waits, the sessions, and CSM's last message."""
        told = [f"task {each.state}" for each in self.tasks if each.state in BUSY]
        told += [f'session "{each.name}" ({each.status}): '
                 + show_backup(each.backup, "no new backup") for each in self.sessions]
        return "; ".join(told + [self.message] * bool(self.message))

    def table(self) -> List[str]:
        """Lines of at most 80 columns with names of 60, none of them cut: they are to be copied."""
        lines = []
        for task in self.tasks:
            lines += [f"task {task.name}", f"    {task.state}, last run {show_time(task.last_ran)}"]
            lines += [f"    backs up {name}" for name in task.sessions]
        for each in self.sessions:
            lines += [f"session {each.name}", f"    {each.status}, {each.state}, newest backup:",
                      "    " + show_backup(each.backup, "none")]
        return lines

    def conclude(self, outcome: str, code: ExitCode, text: str, hint: str) -> int:
        """Print the result, and send it where --leef says."""
        if code:
            outcome = code.name.lower().replace("_", "-")
            parts = [self.title(), text, self.state() if self.started != "no" else "",
                     BEGUN[self.started] if code != ExitCode.FAILED else "", hint]
            text = "; ".join(filter(None, parts))
        told = {  # as the README has it
            "version": VERSION, "exit_code": int(code), "outcome": outcome, "server": self.server,
            "message": printable(text), "started": self.started, "event": self.event,
            "tasks": [dict(zip(Task._fields[:5], each)) for each in self.tasks],  # no messages
            "sessions": [dict(zip(Session._fields[:3], each), backup=each.backup
                              and each.backup._asdict()) for each in self.sessions],
            "csm_message": {"id": message_id(self.message), "text": self.message},
            "seconds": round(time.monotonic() - self.began, 1),
            "rule_id": self.rule_id, "rule_name": self.rule_name}
        if self.args.leef and code != ExitCode.USAGE:
            self.send(leef(told))
        self.log("LIVE", "")
        event = " ".join(self.event)[:200]
        line = f"{outcome}: {text}" + (f" (event: {event})" if event else "")
        if self.args.json and code != ExitCode.USAGE:
            self.write("stdout", json.dumps(told))
        elif not code and not self.args.quiet:
            self.write("stdout", *(self.table() if outcome in ("listed", "checked") else []), line)
        if code:
            self.write("stderr", "run-cr-wflow-ds8k: " + line)
        return int(code)

    def send(self, packet: bytes) -> None:
        """In a thread, since a name may take long to be resolved: 2 s at the most."""
        sent: List[bool] = []
        host, _, port = self.args.leef.rpartition(":")
        def deliver() -> None:
            with suppress(OSError, ValueError):
                found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM)[0]
                with socket.socket(*found[:2]) as sender:
                    sent.append(sender.sendto(packet, found[4]) > 0)
        with suppress(RuntimeError):  # no more threads can be had
            thread = threading.Thread(target=deliver, daemon=True)
            thread.start()
            thread.join(2)
        if not sent:
            self.log("WARNING", f"no LEEF event was sent to {host}")

def leef(told: Dict[str, Any]) -> bytes:
    """A LEEF 2.0 event in a syslog packet. LEEF has no escapes: its separators are replaced."""
    host, sessions = re.sub("[^A-Za-z0-9_.-]", "", socket.gethostname()), told["sessions"]
    packet = (f'<{131 if told["exit_code"] else 133}>{time.strftime("%b %e %H:%M:%S")} '
              f'{host or "localhost"} LEEF:2.0|run-cr-wflow-ds8k|run-cr-wflow-ds8k|{VERSION}|'
              f'{told["outcome"]}|^|')
    for key, value in (  # what there is no room for is cut: hence this order
            ("devTime", int(time.time() * 1000)), ("sev", 9 if told["exit_code"] else 3),
            ("cat", told["outcome"]), ("exitCode", told["exit_code"]),
            ("started", told["started"]), ("msgId", told["csm_message"]["id"]),
            ("server", told["server"]),
            ("backups", ",".join(each["backup"]["id"] for each in sessions if each["backup"])),
            ("task", ",".join(each["name"] for each in told["tasks"])),
            ("ruleId", told["rule_id"]), ("sessions", ",".join(each["name"] for each in sessions)),
            ("msg", told["csm_message"]["text"] or told["message"]),
            ("ruleName", told["rule_name"]), ("event", " ".join(told["event"]))):
        room = max(0, 1022 - len(packet.encode()) - len(key))  # of 1,024 bytes: RFC 3164
        text = re.sub("[|^]", "_", printable(str(value))).encode("utf-8", "replace")
        packet += f'{key}={text[:room].decode("utf-8", "ignore")}^' if room else ""
    return packet[:-1].encode()

class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # quotes no value: it may be the password
        raise UsageError(re.sub("(?s)'.*'|\".*\"|(?<=unrecognized arguments: ).*", "...", message))

def build_parser() -> Parser:
    parser = Parser("run-cr-wflow-ds8k.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="-- EVENT ...: what caused this, to be recorded with the result")
    add, secret, trust, mode = parser.add_argument, *(
        parser.add_mutually_exclusive_group().add_argument for _ in range(3))
    add("-s", "--csm_server", required=True, help="HOST or HOST:PORT; of a pair: A,B")
    add("-P", "--csm_port", default="9559", help="where -s has none: %(default)s")
    add("-u", "--csm_user", help="else CSM_USER in the environment, else a prompt")
    secret("-p", "--csm_user_passwd", help="else CSM_USER_PASSWD, else a prompt")
    secret("--password-file", metavar="FILE", help="its one line; -: standard input")
    add("--base64", action="store_true", help="-u and -p hold Base64")
    add("-t", "--csm_task", help="task to run; where none has this name, the session")
    add("-S", "--csm_session", help="session to back up; with -t: where the backup must appear")
    trust("--ca-file", metavar="PEM", help="trust this CA")
    trust("--fingerprint", metavar="SHA256", help="trust this certificate")
    trust("--insecure", action="store_true", help="trust anything")
    mode("--check", action="store_true", help="do everything but the trigger")
    mode("--list", action="store_true", help="show tasks and Safeguarded Copy sessions")
    mode("--no-wait", action="store_true", help="end once CSM has accepted the trigger")
    add("--min-interval", metavar="MINUTES", type=float,
        help="trigger nothing where there is a younger valid backup")
    add("--timeout", metavar="SECONDS", type=float, default=1800.0, help="in all, %(default)g")
    add("--request-timeout", metavar="SECONDS", type=float, default=30.0, help="%(default)g")
    add("--leef", metavar="HOST[:PORT]", help="send the result as a LEEF event (syslog, UDP)")
    add("--json", action="store_true", help="print the result as JSON")
    add("-q", "--quiet", action="store_true", help="print nothing where it ends with 0")
    add("-v", "--verbose", action="store_true", help="show each request")
    add("--version", action="version", version=VERSION)
    return parser

def address(text: str, port: str, option: str) -> str:
    match = re.match(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?:(\d{1,5})\Z",
                     f"{text.strip()}:{port}", re.ASCII)  # requests would rewrite another name
    host, number = (match.group(1), int(match.group(2) or match.group(3))) if match else ("", 0)
    need(0 < number < 65536, UsageError(
        f"{option}: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)"))
    return f"{host}:{number}"

def credential(name: str, args: argparse.Namespace, report: Report) -> str:
    given, secret, file = getattr(args, name), name == "csm_user_passwd", args.password_file
    if given is not None:
        return base64.b64decode(given, validate=True).decode().rstrip("\n") if (
            args.base64) else str(given)
    if secret and file is not None:
        file = 0 if file == "-" else file.encode()
        if file and os.stat(file).st_mode & 0o077:
            report.log("WARNING", "others can read the password file: chmod 600 it")
        with open(file, encoding="utf-8-sig") as lines:
            return lines.read(65536).rstrip("\n")
    if name.upper() in os.environ or not (sys.stdin and sys.stdin.isatty()):
        return environment(name.upper())
    if secret:
        import getpass  # only a terminal needs it
        return getpass.getpass("CSM password: ")
    report.write("stderr", "CSM user: ", end="")
    return sys.stdin.readline().rstrip("\n")

def complete(args: argparse.Namespace, report: Report) -> None:
    """Get user and password, and check what argparse did not, before anything is sent."""
    names = [each for each in (args.csm_task, args.csm_session) if each is not None]
    need(all(map(str.strip, names)) and (names or args.list), UsageError(
        "--csm_task or --csm_session is missing or blank"))
    limits = (args.timeout, args.request_timeout, args.min_interval)
    need(all(each is None or 0 < each <= 86400 for each in limits), UsageError(
        "--timeout, --request-timeout, --min-interval: not above 0 and up to 86400"))
    address("any", args.csm_port, "-P")
    args.servers = [address(each, args.csm_port, "-s") for each in args.csm_server.split(",")]
    need(len(args.servers) < 3, UsageError("-s: more than the two servers of a pair"))
    args.leef = None if args.leef is None else address(args.leef, "514", "--leef")
    args.fingerprint = [] if args.fingerprint is None else (
        re.sub("[: ]", "", args.fingerprint.lower()).split(","))
    need(len(args.fingerprint) in (0, 1, len(args.servers)) and all(
        re.match(r"[0-9a-f]{64}\Z", each) for each in args.fingerprint), UsageError(
        "--fingerprint: not the 64 hexadecimal digits of a SHA-256 (of a pair, two such)"))
    try:
        with time_limit(args.timeout):  # a file may be a pipe
            if args.ca_file is not None:
                args.ca_file = os.fsdecode(args.ca_file.encode())
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(args.ca_file)
            for name in ("csm_user", "csm_user_passwd"):
                setattr(args, name, credential(name, args, report))
                need(re.match(r"(?!\s*\Z).+\Z", getattr(args, name)), ValueError())
    except OSError as error:
        raise UsageError(f"--ca-file or --password-file: {error.strerror or error}") from None
    except (ValueError, EOFError):  # they would show the value
        raise UsageError(f"--{name} is missing, blank or not a line of text"
                         + (" in Base64" if args.base64 else "")) from None
    report.secrets.append(args.csm_user_passwd)
    report.server = args.servers[0]

def run(args: argparse.Namespace, report: Report) -> Tuple[str, str]:
    if args.insecure:
        report.log("WARNING", "--insecure: whoever answers is given the password")
    csm = Csm(args, report)
    if args.list:
        report.tasks = csm.ask("GET", [TASKS], lambda data: list(map(csm.task, named(data))))
        report.sessions = [
            csm.session(each["name"]) for each in csm.ask("GET", [SESSIONS + "short"], named)
            if SAFEGUARDED in text_of(each.get("rulesname")).lower()]
        return "listed", (f"{len(report.tasks)} tasks, {len(report.sessions)} Safeguarded Copy "
                          f"sessions on {csm.servers[0]}")
    if args.min_interval and not args.check:  # one run of this host at a time looks and triggers
        with suppress(OSError), time_limit(min(args.request_timeout, args.timeout / 4)):
            args.lock = open(__file__, "rb")
            fcntl.flock(args.lock, fcntl.LOCK_EX)
    try:
        task, sessions = find(csm, args.csm_task or "", args.csm_session or "")
        need(task or not args.csm_task, NotFound())  # a session may bear the task's name
    except NotFound:  # a server that has just started may not show all at once
        time.sleep(1)
        task, sessions = find(csm, args.csm_task or "", args.csm_session or "")
    report.target = (
        f'task "{task.name}" (id {task.id})' if task else f'session "{sessions[0].name}"')
    report.log("INFO", report.title())
    report.tasks, report.sessions = [task] if task else [], sessions
    if args.check:
        return "checked", f"{report.title()} is ready: nothing was started"
    ages = [each.date - each.backup.seconds if each.date and each.backup and each.backup.valid
            else 1e9 for each in sessions]
    if args.min_interval and -SKEW <= min(ages) and max(ages) < args.min_interval * 60:
        return "skipped", (f"{report.title()}: nothing was started: its newest valid backup is "
                           f"{max(ages) / 60:.0f} minutes old")
    report.sessions = [each._replace(backup=None) for each in sessions]
    this = Run(csm, task, sessions)
    this.follow()
    return "accepted" if args.no_wait else "verified", (
        f'{report.title()}, {"a run that was joined, " if this.joined else ""}after '
        f"{time.monotonic() - report.began:.0f} s: {report.state()}")

def on_signal(signum: int, frame: Any) -> None:
    while frame:
        if frame.f_globals.get("__name__") in ("queue", "threading"):
            return  # a lock of urllib3's pool would stay locked, for ever. An alarm comes again
        frame = frame.f_back
    if signum == signal.SIGALRM:
        raise socket.timeout("no complete answer in time")
    listen(ignore)  # impatience is one signal; SIG_IGN would race with a pending one
    raise KeyboardInterrupt(signum)

def ignore(signum: int, frame: Any) -> None:
    pass

def listen(handler: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(each) is not signal.SIG_IGN:  # a parent's wish: as a script's "&"
            signal.signal(each, handler)

def main(argv: Optional[List[str]] = None) -> int:
    """The one place that catches, prints and turns an exception into an exit code."""
    argv = [os.fsencode(each).decode("utf-8", "replace")  # whatever the locale is
            for each in (sys.argv[1:] if argv is None else argv)]
    at = argv.index("--") if "--" in argv else len(argv)
    report, outcome, code, hint = Report(argv[at + 1:]), "", ExitCode.OK, Problem.hint
    try:
        try:
            signal.signal(signal.SIGALRM, on_signal)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])  # if a parent blocked it
            listen(on_signal)
            warnings.simplefilter("ignore")  # of libraries: stderr has our own lines alone
            report.args = build_parser().parse_args(argv[:at])
            complete(report.args, report)
            outcome, text = run(report.args, report)
        finally:
            listen(ignore)  # the report is not to be interrupted
            signal.signal(signal.SIGALRM, ignore)
    except SystemExit:  # --help, --version
        return 0
    except Problem as problem:
        code, text, hint = problem.code, str(problem), problem.hint
        if report.started != "no" and code < ExitCode.FAILED:
            code, hint = ExitCode.UNKNOWN, Problem.hint
    except KeyboardInterrupt as stop:
        code, text = ExitCode(128 + stop.args[0]), "stopped by a signal"
    except Exception as error:  # a bug; a traceback could show what is secret
        places = [f"{os.path.basename(each.filename)}:{each.lineno}"
                  for each in traceback.extract_tb(error.__traceback__)]
        code, text = ExitCode.INTERNAL, f'{type(error).__name__} in {" > ".join(places)}'
    return report.conclude(outcome, code, text, hint)

if __name__ == "__main__":
    result = main()
    listen(signal.SIG_IGN)  # the interpreter's end is not to be interrupted
    sys.exit(result)
