"""The rules of a repository: what a file may say, what is told of one that is wrong, and how options come from it."""

import contextlib
import dataclasses
import os
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import checkout
from tests.documents import blocks

from prong.harness.cli.command import main
from prong.harness.rules.rules import (
    FILE,
    FILE_BYTES,
    Budget,
    Jail,
    Limits,
    Load,
    Memory,
    Permissions,
    Role,
    Rules,
    RulesInvalid,
    defaults,
    differences,
    load,
    parse,
)
from prong.harness.rules.values import dotted_names, rules_of
from prong.state import Invalid

WHOLE = """\
---
limits:
  agents: 6
  depth: 3
  children: 20
  open: 200
  tasks: 1_000
  parked: 16
  attempts: 2
  load: 1.5
  memory: 10%
budget:
  tokens: 2M
  usd: 12.50
  task: {tokens: 500k, usd: 2}
  agent:
    usd: 2
    tokens: 200k
sandbox:
  mode: off
  network: true
  memory: 4GB
  processes: 64
  disk: 5%
  read: [/srv/data, /opt/more]
priorities: {urgent: 20, low: -10}
priority: low
ageing: 2m
model: claude-opus-5-5
models:
  claude-opus-5-5: {read: 0.18}
  meta/llama-4.1:70b: {window: 32k, cacheable: 1k, input: 0.4, output: 1.6, read: 0.1, write: 0.5, write_hour: 0.8}
base_url: http://127.0.0.1:8901
max_tokens: 16k
compact_at: 70%
offline: true
scripts: [one.py, two.py]
latency: 0.25
check: pytest -q
check_timeout: 5m
on_lost_cache: brief
check_attempts: 2
check_batch: 8
check_parallel: 2
merge_attempts: 5
permissions:
  allow: read
  ask: ["bash(git push*)", create_task]
  deny: ["edit(docs/**)"]
  default: ask
roles:
  reviewer:
    description: Reads what others wrote.
    model: claude-haiku-5-5
    priority: urgent
    estimate: 1h30m
    attempts: 1
    tools: [read, "bash(git log *)"]
    agents: 2
    writes: [docs/**, "*.md"]
    prompt: |
      Be strict.
      Say what is good, too.
    hedge: true
  writer:
  helper:
    kind: command
    command: helper --with {prompt_file}
    arguments: [--quiet]
    environment: HELPER_KEY
    timeout: 10m
route:
  type: {docs: writer}
  match: {"*security*": reviewer}
---

# How we work

Write tests first.
"""


def rules(front, prose=""):
    return parse(f"---\n{front}\n---\n{prose}", FILE)


def problems(text):
    """(line, column, text) of everything that is wrong."""
    with pytest.raises(RulesInvalid) as caught:
        parse(text, FILE)
    return [(one.line, one.column, str(one)) for one in caught.value.problems]


def problem(front):
    """The only thing that is wrong in a front matter, which begins in line 2: its line, and what is told."""
    [(line, _, told)] = problems(f"---\n{front}\n---\n")
    return line, told


def test_everything_that_can_be_said_is_understood():
    found = parse(WHOLE, FILE)
    assert found.limits == Limits(6, 3, 20, 200, 1_000, 16, 2, Load(per_core=1.5), Memory(percent=10.0))
    assert found.budget.tokens == 2_000_000
    assert found.budget.usd == 12.5
    assert (found.budget.task.tokens, found.budget.task.usd) == (500_000, 2)
    assert (found.budget.agent.tokens, found.budget.agent.usd) == (200_000, 2)
    kept_in = Jail("off", True, Memory(bytes=4 * 10**9), 64, Memory(percent=5.0), ("/srv/data", "/opt/more"))
    assert found.sandbox == kept_in
    assert found.priorities == {"urgent": 20, "low": -10}
    assert (found.ageing_s, found.latency_s, found.max_tokens, found.offline) == (120, 0.25, 16_000, True)
    assert found.compact_at == pytest.approx(0.7)
    assert (found.model, found.base_url) == ("claude-opus-5-5", "http://127.0.0.1:8901")
    assert found.scripts == ("one.py", "two.py")
    prompt = "Be strict.\nSay what is good, too."
    calls, writes = ("read", "bash(git log *)"), ("docs/**", "*.md")
    reviewer = Role("Reads what others wrote.", "claude-haiku-5-5", prompt, 20, 5400, 1, calls, 2, writes, True)
    assert found.permissions == Permissions(("read",), ("bash(git push*)", "create_task"), ("edit(docs/**)",), "ask")
    helper = Role(
        kind="command", command="helper --with {prompt_file}", arguments=("--quiet",), environment=("HELPER_KEY",),
        timeout_s=600,
    )  # fmt: skip
    assert found.roles == {"reviewer": reviewer, "writer": Role(), "helper": helper}
    assert found.prose == "# How we work\n\nWrite tests first."
    assert {"limits", "limits.agents", "budget.task.tokens", "model", "scripts"} <= found.said


