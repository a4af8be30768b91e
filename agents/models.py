"""What models cost and hold: the table in `models.toml`, read once, as frozen records.

    cost = input * price + cache_read * read + cache_write_5m * write_5m + cache_write_1h * write_1h + output * price

A model may have price tiers.  The whole prompt, cached tokens included, chooses the tier, and the tier prices
the whole request, its output too.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from prong.state import Row, Transaction

PRICES_ARE_PER_TOKENS = 1_000_000

COMPACT_AT = 0.8
"""The share of its model's window at which a conversation is made short, where nobody says otherwise."""

EMULATOR_MODEL = "prong-emulator"
"""The model of offline runs: it costs nothing, and its name keeps anyone from mistaking a script for a model."""


class Source(Protocol):
    """What can be read: a store, or a transaction."""

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """All rows of a query."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more model calls used, in tokens.

    `input` is the uncached rest of the prompt; `cache_write` counts every written token, and `cache_write_1h` says how
    many of those were written for an hour.  So the prompt was `input + cache_read + cache_write` long.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """The tokens of the whole prompt, however they were paid."""
        return self.input + self.cache_read + self.cache_write

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.cache_write_1h + other.cache_write_1h,
        )

    @classmethod
    def from_wire(cls, usage: Mapping[str, Any]) -> Usage:
        """The record of a Messages API `usage` object; fields that are missing or null count as 0."""
        creation = usage.get("cache_creation") or {}
        return cls(
            input=usage.get("input_tokens") or 0,
            cache_read=usage.get("cache_read_input_tokens") or 0,
            cache_write=usage.get("cache_creation_input_tokens") or 0,
            output=usage.get("output_tokens") or 0,
            cache_write_1h=creation.get("ephemeral_1h_input_tokens") or 0,
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars per million tokens, for prompts of up to `up_to_prompt_tokens` (None: of any length)."""

    input: float
    output: float
    write_5m: float
    write_1h: float
    read: float
    up_to_prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its limits in tokens, its prices, and what it refuses (see the head of `models.toml`)."""

    id: str
    line: str
    context_tokens: int
    max_output_tokens: int
    min_cacheable_tokens: int
    prices: tuple[Prices, ...]
    binds_thinking: bool = False
    refuses: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()

    def prices_for(self, prompt_tokens: int) -> Prices:
        """The tier that a prompt of this length falls into."""
        return next(
            tier
            for tier in self.prices
            if tier.up_to_prompt_tokens is None or prompt_tokens <= tier.up_to_prompt_tokens
        )

    def cost_usd(self, usage: Usage) -> float:
        """What one call with this usage costs, in dollars.  Sum costs, not usages: tiers go by the single call."""
        tier = self.prices_for(usage.prompt)
        dollars_per_million = (
            usage.input * tier.input
            + usage.cache_read * tier.read
            + (usage.cache_write - usage.cache_write_1h) * tier.write_5m
            + usage.cache_write_1h * tier.write_1h
            + usage.output * tier.output
        )
        return dollars_per_million / PRICES_ARE_PER_TOKENS


def lookup(name: str) -> Model | None:
    """The model of this id or dated alias, or None where the table does not have it."""
    return _by_name().get(name)


def known(source: Source, name: str) -> Model | None:
    """What this swarm goes by: what somebody said of the model, else the table; None where nobody knows its prices."""
    said = _said(source, name)
    if said is None:
        return lookup(name)
    return said if said.prices else None


def window(source: Source, name: str) -> int | None:
    """How many tokens a conversation with the model may have; None: nobody knows."""
    found = _said(source, name) or lookup(name)
    return None if found is None else found.context_tokens


def told(source: Source) -> set[str]:
    """The models of which somebody said something."""
    return {row["name"] for row in source.rows("select name from model")}


def tell(tx: Transaction, models: Iterable[Model]) -> None:
    """Have a swarm go by these records from now on."""
    for model in models:
        record = json.dumps({**asdict(model), "refuses": sorted(model.refuses)})
        tx.execute(
            "insert into model (name, record) values (:name, :record)"
            " on conflict (name) do update set record = excluded.record",
            name=model.id,
            record=record,
        )


def _said(source: Source, name: str) -> Model | None:
    listed = lookup(name)
    for one in dict.fromkeys((name, name if listed is None else listed.id)):  # its aliases are the same model
        found = source.rows("select record from model where name = :name", name=one)
        if found:
            return _model(json.loads(found[0]["record"]))
    return None


@cache
def all_models() -> tuple[Model, ...]:
    """Every model of the table, newest first, as the file has them."""
    table = tomllib.loads(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))
    return tuple(_model(entry) for entry in table["model"])


@cache
def _by_name() -> Mapping[str, Model]:
    return {name: model for model in all_models() for name in (model.id, *model.aliases)}


def _model(entry: Mapping[str, Any]) -> Model:
    return Model(
        **{
            **entry,
            "prices": tuple(Prices(**tier) for tier in entry["prices"]),
            "refuses": frozenset(entry.get("refuses", ())),
            "aliases": tuple(entry.get("aliases", ())),
        }
    )
