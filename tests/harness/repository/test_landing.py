"""Bringing a result into a person's branch: all of it or nothing, and never over what is theirs.

Goal of the refusals: after each of them every byte of the repository but objects is as it was.
"""

import itertools
import os
import shutil

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    Child,
    commit,
    files_of,
    fingerprint,
    killed_at_every_call,
    make_repository,
    message,
    parents,
    run,
    write,
)

from prong.harness.repository.landing import NotLanded, land
from prong.harness.repository.repository import Repository

START = {"plain.txt": "one\ntwo\nthree\n", "gone": "gone\n", "mine": "mine\n", ".gitignore": "*.log\nout/\n"}
CHANGE = {"plain.txt": "one\nTWO\nthree\n", "gone": None, "new/file": "new\n", "kept.log": "agreed\n", "out/x": "x\n"}
BRANCH = "prong/s"


@pytest.fixture(autouse=True)
def person(monkeypatch):
    """Whoever runs the tests has an identity."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.org")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A repository on main, and a result beside it on prong/s."""
    root = make_repository(tmp_path_factory.mktemp("template") / "repository", START)
    run(root, "switch", "-q", "-c", BRANCH)
    write(root, CHANGE)
    run(root, "add", "-A", "-f")
    run(root, "commit", "-q", "-m", "The result")
    run(root, "switch", "-q", "main")
    return root


@pytest.fixture
def root(template, tmp_path):
    root = tmp_path / "repository"
    shutil.copytree(template, root, symlinks=True)
    run(root, "update-index", "-q", "--refresh")
    return root


def landed(root, how="either"):
    tip = run(root, "rev-parse", BRANCH)
    return land(Repository.open(root), branch=BRANCH, tip=tip, how=how, message="All of it")


def test_a_branch_that_has_not_gone_on_is_moved_forward(root):
    tip = run(root, "rev-parse", BRANCH)
    done = landed(root)
    assert (done.how, done.into, done.commit, done.files) == ("fast-forward", "main", tip, 5)
    assert run(root, "rev-parse", "main") == tip
    assert run(root, "status", "--porcelain") == ""
    assert (root / "new/file").read_text() == "new\n"
    assert "prong merge prong/s" in run(root, "reflog", "-1")
    assert landed(root).how == "nothing to do"


def test_a_merge_commit_where_it_is_asked_for(root):
    before, tip = run(root, "rev-parse", "main"), run(root, "rev-parse", BRANCH)
    assert landed(root, "no-ff").how == "merge"
    assert parents(root, "main") == [before, tip]
    assert message(root, "main") == "All of it"
    assert run(root, "log", "-1", "--format=%an") == "Ada"


@pytest.mark.parametrize("diverged", [False, True])
def test_a_squash_is_one_commit_with_all_changes(root, diverged):
    if diverged:
        commit(root, {"mine": "changed\n"})
    before = run(root, "rev-parse", "main")
    assert landed(root, "squash").how == "squash"
    assert parents(root, "main") == [before]
    files = files_of(root, "main")
    assert files["plain.txt"] == ("file", b"one\nTWO\nthree\n")
    assert files["mine"] == ("file", b"changed\n" if diverged else b"mine\n")
    assert run(root, "status", "--porcelain") == ""
    assert landed(root, "squash").how == "nothing to do"


def test_both_histories_are_merged_where_yours_has_gone_on(root):
    commit(root, {"mine": "changed\n"})
    before = run(root, "rev-parse", "main")
    assert landed(root).how == "merge"
    assert parents(root, "main") == [before, run(root, "rev-parse", BRANCH)]
    assert (root / "mine").read_text() == "changed\n"


def test_changes_of_your_own_elsewhere_stay_as_they_are(root):
    write(root, {"mine": "edited\n", "untracked": "u\n", "staged": "s\n", "some.log": "log\n"})
    run(root, "add", "staged")
    before = run(root, "status", "--porcelain", "--ignored")
    landed(root)
    assert run(root, "status", "--porcelain", "--ignored") == before
    assert (root / "mine").read_text() == "edited\n"


def test_no_hook_is_run(root):
    hooks = root / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-merge", "pre-merge-commit", "commit-msg", "post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {root}/ran-{name}\nexit 1\n")
        (hooks / name).chmod(EXECUTABLE)
    landed(root, "no-ff")
    assert [path.name for path in root.glob("ran-*")] == []


def detached(root):
    run(root, "checkout", "-q", "--detach")


def merging(root):
    run(root, "switch", "-q", "-c", "other")
    commit(root, {"mine": "other\n"})
    run(root, "switch", "-q", "main")
    commit(root, {"mine": "main\n"})
    run(root, "merge", "-q", "other", fails=True)


def rebasing(root):
    merging(root)
    run(root, "merge", "--abort")
    run(root, "rebase", "-q", "other", fails=True)


def picking(root):
    merging(root)
    run(root, "merge", "--abort")
    run(root, "cherry-pick", "other", fails=True)


def bisecting(root):
    run(root, "bisect", "start")


def on_ours(root):
    run(root, "switch", "-q", "-c", "prong/other")


def popped(root):
    write(root, {"mine": "stashed\n"})
    run(root, "stash", "-q")
    commit(root, {"mine": "main\n"})
    run(root, "stash", "pop", "-q", fails=True)


