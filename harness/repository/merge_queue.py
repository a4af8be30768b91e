"""The merge queue: finished work, merged one by one onto the integration branch.

    submit --> waiting --> merged     the task is done
                  +------> conflict   the task has failed, its work is kept as a branch
                  +------> dropped    the task was cancelled meanwhile; its work stays under refs/prong/

The merge commit bears the task's number, and the branch is moved by compare-and-set.  Killed at any point, the next
merger finds by the number what is on the branch already, so nothing is merged twice and nothing is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress

from prong.harness.repository.git import AGENT, RepositoryError
from prong.harness.repository.merging import Conflict, Integration, IntegrationBusy, Merged
from prong.harness.repository.repository import BranchCheckedOut
from prong.primitives import task as tasks
from prong.state import Membership, Row, Store, TaskLost, Transaction, waiter


def trailers(swarm: str, task: int, agent: int) -> Mapping[str, str]:
    """What every commit of the swarm says of where it comes from."""
    return {"Prong-Swarm": swarm, "Prong-Task": str(task), "Prong-Agent": str(agent)}


def submit(member: Membership, task: int, fence: int, *, commit: str, result: str) -> None:
    """Put a task's work into the line and wait until it is decided; the agent holds no slot meanwhile."""
    with member.transaction() as tx:
        tasks.hold(tx, task, fence)
        tx.execute(
            "update task set commit_id = :commit, result = :result where id = :task",
            commit=commit,
            result=result,
            task=task,
        )
        tx.execute(
            "insert into merge (task, base, commit_id, state, queued_at)"
            " select id, base_commit, commit_id, 'waiting', :now from task where id = :task"
            " on conflict (task) do update set base = excluded.base, commit_id = excluded.commit_id, state = 'waiting',"
            "    detail = null, queued_at = excluded.queued_at, ended_at = null",
            now=tx.now,
            task=task,
        )
        tx.event("merge.queued", object=str(task), commit=commit)
        ticket = waiter.enrol(tx, "merge", str(task), timeout=None)
        tx.ring_merger()
    with suppress(TaskLost):  # it may be decided, and the task final, before its agent has even parked
        waiter.wait(member, ticket)


def is_queued(tx: Transaction, task: int) -> bool:
    """Whether the task's work is handed in, so that it needs no agent any more."""
    return tx.row("select 1 from merge where task = :task and state = 'waiting'", task=task) is not None


class MergeQueue:
    """The merger's side of the line."""

    def __init__(self, store: Store, integration: Integration, swarm: str) -> None:
        self._store = store
        self._integration = integration
        self._swarm = swarm
        self._waits_for = ""

    def merge_next(self) -> bool:
        """Merge the work that has waited longest; False where none waits."""
        row = self._store.row(
            "select merge.*, task.title, task.state as task_state, agent.id as agent from merge"
            " join task on task.id = merge.task left join agent on agent.task = task.id"
            " where merge.state = 'waiting' order by merge.queued_at, merge.task, agent.id desc limit 1"
        )
        if row is None:
            return False
        if row["task_state"] in tasks.FINAL:
            merged = self._integration.find(str(row["task"]))
            self._settle(row, "merged" if merged else "dropped", merged)
            return True
        try:
            outcome: Merged | Conflict | str = self._merge(row)
        except (BranchCheckedOut, IntegrationBusy) as error:
            self._tell_wait(row["task"], str(error))
            return False
        except RepositoryError as error:
            outcome = str(error)
        if isinstance(outcome, Merged):
            self._settle(row, "merged", outcome.commit)
        else:
            detail = outcome.detail if isinstance(outcome, Conflict) else outcome
            kept = self._keep(row)
            self._settle(row, "conflict", f"{detail}; the work is kept as branch {kept}", kept=kept)
        return True

    def _tell_wait(self, task: int, reason: str) -> None:
        """Say once why nothing is merged just now; it is tried again."""
        if reason != self._waits_for:
            self._waits_for = reason
            with self._store.transaction(None) as tx:
                tx.event("merge.waits", object=str(task), task=task, reason=reason)

    def _merge(self, row: Row) -> Merged | Conflict:
        return self._integration.merge(
            base=row["base"],
            commit=row["commit_id"],
            message=row["title"],
            author=AGENT,
            trailers=trailers(self._swarm, row["task"], row["agent"]),
        )

    def _keep(self, row: Row) -> str:
        """Work that could not be merged gets a branch of its own."""
        branch = f"{self._integration.branch}-task-{row['task']}"
        for name in itertools.chain([branch], (f"{branch}-{n}" for n in itertools.count(2))):
            if self._integration.repository.advance(f"refs/heads/{name}", row["commit_id"], None):
                return name
            if self._integration.repository.read_ref(f"refs/heads/{name}") == row["commit_id"]:
                return name  # kept before, by a merger that was killed
        raise AssertionError("unreachable")

    def _settle(self, row: Row, state: str, detail: str | None, *, kept: str | None = None) -> None:
        task = row["task"]
        with self._store.transaction(None) as tx:
            settled = tx.execute(
                "update merge set state = :state, detail = :detail, ended_at = :now"
                " where task = :task and state = 'waiting'",
                state=state,
                detail=detail,
                now=tx.now,
                task=task,
            )
            if not settled:
                return
            tx.event(f"merge.{state}", object=str(task), task=task, detail=detail)
            if state == "merged":
                tx.execute("update task set merged_commit = :commit where id = :task", commit=detail, task=task)
                tasks.finish(tx, task, "done")
            elif state == "conflict":
                tx.execute("update task set kept_branch = :kept where id = :task", kept=kept, task=task)
                tasks.finish(tx, task, "failed", error=detail, failure="merge")
            for waiting in waiter.line(tx, "merge", str(task)):
                waiter.grant(tx, waiting["id"], state=state)
            tx.ring_scheduler()
