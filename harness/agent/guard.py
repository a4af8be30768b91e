"""The rules for calls of tools, at work in an agent: before a tool runs, and never by changing the list of tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prong.agents.tools.tool import Tool, ToolCall
from prong.harness import approvals
from prong.harness.permissions import policies
from prong.harness.permissions.permission import Judgement, Policy, judge, parts_of
from prong.state import Membership, Row


class Guard:
    """Lets the calls of one agent through, refuses them, or has them wait for a person."""

    def __init__(self, member: Membership, *, role: str, workspace: Path) -> None:
        self._member = member
        self._role = role
        self._workspace = workspace
        self._rows: Sequence[Row] | None = None
        self._policy = Policy()

    def guarded(self, tool: Tool) -> Tool:
        """The tool under the rules."""

        def permit(call: ToolCall) -> str | None:
            return self._permit(call)

        def instant(call: ToolCall) -> bool:
            return tool.instant(call) and self._judge(call).effect != "ask"  # who is asked about may have to wait

        return replace(tool, permit=permit, instant=instant)

    def _permit(self, call: ToolCall) -> str | None:
        judgement = self._judge(call)
        if judgement.effect == "allow" or self._has_begun(call):
            return None
        if judgement.effect == "ask":
            return approvals.ask(self._member, key=call.key, tool=call.name, given=call.input, judgement=judgement)
        with self._member.transaction() as tx:
            rule = None if judgement.rule is None else str(judgement.rule)
            shown = "; ".join(part.shown for part in judgement.parts)
            tx.event("permission.denied", object=call.name, call=call.id, rule=rule, what=approvals.cut(shown))
        return self._refusal(call, judgement)

    def _judge(self, call: ToolCall) -> Judgement:
        rows = policies.rows_for(self._member.store, self._role)
        if rows != self._rows:
            self._rows, self._policy = rows, policies.policy_of(rows)
        if self._policy.lets_all_through:
            return Judgement("allow")
        return judge(self._policy, parts_of(call.name, call.input, self._workspace, resolve=_resolved))

    def _has_begun(self, call: ToolCall) -> bool:
        """Whether it was let through before: then what became of it is the answer."""
        row = self._member.store.row("select 1 from tool_call where id = :key", key=call.key)
        return row is not None

    def _refusal(self, call: ToolCall, judgement: Judgement) -> str:
        part = judgement.parts[0]
        what = f" ({part.shown[:200]!r})" if part.shown else ""
        next_ = (
            "It was not run. Do not reach the same by other means; go on without it, or say in your result what you"
            " could not do."
        )
        if judgement.by_role:
            may = ", ".join(map(str, self._policy.only or ())) or "none"
            return f"{call.name}: tasks of role {self._role} may not make this call{what}; they may use: {may}. {next_}"
        rule = "by default" if judgement.rule is None else f"by the rule deny {judgement.rule}"
        unsure = " It cannot be told what the command would run; write it plainly." if part.obscure else ""
        return f"{call.name}: this call is refused {rule}{what}.{unsure} {next_}"


def _resolved(path: str) -> str:
    """The path without links; one that no file can have, as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return os.path.normpath(path)
