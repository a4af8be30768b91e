"""The branches and tags of a repository by name, read without a process where that is sure.

Git keeps each in a file of its own below refs/, and those that it has packed in one file together; the former count.
Whatever else there may be, such as links from one branch to another or another way to keep them, is asked of git.
"""

import os
import re
from pathlib import Path

from prong.harness.repository.repository import Repository

_FOLDERS = ("refs/heads", "refs/tags")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Names as nearly everybody gives them; git knows what else may be one.
_NAME = re.compile(r"refs/(?:heads|tags)(?:/(?!\.)[\w.+@=,#%-]*(?<!\.)(?<!\.lock))+")


def branches_and_tags(repository: Repository) -> list[tuple[str, str]]:
    """The name of each and the object that it points to, sorted by name."""
    found = _read(repository.common_dir) if "extensions.refstorage" not in repository.configuration() else None
    if found is not None:
        return sorted(found.items())
    listed = repository.git("for-each-ref", "--format=%(objectname) %(refname)", *_FOLDERS).split("\n")
    return [(line.partition(" ")[2], line.partition(" ")[0]) for line in listed if line]


def _read(common_dir: Path) -> dict[str, str] | None:
    """What the files say; None where not all of it is plain.  The single ones first: who packs them writes first."""
    single = _single(common_dir)
    if single is None:
        return None
    try:
        packed = (common_dir / "packed-refs").read_bytes()
    except FileNotFoundError:
        packed = b""
    found: dict[str, str] = {}
    for line in os.fsdecode(packed).split("\n"):
        if line and line[0] not in "#^":
            object_, _, name = line.partition(" ")
            if name.startswith(_FOLDERS):
                found[name] = object_
    found |= single
    return found if all(_is_plain(*pair) for pair in found.items()) else None


def _single(common_dir: Path) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for below in _FOLDERS:
        for place, _, names in os.walk(common_dir / below, followlinks=True):
            for name in names:
                if name.endswith(".lock"):
                    continue
                file = Path(place, name)
                try:
                    found[str(file.relative_to(common_dir))] = os.fsdecode(file.read_bytes()).rstrip("\n")
                except OSError:  # it was packed, or deleted, this moment
                    return None
    return found


def _is_plain(name: str, object_: str) -> bool:
    return bool(_COMMIT.fullmatch(object_) and _NAME.fullmatch(name) and ".." not in name and "@{" not in name)
