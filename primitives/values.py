"""What may be stored: names and JSON values, with their bounds."""

from __future__ import annotations

import json
from typing import Any

from prong.primitives.errors import TooLarge
from prong.state import Invalid

NAME_CHARACTERS = 200
"""The longest name of a lock, barrier, map, key or queue, in characters."""

VALUE_BYTES = 256 * 1024
"""The largest value of a map key or queue message, in bytes of JSON."""

LONGEST_LEASE_S = 86_400.0
"""The longest lease that can be asked for, in seconds."""

FOREVER_S = 1e10
"""From how many seconds on, some three centuries, a timeout counts as none."""

MOST = 2**53
"""The largest whole number, up or down, that is taken for a priority."""


quoted = json.encoder.encode_basestring
"""A string as JSON text, quotes and all, as the log and the rows hold it."""


def checked_name(what: str, name: object) -> str:
    """The name, if it can be one."""
    if not isinstance(name, str) or not name or len(name) > NAME_CHARACTERS:
        raise Invalid(f"{what} {_short(name)}", f"a string of 1 to {NAME_CHARACTERS} characters")
    if "\0" in name or (not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name)):
        raise Invalid(f"{what} {_short(name)}", "a string without NUL and without lone surrogates")
    return name


def checked_timeout(timeout: object) -> float | None:
    """The seconds to wait; None for ever, which is also what centuries are."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise Invalid(f"a timeout of {_short(timeout)}", "seconds from 0, or None to wait for ever")
    return float(timeout) if timeout < FOREVER_S else None


def checked_lease(lease_s: object) -> float:
    """The seconds that a right lasts without a sign of life."""
    number = isinstance(lease_s, int | float) and not isinstance(lease_s, bool)
    if not number or not 0 < lease_s <= LONGEST_LEASE_S:  # type: ignore[operator]  # it is a number here
        raise Invalid(f"a lease of {_short(lease_s)}", f"seconds, more than 0 and at most {LONGEST_LEASE_S:g}")
    return float(lease_s)  # type: ignore[arg-type]  # as above


def checked_number(what: str, number: object, *, least: int = -MOST, most: int = MOST) -> int:
    """The whole number, if it is within its bounds."""
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise Invalid(f"{what} {_short(number)}", f"a whole number from {least} to {most}")
    return number


def encoded(what: str, value: Any) -> str:
    """The value as JSON text within its bound."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{what} cannot be stored ({error})", "what JSON holds, text without lone surrogates") from error
    if size > VALUE_BYTES:
        raise TooLarge(what, size, VALUE_BYTES)
    return text


def decoded(text: str) -> Any:
    """The value that was stored."""
    return json.loads(text)


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004  what fits a line
