"""What a repository's rules may not decide alone: which programs start with what of a person's, and the sandbox.

Rules are read as they stand in a clone that may be anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prong.harness.rules.role import Role


def what_to_agree_to(
    roles: Mapping[str, Role], *, is_off: bool = False, network: bool = False, readable: Sequence[str] = ()
) -> str | None:
    """What the file says that a person has to agree to first; None: nothing.

    Which programs of outside agents people have installed is theirs; how they are started, and with what, is the
    file's.  `is_off`, `network` and `readable` are what the file, and nobody else, says of the sandbox.
    """
    started = [
        f"role {name} starts {(role.command or role.kind)!r}"
        + (f" with {' '.join(role.arguments)!r}" if role.arguments else "")
        + (f" and your {', '.join(role.environment)}" if role.environment else "")
        for name, role in roles.items()
        if role.kind is not None and (role.command or role.arguments or role.environment)
    ]
    told = [f"says how outside agents are started: {'; '.join(started)}"] if started else []
    told += ["lets the commands of agents run without a sandbox"] if is_off else []
    told += ["lets the commands of agents reach the network"] if network else []
    told += [f"lets the commands of agents read {', '.join(readable)}"] if readable else []
    return f"PRONG.md of this repository {', and '.join(told)}" if told else None
