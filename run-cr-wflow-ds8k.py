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
  7 started and failed     8 unknown: look in CSM           130, 143 interrupted, terminated
"""
import argparse, base64, collections, difflib, email.utils, enum, fcntl, getpass, hashlib, json
import os, re, signal, socket, ssl, sys, threading, time, traceback
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple
from urllib.parse import quote, quote_plus
try: import requests, urllib3
except ImportError as missing:
    sys.stderr.write(f"run-cr-wflow-ds8k: nothing was started: the module {missing.name} is missing"
                     f" for {sys.executable} (Python {sys.version.split()[0]}): see the README\n")
    sys.exit(2)

VERSION = "1.0.0"
# CSM's REST API, as IBM's own clients and documentation show it:
SESSIONS, TASKS, TOKENS = "/sessions/", "/sessions/scheduledtasks", "/system/v1/tokens"
MESSAGE_ID = re.compile(r"[A-Z]{3,5}\d{3,5}[A-Z]\b|")  # last letter: severity; not I, W: an error
FINISHED, COMPLETED = "IWNR2212I", "IWNR1026I"  # a task has, a command to a session has
BUSY = ("running", "approval")  # the states of a task that runs or waits
SAFEGUARDED = "safeguarded copy"  # in the session type, rulesname
# Our own choices, in seconds:
FIRST_CONTACT = 30.0       # how long a server that never let us in is tried
GRACE, SETTLE = 60.0, 5.0  # for a late backup or message; where it has finished, or was refused
SKEW, LONGEST_RUN = 60.0, 1800.0  # of the clocks of CSM and storage; of a run that is joined
LONGEST_PAUSE = 15.0       # between two polls, or two tries
BEGUN = {"no": "nothing was started", "yes": "CSM goes on with what was started: look there first",
         "perhaps": "it is not known whether it was started: look in CSM before another run"}
class ExitCode(enum.IntEnum):
    OK, INTERNAL, USAGE, UNREACHABLE, LOGIN, NOT_FOUND, REFUSED, FAILED, UNKNOWN = range(9)
    INTERRUPTED, TERMINATED = 130, 143
class Problem(Exception): code, hint = ExitCode.INTERNAL, ""
class UsageError(Problem): code, hint = ExitCode.USAGE, "see --help"
class NotFound(Problem): code, hint = ExitCode.NOT_FOUND, "--list shows the names"
class Refused(Problem): code, hint = ExitCode.REFUSED, "see what CSM says"
class BackupFailed(Problem): code, hint = ExitCode.FAILED, "look in CSM: a mirror may be suspended"
class OutcomeUnknown(Problem): code = ExitCode.UNKNOWN  # of the run, or of a command
# These are tried again: a read, or a command that was not processed. Firm: it will hardly pass.
class Unreachable(Problem): code, hint, firm = ExitCode.UNREACHABLE, "check address, network", False
class WrongServer(Unreachable): hint, firm = "check address; --fingerprint once confirmed", True
class LoginRefused(Unreachable): code, hint, firm = ExitCode.LOGIN, "check user and password", True
class Denied(Unreachable): code, hint, firm = ExitCode.REFUSED, "see what CSM says", True
class NotNow(Denied): firm = False  # a standby, or a token that is lost
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)  # of an odd reply
# Times are epoch seconds, 0 where CSM does not tell. A message is a text that begins with its id.
Task = NamedTuple("Task", [("id", int), ("name", str), ("state", str), ("last_ran", float),
                           ("sessions", List[str]), ("messages", List[str])])
Backup = NamedTuple("Backup", [("id", str), ("time", str), ("valid", bool), ("copy_sets", str),
                               ("seconds", float)])
Session = NamedTuple("Session", [  # backup: the newest; once it runs, the newest of the new ones
    ("name", str), ("status", str), ("state", str), ("backup", Optional[Backup]), ("kind", str),
    ("failed", bool), ("date", float), ("backups", List[Backup])])  # date: of the reply
# Small readers of JSON values ("", False, [], 0 where they are none), and how things are shown:
def text_of(value: Any) -> str: return str(value) if isinstance(value, (str, int, float)) else ""
def truth(value: Any) -> bool: return text_of(value).lower() == "true"
def rows(value: Any) -> List[Dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
def number(value: Any) -> float:  # it may come as a string, and a time in ms; 0 for what is none
    result = float(value) if re.match(r"-?\d{1,13}(\.\d+)?\Z", text_of(value)) else 0.0
    return result if result < 1e11 else result / 1000
def message_id(message: str) -> str:
    return MESSAGE_ID.match(message).group()  # type: ignore[union-attr]  # matches always
def severity(message: str) -> str: return message_id(message)[-1:]
def session_path(name: str) -> str: return SESSIONS + quote(name, safe="", errors="replace")
def utf8(text: str) -> str: return os.fsencode(text).decode("utf-8", "replace")  # in any locale
def environment(name: str) -> str: return utf8(os.environ.get(name, ""))
def printable(text: str) -> str:  # nothing in it acts on a terminal or splits a log line
    return "".join(each for each in text if each.isprintable() or each in "\u00a0\u3000")
def show_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)) if seconds > 0 else "never"
def show_backup(backup: Optional[Backup], none: str) -> str:
    return (f"backup {backup.id} of {backup.time}, copy sets {backup.copy_sets}, "
            f'{"valid" if backup.valid else "NOT VALID"}') if backup else none
def best(backups: List[Backup]) -> Optional[Backup]:
    return max(backups, key=lambda each: (each.valid, each.seconds), default=None)

@contextmanager
def time_limit(seconds: float) -> Iterator[None]:  # of it all: requests bounds each read alone
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again and again: one can get lost
    try: yield
    finally: signal.setitimer(signal.ITIMER_REAL, 0)

class Csm:
    """The client: sends requests, rides out what may pass, and reads what CSM shows."""
    def __init__(self, args: argparse.Namespace, report: "Report") -> None:
        self.args, self.report, self.servers = args, report, args.servers  # the first is in use
        self.deadline, self.token = report.began + args.timeout, ""
        self.welcome, self.known, self.paths = False, {}, [TASKS]  # type: bool, Dict[str, str], Any
        self.what, self.date = "", 0.0  # request and answer in a line; the answer's Date
        self.http = requests.Session()
        self.http.trust_env = False  # no proxy, .netrc or CA bundle from the environment
        self.http.verify = os.fsdecode(args.ca_file or b"") or not (args.insecure or args.pins)
        self.http.headers["Accept-Language"] = "en-US"
        for server, pin in zip(self.servers, 2 * args.pins):
            adapter, util = requests.adapters.HTTPAdapter(), urllib3.util.ssl_
            context = util.create_urllib3_context(cert_reqs=ssl.CERT_NONE)  # loads no CAs
            adapter.init_poolmanager(1, 1, assert_fingerprint=pin.strip(), ssl_context=context)
            self.http.mount(f"https://{server}/", adapter)

    def _failure(self, error: Any, lost: Any) -> Any:
        """What an error means. What a server sent in place of HTTP may echo a secret: not shown."""
        server, inner, errors = self.servers[0], error, urllib3.exceptions
        while inner.__context__: inner = inner.__context__
        reason = getattr(inner, "strerror", None) or (  # str: a file of CAs that is not there
            str(inner) if type(inner) is OSError else type(inner).__name__)
        unsent = isinstance(getattr((error.args or [""])[0], "reason", None), (
            errors.NewConnectionError, errors.ConnectTimeoutError))
        match = re.search("certificate v[^()]*[^() ]|Fingerprints[^.]*|doesn't match", str(error))
        if not match or not isinstance(error, requests.exceptions.SSLError):
            return (Unreachable if unsent else lost)(f"{self.what} got no answer: {reason}")
        (host, _, port), shown = server.rpartition(":"), "could not be read"
        with suppress(OSError, ValueError), time_limit(2):
            der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host.strip("[]"), port)))
            shown = ":".join("%02X" % each for each in hashlib.sha256(der).digest())
        return WrongServer(f"{server} is not trusted and was sent no credential ({match.group()}); "
                           f"SHA-256 fingerprint of its certificate, to be confirmed: {shown}")

    def _call(self, method: str, path: str, form: Any = None) -> Any:
        """The one way to a server: a request -> the JSON of its answer."""
        login, command = path == TOKENS, method == "POST" and path != TOKENS
        lost = OutcomeUnknown if command else Unreachable  # where it may have been processed
        limit = max(min(self.args.request_timeout, self.deadline - time.monotonic()), 0.01)
        self.what, data, self.date = f"{self.servers[0]}: {method} {path}", None, 0.0
        try:  # of several addresses a dead one must leave time for the next: half the limit
            with time_limit(limit):
                answer = self.http.request(
                    method, f"https://{self.servers[0]}/CSM/web{path}", data=form,
                    headers={"X-Auth-Token": self.token or None}, allow_redirects=False,
                    timeout=(limit / 2, limit))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise self._failure(error, lost) from None
        self.report.log("DEBUG", f"{self.what}: {answer.status_code} after {answer.elapsed}")
        with suppress(ValueError, RecursionError):  # int() of 1e6 digits takes minutes
            data = json.loads(answer.content.decode("utf-8-sig", "replace"), parse_int=str)
        with suppress(*ODD):
            self.date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
        message, code = self.message(data if isinstance(data, dict) else {}), answer.status_code
        self.what += f' answered {code} {"no JSON" if data is None else message or "no text"}'
        if command and severity(message): self.report.message = message
        if code // 100 == 3 and not command: raise WrongServer(f"{self.what}: a redirect")
        if code in (400, 401, 403, 405, 409) or severity(message) not in "IW" and code < 500:
            if login: raise LoginRefused(self.what)
            if command and code not in (401, 403): raise Refused(self.what)
            raise (NotNow if code == 401 and not command else Denied)(self.what)
        if code // 100 != 2 or data is None and not login or command and severity(message) != "I":
            raise lost(self.what)
        return data

    def _log_in(self) -> None:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        form = {"username": self.args.csm_user, "password": self.args.csm_user_passwd}
        data = self._call("POST", TOKENS, form)
        self.token = text_of(data.get("token")) if isinstance(data, dict) else ""
        if not re.match(r"[!-~]+\Z", self.token): raise LoginRefused(f"{self.what}: no token")
        self.report.secrets.append(self.token)
        if len(self.servers) > 1 or self.args.check:
            active = None
            with suppress(*ODD, Unreachable):  # a doubt is no reason to take no backup
                active = self._call("GET", "/system/ha").get("islocalactive")
            if text_of(active).lower() == "false": raise NotNow(f"{self.servers[0]} is a standby")
        self.welcome, self.report.server = True, self.servers[0]

    def ask(self, method: str, paths: List[str], parse: Any, form: Any = None) -> Any:
        """-> what `parse` makes of the answer. Tries servers, then paths, while there is hope."""
        began, pause, said = time.monotonic(), 0.25, 0  # said: how often what is firm
        told: Dict[str, str] = {}  # by each server
        while True:
            try:
                if not self.token: self._log_in()
                data = self._call(method, paths[0], form)
                try: return parse(data)
                except ODD as odd: raise Unreachable(f"{self.what}: odd reply: {odd}") from None
            except Unreachable as error:
                fault, told[self.servers[0]], said = error, str(error), said + error.firm
            self.token, now = "", time.monotonic()  # HTML may be a log-in page
            if paths[0] in self.what: paths.append(paths.pop(0))
            over = said >= 2 or not self.welcome and now > began + FIRST_CONTACT  # ever let in?
            over = over and (method == "POST" or self.report.started == "no")
            if over or now + 0.5 > self.deadline: raise type(fault)("; ".join(told.values()))
            self.report.log("WARNING", f"{fault}; trying again")
            self.servers.append(self.servers.pop(0))
            pause = min(2 * pause, LONGEST_PAUSE)
            time.sleep(min(pause, (self.deadline - now) / 2))

    def message(self, data: Any) -> str:
        """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
        found = data if isinstance(data, dict) else {"resultText": data}
        text = text_of(found.get("msgTranslated") or found.get("resultText")).strip()
        name = text_of(found.get("msg")).strip()
        return self.text(text if text.startswith(name) else f"{name} {text}")

    def text(self, value: Any) -> str:  # without the secrets that it may echo, and not too long
        text = printable(text_of(value).strip())
        head = message_id(text)
        for secret in self.report.secrets: text = head + text[len(head):].replace(secret, "***")
        return text[:400]

    def named(self, data: Any) -> List[Dict[str, Any]]:  # tasks, or sessions
        found = [each for each in rows(data) if isinstance(each.get("name"), str)]
        if not found and data != []: raise ValueError("no list of things with names")
        self.known.update({each["name"].lower(): f'"{each["name"]}"' for each in found})
        return found

    def missing(self, kind: str, name: str) -> NotFound:
        near = difflib.get_close_matches(name.lower(), self.known, 3, 0.4)
        closest = ", ".join(map(self.known.__getitem__, near)) or "none"
        return NotFound(f'{self.servers[0]} shows no {kind} "{name}"; the closest: {closest}')

    def tasks(self, name: Optional[str] = None) -> Any:  # those of that name, or all
        return self.ask("GET", self.paths, lambda data: [
            self.task(each) for each in self.named(data) if name in (None, each["name"])])

    def task(self, data: Any) -> Task:
        """sessions: of the steps Backup, else all; messages: "", and the last ones (6.3.2: one)."""
        messages = [data["lastmessage"]] if data.get("lastmessage") else data.get("messages") or []
        steps, sessions = rows(data.get("actions")), data.get("affectedSession") or []
        if steps: sessions = [each.get("sessionName") for each in steps
                              if text_of(each.get("command")).strip().lower() == "backup"]
        flags = {"pendingApproval": "approval", "running": "running", "enabled": "enabled"}
        states = [word for flag, word in flags.items() if truth(data.get(flag))] + ["disabled"]
        if not 1 <= number(data["id"]) < 1e8: raise ValueError("a task without an id")
        if f"{TASKS}/" in self.what and not messages: raise ValueError("a task without a message")
        return Task(int(number(data["id"])), data["name"], states[0], number(data.get("lastRan")),
                    list(map(text_of, sessions)), [""] + list(map(self.message, messages[-50:])))

    def session(self, name: str) -> Any:  # as CSM shows it now. Raises NotFound
        def read(data: Any) -> Session:
            if every + " " in self.what and name not in [row["name"] for row in self.named(data)]:
                raise self.missing("task or " * (name == self.args.csm_task) + "session", name)
            if isinstance(data, list) or data["name"] != name: raise ValueError("not that session")
            backups = [self.backup(each) for sequence in rows(data.get("backupInfo"))
                       for key in sequence if key.lower() == "backupresults"
                       for each in rows(sequence[key])]
            status, state, kind = map(text_of, map(data.get, ("status", "state", "rulesname")))
            failed = status.lower() == "severe" or truth(data.get("haserror"))
            status, state = self.text(status), self.text(state)
            return Session(name, status, state, best(backups), kind, failed, self.date, backups)
        every = SESSIONS + "short"  # before the trigger, that tells whether it is there
        return self.ask("GET", [session_path(name)] + [every] * (self.report.started == "no"), read)

    def backup(self, row: Dict[str, Any]) -> Backup:
        """An entry of BackupResults. Its id is its time in seconds."""
        name, seconds = text_of(row.get("backupID")), number(row.get("backupID"))
        seconds = seconds if seconds > 1e9 else number(row.get("timestamp"))
        shown = self.text(row.get("backupTime")) or show_time(seconds)
        return Backup(name or f"{seconds:.0f}", shown, truth(row.get("valid")),
                      self.text(row.get("numCopySets")) or "?", seconds)

