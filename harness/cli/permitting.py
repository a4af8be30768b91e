"""The options of `prong run` that say which calls of tools are let through, asked about, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from prong.harness.permissions.permission import Rule
from prong.harness.permissions.policies import COMMAND_LINE, FILE
from prong.harness.rules.rules import Permissions, Rules
from prong.state import Invalid

F = TypeVar("F", bound=Callable[..., Any])


class _Rule(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only
    """A rule for calls of a tool; in the environment one stands on each line, since rules hold blanks."""

    name = "rule"
    envvar_list_splitter = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The rule as it is written; click prints what is wrong with it."""
        from prong.harness.tools.catalogue import offered  # noqa: PLC0415  most runs are given no rule

        try:
            return str(Rule.read(value, tools=[record.name for record in offered("agents")]))
        except Invalid as error:
            self.fail(str(error), param, ctx)


_HELP = {
    "allow": "Let such calls through, as read or 'bash(make *)', where they would be asked about by default.",
    "ask": "Let a person decide about such calls, as 'bash(git push*)': see prong approve.",
    "deny": "Refuse such calls, as 'bash(rm -rf *)' or 'edit(docs/**)'. Deny beats ask, and ask beats allow.",
}


def permitting(command: F) -> F:
    """Add the options to a command, which gets them as keywords."""
    for effect in ("deny", "ask", "allow"):
        command = click.option(f"--{effect}", multiple=True, type=_Rule(), help=_HELP[effect])(command)
    return command


def permissions(rules: Rules, options: Mapping[str, Any]) -> Mapping[str, Permissions]:
    """The rules of the file and those of the options, by who has said them; they hold together."""
    said = Permissions(allow=tuple(options["allow"]), ask=tuple(options["ask"]), deny=tuple(options["deny"]))
    return {FILE: rules.permissions, COMMAND_LINE: said}
