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
import signal, socket, ssl, sys, threading, time, traceback
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Tuple
from urllib.parse import quote, quote_plus, urlsplit

try:
    import requests, urllib3
except ImportError as missing:
    print(f"run-cr-wflow-ds8k: nothing was started: the module {missing.name} is missing for "
          f"{sys.executable} (Python {sys.version.split()[0]}); see the README", file=sys.stderr)
    sys.exit(2)

VERSION = "1.0.0"
# CSM's REST API, as IBM's own clients and documentation show it:
SESSIONS, TASKS, TOKENS = "/sessions/", "/sessions/scheduledtasks", "/system/v1/tokens"
MESSAGE_ID = re.compile(r"([A-Z]{3,5}\d{3,5}([A-Z]))\b")  # its last letter is the severity
FINE = ("", "I", "W")  # of these, all others are errors; "": it tells no id
FINISHED, COMPLETED = "IWNR2212I", "IWNR1026I"  # a task has, a command to a session has
SAFEGUARDED = "safeguarded copy"  # in the session type, rulesname
# Our own choices, in seconds:
FIRST_CONTACT = 30.0              # how long a server that never let us in is tried
GRACE, SETTLE = 60.0, 5.0         # for a late or not yet valid backup; for a late message
SKEW = 60.0                       # by which the clocks of CSM and storage may differ
RECHECK = 30.0                    # how often a pair is asked which server is active
LONGEST_RUN = 1800.0              # so old may be the backup of a run that is joined
LONGEST_PAUSE = 15.0              # between two polls, or two tries
# What reading an odd reply raises:
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

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

class Problem(Exception): code = ExitCode.INTERNAL
class UsageError(Problem): code = ExitCode.USAGE
class Unreachable(Problem): code = ExitCode.UNREACHABLE  # not sent, or a read: it may pass
class WrongServer(Unreachable): code = ExitCode.UNREACHABLE  # not trusted, or a redirect
class LoginRefused(Unreachable): code = ExitCode.LOGIN
class Denied(Unreachable): code = ExitCode.REFUSED  # a read is; or this server is the standby
class NotFound(Problem): code = ExitCode.NOT_FOUND
class Refused(Problem): code = ExitCode.REFUSED     # a command is, and so was not started
class BackupFailed(Problem): code = ExitCode.FAILED
class OutcomeUnknown(Problem): code = ExitCode.UNKNOWN  # also: what became of a command is

# Times are epoch seconds, 0 where CSM does not tell; texts are as they come, and "" then.
Message = NamedTuple("Message", [("id", str), ("severity", str), ("text", str), ("when", float)])
Reply = NamedTuple("Reply", [     # data: the JSON, or None; what: request and answer in a line
    ("status", int), ("data", Any), ("message", Message), ("date", float), ("what", str)])
Task = NamedTuple("Task", [       # messages: the last ones, or just the last one: from 6.3.2 on
    ("id", int), ("name", str), ("state", str), ("last_ran", float),
    ("messages", List[Message]), ("sessions", List[str])])  # that it backs up
Backup = NamedTuple("Backup", [   # time: as CSM shows it
    ("id", str), ("time", str), ("valid", bool), ("copy_sets", str), ("seconds", float)])
Session = NamedTuple("Session", [  # kind: rulesname; failed: Severe or haserror; date: of the reply
    ("name", str), ("kind", str), ("status", str), ("state", str), ("failed", bool),
    ("date", float), ("whole", bool),  # whole: all backups could be read, and there were some
    ("known", List[str]), ("floor", float),  # ids of the backups; a new one is newer than floor
    ("new", Optional[Backup])])   # since an earlier look; where there was none, the newest one
State = NamedTuple("State", [("tasks", List[Task]), ("sessions", List[Session]), ("begun", bool)])
UNSEEN = Message("", "", "", 0)   # none, or the reply to a trigger that was lost, or not ours

def need(good: Any, problem: Exception) -> None:
    if not good:
        raise problem

def text_of(value: Any) -> str:
    return str(value) if isinstance(value, (str, int, float)) else ""

def truth(value: Any) -> bool:
    return text_of(value).lower() == "true"  # a boolean may come as a string

def number(value: Any) -> float:
    """A number that may come as a string, a time in ms -> seconds; 0 for what is none."""
    with suppress(TypeError, ValueError, OverflowError):
        result = 0.0 if isinstance(value, bool) else float(value)
        if abs(result) < 1e11:
            return result
        if 0 < result < 1e14:
            return result / 1000
    return 0.0

def show_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds)) if seconds > 0 else "never"

def read_message(data: Any) -> Message:
    """A reply to a command, an entry of a task's `messages`, or its `lastmessage`."""
    found = data if isinstance(data, dict) else {"resultText": data}
    text = text_of(found.get("msgTranslated") or found.get("resultText")).strip()
    match = MESSAGE_ID.match(text_of(found.get("msg"))) or MESSAGE_ID.match(text)
    name, severity = match.groups() if match else ("", "")
    text = text if text.startswith(name) else f"{name} {text}".strip()
    return Message(name, severity, text, number(found.get("baseDate")))

