"""Which model a role asks, as the command line says."""

import re

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


def test_the_first_task_gets_a_role_of_the_rules_or_an_outside_agents():
    assert roles_asking(RULES, {"role_models": (), "role": "writer"}) == dict(RULES.roles)
    roles = roles_asking(RULES, {"role_models": ("codex=gpt-5.1-codex",), "role": "codex"})
    assert (roles["codex"].kind, roles["codex"].model) == ("codex", "gpt-5.1-codex")
    assert list(roles) == ["reviewer", "writer", "codex"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("reveiwer", "'reveiwer'. Did you mean reviewer? PRONG.md has the roles: reviewer, writer. Name one of them"),
        ("claude", "Did you mean claude-code?"),
        ("command", "outside agent: claude-code, codex, opencode"),
        (" ", "the name of a role"),
    ],
)
def test_another_name_is_told_with_what_was_probably_meant(said, words):
    with pytest.raises(click.BadParameter, match=re.escape(words)):
        roles_asking(RULES, {"role_models": (), "role": said})
