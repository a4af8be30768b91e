"""Tasks: each comes to exactly one end, none starts before what it needs, and none is lost with its agent."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from prong.primitives import Plan, UnknownTask, create_task, wait_tasks
from prong.primitives.task import (
    FINAL,
    NEEDS,
    PROMPT_BYTES,
    RESULT_BYTES,
    STALLED,
    TITLE_CHARACTERS,
    cancel,
    claim,
    find,
    finish,
    give_back,
    hold,
    set_limits,
)  # fmt: skip
from prong.state import Invalid, Member, Membership, TaskLost, waiter
from prong.state.bell import SCHEDULER_SLOT
from prong.state.member import enlist


def create(here, key):
    with here.member.transaction() as tx:
        return create_task(tx, Plan("work", "do it", key=key))[0].id


def wait(here, tasks, **how):
    return [(task.id, task.state) for task in wait_tasks(here.member, tasks, **how)]


def finish_task(here, task, state, **how):
    with here.member.transaction() as tx:
        finish(tx, task, state, **how)


def claim_task(here, task):
    with here.member.transaction() as tx:
        return claim(tx, task, here.member.me.agent)


def give_task_back(here, task, agent):
    with here.member.transaction() as tx:
        give_back(tx, task, agent=agent, reason="killed")


@pytest.fixture
def spawn(processes):
    return processes


@pytest.fixture
def state(do):
    return lambda *tasks: " ".join(do(find, task).state for task in tasks)


@pytest.fixture
def run(do, agent):
    """Claims a task for a new agent; the agent and the fence."""

    def run(task):
        number = agent(task)
        return number, do(claim, task, number)

    return run


# Creation.


def test_a_task_is_ready_when_all_it_needs_is_done(make, do, state):
    first, second = make(), make()
    third = make(first, second)
    assert state(first, second, third) == "ready ready blocked"
    do(finish, first, "done")
    assert state(third) == "blocked"
    do(finish, second, "done")
    assert state(third) == "ready"
    assert state(make(first, second, first)) == "ready"


@pytest.mark.parametrize("other", ["blocked", "ready", "running", "parked"])
def test_a_task_waits_for_each_of_its_needs_whatever_that_is_doing(make, do, state, store, other):
    first, second = make(), make()
    third = make(first, second)
    with store.transaction(None) as tx:
        tx.execute("update task set state = :other where id = :second", other=other, second=second)
    do(finish, first, "done")
    assert state(third) == "blocked"


@pytest.mark.parametrize("end", FINAL)
def test_a_task_that_has_ended_is_not_made_ready_by_what_it_needed(make, do, state, end):
    first = make()
    second = make(first)
    do(finish, second, end)
    do(finish, first, "done")
    assert state(second) == end


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_task_that_needs_a_failed_one_fails_when_it_is_made(make, do, end):
    first = make()
    do(finish, first, end)
    second = do(find, make(first))
    word = {"failed": "failed", "cancelled": "was cancelled"}[end]
    assert (second.state, second.error) == ("failed", f"it needs task {first}, which {word}")


def test_a_task_that_needs_what_is_not_there_is_not_made(make, store):
    with pytest.raises(UnknownTask, match="no task 7"):
        make(7)
    assert store.rows("select id from task") == []


def test_a_task_is_the_child_of_the_one_that_made_it(make, do, under):
    parent = make()
    with under(parent).transaction() as tx:
        child, new = create_task(tx, Plan("part", "do a part"))
    assert (child.parent, new, do(find, parent).parent) == (parent, True, None)


@pytest.mark.parametrize("end", FINAL)
def test_a_task_that_has_ended_makes_no_more_tasks(make, do, under, store, end):
    parent = make()
    member = under(parent)
    do(finish, parent, end)
    with pytest.raises(TaskLost, match=end), member.transaction() as tx:
        create_task(tx, Plan("late", "do it"))
    assert len(store.rows("select id from task")) == 1


def test_the_same_key_makes_no_second_task(make, member):
    first = make(key="call 1")
    with member.transaction() as tx:
        again, new = create_task(tx, Plan("other", "words", key="call 1"))
    assert (again.id, again.title, new) == (first, "work", False)
    assert make(key="call 2") != first
    assert make() != make()


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_creation_killed_at_its_commit_and_repeated_makes_one_task(spawn, store, when, left):
    ada, bob = spawn("ada"), spawn("bob")
    ada.die(1, when)
    ada.start_running(create, "call 1").gone()
    assert len(store.rows("select id from task")) == left
    assert bob.run(create, "call 1") == 1
    assert len(store.rows("select id from task")) == 1


def test_a_new_task_rings_the_scheduler(make, store):
    before = store.bells.read(SCHEDULER_SLOT)
    make()
    assert store.bells.read(SCHEDULER_SLOT) > before


@pytest.mark.parametrize(
    "how",
    [
        {"title": ""}, {"title": " \n"}, {"title": "x" * (TITLE_CHARACTERS + 1)}, {"prompt": ""}, {"prompt": "\t"},
        {"prompt": "x" * (PROMPT_BYTES + 1)}, {"prompt": "ä" * (PROMPT_BYTES // 2 + 1)}, {"priority": 1.5},
        {"priority": 2**60}, {"priority": True}, {"key": ""}, {"key": "a\0b"}, {"needs": list(range(NEEDS + 1))},
    ],
    ids=lambda how: next(iter(how)),
)  # fmt: skip
def test_a_plan_that_cannot_be_meant_is_refused(do, store, how):
    with pytest.raises(Invalid):
        do(create_task, Plan(**{"title": "work", "prompt": "do it"} | how))
    assert store.rows("select id from task") == []


def test_a_plan_at_its_bounds_is_taken(do):
    do(create_task, Plan("x" * TITLE_CHARACTERS, "x" * PROMPT_BYTES, priority=-(2**53)))


def test_odd_text_does_not_stop_a_task(do):
    task, _ = do(create_task, Plan("caf\udce9", "a\0b\ud800"))
    do(finish, task.id, "failed", error="no such file: \udcff")
    found = do(find, task.id)
    assert (found.title, found.error) == ("caf\ufffd", "no such file: \ufffd")


# Claims.


def test_one_agent_gets_a_ready_task_and_each_claim_has_a_new_fence(make, do, agent, state):
    task, ada, bob = make(), agent(), agent()
    assert do(claim, task, ada) == 1
    assert do(claim, task, bob) is None
    assert (state(task), do(find, task).agent, do(find, task).attempt) == ("running", ada, 1)
    do(give_back, task, agent=ada, reason="killed")
    assert do(claim, task, bob) == 3
    assert (do(find, task).agent, do(find, task).attempt) == (bob, 2)


@pytest.mark.parametrize("before", ["blocked", "running", "parked", "done", "failed", "cancelled"])
def test_only_a_ready_task_can_be_claimed(make, do, agent, store, before):
    task, ada = make(), agent()
    with store.transaction(None) as tx:
        tx.execute("update task set state = :state", state=before)
    assert do(claim, task, ada) is None
    assert do(find, task).attempt == 0


def test_of_many_who_claim_one_task_one_gets_it(make, spawn):
    task = make()
    crowd = [spawn(f"p{n}") for n in range(6)]
    for process in crowd:
        process.start_running(claim_task, task)
    assert sorted(process.result() or 0 for process in crowd) == [0, 0, 0, 0, 0, 1]


def test_a_write_under_an_older_fence_is_refused(make, do, run):
    task = make()
    ada, fence = run(task)
    do(hold, task, fence)
    do(give_back, task, agent=ada, reason="silent")
    with pytest.raises(TaskLost, match=rf"task {task} was claimed under fence 1, but is ready at fence 2"):
        do(hold, task, fence)
    _, newer = run(task)
    with pytest.raises(TaskLost, match="running at fence 3"):
        do(hold, task, fence)
    do(hold, task, newer)
    with pytest.raises(UnknownTask):
        do(hold, 99, 1)


@pytest.mark.parametrize("now", ["blocked", "ready", "done", "failed", "cancelled"])
def test_a_fence_holds_only_while_the_task_runs(make, do, run, store, now):
    task = make()
    _, fence = run(task)
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'parked'")
    do(hold, task, fence)
    with store.transaction(None) as tx:
        tx.execute("update task set state = :now", now=now)
    with pytest.raises(TaskLost):
        do(hold, task, fence)


# Giving back.


@pytest.mark.parametrize("before", ["running", "parked"])
def test_the_task_of_a_dead_agent_is_ready_again(make, do, run, state, store, before):
    task = make()
    ada, _ = run(task)
    with store.transaction(None) as tx:
        tx.execute("update task set state = :before", before=before)
    rings = store.bells.read(SCHEDULER_SLOT)
    do(give_back, task, agent=ada, reason="killed")
    assert (state(task), do(find, task).agent) == ("ready", None)
    assert store.bells.read(SCHEDULER_SLOT) > rings


def test_a_task_is_given_back_only_for_the_agent_that_has_it(make, do, run, agent, state):
    task = make()
    ada, fence = run(task)
    do(give_back, task, agent=agent(), reason="killed")
    do(hold, task, fence)
    do(give_back, task, agent=ada, reason="killed")
    bob, newer = run(task)
    do(give_back, task, agent=ada, reason="killed again")
    do(hold, task, newer)
    assert (state(task), do(find, task).agent) == ("running", bob)


@pytest.mark.parametrize("end", FINAL)
def test_a_task_that_has_ended_is_not_given_back(make, do, run, state, end):
    task = make()
    ada, _ = run(task)
    do(finish, task, end)
    do(give_back, task, agent=ada, reason="killed")
    assert state(task) == end


@pytest.mark.parametrize("before", ["blocked", "ready", *FINAL])
def test_only_a_running_or_parked_task_is_given_back(make, do, run, state, store, before):
    task = make()
    ada, _ = run(task)
    with store.transaction(None) as tx:
        tx.execute("update task set state = :before", before=before)
    do(give_back, task, agent=ada, reason="killed")
    assert state(task) == before


@pytest.mark.parametrize("end", ["done", "failed"])
def test_giving_back_and_finishing_at_once_end_well_whoever_is_first(make, spawn, store, state, run, end):
    """Two processes act on the same running task at the same moment, many times over."""
    ada, bob = spawn("ada"), spawn("bob")
    for _ in range(20):
        task = make()
        agent, _ = run(task)
        ada.start_running(give_task_back, task, agent)
        bob.start_running(finish_task, task, end)
        ada.result()
        bob.result()
        assert state(task) == end
    kinds = [row["kind"] for row in store.rows("select kind from event where kind = :kind", kind=f"task.{end}")]
    assert len(kinds) == 20


def test_a_task_whose_agents_all_die_without_progress_fails(make, do, run, state, events):
    task = make()
    for n in range(STALLED):
        assert state(task) == "ready"
        ada, _ = run(task)
        do(give_back, task, agent=ada, reason=f"killed for the {n + 1}. time")
    assert state(task) == "failed"
    assert do(find, task).error == (
        f"it is poisoned: its agent died {STALLED} times without getting any further: killed for the 5. time"
    )
    assert [kind for kind, _ in events("task.")][-2:] == ["task.returned", "task.failed"]


def test_an_agent_that_was_ended_on_purpose_is_not_counted(make, do, run, state, store):
    task = make()
    for _ in range(STALLED + 2):
        ada, _ = run(task)
        do(give_back, task, agent=ada, reason="the swarm was stopped", blame=False)
    assert state(task) == "ready"
    assert store.row("select stalled from task")["stalled"] == 0


@pytest.mark.parametrize(("when", "left"), [("before", "running"), ("after", "ready")])
def test_giving_back_killed_at_its_commit(make, spawn, run, state, when, left):
    task = make()
    agent, _ = run(task)
    ada = spawn("ada")
    ada.die(1, when)
    ada.start_running(give_task_back, task, agent).gone()
    assert state(task) == left


# Ends.


@pytest.mark.parametrize("end", FINAL)
def test_the_first_end_is_the_end(make, do, run, clock, events, end):
    task = make()
    run(task)
    do(finish, task, end, result="first", error="why")
    clock.advance(1)
    for other in FINAL:
        do(finish, task, other, result="second", error="other")
    found = do(find, task)
    assert (found.state, found.result, found.error, found.agent, found.final) == (end, "first", "why", None, True)
    with pytest.raises(TaskLost, match=f"{end} at fence 2"):
        do(hold, task, 1)
    assert [kind for kind, _ in events("task.")].count(f"task.{end}") == 1
    assert [kind for kind, _ in events("task.") if kind.removeprefix("task.") in FINAL] == [f"task.{end}"]


def test_an_end_without_a_result_keeps_the_one_that_was_handed_in(make, do, store):
    task = make()
    with store.transaction(None) as tx:
        tx.execute("update task set result = 'handed in'")
    do(finish, task, "done")
    assert do(find, task).result == "handed in"


def test_a_result_over_the_bound_is_cut(make, do):
    task = make()
    do(finish, task, "done", result="ä" * RESULT_BYTES, error="ä" * RESULT_BYTES)
    for text in (do(find, task).result, do(find, task).error):
        assert len(text.encode()) <= RESULT_BYTES
        assert text.endswith("ä…")
    other = make()
    do(finish, other, "done", result="x" * RESULT_BYTES)
    assert do(find, other).result == "x" * RESULT_BYTES


def test_a_failure_takes_along_all_that_can_never_start_now(make, do, state):
    first, other = make(), make()
    second = make(first)
    third = make(second, other)
    free = make(other)
    do(finish, first, "failed", error="it broke")
    assert state(first, second, third, other, free) == "failed failed failed ready blocked"
    assert do(find, third).error == f"it needs task {second}, which failed"


def test_a_failure_at_the_head_of_a_very_long_line_ends_all_of_it(make, do, state):
    """Longer than Python would bear if each task ended the next from within its own end."""
    first = last = make()
    for _ in range(1500):
        last = make(last)
    do(finish, first, "cancelled")
    assert state(last) == "failed"


def test_what_a_failed_task_needs_twice_over_fails_once(make, do, events):
    first = make()
    left, right = make(first), make(first)
    last = make(left, right)
    do(finish, first, "failed")
    assert events("task.failed").count(("task.failed", str(last))) == 1


@pytest.mark.parametrize(("when", "left"), [("before", "running blocked"), ("after", "done ready")])
def test_an_end_killed_at_its_commit(make, spawn, run, state, when, left):
    first = make()
    second = make(first)
    run(first)
    ada = spawn("ada")
    ada.die(1, when)
    ada.start_running(finish_task, first, "done").gone()
    assert state(first, second) == left


# Cancelling.


def test_cancelling_ends_the_whole_subtree_and_nothing_else(make, do, under, state):
    top, other = make(), make()
    with under(top).transaction() as tx:
        child = create_task(tx, Plan("child", "p"))[0].id
        ended = create_task(tx, Plan("ended", "p"))[0].id
    with under(child).transaction() as tx:
        grandchild = create_task(tx, Plan("grandchild", "p"))[0].id
    with under(ended).transaction() as tx:
        below_ended = create_task(tx, Plan("below", "p"))[0].id
    do(finish, ended, "done")
    assert do(cancel, top, reason="no longer wanted") == [top, child, grandchild, below_ended]
    assert (
        state(top, child, grandchild, below_ended, ended, other) == "cancelled cancelled cancelled cancelled done ready"
    )
    assert do(find, grandchild).error == "no longer wanted"
    assert do(cancel, top, reason="again") == []


def test_cancelled_tasks_that_need_each_other_are_cancelled_and_not_failed(make, do, under, state):
    top = make()
    with under(top).transaction() as tx:
        first = create_task(tx, Plan("first", "p"))[0].id
        second = create_task(tx, Plan("second", "p", needs=[first]))[0].id
    outside = make(second)
    assert do(cancel, top, reason="no longer wanted") == [top, first, second]
    assert state(first, second, outside) == "cancelled cancelled failed"
    assert do(find, outside).error == f"it needs task {second}, which was cancelled"


def test_what_is_not_there_cannot_be_cancelled(do):
    with pytest.raises(UnknownTask):
        do(cancel, 7, reason="why")


# Waiting.


def test_a_wait_for_all_ends_with_the_last_and_a_wait_for_any_with_the_first(make, do, spawn, in_line):
    tasks = [make(), make(), make()]
    ada, bob = spawn("ada"), spawn("bob")
    ada.start_running(wait, tasks)
    in_line("tasks", 1)
    bob.start_running(wait, tasks, mode="any")
    in_line("tasks", 2)
    do(finish, tasks[1], "failed")
    assert bob.result() == [(tasks[0], "ready"), (tasks[1], "failed"), (tasks[2], "ready")]
    do(finish, tasks[0], "done")
    assert ada.busy()
    do(finish, tasks[2], "cancelled")
    assert ada.result() == [(tasks[0], "done"), (tasks[1], "failed"), (tasks[2], "cancelled")]


def test_other_tasks_wake_nobody(make, do, spawn, in_line, waiters):
    mine, other = make(), make()
    ada = spawn("ada")
    ada.start_running(wait, [mine], mode="any")
    in_line("tasks")
    do(finish, other, "done")
    assert waiters() == [(ada.agent, "waiting")]


def test_a_wait_is_not_held_up_by_what_others_wait_for(make, do, spawn, in_line):
    mine, other = make(), make()
    for n, (name, task) in enumerate((("ada", mine), ("bob", other)), 1):
        spawn(name).start_running(wait, [task])
        in_line("tasks", n)
    do(finish, mine, "done")
    (row,) = in_line("tasks", 1)
    assert row


def test_a_wait_for_what_has_ended_does_not_wait(make, do, member):
    done, ready = make(), make()
    do(finish, done, "done", result="it works")
    (found,) = wait_tasks(member, [done, done])
    assert (found.state, found.result) == ("done", "it works")
    assert [task.state for task in wait_tasks(member, [ready, done], mode="any")] == ["ready", "done"]


def test_a_wait_ends_when_its_time_is_up(make, spawn, in_line, clock, waiters, store, member):
    task = make()
    assert [one.state for one in wait_tasks(member, [task], timeout=0)] == ["ready"]
    ada = spawn("ada")
    ada.start_running(wait, [task], timeout=60)
    in_line("tasks")
    clock.advance(60)
    assert ada.result() == [(task, "ready")]
    assert waiters() == store.rows("select waiter from waiter_task") == []


def test_an_interrupted_wait_leaves_no_row(make, spawn, in_line, waiters, store):
    ada = spawn("ada")
    ada.start_running(wait, [make(), make()])
    in_line("tasks")
    ada.interrupt()
    with pytest.raises(KeyboardInterrupt):
        ada.result()
    assert waiters() == store.rows("select waiter from waiter_task") == []


def test_an_interrupt_at_any_line_of_the_wait_leaves_no_row(make, do, member, during, interrupt_at, waiters, store):
    for n in itertools.count(1):
        task = make()
        me = during(member, lambda task=task: do(finish, task, "done"))
        interrupted = interrupt_at(n, lambda me=me, task=task: wait_tasks(me, [task]))
        assert waiters() == store.rows("select waiter from waiter_task") == []
        if not interrupted:
            break
    assert n > 50


@pytest.mark.parametrize(("n", "when", "left"), [(1, "before", 0), (1, "after", 1), (2, "before", 1), (2, "after", 0)])
def test_a_wait_killed_at_each_commit(make, do, spawn, until, bury, waiters, store, n, when, left):
    task = make()
    ada = spawn("ada")
    ada.die(n, when)
    ada.start_running(wait, [task])
    if n == 2:
        until(waiters, "ada in line")
        do(finish, task, "done")
    ada.gone()
    assert len(store.rows("select id from waiter")) == len(store.rows("select waiter from waiter_task")) == left
    bury(ada)
    assert waiters() == store.rows("select waiter from waiter_task") == []


def test_a_wait_for_oneself_or_for_what_one_is_a_part_of_is_refused(make, under, waiters):
    top = make()
    with under(top).transaction() as tx:
        child = create_task(tx, Plan("child", "p"))[0].id
        sibling = create_task(tx, Plan("sibling", "p"))[0].id
    for tasks in ([child], [sibling, top]):
        with pytest.raises(Invalid, match="which you are or are part of"):
            wait_tasks(under(child), tasks)
    assert wait_tasks(under(child), [sibling], timeout=0)
    assert wait_tasks(under(top), [child, sibling], timeout=0)
    assert waiters() == []


@pytest.mark.parametrize(
    ("tasks", "how", "error"),
    [
        ([], {}, Invalid), ([1], {"timeout": -1}, Invalid), ([1], {"timeout": math.nan}, Invalid),
        ([1, 99], {"timeout": 0}, UnknownTask), (list(range(1, NEEDS + 2)), {}, Invalid),
    ],
    ids=["none", "negative", "nan", "unknown", "too many"],
)  # fmt: skip
def test_a_wait_that_cannot_be_meant_is_refused(make, member, waiters, tasks, how, error):
    make()
    with pytest.raises(error):
        wait_tasks(member, tasks, **how)
    assert waiters() == []


class Swarm(RuleBasedStateMachine):
    """A graph of tasks against a dict: what is ready, what runs under which fence, what has ended."""

    tasks = Bundle("tasks")

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.agent = self.do(enlist, "agent", pid=None, task=None, state="running", lease_s=None)
        self.do(set_limits, depth=1_000, children=1_000)
        self.state, self.needs, self.parent, self.fence = {}, {}, {}, {}

    def do(self, function, *arguments, **options):
        with self.store.transaction(None) as tx:
            return function(tx, *arguments, **options)

    def settle(self):
        """What the states must be, given which tasks have ended by a decision."""
        again = True
        while again:
            again = False
            for task, needs in self.needs.items():
                if self.state[task] != "blocked":
                    continue
                states = {self.state[need] for need in needs}
                now = "failed" if states & {"failed", "cancelled"} else "ready" if states <= {"done"} else "blocked"
                again |= now != "blocked"
                self.state[task] = now

    @initialize(target=tasks)
    def first(self):
        return self.made([], None)

    @rule(target=tasks, needs=st.lists(tasks, max_size=3), parent=st.none() | tasks)
    def create(self, needs, parent):
        return self.made(needs, parent)

    def made(self, needs, parent):
        if parent is not None and self.state[parent] in FINAL:
            parent = None
        member = None if parent is None else Member(self.agent, 1, parent)
        with self.store.transaction(member) as tx:
            task = create_task(tx, Plan("work", "do it", needs=needs))[0].id
        self.needs[task], self.parent[task], self.state[task] = set(needs), parent, "blocked"
        self.settle()
        return task

    @rule(task=tasks)
    def claim(self, task):
        fence = self.do(claim, task, self.agent)
        assert (fence is not None) == (self.state[task] == "ready")
        if fence is not None:
            assert fence > self.fence.get(task, 0)
            self.fence[task], self.state[task] = fence, "running"

    @rule(task=tasks)
    def work(self, task):
        self.claim(task)
        self.finish(task, "done")

    @rule(task=tasks)
    def give_back(self, task):
        self.do(give_back, task, agent=self.agent, reason="killed", blame=False)
        if self.state[task] == "running":
            self.state[task] = "ready"

    @rule(task=tasks, end=st.sampled_from(FINAL))
    def finish(self, task, end):
        """Only what runs is brought to a good end; anything may fail or be cancelled."""
        if end == "done" and self.state[task] != "running":
            return
        self.do(finish, task, end)
        if self.state[task] not in FINAL:
            self.state[task] = end
        self.settle()

    @rule(task=tasks)
    def cancel(self, task):
        below = {one for one in self.state if self.is_below(one, task) and self.state[one] not in FINAL}
        assert set(self.do(cancel, task, reason="why")) == below
        self.state |= dict.fromkeys(below, "cancelled")
        self.settle()

    def is_below(self, one, top):
        while one is not None and one != top:
            one = self.parent[one]
        return one == top

    @rule(task=tasks)
    def hold(self, task):
        try:
            self.do(hold, task, self.fence.get(task, 0))
        except TaskLost:
            assert self.state[task] != "running"
        else:
            assert self.state[task] == "running"

    @rule(tasks=st.lists(tasks, min_size=1, max_size=3), mode=st.sampled_from(["all", "any"]))
    def wait(self, tasks, mode):
        """The row of a wait is decided exactly when the wait would not have to wait any more."""
        member = Membership(self.store, Member(self.agent, 1))
        with member.transaction() as tx:
            ticket = waiter.enrol(tx, "tasks", "some", timeout=None, wants={"mode": mode, "tasks": tasks})
            for task in set(tasks):
                tx.execute("insert into waiter_task (waiter, task) values (:w, :task)", w=ticket.waiter, task=task)
            if (all if mode == "all" else any)(self.state[task] in FINAL for task in tasks):
                waiter.grant(tx, ticket.waiter)

    @invariant()
    def the_states_agree(self):
        found = {row["id"]: row["state"] for row in self.store.rows("select id, state from task")}
        assert {task: found[task] for task in self.state} == self.state

    @invariant()
    def waiters_agree(self):
        for row in self.store.rows("select * from waiter where agent = :agent", agent=self.agent):
            wanted = waiter.wants(row)
            over = (all if wanted["mode"] == "all" else any)(self.state[task] in FINAL for task in wanted["tasks"])
            assert row["state"] == ("granted" if over else "waiting")

    def teardown(self):
        """However it went on, every task comes to exactly one end."""
        while ready := [task for task, state in self.state.items() if state in ("ready", "running")]:
            self.claim(ready[0])
            self.finish(ready[0], "done")
        assert set(self.state.values()) <= set(FINAL)
        for task, state in self.state.items():
            rows = self.store.rows(
                "select kind from event where object = :task"
                " and kind in ('task.done', 'task.failed', 'task.cancelled')",
                task=str(task),
            )
            assert [row["kind"] for row in rows] == [f"task.{state}"]


def test_tasks_agree_with_their_model(store):
    run_state_machine_as_test(
        lambda: Swarm(store), settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
