"""`prong why`: what is told of a task in each state.  The test itself is the swarm's supervisor, and its agents."""

import json

import pytest

from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.harness.why.explain import explain, explain_open
from prong.primitives import Lock, MessageQueue, Plan, UnknownTask, budget, create_task
from prong.primitives import task as tasks
from prong.state import FileClock, Member, Membership, Store, member, waiter


class Swarm:
    """A swarm whose agents are members of this process."""

    def __init__(self, root, tmp_path, slots=2):
        made = create(Repository.open(root), Options("Reach the goal", "prong-emulator", slots))
        self.id = made.id
        self.clock = FileClock(tmp_path / "clock")
        self.clock.advance(made.store().clock.now() - self.clock.now() + 3600)
        self.store = Store(made.directory, clock=self.clock)
        with self.store.transaction(None) as tx:
            tasks.cancel(tx, 1, reason="the tests begin with nothing")

    def make(self, title, **plan):
        with self.store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title, title, **plan))
        return task.id

    def begin(self, task, pid=None):
        """Start an agent for a task; returns its membership, and sets its `fence`."""
        with self.store.transaction(None) as tx:
            agent = member.enlist(tx, f"task {task}", pid=pid, task=task, state="running", lease_s=15)
            fence = tasks.claim(tx, task, agent)
        assert fence is not None
        one = Membership(self.store, Member(agent, 1, task))
        one.fence = fence
        return one

    def park(self, one, kind, object, *, wants=None, timeout=None):
        """The agent waits for something; the waiter's number."""
        with one.transaction() as tx:
            ticket = waiter.enrol(tx, kind, object, timeout=timeout, wants=wants)
            tx.execute("update task set state = 'parked' where id = :task", task=one.me.task)
            tx.execute("update agent set state = 'parked' where id = :agent", agent=one.me.agent)
        return ticket.waiter

    def finish(self, task, state, **more):
        with self.store.transaction(None) as tx:
            tasks.finish(tx, task, state, **more)

    def event(self, kind, **data):
        with self.store.transaction(None) as tx:
            tx.event(kind, **data)

    def why(self, task):
        return explain(self.store, task)

    def reasons(self, task):
        return {reason.reason: reason for reason in self.why(task).reasons}


@pytest.fixture
def swarm(root, tmp_path):
    return Swarm(root, tmp_path)


def test_a_blocked_task_tells_its_needs_how_each_stands_and_on_what_all_hangs(swarm):
    first = swarm.make("first")
    second = swarm.make("second", needs=[first])
    done = swarm.make("done before")
    last = swarm.make("last", needs=[second, done], on_failed_need="continue")
    swarm.finish(done, "done")
    found = swarm.reasons(last)
    assert found["needs"].data["needs"] == {second: "blocked", done: "done"}
    assert f"It needs task {first} (ready)" in found["need"].detail
    assert found["hangs_on"].detail == f"In the end it hangs on task {first} (ready)."
    assert "even badly" in found["policy"].detail
    assert "hangs_on" not in swarm.reasons(second)


def test_the_place_of_a_ready_task_is_how_many_are_taken_before_it(swarm):
    made = [swarm.make(f"task {n}", priority=priority) for n, priority in enumerate((0, 3, 1, 3, 0))]
    told = {task: swarm.reasons(task)["line"].data["before"] for task in made}
    joined = member.join(swarm.store, "test")
    taken = []
    for _ in made:
        with joined.transaction() as tx:
            taken.append(tasks.take_next(tx).task)
    assert sorted(made, key=told.get) == taken
    assert sorted(told.values()) == list(range(5))


def test_who_backs_off_stands_in_nobodys_way(swarm):
    early, late = swarm.make("early", priority=5), swarm.make("late")
    one = swarm.begin(early)
    with one.transaction() as tx:
        assert tasks.fail(tx, early, one.fence, error="HTTP 500: out of order", failure="provider")
    assert swarm.reasons(late)["line"].data["before"] == 0
    told = swarm.why(early).reasons[0]
    assert told.reason == "backs_off"
    assert "after failure 1 of 3 (provider): HTTP 500: out of order" in told.detail
    swarm.clock.advance(600)
    assert swarm.reasons(late)["line"].data["before"] == 1
    assert "backs_off" not in swarm.reasons(early)


