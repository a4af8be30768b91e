"""What patterns decide, without a swarm: prompts and keys of items, groups, votes, files of results, functions."""

import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.repositories import make_repository

from prong.harness.patterns import by_value, submitting
from prong.harness.patterns.mapping import Work, asked, in_order, items_of, keyed, pieces, routed
from prong.harness.patterns.opening import NotTrusted
from prong.harness.patterns.outcome import Outcome
from prong.harness.patterns.reading import Reading
from prong.harness.patterns.reducing import reduce_tree
from prong.harness.patterns.results_file import ResultsFile
from prong.harness.patterns.sources import files, objects
from prong.harness.patterns.swarm import Swarm
from prong.harness.patterns.voting import same, settled
from prong.harness.program.reducing import fitting, groups, question
from prong.harness.repository.git import RepositoryError
from prong.harness.repository.repository import Repository
from prong.harness.rules.role_names import NoSuchRole
from prong.harness.rules.rules import Role, Route
from prong.harness.swarms import Options
from prong.primitives import Plan, remote
from prong.state import Invalid


def outcome(key, **more):
    return Outcome(key=key, item=key, task=1, state="done", result="ü", **more)


def test_an_item_stands_where_the_prompt_names_it_and_else_behind_it():
    item = {"name": "Ada", "at": {"city": "London"}}
    assert asked("Greet {item.name} in {item.at.city}, not {items}.", item) == "Greet Ada in London, not {items}."
    assert asked("Greet:", item) == f"Greet:\n\n{json.dumps(item)}"
    assert asked("{item} and {item}", 7) == "7 and 7"
    with pytest.raises(Invalid, match="fields that it has: name, at"):
        asked("Greet {item.nam}", item)


@given(st.lists(st.integers(0, 3) | st.sampled_from(["a", "1"])))
def test_equal_items_have_keys_of_their_own_which_are_the_same_each_time(values):
    keys = [key for key, _ in keyed(items_of(values), "map")]
    assert len(set(keys)) == len(values)
    assert keys == [key for key, _ in keyed(items_of(values), "map")]


def test_work_is_another_where_anything_is_another_that_its_results_depend_on():
    base = Work("Do it")
    others = [Work("Do"), Work("Do it", "fork"), Work("Do it", role="critic"), Work("Do it", schema="{}")]
    identities = {work.identity("map", "m") for work in (base, *others)} | {base.identity("map", "n")}
    assert len(identities) == 6


@given(st.permutations(range(12)), st.integers(1, 12))
def test_outcomes_come_in_the_order_of_the_items_whatever_ends_first(order, seen):
    work = Work("Do {item}")

    def run(todo):
        keys = [piece.key for piece in todo]
        yield from (outcome(keys[place]) for place in order)

    made = list(pieces(keyed(items_of(range(12)), "map"), work, planned=lambda plan: plan))
    found = in_order(made, run)
    assert [next(found).key for _ in range(seen)] == [piece.key for piece in made][:seen]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(100, 400))
def test_groups_hold_all_neighbours_once_fit_and_become_fewer(lengths, most):
    parts = groups(lengths, most=most)
    assert [place for part in parts for place in part] == list(range(len(lengths)))
    assert all(len(part) >= 2 for part in parts[:-1])
    assert all(sum(lengths[place] for place in part) <= most for part in parts)
    assert len(parts) == 1 or len(parts) < len(lengths)


@given(st.text(max_size=400), st.integers(100, 300))
def test_a_text_that_is_too_long_keeps_its_head_and_its_tail(text, most):
    short = fitting(text, most)
    assert len(short) <= most
    assert short == text if len(text) <= most else (short[0] == text[0] and short[-1] == text[-1])


def test_a_part_is_asked_for_what_the_whole_may_need():
    assert "These are all of them" in question("Sum up.", ["a", "b"], level=1, last=True)
    assert "a part of them" in question("Sum up.", ["a", "b"], level=2, last=False)


