"""Clients over standard input and output, by the official client in both eras of the protocol."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import psutil
import pytest
from mcp import Client, StdioServerParameters
from tests.harness.repositories import make_repository
from tests.harness.swarming import environment

from prong.harness.mcp.offered import offers
from prong.state import Store

PATIENCE_S = 60


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository")


def server(root, name, *more):
    arguments = ["-m", "prong.harness", "mcp", "--repo", str(root), "--name", name, *more]
    return StdioServerParameters(command=sys.executable, args=arguments, env=environment(), cwd=str(root))


@contextlib.asynccontextmanager
async def connected(root, *names, mode="auto", more=()):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(server(root, name, *more), mode=mode)) for name in names]


async def ask(client, tool, **given):
    told = await asyncio.wait_for(client.call_tool(tool, given), PATIENCE_S)
    assert not told.is_error, told.content[0].text
    return told.structured_content


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


def test_the_page_names_every_tool_that_is_offered():
    page = (Path(__file__).parents[3] / "docs/mcp.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", page.partition("## What is offered")[2].partition("##")[0]))
    assert {offer.name for offer in offers()} <= named


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_every_tool_is_listed_with_schemas_that_its_results_keep(root, mode):
    async def scene():
        async with connected(root, "ada", mode=mode) as (ada,):
            listed = {tool.name: tool for tool in (await ada.list_tools()).tools}
            assert set(listed) == {offer.name for offer in offers()}
            assert listed["list_tasks"].annotations.read_only_hint
            for name, given in [
                ("shared_map", {"op": "put", "map": "m", "key": "k", "value": [1, {"a": None}]}),
                ("shared_map", {"op": "get", "map": "m", "key": "k"}),
                ("atomic", {"op": "add", "name": "n", "value": 2}),
                ("message_queue", {"op": "put", "queue": "q", "message": "hello"}),
                ("message_queue", {"op": "get", "queue": "q"}),
                ("lock", {"op": "acquire", "name": "a"}),
                ("lock", {"op": "status", "name": "a"}),
                ("lock", {"op": "release", "name": "a"}),
                ("event", {"op": "set", "name": "e"}),
                ("shared_list", {"op": "append", "list": "l", "value": 1}),
                ("create_task", {"title": "t", "prompt": "p"}),
                ("list_tasks", {}),
            ]:
                data = await ask(ada, name, **given)
                if listed[name].output_schema is not None:
                    jsonschema.validate(data, listed[name].output_schema)

    run(scene())


def test_clients_take_turns_meet_and_see_each_others_changes(root):
    async def scene():
        async with connected(root, "ada", "bob") as (ada, bob):
            grant = await ask(ada, "lock", op="acquire", name="index")
            waiting = asyncio.create_task(ask(bob, "lock", op="acquire", name="index"))
            refused = await bob.call_tool("lock", {"op": "acquire", "name": "index", "timeout": 0})
            assert refused.is_error
            assert "ada" in refused.content[0].text
            await ask(ada, "lock", op="release", name="index")
            assert (await waiting)["fence"] > grant["fence"]
            both = [ask(one, "barrier", op="wait", name="b", parties=2) for one in (ada, bob)]
            assert sorted(one["index"] for one in await asyncio.gather(*both)) == [0, 1]
            await ask(ada, "shared_map", op="put", map="m", key="k", value="seen")
            assert (await ask(bob, "shared_map", op="get", map="m", key="k"))["value"] == "seen"

    run(scene())


def test_what_a_killed_client_holds_goes_to_the_next(root):
    async def scene():
        async with connected(root, "bob") as (bob,):
            with contextlib.suppress(Exception):
                async with connected(root, "ada") as (ada,):
                    await ask(ada, "lock", op="acquire", name="index")
                    await ask(bob, "create_task", title="t", prompt="p")
                    claimed = await ask(ada, "claim_task", timeout=10)
                    waiting = asyncio.create_task(ask(bob, "lock", op="acquire", name="index"))
                    for process in psutil.Process().children(recursive=True):
                        if "ada" in process.cmdline():
                            os.kill(process.pid, signal.SIGKILL)
                    assert (await waiting)["fence"] == 2
                    again = await ask(bob, "claim_task", timeout=20)
                    assert again["task"] == claimed["task"]
                    assert again["fence"] > claimed["fence"]
                    await ask(bob, "complete_task", task=again["task"], fence=again["fence"], result="done by bob")
                    reached.append(True)

    reached = []
    run(scene())
    assert reached
    store = Store(root / ".prong" / "shared")
    assert store.row("select state, result from task")["result"] == "done by bob"


def test_a_call_that_waits_long_gives_a_ticket_and_keeps_its_place(root):
    async def scene():
        async with connected(root, "ada", "bob", more=("--wait", "1")) as (ada, bob):
            await ask(ada, "lock", op="acquire", name="a")
            told = await ask(bob, "lock", op="acquire", name="a")
            assert told["still_waiting"]
            line = Store(root / ".prong" / "shared").rows("select id from waiter where state = 'waiting'")
            again = await ask(bob, "resume_wait", ticket=told["ticket"])
            assert again["ticket"] == told["ticket"]
            assert Store(root / ".prong" / "shared").rows("select id from waiter where state = 'waiting'") == line
            await ask(ada, "lock", op="release", name="a")
            assert (await ask(bob, "resume_wait", ticket=told["ticket"]))["fence"] == 2
            wrong = await bob.call_tool("resume_wait", {"ticket": "none"})
            assert wrong.is_error

    run(scene())


def test_nonsense_is_refused_in_words_and_the_connection_lives(root):
    async def scene():
        async with connected(root, "ada") as (ada,):
            for name, given in [
                ("nothing", {}), ("lock", {}), ("lock", {"op": "x", "name": "a"}), ("lock", {"op": 1, "name": []}),
                ("shared_map", {"op": "put", "map": "m" * 5000, "key": "k", "value": 1}),
                ("claim_task", {"timeout": -1}),
                ("complete_task", {"task": 99, "fence": 1, "result": "r"}),
                ("create_task", {"title": "", "prompt": ""}),
                ("shared_map", {"op": "get", "map": "m", "key": "k", "extra": 1}), ("bash", {"command": "id"}),
            ]:  # fmt: skip
                told = await ada.call_tool(name, given)
                assert told.is_error, name
                assert "Traceback" not in told.content[0].text
            assert (await ask(ada, "atomic", op="add", name="n", value=1))["new"] == 1

    run(scene())


UNREADABLE = [
    (r'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "\ud83d"}}', 1),
    (r'{"jsonrpc": "2.0", "id": "\udc00", "method": "tools/list"}', "\udc00"),
    ('{"jsonrpc": "2.0", "id": 2, "method": 7}', 2),
    ("{nonsense", None),
    ("[" * 100_000, None),
    ("[1]", None),
]
SILENT = ["", r'{"jsonrpc": "2.0", "method": "notifications/\ud83d"}', '{"id": 3, "result": 1, "jsonrpc": "1"}']
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}


def test_a_line_that_is_no_message_is_answered_and_the_connection_lives_on(root):
    parameters = server(root, "ada")
    began = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO})
    last = json.dumps({"jsonrpc": "2.0", "id": 99, "method": "ping"})
    with subprocess.Popen(
        [parameters.command, *parameters.args], cwd=root, env=parameters.env, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdin.write("\n".join([began, *SILENT, *(line for line, _ in UNREADABLE), last, ""]))
        process.stdin.flush()
        answers = []
        while not answers or answers[-1]["id"] != 99:
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        process.wait(PATIENCE_S)
    first, *refused, _ = sorted(answers, key=lambda one: (one["id"] != 0, one["id"] == 99))
    assert first["result"]["serverInfo"]["name"] == "prong"
    assert [one["id"] for one in refused] == [number for _, number in UNREADABLE]
    assert all(one["error"]["code"] in (-32700, -32600) for one in refused)
    assert "half of a surrogate pair" in refused[0]["error"]["message"]
