"""What a run hands to its workers of the user's environment: the variables that kinds and roles name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prong.agents.models import EMULATOR_MODEL
from prong.harness.workers.kinds import KINDS

if TYPE_CHECKING:
    from prong.harness.swarms import Options

_OFFLINE_KEY = "offline"

_NO_SECRETS = ("_URL", "_HOST", "_MODEL", "_REGION")
"""How the names of variables end that say where something is, and let nobody in."""


def workers_settings(options: Options, ours: Mapping[str, str], base_url: str | None) -> Mapping[str, Any]:
    """What the nursery needs to know of workers: their variables, by name, and offline the model that they ask.

    `base_url` is where the swarm's own model is asked; offline that is the emulator, and the workers ask it, too, with
    no key but its own: what else would ask a provider is to fail, not to cost money.
    """
    workers = [role for role in options.roles.values() if role.kind is not None]
    is_offline = options.offline is not None and base_url is not None
    names = {name for role in workers for name in (role.environment or ())}
    if not is_offline:
        names |= {name for role in workers for name in KINDS[str(role.kind)].keys}
    found = {name: ours[name] for name in names if name in ours}
    if is_offline and base_url is not None:
        found |= {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_API_KEY": _OFFLINE_KEY}
    return {
        "workers_environment": found if workers else {},
        "workers_model": EMULATOR_MODEL if options.offline is not None else None,
    }


def with_workers(settings: Mapping[str, Any], workers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the nursery with those of workers; whatever a worker is given of the user's is a secret, too.

    Whatever its name is: `ANTHROPIC_CUSTOM_HEADERS` or a database's address may hold a key as well.  A value that JSON
    writes otherwise, such as a key of several lines, is known in both ways.
    """
    values = {value for name, value in workers["workers_environment"].items() if not name.upper().endswith(_NO_SECRETS)}
    known = {form for value in {*settings["secrets"], *values} for form in (value, json.dumps(value)[1:-1])}
    return {**settings, **workers, "secrets": sorted(known)}
