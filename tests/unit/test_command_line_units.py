"""The command line by itself: what the parser says of a wrong argument, the rules that follow it,
and where user and password come from. No value of an argument is ever shown."""

import argparse
import base64
import io
import os
import pathlib
import sys
from typing import Any, Callable, Dict, List, Optional

import certifi
import pytest

from support.clock import StandingClock
from support.program import load

c: Any = load()

SECRET = "s3cr3t'\"pass"
FINGERPRINT = ":".join(["AB"] * 32)
NEEDED = ("-s", "csm1", "-t", "task", "-u", "user", "-p", "pass")


def parse(*argv: str) -> argparse.Namespace:
    args = c.build_parser().parse_args(list(argv))
    assert isinstance(args, argparse.Namespace)
    return args


def waiter() -> Any:
    return c.Waiter(StandingClock(1_700_000_000.0), c.Signals())


def console() -> Any:
    return c.Console(c.Output(), StandingClock(1_700_000_000.0))


def config(*argv: str) -> Any:
    return c.config_of(parse(*argv), waiter(), console())


def told(call: Callable[[], Any]) -> str:
    with pytest.raises(c.UsageError) as caught:
        call()
    assert caught.value.code == 2
    assert caught.value.hint
    return str(caught.value)


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an environment nor a terminal to ask at."""
    monkeypatch.delenv("CSM_USER", raising=False)
    monkeypatch.delenv("CSM_USER_PASSWD", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


# --- The parser -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--timeout", SECRET], "argument --timeout: invalid float value: ..."),
        (["--csm_user_passwd"], "argument -p/--csm_user_passwd: expected one argument"),
        ([f"--json={SECRET}"], "argument --json: ignored explicit argument ..."),
        (["--check", "--list"], "argument --list: not allowed with argument --check"),
        (["-p", SECRET, "--password-file", SECRET], "not allowed with argument"),
        (["--insecure", "--fingerprint", SECRET], "not allowed with argument --insecure"),
        (["--insecure", "--ca-file", SECRET], "not allowed with argument --insecure"),
        (["--no-wait", "--check"], "not allowed with argument --no-wait"),
    ],
)
def test_what_the_parser_says(argv: List[str], words: str) -> None:
    text = told(lambda: c.build_parser().parse_known_args(argv))
    assert words in text
    assert SECRET not in text


def unknown(*argv: str) -> str:
    parser = c.build_parser()
    _, rest = parser.parse_known_args(list(argv))
    return told(lambda: c.check_all_known(parser, list(argv), rest))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--csm-task", "x"], "argument 1 is no option: --csm_task?"),
        ([*NEEDED, "--csm_sesion=x"], "argument 9 is no option: --csm_session?"),
        ([*NEEDED, "--timout", "5"], "argument 9 is no option: --timeout?"),
        ([*NEEDED, "--nowait"], "argument 9 is no option: --no-wait?"),
        ([*NEEDED, "--fingerprints"], "argument 9 is no option: --fingerprint?"),
        ([*NEEDED, f"--{SECRET}"], "argument 9 is no option"),
        ([*NEEDED, SECRET], "argument 9 is neither an option nor the value of one"),
        ([SECRET, *NEEDED], "argument 1 is neither an option nor the value of one"),
        ([*NEEDED, ""], "argument 9 is empty"),
        ([*NEEDED, "--tim", "5"], "argument 9 is no option"),
    ],
)
def test_an_unknown_argument_is_named_by_its_position(argv: List[str], words: str) -> None:
    """With the closest option there is, and never by its text. No option can be cut short."""
    text = unknown(*argv)
    assert text.startswith(words)
    assert SECRET not in text


def test_nothing_unknown() -> None:
    c.check_all_known(c.build_parser(), list(NEEDED), [])
    parser = c.build_parser()
    assert told(lambda: c.check_all_known(parser, ["a"], ["b"])).startswith("argument ?")


def test_the_given_interface() -> None:
    """Spelling for spelling."""
    short = parse("-s", "A", "-P", "1", "-u", "B", "-p", "C", "-t", "D")
    long = parse(
        *("--csm_server", "A", "--csm_port", "1", "--csm_user", "B"),
        *("--csm_user_passwd", "C", "--csm_task", "D"),
    )
    assert short == long
    assert (short.csm_server, short.csm_port, short.csm_user) == ("A", "1", "B")
    assert (short.csm_user_passwd, short.csm_task) == ("C", "D")
    assert parse("-S", "x") == parse("--csm_session", "x")


def test_what_is_taken_where_nothing_is_said() -> None:
    found = config(*NEEDED)
    assert found._replace(password=None) == c.Config(
        servers=("csm1:9559",),
        user="user",
        password=None,
        trust=c.Trust("", (), False),
        mode=c.Mode.RUN,
        task_name="task",
        session_name="",
        min_interval=0.0,
        timeout=1800.0,
        request_timeout=30.0,
    )
    assert found.password.reveal() == "pass"
    assert not found.asks_role


def test_what_is_said_is_taken() -> None:
    found = config(
        *("-s", "a,b:7", "-P", "5", "-S", "session", "-u", "user", "-p", "pass"),
        *("--fingerprint", f" {FINGERPRINT} , {FINGERPRINT}", "--min-interval", "2"),
        *("--timeout", "100", "--request-timeout", "7"),
    )
    assert found.servers == ("a:5", "b:7")
    assert found.trust == c.Trust("", (FINGERPRINT, FINGERPRINT), False)
    assert (found.task_name, found.session_name) == ("", "session")
    assert (found.min_interval, found.timeout, found.request_timeout) == (120.0, 100.0, 7.0)
    assert found.asks_role
    assert config(*NEEDED, "--insecure").trust == c.Trust("", (), True)


@pytest.mark.parametrize(
    ("argv", "mode", "timeout"),
    [
        ([], "RUN", 1800.0),
        (["--no-wait"], "NO_WAIT", 1800.0),
        (["--check"], "CHECK", 30.0),
        (["--list"], "LIST", 30.0),
        (["--timeout", "7"], "RUN", 7.0),
        (["--timeout", "7", "--check"], "CHECK", 7.0),
        (["--timeout", "7", "--list"], "LIST", 7.0),
        (["--timeout", "31", "--list"], "LIST", 30.0),
        (["--timeout", "31", "--no-wait"], "NO_WAIT", 31.0),
    ],
)
def test_modes_and_their_deadlines(argv: List[str], mode: str, timeout: float) -> None:
    """--list and --check give up after 30 s, and sooner where they are told to."""
    found = config(*NEEDED, *argv)
    assert (found.mode.name, found.timeout) == (mode, timeout)
    assert found.asks_role is (mode == "CHECK")


# --- The rules ------------------------------------------------------------------------------------

SERVER, NAMES = "-s: missing or blank", "-t, -S: missing or blank"
TIMES = "--timeout, --request-timeout, --min-interval"
ADDRESSES, PAIR, TRUST = "-s, -P, --leef: not HOST", "-s: more than the two", "--fingerprint: not"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-t", "a"], SERVER),
        (["-s", "", "-t", "a"], SERVER),
        (["-s", "a"], NAMES),
        (["-s", "a", "-t", ""], NAMES),
        (["-s", "a", "-t", " "], NAMES),
        (["-s", "a", "-S", ""], NAMES),
        (["-s", "a", "-t", "b", "-S", " "], NAMES),
        (["-s", "a", "--list", "-t", " "], NAMES),
        ([*NEEDED, "--timeout", "0"], TIMES),
        ([*NEEDED, "--timeout", "-1"], TIMES),
        ([*NEEDED, "--timeout", "86401"], TIMES),
        ([*NEEDED, "--timeout", "nan"], TIMES),
        ([*NEEDED, "--timeout", "inf"], TIMES),
        ([*NEEDED, "--request-timeout", "0"], TIMES),
        ([*NEEDED, "--min-interval", "0"], TIMES),
        ([*NEEDED, "--min-interval", "nan"], TIMES),
        ([*NEEDED, "-s", "https://a"], ADDRESSES),
        ([*NEEDED, "-s", "a/b"], ADDRESSES),
        ([*NEEDED, "-s", "a,"], ADDRESSES),
        ([*NEEDED, "-s", "a,b c"], ADDRESSES),
        ([*NEEDED, "-s", " "], ADDRESSES),
        ([*NEEDED, "-P", "x"], ADDRESSES),
        ([*NEEDED, "-s", "a:1", "-P", "0"], ADDRESSES),
        ([*NEEDED, "--leef", ""], ADDRESSES),
        ([*NEEDED, "--leef", "a:0"], ADDRESSES),
        ([*NEEDED, "-s", "a,b,c"], PAIR),
        ([*NEEDED, "--fingerprint", ""], TRUST),
        ([*NEEDED, "--fingerprint", "AB"], TRUST),
        ([*NEEDED, "--fingerprint", FINGERPRINT + "00"], TRUST),
        ([*NEEDED, "--fingerprint", FINGERPRINT.replace("AB", "GG", 1)], TRUST),
        ([*NEEDED, "--fingerprint", f"{FINGERPRINT},{FINGERPRINT}"], TRUST),
        ([*NEEDED, "--fingerprint", f"{FINGERPRINT},"], TRUST),
        ([*NEEDED, "-s", "a,b", "--fingerprint", f"{FINGERPRINT},AB"], TRUST),
        ([*NEEDED, "-s", "a,b", "--fingerprint", ",".join([FINGERPRINT] * 3)], TRUST),
    ],
)
def test_each_rule(argv: List[str], words: str) -> None:
    assert told(lambda: c.check_arguments(parse(*argv))).startswith(words)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--timeout", "86400"],
        ["--timeout", "0.001"],
        ["--min-interval", "86400"],
        ["-S", "b"],
        ["-t", " b "],
        ["--fingerprint", FINGERPRINT],
        ["--fingerprint", FINGERPRINT.lower()],
        ["--fingerprint", FINGERPRINT.replace(":", "")],
        ["-s", "a,b", "--fingerprint", FINGERPRINT],
        ["-s", "a,b", "--fingerprint", f"{FINGERPRINT},{FINGERPRINT}"],
        ["--leef", "siem"],
        ["--leef", "[::1]:514"],
    ],
)
def test_what_keeps_the_rules(argv: List[str]) -> None:
    c.check_arguments(parse(*NEEDED, *argv))


def test_a_list_needs_no_name() -> None:
    c.check_arguments(parse("-s", "a", "--list"))
    c.check_arguments(parse("-s", "a", "-S", "b"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("csm1", "csm1:9559"),
        (" csm1 ", "csm1:9559"),
        ("csm1:443", "csm1:443"),
        ("10.0.0.1", "10.0.0.1:9559"),
        ("csm-1.example_2.com", "csm-1.example_2.com:9559"),
        ("[::1]", "[::1]:9559"),
        ("[fe80::1]:443", "[fe80::1]:443"),
        ("csm1:65535", "csm1:65535"),
        ("csm1:00443", "csm1:443"),
        ("csm1:65536", ""),
        ("csm1:0", ""),
        ("csm1:-1", ""),
        ("csm1:", ""),
        ("csm1:443:443", ""),
        ("::1", ""),
        ("https://csm1", ""),
        ("csm1/path", ""),
        ("user@csm1", ""),
        ("csm1#x", ""),
        ("csm1\n", "csm1:9559"),
        ("csm 1", ""),
        ("csm\u00e9", ""),
        ("csm1:\u0664\u0664\u0663", ""),
        ("", ""),
    ],
)
def test_addresses(text: str, found: str) -> None:
    assert c.address(text, "9559") == found


def test_the_port_beside_an_address() -> None:
    assert c.address("csm1", "") == c.address("csm1", "x") == c.address("csm1", "0") == ""
    assert c.address("csm1", "123456") == c.address("csm1", "5\n") == ""


# --- The file of CAs ------------------------------------------------------------------------------


def test_a_file_of_cas(tmp_path: pathlib.Path) -> None:
    """One that cannot be used is told before anything is sent; so is an empty name, which would
    mean the system's CAs."""
    good = certifi.where()
    assert config(*NEEDED, "--ca-file", good).trust == c.Trust(good, (), False)
    missing = "--ca-file: No such file or directory"
    assert told(lambda: config(*NEEDED, "--ca-file", "")) == missing
    assert told(lambda: config(*NEEDED, "--ca-file", str(tmp_path / "no"))) == missing
    empty = tmp_path / "empty"
    empty.touch()
    assert told(lambda: config(*NEEDED, "--ca-file", str(empty))).startswith("--ca-file: ")


