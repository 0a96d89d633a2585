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
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple, Type
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
MESSAGE_ID = re.compile(r"\s*([A-Z]{3,5}\d{3,5}([A-Z]))\b")  # its last letter is the severity
STARTED, FINISHED = "IWNR2211I", "IWNR2212I"                 # a task has
COMPLETED = "IWNR1026I"                   # a command has
SAFEGUARDED = "safeguarded copy"          # in the session type, rulesname
# Our own choices, in seconds where they are times:
FIRST_CONTACT = 30.0                      # how long a server that never let us in is tried
GRACE = 60.0                              # for a backup that is late or not valid yet
SETTLE = 5.0                              # for a run's last message that is late
SKEW, DRIFT = 60.0, 3600.0                # by which clocks may differ where it matters; at all
LONGEST_PAUSE = 15.0                      # between two polls, or two tries
RECHECK = 30.0                            # how often a pair is asked which server is active
BODY_LIMIT, LEEF_LIMIT = 256 << 20, 1024  # bytes of a reply; of a syslog packet (RFC 3164)
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
class Unreachable(Problem):      # not sent, or a read without a usable answer: it may pass
    code = ExitCode.UNREACHABLE
class WrongServer(Unreachable):
    """A certificate that is not trusted, a redirect, no CSM: it will hardly pass."""
class LoginRefused(Problem):
    code = ExitCode.LOGIN
class NotFound(Problem):
    code = ExitCode.NOT_FOUND
class Refused(Problem):
    code = ExitCode.REFUSED
class Standby(Refused):
    """This server of a high-availability pair runs no commands."""
class BackupFailed(Problem):
    code = ExitCode.FAILED
class OutcomeUnknown(Problem):   # also: a command went out, and nothing tells what became of it
    code = ExitCode.UNKNOWN

# Times are epoch seconds, 0 where CSM does not tell; texts are "" then. Texts are kept as they
# come: Report.write() is the one place that prints, and removes control characters.
Form = Optional[Dict[str, str]]
Lost = Type[Problem]
Message = NamedTuple("Message", [("id", str), ("severity", str), ("text", str), ("when", float)])
Reply = NamedTuple("Reply", [  # data: the JSON, None where `fault` tells why; what: all in a line
    ("status", int), ("data", Any), ("fault", str), ("message", Message), ("date", float),
    ("what", str), ("hide", Callable[[str], str])])      # hide: see Csm
Task = NamedTuple("Task", [    # state: enabled, disabled, running or approval; message: the last
    ("id", int), ("name", str), ("state", str), ("last_ran", float), ("message", Message),
    ("recent", List[Message]),           # from servers before 6.3.2
    ("sessions", List[str])])            # of the steps Backup; where no steps are shown, of all
Backup = NamedTuple("Backup", [("id", str), ("seconds", float), ("valid", bool), ("time", str),
                               ("copy_sets", str)])  # time: as CSM shows it
Session = NamedTuple("Session", [  # kind: rulesname; failed: Severe or haserror; floor: new
    ("name", str), ("kind", str), ("status", str), ("state", str), ("failed", bool),  # backups
    ("backups", List[Backup]), ("doubtful", bool), ("floor", float), ("date", float)])  # are newer
State = NamedTuple("State", [      # what CSM shows at one time; since: start of a joined run
    ("task", Optional[Task]), ("sessions", List[Session]), ("since", float)])
UNSEEN = Message("", "", "", 0)    # of a trigger whose reply went lost, or somebody else's

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

