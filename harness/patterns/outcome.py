"""What came of one task of a pattern: its result or its error, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prong.primitives.artifacts import loaded
from prong.state import Store

_TASK = """
select task.id, task.state, task.result, task.result_value, task.result_whole, task.error, task.started_at,
       task.ended_at, count(model_call.id) as calls,
       coalesce(sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens), 0) as tokens,
       coalesce(sum(cache_read_tokens), 0) as cached, sum(usd) as usd, count(model_call.id) - count(usd) as unpriced
  from task left join model_call on model_call.task = task.id where task.id = :task group by task.id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one item: `result` is what its agent said, or the value that fits the schema it was asked for.

    `state` is `done`, `failed` or `cancelled`; `error` says why there is no result.  `tokens` are those of all its
    calls of the model, `cached` those among them that were read from the prompt cache; `usd` is None where a price is
    unknown.  `before` says that it was there already when it was asked for.
    """

    key: str
    item: Any
    task: int
    state: str
    result: Any = None
    error: str | None = None
    seconds: float = 0.0
    calls: int = 0
    tokens: int = 0
    cached: int = 0
    usd: float | None = None
    before: bool = False

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.state == "done"

    def as_json(self) -> dict[str, Any]:
        """The line of a file of results."""
        return {
            "key": self.key, "item": self.item, "state": self.state, "result": self.result, "error": self.error,
            "task": self.task, "seconds": round(self.seconds, 3), "calls": self.calls, "tokens": self.tokens,
            "cached": self.cached, "usd": self.usd,
        }  # fmt: skip

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Outcome:
        """The outcome that a line of such a file tells of; raises KeyError where it is none."""
        return cls(
            key=line["key"], item=line["item"], task=line["task"], state=line["state"], result=line["result"],
            error=line["error"], seconds=line["seconds"], calls=line["calls"], tokens=line["tokens"],
            cached=line["cached"], usd=line["usd"], before=True,
        )  # fmt: skip


def read_outcome(store: Store, task: int, *, key: str, item: Any, before: bool = False) -> Outcome:
    """What came of a task that has ended."""
    row = store.row(_TASK, task=task)
    assert row is not None, "tasks are never deleted"
    result = row["result"]
    if row["result_value"] is not None:
        result = loaded(store, row["result_value"])
    elif row["result_whole"] is not None:
        result = loaded(store, row["result_whole"])
    began, ended = row["started_at"], row["ended_at"]
    return Outcome(
        key=key, item=item, task=task, state=row["state"], result=result if row["state"] == "done" else None,
        error=row["error"], seconds=ended - began if began is not None and ended is not None else 0.0,
        calls=row["calls"], tokens=row["tokens"], cached=row["cached"],
        usd=None if row["unpriced"] else row["usd"] or 0.0, before=before,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of the model have cost together, in tokens and dollars; `usd` is None where a price is unknown.

    `last` is the number of the last of them.
    """

    calls: int
    tokens: int
    cached: int
    usd: float | None
    last: int


def spent(store: Store, *, after: int = 0) -> Spent:
    """What a swarm has spent with all calls behind the one of that number."""
    row = store.row(
        "select count(*) as calls, coalesce(sum(cache_read_tokens), 0) as cached, coalesce(sum(usd), 0.0) as usd,"
        " coalesce(sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens), 0) as tokens,"
        " count(*) - count(usd) as unpriced,"
        " coalesce(max(id), 0) as last from model_call where id > :after",
        after=after,
    )
    assert row is not None, "sums have one row"
    return Spent(row["calls"], row["tokens"], row["cached"], None if row["unpriced"] else row["usd"], row["last"])
