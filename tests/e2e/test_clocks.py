"""Clocks that are wrong: the server's, the storage's, our own; an old backup is never a new one."""

import json
import time
from typing import Any, List

import pytest

from csm import Backup, Request, SimulatedCsm
from support.clock import JumpingClock
from support.program import run_inside, server_options
from support.scenes import TASK, TASK_ID

# --- Clocks that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [600, 86400])
def test_backup_from_the_future(seconds: int) -> None:
    """The clock that stamped the newest backup ran ahead, and was set right: a new one is new."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        old, ahead = str(csm.world.session(TASK).backups[0].id), str(int(time.time()) + seconds)
        csm.mutate = lambda request, reply: json.loads(json.dumps(reply).replace(old, ahead))
        result = run_inside(*server_options(csm), "-t", TASK, "--json")
        assert result.code == 0
        assert result.json["outcome"] == "verified"
        assert len(csm.world.triggers) == 1
        assert result.json["sessions"][0]["backup"]["id"] == csm.world.backups_made[0][1]


def test_slow_clock_of_our_own() -> None:
    """A wrong clock in the jail changes nothing: a backup that is listed late is not a new one."""
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.world.task(TASK_ID).outcome = "no-backup"
        csm.world.session(TASK).backups = [Backup(int(time.time()) - 7200)]
        csm.mutate = lambda request, reply: (
            dict(reply, backupInfo=[])
            if (request.path.endswith("/sessions/" + TASK) and not csm.world.triggers)
            else reply
        )
        slow = JumpingClock(offset=-10800)
        result = run_inside(*server_options(csm), "-t", TASK, clock=slow)
        assert result.code == 7
        assert "without a new valid backup" in result.err
        assert len(csm.world.triggers) == 1


def test_date_that_no_clock_can_show() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.date = "Mon, 01 Jan 99999999999 00:00:00 GMT"
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 0
        assert len(csm.world.triggers) == 1


# --- Old backups that are listed late -----------------------------------------------------------


@pytest.mark.parametrize("target", ["-t", "-S"])
def test_old_backup_listed_late_by_a_server_without_date(target: str) -> None:
    with SimulatedCsm() as csm:
        csm.date = ""
        csm.world.task(TASK_ID).outcome = csm.world.session(TASK).outcome = "no-backup"
        csm.mutate = lambda request, reply: (
            dict(reply, backupInfo=[])
            if ("backupInfo" in reply and not csm.world.triggers)
            else reply
        )
        result = run_inside(*server_options(csm), target, TASK)
        assert result.code == 7
        assert csm.world.backups_made == []


def test_known_backup_in_a_list_that_cannot_be_read_as_a_whole() -> None:
    """The storage's clock is ahead by ten minutes, and one entry tells neither id nor time."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = "no-backup"
        csm.world.session(TASK).backups[0].id = int(time.time()) + 570
        csm.mutate = lambda request, reply: json.loads(
            json.dumps(reply).replace('"BackupResults": [', '"BackupResults": [{"valid": true}, ')
        )
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 7
        assert len(csm.world.triggers) == 1


@pytest.mark.parametrize("seconds", [120, 3500])
@pytest.mark.parametrize("target", [["-t", TASK], ["-S", TASK]], ids=" ".join)
def test_backup_of_before_that_is_listed_after_the_run(target: List[str], seconds: int) -> None:
    """And the run itself makes none, though it says that all went well."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = csm.world.session(TASK).outcome = "no-backup"
        late = {"backupID": str(int(time.time()) - seconds), "valid": True, "numCopySets": "8"}

        def change(request: Request, reply: Any) -> Any:
            if csm.world.triggers and isinstance(reply, dict) and "backupInfo" in reply:
                reply["backupInfo"].append({"BackupResults": [late]})
            return reply

        csm.mutate = change
        result = run_inside(*server_options(csm), *target)
        assert result.code == 7
        assert len(csm.world.triggers) == 1
        assert csm.world.backups_made == []
        assert "no new backup" in result.err