def edited(root):
    write(root, {"plain.txt": "mine\n"})


def staged(root):
    write(root, {"plain.txt": "mine\n"})
    run(root, "add", "plain.txt")


def staged_and_edited_back(root):
    staged(root)
    write(root, {"plain.txt": START["plain.txt"]})


def deleted(root):
    (root / "plain.txt").unlink()


def edited_where_it_is_deleted(root):
    write(root, {"gone": "not gone\n"})


def untracked(root):
    write(root, {"new/file": "mine\n"})


def ignored(root):
    write(root, {"kept.log": "mine\n"})


def ignored_folder(root):
    write(root, {"out/x/deep.log": "mine\n"})


def file_above(root):
    write(root, {"new": "mine\n"})


def link_above(root):
    write(root, {"elsewhere/file": "mine\n"})
    (root / "new").symlink_to("elsewhere")


def added_for_later(root):
    write(root, {"new/file": "mine\n"})
    run(root, "add", "-N", "new/file")


def assumed_unchanged(root):
    run(root, "update-index", "--assume-unchanged", "plain.txt")
    edited(root)


def skipped(root):
    run(root, "update-index", "--skip-worktree", "plain.txt")
    edited(root)


def conflicting(root):
    commit(root, {"plain.txt": "one\nzwei\nthree\n"})


def index_locked(root):
    (root / ".git/index.lock").touch()


def branch_locked(root):
    (root / ".git/refs/heads/main.lock").touch()


REFUSED = {
    detached: "no branch is checked out",
    merging: "a merge is under way",
    rebasing: "no branch is checked out",
    picking: "a cherry-pick is under way",
    bisecting: "a bisection is under way",
    on_ours: "is Prong's",
    popped: "conflicts that are not solved: mine",
    edited: "changes of your own in files that it changes: plain.txt",
    staged: "plain.txt",
    staged_and_edited_back: "plain.txt",
    deleted: "plain.txt",
    edited_where_it_is_deleted: "gone",
    untracked: "lie in the way that git does not know: new/file",
    ignored: "kept.log",
    ignored_folder: "out/x/deep.log",
    file_above: "in the way that git does not know: new",
    link_above: "in the way that git does not know: new",
    added_for_later: "new/file",
    assumed_unchanged: "plain.txt",
    skipped: "plain.txt",
    conflicting: "plain.txt: both sides changed the same lines",
    index_locked: "index.lock",
    branch_locked: "holds or has just moved your branch",
}


@pytest.mark.parametrize(
    ("prepare", "how"),
    list(zip(REFUSED, itertools.cycle(["either", "squash", "no-ff"]), strict=False)),
    ids=[prepare.__name__ for prepare in REFUSED],
)
def test_what_could_cost_work_is_refused_and_nothing_has_changed(root, prepare, how):
    prepare(root)
    before = fingerprint(root)
    with pytest.raises(NotLanded) as refused:
        landed(root, how)
    assert REFUSED[prepare] in str(refused.value)
    assert fingerprint(root) == before


def test_only_a_fast_forward_where_nothing_else_is_wanted(root):
    assert landed(root, "ff-only").how == "fast-forward"
    run(root, "reset", "-q", "--hard", "main~1")
    commit(root, {"mine": "changed\n"})
    before = fingerprint(root)
    with pytest.raises(NotLanded, match="Leave --ff-only out"):
        landed(root, "ff-only")
    assert fingerprint(root) == before


def test_a_name_of_a_file_cannot_steer_the_terminal(root):
    run(root, "switch", "-q", BRANCH)
    commit(root, {"red\x1b[31m": "x\n"})
    run(root, "switch", "-q", "main")
    write(root, {"red\x1b[31m": "mine\n"})
    with pytest.raises(NotLanded) as refused:
        landed(root)
    assert "\x1b" not in str(refused.value)


def test_a_commit_needs_a_name(root, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    run(root, "config", "user.useConfigOnly", "true")
    before = fingerprint(root)
    with pytest.raises(NotLanded, match=r"git config user\.name"):
        landed(root, "squash")
    assert fingerprint(root) == before


LAND = """
from prong.harness.repository.landing import land
repository = Repository.open(given["root"])
land(repository, branch="prong/s", tip=repository.resolve("prong/s"), how="no-ff", message="All of it")
"""


def test_killed_at_any_call_of_git_nothing_is_lost_and_the_next_one_completes_it(root, tmp_path):
    """Until the branch is moved the person's own edits, and what was on the branch, are there."""
    write(root, {"mine": "edited\n"})
    tip, before = run(root, "rev-parse", BRANCH), run(root, "rev-parse", "main")
    for _ in killed_at_every_call(tmp_path / "kills", LAND, {"root": str(root)}):
        assert run(root, "rev-parse", "main") == before or parents(root, "main") == [before, tip]
        assert (root / "mine").read_text() == "edited\n"
        for lock in (".git/index.lock", ".git/HEAD.lock", ".git/refs/heads/main.lock"):
            (root / lock).unlink(missing_ok=True)
    Child(LAND, {"root": str(root)}).go().result()
    assert parents(root, "main") == [before, tip]
    assert run(root, "status", "--porcelain") == " M mine"
