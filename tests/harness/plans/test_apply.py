"""`prong apply` and `prong plan` in real swarms: a plan with everything in it, twice, and one that is written first."""

import json
from pathlib import Path

import pytest
import yaml
from tests.harness import repositories as git
from tests.harness.swarming import eventually, kill, prong, start

from prong.harness.repository.repository import Repository
from prong.harness.swarms import all_swarms, find

SCRIPTS = Path(__file__).parents[1] / "plans_scripts.py"
RULES = """\
---
roles:
  writer: {agents: 1}
  looker: {}
route:
  type: {docs: writer}
  match: {"look at*": looker}
---
"""
PLAN = """\
goal: Look at the parts
tasks:
  list: {prompt: List the parts, result: {type: object, required: [parts]}}
  looks: {needs: list, for_each: list.result.parts, prompt: "Look at {item}", result: {type: object, required: [bugs]}}
  files: {for_each: {glob: "*.txt"}, prompt: "Look at {item}"}
  hard: {prompt: "Fail once, please", attempts: 1}
  hurt: {prompt: Write hurt.txt, needs: hard}
  mend: {prompt: Write mend.txt, needs: hard, when: failed(hard)}
  wanted: {prompt: Write wanted.txt, needs: list, when: list.result.wanted}
  after: {prompt: Write after.txt, needs: wanted}
  fork: {prompt: Say hello, needs: list, context: fork}
  out:
    needs: [looks, after, fork]
    type: docs
    prompt: "Write out.txt {looks.result} {fork.result}"
    check: grep -q bugs out.txt
"""


def apply(*arguments, cwd, **more):
    return prong("apply", "--offline", "--script", SCRIPTS, "--sandbox", "off", *arguments, cwd=cwd, **more)


def rows_of(root, sql="select * from task"):
    return [dict(row) for row in find(Repository.open(root), None).store().rows(sql)]


def states(root):
    steps = "select step, state, outcome from plan_step join task on task.id = task where place is null"
    return {
        row["step"]: row["outcome"] if row["outcome"] == "skipped" else row["state"] for row in rows_of(root, steps)
    }


@pytest.fixture
def planned(root):
    """The repository with a plan, rules and two texts in its last commit."""
    for name, text in {"plan.yaml": PLAN, "PRONG.md": RULES, "one.txt": "1", "two.txt": "2"}.items():
        (root / name).write_text(text)
    git.run(root, "add", "-A")
    git.run(root, "commit", "-qm", "a plan")
    return root


def test_where_no_script_is_named_each_task_of_a_plan_measures_instead_of_surveying_everything(root):
    (root / "plan.yaml").write_text("tasks:\n  one: Measure plan.yaml\n  sum: {needs: one, prompt: Add it up}\n")
    git.run(root, "add", "-A")
    git.run(root, "commit", "-qm", "a plan")
    ran = prong("apply", "--offline", "--sandbox", "off", "plan.yaml", cwd=root)
    assert "a built-in one, which counts lines and words" in ran.stderr
    results = [row["result"] for row in rows_of(root)]
    assert results == ["plan.yaml: 3 lines, 11 words, 71 characters", "together: 3 lines, 11 words, 71 characters"]
    assert "has changed no file, so there is nothing to merge" in prong("merge", cwd=root).stdout


def test_a_plan_runs_is_tried_again_where_something_failed_and_is_then_done(planned):
    first = apply("plan.yaml", cwd=planned, code=1)
    assert states(planned) == {
        "list": "done", "looks": "done", "files": "done", "hard": "failed", "hurt": "failed", "mend": "done",
        "wanted": "skipped", "after": "skipped", "fork": "done", "out": "done",
    }  # fmt: skip
    assert "⊘" not in first.stdout
    assert "skipped" in first.stdout
    tasks = {row["title"]: row for row in rows_of(planned)}
    files = [name for name in git.run(planned, "ls-files", "*.txt").split() if "/" not in name]
    assert sorted(title for title in tasks if title.startswith("files: ")) == sorted(f"files: {name}" for name in files)
    assert (tasks["looks: b"]["role"], tasks["out"]["role"], tasks["list"]["role"]) == ("looker", "writer", "")
    assert tasks["fork"]["result"] == "as a fork: Say hello"
    assert tasks["fork"]["context"] == "fork"
    [call] = rows_of(planned, "select * from model_call where prefix_tokens is not null")
    assert call["cache_read_tokens"] >= 0.95 * call["prefix_tokens"]
    written = git.run(planned, "show", f"{find(Repository.open(planned), None).branch}:out.txt")
    assert (
        '[{"part": "a", "bugs": 1}, {"part": "b", "bugs": 1}, {"part": "c", "bugs": 1}] as a fork: Say hello' in written
    )
    [checked] = rows_of(planned, f"select * from event where kind = 'merge.checked' and task = {tasks['out']['id']}")
    assert json.loads(checked["data"])["passed"]

    again = json.loads(apply("--json", "plan.yaml", cwd=planned).stdout)
    assert (again["state"], again["tasks"]["done"]) == ("done", len(tasks))
    assert (states(planned)["hard"], states(planned)["hurt"], states(planned)["mend"]) == ("done", "done", "done")
    attempts = {row["title"]: row["attempt"] for row in rows_of(planned)}
    assert (attempts["looks: a"], attempts["out"]) == (1, 1)
    third = apply("plan.yaml", cwd=planned)
    assert "has done all of this plan" in third.stderr
    assert len(all_swarms(Repository.open(planned))) == 1
    told = json.loads(prong("advice", "--json", cwd=planned).stdout)
    assert told["kinds"]["model"] > 0
    assert told["critical"]
    assert "## Whether it paid" in prong("report", cwd=planned).stdout


