"""What tests that torment swarms have in common: a swarm on the real command, whom to strike, and what must be true."""

import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from prong.agents.conversation import load
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find
from prong.state import ProngError

from . import repositories as git
from .endurance_scripts import LINES
from .swarming import eventually, logs, start

SCRIPTS = Path(__file__).with_name("endurance_scripts.py")
PATIENCE_S = 100
FINAL = ("done", "failed", "cancelled")


class Swarm:
    """A swarm that runs in a process of its own, and may be resumed in another."""

    def __init__(self, root, *arguments, **environment):
        self.root = root
        self._environment = environment
        self.process = start("run", "--json", *arguments, cwd=root, **environment)
        self.store = eventually(self._store, "a swarm")
        self.shared = self.store.directory / "shared"

    def _store(self):
        assert self.process.poll() is None, self.process.stderr.read()
        try:
            return find(Repository.open(self.root), None).store()
        except ProngError:  # it is being made just now
            return None

    def resume(self):
        """Go on in a new process; the one before must be gone."""
        self.process.communicate()
        self.process = start("resume", "--json", cwd=self.root, **self._environment)

    def end(self, code=0):
        """Wait for the end; the object that was printed."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == code, f"exit code {self.process.returncode}\n{err}\n{self.story()}"
        return json.loads(out)

    def value(self, sql, **values):
        return self.store.row(sql, **values)[0]

    def task(self, number):
        return self.store.row("select * from task where id = :task", task=number)

    def events(self, *kinds):
        rows = self.store.rows("select seq, task, agent, kind, data from event order by seq")
        return [row for row in rows if not kinds or row["kind"] in kinds]

    def messages(self):
        """Everything that was said, in order."""
        return [tuple(row) for row in self.store.rows("select id, parent, content from message order by id")]

    def until(self, sql, what, **values):
        """Wait until the first column of the first row is true."""

        def so():
            assert self.process.poll() is None, f"the swarm ended before {what}\n{self.story()}"
            row = self.store.row(sql, **values)
            return row is not None and row[0]

        return eventually(so, f"{what}\n{self.story()}", patience_s=PATIENCE_S)

    def story(self):
        """For whom a test fails: what is open, what happened last, and what was printed."""
        tasks = [tuple(row) for row in self.store.rows("select id, state, held, attempt, agent, error from task")]
        last = [tuple(row) for row in self.store.rows("select * from event order by seq desc limit 40")]
        return "\n".join(map(str, [*tasks, *reversed(last)])) + logs(self.root)[-5_000:]

    def nursery(self):
        """The process from which this swarm's agents are forked now; None while there is none."""
        with suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children()
            return next((one for one in found if "prong.harness.agent" in one.cmdline()), None)
        return None

    def emulator(self):
        with suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children()
            return next((one for one in found if "prong.agents.emulator" in one.cmdline()), None)
        return None

    def agents(self):
        """The processes of this swarm's agents."""
        nursery = self.nursery()
        if nursery is None:
            return []
        found = []
        with suppress(psutil.Error):
            command = nursery.cmdline()
            for one in nursery.children():
                with suppress(psutil.Error):  # it has just died
                    found += [one] * (one.cmdline() == command)
        return found


@contextmanager
def swarm(root, *arguments, **environment):
    """A swarm, of which nothing is left afterwards."""
    made = Swarm(root, *arguments, **environment)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.send_signal(signal.SIGCONT)
            made.process.send_signal(signal.SIGINT)
        made.process.communicate(timeout=60)
        made.store.close()


# --- what must be true in the end


def parts_on_branch(root, branch):
    """The content of every file that the swarm has added to its branch."""
    return {name: text.decode() for name, (_, text) in git.files_of(root, branch).items() if name != "plain.txt"}


def parts(count):
    """What as many parts must hold, each line once and in order."""
    return {
        f"part-{part}.txt": "".join(f"line {line} of part {part}\n" for line in range(LINES)) for part in range(count)
    }


def merged(root, branch):
    """The task of every commit on the branch, in number order."""
    log = git.run(root, "log", "--format=%(trailers:key=Prong-Task,valueonly)", f"main..{branch}")
    return sorted(int(number) for number in log.split())


def violations(store):
    """What a process did for a task after its successor had begun, and what is missing or double in a conversation."""
    found = [*_stale_events(store), *_stale_calls(store)]
    for row in store.rows("select id, head, fork_point from task"):
        found += _broken_conversation(store, row)
    return found


def _stale_events(store):
    """Every entry of the log that an agent wrote when its task was another's, or when it was dead or asleep itself."""
    task_of = {row["id"]: row["task"] for row in store.rows("select id, task from agent")}
    holder, gone, asleep = {}, set(), set()
    for row in store.rows("select seq, agent, task, kind, object, data from event order by seq"):
        agent, task, kind = row["agent"], row["task"], row["kind"]
        if kind == "task.claimed":
            holder[task] = json.loads(row["data"])["holder"]
        elif kind in ("agent.dead", "agent.ended"):
            gone.add(int(row["object"]))
        elif kind == "agent.asleep":
            asleep.add(int(row["object"]))
        elif kind == "task.unparked":
            asleep.discard(holder.get(task))
        own = agent is not None and task is not None and task == task_of[agent]
        if own and (agent in gone | asleep or agent != holder.get(task)):
            yield f"event {row['seq']} {kind} of agent {agent} for task {task}"


