"""Deliveries: leases and their fences, dead letters, room for writers, and what interrupts and kills leave of them."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import os
import queue
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from prong.primitives import MessageQueue, Plan, create_task, holdings
from prong.primitives.artifacts import ArtifactLost
from prong.primitives.errors import NotDelivered
from prong.primitives.joined import join as join_swarm
from prong.state import Member, Membership, join
from prong.state.member import enlist


@pytest.fixture
def mail(member):
    return MessageQueue(member, "mail", attempts=3, lease_s=60)


@pytest.fixture
def narrow(member):
    return MessageQueue(member, "mail", 1)


@pytest.fixture
def spawn(processes):
    return lambda name, **options: processes(name, ("prong.primitives", "MessageQueue", ("mail",), options))


@pytest.fixture
def expire(store):
    """One round of the watch."""

    def expire():
        with store.transaction(None) as tx:
            holdings.expire(tx)

    return expire


@pytest.fixture
def counts(mail):
    def counts():
        found = mail.statistics()
        return found.queued, found.delivered, found.dead

    return counts


# Leases.


def test_a_delivery_comes_back_when_its_readers_heart_has_stopped_for_the_lease(mail, people, clock, expire, counts):
    (ada,) = people("ada")
    mail.put("hello")
    late = MessageQueue(ada, "mail")
    (message,) = late.take()
    clock.advance(59.9)
    expire()
    assert counts() == (0, 1, 0)
    clock.advance(0.2)
    expire()
    assert counts() == (1, 0, 0)
    (again,) = mail.take()
    assert (again.id, again.deliveries, message.deliveries) == (message.id, 2, 1)


def test_a_heartbeat_renews_all_deliveries(mail, people, clock, expire, counts):
    (ada,) = people("ada")
    mail.put_many([1, 2])
    MessageQueue(ada, "mail").take(count=2)
    for _ in range(3):
        clock.advance(40)
        with ada.transaction() as tx:
            holdings.renew(tx)
            assert holdings.shortest_lease(tx) == 60
        expire()
    assert counts() == (0, 2, 0)
    clock.advance(60)
    expire()
    assert counts() == (2, 0, 0)
    with ada.transaction() as tx:
        assert holdings.shortest_lease(tx) is None


def test_a_late_reader_is_refused_under_its_old_fence(mail, people, clock, expire, counts):
    (ada,) = people("ada")
    late = MessageQueue(ada, "mail")
    mail.put_many(["a", "b"])
    message, other = late.take(count=2)
    clock.advance(61)
    expire()
    with pytest.raises(NotDelivered, match="queued again"):
        late.done(message)
    mail.take(count=2)
    for refused in (lambda: late.done(message), lambda: late.fail(message, "no"), late.task_done):
        with pytest.raises(NotDelivered, match="delivered anew, to test"):
            refused()
    with pytest.raises(NotDelivered):
        late.task_done()
    with pytest.raises(ValueError, match="too many"):
        late.task_done()
    assert counts() == (0, 2, 0)
    mail.task_done()
    with pytest.raises(NotDelivered, match="it is done"):
        late.done(message)
    with pytest.raises(NotDelivered, match="delivered anew"):
        late.done(other)


def test_done_ends_all_or_none(mail, counts):
    mail.put_many([1, 2, 3])
    one, two, three = mail.take(count=3)
    mail.done(two)
    with pytest.raises(NotDelivered):
        mail.done(one, two, three)
    assert counts() == (0, 2, 0)
    mail.done(one, three)
    with pytest.raises(ValueError, match="too many"):
        mail.task_done()


def test_the_old_delivery_is_refused_even_where_the_same_reader_has_the_new_one(mail, clock, expire):
    mail.put("hello")
    (old,) = mail.take()
    clock.advance(61)
    expire()
    (new,) = mail.take()
    with pytest.raises(NotDelivered, match="delivered anew"):
        mail.done(old)
    mail.done(new)


def test_a_delivery_lasts_its_own_lease_after_the_later_of_itself_and_the_heartbeat(
    mail, member, clock, expire, counts
):
    MessageQueue(member, "hasty", lease_s=10).put("other")
    mail.put("hello")
    clock.advance(100)
    mail.take()
    expire()
    assert counts() == (0, 1, 0)
    clock.advance(50)
    with member.transaction() as tx:
        holdings.renew(tx)
    clock.advance(15)
    expire()
    assert counts() == (0, 1, 0)


def test_a_named_delivery_to_a_task_has_no_lease(mail, store, clock, expire, counts):
    with store.transaction(None) as tx:
        task = create_task(tx, Plan("work", "do it"))[0].id
        agent = enlist(tx, "worker", pid=None, task=task, state="running", lease_s=None)
    mail.put("hello")
    MessageQueue(Membership(store, Member(agent, 1, task)), "mail").take(delivery="call 1")
    clock.advance(1000)
    expire()
    assert counts() == (0, 1, 0)


def test_a_delivery_that_nobody_saw_is_not_counted(mail, people, during, interrupt):
    (ada,) = people("ada")
    put = MessageQueue(ada, "mail").put
    with pytest.raises(KeyboardInterrupt):
        MessageQueue(during(mail._member, lambda: put("hello"), interrupt), "mail").take()
    assert mail.take()[0].deliveries == 1


# Dead letters.


def test_a_message_that_failed_too_often_is_a_dead_letter_and_counts_as_done(mail, spawn, in_line, events):
    number = mail.put("poison")
    joiner = spawn("joiner")
    joiner.start("join")
    in_line("joined")
    ends = [mail.fail(mail.take()[0], f"attempt {n}") for n in range(3)]
    assert ends == [False, False, True]
    assert joiner.result() is None
    (letter,) = mail.dead_letters()
    assert (letter.id, letter.value, letter.sender, letter.deliveries, letter.reason) == (
        number, "poison", "agent 1", 3, "attempt 2"
    )  # fmt: skip
    assert mail.empty()
    assert [kind for kind, _ in events("queue.dead")] == ["queue.dead"]


def test_a_dead_letter_can_be_revived_with_all_its_attempts_or_dropped(mail, counts):
    number = mail.put("poison")
    for _ in range(3):
        mail.fail(mail.take()[0], "no")
    assert (mail.revive(number + 1), mail.revive(number), mail.revive(number), mail.drop(number)) == (
        False, True, False, False
    )  # fmt: skip
    assert [mail.fail(mail.take()[0], "no") for _ in range(3)] == [False, False, True]
    other = MessageQueue(mail._member, "other")
    assert (other.drop(number), mail.drop(number), mail.drop(number)) == (False, True, False)
    assert counts() == (0, 0, 0)


def test_death_and_a_lease_that_ran_out_count_as_failures_and_leaving_does_not(
    mail, store, clock, expire, bury, counts
):
    mail.put("hello")

    def take(name):
        reader = join(store, name)
        assert MessageQueue(reader, "mail").get(timeout=0) == "hello"
        return reader

    for n in range(5):
        leaver = take(f"leaver {n}").me.agent
        with store.transaction(None) as tx:
            holdings.bury(tx, leaver, state="ended", reason="it left", task=None)
    bury(take("dead"))
    take("stopped")
    clock.advance(61)
    expire()
    assert counts() == (1, 0, 0)
    bury(take("dead too"))
    assert counts() == (0, 0, 1)
    assert mail.dead_letters()[0].reason == "killed"


def test_a_revived_message_goes_at_once_to_who_waits(mail, spawn, in_line):
    number = mail.put("hello")
    for _ in range(3):
        mail.fail(mail.take()[0], "no")
    ada = spawn("ada")
    ada.start("get")
    in_line("queue")
    mail.revive(number)
    assert ada.result() == "hello"


# What is acknowledged at once.


def test_what_is_acknowledged_at_get_is_done_and_never_comes_back(member, people, bury):
    (ada,) = people("ada")
    mail = MessageQueue(ada, "mail", acknowledge="at_get")
    mail.put_many([1, 2])
    assert [mail.get(), mail.get()] == [1, 2]
    mail.join()
    with pytest.raises(ValueError, match="too many"):
        mail.task_done()
    bury(ada)
    assert MessageQueue(member, "mail").empty()


def test_what_is_acknowledged_at_get_is_not_lost_with_a_reader_that_dies_before_it_has_it(
    mail, spawn, in_line, bury, counts
):
    ada, bob = spawn("ada", acknowledge="at_get"), spawn("bob", acknowledge="at_get")
    ada.start("get")
    in_line("queue")
    ada.stop()
    mail.put("hello")
    assert counts() == (0, 0, 0)
    ada.kill()
    bury(ada)
    assert counts() == (1, 0, 0)
    bob.start("get")
    assert bob.result() == "hello"
    assert counts() == (0, 0, 0)


def test_what_a_reader_has_and_acknowledged_at_get_does_not_come_back_when_it_leaves(tmp_path):
    with join_swarm(tmp_path / "work.db", "test") as swarm:
        with ThreadPoolExecutor() as threads, join_swarm(tmp_path / "work.db", "ada") as ada:
            got = threads.submit(ada.MessageQueue("mail", acknowledge="at_get").get, timeout=10)
            while not swarm.MessageQueue("mail").statistics().waiting:
                pass
            swarm.MessageQueue("mail").put("hello")
            assert got.result() == "hello"
        assert swarm.MessageQueue("mail").empty()


def test_what_a_reader_waited_for_and_acknowledged_at_get_does_not_come_back_when_it_dies_later(tmp_path, until):
    """Goal: done is done, also for a reader that does nothing but work on it.  Method: its lock tells of its burial."""
    with join_swarm(tmp_path / "work.db", "test") as swarm:
        mail = swarm.MessageQueue("mail")
        pid = os.fork()
        if pid == 0:
            try:
                swarm.Lock("alive").acquire()
                swarm.MessageQueue("mail", acknowledge="at_get").get()
                signal.pause()
            finally:
                os._exit(1)  # nothing of a child goes on as its parent
        until(lambda: mail.statistics().waiting, "the reader waits")
        mail.put("hello")
        until(lambda: swarm.store.row("select 1 from waiter") is None, "its wait is swept")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert swarm.Lock("alive").acquire(timeout=30)
        assert mail.empty()


@pytest.mark.parametrize(("n", "when", "left"), [(1, "before", 1), (1, "after", 0)])
def test_a_get_that_is_acknowledged_at_once_and_killed_at_its_commit(mail, spawn, bury, counts, n, when, left):
    mail.put("hello")
    ada = spawn("ada", acknowledge="at_get")
    ada.die(n, when)
    ada.start("get").gone()
    bury(ada)
    assert counts() == (left, 0, 0)


def test_an_interrupt_at_any_line_of_a_get_that_is_acknowledged_at_once_loses_no_message(member, people, interrupt_at):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = MessageQueue(ada, f"queue {n}")
        number = other.put("hello")
        if not interrupt_at(n, MessageQueue(member, f"queue {n}", acknowledge="at_get").take):
            break
        (message,) = other.take(timeout=0)
        assert (message.id, message.value) == (number, "hello")
    assert n > 20


def test_an_interrupt_at_any_line_of_a_wait_that_is_acknowledged_at_once_loses_no_message(
    member, people, during, interrupt_at, waiters
):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = MessageQueue(ada, f"queue {n}")
        mine = MessageQueue(during(member, lambda put=other.put: put("hello")), f"queue {n}", acknowledge="at_get")
        interrupted = interrupt_at(n, mine.take)
        assert waiters() == []
        if not interrupted:
            break
        found = other.statistics()
        put = member.store.row("select 1 from event where kind = 'queue.put' and object = :name", name=other.name)
        assert (found.queued, found.delivered) == (1 if put else 0, 0)
    assert n > 50


# One after another.


def test_each_ends_a_message_as_it_takes_the_next(mail, counts):
    mail.put_many("abc")
    seen = [(value, *counts()) for value in mail.each(timeout=0)]
    assert seen == [("a", 2, 1, 0), ("b", 1, 1, 0), ("c", 0, 1, 0)]
    assert counts() == (0, 0, 0)


def test_who_leaves_the_loop_gives_the_message_in_hand_back_unless_it_is_done(mail, counts):
    mail.put_many("ab")
    for _ in mail.each():
        break
    assert counts() == (2, 0, 0)
    for _ in mail.each():
        mail.task_done()
        break
    assert counts() == (1, 0, 0)
    mail.shutdown()
    assert list(mail.each()) == ["b"]
    assert counts() == (0, 0, 0)


@pytest.mark.parametrize(
    ("error", "left"),
    [(ZeroDivisionError("too small"), (1, 0, 1)), (KeyboardInterrupt(), (2, 0, 0)), (None, (2, 0, 0))],
)
def test_a_loop_in_a_with_block_that_an_exception_ends_is_a_failed_attempt(member, error, left):
    mail = MessageQueue(member, "mail", attempts=1)
    mail.put_many("ab")

    def read():
        with mail.each() as values:
            for _ in values:
                if error is not None:
                    raise error
                break

    with suppress(ZeroDivisionError, KeyboardInterrupt):
        read()
    found = mail.statistics()
    assert (found.queued, found.delivered, found.dead) == left
    reasons = [letter.reason for letter in mail.dead_letters()]
    assert reasons == ["its reader's loop ended with ZeroDivisionError: too small"][: left[2]]


def test_a_plain_loop_that_an_exception_ends_is_no_attempt_and_is_over(mail, counts):
    mail.put_many("ab")
    values = mail.each()
    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in values]
    values.close()
    assert counts() == (2, 0, 0)
    assert list(values) == []


def test_a_block_that_fails_after_its_loop_fails_no_message(mail, counts):
    mail.put_many("ab")
    with suppress(ZeroDivisionError), mail.each(timeout=0) as values:
        assert list(values) == ["a", "b"]
        raise ZeroDivisionError
    assert counts() == (0, 0, 0)


def test_a_loop_goes_on_where_it_was_before_an_atomic_block_that_was_undone(member, mail, counts):
    mail.put_many("abc")
    values = mail.each(timeout=0)
    assert next(values) == "a"
    with suppress(ZeroDivisionError), member.atomic():
        assert next(values) == "b"
        raise ZeroDivisionError
    assert counts() == (2, 1, 0)
    assert [(value, *counts()) for value in values] == [("b", 1, 1, 0), ("c", 0, 1, 0)]
    assert counts() == (0, 0, 0)


# What is remembered of deliveries, and an atomic block that is undone.


def test_what_a_block_took_is_forgotten_when_it_is_undone(member, mail, counts):
    """Goal: no thread ends what another has.  Method: the same message, under the same fence, is another thread's."""
    mail.put_many("ab")
    with suppress(ZeroDivisionError), member.atomic(), member.atomic():
        assert mail.get() == "a"
        raise ZeroDivisionError
    with ThreadPoolExecutor(1) as thread:
        (theirs,) = thread.submit(mail.take).result()
    assert (theirs.value, theirs.deliveries) == ("a", 1)
    assert mail.get() == "b"
    mail.task_done()
    assert counts() == (0, 1, 0)
    mail.done(theirs)


