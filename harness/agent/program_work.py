"""A task that runs a program instead of asking a model: what `prong exec` makes its first task."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from prong.agents import notices
from prong.agents.slot import Slot
from prong.harness.agent.function_work import FunctionWork
from prong.harness.agent.programs import Program, Ran
from prong.harness.agent.shared import Shared
from prong.harness.agent.work import Paused, Work
from prong.harness.messages import Unheard
from prong.harness.patterns.calls import is_call
from prong.harness.repository.git import RepositoryError
from prong.harness.swarms import tidy
from prong.harness.tools.program import Interrupted
from prong.primitives import task as tasks
from prong.state import Membership

ERROR_CHARACTERS = 4_000
"""How much of the end of what a program printed stands in its task's error, in characters."""


def work_on(shared: Shared, member: Membership, slot: Slot, task: int, fence: int) -> Work:
    """What an agent does for a task: ask a model, call a function, run a program, or have an outside agent do it."""
    row = member.store.row("select program, role from task where id = :task", task=task)
    role = None if row is None else shared.roles.get(row["role"])
    if row is not None and row["program"] is None and role is not None and role.kind is not None:
        from prong.harness.agent.worker_work import WorkerWork  # noqa: PLC0415  most swarms have no outside agents

        return WorkerWork(shared, member, slot, task, fence)
    if row is None or row["program"] is None:
        return Work(shared, member, slot, task, fence)
    if is_call(row["program"]):
        return FunctionWork(shared, member, slot, task, fence, program=row["program"])
    return ProgramWork(shared, member, slot, task, fence, program=Program.read(row["program"]))


class ProgramWork(Work):
    """One agent's work on a task with a program: run it, and hand in what it changed."""

    def __init__(
        self, shared: Shared, member: Membership, slot: Slot, task: int, fence: int, *, program: Program
    ) -> None:
        super().__init__(shared, member, slot, task, fence)
        self._program = program
        self._making.begin()

    def do(self) -> str:
        """Run the program to its end; what it printed is the task's result."""
        with ExitStack() as tools:
            try:
                self._calls(tools)
                self._toolbox.kit()
                self._begin()
                ran = self._run()
                while ran.went_well and not self._has_handed_in(str(ran)):
                    pass
                if not ran.went_well:
                    self._end_badly(ran)
            except RepositoryError as error:
                self._fail(error)
                return str(error)
            except _MustPause:
                with suppress(Paused):
                    self._heed_pause()
                return "its task was paused"
        tidy(self._member.store, self._task)
        return "its task has ended"

    def _begin(self) -> None:
        """What people see of it where they look for a conversation."""
        if not self._conversation.messages:
            source = f"{self._program.name} {' '.join(self._program.arguments)}\n\n{self._program.source}"
            self._conversation.say("user", [{"type": "text", "text": source}])

    def _run(self) -> Ran:
        self._making.result()  # the clone is there
        with self._slot.working():
            try:
                return self._programs.run(
                    self._program, key=f"program-{self._task}", id_="program", has_conversation=False, heed=self._heed
                )
            finally:
                self._toolbox.end_turn()

    def _heed(self) -> None:
        if self._is_paused():
            raise _MustPause

    def _has_handed_in(self, result: str) -> bool:
        """Whether the task has ended with what the program changed; False where somebody has to hear first."""
        try:
            if self._hand_in(result):
                return True
        except Unheard:
            notice = self._ears.people()
            if notice is not None:
                notices.tell(self._member, self._conversation, None, [notice])
            return False
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            error = f"what the program changed could not be merged. It printed:\n{result[-ERROR_CHARACTERS:]}"
            tasks.finish(tx, self._task, "failed", error=error, failure="merge")
        return True

    def _end_badly(self, ran: Ran) -> None:
        """It is not run again by itself: what went wrong would go wrong again."""
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            error = f"the program did not end well:\n{str(ran)[-ERROR_CHARACTERS:]}"
            tasks.finish(tx, self._task, "failed", error=error, failure="program")


class _MustPause(Interrupted):
    """The task was paused between two calls of its program."""
