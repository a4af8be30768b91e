"""Rules for calls of tools: what is let through, what a person is asked about, and what is refused.

    rule       bash(git push *)      a tool, and a pattern for the call's main argument; without one every call of it
    deny  >  always (a person said so)  >  ask  >  allow  >  what the rules say of all other calls

Which rule is the more specific does not count, as in the permission rules of Claude Code: a refusal holds whatever else
lets the call through.  A call that does several things needs each of them let through.  Everything here is a pure
function of the rules and the call; who asks, and how a call waits, is in harness/approvals.py.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from prong.harness.permissions.commands import Touching, doings
from prong.harness.permissions.words import ANY
from prong.state import Invalid

Effect = Literal["allow", "ask", "deny"]

RULE_CHARACTERS = 10_000
"""The longest rule that anybody may write, in characters."""

STEPS = 2_000_000
"""So many steps a pattern is compared with a text of unknown parts; a longer comparison counts as met."""

EDITOR = "str_replace_based_edit_tool"

MAIN_ARGUMENT: Mapping[str, str] = {
    "bash": "command", EDITOR: "path", "edit": "path", "read": "path", "grep": "path", "glob": "path",
    "create_task": "role", "lock": "name", "semaphore": "name", "barrier": "name", "event": "name", "atomic": "name",
    "future": "name", "shared_map": "map", "shared_list": "list", "message_queue": "queue",
}  # fmt: skip
"""Which argument of a call a pattern looks at.  `edit` is every call that writes a file, `read` each that looks."""

_PATHS = frozenset({EDITOR, "edit", "read", "grep", "glob"})
_SEARCHES = frozenset({"grep", "glob"})
_RULE = re.compile(r"([A-Za-z0-9_*-]+)(?:\((.*)\))?", re.DOTALL)
_DOUBLE_STARS = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """A tool, which may hold `*`, and a pattern; None: every call of the tool."""

    tool: str
    pattern: str | None = None

    @classmethod
    def read(cls, text: str, *, tools: Sequence[str] = ()) -> Rule:
        """The rule that a person wrote; raises `Invalid`.  With `tools` others than those are refused.

        >>> Rule.read("bash(git push *)")
        Rule(tool='bash', pattern='git push *')
        """
        match = _RULE.fullmatch(text.strip()) if len(text) <= RULE_CHARACTERS else None
        if match is None:
            raise Invalid(f"the rule {_short(text)!r}", "a tool, or a tool with a pattern, such as bash(git push *)")
        tool, pattern = match[1], match[2]
        known = (*tools, "edit", "read")
        if tools and not any(fnmatchcase(one, tool) for one in known):
            raise Invalid(f"the tool {_short(tool)!r} in a rule", f"one of {', '.join(sorted(set(known)))}")
        if pattern is not None and (tool not in MAIN_ARGUMENT or not pattern.strip()):
            able = ", ".join(sorted(MAIN_ARGUMENT))
            raise Invalid(f"the rule {_short(text)!r}", f"a pattern, and a tool that can have one: {able}")
        return cls(tool, pattern)

    def __str__(self) -> str:
        return self.tool if self.pattern is None else f"{self.tool}({self.pattern})"

    @property
    def is_whole(self) -> bool:
        """Whether it is about every call of its tool."""
        return self.pattern is None or self.pattern in ("*", "**")


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules that hold for an agent.  `only` is what its role may use (None: every tool), `always` what a person

    has let through for good; `default` is what becomes of a call that no rule is about.
    """

    deny: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    allow: tuple[Rule, ...] = ()
    always: tuple[Rule, ...] = ()
    only: tuple[Rule, ...] | None = None
    default: Effect = "allow"

    @property
    def lets_all_through(self) -> bool:
        """Whether no call needs a look."""
        return not self.deny and not self.ask and self.only is None and self.default == "allow"


