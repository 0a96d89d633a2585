#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Have an immutable backup taken of an IBM DS8000's volumes; say "done" only once it is proven.

What it does to the storage: it has IBM Copy Services Manager (CSM) run one scheduled task, or
sends the command Backup to one Safeguarded Copy session, and watches until CSM shows a new, valid
backup. A task does all of its steps: some suspend a mirror, and start it again at the end.
What it never does: expire, recover or delete a backup, change a task or a session, send any other
command, start a second run blindly, or send the password to a server that is not trusted.

exit codes:
  0 a new valid backup is there (or: --no-wait accepted; --check, --list, --min-interval fine)
  1 internal error, a bug: look in CSM        2 the command line or the password file is wrong
  3 no CSM server reachable, or not trusted   4 login refused
  5 name not found, ambiguous, no backup      6 CSM refused: nothing was started
  7 started, and failed                       8 outcome unknown: look in CSM
  130, 143 interrupted, terminated: the text says how far it was
"""
import argparse
import base64
import contextlib
import email.utils
import enum
import hashlib
import itertools
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple
from urllib.parse import quote, quote_plus, urlsplit

try:
    import requests
    import urllib3
except ImportError as missing:
    print(f"run-cr-wflow-ds8k: nothing was started: the module {missing.name} is missing for "
          f"{sys.executable} (Python {sys.version.split()[0]}); the README tells how to install it",
          file=sys.stderr)
    sys.exit(2)

VERSION = "1.0.0"
# CSM's REST API, as IBM's own clients and documentation show it:
PORT = 9559                               # 9560 is csmcli's, 9561 the link of a pair
TASKS, SHORT, TOKENS = "/sessions/scheduledtasks", "/sessions/short", "/system/v1/tokens"
MESSAGE_ID = re.compile(r"([A-Z]{3,5}\d{3,5}([A-Z]))\b")  # its last letter is the severity
STARTED, FINISHED = "IWNR2211I", "IWNR2212I"              # a task has
COMPLETED = "IWNR1026I"                   # a command has
SAFEGUARDED = "safeguarded copy"          # in the session type, rulesname
# Our own choices, in seconds where they are times:
FIRST_CONTACT = 30.0                      # how long a server that never let us in is tried
GRACE = 60.0                              # for a backup that is late or not valid yet
SETTLE = 5.0                              # for a run's last message that is late
SKEW, DRIFT = 60.0, 3600.0                # by which clocks may differ where it matters; at all
LONGEST_PAUSE = 15.0                      # between two polls, or two tries
RECHECK = 30.0                            # how often a pair is asked which server is active
ODD = (ValueError, LookupError, TypeError, AttributeError)  # what reading an odd reply raises

class ExitCode(enum.IntEnum):
    OK, INTERNAL, USAGE, UNREACHABLE, LOGIN, NOT_FOUND, REFUSED, FAILED, UNKNOWN = range(9)
    INTERRUPTED, TERMINATED = 130, 143

# What the failure line says of the run, and what to do next.
BEGUN = {"no": "nothing was started", "perhaps": "it is not known whether the run has started",
         "yes": "CSM goes on with what was started"}
NEXT = {ExitCode.USAGE: "see --help", ExitCode.UNREACHABLE: "check address, port and network",
        ExitCode.LOGIN: "check user and password", ExitCode.NOT_FOUND: "--list shows the names",
        ExitCode.REFUSED: "see what CSM says", ExitCode.INTERNAL: "look in CSM; report this bug",
        ExitCode.FAILED: "look at the sessions in CSM: a mirror may be left suspended"}

class Problem(Exception):
    code = ExitCode.INTERNAL
class UsageError(Problem):
    code = ExitCode.USAGE
class Unreachable(Problem):       # not sent, or a read without a usable answer: it may pass
    code = ExitCode.UNREACHABLE
class WrongServer(Unreachable):   # a certificate that is not trusted, a redirect: it hardly passes
    code = ExitCode.UNREACHABLE
class LoginRefused(Unreachable):
    code = ExitCode.LOGIN
class Denied(Unreachable):        # a read is refused, or this server of a pair is the standby
    code = ExitCode.REFUSED
class NotFound(Problem):
    code = ExitCode.NOT_FOUND
class Refused(Problem):           # by CSM, and so it was not started
    code = ExitCode.REFUSED
class BackupFailed(Problem):
    code = ExitCode.FAILED
class OutcomeUnknown(Problem):    # also: a command went out, and nothing tells what became of it
    code = ExitCode.UNKNOWN

# Times are epoch seconds, 0 where CSM does not tell; texts are "" then. Texts are kept as they
# come: Report.write() is the one place that prints, and removes control characters.
Message = NamedTuple("Message", [("id", str), ("severity", str), ("text", str), ("when", float)])
Reply = NamedTuple("Reply", [     # data: the JSON, or None; what: request and answer in a line
    ("status", int), ("data", Any), ("message", Message), ("date", float), ("what", str)])
Task = NamedTuple("Task", [       # state: enabled, disabled, running or approval
    ("id", int), ("name", str), ("state", str), ("last_ran", float),
    ("messages", List[Message]),  # the last ones, or just the last one: from 6.3.2 on
    ("sessions", List[str])])     # of the steps Backup; where no steps are shown, of all
Backup = NamedTuple("Backup", [   # time: as CSM shows it
    ("id", str), ("seconds", float), ("valid", bool), ("time", str), ("copy_sets", str)])
Session = NamedTuple("Session", [  # kind: rulesname; failed: Severe or haserror; date: of the reply
    ("name", str), ("kind", str), ("status", str), ("state", str), ("failed", bool),
    ("date", float), ("known", List[str]), ("floor", float),  # a new backup is newer than these
    ("new", Optional[Backup])])   # since an earlier look; where there was none, the newest one
State = NamedTuple("State", [("task", Optional[Task]), ("sessions", List[Session])])
UNSEEN = Message("", "", "", 0)   # of a trigger whose reply went lost, or somebody else's

def need(good: Any, problem: Exception) -> None:
    if not good:
        raise problem

def text_of(value: Any, length: int = 400) -> str:
    return str(value)[:length] if isinstance(value, (str, int, float)) else ""

def truth(value: Any) -> bool:
    return text_of(value).lower() == "true"  # a boolean may come as a string

def number(value: Any) -> float:
    """A number that may come as a string, a time in ms -> seconds; 0 for what is none."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        result = float(value) if not isinstance(value, bool) else 0.0
        return result / 1000 if 1e11 < result < 1e14 else result if abs(result) < 1e11 else 0.0
    return 0.0

