"""README.md, `-h` and the program tell the same: options, defaults, exit codes, outcome words, keys
of the JSON object, messages. And the page is what a person under stress can read."""

import ast
import re
import subprocess
from typing import Any, Dict, Iterator, List, Set

import pytest

from support.program import (
    PROGRAM,
    README,
    TOP,
    exit_codes,
    load,
    option_defaults,
    option_strings,
    outcome_words,
    run_program,
)
from support.scenes import OUTCOMES, Outcome, run_outcome

TEXT = README.read_text(encoding="utf-8")
PLAIN = re.sub(r"^ *```.*?^ *```$", "", TEXT, flags=re.M | re.S)  # without blocks of code
PAGES = [README, *sorted((TOP / ".github").glob("*.md")), TOP / "tests" / "README.md"]


# --- The page -----------------------------------------------------------------------------------


def section(title: str) -> str:
    """The text under the heading of exactly this title."""
    match = re.search(rf"^(#+) {re.escape(title)}$", PLAIN, re.M)
    assert match, f"README.md has no heading {title!r}"
    rest = PLAIN[match.end() :]
    end = re.search(rf"^#{{1,{len(match.group(1))}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def first_screen() -> str:
    """All before the second heading."""
    return TEXT[: TEXT.index("\n## ")]


def rows(text: str) -> List[List[str]]:
    """The cells of all tables in it; without rules."""
    found = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in found if not re.match(r":?-+:?\Z", row[0])]


def codes_in(text: str) -> List[str]:
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", text)


