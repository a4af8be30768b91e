"""Whole swarms whose agents get in each other's way: what comes back is mended, and nothing is lost."""

import json
from pathlib import Path

import pytest

from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

from . import repositories as git
from .swarming import eventually, kill, processes_of, prong, start

SCRIPTS = Path(__file__).with_name("merging_scripts.py")
CHECK = "test ! -e spoilt && ! grep -q '<<<' plain.txt"


def run(goal, *arguments, cwd, code=0):
    done = prong("run", "--offline", "--script", SCRIPTS, "--json", *arguments, goal, cwd=cwd, code=code)
    return json.loads(done.stdout)


def events(root, kind):
    rows = (
        find(Repository.open(root), None)
        .store()
        .rows("select task, data from event where kind = :kind order by seq", kind=kind)
    )
    return [(row["task"], json.loads(row["data"])) for row in rows]


def lands_once_and_passes(root, branch, words):
    """Every word is on the branch once, every task's commit too, and every commit passes the check."""
    text = git.run(root, "show", f"{branch}:plain.txt").split()
    assert sorted(text) == sorted(words)
    log = git.run(root, "log", "--format=%(trailers:key=Prong-Task,valueonly)", f"main..{branch}").split()
    assert len(log) == len(set(log)) == len(words)
    for commit in git.run(root, "rev-list", branch).split():
        files = git.files_of(root, commit)
        assert "spoilt" not in files
        assert b"<<<" not in files["plain.txt"][1]


def test_agents_mend_conflicts_and_failed_checks_in_their_own_conversation(root):
    before = git.fingerprint(root)
    answer = run("Quarrel one spoil", "--check", CHECK, cwd=root)
    assert git.fingerprint(root) == before
    lands_once_and_passes(root, answer["branch"], ["one", "spoil"])
    verdicts = {data["verdict"] for _, data in events(root, "merge.returned")}
    assert verdicts == {"conflict", "check"}
    assert len(answer["agents"]) == 3  # nobody was replaced: each went on in its own process
    spoilt = next(task for task, data in events(root, "merge.returned") if data["verdict"] == "check")
    told = prong("log", "--task", spoilt, cwd=root).stdout
    for kind in ("merge.queued", "merge.checking", "merge.checked", "merge.returned", "merge.merged"):
        assert kind in told


def test_tasks_that_say_that_they_write_the_same_run_in_turn_and_do_not_conflict(root):
    before = git.files_of(root, "HEAD")["plain.txt"][1].decode()
    answer = run("Share one two three", "--agents", 4, cwd=root)
    assert git.run(root, "show", f"{answer['branch']}:plain.txt") == before.rstrip("\n") + "\none\ntwo\nthree"
    assert events(root, "merge.returned") == []
    assert [task for task, _ in events(root, "fork.freshened")] == [3, 4]
    said = find(Repository.open(root), None).store().rows("select task, text, message from said order by task")
    assert [row["task"] for row in said if row["message"] and "plain.txt" in row["text"]] == [3, 4]


@pytest.mark.long
def test_who_does_not_mend_a_conflict_is_helped_by_a_resolver(root):
    answer = run("Sulk one two", "--check", CHECK, cwd=root)
    lands_once_and_passes(root, answer["branch"], ["one", "two"])
    [(task, told)] = events(root, "merge.resolved")
    [(of, _)] = events(root, "merge.resolving")
    assert task == of
    assert f"Prong-Resolver: {told['resolver']}" in git.message(root, answer["branch"])
    assert [data["verdict"] for _, data in events(root, "merge.returned")] == ["conflict", "markers"]


@pytest.mark.long
def test_a_supervisor_that_is_killed_while_a_check_runs_leaves_nothing_half_merged(root, tmp_path):
    mark = tmp_path / "checking"
    check = f"touch {mark}; while test -e {mark}; do sleep 0.05; done; {CHECK}"
    process = start(
        "run", "--no-sandbox", "--offline", "--script", SCRIPTS, "--check", check, "Quarrel one two", cwd=root
    )
    eventually(mark.exists, "the check to run")
    kill(process.pid)
    process.communicate()
    eventually(lambda: not processes_of(root), "the check to end with its supervisor")
    branch = find(Repository.open(root), None).branch
    assert git.run(root, "rev-list", "--count", f"main..{branch}") == "0"
    over = start("resume", cwd=root)
    while over.poll() is None:
        mark.unlink(missing_ok=True)
    over.communicate()
    assert over.returncode == 0
    lands_once_and_passes(root, branch, ["one", "two"])