def show_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)) if seconds > 0 else "never"

def read_message(data: Any) -> Message:
    """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
    found = data if isinstance(data, dict) else {"resultText": data}
    text = text_of(found.get("msgTranslated") or found.get("resultText"), 1 << 16).strip()
    match = MESSAGE_ID.match(text_of(found.get("msg"))) or MESSAGE_ID.match(text)
    name, severity = match.groups() if match else ("", "")
    return Message(name, severity, text if text.startswith(name) else f"{name} {text}".strip(),
                   number(found.get("baseDate")))

def read_task(data: Any) -> Task:
    need(0 < number(data["id"]) == int(number(data["id"])), ValueError("a task without an id"))
    messages = [data["lastmessage"]] if data.get("lastmessage") else data.get("messages") or []
    steps = data.get("actions") or []
    sessions = [each["sessionName"] + "" for each in steps
                if text_of(each.get("command")).strip().lower() == "backup"]
    state = ("approval" if truth(data.get("pendingApproval")) else "running" if truth(
        data.get("running")) else "enabled" if truth(data.get("enabled")) else "disabled")
    return Task(int(number(data["id"])), data["name"] + "", state, number(data.get("lastRan")),
                [UNSEEN] + [read_message(each) for each in messages[-50:]],
                sessions if steps else [each + "" for each in data.get("affectedSession") or []])

def entries(reply: Reply, name: str) -> List[Dict[str, Any]]:
    """Of a list, what bears a name. The rest is ignored, but not where it may be what is wanted."""
    need(isinstance(reply.data, list), ValueError("no list"))
    found = [each for each in reply.data if isinstance(each, dict)
             and isinstance(each.get("name"), str)]
    need(not name or len(found) == len(reply.data) or name in [each["name"] for each in found],
         ValueError("an odd entry"))
    return found

def read_tasks(reply: Reply, name: str) -> Tuple[List[str], List[Task]]:
    """-> the names of all, and those of this name."""
    found = entries(reply, name)
    return [each["name"] for each in found], [
        read_task(each) for each in found if each["name"] == name]

def read_backup(data: Any) -> Optional[Backup]:
    """An entry of BackupResults, None for what is none. Its id is its time in epoch seconds."""
    data = data if isinstance(data, dict) else {}
    name, seconds = text_of(data.get("backupID")), number(data.get("timestamp"))
    seconds = number(name) if number(name) > 1e9 else seconds
    shown = text_of(data.get("backupTime")) or show_time(seconds)
    return Backup(name or f"{seconds:.0f}", seconds, truth(data.get("valid")), shown, text_of(
        data.get("numCopySets")) or "?") if seconds > 0 else None

def read_session(reply: Reply, name: str, before: Optional[Session], since: float) -> Session:
    """GET /sessions/NAME. Backups that cannot be read are no reason to take none. New is what is
    newer than all that there was `before`, or not older than the start of a joined run, `since`."""
    data, status = reply.data, text_of(reply.data.get("status"))
    need(data["name"] == name, ValueError("not the session that was asked for"))
    results: List[Optional[Backup]] = [None]
    with contextlib.suppress(*ODD):
        results = [read_backup(each) for sequence in data.get("backupInfo") or []
                   for key in sequence if key.lower() == "backupresults"
                   for each in sequence[key] or []]
    backups = [each for each in results if each]
    whole = backups and len(backups) == len(results)  # else perhaps some were not told
    date = min(reply.date or time.time(), time.time())  # in doubt the earlier one
    floor = max([each.seconds for each in backups if each.seconds <= date + SKEW] + [
        date - (DRIFT if whole else SKEW)])
    new = [each for each in backups if not before or each.seconds >= since
           or each.id not in before.known and each.seconds > before.floor]
    return Session(name, text_of(data.get("rulesname")), status, text_of(data.get("state")),
                   status.lower() == "severe" or truth(data.get("haserror")), reply.date,
                   [each.id for each in backups] if whole else [], floor,
                   max(new, key=lambda each: (each.valid, each.seconds), default=None))

@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound something as a whole, by the SIGALRM that main() set up: requests bounds each read."""
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again: one can be lost in a destructor
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

