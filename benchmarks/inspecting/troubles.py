"""Swarms that really run into trouble, offline, and what a person sees of it on the first page and does about it.

    prong run ----> trouble ----> the page tells of it ----> a button is pressed ----> what it promises is so
      scripts: troubles_scripts.py     how long after it happened?

Each is run by the real command, looked at through a real `prong ui`, and helped by pressing what stands on the page.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prong.agents.emulator.process import EmulatorProcess
from prong.harness.inspector.problems import LONG_WAIT_S, OVERTAKEN
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find, names
from prong.state import ProngError, Store

SCRIPTS = Path(__file__).with_name("troubles_scripts.py")
PATIENCE_S = 180.0
"""How long anything may take to come, in seconds; a machine may be busy."""
MODEL = "claude-opus-5-5"
"""A model whose prices are known, so that a lost cache has a cost."""

FILES = {"plain.txt": "one\n", "long.txt": "".join(f"line {number} of a long file\n" for number in range(2_000))}
"""What the scripts read and write."""

WATCH = """() => {
  window.__shown = {};
  const look = () => {
    for (const one of document.querySelectorAll('li.problem b')) window.__shown[one.textContent] ??= Date.now() / 1000;
  };
  look();
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""
"""Notes when each problem stands on the page first, in seconds of the wall clock, which is this machine's."""

_SHIFT = "(select event.at - swarm.started_at from swarm, event order by seq limit 1)"
_STARVED = f"""
select max(old.ready_at + {LONG_WAIT_S}, (select started_at from task young where young.ready_at > old.ready_at
             and young.started_at > old.ready_at order by started_at limit 1 offset {OVERTAKEN - 1})) + {_SHIFT} as at
  from task old where old.title = 'the old one'
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """One thing that goes wrong: how its title begins, a pattern; a query of when it happened; the remedy's label, and
    a query that is 1 when that has worked.

    With `over` the run has come to its end before the remedy is pressed, and with `mended` somebody has mended the
    cause; without a remedy it is only looked at.
    """

    title: str
    happened: str | None
    remedy: str | None = None
    worked: str = "select 1"
    over: bool = False
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A swarm that runs into something: its goal, what `prong run` gets besides, what is seen in turn, and its end."""

    name: str
    goal: str
    sights: tuple[Sight, ...]
    options: tuple[str, ...] = ()
    loses_cache: bool = False
    deadly: bool = False
    ends: str = "done"


@dataclass(slots=True)
class Told:
    """How long after it happened a problem stood on the page, and after how long its remedy had worked, in seconds."""

    name: str
    title: str
    shown_s: float | None
    worked_s: float | None = None


def _event(kind: str, condition: str = "1") -> str:
    return f"select min(at) as at from event where kind = '{kind}' and {condition}"


_RUN = Sight("Nobody runs this swarm", None, "Run it", "select state = 'done' from swarm")
_SAID = "select count(*) > 0 from said where heard_at is not null"

TROUBLES: tuple[Trouble, ...] = (
    Trouble(
        "deadlock", "Run into a deadlock",
        (Sight("A circle of 2 waits was broken", _event("deadlock.found"), "Tell task", _SAID),),
    ),
    Trouble(
        "starvation", "Run into starvation",
        (Sight("Task 2 is overtaken again and again", _STARVED, "Let it go first",
               "select state = 'done' from task where id = 2"),),
        options=("--agents", "1"),
    ),
    Trouble(
        "crash loop", "Run into a crash loop",
        (
            Sight("Task 2 has lost", _event("task.returned")),
            Sight("Task 2 failed", _event("task.failed", "object = '2'"), "Try again",
                  "select state <> 'failed' from task where id = 2", over=True, mended=True),
            _RUN,
        ),
        deadly=True,
    ),
    Trouble(
        "budget", "Run into a budget",
        (
            Sight("1 task stands still because a budget", _event("task.held"), "Raise it to",
                  "select held is null from task where id = 1", over=True),
            _RUN,
        ),
        options=("--tokens", "24000"),
    ),
    Trouble(
        "conflict", "Run into a conflict",
        (
            Sight("The work of task [23] did not fit", _event("merge.returned")),
            Sight("The work of task [23] does not fit; task 4", _event("merge.resolving")),
            Sight("The work of task [23] is not merged", _event("merge.kept"), "Try again",
                  "select count(*) = 0 from task where state = 'failed' and title like 'write %'", over=True),
            replace(_RUN, worked="select count(*) = 2 from task where state = 'done' and title like 'write %'"),
        ),
        ends="failed",  # whoever was to make it fit has
    ),
    Trouble(
        "lost cache", "Run into a lost cache",
        (
            Sight("1 fork did not read", _event("cache.lost"), "Let all",
                  "select count(*) = 0 from task where held = 'cache'", over=True),
            _RUN,
        ),
        options=("--agents", "1", "--model", MODEL), loses_cache=True,
    ),
)  # fmt: skip


def make_repository(root: Path) -> None:
    """What the swarms work on, in a repository at `root`."""
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    for command in (["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)


def run_into(trouble: Trouble, root: Path, browser: Any, *, environment: Mapping[str, str] | None = None) -> list[Told]:
    """Let a swarm run into it in the repository at `root`, look at the page, and press what helps; in order of sight.

    Raises `TimeoutError` where something never comes, with what the page says then.
    """
    return _Scene(trouble, root, browser, dict(environment or os.environ)).played()


@dataclass(slots=True)
class _Scene:
    trouble: Trouble
    root: Path
    browser: Any
    environment: dict[str, str]
    swarm: Swarm = field(init=False)
    store: Store = field(init=False)
    page: Any = field(init=False)

    def played(self) -> list[Told]:
        known = set(names(Repository.open(self.root)))
        with ExitStack() as undo:
            emulator = undo.enter_context(self._emulator()) if self.trouble.loses_cache else None
            running = undo.enter_context(self._running(emulator))
            self._await(lambda: set(names(Repository.open(self.root))) - known, "the swarm")
            self.swarm = self._await(lambda: self._newest(known), "its row")
            self.store = self.swarm.store()
            self.page = undo.enter_context(self._page())
            self._share("watched")
            if emulator is not None:
                self._lose_cache(emulator)
            if self.trouble.deadly:
                undo.enter_context(self._killing())
            told = [self._see(sight, running) for sight in self.trouble.sights]
            self._await(lambda: self._value("select state from swarm") == self.trouble.ends, "its end")
            self._await(lambda: running.poll() is not None, "the end of its process")
            return told

    def _newest(self, known: set[str]) -> Swarm | None:
        try:
            found = find(Repository.open(self.root), None)
        except ProngError:  # it is being made
            return None
        return found if found.id not in known and (found.directory / "shared").exists() else None

    @contextmanager
    def _emulator(self) -> Iterator[EmulatorProcess]:
        self.environment["ANTHROPIC_API_KEY"] = "sk-ant-test"
        with EmulatorProcess(script_files=[SCRIPTS]) as emulator:
            yield emulator

    @contextmanager
    def _running(self, emulator: EmulatorProcess | None) -> Iterator[subprocess.Popen[str]]:
        where = ["--offline", "--script", str(SCRIPTS)] if emulator is None else ["--base-url", emulator.url]
        with self._prong("run", "--json", *where, *self.trouble.options, self.trouble.goal) as process:
            yield process

    @contextmanager
    def _prong(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "prong.harness", *arguments], cwd=self.root, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()

    @contextmanager
    def _page(self) -> Iterator[Any]:
        with self._prong("ui", "--no-open", "--json", self.swarm.id) as served:
            assert served.stdout is not None
            link = json.loads(served.stdout.readline())["link"]
            context = self.browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(link)
            self._await(lambda: page.evaluate("Boolean(window.prong?.store.phases)"), "the page")
            page.evaluate(WATCH)
            yield page
            context.close()

    def _share(self, name: str) -> None:
        (self.swarm.directory / "shared" / name).touch()

    def _lose_cache(self, emulator: EmulatorProcess) -> None:
        """The endpoint forgets everything when the parent has asked for the last time before its forks begin."""
        self._await((self.swarm.directory / "shared" / "asked").exists, "the parent's last request")
        os.kill(emulator.pid, signal.SIGKILL)
        self._await(emulator.revive, "an endpoint that remembers nothing")
        self._share("go")

    @contextmanager
    def _killing(self) -> Iterator[None]:
        """Kill each agent of task 2 as soon as it is there, until the cause is mended."""
        over = threading.Event()
        mended = self.swarm.directory / "shared" / "mended"

        def kill() -> None:
            store = self.swarm.store()
            while not over.wait(0.005) and not mended.exists():
                for row in store.rows("select pid from agent where task = 2 and ended_at is null and pid is not null"):
                    with suppress(ProcessLookupError):
                        os.kill(row["pid"], signal.SIGKILL)

        thread = threading.Thread(target=kill, name="killer")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _see(self, sight: Sight, running: subprocess.Popen[str]) -> Told:
        shown_at = self._await(lambda: self._shown(sight.title), sight.title)
        happened = self._value(sight.happened) if sight.happened else None
        told = Told(self.trouble.name, sight.title, None if happened is None else max(0.0, shown_at - happened))
        if sight.over:
            self._await(lambda: running.poll() is not None, "the end of the run")
        if sight.mended:
            self._share("mended")
        if sight.remedy is not None:
            told.worked_s = self._help(sight.title, sight.remedy, sight.worked)
        return told

    def _shown(self, title: str) -> float | None:
        shown = self.page.evaluate("window.__shown")
        return next((at for text, at in shown.items() if re.match(title, text)), None)

    def _help(self, title: str, remedy: str, worked: str) -> float:
        """Press the button; how long it is until that has worked, in seconds."""
        problem = self.page.locator("li.problem").filter(has_text=re.compile(title)).first
        problem.get_by_role("button", name=remedy).first.click(timeout=PATIENCE_S * 1_000)
        pressed = time.monotonic()
        self._await(lambda: self._value(worked), f"{remedy}: {worked}")
        return time.monotonic() - pressed

    def _value(self, sql: str) -> Any:
        row = self.store.row(sql)
        return None if row is None else row[0]

    def _await(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            if time.monotonic() > deadline:
                seen = self.page.evaluate("document.body.innerText") if hasattr(self, "page") else ""
                raise TimeoutError(f"{self.trouble.name}: never came: {what}\n{seen}")
            time.sleep(0.02)
        return found
