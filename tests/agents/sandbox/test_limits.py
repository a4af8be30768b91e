"""What the commands of one agent use up together is bounded, and its sandbox alone is ended."""

import pytest
from tests.agents.sandbox.test_escapes import FOUND, needs_sandbox
from tests.agents.sandbox.world import World

from prong.agents.sandbox import Limits

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