def _general(name):
    """The rule's name, without one of the user's own."""
    for own, general in (
        (r"^roles\.\w+", "roles.NAME"),
        (r"^models\..+\.", "models.NAME."),
        (r"^(route\.\w+)\..*", r"\1"),
    ):
        name = re.sub(own, general, name)
    return name


def test_the_whole_example_says_every_rule_that_there_is():
    said = {_general(name) for name in parse(WHOLE, FILE).said}
    assert set(dotted_names(Rules)) <= said


@pytest.mark.parametrize("text", ["", "\n\n", "---\n---\n", "---\n---", "---\n# nothing yet\n---\n", "\ufeff"])
def test_a_file_that_says_nothing_is_no_rules(text):
    assert parse(text, FILE) == Rules.none()
    assert parse(text, FILE).said == frozenset()


def test_a_file_of_only_prose_has_only_prose():
    found = parse("# Rules\n\nBe kind.\n\n---\n\nAnd brief.\n", FILE)
    assert found == dataclasses.replace(Rules.none(), prose="# Rules\n\nBe kind.\n\n---\n\nAnd brief.")


def test_a_section_whose_lines_are_all_comments_says_nothing():
    assert rules("limits:\n#  agents: 4\nroles:\nbudget: ~") == Rules.none()


@pytest.mark.parametrize("change", ["\r\n", "\r"])
def test_the_ends_of_lines_and_a_mark_at_the_beginning_make_no_difference(change):
    assert parse("\ufeff" + WHOLE.replace("\n", change), FILE) == parse(WHOLE, FILE)
    wrong = "---\nlimits:\n  depth: x\n---\n".replace("\n", change)
    assert [line for line, _, _ in problems(wrong)] == [3]


def test_rules_cross_a_pickle():
    assert pickle.loads(pickle.dumps(parse(WHOLE, FILE))) == parse(WHOLE, FILE)


NUMBER = "a whole number from 1 to 1000 is needed"
COLON = 'indent lines alike, and put a text that holds ": " in quotes'
SIGN = "put a text that begins with such a sign in quotes"
ADDRESS = 'an address such as "https://example.org" is needed'
TOKENS = 'a whole number of tokens from 1 to 1000000000000, such as 200000, "500k" or "2M", is needed'
LOAD = 'a load per core above 0, such as 1.5, or a pressure up to "100%", such as "40%", is needed'
TAG = "a value without a tag is needed"
LIST = "while parsing a flow sequence"
LOOK = "look here and at the line before"
DURATION = 'a duration from 0 to 2592000 seconds, such as 90, "5m" or "1h30m", is needed'
OF_PRIORITIES = "a whole number or a name that stands in priorities, such as high, is needed"


