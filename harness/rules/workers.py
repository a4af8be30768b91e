"""Readers for what a role says of the outside agent that does its tasks."""

from __future__ import annotations

import re
import shlex
from typing import Any

from prong.harness.rules import readers as read
from prong.harness.rules.invalid import quoted
from prong.harness.rules.values import Reader, Value
from prong.harness.workers.kinds import COMMAND, KINDS
from prong.state import Invalid

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONLY_WORKERS = ("command", "arguments", "environment", "timeout")


def kind(value: Value) -> str:
    """Reads which outside agent it is."""
    return str(read.one_of(*KINDS)(value))


def command(value: Value) -> str:
    """Reads a command line, in quotes as a shell has them."""
    text = read.text(value)
    try:
        split = shlex.split(text)
    except ValueError as error:
        raise Invalid(value.shown(), f"a command line ({str(error).lower()})") from None
    if not split:
        raise Invalid(value.shown(), "a command line")
    return str(text)


def words(value: Value) -> tuple[str, ...]:
    """Reads a list of words, or one."""
    nodes = value.node.value if value.kind == "seq" else [value.node]
    return tuple(Value(value.name, node, value.paper).read(read.text) for node in nodes)


def names(value: Value) -> tuple[str, ...]:
    """Reads names of environment variables."""
    found = words(value)
    for name in found:
        if name is not None and not _VARIABLE.fullmatch(name):
            raise Invalid(f"names {quoted(name)}", "the name of an environment variable, not its value,")
    return found


def role(record: type) -> Reader:
    """Reads a role, and sees that what it says of an outside agent goes together."""

    def reader(value: Value) -> Any:
        said = {key.value for key, _ in value.node.value} if value.kind == "map" else set()
        found = read.record(record)(value)
        if "kind" not in said and (lone := next((name for name in _ONLY_WORKERS if name in said), None)):
            raise Invalid(f"has {lone} and no kind", f"a kind, which is one of {', '.join(KINDS)},")
        if found.kind == COMMAND and "command" not in said:
            raise Invalid("is of kind command and has no command", "command, the line that starts it,")
        if "kind" in said and "tools" in said:
            raise Invalid(
                "has a kind and tools", "a role without tools, which hold for Prong's own agents alone,"
            )  # fmt: skip
        return found

    return reader