class Csm:
    """The client. It rides out what may pass; a command is processed once at the most."""
    def __init__(self, args: argparse.Namespace, report: "Report") -> None:
        self.servers: List[str] = args.servers    # HOST:PORT; the first one is in use
        self.deadline, self.request_timeout = report.began + args.timeout, args.request_timeout
        self.single_task = True   # GET works for a single task: not on all servers
        self._reached, self._checked = False, 0.0  # a server let us in; when it was last active
        self._login = {"username": args.csm_user, "password": args.csm_user_passwd}
        self._token, self._report, self._http = "", report, requests.Session()
        self._http.trust_env = False    # no proxy, .netrc or CA bundle from the environment
        self._http.verify = args.ca_file or not (args.insecure or args.fingerprint)
        self._http.headers.update({"Accept-Language": "en-US",
                                   "Content-Type": "application/x-www-form-urlencoded"})
        for server, pin in zip(self.servers, 2 * args.fingerprint):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 1, assert_fingerprint=pin, ssl_context=(  # without CAs
                urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_NONE)))
            self._http.mount(f"https://{server}/", adapter)

    def _call(self, method: str, path: str, form: Optional[Dict[str, str]] = None) -> Reply:
        """The one way to a server. Without a usable answer: OutcomeUnknown where a command may
        have been processed, else Unreachable."""
        began, status, what = time.monotonic(), "no answer", f"{self.servers[0]}: {method} {path}"
        limit = max(min(self.request_timeout, self.deadline - began), 0.01)
        lost = OutcomeUnknown if method == "POST" and path != TOKENS else Unreachable
        try:  # of several addresses a dead one must leave time for the next: half the limit
            with time_limit(limit), self._http.request(
                    method, f"https://{self.servers[0]}/CSM/web{path}", data=form, stream=True,
                    headers={"X-Auth-Token": self._token or None}, allow_redirects=False,
                    timeout=(limit / 2, limit)) as answer:
                status = str(answer.status_code)
                # Of an endless reply this takes a part, which is no JSON.
                body = b"".join(itertools.islice(answer.iter_content(1 << 16), 1 << 13))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError,
                ValueError) as error:
            raise self._failure(error, lost(f"{what} got no answer")) from None
        finally:
            self._report.progress("DEBUG", f"{what}: {status}, {time.monotonic() - began:.2f} s")
        data, date = None, 0.0
        with contextlib.suppress(ValueError, RecursionError):  # int() of 1e6 digits takes minutes
            data = json.loads(body.decode("utf-8-sig", "replace"),
                              parse_int=lambda digits: int(digits[:25]))
        bare = path == TOKENS or status in ("401", "403")
        # A text that is all of the answer to a log-in may be the token.
        message = read_message(data if path != TOKENS or isinstance(data, dict) else None)
        what += f" answered {status} " + (
            "empty" if not body else "no JSON" if data is None else self._report.hide(message.text))
        if 300 <= answer.status_code < 400 and lost is Unreachable:
            raise WrongServer(f"{what}: a redirect")
        need((bare or data is not None) and answer.status_code < 500 and not 300 <= (
            answer.status_code) < 400 and status not in ("408", "429"), lost(what))
        with contextlib.suppress(*ODD):
            date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
        return Reply(answer.status_code, data, message, date, what)

    def _failure(self, error: Exception, lost: Problem) -> Problem:
        """What an error of requests means: it wraps that of urllib3, which has the reason."""
        # What a server sent in place of HTTP may echo a secret, spelt in any way: it is not shown.
        text = re.sub(r"(BadStatusLine|InvalidChunkLength)\(.*", r"\1", str(error), flags=re.S)
        reason = self._report.hide(text.rpartition(": ")[2].strip("()'\"")) or type(error).__name__
        inner = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(inner, (urllib3.exceptions.NewConnectionError,
                              urllib3.exceptions.ConnectTimeoutError)):
            return Unreachable(f"{self.servers[0]} cannot be reached: {reason}")
        if not isinstance(error, requests.exceptions.SSLError) or not re.search(
                "certificate.verify.failed|doesn't match|fingerprints did not", text, re.I):
            return type(lost)(f"{lost}: {reason}")
        url, shown = urlsplit("//" + self.servers[0]), "not read"
        with contextlib.suppress(OSError, ValueError), time_limit(min(5, self.request_timeout)):
            pem = ssl.get_server_certificate((url.hostname or "", url.port or PORT))
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
            shown = ":".join(re.findall("..", digest))
        return WrongServer(
            f"{self.servers[0]} is not trusted and was sent no credential ({reason}). If CSM's "
            f"administrator confirms the SHA-256 fingerprint of its certificate, {shown}, "
            "give it with --fingerprint, or its CA with --ca-file")

    def _log_in(self) -> None:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        self._token = ""
        reply = self._call("POST", TOKENS, self._login)
        token = reply.data.get("token") if isinstance(reply.data, dict) else None
        need(reply.status not in (404, 405), Unreachable(f"{reply.what}: this is no CSM server"))
        if reply.status >= 300 or not isinstance(token, str) or not re.match(r"[!-~]+\Z", token):
            raise LoginRefused(f"{reply.what}: no token")
        self._token, self._checked = token, float("-inf")
        self._report.secrets.append(token)
        if len(self.servers) > 1:
            self.check_active()
        self._reached, self._checked = True, time.monotonic()
        self._report.result["server"] = self.servers[0]

    def check_active(self) -> str:
        """GET /system/ha -> what it tells. Only a server that says that it is standby is one."""
        reply = self._call("GET", "/system/ha")
        if isinstance(reply.data, dict) and str(reply.data.get("islocalactive")).lower() == "false":
            raise Denied(f"{self.servers[0]} is the standby server, which runs no commands")
        return reply.what

    def _ask(self, method: str, path: str, form: Optional[Dict[str, str]] = None) -> Reply:
        """A request with a token. 401 (and perhaps 403) mean: not processed, log in again."""
        for _ in range(2):
            if not self._token or (  # of a pair, the active one may change unnoticed
                    len(self.servers) > 1 and time.monotonic() > self._checked + RECHECK):
                self._log_in()
            reply = self._call(method, path, form)
            if reply.status not in (401, 403):
                break
            self._token = ""
        self._report.tell(reply.message)
        if reply.status >= 400 or reply.message.severity not in ("", "I", "W"):
            raise LoginRefused(reply.what) if reply.status == 401 else Denied(
                reply.what) if method == "GET" else Refused(reply.what)
        need(method == "GET" or reply.message.id, OutcomeUnknown(reply.what))
        return reply

    def ride_out(self, ask: Callable[[], Any]) -> Any:
        """Try until the deadline, on each server in turn. Before the trigger, what is not likely
        to pass is believed when all servers said so twice, and a silent server is given up."""
        faults: List[Problem] = []
        began, pause, enough = time.monotonic(), 0.25, 2 * len(self.servers)
        while True:
            try:
                return ask()
            except Unreachable as fault:
                faults = (faults + [fault])[-enough:]
            now = time.monotonic()
            hopeless = len(faults) == enough and self._report.started == "no" and (
                Unreachable not in map(type, faults)
                or not self._reached and now > began + FIRST_CONTACT)
            if hopeless or now + 0.5 > self.deadline:
                worst = max(faults, key=lambda each: each.code)
                raise type(worst)("; ".join(dict.fromkeys(map(str, faults))))
            self._report.progress("WARNING", f"{faults[-1]}; trying again")
            self._token = ""  # HTML may be a log-in page; a log-in tells which server is active
            self.servers.append(self.servers.pop(0))
            pause = min(2 * pause, LONGEST_PAUSE)
            time.sleep(min(pause, max(0.5, (self.deadline - now) / 2)))

    def read(self, path: str, parse: Callable[[Reply], Any]) -> Any:
        """GET, once -> what `parse` makes of it. Raises Unreachable."""
        reply = self._ask("GET", path)
        try:
            return parse(reply)
        except ODD as odd:
            raise Unreachable(f"{reply.what}: odd reply: {odd}") from None

    def get(self, path: str, parse: Callable[[Reply], Any]) -> Any:
        return self.ride_out(lambda: self.read(path, parse))

    def session(self, name: str, before: Optional[Session] = None, since: float = 0) -> Any:
        return self.get(session_path(name), lambda reply: read_session(reply, name, before, since))

    def command(self, path: str, form: Optional[Dict[str, str]]) -> Any:
        """-> the message with which CSM accepts it. Raises Refused; OutcomeUnknown where only the
        server's state can tell whether it was processed; all else means that it was not sent."""
        def attempt() -> Message:
            try:
                return self._ask("POST", path, form).message
            except (Refused, OutcomeUnknown) as error:
                if len(self.servers) > 1 and isinstance(error, Refused):
                    self.check_active()
                self._token = self._token if isinstance(error, Refused) else ""  # who is active?
                raise
        return self.ride_out(attempt)

