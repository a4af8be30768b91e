"""Resources: what clients read without a call, and how they hear that it has changed, whoever has changed it."""

import asyncio
import contextlib
import json
import sys

import pytest
from mcp import Client, MCPError, StdioServerParameters
from tests.harness.swarming import environment, eventually

from prong.harness.mcp.changes import Changes
from prong.harness.mcp.http import serving_mcp
from prong.harness.mcp.resources import PAGE, NoSuchResource, Shelf, address
from prong.primitives import join

from .http_clients import transport

PATIENCE_S = 60


@pytest.fixture
def place(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def swarm(place):
    with join(place, "ada") as ada:
        yield ada


class Heard:
    """What a client of the older protocol is told."""

    def __init__(self):
        self.uris = []
        self.lists = 0

    async def __call__(self, message):
        method = getattr(message, "method", "")
        if method == "notifications/resources/updated":
            self.uris.append(str(message.params.uri))
        self.lists += method == "notifications/resources/list_changed"


@contextlib.asynccontextmanager
async def client_of(place, how, mode, heard=None):
    if how == "stdio":
        arguments = ["-m", "prong.harness", "mcp", "--file", str(place), "--name", "bob"]
        server = StdioServerParameters(command=sys.executable, args=arguments, env=environment())
        async with Client(server, mode=mode, message_handler=heard) as client:
            yield client
    else:
        with serving_mcp(place) as (address_of, _):
            told = address_of.for_agents()
            async with Client(
                transport(told["url"], told["token"], "bob"), mode=mode, message_handler=heard
            ) as client:  # fmt: skip
                yield client


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


async def soon(condition, what):
    await asyncio.to_thread(eventually, condition, what)


def fill(swarm):
    swarm.SharedMap("a/b").update({"k 1": [1, None], "k2": "x" * 300_000})
    swarm.MessageQueue("jobs").put({"n": 1})
    return swarm.create_task("Count", "Count the files.").id


async def read(client, uri):
    (content,) = (await client.read_resource(uri)).contents
    assert content.uri == uri
    return json.loads(content.text)


@pytest.mark.parametrize(("how", "mode"), [("stdio", "auto"), ("http", "legacy")])
def test_everything_is_listed_and_reads_as_it_is(place, swarm, how, mode):
    task = fill(swarm)

    async def scene():
        async with client_of(place, how, mode) as client:
            capabilities = client.server_capabilities.resources
            assert capabilities.subscribe
            assert capabilities.list_changed
            listed = [str(one.uri) for one in (await client.list_resources()).resources]
            assert listed[3:] == [address("maps", "a/b"), address("queues", "jobs"), address("tasks", task)]
            for uri in listed:
                assert await read(client, uri)
            assert (await read(client, "prong://maps"))["maps"] == [{"name": "a/b", "keys": 2, "writes": 2}]
            entries = (await read(client, "prong://maps/a%2Fb"))["entries"]
            assert entries[0] == {"key": "k 1", "version": 1, "value": [1, None]}
            assert entries[1]["bytes"] > 300_000
            assert (await read(client, "prong://maps/a%2Fb/k2"))["value"] == "x" * 300_000
            (message,) = (await read(client, "prong://queues/jobs"))["messages"]
            assert (message["value"], message["state"]) == ({"n": 1}, "waiting")
            assert (await read(client, f"prong://tasks/{task}"))["state"] == "ready"
            assert len((await client.list_resource_templates()).resource_templates) == 4
            for wrong in (
                "prong://maps/none",
                "prong://tasks/999",
                "prong://tasks/x",
                "file:///etc/passwd",
                "prong://",
            ):
                with pytest.raises(MCPError, match="nothing is at"):
                    await client.read_resource(wrong)

    run(scene())
    assert {row["name"] for row in swarm.store.rows("select name from agent")} == {"ada"}, "who only reads is nobody"


@pytest.mark.parametrize("how", ["stdio", "http"])
def test_changes_of_another_process_are_told_in_the_newer_protocol(place, swarm, how):
    fill(swarm)

    async def scene():
        async with client_of(place, how, "auto") as client:
            wanted = ["prong://maps/a%2Fb", "prong://queues/jobs"]
            async with client.listen(resource_subscriptions=wanted, resources_list_changed=True) as stream:
                swarm.SharedMap("other")["k"] = 1
                swarm.MessageQueue("jobs").put(2)
                told = set()
                async for event in stream:
                    told.add(getattr(event, "uri", "the list"))
                    if len(told) == 2:
                        break
            assert told == {"the list", "prong://queues/jobs"}

    run(scene())


@pytest.mark.filterwarnings("ignore:resources/")  # they are gone from the newer protocol, which this is not
@pytest.mark.parametrize("how", ["stdio", "http"])
def test_changes_of_another_process_are_told_in_the_older_protocol(place, swarm, how):
    task = fill(swarm)
    heard = Heard()

    async def scene():
        async with client_of(place, how, "legacy", heard) as client:
            await client.subscribe_resource("prong://maps/a%2Fb/k2")
            await client.subscribe_resource(f"prong://tasks/{task}")
            swarm.SharedMap("a/b")["k2"] = 3
            await soon(lambda: heard.uris == ["prong://maps/a%2Fb/k2"], "the map's key")
            await client.unsubscribe_resource("prong://maps/a%2Fb/k2")
            swarm.SharedMap("a/b")["k2"] = 4
            await client.list_resources()
            swarm.MessageQueue("more").put(1)
            await soon(lambda: heard.lists == 1, "the list")
            assert len(heard.uris) == 1
            claimed = await client.call_tool("claim_task", {"timeout": 10})
            assert not claimed.is_error
            await soon(lambda: heard.uris[-1] == f"prong://tasks/{task}", "the task")

    run(scene())


def test_the_log_is_read_only_while_somebody_listens(place, swarm):
    swarm.SharedMap("m")["k"] = 1

    async def scene():
        changes = Changes(Shelf(place).path)
        one, other = [], []
        leave = [changes.subscribe(one.append), changes.subscribe(other.append)]
        await asyncio.to_thread(swarm.SharedMap("m").put, "k", 2)
        await soon(lambda: one and other, "both heard")
        assert one[0].uris == ("prong://maps/m", "prong://maps/m/k", "prong://maps")
        assert not one[0].listed
        leave[0]()
        leave[0]()
        assert changes.is_tailing
        leave[1]()
        assert not changes.is_tailing

    run(scene())


def test_many_are_listed_page_by_page_each_once(place, swarm):
    with swarm.atomic():
        for n in range(PAGE + 5):
            swarm.SharedMap(f"map {n:04}")["k"] = n
            swarm.MessageQueue(f"q/{n:04}").put(n)
    for n in range(3):
        swarm.create_task(f"task {n}", "p")
    shelf, found, cursor = Shelf(place), [], None
    while True:
        page, cursor = shelf.listed(cursor)
        assert len(page) <= PAGE
        found += [one.uri for one in page]
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 3 + 2 * (PAGE + 5) + 3
    for wrong in ("nonsense", "tasks x", "events 1"):
        with pytest.raises(NoSuchResource):
            shelf.listed(wrong)
