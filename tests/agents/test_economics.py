"""The pure planner: what it must always be true of, and what it chooses in settings that anybody can follow."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prong.agents import economics
from prong.agents.economics import CONTEXTS, Setting, Work
from prong.agents.models import Usage, all_models, lookup

PRICED = [model for model in all_models() if any(tier.input for tier in model.prices)]

works = st.builds(
    Work,
    turns=st.integers(1, 60),
    output_tokens=st.integers(1, 3_000),
    result_tokens=st.integers(0, 20_000),
    turn_s=st.floats(0, 2_000),
)
fan_outs = st.builds(
    lambda shared, more, **how: Setting(prefix_tokens=shared + more, shared_tokens=shared, **how),
    shared=st.integers(0, 20_000),
    more=st.integers(1, 400_000),
    children=st.integers(1, 64),
    model=st.sampled_from([*PRICED, None]),
    own_model=st.one_of(st.none(), st.sampled_from(PRICED)),
    work=works,
    prompt_tokens=st.integers(1, 50_000),
    reads_again=st.floats(0, 1),
    reads_again_after_brief=st.floats(0, 1),
    chunk_tokens=st.integers(500, 20_000),
    brief_tokens=st.integers(1, 10_000),
    has_brief=st.booleans(),
    expired=st.booleans(),
)
BIG = Setting(60_000, 5_000, children=16, model=lookup("claude-opus-5-5"), work=Work(6, 200, 300), reads_again=1.0)


@settings(max_examples=40, deadline=None)
@given(fan_outs)
def test_the_choice_is_open_to_it_and_no_dearer_than_any_other_by_more_than_what_counts_as_the_same(setting):
    choice = economics.plan(setting)
    mine = choice.priced[choice.context]
    assert mine.why_not is None
    assert math.isfinite(mine.cost)
    assert all(mine.cost <= other.cost * economics.ABOUT_THE_SAME for other in choice.priced.values())
    assert choice.why.startswith(choice.context)
    assert set(choice.priced) == set(CONTEXTS)


@settings(max_examples=40, deadline=None)
@given(fan_outs)
def test_more_children_or_more_turns_never_cost_less(setting):
    for context in CONTEXTS:
        here = economics.price(setting, context)
        quick = replace(setting, work=replace(setting.work, turn_s=1))
        more = economics.price(replace(quick, children=setting.children + 1), context)
        longer = replace(setting, work=replace(setting.work, turns=setting.work.turns + 1))
        if here.why_not is None:
            assert more.cost >= economics.price(quick, context).cost * (1 - 1e-9)
            assert economics.price(longer, context).cost >= here.cost * (1 - 1e-9)
            assert 0 <= here.input_cost <= here.cost


@settings(max_examples=40, deadline=None)
@given(fan_outs, st.floats(0, 1))
def test_reading_less_again_never_makes_fresh_dearer_by_more_than_a_turn(setting, share):
    less = replace(setting, reads_again=setting.reads_again * share)
    some, all_ = (economics.price(one, "fresh") for one in (less, setting))
    one_turn = economics.price(replace(setting, work=replace(setting.work, turns=1)), "fresh").cost
    assert some.cost <= all_.cost + one_turn


@settings(max_examples=40, deadline=None)
@given(fan_outs)
def test_a_summary_that_is_there_and_a_prefix_that_is_warm_are_never_dearer(setting):
    assert economics.price(replace(setting, has_brief=True), "brief").cost <= economics.price(setting, "brief").cost
    for context in ("fork", "brief"):
        warm, cold = (economics.price(replace(setting, expired=expired), context) for expired in (False, True))
        assert warm.cost <= cold.cost or warm.why_not


def test_it_forks_where_children_are_many_and_the_prefix_is_what_they_need():
    assert economics.plan(BIG).context == "fork"
    fork, fresh = (economics.price(BIG, context).input_cost for context in ("fork", "fresh"))
    assert fork <= 0.25 * fresh


def test_it_starts_fresh_where_nothing_of_a_long_prefix_is_needed():
    setting = replace(BIG, prefix_tokens=500_000, reads_again=0.0, work=Work(40, 200, 300))
    assert economics.plan(setting).context == "fresh"


def test_it_briefs_where_a_little_of_a_long_prefix_is_needed_for_long():
    setting = replace(
        BIG, prefix_tokens=500_000, reads_again=0.5, reads_again_after_brief=0.05, work=Work(60, 200, 300)
    )
    assert economics.plan(setting).context == "brief"


def test_another_model_and_a_window_that_is_too_small_close_the_fork_with_words():
    other = economics.plan(replace(BIG, own_model=lookup("claude-haiku-5-5")))
    assert other.context != "fork"
    assert "model of its own" in other.priced["fork"].why_not
    assert "fork is not possible" in other.why
    full = economics.plan(replace(BIG, prefix_tokens=195_000, model=lookup("claude-haiku-4-5"), work=Work(20)))
    assert "would not fit" in full.priced["fork"].why_not


def test_a_model_without_a_price_is_planned_by_how_most_prices_stand_to_each_other():
    free = economics.plan(replace(BIG, model=lookup("prong-emulator")))
    usual = economics.plan(replace(BIG, model=lookup("claude-opus-5")))
    assert (free.context, free.in_usd, usual.in_usd) == (usual.context, False, True)
    assert economics.plan(BIG).in_usd


def test_the_formula_is_the_sum_of_the_calls_that_one_would_write_down():
    model = lookup("claude-opus-5-5")
    setting = Setting(10_000, 2_000, children=1, model=model, work=Work(2, 100, 400), prompt_tokens=140)
    first = Usage(cache_read=10_000, cache_write=200, output=100)
    second = Usage(cache_read=10_200, cache_write=500, output=100)
    wanted = model.cost_usd(first) + model.cost_usd(second)
    assert economics.price(setting, "fork").cost == pytest.approx(wanted)


def test_turns_longer_than_the_cache_lives_cost_a_lone_fork_its_prefix_each_time_and_siblings_less():
    slow = replace(BIG, children=1, work=Work(6, 200, 300, turn_s=900))
    fast = replace(slow, work=Work(6, 200, 300, turn_s=20))
    assert economics.price(slow, "fork").cost > 5 * economics.price(fast, "fork").cost
    alone = economics.price(slow, "fork").cost
    together = economics.price(replace(slow, children=32), "fork").cost / 32
    assert together < alone / 3


def test_a_prefix_is_warmed_beforehand_only_where_somebody_would_wait_and_it_costs_little():
    assert economics.prewarm_pays(BIG, leader_in_s=2)
    assert not economics.prewarm_pays(BIG, leader_in_s=0)
    assert not economics.prewarm_pays(replace(BIG, children=1), leader_in_s=2)
    assert not economics.prewarm_pays(replace(BIG, children=2, work=Work(1, 10, 0)), leader_in_s=2)


def test_an_entry_lives_an_hour_only_where_that_is_cheaper_than_writing_it_again():
    model = lookup("claude-opus-5-5")
    assert economics.lifetime(model, prefix=100_000, written=500, gap_is_likely=0.5) == "1h"
    assert economics.lifetime(model, prefix=100_000, written=500, gap_is_likely=0.0) == "5m"
    assert economics.lifetime(model, prefix=100_000, written=100_000, gap_is_likely=1.0) == "5m"


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PRICED), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_loss_costs_what_was_not_read(model, prefix, read):
    cost = economics.loss_usd(model, prefix=prefix, read=read)
    assert cost >= 0
    assert (cost == 0) == (read >= prefix)
    assert economics.loss_usd(None, prefix=prefix, read=read) is None
