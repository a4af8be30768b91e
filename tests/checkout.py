"""The checkout that these tests stand in: which files belong to it, and copies of it to do things to.

A temporary git directory laid over the tree answers both, so that it makes no difference whether the tree is a clone,
an unpacked source distribution, or somebody else's by its owner.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "harness", "primitives", "state")
# Neither the machine's configuration nor a hook's or a caller's variables.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRONG_", "ANTHROPIC_"))
} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def run(*command, cwd, env=ENVIRONMENT, timeout=120, **more):
    """What the command prints, both streams together; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **more,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def commit(tree):
    """Everything in the tree."""
    run("git", "add", "--all", cwd=tree)
    run("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "All", cwd=tree)


def copy(to):
    """A repository of its own with one commit: the checkout as it is now, without what git ignores."""
    run("git", "init", "-q", "--template=", "-b", "main", to, cwd=ROOT)
    run("git", f"--git-dir={to}/.git", f"--work-tree={ROOT}", "add", "--all", cwd=ROOT)
    run("git", "checkout-index", "--all", cwd=to)
    commit(to)
    return to


def files(tree):
    """The names of the files of a copy, links included."""
    return run("git", "ls-files", "-z", cwd=tree).split("\0")[:-1]
