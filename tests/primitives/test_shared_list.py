"""The list: as a list, whatever is put in or taken out where; no item is lost or doubled, and a reader can follow."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import contextlib
import itertools
import math
import operator
import pickle
import threading
import unittest
from collections.abc import MutableSequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prong.primitives import SharedList, list_rows
from prong.primitives.joined import join as join_program
from prong.primitives.list_reading import ListStatistics
from prong.primitives.values import VALUE_BYTES
from prong.state import Deposed, Invalid, Store, join
from prong.state.errors import WaitInsideAtomic

try:
    from test import list_tests
except ImportError:
    list_tests = None


def append_often(here, times):
    """Append our number and a count; which indexes we got."""
    return [here.object.append([here.member.me.agent, number]) for number in range(times)]


def pop_often(here, index, times):
    """Pop as often as there is something; what we got."""
    got = []
    for _ in range(times):
        with contextlib.suppress(IndexError):
            got.append(here.object.pop(index))
    return got


def push_and_pop_in_the_middle(here, times):
    for number in range(times):
        here.object.insert(len(here.object) // 2, number)
        here.object.pop(len(here.object) // 2)


def read_another(here, index):
    return SharedList(here.member, "another").since(index)


def read_until(here, last):
    """Follow the list until an item equals `last`; all that we read."""
    return list(itertools.takewhile(lambda item: item != last, here.object.tail(0)))


@pytest.fixture
def steps(member):
    return SharedList(member, "steps")


@pytest.fixture
def spawn(processes):
    return lambda name: processes(name, ("prong.primitives", "SharedList", ("steps",), {}))


@pytest.fixture
def rows(store):
    """The items as they stand, by position from the list's first on."""

    def rows():
        found = store.rows(
            "select position - first as place, length, value from list join list_item on list = name"
            " where name = 'steps' order by position"
        )
        assert [row["place"] for row in found] == list(range(found[0]["length"] if found else 0))
        return [row["value"] for row in found]

    return rows


# As a list to the letter.


@pytest.mark.skipif(list_tests is None, reason="this interpreter comes without test.list_tests")
class TestListAgainstCPythonsOwnTests(list_tests.CommonTest if list_tests else unittest.TestCase):
    # These put in what JSON lacks: objects that compare in ways of their own, iterators, the list itself.
    test_contains_fake = test_contains_order = test_count = test_index = test_remove = test_repr_deep = None
    # These make a list by its class alone, or look at what only an object in memory has.
    test_addmul = test_free_after_iterating = test_getitemoverwriteiter = test_init = test_pickle = test_repr = None
    # An iterator shows one moment here, so that it does not go on where the list has grown.
    test_exhausted_iterator = None

    @pytest.fixture(autouse=True)
    def _names(self, tmp_path):
        store = Store(tmp_path / "swarm")
        member, names = join(store, "test"), itertools.count()

        def made(values=()):
            made = SharedList(member, f"list {next(names)}")
            made.extend(values)
            return made

        self.type2test = made
        yield
        store.close()


def test_a_list_is_a_mutable_sequence(steps):
    assert isinstance(steps, MutableSequence)
    steps.extend(["a", [1, {"two": None}], 2.5])
    assert (len(steps), steps[0], steps[-1], steps[1:], list(steps)) == (
        3, "a", 2.5, [[1, {"two": None}], 2.5], ["a", [1, {"two": None}], 2.5],
    )  # fmt: skip
    assert ("a" in steps, 7 in steps, steps.index(2.5), steps.count("a")) == (True, False, 2, 1)
    assert (bool(steps), next(reversed(steps))) == (True, 2.5)
    steps.clear()
    assert not steps


def test_append_returns_the_index(steps):
    assert [steps.append(item) for item in "abc"] == [0, 1, 2]
    steps.pop(0)
    assert (steps.append("d"), steps.copy()) == (2, ["b", "c", "d"])


