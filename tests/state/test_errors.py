"""Errors say what, who and what next, and cross a pickle unharmed."""

import copy
import inspect
import pickle

import pytest

import prong.primitives
from prong.primitives import errors
from prong.state import ProngError, StoreBusy

SAMPLES = {
    "int": 7, "float": 1.5, "str": "ada's", "str | None": "bob", "int | None": 5, "tuple[int, ...]": (3, 4),
    "Limit": "open", "Mapping[Limit, int]": {"open": 8},
    "Literal['account', 'agent']": "account", "Literal['tokens', 'usd']": "usd",
}  # fmt: skip


def kinds(kind=ProngError):
    for one in kind.__subclasses__():
        if one.__module__.startswith(("prong.state", "prong.primitives")):
            yield one
            yield from kinds(one)


def made(kind):
    given = [one for one in list(inspect.signature(kind.__init__).parameters.values())[1:] if one.annotation != "bool"]
    named = {one.name: SAMPLES[one.annotation] for one in given if one.kind is one.KEYWORD_ONLY}
    return kind(*[SAMPLES[one.annotation] for one in given if one.kind is not one.KEYWORD_ONLY], **named)


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_is_the_same_after_a_pickle_and_a_copy(kind, copied):
    error = made(kind)
    again = copied(error)
    assert type(again) is kind
    assert (str(again), repr(again), again.args, vars(again)) == (str(error), repr(error), error.args, vars(error))


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=lambda kind: kind.__name__))
def test_an_error_tells_every_field_it_has(kind):
    error = made(kind)
    # Flags, kinds and units say in which words the rest is told.
    told = [
        value for name, value in vars(error).items() if name not in {"kind", "unit"} and value and value is not True
    ]
    for value in told:
        one_or_more = value.items() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        for one in one_or_more:
            assert (" ".join(map(str, one)) if isinstance(one, tuple) else str(one)) in str(error)


def test_every_error_of_the_primitives_is_public():
    own = {name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__}
    assert own <= set(prong.primitives.__all__)


@pytest.mark.parametrize(
    ("holders", "words"),
    [((), "an unknown process"), ((5,), "process 5 has"), ((5, 6), "process 5 and process 6 have")],
)
def test_busy_names_who_holds_the_database(holders, words):
    assert words in str(StoreBusy("state.db", 30.0, holders))
