"""A plan becomes tasks: all of its steps at once, and what hangs on results when those are there.

    a step that hangs on nothing  -- a task as any other
    `when`, a place for a result  -- a gated task: blocked, its needs end, and it starts, or is skipped, which is done
    `for_each`                    -- a gated task that no agent works on: a task for each item stands below it, and when
                                     all of those have ended it is done, with all their results (see each.py)

Opening is one transaction each, or for many items one for some of them, made by the supervisor from what is written
down: whoever comes after a crash finds the gates as they were.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prong.harness.plans.each import Each, begin, make_some, undo
from prong.harness.plans.expressions import Ended
from prong.harness.plans.forks import Source, begin_fork, source_of
from prong.harness.plans.plan import ITEMS, Plan, Step, parse
from prong.harness.plans.words import filled, named, title
from prong.harness.rules.invalid import quoted
from prong.primitives import Plan as TaskPlan
from prong.primitives import TooLarge, TooManyTasks, create_tasks
from prong.primitives.artifacts import ArtifactLost, loaded, stored
from prong.primitives.budget import Budget, OutOfBudget
from prong.primitives.task import finish
from prong.primitives.task_line import offer, stand_in_line
from prong.primitives.task_record import PROMPT_BYTES, Task
from prong.state import Invalid, Row, Store, Transaction

TOLD = 5
"""The most items that are named where some have failed."""

_OF_STEP = """
select task.id, state, result, result_value, error, outcome from task join plan_step on plan_step.task = task.id
 where step = :step and place is null
"""

_ITEMS = """
select task.id, state, result, result_value, error, item, title from task join plan_step on plan_step.task = task.id
 where step = :step and place is not null order by place
"""


# What a plan, its results, or the swarm's bounds can be at fault for.  The rest is the scheduler's own trouble.
_UNDECIDED = (
    ArithmeticError, ArtifactLost, Invalid, OutOfBudget, RecursionError, TooLarge, TooManyTasks, TypeError, ValueError,
)  # fmt: skip


def key_of(step: str, place: int | None = None) -> str:
    """The key of a step's task, or of the one for its n-th item."""
    return f"plan:{step}" if place is None else f"plan:{step}:{place}"


def create(
    tx: Transaction, plan: Plan, *, path: str, digest: str, files: Mapping[str, Sequence[str]],
    roles: Mapping[str, str], priorities: Mapping[str, int], hedged: frozenset[str],
) -> list[Task]:  # fmt: skip
    """Write down the plan and make the tasks of its steps; `roles` and `priorities` are those of steps that have any.

    `files` is what the globs of each step found, and `hedged` are the steps whose stragglers may have a second copy.
    """
    tx.execute(
        "insert into plan (id, path, digest, text, files) values (1, :path, :digest, :text, :files)",
        path=path, digest=digest, text=plan.text, files=json.dumps(files),
    )  # fmt: skip
    skippable = plan.may_be_skipped()
    plans = [
        _task_plan(
            step, key=key_of(name), title_=title(name, step), prompt=step.prompt, role=roles.get(name, ""),
            priority=priorities.get(name), needs=[key_of(need) for need in step.needs],
            gated=is_gated(plan, name, skippable),
        )
        for name, step in plan.steps.items()
    ]  # fmt: skip
    made = [task for task, _ in create_tasks(tx, plans)]
    for name, task in zip(plan.steps, made, strict=True):
        tx.execute("insert into plan_step (task, step) values (:task, :step)", task=task.id, step=name)
        if name in hedged:
            tx.execute("update task set hedge = 1 where id = :task", task=task.id)
    tx.event("plan.created", object=path, digest=digest, steps=len(made))
    return made


def is_gated(plan: Plan, name: str, skippable: frozenset[str]) -> bool:
    """Whether something has to be decided, or filled in, once the needs of a step have ended."""
    step = plan.steps[name]
    asks = any(one in plan.steps for one, _ in step.places())
    return step.for_each is not None or step.context == "fork" or asks or name in skippable


