"""Which waits can never end: against a simulation that tries everything, and case by case, with the story in words."""

import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from prong.primitives.deadlock import Hold, Member, Snapshot, Task, Wait, deadlocked, find
from prong.primitives.deadlock_story import tell
from prong.primitives.errors import Deadlock

# The simulation.  It knows nothing of graphs: it moves threads, locks, permits and tasks about as the primitives do, in
# every order there is, and writes down which waits it ever saw end.

SIGNALS = ("event", "map", "list", "queue", "room")


class Wants(dict):
    """What a wait asks for, as part of a state that was seen before."""

    def __hash__(self):
        return hash(repr(self))


@dataclass(frozen=True)
class State:
    """Where a system has got to: who waits still (in line order), who is free, what is held, how tasks stand."""

    waiting: tuple[Wait, ...]
    free: frozenset  # parties
    holds: tuple[tuple[str, str, object, bool], ...]  # kind, object, who, shared
    tasks: tuple[tuple[int, str], ...]
    arrived: frozenset = frozenset()  # (barrier, task)
    queued: frozenset = frozenset()
    ended: frozenset = frozenset()  # ids of the waits that have ended


class World:
    """Everything that can happen in a snapshot's system."""

    def __init__(self, snapshot, refused=()):
        self.snapshot = snapshot
        self.party = {one.id: one.process or one.id for one in snapshot.members}
        self.work = {task.id: self.party.get(task.member) for task in snapshot.tasks}
        self.needs = {task.id: task.needs for task in snapshot.tasks}
        waits = sorted(wait for wait in snapshot.waits if wait.id not in refused)
        waiting = tuple(wait._replace(wants=Wants(wait.wants)) for wait in waits)
        busy = {self.party[wait.member] for wait in snapshot.waits}
        free = set(self.party.values()) - busy
        free |= {self.party[wait.member] for wait in snapshot.waits if wait.id in refused}
        for party in busy:
            free |= {party} if self.has_a_thread_left(party) else set()
        holds = [(one.kind, one.object, self.owner(one), one.shared) for one in snapshot.holds]
        self.start = self.served(
            State(
                waiting, frozenset(free), tuple(sorted(holds, key=repr)),
                tuple((task.id, task.state) for task in snapshot.tasks), queued=frozenset(snapshot.queued),
            )
        )  # fmt: skip

    def has_a_thread_left(self, party):
        own = [one for one in self.snapshot.members if self.party[one.id] == party]
        if own[0].task is not None:
            return not own[0].parked
        own = [wait for wait in self.snapshot.waits if self.party[wait.member] == party]
        return max(own).running >= len(own)

    def owner(self, hold):
        return self.party.get(hold.member, ("task", hold.task))

    def never_ending(self):
        """The ids of the waits that end in no reachable state."""
        seen, todo, ended = {self.start}, [self.start], set()
        while todo:
            state = todo.pop()
            ended |= state.ended
            for after in map(self.served, self.moves(state)):
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        return {wait.id for wait in self.snapshot.waits} - ended

    # What may happen next.

    def moves(self, state):
        yield from self.anybody_moves(state, newcomers=not self.snapshot.closed)
        for wait in state.waiting:
            if wait.ends or wait.kind == "slot":
                yield self.end(state, wait)
            if wait.kind == "semaphore" and wait.object in self.snapshot.free:
                yield self.end(state, wait)
            if self.party[wait.member] in state.free:  # another thread of the process interrupts this one
                yield self.end(state, wait)
        for hold in state.holds:
            kept = hold[2][1] if isinstance(hold[2], tuple) else None
            if hold[2] in state.free or (kept is not None and self.work.get(kept) in state.free):
                yield self.freed(state, hold)
        for number, how in state.tasks:
            yield from self.task_moves(state, number, how)
        for wait in state.waiting:
            if wait.kind == "future" and self.party.get((self.snapshot.owners or {}).get(wait.object)) in state.free:
                yield self.end(state, wait)

    def anybody_moves(self, state, *, newcomers):
        """What whoever is free may do, and what a program may that is started only now."""
        if not newcomers and not state.free:
            return
        for wait in state.waiting:
            owned = wait.kind == "future" and wait.object in (self.snapshot.owners or {})
            group = wait.kind == "barrier" and wait.object in (self.snapshot.missing or {})
            if wait.kind in (*SIGNALS, "future", "barrier") and not owned and not group:
                yield self.end(state, wait)
            if wait.kind == "condition":
                yield from self.notify(state, wait, newcomers=newcomers)
            if wait.kind == "semaphore":
                lent = wait.object in self.snapshot.lent
                if not lent or (state.free and not wait.wants["bounded"]):
                    yield self.granted(state, next(one for one in state.waiting if same_line(one, wait)))
        for queue in state.queued:
            yield replace(state, queued=state.queued - {queue})

    def notify(self, state, wait, *, newcomers):
        """Whoever notifies holds the lock; who is notified goes to the end of its line."""
        lock = wait.wants["lock"]
        holders = {who for kind, name, who, _ in state.holds if (kind, name) == ("lock", lock)}
        alone = {who for kind, name, who, shared in state.holds if (kind, name, shared) == ("lock", lock, False)}
        if alone & state.free or (not holders and (newcomers or state.free)):
            others = tuple(one for one in state.waiting if one != wait)
            yield replace(state, waiting=(*others, wait._replace(kind="lock", object=lock, wants=Wants())))

    def task_moves(self, state, number, how):
        who = ("task", number) if how in ("begun", "ready") else self.work[number]
        if how == "ready":
            yield replace(self.task_is(state, number, "begun"), free=state.free | {who})
        elif how in ("running", "parked", "begun") and (who is None or who in state.free):
            yield self.task_is(state, number, "done")
            for barrier, missing in (self.snapshot.missing or {}).items():
                if number in missing and (barrier, number) not in state.arrived:
                    yield replace(state, arrived=state.arrived | {(barrier, number)})

    # How one thing leads to another at once.

    def served(self, state):
        """Hand on what is free, open barriers that are full, make tasks ready: what a transaction does by itself."""
        while (after := self.served_once(state)) != state:
            state = after
        return state

    def served_once(self, state):
        how = dict(state.tasks)
        for number, now in state.tasks:
            if now == "blocked" and all(how.get(need, "done") == "done" for need in self.needs[number]):
                return self.task_is(state, number, "ready")
        for wait in state.waiting:
            if wait.kind == "lock" and self.is_first(state, wait) and self.is_free(state, wait):
                return self.granted(state, wait)
            if wait.kind == "tasks":
                final = [how.get(number, "done") == "done" for number in wait.wants["tasks"]]
                if any(final) if wait.wants["mode"] == "any" else all(final):
                    return self.end(state, wait)
            if wait.kind == "barrier" and wait.object in (self.snapshot.missing or {}):
                open_ = {number for number in self.snapshot.missing[wait.object] if number in how}
                if all((wait.object, number) in state.arrived for number in open_):
                    return self.end(state, wait)
            left = any(hold[:2] == ("queue", wait.object) for hold in state.holds)
            if wait.kind == "joined" and not left and wait.object not in state.queued:
                return self.end(state, wait)
        return state

    def is_first(self, state, wait):
        return next(one for one in state.waiting if same_line(one, wait)) == wait

    def is_free(self, state, wait):
        holds = [hold for hold in state.holds if hold[:2] == ("lock", wait.object)]
        return all(shared for *_, shared in holds) if wait.wants.get("shared") else not holds

    def end(self, state, wait):
        return replace(
            state,
            waiting=tuple(one for one in state.waiting if one.id != wait.id),
            free=state.free | {self.party[wait.member]},
            ended=state.ended | {wait.id},
        )

    def granted(self, state, wait):
        hold = (wait.kind, wait.object, self.party[wait.member], bool(wait.wants.get("shared")))
        return replace(self.end(state, wait), holds=tuple(sorted((*state.holds, hold), key=repr)))

    def freed(self, state, hold):
        at = state.holds.index(hold)
        state = replace(state, holds=state.holds[:at] + state.holds[at + 1 :])
        line = [one for one in state.waiting if (one.kind, one.object) == hold[:2]]
        return self.granted(state, line[0]) if hold[0] == "semaphore" and line else state

    def task_is(self, state, number, how):
        return replace(state, tasks=tuple((one, how if one == number else now) for one, now in state.tasks))


