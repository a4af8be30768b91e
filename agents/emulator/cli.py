"""The command that starts an emulator: `python -m prong.agents.emulator` and `prong emulator`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from prong.agents.emulator.loading import ScriptsNotFound, builtin_script, builtin_scripts, load_scripts
from prong.agents.emulator.options import EmulatorOptions, check_fault
from prong.agents.emulator.script import Script


class _FaultShare(click.ParamType[tuple[str, float]]):
    """A fault and its share of the calls, such as 429=0.1."""

    name = "FAULT=SHARE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, share = str(value).partition("=")
        try:
            check_fault(name)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        try:
            number = float(share)
        except ValueError:
            number = math.nan
        if not 0 <= number <= 1:
            self.fail(f"{value!r}: the share of the calls is a number from 0 to 1, such as {name}=0.1", param, ctx)
        return name, number


_SECONDS = click.FloatRange(min=0)
_LIMIT = click.IntRange(min=1)


@click.command(name="emulator", epilog="Example: prong emulator --script demo.py --latency 0.5 --fault 429=0.1")
@click.option(
    "--script",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.py",
    help="Play this file's scripts.",
)
@click.option("--builtin", "builtins", multiple=True, metavar="NAME", help="Play this built-in script.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes any free one.")
@click.option("--latency", type=_SECONDS, default=0, metavar="S", help="A call takes at least S seconds.")
@click.option("--first-token", type=_SECONDS, default=0, metavar="S", help="Seconds until an answer begins.")
@click.option("--per-token", type=_SECONDS, default=0, metavar="S", help="Seconds for each token of an answer.")
@click.option(
    "--ping", type=click.FloatRange(min=0, min_open=True), default=10, metavar="S", help="Seconds between pings."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=_FaultShare(),
    help="An HTTP status, truncate, disconnect, malformed, error_event or damage.",
)
@click.option("--retry-after", type=_SECONDS, metavar="S", help="What faults tell as retry-after.")
@click.option("--seed", default=0, help="Chooses which calls meet a fault.")
@click.option("--requests-per-minute", type=_LIMIT, metavar="N", help="Rate limit, no limit by default.")
@click.option("--input-tokens-per-minute", type=_LIMIT, metavar="N", help="Rate limit; cached reads do not count.")
@click.option("--output-tokens-per-minute", type=_LIMIT, metavar="N", help="Rate limit, no limit by default.")
@click.option(
    "--journal-entries", type=_LIMIT, default=10_000, show_default=True, help="How many requests to remember."
)
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Take this API key, and no other that is not named.")
@click.option("--spent-key", "spent", multiple=True, metavar="KEY", help="An API key without credit.")
@click.option("--without-models", is_flag=True, help="Lack /v1/models and count_tokens, as many local servers do.")
@click.option(
    "--window", "window_tokens", type=_LIMIT, metavar="N", help="The context window of every model, in tokens."
)
@click.option("--keep-bodies", is_flag=True, help="Remember what requests say, too.")
@click.option("--exit-with-stdin", is_flag=True, help="End when standard input ends.")
def command(files: Sequence[Path], builtins: Sequence[str], *, exit_with_stdin: bool, **options: Any) -> None:
    """Serve the Messages API on this machine and play scripts instead of a model.

    The first line on standard output is {"url": ..., "pid": ...}.  Without --script and --builtin it plays every
    built-in script.
    """
    from prong.agents.emulator.server import serve  # noqa: PLC0415 - `--help` and the other commands do without a web server

    try:
        emulator_options = _options(_scripts(files, builtins), options)
    except (ScriptsNotFound, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        serve(emulator_options, _announce, exit_with_stdin=exit_with_stdin)
    except OSError as error:
        message = f"cannot listen on {emulator_options.host}:{emulator_options.port}: {error}"
        raise click.ClickException(message) from error


def _scripts(files: Sequence[Path], builtins: Sequence[str]) -> Sequence[Script]:
    if not files and not builtins:
        return builtin_scripts()
    of_files = [script for file in files for script in load_scripts(file)]
    return [*of_files, *(builtin_script(name) for name in builtins)]


def _options(scripts: Sequence[Script], options: dict[str, Any]) -> EmulatorOptions:
    in_seconds = ("latency", "first_token", "per_token", "ping", "retry_after")
    renamed = {f"{name}_s" if name in in_seconds else name: value for name, value in options.items()}
    return EmulatorOptions(scripts=tuple(scripts), **{**renamed, "faults": dict(options["faults"])})


def _announce(url: str) -> None:
    click.echo(json.dumps({"url": url, "pid": os.getpid()}))
