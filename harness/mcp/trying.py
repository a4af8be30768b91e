"""Seeing whether a server works, as a client would: start it, shake hands, list its tools."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from prong.harness.mcp.connecting import STARTS_S, NotConnected


async def try_command(command: Sequence[str], directory: Path) -> int:
    """How many tools the server offers that a command starts in a directory.  Raises `NotConnected`."""
    parameters = StdioServerParameters(command=command[0], args=list(command[1:]), cwd=str(directory))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            with anyio.fail_after(STARTS_S):
                async with Client(stdio_client(parameters, errlog=said)) as client:
                    return len((await client.list_tools()).tools)
        except Exception as error:
            said.seek(0)
            words = said.read().strip()[-2000:] or str(error) or type(error).__name__
            raise NotConnected(f"{shlex.join(command)} was started, but it is no server that works: {words}") from error
