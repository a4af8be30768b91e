"""Remedies that let go on what stands still, and what is refused of them; whole swarms are in `test_troubles`."""

import json
import shutil
import sys

import pytest

from prong.harness.inspector.acts import ACTS
from prong.harness.inspector.feed import connect
from prong.harness.inspector.going_on import NotResumed, go_on
from prong.harness.inspector.problem import Moment
from prong.harness.inspector.problems import problems
from prong.harness.swarms import at_directory
from prong.primitives import Plan, create_task
from prong.state import Invalid


def wrong(store, *, alive=True):
    """The problems of a swarm, as the page reads them: by kind."""
    connection = connect(store.path)
    told = problems(Moment(connection, store.clock.now(), 0.0, alive))["problems"]
    connection.close()
    return {one["kind"]: one for one in told}


def held(tx, why, count, **columns):
    numbers = [create_task(tx, Plan(title=f"held {n}", prompt="p"))[0].id for n in range(count)]
    for number in numbers:
        tx.execute("update task set state = 'parked', held = :why where id = :task", why=why, task=number)
        for column, value in columns.items():
            tx.execute(f"update task set {column} = :value where id = :task", value=value, task=number)
    return numbers


def test_one_command_lets_all_go_on_that_wait_for_a_lost_cache(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        numbers = held(tx, "cache", 3)
    one = wrong(store)["cache"]
    assert one["title"] == "3 tasks wait because a prompt cache is lost"
    remedy = one["remedies"][0]
    assert remedy["label"] == "Let all 3 begin all the same"
    assert ACTS[remedy["op"]](swarm, remedy["target"], remedy["args"]) == {"tasks": numbers}
    assert "cache" not in wrong(store)
    for bad in ([], "2", [True], list(range(1, 2_000))):
        with pytest.raises(Invalid):
            ACTS["resume"](swarm, {"tasks": bad}, {})


def test_a_budget_is_raised_by_what_the_next_call_needs_and_an_agents_own_is_begun_anew(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        (dear,) = held(tx, "budget", 1, held_by="account", account=0)
        tx.execute("update account set tokens = 1000, settled_tokens = 900 where task = 0")
        told = {"bound_of": "account", "unit": "tokens", "asked": 5_100, "open": 100}
        tx.execute(
            "insert into event (at, task, kind, object, data) values (:now, :task, 'budget.out', '0', :data)",
            now=tx.now, task=dear, data=json.dumps(told),
        )  # fmt: skip
    assert [one["label"] for one in wrong(store)["budget"]["remedies"]] == ["Raise it to 6,000 tokens"]
    with store.transaction(None) as tx:
        (own,) = held(tx, "budget", 1, held_by="agent")
    labels = [one["label"] for one in wrong(store)["budget"]["remedies"]]
    assert labels == ["Raise it to 6,000 tokens", f"Let task {own} spend its own budget once more"]


def test_a_swarm_that_nobody_runs_is_a_problem_where_something_could_go_on(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        tx.execute("update swarm set state = 'budget'")
        tx.execute("update task set state = 'done'")
    assert "interrupted" not in wrong(store, alive=False)
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="one more", prompt="p"))
    one = wrong(store, alive=False)["interrupted"]
    assert "1 task could go on" in one["detail"]
    assert [(remedy["label"], remedy["op"]) for remedy in one["remedies"]] == [("Run it", "resume")]


def test_a_copy_of_a_swarm_is_not_run(swarm, tmp_path):
    shutil.copytree(swarm.directory, tmp_path / "copy")
    with pytest.raises(Invalid, match="a copy of swarm"):
        go_on(at_directory(tmp_path / "copy"))


def nobody_runs(swarm):
    with swarm.store().transaction(None) as tx:
        tx.execute("update swarm set state = 'stopped', supervisor_pid = null")


def test_a_process_that_dies_before_the_swarm_runs_has_not_run_it(swarm, monkeypatch, tmp_path):
    """Goal: nobody is told that a swarm goes on which does not.  Method: ends that look like those of a run."""
    nobody_runs(swarm)
    for ending in ("exit 1", "kill -9 $$"):
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\necho nothing works >&2\n{ending}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        with pytest.raises(NotResumed, match="nothing works"):
            go_on(swarm)


def test_no_file_of_the_repository_is_imported_by_what_goes_on(swarm, repository, tmp_path):
    nobody_runs(swarm)
    strange = repository.root / "click.py"
    strange.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    try:
        with pytest.raises(NotResumed):  # nobody has a key here
            go_on(swarm)
    finally:
        strange.unlink()
    assert not (tmp_path / "ran").exists()
