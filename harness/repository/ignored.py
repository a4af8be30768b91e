"""What git ignores in a workspace, such as installed dependencies and build output, taken along to a fork.

    parent's workspace  --keep-->  <parent>/.harness/ignored/<commit>/  --bring-->  child's workspace

Git cannot hold it, so it is copied as files beside the snapshot's commit: without using up room where the file system
can share the blocks of two files (reflinks), as usual copies elsewhere.  Hard links will not do: who writes into
one of them in place would write into all.
"""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prong.harness.repository.git import RepositoryError

FILES = 200_000
"""The most files and links that are copied for one snapshot."""

BYTES = 2 << 30
"""The most bytes."""

_AT_ONCE = 500


@dataclass(eq=False)
class TooMuchIgnored(RepositoryError):
    """What is ignored is more than is copied."""

    directory: str
    files: int
    size_bytes: int

    def __str__(self) -> str:
        return (
            f"the ignored files in {self.directory} are more than is copied for a fork: at least {self.files:,} files"
            f" of {self.size_bytes >> 20:,} MiB; the bounds are {FILES:,} files and {BYTES >> 20:,} MiB. Fork without"
            " them, and let the fork make anew what it needs."
        )


@dataclass(eq=False)
class NotCopied(RepositoryError):
    """Ignored files could not be copied: the disk is full, say."""

    directory: str
    why: str

    def __str__(self) -> str:
        return (
            f"the ignored files for {self.directory} could not be copied: {self.why}. Mend that, or fork without them,"
            " and let the fork make anew what it needs."
        )


def keep(directory: Path, paths: Iterable[str], place: Path) -> None:
    """Copy ignored files and folders of a workspace to a place that does not exist yet.

    Raises `TooMuchIgnored` before anything is copied, `NotCopied` with nothing left of what was.
    """
    wanted = [path.rstrip("/") for path in paths if path]
    _check(directory, wanted)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        for begin in range(0, len(wanted), _AT_ONCE):
            some = wanted[begin : begin + _AT_ONCE]
            _copy("--parents", "--", *(f"./{path}" for path in some), str(partial), cwd=directory)
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def bring(place: Path, tree: Path) -> None:
    """Copy what was kept, if anything was, into a working tree that is being made; raises `NotCopied`."""
    if place.is_dir():
        _copy("--", f"{place}/.", str(tree), cwd=tree)


def _copy(*arguments: str, cwd: Path) -> None:
    command = ("cp", "-a", "--reflink=auto", *arguments)
    # Its words are read, so they must not be in the person's language.
    env = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)
    except OSError as error:
        raise NotCopied(str(cwd), f"cp cannot be run ({error.strerror})") from error
    # What an agent's programs delete meanwhile is not there to be copied.
    said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "No such file" not in line]
    if done.returncode < 0 or (done.returncode and said):
        raise NotCopied(str(cwd), said[0] if said else f"cp was ended by signal {-done.returncode}")


def _check(directory: Path, paths: Iterable[str]) -> None:
    files = size = 0
    for path in paths:
        for found in _below(directory / path):
            files += 1
            size += found.st_size
            if files > FILES or size > BYTES:
                raise TooMuchIgnored(str(directory), files, size)


def _below(path: Path) -> Iterable[os.stat_result]:
    pending = [str(path)]
    while pending:
        place = pending.pop()
        try:
            found = os.lstat(place)
            yield found
            if stat.S_ISDIR(found.st_mode):
                pending += [entry.path for entry in os.scandir(place)]
        except OSError:
            continue
