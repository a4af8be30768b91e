"""DBOS on PostgreSQL: durable workflows that are taken from a queue."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from engines.engine import Driven
from engines.graph import Task
from engines.postgres import Postgres
from engines.record import work

_POLL_S = 0.002
"""How often the driver looks for workflows that have ended, in seconds."""

_QUEUE_POLL_S = 0.01
"""How often the executor looks for workflows to take, in seconds; by itself it does so once a second."""

_QUEUE = "tasks"
_NAME = "benchmark"


class Dbos(Driven):
    """One executor of as many threads as there are workers, which takes all that is queued whenever it looks.

    Eight executors of one thread each that share the queue reached a tenth of it: they poll each other out of the way.
    """

    def start(self, workers: int, record: str, _folder: Path) -> None:
        """Start the server and the executor, which makes the tables."""
        self._record = record
        self._server = Postgres()
        fork = multiprocessing.get_context("fork")
        here, there = fork.Pipe()
        self._executor = fork.Process(target=_serve, args=(self._server.address, workers, there), daemon=True)
        self._executor.start()
        there.close()
        here.recv()
        self._connect()

    def _connect(self) -> None:
        import sqlalchemy  # noqa: PLC0415  comes with the peer
        from dbos import DBOSClient  # noqa: PLC0415  the peer may be missing

        address = self._server.address.replace("postgresql://", "postgresql+psycopg://")
        self._engine = sqlalchemy.create_engine(address)
        self._client = DBOSClient(system_database_engine=self._engine, application_name=_NAME)
        self._indexes: set[str] = set()

    def submit_all(self, tasks: Sequence[Task]) -> None:
        """Enqueue all in one transaction."""
        with self._engine.begin() as connection:
            for task in tasks:
                self._client.enqueue_in_transaction(
                    connection, {"workflow_name": "run", "queue_name": _QUEUE, "workflow_id": str(task.index)},
                    self._record, task.index, task.sleep_s,
                )  # fmt: skip
        self._indexes |= {str(task.index) for task in tasks}

    def ended(self) -> Sequence[int]:
        """Which of those that are open have ended."""
        while True:
            found = self._client.list_workflows(
                workflow_ids=list(self._indexes), status=["SUCCESS", "ERROR"], load_input=False, load_output=False
            )
            if found:
                ended = [status.workflow_id for status in found]
                self._indexes.difference_update(ended)
                return [int(index) for index in ended]
            time.sleep(_POLL_S)

    def wait_rest(self, _size: int) -> None:
        """Wait until no workflow is open."""
        while self._client.list_workflows(status=["ENQUEUED", "PENDING"], limit=1, load_input=False, load_output=False):
            time.sleep(_POLL_S)
        self._indexes.clear()

    def stop(self) -> None:
        """Stop the executor, then the server."""
        self._client.destroy()
        self._engine.dispose()
        self._executor.kill()
        self._executor.join()
        self._server.stop()


def _serve(address: str, threads: int, ready: Connection) -> None:
    from dbos import DBOS  # noqa: PLC0415  the peer may be missing

    DBOS(
        config={
            "name": _NAME, "system_database_url": address, "application_version": "1", "log_level": "ERROR",
            "max_executor_threads": threads,
        }
    )  # fmt: skip
    DBOS.workflow(name="run")(work)
    DBOS.launch()
    DBOS.register_queue(_QUEUE, polling_interval_sec=_QUEUE_POLL_S)
    ready.send(None)
    threading.Event().wait()
