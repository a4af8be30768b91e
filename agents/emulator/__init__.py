"""A local server that speaks the Messages API strictly and plays scripts instead of a model.

A script never pretends to be a model: offline runs use the model id `prong-emulator`, which costs nothing.  The
decorator `script` is imported from the module of its name, `prong.agents.emulator.script`, which it would hide here.
"""

from prong.agents.emulator.loading import ScriptsNotFound, builtin_scripts, load_scripts
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorNotStarted, EmulatorProcess
from prong.agents.emulator.script import (
    Exchange,
    Fault,
    Reply,
    Request,
    Script,
    Text,
    Thinking,
    ToolUse,
)

__all__ = [
    "EmulatorNotStarted",
    "EmulatorOptions",
    "EmulatorProcess",
    "Exchange",
    "Fault",
    "Reply",
    "Request",
    "Script",
    "ScriptsNotFound",
    "Text",
    "Thinking",
    "ToolUse",
    "builtin_scripts",
    "load_scripts",
]