def read_message(data: Any, hide: Callable[[str], str]) -> Message:
    """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
    found = data if isinstance(data, dict) else {"resultText": data}
    text = text_of(found.get("msgTranslated") or found.get("resultText"), 1 << 16)
    match = MESSAGE_ID.match(text_of(found.get("msg"))) or MESSAGE_ID.match(text)
    name, severity = match.groups() if match else ("", "")
    text = f"{name} {hide(text.replace(name, '', 1).strip())}".strip()[:400]
    return Message(name, severity, text, number(found.get("baseDate")))

def read_task(data: Any, hide: Callable[[str], str]) -> Task:
    need(0 < number(data["id"]) == int(number(data["id"])), ValueError("a task without an id"))
    recent = [read_message(each, hide) for each in (data.get("messages") or [])[-50:]]
    message, steps = read_message(data.get("lastmessage"), hide), data.get("actions") or []
    sessions = [each["sessionName"] + "" for each in steps
                if text_of(each.get("command")).strip().lower() == "backup"]
    state = ("approval" if truth(data.get("pendingApproval")) else "running" if truth(
        data.get("running")) else "enabled" if truth(data.get("enabled")) else "disabled")
    return Task(int(number(data["id"])), data["name"] + "", state, number(data.get("lastRan")),
                message if message.id or not recent else recent[-1], recent,
                sessions if steps else [each + "" for each in data.get("affectedSession") or []])

def read_tasks(reply: Reply, name: str = "") -> List[Task]:
    """Entries that cannot be read are left out; but not where one may be the task of this name."""
    tasks, odd = [], []
    for each in array(reply.data):
        try:
            tasks.append(read_task(each, reply.hide))
        except ODD:
            odd.append(each.get("name") if isinstance(each, dict) else None)
    need(name in [task.name for task in tasks] or all(
        isinstance(other, str) and other != name for other in odd), ValueError("an odd task"))
    return tasks

def read_names(reply: Reply, name: str) -> List[str]:
    """GET /sessions/short -> names; the same goes for its entries."""
    names = [each["name"] for each in array(reply.data)
             if isinstance(each, dict) and isinstance(each.get("name"), str)]
    need(name in names or len(names) == len(reply.data), ValueError("an odd session"))
    return names

def array(data: Any) -> List[Any]:
    need(isinstance(data, list), ValueError("no list"))
    return data  # type: ignore[no-any-return]

def read_backup(data: Any) -> Optional[Backup]:
    """An entry of BackupResults, None for what is none. Its id is its time in epoch seconds."""
    data = data if isinstance(data, dict) else {}
    name, seconds = text_of(data.get("backupID")), number(data.get("timestamp"))
    seconds = number(name) if number(name) > 1e9 else seconds
    return Backup(name or f"{seconds:.0f}", seconds, truth(data.get("valid")), text_of(data.get(
        "backupTime")) or show_time(seconds), text_of(data.get("numCopySets")) or "?"
                  ) if seconds > 0 else None

def read_session(reply: Reply, name: str) -> Session:
    """GET /sessions/NAME. Backups that cannot be read are no reason to take none."""
    data, status = reply.data, text_of(reply.data.get("status"))
    need(data["name"] == name, ValueError("not the session that was asked for"))
    results: List[Optional[Backup]] = [None]
    with contextlib.suppress(*ODD):
        results = [read_backup(each) for sequence in data.get("backupInfo") or []
                   for key in sequence if key.lower() == "backupresults"
                   for each in sequence[key] or []]
    backups = [each for each in results if each]
    doubtful = not backups or len(backups) < len(results)  # perhaps some were not told
    date = min(reply.date or time.time(), time.time())  # in doubt the earlier one
    floor = max([each.seconds for each in backups if each.seconds <= date + SKEW] + [
        date - (SKEW if doubtful else DRIFT)])
    failed = status.lower() == "severe" or truth(data.get("haserror"))
    return Session(name, text_of(data.get("rulesname")), status, text_of(data.get("state")),
                   failed, backups, doubtful, floor, reply.date)

@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound a request as a whole, by the SIGALRM that main() set up: requests bounds each read."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again: one can be lost in a destructor
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)

class Csm:
    """The client. It rides out what may pass; a command is processed once, or `lost` is raised."""
    def __init__(self, args: argparse.Namespace, report: "Report") -> None:
        self.servers: List[str] = args.servers    # HOST:PORT; the first one is in use
        self.deadline, self.request_timeout = report.began + args.timeout, args.request_timeout
        self.single_task = True   # GET works for a single task: not on all servers
        self._reached = False     # some server let us in
        self._checked = 0.0       # when this server was last seen to be the active one
        self._login = {"username": args.csm_user, "password": args.csm_user_passwd}
        self._secrets: List[str] = [args.csm_user_passwd]     # and the tokens
        self._token, self._report, self._http = "", report, requests.Session()
        self._http.trust_env = False    # no proxy, .netrc or CA bundle from the environment
        self._http.verify = args.ca_file or not (args.insecure or args.fingerprint)
        for server, pin in zip(self.servers, 2 * args.fingerprint):
            adapter = requests.adapters.HTTPAdapter()
            adapter.init_poolmanager(1, 1, assert_fingerprint=pin, ssl_context=(  # without CAs
                urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_NONE)))
            self._http.mount(f"https://{server}/", adapter)

    def _call(self, method: str, path: str, form: Form = None, lost: Lost = Unreachable) -> Reply:
        """The one way to a server. Raises `lost` where there is no usable answer; but WrongServer
        or Unreachable where nothing was sent, whatever `lost` is."""
        began, status, what = time.monotonic(), "no answer", f"{self.servers[0]}: {method} {path}"
        limit = max(min(self.request_timeout, self.deadline - began), 0.01)
        headers = {"Accept-Language": "en-US", "X-Auth-Token": self._token or None, "Content-Type":
                   "application/x-www-form-urlencoded" if method == "POST" else None}
        self._http.cookies.clear()  # IBM's clients, which work, send none
        try:  # of several addresses a dead one must leave time for the next: half the limit
            with time_limit(limit), self._http.request(
                    method, f"https://{self.servers[0]}/CSM/web{path}", data=form, headers=headers,
                    timeout=(limit / 2, limit), allow_redirects=False, stream=True) as answer:
                status = str(answer.status_code)
                body = bytearray()
                for chunk in answer.raw.stream(1 << 16, decode_content=True):
                    body += chunk
                    need(len(body) < BODY_LIMIT, ValueError("an endless reply"))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError,
                ValueError) as error:
            raise self._failure(error, what, lost) from None
        finally:
            self._report.progress("DEBUG", f"{what}: {status}, {time.monotonic() - began:.2f} s")
        text = body.decode("utf-8-sig", "replace")
        shown = "no JSON" if path == TOKENS else f"no JSON, but {self._hide(text[:1 << 16])[:60]!r}"
        data, fault = None, shown if text else "empty"
        with contextlib.suppress(ValueError, RecursionError):  # int() of 1e6 digits takes minutes
            data, fault = json.loads(text, parse_int=lambda digits: int(digits[:25])), ""
        message = read_message(data, self._hide)
        what = f"{what} answered {status} {message.text or fault}".strip()
        need(answer.status_code < 500 and answer.status_code not in (408, 429), lost(what))
        need(not 300 <= answer.status_code < 400, (
            WrongServer if lost is Unreachable else lost)(f"{what}: a redirect"))
        date = 0.0
        with contextlib.suppress(*ODD, OverflowError):
            date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
        return Reply(answer.status_code, data, fault, message, date, what, self._hide)

    def _hide(self, text: str) -> str:
        """A server's text without the secrets that it may echo, however spelt."""
        for secret in self._secrets:
            spellings = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret),
                         json.dumps(secret)[1:-1]}
            if re.search("[&<>'\"]", secret):
                import html  # large, and seldom needed
                spellings.add(html.escape(secret))
            for spelt in spellings:
                text = re.sub(re.escape(spelt), "***", text, flags=re.I)
        return text

    def _failure(self, error: Exception, what: str, lost: Lost) -> Problem:
        """What an error of requests means: it wraps that of urllib3, which has the reason."""
        url, exceptions = urlsplit("//" + self.servers[0]), urllib3.exceptions
        # What a server sent in place of HTTP may echo a secret, spelt in any way: it is not shown.
        text = re.sub(r"(BadStatusLine|InvalidChunkLength)\(.*", r"\1", str(error), flags=re.S)
        inner = getattr(error.args[0] if error.args else None, "reason", None)
        reason = self._hide(text.rpartition(": ")[2].strip("()'\"")) or type(error).__name__
        if isinstance(error, requests.exceptions.SSLError) and re.search(
                "certificate.verify.failed|doesn't match|fingerprints did not", text, re.I):
            shown = "not read"
            with contextlib.suppress(OSError, ValueError), time_limit(min(5, self.request_timeout)):
                pem = ssl.get_server_certificate((url.hostname or "", url.port or PORT))
                digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
                shown = ":".join(re.findall("..", digest))
            return WrongServer(
                f"{url.netloc} is not trusted and was sent no credential ({reason}). If CSM's "
                "administrator confirms the SHA-256 fingerprint of its certificate, "
                f"{shown}, give it with --fingerprint, or its CA with --ca-file")
        if isinstance(inner, (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)):
            return Unreachable(f"{url.netloc} cannot be reached: {reason}")
        return lost(f"{what} got no answer: {reason}")

    def _log_in(self) -> None:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        self._token = ""
        reply = self._call("POST", TOKENS, self._login)
        token = reply.data.get("token") if isinstance(reply.data, dict) else None
        need(reply.status not in (404, 405), Unreachable(f"{reply.what}: this is no CSM server"))
        if reply.status >= 300 or not isinstance(token, str) or not re.match(r"[!-~]+\Z", token):
            raise LoginRefused(f"{reply.what}: no token")
        self._token = token
        self._secrets.append(token)
        try:
            self._reached = len(self.servers) < 2 or bool(self.check_active())
            self._checked = time.monotonic()
        except Problem:
            self._token = ""
            raise

    def check_active(self) -> str:
        """GET /system/ha -> what it tells. Only a server that says that it is standby is one."""
        reply = self._call("GET", "/system/ha")
        if isinstance(reply.data, dict) and str(reply.data.get("islocalactive")).lower() == "false":
            raise Standby(f"{self.servers[0]} is the standby server, which runs no commands")
        return reply.message.text or reply.what

    def _ask(self, method: str, path: str, form: Form = None, lost: Lost = Unreachable) -> Reply:
        """A request with a token. 401 (and perhaps 403) mean: not processed, log in again."""
        for again in (False, True):
            if again or not self._token or (  # of a pair, the active one may change unnoticed
                    len(self.servers) > 1 and time.monotonic() > self._checked + RECHECK):
                self._log_in()
            reply = self._call(method, path, form, lost)
            if reply.status not in (401, 403):
                break
        if reply.status == 401 or reply.status < 300 and reply.fault:
            self._token = ""  # HTML may be a log-in page
        if reply.message.id:
            self._report.tell(reply.message)
        if reply.status == 404 and reply.fault and (method == "POST" or path == TASKS):
            raise lost(f"{reply.what}: CSM may be starting")
        if reply.status >= 400 or reply.message.severity not in ("", "I", "W"):
            raise (LoginRefused if reply.status == 401 else Refused)(reply.what)
        need(not reply.fault and (method == "GET" or reply.message.id), lost(reply.what))
        return reply

    def get(self, path: str, parse: Callable[[Reply], Any], once: bool = False) -> Any:
        """Read, and ride out faults; one is a reply that `parse` can make no sense of."""
        def attempt() -> Any:
            reply = self._ask("GET", path)
            try:
                return parse(reply)
            except ODD as odd:
                raise Unreachable(f"{reply.what}: odd reply: {odd}") from None
        return attempt() if once else self._ride_out(attempt)

    def session(self, name: str, once: bool = False) -> Any:
        return self.get(session_path(name), lambda reply: read_session(reply, name), once)

    def command(self, path: str, form: Form) -> Any:
        """-> the message with which CSM accepts it. Raises Refused; OutcomeUnknown where only the
        server's state can tell whether it was processed; all else means that it was not sent."""
        def attempt() -> Message:
            try:
                return self._ask("POST", path, form, OutcomeUnknown).message
            except (Refused, OutcomeUnknown) as error:
                if len(self.servers) > 1 and isinstance(error, Refused):
                    self.check_active()
                self._token = self._token if isinstance(error, Refused) else ""  # who is active?
                raise
        return self._ride_out(attempt)

    def _ride_out(self, attempt: Callable[[], Any]) -> Any:
        """Try until the deadline, on each server in turn. Before the trigger, what is not likely
        to pass is believed when all servers said so twice, and a silent server is given up."""
        faults: List[Problem] = []
        began, enough = time.monotonic(), 2 * len(self.servers)
        while True:
            try:
                return attempt()
            except (Unreachable, LoginRefused, Standby) as fault:
                faults.append(fault)
                now, last = time.monotonic(), faults[-enough:]
                hopeless = len(faults) >= enough and (
                    all(isinstance(each, (WrongServer, LoginRefused, Standby)) for each in last)
                    or not self._reached and now > began + FIRST_CONTACT)
                if now + 0.5 > self.deadline or hopeless and self._report.started == "no":
                    worst = max(last, key=lambda each: each.code)
                    raise type(worst)("; ".join(dict.fromkeys(map(str, last)))) from None
                self._report.progress("WARNING", f"{fault}; trying again")
            if len(self.servers) > 1:  # a log-in there also tells whether it is active
                self._token = ""
                self.servers.append(self.servers.pop(0))
            time.sleep(min(0.25 * 2 ** min(len(faults), 9), LONGEST_PAUSE,
                           max(0.5, (self.deadline - now) / 2)))

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
        with contextlib.suppress(Unreachable, LoginRefused, Refused):
            return csm.session(name, once=True)
    names = csm.get(SHORT, lambda reply: read_names(reply, name))
    if name not in names:
        raise NotFound(f'{csm.servers[0]} shows no {"task and no " if tasks else ""}session '
                       f'"{name}"; {closest(name, names + tasks)}')
    return csm.session(name)

