"""The nursery: forks in a moment, tells of every death, and leaves nobody behind."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.stepped import until

from prong.agents.nursery import Exited, Forked, Nursery


@pytest.fixture
def nursery(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PRONG_TEST": str(tmp_path)}
    nursery = Nursery("nursed", log=tmp_path / "log", environment=environment)
    nursery.configure({"folder": str(tmp_path)})
    yield nursery
    nursery.close()
    until(lambda: not left_behind(tmp_path), "the end of all processes")


def left_behind(folder):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PRONG_TEST") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def hear(nursery, count):
    """The next `count` things that the nursery tells."""
    heard = []

    def enough():
        more = nursery.hear()
        assert more is not None, "the nursery is gone"
        heard.extend(more)
        return len(heard) >= count

    until(enough, f"{count} words of the nursery, after {heard}")
    return heard


def ready(folder, name):
    until((folder / f"ready-{name}").exists, f"agent {name}")
    return int((folder / f"pid-{name}").read_text())


def test_it_tells_of_birth_and_of_how_each_agent_ended(nursery):
    for agent, code in ((1, 0), (2, 7)):
        nursery.fork(agent, {"name": agent, "exit": code})
    nursery.fork(3, {"name": 3, "raise": "on purpose"})
    heard = hear(nursery, 6)
    assert [one.agent for one in heard if isinstance(one, Forked)] == [1, 2, 3]
    ends = {one.agent: one.how for one in heard if isinstance(one, Exited)}
    assert ends == {1: "exit code 0", 2: "exit code 7", 3: "exit code 1"}


def test_it_hears_of_a_kill_and_ends_what_the_dead_left_behind(nursery, tmp_path):
    nursery.fork(1, {"name": 1, "stay": True, "leave": "876"})
    pid = ready(tmp_path, 1)
    until(lambda: any("876" in process.cmdline() for process in left_behind(tmp_path)), "the child of the agent")
    os.kill(pid, signal.SIGKILL)
    born, died = hear(nursery, 2)
    assert died == Exited(1, born.pid, "signal 9")
    assert [process.pid for process in left_behind(tmp_path)] == [nursery.pid]


def test_an_agent_that_does_not_end_when_asked_is_killed(nursery, tmp_path):
    nursery.fork(1, {"name": 1, "stay": True, "stubborn": True})
    nursery.fork(2, {"name": 2, "stay": True})
    ready(tmp_path, 1)
    ready(tmp_path, 2)
    nursery.end(1)
    nursery.end(2)
    ends = {one.agent: one.how for one in hear(nursery, 4) if isinstance(one, Exited)}
    assert ends == {1: "signal 9", 2: "signal 15"}


def test_all_agents_end_when_the_nursery_is_killed(nursery, tmp_path):
    nursery.fork(1, {"name": 1, "stay": True})
    ready(tmp_path, 1)
    os.kill(nursery.pid, signal.SIGKILL)
    until(lambda: nursery.hear() is None, "the news")
    until(lambda: not left_behind(tmp_path), "the end of its agents")


def test_all_agents_and_the_nursery_end_when_the_supervisor_goes(nursery, tmp_path):
    nursery.fork(1, {"name": 1, "stay": True, "stubborn": True, "leave": "875"})
    ready(tmp_path, 1)
    nursery.close()
    assert left_behind(tmp_path) == []


def test_orders_that_come_before_the_nursery_is_warm_are_not_lost(nursery, tmp_path):
    for agent in range(1, 30):
        nursery.fork(agent, {"name": agent, "exit": 0})
    assert len(hear(nursery, 58)) == 58
    assert left_behind(tmp_path)[0].pid == nursery.pid


def test_a_process_that_left_nothing_behind_is_the_next_agent(nursery, tmp_path):
    """To the supervisor each is a birth and a death of its own; what it does to the first never meets the second."""
    nursery.fork(1, {"name": 1, "again": True})
    nursery.fork(2, {"name": 2, "exit": 0})
    first = {one.agent: one.pid for one in hear(nursery, 4)}
    assert first[1] != first[2]
    nursery.fork(3, {"name": 3, "stay": True})
    nursery.fork(4, {"name": 4, "exit": 0})
    births = {one.agent: one.pid for one in hear(nursery, 3) if isinstance(one, Forked)}
    assert births[3] == first[1]
    assert births[4] not in first.values()  # whose process ended is nobody any more
    ready(tmp_path, 3)
    nursery.kill(1)
    nursery.end(1)
    nursery.fork(5, {"name": 5, "exit": 0})
    assert {one.agent for one in hear(nursery, 2)} == {5}
    nursery.kill(3)
    assert hear(nursery, 1) == [Exited(3, first[1], "signal 9")]


def test_a_process_that_waits_for_an_order_is_missed_by_nobody(nursery, tmp_path):
    nursery.fork(1, {"name": 1, "again": True})
    pid = hear(nursery, 2)[0].pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid), "the end of a process that waits")
    nursery.fork(2, {"name": 2, "again": True})
    born, died = hear(nursery, 2)
    assert died == Exited(2, born.pid, "exit code 0")
    assert born.pid != pid
    until(lambda: not psutil.pid_exists(born.pid), "the end of a process that nobody needs")
    assert [process.pid for process in left_behind(tmp_path)] == [nursery.pid]


def test_a_process_that_has_hung_up_but_is_not_gone_yet_gets_no_order(nursery):
    nursery.fork(1, {"name": 1, "again": True, "dies_slowly": 10})
    pid = hear(nursery, 2)[0].pid
    time.sleep(0.7)
    assert psutil.pid_exists(pid)
    nursery.fork(2, {"name": 2, "exit": 0})
    born, died = hear(nursery, 2)
    assert died == Exited(2, born.pid, "exit code 0")
    assert born.pid != pid


def test_what_lies_where_it_is_started_is_not_imported(tmp_path, monkeypatch):
    """Goal: no file of the person's repository runs in the harness.  Method: one that bears a module's name."""
    (tmp_path / "subprocess.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    nursery = Nursery("nursed", log=tmp_path / "log", environment=environment)
    nursery.configure({"folder": str(tmp_path)})
    nursery.fork(1, {"name": 1, "exit": 0})
    assert hear(nursery, 2)[1].how == "exit code 0"
    nursery.close()
