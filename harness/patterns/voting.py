"""The same task several times, and what the answers agree on.

    majority   more than half of those that answered; decided as soon as the others cannot change it
    unanimous  all; decided by the first that differs
    judge      another agent reads the different answers and chooses one of them

Answers are equal where they are so without regard to case, blanks around and between words, and a full stop at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prong.harness.patterns.fan_out import FanOut, Piece
from prong.harness.patterns.mapping import Work, digest
from prong.harness.patterns.outcome import Outcome
from prong.harness.program.reducing import FITS_CHARACTERS, fitting

By = Literal["majority", "unanimous", "judge"]
WAYS = ("majority", "unanimous", "judge")

MOST = 100
"""The most votes on one question."""

JUDGE = """\
Several agents were given the same task and answered differently. Judge which answer is best: the most correct first, \
then the most complete. Look at the repository where that helps.

The task was: {prompt}

{answers}

Answer with the number of the best answer."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What a vote came to.

    `answer` is None where it is not decided.  `tally` has each different answer with its votes, most first; `agreement`
    is the share of the first among those that answered.  `saved` votes were cancelled, since they could change nothing.
    `usd` is what all cost together and `extra_usd` what the votes beside the first cost, and the judge; None where a
    price is unknown; so are the tokens.
    """

    answer: Any
    by: By
    why: str
    tally: Sequence[tuple[Any, int]]
    agreement: float
    votes: Sequence[Outcome]
    judge: Outcome | None
    saved: int
    failed: int
    tokens: int
    extra_tokens: int
    usd: float | None
    extra_usd: float | None

    @property
    def decided(self) -> bool:
        """Whether there is an answer."""
        return self.answer is not None

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "answer": self.answer, "decided": self.decided, "by": self.by, "why": self.why,
            "agreement": round(self.agreement, 4), "tally": [{"answer": one, "votes": n} for one, n in self.tally],
            "saved": self.saved, "failed": self.failed, "tokens": self.tokens, "extra_tokens": self.extra_tokens,
            "usd": self.usd, "extra_usd": self.extra_usd, "judge": self.judge.as_json() if self.judge else None,
            "votes": [vote.as_json() for vote in self.votes],
        }  # fmt: skip


def same(answer: Any) -> str:
    """What is compared of an answer.

    >>> same("  Yes. ") == same("yes"), same({"a": 1, "b": 2}) == same({"b": 2, "a": 1})
    (True, True)
    """
    if isinstance(answer, str):
        return " ".join(answer.split()).rstrip(".").casefold()
    return json.dumps(answer, sort_keys=True, ensure_ascii=False)


def settled(by: By, counts: Sequence[int], *, left: int) -> bool:
    """Whether the votes that are still to come can change nothing; `counts` are those of each answer, most first.

    >>> settled("majority", [3], left=2), settled("majority", [2, 1], left=2), settled("majority", [1, 1, 1], left=1)
    (True, False, True)
    >>> settled("unanimous", [1, 1], left=3), settled("unanimous", [2], left=1)
    (True, False)
    """
    if not left:
        return True
    if by == "unanimous":
        return len(counts) > 1
    if by == "judge" or not counts:
        return False
    # A vote that is to come may fail and then counts for nobody, so the last word is spoken only where none matters.
    others = sum(counts) - counts[0]
    wins = counts[0] > others + left
    nobody_can = 2 * (counts[0] + left) <= sum(counts) + left
    return wins or nobody_can


def hold(run: FanOut, work: Work, *, votes: int, by: By, judge: str | None, nonce: str) -> Vote:
    """Have so many agents answer, and stop when it is decided; `judge` stands for `JUDGE`."""
    ended: list[Outcome] = []
    cancelled: list[Outcome] = []
    for outcome in run.run(_ballots(work, votes, nonce)):
        if outcome.state == "cancelled":
            cancelled.append(outcome)
            continue
        ended.append(outcome)
        broken = by == "unanimous" and not outcome.done
        if not run.stopped and (broken or settled(by, _counts(ended), left=votes - len(ended))):
            run.stop()
    tally = _tally(ended)
    chosen = None
    if by == "judge" and len(tally) > 1:
        chosen = _judged(run, work, [answer for answer, _ in tally], judge or JUDGE, nonce)
    answer, why = _decided(by, tally, ended, chosen)
    others = [*cancelled, *([chosen] if chosen else [])]
    return _vote(answer, by, why, tally=tally, ended=ended, others=others, judge=chosen, saved=votes - len(ended))


def _ballots(work: Work, votes: int, nonce: str) -> Iterator[Piece]:
    identity = digest(work.prompt)
    for number in range(1, votes + 1):
        key = f"vote-{identity}-{number}"
        yield Piece(key, number, work.plan(work.prompt, title=f"vote {number} of {votes}", key=f"{nonce}{key}"))


def _tally(ended: Iterable[Outcome]) -> list[tuple[Any, int]]:
    first: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for outcome in ended:
        if outcome.done:
            name = same(outcome.result)
            first.setdefault(name, outcome.result)
            counts[name] += 1
    return [(first[name], count) for name, count in counts.most_common()]


def _counts(ended: Iterable[Outcome]) -> list[int]:
    return [count for _, count in _tally(ended)]


def _judged(run: FanOut, work: Work, answers: Sequence[Any], prompt: str, nonce: str) -> Outcome:
    room = FITS_CHARACTERS // len(answers)
    texts = [fitting(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False), room) for one in answers]
    listed = "\n\n".join(f"--- answer {number} ---\n{text}" for number, text in enumerate(texts, 1))
    asked = prompt.replace("{prompt}", work.prompt).replace("{answers}", listed)
    if "{answers}" not in prompt:
        asked = f"{asked}\n\n{listed}"
    schema = json.dumps({"type": "integer", "minimum": 1, "maximum": len(answers)})
    judging = Work(asked, role=work.role, priority=work.priority, schema=schema, more=work.more)
    key = f"judge-{digest(asked)}"
    plan = judging.plan(asked, title=f"judge {len(answers)} answers", key=f"{nonce}{key}")
    (outcome,) = run.again().run([Piece(key, "judge", plan)])
    return outcome


def _decided(
    by: By, tally: Sequence[tuple[Any, int]], ended: Sequence[Outcome], judge: Outcome | None
) -> tuple[Any, str]:  # fmt: skip
    """The answer, or None, and why."""
    if not tally:
        return None, "nobody answered"
    answered = sum(count for _, count in tally)
    if by == "judge":
        return _chosen(tally, answered, judge)
    best, count = tally[0]
    if by == "majority":
        if 2 * count > answered:
            return best, f"{count} of {answered} answered so"
        return None, f"no answer has more than half of the votes; the first has {count} of {answered}"
    if len(tally) == 1 and len(ended) == answered:
        return best, f"all {answered} answered so"
    return None, f"{len(tally)} different answers" if len(tally) > 1 else "not all of them answered"


def _chosen(tally: Sequence[tuple[Any, int]], answered: int, judge: Outcome | None) -> tuple[Any, str]:
    if judge is None:
        return tally[0][0], f"all {answered} answered so, so nobody had to judge"
    if not judge.done:
        return None, f"the judge {judge.state}: {judge.error}"
    return tally[int(judge.result) - 1][0], f"the judge chose it among {len(tally)} answers"


def _vote(
    answer: Any, by: By, why: str, *, tally: Sequence[tuple[Any, int]], ended: Sequence[Outcome],
    others: Sequence[Outcome], judge: Outcome | None, saved: int,
) -> Vote:  # fmt: skip
    answered = sum(count for _, count in tally)
    paid = [*ended, *others]
    return Vote(
        answer=answer, by=by, why=why, tally=tally, agreement=tally[0][1] / answered if answered else 0.0,
        votes=ended, judge=judge, saved=saved, failed=sum(not one.done for one in ended),
        tokens=sum(one.tokens for one in paid), extra_tokens=sum(one.tokens for one in paid[1:]),
        usd=_sum(paid), extra_usd=_sum(paid[1:]),
    )  # fmt: skip


def _sum(outcomes: Sequence[Outcome]) -> float | None:
    known = [one.usd for one in outcomes if one.usd is not None]
    return sum(known) if len(known) == len(outcomes) else None
