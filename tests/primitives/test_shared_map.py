"""The map: as a dict, with a version for every key that only grows; no change is ever lost, and none is made twice."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import math
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

from prong.primitives import SharedMap, TooLarge, VersionConflict
from prong.primitives.values import VALUE_BYTES
from prong.state import Deposed, Invalid, join


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
    with pytest.raises(TypeError, match="at most 2"):
        notes.pop("a", 1, 2)


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
    assert notes.statistics() == type(notes.statistics())("notes", 1, 4)


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
        lambda: notes.setdefault(key, 1), lambda: notes.pop(key), lambda: notes.put("a", 1, once=key or ""),
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


def test_a_value_over_the_bound_is_refused_with_its_size(notes):
    notes["a"] = "ä" * (VALUE_BYTES // 2 - 1)
    with pytest.raises(TooLarge, match=f"value of 'a' is {VALUE_BYTES + 2} bytes, over the bound of {VALUE_BYTES}"):
        notes["a"] = "ä" * (VALUE_BYTES // 2)
    assert notes.entry("a").version == 1


def test_the_log_tells_the_history_of_every_key(notes, store):
    notes["a"] = [1]
    notes.add("n", 2)
    del notes["a"]
    rows = store.rows("select kind, object, data from event where kind like 'map.%' order by seq")
    assert [tuple(row) for row in rows] == [
        ("map.put", "notes", '{"key":"a","version":1,"value":[1]}'),
        ("map.put", "notes", '{"key":"n","version":1,"value":2}'),
        ("map.deleted", "notes", '{"key":"a","version":2}'),
    ]


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

    @initialize(target=keys)
    def two_keys(self):
        return multiple("a", "ab")

    @rule(target=keys, key=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
    def a_key(self, key):
        return key[:200]

    def written(self, key, *, value=None, removed=False):
        self.versions[key] = self.versions.get(key, 0) + 1
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