def same_line(one, other):
    return (one.kind, one.object) == (other.kind, other.object)


# Small systems of every shape.


@st.composite
def holdings(draw, owners):
    """Who holds two locks, a semaphore's permits and a queue's messages."""
    holds = []
    for name in ("a", "b"):
        how = draw(st.sampled_from(["alone", "alone", "shared", "free"]))
        count = {"alone": 1, "shared": draw(st.integers(1, 2)), "free": 0}[how]
        holds += [Hold("lock", name, *draw(owners), shared=how == "shared") for _ in range(count)]
    holds += [Hold("semaphore", "s", *draw(owners)) for _ in range(draw(st.integers(0, 2)))]
    return holds + [Hold("queue", "q", *draw(owners)) for _ in range(draw(st.integers(0, 1)))]


RARE = st.sampled_from([False] * 5 + [True])


@st.composite
def waitings(draw, members, kinds, objects, wants):
    """What the threads of each process wait for; a process may have another thread that does not wait."""
    waits, ids = [], draw(st.permutations(range(1, 9)))
    for party in dict.fromkeys(one.process or one.id for one in members):
        own = [one for one in members if (one.process or one.id) == party]
        count = draw(st.sampled_from([0, 1, 1, 1, 1, 2]))
        others = count - 1 + int(draw(RARE))
        for number in sorted(ids[len(waits) : len(waits) + count]):
            kind = draw(st.sampled_from(kinds))
            waits.append(
                Wait(
                    number, draw(st.sampled_from(own)).id, kind, draw(st.sampled_from(objects.get(kind, ["x"]))),
                    others, draw(RARE) and draw(RARE), draw(wants.get(kind, st.just({}))),
                )
            )  # fmt: skip
    return waits


