"""`prong apply`: a swarm that runs a plan, with every option of `prong run`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from prong.harness.plans.plan import Plan
    from prong.harness.repository.repository import Repository
    from prong.harness.rules.rules import Rules
    from prong.harness.swarms import Options, Swarm

APPLYING = f"{__name__}.applying"
"""Under this name the context of the command holds what makes a plan's swarm."""

_APPLY_HELP = """Run the tasks of PLAN, a file of YAML, in the order that their needs allow.

The same command again goes on where something is missing: what is done stays done, what failed is tried again, and a
swarm that was killed goes on.  --again runs a plan anew of which everything is done.  See docs/plans.md.
"""


@dataclass(slots=True)
class Applying:
    """What `prong apply` does in place of `prong run`'s first task."""

    plan: Plan
    path: str
    digest: str
    dry_run: bool
    again: bool
    as_json: bool
    found: Swarm | None = None
    rules: Rules | None = None
    is_done: bool = False

    def looked_at(self, repository: Repository, options: Options, rules: Rules) -> Options:
        """The options of the swarm that runs the plan: those given, or of the one that has begun with it.

        Ends the command where only a look was asked for, or all is done already.
        """
        from prong.harness.control import has_open_tasks  # noqa: PLC0415  as above
        from prong.harness.plans.apply import earlier, reopen  # noqa: PLC0415  each command imports what it needs
        from prong.harness.plans.plan import parse  # noqa: PLC0415  as above

        self.plan, self.rules = parse(self.plan.text, self.path, rules=rules), rules
        if self.dry_run:
            from prong.harness.cli.estimating import show_estimate  # noqa: PLC0415  as above

            show_estimate(repository, self.plan, options, rules, as_json=self.as_json)
            sys.exit(0)
        self.found = None if self.again else earlier(repository, self.digest, repository.head())
        if self.found is None:
            self._show_before()
            return options
        opened = reopen(self.found)
        self.is_done = not has_open_tasks(self.found)
        if self.is_done:
            click.echo(f"note: swarm {self.found.id} has done all of this plan; --again runs it anew", err=True)
            return self.found.options
        more = f"; {len(opened)} tasks that were not done are tried again" if opened else ""
        click.echo(f"note: swarm {self.found.id} has begun with this plan, and goes on{more}", err=True)
        return self.found.options

    def made(self, repository: Repository, options: Options, base: str, *, program: str | None) -> Swarm:
        """The swarm to be run."""
        from prong.harness.plans.apply import create  # noqa: PLC0415  as above

        assert program is None, "a plan is no program"
        assert self.rules is not None, "it was looked at"
        if self.found is not None:
            return self.found
        return create(repository, options, base, self.plan, path=self.path, rules=self.rules)

    def _show_before(self) -> None:
        if not self.as_json:
            from prong.harness.plans.tree import show  # noqa: PLC0415  as above

            show(self.plan, err=True)


def apply_like(run: click.Command) -> click.Command:
    """The command `apply` with the options of `run`."""

    @click.pass_context
    def apply(ctx: click.Context, /, plan: Path, *, dry_run: bool, again: bool, **options: Any) -> None:
        from prong.harness.plans.apply import digest_of, text_of  # noqa: PLC0415  only this command needs it
        from prong.harness.plans.plan import parse  # noqa: PLC0415  as above

        text = text_of(plan)
        read = parse(text, str(plan))
        ctx.meta[APPLYING] = Applying(read, str(plan), digest_of(text), dry_run, again, options["as_json"])
        assert run.callback is not None, "it is a command that does something"
        run.callback(goal=read.goal, **options)

    own = [
        click.Argument(["plan"], type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.Option(["--dry-run"], is_flag=True, help="Only say what it would take: time, money, the longest path."),
        click.Option(["--again"], is_flag=True, help="Run it anew, although a swarm has begun with it or is done."),
    ]
    params = [*own, *(one for one in run.params if not isinstance(one, click.Argument))]
    return click.Command("apply", None, apply, params, _APPLY_HELP, "Example: prong apply --dry-run PLAN.yaml")


def show_plan(swarm: Swarm) -> None:
    """Print how the steps of a swarm's plan stand; nothing where it has none."""
    row = swarm.store().row("select path, text from plan")
    if row is None:
        return
    from prong.harness.plans.plan import parse  # noqa: PLC0415  as above
    from prong.harness.plans.tree import show, states_of  # noqa: PLC0415  as above

    show(parse(row["text"], row["path"]), states_of(swarm.store()))
