"""The scheduler's hands: what a round writes down, whom it wakes, whose process it ends, and what it says to nobody."""

import pytest

from prong.harness.admission import Limits, Provider, Providers
from prong.harness.dispatch import Dispatcher
from prong.harness.pressure import Pressure
from prong.primitives import Lock, Plan, create_task, wait_tasks
from prong.primitives import task as tasks
from prong.state import Deposed, Member, Membership, waiter
from prong.state.member import LEASE_S, end, enlist


@pytest.fixture
def dispatcher(store):
    return lambda slots=2, **how: Dispatcher(store, slots=slots, parked=how.pop("parked", 64), **how)


@pytest.fixture
def state(store):
    """A task's state, and why it is held."""

    def state(task):
        row = store.row("select state, held from task where id = :task", task=task)
        return row["state"] if row["held"] is None else f"{row['state']}, {row['held']}"

    return state


@pytest.fixture
def kinds(store):
    return lambda *wanted: [
        row["kind"] for row in store.rows("select kind from event order by seq") if row["kind"] in wanted
    ]


def started(orders):
    return [order["task"] for order in orders.forks]


def park(store, order, awaited):
    """The order's agent waits for tasks, as its process would; its waiter."""
    me = Member(order["agent"], order["incarnation"], order["task"])
    with store.transaction(me) as tx:
        tx.execute("update task set state = 'parked' where id = :task", task=order["task"])
        tx.execute("update agent set state = 'parked', pid = 4321 where id = :agent", agent=order["agent"])
        ticket = waiter.enrol(tx, "tasks", "some", timeout=None, wants={"mode": "all", "tasks": awaited})
        for task in awaited:
            tx.execute("insert into waiter_task (waiter, task) values (:w, :t)", w=ticket.waiter, t=task)
    return ticket.waiter


def test_a_round_fills_the_free_slots_in_order_and_a_second_one_does_nothing(make, dispatcher, store, state):
    low, high, middle = make(), make(priority=2), make(priority=1)
    rounds = dispatcher(slots=2)
    assert started(rounds.round()) == [high, middle]
    before = store.row("select max(seq) as seq from event")["seq"]
    assert rounds.round().forks == ()
    assert store.row("select max(seq) as seq from event")["seq"] == before
    assert (state(low), state(high)) == ("ready", "running")


def test_an_order_names_the_agent_and_the_fence_that_the_task_has(make, dispatcher, store):
    task = make()
    (order,) = dispatcher().round().forks
    row = store.row("select agent, fence from task where id = :task", task=task)
    assert order == {"agent": row["agent"], "incarnation": 1, "task": task, "fence": row["fence"]}


def test_a_round_reads_the_head_of_the_line_and_not_the_line(dispatcher, do):
    do(tasks.create_tasks, [Plan("work", "do it") for _ in range(200)])
    rounds = dispatcher(slots=3)
    assert started(rounds.round()) == [1, 2, 3]
    do(tasks.finish, 2, "done")
    assert started(rounds.round()) == [4]


def test_whoever_waits_for_a_slot_gets_it_before_a_new_task_of_the_same_level(make, dispatcher, do, store, state):
    parent, rounds = make(), dispatcher(slots=1)
    (order,) = rounds.round().forks
    child, other = make(), make()
    park(store, order, [child])
    assert started(rounds.round()) == [child]
    with store.transaction(Member(order["agent"], 1, parent)) as tx:
        ticket = waiter.enrol(tx, "slot", str(parent), timeout=None)
    do(tasks.finish, child, "done")
    assert rounds.round().forks == ()
    assert (state(parent), state(other)) == ("running", "ready")
    assert store.row("select state from waiter where id = :id", id=ticket.waiter)["state"] == "granted"


# Pausing and refusing.


def test_a_paused_swarm_starts_nothing_and_says_so_once(make, dispatcher, do, state, kinds):
    do(
        lambda tx: tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state, started_at)"
            " values ('s', 'g', '/', 'c', 'b', 'm', 1, '{}', 'running', 0)"
        )
    )
    task, rounds = make(), dispatcher()
    do(tasks.pause, None, paused=True)
    assert rounds.round().forks == rounds.round().forks == ()
    assert state(task) == "ready"
    do(tasks.pause, None, paused=False)
    assert started(rounds.round()) == [task]
    assert kinds("scheduler.refuses", "scheduler.admits") == ["scheduler.refuses", "scheduler.admits"]


