"""Commands from a process that has imported them already: a fork of it costs a tenth of a new interpreter.

Each is a process of its own all the same, with its own arguments, folder, environment and streams, which ends like any
other.  Run as a program, this file is the process that forks them.
"""

import atexit
import gc
import importlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading

MESSAGE_BYTES = 128 * 1024
# What an interpreter looks at only when it begins.
READ_ONCE = ("PYTHON", "LANG", "LC_", "MALLOC_", "LD_")
IMPORTED_WHEN_CALLED = (
    "prong.harness.cli.display",
    "prong.harness.control",
    "prong.harness.running",
    "prong.harness.status",
    "prong.harness.why.explain",
    "rich.console",
)


class Warm:
    """The side of the test: starts the process with the first command, and ends it with the tests."""

    def __init__(self, environment):
        self._environment = environment
        self._line = None
        self._lock = threading.Lock()

    def run(self, arguments, *, cwd, env, timeout):
        """As `subprocess.run` does it, with both streams captured as text."""
        command = ["prong", *arguments]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            hears, says = os.pipe()
            with open(hears) as told:  # noqa: PTH123  a pipe has no path
                order = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": env})
                with self._lock:
                    socket.send_fds(self._started(), [order.encode()], [out.fileno(), err.fileno(), says])
                os.close(says)
                pid = int(told.readline())
                if not select.select([told], [], [], timeout)[0]:
                    os.kill(pid, 9)
                    raise subprocess.TimeoutExpired(command, timeout)
                code = int(told.readline())
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def _started(self):
        if self._line is None:
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                cwd="/", env=self._environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip
            theirs.close()
            atexit.register(lambda: (self._line.close(), process.wait()))
        return self._line


def serve(line):
    """Forks a process for each order; returns only in those, with the arguments of the command."""
    running = {}  # pidfd -> (pid, where its end is told)
    poll = select.poll()
    poll.register(line, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != line.fileno():
                poll.unregister(ready)
                os.close(ready)
                pid, says = running.pop(ready)
                os.write(says, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(says)
                continue
            data, files, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 3)
            if not data:
                os._exit(0)
            pid = os.fork()
            if not pid:
                return become(
                    json.loads(data), [line.detach(), *running, *(says for _, says in running.values())], files
                )
            *streams, says = files
            for stream in streams:
                os.close(stream)
            os.write(says, b"%d\n" % pid)
            process = os.pidfd_open(pid)
            running[process] = pid, says
            poll.register(process, select.POLLIN)


def become(order, foreign, files):
    """Take the order's place, environment and streams."""
    for file in foreign:
        os.close(file)
    for number, file in enumerate(files[:2], start=1):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  what was there may have been a terminal
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115  as above
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv[1:] = order["arguments"]
    return order["arguments"]


def main():
    for name in IMPORTED_WHEN_CALLED:
        importlib.import_module(name)
    command = importlib.import_module("prong.harness.cli.command")
    gc.collect()
    gc.freeze()  # the commands must not touch, and so copy, what they will never free
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    command.main(args=arguments, prog_name="prong")


if __name__ == "__main__":
    main()
