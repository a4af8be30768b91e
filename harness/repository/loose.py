"""A commit without a process: an object is a file that is named by the hash of what it says.

Starting git costs more than all else that a small snapshot does.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from pathlib import Path

from prong.harness.repository.git import AGENT, Author, identity

SHA1_DIGITS = 40


def write_commit(objects: Path, *, tree: str, parent: str, message: str, author: Author, at: int) -> str:
    """The commit of `author` at a time in seconds since 1970, as `git commit-tree` would write it into `objects`."""
    who = f"{identity(author.name) or AGENT.name} <{identity(author.email) or AGENT.email}> {at} +0000"
    text = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\n{message}\n".encode()
    whole = b"commit %d\0" % len(text) + text
    # It is git that chooses the hash; this is no secret that it keeps.
    name = (
        hashlib.sha1(whole, usedforsecurity=False) if len(tree) == SHA1_DIGITS else hashlib.sha256(whole)
    ).hexdigest()
    file = objects / name[:2] / name[2:]
    if file.exists():
        return name
    file.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=objects, prefix="tmp_obj_", delete=False) as partial:
        partial.write(zlib.compress(whole, 1))
        os.fchmod(partial.fileno(), 0o444)
    Path(partial.name).replace(file)
    return name
