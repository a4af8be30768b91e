"""A plan as tasks, without agents: what is decided when needs have ended, round by round."""

import json

import pytest

from prong.agents import conversation
from prong.harness.dispatch import Dispatcher
from prong.harness.hedging import LEAST_LIKE, hedge, may_write
from prong.harness.outcome import finished, outcome
from prong.harness.plans import each, expand
from prong.harness.plans.plan import parse
from prong.harness.plans.tree import states_of
from prong.primitives import Plan, create_task
from prong.primitives import task as tasks
from prong.primitives.task import retry
from prong.state import Member, Membership


class Played:
    """A plan whose agents are played by the test."""

    def __init__(self, store, text, **more):
        self.store = store
        self.slots = 100
        self.rounds = Dispatcher(store, slots=self.slots, parked=64)
        self.plan = parse(text, "plan.yaml")
        known = {"files": {}, "roles": {}, "priorities": {}, "hedged": frozenset()} | more
        with store.transaction(None) as tx:
            expand.create(tx, self.plan, path="plan.yaml", digest="d", **known)
        self.orders = {}

    def round(self):
        """Start whoever may; the titles of those at work, in order."""
        for order in self.rounds.round().forks:
            self.orders[order["task"]] = order
            with self.store.transaction(None) as tx:
                tx.execute("update agent set state = 'running' where id = :agent", agent=order["agent"])
        rows = self.store.rows("select title from task where state = 'running' order by id")
        return [row["title"] for row in rows]

    def row(self, title):
        return self.store.row("select * from task where title = :title", title=title)

    def end(self, title, state="done", *, value=None, result="well"):
        row = self.row(title)
        order = self.orders[row["id"]]
        with self.store.transaction(Member(order["agent"], 1, row["id"])) as tx:
            if value is not None:
                tx.execute("update task set result_value = :v where id = :id", v=json.dumps(value), id=row["id"])
            tasks.finish(tx, row["id"], state, result=result, error=None if state == "done" else "it broke")
        with self.store.transaction(None) as tx:
            tx.execute("update agent set ended_at = :now where id = :agent", now=tx.now, agent=order["agent"])

    def states(self):
        return {name: state for name, (state, _) in states_of(self.store).items()}


@pytest.fixture
def play(store):
    return lambda text, **more: Played(store, text, **more)


def test_a_result_becomes_tasks_one_for_each_and_then_one_list_of_results(play, store):
    played = play("""
tasks:
  survey: {prompt: s}
  review: {prompt: "Review {item.path}, {index} of {survey.result.count}", needs: survey, title: "r {index}",
           for_each: survey.result.files, on_failed_item: continue}
  sum_up: {prompt: "Of {review.result}", needs: review}
""")
    assert played.round() == ["survey"]
    played.end("survey", value={"count": 2, "files": [{"path": "a"}, {"path": "b"}]})
    assert played.round() == ["r 1", "r 2"]
    assert played.row("r 2")["prompt"] == "Review b, 2 of 2"
    assert played.row("r 1")["parent"] == played.row("review")["id"]
    played.end("r 1", value={"bugs": 1})
    assert played.round() == ["r 2"]
    played.end("r 2", "failed")
    assert played.round() == ["sum_up"]
    assert played.row("sum_up")["prompt"] == 'Of [{"bugs": 1}, null]'
    told = json.loads(played.row("review")["result_value"])
    assert [(one["item"]["path"], one["state"], one.get("error")) for one in told] == [
        ("a", "done", None), ("b", "failed", "it broke"),
    ]  # fmt: skip
    assert played.row("review")["result"] == '1 of 2 items are done; not done: "b"'
    played.end("sum_up")
    played.round()
    assert finished(store)
    assert outcome(store) == "failed"  # the item did


def test_what_was_skipped_skips_who_needs_only_that_and_lets_others_start(play, store):
    played = play(
        """
tasks:
  look: l
  yes2: {prompt: y, needs: look, when: look.result.wanted}
  no: {prompt: n, needs: look, when: not look.result.wanted}
  after_no: {prompt: an, needs: no}
  after_that: {prompt: at, needs: after_no}
  either: {prompt: e, needs: [yes2, no]}
  all_the_same: {prompt: w, needs: no, when: skipped(no)}
"""
    )
    assert played.round() == ["look"]
    played.end("look", value={"wanted": True})
    played.round()
    played.round()
    assert played.round() == ["yes2", "all_the_same"]
    assert {name for name, state in played.states().items() if state == "skipped"} == {"no", "after_no", "after_that"}
    played.end("yes2")
    played.end("all_the_same")
    assert played.round() == ["either"]
    played.end("either")
    assert outcome(store) == "done"
    assert finished(store)


