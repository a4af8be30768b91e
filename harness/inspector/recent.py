"""Events that happen seldom and are problems for a while: what is needed of them, read once and then only on.

To look for them in a log of a million events again with each look would take the machine from the swarm.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LOOKED_AT = 200_000
"""So many events are looked at when somebody looks first."""

KEPT = 1_000
"""The most of them that are remembered."""

_KINDS = ("deadlock.found", "cache.lost", "conflict.foreseen")
_READ = f"""
select seq, at, task, kind, object, data from event
 where seq > :after and seq <= :until and kind in ({", ".join(repr(kind) for kind in _KINDS)}) order by seq
"""  # noqa: S608  constants


@dataclass(frozen=True, slots=True)
class Happened:
    """One such event; `at` is the wall clock's."""

    seq: int
    at: float
    task: int | None
    kind: str
    object: str
    told: dict[str, Any]


class Recent:
    """Those of one swarm's log."""

    def __init__(self) -> None:
        self._found: list[Happened] = []
        self._seq: int | None = None
        self._lock = threading.Lock()

    def read(self, connection: sqlite3.Connection) -> Sequence[Happened]:
        """Those that there are up to now, oldest first."""
        with self._lock:
            until = connection.execute("select coalesce(max(seq), 0) from event").fetchone()[0]
            after = max(0, until - LOOKED_AT) if self._seq is None else self._seq
            for seq, at, task, kind, about, data in connection.execute(_READ, {"after": after, "until": until}):
                self._found.append(Happened(seq, at, task, kind, about, json.loads(data)))
            self._seq = max(after, until)
            del self._found[:-KEPT]
            return tuple(self._found)
