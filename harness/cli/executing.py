"""`prong exec`: a swarm whose first task is a program, with every option of `prong run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from prong.harness.swarms import Swarm

PROGRAM = f"{__name__}.program"
"""Under this name the context of the command holds the program."""

CHILDREN = 1_000
"""So many tasks one task may create where nobody says otherwise: whoever writes a loop means it."""

_LONGEST_S = 86_400

_HELP = """Run PROGRAM, a Python file, as a swarm's first task: in code it creates tasks, waits for them, and gathers.

The tasks that it creates are agents.  It imports from prong.harness.program, and runs in the sandbox, in a clone of
the repository.  What it prints goes to standard output, and what it changes is merged.  ARGS are its sys.argv[1:];
options of prong stand before PROGRAM.

Killed and resumed (prong resume), it runs again from its beginning, and finds the tasks that it created.
"""


def exec_like(run: click.Command) -> click.Command:
    """The command `exec` with the options of `run`."""

    @click.pass_context
    def execute(ctx: click.Context, /, program: Path, args: tuple[str, ...], timeout: float, **options: Any) -> None:
        from prong.harness.agent.programs import SOURCE_CHARACTERS, Program  # noqa: PLC0415  only this command needs it

        source = _source(program, most_characters=SOURCE_CHARACTERS)
        ctx.meta[PROGRAM] = str(Program(source, program.name, args, timeout))
        if options["children"] is None:
            options["children"] = CHILDREN
        assert run.callback is not None, "it is a command that does something"
        run.callback(goal=" ".join((program.name, *args)), **options)

    own = [
        click.Argument(["program"], type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.Argument(["args"], nargs=-1, type=click.UNPROCESSED),
        click.Option(
            ["--timeout"], type=click.FloatRange(1, _LONGEST_S), default=_LONGEST_S, show_default=True,
            help="Seconds that the program itself may work; waiting for tasks is not counted.",
        ),
    ]  # fmt: skip
    params = [*own, *(one for one in run.params if not isinstance(one, click.Argument) and one.name != "role")]
    settings = {"allow_interspersed_args": False}  # what stands behind PROGRAM is the program's
    epilog = "Example: prong exec --offline examples/count_lines_program.py"
    return click.Command("exec", settings, execute, params, _HELP, epilog)


def show_output(swarm: Swarm) -> bool:
    """Print what the swarm's program has printed; whether it has one, so that nothing else goes to standard output."""
    from prong.harness.cli.display import printable  # noqa: PLC0415  as in every command

    row = swarm.store().row("select state, result, error from task where program is not null order by id limit 1")
    if row is None:
        return False
    if row["state"] == "done":
        click.echo("\n".join(map(printable, (row["result"] or "").splitlines())))
    elif row["error"]:
        click.echo("\n".join(map(printable, row["error"].splitlines())), err=True)
    return True


def who_plays(swarm: Swarm) -> str:
    """What answers in an offline run, in words."""
    has_program = swarm.store().row("select 1 from task where program is not null") is not None
    whose = "the agents that the program creates are played" if has_program else "a script plays by rules:"
    offline = swarm.options.offline
    if offline is not None and offline.scripts:
        return f"{whose} {'by ' * has_program}{_called(offline.scripts)}"
    whatever = "whatever their tasks say" if has_program else "whatever the goal says"
    return f"{whose} {'by ' * has_program}the built-in survey, {whatever}"


def _called(scripts: Sequence[str]) -> str:
    """What scripts are called: those that Prong brings along for plans are not the user's."""
    from prong.harness.patterns.opening import SCRIPT  # noqa: PLC0415  as above
    from prong.harness.plans.writing import BUILT_IN  # noqa: PLC0415  as above

    counts, plans = (str(SCRIPT),), (str(BUILT_IN),)
    own: dict[tuple[str, ...], str] = {
        counts: "a built-in one, which counts lines and words",
        plans: "a built-in one, which writes plans",
    }
    return own.get(tuple(scripts), "your script")


def has_changes(swarm: Swarm) -> bool:
    """Whether anything of the swarm's work was merged."""
    return swarm.store().row("select 1 from task where merged_commit is not null limit 1") is not None


def _source(program: Path, *, most_characters: int) -> str:
    try:
        source = program.read_text("utf-8")
    except UnicodeDecodeError:
        raise click.UsageError(f"{program} is no text, so it is no program") from None
    if not source.strip() or len(source) > most_characters:
        raise click.UsageError(f"{program} is empty, or longer than {most_characters:,} characters")
    if "\0" in source:
        raise click.UsageError(f"{program} holds a NUL character, so it is no program")
    return source
