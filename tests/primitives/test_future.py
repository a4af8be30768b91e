"""The future: set once, read by everybody, broken when its owner dies; to the letter as `concurrent.futures` has it."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import asyncio
import gc
import itertools
import math
import os
import pickle
import threading
import weakref
from concurrent import futures
from concurrent.futures import CancelledError, InvalidStateError

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prong.primitives import Plan, create_task, remote
from prong.primitives import future as future_module
from prong.primitives.errors import BrokenFuture, NotPromised, RemoteError, RemoteTraceback, TaskFailed, UnknownTask
from prong.primitives.future import Future
from prong.primitives.joined import join as join_swarm
from prong.primitives.task import finish
from prong.primitives.task_future import TaskFuture
from prong.state import Deposed, Invalid, Store, join

PENDING, RUNNING, CANCELLED = "pending", "running", "cancelled"
NOTIFIED, RETURNED, RAISED = "notified", "returned", "raised"


@pytest.fixture
def answer(member):
    return Future(member, "answer")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives.future", "Future", ("answer",), {}))


@pytest.fixture
def make(member):
    """Makes a future that is in some state, seen by an object that took no part in it."""
    names = itertools.count()

    def make(state):
        future = Future(member, f"future {next(names)}")
        if state in (CANCELLED, NOTIFIED):
            future.cancel()
        if state in (RUNNING, NOTIFIED):
            future.set_running_or_notify_cancel()
        if state == RETURNED:
            future.set_result(42)
        if state == RAISED:
            future.set_exception(OSError(2, "gone"))
        return Future(member, future.name)

    return make


@pytest.fixture
def row(store):
    return lambda name="answer": tuple(
        store.row("select state, owner, result, error from future where name = :name", name=name) or ()
    )


# As concurrent.futures has it.


@pytest.mark.parametrize(
    ("state", "cancelled", "running", "done", "cancels"),
    [
        (PENDING, False, False, False, True),
        (RUNNING, False, True, False, False),
        (CANCELLED, True, False, True, True),
        (NOTIFIED, True, False, True, True),
        (RETURNED, False, False, True, False),
        (RAISED, False, False, True, False),
    ],
)
def test_each_state_answers_as_the_standard_library_does(make, state, cancelled, running, done, cancels):
    future = make(state)
    assert (future.cancelled(), future.running(), future.done()) == (cancelled, running, done)
    assert future.cancel() is cancels
    assert future.cancelled() is (cancelled or cancels)


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -math.inf, math.nan, False])
def test_a_timeout_that_leaves_no_time_raises_timeout_error(make, timeout, waiters):
    for state in (PENDING, RUNNING):
        with pytest.raises(TimeoutError):
            make(state).result(timeout)
        with pytest.raises(futures.TimeoutError):
            make(state).exception(timeout=timeout)
    assert waiters() == []


def test_a_timeout_is_a_number(answer):
    with pytest.raises(TypeError):
        answer.result("1")


def test_what_is_set_or_cancelled_is_read_at_once(make):
    assert make(RETURNED).result(0) == make(RETURNED).result() == make(RETURNED).result(-1) == 42
    assert make(RETURNED).exception() is None
    with pytest.raises(FileNotFoundError, match="gone") as caught:
        make(RAISED).result()
    assert (caught.value.errno, caught.value.strerror) == (2, "gone")
    assert isinstance(make(RAISED).exception(), FileNotFoundError)
    for state in (CANCELLED, NOTIFIED):
        for read in (make(state).result, make(state).exception):
            with pytest.raises(CancelledError):
                read()


@pytest.mark.parametrize("state", [CANCELLED, NOTIFIED, RETURNED, RAISED])
def test_nothing_is_set_twice(make, state):
    future = make(state)
    word = {CANCELLED: "CANCELLED", NOTIFIED: "CANCELLED_AND_NOTIFIED"}.get(state, "FINISHED")
    for change in (lambda: future.set_result(1), lambda: future.set_exception(ValueError())):
        with pytest.raises(InvalidStateError, match=f"^{word}: <Future 'future 0' at 0x[0-9a-f]+ state="):
            change()
    with pytest.raises(InvalidStateError):
        future.promise()


@pytest.mark.parametrize("state", [RUNNING, NOTIFIED, RETURNED, RAISED])
def test_what_has_begun_does_not_begin_again(make, state, caplog):
    with pytest.raises(RuntimeError, match="Future in unexpected state"):
        make(state).set_running_or_notify_cancel()
    assert "in unexpected state" in caplog.text


def test_to_begin_what_was_cancelled_tells_those_who_wait(make, row):
    future = make(CANCELLED)
    assert futures.wait([future], timeout=0).done == set()
    assert future.set_running_or_notify_cancel() is False
    assert futures.wait([future], timeout=0).done == {future}
    assert row(future.name)[:2] == ("notified", None)


def test_a_running_future_can_be_set_by_its_owner(answer, row, member):
    assert answer.set_running_or_notify_cancel() is True
    assert row() == ("running", member.me.agent, None, None)
    answer.set_result({"a": [1]})
    assert row() == ("done", None, '{"a":[1]}', None)


def test_repr_tells_name_and_state_and_never_raises(make, store, member):
    shapes = {
        PENDING: "state=pending>", RUNNING: "state=running>", CANCELLED: "state=cancelled>",
        RETURNED: "state=finished returned int>", RAISED: "state=finished raised FileNotFoundError>",
    }  # fmt: skip
    for n, (state, shape) in enumerate(shapes.items()):
        text = repr(make(state))
        assert text.startswith(f"<Future 'future {n}' at 0x")
        assert text.endswith(shape)
    lost = Future(member, "lost")
    store.close()
    store.path.unlink()
    store.path.mkdir()
    assert repr(lost).endswith("state=unknown>")


def test_callbacks_are_called_once_in_order_with_the_object_that_they_were_added_to(answer, caplog):
    called = []
    answer.add_done_callback(lambda future: called.append((1, future)))
    answer.add_done_callback(lambda _: 1 / 0)
    answer.add_done_callback(lambda future: called.append((2, future)))
    answer.set_result(5)
    answer.add_done_callback(lambda future: called.append((3, future)))
    answer.add_done_callback(lambda _: 1 / 0)
    assert [(n, future is answer) for n, future in called] == [(1, True), (2, True), (3, True)]
    assert caplog.text.count("exception calling callback for <Future 'answer'") == 2


def test_callbacks_hear_of_a_cancellation(answer):
    called = []
    answer.add_done_callback(lambda future: called.append(future.cancelled()))
    assert answer.cancel()
    assert called == [True]
    answer.set_running_or_notify_cancel()
    assert called == [True]


def test_an_exception_may_be_none(answer, member):
    answer.set_exception(None)
    assert (Future(member, "answer").result(), Future(member, "answer").exception()) == (None, None)


def test_only_exceptions_are_exceptions(answer):
    with pytest.raises(TypeError):
        answer.set_exception("no")
    assert not answer.done()


def test_who_sets_an_exception_keeps_it(answer):
    error = ValueError("mine")
    answer.set_exception(error)
    assert answer.exception() is error


def test_a_future_that_nobody_has_is_gone_at_once(member):
    gc.disable()
    try:
        future = Future(member, "short")
        gone = weakref.ref(future)
        future.set_result(1)
        del future
        assert gone() is None
    finally:
        gc.enable()


# wait, as_completed, asyncio.


@pytest.mark.parametrize("when", [futures.FIRST_COMPLETED, futures.FIRST_EXCEPTION, futures.ALL_COMPLETED])
def test_wait_hears_what_other_objects_set(member, people, when, until, store):
    (ada,) = people("ada")
    mine = [Future(member, str(n)) for n in range(4)]
    Future(ada, "3").set_result("before")
    waited = []
    thread = threading.Thread(target=lambda: waited.append(futures.wait(mine[:3], timeout=30, return_when=when)))
    thread.start()
    until(lambda: store.row("select count(*) from future_watch")[0] == 3, "three watched")
    Future(ada, "1").set_exception(KeyError("a"))
    if when == futures.ALL_COMPLETED:
        Future(ada, "0").set_result(0)
        Future(ada, "2").cancel()
        assert Future(ada, "2").set_running_or_notify_cancel() is False
    thread.join()
    done = set(mine[:3]) if when == futures.ALL_COMPLETED else {mine[1]}
    assert waited == [(done, set(mine[:3]) - done)]
    until(lambda: store.row("select count(*) from future_watch")[0] == 0, "nothing watched any more")


def test_as_completed_gives_each_once_as_it_is_set(member, people, processes):
    (ada,) = people("ada")
    mine = [Future(member, str(n)) for n in range(50)]
    Future(ada, "7").set_result(7)
    bob = processes("bob")
    bob.start_running(set_all, 50, skip=7)
    assert {future.result() for future in futures.as_completed([*mine, mine[0]], timeout=30)} == set(range(50))
    bob.result()


def set_all(here, count, skip):
    for n in range(count):
        if n != skip:
            Future(here.member, str(n)).set_result(n)


def test_as_completed_and_wait_time_out(member):
    mine = Future(member, "never")
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(futures.as_completed([mine], timeout=0))
    assert futures.wait([mine], timeout=0).not_done == {mine}


def test_asyncio_awaits_it(member, processes):
    bob = processes("bob")

    async def main():
        waits = asyncio.wrap_future(Future(member, "0"))
        bob.start_running(set_all, 1, skip=None)
        return await asyncio.wait_for(waits, 30)

    assert asyncio.run(main()) == 0
    bob.result()


def test_a_cancelled_asyncio_future_cancels_it(member, row, until):
    async def main():
        waits = asyncio.wrap_future(Future(member, "0"))
        waits.cancel()
        await asyncio.sleep(0)

    asyncio.run(main())
    until(lambda: row("0")[:1] == ("cancelled",), "it was cancelled")


def test_callbacks_hear_what_another_process_set(answer, spawn, until):
    called = []
    answer.add_done_callback(lambda future: called.append(future.result()))
    spawn("ada").do("set_result", "there")
    until(lambda: called == ["there"], "the callback")


@pytest.mark.parametrize("change", ["set_result", "cancel", "notify", "break"])
def test_every_change_marks_the_rows_of_those_who_watch(answer, member, store, spawn, bury, change):
    ada = spawn("ada")
    if change == "break":
        ada.run(promise)
    if change == "notify":
        answer.cancel()
    with member.transaction() as tx:
        for name in ("answer", "other"):
            tx.execute("insert into future_watch values (:name, 5, :agent, 0)", name=name, agent=member.me.agent)
    if change == "set_result":
        answer.set_result(1)
    elif change == "cancel":
        answer.cancel()
    elif change == "notify":
        answer.set_running_or_notify_cancel()
    else:
        bury(ada)
    rows = store.rows("select future, rung from future_watch order by future")
    assert [tuple(row) for row in rows] == [("answer", 1), ("other", 0)]


def test_the_mirror_ends_with_what_it_watches(member, answer, until):
    before = threading.active_count()
    answer.add_done_callback(print)
    assert threading.active_count() == before + 1
    Future(member, "answer").set_result(1)
    until(lambda: threading.active_count() == before, "the thread ended")
    again = Future(member, "again")
    called = []
    again.add_done_callback(called.append)
    Future(member, "again").set_result(1)
    until(lambda: called, "a second mirror")


# Between processes.


def test_a_reader_wakes_when_another_process_sets_it(spawn, in_line, answer):
    ada = spawn("ada")
    ada.start("result")
    in_line("future")
    answer.set_result([1, {"a": None}])
    assert ada.result() == [1, {"a": None}]


def test_a_reader_waits_for_what_is_under_way(spawn, in_line, answer):
    answer.set_running_or_notify_cancel()
    ada = spawn("ada")
    ada.start("result")
    in_line("future")
    answer.set_result(1)
    assert ada.result() == 1


def test_every_reader_wakes_and_no_other(spawn, in_line, answer, member, waiters):
    ada, bob, carl = spawn("ada"), spawn("bob"), spawn("carl")
    ada.start("result")
    bob.start("exception")
    carl.start_running(read_other)
    in_line("future", 3)
    Future(member, "other").set_result(0)
    assert carl.result() == 0
    in_line("future", 2)
    answer.cancel()
    for process in (ada, bob):
        with pytest.raises(CancelledError):
            process.result()
    assert waiters() == []


def read_other(here):
    return Future(here.member, "other").result()


def test_a_reader_times_out_by_the_swarms_clock(spawn, in_line, clock, waiters):
    ada = spawn("ada")
    ada.start("result", timeout=5)
    in_line("future")
    clock.advance(5)
    with pytest.raises(TimeoutError):
        ada.result()
    assert waiters() == []


def test_an_infinite_timeout_waits_for_ever(spawn, in_line, store, answer):
    ada = spawn("ada")
    ada.start("result", timeout=math.inf)
    in_line("future")
    assert store.row("select until_at from waiter")["until_at"] is None
    answer.set_result(1)
    assert ada.result() == 1


def test_a_thread_that_waits_wakes_when_another_thread_of_its_object_sets_it(answer, in_line):
    got = []
    thread = threading.Thread(target=lambda: got.append(answer.result(30)))
    thread.start()
    in_line("future")
    answer.set_result("x")
    thread.join()
    assert got == ["x"]


def test_of_eight_setters_one_succeeds(processes, answer):
    people = [processes(str(n), ("prong.primitives.future", "Future", ("answer",), {})) for n in range(8)]
    for n, person in enumerate(people):
        person.start("set_result", n)
    won = []
    for n, person in enumerate(people):
        try:
            person.result()
        except InvalidStateError:
            continue
        won.append(n)
    assert won == [answer.result()]


def test_large_values_travel(answer, member, row):
    answer.set_result("x" * 400_000)
    assert len(row()[2]) < 200
    assert Future(member, "answer").result() == "x" * 400_000


def test_readers_get_what_json_makes_of_it_and_so_does_the_setter(answer, member):
    answer.set_result((1, 2))
    assert answer.result() == Future(member, "answer").result() == [1, 2]


@pytest.mark.parametrize("value", [{1, 2}, math.nan, object(), "\ud800"], ids=["set", "nan", "object", "surrogate"])
def test_what_json_cannot_hold_is_refused(answer, value):
    with pytest.raises(Invalid, match="the result of future 'answer'"):
        answer.set_result(value)
    assert not answer.done()


def test_it_pickles_as_its_name(tmp_path):
    with join_swarm(tmp_path / "swarm", "test") as swarm:
        mine = swarm.Future("answer")
        copy = pickle.loads(pickle.dumps(mine))
        mine.set_result(5)
        assert copy.result() == 5


def test_objects_of_one_name_are_equal(member, people):
    (ada,) = people("ada")
    assert Future(member, "a") == Future(ada, "a") != Future(ada, "b")
    assert len({Future(member, "a"), Future(ada, "a"), TaskFuture(member, 1), Future(member, "task 1")}) == 3
    assert Future(member, "a") != "a"


def test_a_forked_child_reads_and_sets(tmp_path):
    with join_swarm(tmp_path / "swarm", "test") as swarm:
        ours, theirs = swarm.Future("ours"), swarm.Future("theirs")
        ours.add_done_callback(print)
        child = os.fork()
        if child == 0:
            try:
                theirs.set_result(ours.result(30) + 1)
            finally:
                os._exit(0)
        ours.set_result(1)
        assert theirs.result(30) == 2
        os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["", "a\0b", "caf\udce9", "x" * 201, 7, None], ids=ascii)
def test_a_name_that_is_none_is_refused(member, name):
    with pytest.raises(Invalid, match="future name"):
        Future(member, name)


# Exceptions.


class Strange(Exception):
    """With a constructor of its own."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
        self.one = one


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"), OSError(2, "no"), StopIteration(3), SystemExit(4), ValueError(), Strange(1, 2),
        Deposed(3, 1, "why"), ExceptionGroup("g", [ValueError("v")]),
    ],
    ids=repr,
)  # fmt: skip
def test_an_exception_is_made_anew_where_its_type_is_known(error):
    made = remote.rebuilt(remote.described(error))
    if isinstance(error, ExceptionGroup):
        assert isinstance(made, RemoteError)
    else:
        assert (type(made), made.args, made.__dict__) == (type(error), error.args, error.__dict__)
    assert str(error) in str(made)


