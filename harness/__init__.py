"""The whole: scheduler, supervisor, workspaces, merging, command line.

from prong.harness import Swarm

with Swarm(".", offline=True) as swarm:
    print([outcome.result for outcome in swarm.map("Review {item}", ["README.md"])])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prong.harness.patterns.calls import repeatable
    from prong.harness.patterns.outcome import Outcome
    from prong.harness.patterns.progress import Progress
    from prong.harness.patterns.swarm import Swarm
    from prong.harness.patterns.voting import Vote

__all__ = ["Outcome", "Progress", "Swarm", "Vote", "repeatable"]

_HOMES = {"Outcome": "outcome", "Progress": "progress", "Swarm": "swarm", "Vote": "voting", "repeatable": "calls"}


def __getattr__(name: str) -> Any:
    """What is public is imported when it is asked for: whoever imports a part of the harness pays for that part."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  only whoever asks for a name needs it

    return getattr(import_module(f"prong.harness.patterns.{_HOMES[name]}"), name)
