r"""Merges two trees where no file was touched by both sides, which needs no look into any file.

    base ----> ours        every name: who changed it?
      \----> theirs          nobody, one side            -> as that side has it
                             both, folders in both       -> the same question for each name in them
                             both, to the very same file -> as both have it
                             both, otherwise             -> None: git's own merge has to look closer

Where this gives a tree it is the one that git's merge would give.  What git does beyond it follows renames; a rename
matters only to a file or folder that is gone on one side and touched on the other, or gone on both, and for those the
answer is None.
"""

from __future__ import annotations

from prong.harness.repository.objects import FOLDER, Entry, Tree, Trees


def merge_trees(trees: Trees, base: str, ours: str, theirs: str) -> str | None:
    """The tree with the changes of both sides, or None where both touched the same.

    >>> class Shelf(dict):
    ...     read_tree = dict.__getitem__
    ...     def write_tree(self, entries):
    ...         return self.setdefault("new", dict(entries)) and "new"
    >>> one, two = (b"100644", "1"), (b"100644", "2")
    >>> shelf = Shelf(base={b"a": one, b"b": one}, ours={b"a": two, b"b": one}, theirs={b"a": one, b"b": two})
    >>> shelf[merge_trees(shelf, "base", "ours", "theirs")] == {b"a": two, b"b": two}
    True
    """
    if ours == base:
        return theirs
    if theirs == base:
        return ours
    before, left, right = (trees.read_tree(tree) for tree in (base, ours, theirs))
    return _merged(trees, before, left, right)


def _merged(trees: Trees, before: Tree, left: Tree, right: Tree) -> str | None:
    merged: dict[bytes, Entry] = {}
    for name in {**before, **left, **right}:
        was, here, there = before.get(name), left.get(name), right.get(name)
        if was in (here, there):
            entry = there if was == here else here
        else:
            entry = _both(trees, was, here, there)
            if entry is None:
                return None
        if entry is not None:
            merged[name] = entry
    return trees.write_tree(merged) if merged else None  # git has no empty folders


def _both(trees: Trees, was: Entry | None, here: Entry | None, there: Entry | None) -> Entry | None:
    """What both sides changed: the same file, or a folder; else None."""
    if here is None or there is None:
        return None
    if not _is_folder(here) or not _is_folder(there):
        return here if here == there else None
    if was is not None and not _is_folder(was):
        return None
    before = trees.read_tree(was[1]) if was is not None else {}
    if here == there:
        return here if _nothing_is_gone(trees, before, here) else None
    tree = _merged(trees, before, trees.read_tree(here[1]), trees.read_tree(there[1]))
    return None if tree is None else (FOLDER, tree)


def _nothing_is_gone(trees: Trees, before: Tree, folder: Entry) -> bool:
    """Whether a folder that both sides changed alike still holds all that it held."""
    after = trees.read_tree(folder[1])
    for name, was in before.items():
        now = after.get(name)
        if now is None or _is_folder(was) != _is_folder(now):
            return False
        if now != was and _is_folder(was) and not _nothing_is_gone(trees, trees.read_tree(was[1]), now):
            return False
    return True


def _is_folder(entry: Entry) -> bool:
    return entry[0].lstrip(b"0") == FOLDER
