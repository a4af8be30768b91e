"""What it costs to hand work to children that continue a conversation, read a summary of it, or start with nothing.

    fork    reads the parent's whole conversation from the prompt cache, in every turn
    brief   somebody reads it once and writes a summary; each child reads that, and a little of the rest again
    fresh   knows only its prompt, and has to read much of what its parent had read, in turns of its own

All three are priced call by call, by the rules of the prompt cache: what an earlier request held is read, what is new
is written.  Nothing here reads a clock, a file or a database: a setting goes in, prices come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prong.agents.models import Model, Prices, Usage

Context = Literal["fork", "brief", "fresh"]

Lifetime = Literal["5m", "1h"]
"""For how long an entry of the prompt cache is written, from the start of the request that last used it."""

CONTEXTS: Sequence[Context] = ("fork", "brief", "fresh")
"""From the one that knows most to the one that knows least: of two that cost about the same the former is better."""

ABOUT_THE_SAME = 1.03
"""Prices within this ratio are taken for equal."""

BRIEF_TOKENS = 2_000
"""How long a summary is asked to be at most, in tokens."""

INSTRUCTION_TOKENS = 300
"""How long the request for a summary is, in tokens."""

SIBLING_TOKENS = 60
"""What a fork reads about each call of the turn in which it was made, in tokens; none where no turn has made it."""

MOST_TURNS = 2_000
"""Of how many turns a conversation is priced one by one, at most."""

CACHE_S = 300.0
"""How long an entry of the prompt cache lives from the start of the request that last used it, in seconds."""

TURN_SPREAD = 0.3
"""By what share turns last longer or shorter than they do on average."""

PREWARM_SHARE = 0.05
"""The most that warming the cache by a request of its own may add to what the forks cost anyhow."""

KEEP_SHARE = 0.10
"""The most that a longer life of a cache entry may cost, as a share of writing the whole prefix once more."""

_WEIGHTS = Prices(input=1.0, output=5.0, write_5m=1.25, write_1h=2.0, read=0.1)
"""How the prices of most models stand to each other: what is compared where a model costs nothing or nobody knows."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one child is expected to do: calls of the model, and what each adds to the conversation, in tokens.

    `turn_s` is how long one call takes together with its tools, in seconds.
    """

    turns: int = 8
    output_tokens: int = 400
    result_tokens: int = 1_000
    turn_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A fan-out that is about to be made.

    `prefix_tokens` is the parent's conversation up to and with the turn that makes the children, `shared_tokens` what
    all agents begin with, `prompt_tokens` what a child is told.  A `fresh` child reads the share `reads_again` of the
    prefix, `chunk_tokens` at a time; after a summary it is `reads_again_after_brief`.  `has_brief`: the summary is
    there; `expired`: the prefix has left the cache.  `own_model` is that of the children's role, if it has another.
    """

    prefix_tokens: int
    shared_tokens: int
    children: int
    model: Model | None
    own_model: Model | None = None
    work: Work = Work()
    prompt_tokens: int = 200
    reads_again: float = 0.6
    reads_again_after_brief: float = 0.2
    chunk_tokens: int = 3_000
    brief_tokens: int = BRIEF_TOKENS
    has_brief: bool = False
    expired: bool = False
    sibling_tokens: int = SIBLING_TOKENS


