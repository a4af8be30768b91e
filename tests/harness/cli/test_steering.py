"""The commands that steer a swarm, as a person types them: what they print, refuse and write down."""

import json

import pytest
from click.testing import CliRunner
from tests.harness.repositories import run as git

from prong.harness.bounds import Bounds
from prong.harness.cli.command import main
from prong.harness.cli.steering import COMMANDS
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.primitives import Plan, create_task
from prong.primitives import budget as budgets
from prong.primitives import task as tasks
from prong.state import member


class Typed:
    """A swarm that this process supervises, and somebody who types commands."""

    def __init__(self, root, **bounds):
        options = Options("Reach the goal", "prong-emulator", 2, bounds=Bounds(**bounds))
        self.swarm = create(Repository.open(root), options)
        self.store = self.swarm.store()
        self._root = root

    def __call__(self, *arguments, code=0):
        result = CliRunner().invoke(main, [*map(str, arguments), "--repo", str(self._root)])
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *arguments):
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]

    def make(self, title="a task", **plan):
        with self.store.transaction(None) as tx:
            return create_task(tx, Plan(title, title, **plan))[0].id

    def hold(self, task):
        """Park a task because its budget is spent."""
        with self.store.transaction(None) as tx:
            agent = member.enlist(tx, f"task {task}", pid=None, task=task, state="running", lease_s=15)
            fence = tasks.claim(tx, task, agent)
            tasks.hold_for_budget(tx, task, fence, reason="its budget is spent", result=None)
            member.end(tx, agent, state="ended", reason="its budget is spent")

    def stand_still(self, state):
        """Nobody supervises it any more."""
        with self.store.transaction(None) as tx:
            tx.execute("update swarm set state = :state, supervisor_pid = null, ended_at = 0", state=state)

    def commands(self):
        rows = self.store.rows("select kind, data from event where kind like 'command.%' order by seq")
        return [(row["kind"], json.loads(row["data"])) for row in rows]


@pytest.fixture
def prong(root):
    return Typed(root)


@pytest.fixture
def bounded(root):
    return Typed(root, tokens=100_000, usd=2.5)


@pytest.mark.parametrize("command", [*COMMANDS, main.commands["resume"]], ids=lambda command: command.name)
def test_every_command_has_help_with_an_example_and_the_options_of_all(command):
    shown = CliRunner().invoke(main, [command.name, "--help"]).output
    assert f"Example: prong {command.name}" in shown
    assert all(option in shown for option in ("--json", "--repo"))
    assert "--swarm" in shown or command.name == "resume"


def test_why_tells_one_task_or_every_open_one(prong):
    needs = prong.make("second", needs=[1])
    assert prong("why", needs).startswith(f"task {needs} is blocked: second\n  It needs task 1")
    (told,) = prong.json("why", needs)
    assert (told["task"], told["state"], told["reasons"][0]["reason"]) == (needs, "blocked", "needs")
    lines = prong("why").splitlines()
    assert [line.split()[:2] for line in lines] == [["1", "ready"], [str(needs), "blocked"]]
    assert [one["task"] for one in prong.json("why")] == [1, needs]
    assert "there is no task 99" in prong("why", 99, code=2)


def test_what_somebody_else_named_cannot_steer_a_terminal(prong):
    task = prong.make("evil \x1b[2J title")
    assert "\x1b" not in prong("why", task) + prong("why")


def test_pause_and_resume_say_what_they_did_and_who_did_it(prong):
    child = prong.make("child")
    assert "agents at work step aside" in prong("pause", child)
    assert f"task {child} was paused before" in prong("pause", child)
    assert f"task {child} may go on" in prong("resume", "--task", child)
    assert f"task {child} was not paused" in prong("resume", "--task", child)
    assert prong.json("pause")[0]["whole_swarm"] is True
    assert "running, paused" in prong("status")
    assert prong.json("status")[0]["paused"] is True
    assert "may go on" in prong("resume")
    kinds = [kind for kind, _ in prong.commands()]
    assert kinds == ["command.pause"] * 2 + ["command.resume"] * 2 + ["command.pause", "command.resume"]
    assert all(data["user"] and data["pid"] for _, data in prong.commands())


def test_what_has_ended_is_neither_paused_nor_killed_nor_moved(prong):
    with prong.store.transaction(None) as tx:
        tasks.finish(tx, 1, "done")
    for command in (("pause", 1), ("kill", 1), ("priority", 1, 5), ("retry", 1)):
        assert "task 1 is done" in prong(*command, code=2)
    assert "had ended before" in prong("cancel", 1)
    assert "all of whose tasks have ended" in prong("pause", code=2)


def test_kill_wants_one_name_and_an_agent_of_the_swarm(prong):
    assert "name a task, or an agent" in prong("kill", code=2)
    assert "name a task, or an agent" in prong("kill", 1, "--agent", 1, code=2)
    assert "task 1 is ready, not running" in prong("kill", 1, code=2)
    program = member.join(prong.store, "a program").me.agent
    assert "the number of an agent that works on a task" in prong("kill", "--agent", program, code=2)


