"""The scheduler is a function: these are its laws."""

from collections import Counter
from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from prong.harness.admission import MIB, Crew, Provider
from prong.harness.pressure import Pressure
from prong.harness.scheduler import Candidate, Clashes, Snapshot, Start, Unpark, decide, rank, wanted
from prong.primitives.ranking import AGEING_S

candidates = st.lists(
    st.builds(
        Candidate,
        task=st.integers(1, 1000),
        level=st.integers(-3, 3),
        since=st.floats(0, 100),
        waiter=st.none() | st.integers(1, 1000),
        path_s=st.sampled_from([0.0, 5.0, 60.0]),
    ),
    unique_by=lambda one: one.task,
    max_size=30,
)
snapshots = st.builds(Snapshot, slots=st.integers(1, 20), taken=st.integers(0, 25), candidates=candidates)
NO_MEMORY = Pressure(available_bytes=0, total_bytes=1024 * MIB)


@given(snapshots)
def test_no_slot_is_given_twice_and_none_stays_idle_while_somebody_wants_it(snapshot):
    free = max(0, snapshot.slots - snapshot.taken)
    assert len(decide(snapshot)) == min(free, len(snapshot.candidates))


@given(snapshots)
def test_everyone_who_goes_stands_before_everyone_who_stays(snapshot):
    chosen = {decision.task for decision in decide(snapshot)}
    going = [rank(one) for one in snapshot.candidates if one.task in chosen]
    staying = [rank(one) for one in snapshot.candidates if one.task not in chosen]
    assert not going or not staying or max(going) < min(staying)


@given(snapshots)
def test_a_task_that_has_begun_is_unparked_and_another_started(snapshot):
    waiters = {one.task: one.waiter for one in snapshot.candidates}
    for decision in decide(snapshot):
        assert isinstance(decision, Start if waiters[decision.task] is None else Unpark)


@given(snapshots, st.integers(0, 3))
def test_the_head_of_each_line_is_enough(snapshot, more):
    count = wanted(snapshot) + more
    ready = sorted((one for one in snapshot.candidates if one.waiter is None), key=rank)[:count]
    begun = sorted((one for one in snapshot.candidates if one.waiter is not None), key=rank)[:count]
    head = Snapshot(snapshot.slots, snapshot.taken, [*begun, *ready])
    assert decide(head).go == decide(snapshot).go


@given(snapshots)
def test_everyone_who_stays_is_told_why_and_so_are_those_behind(snapshot):
    decisions = decide(snapshot)
    assert {one.task for one in decisions} | decisions.stay.keys() == {one.task for one in snapshot.candidates}
    assert all(refusal.reason == "slots" for refusal in decisions.stay.values())
    full = snapshot.taken + len(decisions) >= snapshot.slots
    assert decisions.rest.reason == ("slots" if full else "empty")


def test_among_equals_the_begun_goes_first_then_the_longest_path_then_the_older():
    ready = [Candidate(1, 0, since=5), Candidate(2, 0, since=4), Candidate(5, 0, since=6, path_s=60.0)]
    parked = [Candidate(3, 0, since=9, waiter=7), Candidate(4, 0, since=8, waiter=6)]
    order = [decision.task for decision in decide(Snapshot(slots=5, taken=0, candidates=[*ready, *parked]))]
    assert order == [4, 3, 5, 2, 1]


def test_a_higher_level_goes_first_whoever_has_begun_and_however_long_its_path():
    urgent = Candidate(1, 5, since=9)
    begun = Candidate(2, 0, since=1, waiter=3, path_s=900.0)
    assert decide(Snapshot(slots=1, taken=0, candidates=[begun, urgent])).go == (Start(1),)


def test_without_memory_none_starts_beside_another_but_whose_wait_has_ended_goes_on():
    everybody = [Candidate(1, 9, since=0), Candidate(2, 0, since=0, waiter=5), Candidate(3, 0, since=0, waiter=6)]
    decisions = decide(Snapshot(slots=8, taken=1, candidates=everybody, pressure=NO_MEMORY))
    assert decisions.go == (Unpark(2, 5), Unpark(3, 6))
    assert decisions.stay[1].reason == decisions.rest.reason == "memory"


def test_without_memory_and_with_nobody_running_one_starts():
    decisions = decide(
        Snapshot(slots=8, taken=0, candidates=[Candidate(1, 0, 0), Candidate(2, 0, 0)], pressure=NO_MEMORY)
    )
    assert decisions.go == (Start(1),)
    assert decisions.stay[2].reason == "memory"


