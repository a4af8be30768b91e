"""Budgets: nobody spends past a bound, nothing is lost with whoever had reserved it, and every sum adds up."""

import contextlib
import json
import math
import os
import pickle
import random
import signal
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from prong.primitives import budget
from prong.primitives.budget import SWARM, Budget, OutOfBudget
from prong.primitives.budget_sums import NANO, in_nanousd
from prong.state import Invalid, Store, join, waiter

RACE_S = float(os.environ.get("PRONG_RACE_S", "2"))
"""How long the processes of the race spend; ten seconds show more, and every minute counts in a test run."""

NO_BOUND_IS_PASSED = """
create trigger no_bound_is_passed after update on account
 when new.settled_tokens + new.reserved_tokens + new.lent_tokens > coalesce(new.tokens, 1e18)
   or new.settled_nanousd + new.reserved_nanousd + new.lent_nanousd > coalesce(new.nanousd, 1e18)
   or min(new.settled_tokens, new.reserved_tokens, new.lent_tokens) < 0
   or min(new.settled_nanousd, new.reserved_nanousd, new.lent_nanousd) < 0
begin select raise(abort, 'a bound is passed'); end
"""


class Ledger:
    """The functions of the module, each in a transaction of its own, as one member."""

    def __init__(self, member):
        self.member = member

    def __getattr__(self, name):
        def call(*arguments, **options):
            with self.member.transaction() as tx:
                return getattr(budget, name)(tx, *arguments, **options)

        return call

    def open(self, task, tokens=None, usd=None, lender=SWARM):
        self.open_account(task, lender=None if task == SWARM else lender, budget=Budget(tokens, usd))

    def take(self, account, tokens, usd=None):
        return self.reserve(account, agent=self.member.me.agent, tokens=tokens, usd=usd)

    def spend(self, account, tokens, usd=None):
        self.settle(self.take(account, tokens, usd), tokens=tokens, usd=usd)

    def of(self, account):
        return next(one for one in budget.statement(self.member.store) if one.account == account)

    def tokens(self, account):
        found = self.of(account).tokens
        return found.settled, found.reserved, found.lent, found.open


@pytest.fixture
def ledger(member):
    return Ledger(member)


@pytest.fixture
def logged(store):
    """The data of the entries of one kind."""
    return lambda kind: [json.loads(row["data"]) for row in store.rows(
        "select data from event where kind = :kind order by seq", kind=kind)]  # fmt: skip


def test_a_call_is_reserved_then_settled_and_what_it_did_not_cost_is_open_again(ledger):
    ledger.open(SWARM, 1_000)
    call = ledger.take(SWARM, 600)
    assert ledger.tokens(SWARM) == (0, 600, 0, 400)
    ledger.settle(call, tokens=150, usd=None)
    assert ledger.tokens(SWARM) == (150, 0, 0, 850)


