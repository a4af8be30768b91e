"""What every benchmark here shares: its options, its claims, and how they are printed.

A claim is a figure with a bound.  Figures are ratios within one run wherever they can be, because the machine is
shared and noisy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure and the bound that it should keep; `holds` is None where it could not be measured here."""

    claim: str
    value: float | None
    unit: str
    bound: str
    holds: bool | None


def at_most(claim: str, value: float, bound: float, unit: str) -> Claim:
    """A figure that must not exceed its bound."""
    return Claim(claim, round(value, 4), unit, f"<= {bound:g}", value <= bound)


def at_least(claim: str, value: float, bound: float, unit: str) -> Claim:
    """A figure that must reach its bound."""
    return Claim(claim, round(value, 4), unit, f">= {bound:g}", value >= bound)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


Measured = tuple[list[Claim], list[dict[str, Any]]]
"""The claims of a benchmark, and its rows."""

Measure = Callable[[bool], Measured]
"""What measures: it is told whether to be quick."""


def main(name: str, measure: Measure) -> None:
    """Run a benchmark from the command line; the exit code is 1 where a claim does not hold."""
    options = _parser().parse_args()
    _report(name, *measure(options.quick), as_json=options.json)


def main_of_parts(name: str, parts: Mapping[str, Measure]) -> None:
    """The same for a benchmark of several parts, which tells on standard error how long each took."""
    parser = _parser()
    parser.add_argument("--only", choices=sorted(parts), action="append", help="measure this part; may be repeated")
    options = parser.parse_args()
    claims: list[Claim] = []
    rows: list[dict[str, Any]] = []
    for part, measure in parts.items():
        if options.only is None or part in options.only:
            began = time.monotonic()
            try:
                found_claims, found_rows = measure(options.quick)
            except Exception:  # noqa: BLE001  the other parts are measured all the same
                traceback.print_exc()
                found_claims, found_rows = [Claim(f"{part} can be measured", None, "", "no error", holds=False)], []
            claims += found_claims
            rows += found_rows
            print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    _report(name, claims, rows, as_json=options.json)


def main_of_contestants(name: str, measure: Callable[[bool, Collection[str]], Measured], names: Sequence[str]) -> None:
    """The same for a benchmark of several contestants, which is told also which of them take part."""
    parser = _parser()
    parser.add_argument("--only", choices=names, action="append", help="let this one take part; may be repeated")
    options = parser.parse_args()
    taking_part = [one for one in names if options.only is None or one in options.only]
    _report(name, *measure(options.quick, taking_part), as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute, with fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _report(name: str, claims: list[Claim], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"benchmark": name, "claims": [asdict(claim) for claim in claims], "rows": rows}))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
        for claim in claims:
            mark = {True: "holds", False: "FAILS", None: "not measured"}[claim.holds]
            print(f"{mark:<12} {claim.claim}: {claim.value} {claim.unit} (bound {claim.bound})")
    sys.exit(1 if any(claim.holds is False for claim in claims) else 0)
