"""`prong mcp`: the primitives and tasks as tools of any agent that speaks MCP."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository


@click.command(epilog="Example: prong mcp --name reviewer")
@REPO
@click.option("--swarm", help="Which swarm; else the newest that runs, else what all clients of the repository share.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=True),
    help="Not a repository, but this file, shared by programs.",
)
@click.option("--name", envvar="PRONG_AGENT", help="By what name others read of this client.  [default: made up]")
@click.option(
    "--wait", "patience_s", type=click.FloatRange(1, 3600), default=25, show_default=True,
    help="After how many seconds a call that waits answers with a ticket.",
)  # fmt: skip
@click.option(
    "--may",
    "rights",
    metavar="OP",
    multiple=True,
    help="Let clients do this to the swarm too, such as cancel, kill, approve or budget; may be repeated.",
)
@click.option("--http", "over_http", is_flag=True, help="Serve many clients over HTTP, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --http: where to listen; any if left out.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http: the address to listen on.")
@click.option("--allow-host", "names", multiple=True, help="With --http: another name by which clients may call it.")
def mcp(
    repo: Path, *, swarm: str | None, file: Path | None, name: str | None, patience_s: float,
    rights: tuple[str, ...], over_http: bool, port: int, host: str, names: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve locks, maps, queues and tasks to an agent over standard input and output.

    Whatever the agent holds is given back when it disconnects. Set it up with: prong connect
    """
    from prong.agents import log  # noqa: PLC0415  nothing else of this command's is needed at once
    from prong.harness.mcp.place import place_of  # noqa: PLC0415  as above

    if file is not None and swarm is not None:
        raise click.UsageError("name a swarm or a file, not both")
    if over_http and name is not None:
        raise click.UsageError("over HTTP each client has a name of its own, in the header x-prong-agent")
    place = file if file is not None else place_of(Repository.open(repo), swarm)
    _check(rights, place)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log.configure()  # to standard error: standard output is the protocol's
    if over_http:
        _over_http(place, host=host, port=port, names=names, patience_s=patience_s, rights=rights)
    else:
        _over_stdio(place, name, patience_s, rights)


def _check(rights: tuple[str, ...], place: Path) -> None:
    """Refuse rights that there are none of, and whoever an agent has started: what it asks it must not answer."""
    if not rights:
        return
    from prong.harness.cli.approvals import only_people  # noqa: PLC0415  only this needs it
    from prong.harness.mcp.steering import OPS  # noqa: PLC0415  as above
    from prong.harness.swarms import at_directory  # noqa: PLC0415  as above

    for right in rights:
        if right not in OPS:
            raise click.BadParameter(f"{right!r} is none; there are: {', '.join(OPS)}", param_hint="--may")
    only_people(at_directory(place), "mcp --may")


def _over_stdio(place: Path, name: str | None, patience_s: float, rights: tuple[str, ...]) -> NoReturn:
    gc.disable()  # as while the command itself is read
    import anyio  # noqa: PLC0415  the protocol's library costs half a second, and only this command needs it
    import psutil  # noqa: PLC0415  as above
    import structlog  # noqa: PLC0415  as above

    from prong.harness.mcp.server import serve_stdio  # noqa: PLC0415  as above
    from prong.harness.mcp.session import Session  # noqa: PLC0415  as above

    gc.freeze()
    gc.enable()
    client = psutil.Process().parent()

    def join(made_up: str) -> Session:
        return Session(place, name or made_up, patience_s=patience_s, rights=rights, process=client)

    try:
        anyio.run(serve_stdio, place, join, rights)
    except (KeyboardInterrupt, SystemExit):
        pass
    except Exception as error:  # noqa: BLE001  the last words before the process ends
        if not _has_hung_up(error):
            structlog.get_logger().exception("mcp.broke")
            os._exit(1)
    os._exit(0)  # calls that wait still are threads, and nobody reads what they would answer


def _has_hung_up(error: Exception) -> bool:
    """Whether it is only that the client was gone while it was answered, as one that is killed."""
    if isinstance(error, ExceptionGroup):
        return all(_has_hung_up(one) for one in error.exceptions)
    return isinstance(error, BrokenPipeError)


def _over_http(
    place: Path, *, host: str, port: int, names: tuple[str, ...], patience_s: float, rights: tuple[str, ...]
) -> None:
    from prong.harness.mcp.http import serving_mcp  # noqa: PLC0415  a web server costs .3 s, and only this needs it

    with (
        contextlib.suppress(KeyboardInterrupt),
        serving_mcp(place, host=host, port=port, names=names, patience_s=patience_s, rights=rights) as (
            address,
            server,
        ),
    ):
        told = address.for_agents()
        click.echo(told["url"])
        click.echo(f"Authorization: Bearer {told['token']}")
        click.echo("Each client sends that header, and x-prong-agent with its name. Ctrl-C ends the server.", err=True)
        while not server.should_exit:
            time.sleep(0.2)
