"""The atomic value: each change is one step, and every number is exact."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from prong.primitives.atomic import Atomic, Change
from prong.primitives.joined import join as join_file
from prong.state import Deposed, Invalid, Store, TaskLost, join

WHOLE = st.integers(-(2**200), 2**200)
NUMBERS = WHOLE | st.floats(-1e50, 1e50) | st.integers(-5, 5)
LARGE = "x" * 300_000


def short(value):
    """The name of a test's parameter."""
    return repr(value)[:20]


def add_often(here, times):
    """Add 1 so many times; what each found."""
    return [here.object.add().old for _ in range(times)]


def compare_and_set_often(here, times):
    """Add 1 by reading and setting on condition, again and again where another was faster."""
    for _ in range(times):
        while True:
            found = here.object.get()
            if here.object.compare_and_set(found, found + 1):
                break


def exchange_often(here, texts):
    """Exchange one after the other; what each found."""
    return [here.object.exchange(text).old for text in texts]


@pytest.fixture
def tokens(member):
    return Atomic(member, "tokens")


@pytest.fixture
def spawn(processes):
    return lambda name, *initial: processes(name, ("prong.primitives.atomic", "Atomic", ("tokens", *initial), {}))


# Arithmetic.


def test_it_reads_as_its_initial_value_until_it_is_written(member, people, store):
    (ada,) = people("ada")
    tokens = Atomic(member, "tokens", 100)
    assert (tokens.get(), tokens.statistics().version) == (100, 0)
    assert store.row("select 1 from atomic") is None
    assert tokens.add(-30) == Change(100, 70, 1, changed=True)
    assert Atomic(ada, "tokens", 7).get() == 70
    assert Atomic(ada, "tokens", 7).add() == Change(70, 71, 2, changed=True)


@pytest.mark.parametrize(
    ("initial", "n", "total"),
    [
        (2**63 - 1, 1, 2**63),
        (-(2**63), -1, -(2**63) - 1),
        (2**53, 1, 2**53 + 1),
        (10**4000, 1, 10**4000 + 1),
        (0.1, 0.2, 0.1 + 0.2),
        (1, 0.5, 1.5),
        (5e-324, 0, 5e-324),
        (1.5, -1.5, 0.0),
    ],
    ids=short,
)
def test_a_sum_is_exactly_what_python_makes_of_it(member, initial, n, total):
    tokens = Atomic(member, "tokens", initial)
    change = tokens.add(n)
    assert (change.old, change.new) == (initial, total)
    assert type(tokens.get()) is type(total)
    assert tokens.get() == total


@given(WHOLE, st.lists(WHOLE, max_size=5))
@settings(max_examples=40)
def test_whole_numbers_of_any_size_are_exact(tmp_path_factory, initial, amounts):
    store = Store(tmp_path_factory.getbasetemp() / "exact")
    name = f"atomic {store.row('select count(*) as n from event')['n']}"
    tokens = Atomic(join(store, "test"), name, initial)
    assert [tokens.add(n).new for n in amounts] == [initial + sum(amounts[: n + 1]) for n in range(len(amounts))]
    store.close()


