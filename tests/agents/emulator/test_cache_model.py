"""The cache against a slow and obvious reference.

Goal: whatever prompts come, with whatever breakpoints, begun and answered in whatever order and at whatever times, the
cache bills what the published rules say.  Method: hypothesis makes up a run; the reference keeps every entry as the
plain list of blocks that it stands for and tries all of them for every breakpoint.
"""

import itertools
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from prong.agents.emulator.cache import PromptCache
from prong.agents.emulator.prompt import render
from prong.agents.models import Usage

SECONDS = {"5m": 300, "1h": 3600}
# A few kinds of blocks, so that prompts share prefixes and runs of tool blocks are common.
BLOCKS = [
    {"type": "text", "text": "short"},
    {"type": "text", "text": "a longer text that counts for more tokens than the others do"},
    {"type": "tool_use", "id": "t", "name": "look", "input": {}},
    {"type": "tool_result", "tool_use_id": "t", "content": "seen"},
]


@dataclass
class Entry:
    blocks: list
    expires_at: float
    lifetime_s: float


class Reference:
    def __init__(self, minimum):
        self.entries = []
        self.minimum = minimum

    def account(self, blocks, marks, tokens, now):
        found = {}
        for mark in marks:
            ends = [
                len(entry.blocks)
                for entry in self.entries
                if now < entry.expires_at
                and entry.blocks == blocks[: len(entry.blocks)]
                and len(entry.blocks) - 1 in within_reach(blocks, mark)
            ]
            if ends:
                found[mark] = max(ends)
        for end in found.values():
            for entry in self.entries:
                if entry.blocks == blocks[:end] and now < entry.expires_at:
                    entry.expires_at = max(entry.expires_at, now + entry.lifetime_s)
        read_to = max(found.values(), default=0)
        read = sum(tokens[:read_to])
        written, by_ttl, paid = [], {"5m": 0, "1h": 0}, read
        for mark, ttl in marks.items():
            length = sum(tokens[: mark + 1])
            if mark + 1 > read_to and length >= self.minimum:
                by_ttl[ttl] += length - paid
                paid = length
                written.append((blocks[: mark + 1], SECONDS[ttl]))
        return Usage(sum(tokens) - paid, read, sum(by_ttl.values()), 0, by_ttl["1h"]), (written, now)

    def publish(self, writes, now):
        written, started = writes
        for blocks, lifetime_s in written:
            same = [entry for entry in self.entries if entry.blocks == blocks and entry.expires_at > now]
            if same:
                same[0].expires_at = max(same[0].expires_at, started + lifetime_s)
                same[0].lifetime_s = max(same[0].lifetime_s, lifetime_s)
            else:
                self.entries.append(Entry(blocks, started + lifetime_s, lifetime_s))


def within_reach(blocks, mark):
    """The 20 positions that end with the breakpoint; a run of calls or of results is one position."""
    runs = []
    for index, block in enumerate(blocks[: mark + 1]):
        is_same_run = index and block["type"] != "text" and block["type"] == blocks[index - 1]["type"]
        if is_same_run:
            runs[-1].append(index)
        else:
            runs.append([index])
    return list(itertools.chain.from_iterable(runs[-20:]))


@st.composite
def bases(draw):
    """A long row of blocks, with runs of one kind in it."""
    runs = st.tuples(st.sampled_from(BLOCKS), st.sampled_from([1, 1, 1, 2, 19, 20, 21]))
    return [block for block, count in draw(st.lists(runs, min_size=4, max_size=12)) for _ in range(count)]


@st.composite
def prompts(draw, base, anchor):
    """A beginning of the base with up to four breakpoints, mostly one on its last block; that block may differ.

    Most beginnings end at the anchor or about 20 positions behind it, where the lookback ends.
    """
    length = draw(
        st.one_of(st.integers(1, len(base)), st.sampled_from([0, 0, 1, 18, 19, 20, 21, 40]).map(anchor.__add__))
    )
    blocks = base[:length]
    if draw(st.sampled_from([False, False, True])):
        blocks = [*blocks[:-1], draw(st.sampled_from(BLOCKS))]
    last = len(blocks) - 1
    place = st.one_of(st.just(last), st.just(min(anchor, len(blocks)) - 1), st.integers(0, last))
    places = sorted(draw(st.sets(place, min_size=1, max_size=4)))
    long_lived = draw(st.integers(0, len(places)))
    return blocks, {place: "1h" if count < long_lived else "5m" for count, place in enumerate(places)}


