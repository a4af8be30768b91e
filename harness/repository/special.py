"""Pipes, sockets and devices under names that git opens: it would wait for their other end for ever.

Nothing of them can be committed anyhow.  They are looked for only where a git command takes long, since looking costs
as much as most commands do.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prong.harness.repository.git import RepositoryError
from prong.state import ProngError

OPENED = (".gitignore", ".gitattributes", ".gitmodules", ".mailmap")
"""Names that git reads wherever they lie in a working tree."""

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(eq=False)
class NotAFile(RepositoryError, ProngError):
    """Something lies in a workspace under a name that git opens, and is no file."""

    path: str
    kind: str

    def __str__(self) -> str:
        return (
            f"{self.path} is {self.kind} and no file, so git waits for it for ever, and nothing of the workspace can be"
            " committed. Remove it, or make it a file."
        )


def refuse(directory: Path) -> None:
    """Raise `NotAFile` for the first such thing in a working tree."""
    for place, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name != ".git"]
        for name in OPENED:
            if name in files:
                kind = _KINDS.get(stat.S_IFMT(_mode(Path(place, name))))
                if kind is not None:
                    raise NotAFile(os.path.relpath(Path(place, name), directory), kind)


def files_below(root: Path, folder: str) -> Iterator[str]:
    """Files and links below a folder, relative to the root; whatever is called .git is left out."""
    for place, folders, files in os.walk(root / folder):
        below = os.path.relpath(place, root)
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if name != ".git" and name not in links]
        yield from (str(Path(below, name)) for name in (*files, *links) if name != ".git")


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
