"""Agents that spend out of accounts: told in time, stopped at the bound, and going on when it is raised.

The agents run against the emulator, over real HTTP.  A token there is four bytes, so 8,000 characters are 2,000 tokens.
"""

import itertools
import json
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.agents.calls import Calls
from prong.agents.conversation import Conversation
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.loop import Agent
from prong.agents.model import Endpoint, Model
from prong.agents.models import Prices, Usage, all_models, lookup
from prong.agents.tools.tool import Tool
from prong.harness import budgets
from prong.harness.budgets import AccountPurse, partial_result
from prong.primitives import Plan, budget, create_task
from prong.primitives import task as tasks
from prong.primitives.budget import SWARM, Budget, OutOfBudget
from prong.primitives.budget_sums import in_nanousd
from prong.state import Member, Membership, Store
from prong.state.member import enlist

SCRIPTS = Path(__file__).parents[1] / "agents" / "loop_scripts.py"
NOTE = {"name": "note", "description": "Notes a text.", "input_schema": {"type": "object", "properties": {}}}
OPUS = lookup("claude-opus-5-5")
WRITE, OUT = 5_000, 20_000
"""What one token costs at most, in billionths of a dollar."""


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        yield emulator


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "swarm")
    yield store
    store.close()


@pytest.fixture
def account(store):
    """Opens an account, or raises the bound of one, or tells of it."""

    def account(number=SWARM, tokens=None, usd=None, lender=None):
        if tokens or usd:
            there = any(one.account == number for one in budget.statement(store))
            with store.transaction(None) as tx:
                if there:
                    budget.raise_bound(tx, number, Budget(tokens, usd))
                else:
                    budget.open_account(tx, number, lender=lender, budget=Budget(tokens, usd))
        return next(one for one in budget.statement(store) if one.account == number)

    return account


@pytest.fixture
def claimed(store):
    numbers = itertools.count(1)

    def claim():
        with store.transaction(None) as tx:
            task, _ = create_task(tx, Plan(title=f"a task {next(numbers)}", prompt="do it"))
            agent = enlist(tx, "ada", pid=None, task=task.id, state="running", lease_s=None)
            return Membership(store, Member(agent, 1, task.id)), task.id, tasks.claim(tx, task.id, agent)

    return claim


@pytest.fixture
def member(claimed):
    return claimed()[0]


@pytest.fixture
def purse(member):
    """Makes the purse of an agent that has claimed a task."""
    return lambda account=SWARM, **more: AccountPurse(member, account=account, **{"model": OPUS, **more})


class Notes:
    tools = {"note": Tool(NOTE, lambda call: call.input["text"])}  # noqa: RUF012  nobody changes it

    def begin_turn(self, turn):
        pass

    end_turn = working = nullcontext


@pytest.fixture
def agent(claimed, emulator):
    """Makes an agent that was told one sentence, and pays from the swarm's account."""

    def make(goal, *, model="claude-opus-5-5", again=None, **more):
        member, task, fence = again or claimed()
        conversation = Conversation(member, task, fence)
        if conversation.last is None:
            conversation.say("user", [{"type": "text", "text": goal}])
        options = {"account": SWARM, "model": lookup(model)} | more
        one = Agent(
            member,
            conversation,
            model=Model(Endpoint(model, emulator.url, "key", max_tokens=8_000), member.store.clock),
            calls=Calls(member, task, Notes(), Notes()),
            system=[{"type": "text", "text": "Be brief. " * 300}],
            tools=[NOTE],
            purse=AccountPurse(member, **options),
        )
        one.claim = member, task, fence
        return one

    return make


@pytest.fixture
def logged(store):
    return lambda kind: [
        json.loads(row["data"])
        for row in store.rows("select data from event where kind = :kind order by seq", kind=kind)
    ]


def calls(store):
    return store.rows("select * from model_call order by id")


def tokens_of(call):
    return call["input_tokens"] + call["cache_read_tokens"] + call["cache_write_tokens"] + call["output_tokens"]


def roles(one):
    return [message.role for message in one._conversation.messages]