def test_the_level_tells_who_raised_it(swarm):
    low = swarm.make("low")
    high = swarm.make("high", priority=7, needs=[low])
    with swarm.store.transaction(None) as tx:
        tx.execute("update task set raised = 7 where id = :task", task=low)
        tasks.place(tx, low)
    level = swarm.reasons(low)["level"]
    assert level.data["raised_by"] == [high]
    assert f"Its priority is 0, raised to 7 because task {high} waits for it" in level.detail


def test_a_full_role_is_told_with_who_has_its_places_to_those_who_start_and_those_who_go_on(swarm):
    with swarm.store.transaction(None) as tx:
        tasks.set_role(tx, "review", agents=1)
    first, second, third = (swarm.make(name, role="review") for name in ("one", "two", "three"))
    one, _ = swarm.begin(first), swarm.begin(second)
    swarm.park(one, "slot", str(first))
    told = f"Only one task of its role runs at once (review), and now task {second} does."
    assert swarm.reasons(third)["role"].detail == told
    assert swarm.reasons(third)["role"].data == {"role": "review", "agents": 1, "taken_by": [second]}
    assert told in swarm.reasons(first)["slot"].detail
    assert "role" not in swarm.reasons(swarm.make("four"))


def test_whoever_is_to_write_what_others_write_is_told_whose_work_it_waits_for(swarm):
    one, other, third = (swarm.make(title, writes=["src/a.py"]) for title in ("one", "other", "third"))
    swarm.begin(one)
    held = swarm.reasons(other)["writes"]
    assert held.detail.startswith("It is to write src/a.py, and so is task 2, whose work is not merged yet: it starts")
    assert held.data == {"writes": ["src/a.py"], "under_way": [one], "before": []}
    assert swarm.reasons(other)["line"].detail == "It is the first in line."
    assert swarm.reasons(third)["writes"].data["before"] == [other]
    assert [one.short for one in explain_open(swarm.store) if one.task == other] == [held.detail]
    swarm.clock.advance(4 * 3600)
    assert "writes" not in swarm.reasons(other)


def test_a_conflict_that_is_likely_is_told(swarm):
    one, other = swarm.make("one"), swarm.make("other")
    swarm.begin(one)
    with swarm.store.transaction(None) as tx:
        for task in (one, other):
            tx.execute("insert into touch (task, path, at) values (:task, 'a.py', 0)", task=task)
    assert "what task 2 will" in swarm.reasons(other)["likely_conflict"].detail


def test_full_slots_are_told_with_who_has_them(swarm):
    working = [swarm.make("one"), swarm.make("two")]
    for task in working:
        swarm.begin(task)
    third = swarm.make("three")
    assert swarm.why(third).reasons[0].data == {"slots": 2, "taken_by": working}


def test_a_refusal_of_the_scheduler_is_told_until_it_admits_again(swarm):
    task = swarm.make("one")
    swarm.event("scheduler.refuses", object="memory", detail="100 MiB of memory are available")
    told = swarm.why(task).reasons[0]
    assert told.reason == "memory"
    assert "100 MiB of memory are available" in told.detail
    swarm.event("scheduler.admits")
    assert swarm.why(task).reasons[0].reason == "line"


def test_a_refusal_of_an_earlier_supervisor_is_forgotten(swarm):
    task = swarm.make("one")
    swarm.event("scheduler.refuses", object="cpu", detail="the load is 99")
    swarm.event("swarm.running")
    assert swarm.why(task).reasons[0].reason == "line"


def test_what_is_paused_or_supervised_by_nobody_comes_first(swarm):
    task = swarm.make("one")
    with swarm.store.transaction(None) as tx:
        tasks.pause(tx, task, paused=True)
        tx.event("command.pause", object=str(task), task=task, user="ada", pid=1)
    told = swarm.why(task).reasons[0]
    assert told.reason == "paused"
    assert "paused by ada" in told.detail
    assert f"prong resume --task {task}" in told.detail
    with swarm.store.transaction(None) as tx:
        tasks.pause(tx, task, paused=False)
        tasks.pause(tx, None, paused=True)
        tx.event("command.pause", object="swarm", user="bob", pid=1)
    assert "The swarm is paused by bob" in swarm.why(task).short
    with swarm.store.transaction(None) as tx:
        tx.execute("update swarm set state = 'stopped', supervisor_pid = null")
    assert [one.reason for one in swarm.why(task).reasons] == ["unsupervised", "swarm_paused"]


