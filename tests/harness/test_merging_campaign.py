"""Many agents change a repository at once, in each other's way, while they and their supervisor are killed.

    PRONG_CAMPAIGN=networkx-3.4.2.tar.gz .venv/bin/python -m pytest -s -n 0 tests/harness/test_merging_campaign.py

does it with fifty agents, two hundred files of that package's source, and fifty kills, and prints what came of it.
"""

import os
import random
import time

import pytest

from . import merging_campaign as campaign
from . import repositories as git
from .endurance import Chaos, swarm, violations
from .swarming import eventually, processes_of, prong

SOURCE = os.environ.get("PRONG_CAMPAIGN")
SEED = os.environ.get("PRONG_CAMPAIGN_SEED") or str(random.SystemRandom().getrandbits(32))
AGENTS = 50 if SOURCE else 10
AT_ONCE = 16
FILES = 60
KILLS = 50 if SOURCE else 3
STEPS_EACH = 12
"""About how many steps one agent goes, at least: by them the kills are spread over the whole campaign."""

STEPS = "select count(*) from event where kind in ('model.answered', 'tool.ended') or kind like 'merge.%'"

MOST_S = 900.0 if SOURCE else 90.0
SCRIPTS = campaign.Path(__file__).with_name("merging_campaign_scripts.py")
WHOM = {"agent killed": 7, "supervisor killed": 2, "supervisor and nursery killed": 1}


def torment(tormented, chaos, chance):
    """Kill at random points of the work, until the swarm has ended."""
    next_at, until = 3, time.monotonic() + MOST_S
    while tormented.process.poll() is None:
        assert time.monotonic() < until, tormented.story()
        done = sum(chaos.struck.values())
        if done < KILLS and tormented.value(STEPS) >= next_at:
            chaos.strike(tormented)
            if sum(chaos.struck.values()) > done:
                next_at += chance.randint(1, 2 * AGENTS * STEPS_EACH // (KILLS + 1))
        else:
            chaos.rest(0.05)


@pytest.mark.long
@pytest.mark.timeout(MOST_S * 2)
@pytest.mark.parametrize("batch", [1, 8] if SOURCE else [1])
def test_a_campaign(tmp_path, batch):
    """Goal: the branch passes at every commit, every change is on it once or kept, and what is the user's is untouched.

    With a batch the promise is smaller: every commit of `git log --first-parent` passes.
    """
    root = campaign.make_repository(tmp_path / "repository", SOURCE, FILES)
    git.write(root, {"PRONG.md": f"---\ncheck_batch: {batch}\ncheck_parallel: 3\n---\n"})
    plan = campaign.make_plan(root, AGENTS, SEED)
    before, chance, began = git.fingerprint(root), random.Random(SEED), time.monotonic()
    chaos = Chaos(SEED, longest_stop_s=1, strikes=WHOM)
    arguments = ("--offline", "--script", SCRIPTS, "--agents", AT_ONCE, "--check", campaign.CHECK)
    with swarm(root, *arguments, plan.goal(tmp_path / "plan.json")) as tormented:
        torment(tormented, chaos, chance)
        end = tormented.end(code=1)
        took = time.monotonic() - began
        story = f"seed {SEED} {dict(chaos.struck)}\n{tormented.story()}"
        assert git.fingerprint(root) == before, story
        tasks = campaign.task_numbers(tormented.store, plan)
        merged = campaign.whole_at_every_commit(
            root, end["branch"], plan, tasks, tmp_path / "checked", first_parent=batch > 1
        )
        report = prong("report", cwd=root).stdout
        campaign.kept_and_named(tormented.store, plan, tasks, merged, root=root, report=report)
        # Who conflicts twice before its check fails has no attempt left to mend it, and its resolver does not.
        assert plan.stubborn <= set(tasks) - merged <= plan.spoilers, story
        assert violations(tormented.store) == [], story
        back = tormented.store.rows("select verdict, count(*) as n from merge_attempt group by verdict")
    eventually(lambda: not processes_of(root), "the end of all processes", patience_s=10)
    told = {
        "seed": SEED,
        "batch": batch,
        "seconds": round(took),
        "merged": len(merged),
        "kept": len(tasks) - len(merged),
    }
    print(told, dict(chaos.struck), {row["verdict"]: row["n"] for row in back})  # noqa: T201  figures of the large one
