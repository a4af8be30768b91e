"""The process of one agent, from its fork to its end.

    register -> workspace -> conversation -> loop -> commit -> merge queue -> leave

Everything before `run_agent` happens once, in the nursery, and is shared by all agents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from prong.agents import conversation, log, models, nursery
from prong.agents.calls import Calls
from prong.agents.conversation import Block, Conversation, Message
from prong.agents.loop import Agent, Refused
from prong.agents.model import Endpoint, Model, ModelUnavailable
from prong.agents.slot import Slot
from prong.agents.tools import DEFINITIONS, Tool, WorkspaceTools, tool_environment, workspace_tools
from prong.harness import definitions, merge_queue, prompt
from prong.harness.budgets import AccountPurse, partial_result
from prong.harness.git import AGENT, RepositoryError
from prong.harness.primitive_tools import PrimitiveTools
from prong.harness.repository import Repository
from prong.harness.rules import Role
from prong.harness.swarms import tidy
from prong.harness.task_tools import ForkSource, TaskTools
from prong.harness.workspaces import Workspace
from prong.primitives import holdings, lock, permits
from prong.primitives import task as tasks
from prong.primitives.budget import Budget, OutOfBudget
from prong.state import Deposed, Member, Membership, Store, StoreError, TaskLost
from prong.state.member import LEASE_S

TOOLS: Sequence[Block] = (*DEFINITIONS, *definitions.PRIMITIVES)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all agents of a swarm have in common: made once before the forks, holding no connection to anything."""

    directory: Path
    repository: Repository
    branch: str
    base_commit: str
    store: Store
    model: Model
    system: Sequence[Block]
    agent_budget: Budget | None
    task_budget: Budget | None
    roles: Mapping[str, Role]
    role_models: Mapping[str, Model]

    def model_for(self, role: str, context: str) -> Model:
        """A fork asks the model of whom it was forked from, whose prompt cache it reads; the others their role's."""
        return self.role_models.get(role, self.model) if context == "fresh" else self.model


def prepare(settings: Mapping[str, Any]) -> nursery.Main:
    """Make ready in the nursery what every agent needs, and return what an agent runs."""
    log.configure()
    shared = share(settings)
    return lambda order: run_agent(shared, order)


def share(settings: Mapping[str, Any]) -> Shared:
    """All that can be made once for all agents."""
    store = Store(Path(settings["directory"]))
    store.close()
    roles = {name: Role(**role) for name, role in settings["roles"].items()}
    endpoint = Endpoint(**settings["endpoint"])
    governed_in = Path(settings["governed_in"])
    return Shared(
        directory=store.directory,
        repository=Repository.open(settings["repository"]),
        branch=settings["branch"],
        base_commit=settings["base_commit"],
        store=store,
        model=Model(endpoint, store.clock, governed_in=governed_in),
        system=({"type": "text", "text": prompt.system(settings["prose"], roles)},),
        agent_budget=_budget(settings["agent_budget"]),
        task_budget=_budget(settings["task_budget"]),
        roles=roles,
        role_models={
            name: Model(replace(endpoint, model=role.model), store.clock, governed_in=governed_in)
            for name, role in roles.items()
            if role.model is not None
        },
    )


