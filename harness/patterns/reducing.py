"""Putting results together, in a tree where they do not fit one context: level by level, each level at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prong.harness.patterns.fan_out import Piece
from prong.harness.patterns.mapping import Work, digest
from prong.harness.patterns.outcome import Outcome
from prong.harness.program.reducing import FITS_CHARACTERS, LEAST, fitting, groups, question

Run = Callable[[Iterable[Piece]], Iterator[Outcome]]
"""Has pieces worked on, and tells what came of each."""


def reduce_tree(
    run: Run, work: Work, texts: Sequence[str], *, fits_characters: int = FITS_CHARACTERS, nonce: str = "",
    say: Callable[[str], object] = lambda _: None,
) -> Outcome:  # fmt: skip
    """The outcome of the task that has the whole, or of the first that failed; raises ValueError without results."""
    if not texts:
        raise ValueError("there is no result to be reduced")
    level = 0
    while True:
        level += 1
        texts = [fitting(text, fits_characters // LEAST) for text in texts]
        parts = groups([len(text) for text in texts], most=fits_characters)
        todo = {
            place: _piece(work, [texts[one] for one in part], level=level, place=place, parts=len(parts), nonce=nonce)
            for place, part in enumerate(parts)
            if len(part) > 1 or len(parts) == 1
        }
        say(f"reducing {len(texts)} results, level {level}: {len(todo)} {'task' if len(todo) == 1 else 'tasks'}")
        ended = {outcome.key: outcome for outcome in run(todo.values())}
        bad = next((outcome for outcome in ended.values() if not outcome.done), None)
        if bad is not None or len(parts) == 1:
            return bad or ended[todo[0].key]
        texts = [
            _text(ended[todo[place].key]) if place in todo else texts[part.start] for place, part in enumerate(parts)
        ]


def _piece(work: Work, texts: Sequence[str], *, level: int, place: int, parts: int, nonce: str) -> Piece:
    last = parts == 1
    prompt = question(work.prompt, texts, level=level, last=last)
    key = f"reduce-{level}-{digest(prompt)}-{place}"
    whole = work if last else Work(work.prompt, role=work.role, priority=work.priority, more=work.more)
    plan = whole.plan(prompt, title=f"reduce, level {level}, part {place + 1} of {parts}", key=f"{nonce}{key}")
    return Piece(key, {"level": level, "part": place + 1, "of": parts}, plan)


def _text(outcome: Outcome) -> str:
    return str(outcome.result)
