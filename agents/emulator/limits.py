"""Rate limits as token buckets: requests, input tokens and output tokens a minute, pooled per model line.

    full ---requests---> lower ---time---> full          a bucket refills evenly over a minute

Input counts when a request is admitted, and cached tokens that are only read do not count.  Output counts when it has
been written, so a bucket of output may fall below empty; no request is admitted until it is above again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prong.agents.emulator.clock import rfc3339
from prong.agents.emulator.errors import ApiError
from prong.agents.emulator.options import EmulatorOptions

MINUTE_S = 60.0
UNITS = {"requests": "requests", "input-tokens": "input tokens", "output-tokens": "output tokens"}


@dataclass(slots=True)
class Bucket:
    """A limit a minute and what is left of it; `level` was right at `at`."""

    limit: int
    level: float
    at: float

    def refill(self, now: float) -> float:
        """The level now."""
        self.level = min(self.limit, self.level + max(0.0, now - self.at) * self.limit / MINUTE_S)
        self.at = now
        return self.level

    def wait_s(self, wanted: float) -> float:
        """Seconds until so much is there; a minute for what never fits."""
        if wanted > self.limit:
            return MINUTE_S
        return max(0.0, wanted - self.level) * MINUTE_S / self.limit


class Limits:
    """The buckets of every model line, made when the line is first asked for."""

    def __init__(self, options: EmulatorOptions) -> None:
        limits = {
            "requests": options.requests_per_minute,
            "input-tokens": options.input_tokens_per_minute,
            "output-tokens": options.output_tokens_per_minute,
        }
        self._limits = {kind: limit for kind, limit in limits.items() if limit is not None}
        self._lines: dict[str, dict[str, Bucket]] = {}

    def admit(self, line: str, *, input_tokens: int, now: float) -> None:
        """Take a request and its uncached input from the buckets, or raise the API's 429 with `retry-after`."""
        buckets = self._buckets(line, now)
        wanted = {"requests": 1, "input-tokens": input_tokens, "output-tokens": 1}
        for kind, bucket in buckets.items():
            if bucket.refill(now) >= wanted[kind]:
                continue
            message = (
                f"This request would exceed your organization's rate limit of {bucket.limit} {UNITS[kind]} per minute"
            )
            raise ApiError(429, message, retry_after_s=max(1, math.ceil(bucket.wait_s(wanted[kind]))))
        for kind in ("requests", "input-tokens"):
            if kind in buckets:
                buckets[kind].level -= wanted[kind]

    def spend_output(self, line: str, tokens: int, now: float) -> None:
        """Take what a reply wrote."""
        bucket = self._buckets(line, now).get("output-tokens")
        if bucket is not None:
            bucket.refill(now)
            bucket.level -= tokens

    def headers(self, line: str, now: float) -> dict[str, str]:
        """Limit, remaining and reset of every limit that is set; `tokens` stands for input and output together."""
        buckets = self._buckets(line, now)
        headers: dict[str, str] = {}
        for kind, bucket in buckets.items():
            headers |= _headers(kind, [bucket], now)
        both = [bucket for kind, bucket in buckets.items() if kind != "requests"]
        if both:
            headers |= _headers("tokens", both, now)
        return headers

    def _buckets(self, line: str, now: float) -> Mapping[str, Bucket]:
        if line not in self._lines:
            self._lines[line] = {kind: Bucket(limit, limit, now) for kind, limit in self._limits.items()}
        return self._lines[line]


def _headers(kind: str, buckets: list[Bucket], now: float) -> dict[str, str]:
    levels = [bucket.refill(now) for bucket in buckets]
    full_in_s = max(bucket.wait_s(bucket.limit) for bucket in buckets)
    prefix = f"anthropic-ratelimit-{kind}"
    return {
        f"{prefix}-limit": str(sum(bucket.limit for bucket in buckets)),
        f"{prefix}-remaining": str(max(0, math.floor(sum(levels)))),
        f"{prefix}-reset": rfc3339(math.ceil(now + full_in_s)),
    }
