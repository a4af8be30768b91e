"""The tool `str_replace_based_edit_tool`: view, create, str_replace and insert, as the Messages API defines them."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prong.agents.tools.files import FILE_BYTES, Files, is_directory
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.names import shown_name
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.touch import FILES, place_below, touched

VIEW_CHARACTERS = 30_000
"""How much of a file or directory one view shows, in characters."""
LINE_CHARACTERS = 2_000
"""How much of one line a view shows, in characters."""
DIRECTORY_LEVELS = 2
"""How deep the view of a directory goes, in levels."""
DIRECTORY_ENTRIES = 1_000
"""How many entries the view of a directory shows."""
PATH_CHARACTERS = 4_096
"""The longest path, in characters."""
MATCHES_COUNTED = 1_000
"""How many places of an ambiguous `old_str` are counted."""
MATCHES_SHOWN = 20
"""How many of them are named by line."""
HINT_CHARACTERS = 10_000
"""The longest `old_str` for which a place that differs only in white space is looked for, in characters."""
SNIPPET_LINES = 4
"""How many lines before and after an edit its result shows."""

LINE_MOST = 2**31

COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "view": ("command", "path", "view_range"),
    "create": ("command", "path", "file_text"),
    "str_replace": ("command", "path", "old_str", "new_str"),
    "insert": ("command", "path", "insert_line", "insert_text"),
}

_NAME = "str_replace_based_edit_tool"
EDITOR: Final[Mapping[str, Any]] = {"type": "text_editor_20250728", "name": _NAME}


class Editor:
    """Runs the four commands on the files below `workspace` and `roots`."""

    def __init__(self, workspace: Path, roots: Sequence[Path] = ()) -> None:
        self._files = Files(workspace, roots)
        # The calls of one turn run at once, and models edit one file in several of them: without this, edits get lost.
        self._writing = threading.Lock()

    def run(self, call: ToolCall) -> str:
        """Run one call; raises `ToolError`."""
        command = Inputs(call, keys=_all_keys()).choice("command", tuple(COMMANDS))
        inputs = Inputs(call, keys=COMMANDS[command])
        path = inputs.filled("path", most_characters=PATH_CHARACTERS)
        place = self._files.locate(path)
        if command == "view":
            return self._view(inputs, place)
        with self._writing:
            if command == "create":
                return self._create(inputs, place)
            if command == "str_replace":
                return self._replace(inputs, place)
            return self._insert(inputs, place)

    def _view(self, inputs: Inputs, place: Path) -> str:
        if is_directory(place):
            if "view_range" in inputs:
                raise inputs.refuse("`view_range` is for files, and this is a directory. Leave it out.")
            return _directory(place)
        lines = _lines(self._files.read(place).content)
        first, last = 1, len(lines)
        if "view_range" in inputs:
            first, last = inputs.integers("view_range", count=2, least=-1, most=LINE_MOST)
            last = len(lines) if last == -1 else min(last, len(lines))
            if not 1 <= first <= last:
                raise inputs.refuse(
                    f"`view_range` must be [first, last] with 1 <= first <= last, or last = -1 for the end; "
                    f"the file has {len(lines)} lines.",
                )
        return _numbered(lines, first, last) if lines else "(the file is empty)"

    def _create(self, inputs: Inputs, place: Path) -> str:
        content = inputs.text("file_text", most_characters=FILE_BYTES)
        what = "Overwrote the file that was at" if self._files.write(place, content.encode()) else "Created"
        return f"{what} {shown_name(str(place))}: {len(_lines(content))} lines."

    def _replace(self, inputs: Inputs, place: Path) -> str:
        text = self._files.read(place)
        old = text.adapt(inputs.filled("old_str", most_characters=FILE_BYTES))
        new = text.adapt(inputs.text("new_str", most_characters=FILE_BYTES, default=""))
        if old == new:
            raise inputs.refuse("`old_str` and `new_str` are the same, so there is nothing to do. Send the new text.")
        start = _only_match(text.content, old)
        content = text.content[:start] + new + text.content[start + len(old) :]
        self._files.write(place, text.encode(content))
        first = content.count("\n", 0, start) + 1
        return "Successfully replaced text at exactly one location.\n" + _snippet(content, first, new)

    def _insert(self, inputs: Inputs, place: Path) -> str:
        text = self._files.read(place)
        lines = _lines(text.content)
        after = inputs.integer("insert_line", least=0, most=LINE_MOST)
        new = text.adapt(inputs.text("insert_text", most_characters=FILE_BYTES))
        if after > len(lines):
            raise inputs.refuse(
                f"`insert_line` {after} is behind the end: the file has {len(lines)} lines, so give 0 to {len(lines)}.",
            )
        new += "" if new.endswith("\n") else "\n"
        start = sum(len(line) + 1 for line in lines[:after])
        before = text.content[:start]
        if before and not before.endswith("\n"):
            before += "\n"  # The last line had no end; now it is not the last.
        content = before + new + text.content[start:]
        self._files.write(place, text.encode(content))
        return f"Successfully inserted text after line {after}.\n" + _snippet(content, after + 1, new)


def editor_tool(editor: Editor, workspace: Path) -> Tool:
    """The tool that edits with `editor`."""
    # `view` and `create` could run again, but a second `insert` doubles the text, and so does a second `str_replace`
    # whose new text contains the old one.
    locate = place_below(workspace)
    return Tool(
        EDITOR, editor.run, replay="uncertain", touches=lambda call: touched(FILES[_NAME], call.input, locate=locate)
    )


def _all_keys() -> list[str]:
    return list(dict.fromkeys(key for keys in COMMANDS.values() for key in keys))


def _lines(content: str) -> list[str]:
    r"""The lines without their ends: only `\n` ends one, as for grep and for compilers."""
    lines = content.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _numbered(lines: Sequence[str], first: int, last: int) -> str:
    """Lines `first` to `last` with their numbers, as many as a view may show."""
    shown: list[str] = []
    left = VIEW_CHARACTERS
    for number in range(first, last + 1):
        line = f"{number}: {_displayed(lines[number - 1])}"
        left -= len(line) + 1
        if left < 0:
            rest = f"[lines {number} to {last} left out: view them with view_range [{number}, {last}]]"
            return "\n".join([*shown, rest])
        shown.append(line)
    if last < len(lines):
        shown.append(f"[the file has {len(lines)} lines]")
    return "\n".join(shown)


def _displayed(line: str) -> str:
    text = line[:LINE_CHARACTERS].encode(errors="surrogateescape").decode(errors="replace")
    more = len(line) - LINE_CHARACTERS
    return f"{text} [{more:,} more characters in this line]" if more > 0 else text


def _snippet(content: str, first: int, new: str, around: int = SNIPPET_LINES) -> str:
    lines = _lines(content)
    last = first + new.removesuffix("\n").count("\n")
    return _numbered(lines, max(1, first - around), min(len(lines), last + around)) or "(the file is empty)"


def _only_match(content: str, old: str) -> int:
    """Where `old` is, if it is there exactly once; places that overlap count."""
    starts: list[int] = []
    start = content.find(old)
    while start >= 0 and len(starts) < MATCHES_COUNTED:
        starts.append(start)
        start = content.find(old, start + 1)
    if not starts:
        hint = _hint(content, old)
        raise ToolError(f"Error: No match found for replacement. Please check your text and try again.{hint}")
    if len(starts) > 1:
        count = f"{len(starts)} or more" if start >= 0 else str(len(starts))
        numbers = [str(content.count("\n", 0, at) + 1) for at in starts[:MATCHES_SHOWN]]
        more = ", …" if len(starts) > MATCHES_SHOWN else ""
        raise ToolError(
            f"Error: Found {count} matches for replacement text. Please provide more context to make a unique match. "
            f"They begin in lines {', '.join(numbers)}{more}.",
        )
    return starts[0]


def _hint(content: str, old: str) -> str:
    """Where the text that was meant may be: one that differs only in white space, or one that begins alike."""
    words = old.split()
    if not words or len(old) > HINT_CHARACTERS:
        return ""
    match = re.search(r"\s+".join(map(re.escape, words)), content)
    if match is not None:
        line = content.count("\n", 0, match.start()) + 1
        found = _snippet(content, line, match.group(), around=0)
        return f" A text that differs only in white space begins in line {line}; copy it exactly:\n{found}"
    begin = next(line.strip() for line in old.split("\n") if line.strip())
    numbers = [number for number, line in enumerate(_lines(content), 1) if line.strip() == begin][:MATCHES_SHOWN]
    if not numbers or "\n" not in old.strip():
        return ""
    shown = ", ".join(map(str, numbers))
    return f" Its first line is there in line {shown}, but what follows differs: view it and copy it exactly."


def _directory(place: Path) -> str:
    entries: list[str] = []
    total = 0
    left = VIEW_CHARACTERS
    for entry in _walk(place, "", DIRECTORY_LEVELS):
        total += 1
        left -= len(entry) + 1
        if total <= DIRECTORY_ENTRIES and left >= 0:
            entries.append(entry)
    head = (
        f"Files and directories up to {DIRECTORY_LEVELS} levels deep in {shown_name(str(place))}, without hidden ones"
    )
    if total > len(entries):
        entries.append(f"[{len(entries)} of {total} entries shown: view a directory inside, or use glob]")
    return "\n".join([head, *(entries or ["(none)"])])


def _walk(place: Path, prefix: str, levels: int) -> Iterator[str]:
    try:
        with os.scandir(place) as found:
            inside = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield f"{shown_name(prefix) or '.'} [cannot be read: {error.strerror}]"
        return
    for entry in inside:
        if entry.name.startswith(".") or entry.name == "node_modules":
            continue
        path = prefix + entry.name
        if not entry.is_dir(follow_symlinks=False):
            yield shown_name(path)
            continue
        yield shown_name(path + "/")
        if levels > 1:
            yield from _walk(Path(entry.path), path + "/", levels - 1)
