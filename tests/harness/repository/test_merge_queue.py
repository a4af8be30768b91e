"""The merge queue: what is merged passes the check at every commit, what does not fit comes back, nothing is lost."""

import os
import shutil

import pytest
from tests.harness.repositories import files_of, fingerprint, make_repository, message, run
from tests.harness.repository.merging_swarm import CHECK, Tasks, passes

from prong.harness.merger import merge_queue_of
from prong.harness.repository.merge_rounds import MergerReplaced
from prong.harness.repository.preparing import TRIES
from prong.primitives import task as tasks

GIT = shutil.which("git")
LINES = "".join(f"{number}\n" for number in range(20))


@pytest.fixture
def made(tmp_path):
    swarms = []

    def make(**rules):
        root = make_repository(tmp_path / "repository", {"text": LINES, "other": LINES, ".gitignore": "*.o\n.prong\n"})
        swarms.append(Tasks(root, **rules))
        return swarms[-1]

    yield make
    for one in swarms:
        one.close()


def test_without_a_check_all_are_merged_in_line_and_say_where_they_come_from(made):
    swarm = made()
    before = fingerprint(swarm.root)
    one, two = swarm.done("one", {"a": "x"}), swarm.done("two", {"b": "x"})
    urgent = swarm.done("urgent", {"c": "x"}, priority=5)
    swarm.merge()
    assert swarm.merged() == [urgent, one, two]
    assert [swarm.row(task)["state"] for task in (one, two, urgent)] == ["done"] * 3
    told = message(swarm.root, swarm.row(one)["merged_commit"]).splitlines()
    assert f"Prong-Task: {one}" in told
    assert f"Prong-Conversation: {swarm.row(one)['head']}" in told
    assert any(line.startswith("Prong-Agent: ") for line in told)
    assert fingerprint(swarm.root) == before


def test_waiting_makes_up_for_a_lower_priority(made):
    swarm = made()
    old = swarm.done("old", {"a": "x"})
    with swarm.store.transaction(None) as tx:
        ageing_s = tx.value("select ageing_s from task_count")
        tx.execute("update merge set queued_at = queued_at - :by", by=2.5 * ageing_s)
    urgent, more = swarm.done("urgent", {"b": "x"}, priority=2), swarm.done("more", {"c": "x"}, priority=3)
    swarm.merge()
    assert swarm.merged() == [more, old, urgent]


def test_a_conflict_comes_back_with_both_sides_and_is_merged_when_it_is_solved(made):
    swarm = made()
    first = swarm.done("first", {"text": LINES.replace("3\n", "first\n", 1)})
    second = swarm.done("second", {"text": LINES.replace("3\n", "second\n", 1), "new": "x"})
    swarm.merge()
    assert swarm.merged() == [first]
    assert swarm.delivery(second)["state"] == "returned"
    assert "both sides changed the same lines" in swarm.messages(second)[-1]
    workspace = swarm.hand_in(second, {"still": "x"})
    text = (workspace.directory / "text").read_text()
    assert "<<<<<<<" in text
    assert "first\n" in text
    assert "second\n" in text
    assert run(workspace.directory, "status", "--porcelain").split("\n") == [" M text", "?? new", "?? still"]
    swarm.merge()
    assert "conflict markers still stand" in swarm.messages(second)[-1]
    swarm.hand_in(second, {"text": LINES.replace("3\n", "first\nsecond\n", 1), "still": None})
    swarm.merge()
    assert swarm.merged() == [first, second]
    files = files_of(swarm.root, swarm.swarm.branch)
    assert files["text"][1].decode() == LINES.replace("3\n", "first\nsecond\n", 1)
    assert files.keys() == {"text", "other", ".gitignore", "new"}
    assert [one["verdict"] for one in swarm.events("merge.returned", second)] == ["conflict", "markers"]


