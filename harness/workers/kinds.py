"""The command line agents that can be workers: how each is started, resumed and forked, and what it is given.

first run   claude -p … < words
go on       claude -p … --resume SESSION < words
fork        claude -p … --resume SESSION --fork-session < words
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prong.agents.models import EMULATOR_MODEL
from prong.harness.workers import files

MCP = "prong"
"""By what name a worker knows our server."""

TOOL_TIMEOUT_S = 3_600
"""How long a worker's own limit on one call of ours is set to, in seconds: ours, with its tickets, is shorter."""

CONNECTS_S = 60
"""How long a worker waits for our server at its start, in seconds."""

COMMAND = "command"
"""The kind of a role whose command line is its own."""


@dataclass(frozen=True, slots=True)
class Start:
    """One run of a worker's command, with every path as the command will see it.

    `home` is the folder that is its own from run to run; `own_home` the same folder as we see it.  `words` is the file
    with what it is told, which is also its standard input.  `closed`: it runs in a sandbox.  `base_url` is where it
    asks Anthropic's models; None: at its usual address.
    """

    home: Path
    own_home: Path
    workspace: Path
    words: Path
    text: str
    mcp: Sequence[str]
    closed: bool
    model: str | None = None
    session: str | None = None
    forks: bool = False
    usd: float | None = None
    base_url: str | None = None

    def write(self, name: str, text: str) -> Path:
        """Put a file into its folder; where the command finds it."""
        files.write(self.own_home / name, text.encode(errors="replace"))
        return self.home / name


@dataclass(frozen=True, slots=True)
class Kind:
    """A command line agent, called by its `title`, else by its program.

    `keys` are the environment variables that it gets of the user's, where they are set, `environment` those that it
    gets besides; `arguments` follow the `program`.  `session` is a pattern of the files, below its folder, that hold a
    session, by which it can be forked; empty where it cannot.  `login` says what to do where it has no key.
    """

    title: str
    program: str
    keys: Sequence[str]
    arguments: Callable[[Start], Sequence[str]]
    environment: Callable[[Start], Mapping[str, str]]
    session: str = ""
    login: str = ""


def _server(start: Start) -> dict[str, object]:
    return {"type": "stdio", "command": start.mcp[0], "args": list(start.mcp[1:])}


def _claude(start: Start) -> list[str]:
    servers = {"mcpServers": {MCP: {**_server(start), "alwaysLoad": True}}}
    # What git says of the clone would stand before the conversation, and no fork would find the cache.
    settings = {"includeGitInstructions": False, "includeCoAuthoredBy": False}
    may = ["bypassPermissions"] if start.closed else ["acceptEdits", "--allowedTools", f"mcp__{MCP}"]
    resume = ["--resume", start.session, *(["--fork-session"] if start.forks else [])] if start.session else []
    return [
        *("-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"),
        *("--mcp-config", str(start.write("mcp.json", json.dumps(servers))), "--strict-mcp-config"),
        *("--settings", json.dumps(settings), "--permission-mode", *may),
        *(["--model", start.model] if start.model else []),
        *(["--max-budget-usd", f"{start.usd:.6f}"] if start.usd is not None else []),
        *resume,
    ]


def _claude_environment(start: Start) -> dict[str, str]:
    return {
        "CLAUDE_CONFIG_DIR": str(start.home),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "ENABLE_TOOL_SEARCH": "false",  # else it has to look for our tools before it can call them
        # It asks its model at once, and shows our tools when they have come: the later change loses the prompt cache.
        "MCP_CONNECTION_NONBLOCKING": "0",
        "MCP_CONNECT_TIMEOUT_MS": str(CONNECTS_S * 1000),
        "MCP_TIMEOUT": str(CONNECTS_S * 1000),
        "MCP_TOOL_TIMEOUT": str(TOOL_TIMEOUT_S * 1000),
        **({"IS_SANDBOX": "1"} if start.closed else {}),
    }


def _codex(start: Start) -> list[str]:
    access = "danger-full-access" if start.closed else "workspace-write"
    lines = [
        'approval_policy = "never"',
        f'sandbox_mode = "{access}"',
        "check_for_update_on_startup = false",
        "[analytics]",
        "enabled = false",
        f"[mcp_servers.{MCP}]",
        f"command = {json.dumps(start.mcp[0])}",
        f"args = {json.dumps(list(start.mcp[1:]))}",
        "required = true",
        f"startup_timeout_sec = {CONNECTS_S}",
        f"tool_timeout_sec = {TOOL_TIMEOUT_S}",
        'default_tools_approval_mode = "approve"',
    ]
    start.write("config.toml", "\n".join(lines) + "\n")
    model = ["--model", start.model] if start.model else []
    resume = ["fork" if start.forks else "resume"] if start.session else []
    return [
        "exec",
        *resume,
        "--json",
        "--skip-git-repo-check",
        *model,
        *([start.session] if start.session else []),
        "-",
    ]


