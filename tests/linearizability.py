"""Whether what concurrent processes saw of an object can have been one operation after the other.

An operation takes effect at one moment between its invocation and its response.  A history is linearizable if such
moments can be found so that a sequential model of the object gives every answer that was given (Herlihy & Wing 1990).
The search is that of Wing & Gong with memory, made just in time as Lowe does it ("Testing for linearizability", 2017):
events are read in order, and an operation is given its moment when its response demands it, or that of another.  What
is remembered is never longer than what is under way at once, so that long histories cost no more an event than short
ones.  Histories are checked object by object, which is enough, since linearizability is local.

An operation of a process that was killed is *uncertain*: it may have taken effect, at any time from its invocation on,
or never.  The death itself is one too: what the process held comes back at some time after it, if it held anything.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

UNKNOWN = "<unknown>"
"""The result of an operation that nobody lived to see."""

NOT_SO = object()
"""What a model's step returns where the operation cannot have had this result in this state."""

CONFIGURATIONS = 300_000
"""How many configurations are looked at before a search is given up."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asked of an object, and what it was told; times in nanoseconds.

    `member` is who holds what the operation got: a process, of which each thread is a client.  What is not `certain`
    may have happened until `returned`, or not at all.
    """

    member: str
    kind: str
    arguments: tuple = ()
    result: Any = UNKNOWN
    invoked: float = 0
    returned: float = NEVER
    certain: bool = True

    def __str__(self):
        until = f"{self.returned / 1e6:.3f}" if self.returned != NEVER else "…"
        sure = "" if self.certain else "?"
        asked = ", ".join(map(repr, self.arguments))
        return f"{self.invoked / 1e6:.3f} to {until} {self.member}: {self.kind}({asked}){sure} -> {self.result!r}"


class Verdict(NamedTuple):
    """Whether a history is linearizable; how much was searched; and where no search came on, in words."""

    linearizable: bool
    searched: int
    story: str = ""

    def __bool__(self):
        return self.linearizable


class Undecided(Exception):
    """The search was given up."""


def check(history, model, *, limit=CONFIGURATIONS):
    """Search for an order of the operations that `model` allows; raises `Undecided` where that takes too long."""
    search = _Search(sorted(history, key=lambda operation: operation.invoked), model)
    return search.run(limit)


