"""The process of one agent, from its fork to its end.

    register -> workspace -> conversation -> loop -> commit -> merge queue -> leave

Everything before `run_agent` happens once, in the nursery, and is shared by all agents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from prong.agents import conversation, log, nursery
from prong.agents.calls import Calls
from prong.agents.conversation import Block, Conversation, Message
from prong.agents.loop import Agent, Refused
from prong.agents.model import Endpoint, Model, ModelUnavailable
from prong.agents.slot import Slot
from prong.agents.tools import DEFINITIONS, Tool, WorkspaceTools, tool_environment, workspace_tools
from prong.harness import definitions, merge_queue, prompt
from prong.harness.git import AGENT, RepositoryError
from prong.harness.primitive_tools import PrimitiveTools
from prong.harness.repository import Repository
from prong.harness.swarms import tidy
from prong.harness.task_tools import ForkSource, TaskTools
from prong.harness.workspaces import Workspace
from prong.primitives import holdings, lock, permits
from prong.primitives import task as tasks
from prong.state import Deposed, Member, Membership, Store, TaskLost
from prong.state.member import LEASE_S

TOOLS: Sequence[Block] = (*DEFINITIONS, *definitions.PRIMITIVES)
SYSTEM: Sequence[Block] = ({"type": "text", "text": prompt.SYSTEM},)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all agents of a swarm have in common: made once before the forks, holding no connection to anything."""

    directory: Path
    repository: Repository
    branch: str
    base_commit: str
    store: Store
    model: Model


def prepare(settings: Mapping[str, Any]) -> nursery.Main:
    """Make ready in the nursery what every agent needs, and return what an agent runs."""
    log.configure()
    shared = share(settings)
    return lambda order: run_agent(shared, order)


def share(settings: Mapping[str, Any]) -> Shared:
    """All that can be made once for all agents."""
    store = Store(Path(settings["directory"]))
    store.close()
    return Shared(
        directory=store.directory,
        repository=Repository.open(settings["repository"]),
        branch=settings["branch"],
        base_commit=settings["base_commit"],
        store=store,
        model=Model(Endpoint(**settings["endpoint"]), store.clock),
    )


def run_agent(shared: Shared, order: nursery.Order) -> None:
    """Work on the task that the order names until it is merged, failed, or taken away."""
    try:
        member, slot = register(shared, order)
        reason = _Work(shared, member, slot, order["task"], order["fence"]).do()
    except (Deposed, TaskLost) as error:
        structlog.get_logger().info("agent.overtaken", agent=order["agent"], task=order["task"], reason=str(error))
        return
    with member.store.transaction(None) as tx:
        holdings.bury(tx, member.me.agent, state="ended", reason=reason, task=member.me.task)
        tx.ring_scheduler()


def register(shared: Shared, order: nursery.Order) -> tuple[Membership, Slot]:
    """Open the store, say that the agent lives, and keep saying so."""
    me = Member(order["agent"], 1, order["task"])
    slot = Slot(shared.store, me, order["fence"])
    member = Membership(shared.store, me, slot.parking)
    with member.transaction() as tx:
        tx.execute("update agent set state = 'running', beat_at = :now where id = :agent", now=tx.now, agent=me.agent)
        tx.event("agent.running", object=str(me.agent))
        lock.inherit(tx, order["task"], me.agent)
        permits.inherit(tx, order["task"], me.agent)
    threading.Thread(target=_beat_for_ever, args=(member,), name="heartbeat", daemon=True).start()
    return member, slot


