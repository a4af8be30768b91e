"""Going on with a swarm that nobody runs: `prong resume` in a process of its own, which outlives whoever looks."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from prong.harness.control import who
from prong.harness.status import SELDOM, is_supervised
from prong.harness.swarms import FOLDER, Swarm
from prong.state import Invalid, ProngError, Store

STARTS_S = 30.0
"""How long it may take until the swarm runs, in seconds."""

LOOK_S = 0.05
"""How often it is looked whether it does, in seconds."""

SAID_CHARACTERS = 600
"""How much is told of what a process said that was refused: the end of it."""

_RUNS = f"select count(*) as runs from event where {SELDOM} and kind = 'swarm.running'"  # noqa: S608  a constant


class NotResumed(ProngError):
    """`prong resume` ended, or did nothing for long, before the swarm ran."""

    def __init__(self, swarm: str, said: str, log: str) -> None:
        self.swarm = swarm
        self.said = said
        self.log = log

    def __str__(self) -> str:
        return f"swarm {self.swarm} does not go on: {self.said or 'it says nothing yet'} (more may be in {self.log})"


def go_on(swarm: Swarm) -> int:
    """Run the swarm in the background, as `prong resume` does; the number of the process, once it does.

    It has this process's environment, and so its key.  What it prints goes to `log/resume.log`.  Raises `Invalid` where
    the swarm is a copy, which belongs to no repository, and `NotResumed`.
    """
    root = swarm.repository.root
    if swarm.directory.resolve() != (root / FOLDER / swarm.id).resolve():
        raise Invalid(f"going on with a copy of swarm {swarm.id}", f"the swarm itself, in {root}")
    store, log = swarm.store(), swarm.directory / "log" / "resume.log"
    runs = _runs(store)
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as said:
        began = said.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "prong.harness", "resume", swarm.id, "--repo", str(root)],
            cwd=root, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    threading.Thread(target=process.wait, name="resumed", daemon=True).start()  # or it would stay behind as a zombie
    deadline = time.monotonic() + STARTS_S
    while True:
        code, late = process.returncode, time.monotonic() > deadline
        if is_supervised(store) or _runs(store) > runs or code == 0:
            break  # where it ran already, there was little to do
        if code is not None or late:
            raise NotResumed(swarm.id, _last_words(log, began), str(log))
        time.sleep(LOOK_S)
    with store.transaction(None) as tx:
        tx.event("command.resume", object="swarm", tasks=[0], process=process.pid, **who())
    return process.pid


def _runs(store: Store) -> int:
    """How often the swarm was run; whatever a process ends with, only this tells that it ran it."""
    [row] = store.rows(_RUNS)
    return int(row["runs"])


def _last_words(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        text = file.read().decode(errors="replace")
    return " ".join(text[-SAID_CHARACTERS:].split()).removeprefix("prong: ")
