"""A plan: a graph of tasks in a file of YAML, read and checked as a whole.

    goal: Look for bugs and mend them
    tasks:
      survey: {prompt: "Which files matter?", result: {type: object}}
      review: {prompt: "Review {item}", needs: survey, for_each: survey.result.files}
      mend:   {prompt: "Mend what was found", needs: review, when: len(review.result) > 0}

Nothing is looked up and nothing is made here.  A plan with mistakes is refused with all of them, each with its line.
"""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import yaml

from prong.harness.plans.expressions import Expression
from prong.harness.plans.expressions import read as read_expression
from prong.harness.rules import readers as read
from prong.harness.rules.front_matter import compose
from prong.harness.rules.invalid import Problem, RulesInvalid, quoted
from prong.harness.rules.rules import Amount, Rules
from prong.harness.rules.values import EnoughProblems, Paper, Value, dotted_names, rule, rules_of, similar
from prong.primitives.task_record import NEEDS, PROMPT_BYTES, RESULT_ASKS, TITLE_CHARACTERS, Context, OnFailedNeed
from prong.state import Invalid

STEPS = 1_000
"""The most tasks that a plan may name; `for_each` makes more of one."""

ITEMS = 10_000
"""The most tasks that one `for_each` makes."""

VALUES = 200_000
"""The most values that a list of items, or a schema, may hold, each as often as it is referred to."""

DEEPEST = 64
"""So deep they may be nested."""

CHARACTERS = 1 << 20
"""How long a plan may be."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_PLACE = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)((?:\.[A-Za-z0-9_]+)*)\}")
_OF_EXPRESSIONS = frozenset({"item", "index", "true", "false", "null", *keyword.kwlist})


class PlanInvalid(RulesInvalid):
    """A plan cannot be used; `problems` are in the order of their lines, and there is at least one."""


@dataclass(frozen=True, slots=True)
class Items:
    """What `for_each` goes over: a list in the plan, the files that fit a pattern, or a result of a needed task."""

    listed: tuple[Any, ...] | None = None
    globs: tuple[str, ...] = ()
    expression: Expression | None = None


def _names(value: Value) -> tuple[str, ...]:
    nodes = value.node.value if value.kind == "seq" else [value.node]
    return tuple(dict.fromkeys(_name(Value(value.name, node, value.paper)) for node in nodes))


def _name(value: Value) -> str:
    """A name; `no` and its like are names here, though YAML takes them for truth values."""
    return str(value.node.value) if value.kind == "bool" else read.word(value)


def _expression(value: Value) -> Expression:
    written = value.node.value if value.kind in ("str", "bool") else ""
    try:
        return read_expression(str(written))
    except Invalid as error:
        raise Invalid(f"{error.what}: {quoted(str(written))}", error.expected) from None


def _items(value: Value) -> Items:
    if value.kind == "seq":
        if len(value.node.value) > ITEMS:
            raise Invalid(f"has {len(value.node.value)} items", f"at most {ITEMS}")
        return Items(listed=tuple(plain(value.node)))
    if value.kind == "map":
        globs = cast("_Globs", read.record(_Globs, of="part of for_each")(value)).glob
        if not globs:
            raise Invalid("names no glob", 'a list, a mapping such as {glob: "src/**/*.py"}, or an expression')
        return Items(globs=globs)
    return Items(expression=_expression(value))


def _schema(value: Value) -> Mapping[str, Any]:
    from prong.harness.tools.result_schema import checked  # noqa: PLC0415  heavy, and few plans have one

    if value.kind != "map":
        raise Invalid(value.shown(), "a JSON schema, which is a mapping such as {type: object},")
    schema = cast("Mapping[str, Any]", plain(value.node))
    try:
        checked(schema)
    except Invalid as error:
        raise Invalid(f"is {error.what}", error.expected) from None
    return schema


def _budget(value: Value) -> Amount:
    if value.kind == "map":
        return cast("Amount", read.record(Amount, of="part of a budget")(value))
    return Amount(tokens=read.tokens(1, 10**12)(value))


def _priority(value: Value) -> int | str:
    """A number, or a name that PRONG.md may give one."""
    return read.word(value) if value.kind == "str" else int(read.whole(-read.PRIORITY_MOST, read.PRIORITY_MOST)(value))


@dataclass(frozen=True, slots=True)
class _Globs:
    """What `for_each: {glob: …}` says."""

    glob: tuple[str, ...] = rule((), _names)


@dataclass(frozen=True, slots=True)
class Step:
    """One task of a plan, or many of a kind where it has `for_each`.

    `needs` are the names of others; `type` is what PRONG.md routes to a role; `context` is `fork` where it goes on with
    the conversation of the first task that it needs; `result` is the JSON schema of its result; `on_failed_item` says
    whether a `for_each` of which some have failed fails as well, or goes on with the rest; `hedge` lets a second copy
    run where it takes much longer than its like.
    """

    prompt: str = rule("", read.text)
    title: str | None = rule(None, read.text)
    needs: tuple[str, ...] = rule((), _names)
    role: str | None = rule(None, read.word)
    type: str | None = rule(None, read.word)
    priority: int | str | None = rule(None, _priority)
    budget: Amount | None = rule(None, _budget)
    check: str | None = rule(None, read.text)
    for_each: Items | None = rule(None, _items)
    when: Expression | None = rule(None, _expression)
    context: Context = rule("fresh", read.choice("fresh", "fork"))
    result: Mapping[str, Any] | None = rule(None, _schema)
    result_asks: int = rule(2, read.whole(0, RESULT_ASKS))
    attempts: int | None = rule(None, read.whole(1, 100))
    on_failed_need: OnFailedNeed | None = rule(None, read.choice("fail", "continue", "any"))
    on_failed_item: str = rule("fail", read.choice("fail", "continue"))
    hedge: bool = rule(False, read.truth)

    @property
    def policy(self) -> OnFailedNeed:
        """What becomes of it where a need fails: who asks how a need has ended wants to hear of it."""
        asks = self.when is not None and self.when.asks_state
        return self.on_failed_need or ("continue" if asks else "fail")

    def places(self) -> Iterator[tuple[str, str]]:
        """(name, path) of each `{name.path}` in its prompt."""
        yield from ((found[1], found[2]) for found in _PLACE.finditer(self.prompt))


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that can be used: its steps by name, and their names in an order in which each stands behind its needs."""

    goal: str
    steps: Mapping[str, Step]
    order: tuple[str, ...]
    text: str

    def may_be_skipped(self) -> frozenset[str]:
        """The steps that may never start although nothing fails: those with `when`, and who needs only such."""
        found: set[str] = set()
        for name in self.order:
            step = self.steps[name]
            if step.when is not None or (step.needs and all(need in found for need in step.needs)):
                found.add(name)
        return frozenset(found)


