"""Secrets go nowhere but into the request that needs them, and nobody but the server is talked to.

The password and the token are canaries, and every form that they could show up in is looked for.
"""
import ast
import base64
import json
import pathlib
import re
import signal
import socket
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, Tuple
from urllib.parse import quote, quote_plus, urlencode

import pytest
import requests
from conftest import PROGRAM, load_program
from harness import USER, Result, run_inside, run_program, start_program
from simulated_csm import SimulatedCsm, World

TASK, SESSION = "ITSO_SGC_H3_LAH81", "ITSO_SGC_LAH81"
PASSWORD = 'Canary-1 +"\\&/\u00fc%'  # what URLs, JSON and ASCII would change is in it
TOKEN = "token-canary-5f0e4c21aa"


def forms(secret: str) -> List[str]:
    """The ways to spell a secret that would still give it away."""
    data = secret.encode()
    return [secret, quote(secret), quote(secret, safe=""), quote_plus(secret),
            base64.b64encode(data).decode().rstrip("="), json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1],
            secret.encode("ascii", "backslashreplace").decode(), repr(data)[2:-1]]


def leaks(text: str) -> List[str]:
    """Those forms of the canaries that are in the text; a piece of one is enough."""
    found = [form for secret in (PASSWORD, TOKEN) for form in forms(secret) if form in text]
    return found + [piece for piece in ("Canary", "token-canary") if piece in text]


def assert_clean(*texts: str) -> None:
    for text in texts:
        assert leaks(text) == [], text


def canary_world(**options: Any) -> World:
    return World(**dict({"password": PASSWORD, "backup_seconds": 0.1}, **options))


