"""Which rows of a swarm's tables its picture is made of: the tasks that are shown, counts and sums.

The final states are named in the queries so that the indexes of the open tasks, and of those that ended badly, can be
used: no task is ever removed, so all others are done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from prong.state import Row, Store

STATES = ("blocked", "ready", "running", "parked", "done", "failed", "cancelled")

ORDER = {"running": 0, "parked": 1, "ready": 2, "blocked": 3, "failed": 4, "cancelled": 5, "done": 6}
"""In which order tasks are shown, by their states; those of one state by their numbers."""

_OPEN = "state not in ('done', 'failed', 'cancelled')"
_ASLEEP = "coalesce(held, '') in ('budget', 'cache', 'asleep')"

_COUNTS = f"""
select state, count(*) as number from task where {_OPEN} group by state
 union all select state, count(*) from task where state in ('failed', 'cancelled') group by state
"""  # noqa: S608  put together from constants of this file

_KEPT = f"select count(*) from task where {_OPEN} and state = 'parked' and {_ASLEEP}"  # noqa: S608  as above

_FIRST = tuple(
    f"select id from task where {which} order by id limit :most"  # noqa: S608  as above
    for which in (
        f"{_OPEN} and state = 'running'",
        f"{_OPEN} and state = 'parked' and {_ASLEEP}",
        f"{_OPEN} and state = 'parked' and not {_ASLEEP}",
        f"{_OPEN} and state = 'ready'",
        f"{_OPEN} and state = 'blocked'",
        "state in ('failed', 'cancelled') and state = 'failed'",
        "state in ('failed', 'cancelled') and state = 'cancelled'",
        "state = 'done'",
    )
)

SPENT = """
select coalesce(sum(input_tokens), 0) as input, coalesce(sum(cache_read_tokens), 0) as cache_read,
       coalesce(sum(cache_write_tokens), 0) as cache_write, coalesce(sum(output_tokens), 0) as output,
       coalesce(sum(usd), 0.0) as usd, count(*) - count(usd) as unpriced,
       coalesce(sum(prefix_tokens > 0), 0) as forks,
       min(case when prefix_tokens > 0 then min(1.0, 1.0 * cache_read_tokens / prefix_tokens) end) as least
  from model_call
"""

PROBLEMS = """
select id, state, error, kept_branch from task
 where state in ('failed', 'cancelled') and hedge_of is null
   and not (state = 'cancelled' and coalesce(error, '') = :not_needed) order by id
"""

_TASKS = """
select task.*, (select max(id) from agent where agent.task = task.id) as last_agent,
       (select group_concat(need) from task_need where task_need.task = task.id) as needs,
       (select kind || ' ' || object from waiter where waiter.task = task.id and waiter.state = 'waiting'
         order by waiter.id limit 1) as waits_for,
       (select case when kind in ('model.waits', 'merge.waits', 'merge.checking') then data end
          from event where event.task = task.id
         order by seq desc limit 1) as trouble,
       coalesce(sum(input_tokens), 0) as input, coalesce(sum(cache_read_tokens), 0) as cache_read,
       coalesce(sum(cache_write_tokens), 0) as cache_write, coalesce(sum(output_tokens), 0) as output,
       coalesce(sum(usd), 0.0) as usd, count(model_call.id) - count(usd) as unpriced
  from task left join model_call on model_call.task = task.id {which}
 group by task.id order by task.id
"""


def shown_rows(store: Store, most: int | None) -> list[Row]:
    """All tasks, or the first `most` of each kind, among which the first in the order of `ORDER` are."""
    if most is None:
        return store.rows(_TASKS.format(which=""))
    ids = [row["id"] for query in _FIRST for row in store.rows(query, most=most)]
    return store.rows(_TASKS.format(which="where task.id in (select value from json_each(:ids))"), ids=json.dumps(ids))


def counted(store: Store, *, unsupervised: bool) -> Mapping[str, int]:
    """How many tasks are in each state, as people are told it (`shown_state` in status.py)."""
    counts = dict.fromkeys(STATES, 0) | {row["state"]: row["number"] for row in store.rows(_COUNTS)}
    counts["done"] = store.rows("select coalesce(max(id), 0) from task")[0][0] - sum(counts.values())
    if unsupervised:
        kept = store.rows(_KEPT)[0][0]
        counts["ready"] += counts["running"] + counts["parked"] - kept
        counts["running"], counts["parked"] = 0, kept
    return counts
