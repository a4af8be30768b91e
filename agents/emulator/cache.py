"""The prompt cache, by the API's published rules.

    request:   [tools][system]|bp1 ... [messages ....]|bp2
    lookup:    every breakpoint looks back over at most 20 positions for an entry; the longest find is read
    write:     every breakpoint behind the find becomes an entry, if its prefix is long enough for the model
    entry:     readable once the writer's first response byte is out; dies 5 minutes or an hour after the
               *start* of the last request that wrote or read it

Nothing but a breakpoint of an earlier request can be read, and only while everything before it is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prong.agents.emulator.errors import bad_request
from prong.agents.emulator.prompt import Position, Prompt, Ttl
from prong.agents.models import Usage

MAX_BREAKPOINTS = 4
LOOKBACK_POSITIONS = 20
LIFETIME_S: dict[Ttl, float] = {"5m": 300.0, "1h": 3600.0}
# Far more than any test or swarm writes in an hour; beyond it the oldest entries are dropped.
MAX_ENTRIES = 200_000


@dataclass(slots=True)
class _Entry:
    """A prefix that can be read: it becomes an entry only when the answer of the request that wrote it begins."""

    expires_at: float
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class Accounting:
    """What a request reads and writes; `writes` are the entries it will leave: key, lifetime, tokens of it."""

    usage: Usage
    writes: Sequence[tuple[bytes, float]]
    started_at: float


class PromptCache:
    """The entries of one workspace."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}

    def account(self, prompt: Prompt, *, min_tokens: int, now: float) -> Accounting:
        """Look the prompt up as a request that starts now does; what is read lives on from now."""
        marks = [index for index, position in enumerate(prompt.positions) if position.ttl]
        check_breakpoints([prompt.positions[mark] for mark in marks])
        finds = [find for mark in marks if (find := self._look_back(prompt.positions, mark, now)) is not None]
        for find in finds:
            entry = self._entries[prompt.positions[find].key]
            entry.expires_at = max(entry.expires_at, now + entry.lifetime_s)
        longest = max(finds, default=-1)
        behind = [prompt.positions[mark] for mark in marks if mark > longest]
        written = [position for position in behind if position.tokens >= min_tokens]
        read = prompt.positions[longest].tokens if finds else 0
        return Accounting(
            usage=_usage(prompt.tokens, read, written),
            writes=[(position.key, LIFETIME_S[position.ttl or "5m"]) for position in written],
            started_at=now,
        )

    def publish(self, accounting: Accounting, *, now: float) -> None:
        """Make what a request wrote readable: its first response byte goes out."""
        for key, lifetime_s in accounting.writes:
            old = self._entries.pop(key, None)
            new = _Entry(accounting.started_at + lifetime_s, lifetime_s)
            if old is not None and old.expires_at > now:
                # Two requests wrote the same prefix at once; it lives by the one that lets it live longer.
                new = _Entry(max(old.expires_at, new.expires_at), max(old.lifetime_s, lifetime_s))
            self._entries[key] = new
        if len(self._entries) > MAX_ENTRIES:
            self._make_room(now)

    def __len__(self) -> int:
        return len(self._entries)

    def _look_back(self, positions: Sequence[Position], mark: int, now: float) -> int | None:
        for index in reach(positions, mark):
            entry = self._entries.get(positions[index].key)
            if entry is not None and now < entry.expires_at:
                return index
        return None

    def _make_room(self, now: float) -> None:
        alive = {key: entry for key, entry in self._entries.items() if entry.expires_at > now}
        surplus = max(0, len(alive) - MAX_ENTRIES // 2)
        self._entries = dict(itertools.islice(alive.items(), surplus, None))


def reach(positions: Sequence[Position], mark: int) -> Iterator[int]:
    """The positions that a breakpoint looks at, itself first, back over 20 positions.

    Neighbouring tool calls, and neighbouring tool results, count as one.
    """
    counted = 0
    for index in range(mark, -1, -1):
        run = positions[index].run
        if index == mark or run is None or run != positions[index + 1].run:
            counted += 1
        if counted > LOOKBACK_POSITIONS:
            return
        yield index


def check_breakpoints(marked: Sequence[Position]) -> None:
    """Raise the API's error for too many breakpoints or for a short-lived one before a long-lived one."""
    if len(marked) > MAX_BREAKPOINTS:
        message = f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(marked)}."
        raise bad_request(message)
    for earlier, later in itertools.pairwise(marked):
        if earlier.ttl == "5m" and later.ttl == "1h":
            message = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
            raise bad_request(message)


def _usage(prompt_tokens: int, read: int, written: Sequence[Position]) -> Usage:
    """Each written breakpoint pays, at its own lifetime, for what lies between it and the one before."""
    starts = (read, *(position.tokens for position in written))
    by_ttl: dict[Ttl, int] = {"5m": 0, "1h": 0}
    for start, position in zip(starts, written, strict=False):
        by_ttl[position.ttl or "5m"] += position.tokens - start
    end = written[-1].tokens if written else read
    return Usage(
        input=prompt_tokens - end,
        cache_read=read,
        cache_write=by_ttl["5m"] + by_ttl["1h"],
        cache_write_1h=by_ttl["1h"],
    )
