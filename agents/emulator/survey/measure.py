"""Measures a git repository for the script "survey": standard library only, Python 3.9 or newer.

    measure.py list                        what git tracks, in tree order
    measure.py part 2 0,14,30,57 123456    measures the second of three parts: entries 14 to 29 of 57
    measure.py index NAME TEXT             adds a numbered line to the shared index, unless NAME has one

Each prints one line of JSON.  Tree order: a folder's own files by name, then its folders by name.
"""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import warnings
import zlib
from bisect import bisect_right
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOUND_CHARS = 24_000  # of what is printed: lists get shorter, totals stay
LISTED = 10  # longest functions, hot spots
SUFFIXES = 40  # told apart in a part; the rest is "other"
MOST_LINKS = 1000  # to folders; more are not followed
MOST_HOPS = 40  # from link to link, as in Linux
KINDS = {"120000": "symlinks", "160000": "submodules"}
MARK = re.compile(rb"\b(?:TODO|FIXME)\b")


def shown(name: str, limit: int = 160) -> str:
    """A name that anything can print: no control characters, nothing but UTF-8, bounded."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else "..." + text[3 - limit :]


def folders_of(path: str) -> list[str]:
    """The folders that a path goes through."""
    return path.split("/")[:-1]


def tree_order(path: str) -> list[tuple[int, str]]:
    """Sorts a folder's own files before its folders."""
    *folders, name = path.split("/")
    return [*((1, folder) for folder in folders), (0, name)]


def tracked() -> list[tuple[str, str]]:
    """Path and mode of all that git tracks but the survey itself, in tree order."""
    listing = subprocess.run(["git", "ls-files", "-s", "-z"], check=True, stdout=subprocess.PIPE).stdout
    modes = {}
    for record in listing.split(b"\0")[:-1]:
        head, _, path = record.partition(b"\t")
        modes[os.fsdecode(path)] = head[:6].decode()
    modes.pop("SURVEY.md", None)
    return [(path, modes[path]) for path in sorted(modes, key=tree_order)]


def checksum(entries: list[tuple[str, str]]) -> int:
    """Tells one list of paths from another."""
    return zlib.crc32(os.fsencode("\0".join(path for path, _ in entries)))


def links_to_folders(entries: list[tuple[str, str]]) -> dict[str, str]:
    """The folder that each link to one leads to, unless that holds the link or is not in the repository."""
    targets = {path: target_of(path) for path, mode in entries if KINDS.get(mode) == "symlinks"}
    if not targets:
        return {}
    folders = {path[:i] for path, _ in entries for i, letter in enumerate(path) if letter == "/"}
    found = ((link, followed(link, targets)) for link in targets)
    links = [(link, folder) for link, folder in found if folder in folders and not link.startswith(folder + "/")]
    return dict(links[:MOST_LINKS])


def target_of(link: str) -> str:
    """What is written in a link; where that cannot be read, a place outside of the repository."""
    try:
        return os.readlink(link)  # noqa: PTH115 - as it is written
    except OSError:
        return "/"


def followed(link: str, targets: dict[str, str]) -> str:
    """Where a link leads in the repository; nothing where it leaves that or goes round in circles."""
    done: list[str] = []
    left, hops = link.split("/"), 0
    while left:
        step = left.pop(0)
        if step == ".." and not done:
            return ""
        if step == "..":
            done.pop()
        elif step not in ("", "."):
            target = targets.get("/".join([*done, step]))
            if target is None:
                done.append(step)
                continue
            hops += 1
            if target.startswith("/") or hops > MOST_HOPS:
                return ""
            left = target.split("/") + left
    return "/".join(done)


