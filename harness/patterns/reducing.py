"""Putting results together, in a tree where they do not fit one context: level by level, each level at once.

What a level reads and what it writes lies on a shelf, so memory holds no more than the tasks that are open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from prong.harness.patterns.fan_out import Piece
from prong.harness.patterns.mapping import Work, digest, text_of
from prong.harness.patterns.outcome import Outcome
from prong.harness.patterns.shelf import Shelf
from prong.harness.program.reducing import FITS_CHARACTERS, LEAST, groups, question

Run = Callable[[Iterable[Piece]], Iterator[Outcome]]
"""Has pieces worked on, and tells what came of each."""


def reduce_tree(
    run: Run, work: Work, texts: Iterable[str], *, fits_characters: int = FITS_CHARACTERS, nonce: str = "",
    say: Callable[[str], object] = lambda _: None, folder: Path | None = None,
) -> Outcome:  # fmt: skip
    """The outcome of the task that has the whole, or of the first that failed; raises ValueError without results.

    The shelves stand in `folder`.
    """
    with ExitStack() as undo:

        def shelf() -> Shelf:
            return undo.enter_context(Shelf(most=fits_characters // LEAST, folder=folder))

        above = shelf()
        for number, text in enumerate(texts):
            above.put(number, text)
        if not len(above):
            raise ValueError("there is no result to be reduced")
        level = 0
        while True:
            level += 1
            names = above.names()
            parts = groups([above.characters(name) for name in names], most=fits_characters)
            count = sum(_is_task(part, parts) for part in parts)
            say(f"reducing {len(names)} results, level {level}: {count} {'task' if count == 1 else 'tasks'}")
            below = shelf()
            whole = _level(run(_pieces(work, above, parts, level=level, nonce=nonce)), below)
            if whole is not None and (not whole.done or len(parts) == 1):
                return whole
            for place, part in enumerate(parts):
                if not _is_task(part, parts):
                    below.put(place, above[names[part.start]])
            above = below


def _is_task(part: range, parts: Sequence[range]) -> bool:
    """Whether there is something to be put together: a single text goes on to the next level as it is."""
    return len(part) > 1 or len(parts) == 1


def _level(outcomes: Iterator[Outcome], below: Shelf) -> Outcome | None:
    """Put what comes onto the shelf; the first that failed, or else the last."""
    bad = last = None
    for outcome in outcomes:
        last = outcome
        if outcome.done:
            below.put(outcome.item["part"] - 1, text_of(outcome.result))
        else:
            bad = bad or outcome
    return bad or last


def _pieces(work: Work, above: Shelf, parts: Sequence[range], *, level: int, nonce: str) -> Iterator[Piece]:
    """A task for each part; its prompt is made when there is room for it."""
    names = above.names()
    last = len(parts) == 1
    whole = work if last else Work(work.prompt, role=work.role, priority=work.priority, more=work.more)
    for place, part in enumerate(parts):
        if not _is_task(part, parts):
            continue
        prompt = question(work.prompt, [above[names[one]] for one in part], level=level, last=last)
        key = f"reduce-{level}-{digest(prompt)}-{place}"
        title = f"reduce, level {level}, part {place + 1} of {len(parts)}"
        plan = whole.plan(prompt, title=title, key=f"{nonce}{key}")
        yield Piece(key, {"level": level, "part": place + 1, "of": len(parts)}, plan)
