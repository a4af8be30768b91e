"""Goal: whatever call is lost, before or after it was done, the survey comes out the same.

Method: the swarm loses calls by name; the page is compared with that of a swarm that lost none.
"""

import random
import re

import pytest

FILES = {
    "a/__init__.py": "from b import two\n",
    "a/one.py": "def one():\n    pass  # TODO\n",
    "b/__init__.py": "",
    "b/two.py": "import a.one\n",
    "tests/test_a.py": "import a.one\n",
    "tests/test_b.py": "import b.two\n",
    "docs/x.md": "x\n",
    "docs/y.md": "y\n",
}


@pytest.fixture(scope="module")
def repository(make_repository):
    return make_repository(FILES)


@pytest.fixture(scope="module")
def page(repository, make_swarm):
    return (make_swarm(repository).run().clone / "SURVEY.md").read_text()


def index_of(swarm):
    lines = (swarm.shared / "index.md").read_text().splitlines()
    assert [int(line.partition(". ")[0]) for line in lines] == list(range(1, len(lines) + 1))
    return sorted(line.partition(". ")[2] for line in lines)


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_every_call_may_be_lost_once(repository, make_swarm, page, when):
    swarm = make_swarm(repository, faults=lambda _task, _call, nth: when if nth == 1 else None)
    root = swarm.run()
    assert (root.clone / "SURVEY.md").read_text() == page
    assert len(index_of(swarm)) == 4
    assert {agent.state for agent in swarm.agents.values()} == {"done"}


@pytest.mark.long
def test_any_call_may_be_lost_at_any_time(repository, make_swarm, page):
    chance = random.Random(1)

    def faults(_task, call, nth):
        return None if nth > 3 or call == "barrier wait" else chance.choice(["before", "after", None, None])

    swarm = make_swarm(repository, faults=faults)
    root = swarm.run()
    assert (root.clone / "SURVEY.md").read_text() == page
    assert len(index_of(swarm)) == 4


def test_one_that_lost_the_barrier_after_it_opened_does_not_wait_for_the_others_again(repository, make_swarm, page):
    swarm = make_swarm(
        repository, faults=lambda task, call, _nth: "after" if (task, call) == (10, "barrier wait") else None
    )
    root = swarm.run()
    assert swarm.calls[10, "barrier", "barrier wait"] == 1
    assert (root.clone / "SURVEY.md").read_text() == page
    assert "Only" not in swarm.agents[10].result


def test_a_task_that_is_made_later_meets_its_own_siblings_and_the_root_counts_again(repository, make_swarm, page):
    swarm = make_swarm(
        repository, faults=lambda _task, call, nth: "before" if call == "Survey b/" and nth < 3 else None
    )
    root = swarm.run()
    assert (root.clone / "SURVEY.md").read_text() == page
    assert {agent.state for agent in swarm.agents.values()} == {"done"}


def test_a_child_goes_on_without_a_step_that_fails_five_times_and_says_so(repository, make_swarm):
    """Each of the four children cannot do another thing."""
    cannot = {10: "shared_map put part", 11: "shared_map put imports", 12: "lock acquire", 13: "index"}
    swarm = make_swarm(repository, faults=lambda task, call, _nth: "before" if cannot.get(task) == call else None)
    root = swarm.run()
    assert {agent.state for agent in swarm.agents.values()} == {"done"}
    results = [swarm.agents[task].result for task in cannot]
    said = (
        "Its findings were not shared",
        "Its imports were not shared",
        "The lock was not acquired",
        "not in the index",
    )
    for words, result in zip(said, results, strict=True):
        assert f"{words}: the agent was restarted" in result
    assert f"Not measured: {swarm.agents[10].title.removeprefix('Survey ')}." in root.result
    assert all("Only 3 of 4 parts were there to compare" in result for result in results)
    assert len(index_of(swarm)) == 3


def test_children_that_never_meet_compare_what_is_there(repository, make_swarm, page):
    swarm = make_swarm(repository, faults=lambda _task, call, _nth: "before" if call == "barrier wait" else None)
    root = swarm.run()
    assert {agent.state for agent in swarm.agents.values()} == {"done"}
    assert (root.clone / "SURVEY.md").read_text() == page


@pytest.mark.parametrize("call", ["part", "shared_map put imports"])
def test_the_root_writes_the_survey_when_a_child_dies_and_names_its_part(repository, make_swarm, call):
    swarm = make_swarm(repository, faults=lambda task, called, _nth: "die" if (task, called) == (12, call) else None)
    root = swarm.run()
    assert swarm.agents[12].state == "failed"
    assert "SURVEY.md tells of 3 of 4 parts" in root.result or call != "part"
    page = (root.clone / "SURVEY.md").read_text()
    if call == "part":
        name = swarm.agents[12].title.removeprefix("Survey ")
        assert f"**Not measured, and in no total: part 3, `{name}`**" in page
        assert re.search(rf"\| 3 \| `{name}` \| \d+ \| not measured \|", page)
    survivors = [agent for task, agent in swarm.agents.items() if task not in {1, 12}]
    assert all(agent.state == "done" for agent in survivors)
    assert all(re.search("Only [123] of 4 parts", agent.result) for agent in survivors)


def test_a_child_that_cannot_measure_says_so_and_the_others_are_not_held_up(repository, make_swarm):
    swarm = make_swarm(repository, faults=lambda task, call, _nth: "before" if (task, call) == (11, "part") else None)
    root = swarm.run()
    assert "Not measured: " in root.result
    assert "could not be measured" in swarm.agents[11].result
    assert "not measured" in " ".join(index_of(swarm))
    assert {agent.state for agent in swarm.agents.values()} == {"done"}


@pytest.mark.parametrize("call", ["list", "create_task", "wait_tasks", "str_replace_based_edit_tool create"])
def test_the_root_ends_with_the_reason_when_a_step_of_its_own_always_fails(repository, make_swarm, call):
    def faults(task, called, _nth):
        return "before" if task == 1 and (called == call or (call == "create_task" and "Survey" in called)) else None

    root = make_swarm(repository, faults=faults).run()
    assert root.state == "done"
    if call in {"list", "str_replace_based_edit_tool create"}:
        assert "the agent was restarted" in root.result
    else:
        assert "SURVEY.md tells of" in root.result


def test_programs_that_were_lost_are_written_again(repository, make_swarm, page):
    swarm = make_swarm(repository)

    def faults(_task, call, nth):
        if call == "part" and nth == 1:
            (swarm.shared / "measure.py").unlink(missing_ok=True)

    swarm.faults = faults
    root = swarm.run()
    assert (root.clone / "SURVEY.md").read_text() == page