def session_path(name: str) -> str:
    return "/sessions/" + quote(name, safe="")

def closest(name: str, names: List[str]) -> str:
    import difflib  # only a mistake needs it
    lower = {each.lower(): each for each in names}
    near = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, 3, 0.4)]
    return 'the closest: "' + '", "'.join(near) + '"' if near else "no name is like it"

def find_session(csm: Csm, name: str, tasks: List[str]) -> Any:
    """How a server says that a session is not there is not known: where it does not simply show
    it, the list tells. `tasks`: where the name was looked for before, in vain."""
    if not tasks:
        with contextlib.suppress(Unreachable):
            return csm.read(session_path(name), lambda reply: read_session(reply, name, None, 0))
    names = csm.get(SHORT, lambda reply: [each["name"] for each in entries(reply, name)])
    if name not in names:
        raise NotFound(f'{csm.servers[0]} shows no {"task and no " if tasks else ""}session '
                       f'"{name}"; {closest(name, names + tasks)}')
    return csm.session(name)

def find(csm: Csm, task_name: str, session_name: str) -> State:
    """The target, and what CSM shows of it before the trigger. Raises NotFound, Refused."""
    names, found = csm.get(
        TASKS, lambda reply: read_tasks(reply, task_name)) if task_name else ([], [])
    title, task = f'task "{task_name}" on {csm.servers[0]}', found[0] if found else None
    need(len(found) < 2, NotFound(f"{title} is there {len(found)} times, with the ids "
                                  f"{', '.join(str(each.id) for each in found)}"))
    if task_name and session_name and not task:
        raise NotFound(f"{title} is not there; {closest(task_name, names)}")
    wanted = task.sessions if task and not session_name else [session_name or task_name]
    sessions = [find_session(csm, each, [] if task else names) for each in dict.fromkeys(wanted)]
    # A list of backups that was empty, or odd, may be whole the next time.
    sessions = [each if each.known else csm.session(each.name) for each in sessions]
    backed_up = [each for each in sessions if SAFEGUARDED in (each.kind or SAFEGUARDED).lower()]
    need(backed_up, NotFound("nothing would be backed up: " + (", ".join(
        f'session "{each.name}" is of the type {each.kind}' for each in sessions)
        or f"{title} has no step Backup")))
    need(not task or task.state != "approval", Refused(f"{title} waits for approval"))
    return State(task, backed_up)

def look(csm: Csm, noted: State) -> State:
    """The same task and sessions as CSM shows them now."""
    task, wanted, since = None, noted.task, float("inf")
    if wanted and csm.single_task:
        try:
            task = csm.read(f"{TASKS}/{wanted.id}", lambda reply: read_task(reply.data))
        except Unreachable:
            csm.single_task = False  # from now on the list of all tells
    if wanted and (not task or task.id != wanted.id):
        task = csm.get(TASKS, lambda reply: {
            each.id: each for each in read_tasks(reply, wanted.name)[1]}[wanted.id])
    if wanted and task and wanted.state == "running" and task.state != "running":
        # Joined: only at its end a run's start is told for sure.
        since = max(wanted.last_ran, task.last_ran) // 1 or since
    return State(task, [csm.session(each.name, each, since) for each in noted.sessions])

def has_begun(noted: State, now: State) -> bool:
    return any(each.new for each in now.sessions) or bool(noted.task and now.task and (
        now.task.state == "running" or now.task.last_ran > noted.task.last_ran))