def test_arguments_that_are_no_json_become_what_the_exception_says():
    made = remote.rebuilt(remote.described(ValueError({1, 2})))
    assert (type(made), made.args) == (ValueError, ("{1, 2}",))
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")
    assert isinstance(remote.rebuilt(remote.described(error)), RemoteError)


def test_the_traceback_of_the_other_process_is_the_cause(answer, member):
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018  raises
    answer.set_exception(caught.value)
    cause = Future(member, "answer").exception().__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "1 / 0" in str(cause)


@pytest.mark.parametrize(
    "name", ["os:system", "antigravity:Error", "builtins:print", "builtins:int", "nothing", ":", "builtins:a.b"]
)
def test_a_description_makes_nothing_but_exceptions_and_imports_nothing(name, capsys):
    made = remote.rebuilt({"type": name, "args": ["echo no"], "text": "what it said"})
    assert isinstance(made, RemoteError)
    assert "what it said" in str(made)
    assert capsys.readouterr().out == ""


def test_a_constructor_of_the_readers_own_types_is_not_run():
    made = remote.rebuilt({"type": f"{Strange.__module__}:Strange", "args": [1], "fields": {"one": 5}, "text": ""})
    assert (type(made), made.args, made.one) == (Strange, (1,), 5)


def test_what_cannot_be_told_is_told_all_the_same():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    made = remote.rebuilt(remote.described(Silent()))
    assert isinstance(made, RemoteError)


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        ([1, "a", None, True, 1.5, {"a": []}], True), ((1,), False), ({1: 1}, False), (math.inf, False),
        ("\ud800", False), (b"", False), (type("I", (int,), {})(1), False),
    ],
    ids=repr,
)  # fmt: skip
def test_what_json_gives_back_the_very_same(value, exact):
    assert remote.is_exact(value) is exact