def test_a_machine_under_pressure_starts_one_agent_and_no_more(make, dispatcher, store):
    make()
    make()
    full = Pressure(available_bytes=0, total_bytes=2**30)
    rounds = dispatcher(slots=8, pressure=lambda: full, limits=Limits())
    assert started(rounds.round()) == [1]
    assert started(rounds.round()) == []
    assert store.row("select object from event where kind = 'scheduler.refuses'")["object"] == "memory"


def test_a_task_that_backs_off_is_started_when_its_time_has_come(make, dispatcher, do, clock, store):
    task, rounds = make(), dispatcher()
    (order,) = rounds.round().forks
    do(tasks.fail, task, order["fence"], error="no luck", failure="tool")
    clock.advance(1000)
    assert rounds.round().forks == ()  # its process is there still, in the task's own clone
    do(end, order["agent"], state="ended", reason="it failed")
    do(lambda tx: tx.execute("update task set not_before = :at", at=tx.now + 7))
    assert rounds.round().forks == ()
    at = store.row("select not_before from task where id = :task", task=task)["not_before"]
    assert rounds.pause_s(1000) == pytest.approx(at - clock.now())
    clock.advance(at - clock.now())
    assert started(rounds.round()) == [task]


def test_who_asks_another_provider_goes_while_the_usual_one_is_closed(make, dispatcher, store):
    closed = Providers(
        "usual", {"usual": Provider(closed_until=store.clock.now() + 60), "other": Provider()}, {"review": "other"}
    )
    usual = [make(priority=5) for _ in range(3)]
    review = make()
    with store.transaction(None) as tx:
        tx.execute("update task set role = 'review' where id = :id", id=review)
    assert started(dispatcher(slots=2, provider=lambda _: closed).round()) == [review]
    assert usual


# Urgency is inherited.


def test_who_holds_what_somebody_urgent_waits_for_is_as_urgent_until_it_lets_go(make, dispatcher, store):
    low, rounds = make(), dispatcher(slots=8)
    (order,) = rounds.round().forks
    holder = Membership(store, Member(order["agent"], 1, low))
    lock = Lock(holder, "index")
    lock.acquire()
    high = make(priority=5)
    (other,) = rounds.round().forks
    with store.transaction(Member(other["agent"], 1, high)) as tx:
        ticket = waiter.enrol(tx, "lock", "index", timeout=None, wants={"lease_s": 60})
    make()
    rounds.round()
    assert raised(store, low) == 5
    with store.transaction(None) as tx:
        tx.execute("delete from waiter where id = :waiter", waiter=ticket.waiter)
    make()
    rounds.round()
    assert raised(store, low) is None


def test_what_somebody_urgent_waits_for_goes_first_with_all_that_it_needs(make, dispatcher, store):
    parent, rounds = make(priority=9), dispatcher(slots=1)
    (order,) = rounds.round().forks
    hasty, need = make(priority=3), make()
    child = make(need)
    park(store, order, [child])
    assert started(rounds.round()) == [need]
    assert (raised(store, child), raised(store, need), raised(store, hasty)) == (9, 9, None)
    assert parent


def test_what_was_urgent_only_for_a_task_that_is_cancelled_is_so_no_more(make, dispatcher, store):
    need, rounds = make(), dispatcher(slots=1)
    first = make(priority=20)
    assert started(rounds.round()) == [first]
    urgent = make(need, priority=7)
    assert raised(store, need) == 7
    make()
    rounds.round()
    assert raised(store, need) == 7
    with store.transaction(None) as tx:
        tasks.cancel(tx, urgent, reason="not needed")
    rounds.round()
    assert raised(store, need) is None


def raised(store, task):
    return store.row("select raised from task where id = :task", task=task)["raised"]


# Sleeping.


@pytest.fixture
def sleeper(make, dispatcher, store):
    """A parent whose process was put to sleep while it waits for its child: the rounds, its order, parent and child."""
    parent = make()
    rounds = dispatcher(slots=1, parked=0)
    (order,) = rounds.round().forks
    child = make()
    park(store, order, [child])
    orders = rounds.round()
    assert orders.sleeps == (order["agent"],)
    assert started(orders) == [child]
    return rounds, order, parent, child


