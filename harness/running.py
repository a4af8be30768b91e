"""Running a swarm in this process: its emulator where it is offline, its supervisor, and a display beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.harness.supervisor import Supervisor
from prong.harness.swarms import Offline, Swarm

Display = Callable[[Swarm, threading.Event], None]
"""Shows a swarm until the event is set; runs in a thread of its own."""

_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def run_swarm(swarm: Swarm, *, api_key: str | None, display: Display) -> str:
    """Run until all is done or somebody stops it; returns the swarm's state then."""
    with _endpoint(swarm) as (emulator, base_url):
        supervisor = Supervisor(
            swarm,
            settings=swarm.settings(api_key if emulator is None else "offline", base_url),
            environment=environment(os.environ),
            keep=lambda: {emulator.pid} if emulator is not None else set(),
        )
        over = threading.Event()
        shown = threading.Thread(target=display, args=(swarm, over), name="display")
        shown.start()
        try:
            return supervisor.run()
        finally:
            over.set()
            shown.join()


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What the nursery sees of our environment: no key reaches a process that runs tools."""
    return {name: value for name, value in ours.items() if not any(word in name.upper() for word in _SECRET)}


@contextmanager
def _endpoint(swarm: Swarm) -> Iterator[tuple[EmulatorProcess | None, str | None]]:
    offline = swarm.options.offline
    if offline is None:
        yield None, swarm.options.base_url
        return
    with (swarm.directory / "log" / "emulator.log").open("ab") as log, _emulator(offline, log.fileno()) as emulator:
        yield emulator, emulator.url


def _emulator(offline: Offline, log: int) -> EmulatorProcess:
    options = EmulatorOptions(latency_s=offline.latency_s)
    return EmulatorProcess(script_files=offline.scripts, options=options, errors=log)
