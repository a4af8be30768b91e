"""The asynchronous twins of a swarm's methods: each waits in a thread, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from prong.harness.patterns.calls import Submitted
    from prong.harness.patterns.outcome import Outcome
    from prong.harness.patterns.voting import Vote

CHECK_S = 1.0
"""How often an awaited future looks whether the supervisor is still there, in seconds."""


class AsyncTwins:
    """What is awaited; the class that takes it over has the methods that these are twins of."""

    if TYPE_CHECKING:
        map: Callable[..., Any]
        submit: Callable[..., Submitted]
        vote: Callable[..., Vote]
        reduce: Callable[..., Outcome]
        check: Callable[[], None]

    async def amap(self, prompt: str, items: Iterable[Any], **options: Any) -> AsyncIterator[Outcome]:
        """As `map` of a prompt, for `async for`; the event loop stays free."""
        outcomes = await asyncio.to_thread(self.map, prompt, items, **options)
        try:
            while (outcome := await asyncio.to_thread(next, outcomes, None)) is not None:
                yield outcome
        finally:
            await asyncio.to_thread(cast("Any", outcomes).close)

    async def avote(self, prompt: str, n: int = 5, **options: Any) -> Vote:
        """As `vote`, to be awaited."""
        return await asyncio.to_thread(self.vote, prompt, n, **options)

    async def areduce(self, prompt: str, results: Iterable[Any], **options: Any) -> Outcome:
        """As `reduce`, to be awaited."""
        return await asyncio.to_thread(self.reduce, prompt, results, **options)

    async def asubmit(self, what: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `submit`, to be awaited for the result; who stops waiting cancels the task."""
        future = await asyncio.to_thread(self.submit, what, *args, **kwargs)
        wrapped = asyncio.wrap_future(future)
        while not (await asyncio.wait([wrapped], timeout=CHECK_S))[0]:
            await asyncio.to_thread(self.check)
        return wrapped.result()
