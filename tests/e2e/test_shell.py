"""The program as an administrator meets it: in a real pseudo-terminal."""

import contextlib
import re
import subprocess
import time
from typing import Dict, Iterator, List, Optional

import pytest

from csm import SimulatedCsm
from csm.world import SGC
from support.program import (
    PASSWORD,
    USER,
    finish,
    server_options,
    start_program,
    without_credentials,
)
from support.scenes import PAYROLL, PAYROLL_TASK, mostly_slow
from support.terminal import COLUMNS, Terminal

# Names of 60 characters, with no blank to break a line at.
LONG_TASK, LONG_SESSION = "T" * 24 + "_" + "a" * 35, "S" * 24 + "-" + "b" * 35


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal()
    yield found
    found.close()


def last_shown(text: str) -> str:
    """The last line as it is left on the screen: without what it was written over, and plain."""
    last = text.rstrip().rpartition("\n")[2].rpartition("\r")[2]
    return plain(last[3:] if last.startswith("\x1b[K") else last)


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


# --- The line that is kept up to date -----------------------------------------------------------


def test_live_line(terminal: Terminal) -> None:
    form = r"waiting for the task to end: (\d+) s, (\d+) s left; (.*)"
    with SimulatedCsm() as csm:
        csm.world.session(PAYROLL).lock.acquire()  # the backup is held: no clock decides
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK)
        terminal.read_until(lambda text: len(set(re.findall(r"end: (\d+) s", text))) > 1)
        csm.world.session(PAYROLL).lock.release()
        assert terminal.end() == 0
        ((_, backup_id),) = csm.world.backups_made
    text = terminal.text.replace("\r\n", "\n")
    live = re.findall(r"\r(?:\x1b\[K)?([^\r\n\x1b]+)(?=\r)", text)
    told = [re.match(form, part) for part in live]
    shown = [each.groups() for each in told if each]
    assert len({passed for passed, _, _ in shown}) > 1
    assert all(1799 <= int(passed) + int(left) <= 1800 for passed, left, _ in shown)
    assert any(message.startswith("IWNR2211I ") for _, _, message in shown)
    assert max(map(len, live)) < COLUMNS  # else the terminal would break the line
    last = last_shown(terminal.text)
    assert last.startswith("verified")
    assert backup_id in last


def test_live_line_of_failure(terminal: Terminal) -> None:
    """The line is cleared before the one that says why it failed."""
    with SimulatedCsm() as csm:
        csm.world.task(PAYROLL_TASK).outcome = "error"
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK)
        assert terminal.end() == 7
    last = last_shown(terminal.text)
    assert last.startswith("run-cr-wflow-ds8k")
    assert "IWNR0001E" in last


@pytest.mark.parametrize("stdout", ["terminal", "pipe"])
def test_no_live_line_without_terminal(stdout: str, terminal: Terminal) -> None:
    """stderr is a pipe: no cursor is moved, whatever stdout is."""
    with SimulatedCsm(backup_seconds=1.5) as csm:
        streams = {} if stdout == "terminal" else {"stdout": subprocess.PIPE}
        process = terminal.start(
            *server_options(csm), "-t", PAYROLL_TASK, stderr=subprocess.PIPE, **streams
        )
        result = finish(process)
        assert result.code == 0
    terminal.read(0.05)
    assert "\r" not in result.err
    assert "\x1b" not in result.err
    assert "INFO" in result.err
    assert "\x1b" not in plain(terminal.text)  # but the outcome, on a terminal
    assert "\x1b" not in result.out
    assert "\r" not in result.out
    assert len((terminal.text + result.out).splitlines()) == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_live_line_is_as_wide_as_the_terminal(width: int) -> None:
    """It is cut between two words, so that no id loses its end."""
    terminal = Terminal(width)
    with contextlib.closing(terminal), SimulatedCsm() as csm:
        csm.world.session(PAYROLL).lock.acquire()
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK)
        terminal.read_until(lambda text: text.count("waiting for the task to end:") > 1)
        csm.world.session(PAYROLL).lock.release()
        assert terminal.end() == 0
    live = re.findall(r"\r\x1b\[K([^\r\n\x1b]+)(?=\r)", terminal.text.replace("\r\n", "\n"))
    assert live
    assert max(map(len, live)) < width
    if width > 160:
        assert any(part.endswith("has started running.") for part in live)
    for part in live:
        assert not re.search(r"IWNR\d{0,3}$|IWNR2211$", part)


