"""IBM's own client, pyCSM, drives the simulated server, so that the simulation is held to somebody
else's client and not only to ours. (Its wait_for_state is left out: that of 1.0.12 is broken.)"""

import sys
from typing import Any, Iterator

import pytest

from csm import SimulatedCsm
from support.checks import paths
from support.program import PASSWORD, USER
from support.scenes import SESSION, TASK, wait_for

if sys.version_info < (3, 10):
    pytest.skip("pyCSM wants Python 3.10 or newer", allow_module_level=True)

import requests
from pyCSM.clients.session_client import sessionClient
from pyCSM.clients.system_client import systemClient

pytestmark = pytest.mark.filterwarnings("ignore")  # pyCSM verifies no certificate


@pytest.fixture
def csm(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedCsm]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with SimulatedCsm(backup_seconds=0.1) as server:
        yield server


@pytest.fixture
def client(csm: SimulatedCsm) -> Any:
    return sessionClient(csm.host, csm.port, USER, PASSWORD)


def test_log_in(csm: SimulatedCsm) -> None:
    client = sessionClient(csm.host, csm.port, USER, PASSWORD)
    assert client.tk in csm.world.tokens
    assert paths(csm) == ["POST /system/v1/tokens"]


def test_wrong_password(csm: SimulatedCsm) -> None:
    with pytest.raises(requests.HTTPError):
        sessionClient(csm.host, csm.port, USER, "wrong")
    csm.world.dialect.bad_login = "no-token"
    with pytest.raises(requests.HTTPError):
        sessionClient(csm.host, csm.port, USER, "wrong")


def test_tasks(csm: SimulatedCsm, client: Any) -> None:
    tasks = client.get_scheduled_tasks().json()
    four_steps = [task for task in tasks if task["id"] == 27]
    assert [len(task["actions"]) for task in four_steps] == [4]
    assert client.get_scheduled_task(27).json() == four_steps[0]
    assert {26, 27, 28, 29} <= {task["id"] for task in tasks}


def test_sessions(csm: SimulatedCsm, client: Any) -> None:
    overview, short = (
        client.get_session_overviews().json(),
        client.get_session_overviews_short().json(),
    )
    assert [each["name"] for each in overview] == [each["name"] for each in short]
    assert SESSION in [each["name"] for each in short if each["rulesname"] == "Safeguarded Copy"]
    shown = client.get_session_info(SESSION).json()
    assert shown["name"] == SESSION
    assert shown["backupInfo"][0]["BackupResults"]
    assert "Backup" in client.get_available_commands(SESSION).json()
    assert client.get_session_info("MM HS").json()["name"] == "MM HS"  # a blank in the path
    assert "Start H1->H2" in client.get_available_commands("MM HS").json()


@pytest.mark.parametrize(("synchronous", "message"), [(False, "IWNR2211I"), (True, "IWNR2212I")])
def test_run_a_task(csm: SimulatedCsm, client: Any, synchronous: bool, message: str) -> None:
    reply = client.run_scheduled_task(27, synchronous=synchronous).json()
    assert reply["msg"] == message
    wait_for(lambda: not client.get_scheduled_task(27).json()["running"])
    assert client.get_scheduled_task(27).json()["lastmessage"].startswith("IWNR2212I")
    newest = client.get_session_info(TASK).json()["backupInfo"][0]["BackupResults"][0]
    assert csm.world.backups_made == [(TASK, newest["backupID"])]
    assert [each[:2] for each in csm.world.triggers] == [("task", TASK)]


def test_back_up_a_session(csm: SimulatedCsm, client: Any) -> None:
    reply = client.run_session_command(SESSION, "Backup").json()
    assert reply["msg"] == "IWNR1026I"
    assert SESSION in reply["msgTranslated"]
    newest = client.get_session_info(SESSION).json()["backupInfo"][0]["BackupResults"][0]
    assert csm.world.backups_made == [(SESSION, newest["backupID"])]
    assert newest["valid"] is True
    assert [each[:2] for each in csm.world.triggers] == [("session", SESSION)]


def test_refusals(csm: SimulatedCsm, client: Any) -> None:
    assert client.run_session_command("no such session", "Backup").json()["msg"][-1] == "E"
    assert client.run_session_command("MM HS", "Backup").json()["msg"][-1] == "E"
    csm.world.task(27).outcome = "refuse"
    assert client.run_scheduled_task(27).json()["msg"][-1] == "E"
    assert csm.world.triggers == []
    assert csm.world.backups_made == []


def test_a_token_that_has_expired(csm: SimulatedCsm, client: Any) -> None:
    csm.world.expire_tokens()
    assert len(client.get_scheduled_tasks().json()) == len(csm.world.tasks)
    assert paths(csm) == ["POST /system/v1/tokens", "GET /sessions/scheduledtasks"] * 2


def test_ha(csm: SimulatedCsm) -> None:
    client = systemClient(csm.host, csm.port, USER, PASSWORD)
    assert client.get_active_standby_status().json()["islocalactive"] is True
    csm.active = False
    assert client.get_active_standby_status().json()["islocalactive"] is False
    tasks = sessionClient(csm.host, csm.port, USER, PASSWORD)
    assert tasks.run_scheduled_task(27).json()["msg"][-1] == "E"
    assert csm.world.triggers == []
