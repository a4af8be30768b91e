"""The process that supervises a swarm for a Python program, which so needs no signals, no terminal and no main thread.

{"api_key": …}         supervise until told otherwise, even while there is no task
finish                 end when every task has ended
(end of the input)     stop: whoever has asked for it is gone; nothing is lost
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from prong.harness.outcome import finished
from prong.harness.running import run_swarm
from prong.harness.supervisor import AlreadySupervised
from prong.harness.swarms import Swarm, at_directory
from prong.state import Store
from prong.state.bell import SCHEDULER_SLOT

PATIENCE_S = 20.0
"""How long the supervisor of a program that was killed may take to end, in seconds."""

LOOK_S = 0.1


class Host:
    """Supervises one swarm as long as its input says so."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._open = True
        self._over = False

    def run(self, api_key: str | None) -> str:
        """Supervise; the swarm's state then.  Raises `AlreadySupervised`."""
        threading.Thread(target=self._listen, name="input", daemon=True).start()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return run_swarm(self._swarm, api_key=api_key, display=_show_nothing, is_over=self._is_over)
            except AlreadySupervised:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(LOOK_S)
            finally:
                self._over = True

    def _is_over(self, store: Store) -> bool:
        return not self._open and finished(store)

    def _listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "finish":
                self._open = False
                self._swarm.store().bells.ring(SCHEDULER_SLOT)
        if not self._over:
            os.kill(os.getpid(), signal.SIGTERM)  # which the supervisor takes as a wish to stop in good order


def _show_nothing(_swarm: Swarm, over: threading.Event) -> None:
    over.wait()


def main() -> None:
    """Supervise the swarm in the directory that the first argument names."""
    swarm = at_directory(Path(sys.argv[1]))
    order = json.loads(sys.stdin.readline() or "{}")
    Host(swarm).run(order.get("api_key"))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001  whatever it is, the program that waits for us is to read it
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