def find(csm: Csm, task_name: str, session_name: str) -> Tuple[Optional[Task], List[Session]]:
    """The target, and what CSM shows of it before the trigger. Raises NotFound, Refused."""
    tasks, title = csm.tasks(task_name) if task_name else [], f'task "{task_name}"'
    if task_name and not tasks: tasks = csm.tasks(task_name)  # a session may bear that name, too
    ids = sorted({each.id for each in tasks})
    if ids[1:]: raise NotFound(f"{title} is there {len(ids)} times, with the ids {ids}")
    if tasks and tasks[0].state == "approval": raise Refused(f"{title} waits for approval")
    if session_name and task_name and not tasks: raise csm.missing("task", task_name)
    wanted = tasks[0].sessions if tasks and not session_name else [session_name or task_name]
    found = [csm.session(each) for each in dict.fromkeys(wanted)]
    backed_up = [each for each in found if not each.kind or SAFEGUARDED in each.kind.lower()]
    if not backed_up:
        kinds = [f'session "{each.name}" is of the type {csm.text(each.kind)}' for each in found]
        raise NotFound("nothing would be backed up: " + (", ".join(kinds) or f"no step of {title}"))
    return tasks[0] if tasks else None, backed_up

class Run:
    """One run, from the trigger to the verdict."""
    def __init__(self, csm: Csm, old: Optional[Task], noted: List[Session]) -> None:
        self.csm, self.report, self.old, self.noted = csm, csm.report, old, noted  # as before it
        self.joined = self.begun = bool(old and old.state == "running")  # somebody else started it
        self.moved, self.errors, self.doubt = False, [], None  # type: bool, List[str], Any
        self.triggers, self.waited, self.over_at = 0, 0.0, float("inf")
        if old and old.messages[2:]: csm.paths = [f"{TASKS}/{old.id}", TASKS]  # the list is long
        self.since = noted[0].date - LONGEST_RUN if self.joined else float("inf")

    def trigger(self) -> None:
        """Send it. report.started tells what that came to: where in doubt, CSM's state decides."""
        path, form = (f"{TASKS}/{self.old.id}", None) if self.old else (
            session_path(self.noted[0].name), {"cmd": "Backup"})
        report, before, self.triggers = self.report, self.report.started, self.triggers + 1
        report.started = "perhaps"
        try:
            report.log("INFO", "started: " + self.csm.ask("POST", [path], self.csm.message, form))
            report.started = "yes"
        except (OutcomeUnknown, Unreachable, Refused) as error:
            if not isinstance(error, OutcomeUnknown): report.started = before  # not processed
            if isinstance(error, Unreachable) and not isinstance(error, Denied): raise
            self.csm.token, self.doubt = "", error  # of a pair, another may be active now
            report.log("WARNING", f"{error}; looking whether there is a run all the same")

    def look(self) -> bool:
        """Have CSM's state told to the report -> has a run begun since it was noted?"""
        since, report, old = self.since, self.report, self.old  # type: float, Report, Any
        report.tasks = [one for one in self.csm.tasks(old.name) if one.id == old.id] if old else []
        for task in report.tasks:
            last = task.messages[-1]
            self.begun = self.begun or task.state == "running" or task.last_ran > old.last_ran
            self.moved = self.moved or last != old.messages[-1]
            new = collections.Counter(task.messages) - collections.Counter(old.messages)
            self.errors += [each for each in new if severity(each) not in "IW"]
            if self.moved and message_id(last): report.message = last
            since = max(since, task.last_ran // 1 or float("inf"))
        now = [self.csm.session(each.name) for each in self.noted]
        report.sessions = [each._replace(backup=best([  # an old one may be listed late
            new for new in each.backups if new.seconds >= since or new.seconds > before.date - SKEW
            and new.id not in [known.id for known in before.backups]]))
            for each, before in zip(now, self.noted)]
        seen = any(each.backup for each in report.sessions)
        return self.begun or seen and (self.moved or not old)

    def follow(self) -> bool:
        """Look until the backup is proven -> is the run somebody else's?"""
        args, report, again = self.csm.args, self.report, self.csm.args.request_timeout
        if self.joined: report.started = "yes"
        else: self.trigger()
        began = time.monotonic()
        while not args.no_wait or report.started != "yes":
            left = self.csm.deadline - time.monotonic() - 0.5
            if report.started == "no" and (left <= 0 or self.waited >= SETTLE): raise self.doubt
            doubt = self.doubt if report.started == "perhaps" else "no end is shown"
            if left <= 0: raise OutcomeUnknown(f"the deadline has passed: {doubt}")
            time.sleep(min(max(1.0, 0.05 * self.waited), LONGEST_PAUSE, left))
            self.waited = time.monotonic() - began
            if self.look():
                self.joined, report.started = self.joined or report.started == "no", "yes"
                if self.joined and not self.old: raise BackupFailed(f"{self.doubt}; yet it ran")
            elif report.started == "perhaps" and self.triggers < 2 and self.waited >= again:
                self.trigger()  # since there is no trace of the first one; never a third time
                continue  # what was seen before it says nothing of it
            report.show(self.waited)
            if report.started == "yes" and (report.tasks or not self.old) and self.proven(): break
        return self.joined

    def proven(self) -> bool:  # is the backup? Raises BackupFailed
        report, last = self.report, self.report.message
        over = message_id(last) == COMPLETED
        if self.old:  # its flag, lastRan and message may change in any order
            task, last = report.tasks[0], report.tasks[0].messages[-1]
            over = task.state not in BUSY and (
                self.begun or self.moved or any(each.backup for each in report.sessions))
        self.over_at = min(self.over_at, self.waited) if over else float("inf")
        age = self.waited - self.over_at  # minus infinity while it runs
        for before, now in zip(self.noted, report.sessions):
            if now.failed > before.failed: raise BackupFailed(f'session "{now.name}" turned Severe')
        backed_up = all(each.backup and each.backup.valid for each in report.sessions)
        if age >= GRACE and not backed_up: raise BackupFailed("it ended without a new valid backup")
        if not self.old: return backed_up
        wait = GRACE  # the last message may be a step's
        if message_id(last) == FINISHED: wait = 0.0 if self.moved and not self.joined else SETTLE
        if age >= 0 and self.errors or age >= wait and severity(last) != "I":
            report.message = (self.errors + [last])[0]
            raise BackupFailed("the run ended with an error or a warning, or without a message")
        return backed_up and age >= wait

class Report:
    """What is known of the run, and the two streams."""
    def __init__(self, event: List[str]) -> None:
        self.args = argparse.Namespace(quiet=False, verbose=False, json=False, leef=None)
        self.began, self.said, self.shown, self.started = time.monotonic(), 0.0, "", "no"
        self.target = self.server = self.message = ""  # what was found; HOST:PORT; CSM's last one
        self.event, self.secrets = list(map(printable, event)), []  # type: List[str], List[str]
        self.tasks, self.sessions = [], []  # type: List[Task], List[Session]
        self.clear = "\r\x1b[K" if sys.stderr and sys.stderr.isatty() else ""

    def write(self, name: str, text: str, end: str = "\n") -> None:
        """The one place that prints; without an `end`, on a terminal alone, until the next line."""
        try:
            stream = getattr(sys, name)
            encoding, clear = stream.encoding or "ascii", self.clear * stream.isatty()
            text = printable(text).encode(encoding, "backslashreplace").decode(encoding)
            if end or clear: print(clear + text, end=end, file=stream, flush=True)
        except (AttributeError, OSError, ValueError):  # that stops nothing
            setattr(sys, name, None)  # lest Python's own flush at the end changes the exit code

    def log(self, level: str, text: str) -> None:
        if not self.args.quiet and (level != "DEBUG" or self.args.verbose):
            self.write("stderr", f"{show_time(time.time())} {level} {text}")

    def show(self, waited: float) -> None:  # at a change, each minute; on a terminal each time
        text = self.state()
        if text != self.shown or waited >= self.said + 60:
            self.shown, self.said = text, waited
            self.log("INFO", text)
        if not self.args.quiet: self.write("stderr", f"{waited:.0f} s: {text}"[:79], "")

    def state(self) -> str:  # the task where it runs or waits, the sessions, CSM's last message
        told = [f"task {each.state}" for each in self.tasks if each.state in BUSY]
        told += [f'session "{each.name}" ({each.status}): '
                 + show_backup(each.backup, "no new backup") for each in self.sessions]
        return "; ".join(filter(None, told + [self.message]))

    def table(self) -> List[str]:  # of 80 columns, with names of 60: they are cut nowhere
        lines = []
        for task in self.tasks:
            lines += [f"task {task.name}", f"    {task.state}, last run {show_time(task.last_ran)}"]
            lines += [f"    backs up {name}" for name in task.sessions]
        for each in self.sessions:
            lines += [f"session {each.name}", f"    {each.status}, {each.state}, newest backup:",
                      "    " + show_backup(each.backup, "none")]
        return lines

    def conclude(self, outcome: str, code: ExitCode, text: str, hint: str) -> int:
        """Print the result, and send it where --leef says; that is not to be interrupted."""
        for signum in (signal.SIGINT, signal.SIGTERM): signal.signal(signum, signal.SIG_IGN)
        outcome = code.name.lower().replace("_", "-") if code else outcome
        parts = [f"{self.target} on {self.server}" if self.target else "", text,
                 self.state() if self.started != "no" else "",
                 BEGUN[self.started] if code not in (ExitCode.OK, ExitCode.FAILED) else "", hint]
        text = printable("; ".join(filter(None, parts)))
        told = {  # as the README has it; in LEEF, what there is no room for is cut: hence the order
            "outcome": outcome, "exit_code": int(code), "started": self.started,
            "csm_id": message_id(self.message), "server": self.server,
            "backups": [each.backup.id for each in self.sessions if each.backup],
            "rule_id": printable(environment("RULE_ID")), "version": VERSION,
            "tasks": [dict(zip(Task._fields[:5], each)) for each in self.tasks],  # no messages
            "sessions": [dict(zip(Session._fields[:3], each), backup=each.backup
                              and each.backup._asdict()) for each in self.sessions],
            "seconds": round(time.monotonic() - self.began, 1), "csm_text": self.message,
            "message": text, "rule_name": printable(environment("RULE_NAME")), "event": self.event}
        if self.args.leef and code != ExitCode.USAGE: self.send(told)
        line = f"{outcome}: {text}" + f' (event: {" ".join(self.event)[:200]})' * bool(self.event)
        lines = [] if code or self.args.quiet else [line]
        if lines and outcome in ("listed", "checked"): lines = self.table() + lines
        if self.args.json and code != ExitCode.USAGE: lines = [json.dumps(told)]
        for each in lines: self.write("stdout", each)
        if code: self.write("stderr", "run-cr-wflow-ds8k: " + line)
        return int(code)

    def send(self, told: Dict[str, Any]) -> None:
        """A LEEF 2.0 event by syslog. LEEF has no escapes: its separators are replaced."""
        priority, level = (131, 9) if told["exit_code"] else (133, 3)  # local0.err, local0.notice
        packet = (f'<{priority}>{time.strftime("%b %e %T")} {utf8(socket.gethostname())} LEEF:2.0|'
                  f'run-cr-wflow-ds8k|run-cr-wflow-ds8k|{VERSION}|{told["outcome"]}|^|').encode()
        first = {"devTime": int(time.time() * 1000), "sev": level, "cat": told["outcome"]}
        for key, value in {**first, **told}.items():
            if isinstance(value, list):
                value = ",".join(each["name"] if isinstance(each, dict) else each for each in value)
            room = max(0, 1022 - len(packet) - len(key))  # of 1,024 bytes: RFC 3164
            text = re.sub("[|^]", "_", printable(str(value))).encode("utf-8", "replace")[:room]
            packet += f'{key}={text.decode("utf-8", "ignore")}^'.encode() if room else b""
        sent: List[int] = []
        to, _, port = self.args.leef.rpartition(":")
        def deliver() -> None:
            with suppress(OSError, ValueError):
                peer = socket.getaddrinfo(to.strip("[]"), port, type=socket.SOCK_DGRAM)[0]
                with socket.socket(*peer[:2]) as udp: sent.append(udp.sendto(packet[:-1], peer[4]))
        with suppress(RuntimeError):  # no thread can be had; a name may take long to be resolved
            thread = threading.Thread(target=deliver, daemon=True)
            thread.start()
            thread.join(2)
        if not sent: self.log("WARNING", f"no LEEF event was sent to {to}")

def address(text: str, port: str) -> str:  # "" for what requests would rewrite, or refuse
    match = re.match(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?:(\d{1,5})\Z",
                     f"{text.strip()}:{port}", re.ASCII)
    chosen = int(match.group(2) or match.group(3)) if match else 0
    return f"{match.group(1)}:{chosen}" if match and 0 < chosen < 65536 else ""
class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # quotes no value: it may be the password
        raise UsageError(re.sub("(?s)'.*'|\".*\"|(?<=unrecognized arguments: ).*", "...", message))
def build_parser() -> Parser:
    parser = Parser("run-cr-wflow-ds8k.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add, secret, trust, mode = parser.add_argument, *(
        parser.add_mutually_exclusive_group().add_argument for _ in range(3))
    add("-s", "--csm_server", required=True, help="HOST or HOST:PORT; of a pair: A,B")
    add("-P", "--csm_port", default="9559", help="where -s has none: %(default)s")
    add("-u", "--csm_user", help="else CSM_USER in the environment, else a prompt")
    secret("-p", "--csm_user_passwd", help="else CSM_USER_PASSWD, else a prompt")
    secret("--password-file", metavar="FILE", type=str.encode, help="its one line; -: stdin")
    add("--base64", action="store_true", help="-u and -p hold Base64")
    add("-t", "--csm_task", help="task to run; where none has this name, the session")
    add("-S", "--csm_session", help="session to back up; with -t: where the backup must appear")
    trust("--ca-file", metavar="PEM", type=str.encode, help="trust this CA")
    trust("--fingerprint", metavar="SHA256", help="trust this certificate; of a pair: A,B")
    trust("--insecure", action="store_true", help="trust anything")
    mode("--check", action="store_true", help="do everything but the trigger")
    mode("--list", action="store_true", help="show tasks and Safeguarded Copy sessions")
    mode("--no-wait", action="store_true", help="end once CSM has accepted the trigger")
    add("--min-interval", metavar="MINUTES", type=float, help="unless there is a younger backup")
    add("--timeout", metavar="SECONDS", type=float, default=1800.0, help="in all, %(default)g")
    add("--request-timeout", metavar="SECONDS", type=float, default=30.0, help="%(default)g")
    add("--leef", metavar="HOST[:PORT]", help="send the result as a LEEF event (syslog, UDP)")
    add("--json", action="store_true", help="print the result as JSON")
    add("-q", "--quiet", action="store_true", help="print nothing where it ends with 0")
    add("-v", "--verbose", action="store_true", help="show each request")
    add("--version", action="version", version=VERSION)
    return parser

def credential(name: str, args: argparse.Namespace, report: Report) -> Any:
    given, secret, file = getattr(args, name), name == "csm_user_passwd", args.password_file
    if args.base64 and given: return base64.b64decode(given, validate=True).decode().rstrip("\n")
    if given is not None: return given
    if secret and file is not None:
        if file != b"-" and os.stat(file).st_mode & 0o077:
            report.log("WARNING", "others can read the password file: chmod 600 it")
        with open(0 if file == b"-" else file, encoding="utf-8-sig") as lines:
            return lines.read(65536).rstrip("\n")
    if name.upper() in os.environ or not (sys.stdin and sys.stdin.isatty()):
        return environment(name.upper())
    if secret: return getpass.getpass("CSM password: ")
    with redirect_stdout(sys.stderr): return input("CSM user: ")

def complete(args: argparse.Namespace, report: Report) -> None:
    """Check what argparse did not, and get user and password, before anything is sent."""
    names = [each for each in (args.csm_task, args.csm_session) if each is not None]
    limits = (args.timeout, args.request_timeout, args.min_interval)
    args.servers = [address(each, args.csm_port) for each in args.csm_server.split(",")]
    args.leef = None if args.leef is None else address(args.leef, "514")
    pins = args.pins = [] if args.fingerprint is None else args.fingerprint.split(",")
    for fine, told in (
            (all(map(str.strip, names)) and (names or args.list), "-t, -S: missing or blank"),
            (all(each is None or 0 < each <= 86400 for each in limits),
             "--timeout, --request-timeout, --min-interval: not above 0 and up to 86400"),
            (all(args.servers + [address("any", args.csm_port), args.leef or args.leef is None]),
             "-s, -P, --leef: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)"),
            (len(args.servers) < 3, "-s: more than the two servers of a pair"),
            (len(pins) in (0, 1, len(args.servers)) and all(
                re.match(r"\s*([0-9A-Fa-f]{2}:?){32}\Z", each) for each in pins),
             "--fingerprint: not the 64 hexadecimal digits of a SHA-256 (of a pair, two such)")):
        if not fine: raise UsageError(told)
    try:
        with time_limit(args.timeout):  # a file may be a pipe
            if args.ca_file is not None: ssl.create_default_context(cafile=args.ca_file or b" ")
            for name in ("csm_user", "csm_user_passwd"):
                setattr(args, name, credential(name, args, report))
                if not re.match(r"(?!\s*\Z)[^\n\ufffd]+\Z", getattr(args, name)): raise ValueError
    except OSError as error:
        raise UsageError(f"--ca-file or --password-file: {error.strerror or error}") from None
    except (ValueError, EOFError, RuntimeError):  # they would show the value
        raise UsageError(f"--{name} is missing, blank or not a line of text (or Base64)") from None
    word, report.server = args.csm_user_passwd, args.servers[0]
    report.secrets += [printable(word).strip() or word, quote(word, safe=""), quote_plus(word)]

def run(args: argparse.Namespace, report: Report) -> Tuple[str, str]:
    """-> outcome word and what happened, where all went well."""
    urllib3.disable_warnings()  # stderr has our own lines alone
    if args.insecure: report.log("WARNING", "--insecure: whoever answers is given the password")
    csm = Csm(args, report)
    if args.list:
        report.tasks, shown = csm.tasks(), csm.ask("GET", [SESSIONS + "short"], csm.named)
        report.sessions = [csm.session(each["name"]) for each in shown
                           if SAFEGUARDED in text_of(each.get("rulesname")).lower()]
        return "listed", f"tasks and Safeguarded Copy sessions on {report.server}"
    if args.min_interval and not args.check:  # one run of this host at a time looks and triggers
        with suppress(OSError), time_limit(min(args.request_timeout, args.timeout / 4)):
            args.lock = open(__file__, "rb")
            fcntl.flock(args.lock, fcntl.LOCK_EX)
    task, found = find(csm, args.csm_task or "", args.csm_session or "")
    report.tasks, report.sessions = [task] if task else [], found
    report.target = f'task "{task.name}" (id {task.id})' if task else f'session "{found[0].name}"'
    report.log("INFO", f"{report.target} on {report.server}")
    if args.check: return "checked", "ready: nothing was started"
    ages = [each.date - each.backup.seconds if each.date and each.backup and each.backup.valid
            else 1e9 for each in found]
    if args.min_interval and -SKEW <= min(ages) and max(ages) < args.min_interval * 60:
        return "skipped", f"nothing was started: there is a backup {max(ages) / 60:.0f} minutes old"
    report.sessions = [each._replace(backup=None, date=each.date or time.time()) for each in found]
    joined = Run(csm, task, report.sessions).follow()
    return "accepted" if args.no_wait else "verified", (
        "a run that was joined, " * joined + f"after {time.monotonic() - report.began:.0f} s")

def on_signal(signum: int, frame: Any) -> None:
    if signum == signal.SIGALRM: raise socket.timeout("timed out")
    for each in (signal.SIGINT, signal.SIGTERM): signal.signal(each, lambda *_: None)  # one will do
    raise KeyboardInterrupt(signum)

def main(argv: Optional[List[str]] = None) -> int:
    """The one place that catches, prints and turns an exception into an exit code."""
    argv = list(map(utf8, sys.argv[1:] if argv is None else argv))
    at = argv.index("--") if "--" in argv else len(argv)
    report, outcome, code, hint = Report(argv[at + 1:]), "", ExitCode.OK, ""
    try:
        signal.signal(signal.SIGALRM, on_signal)
        for each in (signal.SIGINT, signal.SIGTERM):  # but as a parent's "&" wishes
            if signal.getsignal(each) is not signal.SIG_IGN: signal.signal(each, on_signal)
        args = report.args = build_parser().parse_args(argv[:at])
        complete(args, report)
        outcome, text = run(args, report)
    except SystemExit: return 0  # --help, --version
    except Problem as problem:
        code, text, hint = problem.code, str(problem), problem.hint
        if report.started != "no" and code < ExitCode.FAILED: code, hint = ExitCode.UNKNOWN, ""
    except KeyboardInterrupt as stop:
        code, text = ExitCode(128 + stop.args[0]), "stopped by a signal"
    except Exception as error:  # a bug; a traceback could show what is secret
        lines = [each.lineno for each in traceback.extract_tb(error.__traceback__)]
        code, text = ExitCode.INTERNAL, f"{type(error).__name__}, lines {lines}"
    return report.conclude(outcome, code, text, hint)
if __name__ == "__main__": sys.exit(main())