@pytest.mark.parametrize(
    ("front", "line", "told"),
    [
        ("limits:\n  agents: eight", 3, f'limits.agents is "eight"; {NUMBER}'),
        ("limits:\n  agents: 0", 3, f"limits.agents is 0; {NUMBER}"),
        ("limits:\n  agents: 1001", 3, f"limits.agents is 1001; {NUMBER}"),
        ("limits:\n  agents: 4.5", 3, f"limits.agents is 4.5; {NUMBER}"),
        ("limits:\n  agents: 010", 3, f"limits.agents is 010; {NUMBER}"),
        ("limits:\n  agents: 0x10", 3, f"limits.agents is 0x10; {NUMBER}"),
        ("limits:\n  agents: 1:30", 3, f"limits.agents is 1:30; {NUMBER}"),
        ("limits:\n  agents: .inf", 3, f"limits.agents is .inf; {NUMBER}"),
        ("limits:\n  agents: ٣", 3, f'limits.agents is "٣"; {NUMBER}'),
        ("limits:\n  agents: yes", 3, f"limits.agents is the truth value yes; {NUMBER}"),
        ("limits:\n  agents: 2026-01-02", 3, f"limits.agents is the date 2026-01-02; {NUMBER}"),
        ("limits:\n  agents:", 3, f"limits.agents has no value; {NUMBER}"),
        ("limits:\n  agents: [4]", 3, f"limits.agents is a list; {NUMBER}"),
        ("limits:\n  agents: {n: 4}", 3, f"limits.agents is a mapping; {NUMBER}"),
        ("limits: 4", 2, 'limits is 4; a mapping, which is lines of "key: value", is needed'),
        ("budget: {usd: 0}", 2, "budget.usd is 0; a number above 0 and up to 1000000000 is needed"),
        ("offline: 1", 2, "offline is 1; true or false is needed"),
        ("base_url: example.org", 2, f'base_url is "example.org"; {ADDRESS}'),
        ("base_url: 'https://:80'", 2, f'base_url is "https://:80"; {ADDRESS}'),
        ("base_url: http://a:0", 2, f'base_url is "http://a:0"; {ADDRESS}'),
        ("base_url: http://a:b", 2, f'base_url is "http://a:b"; {ADDRESS}'),
        ("budget: {tokens: 1.5}", 2, f"budget.tokens is 1.5; {TOKENS}"),
        ("budget: {tokens: 2G}", 2, f'budget.tokens is "2G"; {TOKENS}'),
        ("limits: {load: 0}", 2, f"limits.load is 0; {LOAD}"),
        ("limits: {load: 101%}", 2, f'limits.load is "101%"; {LOAD}'),
        ("model: 5", 2, "model is 5; a text (in quotes, where YAML takes it for something else) is needed"),
        ("model: a b", 2, 'model is "a b"; a name without blanks is needed'),
        ("priorities: {high: up}", 2, 'priorities.high is "up"; a whole number from -1000000 to 1000000 is needed'),
        ("limit: {agents: 4}", 2, "limit is no rule; did you mean limits?"),
        ("limits: {atempts: 4}", 2, "limits.atempts is no rule; did you mean attempts?"),
        ("limits:\n  usd: 4", 3, "limits.usd is no rule; did you mean budget.usd?"),
        ("agents: 4", 2, "agents is no rule; did you mean limits.agents?"),
        ("base-url: http://a", 2, "base-url is no rule; did you mean base_url?"),
        ("model: a\nmodel: b", 3, "model stands in line 2 already; keep one of the two"),
        ("limits: {depth: 1, depth: 1}", 2, "limits.depth stands in line 2 already; keep one of the two"),
        ("[a]: b", 2, "the front matter has a key that is no word; a word is needed"),
        ("- a", 2, 'the front matter is a list; a mapping, which is lines of "key: value", is needed'),
        ("model: !!binary eA==", 2, f'model has the YAML tag "tag:yaml.org,2002:binary"; {TAG}'),
        ("model: !!python/name:a x", 2, f'model has the YAML tag "tag:yaml.org,2002:python/name:a"; {TAG}'),
        ("latency: !seconds 5", 2, f'latency has the YAML tag "!seconds"; {TAG}'),
        ("limits:\n\tagents: 4", 3, "a tab stands here; YAML is indented with spaces"),
        ("model: a: b", 2, f"this is not YAML: mapping values are not allowed here; {COLON}"),
        ("model: a\x07b", 2, "the character U+0007 stands here; remove it; YAML takes only what can be printed"),
        ("model: @a", 2, f"this is not YAML: found character '@' that cannot start any token; {SIGN}"),
        ("model: *a", 2, f"this is not YAML: found undefined alias 'a'; {LOOK}"),
        ("model: [a", 3, f"this is not YAML: expected ',' or ']', but got '<stream end>' ({LIST}); {LOOK}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(front, line, told):
    assert problem(front) == (line, told)


def test_what_is_wrong_in_a_role_is_told_by_its_name():
    front = "priorities: {high: 10}\nroles:\n  a:\n    priority: hi\n    estimate: soon\n  7:\n    attempts: 1"
    assert problems(f"---\n{front}\n---\n") == [
        (5, 15, f'roles.a.priority is "hi"; {OF_PRIORITIES}'),
        (6, 15, f'roles.a.estimate is "soon"; {DURATION}'),
        (7, 3, '"7" is no name for one of roles; a letter and then up to 63 letters, digits, - or _ are needed'),
    ]


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_lines():
    text = "---\nroles:\n  a: {attempts: 0}\nlimits:\n  agents: x\n  depth: y\nmodle: z\nbudget: {tokens: free}\n---\n"
    with pytest.raises(RulesInvalid) as caught:
        parse(text, "sub/PRONG.md")
    error = pickle.loads(pickle.dumps(caught.value))
    assert [one.line for one in error.problems] == [3, 5, 6, 7, 8]
    assert (error.line, error.column, error.path) == (3, 17, "sub/PRONG.md")
    assert [line.split(";")[0] for line in str(error).splitlines()] == [
        "sub/PRONG.md:3: roles.a.attempts is 0",
        'sub/PRONG.md:5: limits.agents is "x"',
        'sub/PRONG.md:6: limits.depth is "y"',
        "sub/PRONG.md:7: modle is no rule",
        'sub/PRONG.md:8: budget.tokens is "free"',
    ]


def test_a_front_matter_that_does_not_end_is_told_where_it_begins():
    assert problems("\n---\nmodel: a\n") == [
        (2, 1, "the front matter begins here and does not end; end it with a line of ---")
    ]


def test_prose_with_a_nul_is_no_text():
    assert problems("---\n---\nab\0c\n") == [(3, 3, "a NUL character stands here; save the file as plain text")]


def test_an_error_shows_no_more_of_a_value_than_a_line_and_nothing_that_a_terminal_obeys():
    line, told = problem('model: "a \\e[2J' + "x" * 500 + '"')
    assert line == 2
    assert len(told) < 200
    assert told.isprintable()


@pytest.mark.parametrize(
    "front",
    [
        "limits: " + "[" * 50_000,
        "limits: " + "{a: " * 30_000,
        "a: &a [x, x]\nb: &b [*a, *a]\n" + "\n".join(f"c{n}: [*b, *b, *b, *b]" for n in range(3_000)),
        "roles: &r {" + ", ".join(f"r{n}: {{x: 1}}" for n in range(5_000)) + "}",
        "roles:\n" + "".join(f"  r{n}: {{}}\n" for n in range(300)),
        "&a limits: &b {limits: *b}",
        "# a comment\n" * 20_000,
        "".join(f"k{n}: 1\n" for n in range(9_000)),
    ],
)
def test_no_front_matter_is_too_much(front):
    assert 1 <= len(problems(f"---\n{front}\n---\n")) <= 100


def test_an_alias_stands_for_what_it_names():
    found = rules("budget:\n  task: &each {tokens: 5k}\n  agent: *each")
    assert found.budget.agent == found.budget.task
    assert found.budget.task.tokens == 5_000


# Reading from a file.


def test_no_file_is_no_rules(tmp_path):
    assert load(tmp_path) == Rules.none()
    (tmp_path / FILE).symlink_to("nowhere")
    assert load(tmp_path) == Rules.none()


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        (b"---\nmodel: caf\xe9\n---\n", 2, "the byte 0xe9 is no UTF-8; save the file as UTF-8"),
        ("---\n---\n".encode("utf-16"), 1, "the byte 0xff is no UTF-8; save the file as UTF-8"),
        (b"x" * (FILE_BYTES + 1), 1, "the file has more than 1048576 bytes; rules are short; every agent reads them"),
    ],
)
def test_a_file_that_is_no_text_is_told(tmp_path, content, line, told):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RulesInvalid) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path / FILE}:{line}: {told}"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path, make):
    make(tmp_path / FILE)
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load(tmp_path)


