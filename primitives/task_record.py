"""What a task is: its record, what one is made of, and the bounds of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prong.primitives.budget import Budget
from prong.primitives.errors import UnknownTask
from prong.state import Row, Transaction

TITLE_CHARACTERS = 200
PROMPT_BYTES = 256 * 1024
RESULT_BYTES = 256 * 1024
SCHEMA_BYTES = 16 * 1024
RESULT_ASKS = 10
"""The most times that an agent can be asked again for a result that fits."""

NEEDS = 1_000
"""The most needs that one task can have, and the most tasks that one call can wait for."""

FINAL = ("done", "failed", "cancelled")

Context = Literal["fork", "brief", "fresh"]
"""What a task begins with: its parent's whole conversation, a summary of that, or only its prompt."""

OnFailedNeed = Literal["fail", "continue", "any"]
"""What a task does whose need fails: fail too; start all the same and be told; or start once any need is done."""

Failure = Literal["provider", "request", "model", "tool", "merge", "budget", "crash", "need", "program"]
"""What kind of failure ended an attempt:

`provider` gave no answer for long; `request` was refused by it for good; `model` declined to go on; `tool` is the
repository or the machine; `merge` could not be merged or checked; `budget` ran out; `crash` is an agent that died;
`need` is a task that this one needed; `program` is an error of the program that it runs.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is at one moment; `result` is its agent's last words, `error` why it failed.

    `failures` counts attempts that failed, of which `failure` says the kind of the last; `held` says why a parked task
    has no agent: its budget is used up (`budget`), its process was ended while it waits (`asleep`), or the prompt cache
    of its fork point is lost (`cache`).  `result_schema` is the JSON schema that its result must fit, and `value` what
    fitted, as the text that `artifacts.loaded` reads; so is `whole`, where the result is too long for its row.
    """

    id: int
    parent: int | None
    title: str
    state: str
    priority: int
    attempt: int
    agent: int | None
    result: str | None
    error: str | None
    role: str = ""
    failures: int = 0
    failure: str | None = None
    held: str | None = None
    result_schema: str | None = None
    value: str | None = None
    whole: str | None = None

    @property
    def final(self) -> bool:
        """Whether it will never change again, unless somebody retries it."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Plan:
    """What a task is made of.

    `needs` are numbers of tasks, or keys of tasks made before or together with it; `on_failed_need` says what becomes
    of it when one fails.  `priority`, and `attempts`, after how many failures it has failed, are its role's or the
    swarm's where they are None; `budget` is what it and all below it may spend.  `fork_point` is the assistant message
    from which it continues, `brief_of` the one up to which it reads a summary; `base_commit` is what its workspace
    starts from (None: the integration branch as it is then).  Its result must fit the JSON schema `result_schema`, as
    text; where it does not, its agent is asked again at most `result_asks` times.  `writes` are patterns of the files
    that it is to change, such as "src/parser/**" (none: its role's).  A `gated` task stays blocked after its needs have
    ended, until whoever made it lets it start.  `parent` is below which task it stands where no member acts.
    """

    title: str
    prompt: str
    context: Context = "fresh"
    needs: Sequence[int | str] = ()
    priority: int | None = None
    key: str | None = None
    fork_point: int | None = None
    brief_of: int | None = None
    base_commit: str | None = None
    role: str = ""
    on_failed_need: OnFailedNeed = "fail"
    attempts: int | None = None
    budget: Budget | None = None
    result_schema: str | None = None
    result_asks: int = 2
    writes: Sequence[str] = ()
    gated: bool = False
    parent: int | None = None


def find(tx: Transaction, task: int) -> Task:
    """The task by number; raises `UnknownTask`."""
    row = tx.row("select * from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    return record(row)


def record(row: Row) -> Task:
    """The record of a task's row."""
    return Task(
        row["id"], row["parent"], row["title"], row["state"], row["priority"], row["attempt"], row["agent"],
        row["result"], row["error"], row["role"], row["failures"], row["failure"], row["held"],
        row["result_schema"], row["result_value"], row["result_whole"],
    )  # fmt: skip


def past(state: str) -> str:
    """A final state as a verb."""
    return "was cancelled" if state == "cancelled" else state