def test_beyond_the_bound_a_waiting_process_is_ended_and_wakes_with_its_conversation(sleeper, do, store, state):
    rounds, order, parent, child = sleeper
    assert state(parent) == "parked, asleep"
    do(tasks.finish, child, "done")
    assert rounds.round().forks == ()  # the old process is there still
    store_pid(do, order["agent"], None)
    (woken,) = rounds.round().forks
    assert woken == {**order, "incarnation": order["incarnation"] + 1}
    assert state(parent) == "running"
    again = Membership(store, Member(woken["agent"], woken["incarnation"], parent))
    assert [task.state for task in wait_tasks(again, [child])] == ["done"]


def test_a_process_that_was_put_to_sleep_can_write_nothing_any_more(sleeper, store):
    _, order, parent, _ = sleeper
    with pytest.raises(Deposed), store.transaction(Member(order["agent"], order["incarnation"], parent)):
        pass


def test_an_agent_asleep_is_not_taken_for_silent(sleeper, store, clock):
    clock.advance(LEASE_S * 10)
    _, order, _, _ = sleeper
    assert store.row("select expires_at from agent where id = :agent", agent=order["agent"])["expires_at"] is None


@pytest.mark.parametrize("hold", ["timeout", "second wait"])
def test_who_waits_for_something_outside_of_a_call_that_can_be_made_again_stays_awake(make, dispatcher, store, hold):
    make()
    rounds = dispatcher(slots=1, parked=0)
    (order,) = rounds.round().forks
    member = Membership(store, Member(order["agent"], 1, order["task"]))
    child = make()
    waiting = park(store, order, [child])
    with store.transaction(None) as tx:
        if hold == "timeout":
            tx.execute("update waiter set until_at = :at where id = :id", at=tx.now + 60, id=waiting)
    if hold == "second wait":
        with member.transaction() as tx:
            waiter.enrol(tx, "event", "go", timeout=None)
    assert rounds.round().sleeps == ()


def test_a_thousand_waiting_parents_need_few_processes(do, dispatcher, store):
    rounds = dispatcher(slots=1, parked=10)
    do(tasks.set_limits, open=10_000)
    (child,) = (task.id for task, _ in do(tasks.create_tasks, [Plan("child", "do it", priority=-1)]))
    for _ in range(100):
        task = do(create_task, Plan("parent", "wait"))[0].id
        agent = do(enlist, "a", pid=None, task=task, state="running", lease_s=None)
        fence = do(tasks.claim, task, agent)
        park(store, {"agent": agent, "incarnation": 1, "task": task, "fence": fence}, [child])
    while rounds.round().sleeps:
        pass
    awake = store.row("select count(*) as count from agent where state = 'parked' and ended_at is null")["count"]
    assert awake == 10


def store_pid(do, agent, pid):
    do(lambda tx: tx.execute("update agent set pid = :pid where id = :agent", pid=pid, agent=agent))


def review(do, most):
    """Say how many tasks of the role run at once."""
    do(tasks.set_role, "review", agents=most)


def test_no_more_of_a_role_start_than_may_run_and_those_behind_them_do(make, dispatcher, do):
    review(do, 2)
    reviews = [make(role="review", priority=9) for _ in range(50)]
    other = make()
    rounds = dispatcher(slots=4)
    assert started(rounds.round()) == [*reviews[:2], other]
    assert started(rounds.round()) == []
    do(tasks.finish, reviews[0], "done")
    assert started(rounds.round()) == [reviews[2]]
    review(do, 4)
    assert started(rounds.round()) == [reviews[3]]  # the last slot


def test_a_parked_task_leaves_its_place_in_the_role_and_waits_for_one_again(make, dispatcher, do, store):
    review(do, 1)
    first, second = make(role="review"), make(role="review")
    rounds = dispatcher(slots=4)
    (order,) = rounds.round().forks
    park(store, order, [second])
    assert started(rounds.round()) == [second]
    with store.transaction(Member(order["agent"], order["incarnation"], first)) as tx:
        tx.execute("delete from waiter_task")
        tx.execute("delete from waiter")
        waiter.enrol(tx, "slot", str(first), timeout=None)
    state_of = "select state from task where id = :task"
    rounds.round()
    assert store.row(state_of, task=first)["state"] == "parked"
    do(tasks.finish, second, "done")
    rounds.round()
    assert store.row(state_of, task=first)["state"] == "running"
