"""Programs in whole swarms: by `prong exec`, by the tool, and killed wherever chance wants it.

PRONG_PROGRAM_TASKS and PRONG_PROGRAM_KILLS say how large the last one is:

    PRONG_PROGRAM_TASKS=200 PRONG_PROGRAM_KILLS=20 .venv/bin/python -m pytest -s -n 0 tests/harness/test_programs.py
"""

import json
import os
import random
import sqlite3
import sys
from functools import partial

import psutil
import pytest

from prong.harness.repository.repository import Repository
from prong.harness.swarms import find
from prong.primitives import Event
from prong.state import join

from .swarming import PATIENCE_S, eventually, kill, processes_of, prong, start

TASKS = int(os.environ.get("PRONG_PROGRAM_TASKS", "24"))
KILLS = int(os.environ.get("PRONG_PROGRAM_KILLS", "4"))

SCRIPTS = '''
import re
from prong.agents.emulator.script import Reply, Text, ToolUse, script

@script("^Square")
def square(request):
    return Reply([Text(str(int(request.first_text.split()[1]) ** 2))])

@script("^Write a program")
def write(request):
    done = request.exchanges()
    if any('"you": true' in (one.text or "") for one in done):
        return Reply([Text("forked")])
    if not done:
        return Reply([ToolUse("run_program", {"program": PROGRAM, "args": ["3"]})])
    if len(done) == 1:
        return Reply([ToolUse("run_program", {"program": BROKEN})])
    return Reply([Text("ended")])

PROGRAM = """
import sys
from prong.harness.program import create_task, shared_map, wait
tasks = [create_task(f"Look {n}", context="fork") for n in range(int(sys.argv[1]))]
tasks.append(create_task("Square 5"))
shared_map("said").put("a", 1)
print(*[f"{task.state}:{task.result}" for task in wait(tasks)])
"""
BROKEN = """
from prong.harness.program import create_task
def ask():
    create_task(" ")
ask()
"""
'''

SQUARES = """
import sys
from prong.harness.program import create_task, shared_map, wait

tasks = [create_task(f"Square {n}") for n in range(int(sys.argv[1]))]
total = sum(int(task.result) for task in wait(tasks))
print(total, shared_map("runs").add("ended", 1))
"""

_REACHED = "select count(*) from event where kind in ('task.created', 'task.done', 'task.claimed')"


@pytest.fixture
def scripts(tmp_path):
    path = tmp_path / "program_scripts.py"
    path.write_text(SCRIPTS)
    return path


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "squares.py"
    path.write_text(SQUARES)
    return path


def query(root, sql):
    """All rows of the newest swarm; none while there is no swarm."""
    found = sorted(root.glob(".prong/*/state.db"))
    if not found:
        return []
    with sqlite3.connect(f"file:{found[-1]}?mode=ro", uri=True) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:  # it is just being made
            return []


def test_a_program_of_a_model_creates_forks_of_its_conversation_and_reads_a_traceback_of_its_own_lines(root, scripts):
    done = prong("run", "--offline", "--script", scripts, "--json", "Write a program", cwd=root)
    assert json.loads(done.stdout)["state"] == "done"
    ((results,),) = query(
        root, "select json_group_array(content) from message where task = 1 and content like '%tool_result%'"
    )
    first, second = (json.loads(one)[0]["content"][0]["text"] for one in json.loads(results))
    assert "done:forked done:forked done:forked done:25" in first
    assert json.loads(first.splitlines()[-1])["tasks"] == [2, 3, 4, 5]
    assert 'File "program.py", line 4, in ask' in second
    assert "a prompt that is empty" in second
    assert "prong/harness/program" not in second
    assert not query(root, "select 1 from event where kind = 'cache.lost'")
    assert query(root, "select count(distinct fork_point) from task where context = 'fork'") == [(1,)]
    assert query(root, "select 1 from event where kind = 'task.parked' and task = 1")


