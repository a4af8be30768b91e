"""A plan is read as a whole: what may stand in it, and every mistake with its line."""

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkout import ROOT

from prong.harness.plans.plan import PlanInvalid, parse
from prong.harness.plans.words import filled, title
from prong.harness.plans.writing import as_yaml, schema
from prong.harness.rules.rules import Amount
from prong.harness.rules.rules import parse as parse_rules
from prong.harness.tools.result_schema import fitted

WHOLE = """\
goal: Look and mend
tasks:
  survey:
    prompt: Which files matter?
    result: {type: object, required: [files]}
    budget: {tokens: 20k, usd: 1.5}
    priority: urgent
  review:
    needs: survey
    title: Review {item.path}
    prompt: Review {item.path} of {survey.result.count}, say {"ok" true}
    for_each: survey.result.files
    role: reviewer
    type: review
    attempts: 2
    on_failed_item: continue
    hedge: true
  mend:
    prompt: Mend
    needs: [review, survey]
    when: failed(review) or review.result[0].bugs > 0
    check: make test
    context: fork
    budget: 3_000
  tell: Tell everybody
  each: {prompt: "Look at {item}", for_each: {glob: ["src/**/*.py", "*.md"]}}
  listed: {prompt: "Look at {item}", for_each: [a, 2, {path: b}]}
"""
RULES = "---\nroles:\n  reviewer: {}\npriorities: {urgent: 3}\n---\n"


def problems(text, **more):
    """(line, text) of everything that is wrong."""
    with pytest.raises(PlanInvalid) as caught:
        parse(text, "plan.yaml", **more)
    assert str(caught.value).startswith(f"plan.yaml:{caught.value.line}: ")
    return [(one.line, str(one)) for one in caught.value.problems]


def test_everything_that_can_be_said_is_understood():
    plan = parse(WHOLE, "plan.yaml", rules=parse_rules(RULES, "PRONG.md"))
    assert plan.goal == "Look and mend"
    assert plan.order == ("survey", "tell", "each", "listed", "review", "mend")
    survey, review, mend = (plan.steps[name] for name in ("survey", "review", "mend"))
    assert (survey.budget, survey.priority, survey.result["type"]) == (Amount(20_000, 1.5), "urgent", "object")
    assert (review.needs, review.for_each.expression.names, review.hedge) == (("survey",), ("survey",), True)
    assert (mend.policy, review.policy, mend.budget) == ("continue", "fail", Amount(3_000))
    assert plan.steps["tell"].prompt == "Tell everybody"
    assert plan.steps["each"].for_each.globs == ("src/**/*.py", "*.md")
    assert plan.steps["listed"].for_each.listed == ("a", 2, {"path": "b"})
    assert plan.may_be_skipped() == {"mend"}


def test_every_mistake_is_told_with_its_line_at_once():
    text = """\
gaol: x
tasks:
  survey: {prompt: "Which {item}?", result: {type: objct}}
  re-view: {prompt: x}
  one: {prompt: x, needs: [two, surey]}
  two: {prompt: x, needs: one, when: one.stat == 3}
  three: {prompt: "{survey.result}", when: survey.state == 3, rol: x, context: fork}
  four: {needs: 3, budget: {tokns: 3}, hedge: 7}
  five: {prompt: x, for_each: 12, when: a b}
  six: {prompt: x, for_each: {glob: []}}
  and: {prompt: x}
  seven: {prompt: x, needs: [seven]}
  seven: {prompt: y}
  eight: {prompt: x, role: reviwer, priority: urgnt}
"""
    found = problems(text, rules=parse_rules(RULES, "PRONG.md"))
    assert [line for line, _ in found] == sorted(line for line, _ in found)
    told = "\n".join(f"{line}: {words}" for line, words in found)
    for part in (
        "1: gaol is no part of a plan; did you mean goal?",
        "3: tasks.survey.prompt holds {item}, but the task has no for_each",
        "3: tasks.survey.result is a result schema that is none",
        '4: "re-view" is no name for a task',
        "did you mean re_view?",
        '5: tasks.one.needs names "surey", which is no task of this plan; did you mean survey?',
        "5: tasks.one.needs goes round in a circle: one needs two needs one",
        "6: tasks.two.when asks one for 'stat'",
        "7: tasks.three.rol is no part of a task; did you mean role?",
        "7: tasks.three.when asks about survey, which the task does not need; add survey to its needs",
        "7: tasks.three.prompt asks about survey",
        "7: tasks.three.context is fork, but the task needs no other",
        "8: tasks.four has no prompt",
        "8: tasks.four.budget.tokns is no part of a budget; did you mean tokens?",
        "8: tasks.four.hedge is 7; true or false is needed",
        "9: tasks.five.when is no expression",
        "10: tasks.six.for_each names no glob",
        '11: "and" is no name for a task',
        "12: tasks.seven.needs names the task itself",
        "13: tasks.seven stands in line 12 already",
        '14: tasks.eight.role is "reviwer", which is no role in PRONG.md; did you mean reviewer?',
        '14: tasks.eight.priority is "urgnt", which is no priority in PRONG.md; did you mean urgent?',
    ):
        assert part in told


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "tasks: {}", "tasks: 3", "tasks:", "goal: x", "a: \t", "tasks: {a: {prompt: x}",
     "tasks: &a {b: *a}",
     "!!python/object:os.system {}", "tasks: {a: }", "tasks: {a: {prompt: ''}}", "\0",
     "tasks: {a: {prompt: x, for_each: {a: 1}}}"],
)  # fmt: skip
def test_what_is_no_plan_is_refused_with_words(text):
    assert problems(text)