@pytest.mark.parametrize("n", ["1", True, None, [1], math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("call", ["add", "min", "max"])
def test_what_is_no_number_is_refused(tokens, call, n, store):
    with pytest.raises(Invalid, match="an atomic value; use a finite number"):
        getattr(tokens, call)(n)
    assert store.row("select 1 from atomic") is None


@pytest.mark.parametrize("value", ["text", True, None, [1], LARGE], ids=short)
@pytest.mark.parametrize("call", ["add", "min", "max"])
def test_a_value_that_is_no_number_is_not_counted_with(tokens, call, value):
    tokens.exchange(value)
    with pytest.raises(Invalid, match="atomic 'tokens' holds"):
        getattr(tokens, call)(1)
    assert (tokens.get(), tokens.statistics().version) == (value, 1)


@pytest.mark.parametrize(("initial", "n"), [(1e308, 1e308), (10**400, 0.5), (9 * 10**4299, 9 * 10**4299)], ids=short)
def test_a_sum_that_no_number_can_hold_is_refused_and_changes_nothing(member, initial, n):
    tokens = Atomic(member, "tokens", initial)
    with pytest.raises(Invalid, match=r"is no number|cannot be stored"):
        tokens.add(n)
    assert (tokens.get(), tokens.statistics().version) == (initial, 0)


@pytest.mark.parametrize(
    ("call", "found", "n", "left", "changed"),
    [
        ("min", 5, 4, 4, True),
        ("min", 5, 5, 5, False),
        ("min", 5, 6, 5, False),
        ("max", 5, 6, 6, True),
        ("max", 5, 5, 5, False),
        ("max", 5, 4, 5, False),
        ("max", 2**70, 2**70 + 1, 2**70 + 1, True),
        ("max", 2**53, 2.0**53, 2**53, False),
        ("min", 0.5, 0.25, 0.25, True),
    ],
)
def test_min_and_max_write_only_what_is_lower_or_higher(member, call, found, n, left, changed):
    tokens = Atomic(member, "tokens", found)
    version = 1 if changed else 0
    assert getattr(tokens, call)(n) == Change(found, left, version, changed=changed)
    assert (tokens.get(), tokens.statistics().version) == (left, version)


# Any value.


@pytest.mark.parametrize("value", [None, False, "", "ä😀", [1, [2, None]], {"a": {"b": 1.5}}, LARGE], ids=short)
def test_exchange_takes_what_json_holds(tokens, value):
    assert tokens.exchange(value) == Change(0, value, 1, changed=True)
    assert tokens.get() == value
    assert tokens.exchange(1) == Change(value, 1, 2, changed=True)


@pytest.mark.parametrize("value", [{1, 2}, b"x", math.nan, "\ud800", object()])
def test_what_json_cannot_hold_is_refused(member, tokens, value):
    for call in (
        lambda: tokens.exchange(value),
        lambda: tokens.compare_and_set(0, value),
        lambda: tokens.compare_and_set(value, 1),
        lambda: Atomic(member, "other", value),
    ):
        with pytest.raises(Invalid, match="cannot be stored"):
            call()
    assert (tokens.get(), tokens.statistics().version) == (0, 0)


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        (None, None, True),
        (1, 1.0, True),
        (1, 2, False),
        ("1", 1, False),
        ([1, 2], (1, 2), True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"1": 2}, {1: 2}, True),
        (LARGE, LARGE, True),
        (LARGE, LARGE[1:], False),
        (2**64, 2**64, True),
        (2**64, 2**64 + 1, False),
    ],
    ids=short,
)
def test_compare_and_set_writes_where_the_value_is_the_expected_one(member, found, expected, equal):
    cell = Atomic(member, "cell")
    cell.exchange(found)
    change = cell.compare_and_set(expected, "new")
    assert change == Change(found, "new" if equal else found, 2 if equal else 1, changed=equal)
    assert bool(change) is equal
    assert cell.get() == change.new


def test_compare_and_set_compares_with_the_initial_value_too(member):
    assert Atomic(member, "leader", None).compare_and_set(None, "ada")
    assert not Atomic(member, "leader", None).compare_and_set(None, "bob")