def find(csm: Csm, task_name: str, session_name: str) -> State:
    """The target, and what CSM shows of it before the trigger. Raises NotFound, Refused."""
    tasks = csm.get(TASKS, lambda reply: read_tasks(reply, task_name)) if task_name else []
    names, found = [each.name for each in tasks], [each for each in tasks if each.name == task_name]
    title, task = f'task "{task_name}" on {csm.servers[0]}', found[0] if found else None
    if len(found) > 1:
        raise NotFound(f"{title} is there {len(found)} times, with the ids "
                       f"{', '.join(str(each.id) for each in found)}: rename all but one")
    if task_name and session_name and not task:
        raise NotFound(f"{title} is not there; {closest(task_name, names)}")
    wanted = task.sessions if task and not session_name else [session_name or task_name]
    sessions = [find_session(csm, each, [] if task else names) for each in dict.fromkeys(wanted)]
    sessions = [csm.session(each.name) if each.doubtful else each for each in sessions]
    backed_up = [each for each in sessions if SAFEGUARDED in (each.kind or SAFEGUARDED).lower()]
    if not backed_up:
        raise NotFound("nothing would be backed up: " + (", ".join(
            f'session "{each.name}" is of the type {each.kind}' for each in sessions)
            or f"{title} has no step Backup"))
    if task and task.state == "approval":
        raise Refused(f"{title} waits for approval: its pendingApproval is true")
    return State(task, backed_up, int(task.last_ran) if task and task.state == "running" else 0)