def read_task(data: Any) -> Task:
    """state: enabled, disabled, running or approval; sessions: of the steps Backup, else all."""
    task_id, steps = number(data["id"]), data.get("actions") or []
    messages = [data["lastmessage"]] if data.get("lastmessage") else data.get("messages") or []
    sessions = [each["sessionName"] + "" for each in steps
                if text_of(each.get("command")).strip().lower() == "backup"]
    flags = (("pendingApproval", "approval"), ("running", "running"), ("enabled", "enabled"))
    state = next((word for flag, word in flags if truth(data.get(flag))), "disabled")
    need(0 < task_id == int(task_id), ValueError("a task without an id"))
    return Task(int(task_id), data["name"] + "", state, number(data.get("lastRan")),
                [UNSEEN] + [read_message(each) for each in messages[-50:]],
                sessions if steps else [each + "" for each in data.get("affectedSession") or []])

def entries(reply: Reply) -> List[Dict[str, Any]]:
    need(isinstance(reply.data, list), ValueError("no list"))
    found = [each for each in reply.data if isinstance(each, dict)
             and isinstance(each.get("name"), str)]
    need(found or not reply.data, ValueError("nothing with a name"))
    return found

def read_backup(data: Any) -> Optional[Backup]:
    """An entry of BackupResults, None for what is none. Its id is its time in epoch seconds."""
    name = text_of(data.get("backupID"))
    seconds = number(name) if number(name) > 1e9 else number(data.get("timestamp"))
    return Backup(name or f"{seconds:.0f}", text_of(data.get("backupTime")) or show_time(seconds),
                  truth(data.get("valid")), text_of(data.get("numCopySets")) or "?",
                  seconds) if seconds > 0 else None

def read_backups(sequences: Any) -> List[Optional[Backup]]:
    """`backupInfo`. What cannot be read of it is None: no reason to take no backup."""
    results: List[Optional[Backup]] = []
    for sequence in sequences if isinstance(sequences, list) else []:
        try:
            results += [read_backup(each) if isinstance(each, dict) else None
                        for key in sequence if key.lower() == "backupresults"
                        for each in sequence[key] or []]
        except ODD:
            results.append(None)
    return results

def read_session(reply: Reply, name: str, before: Optional[Session], since: float) -> Session:
    """GET /sessions/NAME. New is a backup that is newer than all that there was `before`, or not
    older than the start of a joined run, `since`."""
    data, status = reply.data, text_of(reply.data.get("status"))
    need(data["name"] == name, ValueError("not the session that was asked for"))
    results = read_backups(data.get("backupInfo"))
    backups = [each for each in results if each]
    whole = bool(backups) and all(results)  # else perhaps some were not told
    date = min(reply.date or time.time(), time.time())  # in doubt the earlier one
    floor = max([each.seconds for each in backups if each.seconds <= date + SKEW] + [date - SKEW])
    new = [each for each in backups if not before or each.seconds >= since
           or each.id not in before.known and each.seconds > before.floor]
    return Session(
        name=name, kind=text_of(data.get("rulesname")), status=status, date=reply.date, whole=whole,
        state=text_of(data.get("state")), known=[each.id for each in backups], floor=floor,
        failed=status.lower() == "severe" or truth(data.get("haserror")),
        new=max(new, key=lambda each: (each.valid, each.seconds), default=None))

