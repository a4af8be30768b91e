"""The inspector in a real browser: a synthetic swarm of a million events, live events, and swarms in real trouble.

    python benchmarks/inspector.py [--quick] [--json]

Needs chromium, and playwright from the extra `dev`.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from claims import Claim, Measured, at_most, main, median
from inspecting import planting, troubles
from inspecting.seeding import bare, make

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FULL = {"agents": 200, "tasks": 10_000, "events": 1_000_000}
LANES = {"agents": 200, "tasks": 100_000, "events": 300_000}
QUICK = {"agents": 50, "tasks": 2_000, "events": 50_000}
_WRITER = "writer"
FRAMES = """count => new Promise(done => {
  const took = [];
  let last = null;
  const frame = now => {  // when the frame began; a frame that is left out shows as one of double length
    if (last !== null) took.push(now - last);
    last = now;
    window.prong.timeline?.pan(took.length % 2 ? .02 : -.02);
    if (took.length < count) requestAnimationFrame(frame); else done(took);
  };
  requestAnimationFrame(frame);
})"""
JUMPS = """async count => {
  const took = [], headers = {'x-prong': '1'};
  for (let i = 0; i < count; i++) {
    const from = 1 + Math.floor(Math.random() * (window.prong.store.seq - 300)), began = performance.now();
    await (await fetch(`/api/v1/swarms/newest/events?from=${from}&limit=200`, {headers})).json();
    took.push(performance.now() - began);
  }
  return took;
}"""


def measure(quick: bool) -> Measured:  # noqa: FBT001  what a benchmark is told
    """All claims; without chromium none of them is known."""
    if CHROMIUM is None:
        return [Claim("the inspector in chromium: apt-get install chromium", None, "", "", None)], []
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  it may be missing

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        swarm = make(Path(place) / "repository", **(QUICK if quick else FULL))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        try:
            return _measure(
                browser, swarm, 3 if quick else 6, (1_000,) if quick else (1_000, 5_000), _names(quick=quick)
            )
        finally:
            browser.close()


def _names(*, quick: bool) -> tuple[str, ...]:
    """The troubles that are run into; all of them take some minutes."""
    return ("budget",) if quick else tuple(one.name for one in troubles.TROUBLES)


def _measure(browser: Any, swarm: Any, loads: int, rates: tuple[int, ...], names: tuple[str, ...]) -> Measured:
    from prong.harness.inspector.library import Library  # noqa: PLC0415  beside its use
    from prong.harness.inspector.serving import serving  # noqa: PLC0415  as above

    rows: list[dict[str, Any]] = []
    with serving(Library(lambda: [swarm])) as (address, _):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(address.link)
        _until(page, "Boolean(window.prong?.store.phases)")
        rows += [{"what": "load", **_load(page, f"{address.url}/#/swarm/newest/now")} for _ in range(loads)]
        page.goto(f"{address.url}/#/swarm/newest/timeline")
        _until(page, "Boolean(window.prong?.timeline)")
        rows.append({"what": "pan", "frame_ms": _percentile(page.evaluate(FRAMES, 300), 0.95)})
        jumps = page.evaluate(JUMPS, 60)
        rows.append({"what": "jump", "p95_ms": _percentile(jumps, 0.95)})
        for rate in rates:
            rows.append({"what": "live", "rate": rate, **_live(page, swarm, rate)})
        context.close()
    rows.append({"what": "all lanes", "tasks": LANES["tasks"], "frame_ms": _lanes(browser)})
    rows.append({"what": "problems", "shown_ms": _problems(browser)})
    rows += list(_troubles(browser, names))
    return _claims(rows, rates), rows


def _troubles(browser: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Swarms that really run into trouble: how long after it happened the page says so, and the remedy has worked."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "repository"
        troubles.make_repository(root)
        for trouble in troubles.TROUBLES:
            for told in troubles.run_into(trouble, root, browser) if trouble.name in names else ():
                row = {"what": "trouble", "trouble": told.name, "title": told.title}
                row |= {"shown_ms": None if told.shown_s is None else told.shown_s * 1_000}
                yield row | {"worked_ms": None if told.worked_s is None else told.worked_s * 1_000}


def _lanes(browser: Any) -> float:
    """How long a frame takes, p95, while all lanes of a swarm of many tasks are panned."""
    from prong.harness.inspector.library import Library  # noqa: PLC0415  beside its use
    from prong.harness.inspector.serving import serving  # noqa: PLC0415  as above

    with tempfile.TemporaryDirectory() as place:
        swarm = make(Path(place) / "repository", **LANES)
        with serving(Library(lambda: [swarm])) as (address, _):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(address.link)
            _until(page, "Boolean(window.prong?.store.phases)")
            page.goto(f"{address.url}/#/swarm/newest/timeline")
            _until(page, "Boolean(window.prong?.timeline)")
            page.keyboard.press("a")
            took = _percentile(page.evaluate(FRAMES, 300), 0.95)
            context.close()
    return took


def _problems(browser: Any) -> list[float]:
    """How long after each planted problem was written the first page of a small swarm shows it."""
    from prong.harness.inspector.library import Library  # noqa: PLC0415  beside its use
    from prong.harness.inspector.serving import serving  # noqa: PLC0415  as above

    took = []
    with tempfile.TemporaryDirectory() as place:
        swarm = bare(Path(place) / "repository", slots=4)
        with serving(Library(lambda: [swarm])) as (address, _):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(address.link)
            _until(page, "Boolean(window.prong?.store.phases)")
            for plant in planting.ALL:
                planted, happened = plant(swarm.store()), time.monotonic()
                _until(page, f"document.body.innerText.includes({json.dumps(planted.title)})")
                took.append((time.monotonic() - happened) * 1_000)
            context.close()
    return took


def _claims(rows: list[dict[str, Any]], rates: tuple[int, ...]) -> list[Claim]:
    loads = [row for row in rows if row["what"] == "load"]
    found = [
        at_most("first contentful paint", median([row["paint_ms"] for row in loads]), 400, "ms"),
        at_most("interactive", median([row["interactive_ms"] for row in loads]), 800, "ms"),
        at_most("all phases", median([row["phases_ms"] for row in loads]), 1_500, "ms"),
        at_most("frame while panning, p95", next(row["frame_ms"] for row in rows if row["what"] == "pan"), 17, "ms"),
        at_most("a planted problem on the first page", max(_of(rows, "problems")["shown_ms"]), 2_000, "ms"),
        at_most(
            f"frame over all lanes of {LANES['tasks']:,} tasks, p95",
            next(row["frame_ms"] for row in rows if row["what"] == "all lanes"),
            17,
            "ms",
        ),
        at_most("a page of the log, p95", next(row["p95_ms"] for row in rows if row["what"] == "jump"), 150, "ms"),
    ]
    for name in dict.fromkeys(row["trouble"] for row in rows if row["what"] == "trouble"):
        shown = [row["shown_ms"] for row in rows if row.get("trouble") == name and row["shown_ms"] is not None]
        found.append(at_most(f"{name} that really happens, on the first page", max(shown), 2_000, "ms"))
    for rate, bound in zip(rates, (17, 34), strict=False):
        live = next(row for row in rows if row["what"] == "live" and row["rate"] == rate)
        found += [
            at_most(f"frame at {rate:,} events/s, p95", live["frame_ms"], bound, "ms"),
            at_most(f"commit to page at {rate:,} events/s, p50", live["lag_p50_ms"], 100, "ms"),
            at_most(f"commit to page at {rate:,} events/s, p95", live["lag_p95_ms"], 200, "ms"),
            at_most(f"events lost at {rate:,} events/s", live["lost"], 0, ""),
        ]
        if rate == 1_000:  # what it may use is not said of more
            found.append(at_most(f"server at {rate:,} events/s", live["server_share"], 0.05, "of a core"))
    return found


def _of(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    return next(row for row in rows if row["what"] == what)


def _load(page: Any, url: str) -> dict[str, float]:
    page.goto("about:blank")
    page.goto(url)
    _until(page, "Boolean(window.prong?.store.phases)")
    told = page.evaluate(
        "[performance.getEntriesByName('first-contentful-paint')[0]?.startTime,"
        " performance.getEntriesByName('shown')[0]?.startTime, performance.getEntriesByName('phases')[0]?.startTime]"
    )
    return dict(zip(("paint_ms", "interactive_ms", "phases_ms"), told, strict=True))


def _live(page: Any, swarm: Any, rate: int, seconds: float = 8) -> dict[str, float]:
    """Write so many events a second from another thread, and look at frames and at how old what arrives is."""
    page.evaluate("window.prong.lags = []; window.prong.taken = 0")
    before = page.evaluate("window.prong.store.seq")
    cpu = _cpu_of_server()
    with _writing(swarm, rate, seconds) as written:
        frames = page.evaluate(FRAMES, int(seconds * 50))
    _until(page, f"window.prong.store.seq === {written['last']}")
    share = (_cpu_of_server() - cpu) / seconds
    lags = page.evaluate("window.prong.lags")
    return {
        "frame_ms": _percentile(frames, 0.95),
        "lag_p50_ms": _percentile(lags, 0.5),
        "lag_p95_ms": _percentile(lags, 0.95),
        "lost": written["last"] - before - page.evaluate("window.prong.taken"),
        "server_share": share,
    }


def _cpu_of_server() -> float:
    """What the server's threads have used, in seconds: all but this one, which drives the browser, and the writer."""
    others = {one.native_id for one in threading.enumerate() if one.name in ("MainThread", _WRITER)}
    return sum(one.user_time + one.system_time for one in psutil.Process().threads() if one.id not in others)


