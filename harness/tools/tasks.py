"""The tools for tasks: how an agent hands work to others and sees to it, and how a fork is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from prong.agents import conversation, fork_point
from prong.agents.conversation import Message
from prong.agents.tools.inputs import Inputs, shown
from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.repository.ignored import NotCopied, TooMuchIgnored
from prong.harness.routing import role_for
from prong.harness.rules.role_names import NoSuchRole, check_role
from prong.harness.rules.rules import Route, Rules, load
from prong.harness.tools import catalogue, definitions, result_schema
from prong.harness.tools.answers import answer, read, timeout_of
from prong.harness.tools.contexts import Planner
from prong.harness.tools.reading import heads, page, transcript, whole
from prong.primitives import Plan, Task, create_task, wait_tasks
from prong.primitives.budget import LARGEST_TOKENS, Budget
from prong.primitives.task import NEEDS, PROMPT_BYTES, RESULT_ASKS, TITLE_CHARACTERS, OnFailedNeed, cancel, find
from prong.primitives.task_record import Context
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Invalid, Membership, Transaction

TASKS_LISTED = 200
"""The most tasks that one result lists; the others are counted."""

REASON_CHARACTERS = 1_000

_HOW: Mapping[Context, str] = {
    "fork": "continues from this conversation",
    "brief": "starts with its prompt and a summary of this conversation",
    "fresh": "starts with only its prompt",
}

_ENDS_WITH_VALUE = "End with a value that fits the schema that you will be told; it is your result."

_BELOW = """
with recursive below (id) as (
    select id from task where parent = :me union all select task.id from task join below on task.parent = below.id)
select 1 from below where id = :task
"""

_LIST = """
with recursive below (id) as (
    select id from task where parent = :me union all select task.id from task join below on task.parent = below.id)
select id as task, parent, title, state, priority, attempt, agent,
       (select group_concat(need) from task_need where task_need.task = task.id) as needs,
       (select kind || ' ' || object from waiter where waiter.task = task.id and waiter.state = 'waiting' limit 1)
         as waits_for, error
  from task where (:me is null or id in below)
   and (:state in ('all', state) or :state = 'open' and state not in ('done', 'failed', 'cancelled'))
 order by id
