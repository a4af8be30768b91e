"""Calls that a person is asked about, in real swarms: waited for without a slot, answered from another process."""

import json
import os
import pty
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from prong.harness import approvals
from prong.harness.permissions.permission import Judgement
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import Member, Membership, ProngError, Store
from prong.state.member import LEASE_S, enlist

from .swarming import environment, eventually, kill, logs, prong, start

SCRIPTS = Path(__file__).with_name("asking_scripts.py")


class Swarm:
    """A swarm of this repository, run by somebody."""

    def __init__(self, root):
        self.root = root
        self.store = eventually(self._store, "a swarm")

    def _store(self):
        try:
            return find(Repository.open(self.root), None).store()
        except ProngError:
            return None

    def task(self, number):
        return self.store.row("select * from task where id = :task", task=number)

    def until(self, condition, what):
        return eventually(condition, f"{what}\n{logs(self.root)}")

    def until_it_waits(self, task):
        """Until the task is parked for an approval; its agent."""
        row = self.until(
            lambda: self.store.row(
                "select waiter.agent from waiter join task on task.id = waiter.task"
                " where kind = 'approval' and waiter.state = 'waiting' and task.state = 'parked' and task.id = :task",
                task=task,
            ),
            f"task {task} to wait for an approval",
        )
        return row["agent"]

    def events(self, *kinds):
        rows = self.store.rows("select kind, data from event order by seq")
        return [(row["kind"], json.loads(row["data"])) for row in rows if row["kind"] in kinds]


