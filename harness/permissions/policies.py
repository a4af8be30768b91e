"""The permission rules that hold in a swarm: kept in its database, so that a change counts for the very next call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from prong.harness.permissions.permission import Effect, Policy, Rule
from prong.state import Row, Store, Transaction

if TYPE_CHECKING:
    from prong.harness.rules.rules import Permissions, Role

FILE = "PRONG.md"
COMMAND_LINE = "the command line"

_ROWS = """
select effect, rule, role from permission where role is null or role = :role order by id
"""


def set_rules(tx: Transaction, source: str, permissions: Permissions, roles: Mapping[str, Role] | None = None) -> None:
    """Replace all that a source has said of calls, of everybody's and of those of roles."""
    tx.execute("delete from permission where source = :source", source=source)
    rows: list[tuple[str | None, str, str]] = []
    if permissions.default != "allow":
        rows.append((None, "default", permissions.default))
    for effect in ("deny", "ask", "allow"):
        rows += [(None, effect, rule) for rule in getattr(permissions, effect)]
    for name, role in (roles or {}).items():
        if role.tools is not None:
            rows += [(name, "only", rule) for rule in role.tools or ("",)]
    for of_role, effect, rule in rows:
        tx.execute(
            "insert into permission (role, effect, rule, source) values (:role, :effect, :rule, :source)",
            role=of_role,
            effect=effect,
            rule=rule,
            source=source,
        )


def add_always(tx: Transaction, rules: Iterable[str], who: str) -> None:
    """Let calls through from now on that a person would else be asked about."""
    for rule in dict.fromkeys(rules):
        tx.execute(
            "insert into permission (effect, rule, source) select 'always', :rule, :who"
            " where not exists (select 1 from permission where effect = 'always' and rule = :rule)",
            rule=rule,
            who=f"{who}'s answer",
        )


def rows_for(source: Store | Transaction, role: str) -> Sequence[Row]:
    """The rows that say what agents of a role may do: cheap to read, and equal where nothing has changed."""
    return source.rows(_ROWS, role=role)


def policy_of(rows: Iterable[Row]) -> Policy:
    """What rows say together; of several defaults the strictest holds."""
    found: dict[str, list[Rule]] = {"deny": [], "ask": [], "allow": [], "always": [], "only": []}
    default = "allow"
    restricted = False
    for row in rows:
        effect, text = row["effect"], row["rule"]
        if effect == "default":
            default = max(default, text, key=("allow", "ask", "deny").index)
            continue
        restricted |= effect == "only"
        if text:
            found[effect].append(Rule.read(text))
    return Policy(
        deny=tuple(found["deny"]),
        ask=tuple(found["ask"]),
        allow=tuple(found["allow"]),
        always=tuple(found["always"]),
        only=tuple(found["only"]) if restricted else None,
        default=cast("Effect", default),
    )
