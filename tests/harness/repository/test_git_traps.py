"""An agent writes what it likes into its clone's git directory: none of it makes the harness run anything, or wait."""

import os
import socket
import subprocess

import pytest
from tests.harness.repositories import finish, run, write

from prong.harness.repository.git import AGENT
from prong.harness.repository.special import NotAFile

MISSING = "1234567890123456789012345678901234567890"


def lazy_fetch(here, trap):
    config = here / ".git/config"
    config.write_text(
        "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = evil\n"
        f'[remote "evil"]\n\turl = ext::{trap}\n\tpromisor = true\n[protocol "ext"]\n\tallow = always\n'
    )
    (here / ".git/HEAD").write_text(MISSING + "\n")


def monitor(here, trap):
    run(here, "config", "core.fsmonitor", str(trap))


def hooks(here, trap):
    run(here, "config", "core.hooksPath", str(here / "hooks"))
    for name in ("pre-commit", "post-index-change", "reference-transaction", "post-checkout"):
        write(here, {f"hooks/{name}": trap.read_text()})
        (here / "hooks" / name).chmod(0o755)


def filters(here, trap):
    write(here, {".gitattributes": "* filter=evil diff=evil merge=evil text\n"})
    for key in ("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv",
                "diff.evil.command", "merge.evil.driver", "diff.external"):  # fmt: skip
        run(here, "config", key, str(trap))


def programs(here, trap):
    for key in ("gpg.program", "core.sshCommand", "core.editor", "core.pager", "core.gitProxy", "credential.helper",
                "sequence.editor", "core.askPass", "uploadpack.packObjectsHook"):  # fmt: skip
        run(here, "config", key, str(trap))
    run(here, "config", "log.showSignature", "true")


def includes(here, trap):
    write(here, {"more": f"[core]\n\tfsmonitor = {trap}\n"})
    run(here, "config", "include.path", str(here / "more"))
    run(here, "config", "includeIf.gitdir:/.path", str(here / "more"))


def another_worktree(here, trap):
    run(here, "config", "core.worktree", "/")
    monitor(here, trap)


def a_link_for_git(here, trap):
    monitor(here, trap)
    (here / ".git").rename(here / "real")
    (here / ".git").symlink_to("real")


def a_submodule(here, trap):
    run(here, "init", "-q", "inner")
    run(here / "inner", "config", "core.fsmonitor", str(trap))
    write(here, {".gitmodules": f'[submodule "inner"]\n\tpath = inner\n\turl = ext::{trap}\n\tupdate = !{trap}\n'})


def a_program_called_git(here, trap):
    write(here, {"git": trap.read_text(), "bin/git": trap.read_text()})
    for name in ("git", "bin/git"):
        (here / name).chmod(0o755)


@pytest.mark.parametrize(
    "plant",
    [lazy_fetch, monitor, hooks, filters, programs, includes, another_worktree, a_link_for_git, a_submodule,
     a_program_called_git],
)  # fmt: skip
def test_nothing_that_an_agent_plants_in_its_clone_is_run(workspace, tmp_path, plant, monkeypatch):
    sprung = tmp_path / "sprung"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\ncat\n")
    trap.chmod(0o755)
    monkeypatch.setenv("PATH", f".{os.pathsep}bin{os.pathsep}{os.environ['PATH']}")
    write(workspace.directory, {"made": "by the agent\n"})
    plant(workspace.directory, trap)
    workspace.snapshot()
    assert finish(workspace)
    assert not sprung.exists()


def test_the_trap_of_a_lazy_fetch_would_work(workspace, tmp_path):
    sprung = tmp_path / "sprung"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\n")
    trap.chmod(0o755)
    lazy_fetch(workspace.directory, trap)
    command = ["git", "-c", "protocol.allow=never", "rev-parse", "--verify", "HEAD^{commit}"]
    subprocess.run(command, cwd=workspace.directory, check=False, capture_output=True)
    assert sprung.exists()


@pytest.mark.parametrize("name", [".gitignore", "deep/.gitattributes"])
def test_a_pipe_that_git_would_wait_for_is_refused_by_its_name(workspace, name):
    place = workspace.directory / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    (place.parent / "new.txt").write_text("new")
    os.mkfifo(place)
    for commit in (workspace.snapshot, lambda: workspace.commit_all("x", AGENT, {})):
        with pytest.raises(NotAFile, match=rf"{name} is a pipe"):
            commit()
    place.unlink()
    assert workspace.commit_all("x", AGENT, {}) is not None


def test_a_socket_of_such_a_name_does_not_stop_a_commit_or_is_refused(workspace, monkeypatch):
    monkeypatch.chdir(workspace.directory)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(".gitattributes")
        (workspace.directory / "new.txt").write_text("new")
        assert workspace.commit_all("x", AGENT, {}) is not None
