"""What a repository's rules say of one role."""

from __future__ import annotations

from dataclasses import dataclass

from prong.harness.rules import readers as read
from prong.harness.rules import workers as worker
from prong.harness.rules.values import rule

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of agent: what it is for, and what holds for its tasks (None: what holds for all).

    `estimate_s` is how long such a task takes, in seconds, until finished ones have shown it; `agents` of it run at
    once; `tools` are rules for the calls that its agents may make; `writes` are patterns of what they are to change;
    `hedge` allows a second copy of a straggler.  `kind` is which outside agent does its tasks (None: our own), started
    by `command` with `arguments` behind its own, with the user's variables that `environment` names; `timeout_s` is how
    long one of its attempts may work.
    """

    description: str | None = rule(None, read.text, fixed=True)
    model: str | None = rule(None, read.word, fixed=True)
    prompt: str | None = rule(None, read.text, fixed=True)
    priority: int | None = rule(None, read.priority)
    estimate_s: float | None = rule(None, read.seconds(0, 30 * _DAY_S), key="estimate")
    attempts: int | None = rule(None, read.whole(1, 100))
    tools: tuple[str, ...] | None = rule(None, read.calls)
    agents: int | None = rule(None, read.whole(1, 1000))
    writes: tuple[str, ...] | None = rule(None, read.patterns)
    hedge: bool | None = rule(None, read.truth)
    kind: str | None = rule(None, worker.kind, fixed=True)
    command: str | None = rule(None, worker.command, fixed=True)
    arguments: tuple[str, ...] | None = rule(None, worker.words, fixed=True)
    environment: tuple[str, ...] | None = rule(None, worker.names, fixed=True)
    timeout_s: float | None = rule(None, read.seconds(1, 30 * _DAY_S), key="timeout", fixed=True)
