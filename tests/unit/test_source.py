"""The shape of the program's file, by its syntax tree: it is plain enough to be read before it is
trusted, and has all that its own docstring tells an auditor to search for, as often as it says."""

import ast
import functools
import io
import re
import tokenize
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set, Tuple, Union

import pytest

from support.program import PROGRAM

COMPLEXITY = 10  # of a function
LENGTH = 40  # lines of a function
COLUMNS = 100
DENSITY = 10.0  # tokens of code in a line that holds code, on average
OPERANDS = 3  # of `and`, of `or`

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Fault = Tuple[int, str]  # line, what


@functools.lru_cache(maxsize=None)
def program() -> str:
    return PROGRAM.read_bytes().decode("ascii")


# --- What is plain --------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def tree_of(text: str) -> ast.Module:
    return ast.parse(text)


def functions_of(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield node


def own(node: ast.AST) -> Iterator[ast.AST]:
    """What is inside a function, without the functions that are inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, FUNCTIONS):
            yield from own(child)


def weight(node: ast.AST) -> int:
    """By how much a node makes its function more complex, as radon counts it."""
    if isinstance(node, (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.Assert)):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return complexity(node) if isinstance(node, FUNCTIONS) else 0


def complexity(function: ast.AST) -> int:
    return 1 + sum(map(weight, own(function)))


def is_truth(node: ast.AST) -> bool:
    """Is its value True or False?"""
    if isinstance(node, ast.BoolOp):
        return all(map(is_truth, node.values))
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return is_not or isinstance(node, ast.Compare)


def faults_of_lines(text: str) -> Iterator[Fault]:
    if "\r" in text:
        yield 1, "CR at a line end"
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > COLUMNS:
            yield number, "too many columns"
        if not line.isascii():
            yield number, "not ASCII"


def faults_of_functions(tree: ast.AST) -> Iterator[Fault]:
    for each in functions_of(tree):
        if complexity(each) > COMPLEXITY:
            yield each.lineno, f"{each.name}: too complex"
        if (each.end_lineno or 0) - each.lineno >= LENGTH:
            yield each.lineno, f"{each.name}: too long"


def faults_of_operands(tree: ast.AST) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.BoolOp):
            continue
        if len(node.values) > OPERANDS:
            yield node.lineno, "too many operands"
        if isinstance(node.op, ast.Or) and any(
            isinstance(each, ast.BoolOp) for each in node.values
        ):
            yield node.lineno, "`and` among the operands of `or`"


def faults_of_expressions(tree: ast.AST) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, COMPREHENSIONS):
            inner = [each for each in ast.walk(node) if isinstance(each, COMPREHENSIONS)]
            if len(inner) > 1 or len(node.generators) > 1:
                yield node.lineno, "two loops in a comprehension"
        is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
        if is_sum and any(map(is_truth, ast.iter_child_nodes(node))):
            yield getattr(node, "lineno", 0), "a truth value as a number"
        if isinstance(node, ast.Compare) and any(map(is_truth, [node.left, *node.comparators])):
            yield node.lineno, "a truth value is compared"


def faults_of_statements(tree: ast.AST) -> Iterator[Fault]:
    """One statement a line: none begins where another one begins, or ends."""
    taken: Dict[int, ast.stmt] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        if node.lineno in taken:
            yield node.lineno, "two statements in a line"
        taken[node.lineno] = node


def faults(text: str) -> List[Fault]:
    tree = tree_of(text)
    found = list(faults_of_lines(text))
    for check in (faults_of_functions, faults_of_operands, faults_of_expressions):
        found += check(tree)
    return found + list(faults_of_statements(tree))


def lines_of_docstrings(tree: ast.AST) -> Set[int]:
    found: Set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)) and ast.get_docstring(node):
            first = node.body[0]
            found |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return found


def density(text: str) -> float:
    """Tokens of code for each line that holds code."""
    dull = (
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.COMMENT,
        tokenize.ENDMARKER,
    )
    docstrings = lines_of_docstrings(tree_of(text))
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    rows = [each.start[0] for each in found if each.type not in dull]
    rows = [each for each in rows if each not in docstrings]
    return len(rows) / max(1, len(set(rows)))


def test_the_program_is_plain() -> None:
    assert faults(program()) == []


def test_it_is_not_packed() -> None:
    assert density(program()) <= DENSITY


def test_what_must_be_read_with_care_is_the_smaller_part() -> None:
    lines = program().split("\n")
    starts = [at for at, line in enumerate(lines) if re.match(r"# === PART I+: ", line)]
    assert [lines[at].split(":")[0] for at in starts] == ["# === PART I", "# === PART II"]
    careful, whole = starts[1] - starts[0], len(lines)
    assert 2 * careful < whole


def test_the_sections_stand_in_their_order() -> None:
    numbers = re.findall(r"^# --- (\d+)\. .* -+$", program(), re.M)
    assert numbers == [str(each) for each in range(1, 18)]


BRANCHES = "".join(f"    if a == {each}:\n        return {each}\n" for each in range(10))
PACKED = (
    ("a = 1\r\n", "CR at a line end"),
    ("a = 1  # " + "-" * 92 + "\n", "too many columns"),
    ('a = "\u00e9"\n', "not ASCII"),
    (f"def f(a):\n{BRANCHES}", "f: too complex"),
    ("def f():\n" + "    pass\n" * 40, "f: too long"),
    ("a = b and c and d and e\n", "too many operands"),
    ("a = b or c or d or e\n", "too many operands"),
    ("a = b and c or d\n", "`and` among the operands of `or`"),
    ("a = [[c for c in b] for b in d]\n", "two loops in a comprehension"),
    ("a = {c for b in d for c in b}\n", "two loops in a comprehension"),
    ("a = (b > 1) + c\n", "a truth value as a number"),
    ("a = b - (not c)\n", "a truth value as a number"),
    ("a = (b > 1) < (c > 1)\n", "a truth value is compared"),
    ("a = 1; b = 2\n", "two statements in a line"),
    ("if a: b = 2\n", "two statements in a line"),
)
PLAIN = (
    "a = 1  # " + "-" * 91 + "\n",
    f"def f(a):\n{BRANCHES}".replace("    if a == 9:\n        return 9\n", ""),
    "def f():\n" + "    pass\n" * 39,
    "a = b and (c or d)\n",
    "a = b and c and d\n",
    "a = [c for c in b if c]\n",
    "a = b == c\n",
)


@pytest.mark.parametrize(("text", "what"), PACKED, ids=[each[1] for each in PACKED])
def test_what_is_not_plain_is_found(text: str, what: str) -> None:
    assert what in [each[1] for each in faults(text)]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_plain_is_left_alone(text: str) -> None:
    assert faults(text) == []


def test_the_density_of_lines() -> None:
    assert density('"""Text."""\n\n# comment\na = b\n') == 3.0
    assert density("a = b\nc = d + e\n") == 4.0


# --- What can be searched for ---------------------------------------------------------------------

Where = Set[str]  # functions, or "" for the module itself


class Search(NamedTuple):
    """One line of the docstring: what to search for, how often it is there, and where."""

    pattern: str
    times: int
    words: str


def searches() -> List[Search]:
    """The list in the docstring of the program."""
    docstring = ast.get_docstring(tree_of(program())) or ""
    told = docstring.split("What can be searched for", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^ +(\S+) +(\d+)  (.*)$", told, re.M)
    assert len(rows) == told.strip().count("\n"), "a line that cannot be read"
    return [Search(pattern, int(count), words) for pattern, count, words in rows]


def is_call(name: str) -> Callable[[ast.AST], bool]:
    def matches(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        return node.func.attr == name

    return matches


def is_attribute(owner: str, name: str) -> Callable[[ast.AST], bool]:
    def matches(node: ast.AST) -> bool:
        if not isinstance(node, ast.Attribute) or node.attr != name:
            return False
        return isinstance(node.value, ast.Name) and node.value.id == owner

    return matches


def is_name(name: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Name) and node.id == name


def is_text(text: str) -> Callable[[ast.AST], bool]:
    return lambda node: isinstance(node, ast.Constant) and node.value == text


def matcher(pattern: str) -> Callable[[ast.AST], bool]:
    """`.name(` a call of a method, `Name.NAME` an attribute, `"text"` a constant, else a name."""
    if pattern.startswith(".") and pattern.endswith("("):
        return is_call(pattern[1:-1])
    if pattern.startswith('"'):
        return is_text(ast.literal_eval(pattern))
    owner, dot, name = pattern.partition(".")
    return is_attribute(owner, name) if dot else is_name(pattern)


@functools.lru_cache(maxsize=None)
def places(text: str, pattern: str) -> List[str]:
    """The function that each one stands in, as Class.method; "" for none."""
    matches = matcher(pattern)
    found: List[str] = []

    def visit(node: ast.AST, where: str) -> None:
        if matches(node):
            found.append(where)
        for child in ast.iter_child_nodes(node):
            is_named = isinstance(child, (ast.ClassDef, *FUNCTIONS))
            inner = (
                ".".join(filter(None, (where, getattr(child, "name", "")))) if is_named else where
            )
            visit(child, inner)

    visit(tree_of(text), "")
    return sorted(found)


# What the docstring must at least tell to search for, and where the program has it.
PLACES: Dict[str, List[str]] = {
    ".request(": ["Line.send"],
    '"POST"': ["Csm._log_in", "Csm.command"],
    ".command(": ["send_trigger"],
    "Step.DONE": ["Follower.follow", "next_step"],
    "Step.SEND": ["Follower.follow", "next_step"],
    ".reveal(": ["Csm._log_in", "Csm._start", "Reader.blank"],
    "ExitCode.OK": [""],
    "SystemExit": ["main"],
    ".mount(": ["open_http"],
}


def test_all_of_it_is_told() -> None:
    assert {each.pattern for each in searches()} >= set(PLACES)


@pytest.mark.parametrize("search", searches(), ids=[each.pattern for each in searches()])
def test_it_is_there_as_often_as_the_docstring_says(search: Search) -> None:
    found = places(program(), search.pattern)
    assert len(found) == search.times
    assert found == PLACES.get(search.pattern, found)


def names_in(text: str) -> Set[str]:
    """All that is defined in it, methods as Class.method too."""
    found: Set[str] = set()

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, *FUNCTIONS)):
                found.update((child.name, f"{where}.{child.name}"))
                visit(child, child.name)
            else:
                visit(child, where)

    visit(tree_of(text), "")
    return found


def test_the_docstring_names_what_there_is() -> None:
    """A name in it that is gone would send its reader astray."""
    words = " ".join(each.words for each in searches())
    named = set(re.findall(r"\b(?:[A-Z]\w+\.\w+|[a-z]+_\w+)", words))
    assert named
    assert named <= names_in(program())


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("a.request(1)", ".request(", [""]),
        ("def f():\n    a.b.request(1)", ".request(", ["f"]),
        ("request(1)\na.request", ".request(", []),
        ("class A:\n    def f(self):\n        return 'POST'", '"POST"', ["A.f"]),
        ("Step.DONE\nOther.DONE\nStep.OTHER", "Step.DONE", [""]),
        ("try:\n    a\nexcept SystemExit:\n    pass", "SystemExit", [""]),
        ("# Step.DONE\n'''Step.DONE'''", "Step.DONE", []),
    ],
)
def test_the_search(text: str, pattern: str, found: List[str]) -> None:
    assert places(text, pattern) == found


# --- What can be told by the tree besides ---------------------------------------------------------


def calls(text: str, name: str) -> List[Any]:
    tree = ast.walk(tree_of(text))
    return [each for each in tree if isinstance(each, ast.Call) and ast.unparse(each.func) == name]


def test_nothing_is_done_at_import() -> None:
    """But for the modules that are needed, and the last line."""
    *body, last = tree_of(program()).body
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom)
    others = [each for each in body if not isinstance(each, kinds)]
    assert [type(each).__name__ for each in others] == ["Expr", "Try", "If"]
    assert ast.unparse(others[2]).split("\n")[0] == "if TYPE_CHECKING:"
    assert ast.unparse(last).startswith("if __name__ == '__main__':")


def test_what_reaches_the_outside_stands_in_one_place() -> None:
    text = program()
    assert len(calls(text, "requests.Session")) == 1
    assert calls(text, "print") == []
    assert calls(text, "eval") == calls(text, "exec") == []
    assert places(text, "sleep") == []
    assert places(text, ".get_server_certificate(") == ["fingerprint_without_sending"]
    assert places(text, "SystemExit") == ["main"]
