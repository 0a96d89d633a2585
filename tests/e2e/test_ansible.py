"""The play of the README, run as it is printed by a real ansible-core, which gets a virtual
environment of its own."""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
from typing import Any, Dict, List, Set

import pytest

from csm import SimulatedCsm
from support.program import PROGRAM, PROGRAM_PYTHON, TOP, Result, address, finish
from support.recipes import block, filled
from support.scenes import PAYROLL_TASK, TASK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECRET = "only-in-the-vault-7Qx"  # in no other test: those put theirs on command lines


@pytest.fixture(scope="session")
def playbook_command(tmp_path_factory: Any) -> str:
    """ansible-playbook, made once for all workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    with open(str(folder / "ansible.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run(
            ["sh", "tests/venv.sh", "ansible", "-r", "requirements.txt", "ansible-core"],
            cwd=TOP,
            env={**os.environ, "PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            check=False,
        )
    if made.returncode:
        pytest.skip("needs ansible-core, and a package index")
    return str(pathlib.Path(made.stdout.decode().strip()).parent / "ansible-playbook")


class Play:
    """A folder with the printed play, its inventory, and its variables."""

    def __init__(self, command: str, folder: pathlib.Path, *servers: SimulatedCsm) -> None:
        self.command = command
        self.folder = folder
        self.seen_in_processes: Set[str] = set()
        values = {
            "/usr/bin/python3": PROGRAM_PYTHON,
            "/usr/local/bin/run-cr-wflow-ds8k.py": str(PROGRAM),
        }
        (folder / "play.yml").write_text(filled(block("Ansible", "yaml"), values))
        self.set(servers=servers)
        for csm in servers:
            csm.world.password = SECRET
            csm.on_request = lambda request: self.look_at_processes()

    def set(self, servers: Any = (), python: str = PROGRAM_PYTHON, **variables: Any) -> None:
        """What the play is given."""
        variables.setdefault(
            "csm_servers",
            [
                {"server": address(csm), "fingerprint": csm.fingerprint, "task": PAYROLL_TASK}
                for csm in servers
            ],
        )
        given = {"csm_user": "admin", "csm_password": SECRET, **variables}
        (self.folder / "vars.json").write_text(json.dumps(given))
        hosts = [f"{name} ansible_connection=local" for name in ("one", "two")]
        both = f"[csm_backup:vars]\nansible_python_interpreter={python}\n"
        (self.folder / "hosts").write_text("[csm_backup]\n" + "\n".join(hosts) + "\n" + both)

    def look_at_processes(self) -> None:
        """Their command lines and environments, while the program talks to CSM."""
        for name in ("cmdline", "environ"):
            for path in pathlib.Path("/proc").glob(f"[0-9]*/{name}"):
                try:
                    text = path.read_bytes()
                except OSError:  # it has ended, or is somebody else's
                    continue
                if SECRET.encode() in text:
                    self.seen_in_processes.add(str(path))

    def run(self, *options: str) -> Result:
        """What holds whatever comes of it: the password is seen nowhere."""
        given: List[str] = ["-i", "hosts", "-e", "@vars.json", *options, "play.yml"]
        env: Dict[str, str] = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
        }
        process = subprocess.Popen(
            [self.command, *given],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        result = finish(process, timeout=300)
        assert SECRET not in result.text
        assert self.seen_in_processes == set()
        return result


@pytest.fixture
def play(playbook_command: str, tmp_path: pathlib.Path, csm: SimulatedCsm) -> Play:
    return Play(playbook_command, tmp_path, csm)


def test_good_run(play: Play, csm: SimulatedCsm) -> None:
    """On one of the two hosts, once; it tells the verdict, and that something was changed."""
    result = play.run("-vvv")
    assert result.code == 0, result.text
    ((_, backup_id),) = csm.world.backups_made
    assert f"backup {backup_id} of" in result.out
    assert "changed=1" in result.out
    assert "failed=0" in result.out


def test_skipped_run(play: Play, csm: SimulatedCsm) -> None:
    """--min-interval is met: nothing is changed."""
    assert play.run().code == 0
    result = play.run()
    assert result.code == 0, result.text
    assert "changed=0" in result.out
    assert "young enough" in result.out
    assert len(csm.world.backups_made) == 1


def test_refused_run(play: Play, csm: SimulatedCsm) -> None:
    csm.world.task(PAYROLL_TASK).outcome = "refuse"
    result = play.run("-vvv")
    assert result.code != 0
    assert "nothing was started" in result.out
    assert "IWNR0009E" in result.out
    assert "changed=0" in result.out


def test_each_server_gets_its_turn(
    playbook_command: str, tmp_path: pathlib.Path, csm: SimulatedCsm
) -> None:
    """The first one refuses the log-in."""
    with SimulatedCsm(backup_seconds=0.05) as other:
        play = Play(playbook_command, tmp_path, other, csm)
        other.world.login = "refuse"
        result = play.run("-vvv")
    assert result.code != 0
    assert len(csm.world.backups_made) == 1
    assert "IWNR0008E" in result.out
    assert csm.world.backups_made[0][1] in result.out


def test_no_python_on_the_target(play: Play, csm: SimulatedCsm) -> None:
    """The true cause is told, and not that a key is missing."""
    play.set([csm], python="/no/such/python3")
    result = play.run("-vvv")
    assert result.code != 0
    assert "/no/such/python3" in result.out[result.out.index("TASK [Verdicts]") :]
    assert "no attribute" not in result.text
    assert csm.requests == []


def test_no_program_on_the_target(play: Play, csm: SimulatedCsm) -> None:
    text = (play.folder / "play.yml").read_text().replace(str(PROGRAM), "/no/such/program.py")
    (play.folder / "play.yml").write_text(text)
    result = play.run()
    assert result.code != 0
    assert "/no/such/program.py" in result.out[result.out.index("TASK [Verdicts]") :]


def test_wrong_usage(play: Play, csm: SimulatedCsm) -> None:
    """Exit code 2."""
    servers = [{"server": address(csm), "fingerprint": "6A:5D:...", "task": TASK}]
    play.set(csm_servers=servers)
    result = play.run("-vvv")
    assert result.code != 0
    assert "--fingerprint: not the 64 hexadecimal digits" in result.out
    assert csm.requests == []


def test_check_mode(play: Play, csm: SimulatedCsm) -> None:
    """Nothing is started, and that is no failure."""
    result = play.run("--check", "-vvv")
    assert result.code == 0, result.text
    assert "failed=0" in result.out
    assert csm.requests == []
