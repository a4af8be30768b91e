"""A task's clone, which is made when something needs it, beside whatever else goes on, and only once.

    an answer begins a call that needs it --begin--> made in a thread --result--> there
    a clone of an earlier attempt lies there, or work came back --begin, with the agent--^
    an answer without such a call --> never made: the task has changed nothing

Most that a swarm asks of many is answered in one message.  A clone costs several processes of git, and its removal and
its commit some more, so whoever only answers must not pay for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from prong.agents.conversation import Message
from prong.agents.tools.workspace import DEFINITIONS
from prong.harness.repository.workspaces import Workspace

_ALWAYS = frozenset(str(definition["name"]) for definition in DEFINITIONS) | {"run_program"}
"""The tools that work in the clone, whatever they are told."""

_CREATES = "create_task"


class Making:
    """The making of one clone; may be asked from any thread."""

    def __init__(self, make: Callable[[], Workspace]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Future[Workspace] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a clone, or will be one."""
        return self._made is not None

    def begin(self) -> None:
        """Make it in a thread, where that has not begun."""
        with self._lock:
            if self._made is not None:
                return
            made = self._made = Future()
        threading.Thread(target=self._run, args=(made,), name="workspace", daemon=True).start()

    def foresee(self, tool: str) -> None:
        """A call of this tool is on its way: its input still is, and meanwhile the clone can be made."""
        if tool in _ALWAYS:
            self.begin()

    def ready(self, turn: Message) -> None:
        """Wait for the clone where a call of this turn needs it; raises what the making raised."""
        if any(_needs(call["name"], call["input"]) for call in turn.tool_uses()):
            self.result()

    def result(self) -> Workspace:
        """The clone, made by now; raises what the making raised."""
        self.begin()
        assert self._made is not None, "it has begun"
        return self._made.result()

    def renew(self, make: Callable[[], Workspace]) -> None:
        """Make it once more, as it is to be from now on, in this thread; raises what that raises."""
        made: Future[Workspace] = Future()
        made.set_result(make())
        self._made = made

    def _run(self, made: Future[Workspace]) -> None:
        try:
            made.set_result(self._make())
        except BaseException as error:  # noqa: BLE001  it is raised where somebody waits for the clone
            made.set_exception(error)


def _needs(tool: str, given: object) -> bool:
    """Whether a call needs the clone; a task that continues from its creator begins with the creator's files."""
    if tool != _CREATES:
        return tool in _ALWAYS
    return not (isinstance(given, dict) and given.get("context") == "fresh")
