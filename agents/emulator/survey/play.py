"""The script: which rules apply, read from the conversation alone."""

from __future__ import annotations

import re

from prong.agents.emulator.script import Exchange, Reply, Request
from prong.agents.emulator.survey import shell
from prong.agents.emulator.survey.child import child
from prong.agents.emulator.survey.plan import Plan
from prong.agents.emulator.survey.root import root
from prong.agents.emulator.survey.turns import data_of, reply_of, result_of

PROMPT = re.compile(r"Survey part (\d+) of \d+:")


def play(request: Request) -> Reply:
    """A fork that was told to survey a part is a child; whoever else asks is the root."""
    history = request.exchanges()
    for fork in range(len(history) - 1, -1, -1):
        told = PROMPT.match(str(history[fork].input.get("prompt", ""))) if is_me(history[fork]) else None
        looked = result_of(shell.look(), history[:fork])
        if told and looked.data is not None:
            own = [exchange for exchange in history[fork:] if exchange.name != "create_task"]
            return reply_of(child(Plan.of(looked.data), int(told[1]), attempt(history[: fork + 1])), own)
    return reply_of(root(), history)


def is_me(exchange: Exchange) -> bool:
    """Whether this call made the task of the agent that asks."""
    return exchange.name == "create_task" and bool((data_of(exchange.text or "") or {}).get("you"))


def attempt(history: list[Exchange]) -> int:
    """How often the task of the last call was asked for: those asked for together have the same number."""
    return sum(exchange.name == "create_task" and exchange.input == history[-1].input for exchange in history)