@contextmanager
def _writing(swarm: Any, rate: int, seconds: float) -> Iterator[dict[str, int]]:
    written = {"last": 0}

    def write() -> None:
        connection = sqlite3.connect(swarm.store().path, isolation_level=None, timeout=30)
        chance, began = random.Random(2), time.monotonic()
        while (gone := time.monotonic() - began) < seconds:
            connection.execute("begin immediate")
            for _ in range(max(1, rate // 50)):
                task = chance.randint(2, 1_000)
                told = json.dumps({"fence": 1, "written_at": time.time()})
                connection.execute(
                    "insert into event (at, agent, task, kind, object, data) values (?, ?, ?, 'lock.acquired', 'a', ?)",
                    (time.time(), chance.randint(1, 50), task, told),
                )
            connection.execute("commit")
            time.sleep(max(0.0, 0.02 - (time.monotonic() - began - gone)))
        written["last"] = connection.execute("select max(seq) from event").fetchone()[0]
        connection.close()

    thread = threading.Thread(target=write, name=_WRITER)
    thread.start()
    try:
        yield written
    finally:
        thread.join()


def _until(page: Any, expression: str, patience_s: float = 120) -> None:
    deadline = time.monotonic() + patience_s
    while not page.evaluate(expression):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page never came to: {expression}")
        time.sleep(0.01)


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    main("inspector", measure)
