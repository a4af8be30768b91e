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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from prong.agents.governor.governor import default_directory
from prong.harness.admission import Limits
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import NotAWorkspace, Workspace
from prong.harness.rules.rules import Load, Memory, Role
from prong.primitives import Plan, create_task
from prong.primitives.budget import SWARM, Budget, open_account
from prong.primitives.task import set_limits, set_role
from prong.state import ProngError, Row, Store, Transaction

FOLDER = ".prong"

_COLUMNS = ("goal", "model", "slots")
"""The options that have a column in the swarm's row."""


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
class Bounds:
    """What a swarm must not pass; None: what is the default, or no bound.

    `tokens` and `usd` are its budget, `agent_tokens` and `agent_usd` that of one attempt, `task_tokens` and `task_usd`
    that of a task that an agent creates without one.  `open` and `tasks` bound the
    tasks that are open and that are ever created, `depth` and `children` how deep they stand and how many below one,
    `attempts` the failures of one, `parked` the processes that wait.  `cpu_percent`, `load` (for each core) and
    `reserve_bytes` are what the machine must bear when an agent starts.
    """

    tokens: int | None = None
    usd: float | None = None
    agent_tokens: int | None = None
    agent_usd: float | None = None
    open: int = 1_000
    tasks: int = 10_000
    depth: int | None = None
    children: int = 50
    attempts: int | None = None
    ageing_s: float | None = None
    task_tokens: int | None = None
    task_usd: float | None = None
    parked: int = 64
    cpu_percent: float = 100.5  # never, unless somebody asks for it: a busy machine is what a swarm is for
    load: float = 16.0
    reserve_bytes: int | None = None

    def admission(self) -> Limits:
        """What the scheduler asks of the machine."""
        return Limits(cpu_percent=self.cpu_percent, load=self.load, reserve_bytes=self.reserve_bytes)

    def with_load(self, load: Load | None) -> Bounds:
        """The same with how busy the cores may be when an agent starts; None: what is the default."""
        usual = Bounds()
        return replace(
            self,
            cpu_percent=usual.cpu_percent if load is None or load.pressure_percent is None else load.pressure_percent,
            load=usual.load if load is None or load.per_core is None else load.per_core,
        )

    def with_memory(self, memory: Memory | None) -> Bounds:
        """The same with how much memory must stay free; None: what is the default."""
        kept = None if memory is None else memory.of(total_bytes=psutil.virtual_memory().total)
        return replace(self, reserve_bytes=kept)

    def set_limits(self, tx: Transaction) -> None:
        """Make them hold for whoever creates tasks."""
        set_limits(
            tx, open=self.open, tasks=self.tasks, depth=self.depth, children=self.children, attempts=self.attempts,
            ageing_s=self.ageing_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How a swarm runs: what `prong run` was given, and `prong resume` needs again.  Holds no key.

    `prose` and `roles` are those of the repository's rules as they were at the start: what agents read stays the same
    to the end.  `given` names the rules that somebody overrode for this run, so that no change of the file does.
    """

    goal: str
    model: str
    slots: int
    base_url: str | None = None
    max_tokens: int = 32_000
    offline: Offline | None = None
    bounds: Bounds = field(default_factory=Bounds)
    prose: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    given: tuple[str, ...] = ()

    def more(self) -> str:
        """The part of the options that has no column of its own, as JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if name not in _COLUMNS})


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
            "prose": self.options.prose,
            "roles": {name: asdict(role) for name, role in self.options.roles.items()},
            "task_budget": {"tokens": self.options.bounds.task_tokens, "usd": self.options.bounds.task_usd},
            "governed_in": str(self.directory / "governor" if self.options.offline else default_directory()),
            "agent_budget": {"tokens": self.options.bounds.agent_tokens, "usd": self.options.bounds.agent_usd},
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
        options.bounds.set_limits(tx)
        set_roles(tx, options.roles)
        open_account(tx, SWARM, lender=None, budget=Budget(options.bounds.tokens, options.bounds.usd))
        tx.event("swarm.created", object=name, goal=options.goal, branch=swarm.branch, base_commit=base)
        title = " ".join(options.goal.split())[:80]
        create_task(tx, Plan(title=title, prompt=options.goal, base_commit=base))
    return swarm


def set_roles(tx: Transaction, roles: Mapping[str, Role]) -> None:
    """Make what the rules say of roles hold for whoever creates tasks."""
    for name, role in roles.items():
        set_role(tx, name, estimate_s=role.estimate_s, priority=role.priority, attempts=role.attempts)


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
    raise NoSwarm(str(repository.root), name, known if name is not None else ())


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
        bounds=Bounds(**more.get("bounds", {})),
        prose=more.get("prose", ""),
        roles={name: Role(**role) for name, role in more.get("roles", {}).items()},
        given=tuple(more.get("given", ())),
    )
