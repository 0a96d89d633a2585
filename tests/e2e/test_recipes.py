"""The recipes of the README, run as they are printed there: the rows of QRadar's action, the steps
for the jail's modules, the relay, cron, the monitoring plugin, the first run."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from typing import Iterator, List, Mapping, NamedTuple, Tuple

import pytest

from csm import SimulatedCsm
from support.jail import build_jail
from support.program import (
    PASSWORD,
    PROGRAM,
    PROGRAM_PYTHON,
    TOP,
    USER,
    Result,
    address,
    finish,
    run_inside,
    run_program,
    server_options,
)
from support.recipes import block, filled, under
from support.scenes import TASK, mostly_slow, wait_for
from support.syslog import RSYSLOGD, Rsyslog, Udp, parse_leef

CRON = shutil.which("cron", path="/usr/sbin:/sbin:/usr/bin:/bin")
UNSHARE = shutil.which("unshare")
CRON_ENVIRONMENT = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "HOME": "/", "LOGNAME": "csm"}
IS_ROOT = os.geteuid() == 0


def run(command: List[str], env: Mapping[str, str] = os.environ, cwd: pathlib.Path = TOP) -> Result:
    """A process that gets nothing from this one but what is said."""
    process = subprocess.Popen(
        command,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return finish(process)


def run_shell(script: str, cwd: pathlib.Path = TOP) -> Result:
    return run(["/bin/sh", "-c", script], cwd=cwd)


@pytest.fixture
def password_file(tmp_path: pathlib.Path) -> pathlib.Path:
    """As the README wants it: for its owner alone."""
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


# --- First run ----------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_fingerprint(csm: SimulatedCsm) -> None:
    """What openssl shows on the server is what the program says that it was presented."""
    command, _ = block("First run", "sh", having="openssl").splitlines()
    shown = run_shell(filled(command, {"localhost:9559": address(csm)})).out
    (fingerprint,) = re.findall(r"=([0-9A-F:]{95})$", shown, re.M)
    call = filled(block("First run", "sh", having="none-yet"), {"192.0.2.10": address(csm)})
    result = run_program(*shlex.split(call)[1:])
    assert result.code == 3
    assert fingerprint in result.last_line
    assert [each.path for each in csm.requests] == []


def test_first_screen_commands(csm: SimulatedCsm) -> None:
    """Three calls, of which the last one alone starts anything."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(run-cr-wflow-ds8k\.py -s .*?) +# ", text[: text.index("\n## ")], re.M)
    values = {"192.0.2.10": address(csm), "csmuser": USER, "6A:5D:...": csm.fingerprint}
    for command, triggers in zip(commands, (0, 0, 1)):
        more = {"TASK": TASK} if "TASK" in command else {}
        arguments = shlex.split(filled(command, {**values, **more}))[1:]
        result = run_program(*arguments, env={"CSM_USER_PASSWD": PASSWORD})
        assert result.code == 0, result.text
        assert len(csm.world.triggers) == triggers
    assert len(commands) == 3


@pytest.mark.slow
def test_rehearsal() -> None:
    """Options keep the standard target, unless another one is among them."""
    for options, target in (
        (["--check"], TASK),
        (["-q", "--json", "--check", "--", "-t", "x"], TASK),
        (["--csm_task=thomastest", "--check", "--json"], "thomastest"),
        (["-S", "SGC Payroll", "--check"], "SGC Payroll"),
        (["--list"], "BACKS UP"),
    ):
        result = run(
            ["sh", "tests/rehearse.sh", *options], {**os.environ, "PYTHON": sys.executable}
        )
        assert result.code == 0, result.text
        shown, *_ = [line for line in result.out.splitlines() if line.startswith("$ ")]
        assert (f"-t {TASK}" in shown) == (target == TASK)
        assert target in result.text.replace(shown, "")


# --- QRadar -------------------------------------------------------------------------------------


