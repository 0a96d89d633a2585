"""The table of faults: each cell of it, which of them allow a command to be sent again without
looking, and which answers and errors lead to which row."""

import http.client
import itertools
import socket
import ssl
from typing import Any, Dict, List, NamedTuple, Tuple, Type

import pytest
import requests
import urllib3.exceptions as of_urllib3

from support.program import load

c: Any = load()

LOG_IN, READ, COMMAND = c.Purpose.LOG_IN, c.Purpose.READ, c.Purpose.COMMAND
PURPOSES = (LOG_IN, READ, COMMAND)

# --- The cells ------------------------------------------------------------------------------------

CELLS: Dict[str, Tuple[str, str, str]] = {
    "UNTRUSTED": ("WrongServer", "WrongServer", "WrongServer"),
    "UNSENT": ("Unreachable", "Unreachable", "Unreachable"),
    "LOST": ("Unreachable", "Unreachable", "OutcomeUnknown"),
    "REDIRECT": ("NotCsm", "NotCsm", "OutcomeUnknown"),
    "TOKEN": ("LoginRefused", "TokenLost", "TokenLost"),
    "FORBIDDEN": ("LoginRefused", "Denied", "Denied"),
    "REFUSED": ("LoginRefused", "Denied", "Refused"),
    "BUSY": ("NoUse", "NoUse", "Busy"),
    "NO_JSON": ("LoginRefused", "NoUse", "OutcomeUnknown"),
    "USELESS": ("NoUse", "NoUse", "OutcomeUnknown"),
}


def test_each_cell() -> None:
    found = {row.name: tuple(kind.__name__ for kind in c.FAULTS[row]) for row in c.FAULTS}
    assert found == CELLS
    assert {each.name for each in c.Oddity} == set(CELLS)
    assert [each.value for each in PURPOSES] == [0, 1, 2]
    assert len(c.Purpose) == len(PURPOSES)


def test_which_cells_allow_a_command_to_be_sent_again() -> None:
    """Without looking first: where it is certain that it was not processed."""
    found = {row.name for row in c.Oddity if issubclass(c.FAULTS[row][COMMAND], c.NotProcessed)}
    assert found == {"UNTRUSTED", "UNSENT", "TOKEN", "FORBIDDEN"}


def test_what_a_read_meets_can_be_read_again() -> None:
    for row, purpose in itertools.product(c.Oddity, (LOG_IN, READ)):
        assert issubclass(c.FAULTS[row][purpose], c.NotProcessed), (row, purpose)


def classes_below(kind: Type[Any]) -> List[Type[Any]]:
    found = list(kind.__subclasses__())
    for each in kind.__subclasses__():
        found += classes_below(each)
    return found


# name, exit code, is it firm, may the request be sent again
KINDS = (
    ("Problem", 1, False, False),
    ("UsageError", 2, False, False),
    ("ModuleMissing", 2, False, False),
    ("NotFound", 5, False, False),
    ("Refused", 6, False, False),
    ("BackupFailed", 7, False, False),
    ("OutcomeUnknown", 8, False, False),
    ("Busy", 8, False, False),
    ("NotProcessed", 3, False, True),
    ("Unreachable", 3, False, True),
    ("NoUse", 3, False, True),
    ("WrongServer", 3, True, True),
    ("NotCsm", 3, True, True),
    ("LoginRefused", 4, True, True),
    ("HeldBack", 4, False, True),
    ("Denied", 6, True, True),
    ("TokenLost", 6, False, True),
    ("Standby", 6, False, True),
)


@pytest.mark.parametrize(("name", "code", "is_firm", "again"), KINDS)
def test_each_problem(name: str, code: int, is_firm: bool, again: bool) -> None:
    kind = getattr(c, name)
    assert kind.code == code
    assert getattr(kind, "firm", False) is is_firm
    assert issubclass(kind, c.NotProcessed) is again
    assert str(kind("text")) == "text"
    assert kind("text").message == c.NO_MESSAGE


