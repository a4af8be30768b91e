"""The line of ready tasks: its order, its claims, and what becomes of a task whose need fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.primitives import Plan, UnknownTask, create_task
from prong.primitives import task as tasks
from prong.primitives.budget import Budget
from prong.primitives.errors import TooManyTasks
from prong.primitives.task_ending import is_doomed, is_ready
from prong.state import Invalid
from prong.state.member import enlist


@pytest.fixture
def graph(do):
    """Makes tasks from `{key: needs}`; their numbers by key."""

    def graph(needs, **how):
        plans = [Plan(key, "do it", key=key, needs=wanted, **how) for key, wanted in needs.items()]
        return {plan.key: task.id for plan, (task, _) in zip(plans, do(tasks.create_tasks, plans), strict=True)}

    return graph


@pytest.fixture
def state(do):
    return lambda *numbers: " ".join(do(tasks.find, task).state for task in numbers)


def take(here):
    return tasks.wait_next(here.member, timeout=60)


def drain(member):
    order = []
    while (claim := tasks.wait_next(member, timeout=0)) is not None:
        order.append(claim.task)
    return order


# The order.


def test_the_higher_priority_goes_first_then_the_longer_path_then_the_older(make, member):
    old, low, high = make(), make(priority=-1), make(priority=1)
    head = make()
    make(make(head))
    assert drain(member) == [high, head, old, low]


def test_age_beats_priority_in_the_end(make, member, clock, do):
    do(tasks.set_limits, ageing_s=100)
    old = make()
    clock.advance(301)
    urgent, more = make(priority=2), make(priority=4)
    assert drain(member) == [more, old, urgent]


def test_a_need_is_as_urgent_as_what_needs_it(make, member):
    other, need = make(priority=3), make()
    between = make(need)
    make(between, priority=7)
    assert drain(member) == [need, other]


def test_the_estimates_are_learnt_by_role(make, do, store, clock):
    def ran(role, seconds):
        task = make(role=role)
        agent = do(enlist, "a", pid=None, task=task, state="running", lease_s=None)
        do(tasks.claim, task, agent)
        clock.advance(seconds)
        do(tasks.finish, task, "done")

    for seconds in (10, 20, 30):
        ran("test", seconds)
    ran("build", 100)
    test, build = make(role="test"), make(role="build")
    rows = {row["id"]: row["estimate_s"] for row in store.rows("select id, estimate_s from task")}
    assert rows[test] == pytest.approx(20)
    assert rows[build] == pytest.approx(100)


# Claims.


def test_who_waits_for_work_gets_it_in_order_and_only_they_wake(make, processes, in_line, waiters):
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(take)
    in_line("work", 1)
    bob.start_running(take)
    in_line("work", 2)
    first = make()
    assert ada.result() == tasks.Claim(first, 1)
    assert bob.busy()
    second = make()
    assert bob.result() == tasks.Claim(second, 1)
    assert waiters() == []


def test_an_end_hands_what_it_frees_to_who_waits_for_work(make, do, agent, processes, in_line):
    need = make()
    after = make(need)
    do(tasks.claim, need, agent())
    ada = processes("ada")
    ada.start_running(take)
    in_line("work", 1)
    do(tasks.finish, need, "done")
    assert ada.result().task == after


def test_what_was_granted_to_an_interrupted_taker_goes_back(make, processes, in_line, state, member):
    ada = processes("ada")
    ada.start_running(take)
    in_line("work", 1)
    ada.stop()
    task = make()
    assert state(task) == "running"
    ada.interrupt()
    ada.go_on()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert tasks.wait_next(member, timeout=0) == tasks.Claim(task, 3)


def test_what_a_program_had_taken_goes_to_the_next_when_it_is_killed(make, processes, in_line, bury):
    task = make()
    ada, bob = processes("ada"), processes("bob")
    assert ada.run(take).task == task
    bob.start_running(take)
    in_line("work", 1)
    bury(ada.kill())
    assert bob.result() == tasks.Claim(task, 3)


def test_eight_takers_share_a_graph_and_nothing_is_done_twice_or_before_its_needs(graph, processes, store):
    needs = {f"t{n}": [f"t{m}" for m in range(max(0, n - 3), n) if (n * m) % 3 == 1] for n in range(60)}
    made = graph(needs | {f"stop {n}": list(needs) for n in range(8)})
    takers = [processes(f"taker {n}") for n in range(8)]
    for taker in takers:
        taker.start_running(work_off)
    done = [task for taker in takers for task in taker.result(timeout=60)]
    assert sorted(done) == sorted(made.values())
    ends = {row["task"]: row["seq"] for row in store.rows("select task, seq from event where kind = 'task.done'")}
    for row in store.rows("select task, seq from event where kind = 'task.claimed'"):
        key = next(key for key, number in made.items() if number == row["task"])
        assert all(ends[made[need]] < row["seq"] for need in needs.get(key, needs))


def work_off(here):
    done = []
    while True:
        claim = tasks.wait_next(here.member, timeout=None)
        with here.member.transaction() as tx:
            tasks.hold(tx, claim.task, claim.fence)
            title = tasks.find(tx, claim.task).title
            tasks.finish(tx, claim.task, "done")
        done.append(claim.task)
        if title.startswith("stop"):
            return done


# Needs that fail.


def test_a_task_may_go_on_with_what_failed(make, do, state):
    first, second = make(), make()
    both = make(first, second, on_failed_need="continue")
    do(tasks.finish, first, "failed")
    assert state(both) == "blocked"
    do(tasks.finish, second, "done")
    assert state(both) == "ready"


def test_a_task_may_be_content_with_any(make, do, state):
    first, second, third = make(), make(), make()
    any_of = make(first, second, third, on_failed_need="any")
    do(tasks.finish, first, "failed")
    assert state(any_of) == "blocked"
    do(tasks.finish, second, "done")
    assert state(any_of) == "ready"
    do(tasks.finish, third, "failed")
    assert state(any_of) == "ready"


def test_a_task_that_was_content_with_any_fails_when_none_is_left(make, do, state):
    first, second = make(), make()
    any_of = make(first, second, on_failed_need="any")
    after = make(any_of)
    do(tasks.finish, first, "cancelled")
    do(tasks.finish, second, "failed")
    assert state(any_of, after) == "failed failed"


@given(
    st.sampled_from(["fail", "continue", "any"]), st.lists(st.sampled_from(["ready", "done", "failed", "cancelled"]))
)
def test_no_task_may_start_and_never_start_and_none_waits_for_what_has_ended(policy, states):
    ready, doomed = is_ready(policy, states), is_doomed(policy, states)
    assert not (ready and doomed)
    if "ready" not in states:
        assert ready or doomed


# A graph at once.


def test_a_graph_is_made_whole_or_not_at_all(graph, do, store):
    with pytest.raises(Invalid, match="in a circle: 'a', 'b'"):
        graph({"a": ["b"], "b": ["a"], "c": []})
    with pytest.raises(Invalid, match="needs 'nowhere'"):
        graph({"a": [], "b": ["nowhere"]})
    with pytest.raises(UnknownTask):
        do(tasks.create_tasks, [Plan("a", "do"), Plan("b", "do", needs=[99])])
    assert store.row("select count(*) as count from task")["count"] == 0
    assert dict(store.row("select open, total from task_count")) == {"open": 0, "total": 0}


def test_a_graph_that_is_made_again_finds_what_is_there(graph, store):
    first = graph({"ship": ["test"], "test": []})
    again = graph({"ship": ["test"], "test": [], "more": ["ship"]})
    assert {key: again[key] for key in first} == first
    assert dict(store.row("select open, total from task_count")) == {"open": 3, "total": 3}


def test_the_order_in_which_a_graph_is_named_does_not_matter(graph, state, member):
    made = graph({"ship": ["test", "lint"], "test": ["build"], "lint": [], "build": []})
    assert state(*(made[key] for key in ("ship", "test", "lint", "build"))) == "blocked blocked ready ready"
    assert drain(member) == [made["build"], made["lint"]]


# Limits.


def make_below(member, number=1):
    with member.transaction() as tx:
        return [task.id for task, _ in tasks.create_tasks(tx, [Plan("work", "do it")] * number)]


def test_no_more_tasks_are_open_or_made_than_the_limits_say(make, do):
    do(tasks.set_limits, open=2, tasks=3)
    first = make()
    make()
    with pytest.raises(TooManyTasks, match=r"2 tasks are open.*left: open 0, tasks 1.*limits\.open"):
        make()
    do(tasks.finish, first, "done")
    make()
    do(tasks.finish, 2, "done")
    with pytest.raises(TooManyTasks, match="3 tasks were created"):
        make()
    with pytest.raises(TooManyTasks):
        do(tasks.create_tasks, [Plan("work", "do it")] * 2)


def test_no_family_is_deeper_or_larger_than_the_limits_say(make, do, under):
    do(tasks.set_limits, depth=2, children=3)
    top = make()
    (child,) = make_below(under(top))
    (grandchild,) = make_below(under(child))
    with pytest.raises(TooManyTasks, match="2 tasks below the first"):
        make_below(under(grandchild))
    with pytest.raises(TooManyTasks, match="no task may create more"):
        make_below(under(top), 3)
    make_below(under(top), 2)
    with pytest.raises(TooManyTasks, match="created 3 tasks"):
        make_below(under(top))


def test_a_refused_task_changes_nothing(make, do, store):
    do(tasks.set_limits, open=1)
    make()
    before = store.row("select max(seq) as seq from event")["seq"]
    with pytest.raises(TooManyTasks):
        make(budget=Budget(tokens=10))
    assert store.row("select max(seq) as seq from event")["seq"] == before


def test_many_who_create_at_once_do_not_pass_the_limit(do, processes, store):
    do(tasks.set_limits, open=50)
    crowd = [processes(f"maker {n}") for n in range(8)]
    for one in crowd:
        one.start_running(make_many)
    assert sum(one.result(timeout=60) for one in crowd) == 50
    assert store.row("select count(*) as count from task")["count"] == 50


def make_many(here):
    made = 0
    for _ in range(20):
        try:
            with here.member.transaction() as tx:
                create_task(tx, Plan("work", "do it"))
        except TooManyTasks:
            continue
        made += 1
    return made
