"""The option of `prong run` that says what models cost and hold, and what the rules of the repository say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from prong.agents.models import Model
from prong.harness.rules import model_rules
from prong.harness.rules.rules import Rules

F = TypeVar("F", bound=Callable[..., Any])


def pricing(command: F) -> F:
    """Add the option to a command, which gets it as a keyword."""
    return click.option(
        "--models", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A YAML file that says what models cost and hold, as models in PRONG.md does; it counts before that.",
    )(command)  # fmt: skip


def models(rules: Rules, options: Mapping[str, Any]) -> tuple[Model, ...]:
    """What is said of models, the file of the option before the rules; raises `RulesInvalid`."""
    path: Path | None = options["models"]
    of_file = {} if path is None else model_rules.load(path)
    return tuple(model_rules.records({**rules.models, **of_file}))
