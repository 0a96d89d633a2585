#!/bin/sh
# Runs the checks and the tests, in a virtual environment of its own.
#
#   sh tests/run.sh                 ruff, mypy, then the test suite but for what is marked slow
#   sh tests/run.sh --all           the same, and what is slow
#   sh tests/run.sh -k login        other arguments go to pytest: the checks are left out, slow
#                                   tests are not; paths are relative to the top of the repository
#
# PYTHON=...           the interpreter of the tests (default: python3; 3.9 or newer)
# PROGRAM_PYTHON=...   the interpreter which the end-to-end tests run the program with
#                      (default: that of the tests); it must have requests and urllib3
# WORKERS=...          processes that share the tests (default: eight for all of them, else two)
set -u
cd "$(dirname "$0")/.." || exit 1

base=${PYTHON:-python3}
if "$base" -c 'import sys; sys.exit(sys.version_info >= (3, 9))' 2>/dev/null; then
    echo "error: the tests need Python 3.9 or newer, and \"$base\" is older:" \
        "PYTHON=/path/to/python3 names another." >&2
    echo "       (To run the program itself under an older one: PROGRAM_PYTHON.)" >&2
    exit 1
fi
python=$(sh tests/venv.sh tests -r requirements.txt -r tests/requirements.txt) || exit 1

# Compiled files and caches go where git ignores them, not among the sources; they are worth it,
# whatever the environment says of them: each worker would compile all modules again.
export PYTHONPYCACHEPREFIX="$PWD/.venv/cache/pycache"
unset PYTHONDONTWRITEBYTECODE
result=0

checks() {
    echo "ruff: style and likely errors"
    "$python" -m ruff check --quiet --config tests/ruff.toml run-cr-wflow-ds8k.py tests || result=1
    "$python" -m ruff format --quiet --check --config tests/ruff.toml run-cr-wflow-ds8k.py tests || {
        echo "not formatted: ruff format --config tests/ruff.toml run-cr-wflow-ds8k.py tests"
        result=1
    }
    echo "mypy: types of the program and of the tests"
    "$python" -m mypy --config-file tests/mypy.ini run-cr-wflow-ds8k.py || result=1
    "$python" -m mypy --config-file tests/mypy.ini tests || result=1
}
workers=${WORKERS:-2}  # each imports and collects all: for a few tests that takes longer than they do
case $#:${1:-} in
    0:) checks && workers=${WORKERS:-8} && set -- -m "not slow" ;;
    1:--all) checks && workers=${WORKERS:-8} && shift ;;
esac

echo "pytest: Python $("$python" -c 'import platform, requests, urllib3
print(f"{platform.python_version()}, requests {requests.__version__}, "
      f"urllib3 {urllib3.__version__}")')"
# The first time all is compiled once, not by each worker.
[ -d "$PYTHONPYCACHEPREFIX" ] ||
    "$python" -m pytest -c tests/pytest.ini --rootdir . -q --collect-only >/dev/null 2>&1
# Of all tests most wait: more workers than processors. Whoever is done takes over from the others.
"$python" -m pytest -c tests/pytest.ini --rootdir . -q -n $workers --dist worksteal "$@" ||
    result=$?
exit $result
