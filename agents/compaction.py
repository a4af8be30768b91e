"""A conversation that grows too long for its model goes on from a new root.

    1 task -- 2 -- 3 -- ... -- 98 -- 99 ("sum up") -- 100 (the summary)      kept, and forks of it go on
    101 task + summary -- 102 -- 103 -- ...                                  the new root: `sums` is 98

Where the endpoint compacts, it is asked for one block that stands for all that was said.  Else the model is asked for a
summary, whose request begins as all before it did and so reads the prompt cache.  Where that fails too, the last words
are taken over as they are.  Nothing is edited: no thinking is replayed behind words that it was not thought behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from prong.agents.conversation import Block, Conversation, Message
from prong.agents.model import Answer, Model
from prong.agents.model_faults import ModelUnavailable
from prong.agents.request import CHARACTERS_A_TOKEN, Request
from prong.state import Membership, Transaction

FEWEST_MESSAGES = 4
"""A conversation of fewer messages has nothing that a summary would make shorter."""

SUMMARY_TRIES = 3
"""So often is the model asked for a summary."""

SHORTER = 0.6
"""The share of the messages that is summed up where all of them do not fit."""

LAST_WORDS_CHARACTERS = 20_000
"""So much of what no summary holds is taken over word by word."""

_ASK = """\
This conversation has nearly filled your context window, so it will go on without what stands above. Write down what \
you need to go on; you will read the task, then this, and nothing else. Call no tool. Use these headings:
Goal: what is to be reached, and how one will see that it is.
Done: what is finished, with the names of files, branches and tasks.
Decisions: what was decided or ruled out, and why; what others have told you.
Open: what is left, in order, and what you were just about to do.
Files touched: each with what changed in it and what you know of it.
Keep exact what has to be exact: paths, names, numbers of tasks, commands, errors."""

_SUMMARY = "Your conversation became too long and was cut here. You are in the middle of the work; this you wrote down:"
_NO_SUMMARY = (
    "Your conversation became too long and was cut here. You are in the middle of the work; its last words were:"
)
_NOT_SUMMED = "What came after that, as far as there is room:"
_GO_ON = "Your conversation became too long and was summed up above. You are in the middle of the work: go on."

Method = Literal["server", "summary", "last words"]
Said = tuple[str, Sequence[Block]]


class Asks(Protocol):
    """The loop, as far as compacting needs it."""

    def paid(self, request: Request) -> Answer:
        """The answer to a request that is reserved for; raises as `Model.ask` does."""
        ...

    def account(self, tx: Transaction, message: int | None, answer: Answer) -> None:
        """Count what an answer has cost."""
        ...


@dataclass(frozen=True, slots=True)
class _Made:
    """What the conversation goes on with, and where it comes from; `aside` is said behind the old conversation."""

    method: Method
    root: Sequence[Said]
    answer: Answer | None = None
    aside: Sequence[Said] = ()


class Compactor:
    """Makes one agent's conversation short."""

    def __init__(self, member: Membership, conversation: Conversation, model: Model, asks: Asks) -> None:
        self._member = member
        self._conversation = conversation
        self._model = model
        self._asks = asks

    def compact(self, request: Request, *, tokens: int, reason: str) -> None:
        """Go on from a new root; `request` is what would be asked next, about `tokens` long.

        Raises what asking raises where that is no fault of the request, such as `ModelUnavailable`; nothing has changed
        then, nor has it where the process dies.
        """
        made = self._by_server(request) or self._by_summary(request) or self._by_last_words()
        old = self._conversation.messages[-1].id
        with self._member.transaction() as tx:
            number = self._conversation.set_aside(tx, *made.aside) if made.aside else None
            new = self._conversation.rebase(tx, 0, made.root, sums=old)
            if made.answer is not None:
                self._asks.account(tx, number or new[0].id, made.answer)
            tx.event(
                "conversation.compacted", object=str(new[0].id), old=old, method=made.method, reason=reason,
                before_tokens=tokens, after_tokens=_tokens([*request.system, *request.tools, *map(Message.wire, new)]),
            )  # fmt: skip
        self._conversation.take(0, new)

    def _by_server(self, request: Request) -> _Made | None:
        if not self._model.facts().compacts:
            return None
        try:
            answer = self._asks.paid(_with(request, request.messages, compacts=True))
        except ModelUnavailable as error:
            if error.kind != "request":
                raise
            return None
        blocks = [block for block in answer.content if block["type"] == "compaction" and block.get("content")]
        if not blocks:
            self._only_account(answer)
            return None
        task = [*opening(self._conversation), _text(_GO_ON)]
        return _Made("server", [("assistant", blocks[:1]), ("user", task)], answer)

    def _by_summary(self, request: Request) -> _Made | None:
        """Ask the model itself, for a part of the conversation where all of it does not fit."""
        messages = list(request.messages)
        ask: Said = ("user", [_text(_ASK)])
        for _ in range(SUMMARY_TRIES):
            try:
                answer = self._asks.paid(_with(request, [*messages, Message(-1, *ask)]))
            except ModelUnavailable as error:
                if error.kind != "request":
                    raise
                if not error.is_too_long or not (messages := _shorter(messages)):
                    return None
                continue
            text = "\n".join(block["text"] for block in answer.content if block["type"] == "text").strip()
            if text and answer.stop_reason in ("end_turn", "stop_sequence", "max_tokens"):
                rest = request.messages[len(messages) :]
                root = [*opening(self._conversation), _text("\n\n".join([_SUMMARY, text, *last_words(rest)]))]
                return _Made("summary", [("user", root)], answer, [ask, ("assistant", [_text(text)])])
            self._only_account(answer)
            if answer.stop_reason == "model_context_window_exceeded" and not (messages := _shorter(messages)):
                return None
        return None

    def _by_last_words(self) -> _Made:
        words = "\n\n".join([_NO_SUMMARY, *list(last_words(self._conversation.messages))[1:]])
        return _Made("last words", [("user", [*opening(self._conversation), _text(words)])])

    def _only_account(self, answer: Answer) -> None:
        """An answer that is of no use was paid for all the same."""
        with self._member.transaction() as tx:
            self._asks.account(tx, None, answer)


