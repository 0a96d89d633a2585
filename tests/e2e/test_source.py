"""The file itself: it is read before it is trusted, so it stays short."""

import ast
import re

from support.program import PROGRAM


def test_the_file_can_be_audited() -> None:
    """It is read before it is trusted: it stays short, and so does each function."""
    text = PROGRAM.read_text(encoding="ascii")
    assert len(text.splitlines()) <= 600
    assert max(map(len, text.splitlines())) <= 100
    sizes = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: size for name, size in sizes.items() if size > 40} == {}
    assert len(re.findall(r"\.http\.request\(", text)) == text.count("requests.Session(") == 1
    assert text.count("print(") == 1
