"""A swarm whose tasks are handed in by hand, so that the merge queue is seen at work without agents."""

import json

from tests.harness.repositories import run, write

from prong.agents import conversation
from prong.harness.merger import merge_queue_of
from prong.harness.repository import merge_queue
from prong.harness.repository.git import AGENT
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.repository.repository import Repository
from prong.harness.repository.returning import lay
from prong.harness.repository.workspaces import Workspace
from prong.harness.swarms import Jail, Options, create
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.state import member

# The check counts the files that say "bad"; what says "mend" makes up for one of them.
CHECK = (
    'bad=$(ls | grep -c "^bad"); mend=$(ls | grep -c "^mend"); [ $bad -le $mend ] || { echo "$bad are bad"; exit 1; }'
)


class Tasks:
    """A swarm of a repository, and what its agents would do."""

    def __init__(self, root, **rules):
        repository = Repository.open(root)
        self.root = root
        options = Options("Do it", "emulator", 2, merging=MergeRules(**rules), jail=Jail(sandbox="off"))
        self.swarm = create(repository, options)
        self.store = self.swarm.store()
        self.queue = merge_queue_of(self.swarm, self.store)

    def task(self, title, *, priority=0):
        """A new task that an agent has claimed; its number."""
        with self.store.transaction(None) as tx:
            made, _ = create_task(tx, Plan(title, f"Do {title}.", priority=priority))
        return self.claim(made.id)

    def claim(self, task):
        with self.store.transaction(None) as tx:
            agent = member.enlist(tx, f"task {task}", pid=None, task=task, state="running", lease_s=600)
            assert tasks.claim(tx, task, agent) is not None
            if tx.value("select head from task where id = :task", task=task) is None:
                text = [{"type": "text", "text": "Do it."}]
                head = conversation.insert(tx, parent=None, role="user", content=text, task=task)
                tx.execute("update task set head = :head where id = :task", head=head, task=task)
        return task

    def hand_in(self, task, files):
        """Change files in the task's workspace, as it lies before its agent, and hand it in."""
        directory = self.swarm.directory / "workspaces" / str(task)
        back = merge_queue.to_lay(self.store, task)
        if back is not None:
            lay(self.swarm.repository, directory, base=back["base"], commit=back["commit_id"], onto=back["onto"])
            with self.store.transaction(None) as tx:
                merge_queue.laid(tx, task, back["onto"])
        base = self.row(task)["base_commit"] or run(self.root, "rev-parse", self.swarm.branch)
        workspace = Workspace.create(self.swarm.repository, directory, base)
        write(directory, files)
        made = workspace.commit_all(f"task {task}", AGENT, {})
        self.swarm.repository.adopt(workspace, made, f"refs/prong/{self.swarm.id}/task/{task}-{made[:12]}")
        with self.store.transaction(None) as tx:
            tx.execute("update task set base_commit = :base where id = :task", base=base, task=task)
            merge_queue.enter(tx, task, self.row(task)["fence"], commit=made, result=f"did {task}")
        return workspace

    def done(self, title, files, **more):
        """A task that is handed in at once."""
        task = self.task(title, **more)
        self.hand_in(task, files)
        return task

    def merge(self):
        """Decide on all that wait."""
        while self.queue.merge_next():
            pass

    def row(self, task):
        return self.store.row("select * from task where id = :task", task=task)

    def delivery(self, task):
        return self.store.row("select * from merge where task = :task", task=task)

    def messages(self, task):
        return [message.text() for message in conversation.load(self.store, self.row(task)["head"])]

    def events(self, kind, task=None):
        rows = self.store.rows("select task, data from event where kind = :kind order by seq", kind=kind)
        return [json.loads(row["data"]) for row in rows if task in (None, row["task"])]

    def merged(self, *options):
        """The tasks on the branch, the oldest first."""
        form = "--format=%(trailers:key=Prong-Task,valueonly,separator=%x2c)"
        listed = run(self.root, "log", "--reverse", *options, form, f"{self.swarm.base_commit}..{self.swarm.branch}")
        return [int(line) for line in listed.split()]

    def commits(self, *options):
        return run(self.root, "rev-list", "--reverse", *options, self.swarm.branch).split()

    def close(self):
        self.queue.close()
        self.store.close()


def passes(root, commit_id):
    """Whether a commit passes the check."""
    names = run(root, "ls-tree", "--name-only", commit_id).split()
    return sum(name.startswith("bad") for name in names) <= sum(name.startswith("mend") for name in names)