class Modules:
    """Which file an import means.  It is looked up as a path: the longest that exists, in the nearest root.

    A link to a folder gives what is below that folder a second name.
    """

    def __init__(self, paths: set[str], links: dict[str, str]) -> None:
        self.paths, self.links = paths, links
        self.homes: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            folders, name = folders_of(path), path.rpartition("/")[2]
            steps = [*folders, name[:-3]]
            for depth, folder in enumerate(folders):
                if folder in ("src", "lib"):
                    self.homes[steps[depth + 1]].add(rooted(folders[: depth + 1]))
            if name == "__init__.py" and folders and rooted(folders[:-1]) + "__init__.py" not in paths:
                self.homes[folders[-1]].add(rooted(folders[:-1]))
        for link in links:
            steps = link.split("/")
            for depth, step in enumerate(steps):
                self.homes[step].add(rooted(steps[:depth]))

    def meant(self, tree: ast.AST, path: str) -> Iterator[str]:
        """The files that the imports of `path` mean."""
        folders = folders_of(path)
        above = [rooted(folders[:end]) for end in range(len(folders), -1, -1)]
        outside = [root for root in above if not root or root + "__init__.py" not in self.paths]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self.find(alias.name.split("."), outside)
            elif isinstance(node, ast.ImportFrom):
                module = node.module.split(".") if node.module else []
                for alias in node.names:
                    steps = module if alias.name == "*" else [*module, alias.name]
                    if not node.level:
                        yield from self.find(steps, outside)
                    elif node.level <= len(above):
                        yield from self.below(above[node.level - 1], steps)

    def find(self, steps: list[str], outside: list[str]) -> Iterator[str]:
        """The file that an absolute import means, if any."""
        homes = sorted(self.homes.get(steps[0], ()), key=lambda root: (root.count("/"), root))
        for end in range(len(steps), 0, -1):
            for root in [*outside, *homes]:
                for path in self.file(root + "/".join(steps[:end])):
                    yield path
                    return

    def below(self, root: str, steps: list[str]) -> Iterator[str]:
        """The file that a relative import means, if any."""
        for end in range(len(steps), -1, -1):
            for path in self.file(root + "/".join(steps[:end])):
                yield path
                return

    def file(self, place: str) -> list[str]:
        """The package or else the module at that place."""
        places = (place.rstrip("/") + "/__init__.py", place + ".py") if place else ("__init__.py",)
        return [path for path in map(self.real, places) if path in self.paths][:1]

    def real(self, path: str) -> str:
        """The same path without links."""
        if path in self.paths or not self.links:
            return path
        done = ""
        for step in path.split("/"):
            done += "/" * bool(done) + step
            done = self.links.get(done, done)
        return done


def rooted(folders: list[str]) -> str:
    """The folders as the beginning of a path."""
    return "".join(folder + "/" for folder in folders)


class Findings:
    """What one part holds, added up file by file."""

    def __init__(self, entries: list[tuple[str, str]], starts: list[int]) -> None:
        self.part_of = {path: bisect_right(starts, i) for i, (path, _) in enumerate(entries)}
        paths = {path for path, mode in entries if mode not in KINDS and path.endswith(".py")}
        self.modules = Modules(paths, links_to_folders(entries))
        self.sums: Counter[str] = Counter()
        self.suffixes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.longest: list[tuple[int, str, int, str]] = []
        self.hot: list[tuple[int, str]] = []
        self.unparsed: list[tuple[str, str]] = []
        self.unreadable: list[str] = []
        self.imports: Counter[int] = Counter()
        self.touches: Counter[int] = Counter()

    def add(self, path: str, mode: str) -> None:
        """Add one entry."""
        if mode in KINDS:
            self.sums[KINDS[mode]] += 1
            return
        self.sums["files"] += 1
        data = content(path)
        if data is None:
            self.unreadable.append(path)
            return
        self.sums["bytes"] += len(data)
        suffix = self.suffixes[shown(Path(path).suffix.lower(), 20)]
        suffix[0] += 1
        if b"\0" in data[:8000]:
            self.sums["binary"] += 1
            return
        lines = data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))
        suffix[1] += lines
        self.sums["lines"] += lines
        marks = len(MARK.findall(data))
        if marks:
            self.sums["marks"] += marks
            self.hot.append((marks, path))
        if path.endswith(".py"):
            self.add_python(path, data)

    def add_python(self, path: str, data: bytes) -> None:
        """Add what the syntax tree of a Python file tells."""
        self.sums["modules"] += 1
        self.sums["tests"] += is_test(path)
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            self.unparsed.append((path, type(error).__name__ + (f" in line {line}" if line else "")))
            return
        self.sums["public"] += len({name for name in bound(tree.body) if not name.startswith("_")})
        for node, name in definitions(tree):
            if isinstance(node, ast.ClassDef):
                self.sums["classes"] += 1
            else:
                self.sums["functions"] += 1
                self.longest.append(((node.end_lineno or node.lineno) - node.lineno + 1, path, node.lineno, name))
        parts = {self.part_of[other] for other in self.modules.meant(tree, path)}
        self.imports.update(parts - {self.part_of[path]})
        self.touches.update(parts if is_test(path) else ())

    def report(self, listed: int) -> dict[str, Any]:
        """All totals, and lists of no more than `listed` rows."""
        longest = sorted(self.longest, key=lambda row: (-row[0], row[1:]))[:listed]
        hot = sorted(self.hot, key=lambda row: (-row[0], row[1]))[:listed]
        suffixes = sorted(self.suffixes.items(), key=lambda row: (-row[1][0], row[0]))
        rest = [sum(row[column] for _, row in suffixes[SUFFIXES:]) for column in (0, 1)]
        return {
            **{name: self.sums[name] for name in SUMS},
            "suffixes": {**dict(suffixes[:SUFFIXES]), **({"other": rest} if any(rest) else {})},
            "longest": [[length, shown(path), line, shown(name, 80)] for length, path, line, name in longest],
            "hot": [[marks, shown(path)] for marks, path in hot],
            "unparsed": [len(self.unparsed), [[shown(path), why] for path, why in self.unparsed[: 2 * listed]]],
            "unreadable": [len(self.unreadable), [shown(path) for path in self.unreadable[:listed]]],
            "imports": {str(part): files for part, files in sorted(self.imports.items())},
            "touches": {str(part): files for part, files in sorted(self.touches.items())},
            "python": "{}.{}".format(*sys.version_info),
        }


