"""What a person changes of what agents share: a lock taken back, a key written, a dead letter sent out again.

Each is one transaction, with an event `command.…` that says who did it, as all in `control` are.
"""

from __future__ import annotations

from typing import Any

from prong.harness.control import who
from prong.harness.swarms import Swarm
from prong.primitives import join, lock_line
from prong.state import Invalid


def release(swarm: Swarm, lock: str, *, fence: int | None = None) -> int:
    """Take a lock back from whoever holds it, so that the next in line gets it; returns the fence that ended.

    With `fence` only the grant of that fence.  Its holder is not stopped, but what it writes under it is refused.
    Raises `Invalid` where nobody holds the lock, several share it and no fence is named, or another grant holds it.
    """
    with swarm.store().transaction(None) as tx:
        rows = tx.rows(
            "select holder, task, fence from lock where name = :name and holder is not null"
            " union all select holder, task, fence from lock_share where lock = :name and holder is not null",
            name=lock,
        )
        if not rows:
            raise Invalid(f"releasing lock {lock!r}, which no agent holds", "a lock that is held: see prong locks")
        if fence is None and len(rows) > 1:
            fences = ", ".join(str(row["fence"]) for row in rows)
            raise Invalid(f"releasing lock {lock!r}, which {len(rows)} share", f"one of their fences: {fences}")
        found = next((row for row in rows if fence in (None, row["fence"])), None)
        if found is None:
            raise Invalid(f"fence {fence} of lock {lock!r}", f"its fence now: {rows[0]['fence']}")
        tx.event("command.release", object=lock, task=found["task"], fence=found["fence"], **who())
        lock_line.give_back(tx, lock, found["holder"], found["fence"], reason="released by command")
    return int(found["fence"])


def put(swarm: Swarm, name: str, key: str, value: Any, *, if_version: int) -> int:
    """Write a key of a map over that version only (0: it was never written); returns the new version.

    Raises `VersionConflict` where another version is there, and as `SharedMap.put`.
    """
    with join(swarm.directory, _name()) as shared, shared.atomic() as tx:
        version = shared.SharedMap(name).put(key, value, if_version=if_version)
        tx.event("command.put", object=name, key=key, version=version, **who())
    return version


def requeue(swarm: Swarm, queue: str, message: int) -> None:
    """Put a dead letter back into its queue; raises `Invalid` where that message is none."""
    with join(swarm.directory, _name()) as shared, shared.atomic() as tx:
        if not shared.MessageQueue(queue).revive(message):
            raise Invalid(f"message {message} of queue {queue!r}", "a dead letter: see prong show")
        tx.event("command.requeue", object=queue, message=message, **who())


def _name() -> str:
    """A person takes part under the name of the account, as others read it where they ask who wrote a key."""
    return str(who()["user"])
