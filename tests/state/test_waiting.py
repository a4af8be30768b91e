"""Waiting is a row: decided once, in the decider's transaction, and gone when the waiter has left, however it left."""
# ruff: noqa: PLR0917, PT012  fixtures are named, so their number does not confuse; a block is what is tested

import time
from contextlib import contextmanager

import pytest

from prong.state import Deposed, Membership, Store, join, waiter
from prong.state.bell import SLOTS, slot_of
from prong.state.member import end


def wait_for(here, object, timeout=None):
    """Wait for an object of kind `thing`; how it ended and how long that took by the real clock."""
    with here.member.transaction() as tx:
        ticket = waiter.enrol(tx, "thing", object, timeout=timeout)
    outcome = waiter.wait(here.member, ticket)
    return outcome.state, outcome.data


def change(here):
    """Any change of this process."""
    with here.member.transaction() as tx:
        tx.event("changed")


def grant_and_die(here, object):
    """Decide for all who wait and die before any bell is rung."""
    here.die(1, "after")
    with here.member.transaction() as tx:
        for row in waiter.everybody(tx, "thing", object):
            waiter.grant(tx, row["id"], by=here.member.me.agent)


def ping_pong(here, mine, theirs, times, *, begins):
    """Grant the other's wait, and wait to be granted; the longest wait, in seconds."""
    longest = 0.0
    for n in range(times):
        if begins or n:
            grant_when_there(here, theirs)
        with here.member.transaction() as tx:
            ticket = waiter.enrol(tx, "thing", mine, timeout=None)
        began = time.monotonic()
        assert waiter.wait(here.member, ticket).state == "granted"
        longest = max(longest, time.monotonic() - began)
    if not begins:
        grant_when_there(here, theirs)
    return longest


def grant_when_there(here, object):
    while True:
        with here.member.transaction() as tx:
            row = waiter.first(tx, "thing", object)
            if row is not None:
                waiter.grant(tx, row["id"])
                return


def wait(member, timeout=None, withdraw=None, **how):
    with waiter.Place(member, withdraw=withdraw) as place:
        with member.transaction() as tx:
            place.enrol(tx, "thing", "a", timeout=timeout)
        return place.wait(**how)


def ask(member, timeout=None, **wants):
    with member.transaction() as tx:
        return waiter.enrol(tx, "thing", "a", timeout=timeout, wants=wants)


@pytest.fixture
def rows(store):
    return lambda: [tuple(row) for row in store.rows("select id, state from waiter order by id")]


@pytest.fixture
def during(member):
    """The test's member, with something that happens while it is parked: after its sleep and before it looks."""

    def during(action):
        @contextmanager
        def parking(_ticket):
            try:
                yield
            finally:
                action()

        return Membership(member.store, member.me, parking)

    return during


@pytest.fixture
def decide(store):
    def decide(how, **data):
        with store.transaction(None) as tx:
            for row in waiter.everybody(tx, "thing", "a"):
                how(tx, row["id"], **data)

    return decide


@pytest.mark.parametrize(("how", "state"), [(waiter.grant, "granted"), (waiter.refuse, "broken")])
def test_a_waiter_learns_what_was_decided_and_its_row_goes_with_its_next_change(
    processes, in_line, decide, rows, how, state
):
    ada = processes("ada")
    ada.start_running(wait_for, "a")
    in_line("thing")
    decide(how, answer=[1, "ä"])
    assert ada.result() == (state, {"answer": [1, "ä"]})
    ada.run(change)
    assert rows() == []


def test_a_row_that_was_read_is_removed_again_where_the_change_that_removed_it_was_undone(member, rows, decide):
    with waiter.Place(member) as place:
        with member.transaction() as tx:
            place.enrol(tx, "thing", "a", timeout=None)
        decide(waiter.grant)
        assert place.wait().state == "granted"
    with pytest.raises(ZeroDivisionError), member.transaction():
        assert rows() == []
        1 / 0  # noqa: B018
    assert len(rows()) == 1
    with member.transaction():
        pass
    assert rows() == []


def test_a_waiter_wakes_although_the_decider_died_before_it_rang(processes, in_line):
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(wait_for, "a")
    in_line("thing")
    bob.start_running(grant_and_die, "a").gone()
    assert ada.result() == ("granted", {"by": bob.agent})