@st.composite
def systems(draw):
    """Up to four processes and three more tasks that hold and want a few things of every kind."""

    def several(items, most):
        return draw(st.lists(st.sampled_from(items), max_size=most, unique=True)) if items else []

    agents, programs = draw(st.sampled_from([(0, 2), (0, 3), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (2, 2)]))
    more = draw(st.integers(0, 2))
    numbers = draw(st.permutations(range(1, agents + more + 1)))
    members = [Member(n + 1, f"a{n}", None, numbers[n], parked=not draw(RARE)) for n in range(agents)]
    for n in range(agents, agents + programs):
        process = draw(st.sampled_from([None, f"p{n}"]))
        members.append(Member(2 * n + 1, f"p{n}", process))
        if process is not None and draw(RARE):
            members.append(Member(2 * n + 2, f"p{n}again", process))
    tasks = [Task(one.task, "parked" if one.parked else "running", one.id) for one in members if one.task]
    for number in numbers[agents:]:
        needs = several([one for one in numbers if one < number], 2)
        tasks.append(Task(number, "blocked" if needs else "ready", None, tuple(needs)))
    people = [one.id for one in members]
    owners = st.sampled_from([(one, None) for one in people] + [(None, number) for number in numbers])
    holds = draw(holdings(owners))
    bounded = draw(st.booleans())
    lent = draw(st.booleans()) and any(hold.kind == "semaphore" for hold in holds)
    wants = {
        "lock": st.fixed_dictionaries({"shared": st.booleans()}),
        "semaphore": st.just({"bounded": bounded}),
        "condition": st.just({"lock": "b"}),
        "tasks": st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["any", "all"]),
                "tasks": st.lists(st.sampled_from(numbers or [99]), min_size=1, max_size=2, unique=True),
            }
        ),
    }
    objects = {"lock": ["a", "a", "b"], "semaphore": ["s"], "barrier": ["group", "number"], "joined": ["q"]}
    kinds = ["lock"] * 8 + ["semaphore", "condition", "tasks", "barrier", "joined", "future", "event", "queue", "slot"]
    waits = draw(waitings(members, kinds, objects, wants))
    return Snapshot(
        members, waits, holds, tasks,
        missing={"group": several(list(numbers), 2)},
        owners={"x": draw(st.sampled_from(people))} if draw(st.booleans()) else {},
        lent={"s"} if lent else set(),
        queued={"q"} if draw(RARE) else set(),
        closed=not programs and draw(st.booleans()),
    )  # fmt: skip


