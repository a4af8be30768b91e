"""Death at any instant: another process goes on, and what is sent begins with the very bytes that were sent before."""

import json
import multiprocessing
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess

from . import at_work

SCRIPTS = Path(__file__).with_name("turn_scripts.py")
CITED = {"type": "text", "text": "as it is written", "citations": [
    {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None, "start_char_index": 0,
     "end_char_index": 1}]}  # fmt: skip
TURNS = (
    [
        {"thinking": "a thought"},
        {"raw": {"type": "redacted_thinking", "data": "c2VjcmV0"}},
        {"note": "héllo \N{SNOWMAN}"},
    ],
    [{"raw": CITED}, {"note": "1.0"}, {"note": "two"}],
    {"blocks": [{"text": "half a sen"}], "stop": "max_tokens"},
    [{"thinking": "done"}, {"text": "it is done"}],
)
RANDOM_KILLS = int(os.environ.get("PRONG_RANDOM_KILLS", "6"))


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(keep_bodies=True)) as emulator:
        yield emulator


def test_a_conversation_survives_death_at_every_commit(claimed, emulator, store):
    """Goal: no commit leaves what cannot go on.  Method: each process dies before its n-th one, for n = 1, 2, …"""
    agent = at_work.told(claimed, emulator.url, at_work.turns(*TURNS, name="commit"))
    deaths = _until_done(agent, store, lambda life: ("commit", 1 + life % 9), emulator)
    assert deaths >= 4
    _check(emulator, store)


def test_a_conversation_survives_death_at_any_time(claimed, emulator, store):
    """Goal: the same between commits.  Method: kill after a random time, until all is done."""
    chance = random.Random(7)
    agent = at_work.told(claimed, emulator.url, at_work.turns(*TURNS, name="time"))
    _until_done(agent, store, lambda life: ("time", chance.uniform(0, 0.15)) if life < RANDOM_KILLS else None, emulator)
    _check(emulator, store)


def _until_done(agent, store, death, emulator):
    claim = (agent._member, agent._conversation.task, agent._conversation.fence)
    agent._model.close()
    store.close()  # before the fork: a connection belongs to one process
    context = multiprocessing.get_context("fork")
    for life in range(60):
        process = context.Process(target=_live, args=(claim, emulator.url, death(life)))
        process.start()
        process.join()
        if process.exitcode == 0:
            return life
        assert process.exitcode == -signal.SIGKILL
    raise AssertionError("it never came to an end")


def _live(claim, url, death):
    store = claim[0].store
    if death is not None and death[0] == "time":
        threading.Timer(death[1], os.kill, (os.getpid(), signal.SIGKILL)).start()
    elif death is not None:
        left, begin = [death[1]], store.transaction

        def counted(*args, **more):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return begin(*args, **more)

        store.transaction = counted
    at_work.agent_on(claim, url).run()
    os._exit(0)


def _check(emulator, store):
    """All that was ever sent of this conversation is a beginning of how it ends, byte for byte."""
    line = [message.wire() for message in at_work.conversation(store)]
    final = _bytes(line)
    first = line[0]
    sent = [
        one["body"]["messages"]
        for one in emulator.journal(bodies=True)
        if one["path"] == "/v1/messages" and one["body"]
    ]
    sent = [_without_marks(messages) for messages in sent]
    ours = [messages for messages in sent if messages[0] == first]
    assert len(ours) >= len(TURNS)
    for messages in ours:
        assert final.startswith(_bytes(messages)[:-1])
    assert line[-1]["content"][-1]["text"] == "it is done"
    assert line[3]["content"][0]["citations"] == CITED["citations"]


def _bytes(messages):
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode()


def _without_marks(value):
    if isinstance(value, dict):
        return {key: _without_marks(one) for key, one in value.items() if key != "cache_control"}
    return [_without_marks(one) for one in value] if isinstance(value, list) else value
