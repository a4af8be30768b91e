"""A conversation that fills its model's window goes on from a new root; the old one stays, and so do its forks."""

import multiprocessing
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from prong.agents import fork_point
from prong.agents.answers import Stuck
from prong.agents.conversation import Conversation, child_results, insert, load
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.model_faults import ModelUnavailable

from . import at_work

SCRIPTS = Path(__file__).with_name("turn_scripts.py")
COMPACTS, SUMS_UP = "claude-opus-5-5", "claude-opus-5"
"""The emulator compacts for the one; the other is asked for a summary."""

SHORT = 0.0025
"""Of a million tokens."""


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(keep_bodies=True)) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def small():
    """An emulator whose models have a window of 3,000 tokens, of which nobody knows."""
    with EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(window_tokens=3_000)) as emulator:
        yield emulator


@pytest.mark.parametrize(("model", "method"), [(COMPACTS, "server"), (SUMS_UP, "summary")])
def test_a_long_conversation_is_made_short_and_the_work_goes_on(claimed, emulator, store, model, method):
    notes = at_work.Notes()
    agent = at_work.told(claimed, emulator.url, "grow 25", model=model, notes=notes, compact_at=SHORT)
    assert agent.run() == "grown: 25"
    assert [text.split()[0] for text in notes.noted] == [str(n) for n in range(25)], "nothing twice, nothing left out"
    compacted = at_work.events(store, "conversation.compacted")
    assert len(compacted) >= 2
    for one in compacted:
        assert one["method"] == method
        assert 1_000 > one["after_tokens"] > 0
        assert one["before_tokens"] > 2_500
        assert len(load(store, one["old"])) > 4, "the old conversation is there as it was"
    line = at_work.conversation(store)
    assert len(line) < 20
    texts = [block["text"] for message in line[:2] for block in message.content if block["type"] == "text"]
    assert texts.count("grow 25") == 1, "the task in its own words, once"
    roots = store.rows("select id, sums from message where sums is not null order by id")
    assert [row["sums"] for row in roots] == [one["old"] for one in compacted]
    calls = store.row("select count(*) as n from model_call")["n"]
    assert calls == 26 + len(compacted), "every summary is accounted for"


def test_nothing_that_was_said_is_ever_changed_but_by_the_declared_cut(claimed, emulator):
    before = emulator.health()["requests"]
    at_work.told(claimed, emulator.url, "grow 20", model=SUMS_UP, compact_at=SHORT).run()
    sent = [one for one in emulator.journal(bodies=True, after=before) if one["path"] == "/v1/messages"]
    assert {one["status"] for one in sent} == {200}
    lines = [without_marks(one["body"]["messages"]) for one in sent]
    cuts = [place for place, (one, other) in enumerate(pairwise(lines)) if other[: len(one)] != one]
    for place in cuts:
        assert "nearly filled" in lines[place][-1]["content"][-1]["text"], "only behind a summary"
        assert len(lines[place + 1]) == 1
    assert len(cuts) >= 1


def without_marks(value):
    if isinstance(value, dict):
        return {key: without_marks(one) for key, one in value.items() if key != "cache_control"}
    return [without_marks(one) for one in value] if isinstance(value, list) else value


def test_a_summary_that_fails_costs_words_and_not_the_task(claimed, emulator, store):
    agent = at_work.told(claimed, emulator.url, "grow 12 though the summary fails", model=SUMS_UP, compact_at=SHORT)
    for _ in range(40):
        if agent.step() is not None or at_work.events(store, "conversation.compacted"):
            break
    (one,) = at_work.events(store, "conversation.compacted")
    assert one["method"] == "last words"
    (root,) = at_work.conversation(store)
    assert "calls note with" in root.text()
    assert "grow 12 though" in root.text()


def test_a_window_that_nobody_knows_is_heeded_when_it_is_full(claimed, small, store):
    agent = at_work.told(claimed, small.url, "grow 25", model=SUMS_UP)
    assert agent.run() == "grown: 25"
    reasons = {one["reason"] for one in at_work.events(store, "conversation.compacted")}
    assert reasons <= {"it does not fit the window", "the window is full"}
    assert reasons


def test_a_task_that_fits_no_window_ends_with_a_word_of_it(claimed, small):
    with pytest.raises(Stuck, match="does not fit its window"):
        at_work.told(claimed, small.url, "grow 1 " + "word " * 4_000, model=SUMS_UP).run()


def test_a_fork_keeps_its_own_task_and_its_parent_its_conversation(claimed, emulator, store):
    parent = at_work.told(claimed, emulator.url, "grow 30", model=SUMS_UP)
    while len(parent._conversation.messages) < 4:
        parent.step()
    turn = next(one for one in reversed(parent._conversation.messages[:-1]) if one.role == "assistant")
    before = load(store, parent._conversation.last.id)
    member, task, fence = claimed("the fork")
    call = turn.tool_uses()[0]["id"]
    with store.transaction(None) as tx:
        fork_point.declare(tx, turn.id, "hash")
        head = insert(
            tx, parent=turn.id, role="user", content=child_results(turn, call, "You are task 2: grow."), task=task
        )
        tx.execute(
            "update task set head = :head, fork_point = :point where id = :task", head=head, point=turn.id, task=task
        )
    child = at_work.agent_on((member, task, fence), emulator.url, model=SUMS_UP, compact_at=SHORT)
    while not at_work.events(store, "conversation.compacted"):
        assert child.step() is None
    root = child._conversation.messages[0].text()
    assert root.index("grow 30") < root.index("You are task 2: grow.") < root.index("noted=")
    assert load(store, before[-1].id) == before
    assert Conversation(member, task, fence).messages == child._conversation.messages


def test_what_dies_while_it_is_made_short_is_made_short_once(claimed, emulator, store):
    """Goal: no death in the middle leaves half a cut.  Method: the process kills itself at each call of the model."""
    agent = at_work.told(claimed, emulator.url, "grow 12", model=SUMS_UP, compact_at=SHORT)
    claim = (agent._member, agent._conversation.task, agent._conversation.fence)
    store.close()
    context = multiprocessing.get_context("fork")
    for _ in range(40):
        process = context.Process(target=_two_answers_and_death, args=(claim, emulator.url))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert at_work.conversation(store)[-1].text() == "grown: 12"
    compacted = at_work.events(store, "conversation.compacted")
    assert len(compacted) == len(store.rows("select 1 from message where sums is not null")) >= 1


def _two_answers_and_death(claim, url):
    agent = at_work.agent_on(claim, url, model=SUMS_UP, compact_at=SHORT)
    asked = []
    ask = agent._model._ask_once

    def dies(*args):
        answer = ask(*args)
        asked.append(answer)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # the answer has come and is not written down
        return answer

    agent._model._ask_once = dies
    agent.run()
    os._exit(0)


def test_an_endpoint_that_is_gone_changes_nothing(claimed, emulator, store):
    agent = at_work.told(claimed, emulator.url, "grow 12", model=SUMS_UP, key="good", compact_at=SHORT)
    while agent._ceiling.about(agent._request()) < SHORT * 1_000_000 or agent._conversation.last.role == "assistant":
        agent.step()
    before = at_work.conversation(store)
    with EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(keys=["another"])) as closed:
        again = at_work.agent_on(
            (agent._member, 1, agent._conversation.fence), closed.url, model=SUMS_UP, compact_at=SHORT
        )
        with pytest.raises(ModelUnavailable, match="401"):
            again.step()
    assert at_work.conversation(store) == before
