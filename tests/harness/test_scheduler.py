"""The scheduler is a function: these are its laws."""

from hypothesis import given
from hypothesis import strategies as st

from prong.harness.scheduler import Candidate, Snapshot, Start, Unpark, decide

candidates = st.lists(
    st.builds(
        Candidate,
        task=st.integers(1, 1000),
        priority=st.integers(-3, 3),
        since=st.floats(0, 100),
        waiter=st.none() | st.integers(1, 1000),
    ),
    unique_by=lambda one: one.task,
    max_size=30,
)
snapshots = st.builds(Snapshot, slots=st.integers(1, 20), taken=st.integers(0, 25), candidates=candidates)


@given(snapshots)
def test_no_slot_is_given_twice_and_none_stays_idle_while_somebody_wants_it(snapshot):
    free = max(0, snapshot.slots - snapshot.taken)
    assert len(decide(snapshot)) == min(free, len(snapshot.candidates))


@given(snapshots)
def test_everyone_who_goes_is_at_least_as_important_as_everyone_who_stays(snapshot):
    chosen = {decision.task for decision in decide(snapshot)}
    going = [one.priority for one in snapshot.candidates if one.task in chosen]
    staying = [one.priority for one in snapshot.candidates if one.task not in chosen]
    assert not going or not staying or min(going) >= max(staying)


@given(snapshots)
def test_a_task_that_has_begun_is_unparked_and_another_started(snapshot):
    waiters = {one.task: one.waiter for one in snapshot.candidates}
    for decision in decide(snapshot):
        assert isinstance(decision, Start if waiters[decision.task] is None else Unpark)


def test_among_equals_the_begun_goes_before_the_new_and_the_older_before_the_younger():
    ready = [Candidate(1, 0, since=5), Candidate(2, 0, since=4)]
    parked = [Candidate(3, 0, since=9, waiter=7), Candidate(4, 0, since=8, waiter=6)]
    order = [decision.task for decision in decide(Snapshot(slots=4, taken=0, candidates=[*ready, *parked]))]
    assert order == [4, 3, 2, 1]


def test_a_higher_priority_goes_first_whoever_has_begun():
    urgent = Candidate(1, 5, since=9)
    begun = Candidate(2, 0, since=1, waiter=3)
    assert decide(Snapshot(slots=1, taken=0, candidates=[begun, urgent])) == [Start(1)]
