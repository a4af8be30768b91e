"""One round of the watch: what nobody is told of, and somebody has to look for.

Whoever sleeps longest in a swarm does it for all, twice a second (state/watch.py tells why): members whose process is
gone, leases that ran out, rings that were lost, circles of waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from prong.primitives import holdings, wait_graph
from prong.primitives.presence import Processes
from prong.state import Store, process
from prong.state.ticket import Ticket
from prong.state.transaction import inside


def bury_gone(store: Store, agents: Iterable[int]) -> bool:
    """Bury those of the agents whose process is gone, for a call that has no time to wait; whether there was one."""
    rows = store.rows(
        "select id, process from agent where ended_at is null and process is not null"
        " and id in (select value from json_each(:agents))",
        agents=json.dumps(list(agents)),
    )
    gone = [row["id"] for row in rows if process.gone(row["process"])]
    for agent in gone:
        with store.transaction(None) as tx:
            holdings.bury(tx, agent, state="dead", reason="its process is gone", task=None)
    return bool(gone)


def glance(store: Store) -> bool:
    """Look once for a call that found nothing and does not wait, unless somebody has looked lately; whether it did.

    Inside a transaction nobody looks.
    """
    if inside(store.path) or not store.watch.begin():
        return False
    try:
        due = store.watch.is_due()
        if due:
            store.watch.stamp(0)
            Round(store)()
    finally:
        store.watch.end()
    return due


class Round:
    """What one keeper of the watch does again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._processes: Processes | None = None  # most waits are over before the first look
        self._reaped_to = 0
        self._search = wait_graph.Search()

    def __call__(self) -> None:
        """Look once."""
        store = self._store
        if self._processes is None:
            self._processes = Processes()
        self._reaped_to = holdings.reap(store, self._processes, self._reaped_to)
        with store.transaction(None) as tx:
            holdings.look_after_sleepers(tx)
            holdings.expire(tx)
        for row in store.rows(
            "select id, kind, object from waiter where state <> 'waiting' or until_at <= :now", now=store.clock.now()
        ):
            store.bells.ring(Ticket(*row).slot)
        self._search.look(store)
