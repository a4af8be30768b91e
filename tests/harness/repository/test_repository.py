"""The user's repository is found, refused in clear words, written only where Prong owns it."""

import os
import pickle
from pathlib import Path

import pytest
from tests.harness.repositories import (
    EXECUTABLE,
    Child,
    commit,
    files_of,
    fingerprint,
    killed_at_every_call,
    make_odd_repository,
    make_repository,
    run,
    together,
    write,
)

from prong.harness.repository.git import AGENT, GitFailed, GitMissing, RepositoryError
from prong.harness.repository.merging import Integration, IntegrationBusy, NoIntegration
from prong.harness.repository.repository import (
    BareRepository,
    BranchCheckedOut,
    BranchExists,
    ForeignRef,
    GitTooOld,
    NoCommit,
    NoSuchCommit,
    NotARepository,
    PartialClone,
    Repository,
)
from prong.harness.repository.workspaces import NotAWorkspace, Workspace, WorkspaceExists


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository")


def test_the_root_is_found_from_any_folder_below(tmp_path):
    root = make_odd_repository(tmp_path / "a ü\n'b")
    for folder in (root, root / "with space", root / "deep/er/and"):
        assert Repository.open(folder).root == root


def test_a_linked_worktree_has_its_own_head_and_the_common_references(root, tmp_path):
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    other = commit(tmp_path / "linked", {"new": "x"})
    linked = Repository.open(tmp_path / "linked")
    assert linked.root == tmp_path / "linked"
    assert linked.common_dir == root / ".git"
    assert linked.head() == other != Repository.open(root).head()
    linked.pin("refs/prong/s/a", other)
    assert Repository.open(root).read_ref("refs/prong/s/a") == other


def test_a_detached_head_is_a_head(root):
    first = run(root, "rev-parse", "HEAD")
    commit(root, {"new": "x"})
    run(root, "checkout", "-q", "--detach", first)
    assert Repository.open(root).head() == first


@pytest.mark.parametrize("folder", ["nothing", "missing/folder"])
def test_a_folder_outside_of_every_repository_is_refused(tmp_path, folder):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NotARepository, match="git init"):
        Repository.open(tmp_path / folder)