# Owners.


def test_the_death_of_its_owner_breaks_it_with_the_reason(spawn, bury, answer, row, in_line):
    ada, bob = spawn("ada"), spawn("bob")
    ada.run(promise)
    bob.start("result")
    in_line("future")
    ada.kill()
    assert bury(ada, reason="it was killed")
    with pytest.raises(BrokenFuture, match=r"ada \(agent \d+\) had promised it and is gone: it was killed") as caught:
        bob.result()
    assert caught.value.name == "answer"
    assert isinstance(answer.exception(), futures.BrokenExecutor)
    assert row()[:2] == ("broken", None)
    with pytest.raises(InvalidStateError):
        answer.set_result(1)


def promise(here):
    here.object.promise()


def test_a_running_future_breaks_too_and_what_is_set_does_not(spawn, bury, member, row):
    ada = spawn("ada")
    ada.do("set_running_or_notify_cancel")
    ada.run(set_all, 1, skip=None)
    bury(ada)
    assert row()[0] == "broken"
    assert Future(member, "0").result() == 0


def test_a_callback_hears_that_it_broke(spawn, bury, answer, until):
    called = []
    ada = spawn("ada")
    ada.run(promise)
    answer.add_done_callback(lambda future: called.append(type(future.exception())))
    bury(ada)
    until(lambda: called == [BrokenFuture], "the callback")