@pytest.mark.long
@given(systems())
@settings(max_examples=200)
def test_a_wait_is_deadlocked_exactly_where_nothing_that_can_happen_ends_it(snapshot):
    truth = World(snapshot).never_ending()
    event(f"{len(truth)} deadlocked")
    assert {wait.id for wait in deadlocked(snapshot)} == truth


@given(systems())
@settings(max_examples=120)
def test_every_victim_was_deadlocked_and_afterwards_nothing_is(snapshot):
    refused = set()
    for knot in find(snapshot):
        never = World(snapshot, refused).never_ending()
        assert knot.victim in knot.waits
        assert {wait.id for wait in knot.waits} <= never
        refused.add(knot.victim.id)
        assert repr(Deadlock(**tell(snapshot, knot)))
    assert World(snapshot, refused).never_ending() <= refused


# One by one.  `ada`, `bob` and `eve` are programs; `agents` are parked agents of the tasks of the same numbers.

people = [Member(1, "ada"), Member(2, "bob"), Member(3, "eve")]


def agents(count):
    return [Member(n, f"task {n}", None, n, parked=True) for n in range(1, count + 1)]


def tasks(*costs):
    """Parked tasks of (priority, output tokens)."""
    return [Task(n, "parked", n, (), *cost) for n, cost in enumerate(costs, 1)]


def lock(number, member, name, **more):
    return Wait(number, member, "lock", name, **more)


def held(name, member, *, shared=False):
    return Hold("lock", name, member, shared=shared)


def crossed(**more):
    return Snapshot(people, [lock(1, 1, "b"), lock(2, 2, "a")], [held("a", 1), held("b", 2)], **more)


def victims(snapshot):
    return [knot.victim.id for knot in find(snapshot)]


def story(snapshot):
    (knot,) = find(snapshot)
    return tell(snapshot, knot)["story"]


def test_two_who_cross_two_locks_are_deadlocked_and_the_younger_wait_gives_way():
    assert [wait.id for wait in deadlocked(crossed())] == [1, 2]
    assert victims(crossed()) == [2]


def test_the_whole_story_is_told_in_words():
    (knot,) = find(crossed())
    assert str(Deadlock(**tell(crossed(), knot))) == (
        "deadlock: bob holds lock 'b' and waits for lock 'a', which ada holds;"
        " ada holds lock 'a' and waits for lock 'b', which bob holds."
        " You (bob) were chosen to give way, because your wait is the youngest, and did not get lock 'a'."
        " Release what you hold, let the others finish, then try again; if all take things in one order, it stays away."
    )


def test_who_only_waits_behind_a_deadlock_is_never_its_victim():
    """eve came first in line and holds nothing: that she gives way would help nobody."""
    snapshot = crossed()
    waits = [lock(1, 1, "b"), lock(2, 3, "a"), lock(3, 2, "a"), lock(4, 3, "b")]
    snapshot = Snapshot(people, waits, snapshot.holds)
    assert len(deadlocked(snapshot)) == 4
    assert victims(snapshot) == [3]
    assert "eve" not in story(snapshot)


