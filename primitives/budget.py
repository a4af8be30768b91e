"""Budgets: bounds in tokens and in money, and nobody who spends past them.

    reserve --the call is answered--> settle       what it really cost
       +------the call has died-----> hand back    and so it is when its agent dies

    open account --its last spender has ended--> closed, and what is left flows back --retried--> open

Before a call the most that it can cost is reserved, so the sum of what is settled never passes the bound, however many
processes call at once.  A task's own budget is cut out of that of whoever created the task, and so on up to the
swarm's, account 0.  Where an account has no bound in a unit, the next one above that has one decides.

What a call costs in tokens is all that its usage names: input, cache reads, cache writes and output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prong.primitives.budget_statement import Figures, Statement, figures, statement
from prong.primitives.budget_sums import (
    NANO,
    UNITS,
    WARNED_PERCENT,
    Account,
    Chain,
    Source,
    Sums,
    Unit,
    in_nanousd,
    refusal,
)
from prong.primitives.errors import OutOfBudget
from prong.primitives.values import checked_number
from prong.state import Invalid, Row, Transaction, waiter

__all__ = [
    "LARGEST_TOKENS", "LARGEST_USD", "SWARM", "WARNED_PERCENT", "Budget", "Figures", "OutOfBudget", "Room", "Statement",
    "account_of", "below", "checked", "close_account", "free_held_by", "hand_back", "open_account", "raise_bound",
    "reopen_account", "reserve", "rooms", "settle", "statement",
]  # fmt: skip

SWARM = 0
"""The number of the swarm's own account."""

LARGEST_TOKENS = 10**15
LARGEST_USD = 1_000_000.0
"""The largest bounds that can be set."""

