"""A chroot jail as QRadar makes one: nothing in it but a Python and the program."""

import json
import os
import pathlib
import re
import shutil
import subprocess
from typing import Iterator, List, Sequence

from support.program import PROGRAM, run_python

SCRIPT = "customaction_7.script"
NOBODY = 65534

# Of the standard library: what is big, and of no use to a program without a window.
PRUNED = shutil.ignore_patterns(
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "ensurepip",
    "turtledemo",
    "pydoc_data",
    "config-*",
    "site-packages",
    "dist-packages",
    "*.a",
    "*.opt-?.pyc",
)

# Asked of the interpreter that the program is run with: what a jail for it must hold.
INVENTORY = """
import json, os, subprocess, sys
before = set(sys.modules)
import requests, urllib3
packages = {}
for name in set(sys.modules) - before:
    top = sys.modules.get(name.split(".")[0])
    path = getattr(top, "__file__", None) or ""
    if "-packages" in path:
        packages[os.path.dirname(path) if os.path.basename(path) == "__init__.py" else path] = 1
base = os.path.realpath(sys.executable)
site = subprocess.check_output([base, "-c", "import site; print(site.getsitepackages()[0])"])
print(json.dumps({"executable": base, "site": site.decode().strip(), "packages": sorted(packages),
                  "stdlib": os.path.dirname(os.__file__)}))
"""


def link(source: str, target: str) -> None:
    """A hard link where one can be made: it takes no time and no space."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def put(root: pathlib.Path, source: str, destination: str = "") -> None:
    """Copy a file or a folder into the jail: to the same path, unless told otherwise."""
    target = root / (destination or os.path.abspath(source)).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.isdir(source):
        link(source, str(target))
    elif not target.exists():
        shutil.copytree(
            source, target, ignore=PRUNED, copy_function=link, ignore_dangling_symlinks=True
        )


def libraries(files: Sequence[str], gcc: bool) -> List[str]:
    """The shared libraries that these need, and the loader; with libgcc_s.so.1, or without."""
    told = subprocess.run(
        ["ldd", *files], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    found = set(re.findall(r"(?:=>|^)\s*(/\S+) \(0x", told.stdout.decode(), re.M))
    # A thread that ends needs this one; the C library loads it only then, so ldd does not tell.
    places = {os.path.join(os.path.dirname(path), "libgcc_s.so.1") for path in found}
    there = {path for path in places if os.path.exists(path)}
    return sorted(found | there if gcc else found - there)


def build_jail(root: pathlib.Path, modules: bool = True, gcc: bool = True) -> str:
    """Nothing but a Python, the two packages with what they need, and the program."""
    found = json.loads(run_python(INVENTORY))
    put(root, found["executable"])
    put(root, found["stdlib"])
    for path in found["packages"] if modules else []:
        put(root, path, os.path.join(found["site"], os.path.basename(path)))
    binaries = [str(path) for path in root.rglob("*.so")] + [found["executable"]]
    for path in libraries(binaries, gcc):
        if not path.startswith(str(root)):
            put(root, path)
    shutil.copy2(PROGRAM, root / SCRIPT)
    for name in (root, root / SCRIPT):
        name.chmod(0o555)
    return str(found["executable"])


def ways_in(root: pathlib.Path) -> Iterator[List[str]]:
    """The commands that change into the jail, the nearest to the real one first."""
    chroot, unshare = (
        shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") or name
        for name in ("chroot", "unshare")
    )
    if os.geteuid() == 0:
        yield [chroot, f"--userspec={NOBODY}:{NOBODY}", "--groups=", str(root)]
    yield [unshare, "--user", "--map-root-user", chroot, str(root)]
