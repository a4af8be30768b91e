"""Locks of references that a killed git has left, and those of a living one."""

import fcntl
import os
import threading
import time
from pathlib import Path

from tests.stepped import until

from prong.harness.repository import left_locks

REF = "refs/prong/swarm/base/1"


def lock_of(folder, *, age_s):
    lock = folder / f"{REF}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    os.utime(lock, (time.time() - age_s,) * 2)
    return lock


def test_an_old_lock_is_taken_away_and_a_young_one_stays(tmp_path):
    left_locks.take_away(tmp_path, REF)
    lock = lock_of(tmp_path, age_s=1)
    left_locks.take_away(tmp_path, REF)
    assert lock.exists()
    lock_of(tmp_path, age_s=60)
    left_locks.take_away(tmp_path, REF)
    assert not lock.exists()


def waits_for_a_lock(pid):
    """Whether the kernel lists the process among those that wait."""
    return any("-> FLOCK" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_of_two_that_see_an_old_lock_the_second_leaves_the_one_that_came_after_it(tmp_path):
    """Method: the test is the first, which holds the second up until a living git has locked."""
    lock = lock_of(tmp_path, age_s=60)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    second = threading.Thread(target=left_locks.take_away, args=(tmp_path, REF))
    second.start()
    until(lambda: waits_for_a_lock(os.getpid()), "the second to wait")
    lock.unlink()  # it is there still
    lock.touch()
    os.close(folder)
    second.join()
    assert lock.exists()
