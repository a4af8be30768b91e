"""A task that calls a Python function instead of asking a model: what `Swarm.submit(fn)` makes.

The function runs in the agent's own process, in the task's workspace, and is trusted as the program that submitted it.
What it changes there is merged like an agent's work.

    ready --called: counted first--> its value or exception is kept --> handed in
                  +--its process ends--> called again while it is `repeatable`, else failed

That it begins is written down before it does, so it is called at most as often as it may be, once unless somebody says
more: nobody knows how far a call got whose process is gone, and what it did elsewhere must not be done twice.  A call
that has come back is never made again, whenever its agent dies.
"""

from __future__ import annotations

import os
from typing import Any

from prong.agents import notices
from prong.agents.slot import Slot
from prong.harness.agent.shared import Shared
from prong.harness.agent.work import Work
from prong.harness.messages import Unheard
from prong.harness.patterns import calls
from prong.harness.repository.git import RepositoryError
from prong.harness.swarms import tidy
from prong.primitives import artifacts
from prong.primitives import task as tasks
from prong.primitives.task_record import Failure
from prong.state import Membership

TOLD_CHARACTERS = 1_000
"""So much of what a function came to stands in the log."""

ENDED = 143
"""The exit status of an agent that is told to end."""


# The count of failures begins anew where a person tries the task again: what came of an earlier call is over then.
_KEPT = """
update task set result_value = case when failures = 0 then null else result_value end where id = :task
returning result_value
"""

_BEGIN = """
update task set failures = failures + 1, stalled = 0 where id = :task and failures < attempts returning failures
"""


class FunctionWork(Work):
    """One agent's work on a task with a call: call it, keep what came of it, and hand in what it changed."""

    def __init__(self, shared: Shared, member: Membership, slot: Slot, task: int, fence: int, *, program: str) -> None:
        super().__init__(shared, member, slot, task, fence)
        self._program = program
        self._making.begin()

    def do(self) -> str:
        """Call the function; an exception of it fails the task, and is not tried again."""
        try:
            self._making.result()  # the clone is there
            self._begin()
            came = self._came()
            if came is None:
                return "its task has failed"
            if "error" in came:
                self._end_badly(calls.in_words(came))
                return "its task has failed"
            while not self._has_handed_in(calls.in_words(came)):
                pass
        except RepositoryError as error:
            self._fail(error)
            return str(error)
        tidy(self._member.store, self._task)
        return "its task has ended"

    def _begin(self) -> None:
        """What people see of it where they look for a conversation."""
        if not self._conversation.messages:
            row = self._member.store.row("select prompt from task where id = :task", task=self._task)
            assert row is not None, "it was claimed"
            self._conversation.say("user", [{"type": "text", "text": row["prompt"]}])

    def _came(self) -> dict[str, object] | None:
        """What the call comes to, or came to before; None where it may not be made once more."""
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            kept = tx.value(_KEPT, task=self._task)
            may = kept is None and tx.row(_BEGIN, task=self._task) is not None
        if kept is not None:
            came: dict[str, object] = artifacts.loaded(self._member, kept)
            return came
        if not may:
            self._end_badly(
                "its process ended while the function ran, so that it may have run wholly, partly or not at all. See"
                f" what it did; call it again with: prong retry {self._task}; or let it be called more often with"
                " prong.harness.repeatable",
                failure="crash",
            )
            return None
        came = self._called()
        self._keep(came)
        return came

    def _called(self) -> dict[str, object]:
        os.chdir(self._directory)
        self._tell("tool.began", input="{}")
        try:
            came = calls.returned(calls.run_call(self._member, self._program))
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code == ENDED:
                raise
            came = calls.raised(error)
        text = calls.in_words(came)[:TOLD_CHARACTERS]
        self._tell("tool.ended", is_error="error" in came, text=text, characters=len(text))
        return came

    def _tell(self, kind: str, **data: Any) -> None:
        """Write down when the function began and ended, as of a call of a tool: it is the work of this task."""
        with self._member.transaction() as tx:
            tx.event(kind, object="function", call=f"function-{self._task}-{self._fence}", **data)

    def _has_handed_in(self, result: str) -> bool:
        """Whether the task has ended; False where a person has said something to it, which nobody could hear."""
        try:
            if not self._hand_in(result):
                self._end_badly("what the function changed could not be merged")
        except Unheard:
            notice = self._ears.people()
            if notice is not None:
                notices.tell(self._member, self._conversation, None, [notice])
            return False
        return True

    def _keep(self, came: dict[str, object]) -> None:
        value = artifacts.stored(self._member, "what a call came to", came)
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tx.execute("update task set result_value = :value where id = :task", value=value, task=self._task)

    def _end_badly(self, error: str, *, failure: Failure = "tool") -> None:
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tasks.finish(tx, self._task, "failed", error=error, failure=failure)
