"""Puts work that came back before its agent: its own change on top of the newest state, conflicts marked.

    base ----> commit       what was handed in
    onto ----> the merge of both, with markers: what the workspace holds from now on, its new base being `onto`

Nothing of it is lost if it is killed: what was handed in is in the repository, and laying it again gives the same.
Ignored files stay, so that the agent's caches and installed packages do.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from prong.harness.repository.cloning import AGENT_BRANCH, BASE_REF, Places, harness_variables
from prong.harness.repository.git import git
from prong.harness.repository.merging import Conflict, merged_tree
from prong.harness.repository.objects import Objects
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace


def lay(repository: Repository, directory: Path, *, base: str, commit: str, onto: str) -> Workspace:
    """Make the workspace hold the merge of the delta onto `onto`, on which it is based then; make it where it is gone.

    Raises `RepositoryError`.
    """
    objects = Objects(repository)
    try:
        found = merged_tree(repository, objects, base=base, commit=commit, onto=onto)
    finally:
        objects.close()
    tree = found.tree if isinstance(found, Conflict) else found
    places = Places(directory)
    present = commit if places.is_complete() else Workspace.create(repository, directory, onto).base
    with places.locked():
        _lay(places, present=present, tree=tree, onto=onto)
    return Workspace.open(directory)


def _lay(places: Places, *, present: str, tree: str, onto: str) -> None:
    index = places.private / "laying"
    for left in (index, index.with_name("laying.lock")):
        left.unlink(missing_ok=True)
    variables = harness_variables(places.private, places.directory) | {"GIT_INDEX_FILE": str(index)}
    git("read-tree", present, cwd=places.directory, env=variables)
    git("read-tree", "--reset", "-u", "--no-sparse-checkout", tree, cwd=places.directory, env=variables)
    # What the agent's own git takes for its index is the new base, so that `git diff` shows it its change.
    git("read-tree", "--reset", onto, cwd=places.directory, env=variables)
    own = places.directory / ".git"
    if own.is_dir() and not own.is_symlink():
        texts = {"HEAD": f"ref: refs/heads/{AGENT_BRANCH}\n", f"refs/heads/{AGENT_BRANCH}": f"{onto}\n"}
        for name, text in texts.items():
            with suppress(OSError):  # the agent has spoilt its own git; its files are what counts
                _put(places, text, own / name)
        with suppress(OSError):
            shutil.copy2(index, index.with_name("laid"))
            index.with_name("laid").replace(own / "index")
        (own / "index.lock").unlink(missing_ok=True)
    _put(places, f"{onto}\n", places.private / "HEAD")
    _put(places, f"{onto}\n", places.private / BASE_REF)  # last: from here on it is a workspace of the new base


def _put(places: Places, text: str, at: Path) -> None:
    new = places.private / "laid-text"
    new.write_text(text)
    new.replace(at)
