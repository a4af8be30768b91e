"""Malformed calls through the whole catalogue: each gets words that it can act on, none breaks or hangs a tool.

PRONG_FUZZ_CALLS says how many; a large campaign is run on demand:

    PRONG_FUZZ_CALLS=100000 .venv/bin/python -m pytest -s -n 0 tests/harness/tools/test_fuzz.py
"""

import os
import random
import subprocess
from contextlib import nullcontext
from functools import cache

import pytest
from structlog.testing import capture_logs

from prong.agents.calls import RESULT_CHARACTERS, Calls
from prong.agents.conversation import Message, insert
from prong.agents.tools import tool_environment, workspace_tools
from prong.harness.agent.toolbox import Kit, Toolbox
from prong.harness.tools.catalogue import CATALOGUE
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, Store
from prong.state.member import enlist

CALLS = int(os.environ.get("PRONG_FUZZ_CALLS", "2000"))


class Work:
    def working(self):
        return nullcontext()


@cache
def nested(levels):
    value = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


NONSENSE = [
    lambda _random: None,
    lambda random: random.choice([True, False]),
    lambda random: random.choice([-1, 0, 2**31, 2**53 + 1, 2**64, -(10**30), 10**5_000]),
    lambda random: random.choice([float("nan"), float("inf"), -float("inf"), 1e308, 0.5, -0.0]),
    lambda random: random.choice(["\0", "a\0b", "\ud800", "x\udfff", "\U0010ffff\u202e", "", " ", "\n", "\x1b[2J"]),
    lambda random: "".join(chr(random.randrange(0x110000)) for _ in range(random.randrange(30))),
    lambda random: random.choice("xé漢\0") * random.choice([300, 5_000, 200_000]),
    lambda random: random.choice([[], {}, [[]], [None], ["1"], {"": ""}, {"op": "get"}, [1, 2, 3, 4, 5]]),
    lambda random: ["x"] * random.choice([10, 20_000]),
    lambda random: nested(random.choice([5, 100, 900, 20_000])),
]
SCHEMAS = [
    {"type": "object"}, {"$ref": "#"}, {"$ref": "#/x"}, {"$ref": "http://127.0.0.1:9/"}, {"pattern": "("}, {"type": 3},
    {"anyOf": [{"$ref": "#"}]}, {"enum": []}, {"items": {"$dynamicRef": "#x"}}, {"$id": "urn:x", "$ref": "urn:x"},
    {"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": True}, {"minimum": float("nan")},
]  # fmt: skip
UNKNOWN = ["", "Bash", "lock ", "rm -rf /", "\ud800", "x" * 100_000, "__class__", "run\0", "漢"]


def likely(random, schema):
    """A value that the schema would take."""
    if "enum" in schema:
        return random.choice(schema["enum"])
    if "anyOf" in schema:
        return likely(random, random.choice(schema["anyOf"]))
    kinds = {
        "string": lambda: random.choice(["a", "a.txt", "one", "sub"]),
        "integer": lambda: random.choice([1, 1, 2, 99_999]),
        "number": lambda: 0,
        "boolean": lambda: random.random() < 0.5,
        "object": lambda: random.choice([*SCHEMAS, {"not": nested(random.choice([5, 100, 900]))}]),
        "array": lambda: [likely(random, schema["items"]) for _ in range(random.randrange(3))],
    }
    return kinds[schema.get("type", "string")]()


def malformed(random, record):
    """A likely input with one to three things wrong; only a wait of no time is ever asked for."""
    schema = record.input_schema
    keys = schema["properties"]
    needed = set(schema.get("required", ()))
    given = {key: likely(random, keys[key]) for key in keys if key in needed or random.random() < 0.4}
    if record.name == "bash":
        given = {"command": ":"}
    for _ in range(random.choice([1, 1, 2, 3])):
        key = random.choice([*keys, random.choice(["nonsense", "\ud800", "", "Name"])])
        given[key] = random.choice(NONSENSE)(random)
        if random.random() < 0.15:
            given.pop(random.choice([*given]))
    if random.random() < 0.05:
        return random.choice(NONSENSE)(random)
    if record.name == "bash" and isinstance(given.get("command"), str):
        given["command"] = random.choice(["\0", "a\ud800", ""])  # no text made by chance is to be run
    if "timeout" in keys and given.get("timeout") is None:
        given["timeout"] = 0
    return given


@pytest.fixture
def run(tmp_path):
    """Runs one turn of calls with all tools of one agent."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    subprocess.run(["git", "init", "-q", "--template="], cwd=workspace, check=True)
    (workspace / "a.txt").write_text("one\ntwo\n")
    store = Store(tmp_path / "swarm")
    with store.transaction(None) as tx:
        task, _ = create_task(tx, Plan(title="ada", prompt="do it"))
        agent = enlist(tx, "ada", pid=None, task=task.id, state="running", lease_s=None)
        tasks.claim(tx, task.id, agent)
    member = Membership(store, Member(agent, 1, task.id))
    task_tools = TaskTools(member, ForkSource(snapshot=lambda _ignored: "0" * 40, prefix_hash=lambda _turn: "hash"))
    primitives = PrimitiveTools(member, siblings=None)
    scratch = tmp_path / "scratch"
    with workspace_tools(workspace, scratch=scratch, environment=tool_environment(workspace, {})) as files:
        kit = Kit([*files.tools, *task_tools.tools(), *primitives.tools()], task_tools, primitives)
        calls = Calls(member, task.id, Toolbox(lambda: kit, ready=lambda _: None), Work())

        def run(uses):
            with store.transaction(None) as tx:
                head = insert(tx, parent=None, role="assistant", content=[], task=task.id)
            blocks = [
                {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": given}
                for n, (name, given) in enumerate(uses)
            ]
            return calls.run(Message(head, "assistant", blocks))

        yield run
    store.close()


@pytest.mark.timeout(120 + CALLS // 20)
def test_a_malformed_call_is_an_error_in_words_and_never_breaks_or_hangs_a_tool(run):
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    done = errors = 0
    while done < CALLS:
        uses = []
        for _ in range(chance.choice([1, 1, 2, 5])):
            record = chance.choice(CATALOGUE)
            name = record.name if chance.random() < 0.97 else chance.choice(UNKNOWN)
            uses.append((name, malformed(chance, record)))
        with capture_logs():  # of a tool that broke, whose traceback with values could itself take for ever
            results = run(uses)
        assert len(results) == len(uses)
        for block, (name, _given) in zip(results, uses, strict=True):
            text = block["content"][0]["text"]
            where = f"seed {seed}, call {done}, {name[:30]!r}: {text[:500]!r}"
            assert text.encode(), where
            assert len(text) <= RESULT_CHARACTERS + 200, where
            assert "Traceback" not in text, where
            assert " broke (" not in text, where
            done += 1
            errors += block.get("is_error", False)
    assert errors > 0.8 * done
    print(f"{done:,} calls, of which {errors:,} were refused")  # noqa: T201  whoever runs thousands wants to know
