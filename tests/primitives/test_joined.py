"""Joining: a file or a swarm, one membership a process, and nothing held by who is gone."""
# ruff: noqa: PT012  a whole block is what is tested

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent import futures
from contextlib import suppress
from pathlib import Path

import pytest

from prong.primitives import BrokenFuture, Lock, SharedMap, join
from prong.state import Deposed, Store

PATIENCE_S = 30


@pytest.fixture
def file(tmp_path):
    return tmp_path / "work.db"


@pytest.fixture
def swarm(file):
    with join(file, "test") as swarm:
        yield swarm


@pytest.fixture
def program(file):
    """Runs a program of its own that has joined the file as `swarm` and says `ready` when it has done `source`."""
    started = []

    def program(source, then="input()"):
        begin = f"from prong.primitives import *\nswarm = join({str(file)!r}, 'ada')\n"
        code = f"{begin}{source}\nprint('ready', flush=True)\n{then}"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield program
    for process in started:
        process.kill()
        process.communicate()


def test_two_programs_share_a_plain_file(swarm, program, file):
    program("swarm.SharedMap('m')['k'] = [1, 'ä']")
    assert swarm.SharedMap("m")["k"] == [1, "ä"]
    assert sorted(path.name for path in file.parent.iterdir() if path.name.startswith("work.db-")) >= ["work.db-bells"]
    assert not (file.parent / "state.db").exists()


def test_a_directory_is_a_swarm(tmp_path):
    with join(tmp_path / "swarm") as swarm:
        swarm.SharedMap("m")["k"] = 1
    assert (tmp_path / "swarm" / "state.db").exists()


def test_a_path_may_be_a_string_and_is_made_where_it_is_missing(tmp_path):
    with join(str(tmp_path / "a" / "b" / "work.db")) as swarm:
        assert swarm.Lock("a").acquire(timeout=0)


def test_a_member_without_a_name_bears_the_programs(file):
    with join(file) as swarm:
        assert swarm.name == Path(sys.argv[0]).stem
        assert repr(swarm) == f"<Swarm {str(file)!r}, member {swarm.name!r}>"


def test_what_a_program_held_is_free_when_it_has_ended(swarm, program):
    process = program("swarm.Lock('a').acquire()")
    assert not swarm.Lock("a").acquire(timeout=0)
    process.communicate("\n", timeout=PATIENCE_S)
    assert swarm.Lock("a").acquire(timeout=0)


def test_what_a_killed_program_held_comes_to_who_waits(swarm, program):
    process = program("swarm.Lock('a').acquire()")
    process.kill()
    assert swarm.Lock("a").acquire(timeout=PATIENCE_S)
    row = swarm.store.row("select state, reason from agent where name = 'ada'")
    assert tuple(row) == ("dead", "its process is gone")


def test_a_program_keeps_what_it_holds_for_longer_than_a_lease(swarm, program):
    """Goal: the heartbeat renews while the program is busy elsewhere.  Method: a lease much shorter than our wait."""
    program("swarm.Lock('a').acquire(lease_s=0.3)")
    assert not swarm.Lock("a").acquire(timeout=2)


def test_a_stopped_program_loses_what_it_held_and_is_told_when_it_goes_on(swarm, program):
    process = program(
        "lock = swarm.Lock('a')\nlock.acquire(lease_s=1)",
        "input()\ntry:\n    lock.release()\nexcept NotHeld as error:\n    print(error, flush=True)",
    )
    os.kill(process.pid, 19)
    assert swarm.Lock("a").acquire(timeout=PATIENCE_S)
    os.kill(process.pid, 18)
    said, _ = process.communicate("\n", timeout=PATIENCE_S)
    assert "you do not hold lock 'a': test holds it now" in said


def test_whoever_left_holds_nothing_and_does_nothing(file):
    with join(file, "ada") as ada, join(file, "bob") as bob:
        assert ada.Lock("a").acquire()
        ada.leave()
        assert bob.Lock("a").acquire(timeout=0)
        with pytest.raises(Deposed, match=r"\w+ \(agent \d+, incarnation 1\) is no member any more: it left"):
            ada.Lock("a").acquire(timeout=0)
        ada.leave()


