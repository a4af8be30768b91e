"""The real Claude Code, Codex and opencode as workers, in a network of their own in which there is only loopback.

PRONG_CLIS is a folder with their programs, where they are not on PATH; `.ci/run` installs the first two:

    npm install --prefix ~/clis @anthropic-ai/claude-code@2.1.329 @openai/codex@0.169.0 opencode-ai@1.18.33
    export PRONG_CLIS=~/clis/node_modules/.bin
    .venv/bin/python -m pytest -m "long or not long" -s -n 0 tests/harness/workers/test_real_clis.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.harness.repositories import commit
from tests.harness.swarming import environment, eventually, kill, logs, processes_of

from prong.agents.sandbox import Found
from prong.agents.sandbox import find as find_sandbox
from prong.harness.costs import read_costs
from prong.harness.repository.repository import Repository
from prong.harness.swarms import all_swarms, find

from .clis_script import ITEMS, parties, prompt_of, steps

HERE = Path(__file__).parent
PORT = 8941
PATH = os.pathsep.join(filter(None, (os.environ.get("PRONG_CLIS"), os.environ["PATH"])))
PATIENCE_S = 300

HELD = """
select lock.task, (select count(*) from waiter where kind = 'lock' and object = 'held' and state = 'waiting') as waiting
  from lock where name = 'held' and holder is not null
"""

RULES = f"""\
---
roles:
  claude: {{kind: claude-code, description: Claude Code}}
  opencode: {{kind: opencode, description: opencode}}
  codex:
    kind: codex
    model: gpt-5.1-codex
    environment: EMULATOR_KEY
    arguments:
      - -c
      - model_provider="emulator"
      - -c
      - 'model_providers.emulator={{name="emulator", base_url="http://127.0.0.1:{PORT}/v1", env_key="EMULATOR_KEY",
        wire_api="responses"}}'
