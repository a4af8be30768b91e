"""What a worker tells becomes what our own agents leave behind: messages, calls of tools, calls of a model, costs.

Said, Results -> message, tool.began, tool.ended        Used -> model_call, model.answered, the budget
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from prong.agents import models
from prong.agents.conversation import Block, Conversation, Message
from prong.agents.models import Usage
from prong.agents.tools.tool import ToolCall
from prong.harness.budgets import AccountPurse
from prong.harness.workers.heard import Began, Ended, Heard, Results, Said, Told, Used
from prong.primitives.budget import OutOfBudget
from prong.state import Membership, ProngError, Transaction

SHOWN_CHARACTERS = 2_000
"""How much of a call's input and of its result stands in the log, in characters."""

RESULT_CHARACTERS = 30_000
"""How much of a call's result is kept, in characters."""

FIRST_PROMPT_TOKENS = 30_000
"""How long the first prompt of a worker is taken to be: its own system prompt and tools."""

ANSWER_TOKENS = 4_096
"""How long an answer is taken to be, in tokens, when it is reserved for."""

CACHE_KEPT = 0.95
"""A fork's first request should read at least this share of what stands before it from the prompt cache."""

_FORK = """
select fork_point.prefix_hash, fork_point.asked_tokens from task join fork_point on message = fork_point
 where task.id = :task and not exists (select 1 from model_call where model_call.task = task.id)
"""


