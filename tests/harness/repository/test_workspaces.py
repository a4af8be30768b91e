"""Workspaces are exact, private and made whole or not at all, from every kind of repository."""

import os

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    START,
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

from prong.harness.repository.cloning import Places
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import NotAWorkspace, Workspace, WorkspaceExists


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


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
    repository = Repository.open(root)
    for _ in killed_at_every_call(tmp_path / "bin", CREATE, [str(root), str(directory)]):
        if directory.exists():
            Workspace.open(directory).remove()
        workspace = Workspace.create(repository, directory, "HEAD")
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
