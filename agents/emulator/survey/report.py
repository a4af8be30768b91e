"""SURVEY.md: what was found, as a page that a maintainer may keep.

It holds no time and no task number: the same repository gives the same page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.emulator.survey.markdown import code, section, table
from prong.agents.emulator.survey.plan import Part, Plan, Uses

ROWS = 10
"""Rows of a ranking."""
SUFFIX_ROWS = 15

METHOD = """\
- Only what git tracks counts, as of the commit that the swarm started from, without `SURVEY.md` at the top: changes
  that were not committed do not count. Symbolic links and submodules are counted apart, and what they lead to is not
  counted again.
- A *part* is a run of these files in tree order (a folder's own files by name, then its folders by name): `a/` is
  all of a folder, `a/*` its own files, `a … b` all from the first to the last. There is one for each
  top-level folder of some weight where that makes neither too few nor too many; light neighbours are joined, and heavy
  folders split where more parts are wanted.
- *Bytes* are the sizes of the files. A file is *binary* if there is a NUL among its first 8000 bytes; it counts as
  a file and with its bytes, and nothing else in it is counted. All others are text.
- *Lines* of a text file: its newline characters (byte 10), plus one if it is not empty and does not end in one.
- *TODO/FIXME*: matches of `\\b(TODO|FIXME)\\b` in text files, with ASCII letters, digits and `_` as word
  characters.
- *Python* means text files named `*.py`. No figures but files, lines, bytes and TODO/FIXME are made for other
  languages.
- *Functions* are all `def` and `async def`, at any depth, methods included; *classes* all `class`. A function is as
  long as from the line of its `def`, without decorators, to its last line, both counted.
- *Public names*: different names in a module that do not begin with `_` and that a `def`, a `class` or an
  assignment directly in the module's body binds (not in an `if` or `try`, and no imports), added up over modules.
- A *test file* is a Python file named `test_*.py` or `*_test.py`, or below a folder named `test` or `tests`. It
  *touches* a part if it imports a module of it, directly: what that module imports in turn, or passes on, does not
  count.
- *Imports* are the `import` statements anywhere in a file; one file counts once for a part. A relative import is
  looked up from the file's folder; any other below each folder above the file that is no package, nearest first
  (the top of the repository always), then below any folder named `src` or `lib` and any that holds a top-level
  package, shallowest first. `from a import b` looks for `a/b` first. Of a dotted name, the longest beginning for
  which there is a file counts. A symbolic link to a folder of the repository gives the files below that folder a
  second name, which is looked up below each folder above the link too; a link that leaves the repository, or leads to
  itself or to a folder above it, is ignored, and so is any after the first 1000. What is not found is taken for a
  library.
- A *suffix* is what follows the last dot of a name, in lower case. In each part the 40 most frequent are told apart;
  of these, the 15 with the most lines in all parts have a row, and *other* is all the rest.
- Files that Python cannot parse count as modules, but without functions, names and imports."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All findings: `findings` by name of the part as `measure.py` printed them, without those of missing parts."""

    plan: Plan
    findings: Mapping[str, Mapping[str, Any]]
    uses: Mapping[str, Uses]

    @property
    def missing(self) -> Sequence[Part]:
        """The parts that were not measured."""
        return [part for part in self.plan.parts if part.name not in self.findings]

    @property
    def measured(self) -> Sequence[Part]:
        """The parts that were."""
        return [part for part in self.plan.parts if part.name in self.findings]

    def total(self, what: str) -> int:
        """A figure over all measured parts."""
        return sum(found[what] for found in self.findings.values())

    def text(self) -> str:
        """The page."""
        lines = [
            *self._opening(),
            *section("Parts", *self._parts()),
            *section("Kinds of files", *self._suffixes()),
            *section("Longest functions", *self._longest()),
            *section("TODO and FIXME", *self._marks()),
            *section("Imports between parts", *self._imports()),
            *section("Parts that no test touches", *self._untested()),
            *section("Python files that do not parse", *self._unparsed()),
            *self._unreadable(),
            *section("How it was measured", METHOD),
        ]
        return "\n".join(lines) + "\n"

    def _opening(self) -> list[str]:
        total = self.total
        lines = [
            f"# Survey of {code(self.plan.repository)}",
            "",
            "Made by the fixed rules of the script *survey* of Prong, and by no model: it counts, and judges nothing.",
            "Each part was measured by an agent of its own. What the figures mean stands at the end.",
            "",
            f"- Files: {total('files')}, of them binary: {total('binary')}",
            f"- Symbolic links: {total('symlinks')}; submodules: {total('submodules')}",
            f"- Lines: {total('lines')}; bytes: {total('bytes')}",
            f"- Python modules: {total('modules')}, of them test files: {total('tests')}",
            f"- Python functions: {total('functions')}; classes: {total('classes')}; public names: {total('public')}",
            f"- TODO and FIXME: {total('marks')}",
        ]
        if self.plan.readme:
            lines.append(f"- Readme: {code(self.plan.readme)}")
        lines += [
            f"- **Not measured, and in no total: part {part.number}, {code(part.name)}**" for part in self.missing
        ]
        return lines

    def _parts(self) -> list[str]:
        heads = ["#", "Part", "Files", "Lines", "Bytes", "Python functions", "Public names (Python)", "TODO/FIXME"]
        rows: list[list[str | int]] = []
        for part in self.plan.parts:
            found = self.findings.get(part.name)
            figures = ("files", "lines", "bytes", "functions", "public", "marks")
            row: list[str | int] = [part.files, "not measured", part.size_bytes, *["not measured"] * 3]
            if found:
                row = [found[figure] for figure in figures]
            rows.append([part.number, code(part.name), *row, self.uses[part.name].tests])
        return table([*heads, "Test files that touch it"], rows)

    def _suffixes(self) -> list[str]:
        files: Counter[str] = Counter()
        lines: Counter[str] = Counter()
        for found in self.findings.values():
            for suffix, (file_count, line_count) in found["suffixes"].items():
                files[suffix] += file_count
                lines[suffix] += line_count
        ranking = sorted(files.keys() - {"other"}, key=lambda suffix: (-lines[suffix], -files[suffix], suffix))
        rows: list[list[str | int]] = [
            [code(suffix) or "none", files[suffix], lines[suffix]] for suffix in ranking[:SUFFIX_ROWS]
        ]
        rest = [*ranking[SUFFIX_ROWS:], *files.keys() & {"other"}]
        if rest:
            rows.append(["*other*", sum(files[suffix] for suffix in rest), sum(lines[s] for s in rest)])
        return table(["Suffix", "Files", "Lines"], rows)

    def _longest(self) -> list[str]:
        rows = [row for found in self.findings.values() for row in found["longest"]]
        rows.sort(key=lambda row: (-row[0], row[1:]))
        if not rows:
            return ["There are no Python functions."]
        heads = ["Lines", "Function", "Where"]
        return table(heads, [[lines, code(name), code(f"{path}:{line}")] for lines, path, line, name in rows[:ROWS]])

    def _marks(self) -> list[str]:
        rows = [row for found in self.findings.values() for row in found["hot"]]
        rows.sort(key=lambda row: (-row[0], row[1]))
        if not rows:
            return ["There are none."]
        return table(["TODO/FIXME", "File"], [[marks, code(path)] for marks, path in rows[:ROWS]])

    def _imports(self) -> list[str]:
        numbers = {part.name: part.number for part in self.plan.parts}
        rows: list[list[str | int]] = [
            [numbers[importer], code(importer), part.number, code(part.name), files]
            for part in self.plan.parts
            for importer, files in self.uses[part.name].imported_by.items()
            if importer in numbers
        ]
        if not rows:
            return ["No part imports from another."]
        return table(
            ["#", "Part", "#", "imports from", "in so many files"], sorted(rows, key=lambda row: (row[0], row[2]))
        )

    def _untested(self) -> list[str]:
        if not self.total("tests"):
            return ["There are no Python test files."]
        alone = [
            f"- {part.number}, {code(part.name)}"
            for part in self.measured
            if self.findings[part.name]["modules"] > self.findings[part.name]["tests"]
            and not self.uses[part.name].tests
        ]
        return alone or ["There are none."]

    def _unparsed(self) -> list[str]:
        rows = [row for found in self.findings.values() for row in found["unparsed"][1]]
        return listed([f"{code(path)}: {reason}" for path, reason in rows], self._counted("unparsed"))

    def _unreadable(self) -> list[str]:
        rows = [path for found in self.findings.values() for path in found["unreadable"][1]]
        return (
            section("Files that could not be read", *listed(list(map(code, rows)), self._counted("unreadable")))
            if rows
            else []
        )

    def _counted(self, what: str) -> int:
        return sum(found[what][0] for found in self.findings.values())


def listed(rows: Sequence[str], count: int) -> list[str]:
    """A list that says how many are left out."""
    more = [f"- and {count - len(rows)} more"] if count > len(rows) else []
    return [*(f"- {row}" for row in rows), *more] or ["There are none."]
