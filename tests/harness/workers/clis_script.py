"""What Claude Code's model and those of our own agents say in the tests with the real command lines."""

import json

from prong.agents.emulator.script import Reply, Text, ToolUse, script, text_of

ITEMS = 100
PARTIES = {"claude": 40, "codex": 30, "prong": 30}
STEP = 10


def data_of(exchange):
    last = (exchange.text or "").rpartition("\n")[2]
    return json.loads(last) if last.startswith("{") else {}


def steps(who):
    """What each party calls, one after another: tool and input."""
    meet = {"op": "wait", "parties": len(PARTIES), "timeout": 300}
    gets = [("message_queue", {"op": "get", "queue": "items", "count": STEP, "timeout": 60})] * (PARTIES[who] // STEP)
    return [
        ("barrier", {**meet, "name": "begin"}),
        ("lock", {"op": "acquire", "name": "turn"}),
        ("shared_map", {"op": "put", "map": "seen", "key": who, "value": who}),
        ("lock", {"op": "release", "name": "turn"}),
        *gets,
        ("barrier", {**meet, "name": "end"}),
        ("shared_map", {"op": "items", "map": "seen"}),
        *([] if who == "claude" else [("lock", {"op": "acquire", "name": "held", "timeout": 300})]),
    ]


def said(request):
    contents = [message["content"] for message in request.messages if message["role"] == "user"]
    return "\n".join(map(text_of, contents))


def party(request, who, prefix):
    done, all_ = request.exchanges(), steps(who)
    if len(done) < len(all_):
        tool, given = all_[len(done)]
        return Reply([ToolUse(f"{prefix}{tool}", given)])
    return Reply([Text(f"{who} is done")])


@script("^Meet")
def root(request):
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("message_queue", {"op": "put", "queue": "items", "message": n}) for n in range(ITEMS)])
    created = [one for one in done if one.name == "create_task"]
    if not created:
        tasks = [("PARTY claude", "claude"), ("PARTY codex", "codex"), ("PARTY prong", ""), ("HOLD it", "claude")]
        given = [{"title": prompt, "prompt": prompt, "context": "fresh", "role": role} for prompt, role in tasks]
        return Reply([ToolUse("create_task", one) for one in given])
    if done[-1].name != "wait_tasks":
        return Reply([ToolUse("wait_tasks", {"tasks": [data_of(one)["task"] for one in created]})])
    return Reply([Text("all have met")])


@script("PARTY claude")
def claude(request):
    return party(request, "claude", "mcp__prong__")


@script("PARTY prong")
def prong(request):
    return party(request, "prong", "")


@script("HOLD it")
def hold(request):
    done = request.exchanges()
    if "You were interrupted" in said(request):
        return Reply([Text("given up")])
    if not done:
        return Reply([ToolUse("mcp__prong__lock", {"op": "acquire", "name": "held"})])
    return Reply([ToolUse("Bash", {"command": "sleep 110; echo over", "description": "wait"})])


@script("^Fork")
def root_of_forks(request):
    done = request.exchanges()
    if not done:
        given = {"title": "Parent", "prompt": "BE the parent", "role": "claude", "context": "fresh"}
        return Reply([ToolUse("create_task", given)])
    if done[-1].name != "wait_tasks":
        return Reply([ToolUse("wait_tasks", {"tasks": [data_of(done[0])["task"]]})])
    return Reply([Text("forked")])


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
