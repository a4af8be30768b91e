"""What is installed: the four packages under names of their own, be it from a wheel, a source archive or a checkout."""

import base64
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from . import checkout
from .checkout import ENVIRONMENT, PACKAGES, run

VERSION = tomllib.loads((checkout.ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
DEPENDENCIES = Path(pytest.__file__).parents[1]
# What lies about in a tree where somebody works, and must not be shipped.
LITTER = (
    ".env",
    "notes.txt",
    ".prong/mine/state.db",
    "state/__pycache__/store.pyc",
    ".venv/pyvenv.cfg",
    "dist/old.whl",
)
EVERY_MODULE = """
import importlib, pkgutil, prong
for module in pkgutil.walk_packages(prong.__path__, "prong."):
    print(importlib.import_module(module.name).__file__)
"""


def build(tree, to, *kinds):
    run(sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", to, tree, cwd=tree)
    return sorted(to.iterdir())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return checkout.copy(tmp_path_factory.mktemp("tree") / "prong")


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    """A wheel and a source archive, built in a tree with litter in it."""
    littered = shutil.copytree(tree, tmp_path_factory.mktemp("littered") / "prong", symlinks=True)
    for name in LITTER:
        (littered / name).parent.mkdir(parents=True, exist_ok=True)
        (littered / name).write_text("litter")
    wheel, archive = build(littered, tmp_path_factory.mktemp("dist"), "--wheel", "--sdist")
    return wheel, archive


@pytest.fixture(scope="module")
def wheel(built):
    return built[0]


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory):
    """The source archive as somebody unpacks it."""
    folder = tmp_path_factory.mktemp("unpacked")
    run("tar", "-xzf", built[1], cwd=folder)
    return folder / f"prong-{VERSION}"


class Venv:
    """A virtual environment, told what to install by this environment's pip."""

    def __init__(self, path):
        run(sys.executable, "-m", "venv", "--without-pip", path, cwd=path.parent)
        self.path = path
        self.site = next(path.glob("lib/python*/site-packages"))

    def install(self, *what):
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.bin("python"),
            "install",
            "-q",
            "--no-compile",
            *what,
            cwd=self.path,
            timeout=280,
        )

    def lend_dependencies(self):
        """Let it import what is installed beside these tests, but its own packages first."""
        (self.site / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")

    def bin(self, name):
        return self.path / "bin" / name

    def run(self, *command, cwd=None, env=ENVIRONMENT):
        return run(self.bin(command[0]), *command[1:], cwd=cwd or self.path, env=env)


@pytest.fixture
def venv(tmp_path):
    yield Venv(tmp_path / "venv")
    shutil.rmtree(tmp_path / "venv")  # it may hold hundreds of megabytes


def contents(wheel):
    """{name: checksum}"""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if not info.filename.endswith("/RECORD")}


def outside_metadata(names):
    return sorted(name for name in names if not name.startswith(f"prong-{VERSION}.dist-info/"))


def test_the_wheel_holds_the_four_packages_and_nothing_else(tree, wheel):
    ours = [f"prong/{name}" for name in checkout.files(tree) if name.startswith(tuple(f"{p}/" for p in PACKAGES))]
    assert outside_metadata(contents(wheel)) == sorted(ours)


def test_the_wheel_holds_what_is_not_python(wheel):
    needed = {f"prong/{package}/py.typed" for package in PACKAGES}
    needed |= {"prong/state/schema.sql", "prong/agents/models.toml", "prong/agents/emulator/survey/measure.py"}
    assert needed <= contents(wheel).keys()


def test_the_source_archive_holds_the_checkout_without_its_links(tree, built):
    with tarfile.open(built[1]) as archive:
        members = archive.getmembers()
    ours = [name for name in checkout.files(tree) if not name.startswith(".src/")]
    shipped = sorted(member.name.removeprefix(f"prong-{VERSION}/") for member in members)
    assert shipped == sorted([*ours, "PKG-INFO"]), "a new file at the top belongs into pyproject.toml's only-include"
    assert [member.name for member in members if not member.isfile()] == []


def test_a_wheel_from_the_source_archive_is_the_same(wheel, unpacked, tmp_path):
    (again,) = build(unpacked, tmp_path, "--wheel")
    assert contents(again) == contents(wheel)


@pytest.mark.long
def test_an_installed_wheel_runs_a_survey_from_its_own_files(wheel, venv, tmp_path):
    venv.install("--no-deps", "--no-index", wheel)
    venv.lend_dependencies()
    modules = venv.run("python", "-c", EVERY_MODULE).splitlines()
    assert [module for module in modules if not module.startswith(f"{venv.site}/prong/")] == []
    repository = tmp_path / "repository"
    for part in "abcd":
        (repository / part).mkdir(parents=True)
        (repository / part / "one.py").write_text("one = 1\n")
    run("git", "init", "-q", "--template=", repository, cwd=tmp_path)
    checkout.commit(repository)
    venv.run("prong", "run", "--offline", "Survey this repository", cwd=repository)
    branch = run("git", "branch", "--list", "--format=%(refname)", "prong/*", cwd=repository).strip()
    assert run("git", "show", f"{branch}:SURVEY.md", cwd=repository).startswith("# Survey of `repository`\n")


@pytest.mark.long
@pytest.mark.parametrize("source", ["tree", "unpacked"])
def test_an_editable_install_imports_the_folders_themselves(source, request, venv):
    tree = request.getfixturevalue(source)
    venv.lend_dependencies()
    venv.install("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--editable", tree)
    (tree / "state/added_later.py").write_text("")
    try:
        modules = venv.run("python", "-c", EVERY_MODULE).splitlines()
    finally:
        (tree / "state/added_later.py").unlink()
    assert f"{tree}/.src/prong/state/added_later.py" in modules
    assert [module for module in modules if not module.startswith(f"{tree}/.src/prong/")] == []
    assert "Usage:" in venv.run("prong", "--help")
    assert "Usage:" in venv.run("python", "-m", "prong.agents.emulator", "--help")


@pytest.mark.long
def test_the_tests_are_in_the_source_archive_and_find_what_they_test(unpacked, venv):
    venv.lend_dependencies()
    venv.install("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--editable", unpacked)
    assert "test_layers.py" in venv.run(
        "python", "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", cwd=unpacked
    )


def test_these_tests_run_what_is_installed_from_this_checkout():
    try:
        direct = importlib.metadata.distribution("prong").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        direct = None
    origin = url2pathname(urlsplit(json.loads(direct)["url"]).path) if direct else "nowhere"
    assert Path(origin).resolve() == checkout.ROOT, "install this checkout first: pip install -e '.[dev]'"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The wheel of openai-agents, whose packages are called `agents`; it also tells whether PyPI can be reached."""
    folder = tmp_path_factory.mktemp("theirs")
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--retries=1",
        "--dest",
        folder,
        "openai-agents",
    ]
    done = subprocess.run(fetch, env=ENVIRONMENT, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode:
        reason = f"PyPI cannot be reached: {(done.stderr.splitlines() or ['no reason given'])[-1]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    (found,) = folder.iterdir()
    return found


def damage(venv):
    """Files in a virtual environment that two distributions have, or that are not as the one that has them recorded."""
    owners, damaged = {}, []
    for distribution in importlib.metadata.distributions(path=[str(venv.site)]):
        for file in distribution.files:
            other = owners.setdefault(file.locate().resolve(), distribution.name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_binary()).digest()).rstrip(b"=").decode()
            if other != distribution.name or (file.hash and file.hash.value != digest):
                damaged.append(f"{file} of {distribution.name}")
    assert set(owners.values()) == {"prong", "openai-agents"}
    return damaged


@pytest.mark.long
@pytest.mark.parametrize("ours_first", [True, False], ids=["prong first", "openai-agents first"])
def test_no_file_is_shared_with_a_package_called_agents(ours_first, wheel, theirs, venv):
    for one in [wheel, theirs] if ours_first else [theirs, wheel]:
        venv.install("--no-deps", "--no-index", one)
    assert damage(venv) == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_with_its_own_dependencies_it_works_beside_a_package_called_agents(wheel, theirs, venv):
    venv.install(wheel, theirs)
    both = "import agents, prong.agents; print(agents.Agent.__module__, agents.__file__, prong.agents.__file__)"
    agent, their_file, our_file = venv.run("python", "-c", both).split()
    assert agent.startswith("agents.")
    assert [their_file, our_file] == [f"{venv.site}/agents/__init__.py", f"{venv.site}/prong/agents/__init__.py"]
    assert f"{venv.site}/prong/harness/cli/command.py" in venv.run("python", "-c", EVERY_MODULE).splitlines()
    assert "Usage:" in venv.run("prong", "--help")
    assert venv.run("prong", "--version").split()[-1] == VERSION
    run(sys.executable, "-m", "pip", "--python", venv.bin("python"), "check", cwd=venv.path)
