"""The sandbox of one task's commands, made of what the swarm was told and what the task has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prong.agents.sandbox import Found, Limits, Missing, Sandbox, SandboxMissing, confine, find
from prong.agents.sandbox.readable import objects
from prong.harness.repository.repository import Repository
from prong.harness.swarms import FOLDER, Jail


def sandbox_of_machine(jail: Jail) -> Found | Missing | None:
    """The bubblewrap that a swarm uses; None where it is to use none.

    Raises `SandboxMissing` where it is demanded and does not work.
    """
    if jail.sandbox == "off":
        return None
    found = find()
    if isinstance(found, Missing) and jail.sandbox == "bubblewrap":
        raise SandboxMissing(found.reason)
    return found


def sandbox_of_task(
    jail: Jail,
    repository: Repository,
    *,
    workspace: Path,
    scratch: Path,
    common: Path,
    environment: Mapping[str, str],
) -> Sandbox:
    """The sandbox for a task's clone.  Of the user's repository only the objects are in sight."""
    usual = Limits.usual()
    return confine(
        sandbox_of_machine(jail),
        workspace,
        writable=[scratch, common],
        own=scratch.with_name(f".{scratch.name}"),
        readable=[*objects(repository.objects), *map(Path, jail.readable)],
        hidden=[repository.root / FOLDER],
        environment=environment,
        network=jail.network,
        limits=Limits(
            memory_bytes=jail.memory_bytes or usual.memory_bytes,
            processes=jail.processes or usual.processes,
            disk_bytes=jail.disk_bytes or usual.disk_bytes,
        ),
    )