def test_what_a_block_ended_is_in_hand_again_when_it_is_undone(member, mail, counts):
    """Goal as above.  Method: another thread's message is the member's oldest."""
    mail.put_many("abcd")
    with ThreadPoolExecutor(1) as thread:
        (theirs,) = thread.submit(mail.take).result()
    assert mail.get() == "b"
    (third,) = mail.take()
    assert mail.get() == "d"
    with suppress(ZeroDivisionError), member.atomic():
        mail.task_done()
        mail.done(third)
        mail.task_done()
        assert counts() == (0, 1, 0)
        raise ZeroDivisionError
    assert counts() == (0, 4, 0)
    for left in (3, 2, 1):
        mail.task_done()
        assert counts() == (0, left, 0)
    mail.done(theirs)


def test_a_part_of_a_block_that_is_undone_alone_is_forgotten_alone(member, mail, counts):
    mail.put_many("ab")
    with member.atomic():
        assert mail.get() == "a"
        with suppress(ZeroDivisionError), member.atomic():
            mail.task_done()
            assert mail.get() == "b"
            raise ZeroDivisionError
    assert counts() == (1, 1, 0)
    mail.task_done()
    assert counts() == (1, 0, 0)


# Artifacts that are lost.


@pytest.fixture
def lose(store):
    """Loses the file of the only large value."""

    def lose(content=None):
        (path,) = store.artifacts.iterdir()
        path.unlink() if content is None else path.write_text(content)
        return path

    return lose


