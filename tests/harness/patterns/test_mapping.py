"""`prong map` as a person types it: killed, called again, and counted.

PRONG_MAP_ITEMS says how large the long one is:

    PRONG_MAP_ITEMS=1000 .venv/bin/python -m pytest -s -n 0 -m long tests/harness/patterns/test_mapping.py
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest
from tests.harness.repositories import commit
from tests.harness.swarming import PATIENCE_S, eventually, kill, prong, start

SCRIPTS = Path(__file__).with_name("pattern_scripts.py")
OFFLINE = ("--offline", "--script", SCRIPTS)
ITEMS = int(os.environ.get("PRONG_MAP_ITEMS", "60"))
MOST_GROWN_BYTES = 30_000_000


def lines_of(path):
    """The results so far; the last line may be half a line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def host_of(process):
    """The process that supervises for it."""
    for child in process.children():
        if "prong.harness.patterns.host" in child.cmdline():
            return child
    return None


def check_results(path, count):
    """Every item has exactly one result, and every fifth has failed."""
    found = lines_of(path)
    assert Counter(one["item"] for one in found) == Counter(str(number) for number in range(1, count + 1))
    assert len({one["key"] for one in found}) == count
    for one in found:
        number = int(one["item"])
        assert (one["state"], one["result"]) == (("failed", None) if number % 5 == 0 else ("done", f"answer {number}"))


def test_a_map_that_is_killed_goes_on_where_it_was_and_every_item_has_one_result(root, tmp_path):
    items, out = tmp_path / "items", tmp_path / "out.jsonl"
    items.write_text("".join(f"{number}\n" for number in range(1, 13)))
    command = ("map", *OFFLINE, "--agents", 3, "--lines", items, "-o", out, "Do item {item}")
    first = start(*command, cwd=root)
    eventually(lambda: len(lines_of(out)) >= 4, "some results")
    kill(first.pid)
    first.communicate()
    before = lines_of(out)
    with out.open("a") as file:
        file.write('{"key": "')  # as if it had been killed over a line
    again = prong(*command, cwd=root, code=1)
    check_results(out, 12)
    assert lines_of(out)[: len(before)] == before
    assert f"{len(before)} items have their results and are skipped" in again.stderr
    assert "10 done, 2 failed" in again.stdout
    looked = json.loads(prong(*command, "--dry-run", "--json", "--on-error", "retry", cwd=root).stdout)
    assert (looked["items"], looked["tasks"]) == (2, 2)
    assert len(list(root.glob(".prong/*/state.db"))) == 1


@pytest.mark.long
def test_failed_items_are_tried_again_where_that_is_asked_for_and_the_whole_is_put_together_in_a_tree(root, tmp_path):
    items, out = tmp_path / "items", tmp_path / "out.jsonl"
    items.write_text("".join(f"{number}\n" for number in range(1, 13)))
    command = ("map", *OFFLINE, "--agents", 3, "--lines", items, "-o", out, "Do item {item}")
    prong(*command, cwd=root, code=1)
    check_results(out, 12)
    options = ("--on-error", "retry", "--reduce", "Put together", "--fits", 1000, "--json")
    retried = prong(*command, *options, cwd=root)
    *told, whole = map(json.loads, retried.stdout.splitlines())
    assert {one["state"] for one in lines_of(out)} == {"done"}
    assert Counter(one["item"] for one in told) == Counter(str(number) for number in range(1, 13))
    assert whole["result"] == "sum 78"
    nothing_new = prong(*command, "--json", cwd=root)
    assert len(nothing_new.stdout.splitlines()) == 12


@pytest.mark.long
def test_what_has_changed_since_is_done_anew_and_the_rest_is_not(root, tmp_path):
    out = tmp_path / "out.jsonl"
    command = ("map", "--offline", "--over", "**/*", "--on-error", "stop", "-o", out, "Measure {item}")
    prong(*command, cwd=root)
    first = {one["item"]: one for one in lines_of(out)}
    assert first["plain.txt"]["result"].startswith("plain.txt: 3 lines")
    commit(root, {"plain.txt": "one\n"})
    again = prong(*command, cwd=root)
    second = {one["item"]: one for one in lines_of(out)}
    assert second.pop("plain.txt")["result"].startswith("plain.txt: 1 lines")
    assert second == {item: one for item, one in first.items() if item != "plain.txt"}
    assert "1 are done anew" in again.stderr