class Opener:
    """Opens the gates of one swarm's plan."""

    def __init__(self, store: Store) -> None:
        row = store.row("select path, text, files from plan")
        assert row is not None, "only a plan makes gates"
        self._store = store
        self._plan = parse(row["text"], row["path"])
        self._files: Mapping[str, Sequence[str]] = json.loads(row["files"])
        self._skippable = self._plan.may_be_skipped()
        self._expanding: dict[int, Each] = {}

    def open(self, row: Row) -> bool:
        """Decide what becomes of one gated step; what cannot be decided fails, and says why.

        False where more of its items are to become tasks, in the next round.
        """
        step = self._plan.steps[row["step"]]
        whole = True
        try:
            gathered = self._gathered(row["step"]) if row["outcome"] == "expanded" else None
            each = None if row["items"] is None else self._each(row, step)
            with self._store.transaction(None) as tx:
                if not _is_shut(tx, row):
                    return True
                if gathered is not None:
                    self._join(tx, row, step, *gathered)
                else:
                    whole = self._decide(tx, row, step) if each is None else self._go_on(tx, row, each)
        except _UNDECIDED as error:
            # In a transaction of its own: what was made of it before the refusal is undone.
            with self._store.transaction(None) as tx:
                if _is_shut(tx, row):
                    undo(tx, row, str(error))
        if whole:
            self._expanding.pop(row["id"], None)
        return whole

    def _decide(self, tx: Transaction, row: Row, step: Step) -> bool:
        known = {need: self._ended(tx, need) for need in step.needs}
        why = self._why_skipped(row["step"], step, known)
        if why is not None:
            tx.execute("update plan_step set outcome = 'skipped' where task = :task", task=row["id"])
            tx.event("plan.skipped", object=row["step"], task=row["id"], why=why)
            finish(tx, row["id"], "done", result=f"skipped: {why}")
        elif step.for_each is not None:
            return self._expand(tx, row, step, known)
        else:
            self._start(tx, row, step, known)
        return True

    def _why_skipped(self, name: str, step: Step, known: Mapping[str, Ended]) -> str | None:
        if step.when is not None:
            return None if step.when.value(known) else f"when: {step.when.text} does not hold"
        skipped = name in self._skippable and all(one.state == "skipped" for one in known.values())
        return "all that it needs was skipped" if skipped else None

    def _start(self, tx: Transaction, row: Row, step: Step, known: Mapping[str, Any]) -> None:
        prompt = _checked_prompt(filled(step.prompt, known))
        source = self._source(tx, step)
        tx.execute(
            "update task set gated = 0, state = 'ready', prompt = :prompt where id = :task", prompt=prompt,
            task=row["id"],
        )  # fmt: skip
        stand_in_line(tx, row["id"], 0.0)
        if source is not None:
            begin_fork(tx, row["id"], source, prompt)
        tx.event("task.ready", object=str(row["id"]), task=row["id"])
        offer(tx)

    def _expand(self, tx: Transaction, row: Row, step: Step, known: Mapping[str, Any]) -> bool:
        """The tasks for the first items; whether that is all of them."""
        name = row["step"]
        each = Each(name, step, self._items(name, step, known), known, self._source(tx, step))
        begin(tx, self._store, row, each)
        self._expanding[row["id"]] = each
        return self._go_on(tx, row, each)

    def _go_on(self, tx: Transaction, row: Row, each: Each) -> bool:
        """The tasks for some more items; whether that is all of them."""

        def plan(place: int, title_: str, prompt: str) -> TaskPlan:
            return _task_plan(
                each.step, key=key_of(each.name, place), title_=title_, role=row["role"],
                prompt=_checked_prompt(prompt), priority=row["priority"],
                needs=[key_of(need) for need in each.step.needs], parent=row["id"], gated=False,
            )  # fmt: skip

        return make_some(tx, row, each, plan)

    def _each(self, row: Row, step: Step) -> Each:
        """What a step was expanded into before, read anew where another supervisor had begun it."""
        if row["id"] not in self._expanding:
            items = loaded(self._store, row["items"])
            with self._store.transaction(None) as tx:
                known = {need: self._ended(tx, need) for need in step.needs}
                self._expanding[row["id"]] = Each(row["step"], step, items, known, self._source(tx, step))
        return self._expanding[row["id"]]

    def _source(self, tx: Transaction, step: Step) -> Source | None:
        return source_of(tx, self._store, key_of(step.needs[0])) if step.context == "fork" else None

    def _items(self, name: str, step: Step, known: Mapping[str, Any]) -> Sequence[Any]:
        assert step.for_each is not None
        if step.for_each.listed is not None:
            return step.for_each.listed
        if step.for_each.expression is None:
            return self._files.get(name, ())
        found = step.for_each.expression.value(known)
        if not isinstance(found, list) or len(found) > ITEMS:
            what = f"{len(found)} items" if isinstance(found, list) else quoted(json.dumps(found, default=str))
            expected = f"a list of at most {ITEMS} items"
            raise Invalid(f"for_each: {step.for_each.expression.text}, which is {what}", expected)
        return found

    def _gathered(self, name: str) -> tuple[list[dict[str, Any]], str]:
        """What came of each item, and the same as a row holds it; read and written before the transaction begins."""
        found = []
        for row in self._store.rows(_ITEMS, step=name):
            one = {"item": json.loads(row["item"]), "state": row["state"], "result": _result(self._store, row)}
            found.append(one if row["state"] == "done" else {**one, "result": None, "error": row["error"]})
        return found, stored(self._store, "the results of a for_each", found)

    def _join(self, tx: Transaction, row: Row, step: Step, found: Sequence[Mapping[str, Any]], value: str) -> None:
        """All items have ended: the step has, too."""
        bad = [one for one in found if one["state"] != "done"]
        words = f"{len(found) - len(bad)} of {len(found)} items are done"
        if bad:
            which = ", ".join(quoted(named(one["item"])) for one in bad[:TOLD])
            words += f"; not done: {which}" + (f" and {len(bad) - TOLD} more" if len(bad) > TOLD else "")
        tx.execute("update task set result_value = :value where id = :task", value=value, task=row["id"])
        if bad and (step.on_failed_item == "fail" or len(bad) == len(found)):
            finish(tx, row["id"], "failed", result=words, error=words, failure="need")
        else:
            finish(tx, row["id"], "done", result=words)

    def _ended(self, tx: Transaction, name: str) -> Ended:
        row = tx.row(_OF_STEP, step=name)
        assert row is not None, "every step has a task"
        if row["outcome"] == "skipped":
            return Ended("skipped")
        result = _result(self._store, row)
        if self._plan.steps[name].for_each is not None and isinstance(result, list):
            result = [one["result"] for one in result]
        return Ended(row["state"], result, row["error"])


