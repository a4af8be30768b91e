"""A small honest swarm: threads instead of processes, but every tool call of the script is really done.

Clones are clones, `bash` is bash, locks and barriers block.  What it leaves out is all that the harness is for: leases,
crash recovery, scheduling, merging.  Restarts are played by `faults`, which lose a call or its result.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prong.agents.emulator.script import Request, Text
from prong.agents.emulator.survey import SCRIPTS

RESTARTED = "the agent was restarted while this command ran; it may have run partly"
ORDERED = {"lock", "barrier", "wait_tasks"}
GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]


class Failed(Exception):
    """A tool call that ends as an error."""


class Died(Exception):
    """The end of an agent that is not started again."""


class Siblings:
    """A barrier for those that were forked together; it breaks for good when one of them ends."""

    def __init__(self, parties):
        self.parties, self.arrived, self.round, self.broken = parties, 0, 0, False
        self.changed = threading.Condition()

    def wait(self, timeout):
        with self.changed:
            mine, index = self.round, self.arrived
            self.arrived += 1
            if self.arrived == self.parties:
                self.round, self.arrived = self.round + 1, 0
                self.changed.notify_all()
            self.changed.wait_for(lambda: self.broken or self.round > mine, timeout)
            if self.round == mine:
                self.arrived -= 1
                raise Failed("the barrier is broken: a party has ended")
            return {"round": self.round, "index": index, "parties": self.parties}

    def end(self):
        with self.changed:
            self.broken = True
            self.changed.notify_all()


class Agent(threading.Thread):
    """One conversation on one clone."""

    def __init__(self, swarm, task, messages, title, siblings):
        super().__init__(name=f"task {task}")
        self.swarm, self.task, self.messages, self.title, self.siblings = swarm, task, messages, title, siblings
        self.clone = swarm.directory / f"clone-{task}"
        self.state, self.result, self.held = "running", None, []

    def run(self):
        try:
            git(self.swarm.directory, "clone", "-q", "--shared", str(self.swarm.repository), str(self.clone))
            while self.result is None:
                self.turn()
            self.state = "done"
        except BaseException as error:  # noqa: BLE001 - the test that joins this thread raises it again
            self.state, self.result = "failed", f"{type(error).__name__}: {error}"
            if not isinstance(error, Died):
                self.swarm.errors.append(error)
        finally:
            self.give_back()
            self.siblings.end()

    def turn(self):
        reply = self.swarm.play(Request(body={}, messages=wire(self.messages)))
        calls = [block for block in reply.blocks if not isinstance(block, Text)]
        if not calls:
            self.result = "".join(block.text for block in reply.blocks)
            self.messages.append({"role": "assistant", "content": [{"type": "text", "text": self.result}]})
            return
        self.swarm.turns[self.task] += 1
        start = sum(len(message["content"]) for message in self.messages)
        ids = [f"call_{self.task}_{start + i}" for i in range(len(calls))]
        uses = [
            {"type": "tool_use", "id": i, "name": c.name, "input": dict(c.input)}
            for i, c in zip(ids, calls, strict=True)
        ]
        text = [{"type": "text", "text": block.text} for block in reply.blocks if isinstance(block, Text)]
        self.messages.append({"role": "assistant", "content": text + uses})
        results = self.perform(wire(uses))
        self.messages.append({"role": "user", "content": results})
        self.swarm.fork(self, uses, results)
        self.give_back()

    def give_back(self):
        while self.held:
            self.held.pop().release()

    def perform(self, uses):
        """Run the calls at once, each ordered one after those before it and before those behind it."""
        with ThreadPoolExecutor(max_workers=len(uses)) as pool:
            begun = []
            for use in uses:
                if use["name"] in ORDERED:
                    for future in begun:
                        future.result()
                begun.append(pool.submit(self.call, use))
                if use["name"] in ORDERED:
                    begun[-1].result()
            return [future.result() for future in begun]

    def call(self, use):
        result = {"type": "tool_result", "tool_use_id": use["id"]}
        fault = self.swarm.fault_of(self.task, use)
        if fault == "die":
            raise Died(f"task {self.task} was killed")
        try:
            lost = fault == "before" or (fault and use["name"] == "create_task")
            text = RESTARTED if lost else getattr(self.swarm, use["name"])(self, **use["input"])
        except Failed as error:
            return {**result, "content": str(error), "is_error": True}
        return {**result, "content": RESTARTED, "is_error": True} if fault else {**result, "content": text}


class Swarm:
    """The tools, and what the agents share."""

    def __init__(self, repository, directory, faults=lambda _task, _use, _nth: None):
        self.repository, self.directory, self.faults = repository, directory, faults
        self.shared = directory / "shared"
        self.shared.mkdir(parents=True)
        self.play = SCRIPTS[0].play
        self.guard = threading.Lock()
        self.agents, self.errors, self.turns, self.calls = {}, [], Counter(), Counter()
        self.numbers = itertools.count(10)
        self.maps, self.queues, self.locks = defaultdict(dict), defaultdict(list), {}

    def run(self, goal="Survey this repository"):
        """Play the root to its end and return it."""
        messages = [{"role": "user", "content": [{"type": "text", "text": goal}]}]
        root = self.agents[1] = Agent(self, 1, messages, "Root", Siblings(1))
        root.start()
        root.join()
        for agent in list(self.agents.values()):
            agent.join()
        if self.errors:
            raise self.errors[0]
        return root

    def fault_of(self, task, use):
        with self.guard:
            key = (task, use["name"], label(use))
            self.calls[key] += 1
            return self.faults(task, label(use), self.calls[key])

    def fork(self, parent, uses, results):
        made = {i: data(result)["task"] for i, result in enumerate(results) if is_made(uses[i], result)}
        siblings = Siblings(len(made))
        for mine, task in made.items():
            told = []
            for i, result in enumerate(results):
                text = "… running elsewhere …"
                if i == mine:
                    text = f"You are task {task}: {uses[i]['input']['title']}. Work.\n" + json.dumps(
                        {"task": task, "you": True}
                    )
                told.append({**result, "content": text} if i in made else result)
            messages = [*parent.messages[:-1], {"role": "user", "content": told}]
            self.agents[task] = Agent(self, task, messages, uses[mine]["input"]["title"], siblings)
        for task in made.values():
            self.agents[task].start()

    # The tools.

    def bash(self, agent, command):
        environment = {**os.environ, "PRONG_SHARED": str(self.shared), "TMPDIR": str(self.directory)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        ran = subprocess.run(
            ["bash", "-c", command], cwd=agent.clone, env=environment, capture_output=True, check=False
        )
        text = (ran.stdout + ran.stderr).decode(errors="replace")
        assert len(text) <= 30_000
        return text + (f"\n[exit code {ran.returncode}]" if ran.returncode else "")

    def grep(self, agent, pattern, mode, max_results, path="."):
        assert (mode, max_results) == ("count", 50)
        assert (agent.clone / path).is_dir()
        found = git(agent.clone, "grep", "-c", "-E", pattern, "--", f":(literal){path}", check=False)
        return said("Counted.", {"lines": found.decode(errors="replace").splitlines()})

    def str_replace_based_edit_tool(self, agent, command, path, file_text):
        assert command == "create"
        (agent.clone / path).write_text(file_text, "utf-8")
        return "Created."

    def create_task(self, agent, title, prompt, context):
        assert (context, bool(agent)) == ("fork", True)
        assert len(title) < 100
        assert len(prompt) < 150
        with self.guard:
            task = next(self.numbers)
        return said(f"Created task {task}.", {"task": task, "title": title})

    def wait_tasks(self, _agent, tasks, mode):
        assert mode == "all"
        for task in tasks:
            self.agents[task].join()
        rows = [{"task": task, "state": self.agents[task].state, "result": self.agents[task].result} for task in tasks]
        return said("All have ended.", {"tasks": rows})

    def lock(self, agent, op, name, timeout=None):
        with self.guard:
            lock = self.locks.setdefault(name, threading.Lock())
        if op == "release":
            if lock not in agent.held:
                raise Failed(f"task {agent.task} does not hold {name}")
            agent.held.remove(lock)
            lock.release()
        elif not lock.acquire(timeout=timeout):
            raise Failed(f"gave up on {name}")
        else:
            agent.held.append(lock)
        return said(f"Done: {op} {name}.", {"name": name})

    def barrier(self, agent, op, name, parties, timeout):
        assert (op, parties) == ("wait", "siblings")
        assert name.startswith("survey-measured")
        return said("The barrier opened.", agent.siblings.wait(timeout))

    def shared_map(self, _agent, op, map, key=None, value=None, prefix=""):
        with self.guard:
            store = self.maps[map]
            if op == "put":
                assert len(json.dumps(value)) < 256 * 1024
                store[key] = value
                return said("Put.", {"key": key, "version": 1})
            if op == "items":
                items = {name: store[name] for name in sorted(store) if name.startswith(prefix)}
                return said("These are there.", {"items": items, "count": len(items)})
            if key not in store:
                raise Failed(f"no {key} in {map}")
            return said("It is there.", {"key": key, "value": store[key], "version": 1})

    def message_queue(self, agent, *, op, queue, message=None, count=1, timeout=None):
        with self.guard:
            waiting = self.queues[queue]
            if op == "put":
                waiting.append({"message": message, "from": f"task {agent.task}"})
                return said("Put.", {"size": len(waiting)})
            assert timeout == 0
            taken = [waiting.pop(0) for _ in range(min(count, len(waiting)))]
            return said(f"{len(taken)} messages.", {"messages": taken})


def label(use):
    """A call in a word or two: what faults are told by."""
    given = use["input"]
    if use["name"] == "bash":
        command = given["command"].rpartition("\n")[2]
        return next(word for word in ("list", "part", "index ", "cat ") if word in command).strip()
    if use["name"] == "create_task":
        return given["title"]
    what = given.get("op") or given.get("command") or ""
    name = (given.get("key") or given.get("prefix") or "").partition("/")[0]
    return " ".join(word for word in (use["name"], what, name) if word)


def said(words, value):
    return f"{words}\n{json.dumps(value)}"


def data(result):
    return json.loads(result["content"].rpartition("\n")[2])


def is_made(use, result):
    return use["name"] == "create_task" and not result.get("is_error")


def wire(value):
    """As it comes over the wire: encoded as strict UTF-8 and decoded again."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode())