@pytest.mark.parametrize(("outcome", "colour"), [("good", "32"), ("error", "31")])
@pytest.mark.parametrize("value", mostly_slow([None, "", "1"], None, "1"))
def test_outcome_stands_out(
    outcome: str, colour: str, value: Optional[str], terminal: Terminal
) -> None:
    """Bold, green or red: unless NO_COLOR is set, and not empty."""
    with SimulatedCsm(backup_seconds=0.02) as csm:
        csm.world.task(PAYROLL_TASK).outcome = outcome
        terminal.env = {} if value is None else {"NO_COLOR": value}
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK)
        terminal.end()
    word = "verified" if outcome == "good" else "failed"
    shown = f"\x1b[1;{colour}m{word}\x1b[0m: "
    assert (shown in terminal.text) == (not value)
    assert terminal.text.count("m" + word) == (not value)
    assert plain(terminal.text).count(f"{word}: ") == 1


def test_quiet_on_terminal(terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK, "-q")
        assert terminal.end() == 0
        assert terminal.text == ""


# --- Tables -------------------------------------------------------------------------------------


def long_names(csm: SimulatedCsm) -> None:
    csm.world.add_session(LONG_SESSION, state="Suspended (Partial)", status="Inactive")
    csm.world.add_session("\u0160".join(["x" * 29, "y" * 30]), status="Severe")
    csm.world.add_task(
        60, LONG_TASK, [(LONG_SESSION, "Backup"), (PAYROLL, "Backup")], pendingApproval=False
    )


def rows_of_table(lines: List[str], first: str) -> List[Dict[str, str]]:
    """The rows under the headings that begin with `first`: each column begins where its heading
    does, and two blanks at least are before it. Each is one line: fit for grep."""
    at = next((n for n, line in enumerate(lines) if re.match(first + "  ", line)), len(lines))
    if at == len(lines):
        return []
    heads = {found.start(): found.group() for found in re.finditer(r"\S+( \S+)*", lines[at])}
    places = [*heads, None]
    rows = []
    for line in lines[at + 1 : -1]:
        if re.match("SESSION  |step ", line):
            break
        assert all(line[place - 2 : place].strip() == "" for place in list(heads)[1:]), line
        cells = [line[slice(*ends)].rstrip() for ends in zip(places, places[1:])]
        rows.append(dict(zip(heads.values(), cells)))
    return rows


