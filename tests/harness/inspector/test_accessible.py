"""Every page in both themes as axe sees it, which is fetched from npm for as long as the test runs."""

import json
import shutil
import subprocess
import tarfile

import pytest
from benchmarks.inspecting import planting
from tests.harness.swarming import prong
from tests.stepped import until

from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import serving
from prong.harness.swarms import find

from .test_browser import CHROMIUM, PAGES, Seen, chromium, work  # noqa: F401  a fixture

MORE = (
    "tasks/2",
    "tasks/2?view=graph",
    "tasks?view=map",
    "agents/task/2",
    "state/map/survey",
    "events?kind=task.*",
    "past?seq=40&since=20",
)
"""One thing of each kind, beside the pages."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; install it: apt-get install chromium"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm here to fetch axe-core with"),
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    place = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run(
        ["npm", "pack", "axe-core@4", "--silent"], cwd=place, capture_output=True, text=True, check=False, timeout=300
    )
    if fetched.returncode:
        pytest.skip(f"npm could not fetch axe-core: {fetched.stderr[-300:]}")
    with tarfile.open(place / fetched.stdout.split()[-1]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.fixture
def surveyed(repository):
    prong("run", "--offline", "Survey this repository", cwd=repository.root)
    swarm = find(repository, None)
    store = swarm.store()
    for plant in planting.ALL:
        plant(store)
    work(store, 30)
    return swarm


def found_by_axe(tab, axe, where, theme):
    """What axe says of a page: (rule, impact, page, theme, a node)."""
    tab.go(where)
    until(lambda: tab.page.evaluate("Boolean(window.prong?.store.phases)"), where)
    tab.page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    until(lambda: "Reading …" not in tab.text() and tab.counts("main *") > 1, f"{where} read")
    if not tab.page.evaluate("typeof axe !== 'undefined'"):
        tab.page.evaluate(axe)
    told = tab.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], one["impact"], where, theme, one["nodes"][0]["html"][:200])
        for one in told["violations"]
        if one["impact"] in ("moderate", "serious", "critical")
    ]


def test_axe_finds_nothing_that_matters_on_any_page_in_either_theme(chromium, surveyed, axe):  # noqa: F811  as above
    with serving(Library(lambda: [surveyed])) as (address, _):
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        tab = Seen(context.new_page(), address)
        tab.page.goto(address.link)
        found = [
            one
            for theme in ("light", "dark")
            for where in (*PAGES, *MORE)
            for one in found_by_axe(tab, axe, where, theme)
        ]
        context.close()
    assert not found, json.dumps(found, indent=1)
