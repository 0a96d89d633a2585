"""How servers of different ages and kinds show the same things: the options of a `Dialect`."""

from typing import Any, Dict, Union


class Dialect:
    """How a server shows what it knows. The attributes may be set while it runs."""

    messages = "lastmessage"  # | lastmessage-id | array | array-no-text
    command_text = "msgTranslated"  # | resultText | none
    backup_results = "BackupResults"  # | backupResults
    numbers = "numbers"  # | strings | all-strings (the booleans too)
    never_ran: Union[int, str, None] = 0  # | None | "missing": lastRan of a new task
    single_task = 200  # | 404 | 405: what GET of one task gets
    steps = True  # whether a task shows its actions
    affected = True  # whether a task shows affectedSession
    backup_id_shown = True
    no_backups = "empty"  # | missing | sequence: backupInfo where there is no backup
    ha_supported = True  # whether there is a /system/ha
    # What is refused: "refuse-E" is HTTP 200 with a message that ends in E, a number the status.
    running_again: Union[int, str] = "refuse-E"  # | 409 | 500: running a task that runs
    approval: Union[int, str] = "refuse-E"  # | 409: running a task that waits for approval
    standby: Union[int, str] = "error"  # | http | 503: any command to a standby
    bad_login: Union[int, str] = 401  # | 403 | no-token | html: what a refused log-in gets

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
    "6.3.1": {"messages": "array", "single_task": 404, "command_text": "resultText"},
}
