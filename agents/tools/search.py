"""The tools `grep` and `glob`: git searches what a developer would call the project, that is, all but ignored files."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from prong.agents.sandbox import Sandbox
from prong.agents.tools import multiline
from prong.agents.tools.git import GitError, run_search
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.names import shown_name
from prong.agents.tools.search_definitions import (
    ALTERNATIVES,
    CONTEXT_LINES,
    GLOB,
    GREP,
    LINE_CHARACTERS,
    MODES,
    PATTERN_CHARACTERS,
    RESULTS_DEFAULT,
    RESULTS_MOST,
    TYPES,
)
from prong.agents.tools.search_results import Shown
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.touch import FILES, Touches, place_below, touched

_CONTEXT = rb"(?:(--)\n|([^\0]*)\0(\d+)(\0|:)\d+\4([^\n]*)\n|([^\0]*)\0(\d+)[\0-]([^\n]*)\n)"
"""A line between groups, a line that matches, which alone has a column, or one beside it."""
_RECORDS = {
    "content": re.compile(rb"([^\0]*)\0(\d+)[\0:]([^\n]*)\n"),
    "context": re.compile(_CONTEXT),
    "files": re.compile(rb"([^\0]*)\0"),
    "count": re.compile(rb"([^\0]*)\0(\d+)\n"),
}
_MODE_OPTIONS = {"content": "-n", "files": "-l", "count": "-c"}
# The second line undoes what a user's own configuration may ask for.
_GREP_OPTIONS = (
    *("-z", "-I", "--untracked"),
    *("--no-color", "--no-column", "--no-heading", "--no-break", "--no-full-name", "--no-recurse-submodules"),
)
_QUIET_CONFIG = ("-c", "core.quotePath=off", "-c", "color.ui=never", "-c", "core.fsmonitor=false")
_LIST = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--")
_FOREIGN = re.compile(r"(?<!\\)(?:\\\\)*(\\[dDpPAzZKQ]|\[\^?(?:[^\]\\]|\\\\)*\\[^\\]|\(\?)")
"""What POSIX takes for something else: \\d and its like, (?…), and a backslash within brackets, which is no escape."""


class Search:
    """Searches `workspace`, a git repository, with git in the given environment."""

    def __init__(self, workspace: Path, *, environment: Mapping[str, str], sandbox: Sandbox | None = None) -> None:
        self._workspace = workspace.absolute()
        self._sandbox = sandbox
        self._environment = dict(environment)

    def grep(self, call: ToolCall) -> str:
        """Search in contents; raises `ToolError`."""
        inputs = Inputs(call, keys=tuple(GREP["input_schema"]["properties"]))
        inputs.filled("pattern", most_characters=PATTERN_CHARACTERS)
        mode = inputs.choice("mode", MODES, default="content")
        around = _around(inputs, mode)
        shown = Shown(_limit(inputs))
        records = _Records(_RECORDS["context" if any(around) else mode], lambda match: _show(match, mode, shown))
        scope = self._scope(inputs)
        try:
            if inputs.flag("multiline"):
                self._grep_lines(inputs, mode, scope, records.take)
            else:
                beside = ["--column", f"-B{around[0]}", f"-A{around[1]}"] if any(around) else []
                self._grep(inputs, [_MODE_OPTIONS[mode], *beside], ["--", *scope], records.take)
        except GitError as refused:
            raise inputs.refuse(
                f"git cannot search for this pattern: {refused}. Correct it (a literal ( [ {{ * + ? . | needs a "
                "backslash), or set `fixed` to true to search for it as plain text.",
            ) from refused
        what = {"content": "matching lines", "files": "files with a match", "count": "files with a match"}[mode]
        if mode == "count":
            what = f"matching lines: {shown.counted:,}; {what}"
        none = "No match. Ignored files and binary files were not searched. Try a shorter pattern or ignore_case."
        return shown.text(what, none=none)

    def _grep(
        self, inputs: Inputs, options: Sequence[str], where: Sequence[str], take: Callable[[bytes], object]
    ) -> None:
        pattern = inputs.filled("pattern", most_characters=PATTERN_CHARACTERS)
        if "\n" in pattern:
            raise inputs.refuse("`pattern` has a line break, but a match is within one line. Set `multiline` to true.")
        options = [*_GREP_OPTIONS, *options, *(["-i"] if inputs.flag("ignore_case") else [])]
        if inputs.flag("fixed"):
            self._git(["grep", *options, "-F", "-e", pattern, *where], take)
            return
        try:
            self._git(["grep", *options, "-P", "-e", pattern, *where], take)
        except GitError as refused:
            if "cannot use Perl-compatible" not in str(refused):
                raise
            _check_posix(inputs, pattern)
            self._git(["grep", *options, "-E", "-e", pattern, *where], take)

    def _grep_lines(self, inputs: Inputs, mode: str, scope: Sequence[str], take: Callable[[bytes], object]) -> None:
        """Let matches span lines, which git's own search cannot: a small program reads the files that git names."""
        settings = {"pattern": inputs.filled("pattern", most_characters=PATTERN_CHARACTERS), "mode": mode}
        flags = {flag: inputs.flag(flag) for flag in ("fixed", "ignore_case")}
        with tempfile.TemporaryFile() as names:
            self._git([*_LIST, *scope], names.write)
            names.seek(0)
            program = [sys.executable, "-I", "-S", multiline.__file__, json.dumps({**settings, **flags})]
            self._run(program, take, stdin=names)

    def glob(self, call: ToolCall) -> str:
        """List files by name; raises `ToolError`."""
        inputs = Inputs(call, keys=tuple(GLOB["input_schema"]["properties"]))
        pattern = inputs.filled("pattern", most_characters=PATTERN_CHARACTERS)
        shown = Shown(_limit(inputs))
        found = bytearray()
        path = self._path(inputs)
        specs = [f":(glob){_below(path, each)}" for each in _alternatives(inputs, "pattern", pattern)]
        try:
            self._git([*_LIST, *specs], found.extend)
        except GitError as refused:
            raise inputs.refuse(f"git cannot list these files: {refused}. Check `pattern` and `path`.") from refused
        top = os.fsencode(self._workspace)
        # git's index also knows files that have been deleted since, and lists a file in conflict several times.
        names = {name for name in bytes(found).split(b"\0") if name}
        ages = {name: age for name in names if (age := _changed_at(os.path.join(top, name))) is not None}  # noqa: PTH118 - names are bytes, which pathlib has not
        for name in sorted(ages, key=lambda name: (-ages[name], name)):
            shown.add(shown_name(name))
        hint = (
            ""
            if "/" in pattern
            else f" This pattern matches only at the top; **/{shown_name(pattern)} matches anywhere."
        )
        return shown.text("files", none=f"No file matches. Ignored files are not listed.{hint}")

    def _git(self, arguments: Sequence[str], take: Callable[[bytes], object]) -> None:
        self._run(["git", "--no-pager", *_QUIET_CONFIG, *arguments], take)

    def _run(self, command: Sequence[str], take: Callable[[bytes], object], *, stdin: IO[bytes] | None = None) -> None:
        try:
            run_search(
                command,
                directory=self._workspace,
                environment=self._environment,
                take=take,
                sandbox=self._sandbox,
                stdin=stdin,
            )
        except OSError as error:
            raise ToolError(f"git could not be run in {self._workspace}: {error}. Search with bash.") from error

    def _scope(self, inputs: Inputs) -> list[str]:
        """The pathspecs for `path` and `glob`, joined into one: git would take two of them as alternatives."""
        path = self._path(inputs)
        globs, excluded = _globs(inputs)
        whole = [f":(literal){path}"] if path else []
        if not globs:
            return whole
        if path and not (self._workspace / path).is_dir():
            raise inputs.refuse("`path` is a file, so `glob` can choose nothing in it. Leave one of them out.")
        below = [_below(path, each if "/" in each else f"**/{each}") for each in globs]
        if excluded:
            return [*(whole or ["."]), *(f":(exclude,glob){each}" for each in below)]
        return [f":(glob){each}" for each in below]

    def _path(self, inputs: Inputs) -> str:
        """`path` relative to the workspace; empty for all of it."""
        given = inputs.text("path", most_characters=PATTERN_CHARACTERS, default="")
        place = Path(os.path.normpath(self._workspace / given))
        if place == self._workspace:
            return ""
        if not place.is_relative_to(self._workspace):
            raise inputs.refuse(f"`path` is outside of the workspace {self._workspace}. Use bash to search there.")
        if not os.path.lexists(place):
            raise inputs.refuse(f"`path` {shown_name(given)} is not there. Leave it out, or find it with glob.")
        return str(place.relative_to(self._workspace))