# --- User and password ----------------------------------------------------------------------------


@pytest.fixture
def password_file(tmp_path: pathlib.Path) -> Callable[[bytes], str]:
    def write(content: bytes) -> str:
        path = tmp_path / "password"
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    return write


def password_of(*argv: str) -> str:
    found = config("-s", "csm1", "-t", "task", "-u", "user", *argv).password.reveal()
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("text", ["pass", " pass ", "-", "*", "\u00e9\u4e2d", "a" * 1000, SECRET])
def test_a_password_is_taken_as_typed(text: str) -> None:
    assert password_of(f"--csm_user_passwd={text}") == text


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"pass\n", "pass"),
        (b"pass", "pass"),
        (b" pass \n", " pass "),
        (b"\xef\xbb\xbfpass\n", "pass"),
        ("\u00e9\n".encode(), "\u00e9"),
        (b"pass\r\n", "pass"),
    ],
)
def test_a_password_file(
    content: bytes, password: str, password_file: Callable[[bytes], str]
) -> None:
    assert password_of("--password-file", password_file(content)) == password


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "missing, blank or not text"),
        (b"\n", "missing, blank or not text"),
        (b"   \n", "missing, blank or not text"),
        (b"\xff\xfe\n", "missing, blank or not text"),
        (b"one\ntwo\n", "control character"),
        (b"pass\n\n", "control character"),
        (b"pa\tss\n", "control character"),
        (b"pa\x00ss\n", "control character"),
        (b"pa\x7fss\n", "control character"),
        ("pa\x85ss\n".encode(), "control character"),
        ("pa\x9fss\n".encode(), "control character"),
    ],
)
def test_a_password_file_that_will_not_do(
    content: bytes, words: str, password_file: Callable[[bytes], str]
) -> None:
    path = password_file(content)
    text = told(lambda: password_of("--password-file", path))
    assert text.startswith("--csm_user_passwd")
    assert words in text
    assert "pa" not in text.replace("csm_user_passwd", "").replace("perhaps", "")