LARGE = "x" * 300_000


@pytest.mark.parametrize("acknowledge", ["at_task_done", "at_get"])
@pytest.mark.parametrize("content", [None, "short", "y" * 300_002], ids=["gone", "cut off", "damaged"])
def test_a_message_whose_artifact_is_lost_is_a_dead_letter_and_the_next_one_comes(member, lose, acknowledge, content):
    mail = MessageQueue(member, "mail", acknowledge=acknowledge)
    number = mail.put(LARGE)
    path = lose(content)
    mail.put("next")
    assert mail.get(timeout=0) == "next"
    (letter,) = mail.dead_letters()
    assert (letter.id, letter.value) == (number, None)
    assert letter.reason.startswith(f"the large value in {path} cannot be read")
    if acknowledge == "at_task_done":
        mail.task_done()
    assert mail.statistics().delivered == 0
    mail.join()
    with pytest.raises(queue.Empty):
        mail.get(timeout=0)
    path.write_text(f'"{LARGE}"')
    assert mail.revive(number)
    assert mail.get(timeout=0) == LARGE


@pytest.mark.parametrize("acknowledge", ["at_task_done", "at_get"])
def test_a_reader_that_waits_is_not_woken_by_a_message_that_is_lost(member, during, lose, acknowledge, bury):
    mail = MessageQueue(member, "mail", acknowledge=acknowledge)

    def asleep():
        mail.put(LARGE)
        lose()
        mail.put("next")

    assert MessageQueue(during(member, asleep), "mail", acknowledge=acknowledge).get() == "next"
    assert bury(member)
    assert [letter.value for letter in mail.dead_letters()] == [None]


