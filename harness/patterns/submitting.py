"""A prompt that is submitted: the task that it becomes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from prong.harness.patterns.calls import Submitted
from prong.harness.patterns.mapping import Work, routed
from prong.harness.patterns.opening import schema_text
from prong.harness.swarms import Options
from prong.primitives import Plan
from prong.primitives.task_record import OnFailedNeed
from prong.state import Invalid


def plan_of(options: Options, prompt: str, key: str | None, arguments: tuple[Any, ...], named: dict[str, Any]) -> Plan:
    """The task of a prompt; raises TypeError for arguments that a prompt does not take."""
    known = [name for name, one in inspect.signature(_plan).parameters.items() if one.kind is one.KEYWORD_ONLY]
    wrong = [*map(repr, arguments), *(f"{name}=" for name in named if name not in known)]
    if wrong:
        takes = ", ".join(f"{name}=" for name in known)
        raise TypeError(f"submit() of a prompt takes {takes}, and not {', '.join(wrong)}")
    return _plan(options, prompt, key, **named)


def _plan(
    options: Options, prompt: str, key: str | None, *, role: str = "", type: str | None = None,
    priority: int | None = None, title: str | None = None, schema: dict[str, Any] | None = None,
    needs: Iterable[Submitted] = (), on_failed_need: OnFailedNeed = "fail",
) -> Plan:  # fmt: skip
    more = {"needs": [_task(one) for one in needs], "on_failed_need": on_failed_need}
    work = Work(prompt, role=role, type=type, priority=priority, schema=schema_text(schema), more=more)
    return routed(work, options).plan(prompt, title=title or prompt, key=key)


def _task(need: Any) -> int:
    if not isinstance(need, Submitted):
        raise Invalid(f"{need!r} as a need", "futures that submit() has returned")
    return need.task
