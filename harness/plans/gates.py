"""The gates of a plan that can be opened now: one look at an index, which is all that a swarm without a plan pays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prong.state import Store
from prong.state.bell import SCHEDULER_SLOT

if TYPE_CHECKING:
    from prong.harness.plans.expand import Opener

AT_ONCE = 50
"""So many gates are opened in one round; the others in the next."""

DEEP = 10
"""So often in one round it is looked what hangs on the gates that were opened just now."""

LONGEST_S = 0.05
"""After so many seconds of a round no further gate is opened in it: whoever wants a slot has waited long enough."""

_GATED = """
select task.id, step, outcome, items, path_s, priority, role from task join plan_step on plan_step.task = task.id
 where gated = 1 and state = 'blocked' and task.paused = 0 and not exists (select 1 from swarm where paused = 1)
   and (items is not null
        or not exists (select 1 from task_need join task need on need.id = task_need.need
                     where task_need.task = task.id and need.state not in ('done', 'failed', 'cancelled'))
        or on_failed_need = 'any' and outcome is null
            and exists (select 1 from task_need join task need on need.id = task_need.need
                         where task_need.task = task.id and need.state = 'done'))
 order by items is not null, task.id limit :most
"""


class Gates:
    """The gates of one swarm, as its supervisor opens them; the plan is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._opener: Opener | None = None

    def open(self) -> int:
        """Open every gate whose needs have ended, and those that hang on these; how many there were.

        Where that takes long, the rest comes with the next round, which is asked for.
        """
        opened = 0
        until = time.monotonic() + LONGEST_S
        for _ in range(DEEP):
            rows = self._store.rows(_GATED, most=AT_ONCE)
            for row in rows:
                whole = self._with_plan().open(row)
                opened += 1
                if not whole or time.monotonic() > until:
                    self._store.bells.ring(SCHEDULER_SLOT)
                    return opened
            if not rows:
                break
        return opened

    def _with_plan(self) -> Opener:
        if self._opener is None:
            from prong.harness.plans.expand import Opener  # noqa: PLC0415  only a swarm with a plan needs it

            self._opener = Opener(self._store)
        return self._opener