@contextmanager
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
        self.args, self.report, self.servers = args, report, args.servers  # the first is in use
        self.deadline, self.token = report.began + args.timeout, ""
        self.reached, self.checked = False, 0.0  # a server let us in; when it was last active
        self.single_task = True                  # GET works for a single task
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

    def _call(self, method: str, path: str, form: Any = None) -> Reply:
        """The one way to a server. Without a usable answer: OutcomeUnknown where a command may
        have been processed, else Unreachable."""
        began, status, what = time.monotonic(), "no answer", f"{self.servers[0]}: {method} {path}"
        limit = max(min(self.args.request_timeout, self.deadline - began), 0.01)
        command = method == "POST" and path != TOKENS
        lost = OutcomeUnknown if command else Unreachable
        data, date, body = None, 0.0, bytearray()
        try:  # of several addresses a dead one must leave time for the next: half the limit
            with time_limit(limit), self.http.request(
                    method, f"https://{self.servers[0]}/CSM/web{path}", data=form, stream=True,
                    headers={"X-Auth-Token": self.token or None}, allow_redirects=False,
                    timeout=(limit / 2, limit)) as answer:
                status = str(answer.status_code)
                for part in answer.iter_content(1 << 16):
                    body += part
                    need(len(body) < 1 << 29, ValueError("an endless reply"))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise self._failure(error, lost(f"{what} got no answer")) from None
        finally:
            self.report.log("DEBUG", f"{what}: {status}, {time.monotonic() - began:.2f} s")
        code = answer.status_code
        with suppress(ValueError, RecursionError):  # int() of 1e6 digits takes minutes
            data = json.loads(body.decode("utf-8-sig", "replace"), parse_int=lambda x: int(x[:25]))
        # A text that is all of the answer to a log-in may be the token.
        message = read_message(data if path != TOKENS or isinstance(data, dict) else None)
        what += f" answered {status} " + (
            "empty" if not body else "no JSON" if data is None else self.report.hide(message.text))
        redirect = 300 <= code < 400
        need(command or not redirect, WrongServer(f"{what}: a redirect"))
        # Without JSON some refusals are clear, a 404 is not: CSM may just be starting.
        clear = data is not None or path == TOKENS or code in (401, 403) or (
            method == "POST" and code in (400, 405, 409))
        need(clear and not redirect and 200 <= code < 500 and code not in (408, 429),
             lost(what))
        with suppress(*ODD):
            date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
        return Reply(code, data, message, date, what)

    def _failure(self, error: Exception, lost: Problem) -> Problem:
        """What an error means. What a server sent in place of HTTP may echo a secret: not shown."""
        text, server = str(error), self.servers[0]
        cause = getattr(error.args[0] if error.args else None, "reason", None)
        inner = cause or error
        reason = re.sub(r"^[A-Z_]+\] | \((_ssl|connect).*", "", str(
            inner.args[-1] if inner.args else inner).rpartition(": ")[2])
        while inner.args and isinstance(inner.args[-1], Exception):
            inner = inner.args[-1]
        if isinstance(cause, (urllib3.exceptions.NewConnectionError,
                              urllib3.exceptions.ConnectTimeoutError)):
            return Unreachable(f"{server} cannot be reached: {reason}")
        if not isinstance(error, requests.exceptions.SSLError) or not re.search(
                "certificate.verify.failed|doesn't match|fingerprints did not", text, re.I):
            return type(lost)(f'{lost}: {getattr(inner, "reason", None) or type(inner).__name__}')
        url, shown = urlsplit("//" + server), "not read"
        with suppress(OSError, ValueError), time_limit(5):
            pem = ssl.get_server_certificate((str(url.hostname), int(url.port or 0)))
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
            shown = ":".join(re.findall("..", digest))
        return WrongServer(f"{server} is not trusted and was sent no credential ({reason}). If "
                           "CSM's administrator confirms the SHA-256 fingerprint of its certificate"
                           f", {shown}, give it with --fingerprint; or its CA with --ca-file")

    def _log_in(self) -> None:
        """POST /system/v1/tokens -> {"token": text}. How it refuses is not known."""
        reply = self._call("POST", TOKENS, {"username": self.args.csm_user,
                                            "password": self.args.csm_user_passwd})
        token = text_of(reply.data.get("token")) if isinstance(reply.data, dict) else ""
        need(reply.status not in (404, 405), Unreachable(f"{reply.what}: this is no CSM server"))
        need(reply.status < 300 and re.match(r"[!-~]+\Z", token), LoginRefused(
            f"{reply.what}: no token"))
        self.token, self.checked = token, 0.0
        self.report.secrets.append(token)
        if len(self.servers) > 1 or self.args.check:
            self.check_active()
        self.reached, self.checked = True, time.monotonic()
        self.report.server = self.servers[0]

    def check_active(self) -> None:
        """GET /system/ha. Only a server that says that it is the standby is one."""
        role, told = None, ""
        with suppress(*ODD, Unreachable):  # a doubt is no reason to take no backup
            reply = self._call("GET", "/system/ha")
            role, told = str(reply.data.get("islocalactive")).lower(), reply.what
        if self.args.check:
            self.report.log("INFO", f"HA: {told or 'not told'}")
        need(role != "false", Denied(
            f"{self.servers[0]} is the standby server, which runs no commands"))

    def _try(self, method: str, path: str, parse: Any, form: Any) -> Any:
        """One attempt. 401, and perhaps 403, mean: not processed, log in again."""
        for _ in range(2):
            if not self.token or (  # of a pair, the active one may change unnoticed
                    len(self.servers) > 1 and time.monotonic() > self.checked + RECHECK):
                self._log_in()
            reply = self._call(method, path, form)
            if reply.status not in (401, 403):
                break
            self.token = ""
        self.report.tell(reply.message if method == "POST" else UNSEEN)
        if reply.status >= 400 or reply.message.severity not in FINE:
            if method == "POST" and len(self.servers) > 1:
                self.check_active()
            raise (Denied if method == "GET" else Refused)(reply.what)
        need(method == "GET" or reply.message.severity == "I", OutcomeUnknown(reply.what))
        try:
            return parse(reply) if parse else reply.message
        except ODD as odd:
            raise Unreachable(f"{reply.what}: odd reply: {odd}") from None

    def ask(self, path: str, parse: Any, form: Any = None, once: bool = False) -> Any:
        """-> what `parse` makes of it; without `parse`, a command -> CSM's message. Tries until the
        deadline, on each server in turn; before the trigger, what hardly passes is believed when
        all said so twice, and servers that never let us in are given up."""
        faults: List[Problem] = []
        began, pause, enough = time.monotonic(), 0.25, 2 * len(self.servers)
        while True:
            try:
                return self._try("GET" if parse else "POST", path, parse, form)
            except Unreachable as fault:
                if once:
                    raise
                faults = (faults + [fault])[-enough:]
            now, self.token = time.monotonic(), ""  # HTML may be a log-in page
            hopeless = False
            if self.report.started == "no" and len(faults) == enough:
                passing = {Unreachable, LoginRefused} if self.reached else {Unreachable}
                hopeless = passing.isdisjoint(map(type, faults)) or (
                    not self.reached and now > began + FIRST_CONTACT)
            if hopeless or now + 0.5 > self.deadline:
                worst = max(faults, key=lambda each: each.code)
                raise type(worst)("; ".join(dict.fromkeys(map(str, faults))))
            self.report.log("WARNING", f"{faults[-1]}; trying again")
            self.servers.append(self.servers.pop(0))
            pause = min(2 * pause, LONGEST_PAUSE)
            time.sleep(min(pause, (self.deadline - now) / 2))

    def session(self, name: str, before: Optional[Session] = None, since: float = 0,
                once: bool = False) -> Any:
        found = self.ask(session_path(name), lambda reply: read_session(
            reply, name, before, since), once=once)
        hide, new = self.report.hide, found.new
        return found._replace(status=hide(found.status), state=hide(found.state), new=new and (
            new._replace(time=hide(new.time), copy_sets=hide(new.copy_sets))))

