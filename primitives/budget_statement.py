"""What people are shown of budgets: every account, with its figures in tokens and in dollars."""

from __future__ import annotations

from dataclasses import dataclass

from prong.primitives.budget_sums import NANO, Source, Sums, account_of_row

_STATEMENT = """
with recursive tree (number, path) as (
    select task, printf('%012d', task) from account where lender is null
     union all
    select task, path || printf('/%012d', task) from account join tree on lender = number
) select account.* from tree join account on task = number order by path
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One unit of an account, for people: tokens, or dollars; `bound` and `open` are None where it has no bound.

    What is settled is spent by the account's own task and by all below it.
    """

    bound: float | None
    settled: float
    reserved: float
    lent: float
    open: float | None


@dataclass(frozen=True, slots=True)
class Statement:
    """An account as it is at one moment; `account` is its task's number, 0 for the swarm's."""

    account: int
    lender: int | None
    tokens: Figures
    usd: Figures
    warned: bool
    closed: bool


def statement(source: Source) -> tuple[Statement, ...]:
    """Every account, each before those that were cut out of it.

    >>> from prong.primitives import budget
    >>> with swarm.transaction() as tx:
    ...     budget.open_account(tx, 0, lender=None, budget=budget.Budget(usd=5))
    >>> [(one.account, one.usd.bound, one.usd.open, one.tokens.bound) for one in statement(swarm.store)]
    [(0, 5.0, 5.0, None)]
    """
    accounts = [(row["lender"], account_of_row(row)) for row in source.rows(_STATEMENT)]
    return tuple(
        Statement(
            account.task,
            lender,
            figures(account.tokens, 1),
            figures(account.nanousd, NANO),
            warned=account.warned_at is not None,
            closed=account.closed_at is not None,
        )
        for lender, account in accounts
    )


def figures(sums: Sums, of_one: int) -> Figures:
    """Sums in another unit, of which one is so many; in the same unit they stay whole numbers."""

    def shown(number: int) -> float:
        return number if of_one == 1 else number / of_one

    bound, open_ = sums.bound, sums.open
    return Figures(
        None if bound is None else shown(bound), shown(sums.settled), shown(sums.reserved), shown(sums.lent),
        None if open_ is None else shown(open_),
    )  # fmt: skip
