"""What the emulator plays while swarms are tormented: each script is chosen by the goal."""

import re

from tests.harness.scripts import data, in_turn, orchestrate

from prong.agents.emulator.script import Reply, Request, Text, ToolUse, script

LINES = 2
"""How many lines each part gets, one a turn."""


def slow_append(file, line):
    """An append that may be repeated, but not by two at once: they would both find that the line is not there."""
    command = f"grep -qxF '{line}' {file} 2>/dev/null || {{ sleep 0.1; echo '{line}' >> {file}; }}"
    return ToolUse("bash", {"command": command})


@script(r"^Write (\d+) parts")
def write(request: Request) -> Reply:
    """A fork for each part, which appends its lines in as many turns."""
    count = int(re.search(r"\d+", request.first_text)[0])

    def work(prompt, done):
        number = prompt.split()[-1]
        turns = [[slow_append(f"part-{number}.txt", f"line {line} of part {number}")] for line in range(LINES)]
        return in_turn(*turns, end=f"wrote part {number}")(prompt, done)

    return orchestrate(request, [f"Write part {number}" for number in range(count)], work=work)


@script(r"^Gather (\d+) from (\w+)")
def gather(request: Request) -> Reply:
    """A tree of tasks: each waits for its children and tells what they said; the last wait for a file."""
    depth, name = re.match(r"Gather (\d+) from (\w+)", request.first_text).groups()
    done = request.exchanges()
    if int(depth) == 0:
        command = f"while [ ! -e $PRONG_SHARED/go ]; do sleep 0.05; done; echo {name} > {name}.txt"
        return in_turn([ToolUse("bash", {"command": command})], end=name)(None, done)
    if not done:
        prompts = [f"Gather {int(depth) - 1} from {name}{side}" for side in "ab"]
        return Reply([ToolUse("create_task", {"title": p, "prompt": p, "context": "fresh"}) for p in prompts])
    waits = [exchange for exchange in done if exchange.name == "wait_tasks" and not exchange.is_error]
    if not waits:
        made = [data(exchange)["task"] for exchange in done if exchange.name == "create_task"]
        return Reply([ToolUse("wait_tasks", {"tasks": made})])
    return Reply([Text("(" + " ".join(task["result"] for task in data(waits[-1])["tasks"]) + ")")])


@script(r"^Meet in a file")
def meet(request: Request) -> Reply:
    """Four that hold their slots until all of them are there."""
    here = "touch $PRONG_SHARED/here-$PRONG_TASK; while [ $(ls $PRONG_SHARED | grep -c here-) -lt 4 ]"
    command = f"{here}; do sleep 0.05; done; echo met > met-$PRONG_TASK.txt"
    turns = in_turn([ToolUse("bash", {"command": command})])
    return orchestrate(request, [f"Come, number {number}" for number in range(4)], work=turns)


def fresh(prompt, priority=0):
    return ToolUse("create_task", {"title": prompt, "prompt": prompt, "priority": priority, "context": "fresh"})


def ask(queue):
    return ToolUse("message_queue", {"op": "get", "queue": queue})


def tell(queue):
    return ToolUse("message_queue", {"op": "put", "queue": queue, "message": "go on"})


@script(r"^Be overtaken")
def overtaken(request: Request) -> Reply:
    """Three that are not urgent, of which the first creates one that is."""
    done = request.exchanges()
    if not done:
        return Reply([fresh("Ask for help")] + [fresh(f"Not urgent {number}") for number in range(2)])
    if len(done) == 3:
        return Reply([ToolUse("wait_tasks", {"tasks": [2, 3, 4]})])
    return Reply([Text("all ended")])


@script(r"^Ask for help")
def ask_for_help(request: Request) -> Reply:
    return in_turn([fresh("Help at once", priority=5)])(None, request.exchanges())


@script(r"^(Not urgent|Help at once|Quite urgent)")
def at_once(_request: Request) -> Reply:
    return Reply([Text("done")])


@script(r"^Invert")
def invert(request: Request) -> Reply:
    """One that is not urgent takes a lock and waits; then come three more urgent ones, and one that wants the lock."""
    done = request.exchanges()
    if not done:
        return Reply([fresh("Hold the lock")])
    if len(done) == 1:
        return Reply([ask("locked")])
    if len(done) == 2:
        others = [fresh(f"Quite urgent {number}", priority=3) for number in range(3)]
        return Reply([*others, fresh("Want the lock", priority=5)])
    if len(done) == 6:
        return Reply([ToolUse("wait_tasks", {"tasks": [2, 3, 4, 5, 6]})])
    return Reply([Text("all ended")])


@script(r"^Hold the lock")
def hold(request: Request) -> Reply:
    lock = {"name": "narrow"}
    return in_turn(
        [ToolUse("lock", {"op": "acquire", "keep": True, **lock}), tell("locked"), ask("wanted")],
        [ToolUse("lock", {"op": "release", **lock})],
    )(None, request.exchanges())


@script(r"^Want the lock")
def want(request: Request) -> Reply:
    return in_turn([tell("wanted"), ToolUse("lock", {"op": "acquire", "name": "narrow"})])(None, request.exchanges())


@script(r"^Lead those who cling")
def lead(request: Request) -> Reply:
    if not request.exchanges():
        return Reply([fresh("Cling and create")])
    if len(request.exchanges()) == 1:
        return Reply([ToolUse("wait_tasks", {"tasks": [2]})])
    return Reply([Text("let go")])


@script(r"^Cling")
def cling(request: Request) -> Reply:
    """A child with a child: each starts something that outlives a polite end, and never comes back by itself."""
    stay = [ToolUse("bash", {"command": "trap '' TERM; setsid sleep 981 & sleep 982"})]
    first = [[fresh("Cling below")]] if request.first_text.startswith("Cling and create") else []
    return in_turn(*first, stay)(None, request.exchanges())
