"""The swarm's rules hold for clients: a person is asked in a form where the client can show one, else elsewhere."""

import asyncio
import contextlib
import os

import psutil
import pytest
from mcp import Client
from mcp.types import ElicitResult
from tests.harness.repositories import make_repository
from tests.harness.swarming import eventually, prong, start

from prong.harness import approvals
from prong.harness.mcp.http import serving_mcp
from prong.harness.mcp.permitting import is_of_an_agent
from prong.harness.permissions import policies
from prong.harness.repository.repository import Repository
from prong.harness.rules.rules import Permissions
from prong.harness.swarms import Options, create
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks

from .http_clients import transport

PATIENCE_S = 60


@pytest.fixture
def swarm(tmp_path):
    repository = Repository.open(make_repository(tmp_path / "repository"))
    made = create(repository, Options(goal="look", model="prong-emulator", slots=1))
    with made.store().transaction(None) as tx:
        policies.set_rules(tx, "test", Permissions(ask=("lock(risky*)",), deny=("atomic", "shared_map(secret)")))
    return made


class Person:
    """Who sits at a client, answers every form alike, and remembers what was asked."""

    def __init__(self, action, **content):
        self.answer = ElicitResult(action=action, content=content or None)
        self.asked = []

    async def __call__(self, _context, params):
        self.asked.append(params.message)
        return self.answer


@contextlib.asynccontextmanager
async def connected(swarm, mode, person=None, **options):
    with serving_mcp(swarm.directory, patience_s=1, **options) as (address, _):
        told = address.for_agents()
        async with Client(transport(told["url"], told["token"], "ada"), mode=mode, elicitation_callback=person) as ada:
            yield ada


def run(scene):
    return asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


async def risky(client):
    return await client.call_tool("lock", {"op": "acquire", "name": "risky business"})


def asked_of(swarm):
    return [(row["state"], row["reason"], row["answered_by"]) for row in swarm.store().rows("select * from approval")]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_person_at_the_client_is_asked_in_a_form(swarm, mode):
    async def scene():
        person = Person("accept", allow=True)
        async with connected(swarm, mode, person) as ada:
            told = await risky(ada)
            assert not told.is_error, told.content[0].text
            assert told.structured_content["fence"] == 1
            assert not (await ada.call_tool("lock", {"op": "status", "name": "dull"})).is_error
        assert [("ada" in one, "risky business" in one) for one in person.asked] == [(True, True)]

    run(scene())
    ((state, _, who),) = asked_of(swarm)
    assert (state, who) == ("approved", f"{approvals.user()}, asked by ada")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("person", [Person("accept", allow=False, reason="not on a Friday"), Person("decline")])
def test_who_says_no_is_obeyed_and_the_model_reads_why(swarm, mode, person):
    async def scene():
        async with connected(swarm, mode, person) as ada:
            told = await risky(ada)
            assert told.is_error
            assert "denied" in told.content[0].text
            assert ("not on a Friday" in told.content[0].text) == (person.answer.content is not None)
            assert (await ada.call_tool("lock", {"op": "status", "name": "risky business"})).is_error

    run(scene())
    assert asked_of(swarm)[0][0] == "denied"


@pytest.mark.parametrize(("mode", "person"), [("auto", None), ("auto", Person("cancel")), ("legacy", Person("cancel"))])
def test_where_nobody_answers_at_the_client_the_call_waits_for_others(swarm, mode, person):
    root = str(swarm.repository.root)

    async def scene():
        async with connected(swarm, mode, person) as ada:
            waiting = await risky(ada)
            assert waiting.structured_content["still_waiting"]
            assert "prong approve 1" in waiting.content[0].text
            listed = await asyncio.to_thread(prong, "approve", cwd=root)
            assert "client ada" in listed.stdout
            assert approvals.approve(swarm.store(), [1]).tasks == (None,)
            ticket = {"ticket": waiting.structured_content["ticket"]}
            assert (await ada.call_tool("resume_wait", ticket)).structured_content["fence"] == 1

    run(scene())
    assert asked_of(swarm)[0][0] == "approved"


def test_what_nobody_waits_for_any_more_is_not_asked(swarm):
    async def scene():
        async with connected(swarm, "auto") as ada:
            told = await risky(ada)
            assert len(approvals.waiting(swarm.store())) == 1
            given_up = {"ticket": told.structured_content["ticket"], "give_up": True}
            assert (await ada.call_tool("resume_wait", given_up)).is_error
            assert approvals.waiting(swarm.store()) == []
            with pytest.raises(approvals.NotWaiting, match="waits no more"):
                approvals.approve(swarm.store(), [1])

    run(scene())


def test_what_a_rule_denies_is_refused(swarm):
    async def scene():
        async with connected(swarm, "auto") as ada:
            for tool, given in [
                ("atomic", {"op": "get", "name": "n"}),
                ("shared_map", {"op": "get", "map": "secret", "key": "k"}),
            ]:
                told = await ada.call_tool(tool, given)
                assert told.is_error
                assert "does not let it run" in told.content[0].text
            assert not (await ada.call_tool("shared_map", {"op": "get", "map": "open", "key": "k"})).is_error

    run(scene())
    assert swarm.store().rows("select count(*) as n from event where kind = 'permission.denied'")[0]["n"] == 2


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_only_who_was_given_the_right_steers_and_a_person_confirms_it(swarm, mode):
    with swarm.store().transaction(None) as tx:
        for n in range(3):
            create_task(tx, Plan(f"task {n}", "p"))

    async def cancelled(person, task, *rights):
        async with connected(swarm, mode, person, rights=rights) as ada:
            offered = {tool.name: tool for tool in (await ada.list_tools()).tools}
            assert ("steer" in offered) == bool(rights)
            told = await ada.call_tool("steer", {"op": "cancel", "target": {"task": task}})
            return not told.is_error, tasks.find(swarm.store(), task).state

    no, yes = Person("accept", allow=False), Person("accept", allow=True)
    assert run(cancelled(yes, 2)) == (False, "ready")
    assert run(cancelled(yes, 2, "pause", "approve")) == (False, "ready")
    assert not yes.asked
    assert run(cancelled(no, 2, "cancel")) == (False, "ready")
    assert run(cancelled(yes, 2, "cancel")) == (True, "cancelled")
    assert run(cancelled(None, 3, "cancel")) == (True, "cancelled"), "who cannot be asked was given the right"
    assert "cancel" in no.asked[0]


def test_what_an_agent_starts_is_not_asked_what_the_agent_would_answer(swarm):
    root = swarm.repository.root
    sleeper = start("emulator", "--port", "0", cwd=root, PRONG_TASK="3")
    try:
        eventually(lambda: "PRONG_TASK" in psutil.Process(sleeper.pid).environ(), "its environment")
        assert is_of_an_agent(psutil.Process(sleeper.pid))
        assert not is_of_an_agent(psutil.Process(os.getpid()))
    finally:
        sleeper.terminate()
        sleeper.communicate()
    refused = prong("mcp", "--may", "approve", "--swarm", swarm.id, cwd=root, code=2, PRONG_TASK="3")
    assert "is for people" in refused.stderr
    assert "there are: pause" in prong("mcp", "--may", "fly", "--swarm", swarm.id, cwd=root, code=2).stderr