def test_a_password_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    text = told(lambda: password_of("--password-file", str(tmp_path / "no")))
    assert text == "--password-file: No such file or directory"
    assert "Is a directory" in told(lambda: password_of("--password-file", str(tmp_path)))


@pytest.mark.parametrize(("mode", "is_warned"), [(0o600, False), (0o400, False), (0o640, True)])
def test_a_password_file_that_others_can_read(
    mode: int,
    is_warned: bool,
    password_file: Callable[[bytes], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = password_file(b"pass\n")
    pathlib.Path(path).chmod(mode)
    assert password_of("--password-file", path) == "pass"
    assert ("chmod 600" in capsys.readouterr().err) is is_warned


def test_no_more_than_a_line_is_read(password_file: Callable[[bytes], str]) -> None:
    """A file that is no password file, and long."""
    assert len(c.read_line_of(password_file(b"a" * 100_000))) == 65536


# What each source would give -> which one is taken.
SOURCES = (
    ({"-p": "option", "CSM_USER_PASSWD": "environment"}, "option"),
    ({"--password-file": "file", "CSM_USER_PASSWD": "environment"}, "file"),
    ({"CSM_USER_PASSWD": "environment", "prompt": "typed"}, "environment"),
    ({"prompt": "typed"}, "typed"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("given", "taken"), SOURCES, ids=[each[1] for each in SOURCES])
def test_the_first_source_that_is_there(
    given: Dict[str, str],
    taken: str,
    password_file: Callable[[bytes], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv: List[str] = []
    if "-p" in given:
        argv = ["-p", given["-p"]]
    if "--password-file" in given:
        argv = ["--password-file", password_file(given["--password-file"].encode())]
    if "CSM_USER_PASSWD" in given:
        monkeypatch.setenv("CSM_USER_PASSWD", given["CSM_USER_PASSWD"])
    if "prompt" in given:
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(c.getpass, "getpass", lambda prompt: given["prompt"])
    assert password_of(*argv) == taken


def user_of(*argv: str) -> str:
    found = config("-s", "csm1", "-t", "task", "-p", "pass", *argv).user
    assert isinstance(found, str)
    return found


def test_the_sources_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--csm_user is missing" in told(user_of)
    monkeypatch.setattr(sys, "stdin", Terminal("typed\n"))
    assert user_of() == "typed"
    assert capsys.readouterr().err == "CSM user: "
    monkeypatch.setenv("CSM_USER", "environment")
    assert user_of() == "environment"
    assert user_of("-u", "option") == "option"


@pytest.mark.parametrize("kind", [EOFError, RuntimeError, ValueError])
def test_a_prompt_that_ends(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def getpass(prompt: str) -> str:
        raise kind

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(c.getpass, "getpass", getpass)
    assert "--csm_user_passwd is missing" in told(password_of)
    assert "--csm_user is missing" in told(user_of)


@pytest.mark.parametrize("stdin", [None, io.StringIO("typed\n")])
def test_nobody_is_asked_where_there_is_no_terminal(
    stdin: Optional[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "--csm_user is missing" in told(user_of)


@pytest.mark.parametrize("value", ["", " ", "a\tb", "a\r"])
def test_an_environment_that_will_not_do(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there: nothing else is asked."""
    monkeypatch.setattr(sys, "stdin", Terminal("typed\n"))
    monkeypatch.setenv("CSM_USER", value)
    assert "--csm_user" in told(user_of)


def test_bytes_that_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CSM_USER", "a\udcff")
    assert "not text" in told(user_of)


# --- Base64 ---------------------------------------------------------------------------------------

LONG = "p\u00e4ss " + "x" * 100


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def wrapped(text: str, end: str) -> str:
    """As base64(1) prints it."""
    whole = packed(text)
    return "".join(whole[at : at + 76] + end for at in range(0, len(whole), 76))


@pytest.mark.parametrize(
    "given",
    [
        packed(LONG),
        f" {packed(LONG)} ",
        wrapped(LONG, "\n"),
        wrapped(LONG, "\r\n"),
        packed(f"{LONG}\n"),
        packed(f"{LONG}\r\n"),
        packed(f" {LONG} "),
    ],
)
def test_base64(given: str) -> None:
    """With blanks in it, wrapped, with a line end inside or outside: as it comes from a shell."""
    assert password_of("--base64", "-p", given, "-u", packed("user")) == LONG


@pytest.mark.parametrize(
    "given", ["", " ", "pass!", "cGFzcw", "cGFzcw=", packed("a\nb"), packed("\t"), "/w=="]
)
def test_what_is_no_base64(given: str) -> None:
    text = told(lambda: password_of("--base64", "-p", given, "-u", packed("user")))
    assert text.startswith("--csm_user_passwd")
    assert not given.strip() or given not in text


def test_base64_is_of_the_options_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSM_USER_PASSWD", packed("pass"))
    assert password_of("--base64", "-u", packed("user")) == packed("pass")
    assert user_of("--base64", "-p", packed("pass"), "-u", packed("user")) == "user"


# --- How the result is told -----------------------------------------------------------------------


def test_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RULE_ID", "100\x1b")
    monkeypatch.setenv("RULE_NAME", "A rule\n")
    args = parse("--json", "-q", "-v", "--leef", "siem")
    assert c.output_of(args, ["a\x00b", "c"]) == c.Output(
        json=True,
        quiet=True,
        verbose=True,
        leef="siem:514",
        event=("ab", "c"),
        rule_id="100",
        rule_name="A rule",
    )
    monkeypatch.delenv("RULE_ID")
    monkeypatch.delenv("RULE_NAME")
    assert c.output_of(parse(), []) == c.Output()


def test_a_ca_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ca.pem"
    text = told(lambda: config(*NEEDED, "--ca-file", str(path)))
    assert text == "--ca-file: No such file or directory"
    path.write_text("no certificate")
    assert told(lambda: config(*NEEDED, "--ca-file", str(path))).startswith("--ca-file: ")
    assert told(lambda: config(*NEEDED, "--ca-file", "")).startswith("--ca-file: ")