def test_who_asks_how_a_need_ended_starts_after_its_failure_and_others_fail_with_it(play):
    played = play("""
tasks:
  build: b
  mend: {prompt: m, needs: build, when: failed(build)}
  ship: {prompt: s, needs: build}
  tell: {prompt: t, needs: [ship], on_failed_need: continue}
""")
    played.round()
    played.end("build", "failed")
    assert played.round() == ["mend", "tell"]
    assert played.row("ship")["state"] == "failed"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{prompt: x, needs: look, when: look.result > 1}", "has no answer here"),
        ("{prompt: x, needs: look, for_each: look.result.nothing}", "use a list of at most"),
        ("{prompt: '{look.result}', needs: look, for_each: look.result.none}", "use a list"),
        ("{prompt: x, needs: look, context: fork}", "has no conversation that has ended"),
        ("{prompt: x, needs: look, context: fork, for_each: [1, 2]}", "has no conversation that has ended"),
    ],
)
def test_what_cannot_be_decided_fails_and_says_why_and_leaves_nothing_behind(play, store, step, said):
    played = play(f"tasks:\n  look: l\n  then: {step}\n  last: {{prompt: x, needs: then}}\n")
    played.round()
    played.end("look", value={"wanted": True})
    assert played.round() == []
    assert said in played.row("then")["error"]
    assert played.row("last")["state"] == "failed"
    assert store.row("select count(*) as n from task")["n"] == 3
    assert finished(store)


def test_no_item_is_done_at_once_and_its_list_is_empty(play):
    played = play("tasks:\n  none: {prompt: x, for_each: []}\n  then: {prompt: '{none.result}', needs: none}\n")
    played.round()
    assert played.round() == ["then"]
    assert (played.row("then")["prompt"], played.states()["none"]) == ("[]", "done")


def test_a_swarm_that_may_hold_no_more_tasks_says_so_at_the_step(play, store):
    played = play("tasks:\n  many: {prompt: x, for_each: [1, 2, 3, 4]}\n")
    with store.transaction(None) as tx:
        tasks.set_limits(tx, open=3)
    assert played.round() == []
    assert "3" in played.row("many")["error"]


def test_many_items_become_tasks_some_at_a_time_and_another_supervisor_makes_the_rest(play, store):
    many = 2 * each.AT_ONCE + 10
    played = play("""
tasks:
  survey: s
  other: {prompt: o, needs: survey, when: survey.result.count > 1}
  all: {prompt: "{item} of {survey.result.count}", needs: survey, for_each: survey.result.list, title: "i {item}"}
  last: {prompt: "{all.result}", needs: all}
""")
    played.slots = many
    played.round()
    played.end("survey", value={"list": list(range(many)), "count": many})
    assert len(played.round()) == each.AT_ONCE + 1  # with the other, which was not kept waiting
    played.end("i 0", "failed")  # an early one, while others are still to be made
    played.rounds = Dispatcher(store, slots=many, parked=64)
    assert played.states()["all"] == "blocked"
    for _ in range(3):
        played.round()
    assert played.row(f"i {many - 1}")["prompt"] == f"{many - 1} of {many}"
    assert store.row("select count(*) as n, count(distinct place) as p from plan_step")["n"] == many + 4
    assert played.row("all")["state"] == "blocked"
    for number in range(1, many):
        played.end(f"i {number}", result=str(number))
    played.round()
    told = json.loads(played.row("all")["result_value"])
    assert [one["item"] for one in told] == list(range(many))
    assert "1 more" not in played.row("all")["result"]
    assert played.states()["all"] == "failed"  # as one of its items has


def test_of_many_items_that_cannot_all_be_made_none_is_or_all_are_cancelled(play, store):
    many = each.AT_ONCE + 10
    refused = play(f"tasks:\n  many: {{prompt: x, for_each: {list(range(many))}}}\n")
    with store.transaction(None) as tx:
        tasks.set_limits(tx, open=many)
    refused.round()
    assert f"{many} tasks are open" in refused.row("many")["error"]
    assert store.row("select count(*) as n from task")["n"] == 1


def test_what_was_made_of_a_for_each_is_cancelled_where_a_later_task_cannot_be(play, store):
    items = [*range(each.AT_ONCE), "x" * 70_000]
    played = play(f"tasks:\n  many: {{prompt: '{{item}}{{item}}{{item}}{{item}}', for_each: {json.dumps(items)}}}\n")
    assert len(played.round()) == each.AT_ONCE
    assert played.round() == []
    assert "a prompt of 280000 bytes" in played.row("many")["error"]
    rows = store.rows("select state, count(*) as n from task group by state order by state")
    assert [tuple(row) for row in rows] == [("cancelled", each.AT_ONCE), ("failed", 1)]


def test_an_item_that_is_tried_again_lets_its_step_go_on(play, store):
    played = play("tasks:\n  each: {prompt: x, for_each: [1, 2]}\n  then: {prompt: x, needs: each}\n")
    played.round()
    played.end("each: 1")
    played.end("each: 2", "failed")
    assert played.round() == []
    assert (played.row("each")["failure"], played.states()["then"]) == ("need", "failed")
    with store.transaction(None) as tx:
        retry(tx, played.row("each: 2")["id"], with_dependants=True)
    assert played.round() == ["each: 2"]
    played.end("each: 2")
    assert played.round() == ["then"]


