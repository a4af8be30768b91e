"""Running the real command in real processes, and looking for what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from .repositories import SURROUNDINGS
from .warm import READ_ONCE, Warm

SCRIPTS = Path(__file__).with_name("scripts.py")
PATIENCE_S = 60


def environment(**more):
    names = {name: value for name, value in SURROUNDINGS.items() if not name.startswith(("ANTHROPIC_", "PRONG_"))}
    return names | more


WARM = Warm(environment())


def prong(*arguments, cwd, code=0, **more):
    """Run `prong` to its end; returns what it printed."""
    words = [str(argument) for argument in arguments]
    if any(name.startswith(READ_ONCE) for name in more):
        done = subprocess.run(
            [sys.executable, "-m", "prong.harness", *words],
            cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    else:
        done = WARM.run(words, cwd=cwd, env=environment(**more), timeout=PATIENCE_S * 2)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}\n{logs(cwd)}"
    return done


def run(goal, *arguments, cwd, code=0, **more):
    """`prong run --offline --json` on the test scripts; returns the object it printed."""
    done = prong("run", "--offline", "--script", SCRIPTS, "--json", *arguments, goal, cwd=cwd, code=code, **more)
    return json.loads(done.stdout)


def start(*arguments, cwd, **more):
    """Start `prong` and return its process."""
    return subprocess.Popen(
        [sys.executable, "-m", "prong.harness", *map(str, arguments)],
        cwd=cwd, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def logs(root):
    return "\n".join(f"== {path}\n{path.read_text()}" for path in Path(root).glob(".prong/*/log/*"))


def eventually(condition, what, patience_s=PATIENCE_S):
    """Wait until a condition on the outside world holds; fail with words where it never does."""
    deadline = time.monotonic() + patience_s
    pause = 0.005
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {patience_s} s in vain for: {what}"
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)
    return found


def processes_of(root):
    """Every living process whose command line, environment or working directory names the repository."""
    found = []
    for process in psutil.process_iter():
        try:
            text = " ".join(process.cmdline()) + json.dumps(process.environ()) + process.cwd()
            if str(root) in text and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def runs(root, word):
    """Whether a process of the repository has this word among its arguments."""
    for process in processes_of(root):
        try:
            if word in process.cmdline():
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def kill(pid):
    os.kill(pid, signal.SIGKILL)
