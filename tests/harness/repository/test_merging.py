"""A task's delta is merged exactly once, whole, without a checkout, or its conflict is told in words."""

import os

import psutil
import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    ODD_FILES,
    commit,
    files_of,
    killed_at_every_call,
    make_odd_repository,
    make_repository,
    message,
    parents,
    run,
    together,
    write,
)

from prong.harness.repository.git import AGENT, Author, GitFailed
from prong.harness.repository.merging import Conflict, Integration, Merged, NoIntegration, find_merged, merge_delta
from prong.harness.repository.repository import BranchCheckedOut, Repository
from prong.harness.repository.workspaces import Workspace

LINES = "".join(f"{number}\n" for number in range(20))
START = {"text": LINES, "folder/a": LINES, "folder/b": "b\n", "binary.dat": bytes(range(256))}
ADA = Author("Ada", "ada@example.org", 1_700_000_000)


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


@pytest.fixture
def repository(root):
    return Repository.open(root)


def side(root, name, change, start="main"):
    """A commit on a branch of its own: `change` is files to write, or a function of the folder."""
    run(root, "checkout", "-q", "-b", name, start)
    if callable(change):
        change(root)
        change = {}
    made = commit(root, change, name)
    run(root, "checkout", "-q", "main")
    return made


def merge(repository, ours, theirs, base="main", **trailers):
    sha = repository.resolve
    return merge_delta(
        repository,
        base=sha(base),
        commit=sha(theirs),
        onto=sha(ours),
        message="The work",
        author=ADA,
        trailers=trailers,
    )


def test_changes_of_both_sides_end_in_one_commit_on_the_branch(root, repository):
    ours = side(root, "ours", {"text": LINES.replace("3\n", "three\n", 1), "new ours": "x"})
    theirs = side(root, "theirs", {"text": LINES + "end\n", "new theirs": "x", "folder/b": None})
    merged = merge(repository, ours, theirs, **{"Prong-Task": "7", "Prong-Agent": "ada"})
    assert merged.how == "merged"
    assert parents(root, merged.commit) == [ours]
    files = files_of(root, merged.commit)
    assert files.keys() == {*START, "new ours", "new theirs"} - {"folder/b"}
    assert files["text"][1].decode() == LINES.replace("3\n", "three\n", 1) + "end\n"
    assert message(root, merged.commit) == "The work\n\nProng-Task: 7\nProng-Agent: ada"
    names = run(root, "log", "-1", "--format=%an <%ae> %at %cn <%ce>", merged.commit)
    assert names == "Ada <ada@example.org> 1700000000 prong <prong@localhost>"


def test_a_merge_leaves_the_users_tree_and_branches_alone(root, repository):
    ours, theirs = side(root, "ours", {"o": "x"}), side(root, "theirs", {"t": "x"})
    write(root, {"text": "dirty"})
    before = run(root, "status", "--porcelain"), run(root, "for-each-ref"), (root / ".git/index").read_bytes()
    merge(repository, ours, theirs)
    after = run(root, "status", "--porcelain"), run(root, "for-each-ref"), (root / ".git/index").read_bytes()
    assert after == before


def rename_folder(here):
    run(here, "mv", "folder", "moved")


def test_an_edit_follows_a_file_that_was_renamed_meanwhile(root, repository):
    run(root, "config", "merge.renames", "false")
    run(root, "config", "diff.renames", "false")
    ours = side(root, "ours", rename_folder)
    theirs = side(root, "theirs", {"folder/a": LINES + "end\n"})
    files = files_of(root, merge(repository, ours, theirs).commit)
    assert files["moved/a"][1].decode() == LINES + "end\n"
    assert "folder/a" not in files


def odd_changes(here):
    (here / "text").chmod(EXECUTABLE)
    (here / "link").symlink_to("text")
    write(here, {"binary.dat": bytes(reversed(range(256))), "crlf": b"a\r\nb\r\n"})


