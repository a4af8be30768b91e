"""Changes that bear a name, so that a call repeated after a crash finds what it did and does nothing again.

The name and the result are written in the change's own transaction, and stay when what was changed is long gone.
"""

from __future__ import annotations

from typing import Any, TypeVar

from prong.primitives.values import checked_name, decoded, encoded
from prong.state import Transaction

_T = TypeVar("_T")


def returned(tx: Transaction, what: str, once: str | None) -> Any:
    """What the change named `once` to the object `what` returned, or None where it was not made yet."""
    if once is None:
        return None
    row = tx.row("select result from once where key = :key", key=_key(what, once))
    return decoded(row["result"]) if row is not None else None


def remember(tx: Transaction, what: str, once: str | None, result: _T) -> _T:
    """Write down what the change returns, and return it."""
    if once is not None:
        tx.execute(
            "insert into once (key, result) values (:key, :result) on conflict (key) do nothing",
            key=_key(what, once),
            result=encoded("result", result),
        )
    return result


def forget(tx: Transaction, what: str, once: str | None) -> None:
    """The change was undone: its name is free again."""
    if once is not None:
        tx.execute("delete from once where key = :key", key=_key(what, once))


def _key(what: str, once: str) -> str:
    # No name holds a NUL, so no two objects and changes make one key.
    return f"{what}\0{checked_name('name of a change', once)}"
