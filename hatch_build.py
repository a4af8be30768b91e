"""Makes the links that an editable install imports through, where they are missing.

A checkout has them in .src/prong; an unpacked source distribution has not, because it cannot hold links to folders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("agents", "harness", "primitives", "state")


class Links(BuildHookInterface[Any]):
    """Runs before each build of a wheel; hatchling finds it by this file's name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  the interface's signature
        """Make each missing link; `version` is "standard" or "editable"."""
        if version != "editable":
            return
        links = Path(self.root, ".src/prong")
        links.mkdir(parents=True, exist_ok=True)
        for name in PACKAGES:
            link = links / name
            if not link.is_symlink():
                link.symlink_to(f"../../{name}")
