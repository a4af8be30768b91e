"""Making tasks: one, or a whole graph in one transaction.

A task's needs must exist when it is created, or be created together with it, and a graph with a circle in it is
refused: so no circle of needs can ever be made.  However a task comes into being, the same limits count it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prong.primitives import budget, ranking, task_line, write_scope
from prong.primitives.errors import Limit, TooManyTasks
from prong.primitives.task_ending import finish, is_doomed, is_ready
from prong.primitives.task_record import (
    NEEDS,
    PROMPT_BYTES,
    RESULT_ASKS,
    SCHEMA_BYTES,
    TITLE_CHARACTERS,
    Plan,
    Task,
    find,
    past,
)
from prong.primitives.values import MOST, checked_name, checked_number
from prong.state import Invalid, Row, TaskLost, Transaction

LEVELS_RAISED = 64
"""How far up the line of its needs a new task's path and priority are told, in tasks."""

_OPEN_NEEDS = """
select need from task_need join task on task.id = need
 where task_need.task = :task and state not in ('done', 'failed', 'cancelled')
"""

_INSERT = """
insert into task (parent, title, prompt, context, state, role, depth, priority, level, estimate_s, path_s,
                  on_failed_need, attempts, paused, fork_point, brief_of, base_commit, key, created_at, ready_at,
                  account, result_schema, result_asks, writes, gated)
values (:parent, :title, :prompt, :context, :state, :role, :depth, :priority, :level, :estimate_s, :path_s,
        :on_failed_need, :attempts, :paused, :fork_point, :brief_of, :base_commit, :key, :now,
        case when :state = 'ready' then :now end, :account, :result_schema, :result_asks, :writes, :gated)
"""


# Counting refuses what would be too many, and tells in the same statement what every new task is made with.
_COUNT = """
update task_count set open = open + :number, total = total + :number
 where :number = 0 or (open + :number <= most_open and total + :number <= most_total
   and (:parent is null or (:depth <= most_depth
        and (select count(*) from task where parent = :parent) + :number <= most_children)))
returning *, exists (select 1 from account where task = 0) as budgeted,
          (select estimate_s from role where name = '') as usual_s
"""  # no row: one of the limits is reached


def create_task(tx: Transaction, plan: Plan) -> tuple[Task, bool]:
    """Create a task as a child of the acting member's; the same key a second time returns the first task, and False.

    Raises `UnknownTask` where it needs one that is not there, `Invalid` where the plan is out of bounds, `TooManyTasks`
    where a limit of the swarm is reached, and `OutOfBudget` where its budget is more than its parent has left.

    >>> with swarm.transaction() as tx:
    ...     task, new = create_task(tx, Plan("Count", "Count the files.", key="count"))
    ...     again, _ = create_task(tx, Plan("Count", "Count the files.", key="count"))
    >>> task.state, new, again == task
    ('ready', True, True)
    """
    ((task, new),) = create_tasks(tx, [plan])
    return task, new


def create_tasks(tx: Transaction, plans: Sequence[Plan]) -> list[tuple[Task, bool]]:
    """Create a graph of tasks at once, whose needs may name each other's keys; as `create_task` for each.

    Nothing is created where anything is refused.  A new task is returned as it was created, although somebody who waits
    for work may have it by then.

    >>> with swarm.transaction() as tx:
    ...     made = create_tasks(tx, [Plan("Ship", "Ship it.", needs=["test"]), Plan("Test", "Test it.", key="test")])
    >>> [(task.title, task.state) for task, _ in made]
    [('Ship', 'blocked'), ('Test', 'ready')]
    """
    for plan in plans:
        _check(plan)
    known = _known(tx, plans)
    fresh = {place: plan for place, plan in enumerate(plans) if plan.key is None or plan.key not in known}
    by_key = {plan.key: place for place, plan in fresh.items() if plan.key is not None}
    fresh = {place: plan for place, plan in fresh.items() if plan.key is None or by_key[plan.key] == place}
    family = _Family(tx, len(fresh))
    within, before = _needs(tx, fresh, by_key, known)
    estimates = {place: family.estimate_s(plan.role) for place, plan in fresh.items()}
    paths = ranking.longest_paths(estimates, within) if any(within.values()) else estimates
    made: dict[int, Task] = {}
    for place in _in_order(fresh, within):
        needs = [made[one] for one in within[place]] + [find(tx, one) for one in before[place]]
        made[place] = _create(tx, family, fresh[place], needs, estimate_s=estimates[place], path_s=paths[place])
    if fresh:
        task_line.offer(tx, last=made[next(iter(fresh))].id if len(fresh) == 1 else None)
    return [
        (made[place], True) if place in made else (_same_key(tx, plan, known, by_key, made), False)
        for place, plan in enumerate(plans)
    ]