def session_path(name: str) -> str:
    return SESSIONS + quote(name, safe="", errors="replace")

def closest(name: str, names: List[str]) -> str:
    import difflib  # only a mistake needs it
    lower = {each.lower(): each for each in names}
    near = [lower[each] for each in difflib.get_close_matches(name.lower(), lower, 3, 0.4)]
    return 'the closest: "' + '", "'.join(near) + '"' if near else "no name is like it"

def find_session(csm: Csm, name: str, others: List[str]) -> Any:
    """How a server says that a session is not there is not known: where it does not simply show
    it, the list tells. `others`: the tasks among which the name was looked for in vain."""
    if not others:
        with suppress(Unreachable):
            return csm.session(name, once=True)
    names = csm.ask(SESSIONS + "short", lambda reply: [each["name"] for each in entries(reply)])
    what = "task and no session" if others else "session"
    need(name in names, NotFound(
        f'{csm.servers[0]} shows no {what} "{name}"; {closest(name, names + others)}'))
    return csm.session(name)

def find(csm: Csm, task_name: str, session_name: str) -> State:
    """The target, and what CSM shows of it before the trigger. Raises NotFound, Refused."""
    def read(reply: Reply) -> Any:
        found = entries(reply)
        return ([each["name"] for each in found],
                [read_task(each) for each in found if each["name"] == task_name])
    names, tasks = csm.ask(TASKS, read) if task_name else ([], [])
    title, ids = f'task "{task_name}" on {csm.servers[0]}', [each.id for each in tasks]
    need(len(ids) < 2, NotFound(f"{title} is there {len(ids)} times, with the ids {ids}"))
    need(tasks or not task_name or not session_name, NotFound(
        f"{title} is not there; {closest(task_name, names)}"))
    wanted = tasks[0].sessions if tasks and not session_name else [session_name or task_name]
    sessions = [find_session(csm, each, [] if tasks else names) for each in dict.fromkeys(wanted)]
    # A list of backups that was empty, or odd, may be whole the next time.
    sessions = [each if each.whole else csm.session(each.name) for each in sessions]
    backed_up = [each for each in sessions if SAFEGUARDED in (each.kind or SAFEGUARDED).lower()]
    kinds = [f'session "{each.name}" is of the type {csm.report.hide(each.kind)}'
             for each in sessions]
    need(backed_up, NotFound("nothing would be backed up: " + (
        ", ".join(kinds) or f"{title} has no step Backup")))
    need(not tasks or tasks[0].state != "approval", Refused(f"{title} waits for approval"))
    return State(tasks, backed_up, False)

def look_at_task(csm: Csm, wanted: Task) -> Any:
    def pick(found: List[Any]) -> Task:
        task = {task.id: task for task in map(read_task, found)}[wanted.id]
        need(task.messages[1:] or not wanted.messages[1:], ValueError("its message is missing"))
        return task
    if csm.single_task:
        try:
            return csm.ask(f"{TASKS}/{wanted.id}", lambda reply: pick([reply.data]), once=True)
        except Unreachable:
            csm.single_task = False  # older servers have the list alone
    return csm.ask(TASKS, lambda reply: pick([
        each for each in entries(reply) if each["name"] == wanted.name]))

def look(csm: Csm, noted: State) -> State:
    """The same task and sessions as CSM shows them now, and whether a run has begun since."""
    tasks, begun, since = [look_at_task(csm, each) for each in noted.tasks], False, float("inf")
    if tasks:
        old, task = noted.tasks[0], tasks[0]
        begun = task.state == "running" or task.last_ran > old.last_ran
        if old.state == "running" and task.state != "running" and (old.last_ran or task.last_ran):
            # Joined: only at its end a run's start is told for sure, and perhaps not even then.
            since = max(old.last_ran, task.last_ran, noted.sessions[0].date - LONGEST_RUN) // 1
    sessions = [csm.session(each.name, each, since) for each in noted.sessions]
    return State(tasks, sessions, begun if tasks else any(each.new for each in sessions))