def _codex_environment(start: Start) -> dict[str, str]:
    return {"CODEX_HOME": str(start.home)}


_UNKNOWN_MODEL = {"name": EMULATOR_MODEL, "tool_call": True, "limit": {"context": 200_000, "output": 32_000}}
"""What opencode has to be told of a model that it does not know."""


def _opencode(start: Start) -> list[str]:
    config: dict[str, Any] = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "permission": {"edit": "allow", "bash": "allow" if start.closed else "deny", "webfetch": "allow"},
        "mcp": {MCP: {"type": "local", "enabled": True, "command": list(start.mcp), "timeout": 60_000}},
    }
    named = start.model
    if named and "/" not in named:
        named = f"anthropic/{named}"
    if start.base_url is not None:
        known = {start.model: _UNKNOWN_MODEL} if start.model == EMULATOR_MODEL else {}
        options = {"baseURL": f"{start.base_url.rstrip('/')}/v1"}
        config["provider"] = {"anthropic": {"options": options, "models": known}}
    start.write("opencode.json", json.dumps(config))
    model = ["-m", named] if named else []
    return ["run", "--format", "json", *model, *(["--session", start.session] if start.session else [])]


def _opencode_environment(start: Start) -> dict[str, str]:
    places = {f"XDG_{name}_HOME": str(start.home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    return {**places, "OPENCODE_CONFIG": str(start.home / "opencode.json"), "OPENCODE_DISABLE_AUTOUPDATE": "1"}


def _own(start: Start) -> list[str]:
    servers = {"mcpServers": {MCP: _server(start)}}
    start.write("mcp.json", json.dumps(servers))
    return []


def _own_environment(start: Start) -> dict[str, str]:
    return {
        "PRONG_WORKER_HOME": str(start.home),
        "PRONG_MCP_CONFIG": str(start.home / "mcp.json"),
        "PRONG_MCP_COMMAND": shlex.join(start.mcp),
    }


KINDS: Mapping[str, Kind] = {
    "claude-code": Kind(
        "Claude Code", "claude",
        (
            "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS",
            "CLAUDE_CODE_OAUTH_TOKEN",
        ),
        _claude, _claude_environment, session="projects/*/{session}.jsonl",
        login="set ANTHROPIC_API_KEY, or CLAUDE_CODE_OAUTH_TOKEN to what `claude setup-token` prints",
    ),
    "codex": Kind(
        "Codex", "codex", ("OPENAI_API_KEY", "CODEX_API_KEY", "OPENAI_BASE_URL"), _codex, _codex_environment,
        session="sessions/*/*/*/rollout-*-{session}.jsonl", login="set CODEX_API_KEY",
    ),
    "opencode": Kind(
        "opencode", "opencode",
        ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY"),
        _opencode, _opencode_environment, login="set the key of your model's provider, such as ANTHROPIC_API_KEY",
    ),
    COMMAND: Kind("", "", (), _own, _own_environment),
}  # fmt: skip
"""The kinds by the name that a role gives."""


def command_line(kind: Kind, start: Start, *, command: str | None, more: Sequence[str]) -> list[str]:
    """The words of one run: the user's own `command` in the program's place, and `more` at the end of its arguments.

    In a command of one's own `{prompt}`, `{prompt_file}`, `{model}`, `{session}`, `{mcp_config}` and `{workspace}`
    stand for what they name; other braces stay as they are.

    >>> start = Start(Path("/home"), Path("/home"), Path("/w"), Path("/w/in"), "Do it", ["mcp"], closed=True, model="m")
    >>> kind = Kind("", "", (), lambda _: [], lambda _: {})
    >>> command_line(kind, start, command="run --with {model} {prompt}", more=["-v"])
    ['run', '--with', 'm', 'Do it', '-v']
    """
    given = {
        "{prompt_file}": str(start.words), "{model}": start.model or "", "{session}": start.session or "",
        "{mcp_config}": str(start.home / "mcp.json"), "{workspace}": str(start.workspace), "{prompt}": start.text,
    }  # fmt: skip
    words = []
    for word in shlex.split(command) if command else [kind.program]:
        name = next((name for name in given if name in word), None)
        # One at a time: what stands for one may hold the name of another.
        words.append(word if name is None else word.replace(name, given[name]))
    arguments = list(kind.arguments(start))
    if arguments and arguments[-1] == "-":
        return [*words, *arguments[:-1], *more, "-"]
    return [*words, *arguments, *more]
