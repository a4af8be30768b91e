"""A call's place in a line, as state/waiter.py has it, for calls of primitives: the sleeper keeps the watch."""

from __future__ import annotations

from collections.abc import Callable

from prong.primitives.errors import Deadlock
from prong.state import Membership, Transaction, waiter
from prong.state.waiter import Outcome


class Place(waiter.Place):
    """Taken, waited in and left as `prong.state.waiter.Place`; a wait that is given up for others raises `Deadlock`."""

    def __init__(self, member: Membership, *, withdraw: Callable[[Transaction, Outcome], None] | None = None) -> None:
        super().__init__(member, withdraw=withdraw)
        self._store = member.store

    def wait(self, *, look: Callable[[], None] | None = None, parks: bool = True) -> Outcome:
        """Sleep until it is decided or the time is up, and look after the swarm meanwhile."""
        from prong.primitives.watch import Round  # noqa: PLC0415  it looks after every kind, and each waits in a place

        outcome = super().wait(look=look or Round(self._store), parks=parks)
        if outcome.state == "broken" and "deadlock" in outcome.data:
            raise Deadlock(**outcome.data["deadlock"])
        return outcome
