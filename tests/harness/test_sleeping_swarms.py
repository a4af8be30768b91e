"""Whole swarms whose agents sleep: few processes for many who wait, and no place lost whatever dies.

PRONG_PARKED=1000 .venv/bin/python -m pytest -s -n 0 -m long tests/harness/test_sleeping_swarms.py -k thousand

parks a thousand agents at one barrier, and prints how many processes that took.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from .endurance import swarm
from .swarming import kill, prong

SCRIPTS = Path(__file__).with_name("sleeping_scripts.py")
MERGING = Path(__file__).with_name("merging_scripts.py")
CROWD = int(os.environ.get("PRONG_PARKED", "40"))
KEPT = 20
"""How many of the crowd keep their processes."""

MOST_PROCESSES = 50
"""The most processes of the whole swarm at any time: supervisor, emulator, nursery, agents and what they start."""

ASLEEP = "select count(*) = :count from agent where state = 'asleep' and pid is null and ended_at is null"


def tree(pid):
    """How many processes there are under one, with itself."""
    try:
        return 1 + len(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return 0


@pytest.mark.long
def test_who_sleeps_goes_on_where_it_stood_when_the_supervisor_was_killed_meanwhile(root):
    with swarm(root, "--offline", "--script", SCRIPTS, "--parked", "0", "--agents", "2", "Gather 4") as gathering:
        gathering.until(ASLEEP, "the sleep of three", count=3)
        before = gathering.value("select group_concat(id) from (select id from waiter where kind = 'barrier')")
        assert "its process was ended meanwhile" in prong("why", "2", cwd=root).stdout
        kill(gathering.process.pid)
        gathering.resume()
        gathering.until("select count(*) > 1 from event where kind = 'swarm.running'", "another supervisor")
        assert gathering.value("select group_concat(id) from waiter where kind = 'barrier'") == before
        (gathering.shared / "come").touch()
        end = gathering.end()
        assert end["tasks"]["done"] == 5
        assert len(gathering.events("barrier.opened")) == 1
        agents = gathering.store.rows("select count(*) from agent where task in (2, 3, 4) group by task")
        assert [row[0] for row in agents] == [1, 1, 1]
        assert gathering.value("select count(*) from waiter") == 0


@pytest.mark.long
def test_whose_task_is_cancelled_in_its_sleep_is_gone(root):
    with swarm(root, "--offline", "--script", SCRIPTS, "--parked", "0", "--agents", "2", "Gather 3") as gathering:
        gathering.until(ASLEEP, "the sleep of two", count=2)
        prong("cancel", "2", cwd=root)
        assert gathering.value("select count(*) from agent where task = 2 and ended_at is null") == 0
        (gathering.shared / "come").touch()
        end = gathering.end(code=1)
        assert end["tasks"]["cancelled"] == 1
        broken = gathering.events("barrier.broken")
        assert len(broken) == 1


def counted(gathering):
    """How many processes there were at most, and how many agents slept at once; the last comes when they all do."""
    most, asleep = 0, 0
    while gathering.process.poll() is None:
        most = max(most, tree(gathering.process.pid))
        row = gathering.store.row("select count(*) as asleep from agent where state = 'asleep'")
        asleep = max(asleep, row["asleep"])
        if asleep == CROWD - 1 - KEPT:
            (gathering.shared / "come").touch()
        time.sleep(0.1)
    return most, asleep


@pytest.mark.long
@pytest.mark.timeout(CROWD * 6 + 120)
def test_a_thousand_agents_at_one_barrier_need_few_processes(root):
    """Goal: who waits costs a row.  Method: so many agents arrive at one barrier, and somebody counts processes."""
    limits = ["--open-tasks", CROWD + 10, "--children", CROWD + 10, "--parked", KEPT, "--agents", 8]
    began = time.monotonic()
    with swarm(root, "--offline", "--script", SCRIPTS, *map(str, limits), f"Gather {CROWD}") as gathering:
        with ThreadPoolExecutor(1) as watching:
            counting = watching.submit(counted, gathering)
            out, _ = gathering.process.communicate()  # which tells of all agents: more than a pipe holds
        most, asleep = counting.result()
        assert gathering.process.returncode == 0, gathering.story()
        end = json.loads(out)
    took_s = time.monotonic() - began
    print(f"{CROWD} agents: at most {most} processes, {asleep} asleep at once, {took_s:.0f} s")  # noqa: T201  a report
    assert end["tasks"]["done"] == CROWD + 1
    assert most <= MOST_PROCESSES


@pytest.mark.long
def test_who_waits_for_its_merge_needs_no_process_and_mends_what_comes_back(root, tmp_path):
    """Goal: a wait for the merge costs a row.  Method: a check that lasts until all sleep, and a conflict after it."""
    mark = tmp_path / "go"
    check = f"while ! test -e {mark}; do sleep 0.05; done"
    arguments = ("--no-sandbox", "--offline", "--script", MERGING, "--parked", "0", "--agents", "3", "--check", check)
    with swarm(root, *arguments, "Quarrel one two") as quarrelling:
        quarrelling.until(
            f"{ASLEEP} and (select count(*) from merge where state = 'waiting') = 2", "three asleep", count=3
        )
        assert "its work to be merged" in prong("why", "2", cwd=root).stdout
        mark.touch()
        end = quarrelling.end()
        assert end["tasks"]["done"] == 3
        assert len(quarrelling.events("merge.returned")) == 1
        agents = quarrelling.store.rows("select count(*) from agent where task in (2, 3) group by task")
        assert [row[0] for row in agents] == [1, 1]
        assert quarrelling.value("select count(*) from agent where ended_at is null") == 0
        assert quarrelling.value("select count(*) from waiter") == 0