def test_a_spent_budget_starts_nothing_but_what_has_begun_may_end():
    everybody = [Candidate(1, 9, since=0), Candidate(2, 0, since=0, waiter=5)]
    decisions = decide(Snapshot(slots=8, taken=0, candidates=everybody, budget="all 10 tokens are spent"))
    assert decisions.go == (Unpark(2, 5),)
    assert (decisions.stay[1].reason, decisions.stay[1].detail) == ("budget", "all 10 tokens are spent")


def test_a_paused_swarm_stands_still_and_says_who_paused_it():
    everybody = [Candidate(1, 9, since=0), Candidate(2, 0, since=0, waiter=5)]
    snapshot = Snapshot(slots=8, taken=0, candidates=everybody, paused="ada paused it")
    decisions = decide(snapshot)
    assert (decisions.go, wanted(snapshot)) == ((), 0)
    assert {one.detail for one in (*decisions.stay.values(), decisions.rest)} == {"ada paused it"}


def test_a_closed_provider_holds_up_only_those_who_call_it():
    everybody = [Candidate(1, 9, 0, provider="a"), Candidate(2, 0, 0, provider="b"), Candidate(3, 0, 0, waiter=4)]
    snapshot = Snapshot(8, 1, everybody, now=10.0, providers={"a": Provider(closed_until=25.0), "b": Provider()})
    decisions = decide(snapshot)
    assert decisions.go == (Unpark(3, 4), Start(2))
    assert (decisions.stay[1].reason, decisions.stay[1].until) == ("provider", 25.0)


def test_no_more_go_than_the_provider_takes_calls():
    everybody = [Candidate(task, 0, since=task, provider="a") for task in range(1, 6)]
    decisions = decide(Snapshot(8, 1, everybody, providers={"a": Provider(concurrency=4, in_flight=2)}))
    assert decisions.go == (Start(1), Start(2))
    assert {refusal.reason for refusal in decisions.stay.values()} == {"provider"}


def _of_role(one, role):
    return replace(one, role=role)


of_roles = st.builds(
    Snapshot,
    slots=st.integers(1, 20),
    taken=st.integers(0, 25),
    candidates=candidates.flatmap(
        lambda found: st.tuples(*(st.sampled_from(["", "one", "two"]).map(partial(_of_role, one)) for one in found))
    ),
    roles=st.dictionaries(st.sampled_from(["one", "two"]), st.builds(Crew, st.integers(1, 4), st.integers(0, 5))),
)


@given(of_roles)
def test_no_more_of_a_role_run_than_may_and_no_slot_stays_idle_for_it(snapshot):
    role_of = {one.task: one.role for one in snapshot.candidates}
    decisions = decide(snapshot)
    going = Counter(role_of[one.task] for one in decisions)
    for name, crew in snapshot.roles.items():
        assert going[name] <= crew.free()
    if snapshot.taken + len(decisions) < snapshot.slots:
        for task, refusal in decisions.stay.items():
            assert refusal.reason == "role"
            crew = snapshot.roles[role_of[task]]
            assert crew.running + going[role_of[task]] >= crew.most


@given(of_roles, st.integers(0, 3))
def test_the_head_of_each_role_with_a_bound_and_of_all_others_is_enough(snapshot, more):
    count = wanted(snapshot) + more
    lines = {}
    for one in sorted(snapshot.candidates, key=rank):
        lines.setdefault((one.waiter is None, one.role if one.role in snapshot.roles else None), []).append(one)
    head = [one for line in lines.values() for one in line[:count]]
    assert decide(replace(snapshot, candidates=head)).go == decide(snapshot).go


def test_whoever_stays_because_of_its_role_is_told_how_many_run():
    crowd = [Candidate(1, 5, since=0, role="reviewer"), Candidate(2, 0, since=0)]
    decisions = decide(Snapshot(slots=4, taken=1, candidates=crowd, roles={"reviewer": Crew(1, 1)}))
    assert decisions.go == (Start(2),)
    assert decisions.stay[1].detail == "1 task runs of the role reviewer, of which at most 1 run at once"


# Who would conflict with whom.

PAIRS = st.sets(st.tuples(st.integers(1, 12), st.integers(1, 15)).filter(lambda pair: pair[0] != pair[1]))


def both_ways(pairs):
    found = {}
    for one, other in pairs:
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return {task: frozenset(others) for task, others in found.items()}


def clashing(slots, candidates, pairs, under_way, now):
    clashes = Clashes(frozenset(under_way), both_ways(pairs[0]), both_ways(pairs[1]))
    return Snapshot(slots, len(under_way), candidates, now=now, clashes=clashes, hold_s=100.0)