def test_the_largest_file_is_read(tmp_path):
    (tmp_path / FILE).write_bytes(b"x" * FILE_BYTES)
    assert len(load(tmp_path).prose) == FILE_BYTES


def test_scripts_are_looked_for_below_the_root(tmp_path):
    (tmp_path / "here.py").write_text("")
    (tmp_path / FILE).write_text("---\nscripts: here.py\n---\n")
    assert load(tmp_path).scripts == (str(tmp_path / "here.py"),)
    (tmp_path / FILE).write_text(f"---\nscripts:\n- here.py\n- gone.py\n- 5\n- {'x' * 300}\n---\n")
    with pytest.raises(RulesInvalid) as caught:
        load(tmp_path)
    assert [one.line for one in caught.value.problems] == [4, 5, 6]
    assert f'scripts[1] is "gone.py", which is no file below {tmp_path}' in str(caught.value)


# Amounts.


@given(st.integers(1, 10**9), st.sampled_from(["{}", "{:_}", "'{}'"]))
def test_tokens_are_read_as_they_are_written(number, form):
    assert rules(f"budget: {{tokens: {form.format(number)}}}").budget.tokens == number


@given(st.integers(1, 10**6), st.sampled_from([("k", 1_000), ("K", 1_000), ("M", 1_000_000)]))
def test_tokens_may_have_a_unit(number, unit):
    assert rules(f"budget: {{tokens: {number}{unit[0]}}}").budget.tokens == number * unit[1]


