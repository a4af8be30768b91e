"""Reads the blocks of code out of a page, and says whether what a program printed looks like what the page shows.

    ```bash      commands, one a line (or over several: \\ at the end, a loop, a here-document); each must succeed
    ```console   the same after `$ ` (and `> ` where a command goes on), with what each prints below it
    ```python    a program
    ```output    what the block above prints, on both streams

A block is left out by a comment right above it that gives the reason:   <!-- not run: needs a key -->

"Looks like": a number stands for any number, a hexadecimal id for any, blanks for any blanks; `…` stands for anything
in its line, and a line of nothing but `…` for any lines.  What a Python program prints is shown exactly, but for `…`.
"""

import re
import subprocess
from dataclasses import dataclass, field

from markdown_it import MarkdownIt

RUN = ("bash", "console", "python")
SHOWN = ("output", "text", "json", "toml", "yaml", "sql", "mermaid", "diff")
LEFT_OUT = re.compile(r"<!--\s*not run:\s*(\S.*?)\s*-->", re.DOTALL)
NUMBER = r"\d+(?:[.,:]\d+)*"
# In what a page shows: anything, blanks, a number, an id, a number with its unit.
LOOSE = re.compile(rf"(…)|([ \t]+)|({NUMBER})(?![0-9a-z])|\b((?=[a-f]*\d)[0-9a-f]{{4,}})\b|({NUMBER})")
LOOKS_LIKE = (".*", r"[ \t]+", NUMBER, "[0-9a-f]+", NUMBER)


@dataclass
class Block:
    """A block of code; `where` is its page and line, `left_out` the reason not to run it."""

    where: str
    language: str
    content: str
    left_out: str | None = None
    output: str | None = None


@dataclass
class Example:
    """What is typed, and what it should print, if the page says: so or, unless `exactly`, with other figures."""

    where: str
    commands: list[str] = field(default_factory=list)
    output: str | None = None
    exactly: bool = False


def blocks(name, text):
    """The blocks of a page; an `output` block belongs to the one above it."""
    found, reason = [], None
    for token in MarkdownIt().parse(text):
        if token.type == "fence":
            language = (token.info.split() or [""])[0]
            if language == "output" and found:
                found[-1].output = token.content
            else:
                found.append(Block(f"{name}:{token.map[0] + 1}", language, token.content, reason))
        elif token.type == "code_block":
            found.append(Block(f"{name}:{token.map[0] + 1}", "indented", token.content))
        comment = LEFT_OUT.search(token.content) if token.type == "html_block" else None
        reason = " ".join(comment[1].split()) if comment else None
    return found


def links(text):
    """What a page links to and shows as pictures."""
    return [target for part in _inline(text) if (target := part.attrGet("href") or part.attrGet("src"))]


def mentions(text, program):
    """The words after the program's name wherever a page names a command of it in the middle of a sentence or table."""
    code = [part.content.split() for part in _inline(text) if part.type == "code_inline"]
    return [words[1:] for words in code if words[:1] == [program] and len(words) > 1]


def examples(block):
    """A block as one or, for a console, several examples."""
    if block.language == "console":
        return list(_console(block))
    if block.language == "python":
        program = (
            f"cat >$TMPDIR/program.py <<'END_OF_PROGRAM'\n{block.content}END_OF_PROGRAM\npython $TMPDIR/program.py"
        )
        return [Example(block.where, [program], block.output, exactly=True)]
    return [Example(block.where, list(_commands(block.content.splitlines())), block.output)]


def looks_like(shown, printed, *, exactly=False):
    """Whether what was printed looks like what is shown."""
    pattern = "".join(_line(line, exactly=exactly) for line in shown.strip("\n").splitlines())
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _inline(text):
    return [part for token in MarkdownIt().enable("table").parse(text) for part in token.children or ()]


def _console(block):
    example = None
    for line in block.content.splitlines():
        if line.startswith("$ "):
            if example:
                yield example
            example = Example(block.where, [line[2:]])
        elif example is None:
            raise ValueError(f"{block.where}: a console block begins with '$ ' and a command, not with {line!r}")
        elif line.startswith("> ") and example.output is None:
            example.commands[-1] += f"\n{line[2:]}"
        else:
            example.output = f"{example.output or ''}{line}\n"
    if example:
        yield example


def _commands(lines):
    """A command ends with the first line after which the shell would not ask for more."""
    command = ""
    for line in lines:
        command += f"{line}\n"
        if line.endswith("\\"):
            continue
        check = subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False, timeout=10)
        if check.returncode == 0 and not check.stderr:
            if command.strip() and not command.lstrip().startswith("#"):
                yield command.rstrip("\n")
            command = ""
    if command.strip():
        raise ValueError(f"the shell waits for the end of: {command}")


def _line(line, *, exactly):
    if line.strip() == "…":
        return r"(?:.*\n)*"
    if exactly:
        return ".*".join(map(re.escape, line.rstrip().split("…"))) + "\n"
    pattern, end = "", 0
    for match in LOOSE.finditer(line.rstrip()):
        pattern += re.escape(line[end : match.start()])
        at_margin = match.lastindex == 2 and match.start() == 0  # which a right-aligned number may fill
        pattern += "[ \t]*" if at_margin else LOOKS_LIKE[match.lastindex - 1]
        end = match.end()
    return pattern + re.escape(line.rstrip()[end:]) + "\n"
