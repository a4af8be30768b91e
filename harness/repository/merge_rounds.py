"""The merger's rounds: one or several of the line are made commits, checked, and the branch is moved to them.

A commit is checked as it will stand on the branch, before the branch is moved to it.  The branch is moved by
compare-and-set inside the transaction that says so, under a fence, so nobody whose place another supervisor has taken
moves it; the same transaction asks once more whether somebody else holds its files.  A fault of git or of the disk is
no fault of the work: it is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from prong.harness.repository.checking import Checked, Checker, CheckNotRun, Either
from prong.harness.repository.git import PRONG, RepositoryError, with_trailers
from prong.harness.repository.leasing import leased
from prong.harness.repository.merge_queue import LINE
from prong.harness.repository.merge_rules import MergeRules, Round, next_round, suspects_after
from prong.harness.repository.merging import Integration
from prong.harness.repository.preparing import Preparing
from prong.harness.repository.sending_back import SendingBack
from prong.harness.repository.verdicts import Verdict
from prong.primitives import task as tasks
from prong.state import ProngError, Row, Store, Transaction


class MergerReplaced(ProngError):
    """Another supervisor has taken over the merge queue."""

    def __init__(self, fence: int, newest: int) -> None:
        self.fence = fence
        self.newest = newest

    def __str__(self) -> str:
        return f"another supervisor merges now (its fence is {self.newest}, ours {self.fence}); nothing was changed"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A delivery as the commit that would stand on the branch, on `onto`."""

    row: Row
    commit: str
    onto: str


