r"""What a repository's rules, or a file of one's own, say of models: how much they hold and cost.

    models:                                  # in PRONG.md; in a file of its own the same without this line
      my-model: {window: 128k, input: 0.4, output: 1.6}
      claude-opus-5-5: {input: 3.6, output: 18, read: 0.18, write: 4.5, write_hour: 7.2}

It counts before the table that Prong brings along.  What is not said of a model of that table stays as it is; of any
other model a price that is not said is that of its input, and a model without prices has none: its money is unknown.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prong.agents.models import Model, Prices, lookup
from prong.harness.rules import readers as read
from prong.harness.rules.invalid import Problem, RulesInvalid, quoted
from prong.harness.rules.values import EnoughProblems, Paper, Value, rule
from prong.state import Invalid

FILE_BYTES = 1 << 20
MOST_MODELS = 200
_MOST_USD = 1e6
_NAME = re.compile(r"[^\s\x00-\x1f]{1,200}")
_PRICES = {"input": "input", "output": "output", "write": "write_5m", "write_hour": "write_1h", "read": "read"}
"""Keys of the rules, and the prices that they are."""

_WINDOW_TOKENS, _CACHEABLE_TOKENS = 1_000_000, 1_024
"""What is taken for granted of a model of which only prices are said."""


def _price(value: Value) -> float:
    needed = "a price in dollars for a million tokens, 0 or more,"
    try:
        price: float = read.number(-1, _MOST_USD)(value)
    except Invalid:
        raise Invalid(value.shown(), needed) from None
    if price < 0:
        raise Invalid(value.shown(), needed)
    return price


@dataclass(frozen=True, slots=True)
class ModelRule:
    """What is said of one model; None: nothing.

    `window` is how many tokens a conversation may have, `cacheable` how many a prompt must have to be cached; the
    prices are dollars per million tokens: of `input` that is in no cache, of `output`, of what is written to the cache
    for five minutes and for an hour, and of what is read from it.
    """

    window: int | None = rule(None, read.tokens(1_000, 10**9), fixed=True)
    cacheable: int | None = rule(None, read.tokens(0, 10**6), fixed=True)
    input: float | None = rule(None, _price, fixed=True)
    output: float | None = rule(None, _price, fixed=True)
    read: float | None = rule(None, _price, fixed=True)
    write: float | None = rule(None, _price, fixed=True)
    write_hour: float | None = rule(None, _price, fixed=True)

    def said_prices(self) -> dict[str, Any]:
        """The prices that are said, by the names that `Prices` has for them."""
        said = {name: getattr(self, key) for key, name in _PRICES.items()}
        return {name: price for name, price in said.items() if price is not None}

    def of(self, name: str) -> Model:
        """The record of the model with this name, of which this is said."""
        known = lookup(name)
        said = self.said_prices()
        if known is None:
            if said:
                said = {**dict.fromkeys(_PRICES.values(), said["input"]), **said}
            prices = (Prices(**said),) if said else ()
            known = Model(name, name, _WINDOW_TOKENS, _WINDOW_TOKENS, _CACHEABLE_TOKENS, prices)
        elif "input" in said and "output" in said:  # one price whatever the length, as they were said
            known = replace(known, prices=(replace(known.prices[-1], **said),))
        else:
            known = replace(known, prices=tuple(replace(tier, **said) for tier in known.prices))
        return replace(
            known,
            context_tokens=known.context_tokens if self.window is None else self.window,
            min_cacheable_tokens=known.min_cacheable_tokens if self.cacheable is None else self.cacheable,
        )


def models(value: Value) -> dict[str, ModelRule]:
    """Reads a mapping from names of models, in which anything but blanks may stand."""
    found = {}
    for key, inner in itertools.islice(value.entries(), MOST_MODELS + 1):
        if not _NAME.fullmatch(key.value):
            inner.paper.wrong(key.start_mark, f"{quoted(key.value)} is no name of a model", "a name without blanks")
            continue
        said = inner.read(_model)
        if said is not None:
            found[key.value] = said
    if len(found) > MOST_MODELS:
        raise Invalid(f"has more than {MOST_MODELS} entries", "a shorter list")
    return found


def load(path: Path) -> Mapping[str, ModelRule]:
    """What a file of its own says; raises `RulesInvalid`, with all that is wrong in it by its line."""
    from prong.harness.rules.front_matter import compose  # noqa: PLC0415  few runs have such a file, and YAML is heavy

    try:
        content = path.read_bytes()[: FILE_BYTES + 1]
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(1, 1, f"the file cannot be read: {error}", "make it a text file that you may read")
        raise RulesInvalid(str(path), (problem,)) from error
    if len(content) > FILE_BYTES:
        raise RulesInvalid(str(path), (Problem(1, 1, f"the file has more than {FILE_BYTES} bytes", "shorten it"),))
    paper = Paper(text.removeprefix("\ufeff").replace("\r\n", "\n"), 0, None)
    found: dict[str, ModelRule] = {}
    try:
        node = compose(paper)
        if node is not None:
            found = Value("", node, paper).read(models) or {}
    except EnoughProblems:
        pass
    if paper.problems:
        raise RulesInvalid(str(path), tuple(sorted(paper.problems, key=lambda one: (one.line, one.column))))
    return found


def records(said: Mapping[str, ModelRule]) -> Iterator[Model]:
    """The models as they are from now on; each goes by the name under which something was said of it."""
    for name, one in said.items():
        yield replace(one.of(name), id=name, aliases=())


def _model(value: Value) -> ModelRule:
    name = value.name.removeprefix("models.")
    problems = len(value.paper.problems)
    one: ModelRule = read.record(ModelRule)(value)
    said = one.said_prices()
    is_read = len(value.paper.problems) == problems
    if said and is_read and lookup(name) is None and not {"input", "output"} <= said.keys():
        missing = " and ".join(key for key in ("input", "output") if key not in said)
        raise Invalid("has some prices only, and nothing is known of it", f"its price of {missing}, too,")
    return one
