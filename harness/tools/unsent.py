"""What the endpoint's own tools take, which are known to the model and never sent."""

from __future__ import annotations

from typing import Any

UNSENT: dict[str, dict[str, Any]] = {
    "bash": {
        "type": "object",
        "description": "Run a command in a shell that keeps its directory, variables and functions from call to call."
        " Use it to build, test and run programs, and for what no other tool does. A command has 120 s; of a long"
        " output you read head and tail, the whole is in a file.",
        "properties": {
            "command": {"type": "string", "description": "The command; may be left out to restart only."},
            "restart": {"type": "boolean", "description": "End the shell and all that it started, and begin anew."},
        },
        "additionalProperties": False,
    },
    "str_replace_based_edit_tool": {
        "type": "object",
        "description": "View, create and change text files. Use str_replace for a change of a text that is there"
        " exactly once, insert for new lines, and create for a whole new file.",
        "properties": {
            "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
            "path": {"type": "string", "description": "File, or for view a directory, relative to the workspace."},
            "view_range": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "For view: first and last line; -1 is the last there is.",
            },
            "file_text": {"type": "string", "description": "For create: the whole text."},
            "old_str": {"type": "string", "description": "For str_replace: a text that is there exactly once."},
            "new_str": {"type": "string", "description": "For str_replace: what it becomes; left out, it is removed."},
            "insert_line": {"type": "integer", "description": "For insert: after this line; 0 is the beginning."},
            "insert_text": {"type": "string", "description": "For insert: the new lines."},
        },
        "required": ["command", "path"],
        "additionalProperties": False,
    },
}
"""Their input by name; the page in `docs/` prints it."""