class Recording:
    """What one task's worker has told so far.  `turn_of` may be asked by other threads."""

    def __init__(
        self, member: Membership, conversation: Conversation, purse: AccountPurse, *, kind: str, model: str | None
    ) -> None:  # fmt: skip
        self._member = member
        self._conversation = conversation
        self._purse = purse
        self._kind = kind
        self._model = model
        self._pending: tuple[str, list[Block]] | None = None
        self._written: dict[str, int] = {}
        self._turns: dict[str, Message] = {}
        self._calls: dict[str, str] = {}
        self._counted: dict[str, Usage] = {}
        self._prompt_tokens = FIRST_PROMPT_TOKENS
        self._asked_at = member.store.clock.now()
        self._totals = self._known_totals()
        self._reserved = False
        self._changed = threading.Condition(threading.RLock())
        self.session: str | None = None
        self.ended: Ended | None = None
        self.has_said = False

    def reserve(self) -> None:
        """Set aside what the worker's next call of its model can cost, about.  Raises `OutOfBudget`."""
        if not self._reserved:
            self._purse.reserve(self._prompt_tokens, ANSWER_TOKENS)
            self._reserved = True

    def hand_back(self) -> None:
        """No call follows."""
        if self._reserved:
            self._reserved = False
            with suppress(ProngError):
                self._purse.hand_back()

    def begin_run(self) -> None:
        """Its command is started."""
        self.ended, self.has_said = None, False
        self._asked_at = self._member.store.clock.now()
        self._counted = {}

    def take(self, heard: Heard) -> None:
        """Write one thing down.  Raises `OutOfBudget` where it used up what there was."""
        with self._changed:
            self._take(heard)
            self._changed.notify_all()

    def _take(self, heard: Heard) -> None:
        if isinstance(heard, Began):
            self._begin(heard)
        elif isinstance(heard, Said):
            self._say(heard)
        elif isinstance(heard, Results):
            self.flush()
            self._result(heard.content)
        elif isinstance(heard, Used):
            self._use(heard)
        elif isinstance(heard, Told):
            self._event("worker.told", text=heard.text[:SHOWN_CHARACTERS])
        elif isinstance(heard, Ended):
            self.flush()
            self.ended = heard
            self._reconcile(heard)

    def flush(self) -> None:
        """What it has said is a message now."""
        if self._pending is None:
            return
        id_, content = self._pending
        self._pending = None
        with self._member.transaction() as tx:
            message = self._conversation.append(tx, "assistant", content)
            for block in content:
                if block["type"] == "tool_use":
                    self._calls[block["id"]] = block["name"]
                    shown = json.dumps(block.get("input"), ensure_ascii=False)[:SHOWN_CHARACTERS]
                    tx.event("tool.began", object=block["name"], call=block["id"], input=shown)
        self._conversation.extend(message)
        self._written[id_] = message.id
        self.has_said = True
        self._turns |= {block["id"]: message for block in content if block["type"] == "tool_use"}

    def turn_of(self, call: ToolCall, told_s: float) -> Message:
        """The turn in which it made a call of ours; where it does not tell of it in time, one that says only that."""
        with self._changed:
            self._changed.wait_for(lambda: call.id in self._turns, told_s)
            if call.id not in self._turns:
                self._say(Said(call.id, [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]))
                self.flush()
            return self._turns[call.id]

    def totals(self) -> str:
        """What is counted of its session so far, as JSON."""
        return json.dumps(asdict(self._totals))

    def _begin(self, began: Began) -> None:
        self.session = began.session
        if began.model is not None:
            self._model = began.model
            self._purse.model = models.known(self._member.store, began.model)
        with self._member.transaction() as tx:
            tx.execute(
                "insert into worker_session (task, kind, session, totals) values (:task, :kind, :session, :totals)"
                " on conflict (task) do update set session = excluded.session, totals = excluded.totals",
                task=self._conversation.task, kind=self._kind, session=began.session, totals=self.totals(),
            )  # fmt: skip
            tx.event("worker.began", object=self._kind, session=began.session, model=self._model)

    def _say(self, said: Said) -> None:
        if self._pending is not None and self._pending[0] != said.id:
            self.flush()
        if self._pending is None:
            self._pending = (said.id, [])
        self._pending[1].extend(dict(block) for block in said.content)

    def _result(self, content: Sequence[Block]) -> None:
        kept = [{**block, "content": _cut(block.get("content"))} for block in content]
        with self._member.transaction() as tx:
            message = self._conversation.append(tx, "user", kept)
            for block in kept:
                text = _text(block["content"])
                call = str(block.get("tool_use_id"))
                tx.event(
                    "tool.ended", object=self._calls.get(call, "?"), call=call, is_error=bool(block.get("is_error")),
                    text=text[:SHOWN_CHARACTERS], characters=len(text),
                )  # fmt: skip
        self._conversation.extend(message)

    def _use(self, used: Used) -> None:
        self.flush()
        usage = used.usage
        if used.total:
            usage, self._totals = _less(usage, self._totals), usage
        refusal = self._count(replace(used, usage=usage), self._written.get(used.id) or self._last_said())
        if refusal is not None:
            raise refusal
        self._prompt_tokens = usage.prompt + usage.output + SHOWN_CHARACTERS
        if used.stop_reason == "tool_use":  # another call follows
            self.reserve()

    def _reconcile(self, ended: Ended) -> None:
        """Count what was not told call by call: what parts of it took that it started by itself."""
        for name, used in ended.models.items():
            left = _less(used.usage, self._counted.get(name, Usage()))
            if left.prompt + left.output:
                self._count(replace(used, usage=left, usd=None, stop_reason="unseen"), None)

    def _count(self, used: Used, message: int | None) -> OutOfBudget | None:
        model = used.model or self._model or self._kind
        store, usage = self._member.store, used.usage
        known, now = models.known(store, model), store.clock.now()
        usd = known.cost_usd(usage) if known is not None else used.usd
        self._counted[model] = self._counted.get(model, Usage()) + usage
        refusal = self._refusal()  # it was spent all the same, and is written down
        with self._member.transaction() as tx:
            fork = tx.row(_FORK, task=self._conversation.task)
            prefix_tokens = fork["asked_tokens"] if fork is not None else None
            if self._reserved:
                self._purse.settle(tx, usage)
            tx.execute(
                "insert into model_call (task, agent, message, model, stop_reason, input_tokens, cache_read_tokens,"
                " cache_write_tokens, output_tokens, usd, prefix_hash, prefix_tokens, started_at, first_byte_at,"
                " ended_at) values (:task, :agent, :message, :model, :stop_reason, :input, :read, :write, :output,"
                " :usd, :hash, :prefix_tokens, :started_at, :started_at, :now)",
                task=self._conversation.task, agent=self._member.me.agent, message=message, model=model,
                stop_reason=used.stop_reason, input=usage.input, read=usage.cache_read, write=usage.cache_write,
                output=usage.output, usd=usd, hash=fork["prefix_hash"] if fork is not None else self._kind,
                prefix_tokens=prefix_tokens, started_at=self._asked_at, now=now,
            )  # fmt: skip
            tx.execute(
                "update worker_session set totals = :totals where task = :task", totals=self.totals(),
                task=self._conversation.task,
            )  # fmt: skip
            tx.event(
                "model.answered", object=model, message=message, stop_reason=used.stop_reason, input=usage.input,
                cache_read=usage.cache_read, cache_write=usage.cache_write, output=usage.output, usd=usd,
                seconds=round(now - self._asked_at, 3),
            )  # fmt: skip
            self._tell_lost(tx, model, prefix_tokens, usage)
        self._asked_at, self._reserved = now, False
        return refusal

    def _refusal(self) -> OutOfBudget | None:
        try:
            self.reserve()
        except OutOfBudget as error:
            return error
        return None

    def _tell_lost(self, tx: Transaction, model: str, prefix_tokens: int | None, usage: Usage) -> None:
        if prefix_tokens and usage.cache_read < CACHE_KEPT * prefix_tokens:
            tx.event(
                "cache.lost", object=model, prefix_tokens=prefix_tokens, cache_read=usage.cache_read,
                lost_tokens=prefix_tokens - usage.cache_read, lost_usd=None, prefix_is_the_same=True,
            )  # fmt: skip

    def _last_said(self) -> int | None:
        return next((one.id for one in reversed(self._conversation.messages) if one.role == "assistant"), None)

    def _known_totals(self) -> Usage:
        row = self._member.store.row(
            "select coalesce((select totals from worker_session where worker_session.task = task.id),"
            " (select totals from worker_fork where worker_fork.message = task.fork_point), '{}') as totals"
            " from task where id = :task",
            task=self._conversation.task,
        )
        return Usage(**json.loads(row["totals"])) if row is not None else Usage()

    def _event(self, kind: str, **data: Any) -> None:
        with self._member.transaction() as tx:
            tx.event(kind, object=self._kind, **data)


def _less(whole: Usage, part: Usage) -> Usage:
    """What a count has grown by; where it is smaller than before, it was begun anew."""
    if whole.prompt < part.prompt or whole.output < part.output:
        return whole if whole.prompt + whole.output > part.prompt + part.output else Usage()
    return Usage(
        max(0, whole.input - part.input), max(0, whole.cache_read - part.cache_read),
        max(0, whole.cache_write - part.cache_write), whole.output - part.output,
    )  # fmt: skip


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))


def _cut(content: object) -> list[Block]:
    text = _text(content)
    if len(text) > RESULT_CHARACTERS:
        half = RESULT_CHARACTERS // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"
    return [{"type": "text", "text": text}]
