"""`Swarm` as a Python programmer uses it: in a thread, without a terminal, beside an event loop, in a notebook."""

import asyncio
import functools
import operator
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path

import pytest
from tests.harness.repositories import run as git
from tests.harness.swarming import eventually, kill, logs, processes_of

from prong.harness import Swarm, repeatable, swarms
from prong.harness.patterns.hosting import Standstill, SupervisorGone
from prong.harness.rules.role_names import NoSuchRole
from prong.primitives.errors import TaskFailed
from prong.state import Invalid

SCRIPT = Path(__file__).with_name("pattern_scripts.py")


def in_a_thread(work):
    """As a notebook's server or a web server would run it: not in the main thread."""
    with futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=100)


def test_who_only_answers_has_no_clone_and_leaves_a_process_to_the_next(root):
    with Swarm(root, offline=True, scripts=[SCRIPT], agents=2) as swarm:
        assert [one.result for one in swarm.map("Say item {item}", range(8))] == [f"answer {n}" for n in range(8)]
        assert list((swarm.directory / "workspaces").iterdir()) == []
        store = swarms.at_directory(swarm.directory).store()
        (pids,) = store.row("select count(distinct pid) from agent where task is not null")
        (agents,) = store.row("select count(*) from agent where task is not null and state = 'ended'")
        assert agents == 8
        assert pids < 8
        [wrote] = swarm.map("Write item {item}", [9])
        assert wrote.result == "wrote 9"
        begun = dict(store.rows("select id, base_commit from task"))
        assert {task for task, base in begun.items() if base is not None} == {wrote.task}
        # Whose process ran something, or touched a file, is nobody else afterwards.
        (pid,) = store.row("select pid from agent where task = :task", task=wrote.task)
        assert [one.result for one in swarm.map("Say item {item}", [10, 11])] == ["answer 10", "answer 11"]
        assert (
            store.row("select count(*) from agent where pid = :pid and task > :task", pid=pid, task=wrote.task)[0] == 0
        )
        store.close()
    assert git(root, "show", f"{swarm.branch}:made-9.txt") == "9"


def test_prompts_functions_and_a_vote_in_one_swarm(root):
    seen = []

    def work():
        with Swarm(root, offline=True, scripts=[SCRIPT], agents=4, progress=seen.append) as swarm:
            check_maps(swarm)
            check_calls(swarm)
            check_deaths(swarm, root.parent / "calls")
            assert swarm.vote("Vote alike", 2).answer == "Yes."
            return swarm.branch

    branch = in_a_thread(work)
    assert seen[3].done == 3
    assert (seen[3].failed, seen[3].open) == (1, 0)
    assert git(root, "show", f"{branch}:made-7.txt") == "7"
    assert git(root, "show", f"{branch}:called.txt") == "by a function"


def check_maps(swarm):
    for refused in (
        lambda: swarm.submit("Do it", role="codex"),
        lambda: swarm.map("Do item {item}", [1], role="codex"),
        lambda: swarm.vote("Vote", role="codex"),
        lambda: swarm.reduce("Put together", ["a"], role="codex"),
    ):
        with pytest.raises(NoSuchRole, match=r"Define it there: roles: \{codex: \{kind: codex\}\}"):
            refused()
    outcomes = list(swarm.map("Do item {item}", [4, 5, 6, 7]))
    assert [(one.item, one.result) for one in outcomes] == [
        (4, "answer 4"), (5, None), (6, "answer 6"), (7, "answer 7"),
    ]  # fmt: skip
    assert "refused" in outcomes[1].error
    whole = swarm.reduce("Put together", [*outcomes, "answer 100"], fits_characters=30)
    assert whole.result == "sum 117"
    assert whole.item["level"] == 2
    assert [one.result for one in swarm.map("Write item {item}", [7])] == ["wrote 7"]


def check_calls(swarm):
    power = swarm.submit(pow, 2, 10)
    written = swarm.submit(lambda: Path("called.txt").write_text("by a function\n") and os.getpid())
    wrong = swarm.submit(operator.getitem, {}, "key")
    asked = swarm.submit("Do item 8")
    both = swarm.submit("Put together\n--- result 1 of 1 ---\nanswer 5", needs=[asked])
    given = swarm.submit(operator.call, lambda: Path.cwd().is_dir())
    refused = swarm.submit("Do item 5")
    assert futures.wait([power, written, wrong, asked, refused], timeout=60).not_done == set()
    assert power.result() == 1024
    assert written.result() != os.getpid()
    assert isinstance(wrong.exception(), KeyError)
    assert asked.result() == "answer 8"
    assert (both.result(), given.result()) == ("sum 5", True)
    assert isinstance(refused.exception(), TaskFailed)
    assert list(swarm.map(max, [1, 5], [2, 3])) == [2, 5]


def die_first(place, name):
    """Say that it was called, and die of it the first time; how often it was called."""
    with Path(place, name).open("a") as file:
        file.write("x")
    if Path(place, name).stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return Path(place, name).stat().st_size


