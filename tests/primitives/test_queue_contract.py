"""The standard library's own tests of its queues, and what it documents, held against ours."""

import copy
import itertools
import pickle
import queue
import threading
import unittest
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from prong.primitives import MessageQueue, errors
from prong.primitives.joined import join as join_swarm
from prong.state import Invalid, Store
from prong.state import join as join_store

try:
    from test import test_queue as cpython
except ImportError:  # some distributions of Python leave its tests out
    cpython = None

KINDS = {"Queue": "fifo", "LifoQueue": "lifo", "PriorityQueue": "priority"}
SKIPPED = {("PriorityQueue", "test_basic"): "it puts a text, which no number ranks"}


@pytest.fixture
def real(tmp_path):
    """A member of a swarm with a clock that runs: the standard library's tests wait in earnest."""
    store = Store(tmp_path / "real")
    yield join_store(store, "test")
    store.close()


def standard_tests():
    if cpython is None:
        return [pytest.param(None, None, marks=pytest.mark.skip(reason="this Python comes without its own tests"))]
    names = [
        (kind, name)
        for kind in KINDS
        for name in unittest.TestLoader().getTestCaseNames(getattr(cpython, f"Py{kind}Test"))
    ]
    return [
        pytest.param(kind, name, marks=pytest.mark.skip(reason=SKIPPED[kind, name]) if (kind, name) in SKIPPED else [])
        for kind, name in names
    ]


@pytest.mark.parametrize(("kind", "name"), standard_tests())
def test_the_standard_librarys_own_tests_pass(real, kind, name):
    number = itertools.count()

    def make(maxsize=0):
        return MessageQueue.__new__(named)._made(maxsize)

    class Ours(MessageQueue):
        def _made(self, maxsize):
            super().__init__(real, f"queue {next(number)}", maxsize, discipline=KINDS[kind])
            return self

    named = type(kind, (Ours,), {})
    module = SimpleNamespace(
        Queue=make, LifoQueue=make, PriorityQueue=make, Full=queue.Full, Empty=queue.Empty, ShutDown=errors.ShutDown
    )
    case = type("Case", (getattr(cpython, f"{kind}Test"), unittest.TestCase), {"queue": module})
    result = case(name).run()
    assert result is not None
    assert [trace for _, trace in result.errors + result.failures] == []


# Arguments and exceptions.


@pytest.mark.parametrize("timeout", [-1, -0.001])
def test_a_negative_timeout_is_refused_as_the_standard_library_does_it(member, timeout):
    for mine, theirs in (
        (MessageQueue(member, "bound", 2), queue.Queue(2)),
        (MessageQueue(member, "free"), queue.Queue()),
    ):
        for call in (
            lambda q: q.put(1, True, timeout),
            lambda q: q.put(1, False, timeout),
            lambda q: q.get(True, timeout),
            lambda q: q.get(False, timeout),
        ):
            assert outcome(call, mine) == outcome(call, theirs)


def outcome(call, q):
    """What came of it: an exception's kind and words, or whether it returned what `get` returns."""
    try:
        return "returned", call(q) if q.qsize() else None
    except (ValueError, queue.Empty, queue.Full) as error:
        return type(error), str(error)


def test_a_full_queue_is_full_at_once_or_when_the_time_is_up(member):
    q = MessageQueue(member, "mail", 1)
    q.put("first")
    for how in ({"block": False}, {"timeout": 0}):
        with pytest.raises(queue.Full):
            q.put("second", **how)
    with pytest.raises(queue.Full):
        q.put_nowait("second")
    assert (q.full(), q.empty(), q.qsize()) == (True, False, 1)
    with pytest.raises(queue.Full):
        q.put_many(["second"])


def test_an_empty_queue_has_nothing_at_once(member):
    with pytest.raises(queue.Empty):
        MessageQueue(member, "mail").get_nowait()


@pytest.mark.parametrize("maxsize", [0, -1, -5])
def test_a_maxsize_of_zero_or_less_is_no_bound(member, maxsize):
    q = MessageQueue(member, "mail", maxsize)
    for n in range(5):
        q.put_nowait(n)
    assert (q.full(), q.qsize(), max(q.maxsize, 0)) == (False, 5, 0)


def test_making_one_touches_no_database(member):
    before = member.store.row("select max(seq) as last from event")["last"]
    assert MessageQueue(member, "mail", 3).maxsize == 3
    assert member.store.row("select count(*) as n from queue")["n"] == 0
    assert member.store.row("select max(seq) as last from event")["last"] == before


def test_two_objects_of_one_name_are_one_queue(member, people):
    (ada,) = people("ada")
    one, other = MessageQueue(member, "mail"), MessageQueue(ada, "mail", 4)
    assert (one == other, hash(one) == hash(other), one != MessageQueue(ada, "other"), one != "mail") == (True,) * 4
    assert MessageQueue[int].__origin__ is MessageQueue


