"""What is said of a run: each sentence where the figures bear it, and not where they do not."""

import json
from dataclasses import replace

import pytest

from prong.agents.economics import Work
from prong.agents.models import lookup
from prong.harness.advice import Figures, advise
from prong.harness.plans.estimate import GUESSED_ITEMS, Learnt, alone, estimate, learnt
from prong.harness.plans.plan import parse
from prong.harness.repository.repository import Repository
from prong.harness.run_figures import longest, read_figures
from prong.harness.swarms import Offline, Options, all_swarms, create
from prong.primitives import Plan, create_tasks
from prong.state.member import enlist

GOOD = Figures(
    tasks=8, slots=8, wall_s=100, work_s=700, critical_s=60, critical=["a", "b"], cost=1.0, alone=1.2,
    kinds={"model": 600, "tool": 100, "other": 50}, busy={"reviewer": 0.8},
)  # fmt: skip


def test_nothing_is_said_of_a_run_that_paid():
    assert advise(GOOD) == []
    assert GOOD.parallelism == 7


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"alone": 0.5, "work_s": 100}, "One agent would have done better: about $0.50 and 1 min 40 s, against $1.00"),
        ({"alone": 0.5}, "This would have been cheaper with one agent: about $0.50 against $1.00, but in about 11 min"),
        ({"work_s": 95}, "One agent would have been no slower: about 1 min 35 s, against 1 min 40 s."),
        ({"work_s": 50}, "One agent would have been faster: about 50.0 s, against 1 min 40 s."),
        ({"work_s": 95, "kinds": {"model": 50, "queue": 30}}, "no slower"),
        ({"alone": 500, "cost": 1000, "unit": "tokens"}, "about 500 tokens by weight against 1,000 tokens by weight"),
        (
            {"short": 6, "start_s": 0.4},
            "Tasks under 100 ms do not pay: 6 of 8 had less work than that; starting one took 0.4",
        ),
        ({"busy": {"idler": 0.05, "": 0.0}}, "Role idler was idle 95 % of the time"),
        ({"critical_s": 95}, "More agents would not have helped: the longest path is 95 % of the time: a -> b."),
        ({"kinds": {"model": 50, "lock": 50}}, "50 % of the agents' time (50.0 s) went to waiting for locks."),
        ({"kinds": {"model": 50, "queue": 30}}, "waiting for one of 8 slots. More of them (--agents) would help"),
        ({"kinds": {"model": 50, "coordination": 30}}, "waiting for other agents"),
        ({"kinds": {"model": 50, "merge": 30}}, "waiting for merges and checks"),
        ({"kinds": {"model": 40, "other": 60}}, "60 % of the agents' time (1 min 0 s) went to starting agents"),
    ],
)
def test_each_sentence_stands_where_its_figures_do(more, said):
    [sentence] = advise(replace(GOOD, **more))
    assert said in sentence


@pytest.mark.parametrize(
    "more",
    [{"cost": None, "alone": 0.1}, {"alone": 0.95}, {"tasks": 1, "alone": 0.1, "work_s": 10}, {"short": 2},
     {"short": 3},
     {"critical": ["a"], "critical_s": 100}, {"kinds": {"model": 81, "lock": 19}}, {"wall_s": 0, "work_s": 700}],
)  # fmt: skip
def test_figures_that_bear_no_sentence_bear_none(more):
    assert advise(replace(GOOD, **more)) == []


def test_the_same_is_said_beforehand_of_what_would_be():
    [sentence] = advise(replace(GOOD, alone=0.5), before=True)
    assert sentence.startswith("This would be cheaper with one agent")


def log(tx, at, kind, object_, *, task=None, agent=None, **data):
    tx.execute(
        "insert into event (at, task, agent, kind, object, data) values (:at, :task, :agent, :kind, :object, :data)",
        at=at, task=task, agent=agent, kind=kind, object=str(object_), data=json.dumps(data),
    )  # fmt: skip


def worked(tx, task, agent, begin, *stretches, end):
    """A task from its claim to its end, with calls of the model (seconds) and waits (what, from, to) in it."""
    log(tx, begin, "task.claimed", task, task=task, holder=agent, attempt=1, fence=1)
    for what, first, last in stretches:
        if what == "model":
            log(tx, last, "model.answered", "m", task=task, agent=agent, seconds=last - first)
        elif what == "tool":
            log(tx, first, "tool.began", "bash", task=task, agent=agent, call=f"{task}-{first}")
            log(tx, last, "tool.ended", "bash", task=task, agent=agent, call=f"{task}-{first}")
        else:
            log(tx, first, "task.parked", task, task=task, agent=agent, waits_for=what, which="x")
            log(tx, last, "task.unparked", task, task=task)
    log(tx, end, "task.done", task, task=task)


