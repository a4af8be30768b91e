"""What a new task begins with, where the model leaves the choice: priced from what such tasks have cost so far.

a turn with 16 create_task(context="auto")
  prefix, children, model of the role          known
  turns, tokens of each turn, seconds          learnt from ended tasks of the role, else of all; else a default
  share of the prefix that is read again       learnt from what tasks read that began without it; else a default
-> economics.plan -> fork, brief or fresh, and an event that tells the prices of all three
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from prong.agents import economics
from prong.agents.conversation import Message
from prong.agents.economics import Choice, Setting, Work
from prong.agents.fork_point import WARM_S
from prong.agents.models import Model, Prices, known
from prong.primitives.task_record import Context
from prong.state import Membership, Row, Store

LEARNT_FROM = 50
"""From so many of the last tasks of a role that are done it is learnt what they need, at most."""

FEWEST = 3
"""Of so many tasks at least a share of the prefix that is read again is learnt."""

LONGEST_CACHED_S = WARM_S
"""How long after the request of its turn a prefix is taken to be in the cache, in seconds."""

_PROMPT = "(input_tokens + cache_read_tokens + cache_write_tokens)"

_LEARNT = f"""
with one as (
    select task.id, task.context, count(*) as turns, sum(output_tokens) as output,
           max({_PROMPT}) - min({_PROMPT}) as grown, max(model_call.ended_at) - min(model_call.started_at) as seconds
      from task join model_call on model_call.task = task.id and model_call.message is not null
     where task.state = 'done' and task.parent is not null and (:role is null or task.role = :role)
       and not exists (select 1 from task child where child.parent = task.id)
     group by task.id order by task.id desc limit {LEARNT_FROM})
select context, count(*) as tasks, avg(turns) as turns, sum(output) * 1.0 / sum(turns) as output,
       avg(grown) as grown, sum(seconds) / sum(turns) as turn_s
  from one group by context
"""  # noqa: S608  constants

_TURN = f"select model, {_PROMPT} + output_tokens as tokens, started_at from model_call where message = :message"  # noqa: S608  a constant

_SHARED = f"select min({_PROMPT}) as tokens from model_call where model = :model and message is not null"  # noqa: S608  a constant


@dataclass(frozen=True, slots=True)
class Learnt:
    """What ended tasks have shown: `tasks` of them; the work of one, and the share of the prefix it reads again.

    The share is None where too few have ended that began with all, or without it.
    """

    tasks: int
    work: Work
    reads_again: float | None = None


class Planner:
    """Chooses for one agent what the tasks begin with that it creates."""

    def __init__(self, member: Membership, model: str, models_of_roles: Mapping[str, str]) -> None:
        """`model` is the agent's own; `models_of_roles` names those of roles that have another one."""
        self._member = member
        self._model = model
        self._models_of_roles = models_of_roles
        self._chosen: dict[tuple[int, str], Context] = {}

    def other_model(self, role: str) -> str | None:
        """The model that tasks of the role ask, where it is another than ours and cannot read our prompt cache."""
        own = self._models_of_roles.get(role, self._model)
        return None if own == self._model else own

    def choose(self, turn: Message, role: str) -> Context:
        """The same for all tasks of a role in one turn; an event tells why."""
        key = (turn.id, role)
        if key not in self._chosen:
            self._chosen = {key: self._plan(turn, role)}
        return self._chosen[key]

    def _plan(self, turn: Message, role: str) -> Context:
        known = self._member.store.row(
            "select data from event where kind = 'fork.planned' and object = :turn"
            " and json_extract(data, '$.role') = :role limit 1",
            turn=str(turn.id),
            role=role,
        )
        if known is not None:  # by the agent that died over this turn
            return cast("Context", json.loads(known["data"])["context"])
        with self._member.store.snapshot() as source:
            setting, learnt = self._setting(source, turn, role)
        choice = economics.plan(setting)
        with self._member.transaction() as tx:
            tx.event("fork.planned", object=str(turn.id), role=role, **_told(setting, learnt, choice))
        return choice.context

    def _setting(self, source: Store, turn: Message, role: str) -> tuple[Setting, Learnt]:
        asked = source.row(_TURN, message=turn.id)
        prefix = asked["tokens"] if asked is not None else 0
        shared = source.row(_SHARED, model=self._model)
        learnt = learn(source, role, prefix=prefix)
        prompts = [str(use["input"].get("prompt", "")) for use in turn.tool_uses() if is_like(use["input"], role)]
        own = self._models_of_roles.get(role, self._model)
        setting = Setting(
            prefix_tokens=prefix,
            shared_tokens=min(prefix, (shared["tokens"] if shared is not None else None) or 0),
            children=max(1, len(prompts)),
            model=_model(source, self._model),
            own_model=None if own == self._model else _model(source, own),
            work=learnt.work,
            prompt_tokens=max(1, sum(map(len, prompts)) // 4 // max(1, len(prompts))),
            expired=asked is not None and source.clock.now() > asked["started_at"] + LONGEST_CACHED_S,
        )
        if learnt.reads_again is not None:
            setting = replace(setting, reads_again=learnt.reads_again)
        return setting, learnt


def is_like(given: Any, role: str) -> bool:
    """Whether a call of create_task leaves the choice to us for a task of this role."""
    return isinstance(given, Mapping) and given.get("context") == "auto" and str(given.get("role", "")).strip() == role


def learn(source: Store, role: str, *, prefix: int) -> Learnt:
    """What ended tasks of the role have shown; where there are none, those of all roles; where none at all, nothing."""
    rows: list[Row] = source.rows(_LEARNT, role=role) or source.rows(_LEARNT, role=None)
    tasks = sum(row["tasks"] for row in rows)
    if not tasks:
        return Learnt(0, Work())
    by_context = {row["context"]: row for row in rows}
    # What one reads that began with nothing is no measure for the work itself, where there are others.
    told = by_context.get("fork") or by_context.get("brief") or by_context["fresh"]
    turns = max(1, round(told["turns"]))
    output = max(1, round(told["output"]))
    grown = told["grown"] / max(1.0, told["turns"] - 1)
    work = Work(turns, output, max(0, round(grown) - output), max(0.0, told["turn_s"]))
    return Learnt(tasks, work, _reads_again(by_context, prefix))


def _reads_again(by_context: Mapping[str, Row], prefix: int) -> float | None:
    """By how much those that began with nothing have grown more than forks, as a share of the prefix."""
    forks, fresh = by_context.get("fork"), by_context.get("fresh")
    if forks is None or fresh is None or min(forks["tasks"], fresh["tasks"]) < FEWEST or not prefix:
        return None
    return float(min(1.0, max(0.0, (fresh["grown"] - forks["grown"]) / prefix)))


def _model(source: Store, name: str) -> Model:
    """The model's record; of one that nobody knows the name alone, so that another is told from it."""
    free = Prices(input=0, output=0, write_5m=0, write_1h=0, read=0)
    return known(source, name) or Model(name, name, 1_000_000, 128_000, 1_024, (free,))


def _told(setting: Setting, learnt: Learnt, choice: Choice) -> dict[str, Any]:
    """The choice as its event holds it; prices of ways that are closed are null."""
    return {
        "context": choice.context, "why": choice.why, "children": setting.children, "prefix": setting.prefix_tokens,
        "turns": setting.work.turns, "learnt_from": learnt.tasks, "reads_again": setting.reads_again,
        "in_usd": choice.in_usd,
        "prices": {
            one.context: {"cost": None if math.isinf(one.cost) else round(one.cost, 6), "why_not": one.why_not}
            for one in choice.priced.values()
        },
    }  # fmt: skip
