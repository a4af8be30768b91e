"""How a queue is set up: whoever says something of it says it for all, and it stays so until somebody says otherwise.

MessageQueue(member, "jobs", 5)      five at most, from its first use on
MessageQueue(member, "jobs")         the same queue, as it is
MessageQueue(member, "jobs", 9)      nine at most
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from prong.primitives import delivery, queue_count
from prong.primitives.values import checked_lease, checked_number
from prong.state import Invalid, Row, Store, Transaction

Discipline = Literal["fifo", "lifo", "priority"]

_CHANGE = """
update queue set discipline = :discipline, attempts = :attempts, lease_s = :lease_s, maxsize = :maxsize,
       length = (select count(*) from queue_message where queue = :name and holder is null and dead_at is null)
 where name = :name returning *
"""


_STATISTICS = """
select queued, entry, entered_at, unsure,
       (select count(*) from queue_message where queue = :queue and holder is not null) as delivered,
       (select count(*) from waiter where kind = 'queue' and object = :queue and state = 'waiting') as waiting,
       (select count(*) from queue_message where queue = :queue and dead_at is not null) as dead,
       (select count(*) from waiter where kind = 'room' and object = :queue and state = 'waiting') as waiting_to_put,
       discipline, maxsize, closed is not null as closed
  from {count} left join queue on name = :queue
"""

_LENGTH = """
select queued, entry, entered_at, unsure, iif(maxsize > 0, length, queued) as length
  from {count} left join queue on name = :queue
"""


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How many messages are queued, with a reader or dead, and how many readers and writers wait."""

    name: str
    queued: int
    delivered: int
    waiting: int
    dead: int = 0
    waiting_to_put: int = 0
    discipline: str = "fifo"
    maxsize: int = 0
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What somebody said of a queue; None where nothing was said."""

    maxsize: int | None = None
    discipline: Discipline | None = None
    attempts: int | None = None
    lease_s: float | None = None

    @classmethod
    def checked(cls, maxsize: int, discipline: Any, attempts: Any, lease_s: Any) -> Settings:
        """What the constructor of a queue was given; a `maxsize` of 0 says nothing, one below it that there is none."""
        bound = checked_number("maxsize", maxsize)
        if discipline is not None and discipline not in get_args(Discipline):
            raise Invalid(f"discipline={discipline!r}", "'fifo', 'lifo' or 'priority'")
        return cls(
            max(bound, 0) if bound else None,
            discipline,
            None if attempts is None else checked_number("attempts", attempts, least=1),
            None if lease_s is None else checked_lease(lease_s),
        )


def settle(tx: Transaction, name: str, given: Settings) -> Row:
    """The queue's row, made or changed as was said.

    Raises `Invalid` where another discipline is asked for than the one that its messages were put under.
    """
    row = tx.row("select * from queue where name = :name", name=name)
    if row is None:
        row = tx.row(
            "insert into queue (name, discipline, maxsize, attempts, lease_s)"
            " values (:name, 'fifo', 0, :attempts, :lease_s) returning *",
            name=name, attempts=delivery.ATTEMPTS, lease_s=delivery.LEASE_S,
        )  # fmt: skip
        assert row is not None
    said = {setting: value for setting, value in asdict(given).items() if value not in (None, row[setting])}
    return _changed(tx, row, said) if said else row


def _changed(tx: Transaction, row: Row, said: dict[str, Any]) -> Row:
    name = row["name"]
    if "discipline" in said and not delivery.all_done(tx, name):
        raise Invalid(
            f"discipline={said['discipline']!r} for queue {name!r}",
            f"{row['discipline']!r}, because it holds messages that were put so: empty it first or use another name",
        )
    now = {setting: row[setting] for setting in ("discipline", "attempts", "lease_s", "maxsize")} | said
    changed = tx.row(_CHANGE, name=name, **now)
    assert changed is not None
    tx.event("queue.settled", object=name, **said)
    delivery.admit(tx, name)
    return changed


def length(store: Store, name: str) -> int:
    """How many messages are queued; where there is a bound, as many as count for it."""
    found: int = queue_count.read(store, name, _LENGTH)["length"]
    return found


def statistics(store: Store, name: str) -> QueueStatistics:
    """What is so now, read in one query."""
    row = queue_count.read(store, name, _STATISTICS)
    found = {column: row[column] for column in ("queued", "delivered", "waiting", "dead", "waiting_to_put")}
    if row["discipline"] is None:
        return QueueStatistics(name, **found)
    return QueueStatistics(
        name, **found, discipline=row["discipline"], maxsize=row["maxsize"], closed=bool(row["closed"])
    )
