"""One run of a worker's command: started in the task's sandbox, read while it goes on, ended with all that it started.

start --its output--> records          it ends --exit code--> Ran
  +--too long, too costly, paused, asks--> ended, with the reason
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from prong.agents.sandbox import Sandbox
from prong.agents.tools.confined import Confined, files_for
from prong.agents.tools.output import Output
from prong.harness.workers.files import end_of, remove
from prong.harness.workers.heard import Asks, Ended, Heard, Lines, Reader
from prong.state import ProngError
from prong.state.ticket import Ticket

LOOK_S = 0.5
"""How often it is looked whether a command has had its time, in seconds."""

ERROR_CHARACTERS = 4_000
"""How much of what a command wrote to its standard error is told where it fails, in characters."""

BEGINS_S = 60.0
"""How long the sandbox may take to begin, in seconds."""

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

# It says that it has begun, waits until there are bounds around it, and becomes the command.
_SCRIPT = 'printf x >&"$1"; read -r _ <&"$1"; eval "exec $1>&-"; in=$2; err=$3; shift 3; exec "$@" <"$in" 2>"$err"'


class NotStarted(ProngError):
    """The program of a worker is not there, or cannot be started."""

    def __init__(self, program: str, path: str, hint: str) -> None:
        self.program = program
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        return f"there is no program {self.program!r} on PATH ({self.path}). Install it, or {self.hint}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended: its exit code (negative: a signal), what it said of its end, and what else it wrote.

    `problem` says why it was ended, if it was; `killed` that somebody outside did.
    """

    exit_code: int
    ended: Ended | None
    words: str
    errors: str
    problem: str = ""
    asks: str = ""
    killed: bool = False


class Elsewhere(Sandbox):
    """A sandbox in which some folders lie in other places than outside: those of all workers in the same.

    So what a worker reads of its surroundings is the same for all, and forks find the prompt cache.
    """

    __slots__ = ("moved",)
    moved: Mapping[Path, Path]

    @classmethod
    def of(cls, sandbox: Sandbox, moved: Mapping[Path, Path], *, readable: Iterable[Path]) -> Elsewhere:
        """`sandbox` with folders, by where they are, shown elsewhere, and a network, which no worker can do without."""
        fields = {one.name: getattr(sandbox, one.name) for one in dataclasses.fields(sandbox)}
        more = tuple(dict.fromkeys([*sandbox.readable, *readable]))
        made = cls(**{**fields, "network": True, "readable": more})
        object.__setattr__(made, "moved", dict(moved))
        return made

    def command(self, arguments: Sequence[str], *, readable: Iterable[Path] = ()) -> list[str]:
        """As its like, begun in the workspace's new place."""
        words = super().command(arguments, readable=readable)
        if self.bubblewrap is None:
            return words
        place = words.index("--chdir")
        binds = [word for real, seen in self.moved.items() for word in ("--bind", str(real), str(seen))]
        seen = self.moved.get(self.workspace, self.workspace)
        return [*words[:place], *binds, "--chdir", str(seen), *words[place + 2 :]]


def find_program(word: str, path: str, *, hint: str) -> Path:
    """Where a program is; raises `NotStarted`."""
    found = shutil.which(word, path=path)
    if found is None:
        raise NotStarted(word, path, hint)
    return Path(found).absolute()


def installed_in(program: Path) -> list[Path]:
    """What has to be in sight for a program to run: where it is, and what it belongs to, where that is elsewhere."""
    real = Path(os.path.realpath(program))
    modules = [parent for parent in real.parents if parent.name == "node_modules"]
    return [program.parent, modules[-1] if modules else real.parent]


