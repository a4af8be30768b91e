"""What the governor decides: a book of all calls to one provider, and what each of their fates changes in it.

    waiting --admit--> granted --its process looks--> flying --answered, refused, failed, dead--> gone

No file, no clock and no chance is in here: times are handed in as seconds of one clock, chance as a number from 0 to 1.

Whether a call may begin is decided by four things, all shared by every process:

    closed        nobody begins before the provider's `retry-after`, or a pause that doubles with each refusal, is over
    opened        how many may fly: few at first and after each closing, one more with each response that begins well
    window        how many may fly at most: halved by congestion, grown back by each success
    buckets       requests and tokens a minute, filled anew by every response's headers, less what is on its way
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prong.agents.governor.headers import KINDS, Told

MOST_AT_ONCE = 64
"""With how many calls at once a provider is met that has refused none."""

FIRST_CALLS = 8
"""How many calls may fly before the first response has told the limits."""

CALLS_AFTER_CLOSING = 2
"""How many calls may fly when a closing has ended, until one of them is answered: two, so that one may hang."""

GROWTH = 0.5
"""How much the window grows by one success."""

AGEING_S = 60.0
"""Waiting that counts as much as one more of priority, in seconds.

So a call waits for those of a priority higher by n only if they came no later than n minutes after it.
"""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0
"""The longest `retry-after` that is obeyed, in seconds; whoever asked for more is asked again after it."""

LONGEST_SPREAD_S = 1.0
"""By how much a closing is drawn out by chance, in seconds, so that several machines do not return together."""

SHORTEST_GAP_S = 0.01
LONGEST_GAP_S = 1.0
GAPS_IN_A_PAUSE = 8
"""Between two calls that begin after a closing lies an eighth of it, within these bounds in seconds, on average."""

CONFIRM_S = 2.0
"""A granted place that is not taken for so long, in seconds, goes to the next: its process stands still."""

LONGEST_CALL_S = 900.0
"""A place is free after so long, in seconds, even if its process lives: it may stand still, or be out of sight."""

MINUTE_S = 60.0
RESET_MARGIN_S = 2.0
CONGESTION = (429, 529)

WAITING, GRANTED, FLYING = 1, 2, 3


@dataclass(slots=True)
class Bucket:
    """A limit a minute (0: none is known); `level` was right at `at`, as told to a call that began at `as_of`."""

    limit: float = 0.0
    level: float = 0.0
    at: float = 0.0
    as_of: float = 0.0
    rate: float = 0.0

    def available(self, now: float) -> float:
        """What is there now, before what is on its way is taken off."""
        return min(self.limit, self.level + max(0.0, now - self.at) * self.rate)

    def learn(self, told: Told, *, now: float, as_of: float) -> None:
        """Believe what a response told, unless a call that began later has told more."""
        if self.limit and as_of < self.as_of:
            return
        rate = told.limit / MINUTE_S
        missing = told.limit - told.remaining
        if told.resets_in_s and told.resets_in_s > missing / rate + RESET_MARGIN_S:
            rate = max(missing, 1.0) / told.resets_in_s  # it refills more slowly than evenly over a minute
        self.limit, self.level, self.at, self.as_of, self.rate = told.limit, told.remaining, now, as_of, rate

    def spend(self, amount: float, now: float) -> None:
        """Take off what was used; the level may fall below empty."""
        self.level, self.at = self.available(now) - amount, now


@dataclass(slots=True)
class Call:
    """One call: who makes it, how important it is, since when it waits, when it was let go, what it will use."""

    ticket: int
    pid: int
    birth: int
    namespace: int
    priority: int
    since: float
    input: int
    output: int
    arrival: int = 0
    state: int = WAITING
    began: float = 0.0
    heard: bool = False
    asleep: bool = False
    place: int = -1

    def key(self) -> tuple[float, int]:
        """Lower goes first: a point of priority is as good as having come a minute earlier."""
        return self.since - AGEING_S * self.priority, self.arrival


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the first in line may not begin, and when that will be over, as far as time alone does it."""

    why: Literal["closed", "concurrency", "limit"]
    until: float | None = None
    kind: str = ""
    limit: float = 0.0


