"""Whole swarms under torment: a storm of refusals, kills and stops at random, budgets and rules that change meanwhile.

    PRONG_CHAOS_S=300 .venv/bin/python -m pytest -s -n 0 tests/harness/test_endurance.py -k chaos

torments swarms for five minutes, and prints what it did to them.
"""

import json
import os
import random
import signal
import time

import psutil
import pytest

from prong.agents.emulator.options import EmulatorOptions
from prong.agents.emulator.process import EmulatorProcess

from . import repositories as git
from .endurance import SCRIPTS, Chaos, merged, parts, parts_on_branch, swarm, violations
from .repositories import make_repository
from .swarming import eventually, processes_of, prong, runs

OFFLINE = ("--offline", "--script", SCRIPTS)
AT_LENGTH = "PRONG_CHAOS_S" in os.environ
CHAOS_S = float(os.environ.get("PRONG_CHAOS_S", "0"))
CHAOS_SEED = os.environ.get("PRONG_CHAOS_SEED")
ROUND_PARTS = 30
"""How many tasks one swarm of the chaos has below its first; when they are done, another swarm begins."""

STORM = {"429": 0.5, "529": 0.05, "truncate": 0.025, "disconnect": 0.025}
STORM_PARTS = 49 if AT_LENGTH else 19
# Two of five calls are answered, so that on average 2.5 are needed for one, and half of all seeds need more.  With this
# one an answer costs at most 2.2 calls, whatever the number of answers between 30 and 200.
STORM_SEED = 2962


def answered(journal):
    """The calls that came back whole."""
    calls = [entry for entry in journal if entry["path"] == "/v1/messages"]
    return calls, [one for one in calls if one["status"] == 200 and one["fault"] is None]


def total_tokens(store):
    columns = "input_tokens + cache_read_tokens + cache_write_tokens + output_tokens"
    return store.row(f"select coalesce(sum({columns}), 0) from model_call")[0]