def test_no_problem_is_forgotten() -> None:
    names = {each.__name__ for each in classes_below(c.Problem)} | {"Problem"}
    assert names == {row[0] for row in KINDS}


def test_what_is_no_problem_at_all() -> None:
    assert not issubclass(c.OddReply, c.Problem)
    assert not issubclass(c.Stopped, Exception)
    assert c.Stopped(15).number == 15


def test_the_exit_codes() -> None:
    assert {each.name: int(each) for each in c.ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "UNREACHABLE": 3,
        "LOGIN": 4,
        "NOT_FOUND": 5,
        "REFUSED": 6,
        "FAILED": 7,
        "UNKNOWN": 8,
        "HUNG_UP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


# --- Answers --------------------------------------------------------------------------------------

NO_JSON, NOTHING, GOOD, BAD = "no JSON", "no message", "I or W", "an error"
TEXTS: Dict[str, Tuple[str, ...]] = {
    NO_JSON: ("",),
    NOTHING: ("", "a text without an id", "IWNR1234567E", "E"),
    GOOD: ("IWNR2211I", "IWNR0009W", "IWNR1026I done"),
    BAD: ("IWNR0001E", "IWNR0003S [time] text", "ABC12X"),
}


class Row(NamedTuple):
    """What these statuses mean: with each kind of message, to a log-in, a read and a command."""

    statuses: List[int]
    no_json: Tuple[str, str, str]
    nothing: Tuple[str, str, str]
    good: Tuple[str, str, str]
    bad: Tuple[str, str, str]


def thrice(word: str) -> Tuple[str, str, str]:
    return word, word, word


def same(statuses: List[int], word: str, with_error: Tuple[str, str, str]) -> Row:
    return Row(statuses, thrice(word), thrice(word), thrice(word), with_error)


REFUSING = [400, 405, 406, 409, 411, 413, 414, 415, 422]
OWN = [401, 403, 429, *REFUSING]
OTHERS_OF_400 = [each for each in range(400, 500) if each not in OWN]
REFUSED = thrice("REFUSED")
ROWS = (
    Row(
        list(range(200, 300)),
        no_json=thrice("NO_JSON"),
        nothing=("", "", "USELESS"),
        good=("", "", ""),
        bad=REFUSED,
    ),
    same(list(range(300, 400)), "REDIRECT", ("REFUSED", "REDIRECT", "REDIRECT")),
    same([401], "TOKEN", ("REFUSED", "TOKEN", "TOKEN")),
    same([403], "FORBIDDEN", REFUSED),
    same([429, 503], "BUSY", ("REFUSED", "BUSY", "BUSY")),
    same(REFUSING, "REFUSED", REFUSED),
    same([*range(100, 200), *OTHERS_OF_400], "USELESS", REFUSED),
    same(
        [each for each in range(500, 700) if each != 503],
        "USELESS",
        ("REFUSED", "USELESS", "USELESS"),
    ),
)


def reply(status: int, text: str, has_json: bool = True) -> Any:
    message = c.Message(0.0, text)
    return c.Reply("/path", status, {"any": "thing"} if has_json else None, message, "summary")


def test_each_answer() -> None:
    """Every status with every kind of message, to every purpose."""
    seen = 0
    for row in ROWS:
        kinds = zip((NO_JSON, NOTHING, GOOD, BAD), row[1:])
        for status, (kind, words) in itertools.product(row.statuses, list(kinds)):
            for text, purpose in itertools.product(TEXTS[kind], PURPOSES):
                odd = c.oddity_of(purpose, reply(status, text, kind != NO_JSON))
                expected = c.Oddity[words[purpose]] if words[purpose] else None
                assert odd is expected, (status, text, purpose)
                seen += 1
    assert sorted(each for row in ROWS for each in row.statuses) == list(range(100, 700))
    assert seen == 600 * 11 * 3


@pytest.mark.parametrize("data", [[], {}, 0, False, "", "text", [1], {"a": None}])
def test_any_json_is_json(data: Any) -> None:
    """What it must hold is the reader's business; of a command it is the message that counts."""
    whole = reply(200, "")._replace(data=data)
    assert c.oddity_of(READ, whole) is None
    assert c.oddity_of(COMMAND, whole) is c.Oddity.USELESS
    good = reply(200, "IWNR2211I")._replace(data=data)
    assert c.oddity_of(COMMAND, good) is None


# --- Errors ---------------------------------------------------------------------------------------

POOL: Any = None
SELF_SIGNED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed (_ssl.c:1)"
FINGERPRINT = 'Fingerprints did not match. Expected "aa", got "bb".'
HOSTNAME = "hostname 'csm1' doesn't match 'csm2'"


def retried(reason: Exception) -> of_urllib3.MaxRetryError:
    """As urllib3 wraps it."""
    return of_urllib3.MaxRetryError(POOL, "/url", reason)


def new_connection() -> of_urllib3.NewConnectionError:
    return of_urllib3.NewConnectionError(POOL, "refused")


def of_tls(text: str) -> requests.exceptions.SSLError:
    return requests.exceptions.SSLError(retried(of_urllib3.SSLError(text)))


ERRORS: Tuple[Tuple[BaseException, str], ...] = (
    (requests.ConnectionError(retried(new_connection())), "UNSENT"),
    (requests.ConnectTimeout(retried(of_urllib3.ConnectTimeoutError("slow"))), "UNSENT"),
    (of_tls(SELF_SIGNED), "UNTRUSTED"),
    (of_tls(FINGERPRINT), "UNTRUSTED"),
    (of_tls(HOSTNAME), "UNTRUSTED"),
    (requests.exceptions.SSLError(SELF_SIGNED), "LOST"),
    (of_tls("EOF occurred in violation of protocol (_ssl.c:1)"), "LOST"),
    (of_tls("[SSL: TLSV1_ALERT_INTERNAL_ERROR] alert (_ssl.c:1)"), "LOST"),
    (requests.ConnectionError(retried(of_urllib3.SSLError(SELF_SIGNED))), "LOST"),
    (requests.ReadTimeout(of_urllib3.ReadTimeoutError(POOL, "/url", "slow")), "LOST"),
    (requests.ConnectionError(of_urllib3.ProtocolError("Connection aborted.")), "LOST"),
    (requests.ConnectionError(retried(of_urllib3.ResponseError("many"))), "LOST"),
    (requests.exceptions.ChunkedEncodingError("cut"), "LOST"),
    (requests.exceptions.ContentDecodingError("no gzip"), "LOST"),
    (requests.exceptions.InvalidSchema("no adapter"), "LOST"),
    (requests.ConnectionError(), "LOST"),
    (requests.ConnectionError("NewConnectionError"), "LOST"),
    (ConnectionResetError(104, "Connection reset by peer"), "LOST"),
    (socket.timeout(), "LOST"),
    (ssl.SSLError(1, SELF_SIGNED), "LOST"),
    (ValueError(), "LOST"),
    (UnicodeError("odd host"), "LOST"),
)


@pytest.mark.parametrize(
    ("error", "name"),
    ERRORS,
    ids=[f"{type(each[0]).__name__}-{at}" for at, each in enumerate(ERRORS)],
)
def test_each_error(error: BaseException, name: str) -> None:
    """Only what is certain counts as not sent."""
    assert c.oddity_of_error(error).name == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SELF_SIGNED, "certificate verify failed: self signed"),
        (FINGERPRINT, "Fingerprints did not match"),
        (HOSTNAME, "doesn't match"),
        ("certificate verify failed", "certificate verify failed"),
        ("EOF occurred in violation of protocol", ""),
        ("no certificate was sent", ""),
        ("", ""),
    ],
)
def test_words_of_distrust(text: str, words: str) -> None:
    assert c.distrust_in(text) == words