def anchor(title: str) -> str:
    """As GitHub makes them of headings."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_first_screen() -> None:
    assert len(first_screen().splitlines()) <= 60
    assert max(map(len, first_screen().splitlines()[:-2])) <= 160  # the last one is the way on


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_cells_are_short(page: Any) -> None:
    cells = [cell for row in rows(page.read_text(encoding="utf-8")) for cell in row]
    assert [cell for cell in cells if len(cell) > 160] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    """Anchors of the page are there, and so are the files; no document is cited that is not."""
    text = page.read_text(encoding="utf-8")
    plain = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    anchors = {anchor(title) for title in re.findall(r"^#+ (.*)$", plain, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, name = target.partition("#")
        if target.startswith("#"):
            assert name in anchors, target
        elif not target.startswith("https://"):
            assert (page.parent / path).exists(), target
    for name in re.findall(r"[\w/.-]+\.md\b", text):
        assert any((folder / name).exists() for folder in (page.parent, TOP, *TOP.glob("*/"))), name


def test_order_of_the_messages() -> None:
    told = [first_words(row[0]) for row in rows(section("Messages"))[1:]]
    assert told == sorted(told)
    assert len(told) == len(set(told))


def first_words(cell: str) -> str:
    """What a message is sorted by."""
    return re.sub(r"[^a-z0-9 ]", "", cell.lower()).strip()


# --- Options, codes, words ----------------------------------------------------------------------


def documented_options() -> Dict[str, List[str]]:
    """Each option string in the table -> its row."""
    table = rows(section("Options"))
    return {
        word.split()[0]: row for row in table[1:] for word in codes_in(row[0]) if word[:3] != "-- "
    }


def test_options() -> None:
    assert set(documented_options()) == set(option_strings())


def test_defaults() -> None:
    table = documented_options()
    defaults = {name: f"{value:g}" if value != str(value) else value
                for name, value in option_defaults().items()}  # fmt: skip
    told = {name: row[1] for name, row in table.items() if re.match(r"\d", row[1])}
    assert {name: told.get(name) for name in defaults} == defaults
    assert set(told) == {*defaults, "-P"}
    assert load().address("host", "514") == "host:514"
    assert "514" in table["--leef"][1]


def test_help() -> None:
    """It can be understood alone."""
    result = run_program("-h")
    assert (result.code, result.err) == (0, "")
    for word in (*map(str, exit_codes()), *map(str, option_defaults().values()), *option_strings()):
        shown = word.replace(".0", "")
        assert re.search(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", result.out), shown
    assert "README" in result.out
    assert re.search(r"(?<!\S)-- EVENT", result.out)


def test_exit_codes() -> None:
    """Those of the first screen, with their words."""
    told: Dict[str, int] = {}
    for code, words, *_ in rows(first_screen()):
        numbers = [int(each) for each in re.findall(r"\d+", code)]
        if numbers:
            names = codes_in(words)
            told.update(zip(names, numbers if len(numbers) > 1 else numbers * len(names)))
    assert told == outcome_words()
    assert set(told.values()) == set(exit_codes())
    for row in rows(first_screen()):
        assert max(len(cell.split()) for cell in row) <= 18, row


def test_outcome_words() -> None:
    text = section("The JSON object")
    told = re.findall(r"((?:`[\w-]+`,? ?)+)\((\d+)\)", text[text.index("Outcome words:") :])
    assert {word: int(code) for words, code in told for word in codes_in(words)} == outcome_words()


def test_version() -> None:
    """The newest version in the changes is that of the program."""
    (first, *_) = re.findall(r"^\*\*(\d+\.\d+\.\d+)\*\*", section("Changes"), re.M)
    assert first == load().VERSION == run_program("--version").out.strip()
    assert f"git tag -v v{first}" in TEXT


def test_leef_header() -> None:
    program = load()
    header = f"`LEEF:2.0|{program.VENDOR}|{program.PROGRAM}|VERSION|EVENT ID|^|`"
    assert header in section("The log source")
    assert f"{program.LONGEST_PACKET:,} bytes" in section("The log source")


def test_modules() -> None:
    for line in (TOP / "requirements.txt").read_text().splitlines():
        name, _, bounds = line.partition(">=")
        assert f"{name} {bounds.split(',')[0]} or newer" in section("Install")


def test_audit() -> None:
    """Each grep, with the count that it is told to find."""
    program = PROGRAM.read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)`", section("How to audit the file").split("\n### ")[0]):
        assert re.search(rf"^(def )?{name}\b", program, re.M), name
    (block,) = re.findall(r"```sh\n(code\(\) .*?)```", TEXT, re.S)
    define, *greps = block.splitlines()
    assert len(greps) > 5
    for line in greps:
        done = subprocess.run(
            ["sh", "-c", f"{define}\n{line}"], cwd=TOP, stdout=subprocess.PIPE, check=False
        )
        assert int(done.stdout) == int(re.findall(r"# (\d+):", line)[0]), line


def test_words_at_3_am() -> None:
    """The verdicts by which the page tells what to do are those that are printed."""
    text = section("A run that half failed")
    told = [word for word in re.findall(r"^\*\*`([^`]+)`\*\*", text, re.M) if ":" in word]
    not_valid = Outcome(8, "unknown", 1, options=("--timeout", "30"), task="invalid")
    runs = (OUTCOMES["failed"], OUTCOMES["failed after the backup"], not_valid, OUTCOMES["unknown"])
    assert len(told) == len(runs)
    for words, outcome in zip(told, runs):
        line = run_outcome(outcome).last_line
        pattern = re.escape(words).replace(r"\.\.\.", ".*?")
        assert re.match(f"run-cr-wflow-ds8k: {pattern}", line), line


# --- JSON ---------------------------------------------------------------------------------------


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


def test_json_keys() -> None:
    """Every key of a real result is in the table, and every key in the table is in a result."""
    table = rows(section("The JSON object"))[1:]
    real: Set[str] = set()
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
        assert list(dict.fromkeys(re.split(r"[.[]", codes_in(row[0])[0])[0] for row in table)) == [
            *found
        ], "the order"
    assert {code for row in table for code in codes_in(row[0])} == real


# --- Messages -----------------------------------------------------------------------------------

VALUE = "\0"  # in a text of the program: where a value is put in
NO_MESSAGES = re.compile(  # functions and classes whose texts are no messages
    r"add_options_.*|build_parser|columns|table_of|leef_packet|show_.*|utc|distrust_in|Parser"
)
# Texts that only ever stand within another one, or are the title of a table.
PARTS = (
    "not that task, or none of its messages",
    "a task without an id",
    "no list of things with names",
    "not that session",
    "task or session",
    "no step of task",
    "is of the type",
    "cannot be read",
    "by CSM's clock the note is of",
    "could not be read",
    "see the warning",
    "timed out",
    "tasks and Safeguarded Copy sessions on",
    "-S names the session",
    "--min-interval would",
    "it goes on in task",
    "the task with the id",
    "its newest backup is",
    "is listed now and too old to be new",
    "yet there is a new backup",
    "look in CSM",
    "NO backup in session",
    "whether in session",
    "no time was left",
    "another call for this target goes on",
    "run-cr-wflow-ds8k",
)
# Rows of what Python, argparse or the system says.
FOREIGN = ("SyntaxError", "expected one argument", "not allowed with argument")


def text_of(node: ast.AST) -> str:
    """A string, or an f-string with VALUE for each value; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(each) or VALUE for each in node.values)
    return ""