def give_canary_token(csm: SimulatedCsm, echo: str = "") -> None:
    """Let the server give out the canary as its token, and end all its texts with `echo`."""
    def tell(value: Any) -> Any:
        if isinstance(value, list):
            return [tell(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {key: each + echo if key in ("msgTranslated", "resultText", "lastmessage")
                else tell(each) for key, each in value.items()}

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
        assert server.errors == []


def options(csm: SimulatedCsm, *trust: str) -> List[str]:
    return ["--csm_server=%s:%d" % (csm.host, csm.port), "--csm_user=" + USER,
            "--csm_user_passwd=" + PASSWORD] + list(trust or ["--fingerprint", csm.fingerprint])


# --- Nothing is told, whatever comes of the run -------------------------------------------------

def outcome(of_task: str) -> Callable[[SimulatedCsm, Any], None]:
    return lambda csm, _: setattr(csm.world.task(TASK), "outcome", of_task)


def wrong_password(csm: SimulatedCsm, _: Any) -> None:
    csm.world.login = "refuse"


def internal_error(csm: SimulatedCsm, monkeypatch: Any) -> None:
    class Odd(Exception):
        pass

    def send(*args: Any, **kwargs: Any) -> Any:
        raise Odd(PASSWORD, TOKEN, urlencode({"password": PASSWORD}))

    monkeypatch.setattr(requests.Session, "send", send)


def untrusted(csm: SimulatedCsm, _: Any) -> None:
    csm.fingerprint = "00" * 32


def nothing(csm: SimulatedCsm, _: Any) -> None:
    pass


CODES = [
    (0, nothing, ("-t", TASK)), (0, nothing, ("-S", SESSION)), (0, nothing, ("--list",)),
    (0, nothing, ("-t", TASK, "--check")), (0, nothing, ("-t", TASK, "--no-wait")),
    (1, internal_error, ("-t", TASK)), (2, nothing, ("-t", TASK, PASSWORD)),
    (2, nothing, ("-t", TASK, "--timeout=" + PASSWORD)), (2, nothing, ("-t", TASK, "--base64")),
    (2, nothing, ("-t", TASK, "--csm_server=" + PASSWORD)),
    (2, nothing, ("-t", TASK, "--csm_passwd=" + PASSWORD)), (3, untrusted, ("-t", TASK)),
    (4, wrong_password, ("-t", TASK)), (5, nothing, ("-t", "Twice")),
    (5, nothing, ("-t", "no such name")), (6, outcome("refuse"), ("-t", TASK)),
    (6, outcome("refuse-http"), ("-t", TASK)), (6, outcome("approval"), ("-t", TASK)),
    (7, outcome("error"), ("-t", TASK)), (7, outcome("error-after-backup"), ("-t", TASK)),
    (8, outcome("hang"), ("-t", TASK, "--timeout", "0.8")),
]
# What a server's text may end with: nothing, or both secrets, also as the form was sent.
ECHOES = {"silent": "", "echo": " %s %s %s" % (PASSWORD, TOKEN, urlencode({"p": PASSWORD}))}
RUNS = [pytest.param(code, before, args, echo, id="%d-case%d-%s" % (code, number, name))
        for number, (code, before, args) in enumerate(CODES) for name, echo in ECHOES.items()
        if not echo or code not in (1, 2, 3)]  # of those, no text of the server is seen


@pytest.mark.parametrize("how", [("-v",), ("-v", "--json")], ids=["verbose", "json"])
@pytest.mark.parametrize("code, before, args, echo", RUNS)
def test_no_secret_is_told(csm: SimulatedCsm, monkeypatch: pytest.MonkeyPatch, code: int,
                           before: Callable[[SimulatedCsm, Any], None], args: Tuple[str, ...],
                           how: Tuple[str, ...], echo: str) -> None:
    give_canary_token(csm, echo if code != 4 else echo.replace(TOKEN, ""))
    before(csm, monkeypatch)
    result = run_inside(*options(csm), *args, *how)
    assert result.code == code, result.text
    assert_clean(result.out, result.err)
    if "--json" in how and code != 2:
        assert_clean(json.dumps(result.json, ensure_ascii=False))
        assert result.json["exit_code"] == code
    if code not in (1, 2, 3):  # the canaries were in use
        assert csm.requests[0].form["password"] == PASSWORD
        assert code == 4 or csm.requests[-1].token == TOKEN


@pytest.mark.parametrize("length", [375, 388])
def test_a_text_cut_amid_a_secret(csm: SimulatedCsm, length: int) -> None:
    """Too long a text is cut: what is left of a secret there must not be told either."""
    give_canary_token(csm, "")
    tell, csm.world.task(TASK).outcome = csm.mutate, "refuse"

    def mutate(request: Any, value: Any) -> Any:
        if isinstance(value, dict) and "msgTranslated" in value:
            value["msgTranslated"] = "IWNR0009E ".ljust(length, "x") + PASSWORD + TOKEN
        return tell(request, value) if tell else value

    csm.mutate = mutate
    result = run_inside(*options(csm), "-t", TASK)
    assert result.code == 6
    assert_clean(result.text)


@pytest.mark.parametrize("token", ["", " ", "\u00a0", "\x01"])
def test_token_of_blanks(csm: SimulatedCsm, token: str) -> None:
    """It is none, and hiding it would spoil all texts."""
    csm.mutate = lambda request, value: {"token": token, "msgTranslated": "IWNR0009E no such user"}
    result = run_inside(*options(csm), "-t", TASK)
    assert result.code == 4 and "IWNR0009E no such user" in result.err


def test_no_secret_in_the_leef_event(csm: SimulatedCsm) -> None:
    give_canary_token(csm, ECHOES["echo"])
    csm.world.task(TASK).outcome = "error"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        result = run_inside(*options(csm), "-t", TASK, "--leef",
                            "127.0.0.1:%d" % receiver.getsockname()[1])
        packet = receiver.recv(65536).decode("utf-8")
    assert result.code == 7 and "LEEF:2.0" in packet
    assert_clean(packet, result.text)


@pytest.mark.parametrize("password", ["e", "1", '"', "verified", "exit_code", "task"])
def test_a_password_that_is_a_common_word(password: str) -> None:
    """Hiding it must not spoil the JSON or the verdict."""
    with SimulatedCsm(canary_world(password=password)) as csm:
        result = run_inside("-s", "%s:%d" % (csm.host, csm.port), "-u", USER, "-p", password,
                            "-t", TASK, "--json", "--fingerprint", csm.fingerprint)
        shown = result.json
        assert result.code == shown["exit_code"] == 0 and shown["outcome"] == "verified"
        assert shown["sessions"][0]["backup"]["id"] == csm.world.backups_made[0][1]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", [(), ("-v", "--json")], ids=str)
def test_no_secret_when_it_is_stopped(csm: SimulatedCsm, number: int, code: int,
                                      how: Tuple[str, ...]) -> None:
    # A shell's background jobs ignore SIGINT, and so would the program, had it inherited that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    give_canary_token(csm, ECHOES["echo"])
    csm.world.task(TASK).outcome = "hang"
    process = start_program(*options(csm), "-t", TASK, *how)
    deadline = time.monotonic() + 20
    while len(csm.requests) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    result = Result(process.returncode, out.decode(), err.decode(), 0)
    assert result.code == code and "Traceback" not in result.text
    assert_clean(result.out, result.err)


@pytest.mark.parametrize("fault", [
    "401", "403", "404", "500", "html", "empty", "cut", "garbage", "redirect", "reset-before",
    "silent-before", ""])
@pytest.mark.parametrize("n", [1, 2])
def test_no_secret_in_exceptions(csm: SimulatedCsm, fault: str, n: int) -> None:
    """Whatever the server does: text, arguments and traceback of what ends the run."""
    program, caught = load_program(), []  # type: Any, List[Exception]
    give_canary_token(csm)
    csm.world.task(TASK).outcome = "refuse"
    run = program.run

    def spy(*args: Any) -> Any:
        try:
            return run(*args)
        except Exception as error:
            caught.append(error)
            raise

    program.run = spy
    if fault:
        csm.inject(n, fault, permanent=True)
    result = run_inside(*options(csm), "-t", TASK, "--timeout", "0.7", "--request-timeout", "0.2",
                        program=program)
    assert result.code in (3, 4, 6) and len(caught) == 1
    error = caught[0]
    assert_clean(str(error), repr(error), repr(error.args), "".join(
        traceback.format_exception(type(error), error, error.__traceback__)))


# --- Nobody else is talked to -------------------------------------------------------------------

class Trap:
    """Something that listens, and that must see nobody."""

    def __enter__(self) -> "Trap":
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(8)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def seen(self) -> bool:
        try:
            self._socket.accept()[0].close()
            return True
        except BlockingIOError:
            return False


def hostile_environment(csm: SimulatedCsm, trap: Trap, home: pathlib.Path) -> Dict[str, str]:
    """Proxies, a .netrc, and the CA of the server as if it were to be trusted."""
    for name in (".netrc", "_netrc"):
        (home / name).write_text("machine 127.0.0.1 login netrc password netrc\n"
                                 "default login netrc password netrc\n")
        (home / name).chmod(0o600)
    proxy = "http://127.0.0.1:%d" % trap.port
    env = {name: proxy for proxies in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
           for name in (proxies, proxies.lower())}
    env.update({"HOME": str(home), "NETRC": str(home / ".netrc"),
                "REQUESTS_CA_BUNDLE": csm.ca_file, "CURL_CA_BUNDLE": csm.ca_file})
    return env


@pytest.mark.parametrize("trust", ["fingerprint", "ca-file", "insecure"])
def test_environment_changes_nothing(csm: SimulatedCsm, tmp_path: pathlib.Path, trust: str) -> None:
    arguments = {"fingerprint": ["--fingerprint", csm.fingerprint], "insecure": ["--insecure"],
                 "ca-file": ["--ca-file", csm.ca_file]}
    with Trap() as trap:
        env = hostile_environment(csm, trap, tmp_path)
        result = run_program(*options(csm, *arguments[trust]), "-t", TASK, "--no-wait", env=env)
        assert not trap.seen()
    assert result.code == 0, result.err
    assert len(csm.world.triggers) == 1
    assert not any("authorization" in request.headers for request in csm.requests)
    assert csm.requests[0].form == {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize("wrong", [["--json"], ["--fingerprint", "00" * 32]], ids=["none", "wrong"])
def test_environment_makes_nobody_trusted(csm: SimulatedCsm, tmp_path: pathlib.Path,
                                          wrong: List[str]) -> None:
    """The CA bundle of the environment is the one that issued the server's certificate."""
    with Trap() as trap:
        env = hostile_environment(csm, trap, tmp_path)
        result = run_program(*options(csm, *wrong), "-t", TASK, env=env)
        assert not trap.seen()
    assert result.code == 3 and csm.requests == [] and csm.world.triggers == []
    assert_clean(result.text)


def test_a_wrong_bundle_in_the_environment(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    bundle = str(tmp_path / "empty.pem")
    result = run_program(*options(csm, "--ca-file", csm.ca_file), "-t", TASK, "--no-wait",
                         env={"REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle})
    assert result.code == 0, result.err


@pytest.mark.parametrize("permanent", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("args", [("-t", TASK), ("-S", SESSION)], ids=str)
def test_redirects_are_not_followed(csm: SimulatedCsm, args: Tuple[str, ...], n: int,
                                    permanent: bool) -> None:
    """At each request of a run: 307, which keeps method, body and token, to another server."""
    with SimulatedCsm(canary_world()) as other:
        csm.redirect_to = "https://127.0.0.1:%d/CSM/web/system/v1/tokens" % other.port
        csm.inject(n, "redirect", permanent)
        result = run_inside(*options(csm), *args, "--request-timeout", "0.3",
                            "--timeout", "2" if permanent else "20")
        assert other.tcp_connections == 0 and other.requests == []
    reached = len(csm.requests) >= n
    assert result.code in ((3, 7, 8) if permanent and reached else (0,)), result.text
    assert len(csm.world.triggers) <= 1
    assert_clean(result.text)


# --- The file itself ----------------------------------------------------------------------------

def test_the_file_can_be_audited() -> None:
    """It is read before it is trusted: it stays short, and so does each function."""
    text = PROGRAM.read_text(encoding="ascii")
    assert len(text.splitlines()) <= 600 and max(map(len, text.splitlines())) <= 100
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1
             for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert {name: size for name, size in sizes.items() if size > 40} == {}
    assert len(re.findall(r"\.http\.request\(", text)) == text.count("requests.Session(") == 1
    assert text.count("print(") == 1
