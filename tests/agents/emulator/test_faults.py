"""What goes wrong on purpose, by script and by option, and how the SDK sees it."""

import json
from collections import Counter

import anthropic
import httpx2
import pytest

from prong.agents.emulator import EmulatorOptions, Fault
from prong.agents.emulator.emulator import Emulator

TEXT = [{"text": "a text that is long enough for several deltas to be sent, one after the other" * 3}]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.OverloadedError),
    ],
)
def test_a_script_may_answer_with_an_error(caller, status, error):
    with pytest.raises(error) as raised:
        caller.ask(TEXT, plan_more={"fault": {"status": status, "retry_after_s": 2}})
    assert raised.value.response.headers["retry-after"] == "2"
    assert raised.value.status_code == status


def test_a_fault_may_hit_only_the_first_tries(caller):
    caller.sdk = caller.sdk.with_options(max_retries=2)
    fault = {"status": 529, "retry_after_s": 0}
    assert caller.ask(TEXT, plan_more={"fault": fault, "fault_tries": 2}).stop_reason == "end_turn"
    assert [entry["status"] for entry in caller.entries()] == [529, 529, 200]
    assert [entry["retry_count"] for entry in caller.entries()] == ["0", "1", "2"]


def broken(caller, kind, **more):
    with caller.stream(TEXT, plan_more={"fault": {"stream": kind, "after": 2, **more}}) as stream:
        deltas = []
        try:
            deltas.extend(event for event in stream if event.type == "content_block_delta")
        finally:
            caller.deltas = deltas
        return stream.get_final_message()


def test_a_truncated_stream_ends_without_a_word(caller):
    message = broken(caller, "truncate")
    assert message.stop_reason is None
    assert len(caller.deltas) == 2


def test_a_disconnect_breaks_the_connection(caller):
    with pytest.raises(httpx2.RemoteProtocolError):
        broken(caller, "disconnect")


def test_a_malformed_event_is_no_json(caller):
    with pytest.raises(json.JSONDecodeError):
        broken(caller, "malformed")


def test_an_error_event_is_the_apis_own(caller):
    with pytest.raises(anthropic.APIStatusError) as raised:
        broken(caller, "error_event")
    assert raised.value.body["error"]["type"] == "overloaded_error"


def test_a_fault_behind_the_last_delta_still_comes_before_the_end(caller):
    assert broken(caller, "truncate", after=1000).stop_reason is None
    assert len(caller.deltas) > 2


@pytest.mark.parametrize("kind", ["truncate", "disconnect"])
def test_a_reply_without_a_stream_breaks_off_too(caller, kind):
    with pytest.raises((httpx2.RemoteProtocolError, anthropic.APIConnectionError)):
        caller.ask(TEXT, plan_more={"fault": {"stream": kind}})


def test_a_malformed_reply_without_a_stream_is_no_json(caller, play):
    response = caller.post(messages=[{"role": "user", "content": play(TEXT, fault={"stream": "malformed"})}])
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_an_error_event_without_a_stream_is_an_overloaded_error(caller):
    with pytest.raises(anthropic.OverloadedError):
        caller.ask(TEXT, plan_more={"fault": {"stream": "error_event"}})


def test_the_emulator_serves_on_after_every_fault(caller):
    for kind in ("truncate", "disconnect", "malformed", "error_event"):
        with pytest.raises((httpx2.HTTPError, ValueError, anthropic.APIError, AssertionError)):
            assert broken(caller, kind).stop_reason
    assert caller.ask(TEXT).stop_reason == "end_turn"
    assert [entry["fault"] for entry in caller.entries()][:4] == ["truncate", "disconnect", "malformed", "error_event"]


@pytest.fixture
def drawn():
    def draw(count, **options):
        emulator = Emulator(EmulatorOptions(**options))
        return [emulator.draw_fault() for _ in range(count)]

    return draw


def test_options_make_their_share_of_the_calls_fail(drawn):
    faults = drawn(2000, faults={"429": 0.2, "truncate": 0.1}, retry_after_s=3)
    shares = Counter("none" if fault is None else fault.stream or fault.status for fault in faults)
    assert shares[429] == pytest.approx(400, abs=80)
    assert shares["truncate"] == pytest.approx(200, abs=60)
    assert set(shares) == {429, "truncate", "none"}
    assert Fault(status=429, retry_after_s=3) in faults


def test_the_same_seed_meets_the_same_faults(drawn):
    faults = {"500": 0.5}
    assert drawn(50, faults=faults, seed=1) == drawn(50, faults=faults, seed=1) != drawn(50, faults=faults, seed=2)


def test_faults_from_options_reach_the_client(start, call_with):
    caller = call_with(start(faults={"529": 1}, retry_after_s=4))
    response = caller.post()
    assert (response.status_code, response.headers["retry-after"]) == (529, "4")
    assert caller.http.get("/v1/models").status_code == 200


@pytest.mark.parametrize("faults", [{"teapot": 0.1}, {"200": 0.1}, {"429": 0.7, "500": 0.7}, {"429": -1}])
def test_impossible_faults_are_refused(faults):
    with pytest.raises(ValueError, match=r"fault"):
        EmulatorOptions(faults=faults)
