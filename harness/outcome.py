"""Whether a swarm has come to its end, and to which."""

from __future__ import annotations

from prong.state import Store

# Whoever is neither ready nor running, and waits without a timeout, is moved only by others.  The final states are
# named everywhere so that the index of the open tasks can be used.
_LEFT = """
select (select open from task_count) as open,
       exists (select 1 from agent where ended_at is null and task is not null) as alive,
       exists (select 1 from task where state not in ('done', 'failed', 'cancelled') and state = 'ready')
         or exists (select 1 from task where state not in ('done', 'failed', 'cancelled') and state = 'running')
         or exists (select 1 from waiter where state <> 'waiting' or until_at is not null or kind = 'slot')
         or exists (select 1 from merge where state = 'waiting')
         or exists (select 1 from agent where ended_at is null and task is not null
                       and state not in ('parked', 'asleep')) as moving
"""

_HELD = "select 1 from task where held = 'budget' limit 1"


def finished(store: Store) -> bool:
    """Whether nothing is left to do and nobody left who does it, or nobody who is left can go on by himself."""
    left = store.row(_LEFT)
    assert left is not None
    if not left["open"]:
        return not left["alive"]
    if left["moving"]:
        return False
    return not left["alive"] or store.row(_HELD) is not None


def outcome(store: Store) -> str:
    """The state in which a finished swarm is: `budget` where tasks wait for one, else `failed` or `done`."""
    if store.row(_HELD) is not None:
        return "budget"
    return "failed" if store.row("select 1 from task where state <> 'done' limit 1") else "done"
