"""One agent at work: ask the model, run the calls it made, append, until it has nothing more to call.

Every message is in the database before anything is done about it, so the loop can be killed between any two lines and
another agent goes on from the conversation's last message.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from prong.agents import fork_point
from prong.agents.calls import Calls
from prong.agents.conversation import Block, Conversation, Message, prefix_hash
from prong.agents.governor.governor import Priority
from prong.agents.model import Answer, Listener, Model, Request
from prong.agents.models import lookup
from prong.agents.purse import Ceiling, Purse
from prong.state import Membership, ProngError, TaskLost, Transaction

CACHE_KEPT = 0.95
"""A fork's first request should read at least this share of its prefix from the prompt cache."""

_GO_ON = [{"type": "text", "text": "Your answer was cut off at its token limit. Go on."}]


class Refused(ProngError):
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
        tools: Sequence[Block], purse: Purse | None = None, priority: Priority = 0,
    ) -> None:  # fmt: skip
        """`priority` says whose call of the model goes first where calls have to wait."""
        self._member = member
        self._conversation = conversation
        self._model = model
        self._calls = calls
        self._system = system
        self._tools = tools
        self._purse = purse
        self._priority = priority
        self._prices = purse.model if purse else lookup(model.endpoint.model)
        self._stop_reason = self._last_stop_reason()
        self._asked_before = self._has_asked()
        self._prefix_hash = self._hash_of_prefix()
        self._ceiling = Ceiling(member.store, conversation, model.endpoint.model, self._prefix_hash)

    def run(self) -> str:
        """Work until the model ends its turn; raises `Refused`, `ModelUnavailable`, `TaskLost` or `Deposed`.

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
        elif self._stop_reason == "refusal":
            raise Refused(last.text())
        elif self._stop_reason == "max_tokens":
            self._conversation.say("user", _GO_ON)
        elif self._stop_reason == "pause_turn":
            self._ask()
        else:
            return last.text()
        return None

    def _act(self, turn: Message) -> None:
        """Run the turn's calls; a turn that was cut off or refused may hold half a call, and runs none."""
        cut = self._stop_reason in ("max_tokens", "refusal", "model_context_window_exceeded")
        results = self._calls.refuse(turn) if cut else self._calls.run(turn)
        with self._member.transaction() as tx:
            message = self._conversation.append(tx, "user", results)
            tx.execute("delete from tool_call where task = :task", task=self._conversation.task)
        self._conversation.extend(message)

    def _ask(self) -> None:
        self._tell_of_budget()
        request = self._reserved(self._request())
        try:
            answer = self._answer(request)
        except BaseException:
            if self._purse is not None:
                with suppress(ProngError):  # then the end of this agent gives it back
                    self._purse.hand_back()
            raise
        try:
            with self._member.transaction() as tx:
                message = self._conversation.append(tx, "assistant", answer.content)
                self._account(tx, message, answer)
        except TaskLost:
            with self._member.transaction() as tx:  # nobody needs the answer any more, but it was paid for
                self._account(tx, None, answer)
            raise
        self._conversation.extend(message)
        self._ceiling.learn(message, answer.usage)
        self._stop_reason = answer.stop_reason
        self._asked_before = True

    def _request(self) -> Request:
        return Request(self._system, self._tools, self._conversation.messages, self._last_fork_point())

    def _answer(self, request: Request) -> Answer:
        warms = self._warms()

        def began() -> None:
            if warms is not None:
                fork_point.warmed(self._member, warms)

        return self._model.ask(request, Listener(began=began, waits=self._waits), priority=self._priority)

    def _reserved(self, request: Request) -> Request:
        """The request, for an answer no longer than can be paid for."""
        if self._purse is None:
            return request
        most = self._purse.reserve(self._ceiling.of(request), self._model.endpoint.max_tokens)
        return replace(request, max_tokens=most)

    def _tell_of_budget(self) -> None:
        """Say that little is left, behind all that is in the prompt cache already."""
        last = self._conversation.last
        if self._purse is None or last is None or last.role != "user":
            return
        notice = self._purse.notice(self._ceiling.of(self._request()))
        if notice is None:
            return
        # Models that know no such message get one more of the user's, which is one turn with that before it.
        takes_it = self._prices is not None and "system_messages" not in self._prices.refuses
        with self._member.transaction() as tx:
            content = [{"type": "text", "text": notice.text}]
            message = self._conversation.append(tx, "system" if takes_it else "user", content)
            self._purse.told(tx, notice)
        self._conversation.extend(message)

    def _warms(self) -> int | None:
        """The fork point whose cache entry this request is the first to write; waits while somebody else writes it."""
        own = self._own_fork_point()
        if own is not None:
            return own if fork_point.lead_or_wait(self._member, own, parent=True) else None
        inherited = self._conversation.fork_point
        if inherited is None or self._asked_before:
            return None
        return inherited if fork_point.lead_or_wait(self._member, inherited, parent=False) else None

    def _own_fork_point(self) -> int | None:
        """The turn whose results were just appended, if children were forked from it."""
        turn = next((one for one in reversed(self._conversation.messages) if one.role == "assistant"), None)
        if turn is None or turn is self._conversation.last or turn.id == self._conversation.fork_point:
            return None
        return turn.id if fork_point.exists(self._member, turn.id) else None

    def _last_fork_point(self) -> int | None:
        """Where the breakpoint stands: the latest turn from which others forked, or from which we were."""
        return self._own_fork_point() or self._conversation.fork_point

    def _account(self, tx: Transaction, message: Message | None, answer: Answer) -> None:
        usage = answer.usage
        model = self._model.endpoint.model
        usd = self._prices.cost_usd(usage) if self._prices else None
        if self._purse is not None:
            self._purse.settle(tx, usage)
        number = message.id if message else None
        first = not self._asked_before and self._conversation.fork_point is not None
        prefix_tokens = self._prefix_tokens(tx) if first else None
        tx.execute(
            "insert into model_call (task, agent, message, model, stop_reason, input_tokens, cache_read_tokens,"
            " cache_write_tokens, output_tokens, usd, prefix_hash, prefix_tokens, started_at, first_byte_at, ended_at)"
            " values (:task, :agent, :message, :model, :stop_reason, :input, :read, :write, :output, :usd, :hash,"
            " :prefix_tokens, :started_at, :first_byte_at, :ended_at)",
            task=self._conversation.task, agent=self._member.me.agent, message=number, model=model,
            stop_reason=answer.stop_reason, input=usage.input, read=usage.cache_read, write=usage.cache_write,
            output=usage.output, usd=usd, hash=self._prefix_hash, prefix_tokens=prefix_tokens,
            started_at=answer.started_at, first_byte_at=answer.first_byte_at, ended_at=answer.ended_at,
        )  # fmt: skip
        tx.event(
            "model.answered", object=model, message=number, stop_reason=answer.stop_reason, input=usage.input,
            cache_read=usage.cache_read, cache_write=usage.cache_write, output=usage.output, usd=usd,
            seconds=round(answer.ended_at - answer.started_at, 3),
        )  # fmt: skip
        if prefix_tokens and usage.cache_read < CACHE_KEPT * prefix_tokens:
            tx.event(
                "cache.lost", object=model, prefix_tokens=prefix_tokens, cache_read=usage.cache_read,
                prefix_is_the_same=self._prefix_hash == self._hash_at_fork(tx),
            )  # fmt: skip

    def _hash_of_prefix(self) -> str:
        point = self._conversation.fork_point
        shared = [message for message in self._conversation.messages if point is not None and message.id <= point]
        return prefix_hash(self._model.endpoint.model, self._system, self._tools, shared)

    def _prefix_tokens(self, tx: Transaction) -> int | None:
        """How long the conversation was up to and with the message at which we were forked, in tokens."""
        row = tx.row(
            "select input_tokens + cache_read_tokens + cache_write_tokens + output_tokens as tokens"
            " from model_call where message = :message",
            message=self._conversation.fork_point,
        )
        return row["tokens"] if row else None

    def _hash_at_fork(self, tx: Transaction) -> str | None:
        row = tx.row("select prefix_hash from fork_point where message = :point", point=self._conversation.fork_point)
        return row["prefix_hash"] if row else None

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
