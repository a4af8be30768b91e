"""What a run came to: a result, or a failure of a kind that says whether another attempt may go better.

ended well ---------------------> its last words          killed ------------------> crash     tried again
asks for permission, not known -> request   for good      too long, nonsense ------> tool      tried again
refuses, gives up --------------> model     for good      its provider is ill -----> provider  tried again
"""

from __future__ import annotations

import re

from prong.harness.workers.kinds import Kind
from prong.harness.workers.running import Ran
from prong.primitives import task as tasks
from prong.state import ProngError

SHOWN_CHARACTERS = 1_500
"""How much of what a command printed stands in its task's error, in characters."""

_UNAUTHORIZED = frozenset({401, 403})
_TOO_MANY = 429
_TIMED_OUT = 408
_SERVERS_FAULT = 500
_NO_LOGIN = re.compile(
    r"not logged in|/login|invalid api key|missing.{0,20}(api key|environment variable)|401", re.IGNORECASE
)
_PROVIDER = re.compile(
    r"overloaded|rate.?limit|timed? ?out|connection|ECONN|stream (error|disconnected)|50[0-9]|529", re.IGNORECASE
)


class WorkerFailed(ProngError):
    """A run that brought no result: what went wrong, and what kind of failure that is."""

    def __init__(self, problem: str, failure: tasks.Failure) -> None:
        self.problem = problem
        self.failure = failure

    def __str__(self) -> str:
        return self.problem


class Spent(ProngError):
    """A worker stopped by itself, because it has spent what it may."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __str__(self) -> str:
        return f"{self.title} has spent what its budget leaves it, and stopped"


def result_of(ran: Ran, kind: Kind, *, is_command: bool) -> str:
    """The result of a run; raises `WorkerFailed`, or `Spent`.

    Where a command of one's own speaks no language that is known, all that it prints is its result.
    """
    ended, title = ran.ended, kind.title
    if ran.asks:
        raise WorkerFailed(
            f"{title} asked for permission ({ran.asks}), and nobody is there to give it. Let it work without asking, by"
            " what its role in PRONG.md says under arguments",
            "request",
        )
    if ran.problem:
        raise WorkerFailed(f"{title}: {ran.problem}.{_said(ran)}", "tool")
    if ran.killed:
        raise WorkerFailed(f"{title} was killed (exit code {ran.exit_code}).{_said(ran)}", "crash")
    if ended is not None and ended.problem:
        raise _failed(ran, kind)
    if ran.exit_code:
        text = _said(ran)
        if kind.login and _NO_LOGIN.search(text):
            raise WorkerFailed(f"{title} cannot ask its model: {kind.login}, and start again.{text}", "request")
        raise WorkerFailed(f"{title} ended with exit code {ran.exit_code}.{text}", "tool")
    result = ended.result.strip() if ended is not None else ran.words.strip() if is_command else ""
    if result:
        return result
    if ended is not None:
        raise WorkerFailed(f"{title} ended without a word.", "model")
    raise WorkerFailed(f"{title} ended, but nothing that it printed tells how.{_said(ran)}", "tool")


def _failed(ran: Ran, kind: Kind) -> WorkerFailed | Spent:
    ended = ran.ended
    assert ended is not None
    status, problem = ended.status, ended.problem[:SHOWN_CHARACTERS]
    if ended.spent:
        return Spent(kind.title)
    if status in _UNAUTHORIZED or (status is None and kind.login and _NO_LOGIN.search(problem)):
        return WorkerFailed(f"{kind.title} cannot ask its model ({problem}): {kind.login}, and start again.", "request")
    passes = status in (_TOO_MANY, _TIMED_OUT) or (status or 0) >= _SERVERS_FAULT
    if passes or (status is None and _PROVIDER.search(problem)):
        return WorkerFailed(f"{kind.title} could not ask its model: {problem}", "provider")
    if status is not None:
        return WorkerFailed(f"{kind.title}: its model's provider refused a request: {problem}", "request")
    return WorkerFailed(f"{kind.title} gave up: {problem}{_said(ran)}", "model")


def _said(ran: Ran) -> str:
    text = "\n".join(part for part in (ran.errors, ran.words) if part)[-SHOWN_CHARACTERS:].strip()
    return f" It printed:\n{text}" if text else ""
