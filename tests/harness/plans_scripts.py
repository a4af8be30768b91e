"""What the emulator plays in the tests of plans: what a prompt says is done, and some things go wrong on purpose."""

import json
import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script, text_of

SLOW_S = 300.0


@script(r"^List ")
def list_parts(request: Request) -> Reply:
    """Four parts as data; its forks go on in the same conversation and quote what they were told."""
    told = [text_of(message["content"]) for message in request.messages if message["role"] == "user"]
    mine = re.search(r"Do only this: (.*)", "\n".join(told[1:]))
    if mine:
        return Reply([Text(f"as a fork: {mine[1]}")])
    return Reply([Text(json.dumps({"parts": ["a", "b", "c"], "wanted": False}))])


@script(r"^Fail once, (\w+)")
def fail_once(request: Request) -> Reply:
    """Declines until somebody asks again."""
    again = any("asked to try again" in text_of(message["content"]) for message in request.messages)
    return Reply([Text("done at last" if again else "I will not.")], stop_reason=None if again else "refusal")


@script(r"^Look at ")
def look_at(request: Request) -> Reply:
    """One of the parts takes very long when it is asked for the first time."""
    part = re.search(r"^Look at (\w+)", request.first_text)[1]
    if part == "slow" and request.seen == 0:
        return Reply([Text("late")], first_token_s=SLOW_S)
    return Reply([Text(json.dumps({"part": part, "bugs": len(part)}))])


@script(r"^Write a plan for this goal")
def write_plan(request: Request) -> Reply:
    """A plan whose schema fits but whose names do not, until it is told."""
    told = text_of(request.messages[-1]["content"])
    need = "one" if "does not fit its schema" in told else "oen"
    tasks = {"one": {"prompt": "Look at x"}, "two": {"prompt": "Look at y", "needs": [need]}}
    return Reply([Text(json.dumps({"goal": "Do it well", "tasks": tasks}))])


@script(r"^Write (\S+)")
def write(request: Request) -> Reply:
    """A file, with what the task was told in it."""
    name = re.search(r"^Write (\S+)", request.first_text)[1]
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("bash", {"command": f"cat > {name} <<'END'\n{request.first_text}\nEND"})])
    return Reply([Text(f"wrote {name}")])
