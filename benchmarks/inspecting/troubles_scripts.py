"""What the emulator plays in swarms that really run into trouble; `troubles` tells which, and how they are helped.

Nothing goes wrong before the file `watched` is in the swarm's shared folder, so that somebody can look from the start.
"""

import re
from collections.abc import Sequence
from typing import Any

from prong.agents.emulator.script import Exchange, Reply, Request, Text, ToolUse, script, text_of

WATCHED = "while [ ! -e $PRONG_SHARED/watched ]; do sleep .05; done"


def bash(command: str) -> Reply:
    """One command."""
    return Reply([ToolUse("bash", {"command": command})])


def called(done: Sequence[Exchange], name: str, text: str = "") -> list[Exchange]:
    """The calls of a tool in whose input a text stands."""
    return [one for one in done if one.name == name and text in str(one.input)]


def parent(request: Request, *turns: Sequence[dict[str, Any]], context: str = "fresh") -> Reply:
    """Create tasks, turn by turn, wait for all of them, and end."""
    done = request.exchanges()
    made = len(called(done, "create_task"))
    for turn in turns:
        if made <= 0:
            return Reply([ToolUse("create_task", {"context": context, **one}) for one in turn])
        made -= len(turn)
    if not called(done, "wait_tasks"):
        numbers = list(range(2, 2 + sum(map(len, turns))))
        return Reply([ToolUse("wait_tasks", {"tasks": numbers})])
    return Reply([Text("all have ended")])


@script("^Run into a deadlock")
def deadlock(request: Request) -> Reply:
    """Two tasks that take the same two locks, each in its own order."""
    pairs = (("left", "right"), ("right", "left"))
    return parent(request, [{"title": f"{a}, then {b}", "prompt": f"Take {a}, then {b}"} for a, b in pairs])


@script(r"^Take (\w+), then (\w+)")
def take(request: Request) -> Reply:
    """Hold one, wait for the other, and work until somebody has said how to go on."""
    first, second = re.findall(r"\w+", request.first_text.partition("Take ")[2].partition("\n")[0])[::2]
    done = request.exchanges()
    if not called(done, "lock"):
        return Reply([ToolUse("lock", {"op": "acquire", "name": first, "keep": True})])
    if not called(done, "bash"):
        met = f"touch $PRONG_SHARED/has-{first}; while [ ! -e $PRONG_SHARED/has-{second} ]; do sleep .05; done"
        return bash(f"{WATCHED}; {met}")
    if not called(done, "lock", second):
        return Reply([ToolUse("lock", {"op": "acquire", "name": second, "keep": True})])
    return told(request, done, first, second)


def told(request: Request, done: Sequence[Exchange], first: str, second: str) -> Reply:
    """Let go of what it has, and end when somebody has said how to go on, to it or to the other."""
    if not called(done, "lock", "release"):
        held = (first,) if called(done, "lock", second)[0].is_error else (first, second)
        return Reply([ToolUse("lock", {"op": "release", "name": name}) for name in held])
    said = any("waited for each other in a circle" in text_of(one["content"]) for one in request.messages)
    if said and not called(done, "bash", "touch $PRONG_SHARED/told"):
        return bash("touch $PRONG_SHARED/told")
    if said or done[-1].text == "told":
        return Reply([Text("both locks were taken in order")])
    return bash("for n in $(seq 10); do [ -e $PRONG_SHARED/told ] && echo told && break; sleep .1; done")


@script("^Run into starvation")
def starvation(request: Request) -> Reply:
    """One task that all others overtake."""
    old = {"title": "the old one", "prompt": "Be patient"}
    return parent(request, [old], [{"title": f"young {n}", "prompt": "Hurry", "priority": 10} for n in range(14)])


@script("^Be patient")
def patient(request: Request) -> Reply:
    """Whoever waits for it has waited enough."""
    return bash("touch $PRONG_SHARED/enough") if not request.exchanges() else Reply([Text("at last")])


