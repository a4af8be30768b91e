"""Topics: what is published reaches every queue that subscribes, or none."""

import copy
import queue

import pytest

from prong.primitives import MessageQueue
from prong.primitives.topic import Topic, inbox


@pytest.fixture
def news(member):
    return Topic(member, "news")


def test_what_is_published_reaches_all_who_subscribe_and_nobody_else(news, member):
    ada, bob, other = news.queue_of("ada"), news.queue_of("bob"), MessageQueue(member, "other")
    assert news.publish({"n": 1}, priority=2) == 2
    assert (ada.get(), bob.take()[0].priority, other.empty()) == ({"n": 1}, 2, True)
    assert Topic(member, "weather").publish("rain") == 0


def test_a_subscription_is_made_once_and_can_be_ended(news, member):
    everything = MessageQueue(member, "everything")
    assert (news.subscribe(everything), news.subscribe(everything), news.queues()) == (True, False, ["everything"])
    news.publish(1)
    assert (news.unsubscribe(everything), news.unsubscribe(everything), news.publish(2)) == (True, False, 0)
    assert (everything.get(), everything.empty()) == (1, True)


def test_a_subscription_gathers_while_nobody_reads(news, people):
    news.queue_of("ada")
    for n in range(3):
        news.publish(n)
    (ada,) = people("ada")
    mine = Topic(ada, "news").queue_of("ada")
    assert [mine.get() for _ in range(3)] == [0, 1, 2]


def test_where_one_queue_is_full_nothing_is_published(news):
    wide, narrow = news.queue_of("wide"), news.queue_of("narrow", 1)
    news.publish(1)
    with pytest.raises(queue.Full, match="'news/narrow'"):
        news.publish(2)
    assert (wide.qsize(), narrow.qsize()) == (1, 1)
    narrow.get()
    assert news.publish(2) == 2


def test_a_queue_that_was_shut_down_is_left_out(news):
    closed, last = news.queue_of("closed"), news.queue_of("last", discipline="lifo")
    closed.shutdown()
    assert [news.publish(n) for n in range(2)] == [1, 1]
    assert (last.get(), closed.qsize()) == (1, 0)


def test_a_publication_that_is_repeated_is_made_once(news):
    ada = news.queue_of("ada")
    assert [news.publish("hello", key="call 1") for _ in range(2)] == [1, 1]
    assert ada.qsize() == 1


def test_who_waits_is_served_in_the_publishers_transaction(news, processes, in_line):
    news.queue_of("ada")
    ada = processes("ada", ("prong.primitives", "MessageQueue", ("news/ada",), {}))
    ada.start("get")
    in_line("queue")
    news.publish("hello")
    assert ada.result() == "hello"


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
def test_a_publisher_killed_at_its_commit_reaches_all_or_none(news, processes, when, count):
    queues = [news.queue_of(name) for name in ("ada", "bob")]
    eve = processes("eve", ("prong.primitives.topic", "Topic", ("news",), {}))
    eve.die(1, when)
    eve.start("publish", "hello").gone()
    assert [one.qsize() for one in queues] == [count, count]


def test_two_objects_of_one_name_are_one_topic(news, people):
    (ada,) = people("ada")
    other = Topic(ada, "news")
    assert (news == other, hash(news) == hash(other), news != Topic(ada, "x"), news != 1) == (True,) * 4
    assert (repr(news), copy.copy(news) == news) == ("<prong.Topic at 'news'>", True)


def test_everybody_has_an_inbox(member, people):
    (ada,) = people("ada")
    inbox(member, "ada").put("come and see")
    assert (inbox(ada, "ada").get(), inbox(ada, "ada").name) == ("come and see", "inbox/ada")
