"""What may be stored comes back as it was, and what may not is refused in words that are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.primitives import TooLarge
from prong.primitives.values import (
    FOREVER_S,
    NAME_CHARACTERS,
    VALUE_BYTES,
    checked_lease,
    checked_name,
    checked_number,
    checked_timeout,
    decoded,
    encoded,
)  # fmt: skip
from prong.state import Invalid

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@given(JSON)
def test_a_value_comes_back_as_it_was(value):
    assert decoded(encoded("value", value)) == value


@given(st.text())
def test_a_name_is_refused_or_returned(name):
    try:
        assert checked_name("name", name) == name
    except Invalid:
        assert not name or len(name) > NAME_CHARACTERS or "\0" in name or name != name.encode(errors="ignore").decode()
    else:
        assert name.encode().decode() == name


@given(st.none() | st.floats() | st.integers() | st.text())
def test_a_timeout_is_refused_or_seconds_to_wait(timeout):
    try:
        seconds = checked_timeout(timeout)
    except Invalid:
        assert isinstance(timeout, str) or not timeout >= 0
    else:
        assert seconds == (None if timeout is None or timeout >= FOREVER_S else timeout)


def test_bounds_are_met_exactly():
    assert len(encoded("value", "x" * (VALUE_BYTES - 2))) == VALUE_BYTES
    with pytest.raises(TooLarge):
        encoded("value", "x" * (VALUE_BYTES - 1))
    assert checked_name("name", "x" * NAME_CHARACTERS)
    with pytest.raises(Invalid):
        checked_name("name", "x" * (NAME_CHARACTERS + 1))
    assert (checked_number("n", 3, least=3, most=3), checked_lease(86_400)) == (3, 86_400.0)
    for number in (2, 4):
        with pytest.raises(Invalid, match="a whole number from 3 to 3"):
            checked_number("n", number, least=3, most=3)


@pytest.mark.parametrize("name", ["x" * 10_000, ["x"] * 10_000])
def test_a_refusal_does_not_repeat_all_that_it_was_given(name):
    with pytest.raises(Invalid) as caught:
        checked_name("name", name)
    assert len(str(caught.value)) < 200
