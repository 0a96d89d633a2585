"""Password and token go nowhere but into the request that needs them.

Both are canaries here, and every form that they could show up in is looked for."""

import contextlib
import json
import re
import signal
import traceback
from typing import Any, Callable, Iterator, List, Tuple
from urllib.parse import urlencode

import pytest

from csm import SimulatedCsm, World
from support.checks import spellings
from support.program import (
    PASSWORD,
    USER,
    address,
    exceptions_of,
    finish,
    load,
    run_inside,
    server_options,
    start_program,
    without_credentials,
)
from support.scenes import (
    SESSION,
    TASK,
    TASK_ID,
    a_bug,
    session_shows,
    trigger_is_answered,
    wait_for,
)
from support.syslog import Udp

CANARY = 'Canary-1 +"\\&/\u00fc%'  # what URLs, JSON and ASCII would change is in it
TOKEN = "token-canary-5f0e4c21aa"


def leaks(text: str) -> List[str]:
    """Those forms of the canaries that are in the text; a piece of one is enough."""
    found = [form for secret in (CANARY, TOKEN) for form in spellings(secret) if form in text]
    return found + [piece for piece in ("Canary", "token-canary") if piece in text]


def assert_clean(*texts: str) -> None:
    for text in texts:
        assert leaks(text) == [], text


def canary_world(**options: Any) -> World:
    return World(**{"password": CANARY, "backup_seconds": 0.05, **options})


def give_canary_token(csm: SimulatedCsm, echo: str = "") -> None:
    """Let the server give out the canary as its token, and end all its texts with `echo`."""

    def tell(value: Any) -> Any:
        if isinstance(value, list):
            return [tell(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            key: each + echo
            if key in ("msgTranslated", "resultText", "lastmessage")
            else tell(each)
            for key, each in value.items()
        }

    def mutate(request: Any, value: Any) -> Any:
        if isinstance(value, dict) and "token" in value:
            csm.world.tokens[TOKEN] = csm.world.tokens.pop(value["token"])
            return {"token": TOKEN}
        return tell(value)

    csm.mutate = mutate


@pytest.fixture
def csm() -> Iterator[SimulatedCsm]:
    with SimulatedCsm(canary_world()) as server:
        give_canary_token(server)
        yield server


def options(csm: SimulatedCsm) -> List[str]:
    given = [f"--csm_server={address(csm)}", f"--csm_user={USER}", f"--csm_user_passwd={CANARY}"]
    return [*given, "--fingerprint", csm.fingerprint]


# --- Whatever comes of the run ------------------------------------------------------------------


def outcome(of_task: str) -> Callable[[SimulatedCsm, Any], None]:
    return lambda csm, _: setattr(csm.world.task(TASK), "outcome", of_task)


def wrong_password(csm: SimulatedCsm, _: Any) -> None:
    csm.world.login = "refuse"


def internal_error(csm: SimulatedCsm, stack: contextlib.ExitStack) -> None:
    bug = a_bug(CANARY, TOKEN, urlencode({"password": CANARY}))
    stack.enter_context(bug)


def untrusted(csm: SimulatedCsm, _: Any) -> None:
    csm.fingerprint = "00" * 32


def nothing(csm: SimulatedCsm, _: Any) -> None:
    pass


CODES = [
    (0, nothing, ("-t", TASK)),
    (0, nothing, ("-S", SESSION)),
    (0, nothing, ("--list",)),
    (0, nothing, ("-t", TASK, "--check")),
    (0, nothing, ("-t", TASK, "--no-wait")),
    (1, internal_error, ("-t", TASK)),
    (2, nothing, ("-t", TASK, CANARY)),
    (2, nothing, ("-t", TASK, "--timeout=" + CANARY)),
    (2, nothing, ("-t", TASK, "--base64")),
    (2, nothing, ("-t", TASK, "--csm_server=" + CANARY)),
    (2, nothing, ("-t", TASK, "--csm_passwd=" + CANARY)),
    (3, untrusted, ("-t", TASK)),
    (4, wrong_password, ("-t", TASK)),
    (5, nothing, ("-t", "Twice")),
    (5, nothing, ("-t", "no such name")),
    (6, outcome("refuse"), ("-t", TASK)),
    (6, outcome("refuse-http"), ("-t", TASK)),
    (6, outcome("approval"), ("-t", TASK)),
    (7, outcome("error"), ("-t", TASK)),
    (7, outcome("error-after-backup"), ("-t", TASK)),
    (8, outcome("hang"), ("-t", TASK, "--timeout", "30")),
]

# What a server's text may end with: nothing, or both secrets, also as the form was sent.
ECHOES = {"silent": "", "echo": f" {CANARY} {TOKEN} {urlencode({'p': CANARY})}"}

RUNS = [
    pytest.param(code, before, args, echo, id=f"{code}-case{number}-{name}")
    for number, (code, before, args) in enumerate(CODES)
    for name, echo in ECHOES.items()
    if not echo or code not in (1, 2, 3)
]  # of those, no text of the server is seen


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(("-v",), id="verbose", marks=pytest.mark.slow),
        pytest.param(("-v", "--json"), id="json"),
    ],
)
@pytest.mark.parametrize(("code", "before", "args", "echo"), RUNS)
def test_no_secret_is_told(
    csm: SimulatedCsm,
    code: int,
    before: Callable[[SimulatedCsm, Any], None],
    args: Tuple[str, ...],
    how: Tuple[str, ...],
    echo: str,
) -> None:
    give_canary_token(csm, echo if code != 4 else echo.replace(TOKEN, ""))
    with contextlib.ExitStack() as stack:
        before(csm, stack)
        result = run_inside(*options(csm), *args, *how)
    assert result.code == code, result.text
    assert_clean(result.out, result.err)
    if "--json" in how and code != 2:
        assert_clean(json.dumps(result.json, ensure_ascii=False))
        assert result.json["exit_code"] == code
    if code not in (1, 2, 3):  # the canaries were in use
        assert csm.requests[0].form["password"] == CANARY
        assert code == 4 or csm.requests[-1].token == TOKEN