def test_a_paused_step_is_not_opened_and_a_swarm_with_one_to_open_has_not_finished(play, store):
    played = play("tasks:\n  look: l\n  then: {prompt: '{look.result}', needs: look}\n")
    played.round()
    played.end("look")
    assert not finished(store)  # somebody has to open it
    with store.transaction(None) as tx:
        tasks.pause(tx, played.row("then")["id"], paused=True)
    assert played.round() == []
    with store.transaction(None) as tx:
        tasks.pause(tx, played.row("then")["id"], paused=False)
    assert played.round() == ["then"]


# Stragglers.

LOOKS = "tasks:\n  look: {prompt: Look, for_each: [1, 2, 3, 4, 5, 6], result: {type: object}, hedge: true}\n"


@pytest.fixture
def straggler(play, clock):
    """Six like tasks, five of which took ten seconds; the sixth runs on."""
    played = play(LOOKS, hedged=frozenset({"look"}))
    played.round()
    assert LEAST_LIKE == 5
    clock.advance(10)
    for number in range(1, 6):
        played.end(f"look: {number}")
    return played


def copy_of(store, task):
    return store.row("select * from task where hedge_of = :task", task=task)


def test_a_straggler_gets_one_copy_after_the_p95_and_the_first_result_wins(straggler, store, clock):
    first = straggler.row("look: 6")["id"]
    assert hedge(store, slots=100) == []
    clock.advance(0.5)
    assert straggler.round() == ["look: 6", "look: 6 (second copy)"]
    assert hedge(store, slots=100) == []
    copy = copy_of(store, first)
    assert (copy["prompt"], copy["result_schema"], copy["hedge"]) == ("Look", '{"type": "object"}', 0)
    straggler.end("look: 6 (second copy)", value={"a": 1}, result="mine")
    row = straggler.row("look: 6")
    assert (row["state"], row["result"], row["result_value"]) == ("done", "mine", '{"a": 1}')
    straggler.round()
    assert straggler.states()["look"] == "done"
    assert outcome(store) == "done"


def test_a_task_that_ends_first_cancels_its_copy_and_a_copy_that_fails_leaves_it_alone(straggler, store, clock):
    clock.advance(1)
    straggler.round()
    straggler.end("look: 6 (second copy)", "failed")
    assert straggler.round() == ["look: 6"]
    straggler.end("look: 6")
    straggler.round()
    assert outcome(store) == "done"
    assert straggler.row("look: 6")["result"] == "well"


def test_only_the_task_itself_may_hand_in_what_it_changed(straggler, store, clock):
    clock.advance(1)
    straggler.round()
    first, copy = straggler.row("look: 6")["id"], straggler.row("look: 6 (second copy)")["id"]

    def writes(task):
        order = straggler.orders[task]
        return may_write(Membership(store, Member(order["agent"], 1, task), None), task, order["fence"])

    assert not writes(copy)
    assert straggler.row("look: 6 (second copy)")["state"] == "cancelled"
    assert writes(first)
    assert straggler.row("look: 6")["state"] == "running"


@pytest.mark.parametrize("why_not", ["slots", "ready", "budget", "forbidden", "few"])
def test_no_copy_is_made_where_it_is_not_allowed_or_does_not_pay(play, store, clock, why_not):
    played = play(LOOKS, hedged=frozenset() if why_not == "forbidden" else frozenset({"look"}))
    played.round()
    clock.advance(10)
    for number in range(1, 5 if why_not == "few" else 6):
        played.end(f"look: {number}")
    clock.advance(10)
    with store.transaction(None) as tx:
        if why_not == "ready":
            create_task(tx, Plan("waits", "for a slot"))
        if why_not == "budget":
            tx.execute("insert into account (task, tokens, warned_at) values (0, 10, 1)")
    assert hedge(store, slots=1 if why_not == "slots" else 100) == []


def test_a_role_may_allow_it_and_a_fork_s_copy_begins_where_the_fork_did(store, clock):
    with store.transaction(None) as tx:
        tasks.set_role(tx, "review", hedge=True)
        root, *made = (create_task(tx, Plan(f"t{n}", "p", role="review"))[0].id for n in range(7))
        point = conversation.insert(tx, parent=None, role="assistant", content=[], task=root)
        head = conversation.insert(
            tx, parent=point, role="user", content=[{"type": "text", "text": "you"}], task=made[5]
        )
        tx.execute("insert into fork_point (message, state, prefix_hash) values (:m, 'cold', 'h')", m=point)
        tx.execute(
            "update task set fork_point = :p, head = :h, context = 'fork' where id = :t", p=point, h=head, t=made[5]
        )
    rounds = Dispatcher(store, slots=50, parked=1)
    rounds.round()
    with store.transaction(None) as tx:
        tx.execute("update task set started_at = started_at - 5 where id <> :t", t=made[5])
        for task in (root, *made[:5]):
            tasks.finish(tx, task, "done")
    clock.advance(6)
    [copy] = hedge(store, slots=50)
    row = store.row("select * from task where id = :copy", copy=copy)
    assert (row["hedge_of"], row["fork_point"], row["role"]) == (made[5], point, "review")
    own = conversation.load(store, row["head"])[-1]
    assert own.text() == "you"
    assert own.id != head
