import itertools
import json
from pathlib import Path

import anthropic
import pytest

from prong.agents.emulator import EmulatorOptions, EmulatorProcess
from prong.agents.emulator.journal import fingerprint

SCRIPTS = Path(__file__).with_name("scripts.py")
KEYS = itertools.count(1)
DEFAULTS = {"model": "prong-emulator", "max_tokens": 1000}


def plan(*turns, **more):
    return "play " + json.dumps({"turns": turns, **more})


class Bare:
    """HTTP without the SDK, for what the SDK would not send or would hide."""

    def __init__(self, transport, url, key):
        self.transport = transport
        self.url = url
        self.headers = {"x-api-key": key, "anthropic-version": "2026-10-21"}

    def request(self, method, path, headers=(), **more):
        return self.transport.request(method, self.url + path, headers={**self.headers, **dict(headers)}, **more)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def head(self, path, **more):
        return self.request("HEAD", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)


class Caller:
    """One client with a key, and so with a prompt cache, of its own."""

    def __init__(self, emulator, transport):
        self.emulator = emulator
        self.key = f"key-{next(KEYS)}"
        self.sdk = anthropic.Anthropic(api_key=self.key, base_url=emulator.url, max_retries=0, http_client=transport)
        self.http = Bare(transport, emulator.url, self.key)

    def ask(self, *turns, plan_more=(), **body):
        """A whole message, by the SDK, from the script that plays these turns."""
        body.setdefault("messages", [{"role": "user", "content": plan(*turns, **dict(plan_more))}])
        return self.sdk.messages.create(**{**DEFAULTS, **body})

    def stream(self, *turns, plan_more=(), **body):
        """The SDK's stream of the same."""
        body.setdefault("messages", [{"role": "user", "content": plan(*turns, **dict(plan_more))}])
        return self.sdk.messages.stream(**{**DEFAULTS, **body})

    def post(self, path="/v1/messages", **body):
        """The bare HTTP response, for what the SDK would not send or would hide."""
        body.setdefault("messages", [{"role": "user", "content": plan([{"text": "fine"}])}])
        return self.http.post(path, json={**DEFAULTS, **body})

    def refusal(self, **body):
        """The status and the message with which a request is refused."""
        response = self.post(**body)
        return response.status_code, response.json()["error"]["message"]

    def entries(self):
        """What the journal has of this client."""
        return [entry for entry in self.emulator.journal() if entry["api_key"] == fingerprint(self.key)]


@pytest.fixture(scope="session")
def emulator():
    with EmulatorProcess(script_files=[SCRIPTS]) as process:
        yield process


@pytest.fixture
def caller(call_with, emulator):
    return call_with(emulator)


@pytest.fixture(scope="session")
def transport():
    """The connections of all callers; making a client of its own for each would take most of the tests' time."""
    with anthropic.DefaultHttpxClient() as client:
        yield client


@pytest.fixture
def call_with(transport):
    """Make a caller of any emulator."""
    return lambda emulator: Caller(emulator, transport)


@pytest.fixture(scope="session")
def slow():
    options = EmulatorOptions(first_token_s=0.1, latency_s=0.3, per_token_s=0.01, ping_s=0.03)
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as process:
        yield process


@pytest.fixture
def slow_caller(slow, call_with):
    caller = call_with(slow)
    # The first request of a server waits for the schema; what is timed comes after it.
    caller.post(max_tokens=0)
    return caller


@pytest.fixture
def play():
    """The first user text that makes the test script play these turns."""
    return plan


@pytest.fixture(scope="module")
def start():
    """Start an emulator with options; it ends after the module."""
    processes = []

    def make(**options):
        process = EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(**options))
        process.start()
        processes.append(process)
        return process

    yield make
    for process in processes:
        process.stop()
