"""How servers of different ages and kinds show the same things: the options of a `Dialect`."""

from typing import Any, Dict, Union


class Dialect:
    """How a server shows what it knows. The attributes may be set while it runs."""

    # | lastmessage-id | array | array-no-text | array-null | array-empty: the last three have no
    # resultText (no such key, null, or "")
    messages = "lastmessage"
    mute = "empty"  # | null | missing: `messages` of a task that tells none
    command_text = "msgTranslated"  # | resultText | none
    backup_results = "BackupResults"  # | backupResults
    numbers = "numbers"  # | strings | all-strings (the booleans too)
    # | 0 | "missing": lastRan of a new task, nextRun of one that is not scheduled
    never_ran: Union[int, str, None] = None
    single_task = 200  # | 404 | 405: what GET of one task gets
    steps = True  # whether a task shows its actions
    affected = True  # whether a task shows affectedSession
    backup_id_shown = True
    no_backups = "empty"  # | missing | sequence: backupInfo where there is no backup
    ha_supported = True  # whether there is a /system/ha
    # What is refused: "refuse-E" is HTTP 200 with a message that ends in E, a number the status.
    # | 409 | 500 | "accept": running a task that runs (or seems to)
    running_again: Union[int, str] = "refuse-E"
    # | 409 | "accept" (it is but a flag): running a task that waits for approval
    approval: Union[int, str] = "refuse-E"
    standby: Union[int, str] = "error"  # | http | 503: any command to a standby
    bad_login: Union[int, str] = 401  # | 403 | no-token | html: what a refused log-in gets
    denied: Union[int, str] = 403  # | refuse-E | html: what this user's role may not do
    cancelled = "error"  # | cut: the last message of a run that was cancelled; cut: a step's
    content_type = False  # whether a POST without Content-Type is refused: 415
    cookies = False  # whether log-in sets one, and one that has expired with its token is refused

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            if name not in OPTIONS:
                raise TypeError(f"a dialect has no option {name!r}")
            setattr(self, name, value)

    def spell(self, value: Any) -> Any:
        """A value as this server spells it: numbers as strings, where it is of that kind."""
        if self.numbers == "numbers":
            return value
        if isinstance(value, dict):
            return {key: self.spell(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.spell(item) for item in value]
        if isinstance(value, bool):
            return str(value).lower() if self.numbers == "all-strings" else value
        return str(value) if isinstance(value, (int, float)) else value


OPTIONS = {name for name in vars(Dialect) if not name.startswith("_") and name != "spell"}

# The options that make a server of another age.
DIALECTS: Dict[str, Dict[str, Any]] = {
    "modern": {},
    "6.3.1": {"messages": "array-null", "single_task": 405},
}
