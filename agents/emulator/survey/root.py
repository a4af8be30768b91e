"""The rules of the root: look, divide, wait, read what was found, write the survey."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prong.agents.emulator.script import ToolUse
from prong.agents.emulator.survey import shell
from prong.agents.emulator.survey.child import MAP, QUEUE, edges_in, items, values_in
from prong.agents.emulator.survey.plan import Part, Plan, Uses
from prong.agents.emulator.survey.report import Survey
from prong.agents.emulator.survey.turns import Call, Result, Results, Rules, Turn

REPORT = "SURVEY.md"
ENDED = ("done", "failed", "cancelled")
WAITS = 20
"""How often the root waits again when a wait ended before the tasks did."""


def root() -> Rules:
    """Survey the repository."""
    (looked,) = yield Turn("Look at the repository and divide it.", [Call(shell.look())])
    if looked.data is None or not looked.ok:
        return f"The repository could not be read, so there is no survey: {looked.error}."
    plan = Plan.of(looked.data)
    if not plan.parts:
        return "Git tracks no files here, so there is nothing to survey."
    made = yield Turn(
        f"Make a task for each of the {len(plan.parts)} parts.", [Call(task(plan, part)) for part in plan.parts]
    )
    tasks = [result.data["task"] for result in made if result.ok and result.data]
    states: Mapping[int, str] = {}
    if tasks:
        (waited,) = yield wait(tasks)
        states = states_in(waited)
    ended = [states.get((result.data or {}).get("task", 0)) == "done" for result in made]
    told, edges, uses, index, *found = yield gather(plan, ended)
    survey = Survey(plan, findings_in(plan, found), uses_in(plan, values_in(uses), edges_in(edges)))
    (written,) = yield Turn(f"Write {REPORT}.", [Call(create(survey.text()))])
    return " ".join(last_words(plan, survey, written, told, index))


def task(plan: Plan, part: Part) -> ToolUse:
    """Have a fork survey one part; what it is to do stands in the rules, so the prompt is short."""
    prompt = f"Survey part {part.number} of {len(plan.parts)}: {part.name}"
    return ToolUse("create_task", {"title": f"Survey {part.name}", "prompt": prompt, "context": "fork"})


def wait(tasks: list[int]) -> Turn:
    """Wait until every task has ended, however."""

    def over(results: Results) -> bool:
        states = states_in(results[0])
        return results[0].ok and all(states.get(number) in ENDED for number in tasks)

    call = Call(ToolUse("wait_tasks", {"tasks": tasks, "mode": "all"}))
    return Turn(f"Wait for {len(tasks)} tasks.", [call], over=over, together=True, attempts=WAITS)


def states_in(waited: Result) -> Mapping[int, str]:
    """The state of each task that was waited for."""
    return {row["task"]: row["state"] for row in (waited.data or {}).get("tasks", [])}


def gather(plan: Plan, ended: list[bool]) -> Turn:
    """Read messages and findings; those of a task that did not end well may be missing."""
    get = {"op": "get", "queue": QUEUE, "count": 2 * len(plan.parts), "timeout": 0}
    return Turn(
        "Read what the parts told.",
        [
            Call(ToolUse("message_queue", get), required=False),
            Call(items("imports")),
            Call(items("uses")),
            Call(shell.run('cat "$PRONG_SHARED/index.md"'), required=False),
            *(
                Call(ToolUse("shared_map", {"op": "get", "map": MAP, "key": f"part/{part.name}"}), required=well)
                for part, well in zip(plan.parts, ended, strict=True)
            ),
        ],
    )


def findings_in(plan: Plan, found: Results) -> Mapping[str, Any]:
    """What was found, by part; parts without findings are left out."""
    values = ((part.name, (result.data or {}).get("value")) for part, result in zip(plan.parts, found, strict=True))
    return {name: value for name, value in values if isinstance(value, dict) and "files" in value}


def uses_in(plan: Plan, uses: Mapping[str, Any], edges: Mapping[str, Any]) -> Mapping[str, Uses]:
    """Who uses each part, by its own word; where it knew of fewer parts than are there now, counted once more."""
    told = {name: Uses.of(value) for name, value in uses.items()}
    counted = {part.name: Uses.among(part, edges) for part in plan.parts}
    for part in plan.parts:
        own = told.get(part.name)
        if own and own.asked == len(edges):
            counted[part.name] = own
    return counted


def create(text: str) -> ToolUse:
    """Write the survey."""
    return ToolUse("str_replace_based_edit_tool", {"command": "create", "path": REPORT, "file_text": text})


def last_words(plan: Plan, survey: Survey, written: Result, told: Result, index: Result) -> list[str]:
    """The result of the root's task."""
    messages = {row["message"]["part"] for row in (told.data or {}).get("messages", [])}
    lines = len(re.findall(r"(?m)^\d+\. ", index.text))
    measured = f"{len(plan.parts) - len(survey.missing)} of {len(plan.parts)} parts"
    words = [
        f"{REPORT} tells of {measured}: {survey.total('files')} files, {survey.total('lines')} lines.",
        f"{len(messages)} parts sent a message, and the shared index has {lines} lines.",
    ]
    if survey.missing:
        words.append(f"Not measured: {', '.join(part.name for part in survey.missing)}.")
    if not written.ok:
        words[0] = f"{REPORT} could not be written: {written.error}."
    return words
