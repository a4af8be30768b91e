"""Who may talk to the inspector: one guard in front of every route and every method.

    Host in the list? --no--> 421     somebody else's name for this machine (DNS rebinding)
    code, cookie or token? --no--> 401
    cookie from another origin? --yes--> 403     another page that this browser shows, be it on this machine
    a write that is not JSON? --yes--> 415       what a form can send

Agents that speak MCP have a token of their own, which opens `/mcp` and nothing else: with it nobody steers.

A page on another port of this machine is the same *site*, so its requests bear the cookie whatever `SameSite` says; and
a rebound name has an `Origin` equal to its `Host`.  So all four are needed, and each alone is not enough.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prong.harness.mcp.endpoint import PATH as MCP

SAFE = frozenset({"GET", "HEAD"})
"""The methods that change nothing; of the others only POST is known here, and DELETE where MCP clients say goodbye."""

MARK = "x-prong"
"""The header that our own page sends; a page of another origin can send it only after asking, which is refused."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), interest-cohort=()"),
]
_STRANGER = "This page needs the link that `prong ui` prints; it can be used once. Run `prong ui` again for another.\n"


@dataclass
class Keys:
    """The secrets of one server.

    `code` opens a browser once, `cookie` keeps it open, `token` is for programs, `agents` for what speaks MCP.
    """

    code: str | None = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    cookie: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    token: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))
    agents: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))

    def redeem(self, code: str) -> bool:
        """Whether it is the code; it is none any more then."""
        right = self.code is not None and _same(code, self.code)
        if right:
            self.code = None
        return right


class Guard:
    """Lets through to `app` only what comes from our own page, or from a program that has the token."""

    def __init__(self, app: ASGIApp, keys: Keys, *, hosts: Collection[str], port: int) -> None:
        """`hosts` are the names, without a port, by which the server may be called."""
        self._app = app
        self._keys = keys
        self._hosts = frozenset(f"{name.lower()}:{port}" for name in hosts)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)
        self._cookie_name = f"prong-{port}"  # cookies do not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks WebSocket
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in _HEADERS}
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in own]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the application; None where the request may pass."""
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        hosts = [value for key, value in scope["headers"] if key.lower() == b"host"]
        if len(hosts) != 1 or headers["host"].lower() not in self._hosts:
            return PlainTextResponse("This server is not known by that name.\n", 421)
        if scope["path"] == MCP:
            return self._refusal_of_agent(scope, headers)
        if scope["method"] not in SAFE | {"POST"}:
            return PlainTextResponse("Only GET, HEAD and POST are known here.\n", 405, {"allow": "GET, HEAD, POST"})
        if scope["path"] == "/" and (code := _code_in(scope)) is not None:
            return self._enter(code, headers)
        if "authorization" in headers:
            return self._refusal_of_program(scope, headers)
        return self._refusal_of_browser(scope, headers)

    def _refusal_of_program(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        kind, _, token = headers["authorization"].partition(" ")
        if kind.lower() != "bearer" or not _same(token.strip(), self._keys.token):
            return PlainTextResponse("That is not this server's token.\n", 401)
        return None if scope["method"] in SAFE else _refuse_form(headers)

    def _refusal_of_agent(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """No cookie opens what MCP clients use, and no page of another origin, whatever it knows."""
        if scope["method"] not in ("GET", "POST", "DELETE"):
            return PlainTextResponse("Only GET, POST and DELETE are known here.\n", 405, {"allow": "GET, POST, DELETE"})
        kind, _, token = headers.get("authorization", "").partition(" ")
        known = [_same(token.strip(), secret) for secret in (self._keys.agents, self._keys.token)]
        if kind.lower() != "bearer" or not any(known):
            return PlainTextResponse("MCP clients need the token that `prong mcp --http` prints.\n", 401)
        if headers.get("origin", next(iter(self._origins))) not in self._origins:
            return PlainTextResponse("A request from another origin is refused.\n", 403)
        return _refuse_form(headers) if scope["method"] == "POST" else None

    def _refusal_of_browser(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        if not self._has_cookie(headers):
            return PlainTextResponse(_STRANGER, 401)
        site = headers.get("sec-fetch-site")
        safe = scope["method"] in SAFE
        shows_page = safe and scope["path"] == "/" and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if site is not None and site != "same-origin" and not (site == "none" and safe) and not shows_page:
            return PlainTextResponse(f"A request from another origin is refused ({site}).\n", 403)
        if site is None and scope["path"].startswith("/api/") and MARK not in headers:
            return PlainTextResponse(f"Without Sec-Fetch-Site the header {MARK} is needed.\n", 403)
        if safe:
            return None
        if headers.get("origin") not in self._origins:
            return PlainTextResponse("A write from another origin is refused.\n", 403)
        return _refuse_form(headers)

    def _enter(self, code: str, headers: Mapping[str, str]) -> Response:
        """One hop: the code in the link becomes a cookie, and the address is clean again."""
        clean = RedirectResponse("/", 303)
        if self._keys.redeem(code):
            clean.set_cookie(self._cookie_name, self._keys.cookie, httponly=True, samesite="strict", path="/")
            return clean
        return clean if self._has_cookie(headers) else PlainTextResponse(_STRANGER, 403)

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        """The cookies of all servers of this machine come together, and those of others may hold anything."""
        sent = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        return any(name == self._cookie_name and _same(value, self._keys.cookie) for name, _, value in sent)


def _refuse_form(headers: Mapping[str, str]) -> Response | None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if kind == "application/json" else PlainTextResponse("Only JSON can be written here.\n", 415)


def _code_in(scope: Scope) -> str | None:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("code")
    return given[0] if given else None


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())