def test_a_running_task_tells_what_its_agent_does(swarm):
    task = swarm.make("one")
    one = swarm.begin(task)
    with one.transaction() as tx:
        tx.event("agent.running", object=str(one.me.agent))
    assert swarm.why(task).reasons[0].reason == "model"
    with one.transaction() as tx:
        tx.event("model.waits", problem="HTTP 529: overloaded", seconds=20)
    assert "HTTP 529: overloaded; it is asked again in 20 s" in swarm.why(task).short
    with one.transaction() as tx:
        tx.event("model.answered")
        tx.event("tool.began", object="bash", call="a", input='{"command": "true"}')
        tx.event("tool.began", object="grep", call="b", input='{"pattern": "x"}')
        tx.event("tool.ended", object="bash", call="a")
    swarm.clock.advance(12)
    found = swarm.reasons(task)
    assert found["tool"].detail == 'It runs grep for 12 s: {"pattern": "x"}.'
    assert found["agent"].data["agent"] == one.me.agent
    assert "sign of life for 12 s" in found["silent"].detail


def test_a_wait_for_a_lock_tells_who_has_it_and_until_when(swarm):
    holder, waiting, behind = (swarm.begin(swarm.make(name)) for name in ("holder", "waiting", "behind"))
    Lock(holder, "index").acquire(lease_s=60)
    for one in (waiting, behind):
        swarm.park(one, "lock", "index", timeout=90)
    swarm.clock.advance(10)
    told = swarm.why(behind.me.task).reasons[0]
    assert told.detail.startswith("It has waited for 10 s for lock 'index', for at most 1 min 20 s more.")
    assert f"Task {holder.me.task} (agent {holder.me.agent}) holds it, for 50 s" in told.detail
    assert "1 stands before it in line" in told.detail
    assert told.data["holders"][0]["task"] == holder.me.task


def test_other_waits_tell_what_is_missing(swarm):
    one = swarm.begin(swarm.make("one"))
    open_ = swarm.make("open")
    swarm.park(one, "tasks", str(open_), wants={"mode": "all", "tasks": [open_]})
    with swarm.store.transaction(None) as tx:
        row = tx.row("select id from waiter")
        tx.execute("insert into waiter_task (waiter, task) values (:waiter, :task)", waiter=row["id"], task=open_)
    assert f"for task {open_}. Open still: task {open_} (ready)." in swarm.why(one.me.task).short
    two = swarm.begin(swarm.make("two"))
    swarm.park(two, "barrier", "all")
    with two.transaction() as tx:
        tx.execute("insert into barrier (name, parties, arrived) values ('all', 3, 1)")
    assert "1 of 3 have arrived" in swarm.why(two.me.task).short
    three = swarm.begin(swarm.make("three"))
    MessageQueue(three, "news")
    swarm.park(three, "queue", "news")
    assert "a message in queue 'news'. 0 messages are queued" in swarm.why(three.me.task).short
    with three.transaction() as tx:
        tx.execute("delete from waiter where agent = :agent", agent=three.me.agent)
    swarm.park(three, "slot", str(three.me.task))
    assert swarm.why(three.me.task).reasons[0].reason == "slot"


def test_a_circle_of_waits_is_told(swarm):
    ada, bob = (swarm.begin(swarm.make(name)) for name in ("ada", "bob"))
    Lock(ada, "left").acquire()
    Lock(bob, "right").acquire()
    swarm.park(ada, "lock", "right")
    swarm.park(bob, "lock", "left")
    told = swarm.why(ada.me.task).reasons[0]
    assert told.reason == "deadlock"
    assert "holds lock 'left' and waits for lock 'right'" in told.detail


def test_a_task_held_for_its_budget_tells_the_figures_and_what_to_do(swarm):
    with swarm.store.transaction(None) as tx:
        budget.raise_bound(tx, 0, budget.Budget(tokens=100_000))
    task = swarm.make("one")
    one = swarm.begin(task)
    with one.transaction() as tx:
        number = budget.reserve(tx, 0, agent=one.me.agent, tokens=90_000, usd=None)
        budget.settle(tx, number, tokens=90_000, usd=None)
        tx.event("budget.out", object="0", bound_of="account", unit="tokens", asked=20_000, open=10_000)
        tasks.hold_for_budget(tx, task, one.fence, reason="the swarm's budget has 10,000 tokens left", result="half")
    found = swarm.reasons(task)
    assert swarm.why(task).state == "parked"
    assert "10,000 tokens left" in found["budget"].detail
    assert found["figures"].data["settled"] == 90_000
    assert "prong budget --tokens AMOUNT" in found["raise"].detail


