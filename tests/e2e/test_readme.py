"""The README tells it as it is: options, exit codes, the keys and words of the JSON object."""

import re
from typing import Any, Iterator, List, Set

from support.program import README, exit_codes, option_strings, run_program
from support.scenes import OUTCOMES, run_outcome


def section(title: str) -> str:
    """The text under the first heading that holds this (as a regular expression)."""
    text = re.sub(r"^ *```.*?^ *```", "", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    match = re.search(rf"^(#+)[^\n]*{title}[^\n]*$", text, re.M | re.I)
    assert match, f"README.md has no heading {title!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match.group(1))}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def first_column(text: str) -> List[str]:
    """Of the tables in it; without head and rule."""
    rows = re.findall(r"^\|\s*((?:[^|\\\n]|\\.)*?)\s*\|.*$", text, re.M)
    return [row for row in rows if not re.match(r":?-+:?\Z", row)]


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values: `sessions`, `sessions[].backup`, `sessions[].backup.id`."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = prefix + "." + key if prefix else key
            yield name
            yield from keys(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, prefix + "[]")


def test_readme_json_table() -> None:
    """Every key of a real result is in the table, and every key in the table is in a result."""
    text = section("JSON object")
    documented = {key for cell in first_column(text) for key in re.findall(r"`([^`]+)`", cell)}
    real: Set[str] = set()
    words: Set[str] = set()
    for name in (
        "verified",
        "session",
        "listed",
        "failed",
        "login",
        "not found",
        "skipped",
        "unknown",
    ):
        found = run_outcome(OUTCOMES[name], "--json").json
        real.update(keys(found))
        words.add(found["outcome"])
    assert documented == real
    assert [word for word in words if f"`{word}`" not in text] == []


def test_readme_exit_codes() -> None:
    numbers = {
        int(number)
        for cell in first_column(section("exit codes?"))
        for number in re.findall(r"\b\d+\b", cell)
    }
    assert numbers == set(exit_codes())


def test_readme_options() -> None:
    text = README.read_text(encoding="utf-8")
    for option in option_strings():
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), option


def test_help_has_the_exit_codes() -> None:
    result = run_program("-h")
    assert result.code == 0
    assert result.err == ""
    for code in exit_codes():
        assert re.search(rf"(?<!\d){code}(?!\d)", result.out), code