@dataclass(slots=True)
class _Reading:
    """A plan that is being read: where each part of each step stands, for errors that concern several."""

    paper: Paper
    steps: dict[str, Step] = field(default_factory=dict)
    values: dict[str, Mapping[str, Value]] = field(default_factory=dict)
    marks: dict[str, yaml.Mark] = field(default_factory=dict)
    rules: Rules | None = None

    def wrong(self, step: str, part: str, what: str, needed: str) -> None:
        """Note a problem of a part of a step."""
        value = self.values[step].get(part)
        mark = self.marks[step] if value is None else value.node.start_mark
        self.paper.wrong(mark, f"tasks.{step}.{part} {what}" if part else f"tasks.{step} {what}", needed)


def parse(text: str, path: str, *, rules: Rules | None = None) -> Plan:
    r"""The plan in a text; raises `PlanInvalid`, whose errors name `path`.

    With `rules` it must name the roles and priorities that stand there, where any role does.

    >>> parse("tasks:\n  one: {prompt: Begin}\n  two: {prompt: End, needs: one}\n", "plan.yaml").order
    ('one', 'two')
    >>> parse("tasks:\n  one: {prompt: Begin, neds: two}\n", "plan.yaml")
    Traceback (most recent call last):
    prong.harness.plans.plan.PlanInvalid: plan.yaml:2: tasks.one.neds is no part of a task; did you mean needs?
    """
    if len(text) > CHARACTERS:
        raise PlanInvalid(path, (Problem(1, 1, f"the plan has more than {CHARACTERS} characters", "write for_each"),))
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    reading = _Reading(Paper(text, 0, None, tuple(dotted_names(Step))), rules=rules)
    goal = ""
    order: tuple[str, ...] = ()
    try:
        node = compose(reading.paper)
        if node is None and not reading.paper.problems:
            reading.paper.problems.append(Problem(1, 1, "the plan is empty", "tasks are needed, under the key tasks"))
        if node is not None:
            goal, order = _read(Value("", node, reading.paper), reading)
    except EnoughProblems:
        pass
    if reading.paper.problems:
        problems = sorted(reading.paper.problems, key=lambda problem: (problem.line, problem.column))
        raise PlanInvalid(path, tuple(dict.fromkeys(problems)))
    return Plan(goal or f"Run the plan {path}", reading.steps, order, text)


