"""The SDK part by part: all of it is there, and little of it is read."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from prong.agents import sdk
sdk.on_demand()
import anthropic
read = lambda: sum(name.startswith("anthropic.") for name in sys.modules)
"""


def python(program, **more):
    """What a process prints that reads the SDK part by part."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + program], capture_output=True, text=True, timeout=240, check=False, **more
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_client_is_made_of_a_part_of_it_and_every_kind_of_name_is_found():
    told = python("""
client = anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1:9", max_retries=0)
client.messages, client.models
few = read()
from anthropic import AnthropicVertex  # by a star
from anthropic.types import message_create_params, Message as M
from anthropic.types.beta import BetaMessage
import anthropic.resources.beta
found = [anthropic.types.Message is M, BetaMessage.__name__, AnthropicVertex.__name__, anthropic.__version__[0],
         anthropic.APIStatusError.__name__, message_create_params.MessageCreateParamsBase.__name__]
print(json.dumps([few, found, hasattr(anthropic, "nothing"), hasattr(anthropic.types, "nothing")]))
""")
    few, found, *nothing = told
    assert few < 1_300  # of three thousand
    assert found == [True, "BetaMessage", "AnthropicVertex", "2", "APIStatusError", "MessageCreateParamsBase"]
    assert nothing == [False, False]


def test_who_has_read_it_whole_or_wants_to_see_what_it_does_has_it_whole():
    assert python("print(json.dumps(read()))", env={"ANTHROPIC_LOG": "info"}) > 2_000


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_name_is_one_that_the_whole_sdk_has():
    every = """
import anthropic.types.beta
places = [anthropic, anthropic.types, anthropic.types.beta]
"""
    whole = python(
        f"{every}print(json.dumps([[name for name in dir(one) if name[0] != '_'] for one in places]))",
        env={"ANTHROPIC_LOG": "info"},
    )
    assert min(map(len, whole)) > 100
    missing = f"[[name for name in names if not hasattr(one, name)] for one, names in zip(places, {whole!r})]"
    assert python(f"{every}print(json.dumps({missing}))") == [[], [], []]
