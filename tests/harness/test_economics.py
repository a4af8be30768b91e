"""What children begin with, in whole swarms: forks, summaries, the planner's choice, and a cache that is lost."""

import json
from pathlib import Path

import pytest

from prong.agents.emulator.process import EmulatorProcess
from prong.harness import control
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find
from prong.harness.why.explain import explain

from . import repositories as git
from .swarming import eventually, kill, prong, start

SCRIPTS = Path(__file__).with_name("economics_scripts.py")
MODEL = "claude-opus-5-5"


@pytest.fixture
def long_file(root):
    """The repository with a file as long as one result of a tool can be."""
    (root / "big.txt").write_text("".join(f"line {number} of a long file\n" for number in range(2_000)))
    git.run(root, "add", "-A")
    git.run(root, "commit", "-qm", "a long file")
    return root


def store_of(root):
    return find(Repository.open(root), None).store()


def events(root, kind):
    return [json.loads(row["data"]) for row in store_of(root).rows("select data from event where kind = :k", k=kind)]


def results(root):
    return {row["result"] for row in store_of(root).rows("select result from task where parent is not null")}


def asking(emulator, goal, *more):
    return ("run", "--base-url", emulator.url, "--model", MODEL, "--json", *more, goal)


def the_first_request_of_every_fork_reads_its_prefix_from_the_cache(store, journal):
    calls = store.rows("select * from model_call where prefix_tokens is not null and output_tokens > 0")
    assert len(calls) == 16
    usages = [
        (entry["usage"]["cache_read_input_tokens"], entry["usage"]["output_tokens"])
        for entry in journal
        if entry["usage"]
    ]
    for call in calls:
        assert (call["cache_read_tokens"], call["output_tokens"]) in usages
        assert call["cache_read_tokens"] >= 0.95 * call["prefix_tokens"]
    assert len({call["prefix_hash"] for call in calls}) == 1


def test_sixteen_forks_write_not_one_token_of_their_prefix_and_cost_says_so(long_file):
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        prong(*asking(emulator, "Fan out 16 by fork after 3 looks"), cwd=long_file, ANTHROPIC_API_KEY="sk-ant-test")
        the_first_request_of_every_fork_reads_its_prefix_from_the_cache(store_of(long_file), emulator.journal())
    status = json.loads(prong("status", "--json", cwd=long_file).stdout)
    assert status["usd"] > 0
    assert status["cache"]["forks"] >= 16  # and that of a scout, which reads ahead of them
    told = json.loads(prong("cost", "--json", cwd=long_file).stdout)
    (point,) = told["fork_points"]
    assert (point["children"], point["hits"], point["losses"], point["lost_tokens"]) == (16, 16, 0, 0)
    assert point["prefix"] > 20_000
    children = [one for one in told["tasks"] if one["context"] == "fork"]
    assert len(children) == 16
    for one in children:
        assert one["inherited"] == point["prefix"]
        assert one["written"] < 0.2 * one["inherited"]
        assert one["saved_usd_estimate"] == pytest.approx(one["fresh_usd_estimate"] - one["usd"])
        assert one["saved_usd_estimate"] > 0
    assert told["total"]["usd"] == pytest.approx(sum(one["usd"] for one in told["tasks"]))
    assert [model["model"] for model in told["models"]] == [MODEL]
    assert len(events(long_file, "fork.warming")) <= 3  # the parent, or somebody for it, and a scout
    shown = prong("cost", cwd=long_file).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "saved" in shown
    assert events(long_file, "cache.lost") == []


