"""Asking the model through the real SDK: what is tried again, what is not, and what it is called."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prong.agents.conversation import Message
from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess
from prong.agents.governor.governor import Governor
from prong.agents.model import OUTAGE_S, Endpoint, Listener, Model
from prong.agents.model_faults import ModelUnavailable
from prong.agents.request import Request

SCRIPTS = Path(__file__).parent / "emulator" / "scripts.py"


def request(**plan):
    text = "play " + json.dumps({"turns": [[{"text": "hi"}]]} | plan)
    return Request([{"type": "text", "text": "Be brief."}], [], [Message(1, "user", [{"type": "text", "text": text}])])


@pytest.fixture(scope="module")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        yield emulator


class Listening:
    """Hears of waits, and lets the time of the test pass while they last."""

    def __init__(self, clock):
        self.waits = []
        self.begun = 0
        self._clock = clock
        self.listener = Listener(began=self._began, waits=self._wait)

    def _began(self, _usage):
        self.begun += 1

    def _wait(self, problem, seconds):
        self.waits.append((problem, seconds))
        self._clock.advance(seconds + 2.5)  # the gap between two that return included


@pytest.fixture
def listening(clock):
    return Listening(clock)


@pytest.fixture
def model_of(tmp_path, clock):
    """Makes a model with a governor whose time is the test's."""

    def model_of(url, key="key", name="claude-opus-5-5"):
        model = Model(Endpoint(name, url, key, max_tokens=100), clock, governed_in=tmp_path / "governor")
        model.governor = Governor(tmp_path / "governor", model.governor.identity, clock)
        return model

    return model_of


@pytest.fixture
def answers():
    """Starts a server that answers each request with the next of the given (status, error, headers); its last stays."""
    with contextlib.ExitStack() as stack:

        def answers(*replies):
            left = list(replies)

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self):
                    self.rfile.read(int(self.headers["content-length"]))
                    status, error, headers = left.pop(0) if len(left) > 1 else left[0]
                    body = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
                    self.send_response(status)
                    for name, value in {"content-length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}"

        yield answers


@pytest.mark.parametrize(
    "final",
    [
        (400, {}, "request"),
        (413, {}, "request"),
        (401, {}, "auth"),
        (403, {}, "auth"),
        (402, {}, "spend"),
        (429, {"error_code": "enforced_spend_limit_reached"}, "spend"),
    ],
    ids=str,
)
def test_what_would_fail_alike_is_not_tried_again_and_says_of_what_kind_it_is(answers, model_of, listening, final):
    status, details, kind = final
    url = answers((status, {"type": "some_error", "message": "so it is", "details": details}, {}))
    model = model_of(url)
    with pytest.raises(ModelUnavailable, match=r"at once.*so it is") as raised:
        model.ask(request(), listening.listener)
    assert (raised.value.kind, raised.value.attempts) == (kind, 1)
    assert listening.waits == []
    now = model.governor.statistics()
    assert (now.in_flight, now.refusals, now.closed_for_s) == (0, 0, 0)


def test_a_missing_key_is_told_as_such(emulator, model_of, listening, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with pytest.raises(ModelUnavailable) as raised:
        model_of(emulator.url, key=None).ask(request(), listening.listener)
    assert raised.value.kind == "auth"


def test_a_model_that_is_not_there_is_a_fault_of_the_request(emulator, model_of, listening):
    with pytest.raises(ModelUnavailable, match="no-such-model") as raised:
        model_of(emulator.url, name="no-such-model").ask(request(), listening.listener)
    assert raised.value.kind == "request"


def test_an_outage_is_waited_for_half_an_hour_and_then_told_as_the_providers(answers, model_of, listening, clock):
    url = answers((529, {"type": "overloaded_error", "message": "Overloaded"}, {}))
    began = clock.now()
    with pytest.raises(ModelUnavailable, match="Overloaded") as raised:
        model_of(url).ask(request(), listening.listener)
    assert raised.value.kind == "provider"
    # Every pause was told, none shorter than asked; the pauses grow, so that half an hour takes few requests.
    assert OUTAGE_S <= clock.now() - began <= OUTAGE_S + 60
    assert 40 <= raised.value.attempts <= 130


def test_an_outage_that_ends_costs_waiting_only(emulator, model_of, listening):
    answer = model_of(emulator.url).ask(request(fault={"status": 529}, fault_tries=9), listening.listener)
    assert answer.content[0]["text"] == "hi"
    assert len(listening.waits) == 9
    assert listening.waits[-1][1] > listening.waits[0][1]


@pytest.mark.parametrize("fault", ["truncate", "disconnect", "malformed", "error_event"])
def test_a_stream_that_breaks_is_asked_for_again(emulator, model_of, listening, fault):
    model = model_of(emulator.url)
    answer = model.ask(request(fault={"stream": fault, "after": 0}), listening.listener)
    assert answer.content[0]["text"] == "hi"
    assert len(listening.waits) == 1
    assert listening.begun == 2
    assert model.governor.statistics().in_flight == 0


def test_a_retry_after_is_waited_for(emulator, model_of, listening):
    fault = {"status": 429, "retry_after_s": 40}
    model_of(emulator.url).ask(request(fault=fault, prompt="a"), listening.listener)
    ((problem, seconds),) = listening.waits
    assert "429" in problem
    assert 40 <= seconds <= 41


def test_a_provider_that_is_not_there_is_asked_again(model_of, listening):
    with EmulatorProcess(script_files=[SCRIPTS]) as gone:
        url = gone.url
    back = EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(port=int(url.rpartition(":")[2])))

    def waits(problem, seconds):
        listening.listener.waits(problem, seconds)
        if len(listening.waits) == 2:
            back.start()

    try:
        answer = model_of(url).ask(request(), Listener(began=lambda _usage: None, waits=waits))
    finally:
        back.stop()
    assert answer.content[0]["text"] == "hi"
    assert len(listening.waits) == 2


def test_the_governor_learns_what_calls_use(emulator, model_of, listening):
    model = model_of(emulator.url)
    answer = model.ask(request(turns=[[{"text": "some words"}]]), listening.listener)
    book = model.governor._file.peek()
    assert book.mean_output == answer.usage.output
    assert book.mean_input == answer.usage.input + answer.usage.cache_write
    assert model.governor.statistics().answered == 1


def test_models_of_one_family_share_their_governor_and_others_do_not(emulator, model_of, tmp_path, listening):
    for name in ("claude-opus-5-5", "claude-opus-4-8", "claude-haiku-5-5"):
        model_of(emulator.url, name=name).ask(request(), listening.listener)
    assert len(list((tmp_path / "governor").glob("*.book"))) == 2


def test_without_a_governor_a_call_pauses_by_itself(emulator, clock, listening):
    model = Model(Endpoint("claude-opus-5-5", emulator.url, "key", max_tokens=100), clock)
    assert model.governor is None
    fault = {"status": 429, "retry_after_s": 0.01}
    answer = model.ask(request(fault=fault, prompt="without"), listening.listener)
    assert answer.content[0]["text"] == "hi"
    assert len(listening.waits) == 1
    assert listening.waits[0][1] >= 0.01
