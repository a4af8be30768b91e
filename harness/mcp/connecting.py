"""Setting a client up for Prong, in the file of the project that it reads, and taking that away again.

(none) --connect--> connected --connect--> connected, by what holds now
                        +------remove----> (none): what else stands in the file stays as it was
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prong.harness.mcp.json_text import parsed, with_member, without_member
from prong.state import ProngError

NAME = "prong"
"""By what name clients know the server; their tools are called mcp__prong__lock or like it."""

STARTS_S = 60
"""How long a client is told to wait until the server has started, in seconds."""

_TABLE = f"mcp_servers.{NAME}"
_LINES = r"[^\n]*\n?(?:[ \t]*[^\s\[#][^\n]*\n?)*"
_BLOCK = re.compile(
    rf"^\[{re.escape(_TABLE)}\]{_LINES}(?:\n*\[{re.escape(_TABLE)}\.[^\]\n]*\]{_LINES})*", re.MULTILINE
)  # the table and those below it, up to a blank line or a comment that may belong to what comes next


class NotConnected(ProngError):
    """A client that is not set up for Prong in this repository, or whose file cannot be changed."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class Kind:
    """One client: the file that it reads, under what it lists its servers there, and what its user has to do yet."""

    title: str
    file: str
    group: str
    hint: str
    here: str | None = None

    def entry(self, command: Sequence[str]) -> dict[str, Any]:
        """What the client reads of a server that is started by a command."""
        if self.file == "opencode.json":
            return {"type": "local", "command": list(command), "enabled": True}
        kind = {"type": "stdio"} if self.file == ".mcp.json" else {}
        return {**kind, "command": command[0], "args": list(command[1:])}


KINDS: Mapping[str, Kind] = {
    "claude-code": Kind(
        "Claude Code", ".mcp.json", "mcpServers",
        "Claude Code asks once whether it may use it; without a person add: --allowedTools mcp__prong",
    ),
    "codex": Kind(
        "Codex", ".codex/config.toml", "mcp_servers",
        "Codex reads it in projects that you trust; for runs without a person add to it:"
        ' default_tools_approval_mode = "approve"',
    ),
    "opencode": Kind("opencode", "opencode.json", "mcp", "opencode reads it when it starts."),
    "gemini": Kind("Gemini CLI", ".gemini/settings.json", "mcpServers", "Gemini CLI reads it when it starts."),
    "cursor": Kind(
        "Cursor", ".cursor/mcp.json", "mcpServers", "Switch it on in Cursor's settings, under MCP.",
        "${workspaceFolder}",
    ),
}  # fmt: skip
"""The clients that can be set up, by the name that people give."""


def command_for(kind: Kind, name: str | None) -> list[str]:
    """The command by which a client starts its server: `prong` by its name where that finds this one."""
    own = Path(sys.executable).with_name("prong")
    found = shutil.which("prong")
    if found is not None and Path(found).resolve() == own.resolve():
        start = ["prong"]
    else:
        start = [str(own)] if own.exists() else [sys.executable, "-P", "-m", "prong.harness"]
    return [
        *start, "mcp", *(["--repo", kind.here] if kind.here else []), *(["--name", name] if name is not None else [])
    ]  # fmt: skip


def fragment(kind: Kind, command: Sequence[str]) -> str:
    """What stands in a file that says nothing else."""
    return connected("", kind, command)


def connected(text: str, kind: Kind, command: Sequence[str]) -> str:
    """The file's text with Prong in it.  Raises `NotPlainJson` or `NotConnected` where it cannot be put there."""
    if not kind.file.endswith(".toml"):
        return with_member(text, kind.file, kind.group, NAME, kind.entry(command))
    rest = disconnected(text, kind)
    if command_in(text, kind) == list(command):
        return text
    args = ", ".join(json.dumps(word, ensure_ascii=False) for word in command[1:])
    block = (
        f"[{_TABLE}]\ncommand = {json.dumps(command[0], ensure_ascii=False)}\nargs = [{args}]\n"
        f"required = true\nstartup_timeout_sec = {STARTS_S}\n"
    )
    ending = "" if rest.endswith("\n") or not rest else "\n"
    return f"{rest}{ending}\n{block}" if rest else block


def disconnected(text: str, kind: Kind) -> str:
    """The file's text without Prong; empty where it says nothing else.  Raises as `connected` does."""
    if not kind.file.endswith(".toml"):
        return without_member(text, kind.file, kind.group, NAME)
    rest = text
    if found := _BLOCK.search(text):
        rest = text[: found.start()].removesuffix("\n") + text[found.end() :]
    if NAME in _toml(rest, kind).get(kind.group, {}):
        raise NotConnected(f"{kind.file} writes {_TABLE} in a way of its own. Take it out by hand, then try again.")
    return rest


def command_in(text: str, kind: Kind) -> list[str] | None:
    """The command by which the file says that Prong is started; None where it says nothing of it."""
    whole = _toml(text, kind) if kind.file.endswith(".toml") else parsed(text, kind.file)
    entry = whole.get(kind.group, {}).get(NAME) if isinstance(whole.get(kind.group), dict) else None
    if not isinstance(entry, dict):
        return None
    command = entry.get("command")
    words = command if isinstance(command, list) else [command, *entry.get("args", [])]
    return [str(word) for word in words]


def read(root: Path, kind: Kind) -> str:
    """The client's file in a repository; empty where there is none."""
    file = root / kind.file
    return file.read_text("utf-8") if file.exists() else ""


def write(root: Path, kind: Kind, text: str) -> None:
    """Write the client's file, or remove it, and then its folder if it is empty, where the text is empty."""
    file = (root / kind.file).resolve()
    if text:
        file.parent.mkdir(exist_ok=True)
        beside = file.with_name(f".{file.name}.prong")
        beside.write_text(text, "utf-8")
        if file.exists():
            shutil.copymode(file, beside)
        beside.replace(file)
    elif file.exists():
        file.unlink()
        if file.parent != root.resolve() and not any(file.parent.iterdir()):
            file.parent.rmdir()


def _toml(text: str, kind: Kind) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise NotConnected(
            f"{kind.file} is not TOML ({error}). It is left as it is; mend it, then try again."
        ) from error