def test_what_calls_cost_is_what_is_settled(agent, store, account):
    account(tokens=10_000_000, usd=50.0)
    agent("work for ever").run()
    found = calls(store)
    assert len(found) == 41
    now = account()
    assert now.tokens.settled == sum(map(tokens_of, found))
    assert now.usd.settled == pytest.approx(sum(call["usd"] for call in found), abs=1e-9)
    assert (now.tokens.reserved, now.usd.reserved) == (0, 0)


def test_at_four_fifths_the_model_is_told_once_and_the_cache_is_kept(agent, store, account, logged):
    account(tokens=200_000)
    one = agent("work until told")
    assert one.run() == "wrapped up after 1"
    assert roles(one).count("system") == 1
    assert len(logged("budget.told")) == len(logged("budget.warned")) == 1
    *_, before, last = calls(store)
    # All that the call before held is read again, and only what came since is written.
    assert last["cache_read_tokens"] == before["cache_read_tokens"] + before["cache_write_tokens"]
    spent = account().tokens.settled - tokens_of(last)
    assert 160_000 <= spent < 170_000


def test_whose_calls_are_large_is_told_before_too_few_are_left_of_them(agent, account, logged):
    account(tokens=40_000)
    one = agent("work until told")
    assert one.run() == "wrapped up after 1"
    assert logged("budget.warned") == []
    assert account().tokens.settled < 0.8 * 40_000


def test_the_message_says_what_is_left_and_what_to_do(purse, account):
    account(tokens=10_000, usd=1.0)
    one = purse()
    one.reserve(1_000, 5_000)
    with one._member.transaction() as tx:
        one.settle(tx, Usage(input=6_000, output=2_100))
    notice = one.notice(100)
    assert "the budget of the whole swarm has 1,900 tokens of 10,000 tokens. Bring" in notice.text
    assert "Bring your work to an end now" in notice.text


def test_a_successor_tells_nothing_twice_but_tells_of_a_raised_bound_that_comes_near(purse, account, member):
    def spend(one, tokens):
        one.reserve(0, tokens)
        with member.transaction() as tx:
            one.settle(tx, Usage(output=tokens))

    account(tokens=10_000)
    first = purse(model=None)
    spend(first, 8_000)
    with member.transaction() as tx:
        first.told(tx, first.notice(100))
    assert first.notice(100) is None
    assert purse().notice(100) is None
    account(tokens=20_000)
    assert purse().notice(100) is None
    spend(first, 8_000)
    assert purse().notice(100) is not None


def test_whose_tokens_are_at_an_end_need_not_hear_the_same_of_its_money(purse, account, member):
    account(tokens=10_000, usd=0.15)
    one = purse()
    assert one.notice(2_000) is None
    notice = one.notice(3_000)
    assert "$" not in notice.text
    with member.transaction() as tx:
        one.told(tx, notice)
    assert one.notice(20_000) is None
    assert purse().notice(20_000) is None


def test_at_the_bound_it_stops_resumable_and_goes_on_when_the_bound_is_raised(agent, store, account, logged):
    account(tokens=30_000)
    one = agent("work for ever")
    with pytest.raises(OutOfBudget, match="swarm's budget has") as stopped:
        one.run()
    assert stopped.value.kind == "account"
    assert account().tokens.settled <= 30_000
    assert account().tokens.reserved == 0
    assert one._conversation.last.role in ("user", "system")
    turns = len(calls(store))
    assert partial_result(one._conversation).startswith("done so far:")
    assert logged("budget.out")[0]["bound"] == 30_000
    account(tokens=10_000_000)
    assert agent("work for ever", again=one.claim).run() == "it is all done"
    assert len(calls(store)) > turns


def test_near_the_bound_answers_become_shorter_before_it_stops(purse, account):
    account(tokens=10_000)
    one = purse()
    assert one.reserve(3_000, 8_000) == 7_000
    one.hand_back()
    assert one.reserve(8_976, 8_000) == 1_024
    one.hand_back()
    with pytest.raises(OutOfBudget, match="10,001 tokens would be needed"):
        one.reserve(8_977, 8_000)
    assert one.reserve(9_900, 100) == 100


def test_money_shortens_answers_too(purse, account):
    cents = (1_000 * WRITE + 3_000 * OUT) / 1e9
    account(usd=cents)
    one = purse()
    assert one.reserve(1_000, 8_000) == 3_000
    assert account().usd.reserved == pytest.approx(cents)
    one.hand_back()
    with pytest.raises(OutOfBudget) as refused:
        one.reserve(10_000, 8_000)
    assert refused.value.unit == "usd"
    assert refused.value.asked == pytest.approx((10_000 * WRITE + 1_024 * OUT) / 1e9)


