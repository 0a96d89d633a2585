"""Whether the server is trusted; nobody else is talked to, and no credential goes anywhere else."""

import pathlib
import socket
import ssl
import time
from typing import Dict, List, Tuple

import pytest
import requests

from csm import SimulatedCsm
from support.checks import SLACK, check
from support.program import (
    PASSWORD,
    USER,
    run_inside,
    run_program,
    run_shipped,
    server_options,
    without_trust,
)
from support.scenes import SESSION, TASK

# --- Certificates -------------------------------------------------------------------------------


def test_untrusted_certificate(csm: SimulatedCsm) -> None:
    result = run_shipped(*without_trust(csm), "-t", TASK, "--json")
    check(result, csm, 3)
    assert csm.requests == []
    assert result.json["exit_code"] == 3
    assert result.json["started"] == "no"
    assert csm.fingerprint in result.last_line.replace(":", "").lower()


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("localhost", ["--fingerprint", "00" * 32]),
        ("other-name", ["--ca-file", "{ca_file}"]),
        ("other-name", []),
    ],
    ids=str,
)
def test_not_this_certificate(kind: str, args: List[str]) -> None:
    with SimulatedCsm(certificate=kind) as csm:
        trust = [each.format(ca_file=csm.ca_file) for each in args]
        result = run_shipped(*without_trust(csm), "-t", TASK, *trust)
        check(result, csm, 3)
        assert csm.requests == []


def spelled(fingerprint: str) -> str:
    """As openssl shows it."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()


@pytest.mark.parametrize(
    ("host", "kind", "args"),
    [
        ("127.0.0.1", "localhost", ["--fingerprint", "{fingerprint}"]),
        ("127.0.0.1", "localhost", ["--fingerprint={spelled}"]),
        ("127.0.0.1", "other-name", ["--fingerprint", "{fingerprint}"]),
        ("127.0.0.1", "localhost", ["--ca-file", "{ca_file}"]),
        ("localhost", "localhost", ["--ca-file", "{ca_file}"]),
        ("127.0.0.1", "other-name", ["--insecure"]),
    ],
    ids=str,
)
def test_trusted(host: str, kind: str, args: List[str]) -> None:
    with SimulatedCsm(certificate=kind) as csm:
        args = [
            each.format(
                fingerprint=csm.fingerprint, spelled=spelled(csm.fingerprint), ca_file=csm.ca_file
            )
            for each in args
        ]
        result = run_shipped(*without_trust(csm, host), *args, "-t", TASK, "--no-wait")
        check(result, csm, 0, triggers=1)
        assert ("--insecure" in result.err) == (args == ["--insecure"])


def test_blanks_around_a_fingerprint() -> None:
    with SimulatedCsm(backup_seconds=0.01) as first, SimulatedCsm(first.world) as second:
        second.die()
        options = server_options(first, second)
        options[-1] = f" {first.fingerprint.upper()}, {second.fingerprint} "
        result = run_inside(*options, "-t", TASK)
        assert result.code == 0
        assert len(first.world.triggers) == 1


def test_certificate_that_cannot_be_shown_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "get_server_certificate", lambda *_: time.sleep(90))
    with SimulatedCsm() as csm:
        result = run_inside(*without_trust(csm), "-t", TASK)
        assert result.code == 3
        assert result.seconds < SLACK
        assert csm.requests == []
        assert "certificate, to be confirmed: could not be read" in result.err


def test_no_file_of_cas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a jail: that is no fault of the network."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", "/nowhere/cacert.pem")
    with SimulatedCsm() as csm:
        result = run_inside(*without_trust(csm), "-t", TASK)
        assert result.code == 3
        assert "invalid path: /nowhere/cacert.pem" in result.err
        assert csm.requests == []


@pytest.mark.parametrize("host", ["m\xfcnchen", "localho\u017ft", "\uff11\uff12\uff17.0.0.1"])
def test_host_name_that_would_be_rewritten(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests asks for "xn--..." or an ASCII spelling, for which no fingerprint is pinned."""
    found = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args: found("127.0.0.1", *args))
    with SimulatedCsm() as csm:
        result = run_inside(*without_trust(csm, host), "-t", TASK, "--fingerprint", "0" * 64)
        assert csm.requests == []
        assert csm.tcp_connections == 0
        assert result.code == 2
        assert result.out == ""


