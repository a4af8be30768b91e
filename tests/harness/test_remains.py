"""What an earlier life left behind is found by its environment, with all that it has started, and nobody else is."""

import os
import subprocess
import sys

import psutil
import pytest

from prong.harness.remains import MARK, end_remains

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={}, start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start():
    """Starts a process with these variables, which starts another without any; both as psutil sees them."""
    made = []

    def start(**names):
        parent = subprocess.Popen([sys.executable, "-c", PARENT], env=os.environ | names, stdout=subprocess.PIPE)
        child = psutil.Process(int(parent.stdout.readline()))
        made.extend([(parent, child)])
        return psutil.Process(parent.pid), child

    yield start
    for parent, child in made:
        child.kill() if child.is_running() else None
        parent.kill()
        parent.communicate()


def lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("name", [MARK, "PRONG_SHARED"])
def test_processes_of_the_swarm_and_what_they_started_end_and_no_others(start, tmp_path, name):
    value = tmp_path / "swarm" / ("" if name == MARK else "shared")
    ours = start(**{name: str(value)})
    ours[0].suspend()
    others = [*start(**{name: str(tmp_path / "swarm-2")}), *start()]
    assert end_remains(tmp_path / "swarm") == 2
    assert [lives(one) for one in ours] == [False, False]
    assert all(lives(one) for one in others)
    assert end_remains(tmp_path / "swarm") == 0


def test_whoever_asks_is_spared_and_so_are_those_above(tmp_path):
    code = "import sys, pathlib, prong.harness.remains as r; print(r.end_remains(pathlib.Path(sys.argv[1])))"
    asked = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}, sys.argv[1]], check=True)"
    names = os.environ | {MARK: str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", asked, str(tmp_path)], env=names, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
