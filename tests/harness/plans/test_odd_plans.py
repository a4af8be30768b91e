"""Plans that ask for what is not there, or for too much: the step fails and says why, and the swarm goes on."""

import re

import pytest
from tests.harness.plans.test_expand import Played

from prong.harness.outcome import finished
from prong.harness.plans.apply import _regex
from prong.harness.plans.plan import PlanInvalid, parse
from prong.primitives.budget import SWARM, Budget, open_account


@pytest.fixture
def play(store):
    return lambda text, **more: Played(store, text, **more)


@pytest.mark.parametrize(("place", "value"), [
    ("{survey.__class__}", {}), ("{survey.result}", {"n": "\ud800"}), ("{survey.__init__.x}", 1),
])  # fmt: skip
def test_a_place_that_names_nothing_of_a_task_never_stops_the_scheduler(play, place, value):
    played = play(f"""
tasks:
  survey: {{prompt: s}}
  next: {{prompt: "Of {place}", needs: survey}}
""")
    played.round()
    played.end("survey", value=value)
    assert played.round() == ["next"]
    assert "class" not in played.row("next")["prompt"]
    assert "method" not in played.row("next")["prompt"]


@pytest.mark.parametrize("expression", [
    "sum(one.n for one in survey.result.many) > 0", "-survey.result.many > 1",
    "max(survey.result.none) > 1", "survey.result.many in 3", "min(one for one in survey.result.many) > 0",
])  # fmt: skip
def test_an_expression_without_an_answer_fails_its_step_alone(store, play, expression):
    played = play(f"""
tasks:
  survey: {{prompt: s}}
  next: {{prompt: n, needs: survey, when: "{expression}"}}
""")
    played.round()
    played.end("survey", value={"many": [{"n": 10**400}, {"n": 1.5}], "none": []})
    played.round()
    assert played.row("next")["state"] == "failed"
    assert finished(store)


def test_a_for_each_that_is_refused_leaves_no_task_behind(store, play):
    played = play("""
tasks:
  survey: {prompt: s}
  each: {prompt: "{item}", needs: survey, for_each: survey.result, budget: 1000}
""")
    with store.transaction(None) as tx:
        open_account(tx, SWARM, lender=None, budget=Budget(2_500))
    played.round()
    played.end("survey", value=[1, 2, 3, 4])
    assert played.round() == []
    assert played.row("each")["state"] == "failed"
    assert store.row("select open, total from task_count")["open"] == 0
    assert store.row("select count(*) as n from task")["n"] == 2


def test_a_result_whose_file_is_lost_fails_who_asks_for_it(store, play):
    played = play("""
tasks:
  survey: {prompt: s}
  next: {prompt: "Of {survey.result}", needs: survey}
  each: {prompt: "{item}", needs: survey, for_each: survey.result}
""")
    played.round()
    with store.transaction(None) as tx:
        tx.execute("update task set result_value = :v where title = 'survey'", v=f"@artifact {'0' * 64} 300000")
    played.end("survey")
    assert played.round() == []
    assert "cannot be read" in played.row("next")["error"]
    assert "cannot be read" in played.row("each")["error"]
    assert finished(store)


def test_references_of_yaml_that_have_no_end_or_become_too_much_are_refused():
    many = "".join(f"      - &a{n} [{','.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 8))
    texts = [
        "tasks:\n  a: {prompt: x, for_each: &a [*a]}\n", "tasks:\n  a: {prompt: x, result: &a {x: *a}}\n",
        f"tasks:\n  a:\n    prompt: x\n    for_each:\n      - &a0 [{','.join(['1'] * 8)}]\n{many}",
    ]  # fmt: skip
    for text in texts:
        with pytest.raises(PlanInvalid, match="as its references"):
            parse(text, "plan.yaml")


def test_a_pattern_says_the_same_however_often_it_says_any_folders():
    pattern = re.compile(_regex("**/" * 12 + "*.py"))
    assert pattern.fullmatch("a/" * 40 + "x.py")
    assert not pattern.fullmatch("a/" * 40 + "x.pz")
    assert re.fullmatch(_regex("**/*.py"), "odd\nname/x.py")