_IN_USE = """
select exists (select 1 from task where account = :account and account > 0
                  and state not in ('done', 'failed', 'cancelled'))
    or exists (select 1 from account where lender = :account and closed_at is null)
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds on what may be spent, in tokens and in dollars; None: no bound in that unit."""

    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What is left in the account that decides over a unit: whole tokens, or billionths of a dollar.

    `reserved` comes back as far as the calls under way cost less; `warned` says that most of it is spent.
    """

    account: int
    unit: Unit
    bound: int
    settled: int
    reserved: int
    open: int
    warned: bool


def checked(budget: Budget) -> Budget:
    """The budget, if it is one: at least one bound, each more than nothing; raises `Invalid`."""
    if budget.tokens is None and budget.usd is None:
        raise Invalid("a budget without any bound", "tokens, usd, or both")
    if budget.tokens is not None:
        checked_number("a budget in tokens of", budget.tokens, least=1, most=LARGEST_TOKENS)
    number = isinstance(budget.usd, int | float) and not isinstance(budget.usd, bool)
    if budget.usd is not None and not (number and 1 / NANO <= budget.usd <= LARGEST_USD):
        raise Invalid(f"a budget of {budget.usd!r} dollars", f"more than 0 and at most {LARGEST_USD:,.0f}")
    return budget


def account_of(tx: Transaction, parent_task: int | None) -> int | None:
    """The account that a new task of this parent spends from: its parent's, else the swarm's, else none."""
    if parent_task is not None:
        row = tx.row("select account from task where id = :task", task=parent_task)
        if row is not None and row["account"] is not None:
            account: int = row["account"]
            return account
    return SWARM if tx.row("select 1 from account where task = 0") else None


def open_account(tx: Transaction, task: int, *, lender: int | None, budget: Budget) -> None:
    """Give a task an account of its own, cut out of its lender's bound; `SWARM` with no lender is the swarm's.

    The swarm's may be without a bound: it tells what all spend, and can be bounded later.

    In a unit in which nobody above has a bound, it only caps what the task spends.  Raises `OutOfBudget` where the
    lender has not so much left, and `Invalid` where the task has an account already.

    >>> with swarm.transaction() as tx:
    ...     open_account(tx, SWARM, lender=None, budget=Budget(tokens=100_000))
    ...     open_account(tx, 1, lender=SWARM, budget=Budget(tokens=30_000))
    >>> [(one.account, one.tokens.lent, one.tokens.open) for one in statement(swarm.store)]
    [(0, 30000, 70000), (1, 0, 30000)]
    """
    if task != SWARM:
        checked(budget)
    if Chain.read(tx, task).accounts:
        raise Invalid(f"a second budget for {_whose(task)}", "another bound for the one that it has")
    if lender is not None:
        _read(tx, lender)
    tx.execute("insert into account (task, lender) values (:task, :lender)", task=task, lender=lender)
    try:
        _set_bounds(tx, task, budget)
    except OutOfBudget:
        tx.execute("delete from account where task = :task", task=task)
        raise
    tx.event("budget.opened", object=str(task), task=task or None, tokens=budget.tokens, usd=budget.usd, lender=lender)


def close_account(tx: Transaction, account: int) -> tuple[int, ...]:
    """Let what is left flow back once nobody spends from the account any more; the accounts in which more is open then.

    To be called whenever a task that spends from it has ended.  Where others still do, or have a budget that was cut
    out of it, it stays open until the last of them has ended.  Calls under way settle as ever.
    """
    freed: tuple[int, ...] = ()
    number: int | None = account
    while number:
        chain = Chain.read(tx, number)
        if not chain.accounts or chain.accounts[0].closed_at is not None or tx.value(_IN_USE, account=number):
            break
        first = chain.accounts[0]
        first.closed_at = tx.now
        for unit in UNITS:
            chain.change(unit, _close)
        freed += tuple(_let_go_on(tx, chain))
        tokens, usd = figures(first.tokens, 1), figures(first.nanousd, NANO)
        tx.event("budget.closed", object=str(number), task=number, tokens=tokens.settled, usd=usd.settled)
        number = chain.accounts[1].task if len(chain.accounts) > 1 else None
    return freed


def reopen_account(tx: Transaction, task: int) -> None:
    """Take back for a task that is tried again what had flowed back, and the same for accounts above it.

    Raises `OutOfBudget` where that is not there any more.
    """
    for account in reversed(_read(tx, task).accounts):
        if account.closed_at is None:
            continue
        chain = _read(tx, account.task)
        chain.accounts[0].closed_at = None
        for unit in UNITS:
            sums = chain.accounts[0].sums(unit)
            left = max(0, (sums.bound or 0) - sums.settled - sums.reserved - sums.lent)
            chain.take(unit, _reopen, asked=left)
        chain.write(tx)
        tx.event("budget.reopened", object=str(account.task), task=account.task)


def reserve(tx: Transaction, account: int, *, agent: int, tokens: int, usd: float | None) -> int:
    """Set aside the most that a call can cost, and return the reservation's number; raises `OutOfBudget`.

    `usd` None: the model's price is unknown, and only its tokens count.
    """
    chain = _read(tx, account)
    nanousd = None if usd is None else in_nanousd(usd)
    if chain.accounts[0].closed_at is not None:
        raise refusal(account, "tokens", chain.accounts[0].tokens, asked=tokens)
    chain.take("tokens", lambda sums: sums.add(reserved=tokens), asked=tokens)
    if nanousd:
        chain.take("nanousd", lambda sums: sums.add(reserved=nanousd), asked=nanousd)
    chain.write(tx)
    number: int = tx.value(
        "insert into reservation (account, agent, tokens, nanousd, at)"
        " values (:account, :agent, :tokens, :nanousd, :now) returning id",
        account=account,
        agent=agent,
        tokens=tokens,
        nanousd=nanousd,
        now=tx.now,
    )
    return number


def settle(tx: Transaction, reservation: int, *, tokens: int, usd: float | None) -> None:
    """Replace what was reserved by what the call has cost, even where that is more; raises `Invalid` a second time."""
    row = _take_away(tx, reservation)
    nanousd = in_nanousd(usd or 0)
    if tokens > row["tokens"] or nanousd > (row["nanousd"] or nanousd):
        tx.event(
            "budget.overrun", object=str(row["account"]), tokens=tokens, reserved_tokens=row["tokens"], usd=usd,
            reserved_usd=None if row["nanousd"] is None else row["nanousd"] / NANO,
        )  # fmt: skip
    chain = _read(tx, row["account"])
    chain.change("tokens", lambda sums: sums.add(reserved=-row["tokens"], settled=tokens))
    chain.change("nanousd", lambda sums: sums.add(reserved=-(row["nanousd"] or 0), settled=nanousd))
    for account in chain.accounts:
        if account.warned_at is None and _nearly_spent(account):
            account.warned_at = tx.now
            tokens_, usd_ = figures(account.tokens, 1), figures(account.nanousd, NANO)
            tx.event(
                "budget.warned", object=str(account.task), task=account.task or None,
                tokens=tokens_.settled, of_tokens=tokens_.bound, usd=usd_.settled, of_usd=usd_.bound,
            )  # fmt: skip
    _let_go_on(tx, chain)


def hand_back(tx: Transaction, reservation: int) -> None:
    """Give back what was reserved for a call that has died; raises `Invalid` where that was done before."""
    _give_back(tx, _take_away(tx, reservation))


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Give back what an agent that is gone had reserved."""
    for row in tx.rows(
        "delete from reservation where agent = :agent returning account, tokens, nanousd", agent=agent
    ):  # fmt: skip
        _give_back(tx, row)
        usd = None if row["nanousd"] is None else row["nanousd"] / NANO
        tx.event(
            "budget.returned", object=str(row["account"]), holder=agent, tokens=row["tokens"], usd=usd, reason=reason
        )


