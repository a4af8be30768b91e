"""grep and glob: what they find, in which form, and what they say when they find nothing."""

import os
import shutil
import subprocess

import jsonschema
import pytest

from prong.agents.tools import DEFINITIONS, ToolCall, ToolError, workspace_tools
from prong.agents.tools.search import Search
from prong.agents.tools.search_definitions import GLOB, GREP, LINE_CHARACTERS, RESULT_CHARACTERS, RESULTS_DEFAULT


@pytest.fixture
def put(workspace):
    """Writes files: `put({"a.txt": "text"})`."""

    def put(files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            os.utime(path, (0, 0))

    return put


@pytest.fixture
def git(workspace):
    return lambda *arguments: subprocess.run(["git", *arguments], cwd=workspace, check=True)


@pytest.fixture
def grep(tools, call):
    return lambda pattern, **given: call(tools, "grep", pattern=pattern, **given)


@pytest.fixture
def glob(tools, call):
    return lambda pattern, **given: call(tools, "glob", pattern=pattern, **given)


class TestGrep:
    def test_matching_lines_come_with_file_and_number_and_the_total(self, grep, put, git):
        put({"a.py": "x = 1\ny = 2\nx = 3\n", "b/c.py": "x = 4"})
        git("add", "a.py")
        assert grep("x =") == "a.py:1:x = 1\na.py:3:x = 3\nb/c.py:1:x = 4\n[matching lines: 3]"

    def test_ignored_and_binary_files_are_not_searched(self, grep, put):
        put({".gitignore": "*.log", "a.log": "find me", "b.bin": b"find me\0", "c.txt": "find me"})
        assert grep("find me") == "c.txt:1:find me\n[matching lines: 1]"

    def test_no_match_is_no_error(self, grep):
        assert grep("nothing").startswith("No match.")

    def test_the_pattern_is_a_perl_compatible_expression(self, grep, put):
        put({"a.txt": "ab\naab\nabc d\nx12\n"})
        assert grep(r"^a+b$|c\s\w\b") == "a.txt:1:ab\na.txt:2:aab\na.txt:3:abc d\n[matching lines: 3]"
        assert grep(r"(?<=x)[\d.]+(?!\d)").startswith("a.txt:4:x12\n")

    def test_lines_around_a_match_are_shown_as_grep_shows_them(self, grep, put):
        put({"a": "".join(f"{n}:{n}\n" for n in range(1, 10)), "b": "2\n"})
        assert (
            grep("2|8", before=1, after=0) == "a-1-1:1\na:2:2:2\n--\na-7-7:7\na:8:8:8\n--\nb:1:2\n[matching lines: 3]"
        )
        assert grep("^5", context=1).splitlines()[:-1] == ["a-4-4:4", "a:5:5:5", "a-6-6:6"]
        assert "of which 1 are shown" in grep("2|8", context=1, max_results=1)

    def test_a_match_can_span_lines(self, grep, put, workspace):
        put({"a.py": "class A:\r\n    pass\r\nclass B:\n    x = 1\n", "b.bin": b"class A:\n    pass\0"})
        (workspace / "link.py").symlink_to("/etc/passwd")
        assert grep(r"class \w+:\s+pass", multiline=True) == "a.py:1:class A:\na.py:2:    pass\n[matching lines: 2]"
        assert grep("A:\n    p", multiline=True, fixed=True, mode="count").startswith("a.py:1\n")
        assert grep("CLASS.*X", multiline=True, ignore_case=True, mode="files", type="py").startswith("a.py\n[")
        assert grep("root:", multiline=True).startswith("No match")
        with pytest.raises(ToolError, match="unterminated character set"):
            grep("[a", multiline=True)

    def test_files_are_chosen_by_kind_or_left_out(self, grep, put):
        put({"a.py": "x", "s/b.ts": "x", "s/c.md": "x"})
        assert grep("x", mode="files", type="ts").splitlines()[:-1] == ["s/b.ts"]
        assert grep("x", mode="files", glob="!*.{py,md}").splitlines()[:-1] == ["s/b.ts"]
        assert grep("x", mode="files", path="s", glob="!*.ts").splitlines()[:-1] == ["s/c.md"]

    def test_a_pattern_that_would_take_for_ever_is_given_up(self, grep, put):
        put({"a": "a" * 60 + "b\n"})
        with pytest.raises(ToolError, match="match limit exceeded"):
            grep("(a|aa)+$")

    def test_a_git_without_perl_compatible_expressions_searches_with_posix_ones(self, put, environment, scratch):
        put({"a": "x1\n"})
        poor = scratch / "bin" / "git"
        poor.parent.mkdir(parents=True)
        real = shutil.which("git")
        poor.write_text(
            '#!/bin/sh\ncase " $* " in *" -P "*) echo "cannot use Perl-compatible regexes" >&2; exit 128;; esac\n'
            f'exec {real} "$@"\n'
        )
        poor.chmod(0o755)
        workspace = scratch.parent / "workspace"
        search = Search(workspace, environment={**environment, "PATH": f"{poor.parent}:{os.environ['PATH']}"})
        run = lambda pattern: search.grep(ToolCall("toolu_1", "grep", {"pattern": pattern}))  # noqa: E731  twice below
        assert run("x[0-9]").startswith("a:1:x1")
        for pattern in (r"\d+", r"a\\\d", r"[\w.]+", r"[^\]]", r"\Afoo", "(?:a)"):
            with pytest.raises(ToolError, match="knows only POSIX"):
                run(pattern)

    def test_plain_text_is_taken_as_it_is(self, grep, put):
        put({"a.txt": "f(x[\\d])\n"})
        assert grep(r"f(x[\d", fixed=True).startswith("a.txt:1:")
        put({"a.txt": "-e --help\n"})
        assert grep("-e --help", fixed=True).startswith("a.txt:1:")

    def test_case_can_be_ignored(self, grep, put):
        put({"a.txt": "Ärger\n"})
        assert grep("ÄRGER", ignore_case=True).startswith("a.txt:1:Ärger")
        assert grep("ÄRGER").startswith("No match")

    @pytest.mark.parametrize(
        ("glob", "found"),
        [
            ("*.py", ["a.py", "s/b.py", "s/t/c.py"]),
            ("s/*.py", ["s/b.py"]),
            ("s/**/*.py", ["s/b.py", "s/t/c.py"]),
            ("*.{py,js}", ["a.py", "s/b.py", "s/d.js", "s/t/c.py"]),
            ("{a,s/{b,t/c}}.py", ["a.py", "s/b.py", "s/t/c.py"]),
            ("./a.py", ["a.py"]),
        ],
    )
    def test_a_glob_chooses_files(self, grep, put, glob, found):
        put({"a.py": "x", "s/b.py": "x", "s/t/c.py": "x", "s/d.js": "x"})
        assert grep("x", glob=glob, mode="files").splitlines()[:-1] == found

    def test_path_and_glob_choose_together(self, grep, put):
        put({"a.py": "x", "s[1]/b.py": "x", "s[1]/b.js": "x", "s1/b.py": "x"})
        assert grep("x", path="s[1]", glob="*.py", mode="files").splitlines()[:-1] == ["s[1]/b.py"]
        assert grep("x", path="s[1]/b.js", mode="files").splitlines()[:-1] == ["s[1]/b.js"]

    def test_a_path_may_be_absolute(self, grep, put, workspace):
        put({"a/b.py": "x"})
        assert grep("x", path=f"{workspace}/a").startswith("a/b.py:1:x")
        assert grep("x", path=str(workspace)).startswith("a/b.py:1:x")

    def test_files_and_counts_have_their_totals(self, grep, put):
        put({"a": "x\nx\n", "b": "x\n", "c": "y\n"})
        assert grep("x", mode="files") == "a\nb\n[files with a match: 2]"
        assert grep("x", mode="count") == "a:2\nb:1\n[matching lines: 3; files with a match: 2]"
        assert grep("z", mode="count").startswith("No match")

    def test_results_are_bounded_and_the_true_total_is_told(self, grep, put):
        put({"a": "x\n" * 12_345})
        *shown, told = grep("x").splitlines()
        assert len(shown) == RESULTS_DEFAULT
        assert told == "[matching lines: 12,345, of which 200 are shown; narrow the search]"
        put({"a": "x\n" * 5})
        told = grep("x", max_results=3).splitlines()[3]
        assert told == "[matching lines: 5, of which 3 are shown; narrow it or raise max_results]"

    def test_the_answer_is_bounded_in_characters(self, grep, put):
        put({"a": ("x" * 300 + "\n") * 500})
        answer = grep("x", max_results=500)
        assert len(answer) <= RESULT_CHARACTERS + 100
        assert "[matching lines: 500, of which 9" in answer

    def test_long_lines_are_cut(self, grep, put):
        put({"a": "x" * 2_000_000})
        assert grep("x") == f"a:1:{'x' * LINE_CHARACTERS} [1,999,600 more characters]\n[matching lines: 1]"

    def test_names_with_spaces_newlines_and_other_letters_are_right(self, grep, put):
        put({"a b:1:c.txt": "x", "é/漢.txt": "x", "n\nl'.txt": "x"})
        assert grep("x").splitlines()[:-1] == ["a b:1:c.txt:1:x", r"$'n\nl\'.txt':1:x", "é/漢.txt:1:x"]
        assert grep("x", mode="count").splitlines()[:-1] == ["a b:1:c.txt:1", r"$'n\nl\'.txt':1", "é/漢.txt:1"]

    def test_lines_that_are_no_text_and_windows_lines_are_shown(self, grep, put):
        put({"a": b"x \xff\r\n"})
        assert grep("x") == "a:1:x \N{REPLACEMENT CHARACTER}\n[matching lines: 1]"

    def test_the_users_configuration_does_not_change_the_form(self, grep, put, git):
        put({"a/b.txt": "x\n"})
        for name, value in {
            "grep.column": "true",
            "grep.fullName": "true",
            "grep.patternType": "fixed",
            "color.ui": "always",
            "color.grep": "always",
            "submodule.recurse": "true",
            "core.quotePath": "true",
        }.items():
            git("config", name, value)
        assert grep("x|y") == "a/b.txt:1:x\n[matching lines: 1]"

    @pytest.mark.parametrize("pattern", ["a(", "[a", "*a", "(?<a", "[[:nonsense:]]", "a{99999}"])
    def test_a_pattern_that_git_refuses_is_an_error_with_its_reason(self, grep, pattern):
        with pytest.raises(ToolError, match=r"(?s)git cannot search for this pattern: fatal: .*`fixed`"):
            grep(pattern)

    @pytest.mark.parametrize("pattern", [r"\\d", r"\[a\]", r"[\\/]", r"a\.b\(", "[]a]"])
    def test_a_pattern_that_only_looks_like_it_is_searched(self, grep, pattern):
        assert grep(pattern).startswith("No match")

    def test_a_key_that_is_null_counts_as_left_out(self, grep, put):
        put({"a": "x\n"})
        assert grep("x", path=None, glob=None, mode=None, fixed=None, max_results=None).startswith("a:1:x")

    def test_outside_of_a_repository_it_says_so(self, call, tmp_path, environment):
        plain = tmp_path / "plain"
        plain.mkdir()
        with workspace_tools(plain, scratch=tmp_path / "s", environment=environment) as tools:
            for name in ("grep", "glob"):
                with pytest.raises(ToolError, match="not a git repository"):
                    call(tools, name, pattern="x")

    def test_in_a_workspace_that_is_gone_it_says_so(self, grep, workspace):
        workspace.rename(workspace.parent / "elsewhere")
        with pytest.raises(ToolError, match="git could not be run"):
            grep("x")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "`pattern` is missing"),
            ({"pattern": ""}, "`pattern` is empty"),
            ({"pattern": 5}, "`pattern` must be a string"),
            ({"pattern": "a\nb"}, "line break"),
            ({"pattern": "x", "mode": "lines"}, "must be one of content, files, count"),
            ({"pattern": "x", "fixed": "true"}, "`fixed` must be true or false"),
            ({"pattern": "x", "max_results": 0}, "from 1 to 2000"),
            ({"pattern": "x", "max_results": 10**400}, "from 1 to 2000"),
            ({"pattern": "x", "max_results": 1.5}, "whole number, not a number"),
            ({"pattern": "x", "path": "../.."}, "outside of the workspace"),
            ({"pattern": "x", "path": "/etc"}, "outside of the workspace"),
            ({"pattern": "x", "path": "nothing"}, "is not there"),
            ({"pattern": "x", "glob": "*.py", "type": "py"}, "give either `type` or `glob`"),
            ({"pattern": "x", "type": "python"}, "must be one of c, cpp"),
            ({"pattern": "x", "mode": "files", "before": 2}, "only in mode content"),
            ({"pattern": "x", "glob": "{a,b}" * 7}, "more than 64"),
            ({"pattern": "x", "path": ".git/config", "glob": "*"}, "is a file"),
            ({"pattern": "x", "-A": 3}, "it knows no '-A'"),
        ],
    )
    def test_a_malformed_call_is_refused_in_words(self, tools, call, given, message):
        with pytest.raises(ToolError, match=f"(?s)^grep: .*{message}"):
            call(tools, "grep", **given)


