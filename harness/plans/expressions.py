"""The small language of `when` and `for_each`: what a plan may ask about the tasks that it needs.

    tests.state == "failed"                          len(survey.result.files) > 0
    done(build) and not skipped(docs)                any(one.bugs > 0 for one in review.result)

It is a part of Python's grammar, read as a tree of which every node is looked at; nothing is ever compiled or run.  A
key that is not there is null, and so is everything below null.
"""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prong.state import Invalid

CHARACTERS = 1_000
"""How long an expression may be."""

DEEPEST = 30
"""So deep an expression may be nested."""

STEPS = 100_000
"""So many nodes may be looked at before the answer is given up; a list of many items takes some for each."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda one, other: one in other, ast.NotIn: lambda one, other: one not in other,
}  # fmt: skip
_OF_LISTS: Mapping[str, Callable[[Any], Any]] = {"any": any, "all": all, "len": len, "sum": sum, "min": min, "max": max}
_OF_TASKS = {"done": ("done",), "failed": ("failed", "cancelled"), "skipped": ("skipped",)}
OF_TASK = ("state", "result", "error")
"""What a plan may ask of a task that has ended."""

_WORDS = {"true": True, "false": False, "null": None}
_NEEDED = "names of tasks, .state, .result, comparisons, and, or, not, in, and " + ", ".join((*_OF_LISTS, *_OF_TASKS))


@dataclass(frozen=True, slots=True)
class Ended:
    """What an expression sees of a task that has ended: `state` is `done`, `failed`, `cancelled` or `skipped`."""

    state: str
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read: its text, and the names of tasks in it, in their order."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr
    asks_state: bool

    def value(self, known: Mapping[str, Any]) -> Any:
        """What it says of these tasks; raises `Invalid` where that has no answer, such as `null > 1`.

        >>> read("survey.result.count > 2").value({"survey": Ended("done", {"count": 3})})
        True
        """
        try:
            return _Evaluation(known).of(self.tree)
        except (ArithmeticError, TypeError, ValueError, KeyError, IndexError, RecursionError) as error:
            raise Invalid(f"{self.text!r}, which has no answer here ({error})", "one that fits what is there") from None


def read(text: str) -> Expression:
    """The expression with this text; raises `Invalid` with what cannot be used.

    >>> read("done(build) and tests.state == 'failed'").names
    ('build', 'tests')
    """
    if len(text) > CHARACTERS:
        raise Invalid(f"an expression of {len(text)} characters", f"at most {CHARACTERS}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Invalid("is no expression", 'one such as tests.state == "failed"') from None
    names: dict[str, None] = {}
    state = _check(tree, frozenset(), names, 0)
    return Expression(text.strip(), tuple(names), tree, state)


def _check(node: ast.AST, bound: frozenset[str], names: dict[str, None], depth: int) -> bool:
    """Look at every node, and gather the names; whether a state is asked about."""
    if depth > DEEPEST:
        raise Invalid("is nested too deeply", f"at most {DEEPEST} levels")
    if isinstance(node, ast.Name):
        if node.id not in bound and node.id not in _WORDS:
            names[node.id] = None
        return False
    inner, bound = list(_children(node, bound)), bound | _bound(node)
    found = [_check(one, bound, names, depth + 1) for one in inner]
    asks = isinstance(node, ast.Attribute) and node.attr in ("state", "error")
    return asks or _calls(node, _OF_TASKS) or any(found)


def _children(node: ast.AST, bound: frozenset[str]) -> Iterator[ast.AST]:
    """The parts of a node that may stand in an expression; raises `Invalid`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return
    if _calls(node, {**_OF_LISTS, **_OF_TASKS}):
        yield _argument(node)
    elif isinstance(node, ast.GeneratorExp) and _is_plain(node) and not bound:
        (loop,) = node.generators
        yield from (loop.iter, node.elt, *loop.ifs)
    else:
        yield from _operands(node, bound)


def _operands(node: ast.AST, bound: frozenset[str]) -> Iterator[ast.AST]:
    """The same of what neither calls nor loops."""
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id not in bound and node.attr not in OF_TASK:
            raise Invalid(f"asks {node.value.id} for {node.attr!r}", f"{', '.join(OF_TASK)} of a task")
        yield node.value
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant | ast.UnaryOp):
        yield from (node.value, node.slice)
    elif isinstance(node, ast.BoolOp):
        yield from node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Compare) and all(type(one) in _COMPARISONS for one in node.ops):
        yield from (node.left, *node.comparators)
    elif isinstance(node, ast.List | ast.Tuple):
        yield from node.elts
    else:
        raise Invalid("holds what no expression here can", _NEEDED)


def _bound(node: ast.AST) -> frozenset[str]:
    if isinstance(node, ast.GeneratorExp) and isinstance(target := node.generators[0].target, ast.Name):
        return frozenset({target.id})
    return frozenset()


def _calls(node: ast.AST, functions: Iterable[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions


def _argument(node: ast.AST) -> ast.expr:
    assert isinstance(node, ast.Call)
    if node.keywords or len(node.args) != 1:
        raise Invalid("holds a call without exactly one argument", _NEEDED)
    return node.args[0]


def _is_plain(node: ast.GeneratorExp) -> bool:
    """One loop with one variable."""
    loops = node.generators
    return len(loops) == 1 and isinstance(loops[0].target, ast.Name) and not loops[0].is_async


class _Evaluation:
    """Walks one tree, with a bound on how long."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = {**_WORDS, **known}
        self._left = STEPS

    def of(self, node: ast.expr) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it takes more than {STEPS} steps")
        return getattr(self, f"_{type(node).__name__.lower()}")(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        return self._known[node.id]

    def _attribute(self, node: ast.Attribute) -> Any:
        value = self.of(node.value)
        if isinstance(value, Ended):
            return getattr(value, node.attr)
        return value.get(node.attr) if isinstance(value, Mapping) else None

    def _subscript(self, node: ast.Subscript) -> Any:
        value, at = self.of(node.value), self.of(node.slice)
        if isinstance(value, Mapping):
            return value.get(at)
        inside = isinstance(value, list | str) and isinstance(at, int) and -len(value) <= at < len(value)
        return value[at] if inside else None

    def _boolop(self, node: ast.BoolOp) -> Any:
        combine = all if isinstance(node.op, ast.And) else any
        return combine(self.of(one) for one in node.values)

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.of(node.operand)
        return not value if isinstance(node.op, ast.Not) else -value

    def _compare(self, node: ast.Compare) -> bool:
        values = [self.of(one) for one in (node.left, *node.comparators)]
        pairs = zip(node.ops, itertools.pairwise(values), strict=True)
        return all(_COMPARISONS[type(op)](one, other) for op, (one, other) in pairs)

    def _list(self, node: ast.List) -> list[Any]:
        return [self.of(one) for one in node.elts]

    def _tuple(self, node: ast.Tuple) -> list[Any]:
        return [self.of(one) for one in node.elts]

    def _call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        value = self.of(node.args[0])
        if node.func.id in _OF_LISTS:
            return _OF_LISTS[node.func.id](value)
        if not isinstance(value, Ended):
            raise TypeError(f"{node.func.id}() is about a task")
        return value.state in _OF_TASKS[node.func.id]

    def _generatorexp(self, node: ast.GeneratorExp) -> list[Any]:
        (loop,) = node.generators
        assert isinstance(loop.target, ast.Name)
        found = []
        items = self.of(loop.iter)
        for item in items if items is not None else ():
            self._known[loop.target.id] = item
            if all(self.of(test) for test in loop.ifs):
                found.append(self.of(node.elt))
        return found