crowds = st.builds(
    clashing,
    slots=st.integers(1, 15),
    candidates=st.lists(
        st.builds(
            Candidate, task=st.integers(1, 12), level=st.integers(0, 2), since=st.floats(0, 100),
            waiter=st.none() | st.none() | st.integers(1, 9), path_s=st.sampled_from([0.0, 60.0]),
        ),
        unique_by=lambda one: one.task, max_size=12,
    ),
    pairs=st.tuples(PAIRS, PAIRS), under_way=st.sets(st.integers(13, 15)), now=st.sampled_from([100.0, 100.0, 150.0]),
)  # fmt: skip


@given(crowds)
def test_nobody_starts_who_is_to_write_what_others_do_unless_it_has_waited_long(snapshot):
    of = {one.task: one for one in snapshot.candidates}
    going = [decision.task for decision in decide(snapshot)]
    for place, task in enumerate(going):
        if of[task].waiter is None and snapshot.now < of[task].since + snapshot.hold_s:
            busy = snapshot.clashes.under_way | set(going[:place])
            assert not snapshot.clashes.declared.get(task, frozenset()) & busy


@given(crowds)
def test_a_slot_stays_idle_only_where_all_who_want_it_write_what_others_before_them_do(snapshot):
    decisions = decide(snapshot)
    if snapshot.taken + len(decisions) >= snapshot.slots:
        return
    order = [one.task for one in sorted(snapshot.candidates, key=rank)]
    going = {decision.task for decision in decisions}
    for task, refusal in decisions.stay.items():
        assert refusal.reason == "writes"
        before = {*order[: order.index(task)], *going, *snapshot.clashes.under_way}
        assert snapshot.clashes.declared[task] & before
    if not snapshot.clashes.under_way and snapshot.candidates:
        assert going  # nobody waits for nobody


@given(crowds)
def test_a_conflict_that_is_only_likely_leaves_no_slot_idle_and_no_higher_level_behind(snapshot):
    likely = replace(snapshot, clashes=replace(snapshot.clashes, declared={}))
    free = replace(snapshot, clashes=Clashes())
    level = {one.task: one.level for one in snapshot.candidates}
    assert [level[one.task] for one in decide(likely)] == [level[one.task] for one in decide(free)]


def test_among_equals_whoever_will_probably_conflict_with_nobody_goes_first():
    crowd = [Candidate(task, 0, since=task) for task in (1, 2, 3)]
    clashes = Clashes(frozenset([9]), learnt=both_ways([(1, 9)]))
    assert [one.task for one in decide(Snapshot(3, 1, crowd, clashes=clashes))] == [2, 3]
    assert [one.task for one in decide(Snapshot(4, 1, crowd, clashes=clashes))] == [2, 3, 1]


def test_whoever_stands_behind_one_that_is_kept_back_does_not_keep_it_back_longer():
    crowd = [Candidate(1, 0, since=1), Candidate(2, 0, since=2), Candidate(3, 0, since=3)]
    clashes = Clashes(frozenset([9]), both_ways([(1, 9), (1, 2)]))
    decisions = decide(Snapshot(8, 1, crowd, now=10.0, clashes=clashes))
    assert decisions.go == (Start(3),)
    assert "that task 9 is to write" in decisions.stay[1].detail
    assert "that task 1 is to write" in decisions.stay[2].detail
    assert decisions.stay[1].until == 1 + AGEING_S


@given(st.integers(1, 4), PAIRS, PAIRS, st.randoms(use_true_random=False))
def test_everybody_starts_in_the_end_and_never_beside_whom_it_would_conflict_with(slots, declared, learnt, chance):
    """Goal: no starvation, no deadlock.  New tasks keep coming, and those that run end at random."""
    clash, likely = both_ways(declared), both_ways(learnt)
    waiting, running, started = {}, set(), []
    for now in range(60):
        if now < 15:
            waiting[now + 1] = Candidate(now + 1, chance.randint(0, 1), since=float(now))
        clashes = Clashes(frozenset(running), clash, likely)
        for decision in decide(Snapshot(slots, len(running), list(waiting.values()), now=float(now), clashes=clashes)):
            assert not clash.get(decision.task, frozenset()) & running
            running.add(decision.task)
            started.append(decision.task)
            del waiting[decision.task]
        for task in [one for one in sorted(running) if chance.random() < 0.5] or sorted(running)[:1]:
            running.discard(task)
    assert sorted(started) == list(range(1, 16))