"""


@dataclass(frozen=True, slots=True)
class ForkSource:
    """What a fork is made from: the parent's files as a commit, and a name for the prefix up to a turn.

    `snapshot` is told whether to "skip" or "copy" the files that git ignores.
    """

    snapshot: Callable[[str], str]
    prefix_hash: Callable[[Message], str]


class TaskTools:
    """The five tools for one agent."""

    def __init__(
        self, member: Membership, source: ForkSource, *, budget: Budget | None = None, planner: Planner | None = None,
        roles: Collection[str] = (), route: Route | None = None,
    ) -> None:  # fmt: skip
        """`budget` is what a task gets for which the model names none; `planner` chooses for `context="auto"`.

        Where there are `roles`, others are refused; where there are none, any name will do.  A task without one gets
        that of the `route`.
        """
        self._route = route
        self._roles = roles
        self._budget = budget
        self._planner = planner
        self._member = member
        self._source = source
        self._turn: Message | None = None
        self._snapshots: dict[str, str] = {}

    def tools(self) -> tuple[Tool, ...]:
        """The five tools; a repeated create_task finds the task that it made before."""
        return (
            catalogue.record("create_task").tool(self.create_task),
            catalogue.record("wait_tasks").tool(self.wait_tasks),
            catalogue.record("list_tasks").tool(self.list_tasks),
            catalogue.record("cancel_task").tool(self.cancel_task),
            catalogue.record("read_result").tool(self.read_result),
        )

    def begin_turn(self, turn: Message) -> None:
        """The calls of this assistant message are about to run; all forks of one turn share one snapshot."""
        self._turn = turn
        self._snapshots = {}

    def _priority(self, inputs: Inputs, call: ToolCall) -> int | None:
        """The number, or that of the name which the repository's rules give one; None where none was named."""
        given = call.input.get("priority")
        if not isinstance(given, str):
            return inputs.integer("priority", least=-1_000_000, most=1_000_000) if "priority" in inputs else None
        row = self._member.store.row("select repository from swarm")
        try:
            rules = load(row["repository"]) if row is not None else Rules.none()
            return rules.priority(given)
        except Invalid as error:
            raise inputs.refuse(f"`priority`: {error}.") from None

    def create_task(self, call: ToolCall) -> Answer:
        """The tool `create_task`."""
        inputs = read(call, definitions.CREATE_TASK)
        role = self._role(inputs)
        wanted = self._context(inputs.choice("context", ("fork", "brief", "fresh", "auto"), default="fork"), role)
        other = self._planner.other_model(role) if self._planner is not None else None
        context: Context = "brief" if wanted == "fork" and other is not None else wanted
        policy = inputs.choice("on_failed_need", ("fail", "continue", "any"), default="fail")
        ignored = inputs.choice("ignored", ("skip", "copy"), default="skip")
        tokens = inputs.integer("tokens", least=1, most=LARGEST_TOKENS) if "tokens" in inputs else None
        plan = Plan(
            title=inputs.filled("title", most_characters=TITLE_CHARACTERS),
            prompt=inputs.filled("prompt", most_characters=PROMPT_BYTES),
            context=context,
            needs=numbers_of(inputs, call, "needs"),
            priority=self._priority(inputs, call),
            role=role,
            on_failed_need=cast("OnFailedNeed", policy),
            attempts=inputs.integer("attempts", least=1, most=1_000) if "attempts" in inputs else None,
            budget=self._budget if tokens is None else Budget(tokens),
            key=call.key,
            fork_point=self._turn.id if context == "fork" and self._turn else None,
            brief_of=self._turn.id if context == "brief" and self._turn else None,
            base_commit=None if context == "fresh" else self._snapshot_of_turn(ignored),
            result_schema=_schema(inputs, call),
            result_asks=inputs.integer("result_asks", least=0, most=RESULT_ASKS, default=2),
            writes=_patterns(inputs, call),
        )
        with self._member.transaction() as tx:
            task, new = create_task(tx, plan)
            if new and context != "fresh":
                self._declare(tx)
            if new and context == "fork":
                self._fork(tx, task, plan, call.id)
        how = _HOW[context]
        words = f"Created task {task.id} ({task.state}): {plan.title}. It {how}, in a process of its own."
        if context != wanted:
            words += f" It is no fork, because the role {role} asks {other}, which cannot read your prompt cache."
        return answer(words, {"task": task.id, "title": plan.title, "state": task.state})

    def wait_tasks(self, call: ToolCall) -> Answer:
        """The tool `wait_tasks`."""
        inputs = read(call, definitions.WAIT_TASKS)
        mode = inputs.choice("mode", ("all", "any"), default="all")
        numbers = numbers_of(inputs, call, "tasks")
        tasks = wait_tasks(
            self._member, numbers, mode=cast("Literal['all', 'any']", mode), timeout=timeout_of(inputs, call)
        )
        ended = [task for task in tasks if task.final]
        words = f"{len(ended)} of {len(tasks)} tasks have ended."
        failed = [task for task in ended if task.state != "done"]
        if failed:
            words += " " + " ".join(f"Task {task.id} {task.state}: {task.error}." for task in failed)
        told = heads(self._member.store, tasks)
        too_long = [one["task"] for one in told if one["cut"]]
        if too_long:
            words += f" {len(too_long)} results are cut." if len(too_long) > 1 else " One result is cut."
            words += " Read on with read_result, or have a task that needs those tasks sum them up."
        return answer(words, {"tasks": told})

    def list_tasks(self, call: ToolCall) -> Answer:
        """The tool `list_tasks`."""
        inputs = read(call, definitions.LIST_TASKS)
        state = inputs.choice(
            "state", definitions.LIST_TASKS["input_schema"]["properties"]["state"]["enum"], default="open"
        )
        whose = inputs.choice("of", ("mine", "all"), default="mine")
        rows = self._member.store.rows(_LIST, state=state, me=None if whose == "all" else self._member.me.task)
        tasks = [dict(row) for row in rows[:TASKS_LISTED]]
        words = f"{len(tasks)} of {len(rows)} tasks." if rows else "There is no such task."
        return answer(words, {"tasks": tasks, "count": len(rows)})

    def cancel_task(self, call: ToolCall) -> Answer:
        """The tool `cancel_task`."""
        inputs = read(call, definitions.CANCEL_TASK)
        number = inputs.integer("task", least=1, most=2**53)
        reason = inputs.filled("reason", most_characters=REASON_CHARACTERS)
        me = self._member.me.task
        with self._member.transaction() as tx:
            find(tx, number)
            if tx.row(_BELOW, me=me, task=number) is None:
                raise ToolError(
                    f"Task {number} is not one that you created, nor below one, so it is not yours to cancel."
                    " Tell whoever created it, or leave it alone."
                )
            cancelled = cancel(tx, number, reason=f"task {me} cancelled it: {reason}")
        words = f"Cancelled {len(cancelled)} tasks." if cancelled else f"Task {number} had ended before."
        return answer(words, {"cancelled": cancelled})

    def read_result(self, call: ToolCall) -> Answer:
        """The tool `read_result`."""
        inputs = read(call, definitions.READ_RESULT)
        store = self._member.store
        with self._member.transaction() as tx:
            task = find(tx, inputs.integer("task", least=1, most=2**53))
        wants_transcript = inputs.flag("transcript")
        text = transcript(store, task.id) if wants_transcript else whole(store, task) or task.error or ""
        part = page(inputs, text)
        what = "transcript" if wants_transcript else "result"
        begin, end = part["from"], part["from"] + len(part["text"])
        words = f"Task {task.id} is {task.state}; characters {begin} to {end} of {len(text)} of its {what}."
        if part["next"] is not None:
            words += f" Read on from {part['next']}."
        return answer(words, {"task": task.id, "state": task.state, **part})

    def _role(self, inputs: Inputs) -> str:
        role = inputs.text("role", most_characters=NAME_CHARACTERS, default="").strip()
        try:
            check_role(role, self._roles)
        except NoSuchRole as error:
            raise inputs.refuse(f"{error}.") from None
        if not role and self._route is not None:
            title = inputs.text("title", most_characters=TITLE_CHARACTERS, default="")
            prompt = inputs.text("prompt", most_characters=PROMPT_BYTES, default="")
            type_ = inputs.text("type", most_characters=NAME_CHARACTERS, default="").strip() or None
            return role_for(self._route, title=title, prompt=prompt, type=type_)
        return role

    def _context(self, wanted: str, role: str) -> Context:
        """What a task begins with, where the model leaves it to us."""
        if wanted != "auto":
            return cast("Context", wanted)
        if self._turn is None or self._planner is None:
            return "fresh"
        return self._planner.choose(self._turn, role)

    def _declare(self, tx: Transaction) -> None:
        assert self._turn is not None, "a call belongs to a turn"
        fork_point.declare(tx, self._turn.id, self._source.prefix_hash(self._turn))

    def _snapshot_of_turn(self, ignored: str) -> str:
        if ignored not in self._snapshots:
            try:
                self._snapshots[ignored] = self._source.snapshot(ignored)
            except (NotCopied, TooMuchIgnored) as error:
                raise ToolError(str(error)) from error
        return self._snapshots[ignored]

    def _fork(self, tx: Transaction, task: Task, plan: Plan, call_id: str) -> None:
        """Let the child continue from the very message in which it was made; only its own result differs."""
        turn = self._turn
        assert turn is not None, "a call belongs to a turn"
        own = answer(
            f"You are task {task.id}: {plan.title}. You are a fork of this conversation, in a process and a clone of"
            f" the repository of your own; what stands before this turn was done by the agent you were forked from."
            f" Do only this: {plan.prompt}\n"
            + ("End with a short report; it is your result." if plan.result_schema is None else _ENDS_WITH_VALUE),
            {"task": task.id, "you": True},
        )
        content = conversation.child_results(turn, call_id, str(own))
        head = conversation.insert(tx, parent=turn.id, role="user", content=content, task=task.id)
        tx.execute("update task set head = :head where id = :task", head=head, task=task.id)


def numbers_of(inputs: Inputs, call: ToolCall, key: str) -> Sequence[int]:
    """The array of task numbers under a key; empty where it was left out."""
    given: Any = call.input.get(key)
    if given is None:
        return ()
    wrong = not isinstance(given, list) or len(given) > NEEDS
    if wrong or any(isinstance(one, bool) or not isinstance(one, int) or not 0 < one < 2**53 for one in given):
        raise inputs.refuse(f"`{key}` must be an array of up to {NEEDS} task numbers, not {shown(given)}.")
    return cast("Sequence[int]", given)


def _patterns(inputs: Inputs, call: ToolCall) -> Sequence[str]:
    given: Any = call.input.get("writes")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise inputs.refuse(f"`writes` must be an array of patterns of files, not {shown(given)}.")
    return cast("Sequence[str]", given)


def _schema(inputs: Inputs, call: ToolCall) -> str | None:
    if "result_schema" not in inputs:
        return None
    try:
        return result_schema.checked(call.input["result_schema"])
    except Invalid as error:
        raise inputs.refuse(f"`result_schema`: {error}. Send the call again with one that can be used.") from error
