"""What the emulator plays in the tests of steering: each script is chosen by the goal."""

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, blocks_of, script, text_of

WAIT = "while [ ! -e $PRONG_SHARED/{0} ]; do sleep 0.05; done; echo {0} >> $PRONG_SHARED/came"


def users_texts(request: Request):
    """What was said to this agent, first to last, without results of tools."""
    users = [message for message in request.messages if message["role"] == "user"]
    return [text_of(one["content"]) for one in users if all(b["type"] == "text" for b in blocks_of(one["content"]))]


def parts(request: Request, *inputs):
    """Create fresh tasks that play these scripts, in one turn, and wait for all of them."""
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("create_task", {"context": "fresh", **one}) for one in inputs])
    if len(done) == len(inputs):
        return Reply([ToolUse("wait_tasks", {"tasks": list(range(2, 2 + len(inputs)))})])
    return Reply([Text("all ended")])


@script(r"^Turn after turn")
def turns(request: Request) -> Reply:
    """A turn each time somebody lets it: turn n goes on when the file n is there."""
    done = [one for one in request.exchanges() if not one.is_error]
    if len(done) < 3:
        return Reply([ToolUse("bash", {"command": WAIT.format(len(done) + 1)})])
    return Reply([Text("three turns")])


@script(r"^Lead two")
def lead(request: Request) -> Reply:
    """One that takes turns, and one that needs it."""
    return parts(
        request,
        {"title": "takes turns", "prompt": "Turn after turn"},
        {"title": "writes after it", "prompt": "Write after it", "needs": [2]},
    )


@script(r"^Lead three")
def lead_three(request: Request) -> Reply:
    """One that takes turns, and two that stand behind it in line."""
    writers = ({"title": f"writes {n}", "prompt": "Write after it"} for n in (1, 2))
    return parts(request, {"title": "takes turns", "prompt": "Turn after turn"}, *writers)


@script(r"^Write after it")
def after(request: Request) -> Reply:
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": "echo after > after.txt"})])
    return Reply([Text("written")])


@script(r"^Decline")
def decline(request: Request) -> Reply:
    """Declines to go on until it is asked again."""
    texts = users_texts(request)
    if len(texts) < 2:
        return Reply([Text("I would rather not")], stop_reason="refusal")
    return Reply([Text(f"I was told: {texts[-1]}")])


@script(r"^Ask one that declines")
def ask(request: Request) -> Reply:
    return parts(
        request,
        {"title": "declines", "prompt": "Decline this"},
        {"title": "writes after it", "prompt": "Write after it", "needs": [2]},
    )


@script(r"^Stubborn")
def stubborn(request: Request) -> Reply:
    """Starts something that does not heed a polite end, and never comes back."""
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": "trap '' TERM; setsid sleep 983 & sleep 984"})])
    return Reply([Text("it came back")])