@given(st.sampled_from(["majority", "unanimous"]), st.lists(st.sampled_from("aab"), max_size=7), st.integers(0, 4))
def test_a_vote_that_is_settled_cannot_come_out_otherwise(by, cast, left):
    """Whatever the others say, or whether they answer at all: the winner stays the winner, and nobody stays nobody."""

    def winner(votes):
        if by == "unanimous":
            return votes[0] if votes and len(set(votes)) == 1 else None
        return next((one for one in set(votes) if 2 * votes.count(one) > len(votes)), None)

    counts = sorted((cast.count(one) for one in set(cast)), reverse=True)
    if left and settled(by, counts, left=left):
        for one in "abc":
            for many in range(left + 1):
                assert winner(cast + [one] * many) == winner(cast)


def test_answers_are_equal_without_regard_to_case_blanks_and_a_full_stop():
    assert same(" Yes,  it is.") == same("yes, it is")
    assert same({"a": [1], "b": 2}) == same({"b": 2, "a": [1]})
    assert same("1") != same(2)


def test_a_file_of_results_keeps_whole_lines_of_its_own_and_nothing_twice(tmp_path):
    path = tmp_path / "out.jsonl"
    first = ResultsFile(path, "me")
    assert first.clean(lambda _: True) == 0
    with first:
        first.add(outcome("me-1"))
        first.add(outcome("me-2"))
        first.add(outcome("me-1"))
    with path.open("a") as file:
        file.write('{"key": "me-3", "it')
    again = ResultsFile(path, "me")
    assert again.clean(lambda one: one.key != "me-2") == 1
    assert ("me-1" in again, "me-2" in again, len(again)) == (True, False, 1)
    with again:
        again.add(outcome("me-2"))
        assert (again.get("me-1").key, again.get("me-2").key, again.get("me-3")) == ("me-1", "me-2", None)
    assert [one.key for one in again.outcomes()] == ["me-1", "me-2"]
    assert all(one.before and one.result == "ü" for one in again.outcomes())


def test_only_one_map_at_a_time_writes_into_a_file(tmp_path):
    path = tmp_path / "results"
    first, second = ResultsFile(path, "me"), ResultsFile(path, "me")
    first.clean(lambda _: True)
    with first:
        with pytest.raises(Invalid, match="another map is writing"):
            second.clean(lambda _: True)
        first.add(outcome("me-1"))
    second.clean(lambda _: True)
    with second:
        second.add(outcome("me-2"))
    assert [one.key for one in second.outcomes()] == ["me-1", "me-2"]
    assert "me-1" in second


def test_what_is_no_file_is_never_replaced_and_a_link_stays_one(tmp_path):
    pipe, link, path = tmp_path / "pipe", tmp_path / "link", tmp_path / "results"
    os.mkfifo(pipe)
    link.symlink_to(path)
    with pytest.raises(Invalid, match="something else stands"):
        ResultsFile(pipe, "me").clean(lambda _: True)
    assert pipe.is_fifo()
    results = ResultsFile(link, "me")
    results.clean(lambda _: True)
    with results:
        results.add(outcome("me-1"))
    assert link.is_symlink()
    assert path.read_text().startswith('{"key": "me-1"')


def test_an_item_of_which_no_task_can_be_made_is_a_piece_that_says_why():
    items = items_of(["good", "", "x" * 300_000, {"no": 1}, "\0\n"])
    made = list(pieces(keyed(items, "map"), Work("{item}"), planned=lambda plan: plan))
    assert [piece.plan is not None for piece in made] == [True, False, False, True, True]
    assert "300,000 bytes" in made[2].problem
    made = list(pieces(keyed(items_of([{"a": 1}, {"b": 1}]), "map"), Work("{item.a}"), planned=lambda plan: plan))
    assert [bool(piece.problem) for piece in made] == [False, True]


