"""--leef: one LEEF 2.0 event by syslog for each outcome.

Received by a real rsyslogd where there is one, else by a plain UDP socket."""

import contextlib
import pathlib
import signal
import socket
import time
from typing import Any, Iterator, List, Tuple

import pytest

from csm import SimulatedCsm
from support.checks import SLACK
from support.program import (
    NAME,
    USER,
    Result,
    load,
    run_inside,
    run_program,
    server_options,
    without_threads,
)
from support.scenes import OUTCOMES, PAYROLL_TASK, a_bug, mostly_slow, run_outcome, run_signalled
from support.syslog import RSYSLOGD, Event, Rsyslog, Udp, parse_leef

LIMIT = 1024

KEYS = {
    "devTime",
    "sev",
    "cat",
    "outcome",
    "exit_code",
    "started",
    "triggers",
    "csm_id",
    "server",
    "backups",
    "rule_id",
    "version",
    "tasks",
    "sessions",
    "seconds",
    "csm_text",
    "message",
    "rule_name",
    "event",
}

SHORTENED = {"csm_text", "message", "rule_name", "event"}  # may be left out for want of room


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: Any) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        if RSYSLOGD:
            daemon = Rsyslog(tmp_path_factory.mktemp("rsyslog"))
            stack.callback(daemon.stop)
            if daemon.process.poll() is None:
                yield daemon
                return
        yield stack.enter_context(Udp())  # none here, or none that this user may run


# --- One event for each outcome -----------------------------------------------------------------


def leef(receiver: Any) -> Tuple[str, ...]:
    return ("--json", "--leef", f"127.0.0.1:{receiver.port}")


