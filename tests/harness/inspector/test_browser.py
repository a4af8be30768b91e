"""The page in a real browser, under its own rules: each page renders, updates, steers, and obeys nobody's text."""

import shutil
from urllib.parse import quote

import pytest
from benchmarks.inspecting import planting
from benchmarks.inspecting.seeding import fill
from tests.stepped import until

from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import serving
from prong.primitives import Plan, create_task, join
from prong.primitives import task as tasks
from prong.state.member import enlist

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = ("now", "timeline", "tasks", "agents", "locks", "state", "cost", "events", "merge", "past")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
HOSTILE = [
    "<img src=x onerror=window.__pwned=1>", "<script>window.__pwned=1</script>", "javascript:window.__pwned=1",
    "\"'><svg onload=window.__pwned=1>", "evil\u202egnp.exe", "zero\u200bwidth", "{{7*7}}", "line\u2028break",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install it: apt-get install chromium"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=120_000)
        yield browser
        browser.close()


class Seen:
    """One tab: what it shows, and what it complained of."""

    def __init__(self, page, address):
        self.page = page
        self.address = address
        self.complaints = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda told: self.complaints.append(told.text) if told.type == "error" else None)

    def go(self, where, swarm="newest"):
        self.page.goto(f"{self.address.url}/#/swarm/{swarm}/{where}")

    def text(self):
        return self.page.evaluate("document.body.innerText")

    def shows(self, *texts):
        """Wait until all of it is seen; the page allows no eval, so this asks again and again."""
        until(lambda: all(text in self.text() for text in texts), f"{texts} in {self.text()[:400]!r}")

    def counts(self, selector):
        return self.page.evaluate("selector => document.querySelectorAll(selector).length", selector)


@pytest.fixture
def tab(chromium, swarm):
    with serving(Library(lambda: [swarm])) as (address, _):
        context = chromium.new_context(viewport={"width": 1300, "height": 800})
        seen = Seen(context.new_page(), address)
        seen.page.goto(address.link)
        yield seen
        context.close()
    assert seen.complaints == []


def work(store, count, title="task {}"):
    """So many tasks, some of them claimed and ended, as agents leave them."""
    with store.transaction(None) as tx:
        for n in range(count):
            one, _ = create_task(tx, Plan(title=title.format(n), prompt="do it"))
            if n % 3 == 0:
                agent = enlist(tx, f"task {one.id}", pid=None, task=one.id, state="running", lease_s=600)
                fence = tasks.claim(tx, one.id, agent)
                tasks.finish(tx, one.id, "done" if n % 2 else "failed", result="r", error="it broke", failure="tool")
                assert fence


def test_every_page_renders_with_hardly_anything_and_with_many_tasks(tab, swarm):
    for page in PAGES:
        tab.go(page)
        tab.shows(swarm.id)
        until(lambda: tab.counts("main *") > 1, page)
    work(swarm.store(), 40)
    for page in PAGES:
        tab.go(page)
        tab.shows("0 running")
        assert tab.counts("h1") == 1
    tab.go("tasks", swarm.id)
    tab.shows("41 tasks")


def test_what_happens_is_seen_without_a_reload_and_counted_once(tab, swarm):
    tab.go("tasks")
    tab.shows("of 1 done")
    work(swarm.store(), 9)
    tab.shows("10 tasks", "task 8")
    seq = swarm.store().row("select max(seq) as seq from event")["seq"]
    until(lambda: tab.page.evaluate("window.prong.store.seq") == seq, "the last event")
    states = tab.page.evaluate("window.prong.store.tasks.state")
    assert states == [row["state"] for row in swarm.store().rows("select state from task order by id")]


def test_a_problem_is_on_the_first_page_with_a_remedy_that_works(tab, swarm):
    store = swarm.store()
    work(store, 1, title="build the bridge")
    tab.go("now")
    tab.shows("failed: build the bridge", "it broke")
    tab.page.get_by_role("button", name="Try again").first.click()
    until(lambda: tasks.find(store, 2).state == "ready", "the task opened again")
    tab.shows("Nothing is wrong")


def test_what_goes_wrong_is_on_the_first_page_with_its_evidence_and_a_remedy_that_works(tab, swarm):
    store = swarm.store()
    tab.go("now", swarm.id)
    tab.shows("Nothing is wrong")
    for plant in planting.ALL:
        planted = plant(store)
        tab.shows(planted.title)
        one = tab.page.locator("li.problem").filter(has_text=planted.title)
        assert planted.page in one.get_by_role("link", name="See it").get_attribute("href")
        one.get_by_role("button", name=planted.remedy, exact=True).click()
        until(lambda planted=planted: planting.has_worked(store, planted), f"{planted.remedy}: {planted.worked}")
    for page in PAGES:  # each now with one of what it shows
        tab.go(page, swarm.id)
        until(lambda: tab.counts("main *") > 1 and "Reading …" not in tab.text(), page)


