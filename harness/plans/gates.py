"""The gates of a plan that can be opened now: one look at an index, which is all that a swarm without a plan pays."""

from __future__ import annotations

from prong.state import Store

AT_ONCE = 50
"""So many gates are opened in one round; the others in the next."""

DEEP = 10
"""So often in one round it is looked what hangs on the gates that were opened just now."""

_GATED = """
select task.id, step, outcome, path_s, priority, role from task join plan_step on plan_step.task = task.id
 where gated = 1 and state = 'blocked' and task.paused = 0 and not exists (select 1 from swarm where paused = 1)
   and (not exists (select 1 from task_need join task need on need.id = task_need.need
                     where task_need.task = task.id and need.state not in ('done', 'failed', 'cancelled'))
        or on_failed_need = 'any' and outcome is null
            and exists (select 1 from task_need join task need on need.id = task_need.need
                         where task_need.task = task.id and need.state = 'done'))
 order by task.id limit :most
"""


def open_steps(store: Store) -> int:
    """Open every gate whose needs have ended, and those that hang on these; how many there were."""
    opened = 0
    for _ in range(DEEP):
        rows = store.rows(_GATED, most=AT_ONCE)
        if not rows:
            break
        from prong.harness.plans.expand import Opener  # noqa: PLC0415  only a swarm with a plan needs it

        opener = Opener(store)
        for row in rows:
            opener.open(row)
        opened += len(rows)
    return opened