def test_a_bare_repository_is_refused(root, tmp_path):
    run(root, "clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    with pytest.raises(BareRepository, match="clone"):
        Repository.open(tmp_path / "bare")


def test_a_repository_without_a_commit_is_refused(tmp_path):
    run(tmp_path, "init", "-q")
    with pytest.raises(NoCommit, match="first commit"):
        Repository.open(tmp_path)


def test_a_clone_that_lacks_objects_is_refused(root, tmp_path):
    run(root, "config", "uploadpack.allowFilter", "true")
    run(tmp_path, "clone", "-q", "--filter=blob:none", root.as_uri(), "partial")
    with pytest.raises(PartialClone, match="full clone"):
        Repository.open(tmp_path / "partial")


OPEN = """
try:
    print(Repository.open(given).root)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_machine_without_git_is_told_to_install_it(root, tmp_path):
    assert Child(OPEN, str(root), PATH=str(tmp_path)).go().result().startswith("GitMissing git is not installed")


def test_a_git_that_cannot_merge_without_a_checkout_is_refused(root, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.37.9\n")
    (tmp_path / "git").chmod(EXECUTABLE)
    told = Child(OPEN, str(root), PATH=f"{tmp_path}:{os.environ['PATH']}").go().result()
    assert told.startswith("GitTooOld the installed git says 'git version 2.37.9', but 2.38")


def test_variables_of_a_calling_git_do_not_reach_ours(root, tmp_path):
    other = make_repository(tmp_path / "other")
    inherited = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": "/nonexistent"}
    assert Child(OPEN, str(root), **inherited).go().result() == str(root)


def test_uncommitted_changes_are_noticed_but_ignored_files_are_not(root):
    repository = Repository.open(root)
    write(root, {".git/info/exclude": "*.log\n", "noise.log": "x"})
    assert not repository.has_uncommitted_changes()
    write(root, {"new": "x"})
    assert repository.has_uncommitted_changes()
    write(root, {"new": None, "plain.txt": "changed"})
    assert repository.has_uncommitted_changes()


def test_a_name_that_stands_for_no_commit_is_refused(root):
    with pytest.raises(NoSuchCommit, match="'nowhere'"):
        Repository.open(root).resolve("nowhere")
    with pytest.raises(NoSuchCommit):
        Repository.open(root).resolve("--all")


def test_an_integration_branch_is_made_once(root):
    repository = Repository.open(root)
    ref = repository.create_integration("prong/one", repository.head())
    assert ref == "refs/heads/prong/one"
    assert repository.read_ref(ref) == repository.head()
    with pytest.raises(BranchExists, match="'prong/one'"):
        repository.create_integration("prong/one", repository.head())


def test_a_user_branch_in_the_way_of_an_integration_branch_is_named(root):
    run(root, "branch", "prong")
    with pytest.raises(BranchExists, match="'prong'"):
        Repository.open(root).create_integration("prong/one", "HEAD")


def test_a_reference_advances_only_from_where_it_is(root):
    repository = Repository.open(root)
    first, second = repository.head(), commit(root, {"new": "x"})
    ref = repository.create_integration("prong/one", first)
    assert not repository.advance(ref, second, second)
    assert repository.read_ref(ref) == first
    assert repository.advance(ref, second, first)
    assert not repository.advance(ref, first, None)
    assert repository.read_ref(ref) == second


def test_of_eight_processes_that_advance_from_the_same_commit_one_wins(root):
    # Goal: the compare-and-set is one step.  Method: eight processes, each with another new commit.
    repository = Repository.open(root)
    first = repository.head()
    ref = repository.create_integration("prong/one", first)
    news = [commit(root, {"new": str(number)}) for number in range(8)]
    code = "print(Repository.open(given[0]).advance(*given[1:]))"
    won = together(code, *([str(root), ref, new, first] for new in news))
    assert won.count("True") == 1
    assert repository.read_ref(ref) == news[won.index("True")]


@pytest.mark.parametrize("ref", ["refs/heads/main", "HEAD", "refs/tags/v1", "refs/prongs/x"])
def test_references_of_the_user_are_never_written(root, ref):
    repository = Repository.open(root)
    head = repository.head()
    with pytest.raises(ForeignRef, match="not Prong's"):
        repository.pin(ref, head)
    with pytest.raises(ForeignRef):
        repository.advance(ref, head, None)
    with pytest.raises(ForeignRef):
        repository.unpin(ref)


def test_a_branch_that_somebody_has_checked_out_does_not_move(root, tmp_path):
    repository = Repository.open(root)
    first, second = repository.head(), commit(root, {"new": "x"})
    ref = repository.create_integration("prong/one", first)
    run(root, "worktree", "add", "-q", str(tmp_path / "linked"), "prong/one")
    with pytest.raises(BranchCheckedOut, match=str(tmp_path / "linked")):
        repository.advance(ref, second, first)
    assert repository.read_ref(ref) == first


def test_a_checkout_that_was_deleted_does_not_hold_the_branch(root, tmp_path):
    repository = Repository.open(root)
    first, second = repository.head(), commit(root, {"new": "x"})
    ref = repository.create_integration("prong/one", first)
    run(root, "worktree", "add", "-q", str(tmp_path / "linked"), "prong/one")
    (tmp_path / "linked").rename(tmp_path / "gone")
    assert repository.advance(ref, second, first)


def test_a_commit_contains_itself_and_its_ancestors(root):
    repository = Repository.open(root)
    first, second = repository.head(), commit(root, {"new": "x"})
    assert repository.is_ancestor(first, second)
    assert repository.is_ancestor(first, first)
    assert not repository.is_ancestor(second, first)
    with pytest.raises(GitFailed):
        repository.is_ancestor("1" * 40, first)


def test_a_lock_that_a_killed_git_has_left_keeps_no_pin_away(root):
    repository = Repository.open(root)
    lock = root / ".git/refs/prong/s/base/1.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (lock.stat().st_mtime - 60,) * 2)
    repository.pin("refs/prong/s/base/1", repository.head())
    assert repository.read_ref("refs/prong/s/base/1") == repository.head()


def test_a_pin_keeps_a_commit_through_garbage_collection_until_it_is_taken_away(root, tmp_path):
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    write(workspace.directory, {"new": "x"})
    snapshot = workspace.snapshot()
    repository.adopt(workspace, snapshot, "refs/prong/s/snapshot")
    run(root, "gc", "-q", "--prune=now")
    assert repository.resolve(snapshot) == snapshot
    repository.unpin("refs/prong/s/snapshot")
    run(root, "gc", "-q", "--prune=now")
    with pytest.raises(NoSuchCommit):
        repository.resolve(snapshot)


@pytest.mark.parametrize("count", [3, 400])
def test_a_workspace_commit_is_adopted_with_all_its_files(root, tmp_path, count):
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    write(workspace.directory, {f"folder {number % 7}/{number}": f"{number}\n" for number in range(count)})
    made = workspace.commit_all("Much", AGENT, {})
    repository.adopt(workspace, made, "refs/prong/s/task")
    workspace.remove()
    assert repository.read_ref("refs/prong/s/task") == made
    assert len(files_of(root, made)) == count + 1
    run(root, "fsck", "--strict", "--full")


def test_commits_of_the_agent_itself_are_adopted_with_a_snapshot(root, tmp_path):
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    own = [commit(workspace.directory, {"own": str(number)}) for number in range(3)]
    write(workspace.directory, {"loose": "x"})
    snapshot = workspace.snapshot()
    repository.adopt(workspace, snapshot, "refs/prong/s/snapshot")
    assert run(root, "rev-list", "--first-parent", f"HEAD..{snapshot}").split() == [snapshot, *reversed(own)]


def take_away(objects, blob, _other):
    (objects / blob[:2] / blob[2:]).unlink()


def put_another_in_its_place(objects, blob, other):
    (objects / blob[:2] / blob[2:]).unlink()
    (objects / other[:2] / other[2:]).rename(objects / blob[:2] / blob[2:])


@pytest.mark.parametrize("spoil", [take_away, put_another_in_its_place])
def test_a_commit_with_an_object_that_an_agent_spoilt_is_not_adopted(root, tmp_path, spoil):
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    commit(workspace.directory, {"own": "x", "other": "y"})
    write(workspace.directory, {"loose": "x", "other": None})
    snapshot = workspace.snapshot()
    blobs = [run(workspace.directory, "rev-parse", f"HEAD:{name}") for name in ("own", "other")]
    spoil(workspace.directory / ".git/objects", *blobs)
    with pytest.raises(GitFailed):
        repository.adopt(workspace, snapshot, "refs/prong/s/snapshot")
    assert repository.read_ref("refs/prong/s/snapshot") is None


def test_eight_processes_adopt_at_once(root, tmp_path):
    # Goal: no adoption disturbs another.  Method: eight processes, four commits each, half of the files in common.
    code = """
repository = Repository.open(given[0])
workspace = Workspace.create(repository, given[1], "HEAD")
for number in range(4):
    Path(given[1], "common").write_text(str(number))
    Path(given[1], "own").write_text(given[1] + str(number))
    repository.adopt(workspace, workspace.snapshot(), f"refs/prong/s/{Path(given[1]).name}/{number}")
"""
    together(code, *([str(root), str(tmp_path / "workspaces" / f"w{number}")] for number in range(8)))
    for number in range(8):
        for turn in range(4):
            adopted = files_of(root, f"refs/prong/s/w{number}/{turn}")
            assert adopted["common"] == ("file", str(turn).encode())
            assert adopted["own"] == ("file", f"{tmp_path}/workspaces/w{number}{turn}".encode())
    run(root, "fsck", "--strict", "--full")


def test_a_killed_adopter_leaves_all_or_nothing(root, tmp_path):
    repository = Repository.open(root)
    workspace = Workspace.create(repository, tmp_path / "w", "HEAD")
    write(workspace.directory, {"new": "x"})
    made = workspace.commit_all("New", AGENT, {})
    code = """
Repository.open(given[0]).adopt(Workspace.open(given[1]), given[2], "refs/prong/s/task")
"""
    for _ in killed_at_every_call(tmp_path / "bin", code, [str(root), str(workspace.directory), made]):
        if repository.read_ref("refs/prong/s/task"):
            assert files_of(root, "refs/prong/s/task").keys() == {"plain.txt", "new"}
            repository.unpin("refs/prong/s/task")
    assert repository.read_ref("refs/prong/s/task") == made
    run(root, "fsck", "--strict", "--full")


def test_everything_of_the_user_stays_as_it_is_byte_for_byte(tmp_path):
    # Goal: a whole life of a workspace, twice, changes nothing of the user's.  Method: digests of all files of .git and
    # of the working tree; every hook leaves a trace if it runs; the configuration asks for all that git does by itself.
    root = make_odd_repository(tmp_path / "user's ü")
    write(root, {"plain.txt": "stashed"})
    run(root, "stash")
    run(root, "tag", "v1")
    run(root, "branch", "feature")
    run(root, "pack-refs", "--all")
    write(root, {"plain.txt": "not committed", "staged": "s"})
    run(root, "add", "staged")
    for hook in (
        "reference-transaction",
        "post-checkout",
        "pre-commit",
        "post-commit",
        "pre-auto-gc",
        "post-index-change",
    ):
        write(root, {f".git/hooks/{hook}": f"#!/bin/sh\necho ran >> '{tmp_path}/traces'\n"})
        (root / ".git/hooks" / hook).chmod(EXECUTABLE)
    for setting in ("gc.auto=1", "core.logAllRefUpdates=always", "core.untrackedCache=true", "commit.gpgSign=true"):
        run(root, "config", *setting.split("="))
    before = fingerprint(root)
    repository = Repository.open(root)
    repository.has_uncommitted_changes()
    repository.create_integration("prong/one", "HEAD")
    branch = Integration(repository, "prong/one", repository.head())
    for number in range(2):
        workspace = Workspace.create(repository, root / ".prong/one/workspaces" / str(number), "HEAD")
        write(workspace.directory, {f"new {number}": "x", "link": None})
        repository.adopt(workspace, workspace.snapshot(), f"refs/prong/one/snapshot-{number}")
        made = workspace.commit_all("Work", AGENT, {"Prong-Task": str(number)})
        repository.adopt(workspace, made, f"refs/prong/one/task-{number}")
        task = {"base": workspace.base, "commit": made, "message": "Work", "author": AGENT}
        assert branch.merge(**task, trailers={"Prong-Task": str(number)}).how == "merged"
        workspace.remove()
    assert fingerprint(root) == before
    assert not (tmp_path / "traces").exists()


def test_errors_say_what_to_do_and_survive_pickling():
    errors = [
        NotARepository("/x"),
        BareRepository("/x"),
        NoCommit("/x"),
        PartialClone("/x"),
        NoSuchCommit("x", "/x"),
        GitTooOld("git version 1"),
        GitMissing(),
        BranchExists("b", "/x"),
        BranchCheckedOut("b", "/x"),
        ForeignRef("HEAD"),
        GitFailed(("log", "x"), "/x", 128, "fatal: no", ""),
        NotAWorkspace("/x"),
        WorkspaceExists("/x"),
        IntegrationBusy("b"),
        NoIntegration("b", "/x"),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, RepositoryError)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_nothing_below_a_repository_is_mistaken_for_it(root):
    make_repository(root / "inner")
    assert Repository.open(root / "inner").root == Path(root, "inner")