def rows_of_action() -> List[str]:
    """The values of the form's rows, in their order; the properties of the event left out."""
    table = re.findall(
        r"^\| \d+ \|.*\| `([^`]+)`.*\|$", under("The custom action, row by row"), re.M
    )
    assert table[7] == "--"
    return table[:8]


def test_rows(csm: SimulatedCsm, tmp_path: pathlib.Path) -> None:
    """By way of a Bash action: the program lies beside the scripts, below the working folder."""
    script = block("The custom action, row by row", "sh")
    folder = tmp_path / "custom_action_scripts"
    folder.mkdir()
    shutil.copy2(PROGRAM, folder / PROGRAM.name)
    (folder / "customaction_7.script").write_text(script)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{PROGRAM_PYTHON}" "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    with Udp() as receiver:
        values = {
            "192.0.2.10": address(csm),
            "192.0.2.20": f"127.0.0.1:{receiver.port}",
            "qradar": USER,
            "the-password": PASSWORD,
            "6A:5D:...": csm.fingerprint,
        }
        rows = filled("\n".join(rows_of_action()), values).split("\n")
        command = ["bash", "custom_action_scripts/customaction_7.script", *rows, "10.0.0.1", "-h"]
        result = run(command, {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, tmp_path)
        assert result.code == 0, result.text
        event = parse_leef(receiver.receive())
    assert len(csm.world.backups_made) == 1
    assert (event.vendor, event.product) == ("Safeguarded Copy", "run-cr-wflow-ds8k")
    assert (event.id, event["event"]) == ("verified", "10.0.0.1,-h")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not IS_ROOT, reason="needs root: chroot")
