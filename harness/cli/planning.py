"""`prong apply`: a swarm that runs a plan, with every option of `prong run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

ENDED = f"{__name__}.ended"
"""Under this name it holds what is told of a run that has ended, in place of the usual words."""

_PLAN_HELP = """Have a model write a plan of tasks for GOAL; print it, or keep it with -o.

It can be edited, and run with prong apply.  The model is asked again where its plan cannot be used.
"""

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
        from prong.harness.patterns.opening import with_script  # noqa: PLC0415  as above
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
            return with_script(options)
        opened = reopen(self.found)
        self.is_done = not has_open_tasks(self.found)
        if self.is_done:
            click.echo(f"note: swarm {self.found.id} has done all of this plan; --again runs it anew", err=True)
            return self.found.options
        undone = "1 task that was not done is" if len(opened) == 1 else f"{len(opened)} tasks that were not done are"
        more = f"; {undone} tried again" if opened else ""
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
        goal = _begin_apply(ctx, plan, dry_run=dry_run, again=again, as_json=options["as_json"])
        assert run.callback is not None, "it is a command that does something"
        run.callback(goal=goal, **options)

    own = [
        click.Argument(["plan"], type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.Option(["--dry-run"], is_flag=True, help="Only say what it would take: time, money, the longest path."),
        click.Option(["--again"], is_flag=True, help="Run it anew, although a swarm has begun with it or is done."),
    ]
    params = [*own, *(one for one in run.params if not isinstance(one, click.Argument) and one.name != "role")]
    return click.Command("apply", None, apply, params, _APPLY_HELP, "Example: prong apply --dry-run PLAN.yaml")


def _begin_apply(
    ctx: click.Context, path: Path, *, as_json: bool, dry_run: bool = False, again: bool = False
) -> str:  # fmt: skip
    """Read the plan that the command is about to apply; its goal."""
    from prong.harness.plans.apply import digest_of, text_of  # noqa: PLC0415  as above
    from prong.harness.plans.plan import parse  # noqa: PLC0415  as above

    text = text_of(path)
    plan = parse(text, str(path))
    ctx.meta[APPLYING] = Applying(plan, str(path), digest_of(text), dry_run, again, as_json)
    return plan.goal


class _Written(Exception):
    """The run that writes a plan has ended."""

    def __init__(self, swarm: Swarm, state: str) -> None:
        self.swarm = swarm
        self.state = state


@dataclass(slots=True)
class _Writing:
    """What `prong plan` does in place of `prong run`'s first task."""

    goal: str
    asks: int
    rules: Rules | None = None
    is_done: bool = False
    found: Swarm | None = None

    def looked_at(self, _repository: Repository, options: Options, rules: Rules) -> Options:
        """The same options; offline, and where nobody names a script, with the one that writes a plan."""
        from prong.harness.plans.writing import BUILT_IN  # noqa: PLC0415  as above

        self.rules = rules
        if options.offline is None or options.offline.scripts:
            return options
        click.echo("offline: the plan is written by fixed rules, whatever the goal says", err=True)
        return replace(options, offline=replace(options.offline, scripts=(str(BUILT_IN),)))

    def made(self, repository: Repository, options: Options, base: str, *, program: str | None) -> Swarm:
        """A swarm with the one task that writes the plan."""
        from prong.harness.plans.writing import ask  # noqa: PLC0415  as above
        from prong.harness.swarms import create  # noqa: PLC0415  as above

        assert program is None, "writing a plan is no program"
        rules = self.rules
        assert rules is not None, "it was looked at"
        return create(repository, options, base, begin=lambda tx: ask(tx, self.goal, rules, asks=self.asks))


