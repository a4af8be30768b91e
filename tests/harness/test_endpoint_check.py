"""The start of a run: a model that cannot be asked is told in one line, before anything is made."""

import http.server
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.harness.endpoint_check import EndpointUnfit, check

from .swarming import prong

OPTIONS = EmulatorOptions(keys=["good"], spent=["spent"])


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(options=OPTIONS) as emulator:
        yield emulator


@contextmanager
def server(status, body, kind):
    """Answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  the name that the library calls

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def unfit(url, model="claude-opus-5-5", key="good"):
    with pytest.raises(EndpointUnfit) as caught:
        check([model], base_url=url, api_key=key)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith("Nothing was started")
    return text


def test_a_good_endpoint_costs_one_free_request_for_each_model(emulator):
    before = emulator.health()["requests"]
    assert (
        check(["claude-opus-5-5", "claude-haiku-5-5", "claude-opus-5-5"], base_url=emulator.url, api_key="good") == []
    )
    asked = [(one["method"], one["path"]) for one in emulator.journal(after=before)]
    assert asked == [("GET", "/v1/models/claude-opus-5-5"), ("GET", "/v1/models/claude-haiku-5-5")]


@pytest.mark.parametrize(
    ("key", "model", "words"),
    [
        ("bad", "claude-opus-5-5", "does not take the key (HTTP 401"),
        ("spent", "claude-opus-5-5", "has no credit left"),
        ("good", "claude-of-tomorrow", "has no model 'claude-of-tomorrow'"),
    ],
)
def test_what_the_endpoint_refuses_is_told(emulator, key, model, words):
    assert words in unfit(emulator.url, model, key)


def test_a_server_without_those_routes_is_asked_what_costs_nothing():
    with EmulatorProcess(options=EmulatorOptions(without_models=True, keys=["good"])) as local:
        assert check(["claude-opus-5-5"], base_url=local.url, api_key="good") == []
        assert "has no model" in unfit(local.url, "claude-of-tomorrow")
        assert "401" in unfit(local.url, key="bad")
        assert sum((one["usage"] or {}).get("output_tokens", 0) for one in local.journal()) == 0


def test_who_cannot_be_reached_is_named_with_the_reason():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    assert "nothing listens" in unfit(f"http://127.0.0.1:{free}")
    assert "there is no host" in unfit("http://no-such-host.invalid")
    with server(200, b"<html>hello</html>", "text/html") as url:
        assert "speaks the Messages API" in unfit(url)
        assert "no safe connection" in unfit(url.replace("http:", "https:"))
    with server(404, b"not here", "text/plain") as url:
        assert "speaks the Messages API" in unfit(url)


def test_a_busy_endpoint_and_an_unknown_model_are_no_reason_not_to_begin():
    busy = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}).encode()
    with server(529, busy, "application/json") as url:
        assert check(["claude-opus-5-5"], base_url=url, api_key="good") == []
        (note,) = check(["a-local-model"], base_url=url, api_key="good")
        assert "window" in note
    known = json.dumps({"id": "a-local-model", "max_input_tokens": 32_000}).encode()
    with server(200, known, "application/json") as url:
        (note,) = check(["a-local-model"], base_url=url, api_key="good")
        assert "32,000" in note


def test_prong_run_makes_nothing_where_its_role_has_a_model_that_is_not_there(emulator, root):
    (root / "PRONG.md").write_text("---\nroles: {reviewer: {model: claude-of-tomorrow}}\n---\n")
    options = ("--base-url", emulator.url, "--model", "claude-opus-5-5")
    done = prong("run", "x", *options, cwd=root, code=2, ANTHROPIC_API_KEY="good")
    assert "claude-of-tomorrow" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(root.glob(".prong/*/state.db"))