def test_what_is_in_hand_does_not_change_what_is_stored(steps):
    value = [1]
    steps.append(value)
    value.append(2)
    steps[0].append(3)
    for item in steps:
        item.append(4)
    assert steps == [[1]]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda it: it[3], IndexError), (lambda it: it[-4], IndexError), (lambda it: it[10**30], IndexError),
        (lambda it: it["a"], TypeError), (lambda it: it[1.0], TypeError), (lambda it: it[None], TypeError),
        (lambda it: it[::0], ValueError), (lambda it: it["a":], TypeError),
        (lambda it: operator.setitem(it, 3, 0), IndexError), (lambda it: operator.setitem(it, -4, 0), IndexError),
        (lambda it: operator.setitem(it, "a", 0), TypeError),
        (lambda it: operator.setitem(it, slice(None, None, 2), [1]), ValueError),
        (lambda it: operator.setitem(it, slice(2, None, -1), [1]), ValueError),
        (lambda it: operator.setitem(it, slice(1, 2), 7), TypeError),
        (lambda it: operator.delitem(it, 3), IndexError), (lambda it: operator.delitem(it, -4), IndexError),
        (lambda it: operator.delitem(it, "a"), TypeError),
        (lambda it: operator.delitem(it, slice(0, 3, 0)), ValueError),
        (lambda it: it.pop(3), IndexError), (lambda it: it.pop(-4), IndexError), (lambda it: it.pop("a"), TypeError),
        (lambda it: it.insert("a", 1), TypeError), (lambda it: it.remove(7), ValueError),
        (lambda it: it.index(7), ValueError), (lambda it: it.index(0, 1), ValueError),
        (lambda it: it.extend(7), TypeError), (lambda it: operator.add(it, (1,)), TypeError),
        (lambda it: it * "a", TypeError),
        (lambda it: operator.imul(it, 1.5), TypeError), (lambda it: it < (1,), TypeError), (hash, TypeError),
    ],
)  # fmt: skip
def test_what_a_list_refuses_is_refused_in_its_words(steps, call, error):
    plain = [0, 1, 2]
    steps.extend(plain)
    with pytest.raises(error) as expected:
        call(plain)
    with pytest.raises(error) as caught:
        call(steps)
    words = str(expected.value)
    if "concatenate" not in words and "not supported" not in words and "unhashable" not in words:
        assert str(caught.value) == words
    assert steps == plain


def test_nothing_can_be_popped_from_an_empty_list(steps):
    for index in (0, -1, 1):
        with pytest.raises(IndexError, match="pop from empty list"):
            steps.pop(index)


def test_lists_compare_and_add_as_lists_do(steps, member):
    steps.extend([1, 2])
    other = SharedList(member, "other")
    other.append(1)
    assert (steps == [1, 2], steps == (1, 2), steps != other, steps == SharedList(member, "steps")) == (
        True, False, True, True,
    )  # fmt: skip
    assert (steps > other, other < steps, steps <= [1, 2], steps >= [1, 3], steps < [2]) == (
        True, True, True, False, True,
    )  # fmt: skip
    assert (operator.eq([1, 2], steps), operator.lt([0], steps), operator.ge([1], steps)) == (True, True, False)
    assert (steps + other, operator.add([0], steps), steps * 2, 2 * steps) == (
        [1, 2, 1], [0, 1, 2], [1, 2, 1, 2], [1, 2, 1, 2],
    )  # fmt: skip
    same = steps
    steps += other
    steps *= 2
    assert same is steps
    assert steps == [1, 2, 1, 1, 2, 1]
    steps *= 0
    assert steps == []


@pytest.mark.parametrize("length", [0, 1, 5])
def test_every_slice_is_read_set_and_deleted_as_a_lists(steps, rows, length):
    """All slices within a small list and around it, against a list."""
    bounds = (None, -7, -3, -1, 0, 1, 3, 9, 10**30)
    for start, stop, step in itertools.product(bounds, bounds, (None, 1, 2, -1, -2)):
        where, plain = slice(start, stop, step), list(range(length))
        steps[:] = plain
        assert steps[where] == plain[where]
        new = [[item] for item in range(len(plain[where]) + (step is None))]
        plain[where] = new
        steps[where] = new
        assert steps == plain
        del plain[where]
        del steps[where]
        assert steps == plain
    assert len(rows()) == len(plain)


