"""The rules of a repository: `PRONG.md` at its root.

    ---
    limits:              front matter: what the harness obeys
      agents: 4
    ---
    Write tests first.   prose: what every agent reads

No file is no rules.  A file with a mistake is refused as a whole, with all its mistakes.  What prompts are made of
(`fixed`: the prose, the model, roles with their prompts) holds for the life of a swarm, because forks share the same
bytes; the rest may change while it runs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as plain_field
from pathlib import Path
from typing import Any

from prong.agents.models import COMPACT_AT
from prong.harness.rules import readers as read
from prong.harness.rules import workers as worker
from prong.harness.rules.amounts import Load, Memory
from prong.harness.rules.invalid import Problem, RulesInvalid, quoted
from prong.harness.rules.model_rules import ModelRule, models
from prong.harness.rules.role import Role
from prong.harness.rules.values import EnoughProblems, Paper, Value, dotted_names, rule, rules_of, similar
from prong.primitives.ranking import AGEING_S
from prong.state import Invalid

__all__ = [
    "Amount", "Budget", "Change", "Limits", "Load", "Memory", "Permissions", "Problem", "Role", "Route", "Rules",
    "RulesInvalid", "defaults", "differences", "load", "parse",
]  # fmt: skip

FILE = "PRONG.md"
FILE_BYTES = 1 << 20
FRONT_MATTER_CHARACTERS = 1 << 17
CHANGE_CHARACTERS = 200
"""A text in a `Change` is shown with so many characters."""

_MOST_TASKS = 10_000_000
_MOST_TOKENS = 10**12
_MOST_USD = 1e9
_DAY_S = 86_400
_FENCE = "---"
_OF_ROLE = ("priority", "estimate_s", "attempts", "agents", "tools", "writes", "hedge")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of everything there may be.

    `agents` hold a slot at once; `depth` is how many tasks may stand below one another; `children` of one task, `open`
    tasks that have not ended, `tasks` in the whole swarm; `parked` agents keep their process; `load` up to which and
    `memory` down to which new agents start (None: the harness decides); `attempts` of a task.
    """

    agents: int = rule(8, read.whole(1, 1000))
    depth: int = rule(5, read.whole(0, 1000))
    children: int = rule(50, read.whole(1, 100_000))
    open: int = rule(1_000, read.whole(1, _MOST_TASKS))
    tasks: int = rule(10_000, read.whole(1, _MOST_TASKS))
    parked: int = rule(64, read.whole(0, 10_000))
    attempts: int = rule(3, read.whole(1, 100))
    load: Load | None = rule(None, read.load())
    memory: Memory | None = rule(None, read.memory())


@dataclass(frozen=True, slots=True)
class Amount:
    """A bound in tokens, in dollars, in both (whichever is reached first), or in neither."""

    tokens: int | None = rule(None, read.tokens(1, _MOST_TOKENS))
    usd: float | None = rule(None, read.number(0, _MOST_USD))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a swarm may spend, and what one task or one agent gets that is given nothing else."""

    tokens: int | None = rule(None, read.tokens(1, _MOST_TOKENS))
    usd: float | None = rule(None, read.number(0, _MOST_USD))
    task: Amount = rule(Amount(), read.record(Amount), part=Amount, fixed=True)
    agent: Amount = rule(Amount(), read.record(Amount), part=Amount, fixed=True)


@dataclass(frozen=True, slots=True)
class Jail:
    """What the commands of agents may see and use up (None: the harness decides).

    `mode` says whether there is a sandbox; `memory` and `disk` are those of one agent, `read` what it may read besides
    the usual.
    """

    mode: str = rule("auto", read.one_of("auto", "bubblewrap", "off"), fixed=True)
    network: bool = rule(False, read.truth, fixed=True)
    memory: Memory | None = rule(None, read.memory(), fixed=True)
    processes: int | None = rule(None, read.whole(8, 100_000), fixed=True)
    disk: Memory | None = rule(None, read.memory(), fixed=True)
    read: tuple[str, ...] = rule((), read.places, fixed=True)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Which calls of tools are let through, asked about and refused; `default` is for those that no rule is about.

    Each rule is the text that `prong.harness.permissions` reads, such as `bash(git push *)`.
    """

    allow: tuple[str, ...] = rule((), read.calls)
    ask: tuple[str, ...] = rule((), read.calls)
    deny: tuple[str, ...] = rule((), read.calls)
    default: str = rule("allow", read.one_of("allow", "ask", "deny"))


