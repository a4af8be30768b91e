"""Clients over HTTP: who they are, how long they are thought to live, and what goes back when they do not."""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mcp import Client
from tests.harness.repositories import make_repository
from tests.harness.swarming import environment, eventually, start

from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import serving
from prong.harness.mcp.http import serving_mcp
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.state import Store

from .http_clients import transport

HERE = Path(__file__)
ROOT = HERE.parents[3]
PATIENCE_S = 60


@pytest.fixture
def served(tmp_path):
    with serving_mcp(tmp_path / "shared", patience_s=1) as (address, _):
        yield address


@contextlib.asynccontextmanager
async def connected(address, *names, mode="auto"):
    told = address.for_agents()
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(transport(told["url"], told["token"], name), mode=mode))
            for name in names
        ]


async def ask(client, tool, **given):
    told = await asyncio.wait_for(client.call_tool(tool, given), PATIENCE_S)
    assert not told.is_error, told.content[0].text
    return told.structured_content


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


def members(place):
    return {row["name"]: row["state"] for row in Store(place).rows("select name, state from agent order by id")}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_clients_share_what_they_hold_and_know_each_other_by_name(served, tmp_path, mode):
    async def scene():
        async with connected(served, "ada", "bob", mode=mode) as (ada, bob):
            assert len((await ada.list_tools()).tools) > 10
            assert not members(tmp_path / "shared"), "who only looks is nobody's member"
            await ask(ada, "lock", op="acquire", name="index")
            refused = await bob.call_tool("lock", {"op": "acquire", "name": "index", "timeout": 0})
            assert "ada" in refused.content[0].text
            waiting = await ask(bob, "lock", op="acquire", name="index")
            await ask(ada, "lock", op="release", name="index")
            assert (await ask(bob, "resume_wait", ticket=waiting["ticket"]))["fence"] == 2
            both = [ask(one, "barrier", op="wait", name="b", parties=2) for one in (ada, bob)]
            assert sorted(one["index"] for one in await asyncio.gather(*both)) == [0, 1]

    run(scene())
    assert set(members(tmp_path / "shared")) == {"ada", "bob"}


