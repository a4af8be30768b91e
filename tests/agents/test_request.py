"""What goes over the wire is the request itself, however much of it was written down beforehand."""

import json

import pytest

from prong.agents.conversation import Message, prefix_hash
from prong.agents.definitions import Definitions
from prong.agents.request import Request

TOOLS = ({"name": "ask", "description": "Frag „das“.", "input_schema": {"type": "object", "properties": {}}},)
SYSTEM = ({"type": "text", "text": "Be brief. ☂"},)
SAID = (
    Message(1, "user", ({"type": "text", "text": "Go on.\n"},)),
    Message(2, "assistant", ({"type": "tool_use", "id": "toolu_1", "name": "ask", "input": {"b": 1, "a": [2.5]}},)),
    Message(3, "user", ({"type": "tool_result", "tool_use_id": "toolu_1", "content": []},)),
)


@pytest.mark.parametrize("tools", [TOOLS, Definitions(TOOLS), Definitions()], ids=["plain", "known", "none"])
@pytest.mark.parametrize("more", [{}, {"compacts": True}, {"fork_point": 2, "lifetime": "1h"}], ids=str)
def test_a_body_is_the_request_with_nothing_added_or_left_out(tools, more):
    request = Request(SYSTEM, tools, SAID, **more)
    sent = json.loads(request.body(model="a-model", max_tokens=7))
    extra = request.options()["extra_body"]
    assert sent == {"model": "a-model", "max_tokens": 7, "stream": True, **extra, **request.wire()}
    assert list(sent["messages"][1]["content"][0]["input"]) == ["b", "a"]
    assert request.most_bytes() == len(json.dumps(request.wire(), ensure_ascii=False).encode())


def test_tools_that_are_the_same_have_the_same_name_in_a_cache():
    names = {prefix_hash("a-model", SYSTEM, tools, SAID) for tools in (TOOLS, list(TOOLS), Definitions(TOOLS))}
    assert len(names) == 1
