"""Steering a swarm that runs: what a person does to it, in real processes, and what becomes of it."""

import json
import os
import signal
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest

from prong.harness import control
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find
from prong.primitives import holdings
from prong.state import ProngError
from prong.state.member import enlist

from . import repositories as git
from .swarming import eventually, logs, prong, runs, start

SCRIPTS = Path(__file__).with_name("steering_scripts.py")


class Running:
    """A swarm that runs in a process of its own."""

    def __init__(self, root, *arguments):
        self.root = root
        self.process = start("run", "--offline", "--script", SCRIPTS, *arguments, cwd=root)
        self.store = eventually(self._store, "a swarm")
        self.shared = self.store.directory / "shared"

    def _store(self):
        try:
            return find(Repository.open(self.root), None).store()
        except ProngError:  # it is being made just now
            return None

    def task(self, number):
        return self.store.row("select * from task where id = :task", task=number)

    def until(self, number, what, **columns):
        def so():
            row = self.task(number)
            return row if row is not None and all(row[name] == value for name, value in columns.items()) else None

        return eventually(so, f"{what}\n{logs(self.root)}")

    def until_it_runs_bash(self, number):
        """Until the bash call of turn `number` of the script with turns is under way."""
        eventually(lambda: self._began() >= number, f"turn {number}")

    def _began(self):
        row = self.store.row("select count(*) as number from event where kind = 'tool.began' and object = 'bash'")
        return row["number"]

    def let(self, turn):
        (self.shared / str(turn)).touch()

    def came(self):
        file = self.shared / "came"
        return file.read_text().split() if file.exists() else []

    def command(self, kind):
        rows = self.store.rows("select data from event where kind = :kind", kind=f"command.{kind}")
        return [json.loads(row["data"]) for row in rows]

    def end(self, code=0):
        out, err = self.process.communicate(timeout=90)
        assert self.process.returncode == code, out + err + logs(self.root)
        return out


@pytest.fixture
def running(root):
    """Starts swarms; they are stopped afterwards."""

    @contextmanager
    def running(*arguments):
        swarm = Running(root, *arguments)
        try:
            yield swarm
        finally:
            if swarm.process.poll() is None:
                swarm.process.send_signal(signal.SIGINT)
            swarm.process.communicate(timeout=60)

    return running


def test_a_paused_swarm_stands_still_after_the_turn_and_goes_on_where_it_was(running, root):
    with running("Turn after turn") as swarm:
        swarm.until_it_runs_bash(1)
        assert json.loads(prong("pause", "--json", cwd=root).stdout)["whole_swarm"] is True
        swarm.let(1)
        swarm.until(1, "stepping aside", state="ready")
        assert swarm.process.poll() is None
        assert "The swarm is paused" in prong("why", "1", cwd=root).stdout
        assert json.loads(prong("status", "--json", cwd=root).stdout)["paused"] is True
        prong("resume", cwd=root)
        for turn in (2, 3):
            swarm.let(turn)
        swarm.end()
        assert swarm.came() == ["1", "2", "3"]
        assert swarm.task(1)["failures"] == 0
        assert swarm.task(1)["stalled"] == 0
        assert [one["pid"] > 0 and bool(one["user"]) for one in swarm.command("pause")] == [True]


@pytest.mark.long
def test_a_paused_task_stands_still_and_others_go_on(running, root):
    with running("Lead two") as swarm:
        swarm.until_it_runs_bash(1)
        assert json.loads(prong("pause", "2", "--json", cwd=root).stdout)["paused"] == [2]
        swarm.let(1)
        swarm.until(2, "stepping aside", state="ready", paused=1)
        assert "was paused before" in prong("pause", "2", cwd=root).stdout
        assert "prong resume --task 2" in prong("why", "2", cwd=root).stdout
        assert swarm.task(1)["state"] == "parked"
        assert "task 2 may go on" in prong("resume", "--task", "2", cwd=root).stdout
        for turn in (2, 3):
            swarm.let(turn)
        swarm.end()
        assert swarm.came() == ["1", "2", "3"]


@pytest.mark.long
def test_a_swarm_that_was_stopped_while_paused_goes_on_with_resume(running, root):
    with running("Turn after turn") as swarm:
        swarm.until_it_runs_bash(1)
        prong("pause", cwd=root)
        swarm.process.send_signal(signal.SIGINT)
        swarm.end(130)
        for turn in (1, 2, 3):
            swarm.let(turn)
        assert json.loads(prong("resume", "--json", cwd=root).stdout)["state"] == "done"


def test_a_killed_agent_is_replaced_without_blame(running, root):
    with running("Turn after turn") as swarm:
        swarm.until_it_runs_bash(1)
        killed = json.loads(prong("kill", "1", "--json", cwd=root).stdout)
        assert killed["task"] == 1
        assert not psutil.pid_exists(killed["pid"])
        swarm.until(1, "another attempt", attempt=2)
        assert swarm.task(1)["stalled"] == 0
        row = swarm.store.row("select state, reason from agent where id = :agent", agent=killed["agent"])
        assert tuple(row) == ("dead", "killed by command")
        agent = eventually(lambda: swarm.task(1)["agent"], "another agent")
        eventually(lambda: swarm.store.row("select pid from agent where id = :id", id=agent)["pid"], "its process")
        prong("kill", "--agent", agent, cwd=root)
        for turn in (1, 2, 3):
            swarm.let(turn)
        swarm.end()
        assert swarm.command("kill")[0]["process"] == killed["pid"]
        assert "has ended" in prong("kill", "--agent", agent, cwd=root, code=2).stderr


