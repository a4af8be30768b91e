"""Rate limits: token buckets a minute, told in headers and enforced with 429."""

from datetime import datetime

import anthropic
import pytest

SYSTEM = [{"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}]


@pytest.fixture(scope="module")
def limited(start):
    return start(requests_per_minute=5, input_tokens_per_minute=3000, output_tokens_per_minute=100)


@pytest.fixture
def caller(limited, call_with):
    """A caller of the limited emulator, with every bucket full."""
    limited.advance_clock(120)
    return call_with(limited)


def test_without_limits_there_are_no_limit_headers(emulator, call_with):
    headers = call_with(emulator).post().headers
    assert not [name for name in headers if name.startswith("anthropic-ratelimit")]


def test_every_reply_says_what_is_left_of_every_limit(caller):
    response = caller.post()
    headers = {
        name.removeprefix("anthropic-ratelimit-"): value
        for name, value in response.headers.items()
        if name.startswith("anthropic-ratelimit-")
    }
    kinds = ("requests", "input-tokens", "output-tokens", "tokens")
    assert set(headers) == {f"{kind}-{what}" for kind in kinds for what in ("limit", "remaining", "reset")}
    used = response.json()["usage"]["input_tokens"]
    assert (headers["requests-limit"], headers["requests-remaining"]) == ("5", "4")
    assert (headers["input-tokens-limit"], headers["input-tokens-remaining"]) == ("3000", str(3000 - used))
    assert (headers["tokens-limit"], headers["tokens-remaining"]) == ("3100", str(3100 - used))
    assert datetime.fromisoformat(headers["requests-reset"]).utcoffset().total_seconds() == 0


def test_too_many_requests_get_429_with_retry_after_and_then_pass(caller, limited):
    for _ in range(5):
        assert caller.post(max_tokens=0).status_code == 200
    with pytest.raises(anthropic.RateLimitError) as raised:
        caller.ask([{"text": "hi"}])
    assert "rate limit of 5 requests per minute" in str(raised.value)
    headers = raised.value.response.headers
    # One request of five a minute is there again after twelve seconds.
    assert int(headers["retry-after"]) == 12
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    limited.advance_clock(int(headers["retry-after"]))
    assert caller.post().status_code == 200


def test_input_beyond_the_limit_gets_429_but_cached_input_is_free(caller):
    assert caller.post(system=SYSTEM).status_code == 200
    assert caller.post(system=SYSTEM).status_code == 200
    status, told = caller.refusal(system="y" * 8000)
    assert status == 429
    assert "rate limit of 3000 input tokens per minute" in told


def test_a_request_that_is_too_large_for_the_limit_never_passes(caller):
    response = caller.post(system="y" * 20_000)
    assert (response.status_code, response.headers["retry-after"]) == (429, "60")


def test_output_beyond_the_limit_holds_up_the_next_request(caller, limited):
    caller.ask([{"text": "x" * 600}])
    response = caller.post()
    assert response.status_code == 429
    assert "rate limit of 100 output tokens per minute" in response.json()["error"]["message"]
    # 150 tokens were written of 100, and one must be there for the next request.
    assert int(response.headers["retry-after"]) == 31
    limited.advance_clock(31)
    assert caller.post().status_code == 200


def test_each_model_line_has_limits_of_its_own(caller):
    for _ in range(5):
        caller.post(max_tokens=0)
    assert caller.post().status_code == 429
    assert caller.post(model="claude-opus-5-5").status_code == 200
    assert caller.post(model="claude-opus-4-8").headers["anthropic-ratelimit-requests-remaining"] == "3"


def test_a_refused_request_does_not_use_up_the_limit(caller):
    caller.post()
    assert caller.post(colour=1).status_code == 400
    assert caller.post().headers["anthropic-ratelimit-requests-remaining"] == "3"
