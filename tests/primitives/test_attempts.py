"""Attempts: what passes is tried again, later and later; what does not fails; and a person can try anything again."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import pytest

from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.errors import WrongTaskState
from prong.primitives.task_attempts import FIRST_PAUSE_S, LONGEST_PAUSE_S
from prong.state import Invalid, TaskLost
from prong.state.member import enlist


@pytest.fixture
def begin(do):
    """Claims a task for a new agent; the agent and the fence."""

    def begin(task):
        agent = do(enlist, "agent", pid=None, task=task, state="running", lease_s=None)
        return agent, do(tasks.claim, task, agent)

    return begin


@pytest.fixture
def row(store):
    return lambda task: store.row("select * from task where id = :task", task=task)


def fail(do, begin, task, failure):
    _, fence = begin(task)
    return do(tasks.fail, task, fence, error=f"a {failure} failed", failure=failure)


@pytest.mark.parametrize("failure", ["provider", "tool", "crash"])
def test_what_may_pass_is_tried_again_later_and_later_until_the_attempts_are_used_up(
    do, make, begin, row, store, failure
):
    task, pauses = make(attempts=4), []
    for _ in range(3):
        assert fail(do, begin, task, failure)
        assert row(task)["state"] == "ready"
        pauses.append(row(task)["not_before"] - store.clock.now())
    assert all(0.5 * FIRST_PAUSE_S * 2**n <= pause <= FIRST_PAUSE_S * 2**n for n, pause in enumerate(pauses))
    assert not fail(do, begin, task, failure)
    found = do(tasks.find, task)
    assert (found.state, found.failure, found.failures) == ("failed", failure, 4)
    assert found.error == f"a {failure} failed (attempt 4 of 4)"


@pytest.mark.parametrize("failure", ["request", "model", "merge"])
def test_what_cannot_pass_fails_at_once(do, make, begin, row, failure):
    task = make()
    assert not fail(do, begin, task, failure)
    assert (row(task)["state"], row(task)["error"]) == ("failed", f"a {failure} failed")


def test_a_pause_has_an_upper_bound(do, make, begin, row, store):
    task = make(attempts=30)
    for _ in range(29):
        fail(do, begin, task, "tool")
    assert LONGEST_PAUSE_S / 2 <= row(task)["not_before"] - store.clock.now() <= LONGEST_PAUSE_S


def test_a_task_that_pauses_is_not_taken_before_its_time_and_holds_up_nobody(do, make, begin, member, clock):
    hasty, other = make(priority=9), make()
    fail(do, begin, hasty, "tool")
    assert tasks.wait_next(member, timeout=0).task == other
    assert tasks.wait_next(member, timeout=0) is None
    clock.advance(FIRST_PAUSE_S)
    assert tasks.wait_next(member, timeout=0).task == hasty


def test_a_failure_under_an_older_fence_is_refused(do, make, begin):
    task = make()
    agent, fence = begin(task)
    do(tasks.give_back, task, agent=agent, reason="killed")
    with pytest.raises(TaskLost):
        do(tasks.fail, task, fence, error="too late", failure="tool")


def test_the_first_death_costs_no_time_and_the_next_ones_ever_more(do, make, begin, row, store):
    task, pauses = make(), []
    for _ in range(tasks.STALLED - 1):
        agent, _ = begin(task)
        do(tasks.give_back, task, agent=agent, reason="killed")
        pauses.append((row(task)["not_before"] or store.clock.now()) - store.clock.now())
    assert pauses[0] == 0
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses[1:]))


@pytest.mark.parametrize("blame", [True, False])
def test_only_a_death_of_its_own_poisons_a_task(do, make, begin, row, blame):
    task = make()
    for _ in range(tasks.STALLED):
        agent, _ = begin(task)
        do(tasks.give_back, task, agent=agent, reason="killed", blame=blame)
    assert row(task)["state"] == ("failed" if blame else "ready")
    assert row(task)["failure"] == ("crash" if blame else None)


def test_who_dies_while_it_only_waits_poisons_no_task_and_leaves_nothing_of_its_sleep(do, make, begin, row):
    task = make()
    for _ in range(tasks.STALLED):
        agent, _ = begin(task)
        do(lambda tx: tx.execute("update task set state = 'parked', held = 'asleep'"))
        do(tasks.give_back, task, agent=agent, reason="killed")
        assert (row(task)["state"], row(task)["held"], row(task)["stalled"]) == ("ready", None, 0)


# Held for its budget.


def test_a_task_whose_budget_is_spent_is_parked_with_what_it_found_and_goes_on_when_it_is_raised(do, make, begin, row):
    task = make()
    _, fence = begin(task)
    do(tasks.hold_for_budget, task, fence, reason="all 100 tokens are spent", result="half of it")
    found = do(tasks.find, task)
    assert (found.state, found.held, found.agent, found.result) == ("parked", "budget", None, "half of it")
    assert do(tasks.free_held, [7]) == []
    do(lambda tx: tx.execute("update task set account = 7"))
    assert do(tasks.free_held, [7]) == [task]
    assert (row(task)["state"], row(task)["held"]) == ("ready", None)
    with pytest.raises(TaskLost):
        do(tasks.hold, task, fence)


def test_a_task_that_one_agents_bound_holds_does_not_go_on_because_an_account_has_more(do, make, begin, row):
    task = make()
    _, fence = begin(task)
    do(tasks.hold_for_budget, task, fence, reason="the agent's tokens are spent", result=None, bound_of="agent")
    do(lambda tx: tx.execute("update task set account = 7"))
    assert do(tasks.free_held, [7]) == []
    assert do(tasks.pause, task, paused=False) == [task]
    assert (row(task)["state"], row(task)["held"]) == ("ready", None)


# Trying again.


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_task_that_ended_badly_can_be_tried_again_with_all_its_attempts(do, make, begin, row, end):
    task = make(attempts=1)
    do(tasks.finish, task, end, error="no luck")
    assert do(tasks.retry, task) == [task]
    assert (row(task)["state"], row(task)["error"], row(task)["failures"]) == ("ready", None, 0)
    _, fence = begin(task)
    assert fence > 1
    assert do(lambda tx: tx.value("select open from task_count")) == 1


def test_retrying_takes_along_those_that_failed_because_they_needed_it_only_where_that_is_asked(do, make, row):
    first = make()
    second = make(first)
    third, own = make(second), make(first)
    do(tasks.finish, own, "failed", error="its own fault", failure="tool")
    do(tasks.finish, first, "failed")
    assert row(third)["failure"] == "need"
    assert do(tasks.retry, first) == [first]
    assert row(second)["state"] == "failed"
    do(tasks.finish, first, "failed")
    assert do(tasks.retry, first, with_dependants=True) == [first, second, third]
    assert [row(task)["state"] for task in (first, second, third, own)] == ["ready", "blocked", "blocked", "failed"]
    do(tasks.finish, first, "done")
    assert row(second)["state"] == "ready"


def test_what_needs_a_failed_task_cannot_be_tried_again_before_that(do, make):
    first = make()
    second = make(first)
    do(tasks.finish, first, "failed")
    with pytest.raises(WrongTaskState, match=f"task {first} is failed.*task {second} needs it"):
        do(tasks.retry, second)


@pytest.mark.parametrize("state", ["ready", "running", "done"])
def test_only_what_ended_badly_can_be_tried_again(do, make, begin, state):
    task = make()
    if state != "ready":
        begin(task)
    if state == "done":
        do(tasks.finish, task, "done")
    with pytest.raises(WrongTaskState, match=f"task {task} is {state}, not failed or cancelled"):
        do(tasks.retry, task)


# Pausing and priority.


def test_a_paused_task_and_all_below_it_stay_out_of_the_line_and_so_do_new_ones(do, make, begin, member, under):
    top = make(priority=5)
    begin(top)
    child = make_below(under(top), "child")
    assert do(tasks.pause, top, paused=True) == [top, child]
    later = make_below(under(top), "later")
    assert tasks.wait_next(member, timeout=0) is None
    assert do(tasks.pause, child, paused=True) == []
    assert do(tasks.pause, top, paused=False) == [top, child, later]
    assert [tasks.wait_next(member, timeout=0).task for _ in range(2)] == [child, later]


def test_what_is_unpaused_goes_to_who_waits_for_work(do, make, processes, in_line):
    task = make()
    do(tasks.pause, task, paused=True)
    ada = processes("ada")
    ada.start_running(take)
    in_line("work", 1)
    do(tasks.pause, task, paused=False)
    assert ada.result() == task


def test_a_priority_moves_a_task_in_the_line(do, make, member):
    first, second = make(), make()
    do(tasks.set_priority, second, 1)
    assert [tasks.wait_next(member, timeout=0).task for _ in range(2)] == [second, first]


def test_a_priority_that_cannot_be_meant_is_refused(do, make):
    task = make()
    with pytest.raises(Invalid):
        do(tasks.set_priority, task, "high")
    do(tasks.finish, task, "done")
    with pytest.raises(WrongTaskState, match="is done, not still open"):
        do(tasks.set_priority, task, 1)


def take(here):
    return tasks.wait_next(here.member, timeout=60).task


def make_below(member, title):
    with member.transaction() as tx:
        return create_task(tx, Plan(title, "do it"))[0].id
