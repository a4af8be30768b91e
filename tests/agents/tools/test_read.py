"""read: which lines it shows, how it goes on, and what it says of what is no text."""

import os
import struct

import pytest

from prong.agents.tools import ToolCall, ToolError
from prong.agents.tools.read import LINE_CHARACTERS, READ_CHARACTERS


@pytest.fixture
def read(tools, call):
    return lambda path, **given: call(tools, "read", path=path, **given)


@pytest.fixture
def file(workspace):
    path = workspace / "file.txt"
    path.write_text("".join(f"line {n}\n" for n in range(1, 101)))
    return path


def test_lines_are_numbered_and_the_way_on_is_told(read, file):
    assert read("file.txt", limit=2) == "1: line 1\n2: line 2\n[98 lines more of 100: read with offset=3]"
    assert read(str(file), offset=98, limit=2).splitlines() == [
        "98: line 98",
        "99: line 99",
        "[1 lines more of 100: read with offset=100]",
    ]
    assert read("file.txt", offset=100) == "100: line 100\n[this is the end; the file has 100 lines]"
    assert read("file.txt").endswith("\n100: line 100")


def test_an_offset_below_zero_counts_from_the_end(read, file):
    assert read(file.name, offset=-1).startswith("100: line 100\n")
    assert read(file.name, offset=-1_000, limit=1).startswith("1: line 1\n")


def test_only_a_newline_ends_a_line_and_the_last_may_have_none(read, file):
    file.write_bytes(b"a\x0bb\r\n\n caf\xe9")
    assert read(file.name) == "1: a\x0bb\n2: \n3:  caf\N{REPLACEMENT CHARACTER}"
    file.write_bytes(b"")
    assert read(file.name) == "(the file is empty)"


def test_a_long_line_and_a_long_result_are_cut(read, file):
    file.write_text("é" * 50_000 + "\nnext\n")
    first, second = read(file.name).splitlines()
    assert first == f"1: {'é' * LINE_CHARACTERS} [96,000 more bytes in this line]"
    assert second == "2: next"
    file.write_text(("x" * 1_000 + "\n") * 100)
    *lines, rest = read(file.name).splitlines()
    assert len("\n".join(lines)) <= READ_CHARACTERS
    assert rest == f"[{100 - len(lines)} lines more of 100: read with offset={len(lines) + 1}]"


def test_a_file_larger_than_an_editor_takes_can_be_read(read, file):
    with file.open("wb") as out:
        out.writelines(b"%d\n" % number + b"x" * 1_000 for number in range(12_000))
    assert read(file.name, offset=12_000, limit=1).startswith("12000: " + "x" * 1_000 + "11999\n[1 lines more")


def test_what_is_no_text_is_described(read, workspace):
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480)
    (workspace / "a.png").write_bytes(head)
    assert "is a picture (PNG, 640 x 480 pixels, 24 bytes)" in read("a.png")
    (workspace / "a.bin").write_bytes(b"\0" * 5_000)
    assert "is a binary file of 5,000 bytes. Look at it with bash" in read("a.bin")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "`path` is missing"),
        ({"path": "nothing"}, "File not found: .*Find its path with glob"),
        ({"path": "."}, "is a directory. List its files with glob"),
        ({"path": "/etc/passwd"}, "outside of what may be edited"),
        ({"path": "link"}, "outside of what may be edited"),
        ({"path": "fifo"}, "not a regular file"),
        ({"path": "file.txt", "offset": 101}, "has only 100 lines. Call again with a smaller `offset`"),
        ({"path": "file.txt", "limit": 0}, "from 1 to 10000"),
        ({"path": "file.txt", "offset": "1"}, "`offset` must be a whole number"),
        ({"path": "file.txt", "lines": 1}, "it knows no 'lines'"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tools, file, given, message):
    (file.parent / "link").symlink_to("/etc/passwd")
    os.mkfifo(file.parent / "fifo")
    [tool] = [tool for tool in tools.tools if tool.name == "read"]
    with pytest.raises(ToolError, match=message):
        tool.run(ToolCall("toolu_1", "read", given))
