"""Strangers at the inspector's routes and at /mcp: pages of other origins in a real browser, and requests at random.

Nothing is read, nothing is changed, and the server goes on.  `PRONG_FUZZ_CASES` says how many random requests are made.
"""

import contextlib
import http.client
import http.server
import json
import os
import random
import shutil
import threading

import pytest

from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import serving
from prong.harness.mcp.http import serving_mcp
from prong.state import Store

from .conftest import Client
from .test_guard import METHODS, paths

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]  # fmt: skip
CASES = int(os.environ.get("PRONG_FUZZ_CASES", "150"))
SECRET = "look at all"  # the goal of the swarm

ATTACK = """async ([target, token, paths]) => {
  const got = [], waiting = [];
  const soon = (promise, what) => waiting.push(Promise.race([
    promise.then(found => { if (found) got.push(`${what}: ${String(found).slice(0, 200)}`); }, () => {}),
    new Promise(done => setTimeout(done, 4000))]));
  const read = async (path, options) => {
    const answer = await fetch(target + path, options);
    return answer.type === 'opaque' ? '' : `${answer.status} ${await answer.text()}`;
  };
  const element = (name, attributes, readable) => new Promise(done => {
    const made = document.createElement(name);
    made.onload = () => done(readable(made));
    made.onerror = () => done('');
    document.body.append(Object.assign(made, attributes));
  });
  const command = JSON.stringify({op: 'pause', target: {}});
  const call = JSON.stringify({jsonrpc: '2.0', id: 1, method: 'tools/call',
                               params: {name: 'atomic', arguments: {op: 'add', name: 'hit', value: 1}}});
  const json = {'content-type': 'application/json', 'accept': 'application/json, text/event-stream'};
  const known = {...json, 'authorization': `Bearer ${token}`};
  for (const path of paths) {
    const body = path === '/mcp' ? call : command;
    soon(read(path, {credentials: 'include'}), `GET ${path}`);
    soon(read(path, {credentials: 'include', mode: 'no-cors'}), `GET opaque ${path}`);
    soon(read(path, {credentials: 'include', headers: known}), `GET with the token ${path}`);
    soon(read(path, {method: 'POST', credentials: 'include', body}), `POST ${path}`);
    soon(read(path, {method: 'POST', credentials: 'include', mode: 'no-cors', body}), `POST opaque ${path}`);
    soon(read(path, {method: 'POST', credentials: 'include', headers: json, body}), `POST JSON ${path}`);
    soon(read(path, {method: 'POST', headers: known, body}), `POST with the token ${path}`);
    soon(read(path, {method: 'DELETE', credentials: 'include'}), `DELETE ${path}`);
    navigator.sendBeacon(target + path, new Blob([body], {type: 'text/plain'}));
    const form = Object.assign(document.createElement('form'), {
      method: 'post', action: target + path, enctype: 'text/plain', target: 'sink'});
    form.append(Object.assign(document.createElement('input'), {name: body.slice(0, -1) + ', "x": "', value: '"}'}));
    document.body.append(form);
    form.submit();
    soon(element('img', {src: target + path}, made => made.naturalWidth), `img ${path}`);
    soon(element('script', {src: target + path}, () => 'it ran'), `script ${path}`);
    soon(element('link', {rel: 'stylesheet', href: target + path}, () => 'it was loaded'), `style ${path}`);
    const inside = made => { try { return made.contentDocument.body.innerText; } catch { return ''; } };
    soon(element('iframe', {src: target + path}, inside), `iframe ${path}`);
    soon(new Promise(done => {
      const source = new EventSource(target + path, {withCredentials: true});
      source.onopen = () => done('it opened');
      source.onerror = () => { source.close(); done(''); }; }), `EventSource ${path}`);
    soon(new Promise(done => {
      const socket = new WebSocket(target.replace('http', 'ws') + path);
      socket.onopen = () => done('it opened');
      socket.onerror = () => done(''); }), `WebSocket ${path}`);
  }
  await Promise.all(waiting);
  return got;
}"""


