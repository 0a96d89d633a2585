#!/bin/sh
# Makes a virtual environment under .venv/, or keeps the one that is there, and prints the path of
# its Python on standard output. Progress and errors go to standard error.
#
#   python=$(sh tests/venv.sh NAME PIP-ARGUMENT...)
#
# NAME is the first part of the folder's name, the interpreter's version the second. The arguments
# are what pip is to install. PYTHON picks the interpreter (default: python3). The environment is
# made anew when it is broken, or when the arguments or a requirements file have changed.
set -u

say() { echo "$@" >&2; }
die() { say "error: $1"; shift; for line; do say "       $line"; done; exit 1; }

name=$1
shift
base=${PYTHON:-python3}
cd "$(dirname "$0")/.." || exit 1

version=$("$base" -c 'import platform, sys
print("%s-%s" % (sys.implementation.name, platform.python_version()))' 2>/dev/null) || die \
    "no Python 3 interpreter: \"$base\" cannot be run." \
    "Install Python 3, or name one: PYTHON=/path/to/python3"

folder=$PWD/.venv/$name-$version
python=$folder/bin/python
stamp=$(
    { echo "$@"; "$base" -c 'import sys; print(sys.base_prefix)'
      cat requirements.txt tests/requirements.txt; } | cksum
)
if [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] &&
    "$python" -c 'import requests, urllib3' 2>/dev/null
then
    echo "$python"
    exit 0
fi

say "Making a virtual environment: .venv/$name-$version"
rm -rf "$folder"
mkdir -p "$folder" || die "cannot write to $PWD/.venv"
log=$folder.log
trap 'rm -f "$log"' EXIT

# Debian splits ensurepip off into another package: there "-m venv" fails, or leaves no pip behind.
"$base" -m venv "$folder" >"$log" 2>&1 && "$python" -m pip --version >>"$log" 2>&1 ||
    { rm -rf "$folder" && "$base" -m virtualenv -q "$folder" >>"$log" 2>&1; } ||
    { rm -rf "$folder" && virtualenv -q -p "$base" "$folder" >>"$log" 2>&1; } || {
        cat "$log" >&2
        rm -rf "$folder"
        die "\"$base\" ($version) can make no virtual environment with pip in it." \
            "Debian, Ubuntu: apt install python3-venv (or virtualenv), as root;" \
            "or name another interpreter: PYTHON=/path/to/python3"
    }

# The pip that comes with 3.6 takes no wheels of today's kind and would want a compiler; 21 is the
# last for 3.6. (pip skips a requirement whose marker does not hold.)
say "Installing: $*"
install() {
    "$python" -m pip --quiet --quiet --disable-pip-version-check install --retries 2 "$@" >&2
}
{ install 'pip>=21.3,<22; python_version < "3.7"' && install "$@"; } || die \
    "pip could not install the packages; what it said is above." \
    "It needs the network, or a package index that your pip is set up for."

echo "$stamp" >"$folder/stamp"
echo "$python"
