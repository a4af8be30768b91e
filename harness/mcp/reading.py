"""Resources as the protocol speaks of them, in both of its eras.

    older:  resources/subscribe --> the connection is told of each address that it named
            resources/list      --> and from then on when there are more or fewer
    newer:  subscriptions/listen: a stream of what it asks for, as long as it is open

Only who has asked is told, and only while somebody has, the log is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from prong.harness.mcp.changes import Changes, News
from prong.harness.mcp.resources import ADDRESS_CHARACTERS, TEMPLATES, NoSuchResource, Shelf
from prong.state import ProngError

Context = ServerRequestContext[Any]

FOLLOWED = 1_000
"""How many addresses one client can be told about."""

STREAMS = 1_024
"""How many streams of changes can be open at one place."""

_TYPE = "application/json"


class _Bus:
    """The changes of one place, as the protocol's library listens to them."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def publish(self, event: ServerEvent) -> None:
        """Nothing here is told but what the log tells."""

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Tell it what changes from now on."""

        def hear(news: News) -> None:
            if news.listed:
                listener(ResourcesListChanged())
            for uri in news.uris:
                listener(ResourceUpdated(uri))

        return self._changes.subscribe(hear)


class Place:
    """What the clients of one shared state read, and the one tailer that tells them of changes."""

    def __init__(self, place: Path) -> None:
        self.shelf = Shelf(place)
        self._changes: Changes | None = None
        self._streams: ListenHandler | None = None
        self._idle = ListenHandler(InMemorySubscriptionBus(), max_subscriptions=STREAMS)

    async def changes(self) -> Changes:
        """The tailer; it reads nothing while nobody listens."""
        path = await asyncio.to_thread(lambda: self.shelf.path)
        if self._changes is None:
            self._changes = Changes(path)
        return self._changes

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve a stream until its client leaves it."""
        asked = params.notifications
        _check(asked.resource_subscriptions or [])
        if not asked.resource_subscriptions and not asked.resources_list_changed:
            return await self._idle(context, params)  # neither tools nor prompts ever change
        if self._streams is None:
            self._streams = ListenHandler(_Bus(await self.changes()), max_subscriptions=STREAMS)
        return await self._streams(context, params)

    def close(self) -> None:
        """End all streams, and read no more."""
        for streams in (self._idle, self._streams):
            if streams is not None:
                streams.close()
        if self._changes is not None:
            self._changes.close()
        self.shelf.close()


class Follower:
    """What one connection of the older protocol is told, on its own standing channel."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._session: ServerSession | None = None
        self._uris: set[str] = set()
        self._lists = False
        self._unsubscribe: Callable[[], None] | None = None
        self._news: dict[str | None, None] = {}
        self._telling: asyncio.Task[None] | None = None

    async def follow(self, session: ServerSession, uri: str | None) -> None:
        """Tell it of an address, or where that is None of what there is, from now on; raises `MCPError`."""
        self._session = session
        if uri is None:
            self._lists = True
        else:
            _check([*self._uris, uri])
            self._uris.add(uri)
        if self._unsubscribe is None:
            self._unsubscribe = (await self.place.changes()).subscribe(self._hear)

    def leave(self, uri: str) -> None:
        """Tell it of this address no more."""
        self._uris.discard(uri)
        if not self._uris and not self._lists:
            self.close()

    def close(self) -> None:
        """Tell it nothing any more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._telling is not None:
            self._telling.cancel()

    def _hear(self, news: News) -> None:
        if news.listed and self._lists:
            self._news[None] = None
        self._news |= dict.fromkeys(uri for uri in news.uris if uri in self._uris)
        if self._news and (self._telling is None or self._telling.done()):
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        """Tell what is not told yet; what changes again while a client does not read is told once."""
        while self._news and self._session is not None:
            uri = next(iter(self._news))
            del self._news[uri]
            if uri is None:
                await self._session.send_resource_list_changed()
            else:
                params = types.ResourceUpdatedNotificationParams(uri=uri)
                await self._session.send_notification(types.ResourceUpdatedNotification(params=params))


FollowerOf = Callable[[Context], Awaitable[Follower]]
"""What a request's client follows."""


class Reading:
    """The protocol's requests about resources; `follower_of` knows whose request it is."""

    def __init__(self, follower_of: FollowerOf) -> None:
        self._follower_of = follower_of

    async def listed(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        """`resources/list`."""
        follower = await self._follower(context)
        if context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            await follower.follow(context.session, None)
        cursor = params.cursor if params is not None else None
        found, after = await _in_thread(follower.place.shelf.listed, cursor)
        resources = [
            types.Resource(
                uri=one.uri, name=one.name, title=one.title, description=one.description, mime_type=_TYPE
            ) for one in found
        ]  # fmt: skip
        return types.ListResourcesResult(resources=resources, next_cursor=after)

    async def templates(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """`resources/templates/list`."""
        templates = [
            types.ResourceTemplate(uri_template=uri, name=title, title=title, description=text, mime_type=_TYPE)
            for uri, title, text in TEMPLATES
        ]
        return types.ListResourceTemplatesResult(resource_templates=templates)

    async def read(self, context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """`resources/read`."""
        follower, uri = await self._follower(context), str(params.uri)
        text = await _in_thread(follower.place.shelf.read, uri)
        content = types.TextResourceContents(uri=uri, mime_type=_TYPE, text=text)
        return types.ReadResourceResult(contents=[content])

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """`resources/subscribe`, of the older protocol."""
        await (await self._follower(context)).follow(context.session, str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """`resources/unsubscribe`, of the older protocol."""
        (await self._follower(context)).leave(str(params.uri))
        return types.EmptyResult()

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """`subscriptions/listen`, of the newer protocol."""
        return await (await self._follower(context)).place.listen(context, params)

    async def _follower(self, context: Context) -> Follower:
        try:
            return await self._follower_of(context)
        except ProngError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error


def _check(uris: list[str]) -> None:
    if len(uris) > FOLLOWED or any(len(uri) > ADDRESS_CHARACTERS for uri in uris):
        problem = f"at most {FOLLOWED} addresses can be followed, each of at most {ADDRESS_CHARACTERS} characters"
        raise MCPError(types.INVALID_PARAMS, problem)


async def _in_thread(work: Callable[[Any], Any], given: Any) -> Any:
    """Run what reads the database; what it raises as the protocol tells it."""
    try:
        return await asyncio.to_thread(work, given)
    except NoSuchResource as error:
        raise MCPError(types.INVALID_PARAMS, str(error), {"uri": error.uri[:ADDRESS_CHARACTERS]}) from error
    except ProngError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error