def _budget(given: Mapping[str, Any]) -> Budget | None:
    return Budget(**given) if any(value is not None for value in given.values()) else None


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
    me = Member(order["agent"], order["incarnation"], order["task"])
    slot = Slot(shared.store, me, order["fence"])
    member = Membership(shared.store, me, slot.parking)
    with member.transaction() as tx:
        tx.execute("update agent set state = 'running' where id = :agent", agent=me.agent)
        tx.event("agent.running", object=str(me.agent))
        lock.inherit(tx, order["task"], me.agent)
        permits.inherit(tx, order["task"], me.agent)
        holdings.renew(tx)  # on a busy machine much of the first lease is over by now
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
        row = member.store.row("select role, context, account from task where id = :task", task=task)
        assert row is not None
        self._role, self._account = shared.roles.get(row["role"]), row["account"]
        self._model = shared.model_for(row["role"], row["context"])
        self._directory = shared.directory / "workspaces" / str(task)
        # The clone is made while the model thinks about its first answer; nothing touches it before a tool runs.
        self._making = ThreadPoolExecutor(1, thread_name_prefix="workspace").submit(self._open_workspace)

    def do(self) -> str:
        """Run the loop and hand in the work; returns why the agent ended."""
        self._begin_conversation()
        with self._workspace_tools() as workspace_tools_:
            try:
                agent = self._agent(workspace_tools_)
                while (result := agent.step()) is None:
                    self._heed_pause()
                self._hand_in(result)
            except OutOfBudget as error:
                self._wait_for_budget(str(error))
                return str(error)
            except (ModelUnavailable, Refused, RepositoryError) as error:
                self._fail(error)
                return str(error)
            except _Paused:
                return "its task was paused"
        tidy(self._member.store, self._task)
        return "its task has ended"

    def _heed_pause(self) -> None:
        """Step aside where a person has paused the task or the swarm; another agent goes on from this very turn."""
        row = self._member.store.row(
            "select 1 from task where id = :task and (paused = 1 or exists (select 1 from swarm where paused = 1))",
            task=self._task,
        )
        if row is None:
            return
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tasks.give_back(tx, self._task, agent=self._member.me.agent, reason="it was paused", blame=False)
        raise _Paused

    def _wait_for_budget(self, reason: str) -> None:
        with self._member.transaction() as tx:
            result = partial_result(self._conversation)
            tasks.hold_for_budget(tx, self._task, self._fence, reason=reason, result=result)

    def _fail(self, error: ModelUnavailable | Refused | RepositoryError) -> None:
        with self._member.transaction() as tx:
            tasks.fail(tx, self._task, self._fence, error=str(error), failure=_kind(error))

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
        messages = self._conversation.messages
        begun = messages and not (len(messages) > 1 and messages[-2].id == self._conversation.fork_point)
        if begun:
            return
        with self._member.transaction() as tx:
            needs = tx.rows("select need from task_need where task = :task order by need", task=self._task)
            texts = [prompt.results_of_needs(tasks.find(tx, row["need"]) for row in needs), prompt.of_role(self._role)]
            if not messages:
                goal = tx.value("select prompt from task where id = :task", task=self._task)
                texts.insert(0, prompt.first_message(goal=goal, repository=self._shared.repository.root.name))
            content = [{"type": "text", "text": text} for text in texts if text is not None]
            message = self._conversation.append(tx, "user", content) if content else None
        if message is not None:
            self._conversation.extend(message)

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
        task_tools = TaskTools(
            self._member, ForkSource(self._snapshot, self._prefix_hash), budget=self._shared.task_budget
        )
        tools = (*in_workspace.tools, *task_tools.tools(), *primitives.tools())
        toolbox = _Toolbox(tools, task_tools, primitives, ready=self._making.result)
        return Agent(
            self._member,
            self._conversation,
            model=self._model,
            calls=Calls(self._member, self._task, toolbox, self._slot),
            system=self._shared.system,
            tools=TOOLS,
            purse=self._purse(),
            priority=self._priority,
        )

    def _purse(self) -> AccountPurse:
        model = models.lookup(self._model.endpoint.model)
        return AccountPurse(self._member, account=self._account, own=self._shared.agent_budget, model=model)

    def _priority(self) -> int:
        """How urgent its calls of the model are, among those of all swarms."""
        row = self._member.store.row("select priority, raised from task where id = :task", task=self._task)
        assert row is not None
        urgency: int = max(row["priority"], row["raised"] if row["raised"] is not None else row["priority"])
        return urgency

    def _snapshot(self) -> str:
        """The workspace as it is now, as a commit that the user's repository holds on to."""
        commit = self._workspace.snapshot()
        ref = f"refs/prong/{self._shared.directory.name}/fork/{commit}"
        self._shared.repository.adopt(self._workspace, commit, ref)
        return commit

    def _prefix_hash(self, turn: Message) -> str:
        shared = [message for message in self._conversation.messages if message.id <= turn.id]
        return conversation.prefix_hash(self._model.endpoint.model, self._shared.system, TOOLS, shared)

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


class _Paused(Exception):
    """The task was paused between two turns."""


def _kind(error: ModelUnavailable | Refused | RepositoryError) -> tasks.Failure:
    """What kind of failure it is, which says whether another attempt may go better."""
    if isinstance(error, Refused):
        return "model"
    if isinstance(error, RepositoryError):
        return "tool"
    return "provider" if error.kind == "provider" else "request"


def _beat_for_ever(member: Membership) -> None:
    """The heartbeat: ends with the process, or when the agent was declared dead."""
    pause = threading.Event()
    while not pause.wait(LEASE_S / 3):
        try:
            with member.transaction() as tx:
                holdings.renew(tx)
        except Deposed:
            return
        except StoreError as error:  # a full disk, a stranger that keeps the file: it may be over before the lease is
            structlog.get_logger().warning("heartbeat.missed", problem=str(error))


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, _end)
    nursery.serve(prepare)
