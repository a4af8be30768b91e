"""The one catalogue: what it offers can be sent, is the same for all, and is what the page tells."""

import json

import jsonschema
import pytest

from prong.agents.emulator.schema import Schema
from prong.agents.tools.touch import EVERYTHING, conflict, place_below, touched
from prong.harness.agent.shared import TOOLS
from prong.harness.tools import definitions
from prong.harness.tools.catalogue import CATALOGUE, offered, record
from prong.harness.tools.page import page

# What the endpoint bounds over all strict tools of one request, and the keywords that it does not take in them.
STRICT_TOOLS = 20
STRICT_OPTIONAL_KEYS = 24
STRICT_UNIONS = 16
NOT_STRICT = {
    *("minimum", "maximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems", "oneOf"),
    *("not", "if", "patternProperties", "$ref"),
}


def parts(schema):
    """The schema and all schemas in it."""
    yield schema
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    for each in [*inside, *([schema["items"]] if "items" in schema else [])]:
        yield from parts(each)


def test_agents_are_sent_the_definitions_of_the_catalogue_in_its_order():
    assert [definition["name"] for definition in TOOLS] == [each.name for each in offered("agents")]
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)
    known = {definition["name"] for definition in definitions.PRIMITIVES}
    assert known == {each.name for each in offered("clients") if "agents" in each.offered}


def test_outside_clients_are_offered_the_primitives_and_no_way_into_files():
    names = {each.name for each in offered("clients")}
    assert {"lock", "shared_map", "create_task"} <= names
    assert not names & {"bash", "str_replace_based_edit_tool", "read", "grep", "glob"}
    assert all(each.output_schema is not None for each in offered("clients"))


@pytest.mark.parametrize("each", CATALOGUE, ids=lambda each: each.name)
def test_a_record_tells_all_that_a_model_and_a_client_need(each):
    assert each.title
    assert "Use it" in each.description or len(each.description) > 150
    jsonschema.Draft202012Validator.check_schema(each.input_schema)
    assert each.input_schema["additionalProperties"] is False
    for example in each.definition.get("input_examples", ()):
        jsonschema.validate(example, each.input_schema)
    if each.output_schema is not None:
        jsonschema.Draft202012Validator.check_schema(each.output_schema)
        assert each.output_schema["type"] == "object"
    operations = set(each.input_schema["properties"].get("op", {}).get("enum", ()))
    assert {*each.waits, *each.shapes, *each.touches} - {""} <= operations | {"view"}
    assert not each.annotations.read_only or not each.annotations.destructive


def test_the_strict_tools_stay_within_what_the_endpoint_compiles():
    strict = [each.definition["input_schema"] for each in CATALOGUE if each.definition.get("strict")]
    inside = [part for schema in strict for part in parts(schema)]
    assert len(strict) <= STRICT_TOOLS
    assert sum(len(schema["properties"]) - len(schema["required"]) for schema in strict) <= STRICT_OPTIONAL_KEYS
    assert sum("anyOf" in part for part in inside) <= STRICT_UNIONS
    assert all(part.keys() & {"type", "enum", "anyOf"} for part in inside), "a value of any type is not strict"
    assert not [part for part in inside if part.keys() & NOT_STRICT]


def test_the_endpoint_takes_the_definitions():
    body = {
        "model": "claude-opus-5-5", "max_tokens": 10, "tools": json.loads(json.dumps(TOOLS)),
        "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    schema = Schema()
    assert schema.problem(body, version="2026-10-21") is None
    assert schema.tools_problem(body["tools"]) is None


def test_the_page_is_what_the_catalogue_says(pytestconfig):
    there = (pytestconfig.rootpath / "docs/tools.md").read_text()
    assert there == page(), "make it anew: python -m prong.harness.tools.page > docs/tools.md"


def touches(name, /, **given):
    return touched(record(name).touches, given)


def test_calls_keep_their_order_where_it_can_matter(tmp_path):
    acquire = touches("lock", op="acquire", name="x")
    assert acquire == list(EVERYTHING)
    assert not conflict(touches("lock", op="status", name="x"), touches("lock", op="status", name="x"))
    put = touches("shared_map", op="put", map="m", key="a")
    assert conflict(put, touches("shared_map", op="items", map="m"))
    assert conflict(put, touches("shared_map", op="put", map="other", key="a")), "what is told is told in order"
    assert not conflict(put, touches("shared_map", op="get", map="m", key="b"))
    assert conflict(put, touches("bash", command="make")), "it is told after what stands before it was done"
    assert conflict(touches("create_task"), touches("bash", command="make"))
    waiting = touches("message_queue", op="get", queue="q")
    assert not conflict(waiting, touches("message_queue", op="put", queue="q"))
    assert not conflict(waiting, touches("bash", command="make"))
    assert touches("message_queue", op=["get"], queue={}) == touches("message_queue", op="put", queue="")
    (tmp_path / "link").symlink_to("real")

    def file(name, /, **given):
        return touched(record(name).touches, given, locate=place_below(tmp_path))

    edit = file("str_replace_based_edit_tool", command="insert", path="./link/a")
    assert conflict(edit, file("read", path="real/a"))
    assert conflict(edit, file("grep", pattern="x"))
    assert conflict(edit, file("bash", command="make"))
    assert not conflict(edit, file("read", path="real/b"))
    assert conflict(edit, file("read", path="\0")), "a path that is none may be any"
