"""Which schemas a result can have, and what of an agent's last words is found to fit them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.harness.tools.result_schema import NoValue, checked, fitted, found, problem
from prong.state import Invalid

BUGS = {"type": "object", "properties": {"bugs": {"type": "integer"}}, "required": ["bugs"]}
TREE = {"type": "object", "properties": {"inner": {"$ref": "#"}}, "additionalProperties": False}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text("abc", max_size=3), values, max_size=4) | st.lists(values, max_size=4)


@given(values)
def test_a_value_alone_is_found(value):
    assert found(json.dumps(value)) == value
    assert found(f"\n {json.dumps(value, indent=2)}\n\n") == value


@given(objects, st.sampled_from([None, 2]), st.sampled_from(["```json\n{}\n```", "```\n{}\n```\n", "{}"]))
def test_a_value_at_the_end_of_words_is_found(value, indent, form):
    words = "I looked at [1] and {that}.\n[see above]\n\n" + form.replace("{}", json.dumps(value, indent=indent))
    assert found(words) == value


def test_the_last_block_counts():
    assert found('```json\n{"bugs": 1}\n```\nNo, more:\n```json\n{"bugs": 2}\n```') == {"bugs": 2}


@pytest.mark.parametrize(
    "words",
    ["", "done", "{bugs: 2}", '{"bugs": 2} is what I found', "NaN", '{"bugs": 1e999}', '"\\ud800"', "[" * 100_000],
)
def test_what_is_no_json_is_no_value(words):
    with pytest.raises(NoValue, match="use only JSON"):
        found(words)


def test_each_place_that_does_not_fit_is_told():
    told = problem({"items": {"type": "integer"}}, ["one", 2, "three"])
    assert told == "at $[0]: 'one' is not of type 'integer'; at $[2]: 'three' is not of type 'integer'"
    assert problem({"items": {"type": "integer"}}, [1, 2]) is None


def test_a_long_value_is_not_quoted_whole_and_few_places_are_told():
    told = problem({"items": {"type": "integer"}}, ["x" * 10_000] * 100)
    assert len(told) < 2_000
    assert told.count("is not of type 'integer'") == 5


def test_last_words_that_fit_give_their_value_and_others_say_what_is_wrong():
    assert fitted(checked(BUGS), 'Two.\n```json\n{"bugs": 2}\n```') == ({"bugs": 2}, None)
    assert fitted(checked(BUGS), '{"bugs": "two"}')[1] == "at $.bugs: 'two' is not of type 'integer'"
    assert "without a JSON value" in fitted(checked(BUGS), "two bugs")[1]


def test_a_schema_may_refer_to_itself():
    text = checked(TREE)
    assert fitted(text, '{"inner": {"inner": {}}}')[1] is None
    assert "$.inner.inner" in fitted(text, '{"inner": {"inner": 1}}')[1]
    deep = '{"inner":' * 5_000 + "{}" + "}" * 5_000
    assert fitted(text, deep)[1] is not None


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("integer", "that is no object"),
        ([], "that is no object"),
        ({"type": "whole number"}, "that is none"),
        ({"properties": 3}, "that is none"),
        ({"pattern": "("}, "that is none"),
        ({"$ref": "https://example.com/schema.json"}, "refers to 'https://example.com"),
        ({"properties": {"a": {"items": [{"$ref": "file:///etc/passwd"}]}}}, "refers to 'file:"),
        ({"$ref": "#/$defs/missing"}, "that is none"),
        ({"$ref": "#"}, "without end"),
        ({"enum": ["x" * 20_000]}, "at most 16384"),
        ({"enum": [float("nan")]}, "no JSON"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_the_reason(schema, why):
    with pytest.raises(Invalid, match=why):
        checked(schema)