def trigger(csm: Csm, noted: State, report: "Report") -> None:
    """Send it. report.reply stays None where CSM's state must tell whether it arrived."""
    before, report.started = report.started, "perhaps"
    try:
        report.reply = csm.command(f"{TASKS}/{noted.task.id}", None) if noted.task else csm.command(
            session_path(noted.sessions[0].name), {"cmd": "Backup"})
        report.started = "yes"
        report.progress("INFO", f"started: {report.result['csm_message']['text']}")
    except OutcomeUnknown as error:
        report.progress("WARNING", f"{error}; looking whether it arrived")
    except (Unreachable, Refused) as error:  # this one was not processed
        report.started = before
        for pause in ((0, 1, 2) if noted.task else (0,)) if isinstance(error, Refused) else ():
            time.sleep(pause)
            if has_begun(noted, look(csm, noted)):  # somebody else was faster: join
                report.reply, report.started = UNSEEN, "yes"
                return
        need(before != "no", error)
        report.progress("WARNING", f"{error}; still looking for the first one")

def polls(deadline: float) -> Iterator[float]:
    """Yield the seconds waited, each time that a look is due; a look is part of its period."""
    began = last = time.monotonic()
    while time.monotonic() < deadline - 0.5:
        period = min(max(1.0, 0.05 * (last - began)), LONGEST_PAUSE)
        pause = max(period - (time.monotonic() - last), period / 2)
        time.sleep(min(pause, max(deadline - 0.5 - time.monotonic(), 0)))
        last = time.monotonic()
        yield last - began
    raise OutcomeUnknown("the deadline has passed")

def follow(csm: Csm, noted: State, report: "Report", no_wait: bool) -> None:
    """Look until the backup is proven. A trigger that got no answer goes out once more, and only
    after a look that found no trace of it when one request timeout had passed."""
    joined = bool(noted.task and noted.task.state == "running")
    ran, moved, again, over_at = joined, False, False, 0.0
    for waited in polls(csm.deadline):
        now = look(csm, noted)
        begun = has_begun(noted, now)
        if begun and not report.reply:
            report.reply, report.started = UNSEEN, "yes"
        elif not report.reply and not again and waited >= csm.request_timeout:
            again = True
            trigger(csm, noted, report)
        last = report.reply or UNSEEN
        over = last.id == COMPLETED
        if now.task and noted.task:  # flag, lastRan and message may change in any order
            last, ran = now.task.messages[-1], ran or now.task.state == "running"
            moved = moved or last != noted.task.messages[-1]
            over = now.task.state != "running" and (
                ran or (moved or begun) and last.id != STARTED)
        over_at = (over_at or waited) if over else 0.0
        report.saw(now, waited)
        if no_wait and report.reply or judge(noted, now, last, waited - over_at if over else -1.0,
                                             moved and not joined, report):
            return

def judge(noted: State, now: State, last: Message, age: float, moved: bool, report: Any) -> bool:
    """Is the backup proven? Raises BackupFailed. `last`: the run's last message; `age`: for so long
    it has been over, -1 while it goes on; `moved`: `last` is not that of an earlier run."""
    for before, session in zip(noted.sessions, now.sessions):
        need(before.failed or not session.failed, BackupFailed(
            f'session "{session.name}" turned Severe or haserror'))
    proven = all(each.new and each.new.valid for each in now.sessions)
    errors = []
    if now.task and noted.task:
        errors = [each for each in now.task.messages if each not in noted.task.messages
                  and each.severity not in ("", "I", "W")] + [last] * (
                      age >= (0 if moved else GRACE) and last.severity not in ("", "I"))
    if errors and age >= 0:
        report.tell(errors[0])
        raise BackupFailed("the run ended with an error")
    need(proven or age < GRACE, BackupFailed("the run ended without a new valid backup"))
    need(not now.task or last.severity or age < GRACE, OutcomeUnknown("how it ended is not told"))
    # Another message than FINISHED may be a step's, and an error still to come.
    return proven and (not now.task or last.severity == "I" and age >= (
        0 if moved and last.id == FINISHED else GRACE if last.id == STARTED else SETTLE))

def tables(tasks: List[Task], sessions: List[Session]) -> List[str]:
    """Lines of at most 80 columns with names of 60, none of them cut: they are to be copied."""
    lines = ["STATE     TASK"] if tasks else []
    for task in tasks:
        lines += [f"{task.state:9} {task.name}", f"          last run {show_time(task.last_ran)}"]
        lines += [f"          backs up {name}" for name in task.sessions]
    lines.append("STATUS    SAFEGUARDED COPY SESSION")
    for each in sessions:
        lines += [f"{each.status:9} {each.name}", f"          state {each.state}",
                  f"          newest backup {each.new.id} of {show_time(each.new.seconds)}"
                  + ", NOT VALID" * (not each.new.valid) if each.new else "          no backup"]
    return lines

def show_list(csm: Csm, report: "Report") -> Tuple[str, str, List[str]]:
    tasks = csm.get(TASKS, lambda reply: [read_task(each) for each in entries(reply, "")])
    sessions = csm.get(SHORT, lambda reply: [each["name"] for each in entries(
        reply, "") if SAFEGUARDED in text_of(each.get("rulesname")).lower()])
    sessions = [csm.session(name) for name in sessions]
    report.saw(State(None, sessions))
    report.result["tasks"] = [
        {"id": each.id, "name": each.name, "state": each.state, "sessions": each.sessions,
         "last_ran": show_time(each.last_ran)} for each in tasks]
    return "listed", (f"{len(tasks)} tasks, {len(sessions)} Safeguarded Copy sessions on "
                      f"{csm.servers[0]}"), tables(tasks, sessions)