# --- Redirects ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "code"), [("/tokens", 3), ("/scheduledtasks", 3), ("/scheduledtasks/27", 8)]
)
def test_redirect(csm: SimulatedCsm, end: str, code: int) -> None:
    with SimulatedCsm() as other:
        csm.redirect_to = f"https://127.0.0.1:{other.port}/CSM/web/system/v1/tokens"
        csm.inject_when(lambda request: request.path.endswith(end), "redirect", None)
        result = run_inside(*server_options(csm), "-t", TASK, "--timeout", "100")
        check(result, csm, code)
        assert other.tcp_connections == 0


@pytest.mark.parametrize(
    "permanent",
    [pytest.param(False, id="once"), pytest.param(True, id="for-good", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("n", range(1, 7))
@pytest.mark.parametrize("args", [("-t", TASK), ("-S", SESSION)], ids=str)
def test_redirects_are_not_followed(
    csm: SimulatedCsm, args: Tuple[str, ...], n: int, permanent: bool
) -> None:
    """At each request of a run: 307, which keeps method, body and token, to another server."""
    with SimulatedCsm() as other:
        csm.redirect_to = f"https://127.0.0.1:{other.port}/CSM/web/system/v1/tokens"
        csm.inject(n, "redirect", permanent)
        result = run_inside(*server_options(csm), *args, "--timeout", "20" if permanent else "100")
        assert other.tcp_connections == 0
        assert other.requests == []
    reached = len(csm.requests) >= n
    assert result.code in ((3, 7, 8) if permanent and reached else (0,)), result.text
    assert len(csm.world.triggers) <= 1
    assert PASSWORD not in result.text


# --- What the environment says ------------------------------------------------------------------


class Trap:
    """Something that listens, and that must see nobody."""

    def __enter__(self) -> "Trap":
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(8)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
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
        (home / name).write_text(
            "machine 127.0.0.1 login netrc password netrc\ndefault login netrc password netrc\n"
        )
        (home / name).chmod(0o600)
    proxy = f"http://127.0.0.1:{trap.port}"
    env = {
        name: proxy
        for proxies in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
        for name in (proxies, proxies.lower())
    }
    env.update(
        {
            "HOME": str(home),
            "NETRC": str(home / ".netrc"),
            "REQUESTS_CA_BUNDLE": csm.ca_file,
            "CURL_CA_BUNDLE": csm.ca_file,
        }
    )
    return env


@pytest.mark.parametrize("trust", ["fingerprint", "ca-file", "insecure"])
def test_environment_changes_nothing(csm: SimulatedCsm, tmp_path: pathlib.Path, trust: str) -> None:
    arguments = {
        "fingerprint": ["--fingerprint", csm.fingerprint],
        "insecure": ["--insecure"],
        "ca-file": ["--ca-file", csm.ca_file],
    }
    with Trap() as trap:
        env = hostile_environment(csm, trap, tmp_path)
        given = [*without_trust(csm), *arguments[trust]]
        result = run_program(*given, "-t", TASK, "--no-wait", env=env)
        assert not trap.seen()
    assert result.code == 0, result.err
    assert len(csm.world.triggers) == 1
    assert not any("authorization" in request.headers for request in csm.requests)
    assert csm.requests[0].form == {"username": USER, "password": PASSWORD}


@pytest.mark.parametrize("wrong", [["--json"], ["--fingerprint", "00" * 32]], ids=["none", "wrong"])
def test_environment_makes_nobody_trusted(
    csm: SimulatedCsm, tmp_path: pathlib.Path, wrong: List[str]
) -> None:
    """The CA bundle of the environment is the one that issued the server's certificate."""
    with Trap() as trap:
        env = hostile_environment(csm, trap, tmp_path)
        result = run_program(*without_trust(csm), *wrong, "-t", TASK, env=env)
        assert not trap.seen()
    assert result.code == 3
    assert csm.requests == []
    assert csm.world.triggers == []
    assert PASSWORD not in result.text


def test_a_wrong_bundle_in_the_environment(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    bundle = str(tmp_path / "empty.pem")
    env = {"REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle}
    given = [*without_trust(csm), "--ca-file", csm.ca_file]
    result = run_program(*given, "-t", TASK, "--no-wait", env=env)
    assert result.code == 0, result.err
