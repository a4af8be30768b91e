"""The command line."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from prong.agents.emulator import EmulatorNotStarted, ScriptsNotFound, load_scripts
from prong.agents.emulator.cli import command as emulator
from prong.agents.models import EMULATOR_MODEL, told
from prong.harness.cli import approvals, ending, steering
from prong.harness.cli.advising import advice, show_advice
from prong.harness.cli.asking import check_endpoint, key_of, may_start, refuse_delivered, stays_offline
from prong.harness.cli.bounds import bounding, bounds, merge_rules, overridden
from prong.harness.cli.confining import confining, warn
from prong.harness.cli.connect import connect
from prong.harness.cli.cost import cost
from prong.harness.cli.defaults import READS_RULES, from_file, given, may_send_key, rules_of_repository
from prong.harness.cli.executing import PROGRAM, exec_like, show_output, who_plays
from prong.harness.cli.inspect import beside, export, ui
from prong.harness.cli.launching import LAUNCH
from prong.harness.cli.looking import advise, log, status, tasks
from prong.harness.cli.mapping import map_like
from prong.harness.cli.mcp import mcp
from prong.harness.cli.overview import overview
from prong.harness.cli.permitting import permissions, permitting
from prong.harness.cli.places import JSON, REPO, SWARM, pushed, starting, starting_commit
from prong.harness.cli.planning import APPLYING, ENDED, apply_like, plan_like, show_plan
from prong.harness.cli.pricing import models, pricing, roles_asking
from prong.harness.cli.roles import roles
from prong.harness.cli.shared import COMMANDS
from prong.harness.cli.swarms import swarms
from prong.harness.cli.voting import vote_like
from prong.harness.cli.watching import watch
from prong.harness.repository.git import RepositoryError
from prong.harness.repository.repository import Repository
from prong.harness.rules.jail import jail_of
from prong.harness.rules.rules import Rules
from prong.harness.swarms import Offline, Options, Swarm, create, find
from prong.state import ProngError

DEFAULT_MODEL = "claude-sonnet-5-5"
EXIT_CODES = {"done": 0, "failed": 1, "budget": 3, "approval": 4, "cache": 4, "stopped": 130}


class _Group(click.Group):
    """Turns what Prong refuses on purpose into one clear line and exit code 2, and lists the commands by their use."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ProngError, RepositoryError) as error:
            _fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        except KeyboardInterrupt:
            _fail("interrupted before anything was started", code=EXIT_CODES["stopped"])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for headline, rows in overview(self.list_commands(ctx)):
            with formatter.section(headline):
                formatter.write_dl(rows)


