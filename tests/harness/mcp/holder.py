"""A client over HTTP in a process of its own: takes a lock, says so, and thinks until it is killed.

python holder.py URL TOKEN NAME MODE
"""

import asyncio
import sys

from mcp import Client
from tests.harness.mcp.http_clients import transport


async def hold(url, token, name, mode):
    async with Client(transport(url, token, name), mode=mode) as client:
        told = await client.call_tool("lock", {"op": "acquire", "name": "index"})
        sys.stdout.write("held\n" if not told.is_error else told.content[0].text)
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(hold(*sys.argv[1:]))