@pytest.mark.long
def test_a_storm_of_refusals_costs_waiting_and_no_work_even_with_a_pause(root, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", git.SURROUNDINGS["PYTHONPATH"])  # the scripts import their neighbours
    options = EmulatorOptions(faults=STORM, retry_after_s=0.01, seed=STORM_SEED)
    with EmulatorProcess(script_files=[SCRIPTS], options=options) as emulator:
        arguments = ("--base-url", emulator.url, "--model", "prong-emulator", f"Write {STORM_PARTS} parts")
        own = {"ANTHROPIC_API_KEY": "sk-ant-test", "XDG_STATE_HOME": str(tmp_path / "state")}
        with swarm(root, *arguments, **own) as stormy:
            stormy.until("select count(*) > 5 from task where state = 'done'", "the storm's middle")
            prong("pause", cwd=root)
            stormy.until("select count(*) = 0 from task where state = 'running'", "everybody's stepping aside")
            prong("resume", cwd=root)
            end = stormy.end()
            calls, whole = answered(emulator.journal())
            assert end["tasks"]["done"] == STORM_PARTS + 1
            assert end["problems"] == []
            assert parts_on_branch(root, end["branch"]) == parts(STORM_PARTS)
            assert merged(root, end["branch"]) == list(range(2, STORM_PARTS + 2))
            assert violations(stormy.store) == []
            assert stormy.value("select count(*) from model_call where message is null") == 0
            assert stormy.value("select count(*) from model_call") == len(whole)
            assert stormy.value("select count(*) from task where failures > 0 or stalled > 0") == 0
    assert sum(one["fault"] is not None for one in calls) > 0.4 * len(calls)
    assert len(calls) <= 2.5 * len(whole)


@pytest.mark.skipif(not AT_LENGTH, reason="chaos takes as many seconds as PRONG_CHAOS_S says")
@pytest.mark.timeout(CHAOS_S * 2 + 300)
def test_chaos(tmp_path):
    """Goal: no kill and no stop at any time loses work, does it twice, or lets two work on one task.

    Method: thirty agents, and a seeded random choice of whom to kill or stop; the log, the
    conversations and the branch tell in the end.
    """
    seed = CHAOS_SEED or str(random.SystemRandom().getrandbits(32))
    chaos, until = Chaos(seed, longest_stop_s=2 if CHAOS_S < 60 else 40), time.monotonic() + CHAOS_S
    told = {"seed": seed, "rounds": 0, "tasks": 0, "agents": 0, "seconds": 0.0}
    while told["rounds"] == 0 or time.monotonic() < until:
        root = make_repository(tmp_path / f"repository-{told['rounds']}")
        began = time.monotonic()
        with swarm(root, *OFFLINE, "--latency", "0.3", "--agents", "30", f"Write {ROUND_PARTS} parts") as tormented:
            while tormented.process.poll() is None and time.monotonic() < until:
                chaos.strike(tormented)
            chaos.end()
            end = tormented.end()
            story = f"{told} {dict(chaos.struck)}\n{tormented.story()}"
            assert end["tasks"]["done"] == ROUND_PARTS + 1, story
            assert parts_on_branch(root, end["branch"]) == parts(ROUND_PARTS), story
            assert merged(root, end["branch"]) == list(range(2, ROUND_PARTS + 2)), story
            assert violations(tormented.store) == [], story
            told["rounds"] += 1
            told["tasks"] += ROUND_PARTS + 1
            told["agents"] += len(end["agents"])
            told["seconds"] += round(time.monotonic() - began, 1)
        eventually(lambda root=root: not processes_of(root), "the end of all processes", patience_s=10)
    print(told, dict(chaos.struck))  # noqa: T201  whoever torments for minutes wants to know what was done


@pytest.mark.long
def test_what_a_killed_supervisor_left_behind_ends_before_others_go_on(root):
    """Goal: no two work in one clone.  Method: stop all that the supervisor would leave, kill it, and let them wake."""
    with swarm(root, *OFFLINE, "--agents", "3", "Meet in a file") as left:
        left.until("select count(*) = 3 from event where kind = 'tool.began' and object = 'bash'", "three at work")
        waiting = [one for one in processes_of(root) if one.pid != left.process.pid]
        old = [left.nursery(), *left.agents()]
        for process in old:
            process.suspend()
        os.kill(left.process.pid, signal.SIGKILL)
        left.resume()
        seq = left.value("select max(seq) from event")
        left.until("select count(*) > 0 from event where kind = 'task.claimed' and seq > :seq", "a successor", seq=seq)
        assert [one for one in (*old, *waiting) if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
        (left.shared / "here-99").touch()
        assert left.end()["tasks"]["done"] == 5
        assert violations(left.store) == []


@pytest.mark.long
@pytest.mark.parametrize("strike", ["the supervisor is killed", *(["nobody is killed"] if AT_LENGTH else [])])
def test_parents_sleep_while_they_wait_and_every_result_arrives(root, strike):
    with swarm(root, *OFFLINE, "--agents", "2", "--parked", "0", "Gather 3 from r") as sleepy:
        asleep = "select count(*) >= 3 from task where held = 'asleep'"
        sleepy.until(asleep, "sleep")
        if strike == "the supervisor is killed":
            os.kill(sleepy.process.pid, signal.SIGKILL)
            sleepy.resume()
            sleepy.until("select state = 'running' from swarm", "another supervisor")
            sleepy.until(asleep, "sleep again")
        sleepy.until("select count(*) <= 2 from agent where pid is not null and ended_at is null", "few processes")
        (sleepy.shared / "go").touch()
        end = sleepy.end()
        assert end["tasks"]["done"] == 15
        leaves = [f"r{one}{two}{three}" for one in "ab" for two in "ab" for three in "ab"]
        aa, ab, ba, bb = (f"({leaves[n]} {leaves[n + 1]})" for n in (0, 2, 4, 6))
        assert sleepy.task(1)["result"] == f"(({aa} {ab}) ({ba} {bb}))"
        assert set(parts_on_branch(root, end["branch"])) == {f"{leaf}.txt" for leaf in leaves}
        woken = [json.loads(row["data"]).get("woken") for row in sleepy.events("task.unparked")]
        assert woken.count(True) >= 1
        assert len(sleepy.events("agent.asleep")) >= 3
        assert violations(sleepy.store) == []


@pytest.mark.long
def test_a_spent_budget_stops_the_swarm_with_all_it_has_and_more_money_finishes_it(root):
    bound = 70_000
    with swarm(root, *OFFLINE, "--tokens", bound, "Write 6 parts") as poor:
        assert poor.end(code=3)["state"] == "budget"
        spent = total_tokens(poor.store)
        assert 0 < spent <= bound
        kept = poor.messages()
        prong("budget", "--tokens", "20M", cwd=root)
        poor.resume()
        end = poor.end()
        assert end["tasks"]["done"] == 7
        assert total_tokens(poor.store) > spent
        assert poor.messages()[: len(kept)] == kept
        assert parts_on_branch(root, end["branch"]) == parts(6)
        assert violations(poor.store) == []
        assert len(poor.events("task.held")) >= 1


@pytest.mark.long
def test_rules_that_change_take_effect_and_wrong_ones_harm_nothing(root):
    rules = root / "PRONG.md"
    rules.write_text("---\nlimits:\n  agents: 1\n---\n")
    with swarm(root, *OFFLINE, "Meet in a file") as ruled:
        ruled.until("select count(*) = 1 from event where kind = 'tool.began' and object = 'bash'", "the first at work")
        rules.write_text("---\nlimits:\n  agents: many\n---\n")
        ruled.until("select count(*) > 0 from event where kind = 'rules.invalid'", "a refusal of the rules")
        assert ruled.value("select count(*) from task where state = 'running'") == 1
        assert len(list(ruled.shared.glob("here-*"))) == 1
        rules.write_text("---\nlimits:\n  agents: 4\n---\nBe kind.\n")  # only four together can go on
        end = ruled.end()
        assert end["tasks"]["done"] == 5
        changes = [json.loads(row["data"]) for row in ruled.events("rules.changed")]
        assert [(one["before"], one["after"]) for one in changes if one["effect"] == "now"] == [(1, 4)]
        assert ruled.events("agent.dead") == []
        assert len(end["agents"]) == 5
        assert violations(ruled.store) == []


def order(of, *kinds):
    """Which tasks began or went on, in order."""
    return [(row["kind"].removeprefix("task."), row["task"]) for row in of.events(*kinds)]


@pytest.mark.long
def test_with_one_slot_an_urgent_task_that_comes_late_overtakes(root):
    with swarm(root, *OFFLINE, "--agents", "1", "Be overtaken") as urgent:
        urgent.end()
        claimed = [task for _, task in order(urgent, "task.claimed")]
        assert claimed == [1, 2, 5, 3, 4]


@pytest.mark.long
def test_with_one_slot_a_holder_of_what_an_urgent_task_waits_for_goes_first(root):
    with swarm(root, *OFFLINE, "--agents", "1", "Invert") as inverted:
        inverted.end()
        steps = order(inverted, "task.claimed", "task.unparked", "task.done")
        want = steps.index(("claimed", 6))
        assert steps[want:][:5] == [("claimed", 6), ("unparked", 2), ("done", 2), ("unparked", 6), ("done", 6)]


@pytest.mark.long
def test_cancel_ends_a_subtree_within_its_time_although_an_agent_stands_still(root):
    with swarm(root, *OFFLINE, "Lead those who cling") as clinging:
        eventually(lambda: sum("982" in " ".join(one.cmdline()) for one in processes_of(root)) >= 2, "both at work")
        agents = {row["task"]: row["pid"] for row in clinging.store.rows("select task, pid from agent")}
        os.kill(agents[3], signal.SIGSTOP)
        answer = json.loads(prong("cancel", "2", "--json", cwd=root).stdout)
        assert answer == {"cancelled": [2, 3]}
        assert not runs(root, "981")
        assert not runs(root, "982")
        assert not any(psutil.pid_exists(agents[task]) for task in (2, 3))
        end = clinging.end(code=1)
        assert [end["tasks"]["done"], end["tasks"]["cancelled"]] == [1, 2]
        assert violations(clinging.store) == []
