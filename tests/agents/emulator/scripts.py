"""Scripts for tests: `play {...}` does what its JSON says, so that a test shows in one place who says what.

{"turns": [[{"text"} | {"thinking"} | {"tool", "input"}, ...], ...],
 "stop_reason", "first_token_s", "fault", "fault_tries"}
"""

import json

from prong.agents.emulator.script import Fault, Reply, Request, Text, Thinking, ToolUse, script


def block(wanted):
    if "text" in wanted:
        return Text(wanted["text"])
    if "thinking" in wanted:
        return Thinking(wanted["thinking"])
    return ToolUse(wanted["tool"], wanted.get("input", {}))


@script(r"^play ")
def play(request: Request) -> Reply:
    plan = json.loads(request.first_text.removeprefix("play ").partition("\n")[0])
    turns = plan["turns"]
    fault = plan.get("fault") if request.seen < plan.get("fault_tries", 1) else None
    return Reply(
        [block(wanted) for wanted in turns[min(request.turn, len(turns) - 1)]],
        stop_reason=plan.get("stop_reason"),
        first_token_s=plan.get("first_token_s", 0),
        fault=Fault(**fault) if fault else None,
    )


@script(r"^raise")
def raising(_: Request) -> Reply:
    raise LookupError("this script is broken on purpose")


@script(r"^answer with a string")
def stringly(_: Request) -> Reply:
    return "not a reply"
