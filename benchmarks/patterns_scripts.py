"""What the emulator plays in the benchmark `patterns`: one short answer to whatever is asked."""

from __future__ import annotations

from prong.agents.emulator.script import Reply, Request, Text, script


@script("")
def answer(_request: Request) -> Reply:
    """The same for all."""
    return Reply([Text("ok")])