@given(st.integers(0, 1_000_000))
def test_memory_is_read_back_as_it_is_shown(number):
    assert Memory.read(str(Memory(bytes=number))) == Memory(bytes=number)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours, minutes, seconds):
    assert rules(f"latency: {hours}h{minutes}m{seconds}s").latency_s == hours * 3600 + minutes * 60 + seconds


@given(st.text(max_size=30))
def test_no_text_breaks_an_amount(text):
    for read in (Memory.read, Load.read):
        with contextlib.suppress(Invalid):
            assert read(str(read(text))) == read(text)


@given(st.text(max_size=300))
def test_no_text_breaks_a_file(text):
    for whole in (text, f"---\n{text}\n---\n", f"---\nlimits:\n  agents: {text}\n---\n"):
        lines = whole.count("\n") + whole.count("\r") + 1
        told = []
        try:
            parse(whole, FILE)
        except RulesInvalid as error:
            told = error.problems
        assert [one for one in told if not (1 <= one.line <= lines and one.column >= 1)] == []


@pytest.mark.parametrize(
    ("written", "read"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("512mb", 512 * 10**6), ("10%", 1_000), ("0%", 0), ("7B", 7)],
)
def test_memory_is_an_amount_or_a_share(written, read):
    assert rules(f"limits: {{memory: {written}}}").limits.memory.of(total_bytes=10_000) == read


@pytest.mark.parametrize("written", ["2", "2G", "101%", "-1GB", "GB", "2GB RAM", "9" * 50 + "GB"])
def test_memory_without_a_meaning_is_refused(written):
    assert problem(f"limits: {{memory: {written}}}")[1].endswith(
        'an amount with its unit, such as "2GB", or a share from "0%" to "100%" is needed'
    )


# What is made of them.


def test_options_come_from_what_the_file_says_and_nothing_else():
    assert defaults(Rules.none()) == {}
    assert defaults(rules("limits: {agents: 8}\nroles: {a: {}}")) == {"slots": 8}
    assert defaults(parse(WHOLE, FILE)) == {
        "slots": 6, "depth": 3, "children": 20, "open_tasks": 200, "total_tasks": 1_000, "parked": 16, "attempts": 2,
        "load": "1.5", "memory": "10%", "tokens": 2_000_000, "usd": 12.5, "model": "claude-opus-5-5",
        "base_url": "http://127.0.0.1:8901", "max_tokens": 16_000, "offline": True, "scripts": ("one.py", "two.py"),
        "latency": 0.25, "check": "pytest -q", "check_timeout": 300, "sandbox": "off", "network": True,
        "priority": "-10",
    }  # fmt: skip