def test_saying_goodbye_gives_back_what_was_held(served, tmp_path):
    async def scene():
        async with connected(served, "bob", mode="legacy") as (bob,):
            async with connected(served, "ada", mode="legacy") as (ada,):
                await ask(ada, "lock", op="acquire", name="index")
            assert (await ask(bob, "lock", op="acquire", name="index", timeout=20))["fence"] == 2
        eventually(lambda: "running" not in members(tmp_path / "shared").values(), "both have left")

    run(scene())


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.long)])
def test_what_a_killed_process_held_goes_to_the_next(served, tmp_path, mode):
    told = served.for_agents()
    holder = subprocess.Popen(
        [sys.executable, HERE.with_name("holder.py"), told["url"], told["token"], "ada", mode],
        cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline().strip() == "held"

        async def scene():
            async with connected(served, "bob", mode=mode) as (bob,):
                waiting = await ask(bob, "lock", op="acquire", name="index")
                assert waiting["still_waiting"]
                holder.kill()
                holder.wait()
                while "ticket" in (told := await ask(bob, "resume_wait", ticket=waiting["ticket"])):
                    pass
                assert told["fence"] == 2

        run(scene())
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert members(tmp_path / "shared")["ada"] == "ended"


def test_a_client_that_nothing_tells_from_others_has_to_give_a_name(served):
    async def scene():
        async with connected(served, None) as (nobody,):  # in the process of the server itself, which is no client's
            told = await nobody.call_tool("lock", {"op": "status", "name": "a"})
            assert told.is_error
            assert "x-prong-agent" in told.content[0].text
        async with connected(served, None, mode="legacy") as (somebody,):
            await ask(somebody, "lock", op="status", name="a")

    run(scene())


def test_a_call_that_its_client_gives_up_leaves_the_line(served, tmp_path):
    async def scene():
        async with connected(served, "ada", "bob") as (ada, bob):
            await ask(ada, "lock", op="acquire", name="a")
            waiting = await ask(bob, "lock", op="acquire", name="a")
            told = await bob.call_tool("resume_wait", {"ticket": waiting["ticket"], "give_up": True})
            assert told.is_error
            assert "lock" in told.content[0].text
            cut = asyncio.create_task(ask(bob, "event", op="wait", name="never"))
            store = Store(tmp_path / "shared")
            line = "select count(*) from waiter where state = 'waiting'"
            await asyncio.to_thread(eventually, lambda: store.rows(line)[0][0], "bob waits")
            cut.cancel()
            await asyncio.to_thread(eventually, lambda: not store.rows(line)[0][0], "bob waits no more")

    run(scene())


def test_the_inspector_takes_clients_into_the_swarm_that_it_shows(tmp_path):
    swarm = create(
        Repository.open(make_repository(tmp_path / "repository")),
        Options(goal="look", model="prong-emulator", slots=1),
    )

    async def scene(address):
        async with connected(address, "ada") as (ada,):
            await ask(ada, "shared_map", op="put", map="m", key="k", value=1)

    with serving(Library(lambda: [swarm])) as (address, _):
        run(scene(address))
    assert members(swarm.directory)["ada"] == "ended", "with the server its clients' connections end"


@pytest.mark.long
def test_the_command_serves_under_a_token_that_stays(tmp_path):
    root = make_repository(tmp_path / "repository")
    told = []
    for _ in range(2):
        server = start("mcp", "--http", cwd=root)
        try:
            url, header = server.stdout.readline().strip(), server.stdout.readline().strip()
            kept = json.loads((root / ".prong/shared/mcp.json").read_text())
            assert kept["url"] == url
            assert (root / ".prong/shared/mcp.json").stat().st_mode & 0o77 == 0

            async def scene(url=url, token=kept["token"]):
                async with Client(transport(url, token, "ada")) as ada:
                    await ask(ada, "atomic", op="add", name="n", value=1)

            run(scene())
            told.append(header)
        finally:
            server.terminate()
            server.communicate()
    assert told[0] == told[1] == f"Authorization: Bearer {kept['token']}"


def test_what_is_granted_to_a_ticket_that_nobody_resumes_goes_to_the_next(tmp_path):
    async def scene(address):
        async with connected(address, "ada", "bob") as (ada, bob):
            await ask(ada, "lock", op="acquire", name="a")
            waiting = await ask(bob, "lock", op="acquire", name="a")
            assert waiting["still_waiting"]
            await ask(ada, "lock", op="release", name="a")
            assert (await ask(ada, "lock", op="acquire", name="a", timeout=20))["fence"] >= 2
            assert (await bob.call_tool("resume_wait", {"ticket": waiting["ticket"]})).is_error

    with serving_mcp(tmp_path / "shared", patience_s=1, abandoned_s=1) as (address, _):
        run(scene(address))


HALF = r'{"jsonrpc":"2.0", "id": 5, "method": "tools/call", "params": {"name": "lock", "arguments": {"x": "\ud83d"}%s}}'
NEWER = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
OLDER = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}


def test_half_of_a_surrogate_pair_is_refused_and_the_connection_lives_on(served):
    told = served.for_agents()
    address = urlsplit(told["url"])
    line = http.client.HTTPConnection(address.netloc, timeout=PATIENCE_S)
    headers = {
        "authorization": f"Bearer {told['token']}", "content-type": "application/json", "x-prong-agent": "ada",
        "accept": "application/json, text/event-stream",
    }  # fmt: skip

    def post(body, **more):
        line.request("POST", address.path, body, {**headers, **more})
        answer = line.getresponse()
        text = answer.read().decode()
        return answer, json.loads(text.rpartition("data: ")[2]) if text.strip() else None

    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": OLDER}
    first, _ = post(json.dumps(hello))
    older = {"mcp-session-id": first.getheader("mcp-session-id"), "mcp-protocol-version": "2025-06-18"}
    post(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), **older)
    refused, error = post(HALF % "", **older)
    assert (refused.status, error["error"]["code"]) == (400, -32700)
    newer = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "lock"}
    _, answer = post(HALF % f', "_meta": {json.dumps(NEWER)}', **newer)
    assert answer["id"] == 5
    assert answer["result"]["isError"]
    ping = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "ping"})
    assert post(ping, **older)[1] == {"jsonrpc": "2.0", "id": 9, "result": {}}
    line.close()
