"""What the inspector tells of a swarm: the same as the swarm's own tables, from any moment on, at any size."""

import http.client
import json
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prong.harness.inspector import spans_kept
from prong.harness.inspector.feed import connect
from prong.harness.inspector.spans import KINDS, Spans
from prong.primitives import Plan, SharedMap, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership
from prong.state.member import enlist

SEPARATORS = "line\u2028 break \u202eevil \x00 \ud7ff <img src=x onerror=alert(1)> \"'\n\r\tdata: x\n\nevent: events"


@pytest.fixture
def member(swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        agent = enlist(tx, "ada", pid=None, task=1, state="running", lease_s=60)
    return Membership(store, Member(agent, 1, 1))


def fill(store, count):
    with store.transaction(None) as tx:
        return [
            create_task(tx, Plan(title=f"task {n}", prompt=SEPARATORS.replace("\x00", ""))).__getitem__(0).id
            for n in range(count)
        ]


def test_the_snapshot_agrees_with_the_tables(client, swarm):
    fill(swarm.store(), 20)
    told = client.get("snapshot")
    rows = swarm.store().rows("select id, title, state from task order by id")
    assert told["tasks"]["id"] == [row["id"] for row in rows]
    assert told["tasks"]["title"] == [row["title"] for row in rows]
    assert told["tasks"]["state"] == [row["state"] for row in rows]
    assert told["seq"] == swarm.store().row("select max(seq) as seq from event")["seq"]
    assert told["swarm"]["state"] == "running", "whoever made it lives"


def listen(client, after, wanted):
    """The events that the stream tells behind a number, until so many have come."""
    connection = http.client.HTTPConnection("127.0.0.1", client.address.port, timeout=30)
    headers = {"authorization": f"Bearer {client.address.keys.token}"}
    connection.request("GET", f"/api/v1/swarms/newest/stream?after={after}", headers=headers)
    response = connection.getresponse()
    found = []
    while len(found) < wanted:
        line = response.readline().decode()
        if line.startswith("data: ["):
            found += json.loads(line.removeprefix("data: "))
    connection.close()
    return found


def test_the_stream_goes_on_from_the_snapshot_without_a_gap_or_a_double(client, swarm):
    before = client.get("snapshot")["seq"]
    fill(swarm.store(), 30)
    store = swarm.store()
    wanted = store.row("select count(*) as n from event where seq > :seq", seq=before)["n"]
    found = listen(client, before, wanted)
    rows = store.rows("select seq from event where seq > :seq order by seq", seq=before)
    assert [row[0] for row in found] == [row["seq"] for row in rows]


def test_hostile_text_stays_text_in_the_stream(client, member):
    before = client.get("snapshot")["seq"]
    text = SEPARATORS.replace("\x00", "")
    SharedMap(member, "m")[text] = text
    (row,) = [row for row in listen(client, before, 1) if row[4] == "map.put"]
    assert row[6]["key"] == text
    assert row[6]["value"] == text


NOWHERE = [
    "events?from=x",
    "events?limit=-1",
    "events?task=1e9",
    "events?from=99999999999999999999",
    "tasks/99",
    "maps/none/history?key=x",
    "objects/map/none",
    "messages/7",
]


@pytest.mark.parametrize("path", NOWHERE)
def test_what_is_not_there_or_makes_no_sense_is_refused_in_words(client, path):
    status, text, _ = client.ask(f"/api/v1/swarms/newest/{path}")
    assert status in (400, 404)
    assert len(json.loads(text)["error"]) > 10


@pytest.mark.parametrize("swarm_id", ["nobody", "../x", "newest%00"])
def test_an_unknown_swarm_is_refused_with_those_that_there_are(client, swarm, swarm_id):
    status, text, _ = client.ask(f"/api/v1/swarms/{swarm_id}/snapshot")
    assert status == 404
    assert swarm.id in text or "Not Found" in text


def test_pages_of_the_log_join_without_a_gap_in_both_directions(client, swarm):
    fill(swarm.store(), 40)
    everything = [row[0] for row in client.get("events?limit=1000")["rows"]]
    forwards, at = [], 1
    while at is not None:
        told = client.get(f"events?from={at}&limit=7")
        forwards += [row[0] for row in told["rows"]]
        at = told["next"]
    backwards, at = [], everything[-1] + 1
    while at is not None:
        told = client.get(f"events?before={at}&limit=7")
        backwards = [row[0] for row in told["rows"]] + backwards
        at = told["next"]
    assert forwards == backwards == everything
    created = client.get("events?kind=task.*&limit=1000")["rows"]
    assert {row[4] for row in created} == {"task.created"}


TOLD = [
    "task.claimed", "task.parked", "task.unparked", "task.done", "task.returned", "tool.began", "tool.ended",
    "model.answered", "agent.dead",
]  # fmt: skip
EVENTS = st.lists(st.tuples(st.sampled_from(TOLD), st.integers(1, 3), st.integers(1, 3)), max_size=60)


def event(seq, kind, agent, task):
    data = {
        "holder": agent, "attempt": 1, "waits_for": "lock", "which": "a", "call": f"c{task}", "seconds": 0.5,
        "stop_reason": "end_turn",
    }  # fmt: skip
    return (seq, float(seq), agent, task, kind, str(agent if kind == "agent.dead" else task), json.dumps(data))


@given(EVENTS, st.integers(0, 60))
@settings(deadline=None)
def test_spans_are_the_same_however_the_log_is_cut_and_never_end_before_they_begin(found, cut):
    rows = [event(seq, *one) for seq, one in enumerate(found, 1)]
    whole, parts = Spans(), Spans()
    for row in rows:
        whole.take(row)
    for part in (rows[:cut], rows[cut:]):
        for row in part:
            parts.take(row)
    assert whole.all == parts.all
    assert all(one.ended_at is None or one.ended_at >= one.began_at for one in whole.all)
    still = [(one.agent, one.kind, one.name) for one in whole.all if one.ended_at is None and KINDS[one.kind] == "task"]
    assert len(still) == len({one.task for one in whole.all if one.ended_at is None and KINDS[one.kind] == "task"})


@given(EVENTS, st.integers(0, 60))
@settings(deadline=None)
def test_a_fold_that_was_written_down_goes_on_as_the_one_that_was_not(found, cut):
    rows = [event(seq, *one) for seq, one in enumerate(found, 1)]
    whole, parts = Spans(), Spans()
    for row in rows:
        whole.take(row)
    for row in rows[:cut]:
        parts.take(row)
    again = Spans.from_json(json.loads(json.dumps(parts.as_json())))
    for row in rows[cut:]:
        again.take(row)
    assert (again.all, again.columns()) == (whole.all, whole.columns())


def test_the_fold_of_the_log_is_kept_beside_it_and_anything_else_there_is_not_believed(swarm, member):
    store, found = swarm.store(), Spans()
    with store.transaction(member.me) as tx:
        tx.event("task.claimed", object="1", holder=member.me.agent, attempt=1)
        tx.event("tool.began", object="bash", call="c")
    with closing(connect(store.path)) as connection:
        last = connection.execute("select max(seq) from event").fetchone()[0]
        found.read(connection, last)
        assert len(found) == 2
        spans_kept.keep(swarm.directory, connection, found)
        assert spans_kept.recall(swarm.directory, connection) == found
        file = swarm.directory / "log" / spans_kept.NAME
        good = json.loads(file.read_text())
        for bad in ("", "[]", '{"format":1}', json.dumps({**good, "at": 1.0}), json.dumps({**good, "seq": 10**6})):
            file.write_text(bad)
            assert len(spans_kept.recall(swarm.directory, connection)) == 0


def test_a_task_that_needs_a_thousand_others_is_known_by_the_stream_alone(client, swarm):
    store = swarm.store()
    needs = fill(store, 990)
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="join " * 30, prompt="p", needs=tuple(needs)))
        tx.event("map.put", object="m", key="k", value="v" * 9_000, version=1)
    joined, put = client.get("events?from=700&limit=1000")["rows"][-2:]
    assert (joined[6]["title"], joined[6]["needs"], "_cut" in joined[6]) == ("join " * 30, needs, True)
    assert (put[6]["key"], put[6]["version"], len(put[6]["value"])) == ("k", 1, 501)
    assert len(client.get(f"events/{put[0]}")["data"]["value"]) == 9_000


