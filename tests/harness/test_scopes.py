"""Who would conflict with whom: by what tasks say that they will write, and by what is known of them and their kind."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prong.harness import scopes
from prong.harness.dispatch import AHEAD, Dispatcher
from prong.harness.foresight import Watch
from prong.harness.overlap import both_say, by_folder, meant, overlap
from prong.harness.repository.leasing import covers
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.task import set_role
from prong.state import Invalid, member, waiter

from .repository.merging_swarm import Tasks

PARTS = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "?", "**", "a**"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "abb"]), min_size=1, max_size=5).map("/".join)


@given(PATTERNS, PATTERNS, PATHS)
def test_patterns_that_both_cover_a_path_overlap(one, other, path):
    assert overlap(one, other) == overlap(other, one)
    if covers(one, path) and covers(other, path):
        assert overlap(one, other)


@given(st.lists(PATTERNS, min_size=1, max_size=4), st.lists(PATTERNS, min_size=1, max_size=4), st.lists(PATHS))
def test_what_is_told_of_many_patterns_at_once_is_what_each_pair_of_them_tells(some, others, paths):
    one, other = json.dumps(some), json.dumps(others)
    assert both_say(one, other) == any(overlap(mine, theirs) for mine in some for theirs in others)
    below = by_folder(set(paths))
    assert meant(one, below) == {path for path in paths if any(covers(pattern, path) for pattern in some)}


@given(st.lists(PARTS, min_size=1, max_size=8).map("/".join), PATHS)
def test_a_pattern_with_many_wildcards_covers_what_its_regular_expression_does(pattern, path):
    wild = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(/\*\*$|\*\*/|\*\*|\*|\?)", pattern)
    plain = "".join(wild.get(piece, re.escape(piece)) for piece in pieces)
    assert covers(pattern, path) == bool(re.fullmatch(f"{plain}(?:/.*)?", path, re.DOTALL))


def test_no_pattern_takes_longer_the_more_wildcards_it_has():
    assert not covers("*a" * 200 + "b", "a" * 200)  # a regular expression would try for years
    assert not covers("**/" * 150 + "x", "a/" * 100 + "b")
    assert covers("*a" * 200, "a" * 200)
    hard = json.dumps(["a*/" * 120 + f"{number}.py" for number in range(100)])
    assert both_say(hard, hard.replace(".py", ".md"))  # nobody lays ten thousand such pairs side by side


def test_hundreds_that_say_what_they_write_keep_nobody_waiting(make, store):
    numbers = [make(writes=[f"area_{one}/module_{two}.py" for two in range(20)]) for one in range(150)]
    with store.transaction(None) as tx:
        assert not scopes.read(tx, numbers).declared


@pytest.mark.parametrize(
    ("one", "other"),
    [("src/a", "src/ab"), ("*.py", "*.md"), ("a/**/x.py", "a/b/y.py"), ("a?", "abc"), ("docs", "doc/**")],
)
def test_patterns_that_nothing_fits_both_do_not_overlap(one, other):
    assert not overlap(one, other)


@pytest.mark.parametrize("writes", [["/etc/**"], ["a//b"], ["../x"], [""], ["a" * 501], ["x"] * 101, "src", [7]])
def test_what_is_no_pattern_is_refused(make, writes):
    with pytest.raises(Invalid):
        make(writes=writes)


# What a round makes of it.


@pytest.fixture
def rounds(store):
    """Starts what may start in so many slots; the tasks."""

    def rounds(slots=4):
        return [order["task"] for order in Dispatcher(store, slots=slots, parked=64).round().forks]

    return rounds


@pytest.fixture
def touch(do):
    """Makes it known that tasks have changed a file."""
    query = "insert into touch (task, path, at) values (:task, :path, 0)"
    return lambda path, *numbers: [do(lambda tx, one=one: tx.execute(query, task=one, path=path)) for one in numbers]


def in_merge_line(do, task):
    """It is handed in, and its agent has ended."""
    insert = "insert into merge (task, base, commit_id, state, queued_at) values (:task, 'b', 'c', 'waiting', 0)"
    do(lambda tx: tx.execute(insert, task=task))
    do(lambda tx: tx.execute("update task set state = 'parked' where id = :task", task=task))


def test_tasks_that_are_to_write_the_same_files_run_one_after_the_other(make, rounds, do):
    one, other, third = make(writes=["src/**"]), make(writes=["src/a.py", "docs"]), make(writes=["tests"])
    assert rounds() == [one, third]
    assert rounds() == []
    in_merge_line(do, one)
    assert rounds() == []  # its change is not on the branch, from which the other would start
    do(lambda tx: tx.execute("update merge set state = 'merged'"))
    assert rounds() == [other]


def test_who_waits_keeps_nobody_back_and_neither_does_whoever_made_the_task(make, rounds, do, store):
    parent = make(writes=["src"])
    assert rounds() == [parent]
    agent = store.row("select agent from task where id = :task", task=parent)["agent"]
    with store.transaction(member.Member(agent, 1, parent)) as tx:
        child, _ = create_task(tx, Plan("part", "do it", writes=["src/a.py"]))
    stranger = make(writes=["src/a.py"])
    assert rounds() == [child.id]  # a part of its parent's own work
    do(tasks.finish, child.id, "done")
    assert rounds() == []
    with store.transaction(member.Member(agent, 1, parent)) as tx:
        waiter.enrol(tx, "tasks", "some", timeout=None, wants={"mode": "all", "tasks": [stranger]})
        tx.execute("update task set state = 'parked' where id = :task", task=parent)
    assert rounds() == [stranger]  # or one that waits for it would never go on


def test_a_task_is_kept_back_no_longer_than_the_ageing(make, rounds, clock):
    one, other = make(writes=["src"]), make(writes=["src"])
    assert rounds() == [one]
    clock.advance(4 * 3600 - 1)
    assert rounds() == []
    clock.advance(2)
    assert rounds() == [other]


def test_what_a_role_is_to_write_holds_for_its_tasks_that_say_nothing_else(make, rounds, do):
    do(set_role, "writer", writes=["docs/**"])
    one, other = make(role="writer"), make(role="writer", writes=["README.md"])
    last = make(role="writer")
    assert rounds() == [one, other]
    do(tasks.finish, one, "done")
    assert rounds() == [last]


def test_many_that_are_kept_back_do_not_keep_back_those_behind_them(make, rounds, do):
    crowd = [Plan("work", "do it", writes=["src"]) for _ in range(AHEAD * 4)]
    first = do(tasks.create_tasks, crowd)[0][0].id
    unsaid = make()
    assert rounds() == [first, unsaid]


def test_another_attempt_lets_those_go_first_who_change_other_files(make, rounds, touch):
    busy = make()
    assert rounds(1) == [busy]
    again, said, other = make(), make(writes=["src/**"]), make()
    touch("src/a.py", busy, again)
    assert rounds(2) == [other]
    assert rounds(4) == [again, said]  # and no slot stays idle


@pytest.mark.parametrize("role", ["release", ""])
def test_a_task_is_expected_to_change_what_most_of_its_kind_have_changed(make, rounds, do, store, role):
    root = make()
    assert rounds(1) == [root]
    agent = store.row("select agent from task where id = :task", task=root)["agent"]

    def child():
        with store.transaction(member.Member(agent, 1, root)) as tx:
            return create_task(tx, Plan("part", "do it", role=role))[0].id

    for number in range(3):
        one = child()
        do(tasks.finish, one, "done")
        do(scopes.learn, one, ["CHANGELOG.md", f"{number}.py"])
    busy = child()
    assert rounds(2) == [busy]
    alike, other = child(), make()
    assert rounds(3) == [other]
    assert rounds(4) == [alike]


def test_what_was_merged_teaches_what_its_kind_changes(root):
    made = Tasks(root)
    watch = Watch(made.swarm, made.store, None, watches=0)
    with made.store.transaction(None) as tx:
        for _ in range(2):
            create_task(tx, Plan("Note", "Note it.", role="notes"))
    for number in (2, 3):
        made.claim(number)  # it begins from what was merged before
        made.hand_in(number, {"CHANGELOG.md": "line\n" * number, f"{number}.py": "x\n"})
        made.merge()
        watch.learn()
    watch.learn()
    rows = made.store.rows("select path, tasks from habit where kind = 'role notes' order by path")
    made.close()
    assert [tuple(row) for row in rows] == [("", 2), ("2.py", 1), ("3.py", 1), ("CHANGELOG.md", 2)]
