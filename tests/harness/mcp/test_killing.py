"""Half of the clients are killed while they work: nothing is lost, and nothing is done twice."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness.swarming import environment, eventually

from prong.harness.mcp.http import serving_mcp
from prong.primitives import Plan, create_task
from prong.state import Store

CALLER = Path(__file__).parents[3] / "benchmarks" / "mcp_clients" / "caller.py"
TASKS = 40


def done(store):
    return store.rows("select count(*) as n from task where state = 'done'")[0]["n"]


def kill_half(place, *target, count):
    store = Store(place)
    with store.transaction(None) as tx:
        for n in range(TASKS):
            create_task(tx, Plan(title=f"task {n}", prompt="p"))
    clients = [
        subprocess.Popen(
            [sys.executable, CALLER, *target, f"client-{n}", "work"],
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) for n in range(count)
    ]  # fmt: skip
    try:
        for client in clients:
            assert client.stdout.readline() == "ready\n"
        for client in clients:
            client.stdin.write("go\n")
            client.stdin.flush()
        eventually(lambda: done(store) >= TASKS // 5, "some tasks done")
        for client in clients[::2]:
            client.kill()
        eventually(lambda: done(store) == TASKS, "all tasks done")
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    ended = store.rows("select count(*) as n from event where kind = 'task.done' group by task")
    assert [row["n"] for row in ended] == [1] * TASKS
    told = {row["name"]: row["state"] for row in store.rows("select name, state from agent")}
    assert len(told) == count


def test_the_others_do_over_http_what_the_killed_had_claimed(tmp_path):
    place = tmp_path / "shared"
    with serving_mcp(place) as (address, _):
        told = address.for_agents()
        kill_half(place, "http", told["url"], told["token"], count=6)


@pytest.mark.long
def test_the_others_do_over_stdio_what_the_killed_had_claimed(tmp_path):
    place = tmp_path / "shared"
    kill_half(place, "stdio", str(place), count=6)