def git(directory, *arguments, check=True):
    ran = subprocess.run([*GIT, *arguments], cwd=directory, capture_output=True, check=False)
    assert not check or not ran.returncode, ran.stderr
    return ran.stdout


@pytest.fixture(scope="session")
def make_repository(tmp_path_factory):
    """Make a repository of these files, named as text or as bytes, with text or bytes in them."""

    def make(files, name="repository"):
        directory = tmp_path_factory.mktemp("made") / name
        for path, content in {".git/keep": "", **files}.items():
            place = os.path.join(os.fsencode(directory), os.fsencode(path))  # noqa: PTH118 - pathlib takes no bytes
            os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib takes no bytes
            with open(place, "wb") as file:  # noqa: PTH123 - pathlib takes no bytes
                file.write(content.encode() if isinstance(content, str) else content)
        return commit(directory)

    return make


@pytest.fixture(scope="session")
def make_swarm(tmp_path_factory):
    """Make a swarm on a repository."""
    return lambda repository, **options: Swarm(repository, tmp_path_factory.mktemp("swarm"), **options)


def commit(directory):
    """Make a repository of a folder and all that is in it."""
    git(directory, "init", "-q")
    git(directory, "add", "-A", "-f")
    git(directory, "commit", "-q", "--allow-empty", "-m", "all")
    return directory


@pytest.fixture(name="commit", scope="session")
def commit_fixture():
    """Make a repository of a folder and all that is in it."""
    return commit


@pytest.fixture(name="git", scope="session")
def git_fixture():
    """Run git in a folder and return what it prints."""
    return git
