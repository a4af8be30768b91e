"""Roles in a whole swarm, and how much each is used."""

import json
from pathlib import Path

import pytest

from prong.harness.repository.repository import Repository
from prong.harness.roles import NONE, read_roles
from prong.harness.swarms import find
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state.member import enlist

from .roles_scripts import LONG
from .swarming import prong

SCRIPTS = Path(__file__).with_name("roles_scripts.py")
RULES = """\
---
roles:
  reviewer:
    prompt: Be strict.
    agents: 1
    tools: [read, grep]
  idler: {}
---
"""


def most_at_once(rows):
    running, most = set(), 0
    for row in rows:
        (running.add if row["kind"] in ("task.claimed", "task.unparked") else running.discard)(row["object"])
        most = max(most, len(running))
    return most


def test_roles_are_bounded_told_and_counted_and_results_come_back_as_data(root):
    (root / "PRONG.md").write_text(RULES)
    prong("run", "--offline", "--script", SCRIPTS, "--json", "Review all", cwd=root, code=1)
    store = find(Repository.open(root), None).store()
    rows = {row["title"]: row for row in store.rows("select * from task")}
    assert [rows[f"part {n}"]["state"] for n in (1, 2, 3, 4)] == ["done", "done", "failed", "done"]
    assert [rows[f"part {n}"]["result_value"] for n in (1, 2, 3, 4)] == ['{"bugs":1}', '{"bugs":2}', None, '{"bugs":4}']
    assert [rows[f"part {n}"]["result_asked"] for n in (1, 2, 3, 4)] == [1, 0, 1, 1]
    assert rows["part 3"]["failure"] == "model"
    assert rows["part 3"]["result"] == "It is hard to say."
    assert rows["part 4"]["context"] == "fork"
    assert rows["sum"]["result"] == "in all 3 bugs"
    waited, rest, transcript = rows["Review all"]["result"].split("\n=====\n")
    told = json.loads(waited.splitlines()[-1])["tasks"]
    assert [one["value"] for one in told] == [{"bugs": 1}, {"bugs": 2}, None, {"bugs": 4}, None, None]
    assert told[4]["cut"]
    assert told[4]["result"][:-1] + json.loads(rest.splitlines()[-1])["text"] == LONG
    assert "does not fit its schema: at $.bugs: 'many' is not of type 'integer'" in transcript
    assert "may use only these; other calls are refused: read, grep" in transcript
    refused = store.rows("select 1 from message where content like '%Did you mean reviewer?%'")
    assert refused
    runs = store.rows(
        "select kind, event.object from event join task on task.id = event.task where role = 'reviewer'"
        " and kind in ('task.claimed', 'task.unparked', 'task.parked', 'task.done', 'task.failed') order by seq"
    )
    assert most_at_once(runs) == 1
    uses = {one["role"]: one for one in map(json.loads, prong("roles", "--json", cwd=root).stdout.splitlines())}
    assert list(uses) == ["idler", "reviewer", NONE]
    assert (uses["reviewer"]["tasks"], uses["reviewer"]["agents"], uses["reviewer"]["running"]) == (3, 1, 0)
    assert 0 < uses["reviewer"]["busy"] <= uses[NONE]["busy"] + 1
    assert uses["reviewer"]["tokens"] > 0
    shown = prong("roles", cwd=root).stdout
    assert "has had no task" in shown
    assert "% of the run" in shown


@pytest.fixture
def log(store):
    """Writes events as they would come at these times of the wall clock."""

    def log(*events):
        with store.transaction(None) as tx:
            for at, kind, task in events:
                tx.execute(
                    "insert into event (at, task, kind, object, data) values (:at, :task, :kind, :object, '{}')",
                    at=at, task=task, kind=kind, object=str(task),
                )  # fmt: skip

    return log


def test_busy_is_the_time_in_which_any_of_the_role_ran_while_the_swarm_did(store, log):
    with store.transaction(None) as tx:
        one, two, other = (
            create_task(tx, Plan("t", "p", role=role))[0].id for role in ("review", "review", "write")
        )  # fmt: skip
        tx.execute("update task set state = 'blocked'")
    log((1000, "swarm.running", None), (1010, "task.claimed", one), (1020, "task.claimed", two))
    log(
        (1030, "task.parked", one),
        (1040, "task.done", two),
        (1050, "task.unparked", one),
        (1060, "swarm.stopped", None),
    )
    log((2000, "swarm.running", None), (2010, "task.claimed", other), (2040, "swarm.done", None))
    review, write = read_roles(store)
    assert (review.role, review.busy_s, review.agent_s, review.busy) == ("review", 40, 50, pytest.approx(0.4))
    assert (write.busy_s, write.busy) == (30, pytest.approx(0.3))
    assert review.words() == "idle 60 % of the run"


def test_a_full_role_tells_how_many_wait_for_it_and_unknown_prices_make_the_sum_unknown(store):
    with store.transaction(None) as tx:
        tasks.set_role(tx, "review", agents=1)
        first, _, _ = (create_task(tx, Plan("t", "p", role="review"))[0].id for _ in range(3))
        agent = enlist(tx, "ada", pid=None, task=first, state="running", lease_s=None)
        tasks.claim(tx, first, agent)
        for usd in (0.5, None):
            tx.execute(
                "insert into model_call (task, agent, model, stop_reason, input_tokens, cache_read_tokens,"
                " cache_write_tokens, output_tokens, usd, prefix_hash, started_at, first_byte_at, ended_at)"
                " values (:task, :agent, 'm', 'end_turn', 1, 2, 3, 4, :usd, '', 0, 0, 0)",
                task=first, agent=agent, usd=usd,
            )  # fmt: skip
    (use,) = read_roles(store, ["review"])
    assert (use.tasks, use.running, use.waiting, use.agents, use.busy) == (3, 1, 2, 1, None)
    assert (use.calls, use.tokens, use.usd) == (2, 20, None)
    (none,) = (one for one in read_roles(store, ["review", "writer"]) if one.role == "writer")
    assert (none.tasks, none.words()) == (0, "has had no task")
