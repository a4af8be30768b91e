"""What a model is told between two turns: that little is left of its budget, what a person says, what is in its inbox.

It stands behind all that is in the prompt cache already, and is written down in one transaction with the note that it
was told; so it is told once, whoever dies when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prong.agents.conversation import Conversation
from prong.agents.models import Model
from prong.state import Membership, Transaction


@dataclass(frozen=True, slots=True)
class Notice:
    """What the model is to be told.  `told` gets the transaction that writes it down, and the message's number.

    A task does not end before its model was told what is `urgent`.
    """

    text: str
    told: Callable[[Transaction, int], None]
    urgent: bool = False


Source = Callable[[], "Notice | None"]
"""Looks whether there is anything that the model was not told yet."""


def tell(member: Membership, conversation: Conversation, model: Model | None, notices: Sequence[Notice]) -> None:
    """Add notices to the conversation: as the operator's words where the model knows such, else as the user's.

    Operator's words can only follow the user's, to whom those that a model's last words have to be answered belong.
    """
    last = conversation.last
    assert last is not None, "a conversation begins with the task"
    knows = model is not None and "system_messages" not in model.refuses
    with member.transaction() as tx:
        content = [{"type": "text", "text": notice.text} for notice in notices]
        message = conversation.append(tx, "system" if knows and last.role == "user" else "user", content)
        for notice in notices:
            notice.told(tx, message.id)
    conversation.extend(message)