def test_after_too_many_attempts_a_resolver_delivers_in_the_tasks_place(made):
    swarm = made(attempts=1)
    first = swarm.done("first", {"text": "first\n"})
    second = swarm.done("second", {"text": "second\n", "new": "x"})
    swarm.merge()
    resolver = swarm.delivery(second)["resolver"]
    asked = swarm.row(resolver)["prompt"]
    assert "Do second." in asked
    assert "did 2" in asked or f"task {first}" in asked
    assert swarm.row(resolver)["priority"] > swarm.row(second)["priority"]
    assert swarm.row(second)["state"] in ("running", "parked")
    swarm.hand_in(swarm.claim(resolver), {"text": "first\nsecond\n"})
    swarm.merge()
    assert swarm.merged() == [first, second]
    assert files_of(swarm.root, swarm.swarm.branch)["new"][1] == b"x"
    assert [swarm.row(task)["state"] for task in (second, resolver)] == ["done", "done"]
    assert f"Prong-Resolver: {resolver}" in message(swarm.root, swarm.swarm.branch)


def test_what_no_resolver_can_merge_is_kept_with_a_report(made):
    swarm = made(attempts=1)
    swarm.done("first", {"text": "first\n"})
    second = swarm.done("second", {"text": "second\n"})
    swarm.merge()
    resolver = swarm.delivery(second)["resolver"]
    swarm.hand_in(swarm.claim(resolver), {"more": "x"})  # and leaves the markers
    swarm.merge()
    task = swarm.row(second)
    assert (task["state"], task["failure"]) == ("failed", "merge")
    assert files_of(swarm.root, task["kept_branch"])["text"][1] == b"second\n"
    told = (swarm.swarm.directory / "reports" / f"task-{second}.md").read_text()
    assert "both sides changed the same lines" in told
    assert task["kept_branch"] in told
    assert swarm.row(resolver)["state"] == "failed"
    assert not swarm.queue.merge_next()


@pytest.mark.parametrize("rules", [{}, {"parallel": 3}, {"batch": 8}], ids=["one by one", "parallel", "together"])
def test_the_branch_passes_the_check_at_every_commit_and_only_the_culprits_come_back(made, rules):
    # A breaks the check and B mends it: A alone must never stand on the branch.
    swarm = made(check=CHECK, attempts=2, **rules)
    good = [swarm.done(f"good {number}", {f"good{number}": "x"}) for number in range(2)]
    breaks = swarm.done("breaks", {"bad": "x"})
    mends = swarm.done("mends", {"mend": "x"})
    more = swarm.done("more", {"good9": "x"})
    worse = swarm.done("worse", {"bad2": "x", "bad3": "x"})
    swarm.merge()
    mainline = ("--first-parent",) if rules.get("batch") else ()
    assert all(passes(swarm.root, one) for one in swarm.commits(*mainline))
    assert {*good, mends, more} <= set(swarm.merged())
    assert len(swarm.merged()) == len(set(swarm.merged()))
    assert swarm.delivery(worse)["state"] == "returned"
    assert "are bad" in swarm.messages(worse)[-1]
    if not rules.get("batch"):
        assert swarm.delivery(breaks)["state"] == "returned"
    swarm.hand_in(worse, {"bad2": None, "bad3": None, "fine": "x"})
    swarm.merge()
    assert worse in swarm.merged()
    assert all(passes(swarm.root, one) for one in swarm.commits(*mainline))


def test_the_checkout_stays_warm_and_is_clean(made):
    command = "test ! -e litter && ls *.o >>built.o 2>&1; touch litter; git diff --quiet HEAD"
    swarm = made(check=command)
    all_of_them = [swarm.done(f"task {number}", {f"new{number}": "x"}) for number in range(2)]
    swarm.merge()
    assert swarm.merged() == all_of_them
    [checkout] = [path for path in (swarm.swarm.directory / "check").iterdir() if path.name == "0"]
    assert (checkout / "built.o").read_text().splitlines()[-1] == "built.o"
    assert run(checkout, "rev-parse", "HEAD") == run(swarm.root, "rev-parse", swarm.swarm.branch)


