"""Workspaces are exact, private and quick to make; whatever an agent does in one, its work comes out."""

import os
from pathlib import Path

import pytest

from prong.harness.cloning import Places
from prong.harness.git import AGENT, Author, GitFailed
from prong.harness.repository import Repository
from prong.harness.workspaces import NotAWorkspace, Workspace, WorkspaceExists

from .repositories import (
    EXECUTABLE,
    ODD_FILES,
    Child,
    commit,
    files_in,
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

START = {"plain.txt": "one\ntwo\nthree\n", "folder/a": "a\n", "folder/b": "b\n", ".gitignore": "*.log\nout/\n"}


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


@pytest.fixture
def workspace(root, tmp_path):
    return Workspace.create(Repository.open(root), tmp_path / "workspaces" / "ada", "HEAD")


def finish(workspace, **trailers):
    return workspace.commit_all("The work", Author("Ada", "ada@example.org", 1_700_000_000), trailers)


def show(workspace, made):
    """The files of a commit that so far is only in the workspace, seen by a repository that adopted it."""
    root = workspace.directory.parents[1] / "repository"
    Repository.open(root).adopt(workspace, made, "refs/prong/s/shown")
    return files_of(root, made)


# Making one


def test_a_workspace_holds_exactly_the_files_of_its_commit(tmp_path):
    root = make_odd_repository(tmp_path / "repository")
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces" / "ada", "HEAD")
    assert files_in(workspace.directory) == files_in(root)
    assert run(workspace.directory, "status", "--porcelain") == ""
    assert workspace.snapshot() == workspace.base == run(root, "rev-parse", "HEAD")
    assert finish(workspace) is None


def test_a_thousand_files_come_out_as_they_went_in(tmp_path):
    root = make_repository(tmp_path / "repository", {f"{n % 40}/{n}": f"{n}\n" * 20 for n in range(1000)})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces" / "ada", "HEAD")
    assert files_in(workspace.directory) == files_in(root)
    write(workspace.directory, {f"{n % 40}/{n}": f"changed {n}" for n in range(0, 1000, 2)})
    assert show(workspace, finish(workspace)) == files_in(workspace.directory)


@pytest.mark.parametrize("name", ["a b", "grüße", "new\nline", 'quo"te\\', '"', "#hash", "co:lon", "-dash", "it's"])
def test_repository_and_workspace_may_have_any_name(tmp_path, name):
    root = make_repository(tmp_path / name / "repository")
    workspace = Workspace.create(Repository.open(root), tmp_path / name / "workspaces" / name, "HEAD")
    write(workspace.directory, {"new": "x"})
    commit(workspace.directory, {"own": "x"})
    assert show(workspace, finish(workspace)).keys() == {"plain.txt", "new", "own"}


def test_a_workspace_borrows_objects_and_has_its_own_references(root, workspace):
    own = list((workspace.directory / ".git/objects").rglob("??????????*"))
    assert [path.name for path in own] == ["alternates"]
    run(workspace.directory, "tag", "theirs")
    made = commit(workspace.directory, {"own": "x"})
    assert run(root, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert run(root, "cat-file", "-e", made, fails=True) == ""
    assert run(workspace.directory, "remote") == ""


def test_an_agent_finds_branches_and_tags_of_the_user_but_not_those_of_swarms(root, tmp_path):
    repository = Repository.open(root)
    run(root, "tag", "-a", "-m", "x", "v1")
    run(root, "branch", "feature/x")
    repository.create_integration("prong/one", "HEAD")
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    names = run(workspace.directory, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags").split()
    assert names == ["refs/heads/feature/x", "refs/heads/main", "refs/heads/prong-work", "refs/tags/v1"]
    assert run(workspace.directory, "describe") == "v1"
    assert run(workspace.directory, "rev-parse", "refs/prong/base") == workspace.base


def test_an_agent_commits_under_a_neutral_name_and_starts_no_hook(root, tmp_path):
    write(root, {".git/hooks/pre-commit": f"#!/bin/sh\ntouch '{tmp_path}/trace'\n"})
    (root / ".git/hooks/pre-commit").chmod(EXECUTABLE)
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"HOME": str(tmp_path)}
    command = ["git", "-C", str(workspace.directory), "commit", "-q", "--allow-empty", "-m", "x"]
    assert os.spawnvpe(os.P_WAIT, "git", command, bare) == 0
    assert run(workspace.directory, "log", "-1", "--format=%an <%ae>") == "prong agent <agent@localhost>"
    assert not (tmp_path / "trace").exists()


def test_creating_the_same_workspace_again_gives_the_one_that_is_there(root, workspace):
    write(workspace.directory, {"new": "x"})
    again = Workspace.create(Repository.open(root), workspace.directory, "HEAD")
    assert again == workspace == Workspace.open(workspace.directory)
    assert (again.directory / "new").exists()


def test_a_directory_that_is_in_use_is_refused_and_left_alone(root, workspace, tmp_path):
    other = commit(root, {"new": "x"})
    with pytest.raises(WorkspaceExists):
        Workspace.create(Repository.open(root), workspace.directory, other)
    write(tmp_path / "full", {"precious": "x"})
    with pytest.raises(WorkspaceExists):
        Workspace.create(Repository.open(root), tmp_path / "full", "HEAD")
    assert files_in(tmp_path / "full") == {"precious": ("file", b"x")}
    with pytest.raises(NotAWorkspace):
        Workspace.open(tmp_path / "full")


CREATE = "Workspace.create(Repository.open(given[0]), given[1], 'HEAD')"


def test_a_killed_creator_leaves_a_whole_workspace_or_none(root, tmp_path):
    directory = tmp_path / "workspaces" / "ada"
    for _ in killed_at_every_call(tmp_path / "bin", CREATE, [str(root), str(directory)]):
        if directory.exists():
            Workspace.open(directory).remove()
        workspace = Workspace.create(Repository.open(root), directory, "HEAD")
        assert files_in(directory) == files_in(root)
        assert workspace.snapshot() == workspace.base
        assert not Places(directory).partial.exists()
        workspace.remove()
    assert files_in(directory) == files_in(root)


def test_a_creator_that_died_between_the_two_renames_is_made_good(root, workspace):
    workspace.directory.rename(workspace.directory.with_name("moved away"))
    again = Workspace.create(Repository.open(root), workspace.directory, "HEAD")
    assert files_in(again.directory) == files_in(root)
    assert again.snapshot() == again.base


def test_eight_processes_create_the_same_workspace_at_once(root, tmp_path):
    # Goal: one makes it, the others get it.  Method: eight processes, one directory.
    directory = tmp_path / "workspaces" / "ada"
    together(CREATE, *([str(root), str(directory)] for _ in range(8)))
    assert files_in(directory) == files_in(root)


def test_removing_a_workspace_removes_nothing_else(root, workspace, tmp_path):
    other = Workspace.create(Repository.open(root), tmp_path / "workspaces" / "bo", "HEAD")
    write(workspace.directory, {"locked/file": "x"})
    (workspace.directory / "locked").chmod(0o500)
    workspace.remove()
    assert not workspace.directory.exists()
    assert not Places(workspace.directory).private.exists()
    assert files_in(other.directory) == files_in(root)
    with pytest.raises(NotAWorkspace):
        workspace.snapshot()


def test_an_agent_that_lost_its_git_directory_does_not_find_the_users(root):
    workspace = Workspace.create(Repository.open(root), root / ".prong/one/workspaces/ada", "HEAD")
    (workspace.directory / ".git").rename(workspace.directory.parent / "hidden")
    run(workspace.directory, "add", "-A", fails=True)
    assert run(workspace.directory, "rev-parse", "HEAD", fails=True) in ("", "HEAD")
    write(workspace.directory, {"new": "x"})
    assert finish(workspace)


# Kinds of repositories


def whole_life(root, directory):
    """One change through a workspace; the files of the adopted commit."""
    repository = Repository.open(root)
    workspace = Workspace.create(repository, directory, "HEAD")
    commit(workspace.directory, {"own": "x"})
    write(workspace.directory, {"new": "x"})
    repository.adopt(workspace, workspace.snapshot(), "refs/prong/s/snapshot")
    made = finish(workspace)
    repository.adopt(workspace, made, "refs/prong/s/task")
    assert parents(root, made) == [run(root, "rev-parse", "HEAD")]
    return files_of(root, made)


def test_a_repository_with_sha256_works(tmp_path):
    root = make_repository(tmp_path / "r", START, "--object-format=sha256")
    assert whole_life(root, tmp_path / "w").keys() == {*START, "own", "new"}


def test_a_shallow_clone_works_and_stays_shallow(root, tmp_path):
    commit(root, {"second": "x"})
    run(tmp_path, "clone", "-q", "--depth=1", root.as_uri(), "shallow")
    before = (tmp_path / "shallow/.git/shallow").read_bytes()
    assert whole_life(tmp_path / "shallow", tmp_path / "w").keys() == {*START, "second", "own", "new"}
    assert (tmp_path / "shallow/.git/shallow").read_bytes() == before


def test_a_linked_worktree_works_from_its_own_head(root, tmp_path):
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    commit(tmp_path / "linked", {"second": "x"})
    assert whole_life(tmp_path / "linked", tmp_path / "w").keys() == {*START, "second", "own", "new"}


def test_a_worktree_of_a_bare_repository_works(root, tmp_path):
    run(root, "clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    run(tmp_path / "bare", "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    assert whole_life(tmp_path / "linked", tmp_path / "w").keys() == {*START, "own", "new"}


def test_a_repository_that_borrows_objects_itself_works(root, tmp_path):
    run(tmp_path, "clone", "-q", "--shared", str(root), "borrower")
    assert whole_life(tmp_path / "borrower", tmp_path / "w").keys() == {*START, "own", "new"}


def test_a_submodule_stays_the_link_that_it_is(root, tmp_path):
    library = make_repository(tmp_path / "library")
    run(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    commit(root, {})
    link = run(root, "rev-parse", "HEAD:lib")
    assert whole_life(root, tmp_path / "w")["lib"] == ("submodule", link)


@pytest.mark.parametrize(
    ("setting", "attributes", "stored", "shown"),
    [
        ("core.autocrlf=true", "", b"a\nb\n", b"a\r\nb\r\n"),
        ("core.autocrlf=false", "* text eol=crlf\n", b"a\nb\n", b"a\r\nb\r\n"),
        ("core.autocrlf=input", "", b"a\nb\n", b"a\nb\n"),
        ("core.autocrlf=false", "", b"a\r\nb\r\n", b"a\r\nb\r\n"),
        ("core.eol=crlf", "* text=auto\n", b"a\nb\n", b"a\r\nb\r\n"),
    ],
)
def test_line_ends_are_as_the_user_has_them_and_do_not_count_as_a_change(tmp_path, setting, attributes, stored, shown):
    root = make_repository(tmp_path / "repository", {".gitattributes": attributes})
    run(root, "config", "core.autocrlf", "false")
    run(root, "config", *setting.split("="))
    commit(root, {"text": shown})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    assert (workspace.directory / "text").read_bytes() == shown
    write(workspace.directory, {"text": shown})
    assert workspace.snapshot() == workspace.base
    write(workspace.directory, {"text": shown + shown})
    assert show(workspace, finish(workspace))["text"] == ("file", stored + stored)


def test_where_the_user_ignores_modes_a_mode_is_no_change(root, tmp_path):
    run(root, "config", "core.fileMode", "false")
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    (workspace.directory / "plain.txt").chmod(EXECUTABLE)
    assert workspace.snapshot() == workspace.base


def test_filters_of_the_user_do_not_run_and_pointers_stay_pointers(root, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n"
    commit(root, {".gitattributes": "*.bin filter=lfs\n", "big.bin": pointer})
    for setting in ("smudge", "clean", "process"):
        run(root, "config", f"filter.lfs.{setting}", "false")
    run(root, "config", "filter.lfs.required", "true")
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    assert (workspace.directory / "big.bin").read_text() == pointer
    write(workspace.directory, {"big.bin": pointer + "x"})
    assert finish(workspace)


# Snapshots


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
    for _ in killed_at_every_call(tmp_path / "bin", code, str(workspace.directory)):
        assert workspace.snapshot() == expected


def test_eight_processes_take_the_same_snapshot_at_once(workspace):
    write(workspace.directory, {"new": "x"})
    code = "print(Workspace.open(given).snapshot())"
    assert set(together(code, *[str(workspace.directory)] * 8)) == {workspace.snapshot()}


# What an agent may do with git


def own_commits(here):
    commit(here, {"one": "1"})
    commit(here, {"two": "2"})


def staged(here):
    write(here, {"one": "1", "two": "2"})
    run(here, "add", "one")


def staged_and_edited_again(here):
    write(here, {"one": "not yet", "two": "2"})
    run(here, "add", "-A")
    write(here, {"one": "1"})


def another_branch(here):
    run(here, "checkout", "-q", "-b", "elsewhere")
    own_commits(here)


def detached(here):
    run(here, "checkout", "-q", "--detach")
    own_commits(here)


def orphaned(here):
    run(here, "checkout", "-q", "--orphan", "new-world")
    own_commits(here)


def reset_to_nothing(here):
    own_commits(here)
    run(here, "reset", "-q", "HEAD~2")


def half_a_merge(here):
    run(here, "checkout", "-q", "-b", "left")
    commit(here, {"one": "left"})
    run(here, "checkout", "-q", "-b", "right", "HEAD~1")
    commit(here, {"one": "right", "two": "2"})
    run(here, "merge", "-q", "left", fails=True)
    assert run(here, "ls-files", "-u")
    write(here, {"one": "1"})


def half_a_rebase(here):
    half_a_merge(here)
    run(here, "merge", "--abort")
    run(here, "rebase", "left", fails=True)
    assert run(here, "ls-files", "-u")
    write(here, {"one": "1", "two": "2"})


def no_git_directory(here):
    own_commits(here)
    run(here, "init", "-q", str(here.parent / "x"))
    (here / ".git").rename(here.parent / "lost git")


def a_new_repository_instead(here):
    no_git_directory(here)
    make_repository(here, {"one": "1", "two": "2"})


def a_git_directory_full_of_rubbish(here):
    own_commits(here)
    for name in ("HEAD", "config", "index"):
        write(here / ".git", {name: b"\xff\0 rubbish\n"})


def locks_left_behind(here):
    own_commits(here)
    write(here / ".git", dict.fromkeys(("index.lock", "HEAD.lock", "config.lock", "refs/heads/prong-work.lock"), ""))


def a_broken_branch(here):
    own_commits(here)
    write(here / ".git", {"refs/heads/prong-work": "0" * 40})


def a_sleight_of_index(here):
    own_commits(here)
    run(here, "update-index", "--assume-unchanged", "one")
    run(here, "update-index", "--skip-worktree", "two")
    write(here, {"one": "1", "two": "2"})


def a_replaced_commit(here):
    commit(here, {"one": "x", "three": "x"})
    write(here, {"one": "1", "two": "2", "three": None})
    run(here, "replace", "HEAD", "HEAD~1")


@pytest.mark.parametrize(
    "doing",
    [
        own_commits,
        staged,
        staged_and_edited_again,
        another_branch,
        detached,
        orphaned,
        reset_to_nothing,
        half_a_merge,
        half_a_rebase,
        no_git_directory,
        a_new_repository_instead,
        a_git_directory_full_of_rubbish,
        locks_left_behind,
        a_broken_branch,
        a_sleight_of_index,
        a_replaced_commit,
    ],
)
def test_whatever_an_agent_did_ends_as_one_commit_on_the_base(root, workspace, doing):
    doing(workspace.directory)
    workspace.snapshot()
    made = finish(workspace, **{"Prong-Task": "7"})
    files = show(workspace, made)
    assert files.keys() == {*START, "one", "two"}
    assert (files["one"], files["two"]) == (("file", b"1"), ("file", b"2"))
    assert parents(root, made) == [workspace.base]
    assert message(root, made) == "The work\n\nProng-Task: 7"
    names = run(root, "log", "-1", "--format=%an <%ae> %at %cn", made)
    assert names == "Ada <ada@example.org> 1700000000 prong"


@pytest.mark.parametrize("doing", [orphaned, a_new_repository_instead, no_git_directory])
def test_a_head_of_another_history_is_no_parent_of_a_snapshot(root, workspace, doing):
    doing(workspace.directory)
    snapshot = workspace.snapshot()
    show(workspace, snapshot)
    assert parents(root, snapshot) == [workspace.base]


def test_work_that_ends_where_it_began_is_no_commit(workspace):
    commit(workspace.directory, {"one": "1"})
    assert finish(workspace)
    commit(workspace.directory, {"one": None})
    assert finish(workspace) is None


def test_deleting_everything_is_a_change(workspace):
    write(workspace.directory, dict.fromkeys(START))
    assert show(workspace, finish(workspace)) == {}


def test_an_agents_removal_of_an_ignored_file_from_git_counts(root, tmp_path):
    write(root, {"kept.log": "x"})
    run(root, "add", "-f", "kept.log")
    commit(root, {})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    run(workspace.directory, "rm", "-q", "--cached", "kept.log")
    run(workspace.directory, "commit", "-q", "-m", "x")
    assert "kept.log" not in show(workspace, finish(workspace))


def untracked(here):
    make_repository(here / "inner", {"a": "a", "b/c": "c", "x.log": "ignored outside"})


def without_a_commit(here):
    run(here, "init", "-q", "inner")
    write(here / "inner", {"a": "a", "b/c": "c", "x.log": "ignored outside"})


def committed_as_a_link(here):
    untracked(here)
    run(here, "add", "-A")
    run(here, "commit", "-q", "-m", "x")
    assert "160000" in run(here, "ls-tree", "HEAD", "inner")


def a_linked_worktree_of_its_own(here):
    run(here, "worktree", "add", "-q", "inner")
    write(here / "inner", dict.fromkeys(START) | {"a": "a", "b/c": "c", "x.log": "ignored outside"})


@pytest.mark.parametrize("doing", [untracked, without_a_commit, committed_as_a_link, a_linked_worktree_of_its_own])
def test_a_repository_inside_is_taken_in_as_plain_files(workspace, doing):
    doing(workspace.directory)
    (workspace.directory / "inner/link").symlink_to("b")
    make_repository(workspace.directory / "inner/innermost", {"d": "d"})
    for made in (workspace.snapshot(), workspace.snapshot(), finish(workspace)):
        files = show(workspace, made)
        assert files.keys() == {*START, "inner/a", "inner/b/c", "inner/link", "inner/innermost/d"}
        assert files["inner/b/c"] == ("file", b"c")
        assert files["inner/link"] == ("link", b"b")


def test_a_repository_made_in_a_folder_with_tracked_files_hides_nothing(workspace):
    make_repository(workspace.directory / "folder", {"new": "x"})
    write(workspace.directory, {"folder/a": "edited", "folder/b": None})
    files = show(workspace, finish(workspace))
    assert files.keys() == {"plain.txt", ".gitignore", "folder/a", "folder/new"}
    assert files["folder/a"] == ("file", b"edited")


COMMANDS_IN_A_CONFIGURATION = [
    "alias.status",
    "core.alternateRefsCommand",
    "core.askPass",
    "core.editor",
    "core.fsmonitor",
    "core.gitProxy",
    "core.pager",
    "core.sshCommand",
    "credential.helper",
    "diff.external",
    "diff.trap.command",
    "diff.trap.textconv",
    "filter.trap.clean",
    "filter.trap.process",
    "filter.trap.smudge",
    "gpg.program",
    "merge.trap.driver",
    "sequence.editor",
    "uploadpack.packObjectsHook",
]


def test_nothing_that_an_agent_configures_is_run_by_us(root, workspace, tmp_path):
    # Goal: the harness is not a way out of the sandbox.  Method: every setting that names a command names one that
    # leaves a trace, in the workspace's configuration and attributes; then all that the harness does is done.
    here = workspace.directory
    commit(here, {"own": "x"})
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\necho \"$0 $*\" >> '{tmp_path}/traces'\ncat\n")
    trap.chmod(EXECUTABLE)
    write(here, {".gitattributes": "* filter=trap diff=trap merge=trap\n", "new": "x", "plain.txt": "edited"})
    make_repository(here / "inner")
    for key in COMMANDS_IN_A_CONFIGURATION:
        for place in (here, here / "inner"):
            run(place, "config", key, f"!{trap}" if key in ("alias.status", "credential.helper") else str(trap))
    for key, value in (("log.showSignature", "true"), ("core.attributesFile", str(here / ".gitattributes"))):
        run(here, "config", key, value)
    hooks = ("reference-transaction", "post-index-change", "fsmonitor-watchman", "post-checkout", "pre-commit")
    for hook in hooks:
        write(here, {f".git/hooks/{hook}": trap.read_bytes()})
        (here / ".git/hooks" / hook).chmod(EXECUTABLE)
    run(here, "config", "core.hooksPath", str(here / ".git/hooks"))
    run(here, "config", "extensions.partialClone", "trap")
    run(here, "config", "remote.trap.url", f"ext::{trap}")
    (tmp_path / "traces").unlink(missing_ok=True)

    repository = Repository.open(root)
    repository.adopt(workspace, workspace.snapshot(), "refs/prong/s/snapshot")
    made = finish(workspace)
    repository.adopt(workspace, made, "refs/prong/s/task")
    child = Workspace.create(repository, tmp_path / "child", made)
    assert files_in(child.directory).keys() == {*START, "own", "new", ".gitattributes", "inner/plain.txt"}
    workspace.remove()
    assert not (tmp_path / "traces").exists(), (tmp_path / "traces").read_text()


def test_git_is_not_run_inside_a_submodule(root, tmp_path):
    # An agent may check the submodule out, and configure it.
    library = make_repository(tmp_path / "library")
    run(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    commit(root, {})
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    run(workspace.directory, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/traces'\ncat\n")
    trap.chmod(EXECUTABLE)
    run(workspace.directory / "lib", "config", "filter.trap.clean", str(trap))
    # Of the same size, so that git would have to read the file to see what it is.
    write(workspace.directory, {"lib/plain.txt": "ONE\nTWO\nTHREE\n", "lib/.gitattributes": "* filter=trap\n"})
    assert workspace.snapshot() == workspace.base
    assert not (tmp_path / "traces").exists()


def test_a_name_that_git_does_not_store_is_an_error_that_names_it(workspace):
    write(workspace.directory, {"git~1/x": "x"})
    with pytest.raises(GitFailed, match="git~1"):
        finish(workspace)


def test_a_link_out_of_the_workspace_is_stored_as_a_link_and_not_followed(workspace, tmp_path):
    write(tmp_path / "secrets", {"key": "secret"})
    (workspace.directory / "way out").symlink_to(tmp_path / "secrets")
    (workspace.directory / "folder/a").unlink()
    (workspace.directory / "folder/b").unlink()
    Path(workspace.directory, "folder").rmdir()
    (workspace.directory / "folder").symlink_to(tmp_path / "secrets")
    files = show(workspace, finish(workspace))
    assert files.keys() == {"plain.txt", ".gitignore", "way out", "folder"}
    assert files["folder"] == ("link", os.fsencode(tmp_path / "secrets"))


def test_workspaces_beside_each_other_are_independent(root, tmp_path):
    made = [
        Workspace.create(Repository.open(root), tmp_path / "workspaces" / name, "HEAD") for name in ("a", "a.b", "b")
    ]
    for number, workspace in enumerate(made):
        write(workspace.directory, {"own": str(number)})
    commits = [finish(workspace) for workspace in made]
    made[0].remove()
    assert [show(workspace, commits[n])["own"][1] for n, workspace in enumerate(made) if n] == [b"1", b"2"]
    assert AGENT.name == "prong agent"