@script("^Hurry")
def hurry(request: Request) -> Reply:
    """Some seconds of work, until the old one has had its turn."""
    if request.exchanges():
        return Reply([Text("done")])
    return bash(f"{WATCHED}; for n in $(seq 80); do [ -e $PRONG_SHARED/enough ] && break; sleep .1; done")


@script("^Run into a crash loop")
def crash_loop(request: Request) -> Reply:
    """A task whose agents are killed one after the other, as by a machine without memory."""
    return parent(request, [{"title": "it kills", "prompt": "Fall"}])


@script("^Fall")
def fall(request: Request) -> Reply:
    """Long work; nobody who begins it lives to see its end, until the cause is mended."""
    if request.exchanges() and not request.exchanges()[-1].is_error:
        return Reply([Text("it kills no more")])
    return bash("while [ ! -e $PRONG_SHARED/mended ]; do sleep .05; done")


@script("^Run into a budget")
def budget(request: Request) -> Reply:
    """Some turns more than the budget pays for."""
    done = len(request.exchanges())
    return bash(f"{WATCHED}; echo turn {done}") if done < TURNS else Reply([Text("it was enough")])


TURNS = 4


@script("^Run into a conflict")
def conflict(request: Request) -> Reply:
    """Two tasks that write the same file."""
    return parent(request, [{"title": f"write {side}", "prompt": f"Write {side}"} for side in ("north", "south")])


@script(r"^Write (north|south)")
def write(request: Request) -> Reply:
    """Write the file when both are at work; hand it in as it stands, and when asked to try again write beside it."""
    side = "north" if "Write north" in request.first_text else "south"
    other = {"north": "south", "south": "north"}[side]
    done = request.exchanges()
    if not done:
        met = f"touch $PRONG_SHARED/{side}; while [ ! -e $PRONG_SHARED/{other} ]; do sleep .05; done"
        return bash(f"{WATCHED}; {met}; echo {side} > plain.txt")
    again = any("You are asked to try again" in text_of(one["content"]) for one in request.messages)
    if again and not called(done, "bash", f"> {side}.txt"):
        return bash(f"git checkout -q $(git rev-list -1 HEAD -- plain.txt) -- plain.txt; echo {side} > {side}.txt")
    if came_back(request) and not called(done, "bash", "sleep 2"):
        return bash("sleep 2")
    return Reply([Text(f"wrote {side}")])


@script("^Bring the finished work")
def resolve(request: Request) -> Reply:
    """Whoever is to make it fit hands it in as it stands, after long enough for a person to have seen it try."""
    return Reply([Text("I cannot")]) if request.exchanges() else bash("sleep 3")


def came_back(request: Request) -> bool:
    """Whether the last that was said is that the work did not fit."""
    last = request.messages[-1]
    return last["role"] == "user" and not any(block["type"] == "tool_result" for block in last["content"])


@script("^Run into a lost cache")
def lost_cache(request: Request) -> Reply:
    """Read much, fork, and wait in one turn for a sign from outside and then for the forks."""
    done = request.exchanges()
    if any('"you": true' in (one.text or "") for one in done):
        return Reply([Text("part done")])
    if not done:
        return Reply([ToolUse("bash", {"command": f"cat long.txt # {n}"}) for n in range(3)])
    if not called(done, "create_task"):
        return Reply([ToolUse("create_task", {"title": f"part {n}", "prompt": f"Do part {n}"}) for n in range(FORKS)])
    if not called(done, "wait_tasks"):
        asked = "touch $PRONG_SHARED/asked; while [ ! -e $PRONG_SHARED/go ]; do sleep .05; done"
        waiting = ToolUse("wait_tasks", {"tasks": list(range(2, 2 + FORKS))})
        return Reply([ToolUse("bash", {"command": asked}), waiting])
    return Reply([Text("all parts done")])


FORKS = 4