@pytest.mark.long
def test_an_address_shows_the_same_to_somebody_else_and_back_leads_back(tab, swarm):
    store = swarm.store()
    work(store, 3)
    with join(swarm.directory, "ada") as shared:
        shared.SharedMap("m")["k"] = "the value"
        shared.Lock("l").acquire()
        began = store.row("select min(at) as at from event")["at"]
        places = {
            "tasks/2?view=graph": "what task 2 needs",
            "tasks/3?view=map": "As a table",
            "tasks?state=failed&text=task": "of 4 tasks",
            "agents/task/2?view=fork": "was not forked",
            "state/map/m?key=k": "Writes (1",
            "events?kind=map.put": "1 found",
            "past?seq=3&since=1": "What changed since event 1",
            "cost?by=model": "No model was asked yet",
            "locks?last=60": "the last minute",
            f"timeline?t0={began - 5:.3f}&t1={began + 60:.3f}&fold=1": "All time",
        }
        for place, text in places.items():
            tab.go(place, swarm.id)
            tab.shows(text)
            tab.page.reload()
            tab.shows(text)
        tab.go("tasks/2", swarm.id)
        tab.shows("2 task 0")
        tab.go("tasks/3", swarm.id)
        tab.shows("3 task 1")
        tab.page.go_back()
        tab.shows("2 task 0")


FOLDED = """async () => {
  const {Warp, idle} = await import('/static/warp.js'), {Lane} = await import('/static/lanes.js');
  const lane = new Lane();
  for (const began of [0, 10, 1000, 1010]) lane.push(began, began + 10, 1, 0, 1, 0);
  const warp = idle(new Map([[1, lane]]), 0, 1020), found = [];
  for (let t = -5; t < 1030; t += .5) found.push(Math.abs(warp.unfold(warp.fold(t)) - t));
  return [warp.gaps, Math.max(...found), warp.fold(1020) - warp.fold(0) < 60, new Warp([], 0).fold(7)];
}"""


def test_a_night_between_two_runs_is_folded_and_every_time_is_found_again(tab):
    gaps, error, short, plain = tab.page.evaluate(FOLDED)
    assert gaps == [[20, 1000]]
    assert error < 1e-6
    assert (short, plain) == (True, 7)


def many(swarm, count):
    """So many of everything that a page lists."""
    store = swarm.store()
    fill(swarm, agents=200, tasks=count, events=2 * count)
    with store.transaction(None) as tx:
        numbers = {"count": count, "now": tx.now}
        series = "with recursive n (n) as (select 2 union all select n + 1 from n where n < :count)"
        tx.execute(
            f"insert into lock (name, holder, fence, lease_s, acquired_at, expires_at) {series}"
            " select 'lock ' || n, n % 200 + 1, 1, 60, :now, :now + 60 from n", **numbers,
        )  # fmt: skip
        tx.execute(
            f"insert into waiter (agent, task, kind, object, wants, state, since_at) {series}"
            """ select n % 200 + 1, n, 'lock', 'lock ' || (n - 1), '{"shared": false}', 'waiting', :now from n""",
            **numbers,
        )  # fmt: skip
        tx.execute(
            f"insert into merge (task, base, commit_id, state, queued_at, ended_at) {series}"
            " select n, 'a', 'b', 'merged', :now, :now from n", **numbers,
        )  # fmt: skip
        tx.execute(
            "insert into model_call (task, agent, model, stop_reason, input_tokens, cache_read_tokens,"
            f" cache_write_tokens, output_tokens, prefix_hash, started_at, first_byte_at, ended_at) {series}"
            " select n, n % 200 + 1, 'm', 'end_turn', 1, 2, 3, 4, 'h', :now - 1, :now - 1, :now from n", **numbers,
        )  # fmt: skip
    with join(swarm.directory, "ada") as shared:
        shared.SharedMap("large").update({f"key {n}": n for n in range(count)})


