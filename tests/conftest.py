"""What all tests share: the program as a module, and the recordings."""

import importlib.util
import json
import pathlib
import signal
import sys
from types import ModuleType
from typing import Any, Callable, Dict

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job: so would the
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that the tests interrupt

TESTS = pathlib.Path(__file__).resolve().parent
PROGRAM = TESTS.parent / "run-cr-wflow-ds8k.py"


def load_program() -> ModuleType:
    """Load the program, whose name is no module name, as the module `program`."""
    spec = importlib.util.spec_from_file_location("program", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["program"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def program() -> ModuleType:
    return load_program()


@pytest.fixture
def recording() -> Callable[[str], Dict[str, Any]]:
    """Read a recording by its name: recordings/NAME.json."""

    def read(name: str) -> Dict[str, Any]:
        text = (TESTS / "recordings" / (name + ".json")).read_text(encoding="ascii")
        return json.loads(text)

    return read
