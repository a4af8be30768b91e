"""A task that an outside agent works on: its command runs in the task's workspace, and its result is the task's.

words -> command --ended well--> result --hand in--> done
  ^         |                       +--merge conflict, a message, a result that does not fit--+
  |         +--killed, hangs, nonsense--> the attempt has failed: tried again by the rules     |
  +-------------------------- its session goes on with that ----------------------------------+
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from prong.agents import models, notices
from prong.agents.answers import ModelFailed
from prong.agents.sandbox import Sandbox
from prong.agents.slot import Slot
from prong.agents.tools import tool_environment
from prong.harness.agent.jail import sandbox_of_task
from prong.harness.agent.shared import Shared
from prong.harness.agent.work import Paused, Work
from prong.harness.budgets import ReportedPurse
from prong.harness.messages import Unheard
from prong.harness.repository.git import RepositoryError
from prong.harness.swarms import tidy
from prong.harness.workers import bridge, files, sessions, telling
from prong.harness.workers.ending import Spent, WorkerFailed, result_of
from prong.harness.workers.forking import Forking
from prong.harness.workers.kinds import COMMAND, KINDS, Start, command_line
from prong.harness.workers.line import SOCKET, WorkerSession, serving
from prong.harness.workers.recording import Recording
from prong.harness.workers.running import Clock, Elsewhere, NotStarted, Ran, find_program, installed_in, run
from prong.primitives import budget
from prong.primitives import task as tasks
from prong.primitives.budget import OutOfBudget
from prong.primitives.budget_sums import NANO
from prong.state import Membership

HOME = "worker"
"""The folder, in the task's temporary directory, that is the outside agent's own."""

WORDS = "words.txt"
"""The file with what it is told, in that folder."""

TIMEOUT_S = 3_600.0
"""How long it may work on one attempt, where nobody says otherwise, in seconds."""

COMMAND_CHARACTERS = 1_500
"""How much of a command stands in the log, in characters."""


class WorkerWork(Work):
    """One agent's work on one task whose role is of a kind that is not ours."""

    def __init__(self, shared: Shared, member: Membership, slot: Slot, task: int, fence: int) -> None:
        super().__init__(shared, member, slot, task, fence)
        role = self._role
        assert role is not None
        assert role.kind is not None
        kind = KINDS[role.kind]
        self._does, self._kind_name = role, role.kind
        self._kind = kind if kind.title else replace(kind, title=shlex.split(role.command or "")[0])
        self._scratch = shared.directory / "scratch" / str(task)
        self._home = self._scratch / HOME
        self._clock = Clock(role.timeout_s or TIMEOUT_S)
        self._named = role.model or shared.workers_model
        row = member.store.row("select role from task where id = :task", task=task)
        assert row is not None
        self._role_name: str = row["role"]
        self._making.begin()

    def do(self) -> str:
        """Run the command until its work is handed in; what it said last is the task's result."""
        with ExitStack() as tools:
            try:
                self._begin_conversation(self._calls(tools))
                self._toolbox.kit()  # which makes the folders that its own lies in
                self._record = self._recording()
                while not self._has_handed_in():
                    self._heed_pause()
            except (OutOfBudget, Spent) as error:
                self._wait_for_budget(str(error), bound_of=error.kind if isinstance(error, OutOfBudget) else "account")
                return str(error)
            except (WorkerFailed, NotStarted) as error:
                failure: tasks.Failure = error.failure if isinstance(error, WorkerFailed) else "request"
                with self._member.transaction() as tx:
                    tasks.fail(tx, self._task, self._fence, error=str(error), failure=failure)
                return str(error)
            except (ModelFailed, RepositoryError) as error:
                self._fail(error)
                return str(error)
            except (Paused, _MustPause):
                with suppress(Paused):
                    self._heed_pause()
                return "its task was paused"
        tidy(self._member.store, self._task)
        return "its task has ended"

    def _asks(self) -> str:
        """Whose prompt cache it has: that of no model of ours."""
        return self._shared.models_of_roles()[self._role_name]

    def _has_handed_in(self) -> bool:
        """One run, and whether the task has ended with it; else its session goes on with what it reads next."""
        ran = self._run_once()
        try:
            result = result_of(ran, self._kind, is_command=self._kind_name == COMMAND)
        except WorkerFailed:
            if not self._record.has_said:  # its session may be what is wrong with it
                sessions.forget(self._member, self._task)
            raise
        taken = self._result.taken(result)
        if taken is None:
            return False
        try:
            return self._hand_in(taken)
        except Unheard:
            self._hear()
            return False

    def _hear(self) -> None:
        found = [one for source in (self._ears.people, self._ears.inbox) if (one := source()) is not None]
        if found:
            notices.tell(self._member, self._conversation, None, found)

    def _run_once(self) -> Ran:
        self._making.result()  # the clone is there
        self._hear()
        files.own_folder(self._home)
        record = self._record
        record.reserve()
        session = WorkerSession(
            self._member, self._toolbox.tools, create_task=self._forking().create_task,
            name=f"task {self._task}", standing=self._clock.standing,
        )  # fmt: skip
        try:
            with self._slot.working(), serving(session, self._scratch, self._shared.hide):
                return self._started()
        finally:
            record.hand_back()
            self._toolbox.end_turn()

    def _started(self) -> Ran:
        sandbox, environment = self._surroundings()
        start = self._start(
            is_closed=sandbox is not None and sandbox.is_closed, base_url=environment.get("ANTHROPIC_BASE_URL")
        )  # fmt: skip
        environment |= self._kind.environment(start)
        words = command_line(self._kind, start, command=self._does.command, more=self._does.arguments or ())
        hint = f"say in PRONG.md how it is started, with roles.{self._role_name}.command"
        program = find_program(words[0], environment["PATH"], hint=hint)
        if sandbox is not None:
            sandbox = Elsewhere.of(sandbox, self._moved(), readable=installed_in(program))
        with self._member.transaction() as tx:
            shown = shlex.join(words)[:COMMAND_CHARACTERS]
            tx.event("worker.started", object=self._kind_name, command=shown, session=start.session, forks=start.forks)
        self._record.begin_run()
        ran = run(
            [str(program), *words[1:]], words=self._home / WORDS, scratch=self._scratch, workspace=self._directory,
            environment=environment, sandbox=sandbox, seen=lambda path: self._seen(path, start), clock=self._clock,
            take=self._record.take, heed=self._heed, hide=self._shared.hide,
        )  # fmt: skip
        self._record.flush()
        with self._member.transaction() as tx:
            tx.event(
                "worker.ended", object=self._kind_name, exit_code=ran.exit_code, problem=ran.problem or None,
                killed=ran.killed, denied=list(ran.ended.denied)[:10] if ran.ended is not None else [],
            )  # fmt: skip
        return ran

    def _surroundings(self) -> tuple[Sandbox | None, dict[str, str]]:
        """The sandbox that it runs in, and the environment, with none of the user's keys but its own."""
        common = self._shared.directory / "shared"
        is_closed = self._shared.is_confined
        moved = self._moved() if is_closed else {}
        workspace = moved.get(self._directory, self._directory)
        extra = {
            "TMPDIR": str(moved.get(self._scratch, self._scratch)), "PRONG_SHARED": str(common),
            "PRONG_TASK": str(self._task),
        }  # fmt: skip
        environment = tool_environment(workspace, extra)
        sandbox = sandbox_of_task(
            self._shared.jail, self._shared.repository, workspace=self._directory, scratch=self._scratch, common=common,
            environment=environment,
        )  # fmt: skip
        own = {*self._kind.keys, *(self._does.environment or ())}
        keys = {name: value for name, value in self._shared.workers_environment.items() if name in own}
        return sandbox, environment | keys

    def _start(self, *, is_closed: bool, base_url: str | None) -> Start:
        session, forks = None, False
        if self._kind_name != COMMAND or "{session}" in (self._does.command or ""):
            session, forks = sessions.to_resume(self._member, self._task, self._kind_name)
        if forks:
            assert self._conversation.fork_point is not None
            sessions.restore(self._shared.directory, self._conversation.fork_point, self._home)
        text = telling.words(
            self._conversation.messages, resumes=session is not None, prose=self._shared.prose,
            roles=self._shared.roles,
        )  # fmt: skip
        files.write(self._home / WORDS, text.encode(errors="replace"))
        files.write(self._scratch / "bridge.py", Path(str(bridge.__file__)).read_bytes())
        moved = self._moved() if is_closed else {}
        scratch = moved.get(self._scratch, self._scratch)
        mcp = (sys.executable, "-I", "-S", str(scratch / "bridge.py"), str(scratch / SOCKET))
        return Start(
            home=scratch / HOME, own_home=self._home, workspace=moved.get(self._directory, self._directory),
            words=scratch / HOME / WORDS, text=text, mcp=mcp, closed=is_closed, model=self._named, session=session,
            forks=forks, usd=self._usd_left(), base_url=base_url,
        )  # fmt: skip

    def _moved(self) -> Mapping[Path, Path]:
        """Where all workers of a swarm find their folders, so that what they read of them is the same for all."""
        place = self._shared.directory / HOME
        return {
            Path(os.path.realpath(self._directory)): place / "workspace",
            Path(os.path.realpath(self._scratch)): place / "scratch",
        } | {self._directory: place / "workspace", self._scratch: place / "scratch"}

    def _seen(self, path: Path, start: Start) -> Path:
        return start.home.parent / path.relative_to(self._scratch)

    def _recording(self) -> Recording:
        purse = ReportedPurse(
            self._member, account=self._account, own=self._shared.agent_budget,
            model=models.known(self._member.store, self._named) if self._named else None,
        )  # fmt: skip
        return Recording(self._member, self._conversation, purse, kind=self._kind_name, model=self._named)

    def _forking(self) -> Forking:
        return Forking(
            self._member, self._toolbox, self._record, self._shared, role=self._role_name, kind=self._kind_name,
            home=self._home,
        )  # fmt: skip

    def _usd_left(self) -> float | None:
        """The dollars that it may still spend by its own count, with what was just set aside for its first call."""
        if self._account is None:
            return None
        left = [
            (room.open + room.reserved) / NANO
            for room in budget.rooms(self._member.store, self._account)
            if room.unit == "nanousd"
        ]
        return max(0.01, min(left)) if left else None

    def _heed(self) -> None:
        if self._is_paused():
            raise _MustPause


class _MustPause(Exception):
    """The task was paused while its command ran; that has been ended first."""
