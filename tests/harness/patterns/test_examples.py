"""Each example of docs/patterns.md is the file that it shows, and prints what the page shows."""

import subprocess
import sys

import pytest
from tests.checkout import ROOT
from tests.documents import blocks, examples, looks_like
from tests.test_readme import new_copy

PAGE = [
    examples(block)
    for block in blocks("docs/patterns.md", (ROOT / "docs/patterns.md").read_text("utf-8"))
    if block.content.startswith("$ cat examples/")
]


def test_every_example_is_shown():
    assert len(PAGE) == 4
    for shown, run in PAGE:
        name = shown.commands[0].removeprefix("cat ")
        assert run.commands == [f"python {name}"]
        assert shown.output == (ROOT / name).read_text("utf-8")


@pytest.mark.long
@pytest.mark.parametrize("run", [run for _, run in PAGE], ids=lambda run: run.commands[0])
def test_an_example_prints_what_is_shown(run, tmp_path):
    program = run.commands[0].removeprefix("python ")
    done = subprocess.run(
        [sys.executable, program], cwd=new_copy(tmp_path), capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert looks_like(run.output, done.stdout), done.stdout
