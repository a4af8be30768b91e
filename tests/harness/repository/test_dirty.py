"""A run may start from the working tree as it is, and nothing of it changes."""

import os

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    ODD_FILES,
    START,
    commit,
    files_in,
    files_of,
    fingerprint,
    make_odd_repository,
    make_repository,
    parents,
    run,
    write,
)

from prong.harness.repository.dirty import Unmerged, snapshot
from prong.harness.repository.git import GitFailed
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


def taken(root):
    """The snapshot, and its files; nothing of the user's changes."""
    before = fingerprint(root)
    found = snapshot(Repository.open(root))
    assert fingerprint(root) == before
    return found, files_of(root, found.commit)


def test_a_clean_tree_is_head(root):
    found, _ = taken(root)
    assert (found.commit, found.changed, found.untracked) == (run(root, "rev-parse", "HEAD"), 0, 0)


def test_every_kind_of_change_is_taken_in_and_a_workspace_begins_with_it(tmp_path):
    root = make_odd_repository(tmp_path / "repository")
    write(root, {name: content + b"changed\n" for name, content in ODD_FILES.items()})
    write(root, {"-dash": None, "crlf.txt": None, "crlf.txt/is a folder": "x", "new\n\tü/-x": "x", ":": "x"})
    (root / "run.sh").chmod(0o644)
    (root / "plain.txt").chmod(EXECUTABLE)
    (root / "deep").rename(root / "moved")
    (root / "deep").symlink_to("moved")
    write(root, {".gitignore": "*.log\n", "noise.log": "x"})
    write(root, {"staged": "not this"})
    run(root, "add", "staged")
    run(root, "rm", "-q", "--cached", "empty")
    run(root, "add", "-N", "binary.dat")
    write(root, {"staged": "but this"})
    found, files = taken(root)
    expected = files_in(root)
    del expected["noise.log"]
    assert files == expected
    assert parents(root, found.commit) == [run(root, "rev-parse", "HEAD")]
    repository = Repository.open(root)
    repository.pin("refs/prong/s/start", found.commit)
    workspace = Workspace.create(repository, tmp_path / "w", found.commit)
    assert files_in(workspace.directory) == expected
    assert workspace.snapshot() == found.commit


@pytest.mark.parametrize(
    "settings",
    [
        ("core.splitIndex=true",),
        ("index.version=4",),
        ("core.untrackedCache=true", "status.showUntrackedFiles=no"),
        ("core.fsmonitor=true",),
        ("core.autocrlf=true",),
        ("commit.gpgSign=true", "gpg.program=false"),
    ],
)
def test_settings_do_not_get_in_the_way(root, settings):
    for setting in settings:
        run(root, "config", *setting.split("="))
    run(root, "-c", "core.fsmonitor=false", "update-index", "-q", "--refresh", "--force-write-index")
    write(root, {"plain.txt": "changed\n", "new": "x\n", "folder/a": None})
    found, files = taken(root)
    assert files.keys() == {*START, "new"} - {"folder/a"}
    assert files["plain.txt"] == ("file", b"changed\n")
    assert (found.changed, found.untracked) == (2, 1)


@pytest.mark.parametrize("index", ["--sparse-index", "--no-sparse-index"])
def test_what_a_sparse_checkout_leaves_out_is_not_deleted(root, index):
    commit(root, {"other/x": "x", "other/deep/y": "y"})
    run(root, "sparse-checkout", "set", "--cone", index, "folder")
    write(root, {"folder/a": "changed", "folder/new": "x"})
    _, files = taken(root)
    assert files.keys() == {*START, "other/x", "other/deep/y", "folder/new"}
    assert files["folder/a"] == ("file", b"changed")


def test_the_users_own_filters_run_as_they_do_for_git_add(root):
    run(root, "config", "filter.lfs.clean", "sed s/large/pointer/")
    run(root, "config", "filter.lfs.required", "true")
    write(root, {".gitattributes": "*.bin filter=lfs\n", "big.bin": "large\n"})
    assert taken(root)[1]["big.bin"] == ("file", b"pointer\n")
    run(root, "config", "filter.lfs.clean", "false")
    write(root, {"big.bin": "another\n"})
    with pytest.raises(GitFailed, match="filter"):
        snapshot(Repository.open(root))


def test_conflicts_are_refused_by_name(root):
    run(root, "checkout", "-q", "-b", "left")
    commit(root, {"plain.txt": "left\n"})
    run(root, "checkout", "-q", "-b", "right", "HEAD~1")
    commit(root, {"plain.txt": "right\n"})
    run(root, "merge", "left", fails=True)
    before = fingerprint(root)
    with pytest.raises(Unmerged, match=r"plain\.txt"):
        snapshot(Repository.open(root))
    assert fingerprint(root) == before


def test_a_lock_left_behind_does_not_matter(root):
    write(root, {".git/index.lock": "", "new": "x"})
    assert "new" in taken(root)[1]


def test_a_repository_inside_is_left_out_and_named(root):
    make_repository(root / "inner", {"a": "x"})
    write(root, {"new": "x"})
    found, files = taken(root)
    assert found.left_out == ("inner/",)
    assert files.keys() == {*START, "new"}


def test_the_commit_of_a_submodule_is_the_one_checked_out(root, tmp_path):
    library = make_repository(tmp_path / "library")
    run(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    commit(root, {})
    newer = commit(root / "lib", {"more": "x"})
    write(root, {"lib/loose": "x"})
    assert taken(root)[1]["lib"] == ("submodule", newer)


def test_a_linked_worktree_has_its_own_changes(root, tmp_path):
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    write(tmp_path / "linked", {"new": "x"})
    write(root, {"not this": "x"})
    assert taken(tmp_path / "linked")[1].keys() == {*START, "new"}


def test_without_an_index_the_working_tree_counts_all_the_same(root):
    (root / ".git/index").unlink()
    write(root, {"plain.txt": "changed", "new": "x"})
    assert taken(root)[1].keys() == {*START, "new"}


def test_a_pipe_is_left_out(root):
    os.mkfifo(root / "pipe")
    write(root, {"new": "x"})
    before = run(root, "for-each-ref")
    found = snapshot(Repository.open(root))
    assert files_of(root, found.commit).keys() == {*START, "new"}
    assert run(root, "for-each-ref") == before