@dataclass(slots=True)
class Book:
    """All that the processes share.  `front` is the ticket that was first in line when the book was last closed."""

    window: float = float(MOST_AT_ONCE)
    opened: float = float(FIRST_CALLS)
    halved_at: float = -1.0
    closed_at: float = -1.0
    closed_until: float = -1.0
    next_start_at: float = -1.0
    failing_since: float = -1.0
    mean_input: float = 0.0
    mean_output: float = 0.0
    streak: int = 0
    refusals: int = 0
    episodes: int = 0
    answered: int = 0
    arrivals: int = 0
    closed_by: int = 0
    front: int = 0
    buckets: dict[str, Bucket] = field(default_factory=lambda: {kind: Bucket() for kind in KINDS})
    calls: dict[int, Call] = field(default_factory=dict)

    # --- the line

    def enrol(self, call: Call) -> None:
        """Stand in line; what the call will use is guessed from the others where it is given as -1."""
        if call.input < 0:
            call.input = int(self.mean_input)
        if call.output < 0:
            call.output = int(self.mean_output)
        self.arrivals += 1
        call.arrival = self.arrivals
        self.calls[call.ticket] = call

    def line(self) -> list[Call]:
        """Who waits, the next one first; whoever stands still is not in it."""
        return sorted((c for c in self.calls.values() if c.state == WAITING and not c.asleep), key=Call.key)

    def flying(self) -> list[Call]:
        """Who has a place."""
        return [call for call in self.calls.values() if call.state != WAITING]

    def admit(self, now: float, chance: float) -> tuple[list[Call], Hold | None]:
        """Let go whoever may go: who that is, and why the next may not."""
        self._reclaim(now)
        granted: list[Call] = []
        line = self.line()
        flying = self.flying() if line else []
        for call in line:
            hold = self._hold(call, flying, now)
            if hold is not None:
                return granted, hold
            call.state, call.began, call.heard = GRANTED, now, False
            flying.append(call)
            granted.append(call)
            if self.streak:
                gap = (self.closed_until - self.closed_at) / GAPS_IN_A_PAUSE
                self.next_start_at = now + 2 * chance * min(LONGEST_GAP_S, max(SHORTEST_GAP_S, gap))
        return granted, None

    def concurrency(self) -> int:
        """How many may fly now."""
        return max(1, int(min(self.window, self.opened)))

    def _reclaim(self, now: float) -> None:
        for call in list(self.calls.values()):
            if call.state == GRANTED and now - call.began > CONFIRM_S:
                call.state, call.asleep = WAITING, True
            elif call.state == FLYING and now - call.began > LONGEST_CALL_S:
                del self.calls[call.ticket]

    def _hold(self, call: Call, flying: list[Call], now: float) -> Hold | None:
        reopens_at = max(self.closed_until, self.next_start_at)
        if now < reopens_at:
            return Hold("closed", reopens_at)
        if len(flying) >= self.concurrency():
            return Hold("concurrency")
        for kind, bucket in self.buckets.items():
            if bucket.limit:
                reserved = sum(_on_its_way(kind, other, bucket) for other in flying)
                needed = min(_needs(kind, call), bucket.limit)
                missing = needed + reserved - bucket.available(now)
                if missing > 0:
                    by_time = needed + reserved <= bucket.limit
                    return Hold("limit", now + missing / bucket.rate if by_time else None, kind, bucket.limit)
        return None

    # --- what becomes of a call

    def hear(self, call: Call, told: Mapping[str, Told], now: float) -> None:
        """A good response has begun."""
        if call.heard:
            return
        call.heard = True
        for kind, bucket in self.buckets.items():
            if kind in told:
                bucket.learn(told[kind], now=now, as_of=call.began)
            else:
                bucket.limit = 0.0
        self.opened = min(self.opened + 1, float(2**20))
        if call.began > self.closed_at:
            self.streak = 0
            self.next_start_at = -1.0

    def answer(self, call: Call, used: tuple[int, int] | None, now: float, most: int) -> None:
        """The response is whole; `used` is its counted input and its output, in tokens, where it told them."""
        self.calls.pop(call.ticket, None)
        self.answered += 1
        self.window = min(float(most), self.window + GROWTH)
        if used is not None:
            counted, output = used
            self.mean_input = _mean(self.mean_input, counted, self.answered)
            self.mean_output = _mean(self.mean_output, output, self.answered)
            # A response's headers were made before its output was.
            for kind in ("output-tokens", "tokens"):
                if self.buckets[kind].limit:
                    self.buckets[kind].spend(output, now)

    def refuse(self, call: Call, status: int, asked: float | None, now: float, chance: float) -> None:
        """The provider refused the call, or there was no answer at all (status 0): all keep away for a while.

        `asked` is its `retry-after`.  What began before the last closing belongs to the same trouble, and neither
        halves again nor makes the pause longer; a later `retry-after` counts always.
        """
        self.calls.pop(call.ticket, None)
        self.refusals += 1
        if status in CONGESTION and call.began > self.halved_at:
            self.window = max(1.0, self.window / 2)
            self.halved_at = now
            self.episodes += 1
        is_new = call.began > self.closed_at
        if is_new:
            if not self.streak:
                self.failing_since = now
            self.streak += 1
            self.closed_at = now
            self.opened = float(CALLS_AFTER_CLOSING)
        pause = 0.0
        if asked is not None:
            asked = min(asked, LONGEST_RETRY_AFTER_S)
            pause = asked + chance * min(LONGEST_SPREAD_S, asked / 10)
        elif is_new:
            pause = backoff(self.streak, chance)
        if now + pause > self.closed_until:
            self.closed_until = now + pause
            self.closed_by = status

    def learn(self, call: Call, told: Mapping[str, Told], now: float) -> None:
        """Believe the limits that a refusal told."""
        for kind, one in told.items():
            self.buckets[kind].learn(one, now=now, as_of=call.began)

    def outage_s(self, now: float) -> float:
        """For how long the provider has answered nobody, in seconds."""
        return now - self.failing_since if self.streak else 0.0

    def leave(self, ticket: int) -> None:
        """The call is over, or its process is dead."""
        self.calls.pop(ticket, None)


def backoff(attempt: int, chance: float) -> float:
    """How long to wait after so many failures in a row, in seconds."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 10)) * (0.5 + chance / 2)


def _mean(mean: float, value: float, count: int) -> float:
    """A mean of the last ten or so."""
    return mean + (value - mean) / min(count, 10)


def _needs(kind: str, call: Call) -> float:
    return {"requests": 1, "input-tokens": call.input, "output-tokens": call.output}.get(kind, call.input + call.output)


def _on_its_way(kind: str, call: Call, bucket: Bucket) -> float:
    """What a call in flight will still take from a bucket, of which the bucket's level does not know yet."""
    is_counted = call.heard or call.began < bucket.as_of
    if kind == "output-tokens":
        return call.output
    if kind == "tokens":
        return call.output + (0 if is_counted else call.input)
    return 0.0 if is_counted else _needs(kind, call)
