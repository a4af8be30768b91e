"""`prong run` in a repository with rules: whose word counts, and what is refused before anything is started."""

import os
import pty
import select
import subprocess
import sys

import pytest
from tests.harness.swarming import SCRIPTS, environment, eventually, prong

from prong.harness import prompt
from prong.harness.repository.repository import Repository
from prong.harness.rules.rules import FILE
from prong.harness.swarms import find

GOAL = "Never started"
ELSEWHERE = "https://models.example.org"
SAID = f"""\
---
limits: {{agents: 3}}
model: claude-opus-5-5
max_tokens: 8k
offline: true
scripts: [{SCRIPTS}]
latency: 0.001
---
Be brief.
"""


@pytest.fixture
def says(root):
    """Writes the rules of the repository."""
    return (root / FILE).write_text


def swarm(root):
    return find(Repository.open(root), None)


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(root, says):
    says(SAID)
    environment = {"PRONG_RUN_AGENTS": "4", "PRONG_RUN_LATENCY": "0.002"}
    prong("run", "--json", "--agents", "5", "Edit 1 files", cwd=root, **environment)
    options = swarm(root).options
    assert (options.slots, options.offline.latency_s) == (5, 0.002)
    assert (options.model, options.max_tokens) == ("claude-opus-5-5", 8_000)
    assert options.offline.scripts == (str(SCRIPTS),)
    assert options.prose == "Be brief."
    assert swarm(root).settings(None, None)["prose"] == "Be brief."


def test_rules_are_those_of_the_repository_and_scripts_stand_below_its_root(root, says, tmp_path):
    (root / "scripts.py").write_text(SCRIPTS.read_text())
    (root / "folder").mkdir()
    says("---\noffline: true\nscripts: scripts.py\nmodel: claude-opus-5-5\n---\n")
    prong("run", "--json", "--repo", root / "folder", "Edit 1 files", cwd=tmp_path)
    assert swarm(root).options.offline.scripts == (str((root / "scripts.py").resolve()),)


def test_the_model_of_the_file_is_not_played_offline_unless_the_file_says_so(root, says):
    says(f"---\nmodel: claude-opus-5-5\nscripts: {SCRIPTS}\n---\n")
    prong("run", "--offline", "--json", "Edit 1 files", cwd=root)
    assert swarm(root).options.model == "prong-emulator"


def test_what_is_wrong_is_printed_whole_and_nothing_is_started(root, says):
    says("---\nlimits:\n  agents: eight\nmodle: x\n---\n")
    said = prong("run", "--offline", GOAL, cwd=root, code=2).stderr
    assert said.splitlines() == [
        'prong: PRONG.md:3: limits.agents is "eight"; a whole number from 1 to 1000 is needed',
        "PRONG.md:4: modle is no rule; did you mean model?",
    ]
    assert not (root / ".prong").exists()


def test_help_is_there_whatever_the_rules_say(root, says, tmp_path):
    says("---\nmodle: x\n---\n")
    for arguments in (["--help"], ["--repo", root, "--help"], ["--repo", tmp_path / "nowhere", "--help"]):
        assert "--agents" in prong("run", *arguments, cwd=root).stdout
    assert "is not inside a git repository" in prong("run", GOAL, cwd=tmp_path, code=2).stderr


def test_scripts_of_the_file_are_no_reason_to_refuse_a_run_with_a_model(root, says):
    says(f"---\nscripts: {SCRIPTS}\nlatency: 1\noffline: true\n---\n")
    assert "ANTHROPIC_API_KEY is not set" in prong("run", "--online", GOAL, cwd=root, code=2).stderr
    said = prong("run", "--online", "--latency", "2", GOAL, cwd=root, code=2).stderr
    assert "--script and --latency belong to --offline" in said


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        (ELSEWHERE, True),
        ("http://127.0.0.1.example.org", True),
        ("http://localhost@example.org", True),
        ("http://127.0.0.1:9", False),
        ("http://[::1]:9", False),
        ("http://localhost:9", False),
    ],
)
def test_the_file_sends_no_key_to_another_machine_by_itself(root, says, url, refused):
    says(f"---\nbase_url: '{url}'\n---\n")
    said = prong("run", GOAL, cwd=root, code=2, ANTHROPIC_API_KEY="key").stderr
    assert (f"--base-url {url}" in said) == refused
    assert ("nothing listens" in said) != refused  # where the key may go there, somebody is asked whether it will do


@pytest.mark.parametrize(
    ("arguments", "more"), [(["--base-url", ELSEWHERE], {}), ([], {"PRONG_RUN_BASE_URL": ELSEWHERE})]
)
def test_the_key_goes_where_its_owner_says(root, says, arguments, more):
    says(f"---\nbase_url: {ELSEWHERE}\n---\n")
    assert (
        f"there is no host {ELSEWHERE}"
        in prong("run", *arguments, GOAL, cwd=root, code=2, ANTHROPIC_API_KEY="key", **more).stderr
    )


@pytest.mark.parametrize(("answer", "ends"), [(b"n\n", "nothing was started"), (b"y\n", "there is no host")])
def test_in_a_terminal_its_owner_is_asked(root, says, answer, ends):
    says(f"---\nbase_url: {ELSEWHERE}\n---\n")
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "prong.harness", "run", GOAL],
        cwd=root, env=environment(ANTHROPIC_API_KEY="key"), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    printed = b""

    def reads(word):
        nonlocal printed
        if select.select([ours], [], [], 0)[0]:
            printed += os.read(ours, 65_536)
        return word in printed

    eventually(lambda: reads(b"Go on?"), "the question")
    os.write(ours, answer)
    eventually(lambda: reads(ends.encode()), ends)
    assert asking.wait(60) == 2
    os.close(ours)


def test_the_prose_stands_in_the_system_prompt_and_nothing_else_changes_it():
    assert prompt.system("") == prompt.SYSTEM
    assert prompt.system("Be brief.").startswith(prompt.SYSTEM)
    assert prompt.system("Be brief.").endswith("\n\nBe brief.\n")
