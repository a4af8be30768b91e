"""What an emulator is started with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prong.agents.emulator.script import Script

STREAM_FAULTS: Mapping[str, Literal["truncate", "disconnect", "malformed", "error_event", "damage"]] = {
    "truncate": "truncate",
    "disconnect": "disconnect",
    "malformed": "malformed",
    "error_event": "error_event",
    "damage": "damage",
}
LOWEST_FAULT_STATUS = 400
HIGHEST_FAULT_STATUS = 599


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """How the emulator listens, how slow it is, what goes wrong, and what it keeps.

    A call lasts at least `latency_s`; its first byte goes out `first_token_s` after it began, and the rest is spread
    over what remains, or over `per_token_s` times its tokens where that is longer.

    `faults` maps a fault to its share of the calls: an HTTP status ("429", "500", "529") or a way to break the answer
    ("truncate", "disconnect", "malformed", "error_event", "damage").  The n-th request of a seed always meets the same
    fault.

    `keys` are the only API keys that are good, where there are any; `spent` ones have no credit.  `without_models`
    lacks the routes `/v1/models` and `/v1/messages/count_tokens`, as many local servers do.  `window_tokens` is the
    window of every model, instead of its own.

    Limits are per minute and model line; None means no limit and no `anthropic-ratelimit-*` header.
    """

    scripts: Sequence[Script] = ()
    host: str = "127.0.0.1"
    port: int = 0
    latency_s: float = 0.0
    first_token_s: float = 0.0
    per_token_s: float = 0.0
    ping_s: float = 10.0
    faults: Mapping[str, float] = field(default_factory=dict)
    retry_after_s: float | None = None
    seed: int = 0
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    journal_entries: int = 10_000
    keep_bodies: bool = False
    keys: Sequence[str] = ()
    spent: Sequence[str] = ()
    without_models: bool = False
    window_tokens: int | None = None

    def __post_init__(self) -> None:
        for fault in self.faults:
            check_fault(fault)
        total = sum(self.faults.values())
        if total > 1 or any(share < 0 for share in self.faults.values()):
            message = f"the shares of the faults must be between 0 and 1 and sum to at most 1, but {dict(self.faults)}"
            raise ValueError(message)

    def arguments(self) -> Iterator[str]:
        """The same options for the command line; scripts are functions and travel as files, not here."""
        for name, value in self._plain():
            if value is not None:
                yield from (f"--{name}", str(value))
        for fault, share in self.faults.items():
            yield from ("--fault", f"{fault}={share}")
        for name, keys in (("key", self.keys), ("spent-key", self.spent)):
            for key in keys:
                yield from (f"--{name}", key)
        if self.without_models:
            yield "--without-models"
        if self.keep_bodies:
            yield "--keep-bodies"

    def _plain(self) -> Iterator[tuple[str, object]]:
        yield "host", self.host
        yield "port", self.port
        yield "latency", self.latency_s
        yield "first-token", self.first_token_s
        yield "per-token", self.per_token_s
        yield "ping", self.ping_s
        yield "retry-after", self.retry_after_s
        yield "seed", self.seed
        yield "requests-per-minute", self.requests_per_minute
        yield "input-tokens-per-minute", self.input_tokens_per_minute
        yield "output-tokens-per-minute", self.output_tokens_per_minute
        yield "journal-entries", self.journal_entries
        yield "window", self.window_tokens


def check_fault(name: str) -> None:
    """Raise ValueError unless the emulator can play this fault."""
    if name in STREAM_FAULTS:
        return
    if not name.isdigit() or not LOWEST_FAULT_STATUS <= int(name) <= HIGHEST_FAULT_STATUS:
        message = f"unknown fault {name!r}: give an HTTP error status or one of {', '.join(STREAM_FAULTS)}"
        raise ValueError(message)
