"""huey on SQLite: as it comes, and tuned."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.engine import Driven
from engines.graph import Task
from engines.record import work

_POLL_S = 0.001
"""How often the driver looks for results, in seconds."""

_TUNED: dict[str, Any] = {"initial_delay": 0.001, "max_delay": 0.001, "backoff": 1.0, "periodic": False}
"""How often an idle worker looks, in seconds, always as often, and nothing that ticks."""


class Huey(Driven):
    """A consumer with worker processes; the driver reads the results that tasks leave in the database."""

    def __init__(self, *, tuned: bool, fsync: bool | None = None) -> None:
        super().__init__()
        self._fsync = fsync
        self._options = _TUNED if tuned else {}

    def start(self, workers: int, record: str, folder: Path) -> None:
        """Start the consumer as a process of its own."""
        self._record = record
        path = str(folder / "huey.db")
        self._consumer = multiprocessing.get_context("fork").Process(
            target=_consume, args=(path, self._fsync, {"workers": workers, "worker_type": "process"} | self._options)
        )
        self._consumer.start()
        self._huey, self._task = _made(path, self._fsync)
        self._index: dict[str, int] = {}

    def submit_all(self, tasks: Sequence[Task]) -> None:
        """Enqueue each; there is no call for many."""
        for task in tasks:
            self._index[self._task(self._record, task.index, task.sleep_s).id] = task.index

    def ended(self) -> Sequence[int]:
        """Whose results are there; reading a result removes it."""
        while not (found := self._huey.all_results()):
            time.sleep(_POLL_S)
        for identity in found:
            self._huey.result(identity)
        return [self._index.pop(identity) for identity in found]

    def wait_rest(self, size: int) -> None:
        """Count results until there are enough, and drop them all at once."""
        while self._huey.result_count() < size:
            time.sleep(_POLL_S)
        self._huey.storage.flush_results()
        self._index.clear()

    def stop(self) -> None:
        """Stop the consumer."""
        self._consumer.terminate()
        self._consumer.join()


def _made(path: str, fsync: bool | None) -> tuple[Any, Any]:  # noqa: FBT001  the peer's own option
    from huey import SqliteHuey  # noqa: PLC0415  the peer may be missing

    huey = SqliteHuey("benchmark", filename=path, fsync=fsync, timeout=30)
    return huey, huey.task()(work)


def _consume(path: str, fsync: bool | None, options: dict[str, Any]) -> None:  # noqa: FBT001  the peer's own option
    logging.getLogger("huey").setLevel(logging.ERROR)
    _made(path, fsync)[0].create_consumer(**options).run()
