"""What tests of faults have in common: a small disk of their own, on which stepped processes live."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from prong.state import Membership, join

from .. import stepped  # noqa: TID252  tests are no package that has a name
from .operations import clean, waiting

DISK = "12m"
"""How large the small disk is."""


@pytest.fixture(scope="session")
def mounted(tmp_path_factory):
    """A nest whose processes see an empty file system of their own at the path that comes with it.

    It is gone with the last of them, whatever becomes of the test.
    """
    path = tmp_path_factory.mktemp("disk")
    mount = f'mount -t tmpfs -o size={DISK} none "$0" && exec "$@"'
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
    within = [*alone, "sh", "-c", mount, str(path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*within, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not mount a file system here")
    nest = stepped.Nest(within)
    yield nest, path
    nest.close()


@pytest.fixture
def aboard(mounted, tmp_path):
    """Makes stepped processes whose swarm is on the small disk."""
    nest, disk = mounted
    made = []

    def aboard(name, directory=disk / tmp_path.name):
        process = nest.fork(name, directory, tmp_path / "clock", None)
        made.append(process)
        process.agent = process.result()
        return process

    yield aboard
    for process in made[1:]:
        process.close()
    if made:
        made[0].run(clean, disk)
        made[0].close()


@pytest.fixture
def in_line():
    """Waits until so many wait, as a process on the small disk sees it."""
    return lambda witness, count=1: stepped.until(lambda: len(witness.run(waiting)) == count, f"{count} wait")


@pytest.fixture
def people(store):
    """Makes more members in the test's own process."""
    return lambda *names: [join(store, name) for name in names]


@pytest.fixture
def during():
    """A member that does something as it falls asleep."""

    def during(member, asleep):
        @contextmanager
        def parking(_ticket):
            asleep()
            yield

        return Membership(member.store, member.me, parking)

    return during
