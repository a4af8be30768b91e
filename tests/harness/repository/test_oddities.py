"""Every odd repository is handled, or refused with one clear error; nothing of the user's changes."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
from tests.harness.repositories import (
    START,
    SURROUNDINGS,
    commit,
    files_in,
    files_of,
    fingerprint,
    finish,
    make_repository,
    run,
    show,
    write,
)

from prong.harness.repository.git import AGENT, GitFailed
from prong.harness.repository.remote import is_bare
from prong.harness.repository.repository import NotYours, Repository
from prong.harness.repository.workspaces import Workspace


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository", START)


def life(root, directory, name="new"):
    """One change through a workspace of HEAD; the files of the adopted commit.  The user's things stay as they are."""
    before = fingerprint(root)
    repository = Repository.open(root)
    repository.has_uncommitted_changes()
    workspace = Workspace.create(repository, directory, "HEAD")
    write(workspace.directory, {name: "x"})
    made = finish(workspace)
    repository.adopt(workspace, made, f"refs/prong/s/{directory.name}")
    assert fingerprint(root) == before
    assert run(workspace.directory, "status", "--porcelain") == f"?? {name}"
    return files_of(root, made)


def test_a_sparse_checkout_gives_agents_the_whole_tree(root, tmp_path):
    for cone in ("--cone", "--no-cone"):
        run(root, "sparse-checkout", "set", cone, "other")
        assert not (root / "folder").exists()
        assert life(root, tmp_path / cone).keys() == {*START, "new"}


def test_a_sparse_index_is_no_hindrance(root, tmp_path):
    run(root, "sparse-checkout", "set", "--cone", "--sparse-index", "other")
    assert life(root, tmp_path / "w").keys() == {*START, "new"}


@pytest.mark.parametrize(
    "settings",
    [
        ("core.splitIndex=true",),
        ("index.version=4", "feature.manyFiles=true"),
        ("core.untrackedCache=true", "status.showUntrackedFiles=no"),
        ("core.fsmonitor=true",),
        ("core.fsmonitor=/nonexistent/hook", "core.hooksPath=/nonexistent"),
        ("commit.gpgSign=true", "gpg.program=false", "tag.gpgSign=true", "user.signingKey=x"),
        ("extensions.worktreeConfig=true", "core.repositoryFormatVersion=1"),
        ("status.relativePaths=false", "status.branch=true", "status.short=true", "color.ui=always"),
        ("core.quotePath=false", "core.commentChar=;", "i18n.commitEncoding=latin1", "core.abbrev=4"),
        ("fetch.fsckObjects=true", "transfer.fsckObjects=true", "pack.threads=1", "core.compression=0"),
    ],
)
def test_settings_of_the_user_do_not_get_in_the_way(root, tmp_path, settings):
    for setting in settings:
        run(root, "config", *setting.split("="))
    run(root, "-c", "core.fsmonitor=false", "update-index", "--refresh", "-q", "--force-write-index")
    assert life(root, tmp_path / "w").keys() == {*START, "new"}


def test_attributes_that_change_bytes_are_obeyed_and_are_no_change(tmp_path):
    attributes = "*.utf16 text working-tree-encoding=UTF-16LE-BOM eol=crlf\n*.id ident\n"
    text = "grüße\r\n".encode("utf-16")
    root = make_repository(tmp_path / "repository", {".gitattributes": attributes, "a.utf16": text, "b.id": "$Id$\n"})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    assert (workspace.directory / "a.utf16").read_bytes() == text
    assert (workspace.directory / "b.id").read_text().startswith("$Id: ")
    write(workspace.directory, {"a.utf16": text, "b.id": (workspace.directory / "b.id").read_text()})
    assert workspace.snapshot() == workspace.base
    write(workspace.directory, {"a.utf16": "neu\r\n".encode("utf-16")})
    assert show(workspace, finish(workspace))["a.utf16"] == ("file", b"neu\n")


def test_names_that_differ_in_case_or_normalisation_only_stay_apart(tmp_path):
    names = {"Readme": "1", "README": "2", "caf\u00e9": "3", "cafe\u0301": "4", "A/x": "5", "a/x": "6"}
    root = make_repository(tmp_path / "repository", names)
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    assert files_in(workspace.directory) == files_in(root)
    write(workspace.directory, {"readme": "7", "README": None})
    assert show(workspace, finish(workspace)).keys() == {*names, "readme"} - {"README"}


