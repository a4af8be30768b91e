"""What the emulator plays in the benchmark `economics`: the same work by forks, by fresh agents, by one agent alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prong.agents.emulator.script import Exchange, Reply, Request, Text, ToolUse, script, text_of

_WORDS = Text("word " * 120)
_LOOK = ToolUse("bash", {"command": "head -c 800 data/0.txt"})
_SUMMARY = Text("what is where " * 500)


@script(r"^economics: (\d+) children of (\d+) turns by (\w+) after (\d+) files, (\d+) again")
def parent(request: Request) -> Reply:
    """Read the files, create the children in one turn, wait for them; alone it does all their turns itself."""
    found = re.findall(r"\d+", request.first_text)
    children, turns, files, again = (int(number) for number in found[:4])
    context = re.findall(r" by (\w+) ", request.first_text)[0]
    if "You are not to go on with this" in text_of(request.messages[-1]["content"]):
        return Reply([_SUMMARY])
    exchanges = request.exchanges()
    if any('"you": true' in (one.text or "") for one in exchanges):
        return _work(turns, turn=sum(one.input == _LOOK.input for one in exchanges))
    if not exchanges:
        return Reply([_read(number) for number in range(files)])
    if context == "alone":
        return _work(children * turns, turn=len(exchanges) - files)
    return _fan_out(exchanges, children, f"child: read {again} files, then {turns} turns", context)


def _fan_out(exchanges: Sequence[Exchange], children: int, told: str, context: str) -> Reply:
    if not any(one.name == "create_task" for one in exchanges):
        inputs = [{"title": "part", "prompt": f"{told} of part {n}", "context": context} for n in range(children)]
        return Reply([ToolUse("create_task", one) for one in inputs])
    if exchanges[-1].name == "create_task":
        return Reply([ToolUse("wait_tasks", {"tasks": list(range(2, children + 2))})])
    return Reply([Text("all done")])


@script(r"^child: read (\d+) files, then (\d+) turns")
def child(request: Request) -> Reply:
    """Read the files again, one a turn, and then work."""
    again, turns = (int(number) for number in re.findall(r"\d+", request.first_text)[:2])
    done = len(request.exchanges())
    if done < again:
        return Reply([_WORDS, _read(done)])
    return _work(turns, turn=done - again)


def _read(number: int) -> ToolUse:
    return ToolUse("bash", {"command": f"cat data/{number}.txt"})


def _work(turns: int, *, turn: int) -> Reply:
    return Reply([_WORDS, _LOOK]) if turn < turns - 1 else Reply([_WORDS])
