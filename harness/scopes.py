"""Which tasks are likely to conflict: those that are to write, or as they do it probably will, the same files.

    declared   both say which files they will write (`writes`), and some file may be meant by both
    learnt     what one has changed, or its kind usually changes, the other has, usually changes, or is to write

What a task has changed is known from its workspace (foresight.py), from earlier attempts too; where it has not begun it
is what at least half of its kind have changed: of the tasks of its role, or where it has none, of the same parent's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from prong.harness.overlap import both_say, by_folder, meant
from prong.harness.scheduler import Clashes
from prong.state import Row, Store, Transaction

TOUCHES = 50
"""Of so many files that a task has changed it is looked whether others will change them, the newest first."""

HABITS = 50
"""So many files at most a kind of task is known to change."""

LEARNT_FILES = 200
"""A task that has changed more files than this says nothing about its kind."""

# Whose work is under way: it runs, or is handed in and not on the branch yet.  Whoever is parked may wait for the very
# task that would be held back, and whoever waits for a resolver does.
_UNDER_WAY = """
select id, writes, role, parent from task
 where state not in ('done', 'failed', 'cancelled') and state = 'running'
 union
select id, writes, role, parent from merge join task on task.id = merge.task
 where merge.state = 'waiting'
"""

_CANDIDATES = """
select id, writes, role, parent from task where id in (select value from json_each(:tasks))
"""

# Whoever stands above a task has handed a part of its own work on to it.
_ABOVE = """
with recursive above (task, parent) as (
    select id, parent from task where id in (select value from json_each(:tasks)) and parent is not null
     union all select above.task, task.parent from above join task on task.id = above.parent
     where task.parent is not null)
select task, parent from above where parent in (select value from json_each(:others))
"""

_TOUCHED = """
select task, path from (
    select task, path, row_number() over (partition by task order by at desc, path) as place from touch
     where task in (select value from json_each(:tasks))) where place <= :most
"""

_USUAL = """
select path from habit where kind = :kind and path <> ''
   and tasks * 2 >= (select tasks from habit where kind = :kind and path = '' and tasks > 1)
 order by tasks desc limit :most
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a task is to write (None: not said), and which files it has changed or probably will."""

    task: int
    writes: str | None
    touches: frozenset[str]


def read(source: Transaction | Store, candidates: Collection[int]) -> Clashes:
    """How the candidates and those whose work is under way would conflict."""
    under_way = source.rows(_UNDER_WAY)
    busy = frozenset(row["id"] for row in under_way)
    asking = source.rows(_CANDIDATES, tasks=json.dumps(sorted(set(candidates) - busy)))
    scopes = _scopes(source, [*asking, *under_way])
    if len(scopes) < 2:  # noqa: PLR2004  nobody to conflict with
        return Clashes(busy)
    found = _clashes([scopes[row["id"]] for row in asking if row["id"] in scopes], list(scopes.values()), busy)
    return _without_family(source, found) if found else found


def kind_of(role: str, parent: int | None) -> str:
    """The name of the kind of task from which it is learnt; "" where there is none."""
    return f"role {role}" if role else "" if parent is None else f"below {parent}"


def learn(tx: Transaction, task: int, paths: Sequence[str]) -> None:
    """A task was merged that changed these files."""
    row = tx.row("select role, parent from task where id = :task", task=task)
    kind = kind_of(row["role"], row["parent"]) if row is not None else ""
    if not kind or len(paths) > LEARNT_FILES:
        return
    for path in ("", *paths):
        tx.execute(
            "insert into habit (kind, path, tasks) values (:kind, :path, 1)"
            " on conflict (kind, path) do update set tasks = tasks + 1",
            kind=kind, path=path,
        )  # fmt: skip


def _scopes(source: Transaction | Store, rows: Iterable[Row]) -> dict[int, Scope]:
    """What is known of tasks; those of whom nothing is are left out."""
    usual: dict[str, frozenset[str]] = {}
    found = {}
    rows = list(rows)
    touched: dict[int, set[str]] = defaultdict(set)
    for row in source.rows(_TOUCHED, tasks=json.dumps([row["id"] for row in rows]), most=TOUCHES):
        touched[row["task"]].add(row["path"])
    for row in rows:
        paths = frozenset(touched[row["id"]])
        kind = kind_of(row["role"], row["parent"])
        if kind and not paths:
            if kind not in usual:
                usual[kind] = frozenset(one["path"] for one in source.rows(_USUAL, kind=kind, most=HABITS))
            paths = usual[kind]
        if row["writes"] is not None or paths:
            found[row["id"]] = Scope(row["id"], row["writes"], paths)
    return found


def _clashes(candidates: Sequence[Scope], everybody: Sequence[Scope], under_way: frozenset[int]) -> Clashes:
    declared: dict[int, frozenset[int]] = {}
    learnt: dict[int, frozenset[int]] = {}
    means: dict[str, frozenset[str]] = {}
    below = by_folder({path for one in everybody for path in one.touches})
    for one in everybody:
        if one.writes is not None and one.writes not in means:
            means[one.writes] = meant(one.writes, below)
    groups: dict[Scope, set[int]] = defaultdict(set)  # most tasks are like many others
    for one in everybody:
        groups[replace(one, task=0)].add(one.task)
    files = {one: one.touches | means.get(one.writes or "", frozenset()) for one in groups}
    for mine in {replace(one, task=0) for one in candidates}:
        said = {task for other in groups if _both_say(mine, other) for task in groups[other]}
        likely = {task for other in groups if _likely(mine, other, files) for task in groups[other]}
        for task in groups[mine] - under_way:
            if said - {task}:
                declared[task] = frozenset(said - {task})
            if likely - {task}:
                learnt[task] = frozenset(likely - {task})
    return Clashes(under_way, declared, learnt)


def _both_say(one: Scope, other: Scope) -> bool:
    return one.writes is not None and other.writes is not None and both_say(one.writes, other.writes)


def _likely(one: Scope, other: Scope, files: Mapping[Scope, frozenset[str]]) -> bool:
    """Whether one of them has changed, or usually would, what the other has or is to."""
    return not (one.touches.isdisjoint(files[other]) and other.touches.isdisjoint(files[one]))


def _without_family(source: Transaction | Store, found: Clashes) -> Clashes:
    """Nobody is held up by whom it was made by: that one has handed a part of its work on."""
    named = sorted({*found.declared, *found.learnt})
    others = {other for kind in (found.declared, found.learnt) for some in kind.values() for other in some}
    everyone = json.dumps(sorted({*named, *others}))
    pairs = {
        pair
        for row in source.rows(_ABOVE, tasks=everyone, others=everyone)
        for pair in ((row["task"], row["parent"]), (row["parent"], row["task"]))
    }

    def strangers(kind: Mapping[int, frozenset[int]]) -> Mapping[int, frozenset[int]]:
        rest = {task: frozenset(one for one in some if (task, one) not in pairs) for task, some in kind.items()}
        return {task: some for task, some in rest.items() if some}

    return Clashes(found.under_way, strangers(found.declared), strangers(found.learnt))
