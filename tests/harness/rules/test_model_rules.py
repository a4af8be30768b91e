"""What the rules, or a file, say of models: how much they hold and cost."""

import pytest

from prong.agents.models import Usage, known, lookup, tell, told, window
from prong.harness.rules.invalid import RulesInvalid
from prong.harness.rules.model_rules import load, records
from prong.harness.rules.rules import parse

MILLION = Usage(input=1_000_000)


def said(front):
    return parse(f"---\nmodels:\n{front}\n---\n", "PRONG.md").models


def of(front):
    [model] = records(said(front))
    return model


def test_what_is_said_of_a_known_model_changes_only_that():
    before, now = lookup("claude-opus-5-5"), of("  claude-opus-5-5: {read: 0.1, window: 200k}")
    assert (now.prices[0].read, now.context_tokens) == (0.1, 200_000)
    assert (now.prices[0].input, now.min_cacheable_tokens) == (before.prices[0].input, before.min_cacheable_tokens)
    tiers = of("  claude-haiku-5-5: {read: 0.005}").prices
    assert [tier.read for tier in tiers] == [0.005, 0.005]
    assert len(of("  claude-haiku-5-5: {input: 1, output: 2}").prices) == 1


def test_a_model_that_nobody_knows_pays_for_its_input_whatever_the_cache_does():
    model = of("  meta/llama-4.1:70b: {input: 0.4, output: 1.6}")
    assert (model.id, model.cost_usd(MILLION)) == ("meta/llama-4.1:70b", 0.4)
    assert model.cost_usd(Usage(cache_read=1_000_000)) == model.cost_usd(Usage(cache_write=1_000_000)) == 0.4


def test_what_is_said_counts_for_the_swarm_and_without_prices_money_is_unknown(store):
    with store.transaction(None) as tx:
        tell(tx, records(said("  claude-opus-5-5: {input: 3, output: 9}\n  mine: {window: 32k}")))
    assert known(store, "claude-opus-5-5").cost_usd(MILLION) == 3
    assert known(store, "claude-sonnet-5-5") == lookup("claude-sonnet-5-5")
    assert (known(store, "mine"), window(store, "mine")) == (None, 32_000)
    assert (known(store, "other"), window(store, "other")) == (None, None)
    assert told(store) == {"claude-opus-5-5", "mine"}
    with store.transaction(None) as tx:
        tell(tx, records(said("  claude-haiku-4-5: {input: 7, output: 9}")))
    assert known(store, "claude-haiku-4-5-20251001").cost_usd(MILLION) == 7  # another name of the same


@pytest.mark.parametrize(
    ("front", "line", "words"),
    [
        ("  mine: {input: 1}", 3, "its price of output, too, is needed"),
        ("  mine:\n    input: -0.5\n    output: 2", 4, "a price in dollars for a million tokens, 0 or more, is needed"),
        ("  mine: {window: x}", 3, "models.mine.window"),
        ("  mine: {imput: 1}", 3, "did you mean input?"),
        ("  'a b': {window: 8k}", 3, "a name without blanks"),
        ("  - mine", 3, "is a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(front, line, words):
    with pytest.raises(RulesInvalid) as caught:
        said(front)
    [problem] = caught.value.problems
    assert problem.line == line
    assert words in str(problem)


def test_a_file_of_its_own_says_the_same(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("# ours\nmine: {input: 1, output: 2}\n")
    [model] = records(load(path))
    assert model.cost_usd(MILLION) == 1
    path.write_text("mine: {input: 1, output: 2}\nother: {windw: 8k}\n")
    with pytest.raises(RulesInvalid, match=r"models\.yaml:2: other\.windw is no rule"):
        load(path)
