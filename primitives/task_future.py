"""Every task is a future: a view of it, which only its agent sets.

blocked, ready --> pending      running, parked --> running
done --> its result      failed --> raises TaskFailed      cancelled --> raises CancelledError
"""

from __future__ import annotations

from typing import Any, NoReturn

from prong.primitives import task
from prong.primitives.errors import NotPromised, TaskFailed, UnknownTask
from prong.primitives.mirrored import Mirrored, Told
from prong.primitives.values import FOREVER_S, checked_number
from prong.state import Membership

_STATES = {
    "blocked": "pending", "ready": "pending", "running": "running", "parked": "running",
    "done": "done", "failed": "failed", "cancelled": "notified",
}  # fmt: skip


class TaskFuture(Mirrored):
    """Task number `task` as a `concurrent.futures.Future`: `result()` is its agent's last words.

    `cancel` ends also a task that is running, with all below it.  Raises `UnknownTask` when it is looked at and there
    is no such task.

    >>> from prong.primitives import Plan, create_task
    >>> with swarm.transaction() as tx:
    ...     made, _ = create_task(tx, Plan("count", "Count the files."))
    >>> TaskFuture(swarm, made.id).running()
    False
    """

    def __init__(self, member: Membership, task: int) -> None:
        self.task = checked_number("task", task, least=1)
        super().__init__(member, f"task {task}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.member, self.task)

    def cancel(self) -> bool:
        """Cancel the task and everything below it; False where it has ended in another way.

        >>> from prong.primitives import Plan, create_task
        >>> with swarm.transaction() as tx:
        ...     made, _ = create_task(tx, Plan("count", "Count the files."))
        >>> TaskFuture(swarm, made.id).cancel()
        True
        """
        with self.member.transaction() as tx:
            if not task.find(tx, self.task).final:
                task.cancel(tx, self.task, reason="its future was cancelled")
        self.carry_over()
        return self.cancelled()

    def set_running_or_notify_cancel(self) -> NoReturn:
        """Refused: the task's agent alone begins it."""
        raise self._refusal()

    def set_result(self, result: Any) -> NoReturn:  # noqa: ARG002  the standard library's name
        """Refused: the task's agent alone completes it."""
        raise self._refusal()

    def set_exception(self, exception: BaseException | None) -> NoReturn:  # noqa: ARG002  as above
        """Refused: the task's agent alone fails it."""
        raise self._refusal()

    def join(self, timeout: float | None = None) -> None:
        """Wait for at most `timeout` seconds until the task has ended."""
        if not self.done() and (timeout is None or timeout > 0):
            limit = timeout if timeout is not None and timeout < FOREVER_S else None
            task.wait_tasks(self.member, [self.task], timeout=limit)

    @property
    def is_silent(self) -> bool:
        """Tasks ring those who wait for them by `result`, but no mirror."""
        return True

    @property
    def watched_as(self) -> str:
        """A name that no future can have."""
        return f"\0{self.name}"

    def _refusal(self) -> NotPromised:
        return NotPromised(self.name, "the agent that works on it")

    def _read(self) -> Told:
        row = self.member.store.row("select state, result, error from task where id = :task", task=self.task)
        if row is None:
            raise UnknownTask(self.task)
        return Told(_STATES[row["state"]], row["result"], row["error"])

    def _outcome(self, told: Told) -> tuple[Any, BaseException | None]:
        if told.state == "done":
            return told.result, None
        return None, TaskFailed(self.task, told.error)
