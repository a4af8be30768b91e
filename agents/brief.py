"""A summary of a conversation up to a fork point: written once, for all children that begin with it.

    parent:  system, tools, 1 .. 42 | 43 ("created task 2")      goes on
    brief:   system, tools, 1 .. 42 | ("sum up")                 asked by the first child that starts
    child:   system, tools | its prompt, the summary             and all other children, too

The request begins as the parent's own requests do and goes to the parent's model, so that nearly all of it is read from
the prompt cache.  The child that asks pays for it; the others wait for the fork point, and where it dies another asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from prong.agents import fork_point
from prong.agents.compaction import Asks, last_words
from prong.agents.conversation import Block, Conversation, Message, load
from prong.agents.economics import BRIEF_TOKENS
from prong.agents.model import Answer
from prong.agents.model_faults import ModelUnavailable
from prong.agents.request import Request
from prong.state import Membership

TRIES = 3
"""So often is the model asked for a summary."""

WORDS = BRIEF_TOKENS // 4 * 3
"""How long a summary is asked to be at most, in words."""

_ELSEWHERE = "This call is running elsewhere."

_ASK = f"""\
You are not to go on with this. The tasks that you have just created are given to agents which know nothing of this \
conversation. Write what they have to know of it, for all of them together, in at most {WORDS} words; they read their \
own prompt and this, and nothing else. Call no tool. Use these headings:
Goal: what all of it is for.
Found: what is where, and how it works: names of files, functions, commands, with what is worth knowing of each.
Decided: what was decided or ruled out, and why; rules that they must keep.
Done: what is changed already and by whom.
Keep exact what has to be exact: paths, names, numbers of tasks, commands, errors. Leave out what only one of their \
prompts says."""

_NO_SUMMARY = "No summary of it could be made. Its last words were:"


def line(member: Membership, task: int, fence: int, point: int) -> Conversation:
    """The conversation up to a fork point, as a task's own that is asked something beside it."""
    conversation = Conversation(member, task, fence)
    conversation.messages = load(member.store, point)
    conversation.fork_point = point
    return conversation


def request(system: Sequence[Block], tools: Sequence[Block], messages: Sequence[Message]) -> Request:
    """What is asked behind a conversation that ends in a fork point."""
    point = messages[-1]
    results: list[Block] = [
        {"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": _ELSEWHERE}]}
        for use in point.tool_uses()
    ]
    ask = Message(-1, "user", [*results, {"type": "text", "text": _ASK}])
    return Request(system, tools, [*messages, ask], fork_point=point.id)


def write(member: Membership, asks: Asks, wanted: Request) -> str:
    """Have the summary written, and keep it at the fork point in the transaction that counts its cost.

    Where the model does not write one, the last words of the conversation have to do.  Raises as asking does.
    """
    point = wanted.fork_point
    assert point is not None, "a brief belongs to a fork point"
    for _ in range(TRIES):
        try:
            answer = asks.paid(wanted)
        except ModelUnavailable as error:
            if error.kind != "request":
                raise
            break
        text = _text(answer)
        with member.transaction() as tx:
            asks.account(tx, None, answer)
            if text:
                fork_point.end_brief(tx, point, text)
        if text:
            return text
    text = "\n\n".join([_NO_SUMMARY, *list(last_words(wanted.messages[:-1]))[1:]])
    with member.transaction() as tx:
        fork_point.end_brief(tx, point, text)
    return text


def _text(answer: Answer) -> str:
    """What it says, where it was let finish."""
    if answer.stop_reason not in ("end_turn", "stop_sequence", "max_tokens"):
        return ""
    return "\n".join(block["text"] for block in answer.content if block["type"] == "text").strip()
