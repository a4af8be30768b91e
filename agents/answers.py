"""What becomes of an answer, by why it ended; docs/conversations.md has the table.

Of what comes back, all is kept as it came but what the API would not take back: empty texts, and thinking that was cut
off before it was signed.  A model that gets nowhere is spoken to, and after a while given up: nothing goes on for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from prong.agents.conversation import Block, Message
from prong.agents.model import Answer
from prong.state import ProngError

MOST_CUT = 6
"""So many answers in a row may be cut off, or end for a reason that nobody knows."""

MOST_WORDLESS = 2
"""So many turns in a row may end without a word: after the first the model is asked for one."""

MOST_PAUSES = 30
"""So often in a row may the endpoint pause a turn."""

MOST_REPEATS = 6
"""So often in a row may the very same calls be refused."""

MOST_FULL = 2
"""So often in a row may the window be full: a conversation that was just made short has no more to lose."""

ENDED = frozenset({"end_turn", "stop_sequence", "tool_use"})
"""The model has said all that it wanted to."""

RUNS = frozenset({"tool_use", "end_turn"})
"""Its calls are whole, and are run."""

FULL = "model_context_window_exceeded"
PAUSED = "pause_turn"
REFUSED = "refusal"
CUT = "max_tokens"

_GO_ON = "Your answer was cut off at its token limit. Go on."
_TOO_MUCH_THOUGHT = (
    "Your answer was cut off at its token limit before you had said anything. Think less at once, and go on in small"
    " steps."
)
_WORDLESS = (
    "You ended your turn without a word. If you are done, say in a few sentences what you did and what came of it:"
    " that is your result. If not, go on."
)
_UNKNOWN = "Your answer ended before its time ({reason}). Go on where it ended."


class ModelFailed(ProngError):
    """The model, not what is around it, is why a task goes no further."""


class Stuck(ModelFailed):
    """The model gets nowhere, and asking it once more would not help."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return f"the model gets nowhere: {self.problem}"


def kept(answer: Answer) -> list[Block]:
    """The blocks that go into the conversation; none of a refusal, which the model could only refuse again."""
    if answer.stop_reason == REFUSED:
        return []
    blocks = [block for block in answer.content if block["type"] != "text" or block["text"].strip()]
    if answer.stop_reason not in ENDED:
        while blocks and blocks[-1]["type"] == "thinking" and not blocks[-1].get("signature"):
            blocks.pop()
    return blocks


def words(stop_reason: str | None, blocks: Sequence[Block]) -> str | None:
    """What the model is told behind an answer with these blocks, before it is asked again; None: nothing.

    >>> words("max_tokens", [{"type": "text", "text": "half a sen"}])
    'Your answer was cut off at its token limit. Go on.'
    """
    if stop_reason in (FULL, PAUSED, REFUSED):
        return None
    if stop_reason in ENDED:
        return _WORDLESS
    if stop_reason == CUT:
        return _GO_ON if any(block["type"] != "thinking" for block in blocks) else _TOO_MUCH_THOUGHT
    return _UNKNOWN.format(reason=stop_reason or "its end was not written down")


def sound(blocks: Sequence[Block]) -> list[Block]:
    """What every endpoint takes back of a turn: its texts and its calls, without all that was attached to them."""
    return [
        {name: block[name] for name in _FIELDS[block["type"]]}
        for block in blocks
        if block["type"] in _FIELDS and (block["type"] != "text" or block["text"].strip())
    ]


_FIELDS: Mapping[str, tuple[str, ...]] = {"text": ("type", "text"), "tool_use": ("type", "id", "name", "input")}


class Patience:
    """Counts what leads nowhere, for one agent; raises `Stuck` when it has been enough."""

    def __init__(self) -> None:
        self._cut = self._wordless = self._pauses = self._full = self._repeats = 0
        self._calls = ""

    def answered(self, stop_reason: str, blocks: Sequence[Block]) -> None:
        """The model has answered, and these blocks of it are kept."""
        speaks = any(block["type"] in _FIELDS for block in blocks)
        self._pauses = self._pauses + 1 if stop_reason == PAUSED else 0
        self._cut = 0 if stop_reason in (*ENDED, PAUSED, FULL) else self._cut + 1
        self._wordless = self._wordless + 1 if stop_reason in ENDED and not speaks else 0
        if stop_reason in ENDED:
            self._full = 0
        if self._pauses > MOST_PAUSES:
            raise Stuck(f"its turn was paused {self._pauses} times in a row")
        if self._cut >= MOST_CUT:
            raise Stuck(f"{self._cut} answers in a row were cut off ({stop_reason}); a larger --max-tokens may help")
        if self._wordless >= MOST_WORDLESS:
            raise Stuck(f"it ended {self._wordless} turns in a row without a word")

    def full(self) -> None:
        """The conversation does not fit the model's window, and is about to be made shorter."""
        self._full += 1
        if self._full > MOST_FULL:
            raise Stuck("the conversation does not fit its window however short it is made; give it a smaller task")

    def acted(self, turn: Message, results: Sequence[Block]) -> None:
        """The calls of a turn have these results."""
        calls = json.dumps([(block["name"], block["input"]) for block in turn.tool_uses()], sort_keys=True)
        refused = all(block.get("is_error") for block in results)
        self._repeats = (self._repeats + 1 if calls == self._calls else 1) if refused else 0
        self._calls = calls
        if self._repeats >= MOST_REPEATS:
            names = ", ".join(sorted({block["name"] for block in turn.tool_uses()}))
            raise Stuck(f"it made the same call of {names} {self._repeats} times, and each was refused")