def test_modes_links_binaries_and_line_ends_are_merged_as_they_are(root, repository):
    ours = side(root, "ours", {"text": LINES + "end\n"})
    files = files_of(root, merge(repository, ours, side(root, "theirs", odd_changes)).commit)
    assert files["text"] == ("executable", (LINES + "end\n").encode())
    assert files["link"] == ("link", b"text")
    assert files["binary.dat"] == ("file", bytes(reversed(range(256))))
    assert files["crlf"] == ("file", b"a\r\nb\r\n")


def test_files_with_odd_names_are_merged(tmp_path):
    root = make_odd_repository(tmp_path / "r")
    ours = side(root, "ours", {"new": "x"})
    theirs = side(root, "theirs", {name: content + b"end\n" for name, content in ODD_FILES.items()})
    files = files_of(root, merge(Repository.open(root), ours, theirs).commit)
    assert all(files[name][1] == content + b"end\n" for name, content in ODD_FILES.items())


def test_an_empty_delta_is_no_commit(root, repository):
    ours = side(root, "ours", {"new": "x"})
    assert merge(repository, ours, "main") == Merged(ours, "empty")


def test_a_delta_that_is_there_already_is_no_commit(root, repository):
    ours = side(root, "ours", {"text": LINES + "end\n", "new": "x"})
    theirs = side(root, "theirs", {"text": LINES + "end\n"})
    assert merge(repository, ours, theirs) == Merged(ours, "empty")
    assert merge(repository, theirs, theirs) == Merged(theirs, "empty")


def test_onto_an_unchanged_branch_the_delta_goes_as_it_is(root, repository):
    theirs = side(root, "theirs", {"text": "new\n"})
    merged = merge(repository, "main", theirs)
    assert run(root, "rev-parse", f"{merged.commit}^{{tree}}") == run(root, "rev-parse", f"{theirs}^{{tree}}")
    assert parents(root, merged.commit) == [run(root, "rev-parse", "main")]


def test_of_a_forked_task_only_its_own_delta_is_merged(root, repository):
    # The parent's unfinished work is the child's base, and must not come along.
    fork = side(root, "fork", {"unfinished": "x", "text": "unfinished\n" + LINES})
    child = side(root, "child", {"own": "x", "text": "unfinished\n" + LINES + "end\n"}, fork)
    ours = side(root, "ours", {"new": "x"})
    files = files_of(root, merge(repository, ours, child, base=fork).commit)
    assert files.keys() == {*START, "own", "new"}
    assert files["text"][1].decode() == LINES + "end\n"


def test_a_commit_far_from_its_base_is_merged_as_one_delta(root, repository):
    side(root, "first", {"one": "1"})
    theirs = side(root, "second", {"two": "2", "one": None}, "first")
    ours = side(root, "ours", {"new": "x"})
    merged = merge(repository, ours, theirs)
    assert files_of(root, merged.commit).keys() == {*START, "new", "two"}
    assert parents(root, merged.commit) == [ours]


def test_a_delta_between_two_lines_of_commits_is_merged(root, repository):
    base = side(root, "one-line", {"only base": "x"})
    theirs = side(root, "other-line", {"only theirs": "x"})
    ours = side(root, "ours", {"only ours": "x"}, base)
    files = files_of(root, merge(repository, ours, theirs, base=base).commit)
    assert files.keys() == {*START, "only theirs", "only ours"}


def change_link_to(target):
    def change(here):
        (here / "folder/b").unlink()
        (here / "folder/b").symlink_to(target)

    return change


def rename_to(name):
    return lambda here: run(here, "mv", "text", name)


