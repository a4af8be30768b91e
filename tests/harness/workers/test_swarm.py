"""Swarms whose tasks are done by an outside agent: a small program of the tests that speaks as Claude Code does."""

import json
import shutil
from pathlib import Path

import pytest
from tests.harness.repositories import commit
from tests.harness.swarming import processes_of, prong

from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

WORKER = Path(__file__).with_name("worker.py")

TOKEN = "a-token-of-mine-1234567"

RULES = """\
---
limits: {attempts: 2}
models:
  claude-sonnet-5-5: {input: 1000, output: 2000, read: 100}
roles:
  helper: {kind: command, command: "python3 worker.py", environment: MY_TOKEN, description: helps}
  once: {kind: command, command: "python3 worker.py", attempts: 1}
  short: {kind: command, command: "python3 worker.py", attempts: 1, timeout: 2}
  missing: {kind: claude-code, command: no-such-claude}
---
Be brief.
"""

SCRIPTS = """
import json
from prong.agents.emulator.script import Reply, Text, ToolUse, script

KINDS = {"share": "helper", "die": "helper", "nonsense": "once", "ask": "helper", "hang": "short",
         "environment": "helper", "overloaded": "once", "absent": "missing"}

@script("^Have all done")
def all_of_them(request):
    return over(request, KINDS)

def over(request, kinds):
    done = request.exchanges()
    if not done:
        return Reply([ToolUse("create_task", {"title": what, "prompt": f"DO {what}", "role": role,
                                              "context": "fresh"}) for what, role in kinds.items()])
    if done[-1].name != "wait_tasks":
        tasks = [json.loads(one.text.rpartition("\\n")[2])["task"] for one in done]
        return Reply([ToolUse("wait_tasks", {"tasks": tasks})])
    return Reply([Text("all have ended")])
"""


@pytest.fixture
def swarm(root, tmp_path):
    """Runs a goal on a repository with the rules, and returns its store and its tasks by title."""
    shutil.copy(WORKER, root / "worker.py")
    commit(root, {"PRONG.md": RULES})
    (tmp_path / "scripts.py").write_text(SCRIPTS)

    def run(goal, code, *options):
        prong(
            "run", "--offline", "--trust", "--script", tmp_path / "scripts.py", "--agents", 4, "--json", *options, goal,
            cwd=root, code=code, MY_TOKEN=TOKEN, OTHER_TOKEN="not mine", ANTHROPIC_API_KEY="a key",
        )  # fmt: skip
        store = find(Repository.open(root), None).store()
        return store, {row["title"]: dict(row) for row in store.rows("select * from task")}

    yield run
    assert not processes_of(root)


def events(store, kind):
    return [json.loads(row["data"]) for row in store.rows("select data from event where kind = :kind", kind=kind)]


def test_what_a_repository_starts_and_gives_of_ours_is_asked_for_first(root):
    commit(root, {"PRONG.md": RULES})
    told = prong("run", "--offline", "Have all done", cwd=root, code=2).stderr
    assert "role helper starts 'python3 worker.py' and your MY_TOKEN; role once starts" in told
    assert "say so with --trust" in told
    told = prong("run", "--offline", "--trust", "--role", "helpr", "Have all done", cwd=root, code=2).stderr
    assert "Did you mean helper? PRONG.md has the roles: helper, once, short, missing" in told
    told = prong("run", "--offline", "--trust", "--role", "codex", "Have all done", cwd=root, code=2).stderr
    assert "codex asks OpenAI, also with --offline" in told
    commit(root, {"PRONG.md": "---\nsandbox: {mode: off, network: true, read: [/srv]}\n---\n"})
    told = prong("run", "--offline", "Have all done", cwd=root, code=2).stderr
    assert (
        "lets the commands of agents run without a sandbox, and lets the commands of agents reach the network" in told
    )
    told = prong("run", "--offline", "--sandbox", "auto", "--no-network", "Have all done", cwd=root, code=2).stderr
    assert "PRONG.md of this repository lets the commands of agents read /srv. If you want that" in told
    assert not (root / ".prong").exists()


def test_outside_agents_do_tasks_and_whatever_goes_wrong_with_them_is_told(swarm, root):
    store, tasks = swarm("Have all done", 1)

    assert {title: (task["state"], task["failure"]) for title, task in tasks.items()} == {
        "Have all done": ("done", None), "share": ("done", None), "Plain": ("done", None), "die": ("done", None),
        "environment": ("done", None), "nonsense": ("failed", "tool"), "ask": ("failed", "request"),
        "hang": ("failed", "tool"), "overloaded": ("failed", "provider"), "absent": ("failed", "request"),
    }  # fmt: skip
    assert tasks["share"]["result"] == "shared"
    assert tasks["Plain"]["result"] == "plain words"
    assert (tasks["Plain"]["parent"], tasks["Plain"]["role"]) == (tasks["share"]["id"], "helper")
    assert tasks["die"]["result"] == "lived"
    assert "it went wrong" in tasks["nonsense"]["error"]
    assert "permission (Bash)" in tasks["ask"]["error"]
    assert "worked for more than 2 s" in tasks["hang"]["error"]
    assert "roles.missing.command" in tasks["absent"]["error"]
    seen = tasks["environment"]["result"].split()
    assert "MY_TOKEN" in seen
    assert not {"OTHER_TOKEN", "ANTHROPIC_API_KEY"} & set(seen)
    assert not store.rows("select 1 from message where content like :token", token=f"%{TOKEN}%")
    shared = Repository.open(root).git("show", f"{find(Repository.open(root), None).branch}:shared.txt")
    assert "Created task" in shared
    assert store.row("select json(value) as value from map_entry where key = 'worker'")["value"] == "7"
    assert store.row("select count(*) as held from lock where holder is not null")["held"] == 0
    call = store.row("select * from model_call where task = :task", task=tasks["share"]["id"])
    assert (call["model"], call["input_tokens"], call["cache_read_tokens"]) == ("claude-sonnet-5-5", 10, 90)
    roles = [json.loads(line) for line in prong("roles", "--json", cwd=root).stdout.splitlines()]
    assert {one["role"]: one["kind"] for one in roles} == {
        "helper": "command", "once": "command", "short": "command", "missing": "claude-code", "(none)": None,
    }  # fmt: skip


def test_a_worker_that_has_spent_its_budget_is_ended_and_its_task_waits(swarm):
    store, tasks = swarm("DO spend", 3, "--role", "helper", "--tokens", 120_000)

    (task,) = tasks.values()
    assert (task["role"], task["state"], task["held"]) == ("helper", "parked", "budget")
    (ended,) = events(store, "worker.ended")[-1:] or [None]
    assert ended is None or ended["exit_code"] != 0
    priced = "usd = (1000 * input_tokens + 100 * cache_read_tokens + 2000 * output_tokens) / 1e6 as is_as_told"
    calls = store.rows(f"select {priced} from model_call")
    assert calls
    assert all(call["is_as_told"] for call in calls)
    spent = store.row("select sum(input_tokens + output_tokens) as tokens from model_call")["tokens"]
    assert spent < 300_000