def test_short_answers_go_over_the_wire_near_the_bound(agent, store, account):
    account(tokens=8_000)
    with pytest.raises(OutOfBudget):
        agent("cut short after a long answer").run()
    first = calls(store)[0]
    assert first["stop_reason"] == "max_tokens"
    assert 1_024 <= first["output_tokens"] < 4_000
    assert account().tokens.settled <= 8_000


def test_a_model_without_prices_is_counted_in_tokens_and_says_so_once(agent, store, account, logged):
    account(tokens=10_000_000, usd=0.000_001)
    one = agent("work for ever", model="claude-opus-5-5", account=SWARM)
    one = Agent(
        one.claim[0], one._conversation, model=one._model, calls=one._calls, system=one._system, tools=one._tools,
        purse=AccountPurse(one.claim[0], account=SWARM, model=None),
    )  # fmt: skip
    assert one.run() == "it is all done"
    assert "no bound in money" in logged("budget.unknown_price")[0]["reason"]
    assert account().usd.settled == 0
    assert account().tokens.settled == sum(map(tokens_of, calls(store)))
    assert {call["usd"] for call in calls(store)} == {None}
    AccountPurse(one._member, account=SWARM).reserve(0, 100)
    assert len(logged("budget.unknown_price")) == 1


def test_prices_of_ones_own_are_what_counts(agent, store, account):
    account(usd=100.0)
    dear = replace(OPUS, prices=(Prices(40, 200, 50, 80, 2),))
    one = agent("think", model="claude-opus-5-5")
    agent("think", again=one.claim).run()
    cheap = account().usd.settled
    other = agent("think", model="claude-opus-5-5")
    other._purse.model = other._prices = dear
    other.run()
    assert account().usd.settled - cheap > 2 * cheap  # the second reads from the cache what the first wrote
    assert account().usd.settled == pytest.approx(sum(call["usd"] for call in calls(store)))


def test_an_agents_own_bound_holds_it_where_there_is_more_in_the_account(agent, store, account, logged):
    account(tokens=1_000_000)
    one = agent("work for ever", own=Budget(tokens=20_000))
    with pytest.raises(OutOfBudget, match="this agent's budget has") as stopped:
        one.run()
    assert stopped.value.kind == "agent"
    assert account().tokens.settled <= 20_000
    assert logged("budget.out")[0]["bound_of"] == "agent"
    assert roles(one).count("system") == 1
    # The same agent, started anew, has spent what it has spent.
    before = len(calls(store))
    with pytest.raises(OutOfBudget):
        agent("work for ever", again=one.claim, own=Budget(tokens=20_000)).run()
    assert len(calls(store)) == before


def test_an_agents_own_bound_begins_anew_where_a_person_lets_it_go_on_and_only_there(claimed, store, account):
    account(tokens=100_000)
    member, task, _ = claimed()

    def spent():
        return AccountPurse(member, account=SWARM, own=Budget(tokens=10_000))._spent["tokens"]

    def held_and_freed(bound_of, free):
        with store.transaction(None) as tx:
            held = tx.value("select fence from task where id = :task", task=task)
            tasks.hold_for_budget(tx, task, held, reason="spent", result=None, bound_of=bound_of)
            assert free(tx) == [task]
            tasks.claim(tx, task, member.me.agent)

    with member.transaction() as tx:
        tx.execute(
            "insert into model_call (task, agent, model, input_tokens, cache_read_tokens, cache_write_tokens,"
            " output_tokens, prefix_hash, stop_reason, started_at, first_byte_at, ended_at)"
            " values (:task, 1, '', 9000, 0, 0, 0, '', '', 0, 0, 0)", task=task,
        )  # fmt: skip
        tx.event("model.answered", object="")
        tx.event("budget.told", object="0", bounds=["agent 10000 tokens", "account 0 100000 tokens"])
    held_and_freed("account", lambda tx: tasks.free_held(tx, [SWARM]))  # others have given back what they had
    assert spent() == 9_000
    assert AccountPurse(member, account=SWARM)._told == {"agent 10000 tokens", "account 0 100000 tokens"}
    held_and_freed("agent", lambda tx: tasks.pause(tx, task, paused=False))
    assert spent() == 0
    assert AccountPurse(member, account=SWARM)._told == {"account 0 100000 tokens"}


