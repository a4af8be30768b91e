"""Who may talk to the inspector: every route and every method, from every kind of stranger."""

import re

import pytest

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
    assert len(list(paths())) == 7 + len(PAGES)


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
        assert status == 405, f"{method} {path}"


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
    again = {"cookie": cookie.split(";")[0]}
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
        assert status == 403, path
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


def test_read_only_has_no_door(repository, swarm):
    with serving(Library(lambda: all_swarms(repository)), read_only=True) as (address, _):
        status, text, _ = Client(address).ask(
            "/api/v1/swarms/newest/commands", method="POST", body={"op": "pause", "target": {}}
        )
        assert status == 403
        assert "--read-only" in text
    assert swarm.store().row("select paused from swarm")["paused"] == 0
