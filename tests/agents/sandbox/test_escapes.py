"""The corpus of escapes through the real tools: none succeeds in the sandbox; without one those that are told."""

import re
import tempfile
from pathlib import Path

import pytest
from tests.agents.sandbox.escapes import BY_BASH, BY_OTHER_TOOLS, PREPARED
from tests.agents.sandbox.world import World
from tests.checkout import ROOT

from prong.agents.sandbox import Found, find

FOUND = find()
needs_sandbox = pytest.mark.skipif(not isinstance(FOUND, Found), reason=f"no sandbox here: {FOUND}")


@pytest.fixture(scope="module")
def jailed(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("jailed"), FOUND)
    yield world
    world.close()


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("free"), None)
    yield world
    world.close()


def put(world, text):
    for name, value in world.names().items():
        text = text.replace("{" + name + "}", str(value))
    return text


@needs_sandbox
@pytest.mark.parametrize("escape", BY_BASH, ids=lambda one: one.name)
def test_no_command_escapes_from_the_sandbox(jailed, escape):
    assert jailed.harm(jailed.call("bash", command=put(jailed, escape.command))) == []


@pytest.mark.parametrize("within", [pytest.param("jailed", marks=needs_sandbox), "free"])
@pytest.mark.parametrize(("tool", "given"), [one[1:] for one in BY_OTHER_TOOLS], ids=[one[0] for one in BY_OTHER_TOOLS])
def test_no_other_tool_leaves_the_workspace_with_or_without_a_sandbox(request, within, tool, given):
    world = request.getfixturevalue(within)
    world.call("bash", command=put(world, PREPARED))
    given = {key: put(world, value) if isinstance(value, str) else value for key, value in given.items()}
    assert world.harm(world.call(tool, **given)) == []


def test_there_are_at_least_sixty_and_each_has_its_own_name():
    names = [one.name for one in BY_BASH] + [name for name, *_ in BY_OTHER_TOOLS]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.long
def test_without_a_sandbox_exactly_those_succeed_that_the_manual_lists(tmp_path):
    assert succeeding_below(tmp_path) == told("What can succeed without a sandbox")


def succeeding_below(place):
    """The harmless escapes that do harm without a sandbox; after what has changed the world comes a new one."""
    succeeded, world = set(), None
    try:
        for number, escape in enumerate(one for one in BY_BASH if one.harmless):
            world = world or World(place / str(number), None)
            harm = world.harm(world.call("bash", command=put(world, escape.command)))
            if harm:
                succeeded.add(escape.name)
            if harm and "a secret was read" not in harm:
                world.close()
                world = None
    finally:
        if world is not None:
            world.close()
    return succeeded


def told(title):
    """The names in the list below a title of the manual."""
    manual = (ROOT / "docs/sandbox.md").read_text()
    section = manual.split(f"## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^- ([^\n]+)$", section, re.MULTILINE))


@pytest.fixture
def in_memory():
    """A world in /dev/shm, over which the sandbox lays a /dev of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        world = World(Path(place) / "world", FOUND)
        yield world
        world.close()


@needs_sandbox
def test_a_repository_in_shared_memory_is_in_the_sandbox_and_nothing_else_of_it(in_memory):
    told = in_memory.call("bash", command="echo more >> file; cat file; git log --format=%s; echo x > /dev/shm/own")
    assert told == "plain\nmore\none"
    assert (in_memory.workspace / "file").read_text() == "plain\nmore\n"
    assert not Path("/dev/shm/own").exists()
    for escape in BY_BASH:
        if "read" in escape.name:
            assert in_memory.harm(in_memory.call("bash", command=put(in_memory, escape.command))) == [], escape.name