@pytest.fixture
def ran(store):
    """Two tasks at once and one that needs both; a lock, a wait in a tool, a stop in between."""
    with store.transaction(None) as tx:
        tx.execute(
            "insert into swarm (id, goal, repository, base_commit, branch, model, slots, options, state, started_at)"
            " values ('s', 'g', '/', 'c', 'b', 'm', 2, '{}', 'done', 0)"
        )
        plans = [
            Plan("one", "p", key="one", role="looker"),
            Plan("two", "p", key="two"),
            Plan("both", "p", needs=["one", "two"]),
        ]
        one, two, both = (task.id for task, _ in create_tasks(tx, plans))
        ada, bob, eve = (
            enlist(tx, name, pid=None, task=None, state="running", lease_s=None) for name in ("a", "b", "e")
        )
        tx.execute("update task set state = 'done'")
    with store.transaction(None) as tx:
        start = tx.row("select max(at) as at from event")["at"] + 1_000
        log(tx, start, "swarm.running", "s")
        log(tx, start, "task.ready", one)
        worked(
            tx,
            one,
            ada,
            start,
            ("model", start + 1, start + 4),
            ("tool", start + 4, start + 9),
            ("lock", start + 5, start + 8),
            end=start + 10,
        )
        worked(tx, two, bob, start + 2, ("model", start + 3, start + 33), end=start + 34)
        log(tx, start + 40, "swarm.stopped", "s")
        log(tx, start + 500, "swarm.running", "s")
        log(tx, start + 500, "task.ready", both)
        worked(tx, both, eve, start + 501, ("model", start + 501, start + 509), end=start + 510)
        log(tx, start + 510, "swarm.done", "s")
    return store


def test_the_log_is_folded_into_time_by_kind_and_the_longest_path(ran):
    figures = read_figures(ran)
    assert figures.wall_s == pytest.approx(50)  # the stop does not count
    assert figures.kinds["model"] == pytest.approx(3 + 30 + 8)
    assert figures.kinds["tool"] == pytest.approx(2)  # three of its five seconds it waited for the lock
    assert figures.kinds["lock"] == pytest.approx(3)
    assert figures.kinds["queue"] == pytest.approx(2 + 1)  # both slots were taken
    assert figures.work_s == pytest.approx(43)
    assert figures.critical == ["two", "both"]
    assert figures.critical_s == pytest.approx(32 + 9)
    assert figures.busy == {"looker": pytest.approx(7 / 50)}
    assert (figures.cost, figures.start_s) == (None, pytest.approx((1 + 1 + 0) / 3))


def test_the_longest_path_ends_in_a_circle_too():
    assert longest({}, {}) == []
    assert longest({1: 1, 2: 5}, {1: [2], 2: [1]})[-1] in (1, 2)


PLAN = parse(
    """
tasks:
  survey: s
  files: {prompt: f, needs: survey, for_each: {glob: "*"}}
  found: {prompt: f, needs: survey, for_each: survey.result.x}
  end: {prompt: e, needs: [files, found], role: slow}
""",
    "plan",
)


def estimated(slots=8, crews=None, durations=None):
    known = Learnt({"": 10.0, "slow": 30.0} | (durations or {}))
    return estimate(
        PLAN, slots=slots, known=known, model=lookup("claude-sonnet-5-5"), priced_as="claude-sonnet-5-5",
        roles={"end": "slow"}, estimates={}, crews=crews or {}, items={"files": 3},
    )  # fmt: skip


def test_a_plan_is_simulated_on_its_slots():
    wide, narrow = estimated(), estimated(slots=1)
    assert (wide.tasks, wide.guessed) == (2 + 3 + GUESSED_ITEMS, ("found",))
    assert (wide.wall_s, wide.critical_s, wide.sequential_s) == (50, 50, 120)
    assert wide.critical[0] == "survey"
    assert wide.critical[-1] == "end"
    assert (narrow.wall_s, narrow.speed_up) == (120, 1)
    assert wide.speed_up == pytest.approx(2.4)
    assert estimated(slots=4).wall_s == 60
    assert estimated(crews={"": 2}).wall_s == 10 + 40 + 30
    assert wide.busy["slow"] == pytest.approx(0.6)


def test_forks_are_priced_below_fresh_agents_that_read_all_again():
    price = estimated().price
    assert 0 < price.fork < price.fresh
    assert price.in_usd


def test_one_agent_is_made_short_when_its_window_is_full():
    model = lookup("claude-sonnet-5-5")
    work = Work(turns=8, output_tokens=1_000, result_tokens=9_000)
    few, many = (alone(model, work, shared_tokens=10_000, turns=turns) for turns in (1_000, 2_000))
    assert many == pytest.approx(2 * few, rel=0.2)  # without that it would be four times as much


def test_what_a_script_took_is_not_learnt_for_a_model_nor_the_other_way_round(root):
    repository = Repository.open(root)
    for options, seconds in (
        (Options("a", "claude-sonnet-5-5", 1), 100.0), (Options("b", "prong-emulator", 1, offline=Offline()), 1.0),
        (Options("c", "prong-emulator", 1, base_url="http://127.0.0.1:1"), 3.0),  # an emulator started by hand
    ):  # fmt: skip
        swarm = create(repository, options)
        with swarm.store().transaction(None) as tx:
            tx.execute("insert into role (name, estimate_s, finished) values ('test', :s, 1)", s=seconds)
    swarms = all_swarms(repository)
    assert learnt(swarms, offline=False).durations == {"test": 100.0}
    assert learnt(swarms, offline=True).durations == {"test": 2.0}
