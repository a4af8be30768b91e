"""Whatever a model sends: the answer is a text or a `ToolError`, both of which JSON in UTF-8 can carry.

Each tool gets inputs made of its own keys and of nonsense, with values of every JSON type, among them lone surrogates,
NUL characters and numbers beyond all bounds.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prong.agents.tools import ToolCall, ToolError

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Texts with every character, surrogates too, and a few that mean something to one of the tools.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "/",
        "a.txt",
        "*",
        "**/*",
        "{a,b}",
        "[",
        "view",
        "create",
        "str_replace",
        "insert",
        "files",
        "count",
    ],
)
NUMBERS = st.integers() | st.sampled_from([10**30, -(10**4000)]) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=2),
    max_leaves=4,
)


def inputs(*keys: str, **better: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Mostly objects with the right keys, some of them with likely values."""
    likely = st.fixed_dictionaries({}, optional={key: better.get(key, VALUES) | VALUES for key in keys})
    return likely | st.dictionaries(TEXTS | st.sampled_from(keys), VALUES, max_size=4) | VALUES


@pytest.fixture
def answer(tools, workspace):
    """What the model reads for one call."""
    (workspace / "a.txt").write_text("one\ntwo\n")
    by_name = {tool.name: tool for tool in tools.tools}

    def answer(name: str, given: object) -> str:
        try:
            text = by_name[name].run(ToolCall("toolu_1", name, given))
        except ToolError as error:
            text = str(error)
        assert json.dumps(text, ensure_ascii=False).encode()
        assert len(text) < 100_000
        return text

    return answer


@SETTINGS
@given(data=inputs("command", "restart", command=st.integers(), restart=st.just("no")))
def test_bash_answers_whatever_it_is_sent(answer, data):
    if isinstance(data, dict) and isinstance(data.get("command"), str):
        data["command"] = f": <<'THE-END'\n{data['command']}\nTHE-END"  # No text made by chance is to be run.
    answer("bash", data)


@SETTINGS
@given(
    data=inputs(
        *("command", "path", "view_range", "file_text", "old_str", "new_str", "insert_line", "insert_text"),
        command=st.sampled_from(["view", "create", "str_replace", "insert"]),
        path=st.just("a.txt") | TEXTS,
        view_range=st.lists(st.integers(-1, 4), min_size=2, max_size=2),
        insert_line=st.integers(0, 3),
        old_str=st.sampled_from(["one", "o", "two\n"]),
        file_text=TEXTS,
        insert_text=TEXTS,
    ),
)
def test_the_editor_answers_whatever_it_is_sent(answer, data):
    answer("str_replace_based_edit_tool", data)


@SETTINGS
@given(
    data=inputs(
        *("pattern", "path", "glob", "mode", "fixed", "ignore_case", "max_results"),
        pattern=TEXTS,
        mode=st.sampled_from(["content", "files", "count"]),
        glob=TEXTS,
        max_results=st.integers(0, 9),
    ),
)
def test_grep_answers_whatever_it_is_sent(answer, data):
    answer("grep", data)


@SETTINGS
@given(data=inputs("pattern", "path", "max_results", pattern=TEXTS, path=TEXTS, max_results=st.integers(0, 9)))
def test_glob_answers_whatever_it_is_sent(answer, data):
    answer("glob", data)
