"""A repository that is elsewhere: cloned once, found again by its address, and given the result back.

    https://host/team/shop.git  <->  ~/.local/share/prong/repositories/shop-3f2a9c1b/   a usual clone, with .prong/

The clone is a person's as any other is: it has a working tree, and work that was not merged stays in its branches.
That is why it is not kept in a cache, which others may empty.  Nobody is ever asked for a password.
"""

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from prong.harness.repository.git import GitFailed, RepositoryError, git_online
from prong.harness.repository.repository import Repository

CLONES_VARIABLE = "PRONG_REPOSITORIES"
# git's own short form of an ssh address, such as git@host:team/shop.git; a drive letter or a path is none.
_SHORT_SSH = re.compile(r"(?:[\w.-]+@)?[\w-][\w.-]+:.+$")
_HIDDEN = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(eq=False)
class RemoteFailed(RepositoryError):
    """Another machine could not be reached, or refused; `said` is what git printed."""

    what: str
    said: str

    def __str__(self) -> str:
        text = f"{self.what}: {self.said}"
        if re.search(r"could not read (Username|Password)|Authentication failed|Permission denied", self.said):
            text += (
                ". Prong never asks for a password: let git know it first, by a credential helper or an ssh agent, "
                "until 'git ls-remote' with this address works without a question"
            )
        return text


@dataclass(eq=False)
class NotCloned(RepositoryError):
    """No swarm has run on that address here."""

    address: str

    def __str__(self) -> str:
        address = shown(self.address)
        return f"there is no clone of {address} here yet. Start a swarm on it: prong run --repo {address} GOAL"


@dataclass(eq=False)
class NoRemote(RepositoryError):
    """There is nowhere to push to."""

    root: str

    def __str__(self) -> str:
        return f"{self.root} has no remote to push to. Add one with 'git remote add', or run without --push."


@dataclass(eq=False)
class PushRefused(RepositoryError):
    """The branch of the remote is not as it was left."""

    branch: str
    remote: str
    said: str

    def __str__(self) -> str:
        return (
            f"{self.branch!r} was not pushed to {self.remote!r}: somebody else changed it there, and that is not "
            f"overwritten ({self.said}). The result is in your repository; look at both, and push under another name."
        )


def is_address(place: str) -> bool:
    """Whether a repository is named by an address rather than by a folder.

    >>> [is_address(one) for one in ("https://host/a.git", "git@host:a/b.git", "host:a", "file:///a")]
    [True, True, True, True]
    >>> [is_address(one) for one in (".", "a/b", "/a:b", "./a:b")]
    [False, False, False, False]
    """
    if "://" in place:
        return True
    return bool(_SHORT_SSH.match(place)) and not Path(place).exists()


def is_bare(path: Path) -> bool:
    """Whether a folder is a bare repository, by its looks."""
    looks = (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
    return looks and path.resolve().name != ".git" and not (path / "commondir").exists() and not _in_git_dir(path)


def _in_git_dir(path: Path) -> bool:
    # The repository of a submodule lies in its owner's .git, and its working tree elsewhere.
    return ".git" in path.resolve().parts


def shown(address: str) -> str:
    """The address without the name and password that may stand in it.

    >>> shown("https://ada:secret@host/a.git")
    'https://host/a.git'
    """
    return _HIDDEN.sub("", address)


def clone_of(address: str) -> Path:
    """Where the clone of an address is, or would be."""
    base = os.environ.get(CLONES_VARIABLE)
    if not base:
        home = os.environ.get("XDG_DATA_HOME") or ""
        data = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "share"
        base = str(data / "prong" / "repositories")
    same = _normal(address)
    name = re.sub(r"[^\w.-]+", "-", re.split(r"[/:]", same)[-1]).strip("-.") or "repository"
    return Path(base).absolute() / f"{name[:60]}-{hashlib.sha256(same.encode()).hexdigest()[:8]}"


def _normal(address: str) -> str:
    """What is the same for all ways to write an address, with a password or without, with .git or without."""
    if "://" in address:
        parts = urlsplit(shown(address))
        address = urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, "", ""))
    return address.rstrip("/").removesuffix(".git").rstrip("/")


def find_clone(address: str) -> Path:
    """The clone that was made for an address; raises `NotCloned`."""
    place = clone_of(address)
    if not (place / ".git").is_dir():
        raise NotCloned(address)
    return place