def set_limits(
    tx: Transaction, *, open: int | None = None, tasks: int | None = None, depth: int | None = None,
    children: int | None = None, attempts: int | None = None, ageing_s: float | None = None,
    priority: int | None = None,
) -> None:  # fmt: skip
    """Bound how many tasks may be open and ever be created, how deep and how many below one; None leaves one as it is.

    `attempts` is after how many failures a task has failed that names no other number, `priority` that of tasks that
    name none, and `ageing_s` how many seconds of waiting count as much as one more of priority.

    >>> with swarm.transaction() as tx:
    ...     set_limits(tx, open=50_000, tasks=100_000)
    """
    if ageing_s is not None and not 0 < ageing_s < float("inf"):
        raise Invalid(f"ageing_s {ageing_s}", "more than 0 seconds")
    given = {
        "most_open": open, "most_total": tasks, "most_depth": depth, "most_children": children, "attempts": attempts,
        "ageing_s": ageing_s, "priority": priority,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            if name != "ageing_s":
                checked_number(name, value, least={"most_depth": 0, "priority": -MOST}.get(name, 1))
            tx.execute(f"update task_count set {name} = :value", value=value)  # noqa: S608  a name from above
    if ageing_s is not None:  # those that wait stand where the new measure puts them
        tx.execute(
            "update task set level = (case when raised > priority then raised else priority end)"
            "                        - cast(coalesce(ready_at, 0) / :ageing_s as integer) where state = 'ready'",
            ageing_s=ageing_s,
        )


def set_role(
    tx: Transaction, name: str, *, estimate_s: float | None = None, priority: int | None = None,
    attempts: int | None = None, agents: int | None = None, writes: Sequence[str] = (), hedge: bool = False,
) -> None:  # fmt: skip
    """Say what tasks of a role get that name nothing else; an estimate counts only until one of them has ended.

    `agents` is how many of them the harness has run at once, `writes` which files they are to change; `hedge` lets it
    run a second copy of a straggler.

    >>> with swarm.transaction() as tx:
    ...     set_role(tx, "review", estimate_s=120, priority=5)
    """
    checked_name("role", name)
    tx.execute(
        "insert into role (name, estimate_s, priority, attempts, agents, writes, hedge)"
        " values (:name, :estimate_s, :priority, :attempts, :agents, :writes, :hedge)"
        " on conflict (name) do update set priority = excluded.priority, attempts = excluded.attempts,"
        "    agents = excluded.agents, writes = excluded.writes, hedge = excluded.hedge,"
        "    estimate_s = case when finished = 0 then excluded.estimate_s else estimate_s end",
        name=name,
        estimate_s=estimate_s,
        priority=priority,
        attempts=attempts,
        agents=agents,
        writes=write_scope.checked(writes),
        hedge=int(hedge),
    )


class _Family:
    """What the tasks to be made have in common: their parent, and the limits against which so many more are counted.

    Raises `TooManyTasks` where they would be too many.
    """

    def __init__(self, tx: Transaction, number: int) -> None:
        self._tx = tx
        self.parent = tx.member.task if tx.member else None
        row = None
        if self.parent is not None:
            row = tx.row("select state, fence, depth, paused, account from task where id = :task", task=self.parent)
        if row is not None and row["state"] in ("done", "failed", "cancelled"):
            # It was taken away, and its agent has not heard of it: it must not make new ones before it does.
            raise TaskLost(self.parent or 0, row["fence"] - 1, row["state"], row["fence"])
        self.depth = row["depth"] + 1 if row else 0
        self.paused = row["paused"] if row else 0
        limits = tx.row(_COUNT, number=number, depth=self.depth, parent=self.parent)
        if limits is None:
            raise self._too_many(number)
        self._limits = limits
        own = row["account"] if row is not None else None
        self.account = budget.SWARM if own is None and limits["budgeted"] else own
        self.level = ranking.level(0, None, tx.now, limits["ageing_s"])
        self._roles: dict[str, Row | None] = {}

    def _too_many(self, number: int) -> TooManyTasks:
        """Which limit is reached, and what is left of each."""
        limits = self._tx.row("select * from task_count")
        assert limits is not None, "the schema makes it"
        most: dict[Limit, int] = {"open": limits["most_open"], "tasks": limits["most_total"]}
        left: dict[Limit, int] = {"open": most["open"] - limits["open"], "tasks": most["tasks"] - limits["total"]}
        if self.parent is not None:
            children = self._tx.value("select count(*) from task where parent = :parent", parent=self.parent)
            most |= {"children": limits["most_children"], "depth": limits["most_depth"]}
            left |= {"children": most["children"] - children, "depth": most["depth"] - self.depth + 1}
        reached = next(limit for limit, rest in left.items() if rest < (1 if limit == "depth" else number))
        return TooManyTasks(reached, most[reached], {name: max(0, value) for name, value in left.items()})

    def estimate_s(self, role: str) -> float:
        """How long a task of this role is expected to run."""
        row = self._role(role)
        learnt: float | None = row["estimate_s"] if row is not None else self._limits["usual_s"] if not role else None
        return ranking.ESTIMATE_S if learnt is None else learnt

    def priority(self, plan: Plan) -> int:
        """The plan's priority, its role's, or the swarm's."""
        row = self._role(plan.role)
        given = plan.priority if plan.priority is not None or row is None else row["priority"]
        return self._limits["priority"] if given is None else given

    def attempts(self, plan: Plan) -> int:
        """The plan's attempts, its role's, or the swarm's."""
        row = self._role(plan.role)
        return plan.attempts or (row["attempts"] if row is not None else None) or self._limits["attempts"]

    def writes(self, plan: Plan) -> str | None:
        """What the plan is to write, or tasks of its role are."""
        row = self._role(plan.role)
        return write_scope.checked(plan.writes) or (row["writes"] if row is not None else None)

    def _role(self, role: str) -> Row | None:
        if role and role not in self._roles:
            self._roles[role] = self._tx.row("select * from role where name = :role", role=role)
        return self._roles.get(role)


def _check(plan: Plan) -> None:
    if not plan.title.strip() or len(plan.title) > TITLE_CHARACTERS:
        raise Invalid(f"a title of {len(plan.title)} characters", f"1 to {TITLE_CHARACTERS}")
    if not plan.prompt.strip() or len(plan.prompt.encode(errors="replace")) > PROMPT_BYTES:
        raise Invalid("a prompt that is empty or too long", f"1 to {PROMPT_BYTES} bytes")
    if len(plan.needs) > NEEDS:
        raise Invalid(f"{len(plan.needs)} needs", f"at most {NEEDS}")
    if plan.priority is not None:
        checked_number("priority", plan.priority)
    if plan.attempts is not None:
        checked_number("attempts", plan.attempts, least=1, most=1_000)
    if plan.on_failed_need not in ("fail", "continue", "any"):
        raise Invalid(f"on_failed_need={plan.on_failed_need!r}", "'fail', 'continue' or 'any'")
    if plan.key is not None:
        checked_name("key of a task", plan.key)
    if plan.role:
        checked_name("role", plan.role)
    write_scope.checked(plan.writes)
    _check_result(plan)


def _check_result(plan: Plan) -> None:
    if plan.result_schema is not None and len(plan.result_schema.encode(errors="replace")) > SCHEMA_BYTES:
        raise Invalid("a result schema that is too long", f"at most {SCHEMA_BYTES} bytes")
    if plan.result_asks > RESULT_ASKS:
        raise Invalid(f"result_asks={plan.result_asks}", f"0 to {RESULT_ASKS}")
    checked_number("result_asks", plan.result_asks, least=0)


def _known(tx: Transaction, plans: Sequence[Plan]) -> Mapping[str, int]:
    """The tasks that there are of all keys that the plans name."""
    named = {plan.key for plan in plans if plan.key is not None}
    named |= {need for plan in plans for need in plan.needs if isinstance(need, str)}
    known = {}
    for key in named:
        row = tx.row("select id from task where key = :key", key=key)
        if row is not None:
            known[key] = row["id"]
    return known


def _needs(
    tx: Transaction, fresh: Mapping[int, Plan], by_key: Mapping[str, int], known: Mapping[str, int]
) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """For each plan its needs among the plans, by place, and those that there are already, by number."""
    within: dict[int, list[int]] = {}
    before: dict[int, list[int]] = {}
    for place, plan in fresh.items():
        within[place], before[place] = [], []
        for need in dict.fromkeys(plan.needs):
            if isinstance(need, str) and need in by_key:
                within[place].append(by_key[need])
            elif isinstance(need, str) and need not in known:
                raise Invalid(f"a task that needs {need!r}, which no task has as its key", "keys of tasks")
            else:
                before[place].append(find(tx, known[need] if isinstance(need, str) else need).id)
    return within, before


def _in_order(fresh: Mapping[int, Plan], within: Mapping[int, Sequence[int]]) -> list[int]:
    """The places such that each comes behind its needs; raises `Invalid` where they need each other in a circle."""
    missing = {place: len(needs) for place, needs in within.items()}
    needed_by: dict[int, list[int]] = {place: [] for place in within}
    for place, needs in within.items():
        for need in needs:
            needed_by[need].append(place)
    order = [place for place, count in missing.items() if not count]
    for place in order:  # which grows while it is read
        for one in needed_by[place]:
            missing[one] -= 1
            if not missing[one]:
                order.append(one)
    if len(order) < len(fresh):
        stuck = ", ".join(
            repr(fresh[place].key or fresh[place].title) for place in sorted(set(within) - set(order))[:5]
        )
        raise Invalid(f"tasks that need each other in a circle: {stuck}", "needs without a circle")
    return order


def _create(
    tx: Transaction, family: _Family, plan: Plan, needs: Sequence[Task], *, estimate_s: float, path_s: float
) -> Task:
    states = [need.state for need in needs]
    ready = is_ready(plan.on_failed_need, states) and not plan.gated
    row = {**_columns(tx, family, plan), "state": "ready" if ready else "blocked", "estimate_s": estimate_s,
           "path_s": path_s}  # fmt: skip
    number = tx.insert(_INSERT, **row)
    for need in needs:
        tx.execute("insert into task_need (task, need) values (:task, :need)", task=number, need=need.id)
    if plan.budget is not None:
        budget.open_account(tx, number, lender=family.account, budget=plan.budget)
        tx.execute("update task set account = :task where id = :task", task=number)
    tx.event(
        "task.created", object=str(number), title=plan.title, state=row["state"], priority=row["priority"],
        context=plan.context, needs=[need.id for need in needs], parent=row["parent"], fork_point=plan.fork_point,
        role=plan.role,
    )  # fmt: skip
    if is_doomed(plan.on_failed_need, states):
        bad = next(need for need in needs if need.state in ("failed", "cancelled"))
        finish(tx, number, "failed", error=f"it needs task {bad.id}, which {past(bad.state)}", failure="need")
        return find(tx, number)
    if not ready:
        tell_needs(tx, [need.id for need in needs if not need.final], path_s=path_s, priority=row["priority"])
    return Task(number, row["parent"], plan.title, row["state"], row["priority"], 0, None, None, None, plan.role,
                result_schema=plan.result_schema)  # fmt: skip


def _columns(tx: Transaction, family: _Family, plan: Plan) -> Mapping[str, Any]:
    priority = family.priority(plan)
    return {
        "parent": plan.parent if family.parent is None else family.parent,
        "title": plan.title, "prompt": plan.prompt, "context": plan.context,
        "role": plan.role, "depth": family.depth, "priority": priority, "level": family.level + priority,
        "on_failed_need": plan.on_failed_need, "attempts": family.attempts(plan), "paused": family.paused,
        "fork_point": plan.fork_point, "brief_of": plan.brief_of, "base_commit": plan.base_commit, "key": plan.key,
        "now": tx.now, "account": family.account, "result_schema": plan.result_schema, "result_asks": plan.result_asks,
        "writes": family.writes(plan), "gated": int(plan.gated),
    }  # fmt: skip


def tell_needs(tx: Transaction, needs: Sequence[int], *, path_s: float, priority: int) -> None:
    """Let what a new task needs know how much hangs on it: its path is longer, and it is as urgent as the new one."""
    line = [(need, path_s, priority) for need in needs]
    for _ in range(LEVELS_RAISED):
        above = []
        for task, behind_s, urgent in line:
            row = tx.row(
                "select priority, raised, level, estimate_s, path_s, state from task where id = :task", task=task
            )
            assert row is not None
            path = max(row["path_s"], row["estimate_s"] + behind_s)
            now = max(row["priority"], row["raised"] or row["priority"])
            if path == row["path_s"] and urgent <= now:
                continue
            _lift(tx, task, row, path, urgent if urgent > now else None)
            if row["state"] == "blocked":
                above += [(one, path, max(urgent, now)) for one in open_needs(tx, task)]
        if not above:
            return
        line = above


def _lift(tx: Transaction, task: int, row: Row, path_s: float, raised: int | None) -> None:
    higher = 0 if raised is None else raised - max(row["priority"], row["raised"] or row["priority"])
    tx.execute(
        "update task set path_s = :path_s, raised = :raised, level = :level where id = :task",
        path_s=path_s,
        raised=row["raised"] if raised is None else raised,
        level=row["level"] + higher,
        task=task,
    )


def open_needs(tx: Transaction, task: int) -> list[int]:
    """What a task needs that has not ended."""
    return [row["need"] for row in tx.rows(_OPEN_NEEDS, task=task)]


def _same_key(
    tx: Transaction, plan: Plan, known: Mapping[str, int], by_key: Mapping[str, int], made: Mapping[int, Task]
) -> Task:
    """The task that has the plan's key already, from before or from earlier in the same graph."""
    assert plan.key is not None
    return find(tx, known[plan.key]) if plan.key in known else made[by_key[plan.key]]
