"""What is read of a swarm to show it: the same as all of its rows would say, at any size."""

import json
import random

import pytest

from prong.harness.outcome import NOT_NEEDED
from prong.harness.status import read_picture, read_status
from prong.harness.status_rows import ORDER
from prong.primitives import Plan, create_task
from prong.primitives.task import finish
from prong.state.process import identity

STATES = ("ready", "blocked", "running", "parked", "done", "failed", "cancelled")


@pytest.fixture
def swarm(store):
    """A swarm whose tasks are in all states, some with calls of the model."""
    chance = random.Random(7)
    with store.transaction(None) as tx:
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state,"
            " supervisor_pid, supervisor_process, started_at)"
            " values ('s', 'g', '/', '0', 'b', 'm', 1, '{}', 'running', 1, :name, :now)", name=identity(), now=tx.now,
        )  # fmt: skip
        for number in range(1, 121):
            create_task(tx, Plan(f"task {number}", "Do it."))
            state, held = chance.choice(STATES), chance.choice((None, "budget", "asleep"))
            held = held if state == "parked" else None
            tx.execute("update task set state = :s, held = :h where id = :n", s=state, h=held, n=number)
            for _ in range(chance.randint(0, 2)):
                tx.execute(
                    "insert into model_call (task, agent, model, stop_reason, input_tokens, cache_read_tokens,"
                    " cache_write_tokens, output_tokens, usd, prefix_hash, prefix_tokens, started_at, first_byte_at,"
                    " ended_at) values (:n, 1, 'm', 'end_turn', 5, :read, 7, 3, 0.5, 'h', 100, 0, 0, 0)",
                    n=number, read=chance.randint(50, 150),
                )  # fmt: skip
    return store


def stand(store, *, interrupted):
    """Let the supervisor be there, or have it killed."""
    here, pid, birth = identity().split(" ")
    with store.transaction(None) as tx:
        tx.execute(
            "update swarm set supervisor_pid = :pid, supervisor_process = :name", pid=int(pid),
            name=f"{here} {pid} {0 if interrupted else birth}",
        )  # fmt: skip
        tx.event("swarm.running", object="s")


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("most", [0, 3, 30, 500])
def test_counts_and_the_first_tasks_are_what_all_rows_say(swarm, interrupted, most):
    stand(swarm, interrupted=interrupted)
    whole, part = read_status(swarm), read_picture(swarm, most)
    assert whole.state == part.state == ("interrupted" if interrupted else "running")
    assert len(whole.tasks) == 120
    told = [task.state for task in whole.tasks]
    assert part.counts() == {state: told.count(state) for state in part.counts()}
    first = sorted(whole.tasks, key=lambda task: (ORDER[task.state], task.id))[:most]
    assert [(task.id, task.state, task.usage) for task in part.tasks] == [
        (task.id, task.state, task.usage) for task in first
    ]
    assert sum(task.usage.cache_read for task in whole.tasks) == part.usage.cache_read
    assert sum(task.usd for task in whole.tasks) == part.usd
    shares = [row["s"] for row in swarm.rows("select min(1.0, cache_read_tokens / 100.0) as s from model_call")]
    assert (part.forks, part.least_prefix_read) == (len(shares), min(shares))


def test_a_second_copy_and_what_nobody_needs_any_more_are_no_problems(swarm):
    stand(swarm, interrupted=False)
    with swarm.transaction(None) as tx:
        for title, of, state, error in (
            ("bad", None, "failed", "it broke"), ("copy", 1, "cancelled", "task 1 has ended first"),
            ("vote", None, "cancelled", NOT_NEEDED), ("asked", None, "cancelled", "a person cancelled it"),
        ):  # fmt: skip
            made, _ = create_task(tx, Plan(title, "Do it."))
            tx.execute("update task set hedge_of = :of where id = :id", of=of, id=made.id)
            finish(tx, made.id, state, error=error)
    told = json.loads(json.dumps(read_status(swarm, tasks=0).as_json()))
    mine = [one for one in told["problems"] if one["task"] > 120]
    assert [(one["task"], one["error"]) for one in mine] == [(121, "it broke"), (124, "a person cancelled it")]
    assert told["tasks"]["cancelled"] == read_picture(swarm, 0).counts()["cancelled"]
