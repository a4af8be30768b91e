"""Reducing many results to one: in a tree, where they do not fit one context.

1 2 3 4 5 6 7 8 9        results
+-+-+ +-+-+ +-+-+        each group fits; one task for each, all at once
  a     b     c
  +-----+-----+          until one is left
        A
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prong.harness.program.tasks import Task, create_task, wait

FITS_CHARACTERS = 60_000
"""So much one task is given to read, in characters: about 15,000 tokens, and a prompt in any script."""

LEAST = 2
"""So many results are put together at once, at least: fewer would not become less."""

CUT = "\n[… {left:,} characters are left out here …]\n"


def groups(lengths: Sequence[int], *, most: int) -> list[range]:
    """Which neighbours are put together: as few groups as fit, about equally long; a single one at the end is left.

    None may be longer than half of `most`, so that two always fit.

    >>> groups([10, 10, 10, 10, 10], most=30)
    [range(0, 3), range(3, 5)]
    """
    if not lengths:
        return []
    wanted = max(1, -(-sum(lengths) // most))
    share = min(most, -(-sum(lengths) // wanted) + max(lengths) // 2)
    found: list[range] = []
    begin = filled = 0
    for place, length in enumerate(lengths):
        if place - begin >= LEAST and filled + length > share:
            found.append(range(begin, place))
            begin, filled = place, 0
        filled += length
    return [*found, range(begin, len(lengths))]


def fitting(text: str, most: int) -> str:
    """The text, or its head and its tail where it is longer.

    >>> len(fitting("x" * 1000, 200)) <= 200
    True
    """
    if len(text) <= most:
        return text
    kept = max(2, most - len(CUT) - 12)
    return text[: kept // 2] + CUT.format(left=len(text) - kept) + text[len(text) - (kept - kept // 2) :]


def question(prompt: str, texts: Sequence[str], *, level: int, last: bool) -> str:
    """What the task is asked that puts these together."""
    how = (
        "These are all of them."
        if last
        else "These are a part of them: what you write will be put together with that of other parts, so keep what the"
        " whole may need."
    )
    what = "results of other agents" if level == 1 else "results that were put together from those of other agents"
    parts = [f"--- result {number} of {len(texts)} ---\n{text}" for number, text in enumerate(texts, 1)]
    return f"{prompt}\n\nBelow are {len(texts)} {what}. {how}\n\n" + "\n\n".join(parts)


def reduce(
    prompt: str, results: Iterable[Task | str], *, fits_characters: int = FITS_CHARACTERS, **more: object
) -> Task:
    """Have results put together by `prompt`, in a tree where they do not fit one context; the task that has the whole.

    Of tasks those count that are done.  `more` is what `create_task` takes.  Raises ValueError where nothing is there
    to be put together; a task that fails ends it, and is what is returned.
    """
    texts = [one if isinstance(one, str) else one.result or "" for one in results if isinstance(one, str) or one.done]
    if not texts:
        raise ValueError("there is no result to be reduced")
    level = 0
    while True:
        level += 1
        texts = [fitting(text, fits_characters // LEAST) for text in texts]
        parts = groups([len(text) for text in texts], most=fits_characters)
        ended: dict[int, Task] = {}
        for number, part in enumerate(parts):
            if len(part) > 1 or len(parts) == 1:
                asked = question(prompt, [texts[place] for place in part], level=level, last=len(parts) == 1)
                title = f"reduce, level {level}, part {number + 1} of {len(parts)}"
                ended[number] = create_task(asked, title=title, **more)  # type: ignore[arg-type]  # the caller's own
        ended = dict(zip(ended, wait(ended.values()), strict=True))
        bad = next((task for task in ended.values() if not task.done), None)
        if bad is not None or len(parts) == 1:
            return bad or ended[0]
        texts = [
            ended[number].result or "" if number in ended else texts[part.start] for number, part in enumerate(parts)
        ]
