"""How many messages are queued, by the log of what came and went: the same as by counting them."""

import pytest

from prong.primitives import Lock, MessageQueue, queue_count


@pytest.fixture
def mail(member):
    return MessageQueue(member, "mail", attempts=1)


@pytest.fixture
def counted(store):
    """By counting."""
    queued = "select count(*) as n from queue_message where queue = 'mail' and holder is null and dead_at is null"
    return lambda: store.row(queued)["n"]


@pytest.fixture
def exact(mail, counted):
    """Whether the queue tells the right number, whichever way it is asked."""

    def exact():
        by_name = f"<prong.MessageQueue at 'mail': {counted()} queued>"
        return mail.qsize() == mail.statistics().queued == counted() and repr(mail) == by_name

    return exact


def test_it_is_right_after_whatever_happens_to_messages(mail, exact, member):
    def dead_one():
        mail.fail(mail.take()[0], "cannot be read")

    def undone():
        with pytest.raises(KeyError), member.atomic():  # noqa: PT012  what is undone is several calls
            mail.put("undone")
            assert exact()
            mail.get()
            mail.put_many(["undone", "too"])
            assert exact()
            raise KeyError

    steps = [
        lambda: mail.put_many(range(9)),
        mail.get,
        mail.task_done,
        dead_one,
        lambda: mail.revive(mail.dead_letters()[0].id),
        dead_one,
        lambda: mail.drop(mail.dead_letters()[0].id),
        lambda: next(mail.each()),
        undone,
        lambda: mail.put("after"),
        MessageQueue(member, "mail", acknowledge="at_get").get,
        lambda: mail.put("more", priority=1),
        lambda: mail.shutdown(immediate=True),
        mail.reopen,
        lambda: mail.put("again"),
    ]
    assert exact()
    for step in steps:
        step()
        assert exact()


def test_what_is_handed_to_a_reader_who_waits_was_never_queued(mail, exact, processes, in_line):
    reader = processes("reader", ("prong.primitives", "MessageQueue", ("mail",), {}))
    assert exact()
    reader.start("get")
    in_line("queue")
    mail.put("a")
    assert reader.result() == "a"
    assert exact()
    assert mail.statistics().delivered == 1


def test_other_queues_and_other_objects_of_that_name_do_not_count(mail, exact, member):
    mail.put("a")
    assert exact()
    MessageQueue(member, "other").put("b")
    Lock(member, "mail").acquire()
    assert exact()


def test_it_is_counted_anew_where_much_has_happened_since(mail, exact, counted):
    mail.put("first")
    assert exact()
    mail.put_many(range(queue_count.READ_AT_ONCE))
    assert counted() == queue_count.READ_AT_ONCE + 1
    assert exact()
    mail.put_many(range(10))
    assert exact()


@pytest.mark.parametrize("block", ["atomic", "transaction"])
def test_an_entry_that_was_undone_and_is_there_again_as_another_counts_for_nothing(mail, exact, member, clock, block):
    mail.put("a")
    with pytest.raises(KeyError), getattr(member, block)() as tx:  # noqa: PT012  what is undone is several calls
        for number in range(2):
            tx.execute("insert into queue_message (queue, body, put_at) values ('mail', '1', 0)")
            tx.event("queue.put", object="mail", message=number)
        assert exact()
        raise KeyError
    clock.advance(1)
    mail.put("b")
    mail.get()
    mail.put("c")  # the log's entry before this one has the number of the last that was undone
    assert exact()
