"""What all agents of a swarm have in common: made once before the forks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prong.agents.conversation import Block
from prong.agents.definitions import Definitions
from prong.agents.model import Endpoint, Model
from prong.agents.sandbox import Found
from prong.harness import prompt
from prong.harness.agent.jail import sandbox_of_machine
from prong.harness.repository.repository import Repository
from prong.harness.rules.rules import Role, Route
from prong.harness.swarms import Jail
from prong.harness.tools import catalogue
from prong.primitives.budget import Budget
from prong.state import Store
from prong.state.secrets import without

TOOLS: Sequence[Block] = Definitions(record.definition for record in catalogue.offered("agents"))


@dataclass(frozen=True, slots=True)
class Shared:
    """What all agents of a swarm have in common: made once before the forks, holding no connection to anything."""

    directory: Path
    repository: Repository
    branch: str
    base_commit: str
    store: Store
    model: Model
    system: Sequence[Block]
    compact_at: float
    agent_budget: Budget | None
    task_budget: Budget | None
    roles: Mapping[str, Role]
    role_models: Mapping[str, Model]
    route: Route
    jail: Jail
    secrets: tuple[str, ...] = field(default=(), repr=False)
    prose: str = ""
    workers_environment: Mapping[str, str] = field(default_factory=dict)
    workers_model: str | None = None

    @property
    def is_confined(self) -> bool:
        """Whether commands run in a sandbox that keeps anything out."""
        return isinstance(sandbox_of_machine(self.jail), Found)

    def hide(self, text: str) -> str:
        """The text without the user's own keys, as it may be stored and sent."""
        return without(text, self.secrets)

    def model_for(self, role: str, forked_from: str | None) -> Model:
        """A fork asks the model of whom it was `forked_from`, whose prompt cache it reads; the others their role's."""
        return self.role_models.get(role, self.model) if forked_from is None else self.model_named(forked_from)

    def models_of_roles(self) -> Mapping[str, str]:
        """Which roles ask a model of their own, or an outside agent, and what that is called."""
        own = {role: model.endpoint.model for role, model in self.role_models.items()}
        return own | {name: f"{role.kind} {role.model or ''}".strip() for name, role in self.roles.items() if role.kind}

    def model_named(self, name: str) -> Model:
        """The model of this name, where one of the swarm's is it; else the swarm's own."""
        return next((one for one in self.role_models.values() if one.endpoint.model == name), self.model)


def share(settings: Mapping[str, Any]) -> Shared:
    """All that can be made once for all agents."""
    store = Store(Path(settings["directory"]))
    store.close()
    roles = {name: Role(**role) for name, role in settings["roles"].items()}
    if any(role.kind is not None for role in roles.values()):
        importlib.import_module("prong.harness.mcp.server")  # half a second, which no worker should wait for
    endpoint = Endpoint(**settings["endpoint"])
    governed_in = Path(settings["governed_in"])
    return Shared(
        directory=store.directory,
        repository=Repository.open(settings["repository"]),
        branch=settings["branch"],
        base_commit=settings["base_commit"],
        store=store,
        model=Model(endpoint, store.clock, governed_in=governed_in),
        system=({"type": "text", "text": prompt.system(settings["prose"], roles)},),
        compact_at=settings["compact_at"],
        agent_budget=_budget(settings["agent_budget"]),
        task_budget=_budget(settings["task_budget"]),
        roles=roles,
        role_models={
            name: Model(replace(endpoint, model=role.model), store.clock, governed_in=governed_in)
            for name, role in roles.items()
            if role.model is not None and role.kind is None
        },
        route=Route(**settings["route"]),
        jail=_jail(settings["jail"]),
        secrets=tuple(settings["secrets"]),
        prose=settings["prose"],
        workers_environment=settings.get("workers_environment", {}),
        workers_model=settings.get("workers_model"),
    )


def _jail(given: Mapping[str, Any]) -> Jail:
    """The same with bubblewrap tried before the forks, so that no agent has to."""
    jail = Jail(**{**given, "readable": tuple(given["readable"])})
    sandbox_of_machine(jail)
    return jail


def _budget(given: Mapping[str, Any]) -> Budget | None:
    return Budget(**given) if any(value is not None for value in given.values()) else None
