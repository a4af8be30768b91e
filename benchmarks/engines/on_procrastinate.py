"""procrastinate on PostgreSQL, whose workers are told of new jobs."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.engine import Driven
from engines.graph import Task
from engines.postgres import Postgres
from engines.record import work

_POLL_S = 0.002
"""How often the driver looks for jobs that have ended, in seconds."""

_ENDED = "select id from procrastinate_jobs where id = any(%(jobs)s) and status not in ('todo', 'doing')"
_OPEN = "select id from procrastinate_jobs where status in ('todo', 'doing') limit 1"


class Procrastinate(Driven):
    """Worker processes that listen, each for one job at a time; the driver asks the table which have ended."""

    def start(self, workers: int, record: str, _folder: Path) -> None:
        """Start the server, make the tables, and start the workers."""
        self._record = record
        self._server = Postgres()
        fork = multiprocessing.get_context("fork")
        maker = fork.Process(target=_make_tables, args=(self._server.keywords,))
        maker.start()
        maker.join()
        self._workers = [fork.Process(target=_serve, args=(self._server.keywords,)) for _ in range(workers)]
        for worker in self._workers:
            worker.start()
        self._app, self._task = _made(self._server.keywords)
        self._app.open()
        self._connector = self._app.connector.get_sync_connector()
        self._index: dict[int, int] = {}

    def submit_all(self, tasks: Sequence[Task]) -> None:
        """Defer all in one call."""
        jobs = self._task.batch_defer(
            *[{"path": self._record, "index": task.index, "sleep_s": task.sleep_s} for task in tasks]
        )
        self._index.update(zip(jobs, (task.index for task in tasks), strict=True))

    def ended(self) -> Sequence[int]:
        """Which of those that are open have ended."""
        while not (found := self._connector.execute_query_all(_ENDED, jobs=list(self._index))):
            time.sleep(_POLL_S)
        return [self._index.pop(row["id"]) for row in found]

    def wait_rest(self, _size: int) -> None:
        """Wait until no job is open."""
        while self._connector.execute_query_all(_OPEN):
            time.sleep(_POLL_S)
        self._index.clear()

    def stop(self) -> None:
        """Stop the workers, then the server."""
        self._app.close()
        for worker in self._workers:
            worker.kill()
            worker.join()
        self._server.stop()


def _made(keywords: str) -> tuple[Any, Any]:
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415  the peer may be missing

    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = App(connector=PsycopgConnector(conninfo=keywords))
    return app, app.task(name="work")(work)


def _make_tables(keywords: str) -> None:
    app, _ = _made(keywords)
    with app.open():
        app.schema_manager.apply_schema()


def _serve(keywords: str) -> None:
    app, _ = _made(keywords)
    app.run_worker(concurrency=1)
