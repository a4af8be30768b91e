"""The figures that order the line: levels, paths, and raised priorities."""

from hypothesis import given
from hypothesis import strategies as st

from prong.primitives.ranking import estimate, lengthened, level, longest_paths, raised

tasks = st.integers(1, 8)
priorities = st.dictionaries(tasks, st.integers(-3, 3))
ways = st.dictionaries(tasks, st.lists(tasks, max_size=4))
# Whole seconds: sums are the same in any order.
estimates = st.dictionaries(tasks, st.integers(0, 100), min_size=1)


def without_circles(needs):
    """What is needed is older, as where it must exist when it is named."""
    return {task: [need for need in needed if need < task] for task, needed in needs.items()}


def slow_path(task, estimates, needs):
    behind = [other for other in estimates if task in needs.get(other, ())]
    return estimates[task] + max((slow_path(other, estimates, needs) for other in behind), default=0)


def reachable(task, waits_for):
    found, reached = set(), [task]
    while reached:
        new = set(waits_for.get(reached.pop(), ())) - found
        found |= new
        reached += new
    return found


@given(st.integers(-5, 5), st.integers(-5, 5), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e5))
def test_a_task_waits_only_behind_what_became_ready_within_the_bound(low, high, ready_at, later_at, ageing_s):
    if level(high, None, later_at, ageing_s) >= level(low, None, ready_at, ageing_s):
        assert later_at - ready_at <= (high - low + 1) * ageing_s * (1 + 1e-9) + 1e-6


@given(st.integers(-5, 5), st.integers(-5, 5), st.floats(0, 1e6))
def test_at_one_time_the_higher_priority_or_who_waits_for_it_decides(one, other, ready_at):
    assert (level(one, None, ready_at) > level(other, None, ready_at)) == (one > other)
    assert level(one, other, ready_at) == level(max(one, other), None, ready_at)


def test_a_wait_of_one_window_beats_one_priority_but_not_two():
    assert level(0, None, 0, 10) == level(1, None, 10, 10) > level(1, None, 20, 10)
    assert level(0, None, 0, 10) < level(2, None, 10, 10)


@given(estimates, ways)
def test_a_path_is_the_longest_line_of_those_that_need_a_task(estimates, needs):
    needs = without_circles(needs)
    assert longest_paths(estimates, needs) == {task: slow_path(task, estimates, needs) for task in estimates}


@given(estimates, ways, st.integers(1, 8))
def test_paths_grow_to_the_same_as_if_all_had_been_there_from_the_beginning(estimates, needs, first_new):
    needs = without_circles(needs)
    before = {task: spent for task, spent in estimates.items() if task < first_new}
    paths = longest_paths(before, needs)
    new = [task for task in estimates if task >= first_new]
    longer = lengthened(new, estimates, needs, paths)
    assert paths | longer == longest_paths(estimates, needs)
    assert all(spent > paths.get(task, -1) for task, spent in longer.items())


@given(estimates, ways)
def test_needs_in_a_circle_end_too(estimates, needs):
    assert longest_paths(estimates, needs).keys() == estimates.keys()
    assert lengthened(list(estimates), estimates, needs, {}).keys() == estimates.keys()


def test_a_chain_of_a_hundred_thousand_has_its_whole_length_as_path():
    length = 100_000
    needs = {task: [task - 1] for task in range(1, length)}
    estimates = dict.fromkeys(range(length), 1.0)
    paths = longest_paths(estimates, needs)
    assert (paths[0], paths[length - 1]) == (length, 1)
    assert lengthened([length - 1], estimates, needs, dict.fromkeys(range(length - 1), 1.0))[0] == length
    assert raised(dict.fromkeys(range(length - 1), 0) | {length - 1: 1}, needs) == dict.fromkeys(range(length - 1), 1)


@given(priorities, ways)
def test_a_task_is_raised_to_the_highest_of_all_that_wait_for_it_and_nobody_else_is(priorities, waits_for):
    expected = {}
    known = {task: [other for other in others if other in priorities] for task, others in waits_for.items()}
    known = {task: others for task, others in known.items() if task in priorities}
    for task, own in priorities.items():
        above = [priority for other, priority in priorities.items() if task in reachable(other, known)]
        if max(above, default=own) > own:
            expected[task] = max(above)
    assert raised(priorities, waits_for) == expected


def test_the_first_that_ends_does_not_decide_alone_how_long_a_role_takes():
    assert estimate(0, 0.0) == 300
    assert estimate(1, 10.0) == 155
    assert estimate(1, 10.0, before_s=20.0) == 15
