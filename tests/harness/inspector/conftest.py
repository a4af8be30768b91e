"""An inspector that serves, and swarms that were never run, filled through the same doors as real ones."""

import gc
import http.client
import json
import warnings
from dataclasses import dataclass

import pytest
from tests.harness.repositories import make_repository

from prong.harness.inspector.library import Library
from prong.harness.inspector.serving import Address, serving
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Options, create


@dataclass
class Client:
    """Asks a server as somebody would: as a program with the token, or with whatever headers a test gives."""

    address: Address

    def ask(self, path, *, method="GET", body=None, headers=None, token=True, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.address.port, timeout=30)
        sent = {"authorization": f"Bearer {self.address.keys.token}"} if token else {}
        if body is not None and not isinstance(body, bytes | str):
            body, sent["content-type"] = json.dumps(body), "application/json"
        connection.request(method, path, body=body, headers={**sent, **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text, dict(response.getheaders())

    def get(self, path, swarm="newest"):
        status, text, _ = self.ask(f"/api/v1/swarms/{swarm}/{path}")
        assert status == 200, text
        return json.loads(text)


@pytest.fixture(autouse=True)
def swept():
    """A server that is stopped while browsers listen drops their connections; they are let go of here and not later."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository.open(make_repository(tmp_path_factory.mktemp("inspected") / "repository"))


@pytest.fixture
def swarm(repository):
    return create(repository, Options(goal="look at all", model="prong-emulator", slots=4))


@pytest.fixture
def client(swarm):
    with serving(Library(lambda: [swarm])) as (address, _server):
        yield Client(address)