class Clock:
    """Counts how long a worker works; while it waits for others, time stands still."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._waiting = 0
        self._worked_s = 0.0
        self._looked = time.monotonic()

    @contextlib.contextmanager
    def standing(self, _ticket: Ticket) -> Iterator[None]:
        """It waits."""
        self._tick()
        self._waiting += 1
        try:
            yield
        finally:
            self._tick()
            self._waiting -= 1

    def is_over(self) -> bool:
        """Whether it has had its time."""
        self._tick()
        return self._worked_s >= self.timeout_s

    def _tick(self) -> None:
        now = time.monotonic()
        if not self._waiting:
            self._worked_s += now - self._looked
        self._looked = now


def run(
    arguments: Sequence[str], *, words: Path, scratch: Path, workspace: Path, environment: Mapping[str, str],
    sandbox: Sandbox | None, seen: Callable[[Path], Path], clock: Clock, take: Callable[[Heard], object],
    heed: Callable[[], object], hide: Callable[[str], str],
) -> Ran:  # fmt: skip
    """Run a command to its end.  `take` gets what it tells, `heed` is asked now and then; what they raise ends it.

    `words` is its standard input; `seen` tells where the command finds what we find elsewhere.  `hide` takes the user's
    keys out of what it prints: it has some.
    """
    watched = _Watched(clock, take, heed, hide)
    written, name = tempfile.mkstemp(prefix="errors-", suffix=".txt", dir=scratch)
    errors = Path(name)
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as undo:
        undo.callback(remove, errors)
        undo.callback(os.close, written)
        undo.enter_context(ours)
        with theirs:
            files = undo.enter_context(files_for(sandbox, scratch))
            begin = ("bash", "--noprofile", "--norc", "-c", _SCRIPT, "bash", str(theirs.fileno()))
            process = Confined(
                [*begin, str(seen(words)), str(seen(errors)), *arguments], line=theirs.fileno(), files=files,
                workspace=workspace, environment=environment, sandbox=sandbox,
            )  # fmt: skip
        code = _watch(process, ours, watched)
        # What we made ourselves, whatever stands under its name by now.
        told = hide(end_of(os.dup(written)))[-ERROR_CHARACTERS:].strip()
    passed = f"{process.passed}, so it was ended" if process.passed else ""
    return _ran(code, watched, told, problem=watched.problem or passed)


class _Watched:
    """What is known of a run while it goes on."""

    def __init__(
        self, clock: Clock, take: Callable[[Heard], object], heed: Callable[[], object], hide: Callable[[str], str]
    ) -> None:  # fmt: skip
        self.reader = Reader()
        self.lines = Lines(self._line)
        self.asks = ""
        self.problem = ""
        self._clock = clock
        self._take = take
        self._heed = heed
        self._hide = hide

    def go_on(self) -> float | None:
        """For how many seconds it need not be asked again; None: it is over."""
        self._heed()
        if not self.problem and self._clock.is_over():
            allowed = f"{self._clock.timeout_s:g} s"
            self.problem = f"it worked for more than {allowed}, waits for others not counted, and was ended"
        return None if self.problem or self.asks else LOOK_S

    def _line(self, data: bytes) -> None:
        for heard in self.reader.read(self._hide(data.decode(errors="replace")).encode()):
            if isinstance(heard, Asks):
                self.asks = self.asks or heard.text
            self._take(heard)


def _watch(process: Confined, line: socket.socket, watched: _Watched) -> int | None:
    """Let it go when there are bounds around it; its exit code, None where it was ended before."""
    rest = bytearray()
    try:
        if not _has_begun(process, line):
            watched.problem = "it could not be begun, and was ended"
        code = process.watch(cast("Output", watched.lines), watched.go_on)
    finally:
        process.close(cast("Output", _Sink(rest)))
    watched.lines.write(bytes(rest))
    watched.lines.end()
    return code


def _has_begun(process: Confined, line: socket.socket) -> bool:
    """Whether it says that it is there; then it has its bounds, and goes."""
    line.settimeout(BEGINS_S)
    try:
        if not line.recv(1):
            return False
        process.bound()
        line.sendall(b"\n")
    except OSError:
        return False
    return True


class _Sink:
    """Takes what was still written when a process was ended: nobody must be able to refuse it then."""

    def __init__(self, kept: bytearray) -> None:
        self._kept = kept

    def write(self, data: bytes) -> None:
        self._kept += data


def _ran(code: int | None, watched: _Watched, errors: str, *, problem: str) -> Ran:
    number = 0 if code is None else -code if code < 0 else code - 128  # bubblewrap says so of what it ran
    return Ran(
        exit_code=1 if code is None else code, ended=watched.reader.finish(), words=watched.reader.words.strip(),
        errors=errors, problem=problem, asks=watched.asks,
        killed=number in _SIGNALS and not problem and not watched.asks,
    )  # fmt: skip
