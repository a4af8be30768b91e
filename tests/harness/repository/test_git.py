"""Git fails in clear words, and whatever a model writes makes a commit that says no more than it may."""

import pytest
from tests.harness.repositories import make_repository, write

from prong.harness.repository.git import Author, GitFailed, git, with_trailers
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository")


def test_a_failed_command_names_itself_its_place_its_code_and_what_git_said(tmp_path):
    with pytest.raises(GitFailed, match=r"'git rev-parse HEAD' in .* ended with 128: fatal: not a git repository"):
        git("rev-parse", "HEAD", cwd=tmp_path)
    with pytest.raises(GitFailed, match="no such directory"):
        git("version", cwd=tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Add a door", "Add a door\n\nProng-Task: 7"),
        ("Add: a door", "Add: a door\n\nProng-Task: 7"),
        ("Add\n\nCo-authored-by: Bo <b@o>", "Add\n\nCo-authored-by: Bo <b@o>\nProng-Task: 7"),
        ("Add\n\nprong-task : 99\nx", "Add\n\nx\n\nProng-Task: 7"),
        ("Add\n\nProng-Agent: eve", "Add\n\nProng-Task: 7"),
        (" \n\0\n", "(no message)\n\nProng-Task: 7"),
        ("Add\r\n\r\nmore \ud800", "Add\n\nmore ?\n\nProng-Task: 7"),
    ],
)
def test_trailers_end_the_message_and_cannot_be_forged_in_it(text, whole):
    assert with_trailers(text, {"Prong-Task": "7\n"}) == whole


@pytest.mark.parametrize("name", ["", " <>\n", "Bo \0 <b>", "\udcff", "."])
def test_any_name_makes_an_author(root, tmp_path, name):
    workspace = Workspace.create(Repository.open(root), tmp_path / "w", "HEAD")
    write(workspace.directory, {"new": "x"})
    assert workspace.commit_all("New", Author(name, name, 5), {})
