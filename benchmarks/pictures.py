"""Takes pictures of all pages of the inspector, in both themes, of a survey that runs while they are taken.

    python benchmarks/pictures.py FOLDER

Needs chromium, and playwright from the extra `dev`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAGES = ("now", "timeline", "tasks/2", "agents/task/3", "locks", "state/map/survey", "cost", "events", "merge", "past")
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
        chromium = "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with serving(Library(lambda: all_swarms(repository))) as (address, _):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(address.link)
            time.sleep(12)
            take(page, address.url, folder, "live")
            survey.wait()
            take(page, address.url, folder, "ended")
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
            page.screenshot(path=folder / f"{name.split('/')[0]}-{when}-{theme}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
