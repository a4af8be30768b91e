"""One MCP client in a process of its own, of the standard library alone, so that what is measured is the server.

    python caller.py stdio PLACE NAME PHASE...        starts `prong mcp` for itself
    python caller.py http URL TOKEN NAME PHASE...

It connects, prints `ready`, and goes through its phases, each of which it begins when it reads a line:
`calls:SECONDS:PAUSE` times calls and prints the times as JSON; `work` claims and completes tasks until none is left,
and says when it begins and ends one.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

VERSION = "2025-06-18"
HELLO = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "caller", "version": "1"}}


class Stdio:
    """A server of one's own, spoken to over its standard input and output."""

    def __init__(self, place: str, name: str) -> None:
        command = [sys.executable, "-P", "-m", "prong.harness", "mcp", "--file", place, "--name", name]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, message: dict[str, Any]) -> Any:
        """Send a message; returns its result, None where it is a notification."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(message) + "\n")
        self._server.stdin.flush()
        while "id" in message:
            told = json.loads(self._server.stdout.readline())
            if told.get("id") == message["id"]:
                return told["result"]
        return None


class Http:
    """A connection to a server that many share."""

    def __init__(self, url: str, token: str, name: str) -> None:
        address = urlsplit(url)
        self._path = address.path
        self._connection = http.client.HTTPConnection(address.netloc, timeout=120)
        self._headers = {
            "authorization": f"Bearer {token}", "content-type": "application/json", "x-prong-agent": name,
            "accept": "application/json, text/event-stream",
        }  # fmt: skip

    def ask(self, message: dict[str, Any]) -> Any:
        """As `Stdio.ask`."""
        try:
            self._connection.request("POST", self._path, json.dumps(message), self._headers)
            answer = self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):  # it was idle for long, and the server has closed it
            self._connection.close()
            self._connection.request("POST", self._path, json.dumps(message), self._headers)
            answer = self._connection.getresponse()
        text = answer.read().decode()
        if session := answer.getheader("mcp-session-id"):
            self._headers |= {"mcp-session-id": session, "mcp-protocol-version": VERSION}
        for line in text.splitlines():
            if line.startswith("data: {"):
                told = json.loads(line.removeprefix("data: "))
                if told.get("id") == message.get("id"):
                    return told["result"]
        assert answer.status < 300, f"{answer.status} {text[:300]}"
        return None


class Caller:
    """A client that has shaken hands."""

    def __init__(self, connection: Stdio | Http) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._connection.ask({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": HELLO})
        self._connection.ask({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, tool: str, **given: Any) -> dict[str, Any]:
        """The structured answer of a tool; empty where it refused."""
        params = {"name": tool, "arguments": given}
        told = self._connection.ask(
            {"jsonrpc": "2.0", "id": next(self._numbers), "method": "tools/call", "params": params}
        )
        return {} if told.get("isError") else told["structuredContent"]


def calls(caller: Caller, name: str, seconds: float, pause_s: float) -> dict[str, list[float]]:
    """Lock and map calls that nobody contends, each timed in milliseconds, a round every `pause_s`."""
    took: dict[str, list[float]] = {"lock": [], "map": []}
    rounds = [("lock", {"op": "acquire"}), ("map", {"op": "put", "value": name}), ("map", {"op": "get"}),
              ("lock", {"op": "release"})]  # fmt: skip
    ends = time.monotonic() + seconds
    time.sleep(random.random() * pause_s)
    while time.monotonic() < ends:
        began = time.monotonic()
        for kind, given in rounds:
            where = {"name": name} if kind == "lock" else {"map": "findings", "key": name}
            start = time.perf_counter()
            assert caller.call("shared_map" if kind == "map" else "lock", **given, **where), "it was refused"
            took[kind].append((time.perf_counter() - start) * 1000)
        time.sleep(max(0.0, pause_s - (time.monotonic() - began)))
    return took


def work(caller: Caller) -> None:
    """Claim tasks and complete them, as long as there are any."""
    while claim := caller.call("claim_task", timeout=5):
        print(f"began {claim['task']}", flush=True)
        time.sleep(0.05)
        if caller.call("complete_task", task=claim["task"], fence=claim["fence"], result="done"):
            print(f"ended {claim['task']}", flush=True)


def main(how: str, *words: str) -> None:
    """Connect, and go through the phases."""
    count = 2 if how == "stdio" else 3
    name, phases = words[count - 1], words[count:]
    caller = Caller(Stdio(*words[:count]) if how == "stdio" else Http(*words[:count]))
    caller.call("lock", op="status", name=name)
    print("ready", flush=True)
    for phase in phases:
        if not sys.stdin.readline():
            return
        if phase == "work":
            work(caller)
        else:
            _, seconds, pause_s = phase.split(":")
            print(json.dumps(calls(caller, name, float(seconds), float(pause_s))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