class Page(http.server.BaseHTTPRequestHandler):
    """Somebody else's page."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title><iframe name=sink></iframe>")

    def log_message(self, *_):
        """Nobody reads it."""


@pytest.fixture
def elsewhere():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def unchanged(swarm, place):
    store = swarm.store()
    assert store.row("select paused from swarm")["paused"] == 0
    assert not store.rows("select seq from event where kind like 'command.%' or kind = 'agent.joined'")
    assert not store.rows("select name from atomic")
    assert not (place / "state.db").exists() or not Store(place).rows("select seq from event")


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install it: apt-get install chromium")
@pytest.mark.timeout(300)
def test_no_page_of_another_origin_reads_or_changes_anything(swarm, tmp_path, elsewhere):
    playwright = pytest.importorskip("playwright.sync_api")
    place = tmp_path / "shared"
    with contextlib.ExitStack() as stack:
        inspector, _ = stack.enter_context(serving(Library(lambda: [swarm])))
        alone, _ = stack.enter_context(serving_mcp(place))
        browser = stack.enter_context(playwright.sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=120_000
        )
        stack.callback(browser.close)
        page = browser.new_context().new_page()
        page.goto(inspector.link)  # from here on this browser bears the cookie
        ours = "fetch('/api/v1/swarms', {headers: {'x-prong': '1'}}).then(answer => answer.text())"
        assert SECRET in page.evaluate(ours), "the page itself reads it, so the attacks could too"
        page.goto(f"http://127.0.0.1:{elsewhere}/")
        own = page.evaluate(ATTACK, [f"http://127.0.0.1:{elsewhere}", "", ["/"]])
        assert any(one.startswith("GET /: 200") for one in own), (
            "where nothing protects, the attacks find what there is"
        )
        assert any(one.startswith("iframe /") for one in own)
        walked = [path for path in paths() if path != "/"] + ["/", "/api/v1/swarms/newest/stream", "/static/icon.svg"]
        for origin in ("127.0.0.1", "localhost", "evil.test"):
            page.goto(f"http://{origin}:{elsewhere}/")
            for host in ("127.0.0.1", "localhost", "evil.test"):
                target = f"http://{host}:{inspector.port}"
                got = page.evaluate(ATTACK, [target, inspector.keys.agents, few(walked, origin, host)])
                assert got == [], f"a page of {origin} on {host}"
            got = page.evaluate(ATTACK, [alone.url, alone.keys.agents, ["/mcp"]])
            assert got == [], f"a page of {origin} on /mcp alone"
        page.goto(f"http://evil.test:{inspector.port}/")
        assert "not known by that name" in page.evaluate("document.body.innerText")
        again = "fetch('/api/v1/swarms').then(answer => answer.status)"
        assert page.evaluate(again) == 421, "a rebound name is the same origin for the browser, and not for the server"
    unchanged(swarm, place)


def few(walked, origin, host):
    """All routes from the origin that is likest our own; from the others those that matter most."""
    if (origin, host) == ("localhost", "127.0.0.1"):
        return walked
    return ["/", "/mcp", "/api/v1/swarms", "/api/v1/swarms/newest/commands", "/api/v1/swarms/newest/stream"]


def random_request(chance, address):
    """A request that no client of ours makes: its method, path, headers and body, and whether it bears a token."""
    own = f"127.0.0.1:{address.port}"
    token = chance.choice([None, None, "x", "", address.keys.agents, address.keys.token])
    body = chance.choice([
        b"", b"{}", b"[]", b"null", b"[" * 5_000, b'{"op": "pause", "target": {}}', b"\xff\xfe\x00", b"x" * 70_000,
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "atomic"}}',
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m" * 9_000, "params": {"a" * 500: [0] * 500}}).encode(),
    ])  # fmt: skip
    strange = chance.choice(["host", "origin", "neither"]) if token in (address.keys.agents, address.keys.token) else ""
    headers = {
        "host": chance.choice(["evil.test", f"evil.test:{address.port}", "127.0.0.1:1", own + ".", "[::]", "a" * 300])
        if strange == "host" else own,
        "content-type": chance.choice(["application/json", "text/plain", "multipart/form-data", ""]),
        "accept": chance.choice(["*/*", "application/json, text/event-stream", "image/png"]),
        "content-length": str(len(body)),
    }  # fmt: skip
    if strange == "origin":
        headers["origin"] = chance.choice(["http://evil.test", "null", "http://127.0.0.1:1", f"https://{own}", "*"])
    if token is not None:
        headers["authorization"] = f"{chance.choice(['Bearer', 'bearer', 'Basic'])} {token}"
    for name in chance.sample(["mcp-session-id", "mcp-protocol-version", "mcp-method", "cookie", "x-prong"], 2):
        headers[name] = chance.choice(["", "1", "2026-07-28", "tools/call", "a" * 2_000, "\xff;\xfe=%00"])
    path = chance.choice([*paths(), "/mcp", "/mcp", "/mcp", "/mcp?swarm=../../etc", "/mcp/..%2f", "//mcp", "/%00"])
    return chance.choice(METHODS), path, headers, body, strange, token


def answer_of(port, method, path, headers, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1"))
        connection.endheaders(body)
        response = connection.getresponse()
        kind = response.getheader("content-type") or ""
        return response.status, "" if kind.startswith("text/event-stream") else response.read().decode("latin-1")
    except (ConnectionError, http.client.HTTPException):
        return 0, ""  # it was cut off, as one that sends nonsense may be
    finally:
        connection.close()


def test_no_random_request_reads_or_changes_anything(swarm, tmp_path):
    chance = random.Random(CASES)
    place = tmp_path / "shared"
    seen = {}
    with serving(Library(lambda: [swarm])) as (inspector, _), serving_mcp(place) as (alone, _):
        for number in range(CASES):
            address = chance.choice([inspector, alone])
            method, path, headers, body, strange, token = random_request(chance, address)
            status, text = answer_of(address.port, method, path, headers, body)
            what = f"case {number}: {method} {path} {headers} {body[:60]!r}: {status} {text[:200]}"
            assert status < 500, what
            seen[status] = seen.get(status, 0) + 1
            right = token == address.keys.token and strange != "host"
            if not right or (path.startswith("/mcp") and strange == "origin"):
                assert status not in range(200, 400) or token == address.keys.agents, what
                assert SECRET not in text, what
            if strange == "host":
                assert status in (0, 400, 421), what
        assert len(seen) > 4, seen
        assert Client(inspector).ask("/api/v1/swarms")[0] == 200, "it goes on"
    store = swarm.store()
    allowed = store.rows("select count(*) as n from event where kind = 'command.pause'")[0]["n"]
    assert store.row("select paused from swarm")["paused"] <= allowed
    assert not store.rows("select name from atomic")
