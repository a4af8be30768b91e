"""A process by name: never mistaken for another, and seen to be gone only when it is."""
# ruff: noqa: PT012  a whole block is what is tested

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prong.state import process


def name_of(_here):
    return process.identity()


def test_a_process_names_itself_alike_each_time_and_is_there():
    assert process.identity() == process.identity() != ""
    assert not process.gone(process.identity())


def test_a_killed_process_is_gone(processes):
    ada = processes("ada")
    name = ada.run(name_of)
    assert not process.gone(name)
    ada.kill()
    assert process.gone(name)


def test_a_stopped_process_is_there(processes):
    ada = processes("ada")
    name = ada.run(name_of)
    ada.stop()
    assert not process.gone(name)


def test_a_dead_process_that_its_parent_has_not_waited_for_is_gone(until):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        where, pid, _ = process.identity().split(" ")
        until(lambda: process.gone(f"{where} {child.pid} 1"), f"{pid}'s child ended")


def test_another_process_that_bears_its_pid_is_not_it():
    where, pid, birth = process.identity().split(" ")
    assert process.gone(f"{where} {pid} {int(birth) - 1}")


@pytest.mark.parametrize("name", ["", "-", "elsewhere 1 2", "elsewhere/1 99999999 5", "x"])
def test_what_cannot_be_seen_from_here_counts_as_there(name):
    assert not process.gone(name)


def test_an_unreadable_process_counts_as_there(tmp_path):
    """Goal: nobody is declared dead because this process has too many files open.  Method: take all descriptors."""
    import resource  # noqa: PLC0415  only here

    name = process.identity()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = len(list(Path("/proc/self/fd").iterdir()))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 8, hard))
    try:
        with pytest.raises(OSError, match="Too many"):
            while True:
                taken.append(os.open(tmp_path, os.O_RDONLY))
        assert not process.gone(name)
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_helpers_are_not_counted_among_the_threads():
    before = process.threads_beside_me()
    go_on, there = threading.Event(), threading.Barrier(3)

    def wait():
        with process.helping():
            there.wait()
            go_on.wait()

    def work():
        there.wait()
        go_on.wait()

    threads = [threading.Thread(target=wait), threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    there.wait()
    assert process.threads_beside_me() == before + 1
    go_on.set()
    for thread in threads:
        thread.join()
    assert process.threads_beside_me() == before


def test_a_pool_without_work_and_who_waits_for_a_thread_to_end_do_nothing_by_themselves(until):
    go_on, before = threading.Event(), process.working_beside_me()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        worker = threading.Thread(target=go_on.wait)
        worker.start()
        waits = threading.Thread(target=worker.join)
        waits.start()
        until(lambda: process.working_beside_me() == before + 1, "only the worker counts")
        assert process.threads_beside_me() >= before + 3
        held = pool.submit(go_on.wait)
        until(lambda: process.working_beside_me() == before + 2, "the pool's thread works")
        go_on.set()
        held.result()
    waits.join()
