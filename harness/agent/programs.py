"""Running programs in a task's sandbox: one process each, begun again where somebody killed it.

begun --bye--> ended, with its exit code
  |------killed by a signal--> begun again, while that brings it further
  +------too long, too much, garbage--> ended, and said why
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from prong.agents.sandbox import Sandbox
from prong.agents.tools.confined import Confined, files_for
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.output import Output
from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.program import boot, door, reducing, sharing, tasks, wire
from prong.harness.tools import definitions
from prong.harness.tools.answers import answer, read
from prong.harness.tools.catalogue import record
from prong.harness.tools.program import Answering, Work
from prong.state import Membership

TIMEOUT_S = 600.0
"""How long a program may work, waits for others not counted, where nobody says otherwise, in seconds."""
LONGEST_S = 86_400.0

SOURCE_CHARACTERS = 200_000
"""The longest program, in characters."""
ARGUMENTS = 100
ARGUMENT_CHARACTERS = 10_000

KILLED_IN_VAIN = 3
"""How often a program is begun again that was killed and has got no further."""

LOOK_S = 0.5
"""How often it is looked whether a program has had its time, in seconds."""

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_MODULES: Sequence[ModuleType] = (boot, door, reducing, sharing, tasks, wire)
_PYTHON = (sys.executable, "-P", "-s", "-u", "-X", "utf8")
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from prong.harness.program.boot import main
main(int(sys.argv[2]))
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its source, what it is called, its arguments, and how long it may work, in seconds."""

    source: str
    name: str = "program.py"
    arguments: Sequence[str] = ()
    timeout_s: float = TIMEOUT_S

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Program:
        """The program that `str` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: its exit code, what it printed, why it was ended if it was, and what it did."""

    exit_code: int
    output: str
    problem: str
    calls: int
    tasks: tuple[int, ...]
    seconds: float

    @property
    def went_well(self) -> bool:
        """Whether it ended by itself and said that all is well."""
        return not self.exit_code and not self.problem

    def __str__(self) -> str:
        parts = [self.output.removesuffix("\n")]
        if self.problem:
            parts.append(f"[{self.problem}]")
        elif self.exit_code:
            parts.append(f"[exit code {self.exit_code}]")
        return "\n".join(part for part in parts if part) or "(no output)"


