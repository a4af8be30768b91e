"""Divides a git repository into parts for the script "survey"; standard library only, Python 3.9 or newer.

    measure.py list | divide.py

A part is a run of the entries in tree order.  Heavy runs are split along folders until none is too heavy, then light
neighbours are joined until there are as few as wanted: at least as many as there are top-level folders of some weight,
which are joined with one another last.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PARTS = 12
LEAST_PARTS = 4
FILES_A_PART = 40
FEW_FILES = 8  # with fewer there is a part for every two
SOME_WEIGHT = 64  # a folder with at least one in so many bytes is worth a part of its own
SOME_FILES = 2  # if it has as many entries
MOST_RUNS = 400
MANY_FOLDERS = 64  # a folder with more is split into handfuls of folders
SIZE_CAP_BYTES = 64 * 1024  # no file weighs more
FILE_WEIGHT_BYTES = 1024
NAME_CHARS = 80
ASCII = 127
MANIFESTS = {
    "pyproject.toml": r"(?ms)^\[(?:project|tool\.poetry)\][^\[]*?^name *= *[\"']([^\"']+)",
    "Cargo.toml": r"(?ms)^\[package\][^\[]*?^name *= *\"([^\"]+)",
    "package.json": r"\A\s*\{[^{]*?\"name\"\s*:\s*\"([^\"]+)",
    "go.mod": r"(?m)^module\s+(\S+)",
}


class Run:
    """The entries `low` to `high - 1`."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __len__(self) -> int:
        return self.high - self.low

    def __add__(self, other: Run) -> Run:
        return Run(self.low, other.high)


