"""What the tools see of our environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prong.agents.tools import tool_environment

PRINT = """
import json, pathlib
from prong.agents.tools import tool_environment
print(json.dumps(tool_environment(pathlib.Path("/workspace"), {"TMPDIR": "/scratch"})))
"""


def environment_made_under(**variables: str) -> dict[str, str]:
    result = subprocess.run([sys.executable, "-c", PRINT], env=variables, capture_output=True, check=True, text=True)
    return dict(eval(result.stdout))


def test_no_key_or_token_gets_through():
    secrets = {
        "ANTHROPIC_API_KEY": "secret",
        "ANTHROPIC_AUTH_TOKEN": "secret",
        "ANTHROPIC_BASE_URL": "secret",
        "OPENAI_API_KEY": "secret",
        "GITHUB_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SSH_AUTH_SOCK": "secret",
        "HTTPS_PROXY": "http://me:secret@proxy",
    }
    made = environment_made_under(PATH="/usr/bin:/bin", **secrets)
    assert "secret" not in str(made)
    assert not secrets.keys() & made.keys()


def test_what_a_developer_needs_gets_through():
    needed = {
        "HOME": "/home/ada",
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "TZ": "UTC",
        "USER": "ada",
        "VIRTUAL_ENV": "/venv",
        "https_proxy": "http://proxy:3128",
    }
    made = environment_made_under(PATH="/usr/bin:/bin", **needed)
    assert needed.items() <= made.items()


def test_nothing_waits_for_somebody_at_a_terminal():
    made = tool_environment(Path("/workspace"), {})
    assert (made["GIT_TERMINAL_PROMPT"], made["PAGER"], made["GIT_PAGER"]) == ("0", "cat", "cat")


def test_a_python_is_found_last_in_the_path():
    made = environment_made_under(PATH="/first:/second")
    assert made["PATH"].split(os.pathsep) == ["/first", "/second", str(Path(sys.executable).parent)]


def test_a_python_that_is_in_the_path_stays_where_it_is():
    path = f"{Path(sys.executable).parent}:/usr/bin"
    assert environment_made_under(PATH=path)["PATH"] == path


def test_without_a_path_the_default_one_is_used():
    assert environment_made_under()["PATH"].startswith(os.defpath)


def test_the_caller_adds_to_it_and_has_the_last_word():
    made = tool_environment(Path("/workspace"), {"TMPDIR": "/scratch", "PAGER": "less"})
    assert (made["TMPDIR"], made["PAGER"], made["PWD"]) == ("/scratch", "less", "/workspace")


def test_the_caller_cannot_add_the_providers_key():
    with pytest.raises(ValueError, match="ANTHROPIC_API_KEY must not reach a tool"):
        tool_environment(Path("/workspace"), {"ANTHROPIC_API_KEY": "secret"})
