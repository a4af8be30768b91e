"""How a repository is divided into parts."""

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prong.agents.emulator.survey import divide, measure

NAMES = st.sampled_from(["a", "b", "c", "src", "x.py", "…", "a b"])
PATHS = st.lists(NAMES, min_size=1, max_size=5).map("/".join)
SIZES = st.integers(0, 10**7)


def consistent(paths):
    """A path is a file or a folder, not both."""
    folders = {path[:i] for path in paths for i, letter in enumerate(path) if letter == "/"}
    return sorted(paths - folders, key=measure.tree_order)


@given(st.dictionaries(PATHS, SIZES, max_size=90))
@settings(max_examples=150, deadline=None)
def test_parts_hold_every_file_once_in_order_and_are_as_many_as_promised(files):
    paths = consistent(files.keys())
    division = divide.Division(paths, [files[path] for path in paths])
    runs = division.runs()
    assert [i for run in runs for i in range(run.low, run.high)] == list(range(len(paths)))
    assert all(len(run) for run in runs)
    count = len(paths)
    if count < 8:
        assert len(runs) == (max(1, count // 2) if count else 0)
    else:
        assert len(runs) == max(4, min(12, len(division.worth_a_part())))
    assert len({division.name(run) for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.py"], ["./"]),
        (["a/b/x", "a/b/y"], ["a/b/"]),
        (["a/x", "a/y", "b/x", "b/y"], ["a/", "b/"]),
        ([f"{f}/{n}" for f in "abcd" for n in "12"], ["a/", "b/", "c/", "d/"]),
        (["1", "2", *(f"{f}/{n}" for f in "abc" for n in "12")], ["./*", "a/", "b/", "c/"]),
        ([f"a/{n}" for n in "12345678"], ["a/1 … 2", "a/3 … 4", "a/5 … 6", "a/7 … 8"]),
        ([f"{f}/x/{n}" for f in "abcdefgh" for n in "1"], ["a/ … b/", "c/ … d/", "e/ … f/", "g/ … h/"]),
        (["a/1", "a/2", *(f"a/{f}/{n}" for f in "bcd" for n in "12")], ["a/*", "a/b/", "a/c/", "a/d/"]),
    ],
)
def test_a_part_is_named_by_what_it_is_all_of_or_by_its_first_and_last(paths, names):
    paths = sorted(paths, key=measure.tree_order)
    division = divide.Division(paths, [100] * len(paths))
    assert [division.name(run) for run in division.runs()] == names


def test_a_heavy_folder_is_split_and_light_ones_are_joined():
    paths = sorted([f"big/{i:03}.c" for i in range(300)] + [f"small{i}/x" for i in range(60)], key=measure.tree_order)
    division = divide.Division(paths, [20_000 if path.startswith("big") else 10 for path in paths])
    runs = division.runs()
    assert len(runs) == 9
    weights = [division.weight(run) for run in runs]
    assert max(weights) < 2 * sum(weights) / len(weights)


def test_each_top_level_folder_of_some_weight_is_a_part_and_tiny_ones_are_joined():
    counts = {"agents": 60, "harness": 22, "primitives": 11, "state": 14, "tests": 30}
    paths = [f"{folder}/{i % 3}/{i}.py" for folder, count in counts.items() for i in range(count)]
    paths += ["LICENSE", "README.md", ".ci/run", "docs/one.md", "examples/two.py"]
    paths.sort(key=measure.tree_order)
    division = divide.Division(paths, [60_000 if path == "README.md" else 5_000 for path in paths])
    names = ["LICENSE … .ci/", "agents/", "docs/ … harness/", "primitives/", "state/", "tests/"]
    assert [division.name(run) for run in division.runs()] == names


def test_there_are_never_more_than_twelve_parts():
    paths = sorted((f"{i:02}/{name}" for i in range(30) for name in "ab"), key=measure.tree_order)
    division = divide.Division(paths, [10_000] * len(paths))
    assert len(division.runs()) == 12


def test_a_hundred_thousand_files_are_divided_within_seconds_and_told_of_in_few_words():
    """Ten thousand folders of packages, as an unlucky repository has them, and long names."""
    paths = [f"node_modules/package-{i // 10:05}-{'long' * 20}/lib/ü{i % 10}.js" for i in range(100_000)]
    listing = {"entries": [[path, "file", 5_000] for path in paths], "checksum": 0}
    begin = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-I", divide.__file__], input=json.dumps(listing), capture_output=True, text=True, check=True
    )
    assert time.monotonic() - begin < 10
    assert len(ran.stdout) < 8_000
    told = json.loads(ran.stdout)
    assert sum(part["files"] for part in told["parts"]) == 100_000
    assert len(told["parts"]) == 12


@pytest.fixture
def repository_name(make_repository, git, monkeypatch):
    """What a repository with these files calls itself."""

    def name_of(files, *, remote=None):
        directory = make_repository({"x": "", **files}, name="folder")
        if remote:
            git(directory, "config", "remote.origin.url", remote)
        monkeypatch.chdir(directory)
        return divide.repository()

    return name_of


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pyproject.toml": "[tool.x]\nname = 'no'\n[project]\nversion = '1'\nname = \"sample\"\n"}, "sample"),
        ({"pyproject.toml": "[tool.poetry]\nname = 'poem'\n"}, "poem"),
        ({"package.json": '{\n  "name": "@scope/pack",\n  "x": {}\n}'}, "@scope/pack"),
        ({"Cargo.toml": '[package]\nname = "crate"\n'}, "crate"),
        ({"go.mod": "module example.org/tool\n"}, "example.org/tool"),
        ({"pyproject.toml": "[build-system]\nname = 'no'\n"}, "folder"),
        ({}, "folder"),
    ],
)
def test_a_repository_is_called_as_its_manifest_says_or_as_its_folder(repository_name, files, name):
    assert repository_name(files) == name


@pytest.mark.parametrize(
    "remote", ["git@example.org:team/tool.git", "https://example.org/team/tool/", "/srv/tool/.git"]
)
def test_a_repository_without_a_manifest_is_called_as_its_remote(repository_name, remote):
    assert repository_name({}, remote=remote) == "tool"


@pytest.mark.parametrize("name", ["plain", "with space", "übung"])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_clone_without_a_remote_is_called_as_the_one_it_borrows_from(make_repository, git, monkeypatch, name, quoted):
    directory = make_repository({"x": ""}, name=name)
    clone = directory.parent / "workspaces" / "7"
    git(directory, "clone", "-q", "--shared", ".", str(clone))
    git(clone, "remote", "remove", "origin")
    alternates = clone / ".git/objects/info/alternates"
    if quoted:
        alternates.write_text(f'"{alternates.read_text().strip()}"\n')
    assert git(clone, "rev-parse", "HEAD")
    monkeypatch.chdir(clone)
    assert divide.repository() == name