def test_sorting_is_a_lists(steps):
    steps.extend(["bb", "a", "ccc", "dd"])
    steps.sort()
    assert steps == ["a", "bb", "ccc", "dd"]
    steps.sort(key=len, reverse=True)
    assert steps == ["ccc", "bb", "dd", "a"]
    with pytest.raises(TypeError):
        steps.sort(key=lambda item: 1 if item == "a" else "b")
    with pytest.raises(TypeError):
        steps.sort(len)
    assert steps == ["ccc", "bb", "dd", "a"]


def test_a_list_that_changes_while_it_is_sorted_is_not(steps):
    steps.extend([2, 1])
    with pytest.raises(ValueError, match="list modified during sort"):
        steps.sort(key=lambda item: [steps.append(3), item][1])
    assert steps == [2, 1, 3, 3]


def test_a_loop_sees_one_moment(steps):
    steps.extend([1, 2, 3])
    for item in steps:
        steps.append(item * 10)
        steps.pop(0)
    assert steps == [10, 20, 30]


def test_lists_of_other_names_are_other_lists(steps, member):
    other = SharedList(member, "other")
    for one in (steps, other):
        one.extend(range(6))
    steps.reverse()
    steps.insert(2, "a")
    steps.insert(-2, "b")
    steps.sort(key=str)
    del steps[::2]
    steps[0] = "c"
    steps.pop(1)
    assert other == list(range(6))
    steps.clear()
    assert other == list(range(6))


def test_a_list_can_be_put_into_itself(steps):
    steps.extend([1, 2])
    steps += steps
    steps[1:1] = steps
    assert steps == [1, 1, 2, 1, 2, 2, 1, 2]
    with pytest.raises(Invalid, match="cannot be stored"):
        steps.append(steps)


def test_what_a_list_says_of_itself(steps, store):
    steps.append("a")
    assert repr(steps) == "<SharedList 'steps': 1 items>"
    store.path.unlink()
    store.path.mkdir()
    store.close()
    assert repr(steps) == "<SharedList 'steps'>"


# Bounds, large items, the log.


