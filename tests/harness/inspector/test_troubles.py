"""Swarms that really run into trouble: a person sees it on the first page, presses what stands there, and it helps."""

import pytest
from benchmarks.inspecting.troubles import FILES, TROUBLES, run_into
from tests.harness.repositories import make_repository
from tests.harness.swarming import environment, eventually, processes_of

from .test_browser import CHROMIUM, chromium  # noqa: F401  a fixture

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install it: apt-get install chromium"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def place(tmp_path):
    yield make_repository(tmp_path / "repository", FILES)
    eventually(lambda: not processes_of(tmp_path), f"the end of {processes_of(tmp_path)}", patience_s=20)


@pytest.mark.parametrize(
    "trouble",
    [pytest.param(one, id=one.name, marks=() if one.name == "budget" else pytest.mark.long) for one in TROUBLES],
)
def test_trouble_is_on_the_first_page_when_it_happens_and_a_button_helps(trouble, place, chromium):  # noqa: F811  as above
    told = run_into(trouble, place, chromium, environment=environment())
    assert [one.title for one in told] == [sight.title for sight in trouble.sights]
    assert all(one.worked_s is not None for one, sight in zip(told, trouble.sights, strict=True) if sight.remedy)
    assert all(one.shown_s is not None for one, sight in zip(told, trouble.sights, strict=True) if sight.happened)
