"""Whatever an agent does with git in its workspace, its work comes out, and nothing of the agent's is run."""

import os
from pathlib import Path

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    START,
    commit,
    files_in,
    finish,
    make_repository,
    message,
    parents,
    run,
    show,
    write,
)

from prong.harness.repository.git import GitFailed
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


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