def search_tools(search: Search, workspace: Path) -> tuple[Tool, Tool]:
    """The tools `grep` and `glob`; both only read."""
    locate = place_below(workspace)

    def touches(call: ToolCall) -> Touches:
        return touched(FILES[call.name], call.input, locate=locate)

    return (
        Tool(definition=GREP, run=search.grep, replay="again", touches=touches),
        Tool(definition=GLOB, run=search.glob, replay="again", touches=touches),
    )


class _Records:
    """Cuts git's output into records as it comes."""

    def __init__(self, record: re.Pattern[bytes], use: Callable[[re.Match[bytes]], object]) -> None:
        self._record = record
        self._use = use
        self._rest = b""

    def take(self, data: bytes) -> None:
        data = self._rest + data
        position = 0
        while match := self._record.match(data, position):
            self._use(match)
            position = match.end()
        self._rest = data[position:]


def _show(match: re.Match[bytes], mode: str, shown: Shown) -> None:
    """One record of git's output: for a line beside a match, and one between groups, the form of grep itself."""
    parts = match.groups()
    if len(parts) > len(_PARTS):
        gap, name, line, _, text, near, near_line, near_text = parts
        if gap is not None:
            shown.add_beside("--")
        elif near is not None:
            shown.add_beside(f"{shown_name(near)}-{near_line.decode()}-{_cut(near_text)}")
        else:
            shown.add(f"{shown_name(name)}:{line.decode()}:{_cut(text)}")
    elif mode == "content":
        name, line, text = parts
        shown.add(f"{shown_name(name)}:{line.decode()}:{_cut(text)}")
    elif mode == "count":
        shown.add(f"{shown_name(parts[0])}:{parts[1].decode()}", count=int(parts[1]))
    else:
        shown.add(shown_name(parts[0]))


