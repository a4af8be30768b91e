"""A connection is never used over a fork, and a fork never keeps the gate shut."""

import os
import signal
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from prong.state import StoreError


def write(member, kind, times=1):
    for _ in range(times):
        with member.transaction() as tx:
            tx.event(kind)


def in_fork(work):
    """Run the work in a forked child; its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  the child's end is its message
            os._exit(1)
        os._exit(0)
    return pid


def fork_and_both_write(here, times):
    write(here.member, "before")
    pid = in_fork(lambda: write(here.member, "child", times))
    write(here.member, "parent", times)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_while_a_thread_writes(here, forks):
    """Fork again and again while another thread writes without a pause; how the children ended."""
    over = threading.Event()

    def work():
        while not over.is_set():
            write(here.member, "thread")

    thread = threading.Thread(target=work)
    thread.start()
    ends = []
    for _ in range(forks):
        pid = in_fork(lambda: write(here.member, "child", 10))
        write(here.member, "parent")
        ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    over.set()
    thread.join()
    return ends


def fork_while_a_thread_stays_inside(here):
    """Fork while another thread is inside a transaction that it does not leave; what the child is told."""
    inside, forked = threading.Event(), threading.Event()

    def work():
        with here.member.transaction() as tx:
            tx.event("thread")
            inside.set()
            forked.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    answer = ask_fork(lambda: write(here.member, "child"))
    forked.set()
    thread.join()
    write(here.member, "parent")
    return answer


def ask_fork(work):
    """What the work is told in a forked child."""
    reader, writer = os.pipe()

    def tell():
        try:
            work()
        except StoreError as error:
            os.write(writer, str(error).encode())

    code = os.waitstatus_to_exitcode(os.waitpid(in_fork(tell), 0)[1])
    os.close(writer)
    answer = os.read(reader, 10_000).decode()
    os.close(reader)
    return code, answer


def commit_after_the_parent_closed(here):
    """A child that goes on when its parent has closed all it had open: what the child commits then must last."""
    write(here.member, "parent")
    (child_ready, ready), (parent_closed, closed) = os.pipe(), os.pipe()

    def work():
        write(here.member, "child")
        os.write(ready, b".")
        os.read(parent_closed, 1)
        write(here.member, "child")
        here.store.close()

    pid = in_fork(work)
    os.read(child_ready, 1)
    here.store.close()
    os.write(closed, b".")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_inside_a_transaction(here):
    """What the children are told that go on with the transaction, leave it, or begin one of their own."""

    def go_on():
        tx.event("child")

    def leave():
        transaction.__exit__(None, None, None)

    def begin():
        write(here.member, "child")

    transaction = here.member.transaction()
    tx = transaction.__enter__()
    tx.event("parent")
    answers = [ask_fork(go_on), ask_fork(leave), ask_fork(begin)]
    tx.event("parent")
    transaction.__exit__(None, None, None)
    return answers


def fork_and_die_inside(here, path):
    """Leave two children that outlive us, one forked before and one inside the transaction in which we die."""
    write(here.member, "before")
    before = pausing_fork()
    with here.member.transaction() as tx:
        tx.event("half")
        path.write_text(f"{before} {pausing_fork()}")
        os.kill(os.getpid(), signal.SIGKILL)


def pausing_fork():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def files_after_a_fork(here):
    """How many descriptors of the gate and of the database a forked child has, beside an idle thread of its parent."""
    used, over = threading.Event(), threading.Event()

    def work():
        write(here.member, "thread")
        used.set()
        over.wait()
        write(here.member, "thread")

    thread = threading.Thread(target=work)
    thread.start()
    used.wait()
    reader, writer = os.pipe()
    before = open_files()
    pid = in_fork(lambda: os.write(writer, repr(open_files()).encode()))
    os.waitpid(pid, 0)
    after = os.read(reader, 100).decode()
    over.set()
    thread.join()
    return before, after


def open_files():
    names = []
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            names.append(file.readlink().name)
    return [names.count("gate"), names.count("state.db")]


def files_after_many_threads(here):
    write(here.member, "main")
    before = open_files()
    for _ in range(30):
        thread = threading.Thread(target=write, args=(here.member, "thread"))
        thread.start()
        thread.join()
    return before, open_files()


@pytest.fixture
def sound(store):
    def sound():
        connection = sqlite3.connect(store.path)
        try:
            return connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()

    return sound


@pytest.fixture
def count(events):
    return lambda kind: [name for name, _ in events(kind)].count(kind)


def test_parent_and_child_both_go_on_writing_after_a_fork(processes, count, sound):
    assert processes("ada").run(fork_and_both_write, 100) == 0
    assert (count("parent"), count("child")) == (100, 100)
    assert sound()


def test_what_a_child_commits_after_its_parent_closed_is_not_lost(processes, store, count):
    """SQLite in a child trusts the locks that its parent had at the fork; without care this commit is simply gone."""
    ada = processes("ada")
    store.close()
    assert ada.run(commit_after_the_parent_closed) == 0
    assert count("child") == 2


def test_a_fork_while_another_thread_writes_harms_neither(processes, count, sound):
    assert processes("ada").run(fork_while_a_thread_writes, 20) == [0] * 20
    assert (count("parent"), count("child")) == (20, 200)
    assert sound()


def test_a_child_forked_while_a_thread_stays_inside_a_transaction_is_refused(processes, count, sound):
    code, answer = processes("ada").run(fork_while_a_thread_stays_inside)
    assert code == 0
    assert "forked inside a transaction" in answer
    assert (count("thread"), count("parent"), count("child")) == (1, 1, 0)
    assert sound()


def test_a_child_forked_inside_a_transaction_is_refused_and_its_parent_goes_on(processes, count, sound):
    for code, answer in processes("ada").run(fork_inside_a_transaction):
        assert code == 0
        assert "forked inside a transaction" in answer
    assert (count("parent"), count("child")) == (2, 0)
    assert sound()


@pytest.mark.timeout(20)
def test_children_that_outlive_a_writer_do_not_keep_the_gate_shut(processes, member, events, tmp_path):
    processes("ada").start_running(fork_and_die_inside, tmp_path / "children").gone()
    try:
        write(member, "next")
        assert events("next") == [("next", None)]
        assert events("half") == []
    finally:
        for child in (tmp_path / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def test_a_child_inherits_no_open_file_of_the_swarm(processes):
    before, after = processes("ada").run(files_after_a_fork)
    assert before == [4, 2]  # the gate's file and its mapping
    assert after == "[0, 0]"


def test_a_thread_that_ends_leaves_no_open_file(processes):
    before, after = processes("ada").run(files_after_many_threads)
    assert before == [2, 1]
    assert after in ([2, 1], [2, 2])  # SQLite keeps one descriptor back for the next connection