def test_a_sleeper_is_told_as_such(swarm):
    one = swarm.begin(swarm.make("one"))
    swarm.park(one, "queue", "never")
    with swarm.store.transaction(None) as tx:
        tx.execute("update task set held = 'asleep' where id = :task", task=one.me.task)
    assert {"waits", "asleep"} <= set(swarm.reasons(one.me.task))


def test_a_failed_task_tells_of_what_and_what_failed_with_it_and_how_to_try_again(swarm):
    task = swarm.make("one")
    needs = swarm.make("two", needs=[task])
    more = swarm.make("three", needs=[needs])
    one = swarm.begin(task)
    with one.transaction() as tx:
        assert not tasks.fail(tx, task, one.fence, error="the model declined", failure="model")
    found = swarm.reasons(task)
    assert swarm.why(task).short == "It failed: the model declined"
    assert found["took_with_it"].data["tasks"] == [needs, more]
    assert found["retry"].detail == f"Try again with: prong retry {task} --with-dependants"
    assert f"because of task {task}" in swarm.reasons(more)["retry"].detail


def test_a_cancelled_and_a_done_task_tell_how_they_ended(swarm):
    gone, done = swarm.make("gone"), swarm.make("done")
    swarm.begin(done)
    swarm.clock.advance(42)
    with swarm.store.transaction(None) as tx:
        tx.event("command.cancel", object=str(gone), task=gone, user="ada", pid=1)
        tasks.cancel(tx, gone, reason="cancelled by command")
        tx.execute("update task set merged_commit = '0123456789abcdef' where id = :task", task=done)
        tasks.finish(tx, done, "done", result="all is well")
    assert "cancelled by ada" in swarm.why(gone).short
    found = swarm.reasons(done)
    assert swarm.why(done).short == "all is well"
    assert "0123456789ab" in found["merged"].detail
    assert "It took 42 s" in found["duration"].detail


def test_every_open_task_has_one_line_that_agrees_with_what_is_told_of_it_alone(swarm):
    working = swarm.begin(swarm.make("working"))
    for number in range(20):
        swarm.make(f"task {number}", priority=number % 3, needs=[working.me.task] if number % 4 == 0 else [])
    lines = {one.task: one for one in explain_open(swarm.store)}
    open_ = {row["id"] for row in swarm.store.rows("select id from task where state <> 'cancelled'")}
    assert set(lines) == open_
    for task, line in lines.items():
        assert line.state == swarm.why(task).state
        if line.state != "blocked":
            assert line.short == swarm.why(task).short


def test_explaining_writes_nothing_and_can_be_printed_as_json(swarm):
    done = swarm.make("done")
    swarm.finish(done, "done")
    blocked = swarm.make("blocked", needs=[swarm.begin(swarm.make("working")).me.task])
    swarm.store.rows("pragma query_only = on")
    for task in range(1, blocked + 1):
        assert json.loads(json.dumps(swarm.why(task).as_json()))["reasons"]
    assert explain_open(swarm.store)


def test_an_unknown_task_is_refused(swarm):
    with pytest.raises(UnknownTask, match="no task 99"):
        swarm.why(99)


def test_a_long_line_is_not_read_for_one_task(swarm):
    """Goal: one of many is explained cheaply.  Method: count what SQLite does, in thousands of its steps."""
    with swarm.store.transaction(None) as tx:
        tasks.set_limits(tx, open=10_000, tasks=10_000, children=10_000)
        made = tasks.create_tasks(tx, [Plan(f"task {n}", "x") for n in range(5_000)])
    steps = []
    connection = swarm.store.enter().connection
    connection.set_progress_handler(lambda: steps.append(1), 1_000)
    assert swarm.reasons(made[-1][0].id)["line"].data["before"] == 4_999
    connection.set_progress_handler(None, 0)
    assert len(steps) < 60