_PARTS = ("name", "line", "text")


def _cut(line: bytes) -> str:
    text = line.decode(errors="replace").removesuffix("\r")
    more = len(text) - LINE_CHARACTERS
    return f"{text[:LINE_CHARACTERS]} [{more:,} more characters]" if more > 0 else text


def _changed_at(path: bytes) -> int | None:
    """When a file was last changed; None if it is not there."""
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return None


def _around(inputs: Inputs, mode: str) -> tuple[int, int]:
    """How many lines to show before and after each match."""
    both = inputs.integer("context", least=0, most=CONTEXT_LINES, default=0)
    before = inputs.integer("before", least=0, most=CONTEXT_LINES, default=both)
    after = inputs.integer("after", least=0, most=CONTEXT_LINES, default=both)
    if (before or after) and (mode != "content" or inputs.flag("multiline")):
        raise inputs.refuse("lines around a match are shown only in mode content without `multiline`. Leave them out.")
    return before, after


def _globs(inputs: Inputs) -> tuple[Sequence[str], bool]:
    """The patterns that choose files, and whether they leave them out instead."""
    if "type" in inputs:
        if "glob" in inputs:
            raise inputs.refuse("`type` stands for some globs, so give either `type` or `glob`.")
        return TYPES[inputs.choice("type", tuple(TYPES))], False
    if "glob" not in inputs:
        return (), False
    given = inputs.filled("glob", most_characters=PATTERN_CHARACTERS)
    return _alternatives(inputs, "glob", given.removeprefix("!")), given.startswith("!")


def _limit(inputs: Inputs) -> int:
    return inputs.integer("max_results", least=1, most=RESULTS_MOST, default=RESULTS_DEFAULT)


def _check_posix(inputs: Inputs, pattern: str) -> None:
    """Where git knows only POSIX patterns: it would search for something else, which reads as "it is not there"."""
    foreign = _FOREIGN.search(pattern)
    if foreign:
        raise inputs.refuse(
            f"`pattern` has {foreign.group(1)}, and the git of this machine knows only POSIX extended expressions. "
            "Write [0-9] for a digit, [[:alnum:]_.] for [\\w.], and no backslash within brackets (a ] comes first in "
            "them); or set `fixed` to true to search for plain text.",
        )


def _alternatives(inputs: Inputs, key: str, pattern: str) -> list[str]:
    """The patterns that one with {a,b} stands for: git's own know no braces."""
    patterns = [pattern.removeprefix("./").removeprefix("/")]
    while any(braces := [_BRACES.search(each) for each in patterns]):
        patterns = [
            each if found is None else each[: found.start()] + part + each[found.end() :]
            for each, found in zip(patterns, braces, strict=True)
            for part in (found.group(1).split(",") if found else [""])
        ]
        if len(patterns) > ALTERNATIVES:
            raise inputs.refuse(f"the braces in `{key}` stand for more than {ALTERNATIVES} patterns. Use fewer.")
    return patterns


_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def _below(path: str, pattern: str) -> str:
    """`pattern` below the directory `path`, whose own special characters stand for themselves."""
    return "/".join([*([re.sub(r"([*?\[\\])", r"\\\1", path)] if path else []), pattern])