def _is_shut(tx: Transaction, row: Row) -> bool:
    """Whether the gate has not been opened meanwhile, and its task has not ended."""
    return tx.row("select 1 from task where id = :id and gated = 1 and state = 'blocked'", id=row["id"]) is not None


def _result(store: Store, row: Row) -> Any:
    """A task's value where it has one, else its words."""
    return loaded(store, row["result_value"]) if row["result_value"] is not None else row["result"]


def _task_plan(
    step: Step, *, key: str, title_: str, prompt: str, role: str, priority: int | None, needs: Sequence[str],
    gated: bool, parent: int | None = None,
) -> TaskPlan:  # fmt: skip
    joins = step.for_each is not None and parent is None
    schema = None if step.result is None or joins else json.dumps(step.result, ensure_ascii=False)
    given = step.budget is not None and not joins
    return TaskPlan(
        title_, prompt, key=key, needs=needs, role=role, priority=priority, attempts=step.attempts, parent=parent,
        on_failed_need=step.policy, result_schema=schema, result_asks=step.result_asks, gated=gated,
        budget=Budget(step.budget.tokens, step.budget.usd) if given and step.budget is not None else None,
    )  # fmt: skip


def _checked_prompt(prompt: str) -> str:
    size = len(prompt.encode(errors="replace"))
    if size > PROMPT_BYTES:
        raise Invalid(f"a prompt of {size} bytes, with the results in it", f"at most {PROMPT_BYTES}")
    return prompt
