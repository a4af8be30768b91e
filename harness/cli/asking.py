"""Before a run: the key of the person, and whether the models can be asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

import click

from prong.harness.cli.defaults import from_file
from prong.harness.rules.rules import Rules
from prong.harness.rules.trust import what_to_agree_to
from prong.harness.swarms import FOLDER, Options, Swarm


def is_outside(options: Options) -> bool:
    """Whether an outside agent does the first task."""
    role = options.roles.get(options.role)
    return role is not None and role.kind is not None


def stays_offline(options: Options, rules: Rules) -> None:
    """Refuse, raising `UsageError`, an outside agent that would ask its provider although nothing is to leave here."""
    if options.offline is not None and options.role == "codex" and options.role not in rules.roles:
        raise click.UsageError(
            "codex asks OpenAI, also with --offline. Leave one of the two out, or define a role of kind codex"
            " in PRONG.md whose arguments say where else it asks"
        )


def key_of(options: Options) -> str | None:
    """The key of the environment; None offline; raises `UsageError` where there is none.

    A swarm whose first task is an outside agent's may do without: each has a key or login of its own.
    """
    if options.offline is not None:
        return None
    key = os.environ.get("ANTHROPIC_API_KEY")
    if not key and is_outside(options):
        return None
    if not key:
        name = click.get_current_context().info_name
        without = {"run": "prong run --offline GOAL", "exec": "prong exec --offline PROGRAM"}.get(name or "")
        try_it = f", or try Prong without a model: {without}" if without else ""
        raise click.UsageError(f"ANTHROPIC_API_KEY is not set; set it{try_it}")
    return key


def refuse_delivered(swarm: Swarm) -> None:
    """Refuse, raising `UsageError`, a swarm that came with the repository: others have said where its key is to go.

    What it runs to check work, and what it allows its agents, is theirs, too.  Git never takes one in that was made
    here.
    """
    told = swarm.repository.git("ls-files", "-z", "--", f":(top){FOLDER}/{swarm.id}")
    if told:
        raise click.UsageError(
            f"swarm {swarm.id} was committed to this repository, so others may have made it: running it would send your"
            " key where it says, and run its commands. If it is yours, take it out of git first:"
            f" git rm -r --cached {FOLDER}/{swarm.id}"
        )


def check_endpoint(options: Options, key: str | None, known: Collection[str]) -> None:
    """Refuse models that cannot be asked before anything is made for them; of those `known` all was said.

    An outside agent asks its model by itself, perhaps elsewhere.
    """
    if options.offline is not None or (key is None and is_outside(options)):
        return
    from prong.harness import endpoint_check  # noqa: PLC0415  only a run that asks a model needs it

    own = (role.model for role in options.roles.values() if role.model is not None and role.kind is None)
    names = [options.model, *own]
    for note in endpoint_check.check(names, base_url=options.base_url, api_key=key, known=known):
        click.echo(note, err=True)


def may_start(ctx: click.Context, options: Options, *, trust: bool) -> None:
    """Ask, or refuse where nobody can be asked, before a repository's rules decide what is a person's to decide."""
    jail = options.jail
    what = what_to_agree_to(
        options.roles,
        is_off=jail.sandbox == "off" and from_file(ctx, "sandbox"),
        network=jail.network and from_file(ctx, "network"),
        readable=jail.readable,
    )
    if trust or what is None:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what}. If you want that, say so with --trust, or set PRONG_RUN_TRUST=1")
    if not click.confirm(f"{what}. Go on?", err=True):
        raise click.UsageError("nothing was started; change PRONG.md, or say otherwise on the command line")