@pytest.mark.parametrize(
    ("sides", "paths", "words"),
    [
        (({"text": "x\n"}, {"text": "y\n"}), {"text"}, "both sides changed the same lines"),
        (({"n": "x\n"}, {"n": "y\n"}), {"n"}, "both sides added this file"),
        (({"text": None}, {"text": LINES + "y\n"}), {"text"}, "one side changed this file, the other deleted it"),
        (({"text": LINES + "x\n"}, {"text": None}), {"text"}, "one side changed this file, the other deleted it"),
        (({"binary.dat": b"\0x"}, {"binary.dat": b"\0y"}), {"binary.dat"}, "both sides changed"),
        ((rename_to("one"), rename_to("two")), {"text", "one", "two"}, "to different names"),
        ((rename_to("one"), {"text": None}), {"one", "text"}, "one side renamed this file, the other deleted it"),
        (({"n": "x\n"}, {"n/deep": "y\n"}), {"n"}, "one side has a file where the other has a folder"),
        ((rename_folder, {"folder/new": "y\n"}), {"moved/new"}, "a folder that the other side renamed"),
        ((change_link_to("x"), change_link_to("y")), {"folder/b"}, "both sides"),
        ((change_link_to("x"), {"folder/b": "y\n"}), {"folder/b"}, "link"),
    ],
)
def test_a_conflict_is_told_with_its_paths_and_in_words(root, repository, sides, paths, words):
    ours, theirs = sides
    conflict = merge(repository, side(root, "ours", ours), side(root, "theirs", theirs))
    assert isinstance(conflict, Conflict)
    assert paths <= set(conflict.paths)
    assert not set(START).intersection(conflict.paths) - paths - {"folder/new"}
    assert words in conflict.detail


@pytest.mark.parametrize("name", [name for name in ODD_FILES if name != "empty"])
def test_a_conflict_names_odd_paths_exactly(tmp_path, name):
    root = make_odd_repository(tmp_path / "r")
    ours, theirs = side(root, "ours", {name: b"x\0\n"}), side(root, "theirs", {name: b"y\0\n"})
    assert merge(Repository.open(root), ours, theirs).paths == (name,)


def test_a_conflict_brings_the_tree_with_markers_and_only_the_paths_in_conflict(root, repository):
    ours = side(root, "ours", {"text": "x\n", "folder/a": "x\n" + LINES})
    theirs = side(root, "theirs", {"text": "y\n", "folder/a": LINES + "y\n"})
    conflict = merge(repository, ours, theirs)
    assert conflict.paths == ("text",)
    assert b"<<<<<<<" in files_of(root, conflict.tree)["text"][1]
    assert files_of(root, conflict.tree)["folder/a"][1].decode() == "x\n" + LINES + "y\n"


def test_attributes_of_the_branch_decide_and_not_those_in_the_users_tree(root, repository):
    commit(root, {".gitattributes": "*.md merge=union\n", "deep/.gitattributes": "*.lock -merge\n"})
    commit(root, {"log.md": "start\n", "deep/x.lock": LINES})
    ours = side(root, "ours", {"log.md": "start\nours\n"})
    theirs = side(root, "theirs", {"log.md": "start\ntheirs\n"})
    write(root, {".gitattributes": "*.md -merge\n"})
    assert files_of(root, merge(repository, ours, theirs).commit)["log.md"][1] == b"start\nours\ntheirs\n"
    write(root, {".gitattributes": "*.md merge=union\n"})
    ours = side(root, "more-ours", {"deep/x.lock": "x\n" + LINES})
    theirs = side(root, "more-theirs", {"deep/x.lock": LINES + "x\n"})
    write(root, {"deep/.gitattributes": "* merge=union\n"})
    assert merge(repository, ours, theirs).paths == ("deep/x.lock",)


def test_commits_are_taken_as_they_are_even_where_the_user_replaced_one(root, repository):
    base = commit(root, {"second": "x"})
    ours, theirs = side(root, "ours", {"o": "x"}), side(root, "theirs", {"t": "x"})
    run(root, "replace", base, f"{base}~1")
    run(root, "replace", ours, base)
    assert files_of(root, merge(repository, ours, theirs, base=base).commit).keys() == {*START, "second", "o", "t"}


def test_a_commit_that_is_not_there_is_an_error_and_not_a_conflict(root, repository):
    ours = side(root, "ours", {"new": "x"})
    with pytest.raises(GitFailed):
        merge_delta(repository, base=ours, commit="1" * 40, onto=ours, message="m", author=ADA, trailers={})