def plain(node: yaml.Node) -> Any:
    """What a node means as JSON; raises `Invalid` where references in it make more of it than `VALUES`, or no end."""
    return _plain(node, itertools.count(1), 0)


def _plain(node: yaml.Node, counted: Iterator[int], deep: int) -> Any:
    if next(counted) > VALUES or deep > DEEPEST:
        problem = f"has more than {VALUES} values, or is deeper than {DEEPEST}, as its references (*) say"
        raise Invalid(problem, "something smaller")
    value = Value("", node, Paper("", 0, None))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(inner, counted, deep + 1) for inner in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(inner, counted, deep + 1) for key, inner in node.value}
    written = str(node.value)
    try:
        if value.kind == "int":
            return int(written.replace("_", ""), 0)
        if value.kind == "float":
            return float(written.replace("_", ""))
    except ValueError:  # .inf, 0o17 written otherwise, 1:30
        return written
    return {"null": None, "bool": written.lower() in ("true", "yes", "on")}.get(value.kind, written)


def _read(whole: Value, reading: _Reading) -> tuple[str, tuple[str, ...]]:
    goal, tasks = "", None
    try:
        entries = list(whole.entries())
    except Invalid as error:
        reading.paper.wrong(whole.node.start_mark, f"the plan {error.what}", f"{error.expected} is needed")
        return "", ()
    for key, inner in entries:
        if key.value == "goal":
            goal = inner.read(read.text) or ""
        elif key.value == "tasks":
            tasks = inner
        else:
            like = similar(key.value, ("goal", "tasks"))
            needed = "goal and tasks are all there is" if like is None else f"did you mean {like}?"
            reading.paper.wrong(key.start_mark, f"{quoted(key.value)[1:-1]} is no part of a plan", needed)
    if tasks is None:
        reading.paper.wrong(whole.node.start_mark, "the plan has no tasks", "tasks are needed, under the key tasks")
        return goal, ()
    tasks.read(lambda value: _steps(value, reading))
    for name in reading.steps:
        _check(name, reading)
    return goal, _order(reading)


def _steps(value: Value, reading: _Reading) -> None:
    for key, inner in value.entries():
        name = key.value
        if not _NAME.fullmatch(name) or name in _OF_EXPRESSIONS:
            hint = name.replace("-", "_")
            meant = f"; did you mean {hint}?" if hint != name and _NAME.fullmatch(hint) else ""
            needed = f"a letter and then up to 63 letters, digits or _ are needed, and no word of expressions{meant}"
            reading.paper.wrong(key.start_mark, f"{quoted(name)} is no name for a task", needed)
            continue
        values: dict[str, Value] = {}
        if inner.kind == "str":  # nothing but its prompt
            step = Step(prompt=inner.read(read.text) or "?")
        else:
            known = rules_of(Step)
            for one, node in inner.node.value if inner.kind == "map" else ():
                if one.id == "scalar" and one.value in known:
                    values[one.value] = Value("", node, value.paper)
            step = inner.read(read.record(Step, of="part of a task"))
        reading.marks[name], reading.values[name] = key.start_mark, values
        if step is not None:
            reading.steps[name] = replace(step, prompt=step.prompt or "", needs=step.needs or ())
        if len(reading.steps) > STEPS:
            raise Invalid(f"has more than {STEPS} tasks", "for_each, which makes many of one,")
    if not reading.steps and not value.paper.problems:
        raise Invalid("holds no task", "at least one")


