"""What is taken away is whole, and does nothing to whoever opens it."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from prong.harness.inspector import exports
from prong.harness.inspector.feed import connect
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state.member import enlist


@pytest.fixture
def store(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        for n in range(5):
            one, _ = create_task(tx, Plan(title=f'=cmd("{n}"), and\n"quotes"', prompt="do it", needs=[n] if n else []))
            agent = enlist(tx, f"task {one.id}", pid=None, task=one.id, state="running", lease_s=60)
            if not n:
                fence = tasks.claim(tx, one.id, agent)
                tasks.finish(tx, one.id, "done", result="r")
                assert fence
    return store


def whole(store, name):
    return "".join(exports.export(connect(store.path), name))


def test_a_table_has_every_row_in_both_formats_and_a_formula_stays_text(store):
    for table, sql in (("tasks", "task"), ("agents", "agent"), ("events", "event")):
        count = store.row(f"select count(*) as n from {sql}")["n"]
        rows = list(csv.DictReader(io.StringIO(whole(store, f"{table}.csv"))))
        told = [json.loads(line) for line in whole(store, f"{table}.ndjson").splitlines()]
        assert len(rows) == len(told) == count
    titles = [row["title"] for row in csv.DictReader(io.StringIO(whole(store, "tasks.csv")))]
    assert titles[1] == '\'=cmd("0"), and\n"quotes"'


def test_the_trace_has_a_bar_for_the_task_and_an_arrow_for_what_was_needed(store):
    trace = json.loads(whole(store, "perfetto.json"))["traceEvents"]
    bars = [one for one in trace if one["ph"] == "X"]
    assert [one["name"] for one in bars] == ["task 2"]
    assert bars[0]["dur"] >= 0
    assert {one["ph"] for one in trace} >= {"M", "X"}


def test_the_browser_downloads_the_same_and_shows_none_of_it(client, store):
    for name in exports.names():
        status, text, headers = client.ask(f"/api/v1/swarms/newest/export/{name}")
        assert status == 200
        assert text == whole(store, name)
        assert headers["content-disposition"].startswith("attachment")
        assert headers["content-type"] == "application/octet-stream"
    assert client.ask("/api/v1/swarms/newest/export/secrets.csv")[0] == 404


def test_several_download_at_once_although_each_piece_is_made_in_whatever_thread_is_free(client, store):
    with store.transaction(None) as tx:
        for n in range(3_000):
            tx.event("test.filled", object=str(n), text="x" * 100)
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: client.ask("/api/v1/swarms/newest/export/events.csv"), range(8)))
    assert [(status, text) for status, text, _ in told] == [(200, whole(store, "events.csv"))] * 8