def trigger(csm: Csm, noted: State, report: "Report") -> State:
    """Send it -> what later looks are compared with. report.reply stays None where CSM's state
    must tell whether it arrived."""
    before, report.started = report.started, "perhaps"
    path = f"{TASKS}/{noted.tasks[0].id}" if noted.tasks else session_path(noted.sessions[0].name)
    try:
        report.reply = csm.ask(path, None, None if noted.tasks else {"cmd": "Backup"})
        report.started = "yes"
        report.log("INFO", f"started: {report.message.text}")
    except OutcomeUnknown as error:
        csm.token = ""  # of a pair, another may be active now
        report.log("WARNING", f"{error}; looking whether it arrived")
    except (Unreachable, Refused) as error:  # this one was not processed
        report.started = before
        for pause in (0, 1, 2) if isinstance(error, Refused) else ():
            time.sleep(pause)
            now = look(csm, noted)
            if now.begun:  # somebody else was faster: join that run, as one that ran before
                report.reply, report.started, report.now = UNSEEN, "yes", now
                need(noted.tasks or before != "no", BackupFailed(
                    f"{error}; and yet there is a new backup"))
                tasks = [each._replace(state="running") for each in noted.tasks]
                return noted._replace(tasks=tasks)
        if before == "no":
            raise
        report.log("WARNING", f"{error}; still looking for the first one")
    return noted

class Watch:
    """What the looks have told of the run."""
    def __init__(self) -> None:
        self.joined = self.begun = False  # somebody else started it; it has begun
        self.moved = False                # its last message is not the one noted before
        self.waited = self.over_at = 0.0  # over_at: since when it has been over, 0 while it runs
        self.errors: List[Message] = []

    def note(self, noted: State, now: State, report: "Report") -> Message:
        """-> the run's last message. The flag, lastRan and the message may change in any order."""
        last = report.reply or UNSEEN
        over = last.id == COMPLETED
        if now.tasks:
            old, task = noted.tasks[0], now.tasks[0]
            last, self.joined = task.messages[-1], old.state == "running"
            self.moved = self.moved or last != old.messages[-1]
            self.begun = self.begun or now.begun or self.moved or self.joined or bool(
                report.reply and any(each.new for each in now.sessions))
            over = self.begun and task.state not in ("running", "approval")
            self.errors += [each for each in task.messages if each.severity not in FINE and (
                each not in old.messages or self.joined and each.when >= task.last_ran > 0)]
            report.tell(last if self.moved or over else UNSEEN)
        self.over_at = (self.over_at or self.waited) if over else 0.0
        return last

    def proven(self, noted: State, now: State, last: Message, report: "Report") -> bool:
        """Is the backup proven? Raises BackupFailed, OutcomeUnknown."""
        age = self.waited - self.over_at if self.over_at else -1.0
        for before, session in zip(noted.sessions, now.sessions):
            need(before.failed or not session.failed or not report.reply, BackupFailed(
                f'session "{session.name}" turned Severe or haserror'))
        backed_up = all(each.new and each.new.valid for each in now.sessions)
        need(backed_up or age < GRACE, BackupFailed("the run ended without a new valid backup"))
        if not now.tasks:
            return backed_up
        wait, own = GRACE, self.moved and not self.joined  # the message may be a step's, or old
        if last.id == FINISHED:
            wait = 0.0 if own else SETTLE
        elif own and last.severity != "I":
            wait = SETTLE
        if age >= 0 and self.errors or age >= wait and last.severity not in ("", "I"):
            report.tell((self.errors + [last])[0])
            raise BackupFailed("the run ended with an error")
        need(last.severity or age < GRACE, OutcomeUnknown("how it ended is not told"))
        return backed_up and age >= wait and last.severity == "I"

def follow(csm: Csm, noted: State, report: "Report") -> None:
    """Look until the backup is proven. A trigger that got no answer goes out once more, and only
    after a look that found no trace of it when one request timeout had passed."""
    watch, again, began = Watch(), False, time.monotonic()
    while not (csm.args.no_wait and report.reply):
        left = csm.deadline - time.monotonic() - 0.5
        need(left > 0, OutcomeUnknown("the deadline has passed"))
        time.sleep(min(max(1.0, 0.05 * watch.waited), LONGEST_PAUSE, left))
        watch.waited = time.monotonic() - began
        now = look(csm, noted)
        if now.begun and not report.reply:
            report.reply, report.started = UNSEEN, "yes"
        elif not report.reply and not again and watch.waited >= csm.args.request_timeout:
            again = True
            noted = trigger(csm, noted, report)
            continue  # what was seen before it says nothing of it
        last = watch.note(noted, now, report)
        report.saw(now, watch.waited)
        if watch.proven(noted, now, last, report):
            return

def tables(now: State) -> List[str]:
    """Lines of at most 80 columns with names of 60, none of them cut: they are to be copied."""
    lines = []
    for task in now.tasks:
        lines += [f"task {task.name}", f"    {task.state}, last run {show_time(task.last_ran)}"]
        lines += [f"    backs up {name}" for name in task.sessions]
    for each in now.sessions:
        backup, valid = "none", ""
        if each.new:
            backup = f"{each.new.id} of {show_time(each.new.seconds)}"
            valid = "" if each.new.valid else ", NOT VALID"
        lines += [f"session {each.name}",
                  f"    {each.status}, {each.state}, newest backup {backup}{valid}"]
    return lines

