"""Runs the check command on a commit, in a checkout that is kept warm from one check to the next.

    .prong/<swarm>/check/<n>/    a checkout for each check that runs at once

Between two checks git changes only the files that differ and removes what the last check left lying about; ignored
files stay, so that caches and installed packages are warm.  The command runs without keys, in a session of its own that
ends with it, and with whoever started it.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from prong.agents.tools import tool_environment
from prong.agents.tools.processes import belonging, end
from prong.harness.repository.cloning import Places, clear, harness_variables
from prong.harness.repository.git import RepositoryError, git
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace

HEAD_BYTES = 4_000
TAIL_BYTES = 16_000
"""How much is kept of the beginning and of the end of what a check prints, in bytes."""

LOOK_S = 0.1
"""How often a running check is asked whether it is still wanted, in seconds."""

# It ends the whole session as soon as the pipe on its input closes, which the end of our process does.
_WATCHED = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -s KILL -- -$$) >/dev/null 2>&1 & exec "$@" 3<&-'

Confine = Callable[[Path, Path, Sequence[str]], Sequence[str]]
"""Makes of a checkout, its temporary directory and a command the command that runs it there in a sandbox."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How a check went: `how` it ended in words, what it printed (bounded), and how long it took.

    `runs` says how often it was run: more than once where it failed at first.
    """

    passed: bool
    how: str
    output: str
    seconds: float
    runs: int = 1


@dataclass(eq=False)
class CheckNotRun(RepositoryError):
    """The check could not even be started."""

    why: str

    def __str__(self) -> str:
        return f"the check could not be run: {self.why}"


class Checker:
    """Runs checks in the checkouts of one swarm."""

    def __init__(
        self, repository: Repository, directory: Path, rules: MergeRules, *, base: str, confine: Confine | None = None,
        extra: Mapping[str, str] | None = None, besides: Callable[[str], str | None] | None = None,
    ) -> None:  # fmt: skip
        """`directory` is for the checkouts, which begin at the commit `base`; `extra` is the check's environment.

        `besides` says what must end well for a commit besides the check of the rules; None where nothing must.
        """
        self._besides = besides
        self._repository = repository
        self._directory = directory
        self._rules = rules
        self._base = base
        self._confine = confine or (lambda _, __, command: command)
        self._extra = dict(extra or {})

    def check(self, commit: str, place: int, stop: threading.Event) -> Checked | None:
        """Run the check on a commit in checkout number `place`; None where `stop` was set before it ended.

        What fails is run again as often as the rules say; raises `RepositoryError` where it cannot be run.
        """
        began = time.monotonic()
        runs = 0
        while True:
            self._put(commit, place)
            found = self._run(place, commit, stop)
            runs += 1
            if found is None or found.passed or runs >= self._rules.tries:
                return found and replace(found, runs=runs, seconds=round(time.monotonic() - began, 3))

    def tree(self, place: int) -> Path:
        """The folder of a checkout."""
        return self._directory / str(place)

    def _put(self, commit: str, place: int) -> None:
        """Bring the checkout to the commit; one that a check has spoilt is made anew."""
        directory = self.tree(place)
        try:
            workspace = Workspace.create(self._repository, directory, self._base)
            _move(workspace, commit)
        except (RepositoryError, OSError) as error:
            away(directory)
            try:
                _move(Workspace.create(self._repository, directory, self._base), commit)
            except (RepositoryError, OSError):
                raise CheckNotRun(str(error)) from error

    def _run(self, place: int, commit: str, stop: threading.Event) -> Checked | None:
        tree, scratch = self.tree(place), self._scratch(place)
        mark = f"PRONG_CHECK={secrets.token_hex(8)}"
        extra = {"TMPDIR": str(scratch), "PRONG_CHECK": mark.partition("=")[2], "PRONG_COMMIT": commit, **self._extra}
        assert self._rules.check is not None
        own = self._besides(commit) if self._besides is not None else None
        asked = self._rules.check if own is None else f"(\n{self._rules.check}\n) && (\n{own}\n)"
        command = self._confine(tree, scratch, ["sh", "-c", asked])
        began = time.monotonic()
        try:
            process = subprocess.Popen(
                ["sh", "-c", _WATCHED, "prong-check", *command], cwd=tree, env=tool_environment(tree, extra),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise CheckNotRun(str(error)) from error
        output = _Output()
        try:
            how = _listen(process, output, stop, timeout_s=self._rules.timeout_s)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            end(lambda: belonging(mark, {}).values())
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            shutil.rmtree(scratch, ignore_errors=True)
        if how is None:
            return None
        return Checked(how == "exit code 0", how, output.text(), round(time.monotonic() - began, 3))

    def _scratch(self, place: int) -> Path:
        """An empty temporary directory, whatever the last check has made of its own; under another name if need be."""
        for scratch in (self._directory / f"{place}.tmp", self._directory / f"{place}-{secrets.token_hex(4)}.tmp"):
            try:
                if scratch.is_symlink() or scratch.is_file():
                    scratch.unlink()
                clear(scratch)
                scratch.mkdir(parents=True)
            except OSError as error:
                problem = error
            else:
                return scratch
        raise CheckNotRun(str(problem)) from problem


def away(directory: Path) -> None:
    """Remove a checkout that something has spoilt."""
    with suppress(RepositoryError):
        Workspace(directory, "").remove()


def _move(workspace: Workspace, commit: str) -> None:
    """The files of the commit, and nothing but them and what is ignored; and a .git that says so."""
    directory = workspace.directory
    places = Places(directory)
    own = directory / ".git"
    if own.is_symlink() or not own.is_dir() or (own / "HEAD").is_symlink():
        raise CheckNotRun(f"{own} is not what it was")
    index = places.private / "index-checked"
    variables = harness_variables(places.private, directory) | {"GIT_INDEX_FILE": str(index)}
    if not index.exists():
        git("read-tree", workspace.base, cwd=directory, env=variables)
    lock = index.with_name(f"{index.name}.lock")
    lock.unlink(missing_ok=True)  # of one who was killed; nobody else uses this index
    git("read-tree", "--reset", "-u", "--no-sparse-checkout", commit, cwd=directory, env=variables)
    git("clean", "-ffdq", cwd=directory, env=variables)
    (places.private / "new-HEAD").write_text(f"{commit}\n")
    shutil.copy2(index, places.private / "new-index")
    for name in ("HEAD", "index"):
        (places.private / f"new-{name}").replace(own / name)


def _listen(
    process: subprocess.Popen[bytes], output: _Output, stop: threading.Event, *, timeout_s: float
) -> str | None:
    """Read until the command ends, its time is up, or nobody wants to know any more (None)."""
    deadline = time.monotonic() + timeout_s
    assert process.stdout is not None
    death = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(death, selectors.EVENT_READ)
            while not stop.is_set():
                if time.monotonic() >= deadline:
                    return f"it did not end within {timeout_s:g} s"
                ready = {key.fd for key, _ in selector.select(LOOK_S)}
                if process.stdout.fileno() in ready:
                    data = os.read(process.stdout.fileno(), 1 << 16)
                    output.add(data)
                    if not data:
                        selector.unregister(process.stdout)
                elif death in ready:  # and nothing is left to read; what still holds the pipe is ended now
                    code = process.wait()
                    return f"exit code {code}" if code >= 0 else f"signal {-code}"
    finally:
        os.close(death)
    return None


class _Output:
    """The beginning and the end of what was printed."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._count = 0

    def add(self, data: bytes) -> None:
        """Take up some more."""
        self._count += len(data)
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[max(0, room) :])[-TAIL_BYTES:]

    def text(self) -> str:
        """All of it, with a note where something is left out."""
        left = self._count - len(self._head) - len(self._tail)
        between = f"\n[{left} bytes are left out]\n".encode() if left else b""
        return (self._head + between + self._tail).decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


class Either(threading.Event):
    """Set when it is set itself, or another is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        """Whether one of the two is."""
        return super().is_set() or self._other.is_set()
