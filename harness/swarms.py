"""Where swarms live: one directory each, `.prong/<swarm>/`, in the root of the repository.

.prong/.gitignore            `*`, so that the user's git never sees any of it
.prong/<swarm>/state.db      the database; bells, gate and locks stand beside it
               workspaces/   a clone for each task
               shared/       what all agents may write to
               scratch/      a temporary directory for each task, and beside it what its sandbox has to itself
               log/          what the processes printed
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prong.agents.governor.governor import default_directory
from prong.agents.models import COMPACT_AT, Model, tell
from prong.harness.bounds import Bounds
from prong.harness.permissions.policies import FILE, set_rules
from prong.harness.repository.git import GitFailed
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import NotAWorkspace, Workspace
from prong.harness.rules.rules import Permissions, Role, Route
from prong.primitives import Plan, create_task
from prong.primitives.budget import SWARM, Budget, open_account
from prong.primitives.task import free_from_cache, set_role
from prong.state import ProngError, Row, Store, Transaction
from prong.state.process import identity
from prong.state.secrets import of_environment

FOLDER = ".prong"

_COLUMNS = ("goal", "model", "slots", "on_lost_cache", "models")
"""The options that stand elsewhere: in a column of the swarm's row, or in a table."""

SECRET_CHARACTERS = 2_000
"""A value of the environment that is longer is no key that a program could print by the way."""


class NoSwarm(ProngError):
    """No swarm of that name, or none at all, in a repository."""

    def __init__(self, root: str, name: str | None, known: tuple[str, ...]) -> None:
        self.root = root
        self.name = name
        self.known = known

    def __str__(self) -> str:
        if not self.known:
            return f"no swarm has run in {self.root} yet. Start one with: prong run GOAL"
        several = sum(one.startswith(self.name or "") for one in self.known)
        which = "several swarms match" if several else "there is no swarm"
        return f"{which} {self.name!r} in {self.root}. There are: {', '.join(self.known[-10:])}"


@dataclass(frozen=True, slots=True)
class Offline:
    """A run on the emulator: the files whose scripts it plays (none: the built-in one), and seconds per call."""

    scripts: tuple[str, ...] = ()
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Jail:
    """How the commands of agents are kept in: `sandbox` is `auto`, `bubblewrap` or `off`; None: what is usual.

    `memory_bytes`, `processes` and `disk_bytes` bound what one agent's commands use up together; `readable` is in their
    sight besides the usual.
    """

    sandbox: str = "auto"
    network: bool = False
    memory_bytes: int | None = None
    processes: int | None = None
    disk_bytes: int | None = None
    readable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """How a swarm runs: what `prong run` was given, and `prong resume` needs again.  Holds no key.

    `prose` and `roles` are those of the repository's rules as they were at the start: what agents read stays the same
    to the end.  `role` is the first task's.  `given` names the rules that somebody overrode for this run, so that no
    change of the file does.  `push` sends the integration branch to the remote when all has ended.  `permissions` are
    the rules for calls of tools by who has said them; from the beginning on they are kept in the database, where they
    may change.  So are `models`, those of which somebody said what they cost and hold.
    """

    goal: str
    model: str
    slots: int
    base_url: str | None = None
    max_tokens: int = 32_000
    compact_at: float = COMPACT_AT
    offline: Offline | None = None
    bounds: Bounds = field(default_factory=Bounds)
    prose: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    on_lost_cache: str = "stop"
    push: bool = False
    jail: Jail = field(default_factory=Jail)
    merging: MergeRules = field(default_factory=MergeRules)
    permissions: Mapping[str, Permissions] = field(default_factory=dict)
    models: Sequence[Model] = ()
    route: Route = field(default_factory=Route)
    role: str = ""

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
            "secrets": sorted(value for value in {*of_environment(), api_key or ""} if len(value) < SECRET_CHARACTERS),
            "repository": str(self.repository.root),
            "branch": self.branch,
            "base_commit": self.base_commit,
            "prose": self.options.prose,
            "roles": {name: asdict(role) for name, role in self.options.roles.items()},
            "route": asdict(self.options.route),
            "task_budget": {"tokens": self.options.bounds.task_tokens, "usd": self.options.bounds.task_usd},
            "governed_in": str(self.directory / "governor" if self.options.offline else default_directory()),
            "jail": asdict(self.options.jail),
            "compact_at": self.options.compact_at,
            "agent_budget": {"tokens": self.options.bounds.agent_tokens, "usd": self.options.bounds.agent_usd},
            "endpoint": {
                "model": self.options.model,
                "base_url": base_url or self.options.base_url,
                "api_key": api_key,
                "max_tokens": self.options.max_tokens,
            },
        }


