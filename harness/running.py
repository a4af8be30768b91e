"""Running a swarm in this process: its emulator where it is offline, its supervisor, and a display beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prong.agents import fork_point
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorNotStarted, EmulatorProcess
from prong.agents.governor.file import Identity
from prong.agents.governor.governor import Governor, family
from prong.agents.nursery import Nursery
from prong.agents.sandbox import Found
from prong.harness.admission import Provider, Providers
from prong.harness.agent.jail import sandbox_of_machine
from prong.harness.foresight import foreseeing
from prong.harness.hearing import LOOK_S
from prong.harness.keeping import keeping_caches
from prong.harness.outcome import finished
from prong.harness.remains import MARK, end_remains
from prong.harness.supervisor import Supervisor, alone
from prong.harness.swarms import Offline, Swarm
from prong.harness.workers.settings import with_workers, workers_settings
from prong.state import Store

Display = Callable[[Swarm, threading.Event], None]
"""Shows a swarm until the event is set; runs in a thread of its own."""

_ANTHROPIC_URL = "https://api.anthropic.com"
"""Where models are asked when nobody says where: the SDK's own default."""

_SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def run_swarm(
    swarm: Swarm, *, api_key: str | None, display: Display, attended: bool = False,
    is_over: Callable[[Store], bool] | None = None,
) -> str:  # fmt: skip
    """Run until all is done or somebody stops it; returns the swarm's state then.  Raises `AlreadySupervised`.

    Where nobody attends to the run, it also ends where only a person's answers are missing.  `is_over` says otherwise
    when all is done.
    """
    over = is_over or partial(finished, attended=attended)
    with alone(swarm):
        end_remains(swarm.directory)
        _tell_of_sandbox(swarm)
        nursery = _nursery(swarm)  # first, because it has the most to import
        try:
            with _endpoint(swarm) as base_url, _shown(swarm, display), foreseeing(swarm):
                settings = with_workers(
                    swarm.settings(api_key if swarm.options.offline is None else "offline", base_url),
                    workers_settings(swarm.options, os.environ, base_url),
                )
                prepared = [nursery]

                def nurseries() -> Nursery:
                    made = prepared.pop() if prepared else _nursery(swarm)
                    made.configure(settings)
                    return made

                with keeping_caches(swarm, settings):
                    return Supervisor(swarm, nurseries=nurseries, provider=providers_of(settings), is_over=over).run()
        finally:
            nursery.close()


def _tell_of_sandbox(swarm: Swarm) -> None:
    """Write down what keeps the agents' commands in; raises `SandboxMissing`."""
    found = sandbox_of_machine(swarm.options.jail)
    with swarm.store().transaction(None) as tx:
        if isinstance(found, Found):
            tx.event("sandbox.found", object=found.program, network=swarm.options.jail.network)
        else:
            reason = "it was switched off" if found is None else found.reason
            tx.event("sandbox.missing", object=swarm.id, reason=reason)


def providers_of(settings: Mapping[str, Any]) -> Callable[[float], Providers]:
    """What the governors of the agents know of the endpoint, which bounds each family of models by itself.

    How many calls fly at once is their own affair.
    """
    endpoint = settings["endpoint"]
    base_url = endpoint["base_url"] or _ANTHROPIC_URL
    usual = family(endpoint["model"])
    models = {name: role["model"] for name, role in settings["roles"].items() if role["model"] is not None}
    of_roles = {name: family(model) for name, model in models.items() if family(model) != usual}
    governors = {
        one: Governor(Path(settings["governed_in"]), Identity(base_url, endpoint["api_key"] or "", one))
        for one in (usual, *of_roles.values())
    }
    names = {one: f"the endpoint of {one} models" for one in governors} | {usual: "the model's endpoint"}

    def providers(now: float) -> Providers:
        closed = {one: governor.statistics().closed_for_s for one, governor in governors.items()}
        by_name = {names[one]: Provider(now + closed_s if closed_s > 0 else None) for one, closed_s in closed.items()}
        return Providers(names[usual], by_name, {role: names[one] for role, one in of_roles.items()})

    return providers


def _nursery(swarm: Swarm) -> Nursery:
    log = swarm.directory / "log" / "agents.log"
    marked = {**environment(os.environ), MARK: str(swarm.directory)}
    return Nursery("prong.harness.agent", log=log, environment=marked)


@contextmanager
def _shown(swarm: Swarm, display: Display) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=display, args=(swarm, over), name="display")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What the nursery sees of our environment: no key reaches a process that runs tools."""
    return {name: value for name, value in ours.items() if not any(word in name.upper() for word in _SECRET)}


@contextmanager
def _endpoint(swarm: Swarm) -> Iterator[str | None]:
    offline = swarm.options.offline
    if offline is None:
        yield swarm.options.base_url
        return
    with (swarm.directory / "log" / "emulator.log").open("ab") as log, _emulator(offline, log.fileno()) as emulator:
        over = threading.Event()
        watch = threading.Thread(target=_keep_alive, args=(swarm, emulator, over), name="emulator watch")
        watch.start()
        try:
            yield emulator.url
        finally:
            over.set()
            watch.join()


def _emulator(offline: Offline, log: int) -> EmulatorProcess:
    options = EmulatorOptions(latency_s=offline.latency_s)
    return EmulatorProcess(script_files=offline.scripts, options=options, errors=log)


def _keep_alive(swarm: Swarm, emulator: EmulatorProcess, over: threading.Event) -> None:
    """Start an emulator that died again at its address; its prompt cache is gone, and the fork points are told so."""
    store = swarm.store()
    revived = True  # a new one has an empty cache, too
    while True:
        if revived:
            with store.transaction(None) as tx:
                fork_point.chill(tx)
        if over.wait(LOOK_S):
            store.close()
            return
        try:
            revived = emulator.revive()
        except EmulatorNotStarted:  # killed while it began, say: the agents wait, and it is tried again
            revived = False