@dataclass(frozen=True, slots=True)
class Priced:
    """What all children together would cost in one way; `why_not` says why that way is closed.

    `cost` is in dollars, or without a unit where the model costs nothing or its price is unknown.
    """

    context: Context
    cost: float
    input_cost: float
    turns: int
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What the planner has chosen, why, and what it has compared."""

    context: Context
    why: str
    priced: Mapping[Context, Priced]
    in_usd: bool


@dataclass(frozen=True, slots=True)
class Keeping:
    """Whether a request that only keeps an entry pays, what one and writing all again would cost, and why.

    Costs are in dollars, or without a unit where the model costs nothing or its price is unknown.
    """

    pays: bool
    once: float
    again: float
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """A sum over calls."""

    cost: float = 0.0
    input_cost: float = 0.0
    calls: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.cost + other.cost, self.input_cost + other.input_cost, self.calls + other.calls)

    def times(self, number: int) -> Tally:
        """The same so many times."""
        return Tally(self.cost * number, self.input_cost * number, self.calls * number)


def plan(setting: Setting) -> Choice:
    """Price the three ways and choose the cheapest; of those about as cheap, the one whose children know most.

    >>> from prong.agents.models import lookup
    >>> model = lookup("claude-sonnet-5-5")
    >>> plan(Setting(prefix_tokens=60_000, shared_tokens=4_000, children=16, model=model)).context
    'fork'
    """
    priced = {context: price(setting, context) for context in CONTEXTS}
    least = min(one.cost for one in priced.values())
    chosen = next(context for context in CONTEXTS if priced[context].cost <= least * ABOUT_THE_SAME)
    in_usd = all(_has_price(model) for model in (setting.model, setting.own_model or setting.model))
    return Choice(chosen, _why(setting, priced, chosen), priced, in_usd)


def price(setting: Setting, context: Context) -> Priced:
    """What all children together would cost in this way."""
    closed = _why_not(setting, context)
    if closed is not None:
        return Priced(context, math.inf, math.inf, 0, closed)
    total = {"fork": _fork, "brief": _brief, "fresh": _fresh}[context](setting)
    return Priced(context, total.cost, total.input_cost, round(total.calls))


def conversation(
    work: Work, *, cached: int, new: int, min_cacheable: int = 0, shared: int = 0, siblings: int = 0
) -> Iterator[tuple[float, Usage]]:
    """The calls of one conversation that begins with `cached` tokens in the cache and `new` ones behind them.

    Each with its probability: where a turn may take longer than an entry lives, the call behind it may have to write
    its whole prompt again, but for what is `shared` with so many `siblings`, any of whom keeps that in the cache.
    """
    forgets, all_forget = forgetting(work.turn_s, siblings)
    grows = work.output_tokens + work.result_tokens
    known = cached if cached >= min_cacheable else 0
    for turn in range(min(work.turns, MOST_TURNS)):
        prompt = cached + new + turn * grows
        if prompt < min_cacheable:
            yield 1.0, Usage(input=prompt, output=work.output_tokens)
            continue
        lost = forgets if turn else 0.0
        reads = ((1 - lost, known), (lost * (1 - all_forget), min(known, shared)), (lost * all_forget, 0))
        for chance, read in reads:
            if chance > 0:
                yield chance, Usage(cache_read=read, cache_write=prompt - read, output=work.output_tokens)
        known = prompt


def forgetting(turn_s: float, siblings: int) -> tuple[float, float]:
    """How likely a turn outlasts an entry of the cache, and how likely none of the siblings asks meanwhile either.

    >>> forgetting(20.0, 15)
    (0.0, 0.0)
    """
    shortest, longest = turn_s * (1 - TURN_SPREAD), turn_s * (1 + TURN_SPREAD)
    if longest <= CACHE_S:
        return 0.0, 0.0
    outlasts = 1.0 if shortest >= CACHE_S else (longest - CACHE_S) / (longest - shortest)
    return outlasts, math.exp(-siblings * CACHE_S / turn_s)


def tally(model: Model | None, calls: Iterable[tuple[float, Usage]]) -> Tally:
    """What these calls cost with this model, each as far as it is likely."""
    total = Tally()
    for chance, usage in calls:
        cost, output = _cost(model, usage), _output_cost(model, usage)
        total += Tally(chance * cost, chance * (cost - output), chance)
    return total


def prewarm_pays(setting: Setting, *, leader_in_s: float) -> bool:
    """Whether the first child should warm the cache by a request that is not answered, before its own.

    It costs one more read of the prefix, lets the siblings go before anybody's request is due, and shows a lost cache
    before a single child has paid for its turn.  Where somebody asks at once anyhow (`leader_in_s` is 0), or one more
    read would be felt, it is not worth it.
    """
    if leader_in_s <= 0 or setting.children < 2:  # noqa: PLR2004  a single child leads
        return False
    once = _cost(setting.model, Usage(cache_read=setting.prefix_tokens))
    return once <= PREWARM_SHARE * _fork(setting).cost


def lifetime(
    model: Model | None, *, prefix: int, written: int, gap_is_likely: float, wait_s: float = math.inf
) -> Lifetime:
    """How long the entry at a fork point should live: an hour where that pays for the children that come late.

    `written` tokens would be written for the hour, and the whole `prefix` once more, or kept by requests of their own,
    where children begin only after the five minutes are over: after `wait_s` seconds, with a probability of
    `gap_is_likely`.  It never costs more than doing nothing by more than `KEEP_SHARE` of one such writing.
    """
    prices = _prices(model, prefix)
    more = written * (prices.write_1h - prices.write_5m)
    again = prefix * (prices.write_5m - prices.read)
    calls = wait_s // CACHE_S if wait_s < math.inf else math.inf
    otherwise = min(again, max(1, calls) * prefix * prices.read)
    return "1h" if more < gap_is_likely * otherwise and more <= KEEP_SHARE * again else "5m"


def keeping(model: Model | None, *, prefix: int, wait_s: float | None, made: int, lives_s: float = CACHE_S) -> Keeping:
    """Whether to read a prefix once more only that it stays in the cache, where somebody asks in `wait_s` seconds.

    None: nobody knows when; then it is taken to last as long again as it has lasted already, which `made` such requests
    tell.  All of them together never cost more than one writing.

    >>> from prong.agents.models import lookup
    >>> keeping(lookup("claude-opus-5"), prefix=50_000, wait_s=900.0, made=0).pays
    True
    """
    prices = _prices(model, prefix)
    once = prefix * prices.read / 1_000_000
    again = prefix * (prices.write_5m - prices.read) / 1_000_000
    calls = made + 1 if wait_s is None else max(1, math.ceil(wait_s / lives_s))
    pays = once < again and calls * once < again and (made + 1) * once <= again
    when = "nobody knows when somebody asks" if wait_s is None else f"somebody asks in about {wait_s:.0f} s"
    figures = f"{calls} more of ${once:.4f}" if _has_price(model) else f"{calls} more"
    than = "less than" if pays else "more than, with what was spent on it already,"
    return Keeping(pays, once, again, f"{when}; {figures} would cost {than} writing {prefix} tokens again")


def reads(model: Model | None, *, prefix: int, usage: Usage) -> int:
    """As how many readings of a prefix of so many tokens a call has cost, at least one.

    >>> from prong.agents.models import lookup
    >>> model = lookup("claude-opus-5")
    >>> [reads(model, prefix=10_000, usage=Usage(**{how: 10_000})) for how in ("cache_read", "cache_write")]
    [1, 12]
    """
    once = prefix * _prices(model, prefix).read / 1_000_000
    return max(1, round(_cost(model, usage) / once)) if once else 1


def loss_usd(model: Model | None, *, prefix: int, read: int) -> float | None:
    """What it cost, in dollars, to write what should have been read; None where the price is unknown.

    >>> from prong.agents.models import lookup
    >>> round(loss_usd(lookup("claude-sonnet-5-5"), prefix=100_000, read=0), 6)
    0.24
    """
    if model is None:
        return None
    missed = max(0, prefix - read)
    tier = model.prices_for(prefix)
    return missed * (tier.write_5m - tier.read) / 1_000_000


def _fork(setting: Setting) -> Tally:
    first = setting.sibling_tokens * setting.children + setting.prompt_tokens
    calls = conversation(
        setting.work, cached=setting.prefix_tokens, new=first, min_cacheable=_min(setting.model),
        shared=setting.prefix_tokens, siblings=setting.children - 1,
    )  # fmt: skip
    total = tally(setting.model, calls).times(setting.children)
    return total + _rewrite(setting) if setting.expired else total


def _brief(setting: Setting) -> Tally:
    own = setting.own_model or setting.model
    total = Tally()
    if not setting.has_brief:
        read = 0 if setting.expired else setting.prefix_tokens
        written = setting.prefix_tokens - read + INSTRUCTION_TOKENS
        asked = Usage(cache_read=read, cache_write=written, output=setting.brief_tokens)
        total += tally(setting.model, [(1.0, asked)])
    told = setting.brief_tokens + setting.prompt_tokens
    return total + _reading(setting, own, told, setting.reads_again_after_brief)


def _fresh(setting: Setting) -> Tally:
    return _reading(setting, setting.own_model or setting.model, setting.prompt_tokens, setting.reads_again)


def _reading(setting: Setting, model: Model | None, told: int, share: float) -> Tally:
    """Children that begin with what all share, are told so much, and read a share of the prefix before they work."""
    to_read = round(share * max(0, setting.prefix_tokens - setting.shared_tokens))
    work = setting.work
    reads = math.ceil(to_read / setting.chunk_tokens) if to_read else 0
    least = _min(model)
    cached = setting.shared_tokens if model is setting.model and setting.shared_tokens >= least else 0
    start = setting.shared_tokens - cached + told
    chunk = round(to_read / reads) if reads else 0
    asks = min(work.output_tokens, chunk)  # what is read in a turn holds the words with which it is asked for
    reading = Work(reads, asks, chunk - asks, work.turn_s)
    others = setting.children - 1
    begun = conversation(reading, cached=cached, new=start, min_cacheable=least, shared=cached, siblings=others)
    grown = reads * (reading.output_tokens + reading.result_tokens)
    # What the last of its readings added is new to the first turn of its work; all before that is cached.
    known = 0 if not reads else cached + start + grown - (reading.output_tokens + reading.result_tokens)
    rest = conversation(
        work, cached=known or cached, new=cached + start + grown - (known or cached), min_cacheable=least,
        shared=cached, siblings=others,
    )  # fmt: skip
    return (tally(model, begun) + tally(model, rest)).times(setting.children)


def _rewrite(setting: Setting) -> Tally:
    """What the first fork pays for a prefix that has left the cache: it writes what all others read."""
    more = _cost(setting.model, Usage(cache_write=setting.prefix_tokens))
    more -= _cost(setting.model, Usage(cache_read=setting.prefix_tokens))
    return Tally(more, more, 0)


def _why_not(setting: Setting, context: Context) -> str | None:
    model = setting.model
    if context != "fork":
        return None
    if setting.own_model is not None and setting.own_model is not model:
        return "its role has a model of its own, which cannot read the parent's cache"
    grows = setting.work.turns * (setting.work.output_tokens + setting.work.result_tokens)
    if model is not None and setting.prefix_tokens + grows * (1 + TURN_SPREAD) > model.context_tokens:
        return f"the conversation would not fit into {model.context_tokens} tokens"
    return None


def _why(setting: Setting, priced: Mapping[Context, Priced], chosen: Context) -> str:
    """The choice in one sentence, for people."""
    others = [one for one in priced.values() if one.context != chosen and one.why_not is None]
    closed = [f"{one.context} is not possible: {one.why_not}" for one in priced.values() if one.why_not is not None]
    mine = priced[chosen].cost
    ratios = ", ".join(
        f"{one.context} would cost {one.cost / mine:.2f} times as much" if mine else f"{one.context} costs as much"
        for one in others
    )
    children = "1 child" if setting.children == 1 else f"{setting.children} children"
    told = f"{children} of about {setting.work.turns} turns over {setting.prefix_tokens} tokens of context"
    return "; ".join([f"{chosen} for {told}: {ratios}", *closed])


def _has_price(model: Model | None) -> bool:
    return model is not None and any(tier.input for tier in model.prices)


def _min(model: Model | None) -> int:
    return model.min_cacheable_tokens if model is not None else 0


def _prices(model: Model | None, prompt: int) -> Prices:
    return model.prices_for(prompt) if model is not None and _has_price(model) else _WEIGHTS


def _cost(model: Model | None, usage: Usage) -> float:
    tier = _prices(model, usage.prompt)
    return _output_cost(model, usage) + (
        usage.input * tier.input + usage.cache_read * tier.read + usage.cache_write * tier.write_5m
    ) / 1_000_000  # fmt: skip


def _output_cost(model: Model | None, usage: Usage) -> float:
    return usage.output * _prices(model, usage.prompt).output / 1_000_000