def create(
    repository: Repository, options: Options, base: str | None = None, *, program: str | None = None,
    begin: Callable[[Transaction], object] | None = None,
) -> Swarm:  # fmt: skip
    """Make a swarm: its directory, its database, its integration branch at `base` or HEAD, and the first task.

    The first task runs the `program`, as `programs.Program` writes itself, where there is one; `begin` makes other
    tasks in its place, or none, which come later then.
    """
    repository.check_writable()
    base = base or repository.head()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder = repository.root / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    directory = folder / name
    for inner in ("log", "shared", "scratch", "workspaces"):
        (directory / inner).mkdir(parents=True)
    swarm = Swarm(name, directory, repository, f"prong/{name}", base, options)
    repository.pin(f"refs/prong/{name}/start", base)  # whatever becomes of the branch
    repository.create_integration(swarm.branch, base)
    store = swarm.store()
    with store.transaction(None) as tx:
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, on_lost_cache, state,"
            " supervisor_pid, supervisor_process, started_at) values (:id, :goal, :repository, :base, :branch, :model,"
            " :slots, :options, :on_lost_cache, 'running', :pid, :process, :now)",
            on_lost_cache=options.on_lost_cache,
            id=name,
            goal=options.goal,
            repository=str(repository.root),
            base=base,
            branch=swarm.branch,
            model=options.model,
            slots=options.slots,
            options=options.more(),
            pid=os.getpid(),
            process=identity(),
            now=tx.now,
        )
        _set_all(tx, options)
        tx.event("swarm.created", object=name, goal=options.goal, branch=swarm.branch, base_commit=base)
        begin(tx) if begin is not None else _begin(tx, options, base, program)
    return swarm


def _set_all(tx: Transaction, options: Options) -> None:
    """Make hold what the options say."""
    options.bounds.set_limits(tx)
    set_roles(tx, options.roles)
    tell(tx, options.models)
    for source, permissions in options.permissions.items():
        set_rules(tx, source, permissions, options.roles if source == FILE else None)
    open_account(tx, SWARM, lender=None, budget=Budget(options.bounds.tokens, options.bounds.usd))


def _begin(tx: Transaction, options: Options, base: str, program: str | None) -> None:
    title = " ".join(options.goal.split())[:80]
    task, _ = create_task(tx, Plan(title=title, prompt=options.goal, role=options.role, base_commit=base))
    if program is not None:
        tx.execute("update task set program = :program where id = :task", program=program, task=task.id)


def set_roles(tx: Transaction, roles: Mapping[str, Role]) -> None:
    """Make what the rules say of roles hold for whoever creates tasks."""
    for name, role in roles.items():
        set_role(
            tx, name, estimate_s=role.estimate_s, priority=role.priority, attempts=role.attempts, agents=role.agents,
            writes=role.writes or (), hedge=bool(role.hedge),
        )  # fmt: skip


def set_on_lost_cache(tx: Transaction, what: str) -> None:
    """What becomes of forks whose prompt cache is lost; where they need not stop, those that were held go on."""
    tx.execute("update swarm set on_lost_cache = :what", what=what)
    if what != "stop":
        free_from_cache(tx)


def all_swarms(repository: Repository) -> list[Swarm]:
    """All swarms of a repository, oldest first."""
    found = (_at(repository, repository.root / FOLDER / name) for name in names(repository))
    return [one for one in found if one is not None]


