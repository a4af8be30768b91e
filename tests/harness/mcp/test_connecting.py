"""Setting clients up: what is written works, what else stands in the file stays, and all of it can be undone."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.repositories import make_repository
from tests.harness.swarming import prong

from prong.harness.mcp.connecting import KINDS, NotConnected, command_in, connected, disconnected
from prong.harness.mcp.json_text import NotPlainJson

COMMAND = ["prong", "mcp", "--name", 'a "b" ü']
JSON_KINDS = [kind for kind in KINDS.values() if kind.file.endswith(".json")]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8)
VALUES = st.recursive(st.none() | st.integers() | TEXTS, lambda one: st.lists(one) | st.dictionaries(TEXTS, one))


@pytest.mark.parametrize(
    "client", [name if name == "codex" else pytest.param(name, marks=pytest.mark.long) for name in KINDS]
)
def test_the_command_writes_what_works_and_takes_it_away_again(client, tmp_path):
    root = make_repository(tmp_path / "repository")
    kind = KINDS[client]
    assert "says nothing of Prong" in prong("connect", client, "--check", cwd=root, code=2).stderr
    told = prong("connect", client, cwd=root).stdout
    assert "written" in told
    assert "tools" in told
    assert (root / kind.file).read_text() == prong("connect", client, "--print", cwd=root).stdout
    assert "as it was" not in prong("connect", client, "--remove", cwd=root).stdout
    assert not (root / kind.file).exists()
    assert (root / kind.file).parent.exists() == ("/" not in kind.file)


def told(root, client, *options, code=0):
    """The object that the command prints."""
    return json.loads(prong("connect", client, *options, "--json", cwd=root, code=code).stdout)


def test_a_command_that_does_not_work_is_told_with_what_it_said(tmp_path):
    root = make_repository(tmp_path / "repository")
    broken = {"mcpServers": {"prong": {"command": "sh", "args": ["-c", "echo all is lost >&2; exit 3"]}}}
    (root / ".mcp.json").write_text(json.dumps(broken))
    assert "all is lost" in prong("connect", "claude-code", "--check", cwd=root, code=2).stderr
    checked = told(root, "claude-code", "--check", code=2)
    assert (checked["works"], checked["command"][0]) == (False, "sh")
    assert "all is lost" in checked["problem"]


def test_a_script_reads_what_was_done_as_data(tmp_path):
    root = make_repository(tmp_path / "repository")
    file = root / ".cursor/mcp.json"
    written = told(root, "cursor", "--name", "ada")
    assert written | {"tools": 18} == {
        "client": "cursor", "file": str(file), "changed": True, "hint": KINDS["cursor"].hint, "works": True,
        "command": command_in(file.read_text(), KINDS["cursor"]), "tools": 18,
    }  # fmt: skip
    assert told(root, "cursor", "--name", "ada", "--print")["text"] == file.read_text()
    assert told(root, "cursor", "--remove") == {
        "client": "cursor", "file": str(file), "changed": True, "exists": False
    }  # fmt: skip
    assert told(root, "cursor", "--remove")["changed"] is False
    assert told(root, "cursor", "--check", code=2)["command"] is None


@given(
    whole=st.dictionaries(TEXTS, VALUES, max_size=4),
    others=st.none() | st.dictionaries(TEXTS.filter(lambda name: name != "prong"), VALUES, min_size=1, max_size=3),
    indent=st.sampled_from([None, 1, 2, 4, "\t"]),
    kind=st.sampled_from(JSON_KINDS),
    last=st.booleans(),
)
def test_a_json_file_is_after_all_as_it_was(whole, others, indent, kind, last):
    whole.pop(kind.group, None)
    servers = {} if others is None else {kind.group: others}
    whole = {**whole, **servers} if last else {**servers, **whole}
    text = json.dumps(whole, indent=indent, ensure_ascii=False) + "\n"
    with_it = connected(text, kind, COMMAND)
    found = json.loads(with_it)
    assert command_in(with_it, kind) == COMMAND
    del found[kind.group]["prong"]
    assert {name: value for name, value in found.items() if value or name != kind.group} == whole
    assert connected(with_it, kind, COMMAND) == with_it
    assert disconnected(connected(with_it, kind, ["other"]), kind) == (text if whole else "")


@pytest.mark.parametrize(
    "text", ["", "model = 'm'\n", "model = 'm'\n\n[mcp_servers.other]\ncommand = 'x'\n\n\n", "# only words\n"]
)
def test_a_toml_file_is_after_all_as_it_was(text):
    kind = KINDS["codex"]
    with_it = connected(text, kind, COMMAND)
    assert tomllib.loads(with_it)["mcp_servers"]["prong"]["required"]
    assert command_in(with_it, kind) == COMMAND
    assert connected(with_it, kind, COMMAND) == with_it
    changed = with_it + "default_tools_approval_mode = 'approve'\n\n[mcp_servers.prong.env]\nA = 'b'\n"
    for one in (with_it, changed):
        assert disconnected(one, kind) == text


@pytest.mark.parametrize("text", ['{"a": 1 // why\n}', "[1]", '{"mcpServers": 3}', "{", "nonsense"])
def test_what_is_no_plain_json_is_left_alone(text):
    with pytest.raises(NotPlainJson, match="by hand"):
        connected(text, KINDS["claude-code"], COMMAND)


@pytest.mark.parametrize("text", ["a = ", 'mcp_servers = {prong = {command = "x"}}'])
def test_toml_that_is_not_understood_is_left_alone(text):
    with pytest.raises(NotConnected):
        connected(text, KINDS["codex"], COMMAND)
