"""What a client may do: the swarm's rules hold for its calls, and a person is asked as they say.

    call --a rule says deny--> refused, in words
      +----a rule says ask---> asked: the client shows its person a form, where it can
      |                               or somebody answers in the browser or with prong approve, whoever is first
      +----else--------------> runs

The form is shown only where a person is at the other end, as far as can be seen: never to what an agent of a swarm has
started, which must not answer what it is asked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from prong.agents.tools.tool import ToolCall
from prong.harness import approvals
from prong.harness.permissions import policies
from prong.harness.permissions.permission import Judgement, Policy, judge, parts_of
from prong.harness.remains import MARK
from prong.state import Membership, ProngError, Row

MARKS = frozenset({MARK, "PRONG_SHARED", "PRONG_TASK"})
"""What stands in the environment of all that an agent of a swarm starts."""

SHOWN_CHARACTERS = 2_000
"""How much of a call a person is shown in a form, in characters; `prong approve` shows all of it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked: the text, and what becomes of the answer, which is yes or no and in words why.

    `approval` is its number where somebody else can answer, too.
    """

    text: str
    answer: Callable[[bool, str], None]
    approval: int | None = None


class Permits:
    """The rules of the swarm for one client."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self._rows: Sequence[Row] | None = None
        self._policy = Policy()

    def refusal(self, call: ToolCall, asking: Callable[[Question], None]) -> str | None:
        """Why a call may not run, None where it may; waits for an answer where a person is asked by `asking`."""
        judgement = self._judge(call.name, call.input)
        if judgement.effect == "allow":
            return None
        if judgement.effect == "ask":
            return approvals.ask(
                self._member, key=call.key, tool=call.name, given=call.input, judgement=judgement,
                told=lambda number: asking(self._question(number, call)),
            )  # fmt: skip
        rule = f"the rule {judgement.rule}" if judgement.rule is not None else "the rules, which let nothing else"
        with self._member.transaction() as tx:
            shown = "; ".join(part.shown for part in judgement.parts)
            tx.event("permission.denied", object=call.name, rule=str(judgement.rule), what=approvals.cut(shown))
        return f"{call.name}: {rule} of this swarm does not let it run. Do not reach the same by other means."

    def _judge(self, name: str, given: Mapping[str, Any]) -> Judgement:
        rows = policies.rows_for(self._member.store, "")
        if rows != self._rows:
            self._rows, self._policy = rows, policies.policy_of(rows)
        policy = self._policy
        if policy.lets_all_through:
            return Judgement("allow")
        # A client's calls touch no files, so it matters not from where paths would be read.
        return judge(policy, parts_of(name, given, self._member.store.directory, resolve=approvals.resolved))

    def _question(self, number: int, call: ToolCall) -> Question:
        store, name = self._member.store, self._name()

        def answer(allowed: bool, reason: str) -> None:  # noqa: FBT001  what a form says
            by = f"{approvals.user()}, asked by {name}"
            with contextlib.suppress(ProngError):  # somebody else was first, or nobody waits any more
                if allowed:
                    approvals.approve(store, [number], by=by)
                else:
                    approvals.deny(store, [number], reason[: approvals.REASON_CHARACTERS], by=by)

        what = approvals.asked_for(call.name, call.input)
        shown = what if len(what) <= SHOWN_CHARACTERS else f"{what[:SHOWN_CHARACTERS]}…"
        return Question(f"May {name} use {call.name}? {shown}", answer, number)

    def _name(self) -> str:
        row = self._member.store.row("select name from agent where id = :agent", agent=self._member.me.agent)
        return str(row["name"]) if row is not None else "a client"


def is_of_an_agent(process: psutil.Process) -> bool:
    """Whether an agent of a swarm has started a process, or this server, itself or by what it started."""
    if not MARKS.isdisjoint(os.environ):
        return True
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.parents()):
            with contextlib.suppress(psutil.Error):  # it has ended, or is another user's
                if not MARKS.isdisjoint(one.environ()):
                    return True
    return False