def caused(outer: BaseException, *inner: BaseException) -> BaseException:
    """As Python chains what is raised while another one is handled."""
    for error, cause in zip((outer, *inner), inner):
        error.__context__ = cause
    return outer


REASONS: Tuple[Tuple[BaseException, str], ...] = (
    (OSError(111, "Connection refused"), "Connection refused"),
    (caused(requests.ConnectionError("s3cret"), OSError(111, "refused")), "refused"),
    (caused(requests.ConnectionError("s3cret"), ValueError("s3cret")), "ConnectionError"),
    (
        caused(requests.ConnectionError("a"), OSError(1, "outer"), KeyError("x"), OSError(2, "in")),
        "in",
    ),
    (caused(requests.ReadTimeout("s3cret"), socket.timeout("s3cret")), "timed out"),
    (requests.ReadTimeout("s3cret"), "timed out"),
    (requests.ConnectTimeout("s3cret"), "timed out"),
    (
        caused(requests.ConnectionError("x"), http.client.RemoteDisconnected("s3cret")),
        "the connection was closed without an answer",
    ),
    (
        caused(requests.ConnectionError("x"), http.client.BadStatusLine("s3cret")),
        "the answer is not HTTP",
    ),
    (
        caused(requests.ConnectionError("x"), http.client.IncompleteRead(b"s3cret")),
        "the answer was cut",
    ),
    (caused(requests.ConnectionError("x"), http.client.LineTooLong("s3cret")), "LineTooLong"),
    (OSError("Could not find a suitable TLS CA bundle: /no"), "Could not find a suitable TLS CA"),
    (requests.exceptions.InvalidSchema("s3cret"), "InvalidSchema"),
    (UnicodeError("s3cret"), "UnicodeError"),
    (ssl.SSLError(1, "[SSL] wrong version number"), "[SSL] wrong version number"),
)


