"""What becomes of a swarm's work when it has ended: shown, taken, made a branch, cleaned away and never lost."""

import json
import random
import shutil
from contextlib import closing

import pytest

from prong.harness import cleaning, forgotten, results
from prong.harness.cleaning import Cleaned, Plan, clean, plan
from prong.harness.repository.repository import BranchExists, Repository
from prong.harness.repository.workspaces import Workspace
from prong.harness.results import AtWork, NoChange, NotABranchName
from prong.harness.supervisor import AlreadySupervised, alone
from prong.harness.swarms import NoSwarm, find, tidy_all
from prong.primitives import task as tasks

from . import repositories as git
from .repository.merging_swarm import Tasks
from .swarming import prong


class Ended(Tasks):
    """A swarm whose tasks were handed in by hand, and which nobody runs any more."""

    def leave(self, title, files, state):
        """A task that ended without a merge, with files in its workspace; None: that has not ended."""
        number = self.task(title)
        base = self.row(number)["base_commit"] or git.run(self.root, "rev-parse", self.swarm.branch)
        workspace = Workspace.create(self.swarm.repository, self.swarm.directory / "workspaces" / str(number), base)
        git.write(workspace.directory, files)
        if state is not None:
            with self.store.transaction(None) as tx:
                tasks.finish(tx, number, state, error="it did not go")
        return number

    def end(self):
        """Nobody runs it from here on."""
        self.merge()
        with self.store.transaction(None) as tx:
            tasks.cancel(tx, 1, reason="the test plays all others")
            tx.execute("update swarm set state = 'failed', supervisor_pid = null, ended_at = :now", now=tx.now)
        tidy_all(self.swarm, self.store)
        self.close()
        return find(Repository.open(self.root), self.swarm.id)


@pytest.fixture
def made(root):
    swarm = Ended(root, attempts=1)
    yield swarm
    swarm.close()


def kept_by_conflict(made):
    """Two tasks that write the same line, of which one is merged and one kept."""
    first, second = made.task("first"), made.task("second")
    made.hand_in(first, {"plain.txt": "first\n"})
    made.hand_in(second, {"plain.txt": "second\n"})
    made.merge()
    with made.store.transaction(None) as tx:
        tasks.cancel(tx, made.delivery(second)["resolver"], reason="nobody resolves it")
    made.merge()
    assert made.row(second)["kept_branch"] == f"{made.swarm.branch}-task-{second}"
    return second


def take(root, branch):
    git.run(root, "merge", "-q", branch)


def test_a_diff_shows_what_the_swarm_changed_and_what_each_task_did_wherever_it_is(made, root):
    merged = made.done("a", {"a.txt": "a\n"})
    made.merge()
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    open_ = made.leave("open", {"open.txt": "open\n"}, None)
    idle = made.task("idle")
    swarm = made.swarm
    assert [one.path for one in results.files(swarm, results.of_swarm(swarm))] == ["a.txt"]
    for task, name, where in (
        (merged, "a.txt", "merged"),
        (left, "left.txt", "workspace"),
        (open_, "open.txt", "workspace"),
    ):
        delta = results.of_task(swarm, made.store, task)
        assert ([one.path for one in results.files(swarm, delta)], delta.where) == ([name], where)
    with pytest.raises(NoChange, match="has changed no file so far"):
        results.of_task(swarm, made.store, idle)
    patch = prong("diff", cwd=root).stdout
    git.run(root, "apply", "--check", input=patch.encode())
    told = json.loads(prong("diff", "--task", left, "--json", cwd=root).stdout)
    assert (told["where"], told["files"]) == ("workspace", [{"path": "left.txt", "added": 1, "deleted": 0}])


def test_a_branch_is_made_of_the_result_of_kept_work_and_of_what_lies_in_a_workspace(made, root):
    kept = kept_by_conflict(made)
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    open_ = made.leave("open", {"open.txt": "open\n"}, None)
    branch = made.swarm.branch
    assert results.make_branch(made.swarm, "all", task=None) == git.run(root, "rev-parse", branch)
    results.make_branch(made.swarm, "one/kept", task=kept)
    results.make_branch(made.swarm, "one/left", task=left)
    assert git.files_of(root, "one/kept")["plain.txt"] == ("file", b"second\n")
    assert git.files_of(root, "one/left")["left.txt"] == ("file", b"left\n")
    assert git.run(root, "symbolic-ref", "HEAD") == "refs/heads/main"
    with pytest.raises(AtWork):
        results.make_branch(made.swarm, "one/open", task=open_)
    before = git.fingerprint(root)
    for name in ("all", "one", "all/below"):
        with pytest.raises(BranchExists):
            results.make_branch(made.swarm, name, task=None)
    for name in ("prong/mine", "a..b", "-f", "HEAD", "", "a b", "@"):
        with pytest.raises(NotABranchName):
            results.make_branch(made.swarm, name, task=None)
    assert git.fingerprint(root) == before


