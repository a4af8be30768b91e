"""The options of `prong run` for the sandbox, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from prong.harness.swarms import Jail

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--sandbox", type=click.Choice(["auto", "bubblewrap", "off"]), default="auto", show_default=True,
        help="How the commands of agents are kept in: auto goes on without a sandbox where there is none.",
    ),
    click.option("--no-sandbox", "sandbox", flag_value="off", help="The same as --sandbox off."),
    click.option("--network/--no-network", default=False, help="Whether the commands of agents reach the network."),
    click.option(
        "--trust", is_flag=True, envvar="PRONG_RUN_TRUST",
        help="Start outside agents with the commands, arguments and variables that PRONG.md names, without a question.",
    ),
)  # fmt: skip


def confining(command: F) -> F:
    """Add the options to a command, which gets them as `sandbox`, `network` and `trust`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def warn(jail: Jail) -> None:
    """Say loudly that nothing keeps the commands of agents in, where nothing does; raises `SandboxMissing`."""
    from prong.agents.sandbox import Found  # noqa: PLC0415  as above
    from prong.harness.agent.jail import sandbox_of_machine  # noqa: PLC0415  as above

    found = sandbox_of_machine(jail)
    if isinstance(found, Found):
        return
    reason = "it is switched off" if found is None else found.reason
    click.secho(
        f"WARNING: no sandbox: {reason}. What agents run may do whatever you may: read your keys, change any file of"
        " yours, and use the network. Run only what you would run yourself, or use a container.",
        err=True, fg="red", bold=True,
    )  # fmt: skip
