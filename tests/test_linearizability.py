"""The checker of histories: it takes what can have been one thing after the other, and nothing else."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from .linearizability import (
    NEVER,
    NOT_SO,
    UNKNOWN,
    AccountsModel,
    AtomicModel,
    KeyModel,
    ListModel,
    LockModel,
    MapModel,
    Operation,
    QueueModel,
    Undecided,
    by_object,
    check,
)


def op(span, member, kind, *arguments, result=UNKNOWN, certain=True):
    """An operation from the first to the second figure of `span`; without a second one it never ended."""
    invoked, _, returned = span.partition("-")
    return Operation(
        member, kind, arguments, result, float(invoked), float(returned) if returned else NEVER, certain
    )  # fmt: skip


def died(at, member):
    return op(f"{at}-", member, "died", certain=False)


REGISTER, LOCK, QUEUE, LIST, KEY = AtomicModel(), LockModel(), QueueModel(), ListModel(), KeyModel()


def set_to(span, member, new, old):
    return op(span, member, "exchange", new, result=(old, new, new, True))


LINEARIZABLE = {
    "nothing at all": (REGISTER, []),
    "a read beside a write sees what was there before": (
        REGISTER,
        [set_to("0-9", "a", 1, 0), op("1-2", "b", "get", result=0)],
    ),
    "a read beside a write sees what comes": (REGISTER, [set_to("0-9", "a", 1, 0), op("1-2", "b", "get", result=1)]),
    "two reads beside a write see the one and then the other": (
        REGISTER,
        [set_to("0-9", "a", 1, 0), op("1-2", "b", "get", result=0), op("3-4", "c", "get", result=1)],
    ),
    "a write of the dead is seen long after": (
        REGISTER,
        [op("0-", "a", "exchange", 1, certain=False), op("1-2", "b", "get", result=0), op("8-9", "b", "get", result=1)],
    ),
    "a write of the dead is never seen": (
        REGISTER,
        [op("0-", "a", "exchange", 1, certain=False), op("8-9", "b", "get", result=0)],
    ),
    "a write of the dead came before its end, beside reads only": (
        REGISTER,
        [
            op("0-3", "a", "exchange", 1, certain=False),
            op("1-2", "b", "get", result=0),
            op("8-9", "b", "get", result=1),
        ],
    ),
    "a name makes the second change the first": (
        REGISTER,
        [
            op("0-1", "a", "add", 3, "n", result=(0, 3, 1, True)),
            op("2-3", "b", "add", 5, "n", result=(0, 3, 1, True)),
            op("4-5", "b", "get", result=3),
        ],
    ),
    "a lock goes from one to the other": (
        LOCK,
        [
            op("0-1", "a", "acquire", False, result=1),
            op("2-9", "b", "acquire", False, result=2),
            op("3-4", "c", "acquire", False, result=None),
            op("5-6", "a", "release", 1, result=True),
            op("10-11", "b", "write", 1, "old", result=False),
            op("12-13", "b", "write", 2, "new", result=True),
            op("14-15", "c", "read", result="new"),
        ],
    ),
    "a lock is shared": (LOCK, [op("0-1", "a", "acquire", True, result=1), op("2-3", "b", "acquire", True, result=2)]),
    "a lock comes back from the dead": (
        LOCK,
        [op("0-1", "a", "acquire", False, result=1), died(2, "a"), op("3-4", "b", "acquire", False, result=2)],
    ),
    "a lock is granted to the dead and comes back": (
        LOCK,
        [
            op("0-1", "a", "acquire", False, result=1),
            op("2-", "b", "acquire", False, certain=False),
            died(3, "b"),
            op("4-5", "a", "release", 1, result=True),
            op("6-9", "c", "acquire", False, result=3),
        ],
    ),
    "a message is delivered anew after its reader's death": (
        QUEUE,
        [
            op("0-1", "a", "put", "x", result=5),
            op("2-3", "a", "put", "y", result=9),
            op("4-5", "b", "take", result=("x", 1)),
            died(6, "b"),
            op("7-8", "c", "take", result=("x", 2)),
            op("9-10", "c", "get", result="y"),
        ],
    ),
    "messages overtake each other where they were put at once": (
        QUEUE,
        [
            op("0-9", "a", "put", "x", result=2),
            op("0-9", "b", "put", "y", result=1),
            op("10-11", "c", "get", result="y"),
            op("12-13", "c", "get", result="x"),
        ],
    ),
    "a message of the dead is there": (
        QUEUE,
        [op("0-", "a", "put", "x", certain=False), op("5-6", "b", "get", result="x")],
    ),
    "the last in is the first out": (
        QueueModel(lifo=True),
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "a", "put", "y", result=2),
            op("4-5", "b", "get", result="y"),
        ],
    ),
    "a full queue has room again": (
        QueueModel(maxsize=1),
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "b", "put", "y", result=None),
            op("4-9", "b", "put", "y", result=2),
            op("5-6", "c", "get", result="x"),
        ],
    ),
    "a list that is reversed while it is empty, or later": (
        LIST,
        [
            op("0-9", "a", "reverse", result=True),
            op("1-2", "b", "extend", ("x", "y"), result=True),
            op("10-11", "b", "copy", result=("y", "x")),
        ],
    ),
    "a key's version outlives it": (
        KEY,
        [
            op("0-1", "a", "put", 7, result=1),
            op("2-3", "b", "delete", result=True),
            op("4-5", "a", "put", 8, 1, result=("conflict", 2)),
            op("6-7", "a", "put", 8, 2, result=3),
            op("8-9", "a", "entry", result=(8, 3)),
        ],
    ),
    "a map as a whole": (
        MapModel(),
        [
            op("0-1", "a", "update", (("k", 1), ("j", 2)), result=True),
            op("2-9", "b", "popitem", result=("j", 2)),
            op("3-4", "a", "copy", result=(("j", 2), ("k", 1))),
            op("10-11", "a", "len", result=1),
        ],
    ),
}

NOT_LINEARIZABLE = {
    "a read after a write sees what was there before": (
        REGISTER,
        [set_to("0-1", "a", 1, 0), op("2-3", "b", "get", result=0)],
    ),
    "two reads beside a write see the new and then the old": (
        REGISTER,
        [set_to("0-9", "a", 1, 0), op("1-2", "b", "get", result=1), op("3-4", "c", "get", result=0)],
    ),
    "a lost update": (
        REGISTER,
        [op("0-9", "a", "add", 1, result=(0, 1, 1, True)), op("0-9", "b", "add", 1, result=(0, 1, 1, True))],
    ),
    "a write of the dead is seen and then unseen": (
        REGISTER,
        [op("0-", "a", "exchange", 1, certain=False), op("1-2", "b", "get", result=1), op("8-9", "b", "get", result=0)],
    ),
    "a write of the dead is seen first after its end": (
        REGISTER,
        [
            op("0-2", "a", "exchange", 1, certain=False),
            op("3-4", "b", "get", result=0),
            op("8-9", "b", "get", result=1),
        ],
    ),
    "a write is seen before it was asked for": (
        REGISTER,
        [op("0-1", "b", "get", result=1), op("2-", "a", "exchange", 1, certain=False)],
    ),
    "a change of one name is made twice": (
        REGISTER,
        [op("0-1", "a", "add", 3, "n", result=(0, 3, 1, True)), op("2-3", "b", "add", 3, "n", result=(3, 6, 2, True))],
    ),
    "two hold a lock": (LOCK, [op("0-1", "a", "acquire", False, result=1), op("2-3", "b", "acquire", False, result=2)]),
    "one holds what others share": (
        LOCK,
        [op("0-1", "a", "acquire", True, result=1), op("2-3", "b", "acquire", False, result=2)],
    ),
    "a free lock is refused": (
        LOCK,
        [
            op("0-1", "a", "acquire", False, result=1),
            op("2-3", "a", "release", 1, result=True),
            op("4-5", "b", "acquire", False, result=None),
        ],
    ),
    "one fence is given twice": (
        LOCK,
        [
            op("0-1", "a", "acquire", False, result=1),
            op("2-3", "a", "release", 1, result=True),
            op("4-5", "b", "acquire", False, result=1),
        ],
    ),
    "an old fence lets a write through": (
        LOCK,
        [
            op("0-1", "a", "acquire", False, result=1),
            op("2-3", "a", "release", 1, result=True),
            op("4-5", "a", "write", 1, "late", result=True),
        ],
    ),
    "a lock comes back from one who lives": (
        LOCK,
        [op("0-1", "a", "acquire", False, result=1), died(2, "b"), op("3-4", "b", "acquire", False, result=2)],
    ),
    "a lock comes back before its holder's death": (
        LOCK,
        [op("0-1", "a", "acquire", False, result=1), op("2-3", "b", "acquire", False, result=2), died(4, "a")],
    ),
    "a message is delivered twice though its reader lives": (
        QUEUE,
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "b", "take", result=("x", 1)),
            op("4-5", "c", "take", result=("x", 2)),
        ],
    ),
    "a message comes back though it was done": (
        QUEUE,
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "b", "get", result="x"),
            op("4-5", "b", "done", "x", result=True),
            died(6, "b"),
            op("7-8", "c", "get", result="x"),
        ],
    ),
    "a message is lost": (QUEUE, [op("0-1", "a", "put", "x", result=1), op("2-3", "b", "get", result=None)]),
    "a message overtakes one of the same sender": (
        QUEUE,
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "a", "put", "y", result=2),
            op("4-5", "b", "get", result="y"),
        ],
    ),
    "what comes back stands at the end": (
        QUEUE,
        [
            op("0-1", "a", "put", "x", result=1),
            op("2-3", "a", "put", "y", result=2),
            op("4-5", "b", "get", result="x"),
            op("6-7", "b", "fail", "x", result=True),
            op("8-9", "b", "get", result="y"),
        ],
    ),
    "a message that nobody put": (QUEUE, [op("0-1", "a", "get", result="x")]),
    "a queue takes more than it has room for": (
        QueueModel(maxsize=1),
        [op("0-1", "a", "put", "x", result=1), op("2-3", "b", "put", "y", result=2)],
    ),
    "a queue with room is full": (QueueModel(maxsize=1), [op("0-1", "a", "put", "x", result=None)]),
    "numbers fall": (QUEUE, [op("0-1", "a", "put", "x", result=2), op("2-3", "a", "put", "y", result=1)]),
    "two append at one index": (
        LIST,
        [op("0-9", "a", "append", "x", result=0), op("0-9", "b", "append", "y", result=0)],
    ),
    "an item is popped twice": (
        LIST,
        [
            op("0-1", "a", "append", "x", result=0),
            op("2-9", "a", "pop", -1, result="x"),
            op("2-9", "b", "pop", 0, result="x"),
        ],
    ),
    "two write over one version": (KEY, [op("0-9", "a", "put", 7, 0, result=1), op("0-9", "b", "put", 8, 0, result=1)]),
    "a version begins anew after a deletion": (
        KEY,
        [
            op("0-1", "a", "put", 7, result=1),
            op("2-3", "a", "delete", result=True),
            op("4-5", "a", "put", 8, result=1),
        ],
    ),
    "money is in both accounts, or in none": (
        AccountsModel(),
        [op("0-9", "a", "transfer", 5, result=(-5, 5)), op("1-2", "b", "both", result=(-5, 0))],
    ),
    "a half of an update is seen": (
        MapModel(),
        [
            op("0-9", "a", "update", (("k", 1), ("j", 2)), result=True),
            op("3-4", "b", "copy", result=(("j", 2),)),
        ],
    ),
}


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_it_takes(name):
    model, history = LINEARIZABLE[name]
    assert check(history, model)


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_it_rejects(name):
    model, history = NOT_LINEARIZABLE[name]
    verdict = check(history, model)
    assert not verdict
    assert "no order of the operations explains this answer" in verdict.story


def by_force(history, model):
    """Whether any order of the operations, with or without the uncertain ones, is right: every one is tried."""

    def right(order):
        state = model.initial
        for at, operation in enumerate(order):
            if any(later.returned < operation.invoked for later in order[at + 1 :]):
                return False
            state = model.step(state, operation)
            if state is NOT_SO:
                return False
        return True

    uncertain = [operation for operation in history if not operation.certain]
    return any(
        right(order)
        for count in range(len(uncertain) + 1)
        for gone in itertools.combinations(uncertain, count)
        for order in itertools.permutations([operation for operation in history if operation not in gone])
    )


class Small(ListModel):
    """A list of so few values and results that a history at random is right as often as wrong."""

    def push(self, state, _operation, value):
        return (*state, value), True

    def clear(self, _state, _operation):
        return (), True


ASKED = st.one_of(
    st.tuples(st.just("push"), st.tuples(st.integers(0, 1)), st.just(True)),
    st.tuples(st.just("pop"), st.tuples(st.sampled_from([0, -1])), st.sampled_from([0, 1, None])),
    st.tuples(st.just("len"), st.just(()), st.integers(0, 2)),
    st.tuples(st.just("reverse"), st.just(()), st.just(True)),
    st.tuples(st.just("clear"), st.just(()), st.just(True)),
    st.tuples(st.just("copy"), st.just(()), st.lists(st.integers(0, 1), max_size=2).map(tuple)),
)


MESSAGES = st.one_of(
    st.tuples(st.just("put"), st.just(()), st.integers(1, 3)),
    st.tuples(st.just("take"), st.just(()), st.tuples(st.integers(0, 1), st.integers(1, 2))),
    st.tuples(st.just("take"), st.just(()), st.none()),
    st.tuples(st.just("done"), st.tuples(st.integers(0, 1)), st.just(True)),
    st.tuples(st.just("died"), st.just(()), st.just(UNKNOWN)),
)

GRANTS = st.one_of(
    st.tuples(st.just("acquire"), st.tuples(st.booleans()), st.sampled_from([1, 2, 3, None])),
    st.tuples(st.just("release"), st.tuples(st.integers(1, 2)), st.just(True)),
    st.tuples(st.just("check"), st.tuples(st.integers(1, 2)), st.booleans()),
    st.tuples(st.just("died"), st.just(()), st.just(UNKNOWN)),
)


@st.composite
def histories(draw, asked):
    found = []
    for number in range(draw(st.integers(1, 5))):
        kind, arguments, result = draw(asked)
        if kind == "put":
            arguments = (number,)  # no message is put twice
        invoked = draw(st.integers(0, 12)) + number / 100
        returned = invoked + draw(st.integers(1, 12))
        fate = draw(st.sampled_from(["told", "told", "told", "killed", "killed, and it waited"]))
        if fate == "told":
            found.append(Operation(draw(st.sampled_from("ab")), kind, arguments, result, invoked, returned))
        else:
            until = returned if fate == "killed" else NEVER
            found.append(
                Operation(draw(st.sampled_from("ab")), kind, arguments, UNKNOWN, invoked, until, certain=False)
            )
    return found


@settings(max_examples=400)
@given(
    st.one_of(
        st.tuples(st.just(Small()), histories(ASKED)),
        st.tuples(st.just(LOCK), histories(GRANTS)),
        st.tuples(st.sampled_from([QUEUE, QueueModel(lifo=True), QueueModel(maxsize=1)]), histories(MESSAGES)),
    )
)
def test_it_says_what_trying_every_order_says(found):
    model, history = found
    event("linearizable" if by_force(history, model) else "not linearizable")
    assert bool(check(history, model)) == by_force(history, model)


def made_up(seed, count=400, members=6):
    """A history that is right, because each operation has its moment within its time."""
    chance, model, state, free_at, made = random.Random(seed), QueueModel(), (0, ()), [0.0] * members, []
    for number in range(count):
        member = chance.randrange(members)
        moment = max(number * 10, free_at[member]) + 1
        begun = chance.uniform(free_at[member], moment)
        free_at[member] = chance.uniform(moment, moment + 60)
        made.append((moment, Operation(f"p{member}", "", invoked=begun, returned=free_at[member])))
    for at, (_, operation) in enumerate(sorted(made, key=lambda pair: pair[0])):
        held = [message[0] for message in state[1] if message[1] == operation.member]
        kind = "done" if held and chance.random() < 0.7 else chance.choice(["put", "put", "get", "take", "qsize"])
        asked = {"put": (at,), "done": tuple(held[:1])}.get(kind, ())
        result = at + 1 if kind == "put" else UNKNOWN
        whole = replace(operation, kind=kind, arguments=asked, result=result)
        state, told = getattr(model, kind)(state, whole, *asked)
        yield replace(whole, result=told)


@pytest.mark.parametrize("seed", range(8))
def test_a_long_history_with_its_moments_is_taken_and_with_one_wrong_answer_rejected(seed):
    history = list(made_up(seed))
    verdict = check(history, QueueModel())
    assert verdict
    assert verdict.searched < 50 * len(history)
    taken = [number for number, one in enumerate(history) if one.kind in ("get", "take") and one.result is not None]
    for number in random.Random(seed).sample(taken, 5):
        another = history[number - 1].invoked if history[number].kind == "get" else (history[number].invoked, 1)
        wrong = [*history[:number], replace(history[number], result=another), *history[number + 1 :]]
        assert not check(wrong, QueueModel())
        again = [*history, replace(history[number], invoked=1e9, returned=1e9 + 1)]
        assert not check(again, QueueModel())


def test_a_search_that_takes_too_long_is_given_up():
    history = [op("0-99", str(n), "insert", 0, n, result=True) for n in range(8)]
    seen = op("100-101", "a", "copy", result=tuple(range(8)))
    assert check([*history, seen], LIST)
    with pytest.raises(Undecided, match="no order of the operations"):
        check([*history, replace(seen, result=())], LIST, limit=1000)


def test_each_object_has_a_history_of_its_own():
    one, other, third = (
        op("0-1", "a", "get", result=0),
        op("2-3", "a", "get", result=0),
        op("4-5", "b", "get", result=1),
    )
    assert by_object([("n", one), ("m", other), ("n", third)]) == {"n": [one, third], "m": [other]}