class Report:
    """What is known of the run, and the two streams."""
    def __init__(self, event: List[str]) -> None:
        self.args = argparse.Namespace(quiet=False, verbose=False, json=False, leef=None)
        self.began, self.said, self.shown = time.monotonic(), 0.0, ""
        self.title, self.server = "", ""      # of what was found; HOST:PORT
        self.rule_id, self.rule_name, *self.event = [printable(utf8(each)) for each in [
            os.environ.get("RULE_ID", ""), os.environ.get("RULE_NAME", "")] + event]
        self.secrets: List[str] = []          # password and tokens
        self.reply: Optional[Message] = None  # CSM's, to the trigger; None where it went lost
        self.started, self.message, self.now = "no", UNSEEN, State([], [], False)

    def hide(self, text: str) -> str:
        """A text of CSM's without the secrets that it may echo, and not too long."""
        text = printable(text)
        for secret in map(printable, self.secrets):
            for spelt in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(spelt, "***")
        return text[:400]

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

    def tell(self, message: Message) -> None:
        if message.id:
            self.message = message._replace(text=self.hide(message.text))

    def saw(self, now: State, waited: float = 0) -> None:
        """Note the state; show it at each change and each minute, on a terminal at each look."""
        self.now = now
        text = self.state()
        if waited and (text != self.shown or waited >= self.said + 60):
            self.shown, self.said = text, waited
            self.log("INFO", text)
        self.log("LIVE", f"{waited:.0f} s: {text}")

    def state(self) -> str:
        """The task where it runs or waits, the sessions, and CSM's last message."""
        told = [f"task {each.state}" for each in self.now.tasks
                if each.state in ("running", "approval")]
        for each in self.now.sessions:
            backup = "no new backup"
            if each.new:
                backup = (f"backup {each.new.id} of {each.new.time}, copy sets "
                          f'{each.new.copy_sets}, {"valid" if each.new.valid else "NOT VALID"}')
            told.append(f'session "{each.name}" ({each.status}): {backup}')
        return "; ".join(told + ([self.message.text] if self.message.text else []))

    def result(self, outcome: str, code: ExitCode, text: str) -> Dict[str, Any]:
        """The object of --json, as the README has it."""
        return {
            "version": VERSION, "exit_code": int(code), "outcome": outcome,
            "message": printable(text), "server": self.server, "started": self.started,
            "tasks": [{"id": each.id, "name": each.name, "state": each.state, "last_ran":
                       each.last_ran, "sessions": each.sessions} for each in self.now.tasks],
            "sessions": [{"name": each.name, "status": each.status, "state": each.state, "backup":
                          each.new and each.new._asdict()} for each in self.now.sessions],
            "csm_message": {"id": self.message.id, "text": self.message.text},
            "seconds": round(time.monotonic() - self.began, 1), "event": self.event,
            "rule_id": self.rule_id, "rule_name": self.rule_name}

    def conclude(self, outcome: str, code: ExitCode, text: str) -> int:
        """Print the result, and send it where --leef says."""
        if code:
            outcome = code.name.lower().replace("_", "-")
            told = [f"{self.title}: {text}" if self.title else text,
                    self.state() if self.started != "no" else "",
                    BEGUN[self.started] if code != ExitCode.FAILED else "",
                    NEXT.get(code, "look in CSM before another run")]
            text = "; ".join(each for each in told if each)
        if self.args.leef and code != ExitCode.USAGE:
            send_udp(self, leef(self, outcome, code))
        self.log("LIVE", "")
        event = " ".join(self.event)[:200]
        line = f"{outcome}: {text}" + (f" (event: {event})" if event else "")
        if self.args.json and code != ExitCode.USAGE:
            self.write("stdout", json.dumps(self.result(outcome, code, text)))
        elif not code and not self.args.quiet:
            table = tables(self.now) if outcome in ("listed", "checked") else []
            self.write("stdout", *table, line)
        if code:
            self.write("stderr", "run-cr-wflow-ds8k: " + line)
        return int(code)

def printable(text: str) -> str:
    """Without control characters: nothing in it acts on a terminal or splits a log line."""
    return "".join(each for each in text if each.isprintable())

