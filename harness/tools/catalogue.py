"""The one catalogue of tools: what agents, MCP clients and the page in `docs/` are all fed from.

Each tool is one record.  What the model reads stands in `definitions`, what the results hold in `results`; here stands
what a tool does to the world: whether its calls may wait, what becomes of them after a death, and what they touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from prong.agents.tools import DEFINITIONS
from prong.agents.tools.tool import Answer, Replay, Tool, ToolCall
from prong.agents.tools.touch import EVERYTHING, FILES, TELLS, ByOperation, changes, reads, touched
from prong.harness.tools import definitions
from prong.harness.tools.results import RESULTS, Shape, output_schema
from prong.harness.tools.unsent import UNSENT

Reader = Literal["agents", "clients"]
"""To whom a tool is offered: our own agents, or outside clients over MCP, which bring a shell and an editor."""

ALWAYS: Final = frozenset({""})
"""Every call of the tool may wait for others."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What a client may assume of a tool before it calls it, in MCP's sense of the words."""

    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    open_world: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One tool.  `waits` names the operations whose calls may wait for others."""

    definition: Mapping[str, Any]
    title: str
    annotations: Annotations
    touches: ByOperation
    replay: Replay = "again"
    waits: frozenset[str] = frozenset()
    instant: bool = False
    offered: frozenset[Reader] = frozenset({"agents", "clients"})
    inputs: Mapping[str, Any] | None = None
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name by which it is called."""
        return str(self.definition["name"])

    @property
    def description(self) -> str:
        """When to use it and what it costs; the endpoint's own tools have theirs with the model."""
        return str(self.definition.get("description") or (self.inputs or {}).get("description", ""))

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """The JSON schema of its input; of the endpoint's own tools, which are sent without one, as they take it."""
        schema: Mapping[str, Any] = self.definition.get("input_schema") or self.inputs or {"type": "object"}
        return schema

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of its data; None where it answers in words only.  Made when asked for."""
        return output_schema(self.shapes)

    @property
    def ordered(self) -> bool:
        """Whether some of its calls part those before them in a turn from those behind them."""
        return any(touches == EVERYTHING for touches in self.touches.values())

    def may_wait(self, given: object) -> bool:
        """Whether a call with this input may have to wait for others."""
        operation = given.get("op") if isinstance(given, Mapping) else None
        return "" in self.waits or (isinstance(operation, str) and operation in self.waits)

    def tool(self, run: Callable[[ToolCall], str | Answer]) -> Tool:
        """The tool whose calls `run` runs."""
        return Tool(
            self.definition,
            run,
            replay=self.replay,
            instant=lambda call: self.instant and not self.may_wait(call.input),
            touches=lambda call: touched(self.touches, call.input),
        )


_BASH, _EDITOR, _READ, _GREP, _GLOB = DEFINITIONS
_LOOKS = Annotations(read_only=True, idempotent=True)
_AGENTS: Final[frozenset[Reader]] = frozenset({"agents"})
_KEY = ("map", "{map}", "{key}")


def _workspace(definition: Mapping[str, Any], title: str, annotations: Annotations, replay: Replay) -> Record:
    name = definition["name"]
    return Record(definition, title, annotations, FILES[name], replay, offered=_AGENTS, inputs=UNSENT.get(name))


def _task(definition: Mapping[str, Any], title: str, annotations: Annotations, **how: Any) -> Record:
    return Record(definition, title, annotations, shapes=RESULTS[definition["name"]], **how)


def _primitive(
    definition: Mapping[str, Any],
    title: str,
    touches: ByOperation,
    *,
    waits: Sequence[str],
    instant: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
) -> Record:
    return Record(
        definition,
        title,
        Annotations(destructive=destructive, idempotent=idempotent),
        touches,
        waits=frozenset(waits),
        instant=instant,
        shapes=RESULTS[definition["name"]],
    )


CATALOGUE: Final[Sequence[Record]] = (
    _workspace(_BASH, "Run a command", Annotations(destructive=True, open_world=True), "uncertain"),
    _workspace(_EDITOR, "Edit a file", Annotations(destructive=True), "uncertain"),
    _workspace(_READ, "Read a file", _LOOKS, "again"),
    _workspace(_GREP, "Search in files", _LOOKS, "again"),
    _workspace(_GLOB, "Find files by name", _LOOKS, "again"),
    # It is told to others, who start from the files as they are: what stands before it has to be done.
    _task(definitions.CREATE_TASK, "Create a task", Annotations(), touches={"": (changes("tasks"), *TELLS)}),
    _task(definitions.WAIT_TASKS, "Wait for tasks", _LOOKS, touches={"": EVERYTHING}, waits=ALWAYS),
    _task(definitions.LIST_TASKS, "List tasks", _LOOKS, touches={"": (reads("tasks"),)}),
    _task(
        definitions.CANCEL_TASK,
        "Cancel a task",
        Annotations(destructive=True, idempotent=True),
        touches={"": (changes("tasks"), *TELLS)},
    ),
    _task(definitions.READ_RESULT, "Read a result", _LOOKS, touches={"": (reads("tasks"),)}),
    _primitive(
        definitions.LOCK,
        "Lock",
        {"status": (reads("lock", "{name}"),), "": EVERYTHING},
        waits=["acquire"],
        idempotent=True,
    ),
    _primitive(
        definitions.SEMAPHORE,
        "Semaphore",
        {"status": (reads("semaphore", "{name}"),), "": EVERYTHING},
        waits=["acquire"],
    ),
    _primitive(
        definitions.BARRIER, "Barrier", {"status": (reads("barrier", "{name}"),), "": EVERYTHING}, waits=["wait"]
    ),
    _primitive(
        definitions.EVENT,
        "Event",
        {"status": (reads("event", "{name}"),), "": EVERYTHING},
        waits=["wait"],
        idempotent=True,
    ),
    _primitive(
        definitions.ATOMIC,
        "Shared value",
        {"get": (reads("atomic", "{name}"),), "": (changes("atomic", "{name}"), *TELLS)},
        waits=(),
        instant=True,
        destructive=True,
    ),
    _primitive(
        definitions.SHARED_MAP,
        "Shared map",
        {
            "get": (reads(*_KEY),),
            "history": (reads(*_KEY),),
            "keys": (reads("map", "{map}"),),
            "items": (reads("map", "{map}"),),
            "watch": (reads("map", "{map}"),),
            "": (changes(*_KEY), *TELLS),
        },
        waits=["watch"],
        instant=True,
        destructive=True,
    ),
    _primitive(
        definitions.SHARED_LIST,
        "Shared list",
        {
            "read": (reads("list", "{list}"),),
            "length": (reads("list", "{list}"),),
            "": (changes("list", "{list}"), *TELLS),
        },
        waits=["read"],
        instant=True,
        destructive=True,
    ),
    # Both ends of a queue are apart: a get that waits must not keep back the put that stands behind it.
    _primitive(
        definitions.MESSAGE_QUEUE,
        "Message queue",
        {
            "get": (changes("queue", "{queue}", "out"),),
            "size": (reads("queue", "{queue}", "in"),),
            "": (changes("queue", "{queue}", "in"), *TELLS),
        },
        waits=["put", "get"],
        instant=True,
    ),
    _primitive(
        definitions.FUTURE,
        "Future",
        {
            "get": (reads("future", "{name}"),),
            "status": (reads("future", "{name}"),),
            "": (changes("future", "{name}"), *TELLS),
        },
        waits=["get"],
        instant=True,
    ),
    _task(
        definitions.RUN_PROGRAM,
        "Run a program",
        Annotations(destructive=True),
        touches={"": EVERYTHING},
        waits=ALWAYS,
        offered=_AGENTS,
    ),
)
"""All tools, in the order in which a request lists them.  The order is part of the prompt cache's key."""

_BY_NAME: Final[Mapping[str, Record]] = {record.name: record for record in CATALOGUE}


def record(name: str) -> Record:
    """The tool of this name; raises KeyError with the names there are."""
    if name not in _BY_NAME:
        raise KeyError(f"There is no tool {name!r}. The tools are: {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def offered(reader: Reader) -> Sequence[Record]:
    """The tools that are offered to agents, or to outside clients, in their order."""
    return tuple(each for each in CATALOGUE if reader in each.offered)