def test_a_swarm_of_which_all_is_merged_goes_and_leaves_nothing(made, root):
    made.done("a", {"a.txt": "a\n"})
    swarm = made.end()
    [reason] = plan(swarm, named=False).reasons
    assert swarm.branch in reason
    assert isinstance(clean(swarm, named=False), Plan)
    take(root, swarm.branch)
    before = git.fingerprint(root)
    assert isinstance(clean(swarm, named=False), Cleaned)
    assert git.fingerprint(root) == before
    assert "prong" not in git.run(root, "for-each-ref")
    assert [path.name for path in (root / ".prong").iterdir()] == [".gitignore"]
    with pytest.raises(NoSwarm):
        find(Repository.open(root), None)


def test_work_that_is_not_merged_stays_as_branches_where_the_swarm_is_named(made, root):
    kept = kept_by_conflict(made)
    left = made.leave("left", {"left.txt": "left\n"}, "cancelled")
    open_ = made.leave("open", {"open.txt": "open\n"}, None)
    swarm = made.end()
    take(root, swarm.branch)
    assert "not merged" in " ".join(plan(swarm, named=False).reasons)
    assert plan(swarm, named=True).rescued == (left, open_)
    done = clean(swarm, named=True)
    assert set(done.kept) == {f"{swarm.branch}-task-{n}" for n in (kept, left, open_)}
    assert git.files_of(root, f"{swarm.branch}-task-{left}")["left.txt"] == ("file", b"left\n")
    assert git.files_of(root, f"{swarm.branch}-task-{open_}")["open.txt"] == ("file", b"open\n")
    assert git.run(root, "rev-parse", "--verify", "-q", swarm.branch, fails=True) == ""


def test_work_that_was_made_a_branch_and_merged_is_not_kept_twice(made):
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    swarm = made.end()
    results.make_branch(swarm, "mine", task=left)
    assert plan(swarm, named=False).reasons == ()
    assert clean(swarm, named=False).kept == ()


def test_a_squash_counts_as_merged_while_its_commit_is_in_a_branch_of_yours(made, root):
    made.done("a", {"a.txt": "a\n"})
    swarm = made.end()
    prong("merge", "--squash", cwd=root)
    assert plan(swarm, named=False).removed == (swarm.branch,)
    git.run(root, "reset", "-q", "--hard", "HEAD~1")
    assert plan(swarm, named=False).kept == (swarm.branch,)


def test_what_somebody_uses_is_left_alone(made, root, tmp_path):
    made.done("a", {"a.txt": "a\n"})
    assert plan(made.swarm, named=True).reasons == ("it runs just now",)  # its row names this process
    swarm = made.end()
    take(root, swarm.branch)
    with alone(swarm), pytest.raises(AlreadySupervised):
        clean(swarm, named=True)
    git.run(root, "worktree", "add", "-q", tmp_path / "elsewhere", swarm.branch)
    assert plan(swarm, named=True).kept == (swarm.branch,)
    (swarm.directory / "shared/note").write_text("n\n")
    stays = " ".join(plan(swarm, named=False).reasons)
    assert "left files in" in stays
    assert stays.endswith(f"prong clean {swarm.id}")
    assert clean(swarm, named=True).kept == (swarm.branch,)
    assert git.run(root, "rev-parse", swarm.branch) == git.run(root, "rev-parse", "main")


def test_nothing_is_removed_without_a_yes(made, root):
    made.done("a", {"a.txt": "a\n"})
    swarm = made.end()
    prong("merge", "--no-ff", cwd=root)
    told = prong("clean", cwd=root, code=2)
    assert f"branch {swarm.branch}, which is merged" in told.stdout
    assert "--yes" in told.stderr
    prong("clean", "--dry-run", cwd=root)
    assert swarm.directory.exists()
    assert json.loads(prong("clean", "--yes", "--json", cwd=root).stdout)["removed"] == [swarm.branch]
    assert not swarm.directory.exists()


def reachable(root, *more):
    return set(git.run(root, "rev-list", "--all", *more).split())


def merged_forms(made):
    """What became merged commits: deliveries of tasks that are done, which the branch has in another form."""
    rows = made.store.rows("select commit_id from task where state = 'done' and commit_id is not null")
    return {row["commit_id"] for row in rows}


@pytest.mark.parametrize("seed", range(6))
def test_after_cleaning_every_commit_that_is_gone_is_merged_and_no_workspace_is_lost(made, root, seed):
    """Random endings: some tasks merged, some kept, some left anywhere; the result taken or not; named or not."""
    chance = random.Random(seed)
    left = {}
    for n in range(chance.randint(1, 4)):
        kind = chance.choice(["merged", "conflict", "failed", "cancelled", "open"])
        if kind in ("merged", "conflict"):
            made.done(f"t{n}", {"plain.txt": f"{n}\n"} if kind == "conflict" else {f"{n}.txt": "x\n"})
        else:
            left[made.leave(f"t{n}", {f"{n}.txt": f"{seed}\n"}, None if kind == "open" else kind)] = f"{n}.txt"
        if chance.random() < 0.5:
            made.merge()
    with closing(made.swarm.store()) as store:
        made.merge()
        forms = {row["commit_id"] for row in store.rows("select commit_id from task where state = 'done'")}
    swarm = made.end()
    if chance.random() < 0.6:
        take(root, swarm.branch)
    before, named = reachable(root), chance.random() < 0.7
    user = reachable(root, "--exclude=prong/*", "--branches")
    done = clean(swarm, named=named)
    after = set(git.run(root, "rev-list", "--branches").split()) | reachable(root)
    assert before - after <= user | forms
    if isinstance(done, Plan):
        assert (before, swarm.directory.exists()) == (after, True)
        return
    for task, name in left.items():
        branches = git.run(
            root, "for-each-ref", "--format=%(refname)", f"refs/heads/{swarm.branch}-task-{task}*"
        ).split()
        assert any(git.files_of(root, one).get(name) == ("file", f"{seed}\n".encode()) for one in branches)