def test_a_forked_child_is_a_member_of_its_own(swarm):
    lock = swarm.Lock("a")
    assert lock.acquire()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        answers = (swarm.me.agent, swarm.name, lock.acquire(timeout=0))
        os.write(theirs, pickle.dumps(answers))
        os._exit(0)
    os.waitpid(pid, 0)
    agent, name, got = pickle.loads(os.read(ours, 1000))
    os.close(ours)
    os.close(theirs)
    assert (agent != swarm.me.agent, name, got) == (True, f"test-{pid}", False)
    assert lock.locked()
    lock.release()


def test_a_child_that_ends_takes_nothing_of_its_parent_along(swarm):
    lock = swarm.Lock("a")
    assert lock.acquire()
    pid = os.fork()
    if pid == 0:
        try:
            sys.exit(0)  # with all that Python does at the end of a program
        except SystemExit:
            import atexit  # noqa: PLC0415  only in the child

            atexit._run_exitfuncs()
            os._exit(0)
    os.waitpid(pid, 0)
    with join(swarm.store.place, "other") as other:
        assert not other.Lock("a").acquire(timeout=0)
    lock.release()


def count(number, times):
    for _ in range(times):
        number.add(1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_primitive_goes_to_processes_however_they_are_started(swarm, method):
    context = multiprocessing.get_context(method)
    number = swarm.Atomic("n")
    processes = [context.Process(target=count, args=(number, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    assert number.get() == 150


def test_a_pickled_primitive_is_the_same_in_another_process_and_is_joined_once_there(swarm):
    both = pickle.loads(pickle.dumps([swarm.Lock("a"), swarm.Lock("a"), swarm.SharedMap("m")]))
    assert both[0] == swarm.Lock("a")
    assert isinstance(both[2], SharedMap)
    members = {one._member.me.agent for one in both}
    assert len(members) == 1


def test_threads_of_one_process_share_a_membership_and_wait_for_each_other(swarm):
    path = swarm.store.place.with_name("number")
    path.write_text("0")

    def work():
        lock = Lock(swarm, "a")
        for _ in range(100):
            with lock:
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "400"


def test_several_operations_are_one_change(swarm):
    entries, number = swarm.SharedMap("m"), swarm.Atomic("n")
    with pytest.raises(ZeroDivisionError), swarm.atomic():
        entries["k"] = 1
        number.add(1)
        1 / 0  # noqa: B018
    assert (dict(entries), number.get()) == ({}, 0)
    with swarm.atomic():
        entries["k"] = 1
        number.add(1)
    assert (dict(entries), number.get()) == ({"k": 1}, 1)


def test_the_heartbeat_ends_with_what_is_held(swarm, until):
    lock = swarm.Lock("a")
    before = threading.enumerate()
    lock.acquire(lease_s=0.2)
    beating = [thread for thread in threading.enumerate() if thread not in before]
    assert [thread.name for thread in beating] == ["prong-heartbeat"]
    lock.release()
    until(lambda: not beating[0].is_alive(), "the heartbeat ends")
    assert lock.acquire(lease_s=0.2)
    until(lambda: lock.statistics().expires_at > swarm.store.clock.now() + 0.19, "it beats again")
    lock.release()


def test_joining_with_a_name_that_cannot_be_one_is_refused(file):
    with pytest.raises(ValueError, match="name of a member"):
        join(file, "a\0b")


def test_opening_a_store_beside_a_membership_of_the_same_file_is_harmless(swarm, file):
    other = Store(file)
    assert other.row("select count(*) from agent")[0] == 1
    other.close()
    swarm.SharedMap("m")["k"] = 1
    assert swarm.SharedMap("m")["k"] == 1


def test_what_a_swarm_makes_takes_the_arguments_of_the_standard_library_in_their_order(swarm):
    acted = []
    barrier = swarm.Barrier("meeting", 1, lambda: acted.append("here"), 5)
    assert (barrier.wait(), acted) == (0, ["here"])
    with swarm.Executor("pool", 1, None, acted.append, ("ready",), workers="elsewhere") as pool:
        assert pool.statistics().queued == 0


def test_whoever_only_asks_gets_what_a_killed_program_held(swarm, program):
    for how in ({"shared": True}, {}):
        process = program(f"swarm.Lock('a').acquire(**{how})")
        assert not swarm.Lock("a").acquire(timeout=0)
        process.kill()
        process.wait()
        assert swarm.Lock("a").acquire(blocking=False)
        swarm.Lock("a").release()


def test_tasks_are_made_and_waited_for_by_a_program(swarm):
    first = swarm.create_task("First", "Do this.", key="one")
    assert swarm.create_task("First", "Do this.", key="one").id == first.id
    second = swarm.create_task("Second", "Do that.", needs=[first.id])
    assert [task.state for task in swarm.wait_tasks([first.id, second.id], timeout=0)] == ["ready", "blocked"]
    assert swarm.TaskFuture(second.id).cancel()


def test_whoever_only_polls_gets_the_message_and_the_permit_of_a_killed_program(swarm, program, until):
    swarm.MessageQueue("mail").put("work")
    process = program("swarm.MessageQueue('mail').get()\nswarm.Semaphore('gpu').acquire()")
    assert swarm.MessageQueue("mail").take(timeout=0) == []
    assert not swarm.Semaphore("gpu").acquire(blocking=False)
    process.kill()
    process.wait()
    messages = until(lambda: swarm.MessageQueue("mail").take(timeout=0), "the message comes back")
    assert [message.value for message in messages] == ["work"]
    until(lambda: swarm.Semaphore("gpu").acquire(blocking=False), "the permit comes back")


def together(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_a_call_that_waits_twice_for_a_signal_uses_one_up(swarm, until):
    done = swarm.Semaphore("done", 0)
    threads = together(*[lambda: done.acquire(key="call")] * 2)
    until(lambda: done.statistics().waiting == 2, "both wait")
    done.release(2)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert done.statistics().value == 1


def test_a_call_that_waits_twice_for_room_puts_once(swarm, until):
    mail = swarm.MessageQueue("mail", 1)
    mail.put("first")
    threads = together(*[lambda: swarm.MessageQueue("mail").put("second", key="call")] * 2)
    until(lambda: mail.statistics().waiting_to_put == 2, "both wait")
    assert mail.get() == "first"
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [message.value for message in mail.peek()] == ["second"]
    assert mail.put_many(["a"][:0], key="call") == []  # another operation, whose keys are its own


@pytest.mark.parametrize(
    "poll",
    [
        lambda future: future.done(),
        lambda future: future.exception(timeout=0),
        lambda future: futures.wait([future], timeout=0).done,
        lambda future: future.running() is False,
    ],
    ids=["done", "exception", "wait", "running"],
)
def test_whoever_only_polls_a_future_sees_that_its_killed_owner_is_gone(swarm, program, until, poll):
    process = program("swarm.Future('answer').set_running_or_notify_cancel()")
    answer = swarm.Future("answer")
    assert answer.running()
    process.kill()
    process.wait()

    def polled():
        with suppress(TimeoutError):
            return poll(answer)

    until(polled, "the promise breaks")
    with pytest.raises(BrokenFuture, match="its process is gone"):
        answer.result(timeout=0)


def test_whoever_waits_for_futures_as_the_standard_library_has_it_hears_that_a_killed_owner_is_gone(swarm, program):
    process = program("swarm.Future('answer').promise()")
    answer = swarm.Future("answer")
    process.kill()
    process.wait()
    assert futures.wait([answer], timeout=PATIENCE_S).done == {answer}


def test_a_future_can_be_polled_inside_a_transaction_where_nobody_can_look_after_the_dead(swarm, program, file):
    process = program("swarm.Future('answer').promise()")
    process.kill()
    process.wait()
    with swarm.atomic():
        assert not swarm.Future("answer").done()
    with join(file) as other, other.transaction():
        assert not swarm.Future("answer").done()
    with swarm.transaction():
        assert not swarm.Future("answer").done()