def test_of_several_messages_the_readable_ones_are_delivered(mail, lose, counts):
    mail.put_many(["a", LARGE, "b"])
    lose()
    messages = mail.take(count=3, timeout=0, delivery="call 1")
    assert [message.value for message in messages] == ["a", "b"]
    assert mail.take(count=3, timeout=0, delivery="call 1") == messages
    assert counts() == (0, 2, 1)


def test_the_wait_for_the_next_is_no_longer_for_a_message_that_is_lost(member, during, lose, clock):
    mail = MessageQueue(member, "mail")
    naps = []

    def asleep():
        naps.append(len(naps))
        if len(naps) == 1:
            mail.put(LARGE)
            lose()
            clock.advance(6)
        else:
            clock.advance(4.5)

    with pytest.raises(queue.Empty):
        MessageQueue(during(member, asleep), "mail").get(timeout=10)
    assert len(naps) == 2


def test_a_dead_letter_whose_artifact_is_lost_tells_both_reasons(member, lose):
    mail = MessageQueue(member, "mail", attempts=1)
    mail.put(LARGE)
    mail.fail(mail.take()[0], "too long")
    lose()
    (letter,) = mail.dead_letters()
    assert letter.value is None
    assert letter.reason.startswith("too long; and the large value in ")


def test_an_artifact_that_cannot_be_read_just_now_kills_no_message(mail, lose, counts):
    mail.put(LARGE)
    path = lose()
    path.mkdir()
    with pytest.raises(ArtifactLost, match="Is a directory"):
        mail.get(timeout=0)
    assert counts() == (1, 0, 0)
    path.rmdir()


