"""`prong mcp`: the primitives and tasks as tools of any agent that speaks MCP."""

from __future__ import annotations

import os
from pathlib import Path

import click

from prong.harness.repository.repository import Repository


@click.command(epilog="Example: prong mcp --name reviewer")
@click.option(
    "--repo",
    type=click.Path(path_type=Path),
    default=".",
    show_default="here",
    help="The repository, or a folder in it.",
)
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
def mcp(repo: Path, *, swarm: str | None, file: Path | None, name: str | None, patience_s: float) -> None:
    """Serve locks, maps, queues and tasks to an agent over standard input and output.

    Whatever the agent holds is given back when it disconnects. Set it up with: prong connect
    """
    import anyio  # noqa: PLC0415  the protocol's library costs half a second, and only this command needs it

    from prong.agents import log  # noqa: PLC0415  as above
    from prong.harness.mcp.place import place_of  # noqa: PLC0415  as above
    from prong.harness.mcp.server import serve_stdio  # noqa: PLC0415  as above
    from prong.harness.mcp.session import Session  # noqa: PLC0415  as above

    if file is not None and swarm is not None:
        raise click.UsageError("name a swarm or a file, not both")
    place = file if file is not None else place_of(Repository.open(repo), swarm)
    log.configure()  # to standard error: standard output is the protocol's
    session = Session(place, name or f"client-{os.getpid()}", patience_s=patience_s)
    try:
        anyio.run(serve_stdio, session)
    finally:
        session.close()
        os._exit(0)  # calls that wait still are threads, and nobody reads what they would answer