def test_links_that_dangle_or_lead_out_are_links(root, tmp_path):
    for name, target in (("dangling", "no/such"), ("absolute", "/etc/passwd"), ("up", "../.."), ("loop", "loop")):
        (root / name).symlink_to(target)
    commit(root, {})
    workspace = Workspace.create(Repository.open(root), tmp_path / "workspaces/ada", "HEAD")
    assert files_in(workspace.directory) == files_in(root)
    assert workspace.snapshot() == workspace.base


def rebase(root):
    run(root, "checkout", "-q", "-b", "left", "HEAD~1")
    commit(root, {"plain.txt": "left\n"})
    run(root, "rebase", "main", fails=True)


def merge(root):
    run(root, "checkout", "-q", "-b", "left", "HEAD~1")
    commit(root, {"plain.txt": "left\n"})
    run(root, "merge", "main", fails=True)


def cherry_pick(root):
    run(root, "checkout", "-q", "-b", "left", "HEAD~1")
    commit(root, {"plain.txt": "left\n"})
    run(root, "cherry-pick", "main", fails=True)


def revert(root):
    commit(root, {"plain.txt": "left\n"})
    run(root, "revert", "HEAD~1", fails=True)


def bisect(root):
    commit(root, {"more": "x"})
    run(root, "bisect", "start", "HEAD", "HEAD~2")


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (rebase, "a rebase"),
        (merge, "a merge"),
        (cherry_pick, "a cherry-pick"),
        (revert, "a revert"),
        (bisect, "a bisection"),
    ],
)
def test_what_is_under_way_is_told_and_stays_as_it_is(root, tmp_path, begin, what):
    assert Repository.open(root).under_way() is None
    commit(root, {"plain.txt": "right\n"})
    begin(root)
    assert Repository.open(root).under_way() == what
    assert {*START, "new"} <= life(root, tmp_path / "w").keys()


LOCKS = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "refs/heads/main.lock")


def test_locks_left_behind_stop_nothing(root, tmp_path):
    write(root / ".git", dict.fromkeys(LOCKS, ""))
    assert life(root, tmp_path / "w").keys() == {*START, "new"}
    assert Repository.open(root).create_integration("prong/one", "HEAD")


def test_grafts_and_replaced_objects_do_not_reach_agents(root, tmp_path):
    first = run(root, "rev-parse", "HEAD")
    second = commit(root, {"second": "x"})
    other = run(root, "commit-tree", f"{first}^{{tree}}", "-m", "Another")
    run(root, "replace", second, other)
    write(root, {".git/info/grafts": f"{second}\n"})
    assert life(root, tmp_path / "w").keys() == {*START, "second", "new"}
    assert run(tmp_path / "w", "rev-parse", "HEAD~1") == first


def test_objects_borrowed_by_a_relative_path_and_over_two_steps(root, tmp_path):
    run(tmp_path, "clone", "-q", "--shared", str(root), "one")
    run(tmp_path, "clone", "-q", "--shared", "one", "two")
    (tmp_path / "two/.git/objects/info/alternates").write_text("../../../one/.git/objects\n")
    assert life(tmp_path / "two", tmp_path / "w").keys() == {*START, "new"}


def test_a_repository_in_an_ignored_folder_of_another_one_is_its_own(root):
    inner = make_repository(root / "out/inner", {"a": "x"})
    before = fingerprint(root)
    workspace = Workspace.create(Repository.open(inner), inner / ".prong/s/workspaces/1", "HEAD")
    write(workspace.directory, {"new": "x"})
    assert files_of(workspace.directory, finish_into(inner, workspace)).keys() == {"a", "new"}
    assert fingerprint(root)[:2] == before[:2]


def finish_into(root, workspace):
    made = finish(workspace)
    Repository.open(root).adopt(workspace, made, "refs/prong/s/1")
    run(workspace.directory, "cat-file", "-e", made)
    return made