class Cell(RuleBasedStateMachine):
    """An atomic value against a plain one, changed by two members in turn."""

    def __init__(self, store):
        super().__init__()
        name = f"atomic {store.row('select count(*) as n from event')['n']}"
        self.cells = [Atomic(join(store, who), name, 3) for who in ("ada", "bob")]
        self.value, self.version, self.done = 3, 0, {}

    def check(self, call, new, once):
        """`new` is what the value becomes; None where it stays."""
        if once in self.done:
            expected = self.done[once]
        else:
            expected = Change(
                self.value, self.value if new is None else new, self.version + (new is not None), new is not None
            )
            self.value, self.version = expected.new, expected.version
            self.done |= {once: expected} if once else {}
        assert call(once=once) == expected

    ONCE = st.none() | st.sampled_from(["call 1", "call 2", "call 3"])

    @rule(who=st.integers(0, 1), n=NUMBERS, once=ONCE)
    def add(self, who, n, once):
        self.check(lambda once: self.cells[who].add(n, once=once), self.value + n, once)

    @rule(who=st.integers(0, 1), n=NUMBERS, once=ONCE)
    def min(self, who, n, once):
        self.check(lambda once: self.cells[who].min(n, once=once), n if n < self.value else None, once)

    @rule(who=st.integers(0, 1), n=NUMBERS, once=ONCE)
    def max(self, who, n, once):
        self.check(lambda once: self.cells[who].max(n, once=once), n if n > self.value else None, once)

    @rule(who=st.integers(0, 1), n=NUMBERS, once=ONCE)
    def exchange(self, who, n, once):
        self.check(lambda once: self.cells[who].exchange(n, once=once), n, once)

    @rule(who=st.integers(0, 1), right=st.booleans(), n=NUMBERS, once=ONCE)
    def compare_and_set(self, who, right, n, once):
        expected = self.value if right else [self.value]
        self.check(lambda once: self.cells[who].compare_and_set(expected, n, once=once), n if right else None, once)

    @invariant()
    def both_read_the_same(self):
        for cell in self.cells:
            assert (cell.get(), type(cell.get())) == (self.value, type(self.value))
            assert cell.statistics().version == self.version


def test_a_value_goes_the_way_of_a_plain_one(store):
    run_state_machine_as_test(
        lambda: Cell(store), settings=settings(max_examples=30, stateful_step_count=30, deadline=None)
    )


# Many at once.


def test_of_many_who_add_each_finds_another_number(spawn, tokens):
    crowd = [spawn(f"p{n}") for n in range(6)]
    for process in crowd:
        process.start_running(add_often, 40)
    found = [number for process in crowd for number in process.result()]
    assert sorted(found) == list(range(240))
    assert tokens.get() == 240


def test_of_many_who_compare_and_set_none_overwrites_another(spawn, tokens):
    crowd = [spawn(f"p{n}") for n in range(4)]
    for process in crowd:
        process.start_running(compare_and_set_often, 25)
    for process in crowd:
        process.result()
    assert (tokens.get(), tokens.statistics().version) == (100, 100)


def test_of_many_who_exchange_each_value_is_found_once(spawn, tokens):
    crowd = [spawn(f"p{n}") for n in range(4)]
    for n, process in enumerate(crowd):
        process.start_running(exchange_often, [f"{n} {i}" for i in range(25)])
    found = [value for process in crowd for value in process.result()]
    found.append(tokens.get())
    assert sorted(map(str, found)) == sorted(["0"] + [f"{n} {i}" for n in range(4) for i in range(25)])


# Once, death, atomic blocks.


def test_a_change_of_one_value_leaves_the_others(tokens, member):
    other = Atomic(member, "other", 5)
    other.add(1)
    tokens.add(1)
    tokens.add(1)
    assert (tokens.get(), other.get()) == (2, 6)
    assert (tokens.statistics().version, other.statistics().version) == (2, 1)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("add", (2,)), ("min", (-1,)), ("max", (9,)), ("exchange", (LARGE,)), ("compare_and_set", (0, [1]))],
    ids=short,
)
def test_a_change_of_the_same_name_is_made_once(tokens, people, call, arguments):
    (ada,) = people("ada")
    first = getattr(tokens, call)(*arguments, once="call 7")
    tokens.exchange("later")
    assert getattr(Atomic(ada, "tokens"), call)(*arguments, once="call 7") == first
    assert (tokens.get(), tokens.statistics().version) == ("later", 2)
    assert first.changed


def test_a_change_that_was_refused_its_condition_stays_refused(tokens):
    assert not tokens.compare_and_set(1, 2, once="call 7")
    tokens.exchange(1)
    assert tokens.compare_and_set(1, 2, once="call 7") == Change(0, 0, 0, changed=False)
    assert tokens.get() == 1


