"""What a swarm has cost: by task, agent, model and role, over time, and what forking saved."""

from __future__ import annotations

import sqlite3
from typing import Any

from prong.harness.inspector.snapshot import records

STRETCHES = 60
"""Into how many stretches of time the run is cut."""

_SUMS = """count(*) as calls, sum(input_tokens) as input, sum(cache_read_tokens) as cache_read,
    sum(cache_write_tokens) as cache_write, sum(output_tokens) as output, sum(usd) as usd,
    sum(model_call.ended_at - model_call.started_at) as seconds"""

_BY = {"task": "model_call.task", "agent": "model_call.agent", "model": "model", "role": "role"}

_GROUPED = f"""
select {{group}} as id, {_SUMS} from model_call join task on task.id = model_call.task
 group by {{group}} order by sum(usd) desc, input desc
"""  # noqa: S608  constants

_OVER_TIME = f"""
select cast((model_call.ended_at - :began) / :step as integer) as stretch, {_SUMS} from model_call
 group by stretch order by stretch
"""  # noqa: S608  constants

_FORKS = """
select fork_point.message as id, fork_point.state, origin.task as parent, count(distinct task.id) as children,
       sum(model_call.prefix_tokens) as inherited,
       sum(min(model_call.cache_read_tokens, model_call.prefix_tokens)) as read,
       min(min(1.0, 1.0 * model_call.cache_read_tokens / model_call.prefix_tokens)) as least
  from fork_point join message origin on origin.id = fork_point.message
  left join task on task.fork_point = fork_point.message
  left join model_call on model_call.task = task.id and model_call.prefix_tokens > 0
 group by fork_point.message order by fork_point.message
"""

_WAITS = """
select json_extract(data, '$.problem') as problem, count(*) as times, sum(json_extract(data, '$.seconds')) as seconds
  from event where kind = 'model.waits' and seq > (select max(0, max(seq) - 200000) from event) group by problem
 order by seconds desc limit 20
"""


def cost(connection: sqlite3.Connection) -> dict[str, Any]:
    """Sums by task, agent, model and role, over time, by fork point, and what waiting for the provider took."""
    began, ended = connection.execute("select min(started_at), max(ended_at) from model_call").fetchone()
    step = max(1e-3, ((ended or 0) - (began or 0)) / STRETCHES)
    return {
        **{f"by_{name}": records(connection, _GROUPED.format(group=group)) for name, group in _BY.items()},
        "over_time": [] if began is None else _over_time(connection, began, step),
        "began_at": began,
        "step_s": step,
        "forks": records(connection, _FORKS),
        "waits": records(connection, _WAITS),
    }


def _over_time(connection: sqlite3.Connection, began: float, step: float) -> list[dict[str, Any]]:
    cursor = connection.execute(_OVER_TIME, {"began": began, "step": step})
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
