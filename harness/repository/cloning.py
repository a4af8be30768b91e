"""Lays out a workspace: the files of two git directories, one checkout, and their place on the disk.

    <parent>/<name>/                   the working tree, with the agent's own .git: refs, index, configuration
    <parent>/.harness/git/<name>/      the harness's git directory for the same working tree
    <parent>/.harness/partial/<name>/  a workspace that is being made or removed
    <parent>/.harness/ignored/<commit> ignored files that go with a snapshot
    <parent>/.harness/lock/<name>      held by whoever does something with the workspace
    <parent>/.git                      stops an agent that lost its own .git from finding the user's

Git directories are written as files, because that is one process less for each setting.  Everything is made in
`partial` and renamed, the working tree last: a workspace is either complete or not there.
"""

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from prong.harness.repository import ignored, settling
from prong.harness.repository.git import AGENT, git
from prong.harness.repository.named import branches_and_tags
from prong.harness.repository.repository import Repository

BASE_REF = "refs/prong/base"
AGENT_BRANCH = "prong-work"
KNOWN = "known"
"""A file with a commit, its tree and its time, so that git need not be asked again."""

_FIRST_INDEX = "first-index"
# Settings that decide what bytes and modes a file has in the working tree; they are taken over from the user.
_INHERITED = (
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.symlinks",
)
# What keeps the agent's own git calls quiet and at home.
_AGENT_CONFIGURATION = {
    "core.hookspath": "/dev/null",
    "core.logallrefupdates": "true",
    "core.fsmonitor": "false",
    "core.safecrlf": "false",
    "user.name": AGENT.name,
    "user.email": AGENT.email,
    "commit.gpgsign": "false",
    "tag.gpgsign": "false",
    "push.default": "nothing",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
# Git would find these two in the user's home without being told.
_HARNESS_CONFIGURATION = {
    "core.excludesfile": "/dev/null",
    "core.attributesfile": "/dev/null",
    # What is written here is read once or twice, by us: no second link, no checksum, no compression.
    "core.createobject": "rename",
    "core.loosecompression": "0",
    "index.skiphash": "true",
}
# Large checkouts are written by several processes; small ones are quicker by one.
_PARALLEL = ("-c", "checkout.workers=0", "-c", "checkout.thresholdForParallelism=10000")
# Git looks for a repository in every folder above.  An agent that deleted its .git would find the user's one.
_BARRIER = "gitdir: /nonexistent/this-workspace-has-lost-its-git-directory\n"


# The configuration of machine and person does not count: what matters of it was copied into the workspace.
ISOLATED = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Places:
    """Where everything of one workspace lies."""

    directory: Path

    def _beside(self, kind: str) -> Path:
        return self.directory.parent / ".harness" / kind / self.directory.name

    @functools.cached_property
    def private(self) -> Path:
        """The harness's git directory."""
        return self._beside("git")

    @property
    def partial(self) -> Path:
        """A folder for what is not finished yet, or not wholly removed; after a crash it is only litter."""
        return self._beside("partial")

    def ignored(self, commit: str) -> Path:
        """The ignored files that belong to a snapshot which a workspace beside this one took."""
        return self.directory.parent / ".harness" / "ignored" / commit

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from creating, reading or removing this workspace."""
        lock = self._beside("lock")
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield

    def is_complete(self) -> bool:
        """Whether the workspace was made to the end; the directory is put in place last."""
        return self.directory.is_dir() and self.private.is_dir()


def harness_variables(private: Path, directory: Path) -> dict[str, str]:
    """The environment in which git works on a working tree with a git directory that no agent configures."""
    return ISOLATED | {"GIT_DIR": str(private), "GIT_WORK_TREE": str(directory)}


def build(repository: Repository, commit: str, places: Places) -> None:
    """Make both git directories and check the commit out, aside; then put them in place, the working tree last."""
    places.partial.mkdir(parents=True)
    partial = Path(tempfile.mkdtemp(dir=places.partial))
    tree, private = partial / "tree", partial / "git"
    agent = tree / ".git"
    settings = repository.configuration()
    inherited = {key: settings[key] for key in _INHERITED if key in settings}
    _lay_out(repository, agent, inherited | _AGENT_CONFIGURATION, commit, _excludes(repository, settings))
    _lay_out(repository, private, inherited | _HARNESS_CONFIGURATION, commit, _excludes(repository, settings))
    with (private / "objects/info/alternates").open("ab") as alternates:
        # The objects of commits that the agent makes.  It will stand there once everything is in place.
        alternates.write(_quoted(places.directory / ".git" / "objects"))
    index = private / f"index-{commit}"
    variables = harness_variables(private, tree) | {"GIT_INDEX_FILE": str(index)}
    _name_branches(repository, agent, commit)
    git(*_PARALLEL, "read-tree", "--reset", "-u", "--no-sparse-checkout", commit, cwd=tree, env=variables)
    shutil.copy2(index, agent / "index")
    (private / _FIRST_INDEX).write_text(settling.state_of(agent / "index"))
    settling.prepare(private, index)
    if (known := repository.tree_and_time(commit)) is not None:
        (private / KNOWN).write_text(f"{commit} {known}")
    ignored.bring(places.ignored(commit), tree)
    _stand_between(repository, places.directory.parent)
    clear(places.private)
    places.private.parent.mkdir(exist_ok=True)
    private.rename(places.private)
    tree.rename(places.directory)
    settling.mark(places.private)
    clear(places.partial)


def was_not_touched(index: Path, places: Places) -> bool:
    """Whether the agent's index is the very file that it was given."""
    try:
        return (places.private / _FIRST_INDEX).read_text() == settling.state_of(index)
    except OSError:
        return False


def _lay_out(repository: Repository, place: Path, settings: Mapping[str, str], commit: str, excludes: bytes) -> None:
    """A git directory that borrows the repository's objects; the same as `git clone --shared` makes, but no remote."""
    for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "refs/prong", "info"):
        (place / folder).mkdir(parents=True)
    (place / "HEAD").write_text(commit + "\n")
    (place / BASE_REF).write_text(commit + "\n")
    (place / "objects/info/alternates").write_bytes(_quoted(repository.objects))
    (place / "info/exclude").write_bytes(excludes)
    for name in ("shallow", "info/attributes"):
        if (repository.common_dir / name).exists():
            shutil.copyfile(repository.common_dir / name, place / name)
    version = {"core.repositoryformatversion": "0", "core.bare": "false"}
    if repository.object_format != "sha1":
        version |= {"core.repositoryformatversion": "1", "extensions.objectformat": repository.object_format}
    (place / "config").write_text("".join(_setting(*pair) for pair in (version | dict(settings)).items()))