def test_the_file_and_the_command_line_have_the_same_defaults():
    options = main.commands["run"].make_context("run", ["Goal"], resilient_parsing=True).params
    none = Rules.none()
    assert (options["slots"], options["max_tokens"]) == (none.limits.agents, none.max_tokens)
    assert (options["offline"], options["latency"]) == (none.offline, none.latency_s)


def test_a_priority_is_given_by_number_or_by_name():
    found = parse(WHOLE, FILE)
    assert (found.priority("urgent"), found.priority(7)) == (20, 7)
    with pytest.raises(Invalid, match=r"urgent, low \(did you mean urgent\?\)"):
        found.priority("urgnt")


def test_nothing_differs_between_the_same():
    assert differences(parse(WHOLE, FILE), parse(WHOLE, FILE)) == []
    assert differences(Rules.none(), rules("limits: {agents: 8}")) == []


def test_differences_name_each_rule_and_say_which_wait_for_the_next_run():
    old = rules("limits: {agents: 4, memory: 1GB}\nroles: {a: {priority: 1}}\npriorities: {x: 1}", "Be kind.")
    new = rules("limits: {agents: 6}\nroles: {a: {priority: 2}, b: {description: New.}}\nmodel: m", "Be brief.")
    assert [(one.key, one.old, one.new, one.fixed) for one in differences(old, new)] == [
        ("limits.agents", 4, 6, False),
        ("limits.memory", "1GB", None, False),
        ("priorities.x", 1, None, False),
        ("roles.a.priority", 1, 2, False),
        ("model", None, "m", True),
        ("prose", "Be kind.", "Be brief.", True),
        ("roles.b.description", None, "New.", True),
    ]
    assert str(differences(old, new)[0]) == "limits.agents: 4 -> 6"
    assert str(differences(old, new)[4]) == 'model: none -> "m"; takes effect at the next run'


def test_a_long_text_is_short_in_an_event_but_seen_to_differ():
    [change] = differences(rules("", "a" * 5_000 + "b"), rules("", "a" * 5_000 + "c"))
    assert change.old == change.new == "a" * 200 + "… (5001 characters)"


def test_a_running_swarm_takes_what_can_change_and_keeps_the_rest():
    old, new = rules("model: a\nroles: {r: {prompt: Old., priority: 1}, gone: {}}", "Old."), parse(WHOLE, FILE)
    new = dataclasses.replace(new, roles={"r": Role(prompt="New.", priority=5)})
    now = old.with_changes(new)
    assert [one for one in differences(now, new) if not one.fixed] == []
    assert [one for one in differences(old, now) if one.fixed] == []
    assert (now.limits, now.budget.tokens, now.priorities) == (new.limits, new.budget.tokens, new.priorities)
    assert now.budget.task == old.budget.task != new.budget.task
    assert now.roles["r"] == Role(prompt="Old.", priority=5)
    assert now.prose == "Old."


# The manual.

PAGE = (checkout.ROOT / "docs/rules.md").read_text("utf-8")


def test_the_manual_lists_every_rule_its_default_and_whether_it_can_change():
    row = re.compile(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| (now|next run) \|$", re.MULTILINE)
    table = {cells[0]: cells for cells in row.findall(PAGE)}
    assert set(table) == set(dotted_names(Rules))
    fixed = {change.key for change in differences(Rules.none(), parse(WHOLE, FILE)) if change.fixed}
    told = {key for key, cells in table.items() if cells[3] == "next run"}
    assert {_general(key) for key in fixed} - {"prose"} == told
    parts = {"limits.": Limits, "budget.": Budget, "": Rules}
    none = {f"{prefix}{key}": one.default for prefix, kind in parts.items() for key, one in rules_of(kind).items()}
    numbers = {key: value for key, value in none.items() if type(value) in (int, float)}
    assert {key: float(table[key][2].replace(",", "")) for key in numbers} == numbers


def test_the_example_of_the_manual_is_right():
    [example] = [block.content for block in blocks("rules", PAGE) if block.content.startswith("---\n")]
    assert {name.split(".")[0] for name in parse(example, FILE).said} >= {"limits", "budget", "roles", "priorities"}
