"""What a call of the model may cost, seen from the loop: it is reserved before the call and settled after it.

    notice? -> reserve -> ask the model --answer--> settle, in the transaction that appends the answer
                              +---------no answer--> hand back

The loop knows how long its next prompt can be at most; whose money it is, and how much of it is left, the purse knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prong.agents.conversation import Conversation, Message
from prong.agents.economics import Lifetime
from prong.agents.models import Model, Usage
from prong.agents.request import CHARACTERS_A_TOKEN, Request
from prong.state import Store, Transaction

MARGIN_TOKENS = 2_000
"""What a provider may put into a prompt beside what it was sent: words of its own about tools, and between messages."""

_ANSWER = """
select input_tokens + cache_read_tokens + cache_write_tokens as prompt, output_tokens as output from model_call
 where message = :message and model = :model and task = (select task from message where id = :message)
"""

_SAME_BEGINNING = """
select min(prompt) as prompt from (
    select input_tokens + cache_read_tokens + cache_write_tokens as prompt from model_call
     where prefix_hash = :hash and model = :model order by id desc limit 100)
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the model is to be told of its budget; `bounds` name what it was told of then."""

    bounds: Sequence[str]
    text: str


class Purse(Protocol):
    """What one agent may spend.  It has at most one call under way at a time."""

    @property
    def model(self) -> Model | None:
        """The record with the prices that count; None where they are unknown."""
        ...

    def notice(self, prompt_tokens: int) -> Notice | None:
        """What the model was not told yet: that little is left, for prompts of at most so many tokens."""
        ...

    def told(self, tx: Transaction, notice: Notice) -> None:
        """The model is told in this transaction."""
        ...

    def reserve(self, prompt_tokens: int, max_tokens: int, lifetime: Lifetime = "5m") -> int:
        """Set aside the most that a call can cost; how long its answer may be, which is less near the bound.

        Waits where calls of others are under way that may leave enough.  Raises an error where it can never fit.
        """
        ...

    def settle(self, tx: Transaction, usage: Usage) -> None:
        """The call was answered: count what it has cost."""
        ...

    def hand_back(self) -> None:
        """The call has died."""
        ...


class Ceiling:
    """How long the next prompt of a conversation can be at most, in tokens.

    A token is at least one byte.  What the last answered request held is known exactly, so that only what was added
    since is counted in bytes: that answer, and what was appended to it.
    """

    def __init__(self, store: Store, conversation: Conversation, model: str, prefix_hash: str) -> None:
        self._store = store
        self._model = model
        self._forked = conversation.fork_point is not None
        self._prefix_hash = prefix_hash
        self._beginning: int | None = None
        self._answered: int | None = None
        self._prompt = self._output = 0
        for message in reversed(conversation.messages):
            if message.role == "assistant":
                self._recall(message)
                break

    def learn(self, answer: Message, usage: Usage) -> None:
        """A request was answered by this message."""
        self._answered, self._prompt, self._output = answer.id, usage.prompt, usage.output

    def of(self, request: Request) -> int:
        """The most tokens that the prompt of this request has."""
        place = next((place for place, one in enumerate(request.messages) if one.id == self._answered), None)
        if place is None:
            return MARGIN_TOKENS + self._of_unknown(request)
        answer, *since = request.messages[place:]
        # An answer may be shorter as it stands there than it was when it was thought, or longer, with its signatures.
        return MARGIN_TOKENS + self._prompt + max(self._output, _bytes([answer])) + _bytes(since)

    def about(self, request: Request) -> int:
        """About how many tokens the prompt of this request has, by what a token of text usually is."""
        place = next((place for place, one in enumerate(request.messages) if one.id == self._answered), None)
        if place is None:
            return request.most_bytes() // CHARACTERS_A_TOKEN
        return self._prompt + self._output + _bytes(request.messages[place + 1 :]) // CHARACTERS_A_TOKEN

    def _of_unknown(self, request: Request) -> int:
        """Nothing of it was ever sent, but for its beginning maybe, in other conversations."""
        whole = request.most_bytes()
        if self._forked:
            return whole
        if self._beginning is None:  # what was a bound of it once is one for ever
            row = self._store.row(_SAME_BEGINNING, hash=self._prefix_hash, model=self._model)
            self._beginning = None if row is None else row["prompt"]
        return whole if self._beginning is None else min(whole, self._beginning + _bytes(request.messages))

    def _recall(self, answer: Message) -> None:
        row = self._store.row(_ANSWER, message=answer.id, model=self._model)
        if row is not None:
            self._answered, self._prompt, self._output = answer.id, row["prompt"], row["output"]


def partial_result(conversation: Conversation) -> str | None:
    """The last words of a task that could not be brought to an end; None where it has not said any."""
    point = conversation.fork_point or 0
    own = [message for message in conversation.messages if message.role == "assistant" and message.id > point]
    return next((text for message in reversed(own) if (text := message.text().strip())), None)


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(_json(message.wire())) for message in messages)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")