def test_modules_in_the_jail(tmp_path: pathlib.Path) -> None:
    """Missing at first; after the steps they are there."""
    root, wheels = tmp_path / "ca_jail", tmp_path / "wheels"
    root.mkdir()
    python = build_jail(root, modules=False)
    title = "The modules in the jail"
    values = {"/opt/qradar/bin/ca_jail": str(root), "/usr/bin/python3": python}
    look = filled(block(title, "sh", having="__version__"), values)
    missing = run_shell(look)
    assert missing.code != 0
    assert "ModuleNotFoundError" in missing.err
    version, folder = run_shell(filled(block(title, "sh", having="purelib"), values)).out.split()
    (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    download = filled(
        block(title, "sh", having="download"), {"python3 ": f"{sys.executable} ", "3.6": version}
    )
    done = run_shell(download, tmp_path)
    if done.code and "No matching distribution" in done.err:
        pytest.skip("needs a package index")
    assert done.code == 0, done.err
    assert all(wheel.name.endswith("-none-any.whl") for wheel in wheels.iterdir())
    unpack = block(title, "sh", having="zipfile")
    values = {
        "/opt/qradar/bin/ca_jail/usr/lib/python3.6/site-packages": f"{root}{folder}",
        "/tmp/wheels": str(wheels),
        "python3 -m": f"{sys.executable} -m",
    }
    done = run_shell(filled(unpack, values))
    assert done.code == 0, done.err
    there = run_shell(look)
    assert there.code == 0, there.err
    assert re.fullmatch(r"[\d.]+ [\d.]+\n", there.out)


# --- rsyslog ------------------------------------------------------------------------------------


@pytest.fixture
def receiver(tmp_path: pathlib.Path) -> Iterator[Rsyslog]:
    if not RSYSLOGD:
        pytest.skip("needs rsyslogd (Debian package rsyslog)")
    (tmp_path / "receiver").mkdir()
    daemon = Rsyslog(tmp_path / "receiver")
    yield daemon
    daemon.stop()


def send_by_relay(csm: SimulatedCsm, folder: pathlib.Path, rules: str) -> None:
    """A call whose event goes to an rsyslogd with these rules."""
    folder.mkdir()
    relay = Rsyslog(folder, rules)
    try:
        leef = f"--leef=127.0.0.1:{relay.port}"
        assert run_inside(*server_options(csm), "-t", TASK, "--no-wait", leef).code == 0
        time.sleep(0.1)  # none of it is waited for: the receiver is
    finally:
        relay.stop()


def test_rsyslog(csm: SimulatedCsm, receiver: Rsyslog) -> None:
    leef = f"--leef=127.0.0.1:{receiver.port}"
    assert run_inside(*server_options(csm), "-t", TASK, "--check", leef).code == 0
    assert parse_leef(receiver.receive()).id == "checked"


def test_rsyslog_relay(csm: SimulatedCsm, receiver: Rsyslog, tmp_path: pathlib.Path) -> None:
    """Through the printed rules an event arrives as it was sent; through the usual ones it does
    not, so that the rules are needed."""
    usual = f"*.* @127.0.0.1:{receiver.port};RSYSLOG_TraditionalForwardFormat"
    send_by_relay(csm, tmp_path / "usual", usual)
    broken = receiver.receive()
    while broken and b"LEEF" not in broken:  # the relay's own
        broken = receiver.receive()
    with pytest.raises(AssertionError):
        parse_leef(broken)
    while receiver.receive(0.3):
        pass
    values = {"192.0.2.20": "127.0.0.1", '"514"': f'"{receiver.port}"'}
    rules = filled(block("The log source", "text"), values)
    send_by_relay(csm, tmp_path / "raw", rules)
    assert parse_leef(receiver.receive()).id == "accepted"


# --- cron ---------------------------------------------------------------------------------------


class CronLine(NamedTuple):
    """An entry of /etc/cron.d."""

    when: str
    user: str
    command: str


def cron_file(csm: SimulatedCsm, password_file: pathlib.Path) -> str:
    """The printed one, for this machine."""
    values = {
        "/usr/bin/python3": PROGRAM_PYTHON,
        "/usr/local/bin/run-cr-wflow-ds8k.py": str(PROGRAM),
        "192.0.2.10,192.0.2.11": address(csm),
        "6A:5D:...,C0:FF:...": csm.fingerprint,
        "-u cron": f"-u {USER}",
        "/etc/csm/password": str(password_file),
    }
    return filled(block("cron", "text"), values)


def entry_of(text: str) -> CronLine:
    """As cron takes it apart: at blanks, and not at a CR."""
    line = text.rstrip("\n").split("\n")[-1]
    *times, user, command = re.split(r" +", line, maxsplit=6)
    return CronLine(" ".join(times), user, command)


def run_by_cron(command: str) -> Result:
    """As cron does."""
    return run(["/bin/sh", "-c", command], CRON_ENVIRONMENT, pathlib.Path("/"))


def test_cron_line(csm: SimulatedCsm, password_file: pathlib.Path) -> None:
    """Silent when all is well."""
    result = run_by_cron(entry_of(cron_file(csm, password_file)).command)
    assert (result.code, result.text) == (0, "")
    assert len(csm.world.backups_made) == 1


def test_cron_line_that_fails(csm: SimulatedCsm, password_file: pathlib.Path) -> None:
    """One line."""
    csm.world.login = "refuse"
    result = run_by_cron(entry_of(cron_file(csm, password_file)).command)
    assert result.code == 4
    assert len(result.text.splitlines()) == 1


def test_cron_line_with_cr_lf(csm: SimulatedCsm, password_file: pathlib.Path) -> None:
    """The CR is part of the last name: shown, and nothing started."""
    text = cron_file(csm, password_file).replace("\n", "\r\n")
    result = run_by_cron(entry_of(text).command)
    assert result.code == 5, result.text
    assert f'"{TASK}\\r"' in result.err
    assert csm.world.triggers == []


@pytest.mark.skipif(not IS_ROOT, reason="needs root: install -o")
def test_password_file_of_cron(tmp_path: pathlib.Path) -> None:
    _useradd, *steps = block("cron", "sh").splitlines()
    script = filled("\n".join(steps), {"/etc/csm": str(tmp_path / "csm"), "csmbackup": "root"})
    assert run_shell(script).code == 0
    assert (tmp_path / "csm" / "password").stat().st_mode & 0o777 == 0o600


@contextlib.contextmanager
def running_cron(folder: pathlib.Path) -> Iterator[None]:
    """A real cron in the foreground, that has the folder's `cron.d`, and no other table. (It sees
    changes by their time in whole seconds: so the table is there before it starts.)"""
    if not CRON or not UNSHARE or not IS_ROOT:
        pytest.skip("needs cron (Debian package cron), unshare, and root")
    folders = {"/etc/cron.d": "cron.d", "/var/spool/cron": "spool", "/run": "run"}
    for name in folders.values():
        (folder / name).mkdir(exist_ok=True)
    (folder / "spool" / "crontabs").mkdir()
    (folder / "crontab").write_text("")
    mounts = [f"mount --bind {folder}/{name} {place}" for place, name in folders.items()]
    mounts.append(f"mount --bind {folder}/crontab /etc/crontab")
    # In a process namespace of its own: what it has started ends with it.
    apart = [UNSHARE, "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]
    if run([*apart, " && ".join(mounts)]).code:
        pytest.skip("needs namespaces")
    script = " && ".join([*mounts, f"exec {CRON} -f"])
    with subprocess.Popen([*apart, script]) as process:
        try:
            yield
        finally:
            process.kill()  # of a TERM it would not hear


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_real_cron(tmp_path: pathlib.Path, password_file: pathlib.Path, csm: SimulatedCsm) -> None:
    """It runs the line within a minute; of a file with CR LF it starts nothing."""
    changed = {"30 2 * * 6": "* * * * *", "csmbackup": "root"}
    table = tmp_path / "cron.d"
    table.mkdir()
    with SimulatedCsm() as other:
        text = filled(cron_file(other, password_file), changed).replace("\n", "\r\n")
        (table / "cr_lf").write_bytes(text.encode())
        (table / "csm-backup").write_text(filled(cron_file(csm, password_file), changed))
        with running_cron(tmp_path):
            wait_for(lambda: csm.world.backups_made, seconds=150)
            wait_for(lambda: len(other.requests) > 2, seconds=150)
        assert other.world.triggers == []


# --- Monitoring ---------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: pathlib.Path) -> pathlib.Path:
    code = filled(
        block("Monitoring", "python"), {"/usr/local/bin/run-cr-wflow-ds8k.py": str(PROGRAM)}
    )
    path = tmp_path / "check_csm_backup"
    path.write_text(code)
    return path


def monitor(plugin: pathlib.Path, csm: SimulatedCsm, *given: str) -> Tuple[int, str]:
    """Its code, and its one line. Whatever it is given, it starts no backup."""
    result = run([PROGRAM_PYTHON, str(plugin), *given], {"LANG": "C"})
    assert csm.world.triggers == []
    assert result.err == ""
    (line,) = result.out.splitlines()
    assert line.isascii()
    assert line.count("|") <= 1
    assert PASSWORD not in line
    return result.code, line


def monitor_options(csm: SimulatedCsm, password_file: pathlib.Path) -> List[str]:
    """The printed call, without the limits."""
    call = filled(
        block("Monitoring", "sh"),
        {
            "192.0.2.10": address(csm),
            "6A:5D:...": csm.fingerprint,
            "-u monitor": f"-u {USER}",
            "/etc/csm/monitor": str(password_file),
        },
    )
    words = shlex.split(call)
    assert words[:3] == ["check_csm_backup", "26", "50"]
    return words[3:]


def test_monitor(plugin: pathlib.Path, csm: SimulatedCsm, password_file: pathlib.Path) -> None:
    """The age against the two limits; the backups of this server are hours old."""
    options = monitor_options(csm, password_file)
    hours = (time.time() - csm.world.session(TASK).backups[0].id) / 3600
    for limits, code, word in (
        ((26, 50), 0, "OK"),
        ((hours / 2, 50), 1, "WARNING"),
        ((hours / 3, hours / 2), 2, "CRITICAL"),
    ):
        got, line = monitor(plugin, csm, *map(str, limits), *options)
        assert (got, line.split(" - ")[0]) == (code, word)
        text, figures = line.split(" | ")
        assert re.search(rf"\b{hours:.1f} h old$", text)
        found = re.fullmatch(r"age=(\d+)s;(\d+);(\d+);0", figures)
        assert found
        assert abs(int(found.group(1)) - hours * 3600) < 60
        assert [int(each) for each in found.groups()[1:]] == [round(each * 3600) for each in limits]


def test_monitor_without_backup(
    plugin: pathlib.Path, csm: SimulatedCsm, password_file: pathlib.Path
) -> None:
    options = [*monitor_options(csm, password_file)[:-2], "-S", "SGC Empty"]
    code, line = monitor(plugin, csm, "26", "50", *options)
    assert (code, line) == (2, "CRITICAL - session SGC Empty has no valid backup")


def test_monitor_without_valid_backup(
    plugin: pathlib.Path, csm: SimulatedCsm, password_file: pathlib.Path
) -> None:
    """However young: one that CSM does not call valid does not count."""
    for backup in csm.world.session(TASK).backups:
        backup.valid = False
    code, line = monitor(plugin, csm, "26", "50", *monitor_options(csm, password_file))
    assert (code, line) == (2, f"CRITICAL - session {TASK} has no valid backup")


@pytest.mark.parametrize(
    "more",
    mostly_slow(
        [["--no-wait"], ["--list"], ["--no-such-option"], ["--", "x"], ["-q"], ["-v"]],
        ["--no-wait"],
        ["--list"],
    ),
    ids=str,
)
def test_monitor_starts_nothing(
    more: List[str], plugin: pathlib.Path, csm: SimulatedCsm, password_file: pathlib.Path
) -> None:
    """--check is fixed in it: no argument takes it away."""
    code, _ = monitor(plugin, csm, "26", "50", *monitor_options(csm, password_file), *more)
    assert code == (0 if more[0] in ("--", "-q", "-v") else 3)


def test_monitor_wrongly_called(plugin: pathlib.Path, csm: SimulatedCsm) -> None:
    for given in ([], ["26"], ["a", "b", "-s", "x"], ["26", "50"]):
        code, line = monitor(plugin, csm, *given)
        assert (code, line[:9]) == (3, "UNKNOWN -")


@pytest.mark.parametrize(
    "text",
    mostly_slow(["a|b=1;2;3", r"a\cb", "100%s%n", "a | b\u2603", "$(id) `id` ;|&"], "a|b=1;2;3"),
    ids=ascii,
)
def test_monitor_odd_text(
    text: str, plugin: pathlib.Path, csm: SimulatedCsm, password_file: pathlib.Path
) -> None:
    """CSM's words are told whole, and are no performance data."""
    csm.world.login = "refuse"
    csm.mutate = lambda request, reply: {"msg": "IWNR0008E", "msgTranslated": f"IWNR0008E {text} ."}
    code, line = monitor(plugin, csm, "26", "50", *monitor_options(csm, password_file))
    assert (code, line[:10]) == (2, "CRITICAL -")
    shown = text.replace("|", "/").encode("ascii", "backslashreplace").decode()
    assert f"IWNR0008E {shown} ." in line
    assert "|" not in line


# --- Installation -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_virtual_environment(tmp_path: pathlib.Path) -> None:
    values = {
        "python3 -m venv": f"{sys.executable} -m venv",
        "/opt/csm-backup": str(tmp_path / "venv"),
        "/usr/local/bin/run-cr-wflow-ds8k.py": str(PROGRAM),
    }
    script = filled(block("Install", "sh", having="venv"), values)
    result = run_shell(f"set -e\n{script}")
    assert result.code == 0, result.text
    assert re.search(r"^\d+\.\d+\.\d+$", result.out, re.M)