CLEAN = """
from prong.harness.cleaning import clean
from prong.harness.swarms import NoSwarm, find
try:
    clean(find(Repository.open(given["root"]), given["swarm"]), named=True)
except NoSwarm:
    pass
"""


@pytest.mark.long
def test_killed_at_any_call_of_git_cleaning_goes_on_the_next_time(made, root, tmp_path):
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    made.done("a", {"a.txt": "a\n"})
    swarm = made.end()
    take(root, swarm.branch)
    workspace = swarm.directory / "workspaces" / str(left) / "left.txt"
    given = {"root": str(root), "swarm": swarm.id}
    for _ in git.killed_at_every_call(tmp_path / "kills", CLEAN, given, step=7):
        saved = git.run(root, "rev-parse", "-q", "--verify", f"{swarm.branch}-task-{left}", fails=True)
        assert saved or workspace.exists()
    assert git.files_of(root, f"{swarm.branch}-task-{left}")["left.txt"] == ("file", b"left\n")
    assert not swarm.directory.exists()
    kept = git.run(root, "for-each-ref", "--format=%(refname)", "refs/heads/prong").split()
    assert kept == [f"refs/heads/{swarm.branch}-task-{left}"]  # and not a second time


def test_a_workspace_that_cannot_be_read_keeps_its_swarm(made):
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    swarm = made.end()
    private = swarm.directory / "workspaces/.harness/git" / str(left)
    (private / "objects/info/alternates").write_text("/nowhere\n")
    with pytest.raises(cleaning.Unreadable, match=f"task {left}"):
        clean(swarm, named=True)
    assert (swarm.directory / "workspaces" / str(left) / "left.txt").exists()


def test_of_a_swarm_whose_directory_is_gone_what_is_merged_goes_and_nothing_else(made, root):
    kept = kept_by_conflict(made)
    swarm = made.end()
    pin = f"refs/prong/{swarm.id}/task/{kept}-1-abc"
    lost = git.commit(root, {"lost.txt": "x\n"})
    git.run(root, "update-ref", pin, lost)
    git.run(root, "reset", "-q", "--hard", "HEAD~1")
    shutil.rmtree(root / ".prong")
    branches = (swarm.branch, f"{swarm.branch}-task-{kept}")

    def left():
        return git.run(root, "for-each-ref", "--format=%(refname:short)", "refs/prong", "refs/heads/prong").split()

    told = prong("clean", "--dry-run", "--json", cwd=root).stdout
    assert json.loads(told)["kept"] == [*branches, pin]
    take(root, swarm.branch)
    before = git.fingerprint(root)
    assert f"but {pin} stays" in prong("clean", "--yes", cwd=root).stdout
    assert git.fingerprint(root) == before
    assert left() == [branches[1], pin.removeprefix("refs/")]
    assert prong("clean", "--yes", cwd=root).stdout.count("stays") == 2
    prong("clean", "--yes", swarm.id, cwd=root)
    assert left() == [branches[1]]
    assert f"{branches[1]}, which is NOT merged" in prong("clean", "--dry-run", branches[1], cwd=root).stdout
    prong("clean", "--yes", branches[1], cwd=root)
    assert left() == []
    assert "There is no swarm here" in prong("clean", cwd=root).stdout


def test_a_squash_and_the_deliveries_of_merged_tasks_count_where_the_directory_is_gone(made, root, tmp_path):
    first = made.done("a", {"a.txt": "a\n"})
    delivered = made.row(first)["commit_id"]
    swarm = made.end()
    git.run(root, "update-ref", f"refs/prong/{swarm.id}/task/{first}-1-abc", delivered)
    prong("merge", "--squash", cwd=root)
    elsewhere = tmp_path / "elsewhere"
    git.run(root, "worktree", "add", "-q", "--detach", elsewhere)
    assert forgotten.look(Repository.open(elsewhere)) == []  # another working tree has its directory
    (root / ".prong").rename(tmp_path / "gone")
    [one] = forgotten.look(Repository.open(elsewhere))
    assert one.left == ()
    assert len(forgotten.clean(swarm.repository, one)) == len(one.merged) >= 2
    assert "prong" not in git.run(root, "for-each-ref")