@dataclass(frozen=True, slots=True)
class Part:
    """One of the things that a call does.

    `names` are the tools whose rules are about it; `kind` says what its texts are.  A rule that forbids is met where
    one of `seen` meets it, one that lets through where one of `as_written` does.  `obscure`: it may be anything.
    """

    names: frozenset[str]
    shown: str
    kind: Literal["command", "path", "text"] = "text"
    seen: tuple[str, ...] = ("",)
    as_written: tuple[str, ...] = ("",)
    obscure: bool = False
    harmless: bool = False
    within: str | None = None

    @property
    def rule(self) -> Rule:
        """The narrowest rule that is about it."""
        name = next(name for name in (*sorted(self.names - {"edit", "read"}), *sorted(self.names)))
        if self.kind == "text" and not self.shown:
            return Rule(name)
        plain = re.sub(r"([\\*])", r"\\\1", self.shown)
        return Rule(name, f"./{plain}" if self.kind == "path" and not plain.startswith("/") else plain)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a call, by which rule (None: by none), and the `parts` that it is about."""

    effect: Effect
    rule: Rule | None = None
    parts: tuple[Part, ...] = ()
    by_role: bool = False


def judge(policy: Policy, parts: Sequence[Part]) -> Judgement:
    """What becomes of a call that does all this: the strictest of what becomes of its parts.

    >>> policy = Policy(deny=(Rule.read("bash(rm *)"),), ask=(Rule.read("bash(git push*)"),))
    >>> judge(policy, parts_of("bash", {"command": "make && git push"}, Path("/w"))).effect
    'ask'
    """
    judged = [(part, *_judge(policy, part)) for part in parts]
    for effect in ("deny", "ask"):
        of_it = [(part, rule, by_role) for part, found, rule, by_role in judged if found == effect]
        if of_it:
            _, rule, by_role = of_it[0]
            return Judgement(effect, rule, tuple(part for part, _, _ in of_it), by_role)
    return Judgement("allow")


def parts_of(
    tool: str, given: Any, workspace: Path, *, resolve: Callable[[str], str] = os.path.normpath
) -> tuple[Part, ...]:
    """What a call does; `resolve` makes a path absolute and follows its links, where anybody can."""
    argument = MAIN_ARGUMENT.get(tool)
    value = given.get(argument) if isinstance(given, Mapping) and argument is not None else None
    if tool == "run_program":  # what it does itself it could do by bash, so who may not run Python there may not here
        return (_nothing(tool), *parts_of("bash", {"command": "python3 program.py"}, workspace, resolve=resolve))
    if tool == "bash" and isinstance(value, str):
        return tuple(_of_doing(one, workspace, resolve) for one in doings(value)) or (_nothing(tool),)
    if value is None and not (tool in _SEARCHES and isinstance(given, Mapping)):
        return (_nothing(tool),)
    if not isinstance(value, str | None):  # its tool refuses it, if a rule does not
        return (Part(_names(tool, given), "", obscure=True),)
    if tool in _PATHS:
        return (_path(_names(tool, given), value or ".", workspace, resolve),)
    assert value is not None, "only a search may leave it out"
    return (Part(frozenset({tool}), value, "text", (value,), (value,)),)


def _nothing(tool: str) -> Part:
    return Part(frozenset({tool}), "")


def _names(tool: str, given: Any) -> frozenset[str]:
    if tool == EDITOR:
        views = isinstance(given, Mapping) and given.get("command") == "view"
        return frozenset({tool, "read" if views else "edit"})
    return frozenset({tool, "read"} if tool in ("read", *_SEARCHES) else {tool})


def _of_doing(one: Any, workspace: Path, resolve: Callable[[str], str]) -> Part:
    if isinstance(one, Touching):
        name = "edit" if one.writes else "read"
        return _path(frozenset({name}), one.path, workspace, resolve, within="bash")
    return Part(
        frozenset({"bash"}), one.shown, "command", one.seen, one.as_written, obscure=one.obscure, harmless=one.harmless
    )


def _path(
    names: frozenset[str], path: str, workspace: Path, resolve: Callable[[str], str], *, within: str | None = None
) -> Part:
    """A file, or where a search looks, by its name as it is given and as it is without links."""
    if ANY in path:
        return Part(names, path.replace(ANY, "…"), "path", (path,), (path,), obscure=True, within=within)
    absolute = os.path.normpath(workspace / path)
    root, real_root = os.path.normpath(workspace), resolve(str(workspace))
    forms = tuple(dict.fromkeys((_below(absolute, root), _below(resolve(absolute), real_root))))
    return Part(names, forms[0] or ".", "path", forms, forms, within=within)


def _below(path: str, root: str) -> str:
    """The path as seen from the root; an absolute one outside of it."""
    if path == root:
        return ""
    return path[len(root) + 1 :] if path.startswith(f"{root.rstrip('/')}/") else path


def _judge(policy: Policy, part: Part) -> tuple[Effect, Rule | None, bool]:
    """What becomes of one part, by which rule, and whether it is because of what its role may use."""
    if rule := _first(policy.deny, part, _forbids):
        return "deny", rule, False
    if policy.only is not None and not part.harmless and _first(policy.only, part, _lets_through) is None:
        return "deny", None, True
    if rule := _first(policy.always, part, _lets_through):
        return "allow", rule, False
    if rule := _first(policy.ask, part, _forbids):
        return "ask", rule, False
    if rule := _first(policy.allow, part, _lets_through):
        return "allow", rule, False
    return ("allow" if part.harmless else policy.default), None, False


def _first(rules: Sequence[Rule], part: Part, met: Callable[[Rule, Part], bool]) -> Rule | None:
    return next((rule for rule in rules if met(rule, part)), None)


def _forbids(rule: Rule, part: Part) -> bool:
    """Whether a rule that forbids is about it, as far as that can be ruled out."""
    if not any(fnmatchcase(name, rule.tool) for name in part.names):
        return False
    if part.obscure or rule.pattern is None:
        return True
    return any(_meets(form, text) for text in part.seen for form in _forms(rule.pattern, part.kind))


def _lets_through(rule: Rule, part: Part) -> bool:
    """Whether a rule that lets through is about it, for certain."""
    if rule.is_whole and part.within is not None and fnmatchcase(part.within, rule.tool):
        return True
    if not any(fnmatchcase(name, rule.tool) for name in part.names):
        return False
    if rule.pattern is None or (rule.is_whole and part.kind != "path"):
        return True
    forms = _forms(rule.pattern, part.kind)
    if part.obscure:
        return any(form == tuple(part.shown) for form in forms)  # only one that says exactly this
    if part.kind != "path":
        return any(_covers(form, text) for form in forms for text in part.as_written)
    # All names of the file: a link must not lead out of what is let through.  Outside of the workspace a pattern is
    # about what it names from the root on.
    anywhere = rule.pattern.startswith("/")
    return all(
        any(_covers(form, text) for form in forms) and (anywhere or not text.startswith("/"))
        for text in part.as_written
    )


class _Star:
    """Any characters; `of_path`: but a slash."""

    def __init__(self, *, of_path: bool) -> None:
        self.of_path = of_path


_Form = tuple["str | _Star", ...]
_ANYTHING = _Star(of_path=False)
_IN_NAME = _Star(of_path=True)


@lru_cache(maxsize=1_000)
def _forms(pattern: str, kind: str) -> tuple[_Form, ...]:
    """All that a pattern stands for, each as characters and stars."""
    if kind != "path":
        whole = pattern[:-2] + " *" if pattern.endswith(":*") and not pattern.endswith("\\:*") else pattern
        form = tuple(_characters(whole, (_ANYTHING, _ANYTHING)))
        return (form, form[:-2]) if kind == "command" and form[-2:] == (" ", _ANYTHING) else (form,)
    anchored = pattern.startswith(("/", "./")) or "/" in pattern.rstrip("/")
    path = pattern.removeprefix("./").rstrip("/") or "**"
    paths = [path if anchored else f"**/{path}"]
    paths += [f"{paths[0]}/**"] if not path.endswith("**") else [paths[0].removesuffix("/**")]
    expanded = []
    for one in paths:
        pieces = re.split(r"(?:(?<=/)|^)\*\*/", one, maxsplit=_DOUBLE_STARS)
        expanded += [
            "".join(itertools.chain(*itertools.zip_longest(pieces, joints, fillvalue="")))
            for joints in itertools.product(("", "**/"), repeat=len(pieces) - 1)
        ]
    return tuple(tuple(_characters(one, (_IN_NAME, _ANYTHING))) for one in dict.fromkeys(expanded))


def _characters(pattern: str, stars: tuple[_Star, _Star]) -> Sequence[str | _Star]:
    found: list[str | _Star] = []
    for piece in re.findall(r"\\[*\\]|\*+|.", pattern, re.DOTALL):
        if piece.startswith("*"):
            found.append(stars[len(piece) > 1])
        else:
            found.append(piece[1] if len(piece) > 1 else piece)
    return found


@lru_cache(maxsize=1_000)
def _expression(form: _Form) -> re.Pattern[str]:
    """The form as an expression; where any star may stand for anything, it does not go back, however long the text."""
    once = not any(isinstance(one, _Star) and one.of_path for one in form)
    parts: list[str] = []
    literal = ""
    star: str | None = None
    for one in (*form, None):
        if isinstance(one, str):
            literal += re.escape(one)
            continue
        if star is None:
            parts.append(literal)
        elif one is None:
            parts.append(f"{star}{literal}")
        else:
            parts.append(f"(?>{star}?{literal})" if once else f"{star}{literal}")
        literal, star = "", None if one is None else "[^/]*" if one.of_path else ".*"
    return re.compile("".join(parts), re.DOTALL)


def _covers(form: _Form, text: str) -> bool:
    """Whether it is about the text whatever its unknown parts are: only a star stands for those."""
    return _expression(form).fullmatch(text) is not None


def _meets(form: _Form, text: str) -> bool:
    """Whether it can be about the text, whose unknown parts may become anything."""
    if ANY not in text:
        return _covers(form, text)
    if len(form) * len(text) > STEPS:
        return True
    places = _skip_stars(form, {0})
    for character in text:
        if character == ANY:
            places = set(range(min(places, default=len(form) + 1), len(form) + 1))
        else:
            places = _skip_stars(form, set(_after(form, places, character)))
        if not places:
            return False
    return len(form) in places


def _after(form: _Form, places: set[int], character: str) -> set[int]:
    found = set()
    for place in places:
        one = form[place] if place < len(form) else None
        if isinstance(one, _Star):
            found |= {place} if not (one.of_path and character == "/") else set()
        elif one == character:
            found.add(place + 1)
    return found


def _skip_stars(form: _Form, places: set[int]) -> set[int]:
    found = set(places)
    for place in sorted(places):
        after = place
        while after < len(form) and isinstance(form[after], _Star):
            after += 1
            found.add(after)
    return found


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004  what fits a line
