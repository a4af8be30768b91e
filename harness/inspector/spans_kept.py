"""Spans kept in a file beside a swarm's log, so that a long log is folded once and not whenever somebody looks.

The log is only appended to: what was folded up to an event holds for ever, and the fold goes on from there.  The file
is a help and no promise: where it is missing, broken, or of another log, all is folded again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from prong.harness.inspector.spans import Spans

WORTH_EVENTS = 100_000
"""After so many events more the fold is kept again."""

FORMAT = 1
"""What the file must say that it is; it grows when the fold or the file changes."""

NAME = "spans.json"


def recall(directory: Path, connection: sqlite3.Connection) -> Spans:
    """The fold as it was kept in the directory of a swarm, or one that begins anew."""
    try:
        told = json.loads((directory / "log" / NAME).read_text())
        if told["format"] == FORMAT and told["at"] == _at(connection, told["seq"]):
            return Spans.from_json(told["spans"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return Spans()


def keep(directory: Path, connection: sqlite3.Connection, spans: Spans) -> None:
    """Write the fold down; where that cannot be, nothing happens."""
    told = {"format": FORMAT, "seq": spans.seq, "at": _at(connection, spans.seq), "spans": spans.as_json()}
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(dir=directory / "log", prefix=f"{NAME}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(json.dumps(told, separators=(",", ":")))  # json.dump takes three times as long
            Path(name).replace(directory / "log" / NAME)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _at(connection: sqlite3.Connection, seq: int) -> Any:
    """When an event happened, which tells one log from another."""
    row = connection.execute("select at from event where seq = ?", (seq,)).fetchone()
    return None if row is None else row[0]