@click.group(
    cls=_Group, epilog='Try it without a key: prong run --offline "Survey this repository". Each command has --help.',
    context_settings={"auto_envvar_prefix": "PRONG", "help_option_names": ["-h", "--help"]},
)  # fmt: skip
@click.version_option(package_name="prong")
def main() -> None:
    """Run many coding agents at once on one git repository.

    A SWARM is named by its id, by a unique beginning of it, or not at all: then it is the newest.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows only ASCII shows question marks, no traceback


main.add_command(emulator)
for command in (
    status, tasks, log, *steering.COMMANDS, *approvals.COMMANDS, *ending.COMMANDS, *COMMANDS, ui, watch, export, mcp,
    connect, cost, roles, advice, swarms,
):  # fmt: skip
    main.add_command(command)


@main.command(epilog='Example: prong run --offline "Survey this repository"')
@click.argument("goal")
@READS_RULES
@click.option(
    "--agents", "slots", type=click.IntRange(1, 1000), default=8, show_default=True, envvar="PRONG_RUN_AGENTS",
    help="How many run at once.",
)  # fmt: skip
@click.option("--model", help=f"The model's name.  [default: {DEFAULT_MODEL}; offline: {EMULATOR_MODEL}]")
@click.option(
    "--base-url", envvar=["PRONG_RUN_BASE_URL", "ANTHROPIC_BASE_URL"], help="An endpoint that speaks the Messages API."
)
@click.option("--max-tokens", type=click.IntRange(1_000), default=32_000, show_default=True, help="Of one answer.")
@click.option("--offline/--online", help="No model and no network: play a script on the emulator.")
@click.option(
    "--script", "scripts", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="PRONG_RUN_SCRIPT", help="Offline: play the scripts of this Python file instead of the built-in survey.",
)  # fmt: skip
@click.option("--latency", type=click.FloatRange(min=0), default=0, help="Offline: seconds that each call takes.")
@starting
@click.option("--check", help="The command that must end well before a task's work is merged, such as 'pytest -q'.")
@click.option(
    "--check-timeout", type=click.FloatRange(min=0, min_open=True), default=600, show_default=True,
    help="How long it may take, in seconds.",
)  # fmt: skip
@bounding
@pricing
@permitting
@confining
@click.option("--ui", is_flag=True, help="Serve the inspector beside it, and open it in the browser.")
@JSON
@click.pass_context
def run(
    ctx: click.Context, /, goal: str, *, repo: Path, slots: int, model: str | None, base_url: str | None,
    max_tokens: int, offline: bool, scripts: tuple[Path, ...], latency: float, as_json: bool,
    check: str | None, check_timeout: float, include_dirty: bool, push: bool, sandbox: str, network: bool,
    trust: bool, ui: bool,
    **bounded: Any,
) -> None:  # fmt: skip
    """Launch a swarm on a repository to reach GOAL.

    Your working tree and branches stay as they are: the result is a branch of its own, prong/SWARM.  The key comes
    from ANTHROPIC_API_KEY.  With --offline nothing leaves this machine and no model is asked: a script, by default
    the built-in survey, plays by fixed rules whatever the goal says.

    Options may stand in the file PRONG.md at the root of the repository; those given here or in the environment count
    before those.
    """
    rules = rules_of_repository(ctx)
    if not goal.strip():
        raise click.UsageError("the goal is empty; say what the swarm shall do")
    if not offline and (given(ctx, "scripts") or given(ctx, "latency")):
        raise click.UsageError("--script and --latency belong to --offline")
    for script in scripts if offline else ():
        _check_script(script)
    if offline and from_file(ctx, "model") and not from_file(ctx, "offline"):
        model = None  # the file names it for runs that ask a model
    repository = Repository.open(repo)
    options = Options(
        goal=goal,
        model=model or (EMULATOR_MODEL if offline else DEFAULT_MODEL),
        slots=slots,
        base_url=None if offline else base_url,
        max_tokens=max_tokens,
        compact_at=rules.compact_at,
        offline=Offline(tuple(str(path.resolve()) for path in scripts), latency) if offline else None,
        prose=rules.prose,
        roles=roles_asking(rules, bounded),
        route=rules.route,
        role=bounded.get("role", ""),  # commands of many tasks say it of each
        bounds=bounds(rules, **bounded),
        given=overridden(ctx),
        permissions=permissions(rules, bounded),
        models=models(rules, bounded),
        on_lost_cache=rules.on_lost_cache,
        push=push,
        merging=merge_rules(rules, check=check, timeout_s=check_timeout),
        jail=jail_of(rules, repository.root, sandbox=sandbox, network=network),
    )
    starts_nothing = getattr(ctx.meta.get(APPLYING), "dry_run", False)
    may_start(ctx, options, trust=trust or starts_nothing)
    _launch(ctx, repository, options, rules, include_dirty=include_dirty, ui=ui, as_json=as_json)


for like in (exec_like, apply_like, plan_like, map_like, vote_like):
    main.add_command(like(run))


@main.command(epilog="Example: prong resume")
@SWARM
@click.option("--task", type=int, help="Only let this paused task, and all below it, go on.")
@REPO
@JSON
def resume(swarm: str | None, *, task: int | None, repo: Path, as_json: bool) -> None:
    """Go on with a swarm that was stopped, killed or paused, or in which something was opened again."""
    from prong.harness import control  # noqa: PLC0415  each command imports what it needs
    from prong.harness.cli.steering import resume_paused  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    state, paused, runs = control.standing(found)
    if task is not None or (paused and runs):
        resume_paused(found, task, as_json=as_json)
        return
    refuse_delivered(found)
    if paused:
        control.resume(found, None)
    if state in ("done", "failed") and not control.has_open_tasks(found):
        _end(found, state, as_json=as_json)
    warn(found.options.jail)
    key = key_of(found.options)
    check_endpoint(found.options, key, told(found.store()))
    _run(found, key, as_json=as_json)


def _launch(
    ctx: click.Context, repository: Repository, options: Options, rules: Rules, *, include_dirty: bool, ui: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Make the swarm, or find the one that a plan goes on with, and run it."""
    stays_offline(options, rules)
    applying = ctx.meta.get(APPLYING)
    if applying is not None:
        options = applying.looked_at(repository, options, rules)  # which may be all that was asked for
        if applying.is_done:
            _end(applying.found, "done", as_json=as_json)
    warn(options.jail)
    key = key_of(options)
    may_send_key(ctx, options.base_url)
    check_endpoint(options, key, {model.id for model in options.models})
    base = starting_commit(repository, include_dirty=include_dirty, push=options.push)
    if LAUNCH in ctx.meta:  # a command with other work goes on from here
        ctx.meta[LAUNCH](repository, options, base, key)
        return
    make = create if applying is None else applying.made
    swarm = make(repository, options, base, program=ctx.meta.get(PROGRAM))
    with beside(swarm) if ui else contextlib.nullcontext():
        _run(swarm, key, as_json=as_json)


