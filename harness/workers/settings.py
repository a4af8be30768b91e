"""What a run hands to its workers of the user's environment: the variables that kinds and roles name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prong.agents.models import EMULATOR_MODEL
from prong.harness.workers.kinds import KINDS

if TYPE_CHECKING:
    from prong.harness.swarms import Options

_OFFLINE_KEY = "offline"


def workers_settings(options: Options, ours: Mapping[str, str], base_url: str | None) -> Mapping[str, Any]:
    """What the nursery needs to know of workers: their variables, by name, and offline the model that they ask.

    `base_url` is where the swarm's own model is asked; offline that is the emulator, and the workers ask it, too.
    """
    workers = [role for role in options.roles.values() if role.kind is not None]
    names = {name for role in workers for name in (*KINDS[str(role.kind)].keys, *(role.environment or ()))}
    found = {name: ours[name] for name in names if name in ours}
    if options.offline is not None and base_url is not None:
        found |= {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_API_KEY": _OFFLINE_KEY}
    return {
        "workers_environment": found if workers else {},
        "workers_model": EMULATOR_MODEL if options.offline is not None else None,
    }
