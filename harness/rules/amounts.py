"""Amounts as people write them: 2M tokens, 5m, 2GB or 10% of the memory, a load of 1.5 or 40%.

Everything here raises `Invalid`, which says what would have done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from prong.state import Invalid

_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)(?:\.[0-9]+)?")
_WITH_UNIT = re.compile(rf"({_NUMBER.pattern})\s*([A-Za-z%]*)")
_DURATION = re.compile(r"(?:([0-9]+)h)?\s*(?:([0-9]+)m)?\s*(?:([0-9]+(?:\.[0-9]+)?)s?)?")
_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
_BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_LONGEST = 40
"""No amount is written in more characters; a bound, because long numbers take long to read."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How much of a machine's memory: `bytes`, or a share in `percent`; the other is None.

    >>> Memory.read("2GB"), Memory.read("10%")
    (Memory(bytes=2000000000, percent=None), Memory(bytes=None, percent=10.0))
    >>> Memory.read("10%").of(total_bytes=16_000_000_000)
    1600000000
    """

    bytes: int | None = None
    percent: float | None = None

    @classmethod
    def read(cls, text: str) -> Memory:
        """From what a person writes; a number without a unit could mean anything, so it is refused."""
        number, unit = _with_unit(text, _memory_expected())
        if unit == "%" and 0 <= number <= 100:  # noqa: PLR2004  a hundred per cent
            return cls(percent=float(number))
        if unit.lower() in _BYTES and 0 <= number * _BYTES[unit.lower()] < 2**60:
            return cls(bytes=int(number * _BYTES[unit.lower()]))
        raise Invalid(text, _memory_expected())

    def of(self, *, total_bytes: int) -> int:
        """The amount in bytes on a machine that has so much memory."""
        if self.bytes is not None:
            return self.bytes
        assert self.percent is not None
        return int(total_bytes * self.percent / 100)

    def __str__(self) -> str:
        if self.bytes is None:
            return f"{self.percent:g}%"
        unit = next(unit for unit in ("TB", "GB", "MB", "KB", "B") if self.bytes % _BYTES[unit.lower()] == 0)
        return f"{self.bytes // _BYTES[unit.lower()]}{unit}"


@dataclass(frozen=True, slots=True)
class Load:
    """How busy processors may be: a load average `per_core` over the last minute, or a `pressure_percent`.

    The pressure is the kernel's: how much of the last ten seconds some process was waiting for a processor
    (`some avg10` in /proc/pressure/cpu).

    >>> Load.read("1.5"), Load.read("40%")
    (Load(per_core=1.5, pressure_percent=None), Load(per_core=None, pressure_percent=40.0))
    """

    per_core: float | None = None
    pressure_percent: float | None = None

    @classmethod
    def read(cls, text: str) -> Load:
        """From what a person writes."""
        number, unit = _with_unit(text, _load_expected())
        if unit not in ("", "%") or not 0 < number <= 100:  # noqa: PLR2004  per cent; no core bears a hundredfold load
            raise Invalid(text, _load_expected())
        return cls(pressure_percent=float(number)) if unit else cls(per_core=float(number))

    def __str__(self) -> str:
        return f"{self.per_core:g}" if self.per_core is not None else f"{self.pressure_percent:g}%"


def whole(text: str, *, least: int, most: int) -> int:
    """A whole number within bounds, both included.

    >>> whole("2_000", least=1, most=10_000)
    2000
    """
    expected = f"a whole number from {least} to {most}"
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text) or "." in text or not least <= int(text) <= most:
        raise Invalid(text, expected)
    return int(text)


def number(text: str, *, above: float, most: float) -> float:
    """A number greater than one bound and not greater than the other."""
    if len(text) > _LONGEST or not _NUMBER.fullmatch(text) or not above < float(text) <= most:
        raise Invalid(text, f"a number above {above:g} and up to {most:.0f}")
    return float(text)


def share(text: str, *, least: float, most: float) -> float:
    """A share in per cent, within bounds that are shares of one.

    >>> share("80%", least=0.05, most=0.95)
    0.8
    """
    expected = f"a share from {least * 100:g}% to {most * 100:g}%, such as 80%,"
    number, unit = _with_unit(text, expected)
    if unit != "%" or not least <= float(number) / 100 <= most:
        raise Invalid(text, expected)
    return float(number) / 100


def tokens(text: str, *, least: int, most: int) -> int:
    """A number of tokens.

    >>> [tokens(text, least=1, most=10**9) for text in ("1500", "2_000_000", "500k", "2.5M")]
    [1500, 2000000, 500000, 2500000]
    """
    expected = f'a whole number of tokens from {least} to {most}, such as 200000, "500k" or "2M",'
    amount, unit = _with_unit(text, expected)
    amount *= _THOUSANDS.get(unit.lower(), 0)
    if not least <= amount <= most or amount != int(amount):
        raise Invalid(text, expected)
    return int(amount)


def seconds(text: str, *, least: float, most: float) -> float:
    """A duration, in seconds.

    >>> [seconds(text, least=0, most=86_400) for text in ("90", "0.5", "1.5s", "5m", "1h30m")]
    [90.0, 0.5, 1.5, 300.0, 5400.0]
    """
    found = _DURATION.fullmatch(text) if text.strip() and len(text) <= _LONGEST else None
    hours, minutes, rest = (Decimal(part or 0) for part in found.groups()) if found is not None else (Decimal(-1),) * 3
    duration = hours * 3600 + minutes * 60 + rest
    if found is None or not least <= duration <= most:
        raise Invalid(text, f'a duration from {least:g} to {most:.0f} seconds, such as 90, "5m" or "1h30m",')
    return float(duration)


def _with_unit(text: str, expected: str) -> tuple[Decimal, str]:
    found = _WITH_UNIT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if found is None:
        raise Invalid(text, expected)
    return Decimal(found[1]), found[2]


def _memory_expected() -> str:
    return 'an amount with its unit, such as "2GB", or a share from "0%" to "100%"'


def _load_expected() -> str:
    return 'a load per core above 0, such as 1.5, or a pressure up to "100%", such as "40%",'
