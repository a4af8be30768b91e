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
         or exists (select 1 from merge join task on task.id = merge.resolver
                     where merge.state = 'resolving' and task.state in ('done', 'failed', 'cancelled'))
         or exists (select 1 from task join plan_step on plan_step.task = task.id
                     where gated = 1 and state = 'blocked' and items is not null)
         or exists (select 1 from task where gated = 1 and state = 'blocked'
                       and not exists (select 1 from task_need join task need on need.id = task_need.need
                                        where task_need.task = task.id
                                          and need.state not in ('done', 'failed', 'cancelled')))
         or exists (select 1 from agent where ended_at is null and task is not null
                       and state not in ('parked', 'asleep')) as moving
"""

_HELD = "select held from task where held in ('budget', 'cache') order by held limit 1"


NOT_NEEDED = "what it was for is over"
"""The reason with which tasks are cancelled that nobody needs any more, such as votes when all is decided."""

# Of a task and its second copy one is done, and that is enough.  A vote that is cancelled because all is decided has
# not failed.
_UNDONE = """
select 1 from task
 where state <> 'done' and hedge_of is null and not (state = 'cancelled' and error = :not_needed) limit 1
"""

_ASKED = """
select 1 from approval join task on task.id = approval.task
 where approval.state = 'waiting' and task.state not in ('done', 'failed', 'cancelled') limit 1
"""


def finished(store: Store, *, attended: bool = False) -> bool:
    """Whether nothing is left to do and nobody left who does it, or nobody who is left can go on by himself.

    A call that a person is asked about is waited for only where the run is `attended`.
    """
    left = store.row(_LEFT)
    assert left is not None
    if not left["open"]:
        return not left["alive"]
    if left["moving"]:
        return False
    if store.row(_ASKED) is not None and left["alive"]:
        return not attended
    return not left["alive"] or store.row(_HELD) is not None


def outcome(store: Store) -> str:
    """The state in which a finished swarm is: `approval` where a person is asked about calls, `budget` where tasks wait
    for one, `cache` where a person has to say whether forks go on without the prompt cache, else `failed` or `done`.
    """
    if store.row(_ASKED) is not None:
        return "approval"
    held = store.row(_HELD)
    if held is not None:
        return str(held["held"])
    return "failed" if store.row(_UNDONE, not_needed=NOT_NEEDED) else "done"
