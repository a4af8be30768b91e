"""Commands with every option of `prong run` and work of their own: what `map` and `vote` have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prong.harness.patterns.progress import Progress
    from prong.harness.patterns.swarm import Swarm
    from prong.harness.repository.repository import Repository
    from prong.harness.swarms import Options
    from prong.harness.swarms import Swarm as Found

LAUNCH = f"{__name__}.launch"
"""Under this name the context of the command holds what goes on with the repository, the options, commit and key."""

EXIT_CODES = {"failed": 1, "budget": 3, "approval": 4, "cache": 4, "stopped": 130}


def command_like(
    run: click.Command, name: str, *, own: Sequence[click.Parameter], work: Callable[..., Callable[..., None]],
    text: str, epilog: str, argument: str = "prompt",
) -> click.Command:  # fmt: skip
    """A command with the options of `run` and its `own`.

    `work` gets the context, its own options and the role, and returns what goes on when those of `run` are checked.
    """
    names = [one.name for one in own]

    @click.pass_context
    def launch(ctx: click.Context, /, **options: Any) -> None:
        mine = {name: options.pop(name) for name in names if name is not None}
        ctx.meta[LAUNCH] = work(ctx, as_json=options["as_json"], role=options["role"], **mine)
        if options["total_tasks"] is None:
            from prong.harness.patterns.opening import TASKS  # noqa: PLC0415  only such commands need it

            options["total_tasks"] = TASKS
        assert run.callback is not None, "it is a command that does something"
        run.callback(goal=mine[argument], ui=False, **options)

    return click.Command(name, None, launch, [*own, *_usual(run)], text, epilog)


def _usual(run: click.Command) -> list[click.Parameter]:
    """The options of `run` as they hold where each task does the same."""
    found: list[click.Parameter] = []
    for one in run.params:
        if one.name == "role" and isinstance(one, click.Option):
            of_each = copy(one)
            of_each.help = (one.help or "").replace("its first task", "each task")
            found.append(of_each)
        elif not isinstance(one, click.Argument) and one.name != "ui":
            found.append(one)
    return found


@contextmanager
def opened(
    repository: Repository, options: Options, base: str, key: str | None, *, name: str, again: bool,
    progress: Callable[[Progress], object] | None,
) -> Iterator[tuple[Swarm, bool]]:  # fmt: skip
    """The swarm of this name, begun or gone on with, and whether it was there before; ends with exit codes of `run`."""
    from prong.harness.patterns import opening  # noqa: PLC0415  as above
    from prong.harness.patterns.hosting import Standstill, SupervisorGone  # noqa: PLC0415  as above
    from prong.harness.patterns.opened import Opened  # noqa: PLC0415  as above

    options = opening.with_script(options)
    known = None if again else opening.named(repository, name, base, options=options)
    found: Found
    if known is not None:
        found = opening.go_on(known, replace(options, goal=known.options.goal))
    else:
        found = opening.make(repository, options, base, name=name)
    attended = sys.stdin.isatty() and sys.stderr.isatty()
    swarm = Opened(found, key, name=name, progress=progress, attended=attended, is_new=known is None)
    try:
        with swarm:
            yield swarm, known is not None
    except KeyboardInterrupt:
        note(f"stopped; nothing is lost. The same command goes on. (swarm {found.id})")
        sys.exit(EXIT_CODES["stopped"])
    except Standstill as error:
        fail(str(error), code=EXIT_CODES.get(error.state, 1))
    except SupervisorGone as error:
        fail(str(error), code=EXIT_CODES["failed"])


def tell_offline(options: Options) -> None:
    """Say that no model is asked."""
    if options.offline is not None:
        plays = "your script" if options.offline.scripts else "a built-in one, which counts lines and words"
        note(f"offline: no model is asked and nothing leaves this machine; a script plays by rules: {plays}")


def tell_changes(swarm: Swarm) -> None:
    """Say what the run went to where that is worth it, and where the agents' changes are, where there are any."""
    from prong.harness.cli.advising import show_advice  # noqa: PLC0415  as above
    from prong.harness.cli.executing import has_changes  # noqa: PLC0415  as above
    from prong.harness.swarms import at_directory  # noqa: PLC0415  as above

    found = at_directory(swarm.directory)
    show_advice(found)
    if has_changes(found):
        note(f"What agents changed is on branch {found.branch}. See it with: prong diff; take it with: prong merge")


def note(text: str) -> None:
    """Tell a person something that is no result."""
    click.echo(text, err=True)


def fail(text: str, *, code: int) -> NoReturn:
    """End with one line and an exit code."""
    click.echo(f"prong: {text}", err=True)
    sys.exit(code)


def schema_of(_ctx: click.Context, _parameter: click.Parameter, path: Any) -> Any:
    """The schema in a file, checked; click prints what is wrong with it."""
    if path is None:
        return None
    import json  # noqa: PLC0415  as above

    from prong.harness.tools import result_schema  # noqa: PLC0415  as above
    from prong.state import Invalid  # noqa: PLC0415  as above

    try:
        schema = json.loads(path.read_text("utf-8"))
        result_schema.checked(schema)
    except ValueError as error:
        raise click.BadParameter(f"{path} is no JSON: {error}") from None
    except Invalid as error:
        raise click.BadParameter(f"{path}: {error}") from None
    return schema


def usd_text(usd: float | None) -> str:
    """An amount for people."""
    return "cost unknown" if usd is None else f"${usd:.4f}"