class _Search:
    def __init__(self, operations, model):
        self.operations = operations
        self.step = model.step
        self.initial = model.initial
        self.only_looks = [operation.certain and model.only_looks(operation) for operation in operations]
        self.ends = sorted(
            (number for number, operation in enumerate(operations) if operation.certain or operation.returned != NEVER),
            key=lambda number: operations[number].returned,
        )
        self.count = model.count
        self.counts = [model.told_count(operation) if operation.certain else None for operation in operations]
        self.grown = model.grown
        self.told_of = defaultdict(list)
        for number, operation in enumerate(operations):
            thing, count = model.told_of(operation) if operation.certain else (None, 0)
            if thing is not None:
                self.told_of[thing].append((number, count))
        self.under_way = list(self._under_way())
        self.counted_later = self._counted_later()

    def _under_way(self):
        """Before each end: which operations have begun and not ended, those that must have a moment soonest first."""
        begun, under_way = 0, []
        for end in self.ends:
            until = self.operations[end].returned
            while begun < len(self.operations) and self.operations[begun].invoked <= until:
                under_way.append(begun)
                begun += 1
            under_way.sort(key=lambda n: (not self.operations[n].certain, self.operations[n].returned))
            yield tuple(under_way)
            under_way.remove(end)

    def _counted_later(self):
        """Before each end: the least count that an operation is told which has not begun then."""
        least, found = NEVER, []
        not_begun = [number for number, count in enumerate(self.counts) if count is not None]
        for end in reversed(self.ends):
            while not_begun and self.operations[not_begun[-1]].invoked > self.operations[end].returned:
                least = min(least, self.counts[not_begun.pop()])
            found.append(least)
        return found[::-1]

    def run(self, limit):
        farthest, stuck = -1, []
        todo, seen = [(0, self.initial, frozenset())], set()
        while todo:
            at, state, done = todo.pop()
            at, state, done = self._settled(at, state, done)
            if at == len(self.ends):
                return Verdict(linearizable=True, searched=len(seen))
            if (at, state, done) in seen:
                continue
            seen.add((at, state, done))
            if len(seen) > limit:
                raise Undecided(self._story(farthest, stuck))
            if at > farthest:
                farthest, stuck = at, []
            if at == farthest:
                stuck.append((state, done))
            todo.extend(reversed(list(self._branches(at, state, done))))
        return Verdict(linearizable=False, searched=len(seen), story=self._story(farthest, stuck))

    def _settled(self, at, state, done):
        """Go on as far as there is nothing to decide: what only looks can do so at once, wherever it is right.

        What happens to change nothing just now, as to reverse an empty list, may have changed something later.
        """
        while at < len(self.ends):
            end = self.ends[at]
            if end not in done:
                looks = [
                    number
                    for number in self.under_way[at]
                    if self.only_looks[number]
                    and number not in done
                    and self.step(state, self.operations[number]) is not NOT_SO
                ]
                done = done.union(looks)
                if end not in done:
                    break
            done -= {end}
            at += 1
        return at, state, done

    def _branches(self, at, state, done):
        """What may have happened next, what has to have happened first."""
        end = self.ends[at]
        if not self.operations[end].certain:
            yield at + 1, state, done  # it never happened
        for number in (end, *(n for n in self.under_way[at] if n != end)):
            if number not in done:
                then = self.step(state, self.operations[number])
                if then is NOT_SO or (then == state and not self.operations[number].certain):
                    continue
                if then == state or self._can_go_on(at, state, then, done | {number}):
                    yield at, then, done | {number}

    def _can_go_on(self, at, before, state, done):
        """Whether no operation is left that was told a count which is over."""
        count = self.count(state)
        if count >= self.counted_later[at] or any(
            self.counts[number] is not None and number not in done and count >= self.counts[number]
            for number in self.under_way[at]
        ):
            return False
        thing, count = self.grown(before, state)
        now = self.operations[self.ends[at]].returned
        return all(
            count < told or number in done or self.operations[number].returned < now
            for number, told in self.told_of.get(thing, ())
        )

    def _story(self, farthest, stuck):
        end = self.operations[self.ends[farthest]]
        lines = ["no order of the operations explains this answer:", f"    {end}", "under way with it:"]
        lines += [f"    {self.operations[n]}" for n in self.under_way[farthest] if self.operations[n] is not end]
        lines += ["just before it had ended:"]
        lines += [f"    {self.operations[n]}" for n in self.ends[max(0, farthest - 12) : farthest]]
        lines += ["possible states:", *(f"    {state!r}" for state, _ in stuck[:6])]
        return "\n".join(lines)


def by_object(operations):
    """The histories of the single objects, from (object, operation) pairs."""
    histories = defaultdict(list)
    for name, operation in operations:
        histories[name].append(operation)
    return histories


class Model:
    """An object as if one alone used it: `step` returns the state after an operation, or NOT_SO.

    A method named as the operation's kind gets the state, the operation and its arguments, and returns the state after
    it and the result.  None and False are refusals: what has such a result has changed nothing.
    """

    initial: Any = None
    looks: frozenset = frozenset({"read", "check", "locked", "get", "both", "entry", "copy", "len", "qsize"})

    def count(self, _state):
        """What only grows."""
        return 0

    def told_count(self, _operation) -> Any:
        """The count that a change was told to have made; None where it was told none."""

    def grown(self, _before, _state) -> tuple:
        """The thing in it that has grown in this step, and its count: each has one of its own."""
        return None, 0

    def told_of(self, _operation) -> tuple:
        """The thing, and the count of its own, that an operation was told to have made."""
        return None, 0

    def only_looks(self, operation):
        """Whether the operation, with the result that it had, changes no state at all."""
        return operation.kind in self.looks or operation.result is None or operation.result is False

    def step(self, state, operation):
        then, result = getattr(self, operation.kind)(state, operation, *operation.arguments)
        if operation.result is UNKNOWN or result is UNKNOWN or result == operation.result:
            return then
        return NOT_SO


def _same(then, result, *, when):
    """A result that tells nothing new, but is only possible `when` something is so."""
    return (then, result) if when else (then, NOT_SO)