class _Work:
    """One agent's work on one task: what it opens, and what it closes."""

    def __init__(self, shared: Shared, member: Membership, slot: Slot, task: int, fence: int) -> None:
        self._shared = shared
        self._member = member
        self._slot = slot
        self._task = task
        self._fence = fence
        self._conversation = Conversation(member, task, fence)
        self._directory = shared.directory / "workspaces" / str(task)
        # The clone is made while the model thinks about its first answer; nothing touches it before a tool runs.
        self._making = ThreadPoolExecutor(1, thread_name_prefix="workspace").submit(self._open_workspace)

    def do(self) -> str:
        """Run the loop and hand in the work; returns why the agent ended."""
        self._begin_conversation()
        with self._workspace_tools() as workspace_tools_:
            try:
                result = self._agent(workspace_tools_).run()
                self._hand_in(result)
            except (ModelUnavailable, Refused, RepositoryError) as error:
                with self._member.transaction() as tx:
                    tasks.hold(tx, self._task, self._fence)
                    tasks.finish(tx, self._task, "failed", error=str(error))
                return str(error)
        tidy(self._member.store, self._task)
        return "its task has ended"

    @property
    def _workspace(self) -> Workspace:
        return self._making.result()

    def _open_workspace(self) -> Workspace:
        """The task's own clone, made by its first attempt; a fork's starts from its parent's files."""
        row = self._member.store.row("select base_commit from task where id = :task", task=self._task)
        assert row is not None
        base: str = row["base_commit"] or self._shared.repository.resolve(f"refs/heads/{self._shared.branch}")
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tx.execute(
                "update task set base_commit = :base where id = :task and base_commit is null",
                base=base,
                task=self._task,
            )
        return Workspace.create(self._shared.repository, self._directory, base)

    def _begin_conversation(self) -> None:
        if self._conversation.last is None:
            row = self._member.store.row("select prompt from task where id = :task", task=self._task)
            assert row is not None
            text = prompt.first_message(goal=row["prompt"], repository=self._shared.repository.root.name)
            self._conversation.say("user", [{"type": "text", "text": text}])

    def _workspace_tools(self) -> WorkspaceTools:
        scratch = self._shared.directory / "scratch" / str(self._task)
        common = self._shared.directory / "shared"
        scratch.mkdir(parents=True, exist_ok=True)
        common.mkdir(exist_ok=True)
        extra = {"TMPDIR": str(scratch), "PRONG_SHARED": str(common), "PRONG_TASK": str(self._task)}
        names = tool_environment(self._directory, extra)
        return workspace_tools(self._directory, scratch=scratch, roots=[common], environment=names)

    def _agent(self, in_workspace: WorkspaceTools) -> Agent:
        primitives = PrimitiveTools(self._member, siblings=self._conversation.fork_point)
        task_tools = TaskTools(self._member, ForkSource(self._snapshot, self._prefix_hash))
        tools = (*in_workspace.tools, *task_tools.tools(), *primitives.tools())
        toolbox = _Toolbox(tools, task_tools, primitives, ready=self._making.result)
        return Agent(
            self._member,
            self._conversation,
            model=self._shared.model,
            calls=Calls(self._member, self._task, toolbox, self._slot),
            system=SYSTEM,
            tools=TOOLS,
        )

    def _snapshot(self) -> str:
        """The workspace as it is now, as a commit that the user's repository holds on to."""
        commit = self._workspace.snapshot()
        ref = f"refs/prong/{self._shared.directory.name}/fork/{commit}"
        self._shared.repository.adopt(self._workspace, commit, ref)
        return commit

    def _prefix_hash(self, turn: Message) -> str:
        shared = [message for message in self._conversation.messages if message.id <= turn.id]
        return conversation.prefix_hash(self._shared.model.endpoint.model, SYSTEM, TOOLS, shared)

    def _hand_in(self, result: str) -> None:
        """Commit what was changed and wait in the merge queue; a task that changed nothing is done at once."""
        row = self._member.store.row("select title from task where id = :task", task=self._task)
        assert row is not None
        trailers = merge_queue.trailers(self._shared.directory.name, self._task, self._member.me.agent)
        commit = self._workspace.commit_all(row["title"], AGENT, trailers)
        if commit is None:
            with self._member.transaction() as tx:
                tasks.hold(tx, self._task, self._fence)
                tasks.finish(tx, self._task, "done", result=result)
            return
        ref = f"refs/prong/{self._shared.directory.name}/task/{self._task}-{self._fence}"
        self._shared.repository.adopt(self._workspace, commit, ref)
        merge_queue.submit(self._member, self._task, self._fence, commit=commit, result=result)


class _Toolbox:
    """All tools of one agent by name."""

    def __init__(
        self, tools: Sequence[Tool], task_tools: TaskTools, primitives: PrimitiveTools, *, ready: Callable[[], object]
    ) -> None:
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._ready = ready
        self._task_tools = task_tools
        self._primitives = primitives

    def begin_turn(self, turn: Message) -> None:
        self._ready()
        self._task_tools.begin_turn(turn)

    def end_turn(self) -> None:
        self._primitives.end_turn()


def _beat_for_ever(member: Membership) -> None:
    """The heartbeat: ends with the process, or when the agent was declared dead."""
    pause = threading.Event()
    while not pause.wait(LEASE_S / 3):
        try:
            with member.transaction() as tx:
                holdings.renew(tx)
        except Deposed:
            return


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, _end)
    nursery.serve(prepare)
