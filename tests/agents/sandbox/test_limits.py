"""What the commands of one agent use up together is bounded, and its sandbox alone is ended."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agents.sandbox.test_escapes import FOUND, needs_sandbox
from tests.agents.sandbox.world import World

from prong.agents.sandbox import Limits, confine

MIB = 2**20


@pytest.fixture
def world(tmp_path):
    limits = Limits(memory_bytes=200 * MIB, processes=40, disk_bytes=30 * MIB)
    world = World(tmp_path, FOUND, limits=limits)
    yield world
    world.close()


# Never a program that forks without end: where a bound fails, it would take the machine with it.
MANY = "for n in {1..120}; do sleep 5 & done 2>&1; wait; echo survived"


@needs_sandbox
def test_no_more_processes_than_the_bound_and_others_go_on(world):
    told = world.call("bash", command=MANY)
    assert "Resource temporarily unavailable" in told or "more than 40 processes" in told
    assert world.harm(world.call("bash", command="echo next")) == []


@needs_sandbox
def test_memory_is_bounded_for_one_process_and_for_all_together(world):
    assert "MemoryError" in world.call("bash", command="python3 -c 'bytearray(300 << 20)'")
    each = "python3 -c 'import time; x = b\"x\" * (90 << 20); time.sleep(9)' &"
    told = world.call("bash", command=f"{each} {each} {each} wait; echo survived")
    assert "its processes used more than 200 MiB of memory together, so everything in the sandbox was ended" in told
    assert world.call("bash", command="echo next") == "next"


@needs_sandbox
def test_the_disk_is_bounded_for_one_file_and_for_all_together_and_can_be_freed(world):
    assert "File size limit" in world.call("bash", command="head -c 50M /dev/zero > one; rm one")
    fill = "for n in 1 2 3; do head -c 20M /dev/zero > $n; done; sleep 9; echo survived"
    assert "more than 30 MiB were written to" in world.call("bash", command=fill)
    assert world.call("bash", command="rm 1 2 3; echo freed") == "freed"
    assert world.call("bash", command="echo x > small; sleep 0.5; cat small") == "x"


@needs_sandbox
def test_the_shell_lasts_in_a_sandbox_and_what_runs_in_the_background_survives_a_timeout(world):
    world.call(
        "bash", command="mkdir sub; cd sub; kept=yes; (while :; do sleep 0.1; done) >/dev/null 2>&1 & echo $! > pid"
    )
    assert world.call("bash", command="pwd; echo $kept") == f"{world.workspace}/sub\nyes"
    assert "signal" not in world.call("bash", command="kill -0 $(cat pid); echo alive")
    assert world.call("bash", command="git status --short; touch /tmp/lasts") == "?? ./"
    world.call("bash", command="exit 3")
    assert world.call("bash", command="pwd; ls /tmp; echo $kept").startswith(f"{world.workspace}/sub")


COUNT = """
import os, time
made = []
try:
    while len(made) < 60:  # never without end: see MANY
        pid = os.fork()
        if not pid:
            time.sleep(5)
            os._exit(0)
        made.append(pid)
except BlockingIOError:
    print("refused after", len(made))
else:
    print("nothing was refused")
for pid in made:
    os.kill(pid, 9)
"""


@pytest.fixture
def place_of_all():
    """A directory that every user may enter, unlike those of tests."""
    place = Path(tempfile.mkdtemp(prefix="prong-limits-"))
    place.chmod(0o777)
    for name in ("workspace", "own"):
        (place / name).mkdir()
        (place / name).chmod(0o777)
    yield place
    shutil.rmtree(place)


@needs_sandbox
def test_the_kernel_itself_refuses_a_user_without_rights_more_processes(place_of_all):
    if shutil.which("setpriv") is None and os.geteuid() == 0:
        pytest.skip("only root is here, whose processes the kernel does not bound, and no setpriv")
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    sandbox = confine(
        FOUND, place_of_all / "workspace", writable=[], own=place_of_all / "own", readable=[], hidden=[],
        environment={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}, network=False,
        limits=Limits(memory_bytes=2**30, processes=24, disk_bytes=2**30),
    )  # fmt: skip
    sandbox = replace(sandbox, readable=())  # our own Python may lie where nobody but we may look
    sandbox.prepare()
    for path in (place_of_all / "own").iterdir():
        path.chmod(0o777)

    def run(*command):
        line = [*nobody, *sandbox.limited(command)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60, cwd=place_of_all)

    if run("python3", "-c", "").returncode:
        pytest.skip("a user without rights can make no sandbox here, or has no Python")
    told = run("python3", "-c", COUNT)
    assert told.stdout.startswith("refused after "), told
    assert 10 < int(told.stdout.split()[-1]) < 24
    again = run("python3", "-c", COUNT)  # another sandbox of the same user is none of its business
    assert again.stdout.startswith("refused after ")
