"""`prong run` and the file of rules: what stands there is a default of its options.

command line > environment (PRONG_RUN_…) > PRONG.md > the default that --help shows
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from prong.harness.cli.places import NEW_REPOSITORY
from prong.harness.repository.git import RepositoryError
from prong.harness.repository.repository import Repository

if TYPE_CHECKING:
    from prong.harness.rules.rules import Rules

_META = f"{__name__}.rules"


def _read_rules(ctx: click.Context, _parameter: click.Parameter, repo: Path) -> Path:
    """Runs before the other options are looked at.  Errors wait until the command runs: --help works without rules."""
    from prong.harness.rules.rules import RulesInvalid, defaults, load  # noqa: PLC0415  only `run` needs it

    if ctx.resilient_parsing:
        return repo
    try:
        rules = load(Repository.open(repo).root)
    except (RulesInvalid, RepositoryError, OSError) as error:
        ctx.meta[_META] = error
    else:
        ctx.meta[_META] = rules
        ctx.default_map = defaults(rules)
    return repo


READS_RULES = click.option(
    "--repo",
    type=NEW_REPOSITORY,
    default=".",
    show_default="here",
    is_eager=True,
    callback=_read_rules,
    help="The repository, a folder in it, or the address of one, which is cloned once and found again.",
)
"""The option --repo of a command that obeys the rules of that repository."""


def rules_of_repository(ctx: click.Context) -> Rules:
    """The rules that the options' defaults came from; raises what was in the way of reading them."""
    found = ctx.meta[_META]
    if isinstance(found, Exception):
        raise found
    rules: Rules = found
    return rules


def from_file(ctx: click.Context, parameter: str) -> bool:
    """Whether the value of a parameter stands in the rules, and nobody said otherwise."""
    return ctx.get_parameter_source(parameter) is ParameterSource.DEFAULT_MAP


def given(ctx: click.Context, parameter: str) -> bool:
    """Whether a parameter was given on the command line or in the environment."""
    return ctx.get_parameter_source(parameter) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def may_send_key(ctx: click.Context, base_url: str | None) -> None:
    """Ask, or refuse where nobody can be asked, before a file of the repository sends the user's key elsewhere."""
    from prong.harness.endpoint_check import is_here  # noqa: PLC0415  only a run that asks a model needs it

    if base_url is None or not from_file(ctx, "base_url") or is_here(base_url):
        return
    what = (
        f"PRONG.md of this repository says that models are asked at {base_url}; your ANTHROPIC_API_KEY would go there"
    )
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{what}. If you want that, say so with --base-url {base_url}, or set PRONG_RUN_BASE_URL to it"
        )
    if not click.confirm(f"{what}. Go on?", err=True):
        raise click.UsageError("nothing was started; name another endpoint with --base-url")