def look(csm: Csm, noted: State) -> State:
    """The same task and sessions as CSM shows them now."""
    task: Optional[Task] = None
    if noted.task and csm.single_task:
        try:
            task = csm.get(f"{TASKS}/{noted.task.id}", lambda reply: read_task(
                reply.data, reply.hide), once=True)
        except (Unreachable, LoginRefused, Refused) as fault:  # an older server: the list tells
            csm.single_task = not isinstance(fault, Refused)
    if noted.task and (not task or task.id != noted.task.id):
        wanted = noted.task
        task = csm.get(TASKS, lambda reply: {
            each.id: each for each in read_tasks(reply, wanted.name)}[wanted.id])
    return State(task, [csm.session(each.name) for each in noted.sessions], noted.since)

def fresh(noted: State, now: State, settled: bool = False) -> List[Optional[Backup]]:
    """Of each session the new backup: not known before, and newer than all that were known. Of a
    run that was joined, one since its start; but only in the end is its start told for sure."""
    since = max(noted.since, now.task.last_ran if now.task else 0)
    found = []
    for before, session in zip(noted.sessions, now.sessions):
        known = {each.id for each in before.backups}
        new = [each for each in session.backups
               if each.id not in known and each.seconds > before.floor
               or noted.since and settled and each.seconds >= int(since)]
        found.append(max(new, key=lambda each: (each.valid, each.seconds), default=None))
    return found

