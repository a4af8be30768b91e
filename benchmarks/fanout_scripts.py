"""What the emulator plays in the benchmark `fanout`: the same turns by sixteen agents, or by one."""

from __future__ import annotations

import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

TURN = ToolUse("bash", {"command": "git rev-parse HEAD"})


@script(r"^fan out (\d+) agents of (\d+) turns")
def fan_out(request: Request) -> Reply:
    """Fork so many children, each of which takes so many turns, and wait for them."""
    agents, turns = (int(number) for number in re.findall(r"\d+", request.first_text)[:2])
    exchanges = request.exchanges()
    forked = [place for place, one in enumerate(exchanges) if '"you": true' in (one.text or "")]
    if forked:
        done = sum(one.name == "bash" for one in exchanges)
        return Reply([TURN]) if done < turns - 1 else Reply([Text("done")])
    if not exchanges:
        return Reply(
            [ToolUse("create_task", {"title": f"part {n}", "prompt": "take your turns"}) for n in range(agents)]
        )
    if exchanges[-1].name != "wait_tasks":
        return Reply([ToolUse("wait_tasks", {"tasks": list(range(2, agents + 2))})])
    return Reply([Text("all done")])


@script(r"^alone (\d+) turns")
def alone(request: Request) -> Reply:
    """The same turns, one after the other."""
    turns = int(re.findall(r"\d+", request.first_text)[0])
    return Reply([TURN]) if len(request.exchanges()) < turns else Reply([Text("done")])