@contextmanager
def in_terminal(*arguments, cwd):
    """`prong` with a terminal as its standard error, which somebody reads."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prong.harness", *map(str, arguments)],
        cwd=cwd, env=environment(TERM="xterm", COLUMNS="160"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    screen = []

    def read():
        try:
            while piece := os.read(ours, 65536):
                screen.append(piece.decode(errors="replace"))
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, screen
    finally:
        process.kill()
        process.communicate()
        reader.join()
        os.close(ours)


def test_an_agent_asks_waits_without_a_slot_is_approved_from_another_terminal_hears_an_operator_and_finishes(root):
    with in_terminal(
        "run", "--offline", "--script", SCRIPTS, "--agents", 1, "--parked", 0, "--ask", "bash(git push*)",
        "Ask and go on", cwd=root,
    ) as (process, screen):  # fmt: skip
        swarm = Swarm(root)
        swarm.until_it_waits(2)
        # With no room for processes that wait, its own is ended; whoever wakes it finds the call and the answer.
        swarm.until(lambda: swarm.task(2)["held"] == "asleep", "task 2 to sleep")
        # There is one slot, the parent waits in none, and who asks has none: the other child works and ends.
        swarm.until(lambda: (swarm.task(3) or {"state": ""})["state"] == "done", "task 3 to be done")
        # Nothing else can run now; with a terminal the run waits, and says for what.
        swarm.until(lambda: "prong approve 1" in "".join(screen), "the call on the screen")
        (waits,) = [json.loads(line) for line in prong("approve", "--json", cwd=root).stdout.splitlines()]
        assert (waits["id"], waits["task"], waits["tool"], waits["rule"]) == (1, 2, "bash", "bash(git push*)")
        assert waits["always"] == ["bash(git push origin main)"]
        assert "git push origin main" in prong("why", 2, cwd=root).stdout
        (shown,) = json.loads(prong("status", "--json", cwd=root).stdout)["approvals"]
        assert (shown["id"], shown["task"]) == (1, 2)
        assert "when its wait is over" in prong("send", 2, "Mind the gap", cwd=root).stdout
        assert "approved 1; task 2 goes on" in prong("approve", 1, cwd=root).stdout
        assert process.wait(timeout=90) == 0, logs(root)
    assert swarm.task(2)["result"] == 'push: pushed heard ["Mind the gap"]'
    assert swarm.task(3)["result"].endswith("heard []")
    told = swarm.events("approval.asked", "command.send", "command.approve", "message.heard")
    assert [kind for kind, _ in told] == ["approval.asked", "command.send", "command.approve", "message.heard"]
    assert told[2][1]["user"]


@pytest.mark.long
def test_an_approval_outlives_its_agent_and_its_supervisor_and_the_call_runs_once(root):
    with in_terminal(
        "run", "--offline", "--script", SCRIPTS, "--sandbox", "off", "--ask", "bash(git push*)", "Ask once", cwd=root
    ) as (process, _):
        swarm = Swarm(root)
        first = swarm.until_it_waits(1)
        prong("kill", 1, cwd=root)
        swarm.until(lambda: swarm.until_it_waits(1) != first, "another agent to wait")
        kill(process.pid)
        process.wait()
    assert [row["state"] for row in swarm.store.rows("select state from approval")] == ["waiting"]
    assert "Nobody runs the swarm now" in prong("approve", "--all", cwd=root).stdout
    assert "when it" in prong("send", "all", "Well done", cwd=root).stdout
    prong("resume", cwd=root)
    result = json.loads(swarm.task(1)["result"])
    assert (swarm.store.directory / "shared" / "ran").read_text() == "ran\n"
    assert result["heard"] == ["Well done"]
    assert len(swarm.events("command.approve", "message.heard")) == 2
    assert "is done, not still open" in prong("send", 1, "hello", cwd=root, code=2).stderr


def test_without_a_terminal_the_run_ends_with_code_4_and_people_alone_can_answer(root):
    rules = ("--ask", "bash(git push*)", "--deny", "bash(rm *)", "--deny", "read")
    done = prong("run", "--offline", "--script", SCRIPTS, "--json", *rules, "Ask twice", cwd=root, code=4)
    status = json.loads(done.stdout)
    assert status["state"] == "approval"
    assert status["approvals"][0]["asks"] == "make target0; git push origin branch"
    assert "prong approve 1" in prong("why", cwd=root).stdout
    assert "is for people" in prong("approve", "--all", cwd=root, code=2, PRONG_TASK="1").stderr
    hidden = subprocess.run(
        ["sh", "-c", f"env -u PRONG_TASK {sys.executable} -m prong.harness approve 1; true"],
        cwd=root, env=environment(PRONG_TASK="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "is for people" in hidden.stderr
    assert "there is no such call" in prong("approve", 7, cwd=root, code=2).stderr
    assert "bash(git push origin branch)" in prong("approve", 1, "--always", cwd=root).stdout
    assert "approved already" in prong("deny", 1, "--reason", "too late", cwd=root, code=2).stderr
    prong("resume", cwd=root)
    swarm = Swarm(root)
    result = swarm.task(1)["result"]
    assert "by the rule deny bash(rm *) ('rm -rf x')" in result
    assert "by the rule deny read" in result
    assert len(swarm.store.rows("select 1 from approval")) == 1  # the second call was let through by the new rule
    assert [data["rule"] for _, data in swarm.events("permission.denied")] == ["bash(rm *)", "read"]


@pytest.mark.long
def test_a_denied_call_does_not_run_and_its_model_reads_why(root):
    (root / "PRONG.md").write_text("---\npermissions:\n  ask: bash(git push*)\n---\n")
    done = prong("run", "--offline", "--script", SCRIPTS, "Ask once", cwd=root, code=4)
    assert "It needs a person" in done.stdout
    assert "\x1b" not in done.stdout + prong("approve", cwd=root).stdout
    assert r"git push \x1b[31mred" in done.stdout
    prong("deny", 1, "--reason", "Not on a Friday.", cwd=root)
    prong("resume", cwd=root)
    (text,) = json.loads(Swarm(root).task(1)["result"])["results"]
    assert "has denied this call, and says: Not on a Friday." in text
    assert not (Swarm(root).store.directory / "shared" / "ran").exists()


@pytest.mark.long
def test_an_agent_is_told_of_its_inbox_between_two_turns(root):
    process = start("run", "--offline", "--script", SCRIPTS, "Write to one another", cwd=root)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err + logs(root)
    result = Swarm(root).task(2)["result"]
    assert "1 message waits in your inbox" in result
    assert "the parser is yours" in result


@pytest.mark.parametrize("arguments", [("approve", 1, "--all"), ("approve", "--always"), ("send", "nobody", "hello")])
def test_what_makes_no_sense_is_refused(root, arguments):
    assert "Usage" in prong(*arguments, cwd=root, code=2).stderr


def test_an_answer_holds_for_that_call_alone_though_a_program_calls_another_by_the_same_name(tmp_path):
    store = Store(tmp_path)
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="one", prompt="one"))
        agent = enlist(tx, "task 1", pid=None, task=1, state="running", lease_s=LEASE_S)
        tasks.claim(tx, 1, agent)
    member = Membership(store, Member(agent, 1, 1))

    def ask(name):
        call = {"tool": "lock", "given": {"name": name}, "judgement": Judgement("ask")}
        return approvals.ask(member, key="1:0/lock=once", **call)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, "a")
        eventually(lambda: len(approvals.waiting(store)) == 1, "the first question")
        approvals.approve(store, [1])
        assert first.result() is None
        assert ask("a") is None, "the same call is not asked about again"
        second = pool.submit(ask, "b")
        eventually(lambda: len(approvals.waiting(store)) == 1, "the second question")
        approvals.deny(store, [2], "not that one")
        assert "not that one" in second.result()
