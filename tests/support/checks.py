"""What holds for every run, whatever happened, and the requests that a test looks for."""

import base64
import json
from typing import Any, Dict, List, Sequence
from urllib.parse import quote, quote_plus

from csm import PREFIX, Request, SimulatedCsm, World
from support.program import NAME, PASSWORD, Result

# The words of the exit codes.
WORDS = {
    0: "verified",
    1: "internal",
    2: "usage",
    3: "unreachable",
    4: "login",
    5: "not-found",
    6: "refused",
    7: "failed",
    8: "unknown",
    129: "hung-up",
    130: "interrupted",
    143: "terminated",
}
SLACK = 30.0  # seconds that a busy machine may take longer than it should


# --- Requests -----------------------------------------------------------------------------------


def is_login(request: Request) -> bool:
    return request.path.endswith("/system/v1/tokens")


def is_trigger(request: Request) -> bool:
    """A command: it starts something."""
    return request.method == "POST" and not is_login(request)


def triggers_sent(*servers: SimulatedCsm) -> List[Request]:
    """The commands that arrived, whatever came of them."""
    return [each for csm in servers for each in csm.requests if is_trigger(each)]


def is_view_of(name: str) -> Any:
    """-> whether a request reads that session."""
    return lambda request: request.method == "GET" and request.path == f"{PREFIX}sessions/{name}"


def is_task_look(request: Request) -> bool:
    """At the tasks once more: this is how the program waits."""
    return request.method == "GET" and "/scheduledtasks" in request.path and request.n > 3


def paths(csm: SimulatedCsm) -> List[str]:
    """The requests as METHOD PATH, in their order."""
    return [f"{each.method} {each.path[len(PREFIX) - 1 :]}" for each in csm.requests]


# --- Runs ---------------------------------------------------------------------------------------


def check(result: Result, csm: SimulatedCsm, code: int, triggers: int = 0) -> None:
    """What holds for every run, and how it ended."""
    assert result.code == code, result.text
    assert len(csm.world.triggers) == triggers, csm.requests
    assert "Traceback" not in result.text
    assert PASSWORD not in result.text
    assert csm.errors == []
    if code:  # the last line says why it failed, and nothing else does on stdout
        assert result.last_line.startswith(NAME), result.err


def check_backup(result: Result, csm: SimulatedCsm, triggers: int = 1) -> None:
    """It ended well, there is exactly one new backup, and that is the one that it tells."""
    check(result, csm, 0, triggers)
    assert len(csm.world.backups_made) == 1, csm.requests
    assert csm.world.backups_made[0][1] in result.out


def check_truth(
    result: Result,
    world: World,
    timeout: float,
    codes: Sequence[int] = (0, 3, 4, 6, 7, 8),
    ids: bool = True,
) -> Dict[str, Any]:
    """What holds for every run with --json, whatever happened; -> its JSON."""
    told = result.json
    assert "Traceback" not in result.text
    assert result.code in codes, told["message"]
    assert told["exit_code"] == result.code
    assert len(world.triggers) <= 2
    assert result.seconds <= timeout + SLACK
    assert told["started"] != "no" or not world.triggers
    assert told["started"] == "yes" or result.code
    if result.code == 0:
        assert world.backups_made
        for session in told["sessions"] if ids else []:
            assert (session["name"], session["backup"]["id"]) in world.backups_made
    return told


def check_one_backup(result: Result, world: World, triggers: int = 1) -> None:
    """A run with --json that ended well: each backup is one that it tells, and was made once."""
    told = check_truth(result, world, SLACK)
    assert result.code == 0, told["message"]
    assert len(world.triggers) == triggers
    assert world.backups_made == [
        (session["name"], session["backup"]["id"]) for session in told["sessions"]
    ]
    assert result.err.count("Z ") == result.err.count("\n"), "stderr has more than progress"


# --- Text ---------------------------------------------------------------------------------------


def spellings(secret: str) -> List[str]:
    """The ways to spell a secret that would still give it away."""
    data = secret.encode()
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        base64.b64encode(data).decode().rstrip("="),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        secret.encode("ascii", "backslashreplace").decode(),
        repr(data)[2:-1],
    ]


def check_printable(*texts: str) -> None:
    """Nothing in it acts on a terminal."""
    for text in texts:
        assert all(each == "\n" or each.isprintable() for each in text), text
