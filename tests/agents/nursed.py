"""What the tests of the nursery fork: agents that do what their order says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from prong.agents import nursery


def prepare(settings):
    made = Path(settings["folder"])

    def main(order):
        (made / f"pid-{order['name']}").write_text(str(os.getpid()))
        if "exit" in order:
            sys.exit(order["exit"])
        if "leave" in order:
            subprocess.Popen(["sleep", order["leave"]], start_new_session=True)
        if "stubborn" in order:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "raise" in order:
            raise RuntimeError(order["raise"])
        (made / f"ready-{order['name']}").touch()
        while order.get("stay"):
            signal.pause()
        return order.get("again")

    return main


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nursery.serve(prepare)