def test_no_secret_in_the_leef_event(csm: SimulatedCsm) -> None:
    give_canary_token(csm, ECHOES["echo"])
    csm.world.task(TASK).outcome = "error"
    with Udp() as receiver:
        result = run_inside(*options(csm), "-t", TASK, "--leef", f"127.0.0.1:{receiver.port}")
        packet = receiver.receive().decode("utf-8")
    assert result.code == 7
    assert "LEEF:2.0" in packet
    assert_clean(packet, result.text)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", [(), ("-v", "--json")], ids=str)
def test_no_secret_when_it_is_stopped(
    csm: SimulatedCsm, number: int, code: int, how: Tuple[str, ...]
) -> None:
    give_canary_token(csm, ECHOES["echo"])
    csm.world.task(TASK).outcome = "hang"
    process = start_program(*options(csm), "-t", TASK, *how)
    wait_for(lambda: len(csm.requests) >= 6)
    process.send_signal(number)
    result = finish(process)
    assert result.code == code
    assert "Traceback" not in result.text
    assert_clean(result.out, result.err)


@pytest.mark.parametrize(
    "fault",
    [
        "401",
        "403",
        "404",
        "500",
        "html",
        "empty",
        "cut",
        "garbage",
        "redirect",
        "reset-before",
        pytest.param("silent-before", marks=pytest.mark.slow),
        "",
    ],
)
@pytest.mark.parametrize("n", [1, 2])
def test_no_secret_in_exceptions(csm: SimulatedCsm, fault: str, n: int) -> None:
    """Whatever the server does: text, arguments and traceback of what ends the run."""
    program = load()
    caught = exceptions_of(program)
    give_canary_token(csm)
    csm.world.task(TASK).outcome = "refuse"
    if fault:
        csm.inject(n, fault, permanent=True)
    short = ["--timeout", "10", "--request-timeout", "1.5" if fault == "silent-before" else "5"]
    result = run_inside(*options(csm), "-t", TASK, *short, program=program)
    assert result.code in (3, 4, 6)
    assert len(caught) == 1
    error = caught[0]
    assert_clean(
        str(error),
        repr(error),
        repr(error.args),
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    )


# --- Texts that hold a secret -------------------------------------------------------------------


