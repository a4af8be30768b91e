"""Processes that are forked before the clock starts, begin together, and are asked for several rounds.

    parent: Crew(8, make) ... run(0.5) --> [result of each]
    child:  with make(index) as work: at the appointed time work(0.5)

They sleep between their rounds, so the crews of all contestants can live at once and take turns.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

Work = Callable[[Any], Any]
Make = Callable[[int], AbstractContextManager[Work]]

PATIENCE_S = 30.0
"""How long a round may take beyond what it was asked to, in seconds, before the crew counts as stuck."""

_LEAD_S = 0.02
"""How long before its beginning a round is announced, in seconds; more for a larger crew."""

_fork = multiprocessing.get_context("fork")


class Stuck(Exception):
    """A round that did not end in time, or failed: the contestant hangs or raised."""


class Crew:
    """`size` processes that each do what `make(index)` made; ended with the block."""

    def __init__(self, size: int, make: Make) -> None:
        self._ends: list[Connection] = []
        self._processes = []
        for index in range(size):
            here, there = _fork.Pipe()
            process = _fork.Process(target=_serve, args=(make, index, there, [*self._ends, here]), daemon=True)
            process.start()
            there.close()
            self._ends.append(here)
            self._processes.append(process)
        self._collect(PATIENCE_S)

    @property
    def pids(self) -> list[int]:
        """The processes' numbers, in the order of their indexes."""
        return [process.pid or 0 for process in self._processes]

    def run(self, order: Any, *, expected_s: float = 0.0) -> list[Any]:
        """Let all begin at one moment, and return what each returned; raises `Stuck`."""
        begin = time.monotonic() + _LEAD_S + len(self._ends) / 1000
        for index in range(len(self._ends)):
            self._send(index, (begin, order))
        return self._collect(expected_s + PATIENCE_S)

    def tell(self, index: int, order: Any) -> None:
        """Give an order to one of them; its answer is read with `hear`."""
        self._send(index, (0.0, order))

    def hear(self, index: int, *, patience_s: float = PATIENCE_S) -> Any:
        """The answer of one of them; raises `Stuck`."""
        if not self._ends[index].poll(max(patience_s, 0)):
            raise Stuck(f"process {index} of {len(self._ends)} gave no answer")
        try:
            failed, result = self._ends[index].recv()
        except EOFError:
            raise Stuck(f"process {index} died") from None
        if failed:
            raise Stuck(result)
        return result

    def first_to_answer(self, among: Collection[int]) -> int:
        """Which of them answers first; its answer is read then.  Raises `Stuck`."""
        ready = wait([self._ends[index] for index in among], PATIENCE_S)
        if not ready:
            raise Stuck(f"none of {len(among)} processes gave an answer")
        index = next(index for index in among if self._ends[index] is ready[0])
        self.hear(index)
        return index

    def _send(self, index: int, message: tuple[float, Any]) -> None:
        try:
            self._ends[index].send(message)
        except OSError as error:
            raise Stuck(f"process {index} died") from error

    def _collect(self, patience_s: float) -> list[Any]:
        until = time.monotonic() + patience_s
        return [self.hear(index, patience_s=until - time.monotonic()) for index in range(len(self._ends))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            try:
                end.send(None)
            except OSError:
                continue  # it is dead already
        until = time.monotonic() + (2.0 if error is None else 0.2)
        for process in self._processes:
            process.join(max(until - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()
        for end in self._ends:
            end.close()


def _serve(make: Make, index: int, orders: Connection, others: Sequence[Connection]) -> None:
    for end in others:
        end.close()
    try:
        with make(index) as work:
            orders.send((False, None))
            while (announced := orders.recv()) is not None:
                begin, order = announced
                time.sleep(max(begin - time.monotonic(), 0))
                orders.send(_answer(work, order))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except BaseException:  # noqa: BLE001  whatever it was, the parent reports it
        orders.send((True, traceback.format_exc()))


def _answer(work: Work, order: Any) -> tuple[bool, Any]:
    """Whether it failed, and what it returned or how it failed."""
    try:
        return False, work(order)
    except Exception:  # noqa: BLE001  whatever it was, the parent reports it
        return True, traceback.format_exc()


@dataclass(frozen=True, slots=True)
class Count:
    """How often something was done, in how many seconds, and in how many of the CPU."""

    times: int
    seconds: float
    cpu_s: float


def counting(once: Callable[[], Any]) -> Work:
    """Work that does something over and over for so many seconds."""

    def work(window_s: float) -> Count:
        began, cpu_began = time.monotonic(), time.process_time()
        end = began + window_s
        times = 0
        while time.monotonic() < end:
            once()
            times += 1
        return Count(times, time.monotonic() - began, time.process_time() - cpu_began)

    return work


def per_second(counts: Sequence[Count]) -> float:
    """The rate of a whole crew."""
    return sum(count.times / count.seconds for count in counts)


def cpu_us(counts: Sequence[Count]) -> float:
    """Microseconds of CPU that each time took, which other programs on the machine change less than the rate."""
    return sum(count.cpu_s for count in counts) / max(sum(count.times for count in counts), 1) * 1e6
