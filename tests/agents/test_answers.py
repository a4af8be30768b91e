"""What becomes of each kind of answer: the table of docs/conversations.md, over real HTTP through the real SDK."""

from pathlib import Path

import pytest

from prong.agents import answers
from prong.agents.answers import Stuck
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.loop import Refused

from . import at_work
from .at_work import Notes, turns

SCRIPTS = Path(__file__).with_name("turn_scripts.py")
DONE = [{"text": "done"}]
CITED = {"type": "text", "text": "as it is written", "citations": [
    {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None, "start_char_index": 0,
     "end_char_index": 1}]}  # fmt: skip
HIDDEN = {"type": "redacted_thinking", "data": "c2VjcmV0"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "prong"}}


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        yield emulator


@pytest.fixture
def plays(claimed, emulator):
    """Makes an agent whose model plays these turns."""

    def plays(*said, notes=None, **more):
        return at_work.told(claimed, emulator.url, turns(*said), notes=notes, **more)

    return plays


def kinds(message):
    return [block["type"] for block in message.content]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ({"blocks": [{"text": "half a sen"}], "stop": "max_tokens"}, "cut off at its token limit. Go on"),
        ({"blocks": [{"thinking": "hm"}], "stop": "max_tokens"}, "Think less"),
        ({"blocks": [{"text": "half"}], "odd_stop": "sun_set"}, "before its time (sun_set)"),
        ({"blocks": [], "stop": "max_tokens"}, "Think less"),
        ({"blocks": [], "stop": "end_turn"}, "without a word"),
        ({"blocks": [{"thinking": "all is done"}], "stop": "end_turn"}, "without a word"),
    ],
)
def test_an_answer_that_says_too_little_is_asked_on(claimed, emulator, store, cut, words):
    agent = at_work.told(claimed, emulator.url, turns(cut, DONE))
    if not cut["blocks"]:  # nothing of it can stand in the conversation, so the script cannot count it either
        agent.step()
        assert words in at_work.conversation(store)[-1].text()
        assert store.row("select count(*) as n from model_call")["n"] == 1
        return
    assert agent.run() == "done"
    assert words in at_work.conversation(store)[2].text()


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "model_context_window_exceeded", "odd"])
def test_no_tool_of_a_turn_that_did_not_end_well_is_run(plays, store, stop):
    notes = Notes()
    end = {"odd_stop": "sun_set"} if stop == "odd" else {"stop": stop}
    agent = plays({"blocks": [{"note": "never"}], **end}, DONE, notes=notes)
    if stop == "refusal":
        with pytest.raises(Refused):
            agent.run()
        assert len(at_work.conversation(store)) == 1
    else:
        assert agent.run() == "done"
    assert notes.noted == []


@pytest.mark.parametrize("stop", [None, "end_turn", "stop_sequence"])
def test_whole_turns_end_or_act(plays, stop):
    notes = Notes()
    assert plays({"blocks": [{"note": "x"}], "stop": stop}, {"blocks": DONE, "stop": stop}, notes=notes).run() == "done"
    assert notes.noted == ([] if stop == "stop_sequence" else ["x"])


def test_a_paused_turn_goes_back_as_it_is(plays, store):
    assert plays({"blocks": [{"text": "I search"}, {"raw": SEARCH}], "stop": "pause_turn"}, DONE).run() == "done"
    assert [message.role for message in at_work.conversation(store)] == ["user", "assistant", "assistant"]


@pytest.mark.parametrize(
    ("turn", "problem", "calls"),
    [
        ({"blocks": [{"text": "half"}], "stop": "max_tokens"}, "cut off .max_tokens", answers.MOST_CUT),
        ({"blocks": [{"note": "n"}], "stop": "max_tokens"}, "cut off .max_tokens", answers.MOST_CUT),
        ({"blocks": [{"text": "half"}], "odd_stop": "sun_set"}, "sun_set", answers.MOST_CUT),
        ({"blocks": [], "stop": "max_tokens"}, "cut off", answers.MOST_CUT),
        ({"blocks": []}, "without a word", answers.MOST_WORDLESS),
        ({"blocks": [{"thinking": "hm"}]}, "without a word", answers.MOST_WORDLESS),
        ({"blocks": [{"raw": SEARCH}], "stop": "pause_turn"}, "paused", answers.MOST_PAUSES + 1),
    ],
)
def test_nothing_goes_on_for_ever(plays, store, turn, problem, calls):
    with pytest.raises(Stuck, match=problem):
        plays(turn).run()
    assert store.row("select count(*) as n from model_call")["n"] == calls


def test_the_same_refused_call_over_and_over_is_given_up(plays):
    class Refuses(Notes):
        def note(self, call):
            super().note(call)
            raise OSError("no")

    notes = Refuses()
    with pytest.raises(Stuck, match=f"same call of note {answers.MOST_REPEATS} times"):
        plays([{"note": "again"}], notes=notes).run()
    assert len(notes.noted) == answers.MOST_REPEATS


def test_a_refusal_is_kept_beside_the_conversation_and_may_be_asked_again(plays, store):
    agent = plays({"blocks": [{"text": "I would rather not"}], "stop": "refusal"})
    for _ in range(2):
        with pytest.raises(Refused, match="rather not"):
            agent.run()
    assert len(at_work.conversation(store)) == 1
    rows = store.rows("select message.content from model_call join message on message.id = model_call.message")
    assert len(rows) == 2
    assert "rather not" in rows[0]["content"]


def test_all_blocks_are_kept_as_they_came(plays, store):
    thinking = {"thinking": "t" * 100}
    agent = plays([thinking, {"raw": HIDDEN}, {"raw": CITED}, {"note": "x"}], DONE)
    assert agent.run() == "done"
    first = at_work.conversation(store)[1]
    assert kinds(first) == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert first.content[0]["signature"].startswith("prong.")
    assert (first.content[1], first.content[2]) == (HIDDEN, CITED)


@pytest.mark.parametrize(
    "strange",
    [
        {"type": "hologram", "data": [1, {"deep": None}]},
        {"type": "thinking", "thinking": "spoiled", "signature": "nobody's"},
        {"type": "thinking", "thinking": "", "signature": ""},
    ],
)
def test_what_the_endpoint_does_not_take_back_costs_the_block_and_not_the_task(plays, store, strange):
    notes = Notes()
    assert plays([{"raw": strange}, {"text": "so"}, {"note": "x"}], DONE, notes=notes).run() == "done"
    assert notes.noted == ["x"]
    assert kinds(at_work.conversation(store)[1]) == ["text", "tool_use"]
    (repaired,) = at_work.events(store, "conversation.repaired")
    assert "messages.1" in repaired["problem"]
    said = store.rows("select content from message where role = 'assistant' order by id")
    assert strange["type"] in said[0]["content"], "what was said first is still there"