class LockModel(Model):
    """(who holds it alone, who share it, the last fence, a value that is written only under a grant in force).

    A grant is (fence, member).  A refusal is None.  Who wants to share is refused also where one who wants it alone is
    in line, which only happens while somebody has it.
    """

    initial = (None, frozenset(), 0, None)

    def count(self, state):
        return state[2]

    def told_count(self, operation):
        return operation.result if operation.kind == "acquire" else None

    def acquire(self, state, operation, shared):
        alone, sharing, fence, value = state
        if operation.result is None:
            return _same(state, None, when=alone is not None or sharing)
        if alone is not None or (sharing and not shared):
            return state, NOT_SO
        grant = (fence + 1, operation.member)
        after = (None, sharing | {grant}, fence + 1, value) if shared else (grant, sharing, fence + 1, value)
        return after, fence + 1

    def release(self, state, operation, fence):
        alone, sharing, last, value = state
        grant = (fence, operation.member)
        if grant == alone:
            return (None, sharing, last, value), True
        if grant in sharing:
            return (alone, sharing - {grant}, last, value), True
        return state, False

    def check(self, state, _operation, fence):
        return state, self._in_force(state, fence)

    def write(self, state, _operation, fence, value):
        if not self._in_force(state, fence):
            return state, False
        return (*state[:3], value), True

    def read(self, state, _operation):
        return state, state[3]

    def locked(self, state, _operation):
        return state, state[0] is not None or bool(state[1])

    def died(self, state, operation):
        alone, sharing, last, value = state
        if alone is not None and alone[1] == operation.member:
            alone = None
        return (alone, frozenset(grant for grant in sharing if grant[1] != operation.member), last, value), UNKNOWN

    @staticmethod
    def _in_force(state, fence):
        return (state[0] is not None and state[0][0] == fence) or any(grant[0] == fence for grant in state[1])


class AtomicModel(Model):
    """(value, version, what the changes with a name returned); a change returns (old, new, version, whether it is)."""

    initial = (0, 0, frozenset())

    def get(self, state, _operation):
        return state, state[0]

    def add(self, state, _operation, n, once=None):
        return self._change(state, state[0] + n, once, always=True)

    def min(self, state, _operation, n):
        return self._change(state, min(state[0], n))

    def max(self, state, _operation, n):
        return self._change(state, max(state[0], n))

    def exchange(self, state, _operation, new):
        return self._change(state, new, always=True)

    def compare_and_set(self, state, _operation, expected, new):
        return self._change(state, new, always=True) if state[0] == expected else self._change(state, state[0])

    def _change(self, state, new, once=None, *, always=False):
        value, version, named = state
        before = next((told for name, told in named if once is not None and name == once), None)
        if before is not None:
            return state, before
        changed = always or new != value
        told = (value, new, version + changed, changed)
        return (new, version + changed, named if once is None else named | {(once, told)}), told


class AccountsModel(Model):
    """Two numbers that are changed and read together."""

    initial = (0, 0)

    def transfer(self, state, _operation, n):
        after = (state[0] - n, state[1] + n)
        return after, after

    def both(self, state, _operation):
        return state, state


class KeyModel(Model):
    """A map's key: (its value, None where it is absent; its version)."""

    initial = (None, 0)

    def count(self, state):
        return state[1]

    def told_count(self, operation):
        return operation.result if operation.kind == "put" and isinstance(operation.result, int) else None

    def put(self, state, _operation, value, if_version=None):
        if if_version is not None and if_version != state[1]:
            return state, ("conflict", state[1])
        return (value, state[1] + 1), state[1] + 1

    def add(self, state, _operation, amount):
        total = (state[0] or 0) + amount
        return (total, state[1] + 1), total

    def delete(self, state, _operation, if_version=None):
        if if_version is not None and if_version != state[1]:
            return state, ("conflict", state[1])
        return (state, False) if state[0] is None else ((None, state[1] + 1), True)

    def pop(self, state, _operation):
        return (state, None) if state[0] is None else ((None, state[1] + 1), state[0])

    def setdefault(self, state, _operation, value):
        return ((value, state[1] + 1), value) if state[0] is None else (state, state[0])

    def entry(self, state, _operation):
        return state, state

    def get(self, state, _operation):
        return state, state[0]


