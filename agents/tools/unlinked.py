"""Opening a path in which no link may stand any more.

A path was looked at, all links followed, and found to lie where it may.  A shell that runs beside us may put a link in
it a moment later.  So it is opened name by name, each only if it is no link: what was looked at is what is opened.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_unlinked(place: Path, flags: int) -> int:
    """A descriptor of the file at a real path; raises `OSError` where one of its names is a link by now."""
    with folder_unlinked(place.parent) as folder:
        return os.open(place.name or ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


@contextlib.contextmanager
def folder_unlinked(place: Path, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder at a real path; with `make` what is missing of it is made."""
    folder = os.open("/", _FOLDER)
    try:
        for name in place.parts[1:]:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            inner = os.open(name, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)