@pytest.mark.parametrize("value", [math.nan, "caf\udce9", b"a", {1, 2}], ids=ascii)
def test_a_value_that_json_does_not_hold_is_refused(steps, value):
    steps.append(0)
    calls = (
        lambda: steps.append(value), lambda: steps.extend([1, value]), lambda: steps.insert(0, value),
        lambda: operator.setitem(steps, 0, value), lambda: operator.setitem(steps, slice(0, 1), [1, value]),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(Invalid, match="item of list 'steps' cannot be stored"):
            call()
    assert steps == [0]


def test_large_items_are_artifacts(steps, store):
    large, larger = "x" * VALUE_BYTES, "y" * (VALUE_BYTES + 1)
    steps.append(large)
    steps.extend([1, larger])
    steps.insert(1, larger)
    steps[0] = larger
    assert steps == [larger, larger, 1, larger]
    assert len(list(store.artifacts.iterdir())) == 2
    assert (steps.pop(0, once="call"), steps.pop(0, once="call"), steps[-1]) == (larger, larger, larger)
    assert max(len(row["data"]) for row in store.rows("select data from event")) < 1_000


def test_a_large_extension_is_told_in_entries_of_a_bounded_size(steps, store):
    items = [str(number) * 5_000 for number in range(10, 60)]
    steps.append("first")
    steps.extend(items)
    assert steps == ["first", *items]
    log = store.rows("select data ->> 'index' as at, data from event where kind = 'list.spliced' order by seq")
    assert [row["at"] for row in log] == [1, 27]
    assert all(len(row["data"]) <= VALUE_BYTES + 1_000 for row in log)


def test_a_full_list_takes_no_more(steps, store, member):
    steps.extend([1, 2])
    with store.transaction(member.me) as tx:
        tx.execute("update list set length = :most where name = 'steps'", most=list_rows.LIST_ITEMS)
    for call in (lambda: steps.append(3), lambda: steps.insert(0, 3), lambda: steps.extend([3])):
        with pytest.raises(Invalid, match="1000000"):
            call()
    assert len(steps) == list_rows.LIST_ITEMS


def test_the_log_tells_of_every_change(steps, store):
    steps.append("a")
    steps.extend(["b", "c"])
    steps.insert(1, "d")
    steps[-1] = "e"
    steps[0:2] = ["f"]
    steps.pop(0)
    del steps[0]
    steps.extend(["g", "h"])
    steps.reverse()
    steps.sort()
    del steps[::2]
    steps.clear()
    rows = store.rows("select kind, data from event where kind like 'list.%' and object = 'steps' order by seq")
    assert [tuple(row) for row in rows] == [
        ("list.appended", '{"index":0,"value":"a"}'),
        ("list.spliced", '{"index":1,"removed":0,"values":["b","c"]}'),
        ("list.spliced", '{"index":1,"removed":0,"values":["d"]}'),
        ("list.set", '{"index":3,"value":"e"}'),
        ("list.spliced", '{"index":0,"removed":2,"values":["f"]}'),
        ("list.popped", '{"index":0,"value":"f"}'),
        ("list.spliced", '{"index":0,"removed":1,"values":[]}'),
        ("list.spliced", '{"index":1,"removed":0,"values":["g","h"]}'),
        ("list.reversed", "{}"),
        ("list.reordered", '{"order":[2,1,0]}'),
        ("list.thinned", '{"start":0,"stop":3,"step":2}'),
        ("list.spliced", '{"index":0,"removed":1,"values":[]}'),
    ]


def test_what_changes_nothing_is_not_told(steps, store):
    steps.extend([])
    steps.clear()
    steps[0:0] = []
    del steps[5:]
    assert not store.rows("select 1 from event where kind like 'list.%'")


def test_changes_at_both_ends_do_not_touch_what_is_between(steps, store):
    """The items in the middle keep their positions, so that the ends cost the same however long the list is."""
    steps.extend(range(100))
    middle = "select position from list_item where list = 'steps' and value = '50'"
    before = store.row(middle)["position"]
    for _ in range(3):
        steps.insert(0, "a")
        steps.insert(2, "b")
        steps.append("c")
        steps.insert(len(steps) - 1, "d")
    for index in (0, -1, 1, -2, 0, -1):
        steps.pop(index)
    del steps[:2]
    del steps[-2:]
    assert store.row(middle)["position"] == before


# Changes that bear a name.


def test_a_change_that_is_repeated_returns_what_it_returned_and_changes_nothing(steps, people):
    (ada,) = people("ada")
    hers = SharedList(ada, "steps")
    assert (steps.append("a", once="append"), hers.append("z", once="append")) == (0, 0)
    for one in (steps, hers):
        one.extend(["b", "c"], once="extend")
        one.insert(0, "first", once="insert")
    assert steps == ["first", "a", "b", "c"]
    assert (steps.pop(1, once="pop"), hers.pop(1, once="pop"), hers.pop(1, once="another")) == ("a", "a", "b")
    assert steps == ["first", "c"]


def test_a_change_that_was_refused_was_not_made(steps):
    with pytest.raises(IndexError):
        steps.pop(once="pop")
    steps.append("a")
    assert steps.pop(once="pop") == "a"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "options", "made"),
    [
        (("append", 9), {"once": "c"}, [1, 2, 3, 9]),
        (("extend", [8, 9]), {"once": "c"}, [1, 2, 3, 8, 9]),
        (("insert", 1, 9), {"once": "c"}, [1, 9, 2, 3]),
        (("pop", 0), {"once": "c"}, [2, 3]),
        (("pop", 1), {"once": "c"}, [1, 3]),
        (("remove", 2), {}, [1, 3]),
        (("reverse",), {}, [3, 2, 1]),
        (("sort",), {"reverse": True}, [3, 2, 1]),
        (("clear",), {}, []),
        (("__setitem__", slice(0, 2), [7, 8, 9]), {}, [7, 8, 9, 3]),
        (("__delitem__", slice(0, 3, 2)), {}, [2]),
    ],
)
def test_a_change_killed_at_its_commit_is_made_whole_or_not_at_all(steps, spawn, rows, when, call, options, made):
    steps.extend([1, 2, 3])
    ada = spawn("ada")
    ada.die(1, when)
    ada.start(*call, **options).gone()
    assert steps == (made if when == "after" else [1, 2, 3])
    assert len(rows()) == len(steps)
    if options.get("once"):
        getattr(steps, call[0])(*call[1:], **options)
        assert steps == made


