"""A workspace with git, the tools in it, and the check that no test leaves a process behind."""

import subprocess
import threading
import uuid
from pathlib import Path

import psutil
import pytest

from prong.agents.tools import ToolCall, WorkspaceTools, tool_environment, workspace_tools

EDITOR = "str_replace_based_edit_tool"


@pytest.fixture
def mark() -> str:
    """What every process of this test carries in its environment."""
    return uuid.uuid4().hex


@pytest.fixture
def workspace(tmp_path) -> Path:
    path = tmp_path / "workspace"
    subprocess.run(["git", "init", "-q", "--template=", path], check=True)
    return path


@pytest.fixture
def scratch(tmp_path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def environment(workspace, scratch, mark, tmp_path):
    extra = {"TMPDIR": str(scratch), "TEST_MARK": mark, "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    return tool_environment(workspace, extra)


@pytest.fixture
def make(workspace, scratch, environment):
    """Tools with a timeout of the test's choice; closed after it."""
    made: list[WorkspaceTools] = []

    def make(timeout_s: float = 20, **options) -> WorkspaceTools:
        tools = workspace_tools(
            workspace, scratch=scratch, environment=environment, command_timeout_s=timeout_s, **options
        )
        made.append(tools)
        return tools

    yield make
    for tools in made:
        tools.close()


@pytest.fixture
def tools(make) -> WorkspaceTools:
    return make()


@pytest.fixture
def call():
    """Runs one call: `call(tools, "grep", pattern="x")`."""

    def call(tools: WorkspaceTools, name: str, /, **given) -> str:
        (tool,) = [tool for tool in tools.tools if tool.name == name]
        return tool.run(ToolCall("toolu_1", name, given))

    return call


@pytest.fixture
def bash(tools, call):
    return lambda command: call(tools, "bash", command=command)


@pytest.fixture
def edit(tools, call):
    return lambda command, **given: call(tools, EDITOR, command=command, **given)


@pytest.fixture
def running(mark):
    """The names of this test's processes that still run, however they got away."""

    def running() -> list[str]:
        wanted = f"TEST_MARK={mark}".encode()
        return sorted(_name(process) for process in Path("/proc").glob("[0-9]*") if wanted in _environ(process))

    return running


def _environ(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # It is gone or not ours.
        return []


def _name(process: Path) -> str:
    return psutil.Process(int(process.name)).name()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(running):
    # Set up before the tools and so torn down after them.
    before = _threads(), _descriptors()
    children = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= children
    assert running() == []
    # What an earlier test left to the garbage collector may go at any moment; nothing may come.
    assert _threads() <= before[0]
    assert _descriptors() <= before[1]


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}
