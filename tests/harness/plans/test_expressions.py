"""The language of `when`: what it says of tasks, and that nothing but looking can be done in it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.harness.plans.expressions import CHARACTERS, Ended, read
from prong.state import Invalid

BUGS = [{"bugs": 2}, {"bugs": 0}, None]
KNOWN = {"tests": Ended("failed", None, "it broke"), "docs": Ended("skipped"), "found": Ended("done", {"all": BUGS})}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('tests.state == "failed"', True),
        ("failed(tests) and not done(docs)", True),
        ("skipped(docs) or tests.result.nothing", True),
        ("len(found.result.all)", 3),
        ("any(one.bugs > 1 for one in found.result.all if one != null)", True),
        ("all(one.bugs > 1 for one in found.result.all if one != null)", False),
        ("sum(one.bugs for one in found.result.all if one)", 2),
        ("found.result.all[0].bugs >= 2 and found.result.all[-1] == null", True),
        ("found.result.all[9].bugs", None),
        ("found.result.nothing.below[1]", None),
        ('"broke" in tests.error', True),
        ("1 < len(found.result.all) <= 3", True),
        ("found.state in ['done', 'skipped']", True),
        ("any(x for x in found.result.nothing)", False),
        ("-1 < 0", True),
    ],
)
def test_what_an_expression_says_of_tasks(text, value):
    assert read(text).value(KNOWN) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "(lambda: 1)()", "[x for x in found.result]", "found.__class__",
        "1 if tests else 2",
        "tests.result.__class__.__mro__[0]()", "f'{tests}'", "len(tests, docs)", "len(*tests)", "x := 1", "9 ** 9 ** 9",
        "'a' * 9",
        "any(any(y for y in x) for x in found.result.all)", "tests.stat == 1", "a b", "", "-" * 200 + "1",
        "1" * (CHARACTERS + 1),
        "tests; docs", "lambda: tests", "{tests: docs}", "await tests", "b'x'", "...", "2j",
    ],
)  # fmt: skip
def test_what_no_expression_can_hold_is_refused_before_anything_runs(text):
    with pytest.raises(Invalid):
        read(text)


@pytest.mark.parametrize(
    "text", ["found.result > 1", "len(tests.result)", "done(found.result)", "min(found.result.none)"]
)
def test_what_has_no_answer_says_so(text):
    with pytest.raises(Invalid, match="no answer"):
        read(text).value(KNOWN)


def test_an_expression_over_many_items_is_given_up():
    with pytest.raises(Invalid, match="steps"):
        read("any(one.a.b.c for one in found.result)").value({"found": Ended("done", [{}] * 100_000)})


def test_names_are_those_of_tasks_and_states_are_noticed():
    assert read("any(one.bugs > tests.result for one in found.result)").names == ("found", "tests")
    assert [read(text).asks_state for text in ("tests.state == 1", "done(tests)", "tests.result.state")] == [
        True,
        True,
        True,
    ]
    assert not read("tests.result").asks_state


@given(st.text(alphabet="abd.()[]'\"0 <>=!,:for inotd_", max_size=40))
def test_whatever_is_written_is_read_or_refused_and_never_breaks(text):
    with contextlib.suppress(Invalid):
        expression = read(text)
        expression.value({name: Ended("done", {"a": [1, {"b": "c"}]}) for name in expression.names})