def test_without_an_account_an_agents_own_bound_holds_alone(agent):
    one = agent("work for ever", account=None, own=Budget(usd=0.2))
    with pytest.raises(OutOfBudget, match=r"\$0\.2000"):
        one.run()
    assert one._purse._spent["nanousd"] <= 200_000_000


def test_whoever_finds_all_reserved_waits_for_the_others_and_parks_nobody(claimed, store, account, until):
    account(tokens=10_000)
    one, other = (AccountPurse(claimed()[0], account=SWARM, model=OPUS) for _ in range(2))
    assert one.reserve(1_000, 8_000) == 8_000
    found = []
    waiting = threading.Thread(target=lambda: found.append(other.reserve(1_000, 8_000)))
    waiting.start()
    until(lambda: store.row("select 1 from waiter where kind = 'budget' and state = 'waiting'"), "a wait")
    assert found == []
    with one._member.transaction() as tx:
        one.settle(tx, Usage(input=500, output=100))
    waiting.join(20)
    assert found == [8_000]


def test_an_endpoint_that_counts_more_than_there_can_be_passes_a_bound_once_and_never_again(purse, account, logged):
    account(tokens=10_000)
    one = purse()
    for _ in range(2):  # two hundred tokens more than the most that a call can have
        asked = one.reserve(1_000, 3_000)
        with one._member.transaction() as tx:
            one.settle(tx, Usage(input=1_200, output=asked))
    assert [told["tokens"] - told["reserved_tokens"] for told in logged("budget.overrun")] == [200]
    with pytest.raises(OutOfBudget):  # though 1,600 are left, of which 1,000 for a prompt would have been enough
        one.reserve(1_000, 3_000)
    assert account().tokens.settled == 8_400
    other = purse(model=lookup("claude-haiku-5-5"))
    assert other._surplus(other._member.store) == 0


def test_whoever_cannot_be_helped_by_others_is_not_kept_waiting(claimed, account):
    account(tokens=10_000)
    one, other = (AccountPurse(claimed()[0], account=SWARM, model=OPUS) for _ in range(2))
    one.reserve(1_000, 4_000)
    with pytest.raises(OutOfBudget):
        other.reserve(9_500, 8_000)
    assert other.reserve(3_000, 8_000) == 2_000


def test_a_call_that_died_is_not_paid(agent, account):
    account(tokens=1_000_000)
    one = agent("no script knows this")
    with pytest.raises(Exception, match="no script"):
        one.run()
    assert (account().tokens.settled, account().tokens.reserved) == (0, 0)


amounts = st.integers(0, 300_000)
at_any_speed = settings(suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


@at_any_speed
@given(model=st.sampled_from(all_models()), prompt=amounts, answer=amounts, parts=st.tuples(*[st.floats(0, 1)] * 3))
def test_no_call_costs_more_than_was_reserved_for_it(model, prompt, answer, parts):
    purse = AccountPurse.__new__(AccountPurse)
    purse.model = model
    most = purse._dearest("nanousd", prompt, answer)
    shorter, read, written = int(prompt * parts[0]), parts[1], parts[2]
    usage = Usage(
        cache_read=int(shorter * read), cache_write=int(shorter * (1 - read) * written), output=answer,
        input=shorter - int(shorter * read) - int(shorter * (1 - read) * written),
    )  # fmt: skip
    assert in_nanousd(model.cost_usd(usage)) <= most


@at_any_speed
@given(model=st.sampled_from(all_models()), prompt=amounts, left=st.integers(0, 10**10))
def test_the_longest_answer_is_the_longest_that_can_be_paid(model, prompt, left):
    purse = AccountPurse.__new__(AccountPurse)
    purse.model = model
    room = budgets._Room(SWARM, "nanousd", left, 0, 0, left, warned=False)
    longest = purse._longest(room, prompt, left)
    if longest >= 0:
        assert purse._dearest("nanousd", prompt, longest) <= left
    if longest < budget.LARGEST_TOKENS:
        assert purse._dearest("nanousd", prompt, max(0, longest + 1)) > left
