"""The options of `prong run` on roles and models: the first task's role, whom roles ask, what models cost and hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from prong.agents.models import Model
from prong.harness.rules import model_rules
from prong.harness.rules.role_names import OUTSIDE, NoSuchRole, roles_with
from prong.harness.rules.rules import Role, Rules
from prong.state import Invalid

F = TypeVar("F", bound=Callable[..., Any])


def pricing(command: F) -> F:
    """Add the options to a command, which gets them as keywords."""
    command = click.option(
        "--models", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A YAML file that says what models cost and hold, as models in PRONG.md does; it counts before that.",
    )(command)  # fmt: skip
    command = click.option(
        "--role-model", "role_models", multiple=True, metavar="ROLE=MODEL", help="The model of a role of PRONG.md."
    )(command)
    return click.option(
        "--role", default="", metavar="ROLE",
        help=f"The role of its first task: one of PRONG.md's, or {', '.join(OUTSIDE[:-1])} or {OUTSIDE[-1]}.",
    )(command)  # fmt: skip


def roles_asking(rules: Rules, options: Mapping[str, Any]) -> Mapping[str, Role]:
    """The roles of the rules and the one that was asked for, with the models of the option.

    Raises `UsageError` for a role that is none.
    """
    try:
        roles = dict(roles_with(options.get("role", ""), rules.roles))
    except (NoSuchRole, Invalid) as error:
        raise click.BadParameter(str(error), param_hint="--role") from None
    for said in options["role_models"]:
        name, _, model = said.partition("=")
        if not model.strip() or len(model.split()) > 1:
            raise click.BadParameter(
                f"{said!r} is no ROLE=MODEL, such as reviewer=claude-haiku-5-5", param_hint="--role-model"
            )
        if name not in roles:
            known = ", ".join(roles) or "there is none; say them in PRONG.md"
            raise click.BadParameter(f"{name!r} is no role. The roles are: {known}", param_hint="--role-model")
        roles[name] = replace(roles[name], model=model.strip())
    return roles


def models(rules: Rules, options: Mapping[str, Any]) -> tuple[Model, ...]:
    """What is said of models, the file of the option before the rules; raises `RulesInvalid`."""
    path: Path | None = options["models"]
    of_file = {} if path is None else model_rules.load(path)
    return tuple(model_rules.records({**rules.models, **of_file}))
