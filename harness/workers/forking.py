"""`create_task`, as a worker calls it: its forks begin with its session as it was in that turn."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prong.agents.conversation import Message
from prong.agents.tools.tool import Answer, ToolCall
from prong.harness.agent.toolbox import Toolbox
from prong.harness.workers import sessions
from prong.harness.workers.kinds import COMMAND, KINDS
from prong.harness.workers.recording import Recording
from prong.state import Membership

if TYPE_CHECKING:
    from prong.harness.agent.shared import Shared

TOLD_S = 3.0
"""How long a worker may take to tell of the turn in which it made a call that we have already, in seconds."""

_TELLS = "claude-code"
"""The kind that calls our tools by the ids of its own turns."""


class Forking:
    """The creation of tasks by one run of a worker, whose calls may come at once."""

    def __init__(
        self, member: Membership, toolbox: Toolbox, record: Recording, shared: Shared, *, role: str, kind: str,
        home: Path,
    ) -> None:  # fmt: skip
        self._member = member
        self._toolbox = toolbox
        self._record = record
        self._shared = shared
        self._role = role
        self._kind = kind
        self._home = home
        self._lock = threading.Lock()
        self._turn: Message | None = None

    def create_task(self, call: ToolCall) -> Answer:
        """The tool `create_task`.  A task that is given no role gets its creator's; what cannot be forked is fresh."""
        role = call.input.get("role") or self._role
        wanted = call.input.get("context", "fork")
        with self._lock:
            forks = wanted in ("fork", "auto") and self._is_like(role)
            turn = self._record.turn_of(call, TOLD_S if self._kind == _TELLS else 0)
            if self._turn is None or self._turn.id != turn.id:
                self._toolbox.begin_turn(turn)
                self._turn = turn
            if forks:
                forks = self._keep(turn)
            context = "fork" if forks else "fresh" if wanted in ("fork", "auto", "brief") else wanted
            given: Mapping[str, Any] = {**call.input, "role": role, "context": context}
            told = self._toolbox.tools["create_task"].run(replace(call, input=given))
        assert isinstance(told, Answer)
        return told

    def _is_like(self, role: object) -> bool:
        """Whether tasks of a role are done by the same outside agent, with the same model."""
        models = self._shared.models_of_roles()
        return self._kind != COMMAND and isinstance(role, str) and models.get(role) == models[self._role]

    def _keep(self, turn: Message) -> bool:
        """Keep the session of this turn, once for all its forks; False where it cannot be forked."""
        store = self._member.store
        if store.row("select 1 from worker_fork where message = :message", message=turn.id) is not None:
            return True
        session = self._record.session
        if session is None or not sessions.keep(store.directory, turn.id, self._home, KINDS[self._kind], session):
            return False
        with self._member.transaction() as tx:
            tx.execute(
                "insert into worker_fork (message, kind, session, totals) values (:message, :kind, :session, :totals)",
                message=turn.id, kind=self._kind, session=session, totals=self._record.totals(),
            )  # fmt: skip
        return True
