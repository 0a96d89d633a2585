"""From the arguments to the exit code: what is told however a call ends, and that it ends."""

import os
import sys
from typing import Any, List
from unittest import mock

import pytest

from support.clock import StandingClock
from support.program import NAME, Pace, Result, kept_signals, load, run_inside

c: Any = load()

NOON = 1_700_000_000.0
NEEDED = ("-s", "csm1", "-t", "task", "-u", "user", "-p", "s3cret")


def ended(monkeypatch: pytest.MonkeyPatch, run_mode: Any, *argv: str) -> Result:
    """A call whose work is that function."""
    monkeypatch.setattr(c, "run_mode", run_mode)
    return run_inside(*NEEDED, *argv, program=c, clock=StandingClock(NOON))


@pytest.mark.parametrize("word", ["verified", "accepted", "skipped", "checked", "listed"])
def test_a_call_that_ends_well(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = (c.Outcome(word), "the text")
    result = ended(monkeypatch, lambda csm: ending)
    assert (result.code, result.out, result.err) == (0, f"{word}: the text\n", "")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (c.Refused("no"), 6, "refused: nothing was started; no; see what CSM says"),
        (c.Unreachable("gone"), 3, "unreachable: nothing was started; gone; check address"),
        (c.Stopped(1), 129, "hung-up: nothing was started; stopped by a signal"),
        (c.Stopped(2), 130, "interrupted: nothing was started; stopped by a signal"),
        (c.Stopped(15), 143, "terminated: nothing was started; stopped by a signal"),
        (KeyError("s3cret"), 1, "internal: nothing was started; KeyError, lines ["),
        (SystemExit(0), 1, "internal: nothing was started; SystemExit, lines ["),
        (KeyboardInterrupt(), 1, "internal: nothing was started; KeyboardInterrupt, lines ["),
    ],
    ids=repr,
)
def test_a_call_that_ends_badly(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No way out but one leads to 0, and a bug tells its lines alone."""
    result = ended(monkeypatch, mock.Mock(side_effect=error))
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"{NAME}: {words}")
    assert "s3cret" not in result.err
    assert len(result.err.splitlines()) == 1


def test_a_signal_tells_how_far_it_had_got(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_mode(csm: Any) -> None:
        note = c.Snapshot("csm1:9559", None, (None,), NOON, NOON, 0.0, 0.0)
        run = c.after_send(c.first_state(note, 1800.0), 1.0)
        target = c.Target('session "task"', note, ("task",), ("csm1:9559", 1))
        csm.progress.record(run, target, (None,))
        raise c.Stopped(15)

    result = ended(monkeypatch, run_mode, "--json")
    assert result.code == result.json["exit_code"] == 143
    assert (result.json["started"], result.json["triggers"]) == ("perhaps", 1)
    words = "stopped by a signal: sent; no answer yet, and the connection stands"
    assert words in result.json["message"]


def test_time_counts_from_where_user_and_password_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = StandingClock(NOON)
    config_of = c.config_of
    seen: List[Any] = []

    def slow(*args: Any) -> Any:
        clock.sleep(3600.0)
        return config_of(*args)

    def run_mode(csm: Any) -> Any:
        seen.append((round(csm.time_left(), 3), csm.progress.server, csm.pace.request_timeout))
        return (c.Outcome.LISTED, "all")

    monkeypatch.setattr(c, "config_of", slow)
    monkeypatch.setattr(c, "run_mode", run_mode)
    argv = (*NEEDED, "--timeout", "100", "--request-timeout", "7")
    assert run_inside(*argv, program=c, clock=clock).code == 0
    assert seen == [(100.0, "csm1:9559", 7.0)]


def test_a_call_has_its_pace_its_clock_and_its_ear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals are listened for before anything is read."""
    heard: List[Any] = []
    seen: List[Any] = []

    def listen(self: Any) -> None:
        heard.append(self)

    def run_mode(csm: Any) -> Any:
        seen.extend((csm.pace.grace, csm.waiter.clock, csm.waiter.signals))
        return (c.Outcome.LISTED, "all")

    monkeypatch.setattr(c.Signals, "listen", listen)
    monkeypatch.setattr(c, "run_mode", run_mode)
    clock = StandingClock(NOON)
    assert run_inside(*NEEDED, program=c, pace=Pace(grace=1.5), clock=clock).code == 0
    assert seen == [1.5, clock, *heard]
    assert len(heard) == 1


def test_what_a_call_is_given_where_nothing_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The arguments of the process, the pace that ships, and the real clock."""
    seen: List[Any] = []

    def run_mode(csm: Any) -> Any:
        seen.extend((csm.config.task_name, csm.pace, type(csm.waiter.clock)))
        return (c.Outcome.LISTED, "all")

    monkeypatch.setattr(c, "run_mode", run_mode)
    monkeypatch.setattr(sys, "argv", ["program", *NEEDED])
    with kept_signals():
        assert c.main() == 0
    assert seen == ["task", c.Pace(), c.Clock]
    assert capsys.readouterr() == ("listed: all\n", "")


def test_all_after_the_dashes_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the command line is wrong, and whatever it looks like."""
    event = ("--", "-x", "a\x1b[31m b", "--", "--json")
    result = run_inside("--no-such", *event, program=c)
    assert result.code == 2
    assert result.last_line.endswith("(event: -x a[31m b -- --json)")
    result = run_inside("--timeout", "x", *event, program=c)
    assert result.code == 2
    assert result.last_line.endswith("(event: -x a[31m b -- --json)")
    ending = (c.Outcome.LISTED, "all")
    result = ended(monkeypatch, lambda csm: ending, "--json", *event)
    assert result.json["event"] == ["-x", "a[31m b", "--", "--json"]
    assert result.json["outcome"] == "listed"


def test_what_is_wrong_is_found_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that nobody knows; modules; the rules. Nothing is asked of anybody before."""
    monkeypatch.setattr(c, "import_modules", mock.Mock(side_effect=ImportError("no requests")))
    result = run_inside("-s", "csm1", "--no-such", program=c)
    assert "argument 3 is no option" in result.err
    result = run_inside("-s", "csm1", program=c)
    assert "requests and urllib3 cannot be loaded" in result.err
    monkeypatch.undo()
    result = run_inside("-s", "csm1", program=c)
    assert "-t, -S: missing or blank" in result.err


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version(option: str) -> None:
    result = run_inside(option, program=c)
    assert (result.code, result.err) == (0, "")
    assert result.out


def test_what_is_forgotten_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("SSLKEYLOGFILE", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS")
    for name in (*names, "OTHER"):
        monkeypatch.setenv(name, "x")
    run_inside(program=c)
    assert [name for name in (*names, "OTHER") if name in os.environ] == ["OTHER"]


@pytest.mark.parametrize("code", [0, 8, 143])
def test_the_process_ends_at_once(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is on its way before; a stream that is gone, or stuck, changes nothing."""
    ended = mock.Mock(side_effect=SystemExit)
    monkeypatch.setattr(c.os, "_exit", ended)
    out, err = mock.Mock(), mock.Mock()
    for error in (None, OSError, ValueError):
        out.flush.side_effect = error
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit):
            c.leave(code)
    assert ended.mock_calls == [mock.call(code)] * 3
    assert (out.flush.call_count, err.flush.call_count) == (3, 3)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit):
        c.leave(code)
    assert err.flush.call_count == 4
