"""What can be asked for at the command door: each op reads what it is given and calls what the command line calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from prong.harness import approvals, control, editing, messages
from prong.harness.inspector.going_on import go_on
from prong.harness.swarms import Swarm
from prong.primitives.budget import Budget
from prong.state import Invalid

TASKS_AT_ONCE = 1_000
"""The most tasks that one command may name."""

Act = Callable[[Swarm, Mapping[str, Any], Mapping[str, Any]], Any]
"""Does one thing to a swarm, from a target and arguments; returns what came of it as data, raises `ProngError`."""


def _task(target: Mapping[str, Any]) -> int:
    task = target.get("task")
    if isinstance(task, bool) or not isinstance(task, int) or not 0 < task < 2**53:
        raise Invalid(f"target.task {str(task)[:40]!r}", "the number of a task")
    return task


def _tasks(target: Mapping[str, Any]) -> list[int]:
    tasks = target["tasks"]
    if not isinstance(tasks, list) or not 0 < len(tasks) <= TASKS_AT_ONCE:
        raise Invalid(f"target.tasks {str(tasks)[:40]!r}", f"a list of 1 to {TASKS_AT_ONCE} tasks")
    return [_task({"task": one}) for one in tasks]


def _maybe_task(target: Mapping[str, Any]) -> int | None:
    return None if target.get("task") is None else _task(target)


def _cancel(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    return {"tasks": control.cancel_task(swarm, _task(target))}


def _pause(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    return {"tasks": control.pause(swarm, _maybe_task(target))}


def _resume(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    """A task, several, or the whole swarm, which is run again where nobody runs it."""
    if target.get("tasks") is not None:
        return {"tasks": [one for task in _tasks(target) for one in control.resume(swarm, task)]}
    task = _maybe_task(target)
    if task is None and not control.supervised(swarm):
        return {"process": go_on(swarm)}
    return {"tasks": control.resume(swarm, task)}


def _kill(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    agent = target.get("agent")
    if agent is not None and (isinstance(agent, bool) or not isinstance(agent, int)):
        raise Invalid(f"target.agent {str(agent)[:40]!r}", "the number of an agent")
    return asdict(control.kill(swarm, task=None if agent is not None else _task(target), agent=agent))


def _retry(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    return {"tasks": control.retry(swarm, _task(target), with_dependants=args.get("with_dependants") is True)}


def _priority(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    priority = args.get("priority")
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > 1_000_000:  # noqa: PLR2004  as the tool
        raise Invalid(f"args.priority {str(priority)[:40]!r}", "a whole number from -1000000 to 1000000")
    return asdict(control.set_priority(swarm, _task(target), priority))


def _budget(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    tokens, usd = args.get("tokens"), args.get("usd")
    if tokens is None and usd is None:
        raise Invalid("a budget without a bound", "args.tokens, a whole number, or args.usd, a number")
    if isinstance(tokens, bool) or not isinstance(tokens, int | None):
        raise Invalid(f"args.tokens {str(tokens)[:40]!r}", "a whole number")
    if isinstance(usd, bool) or not isinstance(usd, int | float | None):
        raise Invalid(f"args.usd {str(usd)[:40]!r}", "a number of dollars")
    raised = control.raise_budget(swarm, _maybe_task(target), Budget(tokens, usd))
    return {"freed": raised.freed}


def _text(given: Mapping[str, Any], name: str, *, most: int = 100_000) -> str:
    text = given.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        raise Invalid(f"{name} {str(text)[:40]!r}", f"a text of at most {most:,} characters")
    return text


def _number(given: Mapping[str, Any], name: str) -> int:
    number = given.get(name)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise Invalid(f"{name} {str(number)[:40]!r}", "a whole number")
    return number


def _release(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    fence = None if target.get("fence") is None else _number(target, "fence")
    return {"fence": editing.release(swarm, _text(target, "lock"), fence=fence)}


def _map_put(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    if "value" not in args:
        raise Invalid("a write without args.value", "any JSON value")
    name, key = _text(target, "map"), _text(target, "key")
    return {"version": editing.put(swarm, name, key, args["value"], if_version=_number(args, "if_version"))}


def _requeue(swarm: Swarm, target: Mapping[str, Any], _args: Mapping[str, Any]) -> Any:
    editing.requeue(swarm, _text(target, "queue"), _number(target, "message"))


def _message(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    agent = None if target.get("agent") is None else _number(target, "agent")
    said = messages.send(swarm.store(), _text(args, "text"), task=_maybe_task(target), agent=agent)
    return {"heard": [asdict(one) for one in said]}


def _approve(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    always: list[str] | None = [] if args.get("always") is True else None  # none named: the narrowest that cover it
    approvals.approve(swarm.store(), [_number(target, "approval")], always=always)


def _deny(swarm: Swarm, target: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    approvals.deny(swarm.store(), [_number(target, "approval")], _text(args, "reason"))


ACTS: Mapping[str, Act] = {
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "kill": _kill,
    "retry": _retry,
    "priority": _priority,
    "budget": _budget,
    "message": _message,
    "approve": _approve,
    "deny": _deny,
    "release": _release,
    "map_put": _map_put,
    "requeue": _requeue,
}
"""What can be asked for, by op."""
