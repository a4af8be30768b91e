"""What the emulator plays in the tests of whole swarms: each script is chosen by the goal."""

import json
import re

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script


def data(exchange):
    """The line of JSON under the words of a primitive's result."""
    return json.loads(exchange.text.splitlines()[-1])


def own_prompt(request: Request):
    """What this agent was forked for; None for the root."""
    mine = [exchange for exchange in request.exchanges() if '"you": true' in (exchange.text or "")]
    return mine[-1].input["prompt"] if mine else None


def since_fork(request: Request):
    """The exchanges that this agent made itself."""
    exchanges = request.exchanges()
    forks = [place for place, exchange in enumerate(exchanges) if '"you": true' in (exchange.text or "")]
    if not forks:
        return exchanges
    turn = [e for e in exchanges[forks[-1] :] if e.name == "create_task"]
    return exchanges[exchanges.index(turn[-1]) + 1 :]


def tasks_made(request: Request):
    return [data(e)["task"] for e in since_fork(request) if e.name == "create_task" and not e.is_error]


def orchestrate(request, prompts, *, work, end="all ended", **more):
    """Fork a task for each prompt in one turn, wait for all, and end; children do their `work`."""
    prompt = own_prompt(request)
    if prompt is not None:
        return work(prompt, since_fork(request))
    done = since_fork(request)
    if not done:
        return Reply([ToolUse("create_task", {"title": p[:40], "prompt": p, **more}) for p in prompts])
    if not any(e.name == "wait_tasks" for e in done):
        return Reply([ToolUse("wait_tasks", {"tasks": tasks_made(request)})])
    return Reply([Text(end)])


def in_turn(*turns, end="done"):
    """A child's work: one turn after the other, each tried again when it met an error."""

    def work(_prompt, done):
        calls = [use for turn in turns for use in turn]
        succeeded = 0
        for exchange in done:
            if succeeded < len(calls) and exchange.name == calls[succeeded].name and not exchange.is_error:
                succeeded += 1
        seen = 0
        for turn in turns:
            if succeeded < seen + len(turn):
                return Reply(turn)
            seen += len(turn)
        return Reply([Text(end)])

    return work


def append(file, line):
    """An append that may be repeated: it looks whether the line is there."""
    return ToolUse("bash", {"command": f"grep -qxF '{line}' {file} 2>/dev/null || echo '{line}' >> {file}"})


@script(r"^Edit (\d+) files")
def edit(request: Request) -> Reply:
    count = int(re.search(r"\d+", request.first_text)[0])

    def work(prompt, done):
        number = prompt.split()[-1]
        turns = [[append(f"part-{number}.txt", f"line {line} of part {number}")] for line in range(3)]
        return in_turn(*turns, end=f"wrote part {number}")(prompt, done)

    return orchestrate(request, [f"Write part {number}" for number in range(count)], work=work)


@script(r"^Conflict")
def conflict(request: Request) -> Reply:
    def work(prompt, done):
        return in_turn([ToolUse("bash", {"command": f"echo '{prompt}' > plain.txt"})])(prompt, done)

    return orchestrate(request, ["first version", "second version"], work=work)


@script(r"^Meet")
def meet(request: Request) -> Reply:
    """Ten children that can go on only together, on however few slots there are."""

    def work(prompt, done):
        return in_turn(
            [ToolUse("message_queue", {"op": "put", "queue": "here", "message": prompt})],
            [ToolUse("barrier", {"op": "wait", "name": "all", "parties": "siblings"})],
            [
                ToolUse("lock", {"op": "acquire", "name": "counter"}),
                ToolUse("shared_map", {"op": "add", "map": "count", "key": "passed", "value": 1}),
                ToolUse("lock", {"op": "release", "name": "counter"}),
            ],
        )(prompt, done)

    return orchestrate(request, [f"Come, number {number}" for number in range(10)], work=work)


@script(r"^Sleep")
def sleep(request: Request) -> Reply:
    """Children that leave processes behind: one in the foreground, one in the background, one in its own session."""
    command = "sleep 987 & setsid sleep 986 & sleep 985"
    return orchestrate(request, ["Sleep long"], work=in_turn([ToolUse("bash", {"command": command})]))


@script(r"^Keep a lock")
def keep(request: Request) -> Reply:
    """Two children, one after the other in a critical section that lasts for several turns."""

    def work(prompt, done):
        number = prompt.split()[-1]
        wait = "while [ ! -e $PRONG_SHARED/in-1 ]; do sleep 0.05; done" if number == "2" else "true"
        inside = f"cd $PRONG_SHARED && echo in-{number} >> order && touch in-{number} && sleep 1"
        return in_turn(
            [ToolUse("bash", {"command": wait})],
            [ToolUse("lock", {"op": "acquire", "name": "kept", "keep": True})],
            [ToolUse("bash", {"command": inside})],
            [ToolUse("bash", {"command": f"echo out-{number} >> $PRONG_SHARED/order"})],
            [ToolUse("lock", {"op": "release", "name": "kept"})],
        )(prompt, done)

    return orchestrate(request, ["Be number 1", "Be number 2"], work=work)


@script(r"^Chain")
def chain(request: Request) -> Reply:
    """Tasks that need each other, made one after the other; each notes the order in which it ran."""
    prompt = own_prompt(request)
    if prompt is not None:
        note = ToolUse("message_queue", {"op": "put", "queue": "order", "message": prompt})
        return in_turn([note])(prompt, since_fork(request))
    made = tasks_made(request)
    if len(made) < 3:
        inputs = {"title": f"link {len(made)}", "prompt": f"link {len(made)}", "needs": made[-1:]}
        return Reply([ToolUse("create_task", inputs)])
    if not any(e.name == "wait_tasks" for e in since_fork(request)):
        return Reply([ToolUse("wait_tasks", {"tasks": made})])
    return Reply([Text("chained")])


@script(r"^Show the environment")
def environment(request: Request) -> Reply:
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("bash", {"command": "env > $PRONG_SHARED/env.txt"})])
    return Reply([Text("shown")])


@script(r"^Uncommitted")
def uncommitted(request: Request) -> Reply:
    """The child must find its parent's edits, and only the child's own change may be merged for it."""
    prompt = own_prompt(request)
    done = since_fork(request)
    if prompt is not None:
        command = "cat plain.txt new.txt > seen.txt && rm new.txt && sed -i 1imore plain.txt && git status --short"
        return in_turn([ToolUse("bash", {"command": command})])(prompt, done)
    if not done:
        return Reply([ToolUse("bash", {"command": "echo edited >> plain.txt; echo untracked > new.txt"})])
    if len(done) == 1:
        return Reply([ToolUse("create_task", {"title": "look", "prompt": "look at what I did"})])
    if len(done) == 2:
        return Reply([ToolUse("wait_tasks", {"tasks": tasks_made(request)})])
    if len(done) == 3:
        return Reply([ToolUse("bash", {"command": "git checkout -q plain.txt; rm new.txt"})])
    return Reply([Text("looked")])


@script(r"^Break")
def broken(_request: Request) -> Reply:
    raise RuntimeError("this script is broken on purpose")
