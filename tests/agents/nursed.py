"""What the tests of the nursery fork: agents that do what their order says."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from prong.agents import nursery


class Slow:
    """What takes so many seconds to flush, as an agent does that ends."""

    def __init__(self, seconds):
        self.seconds = seconds

    def flush(self):
        time.sleep(self.seconds)


def hang_up():
    """As a process does that dies: its sockets are closed some time before anybody is told that it is gone."""
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            socket.socket(fileno=os.dup(int(file.name))).shutdown(socket.SHUT_RDWR)


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
        if "dies_slowly" in order:
            sys.stdout = Slow(order["dies_slowly"])
            threading.Timer(0.2, hang_up).start()
        return order.get("again")

    return main


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nursery.serve(prepare)
