"""The official client over HTTP, with the headers that say who it is."""

import contextlib

from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client


@contextlib.asynccontextmanager
async def transport(url, token, name=None):
    headers = {"authorization": f"Bearer {token}"} | ({"x-prong-agent": name} if name else {})
    async with create_mcp_http_client(headers) as http, streamable_http_client(url, http_client=http) as streams:
        yield streams
