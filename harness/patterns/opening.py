"""The swarm behind a pattern: made anew, or the one of the same name that was begun before.

no name                     a new swarm
a name, for the first time  a new swarm, which notes the name
the name again              the same swarm, while the repository stands at the same commit: what is done stays done
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prong.agents.models import EMULATOR_MODEL
from prong.harness import control
from prong.harness.bounds import Bounds
from prong.harness.endpoint_check import is_here
from prong.harness.permissions.policies import FILE
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.repository import Repository
from prong.harness.rules import model_rules
from prong.harness.rules.jail import jail_of
from prong.harness.rules.rules import Rules, load
from prong.harness.rules.trust import what_to_agree_to
from prong.harness.swarms import Offline, Options, Swarm, all_swarms, create
from prong.primitives.budget import Budget
from prong.state import ProngError

PAPER = "pattern.json"
"""The file in a swarm's directory that notes its name."""

DEFAULT_MODEL = "claude-sonnet-5-5"
TASKS = 1_000_000
"""So many tasks a pattern may make where nobody says otherwise: whoever maps over a list means all of it."""

SCRIPT = Path(__file__).with_name("offline_script.py")
"""What plays offline where no script is named."""


class NoKey(ProngError):
    """Models are to be asked, and there is no key."""

    def __str__(self) -> str:
        return "ANTHROPIC_API_KEY is not set; set it, or go without a model: offline=True"


