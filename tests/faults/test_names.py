"""Names, keys and values of every kind of text: what cannot be stored is refused, and the rest comes back as it was."""

import pytest

from prong.primitives import (
    Atomic,
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Executor,
    Future,
    Lock,
    MessageQueue,
    RLock,
    Semaphore,
    SharedList,
    SharedMap,
    Topic,
    inbox,
    join,
)
from prong.state import Invalid

from .operations import LARGE, sound

NAMED = {
    "Lock": Lock,
    "RLock": RLock,
    "Semaphore": Semaphore,
    "BoundedSemaphore": BoundedSemaphore,
    "Event": Event,
    "Condition": Condition,
    "Barrier": lambda member, name: Barrier(member, name, 1),
    "Atomic": Atomic,
    "SharedMap": SharedMap,
    "SharedList": SharedList,
    "MessageQueue": MessageQueue,
    "Topic": Topic,
    "Future": Future,
    "Executor": Executor,
    "inbox": inbox,
    "subscriber": lambda member, name: Topic(member, "t").queue_of(name),
}
"""Whatever bears a name."""

KEYED = {
    "key of a map": lambda m, key: SharedMap(m, "m").put(key, 1),
    "key of a sum": lambda m, key: SharedMap(m, "m").add(key, 1),
    "key of a deletion": lambda m, key: SharedMap(m, "m").delete(key),
    "name of a put": lambda m, key: SharedMap(m, "m").put("k", 1, once=key),
    "name of an append": lambda m, key: SharedList(m, "l").append(1, once=key),
    "name of an addition": lambda m, key: Atomic(m, "a").add(1, once=key),
    "key of a put": lambda m, key: MessageQueue(m, "q").put(1, key=key),
    "name of a delivery": lambda m, key: MessageQueue(m, "q").take(timeout=0, delivery=key),
    "key of a publication": lambda m, key: Topic(m, "t").publish(1, key=key),
    "key of a lock": lambda m, key: Lock(m, "l").acquire(key=key),
    "key of a permit": lambda m, key: Semaphore(m, "s").acquire(key=key),
    "party": lambda m, key: Barrier(m, "b", 1).meet(party=key),
}
"""Whatever takes a key."""

VALUED = {
    "map": lambda m, value: SharedMap(m, "m").put("k", value),
    "list": lambda m, value: SharedList(m, "l").append(value),
    "list extended": lambda m, value: SharedList(m, "l").extend([1, value]),
    "atomic": lambda m, value: Atomic(m, "a").exchange(value),
    "initial": lambda m, value: Atomic(m, "a", value),
    "queue": lambda m, value: MessageQueue(m, "q").put(value),
    "queue, many": lambda m, value: MessageQueue(m, "q").put_many([1, value]),
    "topic": lambda m, value: Topic(m, "t").publish(value),
    "future": lambda m, value: Future(m, "f").set_result(value),
}
"""Whatever takes a value."""

BAD = {
    "empty": "",
    "too long": "n" * 201,
    "far too long": "n" * 1_000_000,
    "NUL": "a\0b",
    "only NUL": "\0",
    "a high surrogate": "a\ud800",
    "a low surrogate": "\udfffb",
    "a pair of surrogates": "\ud83d\ude00",
    "a file name that is no UTF-8": "caf\udce9",
    "bytes": b"name",
    "a number": 7,
    "nothing": None,
    "a list": ["n"],
}

GOOD = {
    "one": "n",
    "longest": "n" * 200,
    "longest, four bytes each": "\U0001f600" * 200,
    "combining": "e\u0301",
    "composed": "\u00e9",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "the last character": "\U0010ffff",
    "around the surrogates": "\ud7ff\ue000",
    "a byte order mark": "\ufeff\ufffe\uffff",
    "lines": "a\nb\r\n\tc\u2028\x7f\x1b[31m",
    "quotes": "'; drop table lock; --\"`\\",
    "patterns": "%_*?[a-z]{0}",
    "spaces": "  ",
    "a path": "../../etc/passwd",
    "JSON": '{"a": [1]}',
    "a marker": "@artifact " + "0" * 64 + " 300000",
}


