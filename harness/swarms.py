"""Where swarms live: one directory each, `.prong/<swarm>/`, in the root of the repository.

.prong/.gitignore            `*`, so that the user's git never sees any of it
.prong/<swarm>/state.db      the database; bells, gate and locks stand beside it
               workspaces/   a clone for each task
               shared/       what all agents may write to
               scratch/      a temporary directory for each task
               log/          what the processes printed
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prong.harness.repository import Repository
from prong.harness.workspaces import NotAWorkspace, Workspace
from prong.primitives import Plan, create_task
from prong.state import ProngError, Row, Store

FOLDER = ".prong"


class NoSwarm(ProngError):
    """No swarm of that name, or none at all, in a repository."""

    def __init__(self, root: str, name: str | None, known: tuple[str, ...]) -> None:
        self.root = root
        self.name = name
        self.known = known

    def __str__(self) -> str:
        if not self.known:
            return f"no swarm has run in {self.root} yet. Start one with: prong run GOAL"
        which = "several swarms match" if sum(one.startswith(self.name or "") for one in self.known) else "no swarm is"
        return f"{which} {self.name!r} in {self.root}. There are: {', '.join(self.known[-10:])}"


@dataclass(frozen=True, slots=True)
class Offline:
    """A run on the emulator: the files whose scripts it plays (none: the built-in one), and seconds per call."""

    scripts: tuple[str, ...] = ()
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a swarm runs: what `prong run` was given, and `prong resume` needs again.  Holds no key."""

    goal: str
    model: str
    slots: int
    base_url: str | None = None
    max_tokens: int = 32_000
    offline: Offline | None = None

    def more(self) -> str:
        """The part of the options that has no column of its own, as JSON."""
        offline = asdict(self.offline) if self.offline is not None else None
        return json.dumps({"base_url": self.base_url, "max_tokens": self.max_tokens, "offline": offline})


@dataclass(frozen=True, slots=True)
class Swarm:
    """A swarm that exists: its directory and what its row says for good."""

    id: str
    directory: Path
    repository: Repository
    branch: str
    base_commit: str
    options: Options

    def store(self) -> Store:
        """Its database, opened anew."""
        return Store(self.directory)

    def settings(self, api_key: str | None, base_url: str | None) -> Mapping[str, Any]:
        """What the nursery needs to know."""
        return {
            "directory": str(self.directory),
            "repository": str(self.repository.root),
            "branch": self.branch,
            "base_commit": self.base_commit,
            "endpoint": {
                "model": self.options.model,
                "base_url": base_url or self.options.base_url,
                "api_key": api_key,
                "max_tokens": self.options.max_tokens,
            },
        }


def create(repository: Repository, options: Options) -> Swarm:
    """Make a swarm: its directory, its database, its integration branch at HEAD, and the first task."""
    base = repository.head()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = repository.root / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    directory = folder / name
    for inner in ("log", "shared", "scratch", "workspaces"):
        (directory / inner).mkdir(parents=True)
    swarm = Swarm(name, directory, repository, f"prong/{name}", base, options)
    repository.create_integration(swarm.branch, base)
    store = swarm.store()
    with store.transaction(None) as tx:
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state,"
            " supervisor_pid, started_at) values (:id, :goal, :repository, :base, :branch, :model, :slots, :options,"
            " 'running', :pid, :now)",
            id=name,
            goal=options.goal,
            repository=str(repository.root),
            base=base,
            branch=swarm.branch,
            model=options.model,
            slots=options.slots,
            options=options.more(),
            pid=os.getpid(),
            now=tx.now,
        )
        tx.event("swarm.created", object=name, goal=options.goal, branch=swarm.branch, base_commit=base)
        title = " ".join(options.goal.split())[:80]
        create_task(tx, Plan(title=title, prompt=options.goal, base_commit=base))
    return swarm


def find(repository: Repository, name: str | None) -> Swarm:
    """The swarm of that id or unique prefix, or the newest; raises `NoSwarm`."""
    known = tuple(sorted(path.parent.name for path in (repository.root / FOLDER).glob("*/state.db")))
    matching = [name] if name in known else [one for one in known if one.startswith(name or "")]
    if name is not None and len(matching) > 1:
        raise NoSwarm(str(repository.root), name, known)
    for one in reversed(matching):
        directory = repository.root / FOLDER / one
        row = Store(directory).row("select * from swarm")
        if row is not None:  # else its maker was interrupted before there was anything in it
            return Swarm(row["id"], directory, repository, row["branch"], row["base_commit"], _options(row))
    raise NoSwarm(str(repository.root), name, known)


def tidy(store: Store, task: int) -> None:
    """Remove the clone and the temporary files of a task that is done: all it changed is on the integration branch."""
    row = store.row("select state from task where id = :task", task=task)
    if row is None or row["state"] != "done":
        return
    with suppress(NotAWorkspace):
        Workspace.open(store.directory / "workspaces" / str(task)).remove()
    shutil.rmtree(store.directory / "scratch" / str(task), ignore_errors=True)


def tidy_all(swarm: Swarm, store: Store) -> None:
    """Tidy for all whose agents died before they could, and let go of the commits that are needed no more."""
    for row in store.rows("select id from task where state = 'done'"):
        tidy(store, row["id"])
    if store.row("select 1 from task where state not in ('done', 'failed', 'cancelled') limit 1"):
        return
    merged = {row["id"] for row in store.rows("select id from task where merged_commit is not null")}
    for ref in swarm.repository.git("for-each-ref", "--format=%(refname)", f"refs/prong/{swarm.id}").split():
        kind, _, which = ref.removeprefix(f"refs/prong/{swarm.id}/").partition("/")
        if kind == "fork" or int(which.partition("-")[0]) in merged:
            swarm.repository.unpin(ref)


def _options(row: Row) -> Options:
    more = json.loads(row["options"])
    offline = more["offline"]
    return Options(
        goal=row["goal"],
        model=row["model"],
        slots=row["slots"],
        base_url=more["base_url"],
        max_tokens=more["max_tokens"],
        offline=Offline(tuple(offline["scripts"]), offline["latency_s"]) if offline is not None else None,
    )
