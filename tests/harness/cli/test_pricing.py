"""Which model a role asks, as the command line says."""

import click
import pytest

from prong.harness.cli.pricing import roles_asking
from prong.harness.rules.rules import parse

RULES = parse("---\nroles:\n  reviewer: {model: claude-opus-5-5}\n  writer:\n---\n", "PRONG.md")


def test_the_command_line_says_which_model_a_role_asks():
    roles = roles_asking(RULES, {"role_models": ("reviewer=claude-haiku-5-5",)})
    assert (roles["reviewer"].model, roles["writer"].model) == ("claude-haiku-5-5", None)


@pytest.mark.parametrize(("said", "words"), [("tester=m", "reviewer, writer"), ("reviewer", "no ROLE=MODEL")])
def test_a_role_that_is_none_is_told_with_the_list(said, words):
    with pytest.raises(click.BadParameter, match=words):
        roles_asking(RULES, {"role_models": (said,)})