@pytest.mark.long
def test_every_page_bears_ten_thousand_of_everything_and_makes_few_elements(tab, swarm):
    many(swarm, 10_000)
    tab.page.reload()  # they were not made by events
    shown = {
        "now": "running", "timeline": "201 agents", "tasks": "10,000 tasks", "tasks?view=map": "As a table",
        "tasks/9000": "9000", "agents": "agent 1", "agents/task/9000": "Conversation", "locks": "Held (9,999)",
        "state": "large", "state/map/large": "500 of 10,000 keys", "cost": "200 of", "events": "events",
        "events?kind=task.claimed": "found", "merge": "1,000 of 9,999", "past": "After event",
    }  # fmt: skip
    for where, text in shown.items():
        tab.go(where, swarm.id)
        tab.shows(text)
        assert tab.counts("main *") < 20_000, where


def test_a_task_is_cancelled_by_keys_alone_and_says_first_what_it_hits(tab, swarm):
    store = swarm.store()
    with store.transaction(None) as tx:
        create_task(tx, Plan(title="a part", prompt="p"))
    tab.go("tasks/2")
    tab.shows("2 a part", "Cancel…")
    tab.page.get_by_role("button", name="Cancel…").focus()
    tab.page.keyboard.press("Enter")
    tab.shows("This cancels task 2", "ends 0 agents")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    until(lambda: tasks.find(store, 2).state == "cancelled", "the task cancelled")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("task 1\n")
    until(lambda: tab.page.url.endswith("/tasks/1"), "the jump")


def test_no_text_of_an_agent_is_obeyed_anywhere(tab, swarm):
    store = swarm.store()
    tab.go("tasks")
    tab.shows("of 1 done")  # so that the hostile ones come by the stream, and are not in the first snapshot
    with store.transaction(None) as tx:
        for text in HOSTILE:
            create_task(tx, Plan(title=text, prompt=text, role=text[:40]))
    with join(swarm.directory, HOSTILE[0]) as shared:
        for text in HOSTILE:
            shared.SharedMap(text)[text] = {text: text}
            shared.MessageQueue(text).put(text)
            shared.Lock(text).acquire()
        for page in (*PAGES, "tasks/2", "tasks/3?view=graph", "agents/task/2", "events?kind=map.*", "state"):
            tab.go(page)
            tab.shows(swarm.id)
        tab.go("tasks")
        tab.shows("<img src=x", "evil\\u202egnp.exe", "zero\\u200bwidth")
        for text in HOSTILE:
            name = quote(text, safe="")
            tab.go(f"state/map/{name}?key={name}", swarm.id)
            tab.shows("Writes (1")
    assert tab.page.evaluate("window.__pwned") is None
    assert tab.counts("img, script:not([src]), iframe") == 0


def test_a_server_that_is_gone_leaves_what_was_seen_and_says_how_old_it_is(chromium, swarm):
    context = chromium.new_context()
    with serving(Library(lambda: [swarm])) as (address, _):
        seen = Seen(context.new_page(), address)
        seen.page.goto(address.link)
        seen.go("tasks")
        seen.shows("of 1 done")
    seen.shows("reconnecting: what you see is", "of 1 done")
    context.close()


def test_twelve_tabs_read_one_stream_and_all_see_the_end(tab, swarm):
    context = tab.page.context
    others = [context.new_page() for _ in range(11)]
    for page in others:
        page.goto(f"{tab.address.url}/#/swarm/newest/tasks")
    tab.go("tasks")
    work(swarm.store(), 20)
    seq = swarm.store().row("select max(seq) as seq from event")["seq"]
    for page in [tab.page, *others]:
        until(lambda page=page: page.evaluate("window.prong?.store.seq") == seq, "every tab at the last event")
    held = tab.page.evaluate("navigator.locks.query().then(told => [told.held.length, told.pending.length])")
    assert held == [1, 11]


TEN_FRAMES = """() => new Promise(done => {
  let left = 10;
  const frame = () => { if (--left) requestAnimationFrame(frame); else done(); };
  requestAnimationFrame(frame);
})"""


def test_following_never_moves_what_somebody_looks_at(tab, swarm):
    work(swarm.store(), 60)
    tab.go("timeline")
    tab.shows("calls and waits")
    until(lambda: tab.page.evaluate("Boolean(window.prong.timeline)"), "the timeline")
    tab.page.keyboard.press("+")
    before = tab.page.evaluate("[window.prong.timeline.t0, window.prong.timeline.t1]")
    work(swarm.store(), 20)
    seq = swarm.store().row("select max(seq) as seq from event")["seq"]
    until(lambda: tab.page.evaluate("window.prong.store.seq") == seq, "the events")
    tab.page.evaluate(TEN_FRAMES)
    assert tab.page.evaluate("[window.prong.timeline.t0, window.prong.timeline.t1]") == before
