"""Makes of a delivery the commit that would stand on the branch, or says why it does not go.

    delivery --prepared--> a commit on what is before it
                +--------> a verdict: conflict, markers left, files that others hold
                +--fault-> git was killed, the disk is full, … : raised, and tried again

What fails again and again while git does its work otherwise is a fault of the delivery, and goes back as one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from prong.harness.repository.git import AGENT, PRONG, GitFailed, RepositoryError
from prong.harness.repository.leasing import leased
from prong.harness.repository.merge_queue import trailers
from prong.harness.repository.merging import Conflict, Integration
from prong.harness.repository.verdicts import Verdict
from prong.state import Row, Store

TRIES = 3
"""How often in a row git may refuse a delivery, while it does other work, until that goes back."""

KILLED_TRIES = 30
"""The same where git does not end by itself: somebody kills it, or it needs more memory or time than there is."""


class Preparing:
    """Prepares the deliveries of one swarm; for one thread."""

    def __init__(self, store: Store, integration: Integration, swarm: str) -> None:
        self._store = store
        self._integration = integration
        self._swarm = swarm
        self._faults: dict[str, int] = {}

    def prepared(self, row: Row, onto: str) -> str | Verdict:
        """The delivery as a commit on `onto`, `onto` itself where it changes nothing there, or why it does not fit.

        Raises `RepositoryError` for what may pass.
        """
        try:
            found = self._prepared(row, onto)
        except RepositoryError as error:
            if not self._is_its_own(row, error):
                raise
            return Verdict("conflict", onto, str(error))
        self._faults.clear()
        return found

    def _prepared(self, row: Row, onto: str) -> str | Verdict:
        if row["markers"] and (where := self._holds(row["commit_id"], row["markers"])):
            return Verdict("markers", onto, where, markers=row["markers"])
        if held := leased(self._store, self._integration.repository, row):
            return Verdict("lease", onto, held, markers=row["markers"])
        found = self._integration.prepare(
            onto=onto, base=row["base"], commit=row["commit_id"], message=row["title"], author=AGENT,
            trailers=self._trailers(row),
        )  # fmt: skip
        return Verdict.of_conflict(found, onto) if isinstance(found, Conflict) else found.commit

    def _is_its_own(self, row: Row, error: RepositoryError) -> bool:
        """Whether an error is the delivery's fault: it comes again and again, and git is well."""
        key = row["commit_id"]
        self._faults = {key: self._faults.get(key, 0) + 1}
        killed = isinstance(error, GitFailed) and error.exit_code < -1  # that is what we say of a missing object
        if self._faults[key] < (KILLED_TRIES if killed else TRIES):
            return False
        objects = self._integration.objects
        tree = objects.known_commit(self._integration.ref).tree
        # The disk may be full: a commit that there has never been is written as well.
        objects.write_commit(tree, (), f"{secrets.token_hex(8)}\n", author=AGENT, committer=PRONG)
        return True

    def _trailers(self, row: Row) -> Mapping[str, str]:
        if row["resolves"] is None:
            return trailers(self._swarm, row["task"], row["agent"], head=row["head"])
        own = trailers(self._swarm, row["resolves"], row["agent"], head=row["head"])
        return {**own, "Prong-Resolver": str(row["task"])}

    def _holds(self, commit: str, markers: str) -> str:
        """The files in which conflict markers were left, one a line; "" for none."""
        try:
            found = self._integration.repository.git("grep", "-l", "-z", "-F", "-e", markers, commit, "--")
        except GitFailed as error:
            if error.exit_code == 1:
                return ""
            raise
        return "\n".join(one.removeprefix(f"{commit}:") for one in found.split("\0") if one)
