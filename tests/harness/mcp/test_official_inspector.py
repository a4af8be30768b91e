"""The official inspector's command line, as a client that checks what it reads: every tool, over both transports.

npm install -g @modelcontextprotocol/inspector@2    (or PRONG_MCP_INSPECTOR=path/to/mcp-inspector)
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.harness.repositories import make_repository
from tests.harness.swarming import environment

from prong.harness.mcp.http import serving_mcp
from prong.harness.mcp.offered import offers
from prong.harness.mcp.session import Session

INSPECTOR = os.environ.get("PRONG_MCP_INSPECTOR") or shutil.which("mcp-inspector")

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("node") is None, reason="there is no node here; install it: apt-get install nodejs"
    ),
    pytest.mark.skipif(
        INSPECTOR is None, reason="there is no mcp-inspector here: npm install -g @modelcontextprotocol/inspector@2"
    ),
]


class Inspector:
    """The command line, connected to one server."""

    def __init__(self, home, *target):
        self.home = home
        self.target = target

    def ask(self, method, *more, code=0):
        done = subprocess.run(
            [INSPECTOR, "--cli", *self.target, "--method", method, *more],
            cwd=self.home, capture_output=True, text=True, timeout=120, check=False,
            env=environment(HOME=str(self.home), MCP_INSPECTOR_SECRET_STORE="memory"),
        )  # fmt: skip
        assert done.returncode == code, f"{method} {more}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def call(self, tool, **given):
        words = [f"{name}={json.dumps(value)}" for name, value in given.items()]
        told = self.ask("tools/call", "--tool-name", tool, *(["--tool-arg", *words] if words else []))
        assert not told.get("isError"), told
        return told["structuredContent"]


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / "repository")


@pytest.fixture(params=["stdio", "http"])
def inspector(request, root, tmp_path):
    if request.param == "stdio":
        server = {"command": sys.executable, "args": ["-m", "prong.harness", "mcp", "--repo", str(root)]}
        (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"prong": server}}))
        yield Inspector(tmp_path, "--config", str(tmp_path / "mcp.json"), "--server", "prong")
        return
    with serving_mcp(root / ".prong" / "shared") as (address, _):
        told = address.for_agents()
        header = f"Authorization: Bearer {told['token']}"
        yield Inspector(tmp_path, told["url"], "--transport", "http", "--header", header)


def test_it_lists_everything_in_strict_mode_and_calls_every_tool(inspector, root):
    listed = {tool["name"] for tool in inspector.ask("tools/list", "--strict")["tools"]}
    assert listed == {offer.name for offer in offers()}
    other = Session(root / ".prong" / "shared", "other")  # who holds what one call after another needs
    called = set()

    def call(tool, **given):
        called.add(tool)
        return inspector.call(tool, **given)

    def claimed(title):
        call("create_task", title=title, prompt="p")
        told = other.call("claim_task", {}).outcome.result(60)
        return {"task": told.data["task"], "fence": told.data["fence"]}

    assert call("lock", op="acquire", name="a")["name"] == "a"
    assert call("semaphore", op="acquire", name="s", permits=2)["held"]
    assert call("barrier", op="wait", name="b", parties=1)["index"] == 0
    call("event", op="set", name="e")
    assert call("atomic", op="add", name="n", value=2)["new"] == 2
    assert call("shared_map", op="put", map="m", key="k", value="v")["version"] == 1
    assert call("shared_list", op="append", list="l", value=1)["index"] == 0
    call("message_queue", op="put", queue="q", message="hello")
    assert call("message_queue", op="get", queue="q")["messages"][0]["message"] == "hello"
    call("future", op="set", name="f", value=1)
    first = claimed("one")
    call("renew_task", **first)
    assert call("complete_task", **first, result="done")["state"] == "done"
    assert call("fail_task", **claimed("two"), reason="no")["state"] in ("ready", "failed")
    call("create_task", title="three", prompt="p")
    assert call("claim_task", timeout=30)["prompt"] == "p"
    call("list_tasks")
    call("wait_tasks", tasks=[first["task"]])
    call("read_result", task=first["task"])
    refused = inspector.ask("tools/call", "--tool-name", "resume_wait", "--tool-arg", "ticket=none", code=5)
    assert "no such ticket" in refused["content"][0]["text"]
    assert called | {"resume_wait"} == listed
    other.close()


def test_it_lists_and_reads_the_resources(inspector, root):
    session = Session(root / ".prong" / "shared", "other")
    session.call("shared_map", {"op": "put", "map": "a b", "key": "k", "value": 1}).outcome.result(60)
    session.close()
    listed = [one["uri"] for one in inspector.ask("resources/list")["resources"]]
    assert listed[-1] == "prong://maps/a%20b"
    (content,) = inspector.ask("resources/read", "--uri", listed[-1])["contents"]
    assert json.loads(content["text"])["entries"][0]["value"] == 1
    assert len(inspector.ask("resources/templates/list")["resourceTemplates"]) == 4