def compare(event: Event, result: Result) -> None:
    """The event says the same as the JSON object."""
    found = result.json
    assert KEYS - SHORTENED <= set(event) <= KEYS
    assert event.size <= LIMIT
    assert event.size > LIMIT - 80 or set(event) == KEYS
    assert event.id == found["outcome"]
    assert event.version == found["version"]
    assert event.host
    assert (event.vendor, event.product) == ("Safeguarded Copy", NAME)
    assert event["exit_code"] == str(result.code) == str(found["exit_code"])
    assert event["triggers"] == str(found["triggers"])
    for key in ("outcome", "started", "server", "csm_id", "csm_text", "version"):
        assert event[key] == found[key]
    assert event["cat"] == found["outcome"]
    assert found["message"].startswith(event["message"])
    assert event["tasks"] == ",".join(each["name"] for each in found["tasks"])
    assert event["sessions"].split(",") == ([each["name"] for each in found["sessions"]] or [""])
    assert (
        event["backups"]
        == ",".join(found["backups"])
        == ",".join(each["backup"]["id"] for each in found["sessions"] if each["backup"])
    )
    assert abs(int(event["devTime"]) - time.time() * 1000) < 60000
    assert event["cat"]
    assert 1 <= int(event["sev"]) <= 10


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome(name: str, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = OUTCOMES[name]
    monkeypatch.setenv("RULE_ID", "100523")
    monkeypatch.setenv("RULE_NAME", "Many files renamed")
    with SimulatedCsm(backup_seconds=0.02, **case.world) as csm:
        result = case.run(csm, *leef(receiver), "--", "192.0.2.7", "alice")
        assert result.code == case.code, result.text
        event = parse_leef(receiver.receive())
        if case.word == "listed":  # its sessions are too many for an event
            assert (event.id, event["exit_code"], event["started"]) == ("listed", "0", "no")
        else:
            compare(event, result)
        assert event.id == case.word
        assert event["started"] == case.started
        assert event["csm_id"] == case.message or case.message is None
        assert (event["rule_id"], event["rule_name"]) == ("100523", "Many files renamed")
        assert event["event"] == "192.0.2.7,alice"
        assert receiver.receive(0.05) == b""  # one event, not two
        assert len(csm.world.triggers) == case.triggers


def test_severity(receiver: Any) -> None:
    """Failures stand out: in LEEF's severity and in syslog's (the priority's last three bits)."""
    events = {}
    for name in ("verified", "failed"):
        run_outcome(OUTCOMES[name], *leef(receiver))
        events[name] = parse_leef(receiver.receive())
    assert int(events["failed"]["sev"]) > int(events["verified"]["sev"])
    assert events["failed"].priority & 7 < events["verified"].priority & 7
    assert len({each.priority >> 3 for each in events.values()}) == 1


def test_unreachable(receiver: Any) -> None:
    with SimulatedCsm() as csm:
        csm.refuse_connections()
        result = run_inside(*server_options(csm), "-t", PAYROLL_TASK, *leef(receiver))
        event = parse_leef(receiver.receive())
    assert result.code == 3
    compare(event, result)
    assert event.id == "unreachable"
    assert event["started"] == "no"


def test_internal_error(receiver: Any) -> None:
    with SimulatedCsm() as csm, a_bug():
        result = run_inside(*server_options(csm), "-t", PAYROLL_TASK, *leef(receiver))
    event = parse_leef(receiver.receive())
    assert result.code == 1
    assert event["exit_code"] == "1"
    assert event.id == result.json["outcome"]
    assert "internal" in event.id
    assert int(event["sev"]) > 5


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_signal(number: int, code: int, name: str, receiver: Any) -> None:
    result = run_signalled(number, "-t", PAYROLL_TASK, *leef(receiver))
    event = parse_leef(receiver.receive())
    assert result.code == code
    compare(event, result)
    assert event.id == name
    assert event["started"] == "yes"


def test_refusal_is_told(receiver: Any) -> None:
    """The message id of what CSM refused is what an analyst looks up."""
    run_outcome(OUTCOMES["refused"], *leef(receiver))
    event = parse_leef(receiver.receive())
    assert event["csm_id"] == "IWNR0009E"
    assert event["csm_text"].startswith("IWNR0009E")


def test_process(receiver: Any) -> None:
    """The file that ships, as a process with no environment: rule and event come from outside."""
    with SimulatedCsm() as csm:
        given = [*server_options(csm), "-t", PAYROLL_TASK, *leef(receiver), "--", "192.0.2.7"]
        result = run_program(*given, env={"RULE_ID": "7", "LANG": "C"})
        event = parse_leef(receiver.receive())
    assert result.code == 0
    compare(event, result)
    assert event["event"] == "192.0.2.7"
    assert event["rule_id"] == "7"
    assert event["rule_name"] == ""


# --- Hostile values and the limit ---------------------------------------------------------------


HOSTILE = {
    "long": "A" * 10240,
    "letters of many bytes": "\u2603" * 3000,
    "letters of two lengths": "x" + "\U0001f4a5\u00e9" * 2000,
    "separators": "|^=\t\n|^exit_code=0^cat=fine|" * 40,
    "new event": "x\n<13>Jan  1 00:00:00 host LEEF:2.0|a|b|1|verified|^|exit_code=0",
    "escapes": "\x1b[2J\x00\x07\r\n\u2028\u202e\x9b" * 100,
    "other delimiters": "\\^\\|x5E0x7C,;&%" * 30,
    "surrogates": "\udcff\udc80" * 500,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_event(name: str, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be shortened is shortened in these values, and nowhere else."""
    monkeypatch.setenv("RULE_ID", "100523")
    monkeypatch.setenv("RULE_NAME", HOSTILE[name].replace("\x00", ""))
    with SimulatedCsm(backup_seconds=0.02) as csm:
        result = OUTCOMES["verified"].run(csm, *leef(receiver), "--", HOSTILE[name], "last")
        assert result.code == 0, result.text
        packet = receiver.receive()
        event = parse_leef(packet)
        compare(event, result)
        assert receiver.receive(0.05) == b""
        ((_, backup_id),) = csm.world.backups_made
    assert event["backups"] == backup_id
    assert event["rule_id"] == "100523"
    recorded = ",".join(result.json["event"])
    for shown, whole in (
        (event.get("event", ""), recorded),
        (event.get("rule_name", ""), result.json["rule_name"]),
    ):
        separators = str.maketrans("|^", "__")
        assert whole.translate(separators).startswith(shown)
        assert shown == whole.translate(separators) or len(packet) > LIMIT - 20
    if len(recorded.encode()) > LIMIT:
        assert len(event.get("event", "")) < len(recorded)


def test_hostile_csm(receiver: Any) -> None:
    """Everything else is long, too: names of sessions and task, CSM's texts."""
    long_name, text = "Name \u2603^|" + 60 * "N\u00e9", "IWNR2212I " + "\u2603^|=\x1b[2J\n" * 400
    with SimulatedCsm(backup_seconds=0.02) as csm:
        names = [f"{long_name} {number}" for number in range(4)]
        for name in names:
            csm.world.add_session(name, status="Inactive", state="Defined")
        csm.world.add_task(60, long_name, [(name, "Backup") for name in names])

        def mutate(request: Any, value: Any) -> Any:
            if isinstance(value, dict) and "lastmessage" in value and not value["running"]:
                value["lastmessage"] = text
            return value

        csm.mutate = mutate
        given = [*server_options(csm), "-t", long_name, *leef(receiver), "--", "E" * 10240]
        result = run_inside(*given)
        assert result.code == 0, result.text
        event = parse_leef(receiver.receive())
        made = [backup_id for _, backup_id in csm.world.backups_made]
    assert set(event) <= KEYS
    assert event.size <= LIMIT
    assert event.id == "verified"
    assert event["exit_code"] == "0"
    assert event["started"] == "yes"
    assert event["backups"].split(",") == made
    assert event["csm_id"] == "IWNR2212I"
    assert event.get("event", "") == ""  # the first to be shortened
    translated = long_name.replace("|", "_").replace("^", "_")
    assert translated.startswith(event["tasks"])
    assert event["sessions"].startswith(event["tasks"][:9])


def test_no_secret(receiver: Any) -> None:
    """Not even where CSM's message holds the password and the token."""
    with SimulatedCsm(backup_seconds=0.02) as csm:

        def mutate(request: Any, value: Any) -> Any:
            if isinstance(value, dict) and "lastmessage" in value:
                value["lastmessage"] += f"{csm.world.password} {request.token}"
            return value

        csm.mutate = mutate
        result = OUTCOMES["verified"].run(csm, *leef(receiver))
        packet = receiver.receive()
        (token,) = csm.world.tokens
    assert result.code == 0
    assert parse_leef(packet).id == "verified"
    for secret in (csm.world.password, token):
        assert secret not in result.text
        assert secret.encode() not in packet


# --- A host that is not there -------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "code"), [("good", 0), ("error", 7)])
def test_unresolvable(outcome: str, code: int) -> None:
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.world.task(PAYROLL_TASK).outcome = outcome
        result = run_inside(
            *server_options(csm), "-t", PAYROLL_TASK, "--leef", "no-such-host.invalid"
        )
        assert result.code == code
        assert len(csm.world.triggers) == 1
    (warning,) = [line for line in result.err.splitlines() if "WARNING" in line]
    assert "LEEF" in warning
    assert "no-such-host.invalid" in warning
    assert "Traceback" not in result.text


def test_nobody_listens() -> None:
    """UDP does not tell: nothing may be said, nothing may change."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        with Udp() as free:
            pass
        result = run_inside(
            *server_options(csm), "-t", PAYROLL_TASK, "--leef", f"127.0.0.1:{free.port}"
        )
        assert result.code == 0
        assert len(result.out.splitlines()) == 1


def test_name_service_hangs() -> None:
    """2 s more at the most, in which nothing else is held up; and the process ends, too."""
    real = socket.getaddrinfo
    asked: List[float] = []

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if host != "syslog.example.com":
            return real(host, *args, **options)
        asked.append(time.monotonic())
        time.sleep(60)
        raise OSError("too late")

    with SimulatedCsm(backup_seconds=0.02) as csm, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", hang)
        given = [*server_options(csm), "-t", PAYROLL_TASK, "--json"]
        result = run_inside(*given, "--leef", "syslog.example.com")
        ended = time.monotonic()
        assert result.code == 0
        assert asked
        assert 1 < ended - asked[0] < SLACK
        assert len([line for line in result.err.splitlines() if "WARNING" in line]) == 1
        assert result.json["outcome"] == "verified"


def test_no_thread_to_be_had() -> None:
    """As where the number of processes is limited."""
    program = load()
    with SimulatedCsm(backup_seconds=0.02) as csm, Udp() as udp:  # their own threads must start
        without_threads(program)
        given = [*server_options(csm), "-t", PAYROLL_TASK, *leef(udp)]
        result = run_inside(*given, program=program)
        sent = udp.receive(0.5)
        assert result.code == 0
        assert result.json["outcome"] == "verified"
        assert bool(sent) != ("WARNING no LEEF event was sent" in result.err)


def test_process_ends_though_name_service_hangs(tmp_path: pathlib.Path) -> None:
    """The thread that still asks for the address does not keep the process alive."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "real = socket.getaddrinfo\n"
        "def hang(host, *args, **options):\n"
        "    if host == 'syslog.example.com':\n"
        "        time.sleep(90)\n"
        "    return real(host, *args, **options)\n"
        "socket.getaddrinfo = hang\n"
    )
    with SimulatedCsm() as csm:
        given = [*server_options(csm), "-t", PAYROLL_TASK, "--check"]
        env = {"PYTHONPATH": str(tmp_path)}
        result = run_program(*given, "--leef", "syslog.example.com", env=env)
    assert result.code == 0
    assert "WARNING" in result.err
    assert result.seconds < SLACK


# --- The option ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["syslog:0", "syslog:65536", "http://syslog", "a b"])
def test_wrong_option(value: str) -> None:
    """A wrong command line is told before anything is sent."""
    with SimulatedCsm() as csm:
        result = run_program(*server_options(csm), "-t", PAYROLL_TASK, "--leef=" + value)
        assert result.code == 2
        assert csm.requests == []
    (line,) = result.err.splitlines()  # no traceback of a thread, either
    assert "--leef" in line


WRONG = {
    "no task": ("-s", "127.0.0.1", "-u", USER, "-p", "x"),
    "not above 0": ("-s", "127.0.0.1", "-u", USER, "-p", "x", "-t", "x", "--timeout", "0"),
    "no option": ("-s", "127.0.0.1", "-u", USER, "-p", "x", "-t", "x", "--csm-task", "y"),
    "control character": ("-s", "127.0.0.1", "-u", USER, "-p", "x\r", "-t", "x"),
    "password file": ("-s", "h", "-u", USER, "-t", "x", "--password-file", "/no/such/file"),
    "CA file": ("-s", "h", "-u", USER, "-p", "x", "-t", "x", "--ca-file", "/no/such/file"),
}


@pytest.mark.parametrize("name", mostly_slow(WRONG, *list(WRONG)[:2]))
def test_wrong_command_line_with_leef(name: str, receiver: Any) -> None:
    """An event of it is sent: what stands in QRadar's form may have been changed by hand."""
    result = run_program(*WRONG[name], *leef(receiver), "--", "192.0.2.7", env={"RULE_ID": "7"})
    event = parse_leef(receiver.receive())
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    compare(event, result)
    assert event.id == "usage"
    assert event["started"] == "no"
    assert event["event"] == "192.0.2.7"
    assert event["rule_id"] == "7"


def test_no_modules(receiver: Any, tmp_path: pathlib.Path) -> None:
    """An upgrade of QRadar that takes them away must not pass unseen."""
    (tmp_path / "requests.py").write_text("raise ImportError('it is gone')\n")
    given = ("-s", "127.0.0.1", "-u", USER, "-p", "x", "-t", "x", *leef(receiver))
    result = run_program(*given, env={"PYTHONPATH": str(tmp_path)})
    event = parse_leef(receiver.receive())
    assert result.code == 2
    assert "it is gone" in result.last_line
    assert "Traceback" not in result.text
    compare(event, result)
    assert event.id == "usage"


def test_command_line_that_cannot_be_read(receiver: Any) -> None:
    """Where the parser fails, nobody knows where to: a line, and nothing else."""
    given = ("-s", "127.0.0.1", "-u", USER, "-p", "x", "-t", "x", *leef(receiver), "--timeout", "y")
    result = run_program(*given)
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert receiver.receive(0.1) == b""


def test_ipv6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        try:
            udp.bind(("::1", 0))
        except OSError:  # no IPv6 here: then sending is a warning, and nothing else
            udp.close()
        with SimulatedCsm() as csm:
            port = udp.getsockname()[1] if udp.fileno() >= 0 else 514
            result = run_inside(
                *server_options(csm), "-t", PAYROLL_TASK, "--check", "--leef", f"[::1]:{port}"
            )
            assert result.code == 0
        if udp.fileno() < 0:
            assert "WARNING" in result.err
            return
        udp.settimeout(20)
        assert parse_leef(udp.recv(65536)).id == "checked"