def test_what_is_promised_is_its_owners_to_set(people, member, row):
    (ada,) = people("ada")
    theirs = Future(ada, "answer").promise()
    mine = Future(member, "answer")
    for change in (
        lambda: mine.set_result(1), lambda: mine.set_exception(ValueError()), mine.promise,
        mine.set_running_or_notify_cancel,
    ):  # fmt: skip
        with pytest.raises(NotPromised, match=r"can be set by ada \(agent \d+\) alone"):
            change()
    assert row()[0] == "pending"
    theirs.promise()
    assert theirs.set_running_or_notify_cancel()
    with pytest.raises(NotPromised):
        mine.set_result(1)
    theirs.set_result(2)
    assert mine.result() == 2


def test_anybody_may_cancel_what_is_promised_but_not_begun(people, member, row):
    (ada,) = people("ada")
    Future(ada, "answer").promise()
    assert Future(member, "answer").cancel()
    assert row()[:2] == ("cancelled", None)


def test_a_member_that_leaves_breaks_what_it_promised(tmp_path):
    with join_swarm(tmp_path / "swarm", "test") as swarm:
        with join_swarm(tmp_path / "swarm", "ada") as ada:
            ada.Future("answer").promise()
        with pytest.raises(BrokenFuture, match="it left"):
            swarm.Future("answer").result()