@pytest.mark.long
def test_a_check_of_a_step_sends_its_work_back_and_no_other(planned):
    plan = "tasks:\n  good: {prompt: Write good.txt}\n  bad: {prompt: Write bad.txt, check: 'false', attempts: 1}\n"
    (planned / "checked.yaml").write_text(plan)
    apply("checked.yaml", cwd=planned, code=1)
    assert states(planned) == {"good": "done", "bad": "failed"}


def test_a_dry_run_and_a_mistake_make_nothing(planned):
    told = json.loads(apply("--dry-run", "--json", "--agents", "4", "plan.yaml", cwd=planned).stdout)
    assert told["guessed"] == ["looks"]
    assert told["critical"][0] == "list"
    assert told["wall_s"] >= told["critical_s"] > 0
    assert told["price"]["fork"] <= told["price"]["fresh"]
    shown = apply("--dry-run", "plan.yaml", cwd=planned).stdout
    assert "speed-up" in shown
    assert "cost, fork" in shown
    (planned / "bad.yaml").write_text(
        PLAN.replace("type: docs", "role: writr").replace("needs: list, when", "neds: list, when")
    )
    wrong = apply("bad.yaml", cwd=planned, code=2).stderr
    assert "bad.yaml:9: tasks.wanted.neds is no part of a task; did you mean needs?" in wrong
    (planned / "bad.yaml").write_text(PLAN.replace("type: docs", "role: writr"))
    assert "did you mean writer?" in apply("bad.yaml", cwd=planned, code=2).stderr
    assert all_swarms(Repository.open(planned)) == []


@pytest.mark.long
def test_a_plan_is_written_by_a_model_that_is_asked_again_and_then_run(planned):
    (planned / "mine.txt").write_text("mine")
    prong("plan", "--offline", "-o", "mine.txt", "Do it well", cwd=planned, code=2)
    assert (planned / "mine.txt").read_text() == "mine"
    prong("plan", "--offline", "--script", SCRIPTS, "--apply", "Do it well", cwd=planned, code=2)  # nobody can be asked
    assert all_swarms(Repository.open(planned)) == []
    ran = prong(
        "plan", "--offline", "--script", SCRIPTS, "--apply", "--yes", "-o", "new.yaml", "Do it well", cwd=planned
    )
    plan = yaml.safe_load((planned / "new.yaml").read_text())
    two = {"prompt": "Look at y", "needs": ["one"]}
    assert plan == {"goal": "Do it well", "tasks": {"one": {"prompt": "Look at x"}, "two": two}}
    writing, _ = all_swarms(Repository.open(planned))
    [refused] = writing.store().rows("select data from event where kind = 'result.refused'")
    said = json.loads(refused["data"])["problem"]
    assert 'tasks.two.needs names "oen", which is no task of this plan; did you mean one?' in said
    assert "✔ two" in ran.stdout
    assert states(planned) == {"one": "done", "two": "done"}


def _has_begun(root):
    """Whether a task of the newest swarm is done; there may be none yet."""
    files = sorted((root / ".prong").glob("*/state.db"))
    swarms = all_swarms(Repository.open(root)) if files else []
    return bool(swarms and swarms[-1].store().row("select 1 from task where state = 'done'"))


@pytest.mark.long
def test_a_killed_plan_goes_on_with_the_same_command_and_does_nothing_twice(planned):
    well = "".join(line for line in PLAN.splitlines(keepends=True) if "hard" not in line)  # nothing fails by itself
    (planned / "plan.yaml").write_text(well)
    process = start(
        "apply", "--offline", "--script", SCRIPTS, "--sandbox", "off", "--latency", "0.4", "plan.yaml", cwd=planned
    )
    eventually(lambda: _has_begun(planned), "a task that is done")
    kill(process.pid)
    process.communicate()
    apply("plan.yaml", cwd=planned)
    assert states(planned)["out"] == "done"
    titles = [row["title"] for row in rows_of(planned)]
    assert len(titles) == len(set(titles))
    kept = git.run(
        planned, "log", "--format=%(trailers:key=Prong-Task,valueonly)", find(Repository.open(planned), None).branch
    )
    numbers = kept.split()
    assert len(numbers) == len(set(numbers))
