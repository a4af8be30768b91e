"""`prong ui` and `prong export`: the swarms of a repository in the browser, and what can be taken away."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, all_swarms, at_directory, find
from prong.state import Store


@click.command(epilog="Example: prong ui")
@click.argument("swarm", required=False)
@REPO
@click.option(
    "--directory", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Not the swarms of a repository, but the one in this directory, such as a copy.",
)  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; any free one if left out.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--allow-host", "names", multiple=True, help="A name by which browsers elsewhere may call it.")
@click.option("--open/--no-open", "opens", default=True, help="Whether to open a browser.")
@click.option("--read-only", is_flag=True, help="Only show; nothing can be steered.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, {swarm, url, link}, and open no browser.")
def ui(
    swarm: str | None, *, repo: Path, directory: Path | None, port: int, host: str, names: tuple[str, ...],
    opens: bool, read_only: bool, as_json: bool,
) -> None:  # fmt: skip
    """See and steer swarms in the browser, running or finished.

    It listens on this machine only and prints a link that works once; whoever has it can steer the swarm.  Ctrl-C ends
    it, and no swarm with it.
    """
    from prong.harness.inspector.library import Library  # noqa: PLC0415  a web server costs .3 s, and only this needs it
    from prong.harness.inspector.serving import announced, serving  # noqa: PLC0415  as above

    if directory is not None:
        one = at_directory(directory)
        shown: Swarm = one

        def known() -> list[Swarm]:
            return [one]
    else:
        repository = Repository.open(repo)
        shown = find(repository, swarm)

        def known() -> list[Swarm]:
            return all_swarms(repository)

    with (
        contextlib.suppress(KeyboardInterrupt),
        serving(Library(known), host=host, port=port, names=names, read_only=read_only) as (address, server),
        announced([shown], address, read_only=read_only),
    ):
        link = f"{address.link}#/swarm/{shown.id}/now"
        click.echo(json.dumps({"swarm": shown.id, "url": address.url, "link": link}) if as_json else link)
        click.echo("The link opens one browser, once. Ctrl-C ends the inspector; the swarm goes on.", err=True)
        if opens and not as_json:
            threading.Thread(target=click.launch, args=(link,), daemon=True).start()
        while not server.should_exit:
            time.sleep(0.2)


@contextlib.contextmanager
def beside(swarm: Swarm) -> Iterator[None]:
    """Serve the inspector until the block ends, and tell its link; what `prong run --ui` does."""
    from prong.harness.inspector.library import Library  # noqa: PLC0415  as above
    from prong.harness.inspector.serving import announced, serving  # noqa: PLC0415  as above

    repository = swarm.repository
    with serving(Library(lambda: all_swarms(repository))) as (address, _), announced([swarm], address):
        link = f"{address.link}#/swarm/{swarm.id}/now"
        click.echo(f"See and steer it in the browser, as long as it runs: {link}", err=True)
        if sys.stderr.isatty():
            threading.Thread(target=click.launch, args=(link,), daemon=True).start()
        yield


@click.command(epilog="Example: prong export tasks.csv")
@click.argument("name")
@click.option("--swarm", help="Which swarm; the newest if left out.")
@REPO
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), default="-", help="A file; standard output if left out."
)
@click.option("--endpoint", help="With otel: where the collector listens, such as http://localhost:4318/v1/traces.")
@click.option("--follow", is_flag=True, help="With otel: go on sending what ends until the swarm has ended.")
def export(
    name: str, *, swarm: str | None, repo: Path, output: str, endpoint: str | None, follow: bool
) -> None:  # fmt: skip
    """Print a table or a trace of a swarm: events, tasks or agents as .csv or .ndjson, perfetto.json, or otlp.json.

    perfetto.json opens in ui.perfetto.dev and in chrome://tracing.  otlp.json has spans of OpenTelemetry's conventions
    for generative AI, as one request that a collector takes.  otel sends the same to the collector that --endpoint or
    OTEL_EXPORTER_OTLP_ENDPOINT names, which needs the extra otel.
    """
    from prong.harness.inspector import exports  # noqa: PLC0415  as above
    from prong.harness.inspector.feed import connect  # noqa: PLC0415  as above

    store = find(Repository.open(repo), swarm).store()
    if name == "otel":
        _send(store, endpoint, follow=follow)
        return
    if endpoint or follow:
        raise click.UsageError("--endpoint and --follow belong to: prong export otel")
    with contextlib.closing(connect(store.path)) as connection:
        pieces = exports.export(connection, name)  # before the file is opened: a wrong name must not empty it
        with click.open_file(output, "w") as file:
            file.writelines(pieces)


def _send(store: Store, endpoint: str | None, *, follow: bool) -> None:
    """Send spans, and tell on standard error how that goes."""
    from prong.harness.inspector import otel_sending  # noqa: PLC0415  as above

    refused = False

    def told(progress: otel_sending.Progress) -> None:
        nonlocal refused
        if progress.refused_since is not None:
            again = f"asked again in {progress.pause_s:.0f} s"
            click.echo(f"{progress.sent:,} spans are sent; {progress.problem}; {again}", err=True)
        elif refused or sys.stderr.isatty():
            click.echo(f"{progress.sent:,} spans are sent", err=True)
        refused = progress.refused_since is not None

    try:
        sent = otel_sending.send(
            store, otel_sending.exporter(endpoint), follow=follow, told=told if follow else lambda _progress: None
        )
    except KeyboardInterrupt:
        click.echo("interrupted; what was sent is with the collector", err=True)
        sys.exit(130)
    click.echo(f"sent {sent:,} spans", err=True)
