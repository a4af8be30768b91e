"""The sentences and figures that a report tells in both its forms."""

from __future__ import annotations

from prong.harness.advice import KINDS, Figures
from prong.harness.cli.display import printable
from prong.harness.report.facts import Facts, TaskFacts

TEXT_CHARACTERS = 20_000
"""The most of one text of an agent's, or of a check's output, that a report holds."""

OUTPUT_CHARACTERS = 4_000

STATES = {"conflict": "a conflict", "check": "the check failed", "markers": "conflict markers were left"}


def safe(text: str, *, most: int = TEXT_CHARACTERS) -> str:
    """A text of several lines as it may be shown: no control characters, no keys, no more than so many characters."""
    more = f"\n… ({len(text) - most:,} characters more)" if len(text) > most else ""
    lines = (text[:most] + more).replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def one_line(text: str) -> str:
    """A text as one line."""
    return printable(" ".join(text.split()))


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> [duration(one) for one in (0.42, 75, 7384)]
    ['0.4 s', '1 min 15 s', '2 h 3 min']
    """
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def money(usd: float | None) -> str:
    """Dollars; where a price is unknown, that."""
    return "unknown" if usd is None else f"${usd:.4f}" if usd < 1 else f"${usd:,.2f}"


def size(counts: tuple[int, int, int] | None) -> str:
    """How much was changed."""
    if counts is None:
        return ""
    files, added, deleted = counts
    return f"{files} {'file' if files == 1 else 'files'}, +{added} -{deleted}"


def summary(facts: Facts) -> list[tuple[str, str]]:
    """Name and value of what stands on top."""
    status = facts.status
    counts = ", ".join(f"{count} {state}" for state, count in status.counts().items() if count)
    prompts = facts.total.cached + facts.total.written
    cached = f", {facts.total.cached / prompts:.0%} of the prompts from the cache" if prompts else ""
    rows = [
        ("swarm", f"{status.swarm}, {status.state}"),
        ("began", f"{facts.began}, took {duration(status.seconds)}"),
        ("tasks", f"{len(status.tasks)}: {counts}"),
        ("agents", f"{len(status.agents)}, at most {status.slots} at once, model {status.model}"),
        ("cost", f"{money(facts.total.usd)} for {facts.total.calls} calls{cached}"),
        ("tokens", f"{prompts:,} in, {facts.total.output:,} out"),
        ("changed", size(facts.size)),
        ("check", facts.check or _no_check(facts)),
        ("result", f"{status.branch} at {facts.tip[:12]}" if facts.tip else f"{status.branch}, which is gone"),
        ("started from", facts.base[:12]),
        ("kept in", facts.directory),
    ]
    return [(name, one_line(value)) for name, value in rows]


def of_task(task: TaskFacts) -> list[tuple[str, str]]:
    """Name and value of what stands on top of a task."""
    status = task.status
    agents = len(task.spans)
    where = "nothing to merge" if status.state == "done" else "not merged"
    if status.merged_commit:
        where = f"merged as {status.merged_commit[:12]}"
    if status.kept_branch:
        where = f"not merged; kept as branch {status.kept_branch}"
    rows = [
        ("work", ", ".join(filter(None, (where, size(task.size))))),
        ("check", _check(task)),
        ("took", f"{duration(status.seconds)}, {agents} agents" if agents > 1 else duration(status.seconds)),
        ("cost", f"{money(task.cost.usd)}, {task.cost.calls} calls, {task.cost.output:,} tokens out"),
    ]
    if task.resolves is not None:
        rows.insert(0, ("resolves", f"the work of task {task.resolves}"))
    return [(name, one_line(value)) for name, value in rows if value]


def _no_check(facts: Facts) -> str:
    own = any(task.check is not None for task in facts.tasks)
    return "none for all; see the tasks that had their own" if own else "none: nothing was checked before it was merged"


def _check(task: TaskFacts) -> str:
    if task.check is None:
        return ""
    how = "passed" if task.check.passed else f"failed: {task.check.how}"
    return f"{how}, {duration(task.check.seconds)}"


def returned(task: TaskFacts) -> list[tuple[str, str, str]]:
    """Of each delivery that came back: a headline, the reason, and what its check printed."""
    return [
        (
            f"Attempt {one.attempt}, after {duration(one.at_s)}: {STATES.get(one.verdict, one.verdict)}",
            safe(one.detail, most=OUTPUT_CHARACTERS),
            safe(one.output or "", most=OUTPUT_CHARACTERS),
        )
        for one in task.returns
    ]


def foreseen(facts: Facts) -> list[str]:
    """The conflicts that were seen before they were made, in words."""
    return [
        one_line(f"Tasks {' and '.join(map(str, one.get('tasks', ())))} both changed {one.get('path', '')}"
                 f"{' at ' + str(one['lines']) if one.get('lines') else ''}")
        for one in facts.foreseen
    ]  # fmt: skip


def paid(figures: Figures) -> list[tuple[str, str]]:
    """Name and value of each figure by which it is seen whether the run has paid."""
    whole = sum(figures.kinds.values())
    shares = [
        f"{kind} {figures.kinds[kind] / whole:.0%}".replace("%", " %")
        for kind in KINDS
        if whole and figures.kinds.get(kind, 0.0) >= whole / 200
    ]
    rows = [
        ("time", f"{duration(figures.wall_s)}; the same work one by one {duration(figures.work_s)}"),
        ("parallelism", f"{figures.parallelism:.1f} of {figures.slots} agents worked at once on average"),
        ("longest path", f"{duration(figures.critical_s)}: {' -> '.join(figures.critical)}"),
        ("time went to", ", ".join(shares)),
    ]
    if figures.cost is not None and figures.alone is not None:
        cost, alone = (
            f"${one:.4f}" if figures.unit == "usd" else f"{one:,.0f} tokens by weight"
            for one in (figures.cost, figures.alone)
        )
        rows.append(("cost", f"{cost}; one agent alone about {alone}"))
    return rows
