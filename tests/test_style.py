"""What no tool checks: how long things are, and what the texts may say."""

import ast
import re

import pytest

from . import checkout

FUNCTION_LINES = 50
FILE_LINES = 400
# The project speaks about itself: not about the machine it was written on, nor about who or what wrote it.  Brackets
# keep the patterns from finding themselves.
FOREIGN = re.compile(
    r"""
      /wor[k]/ | /roo[t]/ | /hom[e]/(?!ada\b|user\b|you\b|runner\b) | /User[s]/ | /tmp/[b]ash_jobs
    | \b (?: written | generated | authored ) \s+ (?: by | with | using ) \s+ (?: an?\s+ )?
      (?: A[I] | LL[M] | claud[e] | chatgp[t] | gp[t] | copilo[t] | language\ mode[l] ) \b
    | \b as \s+ an \s+ A[I] \b | \b my \s+ human \b
    """,
    re.VERBOSE | re.IGNORECASE,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("tree") / "prong")


def texts(tree, suffix=""):
    """(name, text) of every file that is text; a link is nobody's text."""
    for name in checkout.files(tree):
        path = tree / name
        if name.endswith(suffix) and not path.is_symlink():
            content = path.read_bytes()
            if b"\0" not in content:
                yield name, content.decode("utf-8")


def functions(source):
    """Every function of a source; no expression holds one, so only statements are looked into."""
    left = list(ast.parse(source).body)
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            left += getattr(node, part, ())


def test_no_function_is_longer_than_a_screen(tree):
    long = [
        f"{name}:{function.lineno} {function.name} has {length} lines, more than {FUNCTION_LINES}"
        for name, text in texts(tree, ".py")
        if text.count("\n") > FUNCTION_LINES
        for function in functions(text)
        if (length := function.end_lineno - function.lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def test_no_file_outgrows_its_idea(tree):
    long = [
        f"{name} has {length} lines, more than {FILE_LINES}"
        for name, text in texts(tree, ".py")
        if not name.startswith("tests/") and (length := len(text.splitlines())) > FILE_LINES
    ]
    assert long == []


def test_no_file_speaks_of_the_place_it_was_written_in_or_of_who_wrote_it(tree):
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1} says {match[0]!r}"
        for name, text in texts(tree)
        for match in FOREIGN.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["see /wor" + "k/x", "/roo" + "t/.cache", "Generated\nwith Claud" + "e", "as an A" + "I"],
)
def test_foreign_words_are_seen(text):
    assert FOREIGN.search(text)


@pytest.mark.parametrize(
    "text",
    ["/workspace/a", "wrapped by Claude Code", "the root/ folder", "paid", "/home/ada", "model claude-sonnet-5-5"],
)
def test_the_words_of_the_trade_are_let_through(text):
    assert not FOREIGN.search(text)