def _check(name: str, reading: _Reading) -> None:
    """What one step says of others."""
    step, others = reading.steps[name], reading.values
    if not step.prompt and "prompt" not in others[name]:
        reading.wrong(name, "", "has no prompt", "say what is to be done: prompt: …")
    if len(step.prompt.encode(errors="replace")) > PROMPT_BYTES or len(step.needs) > NEEDS:
        reading.wrong(name, "", "is too long", f"at most {PROMPT_BYTES} bytes of prompt and {NEEDS} needs")
    _check_needs(name, step, reading)
    over = None if step.for_each is None else step.for_each.expression
    for part, expression in (("when", step.when), ("for_each", over)):
        for one in () if expression is None else expression.names:
            _check_name(name, part, one, reading)
    for one, path in step.places():
        if one in others:
            _check_name(name, "prompt", one, reading)
        elif one == "item" and step.for_each is None:
            reading.wrong(name, "prompt", f"holds {{{one}{path}}}, but the task has no for_each", "write for_each")
    _check_rules(name, step, reading)


def _check_needs(name: str, step: Step, reading: _Reading) -> None:
    """Whether what it needs is there, and another; and whether its title is one."""
    if step.title is not None and len(step.title) > TITLE_CHARACTERS:
        reading.wrong(name, "title", f"has {len(step.title)} characters", f"at most {TITLE_CHARACTERS}")
    for need in step.needs:
        if need == name:
            reading.wrong(name, "needs", "names the task itself", "name another one")
        elif need not in reading.values:
            reading.wrong(
                name, "needs", f"names {quoted(need)}, which is no task of this plan", _meant(need, reading.values)
            )
    if step.context == "fork" and not step.needs:
        reading.wrong(name, "context", "is fork, but the task needs no other", "name in needs whose conversation it is")


def _check_rules(name: str, step: Step, reading: _Reading) -> None:
    """Whether its role and its priority are among those of the repository."""
    rules = reading.rules
    if rules is not None and rules.roles and step.role is not None and step.role not in rules.roles:
        needed = _meant(step.role, rules.roles)
        reading.wrong(name, "role", f"is {quoted(step.role)}, which is no role in PRONG.md", needed)
    if rules is not None and isinstance(step.priority, str) and step.priority not in rules.priorities:
        needed = _meant(step.priority, rules.priorities) if rules.priorities else "a whole number is needed"
        reading.wrong(name, "priority", f"is {quoted(step.priority)}, which is no priority in PRONG.md", needed)


def _check_name(name: str, part: str, other: str, reading: _Reading) -> None:
    """Whether a step may ask about another: that is so of what it needs."""
    if other not in reading.values:
        needed = _meant(other, reading.values)
        reading.wrong(name, part, f"names {quoted(other)}, which is no task of this plan", needed)
    elif other not in reading.steps[name].needs:
        reading.wrong(name, part, f"asks about {other}, which the task does not need", f"add {other} to its needs")


def _meant(name: str, others: Mapping[str, Any]) -> str:
    like = similar(name, others)
    return f"did you mean {like}?" if like is not None else f"one of {', '.join(list(others)[:10])} is needed"


def _order(reading: _Reading) -> tuple[str, ...]:
    """The names such that each stands behind its needs; those that need each other in a circle are a problem."""
    left = {name: {one for one in step.needs if one in reading.steps} for name, step in reading.steps.items()}
    order: dict[str, None] = {}
    while free := [name for name, needs in left.items() if needs <= order.keys()]:
        for name in free:
            order[name] = None
            del left[name]
    if left:
        circle = _circle(left)
        told = " needs ".join((*circle, circle[0]))
        reading.wrong(circle[0], "needs", f"goes round in a circle: {told}", "take one of these needs away")
    return tuple(order)


def _circle(left: Mapping[str, set[str]]) -> list[str]:
    """One circle among steps of which each needs another: followed until one comes a second time."""
    walk = [next(iter(left))]
    while True:
        following = next(one for one in sorted(left[walk[-1]]) if one in left)
        if following in walk:
            return walk[walk.index(following) :]
        walk.append(following)
