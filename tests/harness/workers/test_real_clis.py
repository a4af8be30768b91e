"""The real Claude Code and Codex as workers, in a network of their own in which there is only loopback.

PRONG_CLIS is a folder with their programs, where they are not on PATH:

    npm install --prefix ~/clis @anthropic-ai/claude-code @openai/codex
    PRONG_CLIS=~/clis/node_modules/.bin .venv/bin/python -m pytest -m long -s -n 0 tests/harness/workers
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

from prong.harness.costs import read_costs
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

from .clis_script import ITEMS, PARTIES

HERE = Path(__file__).parent
PORT = 8941
PATH = os.pathsep.join(filter(None, (os.environ.get("PRONG_CLIS"), os.environ["PATH"])))
PATIENCE_S = 300

RULES = f"""\
---
roles:
  claude: {{kind: claude-code, description: Claude Code}}
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

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S * 2)]


@pytest.fixture
def started(root, tmp_path):
    """Starts a swarm in a network of its own, and gives its process; ends both afterwards."""
    commit(root, {"PRONG.md": RULES})
    script = tmp_path / "codex.json"
    script.write_text(json.dumps([["PARTY codex", codex_turns()], [".", [[{"text": "What?"}]]]]))
    processes = []

    def start(goal, *programs):
        for program in programs:
            if shutil.which(program, path=PATH) is None:
                pytest.skip(f"{program} is not installed: see the top of {Path(__file__).name}")
        if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
            pytest.skip("there can be no network namespace here, which only root may make")
        shell = (
            f'ip link set lo up; "$0" {HERE / "responses.py"} {PORT} {script} 2>/dev/null & helper=$!;'
            ' "$0" -m prong.harness run --offline --trust --script "$1" --agents 5 --json "$2"; code=$?;'
            " kill $helper; exit $code"
        )
        command = ["unshare", "-n", "sh", "-c", shell, sys.executable, HERE / "clis_script.py", goal]
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


def codex_turns():
    """The same steps as the others', as Codex's model calls them."""
    from .clis_script import steps  # noqa: PLC0415  beside its only use

    calls = [[{"tool": rf"mcp__prong\.{tool}|mcp__prong__{tool}", "input": given}] for tool, given in steps("codex")]
    return [*calls, [{"text": "codex is done"}]]


def ended(process, root):
    printed, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, f"{process.returncode}\n{printed}\n{errors}\n{logs(root)}"
    return find(Repository.open(root), None)


def test_three_forks_of_a_claude_code_session_read_what_it_knows_from_the_prompt_cache(started, root, capsys):
    swarm = ended(started("Fork three times", "claude"), root)

    store = swarm.store()
    [point] = read_costs(store).fork_points
    assert (point.children, point.hits, point.losses) == (3, 3, 0)
    first = store.rows(
        "select title, cache_read_tokens as read, prefix_tokens as prefix, cache_write_tokens + input_tokens as paid"
        " from model_call join task on task.id = model_call.task where prefix_tokens is not null order by task"
    )
    assert len(first) == 3
    assert all(row["read"] >= 0.99 * row["prefix"] for row in first)
    git = Repository.open(root).git
    assert {git("show", f"{swarm.branch}:part{n}.txt").strip() for n in (1, 2, 3)} == {"known"}
    with capsys.disabled():
        for row in first:
            figures = f"read {row['read']:,} of {row['prefix']:,} tokens, paid for {row['paid']:,}"
            sys.stdout.write(f"\n{row['title']}: {figures}")


def test_claude_code_codex_and_our_own_agent_share_everything_and_survive_a_death(started, root):
    process = started("Meet", "claude", "codex")
    held = "select task from lock where name = 'held' and holder is not null"

    def holder():
        assert process.poll() is None, process.communicate()
        found = [path for path in root.glob(".prong/2*") if (path / "state.db").exists()]
        row = find(Repository.open(root), None).store().row(held) if found else None
        return row and row["task"] and sleeps(root) and row["task"]

    task = eventually(holder, "Claude Code holds the lock and sleeps", patience_s=PATIENCE_S)
    kill(process_of(root, task).pid)
    store = ended(process, root).store()

    states = {row["title"]: (row["state"], row["result"]) for row in store.rows("select * from task")}
    assert states["HOLD it"] == ("done", "given up")
    for who in PARTIES:
        assert states[f"PARTY {who}"] == ("done", f"{who} is done")
    assert sorted(taken(store)) == list(range(ITEMS))
    for who in PARTIES:
        seen = results(store, f"PARTY {who}", "shared_map")[-1]
        assert all(other in seen for other in PARTIES)
    deaths = store.row(
        "select count(*) as number from event where kind = 'task.backs_off' and object = :task", task=str(task)
    )
    assert deaths["number"] == 1
    assert not processes_of(root)


def sleeps(root):
    return any("sleep" in process.name() for process in processes_of(root))


def process_of(root, task):
    """The command line of a task, which is a child of nothing but its sandbox."""
    for process in processes_of(root):
        try:
            if process.environ().get("PRONG_TASK") == str(task) and process.name().startswith("claude"):
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


def taken(store):
    """Every item that anybody was given."""
    for who in PARTIES:
        for text in results(store, f"PARTY {who}", "message_queue"):
            yield from (one["message"] for one in json.loads(text.rpartition("\n")[2])["messages"])
