"""--leef: one LEEF 2.0 event by syslog for each outcome.

Received by a real rsyslogd where there is one, else by a plain UDP socket."""

import contextlib
import pathlib
import signal
import socket
import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest

from csm import SimulatedCsm
from support.program import Result, run_inside, run_program, server_options
from support.scenes import PAYROLL_TASK, run_signalled
from support.syslog import RSYSLOGD, Event, Rsyslog, Udp, parse_leef

LIMIT = 1024


KEYS = {
    "devTime",
    "sev",
    "cat",
    "outcome",
    "exit_code",
    "started",
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


class Case(NamedTuple):
    code: int
    started: str
    options: List[str] = []
    world: Dict[str, Any] = {}
    task: Dict[str, Any] = {}
    target: str = PAYROLL_TASK
    message: Optional[str] = None  # CSM's message id


CASES = {
    "verified": Case(0, "yes", message="IWNR2212I"),
    "accepted": Case(0, "yes", ["--no-wait"], message="IWNR2211I"),
    "checked": Case(0, "no", ["--check"]),
    "listed": Case(0, "no", ["--list"]),
    "skipped": Case(0, "no", ["--min-interval", "600"]),
    "login": Case(4, "no", world={"login": "refuse"}),
    "not-found": Case(5, "no", target="No Such Name"),
    "refused": Case(6, "no", task={"outcome": "refuse"}),
    "failed": Case(7, "yes", task={"outcome": "error"}, message="IWNR0001E"),
    "unknown": Case(8, "yes", ["--timeout", "1.5"], task={"outcome": "hang"}, message="IWNR2211I"),
}


def send(case: Case, csm: SimulatedCsm, port: int, *more: str) -> Result:
    vars(csm.world.task(PAYROLL_TASK)).update(case.task)
    return run_inside(
        *server_options(csm),
        "-t",
        case.target,
        *case.options,
        "--json",
        "--leef",
        f"127.0.0.1:{port}",
        *more,
    )


def compare(event: Event, result: Result) -> None:
    """The event says the same as the JSON object."""
    found = result.json
    assert KEYS - SHORTENED <= set(event) <= KEYS and event.size <= LIMIT
    assert event.size > LIMIT - 80 or set(event) == KEYS
    assert event.id == found["outcome"]
    assert event.version == found["version"] and event.host
    assert event["exit_code"] == str(result.code) == str(found["exit_code"])
    for key in ("outcome", "started", "server", "csm_id", "csm_text", "version"):
        assert event[key] == found[key]
    assert event["cat"] == found["outcome"] and found["message"].startswith(event["message"])
    assert event["tasks"] == ",".join(each["name"] for each in found["tasks"])
    assert event["sessions"].split(",") == ([each["name"] for each in found["sessions"]] or [""])
    assert (
        event["backups"]
        == ",".join(found["backups"])
        == ",".join(each["backup"]["id"] for each in found["sessions"] if each["backup"])
    )
    assert abs(int(event["devTime"]) - time.time() * 1000) < 60000
    assert event["cat"] and 1 <= int(event["sev"]) <= 10


@pytest.mark.parametrize("name", CASES)
def test_outcome(name: str, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    monkeypatch.setenv("RULE_ID", "100523")
    monkeypatch.setenv("RULE_NAME", "Many files renamed")
    with SimulatedCsm(backup_seconds=0.02, **case.world) as csm:
        result = send(case, csm, receiver.port, "--", "192.0.2.7", "alice")
        assert result.code == case.code, result.text
        event = parse_leef(receiver.receive())
        if name == "listed":  # its sessions are too many for an event
            assert (event.id, event["exit_code"], event["started"]) == ("listed", "0", "no")
        else:
            compare(event, result)
        assert event.id == name and event["started"] == case.started
        assert event["csm_id"] == case.message or case.message is None
        assert (event["rule_id"], event["rule_name"]) == ("100523", "Many files renamed")
        assert event["event"] == "192.0.2.7,alice"
        assert receiver.receive(0.05) == b""  # one event, not two
        assert csm.errors == [] and len(csm.world.triggers) == (case.started == "yes")


def test_severity(receiver: Any) -> None:
    """Failures stand out: in LEEF's severity and in syslog's (the priority's last three bits)."""
    events = {}
    for name in ("verified", "failed"):
        with SimulatedCsm(backup_seconds=0.02) as csm:
            send(CASES[name], csm, receiver.port)
            events[name] = parse_leef(receiver.receive())
    assert int(events["failed"]["sev"]) > int(events["verified"]["sev"])
    assert events["failed"].priority & 7 < events["verified"].priority & 7
    assert len({each.priority >> 3 for each in events.values()}) == 1


def test_unreachable(receiver: Any) -> None:
    with SimulatedCsm() as csm:
        csm.refuse_connections()
        result = run_inside(
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--json",
            "--leef",
            f"127.0.0.1:{receiver.port}",
        )
        event = parse_leef(receiver.receive())
    assert result.code == 3
    compare(event, result)
    assert event.id == "unreachable" and event["started"] == "no"


def test_internal_error(receiver: Any) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    program = load()
    program.run = fail  # type: ignore[attr-defined]
    with SimulatedCsm() as csm:
        result = run_inside(
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--json",
            "--leef",
            f"127.0.0.1:{receiver.port}",
            program=program,
        )
    event = parse_leef(receiver.receive())
    assert result.code == 1 and event["exit_code"] == "1" and event.id == result.json["outcome"]
    assert "internal" in event.id and int(event["sev"]) > 5


@pytest.mark.parametrize(
    "number, code, name", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signal(number: int, code: int, name: str, receiver: Any) -> None:
    result = run_signalled(
        number, "-t", PAYROLL_TASK, "--json", "--leef", f"127.0.0.1:{receiver.port}"
    )
    event = parse_leef(receiver.receive())
    assert result.code == code
    compare(event, result)
    assert event.id == name and event["started"] == "yes"


def test_refusal_is_told(receiver: Any) -> None:
    """The message id of what CSM refused is what an analyst looks up."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        result = send(CASES["refused"], csm, receiver.port)
        event = parse_leef(receiver.receive())
    assert result.code == 6
    assert event["csm_id"] == "IWNR0009E" and event["csm_text"].startswith("IWNR0009E")


def test_process(receiver: Any) -> None:
    """The file that ships, as a process with no environment: rule and event come from outside."""
    with SimulatedCsm() as csm:
        result = run_program(
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--json",
            "--leef",
            f"127.0.0.1:{receiver.port}",
            "--",
            "192.0.2.7",
            env={"RULE_ID": "7", "LANG": "C"},
        )
        event = parse_leef(receiver.receive())
    assert result.code == 0
    compare(event, result)
    assert event["event"] == "192.0.2.7" and event["rule_id"] == "7" and event["rule_name"] == ""


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
        result = send(CASES["verified"], csm, receiver.port, "--", HOSTILE[name], "last")
        assert result.code == 0, result.text
        packet = receiver.receive()
        event = parse_leef(packet)
        compare(event, result)
        assert receiver.receive(0.05) == b""
        ((_, backup_id),) = csm.world.backups_made
    assert event["backups"] == backup_id and event["rule_id"] == "100523"
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
            csm.world.add_session(name)
        csm.world.add_task(60, long_name, [(name, "Backup") for name in names])

        def mutate(request: Any, value: Any) -> Any:
            if isinstance(value, dict) and "lastmessage" in value and not value["running"]:
                value["lastmessage"] = text
            return value

        csm.mutate = mutate
        result = send(
            CASES["verified"]._replace(target=long_name), csm, receiver.port, "--", "E" * 10240
        )
        assert result.code == 0, result.text
        event = parse_leef(receiver.receive())
        made = [backup_id for _, backup_id in csm.world.backups_made]
        assert csm.errors == []
    assert set(event) <= KEYS and event.size <= LIMIT
    assert event.id == "verified" and event["exit_code"] == "0" and event["started"] == "yes"
    assert event["backups"].split(",") == made and event["csm_id"] == "IWNR2212I"
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
        result = send(CASES["verified"], csm, receiver.port)
        packet = receiver.receive()
        (token,) = csm.world.tokens
    assert result.code == 0 and parse_leef(packet).id == "verified"
    for secret in (csm.world.password, token):
        assert secret not in result.text and secret.encode() not in packet


# --- A host that is not there -------------------------------------------------------------------


@pytest.mark.parametrize("outcome, code", [("good", 0), ("error", 7)])
def test_unresolvable(outcome: str, code: int) -> None:
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.world.task(PAYROLL_TASK).outcome = outcome
        result = run_inside(
            *server_options(csm), "-t", PAYROLL_TASK, "--leef", "no-such-host.invalid"
        )
        assert result.code == code and len(csm.world.triggers) == 1 and csm.errors == []
    (warning,) = [line for line in result.err.splitlines() if "WARNING" in line]
    assert "LEEF" in warning and "no-such-host.invalid" in warning
    assert "Traceback" not in result.text


def test_nobody_listens() -> None:
    """UDP does not tell: nothing may be said, nothing may change."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        with Udp() as free:
            pass
        result = run_inside(
            *server_options(csm), "-t", PAYROLL_TASK, "--leef", f"127.0.0.1:{free.port}"
        )
        assert result.code == 0 and len(result.out.splitlines()) == 1


def test_name_service_hangs() -> None:
    """2 s more at the most, in which nothing else is held up; and the process ends, too."""
    program = load()
    real = socket.getaddrinfo
    asked = []  # type: List[float]

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if host != "syslog.example.com":
            return real(host, *args, **options)
        asked.append(time.monotonic())
        time.sleep(8)
        raise OSError("too late")

    with SimulatedCsm(backup_seconds=0.02) as csm, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", hang)
        result = run_inside(
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--json",
            "--leef",
            "syslog.example.com",
            program=program,
        )
        ended = time.monotonic()
        assert result.code == 0 and csm.errors == []
        assert asked and 1 < ended - asked[0] < 2.5
        assert len([line for line in result.err.splitlines() if "WARNING" in line]) == 1
        assert result.json["outcome"] == "verified"


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the number of processes is limited."""

    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    program = load()
    with SimulatedCsm(backup_seconds=0.02) as csm:  # its own threads must start
        monkeypatch.setattr(program, "threading", types.SimpleNamespace(Thread=Thread))
        result = run_inside(
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--json",
            "--leef",
            "127.0.0.1",
            program=program,
        )
        assert result.code == 0 and result.json["outcome"] == "verified"
        assert "WARNING no LEEF event was sent" in result.err


def test_process_ends_though_name_service_hangs(tmp_path: pathlib.Path) -> None:
    """The thread that still asks for the address does not keep the process alive."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "real = socket.getaddrinfo\n"
        "def hang(host, *args, **options):\n"
        "    if host == 'syslog.example.com':\n"
        "        time.sleep(30)\n"
        "    return real(host, *args, **options)\n"
        "socket.getaddrinfo = hang\n"
    )
    with SimulatedCsm() as csm:
        arguments = [
            *server_options(csm),
            "-t",
            PAYROLL_TASK,
            "--check",
            "--leef",
            "syslog.example.com",
        ]
        env = {"PYTHONPATH": str(tmp_path)}
        result = run_program(*arguments, env=env, timeout=20)
    assert result.code == 0 and "WARNING" in result.err and result.seconds < 15


# --- The option ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["syslog:0", "syslog:65536", "http://syslog", "a b"])
def test_wrong_option(value: str) -> None:
    """A wrong command line is told before anything is sent."""
    with SimulatedCsm() as csm:
        result = run_program(*server_options(csm), "-t", PAYROLL_TASK, "--leef=" + value)
        assert result.code == 2 and csm.requests == []
    (line,) = result.err.splitlines()  # no traceback of a thread, either
    assert "--leef" in line


def test_wrong_command_line_with_leef(receiver: Any) -> None:
    """Whether an event is sent of it or not: one line and 2."""
    result = run_program(
        "-s", "127.0.0.1", "-u", "admin", "-p", "x", "--leef", f"127.0.0.1:{receiver.port}"
    )
    assert result.code == 2 and len(result.err.splitlines()) == 1
    packet = receiver.receive(0.1)
    assert not packet or parse_leef(packet).id == "usage"


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
        udp.settimeout(5)
        assert parse_leef(udp.recv(65536)).id == "checked"
