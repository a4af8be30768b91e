"""Damaged streams: whatever comes over the wire, the conversation stays one that the API takes, and the task ends.

PRONG_DAMAGED_STREAMS says how many streams are damaged.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anthropic
import httpx2
import pytest

from prong.agents import stream as streams
from prong.agents.answers import Stuck
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.emulator.stream import damaged
from prong.agents.loop import Refused
from prong.agents.model_faults import ModelUnavailable

from . import at_work

SCRIPTS = Path(__file__).with_name("turn_scripts.py")
AT_ONCE = 16
STREAMS = int(os.environ.get("PRONG_DAMAGED_STREAMS", "60"))
TURNS = (
    [{"thinking": "a thought " * 10}, {"text": "so it is " * 5}, {"note": "first " * 10}],
    [{"text": "both at once"}, {"note": "second"}, {"note": "third"}],
    {"blocks": [{"thinking": "cut off " * 20}, {"note": "never " * 900}]},
    [{"thinking": "enough"}, {"text": "it is done"}],
)


@pytest.fixture(scope="module")
def emulator():
    options = EmulatorOptions(journal_entries=1_000_000)
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as emulator:
        yield emulator


def test_no_damage_spoils_a_conversation(claimed, emulator, store):
    """Goal: every task ends, every conversation goes on.  Method: the first stream of each turn is damaged."""
    outcomes = Counter()

    def one(seed):
        notes = at_work.Notes()
        agent = at_work.told(claimed, emulator.url, at_work.turns(*TURNS, seed=seed), notes=notes)
        try:
            agent.run()
            outcome = "done"
        except (Stuck, Refused, ModelUnavailable) as error:
            outcome = f"{type(error).__name__}: {error}"
        assert "never" not in str(notes.noted), f"half a call was run: seed {seed}"
        with suppress(Stuck):
            _goes_on(agent)
        agent._model.close()
        store.close()
        return seed, outcome

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for seed, outcome in threads.map(one, range(1, STREAMS // len(TURNS) + 1)):
            outcomes[outcome.partition(":")[0]] += 1
            if outcome != "done":
                print(seed, outcome)  # noqa: T201  the figures of a campaign
    spoiled = sum(entry["fault"] == "damage" for entry in emulator.journal())
    waits = len(at_work.events(store, "model.waits"))
    repaired = len(at_work.events(store, "conversation.repaired"))
    print(f"{spoiled} damaged streams, {waits} asked again, {repaired} repaired: {dict(outcomes)}")  # noqa: T201  as above
    assert spoiled >= STREAMS - len(TURNS)
    assert set(outcomes) <= {"done", "Stuck"}, outcomes
    assert outcomes["Stuck"] <= max(1, outcomes.total() / 100), "as few as lose all that was said, twice in a row"


def _goes_on(agent):
    """What is stored is taken as it stands, or mended at once: the next request is checked as strictly as any."""
    if agent._conversation.last.role == "assistant":
        agent._conversation.say("user", [{"type": "text", "text": "and now?"}])
    for _ in range(3):
        if agent._conversation.last.role == "user":
            agent.step()
    assert agent._conversation.last.role == "assistant", "it was answered"


def test_an_undamaged_stream_is_read_to_the_byte_and_a_damaged_one_whole_or_not_at_all():
    """In this process, without HTTP, so that there are many."""
    whole = list(_assemble(STREAM).content)
    assert [block["type"] for block in whole] == ["thinking", "text", "tool_use"]
    assert whole[2]["input"] == {"text": 0}
    read = Counter()
    for seed in range(int(os.environ.get("PRONG_DAMAGED_STREAMS", "3000"))):
        pieces, _ = damaged(STREAM, seed)
        try:
            assembly = _assemble(b"".join(pieces))
        except (streams.DamagedStream, streams.ErrorEvent, UnicodeDecodeError):
            read["refused"] += 1
            continue
        read["whole"] += 1
        assert assembly.stop_reason
        assert all(isinstance(block["input"], dict) for block in assembly.content if block["type"] == "tool_use")
    print(dict(read))  # noqa: T201  as above
    assert read["refused"] > read["whole"] > 0


def test_a_stream_that_is_cut_anywhere_gives_no_call_that_is_not_whole():
    """Goal: nothing of a call whose input was cut is run.  Method: the stream ends behind every third byte."""
    said = STREAM.index(b"message_stop") - len("event: ")
    for end in range(0, len(STREAM), 3):
        try:
            found = _assemble(STREAM[:end])
        except (streams.DamagedStream, ValueError):
            assert end < said
            continue
        assert found.content[2]["input"] == {"text": 0}
        assert end >= STREAM.index(b"message_delta")


def _assemble(data):
    assembly = streams.Assembly()
    for event in anthropic.Stream.raw_events(httpx2.Response(200, content=data)):
        assembly.take(event)
    assembly.finish()
    return assembly


STREAM = "".join(
    f"event: {event.split(chr(34))[3]}\ndata: {event}\n\n"
    for event in (
        '{"type":"message_start","message":{"role":"assistant","content":[],"usage":{"input_tokens":7}}}',
        '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}',
        '{"type":"content_block_stop","index":0}',
        '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I "}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"note"}}',
        '{"type":"content_block_stop","index":1}',
        (
            '{"type":"content_block_start","index":2,"content_block":'
            '{"type":"tool_use","id":"toolu_1","name":"note","input":{}}}'
        ),
        '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\\"text\\": "}}',
        '{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"0}"}}',
        '{"type":"content_block_stop","index":2}',
        '{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}',
        '{"type":"message_stop"}',
    )
).encode()
