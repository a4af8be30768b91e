"""Readers: what turns a value of the front matter into what a rule holds.

    value --reader--> whole number, tokens, duration, text, record …
          --Invalid-> a problem with its line, and the reading goes on

So one look at a file finds everything that is wrong in it.  A record tells in its fields how each is read (`rule`), and
that is all that anybody says about it: reading, defaults, differences and the check of the manual go by it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prong.harness.rules import amounts
from prong.harness.rules.invalid import quoted
from prong.harness.rules.values import Reader, Value, rules_of, similar
from prong.primitives.write_scope import checked
from prong.state import Invalid

MOST_ENTRIES = 200
"""So many names a mapping of the user's own names may have: roles, priorities."""
PRIORITY_MOST = 1_000_000
"""How far from 0 a priority may be."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def record(kind: type, *, of: str = "rule") -> Reader:
    """Reads a mapping with the keys of the record; `of` is what a key is called in errors."""

    def reader(value: Value) -> Any:
        known = rules_of(kind)
        found = {}
        for key, inner in value.entries():
            if key.value in known:
                found[key.value] = inner
            else:
                inner.paper.wrong(key.start_mark, f"{inner.own_name()} is no {of}", _advice(inner, tuple(known)))
        read = {}
        for name, field in known.items():
            if name in found:
                value.paper.said.add(found[name].name)
                read[field.name] = found[name].read(field.metadata["reader"])
        return kind(**read)

    return reader


def names(reader: Reader) -> Reader:
    """Reads a mapping from the user's own names."""

    def read(value: Value) -> dict[str, Any]:
        found = {}
        for key, inner in itertools.islice(value.entries(), MOST_ENTRIES + 1):
            if _NAME.fullmatch(key.value):
                found[key.value] = inner.read(reader)
            else:
                needed = "a letter and then up to 63 letters, digits, - or _ are needed"
                inner.paper.wrong(key.start_mark, f"{quoted(key.value)} is no name for one of {value.name}", needed)
        if len(found) > MOST_ENTRIES:
            raise Invalid(f"has more than {MOST_ENTRIES} entries", "a shorter list")
        return found

    return read


def whole(least: int, most: int) -> Reader:
    """Reads a whole number."""
    return _amount(lambda text: amounts.whole(text, least=least, most=most))


def number(above: float, most: float) -> Reader:
    """Reads a number."""
    return _amount(lambda text: amounts.number(text, above=above, most=most))


def tokens(least: int, most: int) -> Reader:
    """Reads a number of tokens."""
    return _amount(lambda text: amounts.tokens(text, least=least, most=most))


def seconds(least: float, most: float) -> Reader:
    """Reads a duration."""
    return _amount(lambda text: amounts.seconds(text, least=least, most=most))


def share(least: float, most: float) -> Reader:
    """Reads a share of something, such as 80%."""
    return _amount(lambda text: amounts.share(text, least=least, most=most))


def memory() -> Reader:
    """Reads an amount of memory."""
    return _amount(amounts.Memory.read)


def load() -> Reader:
    """Reads a load of the processors."""
    return _amount(amounts.Load.read)


def truth(value: Value) -> bool:
    """Reads true or false."""
    if value.kind != "bool":
        raise Invalid(value.shown(), "true or false")
    return str(value.node.value).lower() in ("true", "yes", "on")


def choice(*words: str) -> Reader:
    """Reads one of these words."""

    def read(value: Value) -> str:
        if value.kind != "str" or value.node.value not in words:
            raise Invalid(value.shown(), f"one of {', '.join(words)}")
        return str(value.node.value)

    return read


def text(value: Value) -> str:
    """Reads words; what YAML takes for something else must stand in quotes."""
    words = value.node.value.strip() if value.kind == "str" else ""
    if not words or "\0" in words:
        raise Invalid(value.shown(), "a text (in quotes, where YAML takes it for something else)")
    return str(words)


def word(value: Value) -> str:
    """Reads a name without blanks, such as a model's."""
    found = text(value)
    if not found.isprintable() or len(found.split()) > 1:
        raise Invalid(value.shown(), "a name without blanks")
    return found


def url(value: Value) -> str:
    """Reads the address of an endpoint."""
    found = word(value)
    try:
        parts = urlsplit(found)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an address that is none
        good = False
    if not good:
        raise Invalid(value.shown(), 'an address such as "https://example.org"')
    return found


def one_of(*words: str) -> Reader:
    """Reads one of these words; `off` counts as it is meant, though YAML takes it for a truth value."""

    def read(value: Value) -> str:
        word = str(value.node.value).lower() if value.kind in ("str", "bool") else ""
        if word not in words:
            raise Invalid(value.shown(), f"one of {', '.join(words)}")
        return word

    return read


def places(value: Value) -> tuple[str, ...]:
    """Reads a path or a list of paths that begin with / or ~; they need not be there."""
    nodes = value.node.value if value.kind == "seq" else [value.node]
    return tuple(Value(value.name, node, value.paper).read(_place) for node in nodes)


