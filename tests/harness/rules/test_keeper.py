"""What a running swarm makes of a change of its rules."""

import json

import pytest
from tests.harness.swarming import eventually

from prong.harness.bounds import Bounds
from prong.harness.permissions import policies
from prong.harness.repository.repository import Repository
from prong.harness.rules.keeper import RuleKeeper
from prong.harness.swarms import Options, create
from prong.primitives.budget import SWARM, statement


@pytest.fixture
def keeper(root):
    """Keeps a swarm of this repository to its rules; what holds from now on is told to `told`."""

    def keeper(told, *given, **bounds):
        options = Options(goal="anything", model="prong-emulator", slots=3, bounds=Bounds(**bounds), given=given)
        swarm = create(Repository.open(root), options)
        return RuleKeeper(swarm, swarm.store(), lambda slots, bounds: told.append((slots, bounds)))

    return keeper


def changes(keeper):
    rows = keeper._store.rows("select object, data from event where kind = 'rules.changed' order by seq")
    return {row["object"]: json.loads(row["data"])["effect"] for row in rows}


def bound(keeper):
    (swarm,) = [one for one in statement(keeper._store) if one.account == SWARM]
    return swarm.tokens.bound, swarm.usd.bound


def test_what_was_given_for_the_run_is_left_alone_beside_what_changes(keeper, root):
    told = []
    keeper = keeper(told, "budget.tokens", "limits.load", tokens=1_000, load=3.0)
    with keeper.keeping():
        (root / "PRONG.md").write_text(
            "---\nbudget: {tokens: 7k, usd: 5}\nlimits: {load: 1.5, memory: 1GB, agents: 6, depth: 2}\n---\n"
        )
        eventually(lambda: told, "the change")
    ((slots, bounds),) = told
    assert bound(keeper) == (1_000, 5.0)
    assert (slots, bounds.load, bounds.reserve_bytes, bounds.depth) == (6, 3.0, 10**9, 2)
    assert keeper._store.row("select most_depth from task_count")["most_depth"] == 2
    left = "not in this run: it was given when the run began"
    assert changes(keeper) == {
        "limits.agents": "now", "limits.depth": "now", "limits.load": left, "limits.memory": "now",
        "budget.tokens": left, "budget.usd": "now",
    }  # fmt: skip


def test_a_bound_that_stands_there_no_more_is_gone_and_the_other_is_set(keeper, root):
    told = []
    keeper = keeper(told, tokens=1_000, usd=2.0)
    (root / "PRONG.md").write_text("---\nbudget: {tokens: 1k, usd: 2}\n---\n")
    keeper._known = type(keeper._known).none()
    with keeper.keeping():
        eventually(lambda: told, "the first reading")
        (root / "PRONG.md").write_text("---\nbudget: {usd: 9}\n---\n")
        eventually(lambda: len(told) > 1, "the change")
        assert bound(keeper) == (None, 9.0)
        assert changes(keeper)["budget.tokens"] == "now"
        (root / "PRONG.md").unlink()
        eventually(lambda: len(told) > 2, "the end of the file")
    assert bound(keeper) == (None, 9.0)
    assert changes(keeper)["budget.usd"].startswith("not: ")


def test_a_file_that_is_wrong_is_told_and_changes_nothing(keeper, root):
    keeper = keeper([], tokens=1_000)
    with keeper.keeping():
        (root / "PRONG.md").write_text("---\nlimits: {agents: many}\n---\n")
        eventually(lambda: keeper._store.row("select 1 from event where kind = 'rules.invalid'"), "the complaint")
    assert (bound(keeper), keeper.slots) == ((1_000, None), 3)


def test_what_the_file_says_of_calls_counts_at_once_and_from_before_the_run(keeper, root):
    (root / "PRONG.md").write_text("---\npermissions: {deny: read}\n---\n")
    told = []
    keeper = keeper(told)

    def rules():
        return [(row["effect"], row["rule"]) for row in policies.rows_for(keeper._store, "")]

    with keeper.keeping():
        assert rules() == [("deny", "read")]
        (root / "PRONG.md").write_text("---\npermissions: {deny: [read, grep], ask: bash}\n---\n")
        eventually(lambda: told, "the change")
    assert rules() == [("deny", "read"), ("deny", "grep"), ("ask", "bash")]
    assert changes(keeper) == {"permissions.ask": "now", "permissions.deny": "now"}
    (root / "PRONG.md").write_text("---\npermissions: {deny: nothing}\n---\n")  # no tool
    keeper = RuleKeeper(keeper._swarm, keeper._store, lambda *_: None)
    with keeper.keeping():
        assert len(rules()) == 3
