"""What the emulator plays in the tests of conversations: `turns {...}` holds the plan of each turn in the first text.

A turn is a list of blocks ({"text"}, {"thinking"}, {"note"}, {"raw"}) or {"blocks", "stop", "odd_stop"}; the last one
is played for ever.  `seed` in the text spoils the first try of each turn.  `grow N` notes N times, and ends.
"""

import json

from prong.agents.emulator.script import Fault, Raw, Reply, Request, Text, Thinking, ToolUse, script


def block(wanted):
    ((kind, value),) = wanted.items()
    kinds = {"text": Text, "thinking": Thinking, "raw": Raw, "note": lambda text: ToolUse("note", {"text": text})}
    return kinds[kind](value)


def last_text(request):
    content = request.messages[-1]["content"]
    return "\n".join(one["text"] for one in content if one["type"] == "text")


@script("^turns ")
def turns(request: Request) -> Reply:
    plan = json.loads(request.first_text.removeprefix("turns ").partition("\n")[0])
    turn = plan["turns"][min(request.turn, len(plan["turns"]) - 1)]
    turn = turn if isinstance(turn, dict) else {"blocks": turn}
    fault = Fault(stop_reason=turn["odd_stop"]) if "odd_stop" in turn else None
    if "seed" in plan and request.seen == 0:
        fault = Fault(stream="damage", after=plan["seed"] * 1_000 + len(request.messages))
    return Reply([block(one) for one in turn["blocks"]], stop_reason=turn.get("stop"), fault=fault)


@script("^grow ")
def grow(request: Request) -> Reply:
    """Notes until it has noted so often, as its summaries count too; says the sum when it is asked to sum up."""
    wanted = int(request.first_text.split()[1])
    noted = [one for one in request.exchanges() if one.name == "note"]
    before = sum(
        int(word.removeprefix("noted="))
        for word in json.dumps(request.messages[:2]).split()
        if word.startswith("noted=")
    )
    done = before + len(noted)
    if request.body.get("compaction") or "nearly filled" in last_text(request):
        if "summary fails" in request.first_text:
            return Reply([ToolUse("note", {"text": "I would rather work"})])
        return Reply([Thinking("what did I do?"), Text(f"Goal: grow. Done: noted={done} times")])
    if done >= wanted:
        return Reply([Text(f"grown: {done}")])
    return Reply([Thinking(f"thought {done}"), ToolUse("note", {"text": f"{done} " + "word " * 150})])
