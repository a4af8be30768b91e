"""A snapshot holds everything that is in a workspace, and changes nothing there."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    ODD_FILES,
    START,
    Child,
    commit,
    files_in,
    files_of,
    finish,
    killed_at_every_call,
    make_odd_repository,
    make_repository,
    parents,
    run,
    show,
    together,
    write,
)
from tests.stepped import until

from prong.harness.repository import ignored, settling
from prong.harness.repository.cloning import Places
from prong.harness.repository.git import AGENT, Author, commit_variables, git
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


def test_a_snapshot_holds_every_kind_of_change(tmp_path):
    root = make_odd_repository(tmp_path / "repository")
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    here = workspace.directory
    write(here, {name: content + b"changed\n" for name, content in ODD_FILES.items()})
    write(here, {"-dash": None, "crlf.txt": None, "crlf.txt/is a folder": "x", "new\n\tü/-x": "x", "--": "x", " ": "x"})
    (here / "run.sh").chmod(0o644)
    (here / "plain.txt").chmod(EXECUTABLE)
    for name, target in (("dangling", "else"), ("binary.dat", "now a link"), ("new link", "/")):
        (here / name).unlink(missing_ok=True)
        (here / name).symlink_to(target)
    (here / "link").unlink()
    write(here, {"link": "now a file"})
    (here / "deep").rename(here / "moved")
    (here / "deep").symlink_to("moved")
    (here / "empty folder").mkdir()
    os.mkfifo(here / "pipe")
    expected = files_in_but(here, "pipe")
    assert show(workspace, workspace.snapshot()) == expected
    assert show(workspace, finish(workspace)) == expected


def files_in_but(root, name):
    # A pipe cannot be read, nor stored.
    (root / name).unlink()
    found = files_in(root)
    os.mkfifo(root / name)
    return found


def test_a_snapshot_changes_nothing_in_the_workspace(workspace):
    here = workspace.directory
    write(here, {"staged": "x", "loose": "x", "plain.txt": "changed"})
    run(here, "add", "staged")
    before = {path: path.read_bytes() for path in (here / ".git").rglob("*") if path.is_file()}, files_in(here)
    snapshot = workspace.snapshot()
    assert (
        {path: path.read_bytes() for path in (here / ".git").rglob("*") if path.is_file()},
        files_in(here),
    ) == before
    assert show(workspace, snapshot).keys() == {*START, "staged", "loose"}


def test_the_same_state_gives_the_same_snapshot_with_head_as_its_parent(root, workspace):
    own = commit(workspace.directory, {"own": "x"})
    write(workspace.directory, {"loose": "x"})
    first = workspace.snapshot()
    assert workspace.snapshot() == first
    write(workspace.directory, {"loose": "y"})
    assert workspace.snapshot() != first
    write(workspace.directory, {"loose": "x"})
    assert Workspace.open(workspace.directory).snapshot() == first
    show(workspace, first)
    assert parents(root, first) == [own]


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_a_snapshot_is_the_commit_that_git_would_have_written(tmp_path, kind):
    root = make_repository(tmp_path / "r", START, f"--object-format={kind}")
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", repository.head())
    write(workspace.directory, {"plain.txt": "ä\n"})
    made = workspace.snapshot()
    private = Places(workspace.directory).private
    tree, when = git("--git-dir=.", "log", "-1", "--format=%T %ct", made, cwd=private).split()
    message = "A snapshot of uncommitted work\n"
    variables = commit_variables(*[Author(AGENT.name, AGENT.email, int(when))] * 2)
    theirs = subprocess.run(
        ["git", "commit-tree", tree, "-p", repository.head()], cwd=private, env=os.environ | variables, input=message,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert theirs.stdout.strip() == made
    assert when == git("log", "-1", "--format=%ct", cwd=root)
    git("--git-dir=.", "fsck", "--no-dangling", cwd=private)


def test_an_edit_that_keeps_size_and_second_is_seen(workspace):
    # Goal: file times are not trusted further than they go.  Method: many edits of the same size, as fast as can be.
    seen = set()
    for number in range(20):
        write(workspace.directory, {"plain.txt": f"{number:05}"})
        seen.add(workspace.snapshot())
    assert len(seen) == 20


def test_a_file_as_young_as_the_index_is_read_again(workspace):
    # Goal: git cannot tell an edit by time and size when both are as before; it must be made to look.  Method: give
    # the file and the index that was kept the same old time, and have git trust no other sign.
    write(Places(workspace.directory).private, {"config": CAREFUL_CONFIG})
    file = workspace.directory / "plain.txt"
    old = 1_600_000_000
    write(workspace.directory, {"plain.txt": "before"})
    commit(workspace.directory, {})
    os.utime(file, (old, old))
    until(lambda: time.time() > file.stat().st_ctime + 1.1, "another second, or no index is kept")
    workspace.snapshot()
    (index,) = Places(workspace.directory).private.glob("index-*")
    os.utime(index, (old, old))
    file.write_text("behind")
    os.utime(file, (old, old))
    assert show(workspace, workspace.snapshot())["plain.txt"] == ("file", b"behind")


CAREFUL_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\ttrustctime = false\n"


def test_a_child_workspace_starts_with_what_its_parent_had_not_committed(root, workspace, tmp_path):
    repository = Repository.open(root)
    write(workspace.directory, {"loose": "x", "plain.txt": "edited"})
    snapshot = workspace.snapshot()
    repository.adopt(workspace, snapshot, "refs/prong/s/fork")
    child = Workspace.create(repository, tmp_path / "workspaces" / "child", snapshot)
    assert files_in(child.directory) == files_in(workspace.directory)
    assert child.base == snapshot
    write(child.directory, {"child": "x"})
    made = finish(child)
    repository.adopt(child, made, "refs/prong/s/task")
    assert parents(root, made) == [snapshot]


def test_a_fork_gets_the_ignored_files_if_they_are_asked_for(root, workspace):
    here = workspace.directory
    write(here, {"out/deep/tool": "#!/bin/sh\n", "noise.log": "x", "folder/more.log": "y", "loose": "z", "-x.log": "d"})
    (here / "out/deep/tool").chmod(EXECUTABLE)
    (here / "out/link").symlink_to("deep/tool")
    make_repository(here / "out/inner", {"a": "a"})
    repository = Repository.open(root)
    snapshot = workspace.snapshot_with_ignored()
    repository.adopt(workspace, snapshot, "refs/prong/s/fork")
    expected = files_in(here)
    write(here, {"noise.log": "later"})
    child = Workspace.create(repository, workspace.directory.with_name("child"), snapshot)
    assert files_in(child.directory) == expected
    assert (child.directory / "out/inner/.git").is_dir()
    assert child.snapshot() == snapshot
    assert files_of(root, snapshot).keys() == {*START, "loose"}
    write(child.directory, {"noise.log": "own", "own": "x"})
    assert (here / "noise.log").read_text() == "later"
    assert show(child, finish(child)).keys() == {*START, "loose", "own"}
    assert workspace.snapshot_with_ignored() != snapshot
    plain = workspace.snapshot()
    repository.adopt(workspace, plain, "refs/prong/s/plain")
    other = Workspace.create(repository, workspace.directory.with_name("other"), plain)
    assert files_in(other.directory).keys() == {*START, "loose"}


def test_more_ignored_files_than_the_bound_are_refused_and_nothing_is_copied(workspace):
    (workspace.directory / "out").mkdir()
    with (workspace.directory / "out/huge").open("wb") as huge:
        huge.truncate(ignored.BYTES + 1)  # it takes up no room
    with pytest.raises(ignored.TooMuchIgnored, match="2,048 MiB"):
        workspace.snapshot_with_ignored()
    assert not Places(workspace.directory).ignored("x").parent.exists()


def test_ignored_files_that_cannot_be_copied_are_told_and_leave_nothing_half_done(workspace, tmp_path):
    kept, tree = tmp_path / "kept", tmp_path / "tree"
    write(workspace.directory, {"one.log": "x" * 5000, "gone.log": "y"})
    ignored.keep(workspace.directory, ["one.log", "gone.log", "never was.log"], kept)  # some vanish meanwhile
    assert sorted(file.name for file in kept.iterdir()) == ["gone.log", "one.log"]
    write(tree, {"one.log/in the way": "z"})
    with pytest.raises(ignored.NotCopied, match="could not be copied: cp: cannot overwrite directory"):
        ignored.bring(kept, tree)
    write(tmp_path, {"place": "a file, so nothing can be kept below it"})
    with pytest.raises(OSError, match="place"):
        ignored.keep(workspace.directory, ["one.log"], tmp_path / "place/below")


def test_a_copy_shares_nothing_with_the_file_that_it_was_made_of_on_any_file_system(workspace, tmp_path):
    """Goal: reflinks where there are some, else copies, never hard links."""
    for kept in (tmp_path / "kept", Path(tempfile.mkdtemp(dir="/dev/shm")) / "kept"):  # another file system
        write(workspace.directory, {"one.log": "before"})
        ignored.keep(workspace.directory, ["one.log"], kept)
        with (workspace.directory / "one.log").open("r+") as file:
            file.write("AFTER!")
        assert (kept / "one.log").read_text() == "before"
        shutil.rmtree(kept.parent if kept.is_relative_to("/dev/shm") else kept)


def test_ignored_files_are_left_out_unless_the_agent_added_them(workspace):
    here = workspace.directory
    write(here, {"noise.log": "x", "out/noise": "x", "staged.log": "x", "own.log": "x", "kept/.gitignore": "x\n"})
    write(here, {"kept/x": "ignored", "kept/y": "not"})
    run(here, "add", "-f", "own.log")
    run(here, "commit", "-q", "-m", "x")
    run(here, "add", "-f", "staged.log")
    wanted = {*START, "own.log", "staged.log", "kept/.gitignore", "kept/y"}
    assert show(workspace, workspace.snapshot()).keys() == wanted
    assert show(workspace, finish(workspace)).keys() == wanted
    write(here, {"staged.log": None})
    assert show(workspace, finish(workspace)).keys() == wanted - {"staged.log"}


def test_a_file_that_becomes_ignored_after_a_snapshot_is_left_out_of_the_next(workspace):
    write(workspace.directory, {"data.tmp": "x"})
    assert "data.tmp" in show(workspace, workspace.snapshot())
    write(workspace.directory, {".gitignore": "*.tmp\n"})
    assert "data.tmp" not in show(workspace, workspace.snapshot())


def test_what_the_user_ignores_for_all_repositories_is_ignored_here_too(root, tmp_path):
    write(tmp_path, {"ignored everywhere": "*.swp\n"})
    write(root, {".git/info/exclude": "*.local\n"})
    run(root, "config", "core.excludesFile", str(tmp_path / "ignored everywhere"))
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    write(workspace.directory, {"a.swp": "x", "a.local": "x"})
    assert workspace.snapshot() == workspace.base
    assert run(workspace.directory, "status", "--porcelain") == ""


def test_a_home_that_changed_since_does_not_change_what_is_taken(workspace, tmp_path):
    write(tmp_path / "home/git", {"ignore": "*\n", "attributes": "* text eol=lf\n"})
    write(workspace.directory, {"new": "x\r\n"})
    code = "print(Workspace.open(given).snapshot())"
    snapshot = Child(code, str(workspace.directory), XDG_CONFIG_HOME=str(tmp_path / "home")).go().result()
    assert show(workspace, snapshot)["new"] == ("file", b"x\r\n")


def test_a_killed_snapshotter_does_not_spoil_the_next_snapshot(workspace, tmp_path):
    write(workspace.directory, {"new": "x", "folder/a": None})
    commit(workspace.directory, {"own": "x"})
    write(workspace.directory, {"plain.txt": "edited"})
    expected = Workspace.open(workspace.directory).snapshot()
    for private in Places(workspace.directory).private.glob("index-*"):
        private.unlink()
    code = "print(Workspace.open(given).snapshot())"
    for _ in killed_at_every_call(tmp_path / "bin", code, str(workspace.directory), after=0):
        assert workspace.snapshot() == expected


def test_eight_processes_take_the_same_snapshot_at_once(workspace):
    write(workspace.directory, {"new": "x"})
    code = "print(Workspace.open(given).snapshot())"
    assert set(together(code, *[str(workspace.directory)] * 8)) == {workspace.snapshot()}


def test_an_edit_right_after_the_making_is_seen_when_its_second_is_over(workspace):
    file = workspace.directory / "plain.txt"
    before = file.stat()
    file.write_text(file.read_text().swapcase())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    until(lambda: time.time() > before.st_mtime + 1.2, "the second of the index to be over")
    assert show(workspace, workspace.snapshot())["plain.txt"] == ("file", file.read_bytes())


@pytest.mark.parametrize("changed", [False, True])
def test_an_index_counts_as_younger_only_if_no_file_was_changed_in_its_second(tmp_path, changed):
    """Method: a file before the handing out, perhaps changed after it; its own times say what is to come of it."""
    private, tree = tmp_path / "private", tmp_path / "tree"
    write(private, {"index": "i"})
    write(tree, {"deep/file": "x", ".git/index": "x"})
    settling.prepare(private, private / "index")
    until(lambda: settling.mark(private) or mark(private) > changed_ns(tree), "a later moment")
    marked = mark(private)
    write(tree, {".git/index": "y", **({"deep/file": "y"} if changed else {})})
    end = ((private / "index").stat().st_mtime_ns // 10**9 + 1) * 10**9
    until(lambda: time.time_ns() > end + settling.LATE_NS, "the second to be over")
    settling.settle(private, private / "index", tree)
    expected = not marked <= changed_ns(tree) < end
    assert ((private / "index").stat().st_mtime_ns == end) == expected
    settling.settle(private, private / "index", tree)  # there is no second time
    assert ((private / "index").stat().st_mtime_ns == end) == expected


def mark(private):
    return (private / "handed-out").stat().st_ctime_ns


def changed_ns(tree):
    return (tree / "deep/file").stat().st_ctime_ns


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_a_change_in_the_second_of_a_snapshot_under_a_time_that_was_set_back_is_seen(tmp_path, form):
    """Goal: no change is lost to tools that keep times (tar, rsync).  Method: all that git compares stays the same."""
    root = tmp_path / "repository"
    git("init", "-q", f"--object-format={form}", str(root), cwd=tmp_path)
    commit(root, {"a.txt": b"AAA\n", "a/long/name/of/a/file.txt": b"b"})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspace", "HEAD")
    file = workspace.directory / "a.txt"
    until(lambda: time.time() > file.stat().st_ctime + 1.1, "another second than that of the making")
    until(lambda: time.time() % 1 < 0.3, "the beginning of a second")
    for content in ("AAA\n", "BBB\n"):
        file.write_text(content)
        os.utime(file, (1e9, 1e9))
        snapshot = workspace.snapshot()
    assert snapshot != workspace.base
