"""The queue: highest priority first, first in first out; nothing is lost with its reader, and nothing read twice."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import heapq
import itertools
import math
import queue
import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prong.primitives import MessageQueue, Plan, create_task, holdings
from prong.primitives.queue_reader import TAKEN_AT_ONCE
from prong.primitives.task import finish
from prong.primitives.values import VALUE_BYTES
from prong.state import Deposed, Invalid, Member, Membership, join
from prong.state.member import enlist


def put_many(here, numbers):
    for number in numbers:
        here.object.put(number, key=f"message {number}")


def read_until(here, path, last):
    """Read, note what was read in a plain file of our own, say that it is done; until there is no more to come."""
    with path.open("a") as file:
        while (message := here.object.take()[0]).value != last:
            file.write(f"{message.value}\n")
            file.flush()
            here.object.task_done()
    here.object.task_done()


@pytest.fixture
def mail(member):
    return MessageQueue(member, "mail")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives", "MessageQueue", ("mail",), {}))


@pytest.fixture
def counts(mail):
    """How many are queued, delivered, and how many readers wait."""

    def counts():
        found = mail.statistics()
        return found.queued, found.delivered, found.waiting

    return counts


@pytest.fixture
def worker(store):
    """An agent of a task of its own."""

    def worker(task=None):
        with store.transaction(None) as tx:
            if task is None:
                task = create_task(tx, Plan("work", "do it"))[0].id
            agent = enlist(tx, f"task {task}", pid=None, task=task, state="running", lease_s=None)
        return Membership(store, Member(agent, 1, task))

    return worker


def values(messages):
    return [message.value for message in messages]


# Order.


def test_messages_come_highest_priority_first_and_then_in_the_order_they_were_put(mail):
    for value, priority in (("low", -1), ("first", 0), ("high", 5), ("second", 0), ("high too", 5)):
        mail.put(value, priority=priority)
    assert [mail.get() for _ in range(5)] == ["high", "high too", "first", "second", "low"]


def test_a_message_tells_who_sent_it_and_how_urgent_it_is(mail, worker):
    number = mail.put({"files": ["a", None, 1.5, True]}, priority=3)
    (message,) = mail.take()
    assert (message.id, message.value, message.sender, message.priority) == (
        number, {"files": ["a", None, 1.5, True]}, "agent 1", 3
    )  # fmt: skip
    bob = worker()
    MessageQueue(bob, "mail").put(None)
    assert mail.take()[0].sender == f"task {bob.me.task}"


def test_queues_of_other_names_are_other_queues(mail, member):
    other = MessageQueue(member, "other")
    mail.put(1)
    assert other.empty()
    with pytest.raises(queue.Empty):
        other.get(block=False)
    with pytest.raises(ValueError, match="too many"):
        other.task_done()
    assert mail.get() == 1
    with pytest.raises(ValueError, match="too many"):
        other.task_done()


def test_take_returns_what_there_is_up_to_its_count(mail):
    for value in range(5):
        mail.put(value)
    assert values(mail.take(count=3)) == [0, 1, 2]
    assert values(mail.take(count=3)) == [3, 4]
    assert mail.take(count=3, timeout=0) == []


def test_an_empty_queue_is_empty(mail):
    assert (mail.qsize(), mail.empty()) == (0, True)
    for how in ({"block": False}, {"timeout": 0}):
        with pytest.raises(queue.Empty):
            mail.get(**how)


# Waiting.


def test_readers_who_wait_are_served_first_come_first_served(mail, spawn, in_line):
    crowd = [spawn(name) for name in ("ada", "bob", "eve")]
    for n, process in enumerate(crowd, 1):
        process.start("get")
        in_line("queue", n)
    for n, process in enumerate(crowd):
        mail.put(n)
        assert process.result() == n
        assert all(other.busy() for other in crowd[n + 1 :])


def test_a_put_delivers_to_the_first_reader_in_its_own_transaction(mail, spawn, in_line, counts, waiters):
    ada = spawn("ada")
    ada.start("take", count=2)
    in_line("queue")
    ada.stop()
    mail.put("one")
    assert waiters() == []
    assert counts() == (0, 1, 0)
    mail.put("two")
    assert counts() == (1, 1, 0)
    ada.go_on()
    assert values(ada.result()) == ["one"]
    assert waiters() == []


def test_a_reader_gives_up_when_its_time_is_up_and_takes_nothing(mail, spawn, in_line, clock, counts):
    ada = spawn("ada")
    ada.start("get", timeout=60)
    in_line("queue")
    clock.advance(60)
    with pytest.raises(queue.Empty):
        ada.result()
    mail.put("late")
    assert counts() == (1, 0, 0)


def test_a_message_passes_over_a_reader_whose_time_is_up(mail, spawn, in_line, clock):
    ada, bob = spawn("ada"), spawn("bob")
    ada.start("take", timeout=10)
    in_line("queue", 1)
    ada.stop()
    bob.start("take")
    in_line("queue", 2)
    clock.advance(10)
    mail.put("hello")
    assert values(bob.result()) == ["hello"]
    ada.go_on()
    assert ada.result() == []


# Done.


def test_task_done_ends_the_messages_in_the_order_in_which_they_were_taken(mail, clock, store):
    """A message of higher priority that came and was taken later is not the one that is done first."""
    mail.put("first taken")
    mail.get()
    clock.advance(1)
    low = mail.put("taken last", priority=-5)
    high = mail.put("taken before it", priority=5)
    mail.take(count=2)
    left = []
    for _ in range(3):
        mail.task_done()
        left.append([row["id"] for row in store.rows("select id from queue_message order by id")])
    assert left == [[low, high], [low], []]
    with pytest.raises(ValueError, match="too many"):
        mail.task_done()


def test_task_done_ends_only_ones_own(mail, people):
    (ada,) = people("ada")
    mail.put("mine")
    mail.get()
    with pytest.raises(ValueError, match="too many"):
        MessageQueue(ada, "mail").task_done()


def test_the_number_of_a_message_is_never_given_again(mail):
    first = mail.put("a")
    mail.get()
    mail.task_done()
    assert mail.put("b") > first


# Names for calls that may be repeated.


def test_a_put_that_is_repeated_puts_once_even_when_its_message_is_long_gone(mail, counts):
    number = mail.put("hello", key="call 1")
    assert mail.put("hello", key="call 1") == number
    assert counts() == (1, 0, 0)
    mail.get()
    mail.task_done()
    assert mail.put("hello", key="call 1") == number
    assert counts() == (0, 0, 0)


def test_the_same_name_in_another_queue_is_another_put(mail, member):
    mail.put("hello", key="call 1")
    MessageQueue(member, "other").put("you", key="call 1")
    assert MessageQueue(member, "other").get() == "you"


@pytest.mark.parametrize(("when", "queued"), [("before", 0), ("after", 1)])
def test_a_put_killed_at_its_commit_and_repeated_puts_once(mail, spawn, counts, when, queued):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("put", "hello", key="call 1").gone()
    assert counts() == (queued, 0, 0)
    mail.put("hello", key="call 1")
    assert counts() == (1, 0, 0)


def test_a_named_take_that_is_repeated_returns_the_same_messages_in_the_same_order(mail, worker, bury):
    for n in range(4):
        mail.put(n, priority=n % 2)
    bob = worker()
    first = MessageQueue(bob, "mail").take(count=3, delivery="call 1")
    assert values(first) == [1, 3, 0]
    bury(bob, task=bob.me.task)
    again = MessageQueue(worker(bob.me.task), "mail")
    assert again.take(count=3, delivery="call 1") == first
    assert values(again.take(count=3, delivery="call 2")) == [2]
    for _ in range(4):
        again.task_done()
    assert mail.statistics().delivered == 0


def test_the_same_name_in_another_queue_is_another_take(mail, member):
    mail.put("mine")
    MessageQueue(member, "other").put("other")
    assert values(mail.take(delivery="call 1")) == ["mine"]
    assert values(MessageQueue(member, "other").take(delivery="call 1")) == ["other"]


@pytest.mark.parametrize(("when", "left"), [("before", (0, 0, 0)), ("after", (0, 0, 1))])
def test_a_take_killed_as_it_begins_to_wait_leaves_nothing(spawn, bury, counts, waiters, when, left):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("take").gone()
    assert counts() == left
    bury(ada)
    assert waiters() == []
    assert counts() == (0, 0, 0)


def test_a_message_handed_to_a_reader_that_is_killed_before_it_wakes_comes_back(mail, spawn, in_line, bury, counts):
    ada = spawn("ada")
    ada.start("take")
    in_line("queue")
    ada.stop()
    mail.put("hello")
    ada.kill()
    assert counts() == (0, 1, 0)
    bury(ada)
    assert mail.get() == "hello"


@pytest.mark.parametrize(("when", "left"), [("before", (1, 0, 0)), ("after", (0, 1, 0))])
def test_a_take_killed_at_its_commit(mail, spawn, counts, bury, when, left):
    mail.put("hello")
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("take").gone()
    assert counts() == left
    bury(ada)
    assert counts() == (1, 0, 0)


@pytest.mark.parametrize(("when", "left"), [("before", (0, 1, 0)), ("after", (0, 0, 0))])
def test_task_done_killed_at_its_commit(mail, spawn, counts, when, left):
    mail.put("hello")
    ada = spawn("ada")
    ada.do("get")
    ada.die(1, when)
    ada.start("task_done").gone()
    assert counts() == left


# Death.


def test_what_a_dead_reader_had_not_finished_goes_back_to_its_place(mail, spawn, bury, events):
    ada = spawn("ada")
    for n in range(4):
        mail.put(n)
    assert [ada.do("get"), ada.do("get"), ada.do("get")] == [0, 1, 2]
    ada.do("task_done")
    bury(ada)
    assert values(mail.take(count=9)) == [1, 2, 3]
    assert [kind for kind, _ in events("queue.requeued")] == ["queue.requeued"] * 2


@pytest.mark.parametrize("task", [None, 1])
def test_a_message_that_went_back_bears_no_trace_of_its_reader(mail, worker, bury, store, task):
    bob = worker()
    if task is None:
        bob = Membership(store, Member(bob.me.agent, 1))
    mail.put("hello")
    MessageQueue(bob, "mail").take(delivery="call 1")
    bury(bob, task=task)
    if task is not None:
        with store.transaction(None) as tx:
            finish(tx, task, "failed")
    row = store.row("select holder, holder_task, delivery, delivered_at, deliveries from queue_message")
    assert tuple(row) == (None, None, None, None, 1)


def test_what_a_dead_reader_had_goes_at_once_to_who_waits(mail, spawn, in_line, bury):
    ada, bob = spawn("ada"), spawn("bob")
    mail.put("hello")
    ada.do("get")
    bob.start("get")
    in_line("queue")
    bury(ada)
    assert bob.result() == "hello"


def test_a_message_that_a_dead_reader_never_saw_goes_to_the_next(mail, spawn, in_line, bury):
    ada, bob = spawn("ada"), spawn("bob")
    for n, process in enumerate((ada, bob), 1):
        process.start("get")
        in_line("queue", n)
    ada.stop()
    mail.put("hello")
    ada.kill()
    bury(ada)
    assert bob.result() == "hello"


def test_a_named_delivery_to_a_task_outlives_its_agent_and_an_unnamed_one_does_not(mail, worker, bury, counts):
    bob = worker()
    for value in ("named", "unnamed"):
        mail.put(value)
    MessageQueue(bob, "mail").take(delivery="call 1")
    MessageQueue(bob, "mail").take()
    bury(bob, task=bob.me.task)
    assert counts() == (1, 1, 0)
    assert mail.get() == "unnamed"
    again = worker(bob.me.task)
    assert values(MessageQueue(again, "mail").take(delivery="call 1")) == ["named"]


def test_an_unnamed_delivery_to_a_waiting_task_that_dies_unread_is_not_lost(mail, worker, during, bury, store):
    """The message is granted, the agent dies before it looks, and another agent brings the task to its end."""
    bob = worker()

    def granted_and_dead():
        mail.put("hello")
        bury(bob, task=bob.me.task)

    with pytest.raises(Deposed):
        MessageQueue(during(bob, granted_and_dead), "mail").take()
    with store.transaction(None) as tx:
        finish(tx, bob.me.task, "done")
    assert mail.get(timeout=0) == "hello"


@pytest.mark.parametrize(("state", "left"), [("done", (0, 1, 0)), ("failed", (1, 1, 0)), ("cancelled", (1, 1, 0))])
def test_what_a_task_took_ends_with_the_task(mail, worker, store, counts, events, state, left):
    bob, eve = worker(), worker()
    for who in (bob, eve):
        mail.put(who.me.task)
        MessageQueue(who, "mail").take(delivery=f"call of {who.me.task}")
    with store.transaction(None) as tx:
        finish(tx, bob.me.task, state)
    assert counts() == left
    assert ("queue.done" if state == "done" else "queue.requeued", "mail") in events("queue")


def test_a_queue_loses_nothing_and_repeats_nothing_while_readers_are_killed(mail, spawn, bury, store, until, tmp_path):
    """Goal: each message is dealt with, and twice only where its reader was killed with it.  Method: four write, four
    read, and again and again one of the readers is killed, declared dead and replaced."""
    total, kills = 240, 8

    def reader(n):
        return spawn(f"reader {n}").start_running(read_until, tmp_path / f"read {n}", "end")

    def done():
        return store.row("select count(*) as n from event where kind = 'queue.done'")["n"]

    readers = [reader(n) for n in range(4)]
    writers = [spawn(f"writer {n}") for n in range(4)]
    for n, writer in enumerate(writers):
        writer.start_running(put_many, list(range(n, total, 4)))
    for n in range(kills):
        until(lambda least=20 * (n + 1): done() >= least, "readers that go on")
        bury(readers.pop(random.Random(n).randrange(4)).kill())
        readers.append(reader(4 + n))
    for writer in writers:
        writer.result()
    for _ in readers:
        mail.put("end", priority=-1)
    for one in readers:
        one.result()
    read = Counter(int(line) for file in tmp_path.glob("read *") for line in file.read_text().split())
    assert set(read) == set(range(total))
    assert total <= read.total() <= total + kills
    found = mail.statistics()
    assert (found.queued, found.delivered, found.waiting, found.dead) == (0, 0, 0, 0)


# Interrupts.


def test_an_interrupted_wait_leaves_no_row_and_takes_no_message(mail, spawn, in_line, waiters, counts):
    ada = spawn("ada")
    ada.start("get")
    in_line("queue")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []
    mail.put("hello")
    assert counts() == (1, 0, 0)


def test_messages_that_come_just_before_an_interrupt_go_back(member, people, during, interrupt, counts):
    (ada,) = people("ada")
    put = MessageQueue(ada, "mail").put
    with pytest.raises(KeyboardInterrupt):
        MessageQueue(during(member, lambda: put("hello"), interrupt), "mail").take()
    assert counts() == (1, 0, 0)
    assert MessageQueue(ada, "mail").get() == "hello"


def test_a_named_delivery_that_comes_just_before_an_interrupt_waits_for_its_name(member, mail, during, interrupt):
    with pytest.raises(KeyboardInterrupt):
        MessageQueue(during(member, lambda: mail.put("hello"), interrupt), "mail").take(delivery="call 1")
    assert mail.take(timeout=0) == []
    assert values(mail.take(delivery="call 1")) == ["hello"]


def test_an_interrupt_gives_back_nothing_that_other_calls_have(member, mail, during, interrupt, counts):
    mail.put("before")
    mail.take()
    with pytest.raises(KeyboardInterrupt):
        MessageQueue(during(member, lambda: mail.put("hello"), interrupt), "mail").take()
    assert counts() == (1, 1, 0)


def test_an_interrupt_at_any_line_of_the_wait_leaves_no_row_and_takes_no_message(
    member, people, during, interrupt_at, waiters
):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = MessageQueue(ada, f"queue {n}")
        mine = MessageQueue(during(member, lambda put=other.put: put("hello")), f"queue {n}")
        interrupted = interrupt_at(n, mine.take)
        assert waiters() == []
        if not interrupted:
            break
        assert other.statistics().delivered == 0
    assert n > 50


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("acknowledge", ["at_task_done", "at_get"])
def test_an_interrupt_right_behind_a_commit_of_take_leaves_no_row_and_takes_no_message(
    mail, processes, waiters, counts, there, acknowledge
):
    """Its process goes on, so nobody else would ever put back what the call had got when it was interrupted."""
    ada = processes("ada", ("prong.primitives", "MessageQueue", ("mail",), {"acknowledge": acknowledge}))
    if there:
        mail.put("hello")
    ada.die(1, "interrupted")
    ada.start("take")
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == []
    assert counts() == (int(there), 0, 0)


def test_an_interrupt_at_any_line_of_a_take_at_once_takes_no_message(member, people, interrupt_at):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = MessageQueue(ada, f"queue {n}")
        other.put("hello")
        if not interrupt_at(n, MessageQueue(member, f"queue {n}").take):
            break
        assert (other.statistics().queued, other.statistics().delivered) == (1, 0)
    assert n > 20


# Names, bounds, words.


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "a\0b", [], {"a": [{"b": None}]}, "😀" * 100], ids=ascii)
def test_a_message_is_what_json_holds(mail, value):
    mail.put(value)
    assert mail.get() == value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "caf\udce9", b"bytes", {1, 2}, pytest.param(object(), id="object")], ids=ascii
)
def test_a_message_that_json_does_not_hold_is_refused(mail, value):
    with pytest.raises(Invalid, match="message cannot be stored"):
        mail.put(value)
    assert mail.empty()


def test_a_message_over_the_bound_of_a_row_becomes_an_artifact(mail, store):
    mail.put("x" * VALUE_BYTES)
    (row,) = store.rows("select body, (select data from event where seq = queue_message.id) as told from queue_message")
    assert (len(row["body"]) < 100, len(row["told"]) < 300) == (True, True)
    assert mail.get() == "x" * VALUE_BYTES


@pytest.mark.parametrize("priority", [2**53 + 1, -(2**60), 10**30, 1.5, "1", None, True])
def test_a_priority_that_is_none_is_refused(mail, priority):
    with pytest.raises(Invalid, match="priority"):
        mail.put(1, priority=priority)
    assert mail.empty()


@pytest.mark.parametrize(
    "how",
    [{"count": 0}, {"count": TAKEN_AT_ONCE + 1}, {"count": 1.5}, {"timeout": -1}, {"timeout": math.nan},
     {"delivery": ""}, {"delivery": "x" * 201}, {"delivery": 7}],
)  # fmt: skip
def test_a_take_that_cannot_be_meant_is_refused(mail, how, counts):
    mail.put("hello")
    with pytest.raises(Invalid):
        mail.take(**how)
    assert counts() == (1, 0, 0)


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * 201, 7], ids=ascii)
def test_a_name_of_a_put_that_is_none_is_refused(mail, key):
    with pytest.raises(Invalid, match="name of a change"):
        mail.put(1, key=key)
    assert mail.empty()


class Mail(RuleBasedStateMachine):
    """A queue with three readers against a heap and what each reader has."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        name = f"queue {store.row('select count(*) as n from event')['n']}"
        # With fewer attempts a message that many readers die of becomes a dead letter, which this model does not know.
        self.queues = [MessageQueue(join(store, f"reader {n}"), name, attempts=1_000) for n in range(3)]
        self.heap, self.taken, self.named, self.keys = [], {0: [], 1: [], 2: []}, {}, {}

    @rule(priority=st.integers(-2, 2), value=st.integers(), key=st.none() | st.sampled_from("abcdef"))
    def put(self, priority, value, key):
        number = self.queues[0].put(value, priority=priority, key=key)
        if key in self.keys:
            assert number == self.keys[key]
            return
        heapq.heappush(self.heap, (-priority, number, value))
        if key is not None:
            self.keys[key] = number

    @rule(reader=st.integers(0, 2), count=st.integers(1, 4), call=st.none() | st.integers(0, 5))
    def take(self, reader, count, call):
        call = None if call is None else f"{reader} {call}"
        messages = self.queues[reader].take(count=count, timeout=0, delivery=call)
        found = [(-message.priority, message.id, message.value) for message in messages]
        if self.named.get(call):
            assert found == self.named[call]
            return
        expected = [heapq.heappop(self.heap) for _ in range(min(count, len(self.heap)))]
        assert found == expected
        self.taken[reader] += expected
        if call is not None:
            self.named[call] = list(expected)

    @rule(reader=st.integers(0, 2))
    def task_done(self, reader):
        if not self.taken[reader]:
            with pytest.raises(ValueError, match="too many"):
                self.queues[reader].task_done()
            return
        self.queues[reader].task_done()
        left = {row["id"] for row in self.store.rows("select id from queue_message")}
        (ended,) = [one for one in self.taken[reader] if one[1] not in left]
        self.forget(reader, ended)

    @rule(reader=st.integers(0, 2))
    def die(self, reader):
        queue = self.queues[reader]
        with self.store.transaction(None) as tx:
            holdings.bury(tx, queue._member.me.agent, state="dead", reason="it died", task=None)
        self.queues[reader] = MessageQueue(join(self.store, f"reader {reader}"), queue.name, attempts=1_000)
        for message in list(self.taken[reader]):
            heapq.heappush(self.heap, message)
            self.forget(reader, message)

    def forget(self, reader, message):
        self.taken[reader].remove(message)
        for messages in self.named.values():
            if message in messages:
                messages.remove(message)

    @invariant()
    def statistics_agree(self):
        found = self.queues[0].statistics()
        assert (found.queued, found.delivered) == (len(self.heap), sum(map(len, self.taken.values())))


def test_a_queue_agrees_with_its_model(store):
    run_state_machine_as_test(
        lambda: Mail(store), settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )
