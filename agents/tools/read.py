"""The tool `read`: part of a text file of any size, with line numbers, and how to go on from there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from prong.agents.tools.files import Files, is_directory, opened
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.names import shown_name
from prong.agents.tools.picture import picture
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.touch import FILES, place_below, touched

LINES_DEFAULT = 2_000
"""How many lines are read if the model does not say."""
LINES_MOST = 10_000
"""The most lines of one result."""
READ_CHARACTERS = 60_000
"""How long one result is at the most, in characters."""
LINE_CHARACTERS = 2_000
"""How much of one line is shown, in characters."""
COUNTED_BYTES = 1024 * 1024 * 1024
"""How far a file is searched for lines, in bytes."""
PATH_CHARACTERS = 4_096
"""The longest path, in characters."""
BLOCK_BYTES = 1024 * 1024
"""How much is read at once, in bytes."""

READ: Final[Mapping[str, Any]] = {
    "name": "read",
    "description": (
        "Read a text file, or a range of its lines, with line numbers. Use it before you change a file and whenever "
        "you know the path; of a large file read only the part you need, which grep finds. It costs no more than the "
        "lines that it returns, and several reads in one turn run at once. It takes files of any size; pictures and "
        "other binary files it only describes."
    ),
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The file, relative to the workspace or absolute."},
            "offset": {
                "type": "integer",
                "description": "The first line to read; 1 is the first. Negative: so many lines before the end.",
            },
            "limit": {
                "type": "integer",
                "description": f"How many lines, from 1 to {LINES_MOST}. Default: {LINES_DEFAULT}.",
            },
        },
        "required": ["path"],
        "additionalProperties": False,
    },
}


class Reader:
    """Reads files below `workspace` and `roots`."""

    def __init__(self, workspace: Path, roots: Sequence[Path] = ()) -> None:
        self._files = Files(workspace, roots)

    def run(self, call: ToolCall) -> str:
        """Run one call; raises `ToolError`."""
        inputs = Inputs(call, keys=tuple(READ["input_schema"]["properties"]))
        place = self._files.locate(inputs.filled("path", most_characters=PATH_CHARACTERS))
        offset = inputs.integer("offset", least=-(2**53), most=2**53, default=1)
        limit = inputs.integer("limit", least=1, most=LINES_MOST, default=LINES_DEFAULT)
        name = shown_name(str(place))
        if is_directory(place):
            raise inputs.refuse(f"{name} is a directory. List its files with glob, or view it with the editor.")
        with opened(place) as file:
            head = file.read(BLOCK_BYTES)
            if not head:
                return "(the file is empty)"
            if b"\0" in head:
                return _described(name, head, os.fstat(file.fileno()).st_size)
            total = _count_lines(file, head)
            first = max(1, total + offset + 1) if offset < 0 else max(1, offset)
            if first > total:
                raise inputs.refuse(f"{name} has only {total:,} lines. Call again with a smaller `offset`.")
            file.seek(0)
            return _range(file, first, min(total, first + limit - 1), total)


def read_tool(reader: Reader, workspace: Path) -> Tool:
    """The tool that reads with `reader`."""
    locate = place_below(workspace)
    return Tool(
        READ, reader.run, replay="again", touches=lambda call: touched(FILES["read"], call.input, locate=locate)
    )


def _count_lines(file: BinaryIO, block: bytes) -> int:
    count, read, last = 0, 0, b""
    while block:
        count, read, last = count + block.count(b"\n"), read + len(block), block[-1:]
        if read >= COUNTED_BYTES:
            raise ToolError(f"Error: the file has more than {COUNTED_BYTES:,} bytes. Use bash (sed -n, head, tail).")
        block = file.read(BLOCK_BYTES)
    return count + (last != b"\n")


def _range(file: BinaryIO, first: int, last: int, total: int) -> str:
    """Lines `first` to `last`, as many as a result may hold, and where to go on."""
    shown: list[str] = []
    left = READ_CHARACTERS
    for number in range(1, last + 1):
        line, more = _line(file)
        if number < first:
            continue
        text = f"{number}: {line}" + (f" [{more:,} more bytes in this line]" if more else "")
        left -= len(text) + 1
        if left < 0:
            last = number - 1
            break
        shown.append(text)
    if last < total:
        rest = total - last
        shown.append(f"[{rest:,} lines more of {total:,}: read with offset={last + 1}]")
    elif first > 1:
        shown.append(f"[this is the end; the file has {total:,} lines]")
    return "\n".join(shown)


def _line(file: BinaryIO) -> tuple[str, int]:
    r"""The next line as far as it is shown, and how many bytes of it are not; only `\n` ends one, as for grep."""
    most_bytes = 4 * LINE_CHARACTERS
    raw = file.readline(most_bytes)
    rest = 0
    if not raw.endswith(b"\n") and len(raw) == most_bytes:
        while piece := file.readline(BLOCK_BYTES):
            rest += len(piece)
            if piece.endswith(b"\n"):
                rest -= 1
                break
    text = raw.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
    shown = text[:LINE_CHARACTERS]
    return shown, rest + len(text[LINE_CHARACTERS:].encode())


def _described(name: str, head: bytes, size_bytes: int) -> str:
    what = picture(head)
    if what is not None:
        return f"{name} is a picture ({what}, {size_bytes:,} bytes), and this tool shows only text. Use bash for it."
    return f"{name} is a binary file of {size_bytes:,} bytes. Look at it with bash (file, xxd, strings)."