@pytest.mark.parametrize("kind", NAMED)
def test_a_name_that_cannot_be_is_refused_by_every_primitive(member, kind):
    before = member.store.row("select count(*) from event")[0]
    for what, name in BAD.items():
        with pytest.raises(Invalid) as caught:
            NAMED[kind](member, name)
        assert "a string" in str(caught.value), what
        assert len(str(caught.value)) < 300
        str(caught.value).encode()
    assert member.store.row("select count(*) from event")[0] == before


def test_a_member_bears_no_such_name(tmp_path):
    for name in (name for name in BAD.values() if name is not None):
        with pytest.raises(Invalid):
            join(tmp_path / "work.db", name)


@pytest.mark.parametrize("kind", KEYED)
def test_a_key_that_cannot_be_is_refused_wherever_one_is_taken(member, kind):
    before = None
    for what, key in BAD.items():
        if key is None and kind not in ("key of a map", "key of a sum", "key of a deletion"):
            continue  # which is to give none
        with pytest.raises((Invalid, TypeError)):
            KEYED[kind](member, key)
        now = [tuple(row) for row in member.store.rows("select * from event where kind not like 'queue.settled'")]
        assert before in (None, now), what
        before = now
    assert sound(member.store)


@pytest.mark.parametrize("kind", VALUED)
def test_text_that_is_none_is_refused_as_a_value_and_leaves_nothing(member, kind):
    for value in ("caf\udce9", ["a", "\ud800"], {"\udfff": 1}, {"a": {"b": ["\ud83d\ude00"]}}, LARGE + "\udce9"):
        with pytest.raises(Invalid, match="cannot be stored"):
            VALUED[kind](member, value)
    assert [row["kind"] for row in member.store.rows("select kind from event")] == ["agent.joined"]
    assert not member.store.artifacts.exists()


@pytest.mark.parametrize("what", GOOD)
def test_every_primitive_bears_any_other_name(member, what):
    name = GOOD[what]
    assert Lock(member, name).acquire(timeout=0)
    assert Lock(member, name).statistics().holder == "test"
    Lock(member, name).release()
    with RLock(member, name), Semaphore(member, name):
        assert Semaphore(member, name).statistics().value == 0
    Event(member, name).set()
    assert Event(member, name).wait(timeout=0)
    with Condition(member, name) as _:
        Condition(member, name).notify_all()
    assert Barrier(member, name, 1).wait() == 0
    assert Atomic(member, name).add(2).new == 2
    assert Atomic(member, name).get() == 2
    assert SharedList(member, name).append(name) == 0
    MessageQueue(member, name).put(name, key=name)
    assert MessageQueue(member, name).take(delivery=name)[0].value == name
    Future(member, name).set_result(name)
    assert Future(member, name).result(timeout=0) == name
    objects = {row["object"] for row in member.store.rows("select object from event where kind <> 'agent.joined'")}
    assert objects == {name}
    assert name in repr(Lock(member, name)) or not name.isprintable() or repr(name) in repr(Lock(member, name))
    assert sound(member.store)


def test_keys_and_values_come_back_as_they_were_and_none_is_taken_for_another(member):
    entries, items, queue = SharedMap(member, "m"), SharedList(member, "l"), MessageQueue(member, "q")
    values = [*GOOD.values(), "a\0b", "\0", ""]
    for name in GOOD.values():
        entries[name] = name
    items.extend(values)
    queue.put_many(values)
    assert entries.copy() == {name: name for name in GOOD.values()}
    assert sorted(entries) == sorted(GOOD.values())
    assert items.copy() == values
    assert [queue.get(timeout=0) for _ in values] == values
    assert entries["e\u0301"] != entries["\u00e9"]
    for value in values:
        assert Atomic(member, "a").exchange(value).new == value
        entries["value"] = {value: [value]}
        assert entries["value"] == {value: [value]}
    for name in GOOD.values():
        assert entries.history(name)[0].value == name
        del entries[name]
        assert name not in entries
    assert sound(member.store)


@pytest.mark.parametrize("name", ["\ud7ff\ue000", "\U0010ffff", "a\u0301"])
def test_a_prefix_at_the_edge_of_what_there_is_finds_its_keys_alone(member, name):
    entries = SharedMap(member, "m")
    entries.update({name: 1, name + "x": 2, "other": 3, "\ud7fe": 4})
    assert [entry.key for entry in entries.entries(name)] == [name, name + "x"]
    assert {entry.key for entry in entries.watch(prefix=name, since=0, timeout=0).entries} == {name, name + "x"}