@dataclass(frozen=True, slots=True)
class Route:
    """Which role a task gets that names none: by its type in a plan, else by patterns for its title and its prompt."""

    type: Mapping[str, str] = rule({}, read.names(read.role), fixed=True)
    match: Mapping[str, str] = rule({}, read.by_pattern(read.role), fixed=True)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a repository's `PRONG.md` says; what it does not say has the default.

    `usual_priority` is that of tasks that name none and whose role has none; `ageing_s` is after how many seconds of
    waiting a task is as urgent as one of the next priority; `on_lost_cache` is
    what forks do that have not begun when their prompt cache is lost.  `said` names the rules that stand in the file,
    and does not count when rules are compared.
    """

    limits: Limits = rule(Limits(), read.record(Limits), part=Limits)
    budget: Budget = rule(Budget(), read.record(Budget), part=Budget)
    sandbox: Jail = rule(Jail(), read.record(Jail), part=Jail)
    permissions: Permissions = rule(Permissions(), read.record(Permissions), part=Permissions)
    priorities: Mapping[str, int] = rule({}, read.priorities)  # before the roles, which use its names
    roles: Mapping[str, Role] = rule({}, read.roles(worker.role(Role)), part=Role)
    route: Route = rule(Route(), read.record(Route), part=Route)
    usual_priority: int = rule(0, read.priority, key="priority")
    ageing_s: float = rule(AGEING_S, read.seconds(1, 30 * _DAY_S), key="ageing")
    on_lost_cache: str = rule("stop", read.choice("stop", "continue", "brief"))
    model: str | None = rule(None, read.word, fixed=True)
    models: Mapping[str, ModelRule] = rule({}, models, part=ModelRule, fixed=True)
    base_url: str | None = rule(None, read.url, fixed=True)
    max_tokens: int = rule(32_000, read.tokens(1_000, 10_000_000), fixed=True)
    compact_at: float = rule(COMPACT_AT, read.share(0.05, 0.95), fixed=True)
    offline: bool = rule(False, read.truth, fixed=True)
    scripts: tuple[str, ...] = rule((), read.files, fixed=True)
    latency_s: float = rule(0.0, read.seconds(0, _DAY_S), key="latency", fixed=True)
    check: str | None = rule(None, read.text, fixed=True)
    check_timeout_s: float = rule(600.0, read.seconds(0, _DAY_S), key="check_timeout", fixed=True)
    check_attempts: int = rule(1, read.whole(1, 10), fixed=True)
    check_batch: int = rule(1, read.whole(1, 100), fixed=True)
    check_parallel: int | None = rule(None, read.whole(1, 64), fixed=True)
    merge_attempts: int = rule(3, read.whole(1, 100), fixed=True)
    prose: str = plain_field(default="", metadata={"fixed": True})
    said: frozenset[str] = plain_field(default=frozenset(), compare=False)

    @classmethod
    def none(cls) -> Rules:
        """The rules of a repository without the file."""
        return cls()

    def priority(self, given: str | int) -> int:
        r"""The number of a priority that is given by number or by name; raises `Invalid` for a name that is none.

        >>> parse("---\npriorities: {urgent: 20}\n---\n", "PRONG.md").priority("urgent")
        20
        """
        if isinstance(given, int):
            return given
        if given not in self.priorities:
            like = similar(given, self.priorities)
            hint = f" (did you mean {like}?)" if like is not None else ""
            names = ", ".join(self.priorities) or "there is none"
            raise Invalid(f"the priority {given!r}", f"a whole number or a name from {FILE}: {names}{hint}")
        return self.priorities[given]

    def with_changes(self, new: Rules) -> Rules:
        """What a running swarm obeys once the file says something new: what can change does, the rest stays."""
        roles = {
            name: replace(role, **{one: getattr(new.roles[name], one) for one in _OF_ROLE})
            if name in new.roles
            else role
            for name, role in self.roles.items()
        }
        return replace(
            self,
            limits=new.limits,
            budget=replace(new.budget, task=self.budget.task, agent=self.budget.agent),
            permissions=new.permissions,
            priorities=new.priorities,
            usual_priority=new.usual_priority,
            ageing_s=new.ageing_s,
            on_lost_cache=new.on_lost_cache,
            roles=roles,
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that differs: its dotted name, and both values as JSON has them (None: not said).

    `fixed` says that it takes effect only at the next run.
    """

    key: str
    old: Any
    new: Any
    fixed: bool

    def __str__(self) -> str:
        later = "; takes effect at the next run" if self.fixed else ""
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}{later}"


