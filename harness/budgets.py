"""What an agent may spend: out of the account of its task, and within a bound of its own.

    swarm's account > task's account > agent's own bound        the narrowest decides

Near a bound an answer may be shorter than the agent wished; where that does not help, the agent waits for calls under
way that may cost less than was set aside for them; and where that cannot help either, its task parks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prong.agents.economics import Lifetime
from prong.agents.models import Model, Usage
from prong.agents.purse import Notice, partial_result
from prong.primitives import budget
from prong.primitives.budget import WARNED_PERCENT, Budget, OutOfBudget
from prong.primitives.budget_sums import NANO, Unit, in_nanousd
from prong.state import Membership, Transaction, waiter
from prong.state.ticket import Ticket

__all__ = ["LAST_CALLS", "SHORTEST_ANSWER_TOKENS", "AccountPurse", "ReportedPurse", "partial_result"]

SHORTEST_ANSWER_TOKENS = 1_024
"""An answer that may not even be so long is not asked for."""

LAST_CALLS = 3
"""The model is told when so many calls like its next may not be possible any more, however little it has spent: one to
hear it, one to put things in order, and one to say what is done."""

_NANOUSD_PER_PRICE = 1_000
"""What one dollar for a million tokens is for one token."""


# Events have the order of what happened, and calls have it; their clocks are two.
_SINCE = """
with since (seq) as (
    select coalesce(max(seq), 0) from event
     where task = :task and (kind in ('task.backs_off', 'task.retried')
                             or kind = 'task.ready' and json_extract(data, '$.anew') = 1))
"""

_SPENT = f"""{_SINCE},
mine as (
    select * from model_call where task = :task and keeps is null order by id desc
     limit (select count(*) from event, since
             where task = :task and kind = 'model.answered' and event.seq > since.seq))
select coalesce(sum(input_tokens + cache_read_tokens + cache_write_tokens + output_tokens), 0) as tokens,
       coalesce(sum(usd), 0.0) as usd from mine
"""  # noqa: S608  put together from constants of this file

# Of its own bound it is told once more where that begins anew.
_TOLD = f"""{_SINCE}
select kind, value from event join since left join json_each(data, '$.bounds')
 where task = :task and kind in ('budget.told', 'budget.unknown_price')
   and (value is null or value not like 'agent %' or event.seq > since.seq)
"""  # noqa: S608  as above


_LEARN_SURPLUS = """
insert into surplus (model, tokens) values (:model, :tokens)
    on conflict (model) do update set tokens = case when tokens < excluded.tokens then excluded.tokens else tokens end
"""


@dataclass(frozen=True, slots=True)
class _Room:
    """What is left under one bound; `account` None: the agent's own.  `reserved` may come back.

    `warned`: most of it is spent.
    """

    account: int | None
    unit: Unit
    bound: int
    settled: int
    reserved: int
    open: int
    warned: bool

    @property
    def name(self) -> str:
        """The same bound raised is another."""
        whose = "agent" if self.account is None else f"account {self.account}"
        return f"{whose} {self.bound} {self.unit}"


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a call under way may cost at most; `number` is that of its reservation, where there is an account.

    `surplus` is in `prompt_tokens`: so many tokens more than it can have were counted by its endpoint before.
    """

    number: int | None
    answer_tokens: int
    prompt_tokens: int
    surplus: int


