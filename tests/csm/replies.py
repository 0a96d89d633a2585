"""How a CSM shows what it knows and words its answers: a World and its Dialect as JSON."""

import json
import time
from typing import Any, Dict, List, Optional, Tuple

from .world import COMMANDS, SGC, Answer, Message, Session, Task, World

Reply = Tuple[int, Any]  # HTTP status, object to be sent as JSON (bytes are sent as they are)

# The HTTP status of a refusal, where its option or outcome is no number.
REFUSALS = {
    "error": 200,
    "refuse": 200,
    "refuse-E": 200,
    "no-token": 200,
    "refuse-http": 400,
    "http": 409,
}
LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Log in</title></head><body>"
    b"<form action='j_security_check'></form></body></html>"
)
ERROR_PAGE = b"<html><body><h1>Error</h1><p>The server could not do this.</p></body></html>"


def to_json(value: Any) -> bytes:
    """Half of a surrogate pair stays one."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


class Replies:
    """The replies of a server over that world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._rendered: Dict[int, Tuple[Dict[str, Any], bytes]] = {}

    # Answers to commands, and to a log-in.

    def say(self, message: Message) -> Dict[str, Any]:
        """The reply to a command."""
        reply: Dict[str, Any] = {
            "msg": message.id,
            "inserts": list(message.inserts),
            "timestamp": int(message.when * 1000),
        }
        if self.world.dialect.command_text != "none":
            reply[self.world.dialect.command_text] = message.text
        return reply

    def answer(self, answer: Answer) -> Reply:
        """With the HTTP status that it is refused with, where it is."""
        how = answer.refusal
        status = 200 if how is None else REFUSALS.get(str(how)) or int(how)
        return status, self.say(answer.message)

    def log_in(self, token: Optional[str]) -> Reply:
        """The token, or that there is none."""
        if token:
            return 200, {"token": token}
        if self.world.dialect.bad_login == "html":
            return 200, LOGIN_PAGE
        refused = self.world.message("IWNR0008E")
        return self.answer(Answer(refused, self.world.dialect.bad_login))

    def no_token(self) -> Reply:
        """To a request with a token that is not known."""
        return 401, self.say(self.world.message("IWNR0010E"))

    def denied(self) -> Reply:
        """To a request that is beyond the rights of this user."""
        how = self.world.dialect.denied
        if how == "html":
            return 403, ERROR_PAGE
        return self.answer(Answer(self.world.message("IWNR0012E"), how))

    def nothing_there(self, path: str) -> Reply:
        """To a request for something that there is not."""
        return 404, self.say(self.world.message("IWNR0011E", path))

    # Views.

    def task(self, task: Task) -> Dict[str, Any]:
        """One scheduled task."""
        dialect = self.world.dialect
        record: Dict[str, Any] = {
            "id": task.id,
            "name": task.name,
            "description": "",
            "enabled": task.enabled,
            "running": task.running,
            "pendingApproval": task.pendingApproval or task.outcome == "approval",
            "schedule": task.schedule,
            "runtaskonsuccess": task.runtaskonsuccess,
            "runtaskonfailure": task.runtaskonfailure,
            "logOnFailure": False,
        }
        for key, seconds in (("lastRan", task.lastRan), ("nextRun", self.world.next_run(task))):
            if seconds is not None:
                record[key] = int(seconds * 1000)
            elif dialect.never_ran != "missing":
                record[key] = dialect.never_ran
        if dialect.steps:
            record["actions"] = [
                self._step(number, name, command)
                for number, (name, command) in enumerate(task.steps, 1)
            ]
        if dialect.affected:
            record["affectedSession"] = sorted({name for name, _ in task.steps})
        self._add_messages(record, task)
        spelled: Dict[str, Any] = dialect.spell(record)
        return spelled

    def _add_messages(self, record: Dict[str, Any], task: Task) -> None:
        """`lastmessage`, or `messages`."""
        dialect = self.world.dialect
        if dialect.messages.startswith("lastmessage"):
            last = task.messages[-1] if task.messages and not task.mute else None
            is_id = dialect.messages == "lastmessage-id"
            record["lastmessage"] = (last.id if is_id else last.text) if last else None
        elif not task.mute:
            record["messages"] = [
                {"baseDate": int(message.when * 1000), "msg": message.id}
                for message in task.messages
            ]
            for shown, message in zip(record["messages"], task.messages):
                texts = {"array": message.text, "array-null": None, "array-empty": ""}
                if dialect.messages in texts:
                    shown["resultText"] = texts[dialect.messages]
        elif dialect.mute != "missing":
            record["messages"] = None if dialect.mute == "null" else []

    @staticmethod
    def _step(number: int, name: str, command: str) -> Dict[str, Any]:
        if command.startswith("wait:"):
            state = command[len("wait:") :]
            return {"step": number, "sessionName": name, "state": state, "timeout": 300000}
        return {"step": number, "sessionName": name, "command": command}

    def tasks(self) -> Any:
        """All tasks. A large server keeps the JSON of each, so that it costs the CPU but once."""
        if not self.world.lists_tasks:
            return []
        if not self.world.large:
            return [self.task(task) for task in self.world.tasks]
        for task in self.world.tasks:
            if self._rendered.get(task.id, ({}, b""))[0] != vars(task):
                self._rendered[task.id] = (dict(vars(task)), to_json(self.task(task)))
        return b"[" + b", ".join(self._rendered[task.id][1] for task in self.world.tasks) + b"]"

    def single_task(self, task_id: str) -> Reply:
        """One task alone, where the server can do that."""
        tasks = [task for task in self.world.tasks if str(task.id) == task_id]
        status = self.world.dialect.single_task
        if status != 200 or not tasks:
            missing = self.say(self.world.message("IWNR0006E", task_id))
            return 404 if status == 200 else status, missing
        return 200, self.task(tasks[0])

    def session(self, session: Session, backups: bool = False) -> Dict[str, Any]:
        """One session; its backups are not in the lists."""
        warning = session.status == "Normal" and self.world.clock() < session.warning_until
        record: Dict[str, Any] = {
            "name": session.name,
            "numcopysets": session.numcopysets,
            "productionhost": "H1",
            "status": "Warning" if warning else session.status,
            "state": session.state,
            "haserror": session.haserror,
            "recoverable": session.recoverable,
            "hyperswapstatus": "",
            "rulesname": session.rulesname,
        }
        if backups and session.rulesname == SGC:
            self._add_backups(record, session)
        spelled: Dict[str, Any] = self.world.dialect.spell(record)
        return spelled

    def _add_backups(self, record: Dict[str, Any], session: Session) -> None:
        dialect = self.world.dialect
        found: Dict[str, List[Dict[str, Any]]] = {}
        for backup in session.backups:
            results = found.setdefault(backup.sequence, [])
            shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(backup.id))
            results.append(
                {
                    "backupID": str(backup.id),
                    "numCopySets": str(backup.copy_sets),
                    "valid": backup.valid,
                    "blockingExpansion": "false",
                    "timestamp": backup.id * 1000,
                    "retention": "unknown",
                    "backupTime": shown,
                }
            )
            if not dialect.backup_id_shown:
                del results[-1]["backupID"]
        if dialect.no_backups == "sequence":
            found.setdefault(session.sequence, [])
        if found or dialect.no_backups == "empty":
            record["backupInfo"] = [
                {"backupSequence": sequence, dialect.backup_results: results}
                for sequence, results in found.items()
            ]

    def single_session(self, name: str, commands: bool = False) -> Reply:
        """A session with its backups, or its commands."""
        sessions = [session for session in self.world.sessions if session.name == name]
        if not sessions:
            return 200, self.say(self.world.message("IWNR1024E", name))
        if sessions[0].view != 200:
            return sessions[0].view, ERROR_PAGE
        if commands:
            return 200, COMMANDS[sessions[0].rulesname]
        return 200, self.session(sessions[0], backups=True)

    def ha(self, active: bool) -> Dict[str, Any]:
        """The server's part in a pair."""
        message = self.world.message("IWNR3048I", "SIMULATED-CSM")
        record = {
            "msg": message.id,
            "resultText": message.text,
            "islocalactive": active,
            "maxsupportedconnections": 1,
            "localhaport": 9561,
            "serverinfo": [],
            "inserts": ["SIMULATED-CSM"],
            "timestamp": int(message.when * 1000),
        }
        spelled: Dict[str, Any] = self.world.dialect.spell(record)
        return spelled
