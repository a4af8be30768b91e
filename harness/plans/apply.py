"""A plan as a swarm: made once, found again by its text, and gone on with where something is missing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from prong.harness.control import retry
from prong.harness.plans import expand
from prong.harness.plans.plan import CHARACTERS, ITEMS, Plan, PlanInvalid
from prong.harness.repository.repository import Repository
from prong.harness.routing import role_for
from prong.harness.rules.invalid import Problem
from prong.harness.rules.rules import Rules
from prong.harness.status import is_supervised
from prong.harness.swarms import Options, Swarm, all_swarms
from prong.harness.swarms import create as create_swarm
from prong.primitives.errors import WrongTaskState
from prong.state import Transaction


def text_of(path: Path) -> str:
    """What a file of a plan holds; raises `PlanInvalid` where it is no text, and `OSError`."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(CHARACTERS + 1)
    except UnicodeDecodeError:
        raise PlanInvalid(str(path), (Problem(1, 1, "the plan is no UTF-8", "save it as UTF-8"),)) from None


def digest_of(text: str) -> str:
    """The name by which a plan is found again: blanks at the ends of lines and at its end do not count."""
    lines = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    return hashlib.sha256(lines.encode()).hexdigest()


def earlier(repository: Repository, digest: str, base: str) -> Swarm | None:
    """The newest swarm of this plan that is not done, or that began at this commit and is; None: there is none."""
    for swarm in reversed(all_swarms(repository)):
        store = swarm.store()
        if store.row("select 1 from plan where digest = :digest", digest=digest) is None:
            continue
        undone = store.row("select 1 from task where state <> 'done' and hedge_of is null limit 1") is not None
        return swarm if undone or swarm.base_commit == base else None
    return None


def reopen(swarm: Swarm) -> list[int]:
    """Open again what has failed or was cancelled, and what failed because it needed that; the tasks' numbers.

    Nothing is opened while somebody runs the swarm.
    """
    store = swarm.store()
    if is_supervised(store):
        return []
    opened: list[int] = []
    rows = store.rows(
        "select id from task where state in ('failed', 'cancelled') and hedge_of is null"
        " order by coalesce(failure, '') = 'need', id"
    )
    for row in rows:
        if row["id"] not in opened:
            try:
                opened += retry(swarm, row["id"], with_dependants=True)
            except WrongTaskState:  # opened with another by now, or what it needs cannot be
                continue
    return sorted(opened)


def create(repository: Repository, options: Options, base: str, plan: Plan, *, path: str, rules: Rules) -> Swarm:
    """Make a swarm whose tasks are those of the plan; raises as `create_tasks` where its limits do not hold them."""
    files = files_of(repository, base, plan)

    def begin(tx: Transaction) -> None:
        expand.create(
            tx, plan, path=path, digest=digest_of(plan.text), files=files, roles=roles_of(plan, rules),
            priorities=priorities_of(plan, rules),
            hedged=frozenset(name for name, step in plan.steps.items() if step.hedge),
        )  # fmt: skip

    return create_swarm(repository, options, base, begin=begin)


def roles_of(plan: Plan, rules: Rules) -> Mapping[str, str]:
    """The role of each step: the one that it names, or that its type, title or prompt is routed to."""
    return {
        name: step.role or role_for(rules.route, title=step.title or name, prompt=step.prompt, type=step.type)
        for name, step in plan.steps.items()
    }


def priorities_of(plan: Plan, rules: Rules) -> Mapping[str, int]:
    """The priorities of those steps that have one."""
    return {name: rules.priority(step.priority) for name, step in plan.steps.items() if step.priority is not None}


def files_of(repository: Repository, commit: str, plan: Plan) -> Mapping[str, Sequence[str]]:
    """What the globs of each step find in a commit; raises `PlanInvalid` where one finds nothing, or too much."""
    asked = {
        name: step.for_each.globs
        for name, step in plan.steps.items()
        if step.for_each is not None and step.for_each.globs
    }
    if not asked:
        return {}
    files = repository.git("ls-tree", "-r", "--name-only", "-z", commit).split("\0")
    found: dict[str, Sequence[str]] = {}
    for name, globs in asked.items():
        wanted = [re.compile(_regex(glob)) for glob in globs]
        found[name] = [path for path in files if path and any(one.fullmatch(path) for one in wanted)]
        if len(found[name]) > ITEMS:
            what = f"tasks.{name}.for_each finds {len(found[name])} files"
            raise PlanInvalid("the plan", (Problem(1, 1, what, f"at most {ITEMS} can be"),))
    return found


def _regex(glob: str) -> str:
    r"""A pattern of file names as a regular expression: `*` stays within a folder, `**` does not.

    >>> bool(re.fullmatch(_regex("src/**/*.py"), "src/a/b.py")), bool(re.fullmatch(_regex("*.py"), "a/b.py"))
    (True, False)
    """
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    glob = re.sub(r"(\*\*/)+(?=\*\*/)", "", glob)  # which say nothing more, and would take for ever
    return "(?s)" + "".join(known.get(part) or re.escape(part) for part in re.split(r"(\*\*/|\*\*|\*|\?)", glob))