def test_a_long_line_of_needs_and_a_long_circle_are_read_in_no_time():
    names = [f"t{n}" for n in range(300)]
    line = "".join(f"  {name}: {{prompt: x, needs: [{before}]}}\n" for before, name in itertools.pairwise(names))
    assert parse(f"tasks:\n  t0: {{prompt: x}}\n{line}", "plan").order == tuple(names)
    [(_, told)] = problems(f"tasks:\n  t0: {{prompt: x, needs: [t299]}}\n{line}")
    assert "goes round in a circle" in told
    assert "more than 1000 tasks" in problems("tasks:\n" + "".join(f"  t{n}: x\n" for n in range(1_001)))[0][1]


@given(st.text(alphabet="tasks:{}[] \npromtnedwhf_c\"'-,1", max_size=80))
def test_whatever_is_written_is_read_or_refused(text):
    for whole in (text, f"tasks:\n  a: {{prompt: x, {text}}}\n"):
        with contextlib.suppress(PlanInvalid):
            assert parse(whole, "plan").order


def test_places_are_filled_and_other_braces_stay():
    known = {"item": {"path": "a.py", "lines": [1, {"n": 2}]}, "index": 3}
    text = '{index}. {item.path} {item.lines.1.n} {item.none} {other} {} {"a": 1} {item.lines}'
    assert filled(text, known) == '3. a.py 2 null {other} {} {"a": 1} [1, {"n": 2}]'
    step = parse("tasks: {a: {prompt: x, for_each: [1]}}", "plan").steps["a"]
    assert title("a", step, {"item": {"n": 1, "path": "b.py"}}) == "a: b.py"
    assert len(title("a", step, {"item": "x" * 500})) == 200


def test_a_model_s_plan_must_be_one_besides_fitting_its_schema():
    rules = parse_rules(RULES, "PRONG.md")
    wanted = json.dumps(schema(rules))
    plan = {
        "goal": "g",
        "tasks": {"one": {"prompt": "x"}, "two": {"prompt": "say\nit", "needs": ["one"], "role": "reviewer"}},
    }
    assert fitted(wanted, json.dumps(plan)) == (plan, None)
    assert parse(as_yaml(plan), "plan", rules=rules).steps["two"].prompt == "say\nit"
    plan["tasks"]["one"]["needs"] = ["two"]
    assert "goes round in a circle" in fitted(wanted, json.dumps(plan))[1]
    plan["tasks"]["one"] = {"prompt": "x", "role": "reviwer"}
    assert "reviwer" in fitted(wanted, json.dumps(plan))[1]


def test_the_plan_of_the_manual_is_the_example():
    text = (ROOT / "examples/review_plan.yaml").read_text("utf-8")
    assert text in (ROOT / "docs/plans.md").read_text("utf-8")
    assert parse(text, "review_plan.yaml").order == ("survey", "review", "split", "summary")
