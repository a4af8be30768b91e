"""Every command in README.md and docs/ is typed here as a newcomer would type it.

A page is one sitting: one shell, in a new copy of this checkout, goes from the top of the page to its end.  The pages
of the primitives need no repository: they begin in an empty directory.  HOME holds a git identity and nothing else;
there is no key, and nothing but this machine can be reached.  How a page marks its blocks stands in documents.py.

Only .ci/run makes virtual environments and installs into them; what comes after that on the same line is typed here.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from prong.harness.cli.command import main

from . import checkout
from .documents import LEFT_OUT, RUN, SHOWN, blocks, examples, links, looks_like, mentions

ROOT = checkout.ROOT
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
BLOCKS = {name: blocks(name, text) for name, text in PAGES.items()}
SETS_UP = re.compile(r"python3 -m venv \.venv && \.venv/bin/pip install (?:-q )?-e (\.|'\.\[dev\]')(?: && |$)")
INSTALLS = re.compile(r"\b(?:-m venv|-m pip|pip install|pipx|uv |uvx|apt-get|apt)\b")
TESTS = re.compile(r"\.venv/bin/pytest\b")
PAGE_LIMIT_S = 240
OF_PRIMITIVES = "docs/primitives/"


def commands():
    for name, found in BLOCKS.items():
        for block in found:
            if block.language in RUN and not block.left_out:
                for example in examples(block):
                    yield from ((name, command) for command in example.commands)


def typed(command):
    """The command without its setting up, or nothing where the tests would start themselves."""
    rest = SETS_UP.sub("", command)
    return "" if TESTS.match(rest) else rest


def new_copy(tmp_path):
    """A newcomer's clone, with what the tests themselves run on for its virtual environment."""
    tree = checkout.copy(tmp_path / "prong")
    (tree / ".git/info").mkdir(exist_ok=True)
    (tree / ".git/info/exclude").write_text(".venv\n")
    (tree / ".venv").symlink_to(sys.prefix)
    return tree


def empty_directory(tmp_path):
    """Where a program begins that needs no repository."""
    directory = tmp_path / "empty"
    directory.mkdir()
    return directory


def sitting(page, tmp_path, begin=new_copy):
    """Type a page where it begins; return each example that shows something, with what was printed."""
    tree = begin(tmp_path)
    home, papers = tmp_path / "home", tmp_path / "papers"
    home.mkdir()
    papers.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    done = [example for block in page if block.language in RUN and not block.left_out for example in examples(block)]
    (papers / "script").write_text("".join(paragraph(example, papers / str(n)) for n, example in enumerate(done)))
    status = type_in(papers / "script", tree, home)
    failed = papers / "failed"
    assert not failed.exists(), failed.read_text()
    assert status == 0, f"the shell ended with {status}"
    return [(one, (papers / str(n)).read_text()) for n, one in enumerate(done) if one.output]


def paragraph(example, paper):
    """Bash that types an example onto a paper, and stops the sitting where a command fails."""
    text = f": >{shlex.quote(str(paper))}\n"
    for command in filter(None, map(typed, example.commands)):
        complaint = shlex.quote(f"{example.where}: {command}\n")
        text += (
            f"{{\n{command}\n}} >>{shlex.quote(str(paper))} 2>&1 </dev/null || {{ status=$?\n"
            f"{{ printf %s {complaint}; echo ended with $status:; cat {shlex.quote(str(paper))}; }}"
            f" >{shlex.quote(str(paper.with_name('failed')))}\nexit; }}\n"
        )
    return text