def utf8(text: str) -> str:
    """An argument or a variable: what the locale could not read is UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

def leef(report: Report, outcome: str, code: ExitCode) -> bytes:
    """A LEEF 2.0 event in a syslog packet. LEEF has no escapes: its separators are replaced."""
    now, host = report.now, re.sub(r"[^\w.-]", "", socket.gethostname()) or "localhost"
    packet = (f'<{131 if code else 133}>{time.strftime("%b %e %H:%M:%S")} {host} LEEF:2.0|'
              f'run-cr-wflow-ds8k|run-cr-wflow-ds8k|{VERSION}|{outcome}|^|')
    for key, value in (  # what there is no room for is cut: hence this order
            ("devTime", [f"{time.time() * 1000:.0f}"]), ("sev", ["9" if code else "3"]),
            ("cat", [outcome]), ("exitCode", [f"{code:d}"]), ("started", [report.started]),
            ("msgId", [report.message.id]), ("server", [report.server]),
            ("backups", [each.new.id for each in now.sessions if each.new]),
            ("task", [each.name for each in now.tasks]), ("ruleId", [report.rule_id]),
            ("sessions", [each.name for each in now.sessions]),
            ("msg", [report.message.text]), ("ruleName", [report.rule_name]),
            ("event", [" ".join(report.event)])):
        room = max(0, 1022 - len(packet.encode()) - len(key))  # of 1,024 bytes: RFC 3164
        text = re.sub(r"[|^]", "_", printable(",".join(value))).encode("utf-8", "replace")[:room]
        packet += f'{key}={text.decode("utf-8", "ignore")}^' if room else ""
    return packet[:-1].encode()

def send_udp(report: Report, packet: bytes) -> None:
    """In a thread, since a name may take long to be resolved: 2 s at the most."""
    where, errors = urlsplit("//" + report.args.leef), ["no thread or name service to be had"]
    def send() -> None:
        try:
            found = socket.getaddrinfo(where.hostname, where.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(*found[:2]) as sender:
                sender.sendto(packet, found[4])
            errors.clear()
        except (OSError, ValueError) as error:
            errors[0] = str(error)
    thread = threading.Thread(target=send, daemon=True)
    with suppress(RuntimeError):  # no more threads can be had
        thread.start()
        thread.join(2)
    for error in errors:
        report.log("WARNING", f"no LEEF event was sent to {report.args.leef}: {error}")

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
    secret("--password-file", metavar="FILE", type=path, help="its one line; -: standard input")
    add("--base64", action="store_true", help="-u and -p hold Base64")
    add("-t", "--csm_task", help="task to run; where no task has this name, the session")
    add("-S", "--csm_session", help="session to back up; with -t: where the backup must appear")
    trust("--ca-file", metavar="PEM", type=path, help="trust this CA")
    trust("--fingerprint", metavar="SHA256", help="trust this certificate")
    trust("--insecure", action="store_true", help="trust anything")
    mode("--check", action="store_true", help="do everything but the trigger")
    mode("--list", action="store_true", help="show tasks and Safeguarded Copy sessions")
    mode("--no-wait", action="store_true", help="end once CSM has accepted the trigger")
    add("--min-interval", metavar="MINUTES", type=positive, default=0.0,
        help="trigger nothing where there is a younger valid backup")
    add("--timeout", metavar="SECONDS", type=positive, default=1800.0, help="in all, %(default)g")
    add("--request-timeout", metavar="SECONDS", type=positive, default=30.0, help="%(default)g")
    add("--leef", metavar="HOST[:PORT]", help="send the result as a LEEF event (syslog, UDP)")
    add("--json", action="store_true", help="print the result as JSON")
    add("-q", "--quiet", action="store_true", help="print nothing where it ends with 0")
    add("-v", "--verbose", action="store_true", help="show each request")
    add("--version", action="version", version=VERSION)
    return parser

def positive(text: str) -> float:
    need(0 < number(text) <= 86400, argparse.ArgumentTypeError("not above 0 and up to 86400"))
    return number(text)

def address(text: str, port: str, option: str) -> str:
    match = re.match(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d+))?\Z", text.strip(),
                     re.ASCII)  # requests would rewrite another name, and miss its certificate
    port = match.group(2) or port if match else ""
    if not match or not re.match(r"\d{1,5}\Z", port) or not 0 < int(port) < 65536:
        raise UsageError(f"{option}: not HOST, HOST:PORT or [IPv6]:PORT (no https://, no path)")
    return f"{match.group(1)}:{int(port)}"

def path(text: str) -> str:
    return os.fsdecode(text.encode())  # as the file system's encoding has it, whatever the locale

def credential(name: str, args: argparse.Namespace, report: Report) -> str:
    """User or password, from the first source that there is."""
    given, file = getattr(args, name), args.password_file if name == "csm_user_passwd" else None
    if given is not None and args.base64:
        return base64.b64decode(given, validate=True).decode().rstrip("\n")
    if given is not None:
        return str(given)
    if file is not None:
        if file != "-" and os.stat(file).st_mode & 0o077:
            report.log("WARNING", "others can read the password file: chmod 600 it")
        with open(0 if file == "-" else file, encoding="utf-8-sig") as lines:
            return lines.read(65536).rstrip("\n")
    if name.upper() in os.environ or not (sys.stdin and sys.stdin.isatty()):
        return utf8(os.environ.get(name.upper(), ""))
    if name == "csm_user_passwd":
        import getpass  # only a terminal needs it
        return getpass.getpass("CSM password: ")
    report.write("stderr", "CSM user: ", end="")
    return sys.stdin.readline().rstrip("\n")

def complete(args: argparse.Namespace, report: Report) -> None:
    """Get user and password, and check what argparse did not, before anything is sent."""
    names = [each for each in (args.csm_task, args.csm_session) if each is not None]
    need(all(map(str.strip, names)) and (names or args.list), UsageError(
        "--csm_task is missing or blank"))
    address("any", args.csm_port, "-P")
    args.servers = [address(each, args.csm_port, "-s") for each in args.csm_server.split(",")]
    need(len(args.servers) < 3, UsageError("-s: more than the two servers of a pair"))
    args.leef = None if args.leef is None else address(args.leef, "514", "--leef")
    args.fingerprint = [] if args.fingerprint is None else (
        re.sub("[: ]", "", args.fingerprint.lower()).split(","))
    need(all(re.match(r"[0-9a-f]{64}\Z", each) for each in args.fingerprint), UsageError(
        "--fingerprint: not the 64 hexadecimal digits of a SHA-256"))
    try:
        if args.ca_file is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(args.ca_file)
        for name in ("csm_user", "csm_user_passwd"):
            setattr(args, name, credential(name, args, report))
            need(re.match(r"[^\n]*\S[^\n]*\Z", getattr(args, name)), ValueError())
    except OSError as error:
        raise UsageError(f"--ca-file or --password-file: {error.strerror}") from None
    except (ValueError, EOFError):  # they would show the value
        raise UsageError(f"--{name} is missing, blank or not a line of text"
                         + (" in Base64" if args.base64 else "")) from None
    report.secrets.append(args.csm_user_passwd)

def lock(seconds: float) -> Any:
    """-> an open file. While it is open, one run of this host at a time looks and triggers, so that
    it sees the run before it. A lock that cannot be had stops nothing."""
    with suppress(OSError):
        file = open(__file__, "rb")
        with suppress(OSError), time_limit(seconds):
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

def back_up(csm: Csm, noted: State, report: Report) -> Tuple[str, str]:
    """-> outcome, text."""
    ages = [each.date - each.new.seconds if each.date and each.new and each.new.valid else 1e9
            for each in noted.sessions]
    if csm.args.min_interval and -SKEW <= min(ages) and max(ages) < csm.args.min_interval * 60:
        return "skipped", (f"{report.title}: nothing was started: its newest valid backup is "
                           f"{max(ages) / 60:.0f} minutes old")
    report.now = noted._replace(sessions=[each._replace(new=None) for each in noted.sessions])
    if noted.tasks and noted.tasks[0].state == "running":  # join that run
        report.reply, report.started = UNSEEN, "yes"
    else:
        noted = trigger(csm, noted, report)
    follow(csm, noted, report)
    return "accepted" if csm.args.no_wait else "verified", (
        f"{report.title}, after {time.monotonic() - report.began:.0f} s: {report.state()}")

def run(args: argparse.Namespace, report: Report) -> Tuple[str, str]:
    """Do what was asked for -> outcome, text. Raises a Problem where there is one."""
    if args.insecure:
        urllib3.disable_warnings()
        report.log("WARNING", "--insecure: whoever answers is given the password")
    csm = Csm(args, report)
    report.server = csm.servers[0]
    if args.list:
        tasks = csm.ask(TASKS, lambda reply: [read_task(each) for each in entries(reply)])
        names = csm.ask(SESSIONS + "short", lambda reply: [each["name"] for each in entries(
            reply) if SAFEGUARDED in text_of(each.get("rulesname")).lower()])
        report.now = State(tasks, [csm.session(name) for name in names], False)
        return "listed", (f"{len(tasks)} tasks, {len(names)} Safeguarded Copy sessions on "
                          f"{csm.servers[0]}")
    held = lock(min(args.request_timeout, args.timeout / 4)) if args.min_interval else None
    try:
        noted = find(csm, args.csm_task or "", args.csm_session or "")
    except NotFound:  # a server that has just started may not show all at once
        time.sleep(1)
        noted = find(csm, args.csm_task or "", args.csm_session or "")
    what = f'session "{noted.sessions[0].name}"'
    if noted.tasks:
        what = f'task "{noted.tasks[0].name}" (id {noted.tasks[0].id})'
    report.title = f"{what} on {csm.servers[0]}"
    report.saw(noted)
    report.log("INFO", report.title)
    if args.check:
        return "checked", f"{report.title} is ready: nothing was started"
    outcome, text = back_up(csm, noted, report)
    del held
    return outcome, text

def on_signal(signum: int, frame: Any) -> None:
    if signum == signal.SIGALRM:
        raise socket.timeout("no complete answer in time")
    listen(lambda *_: None)  # impatience is one signal; SIG_IGN would race with a pending one
    raise KeyboardInterrupt(signum)

def listen(handler: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])  # a parent may have blocked it
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):  # or ignore SIGINT: as nohup does
        if each == signal.SIGALRM or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, handler)

def main(argv: Optional[List[str]] = None) -> int:
    """The one place that catches, prints and turns an exception into an exit code."""
    argv = [utf8(each) for each in (sys.argv[1:] if argv is None else argv)]
    at = argv.index("--") if "--" in argv else len(argv)
    report, outcome, code = Report(argv[at + 1:]), "", ExitCode.OK
    try:
        try:
            listen(on_signal)
            report.args = build_parser().parse_args(argv[:at])
            complete(report.args, report)
            outcome, text = run(report.args, report)
        finally:
            listen(lambda *_: None)  # the report is not to be interrupted
    except SystemExit:  # --help, --version
        return 0
    except Problem as problem:
        code, text = problem.code, str(problem)
        if report.started != "no" and code < ExitCode.FAILED:
            code = ExitCode.UNKNOWN
    except KeyboardInterrupt as stop:
        code, text = ExitCode(128 + stop.args[0]), "stopped by a signal"
    except Exception as error:  # a bug; a traceback could show what is secret
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        code, text = ExitCode.INTERNAL, f"{type(error).__name__} in line {line}"
    return report.conclude(outcome, code, text)

if __name__ == "__main__":
    result = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interpreter's end is not to be interrupted
    sys.exit(result)
