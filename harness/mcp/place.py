"""Which shared state a client joins: that of the swarm that runs, or one that all clients of the repository share."""

from __future__ import annotations

from pathlib import Path

from prong.harness.repository.repository import Repository
from prong.harness.status import is_supervised
from prong.harness.swarms import FOLDER, all_swarms, find

SHARED = "shared"
"""The directory, beside those of the swarms, of the state that clients share where no swarm runs."""


def place_of(repository: Repository, swarm: str | None) -> Path:
    """The directory of the swarm that is named, else of the newest that runs, else the clients' own, made if missing.

    Raises `NoSwarm`.
    """
    if swarm is not None:
        return find(repository, swarm).directory
    running = [one for one in all_swarms(repository) if is_supervised(one.store())]
    if running:
        return running[-1].directory
    folder = repository.root / FOLDER
    folder.mkdir(exist_ok=True)
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    return folder / SHARED
