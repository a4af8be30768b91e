"""Fanning out: tasks are made as there is room, and told of as they end.

    pieces --at most WINDOW open--> tasks --as they end--> outcomes
               ^                      |
               +-- a failed one, where it is to be tried again

However many pieces there are, only those that are open are held in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from prong.harness import control
from prong.harness.outcome import NOT_NEEDED
from prong.harness.patterns.hosting import Hosting, newest_event
from prong.harness.patterns.outcome import Outcome, read_outcome
from prong.harness.swarms import Swarm
from prong.primitives import Plan, Task, create_tasks
from prong.primitives import task as tasks
from prong.state import ProngError, Store, Transaction
from prong.state.bell import SCHEDULER_SLOT

OnError = Literal["keep", "stop", "retry"]
"""What a failed piece means: a result like another; the end of all; or another try, at most `RETRIES` times."""

RETRIES = 2
"""How often a piece is tried again where `on_error` is `retry`: beside the attempts of its task."""

AHEAD = 3
"""For each slot so many pieces are open, so that no slot waits for us."""

LEAST_OPEN = 16
BATCH = 64
"""So many tasks are made in one transaction, at most."""

LOOK_S = 0.25
"""How often it is looked although nothing rang, in seconds."""

_ENDED = """
select seq, task from event where seq > :seq and kind in ('task.done', 'task.failed', 'task.cancelled') order by seq
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work: its key, which is the same for the same work, what it is about, and the task that is made.

    Without a plan it has failed, by its `problem`, before it could begin.
    """

    key: str
    item: Any
    plan: Plan | None
    problem: str = ""


@dataclass(slots=True)
class _Open:
    piece: Piece
    tried: int = 0


Dress = Callable[[Transaction, Task, Plan], None]
"""What is to be done to a new task in the transaction that makes it."""


def allow_copy(tx: Transaction, task: Task, _plan: Plan) -> None:
    """Let a second copy of the task run where it takes much longer than its like: see `hedging`."""
    tx.execute("update task set hedge = 1 where id = :task", task=task.id)


@dataclass(slots=True)
class FanOut:
    """One fan-out on a swarm that somebody supervises."""

    swarm: Swarm
    hosting: Hosting
    on_error: OnError = "keep"
    dress: Sequence[Dress] = ()
    keeps: bool = False
    _open: dict[int, _Open] = field(default_factory=dict)
    _seen: int = 0
    _stopping: bool = False

    def run(self, pieces: Iterable[Piece]) -> Iterator[Outcome]:
        """Each piece's outcome when it has ended.  Raises `SupervisorGone` and `Standstill`.

        Who does not read to the end cancels what is open, unless it `keeps` that for the next time.
        """
        store = self.swarm.store()
        pieces = iter(pieces)
        self._seen = newest_event(store)
        try:
            while True:
                rung = store.bells.read(SCHEDULER_SLOT)
                yield from self._feed(store, pieces)
                if not self._open:
                    return
                self.hosting.start()
                ended = list(self._ended(store))
                yield from ended
                if not ended:
                    self.hosting.check()
                    store.bells.wait(SCHEDULER_SLOT, rung, LOOK_S)
        except BaseException:  # nobody reads on, or the items could not be read to their end
            if not self.keeps:
                with suppress(ProngError):  # what has happened is worth more to whoever called
                    self.cancel(store)
            raise
        finally:
            store.close()

    @staticmethod
    def window(swarm: Swarm) -> int:
        """How many pieces are open at once, at most."""
        return max(LEAST_OPEN, AHEAD * swarm.options.slots)

    @property
    def open(self) -> int:
        """How many tasks have not ended."""
        return len(self._open)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopping

    def again(self) -> FanOut:
        """Another fan-out of the same kind, after this one."""
        return FanOut(self.swarm, self.hosting, self.on_error, self.dress, self.keeps)

    def stop(self) -> None:
        """Cancel what is open, and begin nothing more."""
        self._stopping = True
        store = self.swarm.store()
        self.cancel(store)
        store.close()

    def cancel(self, store: Store) -> None:
        """Cancel what is open."""
        if self._open:
            with store.transaction(None) as tx:
                for task in self._open:
                    tasks.cancel(tx, task, reason=NOT_NEEDED)

    def _feed(self, store: Store, pieces: Iterator[Piece]) -> Iterator[Outcome]:
        window = self.window(self.swarm)
        if len(self._open) > window - window // AHEAD:
            return  # each transaction wakes the scheduler, so it is worth while for several only
        while not self._stopping and len(self._open) < window:
            batch = list(itertools.islice(pieces, min(BATCH, window - len(self._open))))
            if not batch:
                return
            yield from self._refused(batch)
            made = self._made(store, [piece for piece in batch if piece.plan is not None and not self._stopping])
            self._open |= {task.id: _Open(piece) for piece, task in made if not task.final}
            for piece, task in made:
                if self._is_settled(task.state):
                    yield read_outcome(store, task.id, key=piece.key, item=piece.item, before=True)
            for piece, task in made:  # only now: whoever has read those may know enough
                if task.final and not self._is_settled(task.state) and not self._stopping:
                    control.retry(self.swarm, task.id, with_dependants=False)
                    self._open[task.id] = _Open(piece)

    def _refused(self, batch: Sequence[Piece]) -> Iterator[Outcome]:
        for piece in batch:
            if piece.plan is None:
                yield Outcome(piece.key, piece.item, 0, "failed", error=piece.problem, usd=0.0)
                if self.on_error == "stop" and not self._stopping:
                    self.stop()

    def _made(self, store: Store, batch: Sequence[Piece]) -> list[tuple[Piece, Task]]:
        plans = [piece.plan for piece in batch if piece.plan is not None]
        with store.transaction(None) as tx:
            made = create_tasks(tx, plans)
            for plan, (task, new) in zip(plans, made, strict=True):
                for dress in self.dress if new else ():
                    dress(tx, task, plan)
        return [(piece, task) for piece, (task, _) in zip(batch, made, strict=True)]

    def _is_settled(self, state: str) -> bool:
        """Whether what was there before counts as a result."""
        return state == "done" or (state == "failed" and self.on_error == "keep")

    def _ended(self, store: Store) -> Iterator[Outcome]:
        for row in store.rows(_ENDED, seq=self._seen):
            self._seen = row["seq"]
            one = self._open.get(row["task"])
            if one is None:
                continue
            outcome = read_outcome(store, row["task"], key=one.piece.key, item=one.piece.item)
            if outcome.state not in tasks.FINAL:  # somebody has opened it again meanwhile
                continue
            if outcome.state == "failed" and self.on_error == "retry" and one.tried < RETRIES:
                one.tried += 1
                control.retry(self.swarm, outcome.task, with_dependants=False)
                continue
            del self._open[outcome.task]
            yield outcome
            if outcome.state == "failed" and self.on_error == "stop" and not self._stopping:
                self.stop()
