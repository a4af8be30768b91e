"""What a response's headers say about limits, and how long they ask to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

KINDS = ("requests", "input-tokens", "output-tokens", "tokens")
"""What a provider limits, each a minute; `tokens` is input and output together, for providers that tell no more."""

LONGEST_RESET_S = 3_600.0
"""A reset further away than this, in seconds, is taken for a clock that is wrong."""


@dataclass(frozen=True, slots=True)
class Told:
    """One limit as a response told it: a minute's amount, what was left, and in how many seconds all is there again."""

    limit: float
    remaining: float
    resets_in_s: float | None


def limits(headers: Mapping[str, str], wall: float) -> dict[str, Told]:
    """The limits by kind; `wall` is the time, in seconds since 1970, where the response does not tell its own.

    >>> limits({"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49"}, 0.0)
    {'requests': Told(limit=50.0, remaining=49.0, resets_in_s=None)}
    """
    found = {}
    for kind in KINDS:
        prefix = f"anthropic-ratelimit-{kind}-"
        limit, remaining = _number(headers.get(prefix + "limit")), _number(headers.get(prefix + "remaining"))
        if limit is not None and limit > 0 and remaining is not None:
            reset = headers.get(prefix + "reset")
            found[kind] = Told(limit, min(remaining, limit), _seconds_until(reset, headers.get("date"), wall))
    if "input-tokens" in found or "output-tokens" in found:
        # Beside these the sum says nothing new: it is whichever of the two is nearer to its end.
        found.pop("tokens", None)
    return found


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """How long the response asks to wait, in seconds; None where it does not ask.

    >>> retry_after({"retry-after": "12"}, 0.0)
    12.0
    >>> retry_after({"retry-after-ms": "1500"}, 0.0)
    1.5
    >>> retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 50.0)
    10.0
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return max(0.0, seconds)
    moment = _http_date(text)
    return None if moment is None else max(0.0, moment - (_http_date(headers.get("date")) or wall))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(reset: str | None, date: str | None, wall: float) -> float | None:
    try:
        moment = datetime.fromisoformat(reset or "").timestamp()
    except (ValueError, OverflowError):
        return None
    # The provider's own clock, where it shows it: ours may be wrong.
    seconds = moment - (_http_date(date) or wall)
    return seconds if 0 <= seconds <= LONGEST_RESET_S else None


def _http_date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