def test_the_dead_write_nothing(steps, spawn, bury):
    ada = spawn("ada")
    bury(ada)
    with pytest.raises(Deposed):
        ada.do("append", 1)
    assert steps == []


# Reading on.


def test_since_returns_what_is_there_from_an_index_on(steps):
    steps.extend("abcd")
    assert (steps.since(2), steps.since(0, limit=2), steps.since(3, limit=9)) == (["c", "d"], ["a", "b"], ["d"])
    assert (steps.since(4, timeout=0), steps.since(99, timeout=0)) == ([], [])


@pytest.mark.parametrize("how", [{"index": -1}, {"index": None}, {"index": 0, "limit": 0}, {"index": 0, "timeout": -1}])
def test_what_is_no_place_to_read_from_is_refused(steps, how):
    with pytest.raises(Invalid):
        steps.since(**how)
    with pytest.raises(Invalid):
        steps.tail(-1)


@pytest.mark.parametrize(
    "call", [("append", "b"), ("extend", ["b"]), ("insert", 0, "b"), ("__setitem__", slice(0, 0), ["b"])]
)
def test_whoever_makes_the_list_longer_wakes_those_who_wait_for_it(steps, spawn, in_line, call):
    steps.append("a")
    ada, bob = spawn("ada").start("since", 1), spawn("bob").start("since", 2)
    in_line("list", 2)
    getattr(steps, call[0])(*call[1:])
    assert ada.result() == [steps[1]]
    assert bob.busy()
    steps.append("c")
    assert bob.result() == ["c"]


def test_what_does_not_make_it_longer_wakes_nobody(steps, member, spawn, in_line, waiters):
    steps.extend("ab")
    ada, bob = spawn("ada").start("since", 2), spawn("bob").start_running(read_another, 3)
    in_line("list", 2)
    steps[0] = "c"
    steps[0:1] = ["d"]
    steps.reverse()
    steps.sort()
    steps.pop()
    steps.append("e")
    another = SharedList(member, "another")
    another.extend("abc")
    assert [state for _, state in waiters()] == ["waiting"] * 2
    assert (ada.busy(), bob.busy(), steps.statistics()) == (True, True, ListStatistics("steps", 2, 1))
    steps.extend("fg")
    assert (ada.result(), bob.busy()) == (["f", "g"], True)
    another.append("d")
    assert bob.result() == ["d"]


def test_a_wait_ends_when_its_time_is_up(steps, clock, during, waiters):
    patient = during(steps._member, asleep=lambda: clock.advance(5))
    assert SharedList(patient, "steps").since(0, timeout=5) == []
    assert [state for _, state in waiters() if state == "waiting"] == []


def test_a_wait_inside_an_atomic_block_is_refused(steps, member):
    with pytest.raises(WaitInsideAtomic), member.store.atomic(member.me):
        steps.since(0)
    with member.store.atomic(member.me):
        steps.append("a")
        assert steps.since(0) == ["a"]


def test_an_interrupted_wait_leaves_nothing(spawn, in_line, until, store):
    ada = spawn("ada").start("since", 0)
    in_line("list")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    until(lambda: not store.rows("select 1 from waiter where state = 'waiting'"), "the row gone")


def test_a_reader_that_follows_reads_everything_in_order(steps, spawn):
    """Three processes append while one follows; it must read exactly what the list holds in the end."""
    writers = [spawn(f"p{n}") for n in range(3)]
    reader = spawn("reader").start_running(read_until, "the end")
    for process in writers:
        process.start_running(append_often, 50)
    indexes = [index for process in writers for index in process.result()]
    steps.append("the end")
    assert reader.result() == steps[:-1]
    assert sorted(indexes) == list(range(150))


def test_a_tail_begins_at_the_end_or_where_it_is_told(steps):
    steps.extend("ab")
    coming, all_of_it = steps.tail(), steps.tail(0)
    steps.extend("cd")
    assert (next(coming), next(coming), list(itertools.islice(all_of_it, 4))) == ("c", "d", ["a", "b", "c", "d"])