class Division:
    """The entries and what they weigh."""

    def __init__(self, paths: list[str], sizes: list[int]) -> None:
        self.paths = paths
        self.folders = [path.split("/")[:-1] for path in paths]
        self.sums = [0, *accumulate(FILE_WEIGHT_BYTES + min(size, SIZE_CAP_BYTES) for size in sizes)]
        few = len(paths) < FEW_FILES
        least, most = (1, FEW_FILES // 2) if few else (LEAST_PARTS, MOST_PARTS)
        self.wanted = min(max(len(paths) // (2 if few else FILES_A_PART), least), most)
        worthy = self.worth_a_part()
        self.lows, self.highs = [run.low for run in worthy], [run.high for run in worthy]
        self.wanted = min(max(self.wanted, len(worthy)), most)

    def worth_a_part(self) -> list[Run]:
        """The top-level folders of some weight, and what lies between two of them if it has some weight together."""
        between: list[Run] = []
        worthy: list[Run] = []
        for run in self.split(Run(0, len(self.paths))) if len(self.paths) > 1 else []:
            if self.is_worthy(run):
                worthy += [*between, run]
                between = []
            else:
                between = [between[0] + run] if between else [run]
        return [run for run in worthy + between if self.is_worthy(run)]

    def is_worthy(self, run: Run) -> bool:
        """Whether it has enough files and enough of the whole weight."""
        return len(run) >= SOME_FILES and self.weight(run) * SOME_WEIGHT >= self.sums[-1]

    def held(self, run: Run) -> int:
        """How many of those worth a part the run has something of."""
        return bisect_left(self.lows, run.high) - bisect_right(self.highs, run.low)

    def weight(self, run: Run) -> int:
        """In bytes, more or less: a file costs something itself, and no file costs much."""
        return self.sums[run.high] - self.sums[run.low]

    def common(self, run: Run) -> list[str]:
        """The folders that hold all of the run: in tree order, those that hold its first and its last."""
        both = zip(self.folders[run.low], self.folders[run.high - 1])  # noqa: B905 - Python 3.9 has no `strict`
        common = []
        for one, other in both:
            if one != other:
                break
            common.append(one)
        return common

    def holds(self, folders: list[str], i: int) -> bool:
        """Whether there is an entry `i` and it lies below the folders."""
        return 0 <= i < len(self.paths) and self.folders[i][: len(folders)] == folders

    def split(self, run: Run) -> list[Run]:
        """A folder's own files and each of its folders; files alone in two halves of like weight."""
        depth = len(self.common(run))
        groups = [folders[depth : depth + 1] for folders in self.folders[run.low : run.high]]
        starts = [run.low + i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
        if len(starts) == 1:
            middle = bisect_right(self.sums, (self.sums[run.low] + self.sums[run.high]) // 2) - 1
            starts = [run.low, min(max(middle, run.low + 1), run.high - 1)]
        handful = self.sums[-1] // (8 * self.wanted) if len(starts) > MANY_FOLDERS else 0
        runs: list[Run] = []
        for i, start in enumerate(starts):
            run_of_group = Run(start, [*starts[i + 1 : i + 2], run.high][0])
            if runs and self.weight(runs[-1] + run_of_group) <= handful:
                run_of_group = runs.pop() + run_of_group
            runs.append(run_of_group)
        return runs

    def cost(self, left: Run, right: Run) -> tuple[bool, int]:
        """Of joining two neighbours: high for heavy ones, higher if they lie in different folders."""
        both = left + right
        climb = max(len(self.common(left)), len(self.common(right))) - len(self.common(both))
        mixed = self.held(both) > max(self.held(left), self.held(right))
        return mixed, self.weight(both) ** 2 * max(1, climb)

    def too_heavy(self, runs: list[Run]) -> int | None:
        """Which run is to be split next, if any."""
        at = max((i for i, run in enumerate(runs) if len(run) > 1), key=lambda i: self.weight(runs[i]), default=None)
        if at is None or len(runs) >= MOST_RUNS:
            return None
        light = self.weight(runs[at]) * self.wanted <= 1.5 * self.sums[-1]
        return None if light and len(runs) >= self.wanted else at

    def runs(self) -> list[Run]:
        """The parts."""
        runs = [Run(0, len(self.paths))] if self.paths else []
        while (at := self.too_heavy(runs)) is not None:
            runs[at : at + 1] = self.split(runs[at])
        while len(runs) > self.wanted:
            at = min(range(len(runs) - 1), key=lambda i: self.cost(runs[i], runs[i + 1]))
            runs[at : at + 2] = [runs[at] + runs[at + 1]]
        return runs

    def name(self, run: Run) -> str:
        """`folder/` or `folder/*` where the run is all of that, else its first and its last."""
        common = self.common(run)
        where = "".join(folder + "/" for folder in common)
        if not self.holds(common, run.low - 1):
            if not self.holds(common, run.high):
                return where or "./"
            if self.folders[run.high - 1] == common != self.folders[run.high]:
                return (where or "./") + "*"
        first = self.edge(run.low, run.low - 1, len(common))
        last = self.edge(run.high - 1, run.high, len(common))
        return where + (first if first == last else first + " \u2026 " + last)

    def edge(self, i: int, beyond: int, depth: int) -> str:
        """The highest folder below `depth` that holds entry `i` but not the one beyond; without one, the file."""
        folders = self.folders[i]
        for end in range(depth + 1, len(folders) + 1):
            if not self.holds(folders[:end], beyond):
                return "/".join(folders[depth:end]) + "/"
        return "/".join(self.paths[i].split("/")[depth:])


def repository() -> str:
    """What the project calls itself; without a manifest, the folder of the remote or of the lender of objects."""
    for manifest, pattern in MANIFESTS.items():
        found = re.search(pattern, text_of(Path(manifest)))
        if found:
            return found[1]
    for place in (git("config", "remote.origin.url"), lender(), str(Path.cwd())):
        steps = [step for step in re.split(r"[/:]", re.sub(r"(/\.git)?(/objects)?/*$", "", place)) if step.strip(".")]
        if steps:
            return re.sub(r"\.git$", "", steps[-1])
    return "this repository"


def lender() -> str:
    """Where a clone that borrows objects has them from; git writes an odd path as C would, in quotes."""
    line = text_of(Path(git("rev-parse", "--git-path", "objects/info/alternates"))).partition("\n")[0]
    if not line.startswith('"'):
        return line
    literal = "".join(chr(byte) if byte <= ASCII else f"\\x{byte:02x}" for byte in line.encode())
    try:
        return os.fsdecode(ast.literal_eval("b" + literal))
    except (SyntaxError, ValueError):
        return ""


def git(*command: str) -> str:
    """What git prints, nothing where it fails."""
    ran = subprocess.run(["git", *command], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return os.fsdecode(ran.stdout.rstrip(b"\n"))


def text_of(path: Path) -> str:
    """The file's text, nothing where there is no such file."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def shortened(name: str) -> str:
    """The end of a long name tells more than its beginning."""
    return name if len(name) <= NAME_CHARS else "..." + name[3 - NAME_CHARS :]


def described(division: Division, runs: list[Run], kinds: list[str], sizes: list[int]) -> Iterator[dict[str, Any]]:
    """The parts by name; a name that comes again gets a number."""
    names: Counter[str] = Counter()
    for run in runs:
        name = shortened(division.name(run))
        names[name] += 1
        folder = "/".join(division.common(run))
        yield {
            "name": f"{name} ({names[name]})" if names[name] > 1 else name,
            # Only a folder that can be named as it is: the listing writes odd characters with a backslash.
            "folder": folder if len(folder) <= NAME_CHARS and "\\" not in folder else "",
            "files": kinds[run.low : run.high].count("file"),
            "bytes": sum(sizes[run.low : run.high]),
        }


def main() -> None:
    """Read the list, print the division."""
    listing = json.load(sys.stdin)
    paths, kinds, sizes = ([entry[column] for entry in listing["entries"]] for column in range(3))
    division = Division(paths, sizes)
    runs = division.runs()
    readmes = [path for path in paths if re.fullmatch(r"(?i)readme(\.[^/]*)?", path)]
    result = {
        "survey": "look",
        "repository": shortened("".join(c if c.isprintable() else "?" for c in repository())),
        "readme": shortened(min(readmes, default="")),
        "starts": [*(run.low for run in runs), len(paths)],
        "checksum": listing["checksum"],
        "parts": list(described(division, runs, kinds, sizes)),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