@pytest.mark.long
def test_the_first_failure_ends_all_where_it_is_to_stop(root, tmp_path):
    items = tmp_path / "items"
    items.write_text("".join(f"{number}\n" for number in range(5, 40)))
    stopped = prong(
        "map", *OFFLINE, "--agents", 1, "--on-error", "stop", "--lines", items, "Do item {item}", cwd=root, code=1
    )
    assert "1 item failed; " in stopped.stderr
    assert "were cancelled" in stopped.stderr


@pytest.mark.long
@pytest.mark.timeout(120 + 6 * ITEMS)
def test_a_thousand_items_of_which_many_fail_and_two_kills(root, tmp_path):
    """The goal: each item has exactly one result, the reading is paid once, and memory stays flat.

    The method: the command is killed after a third, its supervisor after two thirds, and called until it ends.
    """
    items, out = tmp_path / "items", tmp_path / "out.jsonl"
    items.write_text("".join(f"{number}\n" for number in range(1, ITEMS + 1)))
    reducing = ("--reduce", "Put together", "--fits", 2000)
    command = ("map", *OFFLINE, "--lines", items, "-o", out, "--context", "fork", *reducing, "Do item {item}")
    began = time.monotonic()
    for share, victim in ((3, lambda process: process), (1.5, host_of)):
        running = start(*command, cwd=root)
        watched = psutil.Process(running.pid)
        reached = partial(has_reached, out, running, ITEMS / share)
        eventually(reached, f"{ITEMS / share:.0f} results", PATIENCE_S + 6 * ITEMS)
        kill(eventually(partial(victim, watched), "the victim").pid)
        running.communicate()
    grown, told = rest_of(command, root, out)
    assert f"sum {sum(number for number in range(1, ITEMS + 1) if number % 5)}" in told
    check_results(out, ITEMS)
    (store,) = root.glob(".prong/*/state.db")
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        (row,) = connection.execute(_PAID).fetchall()
    seconds = time.monotonic() - began
    report(f"{ITEMS} items in {seconds:.0f} s; grown by {grown / 1e6:.1f} MB; reading and forks: {row}")
    readings, prefix, forks, least, twice = row
    assert (readings, twice) == (1, 0)
    assert forks == ITEMS
    assert least >= 0.95 * prefix
    assert grown < MOST_GROWN_BYTES


# Who led after a kill may have written the prefix again: the emulator that held it was killed, too.
_PAID = """
select (select count(*) from task where title = 'Read for all'),
       (select max(prefix_tokens) from fork_point),
       (select count(*) from task where context = 'fork'),
       (select min(cache_read_tokens) from (
          select cache_read_tokens, row_number() over (order by cache_read_tokens) as place
            from model_call where prefix_tokens is not null) where place > 3),
       (select count(*) from (select task from event where kind = 'task.done' group by task having count(*) > 1))
"""


def has_reached(out, running, count):
    assert running.poll() is None, running.communicate()
    return len(out.read_bytes().splitlines()) >= count if out.exists() else False


def rest_of(command, root, out):
    """Let it end; by how many bytes the command and its supervisor have grown since they had settled, and its words."""
    running = start(*command, cwd=root)
    watched = psutil.Process(running.pid)
    settled = len(lines_of(out)) + ITEMS // 12
    eventually(partial(has_reached, out, running, settled), "that it has settled down", PATIENCE_S + 6 * ITEMS)
    processes = [watched, eventually(partial(host_of, watched), "its supervisor")]
    first = latest = sum(process.memory_info().rss for process in processes)
    while running.poll() is None:
        try:
            latest = sum(process.memory_info().rss for process in processes)
            running.wait(0.5)
        except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
            continue
    out_, err = running.communicate()
    assert running.returncode == 1, f"{running.returncode}\n{out_}\n{err}"
    return latest - first, out_


def report(line):
    sys.stderr.write(f"{line}\n")