@pytest.mark.long
def test_a_stranger_that_bears_the_number_of_an_agents_process_is_not_killed(running, root):
    with running("Turn after turn") as swarm:
        swarm.until_it_runs_bash(1)
        agent = swarm.task(1)["agent"]
        before = swarm.store.row("select pid from agent where id = :agent", agent=agent)["pid"]
        stranger = start("emulator", "--help", cwd=root)
        tool = psutil.Process(before).children()[0].pid  # a process of the swarm's that is no agent
        for pid in (os.getpid(), swarm.process.pid, stranger.pid, tool):
            with swarm.store.transaction(None) as tx:
                tx.execute("update agent set pid = :pid where id = :agent", pid=pid, agent=agent)
            refused = prong("kill", "1", cwd=root, code=2)
            assert "is not its process" in refused.stderr or "is gone" in refused.stderr
        assert psutil.pid_exists(tool)
        assert swarm.process.poll() is None
        row = swarm.store.row("select reason, ended_at from agent where id = :agent", agent=agent)
        assert tuple(row) == (None, None)
        stranger.communicate(timeout=30)


def test_cancel_returns_when_even_what_does_not_heed_a_polite_end_is_gone(running, root):
    with running("Stubborn") as swarm:
        eventually(lambda: runs(root, "984"), "the sleeping command")
        agent = swarm.store.row("select pid from agent where id = :agent", agent=swarm.task(1)["agent"])
        assert json.loads(prong("cancel", "1", "--json", cwd=root).stdout) == {"cancelled": [1]}
        assert not psutil.pid_exists(agent["pid"])
        assert not runs(root, "984")
        assert not runs(root, "983")
        swarm.end(1)


@pytest.mark.long
def test_cancel_needs_no_supervisor_that_listens(running, root):
    """Goal: a cancel ends processes although the supervisor does not.  Method: it is stopped meanwhile."""
    with running("Turn after turn") as swarm:
        swarm.until_it_runs_bash(1)
        agent = swarm.store.row("select pid from agent where id = :agent", agent=swarm.task(1)["agent"])
        swarm.process.send_signal(signal.SIGSTOP)
        try:
            assert "cancelled task 1" in prong("cancel", "1", cwd=root).stdout
            assert not psutil.pid_exists(agent["pid"]) or psutil.Process(agent["pid"]).status() == "zombie"
        finally:
            swarm.process.send_signal(signal.SIGCONT)
        swarm.end(1)


def test_cancel_does_not_wait_for_a_process_that_is_another_agent_by_now(store, monkeypatch):
    """Goal: nobody is told that a process is still there which does another's work.  Method: this one plays it."""
    with store.transaction(None) as tx:
        gone, here = (enlist(tx, name, pid=os.getpid(), task=None, state="running", lease_s=60) for name in ("a", "b"))
        holdings.bury(tx, gone, state="ended", reason="its task was paused", task=None)
    monkeypatch.setattr(control, "is_supervised", lambda _: True)
    monkeypatch.setattr(control, "CONFIRM_S", 0.1)
    for agent, left in ((gone, False), (here, True)):
        monkeypatch.setattr(control, "_processes", lambda *_, agent=agent: [(agent, psutil.Process())])
        with pytest.raises(control.StillThere) if left else nullcontext():
            control._confirm_end(store, store.rows("select id, pid from agent where id = :agent", agent=agent))


def test_a_retried_task_is_told_why_and_its_dependants_follow(running, root):
    with running("Ask one that declines") as swarm:
        swarm.end(1)
    assert [swarm.task(number)["state"] for number in (1, 2, 3)] == ["done", "failed", "failed"]
    assert "retry that first" in prong("retry", "3", cwd=root, code=2).stderr
    opened = prong("retry", "2", "--with-dependants", cwd=root).stdout
    assert "opened tasks 2 and 3" in opened
    assert f"prong resume {swarm.store.directory.name}" in opened
    assert json.loads(prong("status", "--json", cwd=root).stdout)["tasks"]["ready"] == 1
    answer = json.loads(prong("resume", "--json", cwd=root).stdout)
    assert answer["state"] == "done"
    assert "You are asked to try again. The last attempt ended with: the model refused" in swarm.task(2)["result"]
    assert git.files_of(root, answer["branch"])["after.txt"][1] == b"after\n"
    assert swarm.command("retry")[0]["tasks"] == [2, 3]
    assert prong("resume", cwd=root).returncode == 0


@pytest.mark.long
def test_a_retry_alone_leaves_the_dependants_failed(running, root):
    with running("Ask one that declines") as swarm:
        swarm.end(1)
    assert json.loads(prong("retry", "2", "--json", cwd=root).stdout)["opened"] == [2]
    prong("resume", cwd=root, code=1)
    assert [swarm.task(number)["state"] for number in (2, 3)] == ["done", "failed"]


@pytest.mark.long
def test_the_priority_of_a_task_decides_who_goes_first(running, root):
    with running("--agents", "1", "Lead three") as swarm:
        swarm.until_it_runs_bash(1)
        assert "1 task stands before it" in prong("why", "4", cwd=root).stdout
        told = json.loads(prong("priority", "4", "-5", "--json", cwd=root).stdout)
        assert told == {"task": 4, "before": 0, "priority": -5}
        assert "task 4 has priority 9 now, -5 before" in prong("priority", "4", "9", cwd=root).stdout
        for turn in (1, 2, 3):
            swarm.let(turn)
        swarm.end()
        rows = swarm.store.rows("select task from event where kind = 'task.claimed' and task > 1 order by seq")
        assert [row["task"] for row in rows] == [2, 4, 3]