def unknown(task: Optional[Task], sessions: List[Session]) -> State:
    """A state before all backups: compared with it, the newest one counts as new."""
    return State(task, [each._replace(backups=[], floor=0.0) for each in sessions], 0)

def has_begun(noted: State, now: State) -> bool:
    return any(fresh(noted, now)) or bool(noted.task and now.task and (
        now.task.state == "running" or now.task.last_ran > noted.task.last_ran))

def trigger(csm: Csm, noted: State, report: "Report") -> State:
    """Send it -> what to compare with. report.reply stays None where nothing tells yet."""
    before, report.started = report.started, "perhaps"
    try:
        report.reply = csm.command(f"{TASKS}/{noted.task.id}", None) if noted.task else csm.command(
            session_path(noted.sessions[0].name), {"cmd": "Backup"})
        report.started = "yes"
        report.progress("INFO", f"started: {report.reply.text}")
    except OutcomeUnknown as error:
        report.progress("WARNING", f"{error}; looking whether it arrived")
    except (Unreachable, LoginRefused, Refused) as error:  # this one was not processed
        report.started = before
        for pause in ((0, 1, 2) if noted.task else (0,)) if type(error) is Refused else ():
            time.sleep(pause)
            if has_begun(noted, look(csm, noted)):  # somebody else was faster: join
                report.reply, report.started = UNSEEN, "yes"
                return noted
        if before == "no":
            raise
        report.progress("WARNING", f"{error}; still looking for the first one")
    return noted

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

