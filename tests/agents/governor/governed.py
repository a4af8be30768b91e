"""What the tests of the governor run: a process that takes turns, one command a line; or a crowd of them.

python governed.py turns SETTINGS     commands on standard input, answers on standard output, as lines of JSON
python governed.py crowd SETTINGS     forks processes that all call as often as they are told, and waits for them
python governed.py ask SETTINGS       the same through the SDK, to an emulator
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from pathlib import Path

import structlog

from prong.agents.governor.file import Identity
from prong.agents.governor.governor import Governor
from prong.agents.models import Usage
from prong.state import FileClock, SystemClock

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # its output is the answers


def governor_of(settings):
    clock = FileClock(Path(settings["clock"])) if settings.get("clock") else None
    identity = Identity("http://somewhere", "a-secret-key", "opus")
    return Governor(Path(settings["directory"]), identity, clock, most_at_once=settings.get("most", 64))


class Caller:
    """One process with one call at a time."""

    def __init__(self, settings):
        self.governor = governor_of(settings)
        self.stack = contextlib.ExitStack()
        self.turn = None

    def begin(self, priority=0, priority_in=None, **more):
        value = priority if priority_in is None else lambda: int(Path(priority_in).read_text())
        told = []
        turn = self.governor.turn(priority=value, waits=told.append, **more)
        self.turn = self.stack.enter_context(turn)
        return [wait.reason for wait in told]

    def answered(self, headers=None, tokens=(1, 1)):
        self.turn.answered(headers or {}, Usage(input=tokens[0], output=tokens[1]))
        self.stack.close()

    def refused(self, status, headers):
        pause = self.turn.refused(status, headers)
        self.stack.close()
        return pause.seconds

    def leave(self):
        self.stack.close()

    def keep_the_lock(self, path):
        self.file = os.open(path, os.O_RDWR)
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def fork_and_leave(self):
        """A child that leaves its parent's block, and has a turn of its own."""
        pid = os.fork()
        if not pid:
            self.stack.close()
            with self.governor.turn() as own:
                own.answered({}, Usage())
            os._exit(0)
        return os.waitpid(pid, 0)[1]


def turns(settings):
    caller = Caller(settings)
    for line in sys.stdin:
        method, options = json.loads(line)
        sys.stdout.write(json.dumps(getattr(caller, method)(**options)) + "\n")
        sys.stdout.flush()


def crowd(settings):
    governor = governor_of(settings)
    fork_all(settings, lambda name: [one_call(governor, settings, f"{name}-{n}") for n in range(settings["calls"])])


def one_call(governor, settings, name):
    """Write down how many are in flight with us, as the file system sees it."""
    mine = Path(settings["witness"]) / name
    with governor.turn() as turn:
        mine.touch()
        seen = len(list(mine.parent.iterdir()))
        time.sleep(settings["call_s"])
        mine.unlink()
        turn.answered({}, Usage(input=1, output=1))
    with Path(settings["log"]).open("a") as log:
        log.write(f"{seen}\n")


def ask(settings):
    from prong.agents.conversation import Message  # noqa: PLC0415  the SDK takes a second, which the others do without
    from prong.agents.model import Endpoint, Listener, Model  # noqa: PLC0415  as above
    from prong.agents.request import Request  # noqa: PLC0415  as above

    endpoint = Endpoint("claude-opus-5-5", settings["url"], "key", 100)
    model = Model(endpoint, SystemClock(0.0), governed_in=Path(settings["directory"]))
    listener = Listener(began=lambda _usage: None, waits=lambda _problem, _seconds: None)

    def all_calls(name):
        for n in range(settings["calls"]):
            text = settings["prompt"] + f"\n{name}-{n}"
            message = Message(n, "user", [{"type": "text", "text": text}])
            answer = model.ask(Request([{"type": "text", "text": "Be brief."}], [], [message]), listener)
            with Path(settings["log"]).open("a") as log:
                log.write(answer.content[0]["text"] + "\n")

    fork_all(settings, all_calls)


def fork_all(settings, work):
    pids = []
    for name in range(settings["processes"]):
        pid = os.fork()
        if not pid:
            work(name)
            os._exit(0)
        pids.append(pid)
    ends = [os.waitpid(pid, 0)[1] for pid in pids]
    sys.exit(any(ends))


if __name__ == "__main__":
    {"turns": turns, "crowd": crowd, "ask": ask}[sys.argv[1]](json.loads(sys.argv[2]))
