"""Each example of docs/patterns.md is the file that it shows, and prints what the page shows."""

import subprocess
import sys

import pytest
from tests.checkout import ROOT
from tests.documents import RUN, blocks, examples, looks_like
from tests.test_readme import new_copy

PAGE = [
    examples(block)
    for block in blocks("docs/patterns.md", (ROOT / "docs/patterns.md").read_text("utf-8"))
    if block.content.startswith("$ cat examples/")
]


def test_every_example_is_shown():
    assert len(PAGE) == 8
    for shown, run in PAGE:
        name = shown.commands[0].removeprefix("cat ")
        assert run.commands == [f"python {name}"]
        assert shown.output == (ROOT / name).read_text("utf-8")


def test_every_file_of_examples_is_run_by_a_page():
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    commands = [
        command
        for page in pages
        for block in blocks(page.name, page.read_text("utf-8"))
        if block.language in RUN
        for example in examples(block)
        for command in example.commands
    ]
    played = [(ROOT / run.commands[0].removeprefix("python ")).read_text("utf-8") for _, run in PAGE]
    for file in sorted((ROOT / "examples").iterdir()):
        assert any(f"examples/{file.name}" in text for text in [*commands, *played]), file.name


@pytest.mark.long
@pytest.mark.parametrize("run", [run for _, run in PAGE], ids=lambda run: run.commands[0])
def test_an_example_prints_what_is_shown(run, tmp_path):
    program = run.commands[0].removeprefix("python ")
    done = subprocess.run(
        [sys.executable, program], cwd=new_copy(tmp_path), capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert looks_like(run.output, done.stdout), done.stdout
