import pytest

from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import Workspace

from .repositories import make_repository
from .swarming import eventually, processes_of


@pytest.fixture
def root(tmp_path):
    """A small repository; afterwards no process that knows it may be left."""
    yield make_repository(tmp_path / "repository")
    eventually(lambda: not processes_of(tmp_path), f"the end of {processes_of(tmp_path)}", patience_s=10)


@pytest.fixture
def workspace(root, tmp_path):
    return Workspace.create(Repository.open(root), tmp_path / "workspaces" / "ada", "HEAD")
