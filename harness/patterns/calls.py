"""Functions as tasks: a call is written into a task, run in an agent's process, and its future reads what came of it.

submit(fn, 1) --> task with a call --an agent--> fn(1) in the task's workspace --> value, or the exception
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prong.harness.patterns import by_value
from prong.primitives import RemoteTraceback, TaskFuture, artifacts, remote
from prong.primitives.mirrored import Told
from prong.primitives.values import checked_number
from prong.state import Membership
from prong.state.transaction import compact

F = TypeVar("F", bound=Callable[..., Any])

LOOK_S = 1.0
"""How often a wait looks whether the supervisor is still there, in seconds."""

_ATTEMPTS = "prong_attempts"
"""The attribute of a function that says how often it may be called."""


def repeatable(attempts: int) -> Callable[[F], F]:
    """Say of a function that it may be called again where the process that ran it is gone, `attempts` times at most.

    A function without this is called once: when its process dies, or is ended, on the way, its task has failed.  An
    exception that it raises is its result, and never a reason to call it again.

    >>> @repeatable(attempts=3)
    ... def fetch(url):
    ...     "Reads, and changes nothing: it does no harm twice."
    >>> attempts_of(fetch), attempts_of(len)
    (3, 1)
    """
    checked_number("attempts", attempts, least=1, most=1_000)

    def said(function: F) -> F:
        setattr(function, _ATTEMPTS, attempts)
        return function

    return said


def attempts_of(function: Callable[..., Any]) -> int:
    """How often a function may be called, also one whose first arguments are given (`functools.partial`)."""
    while isinstance(function, functools.partial):
        function = function.func
    attempts: int = getattr(function, _ATTEMPTS, 1)
    return attempts


def call_text(
    member: Membership, function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any]
) -> str:
    """The call as a task's `program`; raises what pickling raises where it cannot travel."""
    remote.refuse_foreign(member.store.path)
    exact = remote.is_exact(list(arguments)) and remote.is_exact(dict(named))
    if exact and not by_value.needed(function) and remote.reference_of(function) is not None:
        call = remote.call_of(function, arguments, named)
    else:
        pickled = _portable(function, (function, tuple(arguments), dict(named)))
        call = {"value": pickled, "main": by_value.main_file()}
    told = {**call, "path": [str(Path(place).absolute()) for place in sys.path]}
    return json.dumps({"call": artifacts.stored(member, f"a call of {function!r}", told)})


def is_call(program: str) -> bool:
    """Whether a task's `program` is a call, and not the source of a program."""
    return program.startswith('{"call":')


def run_call(member: Membership, program: str) -> Any:
    """Call the function of a task's `program`; raises what it raises."""
    call = artifacts.loaded(member, json.loads(program)["call"])
    sys.path += [place for place in call["path"] if place not in sys.path]
    if "value" in call:
        remote.refuse_foreign(member.store.path)
        function, arguments, named = by_value.loaded(call["value"], call["main"])
        return function(*arguments, **named)
    function, arguments, named = remote.resolved(call, member.store.path)
    return function(*arguments, **named)


def returned(result: Any) -> dict[str, Any]:
    """What a call came to, as it stands in the task."""
    return {"value": result} if remote.is_exact(result) else {"pickled": remote.packed(result)}


def raised(error: BaseException) -> dict[str, Any]:
    """What a call raised, as it stands in the task: with a pickle where its arguments do not tell all of it."""
    told: dict[str, Any] = {"error": remote.described(error)}
    if type(error).__module__ != "builtins" or isinstance(error, OSError):  # which knows a file besides
        try:
            pickled = remote.packed(error)
        except Exception:  # noqa: BLE001  then its description must do
            return told
        told["pickled_error"] = pickled
    return told


class Submitted(TaskFuture):
    """A task that somebody submitted; `result()` is what its agent said, the value that fitted, or what `fn` returned.

    `check` is asked while somebody waits, and raises where nothing more is to come.
    """

    def __init__(self, member: Membership, task: int, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(member, task)
        self._check = check

    def join(self, timeout: float | None = None) -> None:
        """Wait for at most `timeout` seconds until the task has ended."""
        left = timeout
        while not self.done() and (left is None or left > 0):
            pause = LOOK_S if left is None else min(LOOK_S, left)
            super().join(pause)
            left = None if left is None else left - pause
            if not self.done():
                self._check()

    def _outcome(self, told: Told) -> tuple[Any, BaseException | None]:
        row = self.member.store.row(
            "select result_value, result_whole, program from task where id = :task", task=self.task
        )
        assert row is not None, "it was read this moment"
        if row["program"] is not None and row["result_value"] is not None:
            return _of_call(self.member, artifacts.loaded(self.member, row["result_value"]))
        if told.state != "done":
            return super()._outcome(told)
        kept = row["result_value"] if row["result_value"] is not None else row["result_whole"]
        return (told.result if kept is None else artifacts.loaded(self.member, kept)), None


def _of_call(member: Membership, came: Mapping[str, Any]) -> tuple[Any, BaseException | None]:
    path = member.store.path
    if "error" not in came:
        return (came["value"] if "value" in came else _unpacked(came["pickled"], path)), None
    if "pickled_error" in came:
        try:
            error = _unpacked(came["pickled_error"], path)
        except Exception:  # noqa: BLE001  what cannot be made again here is described
            return None, remote.rebuilt(came["error"])
        trace = came["error"].get("traceback")
        if trace:
            error.__cause__ = RemoteTraceback(trace)
        return None, error
    return None, remote.rebuilt(came["error"])


def _unpacked(text: str, path: Path) -> Any:
    remote.refuse_foreign(path)
    return by_value.loaded(text, None)


def _portable(function: Callable[..., Any], call: Any) -> str:
    """The call as a pickle; raises `NotPortable`, which says what of it cannot travel."""
    try:
        return by_value.dumped(call)
    except by_value.NotPortable:
        raise
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        why = f"it, or what it is called with, cannot be pickled ({error})"
        raise by_value.NotPortable(name, why, by_value.MAKE_THERE) from error


def in_words(came: Mapping[str, Any]) -> str:
    """What a call came to, in one line for people."""
    if "error" in came:
        return f"{came['error']['type'].rpartition(':')[2]}: {came['error']['text']}"
    return compact(came["value"]) if "value" in came else "a value that only Python can read"