def _stale_calls(store):
    """Every call of the model that was written down for an agent after one of a later agent."""
    latest = {}
    for row in store.rows("select id, task, agent from model_call order by id"):
        if row["agent"] < latest.get(row["task"], 0):
            yield f"model call {row['id']} of agent {row['agent']} for task {row['task']}"
        latest[row["task"]] = row["agent"]


def _broken_conversation(store, task):
    """A conversation is one line that holds every message of its task, each answer with the one call that made it."""
    line = load(store, task["head"])
    own = [row["id"] for row in store.rows("select id from message where task = :task order by id", task=task["id"])]
    if [message.id for message in line if message.id in set(own)] != own:
        yield f"task {task['id']} has messages {own}, and its conversation is {[message.id for message in line]}"
    answers = [message.id for message in line if message.id in set(own) and message.role == "assistant"]
    called = [
        row["message"]
        for row in store.rows(
            "select message from model_call where task = :t and message > 0 order by id", t=task["id"]
        )
    ]
    if called != answers:
        yield f"task {task['id']} has answers {answers}, and its calls of the model made {called}"
    roles = [message.role for message in line if message.role != "system"]
    if any(one == other for one, other in itertools.pairwise(roles)):
        yield f"task {task['id']} has two messages of one role side by side: {roles}"


# --- chaos


STRIKES = {
    "agent killed": 50, "agent stopped": 16, "nursery killed": 2, "nursery stopped": 6, "emulator killed": 3,
    "supervisor stopped": 6, "supervisor killed": 4, "supervisor and nursery killed": 2,
    "supervisor killed, all others stopped": 2,
}  # fmt: skip
"""What may happen, and how often in proportion."""

LIVES_ENDED = ("supervisor killed", "supervisor and nursery killed", "supervisor killed, all others stopped")

SPARED_FROM = 3
"""From how many deaths in a row without a new message a task's agent is spared, or the task would be poisoned."""


class Chaos:
    """Strikes a swarm's processes at random; the same seed strikes alike as far as the swarm runs alike."""

    def __init__(self, seed, longest_stop_s, strikes=STRIKES):
        self.struck = Counter()
        self._strikes = strikes
        self._random = random.Random(seed)
        self._longest_stop_s = longest_stop_s
        self._stopped = []  # (when it goes on, the process)
        self._pause = threading.Event()

    def strike(self, swarm):
        """Once, after a pause; and let those go on whose time has come."""
        self.rest(self._random.uniform(0.02, 0.6))
        self._continue(time.monotonic())
        (kind,) = self._random.choices(list(self._strikes), weights=list(self._strikes.values()))
        whom, _, how = kind.rpartition(" ")
        try:
            if kind in LIVES_ENDED:
                done = self._kill_supervisor(swarm, kind)
            else:
                done = self._signal(swarm, whom, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        except psutil.NoSuchProcess:
            return
        self.struck[kind] += done

    def rest(self, seconds):
        """Let the swarm work for a while."""
        self._pause.wait(seconds)

    def end(self):
        """Everybody goes on."""
        self._continue(float("inf"))

    def _signal(self, swarm, whom, number):
        process = self._pick(swarm, whom)
        if process is None or swarm.process.poll() is not None:
            return 0
        process.send_signal(number)
        if number == signal.SIGSTOP:
            self._stop_until(process, self._longest_stop_s if whom == "agent" else 1.0)
        return 1

    def _pick(self, swarm, whom):
        if whom == "agent":
            stalled = swarm.store.rows(
                "select pid from agent join task on task.id = agent.task"
                " where stalled >= :most and agent.ended_at is null",
                most=SPARED_FROM,
            )
            spared = {row["pid"] for row in stalled}
            agents = [one for one in swarm.agents() if one.pid not in spared]
            return self._random.choice(agents) if agents else None
        if whom == "supervisor":
            return psutil.Process(swarm.process.pid)
        if whom == "nursery":
            return swarm.nursery()
        return swarm.emulator() if swarm.agents() else None  # without one from the start there is no run

    def _stop_until(self, process, longest_s):
        self._stopped.append((time.monotonic() + self._random.uniform(0.05, longest_s), process))

    def _kill_supervisor(self, swarm, kind):
        """And resume at once, while the processes of its former life may still be there."""
        if swarm.process.poll() is not None:
            return 0
        nursery = swarm.nursery()
        if nursery is not None and kind.endswith("stopped"):
            for process in (nursery, *swarm.agents()):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
                    self._stop_until(process, 5.0)
        if nursery is not None and "nursery killed" in kind:
            nursery.kill()
        os.kill(swarm.process.pid, signal.SIGKILL)
        swarm.resume()
        return 1

    def _continue(self, now):
        for one in [one for one in self._stopped if one[0] <= now]:
            self._stopped.remove(one)
            with suppress(psutil.NoSuchProcess):
                one[1].send_signal(signal.SIGCONT)
