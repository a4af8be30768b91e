"""What others read of results: heads that share one bound fairly, the rest and the transcript one call away."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prong.agents import conversation
from prong.agents.conversation import Block, Message
from prong.agents.tools.inputs import Inputs
from prong.harness.tools.answers import cut
from prong.primitives import Task
from prong.primitives.artifacts import ArtifactLost, loaded
from prong.state import Store

RESULT_CHARACTERS = 4_000
"""How much of one task's result its parent reads at once, in characters."""

RESULTS_CHARACTERS = 40_000
"""The same of all tasks in one answer together."""

READ_CHARACTERS = 8_000
"""How much `read_result` returns where nobody says how much, in characters."""

MOST_READ_CHARACTERS = 40_000
"""The most that it returns at once."""

INPUT_CHARACTERS = 1_000
"""How much of a call's input a transcript shows, in characters."""

OUTPUT_CHARACTERS = 2_000
"""How much of a call's result a transcript shows, in characters."""


def shares(lengths: Sequence[int], *, total: int, most: int) -> list[int]:
    """How much of each text is shown: the short ones whole, the long ones equally much.

    >>> shares([10, 500, 500], total=110, most=100)
    [10, 50, 50]
    """
    found = [0] * len(lengths)
    left = total
    shortest_first = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for passed, place in enumerate(shortest_first):
        found[place] = min(lengths[place], most, left // (len(lengths) - passed))
        left -= found[place]
    return found


def heads(store: Store, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The records of `wait_tasks`: with as much of each result as fits, and whether that is all of it.

    A value that fits whole is told as data, and its words are not told then; `read_result` has them.
    """
    values = [value_text(store, task) for task in tasks]
    told = [value if value is not None else task.result or "" for task, value in zip(tasks, values, strict=True)]
    room = shares([len(text) for text in told], total=RESULTS_CHARACTERS, most=RESULT_CHARACTERS)
    return [_head(task, value, most) for task, value, most in zip(tasks, values, room, strict=True)]


def texts_of_needs(store: Store, tasks: Sequence[Task]) -> list[str]:
    """What a task reads of each that it needed: its value, or its words, or why it failed, as much as fits."""
    values = [value_text(store, task) for task in tasks]
    told = [
        value if value is not None else (task.result if task.state == "done" else task.error) or "(no word)"
        for task, value in zip(tasks, values, strict=True)
    ]
    room = shares([len(text) for text in told], total=RESULTS_CHARACTERS, most=RESULT_CHARACTERS)
    return [
        text
        if len(text) <= most
        else f"{text[:most]}… (read on with read_result: task {task.id}, from {most if value is None else 0})"
        for task, value, text, most in zip(tasks, values, told, room, strict=True)
    ]


def value_text(store: Store, task: Task) -> str | None:
    """The JSON of what a task that is done found; None where it has none, or it is lost."""
    if task.value is None or task.state != "done":
        return None
    if task.value[0] != "@":
        return task.value
    try:
        return json.dumps(loaded(store, task.value), ensure_ascii=False, separators=(",", ":"))
    except ArtifactLost:
        return None


def whole(store: Store, task: Task) -> str:
    """All of a task's last words; raises `ArtifactLost` where their file is gone."""
    return str(loaded(store, task.whole)) if task.whole is not None and task.state == "done" else task.result or ""


def transcript(store: Store, task: int) -> str:
    """A task's own conversation as text, without what it inherited and with long results cut."""
    row = store.row("select head, fork_point from task where id = :task", task=task)
    head, since = (row["head"], row["fork_point"] or 0) if row is not None else (None, 0)
    messages = [message for message in conversation.load(store, head) if message.id > since]
    return "\n\n".join(line for message in messages for line in _lines(message))


def page(inputs: Inputs, text: str) -> Mapping[str, Any]:
    """The part of a text that a call asks for, and where the next one begins."""
    begin = inputs.integer("from", least=0, most=2**53, default=0)
    count = inputs.integer("count", least=1, most=MOST_READ_CHARACTERS, default=READ_CHARACTERS)
    end = min(len(text), begin + count)
    return {"text": text[begin:end], "from": begin, "next": end if end < len(text) else None, "characters": len(text)}


def _head(task: Task, value: str | None, most: int) -> dict[str, Any]:
    record = {"task": task.id, "title": task.title, "state": task.state, "error": task.error}
    if value is not None and len(value) <= most:
        return {**record, "result": None, "value": json.loads(value), "cut": False}
    is_cut = task.result is not None and len(task.result) > most
    result = cut(task.result, most) if task.result is not None else None
    return {**record, "result": result, "value": None, "cut": is_cut or value is not None}


def _lines(message: Message) -> Iterator[str]:
    for block in message.content:
        text = _shown(block)
        if text:
            yield f"[{message.role}] {text}"


def _shown(block: Block) -> str:
    kind = block.get("type")
    if kind == "text":
        return str(block["text"])
    if kind == "tool_use":
        return f"calls {block['name']}: {cut(json.dumps(block['input'], ensure_ascii=False), INPUT_CHARACTERS)}"
    if kind == "tool_result":
        content = block.get("content") or ""
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        text = "\n".join(str(part.get("text", f"({part.get('type')})")) for part in parts)
        return f"{'error' if block.get('is_error') else 'result'}: {cut(text, OUTPUT_CHARACTERS)}"
    return "" if kind in ("thinking", "redacted_thinking") else f"({kind})"