class Report:
    """The result, in the shape of --json (README: "The JSON object"), and the two streams."""
    def __init__(self, event: List[str]) -> None:
        self.args = argparse.Namespace(quiet=False, verbose=False, json=False, leef=None)
        self.title = ""                           # of what was found
        self.secrets: List[str] = []              # password and tokens
        self.reply: Optional[Message] = None      # CSM's, to the trigger; None where it went lost
        self.started, self.began, self._shown, self._said = "no", time.monotonic(), "", 0.0
        rule_id, rule_name, *event = [printable(utf8(each, "replace")) for each in [
            os.environ.get("RULE_ID", ""), os.environ.get("RULE_NAME", "")] + event]
        self.result: Dict[str, Any] = {
            "version": VERSION, "exit_code": 0, "outcome": "", "message": "", "server": "",
            "task": None, "sessions": [], "started": "no", "csm_message": {"id": "", "text": ""},
            "seconds": 0.0, "event": event, "rule_id": rule_id, "rule_name": rule_name}

    def hide(self, text: str) -> str:
        """A text of CSM's without the secrets that it may echo, and not too long."""
        for secret in self.secrets:
            for spelt in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelt, "***")
        return text[:400]

    def write(self, name: str, *lines: str, end: str = "\n") -> None:
        """The one place that prints. What cannot be written stops nothing."""
        text = "\n".join(map(printable, lines))
        try:
            stream = getattr(sys, name)
            encoding = stream.encoding or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
            stream.flush()
        except (AttributeError, OSError, ValueError):
            setattr(sys, name, None)  # lest Python's own flush at the end changes the exit code
            if name == "stdout":
                self.progress("WARNING", f"stdout is closed or full; the result: {text}")

    def progress(self, level: str, text: str) -> None:
        """A line on stderr; on a terminal, one of level LIVE stays until the next one comes."""
        if self.args.quiet or level == "DEBUG" and not self.args.verbose:
            return
        terminal = sys.stderr is not None and sys.stderr.isatty()
        if terminal:
            self.write("stderr", end="\r\x1b[K")
        if level != "LIVE":
            self.write("stderr", f"{show_time(time.time())} {level} {text}")
        elif terminal:
            self.write("stderr", text[:79], end="")

    def tell(self, message: Message) -> None:
        if message.id or message.text:
            self.result["csm_message"] = {"id": message.id, "text": self.hide(message.text)}

    def saw(self, now: State, waited: float = 0) -> None:
        """Note the state; show it at each change and each minute, on a terminal at each look."""
        self.result["task"] = now.task and now.task.name
        self.result["sessions"] = [
            {"name": each.name, "status": each.status, "state": each.state, "backup": each.new and {
                key: getattr(each.new, key) for key in ("id", "time", "valid", "copy_sets")}}
            for each in now.sessions]
        if now.task:
            self.tell(now.task.messages[-1])
        text = "task running; " * bool(now.task and now.task.state == "running") + self.state()
        if waited and (text != self._shown or waited >= self._said + 60):
            self._shown, self._said = text, waited
            self.progress("INFO", text)
        self.progress("LIVE", f"{waited:.0f} s: {text}")

    def state(self, said: str = "") -> str:
        """The sessions, and CSM's last message where it was not said already."""
        message = self.result["csm_message"]["text"]
        return "; ".join([f'session "{each["name"]}" ({each["status"]}): ' + (
            "backup {id} of {time}, copy sets {copy_sets}, ".format(**each["backup"]) + (
                "valid" if each["backup"]["valid"] else "NOT VALID")
            if each["backup"] else "no new backup") for each in self.result["sessions"]
            ] + [message] * bool(message and message not in said))

    def conclude(self, outcome: str, code: ExitCode, text: str, table: List[str]) -> int:
        """Print the result, and send it where --leef says."""
        if code:
            outcome = code.name.lower().replace("_", "-")
            text = "; ".join([f"{self.title}: {text}" if self.title else text] + [
                self.state(text)] * (self.started != "no") + [BEGUN[self.started]] * (
                code != ExitCode.FAILED) + [NEXT.get(code, "look in CSM before another run")])
        self.result.update(outcome=outcome, exit_code=int(code), message=printable(text),
                           started=self.started, seconds=round(time.monotonic() - self.began, 1))
        if self.args.leef and code != ExitCode.USAGE:
            send_leef(self)
        self.progress("LIVE", "")
        event = " ".join(self.result["event"])[:200]
        line = f"{outcome}: {text}" + f" (event: {event})" * bool(event)
        if self.args.json and code != ExitCode.USAGE:
            self.write("stdout", json.dumps(self.result))
        elif not code and not self.args.quiet:
            self.write("stdout", *table, line)
        if code:
            self.write("stderr", "run-cr-wflow-ds8k: " + line)
        return int(code)

def printable(text: str) -> str:
    """Without control characters: nothing in it acts on a terminal or splits a log line."""
    return "".join(each for each in text if each.isprintable())

def utf8(text: str, errors: str = "strict") -> str:
    """An argument or a variable as the UTF-8 that it is, whatever the locale has made of it."""
    with contextlib.suppress(UnicodeEncodeError):
        return os.fsencode(text).decode("utf-8", errors)
    return text

