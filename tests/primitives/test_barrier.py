"""The barrier: all or nobody, and whoever can never be complete is told at once."""
# ruff: noqa: PLR0917  fixtures are named, so their number does not confuse

import itertools
import math
import os
import pickle
import threading
import unittest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from prong.primitives import Barrier, BrokenBarrier, Plan, create_task
from prong.primitives.joined import join as join_program
from prong.primitives.task import claim, finish, give_back
from prong.state import Deposed, Invalid, Member, Membership, Store, join
from prong.state.member import enlist
from prong.state.ticket import Ticket

try:
    from test import lock_tests
except ImportError:
    lock_tests = None


def meet_often(here, path, times):
    """Meet, and note in a plain file who goes on in which round; the places in which we came."""
    places = []
    for _ in range(times):
        passage = here.object.meet()
        with path.open("a") as file:
            file.write(f"{passage.round}\n")
        places.append((passage.round, passage.index))
    return places


def act_for_task(here, task):
    """Be an agent of the task from now on."""
    with here.store.transaction(None) as tx:
        tx.execute("update agent set task = :task where id = :agent", task=task, agent=here.member.me.agent)
        claim(tx, task, here.member.me.agent)
    here.member = Membership(here.store, Member(here.member.me.agent, 1, task))


def wait_with_siblings(here, point, party=None):
    return Barrier(here.member, "door", siblings=point).meet(party=party)


def meet_with_action(here, path, outcome="return", timeout=None):
    """Arrive with an action that notes itself in a plain file and waits in a line there until it is told to end."""

    def action():
        with path.open("a") as file:
            file.write(f"{here.member.me.agent}\n")
        if outcome == "raise":
            raise ValueError("no paper")
        if outcome == "wait":
            Barrier(here.member, "end of the action", 2).wait()

    return Barrier(here.member, "door", 3, action).wait(timeout)


def act_alone(here, path):
    return Barrier(here.member, "door", 1, path.touch).wait()


@pytest.fixture
def spawn(processes):
    return lambda name, parties=3: processes(name, ("prong.primitives", "Barrier", ("door", parties), {}))


@pytest.fixture
def barrier(member):
    return Barrier(member, "door", 3)


@pytest.fixture
def siblings(store):
    """Makes running tasks that were forked at one point, and an agent in this process for each."""

    def siblings(count):
        with store.transaction(None) as tx:
            point = tx.value(
                "insert into message (role, content, created_at) values ('assistant', '[]', 0) returning id"
            )
            made = []
            for n in range(count):
                task, _ = create_task(tx, Plan(f"part {n}", "do it", context="fork", fork_point=point))
                agent = enlist(tx, f"task {task.id}", pid=None, task=task.id, state="running", lease_s=None)
                claim(tx, task.id, agent)
                made.append(Membership(store, Member(agent, 1, task.id)))
        return point, made

    return siblings


@pytest.fixture
def end_task(store):
    def end_task(task, state="failed", error="it broke"):
        with store.transaction(None) as tx:
            finish(tx, task, state, error=error)

    return end_task


@pytest.fixture
def acting(spawn, in_line, until, tmp_path):
    """Three processes, of which the last is in the middle of the barrier's action."""

    def acting(timeout=None):
        crowd, path = [spawn(name) for name in ("ada", "bob", "eve")], tmp_path / "actions"
        path.touch()
        for n, process in enumerate(crowd[:2], 1):
            process.start_running(meet_with_action, path, "wait", timeout)
            in_line("barrier", n)
        crowd[2].start_running(meet_with_action, path, "wait", timeout)
        until(path.read_text, "the action")
        in_line("barrier", 3)
        assert path.read_text() == f"{crowd[2].agent}\n"
        return crowd

    return acting


@pytest.fixture
def end_action(member):
    return Barrier(member, "end of the action", 2).wait


# As threading has it.


