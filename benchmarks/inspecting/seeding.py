"""A swarm that never ran: as many agents, tasks and events as asked for, written as a real one writes them."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prong.harness.swarms import Swarm

WORDS = ("merge", "lexer", "table", "parser", "queue", "index", "test", "review", "cache", "docs", "schema", "route")
STEP_S = 0.02
"""How long lies between two events on average, in seconds."""


def fill(swarm: Swarm, *, agents: int, tasks: int, events: int, seed: int = 1) -> None:
    """Fill the tables and the log of a swarm; most tasks have ended, the last ones run."""
    chance = random.Random(seed)
    store = swarm.store()
    began = store.clock.wall() - events * STEP_S
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute("begin")
    connection.execute("update swarm set started_at = ?, ended_at = null", (began,))
    connection.execute("drop trigger event_is_append_only_update")
    connection.execute("update event set at = ?", (began,))
    connection.executemany(
        "insert into agent (id, name, task, pid, state, beat_at, started_at) values (?, ?, ?, null, 'running', ?, ?)",
        [(n, f"task {n}", n, began, began) for n in range(1, agents + 1)],
    )
    connection.executemany(
        "insert into task (id, parent, title, prompt, context, state, role, depth, attempt, agent, created_at,"
        " ready_at, started_at, ended_at, estimate_s, path_s)"
        " values (?, ?, ?, 'do it', 'fork', ?, ?, ?, ?, ?, ?, ?, ?, ?, 60, 60)",
        list(_tasks(chance, agents, tasks, began, events * STEP_S)),
    )
    needs = {(n, chance.randint(max(2, n - 200), n - 1)) for n in range(3, tasks + 1) if chance.random() < 0.6}
    connection.executemany("insert or ignore into task_need (task, need) values (?, ?)", sorted(needs))
    connection.executemany(
        "insert into event (at, agent, task, kind, object, data) values (?, ?, ?, ?, ?, ?)",
        _events(chance, agents, tasks, events, began),
    )
    connection.execute("update task_count set open = 1000, total = ?", (tasks,))
    connection.execute(
        "create trigger event_is_append_only_update before update on event"
        " begin select raise(abort, 'the event log is append-only'); end"
    )
    connection.execute("commit")
    connection.close()


def _tasks(chance: random.Random, agents: int, tasks: int, began: float, length: float) -> Iterator[tuple[Any, ...]]:
    for n in range(2, tasks + 1):
        state = chance.choices(("done", "failed"), (97, 3))[0] if n < tasks - 1000 else "ready"
        state = "running" if tasks - 1000 <= n < tasks - 1000 + agents else state
        start = began + length * n / tasks
        ended = start + 30 if state in ("done", "failed") else None
        title = f"{chance.choice(WORDS)} the {chance.choice(WORDS)} of {chance.choice(WORDS)}"
        agent = n % agents + 1 if state != "ready" else None
        begun = start if agent else None
        yield (n, 1 if n < 200 else n // 50, title, state, "", 1, 1, agent, began, began, begun, ended)


def _events(
    chance: random.Random, agents: int, tasks: int, events: int, began: float
) -> Iterator[tuple[float, int, int, str, str, str]]:
    """A log in which each agent claims tasks, calls the model and tools, waits for locks, and ends them."""
    held: dict[int, int] = {}
    calls: dict[int, str] = {}
    following = 2
    for n in range(events):
        at, agent = began + n * STEP_S, chance.randint(1, agents)
        task = held.get(agent)
        if task is None:
            held[agent] = task = following
            following = following + 1 if following < tasks else 2
            yield at, agent, task, "task.claimed", str(task), json.dumps({"holder": agent, "attempt": 1, "fence": 1})
        elif agent in calls:
            told = {"call": calls.pop(agent), "is_error": False, "text": "ok", "characters": 2}
            yield at, agent, task, "tool.ended", "bash", json.dumps(told)
        elif (lot := chance.random()) < 0.02:
            del held[agent]
            yield at, agent, task, "task.done", str(task), json.dumps({"error": None, "result": "done"})
        elif lot < 0.1:
            calls[agent] = f"toolu_{n}"
            yield at, agent, task, "tool.began", "bash", json.dumps({"call": calls[agent], "input": "{}"})
        else:
            yield at, agent, task, *_middle(chance, n)


def _middle(chance: random.Random, n: int) -> tuple[str, str, str]:
    """What an agent does in the middle of a task: (kind, object, data)."""
    lot = chance.random()
    if lot < 0.1:
        told = {"stop_reason": "tool_use", "input": 10, "cache_read": 20_000, "cache_write": 300, "output": 200}
        return "model.answered", "m", json.dumps({**told, "usd": 0.002, "seconds": 2.0})
    what = chance.choice(("acquired", "released"))
    return f"lock.{what}", f"file:{chance.randint(1, 60)}", json.dumps({"fence": n, "waited_s": lot})


def make(root: Path, **sizes: int) -> Swarm:
    """A repository at `root` with such a swarm."""
    swarm = bare(root, slots=sizes["agents"])
    fill(swarm, **sizes)
    return swarm


def bare(root: Path, *, slots: int) -> Swarm:
    """A repository at `root` with a swarm in which nothing has happened."""
    import subprocess  # noqa: PLC0415  only here

    from prong.harness.repository.repository import Repository  # noqa: PLC0415  as above
    from prong.harness.swarms import Options, create  # noqa: PLC0415  as above

    for command in (["init", "-q", str(root)], ["-C", str(root), "commit", "-q", "--allow-empty", "-m", "start"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], check=True)
    return create(Repository.open(root), Options(goal="a synthetic swarm", model="m", slots=slots))