def test_exec_prints_what_the_program_prints_and_merges_what_it_writes(root, tmp_path):
    path = tmp_path / "write.py"
    path.write_text(
        "import sys\nopen('made.txt', 'w').write(sys.argv[2])\nprint('made', sys.argv[1:])\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    done = prong("exec", "--offline", path, "0", "--agents", cwd=root)
    assert done.stdout == "made ['0', '--agents']\n"
    (branch,) = query(root, "select branch from swarm")[0]
    shown = prong("tasks", "--json", cwd=root).stdout
    assert json.loads(shown)["state"] == "done"
    assert branch in done.stderr
    failed = prong("exec", "--offline", "--json", path, "7", "x", cwd=root, code=1)
    assert json.loads(failed.stdout)["state"] == "failed"
    ((attempt, error),) = query(root, "select attempt, error from task")
    assert attempt == 1
    assert "made ['7', 'x']" in error
    assert "[exit code 7]" in error


def test_exec_is_refused_before_anything_is_made_for_what_is_no_program(root, tmp_path):
    (tmp_path / "empty.py").write_text("\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\0")
    for name in ("empty.py", "binary.py", "missing.py"):
        assert name in prong("exec", "--offline", tmp_path / name, cwd=root, code=2).stderr
    assert not query(root, "select 1 from swarm")


def has_reached(root, supervisor, point):
    ((reached,),) = query(root, _REACHED) or [(0,)]
    return reached >= point or supervisor.poll() is not None


def victims(root, supervisor):
    """What can be killed now: the supervisor, the agent of the program's task, a process of the program."""
    agents = query(root, "select pid from agent where task = 1 and ended_at is null and pid is not null")
    programs = []
    for process in processes_of(root):
        try:
            if any("prong.harness.program.boot" in word for word in process.cmdline()):
                programs.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return {"supervisor": [supervisor.pid], "agent": [pid for (pid,) in agents], "program": programs}


@pytest.mark.long
@pytest.mark.timeout(300 + 15 * KILLS + 5 * TASKS)
def test_a_program_that_is_killed_again_and_again_runs_no_finished_task_twice(root, scripts, program):
    """The goal: whatever dies when, the program ends with the right sum, and no task is made or run twice.

    The method: so many points of its progress are drawn; at each a process is killed, of a kind drawn by chance.
    """
    seed = random.randrange(10**9)
    report(f"seed {seed}: {TASKS} tasks, {KILLS} kills")
    chance = random.Random(seed)
    points = sorted(chance.sample(range(2, 3 * TASKS), KILLS))
    options = ("--offline", "--json", "--script", scripts, "--attempts", 100)
    supervisor = start("exec", *map(str, options), str(program), str(TASKS), cwd=root)
    killed = []
    for point in points:
        eventually(partial(has_reached, root, supervisor, point), f"point {point} of {seed}", PATIENCE_S * 4)
        if supervisor.poll() is not None:
            break
        kind = chance.choice(["supervisor", "agent", "program"])
        there = victims(root, supervisor)[kind]
        for pid in there[:1]:
            killed.append(kind)
            try:
                kill(pid)
            except ProcessLookupError:
                continue
        if kind == "supervisor":
            supervisor.communicate()
            supervisor = start("resume", "--json", cwd=root)
    out, err = supervisor.communicate(timeout=PATIENCE_S * 4 + TASKS)
    assert supervisor.returncode == 0, f"seed {seed}, killed {killed}: {supervisor.returncode}\n{out}\n{err}"
    report(f"killed {killed}; runs of the program: {query(root, _RUNS)[0][0]}")
    check(root, seed)


_RUNS = "select count(*) from event where kind = 'program.began'"

_TWICE = """
select done.object from event done join event later on later.task = done.task and later.seq > done.seq
 where done.kind = 'task.done' and later.kind in ('task.claimed', 'task.done', 'model.answered', 'task.created')
   and done.task <> 1
"""


def report(line):
    sys.stderr.write(f"{line}\n")


def check(root, seed):
    expected = sum(number**2 for number in range(TASKS))
    assert query(root, "select result from task where id = 1") == [(f"{expected} 1",)], seed
    assert query(root, "select count(*), count(distinct title) from task where parent = 1") == [(TASKS, TASKS)], seed
    assert query(root, "select count(*) from event where kind = 'task.done' and task <> 1") == [(TASKS,)], seed
    assert query(root, _TWICE) == [], seed
    assert query(root, "select count(*) from event where kind = 'map.put' and object = 'runs'") == [(1,)], seed


_STANDS = """
select 1 from event where kind = 'task.returned' union all select 1 from waiter where kind = 'slot' and task = 1
"""


@pytest.mark.long
def test_a_paused_program_stands_still_and_goes_on_later(root, tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(
        "from prong.harness.program import event, shared_map\n"
        "shared_map('runs').add('n', 1)\n"
        "while not event('go').wait(timeout=0.05):\n    pass\n"
        "print('went', shared_map('runs')['n'])\n"
    )
    running = start("exec", "--offline", str(path), cwd=root)
    try:
        eventually(lambda: query(root, "select 1 from event where kind = 'map.put'"), "its first call")
        prong("pause", cwd=root)
        eventually(lambda: query(root, _STANDS), "it stands still")
        store = find(Repository.open(root), None).store()
        Event(join(store, "test"), "go").set()
        store.close()
        prong("resume", cwd=root)
        assert running.communicate(timeout=PATIENCE_S)[0] == "went 1\n"
    finally:
        running.kill()
        running.communicate()