@repeatable(attempts=3)
def die_first_only(place, name):
    return die_first(place, name)


def check_deaths(swarm, place):
    place.mkdir()
    once = swarm.submit(die_first, str(place), "once")
    again = swarm.submit(functools.partial(die_first_only, str(place)), "again")
    assert again.result(timeout=60) == 2
    error = once.exception(timeout=60)
    assert isinstance(error, TaskFailed)
    assert "may have run wholly, partly or not at all" in str(error)
    assert (place / "once").read_text() == "x"


def check_votes(swarm):
    tried = swarm.map("Do item {item} at last", [5], on_error="retry")
    assert next(tried).result == "answer 5"
    same = swarm.vote("Vote alike", 5)
    assert same.answer == "Yes."
    assert same.agreement == 1
    assert len(same.votes) + same.saved == 5
    assert 0 < same.extra_tokens < same.tokens
    split = swarm.vote("Vote on it", 2)
    assert not split.decided
    assert split.agreement == 0.5
    judged = swarm.vote("Vote by judge", 2, by="judge")
    assert judged.answer == judged.tally[1][0]
    assert not swarm.vote("Vote for all", 2, by="unanimous").decided


@pytest.mark.long
def test_votes_and_what_is_awaited(root):
    with Swarm(root, offline=True, scripts=[SCRIPT], agents=4) as swarm:
        check_votes(swarm)
        asyncio.run(check_twins(swarm))


async def check_twins(swarm):
    both = await asyncio.gather(swarm.asubmit("Do item 9"), swarm.asubmit(abs, -3))
    assert both == ["answer 9", 3]
    async for outcome in swarm.amap("Do item {item}", range(11, 1_000_000)):
        assert outcome.result == "answer 11"
        break
    assert (await swarm.avote("Vote alike", 1)).answer == "Yes."
    assert (await swarm.areduce("Put together", ["answer 1"])).result == "sum 1"


@pytest.mark.long
def test_a_swarm_without_a_repository_leaves_nothing_and_one_with_a_name_goes_on(root):
    with Swarm(offline=True, agents=2) as swarm:
        place = swarm.directory
        assert swarm.submit("Count these words").result().endswith("17 characters")
    assert not place.parent.parent.exists()
    first = Swarm(root, name="mine", offline=True, scripts=[SCRIPT])
    assert next(first.map("Do item {item}", [1, 2, 3, 4])).result == "answer 1"
    first.stop()
    with Swarm(root, name="mine", offline=True, scripts=[SCRIPT]) as second:
        assert second.id == first.id
        outcomes = list(second.map("Do item {item}", [1, 2, 3, 4]))
        assert outcomes[0].before
        assert [one.task for one in outcomes] == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="shutdown"):
        second.submit("Do item 1")
    with pytest.raises(Invalid):
        Swarm(name="nowhere")


NOTEBOOK = """
from prong.harness import Swarm, repeatable
base = 40
def helper(number):
    return base + number
with Swarm(offline=True, agents=1) as swarm:
    print(swarm.submit(lambda: helper(2)).result(), list(swarm.map(helper, [1])))
"""


@pytest.mark.long
def test_functions_of_a_program_without_a_file_run_as_in_a_notebook(tmp_path):
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("42 [41]\n", 0), done.stderr


@pytest.mark.long
def test_whoever_waits_hears_that_the_supervisor_is_gone_or_that_the_budget_is_spent(root):
    swarm = Swarm(root, offline=True, scripts=[SCRIPT], latency_s=30)
    waiting = swarm.submit("Do item 1")
    assert swarm.submit(abs, -1).result() == 1
    kill(next(one.pid for one in processes_of(root) if "prong.harness.patterns.host" in one.cmdline()))
    with pytest.raises(SupervisorGone):
        waiting.result(timeout=60)
    swarm.stop()
    poor = Swarm(root, offline=True, tokens=50_000)
    with pytest.raises(Standstill, match="budget is spent"):
        list(poor.map("Measure {item}", [*range(200)]))
    poor.stop()


@pytest.mark.long
def test_shutting_down_waits_for_what_was_submitted_or_cancels_it(root):
    swarm = Swarm(root, offline=True, scripts=[SCRIPT], latency_s=0.2, agents=2)
    kept = swarm.submit("Do item 1")
    swarm.shutdown(wait=False)
    eventually(kept.done, "its end")
    assert kept.result() == "answer 1"
    other = Swarm(root, offline=True, scripts=[SCRIPT], latency_s=60)
    lost = other.submit("Do item 1")
    other.shutdown(cancel_futures=True)
    assert lost.cancelled()
    eventually(lambda: not any(one.name == "prong-shutdown" for one in threading.enumerate()), "the end of all")
    assert not [one for one in processes_of(root) if "prong.harness.patterns.host" in one.cmdline()], logs(root)