def test_the_dead_set_nothing(spawn, bury, answer):
    ada = spawn("ada")
    bury(ada)
    for method, *arguments in [("set_result", 1), ("cancel",), ("set_running_or_notify_cancel",), ("result",)]:
        with pytest.raises(Deposed):
            ada.do(method, *arguments)
    assert not answer.done()


def test_a_dead_process_is_told_nothing_any_more(store, answer, bury, member, until):
    answer.add_done_callback(print)
    until(lambda: store.row("select 1 from future_watch"), "watched")
    bury(member)
    assert store.row("select 1 from future_watch") is None


# Atomic blocks.


def test_what_an_atomic_block_sets_is_undone_with_it(answer, member, row):
    called = []
    answer.add_done_callback(called.append)

    def fail():
        with member.atomic():
            answer.set_result(1)
            assert answer.result() == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (row(), answer.done(), called) == ((), False, [])
    answer.set_result(2)
    assert answer.result() == 2
    assert called == [answer]


def test_those_who_wait_hear_of_an_atomic_block_when_it_is_over(answer, member, until):
    called = []
    answer.add_done_callback(called.append)
    with member.atomic():
        answer.set_result(1)
        assert called == []
    until(lambda: called == [answer], "the callback")
    assert futures.wait([answer], timeout=0).done == {answer}


