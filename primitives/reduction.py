"""An AND/OR graph: which nodes come true in the end, and the knots in which the others hold one another.

    all_of(children)   comes true once all of its children have; at once where it has none
    any_of(children)   comes true once one of its children has; never where it has none

What does not come true is stuck.  Whoever follows stuck children ends up in a *knot*: a strongly connected set of stuck
nodes, or a single one without children, that needs nothing stuck outside of itself.  A knot has to be untied by itself,
and all other stuck nodes hang from knots, so the knots are where a deadlock comes from.  Reducing and finding knots
takes time linear in the number of edges (the reduction is Holt's, "Some Deadlock Properties of Computer Systems", 1972;
the walk is Tarjan's).
"""

from __future__ import annotations

from collections.abc import Iterable


class Graph:
    """Nodes are numbers; children may be added until the first `reduce`, so that circles can be drawn."""

    def __init__(self) -> None:
        self._children: list[list[int]] = []
        self._any: list[bool] = []
        self._missing: list[int] = []

    def __len__(self) -> int:
        return len(self._children)

    def all_of(self, *children: int) -> int:
        """A new node that needs all of its children."""
        self._any.append(False)
        self._children.append(list(children))
        return len(self._any) - 1

    def any_of(self, *children: int) -> int:
        """A new node that needs one of its children."""
        self._any.append(True)
        self._children.append(list(children))
        return len(self._any) - 1

    def add(self, node: int, child: int) -> None:
        """Give a node one more child."""
        self._children[node].append(child)

    def reduce(self) -> None:
        """Let come true what can."""
        missing = [1 if any_ else len(children) for any_, children in zip(self._any, self._children, strict=True)]
        parents: list[list[int]] = [[] for _ in missing]
        for node, children in enumerate(self._children):
            for child in children:
                parents[child].append(node)
        true = [node for node, count in enumerate(missing) if count == 0]
        while true:
            for parent in parents[true.pop()]:
                missing[parent] -= 1
                if missing[parent] == 0:
                    true.append(parent)
        self._missing = missing

    def stuck(self, node: int) -> bool:
        """Whether the node never comes true; asked after `reduce`."""
        return self._missing[node] > 0

    def stuck_children(self, node: int) -> list[int]:
        """What a stuck node waits for in vain."""
        return [child for child in self._children[node] if self._missing[child] > 0]

    def knots(self, nodes: Iterable[int]) -> list[list[int]]:
        """The knots that hold these stuck nodes, in the order in which they are come upon."""
        index: dict[int, int] = {}
        home: dict[int, int] = {}  # of a node whose component is complete: the component's number
        components: list[list[int]] = []
        for node in nodes:
            if node not in index:
                self._walk(node, index, home, components)
        leaving = {
            number
            for number, component in enumerate(components)
            if any(home[child] != number for node in component for child in self.stuck_children(node))
        }
        return [component for number, component in enumerate(components) if number not in leaving]

    def _walk(self, root: int, index: dict[int, int], home: dict[int, int], components: list[list[int]]) -> None:
        """Tarjan's walk from one node, without recursion: a line of ten thousand waiters is that deep."""
        low: dict[int, int] = {}
        open_: list[int] = []
        path = [(root, iter(self.stuck_children(root)))]
        index[root] = low[root] = len(index)
        open_.append(root)
        while path:
            node, children = path[-1]
            for child in children:
                if child not in index:
                    index[child] = low[child] = len(index)
                    open_.append(child)
                    path.append((child, iter(self.stuck_children(child))))
                    break
                if child not in home:
                    low[node] = min(low[node], index[child])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(open_.pop())
                    home.update(dict.fromkeys(component, len(components)))
                    components.append(component)