---
"""

pytestmark = pytest.mark.timeout(PATIENCE_S * 2)


def missing(programs):
    """Why these programs cannot be tried here; None where they can."""
    absent = [one for one in programs if shutil.which(one, path=PATH) is None]
    if absent:
        why = os.environ.get("PRONG_CLIS_MISSING") or f"how to is told at the top of {Path(__file__).name}"
        return f"{' and '.join(absent)} not installed: {why}"
    found = find_sandbox()
    if not isinstance(found, Found):
        return f"they run in a sandbox, and there is none here: {found}"
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        return "there can be no network namespace here, which only root may make"
    return None


@pytest.fixture
def started(root, tmp_path):
    """Starts a swarm in a network of its own, and gives its process; ends both afterwards."""
    commit(root, {"PRONG.md": RULES})
    processes = []

    def start(goal, *programs, options=("--trust",)):
        if (why := missing(programs)) is not None:
            pytest.skip(why)
        script = tmp_path / "codex.json"
        script.write_text(json.dumps(codex_script(goal) if "codex" in programs else []))
        shell = (
            f'"$0" {HERE}/loopback.py || exit; "$0" {HERE}/responses.py {PORT} {script} 2>/dev/null & helper=$!;'
            ' "$0" -m prong.harness run --offline --script "$1" --agents 5 --json "$2" "${@:3}"; code=$?;'
            " kill $helper; exit $code"
        )
        command = ["unshare", "-n", "bash", "-c", shell, sys.executable, HERE / "clis_script.py", goal, *options]
        process = subprocess.Popen(
            list(map(str, command)), cwd=root, env=environment(PATH=PATH, EMULATOR_KEY="none"), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.communicate(timeout=60)


def codex_script(goal):
    """The same steps as the others', as Codex's model calls them."""
    prompt = prompt_of("codex", goal)
    calls = [[{"tool": rf"mcp__prong\.{tool}|mcp__prong__{tool}", "input": given}] for tool, given in steps(prompt)[1]]
    last = {"pause": 600} if prompt.endswith("dies") else {"text": "codex is done"}
    return [["You were interrupted", [[{"text": "codex is done"}]]], [prompt, [*calls, [last]]]]


def ended(process, root):
    printed, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, f"{process.returncode}\n{printed}\n{errors}\n{logs(root)}"
    return find(Repository.open(root), None)


@pytest.mark.long
def test_three_forks_of_a_claude_code_session_read_what_it_knows_from_the_prompt_cache(started, root, capsys):
    swarm = ended(started("BE the parent", "claude", options=("--trust", "--role", "claude-code")), root)

    store = swarm.store()
    [point] = read_costs(store).fork_points
    assert (point.children, point.hits, point.losses) == (3, 3, 0)
    first = store.rows(
        "select title, cache_read_tokens as read, prefix_tokens as prefix, cache_write_tokens + input_tokens as paid"
        " from model_call join task on task.id = model_call.task where prefix_tokens is not null order by task"
    )
    assert len(first) == 3
    assert {row["role"] for row in store.rows("select role from task")} == {"claude-code"}
    assert all(row["read"] >= 0.99 * row["prefix"] for row in first)
    git = Repository.open(root).git
    assert {git("show", f"{swarm.branch}:part{n}.txt").strip() for n in (1, 2, 3)} == {"known"}
    with capsys.disabled():
        for row in first:
            figures = f"read {row['read']:,} of {row['prefix']:,} tokens, paid for {row['paid']:,}"
            sys.stdout.write(f"\n{row['title']}: {figures}")


@pytest.mark.parametrize(
    ("names", "dies"),
    [
        (("claude", "codex"), "codex"),
        pytest.param(("claude", "codex"), "claude", marks=pytest.mark.long),
        pytest.param(("claude", "opencode"), "opencode", marks=pytest.mark.long),
    ],
)
def test_two_of_others_make_and_our_own_agent_share_everything_and_survive_a_death(started, root, names, dies):
    goal = f"Meet {' '.join(names)}, {dies} dies"
    process = started(goal, *names)

    def held():
        """The task of who holds the lock for which both others wait."""
        assert process.poll() is None, process.communicate()
        swarms = all_swarms(Repository.open(root))
        row = swarms[0].store().row(HELD) if swarms else None
        return row and row["waiting"] == len(names) and row["task"]

    task = eventually(held, f"{dies} holds the lock, and both others wait for it", patience_s=PATIENCE_S)
    kill(process_of(root, task, dies).pid)
    store = ended(process, root).store()

    all_of_them, _ = parties(goal)
    states = {row["title"]: (row["state"], row["result"]) for row in store.rows("select * from task")}
    for who in all_of_them:
        assert states[who] == ("done", f"{who} is done")
    assert sorted(taken(store, all_of_them)) == list(range(ITEMS))
    for who in all_of_them:
        seen = results(store, who, "shared_map")[-1]
        assert all(other in seen for other in all_of_them), f"{who} has seen {seen}"
    deaths = store.row(
        "select count(*) as n from event where kind = 'task.backs_off' and object = :task", task=str(task)
    )
    assert deaths["n"] == 1
    assert not processes_of(root)


def process_of(root, task, name):
    """The command line of a task, which is a child of nothing but its sandbox."""
    for process in processes_of(root):
        try:
            if process.environ().get("PRONG_TASK") == str(task) and name in process.name():
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"no process works on task {task}")


def results(store, title, tool):
    """The texts of the results of a tool's calls, in order."""
    calls, texts = set(), []
    for row in store.rows(
        "select content from message join task on task.id = message.task where title = :title order by message.id",
        title=title,
    ):
        for block in json.loads(row["content"]):
            if block["type"] == "tool_use" and block["name"].endswith(tool):
                calls.add(block["id"])
            elif block["type"] == "tool_result" and block["tool_use_id"] in calls:
                texts.append("\n".join(part["text"] for part in block["content"]))
    return texts


def taken(store, names):
    """Every item that anybody was given."""
    for who in names:
        for text in results(store, who, "message_queue"):
            yield from (one["message"] for one in json.loads(text.rpartition("\n")[2])["messages"])
