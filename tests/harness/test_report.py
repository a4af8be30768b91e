"""The closing report: complete, in both forms, and harmless whatever agents have written."""

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from prong.harness.report import facts, markdown, page, words

from .test_ending import Ended, kept_by_conflict

KEY = "sk-ant-" + "a1B2" * 10
HOSTILE = (
    "</pre></details><script>alert(1)</script><img src=x onerror=alert(1)>\n```\n# not a heading\n````\n"
    "[link](javascript:alert(1)) ![p](http://x/y) <b onclick='x'> \x1b[31mred \u202eback \x00 ]]> --> | a | b |\n"
    f"key {KEY} \ud800"
)
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "pre", "table", "tr", "th", "td", "ul", "li", "p",
    "b", "details", "summary", "span", "svg", "line", "text", "rect", "polygon",
}  # fmt: skip


@pytest.fixture
def made(root):
    swarm = Ended(root, attempts=1, check="true")
    yield swarm
    swarm.close()


@pytest.fixture
def hostile(made):
    """A swarm whose every text tries to get out of the report."""
    kept_by_conflict(made)
    made.done(HOSTILE.replace("\x00", "").replace("\ud800", "").replace("\n", " ")[:190], {"x.txt": "x\n"})
    made.leave("left", {"left.txt": "left\n"}, "failed")
    with made.store.transaction(None) as tx:
        text = HOSTILE.replace("\x00", "").replace("\ud800", "")
        tx.execute("update task set result = :text, error = :text, prompt = :text where id > 2", text=text)
        tx.execute("update swarm set goal = :text", text=text)
        tx.execute("update merge_attempt set detail = :text, output = :text", text=text)
        tx.event("conflict.foreseen", object=text, tasks=[2, 3], path=text, lines="1-2")
    return facts.gather(made.end())


class Reader(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


def test_a_page_has_no_script_and_nothing_of_what_agents_wrote_is_markup(hostile):
    text = page.render(hostile)
    text.encode()
    reader = Reader()
    reader.feed(text)
    assert reader.elements <= ALLOWED
    assert not {
        name for name in reader.attributes if name.startswith("on") or name in ("href", "src", "style", "srcset")
    }
    assert "<script>alert(1)</script>" in reader.text  # to be read, not run
    assert page.POLICY in text
    assert not re.search(r"https?://(?!x/y)", text)
    for forbidden in ("\x1b", "\u202e", "\x00", KEY):
        assert forbidden not in text


def test_markdown_has_no_markup_but_its_own(hostile):
    text = markdown.render(hostile)
    text.encode()
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(text)
    inline = [child.type for token in tokens for child in token.children or ()]
    assert not {"html_inline", "link_open", "image"} & set(inline)
    assert "html_block" not in {token.type for token in tokens}
    headings = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    assert not [head for head in headings if head.startswith("not a heading")]
    for forbidden in ("\x1b", "\u202e", "\x00", KEY):
        assert forbidden not in text


def test_a_report_tells_what_was_asked_done_kept_and_left(made):
    kept = kept_by_conflict(made)
    done = made.done("add a door", {"door.txt": "a\nb\n"})
    left = made.leave("left", {"left.txt": "left\n"}, "failed")
    known = facts.gather(made.end())
    for text in (markdown.render(known).replace("\\", ""), page.render(known)):
        for told in (
            "Do it", "add a door", f"did {done}", "1 file, +2 -0", "passed", f"{made.swarm.branch}-task-{kept}",
            "both sides changed the same lines", f"prong merge {made.swarm.id}", f"prong diff --task {left}",
        ):  # fmt: skip
            assert told in text
    assert known.as_json()["tasks"][done - 1]["check"]["passed"] is True
    assert page.render(known).count('class="back"') == 1


def test_a_long_text_is_cut_and_says_so():
    assert words.safe("x" * 30_000).endswith("… (10,000 characters more)")