def content(path: str) -> bytes | None:
    """What is in the file; None where it is no plain file or cannot be read."""
    try:
        return Path(path).read_bytes() if stat.S_ISREG(Path(path).lstat().st_mode) else None
    except OSError:
        return None


SUMS = ["files", "bytes", "lines", "binary", "symlinks", "submodules", "marks"]
SUMS += ["modules", "tests", "functions", "classes", "public"]


def is_test(path: str) -> bool:
    """By its name or a folder above it."""
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py") or not {"test", "tests"}.isdisjoint(folders_of(path))


def bound(body: list[ast.stmt]) -> Iterator[str]:
    """The names that the statements of a body define or assign."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        yield name.id


def definitions(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    """Every function and class at any depth, with its dotted name."""
    left: list[tuple[ast.AST, str]] = [(tree, "")]
    while left:
        node, prefix = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node, prefix + node.name
            prefix += node.name + "."
        left.extend((child, prefix) for child in ast.iter_child_nodes(node))


def listing() -> dict[str, Any]:
    """Path, kind and size of every entry, and a checksum to know them again."""
    entries = tracked()
    rows = [
        (shown(path, sys.maxsize), KINDS.get(mode, "file"), 0 if mode in KINDS else size_of(path))
        for path, mode in entries
    ]
    return {"entries": rows, "checksum": checksum(entries)}


def size_of(path: str) -> int:
    """In bytes; nothing where there is nothing."""
    try:
        return Path(path).lstat().st_size
    except OSError:
        return 0


def part(number: str, starts: str, expected: str) -> dict[str, Any]:
    """Measure one part."""
    entries, edges = tracked(), [int(start) for start in starts.split(",")]
    if len(entries) != edges[-1] or checksum(entries) != int(expected):
        sys.exit("the tracked files are not those that were divided: look at the repository again")
    findings = Findings(entries, edges)
    for path, mode in entries[edges[int(number) - 1] : edges[int(number)]]:
        findings.add(path, mode)
    listed = LISTED
    while len(json.dumps(findings.report(listed))) > BOUND_CHARS and listed:
        listed -= 1
    return findings.report(listed)


def index(name: str, text: str) -> dict[str, Any]:
    """Read, add, replace: two at once would lose a line, so the caller holds the lock."""
    path = Path(os.environ["PRONG_SHARED"]) / "index.md"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    known = [line for line in lines if line.partition(". ")[2].rpartition(": ")[0] == name]
    mine = known or [f"{len(lines) + 1}. {name}: {text}"]
    if not known:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as new:
            new.write("".join(line + "\n" for line in lines + mine))
        Path(new.name).replace(path)
    return {"line": mine[0], "lines": len(lines) + (not known)}


def main(mode: str, *arguments: str) -> None:
    """Run one mode and print its result."""
    warnings.simplefilter("ignore")
    modes: dict[str, Callable[..., dict[str, Any]]] = {"list": listing, "part": part, "index": index}
    result = modes[mode](*arguments)
    sys.stdout.write(json.dumps({"survey": mode, **result}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