@st.composite
def runs(draw):
    """Some prompts over one base, a minimum that some breakpoint just reaches, and what happens in what order."""
    base = draw(bases())
    some = draw(st.lists(prompts(base, draw(st.integers(1, len(base)))), min_size=1, max_size=4))
    positions = render(request(base, {})).positions
    reached = {positions[mark].tokens for _, marks in some for mark in marks}
    return some, draw(st.sampled_from([0, *sorted(reached)])), draw(STEPS)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3)),
        st.tuples(st.just("start"), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 150, 299, 300, 3599, 3600])),
    ),
    min_size=2,
    max_size=20,
)


def request(blocks, marks):
    content = [
        {**block, "cache_control": {"type": "ephemeral", "ttl": marks[index]}} if index in marks else block
        for index, block in enumerate(blocks)
    ]
    return {"model": "prong-emulator", "messages": [{"role": "user", "content": content}]}


@settings(max_examples=200, deadline=None)
@given(run=runs())
def test_the_cache_bills_what_the_rules_say(run):
    some, minimum, steps = run
    cache, reference, now, begun = PromptCache(), Reference(minimum), 1000.0, []
    for step, value in steps:
        if step == "wait":
            now += value
        if step in ("start", "ask"):
            blocks, marks = some[value % len(some)]
            prompt = render(request(blocks, marks))
            ends = [0, *(position.tokens for position in prompt.positions)]
            tokens = [end - start for start, end in itertools.pairwise(ends)]
            expected, writes = reference.account(blocks, marks, tokens, now)
            accounting = cache.account(prompt, min_tokens=minimum, now=now)
            assert accounting.usage == expected
            assert accounting.usage.prompt == prompt.tokens
            begun.append((accounting, writes))
        if step in ("answer", "ask") and begun:
            accounting, writes = begun.pop(-1 if step == "ask" else value % len(begun))
            cache.publish(accounting, now=now)
            reference.publish(writes, now)


@given(blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=30), cut=st.integers(1, 30))
def test_a_prefix_has_the_keys_and_tokens_that_it_has_in_the_whole(blocks, cut):
    whole, prefix = (render(request(part, {})).positions for part in (blocks, blocks[:cut]))
    assert prefix == whole[: len(prefix)]


BLOCK_ROWS = st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6)


@given(left=BLOCK_ROWS, right=BLOCK_ROWS)
def test_two_prompts_share_keys_exactly_as_far_as_they_share_blocks(left, right):
    same_blocks = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
    left, right = (render(request(blocks, {})).positions for blocks in (left, right))
    same_keys = [a.key == b.key for a, b in zip(left, right, strict=False)]
    assert same_keys == [place < len(same_blocks) for place in range(len(same_keys))]


def ask(cache, text_blocks, marks, now, minimum=0):
    content = [{"type": "text", "text": text} for text in text_blocks]
    accounting = cache.account(render(request(content, dict.fromkeys(marks, "5m"))), min_tokens=minimum, now=now)
    cache.publish(accounting, now=now)
    return accounting.usage


def test_a_prefix_of_exactly_the_minimum_is_cached():
    length = ask(PromptCache(), ["common"], [0], now=0).cache_write
    assert ask(PromptCache(), ["common"], [0], now=0, minimum=length).cache_write == length
    assert ask(PromptCache(), ["common"], [0], now=0, minimum=length + 1).cache_write == 0


def test_every_breakpoint_keeps_alive_what_it_finds():
    cache = PromptCache()
    ask(cache, ["common", "own"], [0, 1], now=0)
    ask(cache, ["common", "own"], [0, 1], now=200)
    assert ask(cache, ["common", "other"], [0], now=400).cache_read > 0


def test_a_long_read_does_not_keep_alive_what_no_breakpoint_found():
    cache = PromptCache()
    ask(cache, ["common", "own"], [0, 1], now=0)
    ask(cache, ["common", "own"], [1], now=200)
    assert ask(cache, ["common", "other"], [0], now=400).cache_read == 0
