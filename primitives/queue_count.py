"""How many messages are queued, without counting them again each time.

    counted once: n at the log's entry s --what the log tells of the queue since then--> n' at the log's entry s'

A counter in the queue's row would make each put and each get a quarter dearer, and counting a hundred thousand takes
milliseconds.  But the log tells of every message that comes or goes, in order, so that a process that has counted once
reads only what was logged since.
"""

from __future__ import annotations

import functools
import weakref
from typing import NamedTuple

from prong.state import Row, Store

READ_AT_ONCE = 5_000
"""After how many entries of the log, whatever they are about, the messages are counted anew."""

_COUNTED = """
(select (select count(*) from queue_message where queue = :queue and holder is null and dead_at is null) as queued,
        seq as entry, at as entered_at, 0 as unsure
   from (select 1) left join (select seq, at from event order by seq desc limit 1))
"""

# A dead letter was queued before, or with a reader: what the log tells of it is not enough.  And where the entry is not
# the one that was seen, because that was undone, all that was told since is worth nothing.
_SINCE = f"""
(select :queued + coalesce(sum(case when kind in ('queue.put', 'queue.requeued', 'queue.revived') then 1
                                    when kind in ('queue.delivered', 'queue.withdrawn') then -1
                                    else 0 end), 0) as queued,
        last.seq as entry, last.at as entered_at,
        coalesce(max(kind in ('queue.dead', 'queue.shut_down')), 0)
            or last.seq is null or last.seq > :entry + {READ_AT_ONCE}
            or (select at from event where seq = :entry) is not :entered_at as unsure
   from (select seq, at from event order by seq desc limit 1) as last
   left join event on event.seq > :entry and object = :queue and last.seq <= :entry + {READ_AT_ONCE})
"""  # noqa: S608  put together from constants of this file


class _Known(NamedTuple):
    """How many were queued as the log's last entry was this one, of that time."""

    queued: int
    entry: int | None
    entered_at: float | None


def read(store: Store, name: str, select: str) -> Row:
    """The row of a query for `:queue` from `{count}`, whose column `queued` tells how many are queued at that moment.

    `select` names the columns `queued`, `entry`, `entered_at` and `unsure`, besides its own.
    """
    known = _known(store).get(name)
    row = None
    if known is not None and known.entry is not None:
        row = store.row(select.replace("{count}", _SINCE), queue=name, **known._asdict())
    if row is None or row["unsure"]:
        row = store.row(select.replace("{count}", _COUNTED), queue=name)
        assert row is not None, "it tells of what is absent, too"
    if not store.inside_atomic:  # which may be undone
        _known(store)[name] = _Known(row["queued"], row["entry"], row["entered_at"])
    return row


def _known(store: Store) -> dict[str, _Known]:
    """What this process knows of the queues of a store."""
    return _stores().setdefault(store, {})


@functools.cache
def _stores() -> weakref.WeakKeyDictionary[Store, dict[str, _Known]]:
    return weakref.WeakKeyDictionary()
