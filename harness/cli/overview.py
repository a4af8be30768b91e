"""All commands by what they are for, as `prong --help` lists them: in the order in which a newcomer needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Start a swarm": {
        "run": "launch agents on a repository to reach a goal",
        "map": "do the same for each of many items",
        "vote": "ask several agents the same, take the answer they share",
        "apply": "run a plan: a graph of tasks from a file",
        "plan": "have a model write such a plan",
        "exec": "run a Python program that creates tasks and gathers",
        "resume": "go on after a pause, Ctrl-C, a crash or a reboot",
    },
    "Look at it": {
        "status": "its tasks, tokens and cost, now",
        "watch": "the same live: who does what and waits for whom",
        "ui": "all of it in the browser",
        "swarms": "all swarms of the repository",
        "tasks": "each task with its result or its error",
        "why": "why a task does not run, or how it ended",
        "log": "everything that happened, in order",
        "show": "all about a task, an agent, a lock, a map, ...",
        "locks": "locks and semaphores: who has them, who waits",
        "maps": "maps, lists and values that agents share",
        "queues": "queues and what stands in them",
    },
    "Steer it": {
        "pause": "stand still, until resume",
        "cancel": "end a task and all below it",
        "kill": "end an agent; another one goes on with its task",
        "retry": "try a failed or cancelled task again",
        "priority": "give a task another place in the line",
        "send": "say something to an agent while it works",
        "approve": "let calls run that agents ask about",
        "deny": "refuse them",
        "budget": "what is spent and left, or another bound",
    },
    "Take what it made": {
        "diff": "what it has changed",
        "merge": "merge that into your branch",
        "branch": "make a branch of it instead",
        "clean": "remove what is merged and no longer needed",
    },
    "Ask whether it paid": {
        "report": "the whole run on one page",
        "cost": "what each task cost, and what forking saved",
        "advice": "whether one agent would have done better",
        "roles": "how busy each role was",
        "export": "tables and traces to take away",
    },
    "With other agents, and for tests": {
        "connect": "let Claude Code, Codex and others use locks and tasks",
        "mcp": "the server that they start for that",
        "emulator": "serve the Messages API here, played by scripts",
    },
}
"""What each command is for in a few words, below the headline that it stands under."""


def overview(commands: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headlines, each with the names of commands and what they are for; what has no headline comes last.

    >>> [headline for headline, _ in overview(["merge", "run", "new"])]
    ['Start a swarm', 'Take what it made', 'More']
    """
    left = set(commands)
    for headline, words in SECTIONS.items():
        rows = [(name, told) for name, told in words.items() if name in left]
        left -= words.keys()
        if rows:
            yield headline, rows
    if left:
        yield "More", [(name, "") for name in sorted(left)]