# The integration branch


class Work:
    """Tasks that are done and wait to be merged, and the branch to merge them onto."""

    def __init__(self, root, folder):
        self.root = root
        self.folder = folder
        self.repository = Repository.open(root)
        self.since = self.repository.head()
        self.repository.create_integration("prong/one", self.since)

    def branch(self):
        """A merger that has just been started."""
        return Integration(self.repository, "prong/one", self.since)

    def task(self, name, files, text="The work"):
        """What `Integration.merge` needs of a finished task."""
        workspace = Workspace.create(self.repository, self.folder / name, self.since)
        write(workspace.directory, files)
        made = workspace.commit_all("m", AGENT, {})
        self.repository.adopt(workspace, made, f"refs/prong/one/{name}")
        return {"base": self.since, "commit": made, "message": text, "trailers": {"Prong-Task": name}}

    def merge(self, **task):
        return self.branch().merge(**task, author=ADA)

    def log(self):
        """What was merged, the oldest first, and that it is one line of commits."""
        form = "--format=%(trailers:key=Prong-Task,valueonly,separator=%x2c) %P"
        lines = run(self.root, "log", "--reverse", form, f"{self.since}..prong/one").splitlines()
        assert all(len(line.split()) == 2 for line in lines), lines
        return [line.split()[0] for line in lines]


@pytest.fixture
def work(root, tmp_path):
    return Work(root, tmp_path / "workspaces")


MERGE = """
branch = Integration(Repository.open(given["root"]), "prong/one", given["since"])
for task in given["tasks"]:
    print(branch.merge(**task, author=Author("Ada", "ada@example.org")).how)
"""


def given(work, *tasks):
    return {"root": str(work.root), "since": work.since, "tasks": tasks}


def test_tasks_are_merged_one_after_another(work):
    tasks = [work.task(str(number), {f"new {number}": "x"}) for number in range(3)]
    merged = [work.merge(**task) for task in tasks]
    assert [result.how for result in merged] == ["merged"] * 3
    assert work.log() == ["0", "1", "2"]
    assert work.branch().tip() == merged[-1].commit
    assert files_of(work.root, "prong/one").keys() == {*START, "new 0", "new 1", "new 2"}


def test_a_merged_task_is_found_by_its_whole_trailer_only(work):
    merged = work.merge(**work.task("12", {"new": "x"}, "The work\n\nProng-Task: 3"))
    assert work.branch().find("12") == merged.commit
    assert find_merged(work.repository, "prong/one", work.since, ("Prong-Task", "12")) == merged.commit
    for other in ("1", "2", "3", "123", "12 ", "Prong-Task"):
        assert work.branch().find(other) is None
    assert find_merged(work.repository, "prong/one", merged.commit, ("Prong-Task", "12")) is None
    assert find_merged(work.repository, "prong/one", work.since, ("Prong-Agent", "12")) is None


def test_a_restarted_merger_does_not_merge_a_task_again(work):
    task = work.task("1", {"text": LINES + "end\n"})
    merged = work.merge(**task)
    # Undone meanwhile, so that the delta would fit once more.
    work.merge(**work.task("2", {"text": LINES + "end\nmore\n"}) | {"base": merged.commit})
    assert work.merge(**task) == Merged(merged.commit, "already merged")
    assert work.log() == ["1", "2"]


def test_a_merger_that_goes_on_sees_what_others_merged(work):
    old = work.branch()
    task = work.task("1", {"one": "x"})
    assert old.merge(**work.task("0", {"zero": "x"}), author=ADA).how == "merged"
    merged = work.merge(**task)
    assert old.merge(**task, author=ADA) == Merged(merged.commit, "already merged")
    assert old.merge(**work.task("2", {"two": "x"}), author=ADA).how == "merged"
    assert work.log() == ["0", "1", "2"]


