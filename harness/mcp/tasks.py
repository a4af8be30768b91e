"""The tools with which a client creates tasks, claims them, and says what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, ToolCall, ToolError
from prong.harness.rules.role_names import NoSuchRole, check_role
from prong.harness.tools.answers import answer, timeout_of
from prong.harness.tools.tasks import numbers_of
from prong.primitives import Plan, create_task, wait_next
from prong.primitives import task as tasks
from prong.primitives.task import PROMPT_BYTES, TITLE_CHARACTERS
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Membership, TaskLost

RESULT_CHARACTERS = 100_000
"""The longest result or reason, in characters."""


class ClientTasks:
    """The tools of one client, by name."""

    def __init__(self, member: Membership, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        """`schemas` are the input schemas by tool."""
        self._member = member
        self._schemas = schemas

    def create_task(self, call: ToolCall) -> Answer:
        """The tool `create_task`."""
        inputs = self._read(call)
        plan = Plan(
            title=inputs.filled("title", most_characters=TITLE_CHARACTERS),
            prompt=inputs.filled("prompt", most_characters=PROMPT_BYTES),
            context="fresh",
            needs=numbers_of(inputs, call, "needs"),
            priority=inputs.integer("priority", least=-1_000_000, most=1_000_000) if "priority" in inputs else None,
            role=self._role(inputs),
            key=call.key,
        )
        with self._member.transaction() as tx:
            task, _ = create_task(tx, plan)
        told = {"task": task.id, "title": task.title, "state": task.state}
        return answer(f"Created task {task.id} ({task.state}): {task.title}.", told)

    def _role(self, inputs: Inputs) -> str:
        """The role, where the swarm's rules define any one of those: no agent would ever know what another is."""
        name = inputs.text("role", most_characters=NAME_CHARACTERS, default="").strip()
        row = self._member.store.row("select options from swarm")
        try:
            if row is not None:  # where no swarm is, like tasks are known together by any name
                check_role(name, json.loads(row["options"]).get("roles", {}))
        except NoSuchRole as error:
            raise inputs.refuse(f"{error}.") from None
        return name

    def claim_task(self, call: ToolCall) -> Answer:
        """The tool `claim_task`; a call that is repeated finds what it claimed."""
        claim = wait_next(self._member, timeout_of(self._read(call), call))
        if claim is None:
            raise ToolError("No task became ready in that time. Do other work, or call again with a longer timeout.")
        with self._member.transaction() as tx:
            task = tasks.find(tx, claim.task)
            prompt = tx.value("select prompt from task where id = :task", task=claim.task)
            needs = [tasks.find(tx, row["need"]) for row in tx.rows(_NEEDS, task=claim.task)]
        told = {
            "task": task.id, "fence": claim.fence, "title": task.title, "prompt": prompt,
            "needs": [{"task": need.id, "result": need.result} for need in needs],
        }  # fmt: skip
        words = (
            f"Task {task.id} is yours: {task.title}. End it with complete_task or fail_task and fence {claim.fence}."
        )
        return answer(words, told)

    def complete_task(self, call: ToolCall) -> Answer:
        """The tool `complete_task`."""
        inputs, task, fence = self._claim_of(call)
        result = inputs.text("result", most_characters=RESULT_CHARACTERS)
        with self._member.transaction() as tx:
            if tasks.find(tx, task).state != "done" or not _was_ours(tx, task, fence):
                tasks.complete(tx, task, fence, result=result)
        return answer(f"Task {task} is done.", {"task": task, "state": "done"})

    def fail_task(self, call: ToolCall) -> Answer:
        """The tool `fail_task`."""
        inputs, task, fence = self._claim_of(call)
        reason = inputs.filled("reason", most_characters=RESULT_CHARACTERS)
        with self._member.transaction() as tx:
            again = tasks.fail(tx, task, fence, error=reason, failure="tool")
            state = tasks.find(tx, task).state
        words = "It will be tried again." if again else "It has failed for good, with all that need it."
        return answer(f"Your try at task {task} has failed. {words}", {"task": task, "state": state})

    def renew_task(self, call: ToolCall) -> Answer:
        """The tool `renew_task`."""
        _, task, fence = self._claim_of(call)
        with self._member.transaction() as tx:
            tasks.hold(tx, task, fence)
        return answer(f"Task {task} is yours still.", {"task": task, "state": "running"})

    def _claim_of(self, call: ToolCall) -> tuple[Inputs, int, int]:
        inputs = self._read(call)
        return inputs, inputs.integer("task", least=1, most=2**53), inputs.integer("fence", least=1, most=2**53)

    def _read(self, call: ToolCall) -> Inputs:
        keys: Sequence[str] = list(self._schemas[call.name]["properties"])
        return Inputs(call, keys=keys)


_NEEDS = "select need from task_need where task = :task order by need"


def _was_ours(tx: Any, task: int, fence: int) -> bool:
    """Whether a task that is done was ended under this fence, as by a call that is repeated."""
    row = tx.row("select fence from task where id = :task", task=task)
    if row is None or row["fence"] != fence:
        raise TaskLost(task, fence, "done", row["fence"] if row else 0)
    return True
