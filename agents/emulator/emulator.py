"""What a running emulator knows: its options, clock, journal, limits, caches, and how often it was asked the same."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from prong.agents.emulator.cache import PromptCache
from prong.agents.emulator.clock import Clock
from prong.agents.emulator.journal import Journal
from prong.agents.emulator.limits import Limits
from prong.agents.emulator.options import STREAM_FAULTS, EmulatorOptions
from prong.agents.emulator.script import Fault

if TYPE_CHECKING:
    from prong.agents.emulator.schema import Schema

# Beyond these numbers the least recently used are forgotten.
MAX_WORKSPACES = 1000
MAX_REMEMBERED_PROMPTS = 100_000
# A fault that was drawn breaks a stream after 0 to 3 deltas.
LATEST_DRAWN_BREAK = 4


class Emulator:
    """The state of one server."""

    def __init__(self, options: EmulatorOptions) -> None:
        self.options = options
        self.clock = Clock()
        self.journal = Journal(max_entries=options.journal_entries, keep_bodies=options.keep_bodies)
        self.limits = Limits(options)
        self._caches: OrderedDict[str, PromptCache] = OrderedDict()
        self._seen: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._schema: asyncio.Future[Schema] | None = None
        self._drawn = 0

    async def schema(self) -> Schema:
        """The check of request shapes, built once and beside the event loop, because that takes a second."""
        if self._schema is None:
            loop = asyncio.get_running_loop()
            self._schema = loop.create_future()
            # A thread of its own, because the event loop would wait for one of its pool before it ends.
            threading.Thread(target=_build_schema, args=(loop, self._schema)).start()
        return await asyncio.shield(self._schema)

    def cache_of(self, api_key: str) -> PromptCache:
        """The prompt cache of a workspace, which here is all that one API key does."""
        cache = self._caches.setdefault(api_key, PromptCache())
        self._caches.move_to_end(api_key)
        if len(self._caches) > MAX_WORKSPACES:
            self._caches.popitem(last=False)
        return cache

    def count_seen(self, api_key: str, prompt: bytes) -> int:
        """How often this prompt has come before, not counting this time."""
        key = (api_key, prompt)
        seen = self._seen.pop(key, 0)
        self._seen[key] = seen + 1
        if len(self._seen) > MAX_REMEMBERED_PROMPTS:
            self._seen.popitem(last=False)
        return seen

    def draw_fault(self) -> Fault | None:
        """The fault that the options have for the next call: always the same for the n-th call of a seed."""
        if not self.options.faults:
            return None
        self._drawn += 1
        digest = hashlib.sha256(f"{self.options.seed}:{self._drawn}".encode()).digest()
        roll = int.from_bytes(digest[:8]) / 2**64
        for name, share in self.options.faults.items():
            if roll < share:
                return self._fault(name, after=digest[8] % LATEST_DRAWN_BREAK)
            roll -= share
        return None

    def _fault(self, name: str, *, after: int) -> Fault:
        stream = STREAM_FAULTS.get(name)
        if stream is not None:
            return Fault(
                stream=stream, after=self.options.seed * 1_000_003 + self._drawn if name == "damage" else after
            )
        return Fault(status=int(name), retry_after_s=self.options.retry_after_s)


def _build_schema(loop: asyncio.AbstractEventLoop, schema: asyncio.Future[Schema]) -> None:
    try:
        built = _schema()
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the schema
        answer = functools.partial(schema.set_exception, error)
    else:
        answer = functools.partial(schema.set_result, built)
    # The loop is closed where the server has ended in the meantime; nobody waits any more then.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(answer)


def _schema() -> Schema:
    from prong.agents.emulator.schema import Schema  # noqa: PLC0415 - it imports the whole SDK, which start-up can do without

    return Schema()