def test_a_submodule_may_be_the_repository_itself(root, tmp_path):
    library = make_repository(tmp_path / "library")
    run(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    assert Repository.open(root / "lib").root == root / "lib"
    assert life(root / "lib", tmp_path / "w").keys() == {"plain.txt", "new"}
    assert not is_bare(root / ".git/modules/lib")
    assert not is_bare(root / ".git")


def test_a_worktree_with_a_configuration_of_its_own(root, tmp_path):
    run(root, "config", "extensions.worktreeConfig", "true")
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    run(tmp_path / "linked", "config", "--worktree", "core.autocrlf", "true")
    run(tmp_path / "linked", "sparse-checkout", "set", "folder")
    workspace = Workspace.create(Repository.open(tmp_path / "linked"), tmp_path / "w", "HEAD")
    assert (workspace.directory / "plain.txt").read_bytes() == b"one\r\ntwo\r\nthree\r\n"
    assert workspace.snapshot() == workspace.base


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_user_is_refused_with_what_to_do(root):
    for place in (root, root / ".git"):
        os.chown(place, 12345, 12345)
    with pytest.raises(NotYours, match=r"belongs to another user.*safe.directory"):
        Repository.open(root)


def test_a_repository_that_cannot_be_written_is_refused_before_anything_is_made(root):
    # Root may write everywhere, so it has to leave that right behind.
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if powerless and not shutil.which("setpriv"):
        pytest.skip("there is no setpriv to give up root's rights with")
    root.chmod(0o555)
    command = [*powerless, sys.executable, "-m", "prong.harness", "run", "--offline", "x"]
    done = subprocess.run(command, cwd=root, env=SURROUNDINGS, capture_output=True, text=True, check=False)
    root.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert f"you may not write to {root}" in done.stderr
    assert "--repo" in done.stderr
    assert not (root / ".prong").exists()


CLEANERS = (
    ("gc", "--prune=now", "--quiet"),
    ("repack", "-a", "-d", "-q"),
    ("prune", "--expire=now"),
    ("reflog", "expire", "--expire=now", "--all"),
    ("pack-refs", "--all"),
)


def test_a_person_who_cleans_up_all_the_time_hurts_nothing(root, tmp_path):
    # Goal: no object that a workspace or a pinned commit needs is ever collected.  Method: a person cleans up without a
    # pause, with all that deletes at once what no reference needs, while workspaces live and are adopted.
    repository = Repository.open(root)
    repository.pin("refs/prong/s/start", "HEAD")
    over = threading.Event()

    def clean():
        while not over.is_set():
            for command in CLEANERS:
                run(root, *command, fails=True)

    person = threading.Thread(target=clean)
    run(root, "commit", "--amend", "-q", "-m", "Another one")  # only the pin holds the first commit now
    person.start()
    made = {}
    try:
        for number in range(6):
            workspace = Workspace.create(repository, tmp_path / f"w{number}", "refs/prong/s/start")
            write(workspace.directory, {f"new {number}": "x" * number, "plain.txt": f"{number}\n"})
            commit(workspace.directory, {"own": str(number)})
            made[number] = workspace.commit_all("Work", AGENT, {})
            repository.adopt(workspace, made[number], f"refs/prong/s/task/{number}")
            workspace.remove()
    finally:
        over.set()
        person.join()
    for number, one in made.items():
        assert repository.read_ref(f"refs/prong/s/task/{number}") == one
        assert files_of(root, one).keys() == {*START, f"new {number}", "own"}
    run(root, "fsck", "--strict", "--full")
    assert not list((root / ".git/objects/pack").glob("*.keep"))


@pytest.mark.parametrize("committed", [False, True])
def test_a_file_that_git_found_in_the_users_repository_may_vanish_there(root, workspace, committed):
    # Git does not store again what it finds in the repository that it borrows from, although nothing there needs it.
    here = workspace.directory
    write(here, {"twice": "the same contents\n"})
    run(root, "hash-object", "-w", str(here / "twice"))
    if committed:
        commit(here, {})
    repository = Repository.open(root)
    lost = workspace.commit_all("Work", AGENT, {})
    run(root, "prune", "--expire=now")
    with pytest.raises(GitFailed):
        repository.adopt(workspace, lost, "refs/prong/s/task")
    made = workspace.commit_all("Work", AGENT, {})
    repository.adopt(workspace, made, "refs/prong/s/task")
    assert files_of(root, made)["twice"] == ("file", b"the same contents\n")
    repository.adopt(workspace, workspace.snapshot(), "refs/prong/s/snapshot")
