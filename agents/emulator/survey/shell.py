"""The shell commands of the survey.

The root writes the two programs beside the shared index, so that its forks run them without carrying a copy each; who
finds them missing or broken writes them again.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files

from prong.agents.emulator.script import ToolUse

PROGRAMS = ("measure.py", "divide.py")
END = "END_OF_PROGRAM"
# -I keeps a json.py in the surveyed repository from being imported in the place of Python's own.
MEASURE = 'python3 -I "$PRONG_SHARED/measure.py"'
DIVIDE = 'python3 -I "$PRONG_SHARED/divide.py"'


def look() -> ToolUse:
    """List what git tracks and divide it."""
    return with_programs(f"{MEASURE} list | {DIVIDE}")


def measure(number: int, starts: Sequence[int], checksum: int) -> str:
    """Measure one part."""
    return f"{MEASURE} part {number} {','.join(map(str, starts))} {checksum}"


def index(name: str, text: str) -> str:
    """Add a line to the shared index."""
    return f"{MEASURE} index {shlex.quote(name)} {shlex.quote(text)}"


def run(command: str) -> ToolUse:
    """Run a command."""
    return ToolUse("bash", {"command": command})


def with_programs(command: str) -> ToolUse:
    """Write the programs, then run a command."""
    return run("\n".join([*map(written, PROGRAMS), command]))


def written(program: str) -> str:
    """The commands that put a program into the shared folder, whole or not at all."""
    source = files(__package__).joinpath(program).read_text("utf-8").rstrip("\n")
    place = f'"$PRONG_SHARED/{program}"'
    begin = f'new=$(mktemp {place[:-1]}.XXXXXX") && cat >"$new" <<\'{END}\' && mv "$new" {place}'
    return f"{begin}\n{source}\n{END}"
