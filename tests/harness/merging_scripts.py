"""Scripts of swarms whose agents get in each other's way: what comes back is solved by whoever made it."""

import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script, text_of

SOLVE = "sed -i -e '/^<<<<<<</d' -e '/^=======/d' -e '/^>>>>>>>/d' plain.txt"


def came_back(request: Request):
    """The reasons for which work came back, as this agent has read them."""
    texts = [text_of(message["content"]) for message in request.messages if message["role"] == "user"]
    return [text for text in texts if "This was attempt" in text]


def own_prompt(request: Request):
    """What this agent was forked for; None for the root."""
    mine = [exchange for exchange in request.exchanges() if '"you": true' in (exchange.text or "")]
    return mine[-1].input["prompt"] if mine else None


@script(r"^Bring the finished work")
def resolve(request: Request) -> Reply:
    if not request.exchanges():
        return Reply([ToolUse("bash", {"command": SOLVE})])
    return Reply([Text("made one whole of both")])


@script(r"^(Quarrel|Sulk|Share) (.*)")
def quarrel(request: Request) -> Reply:
    """Each child writes its word to the same line.  Those of a quarrel mend what comes back, the sulking ones do not.

    Those that share say beforehand what they will write, and add their word.  A child whose word is `spoil` also writes
    a file that no check lets pass.
    """
    prompt, exchanges = own_prompt(request), request.exchanges()
    if prompt is None:
        words = re.match(r"\w+ (.*)", request.first_text)[1].split()
        if not exchanges:
            said = {"writes": ["*.txt"]} if request.first_text.startswith("Share") else {}
            return Reply([ToolUse("create_task", {"title": word, "prompt": word, **said}) for word in words])
        if exchanges[-1].name == "create_task":
            return Reply([ToolUse("wait_tasks", {"tasks": [*range(2, 2 + len(words))]})])
        return Reply([Text("all ended")])
    ran = [one.input["command"] for one in exchanges if one.name == "bash"]
    if not ran:
        spoil = "touch spoilt; " if prompt == "spoil" else ""
        to = ">>" if request.first_text.startswith("Share") else ">"
        return Reply([ToolUse("bash", {"command": f"{spoil}echo {prompt} {to} plain.txt; echo x > {prompt}.txt"})])
    back = came_back(request)
    if request.first_text.startswith("Quarrel") and len(ran) <= len(back):
        failed = re.search(r"the check `.*` failed", back[-1])
        return Reply([ToolUse("bash", {"command": "rm spoilt" if failed else SOLVE})])
    return Reply([Text(f"wrote {prompt}")])
