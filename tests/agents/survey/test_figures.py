"""Goal: every figure of a survey is right.

Method: it is computed once more in another way: files, lines and binary files by `git diff --numstat`, the order by
`os.walk`, functions by the tokenizer, imports by a table of all modules; on source that nobody here wrote.
"""

import ast
import io
import os
import re
import shutil
import sysconfig
import tokenize
from collections import Counter
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

SITE = Path(sysconfig.get_path("purelib"))
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "rich", "idna", "licenses", "pygments", "pkg_resources")
"""What would only make it slower: some 340 files of pip are left."""
TESTS = {
    "click": {
        "tests/test_core.py": "import click.core\nfrom click import style, echo\nfrom click.types import ParamType\n",
    },
    "pip": {
        "tests/unit/cli.py": "def test_it():\n    from pip._internal.cli import main, parser\n",
        "tests/functional.py": "import pip._vendor.msgpack.ext as ext, pip._vendor.urllib3\nimport os\n",
        "old_test.py": "from pip._vendor import requests\n",
    },
    "linked": {
        "tests/test_core.py": "import kit.core.types as types\nfrom kit.core import style\nfrom kit import extra\n",
        "tests/test_again.py": "from again.extra.tool import use\n",
        "extra/__init__.py": "",
        "extra/tool.py": "from kit.core.core import Context\nimport kit.nothing, core.loop.types\nuse = Context\n",
    },
}
LINKS = {
    ".src/kit/core": "../../core",
    ".src/kit/extra": "../../extra",
    "again": ".src/kit",
    "core/loop": "loop",
    "extra/out": "../../..",
}
"""Tracked links of the repository whose package, as Prong's own, is made of them."""


@dataclass(frozen=True)
class Surveyed:
    """A repository, and what its survey says: the page, and the figures of each part of it."""

    repository: Path
    page: str
    rows: dict[str, list[int]]

    def members(self):
        """The files of each part: `os.walk` too names a folder's own files before its folders."""
        walk = []
        for folder, folders, files in os.walk(self.repository):
            folders[:] = sorted(set(folders) - {".git"})
            here = Path(folder)
            walk += [str((here / n).relative_to(self.repository)) for n in sorted(files) if not (here / n).is_symlink()]
        members = {}
        for name, (files, *_) in self.rows.items():
            members[name], walk = walk[:files], walk[files:]
        assert not walk
        return members

    def source(self, path):
        return (self.repository / path).read_bytes()

    def table(self, title):
        """The rows of the table under a heading."""
        section = self.page.partition(f"\n## {title}\n\n")[2].partition("\n\n")[0]
        return [[cell.strip("` ") for cell in line.strip("|").split(" | ")] for line in section.splitlines()[2:]]


@pytest.fixture(scope="module", params=["click", pytest.param("pip", marks=pytest.mark.long), "linked"])
def surveyed(request, tmp_path_factory, make_swarm, commit):
    repository = tmp_path_factory.mktemp("package") / request.param
    source, folder = ("click", "core") if request.param == "linked" else (request.param, request.param)
    shutil.copytree(SITE / source, repository / folder, ignore=LEFT_OUT)
    for link, target in LINKS.items() if request.param == "linked" else ():
        (repository / link).parent.mkdir(parents=True, exist_ok=True)
        (repository / link).symlink_to(target)
    for path, text in TESTS[request.param].items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text)
    page = (make_swarm(commit(repository)).run().clone / "SURVEY.md").read_text()
    rows = re.findall(r"(?m)^\| \d+ \| `([^`]+)` " + r"\| (\d+) " * 7 + r"\|$", page)
    return Surveyed(repository, page, {name: list(map(int, figures)) for name, *figures in rows})


def test_files_lines_and_bytes_are_those_that_git_counts(surveyed, git):
    rows = git(surveyed.repository, "diff", "--numstat", "--no-renames", "-z", EMPTY_TREE, "HEAD").decode()
    added = {path: lines for lines, _, path in (row.split("\t") for row in rows.split("\0")[:-1])}
    rows = git(surveyed.repository, "ls-tree", "-r", "-l", "-z", "HEAD").decode()
    files = [row.split("\t") for row in rows.split("\0")[:-1] if not row.startswith("120000 ")]
    sizes = {path: int(head.split()[3]) for head, path in files}
    for name, paths in surveyed.members().items():
        lines = sum(int(added[path]) for path in paths if added[path] != "-")
        assert surveyed.rows[name][:3] == [len(paths), lines, sum(map(sizes.__getitem__, paths))]
    binary = sum(lines == "-" for lines in added.values())
    assert f"\n- Files: {len(sizes)}, of them binary: {binary}\n" in surveyed.page


def test_todo_and_fixme_are_those_that_git_finds(surveyed, git):
    pattern = r"(?<![A-Za-z0-9_])(TODO|FIXME)(?![A-Za-z0-9_])"
    found = git(surveyed.repository, "grep", "-I", "-o", "-P", pattern, "HEAD", check=False).decode().splitlines()
    marks = Counter(line.split(":")[1] for line in found)
    for name, paths in surveyed.members().items():
        assert surveyed.rows[name][5] == sum(marks[path] for path in paths)
    ranking = sorted(marks.items(), key=lambda row: (-row[1], row[0]))[:10]
    if ranking:
        assert surveyed.table("TODO and FIXME") == [[str(count), path] for path, count in ranking]


