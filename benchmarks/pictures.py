"""Takes pictures of all pages in both themes while a survey runs and when it has ended, of its report and of commands.

    python benchmarks/pictures.py FOLDER

Needs chromium, and playwright from the extra `dev`.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAGES = (
    "now", "timeline", "tasks/2", "tasks?view=map", "agents/task/3", "agents/task/3?view=fork", "locks",
    "state/map/survey", "cost", "events", "merge", "past?seq=60&since=20",
)  # fmt: skip
TERMINAL = (("watch", "--once"), ("status",), ("tasks",), ("locks",), ("show", "2"), ("cost",), ("why", "2"))
"""What is printed for people, each a picture of what stands on a terminal of 100 columns."""
BUSY_CALLS = 20
"""After so many calls of the model there is something to see."""

ROOT = Path(__file__).resolve().parents[1]


def main(folder: Path) -> None:
    """Run a survey of this repository in a clone and look at every page of it."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  it may be missing

    from prong.harness.inspector.library import Library  # noqa: PLC0415  beside its use
    from prong.harness.inspector.serving import serving  # noqa: PLC0415  as above
    from prong.harness.repository.repository import Repository  # noqa: PLC0415  as above
    from prong.harness.swarms import all_swarms  # noqa: PLC0415  as above

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        subprocess.run(["git", "clone", "-q", str(ROOT), f"{place}/prong"], check=True)
        command = [sys.executable, "-m", "prong.harness", "run", "--offline", "--latency", "1.5", "Survey it"]
        survey = subprocess.Popen(command, cwd=f"{place}/prong", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        repository = Repository.open(Path(place) / "prong")
        while not all_swarms(repository):
            time.sleep(0.2)
        store = all_swarms(repository)[-1].store()
        chromium = "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with serving(Library(lambda: all_swarms(repository))) as (address, _):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(address.link)
            while (store.row("select count(*) as calls from model_call") or {"calls": 0})["calls"] < BUSY_CALLS:
                time.sleep(0.2)
            take(page, address.url, folder, "live")
            survey.wait()
            take(page, address.url, folder, "ended")
            take_printed(page, Path(place), folder)
            context.close()
        browser.close()


def take(page: Any, url: str, folder: Path, when: str) -> None:
    """A picture of each page in each theme."""
    for theme in ("light", "dark"):
        for name in PAGES:
            page.goto(f"{url}/#/swarm/newest/{name}")
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.evaluate("dispatchEvent(new Event('themechange'))")
            time.sleep(0.8)
            named = re.sub(r"\W+", "-", name)
            page.screenshot(path=folder / f"{named}-{when}-{theme}.png")


def take_printed(page: Any, place: Path, folder: Path) -> None:
    """The report as a page, and what commands print as text on a dark ground."""
    prong, root = [sys.executable, "-m", "prong.harness"], place / "prong"
    subprocess.run([*prong, "report", "--html", "-o", place / "report.html"], cwd=root, check=True)
    page.goto(f"file://{place}/report.html")
    page.screenshot(path=folder / "report.png", full_page=True)
    for words in TERMINAL:
        printed = subprocess.run([*prong, *words], cwd=root, capture_output=True, text=True, check=True)
        text = "\n".join(["$ prong " + " ".join(words), *printed.stdout.splitlines()])
        looks = "background:#16171a;color:#e7e8ea;font:13px monospace;padding:16px;width:110ch;white-space:pre-wrap"
        page.set_content(f"<pre style='{looks}'>{html.escape(text)}</pre>")
        page.locator("pre").screenshot(path=folder / f"terminal-{words[0]}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