class NotTrusted(ProngError):
    """The repository's rules start programs, or send the key elsewhere, and nobody has said that they want that."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}. If you want that, say so: trust=True, or set PRONG_RUN_TRUST=1"


def all_named(repository: Repository, name: str) -> Iterator[Swarm]:
    """The swarms of this name, the newest first."""
    for swarm in reversed(all_swarms(repository)):
        paper = swarm.directory / PAPER
        if paper.exists() and json.loads(paper.read_text("utf-8"))["name"] == name:
            yield swarm


def named(repository: Repository, name: str, base: str, *, options: Options) -> Swarm | None:
    """The newest swarm of this name that has begun from this commit, and plays a script where this one is to play one.

    What a script has answered, and how long it took, must not stand among what a model did.
    """
    for one in all_named(repository, name):
        if one.base_commit == base and (one.options.offline is None) == (options.offline is None):
            return one
    return None


def make(repository: Repository, options: Options, base: str, *, name: str | None) -> Swarm:
    """A new swarm without a task."""
    swarm = create(repository, options, base, begin=lambda _tx: None)
    if name is not None:
        paper = swarm.directory / PAPER
        fresh = paper.with_suffix(".new")
        fresh.write_text(json.dumps({"name": name, "base": base}), "utf-8")
        fresh.replace(paper)
    return swarm


def go_on(swarm: Swarm, options: Options) -> Swarm:
    """The same swarm as it is to go on: with other slots, bounds and rules, if there are others now."""
    if swarm.options == options:
        return swarm
    bounds = options.bounds
    with swarm.store().transaction(None) as tx:
        tx.execute("update swarm set slots = :slots, options = :more", slots=options.slots, more=options.more())
        bounds.set_limits(tx)
    if (bounds.tokens, bounds.usd) not in ((None, None), (swarm.options.bounds.tokens, swarm.options.bounds.usd)):
        control.raise_budget(swarm, None, Budget(bounds.tokens, bounds.usd))
    return replace(swarm, options=options)


def python_options(
    root: Path, *, goal: str, agents: int | None, model: str | None, base_url: str | None, offline: bool,
    scripts: Sequence[Path | str], latency_s: float, tokens: int | None, usd: float | None, trust: bool,
) -> Options:  # fmt: skip
    """The options of a swarm that a Python program opens: what it says, and for the rest the repository's rules.

    Raises `NotTrusted` where these start programs or send the key elsewhere, and it does not `trust` them.
    """
    rules = load(root)
    if not trust and os.environ.get("PRONG_RUN_TRUST") != "1":
        _check_trust(rules, asks=not (offline or rules.offline or base_url))
    limits, budget, offline = rules.limits, rules.budget, offline or rules.offline
    bounds = Bounds(
        tokens=tokens if tokens is not None else budget.tokens, usd=usd if usd is not None else budget.usd,
        agent_tokens=budget.agent.tokens, agent_usd=budget.agent.usd, task_tokens=budget.task.tokens,
        task_usd=budget.task.usd, open=limits.open, tasks=limits.tasks if "limits.tasks" in rules.said else TASKS,
        depth=limits.depth, children=limits.children, attempts=limits.attempts, parked=limits.parked,
        ageing_s=rules.ageing_s, priority=rules.usual_priority,
    ).with_load(limits.load).with_memory(limits.memory)  # fmt: skip
    played = tuple(str(Path(script).resolve()) for script in scripts) or (str(SCRIPT),)
    usual = None if offline else rules.model
    return Options(
        goal=goal,
        model=model or usual or (EMULATOR_MODEL if offline else DEFAULT_MODEL),
        slots=agents or limits.agents,
        base_url=None if offline else base_url or rules.base_url,
        max_tokens=rules.max_tokens,
        compact_at=rules.compact_at,
        offline=Offline(played, latency_s) if offline else None,
        prose=rules.prose,
        roles=rules.roles,
        route=rules.route,
        models=tuple(model_rules.records(rules.models)),
        bounds=bounds,
        permissions={FILE: rules.permissions},
        on_lost_cache=rules.on_lost_cache,
        merging=MergeRules(
            check=rules.check, timeout_s=rules.check_timeout_s, attempts=rules.merge_attempts,
            tries=rules.check_attempts, batch=rules.check_batch, parallel=rules.check_parallel,
        ),
        jail=jail_of(rules, root, sandbox=rules.sandbox.mode, network=rules.sandbox.network),
    )  # fmt: skip


def _check_trust(rules: Rules, *, asks: bool) -> None:
    """Refuse what the rules start, and, where the swarm `asks` a model at their address, one on another machine."""
    jail = rules.sandbox
    started = what_to_agree_to(rules.roles, is_off=jail.mode == "off", network=jail.network, readable=jail.read)
    if started is not None:
        raise NotTrusted(started)
    if asks and rules.base_url is not None and not is_here(rules.base_url):
        told = f"PRONG.md of this repository says that models are asked at {rules.base_url}; your key would go there"
        raise NotTrusted(told)


def with_script(options: Options) -> Options:
    """The same with a script of our own where offline none is named: the built-in survey answers no items."""
    offline = options.offline
    if offline is None or offline.scripts:
        return options
    return replace(options, offline=Offline((str(SCRIPT),), offline.latency_s))


def key_for(options: Options, api_key: str | None) -> str | None:
    """The key with which models are asked; raises `NoKey`."""
    if options.offline is not None:
        return None
    key = api_key or os.environ.get("ANTHROPIC_API_KEY")
    if not key:
        raise NoKey
    return key


def repository_of(place: Path | str | None) -> tuple[Repository, Path | None]:
    """The repository there, or an empty one of our own, whose folder somebody has to remove."""
    if place is not None:
        return Repository.open(Path(place)), None
    folder = Path(tempfile.mkdtemp(prefix="prong-"))
    identity = ("-c", "user.name=prong", "-c", "user.email=prong@localhost")
    for words in (("init", "-q"), (*identity, "commit", "-q", "--allow-empty", "-m", "An empty repository")):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return Repository.open(folder), folder


def remove(folder: Path) -> None:
    """Remove a repository of our own."""
    shutil.rmtree(folder, ignore_errors=True)


def schema_text(schema: Any) -> str | None:
    """A JSON schema as tasks hold it; raises `Invalid` where it is none."""
    if schema is None:
        return None
    from prong.harness.tools import result_schema  # noqa: PLC0415  most patterns name none

    return result_schema.checked(schema)