def test_each_of_several_knots_has_a_victim_of_its_own():
    members = [Member(n, f"p{n}") for n in range(6)]
    waits = [lock(n + 1, n, str(n ^ 1)) for n in range(6)]
    assert sorted(victims(Snapshot(members, waits, [held(str(n), n) for n in range(6)]))) == [2, 4, 6]


def test_a_knot_that_one_victim_does_not_untie_loses_another():
    """Whoever shares a lock and wants it alone waits for all the others, of whom one may stay."""
    members = [Member(n, f"p{n}") for n in range(4)]
    waits = [lock(n + 1, n, "a") for n in range(4)]
    assert victims(Snapshot(members, waits, [held("a", n, shared=True) for n in range(4)])) == [4, 3, 2, 1]
    assert victims(Snapshot(members, waits[1:], [held("a", n, shared=True) for n in range(1, 3)])) == [3, 2]


def test_a_holder_that_wants_the_same_lock_again_is_deadlocked_alone():
    snapshot = Snapshot(people, [lock(1, 1, "a")], [held("a", 1)])
    assert story(snapshot) == "ada holds lock 'a' and waits for lock 'a', which ada itself holds"
    assert find(snapshot)[0].reason == "nobody else is part of it"


def advice(snapshot):
    (knot,) = find(snapshot)
    return tell(snapshot, knot)["advice"]


def test_who_waits_for_itself_is_told_so_and_not_to_let_others_finish():
    alone = [lock(1, 1, "a")]
    assert advice(Snapshot(people, alone, [held("a", 1)])) == (
        "You hold it yourself: use an RLock, which its holder can take again, or release it first."
    )
    assert advice(Snapshot(people, alone, [held("a", 1, shared=True)])) == "You share it yourself: release it first."
    assert advice(Snapshot(people, [Wait(1, 1, "joined", "q")], [Hold("queue", "q", 1)])) == (
        "Its messages are with you: say that they are done first."
    )
    wants = Wait(1, 1, "semaphore", "s", wants={"bounded": True})
    permit = Hold("semaphore", "s", 1)
    assert advice(Snapshot(people, [wants], [permit], lent={"s"})) == "Its permits are with you: release one first."


def test_who_waits_for_itself_and_for_others_lets_those_finish():
    both = [held("a", 1, shared=True), held("a", 2, shared=True)]
    snapshot = Snapshot(people, [lock(1, 1, "a"), lock(2, 2, "a")], both)
    first, second = find(snapshot)
    assert tell(snapshot, first)["advice"].startswith("Release what you hold, let the others finish")
    assert tell(snapshot, second)["advice"] == "You share it yourself: release it first."


@pytest.mark.parametrize(
    ("costs", "reason"),
    [
        ([(0, 9), (5, 0)], "your priority (0) is the lowest"),
        ([(1, 10), (1, 20)], "you have spent the least (10 output tokens)"),
        ([(-1, 50), (0, 0)], "your priority (-1) is the lowest"),
    ],
)
def test_the_victim_is_the_task_of_the_lowest_priority_or_else_that_spent_least(costs, reason):
    snapshot = replace(crossed(), members=agents(2), tasks=tasks(*costs))
    (knot,) = find(snapshot)
    assert (knot.victim.id, knot.reason) == (1, reason)


def test_among_equals_the_youngest_wait_gives_way():
    (knot,) = find(replace(crossed(), members=agents(2), tasks=tasks((1, 5), (1, 5))))
    assert (knot.victim.id, knot.reason) == (2, "your wait is the youngest")


