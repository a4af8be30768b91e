"""dask.distributed on worker processes of this machine; it knows needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.graph import Task
from engines.record import work


class Dask:
    """A local cluster of processes with one thread each; a graph is handed over as futures that take futures."""

    def start(self, workers: int, record: str, folder: Path) -> None:
        """Start scheduler and workers, without the dashboard."""
        from distributed import Client, LocalCluster  # noqa: PLC0415  the peer may be missing

        self._record = record
        self._cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(folder),
            memory_limit=0,
        )
        self._client = Client(self._cluster)
        self._client.wait_for_workers(workers)
        self._futures: dict[int, Any] = {}

    def submit_graph(self, tasks: Sequence[Task]) -> None:
        """One call for tasks that need nothing, else one for each; the client sends them in batches by itself."""
        if any(task.needs for task in tasks):
            for task in tasks:
                self._futures[task.index] = self._client.submit(
                    _after, self._record, task.index, task.sleep_s, [self._futures[need] for need in task.needs],
                    pure=False,
                )  # fmt: skip
        else:
            indexes, sleeps = [task.index for task in tasks], [task.sleep_s for task in tasks]
            made = self._client.map(work, [self._record] * len(tasks), indexes, sleeps, pure=False)
            self._futures.update(zip(indexes, made, strict=True))

    def submit(self, task: Task) -> None:
        """One call."""
        self._futures[task.index] = self._client.submit(work, self._record, task.index, task.sleep_s, pure=False)

    def wait(self) -> None:
        """Wait for all futures."""
        from distributed import wait  # noqa: PLC0415  the peer may be missing

        wait(list(self._futures.values()))
        self._futures.clear()

    def stop(self) -> None:
        """Stop the cluster."""
        self._client.close()
        self._cluster.close()


def _after(record: str, index: int, sleep_s: float, _needs: Any) -> int:
    return work(record, index, sleep_s)
