"""The sums of accounts, and how a change of one is carried up to those above it.

    swarm  bound 100 = settled 30 + lent 50 + reserved 8 + open 12
      |
      +-- task 1  bound 60 = settled 10 + reserved 20 + open 30        of its 60 it may still take 50
      +-- task 2  no bound: settled 20 + reserved 8                    it takes what is open above

What an account claims of the one above it: with a bound, all that it may still take; without one, what it takes just
now.  What is settled counts in every account above.  So no account need know more than itself and its lender.

Money is counted in whole billionths of a dollar: sums of fractions drift, and a bound would be passed by a hair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal, Protocol

from prong.primitives.errors import OutOfBudget
from prong.state import Row, Transaction

NANO = 1_000_000_000

WARNED_PERCENT = 80
"""How much of what an account does not lend is spent when its agents are told."""

Unit = Literal["tokens", "nanousd"]
UNITS: tuple[Unit, ...] = ("tokens", "nanousd")

_CHAIN = """
with recursive chain (place, number) as (
    select 0, :account union all select place + 1, lender from chain join account on task = number
     where lender is not null
) select account.* from chain join account on task = number order by place
"""

_WRITE = """
update account set tokens = :tokens, nanousd = :nanousd, settled_tokens = :settled_tokens,
       settled_nanousd = :settled_nanousd, reserved_tokens = :reserved_tokens, reserved_nanousd = :reserved_nanousd,
       lent_tokens = :lent_tokens, lent_nanousd = :lent_nanousd, warned_at = :warned_at, closed_at = :closed_at
 where task = :task
"""


class Source(Protocol):
    """A transaction, or a store to read from."""

    def rows(self, sql: str, /, **values: object) -> list[Row]:
        """All rows of a query."""
        ...


@dataclass(slots=True)
class Sums:
    """One unit of one account."""

    bound: int | None
    settled: int
    reserved: int
    lent: int
    closed: bool

    @property
    def open(self) -> int | None:
        """What new calls and tasks may take; None where this account has no bound."""
        if self.bound is None:
            return None
        return 0 if self.closed else self.bound - self.settled - self.reserved - self.lent

    @property
    def claim(self) -> tuple[int, int]:
        """What counts as reserved and as lent in the account above."""
        if self.bound is None:
            return self.reserved, self.lent
        taken = self.reserved + self.lent
        return 0, taken if self.closed else max(self.bound - self.settled, taken)

    @property
    def nearly_spent(self) -> bool:
        """Whether it is time to tell."""
        if self.bound is None or self.closed or not self.settled:
            return False
        return self.settled * 100 >= (self.bound - self.lent) * WARNED_PERCENT

    def is_overdrawn_since(self, was: Sums) -> bool:
        """Whether more was taken since then than there was."""
        if self.bound is None:
            return False
        if self.closed:
            return self.reserved + self.lent > was.reserved + was.lent
        open_ = self.bound - self.settled - self.reserved - self.lent
        return open_ < 0 and (was.open is None or open_ < was.open)

    def add(self, *, reserved: int = 0, lent: int = 0, settled: int = 0) -> None:
        """Count more, or less."""
        self.reserved += reserved
        self.lent += lent
        self.settled += settled


def apply(line: Sequence[Sums], change: Callable[[Sums], None]) -> None:
    """Change the first of a line of sums, each the lender of the one before it, and carry it up."""
    sums, *above = line
    (reserved, lent), settled = sums.claim, sums.settled
    change(sums)
    more_reserved, more_lent = sums.claim[0] - reserved, sums.claim[1] - lent
    more_settled = sums.settled - settled
    if above and (more_reserved or more_lent or more_settled):
        apply(above, lambda upper: upper.add(reserved=more_reserved, lent=more_lent, settled=more_settled))


@dataclass(slots=True)
class Account:
    """One row, as it is being changed."""

    task: int
    tokens: Sums
    nanousd: Sums
    warned_at: float | None
    closed_at: float | None

    def sums(self, unit: Unit) -> Sums:
        """Its sums in one unit."""
        return self.tokens if unit == "tokens" else self.nanousd


class Chain:
    """An account and those above it, read to be changed and written back."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        self.accounts = accounts
        self._before = [(copy(account.tokens), copy(account.nanousd)) for account in accounts]

    @classmethod
    def read(cls, source: Source, account: int) -> Chain:
        """The chain of an account; empty where there is none of this number."""
        return cls([account_of_row(row) for row in source.rows(_CHAIN, account=account)])

    def change(self, unit: Unit, change: Callable[[Sums], None]) -> None:
        """Change the account itself, whatever becomes of the bounds."""
        apply([account.sums(unit) for account in self.accounts], change)

    def take(self, unit: Unit, change: Callable[[Sums], None], *, asked: int) -> None:
        """Change the account itself; raises `OutOfBudget` where a bound would be passed.  Nothing is written then."""
        before = [copy(account.sums(unit)) for account in self.accounts]
        self.change(unit, change)
        for account, was in zip(self.accounts, before, strict=True):
            if account.sums(unit).is_overdrawn_since(was):
                raise refusal(account.task, unit, was, asked=asked)

    def deciding(self, unit: Unit) -> Account | None:
        """The account whose bound decides what the first may take; None where there is no bound in this unit."""
        return next((account for account in self.accounts if account.sums(unit).bound is not None), None)

    def freed(self) -> list[int]:
        """Those in which more is open than before."""
        return [
            account.task
            for account, before in zip(self.accounts, self._before, strict=True)
            if any((account.sums(unit).open or 0) > (was.open or 0) for unit, was in zip(UNITS, before, strict=True))
        ]

    def write(self, tx: Transaction) -> None:
        """Store what has changed."""
        for account, before in zip(self.accounts, self._before, strict=True):
            if (account.tokens, account.nanousd) != before or account is self.accounts[0]:
                tx.execute(_WRITE, **_columns(account))


def refusal(account: int, unit: Unit, sums: Sums, *, asked: int) -> OutOfBudget:
    """What is said where so much is not open."""
    figures = {"asked": asked, "open": sums.open or 0, "bound": sums.bound or 0, "settled": sums.settled,
               "reserved": sums.reserved, "lent": sums.lent}  # fmt: skip
    if unit == "tokens":
        return OutOfBudget("account", account, "tokens", **figures, closed=sums.closed)
    dollars = {name: figure / NANO for name, figure in figures.items()}
    return OutOfBudget("account", account, "usd", **dollars, closed=sums.closed)


def in_nanousd(usd: float) -> int:
    """Dollars in billionths, rounded up; what a float adds or lacks in the last digits is no billionth."""
    return math.ceil(round(usd * NANO, 2))


def account_of_row(row: Row) -> Account:
    """The account that a row of the table tells of."""
    closed = row["closed_at"] is not None
    tokens, nanousd = (
        Sums(row[unit], row[f"settled_{unit}"], row[f"reserved_{unit}"], row[f"lent_{unit}"], closed) for unit in UNITS
    )
    return Account(row["task"], tokens, nanousd, row["warned_at"], row["closed_at"])


def _columns(account: Account) -> dict[str, object]:
    columns: dict[str, object] = {
        "task": account.task, "warned_at": account.warned_at, "closed_at": account.closed_at
    }  # fmt: skip
    for unit in UNITS:
        sums = account.sums(unit)
        columns |= {unit: sums.bound, f"settled_{unit}": sums.settled, f"reserved_{unit}": sums.reserved,
                    f"lent_{unit}": sums.lent}  # fmt: skip
    return columns