@pytest.mark.parametrize(
    "change",
    [
        {"waits": [lock(1, 1, "b", ends=True), lock(2, 2, "a")]},
        {"waits": [lock(1, 1, "b"), lock(2, 2, "a", running=1)]},
        {"waits": [lock(1, 1, "b", running=0), lock(2, 2, "a"), Wait(3, 1, "queue", "q")]},
        {"waits": [lock(1, 1, "b"), lock(2, 2, "a"), Wait(3, 1, "merge", "7")]},
        {"holds": [held("a", 1), held("b", 3)]},
        {"holds": [held("a", 1), held("b", 99)]},
        {"members": [people[0], Member(2, "bob", None, 1, parked=False), people[2]]},
    ],
    ids=["timeout", "thread", "open wait beside it", "harness", "holder runs", "holder is gone", "agent runs"],
)
def test_no_alarm_where_somebody_can_go_on(change):
    assert deadlocked(replace(crossed(), **change)) == []


def test_the_newest_wait_tells_whether_another_thread_runs():
    waits = [lock(1, 1, "b", running=1), lock(2, 2, "a"), lock(3, 1, "b", running=0)]
    assert len(deadlocked(replace(crossed(), waits=waits))) == 3
    assert len(deadlocked(replace(crossed(), waits=waits[:2]))) == 0


def test_memberships_of_one_process_block_as_one():
    one = [Member(1, "ada", "p"), Member(2, "ada too", "p"), Member(3, "eve", "q")]
    snapshot = Snapshot(one, [lock(1, 1, "b"), lock(2, 3, "a")], [held("a", 2), held("b", 3)])
    assert victims(snapshot) == [2]
    assert victims(replace(snapshot, waits=[lock(1, 1, "b"), lock(2, 3, "a"), lock(3, 2, "c", running=2)])) == []


def test_readers_wait_for_a_writer_ahead_of_them_in_line():
    """ada shares the lock and asks to share it again, but bob came between them."""
    waits = [lock(1, 2, "a"), lock(2, 1, "a", wants={"shared": True})]
    snapshot = Snapshot(people, waits, [held("a", 1, shared=True)])
    assert story(snapshot) == (
        "ada holds lock 'a' in shared mode and waits for lock 'a' in shared mode, behind bob in line;"
        " bob waits for lock 'a', which ada holds in shared mode"
    )
    assert deadlocked(replace(snapshot, waits=waits[1:])) == []


def permits(*members, bounded, **more):
    waits = [Wait(1, 1, "semaphore", "s", wants={"bounded": bounded}), lock(2, 2, "a")]
    return Snapshot(people[:2], waits, [held("a", 1), *(Hold("semaphore", "s", one) for one in members)], **more)


def test_a_semaphore_needs_only_one_of_those_who_hold_a_permit():
    assert victims(permits(2, bounded=True, lent={"s"})) == [2]
    assert deadlocked(permits(2, 99, bounded=True, lent={"s"})) == []
    assert deadlocked(permits(2, bounded=True, lent={"s"}, free={"s"})) == []
    assert deadlocked(permits(bounded=True, lent={"s"})) == []


def test_a_permit_that_is_lent_may_be_released_by_whoever_is_there_unless_the_semaphore_is_bounded():
    assert victims(permits(2, bounded=False, lent={"s"})) == [2]
    assert deadlocked(replace(permits(2, bounded=False, lent={"s"}), members=people)) == []
    assert victims(replace(permits(2, bounded=True, lent={"s"}), members=people)) == [2]


def test_a_semaphore_that_sends_signals_may_get_one_from_a_program_still_to_come():
    assert deadlocked(permits(2, bounded=False)) == []


SIGNALLED = [
    ("event", {}, "event 'x', which nobody is left to set"),
    ("map", {"key": "k"}, "a change of map 'x', which nobody is left to change"),
    ("list", {}, "an item of list 'x', to which nobody is left to append"),
    ("queue", {}, "a message in queue 'x', where nobody is left to put one"),
    ("room", {}, "room in queue 'x', where nobody is left to take one"),
    ("condition", {"lock": "l"}, "condition 'x', at which nobody is left to notify"),
    ("barrier", {}, "the others at barrier 'x', where nobody is left to arrive"),
    ("future", {}, "future 'x', which nobody is left to set"),
]


