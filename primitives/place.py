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
        self._round: Callable[[], None] | None = None

    def wait(self, *, look: Callable[[], None] | None = None, parks: bool = True) -> Outcome:
        """Sleep until it is decided or the time is up, and look after the swarm meanwhile."""
        outcome = super().wait(look=look or self._look, parks=parks)
        if outcome.state == "broken" and "deadlock" in outcome.data:
            raise Deadlock(**outcome.data["deadlock"])
        return outcome

    def _look(self) -> None:
        if self._round is None:  # most waits are over before the first look
            from prong.primitives.watch import Round  # noqa: PLC0415  it looks after every kind, each waits in a place

            self._round = Round(self._member.store)
        self._round()