def type_in(script, tree, home):
    """Run the sitting's shell and end whatever it leaves behind; return its exit code."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(script.parent),
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "no_proxy": "localhost,127.0.0.1",
    }
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--norc", script], cwd=tree, env=environment, start_new_session=True
    )
    try:
        return shell.wait(PAGE_LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):  # then nothing was left
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def test_readme_sets_up_a_survey_and_the_tests_with_one_line_each():
    lines = [command for name, command in commands() if name == "README.md" and SETS_UP.match(command)]
    survey, tests = lines
    assert SETS_UP.sub("", survey).startswith(".venv/bin/prong run --offline ")
    assert SETS_UP.match(tests)[1] == "'.[dev]'"
    assert TESTS.match(SETS_UP.sub("", tests))


def test_continuous_integration_types_the_same_two_lines():
    shown = checkout.run(".ci/run", "--show", cwd=ROOT).splitlines()
    assert shown == [command for name, command in commands() if name == "README.md" and SETS_UP.match(command)]


def test_no_page_installs_anything_in_another_way():
    shown = checkout.run(".ci/run", "--show", cwd=ROOT).splitlines()
    other = [f"{name}: {command}" for name, command in commands() if INSTALLS.search(command) and command not in shown]
    assert other == []


LONG = {
    f"docs/{name}.md"
    for name in (
        "economics",
        "ending",
        "repository",
        "roles",
        "sandbox",
        "steering",
        "emulator",
        "programs",
        "patterns",
        "permissions",
        "inspector",
        "mcp",
        "models",
        "plans",
    )
}
"""Pages of which each runs several swarms."""


@pytest.mark.timeout(PAGE_LIMIT_S + 60)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in PAGES]
)
def test_every_command_of_a_page_does_what_the_page_shows(name, tmp_path):
    begin = empty_directory if name.startswith(OF_PRIMITIVES) else new_copy
    for one, printed in sitting(BLOCKS[name], tmp_path, begin):
        alike = looks_like(one.output, printed, exactly=one.exactly)
        assert alike, f"{one.where} prints\n\n{printed}\nwhich does not look like\n\n{one.output}"


def test_every_block_says_what_it_is():
    unclear = [
        f"{block.where} is {block.language or 'not labelled'}; label it as one of {', '.join(RUN + SHOWN)}"
        for found in BLOCKS.values()
        for block in found
        if block.language not in RUN + SHOWN
        or (block.language == "text" and re.search(r"^\$ ", block.content, re.MULTILINE))
    ]
    assert unclear == []


def test_every_block_that_is_left_out_is_one_that_would_run():
    left_out = [block for found in BLOCKS.values() for block in found if block.left_out]
    assert sum(len(LEFT_OUT.findall(text)) for text in PAGES.values()) == len(left_out)
    assert [block.where for block in left_out if block.language not in RUN] == []
    if left_out:
        reasons = "; ".join(f"{block.where}: {block.left_out}" for block in left_out)
        pytest.skip(f"{len(left_out)} left out: {reasons}")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_to_a_file_leads_somewhere(name):
    files = [target.partition("#")[0] for target in links(PAGES[name]) if ":" not in target]
    assert [file for file in files if not (ROOT / name).parent.joinpath(unquote(file)).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_a_sentence_names_exists_and_has_the_options_named(name):
    unknown = []
    for first, *rest in mentions(PAGES[name], "prong"):
        command = main if first.startswith("-") else main.commands.get(first)
        options = [word.split("=")[0] for word in (first, *rest) if word.startswith("-")]
        known = {"-h", "--help"}.union(*(param.opts for param in command.params)) if command else set()
        if command is None or not known.issuperset(options):
            unknown.append(f"prong {first} {' '.join(options)}")
    assert unknown == []


# How pages are read.

PAGE = """
# A page

```console
$ echo one \\
> two
one two
$ true
```

<!-- not run: needs
     a key -->
```bash
exit 9
```

- a list

  ```bash
  for n in 1 2; do
    echo $n
  done
  # a remark
  cat <<END
  here
  END
  cd /
  ```

  ```output
  1
  …
  ```

```python
print("hello")
```

```text
no command
```
"""


def test_a_page_is_read_block_by_block():
    page = [block for block in blocks("page", PAGE) if block.language in RUN]
    assert [block.left_out for block in page] == [None, "needs a key", None, None]
    console, _, bash, python = map(examples, page)
    assert [(example.commands, example.output) for example in console] == [
        (["echo one \\\ntwo"], "one two\n"),
        (["true"], None),
    ]
    assert bash[0].commands == ["for n in 1 2; do\n  echo $n\ndone", "cat <<END\nhere\nEND", "cd /"]
    assert bash[0].output == "1\n…\n"
    assert python[0].commands[0].splitlines()[1:-2] == ['print("hello")']


def test_a_sitting_keeps_its_shell_and_what_was_printed(tmp_path):
    page = blocks("page", PAGE + "```console\n$ pwd\n/\n$ git config user.name; echo $HOME >&2\nAda\n…\n```\n")
    assert [(one.where, one.output, printed) for one, printed in sitting(page, tmp_path)] == [
        ("page:4", "one two\n", "one two\n"),
        ("page:19", "1\n…\n", "1\n2\nhere\n"),
        ("page:42", "/\n", "/\n"),
        ("page:42", "Ada\n…\n", f"Ada\n{tmp_path}/home\n"),
    ]


@pytest.mark.parametrize("line", ["false", "no-such-command", "true\nfalse && true\ntrue", "cat | false"])
def test_a_command_that_fails_is_told_with_its_place(line, tmp_path):
    with pytest.raises(AssertionError, match=r"page:1: (.|\n)*ended with \d+:"):
        sitting(blocks("page", f"```bash\n{line}\n```\n"), tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("3 files, 1,204 lines in 0.9 s", "12 files, 98 lines in 11 s"),
        ("13:04:04.687  task 1", "09:00:00.001 task 12"),
        ("branch prong/20261121-061304-48f6", "branch prong/20270101-000000-abcd"),
        ("commit 3c7a10b…", "commit 0000000000"),
        ("   9 a\n  10 b", "9 a\n 100 b"),
        ("took 12ms", "took 9ms"),
        ("first\n…\nlast", "first\nlast"),
        ("first\n…\nlast", "first\n\nand\nmore\nlast"),
        ("the … end", "the very end"),
        ("a\n", "a   \n\n"),
        ("…", ""),
    ],
)
def test_what_differs_only_in_figures_looks_alike(shown, printed):
    assert looks_like(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("3 files", "no files"),
        ("3 files", "3 folders"),
        ("3 files", "3 files\nand more"),
        ("a\nb", "a"),
        ("a (b)", "a b"),
        ("done", ""),
        ("the … end", "the very\nlast end"),
        ("beef", "face"),
    ],
)
def test_what_differs_in_words_does_not_look_alike(shown, printed):
    assert not looks_like(shown, printed)
