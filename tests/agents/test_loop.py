"""The loop against the emulator, over real HTTP through the real SDK."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from prong.agents import fork_point
from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, load
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.loop import Agent, Refused
from prong.agents.model import Endpoint, Model
from prong.agents.model_faults import ModelUnavailable
from prong.agents.models import lookup
from prong.agents.purse import Ceiling, Notice, partial_result
from prong.agents.request import Request
from prong.agents.tools.tool import Tool
from prong.state import ProngError, TaskLost

SCRIPTS = Path(__file__).with_name("loop_scripts.py")
NOTE = {
    "name": "note",
    "description": "Notes a text.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        yield emulator


class Notes:
    def __init__(self):
        self.noted = []
        self.tools = {"note": Tool(NOTE, self.note)}

    def note(self, call):
        self.noted.append(call.input["text"])
        return "noted"

    def begin_turn(self, turn):
        pass

    def end_turn(self):
        pass


class Work:
    def working(self):
        return nullcontext()


class Wallet:
    """A purse that lets so many calls through, and keeps what it was told of each."""

    def __init__(self, model="claude-opus-5-5", *, answers=(1_000,) * 50, notices=()):
        self.model = lookup(model)
        self.answers, self.notices = list(answers), list(notices)
        self.reserved, self.settled, self.given_back, self.said = [], [], 0, []

    def notice(self, prompt_tokens):
        assert prompt_tokens > 0
        return self.notices[0] if self.notices else None

    def told(self, tx, notice):
        assert tx.member is not None
        self.said.append(self.notices.pop(0))
        assert notice is self.said[-1]

    def reserve(self, prompt_tokens, max_tokens, _lifetime):
        if not self.answers:
            raise Spent
        self.reserved.append((prompt_tokens, max_tokens))
        return self.answers.pop(0)

    def settle(self, tx, usage):
        tx.event("settled", tokens=usage.prompt + usage.output)
        self.settled.append(usage)

    def hand_back(self):
        self.given_back += 1


class Spent(ProngError):
    """Nothing is left."""


@pytest.fixture
def agent(claimed, emulator):
    """Makes an agent that was told one sentence."""

    def make(goal, *, url=None, model="claude-opus-5-5", notes=None, purse=None):
        member, task, fence = claimed(goal)
        conversation = Conversation(member, task, fence)
        conversation.say("user", [{"type": "text", "text": goal}])
        endpoint = Endpoint(model, url or emulator.url, "key", max_tokens=1_000)
        return Agent(
            member,
            conversation,
            model=Model(endpoint, member.store.clock),
            calls=Calls(member, task, notes or Notes(), Work()),
            system=[{"type": "text", "text": "Be brief."}],
            tools=[NOTE],
            purse=purse,
        )

    return make


def roles(store):
    return [message.role for message in load(store, store.row("select head from task")["head"])]


def test_an_answer_that_was_cut_off_goes_on(agent, store):
    assert agent("cut short").run() == "the rest"
    assert roles(store) == ["user", "assistant", "user", "assistant"]


def test_a_call_that_was_cut_off_is_not_run_and_the_model_is_told(agent):
    notes = Notes()
    assert "cut off" in agent("cut call", notes=notes).run()
    assert notes.noted == []


def test_a_refusal_ends_the_work_with_the_models_words(agent):
    with pytest.raises(Refused, match="I would rather not"):
        agent("refuse").run()


def test_thinking_goes_back_as_it_came(agent, store):
    notes = Notes()
    assert agent("think", notes=notes).run() == "thought it through"
    assert notes.noted == ["0", "1", "2"]
    calls = store.rows("select cache_read_tokens, cache_write_tokens from model_call order by id")
    assert len(calls) == 4


def test_a_model_that_is_not_there_is_named_at_once(agent):
    with pytest.raises(ModelUnavailable, match=r"at once.*no-such-model"):
        agent("think", model="no-such-model").run()


def test_passing_faults_cost_waiting_and_are_told(agent, store):
    faults = {"429": 0.2, "529": 0.1, "truncate": 0.2, "malformed": 0.1, "disconnect": 0.1, "error_event": 0.1}
    options = EmulatorOptions(faults=faults, retry_after_s=0.01, seed=5)
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as faulty:
        assert agent("think", url=faulty.url).run() == "thought it through"
        failed = [entry for entry in faulty.journal() if entry["status"] != 200 or entry.get("fault")]
    waits = store.row("select count(*) as n from event where kind = 'model.waits'")["n"]
    assert waits >= 1
    assert waits >= len(failed) - 1
    assert roles(store) == ["user", *["assistant", "user"] * 3, "assistant"]


def test_every_call_is_reserved_and_settled_with_its_answer(agent, store):
    wallet = Wallet()
    assert agent("think", purse=wallet).run() == "thought it through"
    assert len(wallet.reserved) == len(wallet.settled) == 4
    assert wallet.given_back == 0
    assert {most for _, most in wallet.reserved} == {1_000}
    # An answer and what it cost stand in one transaction: nothing is logged in between.
    kinds = [row["kind"] for row in store.rows("select kind from event order by seq")]
    assert [kinds[place + 1] for place, kind in enumerate(kinds) if kind == "settled"] == ["model.answered"] * 4


@pytest.mark.parametrize(("goal", "slack"), [("think", 5_000), ("work for ever", 5_000), ("cut call", 25_000)])
def test_no_prompt_is_longer_than_was_reserved_for_it(agent, goal, slack):
    wallet = Wallet(answers=[8_000] * 50)
    agent(goal, purse=wallet).run()
    assert len(wallet.settled) > 1
    for (prompt, _), usage in zip(wallet.reserved, wallet.settled, strict=True):
        assert usage.prompt <= prompt < usage.prompt + slack


def test_a_restarted_agent_and_its_successor_know_how_long_the_prompt_is(agent, store):
    wallet = Wallet(answers=[1_000] * 20)
    first = agent("work for ever", purse=wallet)
    with pytest.raises(Spent):
        first.run()
    conversation = first._conversation
    again = Conversation(first._member, conversation.task, conversation.fence)
    request = _request(first, again)
    known = Ceiling(store, again, "claude-opus-5-5", first._prefix_hash).of(request)
    assert known == first._ceiling.of(_request(first, conversation))
    another = Ceiling(store, again, "claude-sonnet-5-5", first._prefix_hash).of(request)
    assert known < another / 2


def _request(agent, conversation):
    return Request(agent._system, agent._tools, conversation.messages)


def test_what_others_began_with_is_known_to_who_begins_afresh(agent, claimed, store):
    first = agent("think", purse=Wallet())
    first._tools = [{**NOTE, "description": "word " * 4_000}]
    first._prefix_hash = first._hash_of_prefix()
    ceilings = []
    for turns in range(2):
        member, task, fence = claimed(f"another {turns}")
        fresh = Conversation(member, task, fence)
        fresh.say("user", [{"type": "text", "text": "think as well"}])
        ceilings.append(Ceiling(store, fresh, "claude-opus-5-5", first._prefix_hash).of(_request(first, fresh)))
        if turns == 0:
            first.run()
    before, after = ceilings
    assert before > 20_000
    assert after < 10_000


def test_a_call_that_is_refused_hands_back_what_it_had_reserved(agent):
    wallet = Wallet()
    with pytest.raises(ModelUnavailable):
        agent("think", model="no-such-model", purse=wallet).run()
    assert (len(wallet.reserved), len(wallet.settled), wallet.given_back) == (1, 0, 1)


def test_an_answer_is_as_short_as_the_purse_wants_it(agent, store):
    wallet = Wallet(answers=[100, 1_000])
    assert agent("cut short", purse=wallet).run() == "the rest"
    assert wallet.settled[0].output == 100
    assert store.row("select stop_reason from model_call order by id")["stop_reason"] == "max_tokens"


def test_an_answer_whose_task_was_taken_away_meanwhile_is_paid_all_the_same(agent, store):
    class Thief(Wallet):
        def reserve(self, prompt_tokens, max_tokens, _lifetime):
            with store.transaction(None) as tx:
                tx.execute("update task set fence = fence + 1")
            return super().reserve(prompt_tokens, max_tokens, _lifetime)

    wallet = Thief()
    with pytest.raises(TaskLost):
        agent("think", purse=wallet).run()
    assert len(wallet.settled) == 1
    call = store.row("select message, output_tokens from model_call")
    assert (call["message"], call["output_tokens"]) == (None, wallet.settled[0].output)


def test_whoever_has_nothing_left_stops_with_a_whole_conversation_and_goes_on_later(agent, store):
    wallet = Wallet(answers=[1_000, 1_000])
    one = agent("work for ever", purse=wallet)
    with pytest.raises(Spent):
        one.run()
    assert roles(store) == ["user", "assistant", "user", "assistant", "user"]
    assert partial_result(one._conversation) == "done so far: 1"
    wallet.answers = [1_000] * 50
    assert one.run() == "it is all done"


def test_what_was_said_before_the_fork_is_no_result_of_the_fork(agent):
    one = agent("work for ever", purse=Wallet(answers=[1_000]))
    assert partial_result(one._conversation) is None
    with pytest.raises(Spent):
        one.run()
    assert partial_result(one._conversation) == "done so far: 0"
    one._conversation.fork_point = one._conversation.messages[1].id
    assert partial_result(one._conversation) is None


@pytest.mark.parametrize(("model", "role"), [("claude-opus-5-5", "system"), ("claude-sonnet-5", "user")])
def test_the_model_is_told_by_the_operator_or_where_it_knows_none_by_the_user(agent, store, model, role):
    wallet = Wallet(model, notices=[Notice(["a"], "your budget is nearly spent")])
    assert agent("work until told", model=model, purse=wallet).run() == "wrapped up after 1"
    assert roles(store) == ["user", role, "assistant"]
    assert len(wallet.said) == 1


def test_a_parent_that_was_told_of_its_budget_still_marks_its_fork_point(agent, store):
    one = agent("work for ever", purse=Wallet(answers=[1_000]))
    with pytest.raises(Spent):
        one.run()
    turn = one._conversation.last.id - 1
    with store.transaction(None) as tx:
        fork_point.declare(tx, turn, "hash")
    one._purse.notices, one._purse.answers = [Notice(["a"], "your budget is nearly spent")], [1_000]
    one.step()
    assert roles(store)[-3:] == ["user", "system", "assistant"]
    assert store.row("select state from fork_point")["state"] == "warm"