@pytest.mark.skipif(lock_tests is None, reason="this interpreter comes without test.lock_tests")
class TestBarrierAgainstCPythonsOwnTests(lock_tests.BarrierTests if lock_tests else unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _names(self, tmp_path):
        store = Store(tmp_path / "swarm")
        member, names = join(store, "test"), itertools.count()
        self.barriertype = lambda *how, **more: Barrier(member, f"barrier {next(names)}", *how, **more)
        yield
        store.close()


def test_arguments_stand_where_threading_has_them(member, during, clock):
    done = []
    barrier = Barrier(member, "door", 1, lambda: done.append("acted"), 5)
    assert (barrier.wait(), barrier.parties, barrier.n_waiting, barrier.broken) == (0, 1, 0, False)
    assert done == ["acted"]
    began = clock.now()
    for timeout, lasts in ((None, 5), (3, 3), (0, 0)):
        late = Barrier(during(member, asleep=lambda lasts=lasts: clock.advance(lasts)), "another", 2, None, 5)
        with pytest.raises(threading.BrokenBarrierError):
            late.wait(timeout)
        late.reset()
    assert clock.now() == began + 8


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -math.inf])
def test_without_time_to_wait_it_breaks_at_once_unless_all_are_there(member, people, dying, timeout, events):
    with pytest.raises(BrokenBarrier, match="gave up waiting"):
        Barrier(member, "door", 2).wait(timeout)
    assert events("barrier") == [("barrier.arrived", "door"), ("barrier.broken", "door")]
    with pytest.raises(Deposed):
        Barrier(dying(people("ada")[0]), "another", 2).wait()
    assert Barrier(member, "another", 2).wait(timeout) == 1


def test_who_has_arrived_is_counted_until_it_opens_or_breaks(barrier, spawn, in_line):
    ada = spawn("ada")
    ada.start("wait")
    in_line("barrier")
    assert (barrier.n_waiting, barrier.broken) == (1, False)
    assert repr(barrier) == "<prong.Barrier at 'door': waiters=1/3>"
    barrier.abort()
    assert (barrier.n_waiting, barrier.broken) == (0, True)
    assert repr(barrier) == "<prong.Barrier at 'door': broken>"


def test_a_broken_barrier_is_that_of_threading_and_a_runtime_error(barrier):
    barrier.abort("no paper")
    with pytest.raises(threading.BrokenBarrierError) as refused:
        barrier.wait()
    again = pickle.loads(pickle.dumps(refused.value))
    assert isinstance(again, RuntimeError)
    assert (type(again), again.name, again.reason, str(again)) == (
        BrokenBarrier,
        "door",
        "no paper",
        str(refused.value),
    )


def test_barriers_of_one_name_are_one(member, people, tmp_path):
    (ada,) = people("ada")
    mine, hers, other = Barrier(member, "door", 2), Barrier(ada, "door", 2), Barrier(ada, "other", 2)
    assert mine == hers
    assert hash(mine) == hash(hers)
    assert mine not in (other, Barrier(join(Store(tmp_path / "elsewhere"), "eve"), "door", 2), "door")


def test_making_one_and_showing_it_needs_no_database(member, directory):
    barrier = Barrier(member, "door", 2)
    member.store.close()
    (directory / "state.db").rename(directory / "gone")
    (directory / "state.db").mkdir()
    assert repr(Barrier(member, "door", 2)) == repr(barrier) == "<prong.Barrier at 'door'>"
    assert barrier.parties == 2


def test_it_crosses_a_pickle(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        barrier = swarm.Barrier("door", 1, action=os.getpid, timeout=5)
        again = pickle.loads(pickle.dumps(barrier))
        assert again == barrier
        assert (again.wait(), again.parties, barrier.statistics().round) == (0, 1, 1)


def test_forked_children_meet(tmp_path):
    with join_program(tmp_path / "work.db", "ada") as swarm:
        barrier = swarm.Barrier("door", 4, timeout=20)
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                try:
                    os._exit(barrier.wait())
                finally:
                    os._exit(99)
            children.append(child)
        indices = [barrier.wait(), *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)]
    assert sorted(indices) == [0, 1, 2, 3]