def fetch_clone(address: str) -> tuple[Path, str]:
    """The clone for an address, made or brought up to date, and a sentence that tells what was done.

    A clone that somebody works in is left as it is: only a clean branch that the remote's continues is moved.
    Raises `RemoteFailed`.
    """
    place = clone_of(address)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f"{place.name}.lock")):
        if (place / ".git").is_dir():
            return place, _update(address, place)
        _clone(address, place)
    return place, f"cloned {shown(address)} into {place}"


def _clone(address: str, place: Path) -> None:
    partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}-"))
    try:
        # A template of the person's would bring hooks along.
        _online("clone", "--quiet", "--template=", "--", address, str(partial / "clone"), cwd=place.parent, of=address)
        (partial / "clone").rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _update(address: str, place: Path) -> str:
    _online("fetch", "--quiet", "--prune", "origin", cwd=place, of=address)
    try:
        repository = Repository.open(place)
        before = repository.head()
        repository.git("merge", "--quiet", "--ff-only", "@{upstream}")
    except GitFailed as error:
        why = error.stderr.splitlines()[-1] if error.stderr else "its branch cannot be moved forward"
        return f"the clone {place} was left as it is ({why}); the swarm starts from its last commit"
    after = repository.head()
    return f"the clone {place} is up to date" if before == after else f"brought the clone {place} up to date"


def push(repository: Repository, swarm: str, branch: str) -> str:
    """Push a swarm's branch to the remote, if it is there as Prong left it; returns a sentence that tells the result.

    What was pushed last stands in refs/prong/<swarm>/pushed.  The remote's default branch is never pushed to.
    Raises `NoRemote`, `PushRefused` or `RemoteFailed`.
    """
    ref, pushed = f"refs/heads/{branch}", f"refs/prong/{swarm}/pushed"
    remote = _remote_of(repository)
    tip = repository.resolve(ref)
    was = repository.read_ref(pushed)
    if was == tip:
        return f"{branch} is on {remote} already"
    head, there = _ask(repository, remote, ref)
    if head == ref or not ref.startswith("refs/heads/prong/"):
        raise PushRefused(branch, remote, "it is the default branch there")
    if there == tip:  # somebody was killed before he could write it down
        repository.pin(pushed, tip)
        return f"{branch} is on {remote} already"
    try:
        git_online(
            "push", "--quiet", "--no-verify", f"--force-with-lease={ref}:{was or ''}", remote, f"{tip}:{ref}",
            cwd=repository.root,
        )  # fmt: skip
    except GitFailed as error:
        # "[remote rejected]" is another thing: a rule or hook of the remote, which says what it wants.
        if "stale info" in error.stderr or "[rejected]" in error.stderr:
            raise PushRefused(branch, remote, _last_line(error.stderr)) from error
        raise RemoteFailed(f"{branch!r} was not pushed to {remote!r}", shown(error.stderr)) from error
    repository.pin(pushed, tip)
    return f"pushed {branch} to {remote} ({shown(repository.git('remote', 'get-url', '--push', remote))})"


def check_remote(repository: Repository) -> None:
    """Raise `NoRemote` where a push at the end could go nowhere."""
    _remote_of(repository)


def _remote_of(repository: Repository) -> str:
    """Where a person's own `git push` would go."""
    known = repository.git("remote").split()
    settings = repository.configuration()
    try:
        branch = repository.git("symbolic-ref", "--short", "--quiet", "HEAD")
    except GitFailed:
        branch = ""
    keys = (f"branch.{branch}.pushremote", "remote.pushdefault", f"branch.{branch}.remote")
    wanted = (*(settings.get(key) for key in keys), "origin", *(known if len(known) == 1 else ()))
    for one in wanted:
        if one in known:
            return str(one)
    raise NoRemote(str(repository.root))


def _ask(repository: Repository, remote: str, ref: str) -> tuple[str, str | None]:
    """The remote's default branch ("" for none), and the commit of a reference there."""
    lines = _online("ls-remote", "--symref", remote, "HEAD", ref, cwd=repository.root, of=remote).split("\n")
    default = next((line[5:].split("\t")[0] for line in lines if line.startswith("ref: ")), "")
    there = next((line.split("\t")[0] for line in lines if line.endswith(f"\t{ref}") and line[:5] != "ref: "), None)
    return default, there


def _online(*arguments: str, cwd: Path, of: str) -> str:
    try:
        return git_online(*arguments, cwd=cwd)
    except GitFailed as error:
        raise RemoteFailed(f"{shown(of)} cannot be used", shown(error.stderr)) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "rejected" in line or "stale" in line]
    return shown(lines[0] if lines else text.strip())
