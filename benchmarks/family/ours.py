"""Prong's side of each contest: a swarm in a temporary directory, and a member of it in each process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prong.primitives.joined import Swarm, join
from prong.state import Store


@contextmanager
def swarm_directory() -> Iterator[Path]:
    """A new swarm's directory, whose database is made already."""
    with tempfile.TemporaryDirectory(prefix="prong-benchmark-") as folder:
        Store(Path(folder)).close()
        yield Path(folder)


@contextmanager
def joined(directory: Path) -> Iterator[Swarm]:
    """A member of the swarm, in the calling process."""
    with join(directory, name="benchmark") as swarm:
        yield swarm