def test_list(terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        long_names(csm)
        terminal.start(*server_options(csm), "--list", stderr=subprocess.DEVNULL)
        assert terminal.end() == 0
        assert csm.world.attempts == []
        lines = plain(terminal.text).replace("\r\n", "\n").splitlines()
        tasks = {str(task.id): task for task in csm.world.tasks}
        sessions = {each.name: each for each in csm.world.sessions if each.rulesname == SGC}
    task_rows, session_rows = (rows_of_table(lines, first) for first in ("ID", "SESSION"))
    assert [(row["ID"], row["TASK"]) for row in task_rows] == [
        (number, task.name) for number, task in tasks.items()
    ]
    for row in task_rows:
        assert row["STATE"] == ("enabled" if tasks[row["ID"]].enabled else "disabled")
        backed_up = [name for name, command in tasks[row["ID"]].steps if command == "Backup"]
        assert row["BACKS UP"] == ", ".join(backed_up)
    assert [row["SESSION"] for row in session_rows] == list(sessions)
    for row in session_rows:
        shown = sessions[row["SESSION"]]
        assert (row["STATUS"], row["STATE"]) == (shown.status, shown.state)
        newest = str(shown.backups[0].id) if shown.backups else "none"
        assert row["NEWEST BACKUP"].startswith(newest)
    assert lines[-1].startswith("listed")


@pytest.mark.parametrize(
    "target", [["-t", LONG_TASK], ["-S", LONG_SESSION]], ids=["task", "session"]
)
def test_check(target: List[str], terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        long_names(csm)
        terminal.start(*server_options(csm), *target, "--check", stderr=subprocess.DEVNULL)
        assert terminal.end() == 0
        assert csm.world.attempts == []
    lines = plain(terminal.text).replace("\r\n", "\n").splitlines()
    assert lines[-1].startswith("checked")
    tasks, sessions = (rows_of_table(lines, first) for first in ("ID", "SESSION"))
    assert [each["TASK"] for each in tasks] == [LONG_TASK] * (target[0] == "-t")
    is_task = target[0] == "-t"
    assert [each["SESSION"] for each in sessions] == [LONG_SESSION] + [PAYROLL] * is_task
    steps = [line for line in lines if line.startswith("step ")]
    names = [LONG_SESSION, PAYROLL] if is_task else []
    assert [step.partition("  ")[2] for step in steps] == [f"{name}: Backup" for name in names]


# --- Prompts ------------------------------------------------------------------------------------


def test_prompts(terminal: Terminal) -> None:
    """User and password are asked for; nothing of it is on stdout, and the password nowhere."""
    with SimulatedCsm() as csm:
        process = terminal.start(
            *without_credentials(csm), "-t", PAYROLL_TASK, stdout=subprocess.PIPE
        )
        terminal.read_until(lambda text: "user" in text.lower())
        assert terminal.echo()
        assert csm.requests == []
        terminal.type(USER + "\n")
        terminal.read_until(lambda text: "password" in text.lower())
        until = time.monotonic() + 60
        while terminal.echo():
            assert time.monotonic() < until
            time.sleep(0.01)
        terminal.type(PASSWORD + "\n")
        code = terminal.end()
        out = process.stdout.read().decode() if process.stdout else ""
        assert code == 0, terminal.text
        assert terminal.echo()  # as it was
        assert csm.requests[0].form == {"username": USER, "password": PASSWORD}
        assert len(csm.world.triggers) == 1
    assert len(out.splitlines()) == 1
    assert out.startswith("verified")
    assert PASSWORD not in terminal.text + out


def test_password_prompt_alone(terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        csm.world.password = "p\u00e4ss w\u00f6rd"
        process = terminal.start(
            *without_credentials(csm),
            "-t",
            PAYROLL_TASK,
            "-u",
            USER,
            "--check",
            "-q",
            stdout=subprocess.PIPE,
        )
        terminal.read_until(lambda text: "password" in text.lower())
        assert "user" not in terminal.text.lower()
        terminal.type(csm.world.password + "\n")
        assert terminal.end() == 0, terminal.text
        assert process.stdout
        assert process.stdout.read() == b""
        assert csm.world.attempts == []
        assert csm.world.password not in terminal.text


@pytest.mark.parametrize("at", ["user", "password"])
def test_ctrl_c_at_a_prompt(at: str, terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        known = [] if at == "user" else ["-u", USER]
        process = terminal.start(
            *without_credentials(csm), "-t", PAYROLL_TASK, *known, stdout=subprocess.PIPE
        )
        terminal.read_until(lambda text: at in text.lower())
        time.sleep(0.1)
        terminal.type("\x03")
        assert terminal.end() == 130, terminal.text
        assert process.stdout
        assert process.stdout.read() == b""
        assert csm.requests == []
    assert terminal.echo()
    assert "Traceback" not in terminal.text
    assert "nothing was started" in terminal.text


@pytest.mark.parametrize(
    "typed", mostly_slow(["\x04", "\n", "  \n"], "\x04"), ids=["end", "empty", "blank"]
)
@pytest.mark.parametrize("at", ["user", "password"])
def test_nothing_typed(at: str, typed: str, terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        known = ["-p", PASSWORD] if at == "user" else ["-u", USER]
        terminal.start(*without_credentials(csm), "-t", PAYROLL_TASK, *known)
        terminal.read_until(lambda text: at in text.lower())
        time.sleep(0.1)
        terminal.type(typed)
        assert terminal.end() == 2, terminal.text
        assert csm.requests == []
        assert "Traceback" not in terminal.text


def test_no_prompt_without_terminal() -> None:
    """cron and the jail cannot answer: it is an error at once."""
    with SimulatedCsm() as csm:
        process = start_program(*without_credentials(csm), "-t", PAYROLL_TASK)
        result = finish(process)
        assert result.code == 2
        assert result.out == ""
        assert csm.requests == []
        assert len(result.err.splitlines()) == 1


# --- Ctrl-C during the run ----------------------------------------------------------------------


def test_ctrl_c_while_waiting(terminal: Terminal) -> None:
    with SimulatedCsm() as csm:
        csm.world.task(PAYROLL_TASK).outcome = "hang"
        terminal.start(*server_options(csm), "-t", PAYROLL_TASK)
        terminal.read_until(lambda text: "\r" in text.replace("\r\n", "") and len(csm.requests) > 6)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert len(csm.world.triggers) == 1
    last = last_shown(terminal.text)
    assert "interrupted" in last
    assert "started" in last
    assert "Traceback" not in terminal.text
