"""The rules for calls of tools, at work in an agent: before a tool runs, and never by changing the list of tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prong.agents.tools.tool import Tool, ToolCall
from prong.harness import approvals
from prong.harness.permissions import policies
from prong.harness.permissions.permission import Judgement, Policy, judge, parts_of
from prong.harness.repository import leasing
from prong.state import Membership, Row

WRITES = frozenset({"str_replace_based_edit_tool"})
"""The tools that write where their input says."""


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
        if self._has_begun(call):
            return None
        if judgement.effect == "ask":
            refused = approvals.ask(self._member, key=call.key, tool=call.name, given=call.input, judgement=judgement)
            return self._leased(call) if refused is None else refused
        if judgement.effect == "allow":
            return self._leased(call)
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
        return judge(self._policy, parts_of(call.name, call.input, self._workspace, resolve=approvals.resolved))

    def _leased(self, call: ToolCall) -> str | None:
        """Why the editor may not write where somebody else holds a lease on the path."""
        task, given = self._member.me.task, call.input
        if call.name not in WRITES or given.get("command") == "view" or task is None:
            return None
        leases = leasing.of_others(self._member.store, task)
        if not leases or not isinstance(given.get("path"), str):
            return None
        root = Path(approvals.resolved(str(self._workspace)))
        place = Path(approvals.resolved(str(root / given["path"])))
        path = str(place.relative_to(root)) if place.is_relative_to(root) else None
        held = leasing.in_the_way(leases, [path] if path is not None else [])
        for lease in held.values():
            with self._member.transaction() as tx:
                tx.event("lease.refused", object=path, call=call.id, lease=lease.pattern, holder=lease.task)
            return (
                f"{call.name}: {path} was not changed, because {lease}. Do other work first, or acquire that lock"
                " yourself, which waits until it is free; work that changes it is not merged before."
            )
        return None

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
