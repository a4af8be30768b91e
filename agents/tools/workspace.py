"""The tools of one agent in its workspace, made together and closed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from prong.agents.sandbox import Sandbox
from prong.agents.tools.bash import BASH, COMMAND_TIMEOUT_S, Shell, bash_tool
from prong.agents.tools.editor import EDITOR, Editor, editor_tool
from prong.agents.tools.read import READ, Reader, read_tool
from prong.agents.tools.search import Search, search_tools
from prong.agents.tools.search_definitions import GLOB, GREP
from prong.agents.tools.tool import Tool

DEFINITIONS: Final[tuple[Mapping[str, Any], ...]] = (BASH, EDITOR, READ, GREP, GLOB)
"""The definitions of `WorkspaceTools.tools`, in their order; they need no workspace, only this import."""


class WorkspaceTools:
    """`tools` for the loop; `close` ends what they started."""

    def __init__(self, shell: Shell, tools: Sequence[Tool]) -> None:
        self._shell = shell
        self.tools: tuple[Tool, ...] = (bash_tool(shell), *tools)

    def close(self) -> None:
        """End the shell and everything that it started; the tools can run no more commands."""
        self._shell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def workspace_tools(
    workspace: Path,
    *,
    scratch: Path,
    roots: Sequence[Path] = (),
    environment: Mapping[str, str],
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    sandbox: Sandbox | None = None,
    secrets: Sequence[str] = (),
) -> WorkspaceTools:
    """The tools for `workspace`; no process starts before the first command.

    `scratch` takes the outputs that are too long for a result, and is made if it is missing; the editor may edit there
    and below `roots` too.  `environment` is all that the processes see: make it with `tool_environment`.
    Commands and searches run in the `sandbox`; without one they may do whatever we may.  Nothing that commands write is
    told or kept with any of the `secrets` in it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    roots = (scratch, *roots)
    return WorkspaceTools(
        Shell(
            workspace,
            scratch=scratch,
            environment=environment,
            timeout_s=command_timeout_s,
            sandbox=sandbox,
            secrets=secrets,
        ),
        (
            editor_tool(Editor(workspace, roots), workspace),
            read_tool(Reader(workspace, roots), workspace),
            *search_tools(Search(workspace, environment=environment, sandbox=sandbox), workspace),
        ),
    )
