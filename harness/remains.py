"""What an earlier life of a swarm left behind, ended before the next one begins.

A supervisor that is killed takes its nursery and its agents with it, as a rule within milliseconds.  But a nursery that
stands still or dies in the same moment ends nobody, and a command that goes on in a clone would write there beside the
next agent's.  The database refuses whatever such processes write to it; the files of a clone cannot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from prong.state import ProngError

MARK = "PRONG_SWARM_DIRECTORY"
"""The variable by which the nursery and all that it forks are known; its tools are known by `PRONG_SHARED`."""

ENDING_S = 10.0
"""How long the end of what was killed is waited for, in seconds."""


class RemainsLive(ProngError):
    """Processes of an earlier life do not end although they were killed."""

    def __init__(self, pids: tuple[int, ...]) -> None:
        self.pids = pids

    def __str__(self) -> str:
        which = ", ".join(map(str, self.pids))
        return f"processes of the swarm's earlier run were killed and do not end: {which}; see what keeps them with ps"


def end_remains(directory: Path) -> int:
    """Kill every process of the swarm in `directory` and wait until all are gone; returns how many there were.

    For who is alone with the swarm and has started nothing yet.  Raises `RemainsLive`.
    """
    deadline = time.monotonic() + ENDING_S
    ended: set[int] = set()
    while left := list(_remains(directory)):
        if time.monotonic() >= deadline:
            raise RemainsLive(tuple(sorted(one.pid for one in left)))
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
            ended.add(process.pid)
        time.sleep(0.01)
    return len(ended)


def _remains(directory: Path) -> Iterator[psutil.Process]:
    """The processes that say by their environment that they are the swarm's, and what they have started."""
    marks = {f"{MARK}={directory}".encode(), f"PRONG_SHARED={directory / 'shared'}".encode()}
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marks.isdisjoint(file.read_bytes().split(b"\0")):  # of a dead one not yet buried it is empty
                continue
            found = psutil.Process(int(file.parent.name))
            family = [*found.children(recursive=True), found]
        except (OSError, psutil.NoSuchProcess):
            continue
        yield from (one for one in family if one.pid not in ours and _lives(one))


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