def _run(swarm: Swarm, key: str | None, *, as_json: bool) -> None:
    from prong.harness.cli import display  # noqa: PLC0415
    from prong.harness.running import run_swarm  # noqa: PLC0415
    from prong.harness.supervisor import AlreadySupervised  # noqa: PLC0415

    show = display.live if sys.stderr.isatty() and not as_json else display.plain
    if swarm.options.offline is not None:
        _note(f"offline: no model is asked and nothing leaves this machine; {who_plays(swarm)}")
    try:
        attended = sys.stderr.isatty() and not as_json
        state = run_swarm(swarm, api_key=key, display=_quiet if as_json else show, attended=attended)
    except AlreadySupervised:
        raise
    except KeyboardInterrupt:
        state = "stopped"
    except (ProngError, EmulatorNotStarted, OSError) as error:
        _fail(f"{error}. Nothing is lost; when that is mended, go on with: prong resume {swarm.id}", code=1)
    _end(swarm, state, as_json=as_json)


def _end(swarm: Swarm, state: str, *, as_json: bool) -> NoReturn:
    from prong.harness.status import read_status  # noqa: PLC0415

    click.get_current_context().meta.get(ENDED, _ignore)(swarm, state)
    all_pushed = not (swarm.options.push and state in ("done", "failed")) or pushed(swarm)
    if as_json:
        click.echo(json.dumps(read_status(swarm.store(), tasks=0).as_json()))
    else:
        show_plan(swarm)
        show_advice(swarm)
        advise(swarm, state, err=show_output(swarm))
        if state == "approval":
            approvals.show_waiting(swarm)
    sys.exit(EXIT_CODES[state] if all_pushed else EXIT_CODES["failed"])


def _ignore(_swarm: Swarm, _state: str) -> None:
    """What becomes of most runs that have ended: nothing more."""


def _quiet(_swarm: Swarm, _over: object) -> None:
    """The display of `--json`: nothing until the end."""


def _check_script(path: Path) -> None:
    """Refuse a file that holds no script before anything is made for it."""
    try:
        load_scripts(path)
    except ScriptsNotFound as error:
        raise click.UsageError(str(error)) from None


def _note(text: str) -> None:
    click.echo(text, err=True)


def _fail(text: str, *, code: int = 2) -> NoReturn:
    click.echo(f"prong: {text}", err=True)
    sys.exit(code)
