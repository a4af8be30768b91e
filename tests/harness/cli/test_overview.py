"""What a newcomer meets first: the list of commands, and refusals of what contradicts itself."""

import pytest
from click.testing import CliRunner
from tests.harness.repositories import make_repository

from prong.harness.cli.command import main
from prong.harness.cli.overview import SECTIONS
from prong.harness.outcome import NOT_NEEDED, outcome
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create
from prong.primitives import Plan, create_task, task_ending


def test_help_tells_of_each_command_in_one_line_below_one_headline():
    told = [name for words in SECTIONS.values() for name in words]
    assert sorted(told) == sorted(main.commands)
    lines = CliRunner().invoke(main, ["--help"], terminal_width=80).output.splitlines()
    for words in SECTIONS.values():
        for name, what in words.items():
            assert any(line.split() == [name, *what.split()] for line in lines), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["merge", "--squash", "--no-ff"], "--no-ff and --squash contradict each other"),
        (["map", "--offline", "--over", "a", "--lines", __file__, "x"], "items come from one place only"),
        (["map", "--offline", "--over", "a", "--schema", __file__, "x"], "is no JSON: "),
        (["budget", "--tokens", "many"], 'or "2M"\n'),
    ],
)
def test_what_contradicts_itself_or_cannot_be_read_is_refused_in_words(words, said):
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 2
    assert said in refused.output


@pytest.mark.parametrize(("reason", "state"), [(NOT_NEEDED, "done"), ("told so", "failed")])
def test_a_swarm_has_not_failed_because_votes_were_not_needed(store, reason, state):
    with store.transaction(None) as tx:
        task = create_task(tx, Plan(title="vote", prompt="vote"))[0].id
        task_ending.cancel(tx, task, reason=reason)
    assert outcome(store) == state


def test_an_export_that_is_refused_leaves_the_file_as_it_was(tmp_path):
    root = make_repository(tmp_path / "repository")
    create(Repository.open(root), Options(goal="look", model="prong-emulator", slots=1))
    kept, missing = tmp_path / "kept.csv", tmp_path / "missing/tasks.csv"
    kept.write_text("mine")

    def export(name, path):
        return CliRunner().invoke(main, ["export", name, "-o", str(path), "--repo", str(root)])

    refused = export("taks.csv", kept)
    assert (refused.exit_code, kept.read_text()) == (2, "mine")
    assert "tasks.csv" in refused.output
    assert export("tasks.csv", missing).exit_code == 2
    assert export("tasks.csv", kept).exit_code == 0
    assert kept.read_text().startswith("id,")
    assert export("tasks.csv", "-").output.startswith("id,")