def test_more_than_is_open_is_refused_with_what_is_open(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(7, 300)
    ledger.spend(SWARM, 200)
    ledger.take(SWARM, 400)
    with pytest.raises(OutOfBudget, match=r"swarm's budget has 100 tokens left.*101 tokens would be needed") as refused:
        ledger.take(SWARM, 101)
    error = pickle.loads(pickle.dumps(refused.value))
    figures = error.kind, error.account, error.unit, error.open, error.settled, error.reserved, error.lent, error.bound
    assert figures == ("account", 0, "tokens", 100, 200, 400, 300, 1_000)
    assert ledger.tokens(SWARM) == (200, 400, 300, 100)
    ledger.take(SWARM, 100)


def test_money_has_a_bound_of_its_own(ledger):
    ledger.open(SWARM, tokens=1_000_000, usd=0.10)
    ledger.spend(SWARM, 10, 0.06)
    with pytest.raises(OutOfBudget, match=r"\$0\.0400 left, and \$0\.0500 would be needed"):
        ledger.take(SWARM, 10, 0.05)
    assert ledger.tokens(SWARM) == (10, 0, 0, 999_990)
    assert ledger.of(SWARM).usd.open == pytest.approx(0.04)


def test_a_tenth_of_a_cent_fits_a_thousand_times_into_a_dollar_and_not_once_more(ledger):
    ledger.open(SWARM, usd=1.0)
    with ledger.member.atomic():
        for _ in range(1_000):
            ledger.spend(SWARM, 1, 0.001)
    assert ledger.of(SWARM).usd.open == 0
    with pytest.raises(OutOfBudget):
        ledger.take(SWARM, 1, 1 / NANO)


@pytest.mark.parametrize(("usd", "nanousd"), [(0.1 + 0.2, 300_000_000), (1 / 3, 333_333_334), (0.0, 0), (3e-10, 1)])
def test_money_is_rounded_up_but_not_for_what_a_float_adds(usd, nanousd):
    assert in_nanousd(usd) == nanousd


def test_a_model_without_a_price_spends_tokens_alone(ledger):
    ledger.open(SWARM, usd=0.01)
    ledger.spend(SWARM, 1_000_000)
    assert (ledger.of(SWARM).tokens.settled, ledger.of(SWARM).usd.settled) == (1_000_000, 0)


def test_a_child_is_lent_its_bound_and_what_it_spends_shows_above(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.open(2, 250, lender=1)
    assert ledger.tokens(SWARM) == (0, 0, 600, 400)
    ledger.spend(2, 50)
    ledger.take(2, 100)
    assert ledger.tokens(2) == (50, 100, 0, 100)
    assert ledger.tokens(1) == (50, 0, 200, 350)
    assert ledger.tokens(SWARM) == (50, 0, 550, 400)


def test_a_child_gets_no_more_than_its_lender_has(ledger, store):
    ledger.open(SWARM, 1_000)
    with pytest.raises(OutOfBudget, match=r"1,000 tokens left, and 1,001 tokens would be needed"):
        ledger.open(1, 1_001)
    assert store.row("select count(*) as n from account")["n"] == 1
    ledger.open(1, 1_000)
    with pytest.raises(OutOfBudget):
        ledger.take(SWARM, 1)


def test_a_unit_without_a_bound_is_decided_further_up(ledger):
    ledger.open(SWARM, tokens=1_000, usd=1.0)
    ledger.open(1, usd=0.5)
    ledger.open(2, tokens=300, lender=1)
    ledger.take(1, 200, 0.1)
    assert ledger.tokens(1) == (0, 200, 300, None)
    assert ledger.tokens(SWARM) == (0, 200, 300, 500)
    with pytest.raises(OutOfBudget, match="the swarm's budget has 500 tokens"):
        ledger.take(1, 501, 0.1)
    with pytest.raises(OutOfBudget, match=r"the budget of task 1 has \$0\.4000"):
        ledger.take(2, 1, 0.41)


def test_a_cap_below_no_bound_at_all_still_shows_what_was_spent_above(ledger):
    ledger.open(SWARM, usd=5.0)
    ledger.open(1, tokens=100)
    ledger.spend(1, 60, 0.5)
    with pytest.raises(OutOfBudget, match="task 1"):
        ledger.take(1, 41, 0.1)
    assert ledger.tokens(SWARM) == (60, 0, 40, None)
    assert ledger.of(SWARM).usd.settled == 0.5


def test_what_a_closed_account_did_not_spend_flows_back(ledger, logged):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.spend(1, 100)
    assert ledger.close_account(1) == (SWARM,)
    assert ledger.tokens(SWARM) == (100, 0, 0, 900)
    assert ledger.close_account(1) == ()
    assert logged("budget.closed") == [{"tokens": 100, "usd": 0.0}]
    with pytest.raises(OutOfBudget, match="task 1 is closed"):
        ledger.take(1, 1)


def test_a_closed_account_pays_for_nothing_whatever_it_has_a_bound_for(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, usd=1.0)
    ledger.close_account(1)
    with pytest.raises(OutOfBudget, match="task 1 is closed"):
        ledger.take(1, 1)


def test_a_call_that_outlives_its_account_is_settled_all_the_same(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    answered, died = ledger.take(1, 200), ledger.take(1, 300)
    ledger.close_account(1)
    assert ledger.tokens(SWARM) == (0, 0, 500, 500)
    ledger.settle(answered, tokens=150, usd=None)
    ledger.hand_back(died)
    assert ledger.tokens(SWARM) == (150, 0, 0, 850)
    assert ledger.of(1).tokens.settled == 150


def test_an_account_stays_open_for_those_below_it_and_closes_with_the_last(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.open(2, 200, lender=1)
    assert ledger.close_account(1) == ()
    ledger.spend(2, 150)
    assert ledger.close_account(2) == (1, SWARM)
    assert ledger.tokens(SWARM) == (150, 0, 0, 850)


def test_an_account_stays_open_while_a_task_spends_from_it(ledger, store):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    with store.transaction(None) as tx:
        tx.execute(
            "insert into task (id, title, prompt, context, state, account, created_at)"
            " values (1, 'a', 'a', 'fresh', 'done', 1, 0), (2, 'b', 'b', 'fresh', 'running', 1, 0)"
        )
    assert ledger.close_account(1) == ()
    with store.transaction(None) as tx:
        tx.execute("update task set state = 'failed' where id = 2")
    assert ledger.close_account(1) == (SWARM,)


def test_a_retried_task_gets_back_what_had_flowed_back_if_it_is_there(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.spend(1, 100)
    ledger.close_account(1)
    other = ledger.take(SWARM, 800)
    with pytest.raises(OutOfBudget, match=r"100 tokens left, and 500 tokens would be needed"):
        ledger.reopen_account(1)
    assert ledger.of(1).closed
    ledger.hand_back(other)
    ledger.reopen_account(1)
    assert ledger.tokens(1) == (100, 0, 0, 500)
    assert ledger.tokens(SWARM) == (100, 0, 500, 400)


def test_a_retried_task_opens_the_accounts_above_its_own_too(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.open(2, 200, lender=1)
    ledger.close_account(1)
    ledger.close_account(2)
    ledger.reopen_account(2)
    assert [ledger.of(account).closed for account in (SWARM, 1, 2)] == [False, False, False]
    assert ledger.tokens(SWARM) == (0, 0, 600, 400)


def test_a_bound_is_raised_out_of_what_the_lender_has_left(ledger, logged):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 600)
    ledger.raise_bound(1, Budget(tokens=900))
    assert ledger.tokens(SWARM) == (0, 0, 900, 100)
    with pytest.raises(OutOfBudget, match=r"100 tokens left, and 101 tokens would be needed"):
        ledger.raise_bound(1, Budget(tokens=1_001))
    ledger.raise_bound(SWARM, Budget(usd=3))
    assert logged("budget.raised")[0] == {"tokens": 900, "usd": None, "tokens_before": 600, "usd_before": None}
    assert ledger.of(SWARM).usd.bound == 3.0


def test_a_bound_is_not_lowered_below_what_is_gone_and_promised(ledger):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 300)
    ledger.spend(SWARM, 100)
    ledger.take(SWARM, 200)
    with pytest.raises(Invalid, match=r"599 tokens.*at least 600 tokens: 100 tokens are spent, 200 .*300 tokens lent"):
        ledger.raise_bound(SWARM, Budget(tokens=599))
    ledger.raise_bound(SWARM, Budget(tokens=600))
    assert ledger.tokens(SWARM) == (100, 200, 300, 0)


def test_a_bound_given_later_takes_over_what_is_under_way_below(ledger):
    ledger.open(SWARM, tokens=1_000)
    ledger.open(1, usd=1.0)
    ledger.open(2, tokens=100, lender=1)
    call = ledger.take(1, 200, 0.1)
    ledger.raise_bound(1, Budget(tokens=700))
    assert ledger.tokens(1) == (0, 200, 100, 400)
    assert ledger.tokens(SWARM) == (0, 0, 700, 300)
    ledger.settle(call, tokens=50, usd=0.05)
    assert ledger.tokens(SWARM) == (50, 0, 650, 300)


def test_the_truth_is_written_down_even_where_it_passes_a_bound(ledger, logged):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 300)
    ledger.settle(ledger.take(1, 200), tokens=350, usd=None)
    assert ledger.tokens(1) == (350, 0, 0, -50)
    assert ledger.tokens(SWARM) == (350, 0, 0, 650)
    assert logged("budget.overrun")[0]["tokens"] == 350
    with pytest.raises(OutOfBudget):
        ledger.take(1, 1)


def test_a_reservation_ends_only_once(ledger):
    ledger.open(SWARM, 1_000)
    call = ledger.take(SWARM, 100)
    ledger.hand_back(call)
    with pytest.raises(Invalid, match="not open any more"):
        ledger.settle(call, tokens=1, usd=None)
    assert ledger.tokens(SWARM) == (0, 0, 0, 1_000)


def test_what_the_dead_had_reserved_comes_back_with_everything_else(ledger, people, bury, logged):
    ledger.open(SWARM, 1_000, usd=1.0)
    (ada,) = people("ada")
    Ledger(ada).take(SWARM, 300, 0.25)
    Ledger(ada).take(SWARM, 100)
    ledger.take(SWARM, 50, 0.1)
    bury(ada)
    assert ledger.tokens(SWARM) == (0, 50, 0, 950)
    assert [entry["usd"] for entry in logged("budget.returned")] == [0.25, None]


def test_at_four_fifths_it_is_warned_once_and_again_after_a_raise(ledger, events):
    ledger.open(SWARM, 1_000)
    ledger.spend(SWARM, 799)
    assert events("budget.warned") == []
    ledger.spend(SWARM, 1)
    ledger.spend(SWARM, 100)
    assert events("budget.warned") == [("budget.warned", "0")]
    assert ledger.of(SWARM).warned
    ledger.raise_bound(SWARM, Budget(tokens=2_000))
    assert not ledger.of(SWARM).warned
    ledger.spend(SWARM, 700)
    assert len(events("budget.warned")) == 2


def test_what_is_lent_counts_for_no_warning_before_it_is_spent(ledger, events):
    ledger.open(SWARM, 1_000)
    ledger.open(1, 900)
    ledger.spend(SWARM, 79)
    assert events("budget.warned") == []
    ledger.spend(SWARM, 1)
    assert events("budget.warned") == [("budget.warned", "0")]


def test_whoever_waits_for_more_is_woken_when_there_is_more(ledger, member, store):
    def waiting():
        with member.transaction() as tx:
            return waiter.enrol(tx, "budget", "0", timeout=None).waiter

    def granted(number):
        return store.row("select state from waiter where id = :id", id=number)["state"] == "granted"

    ledger.open(SWARM, 1_000)
    ledger.open(1, 100)
    call = ledger.take(SWARM, 900)
    for more in (
        lambda: ledger.settle(call, tokens=800, usd=None),
        lambda: ledger.hand_back(ledger.take(SWARM, 50)),
        lambda: ledger.raise_bound(SWARM, Budget(tokens=1_100)),
        lambda: ledger.close_account(1),
    ):
        number = waiting()
        assert not granted(number)
        more()
        assert granted(number)


def test_a_new_task_spends_where_its_parent_does_or_from_the_swarms(ledger, store):
    assert ledger.account_of(None) is None
    with store.transaction(None) as tx:
        tx.execute(
            "insert into task (id, title, prompt, context, state, account, created_at)"
            " values (1, 'a', 'a', 'fresh', 'running', 7, 0), (2, 'b', 'b', 'fresh', 'running', null, 0)"
        )
    assert (ledger.account_of(1), ledger.account_of(2)) == (7, None)
    ledger.open(SWARM, 1_000)
    assert (ledger.account_of(None), ledger.account_of(1), ledger.account_of(2)) == (SWARM, 7, SWARM)


def test_those_below_an_account_are_found(ledger):
    ledger.open(SWARM, 1_000)
    for task, lender in ((1, SWARM), (2, 1), (3, SWARM), (4, 2)):
        ledger.open(task, 10 if task == 4 else 100 // task, lender=lender)
    assert sorted(ledger.below(1)) == [1, 2, 4]
    assert [one.account for one in budget.statement(ledger.member.store)] == [0, 1, 2, 4, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        Budget(), Budget(0), Budget(-1), Budget(tokens=True), Budget(tokens=1.5), Budget(usd=0), Budget(usd=math.nan),
        Budget(usd=math.inf), Budget(usd=2e6), Budget(tokens=10**16), Budget(usd="5"), Budget(usd=1e-12),
    ],
)  # fmt: skip
def test_what_is_no_budget_is_refused(wrong):
    with pytest.raises(Invalid):
        budget.checked(wrong)


def test_whoever_has_no_budget_is_told_so(ledger):
    with pytest.raises(Invalid, match="task 9 has no budget of its own"):
        ledger.raise_bound(9, Budget(tokens=1))
    ledger.open(SWARM, 100)
    with pytest.raises(Invalid, match="second budget for the swarm"):
        ledger.open(SWARM, 100)
    assert ledger.close_account(9) == ()


amounts = st.integers(1, 500)


class Tree(RuleBasedStateMachine):
    """A tree of accounts against a plain list of what was spent and reserved where."""

    directory = None

    def __init__(self):
        super().__init__()
        self.store = Store(self.directory / f"{time.monotonic_ns()}.db")
        self.ledger = Ledger(join(self.store, "test"))
        self.lender, self.spent, self.calls = {}, [], {}
        with self.store.transaction(None) as tx:
            tx.execute(NO_BOUND_IS_PASSED)

    def teardown(self):
        self.store.close()

    @precondition(lambda self: len(self.lender) < 7)
    @rule(data=st.data(), tokens=st.none() | amounts, cents=st.none() | amounts)
    def open(self, data, tokens, cents):
        number = len(self.lender)
        lender = data.draw(st.sampled_from(sorted(self.lender))) if number else None
        with contextlib.suppress(OutOfBudget):
            if tokens or cents:
                self.ledger.open(number, tokens, cents / 100 if cents else None, lender=lender)
                self.lender[number] = lender

    @precondition(lambda self: self.lender)
    @rule(data=st.data(), tokens=amounts, cents=st.none() | amounts)
    def reserve(self, data, tokens, cents):
        account = data.draw(st.sampled_from(sorted(self.lender)))
        with contextlib.suppress(OutOfBudget):
            usd = cents / 100 if cents else None
            self.calls[self.ledger.take(account, tokens, usd)] = account, tokens, cents or 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data, share):
        call = data.draw(st.sampled_from(sorted(self.calls)))
        account, tokens, cents = self.calls.pop(call)
        tokens, cents = int(tokens * share), int(cents * share)
        self.ledger.settle(call, tokens=tokens, usd=cents / 100)
        self.spent.append((account, tokens, cents))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def hand_back(self, data):
        call = data.draw(st.sampled_from(sorted(self.calls)))
        del self.calls[call]
        self.ledger.hand_back(call)

    @precondition(lambda self: self.lender)
    @rule(data=st.data(), way=st.sampled_from(["close_account", "reopen_account"]))
    def close_or_reopen(self, data, way):
        with contextlib.suppress(OutOfBudget):
            getattr(self.ledger, way)(data.draw(st.sampled_from(sorted(self.lender))))

    @precondition(lambda self: self.lender)
    @rule(data=st.data(), tokens=st.none() | amounts, cents=st.none() | amounts)
    def set_bound(self, data, tokens, cents):
        account = data.draw(st.sampled_from(sorted(self.lender)))
        with contextlib.suppress(OutOfBudget, Invalid):
            self.ledger.raise_bound(account, Budget(tokens, cents / 100 if cents else None))

    @invariant()
    def everything_adds_up(self):
        accounts = {one.account: one for one in budget.statement(self.store)}
        assert sorted(accounts) == sorted(self.lender)
        for unit, place, of_one in (("tokens", 1, 1), ("usd", 2, 100)):
            for number, account in accounts.items():
                inside = [one for one in accounts if number in self.line(one)]
                settled = sum(entry[place] for entry in self.spent if entry[0] in inside)
                figures = getattr(account, unit)
                assert round(figures.settled * of_one, 6) == settled
                if figures.bound is not None:
                    assert figures.open >= 0
                claims = [self.claim(getattr(accounts[one], unit), accounts[one].closed)
                          for one, lender in self.lender.items() if lender == number]  # fmt: skip
                own = sum(call[place] for call in self.calls.values() if call[0] == number)
                assert figures.reserved == pytest.approx(own / of_one + sum(claim[0] for claim in claims))
                assert figures.lent == pytest.approx(sum(claim[1] for claim in claims))

    def line(self, number):
        while number is not None:
            yield number
            number = self.lender[number]

    @staticmethod
    def claim(figures, closed):
        if figures.bound is None:
            return figures.reserved, figures.lent
        return 0, figures.reserved + figures.lent if closed else figures.bound - figures.settled


def test_a_tree_of_budgets_adds_up_whatever_happens_to_it(tmp_path):
    Tree.directory = tmp_path
    run_state_machine_as_test(Tree, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))


def spend_for(here, seconds, accounts, seed):
    """Reserve and settle until the time is over, or the dice say to die in between; how often nothing was left."""
    dice, refused = random.Random(seed), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        most, account = dice.randrange(1, 400), dice.choice(accounts)
        try:
            with here.member.transaction() as tx:
                call = budget.reserve(tx, account, agent=here.member.me.agent, tokens=most, usd=most / 1e5)
        except OutOfBudget:
            refused += 1
            continue
        if dice.random() < 0.02:
            os.kill(os.getpid(), signal.SIGKILL)
        cost = dice.randrange(most + 1)
        with here.member.transaction() as tx:
            budget.settle(tx, call, tokens=cost, usd=cost / 1e5)
            tx.event("spent", tokens=cost)
    return refused


@pytest.mark.timeout(120 + 4 * RACE_S)
def test_a_crowd_that_spends_as_fast_as_it_can_never_passes_a_bound(ledger, store, processes, bury, logged):
    """Goal: `settled <= bound` whatever dies.  Method: a trigger looks at every write, and the log at every commit."""
    with store.transaction(None) as tx:
        tx.execute(NO_BOUND_IS_PASSED)
    bound = 40_000
    ledger.open(SWARM, tokens=bound, usd=0.4)
    ledger.open(1, tokens=15_000)
    ledger.open(2, usd=0.2)
    ledger.open(3, tokens=5_000, lender=2)
    crowd = [processes(f"p{n}") for n in range(32)]
    for seed, process in enumerate(crowd):
        process.start_running(spend_for, RACE_S, [SWARM, 1, 2, 3], seed)
    refused = died = 0
    for process in crowd:
        try:
            refused += process.result(timeout=60 + RACE_S)
        except ChildProcessError:
            died += 1
            bury(process.gone())
    spent = [entry["tokens"] for entry in logged("spent")]
    assert refused
    assert died
    settled, reserved, _, _ = ledger.tokens(SWARM)
    assert (settled, reserved) == (sum(spent), 0)
    assert settled <= bound
    assert ledger.of(SWARM).usd.settled == pytest.approx(sum(spent) / 1e5)
    assert store.row("select count(*) as n from reservation")["n"] == 0
    assert len(logged("budget.returned")) == died
    # What the dead had set aside can be spent again, to the last token.
    assert sum(figure or 0 for figure in ledger.tokens(SWARM)) == bound


def one_call(here, account):
    with here.member.transaction() as tx:
        call = budget.reserve(tx, account, agent=here.member.me.agent, tokens=100, usd=0.1)
    with here.member.transaction() as tx:
        budget.settle(tx, call, tokens=60, usd=0.06)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_death_at_any_commit_leaves_it_reserved_or_settled_and_never_both(ledger, processes, bury, n, when):
    ledger.open(SWARM, 1_000, usd=1.0)
    ledger.open(1, 500)
    ada = processes("ada")
    ada.die(n, when)
    with pytest.raises(ChildProcessError):
        ada.run(one_call, 1)
    done = (n, when) == (2, "after")
    held = not done and (n, when) != (1, "before")
    assert ledger.tokens(1)[:2] == (60 * done, 100 * held)
    bury(ada.gone())
    assert ledger.tokens(1) == (60 * done, 0, 0, 500 - 60 * done)
    assert ledger.of(SWARM).usd.reserved == 0
