"""One agent at work: ask the model, run the calls it made, append, until it has nothing more to call.

Every message is in the database before anything is done about it, so the loop can be killed between any two lines and
another agent goes on from the conversation's last message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from prong.agents import answers, fork_point, keeping, notices
from prong.agents.calls import Calls
from prong.agents.compaction import Compactor, Said, is_due
from prong.agents.conversation import Block, Conversation, Message, prefix_hash
from prong.agents.governor.governor import Priority
from prong.agents.ledger import Ledger
from prong.agents.model import Answer, Listener, Model
from prong.agents.model_faults import ModelUnavailable
from prong.agents.models import COMPACT_AT, Usage, known, window
from prong.agents.notices import Notice, Source
from prong.agents.purse import Ceiling, Purse
from prong.agents.request import Request
from prong.agents.stream import ignored
from prong.state import Membership, ProngError, TaskLost, Transaction


class Refused(answers.ModelFailed):
    """The model declined to go on."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"the model refused to go on: {self.text or '(without a word)'}"


class Agent:
    """An agent with a claimed task.  `run` returns its last words.

    With a `purse` it reserves what a call can cost before the call, and counts what it has cost with the answer.
    """

    def __init__(
        self, member: Membership, conversation: Conversation, *, model: Model, calls: Calls, system: Sequence[Block],
        tools: Sequence[Block], purse: Purse | None = None, priority: Priority = 0, stops_on_lost_cache: bool = True,
        compact_at: float = COMPACT_AT, sources: Sequence[Source] = (), foresees: Callable[[str], object] = ignored,
    ) -> None:  # fmt: skip
        """`priority` says whose call of the model goes first where calls have to wait.

        With `stops_on_lost_cache` a fork that has not begun raises `CacheLost` where a sibling has found the prompt
        cache of what they share lost.  `compact_at` is the share of the model's window at which the conversation is
        made short.  `sources` are asked before every turn what the model is to be told; `foresees` hears the name of
        each tool whose call has begun in an answer that is still coming.
        """
        self._member = member
        self._conversation = conversation
        self._model = model
        self._calls = calls
        self._system = system
        self._tools = tools
        self._purse = purse
        self._priority = priority
        self._prices = purse.model if purse else known(member.store, model.endpoint.model)
        self._compact_at = compact_at
        self._sources = sources
        self._foresees = foresees
        self._patience = answers.Patience()
        self._stop_reason = self._last_stop_reason()
        self._asked_before = self._has_asked()
        self._prefix_hash = self._hash_of_prefix()
        self._ledger = Ledger(conversation, model.endpoint.model, agent=member.me.agent)
        self._child = fork_point.Child(conversation.task, self._prefix_hash, stops=stops_on_lost_cache)
        self._ceiling = Ceiling(member.store, conversation, model.endpoint.model, self._prefix_hash)

    def run(self) -> str:
        """Work until the model ends its turn; raises `Refused`, `Stuck`, `ModelUnavailable`, `TaskLost` or `Deposed`.

        What the purse raises where nothing is left comes through: the conversation is whole then, and goes on later.
        """
        while (result := self.step()) is None:
            pass
        return result

    def step(self) -> str | None:
        """One message further; the last words where there is nothing more to do."""
        last = self._conversation.last
        assert last is not None, "a conversation begins with the task"
        if last.role != "assistant":
            self._ask()
        elif last.tool_uses():
            self._act(last)
        elif self._stop_reason == answers.FULL:
            self._compact("the window is full")
        elif self._stop_reason == answers.PAUSED:
            self._ask()
        elif last.text().strip() and self._stop_reason in (None, *answers.ENDED):
            return None if self._hears() else last.text()
        else:
            self._conversation.say("user", _text(answers.words(self._stop_reason, last.content)))
        return None

    def _act(self, turn: Message) -> None:
        """Run the turn's calls; a turn that did not end as it should may hold half a call, and runs none."""
        runs = self._stop_reason in (None, *answers.RUNS)
        results = self._calls.run(turn) if runs else self._calls.refuse(turn)
        with self._member.transaction() as tx:
            message = self._conversation.append(tx, "user", results)
            tx.execute("delete from tool_call where task = :task", task=self._conversation.task)
        self._conversation.extend(message)
        self._patience.acted(turn, results)

    def _ask(self) -> None:
        self._tell()
        request = self._request()
        tokens = self._ceiling.about(request)
        if is_due(request, tokens=tokens, window=self._window(), share=self._compact_at):
            self._compact("it nears the window")
            return
        try:
            answer = self.paid(request)
        except ModelUnavailable as error:
            if error.is_too_long:
                self._compact("it does not fit the window")
            elif not self._repair(error):
                raise
            return
        self._keep(answer)

    def paid(self, request: Request) -> Answer:
        """The answer to a request, reserved for before and handed back where there is none."""
        warms = self._warms()
        kept = keeping.lifetime(self._member.store, request.fork_point)
        request = self._reserved(replace(request, lifetime=kept))
        try:
            return self._answer(request, warms)
        except BaseException:
            if self._purse is not None:
                with suppress(ProngError):  # then the end of this agent gives it back
                    self._purse.hand_back()
            raise

    def _keep(self, answer: Answer) -> None:
        """Write an answer down with what it cost; behind one of which nothing can be kept, what the model is told."""
        blocks = answers.kept(answer)
        words = None if blocks else answers.words(answer.stop_reason, answer.content)
        told = None
        try:
            with self._member.transaction() as tx:
                message = self._write(tx, blocks, answer)
                self.account(tx, message.id, answer)
                if words is not None:
                    told = self._conversation.append(tx, "user", _text(words))
        except TaskLost:
            with self._member.transaction() as tx:  # nobody needs the answer any more, but it was paid for
                self.account(tx, None, answer)
            raise
        if blocks:
            self._conversation.extend(message)
            self._ceiling.learn(message, answer.usage)
        if told is not None:
            self._conversation.extend(told)
        self._stop_reason, self._asked_before = answer.stop_reason, True
        if answer.stop_reason == answers.REFUSED:
            raise Refused("\n".join(block["text"] for block in answer.content if block["type"] == "text"))
        if answer.stop_reason == answers.FULL and not blocks:
            self._compact("the window is full")
        self._patience.answered(answer.stop_reason, blocks)

    def _write(self, tx: Transaction, blocks: Sequence[Block], answer: Answer) -> Message:
        if blocks:
            return self._conversation.append(tx, "assistant", blocks)
        number = self._conversation.set_aside(tx, ("assistant", answer.content))
        return Message(number, "assistant", answer.content)

    def _compact(self, reason: str) -> None:
        """Go on from a summary of the conversation; all that was said is kept."""
        self._patience.full()
        request = self._request()
        tokens = self._ceiling.about(request)
        Compactor(self._member, self._conversation, self._model, self).compact(request, tokens=tokens, reason=reason)
        self._stop_reason, self._asked_before = None, True

    def _repair(self, error: ModelUnavailable) -> bool:
        """Go on without what an endpoint does not take back of its own last answer; False where it is not that.

        A block whose signature was damaged on its way, say.  What stands before that answer stays as it is.
        """
        messages = self._conversation.messages
        place = next((place for place, one in reversed(list(enumerate(messages))) if one.role == "assistant"), None)
        if place is None or not error.is_about_content or "messages" not in error.problem:
            return False
        sound = answers.sound(messages[place].content)
        if sound == messages[place].content or not messages[place + 1 :]:
            return False
        said: list[Said] = [("assistant", sound)] if sound else []
        said += [(message.role, message.content) for message in messages[place + 1 :]]
        with self._member.transaction() as tx:
            new = self._conversation.rebase(tx, place, said)
            tx.event("conversation.repaired", object=str(messages[place].id), problem=error.problem)
        self._conversation.take(place, new)
        return True

    def _window(self) -> int | None:
        """How many tokens the model's window has; None: nobody knows."""
        tokens = window(self._member.store, self._model.endpoint.model)
        return self._model.facts().context_tokens if tokens is None else tokens

    def _request(self) -> Request:
        return Request(self._system, self._tools, self._conversation.messages, self._last_fork_point())

    def _answer(self, request: Request, warms: int | None) -> Answer:
        child = self._child if warms == self._conversation.fork_point else None

        def began(usage: Usage) -> None:
            if warms is not None:
                begun = request.max_tokens != 0
                fork_point.warmed(self._member, warms, read=usage.cache_read, child=child, begun=begun)

        return self._model.ask(request, Listener(began, self._waits, self._foresees), priority=self._priority)

    def _reserved(self, request: Request) -> Request:
        """The request, for an answer no longer than can be paid for."""
        if self._purse is None:
            return request
        most = self._purse.reserve(self._ceiling.of(request), self._model.endpoint.max_tokens, request.lifetime)
        return replace(request, max_tokens=most)

    def _tell(self) -> None:
        """Say what has come up since the last turn, behind all that is in the prompt cache already."""
        last = self._conversation.last
        if last is not None and last.role == "user" and (found := self._notices()):
            notices.tell(self._member, self._conversation, self._prices, found)

    def _hears(self) -> bool:
        """Tell a model that has come to its end what it must know before; whether there was anything."""
        found = [one for source in self._sources if (one := source()) is not None and one.urgent]
        if found:
            notices.tell(self._member, self._conversation, self._prices, found)
        return bool(found)

    def _notices(self) -> list[Notice]:
        return [one for source in (self._notice_of_budget, *self._sources) if (one := source()) is not None]

    def _notice_of_budget(self) -> Notice | None:
        purse = self._purse
        found = purse.notice(self._ceiling.of(self._request())) if purse is not None else None
        if purse is None or found is None:
            return None
        return Notice(found.text, lambda tx, _message: purse.told(tx, found))

    def _warms(self) -> int | None:
        """The fork point whose cache entry this request is the first to write; waits while somebody else writes it."""
        own = self._own_fork_point()
        if own is not None:
            return own if fork_point.lead_or_wait(self._member, own, child=None) == "lead" else None
        inherited = self._conversation.fork_point
        if inherited is None or self._asked_before:
            return None
        while (go := fork_point.lead_or_wait(self._member, inherited, child=self._child)) == "prewarm":
            self._prewarm(inherited)
        return inherited if go == "lead" else None

    def _prewarm(self, point: int) -> None:
        """Have the prefix read into the cache, and see whether it was there, before anybody pays for a turn."""
        kept = keeping.lifetime(self._member.store, point)
        request = replace(self._request(), max_tokens=0, lifetime=kept)
        if self._purse is not None:
            self._purse.reserve(self._ceiling.of(request), 1, kept)
        try:
            answer = self._answer(request, point)
        except BaseException:
            if self._purse is not None:
                with suppress(ProngError):
                    self._purse.hand_back()
            raise
        with self._member.transaction() as tx:
            self.account(tx, None, answer, warming=True)

    def _own_fork_point(self) -> int | None:
        """The turn whose results were just appended, if children were forked from it."""
        turn = next((one for one in reversed(self._conversation.messages) if one.role == "assistant"), None)
        if turn is None or turn is self._conversation.last or turn.id == self._conversation.fork_point:
            return None
        return turn.id if fork_point.exists(self._member, turn.id) else None

    def _last_fork_point(self) -> int | None:
        """Where the breakpoint stands: the latest turn from which others forked, or from which we were."""
        inherited = self._conversation.fork_point
        held = any(message.id == inherited for message in self._conversation.messages)  # until it was made short
        return self._own_fork_point() or (inherited if held else None)

    def account(self, tx: Transaction, message: int | None, answer: Answer, *, warming: bool = False) -> None:
        """Count what an answer has cost, in the transaction that writes it down as message number `message`.

        `warming`: nothing was asked but that the prompt cache be filled.
        """
        if self._purse is not None:
            self._purse.settle(tx, answer.usage)
        checks = (warming or not self._asked_before) and self._conversation.fork_point is not None
        self._ledger.write(tx, message, answer, self._prices, prefix=self._prefix_hash, checks_cache=checks)
        point = self._last_fork_point()
        if point is not None:
            fork_point.used(tx, point, started_at=answer.started_at)

    def _hash_of_prefix(self) -> str:
        point = self._conversation.fork_point
        shared = [message for message in self._conversation.messages if point is not None and message.id <= point]
        return prefix_hash(self._model.endpoint.model, self._system, self._tools, shared)

    def _has_asked(self) -> bool:
        row = self._member.store.row(
            "select 1 from model_call where task = :task limit 1", task=self._conversation.task
        )
        return row is not None

    def _last_stop_reason(self) -> str | None:
        last = self._conversation.last
        row = self._member.store.row(
            "select stop_reason from model_call where message = :message", message=last.id if last else None
        )
        return row["stop_reason"] if row else None

    def _waits(self, problem: str, seconds: float) -> None:
        with self._member.transaction() as tx:
            tx.event("model.waits", problem=problem, seconds=round(seconds, 3))


def _text(text: str | None) -> list[Block]:
    assert text is not None, "the model is told something"
    return [{"type": "text", "text": text}]
