"""What the benchmark `start` forks: a real agent that stops where it is ready for its first call."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from prong.agents import nursery
from prong.harness.agent import process
from prong.harness.agent.shared import share


def prepare(settings: Mapping[str, Any]) -> nursery.Main:
    """Warm the nursery as a swarm's is warmed."""
    shared = share(settings)

    def wait_when_ready(order: nursery.Order) -> None:
        member, _ = process.register(shared, order)
        with member.transaction() as tx:
            tx.event("benchmark.ready")
        signal.pause()

    return wait_when_ready


if __name__ == "__main__":
    nursery.serve(prepare)