def test_no_wait_falls_back_to_the_slow_look_in_hundreds_of_exchanges(processes):
    """Goal: between looking at its row and falling asleep a waiter misses no ring.  Method: two processes grant each
    other's waits in turn; one missed ring would make one wait last a second."""
    ada, bob = processes("ada"), processes("bob")
    bob.start_running(ping_pong, "b", "a", 150, begins=False)
    ada.start_running(ping_pong, "a", "b", 150, begins=True)
    assert max(ada.result(60), bob.result(60)) < waiter.FALLBACK_S * 0.9


def test_two_waiters_that_share_a_bell_are_granted_one_by_one(processes, store, in_line, decide):
    ada, bob = processes("ada"), processes("bob")
    ada.start_running(wait_for, "a")
    in_line("thing")
    with store.transaction(None) as tx:
        tx.execute("update sqlite_sequence set seq = seq + :more where name = 'waiter'", more=SLOTS - 3)
    bob.start_running(wait_for, "b")
    first, second = in_line("thing", 2)
    assert slot_of(first["id"]) == slot_of(second["id"])
    decide(waiter.grant)
    assert ada.result() == ("granted", {})
    assert bob.busy()
    with store.transaction(None) as tx:
        waiter.grant(tx, second["id"], late=True)
    assert bob.result() == ("granted", {"late": True})


def test_a_wait_ends_when_its_time_is_up_by_the_swarms_clock(processes, in_line, clock, rows):
    ada = processes("ada")
    ada.start_running(wait_for, "a", 60)
    in_line("thing")
    clock.advance(59.9)
    assert ada.busy()
    clock.advance(0.1)
    assert ada.result() == ("timeout", {})
    assert rows() == []


def test_a_grant_that_comes_just_when_time_is_up_is_a_grant(during, decide, rows):
    left = []
    late = during(lambda: decide(waiter.grant, just="so"))
    outcome = wait(late, timeout=0, withdraw=lambda _, outcome: left.append(outcome))
    assert (outcome.state, outcome.data, left, rows()) == ("granted", {"just": "so"}, [], [])


def test_who_runs_out_of_time_withdraws_in_the_transaction_that_takes_its_row_away(member, rows):
    left = []

    def withdraw(tx, outcome):
        left.append((outcome.state, tx.rows("select id from waiter")))

    assert wait(member, timeout=0, withdraw=withdraw).state == "timeout"
    assert left == [("timeout", [])]
    assert rows() == []


@pytest.mark.parametrize(
    ("how", "left"),
    [(waiter.grant, ["granted"]), (waiter.refuse, []), (None, ["interrupted"])],
)
def test_who_is_interrupted_withdraws_what_it_will_not_read(during, decide, rows, how, left):
    def interrupt():
        if how is not None:
            decide(how, n=1)
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        wait(during(interrupt), timeout=0, withdraw=lambda _, outcome: seen.append(outcome.state))
    assert seen == left
    assert rows() == []


def test_a_withdrawal_that_fails_leaves_the_row_for_the_next_try(member, rows):
    """The first withdrawal breaks its transaction; the wait takes that for an interrupt and withdraws again."""
    seen = []

    def withdraw(_, outcome):
        seen.append(outcome.state)
        if len(seen) == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wait(member, timeout=0, withdraw=withdraw)
    assert seen == ["timeout", "interrupted"]
    assert rows() == []


def test_an_exception_between_enrolment_and_wait_leaves_no_row(member, rows):
    seen = []

    def enrol_and_fail():
        with waiter.Place(member, withdraw=lambda _, outcome: seen.append(outcome.state)) as place:
            with member.transaction() as tx:
                place.enrol(tx, "thing", "a", timeout=None)
            assert len(rows()) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enrol_and_fail()
    assert (seen, rows()) == (["interrupted"], [])


def test_an_enrolment_that_was_rolled_back_takes_nobody_elses_row(member, rows, store):
    """The number that was rolled back with it belongs to the next who enrols."""

    def enrol_and_fail():
        with waiter.Place(member) as place:
            try:
                with member.transaction() as tx:
                    place.enrol(tx, "thing", "a", timeout=None)
                    raise KeyboardInterrupt
            finally:
                assert ask(join(store, "bob")).waiter == place._ticket.waiter

    with pytest.raises(KeyboardInterrupt):
        enrol_and_fail()
    assert rows() == [(1, "waiting")]


