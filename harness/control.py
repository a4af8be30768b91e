"""What a person does to a running swarm; each act is a transaction and an event."""

from __future__ import annotations

import time

from prong.harness.swarms import Swarm
from prong.primitives import task as tasks

CONFIRM_S = 10.0
"""How long a cancel waits to see the agents' processes gone, in seconds."""


def cancel_task(swarm: Swarm, task: int) -> list[int]:
    """Cancel a task and all below it, and wait until their agents have ended; returns the tasks' numbers."""
    store = swarm.store()
    with store.transaction(None) as tx:
        tx.event("command.cancel", object=str(task), task=task)
        numbers = tasks.cancel(tx, task, reason="cancelled by command")
    deadline = time.monotonic() + CONFIRM_S
    while time.monotonic() < deadline and store.row(
        "select 1 from agent join task on task.id = agent.task where agent.ended_at is null"
        " and task.state = 'cancelled' and exists (select 1 from swarm where state = 'running') limit 1"
    ):
        time.sleep(0.05)
    return numbers
