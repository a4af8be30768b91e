"""Prong: tasks in the swarm's database, and worker processes that claim, run and finish them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

from engines.graph import Task
from engines.record import work

from prong.primitives.joined import Swarm, join
from prong.primitives.task import (
    NEEDS,
    Claim,
    Plan,
    complete,
    create_tasks,
    set_limits,
    take_next,
    wait_next,
    wait_tasks,
)

_MOST = 1_000_000
"""The swarm's bound on tasks, which is not what is measured."""


class Prong:
    """Forked processes that take part in one swarm; the head of the line is claimed by whoever asks first."""

    def start(self, workers: int, record: str, folder: Path) -> None:
        """Make the swarm, then fork the workers."""
        directory = folder / "swarm"
        directory.mkdir()
        join(directory, name="maker").leave()
        fork = multiprocessing.get_context("fork")
        self._workers = [fork.Process(target=_serve, args=(directory, record), daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()
        self._swarm = join(directory, name="driver")
        with self._swarm.transaction() as tx:
            set_limits(tx, open=_MOST, tasks=_MOST)
        self._open: list[int] = []

    def submit_graph(self, tasks: Sequence[Task]) -> None:
        """Create all in one transaction; a task that others need is known to them by its key."""
        needed = {need for task in tasks for need in task.needs}
        plans = [
            Plan(
                "task",
                f"{task.index} {task.sleep_s}",
                needs=[str(need) for need in task.needs],
                key=str(task.index) if task.index in needed else None,
            )
            for task in tasks
        ]
        with self._swarm.transaction() as tx:
            self._open += [made.id for made, _ in create_tasks(tx, plans)]

    def submit(self, task: Task) -> None:
        """Create one."""
        self.submit_graph([task])

    def wait(self) -> None:
        """Wait for the last, which leaves few to wait for, and then for so many as one call waits for."""
        wait_tasks(self._swarm, self._open[-1:])
        for first in range(0, len(self._open), NEEDS):
            tasks = wait_tasks(self._swarm, self._open[first : first + NEEDS])
            failed = next((task for task in tasks if task.state != "done"), None)
            if failed is not None:
                raise RuntimeError(f"task {failed.id} {failed.state}: {failed.error}")
        self._open.clear()

    def stop(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.kill()
            worker.join()
        self._swarm.leave()


def _serve(directory: Path, record: str) -> None:
    with join(directory, name="worker") as swarm:
        while True:
            claimed = wait_next(swarm)
            while claimed is not None:
                index, sleep_s = _prompt(swarm, claimed).split()
                work(record, int(index), float(sleep_s))
                claimed = _end_and_take(swarm, claimed)


def _prompt(swarm: Swarm, claimed: Claim) -> str:
    prompt: str = swarm.store.rows("select prompt from task where id = :task", task=claimed.task)[0]["prompt"]
    return prompt


def _end_and_take(swarm: Swarm, claimed: Claim) -> Claim | None:
    """Finish what was claimed, and claim the next in the same transaction."""
    with swarm.transaction() as tx:
        complete(tx, claimed.task, claimed.fence)
        return take_next(tx)