class AccountPurse:
    """The purse of one agent.  `account` None: only its own bound counts; `model` None: its prices are unknown.

    `own` bounds what one attempt spends, whichever agents work on it.  A model without prices spends tokens
    only: bounds in money do not hold it, which is logged once a task.
    """

    _lifetime: Lifetime = "5m"

    def __init__(
        self, member: Membership, *, account: int | None, own: Budget | None = None, model: Model | None = None
    ) -> None:
        self.model = model
        self._member = member
        self._account = account
        self._own = budget.checked(own) if own is not None else Budget()
        self._spent = self._spent_before()
        self._taken: _Taken | None = None
        self._told, self._told_unknown = self._told_before()

    def notice(self, prompt_tokens: int) -> Notice | None:
        """That most of a budget is spent, or that the next calls may be the last: once for each bound that is set."""
        rooms = [*self._own_rooms(), *self._account_rooms()]
        near = [room for room in rooms if room.name not in self._told and self._is_near(room, prompt_tokens)]
        if not near:
            return None
        whose = {room.account for room in near}
        left = "; ".join(
            f"{_whose(room)} has {_amount(room, room.open)} of {_amount(room, room.bound)}" for room in near
        )
        text = (
            f"Little is left of your budget: {left}. Bring your work to an end now: begin nothing new, finish or undo"
            " what is half done, and say in your last answer what is done and what is missing."
        )
        # Whose tokens are at an end need not hear the same of its money.
        return Notice([room.name for room in rooms if room.account in whose], text)

    def told(self, tx: Transaction, notice: Notice) -> None:
        """The model is told in this transaction."""
        self._told |= set(notice.bounds)
        tx.event("budget.told", object=_object(self._account), bounds=list(notice.bounds))

    def reserve(self, prompt_tokens: int, max_tokens: int, lifetime: Lifetime = "5m") -> int:
        """Set aside the most that a call can cost; how long its answer may be.  Raises `OutOfBudget`.

        `lifetime` is that of what it writes to the prompt cache.
        """
        assert self._taken is None, "one call at a time"
        self._lifetime = lifetime
        while True:
            with self._member.transaction() as tx:
                self._say_if_price_is_unknown(tx)
                found = self._reserve(tx, prompt_tokens, max_tokens, self._surplus(tx))
                if isinstance(found, OutOfBudget):
                    tx.event(
                        "budget.out", object=_object(found.account), bound_of=found.kind,
                        unit=found.unit, asked=found.asked, open=found.open, bound=found.bound, settled=found.settled,
                    )  # fmt: skip
            if isinstance(found, OutOfBudget):
                raise found
            if isinstance(found, _Taken):
                self._taken = found
                return found.answer_tokens
            waiter.wait(self._member, found)

    def settle(self, tx: Transaction, usage: Usage) -> None:
        """Count what the call has cost."""
        taken, self._taken = self._taken, None
        assert taken is not None, "a call is reserved before it is settled"
        tokens = usage.prompt + usage.output
        usd = self.model.cost_usd(usage) if self.model else None
        if taken.number is not None:
            budget.settle(tx, taken.number, tokens=tokens, usd=usd)
        self._learn(tx, taken, more=tokens - taken.prompt_tokens - taken.answer_tokens)
        self._spent["tokens"] += tokens
        self._spent["nanousd"] += in_nanousd(usd or 0)

    def hand_back(self) -> None:
        """The call has died."""
        taken, self._taken = self._taken, None
        if taken is not None and taken.number is not None:
            with self._member.transaction() as tx:
                budget.hand_back(tx, taken.number)

    def _learn(self, tx: Transaction, taken: _Taken, *, more: int) -> None:
        """What was set aside was no upper bound: it is one for the next call."""
        if more > 0:
            tx.execute(_LEARN_SURPLUS, model=self._name, tokens=taken.surplus + more)

    @property
    def _name(self) -> str:
        return self.model.id if self.model is not None else ""

    def _surplus(self, tx: Transaction) -> int:
        row = tx.row("select tokens from surplus where model = :model", model=self._name)
        return 0 if row is None else int(row["tokens"])

    def _reserve(
        self, tx: Transaction, prompt_tokens: int, max_tokens: int, surplus: int
    ) -> _Taken | OutOfBudget | Ticket:
        prompt_tokens += surplus
        rooms = [*self._own_rooms(), *self._account_rooms(tx)]
        now = min([max_tokens, *(self._longest(room, prompt_tokens, room.open) for room in rooms)])
        # What others have reserved comes back in part at least; how much, nobody can know before.
        later = min([max_tokens, *(self._longest(room, prompt_tokens, room.open + room.reserved) for room in rooms)])
        least = min(SHORTEST_ANSWER_TOKENS, max_tokens)
        if later >= least and (now < least or now < later == max_tokens):
            narrow = min(rooms, key=lambda room: self._longest(room, prompt_tokens, room.open))
            tx.event("budget.waiting", object=str(narrow.account), unit=narrow.unit, open=narrow.open)
            return waiter.enrol(tx, "budget", str(narrow.account), timeout=None)
        if now < least:
            narrow = min(rooms, key=lambda room: self._longest(room, prompt_tokens, room.open + room.reserved))
            return self._refusal(narrow, self._dearest(narrow.unit, prompt_tokens, least))
        return self._take(tx, prompt_tokens, now, surplus)

    def _is_near(self, room: _Room, prompt_tokens: int) -> bool:
        left = room.open + room.reserved
        return room.warned or left < LAST_CALLS * self._dearest(room.unit, prompt_tokens, SHORTEST_ANSWER_TOKENS)

    def _take(self, tx: Transaction, prompt_tokens: int, answer_tokens: int, surplus: int) -> _Taken:
        if self._account is None:
            return _Taken(None, answer_tokens, prompt_tokens, surplus)
        number = budget.reserve(
            tx,
            self._account,
            agent=self._member.me.agent,
            tokens=prompt_tokens + answer_tokens,
            usd=self._dearest("nanousd", prompt_tokens, answer_tokens) / NANO if self.model else None,
        )
        return _Taken(number, answer_tokens, prompt_tokens, surplus)

    def _account_rooms(self, tx: Transaction | None = None) -> Iterator[_Room]:
        if self._account is None:
            return
        for room in budget.rooms(tx or self._member.store, self._account):
            if room.unit == "tokens" or self.model is not None:
                yield _Room(
                    room.account, room.unit, room.bound, room.settled, room.reserved, room.open, room.warned
                )  # fmt: skip

    def _own_rooms(self) -> Iterator[_Room]:
        bounds: Sequence[tuple[Unit, int | None]] = (
            ("tokens", self._own.tokens),
            ("nanousd", None if self._own.usd is None or self.model is None else round(self._own.usd * NANO)),
        )
        for unit, bound in bounds:
            if bound is not None:
                spent = self._spent[unit]
                warned = spent * 100 >= bound * WARNED_PERCENT
                yield _Room(None, unit, bound, spent, 0, bound - spent, warned)

    def _longest(self, room: _Room, prompt_tokens: int, left: int) -> int:
        """How long an answer may be at most for so much; less than nothing where even the prompt costs more."""
        if room.unit == "tokens":
            return left - prompt_tokens
        assert self.model is not None
        return min(
            ((left - prompt * write) // output if output else _for_nothing(left - prompt * write))
            for prompt, write, output in _tiers(self.model, prompt_tokens, self._lifetime)
        )

    def _dearest(self, unit: Unit, prompt_tokens: int, answer_tokens: int) -> int:
        if unit == "tokens":
            return prompt_tokens + answer_tokens
        assert self.model is not None
        tiers = _tiers(self.model, prompt_tokens, self._lifetime)
        return max(prompt * write + answer_tokens * output for prompt, write, output in tiers)

    def _refusal(self, room: _Room, asked: int) -> OutOfBudget:
        one = 1 if room.unit == "tokens" else NANO
        # What the account lends is all that is neither spent, nor reserved, nor open.
        lent = room.bound - room.settled - room.reserved - room.open
        return OutOfBudget(
            "agent" if room.account is None else "account", room.account, "tokens" if one == 1 else "usd",
            asked=asked / one, open=room.open / one, bound=room.bound / one, settled=room.settled / one,
            reserved=room.reserved / one, lent=lent / one,
        )  # fmt: skip

    def _spent_before(self) -> dict[Unit, int]:
        """What this attempt has spent already, by this agent or by one that was ended and whose work it goes on with.

        An attempt that failed begins a new one, and so does a person who lets the task go on.
        """
        (row,) = self._member.store.rows(_SPENT, task=self._member.me.task)
        return {"tokens": row["tokens"], "nanousd": in_nanousd(row["usd"])}

    def _told_before(self) -> tuple[set[str], bool]:
        """What this conversation was told already, by the log; and whether it says that the price is unknown."""
        rows = self._member.store.rows(_TOLD, task=self._member.me.task)
        told = {row["value"] for row in rows if row["kind"] == "budget.told"}
        return told, any(row["kind"] == "budget.unknown_price" for row in rows)

    def _say_if_price_is_unknown(self, tx: Transaction) -> None:
        if self.model is not None or self._told_unknown:
            return
        bounds = [] if self._account is None else budget.rooms(tx, self._account)
        if self._own.usd is None and all(room.unit == "tokens" for room in bounds):
            return
        self._told_unknown = True
        reason = "the price of its model is unknown, so no bound in money holds it; its tokens are counted"
        tx.event("budget.unknown_price", object=_object(self._account), reason=reason)


class ReportedPurse(AccountPurse):
    """The purse of an outside agent, which tells what its calls have cost when they are over.

    What is set aside for them is a guess, so a call that has cost more says nothing of the endpoint.
    """

    def _learn(self, tx: Transaction, taken: _Taken, *, more: int) -> None:
        """Nothing is to be learnt."""


def _tiers(model: Model, prompt_tokens: int, lifetime: Lifetime) -> Iterator[tuple[int, int, int]]:
    """Each price tier that a prompt of at most so many tokens may fall into.

    Of each the longest prompt there, and the dearest prices for one token of it and of the answer, in billionths of a
    dollar.
    """
    below = 0
    for tier in model.prices:
        if below and prompt_tokens <= below:
            return
        longest = prompt_tokens if tier.up_to_prompt_tokens is None else min(prompt_tokens, tier.up_to_prompt_tokens)
        write = max(tier.write_5m, tier.write_1h) if lifetime == "1h" else tier.write_5m
        yield longest, _nanousd_per_token(max(tier.input, write, tier.read)), _nanousd_per_token(tier.output)
        below = longest


def _nanousd_per_token(dollars_per_million: float) -> int:
    return in_nanousd(dollars_per_million * _NANOUSD_PER_PRICE / NANO)


def _for_nothing(left: int) -> int:
    """How long an answer may be that costs nothing."""
    return budget.LARGEST_TOKENS if left >= 0 else -1


def _object(account: int | None) -> str | None:
    return None if account is None else str(account)


def _whose(room: _Room) -> str:
    if room.account is None:
        return "your own budget"
    return f"the budget of task {room.account}" if room.account else "the budget of the whole swarm"


def _amount(room: _Room, number: int) -> str:
    return f"{max(0, number):,} tokens" if room.unit == "tokens" else f"${max(0, number) / NANO:,.2f}"
