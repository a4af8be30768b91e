"""Map-reduce: one reading that all share, one task for each file, and the results put together in a tree.

Run it with: python examples/map_reduce.py
"""

from pathlib import Path

from prong.harness import Swarm

FILES = [str(path) for path in sorted(Path("docs/primitives").glob("s*.md"))]

if __name__ == "__main__":
    with Swarm(".", offline=True, agents=3) as swarm:
        outcomes = list(swarm.map("Measure {item}", FILES, context="fork", on_error="retry"))
        whole = swarm.reduce("Add up what was measured.", outcomes, fits_characters=150)
        costs = swarm.cost()
    print(f"{len(outcomes)} files, put together in {whole.item['level']} levels")
    print(whole.result)
    point = costs.fork_points[0]
    print(f"{point.children} forks of one reading of {point.prefix:,} tokens; {point.hits} found it in the cache")