@pytest.mark.parametrize("text", ["my notes\n", "my notes", '{"key": "other-1"}\n', "[]\n", '{"key": "you-1", "it'])
def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path, text):
    path = tmp_path / "notes"
    path.write_text(text)
    with pytest.raises(Invalid, match="something else stands"):
        ResultsFile(path, "me").clean(lambda _: True)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_those_of_the_commit_and_another_content_is_another_item(tmp_path):
    made = {"a.py": "1\n", "src/b.py": "2\n", "src/deep/c.py": "2\n", "src/d.txt": "3\n"}
    repository = Repository.open(make_repository(tmp_path / "repository", made))
    head = repository.head()
    found = files(repository, head, ["src/**/*.py"])
    assert [one.value for one in found] == ["src/b.py", "src/deep/c.py"]
    assert len({one.content for one in found}) == 2
    assert [one.value for one in files(repository, head, ["*.py", "src/*.txt"])] == ["a.py", "src/d.txt"]
    with pytest.raises(Invalid, match="names no file"):
        files(repository, head, ["*.rs"])


def test_a_line_that_is_no_json_is_named():
    with pytest.raises(Invalid, match="line 3 of items"):
        list(objects(["1", "", "{"], "items"))
    with pytest.raises(Invalid, match="NaN is no number"):
        list(objects(["NaN"], "items"))


def outer(number):
    return inner(number) + json.loads("1")


def inner(number, *, more=10):
    return number * more


def test_a_function_that_nobody_can_import_travels_with_what_it_names():
    factor = 3
    assert by_value.needed(lambda: 0)
    assert not by_value.needed(outer)
    assert not by_value.needed(len)
    sent = json.loads(json.dumps(by_value.packed(lambda number: outer(number) * factor)))
    assert by_value.unpacked(sent)(4) == 123
    with pytest.raises(by_value.NotPortable, match="cannot be pickled"):
        by_value.packed(lambda: lock)


lock = __import__("threading").Lock()
real = lock  # named as an attribute below, which is no global


def test_functions_travel_in_arguments_and_closures_and_attributes_are_no_globals():
    def add(number):
        return number + 1

    sent = by_value.dumped((lambda f, number: f(add(number)).real, lambda number: number * 2, 4))
    function, *arguments = by_value.loaded(sent, None)
    assert function(*arguments) == 10

    def endless(number):
        return endless(number)

    with pytest.raises(by_value.NotPortable, match="calls itself"):
        by_value.packed(endless)


TYPED = """
from prong.harness.patterns import by_value
class Mine: pass
try:
    by_value.dumped([Mine()])
except by_value.NotPortable as error:
    print(error)
"""


def test_a_class_that_nobody_can_import_is_refused_by_its_name():
    done = subprocess.run([sys.executable, "-c", TYPED], capture_output=True, text=True, check=True)
    assert "Mine cannot run in another process: the class Mine stands in this program alone" in done.stdout


def reduced(texts, *, fits, fails=()):
    """The whole, its levels, and how long the prompts of each were; results are the numbers' sums."""
    prompts = []

    def run(todo):
        for piece in todo:
            prompts.append((piece.item["level"], piece.plan.prompt))
            bad = piece.item["part"] in fails
            numbers = re.findall(r"^(\d+)$", piece.plan.prompt, re.MULTILINE)
            said = (
                {"state": "failed", "error": "no"} if bad else {"state": "done", "result": str(sum(map(int, numbers)))}
            )
            yield Outcome(key=piece.key, item=piece.item, task=1, **said)

    return reduce_tree(run, Work("Add up"), texts, fits_characters=fits), prompts


@given(st.lists(st.integers(1, 999), min_size=1, max_size=40), st.integers(10, 60))
def test_whatever_the_tree_looks_like_every_result_is_in_the_whole_once(numbers, fits):
    whole, prompts = reduced(map(str, numbers), fits=fits)
    assert whole.result == str(sum(numbers))
    assert whole.item["level"] == prompts[-1][0]
    assert "These are all of them." in prompts[-1][1]


def test_a_part_that_fails_ends_the_whole_and_no_result_is_none():
    whole, prompts = reduced(map(str, range(30)), fits=20, fails=[2])
    assert (whole.state, whole.item["part"]) == ("failed", 2)
    assert {level for level, _ in prompts} == {1}
    with pytest.raises(ValueError, match="no result"):
        reduced([], fits=100)


