"""What children cost that continue a conversation, read a summary of it, or start with nothing.

    python benchmarks/economics.py [--quick] [--json]

A parent has read 60,000 tokens and gives six turns of work to each of sixteen children: as forks, with a summary, or
fresh, when they read again what their parent had read, 3,000 tokens a turn; and one agent does all of it alone.  Real
swarms on the emulator, whose tokens are then priced for three models.  Beside that, 200 random fan-outs in simulated
time on the emulator's own prompt cache show how far the planner's choice is from the best.

Costs are deterministic; times are those of the machine.  The 200 settings and their chances come from fixed seeds.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from claims import Claim, at_most, main
from contexts import simulated

from prong.agents import economics
from prong.agents.economics import CONTEXTS, Setting, Work
from prong.agents.models import Usage, all_models, lookup
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

CLASSES = {"0.025": "claude-fable-5-2", "0.05": "claude-sonnet-5-5", "0.1": "claude-opus-5"}
"""Three price classes, by what a token read from the cache costs beside one of input."""

FILE_BYTES = 12_000
FILE_TOKENS = FILE_BYTES // 4
TURNS = 6
SETTINGS = 200
QUICK_SETTINGS = 40
DRAWS = 6
"""So many fan-outs are simulated of a setting in which chance decides whether entries of the cache expire."""
SCRIPTS = Path(__file__).parent / "contexts" / "scripts.py"


@dataclass(frozen=True)
class Scene:
    """A fan-out that is really run: so many children, files that the parent reads, and a child reads again."""

    children: int
    turns: int
    files: int
    again: Mapping[str, int]


@dataclass(frozen=True)
class Ran:
    """What one run used: all calls of the children (or of the one agent), the prefix, the seconds."""

    usages: list[Usage]
    prefix: int
    shared: int
    written_twice: int
    seconds: float


def measure(quick: bool) -> tuple[list[Claim], list[dict[str, Any]]]:  # noqa: FBT001  the command line's flag
    """The runs, priced; and the random settings."""
    children = 4 if quick else 16
    scene = Scene(children, TURNS, 18, {"fork": 0, "fresh": 18, "brief": 4, "alone": 0})
    rows, claims = _scene(scene, latency_s=0.1 if quick else 0.5, contexts=(*CONTEXTS, "alone"))
    if not quick:  # where the parent knows little, or little of it is of use
        for other in (
            Scene(2, 4, 2, {"fork": 0, "fresh": 0, "brief": 0}),
            Scene(3, 12, 12, {"fork": 0, "fresh": 1, "brief": 0}),
        ):
            more, checks = _scene(other, latency_s=0.1, contexts=CONTEXTS)
            rows += more
            claims += [one for one in checks if "planner" in one.claim]
    return [*claims, *_random_settings(rows, QUICK_SETTINGS if quick else SETTINGS)], rows


def _scene(scene: Scene, *, latency_s: float, contexts: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[Claim]]:
    runs = {context: _run(scene, context, latency_s) for context in contexts}
    rows: list[dict[str, Any]] = []
    claims: list[Claim] = []
    what = f"{scene.children} children, {runs['fork'].prefix:,} tokens, {scene.turns} turns"
    for share, name in CLASSES.items():
        model = lookup(name)
        assert model is not None
        inputs = {
            context: sum(model.cost_usd(replace(usage, output=0)) for usage in ran.usages)
            for context, ran in runs.items()
        }
        costs = {context: sum(map(model.cost_usd, ran.usages)) for context, ran in runs.items()}
        choice = economics.plan(_setting(scene, runs["fork"], name)).context
        best = min(costs[context] for context in CONTEXTS)
        for context, ran in runs.items():
            rows.append({
                "what": what, "read/input": share, "by": context, "calls": len(ran.usages),
                "input $": round(inputs[context], 4), "all $": round(costs[context], 4),
                "seconds": round(ran.seconds, 1), "planned": "yes" if context == choice else "",
            })  # fmt: skip
        off_by = costs[choice] / best
        claims.append(at_most(f"planner's choice ({choice}) / best, {what}, {name}", off_by, 1.1, "ratio"))
        ratio = inputs["fork"] / inputs["fresh"]
        claims.append(at_most(f"input cost of forks / fresh that read again, {what}, {name}", ratio, 0.25, "ratio"))
    twice = runs["fork"].written_twice
    claims.append(at_most(f"tokens of the prefix that forks write again, {what}", twice, 0, "tokens"))
    return rows, claims


def _setting(scene: Scene, ran: Ran, model: str) -> Setting:
    """What the planner is told of a scene: its true figures."""
    readable = ran.prefix - ran.shared
    return Setting(
        prefix_tokens=ran.prefix, shared_tokens=ran.shared, children=scene.children, model=lookup(model),
        work=Work(scene.turns, 170, 250, 1.0), prompt_tokens=40,
        reads_again=scene.again["fresh"] * FILE_TOKENS / readable, chunk_tokens=FILE_TOKENS + 170,
        reads_again_after_brief=scene.again["brief"] * FILE_TOKENS / readable, brief_tokens=1_750,
    )  # fmt: skip


def _run(scene: Scene, context: str, latency_s: float) -> Ran:
    """A whole swarm; seconds from the first request of the turn that fans out to the last task's end."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        for number in range(scene.files):
            line = f"this is line of file {number} and it says what such lines say\n"
            (root / "data" / f"{number}.txt").write_text((line * FILE_BYTES)[:FILE_BYTES])
        identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
            subprocess.run(["git", *arguments], cwd=root, check=True)
        goal = f"economics: {scene.children} children of {scene.turns} turns by {context} after {scene.files} files,"
        goal += f" {scene.again[context]} again"
        command = [sys.executable, "-m", "prong.harness", "run", "--offline", "--script", str(SCRIPTS)]
        command += ["--latency", str(latency_s), "--agents", str(scene.children + 1), "--json", goal]
        done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        assert json.loads(done.stdout)["tasks"]["done"] == (1 if context == "alone" else scene.children + 1)
        return _read(root, context)