def follow(csm: Csm, noted: State, report: "Report", no_wait: bool, unlock: Any) -> None:
    """Look until the backup is proven. A trigger that got no answer goes out once more, and only
    after a look that found no trace of it when one request timeout had passed. `unlock` is called
    once other runs can see this one."""
    seen_running, moved, again = bool(noted.task and noted.task.state == "running"), False, False
    over_at = 0.0
    for waited in polls(csm.deadline):
        try:
            now = look(csm, noted)
        except Refused as fault:  # of a read: this says nothing about the run
            report.progress("WARNING", str(fault))
            continue
        if any(fresh(noted, now)) or now.task and now.task.state == "running":
            unlock()
        if not report.reply and has_begun(noted, now):
            report.reply, report.started = UNSEEN, "yes"
        elif not report.reply and not again and waited >= csm.request_timeout:
            again, noted = True, trigger(csm, noted, report)
        over = bool(report.reply and report.reply.id == COMPLETED)
        if now.task and noted.task:  # flag, lastRan and message may change in any order
            last, moved = now.task.message, moved or now.task.message != noted.task.message
            seen_running = seen_running or now.task.state == "running"
            over = now.task.state != "running" and (
                seen_running or (moved or has_begun(noted, now)) and last.id != STARTED)
        over_at = (over_at or waited) if over else 0.0
        age = waited - over_at if over else -1.0
        report.saw(noted, now, waited, age >= SETTLE)
        if no_wait and report.reply or judge(noted, now, report.reply or UNSEEN, age, moved):
            return

def judge(noted: State, now: State, reply: Message, age: float, moved: bool) -> bool:
    """Is the backup proven? Raises BackupFailed. `age`: for so long the run has been over, less
    than 0 where it is not; `moved`: the task's message is not that of an earlier run."""
    for before, session in zip(noted.sessions, now.sessions):
        if session.failed and not before.failed:
            raise BackupFailed(f'session "{session.name}" turned Severe or haserror')
    proven = all(each and each.valid for each in fresh(noted, now, age >= SETTLE))
    if not now.task or not noted.task:
        last, errors, final = reply, [], True
    else:
        last = now.task.message
        errors = [each for each in now.task.recent if each not in noted.task.recent
                  and each.severity not in ("", "I", "W")]
        if last.severity not in ("", "I") and (age >= GRACE or last != noted.task.message):
            errors.append(last)
        # Another message than this one may be a step's, and an error still to come.
        final = age >= 0 and (moved and last.id == FINISHED or age >= SETTLE)
    if errors and age >= 0:
        raise BackupFailed(f"the run ended with an error: {errors[0].text}")
    if age >= GRACE and not (proven and last.severity == "I"):
        raise OutcomeUnknown("how the run ended is not told") if proven else BackupFailed(
            f"the run ended without a new valid backup: {last.text or 'no message'}")
    return proven and final and (not noted.task or last.severity == "I" and (
        age >= GRACE or last.id != STARTED))

def tables(tasks: List[Task], sessions: List[Session]) -> List[str]:
    """Lines of at most 80 columns with names of 60, none of them cut: they are to be copied."""
    lines = ["STATE     TASK"] if tasks else []
    for task in tasks:
        lines += [f"{task.state:9} {task.name}", f"          last run {show_time(task.last_ran)}"]
        lines += [f"          backs up {name}" for name in task.sessions]
    lines.append("STATUS    SAFEGUARDED COPY SESSION")
    for each in sessions:
        newest = max(each.backups, key=lambda backup: backup.seconds, default=None)
        lines += [f"{each.status:9} {each.name}", f"          state {each.state}",
                  f"          newest backup {newest.id} of {show_time(newest.seconds)}"
                  + ", NOT VALID" * (not newest.valid) if newest else "          no backup"]
    return lines

def show_list(csm: Csm, report: "Report") -> Tuple[str, str, List[str]]:
    tasks = csm.get(TASKS, read_tasks)
    names = csm.get(SHORT, lambda reply: [each["name"] for each in reply.data if SAFEGUARDED
                                          in text_of(each.get("rulesname")).lower()])
    sessions = [csm.session(name) for name in names]
    report.saw(unknown(None, sessions), State(None, sessions, 0))
    report.result["tasks"] = [
        {"id": each.id, "name": each.name, "state": each.state, "sessions": each.sessions,
         "last_ran": show_time(each.last_ran)} for each in tasks]
    text = f"{len(tasks)} tasks, {len(names)} Safeguarded Copy sessions on {csm.servers[0]}"
    return "listed", text, tables(tasks, sessions)