@pytest.mark.parametrize(("kind", "wants", "words"), SIGNALLED)
def test_what_anybody_can_end_is_deadlocked_only_where_nobody_is_left_nor_can_come(kind, wants, words):
    waits = [Wait(n, n, kind, "x", wants=wants) for n in (1, 2)]
    snapshot = Snapshot(agents(2), waits, (), tasks((0, 0), (0, 0)), closed=True)
    assert victims(snapshot) == [2]
    assert story(snapshot) == f"task 2 waits for {words}; task 1 waits for {words}"
    (knot,) = find(snapshot)
    assert tell(snapshot, knot)["advice"].startswith("Nobody else can end this wait")
    assert deadlocked(replace(snapshot, closed=False)) == []
    assert deadlocked(replace(snapshot, tasks=[*snapshot.tasks, Task(3, "ready")])) == []
    running = [*agents(1), Member(2, "task 2", None, 2)]
    assert deadlocked(replace(snapshot, members=running)) == []


def test_who_waits_at_a_condition_needs_its_lock_as_well():
    waits = [Wait(1, 1, "condition", "c", wants={"lock": "b"}), lock(2, 2, "a")]
    snapshot = Snapshot(people, waits, [held("a", 1), held("b", 2)])
    assert victims(snapshot) == [2]
    assert "ada holds lock 'a' and waits for condition 'c', whose lock 'b' bob holds" in story(snapshot)
    assert deadlocked(replace(snapshot, holds=[held("a", 1)])) == []


def test_siblings_wait_for_each_other_at_a_barrier_and_a_lock():
    waits = [Wait(1, 1, "barrier", "door"), lock(2, 2, "a")]
    snapshot = Snapshot(agents(2), waits, [held("a", 1)], tasks((0, 7), (0, 9)), missing={"door": [2]}, closed=True)
    assert victims(snapshot) == [1]
    assert story(snapshot) == (
        "task 1 holds lock 'a' and waits for the others at barrier 'door', where task 2 has not arrived;"
        " task 2 waits for lock 'a', which task 1 holds"
    )
    assert deadlocked(replace(snapshot, missing={"door": [3]}, tasks=[*snapshot.tasks, Task(3, "ready")])) == []
    assert victims(replace(snapshot, missing={"door": [3]}, tasks=[*snapshot.tasks, Task(3, "blocked", None, (2,))]))


def test_a_reader_that_never_finishes_keeps_those_who_join_its_queue():
    waits = [Wait(1, 1, "joined", "q"), lock(2, 2, "a")]
    snapshot = Snapshot(people, waits, [held("a", 1), Hold("queue", "q", 2)])
    assert story(snapshot) == (
        "bob holds messages of queue 'q' and waits for lock 'a', which ada holds;"
        " ada holds lock 'a' and waits for the end of all work on queue 'q', whose messages bob holds"
    )
    assert deadlocked(replace(snapshot, holds=[held("a", 1), Hold("queue", "q", 3)])) == []
    assert deadlocked(replace(snapshot, holds=[held("a", 1)], queued={"q"})) == []


def test_a_promise_needs_who_has_promised():
    waits = [Wait(1, 1, "future", "f"), lock(2, 2, "a")]
    snapshot = Snapshot(people, waits, [held("a", 1)], owners={"f": 2})
    assert "ada holds lock 'a' and waits for future 'f', which bob has promised" in story(snapshot)
    assert deadlocked(replace(snapshot, owners={})) == []