def test_reading_cannot_write(swarm):
    with pytest.raises(Exception, match="readonly"):
        connect(swarm.store().path).execute("delete from swarm")


def test_a_command_is_requested_acknowledged_and_done_and_the_log_says_who(client, swarm):
    (first,) = [row["id"] for row in swarm.store().rows("select id from task")]
    to = "/api/v1/swarms/newest/commands"
    asked = {"op": "priority", "target": {"task": first}, "args": {"priority": 7}, "key": "k"}
    status, text, _ = client.ask(to, method="POST", body=asked)
    assert status == 202
    number = json.loads(text)["id"]
    while (now := client.get(f"commands/{number}"))["state"] in ("requested", "acknowledged"):
        pass
    assert now["state"] == "done"
    assert tasks.find(swarm.store(), first).priority == 7
    _, again, _ = client.ask(to, method="POST", body={**asked, "args": {"priority": 9}})
    assert json.loads(again)["id"] == number, "the same key is the same command"
    (row,) = client.get("events?kind=command.priority")["rows"]
    assert row[6]["user"]


NONSENSE = [
    [],
    1,
    None,
    {"op": "nothing"},
    {"op": "cancel"},
    {"op": "cancel", "target": {"task": "1"}},
    {"op": "priority", "target": {"task": 1}, "args": {"priority": 1e99}},
    {"op": "budget", "target": {}, "args": {}},
    {"op": "pause", "target": [], "args": 3},
]


