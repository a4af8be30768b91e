"""Who may talk to the inspector: every route and every method, from every kind of stranger."""

import re
from pathlib import Path

import pytest

from prong.harness.inspector import app
from prong.harness.inspector.app import PAGES, application
from prong.harness.inspector.guard import CSP, MARK
from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import serving
from prong.harness.swarms import all_swarms

from .conftest import Client

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
FILLED = {
    "swarm": "newest", "file:path": "app.js", "number:int": "1", "task:int": "1", "seq:int": "1", "message:int": "1",
    "kind": "map", "name:path": "m", "name": "events.csv",
}  # fmt: skip


def paths():
    """Every path that the application knows, with something in place of what varies."""
    for route in application(Library(list), read_only=False).routes:
        yield re.sub(r"\{([^}]+)\}", lambda found: FILLED[found[1]], route.path)


def test_all_paths_are_walked():
    assert len(list(paths())) == 8 + len(PAGES)


@pytest.mark.parametrize("method", METHODS)
def test_no_route_answers_a_stranger_whatever_the_method(client, method):
    for path in [*paths(), "/nothing/of/the/kind", "/static/../guard.py", "/api/v2"]:
        status, text, headers = client.ask(path, method=method, token=False)
        assert status in (401, 405), f"{method} {path}: {status}"
        assert "{" not in text
        assert headers["content-security-policy"] == CSP


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"GET", "HEAD", "POST"}))
def test_a_method_that_changes_things_is_not_known_even_with_the_token(client, method):
    for path in paths():
        status, _, _ = client.ask(path, method=method, headers={"content-type": "application/json"})
        if (method, path) == ("DELETE", "/mcp"):
            assert status == 400, "an MCP client says goodbye, but this one has never come"
        else:
            assert status == 405, f"{method} {path}"


def test_the_token_of_agents_opens_what_they_use_and_nothing_else(client):
    token = {"authorization": f"Bearer {client.address.keys.agents}"}
    for path in paths():
        for method in ("GET", "POST"):
            status, _, _ = client.ask(path, method=method, body={}, headers=token, token=False)
            assert (status in (400, 406)) if path == "/mcp" else (status == 401), f"{method} {path}: {status}"
    strange = {**token, "origin": "http://evil.test", "accept": "application/json, text/event-stream"}
    assert client.ask("/mcp", method="POST", body={}, headers=strange, token=False)[0] == 403
    for header in ("Bearer x", "Bearer ", "Basic abc", "Bearer ü"):
        given = {"authorization": header.encode("latin-1")}
        assert client.ask("/mcp", method="POST", body={}, headers=given, token=False)[0] == 401
    form = {**token, "content-type": "text/plain"}
    assert client.ask("/mcp", method="POST", body="{}", headers=form, token=False)[0] == 415
    long = {**token, "content-type": "application/json", "accept": "application/json, text/event-stream"}
    assert client.ask("/mcp", method="POST", body=b"[" * 1_000_001, headers=long, token=False)[0] == 413


STRANGE_HOSTS = ["evil.test", "evil.test:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.test:{port}", ""]


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_a_name_that_is_not_ours_is_refused_before_all_else(client, host):
    host = host.format(port=client.address.port)
    for token in (True, False):
        status, _, _ = client.ask("/api/v1/swarms", headers={"host": host}, token=token)
        assert status == 421


def test_the_link_opens_one_browser_once(client):
    code = client.address.keys.code
    status, _, headers = client.ask(f"/?code={code}", token=False)
    assert status == 303
    assert headers["location"] == "/"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert cookie.startswith(f"prong-{client.address.port}=")
    status, text, _ = client.ask(f"/?code={code}", token=False)
    assert status == 403
    assert "prong ui" in text
    again = {"cookie": f'of-another-server={{"a": 1}}; {cookie.split(";")[0]}; x[y]'}
    assert client.ask(f"/?code={code}", token=False, headers=again)[0] == 303, "who is in may press it again"
    assert client.ask("/", token=False, headers=again)[0] == 200