# Room.


def test_writers_wait_in_line_and_the_get_that_makes_room_puts_for_the_first(narrow, spawn, in_line):
    narrow.put(0)
    crowd = [spawn(name) for name in ("ada", "bob", "eve")]
    for n, process in enumerate(crowd, 1):
        process.start("put", n)
        in_line("room", n)
    crowd[0].stop()
    assert narrow.get() == 0
    assert (narrow.qsize(), narrow.full(), narrow.statistics().waiting_to_put) == (1, True, 2)
    crowd[0].go_on()
    numbers = [crowd[0].result()]
    for n, process in enumerate(crowd[1:], 1):
        assert narrow.get() == n
        numbers.append(process.result())
    assert narrow.get() == 3
    assert (numbers, narrow.qsize()) == (sorted(numbers), 0)
    senders = {row["sender"] for row in narrow._member.store.rows("select distinct sender from queue_message")}
    assert {process.agent for process in crowd} <= senders


def test_a_message_that_comes_back_is_counted(narrow, people, bury):
    (ada,) = people("ada")
    narrow.put(1)
    MessageQueue(ada, "mail").get()
    assert not narrow.full()
    bury(ada)
    assert (narrow.full(), narrow.qsize()) == (True, 1)


def test_a_writer_whose_time_is_up_puts_nothing(narrow, spawn, in_line, clock):
    narrow.put(1)
    ada = spawn("ada")
    ada.start("put", 2, timeout=10)
    in_line("room")
    clock.advance(10)
    with pytest.raises(queue.Full):
        ada.result()
    assert narrow.get() == 1
    assert narrow.qsize() == 0


