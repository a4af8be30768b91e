"""The `check` of a step: what must end well for its work, besides what must for everybody's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prong.harness.repository.git import GitFailed
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.merging import TASK_TRAILER
from prong.harness.swarms import Swarm
from prong.state import Store

_NOTHING = ":"
"""The check of those for whom nobody asks for one."""


def with_checks(rules: MergeRules) -> MergeRules:
    """The rules for a plan whose steps have checks of their own: each commit is then checked by itself."""
    return replace(rules, check=rules.check or _NOTHING, batch=1)


def checks_of_steps(swarm: Swarm, store: Store) -> Callable[[str], str | None] | None:
    """What tells the check of the step that a commit is from; None where no step of the swarm has one."""
    row = store.row("select path, text from plan")
    if row is None:
        return None
    from prong.harness.plans.plan import parse  # noqa: PLC0415  only a swarm with a plan needs it

    checks = {name: step.check for name, step in parse(row["text"], row["path"]).steps.items() if step.check}

    def check(commit: str) -> str | None:
        try:
            told = swarm.repository.git("log", "-1", f"--format=%(trailers:key={TASK_TRAILER},valueonly)", commit, "--")
        except GitFailed:
            return None
        for word in told.split():
            row = store.row("select step from plan_step where task = :task", task=int(word))
            if row is not None and row["step"] in checks:
                return checks[row["step"]]
        return None

    return check if checks else None
