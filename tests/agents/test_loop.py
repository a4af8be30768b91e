"""The loop against the emulator, over real HTTP through the real SDK."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, load
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.loop import Agent, Refused
from prong.agents.model import Endpoint, Model, ModelUnavailable
from prong.agents.tools.tool import Tool

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


@pytest.fixture
def agent(claimed, emulator):
    """Makes an agent that was told one sentence."""

    def make(goal, *, url=None, model="claude-opus-5-5", notes=None):
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
