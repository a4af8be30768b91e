"""What a task says that it will write is checked before anything is stored."""

import pytest

from prong.primitives.write_scope import PATTERNS, checked
from prong.state import Invalid


def nested(levels):
    value = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "wrong", ["src/**", ["../x"], [""], ["a//b"], ["a\0b"], [3], ["x" * 501], [nested(20_000)], ["a"] * (PATTERNS + 1)]
)
def test_what_names_no_files_is_refused_in_words(wrong):
    with pytest.raises(Invalid, match="patterns of files"):
        checked(wrong)
