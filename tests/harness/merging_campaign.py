"""A campaign of merges: who changes what in a repository, and what must be true of it in the end."""

import json
import random
import re
import shlex
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from . import repositories as git

EACH = 4
"""How many files belong to each agent; its neighbour changes some of them, too."""

LINES = 12
"""How many lines a file must have at least, so that its first and its last line are regions of their own."""

COMPILE = """
import pathlib
for path in pathlib.Path(".").rglob("*.py"):
    text = path.read_bytes()
    if b"# change " in text:
        compile(text, str(path), "exec", dont_inherit=True)
"""
CHECK = shlex.join([sys.executable, "-W", "ignore", "-c", COMPILE])
"""Every changed file is Python: neither conflict markers are, nor what spoils a file."""

MARK = re.compile(r"# change (\d+ \d+) ")
HOOKS = ("pre-commit", "post-commit", "post-checkout", "post-merge", "reference-transaction", "post-index-change")


def make_repository(root, source, files):
    """A repository of the source, a folder or an archive, or without one of `files` made files; with a history."""
    root.mkdir()
    if source is None:
        for number in range(files):
            text = "".join(f"line_{line} = {number}\n" for line in range(LINES * 2))
            git.write(root, {f"package/part{number % 5}/module_{number}.py": text})
    else:
        with tarfile.open(source) as archive:
            archive.extractall(root, filter="data")
    git.make_repository(root, {".gitignore": "*.log\n__pycache__/\n", "notes.txt": "one\n"})
    _live_in(root)
    return root


def _live_in(root):
    """Leave what a person leaves in a repository: branches, a stash, hooks, and work that is not committed."""
    git.run(root, "branch", "other")
    git.run(root, "tag", "v1")
    git.write(root, {"notes.txt": "put aside\n"})
    git.run(root, "stash")
    git.write(root, {"notes.txt": "staged\n"})
    git.run(root, "add", "notes.txt")
    git.write(root, {"notes.txt": "edited\n", "untracked é.txt": "mine\n", "ignored.log": "mine\n"})
    git.run(root, "config", "user.name", "Ada")
    hooks = root / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{root}/hook {name} ran'\n")
        (hooks / name).chmod(git.EXECUTABLE)


@dataclass(frozen=True)
class Plan:
    """What each agent shall do, and which marks its change has to leave, each on one line."""

    agents: list[dict[str, object]]
    marks: list[set[str]]
    spoilers: set[int]
    stubborn: set[int]

    def goal(self, file):
        """What to ask the swarm for."""
        file.write_text(json.dumps(self.agents))
        return f"Campaign {file}"


def make_plan(root, agents, seed):
    """Each agent changes its own files; of each three, a neighbour changes one in the same region and one elsewhere.

    One of ten hands in what the check does not let pass, and mends it; one of twenty does not mend it.
    """
    chance = random.Random(seed)
    files = chance.sample(_suitable(root), agents * EACH)
    edits = [[] for _ in range(agents)]
    for number, file in enumerate(files):
        owner, neighbour = number // EACH, (number // EACH + 1) % agents
        edits[owner].append((file, number, "$"))
        if number % 3 < 2:
            edits[neighbour].append((file, number, "$" if number % 3 == 0 else "1"))
    made, marks, stubborn = [], [], {agent for agent in range(agents) if agent % 20 == 8}
    spoilers = stubborn | {agent for agent in range(agents) if agent % 10 == 3}
    for agent, own in enumerate(edits):
        commands = [_insert(agent, *edit) for edit in own]
        fresh = f"campaign_{agent}.py"
        commands.append(f"echo '# change {agent} {len(files)} here' > {fresh}")
        if agent % 5 == 4:  # one of its own files gets another name, whoever else changes it
            old = files[agent * EACH + EACH - 1]
            new = old.removesuffix(".py") + "_renamed.py"
            commands.append(f"if [ -e {shlex.quote(old)} ]; then mv {shlex.quote(old)} {shlex.quote(new)}; fi")
        if agent in spoilers:
            commands.append(f"grep -q spoils {fresh} || echo 'this spoils it' >> {fresh}")
        half = len(commands) // 2
        made.append(
            {"commands": ["\n".join(commands[:half]), "\n".join(commands[half:])], "stubborn": agent in stubborn}
        )
        marks.append({f"{agent} {number}" for _, number, _ in own} | {f"{agent} {len(files)}"})
    return Plan(made, marks, spoilers, stubborn)


