"""What the models of Claude Code, opencode and our own agents say in the tests with the real command lines."""

import json
import re

from prong.agents.emulator.script import Reply, Text, ToolUse, script, text_of

ITEMS = 100
STEP = 10
SHARES = (40, 30, 30)
"""How many of the items each of the three takes."""


def data_of(exchange):
    last = (exchange.text or "").rpartition("\n")[2]
    return json.loads(last) if last.startswith("{") else {}


def parties(goal):
    """Who meets, as a goal such as "Meet claude codex, codex dies" says, and who of them is killed."""
    first, second, dies = re.search(r"Meet (\w+) (\w+), (\w+) dies", goal).groups()
    return (first, second, "prong"), dies


def prompt_of(who, goal):
    names, dies = parties(goal)
    return f"PARTY {who} takes {SHARES[names.index(who)]}" + (" and dies" if who == dies else "")


def steps(prompt):
    """What one of them calls, one after another: tool and input."""
    who, count, dies = re.search(r"PARTY (\w+) takes (\d+)( and dies)?", prompt).groups()
    meet = {"op": "wait", "parties": len(SHARES), "timeout": 300}
    gets = [("message_queue", {"op": "get", "queue": "items", "count": STEP, "timeout": 60})] * (int(count) // STEP)
    own = {"keep": True} if who == "prong" else {}  # else it ends with the turn, of which others have none that we see
    holds = ("lock", {"op": "acquire", "name": "held", "timeout": 300})
    return who, [
        ("barrier", {**meet, "name": "begin"}),
        ("lock", {"op": "acquire", "name": "turn", **own}),
        ("shared_map", {"op": "put", "map": "seen", "key": who, "value": who}),
        ("lock", {"op": "release", "name": "turn"}),
        *gets,
        ("barrier", {**meet, "name": "end"}),
        ("shared_map", {"op": "items", "map": "seen"}),
        *([holds] if dies else []),
        ("barrier", {**meet, "name": "held"}),
        *([] if dies else [holds]),
    ]


def said(request):
    contents = [message["content"] for message in request.messages if message["role"] == "user"]
    return "\n".join(map(text_of, contents))


def party(request, prefix, sleep=None):
    """One turn of one of them; whoever is to die sleeps when all is done, and is asked again after it was killed."""
    words = said(request)
    who, all_ = steps(words)
    done = [one for one in request.exchanges() if not one.name.endswith("resume_wait")]
    last = data_of(request.exchanges()[-1]) if done else {}
    if not request.body.get("tools"):
        return Reply([Text("A title")])
    if "You were interrupted" in words:
        return Reply([Text(f"{who} is done")])
    if "ticket" in last:
        return Reply([ToolUse(f"{prefix}resume_wait", {"ticket": last["ticket"]})])
    if len(done) < len(all_):
        tool, given = all_[len(done)]
        return Reply([ToolUse(f"{prefix}{tool}", given)])
    if " and dies" in words:
        return Reply([sleep])
    return Reply([Text(f"{who} is done")])


@script("^Meet")
def root(request):
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("message_queue", {"op": "put", "queue": "items", "message": n}) for n in range(ITEMS)])
    created = [one for one in done if one.name == "create_task"]
    if not created:
        names, _ = parties(request.first_text)
        given = [
            {"title": who, "prompt": prompt_of(who, request.first_text), "context": "fresh",
             "role": who if who != "prong" else ""}
            for who in names
        ]  # fmt: skip
        return Reply([ToolUse("create_task", one) for one in given])
    if done[-1].name != "wait_tasks":
        return Reply([ToolUse("wait_tasks", {"tasks": [data_of(one)["task"] for one in created]})])
    return Reply([Text("all have met")])


@script("PARTY claude")
def claude(request):
    sleep = ToolUse("Bash", {"command": "sleep 110; echo over", "description": "wait"})
    return party(request, "mcp__prong__", sleep)


@script("PARTY opencode")
def opencode(request):
    return party(request, "prong_", ToolUse("bash", {"command": "sleep 110; echo over", "description": "wait"}))


@script("PARTY prong")
def prong(request):
    return party(request, "")


@script("BE the parent")
def parent(request):
    done, told = request.exchanges(), said(request)
    if "You are task " in told:
        part = told.rpartition("Do only this: part ")[2][0]
        if not any(f"part{part}.txt" in json.dumps(dict(one.input)) for one in done):
            return Reply([ToolUse("Bash", {"command": f"cat parent.txt > part{part}.txt", "description": "write"})])
        return Reply([Text(f"part {part} is done")])
    created = [one for one in done if one.name == "mcp__prong__create_task"]
    if not done:
        return Reply([Text("I look."), ToolUse("Bash", {"command": "echo known > parent.txt", "description": "write"})])
    if not created:
        return Reply(
            [ToolUse("mcp__prong__create_task", {"title": f"Part {n}", "prompt": f"part {n}"}) for n in (1, 2, 3)]
        )
    if done[-1].name != "mcp__prong__wait_tasks":
        return Reply([ToolUse("mcp__prong__wait_tasks", {"tasks": [data_of(one)["task"] for one in created]})])
    return Reply([Text("all parts are done")])