def test_a_branch_that_was_set_back_can_take_the_task_again(work):
    branch = work.branch()
    task = work.task("1", {"one": "x"})
    branch.merge(**task, author=ADA)
    run(work.root, "branch", "-f", "prong/one", work.since)
    assert branch.merge(**task, author=ADA).how == "merged"
    assert work.log() == ["1"]


def test_a_conflict_leaves_the_branch_where_it_is(work):
    work.merge(**work.task("1", {"text": "x\n"}))
    tip = work.branch().tip()
    assert work.merge(**work.task("2", {"text": "y\n"})).paths == ("text",)
    assert work.branch().tip() == tip


def test_a_killed_merger_has_merged_once_or_not_at_all_and_the_next_one_goes_on(work, tmp_path):
    task = work.task("1", {"one": "x", "text": LINES + "end\n"})
    work.merge(**work.task("0", {"zero": "x"}))
    start = work.branch().tip()
    for _ in killed_at_every_call(tmp_path / "bin", MERGE, given(work, task)):
        assert work.log() in (["0"], ["0", "1"])
        assert work.merge(**task).how in ("merged", "already merged")
        assert work.log() == ["0", "1"]
        assert files_of(work.root, "prong/one").keys() == {*START, "zero", "one"}
        run(work.root, "update-ref", "refs/heads/prong/one", start)
    assert work.log() == ["0", "1"]


def test_a_git_that_died_between_two_merges_is_started_again(work):
    branch = work.branch()
    for number in range(3):
        assert branch.merge(**work.task(str(number), {f"file {number}": "x"}), author=ADA).how == "merged"
        for process in psutil.Process().children():
            if process.name() == "git":
                process.kill()
                process.wait()
    assert work.log() == ["0", "1", "2"]
    run(work.root, "fsck", "--strict", "--full")


def test_eight_processes_merge_at_once_and_nothing_is_lost_or_doubled(work):
    # Goal: the branch advances by one task at a time.  Method: eight mergers, each with a task of its own and one that
    # all of them were given.
    common = work.task("common", {"common": "x"})
    tasks = [work.task(str(number), {f"new {number}": "x"}) for number in range(8)]
    told = together(
        MERGE, *(given(work, *sorted((own, common), key=str, reverse=n % 2)) for n, own in enumerate(tasks))
    )
    assert sorted(work.log()) == [*"01234567", "common"]
    assert files_of(work.root, "prong/one").keys() == {*START, "common", *(f"new {number}" for number in range(8))}
    # Who comes second finds the change there: by the trailer.
    assert sum(answer.split("\n").count("already merged") for answer in told) == 7
    run(work.root, "fsck", "--strict", "--full")


def test_merging_waits_for_whoever_has_the_branch_checked_out(work, tmp_path):
    run(work.root, "worktree", "add", "-q", str(tmp_path / "linked"), "prong/one")
    task = work.task("1", {"one": "x"})
    with pytest.raises(BranchCheckedOut):
        work.merge(**task)
    run(tmp_path / "linked", "checkout", "-q", "--detach")
    assert work.merge(**task).how == "merged"


def test_a_branch_that_is_gone_is_named(work):
    task = work.task("1", {"one": "x"})
    run(work.root, "update-ref", "-d", "refs/heads/prong/one")
    with pytest.raises(NoIntegration, match="prong/one"):
        work.merge(**task)


def test_a_lock_that_a_killed_git_has_left_keeps_nothing_from_the_integration_branch(root, repository):
    start = repository.head()
    repository.create_integration("prong/s", start)
    lock = root / ".git/refs/heads/prong/s.lock"
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 60,) * 2)
    branch = Integration(repository, "prong/s", start)
    made = branch.merge(
        base=start, commit=side(root, "work", {"text": "x\n"}), message="m", author=ADA, trailers={"Prong-Task": "1"}
    )
    branch.close()
    assert run(root, "rev-parse", "prong/s") == made.commit
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 60,) * 2)
    assert repository.advance("refs/heads/prong/s", start, made.commit)
