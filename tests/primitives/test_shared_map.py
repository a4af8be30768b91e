"""The map: as a dict, with a version for every key that only grows; no change is ever lost, and none is made twice."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math
import pickle
import threading
import unittest
from collections.abc import MutableMapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from prong.primitives import SharedMap, VersionConflict, artifacts, map_rows
from prong.primitives.joined import join as join_program
from prong.primitives.map_rows import Changes, Entry
from prong.primitives.values import VALUE_BYTES
from prong.state import Deposed, Invalid, Store, join
from prong.state.errors import WaitInsideAtomic

try:
    from test import mapping_tests
except ImportError:
    mapping_tests = None


def add_often(here, key, times):
    for _ in range(times):
        here.object.add(key, 1)


def compare_and_set_often(here, key, times):
    """Add by reading and writing on condition; how often another was faster."""
    conflicts = 0
    for _ in range(times):
        while True:
            entry = here.object.entry(key)
            try:
                here.object.put(key, (entry.value or 0) + 1, if_version=entry.version)
                break
            except VersionConflict:
                conflicts += 1
    return conflicts


def pop_all(here, keys):
    """Pop each key; which we got."""
    return [key for key in keys if here.object.pop(key, None) is not None]


def set_defaults(here, keys):
    """What each key holds after we said what it should hold where it is absent."""
    return [here.object.setdefault(key, here.member.me.agent) for key in keys]


def write_often(here, key, times):
    for number in range(times):
        here.object[key] = number + 1


def watch_another(here, key):
    return SharedMap(here.member, "another").watch(key)


def watch_until_all_are_done(here, writers):
    """What all writers have written when each has written its last."""
    seen, version = {}, 0
    while len(seen) < writers or min(seen.values()) < 100:
        found = here.object.watch(since=version)
        assert found.entries
        assert found.version > version
        seen |= {entry.key: entry.value for entry in found.entries}
        version = found.version
    return seen


@pytest.fixture
def notes(member):
    return SharedMap(member, "notes")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives", "SharedMap", ("notes",), {}))


# As a dict.


def test_a_map_is_a_mutable_mapping(notes):
    assert isinstance(notes, MutableMapping)
    notes["b"] = [1, {"two": None}]
    notes.update(a=1, c="three")
    assert (dict(notes), len(notes), list(notes)) == (
        {"a": 1, "b": [1, {"two": None}], "c": "three"},
        3,
        ["a", "b", "c"],
    )
    assert ("a" in notes, "z" in notes, notes.get("z", 7)) == (True, False, 7)
    assert (notes.pop("a"), notes.pop("a", 0), notes.setdefault("a", 9), notes.setdefault("a", 8)) == (1, 0, 9, 9)
    del notes["a"]
    assert notes == {"b": [1, {"two": None}], "c": "three"}
    assert notes.popitem() == ("b", [1, {"two": None}])
    assert list(notes.items()) == [("c", "three")]
    assert list(notes.values()) == ["three"]
    notes.clear()
    assert not notes


@pytest.mark.parametrize("call", [lambda m: m["z"], lambda m: m.pop("z"), lambda m: m.__delitem__("z")])
def test_an_absent_key_is_a_key_error(notes, call):
    with pytest.raises(KeyError, match="z"):
        call(notes)
    with pytest.raises(KeyError, match="empty"):
        notes.popitem()


def test_pop_takes_one_default(notes):
    with pytest.raises(TypeError):
        notes.pop("a", 1, 2)
    assert notes.pop("a", default=7) == 7


def test_a_key_that_holds_none_is_there(notes):
    notes["a"] = None
    assert ("a" in notes, notes["a"], notes.setdefault("a", 1), notes.pop("a", 2)) == (True, None, None, None)


def test_what_is_in_hand_does_not_change_what_is_stored(notes):
    value = [1]
    notes["a"] = value
    value.append(2)
    notes["a"].append(3)
    assert notes["a"] == [1]


def test_maps_of_other_names_are_other_maps(notes, member):
    other = SharedMap(member, "other")
    notes["a"] = 1
    assert "a" not in other
    other["a"] = 2
    assert other.pop("a") == 2
    assert notes["a"] == 1
    other.clear()
    assert (notes.statistics().keys, other.statistics().keys) == (1, 0)


# Versions.


def test_every_write_gives_the_next_version_over_deletion_too(notes):
    assert (notes.put("a", "x"), notes.put("a", "x")) == (1, 2)
    assert notes.delete("a")
    assert not notes.delete("a")
    found = notes.entry("a")
    assert (found.value, found.version, found.present) == (None, 3, False)
    assert notes.put("a", "y") == 4
    assert notes.entry("a") == type(found)("a", "y", 4)
    assert notes.entry("never") == type(found)("never", None, 0, present=False)


def test_a_conditional_write_is_refused_over_another_version(notes):
    notes.put("a", "x", if_version=0)
    for stale in (0, 2, -1):
        with pytest.raises(VersionConflict) as caught:
            notes.put("a", "y", if_version=stale)
        assert (caught.value.expected, caught.value.found) == (stale, 1)
        with pytest.raises(VersionConflict):
            notes.delete("a", if_version=stale)
    assert notes.entry("a").value == "x"
    assert notes.put("a", "y", if_version=1) == 2
    assert notes.delete("a", if_version=2)
    with pytest.raises(VersionConflict):
        notes.put("a", "z", if_version=0)
    assert notes.put("a", "z", if_version=3) == 4


def test_statistics_count_keys_and_writes(notes):
    notes.update(a=1, b=2)
    notes["a"] = 3
    del notes["b"]
    assert notes.statistics() == type(notes.statistics())("notes", 1, 4, 0)


def test_entries_are_those_with_the_prefix_in_order(notes):
    for key in ("src/b", "src/a", "src", "test/a", "sr", "SRC/a", "src%", "src_x"):
        notes[key] = key
    assert [entry.key for entry in notes.entries("src/")] == ["src/a", "src/b"]
    assert [entry.key for entry in notes.entries("src")] == ["src", "src%", "src/a", "src/b", "src_x"]
    assert [entry.key for entry in notes.entries()] == sorted(notes)
    del notes["src/a"]
    assert [(entry.key, entry.value, entry.version) for entry in notes.entries("src/")] == [("src/b", "src/b", 1)]


# Many at once.


def test_eight_processes_that_add_lose_nothing(notes, spawn):
    crowd = [spawn(f"p{n}") for n in range(8)]
    for process in crowd:
        process.start_running(add_often, "n", 100)
    for process in crowd:
        process.result()
    assert (notes["n"], notes.entry("n").version) == (800, 800)


def test_processes_that_write_on_condition_lose_nothing(notes, spawn):
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(compare_and_set_often, "n", 50)
    for process in crowd:
        process.result()
    assert (notes["n"], notes.entry("n").version) == (200, 200)


def test_of_many_who_pop_a_key_one_gets_it(notes, spawn):
    keys = [f"key {n}" for n in range(100)]
    notes.update(dict.fromkeys(keys, 1))
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(pop_all, keys)
    got = [key for process in crowd for key in process.result()]
    assert sorted(got) == sorted(keys)


def test_of_many_who_set_a_default_all_see_the_first(notes, spawn):
    keys = [f"key {n}" for n in range(100)]
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(set_defaults, keys)
    seen = [process.result() for process in crowd]
    assert all(one == seen[0] for one in seen)
    assert [notes.entry(key).version for key in keys] == [1] * 100


# Adding.


def test_add_counts_an_absent_key_as_nought(notes):
    assert (notes.add("n", 2), notes.add("n", -0.5), notes.add("n", 10**20)) == (2, 1.5, 1e20)
    del notes["n"]
    assert notes.add("n", 1) == 1
    assert isinstance(notes["n"], int)


@pytest.mark.parametrize("amount", ["1", None, True, [1], math.nan, math.inf, 10**5000], ids=lambda a: type(a).__name__)
def test_what_is_no_number_cannot_be_added(notes, amount):
    with pytest.raises(Invalid):
        notes.add("n", amount)
    assert notes.entry("n").version == 0


@pytest.mark.parametrize("value", ["1", None, True, [1], {}])
def test_a_key_that_holds_no_number_cannot_be_added_to(notes, value):
    notes["n"] = value
    with pytest.raises(Invalid, match=r"key 'n' of map 'notes' holds"):
        notes.add("n", 1)
    assert notes["n"] == value


@pytest.mark.parametrize(("value", "amount"), [(1e308, 1e308), (10**400, 0.5)])
def test_a_sum_that_is_no_number_is_refused(notes, value, amount):
    notes["n"] = value
    with pytest.raises(Invalid):
        notes.add("n", amount)
    assert notes["n"] == value


# Names for changes that may be repeated.


def test_a_change_that_is_repeated_returns_what_it_returned_and_changes_nothing(notes, people):
    (ada,) = people("ada")
    hers = SharedMap(ada, "notes")
    assert notes.put("a", 1, once="put") == 1
    assert notes.add("n", 5, once="add") == 5
    notes.update(a=2, n=7)
    assert (hers.put("a", 1, once="put"), hers.add("n", 5, once="add")) == (1, 5)
    assert (notes["a"], notes["n"]) == (2, 7)
    assert (notes.delete("a", once="delete"), notes.delete("z", once="no delete")) == (True, False)
    notes.update(a=3, z=1)
    assert (hers.delete("a", once="delete"), hers.delete("z", once="no delete")) == (True, False)
    assert (notes["a"], notes["z"]) == (3, 1)


def test_a_repeated_change_is_not_judged_by_its_condition_again(notes):
    assert notes.put("a", 1, if_version=0, once="put") == 1
    assert notes.put("a", 1, if_version=0, once="put") == 1
    assert notes.delete("a", if_version=1, once="delete")
    assert notes.delete("a", if_version=1, once="delete")


def test_a_change_that_was_refused_was_not_made(notes):
    notes.put("a", 1)
    with pytest.raises(VersionConflict):
        notes.put("a", 2, if_version=0, once="put")
    assert notes.put("a", 2, if_version=1, once="put") == 2


def test_the_same_name_in_another_map_is_another_change(notes, member):
    assert notes.add("n", 1, once="call 1") == 1
    assert SharedMap(member, "other").add("n", 5, once="call 1") == 5


@pytest.mark.parametrize(("when", "left"), [("before", (0, 0)), ("after", (5, 1))])
@pytest.mark.parametrize(
    ("call", "again"),
    [(("add", "n", 5), lambda m: m.add("n", 5, once="call")), (("put", "n", 5), lambda m: m.put("n", 5, once="call"))],
)
def test_a_change_killed_at_its_commit_and_repeated_is_made_once(notes, spawn, when, left, call, again):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start(*call, once="call").gone()
    assert (notes.get("n", 0), notes.entry("n").version) == left
    again(notes)
    assert (notes["n"], notes.entry("n").version) == (5, 1)


@pytest.mark.parametrize(("when", "there"), [("before", True), ("after", False)])
@pytest.mark.parametrize("call", [("delete", "n"), ("pop", "n"), ("popitem",)])
def test_a_removal_killed_at_its_commit(notes, spawn, when, there, call):
    notes["n"] = 5
    ada = spawn("ada")
    ada.die(1, when)
    ada.start(*call).gone()
    assert ("n" in notes) == there


def test_the_dead_write_nothing(notes, spawn, bury):
    ada = spawn("ada")
    bury(ada)
    with pytest.raises(Deposed):
        ada.do("put", "a", 1)
    assert "a" not in notes


# Names, bounds, words.


@pytest.mark.parametrize("key", ["", "a\0b", "caf\udce9", "x" * 201, 7, None, b"a"], ids=ascii)
def test_a_key_that_is_none_is_refused(notes, key):
    calls = (
        lambda: notes.put(key, 1), lambda: notes.add(key, 1), lambda: notes.delete(key), lambda: notes.entry(key),
        lambda: notes.setdefault(key, 1), lambda: notes.update({key: 1}), lambda: notes.update({"a": 1, key: 1}),
        lambda: notes.history(key), lambda: notes.get_many([key]), lambda: notes.put("a", 1, once=key or ""),
    )  # fmt: skip
    for call in calls[: None if key is not None else -1]:
        with pytest.raises(Invalid):
            call()
    assert notes.statistics().writes == 0


@pytest.mark.parametrize("prefix", ["a\0b", "\ud800", 7, "x" * 201], ids=ascii)
def test_a_prefix_that_is_none_is_refused(notes, prefix):
    with pytest.raises(Invalid, match="prefix"):
        notes.entries(prefix)


@pytest.mark.parametrize("value", [math.nan, -math.inf, "caf\udce9", b"a", {1, 2}, [[math.nan]]], ids=ascii)
def test_a_value_that_json_does_not_hold_is_refused(notes, value):
    for call in (lambda: notes.put("a", value), lambda: notes.setdefault("a", value)):
        with pytest.raises(Invalid, match="value of 'a' cannot be stored"):
            call()
    assert "a" not in notes


def test_a_value_that_is_nested_too_deeply_is_refused(notes):
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Invalid, match="cannot be stored"):
        notes["a"] = value
    while value:
        value = value.pop()


def test_a_value_over_the_bound_of_a_row_is_an_artifact(notes, store):
    notes["a"] = "ä" * (VALUE_BYTES // 2 - 1)
    assert not store.artifacts.exists()
    notes["a"] = large = "ä" * (VALUE_BYTES // 2)
    assert (notes["a"], notes.entry("a").version) == (large, 2)
    assert (notes.copy(), notes.get_many(["a"]), notes.entries()[0].value) == ({"a": large}, {"a": large}, large)
    assert [change.value for change in notes.history("a")] == [large, "ä" * (VALUE_BYTES // 2 - 1)]
    assert all(len(row["data"]) < VALUE_BYTES for row in store.rows("select data from event order by seq desc limit 1"))
    assert (notes.setdefault("a", 1), notes.pop("a")) == (large, large)
    notes["a"] = large
    assert notes.popitem() == ("a", large)


def test_a_value_whose_artifact_is_lost_stays_where_it_is(notes, store):
    notes["a"] = "x" * VALUE_BYTES
    (only,) = store.artifacts.iterdir()
    only.unlink()
    for call in (lambda: notes["a"], lambda: notes.pop("a"), notes.popitem, notes.copy):
        with pytest.raises(artifacts.ArtifactLost):
            call()
    assert ("a" in notes, notes.delete("a")) == (True, True)


# History.


def test_the_log_tells_the_history_of_every_key(notes, store):
    notes["a"] = [1]
    notes.add("n", 2)
    del notes["a"]
    rows = store.rows("select seq, kind, object, data from event where kind like 'map.%' order by seq")
    assert [tuple(row)[1:] for row in rows] == [
        ("map.put", "notes", '{"key":"a","version":1,"previous":null,"value":[1]}'),
        ("map.put", "notes", '{"key":"n","version":1,"previous":null,"value":2}'),
        ("map.deleted", "notes", f'{{"key":"a","version":2,"previous":{rows[0]["seq"]}}}'),
    ]


def test_history_tells_of_every_write_of_a_key_the_latest_first(notes, people, clock):
    (ada,) = people("ada")
    began = clock.wall()
    notes["a"] = None
    SharedMap(ada, "notes")["a"] = {"value": 1}
    notes["b"] = 0
    notes.clear()
    notes["a"] = 2
    assert [(change.version, change.value, change.deleted, change.by) for change in notes.history("a")] == [
        (4, 2, False, "test"),
        (3, None, True, "test"),
        (2, {"value": 1}, False, "ada"),
        (1, None, False, "test"),
    ]
    assert all(change.at >= began for change in notes.history("a"))
    assert [change.version for change in notes.history("a", limit=2)] == [4, 3]
    assert notes.history("never") == []


@pytest.mark.parametrize("limit", [0, 1_001, True, 1.0, None])
def test_a_history_is_bounded(notes, limit):
    with pytest.raises(Invalid, match="limit"):
        notes.history("a", limit=limit)


def test_history_costs_a_look_at_a_row_per_change_however_long_the_log_is(store):
    plan = store.rows(f"explain query plan {map_rows._EVENT}", event=1)
    assert plan[0]["detail"] == "SEARCH event USING INTEGER PRIMARY KEY (rowid=?)"


# Watching.


def test_a_watch_returns_what_has_changed_since(notes):
    notes.update({"src/a": 1, "src/b": 2, "tests/a": 3})
    seen = notes.statistics().writes
    assert notes.watch(since=seen, timeout=0) == Changes((), seen)
    notes["src/a"] = 4
    notes["tests/a"] = 5
    del notes["src/b"]
    notes["src/a"] = 6
    everything = notes.watch(since=seen, timeout=0)
    assert [(entry.key, entry.value, entry.version, entry.present) for entry in everything.entries] == [
        ("tests/a", 5, 2, True),
        ("src/b", None, 2, False),
        ("src/a", 6, 3, True),
    ]
    assert everything.version == seen + 4
    assert [entry.key for entry in notes.watch(prefix="src/", since=seen).entries] == ["src/b", "src/a"]
    assert [entry.key for entry in notes.watch("tests/a", since=seen).entries] == ["tests/a"]
    assert notes.watch("tests/a", since=seen + 2, timeout=0) == Changes((), seen + 4)
    assert len(notes.watch(since=0).entries) == 3


def test_a_watch_without_since_begins_now(notes):
    notes["a"] = 1
    assert notes.watch("a", timeout=0) == Changes((), 1)
    assert SharedMap(notes._member, "never").watch(timeout=0) == Changes((), 0)


@pytest.mark.parametrize("how", [{"key": "a"}, {"prefix": ""}, {"prefix": "a"}, {}])
@pytest.mark.parametrize(
    "write", [("put", "a", 1), ("add", "a", 1), ("setdefault", "a", 1), ("update", {"b": 0, "a": 1})]
)
def test_whoever_writes_wakes_those_who_watch(notes, spawn, in_line, how, write):
    ada = spawn("ada").start("watch", **how)
    in_line("map")
    getattr(notes, write[0])(*write[1:])
    found = ada.result()
    assert found.entries[-1] == Entry("a", 1, 1)
    assert found.version == notes.statistics().writes


@pytest.mark.parametrize("removal", [("delete", "a"), ("pop", "a"), ("popitem",), ("clear",)])
def test_whoever_removes_wakes_those_who_watch(notes, spawn, in_line, removal):
    notes["a"] = 1
    ada = spawn("ada").start("watch", "a")
    in_line("map")
    getattr(notes, removal[0])(*removal[1:])
    assert ada.result().entries == (Entry("a", None, 2, present=False),)


def test_a_write_of_another_key_or_map_wakes_nobody(notes, member, spawn, in_line, waiters):
    ada, bob = spawn("ada").start("watch", "a"), spawn("bob").start("watch", prefix="a/%")
    carol = spawn("carol").start_running(watch_another, "z")
    in_line("map", 3)
    for key in ("b", "aa", "a/", "A", "a/x", "a_%", "z"):
        notes[key] = 1
    another = SharedMap(member, "another")
    another.update({"a": 1, "a/%x": 1})
    assert [state for _, state in waiters()] == ["waiting"] * 3
    assert (ada.busy(), bob.busy(), carol.busy(), notes.statistics().waiting) == (True, True, True, 2)
    notes["a/%x"] = 2
    assert [entry.key for entry in bob.result().entries] == ["a/%x"]
    notes["a"] = 2
    assert [entry.value for entry in ada.result().entries] == [2]
    another["z"] = 3
    assert [entry.value for entry in carol.result().entries] == [3]


def test_a_watch_ends_when_its_time_is_up(notes, clock, during, waiters):
    patient = during(notes._member, asleep=lambda: clock.advance(5))
    notes["a"] = 1
    assert SharedMap(patient, "notes").watch("a", since=1, timeout=5) == Changes((), 1)
    assert [state for _, state in waiters() if state == "waiting"] == []


@pytest.mark.parametrize("timeout", [-1, "1", True, math.nan])
def test_a_timeout_that_is_none_is_refused(notes, timeout):
    with pytest.raises(Invalid, match="timeout"):
        notes.watch(timeout=timeout)


def test_what_cannot_be_watched_is_refused(notes):
    for how in ({"key": "a", "prefix": "a"}, {"key": ""}, {"prefix": 7}, {"since": -1}, {"since": True}):
        with pytest.raises(Invalid):
            notes.watch(**{"timeout": 0, **how})
    with pytest.raises(Invalid):
        notes.changes("")


def test_a_watch_inside_an_atomic_block_is_refused_where_it_would_wait(notes, member):
    with pytest.raises(WaitInsideAtomic), member.store.atomic(member.me):
        notes.watch("a")
    with member.store.atomic(member.me):
        notes["a"] = 1
        assert [entry.key for entry in notes.watch("a", since=0).entries] == ["a"]


def test_an_interrupted_watch_leaves_nothing(spawn, in_line, until, store):
    ada = spawn("ada").start("watch", "a")
    in_line("map")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    until(lambda: not store.rows("select 1 from waiter where state = 'waiting'"), "the row gone")


@pytest.mark.long
def test_a_watch_that_is_interrupted_at_any_line_leaves_nothing(notes, interrupt_at, waiters):
    for n in range(1, 500):
        if not interrupt_at(n, lambda: notes.watch("a", timeout=0.001)):
            break
        assert [state for _, state in waiters() if state == "waiting"] == []
    assert n > 10


def test_a_watcher_that_goes_on_where_it_was_misses_nothing(spawn):
    """Four processes write a thousand changes while one watches; it must see the last state of every key."""
    writers = [spawn(f"p{n}") for n in range(4)]
    watcher = spawn("watcher").start_running(watch_until_all_are_done, 4)
    for number, process in enumerate(writers):
        process.start_running(write_often, f"key {number}", 100)
    for process in writers:
        process.result()
    assert watcher.result() == {f"key {number}": 100 for number in range(4)}


def test_what_an_older_schema_wrote_is_seen_from_the_beginning(notes, store, member):
    notes["a"] = 1
    with store.transaction(member.me) as tx:
        tx.execute("update map_entry set write = 0, event = null")
    for how in ({}, {"key": "a"}, {"prefix": "a"}):
        assert notes.watch(since=0, timeout=0, **how).entries == (Entry("a", 1, 1),)
    assert notes.history("a") == []
    notes["a"] = 2
    assert [change.version for change in notes.history("a")] == [2]


def test_changes_come_one_by_one(notes):
    notes["a"] = 0
    coming = notes.changes(prefix="a")
    notes.update(a=1, ab=2, b=3)
    assert [next(coming).value, next(coming).value] == [1, 2]
    notes["a"] = 4
    assert next(coming) == Entry("a", 4, 3)
    assert [entry.value for entry in itertools.islice(notes.changes(since=0), 3)] == [2, 3, 4]


@pytest.mark.parametrize("prefix", ["a", "\ud7ff", "\U0010ffff", "a\U0010ffff", "a\U0010ffff\U0010ffff", ""])
def test_a_prefix_finds_the_keys_that_begin_with_it_wherever_it_ends(notes, prefix):
    keys = [
        "a",
        "a\ud7ff",
        "b",
        "\ud7ff",
        "\ud7ffz",
        "\ue000",
        "\U0010ffff",
        "\U0010ffffa",
        "a\U0010ffff",
        "a\U0010ffff\U0010ffffz",
    ]
    notes.update(dict.fromkeys(keys, 1))
    expected = sorted(key for key in keys if key.startswith(prefix))
    assert [entry.key for entry in notes.entries(prefix)] == expected
    assert sorted(entry.key for entry in notes.watch(prefix=prefix, since=0).entries) == expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_killed_at_its_commit_leaves_all_of_a_write_or_nothing(notes, spawn, when):
    notes["a"] = 1
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("update", {"a": 2, "b": 2}).gone()
    made = when == "after"
    assert notes.copy() == ({"a": 2, "b": 2} if made else {"a": 1})
    assert (len(notes), notes.statistics().writes) == ((2, 3) if made else (1, 1))
    assert [change.value for change in notes.history("a")] == ([2, 1] if made else [1])
    assert len(notes.watch(since=1, timeout=0).entries) == (2 if made else 0)


def test_a_watcher_is_told_although_the_writer_died_behind_its_commit(spawn, in_line):
    ada, bob = spawn("ada"), spawn("bob").start("watch", "a")
    in_line("map")
    ada.die(1, "after")
    ada.start("put", "a", 1).gone()
    assert bob.result().entries == (Entry("a", 1, 1),)


# As a dict to the letter.


@pytest.mark.skipif(mapping_tests is None, reason="this interpreter comes without test.mapping_tests")
class TestMapAgainstCPythonsOwnTests(mapping_tests.TestMappingProtocol if mapping_tests else unittest.TestCase):
    # These make maps with keys that are numbers, by the type's own class method, or with values that JSON lacks.
    test_clear = test_copy = test_fromkeys = test_items = test_setdefault = test_update = test_values = None

    @pytest.fixture(autouse=True)
    def _names(self, tmp_path):
        store = Store(tmp_path / "swarm")
        member, names = join(store, "test"), itertools.count()

        def made(*arguments, **more):
            made = SharedMap(member, f"map {next(names)}")
            made.update(*arguments, **more)
            return made

        self.type2test = made
        yield
        store.close()

    def _reference(self):
        return {"1": "2", "key1": "value1", "key2": [1, 2, 3]}


@pytest.mark.parametrize("key", [1, None, 1.5, b"a", (), "", "a\0", "caf\udce9", "x" * 201], ids=ascii)
def test_a_key_that_cannot_have_been_written_is_not_there(notes, key):
    assert (key in notes, notes.get(key), notes.pop(key, 7)) == (False, None, 7)
    for call in (lambda: notes[key], lambda: notes.pop(key), lambda: notes.__delitem__(key)):
        with pytest.raises(KeyError) as caught:
            call()
        assert caught.value.args == (key,)


def test_a_number_is_not_the_key_that_it_reads_as(notes):
    notes["1"] = "text"
    assert (1 in notes, notes.get(1), 1 in notes.keys()) == (False, None, False)  # noqa: SIM118  the view itself


@pytest.mark.parametrize("call", ["__getitem__", "__contains__", "__delitem__", "get", "pop"])
def test_what_no_dict_takes_for_a_key_is_a_type_error(notes, call):
    with pytest.raises(TypeError, match="unhashable"):
        getattr(notes, call)([])


def test_a_map_has_no_hash_and_equals_what_holds_the_same(notes, member):
    with pytest.raises(TypeError, match="unhashable"):
        hash(notes)
    notes.update(a=1, b=[2])
    other = SharedMap(member, "other")
    assert notes != other
    other.update(notes)
    assert notes == other == {"b": [2], "a": 1} == notes
    assert notes == SharedMap(member, "notes")
    assert notes != {"a": 1}
    assert notes != [("a", 1), ("b", [2])]


def test_maps_are_united_as_dicts_are(notes):
    notes.update(a=1, b=2)
    assert notes | {"b": 3, 4: 5} == {"a": 1, "b": 3, 4: 5}
    assert {"b": 3, "c": 4} | notes == {"a": 1, "b": 2, "c": 4}
    assert type(notes | {}) is type({} | notes) is dict
    same = notes
    notes |= [("b", 5)]
    notes |= {"c": 6}
    assert same is notes
    assert notes == {"a": 1, "b": 5, "c": 6}
    for other in ([("a", 1)], 1):
        with pytest.raises(TypeError):
            notes | other


def test_update_takes_what_a_dict_takes(notes, store):
    notes.update()
    notes.update({})
    assert not store.rows("select 1 from map")
    notes.update([("a", 1), ["b", 2]], c=3)
    notes.update(notes, d=4)
    assert notes == {"a": 1, "b": 2, "c": 3, "d": 4}
    for wrong in (1, [1], [("a",)], "ab"):
        with pytest.raises((TypeError, ValueError)):
            notes.update(wrong)
    with pytest.raises(Invalid):
        notes.update({"a": 5, "e": math.nan})
    assert notes == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_views_show_what_is_there_when_one_looks(notes):
    keys, values, items = notes.keys(), notes.values(), notes.items()
    notes.update(b=[2], a=1)
    assert (list(keys), list(values), list(items)) == (["a", "b"], [1, [2]], [("a", 1), ("b", [2])])
    assert (list(reversed(keys)), list(reversed(values)), list(reversed(items))) == (
        ["b", "a"], [[2], 1], [("b", [2]), ("a", 1)],
    )  # fmt: skip
    assert (len(keys), len(values), len(items), list(reversed(notes))) == (2, 2, 2, ["b", "a"])
    assert ([2] in values, 3 in values, ("a", 1) in items, ("a", 2) in items, ("z", 1) in items) == (
        True, False, True, False, False,
    )  # fmt: skip
    assert keys & {"a", "z"} == {"a"}
    assert keys - {"a"} == {"b"}
    assert keys == {"a", "b"}


def test_a_loop_sees_one_moment(notes):
    notes.update(a=1, b=2)
    for key in notes:
        notes[key + "'"] = 3
        notes.pop("b", None)
    for _, value in notes.items():  # noqa: PERF102  the view of both is meant
        notes["z"] = value + 1
    assert notes == {"a": 1, "a'": 3, "b'": 3, "z": 4}


def test_what_a_map_says_of_itself(notes, store):
    notes["a"] = 1
    assert repr(notes) == "<SharedMap 'notes': 1 keys>"
    store.path.unlink()
    store.path.mkdir()
    store.close()
    assert repr(notes) == "<SharedMap 'notes'>"


def test_get_many_reads_in_the_order_of_the_question(notes):
    notes.update(a=1, b=2, c=3)
    del notes["c"]
    assert list(notes.get_many(["b", "never", "a", "c", "b"]).items()) == [("b", 2), ("a", 1)]
    assert notes.get_many([]) == {}


def test_a_full_map_takes_no_more_keys(notes, store, member):
    notes.update(a=1, b=2)
    with store.transaction(member.me) as tx:
        tx.execute("update map set keys = :most where name = 'notes'", most=map_rows.MAP_KEYS)
    notes["a"] = 3
    with pytest.raises(Invalid, match=r"1000000"):
        notes["c"] = 1
    del notes["b"]
    notes["c"] = 1
    assert notes.copy() == {"a": 3, "c": 1}


def test_a_map_travels_to_another_process(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        swarm.SharedMap("notes")["a"] = 1
        there = pickle.loads(pickle.dumps(swarm.SharedMap("notes")))
        assert there == {"a": 1}
        there["b"] = 2
        assert swarm.SharedMap("notes") == {"a": 1, "b": 2}


def test_threads_of_one_process_share_a_map(notes):
    crowd = [threading.Thread(target=lambda: [notes.add("n", 1) for _ in range(50)]) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert notes["n"] == 200


def test_writes_of_one_atomic_block_happen_together_or_not_at_all(notes, member, spawn, in_line):
    ada = spawn("ada").start("watch", prefix="")
    in_line("map")
    with pytest.raises(KeyError), member.store.atomic(member.me):  # noqa: PT012  the second line fails
        notes["a"] = 1
        del notes["never"]
    assert (len(notes), ada.busy()) == (0, True)
    with member.store.atomic(member.me):
        notes["a"] = 1
        with pytest.raises(VersionConflict):
            notes.put("a", 2, if_version=0)
        notes["b"] = notes["a"] + 1
    assert [entry.key for entry in ada.result().entries] == ["a", "b"]
    assert notes == {"a": 1, "b": 2}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner), max_leaves=5)


class Notes(RuleBasedStateMachine):
    """A map against a dict and a dict of versions, written by two members in turn."""

    keys = Bundle("keys")

    def __init__(self, store):
        super().__init__()
        name = f"map {store.row('select count(*) as n from event')['n']}"
        self.maps = [SharedMap(join(store, who), name) for who in ("ada", "bob")]
        self.dict, self.versions, self.once = {}, {}, {}
        self.seen, self.changed = 0, set()

    @initialize(target=keys)
    def two_keys(self):
        return multiple("a", "ab")

    @rule(target=keys, key=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    def a_key(self, key):
        return key[:200]

    def written(self, key, *, value=None, removed=False):
        self.versions[key] = self.versions.get(key, 0) + 1
        self.changed.add(key)
        if removed:
            del self.dict[key]
        else:
            self.dict[key] = value
        return self.versions[key]

    @rule(who=st.integers(0, 1), key=keys, value=JSON, version=st.none() | st.integers(0, 4), name=st.integers(0, 9))
    def put(self, who, key, value, version, name):
        once = f"put {name}" if name < 5 else None
        if once in self.once:
            assert self.maps[who].put(key, value, if_version=version, once=once) == self.once[once]
        elif version not in (None, self.versions.get(key, 0)):
            with pytest.raises(VersionConflict):
                self.maps[who].put(key, value, if_version=version, once=once)
        else:
            found = self.maps[who].put(key, value, if_version=version, once=once)
            assert found == self.written(key, value=value)
            self.once |= {once: found} if once else {}

    @rule(who=st.integers(0, 1), key=keys, amount=st.integers())
    def add(self, who, key, amount):
        held = self.dict.get(key, 0)
        if isinstance(held, bool) or not isinstance(held, int):
            return
        assert self.maps[who].add(key, amount) == held + amount
        self.written(key, value=held + amount)

    @rule(who=st.integers(0, 1), key=keys)
    def delete(self, who, key):
        assert self.maps[who].delete(key) == (key in self.dict)
        if key in self.dict:
            self.written(key, removed=True)

    @rule(who=st.integers(0, 1), key=keys)
    def pop(self, who, key):
        assert self.maps[who].pop(key, "absent") == self.dict.get(key, "absent")
        if key in self.dict:
            self.written(key, removed=True)

    @rule(who=st.integers(0, 1), key=keys, value=JSON)
    def setdefault(self, who, key, value):
        assert self.maps[who].setdefault(key, value) == self.dict.get(key, value)
        if key not in self.dict:
            self.written(key, value=value)

    @rule(key=keys)
    def prefix(self, key):
        found = [entry.key for entry in self.maps[0].entries(key[:2])]
        assert found == sorted(one for one in self.dict if one.startswith(key[:2]))

    @rule(who=st.integers(0, 1))
    def clear(self, who):
        self.maps[who].clear()
        for key in list(self.dict):
            self.written(key, removed=True)

    @rule(who=st.integers(0, 1), more=st.dictionaries(st.sampled_from("abcde"), JSON, max_size=3))
    def update(self, who, more):
        self.maps[who].update(more)
        for key, value in more.items():
            self.written(key, value=value)

    @rule(who=st.integers(0, 1))
    def popitem(self, who):
        if not self.dict:
            with pytest.raises(KeyError):
                self.maps[who].popitem()
            return
        first = min(self.dict)
        assert self.maps[who].popitem() == (first, self.dict[first])
        self.written(first, removed=True)

    @rule(who=st.integers(0, 1))
    def watch(self, who):
        found = self.maps[who].watch(since=self.seen, timeout=0)
        assert {entry.key for entry in found.entries} == self.changed
        for entry in found.entries:
            assert (entry.present, entry.value) == (entry.key in self.dict, self.dict.get(entry.key))
            assert entry.version == self.versions[entry.key]
        self.seen, self.changed = found.version, set()

    @rule(key=keys)
    def history(self, key):
        found = self.maps[0].history(key)
        assert [change.version for change in found] == list(range(self.versions.get(key, 0), 0, -1))
        assert not found or (found[0].deleted, found[0].value) == (key not in self.dict, self.dict.get(key))

    @invariant()
    def the_counters_count(self):
        found = self.maps[0].statistics()
        assert (found.keys, found.writes) == (len(self.dict), sum(self.versions.values()))

    @invariant()
    def the_maps_agree(self):
        for one in self.maps:
            assert one == self.dict
            assert {entry.key: entry.version for entry in one.entries()} == {
                key: self.versions[key] for key in self.dict
            }


def test_a_map_agrees_with_a_dict(store):
    run_state_machine_as_test(
        lambda: Notes(store), settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )
