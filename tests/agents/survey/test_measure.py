"""What the measuring program counts, and that no name and no content leads it astray."""

import json
import os
import subprocess
import sys
import warnings

import pytest
from markdown_it import MarkdownIt

from prong.agents.emulator.survey import measure
from prong.agents.emulator.survey.markdown import code, table

MARKED = "def f():\n    pass  # TODO\n"
ODD = {
    "a b.py": MARKED,
    "quote\"s'.py": MARKED,
    "new\nline.py": MARKED,
    "tab\t.py": MARKED,
    "pipe|and`tick``s`.py": MARKED,
    "-n.py": MARKED,
    ":(top,literal)x.py": MARKED,
    "*.py": MARKED,
    "[a]{b}$HOME;&.py": MARKED,
    "back\\slash.py": MARKED,
    "übung/日本 語.py": MARKED,
    "right\u202eleft.py": MARKED,
    b"\xff\xfe bytes.py": MARKED,
    b"\xe4/\xf6.py": MARKED,
    "<b>html</b>.py": MARKED,
    " led and followed by spaces .py ": "x\n",
    "SURVEY.md": "TODO\n",
    "docs/SURVEY.md": "TODO\n",
}


def run(directory, *arguments, **environment):
    command = [sys.executable, "-I", measure.__file__, *map(str, arguments)]
    ran = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert not ran.returncode, ran.stderr
    assert len(ran.stdout) < 25_000 or arguments == ("list",)
    assert ran.stdout.isascii()
    assert ran.stdout.count("\n") == 1
    return json.loads(ran.stdout)


def measured(directory, **environment):
    """All of a repository as one part."""
    listing = run(directory, "list")
    return run(directory, "part", 1, f"0,{len(listing['entries'])}", listing["checksum"], **environment)


@pytest.fixture
def found_in(tmp_path, monkeypatch):
    """Measure these files in this process."""

    def measured_here(files):
        monkeypatch.chdir(tmp_path)
        findings = measure.Findings([(path, "100644") for path in files], [0, len(files)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as `main` does
            for path, content in files.items():
                (tmp_path / path).write_bytes(content)
                findings.add(path, "100644")
        return findings.report(10)

    return measured_here


def cells(page):
    """The cells of every table as a reader of Markdown sees them, by row."""
    rows, inside = [], False
    for token in MarkdownIt().enable("table").parse(page):
        if token.type in {"tr_open", "tr_close"}:
            inside = token.type == "tr_open"
            rows += [[]] * inside
        elif token.type == "inline" and inside:
            rows[-1] = rows[-1] + ["".join(child.content for child in token.children)]
    return rows


def test_names_of_every_kind_are_surveyed_and_leave_the_page_whole(make_repository, make_swarm):
    swarm = make_swarm(make_repository(ODD, name="odd `name` | übung"))
    root = swarm.run()
    assert {agent.state for agent in swarm.agents.values()} == {"done"}
    page = (root.clone / "SURVEY.md").read_text("utf-8")
    assert "SURVEY.md tells of 4 of 4 parts: 17 files, 32 lines." in root.result
    assert "Python functions: 15;" in page
    rows = cells(page)
    parts = [row[1] for row in rows if len(row) == 9][1:]
    assert len(set(parts)) == 4
    where = {row[2] for row in rows if len(row) == 3}
    assert {"new\\nline.py:1", "\\xff\\xfe bytes.py:1", "[a]{b}$HOME;&.py:1", "*.py:1", "a b.py:1"} <= where
    assert any(part.endswith("pipe|and`tick``s`.py") for part in parts)
    assert page.startswith("# Survey of ``odd `name` | übung``\n")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_bytes_that_are_no_text_are_measured_under_any_locale(make_repository, locale):
    found = measured(make_repository(ODD), LC_ALL=locale, LANG=locale)
    assert (found["files"], found["lines"], found["functions"], found["marks"]) == (17, 32, 15, 16)


@pytest.mark.parametrize(
    ("content", "lines", "binary", "marks"),
    [
        (b"", 0, 0, 0),
        (b"\n", 1, 0, 0),
        (b"x", 1, 0, 0),
        (b"x\r\ny\rz", 2, 0, 0),
        (b"\x0b\x0c\xc2\x85\n", 1, 0, 0),
        (b"x" * 7999 + b"\0\nTODO\n", 0, 1, 0),
        (b"x" * 8000 + b"\0\nTODO\n", 2, 0, 1),
        ("TODO\n".encode("utf-16"), 0, 1, 0),
        (b"TODO FIXME TODOS todo XTODO TODO_ TODO2 (TODO)\n\xff", 2, 0, 3),
        ("éTODO TODOé\n".encode(), 1, 0, 2),
    ],
)
def test_lines_binary_files_and_marks_are_told_apart_by_bytes(found_in, content, lines, binary, marks):
    found = found_in({"file": content})
    assert (found["files"], found["bytes"]) == (1, len(content))
    assert (found["lines"], found["binary"], found["marks"]) == (lines, binary, marks)


@pytest.mark.parametrize(
    ("source", "functions", "classes", "public"),
    [
        (b"def f(): pass\nclass C:\n    def g(self):\n        async def h(): ...\n", 3, 1, 2),
        (b"a = b = 1\n(c, [d, *e]), o.x = f()\ng: int\nh[0] = 1\n_i = 2\na = 3\n__all__ = []\n", 0, 0, 6),
        (b"import os\nif x:\n    a = 1\n    def b(): ...\nfor c in d: pass\ne += 1\n", 1, 0, 0),
        (b"\xef\xbb\xbfx = 1\n", 0, 0, 1),
        ("# coding: latin-1\nü = 'ä'\n".encode("latin-1"), 0, 0, 1),
        (b"x = '\\d'\nassert (x, 'always')\n", 0, 0, 1),
        (b"f = lambda: 0\ng = [h for h in f]\n", 0, 0, 2),
    ],
)
def test_functions_classes_and_public_names_are_counted_as_defined(found_in, source, functions, classes, public):
    found = found_in({"m.py": source})
    assert found["unparsed"] == [0, []]
    assert (found["functions"], found["classes"], found["public"]) == (functions, classes, public)


def test_the_length_of_a_function_leaves_out_its_decorators(found_in):
    source = b"@a\n@b(\n)\ndef f():\n    x = '''\n\n'''\n\n    # after\n\ny = 1\n"
    assert found_in({"m.py": source})["longest"] == [[4, "m.py", 4, "f"]]


@pytest.mark.parametrize(
    "source", [b"def (\n", b"x = 1\n  y\n", b"\xff = 1\n", b"(" * 5000 + b")" * 5000, b"-" * 50000 + b"1"]
)
def test_a_file_that_does_not_parse_is_listed_and_the_rest_counts(found_in, source):
    found = found_in({"bad.py": source, "good.py": b"x = 1\n"})
    assert (found["modules"], found["public"]) == (2, 1)
    assert (found["unparsed"][0], found["unparsed"][1][0][0]) == (1, "bad.py")


def test_links_submodules_and_files_that_are_gone_are_counted_apart(make_repository, git):
    directory = make_repository({"real.txt": "x\n", "gone.txt": "y\n"})
    (directory / "link.txt").symlink_to("real.txt")
    git(directory, "add", "link.txt")
    git(directory, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    (directory / "gone.txt").unlink()
    found = measured(directory)
    assert (found["files"], found["symlinks"], found["submodules"], found["lines"]) == (2, 1, 1, 1)
    assert found["unreadable"] == [1, ["gone.txt"]]


IMPORTING = {
    "src/pkg/__init__.py": "",
    "src/pkg/a.py": "from . import b\nfrom .sub import c\nfrom .sub.c import name\nfrom .. import outside\n",
    "src/pkg/b.py": "import json, pkg.a\n",
    "src/pkg/json.py": "",
    "src/pkg/sub/__init__.py": "",
    "src/pkg/sub/c.py": "from ..a import *\nfrom ...... import far\n",
    "tools/run.py": "import helper\nimport pkg.sub.missing\n",
    "tools/helper.py": "",
    "other/x.py": "import helper\nimport tools.helper as h\n",
    "space/y.py": "from space import z\nimport space.z\n",
    "space/z.py": "",
}


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("src/pkg/a.py", {"src/pkg/b.py", "src/pkg/sub/c.py"}),
        ("src/pkg/b.py", {"src/pkg/a.py"}),
        ("src/pkg/sub/c.py", {"src/pkg/a.py"}),
        ("tools/run.py", {"tools/helper.py", "src/pkg/sub/__init__.py"}),
        ("other/x.py", {"tools/helper.py"}),
        ("space/y.py", {"space/z.py"}),
    ],
)
def test_an_import_means_the_file_that_python_would_find(path, meant):
    modules = measure.Modules(set(IMPORTING), {})
    assert set(modules.meant(measure.ast.parse(IMPORTING[path]), path)) == meant


LINKS = {
    ".src/kit/pkg": "../../pkg",
    "again": ".src/kit",
    "chain": "./again/../kit",
    "pkg/up": "..",
    "tools/self": "self",
    "tools/there": "back",
    "tools/back": "./there",
    "tools/out": "../../outside",
    "tools/absolute": "/usr/lib",
    "tools/gone": "nowhere",
    "tools/file": "run.py",
}


def test_a_link_to_a_folder_is_followed_and_one_that_goes_nowhere_or_in_circles_is_not(make_repository, monkeypatch):
    directory = make_repository({"pkg/a.py": "", "tools/run.py": ""})
    for link, target in LINKS.items():
        (directory / link).parent.mkdir(parents=True, exist_ok=True)
        (directory / link).symlink_to(target)
    monkeypatch.chdir(directory)
    entries = [("pkg/a.py", "100644"), ("tools/run.py", "100644"), *((link, "120000") for link in LINKS)]
    links = measure.links_to_folders(entries)
    assert links == {".src/kit/pkg": "pkg", "again": ".src/kit", "chain": ".src/kit"}
    modules = measure.Modules({"pkg/a.py", "tools/run.py"}, links)
    tree = measure.ast.parse("import kit.pkg.a, tools.gone.run")
    assert list(modules.meant(tree, "tools/run.py")) == ["pkg/a.py"]
    for name in ("again.pkg.a", "chain.pkg.a"):
        assert list(modules.meant(measure.ast.parse(f"import {name}"), "tools/run.py")) == ["pkg/a.py"]
    assert not list(modules.meant(measure.ast.parse("import tools.file.run, pkg.up.pkg.a"), "tools/run.py"))


def test_no_more_links_are_followed_than_the_limit_says(make_repository, monkeypatch):
    directory = make_repository({"pkg/a.py": ""})
    names = [f"link{i}" for i in range(measure.MOST_LINKS + 5)]
    for name in names:
        (directory / name).symlink_to("pkg")
    monkeypatch.chdir(directory)
    links = measure.links_to_folders([("pkg/a.py", "100644"), *((name, "120000") for name in names)])
    assert list(links) == names[: measure.MOST_LINKS]


def test_the_program_refuses_a_division_of_other_files(make_repository):
    directory = make_repository({"a": "x"})
    command = [sys.executable, "-I", measure.__file__, "part", "1", "0,1", "7"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "look at the repository again" in ran.stderr


def test_what_is_printed_stays_bounded_while_the_totals_stay_right(make_repository):
    """Twenty thousand entries, of which a few hundred are on the disk, with names as long as names can be."""
    long = {
        f"{'日' * 75}{i:03}/{'本' * 70}.py": f"def {'f' * 300}():\n    TODO\nclass\n"[: None if i % 2 else -6]
        for i in range(300)
    }
    directory = make_repository(long)
    lines = "".join(f"100644 {'1' * 40}\t{'x' * 200}{i:05}.{i % 5000}\n" for i in range(20_000))
    subprocess.run(["git", "update-index", "--index-info"], cwd=directory, input=lines.encode(), check=True)
    found = measured(directory)
    assert (found["files"], found["modules"], found["marks"]) == (20_300, 300, 300)
    assert (found["functions"], found["unparsed"][0], found["unreadable"][0]) == (150, 150, 20_000)
    assert len(found["longest"]) < 10


def test_the_index_gets_one_numbered_line_a_part_however_often_it_is_asked(tmp_path):
    for name, text in [("b/", "1 file"), ("a: b/", "2 files"), ("b/", "1 file"), ("a", "x"), ("a: b/", "2 files")]:
        run(tmp_path, "index", name, text, PRONG_SHARED=str(tmp_path))
    assert (tmp_path / "index.md").read_text() == "1. b/: 1 file\n2. a: b/: 2 files\n3. a: x\n"
    assert [path.name for path in tmp_path.iterdir()] == ["index.md"]


@pytest.mark.parametrize(
    "text", ["a", "`", "``a`", " a ", "a|b", "|", "\\", "\\|", "a` `b", "<b>", "[x](y)", "*x*", "&amp;"]
)
def test_a_name_in_a_table_reads_as_it_is(text):
    (head, row) = cells("\n".join(table(["Name", "Next"], [[code(text), 7]])))
    assert head == ["Name", "Next"]
    assert row == [text, "7"]
