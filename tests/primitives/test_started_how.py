"""However a process is started, each primitive works in it, and what its parent holds is not its own."""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import pytest

from prong.primitives import join

PATIENCE_S = 30

METHODS = ["fork", "spawn", "forkserver", "os.fork"]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Forked:
    """A plain fork, with what a `multiprocessing.Process` has."""

    def __init__(self, target, args):
        self.target, self.args = target, args
        self.exitcode = self.pid = None

    def start(self):
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            with suppress(BaseException):  # nothing of a child goes on as its parent
                self.target(*self.args)
                code = 0
            os._exit(code)

    def kill(self):
        if self.exitcode is None:
            os.kill(self.pid, signal.SIGKILL)

    def join(self, _timeout=None):
        if self.exitcode is None:
            self.exitcode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def swarm(tmp_path):
    with join(tmp_path / "work.db", "parent") as swarm:
        yield swarm


@pytest.fixture
def child():
    """Starts `target` in a child; what it sends through its last argument, a connection, can be received."""
    started = []

    def child(method, target, *arguments):
        ours, theirs = multiprocessing.Pipe()
        make = Forked if method == "os.fork" else multiprocessing.get_context(method).Process
        process = make(target=target, args=(*arguments, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
        return process, ours

    yield child
    for process, ours in started:
        process.kill()
        process.join(PATIENCE_S)
        ours.close()


def told(line):
    """What a child has sent; EOFError where it has ended without a word."""
    assert line.poll(PATIENCE_S), "the child says nothing"
    return line.recv()


def everything(swarm):
    """One of each primitive."""
    lock = swarm.Lock("lock")
    return {
        "Lock": lock,
        "RLock": swarm.RLock("rlock"),
        "Semaphore": swarm.Semaphore("semaphore", 2),
        "BoundedSemaphore": swarm.BoundedSemaphore("bounded", 2),
        "Event": swarm.Event("event"),
        "Condition": swarm.Condition("condition"),
        "Barrier": swarm.Barrier("barrier", 1),
        "Atomic": swarm.Atomic("atomic", 7),
        "SharedMap": swarm.SharedMap("map"),
        "SharedList": swarm.SharedList("list"),
        "MessageQueue": swarm.MessageQueue("queue"),
        "Future": swarm.Future("future"),
    }


def _twice(lock):
    return lock.acquire(timeout=0), lock.acquire(timeout=0), lock.release()


def _once_more(lock):
    return lock.acquire(timeout=0), lock.acquire(timeout=0), lock.release(), lock.release()


def _permit(semaphore):
    with semaphore:
        return semaphore.acquire(timeout=0), semaphore.acquire(timeout=0), semaphore.release()


def _event(event):
    before = event.is_set()
    event.set()
    return before, event.wait(0), event.clear()


def _condition(condition):
    with condition:
        condition.notify_all()
        return condition.wait(0.01)


def _map(entries):
    entries["k"] = entries.get("k", 0) + 1
    return entries["k"]


def _queue(messages):
    messages.put("m")
    return messages.get(timeout=0), messages.task_done()


def _future(future):
    if not future.done():
        future.promise()
        future.set_result("done")
    return future.result(timeout=0)


USES = {
    "Lock": (_twice, (True, False, None)),
    "RLock": (_once_more, (True, True, None, None)),
    "Semaphore": (_permit, (True, False, None)),
    "BoundedSemaphore": (_permit, (True, False, None)),
    "Event": (_event, (False, True, None)),
    "Condition": (_condition, False),
    "Barrier": (lambda barrier: barrier.wait(PATIENCE_S), 0),
    "Atomic": (lambda atomic: atomic.add(1).old >= 7, True),
    "SharedMap": (lambda entries: _map(entries) >= 1, True),
    "SharedList": (lambda items: items.append("i") >= 0, True),
    "MessageQueue": (_queue, ("m", None)),
    "Future": (_future, "done"),
}


def used(objects):
    return {name: USES[name][0](one) for name, one in objects.items()}


EXPECTED = {name: answer for name, (_, answer) in USES.items()}


def use_all(swarm, objects, line):
    members = [objects[name]._member for name in objects if name != "Future"] + [objects["Future"].member]
    line.send((used(objects), swarm.me.agent, {member.me.agent for member in members}))
    line.send(used(everything(swarm)))


@pytest.mark.parametrize("method", METHODS)
def test_each_primitive_works_in_a_child(swarm, child, method):
    objects = everything(swarm)
    assert used(objects) == EXPECTED
    process, line = child(method, use_all, swarm, objects)
    answers, agent, agents = told(line)
    assert answers == EXPECTED
    assert agents == {agent}
    assert agent != swarm.me.agent
    assert told(line) == EXPECTED
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert (objects["Atomic"].get(), objects["SharedMap"]["k"], len(objects["SharedList"])) == (10, 3, 3)
    assert used(objects) == EXPECTED


def hold_all(objects):
    """Have something of everything that can be held."""
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"):
        assert objects[name].acquire()
    assert objects["Semaphore"].acquire()
    assert objects["BoundedSemaphore"].acquire()
    assert objects["MessageQueue"].put("m")
    assert objects["MessageQueue"].get(timeout=0) == "m"
    objects["Future"].promise()


def let_all_go(objects):
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"):
        objects[name].release()
    objects["Semaphore"].release()
    objects["BoundedSemaphore"].release()
    objects["MessageQueue"].task_done()
    objects["Future"].set_result("kept")


def refused(act):
    try:
        return act()
    except Exception as error:  # noqa: BLE001  which one it is, is what is asked
        return next(kind.__name__ for kind in (RuntimeError, ValueError, Exception) if isinstance(error, kind))


def grasp(objects, line):
    """Try to use what the parent holds."""
    lock, condition, messages = objects["Lock"], objects["Condition"], objects["MessageQueue"]
    line.send(
        {
            "a lock's grant": lock.grant,
            "to have the lock": lock.held(),
            "to release it": refused(lock.release),
            "to acquire it": lock.acquire(timeout=0),
            "to release an RLock": refused(objects["RLock"].release),
            "to acquire it once more": objects["RLock"].acquire(timeout=0),
            "to notify": refused(condition.notify),
            "to wait": refused(lambda: condition.wait(0)),
            "a permit": objects["Semaphore"].acquire(timeout=0),
            "a permit of a bound": objects["BoundedSemaphore"].acquire(timeout=0),
            "a message": messages.empty(),
            "to be done with it": refused(messages.task_done),
            "to keep a promise": refused(lambda: objects["Future"].set_result("stolen")),
        }
    )


NOTHING = {
    "a lock's grant": None,
    "to have the lock": None,
    "to release it": "RuntimeError",
    "to acquire it": False,
    "to release an RLock": "RuntimeError",
    "to acquire it once more": False,
    "to notify": "RuntimeError",
    "to wait": "RuntimeError",
    "a permit": False,
    "a permit of a bound": False,
    "a message": True,
    "to be done with it": "ValueError",
    "to keep a promise": "Exception",
}


@pytest.mark.parametrize("method", METHODS)
def test_what_a_parent_holds_is_not_its_childs_and_outlives_it(swarm, child, method):
    objects = everything(swarm)
    hold_all(objects)
    process, line = child(method, grasp, objects)
    assert told(line) == NOTHING
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    let_all_go(objects)
    assert objects["Future"].result(timeout=0) == "kept"


def hold_and_stay(objects, line):
    hold_all(objects)
    line.send("it holds all")
    line.poll(PATIENCE_S)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_killed_child_held_comes_to_its_parent(swarm, child, method):
    objects = everything(swarm)
    process, line = child(method, hold_and_stay, objects)
    assert told(line) == "it holds all"
    assert not objects["Lock"].acquire(timeout=0)
    process.kill()
    process.join(PATIENCE_S)
    for name in ("Lock", "RLock", "Semaphore", "Semaphore", "BoundedSemaphore", "BoundedSemaphore", "Condition"):
        assert objects[name].acquire(timeout=PATIENCE_S), name
    assert objects["MessageQueue"].get(timeout=PATIENCE_S) == "m"
    objects["MessageQueue"].task_done()
    assert objects["Future"].exception(timeout=PATIENCE_S) is not None


def have_children(swarm, depth, line):
    """A line of descendants, each of which adds one and tells who it is."""
    swarm.Atomic("n").add(1)
    found = [swarm.me.agent]
    if depth:
        ours, theirs = multiprocessing.Pipe()
        process = Forked(target=have_children, args=(swarm, depth - 1, theirs))
        process.start()
        theirs.close()
        found += told(ours)
        process.join()
    line.send(found)


@pytest.mark.parametrize("method", METHODS)
def test_every_descendant_is_a_member_of_its_own(swarm, child, method):
    swarm.Atomic("n").add(1)
    _, line = child(method, have_children, swarm, 2)
    agents = {swarm.me.agent, *told(line)}
    assert len(agents) == 4
    assert swarm.Atomic("n").get() == 4


def add_some(swarm, times, line):
    for _ in range(times):
        swarm.Atomic("n").add(1)
        with swarm.Lock("a"):
            swarm.SharedMap("m")["k"] = swarm.SharedMap("m").get("k", 0) + 1
    line.send("done")


@pytest.mark.parametrize("method", ["fork", "os.fork"])
def test_a_process_forks_while_its_threads_are_in_the_database(swarm, child, method):
    """Goal: a fork never tears a transaction of another thread.  Method: fork ten times while two threads write."""
    added, stop = [0, 0], threading.Event()

    def write(number):
        while not stop.is_set():
            swarm.Atomic("n").add(1)
            with swarm.Lock("a"):
                swarm.SharedMap("m")["k"] = swarm.SharedMap("m").get("k", 0) + 1
            added[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        lines = [child(method, add_some, swarm, 10)[1] for _ in range(10)]
        assert [told(line) for line in lines] == ["done"] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert swarm.Atomic("n").get() == swarm.SharedMap("m")["k"] == 100 + sum(added)
    assert swarm.store.row("pragma integrity_check")[0] == "ok"


def pass_on(swarm, line):
    swarm.SharedMap("m")["child"] = swarm.Lock("a").acquire(timeout=0)
    line.send(swarm.store.row("select count(*) from waiter where state = 'waiting'")[0])


@pytest.mark.parametrize("method", ["fork", "os.fork"])
def test_a_thread_that_waits_while_its_process_forks_is_still_the_one_who_waits(swarm, child, until, method):
    lock, got = swarm.Lock("a"), []
    assert lock.acquire()
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=PATIENCE_S)))
    thread.start()
    until(lambda: lock.statistics().waiting == 1, "the thread waits")
    _, line = child(method, pass_on, swarm)
    assert told(line) == 1
    assert swarm.SharedMap("m")["child"] is False
    lock.release()
    thread.join(PATIENCE_S)
    assert got == [True]
    lock.release()


def grow(counter, _):
    return counter.add(1).new, os.getpid(), counter._member.me.agent


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_the_standard_library_shares_a_primitive(swarm, method):
    counter = swarm.Atomic("n")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = list(pool.map(grow, [counter] * 20, range(20)))
    assert sorted(new for new, _, _ in answers) == list(range(1, 21))
    assert len({agent for _, _, agent in answers}) == len({pid for _, pid, _ in answers})
    assert swarm.store.row("select count(*) from agent")[0] == 1 + len({pid for _, pid, _ in answers})
    assert counter.get() == 20


def test_whoever_has_left_joins_anew_with_the_next_primitive_that_is_unpickled(swarm):
    sent = pickle.dumps(swarm.Lock("a"))
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first._member is second._member
    assert first.acquire()
    first._member.leave()
    third = pickle.loads(sent)
    assert third.acquire(timeout=0)
    third._member.leave()


def test_what_a_grant_was_travels_to_no_process_that_unpickles_the_lock(swarm):
    lock = swarm.Lock("a")
    assert lock.acquire()
    again = pickle.loads(pickle.dumps(lock))
    assert (lock.grant is not None, again.grant, again == lock) == (True, None, True)
    lock.release()