def test_what_was_had_at_once_is_given_back_by_who_is_interrupted_then(member):
    seen = []

    def take_and_fail():
        with waiter.Place(member, withdraw=lambda _, outcome: seen.append(outcome)) as place:
            with member.transaction() as tx:
                place.granted(tx, fence=7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_and_fail()
    assert seen == [waiter.Outcome("granted", {"fence": 7})]


def test_a_member_that_was_declared_dead_while_it_waited_is_told_so(processes, store, in_line, rows):
    ada = processes("ada")
    ada.start_running(wait_for, "a")
    in_line("thing")
    with store.transaction(None) as tx:
        end(tx, ada.agent, state="dead", reason="silence")
    with pytest.raises(Deposed, match="silence"):
        ada.result()
    assert rows() == []


def test_the_number_of_a_waiter_is_never_given_again(member, store):
    """Or a process that sleeps on a row that is gone would take another's row for its own."""
    first = ask(member)
    with store.transaction(None) as tx:
        tx.execute("delete from waiter")
    assert ask(member).waiter > first.waiter


def test_the_dead_leave_no_place_in_any_line(store, member):
    bob = join(store, "bob")
    mine, his = ask(member), ask(bob)
    with store.transaction(None) as tx:
        tx.execute(
            "insert into waiter_task (waiter, task) values (:mine, 1), (:his, 1)", mine=mine.waiter, his=his.waiter
        )
        end(tx, bob.me.agent, state="dead", reason="gone")
    assert [row["id"] for row in store.rows("select id from waiter")] == [mine.waiter]
    assert [row["waiter"] for row in store.rows("select waiter from waiter_task")] == [mine.waiter]


def test_a_line_is_first_come_first_served_and_skips_whose_time_is_up(store, member, clock):
    tickets = [ask(member, 5), ask(member, None), ask(member, 10)]
    clock.advance(5)
    with store.transaction(None) as tx:
        assert waiter.first(tx, "thing", "a")["id"] == tickets[1].waiter
        assert [row["id"] for row in waiter.line(tx, "thing", "a")] == [ticket.waiter for ticket in tickets[1:]]
        assert [row["id"] for row in waiter.everybody(tx, "thing", "a")] == [ticket.waiter for ticket in tickets]
        waiter.grant(tx, tickets[1].waiter)
        assert waiter.first(tx, "thing", "a")["id"] == tickets[2].waiter
        for other in (("thing", "b"), ("other", "a")):
            assert waiter.first(tx, *other) is None
            assert waiter.line(tx, *other) == waiter.everybody(tx, *other) == []


def test_a_grant_that_comes_between_the_look_at_the_row_and_the_sleep_is_not_slept_over(store, member, decide):
    """Goal: no wake-up is lost.  Method: the grant is committed and rung right when the row has been read."""

    class Sly(Store):
        def row(self, sql, /, **values):
            row = super().row(sql, **values)
            if "until_at" in sql:
                decide(waiter.grant)
            return row

    sly = Membership(Sly(store.directory, clock=store.clock), member.me)
    began = time.monotonic()
    assert waiter.wait(sly, ask(member)).state == "granted"
    assert time.monotonic() - began < waiter.FALLBACK_S * 0.9
    sly.store.close()


def test_a_look_that_finds_something_wakes_its_own_sleeper(member, decide):
    """The look grants our own wait; it must not be slept over for another second."""
    looks = []

    def look():
        looks.append(time.monotonic())
        decide(waiter.grant)

    assert wait(member, look=look).state == "granted"
    assert len(looks) == 1
    assert time.monotonic() - looks[0] < waiter.FALLBACK_S * 0.9


def test_a_wait_parks_its_member_unless_told_not_to(member, decide):
    parked = []

    @contextmanager
    def parking(ticket):
        parked.append(ticket)
        decide(waiter.grant)
        yield

    me = Membership(member.store, member.me, parking)
    ticket = ask(me)
    waiter.wait(me, ticket)
    assert parked == [ticket]
    ticket = ask(me)
    decide(waiter.grant)
    waiter.wait(me, ticket, parks=False)
    assert len(parked) == 1
