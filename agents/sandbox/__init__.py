"""The sandbox: what the commands of an agent may see, change and use up."""

from prong.agents.sandbox.bubblewrap import Found, Missing, find
from prong.agents.sandbox.sandbox import Limits, Sandbox, SandboxMissing, confine

__all__ = ["Found", "Limits", "Missing", "Sandbox", "SandboxMissing", "confine", "find"]
