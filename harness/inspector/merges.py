"""The line of finished work: what waits, what was merged, what was not, and why."""

from __future__ import annotations

import sqlite3
from typing import Any

from prong.harness.inspector.snapshot import records
from prong.harness.inspector.tasks import moved

SHOWN = 1_000
"""How many of those that have been decided are shown, newest first."""

_WAITING = """
select merge.*, task.title, task.level from merge join task on task.id = merge.task
 where merge.state in ('waiting', 'returned', 'resolving') order by merge.queued_at
"""
_DECIDED = """
select merge.*, task.title, task.merged_commit, task.kept_branch from merge join task on task.id = merge.task
 where merge.state not in ('waiting', 'returned', 'resolving') order by merge.ended_at desc limit ?
"""


def merges(connection: sqlite3.Connection, shift_s: float) -> dict[str, Any]:
    """The line in order, and what was decided, newest first; `decided` counts all of those."""
    decided = connection.execute("select count(*) from merge where ended_at is not null").fetchone()[0]
    return {
        "waiting": moved(records(connection, _WAITING), shift_s),
        "merged": moved(records(connection, _DECIDED, SHOWN), shift_s),
        "decided": decided,
    }
