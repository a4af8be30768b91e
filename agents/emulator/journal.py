"""What the emulator was asked and what it answered, one entry a request, bounded in number and size.

An entry is opened when a request arrives and filled in while it is answered, so a request that hangs is seen too.
Keys never enter it, only their fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from prong.agents.models import Usage

FINGERPRINT_DIGITS = 12
FIRST_TEXT_CHARACTERS = 80
# Together; the oldest bodies are forgotten first.
MAX_BODIES_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request: times are seconds since the epoch on the emulator's clock, None for what has not happened."""

    number: int
    method: str
    path: str
    arrived: float
    first_byte: float | None = None
    end: float | None = None
    status: int | None = None
    request_id: str = ""
    message_id: str | None = None
    api_key: str | None = None
    model: str | None = None
    stream: bool = False
    turn: int | None = None
    first_text: str | None = None
    first_text_key: str | None = None
    script: str | None = None
    usage: dict[str, Any] | None = None
    stop_reason: str | None = None
    tools: tuple[str, ...] = ()
    fault: str | None = None
    error: str | None = None
    client_gone: bool = False
    user_agent: str | None = None
    retry_count: str | None = None
    body: bytes | None = None

    def meet(self, first_text: str) -> None:
        """Note how the conversation begins: its head, and a key that all requests of the conversation share."""
        self.first_text = first_text[:FIRST_TEXT_CHARACTERS]
        self.first_text_key = fingerprint(first_text)


def fingerprint(secret: str) -> str:
    """Tells two keys or texts apart without telling what they are."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_DIGITS]


def _readable(body: bytes | None) -> object:
    """A body as JSON, or as text where it is none."""
    if body is None:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


class Journal:
    """The latest entries, oldest first, and the totals of all."""

    def __init__(self, *, max_entries: int, keep_bodies: bool) -> None:
        self._entries: deque[Entry] = deque(maxlen=max_entries)
        self._keep_bodies = keep_bodies
        self._with_body: deque[Entry] = deque()
        self._bodies_bytes = 0
        self._statuses: Counter[str] = Counter()
        self._usage = Usage()
        self._number = 0
        self._in_flight = 0
        self._most_in_flight = 0

    def open(self, method: str, path: str, now: float) -> Entry:
        """A new entry for a request that has just arrived."""
        self._number += 1
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        entry = Entry(self._number, method, path, now)
        self._entries.append(entry)
        return entry

    def close(self, entry: Entry, now: float) -> None:
        """The request has been answered, or cannot be."""
        entry.end = now
        self._in_flight -= 1
        self._statuses[str(entry.status)] += 1
        if entry.usage:
            self._usage += Usage.from_wire(entry.usage)

    def keep(self, entry: Entry, body: bytes) -> None:
        """Remember the body of a request, where the emulator was started to do so."""
        if not self._keep_bodies:
            return
        entry.body = body
        self._with_body.append(entry)
        self._bodies_bytes += len(body)
        while self._bodies_bytes > MAX_BODIES_BYTES:
            oldest = self._with_body.popleft()
            self._bodies_bytes -= len(oldest.body or b"")
            oldest.body = None

    def lines(self, *, after: int, bodies: bool) -> Iterator[str]:
        """Every kept entry behind number `after` as one line of JSON."""
        for entry in self._entries:
            if entry.number <= after:
                continue
            line = {field.name: getattr(entry, field.name) for field in fields(entry) if field.name != "body"}
            if bodies:
                line["body"] = _readable(entry.body)
            yield json.dumps(line) + "\n"

    def totals(self) -> dict[str, Any]:
        """What all requests since the start come to, also those whose entries were dropped."""
        return {
            "requests": self._number,
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
            "statuses": dict(self._statuses),
            "usage": asdict(self._usage),
        }