def test_repr_tells_the_name_and_how_many_and_never_raises(member):
    q = MessageQueue(member, "mail")
    q.put(1)
    assert repr(q) == "<prong.MessageQueue at 'mail': 1 queued>"
    q._member = None
    assert repr(q) == "<prong.MessageQueue at 'mail': ? queued>"


def test_a_queue_crosses_a_pickle_with_what_was_said_of_it(tmp_path):
    with join_swarm(tmp_path / "work.db", "ada") as swarm:
        q = MessageQueue(swarm, "mail", 3, discipline="lifo", attempts=2, acknowledge="at_get")
        q.put("hello")
        again = pickle.loads(pickle.dumps(q))
        assert (again == q, again.maxsize, again._given, again._for_good) == (True, 3, q._given, True)
        assert copy.copy(q).get() == "hello"
        again._member.leave()


def test_threads_of_one_process_end_each_its_own_message(member, store):
    """The first to get is the last to be done; what is left is always what the others have."""
    q = MessageQueue(member, "mail")
    q.put_many(["a", "b"])
    got, go_on = threading.Event(), threading.Event()

    def first():
        assert q.get() == "a"
        got.set()
        go_on.wait(10)
        q.task_done()

    thread = threading.Thread(target=first)
    thread.start()
    assert got.wait(10)
    assert q.get() == "b"
    q.task_done()
    assert [row["body"] for row in store.rows("select body from queue_message")] == ['"a"']
    go_on.set()
    thread.join()
    assert store.rows("select body from queue_message") == []


# Disciplines.


def test_lifo_gives_the_last_first_and_priority_the_lowest(member):
    last, low = MessageQueue(member, "last", discipline="lifo"), MessageQueue(member, "low", discipline="priority")
    last.put_many([1, 2, 3])
    low.put_many([[3, "c"], [1, "a"], 2, [1, "b"], -0.5, [True, "d"]])
    assert [last.get() for _ in range(3)] == [3, 2, 1]
    assert [low.get() for _ in range(6)] == [-0.5, [1, "a"], [1, "b"], [True, "d"], 2, [3, "c"]]


def test_priority_stands_above_every_discipline(member):
    low = MessageQueue(member, "low", discipline="priority")
    low.put(1)
    low.put(2, priority=1)
    assert [low.get(), low.get()] == [2, 1]


UNRANKED = {"text": "a", "none": None, "empty": [], "list": ["a", 1], "object": {"n": 1}, "huge": 10**400}


@pytest.mark.parametrize("item", UNRANKED.values(), ids=UNRANKED)
def test_what_cannot_be_ranked_is_refused(member, item):
    q = MessageQueue(member, "low", discipline="priority")
    with pytest.raises(Invalid, match="begins with"):
        q.put(item)
    assert q.empty()


def test_who_says_nothing_of_a_queue_finds_it_as_it_is(member, people):
    (ada,) = people("ada")
    MessageQueue(member, "low", 2, discipline="priority").put(5)
    plain = MessageQueue(ada, "low")
    plain.put(3)
    with pytest.raises(queue.Full):
        plain.put_nowait(1)
    assert (plain.get(), plain.maxsize, plain.statistics().discipline) == (3, 2, "priority")


def test_another_discipline_is_refused_while_there_are_messages_and_taken_when_there_are_none(member):
    q = MessageQueue(member, "mail")
    q.put(1)
    with pytest.raises(Invalid, match="empty it first"):
        MessageQueue(member, "mail", discipline="lifo").put(2)
    q.get()
    q.task_done()
    q = MessageQueue(member, "mail", discipline="lifo")
    q.put_many([1, 2])
    assert q.get() == 2


@pytest.mark.parametrize(
    "options", [{"discipline": "random"}, {"attempts": 0}, {"lease_s": 0}, {"acknowledge": "never"}, {"maxsize": 1.5}]
)
def test_options_that_cannot_be_meant_are_refused(member, options):
    with pytest.raises(Invalid):
        MessageQueue(member, "mail", **options)


# Shutting down.


def test_after_a_shutdown_the_rest_is_read_and_nothing_more_put(member):
    q = MessageQueue(member, "mail")
    q.put_many([1, 2])
    q.shutdown()
    assert isinstance(errors.ShutDown("q", "orderly"), getattr(queue, "ShutDown", errors.ShutDown))
    with pytest.raises(errors.ShutDown, match="'mail' was shut down"):
        q.put(3)
    assert [q.get(), q.get()] == [1, 2]
    for how in ({}, {"block": False}, {"timeout": 0}):
        with pytest.raises(errors.ShutDown):
            q.get(**how)
    q.task_done()
    q.task_done()
    q.join()
    q.reopen()
    q.put(4)
    assert q.get() == 4


