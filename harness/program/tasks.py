"""Tasks as a program sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prong.harness.program.door import call

AT_ONCE = 1_000
"""So many tasks one call of the agent waits for."""

TITLE_CHARACTERS = 80


@dataclass(frozen=True)
class Task:
    """A task as it was when it was last looked at; `result` is its agent's last words, `error` why there are none.

    `value` is what fitted the `result_schema` that it was created with.  `cut`: the result is longer than what a
    program is told; have the agent write it to a file instead.
    """

    id: int
    title: str
    state: str
    result: str | None = None
    error: str | None = None
    cut: bool = False
    value: Any = None

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.state == "done"

    @property
    def ended(self) -> bool:
        """Whether it ended, well or not."""
        return self.state in ("done", "failed", "cancelled")


def create_task(
    prompt: str, *, title: str | None = None, context: str = "fresh", needs: Sequence[Task | int] = (),
    key: str | None = None, **more: Any,
) -> Task:  # fmt: skip
    """Hand work to an agent of its own; returns at once.

    `context` is `fresh`, or `fork` or `brief` of the conversation that runs the program; all forks share its prompt
    cache.  `more` is what else the tool create_task takes: priority, role, attempts, tokens, on_failed_need, ….
    Raises `Refused`, also where a limit of the swarm is reached; its words say what is left.
    """
    lines = prompt.strip().splitlines() or [""]
    made = call(
        "create_task", once=key, prompt=prompt, title=title or lines[0][:TITLE_CHARACTERS] or "task", context=context,
        needs=_numbers(needs), **more,
    )  # fmt: skip
    return Task(made["task"], made["title"], made["state"])


def wait(tasks: Iterable[Task | int], timeout: float | None = None) -> list[Task]:
    """All of the tasks as they are when all have ended, or after `timeout` seconds; in the order given."""
    numbers = _numbers(tasks)
    found: dict[int, Task] = {}
    for begin in range(0, len(numbers), AT_ONCE):
        found |= {task.id: task for task in _wait(numbers[begin : begin + AT_ONCE], "all", timeout)}
    return [found[number] for number in numbers]


def wait_any(tasks: Iterable[Task | int], timeout: float | None = None) -> list[Task]:
    """All of the tasks as they are when one has ended, or after `timeout` seconds; at most 1,000."""
    return _wait(_numbers(tasks), "any", timeout)


def as_completed(tasks: Iterable[Task | int]) -> Iterator[Task]:
    """Each task when it has ended, in the order in which they end; at most 1,000."""
    left = _numbers(tasks)
    while left:
        ended = [task for task in wait_any(left) if task.ended]
        left = [number for number in left if number not in {task.id for task in ended}]
        yield from ended


def list_tasks(state: str = "open", *, of: str = "mine") -> list[dict[str, Any]]:
    """Tasks of the swarm as the tool list_tasks tells them."""
    listed: list[dict[str, Any]] = call("list_tasks", state=state, of=of)["tasks"]
    return listed


def cancel_task(task: Task | int, reason: str) -> list[int]:
    """End a task that this program created, and all below it; returns which were ended."""
    cancelled: list[int] = call("cancel_task", task=_number(task), reason=reason)["cancelled"]
    return cancelled


def _wait(numbers: Sequence[int], mode: str, timeout: float | None) -> list[Task]:
    if not numbers:
        return []
    told = call("wait_tasks", tasks=list(dict.fromkeys(numbers)), mode=mode, timeout=timeout)["tasks"]
    return [
        Task(one["task"], one["title"], one["state"], one["result"], one["error"], one["cut"], one["value"])
        for one in told
    ]


def _numbers(tasks: Iterable[Task | int]) -> list[int]:
    return [_number(task) for task in tasks]


def _number(task: Task | int) -> int:
    return task.id if isinstance(task, Task) else task