class TestGlob:
    def test_files_are_listed_the_newest_first_with_their_number(self, glob, put, git, workspace):
        put({"b.py": "", "a/c.py": "", "a.txt": "", "Z.py": ""})
        for age, name in enumerate(("Z.py", "a/c.py", "b.py")):
            os.utime(workspace / name, (1_000 - age, 1_000 - age))
        git("add", "b.py")
        assert glob("**/*.py") == "Z.py\na/c.py\nb.py\n[files: 3]"

    def test_ignored_and_deleted_files_are_not_listed(self, glob, put, git, workspace):
        put({".gitignore": "*.log", "a.log": "", "gone": "", "there": ""})
        git("add", "gone")
        (workspace / "gone").unlink()
        assert glob("**").splitlines() == [".gitignore", "there", "[files: 2]"]

    def test_names_with_spaces_newlines_and_other_letters_are_right(self, glob, put, workspace):
        put({"a b.txt": "", "é.txt": "", "n\nl.txt": ""})
        (workspace / "x\udcff.txt").touch()
        os.utime(workspace / "x\udcff.txt", (0, 0))
        assert glob("*.txt").splitlines()[:-1] == ["a b.txt", r"$'n\nl.txt'", r"$'x\xff.txt'", "é.txt"]

    @pytest.mark.parametrize(
        ("pattern", "given", "found"),
        [
            ("*", {}, ["top.md"]),
            ("**/*.{md,rst}", {}, ["s/a.md", "s/t/b.rst", "top.md"]),
            ("s/*", {}, ["s/a.md"]),
            ("*/?.md", {}, ["s/a.md"]),
            ("**", {"path": "s/t"}, ["s/t/b.rst"]),
            ("*.md", {"path": "s/"}, ["s/a.md"]),
            ("/top.md", {}, ["top.md"]),
        ],
    )
    def test_a_pattern_is_matched_name_by_name(self, glob, put, pattern, given, found):
        put({"top.md": "", "s/a.md": "", "s/t/b.rst": ""})
        assert glob(pattern, **given).splitlines()[:-1] == found

    def test_no_match_is_no_error_and_says_what_to_try(self, glob):
        assert glob("*.py").startswith("No file matches.")
        assert "**/*.py matches anywhere" in glob("*.py")

    def test_results_are_bounded_and_the_true_total_is_told(self, glob, put):
        put({f"{number:03}": "" for number in range(250)})
        *shown, told = glob("*").splitlines()
        assert shown == [f"{number:03}" for number in range(200)]
        assert told == "[files: 250, of which 200 are shown; narrow it or raise max_results]"
        assert len(glob("*", max_results=250).splitlines()) == 251

    def test_a_file_in_conflict_is_listed_once(self, glob, put, workspace):
        put({"a": "1\n"})
        blob = subprocess.run(
            ["git", "hash-object", "-w", "a"], cwd=workspace, check=True, capture_output=True, text=True
        ).stdout.strip()
        stages = "".join(f"100644 {blob} {stage}\ta\n" for stage in (1, 2, 3))
        subprocess.run(["git", "update-index", "--index-info"], cwd=workspace, check=True, input=stages.encode())
        assert glob("a") == "a\n[files: 1]"

    def test_what_lies_outside_is_refused(self, glob):
        with pytest.raises(ToolError, match="outside repository"):
            glob("../*")
        with pytest.raises(ToolError, match="outside of the workspace"):
            glob("*", path="..")


@pytest.mark.parametrize("definition", [GREP, GLOB], ids=["grep", "glob"])
def test_a_definition_is_strict_and_says_when_to_use_the_tool(definition):
    schema = definition["input_schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert definition["strict"] is True
    assert schema["additionalProperties"] is False
    assert all(each["description"] for each in schema["properties"].values())
    assert "Use it" in definition["description"]


def test_the_definitions_are_those_of_the_tools_in_their_order(tools):
    assert [tool.definition for tool in tools.tools] == list(DEFINITIONS)
    assert {tool.name: tool.replay for tool in tools.tools} == {
        "bash": "uncertain",
        "str_replace_based_edit_tool": "uncertain",
        "read": "again",
        "grep": "again",
        "glob": "again",
    }
