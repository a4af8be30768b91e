"""The name of a role, as somebody gives it to a task: one of those that the rules define, or an outside agent's.

rules define roles -> one of them, else an error that says which was probably meant
rules define none  -> any name, by which like tasks are known together, but none that promises an outside agent
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from prong.harness.rules.role import Role
from prong.harness.rules.values import similar
from prong.harness.workers.kinds import COMMAND, KINDS
from prong.state import Invalid, ProngError

OUTSIDE = tuple(kind for kind in KINDS if kind != COMMAND)
"""The kinds of outside agents that a person can name in a role's place: nothing more has to be said of them."""

_SHOWN_CHARACTERS = 80


class NoSuchRole(ProngError):
    """A task was to have a role that there is not; `known` are those of the rules, `next` says what to do about it.

    `more` are names that may have been meant as well.
    """

    def __init__(self, name: str, known: Collection[str], next: str, more: Collection[str] = ()) -> None:
        self.name = name
        self.known = tuple(known)
        self.next = next
        self.more = tuple(more)

    def __str__(self) -> str:
        shown = self.name if len(self.name) <= _SHOWN_CHARACTERS else f"{self.name[:_SHOWN_CHARACTERS]}…"
        like = similar(self.name, (*self.known, *self.more))
        meant = f" Did you mean {like}?" if like is not None else ""
        has = f" PRONG.md has the roles: {', '.join(self.known)}." if self.known else " PRONG.md defines no roles."
        return f"there is no role {shown!r}.{meant}{has} {self.next}"


def check_role(name: str, roles: Collection[str]) -> None:
    """Raise `NoSuchRole` where tasks cannot have a role of this name; none at all is always right.

    >>> check_role("reviewer", ["reviewer", "writer"])
    >>> check_role("reveiwer", ["reviewer"])
    Traceback (most recent call last):
    prong.harness.rules.role_names.NoSuchRole: there is no role 'reveiwer'. Did you mean reviewer? PRONG.md has ...
    """
    if name in roles or not name:
        return
    if name in OUTSIDE:
        raise NoSuchRole(name, roles, f"Define it there: roles: {{{name}: {{kind: {name}}}}}")
    if roles:
        raise NoSuchRole(name, roles, "Name one of them, or none")


def roles_with(name: str, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    """The roles for tasks of which a person says that they have this one.

    An outside agent's name is a role of that kind where the rules define none of the name.  Raises `NoSuchRole` for
    every other name that they do not define, and `Invalid` for one that is none.

    >>> roles_with("codex", {})["codex"].kind
    'codex'
    """
    if not name or name in roles:
        return roles
    if not name.strip():
        raise Invalid(f"the role {name!r}", "the name of a role, see prong roles")
    if name in OUTSIDE:
        return {**roles, name: Role(kind=name, description=f"{KINDS[name].title}, with all of its own tools.")}
    one = "Name one of them, define it" if roles else "Define it"
    raise NoSuchRole(name, roles, f"{one} there, or name an outside agent: {', '.join(OUTSIDE)}", OUTSIDE)
