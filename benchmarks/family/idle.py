"""What processes that wait for a lock cost while nothing happens, and how many of them a wake-up touches.

CPU is the kernel's own count of the nanoseconds that each thread ran.  A process was touched where it has been
scheduled in the time around a release; those that run anyway, as they do from time to time, are counted just before,
over as long a time, and taken off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claims import Claim, at_most, median
from family.contest import Scale
from family.crew import Crew, Make, Work
from family.ours import joined, swarm_directory, until_waiting

_LOOK_S = 0.015
"""How long one looks for processes that have run, in seconds."""


def measure(scale: Scale) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Two hundred waiters, or fifty where it must be quick."""
    waiters, watched_s, wakes = (50, 2.0, 9) if scale.quick else (200, 12.0, 21)
    with swarm_directory() as directory, Crew(waiters + 1, _of_prong(directory)) as crew:
        crew.tell(0, "acquire")
        crew.hear(0)
        for index in range(1, waiters + 1):
            crew.tell(index, "acquire")
        until_waiting(directory, waiters)
        time.sleep(1)  # what the last of them did to get in line is over then
        share = _cpu_share(crew.pids[1:], watched_s)
        anyway, touched = _wakes(crew, waiters, wakes)
    beyond = median(touched) - median(anyway)
    rows = [
        {"idle waiters": waiters, "percent of a core": round(share * 100, 3), "watched s": watched_s},
        {"wake-ups": wakes, "waiters that run anyway": median(anyway), "that run around a wake-up": median(touched)},
    ]
    return [
        at_most(f"{waiters} idle waiters together", share * 100, 1, "percent of a core"),
        at_most(f"processes of {waiters} that a wake-up touches", beyond, 1, "processes"),
    ], rows


def _of_prong(directory: Path) -> Make:
    @contextmanager
    def make(_index: int) -> Iterator[Work]:
        with joined(directory) as swarm:
            lock = swarm.Lock("busy")
            yield lambda what: bool((lock.acquire if what == "acquire" else lock.release)())

    return make


def _cpu_share(pids: list[int], watched_s: float) -> float:
    began, before = time.monotonic(), sum(_cpu_s(pid) for pid in pids)
    time.sleep(watched_s)
    return (sum(_cpu_s(pid) for pid in pids) - before) / (time.monotonic() - began)


def _wakes(crew: Crew, waiters: int, wakes: int) -> tuple[list[int], list[int]]:
    """How many of those who wait ran in a while without a release, and in one with it."""
    anyway, touched = [], []
    holder, waiting = 0, set(range(1, waiters + 1))
    for _ in range(wakes):
        before = {index: _switches(crew.pids[index]) for index in waiting}
        time.sleep(_LOOK_S)
        between = {index: _switches(crew.pids[index]) for index in waiting}
        crew.tell(holder, "release")
        crew.hear(holder)
        heir = crew.first_to_answer(waiting)
        time.sleep(_LOOK_S)
        after = {index: _switches(crew.pids[index]) for index in waiting}
        anyway.append(sum(between[index] > before[index] for index in waiting))
        touched.append(sum(after[index] > between[index] for index in waiting))
        holder = heir
        waiting.discard(heir)
    return anyway, touched


def _cpu_s(pid: int) -> float:
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _switches(pid: int) -> int:
    """How often the process has gone to sleep, all its threads together."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)
