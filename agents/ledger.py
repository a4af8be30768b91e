"""What a call of the model has cost, written down with its answer; and whether a fork has found its parent's cache.

answer --> row of `model_call`, event `model.answered`
first of a fork, and less is read than its parent had --> event `cache.lost`
"""

from __future__ import annotations

from prong.agents import economics
from prong.agents.conversation import Conversation
from prong.agents.model import Answer
from prong.agents.models import Model
from prong.state import Transaction

CACHE_KEPT = 0.95
"""A fork's first request should read at least this share of its prefix from the prompt cache."""

_INSERT = """
insert into model_call (task, agent, message, model, stop_reason, input_tokens, cache_read_tokens, cache_write_tokens,
                        cache_write_1h_tokens, output_tokens, keeps, usd, prefix_hash, prefix_tokens, started_at,
                        first_byte_at, ended_at)
values (:task, :agent, :message, :model, :stop_reason, :input, :read, :write, :write_1h, :output, :keeps, :usd, :hash,
        :prefix_tokens, :started_at, :first_byte_at, :ended_at)
"""

_PREFIX = """
select input_tokens + cache_read_tokens + cache_write_tokens + output_tokens as tokens from model_call
 where message = :message and task = (select task from message where id = :message)
"""


class Ledger:
    """Writes down what one agent's calls cost."""

    def __init__(self, conversation: Conversation, name: str, *, agent: int) -> None:
        """`name` is what the model is called."""
        self._conversation = conversation
        self._name = name
        self._agent = agent

    def write(
        self, tx: Transaction, message: int | None, answer: Answer, prices: Model | None, *, prefix: str,
        checks_cache: bool = False, keeps: int | None = None,
    ) -> None:  # fmt: skip
        """Count an answer that is message number `message`; `prices` None: nobody knows them.

        `prefix` is the hash of what it shares with its parent; with `checks_cache` that should have been read.
        `keeps` is the fork point that the call only kept in the cache.
        """
        usage = answer.usage
        usd = prices.cost_usd(usage) if prices else None
        prefix_tokens = self._prefix_tokens(tx) if checks_cache else None
        tx.execute(
            _INSERT, task=self._conversation.task, agent=self._agent, message=message, model=self._name,
            stop_reason=answer.stop_reason, input=usage.input, read=usage.cache_read, write=usage.cache_write,
            write_1h=usage.cache_write_1h, keeps=keeps, output=usage.output, usd=usd, hash=prefix,
            prefix_tokens=prefix_tokens, started_at=answer.started_at, first_byte_at=answer.first_byte_at,
            ended_at=answer.ended_at,
        )  # fmt: skip
        tx.event(
            "model.answered", object=self._name, message=message, stop_reason=answer.stop_reason, input=usage.input,
            cache_read=usage.cache_read, cache_write=usage.cache_write, output=usage.output, usd=usd,
            seconds=round(answer.ended_at - answer.started_at, 3),
        )  # fmt: skip
        if prefix_tokens and usage.cache_read < CACHE_KEPT * prefix_tokens:
            tx.event(
                "cache.lost", object=self._name, prefix_tokens=prefix_tokens, cache_read=usage.cache_read,
                lost_tokens=prefix_tokens - usage.cache_read,
                lost_usd=economics.loss_usd(prices, prefix=prefix_tokens, read=usage.cache_read),
                prefix_is_the_same=prefix == self._hash_at_fork(tx),
            )  # fmt: skip

    def _prefix_tokens(self, tx: Transaction) -> int | None:
        """How long the conversation was up to and with the message at which we were forked, in tokens."""
        row = tx.row(_PREFIX, message=self._conversation.fork_point)
        return row["tokens"] if row else None

    def _hash_at_fork(self, tx: Transaction) -> str | None:
        row = tx.row("select prefix_hash from fork_point where message = :point", point=self._conversation.fork_point)
        return row["prefix_hash"] if row else None
