"""The tools `grep` and `glob`: git searches what a developer would call the project, that is, all but ignored files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from prong.agents.tools.git import GitError, run_git
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.names import shown_name
from prong.agents.tools.tool import Tool, ToolCall, ToolError

RESULTS_DEFAULT = 200
"""How many results a search shows if the model does not say."""
RESULTS_MOST = 2_000
"""How many results a search shows at the most."""
RESULT_CHARACTERS = 30_000
"""How long the answer of a search is at the most, in characters."""
LINE_CHARACTERS = 400
"""How much of a matching line is shown, in characters."""
PATTERN_CHARACTERS = 4_096
"""The longest pattern or path, in characters."""
ALTERNATIVES = 64
"""How many patterns the braces of one may stand for."""

MODES = ("content", "files", "count")

_PATH = {
    "type": "string",
    "description": "File or directory to search in, relative to the workspace. Default: the whole workspace.",
}
_MAX_RESULTS = {
    "type": "integer",
    "description": (
        f"How many results to show, from 1 to {RESULTS_MOST}; the total is always told. Default: {RESULTS_DEFAULT}."
    ),
}

GREP: Final[Mapping[str, Any]] = {
    "name": "grep",
    "description": (
        "Search the contents of the workspace's files, new ones included and ignored ones not. Use it whenever you "
        "look for where something is defined, used or mentioned, before you open files; it is faster than grep in bash "
        "and tells how much it left out. Use glob to find files by name, and bash to search ignored files or outside "
        "of the workspace."
    ),
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "description": (
                    r"POSIX extended regular expression, matched line by line: a|b, [0-9]+, \bword\b, \w, \s; "
                    r"not \d, [\w.], (?:…) or lookarounds."
                ),
            },
            "path": _PATH,
            "glob": {
                "type": "string",
                "description": (
                    "Search only files whose path matches, for example *.py (at any depth), src/**/*.ts or *.{js,jsx}."
                ),
            },
            "mode": {
                "type": "string",
                "enum": list(MODES),
                "description": (
                    "content: matching lines with file and line number (default). files: only the names of files that "
                    "match. count: matching lines per file."
                ),
            },
            "fixed": {"type": "boolean", "description": "Take the pattern as plain text, not as a regular expression."},
            "ignore_case": {"type": "boolean", "description": "Let upper and lower case match each other."},
            "max_results": _MAX_RESULTS,
        },
        "required": ["pattern"],
        "additionalProperties": False,
    },
}

GLOB: Final[Mapping[str, Any]] = {
    "name": "glob",
    "description": (
        "List the workspace's files whose path matches a pattern, sorted, new ones included and ignored ones not. Use "
        "it when you know or guess a file's name or kind, or to learn how the project is laid out. Use grep to search "
        "in contents."
    ),
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {
            "pattern": {
                "type": "string",
                "description": (
                    "Path pattern from the top of the workspace (or of `path`): * and ? match within one name, ** any "
                    "number of directories, {a,b} alternatives: **/*.py, src/**, docs/*.{md,rst}. A pattern without / "
                    "matches only files at the top."
                ),
            },
            "path": {**_PATH, "description": "Directory to search in, relative to the workspace. Default: all of it."},
            "max_results": _MAX_RESULTS,
        },
        "required": ["pattern"],
        "additionalProperties": False,
    },
}

_RECORDS = {
    "content": re.compile(rb"([^\0]*)\0(\d+)[\0:]([^\n]*)\n"),
    "files": re.compile(rb"([^\0]*)\0"),
    "count": re.compile(rb"([^\0]*)\0(\d+)\n"),
}
_MODE_OPTIONS = {"content": "-n", "files": "-l", "count": "-c"}
# The second line undoes what a user's own configuration may ask for.
_GREP_OPTIONS = (
    *("-z", "-I", "--untracked"),
    *("--no-color", "--no-column", "--no-heading", "--no-break", "--no-full-name", "--no-recurse-submodules"),
)
_QUIET_CONFIG = ("-c", "core.quotePath=off", "-c", "color.ui=never")
_FOREIGN = re.compile(r"(?<!\\)(?:\\\\)*(\\[dDpPAzZKQ]|\[\^?(?:[^\]\\]|\\\\)*\\[^\\])")
"""What POSIX takes for something else: \\d and its like, and a backslash within brackets, which there is no escape."""


class Search:
    """Searches `workspace`, a git repository, with git in the given environment."""

    def __init__(self, workspace: Path, *, environment: Mapping[str, str]) -> None:
        self._workspace = workspace.absolute()
        self._environment = dict(environment)

    def grep(self, call: ToolCall) -> str:
        """Search in contents; raises `ToolError`."""
        inputs = Inputs(call, keys=tuple(GREP["input_schema"]["properties"]))
        pattern = inputs.filled("pattern", most_characters=PATTERN_CHARACTERS)
        fixed = inputs.flag("fixed")
        _check_pattern(inputs, pattern, fixed=fixed)
        mode = inputs.choice("mode", MODES, default="content")
        shown = _Shown(_limit(inputs))
        records = _Records(_RECORDS[mode], lambda match: shown.add(_grep_line(match), count=_count(match, mode)))
        options = [*_GREP_OPTIONS, _MODE_OPTIONS[mode], "-F" if fixed else "-E"]
        options += ["-i"] if inputs.flag("ignore_case") else []
        scope = self._scope(inputs)
        try:
            self._git(["grep", *options, "-e", pattern, "--", *scope], records.take)
        except GitError as refused:
            raise inputs.refuse(
                f"git cannot search for this pattern: {refused}. Correct it (a literal ( [ {{ * + ? . | needs a "
                "backslash), or set `fixed` to true to search for it as plain text.",
            ) from refused
        what = {"content": "matching lines", "files": "files with a match", "count": "files with a match"}[mode]
        if mode == "count":
            what = f"matching lines: {shown.counted:,}; {what}"
        return shown.text(what, none="No match. Ignored files and binary files were not searched.")

    def glob(self, call: ToolCall) -> str:
        """List files by name; raises `ToolError`."""
        inputs = Inputs(call, keys=tuple(GLOB["input_schema"]["properties"]))
        pattern = inputs.filled("pattern", most_characters=PATTERN_CHARACTERS)
        shown = _Shown(_limit(inputs))
        found = bytearray()
        path = self._path(inputs)
        specs = [f":(glob){_below(path, each)}" for each in _alternatives(inputs, "pattern", pattern)]
        try:
            self._git(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *specs], found.extend)
        except GitError as refused:
            raise inputs.refuse(f"git cannot list these files: {refused}. Check `pattern` and `path`.") from refused
        top = os.fsencode(self._workspace)
        # git's index also knows files that have been deleted since, and lists a file in conflict several times.
        for name in sorted({name for name in bytes(found).split(b"\0") if name}):
            if os.path.lexists(os.path.join(top, name)):  # noqa: PTH118 - names are bytes, which pathlib has not
                shown.add(shown_name(name))
        hint = (
            ""
            if "/" in pattern
            else f" This pattern matches only at the top; **/{shown_name(pattern)} matches anywhere."
        )
        return shown.text("files", none=f"No file matches. Ignored files are not listed.{hint}")

    def _git(self, arguments: Sequence[str], take: Callable[[bytes], object]) -> None:
        try:
            run_git([*_QUIET_CONFIG, *arguments], directory=self._workspace, environment=self._environment, take=take)
        except OSError as error:
            raise ToolError(f"git could not be run in {self._workspace}: {error}. Search with bash.") from error

    def _scope(self, inputs: Inputs) -> list[str]:
        """The pathspecs for `path` and `glob`, joined into one: git would take two of them as alternatives."""
        path = self._path(inputs)
        if "glob" not in inputs:
            return [f":(literal){path}"] if path else []
        if path and not (self._workspace / path).is_dir():
            raise inputs.refuse("`path` is a file, so `glob` can choose nothing in it. Leave one of them out.")
        given = inputs.filled("glob", most_characters=PATTERN_CHARACTERS)
        if given.startswith("!"):
            raise inputs.refuse("`glob` says which files to search; it cannot exclude any. Leave out the `!`.")
        globs = _alternatives(inputs, "glob", given)
        return [f":(glob){_below(path, each if '/' in each else f'**/{each}')}" for each in globs]

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


def search_tools(search: Search) -> tuple[Tool, Tool]:
    """The tools `grep` and `glob`; both only read."""
    return (
        Tool(definition=GREP, run=search.grep, replay="again"),
        Tool(definition=GLOB, run=search.glob, replay="again"),
    )


class _Shown:
    """The results that fit into the answer, and how many there were."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = RESULT_CHARACTERS
        self._lines: list[str] = []
        self.total = 0
        self.counted = 0

    def add(self, line: str, *, count: int = 1) -> None:
        self.total += 1
        self.counted += count
        self._left -= len(line) + 1
        if self.total <= self._limit and self._left >= 0:
            self._lines.append(line)

    def text(self, what: str, *, none: str) -> str:
        if not self.total:
            return none
        if len(self._lines) == self.total:
            return "\n".join([*self._lines, f"[{what}: {self.total:,}]"])
        advice = (
            "narrow the search" if self.total > RESULTS_MOST or self._left < 0 else "narrow it or raise max_results"
        )
        return "\n".join([*self._lines, f"[{what}: {self.total:,}, of which {len(self._lines):,} are shown; {advice}]"])


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


def _grep_line(match: re.Match[bytes]) -> str:
    name, *rest = match.groups()
    if not rest:
        return shown_name(name)
    text = rest[-1].decode(errors="replace").removesuffix("\r")
    more = len(text) - LINE_CHARACTERS
    if more > 0:
        text = f"{text[:LINE_CHARACTERS]} [{more:,} more characters]"
    return ":".join([shown_name(name), *(part.decode() for part in rest[:-1]), text])


def _count(match: re.Match[bytes], mode: str) -> int:
    return int(match.group(2)) if mode == "count" else 1


def _limit(inputs: Inputs) -> int:
    return inputs.integer("max_results", least=1, most=RESULTS_MOST, default=RESULTS_DEFAULT)


def _check_pattern(inputs: Inputs, pattern: str, *, fixed: bool) -> None:
    if "\n" in pattern:
        raise inputs.refuse("`pattern` has a line break, but a match is within one line. Search for one of the lines.")
    foreign = None if fixed else _FOREIGN.search(pattern)
    if foreign:
        # git would search for something else and find nothing, which reads as "it is not there".
        raise inputs.refuse(
            f"`pattern` has {foreign.group(1)}, which means something else in POSIX extended regular expressions. "
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
