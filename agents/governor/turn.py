"""One attempt of a call, told by whoever makes it: what became of it, and what that costs."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prong.agents.governor.book import CONGESTION, LONGEST_RETRY_AFTER_S, MOST_AT_ONCE, Book, Call, Hold, backoff
from prong.agents.governor.headers import Told, limits, retry_after
from prong.agents.models import Usage
from prong.state import Clock

_SERVER_FAULTS = 500

T = TypeVar("T")
Decide = Callable[[Book, float], None]
Report = Callable[[Book, Hold | None, float], T]


class Change(Protocol):
    """Changes the shared book and returns the report; None where there is no book."""

    def __call__(self, decide: Decide, report: Report[T], *, own: int = 0) -> T | None:
        """See `Governor.change`."""
        ...


@dataclass(frozen=True, slots=True)
class Pause:
    """What a failure costs: `seconds` until the next try, of which the call has to sleep `own_s` by itself first.

    `outage_s` is for how long the provider has answered nobody at all, as far as that is known.
    """

    seconds: float
    own_s: float
    outage_s: float = 0.0


class Turn:
    """One attempt of a call: say what became of it, once."""

    def __init__(
        self,
        change: Change,
        clock: Clock,
        ticket: int,
        *,
        own_failures: int,
        since: float,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.since = since
        self._change = change
        self._clock = clock
        self._ticket = ticket
        self._failures = own_failures + 1
        self._most = most_at_once
        self._pid = os.getpid()
        self._has_begun = False
        self._is_over = False

    def heard(self, headers: Mapping[str, str]) -> None:
        """A good response has begun: its headers tell the limits, and the next may come."""
        told = limits(headers, self._clock.wall())
        self._has_begun = True

        def hear(book: Book, now: float) -> None:
            call = book.calls.get(self._ticket)
            if call is not None:
                book.hear(call, told, now)

        self._change(hear, nothing)

    def answered(self, headers: Mapping[str, str] | None = None, usage: Usage | None = None) -> None:
        """The response is whole; `headers` only where they were not `heard` before."""
        told = None if headers is None else limits(headers, self._clock.wall())
        used = None if usage is None else (usage.input + usage.cache_write, usage.output)

        def answer(book: Book, now: float) -> None:
            call = book.calls.get(self._ticket)
            if call is not None:
                if told is not None:
                    book.hear(call, told, now)
                book.answer(call, used, now, self._most)

        self._end(answer, nothing)

    def refused(self, status: int, headers: Mapping[str, str]) -> Pause:
        """The provider refused the call for now: 408, 409, 429, 5xx.  All calls keep away for a while."""
        wall = self._clock.wall()
        told, asked = limits(headers, wall), retry_after(headers, wall)
        if asked is None and status < _SERVER_FAULTS and status not in CONGESTION:
            self.leave()
            return self._pause_alone(None)
        own = 0.0 if status in CONGESTION else backoff(self._failures, chance())
        return self._close(status, asked, told, own)

    def failed(self) -> Pause:
        """No answer came, or it broke off.  Where none had begun, all calls keep away for a while."""
        if self._has_begun:
            self.leave()
            return self._pause_alone(None)
        return self._close(0, None, {}, backoff(self._failures, chance()))

    def leave(self) -> None:
        """The call is over, and nothing is to be learnt from it; nothing where it was over before."""
        self._end(lambda book, _: book.leave(self._ticket), nothing)

    def _close(self, status: int, asked: float | None, told: Mapping[str, Told], own: float) -> Pause:
        def refuse(book: Book, now: float) -> None:
            call = book.calls.get(self._ticket)
            if call is not None:
                book.learn(call, told, now)
                book.refuse(call, status, asked, now, chance())
                known.append(call)

        known: list[Call] = []
        pause = self._end(
            refuse, lambda book, _, now: Pause(max(own, book.closed_until - now), own, book.outage_s(now))
        )
        # A book that was damaged does not know the call, and nobody else has heard of its trouble.
        return pause if pause is not None and known else self._pause_alone(asked)

    def _pause_alone(self, asked: float | None) -> Pause:
        """The pause of a call that shares its trouble with nobody."""
        own = backoff(self._failures, chance())
        if asked is not None:
            own = min(asked, LONGEST_RETRY_AFTER_S) + own / 4
        return Pause(own, own)

    def _end(self, decide: Decide, report: Report[T]) -> T | None:
        # A fork inside the block leaves it, too, but the place is its parent's.
        if self._is_over or os.getpid() != self._pid:
            return None
        result = self._change(decide, report, own=self._ticket)
        self._is_over = True
        return result


def nothing(_book: Book, _hold: Hold | None, _now: float) -> None:
    """The report of a change that nothing is to be known of."""


def chance() -> float:
    """A number from 0 to 1, which keeps calls apart that were refused together."""
    return random.random()  # noqa: S311  jitter


@contextmanager
def alone(clock: Clock, *, own_failures: int = 0, since: float | None = None, **_: Any) -> Iterator[Turn]:
    """A turn that waits for nobody and of which nobody hears, for calls without a governor."""
    yield Turn(_no_change, clock, 0, own_failures=own_failures, since=clock.now() if since is None else since)


def _no_change(decide: Decide, report: Report[T], *, own: int = 0) -> T | None:  # noqa: ARG001  there is no book
    return None
