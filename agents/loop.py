"""One agent at work: ask the model, run the calls it made, append, until it has nothing more to call.

Every message is in the database before anything is done about it, so the loop can be killed between any two lines and
another agent goes on from the conversation's last message.
"""

from __future__ import annotations

from collections.abc import Sequence

from prong.agents import fork_point
from prong.agents.calls import Calls
from prong.agents.conversation import Block, Conversation, Message, prefix_hash
from prong.agents.model import Answer, Listener, Model, Request
from prong.agents.models import lookup
from prong.state import Membership, ProngError, Transaction

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
    """An agent with a claimed task.  `run` returns its last words."""

    def __init__(
        self, member: Membership, conversation: Conversation, *, model: Model, calls: Calls, system: Sequence[Block],
        tools: Sequence[Block],
    ) -> None:  # fmt: skip
        self._member = member
        self._conversation = conversation
        self._model = model
        self._calls = calls
        self._system = system
        self._tools = tools
        self._stop_reason = self._last_stop_reason()
        self._asked_before = self._has_asked()
        self._prefix_hash = self._hash_of_prefix()

    def run(self) -> str:
        """Work until the model ends its turn; raises `Refused`, `ModelUnavailable`, `TaskLost` or `Deposed`."""
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
        warms = self._warms()
        request = Request(self._system, self._tools, self._conversation.messages, self._last_fork_point())

        def began() -> None:
            if warms is not None:
                fork_point.warmed(self._member, warms)

        answer = self._model.ask(request, Listener(began=began, waits=self._waits))
        with self._member.transaction() as tx:
            message = self._conversation.append(tx, "assistant", answer.content)
            self._account(tx, message, answer)
        self._conversation.extend(message)
        self._stop_reason = answer.stop_reason
        self._asked_before = True

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
        messages = self._conversation.messages
        if len(messages) < 2 or messages[-2].id == self._conversation.fork_point:  # noqa: PLR2004  a turn and its results
            return None
        turn = messages[-2]
        return turn.id if turn.role == "assistant" and fork_point.exists(self._member, turn.id) else None

    def _last_fork_point(self) -> int | None:
        """Where the breakpoint stands: the latest turn from which others forked, or from which we were."""
        return self._own_fork_point() or self._conversation.fork_point

    def _account(self, tx: Transaction, message: Message, answer: Answer) -> None:
        usage = answer.usage
        model = self._model.endpoint.model
        known = lookup(model)
        usd = known.cost_usd(usage) if known else None
        first = not self._asked_before and self._conversation.fork_point is not None
        prefix_tokens = self._prefix_tokens(tx) if first else None
        tx.execute(
            "insert into model_call (task, agent, message, model, stop_reason, input_tokens, cache_read_tokens,"
            " cache_write_tokens, output_tokens, usd, prefix_hash, prefix_tokens, started_at, first_byte_at, ended_at)"
            " values (:task, :agent, :message, :model, :stop_reason, :input, :read, :write, :output, :usd, :hash,"
            " :prefix_tokens, :started_at, :first_byte_at, :ended_at)",
            task=self._conversation.task, agent=self._member.me.agent, message=message.id, model=model,
            stop_reason=answer.stop_reason, input=usage.input, read=usage.cache_read, write=usage.cache_write,
            output=usage.output, usd=usd, hash=self._prefix_hash, prefix_tokens=prefix_tokens,
            started_at=answer.started_at, first_byte_at=answer.first_byte_at, ended_at=answer.ended_at,
        )  # fmt: skip
        tx.event(
            "model.answered", object=model, message=message.id, stop_reason=answer.stop_reason, input=usage.input,
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
