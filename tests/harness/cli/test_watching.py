"""`prong watch`, `show NUMBER` and `run --ui`: a swarm seen from a terminal, and an inspector that ends with it."""

import json
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from tests.harness.repositories import make_repository
from tests.harness.swarming import SCRIPTS, start

from prong.harness.blocking import lines, read_blocking
from prong.harness.cli.command import main
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.primitives import Plan, create_task, task
from prong.state.member import enlist


@pytest.fixture
def swarm(tmp_path):
    repository = Repository.open(make_repository(tmp_path / "repository"))
    return create(repository, Options(goal="look", model="prong-emulator", slots=4))


@pytest.fixture
def prong(swarm):
    def prong(*arguments, code=0):
        result = CliRunner().invoke(main, [*map(str, arguments), "--repo", str(swarm.repository.root)])
        assert result.exit_code == code, result.output
        return result.output

    return prong


def work(tx, title):
    """A task with an agent that has claimed it."""
    one, _ = create_task(tx, Plan(title=title, prompt="p"))
    agent = enlist(tx, f"task {one.id}", pid=None, task=one.id, state="running", lease_s=600)
    task.claim(tx, one.id, agent)
    return one.id, agent


def lock(tx, name, holder):
    tx.execute(
        "insert into lock (name, holder, fence, lease_s, acquired_at, expires_at)"
        " values (:name, :holder, 1, 60, :now, :now + 60)", name=name, holder=holder, now=tx.now,
    )  # fmt: skip


def wait(tx, of_task, agent, kind, object_):
    tx.execute(
        "insert into waiter (agent, task, kind, object, wants, state, since_at)"
        " values (:agent, :task, :kind, :object, '{}', 'waiting', :now)",
        agent=agent, task=of_task, kind=kind, object=object_, now=tx.now,
    )  # fmt: skip


def test_who_blocks_whom_is_a_tree_however_deep_and_a_circle_has_a_beginning(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        (a, ada), (b, bob), (c, eve) = (work(tx, name) for name in ("ada", "bob", "eve"))
        lock(tx, "one", ada)
        lock(tx, "two", bob)
        wait(tx, b, bob, "lock", "one")
        wait(tx, c, eve, "lock", "two")
    told = [line.split(" waits ")[0] for line in lines(read_blocking(store))]
    assert told == [f"task {a} (ada) holds up 1", f"└─ task {b} (bob)", f"   └─ task {c} (eve)"]
    with store.transaction(None) as tx:
        wait(tx, a, ada, "lock", "two")
    blocking = read_blocking(store)
    assert {one.who.agent for one in blocking.waits} == {ada, bob, eve}
    assert any(f"task {c} (eve) waits" in line for line in lines(blocking))


def test_one_picture_says_what_is_wrong_and_who_waits_for_whom(swarm, prong):
    with swarm.store().transaction(None) as tx:
        failed, agent = work(tx, "build \x1b[31m the bridge")
        task.finish(tx, failed, "failed", result=None, error="the steel is late", failure="tool")
        (_, ada), (b, bob) = work(tx, "dig"), work(tx, "pave")
        lock(tx, "road", ada)
        wait(tx, b, bob, "lock", "road")
        assert agent
    shown = prong("watch", "--once")
    assert f"✖ Task {failed} failed: build \\x1b[31m the bridge: the steel is late" in shown
    assert "waits for lock road" in shown
    assert "who blocks whom" in shown
    assert "1 of 4" in shown
    told = json.loads(prong("watch", "--once", "--json"))
    assert [one["kind"] for one in told["wrong"]] == ["failed"]
    assert {one["does"] for one in told["doing"]} >= {"waits for lock road", "asks the model"}


def test_anything_with_a_number_is_shown_and_what_is_not_there_is_refused(swarm, prong):
    with swarm.store().transaction(None) as tx:
        one, agent = work(tx, "dig")
        tx.event("map.put", object="m", key="k", value="token sk-ant-api03-" + "x" * 90, version=1)
    seq = swarm.store().row("select max(seq) as seq from event")["seq"]
    for name, wanted in ((one, "title            dig"), (f"agent:{agent}", "running"), (f"event:{seq}", "map.put")):
        assert wanted in prong("show", name)
        kind, _, number = str(name).rpartition(":")
        told = json.loads(prong("show", name, "--json"))
        assert (told["kind"], told["id"]) == (kind or "task", int(number))
    assert "xxxxxxxxxx" not in prong("show", f"event:{seq}") + prong("show", f"event:{seq}", "--json")
    for name in ("99", "agent:99", "event:999", "message:5", "approval:1", "merge:1"):
        assert "there is" in prong("show", name, code=2)


@pytest.mark.long
def test_the_inspector_beside_a_run_tells_its_link_and_ends_with_it(swarm):
    root = swarm.repository.root
    running = start("run", "--offline", "--script", SCRIPTS, "--ui", "--latency", "0.2", "fan out", cwd=root)
    link = running.stderr.readline().split()[-1]
    assert link.startswith("http://127.0.0.1:")
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link.partition("#")[0], timeout=30) as answer:
        assert b"Reading the swarm" in answer.read()
    running.communicate(timeout=100)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(link.partition("/?")[0], timeout=5)
    assert not list(root.glob(".prong/*/inspector.json"))


def test_however_many_hold_up_however_many_it_is_told_once_of_each(swarm):
    store, layers, width = swarm.store(), 12, 4
    with store.transaction(None) as tx:
        agents = [
            [enlist(tx, f"{layer}-{n}", pid=None, task=None, state="running", lease_s=600) for n in range(width)]
            for layer in range(layers)
        ]
        for layer, ones in enumerate(agents):
            tx.execute("insert into lock (name, fence, lease_s) values (:name, 1, 60)", name=f"L{layer}")
            for agent in ones:
                tx.execute(
                    "insert into lock_share (lock, fence, holder, lease_s, acquired_at, expires_at, kept)"
                    " values (:lock, :agent, :agent, 60, 0, 1e12, 0)", lock=f"L{layer}", agent=agent,
                )  # fmt: skip
                if layer:
                    wait(tx, None, agent, "lock", f"L{layer - 1}")
    told = list(lines(read_blocking(store)))
    assert len(told) < width * width * layers + width
    assert all(any(line.lstrip("├└│─ ").startswith(f"{layer}-0 waits") for line in told) for layer in range(1, layers))
