"""Rules that read as if they ran once, and are replayed for every request.

    made, = yield Turn("Make the task.", [Call(ToolUse("create_task", {...}))])

A rule is a generator of turns.  Each turn is looked up in the conversation: calls that are not there, or failed, are
the reply; once the turn is over its results are sent in and the rule goes on.  So what comes next depends on what
succeeded, never on how often an agent died in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.emulator.script import Exchange, Reply, Text, ToolUse

ATTEMPTS = 5
"""How often a call is made before the rule goes on without it."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; after a failure `again` is called in its place, and a call that is not `required` is made once."""

    use: ToolUse
    again: ToolUse | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """How often a call was made, and what came of it the last time."""

    tries: int = 0
    ok: bool = False
    text: str = ""
    data: Mapping[str, Any] | None = None

    @property
    def error(self) -> str:
        """The first words of a failure."""
        return "" if self.ok else (self.text.strip().split("\n")[0][:200] or "no result")


Results = Sequence[Result]
Over = Callable[[Results], bool]


@dataclass(frozen=True, slots=True)
class Turn:
    """Calls of one assistant message.

    The turn is over when `over` holds, by default when all required calls succeeded.  Otherwise those that failed are
    made again, or all of them if they only mean something `together`, at most `attempts` times each.
    """

    say: str
    calls: Sequence[Call]
    over: Over | None = None
    together: bool = False
    attempts: int = ATTEMPTS

    def open_calls(self, results: Results) -> list[ToolUse]:
        """The calls that the conversation still lacks; none when the turn is over."""
        if all(result.tries for result in results) and self._is_over(results):
            return []
        return [
            call.again if result.tries and call.again else call.use
            for call, result in zip(self.calls, results, strict=True)
            if not result.tries or (self._wanted(call, result) and result.tries < self.attempts)
        ]

    def _is_over(self, results: Results) -> bool:
        if self.over:
            return self.over(results)
        return all(result.ok for call, result in zip(self.calls, results, strict=True) if call.required)

    def _wanted(self, call: Call, result: Result) -> bool:
        return self.together or (call.required and not result.ok)


Rules = Generator[Turn, Results, str]


def reply_of(rules: Rules, history: Sequence[Exchange]) -> Reply:
    """What the rules say next after this history: the calls of the first turn that is not over, or their last words."""
    try:
        turn = next(rules)
        while True:
            results = [result_of(call.use, history) for call in turn.calls]
            calls = turn.open_calls(results)
            if calls:
                return Reply([Text(turn.say), *calls])
            turn = rules.send(results)
    except StopIteration as end:
        return Reply([Text(end.value)])


def result_of(use: ToolUse, history: Sequence[Exchange]) -> Result:
    """What became of a call."""
    tries = [exchange for exchange in history if same(use, exchange)]
    if not tries:
        return Result()
    text = tries[-1].text or ""
    data = data_of(text)
    measured = use.name != "bash" or (data is not None and "survey" in data)
    return Result(len(tries), not tries[-1].is_error and measured, text, data)


def same(use: ToolUse, exchange: Exchange) -> bool:
    """Whether it is that call: a shell command by its last line, for it may bring its program along; others whole."""
    if use.name != exchange.name:
        return False
    if use.name == "bash":
        return last_line(use.input) == last_line(exchange.input)
    return dict(use.input) == dict(exchange.input)


def last_line(shell: Mapping[str, Any]) -> str:
    """The last line of a shell command."""
    return str(shell.get("command", "")).rstrip("\n").rpartition("\n")[2]


def data_of(text: str) -> Mapping[str, Any] | None:
    """The JSON object in a result, if it has one: the last line that is one."""
    for line in reversed(text.split("\n")):
        if line.startswith("{"):
            try:
                data = json.loads(line)
            except ValueError:
                continue
            if isinstance(data, dict):
                return data
    return None