def test_a_task_without_a_role_gets_the_one_that_it_is_routed_to():
    route = Route(type={"docs": "writer"}, match={"*security*": "auditor"})
    options = Options("g", "m", 1, route=route, roles={"writer": Role(), "auditor": Role()})
    work = routed(Work("Look at {item}"), options)
    assert [work.plan(asked(work.prompt, one), title=one, key=None).role for one in ("security", "x")] == [
        "auditor",
        "",
    ]
    assert routed(Work("x", type="docs"), options).plan("x", title="x", key=None).role == "writer"
    with pytest.raises(NoSuchRole, match=r"'audtor'\. Did you mean auditor\?"):
        routed(Work("x", role="audtor"), options)


def test_a_prompt_that_is_submitted_takes_what_it_takes_and_says_so():
    options = Options("g", "m", 1)
    plan = submitting.plan_of(options, "Do it", "key", (), {"priority": 3, "on_failed_need": "any"})
    assert (plan.prompt, plan.priority, plan.key, plan.on_failed_need) == ("Do it", 3, "key", "any")
    with pytest.raises(TypeError, match=r"takes role=, .* and not 1, foo="):
        submitting.plan_of(options, "Do it", None, (1,), {"foo": 2})
    with pytest.raises(Invalid, match="futures that submit"):
        submitting.plan_of(options, "Do it", None, (), {"needs": ["one"]})


def test_a_role_with_another_model_reads_a_summary_where_others_fork():
    reading = Reading(7, 1, "fork", "c0ffee", frozenset({"small"}))
    fork, brief = (reading.planned(Plan("t", "p", role=role)) for role in ("", "small"))
    assert (fork.context, fork.fork_point, fork.brief_of) == ("fork", 7, None)
    assert (brief.context, brief.fork_point, brief.brief_of) == ("brief", None, 7)


def test_a_swarm_without_a_repository_is_refused_at_once(tmp_path):
    with pytest.raises(RepositoryError, match=r"nope is not inside a git repository\. Go to one"):
        Swarm(tmp_path / "nope", offline=True)


def test_a_program_says_too_that_it_trusts_what_a_repository_starts(tmp_path, monkeypatch):
    monkeypatch.delenv("PRONG_RUN_TRUST", raising=False)
    rules = "---\nroles: {helper: {kind: command, command: rm, environment: MY_TOKEN}}\n---\n"
    root = make_repository(tmp_path / "repository", {"PRONG.md": rules})
    with pytest.raises(NotTrusted, match=r"role helper starts 'rm' and your MY_TOKEN.*trust=True"):
        Swarm(root, offline=True).submit("Do it")
    assert not (root / ".prong").exists()
    with Swarm(root, offline=True, trust=True) as swarm:
        assert swarm.id
    rules = "---\nbase_url: https://example.org\n---\n"
    root = make_repository(tmp_path / "another", {"PRONG.md": rules})
    with pytest.raises(NotTrusted, match=r"asked at https://example.org; your key would go there"):
        Swarm(root, api_key="mine").submit("Do it")
    assert not (root / ".prong").exists()


def test_a_program_that_begins_its_work_when_it_is_loaded_is_told_what_to_do(store, tmp_path):
    file = tmp_path / "unguarded.py"
    file.write_text(
        "from prong.harness import Swarm\n"
        "def f():\n    return 1\n"
        "swarm = Swarm(offline=True)\n"
        "if True:\n    swarm.submit(f)\n"
    )
    call = {"function": "__main__:f", "main": str(file), "args": [], "named": {}}
    with pytest.raises(remote.Unguarded, match=r"unguarded\.py .* belongs under `if __name__"):
        remote.resolved(call, store.path)
    file.write_text(file.read_text().replace("if True:", 'if __name__ == "__main__":'))
    assert remote.resolved(call, store.path)[0]() == 1