def load(root: Path | str) -> Rules:
    """The rules of the repository with this root; raises `RulesInvalid`.  Paths in them become absolute."""
    path = Path(root) / FILE
    shown = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    try:
        content = _content(path)
    except FileNotFoundError:
        return Rules.none()
    except OSError as error:
        problem = Problem(1, 1, f"the file cannot be read: {error.strerror}", "make it a file that you may read")
        raise RulesInvalid(shown, (problem,)) from error
    if len(content) > FILE_BYTES:
        problem = Problem(1, 1, f"the file has more than {FILE_BYTES} bytes", "rules are short; every agent reads them")
        raise RulesInvalid(shown, (problem,))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        problem = Problem(line, column, f"the byte 0x{content[error.start]:02x} is no UTF-8", "save the file as UTF-8")
        raise RulesInvalid(shown, (problem,)) from error
    return parse(text, shown, root=path.parent)


def parse(text: str, path: str, *, root: Path | None = None) -> Rules:
    r"""The rules in a text; raises `RulesInvalid`, whose errors name `path`.

    With a `root` the files that it names are looked for there.

    >>> rules = parse("---\nlimits: {agents: 4}\n---\nWrite tests first.\n", "PRONG.md")
    >>> rules.limits.agents, rules.limits.depth, rules.prose
    (4, 5, 'Write tests first.')
    >>> parse("---\nlimits:\n  depth: x\n---\n", "PRONG.md")
    Traceback (most recent call last):
    prong.harness.rules.invalid.RulesInvalid: PRONG.md:3: limits.depth is "x"; a whole number from 0 to 1000 is needed
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    begin = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if lines[begin].rstrip() != _FENCE:
        return Rules(prose=_prose(lines, 0, path))
    end = next((n for n in range(begin + 1, len(lines)) if lines[n].rstrip() == _FENCE), None)
    if end is None:
        problem = Problem(
            begin + 1, 1, "the front matter begins here and does not end", f"end it with a line of {_FENCE}"
        )
        raise RulesInvalid(path, (problem,))
    front = "".join(f"{line}\n" for line in lines[begin + 1 : end])
    if len(front) > FRONT_MATTER_CHARACTERS:
        what = f"the front matter has more than {FRONT_MATTER_CHARACTERS} characters"
        raise RulesInvalid(path, (Problem(begin + 1, 1, what, "shorten it"),))
    rules = _front_matter(Paper(front, begin + 1, root, tuple(dotted_names(Rules))), path)
    return replace(rules, prose=_prose(lines, end + 1, path))


def defaults(rules: Rules) -> dict[str, Any]:
    """What the file says, as defaults of `prong run`: its parameters' names and their values."""
    limits, budget = rules.limits, rules.budget
    options = {
        "limits.agents": ("slots", limits.agents),
        "limits.depth": ("depth", limits.depth),
        "limits.children": ("children", limits.children),
        "limits.open": ("open_tasks", limits.open),
        "limits.tasks": ("total_tasks", limits.tasks),
        "limits.parked": ("parked", limits.parked),
        "limits.attempts": ("attempts", limits.attempts),
        "limits.load": ("load", str(limits.load)),
        "limits.memory": ("memory", str(limits.memory)),
        "budget.tokens": ("tokens", budget.tokens),
        "budget.usd": ("usd", budget.usd),
        "priority": ("priority", str(rules.usual_priority)),
        "model": ("model", rules.model),
        "base_url": ("base_url", rules.base_url),
        "max_tokens": ("max_tokens", rules.max_tokens),
        "offline": ("offline", rules.offline),
        "scripts": ("scripts", rules.scripts),
        "latency": ("latency", rules.latency_s),
        "check": ("check", rules.check),
        "check_timeout": ("check_timeout", rules.check_timeout_s),
        "sandbox.mode": ("sandbox", rules.sandbox.mode),
        "sandbox.network": ("network", rules.sandbox.network),
    }
    return dict(option for key, option in options.items() if key in rules.said)