class MergeQueue:
    """The merger's side of the line; for one thread."""

    def __init__(
        self, store: Store, integration: Integration, swarm: str, rules: MergeRules | None = None,
        checker: Checker | None = None,
    ) -> None:  # fmt: skip
        """With a `checker` nothing reaches the branch that has not passed the check."""
        self._store = store
        self._integration = integration
        self._swarm = swarm
        self._rules = rules or MergeRules()
        self._checker = checker
        self._back = SendingBack(store, integration, self._rules, self._deciding)
        self._preparing = Preparing(store, integration, swarm)
        self._fence: int | None = None
        self._waits_for = ""
        self._suspects = 0
        self._base_fails: dict[str, bool] = {}

    def take_over(self) -> None:
        """Become the one who merges; whoever did so before is refused from now on."""
        with self._store.transaction(None) as tx:
            self._fence = tx.value(
                "insert into merger (id, fence) values (1, 1) on conflict (id) do update set fence = fence + 1"
                " returning fence"
            )
            tx.execute("update merge set checking_at = null where checking_at is not null")

    def close(self) -> None:
        """End what it has started; it may go on later."""
        self._integration.close()

    def rested(self) -> list[int]:
        """Tasks that have ended while their agents slept, each told once: nobody else removes their clones by now."""
        rested, self._back.rested = self._back.rested, []
        return rested

    def merge_next(self, stop: threading.Event | None = None) -> bool:
        """Decide on the head of the line, or several of it; False where none waits, or nothing can be merged now.

        A check that runs ends when `stop` is set, and is made again some other time.
        """
        if self._fence is None:
            self.take_over()
        rows: Sequence[Row] = ()
        try:
            self._back.settle_resolvers()
            rows = self._store.rows(LINE)
            if not rows:
                self._suspects = 0
                return False
            for row in rows:
                if row["task_state"] in tasks.FINAL:
                    return self._drop(row)
            return self._round(rows, stop or threading.Event())
        except (RepositoryError, CheckNotRun, OSError) as error:  # a passing fault of git or the disk ends no swarm
            self._tell_wait(rows[0]["task"] if rows else None, error)
            return False

    def _round(self, rows: Sequence[Row], stop: threading.Event) -> bool:
        planned = next_round(self._rules, waiting=len(rows), suspects=self._suspects)
        chain = self._chain(rows[: planned.count])
        if not chain:
            return True  # the first was settled without a commit
        if self._checker is None:
            self._land(chain, chain[0].commit)
            return True
        self._tell_checking(chain)
        if planned.together:
            return self._check_together(chain, stop)
        return self._check_each(chain, planned, stop)

    def _chain(self, rows: Sequence[Row]) -> list[_Candidate]:
        """The first of the line as commits on the branch and on each other, as far as they fit."""
        tip = onto = self._integration.tip()
        chain: list[_Candidate] = []
        for row in rows:
            done = self._integration.find(str(row["resolves"] or row["task"]))
            try:
                found = None if done else self._preparing.prepared(row, onto)
            except RepositoryError:
                if onto == tip:
                    raise
                break  # the first of the line go without it
            if isinstance(found, str) and found != onto:
                chain.append(_Candidate(row, found, onto))
                onto = found
                continue
            if onto != tip:  # it concerns one that is not on the branch yet: it is looked at when its turn comes
                break
            if isinstance(found, Verdict):
                self._back.send(row, found)
            else:
                with self._deciding() as tx:
                    self._back.settle(tx, row, "merged", done or tip)
            break
        return chain

    def _check_each(self, chain: Sequence[_Candidate], planned: Round, stop: threading.Event) -> bool:
        """Check each commit by itself, several at once, and move the branch on as far as they pass."""
        assert self._checker is not None
        enough = Either(stop)
        with ThreadPoolExecutor(planned.count, thread_name_prefix="check") as pool:
            checks: list[Future[Checked | None]] = [
                pool.submit(self._checker.check, candidate.commit, place, enough)
                for place, candidate in enumerate(chain)
            ]
            try:
                for candidate, check in zip(chain, checks, strict=True):
                    checked = check.result()
                    if checked is None:
                        return False
                    self._tell_checked([candidate], checked)
                    if not checked.passed:
                        self._send_failed(candidate, checked, enough)
                        return True
                    if not self._land([candidate], candidate.commit):
                        return True
            finally:
                enough.set()
        return True

    def _check_together(self, chain: Sequence[_Candidate], stop: threading.Event) -> bool:
        """Check the last commit, which holds all of them; they reach the branch together, or are halved."""
        assert self._checker is not None
        checked = self._checker.check(chain[-1].commit, 0, stop)
        if checked is None:
            return False
        self._tell_checked(chain, checked)
        before, self._suspects = self._suspects, suspects_after(self._suspects, taken=len(chain), passed=checked.passed)
        if checked.passed:
            if not self._land(chain, self._joined(chain)):
                self._suspects = before
        elif len(chain) == 1:
            self._send_failed(chain[0], checked, stop)
        return True

    def _joined(self, chain: Sequence[_Candidate]) -> str:
        """The commit that the branch is moved to: where several were checked by one run, a merge commit of them all."""
        if len(chain) == 1:
            return chain[0].commit
        objects = self._integration.objects
        last = objects.known_commit(chain[-1].commit)
        numbers = ", ".join(str(candidate.row["resolves"] or candidate.row["task"]) for candidate in chain)
        text = with_trailers(f"Merge tasks {numbers}, checked together", {"Prong-Swarm": self._swarm})
        return objects.write_commit(last.tree, (chain[0].onto, last.id), f"{text}\n", author=PRONG, committer=PRONG)

    def _land(self, chain: Sequence[_Candidate], new: str) -> bool:
        """Move the branch and say so in one transaction; False where it was moved by others, or a task cancelled."""
        merged = {str(candidate.row["resolves"] or candidate.row["task"]): candidate.commit for candidate in chain}
        with self._deciding() as tx:
            if not all(_stands(tx, candidate.row) for candidate in chain):
                return False
            if any(leased(tx, self._integration.repository, candidate.row) for candidate in chain):
                return False  # somebody has acquired its files since it was looked at; the next round sends it back
            # While this transaction lasts nobody else can take the queue over.
            if not self._integration.advance(new, chain[0].onto, merged):
                return False
            for candidate in chain:
                self._back.settle(tx, candidate.row, "merged", candidate.commit)
        self._waits_for = ""
        return True

    @contextmanager
    def _deciding(self) -> Iterator[Transaction]:
        """A transaction of whoever merges; raises `MergerReplaced` where that is another by now."""
        with self._store.transaction(None) as tx:
            newest = tx.value("select fence from merger")
            if newest != self._fence:
                raise MergerReplaced(self._fence or 0, newest)
            yield tx

    def _send_failed(self, candidate: _Candidate, checked: Checked, stop: threading.Event) -> None:
        """Give back what fails the check; its agent is told if the check fails without it as well."""
        assert self._checker is not None
        assert self._rules.check is not None
        onto = candidate.onto
        if onto == self._integration.since and onto not in self._base_fails:  # all else was checked on its way here
            before = self._checker.check(onto, 0, stop)
            if before is None:
                return
            self._base_fails[onto] = not before.passed
            if not before.passed:
                with self._deciding() as tx:
                    tx.event("merge.base_fails", object=onto, how=before.how, seconds=before.seconds)
        too = self._base_fails.get(onto, False)
        self._back.send(candidate.row, Verdict.of_check(checked, onto, self._rules.check, before_too=too))

    def _drop(self, row: Row) -> bool:
        """A task that ended otherwise while it waited."""
        merged = self._integration.find(str(row["resolves"] or row["task"]))
        with self._deciding() as tx:
            self._back.settle(tx, row, "merged" if merged else "dropped", merged)
        return True

    def _tell_wait(self, task: int | None, error: RepositoryError | CheckNotRun | OSError) -> None:
        """Say once why nothing is merged just now; it is tried again."""
        kind = f"{task} {type(error).__name__}"  # the text may name a place that is never the same
        if kind != self._waits_for:
            self._waits_for = kind
            with self._deciding() as tx:
                tx.event("merge.waits", object=str(task or ""), task=task, reason=str(error))

    def _tell_checking(self, chain: Sequence[_Candidate]) -> None:
        with self._deciding() as tx:
            for candidate in chain:
                task = candidate.row["task"]
                tx.execute("update merge set checking_at = :now where task = :task", now=tx.now, task=task)
                tx.event("merge.checking", object=str(task), task=task, commit=candidate.commit, of=len(chain))

    def _tell_checked(self, chain: Sequence[_Candidate], checked: Checked) -> None:
        with self._deciding() as tx:
            for candidate in chain:
                task = candidate.row["task"]
                tx.execute("update merge set checking_at = null where task = :task", task=task)
                tx.event(
                    "merge.checked", object=str(task), task=task, commit=candidate.commit, passed=checked.passed,
                    how=checked.how, seconds=checked.seconds, of=len(chain),
                )  # fmt: skip
                if checked.passed and checked.runs > 1:
                    tx.event("merge.flaky", object=str(task), task=task, commit=candidate.commit, runs=checked.runs)


def _stands(tx: Transaction, row: Row) -> bool:
    """Whether a delivery is in line still, as it was when it was looked at, and its task has not ended."""
    return bool(
        tx.row(
            "select 1 from merge join task on task.id = merge.task where merge.task = :task and merge.state = 'waiting'"
            " and merge.attempt = :attempt and merge.commit_id = :commit"
            " and task.state not in ('done', 'failed', 'cancelled')",
            task=row["task"], attempt=row["attempt"], commit=row["commit_id"],
        )
    )  # fmt: skip
