"""How long the shapes that people reach for first take, beside the least that anybody could.

    python benchmarks/patterns.py [--quick] [--json]

Every call of the model takes so long on the emulator (a second, and a tenth).  The floor is `asyncio.gather` behind a
semaphore in one process that keeps nothing: no task, no conversation, no budget; it loses everything with its process.
LangGraph does the same with a graph, likewise in memory.  With Prong each call is a task with a process, a conversation
and a budget.
What is sequential is not run but multiplied: so many calls, each as long as the one that was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import operator
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anthropic
from claims import Claim, at_most, main, median

from prong.agents.emulator import EmulatorOptions, EmulatorProcess
from prong.agents.models import EMULATOR_MODEL
from prong.harness import Swarm

SLOTS = 16
SCRIPTS = Path(__file__).with_name("patterns_scripts.py")
FAN_IN = 10
ABOVE_FLOOR = 1.05


@dataclass(frozen=True, slots=True)
class Shape:
    """Calls, each with those that it needs, by their numbers."""

    name: str
    needs: Sequence[Sequence[int]]


def shapes(*, quick: bool) -> list[Shape]:
    """What is compared."""
    documents = 60 if quick else 500
    return [
        Shape("4 independent calls", [[]] * 4),
        Shape("50 reports reduced in a tree", _tree(50)),
        Shape(f"{documents} documents x 3 roles", [[]] * (3 * documents)),
        Shape("a compiled plan: 6 searches, 3 joins of two, 2 checks of all, 1 answer", _plan()),
    ]


def _tree(leaves: int) -> list[list[int]]:
    needs: list[list[int]] = [[] for _ in range(leaves)]
    level = list(range(leaves))
    while len(level) > 1:
        above = []
        for begin in range(0, len(level), FAN_IN):
            needs.append(level[begin : begin + FAN_IN])
            above.append(len(needs) - 1)
        level = above
    return needs


def _plan() -> list[list[int]]:
    return [*([] for _ in range(6)), [0, 1], [2, 3], [4, 5], [6, 7, 8], [6, 7, 8], [9, 10]]


def measure(quick: bool) -> tuple[list[Claim], list[dict[str, Any]]]:  # noqa: FBT001  the command line's flag
    """Every shape with both latencies, by all contestants in turn."""
    rounds = 1 if quick else 3
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for latency_s in (1.0, 0.1):
        for shape in shapes(quick=quick):
            found = _of_shape(shape, latency_s, rounds)
            floor = found["gather"]
            rows.append({"shape": shape.name, "latency": latency_s, **{name: round(s, 3) for name, s in found.items()}})
            claim = f"{shape.name}, {latency_s:g} s a call: prong / gather"
            claims.append(at_most(claim, found["prong"] / floor, ABOVE_FLOOR, "x"))
    return claims, rows


def _of_shape(shape: Shape, latency_s: float, rounds: int) -> Mapping[str, float]:
    found: dict[str, list[float]] = {}
    with EmulatorProcess(script_files=[SCRIPTS], options=EmulatorOptions(latency_s=latency_s)) as emulator:
        for _ in range(rounds):
            found.setdefault("gather", []).append(asyncio.run(_gathered(shape, emulator.url)))
            if importlib.util.find_spec("langgraph") is not None:
                found.setdefault("langgraph", []).append(asyncio.run(_by_langgraph(shape, emulator.url)))
            found.setdefault("prong", []).append(_by_prong(shape, latency_s))
            found.setdefault("one call", []).append(asyncio.run(_gathered(Shape("one", [[]]), emulator.url)))
    medians = {name: median(seconds) for name, seconds in found.items()}
    medians["sequential"] = medians.pop("one call") * len(shape.needs)
    return medians


async def _ask(client: anthropic.AsyncAnthropic, text: str) -> str:
    message = await client.messages.create(
        model=EMULATOR_MODEL, max_tokens=1_000, messages=[{"role": "user", "content": text}]
    )
    return "".join(block.text for block in message.content if block.type == "text")


async def _gathered(shape: Shape, url: str) -> float:
    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
        await _ask(client, "warm up")  # the SDK imports what it needs at the first call
        places = asyncio.Semaphore(SLOTS)
        began = time.perf_counter()
        calls: list[asyncio.Task[str]] = []

        async def one(number: int) -> str:
            before = await asyncio.gather(*(calls[need] for need in shape.needs[number]))
            async with places:
                return await _ask(client, f"call {number} {' '.join(before)}")

        calls += [asyncio.create_task(one(number)) for number in range(len(shape.needs))]
        await asyncio.gather(*calls)
        return time.perf_counter() - began


class _State(TypedDict):
    said: Annotated[dict[int, str], operator.or_]


async def _by_langgraph(shape: Shape, url: str) -> float:
    from langgraph.graph import END, START, StateGraph  # noqa: PLC0415  the peer may be missing

    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
        await _ask(client, "warm up")
        graph = StateGraph(_State)

        def node(number: int) -> Any:
            async def call(state: _State) -> dict[str, dict[int, str]]:
                before = [state["said"][need] for need in shape.needs[number]]
                return {"said": {number: await _ask(client, f"call {number} {' '.join(before)}")}}

            return call

        needed = {need for needs in shape.needs for need in needs}
        for number, needs in enumerate(shape.needs):
            graph.add_node(str(number), node(number))
            graph.add_edge([str(need) for need in needs] if needs else START, str(number))
            if number not in needed:
                graph.add_edge(str(number), END)
        compiled = graph.compile()
        began = time.perf_counter()
        await compiled.ainvoke({"said": {}}, {"max_concurrency": SLOTS, "recursion_limit": 100})
        return time.perf_counter() - began


@contextlib.contextmanager
def _repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="prong-patterns-") as folder:
        root = Path(folder)
        (root / "file.txt").write_text("one\n")
        identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
            subprocess.run(["git", *words], cwd=root, check=True)
        yield root


def _by_prong(shape: Shape, latency_s: float) -> float:
    """The swarm stands and has answered once, as the others are connected; then every call is a task."""
    with (
        _repository() as root,
        Swarm(root, agents=SLOTS, offline=True, scripts=[SCRIPTS], latency_s=latency_s) as swarm,
    ):
        swarm.submit("warm up").result()
        began = time.perf_counter()
        if not any(shape.needs):
            for outcome in swarm.map("call {item}", range(len(shape.needs))):
                assert outcome.done, outcome
        else:
            _with_needs(swarm, shape)
        return time.perf_counter() - began


def _with_needs(swarm: Swarm, shape: Shape) -> None:
    from prong.primitives import Plan, create_tasks, join  # noqa: PLC0415  only here
    from prong.primitives.task_future import TaskFuture  # noqa: PLC0415  only here

    with join(swarm.directory, "graph") as member:
        keys = [f"call {number}" for number in range(len(shape.needs))]
        plans = [
            Plan(key, key, key=key, needs=[keys[need] for need in needs])
            for key, needs in zip(keys, shape.needs, strict=True)
        ]
        with member.transaction() as tx:
            made = create_tasks(tx, plans)
        for task, _ in made:
            TaskFuture(member, task.id).result()


if __name__ == "__main__":
    main("patterns", measure)
