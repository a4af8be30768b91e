"""What is taken away is whole, and does nothing to whoever opens it."""

import csv
import http.server
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from prong.harness.inspector import exports
from prong.harness.inspector.feed import connect
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member
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


@pytest.fixture
def called(store):
    """A call of the model, one of a tool that failed, a key in a title, and a wait that lasts."""
    with store.transaction(None) as tx:
        tx.execute(
            "insert into model_call (task, agent, model, stop_reason, input_tokens, cache_read_tokens, usd,"
            " cache_write_tokens, output_tokens, prefix_hash, started_at, first_byte_at, ended_at)"
            " values (2, 1, 'm', 'tool_use', 10, 200, 0.5, 30, 4, 'h', :now - 2, :now - 1.5, :now)", now=tx.now,
        )  # fmt: skip
        tx.execute("update task set title = :key where id = 2", key="sk-ant-api03-" + "x" * 90)
    with store.transaction(Member(1, 1, 2)) as tx:
        tx.event("tool.began", object="bash", call="c1")
        tx.event("tool.ended", object="bash", call="c1", is_error=True)
        tx.event("task.parked", object="2", waits_for="lock", which="a")
    return store


def attributes(span):
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_the_spans_of_opentelemetry_hang_together_and_say_what_the_conventions_ask(called):
    text = whole(called, "otlp.json")
    assert "xxxxxxxx" not in text
    assert text == whole(called, "otlp.json"), "each span has the same number whenever it is made"
    spans = json.loads(text)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    by = {span["spanId"]: span for span in spans}
    assert len(by) == len(spans)
    assert all(span.get("parentSpanId") in by for span in spans if "parentSpanId" in span)
    assert all(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in spans)
    (chat,) = [span for span in spans if span["name"] == "chat m"]
    told = attributes(chat)
    assert chat["kind"] == 3
    assert told["gen_ai.usage.input_tokens"] == "240"
    assert told["gen_ai.usage.cache_read.input_tokens"] == "200"
    assert told["gen_ai.response.time_to_first_chunk"] == 0.5
    assert by[chat["parentSpanId"]]["name"].startswith("invoke_agent")
    (tool,) = [span for span in spans if span["name"] == "execute_tool bash"]
    assert (attributes(tool)["gen_ai.tool.call.id"], tool["status"]["code"]) == ("c1", 2)
    assert any(span["name"] == "prong.wait lock a" for span in spans)
    assert sum("parentSpanId" not in span for span in spans) == 1


def test_a_collector_gets_each_span_once_and_a_missing_one_is_told(called):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: PLC0415

    from prong.harness.inspector import otel_sending  # noqa: PLC0415  needs the extra

    got = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    to = otel_sending.exporter(f"http://127.0.0.1:{server.server_port}/v1/traces")
    sent = otel_sending.send(called, to, follow=False)
    server.shutdown()
    server.server_close()
    spans = [span for one in got for part in one.resource_spans for scope in part.scope_spans for span in scope.spans]
    known = json.loads(whole(called, "otlp.json"))["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert {span.span_id.hex() for span in spans} == {span["spanId"] for span in known}
    assert len(spans) == sent == len(known)
    assert not any("xxxxxxxx" in span.name for span in spans)


class Moody(http.server.BaseHTTPRequestHandler):
    """A collector that refuses what it is sent first, for so many times as its server says."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        self.send_response(400 if self.server.asked <= self.server.refuses else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def moody():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    server.asked = server.refuses = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_whoever_follows_asks_a_collector_again_that_refuses_and_tells_so(called, moody, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    from prong.harness.inspector import otel_sending  # noqa: PLC0415  needs the extra

    monkeypatch.setattr(otel_sending, "LOOK_S", 0.01)
    with called.transaction(None) as tx:
        tx.execute("update swarm set state = 'done'")
    to = otel_sending.exporter(f"http://127.0.0.1:{moody.server_port}/v1/traces")
    moody.refuses, told = 3, []
    sent = otel_sending.send(called, to, follow=True, told=lambda one: told.append((one.sent, one.pause_s)))
    assert [number for number, _ in told] == [0, 0, 0, sent]
    pauses = [pause_s for _, pause_s in told]
    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert pauses[3] == 0
    moody.refuses = 1_000_000
    with pytest.raises(otel_sending.NotSent, match="did not take the spans"):
        otel_sending.send(called, to, follow=True, patience_s=0.05)
    assert moody.asked > 5  # again and again, and then no more


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
