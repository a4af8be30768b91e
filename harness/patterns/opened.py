"""The object for a swarm that was made or found by somebody else: by the command line."""

from __future__ import annotations

from prong.harness import swarms
from prong.harness.patterns.swarm import Notify, Swarm


class Opened(Swarm):
    """A swarm that exists under a name; `attended`: somebody can be asked about calls meanwhile."""

    def __init__(
        self, swarm: swarms.Swarm, api_key: str | None, *, name: str, progress: Notify | None, attended: bool,
        is_new: bool,
    ) -> None:  # fmt: skip
        super().__init__(swarm.repository.root, name=name, api_key=api_key, progress=progress)
        self._swarm = swarm
        self._attended = attended
        self._is_new = is_new