def leef(result: Dict[str, Any]) -> bytes:
    """A LEEF 2.0 event in a syslog packet. LEEF has no escapes: its separators are replaced."""
    bad, host = bool(result["exit_code"]), re.sub(r"[^\w.-]", "", socket.gethostname())
    packet = (f'<{131 if bad else 133}>{time.strftime("%b %e %H:%M:%S")} {host or "localhost"} LEEF'
              f':2.0|run-cr-wflow-ds8k|run-cr-wflow-ds8k|{VERSION}|{result["outcome"]}|^|')
    backups = [each["backup"]["id"] for each in result["sessions"] if each["backup"]]
    for key, value in (  # what there is no room for is cut: hence this order
            ("devTime", int(time.time() * 1000)), ("sev", 9 if bad else 3),
            ("cat", result["outcome"]), ("exitCode", result["exit_code"]),
            ("started", result["started"]), ("msgId", result["csm_message"]["id"]),
            ("backups", ",".join(backups)), ("server", result["server"]),
            ("task", result["task"] or ""), ("ruleId", result["rule_id"]),
            ("sessions", ",".join(each["name"] for each in result["sessions"])),
            ("msg", result["csm_message"]["text"]), ("ruleName", result["rule_name"]),
            ("event", " ".join(result["event"]))):
        room = max(0, 1022 - len(packet.encode()) - len(key))  # of 1,024 bytes: RFC 3164
        kept = re.sub(r"[|^]", "_", printable(str(value))).encode("utf-8", "replace")[:room]
        packet += f'{key}={kept.decode("utf-8", "ignore")}^' if room else ""
    return packet[:-1].encode()

def send_leef(report: Report) -> None:
    """By UDP, in a thread, since a name may take long to be resolved; 2 s at the most."""
    where, errors = urlsplit("//" + report.args.leef), ["no answer of the name service"]
    def send() -> None:
        try:
            found = socket.getaddrinfo(where.hostname, where.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(*found[:2]) as sender:
                sender.sendto(leef(report.result), found[4])
            errors.clear()
        except (OSError, ValueError) as error:
            errors[0] = str(error)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(2)
    if errors:
        report.progress("WARNING", f"no LEEF event was sent to {report.args.leef}: {errors[0]}")

class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # quotes no value: it may be the password
        raise UsageError(re.sub("'.*'|\".*\"|(?<=unrecognized arguments: ).*", "...", message))

def build_parser() -> Parser:
    parser = Parser("run-cr-wflow-ds8k.py", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="-- EVENT ...: what caused this, to be recorded with the result")
    add, secret, trust, mode = parser.add_argument, *(
        parser.add_mutually_exclusive_group().add_argument for _ in range(3))
    add("-s", "--csm_server", required=True, type=filled,
        help="HOST or HOST:PORT; both servers of a pair: A,B")
    add("-P", "--csm_port", default=str(PORT), help="where -s has none: %(default)s")
    add("-u", "--csm_user", type=filled, help="else CSM_USER in the environment, else a prompt")
    secret("-p", "--csm_user_passwd", type=filled,
           help="else CSM_USER_PASSWD in the environment, else a prompt")
    secret("--password-file", metavar="FILE", help="of one line, the password; -: standard input")
    add("--base64", action="store_true", help="-u and -p hold Base64, as for IBM's sample script")
    add("-t", "--csm_task", type=filled,
        help="the scheduled task to run; where none has this name, the session")
    add("-S", "--csm_session", type=filled,
        help="the session to back up; with -t: where the backup must appear")
    trust("--ca-file", metavar="PEM", type=ca_file, help="trust this CA")
    trust("--fingerprint", metavar="SHA256", type=pins, default=[],
          help="trust this certificate; of a pair: A,B")
    trust("--insecure", action="store_true", help="trust anything")
    mode("--check", action="store_true", help="do everything but the trigger")
    mode("--list", action="store_true", help="show the tasks and the Safeguarded Copy sessions")
    mode("--no-wait", action="store_true", help="end once CSM has accepted the trigger")
    add("--min-interval", metavar="MINUTES", type=positive, default=0.0,
        help="trigger nothing where there is a younger valid backup")
    add("--timeout", metavar="SECONDS", type=positive, default=1800.0, help="in all, %(default)g")
    add("--request-timeout", metavar="SECONDS", type=positive, default=30.0, help="%(default)g")
    add("--leef", metavar="HOST[:PORT]", help="send the result there as a LEEF event (syslog, UDP)")
    add("--json", action="store_true", help="print the result as JSON")
    add("-q", "--quiet", action="store_true", help="print nothing where it ends with 0")
    add("-v", "--verbose", action="store_true", help="show each request")
    add("--version", action="version", version=VERSION)
    return parser

def filled(text: str) -> str:
    if not utf8(text).strip():
        raise argparse.ArgumentTypeError("it is blank")
    return utf8(text)

def positive(text: str) -> float:
    if not 0 < number(text) <= 86400:
        raise argparse.ArgumentTypeError("not a number above 0 and up to 86400")
    return number(text)

def pins(text: str) -> List[str]:
    found = re.sub("[: ]", "", text.lower()).split(",")
    if len(found) > 2 or not all(re.match(r"[0-9a-f]{64}\Z", each) for each in found):
        raise argparse.ArgumentTypeError("not the 64 hexadecimal digits of a SHA-256")
    return found

def ca_file(path: str) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path

def address(text: str, port: str, option: str) -> str:
    match = re.match(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d+))?\Z", text.strip(),
                     re.ASCII)  # requests would rewrite another name, and miss its certificate
    port = (match.group(2) or port).strip() if match else ""
    need(match and re.match(r"\d{1,5}\Z", port) and 0 < int(port) < 65536, UsageError(
        f"{option}: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)"))
    return f"{match.group(1)}:{int(port)}" if match else ""

