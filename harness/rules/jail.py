"""The sandbox that options and rules ask for, on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from prong.harness.rules.rules import Rules
from prong.harness.swarms import Jail


def jail_of(rules: Rules, root: Path, *, sandbox: str, network: bool) -> Jail:
    """What the options say, and the rules where there are no options."""
    from prong.agents.sandbox.sandbox import machine_memory_bytes  # noqa: PLC0415  only `run` needs it

    given = rules.sandbox
    disk_bytes = shutil.disk_usage(root).total
    return Jail(
        sandbox=sandbox,
        network=network,
        memory_bytes=given.memory.of(total_bytes=machine_memory_bytes()) if given.memory is not None else None,
        processes=given.processes,
        disk_bytes=given.disk.of(total_bytes=disk_bytes) if given.disk is not None else None,
        readable=given.read,
    )