# Many at once.


@pytest.mark.parametrize("index", [0, -1])
def test_of_many_who_pop_each_gets_another_item(steps, spawn, index):
    steps.extend(range(200))
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(pop_often, index, 60)
    assert sorted(item for process in crowd for item in process.result()) == list(range(200))
    assert steps == []


def test_items_that_are_moved_by_many_are_not_lost(steps, spawn, rows):
    steps.extend(range(20))
    crowd = [spawn(f"p{n}") for n in range(3)]
    for process in crowd:
        process.start_running(push_and_pop_in_the_middle, 30)
    for process in crowd:
        process.result()
    assert len(steps) == len(rows()) == 20


def test_threads_of_one_process_share_a_list(steps):
    crowd = [threading.Thread(target=lambda: [steps.append(1) for _ in range(50)]) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert steps == [1] * 200


def test_a_list_travels_to_another_process(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        swarm.SharedList("steps").append("a")
        there = pickle.loads(pickle.dumps(swarm.SharedList("steps")))
        assert there == ["a"]
        there.append("b")
        assert swarm.SharedList("steps") == ["a", "b"]


INDEXES = st.integers(-9, 9)
SLICES = st.slices(8)
ITEMS = st.lists(st.integers(0, 5) | st.text("ab", max_size=2), max_size=4)


class Steps(RuleBasedStateMachine):
    """A list against a list, written by two members in turn."""

    def __init__(self, store):
        super().__init__()
        name = f"list {store.row('select count(*) as n from event')['n']}"
        self.lists = [SharedList(join(store, who), name) for who in ("ada", "bob")]
        self.list = []

    def both(self, who, call):
        """The same outcome from both."""
        outcomes = []
        for one in (self.lists[who], self.list):
            try:
                outcomes.append(call(one))
            except (IndexError, ValueError) as error:
                outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]

    @rule(who=st.integers(0, 1), value=st.integers())
    def append(self, who, value):
        assert self.lists[who].append(value) == len(self.list)
        self.list.append(value)

    @rule(who=st.integers(0, 1), values=ITEMS)
    def extend(self, who, values):
        self.both(who, lambda one: one.extend(values))

    @rule(who=st.integers(0, 1), index=INDEXES, value=st.text("abc"))
    def insert(self, who, index, value):
        self.both(who, lambda one: one.insert(index, value))

    @rule(who=st.integers(0, 1), index=INDEXES)
    def pop(self, who, index):
        self.both(who, lambda one: one.pop(index))

    @rule(who=st.integers(0, 1), index=INDEXES | SLICES)
    def get(self, who, index):
        self.both(who, lambda one: one[index])

    @rule(who=st.integers(0, 1), index=INDEXES, value=st.integers())
    def put(self, who, index, value):
        self.both(who, lambda one: operator.setitem(one, index, value))

    @rule(who=st.integers(0, 1), index=SLICES, values=ITEMS)
    def put_slice(self, who, index, values):
        self.both(who, lambda one: operator.setitem(one, index, values))

    @rule(who=st.integers(0, 1), index=INDEXES | SLICES)
    def delete(self, who, index):
        self.both(who, lambda one: operator.delitem(one, index))

    @rule(who=st.integers(0, 1), value=st.integers(0, 5))
    def remove(self, who, value):
        self.both(who, lambda one: one.remove(value))

    @rule(who=st.integers(0, 1))
    def reverse(self, who):
        self.both(who, lambda one: one.reverse())

    @rule(who=st.integers(0, 1), reverse=st.booleans())
    def sort(self, who, reverse):
        self.both(who, lambda one: one.sort(key=str, reverse=reverse))

    @rule(who=st.integers(0, 1), index=st.integers(0, 9))
    def since(self, who, index):
        assert self.lists[who].since(index, timeout=0) == self.list[index:]

    @invariant()
    def the_lists_agree(self):
        for one in self.lists:
            assert one == self.list
            assert len(one) == len(self.list)
        assert self.lists[0]._texts() == self.lists[0]._texts(-len(self.list)) if self.list else True


def test_a_list_agrees_with_a_list(store):
    run_state_machine_as_test(
        lambda: Steps(store), settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