@pytest.fixture
def browser(client):
    _, _, headers = client.ask(f"/?code={client.address.keys.code}", token=False)
    cookie = {"cookie": headers["set-cookie"].split(";")[0]}

    def ask(path, **more):
        return client.ask(path, token=False, **{**more, "headers": {**cookie, **more.get("headers", {})}})

    return ask


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_of_the_same_browser_reads_nothing_and_changes_nothing(browser, site):
    for path in [*paths(), "/api/v1/swarms/newest/stream"]:
        if path == "/":
            continue  # the frame without any data, which a link may open
        status, _, _ = browser(path, headers={"sec-fetch-site": site, "sec-fetch-mode": "cors"})
        assert status == (401 if path == "/mcp" else 403), path
    body = {"op": "pause", "target": {}}
    status, _, _ = browser(
        "/api/v1/swarms/newest/commands", method="POST", body=body, headers={"sec-fetch-site": site, MARK: "1"}
    )
    assert status == 403


def test_a_rebound_name_or_a_form_cannot_write(client, browser):
    own = f"http://127.0.0.1:{client.address.port}"
    to = "/api/v1/swarms/newest/commands"
    same = {"sec-fetch-site": "same-origin"}
    asked = '{"op": "pause", "target": {}}'
    assert (
        browser(to, method="POST", body=asked, headers={**same, "content-type": "text/plain", "origin": own})[0] == 415
    )
    assert browser(to, method="POST", body={"op": "pause"}, headers={**same, "origin": "http://evil.test"})[0] == 403
    assert browser(to, method="POST", body={"op": "pause"}, headers=same)[0] == 403, "no origin at all"
    assert browser(to, method="POST", body={"op": "pause"}, headers={**same, "origin": own})[0] == 202


def test_a_browser_that_tells_no_site_has_to_send_our_own_header(browser):
    assert browser("/api/v1/swarms")[0] == 403
    assert browser("/api/v1/swarms", headers={MARK: "1"})[0] == 200


def test_a_wrong_token_a_wrong_cookie_and_two_hosts_are_refused(client):
    for token in ("Bearer x", "Bearer ", "Basic abc", "Bearer ü"):
        assert client.ask("/api/v1/swarms", token=False, headers={"authorization": token.encode("latin-1")})[0] == 401
    for cookie in (f"prong-{client.address.port}=x", "=;=;", f'prong-{client.address.port}="', "a" * 5000):
        assert client.ask("/api/v1/swarms", token=False, headers={"cookie": cookie, MARK: "1"})[0] == 401


def test_only_files_of_the_page_are_served(client):
    for path in ("/static/app.js", "/static/pages/now.js", "/static/app.css", "/static/icon.svg"):
        assert client.ask(path)[0] == 200, path
    for path in ("/static/../guard.py", "/static/%2e%2e/guard.py", "/static/pages/../../app.py", "/static//etc/passwd"):
        assert client.ask(path)[0] == 404, path


def test_no_cookie_opens_what_mcp_clients_use(browser, client):
    own = {"sec-fetch-site": "same-origin", "origin": f"http://127.0.0.1:{client.address.port}", MARK: "1"}
    for method in ("GET", "POST", "DELETE"):
        assert browser("/mcp", method=method, body={}, headers=own)[0] == 401


def test_read_only_has_no_door(repository, swarm):
    with serving(Library(lambda: all_swarms(repository)), read_only=True) as (address, _):
        status, text, _ = Client(address).ask(
            "/api/v1/swarms/newest/commands", method="POST", body={"op": "pause", "target": {}}
        )
        assert status == 403
        assert "--read-only" in text
        assert Client(address).ask("/mcp", method="POST", body={})[0] == 404
    assert swarm.store().row("select paused from swarm")["paused"] == 0


def test_the_page_asks_for_all_its_modules_at_once_and_for_nothing_else(client):
    _, page, _ = client.ask("/")
    static = Path(app.__file__).parent / "static"
    modules = {str(path.relative_to(static)) for path in static.rglob("*.js")}
    assert set(re.findall(r'modulepreload" href="/static/([^"]+)"', page)) == modules
    assert not re.findall(r"https?://", page)