def at_directory(directory: Path) -> Swarm:
    """The swarm in a directory, such as a copy of one; raises `NoSwarm`, and as `Repository.open`."""
    row = Store(directory).row("select id, repository from swarm") if (directory / "state.db").exists() else None
    found = None if row is None else _at(Repository.open(_existing(Path(row["repository"]), directory)), directory)
    if found is None:
        raise NoSwarm(str(directory), None, ())
    return found


def find(repository: Repository, name: str | None) -> Swarm:
    """The swarm of that id or unique prefix, or the newest; raises `NoSwarm`."""
    known = tuple(names(repository))
    matching = [name] if name in known else [one for one in known if one.startswith(name or "")]
    if name is not None and len(matching) > 1:
        raise NoSwarm(str(repository.root), name, known)
    for one in reversed(matching):
        found = _at(repository, repository.root / FOLDER / one)
        if found is not None:
            return found
    raise NoSwarm(str(repository.root), name, known if name is not None else ())


def names(repository: Repository) -> list[str]:
    """The ids of all swarms of a repository, oldest first; some may have nothing in them yet."""
    return sorted(path.parent.name for path in (repository.root / FOLDER).glob("*/state.db"))


def _at(repository: Repository, directory: Path) -> Swarm | None:
    """The swarm in a directory; None where its maker was interrupted before there was anything in it."""
    row = Store(directory).row("select * from swarm")
    if row is None:
        return None
    return Swarm(row["id"], directory, repository, row["branch"], row["base_commit"], _options(row))


def _existing(path: Path, other: Path) -> Path:
    return path if path.exists() else other


def tidy(store: Store, task: int) -> None:
    """Remove the clone and the temporary files of a task that is done: all it changed is on the integration branch."""
    row = store.row("select state from task where id = :task", task=task)
    if row is None or row["state"] != "done":
        return
    with suppress(NotAWorkspace):
        Workspace.open(store.directory / "workspaces" / str(task)).remove()
    for name in (str(task), f".{task}"):
        shutil.rmtree(store.directory / "scratch" / name, ignore_errors=True)


def tidy_all(swarm: Swarm, store: Store) -> None:
    """Tidy for all whose agents died before they could, and let go of the commits that are needed no more."""
    for row in store.rows("select id from task where state = 'done'"):
        tidy(store, row["id"])
    if store.row("select 1 from task where state not in ('done', 'failed', 'cancelled') limit 1"):
        return
    for needless_folder in ("check", "workspaces/.harness/ignored"):  # it is on the branch; it was for forks to begin
        shutil.rmtree(swarm.directory / needless_folder, ignore_errors=True)
    needless = {
        "task": {row["id"] for row in store.rows("select id from task where merged_commit is not null")},
        "base": {row["id"] for row in store.rows("select id from task where state = 'done'")},
    }
    pins = swarm.repository.git("for-each-ref", "--format=%(refname)", f"refs/prong/{swarm.id}").split()
    gone = []
    for ref in pins:
        kind, _, which = ref.removeprefix(f"refs/prong/{swarm.id}/").partition("/")
        if kind == "fork" or (kind in needless and int(which.partition("-")[0]) in needless[kind]):
            gone.append(ref)
    with suppress(GitFailed):  # a lock that somebody left behind: then the commits are kept for longer
        swarm.repository.unpin(*gone)


def _options(row: Row) -> Options:
    more = json.loads(row["options"])
    offline = more["offline"]
    return Options(
        goal=row["goal"],
        model=row["model"],
        slots=row["slots"],
        base_url=more["base_url"],
        max_tokens=more["max_tokens"],
        compact_at=more.get("compact_at", COMPACT_AT),
        offline=Offline(tuple(offline["scripts"]), offline["latency_s"]) if offline is not None else None,
        bounds=Bounds(**more.get("bounds", {})),
        prose=more.get("prose", ""),
        roles={name: Role(**role) for name, role in more.get("roles", {}).items()},
        given=tuple(more.get("given", ())),
        on_lost_cache=row["on_lost_cache"],
        jail=Jail(**{**(jail := more.get("jail", {})), "readable": tuple(jail.get("readable", ()))}),
        push=more.get("push", False),
        merging=MergeRules(**more.get("merging", {})),
        route=Route(**more.get("route", {})),
        role=more.get("role", ""),
    )
