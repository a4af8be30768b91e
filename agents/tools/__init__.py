"""The tools that touch a workspace: a shell, an editor, and search."""

from prong.agents.tools.environment import tool_environment
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.workspace import DEFINITIONS, WorkspaceTools, workspace_tools

__all__ = ["DEFINITIONS", "Tool", "ToolCall", "ToolError", "WorkspaceTools", "tool_environment", "workspace_tools"]