class MapModel(Model):
    """A whole map: its pairs in the order of their keys."""

    initial = ()

    def update(self, state, _operation, pairs):
        return tuple(sorted({**dict(state), **dict(pairs)}.items())), True

    def clear(self, _state, _operation):
        return (), True

    def popitem(self, state, _operation):
        return (state[1:], state[0]) if state else (state, None)

    def copy(self, state, _operation):
        return state, state

    def len(self, state, _operation):
        return state, len(state)


class ListModel(Model):
    """Its items; None is what an index out of range gives."""

    initial = ()

    def append(self, state, _operation, value):
        return (*state, value), len(state)

    def extend(self, state, _operation, values):
        return (*state, *values), True

    def insert(self, state, _operation, index, value):
        items = list(state)
        items.insert(index, value)
        return tuple(items), True

    def set(self, state, _operation, index, value):
        if not -len(state) <= index < len(state):
            return state, False
        items = list(state)
        items[index] = value
        return tuple(items), True

    def pop(self, state, _operation, index):
        if not -len(state) <= index < len(state):
            return state, None
        items = list(state)
        value = items.pop(index)
        return tuple(items), value

    def get(self, state, _operation, index):
        return state, state[index] if -len(state) <= index < len(state) else None

    def reverse(self, state, _operation):
        return state[::-1], True

    def copy(self, state, _operation):
        return state, state

    def len(self, state, _operation):
        return state, len(state)


class QueueModel(Model):
    """(the last number known, the messages in the order in which they were put).

    A message is (value, its reader or None, how often it was delivered); it keeps its place until it is done.  Numbers
    grow.  None is what a `get` finds in an empty queue, and a `put` in a full one.
    """

    initial = (0, ())
    looks = frozenset({"qsize"})

    def count(self, state):
        return state[0]

    def told_count(self, operation):
        return operation.result if operation.kind == "put" else None

    def grown(self, before, state):
        for old, new in zip(before[1], state[1], strict=False):
            if old != new:
                return (new[0], new[2]) if new[2] > old[2] else (None, 0)
        return None, 0

    def told_of(self, operation):
        return operation.result if operation.kind == "take" and operation.result is not None else (None, 0)

    def __init__(self, *, maxsize=0, lifo=False):
        self.maxsize = maxsize
        self.lifo = lifo

    def put(self, state, operation, value):
        last, messages = state
        full = self.maxsize > 0 and self._queued(messages) >= self.maxsize
        if operation.result is None:
            return _same(state, None, when=full)
        if full:
            return state, NOT_SO
        number = operation.result
        if number is UNKNOWN:
            return (last, (*messages, (value, None, 0))), UNKNOWN
        return (number, (*messages, (value, None, 0))), number if number > last else NOT_SO

    def get(self, state, operation):
        then, taken = self.take(state, operation)
        return then, None if taken is None else taken[0]

    def take(self, state, operation):
        last, messages = state
        places = range(len(messages) - 1, -1, -1) if self.lifo else range(len(messages))
        at = next((place for place in places if messages[place][1] is None), None)
        if at is None:
            return state, None
        value, _, deliveries = messages[at]
        taken = (value, operation.member, deliveries + 1)
        return (last, (*messages[:at], taken, *messages[at + 1 :])), (value, deliveries + 1)

    def done(self, state, operation, value):
        last, messages = state
        after = tuple(m for m in messages if m[:2] != (value, operation.member))
        return (last, after), len(after) < len(messages)

    def fail(self, state, operation, value):
        """Whether it is queued again: it is, since there are always more attempts left."""
        last, messages = state
        if not any(m[:2] == (value, operation.member) for m in messages):
            return state, False
        return (last, tuple((value, None, m[2]) if m[0] == value else m for m in messages)), True

    def qsize(self, state, _operation):
        return state, self._queued(state[1])

    def died(self, state, operation):
        last, messages = state
        back = tuple((m[0], None, m[2]) if m[1] == operation.member else m for m in messages)
        return (last, back), UNKNOWN

    @staticmethod
    def _queued(messages):
        return sum(message[1] is None for message in messages)