@pytest.mark.parametrize(
    ("error", "words"),
    REASONS,
    ids=[f"{type(each[0]).__name__}-{at}" for at, each in enumerate(REASONS)],
)
def test_why_there_is_no_answer(error: BaseException, words: str) -> None:
    """In the system's own words; what a server may have sent is never shown."""
    told = c.reason_of(error)
    assert told.startswith(words)
    assert "s3cret" not in told


def test_the_causes_of_an_error() -> None:
    inner, outer = ValueError("inner"), KeyError("outer")
    outer.__context__ = inner
    assert list(c.causes_of(outer)) == [outer, inner]
    assert list(c.causes_of(inner)) == [inner]


# --- What an answer to a trigger means ------------------------------------------------------------

# row of the table -> fate of a trigger
FATES: Dict[str, str] = {
    "UNTRUSTED": "NOT_SENT",
    "UNSENT": "NOT_SENT",
    "LOST": "LOST",
    "REDIRECT": "LOST",
    "TOKEN": "UNAUTHORISED",
    "FORBIDDEN": "UNAUTHORISED",
    "REFUSED": "REFUSED",
    "BUSY": "BUSY",
    "NO_JSON": "LOST",
    "USELESS": "LOST",
}


@pytest.mark.parametrize("name", FATES)
def test_the_fate_of_a_trigger(name: str) -> None:
    problem = c.FAULTS[c.Oddity[name]][COMMAND]("no answer")
    answer = c.answer_of(problem, 3, 7.0)
    assert answer == c.Answer(c.Fate[FATES[name]], c.NO_MESSAGE, 3, 7.0, "no answer")


def test_a_refusal_is_told_in_the_words_of_csm() -> None:
    said = c.Message(5.0, "IWNR0001E no")
    answer = c.answer_of(c.Refused("summary", said), 1, 0.0)
    assert (answer.message, answer.trouble) == (said, "IWNR0001E no")
    without = c.Message(5.0, "no id")
    assert c.answer_of(c.Refused("summary", without), 1, 0.0).trouble == "no id"
    assert c.answer_of(c.Refused("summary"), 1, 0.0).trouble == "summary"


def test_an_acceptance() -> None:
    said = c.Message(0.0, "IWNR2211I")
    answer = c.answer_of(said, 2, 1.0)
    assert answer == c.Answer(c.Fate.ACCEPTED, said, 2, 1.0, "")
