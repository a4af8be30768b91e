"""An agent's leave of its swarm: taken once, and where its work ends in a transaction, in that one."""

from __future__ import annotations

from prong.primitives import holdings
from prong.state import Membership, Transaction


class Leaving:
    """The leave of one agent; `wanted` says afterwards whether somebody had a reason to end it by then."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self.taken = False
        self.wanted = False

    def take(self, tx: Transaction, reason: str) -> None:
        """Give back all that it holds; after this transaction it can do nothing more.  Nothing where it has left."""
        if self.taken:
            return
        me = self._member.me
        self.wanted = tx.value("select reason is not null from agent where id = :agent", agent=me.agent)
        # The log tells it as of everybody who is gone: it is not the agent that gives back what it held.
        acting, tx.member = tx.member, None
        try:
            holdings.bury(tx, me.agent, state="ended", reason=reason, task=me.task)
        finally:
            tx.member = acting
        tx.ring_scheduler()
        self.taken = True
