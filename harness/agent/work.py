"""One agent's work on one task, from the conversation's beginning to the merge queue."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Literal

from prong.agents import brief, conversation, fork_point, models
from prong.agents.answers import ModelFailed
from prong.agents.calls import Calls
from prong.agents.conversation import Conversation, Message
from prong.agents.fork_point import CacheLost
from prong.agents.loop import Agent
from prong.agents.model import Model
from prong.agents.model_faults import ModelUnavailable
from prong.agents.slot import Slot
from prong.agents.tools import WorkspaceTools, tool_environment, workspace_tools
from prong.harness import prompt
from prong.harness.agent.freshening import base_of_fork
from prong.harness.agent.guard import Guard
from prong.harness.agent.jail import sandbox_of_task
from prong.harness.agent.leaving import Leaving
from prong.harness.agent.making import Making
from prong.harness.agent.programs import Programs
from prong.harness.agent.result import TaskResult
from prong.harness.agent.shared import TOOLS, Shared
from prong.harness.agent.toolbox import Kit, Toolbox
from prong.harness.budgets import AccountPurse, partial_result
from prong.harness.hedging import may_write
from prong.harness.messages import Ears, Unheard, check_heard
from prong.harness.repository import merge_queue
from prong.harness.repository.cloning import Places
from prong.harness.repository.git import AGENT, RepositoryError
from prong.harness.repository.returning import lay
from prong.harness.repository.special import NotAFile
from prong.harness.repository.workspaces import Workspace
from prong.harness.swarms import tidy
from prong.harness.tools.contexts import Planner
from prong.harness.tools.reading import texts_of_needs
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import task as tasks
from prong.primitives.budget import OutOfBudget
from prong.state import Membership, Row

REFUSALS = 3
"""So often a model is told that its work cannot be committed as it lies there, before the attempt fails."""


class Work:
    """One agent's work on one task: what it opens, and what it closes."""

    def __init__(self, shared: Shared, member: Membership, slot: Slot, task: int, fence: int) -> None:
        self._shared = shared
        self._member = member
        self._slot = slot
        self._task = task
        self._fence = fence
        self.leaving = Leaving(member)
        self._conversation = Conversation(member, task, fence)
        self._result = TaskResult(member, self._conversation, task, fence)
        row = member.store.row(
            "select role, account, writes, base_commit, fork_point.model, fork_point is not null as forked,"
            "       (select on_lost_cache from swarm) as on_lost_cache"
            "  from task left join fork_point on message = fork_point where id = :task",
            task=task,
        )
        assert row is not None
        self._refusals = 0
        self._stops = row["on_lost_cache"] != "continue"
        self._role, self._account = shared.roles.get(row["role"]), row["account"]
        self._guard = Guard(member, role=row["role"], workspace=shared.directory / "workspaces" / str(task))
        self._ears = Ears(member, task)
        self._model = shared.model_for(row["role"], (row["model"] or "") if row["forked"] else None)
        self._directory = shared.directory / "workspaces" / str(task)
        self._making = Making(self._open_workspace)
        # What an earlier attempt has left counts as this one's, and a fork that has to be freshened is told of it.
        is_freshened = row["writes"] is not None and row["base_commit"] is not None
        returned = merge_queue.to_lay(member.store, task) is not None
        if returned or is_freshened or Places(self._directory).is_complete():
            self._making.begin()

    def do(self) -> str:
        """Run the loop and hand in the work; returns why the agent ended."""
        with ExitStack() as tools:
            try:
                calls = self._calls(tools)
                self._begin_conversation(calls)
                agent = self._agent(calls)
                handed_in = False
                while not handed_in:
                    while (result := agent.step()) is None:
                        self._heed_pause()
                    taken = self._result.taken(result)
                    if taken is None:
                        continue
                    handed_in = self._is_handed_in(taken)
            except OutOfBudget as error:
                self._wait_for_budget(str(error), bound_of=error.kind)
                return str(error)
            except CacheLost as error:
                return self._without_cache(error)
            except (ModelUnavailable, ModelFailed, RepositoryError) as error:
                self._fail(error)
                return str(error)
            except Paused:
                return "its task was paused"
        tidy(self._member.store, self._task)
        return "its task has ended"

    @property
    def left_nothing(self) -> bool:
        """Whether its process is as it was before: nothing was run in it or by it, and no file was touched."""
        return not self._making.begun

    def _is_handed_in(self, result: str) -> bool:
        """Hand the work in; False where the model has to go on with it, and is told why."""
        try:
            return self._hand_in(result)
        except Unheard:  # the loop tells it
            return False
        except NotAFile as error:
            self._refusals += 1
            if self._refusals > REFUSALS:
                raise
            text = f"Your work could not be committed: {error} Then end your turn with your result once more."
            self._conversation.say("user", [{"type": "text", "text": text}])
            return False

    def _heed_pause(self) -> None:
        """Step aside where a person has paused the task or the swarm; another agent goes on from this very turn."""
        if not self._is_paused():
            return
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tasks.give_back(tx, self._task, agent=self._member.me.agent, reason="it was paused", blame=False)
        raise Paused

    def _is_paused(self) -> bool:
        row = self._member.store.row(
            "select 1 from task where id = :task and (paused = 1 or exists (select 1 from swarm where paused = 1))",
            task=self._task,
        )
        return row is not None

    def _wait_for_budget(self, reason: str, *, bound_of: Literal["account", "agent"]) -> None:
        with self._member.transaction() as tx:
            result = partial_result(self._conversation)
            tasks.hold_for_budget(tx, self._task, self._fence, reason=reason, result=result, bound_of=bound_of)

    def _without_cache(self, error: CacheLost) -> str:
        """The prompt cache is lost before this fork has begun: wait for a person, or do as the rules say."""
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            if tx.value("select on_lost_cache from swarm") == "stop":
                tasks.hold_for_cache(tx, self._task, self._fence, reason=str(error))
                return str(error)
            if tx.value("select on_lost_cache from swarm") == "brief":
                tx.execute(
                    "update task set context = 'brief', brief_of = fork_point, fork_point = null, head = null"
                    " where id = :task",
                    task=self._task,
                )
                tx.event("fork.briefed", object=str(error.message))
            tasks.give_back(tx, self._task, agent=self._member.me.agent, reason=str(error), blame=False)
        return "the prompt cache of its fork point is lost"

    def _fail(self, error: ModelUnavailable | ModelFailed | RepositoryError) -> None:
        with self._member.transaction() as tx:
            tasks.fail(tx, self._task, self._fence, error=str(error), failure=_kind(error))

    @property
    def _workspace(self) -> Workspace:
        return self._making.result()

    def _open_workspace(self) -> Workspace:
        """The task's own clone, made by the first attempt that needs one; a fork's starts from its parent's files."""
        returned = merge_queue.to_lay(self._member.store, self._task)
        if returned is not None:
            return self._lay(returned)
        base_of_fork(
            self._shared.repository, self._member, task=self._task, fence=self._fence, branch=self._shared.branch,
            directory=self._directory,
        )  # fmt: skip
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
        self._shared.repository.pin(f"refs/prong/{self._shared.directory.name}/base/{self._task}", base)
        return Workspace.create(self._shared.repository, self._directory, base)

    def _lay(self, returned: Row) -> Workspace:
        """Work came back: the clone holds it from now on as a change of the newest state."""
        workspace = lay(
            self._shared.repository, self._directory, base=returned["base"], commit=returned["commit_id"],
            onto=returned["onto"],
        )  # fmt: skip
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            merge_queue.laid(tx, self._task, workspace.base)
        return workspace

    def _begin_conversation(self, calls: Calls) -> None:
        messages = self._conversation.messages
        begun = messages and not (len(messages) > 1 and messages[-2].id == self._conversation.fork_point)
        if begun:
            return
        summary = self._brief(calls) if not messages else None
        with self._member.transaction() as tx:
            rows = tx.rows("select need from task_need where task = :task order by need", task=self._task)
            needs = [tasks.find(tx, row["need"]) for row in rows]
            told = prompt.results_of_needs(needs, texts_of_needs(self._member.store, needs))
            texts = [told, prompt.of_role(self._role), self._result.told()]
            if not messages:
                goal = tx.value("select prompt from task where id = :task", task=self._task)
                texts.insert(0, prompt.first_message(goal=goal, repository=self._shared.repository.root.name))
                texts.insert(1, prompt.of_brief(summary))
            content = [{"type": "text", "text": text} for text in texts if text is not None]
            message = self._conversation.append(tx, "user", content) if content else None
        if message is not None:
            self._conversation.extend(message)

    def _brief(self, calls: Calls) -> str | None:
        """The summary with which the task begins, written by us where nobody has; None where it begins without one."""
        row = self._member.store.row(
            "select brief_of, fork_point.model from task join fork_point on message = brief_of where id = :task",
            task=self._task,
        )
        if row is None:
            return None
        point: int = row["brief_of"]
        summary = fork_point.begin_brief_or_wait(self._member, point)
        if summary is not None:
            return summary
        line = brief.line(self._member, self._task, self._fence, point)
        asks = self._briefer(line, self._shared.model_named(row["model"] or ""), calls)
        return brief.write(self._member, asks, brief.request(self._shared.system, TOOLS, line.messages))

    def _workspace_tools(self) -> WorkspaceTools:
        scratch = self._shared.directory / "scratch" / str(self._task)
        common = self._shared.directory / "shared"
        scratch.mkdir(parents=True, exist_ok=True)
        common.mkdir(exist_ok=True)
        extra = {"TMPDIR": str(scratch), "PRONG_SHARED": str(common), "PRONG_TASK": str(self._task)}
        names = tool_environment(self._directory, extra)
        sandbox = sandbox_of_task(
            self._shared.jail,
            self._shared.repository,
            workspace=self._directory,
            scratch=scratch,
            common=common,
            environment=names,
        )
        self._programs = Programs(
            self._member, work=self._slot, tools=lambda: self._toolbox.tools, workspace=self._directory,
            scratch=scratch, environment=names, sandbox=sandbox, secrets=self._shared.secrets,
        )  # fmt: skip
        return workspace_tools(
            self._directory, scratch=scratch, roots=[common], environment=names, sandbox=sandbox,
            secrets=self._shared.secrets,
        )  # fmt: skip

    def _calls(self, until: ExitStack) -> Calls:
        """What runs its calls; `until` ends what its tools have started."""
        self._toolbox = Toolbox(lambda: self._kit(until), ready=self._making.ready)
        return Calls(self._member, self._task, self._toolbox, self._slot, hide=self._shared.hide)

    def _kit(self, until: ExitStack) -> Kit:
        in_workspace = until.enter_context(self._workspace_tools())
        primitives = PrimitiveTools(self._member, siblings=self._conversation.fork_point)
        planner = Planner(self._member, self._asks(), self._shared.models_of_roles())
        source = ForkSource(self._snapshot, self._prefix_hash)
        task_tools = TaskTools(
            self._member, source, budget=self._shared.task_budget, planner=planner, roles=tuple(self._shared.roles),
            route=self._shared.route,
        )  # fmt: skip
        tools = (*in_workspace.tools, *task_tools.tools(), *primitives.tools(), self._programs.tool())
        return Kit([self._guard.guarded(tool) for tool in tools], task_tools, primitives)

    def _asks(self) -> str:
        """Whom it asks, by a name that those share who share a prompt cache."""
        return self._model.endpoint.model

    def _agent(self, calls: Calls) -> Agent:
        return Agent(
            self._member,
            self._conversation,
            model=self._model,
            calls=calls,
            system=self._shared.system,
            tools=TOOLS,
            purse=self._purse(self._model),
            priority=self._priority,
            stops_on_lost_cache=self._stops,
            compact_at=self._shared.compact_at,
            sources=(self._ears.people, self._ears.inbox),
            foresees=self._making.foresee,
        )

    def _briefer(self, line: Conversation, model: Model, calls: Calls) -> Agent:
        """Asks for a summary of another's conversation, and hears nobody meanwhile."""
        return Agent(
            self._member,
            line,
            model=model,
            calls=calls,
            system=self._shared.system,
            tools=TOOLS,
            purse=self._purse(model),
            priority=self._priority,
            stops_on_lost_cache=False,
        )

    def _purse(self, asked: Model) -> AccountPurse:
        model = models.known(self._member.store, asked.endpoint.model)
        return AccountPurse(self._member, account=self._account, own=self._shared.agent_budget, model=model)

    def _priority(self) -> int:
        """How urgent its calls of the model are, among those of all swarms."""
        row = self._member.store.row("select priority, raised from task where id = :task", task=self._task)
        assert row is not None
        urgency: int = max(row["priority"], row["raised"] if row["raised"] is not None else row["priority"])
        return urgency

    def _snapshot(self, ignored: str) -> str:
        """The workspace as it is now, as a commit that the user's repository holds on to."""
        copies = ignored == "copy"
        commit = self._workspace.snapshot_with_ignored() if copies else self._workspace.snapshot()
        ref = f"refs/prong/{self._shared.directory.name}/fork/{commit}"
        self._shared.repository.adopt(self._workspace, commit, ref)
        return commit

    def _prefix_hash(self, turn: Message) -> str:
        shared = [message for message in self._conversation.messages if message.id <= turn.id]
        return conversation.prefix_hash(self._model.endpoint.model, self._shared.system, TOOLS, shared)

    def _hand_in(self, result: str) -> bool:
        """Commit what was changed and wait in the merge queue; a task that changed nothing is done at once.

        False where the work came back: the conversation goes on with the reason, in the workspace as it is to be.
        """
        row = self._member.store.row("select title from task where id = :task", task=self._task)
        assert row is not None
        trailers = merge_queue.trailers(self._shared.directory.name, self._task, self._member.me.agent)
        commit = self._workspace.commit_all(row["title"], AGENT, trailers) if self._making.begun else None
        if commit is None:
            with self._member.transaction() as tx:
                tasks.hold(tx, self._task, self._fence)
                check_heard(tx, self._task)
                merge_queue.withdraw(tx, self._task)
                tasks.finish(tx, self._task, "done", result=result)
                if self.left_nothing:
                    self.leaving.take(tx, "its task has ended")
            return True
        if not may_write(self._member, self._task, self._fence):
            return True
        ref = f"refs/prong/{self._shared.directory.name}/task/{self._task}-{self._fence}-{commit[:12]}"
        self._shared.repository.adopt(self._workspace, commit, ref)
        if merge_queue.submit(self._member, self._task, self._fence, commit=commit, result=result):
            return True
        row = self._member.store.row("select head from task where id = :task", task=self._task)
        self._conversation.messages[:] = conversation.load(self._member.store, row["head"] if row else None)
        self._making.renew(self._open_workspace)
        return False


class Paused(Exception):
    """The task was paused between two turns."""


def _kind(error: ModelUnavailable | ModelFailed | RepositoryError) -> tasks.Failure:
    """What kind of failure it is, which says whether another attempt may go better."""
    if isinstance(error, ModelFailed):
        return "model"
    if isinstance(error, RepositoryError):
        return "tool"
    return "provider" if error.kind == "provider" else "request"