def differences(old: Rules, new: Rules) -> list[Change]:
    r"""Every rule whose value differs, in the order of the manual.

    >>> one, other = (parse(f"---\nlimits: {{agents: {n}}}\n---\n", "PRONG.md") for n in (4, 6))
    >>> [str(change) for change in differences(one, other)]
    ['limits.agents: 4 -> 6']
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    unsaid = (None, False)
    return [
        Change(key, _clipped(before.get(key, unsaid)[0]), _clipped(after.get(key, unsaid)[0]), fixed)
        for key, (_, fixed) in (before | after).items()
        if before.get(key, unsaid)[0] != after.get(key, unsaid)[0]
    ]


def _front_matter(paper: Paper, path: str) -> Rules:
    from prong.harness.rules.front_matter import compose  # noqa: PLC0415  most repositories have no rules, and YAML is heavy

    rules = Rules.none()
    try:
        node = compose(paper)
        if node is not None:
            rules = Value("", node, paper).read(read.record(Rules))
    except EnoughProblems:
        pass
    if paper.problems:
        raise RulesInvalid(path, tuple(sorted(paper.problems, key=lambda problem: (problem.line, problem.column))))
    return replace(rules, said=frozenset(paper.said))


def _content(path: Path) -> bytes:
    """One byte more than allowed at most.  Only of a file: opening a pipe would wait for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  it is opened already
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        return file.read(FILE_BYTES + 1)


def _prose(lines: list[str], begin: int, path: str) -> str:
    for number, line in enumerate(lines[begin:], begin + 1):
        if "\0" in line:
            problem = Problem(
                number, line.index("\0") + 1, "a NUL character stands here", "save the file as plain text"
            )
            raise RulesInvalid(path, (problem,))
    return "\n".join(line.rstrip() for line in lines[begin:]).strip("\n")


def _flat(rules: Any, prefix: str = "", *, fixed: bool = False) -> Iterator[tuple[str, tuple[Any, bool]]]:
    """(dotted name, (value as JSON, whether it is fixed)) of all rules, the prose last."""
    for key, one in rules_of(type(rules)).items():
        value, kept = getattr(rules, one.name), fixed or one.metadata["fixed"]
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if one.metadata["part"] is None:
                    yield f"{prefix}{key}.{name}", (inner, kept)
                else:
                    yield from _flat(inner, f"{prefix}{key}.{name}.", fixed=kept)
        elif one.metadata["part"] is not None:
            yield from _flat(value, f"{prefix}{key}.", fixed=kept)
        else:
            yield f"{prefix}{key}", (_json(value), kept)
    if isinstance(rules, Rules):
        yield "prose", (rules.prose or None, True)


def _json(value: Any) -> Any:
    if isinstance(value, Memory | Load):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _clipped(value: Any) -> Any:
    """The value, short enough for an event: the prose may be long."""
    too_long = isinstance(value, str) and len(value) > CHANGE_CHARACTERS
    return f"{value[:CHANGE_CHARACTERS]}… ({len(value)} characters)" if too_long else value


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return quoted(value) if isinstance(value, str) else str(value)