def test_the_same_name_on_another_value_is_another_change(tokens, member):
    tokens.add(once="call 7")
    assert Atomic(member, "other").add(once="call 7") == Change(0, 1, 1, changed=True)


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_add_killed_at_its_commit_and_made_again_counts_once(tokens, spawn, when, left):
    ada = spawn("ada")
    ada.die(1, when)
    ada.start("add", once="call 7").gone()
    assert tokens.get() == left
    assert tokens.add(once="call 7").new == 1
    assert tokens.get() == 1


def test_the_dead_change_nothing(tokens, spawn, bury):
    ada = spawn("ada")
    bury(ada)
    for call, arguments in (
        ("add", ()),
        ("exchange", (1,)),
        ("compare_and_set", (0, 1)),
        ("min", (-1,)),
        ("max", (1,)),
    ):
        with pytest.raises(Deposed):
            ada.do(call, *arguments)
    assert tokens.get() == 0


def test_several_operations_are_one_change(tokens, member):
    def fail():
        with member.atomic():
            tokens.add(5)
            assert tokens.get() == 5
            raise TaskLost(1, 1, "cancelled", 2)

    with pytest.raises(TaskLost):
        fail()
    assert (tokens.get(), tokens.statistics().version) == (0, 0)


# Words.


def test_it_tells_its_name_and_value(tokens, directory, store):
    assert repr(tokens) == "<prong.Atomic at 'tokens': 0>"
    tokens.exchange({"a": "b"})
    assert repr(tokens) == "<prong.Atomic at 'tokens': {'a': 'b'}>"
    store.close()
    directory.rename(directory.with_name("gone"))
    assert repr(tokens) == "<prong.Atomic at 'tokens': unknown>"


def test_a_value_that_is_long_is_told_in_short(tokens):
    tokens.exchange("x" * 1000)
    assert len(repr(tokens)) < 150


def test_the_same_name_in_the_same_place_is_the_same_value(member, people, tmp_path, tokens):
    (ada,) = people("ada")
    assert tokens == Atomic(ada, "tokens", 5)
    assert hash(tokens) == hash(Atomic(ada, "tokens"))
    assert tokens != Atomic(member, "other")
    elsewhere = Store(tmp_path / "elsewhere")
    assert tokens != Atomic(join(elsewhere, "test"), "tokens")
    elsewhere.close()
    assert tokens != "tokens"


@pytest.mark.parametrize("name", ["", "a\0b", "caf\udce9", "x" * 201, 7, None], ids=ascii)
def test_a_name_that_is_none_is_refused(member, name):
    with pytest.raises(Invalid, match="atomic name"):
        Atomic(member, name)


def test_it_goes_to_another_process_in_a_pickle(tmp_path):
    with join_file(tmp_path / "work.db", "ada") as swarm:
        tokens = Atomic(swarm, "tokens", 5)
        again = pickle.loads(pickle.dumps(tokens))
        assert again == tokens
        assert again.add() == Change(5, 6, 1, changed=True)
        assert tokens.get() == 6


def test_statistics_tell_who_wrote_it_last(tokens, people, clock):
    found = tokens.statistics()
    assert (found.name, found.version, found.updated_by, found.updated_at) == ("tokens", 0, None, None)
    (ada,) = people("ada")
    tokens.add()
    clock.advance(1)
    Atomic(ada, "tokens").add()
    tokens.max(0)
    found = tokens.statistics()
    assert (found.version, found.updated_by, found.updated_at) == (2, "ada", clock.now())


def test_the_log_tells_of_every_change_and_of_nothing_else(tokens, store):
    tokens.add(2)
    tokens.max(1)
    tokens.min(1)
    tokens.compare_and_set(0, 5)
    tokens.compare_and_set(1, [5])
    tokens.exchange(LARGE)
    rows = store.rows("select object, data from event where kind = 'atomic.changed' order by seq")
    assert [tuple(row) for row in rows[:3]] == [
        ("tokens", '{"op":"add","version":1,"value":2}'),
        ("tokens", '{"op":"min","version":2,"value":1}'),
        ("tokens", '{"op":"compare_and_set","version":3,"value":[5]}'),
    ]
    assert rows[3]["data"].startswith('{"op":"exchange","version":4,"artifact":"@artifact ')
    assert len(rows) == 4