@pytest.mark.parametrize(("mode", "numbers", "stuck"), [("all", [2, 3], 2), ("any", [2, 3], 0), ("any", [2], 2)])
def test_a_wait_for_tasks_needs_all_or_any_of_them(mode, numbers, stuck):
    waits = [Wait(1, 1, "tasks", "", wants={"mode": mode, "tasks": numbers}), lock(2, 2, "a")]
    more = [*tasks((0, 0), (0, 0)), Task(3, "ready")]
    assert len(deadlocked(Snapshot(agents(2), waits, [held("a", 1)], more))) == stuck


def test_a_task_that_needs_one_who_waits_for_it_is_told_of():
    waits = [Wait(1, 1, "tasks", "", wants={"mode": "all", "tasks": [4, 9]})]
    needs = [Task(4, "blocked", None, (3, 8)), Task(3, "blocked", None, (1,))]
    snapshot = Snapshot([Member(1, "ada", None, 1, parked=True)], waits, (), [*tasks((0, 0)), *needs])
    assert story(snapshot) == (
        "ada waits for task 4 and task 9, where task 4 needs task 3 and task 3 needs task 1 (ada)"
    )


def test_what_is_kept_for_a_task_between_two_agents_is_held_by_the_task():
    waits = [lock(1, 1, "a"), lock(2, 2, "b")]
    kept = [Hold("lock", "a", None, 3), held("b", 1)]
    snapshot = Snapshot(agents(2), waits, kept, [*tasks((0, 0), (0, 0)), Task(3, "ready")])
    assert deadlocked(snapshot) == []
    blocked = [*tasks((0, 0), (0, 0)), Task(3, "blocked", None, (2,))]
    assert "which task 3 holds" in story(replace(snapshot, tasks=blocked))
    own = [Hold("lock", "a", 2, 3), held("b", 1)]
    assert len(deadlocked(replace(snapshot, holds=own))) == 2


def test_two_of_the_same_name_are_told_apart():
    snapshot = replace(crossed(), members=[Member(1, "ada"), Member(2, "ada")])
    assert story(snapshot).startswith("ada (agent 2) holds lock 'b' and waits for lock 'a', which ada (agent 1) holds")


def test_a_long_story_is_cut_and_says_how_much_is_missing():
    members = [Member(n, f"p{n}") for n in range(40)]
    ring = Snapshot(
        members, [lock(n + 1, n, str((n + 1) % 40)) for n in range(40)], [held(str(n), n) for n in range(40)]
    )
    assert story(ring).endswith("; and 28 more wait in the same knot")
    assert story(ring).startswith("p39 holds lock '39' and waits for lock '0', which p0 holds; p0 holds lock '0' and")


@pytest.mark.parametrize("shape", ["a line", "pairs", "a ring", "events", "a semaphore"])
def test_ten_thousand_waiters_take_no_time_to_speak_of(shape):
    """The bound is far above what it takes, and far below what anything quadratic would."""
    count = 10_000
    members = [Member(n, f"p{n}", f"process {n}") for n in range(count + 1)]
    numbers = range(count)
    own = [held(str(n), n) for n in numbers]
    snapshot = {
        "a line": Snapshot(members, [lock(n + 1, n, "a") for n in numbers], [held("a", count)]),
        "pairs": Snapshot(members, [lock(n + 1, n, str(n ^ 1)) for n in numbers], own),
        "a ring": Snapshot(members, [lock(n + 1, n, str((n + 1) % count)) for n in numbers], own),
        "events": Snapshot(members[:-1], [Wait(n + 1, n, "event", "e") for n in numbers], closed=True),
        "a semaphore": Snapshot(
            members, [Wait(n + 1, n, "semaphore", "s", wants={"bounded": True}) for n in numbers],
            [Hold("semaphore", "s", n) for n in range(100)], lent={"s"},
        ),
    }[shape]  # fmt: skip
    began = time.process_time()
    deadlocked(snapshot)
    assert time.process_time() - began < 1.0
    find(snapshot)
    assert time.process_time() - began < 3
