"""What an agent reads whose work could not be merged, and what is kept of all attempts in the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prong.harness.repository.checking import Checked
from prong.harness.repository.merging import Conflict
from prong.state import Row

OUTPUT_CHARACTERS = 12_000
"""How much of a failing check's output an agent reads, in characters; its end says most."""

DETAIL_CHARACTERS = 6_000
"""How much an agent reads of conflicts, or of another task's words, in characters."""

Kind = Literal["conflict", "check", "markers", "lease"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a delivery was not merged.

    `onto` is the commit that it was to go onto, `markers` what its agent has to remove; `before_too` says that the
    check fails without the delivery as well.
    """

    kind: Kind
    onto: str
    detail: str
    output: str | None = None
    seconds: float | None = None
    markers: str | None = None
    before_too: bool = False

    @property
    def reason(self) -> str:
        """Why, for who has not seen the work."""
        words = {"markers": "conflict markers stand in", "lease": "others hold"}.get(self.kind)
        return self.detail if words is None else f"{words} {', '.join(self.detail.splitlines())}"

    @classmethod
    def of_conflict(cls, conflict: Conflict, onto: str) -> Verdict:
        """The delta does not fit onto what was merged meanwhile."""
        return cls("conflict", onto, conflict.detail, markers=f"<<<<<<< {conflict.ours}")

    @classmethod
    def of_check(cls, checked: Checked, onto: str, command: str, *, before_too: bool) -> Verdict:
        """The check fails on the merged result."""
        times = f" (each of {checked.runs} times)" if checked.runs > 1 else ""
        detail = f"the check `{command}` failed: {checked.how}{times}"
        return cls("check", onto, detail, checked.output, checked.seconds, before_too=before_too)


_THEN = (
    "Your clone now holds the newest state of the integration branch with your change on top of it, not committed."
    " Earlier knowledge of these files may be out of date: read them again."
)
_END = "When it is right, end your turn as before: your clone is handed in again."


def message(verdict: Verdict, *, attempt: int, attempts: int, ours: str = "", theirs: str = "") -> str:
    """What the agent reads: what is wrong, what its workspace holds now, and what to do."""
    left = f"This was attempt {attempt} of {attempts}."
    if verdict.kind == "markers":
        what = (
            "Your work was not merged: conflict markers still stand in it.\n\n"
            f"{_short(verdict.detail)}\n\nRemove every line that begins with <<<<<<<, ======= or >>>>>>> and keep what"
            " belongs there from both sides."
        )
        return f"{what} {left} {_END}"
    if verdict.kind == "lease":
        return (
            f"Your work was not merged, because it changes files that others hold just now:\n\n{_short(verdict.detail)}"
            "\n\nYour clone is as you left it. Acquire that lock yourself, which waits until it is free, or take your"
            f" change of these files back. {left} Then end your turn as before: your clone is handed in again."
        )
    if verdict.kind == "conflict":
        sides = f" ({ours[:12]} is what others merged, {theirs[:12]} is yours)" if ours else ""
        what = (
            f"Your work does not fit onto what others merged meanwhile:\n\n{_short(verdict.detail)}\n\n{_THEN} Where"
            f" both changed the same lines it holds conflict markers{sides}. A file that has none lies there as one"
            " side has it, and is taken so unless you change it. Keep what both sides wanted."
        )
        return f"{what} {left} {_END}"
    alone = (
        "\n\nThe check fails without your change, too. If that is not for you to mend, say so at your end."
        if verdict.before_too
        else ""
    )
    what = (
        f"Your work was merged with what others did meanwhile, and then {verdict.detail}. It printed:\n\n"
        f"{_end_of(verdict.output or '(nothing)')}{alone}\n\n{_THEN} Mend what makes the check fail."
    )
    return f"{what} {left} {_END}"


def resolver_prompt(task: Row, verdict: Verdict, others: Iterable[Row]) -> str:
    """What a resolver is asked: both sides explained."""
    lines = [
        (
            f"Bring the finished work of task {task['id']} onto the integration branch. Its own agent tried"
            " and could not. Your clone holds the newest state of the branch with that task's change on top, not"
            " committed; where both changed the same lines there are conflict markers. Make one whole of it that keeps"
            " what both sides wanted, and add nothing else."
        ),
        f"Task {task['id']} ({task['title']}) was asked:\n{_short(task['prompt'])}",
        f"It said at its end:\n{_short(task['result'] or '(nothing)')}",
    ]
    lines += [
        f"Merged meanwhile: task {other['id']} ({other['title']}): {_short(other['result'] or other['prompt'])}"
        for other in others
    ]
    lines.append(f"What is in the way now:\n{_short(verdict.detail)}")
    if verdict.output:
        lines.append(f"The check printed:\n{_end_of(verdict.output)}")
    lines.append("When it is right, end your turn: your clone is handed in in that task's place.")
    return "\n\n".join(lines)


def report(task: Row, branch: str, reason: str, attempts: Sequence[Row], resolver: Row | None) -> str:
    """What stands beside a kept branch: what was tried, and why it did not go, in Markdown."""
    lines = [
        f"# Task {task['id']} was not merged: {task['title']}",
        f"Its work is kept as branch `{branch}`. {reason}",
        f"## What it was asked\n\n{task['prompt']}",
        f"## What it said at its end\n\n{task['result'] or '(nothing)'}",
    ]
    for one in attempts:
        took = f", after {one['seconds']:.1f} s" if one["seconds"] is not None else ""
        lines.append(f"## Attempt {one['attempt']}: {one['verdict']}{took}")
        lines.append(f"Commit `{one['commit_id']}` (on `{one['base']}`) onto `{one['onto']}`:\n\n{one['detail']}")
        if one["output"]:
            lines.append(f"```\n{one['output'].replace('```', chr(39) * 3)}\n```")
    if resolver is not None:
        lines.append(
            f"## Resolver\n\nTask {resolver['id']} was to resolve it; its state is {resolver['state']}:"
            f" {resolver['error'] or resolver['result'] or '(no word)'}"
        )
    lines.append(f"See the change with `git log -p -1 {branch}`; try the task again with `prong retry {task['id']}`.")
    return "\n\n".join(lines) + "\n"


def content(text: str) -> list[dict[str, Any]]:
    """The text as the content of a message."""
    return [{"type": "text", "text": text}]


def _short(text: str) -> str:
    return text if len(text) <= DETAIL_CHARACTERS else text[:DETAIL_CHARACTERS] + "…"


def _end_of(text: str) -> str:
    return text if len(text) <= OUTPUT_CHARACTERS else "…" + text[-OUTPUT_CHARACTERS:]
