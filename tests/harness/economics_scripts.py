"""What the emulator plays in the tests of fork economics: children that begin in each of the three ways."""

import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script, text_of

LOOK = ToolUse("bash", {"command": "cat big.txt"})
STEP = ToolUse("bash", {"command": "git rev-parse HEAD"})


def said_last(request: Request):
    return text_of(request.messages[-1]["content"])


@script(r"^Fan out (\d+) by (\w+)")
def fan_out(request: Request) -> Reply:
    """Read a long file several times, create so many tasks with this context in one turn, wait, end."""
    count, context, looks = re.match(r"^Fan out (\d+) by (\w+)(?: after (\d+) looks)?", request.first_text).groups()
    if "You are not to go on with this" in said_last(request):
        return Reply([Text("Goal: the parts.\nFound: a marker-of-the-summary in big.txt.")])
    exchanges = request.exchanges()
    if any('"you": true' in (one.text or "") for one in exchanges):
        steps = [one for one in exchanges if one.input == STEP.input]
        return Reply([STEP]) if len(steps) < 2 else Reply([Text("part done")])
    if not any(one.name == "bash" for one in exchanges):
        return Reply([ToolUse("bash", {"command": f"cat big.txt # {n}"}) for n in range(int(looks or 1))])
    made = [one for one in exchanges if one.name == "create_task"]
    if not made:
        inputs = [{"title": f"part {n}", "prompt": f"Do part {n}", "context": context} for n in range(int(count))]
        return Reply([ToolUse("create_task", one) for one in inputs])
    if not any(one.name == "wait_tasks" for one in exchanges):
        return Reply([ToolUse("wait_tasks", {"tasks": list(range(2, 2 + int(count)))})])
    return Reply([Text("all parts done")])


@script(r"^Do part (\d+)")
def part(request: Request) -> Reply:
    """A child that begins without its parent's conversation; it says whether it has read the summary."""
    if not request.exchanges():
        return Reply([STEP])
    knows = "marker-of-the-summary" in request.first_text
    return Reply([Text("knew the summary" if knows else "knew nothing")])


@script(r"^Lose the cache of (\d+)")
def lose(request: Request) -> Reply:
    """Read much, fork, and wait in one turn for a sign from outside and then for the forks."""
    count = int(re.search(r"\d+", request.first_text)[0])
    if "You are not to go on with this" in said_last(request):
        return Reply([Text("Found: a marker-of-the-summary in big.txt.")])
    exchanges = request.exchanges()
    if any('"you": true' in (one.text or "") for one in exchanges):
        return Reply([Text("part done")])
    if not exchanges:
        return Reply([ToolUse("bash", {"command": f"cat big.txt # {n}"}) for n in range(3)])
    if not any(one.name == "create_task" for one in exchanges):
        return Reply([ToolUse("create_task", {"title": f"part {n}", "prompt": f"Do part {n}"}) for n in range(count)])
    if not any(one.name == "wait_tasks" for one in exchanges):
        wait = "touch $PRONG_SHARED/asked; while [ ! -e $PRONG_SHARED/go ]; do sleep 0.05; done"
        waiting = ToolUse("wait_tasks", {"tasks": list(range(2, 2 + count))})
        return Reply([ToolUse("bash", {"command": wait}), waiting])
    return Reply([Text("all parts done")])
