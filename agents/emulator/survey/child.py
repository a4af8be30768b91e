"""The rules of a child: measure a part, share the findings, meet the others, compare, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prong.agents.emulator.script import ToolUse
from prong.agents.emulator.survey import shell
from prong.agents.emulator.survey.plan import Part, Plan, Uses
from prong.agents.emulator.survey.turns import Call, Result, Results, Rules, Turn

MAP = "survey"
QUEUE = "survey"
LOCK = "survey-index"
GREP_RESULTS = 50
LOCK_TIMEOUT_S = 120
MEET_TIMEOUT_S = 3600


def child(plan: Plan, number: int, attempt: int) -> Rules:
    """Survey one part and tell of it."""
    part = plan.parts[number - 1]
    measured, _ = yield measure(plan, part)
    findings, edges = shared(measured)
    put = yield Turn(
        f"Share what was found in {part.name}.",
        [Call(to_map("part", part, findings)), Call(to_map("imports", part, edges))],
    )
    indexed = yield add_to_index(part, findings)
    met, seen = yield meet(plan, attempt)
    uses = Uses.among(part, edges_in(seen))
    told = yield Turn(
        f"Say who uses {part.name}, and that it is done.",
        [Call(to_map("uses", part, asdict(uses))), Call(tell_root(part, findings))],
    )
    notes = [
        f"{what}: {result.error}."
        for what, result in (
            ("It was not measured", measured),
            ("Its findings were not shared", put[0]),
            ("Its imports were not shared", put[1]),
            ("The lock was not acquired", indexed[0]),
            ("It is not in the index", indexed[1]),
            ("Its uses were not shared", told[0]),
            ("The root was not told", told[1]),
        )
        if not result.ok
    ]
    if uses.asked < len(plan.parts):
        why = met.error or "the others shared none"
        notes.append(f"Only {uses.asked} of {len(plan.parts)} parts were there to compare: {why}.")
    return " ".join([summary(part, findings, uses), *notes])


def measure(plan: Plan, part: Part) -> Turn:
    """Measure, and look for the marks as one would by hand."""
    command = shell.measure(part.number, plan.starts, plan.checksum)
    grep: dict[str, Any] = {"pattern": r"\b(TODO|FIXME)\b", "mode": "count", "max_results": GREP_RESULTS}
    if part.folder:
        grep["path"] = part.folder
    return Turn(
        f"Measure {part.name}.",
        [Call(shell.run(command), again=shell.with_programs(command)), Call(ToolUse("grep", grep), required=False)],
    )


def shared(measured: Result) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The findings and the imports of a part as the others read them."""
    if not measured.ok or measured.data is None:
        return {"unmeasured": measured.error}, {"imports": {}, "touches": {}}
    apart = ("imports", "touches")
    findings = {key: value for key, value in measured.data.items() if key not in (*apart, "survey")}
    return findings, {key: measured.data[key] for key in apart}


def to_map(kind: str, part: Part, value: Mapping[str, Any]) -> ToolUse:
    """Put a value under the part's name."""
    return ToolUse("shared_map", {"op": "put", "map": MAP, "key": f"{kind}/{part.name}", "value": value})


def add_to_index(part: Part, findings: Mapping[str, Any]) -> Turn:
    """The index is one file for all, and numbering a line reads it first: hence the lock."""
    text = "not measured" if "unmeasured" in findings else sizes(findings)
    command = shell.index(part.name, text)
    return Turn(
        f"Add {part.name} to the shared index, one agent at a time.",
        [
            Call(ToolUse("lock", {"op": "acquire", "name": LOCK, "timeout": LOCK_TIMEOUT_S})),
            Call(shell.run(command), again=shell.with_programs(command)),
            Call(ToolUse("lock", {"op": "release", "name": LOCK}), required=False),
        ],
        together=True,
    )


def meet(plan: Plan, attempt: int) -> Turn:
    """Wait for the others, then read what they shared.

    Who comes again after a restart may find the others gone; what counts is that their findings are there.
    """

    def over(results: Results) -> bool:
        met, seen = results
        broken = not met.ok and "brok" in met.text.lower()
        return seen.ok and (met.ok or broken or len(edges_in(seen)) == len(plan.parts))

    name = "survey-measured" if attempt == 1 else f"survey-measured-{attempt}"
    barrier = {"op": "wait", "name": name, "parties": "siblings", "timeout": MEET_TIMEOUT_S}
    return Turn(
        "Meet the others, then read what they found.",
        [Call(ToolUse("barrier", barrier)), Call(items("imports"))],
        over=over,
        together=True,
    )


def items(kind: str) -> ToolUse:
    """Read what all parts shared of one kind."""
    return ToolUse("shared_map", {"op": "items", "map": MAP, "prefix": f"{kind}/"})


def values_in(seen: Result) -> Mapping[str, Any]:
    """The values that were read, by part."""
    return {key.partition("/")[2]: value for key, value in (seen.data or {}).get("items", {}).items()}


def edges_in(seen: Result) -> Mapping[str, Any]:
    """The imports that were read, by part."""
    return {name: value for name, value in values_in(seen).items() if isinstance(value, dict) and "touches" in value}


def sizes(findings: Mapping[str, Any]) -> str:
    """How large a part is.

    >>> sizes({"files": 1, "lines": 20})
    '1 file, 20 lines'
    """
    counts = ((findings["files"], "file"), (findings["lines"], "line"))
    return ", ".join(f"{number} {one}{'' if number == 1 else 's'}" for number, one in counts)


def tell_root(part: Part, findings: Mapping[str, Any]) -> ToolUse:
    """Tell that this part is done."""
    message = {"part": part.name, "files": part.files, "lines": findings.get("lines")}
    return ToolUse("message_queue", {"op": "put", "queue": QUEUE, "message": message})


def summary(part: Part, findings: Mapping[str, Any], uses: Uses) -> str:
    """The result of the task."""
    if "unmeasured" in findings:
        return f"{part.name} could not be measured."
    others = ", ".join(uses.imported_by) or "no other part"
    return (
        f"{part.name}: {sizes(findings)}, {findings['functions']} Python functions, "
        f"{findings['public']} public names, {findings['marks']} TODO or FIXME; imported by {others}; "
        f"test files that touch it: {uses.tests}."
    )