def test_an_immediate_shutdown_empties_the_queue_into_dead_letters(member, spawn_in, in_line):
    q = MessageQueue(member, "mail", 2)
    q.put_many([1, 2])
    writer, waiting = spawn_in("writer"), spawn_in("joiner")
    writer.start("put", 3)
    in_line("room")
    waiting.start("join")
    in_line("joined")
    q.shutdown(immediate=True)
    with pytest.raises(errors.ShutDown):
        writer.result()
    assert waiting.result() is None
    with pytest.raises(errors.ShutDown, match="dead letters"):
        q.get()
    assert [(letter.value, letter.reason) for letter in q.dead_letters()] == [
        (1, "the queue was shut down"), (2, "the queue was shut down")
    ]  # fmt: skip
    assert (q.qsize(), q.full()) == (0, False)


def test_a_shutdown_ends_the_waits_of_readers(member, spawn_in, in_line):
    ada = spawn_in("ada")
    ada.start("get")
    in_line("queue")
    MessageQueue(member, "mail").shutdown()
    with pytest.raises(errors.ShutDown):
        ada.result()


@pytest.fixture
def spawn_in(processes):
    return lambda name, **options: processes(name, ("prong.primitives", "MessageQueue", ("mail",), options))


# Against the model.


class Model(RuleBasedStateMachine):
    """One of ours against one of the standard library's."""

    def __init__(self, store, discipline, maxsize):
        super().__init__()
        kind = {"fifo": queue.Queue, "lifo": queue.LifoQueue, "priority": queue.PriorityQueue}[discipline]
        name = f"queue {store.row('select count(*) as n from event')['n']}"
        self.mine = MessageQueue(join_store(store, "ada"), name, maxsize, discipline=discipline)
        self.theirs = kind(maxsize)
        self.held = 0

    def both(self, call):
        found = [outcome_of(call, q) for q in (self.mine, self.theirs)]
        assert found[0] == found[1]
        return found[0]

    @rule(item=st.integers(-3, 3))
    def put(self, item):
        self.both(lambda q: q.put(item, block=False) and None)

    @rule()
    def get(self):
        kind, _ = self.both(lambda q: q.get(timeout=0))
        self.held += kind == "returned"

    @precondition(lambda self: self.held or not self.theirs.qsize())
    @rule()
    def task_done(self):
        if self.held == 0 and self.theirs.unfinished_tasks:
            return
        kind, _ = self.both(lambda q: q.task_done())
        self.held -= kind == "returned"

    @invariant()
    def agree(self):
        for ask in ("qsize", "empty", "full"):
            assert getattr(self.mine, ask)() == getattr(self.theirs, ask)()


def outcome_of(call, q):
    try:
        return "returned", call(q)
    except (ValueError, queue.Empty, queue.Full) as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    ("discipline", "maxsize"), [("fifo", 0), ("fifo", 2), ("lifo", 3), ("priority", 0), ("priority", 3)]
)
def test_a_queue_does_what_the_standard_librarys_does(store, discipline, maxsize):
    run_state_machine_as_test(
        lambda: Model(store, discipline, maxsize),
        settings=settings(max_examples=15, stateful_step_count=30, deadline=None),
    )


def test_a_bounded_queue_of_each_discipline_loses_nothing_between_processes(processes, member, tmp_path):
    """Goal: each message is read once.  Method: three write into a queue of three, four read, each into a file."""
    total = 240
    queues = {"fifo": 3, "lifo": 3, "priority": 3}
    for discipline, maxsize in queues.items():
        options = {"maxsize": maxsize, "discipline": discipline}
        target = ("prong.primitives", "MessageQueue", (discipline,), options)
        readers = [processes(f"reader {n} {discipline}", target) for n in range(4)]
        writers = [processes(f"writer {n} {discipline}", target) for n in range(3)]
        for n, reader in enumerate(readers):
            reader.start_running(read_all, tmp_path / f"{discipline} {n}")
        for n, writer in enumerate(writers):
            writer.start_running(write_all, list(range(n, total, 3)))
        for writer in writers:
            writer.result()
        whole = MessageQueue(member, discipline)
        whole.join()
        whole.shutdown()
        for reader in readers:
            reader.result()
        read = [int(line) for file in tmp_path.glob(f"{discipline} *") for line in file.read_text().split()]
        assert sorted(read) == list(range(total))
        assert (whole.qsize(), whole.statistics().delivered) == (0, 0)


def write_all(here, numbers):
    for number in numbers:
        here.object.put(number)


def read_all(here, path):
    with path.open("a") as file:
        for number in here.object.each():
            file.write(f"{number}\n")
            file.flush()
