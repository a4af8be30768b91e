"""Whatever graph runs on whatever slots in the simulator, the decisions of the real scheduler keep these laws."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from benchmarks.simulation.bounds import bounds
from benchmarks.simulation.engine import Simulation
from benchmarks.simulation.graphs import KINDS, Work, generate, read_lines, read_swarm
from benchmarks.simulation.records import World
from hypothesis import given
from hypothesis import strategies as st
from tests.checkout import ENVIRONMENT, ROOT

from prong.harness.pressure import Pressure
from prong.state import Store

HOUR = 3600.0
seconds = st.sampled_from([0.0, 1.0, 2.5, 10.0, 90.0])


@st.composite
def graphs(draw, *, locks=("a", "b"), failures=True, latest=5000.0):
    """Tasks with needs, trees of children, priorities, failures, late comers, and locks that only roots take."""
    graph, roots = {}, []
    for task in range(1, draw(st.integers(1, 12)) + 1):
        parent = draw(st.none() | st.sampled_from(sorted(graph))) if graph else None
        failed = draw(st.lists(st.floats(0, 5), max_size=2)) if failures else []
        graph[task] = Work(
            task,
            draw(seconds),
            join_s=draw(seconds),
            needs=() if parent else tuple(sorted(draw(st.sets(st.sampled_from(roots), max_size=2)))) if roots else (),
            priority=draw(st.integers(-2, 3)),
            tokens=draw(st.integers(0, 100)),
            failed_s=tuple(failed),
            lock=None if parent or not locks else draw(st.none() | st.sampled_from(locks)),
            created_at=0.0 if parent else draw(st.sampled_from([0.0, 3.0, latest])),
        )
        if parent:
            graph[parent] = replace(graph[parent], children=(*graph[parent].children, task))
        else:
            roots.append(task)
    if failures:
        doomed = draw(st.sets(st.sampled_from(sorted(graph)), max_size=3))
        graph |= {
            task: replace(graph[task], given_up=True, failed_s=(1.0,)) for task in doomed if not graph[task].children
        }
    return graph


worlds = st.builds(World, slots=st.integers(1, 4), known=st.booleans(), ageing_s=st.sampled_from([10.0, HOUR]))


def times(outcome, what):
    return {task: at for at, kind, task in reversed(outcome.log) if kind == what}


@given(graphs(), worlds)
def test_no_task_starts_before_all_that_it_needs_is_done(graph, world):
    outcome = Simulation(graph, world).run()
    started, done = times(outcome, "started"), times(outcome, "done")
    for task, at in started.items():
        assert all(done[need] <= at for need in graph[task].needs)


@given(graphs(), worlds)
def test_every_task_ends_exactly_once_and_no_parked_parent_blocks_the_slots(graph, world):
    outcome = Simulation(graph, world).run()
    ends = Counter(task for _, what, task in outcome.log if what in ("done", "failed"))
    created, failed = set(times(outcome, "created")), set(times(outcome, "failed"))
    assert ends == dict.fromkeys(created, 1)
    assert failed == {task for task in created if graph[task].given_up or failed & set(graph[task].needs)}
    unborn = set(graph) - created  # children whose parent failed before it could create them
    assert all(any(task in graph[one].children for one in failed | unborn) for task in unborn)


@given(graphs(), worlds)
def test_no_slot_is_idle_while_a_task_wants_it_and_none_is_given_twice(graph, world):
    def watch(simulation, snapshot, decisions):
        wanting = len(simulation.ready.wanting) + len(simulation.waking.wanting)
        assert len(decisions) == min(world.slots - snapshot.taken, wanting)

    outcome = Simulation(graph, world, watch).run()
    running = 0
    for _, what, _ in outcome.log:
        running += {"started": 1, "unparked": 1, "parked": -1, "attempt failed": -1, "done": -1}.get(what, 0)
        assert 0 <= running <= world.slots


@given(graphs(locks=()), worlds)
def test_nobody_waits_behind_what_became_ready_later_than_the_bound(graph, world):
    def watch(simulation, _, decisions):
        going = [simulation.runs[one.task] for one in decisions]
        staying = [simulation.runs[task] for task in simulation.ready.wanting if simulation.runs[task] not in going]
        for run in going:
            for other in staying:
                ahead = max(run.work.priority, -9 if run.raised is None else run.raised) - other.work.priority
                assert run.ready_at < other.ready_at + (ahead + 1) * world.ageing_s

    Simulation(graph, world, watch).run()


def importance(simulation, task):
    """The highest priority of a task and all that cannot go on before it, found the slow way."""
    found, reached = {task}, [task]
    while reached:
        target = reached.pop()
        for other in simulation.runs:
            if other not in found and target in simulation.waits_for(other):
                found.add(other)
                reached.append(other)
    return max(simulation.runs[one].work.priority for one in found)


@given(graphs(latest=50.0), st.integers(1, 3))
def test_nobody_goes_before_a_task_that_somebody_more_important_waits_for(graph, slots):
    def watch(simulation, _, decisions):
        gone = {one.task for one in decisions}
        staying = [one for line in (simulation.ready, simulation.waking) for one in line.wanting if one not in gone]
        if gone and staying:  # all within one window of ageing
            assert min(importance(simulation, one) for one in gone) >= max(
                importance(simulation, one) for one in staying
            )

    Simulation(graph, World(slots, ageing_s=1e9), watch).run()


def test_whoever_holds_what_an_important_task_waits_for_goes_before_those_between():
    low = Work(1, 10, children=(2,), join_s=1, lock="file", priority=0)
    child = Work(2, 5, priority=0)
    middle = {task: Work(task, 10, priority=1, created_at=1) for task in range(3, 9)}
    high = Work(9, 10, priority=2, lock="file", created_at=1)
    outcome = Simulation({1: low, 2: child, **middle, 9: high}, World(1)).run()
    started = times(outcome, "started")
    assert started[9] <= started[2] < outcome.runs[1].ended_at <= min(started[task] for task in middle)


@given(graphs(), worlds)
def test_the_same_graph_runs_the_same_way_twice(graph, world):
    assert Simulation(graph, world).run().log == Simulation(graph, world).run().log


@given(graphs(locks=(), failures=False), worlds, st.sampled_from(["memory", "cpu", "stall"]))
def test_a_machine_under_pressure_for_ever_still_ends_all_work_with_one_agent_at_a_time(graph, world, how):
    pressure = {
        "memory": Pressure(available_bytes=0, total_bytes=1),
        "cpu": Pressure(cpu_percent=100.0, cores=1),
        "stall": Pressure(memory_full_percent=50.0),
    }[how]

    def watch(simulation, snapshot, decisions):
        assert snapshot.taken + len(decisions) >= bool(simulation.ready.wanting or simulation.waking.wanting)

    outcome = Simulation(graph, replace(world, pressure=lambda _now, _taken: pressure), watch).run()
    assert {run.state for run in outcome.runs.values()} == {"done"}


@given(graphs(), worlds)
def test_nothing_goes_while_the_provider_is_closed_and_all_goes_on_after(graph, world):
    outcome = Simulation(graph, replace(world, closed=((2.0, 30.0), (401.0, 500.0)))).run()
    for at, what, _ in outcome.log:
        assert what not in ("started", "unparked") or not (2.0 <= at < 30.0 or 401.0 <= at < 500.0)
    assert {run.state for run in outcome.runs.values()} <= {"done", "failed", "unborn"}


@given(graphs(locks=()), worlds, st.integers(0, 500))
def test_no_more_tokens_are_spent_than_the_budget_has_and_what_could_not_run_is_left_open(graph, world, tokens):
    outcome = Simulation(graph, replace(world, tokens=tokens)).run()
    most = sum(work.tokens * (1 + len(work.failed_s)) for work in graph.values())
    assert outcome.tokens <= tokens
    stuck = [run for run in outcome.runs.values() if run.state not in ("done", "failed", "unborn")]
    assert not stuck or most > tokens


@given(graphs(locks=(), failures=False), worlds)
def test_no_run_beats_the_bounds_that_are_proven(graph, world):
    least = bounds(graph, world.slots, world.backoff_s)
    assert least.plain <= least.best <= Simulation(graph, world).run().makespan_s * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [1, 7])
def test_every_kind_of_graph_ends_between_its_bound_and_half_as_much_again(kind, slots):
    graph = generate(kind, 300, 1)
    spent = Simulation(graph, World(slots)).run().makespan_s
    least = bounds(graph, slots, 2.0)
    assert least.best * (1 - 1e-9) <= spent <= least.best * 1.15


def test_durations_that_are_learnt_cost_little():
    graph = generate("layered", 1000, 3)
    known, learnt = (Simulation(graph, World(10, known=known)).run().makespan_s for known in (True, False))
    assert learnt <= known * 1.15


def test_a_recorded_graph_runs_as_it_was_written(tmp_path):
    file = tmp_path / "graph.jsonl"
    tasks = [{"task": 1, "run_s": 5}, {"task": 2, "run_s": 3, "needs": [1], "priority": 2}]
    file.write_text("\n".join(map(json.dumps, tasks)))
    graph = read_lines(file)
    assert graph == {1: Work(1, 5), 2: Work(2, 3, needs=(1,), priority=2)}
    assert Simulation(graph, World(2)).run().makespan_s == 8


def test_a_swarm_is_read_from_its_database_without_the_time_that_it_stood_parked(directory, clock):
    store = Store(directory, clock=clock)
    began = clock.now()
    with store.transaction(None) as tx:
        for task in (1, 2):
            tx.execute(
                "insert into task (id, title, prompt, context, state, priority, created_at, started_at, ended_at)"
                " values (:task, 'one', 'do it', 'fresh', 'done', 1, :at, :at, :at + 10 * :task)",
                task=task,
                at=began,
            )
        tx.execute("insert into task_need (task, need) values (2, 1)")
        tx.event("task.parked", object="2")
    clock.advance(4)
    with store.transaction(None) as tx:
        tx.event("task.unparked", object="2")
    path = store.path
    store.close()
    graph = read_swarm(path)
    assert (graph[1].run_s, graph[2].needs, graph[2].priority) == (pytest.approx(10), (1,), 1)
    assert graph[2].run_s == pytest.approx(16, abs=0.1)


def test_the_program_runs_one_graph_and_tells_how_it_went():
    done = subprocess.run(
        [sys.executable, "simulator.py", "--graph", "fork-join", "--tasks", "50", "--slots", "2", "--failures", "0.1"],
        cwd=ROOT / "benchmarks",
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT / ".src")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "tasks: 50" in done.stdout.splitlines()