def opening(conversation: Conversation) -> list[Block]:
    """What the task is, in the words in which it was given; of a fork, those of its parent and then its own."""
    first, *rest = conversation.messages
    blocks = _texts(first if first.role == "user" else rest[0])
    if conversation.sums is not None:
        blocks = blocks[:-1]  # the summary, or what speaks of the one before it
    for place, message in enumerate(conversation.messages):
        if message.id == conversation.fork_point:
            for own in conversation.messages[place + 1 :]:
                if own.role == "assistant":
                    break
                blocks += _own(own)
    return blocks


def is_due(request: Request, *, tokens: int, window: int | None, share: float) -> bool:
    """Whether a conversation is to be made short before it is asked with this request, about `tokens` long."""
    return window is not None and tokens > share * window and len(request.messages) >= FEWEST_MESSAGES


def _with(request: Request, messages: Sequence[Message], *, compacts: bool = False) -> Request:
    return Request(request.system, request.tools, messages, request.fork_point, compacts=compacts)


def _own(message: Message) -> list[Block]:
    """What a fork was told when it was made, without what its siblings' calls read."""
    results = [block for block in message.content if block["type"] == "tool_result"]
    texts = [inner for block in results for inner in block["content"] if inner["type"] == "text"]
    return [
        _text(block["text"]) for block in [*texts, *_texts(message)] if "it is running elsewhere" not in block["text"]
    ]


def _texts(message: Message) -> list[Block]:
    return [block for block in message.content if block["type"] == "text"]


def _shorter(messages: Sequence[Message]) -> list[Message]:
    """A beginning of the conversation that ends where the model is to speak; empty where it cannot be shortened."""
    end = int(len(messages) * SHORTER)
    while end > 0 and messages[end - 1].role != "user":
        end -= 1
    return list(messages[:end]) if end < len(messages) else []


def last_words(messages: Sequence[Message]) -> Iterator[str]:
    """The end of what was said, in plain words, behind a line that says so; nothing of no messages."""
    if not messages:
        return
    lines = [f"{message.role}: {line}" for message in messages for line in _lines(message)]
    text = "\n".join(lines)
    yield _NOT_SUMMED
    yield text if len(text) <= LAST_WORDS_CHARACTERS else f"…{text[-LAST_WORDS_CHARACTERS:]}"


def _lines(message: Message) -> Iterator[str]:
    for block in message.content:
        match block["type"]:
            case "text":
                yield block["text"]
            case "tool_use":
                yield f"calls {block['name']} with {json.dumps(block['input'], ensure_ascii=False)}"
            case "tool_result":
                yield from (inner["text"] for inner in block["content"] if inner["type"] == "text")
            case _:
                pass


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _tokens(blocks: Sequence[Any]) -> int:
    return len(json.dumps(blocks, ensure_ascii=False, default=str)) // CHARACTERS_A_TOKEN
