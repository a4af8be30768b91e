"""Conflicts that are seen before they are made, and said to both who would make them."""

import pytest
from watchdog.observers import Observer

from prong.harness import foresight
from prong.harness.foresight import Foresight, Watch, change, foreseeing, overlap
from prong.harness.messages import check_heard, unheard
from prong.harness.repository.workspaces import Workspace
from prong.harness.why.explain import explain

from . import repositories as git
from .repository.merging_swarm import Tasks
from .swarming import eventually

LINES = "".join(f"{n}\n" for n in range(1, 41))


@pytest.fixture
def made(root):
    git.commit(root, {"long.txt": LINES, ".gitignore": "*.log\n"})
    swarm = Tasks(root)
    yield swarm
    swarm.close()


def work(made, title, files):
    """A task at work, with files changed in its workspace; its number and where that is."""
    task = made.task(title)
    workspace = Workspace.create(made.swarm.repository, made.swarm.directory / "workspaces" / str(task), "HEAD")
    git.write(workspace.directory, files)
    return task


def at(n, text="x"):
    return LINES.replace(f"\n{n}\n", f"\n{text}\n")


def seen(made, *paths_of):
    looks = Foresight(made.swarm, made.store)
    for task, path in paths_of:
        looks.note(task, path)
    looks.look()
    return made.events("conflict.foreseen")


def test_two_who_change_the_same_lines_are_both_told_once(made):
    one, other = work(made, "one", {"long.txt": at(10)}), work(made, "other", {"long.txt": at(11, "y")})
    [event] = seen(made, (one, "long.txt"), (other, "long.txt"))
    assert (event["tasks"], event["path"], event["lines"]) == ([one, other], "long.txt", "lines 10-11")
    [said] = unheard(made.store, one)
    assert f"Task {other} (other) is changing long.txt in its clone at line 11" in said
    assert "you are changing it at line 10." in said.replace("\n", " ")
    assert len(unheard(made.store, other)) == 1
    assert len(seen(made, (one, "long.txt"))) == 1
    told = [reason.detail for reason in explain(made.store, one).reasons]
    assert any(f"Task {other} changes the same lines" in detail for detail in told)
    with made.store.transaction(None) as tx:
        check_heard(tx, one)  # nobody is held up by it


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"long.txt": at(10)}, {"long.txt": at(20)}),
        ({"long.txt": at(10)}, {"long.txt": at(10)}),
        ({"long.txt": LINES}, {"long.txt": at(10)}),
        ({"a.log": "a\n"}, {"a.log": "b\n"}),
    ],
    ids=["elsewhere in the file", "the same change", "only touched", "ignored"],
)
def test_what_will_merge_is_no_conflict(made, mine, theirs):
    one, other = work(made, "one", mine), work(made, "other", theirs)
    assert seen(made, *((task, path) for task in (one, other) for path in mine)) == []


@pytest.mark.parametrize("text", [b"\x00\xff" * 10, b"", b"no end", b"a\r\nb\r\n"])
def test_a_file_that_both_add_or_one_deletes_is_one(made, text):
    one, other = work(made, "one", {"new": text}), work(made, "other", {"new": b"other"})
    assert len(seen(made, (one, "new"), (other, "new"))) == 1
    third, fourth = work(made, "third", {"long.txt": None}), work(made, "fourth", {"long.txt": at(30)})
    assert len(seen(made, (third, "long.txt"), (fourth, "long.txt"))) == 2


def test_a_file_that_is_as_it_was_has_no_change(made, root, tmp_path):
    git.commit(root, {"ends": "a\n\n", "no end": "a", "crlf": "a\r\n"})
    workspace = Workspace.create(made.swarm.repository, tmp_path / "workspaces/one", "HEAD")
    assert [change(workspace.directory, name) for name in ("ends", "no end", "crlf", "folder", "nowhere")] == [None] * 5


def test_a_link_or_a_pipe_does_not_stop_the_watch(made):
    one, other = work(made, "one", {"long.txt": at(3)}), work(made, "other", {"long.txt": at(3, "y")})
    place = made.swarm.directory / "workspaces" / str(one) / "long.txt"
    place.unlink()
    place.symlink_to("/dev/zero")
    assert len(seen(made, (one, "long.txt"), (other, "long.txt"))) == 1  # it is gone as a file


def test_lines_side_by_side_overlap_as_they_do_for_git():
    assert overlap([(1, 3)], [(4, 4)]) == (1, 4)
    assert overlap([(1, 3)], [(5, 6)]) is None


def test_workspaces_are_watched_from_what_is_there_on(made):
    one = work(made, "one", {"long.txt": at(10)})
    with foreseeing(made.swarm):
        eventually(lambda: made.store.row("select 1 from touch where task = :task", task=one), "the change before")
        other = work(made, "other", {})
        place = made.swarm.directory / "workspaces" / str(other)
        number = iter(range(1_000_000))

        def edited():
            git.write(place, {"long.txt": at(10, f"y{next(number)}")})
            return made.events("conflict.foreseen")

        [event] = eventually(edited, "the conflict to be seen")
    assert event["tasks"] == [one, other]


def test_a_workspace_is_left_alone_where_the_kernel_has_too_few_watches(made):
    task = work(made, "one", {"long.txt": at(10)})
    Watch(made.swarm, made.store, Observer(), watches=foresight.SHARE).round()
    assert made.store.row("select 1 from touch where task = :task", task=task) is None
