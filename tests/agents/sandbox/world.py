"""A small world around one agent: its home and keys, a swarm with a neighbour, services, and what tells of harm."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

from prong.agents.sandbox import Limits, confine
from prong.agents.sandbox.readable import objects
from prong.agents.tools import ToolCall, ToolError, tool_environment, workspace_tools

SECRET = "teeth-of-the-dragon"
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")


class World:
    """`harm()` tells what has happened outside since it was last asked: leaks, writes, visits, deaths."""

    def __init__(self, place: Path, found, *, limits=None, network=False):
        self.place = place
        self.home = place / "home"
        self.repository = place / "repository"
        self.swarm = self.repository / ".prong" / "s1"
        self.workspace, self.neighbour = (self.swarm / "workspaces" / name for name in "12")
        self.scratch, self.shared = self.swarm / "scratch" / "1", self.swarm / "shared"
        self._build()
        self._serve()
        self.sibling = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"KEY": SECRET})
        environment = tool_environment(
            self.workspace, {"TMPDIR": str(self.scratch), "PRONG_SHARED": str(self.shared), "HOME": str(self.home)}
        )
        self.sandbox = confine(
            found,
            self.workspace,
            writable=[self.scratch, self.shared],
            own=self.scratch.with_name(".1"),
            readable=objects(self.repository / ".git/objects"),
            hidden=[self.repository / ".prong"],
            environment=environment,
            network=network,
            limits=limits or Limits(memory_bytes=2**30, processes=64, disk_bytes=64 * 2**20),
        )
        self.tools = workspace_tools(
            self.workspace, scratch=self.scratch, roots=[self.shared], environment=environment, command_timeout_s=20,
            sandbox=self.sandbox,
        )  # fmt: skip
        self.before = self._outside()

    def call(self, name, **given):
        """One call through the real tool; an error's text counts as its result."""
        (tool,) = [tool for tool in self.tools.tools if tool.name == name]
        try:
            return str(tool.run(ToolCall("toolu_1", name, given)))
        except ToolError as error:
            return str(error)

    def harm(self, result):
        """What an escape has done."""
        now = self._outside()
        kinds = {
            "a secret was read": SECRET in result,
            "something was written outside": now != self.before,
            "somebody was called": self._visited(),
            "another process was ended": self.sibling.poll() is not None,
        }
        self.before = now
        return [kind for kind, happened in kinds.items() if happened]

    def names(self):
        """What commands of escapes put in for the places and numbers of this world."""
        return {
            "OUT": self.place / "outside", "HOME_": self.home, "REPO": self.repository, "SWARM": self.swarm,
            "OTHER": self.neighbour, "PID": self.sibling.pid, "ME": os.getpid(), "PORT": self.port,
            "SOCKET": self.place / "service", "ABSTRACT": self.abstract, "WS": self.workspace,
        }  # fmt: skip

    def close(self):
        self.tools.close()
        self.sibling.kill()
        self.sibling.communicate()
        for one in self.services:
            one.close()

    def _build(self):
        for place in (self.home / ".ssh", self.home / ".config/gh", self.scratch, self.shared, self.place / "outside"):
            place.mkdir(parents=True)
        for name in ("home/.ssh/id_rsa", "home/.config/gh/hosts.yml", "home/.netrc", "outside/file"):
            (self.place / name).write_text(SECRET)
        subprocess.run([*GIT, "init", "-q", "--template=", "-b", "main", self.repository], check=True)
        (self.repository / "file").write_text("plain\n")
        (self.repository / ".env").write_text(SECRET)
        (self.repository / ".gitignore").write_text(".env\n.prong\n")
        subprocess.run([*GIT, "add", "-A"], cwd=self.repository, check=True)
        subprocess.run([*GIT, "commit", "-qm", "one"], cwd=self.repository, check=True)
        for workspace in (self.workspace, self.neighbour):
            subprocess.run([*GIT, "clone", "-qs", self.repository, workspace], check=True)
        (self.neighbour / "file").write_text(SECRET)
        (self.swarm / "state.db").write_text(SECRET)
        (self.repository / ".git/hooks").mkdir(exist_ok=True)

    def _outside(self):
        """Everything outside of what the agent may write to, with its contents."""
        own = (self.workspace, self.scratch, self.shared, self.scratch.with_name(".1"))
        found = {}
        for folder, folders, files in os.walk(self.place):
            folders[:] = [name for name in folders if Path(folder, name) not in own]
            for name in files:
                path = Path(folder, name)
                found[path] = os.lstat(path).st_mode, path.read_bytes() if path.is_file() else b""
            found |= {Path(folder, name): os.lstat(Path(folder, name)).st_mode for name in folders}
        return found

    def _serve(self):
        """Services whose callers wait to be looked at: TCP and UDP on one port, a socket with a path, one without."""
        self.abstract = f"prong-test-{os.getpid()}-{self.place.name}"
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        named, nameless = (socket.socket(socket.AF_UNIX) for _ in range(2))
        named.bind(str(self.place / "service"))
        nameless.bind(f"\0{self.abstract}")
        for one in (named, nameless):
            one.listen()
        self.services = [tcp, udp, named, nameless]

    def _visited(self):
        """Whether somebody called or wrote to a service since the last time."""
        waiting = select.select(self.services, [], [], 0)[0]
        for service in waiting:
            if service.type == socket.SOCK_DGRAM:
                service.recvfrom(99)
            else:
                service.accept()[0].close()
        return bool(waiting)
