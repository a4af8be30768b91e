import pytest

from prong.agents.models import EMULATOR_MODEL, Usage, all_models, lookup

MILLION = 1_000_000


def test_a_model_is_found_by_its_id_and_by_its_dated_alias():
    assert lookup("claude-haiku-4-5-20251001") is lookup("claude-haiku-4-5")


def test_an_unknown_name_finds_no_model():
    assert lookup("gpt") is None


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input=MILLION), 4),
        (Usage(output=MILLION), 20),
        (Usage(cache_read=MILLION), 0.20),
        (Usage(cache_write=MILLION), 5),
        (Usage(cache_write=MILLION, cache_write_1h=MILLION), 8),
        (Usage(cache_write=MILLION, cache_write_1h=MILLION // 2), 6.5),
    ],
)
def test_each_kind_of_token_has_its_price(usage, dollars):
    assert lookup("claude-opus-5-5").cost_usd(usage) == pytest.approx(dollars)


def test_cached_tokens_count_towards_the_tier_and_the_tier_prices_the_whole_call():
    haiku = lookup("claude-haiku-5-5")
    below = Usage(input=1, cache_read=99_999, output=1000)
    above = Usage(input=2, cache_read=99_999, output=1000)
    assert haiku.cost_usd(below) == pytest.approx((1 * 0.10 + 99_999 * 0.01 + 1000 * 0.50) / MILLION)
    assert haiku.cost_usd(above) == pytest.approx((2 * 0.50 + 99_999 * 0.05 + 1000 * 2.50) / MILLION)


def test_an_offline_run_costs_nothing():
    emulator = lookup(EMULATOR_MODEL)
    assert emulator.cost_usd(Usage(MILLION, MILLION, MILLION, MILLION)) == 0
    assert (emulator.context_tokens, emulator.min_cacheable_tokens) == (MILLION, 512)


def test_writing_to_the_cache_costs_a_quarter_more_for_five_minutes_and_double_for_an_hour():
    for model in all_models():
        for prices in model.prices:
            assert prices.write_5m == pytest.approx(1.25 * prices.input)
            assert prices.write_1h == pytest.approx(2 * prices.input)


def test_usage_adds_up_and_reads_the_wire():
    wire = {
        "input_tokens": 1,
        "cache_read_input_tokens": 2,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 5,
    }
    assert Usage.from_wire(wire) + Usage(input=1) == Usage(2, 2, 7, 5, 4)
    assert Usage.from_wire({"input_tokens": 3, "cache_creation": None}) == Usage(input=3)
    assert Usage.from_wire(wire).prompt == 10
