"""What the emulator plays in the tests of agents asleep: each script is chosen by the goal."""

import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

LATE = "while [ ! -e $PRONG_SHARED/come ]; do sleep 0.05; done"


@script(r"^Gather (\d+)")
def gather(request: Request) -> Reply:
    """So many tasks that go on only together; the last of them comes when the file `come` is there."""
    count = int(re.search(r"\d+", request.first_text)[0])
    if request.exchanges():
        return Reply([Text("called them")])
    prompts = [f"Stand among {count}"] * (count - 1) + [f"Come late to {count}"]
    return Reply([ToolUse("create_task", {"context": "fresh", "title": p, "prompt": p}) for p in prompts])


@script(r"^(Stand among|Come late to) (\d+)")
def stand(request: Request) -> Reply:
    count = int(re.search(r"(?:among|to) (\d+)", request.first_text)[1])
    done = [one.name for one in request.exchanges()]
    if "Come late" in request.first_text and "bash" not in done:
        return Reply([ToolUse("bash", {"command": LATE})])
    if "barrier" not in done:
        return Reply([ToolUse("barrier", {"op": "wait", "name": "all", "parties": count})])
    return Reply([Text("passed")])