@pytest.mark.parametrize("body", NONSENSE)
def test_a_command_that_makes_no_sense_is_refused_in_words(client, body):
    status, text, _ = client.ask(
        "/api/v1/swarms/newest/commands",
        method="POST",
        body=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    if status == 202:
        number = json.loads(text)["id"]
        while (now := client.get(f"commands/{number}"))["state"] in ("requested", "acknowledged"):
            pass
        assert now["state"] == "failed"
        assert now["error"]
    else:
        assert status == 400
        assert len(json.loads(text)["error"]) > 10


def test_a_body_that_is_too_long_or_no_json_is_refused(client):
    to = "/api/v1/swarms/newest/commands"
    kind = {"content-type": "application/json"}
    assert client.ask(to, method="POST", body=b"{" * 100_000, headers=kind)[0] == 400
    assert client.ask(to, method="POST", body=b"[" * 900_000, headers=kind)[0] == 400
    assert client.ask(to, method="POST", body=b" " * 2_000_000, headers=kind)[0] == 413


def test_the_past_of_the_last_event_is_the_present_and_the_way_there_does_not_matter(client, swarm):
    fill(swarm.store(), 30)
    store = swarm.store()
    with store.transaction(None) as tx:
        tasks.cancel(tx, 3, reason="not needed")
        agent = enlist(tx, "task 2", pid=None, task=2, state="running", lease_s=60)
        fence = tasks.claim(tx, 2, agent)
        tasks.fail(tx, 2, fence, error="it broke", failure="tool")
    last = client.get("snapshot")["seq"]
    now = client.get(f"past?seq={last}")
    rows = {row["id"]: row["state"] for row in store.rows("select id, state from task")}
    assert {one["id"]: one["state"] for one in now["tasks"]} == rows
    for seq in (last, 5, last // 2, 1, last):
        told = client.get(f"past?seq={seq}&since=1")
        assert told["seq"] == seq
        assert len(told["tasks"]) == store.row(
            "select count(*) as n from event where kind = 'task.created' and seq <= :seq", seq=seq
        )["n"]  # fmt: skip


KEYS = [
    "sk-ant-" + "a1B2" * 10,
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "x" * 36,
    "-----BEGIN PRIVATE KEY-----\nAbc\n-----END PRIVATE KEY-----",
]


def test_no_key_that_an_agent_saw_is_shown_or_exported(client, member):
    before = client.get("snapshot")["seq"]
    for number, key in enumerate(KEYS):
        SharedMap(member, "m")[str(number)] = {"found": f'api_key="{key}"', "quote": '"' + key + '"'}
        with member.transaction() as tx:
            create_task(tx, Plan(title=f"use {key[:26]}", prompt=f"the key is {key}"))
    told = [json.dumps(listen(client, before, 8))]
    paths = (
        "snapshot",
        "events?limit=1000",
        "tasks/2",
        "objects/map/m",
        "maps/m/entries",
        "maps/m/history?key=0",
        "past?seq=999",
    )
    told += [json.dumps(client.get(path)) for path in paths]
    told += [client.ask(f"/api/v1/swarms/newest/export/{name}")[1] for name in ("events.ndjson", "tasks.csv")]
    for text in told:
        assert not [key for key in KEYS if key in text or json.dumps(key)[1:-1] in text]
    assert "[masked]" in told[0]