@pytest.mark.long
def test_one_summary_serves_all_children_although_its_maker_is_killed(long_file):
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        process = start(
            *asking(emulator, "Fan out 4 by brief"), cwd=long_file, ANTHROPIC_API_KEY="sk-ant-test"
        )  # fmt: skip
        eventually(lambda: (long_file / ".prong").exists() and list(long_file.glob(".prong/*/state.db")), "a swarm")
        eventually(lambda: events(long_file, "brief.began"), "somebody who writes the summary")
        maker = store_of(long_file).row(
            "select agent.pid from event join agent on agent.id = event.agent where kind = 'brief.began'"
        )
        kill(maker["pid"])
        told, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    assert json.loads(told)["tasks"]["done"] == 5
    assert len(events(long_file, "brief.made")) == 1
    assert results(long_file) == {"knew the summary"}
    (point,) = json.loads(prong("cost", "--json", cwd=long_file).stdout)["fork_points"]
    assert (point["children"], point["briefed"]) == (0, 4)


@pytest.mark.long
def test_auto_writes_down_what_it_chose_and_what_the_others_would_have_cost(long_file):
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        prong(*asking(emulator, "Fan out 3 by auto"), cwd=long_file, ANTHROPIC_API_KEY="sk-ant-test")
    (planned,) = events(long_file, "fork.planned")
    contexts = store_of(long_file).rows("select distinct context from task where parent is not null")
    assert [row["context"] for row in contexts] == [planned["context"]]
    assert (planned["children"], planned["in_usd"]) == (3, True)
    assert set(planned["prices"]) == {"fork", "brief", "fresh"}
    assert min(planned["prices"], key=lambda one: planned["prices"][one]["cost"]) == planned["context"]


def lose_cache(root, emulator, *more):
    """Run to where the parent has asked and its forks wait for a slot; then the endpoint loses its cache."""
    process = start(
        *asking(emulator, "Lose the cache of 5", "--agents", "1", *more), cwd=root, ANTHROPIC_API_KEY="sk-ant-test"
    )  # fmt: skip
    eventually(lambda: list(root.glob(".prong/*/shared/asked")), "the parent's last request before its forks", 120)
    kill(emulator.pid)
    eventually(emulator.revive, "an endpoint that remembers nothing")
    (shared,) = root.glob(".prong/*/shared")
    (shared / "go").touch()
    told, problems = process.communicate(timeout=120)
    return process.returncode, told, problems


@pytest.mark.long
def test_a_lost_cache_is_found_by_the_first_child_and_stops_the_others_until_a_person_lets_them_go(long_file):
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        code, told, problems = lose_cache(long_file, emulator)
        assert code == 4, problems
        assert json.loads(told)["state"] == "cache"
        (stopped,) = events(long_file, "fork.stopped")
        assert stopped["children_held"] == 4
        assert stopped["would_cost_usd"] == pytest.approx(4 * stopped["lost_usd"])
        store = store_of(long_file)
        asked = store.rows("select distinct task from model_call where task > 1")
        assert [row["task"] for row in asked] == [2]
        (lost,) = events(long_file, "cache.lost")
        assert lost["lost_usd"] > 0
        assert lost["prefix_is_the_same"]
        why = explain(store, 4)
        assert "the prompt cache of its fork point is lost" in why.short
        assert "4 forks of that turn are held" in why.reasons[1].detail
        assert "prong resume" in why.reasons[1].detail
        for task in (3, 4, 5, 6):
            assert control.resume(find(Repository.open(long_file), None), task) == [task]
        prong("resume", "--json", cwd=long_file, ANTHROPIC_API_KEY="sk-ant-test")
    (point,) = json.loads(prong("cost", "--json", cwd=long_file).stdout)["fork_points"]
    assert point["held"] == 0
    assert point["lost_tokens"] > 20_000


@pytest.mark.long
def test_the_rules_let_forks_read_a_summary_where_the_cache_is_lost(long_file):
    (long_file / "PRONG.md").write_text("---\non_lost_cache: brief\n---\n")
    with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
        code, _, problems = lose_cache(long_file, emulator)
    assert code == 0, problems
    assert len(events(long_file, "brief.made")) == 1
    assert len(events(long_file, "fork.briefed")) == 4
    assert results(long_file) == {"part done", "knew the summary"}