def texts_in(tree: ast.AST) -> Iterator[str]:
    """All strings of the code, docstrings and names of types aside."""
    if isinstance(tree, (ast.FunctionDef, ast.ClassDef)) and NO_MESSAGES.fullmatch(tree.name):
        return
    if isinstance(tree, ast.ClassDef) and "Enum" in "".join(map(ast.dump, tree.bases)):
        return
    if isinstance(tree, ast.Raise) and "ValueError" in ast.dump(tree):
        return  # what can only be a bug
    for node in ast.iter_child_nodes(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        text = "" if is_docstring else text_of(node)
        if text:
            yield text
        if not is_docstring and not isinstance(node, ast.JoinedStr):
            yield from texts_in(node)


def messages() -> List[str]:
    """The texts of the program that are sentences: three words or more."""
    tree = ast.parse(PROGRAM.read_bytes())
    functions = [each for each in tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))]
    texts = {
        re.sub(r"\{[^}]*\}", VALUE, text) for each in functions for text in texts_in(each)
    }  # str.format has its values in braces
    return [text for text in texts if len(re.findall(r"[A-Za-z]{2,}", text)) > 2 and " " in text]


def head_of(message: str) -> str:
    """Its first words: up to a value, a semicolon or a colon, if that are some."""
    parts = [each.strip(' "(;:,') for each in re.split(f"{VALUE}|; ", message)]
    return next((each for each in parts if len(each) > 4), "")


def test_messages_of_the_program() -> None:
    """The first words of each are in the table."""
    cells = "\n".join(row[0] for row in rows(section("Messages")))
    heads = {head_of(each) for each in messages()} - {""}
    heads -= {head for head in heads if any(head.startswith(part) for part in PARTS)}
    found = [getattr(value, "hint", "") for value in vars(load()).values()]
    hints = {head_of(hint) for hint in found if isinstance(hint, str)}
    assert sorted(head for head in heads - hints if head not in cells) == []


def test_messages_of_the_table() -> None:
    """Each row is one that the program, or Python, prints."""
    tree = ast.parse(PROGRAM.read_bytes())
    texts = "\n".join(text_of(node).replace(VALUE, "...") for node in ast.walk(tree))
    program = re.sub(r"\{[^}\n]*\}", "...", texts)
    program += "\n" + "\n".join(load().REASONS.values())

    def is_told(message: str) -> bool:
        if any(each in message for each in FOREIGN):
            return True
        literal = max(re.split(r"\.\.\.", message.replace("\\|", "|")), key=len).strip(' ":;')
        shorter = [re.split(end, literal)[0] for end in (r": (?=\w)", r" \(", r" \d|$")]
        return any(each.strip() in program for each in (literal, *shorter) if each.strip())

    told = [codes_in(row[0])[0] for row in rows(section("Messages"))[1:]]
    assert [each for each in told if not is_told(each)] == []
