"""What the emulator plays in the tests of the loop."""

from prong.agents.emulator.script import Reply, Request, Text, Thinking, ToolUse, script


@script("^cut short")
def cut_short(request: Request) -> Reply:
    """Longer than the answer may be, until it was told to go on."""
    return Reply([Text("word " * 4000)]) if request.turn == 0 else Reply([Text("the rest")])


@script("^cut call")
def cut_call(request: Request) -> Reply:
    """A call whose input does not fit into the answer."""
    if request.turn == 0:
        return Reply([ToolUse("note", {"text": "word " * 4000})])
    return Reply([Text(request.exchanges()[0].text)])


@script("^refuse")
def refuse(_request: Request) -> Reply:
    return Reply([Text("I would rather not")], stop_reason="refusal")


@script("^think")
def think(request: Request) -> Reply:
    """Thinking blocks, which the emulator binds to all that stands before them."""
    if request.turn < 3:
        return Reply([Thinking(f"thought {request.turn}"), Text("so"), ToolUse("note", {"text": str(request.turn)})])
    return Reply([Thinking("done"), Text("thought it through")])


@script("^work until told")
def until_told(request: Request) -> Reply:
    """Notes something each turn until it reads of its budget, whoever said so."""
    told = [
        block["text"]
        for message in request.messages
        if message["role"] != "assistant"
        for block in message["content"]
        if block["type"] == "text" and "budget" in block["text"]
    ]
    if told:
        return Reply([Text(f"wrapped up after {len(told)}")])
    return Reply([ToolUse("note", {"text": f"{request.turn} " + "word " * 20})])


@script("^work for ever")
def for_ever(request: Request) -> Reply:
    """Says how far it is, and works on; it ends when it has been at it for 40 turns."""
    if request.turn >= 40:
        return Reply([Text("it is all done")])
    return Reply([Text(f"done so far: {request.turn}"), ToolUse("note", {"text": "word " * 300})])
