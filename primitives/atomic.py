"""One value that many change at once, each change a single step.

    absent (reads as `initial`) --any change--> version 1 --any change--> version 2 ...

Whole numbers are exact at any size and fractions are Python's own, because Python computes them; nobody comes between,
because it does so inside the transaction, which is the only one of its moment.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prong.primitives import artifacts
from prong.primitives import once as changes
from prong.primitives.values import checked_name, encoded
from prong.state import Invalid, Membership, Transaction

_MAKE = """
insert into atomic (name, value, version, updated_by, updated_at) values (:name, :value, 1, :agent, :now)
"""

_WRITE = """
update atomic set value = :value, version = version + 1, updated_by = :agent, updated_at = :now where name = :name
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What an operation found (`old`) and left behind (`new`), and the version of that; true where it wrote.

    `compare_and_set`, `min` and `max` write only on their condition; where they did not, `new` is `old`.
    """

    old: Any
    new: Any
    version: int
    changed: bool

    def __bool__(self) -> bool:
        return self.changed


@dataclass(frozen=True, slots=True)
class AtomicStatistics:
    """How often the value was written, and by whom and when the last time (None: never)."""

    name: str
    version: int
    updated_by: str | None
    updated_at: float | None


class Atomic:
    """A value by name: a number, or for `exchange` and `compare_and_set` anything that JSON holds.

    `initial` is what it reads as until it is written for the first time; afterwards it means nothing.

    >>> tokens = swarm.Atomic("tokens", 100)
    >>> tokens.add(-30)
    Change(old=100, new=70, version=1, changed=True)
    >>> tokens.get()
    70
    """

    def __init__(self, member: Membership, name: str, initial: Any = 0) -> None:
        self.name = checked_name("atomic name", name)
        self._initial = encoded(f"initial value of atomic {name!r}", initial)
        self._member = member

    def __repr__(self) -> str:
        value = "unknown"
        with suppress(Exception):  # what cannot be read must not keep anybody from being told which value it is
            value = reprlib.repr(self.get())
        return f"<prong.Atomic at {self.name!r}: {value}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Atomic):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def get(self) -> Any:
        """The value.

        >>> swarm.Atomic("tokens").get()
        0
        """
        row = self._member.store.row("select value from atomic where name = :name", name=self.name)
        return artifacts.loaded(self._member, self._initial if row is None else row["value"])

    def add(self, n: float = 1, *, once: str | None = None) -> Change:
        """Add to a number.  Raises `Invalid` where either is none, or the sum is too large for a float.

        `once` names the change: the same one a second time returns what it returned the first time, and changes
        nothing.

        >>> swarm.Atomic("tokens").add(2**70).new == 2**70
        True
        >>> swarm.Atomic("seconds").add(0.5, once="call 7") == swarm.Atomic("seconds").add(0.5, once="call 7")
        True
        """
        n = _checked("to add", n)
        return self._change("add", lambda old: self._written(self._sum(old, n)), once)

    def min(self, n: float, *, once: str | None = None) -> Change:
        """Lower a number to `n` where it is higher.  `Invalid` and `once` as for `add`.

        >>> best = swarm.Atomic("best", 7)
        >>> best.min(5).new, best.min(9).new
        (5, 5)
        """
        n = _checked("to compare with", n)
        return self._change("min", lambda old: self._written(n) if n < self._number(old) else None, once)

    def max(self, n: float, *, once: str | None = None) -> Change:
        """Raise a number to `n` where it is lower.  `Invalid` and `once` as for `add`.

        >>> best = swarm.Atomic("best", 7)
        >>> best.max(5).new, best.max(9).new
        (7, 9)
        """
        n = _checked("to compare with", n)
        return self._change("max", lambda old: self._written(n) if n > self._number(old) else None, once)

    def exchange(self, new: Any, *, once: str | None = None) -> Change:
        """Write `new`, whatever was there.  `once` as for `add`.

        >>> swarm.Atomic("leader", None).exchange("ada")
        Change(old=None, new='ada', version=1, changed=True)
        """
        written = self._written(new)
        return self._change("exchange", lambda _: written, once)

    def compare_and_set(self, expected: Any, new: Any, *, once: str | None = None) -> Change:
        """Write `new` if the value equals `expected`, as Python compares them.  `once` as for `add`.

        >>> leader = swarm.Atomic("leader", None)
        >>> if leader.compare_and_set(None, "ada"):
        ...     "elected"
        'elected'
        >>> leader.compare_and_set(None, "bob")
        Change(old='ada', new='ada', version=1, changed=False)
        """
        written = self._written(new)
        # As it would read back: a tuple as a list, a key as a string.
        expected = artifacts.loaded(self._member, self._written(expected))
        return self._change(
            "compare_and_set",
            lambda old: written if artifacts.loaded(self._member, old) == expected else None,
            once,
        )

    def statistics(self) -> AtomicStatistics:
        """What is so now, read in one query.

        >>> tokens = swarm.Atomic("tokens")
        >>> _ = tokens.add(), tokens.add()
        >>> tokens.statistics().version
        2
        """
        row = self._member.store.row(
            "select version, agent.name as who, updated_at from atomic left join agent on agent.id = updated_by"
            " where atomic.name = :name",
            name=self.name,
        )
        if row is None:
            return AtomicStatistics(self.name, 0, None, None)
        return AtomicStatistics(self.name, row["version"], row["who"], row["updated_at"])

    @property
    def _identity(self) -> tuple[str, str]:
        return str(self._member.store.path), self.name

    def _change(self, op: str, decide: Callable[[str], str | None], once: str | None) -> Change:
        """Let `decide` say, from the text that is there, which text to write, or None to leave it."""
        with self._member.transaction() as tx:
            done = None if once is None else changes.returned(tx, f"atomic {self.name}", once)
            if done is None:
                done = self._step(tx, op, decide)
                if once is not None:
                    changes.remember(tx, f"atomic {self.name}", once, done)
        old_text, new_text, version, changed = done
        old = artifacts.loaded(self._member, old_text)
        return Change(old, artifacts.loaded(self._member, new_text) if changed else old, version, changed)

    def _step(self, tx: Transaction, op: str, decide: Callable[[str], str | None]) -> tuple[str, str, int, bool]:
        # Reading and then writing takes half as long as one statement that returns what it wrote.
        row = tx.row("select value, version from atomic where name = :name", name=self.name)
        old, version = (self._initial, 0) if row is None else row
        new = decide(old)
        if new is None:
            return old, old, version, False
        tx.execute(_MAKE if row is None else _WRITE, name=self.name, value=new, agent=self._member.me.agent, now=tx.now)
        version += 1
        tx.logged("atomic.changed", self.name, f'{{"op":"{op}","version":{version},{artifacts.told(new)}}}')
        return old, new, version, True

    def _written(self, value: Any) -> str:
        return artifacts.stored(self._member, f"value of atomic {self.name!r}", value)

    def _number(self, text: str) -> float:
        value = artifacts.loaded(self._member, text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Invalid(
                f"atomic {self.name!r} holds {type(value).__name__}", "a number, or exchange it for one first"
            )
        return value

    def _sum(self, text: str, n: float) -> float:
        try:
            return self._number(text) + n
        except OverflowError as error:
            raise Invalid(f"the sum at atomic {self.name!r} is no number ({error})", "a smaller number") from error


def _checked(what: str, n: object) -> float:
    """The number, if it is one: finite, and no truth value."""
    if isinstance(n, bool) or not isinstance(n, int | float) or (isinstance(n, float) and not math.isfinite(n)):
        raise Invalid(f"{type(n).__name__} {what} an atomic value", "a finite number")
    return n