class Report:
    """The result, in the shape of --json (README: "The JSON object"), and the two streams."""
    def __init__(self, event: List[str]) -> None:
        self.args = argparse.Namespace(quiet=False, verbose=False, json=False, leef=None)
        self.title = ""                           # of what was found
        self.reply: Optional[Message] = None      # CSM's, to the trigger; None where it went lost
        self.started, self.began, self._shown, self._said = "no", time.monotonic(), "", 0.0
        rule_id, rule_name, *event = [printable(utf8(each)) for each in [
            os.environ.get("RULE_ID", ""), os.environ.get("RULE_NAME", "")] + event]
        self.result: Dict[str, Any] = {
            "version": VERSION, "exit_code": 0, "outcome": "", "message": "", "server": "",
            "task": None, "sessions": [], "started": "no", "csm_message": {"id": "", "text": ""},
            "seconds": 0.0, "event": event, "rule_id": rule_id, "rule_name": rule_name}

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
        if not self.args.quiet and (level != "DEBUG" or self.args.verbose):
            terminal = sys.stderr is not None and sys.stderr.isatty()
            if terminal:
                self.write("stderr", end="\r\x1b[K")
            if level != "LIVE":
                self.write("stderr", f"{show_time(time.time())} {level} {text}")
            elif terminal:
                self.write("stderr", text[:79], end="")

    def tell(self, message: Message) -> None:
        self.result["csm_message"] = {"id": message.id, "text": message.text}

    def saw(self, noted: State, now: State, waited: float = 0, settled: bool = False) -> None:
        """Note the state; show it at each change and each minute, on a terminal at each look."""
        self.result["task"] = now.task and now.task.name
        self.result["sessions"] = [
            {"name": each.name, "status": each.status, "state": each.state, "backup": new and {
                "id": new.id, "time": new.time, "valid": new.valid, "copy_sets": new.copy_sets}}
            for each, new in zip(now.sessions, fresh(noted, now, settled))]
        if now.task:
            self.tell(now.task.message)
        running = now.task and now.task.state == "running"
        text = ("task running; " if running else "") + self.state()
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

def utf8(text: str, errors: str = "replace") -> str:
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
        room = max(0, LEEF_LIMIT - len(packet.encode()) - len(key) - 2)
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
    add("-s", "--csm_server", required=True, help="HOST or HOST:PORT; both servers of a pair: A,B")
    add("-P", "--csm_port", default=str(PORT), help="where -s has none: %(default)s")
    add("-u", "--csm_user", help="else CSM_USER in the environment, else a prompt")
    secret("-p", "--csm_user_passwd", help="else CSM_USER_PASSWD in the environment, else a prompt")
    secret("--password-file", metavar="FILE", help="of one line, the password; -: standard input")
    add("--base64", action="store_true", help="-u and -p hold Base64, as for IBM's sample script")
    add("-t", "--csm_task", help="the scheduled task to run; where none has this name, the session")
    add("-S", "--csm_session", help="the session to back up; with -t: where the backup must appear")
    trust("--ca-file", metavar="PEM", help="trust this CA")
    trust("--fingerprint", metavar="SHA256", help="trust this certificate; of a pair: A,B")
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

def positive(text: str) -> float:
    if not 0 < number(text) <= 86400:
        raise argparse.ArgumentTypeError("not a number above 0 and up to 86400")
    return number(text)

def address(text: str, port: str, option: str) -> str:
    match = re.match(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d+))?\Z", text.strip(),
                     re.ASCII)  # requests would rewrite another name, and miss its certificate
    port = (match.group(2) or port).strip() if match else ""
    if not match or not re.match(r"\d{1,5}\Z", port) or not 0 < int(port) < 65536:
        raise UsageError(f"{option}: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)")
    return f"{match.group(1)}:{int(port)}"

def credential(name: str, args: argparse.Namespace, report: Report) -> Optional[str]:
    """What -u or -p does not give: from --password-file, the environment, or the terminal."""
    if name == "csm_user_passwd" and args.password_file is not None:
        with open(0 if args.password_file == "-" else args.password_file, "rb") as file:
            lines = file.read(65536).decode("utf-8").splitlines()
            if args.password_file != "-" and os.fstat(file.fileno()).st_mode & 0o077:
                report.progress("WARNING", "others can read the password file: chmod 600 it")
        need(len(lines) == 1, UsageError("--password-file: not one line"))
        return lines[0]
    if name.upper() in os.environ or not (sys.stdin and sys.stdin.isatty()):
        return os.environ.get(name.upper())
    if name == "csm_user":
        report.write("stderr", "CSM user: ", end="")
        return sys.stdin.readline().rstrip("\n")
    import getpass  # only a terminal needs it
    return getpass.getpass("CSM password: ")

