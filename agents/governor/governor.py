"""The governor: one for each provider, key and family of models, shared by all processes of this user.

    turn --waits for its place--> in flight --heard, answered | refused | failed--> over

What the provider allows is learnt from its responses; what one process hears, all obey (see governor_book).  A call
that waits sleeps until its time has come or until whoever frees a place rings for it.  Only the first in line looks
around twice a second, for places whose processes have died; those behind it look ever more rarely.

The governor is there to spare the provider, never to stop the work: where its file cannot be used, it says so once in
the log and lets calls pass, each pausing after its own failures.
"""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prong.agents.governor.book import (
    FLYING,
    MOST_AT_ONCE,
    WAITING,
    Book,
    Call,
    Hold,
)
from prong.agents.governor.file import BookFile, Damaged, Identity, is_dead, who
from prong.agents.governor.turn import Decide, Report, Turn, chance, nothing
from prong.agents.models import lookup
from prong.state import Clock, StoreError, SystemClock
from prong.state.bell import Bells, open_bells, slot_of
from prong.state.process import identity

LOOK_S = 0.5
"""How long the first in line sleeps at most, in seconds; the n-th sleeps n times as long."""

LONGEST_SLEEP_S = 15.0
REREAD_S = 2.0
"""How often a priority that is given as a function is asked for again, in seconds."""

TOLD_FROM_S = 1.0
"""From what length on a wait is told, in seconds."""

_TICKETS = 2**62

T = TypeVar("T")
Priority = int | Callable[[], int]


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait that is worth telling: of what kind, why in words, and for how many seconds at least."""

    kind: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Limit:
    """A learnt limit a minute, and what is left of it now by what the last response said."""

    kind: str
    limit: float
    remaining: float


@dataclass(frozen=True, slots=True)
class GovernorStatistics:
    """How one provider is doing; `concurrency` may fly at once, `closed_for_s` is 0 where nobody has to keep away.

    `refusals` and `episodes` (of congestion, each of which halved the window) count since the file was begun.
    """

    in_flight: int
    waiting: int
    concurrency: int
    window: float
    limits: tuple[Limit, ...]
    closed_for_s: float
    closed_by: int
    answered: int
    refusals: int
    episodes: int


def default_directory() -> Path:
    """Where the governor of this user's processes keeps its files, which have mode 0700."""
    home = os.environ.get("XDG_STATE_HOME") or ""
    state = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return state / "prong" / "governor"


def family(model: str) -> str:
    """What a model shares its limits with: its line, or nobody where the model is unknown.

    >>> family("claude-opus-5-5"), family("some-other-model")
    ('opus', 'some-other-model')
    """
    known = lookup(model)
    return known.line if known else model


