"""Keeps the prompt cache of fork points whose children are still to start, beside whoever runs the swarm.

    an entry is about to go --nobody will ask for it, or writing again is cheaper--> left, and the event says why
                            --else--> one request of max_tokens 0, paid from the parent's budget, event `cache.kept`

Nothing depends on it: where it does not come through, the next child writes the prefix again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from prong.agents import brief, conversation, economics, fork_point, keeping
from prong.agents.conversation import Block
from prong.agents.keeping import Due
from prong.agents.models import known
from prong.agents.purse import Ceiling
from prong.harness.budgets import AccountPurse
from prong.harness.swarms import Swarm
from prong.primitives import holdings
from prong.primitives.budget import OutOfBudget
from prong.state import Membership, ProngError, Store
from prong.state.member import enlist
from prong.state.process import identity
from prong.state.transaction import Member

if TYPE_CHECKING:
    from prong.agents.model import Answer
    from prong.agents.request import Request
    from prong.harness.agent.shared import Shared

LOOK_S = 5.0
"""How often it is looked for entries that are about to go, in seconds."""

LINGERS_S = 2.0
"""How long the end of a run waits for a request that is under way, in seconds; without it the thread ends later."""


class NotNow(ProngError):
    """The endpoint does not answer at once: until it does, there may be nothing left to keep."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return f"it was not asked a second time: {self.problem}"


Common = tuple["Shared", Sequence[Block]]
"""What all agents of a swarm have in common, and their tools."""


class Keeper:
    """Keeps the fork points of a swarm, for one thread.  `share` makes what its agents have in common, when needed."""

    def __init__(self, store: Store, share: Callable[[], Common]) -> None:
        self._store = store
        self._share = share
        self._common: Common | None = None
        self._left: set[tuple[int, float]] = set()

    def look(self) -> None:
        """Keep what pays; whatever is in the way of it is an event, and no more."""
        for one in keeping.due(self._store):
            if not one.keeping.pays:
                self._leave(one, one.keeping.why)
                continue
            try:
                self._keep(one)
            except ProngError as error:
                self._leave(one, str(error))

    def _leave(self, one: Due, why: str) -> None:
        row = self._store.row("select kept_until from fork_point where message = :point", point=one.point)
        until = row["kept_until"] if row is not None else 0.0
        if (one.point, until) in self._left:
            return
        self._left.add((one.point, until))
        with self._store.transaction(None) as tx:
            tx.event("cache.left", object=str(one.point), task=one.parent, reason=why, children=one.children)

    def _keep(self, one: Due) -> None:
        with self._store.transaction(None) as tx:
            # It holds nothing but what it reserves; should this process die, whoever looks next gives that back.
            agent = enlist(
                tx, "cache keeper", pid=os.getpid(), task=None, state="running", lease_s=None, process=identity()
            )
        member = Membership(self._store, Member(agent, 1, one.parent))
        try:
            self._ask(member, one)
        finally:
            with self._store.transaction(None) as tx:
                holdings.bury(tx, agent, state="ended", reason="it has kept what it could", task=None)

    def _ask(self, member: Membership, one: Due) -> None:
        from prong.agents.ledger import Ledger  # noqa: PLC0415  it brings the SDK, which most runs need only in agents

        shared, tools = self._common = self._common or self._share()
        line = brief.line(member, one.parent, one.fence, one.point)
        lives = keeping.lifetime(self._store, one.point)
        request = keeping.request(shared.system, tools, line.messages, lives)
        prices = known(self._store, one.model)
        purse = AccountPurse(member, account=one.account, model=prices)
        prefix = conversation.prefix_hash(one.model, shared.system, tools, line.messages)
        most = Ceiling(self._store, line, one.model, prefix).of(request)
        with suppress(OutOfBudget):
            purse.reserve(most, 1, lives)
            try:
                answer = self._answer(shared, one.model, request)
            except BaseException:
                purse.hand_back()
                raise
            ledger = Ledger(line, one.model, agent=member.me.agent)
            # Where it was not in the cache any more, this has cost as much as many requests that find it there.
            made = one.made + economics.reads(prices, prefix=one.prefix_tokens, usage=answer.usage)
            with self._store.transaction(None) as tx:
                purse.settle(tx, answer.usage)
                ledger.write(tx, None, answer, prices, prefix=prefix, keeps=one.point)
                fork_point.used(tx, one.point, started_at=answer.started_at, kept_calls=made)
                usd = None if prices is None else prices.cost_usd(answer.usage)
                tx.event(
                    "cache.kept", object=str(one.point), task=one.parent, reason=one.keeping.why, usd=usd,
                    children=one.children, calls=made, prefix_tokens=one.prefix_tokens,
                    cache_read=answer.usage.cache_read,
                )  # fmt: skip

    def _answer(self, shared: Shared, model: str, request: Request) -> Answer:
        from prong.agents.model import Listener  # noqa: PLC0415  as above

        def waits(problem: str, _seconds: float) -> None:
            raise NotNow(problem)

        return shared.model_named(model).ask(request, Listener(began=lambda _: None, waits=waits))


@contextmanager
def keeping_caches(swarm: Swarm, settings: Mapping[str, Any]) -> Iterator[None]:
    """Keep the swarm's fork points within this block, in a thread of its own."""
    over = threading.Event()
    # An endpoint that takes a request and says nothing must not keep a run from its end.
    thread = threading.Thread(target=_keep, args=(swarm, settings, over), name="cache keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LINGERS_S)


def _keep(swarm: Swarm, settings: Mapping[str, Any], over: threading.Event) -> None:
    def share() -> Common:
        from prong.harness.agent import shared  # noqa: PLC0415  it costs a second, and few runs last so long

        return shared.share(settings), shared.TOOLS

    with closing(swarm.store()) as store:
        keeper = Keeper(store, share)
        while not over.wait(LOOK_S):
            with suppress(ProngError):  # the store is busy, or gone: there is nothing to keep then
                keeper.look()
