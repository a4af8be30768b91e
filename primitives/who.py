"""How errors and reasons speak of a member: by its name, and by its number, since several may bear one name."""

from __future__ import annotations

from prong.state import Transaction


def who(tx: Transaction, agent: int) -> str:
    """The member in words.

    >>> with swarm.transaction() as tx:
    ...     who(tx, swarm.me.agent)
    'ada (agent 1)'
    """
    name: str = tx.value("select name from agent where id = :agent", agent=agent)
    return f"{name} (agent {agent})"