def _suitable(root):
    """Files of Python that are long enough."""
    names = [name for name in git.run(root, "ls-files", "-z", "*.py").split("\0") if name]
    found = []
    for name in names:
        text = Path(root, name).read_bytes()
        lines = text.splitlines()
        try:
            compile(text + b"\n# end\n", name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if len(lines) >= LINES and not lines[0].endswith(b"\\") and not lines[0].startswith((b"#!", b"# -*-")):
            found.append(name)
    return found


def _insert(agent, file, number, where):
    """Insert the agent's mark after a line, unless it is there: a successor may run this once more."""
    mark, quoted = f"# change {agent} {number} ", shlex.quote(file)
    return f"grep -qF '{mark}' {quoted} || sed -i '{where}a {mark}was here' {quoted}"


# --- what must be true in the end


def task_numbers(store, plan):
    """Agent of the plan -> task."""
    rows = store.rows("select id, title from task where title like 'Change %'")
    numbers = {int(row["title"].split()[-1]): row["id"] for row in rows}
    assert sorted(numbers) == list(range(len(plan.agents)))
    return numbers


def marks_in(root, commit):
    """How often each mark stands in the files of a commit."""
    lines = git.run(root, "grep", "-h", "-I", "# change ", commit, "--", "*.py", fails=True)
    return Counter(MARK.findall(lines))


def whole_at_every_commit(root, branch, plan, tasks, folder, *, first_parent):
    """Each commit holds what its task and all before it did, once, and passes the check; who is merged.

    `first_parent`: the second side of a merge commit, whose tasks were checked together, need not pass.
    """
    agents = {task: agent for agent, task in tasks.items()}
    form = "--format=%H %P%x00%(trailers:key=Prong-Task,valueonly,separator=%x2c)"
    held = {}
    checked = git.run(root, "rev-list", *(["--first-parent"] if first_parent else []), f"main..{branch}").split()
    git.run(root, "clone", "-q", "--shared", "--no-checkout", str(root), str(folder))
    for line in git.run(root, "log", "--reverse", "--topo-order", form, f"main..{branch}").splitlines():
        names, _, values = line.partition("\0")
        commit, *parents = names.split()
        before = set().union(*(held.get(parent, ()) for parent in parents))
        new = {agents[int(value)] for value in values.split(",") if value}
        assert not new & before, f"{commit} merges {new} once more"
        held[commit] = before | new
        assert marks_in(root, commit) == Counter(mark for one in held[commit] for mark in plan.marks[one]), commit
        if commit in checked:
            _passes(folder, commit)
    return held[git.run(root, "rev-parse", branch)] if held else set()


def _passes(folder, commit):
    git.run(folder, "checkout", "-q", "--detach", commit)
    done = subprocess.run(["sh", "-c", CHECK], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{commit} does not pass the check: {done.stderr}"


def kept_and_named(store, plan, tasks, merged, *, root, report):
    """Who is not merged is kept whole on a branch of its own that the report names."""
    for agent in set(tasks) - merged:
        task = store.row("select * from task where id = :task", task=tasks[agent])
        branch = task["kept_branch"]
        assert task["state"] == "failed"
        assert branch, f"task {task['id']} failed and is not kept: {task['error']}"
        assert branch in report
        assert branch in (store.directory / "reports" / f"task-{task['id']}.md").read_text()
        own = dict.fromkeys(plan.marks[agent], 1)
        assert {mark: count for mark, count in marks_in(root, branch).items() if mark in own} == own
    for agent in merged:
        assert store.row("select state from task where id = :task", task=tasks[agent])["state"] == "done"
