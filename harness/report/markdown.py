"""The report as Markdown.  What agents wrote stands between fences that it cannot close."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prong.harness.report import words
from prong.harness.report.facts import Facts, TaskFacts

_SPECIAL = re.compile(r"([\\`*_\[\]|~]|^[#+-])")
_NUMBERED = re.compile(r"^(\d+)([.)])(?= |$)")


def render(facts: Facts) -> str:
    """The whole report."""
    return "\n\n".join(_parts(facts)) + "\n"


def inline(text: str) -> str:
    r"""A text as one line that means nothing to Markdown or HTML.

    >>> print(inline("# <b>*x*</b>"))
    \# &lt;b&gt;\*x\*&lt;/b&gt;
    """
    safe = words.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _NUMBERED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", safe))


def fenced(text: str) -> str:
    """A text of several lines, in a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _parts(facts: Facts) -> Iterator[str]:
    yield f"# Report of swarm {inline(facts.status.swarm)}"
    yield "## What was asked"
    yield fenced(words.safe(facts.status.goal))
    yield "\n".join(f"- **{name}**: {inline(value)}" for name, value in words.summary(facts))
    yield "## What is left"
    yield "\n".join(f"- {inline(line)}" for line in facts.left) or "Nothing: all that was made is in a branch of yours."
    yield "## What was done"
    yield _table(facts)
    for task in facts.tasks:
        yield from _task(task)
    yield "## Conflicts"
    yield _conflicts(facts)
    yield "## Whether it paid"
    paid = [f"- **{name}**: {inline(value)}" for name, value in words.paid(facts.figures)]
    yield "\n".join((*paid, *(f"- {inline(line)}" for line in facts.advice)))
    if facts.trouble:
        yield "## On the way"
        yield "\n".join(f"- {count} {what}" for count, what in facts.trouble)


def _table(facts: Facts) -> str:
    lines = ["| task | state | title | began | took | cost |", "|---:|---|---|---:|---:|---:|"]
    for task in facts.tasks:
        began = words.duration(task.spans[0].began_s) if task.spans else ""
        status = task.status
        cells = (str(status.id), status.state, inline(status.title), began, words.duration(status.seconds))
        lines.append(f"| {' | '.join(cells)} | {words.money(task.cost.usd)} |")
    return "\n".join(lines)


def _task(task: TaskFacts) -> Iterator[str]:
    status = task.status
    yield f"### Task {status.id}, {status.state}: {inline(status.title)}"
    yield "\n".join(f"- **{name}**: {inline(value)}" for name, value in words.of_task(task))
    for name, text in (("Asked", task.prompt), ("Said at its end", status.result), ("Error", status.error)):
        if text and text.strip():
            yield f"{name}:"
            yield fenced(words.safe(text))


def _conflicts(facts: Facts) -> str:
    parts = [f"- {inline(line)}" for line in words.foreseen(facts)]
    for task in facts.tasks:
        for head, detail, output in words.returned(task):
            shown = "\n".join(filter(None, (detail, output)))
            parts.append(f"**Task {task.status.id}.** {inline(head)}\n\n{fenced(shown)}")
    return "\n\n".join(parts) or "None: all work fitted at once."
