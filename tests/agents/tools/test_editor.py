"""The editor: what its four commands do to files, what they refuse, and in which words."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from prong.agents.tools import ToolError, workspace_tools
from prong.agents.tools.editor import DIRECTORY_ENTRIES, LINE_CHARACTERS, VIEW_CHARACTERS
from prong.agents.tools.files import FILE_BYTES


@pytest.fixture
def file(workspace):
    path = workspace / "file.txt"
    path.write_text("one\ntwo\nthree\n")
    return path


class TestView:
    def test_lines_are_numbered(self, edit, file):
        assert edit("view", path="file.txt") == "1: one\n2: two\n3: three"
        assert edit("view", path=str(file)) == "1: one\n2: two\n3: three"

    def test_only_a_newline_ends_a_line(self, edit, file):
        file.write_text("a\x0bb\u2028c\n\n d", newline="")
        assert edit("view", path="file.txt") == "1: a\x0bb\u2028c\n2: \n3:  d"

    @pytest.mark.parametrize(
        ("view_range", "shown"),
        [
            ([2, 2], "2: two\n[the file has 3 lines]"),
            ([2, -1], "2: two\n3: three"),
            ([2, 99], "2: two\n3: three"),
        ],
    )
    def test_a_range_of_lines_can_be_viewed(self, edit, file, view_range, shown):
        assert edit("view", path=file.name, view_range=view_range) == shown

    @pytest.mark.parametrize("view_range", [[0, 2], [4, -1], [3, 2], [-1, -1]])
    def test_a_range_that_is_none_is_refused_with_the_number_of_lines(self, edit, file, view_range):
        with pytest.raises(ToolError, match="the file has 3 lines"):
            edit("view", path=file.name, view_range=view_range)

    def test_an_empty_file_says_so(self, edit, file):
        file.write_text("")
        assert edit("view", path=file.name) == "(the file is empty)"

    def test_a_long_file_is_cut_at_a_line_and_says_how_to_see_the_rest(self, edit, file):
        file.write_text("".join(f"line {number}\n" for number in range(1, 10_001)))
        *shown, rest = edit("view", path=file.name).splitlines()
        assert len("\n".join(shown)) <= VIEW_CHARACTERS
        last = int(shown[-1].split(":")[0])
        assert rest == f"[lines {last + 1} to 10000 left out: view them with view_range [{last + 1}, 10000]]"

    def test_a_long_line_is_cut(self, edit, file):
        file.write_text("x" * 5_000)
        assert edit("view", path=file.name) == f"1: {'x' * LINE_CHARACTERS} [3,000 more characters in this line]"

    def test_bytes_that_are_no_text_are_shown_as_replaced(self, edit, file):
        file.write_bytes(b"caf\xe9\n")
        assert edit("view", path=file.name) == "1: caf\N{REPLACEMENT CHARACTER}"

    def test_a_directory_shows_two_levels_without_hidden_ones(self, edit, workspace):
        for name in ("b/c/d.txt", "b/a b.txt", ".hidden/x", "node_modules/x", "b/.x"):
            (workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (workspace / name).touch()
        (workspace / "a\nb").touch()
        (workspace / "link").symlink_to("b")
        assert edit("view", path=".").splitlines()[1:] == [r"$'a\nb'", "b/", "b/a b.txt", "b/c/", "link"]

    def test_an_empty_directory_says_so(self, edit, workspace):
        (workspace / "empty").mkdir()
        assert edit("view", path="empty").splitlines()[1:] == ["(none)"]

    def test_a_large_directory_is_bounded_and_says_how_many_there_are(self, edit, workspace):
        for number in range(DIRECTORY_ENTRIES + 5):
            (workspace / f"{number:04}").touch()
        *shown, rest = edit("view", path=".").splitlines()[1:]
        assert len(shown) == DIRECTORY_ENTRIES
        assert rest.startswith("[1000 of 1005 entries shown")

    def test_a_range_of_a_directory_is_refused(self, edit):
        with pytest.raises(ToolError, match="`view_range` is for files"):
            edit("view", path=".", view_range=[1, 2])


class TestCreate:
    def test_a_file_is_written_as_given_with_its_directories(self, edit, workspace):
        assert "2 lines" in edit("create", path="new/deep/file.txt", file_text="a\r\nb é")
        assert (workspace / "new/deep/file.txt").read_bytes() == "a\r\nb é".encode()

    def test_a_new_file_has_the_mode_that_the_umask_leaves(self, edit, workspace):
        edit("create", path="new.txt", file_text="")
        (workspace / "other").touch()
        assert (workspace / "new.txt").stat().st_mode == (workspace / "other").stat().st_mode

    def test_a_file_that_is_there_is_overwritten_and_keeps_its_mode(self, edit, file):
        file.chmod(0o750)
        assert edit("create", path=file.name, file_text="new").startswith("Overwrote")
        assert file.read_text() == "new"
        assert stat.S_IMODE(file.stat().st_mode) == 0o750

    def test_a_directory_is_not_overwritten(self, edit, workspace):
        (workspace / "sub").mkdir()
        with pytest.raises(ToolError, match="not a regular file"):
            edit("create", path="sub", file_text="x")

    def test_a_file_cannot_be_made_below_a_file(self, edit, file):
        with pytest.raises(ToolError, match=r"cannot write to .*file\.txt/x"):
            edit("create", path=f"{file.name}/x", file_text="x")


class TestReplace:
    def test_the_one_match_is_replaced_and_its_place_shown(self, edit, file):
        told = edit("str_replace", path=file.name, old_str="two", new_str="2\n2½")
        assert told == "Successfully replaced text at exactly one location.\n1: one\n2: 2\n3: 2½\n4: three"
        assert file.read_text() == "one\n2\n2½\nthree\n"

    def test_without_new_str_the_text_is_removed(self, edit, file):
        edit("str_replace", path=file.name, old_str="two\n")
        assert file.read_text() == "one\nthree\n"

    def test_a_file_can_be_emptied(self, edit, file):
        assert edit("str_replace", path=file.name, old_str="one\ntwo\nthree\n").endswith("(the file is empty)")
        assert file.read_text() == ""

    def test_no_match_is_an_error_in_the_documentations_words(self, edit, file):
        with pytest.raises(ToolError) as error:
            edit("str_replace", path=file.name, old_str="four", new_str="4")
        assert str(error.value) == "Error: No match found for replacement. Please check your text and try again."

    def test_a_match_but_for_white_space_is_pointed_out(self, edit, file):
        file.write_text("x\nif a:\n\treturn  b\n")
        with pytest.raises(
            ToolError, match=r"differs only in white space begins in line 2; .*\n2: if a:\n3: \treturn  b"
        ):
            edit("str_replace", path=file.name, old_str="if a:\n    return b", new_str="y")

    def test_a_text_that_only_begins_alike_is_pointed_out(self, edit, file):
        with pytest.raises(ToolError, match="Its first line is there in line 2, but what follows differs"):
            edit("str_replace", path=file.name, old_str="two\n3", new_str="y")

    def test_several_matches_are_an_error_in_the_documentations_words_with_their_lines(self, edit, file):
        file.write_text("a\nb\na\na b\n")
        with pytest.raises(ToolError) as error:
            edit("str_replace", path=file.name, old_str="a", new_str="c")
        assert str(error.value) == (
            "Error: Found 3 matches for replacement text. Please provide more context to make a unique match. "
            "They begin in lines 1, 3, 4."
        )
        assert file.read_text() == "a\nb\na\na b\n"

    def test_matches_that_overlap_are_several(self, edit, file):
        file.write_text("aaa")
        with pytest.raises(ToolError, match="Found 2 matches"):
            edit("str_replace", path=file.name, old_str="aa", new_str="b")

    def test_very_many_matches_are_not_all_counted(self, edit, file):
        file.write_text("a" * 5_000)
        with pytest.raises(ToolError, match=r"Found 1000 or more matches.*, …"):
            edit("str_replace", path=file.name, old_str="a", new_str="b")

    def test_an_empty_or_unchanged_text_is_refused(self, edit, file):
        with pytest.raises(ToolError, match="`old_str` is empty"):
            edit("str_replace", path=file.name, old_str="", new_str="x")
        with pytest.raises(ToolError, match="nothing to do"):
            edit("str_replace", path=file.name, old_str="two", new_str="two")

    def test_windows_line_ends_are_kept(self, edit, file):
        file.write_bytes(b"one\r\ntwo\r\n")
        edit("str_replace", path=file.name, old_str="one\ntwo", new_str="1\n2")
        assert file.read_bytes() == b"1\r\n2\r\n"

    def test_mixed_line_ends_are_kept(self, edit, file):
        file.write_bytes(b"one\r\ntwo\nthree\r\n")
        edit("str_replace", path=file.name, old_str="two", new_str="2")
        assert file.read_bytes() == b"one\r\n2\nthree\r\n"

    def test_bytes_that_are_no_text_are_kept(self, edit, file):
        file.write_bytes(b"\xef\xbb\xbfcaf\xe9 one\n")
        edit("str_replace", path=file.name, old_str="one", new_str="two é")
        assert file.read_bytes() == b"\xef\xbb\xbfcaf\xe9 two \xc3\xa9\n"

    def test_edits_of_one_turn_are_not_lost(self, edit, file):
        file.write_text("".join(f"<{number}>\n" for number in range(50)))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: edit("str_replace", path=file.name, old_str=f"<{n}>", new_str=str(n)), range(50)))
        assert file.read_text() == "".join(f"{number}\n" for number in range(50))


class TestInsert:
    @pytest.mark.parametrize(
        ("line", "text", "after"),
        [
            (0, "new", "new\none\ntwo\nthree\n"),
            (1, "new\n", "one\nnew\ntwo\nthree\n"),
            (3, "a\nb", "one\ntwo\nthree\na\nb\n"),
            (2, "", "one\ntwo\n\nthree\n"),
        ],
    )
    def test_text_becomes_lines_after_the_given_one(self, edit, file, line, text, after):
        assert f"after line {line}." in edit("insert", path=file.name, insert_line=line, insert_text=text)
        assert file.read_text() == after

    def test_a_last_line_without_an_end_gets_one(self, edit, file):
        file.write_text("one")
        edit("insert", path=file.name, insert_line=1, insert_text="two")
        assert file.read_text() == "one\ntwo\n"

    def test_an_empty_file_has_a_place_before_its_first_line(self, edit, file):
        file.write_text("")
        edit("insert", path=file.name, insert_line=0, insert_text="one")
        assert file.read_text() == "one\n"

    def test_windows_line_ends_are_kept(self, edit, file):
        file.write_bytes(b"one\r\nthree\r\n")
        edit("insert", path=file.name, insert_line=1, insert_text="two\n2\r\n")
        assert file.read_bytes() == b"one\r\ntwo\r\n2\r\nthree\r\n"

    @pytest.mark.parametrize("line", [4, -1, 10**400])
    def test_a_line_that_is_not_there_is_refused(self, edit, file, line):
        with pytest.raises(ToolError, match="insert_line"):
            edit("insert", path=file.name, insert_line=line, insert_text="x")


class TestConfinement:
    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "../outside.txt", "sub/../../outside.txt", "link/outside.txt", "leaf"]
    )
    def test_what_lies_outside_is_refused(self, edit, workspace, path):
        outside = workspace.parent / "outside.txt"
        outside.write_text("secret")
        (workspace / "link").symlink_to(workspace.parent)
        (workspace / "leaf").symlink_to(outside)
        for command, given in (("view", {}), ("create", {"file_text": "x"}), ("str_replace", {"old_str": "secret"})):
            with pytest.raises(ToolError, match="outside of what may be edited"):
                edit(command, path=path, **given)
        assert outside.read_text() == "secret"

    def test_further_roots_and_the_scratch_directory_are_open(self, make, call, tmp_path, scratch):
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "alias").symlink_to(root)
        tools = make(roots=[tmp_path / "alias"])
        for place in (root, tmp_path / "alias", scratch):
            call(tools, "str_replace_based_edit_tool", command="create", path=f"{place}/x", file_text="x")

    def test_a_link_inside_is_followed_and_stays_a_link(self, edit, workspace, file):
        (workspace / "link").symlink_to(file.name)
        edit("str_replace", path="link", old_str="one", new_str="1")
        assert (workspace / "link").is_symlink()
        assert file.read_text().startswith("1\n")

    def test_links_in_a_circle_are_refused(self, edit, workspace):
        (workspace / "a").symlink_to("b")
        (workspace / "b").symlink_to("a")
        with pytest.raises(ToolError):
            edit("view", path="a")

    def test_a_workspace_reached_through_a_link_is_inside(self, workspace, tmp_path, environment, call, file):
        (tmp_path / "way").symlink_to(workspace)
        with workspace_tools(tmp_path / "way", scratch=tmp_path / "s", environment=environment) as tools:
            for path in (file.name, str(file), f"{tmp_path}/way/{file.name}"):
                assert call(tools, "str_replace_based_edit_tool", command="view", path=path).startswith("1: one")


class TestRefusals:
    @pytest.mark.parametrize("command", ["view", "str_replace", "insert"])
    def test_a_file_that_is_not_there(self, edit, command):
        given = {"str_replace": {"old_str": "a"}, "insert": {"insert_line": 0, "insert_text": "x"}}.get(command, {})
        with pytest.raises(ToolError, match=r"^Error: File not found: .*/nothing"):
            edit(command, path="nothing", **given)

    def test_a_binary_file(self, edit, file):
        file.write_bytes(b"a\0b")
        with pytest.raises(ToolError, match="binary file"):
            edit("view", path=file.name)
        with pytest.raises(ToolError, match="binary file"):
            edit("str_replace", path=file.name, old_str="a", new_str="b")

    def test_a_file_over_the_bound(self, edit, file):
        with file.open("wb") as handle:
            handle.truncate(FILE_BYTES + 1)
        with pytest.raises(ToolError, match="more than 10,485,760 bytes"):
            edit("view", path=file.name)

    def test_an_edit_that_would_grow_a_file_over_the_bound(self, edit, file):
        file.write_text("x\n" + "y" * (FILE_BYTES - 2))
        with pytest.raises(ToolError, match="more than 10,485,760 bytes"):
            edit("str_replace", path=file.name, old_str="x\n", new_str="xx\n")
        assert file.stat().st_size == FILE_BYTES

    def test_a_fifo_is_not_waited_for(self, edit, workspace):
        os.mkfifo(workspace / "fifo")
        with pytest.raises(ToolError, match="not a regular file"):
            edit("view", path="fifo")
        with pytest.raises(ToolError, match="not a regular file"):
            edit("create", path="fifo", file_text="x")

    def test_a_name_that_is_too_long(self, edit):
        with pytest.raises(ToolError, match="File name too long"):
            edit("create", path="x" * 300, file_text="x")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_file_that_may_not_be_written(self, edit, file):
        file.chmod(0o444)
        with pytest.raises(ToolError, match=r"Error: Permission denied. Cannot write to file\."):
            edit("create", path=file.name, file_text="x")

    def test_no_temporary_file_is_left_behind(self, edit, workspace, file):
        edit("create", path=file.name, file_text="x")
        with pytest.raises(ToolError):
            edit("create", path=f"{file.name}/x", file_text="x")
        assert sorted(path.name for path in workspace.iterdir()) == [".git", "file.txt"]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "`command` is missing"),
            ({"command": "undo_edit", "path": "x"}, "must be one of view, create, str_replace, insert"),
            ({"command": "view"}, "`path` is missing"),
            ({"command": "view", "path": 5}, "`path` must be a string, not a number"),
            ({"command": "view", "path": "a\0b"}, "NUL"),
            ({"command": "view", "path": "x", "old_str": "y"}, "takes only command, path, view_range"),
            ({"command": "view", "path": "file.txt", "view_range": [1]}, "array of 2 whole numbers"),
            ({"command": "view", "path": "file.txt", "view_range": [1, True]}, "a whole number, not a boolean"),
            ({"command": "create", "path": "x"}, "`file_text` is missing"),
            ({"command": "create", "path": "x", "file_text": "\udfff"}, "half a surrogate pair"),
            (
                {"command": "insert", "path": "file.txt", "insert_line": "1", "insert_text": "x"},
                "whole number, not '1'",
            ),
            ({"command": "insert", "path": "file.txt", "insert_line": 1}, "`insert_text` is missing"),
            ({"command": "str_replace", "path": "file.txt"}, "`old_str` is missing"),
        ],
    )
    @pytest.mark.usefixtures("file")
    def test_a_malformed_call(self, tools, call, given, message):
        with pytest.raises(ToolError, match=message):
            call(tools, "str_replace_based_edit_tool", **given)