def plan_like(run: click.Command) -> click.Command:
    """The command `plan` with the options of `run`."""

    @click.pass_context
    def plan(
        ctx: click.Context, /, goal: str, *, output: Path | None, apply: bool, yes: bool, dry_run: bool, asks: int,
        **options: Any,
    ) -> None:  # fmt: skip
        assert run.callback is not None, "it is a command that does something"
        if dry_run:
            if not Path(goal).is_file():
                raise click.UsageError(f"--dry-run tells what a plan would take, and {goal!r} is no file with one")
            _begin_apply(ctx, Path(goal), dry_run=True, as_json=options["as_json"])
            run.callback(goal=goal, **options)
        if apply and not yes and not sys.stdin.isatty():
            raise click.UsageError(
                "nobody can be asked here whether the plan may run; say --yes, or keep it with -o and prong apply it"
            )
        if output is not None and output.exists():  # before a model is paid for what cannot be kept
            raise click.UsageError(f"{output} is there already; name another file, or remove it first")
        text = _write(ctx, run, goal, asks, options)
        if apply and not yes:
            text = _approved(text, ctx.meta[APPLYING].found)
        path = _kept(text, output, ctx.meta[APPLYING].found, apply=apply, as_json=options["as_json"])
        if apply and path is not None:
            del ctx.meta[ENDED]
            _begin_apply(ctx, path, as_json=options["as_json"])
            run.callback(goal=goal, **options)

    own = [
        click.Argument(["goal"]),
        click.Option(["-o", "--output"], type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file."),
        click.Option(["--apply"], is_flag=True, help="Show it, ask whether it may run, or edit it, and run it."),
        click.Option(["--yes"], is_flag=True, help="With --apply: run it without asking."),
        click.Option(["--dry-run"], is_flag=True, help="GOAL is a file with a plan: say what it would take."),
        click.Option(
            ["--asks"], type=click.IntRange(0, 10), default=2, show_default=True,
            help="How often the model is asked again for a plan that can be used.",
        ),
    ]  # fmt: skip
    params = [*own, *(one for one in run.params if not isinstance(one, click.Argument) and one.name != "role")]
    return click.Command("plan", None, plan, params, _PLAN_HELP, "Example: prong plan -o PLAN.yaml GOAL")


def _write(ctx: click.Context, run: click.Command, goal: str, asks: int, options: Mapping[str, Any]) -> str:
    """Have the plan written, and return it as YAML; ends the command where it could not be."""
    from prong.harness.plans.writing import as_yaml  # noqa: PLC0415  as above
    from prong.primitives.artifacts import loaded  # noqa: PLC0415  as above

    def ended(swarm: Swarm, state: str) -> None:
        raise _Written(swarm, state)

    ctx.meta[APPLYING] = _Writing(goal, asks)
    ctx.meta[ENDED] = ended
    assert run.callback is not None
    try:
        run.callback(goal=goal, **options)
    except _Written as written:
        store = written.swarm.store()
        row = store.row("select state, result_value, error from task where key = 'write the plan'")
        assert row is not None, "it was made with the swarm"
        if row["state"] != "done":
            why = row["error"] or f"the run is {written.state}; go on with: prong resume {written.swarm.id}"
            raise click.ClickException(f"no plan was written: {why}") from None
        ctx.meta[APPLYING].found = written.swarm
        return as_yaml(loaded(store, row["result_value"]))
    raise AssertionError("a run ends by saying so")


def _approved(text: str, written_by: Swarm) -> str:
    """The plan as a person lets it run, perhaps edited; ends the command where it shall not, and keeps it."""
    from prong.harness.plans.plan import PlanInvalid, parse  # noqa: PLC0415  as above
    from prong.harness.plans.tree import show  # noqa: PLC0415  as above

    while True:
        try:
            show(parse(text, "the plan"), err=True)
        except PlanInvalid as error:
            click.echo(f"prong: {error}", err=True)
        answer = click.prompt("Run it? yes, edit, no", type=click.Choice(["y", "e", "n"]), default="n", err=True)
        if answer == "y":
            return text
        if answer == "n":
            path = written_by.directory / "plan.yaml"
            path.write_text(text, "utf-8")
            raise click.ClickException(f"nothing was run; the plan is kept, and runs with: prong apply {path}")
        text = click.edit(text, extension=".yaml") or text


def _kept(text: str, output: Path | None, written_by: Swarm, *, apply: bool, as_json: bool) -> Path | None:
    """Write the plan where it was asked for, else to standard output; one that is to run is kept with its swarm."""
    if output is not None:
        output.write_text(text, "utf-8")
        click.echo(f"wrote {output}; look at it, then run it with: prong apply {output}", err=True)
        return output
    if not apply:
        told = json.dumps({"swarm": written_by.id, "plan": text}, ensure_ascii=False)
        click.echo(told if as_json else text, nl=as_json)
        return None
    path = written_by.directory / "plan.yaml"
    path.write_text(text, "utf-8")
    return path


def show_plan(swarm: Swarm) -> None:
    """Print how the steps of a swarm's plan stand; nothing where it has none."""
    row = swarm.store().row("select path, text from plan")
    if row is None:
        return
    from prong.harness.plans.plan import parse  # noqa: PLC0415  as above
    from prong.harness.plans.tree import show, states_of  # noqa: PLC0415  as above

    show(parse(row["text"], row["path"]), states_of(swarm.store()))