def credential(name: str, args: argparse.Namespace, report: Report) -> str:
    """User or password, from the first source that there is."""
    value: Optional[str] = getattr(args, name)
    if value is not None:
        return re.sub(r"\n\Z", "", base64.b64decode(value, validate=True).decode()
                      ) if args.base64 else value
    if name == "csm_user_passwd" and args.password_file is not None:
        with open(0 if args.password_file == "-" else args.password_file, "rb") as file:
            lines = file.read(65536).decode().splitlines()
            if args.password_file != "-" and os.fstat(file.fileno()).st_mode & 0o077:
                report.progress("WARNING", "others can read the password file: chmod 600 it")
        need(len(lines) == 1, UsageError("--password-file: not one line"))
        return lines[0]
    if name.upper() in os.environ or not (sys.stdin and sys.stdin.isatty()):
        return os.environ.get(name.upper(), "")
    if name == "csm_user":
        report.write("stderr", "CSM user: ", end="")
        return sys.stdin.readline()[:-1]
    import getpass  # only a terminal needs it
    return getpass.getpass("CSM password: ")

def complete(args: argparse.Namespace, report: Report) -> None:
    """Get user and password, and check what is left to be checked before anything is sent."""
    for name in ("csm_user", "csm_user_passwd"):
        try:
            setattr(args, name, filled(credential(name, args, report)))
        except OSError as error:
            raise UsageError(f"--password-file: {error.strerror}") from None
        except (ValueError, EOFError, argparse.ArgumentTypeError):  # they would show the value
            raise UsageError(f"--{name} is missing, blank or no text"
                             + " in Base64" * args.base64) from None
    report.secrets.append(args.csm_user_passwd)
    need(args.csm_task or args.csm_session or args.list, UsageError("--csm_task is missing"))
    address("-P", args.csm_port, "-P")
    args.servers = [address(each, args.csm_port, "-s") for each in args.csm_server.split(",")]
    need(len(args.servers) < 3, UsageError("-s: more than the two servers of a pair"))
    args.leef = None if args.leef is None else address(args.leef, "514", "--leef")

def lock(seconds: float) -> Any:
    """-> an open file. While it is open, one run of this host at a time looks and triggers, so that
    it sees the run before it. A lock that cannot be had stops nothing."""
    with contextlib.suppress(OSError, ImportError):
        import fcntl
        file = open(__file__, "rb")
        with contextlib.suppress(OSError), time_limit(seconds):
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

def run(args: argparse.Namespace, report: Report) -> Tuple[str, str, List[str]]:
    """Do what was asked for -> outcome, text, table. Raises a Problem where there is one."""
    if args.insecure:
        urllib3.disable_warnings()
        report.progress("WARNING", "--insecure: whoever answers is given the password")
    csm = Csm(args, report)
    report.result["server"] = csm.servers[0]
    if args.list:
        return show_list(csm, report)
    held = lock(min(csm.request_timeout, args.timeout / 4)) if args.min_interval else None
    noted = find(csm, args.csm_task or "", args.csm_session or "")
    title = report.title = (f'task "{noted.task.name}" (id {noted.task.id})' if noted.task
             else f'session "{noted.sessions[0].name}"') + f" on {csm.servers[0]}"
    report.saw(noted)
    report.progress("INFO", title)
    if args.check:
        with contextlib.suppress(Unreachable):
            report.progress("INFO", f"HA: {csm.check_active()}")
        return "checked", f"{title} is ready: nothing was started", tables(
            [noted.task] if noted.task else [], noted.sessions)
    ages = [each.date - each.new.seconds if each.date and each.new and each.new.valid else 1e9
            for each in noted.sessions]
    if args.min_interval and -SKEW <= min(ages) and max(ages) < args.min_interval * 60:
        return "skipped", (f"{title}: nothing was started: its newest valid backup is "
                           f"{max(ages) / 60:.0f} minutes old"), []
    report.saw(State(noted.task, [each._replace(new=None) for each in noted.sessions]))
    if noted.task and noted.task.state == "running":  # join that run
        report.reply, report.started = UNSEEN, "yes"
    else:
        trigger(csm, noted, report)
    if not (args.no_wait and report.reply):
        follow(csm, noted, report, args.no_wait)
    del held
    took = f"after {time.monotonic() - report.began:.0f} s"
    return "accepted" if args.no_wait else "verified", f"{title}, {took}: {report.state()}", []

def on_signal(signum: int, frame: Any) -> None:
    if signum == signal.SIGALRM:
        raise socket.timeout("no complete answer in time")
    began = time.monotonic()  # impatience is one signal; but one can be lost in a destructor
    listen(lambda *late: on_signal(*late) if time.monotonic() > began + 0.5 else None)
    raise KeyboardInterrupt(signum)

def listen(handler: Callable[[int, Any], None]) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        if signal.getsignal(each) is not signal.SIG_IGN:  # as in a shell's background job
            signal.signal(each, handler)

def main(argv: Optional[List[str]] = None) -> int:
    """The one place that catches, prints and turns an exception into an exit code."""
    argv = sys.argv[1:] if argv is None else argv
    at = argv.index("--") if "--" in argv else len(argv)
    report, outcome, code = Report(argv[at + 1:]), "", ExitCode.OK
    lines: List[str] = []
    try:
        listen(on_signal)
        report.args = build_parser().parse_args(argv[:at])
        complete(report.args, report)
        outcome, text, lines = run(report.args, report)
        listen(lambda *_: None)
    except SystemExit as done:  # --help, --version
        return int(done.code or 0)
    except Problem as problem:
        code, text = problem.code, str(problem)
        if report.started != "no" and code < ExitCode.FAILED:
            code = ExitCode.UNKNOWN
    except KeyboardInterrupt as stop:
        code = ExitCode.TERMINATED if stop.args == (15,) else ExitCode.INTERRUPTED
        text = "stopped by a signal"
    except Exception as error:  # a bug; a traceback could show what is secret
        import traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        code, text = ExitCode.INTERNAL, f"{type(error).__name__} in line {where.lineno}"
    listen(lambda *_: None)  # the report is not to be interrupted
    return report.conclude(outcome, code, text, lines)

if __name__ == "__main__":
    result = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter's end is not to be interrupted
    sys.exit(result)
