"""`prong swarms`: every swarm of a repository, and whether anybody runs it; and a command interrupted at once."""

import json
import os
import signal
import subprocess
import sys
from subprocess import PIPE

import psutil
import pytest
from tests.harness.swarming import eventually, prong

from prong.harness.repository.repository import Repository
from prong.harness.status import supervisor_of
from prong.harness.swarms import Options, create
from prong.harness.why.explain import explain
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import member


def listed(root):
    return [json.loads(line) for line in prong("swarms", "--json", cwd=root).stdout.splitlines()]


@pytest.fixture
def made(root):
    """A swarm with a ready task, one that runs and one that sleeps; the test supervises it."""
    made = create(Repository.open(root), Options("Reach\nthe goal", "prong-emulator", 2))
    with made.store().transaction(None) as tx:
        for state, held in (("running", None), ("parked", "asleep")):
            task, _ = create_task(tx, Plan(state, state))
            agent = member.enlist(tx, state, pid=None, task=task.id, state="asleep" if held else "running", lease_s=15)
            tasks.claim(tx, task.id, agent)
            tx.execute(
                "update task set state = :state, held = :held where id = :id", state=state, held=held, id=task.id
            )
    return made


def supervised_by(made, pid):
    with made.store().transaction(None) as tx:
        tx.execute("update swarm set supervisor_pid = :pid", pid=pid)
        tx.event("swarm.running", object=made.id)


def shown(made, root):
    """What `prong swarms` says of it, with what `prong status` and `prong why` say, which must be the same."""
    (one,) = listed(root)
    status = json.loads(prong("status", "--json", cwd=root).stdout)
    assert {state: count for state, count in status["tasks"].items() if count} == one["tasks"]
    assert (status["state"], status["supervisor"]) == (one["state"], one["supervisor"])
    states = [explain(made.store(), number).state for number in (1, 2, 3)]
    assert {state: states.count(state) for state in states} == one["tasks"]
    return one["state"], one["supervisor"]["state"], one["tasks"]


def test_a_swarm_is_listed_as_its_supervisor_is(made, root):
    usual = {"ready": 1, "running": 1, "parked": 1}
    assert shown(made, root) == ("running", "alive", usual)
    with subprocess.Popen(["sleep", "60"]) as other:
        supervised_by(made, other.pid)
        other.send_signal(signal.SIGSTOP)
        stopped = psutil.STATUS_STOPPED
        eventually(lambda: psutil.Process(other.pid).status() == stopped, "a stopped process")
        assert shown(made, root) == ("running", "stopped", usual)
        assert f"kill -CONT {other.pid}" in prong("status", cwd=root).stdout
        assert f"kill -CONT {other.pid}" in prong("why", "1", cwd=root).stdout
        other.kill()
    assert shown(made, root) == ("interrupted", "dead", {"ready": 2, "parked": 1})
    assert "Nobody supervises" in prong("why", "2", cwd=root).stdout


def test_a_machine_that_has_slept_or_whose_clock_was_set_knows_its_supervisor(made):
    says = "from prong.state.process import identity; print(identity(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", says], stdin=PIPE, stdout=PIPE, text=True) as other:
        supervised_by(made, other.pid)
        with made.store().transaction(None) as tx:
            tx.execute("update swarm set supervisor_process = :name", name=other.stdout.readline().strip())
            # The clock of a swarm does not jump: it is as far behind the wall's as the machine has slept.
            tx.execute("drop trigger event_is_append_only_update")
            tx.execute("update event set at = at - 30000")
        assert supervisor_of(made.store()).state == "alive"
        other.communicate("\n")
    assert supervisor_of(made.store()).state == "dead"


def test_swarms_are_listed_newest_first_and_a_broken_one_hides_none(made, root):
    other = create(Repository.open(root), Options("Another goal", "prong-emulator", 2))
    broken = made.directory.with_name("00000000-000000-dead")
    broken.mkdir()
    (broken / "state.db").write_bytes(b"this is no database" * 100)
    found = listed(root)
    named = [one["swarm"] for one in found]
    assert named[-1] == broken.name
    assert set(named[:2]) == {made.id, other.id}
    assert found[-1]["state"] == "unreadable"
    assert {one["branch"] for one in found[:2]} == {made.branch, other.branch}
    text = prong("swarms", cwd=root).stdout
    assert "Reach the goal" in text
    assert f"process {os.getpid()}" in text


def test_a_repository_without_swarms_says_how_to_begin(root):
    assert "prong run GOAL" in prong("swarms", cwd=root).stdout
    assert listed(root) == []


INTERRUPTED = """
import builtins, os, signal
real = builtins.__import__
def interrupting(name, *arguments, **more):
    if name.startswith("prong.harness.cli"):
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *arguments, **more)
builtins.__import__ = interrupting
from prong.harness.__main__ import main
main()
"""


def test_an_interrupt_while_the_command_is_still_being_read_shows_no_traceback():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