def test_a_check_that_hangs_is_ended_and_one_that_is_flaky_is_told(made, tmp_path):
    once = tmp_path / "once"
    swarm = made(check=f"test -e {once} || {{ touch {once}; sleep 600 & sleep 600; }}", timeout_s=1, tries=2)
    task = swarm.done("task", {"new": "x"})
    swarm.merge()
    assert swarm.merged() == [task]
    assert swarm.events("merge.flaky", task)[0]["runs"] == 2


def test_a_merger_that_was_replaced_moves_nothing(made):
    swarm = made()
    swarm.queue.take_over()
    other = merge_queue_of(swarm.swarm, swarm.store)
    other.take_over()
    task = swarm.done("task", {"new": "x"})
    with pytest.raises(MergerReplaced):
        swarm.queue.merge_next()
    assert swarm.merged() == []
    assert other.merge_next()
    assert swarm.merged() == [task]
    other.close()


def test_a_cancelled_task_does_not_land_and_its_check_is_for_nothing(made):
    swarm = made()
    task = swarm.done("task", {"new": "x"})
    with swarm.store.transaction(None) as tx:
        tasks.cancel(tx, task, reason="it is not wanted")
    swarm.merge()
    assert swarm.merged() == []
    assert swarm.delivery(task)["state"] == "dropped"


@pytest.fixture
def kill_git(tmp_path, monkeypatch):
    """While the file that is returned is there, whoever merges trees is killed as by a machine without memory."""
    folder, flag = tmp_path / "bin", tmp_path / "kills"
    folder.mkdir()
    program = f'#!/bin/sh\ncase " $* " in *" merge-tree "*) test ! -e {flag} || kill -9 $$;; esac\nexec {GIT} "$@"\n'
    (folder / "git").write_text(program)
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return flag


def test_a_git_that_is_killed_is_no_conflict_and_the_line_goes_on_when_it_lives(made, kill_git):
    swarm = made()
    one = swarm.done("one", {"text": LINES.replace("\n3\n", "\nthree\n")})
    other = swarm.done("other", {"text": LINES.replace("\n13\n", "\nthirteen\n")})
    kill_git.touch()
    for _ in range(TRIES + 2):
        swarm.merge()
    assert (swarm.merged(), swarm.delivery(other)["state"]) == ([one], "waiting")
    assert len(swarm.events("merge.waits", other)) == 1
    kill_git.unlink()
    swarm.merge()
    assert swarm.merged() == [one, other]


def test_a_delivery_that_cannot_be_merged_at_all_does_not_hold_up_the_line(made):
    swarm = made(attempts=1)
    lost, other = swarm.done("lost", {"a": "x"}), swarm.done("other", {"b": "x"})
    with swarm.store.transaction(None) as tx:
        tx.execute("update merge set base = :none where task = :task", none="1" * 40, task=lost)
    for _ in range(TRIES):
        swarm.merge()
    assert swarm.merged() == [other]
    assert swarm.delivery(lost)["state"] == "resolving"


def test_a_check_that_spoils_its_own_temporary_directory_harms_no_later_one(made):
    swarm = made(check='rm -rf "$TMPDIR" && touch "$TMPDIR"')
    both = [swarm.done(f"task {number}", {f"new{number}": "x"}) for number in range(2)]
    swarm.merge()
    assert swarm.merged() == both


def test_a_report_that_cannot_be_written_just_now_is_no_end_of_the_swarm(made):
    swarm = made(attempts=1)
    swarm.done("first", {"text": "first\n"})
    second = swarm.done("second", {"text": "second\n"})
    swarm.merge()
    resolver = swarm.delivery(second)["resolver"]
    swarm.hand_in(swarm.claim(resolver), {"more": "x"})  # and leaves the markers
    reports = swarm.swarm.directory / "reports"
    reports.write_text("in the way")
    swarm.merge()
    assert swarm.row(second)["state"] not in ("done", "failed")
    assert "reports" in swarm.events("merge.waits")[-1]["reason"]
    reports.unlink()
    swarm.merge()
    assert swarm.row(second)["state"] == "failed"
    assert (reports / f"task-{second}.md").exists()
