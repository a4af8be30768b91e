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

_FORESEEN = """
select path, one, other, lines, foreseen.at as seen_at, first.title as one_title, second.title as other_title,
       first.state as one_state, second.state as other_state
  from foreseen join task first on first.id = one join task second on second.id = other
 order by foreseen.at desc limit ?
"""


def merges(connection: sqlite3.Connection, shift_s: float) -> dict[str, Any]:
    """The line in order, what was decided, newest first (`decided` counts all of it), and conflicts foreseen."""
    decided = connection.execute("select count(*) from merge where ended_at is not null").fetchone()[0]
    return {
        "waiting": moved(records(connection, _WAITING), shift_s),
        "merged": moved(records(connection, _DECIDED, SHOWN), shift_s),
        "decided": decided,
        "foreseen": moved(records(connection, _FORESEEN, SHOWN), shift_s),
    }