def test_a_greater_maxsize_lets_writers_in(narrow, spawn, in_line):
    narrow.put(1)
    ada = spawn("ada")
    ada.start("put", 2)
    in_line("room")
    narrow.maxsize = 2
    ada.result()
    narrow.maxsize = -1
    narrow.put(3)
    assert (narrow.qsize(), narrow.maxsize) == (3, 0)


@pytest.mark.parametrize("key", [None, "call 1"])
def test_an_interrupt_at_any_line_of_a_put_that_waits_leaves_no_row_and_the_count_right(
    member, people, during, interrupt_at, waiters, key
):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = MessageQueue(ada, f"queue {n}", 1)
        other.put("first")
        mine = MessageQueue(during(member, lambda get=other.get_nowait: get()), other.name)
        interrupted = interrupt_at(n, lambda q=mine: q.put("second", key=key))
        assert waiters() == []
        found = other.statistics()
        assert other.qsize() == found.queued
        if not interrupted:
            break
        if key is not None:
            mine._member = member
            other.get_nowait() if found.delivered == 0 else None
            mine.put("second", key=key)
            assert other.get_nowait() == "second"
        elif found.delivered:
            assert found.queued == 0
    assert n > 40


@pytest.mark.parametrize(("when", "left"), [("before", (1, 0)), ("after", (1, 1))])
def test_a_writer_killed_as_it_begins_to_wait(narrow, spawn, bury, when, left):
    narrow.put(1)
    ada = spawn("ada")
    ada.die(2, when)
    ada.start("put", 2).gone()
    found = narrow.statistics()
    assert (found.queued, found.waiting_to_put) == left
    bury(ada)
    assert narrow.get() == 1
    assert narrow.empty()


# Many at once.


def test_many_are_put_in_one_transaction_once(mail):
    numbers = mail.put_many([1, 2], key="call 1")
    assert mail.put_many([1, 2], key="call 1") == numbers
    assert mail.qsize() == 2
    assert mail.put_many([]) == []


def test_many_that_do_not_fit_are_not_put(member):
    q = MessageQueue(member, "mail", 3)
    q.put(0)
    with pytest.raises(queue.Full):
        q.put_many([1, 2, 3])
    assert (q.qsize(), q.statistics().queued) == (1, 1)
    q.put_many([1, 2])
    assert q.full()


def test_join_waits_until_every_message_is_done(mail, spawn, in_line):
    mail.put_many([1, 2])
    ada = spawn("ada")
    ada.start("join")
    in_line("joined")
    mail.get()
    mail.get()
    mail.task_done()
    in_line("joined")
    mail.task_done()
    assert ada.result() is None
    mail.join()


def test_a_queue_can_be_a_part_of_something_greater(member, mail):
    def put_and_fail():
        with member.atomic():
            mail.put(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        put_and_fail()
    assert mail.empty()
    with member.atomic():
        mail.put(2)
        MessageQueue(member, "other", 1).put(mail.get_nowait())
    assert MessageQueue(member, "other").get() == 2