def test_two_hundred_threads_pass_together(member):
    barrier = Barrier(member, "door", 200)
    indices = []
    crowd = [threading.Thread(target=lambda: indices.append(barrier.wait())) for _ in range(200)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert sorted(indices) == list(range(200))


def test_nothing_is_left_of_many_rounds_but_the_last(member, store):
    barrier = Barrier(member, "door", 1)
    for n in range(10):
        barrier.wait()
        barrier.meet(party=f"call {n}")
    rows = store.rows("select party from barrier_arrival order by round")
    assert [row["party"] for row in rows][-1] == "call 9"
    assert len(rows) <= 3
    assert store.row("select count(*) as n from waiter")["n"] == 0


# The action.


def test_the_action_runs_in_the_last_to_arrive_before_anybody_goes_on(acting, end_action, member):
    ada, bob, eve = acting()
    assert ada.busy()
    assert bob.busy()
    assert Barrier(member, "door", 3).n_waiting == 3
    end_action()
    assert [process.result() for process in (ada, bob, eve)] == [0, 1, 2]


def test_an_action_that_raises_breaks_it_and_only_its_party_sees_what_it_raised(spawn, in_line, tmp_path, barrier):
    path = tmp_path / "actions"
    crowd = [spawn(name) for name in ("ada", "bob", "eve")]
    for n, process in enumerate(crowd[:2], 1):
        process.start_running(meet_with_action, path)
        in_line("barrier", n)
    with pytest.raises(ValueError, match="no paper"):
        crowd[2].run(meet_with_action, path, "raise")
    for process in crowd[:2]:
        with pytest.raises(
            BrokenBarrier, match=rf"{crowd[2].name} \(agent {crowd[2].agent}\) ran, ended with ValueError: no paper"
        ):
            process.result()
    assert path.read_text() == f"{crowd[2].agent}\n"
    assert barrier.broken
    barrier.reset()
    assert barrier.n_waiting == 0


def test_an_action_that_cannot_even_say_what_is_wrong_breaks_it_too(member):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def action():
        raise Mute

    with pytest.raises(Mute):
        Barrier(member, "door", 1, action).wait()
    assert Barrier(member, "door", 1).broken


def test_a_process_that_is_killed_in_the_action_breaks_it(acting, bury):
    ada, bob, eve = acting()
    eve.kill()
    bury(eve, reason="killed by signal 9")
    for process in (ada, bob):
        with pytest.raises(
            BrokenBarrier, match=rf"eve \(agent {eve.agent}\), which ran the action, is gone: killed by signal 9"
        ):
            process.result()


def test_an_agent_that_dies_in_the_action_breaks_it_although_its_task_goes_on(siblings, bury):
    _, (ada,) = siblings(1)

    def action():
        bury(ada, task=ada.me.task)

    with pytest.raises(Deposed):
        Barrier(ada, "door", 1, action).wait()
    assert "which ran the action" in Barrier(ada, "door", 1).statistics().broken


def test_an_agent_that_dies_elsewhere_breaks_no_action(acting, people, bury, end_action):
    crowd = acting()
    bury(people("joe")[0])
    end_action()
    assert [process.result() for process in crowd] == [0, 1, 2]


def test_no_timeout_counts_once_all_have_arrived(acting, end_action, clock, until, store):
    crowd = acting(timeout=10)
    late = [row["id"] for row in store.rows("select id from waiter where until_at is not null and object = 'door'")]
    assert len(late) == 2
    clock.advance(10)
    for waiter in late:
        store.bells.ring(Ticket(waiter, "barrier", "door").slot)
    until(
        lambda: store.row("select count(*) as n from waiter where until_at is null and object = 'door'")["n"] == 2,
        "those whose time is up wait on",
    )
    end_action()
    assert [process.result() for process in crowd] == [0, 1, 2]


def test_who_comes_while_the_action_runs_is_of_the_next_round(acting, end_action, spawn, in_line):
    crowd = acting()
    joe = spawn("joe", 3)
    joe.start("meet", timeout=0)
    in_line("barrier", 4)
    end_action()
    assert [process.result() for process in crowd] == [0, 1, 2]
    with pytest.raises(BrokenBarrier, match=rf"joe \(agent {joe.agent}\) gave up waiting"):
        joe.result()


def test_who_comes_while_the_action_runs_hears_that_it_broke(acting, spawn, in_line, bury):
    *_, eve = acting()
    joe = spawn("joe", 3)
    joe.start("wait")
    in_line("barrier", 4)
    eve.kill()
    bury(eve)
    with pytest.raises(BrokenBarrier, match="which ran the action, is gone"):
        joe.result()


def test_who_is_interrupted_while_the_action_runs_breaks_nothing(acting, end_action, spawn, in_line, barrier):
    ada, bob, eve = acting()
    joe = spawn("joe", 3)
    joe.start("wait")
    in_line("barrier", 4)
    for process in (joe, ada):
        with pytest.raises(KeyboardInterrupt):
            process.interrupt().result()
    end_action()
    assert (bob.result(), eve.result(), barrier.broken) == (1, 2, False)


@pytest.mark.parametrize(("how", "reason"), [("abort", "it was aborted"), ("reset", "it was reset")])
def test_who_runs_the_action_hears_of_an_end_afterwards(acting, end_action, barrier, how, reason):
    ada, bob, eve = acting()
    getattr(barrier, how)()
    for process in (ada, bob):
        with pytest.raises(BrokenBarrier, match=reason):
            process.result()
    end_action()
    with pytest.raises(BrokenBarrier, match=reason):
        eve.result()
    assert (barrier.broken, barrier.statistics().round) == (how == "abort", 0)


def test_an_action_that_outlives_a_reset_opens_no_round_that_filled_since(member):
    """Both rounds are filled by one member, so that only the number of the action tells them apart."""
    inner = Barrier(member, "door", 1, lambda: None)

    def outer():
        inner.reset()
        later.wait()

    def before_it_opens():
        rounds.append(inner.statistics().round)
        inner.reset()

    rounds = []
    later = Barrier(member, "door", 1, before_it_opens)
    with pytest.raises(BrokenBarrier, match="it was reset"):
        Barrier(member, "door", 1, outer).wait()
    assert rounds == [0]
    assert inner.statistics().round == 0


@pytest.mark.parametrize(("n", "when", "round"), [(1, "before", 0), (1, "after", 0), (2, "before", 0), (2, "after", 1)])
def test_a_party_with_an_action_is_killed_at_each_commit(spawn, bury, store, tmp_path, n, when, round):
    ada = spawn("ada", 1)
    ada.die(n, when)
    ada.start_running(act_alone, tmp_path / "actions").gone()
    row = store.row("select round, arrived, acting, broken from barrier")
    filled = (n, when) in ((1, "after"), (2, "before"))
    if row is None:
        assert (n, when) == (1, "before")
        return
    assert tuple(row) == (round, int(filled), ada.agent if filled else None, None)
    bury(ada)
    row = store.row("select acting, broken is null as whole from barrier")
    assert tuple(row) == (None, not filled)


def test_an_interrupt_at_any_line_with_an_action_leaves_it_whole_or_broken(member, interrupt_at, store):
    for n in itertools.count(1):
        mine = Barrier(member, f"door {n}", 1, lambda: None)
        interrupted = interrupt_at(n, mine.wait)
        found = mine.statistics()
        assert store.row("select 1 from barrier where acting is not null") is None
        if not interrupted:
            assert (found.round, found.broken) == (1, None)
            break
        assert (found.round, found.arrived, found.broken is None) in ((1, 0, True), (0, 0, True), (0, 1, False))
    assert n > 30


# Meeting.


def test_nobody_goes_on_before_all_have_arrived(barrier, spawn, in_line):
    ada, bob = spawn("ada"), spawn("bob")
    ada.start("meet")
    in_line("barrier", 1)
    bob.start("meet")
    in_line("barrier", 2)
    assert ada.busy()
    assert bob.busy()
    passages = [barrier.meet(), ada.result(), bob.result()]
    assert [(one.round, one.index, one.parties) for one in passages] == [(1, 2, 3), (1, 0, 3), (1, 1, 3)]


def test_barriers_of_other_names_are_other_barriers(member, people, dying):
    (ada,) = people("ada")
    with pytest.raises(Deposed):
        Barrier(dying(ada), "other", 2).meet()
    mine, other = Barrier(member, "mine", 1), Barrier(member, "other", 2)
    before = other.statistics()
    assert before.arrived == 1
    for _ in range(4):
        mine.meet()
    mine.abort()
    mine.reset()
    assert other.statistics() == before
    other.abort("for good")
    mine.reset()
    assert (other.statistics().broken, mine.statistics().broken) == ("for good", None)


def test_a_barrier_for_one_never_waits(member):
    barrier = Barrier(member, "alone", 1)
    assert [barrier.meet().round for _ in range(3)] == [1, 2, 3]


def test_parties_that_meet_again_and_again_stay_together(spawn, tmp_path):
    path = tmp_path / "rounds"
    path.touch()
    crowd = [spawn(name, 4) for name in ("ada", "bob", "eve", "joe")]
    for process in crowd:
        process.start_running(meet_often, path, 25)
    places = [process.result(60) for process in crowd]
    rounds = [int(line) for line in path.read_text().split()]
    # Who goes on from round n has seen all arrive at n, so nobody can be two rounds ahead of anybody.
    assert all(rounds[i] - min(rounds[i:]) <= 1 for i in range(len(rounds)))
    assert sorted(itertools.chain(*places)) == [(n, index) for n in range(1, 26) for index in range(4)]


def test_the_last_to_arrive_opens_for_all_in_its_own_transaction(barrier, spawn, in_line, store):
    ada, bob = spawn("ada"), spawn("bob")
    for n, process in enumerate((ada, bob), 1):
        process.start("meet")
        in_line("barrier", n)
        process.stop()
    barrier.meet()
    assert [(row["agent"], row["state"]) for row in store.rows("select agent, state from waiter order by id")] == [
        (ada.agent, "granted"),
        (bob.agent, "granted"),
    ]
    for process in (ada, bob):
        process.go_on()
        assert process.result().round == 1


def test_who_is_still_there_when_all_have_arrived_goes_on_although_its_time_was_up(barrier, spawn, in_line, clock):
    ada, bob = spawn("ada"), spawn("bob")
    for n, process in enumerate((ada, bob), 1):
        process.start("meet", timeout=10)
        in_line("barrier", n)
        process.stop()
    clock.advance(10)
    assert barrier.meet().round == 1
    for process in (ada, bob):
        process.go_on()
        assert process.result().round == 1
    assert barrier.statistics().broken is None


# Breaking.


def test_who_gives_up_breaks_it_for_all(barrier, spawn, in_line, clock, events):
    ada, bob = spawn("ada"), spawn("bob")
    ada.start("meet", timeout=10)
    in_line("barrier", 1)
    bob.start("meet")
    in_line("barrier", 2)
    clock.advance(10)
    for process in (ada, bob):
        with pytest.raises(BrokenBarrier, match=rf"ada \(agent {ada.agent}\) gave up waiting"):
            process.result()
    with pytest.raises(BrokenBarrier, match=rf"ada \(agent {ada.agent}\) gave up waiting"):
        barrier.meet()
    assert [kind for kind, _ in events("barrier")].count("barrier.broken") == 1


def test_who_looks_at_its_watch_as_it_opens_breaks_nothing(member, people, during, clock):
    """All have arrived before its time was up, though it looks at its watch first."""
    (ada,) = people("ada")

    late = during(member, asleep=lambda: clock.advance(5), awake=Barrier(ada, "door", 2).wait)
    assert Barrier(late, "door", 2).meet(timeout=5).round == 1
    assert Barrier(member, "door", 2).statistics().broken is None


@pytest.mark.parametrize("opened", [False, True])
def test_an_interrupt_breaks_its_own_round_and_no_other(member, people, during, interrupt, opened, waiters, clock):
    (ada,) = people("ada")
    asleep = Barrier(ada, "door", 2).wait if opened else lambda: clock.advance(5)
    mine = Barrier(during(member, asleep, interrupt), "door", 2)
    with pytest.raises(KeyboardInterrupt):
        mine.meet(timeout=5)
    broken = mine.statistics().broken
    assert (broken is None) if opened else ("was interrupted" in broken)
    assert waiters() == []


def test_an_interrupt_at_any_line_of_the_wait_leaves_no_row(member, people, during, interrupt_at, waiters):
    (ada,) = people("ada")
    for n in itertools.count(1):
        other = Barrier(ada, f"door {n}", 2)
        mine = Barrier(during(member, other.meet), f"door {n}", 2)
        interrupted = interrupt_at(n, mine.meet)
        assert waiters() == []
        if not interrupted:
            break
        found = mine.statistics()
        assert (found.round, found.arrived, found.broken is None) in ((1, 0, True), (0, 0, True), (0, 1, False))
    assert n > 50


def test_abort_breaks_it_for_those_who_wait_and_those_who_come(barrier, spawn, in_line):
    ada = spawn("ada")
    ada.start("meet")
    in_line("barrier")
    barrier.abort("the plan has changed")
    for wait in (ada.result, barrier.meet):
        with pytest.raises(BrokenBarrier, match="the plan has changed"):
            wait()


def test_who_was_told_why_it_broke_is_told_so_although_its_time_was_up(barrier, spawn, in_line, clock):
    ada = spawn("ada")
    ada.start("meet", timeout=10)
    in_line("barrier")
    ada.stop()
    clock.advance(10)
    barrier.abort("the first reason")
    barrier.abort("another")
    ada.go_on()
    with pytest.raises(BrokenBarrier, match="the first reason"):
        ada.result()
    assert barrier.statistics().broken == "the first reason"


def test_abort_before_anybody_came_breaks_it_too(barrier, people):
    barrier.abort()
    (ada,) = people("ada")
    with pytest.raises(BrokenBarrier, match="it was aborted"):
        Barrier(ada, "door", 3).meet()


def test_reset_sends_away_who_waits_and_begins_anew(barrier, spawn, in_line):
    ada, bob = spawn("ada"), spawn("bob")
    ada.start("meet")
    in_line("barrier")
    barrier.reset()
    with pytest.raises(BrokenBarrier, match="it was reset"):
        ada.result()
    assert barrier.statistics() == type(barrier.statistics())("door", 3, 0, 0, None)
    for n, process in enumerate((ada, bob), 1):
        process.start("meet")
        in_line("barrier", n)
    assert barrier.meet().round == 1
    assert {ada.result().index, bob.result().index} == {0, 1}


def test_reset_mends_a_broken_barrier(barrier):
    barrier.abort()
    barrier.reset()
    assert barrier.statistics().broken is None


def test_reset_leaves_the_rounds_that_were_passed(member):
    barrier = Barrier(member, "door", 1)
    barrier.meet(party="a")
    barrier.reset()
    assert barrier.meet(party="a").round == 1
    assert barrier.meet(party="b").round == 2


# Death.


def test_an_agent_without_a_task_that_dies_after_its_arrival_breaks_it(spawn, in_line, bury):
    ada, bob = spawn("ada"), spawn("bob")
    for n, process in enumerate((ada, bob), 1):
        process.start("meet")
        in_line("barrier", n)
    ada.kill()
    bury(ada, reason="killed by signal 9")
    with pytest.raises(BrokenBarrier, match=rf"ada \(agent {ada.agent}\) is gone: killed by signal 9"):
        bob.result()


def test_an_agent_that_dies_without_having_arrived_breaks_nothing(barrier, people, dying, bury):
    ada, bob = people("ada", "bob")
    with pytest.raises(Deposed):
        Barrier(dying(ada), "door", 3).meet()
    bury(bob)
    assert (barrier.statistics().arrived, barrier.statistics().broken) == (1, None)


def test_an_agent_that_dies_after_it_passed_breaks_nothing(barrier, member, spawn, in_line, bury):
    ada = spawn("ada", 2)
    ada.start("meet")
    in_line("barrier")
    Barrier(member, "door", 2).meet()
    ada.result()
    ada.kill()
    bury(ada)
    assert barrier.statistics().broken is None


@pytest.mark.parametrize(("when", "left"), [("before", (0, 0)), ("after", (1, 0))])
def test_the_first_to_arrive_is_killed_at_its_commit(member, spawn, when, left):
    barrier = Barrier(member, "door", 2)
    ada = spawn("ada", 2)
    ada.die(1, when)
    ada.start("wait").gone()
    assert (barrier.statistics().arrived, barrier.statistics().round) == left


@pytest.mark.parametrize(("when", "left"), [("before", (1, 0)), ("after", (0, 1))])
def test_the_last_to_arrive_is_killed_at_its_commit(spawn, in_line, barrier, people, when, left):
    ada, bob, eve = spawn("ada", 2), spawn("bob", 2), people("eve")[0]
    ada.start("wait")
    in_line("barrier")
    bob.die(1, when)
    bob.start("wait").gone()
    found = barrier.statistics()
    assert (found.arrived, found.round, found.broken) == (*left, None)
    if when == "before":
        assert Barrier(eve, "door", 2).wait() == 1
    assert ada.result() == 0


def test_an_arrival_that_is_repeated_counts_once_and_passes_when_all_are_there(siblings, dying, store):
    """Its agent dies while it waits; the call is repeated by the task's next agent, even twice."""
    _, (ada, bob) = siblings(2)
    with pytest.raises(Deposed):
        Barrier(dying(ada), "door", 2).meet(party="call 1")
    assert Barrier(bob, "door", 2).statistics().arrived == 1
    with store.transaction(None) as tx:
        give_back(tx, ada.me.task, agent=ada.me.agent, reason="killed")
        agent = enlist(tx, "again", pid=None, task=ada.me.task, state="running", lease_s=None)
    second = Membership(store, Member(agent, 1, ada.me.task))
    with pytest.raises(Deposed):
        Barrier(dying(second), "door", 2).meet(party="call 1")
    passage = Barrier(bob, "door", 2).meet(party="call 2")
    assert (passage.round, passage.index) == (1, 1)
    third = Barrier(join(store, "third"), "door", 2)
    for _ in range(2):
        passage = third.meet(party="call 1")
        assert (passage.round, passage.index, passage.parties) == (1, 0, 2)
    assert (third.statistics().arrived, third.statistics().round) == (0, 1)


def test_the_death_of_an_agent_takes_no_arrival_from_its_task(siblings, processes, in_line, bury):
    point, (ada, bob) = siblings(2)
    eve = processes("eve")
    eve.run(act_for_task, ada.me.task)
    eve.start_running(wait_with_siblings, point)
    in_line("barrier")
    eve.kill()
    assert bury(eve, task=ada.me.task)
    passage = Barrier(bob, "door", siblings=point).meet()
    assert (passage.round, passage.index) == (1, 1)


def test_an_arrival_that_passed_passes_again_although_the_barrier_broke_since(member, people):
    (ada,) = people("ada")
    barrier = Barrier(member, "door", 1)
    barrier.meet(party="call 1")
    Barrier(ada, "door", 1).abort("later")
    assert barrier.meet(party="call 1").round == 1
    barrier.reset()
    assert barrier.meet(party="the next").round == 2
    assert barrier.meet(party="call 1").round == 1
    barrier.abort("later")
    with pytest.raises(BrokenBarrier, match="later"):
        barrier.meet(party="call 2")


# Siblings.


def test_siblings_are_counted_from_their_tasks(siblings, processes, in_line):
    siblings(3)
    point, (ada, bob) = siblings(2)
    eve = processes("eve")
    eve.run(act_for_task, ada.me.task)
    eve.start_running(wait_with_siblings, point)
    in_line("barrier")
    assert Barrier(bob, "door", siblings=point).meet().parties == 2
    assert eve.result().index == 0


def test_siblings_that_were_made_after_the_first_arrived_count_too(siblings, store, processes, in_line):
    point, (ada,) = siblings(1)
    with store.transaction(None) as tx:
        second, _ = create_task(tx, Plan("late", "do it", context="fork", fork_point=point))
    eve = processes("eve")
    eve.run(act_for_task, ada.me.task)
    eve.start_running(wait_with_siblings, point)
    in_line("barrier")
    with store.transaction(None) as tx:
        create_task(tx, Plan("later", "do it", context="fork", fork_point=point))
    bob = processes("bob")
    bob.run(act_for_task, second.id)
    bob.start_running(wait_with_siblings, point)
    in_line("barrier", 2)
    row = store.row("select parties from barrier")
    assert row["parties"] == 3


@pytest.mark.parametrize("state", ["failed", "cancelled", "done"])
def test_a_sibling_that_ends_without_arriving_breaks_it_for_those_who_wait(
    siblings, processes, in_line, end_task, state
):
    point, (ada, bob) = siblings(2)
    eve = processes("eve")
    eve.run(act_for_task, ada.me.task)
    eve.start_running(wait_with_siblings, point)
    in_line("barrier")
    end_task(bob.me.task, state)
    with pytest.raises(BrokenBarrier, match=f"task {bob.me.task}"):
        eve.result()


@pytest.mark.parametrize("state", ["failed", "cancelled", "done"])
def test_who_comes_when_a_sibling_has_ended_learns_it_at_once(siblings, end_task, state):
    point, (ada, bob) = siblings(2)
    end_task(bob.me.task, state)
    door = Barrier(ada, "door", siblings=point)
    with pytest.raises(BrokenBarrier, match=rf"task {bob.me.task} has ended \({state}\)"):
        door.meet()
    assert f"task {bob.me.task}" in door.statistics().broken
    assert Barrier(ada, "another", 1).meet().round == 1


def test_a_sibling_that_passed_and_then_ended_will_not_come_to_the_next_round(siblings, dying, end_task):
    point, (ada, bob) = siblings(2)
    with pytest.raises(Deposed):
        Barrier(dying(bob), "door", siblings=point).meet()
    door = Barrier(ada, "door", siblings=point)
    assert door.meet().round == 1
    end_task(bob.me.task, "done")
    assert door.statistics().broken is None
    with pytest.raises(BrokenBarrier, match=f"task {bob.me.task} has ended"):
        door.meet()


@pytest.mark.parametrize("as_siblings", [True, False])
@pytest.mark.parametrize(("state", "breaks"), [("failed", True), ("cancelled", True), ("done", False)])
def test_a_task_that_ends_after_its_arrival(siblings, dying, end_task, as_siblings, state, breaks):
    point, (ada, _) = siblings(2)
    with pytest.raises(Deposed):
        Barrier(dying(ada), "door", **({"siblings": point} if as_siblings else {"parties": 2})).meet()
    end_task(ada.me.task, state)
    assert (Barrier(ada, "door", 2).statistics().broken is not None) == breaks


def test_a_sibling_that_ends_after_all_have_passed_breaks_nothing(siblings, end_task):
    point, (ada,) = siblings(1)
    barrier = Barrier(ada, "door", siblings=point)
    assert barrier.meet().round == 1
    end_task(ada.me.task)
    assert barrier.statistics().broken is None


def test_the_end_of_a_task_breaks_no_barrier_that_is_not_its(siblings, dying, end_task, store):
    _, (stranger,) = siblings(1)
    point, (ada, bob) = siblings(2)
    for one, barrier in ((ada, {"siblings": point}), (bob, {"parties": 3})):
        with pytest.raises(Deposed):
            Barrier(dying(one), f"of {one.me.task}", **barrier).meet()
    end_task(stranger.me.task)
    assert [row["broken"] for row in store.rows("select broken from barrier")] == [None, None]


# Names, bounds, words.


def test_statistics_tell_how_full_it_is(barrier, spawn, in_line):
    kind = type(barrier.statistics())
    assert barrier.statistics() == kind("door", 3, 0, 0, None)
    spawn("ada").start("meet")
    in_line("barrier")
    assert barrier.statistics() == kind("door", 3, 1, 0, None)


def test_another_number_of_parties_is_refused(barrier, people):
    barrier.reset()
    (ada,) = people("ada")
    with pytest.raises(Invalid, match="with 2 parties; use 3 parties"):
        Barrier(ada, "door", 2).meet(timeout=0)


@pytest.mark.parametrize("parties", [0, -1, 10_001, 1.5, True, "3", math.nan])
def test_a_number_of_parties_that_is_none_is_refused(member, parties):
    with pytest.raises(Invalid):
        Barrier(member, "door", parties)


@pytest.mark.parametrize("how", [{}, {"parties": 2, "siblings": 1}])
def test_parties_are_named_in_one_way(member, how):
    with pytest.raises(Invalid):
        Barrier(member, "door", **how)


@pytest.mark.parametrize("timeout", [math.nan, "1", True])
def test_a_timeout_that_is_none_is_refused_and_breaks_nothing(barrier, timeout):
    with pytest.raises(Invalid):
        barrier.meet(timeout=timeout)
    assert barrier.statistics().arrived == 0


class Rounds(RuleBasedStateMachine):
    """A barrier for three against a list of who is inside; who waits dies, so that one process plays all parties."""

    parties = Bundle("parties")

    def __init__(self, store, dying):
        super().__init__()
        self.store, self.dying = store, dying
        self.name = f"door {store.row('select count(*) as n from event')['n']}"
        self.barrier = Barrier(join(store, "watcher"), self.name, 3)
        self.inside, self.round, self.broken, self.passed = [], 0, False, {}

    @initialize(target=parties)
    def five_parties(self):
        return multiple(*"abcde")

    @rule(target=parties, n=st.integers())
    def a_new_party(self, n):
        return f"{self.round} {n}"

    @rule(party=parties)
    def arrive(self, party):
        found = self.found(party)
        if self.passed.get(party, -9) > self.round - 2:
            assert found == self.passed[party]
        elif self.broken:
            assert found == "broken"
        else:
            self.inside += [party] if party not in self.inside else []
            if len(self.inside) == 3:
                self.round += 1
                self.passed |= dict.fromkeys(self.inside, self.round)
                self.inside = []
                assert found == self.round
            else:
                assert found == "waits"

    def found(self, party):
        try:
            return Barrier(self.dying(join(self.store, party)), self.name, 3).meet(party=party).round
        except BrokenBarrier:
            return "broken"
        except Deposed:
            return "waits"

    @rule()
    def abort(self):
        self.barrier.abort()
        self.broken = True

    @rule()
    def reset(self):
        self.barrier.reset()
        self.broken, self.inside = False, []

    @invariant()
    def statistics_agree(self):
        found = self.barrier.statistics()
        assert (found.arrived, found.round, found.broken is not None) == (len(self.inside), self.round, self.broken)


def test_a_barrier_agrees_with_its_model(store, dying):
    run_state_machine_as_test(
        lambda: Rounds(store, dying), settings=settings(max_examples=30, stateful_step_count=25, deadline=None)
    )
