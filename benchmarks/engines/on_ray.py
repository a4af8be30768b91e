"""Ray on this machine; it knows needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.graph import Task
from engines.record import work

_SHORT = 40
"""The longest folder that leaves room for the names of Ray's sockets, in characters."""


class Ray:
    """As many CPUs as workers, one for each task; a task takes the references of those that it needs."""

    def start(self, workers: int, record: str, folder: Path) -> None:
        """Start a node."""
        # By itself it gives its workers the lowest priority but four, and sends home how it is used.
        os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        import ray  # noqa: PLC0415  the peer may be missing

        self._ray, self._record = ray, record
        ray.init(
            address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, object_store_memory=200 * 1024**2,
            _temp_dir=str(folder) if len(str(folder)) <= _SHORT else None,
        )  # fmt: skip
        self._run = ray.remote(num_cpus=1, max_retries=0)(_after)
        self._references: dict[int, Any] = {}

    def submit_graph(self, tasks: Sequence[Task]) -> None:
        """One call for each task."""
        for task in tasks:
            self._references[task.index] = self._run.remote(
                self._record, task.index, task.sleep_s, *[self._references[need] for need in task.needs]
            )

    def submit(self, task: Task) -> None:
        """One call."""
        self.submit_graph([task])

    def wait(self) -> None:
        """Get all results."""
        self._ray.get(list(self._references.values()))
        self._references.clear()

    def stop(self) -> None:
        """Stop the node."""
        self._ray.shutdown()


def _after(record: str, index: int, sleep_s: float, *_needs: int) -> int:
    return work(record, index, sleep_s)
