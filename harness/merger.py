"""The merge queue of one swarm, with its check in the swarm's sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prong.agents.tools import tool_environment
from prong.harness.agent.jail import sandbox_of_task
from prong.harness.plans.checks import checks_of_steps, with_checks
from prong.harness.remains import MARK
from prong.harness.repository.checking import Checker
from prong.harness.repository.merge_rounds import MergeQueue
from prong.harness.repository.merging import Integration
from prong.harness.swarms import Swarm
from prong.state import Store


def merge_queue_of(swarm: Swarm, store: Store) -> MergeQueue:
    """What merges the swarm's finished work; one thread at a time may use it."""
    besides = checks_of_steps(swarm, store)
    rules = swarm.options.merging if besides is None else with_checks(swarm.options.merging)
    integration = Integration(swarm.repository, swarm.branch, swarm.base_commit)

    def confine(tree: Path, scratch: Path, command: Sequence[str]) -> Sequence[str]:
        sandbox = sandbox_of_task(
            swarm.options.jail, swarm.repository, workspace=tree, scratch=scratch, common=scratch,
            environment=tool_environment(tree, {"TMPDIR": str(scratch)}),
        )  # fmt: skip
        sandbox.prepare()
        return sandbox.limited(command)

    checker = None
    if rules.check is not None:
        checker = Checker(
            swarm.repository, swarm.directory / "check", rules, base=swarm.base_commit, confine=confine,
            extra={MARK: str(swarm.directory)},  # by which a check is found that has outlived its supervisor
            besides=besides,
        )  # fmt: skip
    return MergeQueue(store, integration, swarm.id, rules, checker)
