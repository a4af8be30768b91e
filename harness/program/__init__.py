"""What a program of Prong imports: tasks and what agents share, as Python values.

    from prong.harness.program import create_task, wait

    tasks = [create_task(f"Review {name}") for name in ("a.py", "b.py")]
    print([task.result for task in wait(tasks)])

A program runs in the sandbox of a task, by the tool `run_program` or by `prong exec`.  It has no database: each call
goes over a line to the agent, which runs it as if its model had called the tool of that name.  So this package imports
nothing but the standard library.
"""

from prong.harness.program.door import Refused, arguments, call
from prong.harness.program.reducing import reduce
from prong.harness.program.sharing import (
    atomic,
    barrier,
    event,
    future,
    lock,
    message_queue,
    semaphore,
    shared_list,
    shared_map,
)
from prong.harness.program.tasks import Task, as_completed, cancel_task, create_task, list_tasks, wait, wait_any

__all__ = [
    "Refused", "Task", "arguments", "as_completed", "atomic", "barrier", "call", "cancel_task", "create_task", "event",
    "future", "list_tasks", "lock", "message_queue", "reduce", "semaphore", "shared_list", "shared_map", "wait",
    "wait_any",
]  # fmt: skip
