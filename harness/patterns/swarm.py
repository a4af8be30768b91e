"""A swarm as a Python object: prompts and functions go in, results come out.

    with Swarm(".", offline=True) as swarm:
        for outcome in swarm.map("Review {item}", ["a.py", "b.py"]):      # sectioning
            print(outcome.item, outcome.result)
        vote = swarm.vote("Is this repository documented?", n=5)           # voting
        whole = swarm.reduce("Sum up.", texts)                             # map-reduce
        future = swarm.submit(pow, 2, 10)                                  # an executor: functions and prompts alike

The agents are processes of their own, looked after by a supervisor in another process.  So nothing here needs a signal,
a terminal or the main thread: it works in a notebook, in a thread, and beside an event loop.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

from prong.harness import swarms
from prong.harness.costs import Costs, read_costs
from prong.harness.patterns import opening, reading, submitting, voting
from prong.harness.patterns.calls import Submitted, attempts_of, call_text
from prong.harness.patterns.fan_out import FanOut, OnError, Piece, allow_copy
from prong.harness.patterns.hosting import Hosting
from prong.harness.patterns.mapping import Item, Work, asked, digest, in_order, items_of, keyed, pieces, routed, text_of
from prong.harness.patterns.outcome import Outcome, Spent, spent
from prong.harness.patterns.progress import Meter, Progress
from prong.harness.patterns.reading import Context, Reading
from prong.harness.patterns.reducing import reduce_tree
from prong.harness.patterns.twins import AsyncTwins
from prong.harness.patterns.voting import By, Vote
from prong.harness.program.reducing import FITS_CHARACTERS
from prong.harness.repository.repository import Repository
from prong.primitives import Plan, create_task, join
from prong.primitives import task as tasks
from prong.primitives.remote import is_loading, refuse_while_loading
from prong.state import Invalid, Membership

Order = Literal["items", "completion"]
"""In which order outcomes come: that of the items, or that in which they end."""

Notify = Callable[[Progress], object]


class Swarm(AsyncTwins, futures.Executor):
    """A swarm on a repository, or on an empty one of its own that is gone afterwards.

    `agents` run at once; `tokens` and `usd` bound what all spend together.  With `offline` no model is asked: `scripts`
    are played, each call taking `latency_s` seconds.  What is not said comes from the repository's PRONG.md; where that
    says how outside agents are started, it must be said that it is to `trust` it.  A swarm
    with a `name` goes on where one of that name was interrupted, while the repository stands at the same commit: the
    same calls in the same order find what is done.  `progress` is called with a `Progress` after each outcome.

    It begins with its first use and ends with its `with` block, or `shutdown`: then what was submitted has ended,
    unless an exception leaves the block.  A program that ends without either stops it.  Raises `RepositoryError` at
    once where there is no repository.
    """

    def __init__(
        self, repository: Path | str | None = None, *, name: str | None = None, agents: int | None = None,
        model: str | None = None, base_url: str | None = None, api_key: str | None = None, offline: bool = False,
        scripts: Sequence[Path | str] = (), latency_s: float = 0.0, tokens: int | None = None,
        usd: float | None = None, progress: Notify | None = None, trust: bool = False,
    ) -> None:  # fmt: skip
        if name is not None and repository is None:
            raise Invalid(f"the name {name!r} of a swarm without a repository", "a repository, in which it is kept")
        # A program that is loaded for one of its functions may make it, elsewhere; it is not begun there.
        self._place = repository if repository is None or is_loading() else Repository.open(repository).root
        self._name = name
        self._api_key = api_key
        self._more = {
            "agents": agents, "model": model, "base_url": base_url, "offline": offline, "scripts": scripts,
            "latency_s": latency_s, "tokens": tokens, "usd": usd, "trust": trust,
        }  # fmt: skip
        self._progress = progress
        self._attended = False
        self._lock = threading.RLock()
        self._swarm: swarms.Swarm | None = None
        self._own: Path | None = None
        self._hosting: Hosting | None = None
        self._member: Membership | None = None
        self._is_new = True
        self._shut = False
        self._calls = itertools.count(1)
        self._nonces: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is None:
            self.shutdown()
        else:
            self.stop()
        return False

    @property
    def id(self) -> str:
        """The swarm's id, by which `prong status` and the others know it."""
        return self._opened()[0].id

    @property
    def branch(self) -> str:
        """The branch onto which finished work is merged."""
        return self._opened()[0].branch

    @property
    def directory(self) -> Path:
        """Where it keeps its database and logs."""
        return self._opened()[0].directory

    def spent(self, *, after: int = 0) -> Spent:
        """What all calls of the model have cost together, or those behind the call of that number."""
        store = self._opened()[0].store()
        try:
            return spent(store, after=after)
        finally:
            store.close()

    def cost(self) -> Costs:
        """What it has cost so far, task by task."""
        store = self._opened()[0].store()
        try:
            return read_costs(store)
        finally:
            store.close()

    def map(
        self, what: str | Callable[..., Any], /, *iterables: Iterable[Any], timeout: float | None = None,
        chunksize: int = 1, context: Context = "fresh", on_error: OnError = "keep", order: Order = "items",
        role: str = "", type: str | None = None, schema: dict[str, Any] | None = None, title: str | None = None,
        hedge: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """One task for each item: of a prompt the `Outcome` of each, of a function what it returns.

        A prompt names its item as `{item}`, or `{item.field}`; else the item stands behind it.  Items may be any
        iterable, also one without end: only those that are open are held.  `context` says what tasks begin with:
        nothing (`fresh`), or one common reading of the repository (`fork`, `brief`, or `auto` by price).  `on_error`
        says what a failed item means: an outcome (`keep`), the end of all (`stop`), or other tries (`retry`).  Without
        a `role`, `route` in PRONG.md chooses one, by `type` or by patterns.  With `hedge` an item that takes much
        longer than its like may have a second copy.  Who stops iterating cancels the rest.  A function is called as by
        any executor: what it raises is raised here.
        """
        if callable(what):
            return futures.Executor.map(self, what, *iterables, timeout=timeout, chunksize=chunksize)
        if len(iterables) != 1:
            raise TypeError(f"map() of a prompt takes one iterable of items, not {len(iterables)}")
        work = Work(what, context, role, schema=opening.schema_text(schema), type=type)
        return self.map_items(work, items_of(iterables[0]), on_error=on_error, order=order, title=title, hedge=hedge)

    def map_items(
        self, work: Work, items: Iterable[Item], *, on_error: OnError = "keep", order: Order = "completion",
        identity: str | None = None, title: str | None = None, say: Callable[[str], object] = lambda _: None,
        nonce: str | None = None, skip: Container[str] = (), hedge: bool = False,
    ) -> Iterator[Outcome]:  # fmt: skip
        """As `map` of a prompt, of items that say what their keys are made of, but for those whose keys to `skip`.

        `say` hears what is decided.
        """
        if work.context not in reading.CONTEXTS:
            raise Invalid(f"context={work.context!r}", ", ".join(reading.CONTEXTS))
        if on_error not in ("keep", "stop", "retry"):
            raise Invalid(f"on_error={on_error!r}", "'keep', 'stop' or 'retry'")
        swarm, hosting, _ = self._opened()
        work = routed(work, swarm.options)
        identity = identity or work.identity("map", swarm.options.model)
        nonce = self._nonce(identity) if nonce is None else nonce
        todo = ((key, item) for key, item in keyed(items, identity) if key not in skip)
        first = list(itertools.islice(todo, 2))
        for _, item in first[:1]:
            asked(work.prompt, item.value)  # a prompt that does not fit the first fits none
        read = self._read(work, nonce, [item for _, item in first], say)
        planned: Callable[[Plan], Plan] = read.planned if read is not None else lambda plan: plan
        dressed = [*([read.dress] if read is not None else []), *([allow_copy] if hedge else [])]
        run = FanOut(swarm, hosting, on_error, dressed, keeps=self._name is not None)
        made = pieces(itertools.chain(first, todo), work, planned=planned, nonce=nonce)
        outcomes = in_order(made, run.run) if order == "items" else run.run(made)
        return self._metered(outcomes, run, title or "map")

    def vote(
        self, prompt: str, n: int = 5, *, by: By = "majority", judge: str | None = None,
        schema: dict[str, Any] | None = None, choices: Sequence[Any] | None = None, role: str = "",
    ) -> Vote:  # fmt: skip
        """The same task `n` times; what the answers agree on.

        `by` is `majority`, `unanimous`, or `judge`: another agent chooses among the different answers, asked `judge`
        where that is given.  `choices` are the only answers that count.  When the outcome is decided the rest is
        cancelled.
        """
        if by not in voting.WAYS:
            raise Invalid(f"by={by!r}", ", ".join(voting.WAYS))
        if not 1 <= n <= voting.MOST:
            raise Invalid(f"{n} votes", f"1 to {voting.MOST}")
        if choices is not None:
            schema = {"enum": list(choices)}
        swarm, hosting, _ = self._opened()
        work = routed(Work(prompt, role=role, schema=opening.schema_text(schema)), swarm.options)
        nonce = self._nonce(work.identity("vote", swarm.options.model))
        run = FanOut(swarm, hosting, keeps=self._name is not None)
        return voting.hold(run, work, votes=n, by=by, judge=judge, nonce=nonce)

    def reduce(
        self, prompt: str, results: Iterable[Any], *, fits_characters: int = FITS_CHARACTERS, role: str = "",
        schema: dict[str, Any] | None = None, say: Callable[[str], object] = lambda _: None,
    ) -> Outcome:  # fmt: skip
        """Put results together by a prompt: texts, or outcomes, of which those count that are done.

        Where they do not fit one context of `fits_characters`, it is done in a tree.  They may come one by one, as from
        `map`, and lie in a file until they are needed.  Raises ValueError where there is none.
        """
        swarm, hosting, _ = self._opened()
        texts = (
            text_of(one.result if isinstance(one, Outcome) else one)
            for one in results
            if not isinstance(one, Outcome) or one.done
        )
        work = routed(Work(prompt, role=role, schema=opening.schema_text(schema)), swarm.options)
        nonce = self._nonce(work.identity("reduce", swarm.options.model))

        def run(todo: Iterable[Piece]) -> Iterator[Outcome]:
            return FanOut(swarm, hosting, "retry", keeps=self._name is not None).run(todo)

        return reduce_tree(
            run, work, texts, fits_characters=fits_characters, nonce=nonce, say=say, folder=swarm.directory
        )

    def submit(self, what: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Submitted:
        """A task of its own; its future.

        A prompt takes `role` (one of PRONG.md's, where it has any), `type`, `priority`, `title`, `schema`, `needs`
        (futures of others, whose results it is told) and `on_failed_need` as keywords, and its result is what the agent
        said, or the value that fits the schema.  A function is called with all arguments in an agent's process, in a
        clone of the repository, and its result is what it returns; an exception of it is raised by `result()`.  It is
        called once, unless it is `repeatable`.
        """
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        swarm, hosting, member = self._opened()
        if isinstance(what, str):
            plan, program = submitting.plan_of(swarm.options, what, self._key("ask", what), args, kwargs), None
        else:
            program = call_text(member, what, args, kwargs)
            name = f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', repr(what))}"
            plan = Plan(
                f"call {name}"[:200], f"Call {name}.", key=self._key("call", program), attempts=attempts_of(what)
            )
        with member.transaction() as tx:
            made, new = create_task(tx, plan)
            if new and program is not None:
                tx.execute("update task set program = :program where id = :task", program=program, task=made.id)
        hosting.start()
        return Submitted(member, made.id, hosting.check)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  the standard library's
        """Take nothing more, let everything that was asked for end, and leave; `cancel_futures` cancels it instead.

        Without `wait` nobody would look after the agents any more, so it is waited for in a thread.
        """
        with self._lock:
            if self._shut:
                return
            self._shut = True
        if self._hosting is None:
            return
        if cancel_futures:
            self._cancel_all()
        if wait:
            self._leave(self._hosting.finish)
        else:
            threading.Thread(target=self._leave, args=(self._hosting.finish,), name="prong-shutdown").start()

    def check(self) -> None:
        """Raise `SupervisorGone` or `Standstill` where nothing more is to come."""
        self._opened()[1].check()

    def stop(self) -> None:
        """Leave at once, in good order; what has not ended goes on where a swarm of this name is opened again."""
        with self._lock:
            if self._shut:
                return
            self._shut = True
        if self._hosting is not None:
            self._leave(self._hosting.stop)

    def _stop_at_exit(self, opened_by: int) -> None:
        """Leave where the program ends without having shut it down; not in a fork of it."""
        if os.getpid() == opened_by:
            self.stop()

    def _opened(self) -> tuple[swarms.Swarm, Hosting, Membership]:
        """The swarm, begun where it has not been."""
        with self._lock:
            if self._hosting is None or self._swarm is None or self._member is None:
                if self._shut:
                    raise RuntimeError("the swarm was shut down; open another one")
                refuse_while_loading()
                self._swarm = self._swarm or self._found()
                key = opening.key_for(self._swarm.options, self._api_key)
                self._member = join(self._swarm.directory, "python")
                self._hosting = Hosting(self._swarm, key, attended=self._attended)
                atexit.register(self._stop_at_exit, os.getpid())
                if self._is_new:
                    self._hosting.start()  # while tasks are still being made
            return self._swarm, self._hosting, self._member

    def _found(self) -> swarms.Swarm:
        repository, self._own = opening.repository_of(self._place)
        goal = self._name or "What a Python program asks for"
        options = opening.python_options(repository.root, goal=goal, **self._more)  # type: ignore[arg-type]  # as they came
        opening.key_for(options, self._api_key)  # before anything is made
        base = repository.head()
        known = opening.named(repository, self._name, base, options=options) if self._name is not None else None
        if known is not None:
            self._is_new = False
            return opening.go_on(known, options)
        return opening.make(repository, options, base, name=self._name)

    def _read(self, work: Work, nonce: str, first: Sequence[Item], say: Callable[[str], object]) -> Reading | None:
        """The common reading, where pieces are to begin with one; for a single one it would not pay."""
        if work.context == "fresh" or not first or (work.context == "auto" and len(first) == 1):
            return None
        swarm, hosting, _ = self._opened()
        key = f"read-{digest(work.prompt)}"
        plan = reading.plan_of_reading(work.prompt, key=f"{nonce}{key}")
        say("reading once what all items have in common")
        run = FanOut(swarm, hosting, "retry", keeps=self._name is not None)
        (outcome,) = run.run([Piece(key, None, plan)])
        characters = max((len(asked(work.prompt, one.value)) for one in first), default=1)
        return reading.begin_with(
            swarm, outcome, cast("Context", work.context), pieces=FanOut.window(swarm), characters=characters, say=say
        )

    def _metered(self, outcomes: Iterator[Outcome], run: FanOut, title: str) -> Iterator[Outcome]:
        meter = Meter(title)
        try:
            for outcome in outcomes:
                now = meter.count(outcome, open_=run.open)
                if self._progress is not None:
                    self._progress(now)
                yield outcome
        finally:
            cast("Any", outcomes).close()

    def _key(self, kind: str, text: str) -> str | None:
        """The idempotency key of something that is submitted; None where nothing will be found again."""
        if self._name is None:
            return None
        name = f"{kind}-{digest(text)}"
        return f"{self._nonce(name)}{name}"

    def _nonce(self, identity: str) -> str:
        """What keeps the keys of one call apart from those of others: with a name, only how often it was made."""
        if self._name is None:
            return f"{uuid.uuid4().hex[:12]}-"
        with self._lock:
            count = self._nonces[identity] = self._nonces.get(identity, 0) + 1
        return "" if count == 1 else f"again-{count}-"

    def _cancel_all(self) -> None:
        swarm, _, member = self._opened_before()
        rows = swarm.store().rows("select id from task where state not in ('done', 'failed', 'cancelled')")
        with member.transaction() as tx:
            for row in rows:
                tasks.cancel(tx, row["id"], reason="the program that asked for it shut down")

    def _opened_before(self) -> tuple[swarms.Swarm, Hosting, Membership]:
        assert self._swarm is not None
        assert self._hosting is not None
        assert self._member is not None
        return self._swarm, self._hosting, self._member

    def _leave(self, end: Callable[[], None]) -> None:
        atexit.unregister(self._stop_at_exit)
        end()
        if self._member is not None:
            with suppress(Exception):  # its database may be gone
                cast("Any", self._member).leave()
        if self._own is not None:
            opening.remove(self._own)
