"""One agent's work on one task, from the conversation's beginning to the merge queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from prong.agents import conversation, models
from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, Message
from prong.agents.loop import Agent, Refused
from prong.agents.model import ModelUnavailable
from prong.agents.slot import Slot
from prong.agents.tools import WorkspaceTools, tool_environment, workspace_tools
from prong.harness import prompt
from prong.harness.agent.shared import TOOLS, Shared
from prong.harness.agent.toolbox import Toolbox
from prong.harness.budgets import AccountPurse, partial_result
from prong.harness.repository import merge_queue
from prong.harness.repository.git import AGENT, RepositoryError
from prong.harness.repository.workspaces import Workspace
from prong.harness.swarms import tidy
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import task as tasks
from prong.primitives.budget import OutOfBudget
from prong.state import Membership


class Work:
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
        toolbox = Toolbox(tools, task_tools, primitives, ready=self._making.result)
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


class _Paused(Exception):
    """The task was paused between two turns."""


def _kind(error: ModelUnavailable | Refused | RepositoryError) -> tasks.Failure:
    """What kind of failure it is, which says whether another attempt may go better."""
    if isinstance(error, Refused):
        return "model"
    if isinstance(error, RepositoryError):
        return "tool"
    return "provider" if error.kind == "provider" else "request"