class Programs:
    """Runs the programs of one task.  `tools` are what they may call, looked up when they do."""

    def __init__(
        self, member: Membership, *, work: Work, tools: Callable[[], Mapping[str, Tool]], workspace: Path,
        scratch: Path, environment: Mapping[str, str], sandbox: Sandbox | None, secrets: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Of what they print, none of the `secrets` is told or kept."""
        self._secrets = secrets
        self._member = member
        self._work = work
        self._tools = tools
        self._workspace = workspace
        self._scratch = scratch
        self._environment = {**environment, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        self._sandbox = sandbox

    def tool(self) -> Tool:
        """The tool `run_program`."""
        return record("run_program").tool(self._run_call)

    def _run_call(self, call: ToolCall) -> Answer:
        inputs = read(call, definitions.RUN_PROGRAM)
        program = Program(
            inputs.filled("program", most_characters=SOURCE_CHARACTERS),
            arguments=_arguments(inputs, call),
            timeout_s=_timeout(inputs, call),
        )
        ran = self.run(program, key=call.key, id_=call.id, has_conversation=True)
        if not ran.went_well:
            made = f" It has created tasks {', '.join(map(str, ran.tasks))}, which go on." if ran.tasks else ""
            raise ToolError(f"{ran}\n[The program did not end well.{made} Mend it and call again.]")
        told = {"exit_code": 0, "calls": ran.calls, "tasks": list(ran.tasks), "seconds": round(ran.seconds, 3)}
        return answer(str(ran), told)

    def run(
        self, program: Program, *, key: str, id_: str, has_conversation: bool, heed: Callable[[], object] | None = None
    ) -> Ran:
        """Run it to its end; under the same key it finds what it did before.

        `heed` is asked before each of its calls, and ends it with what it raises.  Raises `TaskLost` and `Deposed`.
        """
        vain = 0
        while True:
            one = _Run(program, key, id_, has_conversation, heed or (lambda: None))
            with self._member.transaction() as tx:
                tx.event("program.began", object=program.name, arguments=list(program.arguments)[:10])
            ran, killed, further = self._once(one)
            with self._member.transaction() as tx:
                tx.event(
                    "program.ended", object=program.name, exit_code=ran.exit_code, problem=ran.problem or None,
                    calls=ran.calls, tasks=len(ran.tasks), seconds=round(ran.seconds, 3), killed=killed,
                )  # fmt: skip
            vain = 0 if further else vain + 1
            if not killed or vain > KILLED_IN_VAIN:
                return ran

    def _once(self, run: _Run) -> tuple[Ran, bool, bool]:
        """One run; also whether it was killed from outside, and whether it has got further than those before."""
        program = run.program
        ours, theirs = socket.socketpair()
        began = time.monotonic()
        with contextlib.ExitStack() as undo:
            undo.enter_context(ours)
            output = undo.enter_context(contextlib.closing(Output(self._scratch, secrets=self._secrets)))
            with theirs:
                files = undo.enter_context(files_for(self._sandbox, self._scratch))
                library = _library(files)
                arguments = (*_PYTHON, "-c", _BOOT, str(library), str(theirs.fileno()))
                process = Confined(
                    arguments, line=theirs.fileno(), files=files, workspace=self._workspace,
                    environment=self._environment, sandbox=self._sandbox,
                )  # fmt: skip
            answering = Answering(
                ours, self._tools(), id_=run.id, key=run.key, has_conversation=run.has_conversation,
                member=self._member, work=self._work, order=_order(program, run.key), changed=process.interrupt,
                begun=process.bound, heed=run.heed,
            )  # fmt: skip
            clock = _Clock(program.timeout_s, answering)
            try:
                answering.start()
                code = process.watch(output, clock.go_on)
            finally:
                answering.stop()
                process.close(output)
            answering.drain()
            if answering.error is not None:
                raise answering.error
            code, killed = _code(code, answering, process.passed)
            passed = f"{process.passed}, so it was ended" if process.passed else ""
            problem = answering.problem or passed or clock.problem
            if killed:
                problem = "it was killed"
            text = output.text()
        ran = Ran(code, text, problem, answering.calls, tuple(answering.tasks), time.monotonic() - began)
        return ran, killed, answering.got_further


@dataclass(frozen=True, slots=True)
class _Run:
    program: Program
    key: str
    id: str
    has_conversation: bool
    heed: Callable[[], object]


class _Clock:
    """Counts how long a program works, and says when it is to be ended."""

    def __init__(self, timeout_s: float, answering: Answering) -> None:
        self._timeout_s = timeout_s
        self._answering = answering
        self._worked_s = 0.0
        self._looked = time.monotonic()
        self.problem = ""

    def go_on(self) -> float | None:
        """For how many seconds it need not be asked again; None: it is over."""
        now = time.monotonic()
        if not self._answering.only_waits:
            self._worked_s += now - self._looked
        self._looked = now
        if self._answering.problem or self._answering.error is not None:
            return None
        if self._worked_s >= self._timeout_s:
            self.problem = (
                f"it worked for more than {self._timeout_s:g} s, waits for others not counted, and was ended; if it"
                " needs longer, say so with `timeout`"
            )
            return None
        return min(LOOK_S, self._timeout_s - self._worked_s)


def _code(code: int | None, answering: Answering, passed: str) -> tuple[int, bool]:
    """The exit code, and whether somebody outside has killed it, who is neither we nor the program."""
    if answering.bye is not None and code is not None:
        return code, False
    if code is None:
        return 1, False
    number = -code if code < 0 else code - 128  # bubblewrap says so of what it ran
    return code, not passed and not answering.problem and number in _SIGNALS


def _order(program: Program, key: str) -> dict[str, object]:
    return {
        "go": wire.VERSION, "source": program.source, "name": program.name, "arguments": list(program.arguments),
        "seed": key,
    }  # fmt: skip


def _library(files: Path) -> Path:
    """Where the program finds what it imports: only that, however Prong itself is installed."""
    package = files / "prong" / "harness" / "program"
    package.mkdir(parents=True)
    (files / "prong" / "harness" / "__init__.py").touch()
    source = Path(str(boot.__file__)).parent
    for name in ("__init__", *(module.__name__.rpartition(".")[2] for module in _MODULES)):
        (package / f"{name}.py").write_bytes((source / f"{name}.py").read_bytes())
    return files


def _arguments(inputs: Inputs, call: ToolCall) -> Sequence[str]:
    given = call.input.get("args")
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > ARGUMENTS or not all(_is_argument(one) for one in given):
        raise inputs.refuse(f"`args` must be up to {ARGUMENTS} strings of up to {ARGUMENT_CHARACTERS:,} characters.")
    return tuple(given)


def _is_argument(value: object) -> bool:
    return isinstance(value, str) and len(value) <= ARGUMENT_CHARACTERS


def _timeout(inputs: Inputs, call: ToolCall) -> float:
    value = call.input.get("timeout")
    if value is None:
        return TIMEOUT_S
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LONGEST_S:
        raise inputs.refuse(f"`timeout` must be a number of seconds from 1 to {LONGEST_S:g}.")
    return float(value)