def files(value: Value) -> tuple[str, ...]:
    """Reads a path or a list of paths; where the root is known, they must be there, and become absolute."""
    if value.kind == "str":
        return (_file(value),)
    if value.kind != "seq":
        raise Invalid(value.shown(), "a path, or a list of paths,")
    inner = [Value(f"{value.name}[{n}]", node, value.paper) for n, node in enumerate(value.node.value)]
    return tuple(one.read(_file) for one in inner)


def patterns(value: Value) -> tuple[str, ...]:
    """Reads one pattern of files, or a list of them."""
    nodes = value.node.value if value.kind == "seq" else [value.node]
    found = tuple(Value(value.name, node, value.paper).read(text) for node in nodes)
    try:
        checked([one for one in found if one is not None])
    except Invalid as error:
        raise Invalid(value.shown(), error.expected) from None
    return found


def calls(value: Value) -> tuple[str, ...]:
    """Reads one rule for calls of tools, or a list of them."""
    if value.kind != "seq":
        return (_call(value),)
    inner = [Value(f"{value.name}[{n}]", node, value.paper) for n, node in enumerate(value.node.value)]
    return tuple(one.read(_call) for one in inner)


def _call(value: Value) -> str:
    from prong.harness.mcp.offered import OWN  # noqa: PLC0415  as above
    from prong.harness.permissions.permission import Rule  # noqa: PLC0415  most repositories have no such rules
    from prong.harness.tools.catalogue import offered  # noqa: PLC0415  as above

    written, own = text(value), [offer.name for offer in OWN]
    try:
        return str(Rule.read(written, tools=[*(record.name for record in offered("agents")), *own]))
    except Invalid as error:
        raise Invalid(value.shown(), error.expected) from None


def priority(value: Value) -> int:
    """Reads a whole number, or a name that `priorities` gives one."""
    if value.kind != "str" or not _NAME.fullmatch(value.node.value):
        return int(whole(-PRIORITY_MOST, PRIORITY_MOST)(value))
    known = value.paper.priorities
    if value.node.value not in known:
        like = similar(value.node.value, known)
        such = f", such as {like}," if like is not None else ""
        raise Invalid(value.shown(), f"a whole number or a name that stands in priorities{such}")
    return known[value.node.value]


def priorities(value: Value) -> dict[str, int]:
    """Reads names for priorities, and keeps them for the values that are read after."""
    found: dict[str, int] = names(whole(-PRIORITY_MOST, PRIORITY_MOST))(value)
    value.paper.priorities = found
    return found


def roles(reader: Reader) -> Reader:
    """Reads what stands under names of roles, and keeps the names for the values that are read after."""

    def read(value: Value) -> dict[str, Any]:
        found: dict[str, Any] = names(reader)(value)
        value.paper.roles = tuple(found)
        return found

    return read


def role(value: Value) -> str:
    """Reads the name of a role that stands in roles."""
    name = word(value)
    if name not in value.paper.roles:
        like = similar(name, value.paper.roles)
        such = f", such as {like}," if like is not None else ""
        raise Invalid(value.shown(), f"the name of a role that stands in roles{such}")
    return name


def by_pattern(reader: Reader) -> Reader:
    """Reads a mapping from patterns such as "*security*"."""

    def read(value: Value) -> dict[str, Any]:
        found = {key.value: inner.read(reader) for key, inner in itertools.islice(value.entries(), MOST_ENTRIES + 1)}
        if len(found) > MOST_ENTRIES:
            raise Invalid(f"has more than {MOST_ENTRIES} entries", "a shorter list")
        return found

    return read


def _amount(read: Callable[[str], Any]) -> Reader:
    def reader(value: Value) -> Any:
        written = value.node.value
        try:
            return read(written if isinstance(written, str) else "")
        except Invalid as error:
            raise Invalid(value.shown(), error.expected) from None

    return reader


def _place(value: Value) -> str:
    path = text(value)
    if not path.startswith(("/", "~/")):
        raise Invalid(value.shown(), "a path that begins with / or ~/")
    return str(Path(path).expanduser())


def _file(value: Value) -> str:
    path = text(value)
    root = value.paper.root
    if root is None:
        return path
    try:
        there = (root / path).is_file()
    except OSError:  # a name too long, a folder that may not be entered
        there = False
    if not there:
        raise Invalid(f"is {quoted(path)}, which is no file below {root}", "the path of a file, as seen from there,")
    return str((root / path).resolve())


def _advice(inner: Value, known: tuple[str, ...]) -> str:
    """What was probably meant by a key that is no rule: one of its neighbours, or one that stands elsewhere."""
    key = inner.name.rpartition(".")[2]
    elsewhere = {name.rpartition(".")[2]: name for name in reversed(inner.paper.names)}
    meant = elsewhere.get(key) or similar(key, known) or elsewhere.get(similar(key, elsewhere) or "")
    return f"did you mean {meant}?" if meant is not None else f"one of {', '.join(known)} is needed"
