"""`prong mcp --http`: the endpoint alone, behind the same guard as the inspector, under a token that stays the same."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from prong.harness.inspector.guard import Keys
from prong.harness.inspector.serving import Address, served, write_secret
from prong.harness.mcp.endpoint import PATH, Endpoint
from prong.harness.mcp.session import ABANDONED_S, PATIENCE_S

TOKEN = "mcp.token"  # noqa: S105  a file's name
"""The file beside the state with the token, so that a client that was set up once stays so."""

ADDRESS = "mcp.json"
"""The file beside the state that tells where clients connect while it serves."""


@contextlib.contextmanager
def serving_mcp(
    place: Path, *, host: str = "127.0.0.1", port: int = 0, names: Collection[str] = (),
    patience_s: float = PATIENCE_S, abandoned_s: float = ABANDONED_S, rights: Sequence[str] = (),
) -> Iterator[tuple[Address, uvicorn.Server]]:  # fmt: skip
    """Serve MCP clients of the state at `place` in a thread until the block ends.  Raises `NotServed`.

    `rights` are what all of them may do to the swarm itself.
    """
    endpoint = Endpoint(lambda _query: place, patience_s=patience_s, abandoned_s=abandoned_s, rights=rights)

    @contextlib.asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        yield
        await endpoint.close()

    folder = place if not place.suffix else place.parent
    folder.mkdir(parents=True, exist_ok=True)
    app = Starlette(lifespan=life, routes=[Route(PATH, endpoint)])
    keys = Keys(code=None, agents=_token(folder / TOKEN))
    with served(app, keys, host=host, port=port, names=names) as (address, server):
        write_secret(folder / ADDRESS, json.dumps(address.for_agents()))
        try:
            yield address, server
        finally:
            (folder / ADDRESS).unlink(missing_ok=True)


def _token(file: Path) -> str:
    """The token in the file, made where there is none."""
    with contextlib.suppress(OSError):
        if known := file.read_text("utf-8").strip():
            return known
    token = secrets.token_urlsafe(32)
    write_secret(file, token)
    return token
