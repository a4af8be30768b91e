"""Children that work in simulated time, on the very prompt cache that the emulator has: what they really cost.

The planner prices a fan-out by formulas, from what it expects; here every request is laid before the cache as a row of
positions, calls of all children overlap in time, entries expire, and each child works more or less than is expected.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from prong.agents.economics import INSTRUCTION_TOKENS, SIBLING_TOKENS, Context, Setting
from prong.agents.emulator.cache import PromptCache
from prong.agents.emulator.prompt import Position, Prompt
from prong.agents.models import Model, Usage

FIRST_BYTE_S = 0.5
"""How long after a request its first byte comes, in seconds."""


@dataclass
class _Line:
    """One conversation: its positions, where breakpoints stand, and what it still has to do, call by call."""

    model: Model
    positions: list[Position]
    marks: set[int]
    calls: Iterator[tuple[int, int]]  # tokens of the answer, tokens of the results that follow
    usages: list[Usage] = field(default_factory=list)

    def add(self, key: bytes, tokens: int) -> None:
        """One more block."""
        before = self.positions[-1] if self.positions else Position(b"", 0)
        self.positions.append(Position(before.key + key, before.tokens + tokens))

    def prompt(self) -> Prompt:
        """The request as it is now, with its breakpoints: those of its beginning, and one at its end."""
        last = len(self.positions) - 1
        return Prompt([
            Position(one.key, one.tokens, None, "5m" if place in self.marks or place == last else None)
            for place, one in enumerate(self.positions)
        ])  # fmt: skip


def cost(setting: Setting, context: Context, chance: random.Random) -> float:
    """What all children cost together, in dollars, as if every conversation fitted its model's window."""
    assert setting.model is not None, "a simulated fan-out has a known model"
    caches: dict[str, PromptCache] = {}
    parents = _parent(setting)
    _ask(parents, caches, at=-60.0)  # its last request before the turn
    parents.add(b"turn", max(1, setting.prefix_tokens - parents.positions[-1].tokens))
    point = len(parents.positions) - 1
    asking = _Line(setting.model, list(parents.positions), {0, point}, iter(()))
    asking.add(b"created", SIBLING_TOKENS * setting.children)
    _ask(asking, caches, at=0.0)
    lines = [asking] if context == "brief" else []
    if context == "brief":
        asking = _Line(setting.model, list(parents.positions), {0, point}, iter(()))
        asking.add(b"sum up", INSTRUCTION_TOKENS)
        asking.usages.append(_ask(asking, caches, at=1.0, output=setting.brief_tokens))
        lines = [asking]
    children = [_child(setting, context, parents, number, chance) for number in range(setting.children)]
    _run(children, caches, setting, chance)
    everything = [(line.model, usage) for line in (*lines, *children) for usage in line.usages]
    return sum(model.cost_usd(usage) for model, usage in everything)


def _parent(setting: Setting) -> _Line:
    assert setting.model is not None, "see cost"
    line = _Line(setting.model, [], {0}, iter(()))
    line.add(b"shared", setting.shared_tokens)
    line.add(b"read", max(1, setting.prefix_tokens - setting.shared_tokens - 300))
    return line


def _child(setting: Setting, context: Context, parents: _Line, number: int, chance: random.Random) -> _Line:
    work = setting.work
    turns = _about(work.turns, chance)
    own = [(_about(work.output_tokens, chance), _about(work.result_tokens, chance)) for _ in range(turns)]
    if context == "fork":
        line = _Line(parents.model, list(parents.positions), {0, len(parents.positions) - 1}, iter(own))
        line.add(b"%d" % number, SIBLING_TOKENS * setting.children + setting.prompt_tokens)
        return line
    share = setting.reads_again if context == "fresh" else setting.reads_again_after_brief
    left = round(share * (setting.prefix_tokens - setting.shared_tokens))
    # As the formula has it, what a turn of reading adds holds the answer that asks for it.
    reading = []
    while left > 0:
        chunk = min(left, setting.chunk_tokens)
        reading.append((min(work.output_tokens, chunk), max(0, chunk - work.output_tokens)))
        left -= chunk
    model = setting.own_model or parents.model
    line = _Line(model, [], {0}, iter([*reading, *own]))
    line.add(b"shared", setting.shared_tokens)
    told = setting.prompt_tokens + (setting.brief_tokens if context == "brief" else 0)
    line.add(b"%s %d" % (context.encode(), number), told)
    return line


def _run(lines: list[_Line], caches: dict[str, PromptCache], setting: Setting, chance: random.Random) -> None:
    """Each line one call after the other, all lines at once."""
    number = itertools.count()
    start = 2.0 + setting.brief_tokens / 50
    due = [(start + chance.uniform(0, setting.work.turn_s), next(number), line) for line in lines]
    heapq.heapify(due)
    while due:
        at, _, line = heapq.heappop(due)
        call = next(line.calls, None)
        if call is None:
            continue
        output, result = call
        line.usages.append(_ask(line, caches, at=at, output=output))
        line.add(b"%d" % next(number), output)
        line.add(b"result", max(1, result))
        heapq.heappush(due, (at + setting.work.turn_s * chance.uniform(0.7, 1.3), next(number), line))


def _ask(line: _Line, caches: dict[str, PromptCache], *, at: float, output: int = 0) -> Usage:
    """One request: what it reads and writes.  Its entries can be read at once: nobody asks before its first byte."""
    cache = caches.setdefault(line.model.id, PromptCache())
    found = cache.account(line.prompt(), min_tokens=line.model.min_cacheable_tokens, now=at)
    cache.publish(found, now=at + FIRST_BYTE_S)
    usage = found.usage
    return Usage(usage.input, usage.cache_read, usage.cache_write, output)


def _about(expected: int, chance: random.Random) -> int:
    return max(1, round(expected * chance.uniform(0.75, 1.25)))
