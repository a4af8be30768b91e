"""What looks like a key is masked, and what does not stays as it is."""

import json

import pytest

from prong.state.secrets import MASK, masked, without

BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "key",
    [
        "sk-ant-" + "a1" * 20, "sk-proj-" + "a" * 30, "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18,
        "github_pat_" + "a" * 50, "glpat-" + "a" * 20, "xoxb-1234567890-abc", "AIza" + "b" * 35, "hf_" + "c" * 32,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r", BLOCK,
    ],
)  # fmt: skip
def test_a_key_of_a_known_form_is_masked_and_its_surroundings_stay(key):
    assert masked(f"before {key} after") == f"before {MASK} after"
    assert json.loads(masked(json.dumps({"text": f'"{key}"', "next": 1}))) == {"text": f'"{MASK}"', "next": 1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MY_API_KEY=abcdefghij", f"MY_API_KEY={MASK}"),
        ('"AUTH_TOKEN": "abcdefghij"', f'"AUTH_TOKEN": "{MASK}"'),
        ("DB_PASSWORD='hunter2hunter2'", f"DB_PASSWORD='{MASK}'"),
        ("postgres://ada:lovelace@db/x", f"postgres://ada:{MASK}@db/x"),
    ],
)
def test_a_value_that_is_assigned_to_what_is_named_like_a_key_is_masked(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


def test_the_secrets_of_this_process_are_masked_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "plain-words-only")
    assert masked("it says plain-words-only here") == f"it says {MASK} here"
    assert without("it says plain-words-only here", ["plain-words-only", "x"]) == f"it says {MASK} here"


@pytest.mark.parametrize(
    "text",
    [
        "TOKEN_COUNT = 5",
        "the sk- prefix",
        "MAX_TOKENS: 32000",
        "https://example.org/a:b",
        "task-1 risk-taking",
        "KEY=$KEY",
    ],
)
def test_what_is_no_key_stays(text):
    assert masked(text) == text