class Governor:
    """The governor of one identity, with its files in `directory`.

    It opens nothing before its first turn and keeps nothing open between turns, so it may be made before a fork.  The
    clock must read alike in every process that shares the directory, whatever swarm it belongs to: by default it is
    the machine's own, which never jumps.
    """

    def __init__(
        self, directory: Path, identity: Identity, clock: Clock | None = None, *, most_at_once: int = MOST_AT_ONCE
    ) -> None:
        self.identity = identity
        self._clock = clock or SystemClock(0.0)
        self._most = most_at_once
        self._file = BookFile(directory, identity, self._tell_trouble)
        self._bells: Bells | None = None
        self._is_broken = False

    @contextmanager
    def turn(
        self, *, priority: Priority = 0, input_tokens: int | None = None, output_tokens: int | None = None,
        own_failures: int = 0, since: float | None = None, waits: Callable[[Wait], None] | None = None,
    ) -> Iterator[Turn]:  # fmt: skip
        """Wait for a place; whatever happens in the block, the place is free after it.

        `input_tokens` (without what is read from the cache) and `output_tokens` are what the call will probably use;
        left out, they are guessed from the calls before.  A call that is tried again gives as `since` the value of
        its first turn, so that it keeps its seniority, and as `own_failures` how often it had to pause by itself.
        `waits` is told of waits of a second and more.  A higher `priority` goes first; a minute of waiting counts as
        much as one more of it.
        """
        ticket = 1 + secrets.randbelow(_TICKETS)
        since = self._clock.now() if since is None else since
        pid, birth, namespace = _me(os.getpid())
        call = Call(
            ticket, pid, birth, namespace, _value(priority), since,
            -1 if input_tokens is None else input_tokens, -1 if output_tokens is None else output_tokens,
        )  # fmt: skip
        turn = Turn(self.change, self._clock, ticket, own_failures=own_failures, since=since, most_at_once=self._most)
        try:
            self._wait(call, priority, waits)
            yield turn
        finally:
            turn.leave()

    def statistics(self) -> GovernorStatistics:
        """How the provider is doing now; all zero where nothing is known yet, or the file cannot be read."""
        try:
            book = self._file.peek()
        except (OSError, Damaged):
            book = Book()
        now = self._clock.now()
        return GovernorStatistics(
            in_flight=len(book.flying()),
            waiting=sum(call.state == WAITING for call in book.calls.values()),
            concurrency=min(self._most, book.concurrency()),
            window=min(float(self._most), book.window),
            limits=tuple(
                Limit(kind, bucket.limit, max(0.0, bucket.available(now)))
                for kind, bucket in book.buckets.items()
                if bucket.limit
            ),
            closed_for_s=max(0.0, book.closed_until - now),
            closed_by=book.closed_by,
            answered=book.answered,
            refusals=book.refusals,
            episodes=book.episodes,
        )

    # --- changes of the book, each followed by letting go whoever may go now

    def change(self, decide: Decide, report: Report[T], *, own: int = 0) -> T | None:
        """Change the book, let go whoever may go, ring for them, and return the report.

        `report` gets the book after that, and why the first in line may not begin.  None where the file cannot be
        used.  `own` is the ticket that needs no ringing.
        """

        def decided(book: Book) -> tuple[T, list[int]]:
            now = self._clock.now()
            book.window = min(book.window, float(self._most))
            decide(book, now)
            granted, hold = book.admit(now, chance())
            to_ring = [call.ticket for call in granted]
            line = book.line()
            front = line[0].ticket if line else 0
            if front not in (0, book.front):
                to_ring.append(front)  # it is the one that looks at the time from now on
            book.front = front
            return report(book, hold, now), to_ring

        try:
            result, to_ring = self._file.change(decided)
        except OSError as error:
            self._break(error)
            return None
        self._is_broken = False
        self._ring(ticket for ticket in to_ring if ticket != own)
        return result

    def _wait(self, call: Call, priority: Priority, waits: Callable[[Wait], None] | None) -> None:
        """Stand in line until it is our turn, or until it turns out that the file cannot be used."""
        teller = _Teller(waits)
        bells: Bells | None = None
        slot = slot_of(call.ticket)
        while True:
            seen = bells.read(slot) if bells else 0
            place = self._look(call, priority)
            if place is None or place.hold is None:
                return
            if place.ahead == 0 and self._bury():
                continue
            teller.tell(place, self._clock.now())
            if bells is None:
                bells = self._open_bells()
                if bells is None:
                    time.sleep(LOOK_S)
                continue  # what rang before the bell was read is not heard
            sleep = min(REREAD_S if callable(priority) else LONGEST_SLEEP_S, LOOK_S * (place.ahead + 1))
            if place.ahead == 0 and place.hold.until is not None:
                sleep = min(sleep, max(0.0, place.hold.until - self._clock.now()))
            bells.wait(slot, seen, sleep)

    def _look(self, call: Call, priority: Priority) -> _Place | None:
        """Enrol, or look whether we were let go; None where the file cannot be used."""
        value = _value(priority)

        def look(book: Book, _now: float) -> None:
            if call.ticket not in book.calls:
                book.enrol(_copy(call))
            mine = book.calls[call.ticket]
            mine.asleep, mine.priority = False, value

        def place(book: Book, hold: Hold | None, now: float) -> _Place:
            mine = book.calls[call.ticket]
            if mine.state == WAITING:
                return _Place(hold, book.line().index(mine), len(book.flying()), now)
            mine.state = FLYING
            return _Place(None, 0, 0, now)

        return self.change(look, place, own=call.ticket)

    def _bury(self) -> bool:
        """Free the places of the dead; whether there were any."""
        try:
            dead = [call.ticket for call in self._file.peek().calls.values() if is_dead(call)]
        except (OSError, Damaged):
            return False

        def bury(book: Book, _now: float) -> None:
            for ticket in dead:
                book.leave(ticket)

        if dead:
            self.change(bury, nothing)
        return bool(dead)

    def _ring(self, tickets: Iterator[int]) -> None:
        for ticket in tickets:
            bells = self._open_bells()
            if bells:
                bells.ring(slot_of(ticket))

    def _open_bells(self) -> Bells | None:
        if self._bells is None:
            with suppress(StoreError, OSError):
                self._bells = open_bells(self._file.directory / "bells")
        return self._bells

    def _break(self, error: OSError) -> None:
        if not self._is_broken:
            self._warn("governor.bypassed", str(error))
        self._is_broken = True

    def _tell_trouble(self, problem: str) -> None:
        self._warn("governor.renewed", problem)

    def _warn(self, what: str, problem: str) -> None:
        import structlog  # noqa: PLC0415  it imports much, which most commands can do without

        structlog.get_logger().warning(what, problem=problem, directory=str(self._file.directory))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a call stands: behind how many, why the first of them may not begin, and how many are in flight."""

    hold: Hold | None
    ahead: int
    in_flight: int
    now: float


class _Teller:
    """Tells of a wait when it is long, and again when its reason is another one."""

    def __init__(self, waits: Callable[[Wait], None] | None) -> None:
        self._waits = waits
        self._told = ""
        self._began: float | None = None

    def tell(self, place: _Place, now: float) -> None:
        self._began = place.now if self._began is None else self._began  # when it came into line
        assert place.hold is not None
        hold = place.hold
        seconds = 0.0 if hold.until is None else max(0.0, hold.until - now)
        is_long = seconds >= TOLD_FROM_S or now - self._began >= TOLD_FROM_S
        if self._waits is None or not is_long or hold.why == self._told:
            return
        self._told = hold.why
        self._waits(Wait(hold.why, _in_words(place), seconds))


def _in_words(place: _Place) -> str:
    assert place.hold is not None
    hold = place.hold
    line = f"; {place.ahead} calls stand before this one" if place.ahead else ""
    if hold.why == "closed":
        return f"all calls keep away from the provider for a while after a refusal{line}"
    if hold.why == "limit":
        return f"the limit of {hold.limit:g} {hold.kind.replace('-', ' ')} a minute is reached{line}"
    return f"{place.in_flight} calls are in flight, and more at once are not sent now{line}"


def _copy(call: Call) -> Call:
    """The same call before anything was decided about it: the book that it was entered in may have been replaced."""
    return Call(call.ticket, call.pid, call.birth, call.namespace, call.priority, call.since, call.input, call.output)


def _value(priority: Priority) -> int:
    return priority() if callable(priority) else priority


@functools.lru_cache(maxsize=1)
def _me(pid: int) -> tuple[int, int, int]:
    """This process as the book names it; asked with its id, so that a fork has a name of its own."""
    return who(identity(), pid)