def complete(args: argparse.Namespace, report: Report) -> None:
    """Get user and password, and check all that can be checked before anything is sent."""
    for name in ("csm_user", "csm_user_passwd"):
        value, source = getattr(args, name), "--base64" if args.base64 else "--password-file"
        try:
            if value is None:
                setattr(args, name, credential(name, args, report))
            elif args.base64:
                value = base64.b64decode(value, validate=True).decode("utf-8")
                setattr(args, name, re.sub(r"\n\Z", "", value))
        except (OSError, ValueError, EOFError) as error:  # a ValueError would show the value
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"--{name}, {source}: {reason}") from None
    for name in ("csm_server", "csm_port", "csm_user", "csm_user_passwd", "csm_task",
                 "csm_session"):
        value = getattr(args, name)
        need(value is None or value.strip(), UsageError(f"--{name} is blank"))
        need(value or name in ("csm_task", "csm_session"), UsageError(f"--{name} is missing"))
        try:
            setattr(args, name, utf8(value or "", "strict"))
        except UnicodeDecodeError:
            raise UsageError(f"--{name} is not UTF-8") from None
    need(args.csm_task or args.csm_session or args.list, UsageError("--csm_task is missing"))
    try:
        if args.ca_file is not None:
            ssl.create_default_context(cafile=args.ca_file)
    except (OSError, ValueError) as error:
        raise UsageError(f"--ca-file: {error}") from None
    address("-P", args.csm_port, "-P")
    args.servers = [address(each, args.csm_port, "-s") for each in args.csm_server.split(",")]
    need(len(args.servers) < 3, UsageError("-s: more than the two servers of a pair"))
    args.leef = None if args.leef is None else address(args.leef, "514", "--leef")
    pins = [] if args.fingerprint is None else args.fingerprint.lower().split(",")
    args.fingerprint = [re.sub("[: ]", "", each) for each in pins]
    need(len(pins) < 3 and all(re.match(r"[0-9a-f]{64}\Z", each) for each in args.fingerprint),
         UsageError("--fingerprint: not the 64 hexadecimal digits of a SHA-256"))

def lock(stack: contextlib.ExitStack, seconds: float) -> None:
    """Until the stack is closed, one run of this host at a time looks and triggers, so that it
    sees the run before it. A lock that cannot be had stops nothing."""
    with contextlib.suppress(OSError, ImportError), time_limit(seconds):
        import fcntl
        fcntl.flock(stack.enter_context(open(__file__, "rb")), fcntl.LOCK_EX)

def run(args: argparse.Namespace, report: Report) -> Tuple[str, str, List[str]]:
    """Do what was asked for -> outcome, text, table. Raises a Problem where there is one."""
    if args.insecure:
        urllib3.disable_warnings()
        report.progress("WARNING", "--insecure: whoever answers is given the password")
    csm = Csm(args, report)
    report.result["server"] = csm.servers[0]
    if args.list:
        return show_list(csm, report)
    with contextlib.ExitStack() as stack:
        if args.min_interval:
            lock(stack, min(args.request_timeout, args.timeout / 4))
        noted = find(csm, args.csm_task, args.csm_session)
        title = report.title = (f'task "{noted.task.name}" (id {noted.task.id})' if noted.task
                 else f'session "{noted.sessions[0].name}"') + f" on {csm.servers[0]}"
        ages = [each.date - max([backup.seconds for backup in each.backups if backup.valid] + [0])
                for each in noted.sessions if each.date]
        report.saw(unknown(noted.task, noted.sessions), noted)
        report.progress("INFO", title)
        if args.check:
            with contextlib.suppress(Unreachable):
                report.progress("INFO", f"HA: {csm.check_active()}")
            return "checked", f"{title} is ready: nothing was started", tables(
                [noted.task] if noted.task else [], noted.sessions)
        if args.min_interval and len(ages) == len(noted.sessions) and (
                -SKEW <= min(ages) and max(ages) < args.min_interval * 60):
            return "skipped", (f"{title}: nothing was started: its newest valid backup is "
                               f"{max(ages) / 60:.0f} minutes old"), []
        report.saw(noted, noted)
        if noted.task and noted.task.state == "running":  # join that run
            report.reply, report.started = UNSEEN, "yes"
            stack.close()
        else:
            noted = trigger(csm, noted, report)
        if not (args.no_wait and report.reply):
            follow(csm, noted, report, args.no_wait, stack.close)
    report.result["server"] = csm.servers[0]
    took = f"after {time.monotonic() - report.began:.0f} s"
    return "accepted" if args.no_wait else "verified", f"{title}, {took}: {report.state()}", []

def on_signal(signum: int, frame: Any) -> None:
    if signum == signal.SIGALRM:
        raise socket.timeout("no complete answer in time")
    began = time.monotonic()  # impatience is one signal; but one can be lost in a destructor
    listen(lambda *late: on_signal(*late) if time.monotonic() > began + 0.5 else None)
    raise KeyboardInterrupt(signum)

def listen(handler: Callable[[int, Any], None]) -> None:
    with contextlib.suppress(ValueError):  # not the main thread
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