def test_a_priority_may_be_named(prong, root):
    (root / "PRONG.md").write_text("---\npriorities: {urgent: 20}\n---\n")
    assert prong.json("priority", 1, "urgent") == [{"task": 1, "before": 0, "priority": 20}]
    assert "did you mean urgent?" in prong("priority", 1, "urgnt", code=2)


def test_a_priority_may_be_negative(prong):
    assert prong.json("priority", 1, "-5") == [{"task": 1, "before": 0, "priority": -5}]
    assert "It is ready. It is the first in line" in prong("priority", 1, 3)
    assert prong.store.row("select priority from task")["priority"] == 3


def test_retry_of_a_finished_swarm_says_how_to_go_on(prong):
    task = prong.make("fails")
    needs = prong.make("needs it", needs=[task])
    with prong.store.transaction(None) as tx:
        tasks.finish(tx, task, "failed", error="out of order", failure="tool")
        tasks.cancel(tx, 1, reason="cancelled by command")
    prong.stand_still("failed")
    assert "retry that first" in prong("retry", needs, code=2)
    told = prong("retry", task, "--with-dependants")
    assert f"opened tasks {task} and {needs}" in told
    assert f"prong resume {prong.swarm.id}" in told
    assert prong.json("retry", 1) == [{"opened": [1], "swarm": prong.swarm.id, "supervised": False}]


def test_a_budget_is_shown_with_what_is_spent_and_left(bounded):
    own = bounded.make("has its own", budget=budgets.Budget(tokens=30_000))
    with bounded.store.transaction(None) as tx:
        agent = member.enlist(tx, "task 1", pid=None, task=1, state="running", lease_s=15)
        budgets.settle(tx, budgets.reserve(tx, 0, agent=agent, tokens=2_000, usd=1), tokens=1_500, usd=0.5)
    rows = [line.split() for line in bounded("budget").splitlines()]
    assert rows[1] == ["the", "swarm", "tokens", "100,000", "1,500", "0", "30,000", "68,500", "open"]
    assert rows[2] == ["usd", "$2.5000", "$0.5000", "$0.0000", "$0.0000", "$2.0000"]
    assert rows[3][:4] == ["task", str(own), "tokens", "30,000"]
    told = bounded.json("budget")
    assert [(one["of"], one["tokens"]["bound"]) for one in told] == [("swarm", 100_000), (f"task {own}", 30_000)]
    assert [one["of"] for one in bounded.json("budget", "--task", own)] == [f"task {own}"]


def test_a_swarm_without_a_bound_is_said_to_have_none_and_can_be_given_one(prong):
    assert "nothing bounds what is spent" in prong("budget")
    assert "there is no task 99" in prong("budget", "--task", 99, "--tokens", "2M", code=2)
    assert "has no budget of its own" in prong("budget", "--task", 1, "--tokens", "2M", code=2)
    assert "2,000,000" in prong("budget", "--tokens", "2M")
    assert "nothing bounds" not in prong("budget")


def test_raising_a_budget_lets_go_on_what_was_held_for_it(bounded):
    bounded.hold(1)
    assert "its budget is spent" in bounded("why", 1)
    assert "held: its budget is spent" in " ".join(bounded("status").split())
    bounded.stand_still("budget")
    assert "A budget is spent" in bounded("status")
    told = bounded("budget", "--tokens", "2M")
    assert "2,000,000" in told
    assert "task 1 goes on" in told
    assert f"prong resume {bounded.swarm.id}" in told
    assert bounded.store.row("select state from task")["state"] == "ready"
    assert bounded.commands()[-1][1]["freed"] == [1]
    (again,) = bounded.json("budget", "--usd", "5")
    assert (again["account"]["usd"]["bound"], again["freed"]) == (5.0, [])


@pytest.mark.parametrize("amount", [("--tokens", "lots"), ("--tokens", "0"), ("--usd", "-1"), ("--usd", "nan")])
def test_an_amount_that_is_none_is_refused(bounded, amount):
    assert "Invalid value" in bounded("budget", *amount, code=2)
    assert bounded.commands() == []


def test_a_bound_below_what_is_spent_or_above_what_the_lender_has_is_refused(bounded):
    own = bounded.make("has its own", budget=budgets.Budget(tokens=30_000))
    assert "30,000 tokens lent to tasks" in bounded("budget", "--tokens", "20k", code=2)
    assert "left" in bounded("budget", "--task", own, "--tokens", "200k", code=2)
    assert bounded.store.row("select tokens from account where task = 0")["tokens"] == 100_000


def test_a_swarm_that_came_with_the_repository_is_not_run(root, prong, monkeypatch):
    """Goal: a clone of somebody's repository sends nobody's key anywhere.  Method: a swarm that git knows."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-person")
    prong.stand_still("stopped")
    with prong.store.transaction(None) as tx:
        tx.execute("update swarm set paused = 1")
    git(root, "add", "--force", ".prong")
    told = prong("resume", code=2)
    assert f"swarm {prong.swarm.id} was committed to this repository" in told
    assert prong.store.row("select paused from swarm")["paused"] == 1
