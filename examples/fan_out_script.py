"""A script whose root forks three agents, waits for them, and ends; each of the three writes a file.

Run it with: prong run --offline --script examples/fan_out_script.py "Fan out"
"""

import json

from prong.agents.emulator.script import Exchange, Reply, Request, Text, ToolUse, script

FILES = ("red.txt", "green.txt", "blue.txt")
FILES_IN_CONFLICT = ("red.txt", "green.txt", "green.txt")


@script("^Fan out")
def fan_out(request: Request) -> Reply:
    """Plays the root and its forks: all send the same goal, and a fork knows itself by a result of create_task."""
    history = request.exchanges()
    for number, exchange in enumerate(history):
        if exchange.name == "create_task" and data_of(exchange).get("you"):
            return child(exchange.input["title"], exchange.input["prompt"], history[number + 1 :])
    return root(request.first_text, history)


def root(goal: str, history: list[Exchange]) -> Reply:
    """Three forks in one turn, then a wait for all of them, then a report."""
    created = [exchange for exchange in history if exchange.name == "create_task"]
    if not created:
        files = FILES_IN_CONFLICT if goal.startswith("Fan out with a conflict") else FILES
        return Reply([ToolUse("create_task", task(number, file)) for number, file in enumerate(files, 1)])
    if history[-1].name != "wait_tasks":
        return Reply([ToolUse("wait_tasks", {"tasks": [data_of(exchange)["task"] for exchange in created]})])
    ends = [f"{one['title']}: {one['state']}" for one in data_of(history[-1])["tasks"]]
    return Reply([Text(", ".join(ends))])


def task(number: int, file: str) -> dict[str, str]:
    """The input of create_task."""
    return {"title": f"Writer {number}", "prompt": f"Write {file}", "context": "fork"}


def child(title: str, prompt: str, own: list[Exchange]) -> Reply:
    """One command, then an end; `own` is what this agent did itself, without its siblings' calls."""
    file = prompt.removeprefix("Write ")
    commands = [exchange for exchange in own if exchange.name == "bash"]
    if not commands or commands[-1].is_error:
        return Reply([ToolUse("bash", {"command": f"echo '{title} was here' > {file}"})])
    return Reply([Text(f"wrote {file}")])


def data_of(exchange: Exchange) -> dict:
    """The JSON in the last line of a result of Prong's own tools; empty for an error, which has none."""
    last_line = (exchange.text or "").rpartition("\n")[2]
    return json.loads(last_line) if last_line.startswith("{") else {}