def functions_by_tokens(data):
    """Line and length of every function, from the tokens alone."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}
    tokens = [token for token in tokenize.tokenize(io.BytesIO(data).readline) if token.type not in skipped]
    level, last, bodies, found = 0, 0, [], []
    for i, token in enumerate(tokens):
        level += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        if token.type == tokenize.NEWLINE:
            last = token.start[0]
        ended = token.type == tokenize.DEDENT or (
            token.type == tokenize.NEWLINE and tokens[i + 1].type != tokenize.INDENT
        )
        while ended and bodies and bodies[-1][0] == level:
            first = bodies.pop()[1]
            found.append((last - first + 1, first))
        if (token.type, token.string) == (tokenize.NAME, "def"):
            before = tokens[i - 1] if i and tokens[i - 1].string == "async" else token
            bodies.append((level, before.start[0]))
    return found


def test_functions_and_the_longest_are_those_that_the_tokens_show(surveyed):
    longest = []
    for name, paths in surveyed.members().items():
        found = [
            (*row, path) for path in paths if path.endswith(".py") for row in functions_by_tokens(surveyed.source(path))
        ]
        assert surveyed.rows[name][3] == len(found)
        longest += found
    longest.sort(key=lambda row: (-row[0], row[2], row[1]))
    ranking = [[str(length), f"{path}:{line}"] for length, line, path in longest[:10]]
    assert [[length, where] for length, _, where in surveyed.table("Longest functions")] == ranking


class Names(ast.NodeVisitor):
    """The names that statements at the margin bind."""

    def __init__(self):
        self.names = set()

    def visit_Module(self, node):
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.names.add(statement.name)
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                for target in getattr(statement, "targets", None) or [statement.target]:
                    self.visit(target)

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load):
            self.names.add(node.id)


def test_public_names_are_those_bound_at_the_margin(surveyed):
    for name, paths in surveyed.members().items():
        public = 0
        for path in paths:
            if path.endswith(".py"):
                names = Names()
                names.visit(ast.parse(surveyed.source(path)))
                public += sum(name[0] != "_" for name in names.names)
        assert surveyed.rows[name][4] == public


def modules_in(repository, paths):
    """Every module of the repository by its dotted name; the source needs no other way to find one."""
    modules = {dotted(path): path for path in paths if path.endswith(".py")}
    for folder, folders, files in os.walk(repository, followlinks=True):
        here = Path(folder)
        folders[:] = [name for name in folders if repository in (here / name).resolve().parents]
        steps = here.relative_to(repository).parts
        links = [depth for depth in range(len(steps)) if repository.joinpath(*steps[: depth + 1]).is_symlink()]
        for name in files if links else ():
            if name.endswith(".py"):
                real = str((here / name).resolve().relative_to(repository))
                for above in range(links[-1] + 1):
                    modules.setdefault(dotted("/".join([*steps[above:], name])), real)
    return modules


def dotted(path):
    """The name of the module at a path."""
    return re.sub(r"(\.__init__)?\.py$", "", path.replace("/", "."))


def imported(data, path, modules):
    """The files that a file imports, looked up in the table of all modules."""
    package = path.rpartition("/")[0].replace("/", ".")
    for node in ast.walk(ast.parse(data)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            names = [base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in modules:
                name = name.rpartition(".")[0]  # noqa: PLW2901 - shorter and shorter
            if name:
                yield modules[name]


def test_imports_and_tests_are_those_that_a_table_of_modules_tells(surveyed):
    members = surveyed.members()
    part_of = {path: name for name, paths in members.items() for path in paths}
    modules = modules_in(surveyed.repository, part_of)
    edges, touched = Counter(), Counter()
    for path in set(modules.values()):
        parts = {part_of[other] for other in imported(surveyed.source(path), path, modules)}
        edges.update((part_of[path], part) for part in parts - {part_of[path]})
        if re.search(r"(^|/)(tests?/.*|test_[^/]*|[^/]*_test)\.py$", path):
            touched.update(parts)
    assert {name: row[6] for name, row in surveyed.rows.items()} == {name: touched[name] for name in members}
    assert sum(touched.values()) > 0
    shown = {(row[1], row[3]): int(row[4]) for row in surveyed.table("Imports between parts")}
    assert shown == edges


def test_the_totals_are_the_sums_of_the_parts(surveyed):
    sums = [sum(column) for column in zip(*surveyed.rows.values(), strict=True)]
    assert f"\n- Lines: {sums[1]}; bytes: {sums[2]}\n" in surveyed.page
    assert re.search(rf"\n- Python functions: {sums[3]}; classes: \d+; public names: {sums[4]}\n", surveyed.page)
    assert f"\n- TODO and FIXME: {sums[5]}\n" in surveyed.page
    suffixes = [(int(files), int(lines)) for _, files, lines in surveyed.table("Kinds of files")]
    assert [sum(column) for column in zip(*suffixes, strict=True)] == sums[:2]