def test_to_wait_in_an_atomic_block_is_refused(answer, member):
    def wait():
        with member.atomic():
            answer.result()

    with pytest.raises(RuntimeError, match="would wait for future 'answer'"):
        wait()


# Death and interrupts.


@pytest.mark.parametrize(
    ("method", "arguments", "left"),
    [
        ("set_result", (5,), ("done", None, "5", None)),
        ("cancel", (), ("cancelled", None, None, None)),
        ("set_running_or_notify_cancel", (), ("running", "ada", None, None)),
        ("promise", (), ("pending", "ada", None, None)),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_killed_at_its_commit(spawn, row, waiters, method, arguments, left, when):
    ada, bob = spawn("ada"), spawn("bob")
    ada.die(1, when)
    (ada.start_running(promise) if method == "promise" else ada.start(method, *arguments)).gone()
    assert row() == (() if when == "before" else tuple(ada.agent if part == "ada" else part for part in left))
    if when == "before":
        bob.do("set_result", 1)
    assert waiters() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reader_killed_as_it_takes_its_place(spawn, bury, waiters, when):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("result").gone()
    assert [state for _, state in waiters()] == ([] if when == "before" else ["waiting"])
    bury(ada)
    assert waiters() == []


def test_an_interrupted_reader_leaves_no_row(spawn, in_line, waiters):
    ada = spawn("ada")
    ada.start("result")
    in_line("future")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []


def test_an_interrupt_at_any_line_of_a_wait_leaves_no_row(member, during, interrupt_at, waiters):
    for n in itertools.count(1):
        name = f"future {n}"
        future = Future(during(member, lambda name=name: Future(member, name).set_result(1)), name)
        interrupted = interrupt_at(n, future.result)
        assert waiters() == []
        if not interrupted:
            break
    assert n > 20


# Statistics, the log, old calls.


def test_statistics_tell_owner_and_waiters(answer, spawn, in_line, clock):
    assert answer.statistics() == future_module.FutureStatistics("answer", "pending", None, 0, None)
    answer.promise()
    spawn("ada").start("result")
    in_line("future")
    assert answer.statistics() == future_module.FutureStatistics("answer", "pending", "test", 1, None)
    answer.set_result(1)
    assert answer.statistics() == future_module.FutureStatistics("answer", "done", None, 0, clock.now())


def test_the_log_tells_of_every_change(answer, member, events, bury, people):
    answer.promise()
    answer.set_running_or_notify_cancel()
    answer.set_result(1)
    Future(member, "b").cancel()
    Future(member, "b").set_running_or_notify_cancel()
    Future(member, "c").set_exception(ValueError())
    (ada,) = people("ada")
    Future(ada, "d").promise()
    bury(ada)
    assert [(kind.removeprefix("future."), name) for kind, name in events("future")] == [
        ("promised", "answer"), ("running", "answer"), ("done", "answer"), ("cancelled", "b"), ("notified", "b"),
        ("failed", "c"), ("promised", "d"), ("broken", "d"),
    ]  # fmt: skip


# Tasks.


@pytest.fixture
def task(member):
    with member.transaction() as tx:
        made, _ = create_task(tx, Plan("count", "Count the files."))
    return made.id


@pytest.fixture
def end(member):
    def end(task, state, **how):
        with member.transaction() as tx:
            finish(tx, task, state, **how)

    return end


def test_a_task_is_a_future(member, task, end):
    view = TaskFuture(member, task)
    assert (view.running(), view.done()) == (False, False)
    with pytest.raises(TimeoutError):
        view.result(timeout=0)
    end(task, "done", result="seven")
    assert (view.result(), view.exception(), view.done()) == ("seven", None, True)
    assert view.cancel() is False


def test_a_failed_task_raises_why(member, task, end):
    end(task, "failed", error="no files")
    with pytest.raises(TaskFailed, match="no files"):
        TaskFuture(member, task).result()


def test_to_cancel_a_tasks_future_cancels_the_task(member, task, store):
    view = TaskFuture(member, task)
    assert view.cancel() is True
    assert view.cancelled()
    assert store.row("select state from task")["state"] == "cancelled"
    assert futures.wait([TaskFuture(member, task)], timeout=0).done == {view}


def test_a_tasks_future_is_set_by_its_agent_alone(member, task):
    view = TaskFuture(member, task)
    for change in (view.set_running_or_notify_cancel, lambda: view.set_result(1), lambda: view.set_exception(None)):
        with pytest.raises(NotPromised, match="the agent that works on it"):
            change()


def test_wait_hears_of_tasks(member, task, end, in_line):
    called = []
    view = TaskFuture(member, task)
    view.add_done_callback(lambda future: called.append(future.result()))
    thread = threading.Thread(target=lambda: called.append(TaskFuture(member, task).result(30)))
    thread.start()
    in_line("tasks")
    end(task, "done", result="x")
    thread.join()
    assert futures.wait([view], timeout=30).done == {view}
    assert "x" in called


def test_a_task_that_is_not_there(member):
    with pytest.raises(UnknownTask):
        TaskFuture(member, 99).done()
    with pytest.raises(Invalid):
        TaskFuture(member, "1")


# Against the standard library's own, step by step.


class Against(RuleBasedStateMachine):
    """One future, by two objects of two members, and the standard library's."""

    def __init__(self, store):
        super().__init__()
        self.names = f"model {id(self)} {os.urandom(4).hex()}"
        self.member = join(store, "ada")
        self.ours = [Future(self.member, self.names), Future(self.member, self.names)]
        self.theirs = futures.Future()

    def both(self, who, change):
        got = []
        for future in (self.ours[who], self.theirs):
            try:
                got.append(change(future))
            except Exception as error:  # noqa: BLE001  compared
                got.append(type(error))
        assert got[0] == got[1]

    @rule(who=st.integers(0, 1))
    def cancel(self, who):
        self.both(who, lambda future: future.cancel())

    @rule(who=st.integers(0, 1))
    def begin(self, who):
        self.both(who, lambda future: future.set_running_or_notify_cancel())

    @rule(who=st.integers(0, 1), value=st.integers())
    def set_result(self, who, value):
        self.both(who, lambda future: future.set_result(value))

    @rule(who=st.integers(0, 1))
    def set_exception(self, who):
        self.both(who, lambda future: future.set_exception(KeyError("a")))

    @rule(who=st.integers(0, 1), timeout=st.sampled_from([0, -1, 0.0]))
    def read(self, who, timeout):
        self.both(who, lambda future: future.result(timeout))
        self.both(who, lambda future: repr(future.exception(timeout)))

    @rule()
    def wait(self):
        assert len(futures.wait(self.ours[:1], timeout=0).done) == len(futures.wait([self.theirs], timeout=0).done)

    @invariant()
    def the_same(self):
        for who in (0, 1):
            self.both(who, lambda future: (future.done(), future.running(), future.cancelled()))


def test_it_does_what_the_standard_librarys_does(tmp_path, caplog):
    caplog.set_level("CRITICAL", logger="concurrent.futures")
    store = Store(tmp_path / "model")
    run_state_machine_as_test(
        lambda: Against(store), settings=settings(max_examples=25, stateful_step_count=15, deadline=None)
    )
    store.close()