def _read(root: Path, context: str) -> Ran:
    store = find(Repository.open(root), None).store()
    calls = store.rows("select * from model_call order by started_at")
    ended = store.row("select max(ended_at) as at from task")
    store.close()
    own = [row for row in calls if row["task"] == 1]
    reading, fanning = own[0], own[1]
    # Alone, what it does behind its reading is the work; what it read is not.
    work = own[1:] if context == "alone" else [row for row in calls if row["task"] != 1]
    return Ran(
        usages=[_usage(row) for row in work],
        prefix=_usage(fanning).prompt + fanning["output_tokens"],
        shared=_usage(reading).prompt,
        written_twice=sum(
            max(0, row["prefix_tokens"] - row["cache_read_tokens"])
            for row in work
            # A request that warms the cache writes the parent's last answer, for the first time.
            if row["prefix_tokens"] and row["message"] is not None
        ),
        seconds=ended["at"] - fanning["started_at"] if ended else 0.0,
    )  # fmt: skip


def _usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"], row["output_tokens"],
        row["cache_write_1h_tokens"],
    )  # fmt: skip


def _random_settings(rows: list[dict[str, Any]], number: int) -> list[Claim]:
    ratios: list[float] = []
    chosen: dict[str, int] = dict.fromkeys(CONTEXTS, 0)
    for seed in range(number):
        setting = random_setting(random.Random(seed))
        ratio, context = off(setting, seed)
        ratios.append(ratio)
        chosen[context] += 1
    rows.append({
        "what": f"{number} random settings", **{f"chose {context}": number for context, number in chosen.items()},
        "worst / best": round(max(ratios), 4), "exactly the best": sum(ratio == 1 for ratio in ratios),
    })  # fmt: skip
    return [at_most(f"planner's choice / best in the worst of {number} random settings", max(ratios), 1.1, "ratio")]


def off(setting: Setting, seed: int) -> tuple[float, str]:
    """How much dearer than the best the planner's choice is in simulated time, and what it is.

    Where turns last about as long as an entry of the cache lives, one fan-out is luck; then the mean of several counts.
    """
    choice = economics.plan(setting)
    surely_kept = economics.forgetting(setting.work.turn_s, 0)[0] == 0
    seeds = [seed] if surely_kept else [seed * DRAWS + draw for draw in range(DRAWS)]
    costs = {
        context: sum(simulated.cost(setting, context, random.Random(one)) for one in seeds)
        if choice.priced[context].why_not is None
        else math.inf
        for context in CONTEXTS
    }
    return costs[choice.context] / min(costs.values()), choice.context


def random_setting(chance: random.Random) -> Setting:
    """A fan-out of any size, for any model with a price; some children have another model than their parent."""
    models = [model for model in all_models() if any(tier.input for tier in model.prices)]
    shared = chance.randint(2_000, 9_000)
    reads = chance.uniform(0.05, 1.0)
    turn_s = chance.choice([2.0, 10.0, 30.0, 100.0, 250.0, 400.0, 900.0])
    return Setting(
        prefix_tokens=shared + round(math.exp(chance.uniform(math.log(500), math.log(300_000)))),
        shared_tokens=shared,
        children=chance.randint(1, 32),
        model=chance.choice(models),
        own_model=chance.choice([None, None, None, None, chance.choice(models)]),
        work=Work(chance.randint(1, 40), chance.randint(50, 1_500), chance.randint(50, 6_000), turn_s),
        prompt_tokens=chance.randint(50, 2_000),
        reads_again=reads,
        reads_again_after_brief=reads * chance.uniform(0.1, 0.8),
        chunk_tokens=chance.randint(1_000, 8_000),
        brief_tokens=chance.randint(500, 4_000),
    )


if __name__ == "__main__":
    main("economics", measure)
