"""What every benchmark here shares: its options, its claims, and how they are printed.

A claim is a figure with a bound.  Figures are ratios within one run wherever they can be, because the machine is
shared and noisy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
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


def main(name: str, measure: Callable[[bool], tuple[list[Claim], list[dict[str, Any]]]]) -> None:
    """Run a benchmark from the command line; the exit code is 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute, with fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    claims, rows = measure(options.quick)
    if options.json:
        print(json.dumps({"benchmark": name, "claims": [asdict(claim) for claim in claims], "rows": rows}))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
        for claim in claims:
            mark = {True: "holds", False: "FAILS", None: "not measured"}[claim.holds]
            print(f"{mark:<12} {claim.claim}: {claim.value} {claim.unit} (bound {claim.bound})")
    sys.exit(1 if any(claim.holds is False for claim in claims) else 0)