def raise_bound(tx: Transaction, account: int, budget: Budget) -> None:
    """Set other bounds, higher or lower; None leaves that unit as it is.

    Raises `OutOfBudget` where the lender has not so much left, and `Invalid` where more is spent and promised already.
    """
    checked(budget)
    before = _read(tx, account).accounts[0]
    for unit, bound in _bounds(budget):
        sums = before.sums(unit)
        if bound is not None and bound < sums.settled + sums.reserved + sums.lent:
            raise Invalid(f"a bound of {_amount(unit, bound)} for {_whose(account)}", _at_least(unit, sums))
    _set_bounds(tx, account, budget)
    tokens, usd = figures(before.tokens, 1), figures(before.nanousd, NANO)
    tx.event(
        "budget.raised", object=str(account), task=account or None, tokens=budget.tokens, usd=budget.usd,
        tokens_before=tokens.bound, usd_before=usd.bound,
    )  # fmt: skip


def drop_bound(tx: Transaction, account: int, unit: Unit) -> None:
    """Let an account spend without a bound of its own in one unit; what is spent is counted as before.

    What a bound above it leaves open decides from then on, where there is one.
    """
    chain = _read(tx, account)
    first = chain.accounts[0]
    if first.sums(unit).bound is None:
        return
    chain.change(unit, _unbind)
    if not _nearly_spent(first):
        first.warned_at = None
    _let_go_on(tx, chain)
    waiter.grant_all(tx, "budget", str(account))
    tx.event("budget.unbound", object=str(account), task=account or None, unit="tokens" if unit == "tokens" else "usd")


def rooms(source: Source, account: int) -> list[Room]:
    """What is left for new calls, for each unit in which there is a bound.  A closed account has nothing left."""
    chain = Chain.read(source, account)
    found = []
    for unit in UNITS:
        decides = chain.deciding(unit)
        if decides is not None:
            sums = decides.sums(unit)
            assert sums.bound is not None
            assert sums.open is not None
            comes_back = 0 if sums.closed else sums.reserved
            found.append(Room(decides.task, unit, sums.bound, sums.settled, comes_back, sums.open, sums.nearly_spent))
    return found


def below(source: Source, account: int) -> list[int]:
    """The account and all that lie below it: a higher bound of it may let any of their tasks go on."""
    rows = source.rows(
        "with recursive tree (number) as (select :account union all"
        " select task from account join tree on lender = number) select number from tree",
        account=account,
    )
    return [row["number"] for row in rows]


def _read(tx: Transaction, account: int) -> Chain:
    chain = Chain.read(tx, account)
    if not chain.accounts:
        raise Invalid(f"{_whose(account)} has no budget of its own", "a task that was given one, or the swarm")
    return chain


def _take_away(tx: Transaction, reservation: int) -> Row:
    row = tx.row("delete from reservation where id = :id returning account, tokens, nanousd", id=reservation)
    if row is None:
        raise Invalid(f"reservation {reservation} is not open any more", "one that was neither settled nor given back")
    return row


def _give_back(tx: Transaction, row: Row) -> None:
    chain = _read(tx, row["account"])
    chain.change("tokens", lambda sums: sums.add(reserved=-row["tokens"]))
    chain.change("nanousd", lambda sums: sums.add(reserved=-(row["nanousd"] or 0)))
    _let_go_on(tx, chain)


def _let_go_on(tx: Transaction, chain: Chain) -> Sequence[int]:
    """Store a change, and have those look again who wait for more to be open."""
    chain.write(tx)
    freed = chain.freed()
    for account in freed:
        waiter.grant_all(tx, "budget", str(account))
    return freed


def _set_bounds(tx: Transaction, account: int, budget: Budget) -> None:
    chain = _read(tx, account)
    first = chain.accounts[0]
    for unit, bound in _bounds(budget):
        if bound is not None:
            had = first.sums(unit).bound
            chain.take(unit, lambda sums, bound=bound: setattr(sums, "bound", bound), asked=bound - (had or 0))  # type: ignore[misc]  # bound now, not later
    if not _nearly_spent(first):
        first.warned_at = None
    _let_go_on(tx, chain)


def _bounds(budget: Budget) -> list[tuple[Unit, int | None]]:
    usd = None if budget.usd is None else round(budget.usd * NANO)
    return [("tokens", budget.tokens), ("nanousd", usd)]


def _close(sums: Sums) -> None:
    sums.closed = True


def _unbind(sums: Sums) -> None:
    sums.bound = None


def _reopen(sums: Sums) -> None:
    sums.closed = False


def _nearly_spent(account: Account) -> bool:
    return account.tokens.nearly_spent or account.nanousd.nearly_spent


def _whose(account: int) -> str:
    return f"task {account}" if account else "the swarm"


def _amount(unit: Unit, number: int) -> str:
    return f"{number:,} tokens" if unit == "tokens" else f"${number / NANO:,.4f}"


def _at_least(unit: Unit, sums: Sums) -> str:
    least = sums.settled + sums.reserved + sums.lent
    return (
        f"at least {_amount(unit, least)}: {_amount(unit, sums.settled)} are spent, {_amount(unit, sums.reserved)}"
        f" reserved by calls under way and {_amount(unit, sums.lent)} lent to tasks"
    )
