"""Which processes are gone, asked again and again: by a descriptor of each, and by /proc where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prong.primitives import presence
from prong.primitives.presence import Processes
from prong.state import process

_NAMED = "from prong.state import process; print(process.identity(), flush=True); input()"


@pytest.fixture
def start():
    """Starts a process and tells its name."""
    started = []

    def start():
        one = subprocess.Popen([sys.executable, "-c", _NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(one)
        return one, one.stdout.readline().strip()

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def processes():
    processes = Processes()
    yield processes
    processes.close()


def dead(one):
    """Killed and dead, but not buried by its parent."""
    one.kill()
    os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)


def descriptors():
    """How many descriptors of processes this one has."""
    return sum(one.is_symlink() and "pidfd" in str(one.readlink()) for one in Path("/proc/self/fd").iterdir())


@pytest.fixture(params=[256, 1, 0])
def watched(request, monkeypatch):
    monkeypatch.setattr(presence, "WATCHED", request.param)


@pytest.mark.usefixtures("watched")
def test_a_process_is_gone_once_it_is_dead_though_nobody_has_buried_it(start, processes):
    (ada, name_of_ada), (_, name_of_bob) = start(), start()
    for _ in range(2):
        processes.look()
        assert not processes.gone(name_of_ada)
        assert not processes.gone(name_of_bob)
    dead(ada)
    for _ in range(2):
        processes.look()
        assert processes.gone(name_of_ada)
        assert not processes.gone(name_of_bob)


def test_a_number_that_is_used_again_is_another_process(start, processes):
    _, name = start()
    born = name.rpartition(" ")[0]
    assert processes.gone(f"{born} 1")
    assert not processes.gone(name)


@pytest.mark.parametrize("name", ["-", "", "elsewhere/1 1 1", "elsewhere/1 x 1"])
def test_who_cannot_be_seen_from_here_is_not_gone(processes, name):
    assert not processes.gone(name)


def test_a_process_that_is_gone_and_one_that_is_forgotten_leave_no_descriptor(start, processes):
    (ada, name_of_ada), (_, name_of_bob) = start(), start()
    before = descriptors()
    processes.gone(name_of_ada)
    processes.gone(name_of_bob)
    assert descriptors() == before + 2
    dead(ada)
    processes.look()
    assert processes.gone(name_of_ada)
    assert descriptors() == before + 1
    processes.close()
    assert descriptors() == before


def test_without_descriptors_to_be_had_proc_tells(start, processes, monkeypatch):
    def refused(_pid):
        raise OSError(24, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", refused)
    ada, name = start()
    assert not processes.gone(name)
    dead(ada)
    processes.look()
    assert processes.gone(name)


def test_a_forked_child_has_none_of_its_parents_descriptors(processes):
    assert not processes.gone(process.identity())
    child = os.fork()
    if child == 0:
        os._exit(0 if descriptors() == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
