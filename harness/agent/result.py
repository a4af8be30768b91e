"""What becomes of an agent's last words: do they fit what its task asks for, and where is the whole of them kept.

last words --fit--> kept with the value ------> handed in
     |
     +--do not--> the model is asked again, with what does not fit
                  after the last time the task fails (kind `model`)
"""

from __future__ import annotations

import json

from prong.agents.answers import ModelFailed
from prong.agents.conversation import Conversation
from prong.harness.tools.result_schema import fitted
from prong.primitives import task as tasks
from prong.primitives.artifacts import logged, stored
from prong.primitives.task_ending import cut
from prong.primitives.task_record import RESULT_BYTES
from prong.state import Membership, Row


class Unfit(ModelFailed):
    """The model gave no result that fits, although it was asked again."""

    def __init__(self, problem: str, asked: int) -> None:
        self.problem = problem
        self.asked = asked

    def __str__(self) -> str:
        again = "" if not self.asked else f", although it was asked {self.asked} times more"
        return f"its result does not fit the schema that it must fit{again}: {self.problem}"


class TaskResult:
    """The result of one claimed task."""

    def __init__(self, member: Membership, conversation: Conversation, task: int, fence: int) -> None:
        self._member = member
        self._conversation = conversation
        self._task = task
        self._fence = fence

    def told(self) -> str | None:
        """What the model reads at the start of the result that it must give; None where any words will do."""
        schema = self._row()["result_schema"]
        if schema is None:
            return None
        return (
            "Your result is read by a program. End with a message that is one JSON value, or whose end is one block of"
            f" JSON between ``` lines, and let it fit this JSON schema:\n\n{schema}"
        )

    def taken(self, words: str) -> str | None:
        """The last words as they are to be handed in; None where they do not fit, and the model is asked again.

        Raises `Unfit` where it was asked often enough.
        """
        row = self._row()
        value = None
        if row["result_schema"] is not None:
            found, problem = fitted(row["result_schema"], words)
            if problem is not None:
                self._refuse(row, words, problem)
                return None
            value = stored(self._member, "the value of a result", found)
        data = words.encode(errors="replace")
        whole = stored(self._member, "a result", data.decode()) if len(data) > RESULT_BYTES else None
        if (value, whole) != (row["result_value"], row["result_whole"]):
            with self._member.transaction() as tx:
                tasks.hold(tx, self._task, self._fence)
                tx.execute(
                    "update task set result_value = :value, result_whole = :whole where id = :task",
                    value=value,
                    whole=whole,
                    task=self._task,
                )
                told = {} if value is None else logged(json.loads(value) if value[0] != "@" else None, value)
                tx.event("result.kept", object=str(self._task), whole=whole, **told)
        return cut(words) or words

    def _refuse(self, row: Row, words: str, problem: str) -> None:
        left = row["result_asks"] - row["result_asked"]
        with self._member.transaction() as tx:
            tasks.hold(tx, self._task, self._fence)
            tx.event("result.refused", object=str(self._task), problem=problem, left=left)
            if left > 0:
                more = "This is the last time that you are asked." if left == 1 else f"You have {left} tries left."
                text = f"Your result does not fit its schema: {problem}. Answer with the whole corrected JSON. {more}"
                message = self._conversation.append(tx, "user", [{"type": "text", "text": text}])
                tx.execute("update task set result_asked = result_asked + 1 where id = :task", task=self._task)
            else:  # what it said is kept for whoever looks why it failed
                tx.execute("update task set result = :words where id = :task", words=cut(words), task=self._task)
        if left <= 0:
            raise Unfit(problem, row["result_asked"])
        self._conversation.extend(message)

    def _row(self) -> Row:
        row = self._member.store.row(
            "select result_schema, result_asks, result_asked, result_value, result_whole from task where id = :task",
            task=self._task,
        )
        assert row is not None, "it was claimed"
        return row
