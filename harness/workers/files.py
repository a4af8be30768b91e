"""Files in a folder that a worker can change: written and read by us, outside of its sandbox, and never by a link.

A worker may put a link, a pipe or nothing in the place of whatever lies in its folder.  Whoever followed it would read
or write, with all rights of the user, what the sandbox keeps from the worker.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

READ_BYTES = 64 * 1024
"""How much is read of the end of what a command wrote to its standard error, in bytes."""


def own_folder(path: Path) -> None:
    """Have a folder at `path`, below one that is ours: what stands there and is no folder, such as a link, is removed.

    Only while no command of the worker runs.
    """
    if path.is_symlink() or not path.is_dir():
        remove(path)
    path.mkdir(parents=True, exist_ok=True)


def empty_folder(path: Path) -> None:
    """As `own_folder`, without anything in it."""
    remove(path)
    path.mkdir(parents=True)


def write(path: Path, data: bytes) -> None:
    """Write a file into a folder, in the place of whatever has its name; raises OSError where the folder is a link."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        remove(Path(f"/proc/self/fd/{folder}", path.name))
        made = os.open(
            path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
        )
        with os.fdopen(made, "wb") as file:
            file.write(data)
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove whatever stands there, if anything does."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def copy(source: Path, below: Path, target: Path) -> bool:
    """Copy a file that really lies in `below`; False where it does not, or is no file.  `target` must be ours."""
    try:
        opened = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(opened, "rb") as file:
        # The name of what is open, since any folder on the way to it may have been a link.
        real = Path(f"/proc/self/fd/{opened}").readlink()
        if not stat.S_ISREG(os.fstat(opened).st_mode) or not real.is_relative_to(os.path.realpath(below)):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as to:
            shutil.copyfileobj(file, to)
    return True


def end_of(file: int) -> str:
    """The end of what was written to an open file, as text; the descriptor is closed."""
    with os.fdopen(file, "rb") as opened:
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - READ_BYTES))
        return opened.read(READ_BYTES).decode(errors="replace")
