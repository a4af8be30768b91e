"""Which role a task gets that names none: what `route` in PRONG.md says of its type, its title and its prompt."""

from __future__ import annotations

from fnmatch import fnmatchcase

from prong.harness.rules.rules import Route


def role_for(route: Route, *, title: str, prompt: str, type: str | None = None) -> str:
    """The role, "" where no rule is about the task.  The type counts before the patterns, and the first that fits wins.

    Patterns are those of file names, in small and capital letters alike.

    >>> route = Route(type={"docs": "writer"}, match={"*security*": "auditor"})
    >>> role_for(route, title="Look", prompt="Look for Security holes.")
    'auditor'
    >>> role_for(route, title="", prompt="", type="docs")
    'writer'
    """
    if type is not None and type in route.type:
        return route.type[type]
    words = [title.lower(), prompt.lower()]
    fitting = (role for pattern, role in route.match.items() if any(fnmatchcase(one, pattern.lower()) for one in words))
    return next(fitting, "")