@pytest.mark.parametrize("length", [375, 388])
def test_a_text_cut_amid_a_secret(csm: SimulatedCsm, length: int) -> None:
    """Too long a text is cut: what is left of a secret there must not be told either."""
    give_canary_token(csm, "")
    tell, csm.world.task(TASK).outcome = csm.mutate, "refuse"

    def mutate(request: Any, value: Any) -> Any:
        if isinstance(value, dict) and "msgTranslated" in value:
            value["msgTranslated"] = "IWNR0009E ".ljust(length, "x") + CANARY + TOKEN
        return tell(request, value) if tell else value

    csm.mutate = mutate
    result = run_inside(*options(csm), "-t", TASK)
    assert result.code == 6
    assert_clean(result.text)


@pytest.mark.parametrize("password", ["e", "1", '"', "verified", "exit_code", "task"])
def test_a_password_that_is_a_common_word(password: str) -> None:
    """Hiding it must not spoil the JSON or the verdict."""
    with SimulatedCsm(canary_world(password=password)) as csm:
        given = [*without_credentials(csm), "-u", USER, "-p", password]
        result = run_inside(*given, "-t", TASK, "--json")
        shown = result.json
        assert result.code == shown["exit_code"] == 0
        assert shown["outcome"] == "verified"
        assert shown["sessions"][0]["backup"]["id"] == csm.world.backups_made[0][1]


def test_secrets_in_the_status_of_a_session() -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.mutate = lambda request, reply: (
            dict(reply, status="Normal " + PASSWORD, state=request.token)
            if (request.path.endswith("/sessions/" + TASK))
            else reply
        )
        for option in ("-v", "--json", "--check"):
            result = run_inside(*server_options(csm), "-t", TASK, option)
            assert result.code == 0
            assert PASSWORD not in result.text
            assert not [token for token in csm.world.tokens if token in result.text]


def test_secret_in_the_type_of_a_session() -> None:
    with SimulatedCsm() as csm:
        session_shows(csm, rulesname="Metro " + PASSWORD)
        result = run_inside(*server_options(csm), "-t", TASK)
        assert result.code == 5
        assert "is of the type Metro ***" in result.err
        assert PASSWORD not in result.text
        assert csm.world.attempts == []


@pytest.mark.parametrize("echo", [PASSWORD, "s3cret+pass", "S3CRET%20PASS"])
def test_password_in_a_status_line(echo: str) -> None:
    with SimulatedCsm(backup_seconds=0.01) as csm:
        csm.garbage = f"HTTP/1.1 what: password={echo}\r\n\r\n".encode()
        csm.inject(1, "garbage")
        result = run_inside(*server_options(csm), "-t", TASK, "-v")
        assert result.code == 0
        assert csm.requests[0].fault == "garbage"
        assert echo not in result.text
        assert "tokens got no answer: " in result.err


@pytest.mark.parametrize("password", ["s3cret ", " s3cret", "s3  cret"])
def test_password_with_blanks_that_is_echoed(password: str) -> None:
    with SimulatedCsm(password=password) as csm:
        csm.world.task(TASK_ID).outcome = "refuse"
        trigger_is_answered(csm, "IWNR0009E", f"no: {password}.")
        options = server_options(csm)
        options[options.index("-p") + 1] = password
        result = run_inside(*options, "-t", TASK, "--json", "-v", "--timeout", "60")
        assert result.code == 6
        assert re.search(r"IWNR0009E no: +\*\*\* *\.;", result.err)
        assert "cret" not in result.text


@pytest.mark.parametrize("echo", ["s3cret\0 pass", "s3\x1bcret pass", "s3cret\r\n pass"])
def test_secret_with_control_characters_in_it(echo: str) -> None:
    """They are not shown, and then the secret would be."""
    with SimulatedCsm() as csm:
        csm.world.task(TASK_ID).outcome = "refuse"
        trigger_is_answered(csm, "IWNR0009E", f"no: {echo}")
        result = run_inside(*server_options(csm), "-t", TASK, "--json", "-v", "--timeout", "60")
        assert result.code == 6
        assert "IWNR0009E no: ***" in result.err
        assert PASSWORD not in result.text
        assert "\\u00" not in result.out
