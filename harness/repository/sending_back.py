"""What becomes of a delivery: merged, back to its agent, over to a resolver, or kept as a branch with a report."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from prong.agents import conversation
from prong.harness import sleeping
from prong.harness.repository import verdicts
from prong.harness.repository.git import GitFailed
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.merging import TASK_TRAILER, Integration
from prong.harness.repository.verdicts import Verdict
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.errors import TooManyTasks
from prong.state import Row, Store, Transaction, waiter

RESOLVER_RAISED = 10
"""By how much a resolver is more urgent than the task whose work it brings onto the branch."""

OTHERS_TOLD = 10
"""Of how many tasks that were merged meanwhile a resolver reads."""

_STRANDED = """
select merge.*, task.state as task_state, helper.state as helper_state
  from merge join task on task.id = merge.task join task helper on helper.id = merge.resolver
 where merge.state = 'resolving'
   and (helper.state in ('done', 'failed', 'cancelled') or task.state in ('done', 'failed', 'cancelled'))
"""


_ENDED = {"done": "brought nothing onto the branch", "failed": "has failed", "cancelled": "was cancelled"}


class SendingBack:
    """Decides on single deliveries, in the merger's thread."""

    def __init__(
        self, store: Store, integration: Integration, rules: MergeRules,
        deciding: Callable[[], AbstractContextManager[Transaction]],
    ) -> None:  # fmt: skip
        """`deciding` opens a transaction of whoever merges, and refuses it to whoever did so before."""
        self._store = store
        self._integration = integration
        self._rules = rules
        self._deciding = deciding
        self.rested: list[int] = []

    def send(self, row: Row, verdict: Verdict) -> None:
        """A delivery does not go: back to its agent, or on to a resolver, or to its own branch."""
        if row["attempt"] < self._rules.attempts:
            with self._deciding() as tx:
                if self._record(tx, row, verdict):
                    self._return(tx, row, verdict)
            return
        with self._deciding() as tx:
            if not self._record(tx, row, verdict):
                return
            may = row["resolves"] is None and verdict.kind != "lease"  # a resolver could not write there either
            resolver = self._resolver(tx, row, verdict) if may else None
        if resolver is None:
            self._keep(row, f"It was handed in {row['attempt']} times, and at last: {verdict.reason}")

    def settle(self, tx: Transaction, row: Row, state: str, detail: str | None, *, kept: str | None = None) -> None:
        """Bring a delivery to its end, and its task; a resolver's is that of the task it resolves, too."""
        task = row["task"]
        settled = tx.execute(
            "update merge set state = :state, detail = :detail, checking_at = null, ended_at = :now"
            " where task = :task and state in ('waiting', 'resolving')",
            state=state,
            detail=detail,
            now=tx.now,
            task=task,
        )
        if not settled:
            return
        waited = {"seconds": round(tx.now - row["queued_at"], 3)}
        tx.event(f"merge.{state}", object=str(task), task=task, detail=detail, **waited)
        if state == "merged":
            tx.execute("update task set merged_commit = :commit where id = :task", commit=detail, task=task)
            tasks.finish(tx, task, "done")
        elif state == "kept":
            tx.execute("update task set kept_branch = :kept where id = :task", kept=kept, task=task)
            tasks.finish(tx, task, "failed", error=detail, failure="merge")
        for waiting in waiter.line(tx, "merge", str(task)):
            waiter.grant(tx, waiting["id"], state=state)
        if sleeping.lay_to_rest(tx, task):
            self.rested.append(task)
        if state == "merged" and row["resolves"] is not None:
            own = tx.row("select * from merge where task = :task and state = 'resolving'", task=row["resolves"])
            if own is not None:
                tx.event("merge.resolved", object=str(row["resolves"]), task=row["resolves"], resolver=task)
                self.settle(tx, own, "merged", detail)
        tx.ring_scheduler()

    def settle_resolvers(self) -> None:
        """Where a resolver has ended without a merge its task's work is kept; where its task has, it ends too."""
        for row in self._store.rows(_STRANDED):
            if row["task_state"] in tasks.FINAL:
                with self._deciding() as tx:
                    if row["helper_state"] not in tasks.FINAL:
                        tasks.cancel(tx, row["resolver"], reason=f"task {row['task']}, which it resolves, has ended")
                    self.settle(tx, row, "dropped", None)
            else:
                self._keep(row, f"Task {row['resolver']}, which was to resolve it, {_ENDED[row['helper_state']]}.")

    def _record(self, tx: Transaction, row: Row, verdict: Verdict) -> bool:
        """Write the attempt down; False where the delivery is not in line any more."""
        if tx.row("select 1 from merge where task = :task and state = 'waiting'", task=row["task"]) is None:
            return False
        tx.execute("delete from merge_attempt where task = :task and attempt >= :attempt", task=row["task"],
                   attempt=row["attempt"])  # fmt: skip
        tx.execute(
            "insert into merge_attempt (task, attempt, verdict, base, commit_id, onto, detail, output, seconds, at)"
            " values (:task, :attempt, :verdict, :base, :commit, :onto, :detail, :output, :seconds, :now)",
            task=row["task"], attempt=row["attempt"], verdict=verdict.kind, base=row["base"], commit=row["commit_id"],
            onto=verdict.onto, detail=verdict.detail, output=verdict.output, seconds=verdict.seconds, now=tx.now,
        )  # fmt: skip
        return True

    def _return(self, tx: Transaction, row: Row, verdict: Verdict) -> None:
        """Its agent goes on in its own conversation; where it is gone, another one does."""
        task = row["task"]
        laid = verdict.kind in ("markers", "lease")  # then its workspace stays as it is, with what it has changed since
        tx.execute(
            "update merge set state = 'returned', detail = :detail, onto = :onto, laid = :laid, markers = :markers,"
            "       checking_at = null where task = :task",
            detail=verdict.detail, onto=verdict.onto, laid=int(laid), markers=verdict.markers, task=task,
        )  # fmt: skip
        ours = (verdict.markers or "").removeprefix("<<<<<<< ")
        text = verdicts.message(
            verdict, attempt=row["attempt"], attempts=self._rules.attempts, ours=ours, theirs=row["commit_id"]
        )
        head = tx.value("select head from task where id = :task", task=task)
        new = conversation.insert(tx, parent=head, role="user", content=verdicts.content(text), task=task)
        tx.execute("update task set head = :head where id = :task", head=new, task=task)
        tx.event(
            "merge.returned", object=str(task), task=task, verdict=verdict.kind, attempt=row["attempt"],
            attempts=self._rules.attempts, detail=verdict.detail, seconds=verdict.seconds,
        )  # fmt: skip
        for waiting in waiter.line(tx, "merge", str(task)):
            waiter.grant(tx, waiting["id"], state="returned")
        gone = tx.row(
            "select agent.id from task join agent on agent.id = task.agent where task.id = :task"
            " and agent.ended_at is not null",
            task=task,
        )
        if gone is not None:
            tasks.give_back(tx, task, agent=gone["id"], reason="its work came back from the merge", blame=False)
        tx.ring_scheduler()

    def _resolver(self, tx: Transaction, row: Row, verdict: Verdict) -> int | None:
        """A fresh agent that gets the work of another, which waits for it; None where no task can be made any more."""
        task = row["task"]
        own = tx.row("select * from task where id = :task", task=task)
        assert own is not None, "it has a delivery"
        last = self._last_whole(tx, row)
        urgency = max(own["priority"], own["raised"] if own["raised"] is not None else own["priority"])
        plan = Plan(
            title=f"Resolve task {task}: {own['title']}"[: tasks.TITLE_CHARACTERS],
            prompt=verdicts.resolver_prompt(own, verdict, self._others(tx, last["base"], verdict.onto)),
            priority=urgency + RESOLVER_RAISED, base_commit=verdict.onto, role=own["role"],
        )  # fmt: skip
        try:
            made, _ = create_task(tx, plan)
        except TooManyTasks as error:
            tx.event("merge.unresolved", object=str(task), task=task, reason=str(error))
            return None
        tx.execute("update task set account = :account where id = :task", account=own["account"], task=made.id)
        tx.execute(
            "insert into merge (task, base, commit_id, state, attempt, onto, resolves, queued_at, markers)"
            " values (:task, :base, :commit, 'returned', 0, :onto, :resolves, :at, :markers)",
            task=made.id, base=last["base"], commit=last["commit_id"], onto=verdict.onto, resolves=task,
            at=row["queued_at"], markers=verdict.markers,
        )  # fmt: skip
        tx.execute(
            "update merge set state = 'resolving', resolver = :resolver, base = :base, commit_id = :commit,"
            "       detail = :detail, checking_at = null where task = :task",
            resolver=made.id, base=last["base"], commit=last["commit_id"], detail=verdict.detail, task=task,
        )  # fmt: skip
        tx.event("merge.resolving", object=str(task), task=task, resolver=made.id, detail=verdict.detail)
        return made.id

    def _last_whole(self, tx: Transaction, row: Row) -> Row:
        """The newest delivery in which no conflict markers stand."""
        found = tx.row(
            "select base, commit_id from merge_attempt where task = :task and verdict <> 'markers'"
            " order by attempt desc limit 1",
            task=row["task"],
        )
        return found or row

    def _others(self, tx: Transaction, base: str, onto: str) -> list[Row]:
        """Tasks that were merged since the base and touched what the delivery may conflict with, the newest first."""
        form = f"--format=%(trailers:key={TASK_TRAILER},valueonly,separator=%x2c)"
        listed: list[str] = []
        with suppress(GitFailed):  # the base is gone, which may be why it does not go
            listed = self._integration.repository.git("log", form, f"{base}..{onto}").split()
        numbers = [int(one) for one in dict.fromkeys(listed) if one.isdecimal()][:OTHERS_TOLD]
        rows = (tx.row("select * from task where id = :task", task=number) for number in numbers)
        return [row for row in rows if row is not None]

    def _keep(self, row: Row, reason: str) -> None:
        """Work that could not be merged gets a branch of its own, and a report beside it."""
        with self._store.snapshot() as source:
            task = source.row("select * from task where id = :task", task=row["task"])
            attempts = source.rows("select * from merge_attempt where task = :task order by attempt", task=row["task"])
            whole = [one for one in attempts if one["verdict"] != "markers"]
            helper = source.row("select * from task where id = :task", task=row["resolver"])
        assert task is not None, "it has a delivery"
        branch = self._branch(row["task"], whole[-1]["commit_id"] if whole else row["commit_id"])
        folder = self._store.directory / "reports"
        folder.mkdir(exist_ok=True)
        file = Path(folder, f"task-{row['task']}.md")
        file.write_text(verdicts.report(task, branch, reason, attempts, helper), errors="replace")
        detail = f"{reason.removesuffix('.')}; the work is kept as branch {branch}, and {file} tells all that was tried"
        with self._deciding() as tx:
            self.settle(tx, row, "kept", detail, kept=branch)

    def _branch(self, task: int, commit: str) -> str:
        branch = f"{self._integration.branch}-task-{task}"
        repository = self._integration.repository
        for name in itertools.chain([branch], (f"{branch}-{n}" for n in itertools.count(2))):
            if repository.advance(f"refs/heads/{name}", commit, None):
                return name
            if repository.read_ref(f"refs/heads/{name}") == commit:
                return name  # kept before, by a merger that was killed
        raise AssertionError("unreachable")