def _setting(key: str, value: str) -> str:
    section, _, name = key.partition(".")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'[{section}]\n\t{name} = "{escaped}"\n'


def _quoted(path: Path) -> bytes:
    """A line of objects/info/alternates; git reads a quoted path as C would."""
    escaped = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"\n'


def _excludes(repository: Repository, settings: Mapping[str, str]) -> bytes:
    """What the user ignores without saying so in the repository: globally, and in .git/info/exclude."""
    configured = settings.get("core.excludesfile")
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    globally = Path(configured or f"{home}/git/ignore").expanduser()
    files = (globally, repository.common_dir / "info/exclude")
    return b"\n".join(file.read_bytes() for file in files if file.is_file())


def _name_branches(repository: Repository, agent: Path, commit: str) -> None:
    """Give the agent the repository's branches and tags by name, and a branch of its own to start on."""
    own = f"refs/heads/{AGENT_BRANCH}"
    unwanted = (own, "refs/heads/prong/")
    lines = [f"{object_} {name}\n" for name, object_ in branches_and_tags(repository) if not name.startswith(unwanted)]
    (agent / "packed-refs").write_bytes(os.fsencode("".join(lines)))
    (agent / own).write_text(commit + "\n")
    (agent / "HEAD").write_text(f"ref: {own}\n")


def _stand_between(repository: Repository, parent: Path) -> None:
    """Let an agent whose .git is gone find no repository at all, rather than the user's."""
    if repository.root in parent.resolve().parents and not (parent / ".git").exists():
        (parent / ".git").write_text(_BARRIER)


def clear(place: Path) -> None:
    """Delete a folder, also one with folders that an agent made read-only."""
    shutil.rmtree(place, ignore_errors=True)
    if not place.exists():
        return
    for folder, _, _ in os.walk(place):
        # Top-down, so that each folder is opened before it is entered.
        Path(folder).chmod(0o700)
    shutil.rmtree(place)
