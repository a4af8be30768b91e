"""The processes that an executor starts: looked after by one thread, and replaced when they die.

(none) --a call, and nobody is free--> booting --ready--> working --told to leave--> (gone)
                                          |                 +--killed--> buried, and replaced if there is work
                                          +--never ready, three times in a row--> the pool is broken
"""

from __future__ import annotations

import atexit
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from prong.primitives import holdings
from prong.primitives.calls import Call, Calls
from prong.primitives.worker import INITIALIZER_FAILED, UNGUARDED, Job, queue_of, serve
from prong.state import Membership, ProngError, process

STILLBORN = 3
"""After how many processes in a row that died before they were ready a pool is broken."""

_BREAKS = {
    INITIALIZER_FAILED: "its initializer raised an exception",
    UNGUARDED: "each of its processes imports this program, and the program then uses the executor again; "
    'what it does, but for its imports, functions and classes, belongs under `if __name__ == "__main__":`',
}
"""By exit status: what no other process would do better."""


@dataclass
class Hand:
    """A process of the pool; `agent` is its number in the swarm once it is ready."""

    process: BaseProcess
    ready: Connection
    agent: int | None = None


class Pool:
    """The processes of one executor object, at most `size`."""

    def __init__(self, member: Membership, job: Job, *, size: int, context: BaseContext, calls: Calls) -> None:
        self._abandoned = False
        self._calls = calls
        self._context = context
        self._hands: list[Hand] = []
        self._job = job
        self._lock = threading.RLock()
        self._member = member
        self._queue = queue_of(member, job.name)
        self._size = size
        self._stillborn = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def processes(self) -> int:
        """How many there are."""
        return len(self._hands)

    def grow(self) -> None:
        """Start one more process, if there may be one more."""
        with self._lock:
            if len(self._hands) >= self._size or self._stopping:
                return
            ready, theirs = self._context.Pipe(duplex=False)
            hand = self._context.Process(  # type: ignore[attr-defined]  # every context has one
                target=serve, args=(self._job, theirs), name=f"{self._job.name} worker"
            )
            hand.start()
            theirs.close()
            self._hands.append(Hand(hand, ready))
            if self._thread is None:
                self._woken, self._waker = self._context.Pipe(duplex=False)
                self._thread = threading.Thread(target=self._look_after, name="prong-pool", daemon=True)
                self._thread.start()
                atexit.register(self._end)
        self._wake()

    def stop(self) -> None:
        """Let every process leave once its call is run; returns at once."""
        with self._lock:
            self._stopping = True
            for hand in self._hands:
                hand.process.terminate()
        atexit.unregister(self._end)
        self._wake()

    def abandon(self) -> None:
        """Let every process leave once all calls are run; returns at once.  It may come in the middle of anything."""
        self._abandoned = True
        self._wake()

    def join(self) -> None:
        """Wait until all have left."""
        if self._thread is not None:
            self._thread.join()

    def _end(self) -> None:
        """At the end of the program, which waits for its calls as the standard library's does."""
        for call in self._calls.open():
            call.join()
        self.stop()
        self.join()

    def _stop_after(self, calls: list[Call]) -> None:
        left = set(calls)

        def over(call: Any) -> None:
            left.discard(call)
            if not left:
                self.stop()

        for call in calls:
            call.add_done_callback(over)
        if not calls:
            self.stop()

    def _wake(self) -> None:
        if self._thread is not None:
            with suppress(OSError):  # the thread has ended
                self._waker.send_bytes(b".")

    def _look_after(self) -> None:
        with process.helping():
            while True:
                with self._lock:
                    hands = list(self._hands)
                    if not hands and self._stopping:
                        break
                ready = [hand.ready for hand in hands if hand.agent is None and not hand.ready.closed]
                came = wait([self._woken, *ready, *(hand.process.sentinel for hand in hands)])
                if self._woken in came:
                    self._woken.recv_bytes()
                if self._abandoned and not self._stopping:
                    self._abandoned = False
                    self._stop_after(self._calls.open())
                for hand in hands:
                    self._see(hand, came)
        self._member.store.close()
        self._waker.close()

    def _see(self, hand: Hand, came: list[Any]) -> None:
        if hand.ready in came or hand.process.sentinel in came:
            with suppress(EOFError, OSError):
                if hand.agent is None and hand.ready.poll():
                    hand.agent = hand.ready.recv()
                    self._stillborn = 0
                    if self._stopping:
                        hand.process.terminate()  # the first one may have come before it could hear
        if hand.process.sentinel in came:
            self._bury(hand)
        elif hand.ready in came and hand.agent is None:
            hand.ready.close()

    def _bury(self, hand: Hand) -> None:
        """Give back what a dead process held, and have another in its place if there is work for it."""
        hand.process.join()
        hand.ready.close()
        how = _how(hand.process)
        with suppress(ProngError):  # where the database cannot be written now, whoever keeps the watch will do it
            if hand.agent is not None:
                with self._member.store.transaction(None) as tx:
                    holdings.bury(tx, hand.agent, state="dead", reason=how, task=None)
        with self._lock:
            self._hands.remove(hand)
        if self._stopping:
            return
        if hand.agent is None:
            self._stillborn += 1
            why = _BREAKS.get(hand.process.exitcode or 0)
            if why is not None or self._stillborn >= STILLBORN:
                self._calls.broke(why or f"{how} before it was ready; it may have written more to standard error")
                self.stop()
                return
        with suppress(ProngError):
            if not self._queue.empty():
                self.grow()


def _how(hand: BaseProcess) -> str:
    code = hand.exitcode
    if code is not None and code < 0:
        return f"worker process {hand.pid} was killed by {signal.Signals(-code).name}"
    return f"worker process {hand.pid} ended with status {code}"
